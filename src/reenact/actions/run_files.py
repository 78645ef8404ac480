"""What a run reads and writes: have it watched, then say what was seen."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from reenact.errors import ReenactError
from reenact.execute.opened import OPENED_FILE, create_log, read_log
from reenact.execute.preload import find_preload
from reenact.model.environment import OriginKind, decode_environment
from reenact.model.identity import Digest
from reenact.model.paths import path_to_text, printable, text_to_path
from reenact.model.run import File, OperationKind, Process, Remark, Run
from reenact.model.words import counted
from reenact.store.store import RECORD_DIRECTORY, Store

if TYPE_CHECKING:
    from reenact.execute.inputs import Found

TRACES = ("preload", "audit", "off")
"""How files are watched: by all means, by the probe in Python processes only, not at all."""

KEEP_NONE, KEEP_SMALL, KEEP_ALL = KEEPS = ("none", "small", "all")
"""Of which inputs the content is kept, so that the run can be run again without them."""

UNWATCHED = ("scan",)

_DIGESTS = "digests.db"


class Watch(msgspec.Struct, frozen=True):
    """How a run is watched.

    Attributes:
        variables: to set for it.
        gap: why native programs and libraries are not watched; None where they are.
        coverage: who watches, where that is known beforehand: for nobody at all.
    """

    variables: dict[str, str]
    gap: str | None = None
    coverage: tuple[str, ...] = ()


def watch_files(store: Store, record_directory: str, trace: str, env: Mapping[str, str]) -> Watch:
    """Prepare for watching a run.

    Args:
        store: the run's.
        record_directory: the run's `.reenact/`.
        trace: one of TRACES.
        env: the run's environment.
    """
    if trace != "preload":
        words = {"off": "files were not watched", "audit": "only Python was watched"}
        gap = f"{words[trace]}: `--trace-files {trace}`"
        if trace == "off":
            return Watch({"REENACT_TRACE_FILES": "off"}, gap, UNWATCHED)
        return Watch({}, gap)
    home = env.get("HOME") or os.path.expanduser("~")
    user_cache = env.get("XDG_CACHE_HOME") or f"{home}/.cache"
    found = find_preload((f"{user_cache}/reenact", store.cache_directory), env)
    if found.library is None:
        return Watch({}, found.reason)
    try:
        create_log(record_directory)
    except OSError as error:
        return Watch({}, f"`{OPENED_FILE}` cannot be made: {error.strerror}")
    former = env.get("LD_PRELOAD", "")
    variables = {}
    if found.library not in former.replace(":", " ").split():
        # Last: what the user preloads is asked first, as it would be without us.
        variables["LD_PRELOAD"] = f"{former}:{found.library}" if former else found.library
    # A program with AddressSanitizer refuses to start when it is not the first of all libraries.
    options = env.get("ASAN_OPTIONS", "")
    if "verify_asan_link_order" not in options:
        own = "verify_asan_link_order=0"
        variables["ASAN_OPTIONS"] = f"{options}:{own}" if options else own
    return Watch(variables)


def look_at_run(
    store: Store,
    run: Run,
    directory: str,
    *,
    sources: Mapping[str, tuple[Digest, int]],
    env: Mapping[str, str],
    hellos: Iterable[Mapping[str, Any]],
    provided: Mapping[str, str] = MappingProxyType({}),
) -> Found:
    """Say what a run read and wrote, before its directory is tidied up.

    Args:
        store: the run's.
        run: its record so far.
        directory: the run directory.
        sources: the project's source files of which it had copies.
        env: its environment.
        hellos: what the probe said in its Python processes.
        provided: path -> where what lay there came from, instead of from the project.
    """
    # Imported here, where a process has ended or while it runs, and not before it starts.
    from reenact.execute.inputs import found_nothing

    try:
        found = _look(store, run, directory, sources, env, list(hellos), provided)
    except Exception as error:  # noqa: BLE001  # the record of a run must not fail because of its files
        problem = f"what was read could not be recorded: {type(error).__name__}: {error}"
        return found_nothing(Remark(code="inputs", message=printable(problem)))
    return found._replace(coverage=UNWATCHED) if run.coverage == UNWATCHED else found


def _editable_places(store: Store, run: Run) -> list[str]:
    """Return the directories of installed projects, which finders import from without a path."""
    if run.environment is None:
        return []
    from urllib.parse import unquote, urlsplit

    try:
        data = store.blobs.get(run.environment)
        packages = decode_environment(data, where="the environment").packages or ()
    except ReenactError:
        return []
    return [
        unquote(urlsplit(package.origin.url).path)
        for package in packages
        if package.origin is not None and package.origin.kind is OriginKind.EDITABLE
    ]


def _look(
    store: Store,
    run: Run,
    directory: str,
    sources: Mapping[str, tuple[Digest, int]],
    env: Mapping[str, str],
    hellos: list[Mapping[str, Any]],
    provided: Mapping[str, str],
) -> Found:
    from reenact.execute.inputs import look_at_files
    from reenact.execute.keeping import limits_of
    from reenact.execute.uses import Place
    from reenact.execute.whereabouts import whereabouts
    from reenact.store.digests import Digests

    project = text_to_path(run.project.root)
    began = run.started or run.created
    place = Place(
        run=None if run.in_place else directory,
        project=project,
        store=store.root,
        sources=sources,
        began_ns=int(began.timestamp() * 1e6) * 1000,
        elsewhere=whereabouts(env, [*hellos, {"path": _editable_places(store, run)}], project),
        required={**provided, **_places(run)},
    )
    with Digests(f"{store.cache_directory}/{_DIGESTS}") as digests:
        log = read_log(f"{directory}/{RECORD_DIRECTORY}")
        limits = limits_of(run.keep_data)
        found = look_at_files(log, place, digests, hellos, limits=limits)
    return found._replace(inputs=tuple(_kept_already(store, found.inputs, provided)))


def _kept_already(
    store: Store, inputs: Iterable[File], provided: Mapping[str, str]
) -> Iterator[File]:
    """Say of inputs that came from the store that their content is kept: by this run as well."""
    for file in inputs:
        is_provided = file.files is None and text_to_path(file.path) in provided
        if is_provided and file.digest is not None and store.blobs.has(file.digest):
            yield msgspec.structs.replace(file, is_kept=True)
        else:
            yield file


def with_files(run: Run, found: Found, met: tuple[Process, ...] = ()) -> Run:
    """Return a record with what was found in it, but for the outputs.

    Args:
        run: the record.
        found: what was found.
        met: Python processes that were met alive and that the probe did not reach.
    """
    from reenact.execute.census import join_unreached

    # What executes a notebook is ours.
    own = run.process_group if run.operation.kind is OperationKind.NOTEBOOK else None
    return msgspec.structs.replace(
        run,
        inputs=_with_required(run, found.inputs),
        contacted=found.contacted,
        coverage=found.coverage,
        other_reads=found.other_reads,
        unreached=join_unreached(met, found.unreached, without=own),
    )


def required_inputs(run: Run) -> list[File]:
    """Return the inputs that a run was given because its operation requires them."""
    given = {path for one in run.dependencies for path in one.paths}
    return [file for file in run.inputs if file.path in given or _is_source(run, file)]


def _is_source(run: Run, file: File) -> bool:
    """Tell whether an input is source that a project file names, which may lie elsewhere."""
    return run.operation.definition is not None and file.role == "source"


def _places(run: Run) -> dict[str, str]:
    """Return where that is which a run was given; empty for what was made in its own directory."""
    made = {path for one in run.dependencies if one.is_rewritten for path in one.paths}
    return {
        text_to_path(file.path): "" if file.path in made else text_to_path(file.resolved or "")
        for file in required_inputs(run)
        if file.path in made or file.resolved is not None
    }


def _with_required(run: Run, found: Iterable[File]) -> tuple[File, ...]:
    """Join what was seen to be read with what was required: that is an input, read or not."""
    required = {file.path: file for file in required_inputs(run)}
    if not required:
        return tuple(found)
    others = []
    for file in found:
        covering = _covering(required, file.path)
        if covering is None:
            others.append(file)
            continue
        is_same = covering.path == file.path and covering.files is None
        is_other = is_same and file.digest not in (None, covering.digest)
        required[covering.path] = msgspec.structs.replace(
            covering,
            process=file.process if covering.process is None else covering.process,
            said=file.said if is_same else covering.said,
            is_changed=covering.is_changed or file.is_changed or is_other,
        )
    return tuple(sorted((*others, *required.values()), key=lambda file: file.path))


def _covering(required: Mapping[str, File], path: str) -> File | None:
    at = path
    while at:
        if at in required:
            return required[at]
        at = at.rpartition("/")[0]
    return None


def with_writers(outputs: Iterable[File], directory: str, found: Found) -> tuple[File, ...]:
    """Say of outputs in `directory` which process wrote them first; add those from elsewhere."""
    by_text = {
        path_to_text(os.path.relpath(path, directory)): process
        for path, process in found.writers.items()
        if path.startswith(f"{directory}/")
    } | {path_to_text(path): process for path, process in found.writers.items()}
    named = [
        msgspec.structs.replace(file, process=by_text[file.path]) if file.path in by_text else file
        for file in outputs
    ]
    known = {file.path for file in named}
    return (*named, *(file for file in found.outputs if file.path not in known))


def describe_coverage(run: Run) -> list[tuple[str, str, str]]:
    """Say how well it is known what a run read and wrote: `ok` or `note`, of what, and what."""
    if not run.coverage:
        return [("note", "inputs", "it is not recorded who watched")]
    files = sum(file.files or 1 for file in run.inputs)
    seen = counted(files, "file")
    if files != len(run.inputs):
        seen += f" in {counted(len(run.inputs), 'input')}"
    if "preload" in run.coverage:
        found = [("ok", "inputs", f"{seen} read by programs of any language")]
        missed = "statically linked programs are not seen"
    elif "audit" in run.coverage:
        found = [("note", "inputs", f"{seen} read by Python, through functions of its own")]
        missed = "other programs and native readers of data are not seen"
    else:
        found = [("note", "inputs", "nobody watched what was read")]
        missed = "only the run directory was looked at, before and after"
    why = f": {run.coverage_gap}" if run.coverage_gap else ""
    found.append(("note", "inputs", f"{missed}{why}"))
    if run.other_reads:
        text = ", ".join(f"{count} {kind}" for kind, count in run.other_reads.items())
        found.append(("ok", "other files", f"opened, and no inputs: {text}"))
    if run.contacted:
        text = f"{counted(len(run.contacted), 'address', 'addresses')} asked: what came is not kept"
        found.append(("note", "network", text))
    return found


def without_lost(run: Run, lost: Container[str]) -> Run:
    """Return a record that does not say of inputs at these paths that their content is kept."""
    inputs = [
        msgspec.structs.replace(file, role=None, is_kept=False) if file.path in lost else file
        for file in run.inputs
    ]
    return msgspec.structs.replace(run, inputs=tuple(inputs))


def without_lists(run: Run, why: str) -> Run:
    """Return a record for a store that has no room for what its inputs name."""
    inputs = []
    for file in run.inputs:
        if file.files is not None:
            reason = f"its list was not kept: {why}"
            inputs.append(msgspec.structs.replace(file, digest=None, reason=reason, is_kept=False))
        else:
            # The digest says something without the content, too.
            inputs.append(msgspec.structs.replace(file, role=None, is_kept=False))
    return msgspec.structs.replace(run, inputs=tuple(inputs))
