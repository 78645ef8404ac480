"""Write the last version of a run's record, on a full disk, too, and take away what it replaces."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress

import msgspec

from reenact.actions.run_files import without_lists, without_lost
from reenact.execute.chances import REMOVED as CHANCE_FILES
from reenact.execute.journals import PROBE_DIRECTORY
from reenact.execute.opened import remove_log
from reenact.execute.testimony import METRICS_FILE, PROCESSES_FILE, RESERVE_FILE
from reenact.model.run import Remark, Run
from reenact.store.blobs import FileToKeep
from reenact.store.files import delete_tree, remove_if_there
from reenact.store.store import Store

_RESERVED_BYTES = 1 << 16
_LEFT_FREE_BYTES = 64 << 20
"""Data is kept only where so much room is left."""
_NAMED = 3


def reserve(store: Store, run: Run) -> None:
    """Keep room for the record of the end, for the case that the disk is full by then."""
    # Otherwise the record of the end has to find room for itself.
    with suppress(OSError, AttributeError):
        path = store.record_path(run.id, RESERVE_FILE)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.posix_fallocate(descriptor, 0, _RESERVED_BYTES)
        finally:
            os.close(descriptor)


def write_end(
    store: Store, run: Run, blobs: Sequence[bytes | FileToKeep], *, keeps_journals: bool
) -> Run:
    """Write the record of a run that has ended, in the room kept for it; return it as it is now.

    Args:
        store: the run's.
        run: the record; without the lists of its data sets and its runtime where there is no room.
        blobs: contents that it names.
        keeps_journals: points of the journals are not stored yet.

    Raises:
        OSError: it could not be written.
    """
    remove_if_there(store.record_path(run.id, RESERVE_FILE))
    try:
        run = write_with_blobs(store, run, blobs)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        # On a full disk, what the record has taken in makes room for it.
        remove_testimony(store, run, keeps_journals=keeps_journals)
        try:
            run = write_with_blobs(store, run, blobs)
        except OSError as again:
            # Nothing names a blob that is not there.
            run = without_lists(run, str(again.strerror))
            run = msgspec.structs.replace(run, runtime=None)
            store.write_run(run)
    remove_testimony(store, run, keeps_journals=keeps_journals)
    return run


def remove_testimony(store: Store, run: Run, *, keeps_journals: bool) -> None:
    """Remove what a run's processes told, which the record has taken in."""
    remove_log(os.path.dirname(store.record_path(run.id)))
    for name in (METRICS_FILE, PROCESSES_FILE, *CHANCE_FILES):
        remove_if_there(store.record_path(run.id, name))
    if not keeps_journals:
        delete_tree(store.record_path(run.id, PROBE_DIRECTORY))


def write_with_blobs(store: Store, run: Run, blobs: Sequence[bytes | FileToKeep]) -> Run:
    """Write a record and what it names, which nobody frees meanwhile; return it as it is now.

    First the record without the data that is still to be kept: that may take long, and find no room.

    Raises:
        OSError: the record, or what it cannot do without, could not be written.
    """
    if not blobs:
        store.write_run(run)
        return run
    with store.writing():
        files = _put(store, blobs)
        if not files:
            store.write_run(run)
            return run
        plain = without_lost(run, {file.name for file in files})
        store.write_run(plain, sync=False)
        kept = _keep(store, run, files)
        try:
            store.write_run(kept)
        except OSError:
            return plain
    return kept


def put_blobs(store: Store, run: Run, blobs: Iterable[bytes | FileToKeep]) -> Run:
    """Put what a record names that is written next; return the record as it is then.

    Raises:
        OSError: the store cannot be written.
    """
    files = _put(store, blobs)
    return _keep(store, run, files) if files else run


def _put(store: Store, blobs: Iterable[bytes | FileToKeep]) -> list[FileToKeep]:
    """Put what a record cannot do without; return the files that the store does not have yet."""
    files = []
    for content in blobs:
        if isinstance(content, bytes):
            store.blobs.put(content)
        elif not store.blobs.has(content.digest, content.size_bytes):
            files.append(content)
    return files


def _keep(store: Store, run: Run, files: Sequence[FileToKeep]) -> Run:
    """Keep data; return a record that says of which inputs the content is kept, and why not."""
    lost: dict[str, str] = {}
    room = os.statvfs(store.root)
    free_bytes = room.f_bavail * room.f_frsize - _LEFT_FREE_BYTES
    needed_bytes = sum(file.size_bytes + room.f_frsize for file in files)
    for file in files:
        if needed_bytes > free_bytes:
            lost[file.name] = "there is too little room"
        elif file.name not in lost:
            try:
                if not store.blobs.keep(file):
                    lost[file.name] = "it has changed meanwhile"
            except OSError as error:
                lost[file.name] = str(error.strerror)
    if not lost:
        return run
    names = ", ".join(list(lost)[:_NAMED])
    more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
    message = f"not kept in the store: {names}{more}: {next(iter(lost.values()))}"
    remark = Remark(code="not-kept", message=message)
    run = without_lost(run, lost)
    return msgspec.structs.replace(run, warnings=(*run.warnings, remark))
