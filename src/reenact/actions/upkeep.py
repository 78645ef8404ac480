"""Keep a store in order: check everything in it, and free what nothing refers to."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from reenact.actions.context import Context
from reenact.actions.recover import recover
from reenact.errors import ReenactError
from reenact.model.identity import Digest, RunId
from reenact.model.paths import text_to_path
from reenact.model.run import Run, Status
from reenact.snapshot.tree import read_tree
from reenact.store.blobs import digest_file
from reenact.store.files import remove_if_there, store_errors
from reenact.store.lock import Lock, is_locked
from reenact.store.metric_log import MetricLog
from reenact.store.output_log import output_size, read_output
from reenact.store.store import RECORD_DIRECTORY, Store, StoredRun

_POOL_AGE_S = 7 * 86400.0


class Problem(NamedTuple):
    """Something in the store that is not as it was written.

    Attributes:
        kind: stable name: `record`, `notes`, `blob-missing`, `blob-damaged`, `output-missing`,
            `output-changed`, `metrics`, `log`, `leftover`.
        where: run id or path.
        detail: what is wrong.
    """

    kind: str
    where: str
    detail: str


class Checked(NamedTuple):
    """What `check_store` found. `unfinished` are runs whose supervisor was killed."""

    runs: int
    blobs: int
    problems: list[Problem]
    unfinished: list[RunId]


class Freed(NamedTuple):
    """What `collect_garbage` removed, or would remove."""

    blobs: int
    size_bytes: int


def check_store(
    context: Context,
    *,
    quick: bool = False,
    repair: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Checked:
    """Check every record, every file that a record names, and every blob.

    Args:
        context: where the store is.
        quick: sizes only, no content of blobs and outputs.
        repair: close killed runs, and remove what killed writers left.
        progress: told what is looked at.

    Raises:
        NotFound: there is no store.
    """
    store = context.store
    store.check_format()
    problems: list[Problem] = []
    unfinished: list[RunId] = []
    good: dict[Digest, bool] = {}
    runs = 0
    for deleted in (False, True):
        for run_id in store.run_ids(deleted=deleted):
            runs += 1
            progress(run_id)
            stored = store.read_run(run_id, deleted=deleted)
            if repair and not deleted:
                stored = recover(store, stored)
            problems += _check_run(store, stored, good, quick=quick)
            run = stored.run
            if stored.status is Status.KILLED and run is not None and run.ended is None:
                unfinished.append(run_id)
    blobs = 0
    for digest in store.blobs.list():
        blobs += 1
        if digest not in good:
            problems += _check_blob(store, digest, None, good, "no run", quick=quick)
    for path in _leftovers(store):
        if repair:
            _remove(path)
        else:
            problems.append(Problem("leftover", path, "left by a writer that was killed"))
    return Checked(runs, blobs, problems, unfinished)


def collect_garbage(context: Context, *, dry_run: bool = False) -> Freed:
    """Remove the blobs that no run refers to, runs in the trash included.

    Waits for runs that are just being started.

    Raises:
        ReenactError: a record is damaged, so that nobody knows what it refers to.
    """
    store = context.store
    store.check_format()
    with store_errors(store.root):
        lock = Lock(f"{store.root}/gc.lock")
        lock.acquire(wait=True)
        try:
            needed = _needed(store)
            count = size = 0
            for digest in store.blobs.list():
                if digest in needed:
                    continue
                count += 1
                size += os.stat(store.blobs.path(digest)).st_size
                if not dry_run:
                    store.blobs.remove(digest)
            if not dry_run:
                _forget_trees(store)
                _thin_out_pool(store)
                for path in _leftovers(store):
                    _remove(path)
        finally:
            lock.release()
    return Freed(count, size)


def _needed(store: Store) -> set[Digest]:
    needed: set[Digest] = set()
    for deleted in (False, True):
        for run_id in store.run_ids(deleted=deleted):
            stored = store.read_run(run_id, deleted=deleted)
            if stored.run is None:
                raise ReenactError(
                    f"{stored.damage}; what it needs is not known, so nothing is freed",
                    hint=f"mend its run.json, or `reenact rm {run_id[:8]}` and `reenact purge`",
                )
            run = stored.run
            needed.update(d for d in (run.environment, run.machine) if d is not None)
            if run.source is not None and run.source.tree not in needed:
                needed.add(run.source.tree)
                try:
                    tree = read_tree(store.blobs, run.source.tree)
                except ReenactError:
                    continue
                needed.update(digest for _, _, _, digest in tree.files)
    return needed


def _check_run(
    store: Store, stored: StoredRun, good: dict[Digest, bool], *, quick: bool
) -> Iterator[Problem]:
    if stored.run is None:
        yield Problem("record", stored.id, stored.damage or "unreadable")
        return
    if stored.damage is not None:
        yield Problem("notes", stored.id, stored.damage)
    run = stored.run
    for digest in (run.environment, run.machine):
        if digest is not None:
            yield from _check_blob(store, digest, None, good, stored.id, quick=quick)
    if run.source is not None:
        found = list(_check_blob(store, run.source.tree, None, good, stored.id, quick=quick))
        yield from found
        if not found:
            for _, _, size, digest in read_tree(store.blobs, run.source.tree).files:
                yield from _check_blob(store, digest, size, good, stored.id, quick=quick)
    if run.ended is not None:
        yield from _check_files(stored, run, quick=quick)


def _check_files(stored: StoredRun, run: Run, *, quick: bool) -> Iterator[Problem]:
    record_directory = f"{stored.directory}/{RECORD_DIRECTORY}"
    for output in run.outputs:
        if output.digest is None:
            continue
        path = text_to_path(output.path)
        full = os.path.join(stored.directory, path)
        try:
            size = os.stat(full).st_size
            same = size == output.size_bytes and (quick or digest_file(full)[0] == output.digest)
        except OSError as error:
            yield Problem("output-missing", stored.id, f"{output.path}: {error.strerror}")
            continue
        if not same:
            yield Problem("output-changed", stored.id, f"{output.path} was changed since")
    ignored = MetricLog(record_directory).ignored_bytes
    if ignored:
        yield Problem("metrics", stored.id, f"{ignored} bytes of metrics cannot be read")
    indexed = sum(len(p.data) for p in read_output(record_directory) if p.time_ns is not None)
    if indexed != output_size(record_directory) and run.exit is not None:
        yield Problem("log", stored.id, "the log and its index do not fit together")


def _check_blob(
    store: Store,
    digest: Digest,
    size: int | None,
    good: dict[Digest, bool],
    needed_by: str,
    *,
    quick: bool,
) -> Iterator[Problem]:
    known = good.get(digest)
    if known is None:
        path = store.blobs.path(digest)
        try:
            if size is not None and os.stat(path).st_size != size:
                good[digest] = False
            else:
                good[digest] = quick or digest_file(path)[0] == digest
        except OSError as error:
            good[digest] = False
            yield Problem(
                "blob-missing", digest, f"needed by {needed_by}: {error.strerror or error}"
            )
            return
        if not good[digest]:
            yield Problem("blob-damaged", digest, f"its content was changed; for {needed_by}")


def _leftovers(store: Store) -> Iterator[str]:
    """Yield what killed processes left: temporary files, run directories never published."""
    yield from store.blobs.leftovers()
    for directory in (store.root, store.cache_directory):
        for name in _names(directory):
            if name.endswith(".tmp"):
                yield f"{directory}/{name}"
    for name in _names(store.runs_directory):
        path = f"{store.runs_directory}/{name}"
        if name.endswith(".new") and not is_locked(f"{path}/{RECORD_DIRECTORY}/lock"):
            yield path
    for name in _names(store.trash_directory):
        if name.endswith(".purged"):
            yield f"{store.trash_directory}/{name}"


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        remove_if_there(path)


def _forget_trees(store: Store) -> None:
    """Make the next snapshots put their source again: what they would skip may be gone."""
    for name in _names(store.cache_directory):
        if name.startswith("tree-"):
            remove_if_there(f"{store.cache_directory}/{name}")


def _thin_out_pool(store: Store) -> None:
    """Remove shared copies of source that no run directory uses and none has used for a week."""
    oldest = time.time() - _POOL_AGE_S
    for directory, _, names in os.walk(f"{store.root}/stage"):
        for name in names:
            path = f"{directory}/{name}"
            status = os.lstat(path)
            if status.st_nlink == 1 and status.st_ctime < oldest:
                remove_if_there(path)
