"""Delete runs in two steps: into the trash, from where they come back, and then for good."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable

from reenact.actions.context import Context
from reenact.errors import ReenactError
from reenact.model.identity import RunId
from reenact.model.run import Status
from reenact.store.files import store_errors


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
            if store.read_run(run_id).status in (Status.RUNNING, Status.PENDING):
                raise ReenactError(
                    f"run {run_id[:8]} is running", hint=f"first `reenact stop {run_id[:8]}`"
                )
            os.rename(store.directory(run_id), store.directory(run_id, deleted=True))
            moved.append(run_id)
    return moved


def restore_runs(context: Context, runs: Iterable[RunId]) -> list[RunId]:
    """Bring runs back from the trash."""
    store = context.store
    restored = []
    with store_errors(store.root):
        for run_id in runs:
            os.rename(store.directory(run_id, deleted=True), store.directory(run_id))
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
            os.rename(directory, doomed)
            shutil.rmtree(doomed)
            purged.append(run_id)
    return purged
