"""Which trial of a batch comes next: one of those that were planned, or what a sampler proposes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from reenact.actions.children import Children, End, Part, Place, begun
from reenact.actions.context import Context
from reenact.actions.early_stop import EarlyStop
from reenact.actions.ground import Ground, RunRequest
from reenact.actions.plan import plan_on
from reenact.actions.project_tree import PlannedTree
from reenact.actions.trials import (
    VARIANT,
    Entry,
    Progress,
    TrialState,
    has_timed_out,
    request_of,
    state_of,
)
from reenact.errors import ReenactError
from reenact.model.flags import FlagValue
from reenact.model.identity import RunId, new_run_id
from reenact.model.record import flag_from_json, flag_to_json
from reenact.model.run import OperationKind, Run, Status
from reenact.search.samplers import Sampler
from reenact.search.values import Space, to_setting
from reenact.store.columns import IndexedRun, Kind, Operand, operand_value, parse_column
from reenact.store.index import Index
from reenact.store.query import All, Comparison, Filter, Relation, Value, ValueKind

if TYPE_CHECKING:
    from reenact.actions.optimizer import Optimizer
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

    def tick(self, progress: Progress) -> None:
        """Use the time while trials run."""
        ...


class Made(NamedTuple):
    """A batch whose run directory and lock are ours: what its trials start from.

    Attributes:
        tree: the project's files, looked at once; None for runs in place, which look themselves.
        fail_fast: nothing is started after a trial that failed.
        early: stops trials that are worse than others.
        variants: where not all trials run from the same code: ground and tree of each.
    """

    run: Run
    ground: Ground
    tree: PlannedTree | None
    fail_fast: bool = False
    early: EarlyStop | None = None
    variants: Mapping[str, tuple[Ground, PlannedTree]] = {}

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
        write: Callable[[Entry], None],
    ) -> None:
        self._write = write
        self.made = made
        self.context = context
        self.listener = listener
        self.progress = Progress(made.run, ())
        self._by_run: dict[RunId, Entry] = {}
        self._waiting: list[Entry] = []
        self._elsewhere: list[Entry] = []
        self._has_failed = False
        self._watchers: dict[int, Watcher] = {}
        self._look_at = 0.0
        self._judge_at = 0.0
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
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


class Search(NamedTuple):
    """What a search needs.

    Attributes:
        fixed: what every trial sets beside the spaces, as the user wrote it.
        limit: how many trials there are to be.
        is_learning: what earlier runs of the operation reached counts.
        optimizer: the operation that makes proposals, in place of the sampler.
        name: of the sampler, which may be another one than was asked for.
    """

    sampler: Sampler
    spaces: Mapping[str, Space]
    fixed: Mapping[str, str | FlagValue]
    objectives: tuple[tuple[str, str], ...]
    limit: int
    is_learning: bool = True
    optimizer: Optimizer | None = None
    name: str | None = None


class ProposedTrials(TrialList):
    """The trials that a sampler proposes, one after the other, from what came of those before."""

    def __init__(
        self,
        made: Made,
        entries: Iterable[Entry],
        context: Context,
        listener: BatchListener,
        write: Callable[[Entry], None],
        search: Search,
    ) -> None:
        self._search = search
        super().__init__(made, entries, context, listener, write)
        self._take_earlier()
        # In the order of their numbers: the same history makes the same proposals after a kill.
        for state in self.progress.trials.values():
            settings = self._settings(state)
            if state.is_done:
                search.sampler.tell(settings, self._values(state))
            else:
                search.sampler.expect(settings)

    def _take_earlier(self) -> None:
        for settings, values in earlier_results(self.made.run, self._search, self.context):
            self._search.sampler.tell(settings, values)

    def _next_proposal(self) -> dict[str, FlagValue] | None:
        proposed = self._search.sampler.ask(1)
        return proposed[0] if proposed else None

    def _propose(self) -> Entry | None:
        number = max(self.progress.trials, default=0) + 1
        if number > self._search.limit:
            return None
        proposed = self._next_proposal()
        if proposed is None:
            return None
        variant = proposed.pop(VARIANT, None)
        settings: dict[str, str | FlagValue] = dict(self._search.fixed)
        flags = self.made.ground.flags
        for name, value in proposed.items():
            flag = flags.find(name) if flags is not None else None
            settings[name] = to_setting(value, flag)
        written = {name: flag_to_json(value) for name, value in settings.items()}
        entry = Entry(
            number=number,
            run=new_run_id(),
            flags=written,
            variant=None if variant is None else str(variant),
        )
        self._write(entry)
        self._by_run[entry.run] = entry
        self.progress.trials[number] = TrialState(entry, None)
        return entry

    def _take_note(self, state: TrialState) -> None:
        self._search.sampler.tell(self._settings(state), self._values(state))
        super()._take_note(state)

    def _settings(self, state: TrialState) -> dict[str, FlagValue]:
        return {name: flag_from_json(value) for name, value in state.entry.settings.items()}

    def _values(self, state: TrialState) -> list[float] | None:
        if state.status is not Status.COMPLETED and not state.is_stopped_early:
            return None
        with Index(self.context.store) as index:
            run = index.get(state.entry.run)
        return None if run is None else objective_values(run, self._search.objectives)


def objective_values(run: IndexedRun, objectives: Iterable[tuple[str, str]]) -> list[float] | None:
    """Return what a run reached in each objective; None where it lacks one."""
    values = []
    for _, text in objectives:
        value = operand_value(parse_column(text).operand, run)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        values.append(float(value))
    return values


def earlier_results(
    batch: Run, search: Search, context: Context
) -> list[tuple[dict[str, FlagValue], list[float]]]:
    """Return what earlier runs of the operation tell a search, the oldest first.

    Only runs that had ended before the batch was made: what it knows does not change when it is
    resumed.
    """
    if not search.objectives or not search.is_learning:
        return []
    variants: dict[str | None, str] = {}
    if batch.batch is not None:
        variants = {variant.source.tree: variant.name for variant in batch.batch.variants}
    with Index(context.store) as index:
        runs = index.query(_is("op", batch.operation.name), project=batch.project.id)
    found = []
    for run in reversed(runs):
        if run.status is not Status.COMPLETED or run.parent == batch.id:
            continue
        if run.kind == OperationKind.BATCH or run.ended is None or run.ended > batch.created:
            continue
        values = objective_values(run, search.objectives)
        if values is not None and _is_like(run, search.fixed):
            settings = dict(run.flags)
            if run.source in variants:
                settings[VARIANT] = variants[run.source]
            found.append((settings, values))
    return found


def _is_like(run: IndexedRun, fixed: Mapping[str, str | FlagValue]) -> bool:
    """Tell whether a run was given what is the same in all trials: else its result says little."""
    from reenact.project.flag_text import format_value

    return all(
        name in run.flags and format_value(run.flags[name]) == _text(value)
        for name, value in fixed.items()
    )


def _text(value: str | FlagValue) -> str:
    from reenact.project.flag_text import format_value, parse_value

    return format_value(parse_value(value)) if isinstance(value, str) else format_value(value)


def _is(attribute: str, text: str) -> Filter:
    operand = Operand(Kind.ATTRIBUTE, attribute)
    value = Value(ValueKind.TEXT, text)
    return Filter(attribute, All((Comparison(operand, Relation.EQUAL, (value,)),)))


def children_of(run_id: RunId, context: Context) -> list[IndexedRun]:
    """Return the runs that a run started."""
    with Index(context.store) as index:
        return index.query(_is("parent", run_id))
