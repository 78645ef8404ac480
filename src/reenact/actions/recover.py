"""Bring a run to its end whose supervisor was killed: nothing that it left is lost.

Such a run keeps its status `killed`: how its process ended is not known.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from datetime import UTC, datetime

import msgspec

from reenact.actions.run_facts import runtime_of
from reenact.actions.run_files import look_at_run, with_files, with_writers
from reenact.errors import ReenactError
from reenact.execute.journals import PROBE_DIRECTORY, JournalTail
from reenact.execute.metric_file import MetricFileTail
from reenact.execute.metric_text import LineMetrics
from reenact.execute.opened import remove_log
from reenact.execute.recorder import (
    SOURCE_FILE,
    SOURCE_OUTPUT,
    names_never_metrics,
)
from reenact.execute.stage import files_below, sweep_abandoned
from reenact.execute.testimony import (
    METRICS_FILE,
    POINTS_WAITING,
    PROCESSES_FILE,
    RESERVE_FILE,
    describe_output,
    processes,
    read_hellos,
)
from reenact.execute.told import collect, with_roles
from reenact.execute.uses import sources_of
from reenact.interop.tensorboard import EventDirectoryTail
from reenact.model.identity import RunId
from reenact.model.metrics import Point
from reenact.model.paths import text_to_path
from reenact.model.record import decode_run
from reenact.model.run import File, Remark, Run, Status
from reenact.snapshot.tree import SourceTree, read_tree
from reenact.store.blobs import digest_bytes
from reenact.store.files import delete_tree, read_file, remove_if_there
from reenact.store.index import Index
from reenact.store.lock import Lock, SharedLock
from reenact.store.metric_log import MetricLog, MetricWriter, compact_points
from reenact.store.output_log import STDERR, STDOUT, read_output
from reenact.store.store import RECORD_DIRECTORY, Store, StoredRun


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
    _catch_up_metrics(run, directory, journals)
    told = collect(journals.events, directory)
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
        with_files(run, found),
        ended=ended,
        outputs=with_roles(outputs, told.roles),
        params=told.params,
        models=told.models,
        datasets=told.datasets,
        captures=told.captures,
        failure=told.failure,
        runtime=None if runtime is None else digest_bytes(runtime),
        processes=(*first, *processes(hellos)),
        metrics=metrics.summaries(),
        metric_sources=metrics.sources(),
        warnings=(*run.warnings, remark, *told.remarks, *found.remarks),
    )
    with store.writing():
        for content in blobs:
            store.blobs.put(content)
        store.write_run(closed)
    _remove_testimony(record_directory)
    delete_tree(f"{record_directory}/{PROBE_DIRECTORY}")
    compact_points(record_directory)


def _remove_testimony(record_directory: str) -> None:
    remove_log(record_directory)
    # Nobody but the run's supervisor, which is dead, has begun a record there.
    halves = [n for n in os.listdir(record_directory) if re.fullmatch(r"run\.json\..*\.tmp", n)]
    for name in (METRICS_FILE, PROCESSES_FILE, RESERVE_FILE, "stop", *halves):
        remove_if_there(f"{record_directory}/{name}")


def tidy(store: Store, stored: StoredRun) -> None:
    """Remove what a supervisor left that was killed when it had just written the end of its run."""
    run = stored.run
    if run is None or run.exit is None or not os.path.lexists(store.record_path(run.id, "lock")):
        return
    lock = store.lock(run.id)
    try:
        if lock.acquire():
            record_directory = f"{stored.directory}/{RECORD_DIRECTORY}"
            _remove_testimony(record_directory)
            if not any(remark.code == POINTS_WAITING for remark in run.warnings):
                delete_tree(f"{record_directory}/{PROBE_DIRECTORY}")
    except OSError:
        return
    finally:
        lock.release(remove=True)


def has_waiting_points(store: Store, run_id: RunId) -> bool:
    """Tell whether a run that has ended left points for which there was no room."""
    return os.path.isdir(store.record_path(run_id, PROBE_DIRECTORY))


def store_waiting(store: Store, stored: StoredRun) -> StoredRun:
    """Store the points of a run that has ended for which there was no room at its end.

    Without room, or points that wait, the run is returned as it is.
    """
    run = stored.run
    if run is None or run.ended is None or not has_waiting_points(store, stored.id):
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


def _catch_up_metrics(run: Run, directory: str, journals: JournalTail) -> None:
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
    exclude = names_never_metrics(run)
    lines = {
        STDOUT: LineMetrics(exclude),
        STDERR: LineMetrics(exclude),
    }
    printed: list[Point] = []
    last_ns = 0
    for piece in read_output(record_directory):
        last_ns = piece.time_ns or last_ns
        printed += lines[piece.stream].feed(piece.data, last_ns)
    # Lines without an end may be halves: of `loss: 0.12` nobody knows how it went on.
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
    return tuple(describe_output(directory, path) for path in paths)
