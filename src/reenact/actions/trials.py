"""The trials of a batch: the file that says what it will do, and what has become of each.

`.reenact/trials` is only ever added to. Each line is written before its trial starts; what came of it
follows from the trial's own record.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from reenact.actions.children import Place
from reenact.actions.context import Context
from reenact.actions.ground import Ground, RunRequest
from reenact.actions.plan import redacted
from reenact.actions.watch import Watcher
from reenact.errors import NotFound, ReenactError
from reenact.model.identity import RunId
from reenact.model.metrics import Summary
from reenact.model.record import flag_from_json, to_json
from reenact.model.run import Run, Status
from reenact.store.files import append_lines, read_lines
from reenact.store.store import RECORD_DIRECTORY, Store, StoredRun

TRIALS_FILE = "trials"
VARIANT = "@variant"
"""What a search calls the code that a trial runs from. No flag is called so: `@` begins a file."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of `.reenact/trials`.

    Attributes:
        flags: what the trial sets, as `flag_to_json` writes values; text is read as typed.
        seed: where no flag takes it.
        run_seed: the same, where a flag takes it: the run has it as well.
        stopped_at: the step at which it was stopped early.
        variant: of the code that it runs from, where there are several.
    """

    number: int
    run: RunId
    flags: dict[str, Any] = {}
    seed: int | None = None
    run_seed: int | None = None
    stopped_at: float | None = None
    variant: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What a search knows it by: flags, and the variant of the code."""
        return self.flags if self.variant is None else {**self.flags, VARIANT: self.variant}


class TrialState(NamedTuple):
    """A trial as it is now; `stored` is None as long as it has no run, `problem` says why not."""

    entry: Entry
    status: Status | None
    stored: StoredRun | None = None
    problem: str | None = None

    @property
    def is_stopped_early(self) -> bool:
        """Whether it was ended because it was worse than others."""
        return self.status is Status.TERMINATED and self.entry.stopped_at is not None

    @property
    def is_done(self) -> bool:
        """Whether it has come to an end that it would come to again."""
        if self.status in (Status.COMPLETED, Status.FAILED) or self.is_stopped_early:
            return True
        return has_timed_out(self.stored)


class Progress:
    """How far a batch is.

    Attributes:
        run: the batch.
        trials: by their numbers.
        live: what running trials have reported so far, by their numbers.
        problem: why nobody proposes trials any more, where that is not as it should be.
    """

    def __init__(self, run: Run, entries: Iterable[Entry]) -> None:
        self.run = run
        self.problem: str | None = None
        self.live: dict[int, dict[str, Summary]] = {}
        self.trials = {entry.number: TrialState(entry, None) for entry in entries}

    def counts(self) -> tuple[int, int]:
        """Return how many trials have completed, and how many have failed."""
        completed = sum(t.status is Status.COMPLETED for t in self.trials.values())
        failed = sum(
            t.status is Status.FAILED or t.problem is not None or has_timed_out(t.stored)
            for t in self.trials.values()
        )
        return completed, failed

    @property
    def stopped(self) -> int:
        """How many trials were stopped early."""
        return sum(trial.is_stopped_early for trial in self.trials.values())


def request_of(
    ground: Ground,
    entry: Entry,
    parent: RunId | None = None,
    *,
    place: Place | None = None,
    former: Run | None = None,
) -> RunRequest:
    """Return the request for one trial."""
    request = ground.request
    seed = entry.run_seed if entry.seed is None else entry.seed
    is_quiet = place is not None and not place.has_terminal
    return msgspec.structs.replace(
        request,
        settings={name: flag_from_json(value) for name, value in entry.flags.items()},
        seed=request.seed if seed is None or request.no_seed else seed,
        run_id=None if former is not None else entry.run,
        restart=former,
        like=None if former is not None else request.like,
        label=None,
        comment=None,
        tags=() if former is not None else request.tags,
        gpus=request.gpus if place is None or place.gpus is None else place.gpus,
        quiet=request.quiet or is_quiet,
        background=request.background or is_quiet,
        parent=parent,
        part=str(entry.number),
        priority=0,
        variant=entry.variant,
    )


def append_entries(path: str, entries: Iterable[Entry]) -> None:
    """Write what will be done, before it is."""
    lines = []
    for entry in entries:
        flags = {name: redacted(name, value) for name, value in entry.flags.items()}
        lines.append(to_json(msgspec.structs.replace(entry, flags=flags)) + b"\n")
    append_lines(path, b"".join(lines))


def read_entries(directory: str) -> list[Entry]:
    """Read what a batch was to do; a torn last line was never begun with.

    Raises:
        Damaged: it cannot be read.
    """
    entries = read_lines(f"{directory}/{TRIALS_FILE}", Entry)
    # What was written later of a trial counts.
    return list({entry.number: entry for entry in entries}.values())


def read_trials(store: Store, run: Run) -> list[TrialState]:
    """Return the trials of a batch as they are now.

    Raises:
        Damaged: what it was to do cannot be read.
    """
    directory = f"{store.directory(run.id)}/{RECORD_DIRECTORY}"
    return [state_of(store, entry) for entry in read_entries(directory)]


class BatchWatcher:
    """Look at a batch again and again, whoever supervises it."""

    def __init__(self, context: Context, run: Run) -> None:
        self._context = context
        self._watchers: dict[RunId, Watcher] = {}
        self.progress = Progress(run, ())

    def look(self) -> bool:
        """Take in what has come since the last look; tell whether the batch runs.

        Raises:
            NotFound: the batch is gone.
            Damaged: its record, or what it was to do, cannot be read.
        """
        progress = self.progress
        stored = self._context.store.read_run(progress.run.id)
        progress.run = stored.record
        for state in read_trials(self._context.store, progress.run):
            progress.trials[state.entry.number] = state
            is_running = state.status is Status.RUNNING and state.stored is not None
            if not is_running:
                progress.live.pop(state.entry.number, None)
                self._watchers.pop(state.entry.run, None)
                continue
            assert state.stored is not None
            watcher = self._watchers.get(state.entry.run)
            if watcher is None:
                watcher = self._watchers[state.entry.run] = Watcher(self._context, state.stored)
            with suppress(OSError, ReenactError):
                watcher.look()
                progress.live[state.entry.number] = watcher.summaries
        alive = (Status.RUNNING, Status.PENDING)
        return stored.status in alive or any(t.status in alive for t in progress.trials.values())


def state_of(store: Store, entry: Entry, problem: str | None = None) -> TrialState:
    """Return a trial as it is now."""
    try:
        stored = store.read_run(entry.run)
    except NotFound:
        return TrialState(entry, None, None, problem)
    return TrialState(entry, stored.status, stored, problem)


def has_timed_out(stored: StoredRun | None) -> bool:
    """Tell whether a run was ended by its time limit: it would be so again."""
    if stored is None or stored.run is None or stored.run.exit is None:
        return False
    return stored.run.exit.requested == "time-limit"
