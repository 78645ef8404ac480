"""Bring a run to its end whose supervisor was killed: nothing that it left is lost.

Such a run keeps its status `killed`: how its process ended is not known.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from datetime import UTC, datetime

import msgspec

from reenact.actions.randomness import randomness_of
from reenact.actions.run_definition import attributes_of_run, scalars_of_run
from reenact.actions.run_end import remove_testimony, write_with_blobs
from reenact.actions.run_facts import runtime_of
from reenact.actions.run_files import look_at_run, required_inputs, with_files, with_writers
from reenact.errors import ReenactError
from reenact.execute.journals import PROBE_DIRECTORY, JournalTail
from reenact.execute.metric_file import MetricFileTail
from reenact.execute.metric_patterns import line_reader
from reenact.execute.params_told import told_so_far
from reenact.execute.recorder import (
    SOURCE_FILE,
    SOURCE_OUTPUT,
    names_never_metrics,
)
from reenact.execute.stage import files_below, sweep_abandoned
from reenact.execute.testimony import (
    METRICS_FILE,
    POINTS_WAITING,
    RESERVE_FILE,
    describe_output,
    processes,
    read_hellos,
)
from reenact.execute.told import collect, with_roles, with_told
from reenact.execute.uses import sources_of
from reenact.interop.tensorboard import EventDirectoryTail
from reenact.model.metrics import Point
from reenact.model.paths import text_to_path
from reenact.model.record import decode_run
from reenact.model.run import File, Remark, Run, Status
from reenact.project.overrides import HYDRA
from reenact.snapshot.tree import SourceTree, read_tree
from reenact.store.blobs import digest_bytes
from reenact.store.files import delete_tree, read_file, remove_if_there
from reenact.store.index import Index
from reenact.store.lock import Lock, SharedLock
from reenact.store.metric_log import MetricLog, MetricWriter, compact_points
from reenact.store.output_log import STDERR, STDOUT, read_output
from reenact.store.store import RECORD_DIRECTORY, STOP_MARKER, Store, StoredRun


def recover(store: Store, stored: StoredRun) -> StoredRun:
    """Close a killed run: take in its last metrics, list its outputs, take its scaffolding away.

    A run that is not killed, that was closed before, or whose process still lives without its
    supervisor is returned as it is.
    """
    run = stored.run
    if stored.status is not Status.KILLED or run is None or run.ended is not None:
        return stored
    if orphans(run):
        return stored
    alone = Lock(store.record_path(run.id, "closing"))
    # Shared, because who asks meanwhile must not take us for the run's supervisor.
    kept = SharedLock(store.record_path(run.id, "lock"))
    try:
        if not alone.acquire() or not kept.acquire(wait=False):
            return stored
        if _is_still_open(store, run):
            if run.is_parent:
                _close_parent(store, run, stored.directory)
            else:
                _close(store, run, stored.directory)
    except Exception:  # noqa: BLE001  # one run that cannot be closed must not hide all others
        # The store cannot be written, points need a library that is not installed here, or what
        # the run left is beyond us: the store stays readable; the next reader tries again.
        return stored
    finally:
        kept.release(remove=True)
        alone.release(remove=True)
    with Index(store) as index:
        index.update(run.id)
    return store.read_run(run.id)


def _close(store: Store, run: Run, directory: str) -> None:
    record_directory = f"{directory}/{RECORD_DIRECTORY}"
    ended = _last_sign_of_life(record_directory)
    journals = JournalTail(record_directory)
    _catch_up_metrics(store, run, directory, journals)
    told = collect(journals.events, directory)
    found_in_output = attributes_of_run(store, run, record_directory)
    run = msgspec.structs.replace(run, params={**run.params, **found_in_output})
    tree = _source(store, run)
    hellos = read_hellos(record_directory)
    sources = sources_of(tree.files)
    # The environment of who looks at the run: that of the run is gone with its supervisor.
    found = look_at_run(store, run, directory, sources=sources, env=os.environ, hellos=hellos)
    if run.in_place or run.operation.is_in_process:
        outputs = tuple(describe_output(directory, path) for path in files_below(directory))
    else:
        outputs = _outputs(store, run, directory, tree)
    outputs = with_writers(outputs, directory, found)
    who = "process" if run.operation.is_in_process else "supervisor"
    metrics = MetricLog(record_directory).summarize()
    remark = Remark(code="killed", message=f"the {who} was killed; the end is not known")
    first = run.processes if run.operation.is_in_process else ()
    blobs = list(found.data_sets)
    if (runtime := runtime_of(store, run, told.runtime, directory)) is not None:
        blobs.append(runtime)
    closed = msgspec.structs.replace(
        with_told(with_files(run, found), told),
        randomness=randomness_of(run, directory, told.runtime),
        ended=ended,
        outputs=with_roles(outputs, told.roles),
        failure=told.failure,
        runtime=None if runtime is None else digest_bytes(runtime),
        processes=(*first, *processes(hellos)),
        metrics=metrics.summaries(),
        metric_sources=metrics.sources(),
        warnings=(*run.warnings, remark, *told.remarks, *found.remarks),
    )
    if closed.operation.flags_kind == HYDRA:
        from reenact.actions.composed_flags import with_composed_flags

        closed = with_composed_flags(closed, directory)
    write_with_blobs(store, closed, blobs)
    _clear(store, run, keeps_journals=False)
    compact_points(record_directory)


def _clear(store: Store, run: Run, *, keeps_journals: bool) -> None:
    """Remove everything of a run's supervisor, which is dead, and of its processes."""
    remove_testimony(store, run, keeps_journals=keeps_journals)
    names = os.listdir(os.path.dirname(store.record_path(run.id)))
    halves = [name for name in names if re.fullmatch(r"run\.json\..*\.tmp", name)]
    for name in (RESERVE_FILE, STOP_MARKER, *halves):
        remove_if_there(store.record_path(run.id, name))


def _close_parent(store: Store, run: Run, directory: str) -> None:
    """Close a batch or a pipeline: what its parts have done stands in their own records."""
    record_directory = f"{directory}/{RECORD_DIRECTORY}"
    parts = "trials" if run.batch is not None else "steps"
    remark = Remark(code="killed", message=f"the supervisor was killed; its {parts} went on")
    ended = _last_sign_of_life(record_directory)
    store.write_run(msgspec.structs.replace(run, ended=ended, warnings=(*run.warnings, remark)))
    remove_if_there(f"{record_directory}/stop")


def settle(store: Store, stored: StoredRun) -> StoredRun:
    """Do for a run whatever its supervisor could not do; of one that is watched over, nothing."""
    _tidy(store, stored)
    return store_waiting(store, recover(store, stored))


def _tidy(store: Store, stored: StoredRun) -> None:
    """Remove what a supervisor left that was killed when it had just written the end of its run."""
    run = stored.run
    if run is None or run.exit is None or not os.path.lexists(store.record_path(run.id, "lock")):
        return
    lock = store.lock(run.id)
    try:
        if lock.acquire():
            _clear(store, run, keeps_journals=has_waiting_points(run))
    except OSError:
        return
    finally:
        lock.release(remove=True)


def has_waiting_points(run: Run) -> bool:
    """Tell whether a run that has ended left points for which there was no room."""
    return any(warning.code == POINTS_WAITING for warning in run.warnings)


def store_waiting(store: Store, stored: StoredRun) -> StoredRun:
    """Store the points of a run that has ended for which there was no room at its end.

    Without room, or points that wait, the run is returned as it is.
    """
    run = stored.run
    if run is None or run.ended is None or not has_waiting_points(run):
        return stored
    lock = store.lock(stored.id)
    try:
        if not lock.acquire():
            return stored
        record_directory = f"{stored.directory}/{RECORD_DIRECTORY}"
        # What is stored of each source is its beginning.
        done = Counter(MetricLog(record_directory).counts_by_source())
        writer = MetricWriter(record_directory)
        for told in JournalTail(record_directory).finish():
            known = min(done[told.source], len(told.points))
            done[told.source] -= known
            writer.append(told.points[known:], told.source)
            if writer.lost:
                return stored
        writer.close()
        metrics = MetricLog(record_directory).summarize()
        whole = msgspec.structs.replace(
            run,
            metrics=metrics.summaries(),
            metric_sources=metrics.sources(),
            warnings=tuple(w for w in run.warnings if w.code != POINTS_WAITING),
        )
        store.write_run(whole)
        delete_tree(store.record_path(stored.id, PROBE_DIRECTORY))
        compact_points(record_directory)
    except OSError:
        return stored
    finally:
        lock.release(remove=True)
    with Index(store) as index:
        index.update(stored.id)
    return store.read_run(stored.id)


def _is_still_open(store: Store, run: Run) -> bool:
    """Tell, under the locks, that nobody has closed the run or run it again since it was read."""
    try:
        now = decode_run(read_file(store.record_path(run.id)), where=f"run {run.id[:8]}")
    except (OSError, ReenactError):
        return False
    return now.exit is None and now.ended is None and now.restarts == run.restarts


def orphans(run: Run) -> list[int]:
    """Return the processes of a run that live on: they carry its id in their environment."""
    mark = f"REENACT_RUN_ID={run.id}".encode()
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if name.isdigit():
            try:
                if mark in read_file(f"/proc/{name}/environ").split(b"\0"):
                    found.append(int(name))
            except OSError:
                continue
    return [pid for pid in found if pid != os.getpid()]


def _last_sign_of_life(directory: str) -> datetime:
    times = [
        entry.stat().st_mtime
        for entry in os.scandir(directory)
        if entry.name not in ("lock", "closing", "notes.json")
    ]
    return datetime.fromtimestamp(max(times), UTC)


def _catch_up_metrics(store: Store, run: Run, directory: str, journals: JournalTail) -> None:
    """Store the points that had been reported and not yet stored when the supervisor died.

    Every source is read again from its start; what is stored of it already is left out.
    """
    record_directory = f"{directory}/{RECORD_DIRECTORY}"
    log = MetricLog(record_directory)
    stored: Counter[str] = Counter(log.counts_by_source())
    # The lines of an attempt before a restart were taken in at its end, and are gone.
    began_ns = 0 if run.started is None else int(run.started.timestamp() * 1e9)
    stored[SOURCE_FILE] = log.counts_by_source(began_ns).get(SOURCE_FILE, 0)
    writer = MetricWriter(record_directory)
    exclude, is_param = names_never_metrics(run), told_so_far(journals)
    scalars = scalars_of_run(store, run)
    lines = {
        STDOUT: line_reader(scalars, exclude, is_param),
        STDERR: line_reader(scalars, exclude, is_param),
    }
    printed: list[Point] = []
    last_ns = 0
    for piece in read_output(record_directory):
        last_ns = piece.time_ns or last_ns
        printed += lines[piece.stream].feed(piece.data, last_ns)
    # Lines without an end may be halves: of `loss: 0.12` nobody knows how it went on.
    for rest in lines.values():
        printed += rest.finish(last_ns, was_cut_short=True)
    writer.append(printed[stored[SOURCE_OUTPUT] :], SOURCE_OUTPUT)
    from_file = MetricFileTail(f"{record_directory}/{METRICS_FILE}").poll()
    writer.append(from_file[stored[SOURCE_FILE] :], SOURCE_FILE)
    for told in journals.finish():
        done = min(stored[told.source], len(told.points))
        writer.append(told.points[done:], told.source)
        stored[told.source] -= done
    if not run.in_place:
        for events in EventDirectoryTail(directory).finish():
            writer.append(events.points[stored[events.source] :], events.source)
    writer.close()


def _source(store: Store, run: Run) -> SourceTree:
    if run.source is not None:
        try:
            return read_tree(store.blobs, run.source.tree)
        except ReenactError:
            # Without its list, source cannot be told from outputs: all of it counts as output.
            pass
    return SourceTree(files=[])


def _outputs(store: Store, run: Run, directory: str, tree: SourceTree) -> tuple[File, ...]:
    paths = sweep_abandoned(directory, text_to_path(run.project.root), tree, store.blobs)
    outputs = [describe_output(directory, path) for path in paths]
    given = {file.path: file.digest for file in required_inputs(run)}
    # A copy of what the operation requires that is as it was is none of the run's outputs.
    same = [
        file for file in outputs if file.digest is not None and file.digest == given.get(file.path)
    ]
    for file in same:
        remove_if_there(f"{directory}/{text_to_path(file.path)}")
    return tuple(file for file in outputs if file not in same)
