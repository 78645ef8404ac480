"""Which trial of a batch comes next, and what becomes of those that run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from reenact.actions.children import Children, End, Part, Place, begun
from reenact.actions.context import Context
from reenact.actions.early_stop import EarlyStop
from reenact.actions.ground import Ground, RunRequest
from reenact.actions.objectives import unreported_by
from reenact.actions.plan import plan_on
from reenact.actions.project_tree import PlannedTree
from reenact.actions.trials import (
    TRIALS_FILE,
    Entry,
    Progress,
    TrialState,
    append_entries,
    has_timed_out,
    request_of,
    state_of,
)
from reenact.errors import ReenactError
from reenact.model.identity import RunId
from reenact.model.run import Pipeline, Run, Status
from reenact.store.columns import IndexedRun
from reenact.store.index import Index

if TYPE_CHECKING:
    from reenact.actions.proposed_trials import Search
    from reenact.actions.watch import Watcher

_LOOK_S = 0.5
_JUDGE_S = 0.2
_ALIVE = (Status.RUNNING, Status.PENDING)
_ENDED = (Status.COMPLETED, Status.FAILED, Status.TERMINATED)


class BatchListener(Protocol):
    """Who shows the user what happens.

    Attributes:
        is_live: what running trials report is of interest before they end.
    """

    is_live: bool

    def begin(self, progress: Progress) -> None:
        """Hear that the batch exists."""
        ...

    def started(self, progress: Progress, trial: TrialState, *, has_terminal: bool) -> None:
        """Hear that a trial starts."""
        ...

    def ended(self, progress: Progress, trial: TrialState) -> None:
        """Hear that a trial has ended."""
        ...

    def remark(self, text: str) -> None:
        """Hear what the user should know while there is still time to stop."""
        ...

    def tick(self, progress: Progress) -> None:
        """Use the time while trials run."""
        ...


class Silence:
    """Shows nothing of a batch."""

    is_live = False

    def begin(self, progress: Progress) -> None:
        """Show nothing."""

    def started(self, progress: Progress, trial: TrialState, *, has_terminal: bool) -> None:
        """Show nothing."""

    def ended(self, progress: Progress, trial: TrialState) -> None:
        """Show nothing."""

    def remark(self, text: str) -> None:
        """Show nothing: the end says it."""

    def tick(self, progress: Progress) -> None:
        """Show nothing."""


class Starter(Protocol):
    """Starts trials that are more than a single run: pipelines."""

    @property
    def settings(self) -> dict[str, str]:
        """What is set for all trials beside what their entries say, as a record has it."""
        ...

    def keep(self) -> Pipeline:
        """Put into the store what all trials start from; return what the record says of it."""
        ...

    def start(self, request: RunRequest, former: Run | None, place: Place) -> None:
        """Run a trial to its end, in a process of its own; or what is missing of it."""
        ...

    def stage(self, request: RunRequest) -> Run:
        """Set a trial aside."""
        ...


class Made(NamedTuple):
    """A batch whose run directory and lock are ours: what its trials start from.

    Attributes:
        tree: the project's files, looked at once; None for runs in place, which look themselves.
        fail_fast: nothing is started after a trial that failed.
        early: stops trials that are worse than others.
        search: who chooses the values, where that is not the user.
        variants: where not all trials run from the same code: ground and tree of each.
        starter: starts them, where they are no single runs.
    """

    run: Run
    ground: Ground
    tree: PlannedTree | None
    fail_fast: bool = False
    early: EarlyStop | None = None
    search: Search | None = None
    variants: Mapping[str, tuple[Ground, PlannedTree]] = {}
    starter: Starter | None = None

    def ground_of(self, entry: Entry) -> Ground:
        """Return what a trial stands on."""
        return self.ground if entry.variant is None else self.variants[entry.variant][0]

    def tree_of(self, entry: Entry) -> PlannedTree | None:
        """Return the files that a trial starts from."""
        return self.tree if entry.variant is None else self.variants[entry.variant][1]

    def request_of(
        self, entry: Entry, *, place: Place | None = None, former: Run | None = None
    ) -> RunRequest:
        """Return the request for a trial."""
        return request_of(self.ground_of(entry), entry, self.run.id, place=place, former=former)


class TrialList:
    """The trials that a batch was planned with, as a source of parts and a listener to them.

    What has been done already, by an earlier supervisor of the same batch, is left out.
    """

    def __init__(
        self,
        made: Made,
        entries: Iterable[Entry],
        context: Context,
        listener: BatchListener,
    ) -> None:
        self.made = made
        self.context = context
        self.listener = listener
        self.progress = Progress(made.run, ())
        self._by_run: dict[RunId, Entry] = {}
        self._waiting: list[Entry] = []
        self._elsewhere: list[Entry] = []
        self._has_failed = False
        self._has_objectives = False
        self._watchers: dict[int, Watcher] = {}
        self._look_at = 0.0
        self._judge_at = 0.0
        for entry in entries:
            self._add(entry)

    def _add(self, entry: Entry) -> None:
        """Take a trial in, as it is now."""
        state = state_of(self.context.store, entry)
        self._by_run[entry.run] = entry
        self.progress.trials[entry.number] = state
        if state.status in _ALIVE:
            # It has outlived the batch that started it.
            self._elsewhere.append(entry)
        elif state.is_done:
            if self.made.early is not None and state.stored is not None and state.stored.run:
                self.made.early.look(entry.number, state.stored)
        else:
            self._waiting.append(entry)

    def repeat_failed(self) -> None:
        """Run those again that failed."""
        for state in self.progress.trials.values():
            if state.status is Status.FAILED or has_timed_out(state.stored):
                self._waiting.append(state.entry)
        self._waiting.sort(key=lambda entry: entry.number)

    def ask(self) -> Part | None:
        """Return the next trial that has not been run."""
        if self._has_failed and self.made.fail_fast:
            return None
        entry = self._waiting.pop(0) if self._waiting else self._propose()
        if entry is None:
            return None
        state = self.progress.trials[entry.number]
        former = state.stored.run if state.stored is not None else None
        return Part(entry.run, f"trial {entry.number}", self._body(entry, former))

    def _propose(self) -> Entry | None:
        return None

    def _body(self, entry: Entry, former: Run | None) -> Callable[[Place], object]:
        made = self.made

        def body(place: Place) -> None:
            from reenact.actions.run import start_and_watch

            request = made.request_of(entry, place=place, former=former)
            if made.starter is not None:
                made.starter.start(request, former, place)
                return
            plan = plan_on(made.ground_of(entry), request, self.context)
            start_and_watch(plan, self.context, on_start=begun, tree=made.tree_of(entry))

        return body

    def tell(self, end: End) -> None:
        """Take note of how a trial ended."""
        entry = self._by_run[end.part.run_id]
        has_ended = end.stored is not None and end.stored.status in _ENDED
        state = state_of(self.context.store, entry, None if has_ended else end.problem)
        self._take_note(state)

    def _take_note(self, state: TrialState) -> None:
        self.progress.trials[state.entry.number] = state
        if self.made.early is not None and state.stored is not None and state.stored.run:
            self.made.early.look(state.entry.number, state.stored)
        self._watchers.pop(state.entry.number, None)
        self.progress.live.pop(state.entry.number, None)
        is_fine = state.status is Status.COMPLETED or state.is_stopped_early
        self._has_failed = self._has_failed or not is_fine
        self.listener.ended(self.progress, state)
        if state.status is Status.COMPLETED and not self._has_objectives:
            self._look_for_objectives(state)

    def _look_for_objectives(self, state: TrialState) -> None:
        """Say of the first trial that has completed what it does not report and should."""
        self._has_objectives = True
        batch = self.made.run.batch
        run = self._indexed(state) if batch is not None and batch.objectives else None
        if batch is not None and run is not None:
            for text in unreported_by(run, batch.objectives):
                self.listener.remark(text)

    def _indexed(self, state: TrialState) -> IndexedRun | None:
        with Index(self.context.store) as index:
            return index.get(state.entry.run)

    def _write(self, entry: Entry) -> None:
        path = self.context.store.record_path(self.made.run.id, TRIALS_FILE)
        append_entries(path, [entry])

    @property
    def is_waiting(self) -> bool:
        """Whether trials run that an earlier supervisor of the batch has started."""
        for entry in list(self._elsewhere):
            state = state_of(self.context.store, entry)
            if state.status not in _ALIVE:
                self._elsewhere.remove(entry)
                self._take_note(state)
        return bool(self._elsewhere)

    # --- as a listener of the children ---

    def started(self, part: Part, place: Place) -> None:
        """Say that a trial starts."""
        entry = self._by_run[part.run_id]
        state = TrialState(entry, Status.PENDING)
        self.progress.trials[entry.number] = state
        self.listener.started(self.progress, state, has_terminal=place.has_terminal)

    def tick(self, children: Children) -> None:
        """Look at what runs, and let others use the time."""
        if self.listener.is_live and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_S
            for part in children.running:
                self._look(self._by_run[part.run_id])
        if self.made.early is not None and time.monotonic() >= self._judge_at:
            self._judge_at = time.monotonic() + _JUDGE_S
            for part in children.running:
                self._judge(self._by_run[part.run_id], self.made.early, children)
        self.listener.tick(self.progress)

    def _judge(self, entry: Entry, early: EarlyStop, children: Children) -> None:
        """Stop a trial that is worse than others."""
        state = state_of(self.context.store, entry)
        if state.stored is None or state.stored.run is None or entry.stopped_at is not None:
            return
        step = early.look(entry.number, state.stored)
        if step is None or state.status is not Status.RUNNING:
            return
        entry = msgspec.structs.replace(entry, stopped_at=step)
        # Before it is stopped: who goes on after a kill must not take it for interrupted.
        self._write(entry)
        self._by_run[entry.run] = entry
        self.progress.trials[entry.number] = state._replace(entry=entry)
        children.stop(entry.run)

    def _look(self, entry: Entry) -> None:
        from reenact.actions.watch import Watcher

        state = state_of(self.context.store, entry)
        if state.stored is None or state.stored.run is None:
            return
        self.progress.trials[entry.number] = state
        watcher = self._watchers.get(entry.number)
        if watcher is None:
            watcher = self._watchers[entry.number] = Watcher(self.context, state.stored)
        try:
            watcher.look()
        except (OSError, ReenactError):
            return
        self.progress.live[entry.number] = watcher.summaries
