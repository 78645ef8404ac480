"""Take a run directory: a new one, or that of a run that is restarted or was staged.

Promised: of several who want the same directory one gets it, and a new one appears with its lock
taken and its record in it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec

from reenact.errors import CannotRun, StoreUnusable
from reenact.model.identity import RunId
from reenact.model.record import encode_notes, encode_run
from reenact.model.run import Notes, Run
from reenact.store.files import delete_tree, remove_if_there, store_errors, write_atomically
from reenact.store.lock import Lock
from reenact.store.store import RECORD_DIRECTORY, STOP_MARKER, Store


class TakenError(CannotRun):
    """Somebody else has the run."""


def claim(store: Store, run_id: RunId) -> Lock:
    """Make the directory of a new run, which nobody sees before `publish`, and take its lock.

    Raises:
        CannotRun: there is a run of that id.
    """
    directory = store.directory(run_id)
    beside = f"{directory}.new"
    lock = Lock(f"{beside}/{RECORD_DIRECTORY}/lock")
    is_ours = False
    if not os.path.lexists(directory):
        try:
            # What a killed supervisor left under this id is taken over.
            os.makedirs(f"{beside}/{RECORD_DIRECTORY}", exist_ok=True)
            is_ours = lock.acquire()
        except FileNotFoundError:
            pass  # Somebody else was given the same id and has published it just now.
        if is_ours and os.path.lexists(directory):
            delete_tree(beside)
            lock.release()
            is_ours = False
    if not is_ours:
        raise CannotRun(f"run {run_id} exists already", hint="leave out `--run-id`")
    lock.path = f"{directory}/{RECORD_DIRECTORY}/lock"
    return lock


def publish(store: Store, run: Run, notes: Notes) -> None:
    """Make a run visible whose directory was claimed, with its record and notes."""
    directory = store.directory(run.id)
    path = f"{directory}.new/{RECORD_DIRECTORY}"
    write_atomically(f"{path}/run.json", encode_run(run), sync=False)
    if notes != Notes():
        write_atomically(f"{path}/notes.json", encode_notes(notes), sync=False)
    os.rename(f"{directory}.new", directory)


@contextmanager
def new_run(store: Store, run_id: RunId) -> Iterator[Lock]:
    """Give a claimed directory that `publish` shows; where that fails nothing is left of it.

    Raises:
        CannotRun: there is a run of that id, or the store cannot be written.
    """
    try:
        store.create()
        with store_errors(store.root):
            lock = claim(store, run_id)
            try:
                with store.writing():
                    yield lock
            except BaseException:
                shutil.rmtree(f"{store.directory(run_id)}.new", ignore_errors=True)
                lock.release()
                raise
    except StoreUnusable as error:
        raise CannotRun(error.message, hint=error.hint) from error


def begin_again(former: Run) -> Run:
    """Return the record of a run of runs that goes on, or that was staged, at its new beginning."""
    return msgspec.structs.replace(
        former,
        started=datetime.now(UTC),
        ended=None,
        exit=None,
        supervisor_pid=os.getpid(),
        warnings=(),
        restarts=former.restarts + (0 if former.is_staged else 1),
    )


def take_over(store: Store, former: Run) -> tuple[Lock, Run]:
    """Take the lock of a run that was staged, or that is restarted once it is brought to its end.

    Args:
        store: where it is.
        former: the run as it was when that was decided.

    Returns:
        The lock, and the record as it is now.

    Raises:
        TakenError: it runs, or somebody else was faster to start it.
        CannotRun: parts of it run, or it was killed or restarted meanwhile.
    """
    from reenact.actions.recover import has_waiting_points, orphans, settle

    run_id = former.id
    settle(store, store.read_run(run_id))
    lock = store.lock(run_id)
    if not lock.acquire():
        raise TakenError(f"run {run_id[:8]} is running", hint="`reenact stop` ends it")
    now = store.read_run(run_id).record
    problem = None
    kind = CannotRun
    if former.is_staged:
        if not now.is_staged:
            kind = TakenError
            problem = f"run {run_id[:8]} has been started or stopped meanwhile"
    elif alive := orphans(now):
        problem = f"process {alive[0]} of run {run_id[:8]} lives on without its supervisor"
    elif now.ended is None:
        problem = f"run {run_id[:8]} was killed just now"
    elif now.restarts != former.restarts:
        problem = f"run {run_id[:8]} has been restarted meanwhile"
    elif has_waiting_points(now):
        problem = f"points of run {run_id[:8]} wait for room on the disk"
    if problem is not None:
        lock.release()
        raise kind(problem, hint="look at it with `reenact show`, stop it, try again")
    remove_if_there(store.record_path(run_id, STOP_MARKER))
    return lock, now
