"""Take the runs of a bundle into a store: all that is in it is verified before any of it is there."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import msgspec

from reenact.actions.context import Context
from reenact.actions.referred import trees_of_lock
from reenact.errors import Damaged, ReenactError
from reenact.execute.data_sets import read_data_set
from reenact.model.bundle import Manifest
from reenact.model.identity import Digest, RunId, is_run_id
from reenact.model.paths import landing, text_to_path
from reenact.model.record import encode_run
from reenact.model.run import Run, Status
from reenact.snapshot.tree import read_tree
from reenact.store.archive import Archive, Progress, check_room
from reenact.store.blobs import Blobs
from reenact.store.files import delete_tree, store_errors, temporary_name
from reenact.store.lock import Lock, SharedLock
from reenact.store.reproductions import Reproductions
from reenact.store.store import RECORD_DIRECTORY, Store, StoredRun

_PREFIX = "import"
_LOCK = "import.lock"
_TOUCH_S = 5.0


class Received(NamedTuple):
    """What has come of a bundle.

    Attributes:
        manifest: the list of what is in it.
        new: runs that were not there before.
        known: runs that were there already, the same.
    """

    manifest: Manifest
    new: tuple[RunId, ...]
    known: tuple[RunId, ...]


def receive(
    context: Context,
    path: str,
    *,
    progress: Progress = lambda _done, _all: None,
) -> Received:
    """Take the runs of a bundle into the store. Nothing is executed.

    Whoever is killed meanwhile leaves complete runs, or none, and nothing else that counts.

    Args:
        context: where.
        path: the file.
        progress: told how many bytes are verified, of how many.

    Raises:
        NotFound: there is no such file.
        Damaged: it is no bundle, not as it was written, or leads out of the store; nothing is kept.
        TooNew: a later version wrote it.
        ReenactError: a run of the same id is there that is another one; nothing is kept.
        StoreUnusable: the store cannot be written.
    """
    store = context.store
    with Archive(os.path.join(context.directory, path)) as archive:
        store.create()
        with store_errors(store.root):
            _remove_abandoned(store.root)
            check_room(store.root, archive.size_bytes)
            with SharedLock(f"{store.root}/{_LOCK}"):
                staging = temporary_name(f"{store.root}/{_PREFIX}")
                os.mkdir(staging, 0o700)
                try:
                    archive.extract(staging, _Alive(staging, progress))
                    return _publish(store, staging, archive)
                except RecursionError:
                    raise _refused(path, "a record is nested too deeply") from None
                finally:
                    delete_tree(staging)


def verify(
    context: Context, path: str, *, progress: Progress = lambda _done, _all: None
) -> Manifest:
    """Read all of a bundle, and return what is in it. No store is needed.

    Raises:
        NotFound, Damaged, TooNew, ReenactError: as `receive`.
    """
    with Archive(os.path.join(context.directory, path)) as archive:
        archive.verify(progress)
        return archive.manifest


class _Alive:
    """Passes on how far an import is, and shows that somebody is at work on it.

    What nobody has touched for long counts as abandoned on other machines.
    """

    def __init__(self, staging: str, progress: Progress) -> None:
        self._staging = staging
        self._progress = progress
        self._touched_at = time.monotonic()

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        now = time.monotonic()
        if now - self._touched_at > _TOUCH_S:
            self._touched_at = now
            os.utime(self._staging)
        self._progress(done_bytes, total_bytes)


def _remove_abandoned(root: str) -> None:
    """Remove what imports have left that were killed, unless one is going on."""
    lock = Lock(f"{root}/{_LOCK}")
    if not lock.acquire():
        return
    try:
        for name in os.listdir(root):
            if name.startswith(f"{_PREFIX}.") and name.endswith(".tmp"):
                delete_tree(f"{root}/{name}")
    finally:
        lock.release()


def _publish(store: Store, staging: str, archive: Archive) -> Received:
    inside = Store(staging)
    runs = {run_id: _checked(inside, run_id, archive.path) for run_id in inside.run_ids()}
    manifest = archive.manifest
    absent = [run_id for run_id in manifest.runs if run_id not in runs]
    if absent or not runs:
        raise Damaged(f"the bundle `{archive.path}` is damaged: a run of it is not in it")
    _check_blobs(inside, runs, archive.path)
    # `gc` does not look while blobs are there that no run names yet.
    with store.writing():
        new = [run_id for run_id, run in runs.items() if not _is_known(store, run)]
        for digest in inside.blobs.list():
            _move_blob(inside.blobs, store.blobs, digest)
        for run_id, run in runs.items():
            if run_id in new:
                _move_run(inside, store, run)
            else:
                _keep_more(store, run)
        _move_reproductions(inside, store)
    return Received(manifest, tuple(new), tuple(one for one in runs if one not in new))


# --- nothing is believed ---


def _checked(inside: Store, run_id: RunId, path: str) -> Run:
    """Return the record of a run in a bundle, or refuse it."""
    stored = inside.read_run(run_id)
    run = stored.run
    if run is None or stored.damage is not None:
        raise Damaged(f"the bundle `{path}` is damaged: {stored.damage}")
    if run.ended is None or stored.status in (Status.STAGED, Status.PENDING, Status.RUNNING):
        raise _refused(path, f"run {run_id[:8]} has not ended")
    ids = (run.like, run.parent, run.reproduces, run.resumes, *(d.run for d in run.dependencies))
    if any(one is not None and not is_run_id(one) for one in ids):
        raise _refused(path, f"run {run_id[:8]} names a run that cannot be")
    outputs = (output.path for output in run.outputs if not output.path.startswith("/"))
    for text in (*outputs, *(path for one in run.dependencies for path in one.paths)):
        if not _stays(text_to_path(text)):
            raise _refused(path, f"an output of run {run_id[:8]} leads out of its directory")
    steps = [step.cwd for step in run.every_step]
    if not all(_stays(one) or one in ("", ".") for one in (run.cwd, *steps)):
        raise _refused(path, f"run {run_id[:8]} works outside its directory")
    return run


def _check_blobs(inside: Store, runs: dict[RunId, Run], path: str) -> None:
    """Refuse source, packages and data sets of which a file would lie elsewhere than below them."""
    seen: set[Digest] = set()
    for run in runs.values():
        trees = [source.tree for source in run.sources]
        if run.lock is not None and run.lock not in seen:
            seen.add(run.lock)
            trees += trees_of_lock(inside.blobs, run.lock)
        for tree in trees:
            if tree in seen:
                continue
            seen.add(tree)
            for name in _names_of_tree(inside.blobs, tree):
                if not _stays(name):
                    raise _refused(path, f"`{name}` in a tree of run {run.id[:8]} leads out of it")
        for file in run.inputs:
            if file.files is None or file.digest is None or file.digest in seen:
                continue
            seen.add(file.digest)
            try:
                listed = read_data_set(inside.blobs, file.digest).files
            except msgspec.DecodeError as error:
                raise Damaged(f"the bundle `{path}` is damaged: {error}") from None
            if not all(_stays(text_to_path(name)) for name, _, _ in listed):
                raise _refused(path, f"a data set of run {run.id[:8]} leads out of its directory")


def _names_of_tree(blobs: Blobs, tree: Digest) -> Iterator[str]:
    found = read_tree(blobs, tree)
    links = {text_to_path(path) for path, _ in found.links}
    for text, _, _, _ in found.files:
        path = text_to_path(text)
        yield path
        parts = path.split("/")
        if any("/".join(parts[:count]) in links for count in range(1, len(parts))):
            yield f"../{path}"
    for text, target in found.links:
        path, to = text_to_path(text), text_to_path(target)
        yield path
        where = None if to.startswith("/") else landing(path, to, links)
        yield "/" if where is None else where


def _stays(path: str) -> bool:
    """Whether a relative path stays below where it begins."""
    if path.startswith("/") or "\0" in path:
        return False
    return ".." not in path.split("/")


def _refused(path: str, detail: str) -> Damaged:
    return Damaged(f"the bundle `{path}` is refused: {detail}")


# --- publishing ---


def _is_known(store: Store, run: Run) -> bool:
    """Tell whether the store has this very run; raises ReenactError where it has another one."""
    if os.path.isdir(store.directory(run.id, deleted=True)):
        raise ReenactError(
            f"run {run.id[:8]} is in the trash of this store",
            hint=f"`reenact restore {run.id[:8]}` brings it back, `reenact purge` deletes it",
        )
    if not os.path.isdir(store.directory(run.id)):
        return False
    found: StoredRun = store.read_run(run.id)
    if found.run is None or _identity(found.run) != _identity(run):
        raise ReenactError(
            f"run {run.id[:8]} is in this store already, and its record is another one",
            hint="take the bundle into another store: `reenact -H DIR import FILE`",
        )
    return True


def _identity(run: Run) -> bytes:
    """Return what makes a record the same one: not which of its data is kept."""
    inputs = tuple(msgspec.structs.replace(file, is_kept=False) for file in run.inputs)
    return encode_run(msgspec.structs.replace(run, inputs=inputs))


def _move_blob(inside: Blobs, blobs: Blobs, digest: Digest) -> None:
    size = os.stat(inside.path(digest)).st_size
    if blobs.has(digest, size):
        return
    path = blobs.path(digest)
    try:
        os.rename(inside.path(digest), path)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.rename(inside.path(digest), path)


def _move_run(inside: Store, store: Store, run: Run) -> None:
    """Make a run appear, all at once; somebody else may just have done so."""
    os.makedirs(f"{inside.directory(run.id)}/{RECORD_DIRECTORY}", exist_ok=True)
    try:
        os.rename(inside.directory(run.id), store.directory(run.id))
    except OSError:
        if not os.path.isdir(store.directory(run.id)) or not _is_known(store, run):
            raise


def _keep_more(store: Store, run: Run) -> None:
    """Let a run that was there keep what the bundle has of its data."""
    lock = store.lock(run.id)
    if not lock.acquire():
        return
    try:
        # Under the lock: somebody else may just have changed a tag.
        found = store.read_run(run.id).record
        inputs = tuple(
            msgspec.structs.replace(ours, is_kept=ours.is_kept or theirs.is_kept)
            for ours, theirs in zip(found.inputs, run.inputs, strict=True)
        )
        if inputs != found.inputs:
            store.write_run(msgspec.structs.replace(found, inputs=inputs))
    finally:
        lock.release(remove=True)


def _move_reproductions(inside: Store, store: Store) -> None:
    there, here = Reproductions(inside), Reproductions(store)
    known = set(here.ids())
    for one in there.ids():
        if one in known:
            continue
        with suppress(ReenactError):
            here.write(there.read(one))
