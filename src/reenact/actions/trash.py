"""Delete runs in two steps: into the trash, from where they come back, and then for good."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from reenact.actions.context import Context
from reenact.actions.recover import orphans
from reenact.errors import NotFound, ReenactError
from reenact.model.identity import RunId
from reenact.model.run import Status
from reenact.store.files import delete_tree, store_errors


def remove_runs(context: Context, runs: Iterable[RunId]) -> list[RunId]:
    """Move runs to the trash.

    Raises:
        ReenactError: one of them is running; those before it are in the trash.
    """
    store = context.store
    moved = []
    with store_errors(store.root):
        os.makedirs(store.trash_directory, exist_ok=True)
        for run_id in runs:
            stored = store.read_run(run_id)
            if stored.status is Status.STAGED and not _is_ours(context, run_id):
                raise ReenactError(
                    f"run {run_id[:8]} starts just now", hint=f"`reenact stop {run_id[:8]}` ends it"
                )
            is_alive = stored.status is Status.KILLED and stored.run and orphans(stored.run)
            if is_alive or stored.status in (Status.RUNNING, Status.PENDING):
                raise ReenactError(
                    f"run {run_id[:8]} is running", hint=f"first `reenact stop {run_id[:8]}`"
                )
            with store.writing():
                _move(run_id, store.directory(run_id), store.directory(run_id, deleted=True))
            moved.append(run_id)
    return moved


def _is_ours(context: Context, run_id: RunId) -> bool:
    """Tell whether nobody begins with a staged run at this moment."""
    lock = context.store.lock(run_id)
    try:
        return lock.acquire() and context.store.read_run(run_id).record.is_staged
    finally:
        lock.release(remove=True)


def restore_runs(context: Context, runs: Iterable[RunId]) -> list[RunId]:
    """Bring runs back from the trash."""
    store = context.store
    restored = []
    with store_errors(store.root):
        for run_id in runs:
            with store.writing():
                _move(run_id, store.directory(run_id, deleted=True), store.directory(run_id))
            restored.append(run_id)
    return restored


def purge_runs(context: Context, runs: Iterable[RunId]) -> list[RunId]:
    """Delete runs in the trash for good. Their source stays until `gc`."""
    store = context.store
    purged = []
    with store_errors(store.root):
        for run_id in runs:
            directory = store.directory(run_id, deleted=True)
            # Out of sight first: a deletion that is cut short leaves no half of a run.
            doomed = f"{directory}.purged"
            delete_tree(doomed)
            with store.writing():
                _move(run_id, directory, doomed)
            delete_tree(doomed)
            purged.append(run_id)
    return purged


def _move(run_id: RunId, here: str, there: str) -> None:
    # Its caller holds `writing`: `gc` must not look for the run where it is not any more.
    try:
        os.rename(here, there)
    except FileNotFoundError:
        raise NotFound(
            f"run {run_id[:8]} is gone", hint="somebody else has moved or deleted it"
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise ReenactError(
            f"there is a run {run_id[:8]} in the store and another one in the trash",
            hint=f"`reenact purge {run_id[:8]}` deletes the one in the trash",
        ) from None
