"""Write the last version of a run's record, on a full disk, too, and take away what it replaces."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from reenact.actions.run_files import without_lists
from reenact.execute.chances import REMOVED as CHANCE_FILES
from reenact.execute.journals import PROBE_DIRECTORY
from reenact.execute.opened import remove_log
from reenact.execute.testimony import METRICS_FILE, PROCESSES_FILE, RESERVE_FILE
from reenact.model.run import Run
from reenact.store.files import delete_tree, remove_if_there
from reenact.store.store import Store

_RESERVED_BYTES = 1 << 16


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


def write_end(store: Store, run: Run, blobs: Sequence[bytes], *, keeps_journals: bool) -> Run:
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
        _write(store, run, blobs)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        # On a full disk, what the record has taken in makes room for it.
        remove_testimony(store, run, keeps_journals=keeps_journals)
        try:
            _write(store, run, blobs)
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


def _write(store: Store, run: Run, blobs: Sequence[bytes]) -> None:
    if not blobs:
        store.write_run(run)
        return
    with store.writing():
        for content in blobs:
            store.blobs.put(content)
        store.write_run(run)
