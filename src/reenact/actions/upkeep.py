"""Keep a store in order: check everything in it, and free what nothing refers to."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from reenact.actions.context import Context
from reenact.actions.recover import settle
from reenact.actions.referred import Referred, files_of_data_set, named_blobs, trees_of_lock
from reenact.errors import NotFound, ReenactError, TooNew
from reenact.execute.testimony import POINTS_WAITING
from reenact.model.identity import Digest, RunId
from reenact.model.paths import text_to_path
from reenact.model.run import Run, Status
from reenact.rebuild.environment import forget_environments
from reenact.snapshot.tree import read_tree
from reenact.store.blobs import digest_file
from reenact.store.files import delete_tree, is_abandoned, remove_if_there, store_errors
from reenact.store.lock import Lock, is_locked
from reenact.store.metric_log import MetricLog
from reenact.store.metric_parts import leftovers
from reenact.store.output_log import find_damage
from reenact.store.reproductions import Reproductions
from reenact.store.store import RECORD_DIRECTORY, Store, StoredRun

_POOL_AGE_S = 7 * 86400.0
_ENVIRONMENT_AGE_S = 30 * 86400.0
_COPY_AGE_S = 3600.0
_COPIES = ("inputs", "data-sets", "outside", "required")
"""In the cache: what `reproduce` lays out there of recorded contents."""
_MOMENT_S = 10.0
_NAMED = 3
"""More runs than this are counted in a message, not named."""


class Problem(NamedTuple):
    """Something in the store that is not as it was written.

    Attributes:
        kind: stable name: `record`, `notes`, `reproduction`, `blob-missing`, `blob-damaged`, `output-missing`,
            `output-changed`, `metrics`, `log`.
        where: run id or path.
        detail: what is wrong.
    """

    kind: str
    where: str
    detail: str


class Checked(NamedTuple):
    """What `check_store` found.

    Attributes:
        runs: how many there are, those in the trash included.
        blobs: how many there are.
        problems: what is not as it was written.
        unfinished: runs whose supervisor was killed and that nobody has closed yet.
        leftovers: what killed writers left; it has no meaning and does no harm.
    """

    runs: int
    blobs: int
    problems: list[Problem]
    unfinished: list[RunId]
    leftovers: list[str]


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
        repair: close killed runs, remove what killed writers left, and make the next snapshots
            bring back the missing blobs of files that have not changed.
        progress: told what is looked at.

    Raises:
        NotFound: there is no store.
    """
    store = context.store
    store.check_format()
    unfinished: list[RunId] = []
    check = _Check(store, quick=quick)
    runs = 0
    for deleted in (False, True):
        for run_id in store.run_ids(deleted=deleted):
            progress(run_id)
            try:
                stored = store.read_run(run_id, deleted=deleted)
            except NotFound:
                continue  # It was moved or deleted just now.
            runs += 1
            if repair and not deleted:
                stored = settle(store, stored)
            check.run(stored)
            if not deleted and stored.status is Status.KILLED and stored.record.ended is None:
                unfinished.append(run_id)
    check.trees()
    check.reproductions()
    blobs = check.blobs()
    leftovers = list(_leftovers(store))
    if repair:
        with store_errors(store.root):
            for path in leftovers:
                delete_tree(path)
            if check.bad:
                _forget_trees(store)
        leftovers = []
    return Checked(runs, blobs, check.all_problems(), unfinished, leftovers)


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
            if not dry_run:
                # First, because a snapshot that trusts them would name blobs that are gone.
                _forget_trees(store)
            count = size = 0
            for digest in store.blobs.list():
                if digest in needed:
                    continue
                try:
                    size += os.stat(store.blobs.path(digest)).st_size
                except FileNotFoundError:
                    continue
                count += 1
                if not dry_run:
                    store.blobs.remove(digest)
            if not dry_run:
                _thin_out_pool(store)
                _forget_copies(store)
                forget_environments(store.cache_directory, older_than_s=_ENVIRONMENT_AGE_S)
                for path in list(_leftovers(store)):
                    delete_tree(path)
        finally:
            lock.release()
    return Freed(count, size)


def _needed(store: Store) -> set[Digest]:
    referred = Referred(store.blobs)
    for deleted in (False, True):
        for run_id in store.run_ids(deleted=deleted):
            stored = store.read_run(run_id, deleted=deleted)
            if stored.run is None:
                raise ReenactError(
                    f"{stored.damage}; what it needs is not known, so nothing is freed",
                    hint=f"mend its run.json, or `reenact rm {run_id[:8]}` and `reenact purge`",
                )
            referred.add(stored.run)
    return referred.blobs


class _Bad(NamedTuple):
    kind: str
    reason: str
    needed_by: dict[RunId, None]


class _Check:
    """One pass over a store. Each blob is looked at once, however many runs need it."""

    def __init__(self, store: Store, *, quick: bool) -> None:
        self.store = store
        self.quick = quick
        self.bad: dict[Digest, _Bad] = {}
        self._problems: list[Problem] = []
        self._trees: dict[Digest, list[RunId]] = {}
        self._locks: dict[Digest, tuple[Digest, ...]] = {}
        self._good: set[Digest] = set()

    def run(self, stored: StoredRun) -> None:
        """Check a run's record and files; remember its tree."""
        run = stored.run
        if run is None:
            self._problems.append(Problem("record", stored.id, stored.damage or "unreadable"))
            return
        if stored.damage is not None:
            self._problems.append(Problem("notes", stored.id, stored.damage))
        for digest in (*named_blobs(run), *run.kept_inputs):
            self._blob(digest, None, [stored.id])
        for data_set in run.kept_data_sets:
            for digest in files_of_data_set(self.store.blobs, data_set):
                self._blob(digest, None, [stored.id])
        for source in run.sources:
            self._trees.setdefault(source.tree, []).append(stored.id)
        if run.lock is not None:
            if run.lock not in self._locks:
                self._locks[run.lock] = trees_of_lock(self.store.blobs, run.lock)
            for tree in self._locks[run.lock]:
                self._trees.setdefault(tree, []).append(stored.id)
        if any(remark.code == POINTS_WAITING for remark in run.warnings):
            self._problems.append(Problem("points-waiting", stored.id, "points wait for room"))
        if run.ended is not None:
            self._problems += _check_files(stored, run, quick=self.quick)

    def trees(self) -> None:
        """Check the source of the runs seen so far."""
        for tree, runs in self._trees.items():
            if not self._blob(tree, None, runs):
                continue
            try:
                files = read_tree(self.store.blobs, tree).files
            except ReenactError as error:
                self._good.discard(tree)
                self.bad[tree] = _Bad("blob-damaged", error.message, dict.fromkeys(runs))
                continue
            for _, _, size, digest in files:
                self._blob(digest, size, runs)

    def blobs(self) -> int:
        """Check the blobs that nothing refers to; return how many blobs there are."""
        count = 0
        for digest in self.store.blobs.list():
            count += 1
            self._blob(digest, None, [])
        return count

    def reproductions(self) -> None:
        """Look at the verdicts that are kept."""
        kept = Reproductions(self.store)
        for one in kept.ids():
            try:
                kept.read(one)
            except TooNew:
                continue
            except ReenactError as error:
                self._problems.append(Problem("reproduction", one, error.message))

    def all_problems(self) -> list[Problem]:
        """Return what was found."""
        found = [
            Problem(bad.kind, digest, f"{bad.reason}; needed by {_names_of(bad.needed_by)}")
            for digest, bad in self.bad.items()
        ]
        return self._problems + found

    def _blob(self, digest: Digest, size: int | None, needed_by: list[RunId]) -> bool:
        if digest in self._good:
            return True
        if digest in self.bad:
            self.bad[digest].needed_by.update(dict.fromkeys(needed_by))
            return False
        path = self.store.blobs.path(digest)
        kind = "blob-damaged"
        reason = None
        try:
            found = os.stat(path).st_size
            if size is not None and found != size:
                reason = f"it has {found} bytes in place of {size}"
            elif not self.quick and digest_file(path)[0] != digest:
                reason = "its content was changed"
        except FileNotFoundError:
            kind, reason = "blob-missing", "it is not in the store"
        except OSError as error:
            reason = f"it cannot be read: {error.strerror}"
        if reason is None:
            self._good.add(digest)
            return True
        self.bad[digest] = _Bad(kind, reason, dict.fromkeys(needed_by))
        return False


def _names_of(runs: Iterable[RunId]) -> str:
    names = [run_id[:8] for run_id in runs]
    if not names:
        return "no run"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"run{'s' * (len(names) > 1)} {', '.join(names[:_NAMED])}{more}"


def _check_files(stored: StoredRun, run: Run, *, quick: bool) -> Iterator[Problem]:
    record_directory = f"{stored.directory}/{RECORD_DIRECTORY}"
    # What a run in place made lies in the project, where anybody may change it.
    for output in () if run.in_place else run.outputs:
        if output.digest is None:
            continue
        path = text_to_path(output.path)
        if path.startswith("/"):
            continue  # Outside the run directory, too.
        full = os.path.join(stored.directory, path)
        try:
            size = os.stat(full).st_size
            same = size == output.size_bytes and (quick or digest_file(full)[0] == output.digest)
        except OSError as error:
            yield Problem("output-missing", stored.id, f"{output.path}: {error.strerror}")
            continue
        if not same:
            yield Problem("output-changed", stored.id, f"{output.path} was changed since")
    log = MetricLog(record_directory)
    try:
        for _ in () if quick else log.blocks():
            pass
    except NotFound:
        pass  # Parquet, and no pyarrow to look into it: nothing speaks against it.
    except ReenactError as error:
        yield Problem("metrics", stored.id, error.message)
    if log.ignored_bytes:
        yield Problem("metrics", stored.id, f"{log.ignored_bytes} bytes of metrics cannot be read")
    damage = find_damage(record_directory) if run.exit is not None else None
    if damage is not None:
        yield Problem("log", stored.id, damage)


def _leftovers(store: Store) -> Iterator[str]:
    """Yield what killed processes left: temporary files, run directories never published."""
    places = [store.root, store.cache_directory]
    for top in (store.blobs.root, f"{store.root}/stage"):
        places += [directory for directory, _, _ in os.walk(top)]
    for runs in (store.runs_directory, store.trash_directory):
        for name in _names(runs):
            path = f"{runs}/{name}"
            if name.endswith(".purged") or (name.endswith(".new") and _is_unpublished(path)):
                yield path
            else:
                places.append(f"{path}/{RECORD_DIRECTORY}")
                yield from leftovers(f"{path}/{RECORD_DIRECTORY}")
    for place in places:
        for name in _names(place):
            if is_abandoned(f"{place}/{name}"):
                yield f"{place}/{name}"


def _is_unpublished(path: str) -> bool:
    lock = f"{path}/{RECORD_DIRECTORY}/lock"
    if is_locked(lock):
        return False
    try:
        # Between the making of the directory, of its lock, and its taking there are moments.
        made = os.stat(lock if os.path.exists(lock) else path).st_mtime
    except OSError:
        return False
    return time.time() - made > _MOMENT_S


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _forget_trees(store: Store) -> None:
    """Make the next snapshots put their source again: what they would skip may be gone."""
    for name in _names(store.cache_directory):
        if name.startswith("tree-"):
            remove_if_there(f"{store.cache_directory}/{name}")
    delete_tree(f"{store.cache_directory}/locks")


def _forget_copies(store: Store) -> None:
    """Remove what reproductions were given of the store, unless a run may still read it."""
    for run_id in store.run_ids():
        if store.read_run(run_id).status in (Status.PENDING, Status.RUNNING):
            return
    oldest = time.time() - _COPY_AGE_S
    for name in _COPIES:
        for one in _names(f"{store.cache_directory}/{name}"):
            path = f"{store.cache_directory}/{name}/{one}"
            try:
                is_old = os.lstat(path).st_ctime < oldest
            except FileNotFoundError:
                continue
            if is_old:
                delete_tree(path)


def _thin_out_pool(store: Store) -> None:
    """Remove shared copies of source that no run directory uses and none has used for a week."""
    oldest = time.time() - _POOL_AGE_S
    for directory, _, names in os.walk(f"{store.root}/stage"):
        for name in names:
            path = f"{directory}/{name}"
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue
            if status.st_nlink == 1 and status.st_ctime < oldest:
                remove_if_there(path)
