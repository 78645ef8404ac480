"""Describe runs for other tools: RO-Crate 1.1 with the profile Process Run Crate 0.5, as JSON-LD.

Each run is an action: its script is the instrument, flags and inputs are objects, outputs are results.
Described is what people look for; what else a bundle holds is in its own list.
"""

from __future__ import annotations

import mimetypes
import posixpath
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from reenact.model.environment import Environment
from reenact.model.flags import FlagValue
from reenact.model.identity import Digest, RunId
from reenact.model.metrics import SAMPLED, json_number
from reenact.model.record import flag_to_json
from reenact.model.run import File, Run, Status

_CONTEXT = "https://w3id.org/ro/crate/1.1/context"
_CRATE = "https://w3id.org/ro/crate/1.1"
_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_COMPLETED = "http://schema.org/CompletedActionStatus"
_FAILED = "http://schema.org/FailedActionStatus"
_REENACT = "#reenact"

Entity = dict[str, Any]


class Described(NamedTuple):
    """A run as it is in a bundle.

    Attributes:
        source: path in the project -> digest, of its code.
        environment: what it ran in, where that is known.
    """

    run: Run
    source: Mapping[str, Digest]
    environment: Environment | None = None


def describe(
    runs: Mapping[RunId, Described],
    asked: Iterable[RunId],
    files: Mapping[str, int],
    *,
    version: str,
) -> bytes:
    """Return the content of `ro-crate-metadata.json`.

    Args:
        runs: all that are in the crate.
        asked: those that it is about.
        files: name in the crate -> size in bytes.
        version: of Reenact.
    """
    return _Crate(files, version).describe(runs, list(asked))


class _Crate:
    def __init__(self, files: Mapping[str, int], version: str) -> None:
        self._files = files
        self._version = version
        self._entities: dict[str, Entity] = {}
        self._parts: dict[str, None] = {}

    def describe(self, runs: Mapping[RunId, Described], asked: list[RunId]) -> bytes:
        actions = [self._action(one) for one in runs.values()]
        first = [runs[run_id].run for run_id in asked if run_id in runs]
        names = list(dict.fromkeys(run.operation.name for run in first))
        latest = max((one.run.ended or one.run.created for one in runs.values()), default=None)
        root: Entity = {
            "@id": "./",
            "@type": "Dataset",
            "name": ", ".join(names) or "runs",
            "description": f"Recorded by Reenact: {', '.join(_sentence(run) for run in first)}. "
            "`reenact reproduce FILE` runs it again and says whether the result comes back.",
            "datePublished": _time(latest or datetime.fromtimestamp(0, UTC)),
            "license": self._license(runs),
            "conformsTo": {"@id": _PROFILE},
            "hasPart": [{"@id": one} for one in self._parts],
            "mentions": [{"@id": one} for one in actions],
        }
        graph = [
            {
                "@id": "ro-crate-metadata.json",
                "@type": "CreativeWork",
                "about": {"@id": "./"},
                "conformsTo": {"@id": _CRATE},
            },
            root,
            {
                "@id": _PROFILE,
                "@type": "CreativeWork",
                "name": "Process Run Crate",
                "version": "0.5",
            },
            {
                "@id": _REENACT,
                "@type": "SoftwareApplication",
                "name": "Reenact",
                "softwareVersion": self._version,
            },
            *self._entities.values(),
        ]
        document = {"@context": _CONTEXT, "@graph": graph}
        return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"

    def _action(self, described: Described) -> str:
        run = described.run
        name = f"#run-{run.id}"
        is_fine = run.status(is_locked=False) is Status.COMPLETED
        objects = [*self._flags(run), *(self._input(run, file) for file in run.inputs)]
        action: Entity = {
            "@id": name,
            "@type": "CreateAction",
            "name": f"run {run.id[:8]} of {run.operation.name}",
            "description": _sentence(run),
            "instrument": {"@id": self._instrument(described)},
            "object": [{"@id": one} for one in dict.fromkeys(objects)],
            "result": [
                {"@id": one}
                for one in (*(self._output(run, file) for file in run.outputs), *self._metrics(run))
                if one is not None
            ],
            "actionStatus": _COMPLETED if is_fine else _FAILED,
        }
        if run.started is not None:
            action["startTime"] = _time(run.started)
        if run.ended is not None:
            action["endTime"] = _time(run.ended)
        if not is_fine:
            action["error"] = "it was killed" if run.exit is None else run.exit.describe()
        self._entities[name] = action
        return name

    def _instrument(self, described: Described) -> str:
        run = described.run
        digest = described.source.get(run.operation.target)
        at = None if digest is None else self._at(f"blobs/{digest[:2]}/{digest[2:]}")
        name = at or f"#software-{quote(run.operation.name)}"
        if name in self._entities:
            return name
        entity: Entity = {"@id": name, "name": run.operation.name}
        if at is None:
            entity["@type"] = "SoftwareApplication"
            entity["softwareVersion"] = "unknown" if run.source is None else run.source.tree
        else:
            entity["@type"] = ["File", "SoftwareSourceCode"]
            entity["identifier"] = f"blake3:{digest}"
            entity["contentSize"] = str(self._files[f"blobs/{digest[:2]}/{digest[2:]}"])  # type: ignore[index]
        python = None if described.environment is None else described.environment.python
        if python is not None:
            entity["softwareRequirements"] = {
                "@id": self._python(python.implementation, python.version)
            }
        self._entities[name] = entity
        return name

    def _python(self, implementation: str, version: str) -> str:
        name = f"#{implementation}-{version}"
        self._entities[name] = {
            "@id": name,
            "@type": "SoftwareApplication",
            "name": implementation,
            "softwareVersion": version,
        }
        return name

    def _flags(self, run: Run) -> Iterable[str]:
        for flag, value in run.flags.items():
            name = f"#flag-{run.id}-{quote(flag, safe='')}"
            self._entities[name] = _property(name, flag, value)
            yield name

    def _metrics(self, run: Run) -> Iterable[str]:
        for metric, summary in run.metrics.items():
            if metric.startswith(SAMPLED):
                continue
            name = f"#metric-{run.id}-{quote(metric, safe='')}"
            self._entities[name] = _property(name, metric, summary.last)
            yield name

    def _input(self, run: Run, file: File) -> str:
        digest = file.digest
        at = None if digest is None else self._at(f"blobs/{digest[:2]}/{digest[2:]}")
        if at is not None and file.files is None:
            return self._file(at, file)
        name = f"#input-{digest or quote(f'{run.id}/{file.path}', safe='')}"
        entity: Entity = {"@id": name, "@type": "CreativeWork", "name": file.path}
        if digest is not None:
            entity["identifier"] = f"blake3:{digest}"
        if file.size_bytes is not None:
            entity["size"] = f"{file.size_bytes} B"
        self._entities.setdefault(name, entity)
        return name

    def _output(self, run: Run, file: File) -> str | None:
        at = self._at(f"runs/{run.id}/{file.path}")
        return None if at is None else self._file(at, file)

    def _file(self, at: str, file: File) -> str:
        entity: Entity = {
            "@id": at,
            "@type": "File",
            "name": file.title or file.path,
            "contentSize": str(file.size_bytes or 0),
        }
        form = mimetypes.guess_type(posixpath.basename(file.path), strict=False)[0]
        if form is not None:
            entity["encodingFormat"] = form
        if file.digest is not None:
            entity["identifier"] = f"blake3:{file.digest}"
        self._entities.setdefault(at, entity)
        return at

    def _license(self, runs: Mapping[RunId, Described]) -> Any:
        """Return the licence file of the source, if there is one."""
        for one in runs.values():
            for path, digest in one.source.items():
                if path.lower().partition(".")[0] in ("license", "licence", "copying"):
                    at = self._at(f"blobs/{digest[:2]}/{digest[2:]}")
                    if at is not None:
                        self._entities[at] = {"@id": at, "@type": "File", "name": path}
                        return {"@id": at}
        return "not stated"

    def _at(self, name: str) -> str | None:
        """Return the id of a file in the crate, as a part of it; None where it is not there."""
        if name not in self._files:
            return None
        at = quote(name)
        self._parts[at] = None
        return at


def _property(identifier: str, name: str, value: Any) -> Entity:
    return {"@id": identifier, "@type": "PropertyValue", "name": name, "value": _scalar(value)}


def _scalar(value: FlagValue) -> Any:
    """Return a value as JSON-LD takes it: lists and objects as their JSON."""
    if isinstance(value, float):
        return json_number(value)
    if isinstance(value, str | int):
        return value
    return msgspec.json.encode(flag_to_json(value)).decode()


def _sentence(run: Run) -> str:
    flags = " ".join(
        f"{name}={_scalar(run.flags[name])}" for name in run.given if name in run.flags
    )
    return f"{run.operation.name} {flags}".rstrip()


def _time(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
