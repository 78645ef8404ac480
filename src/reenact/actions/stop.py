"""Stop running runs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable

from reenact.actions.context import Context
from reenact.actions.find import parts_of
from reenact.actions.recover import orphans
from reenact.errors import ReenactError
from reenact.model.identity import RunId
from reenact.model.run import Exit, Run, Status
from reenact.store.files import store_errors, write_atomically
from reenact.store.lock import holder_here
from reenact.store.store import STOP_MARKER, StoredRun

_POLL_S = 0.05
_PREPARATION_S = 30.0
"""How long to wait for the process of a run that is still being prepared."""


def stop_runs(
    context: Context, runs: Iterable[RunId], *, wait_s: float | None = 30.0
) -> list[StoredRun]:
    """Ask runs to end: SIGINT first, SIGTERM after five seconds, SIGKILL after five more.

    A process that lives on although its supervisor was killed is ended as well, as are the trials
    of a batch that was killed. A staged run ends before it begins.

    Args:
        context: where the runs are.
        runs: which; those that have ended are left alone.
        wait_s: how long to wait for their end; None not to wait.

    Returns:
        The runs as they are then.
    """
    store = context.store
    asked = []
    for run_id in _with_lost_parts(context, runs):
        stored = _once_begun(context, run_id)
        run = stored.run
        if stored.status is Status.STAGED and run is not None:
            from reenact.actions.queue import cancel

            why = "it was stopped before it began"
            cancel(store, run, why, Exit(signal=signal.SIGTERM, requested="stop"))
        if stored.status is Status.RUNNING and run is not None and run.supervisor_pid is not None:
            pid = holder_here(store.record_path(run_id, "lock"))
            if pid is None:
                raise ReenactError(
                    f"run {run_id[:8]} is not supervised on this machine",
                    hint="stop it where it was started",
                )
            with store_errors(store.root):
                write_atomically(store.record_path(run_id, STOP_MARKER), b"", sync=False)
            # A process of which the run is only a part may go on, as after Ctrl-C.
            is_part = run.operation.is_in_process
            _send(run, pid, signal.SIGINT if is_part else signal.SIGTERM)
        elif stored.status is Status.KILLED and run is not None:
            for pid in orphans(run):
                _send(run, pid, signal.SIGTERM)
        asked.append(run_id)
    if wait_s is not None:
        deadline = time.monotonic() + wait_s
        for run_id in asked:
            while store.read_run(run_id).status is Status.RUNNING:
                if time.monotonic() > deadline:
                    break
                time.sleep(_POLL_S)
    return [store.read_run(run_id) for run_id in asked]


def _with_lost_parts(context: Context, runs: Iterable[RunId]) -> list[RunId]:
    """Return runs, and the trials of those that were killed and can stop nobody any more."""
    found: dict[RunId, None] = {}
    for run_id in runs:
        found[run_id] = None
        stored = context.store.read_run(run_id)
        is_parent = stored.run is not None and stored.run.is_parent
        if is_parent and stored.status is Status.KILLED:
            parts = [part.id for part in parts_of(context, run_id)]
            found.update(dict.fromkeys(_with_lost_parts(context, parts)))
    return list(found)


def _once_begun(context: Context, run_id: RunId) -> StoredRun:
    """Read a run, after its process has started if it is about to."""
    give_up_at = time.monotonic() + _PREPARATION_S
    while True:
        stored = context.store.read_run(run_id)
        if stored.status is not Status.PENDING or time.monotonic() >= give_up_at:
            return stored
        time.sleep(_POLL_S)


def _send(run: Run, pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        raise ReenactError(
            f"run {run.id[:8]} belongs to another user", hint="who started it can stop it"
        ) from None
