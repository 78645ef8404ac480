"""How a run's processes find the probe, and what they and their files tell: hellos, outputs, time used."""

from __future__ import annotations

import ast
import os
import resource
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from reenact.model.environment import PythonFacts
from reenact.model.identity import RunId
from reenact.model.paths import path_to_text, printable
from reenact.model.run import File, Process, Usage
from reenact.model.secrets import hide, redact_argv
from reenact.store.blobs import digest_file
from reenact.store.files import read_file
from reenact.store.store import Store

SHIM = os.path.join(os.path.dirname(os.path.dirname(__file__)), "probe", "shim")
"""The directory on `PYTHONPATH` by which the probe enters Python processes."""
METRICS_FILE = "metrics.lines"
"""The file in `.reenact/` that `$REENACT_METRICS` names."""
PROCESSES_FILE = "processes"
RESERVE_FILE = "reserve"
"""It only takes up the room that the last version of the record will need; processes that have no
room to say how many points they lost write that into it."""
POINTS_WAITING = "points-waiting"
"""Code of the warning that points of a run's journals found no room in its metrics."""
MANY_PROCESSES = 200
"""More than these are not listed one by one in a record."""

_LONG = 500


def variables_of(store: Store, run_id: RunId, env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which a run's processes find the probe, and the probe the run.

    Args:
        store: the run's.
        run_id: of the run.
        env: what stands in its environment without us.
    """
    path = env.get("PYTHONPATH")
    return {
        "PYTHONPATH": SHIM + (os.pathsep + path if path else ""),
        "REENACT_RUN_ID": run_id,
        "REENACT_RUN_DIR": store.directory(run_id),
        "REENACT_RECORD_DIR": os.path.dirname(store.record_path(run_id)),
        "REENACT_METRICS": store.record_path(run_id, METRICS_FILE),
        "REENACT_HOME": store.root,
    }


def read_hellos(directory: str) -> list[dict[str, Any]]:
    """Return what the probe in each Python process said when it started.

    Args:
        directory: the run's `.reenact/`.
    """
    return [h for h in read_literals(f"{directory}/{PROCESSES_FILE}") if isinstance(h, dict)]


def python_facts(hellos: Iterable[dict[str, Any]]) -> PythonFacts | None:
    """Return what the first interpreter said of itself; None where there was none."""
    names = PythonFacts.__struct_fields__
    for hello in hellos:
        if hello.get("kind") == "start":
            facts = {name: hello[name] for name in names if name in hello}
            facts["path"] = tuple(facts.get("path", ()))
            try:
                return msgspec.convert(facts, PythonFacts)
            except msgspec.ValidationError:
                # An embedded interpreter does not know where it is.
                continue
    return None


def installations(hellos: Iterable[dict[str, Any]]) -> list[str]:
    """Return the prefixes of the interpreters that took part, in order of appearance."""
    starts = (hello for hello in hellos if hello.get("kind") == "start")
    return list(dict.fromkeys(printable(str(hello.get("prefix"))) for hello in starts))


def processes(hellos: Iterable[dict[str, Any]], secrets: Iterable[str] = ()) -> tuple[Process, ...]:
    """Return the first Python processes of a run for its record.

    Args:
        hellos: what the processes said.
        secrets: texts that must not stand in the record.
    """
    found = []
    for hello in hellos:
        argv = hide(redact_argv(map(printable, hello.get("argv", ()))), secrets)
        executable = hello.get("executable")
        found.append(
            Process(
                pid=hello["pid"],
                parent_pid=hello["parent_pid"],
                started_ns=hello["started_ns"],
                kind=hello["kind"],
                python=hello.get("version"),
                executable=None if executable is None else printable(executable),
                argv=tuple(word[:_LONG] for word in argv),
            )
        )
        if len(found) == MANY_PROCESSES:
            break
    return tuple(found)


def describe_output(directory: str, path: str, *, absolute: bool = False) -> File:
    """Describe a file that a run left behind.

    Args:
        directory: what `path` is relative to.
        path: of the file.
        absolute: record the absolute path.
    """
    full = f"{directory}/{path}"
    text = path_to_text(full if absolute else path)
    try:
        if os.path.islink(full):
            return File(path=text, target=path_to_text(os.readlink(full)))
        if not os.path.isfile(full):
            return File(path=text, reason="neither a file nor a link")
        digest, size = digest_file(full)
    except OSError as error:
        return File(path=text, reason=error.strerror)
    return File(path=text, size_bytes=size, digest=digest)


_COUNTED_LATE_BYTES = 4 << 20
"""The system counts the memory of each thread in lots, and may copy more than it told before."""


def usage_of(
    sampled: Usage | None, used: resource.struct_rusage | None, memory_before: int
) -> Usage:
    """Return what a run's processes used: what the system counted, joined with samples of them.

    Args:
        sampled: what the sampler saw while they ran.
        used: what the system counted by their end.
        memory_before: a peak of memory, in its units, that was no more than copied from us.
    """
    usage = sampled or Usage()
    if used is None:
        return usage
    unit = 1 if sys.platform == "darwin" else 1024
    copied = memory_before + _COUNTED_LATE_BYTES // unit
    peak = used.ru_maxrss * unit if used.ru_maxrss > copied else 0
    return msgspec.structs.replace(
        usage,
        cpu_user_s=round(used.ru_utime, 6),
        cpu_system_s=round(used.ru_stime, 6),
        max_memory_bytes=max(usage.max_memory_bytes or 0, peak) or None,
    )


def read_literals(path: str) -> list[Any]:
    """Read a file of Python literals, one a line; a torn or strange line is left out."""
    try:
        data = read_file(path)
    except OSError:
        return []
    values = []
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        try:
            values.append(ast.literal_eval(line))
        except (ValueError, SyntaxError):
            continue
    return values
