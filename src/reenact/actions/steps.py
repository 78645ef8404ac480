"""The steps of a pipeline: the file that says what it did, and what has become of each.

`.reenact/steps` is only ever added to. Each line is written before its step starts; what came of it
follows from the step's own run, and from a later line where that does not tell.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import msgspec

from reenact.actions.trials import read_entries as read_trials
from reenact.errors import NotFound
from reenact.model.identity import RunId
from reenact.model.record import to_json
from reenact.model.run import Run, Status, Step
from reenact.model.words import counted
from reenact.store.files import append_lines, read_lines
from reenact.store.store import RECORD_DIRECTORY, Store, StoredRun

STEPS_FILE = "steps"

ALIVE = (Status.RUNNING, Status.PENDING)


class StepEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of `.reenact/steps`. The last one of a step counts.

    Attributes:
        run: the run that is started, or that was there.
        is_taken: it was there.
        why: of the choice: what differs from the nearest run, or that nothing does.
        problem: why the step has failed although its run may have completed.
    """

    step: str
    run: RunId
    is_taken: bool = False
    why: str | None = None
    problem: str | None = None


class StepState(NamedTuple):
    """A step as it is now.

    Attributes:
        stored: its run; None as long as there is none.
        is_skipped: it does not run because of another one that failed.
        remark: what the reader must know although the step has completed.
        is_open: it has completed, and some of what it made is not there any more.
    """

    name: str
    entry: StepEntry | None = None
    stored: StoredRun | None = None
    problem: str | None = None
    is_skipped: bool = False
    remark: str | None = None
    is_open: bool = False

    @property
    def status(self) -> str:
        """What has become of it, in one word."""
        if self.is_skipped:
            return "skipped"
        if self.problem is not None:
            return str(Status.FAILED)
        if self.stored is None or self.is_open:
            return "waiting"
        return str(Status.COMPLETED if self.is_done else self.stored.status)

    @property
    def is_done(self) -> bool:
        """Whether what depends on it can run."""
        if self.stored is None or self.problem is not None or self.is_open:
            return False
        return self.stored.status is Status.COMPLETED or self.remark is not None

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.stored is not None and self.problem is None and self.stored.status in ALIVE

    @property
    def has_failed(self) -> bool:
        """Whether it ended otherwise than it should."""
        if self.problem is not None:
            return True
        return not (self.stored is None or self.is_open or self.is_done or self.is_alive)


def append_entry(directory: str, entry: StepEntry) -> None:
    """Write down what is about to be done.

    Args:
        directory: the pipeline's `.reenact/`.
        entry: the line.
    """
    append_lines(f"{directory}/{STEPS_FILE}", to_json(entry) + b"\n")


def read_entries(directory: str) -> dict[str, StepEntry]:
    """Return the line that counts of each step; a torn last line was never begun with.

    Raises:
        Damaged: it cannot be read.
    """
    entries = read_lines(f"{directory}/{STEPS_FILE}", StepEntry)
    return {entry.step: entry for entry in entries}


def state_of(
    store: Store, step: Step, entry: StepEntry | None, *, problem: str | None = None
) -> StepState:
    """Return a step as it is now.

    Args:
        store: where its run is.
        step: as it was planned.
        entry: its line in the pipeline's file.
        problem: why there may be no run.
    """
    if entry is None:
        return StepState(step.name, problem=problem)
    try:
        stored = store.read_run(entry.run)
    except NotFound:
        return StepState(step.name, entry, None, entry.problem or problem)
    remark = None
    if not step.fails_with_trials and stored.run is not None and stored.status is Status.FAILED:
        remark = _about_trials(stored.run)
    return StepState(step.name, entry, stored, entry.problem or problem, remark=remark)


def reopened(store: Store, state: StepState) -> StepState:
    """Return a step that waits again where runs that its batch or pipeline made were deleted.

    What was there before the pipeline is not its own to complete.
    """
    entry = state.entry
    if not state.is_done or entry is None or entry.is_taken or not _lacks_runs(store, entry.run):
        return state
    return state._replace(is_open=True, remark=None)


def _lacks_runs(store: Store, run_id: RunId) -> bool:
    """Tell whether a run that started others, or one of these, has lost any of them."""
    if not os.path.isdir(store.directory(run_id)):
        return True
    directory = f"{store.directory(run_id)}/{RECORD_DIRECTORY}"
    own = [trial.run for trial in read_trials(directory)]
    own += [step.run for step in read_entries(directory).values() if not step.is_taken]
    return any(_lacks_runs(store, one) for one in own)


def _about_trials(run: Run) -> str | None:
    """Say of a batch of which some trials have failed how many did; None if nothing came of it."""
    batch = run.batch
    if batch is None or not batch.completed:
        return None
    return f"{counted(batch.failed or 0, 'trial')} failed, {batch.completed} completed"


def read_states(store: Store, run: Run) -> list[StepState]:
    """Return the steps of a pipeline as they are now, in its order."""
    assert run.pipeline is not None
    entries = read_entries(f"{store.directory(run.id)}/{RECORD_DIRECTORY}")
    states = [state_of(store, step, entries.get(step.name)) for step in run.pipeline.steps]
    return states if run.ended is None else [_afterwards(state) for state in states]


def _afterwards(state: StepState) -> StepState:
    """Return a step of a pipeline that has ended."""
    if state.stored is not None or state.problem is not None:
        return state
    if state.entry is None:
        return state._replace(is_skipped=True)
    return state._replace(problem="its run did not start, or was deleted")
