"""Outputs of another operation's run: which run that is, and which files it has.

A run counts when it is of this project, of the operation that is required, and has completed. The
latest one that is marked is taken, else the latest one; or the one that the user names.

What such a run itself was given is among its files, as far as it is still where it was.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from reenact.actions.resources import Around, Planned, unmet
from reenact.actions.resources.choose import choose
from reenact.actions.resources.file import list_files
from reenact.errors import NotFound, ReenactError
from reenact.model.identity import Digest, RunId
from reenact.model.paths import path_to_text, text_to_path
from reenact.model.record import flag_to_json
from reenact.model.run import OperationKind, Run, Status
from reenact.project.file.model import ResourceSource
from reenact.project.file.packages import full_names
from reenact.store.columns import IndexedRun, Kind, Operand
from reenact.store.index import Index
from reenact.store.query import Comparison, Filter, Relation, Value, ValueKind
from reenact.store.references import resolve
from reenact.store.store import Store

_LATEST = ("@latest", "latest")
_PLAIN = re.compile(r"[\w./:-]+\Z")
_NEVER = datetime.min.replace(tzinfo=UTC)


class _Chosen(NamedTuple):
    run: Run
    why: str
    remarks: tuple[str, ...] = ()


def plan_operation(
    resource: str,
    source: ResourceSource,
    model: str,
    around: Around,
    setting: tuple[str, str] | None,
) -> list[Planned]:
    """Choose the run whose files are taken; several where the user names several.

    Args:
        resource: what messages call it.
        source: what is required.
        model: name of the model whose resource it is: its operations are meant first.
        around: where.
        setting: flag and value by which the user names runs, or a directory.

    Raises:
        UnmetRequirement: there is no such run.
    """
    if setting is None and _is_awaited(source, model, around.awaited):
        return []
    if setting is None:
        chosen = _again(resource, around)
        if chosen is None:
            chosen = _remembered(resource, source, model, around)
            chosen = chosen._replace(remarks=_instead_of(resource, chosen.run, around))
        return [_planned(resource, source, chosen, around.store)]
    flag, text = setting
    directory = os.path.normpath(os.path.join(around.directory, os.path.expanduser(text)))
    if "/" in text and os.path.isdir(directory):
        files = {name: (f"{directory}/{name}", None) for name in list_files(directory)}
        pieces = choose(resource, source, files)
        return [Planned(resource, source, pieces, why=f"set by `{flag}={text}`")]
    names = [name.strip() for name in text.split(",") if name.strip()]
    found = []
    for name in names:
        if name in _LATEST:
            run = _latest(resource, source, model, around, marked_first=False)
            chosen = run._replace(why=f"the latest completed run, by `{flag}={name}`")
        else:
            chosen = _named(resource, source, model, around, flag, name)
        found.append(_planned(resource, source, chosen, around.store)._replace(flag=flag))
    return found


def _is_awaited(source: ResourceSource, model: str, awaited: frozenset[str]) -> bool:
    names = names_of(source)
    return any(name in awaited or f"{model}:{name}" in awaited for name in names)


def _planned(resource: str, source: ResourceSource, chosen: _Chosen, store: Store) -> Planned:
    run = chosen.run
    files = {}
    for name, (at, digest) in files_of(store, run).items():
        if not os.path.exists(at):
            raise unmet(
                resource,
                source,
                f"needs `{name}` of run {run.id[:8]}, which is not at `{at}` any more",
                "run the operation again, or name another run",
            )
        files[name] = (at, digest)
    return Planned(
        resource,
        source,
        choose(resource, source, files),
        run=run.id,
        why=chosen.why,
        flags={name: flag_to_json(value) for name, value in run.flags.items()},
        remarks=chosen.remarks,
    )


# --- which run ---


def names_of(source: ResourceSource) -> list[str]:
    """Return the operations that are required, any of which will do."""
    return [name.strip() for name in source.spec.split(",") if name.strip()]


def _again(resource: str, around: Around) -> _Chosen | None:
    """Return the run that a run took which is run again, while that is there."""
    former = around.former if around.among is None else None
    for one in former.dependencies if former is not None else ():
        if one.resource == resource and one.run is not None:
            try:
                run = around.store.read_run(one.run).record
            except ReenactError:
                return None
            assert former is not None
            return _Chosen(run, f"as in run {former.id[:8]}")
    return None


def _instead_of(resource: str, run: Run, around: Around) -> tuple[str, ...]:
    """Say that the run is gone which a run took that is run again."""
    former = around.former if around.among is None else None
    gone = [
        one.run[:8]
        for one in (former.dependencies if former is not None else ())
        if one.resource == resource and one.run is not None
    ]
    if former is None or not gone:
        return ()
    given = f"run {', '.join(gone)}, which run {former.id[:8]} was given,"
    return (f"`{resource}` is run {run.id[:8]}: {given} is gone",)


def _remembered(resource: str, source: ResourceSource, model: str, around: Around) -> _Chosen:
    key = ("operation", source.spec, model, around.among)
    if key not in around.memory:
        around.memory[key] = _latest(resource, source, model, around, marked_first=True)
    found: _Chosen = around.memory[key]
    return found


def _latest(
    resource: str, source: ResourceSource, model: str, around: Around, *, marked_first: bool
) -> _Chosen:
    runs = _runs_of(source, model, around)
    completed = [run for run in runs if run.status is Status.COMPLETED]
    marked = [run for run in completed if run.is_marked] if marked_first else []
    for run in (*marked, *completed):
        why = "the latest completed run"
        if marked:
            why = "the marked run" if len(marked) == 1 else "the latest marked run"
        try:
            return _Chosen(around.store.read_run(run.id).record, why)
        except ReenactError:
            continue  # It has been deleted just now, or is damaged.
    scope = "this project" if around.among is None else "this pipeline"
    listed = " or ".join(f"`{name}`" for name in names_of(source))
    first = names_of(source)[0]
    own = f"{model}:{first}" if model and ":" not in first and "/" not in first else first
    first = _full_name(own, around)
    problem = f"needs a completed run of {listed}, and {scope} has none"
    hint = f"run it first: `reenact run {first}`"
    if around.among is not None:
        hint = _from_outside(source, model, around, f"`reenact run {first}`")
    if runs:
        problem += f": its latest one, {runs[0].id[:8]}, is {runs[0].status}"
        hint += f"; to take that one all the same: `{resource}={runs[0].id[:8]}`"
    raise unmet(resource, source, problem, hint)


def _from_outside(source: ResourceSource, model: str, around: Around, command: str) -> str:
    """Say how a step that counts runs of its pipeline only is given another one."""
    rest = "else a step before this one has to run it"
    for run in _runs_of(source, model, around._replace(among=None)):
        if run.status is Status.COMPLETED:
            return f"run {run.id[:8]} would do with `isolate-runs: no` at the step; {rest}"
    return f"{rest}, or {command} first and `isolate-runs: no` at the step".removeprefix("else ")


def _named(
    resource: str, source: ResourceSource, model: str, around: Around, flag: str, text: str
) -> _Chosen:
    store = around.store
    try:
        store.check_format()
        with Index(store) as index:
            run_id = resolve(store, index, text, around.project)
        stored = store.read_run(run_id)
        run = stored.record
    except ReenactError as error:
        raise unmet(resource, source, f"was set to `{text}`: {error.message}", error.hint) from None
    if run.batch is not None:
        raise unmet(
            resource,
            source,
            f"was set to `{text}`, a batch, which has no files of its own",
            f"name one of its trials: `{flag}={text}/1`, or `{text}/best`",
        )
    if stored.status in (Status.STAGED, Status.PENDING):
        raise unmet(resource, source, f"was set to run {run_id[:8]}, which has not started yet")
    remarks = []
    if stored.status is not Status.COMPLETED:
        remarks.append(f"`{resource}` is run {run_id[:8]}, which is {stored.status}")
    if run.project.id != around.project:
        remarks.append(f"`{resource}` is run {run_id[:8]} of another project, {run.project.name}")
    elif not _is_meant(run.operation.name, source, model, around.package):
        remarks.append(f"`{resource}` is run {run_id[:8]} of `{run.operation.name}`")
    return _Chosen(run, f"set by `{flag}={text}`", tuple(remarks))


def _runs_of(source: ResourceSource, model: str, around: Around) -> list[IndexedRun]:
    """Return the runs of the operations that are required, of this project, the latest first.

    Those of the operation in the same model come alone, where there are any.
    """
    store = around.store
    try:
        store.check_format()
    except NotFound:
        return []
    found: dict[RunId, IndexedRun] = {}
    with Index(store) as index:
        for name in names_of(source):
            mine = [
                run
                for run in _of_operation(index, name, around)
                if around.among is None or run.id in around.among
            ]
            own = _full_name(f"{model}:{name}", around)
            of_model = [run for run in mine if run.operation == own]
            found.update((run.id, run) for run in of_model or mine)
    return sorted(found.values(), key=lambda run: run.created or _NEVER, reverse=True)


def _of_operation(index: Index, name: str, around: Around) -> list[IndexedRun]:
    def fitting(which: Filter | None) -> list[IndexedRun]:
        return [
            run
            for run in index.query(which, project=around.project)
            if run.operation is not None
            and run.project_id == around.project
            and run.kind != OperationKind.BATCH
            and _fits(run.operation, name, around.package)
        ]

    # Nearly always the operation has exactly this name.
    return fitting(_operation_is(_full_name(name, around))) or fitting(None)


def _full_name(name: str, around: Around) -> str:
    """Return what runs of a required operation are called, where a package's own are meant too."""
    return name if around.package is None or "/" in name else f"{around.package}/{name}"


def _is_meant(operation: str, source: ResourceSource, model: str, package: str | None) -> bool:
    names = names_of(source)
    own = [f"{model}:{name}" for name in names] if model else []
    return any(_fits(operation, name, package) for name in (*names, *own))


def _fits(operation: str, name: str, package: str | None) -> bool:
    """Tell whether an operation is the required one: by its name, with or without the model's.

    Args:
        operation: as its runs have it, `package/model:operation`.
        name: as it is required.
        package: of the operation that requires it: its own operations are meant.
    """
    place, _, inside = operation.rpartition("/")
    own = inside.rpartition(":")[2]
    if _PLAIN.match(name):
        wanted, slash, name = name.rpartition("/")
        if place not in (full_names(wanted) if slash else (package or "",)):
            return False
        return inside == name.removeprefix(":") if ":" in name else name in (inside, own)
    texts = [inside, own] if place == (package or "") else []
    try:
        return any(re.fullmatch(name, text) for text in (operation, *texts))
    except re.error:
        return False


def _operation_is(name: str) -> Filter:
    operand = Operand(Kind.ATTRIBUTE, "op")
    value = Value(ValueKind.TEXT, name)
    return Filter(f"op = {name}", Comparison(operand, Relation.EQUAL, (value,)))


# --- which files ---


def files_of(store: Store, run: Run) -> dict[str, tuple[str, Digest | None]]:
    """Return where the files are that a run has left or was given, and the digest each had then."""
    directory = store.directory(run.id)
    root = text_to_path(run.project.root)
    files: dict[str, tuple[str, Digest | None]] = {}
    for output in run.outputs:
        path = text_to_path(output.path)
        at = path if os.path.isabs(path) else f"{directory}/{path}"
        if os.path.isabs(path):
            if not run.in_place or not path.startswith(f"{root}/"):
                continue
            path = path[len(root) + 1 :]
        if output.target is not None and not os.path.exists(at):
            continue
        files[path] = (at, output.digest)
    given = {path for one in run.dependencies for path in one.paths}
    for file in run.inputs:
        if file.path not in given:
            continue
        path = text_to_path(file.path)
        at = text_to_path(file.resolved) if file.resolved else f"{root}/{path}"
        if file.files is None:
            files.setdefault(path, (at, file.digest))
            continue
        for name, digest in _listed(store, file.digest):
            files.setdefault(f"{path}/{name}", (f"{at}/{name}", digest))
    return files


def _listed(store: Store, digest: Digest | None) -> Iterable[tuple[str, Digest | None]]:
    from reenact.execute.data_sets import read_data_set

    if digest is None:
        return []
    try:
        listed = read_data_set(store.blobs, digest).files
    except (ReenactError, msgspec.DecodeError):
        return []
    return [(text_to_path(name), digest) for name, _, digest in listed]


def describe_run(run: RunId) -> str:
    """Return what an input's `origin` says of one that comes from a run."""
    return path_to_text(f"run {run[:8]}")
