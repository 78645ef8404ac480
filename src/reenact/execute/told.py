"""What the events of a run's processes come to in its record."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from reenact.execute.journals import Event, storable
from reenact.execute.uses import spellings
from reenact.model.paths import path_to_text, printable
from reenact.model.record import flag_from_json
from reenact.model.run import Capture, Dataset, Failure, File, Model, Remark, Run
from reenact.model.secrets import REDACTED, hide, is_secret_name, redact_text

MOST_PARAMS = 10_000
"""A record holds so many params; a remark says how many more there were."""
MOST_MODELS = 1_000
MOST_REMARKS = 50
AUTOLOG = "REENACT_AUTOLOG"
_MOST_AUTOLOG = 200
_DEEPEST = 50
"""The probe nests less deeply."""
_INT64 = range(-(1 << 63), 1 << 63)

_Value = TypeVar("_Value")


class Told(NamedTuple):
    """What processes told of a run beside points; the fields are those of `Run`.

    Attributes:
        roles: path of an output, as the record spells it -> its role and title.
        failure: the error that ended a notebook.
        runtime: what the process that had loaded the most said at its end; see `Runtime`.
    """

    params: dict[str, Any]
    models: tuple[Model, ...]
    datasets: tuple[Dataset, ...]
    captures: tuple[Capture, ...]
    roles: dict[str, tuple[str, str | None]]
    remarks: list[Remark]
    runtime: dict[str, Any] | None = None
    failure: Failure | None = None


def collect(events: Iterable[Event], run_directory: str, secrets: Iterable[str] = ()) -> Told:
    """Sort events into what a record holds; the last word on a thing counts.

    Args:
        events: of all processes, those of the first one first.
        run_directory: files below it are named relative to it.
        secrets: texts that must not stand in a record.
    """
    secrets = tuple(secrets)
    inside = spellings(run_directory)
    params: dict[str, Any] = {}
    models: dict[str, Model] = {}
    datasets: dict[tuple[str, str, str | None], Dataset] = {}
    captures: dict[str, Capture] = {}
    roles: dict[str, tuple[str, str | None]] = {}
    remarks: dict[tuple[str, str], Remark] = {}
    failure = None
    left_out = 0
    runtime: dict[str, Any] | None = None
    for event in events:
        fields = _fields_of(event)
        if event.kind == "params":
            for name, value in _params(fields):
                if name not in params and len(params) >= MOST_PARAMS:
                    left_out += 1
                else:
                    params[name] = _without_secrets(name, flag_from_json(value), secrets)
        elif event.kind == "model" and (model := _read(fields, Model)):
            if len(models) < MOST_MODELS:
                former = models.get(model.name)
                models[model.name] = model if former is None else _merge(former, model)
        elif event.kind == "dataset" and (dataset := _read(fields, Dataset)):
            if len(datasets) < MOST_MODELS:
                datasets[dataset.name, dataset.role, dataset.model] = dataset
        elif event.kind == "framework" and isinstance(fields.get("name"), str):
            _note_capture(captures, fields, secrets)
        elif event.kind == "output" and isinstance(fields.get("path"), str):
            title = fields.get("title")
            title = _clean(title, secrets) if isinstance(title, str) else None
            roles[_spelled(fields["path"], inside)] = (str(fields.get("role")), title)
        elif event.kind == "exception":
            failure = _read(fields, Failure) or failure
        elif event.kind == "runtime":
            if runtime is None or _count_libraries(fields) > _count_libraries(runtime):
                runtime = fields
        elif event.kind in ("failure", "remark"):
            remark = _remark(event.kind, fields, secrets)
            if len(remarks) < MOST_REMARKS:
                remarks.setdefault((remark.code, remark.message), remark)
    if left_out:
        message = f"{left_out} params beyond {MOST_PARAMS} are not in the record"
        remarks["params", ""] = Remark(code="params", message=message)
    return Told(
        params,
        tuple(_inside(model, inside, secrets) for model in models.values()),
        tuple(datasets.values()),
        tuple(captures[name] for name in sorted(captures)),
        roles,
        list(remarks.values()),
        runtime,
        _without_secrets_in(failure, secrets),
    )


def with_told(run: Run, told: Told) -> Run:
    """Return a record with what was told of frameworks in it."""
    return msgspec.structs.replace(
        run,
        params={**run.params, **told.params},
        models=told.models,
        datasets=told.datasets,
        captures=told.captures,
    )


def asked_to_capture(env: Mapping[str, str]) -> str | None:
    """Return what is to be captured of frameworks: their names, `off`, or None for all of them."""
    said = env.get(AUTOLOG, "").strip()
    return redact_text(printable(said[:_MOST_AUTOLOG])) or None


def with_roles(
    outputs: Iterable[File], roles: dict[str, tuple[str, str | None]]
) -> tuple[File, ...]:
    """Give outputs the roles that the run's processes named for them."""
    named = []
    for file in outputs:
        if file.path in roles:
            role, title = roles[file.path]
            file = msgspec.structs.replace(file, role=role, title=title)
        named.append(file)
    return tuple(named)


def _spelled(path: str, inside: tuple[str, ...]) -> str:
    """Return a path as the record spells it: relative to the run directory, if it is in there."""
    path = os.path.normpath(path)
    for directory in inside:
        if path.startswith(directory):
            return path_to_text(path[len(directory) :])
    return path_to_text(path)


def _fields_of(event: Event) -> dict[str, Any]:
    """Return an event's fields as a record can hold them; a path is spelled as paths are, later."""
    return {
        name: value if name == "path" and isinstance(value, str) else _plain(value, 0)
        for name, value in event.fields.items()
    }


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, int) and not isinstance(value, bool) and value not in _INT64:
        return str(value)
    if isinstance(value, dict | list) and depth >= _DEEPEST:
        return "..."
    if isinstance(value, dict):
        return {storable(name): _plain(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner, depth + 1) for inner in value]
    return value


def _params(fields: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    values = fields.get("values")
    if not isinstance(values, dict):
        return
    scope = fields.get("scope")
    for name, value in values.items():
        yield (f"{scope}.{name}" if scope else name), value


def _without_secrets(name: str, value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        if is_secret_name(name.rpartition(".")[2]):
            return REDACTED
        return _clean(value, secrets)
    if isinstance(value, dict):
        return {key: _without_secrets(str(key), inner, secrets) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_secrets(name, inner, secrets) for inner in value]
    return value


def _without_secrets_in(failure: Failure | None, secrets: tuple[str, ...]) -> Failure | None:
    if failure is None:
        return None
    texts = (printable(failure.message), printable(failure.traceback or ""))
    message, traceback = (redact_text(text) for text in hide(texts, secrets))
    return msgspec.structs.replace(failure, message=message, traceback=traceback or None)


def _clean(text: str, secrets: tuple[str, ...]) -> str:
    return redact_text(next(iter(hide((text,), secrets))))


def _read(fields: dict[str, Any], kind: Callable[..., _Value]) -> _Value | None:
    try:
        return msgspec.convert(fields, kind)  # type: ignore[no-any-return]
    except msgspec.ValidationError:
        return None


def _merge(former: Model, later: Model) -> Model:
    """Say of a model what both events say of it, the later one first."""
    news = {
        name: value
        for name in Model.__struct_fields__
        if (value := getattr(later, name)) not in (None, {}, ())
    }
    return msgspec.structs.replace(former, **news)


def _inside(model: Model, inside: tuple[str, ...], secrets: tuple[str, ...]) -> Model:
    if model.summary is not None:
        model = msgspec.structs.replace(model, summary=_clean(model.summary, secrets))
    if model.path is None:
        return model
    return msgspec.structs.replace(model, path=_spelled(model.path, inside))


def _note_capture(
    captures: dict[str, Capture], fields: dict[str, Any], secrets: tuple[str, ...]
) -> None:
    name = fields["name"]
    version = fields.get("version")
    detail = fields.get("detail")
    capture = Capture(
        framework=name,
        version=None if version is None else str(version),
        is_captured=fields.get("state") == "captured",
        detail=None if detail is None else _clean(str(detail), secrets),
    )
    former = captures.get(name)
    if former is None:
        captures[name] = capture
    elif former.is_captured:
        # A worker that says nothing of it takes nothing back of what its parent said.
        if not capture.is_captured or capture.detail is not None or former.detail is None:
            captures[name] = capture
    elif former.version is None:
        # What is not captured may fail before the package says which version it is.
        captures[name] = msgspec.structs.replace(former, version=capture.version)


def _count_libraries(fields: dict[str, Any]) -> int:
    libraries = fields.get("libraries")
    return len(libraries) if isinstance(libraries, list) else 0


def _remark(kind: str, fields: dict[str, Any], secrets: tuple[str, ...]) -> Remark:
    if kind == "remark":
        code, message = str(fields.get("code")), str(fields.get("message"))
    else:
        code = "capture"
        message = f"{fields.get('where')} was not captured: {fields.get('error')}"
        if fields.get("at"):
            message += f" ({fields['at']})"
    return Remark(code=code, message=printable(_clean(message, secrets)))
