"""Find which of the flags that two runs differ in make the difference between what came of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, NoReturn

from reenact.actions.batch import FinishedBatch, start_batch
from reenact.actions.batch_plan import ENDLESS, PRUNE, BatchRequest, PlannedBatch
from reenact.actions.context import Context
from reenact.actions.find import list_runs
from reenact.actions.ground import RunRequest, find_ground
from reenact.actions.objectives import objective_values
from reenact.actions.proposed_trials import Search
from reenact.actions.trial_source import BatchListener
from reenact.actions.trials import Entry
from reenact.errors import UsageError
from reenact.model.flags import FlagValue
from reenact.model.identity import new_run_id
from reenact.model.record import flag_to_json
from reenact.model.run import Run, Status
from reenact.search.ddmin import Answer, Cause, Subset, find_cause, next_test
from reenact.search.samplers import Settings
from reenact.search.values import Choices, Setting, Single, identity, to_setting
from reenact.search.values import Sequence as Several
from reenact.store.columns import IndexedRun
from reenact.store.index import Index
from reenact.store.store import StoredRun

_OUTCOMES = (Status.COMPLETED, Status.FAILED)


class Change(NamedTuple):
    """A flag that has one value in the first run and another one in the second."""

    name: str
    before: FlagValue
    after: FlagValue


class Pruned(NamedTuple):
    """What was found out. `cause` is None where it was cut short."""

    changes: list[Change]
    cause: Cause[Change] | None
    finished: FinishedBatch


class _Tests:
    """A sampler that proposes the tests of delta debugging, one at a time."""

    def __init__(
        self, changes: Sequence[Change], judge: Callable[[Sequence[float] | None], Answer]
    ) -> None:
        self._changes = changes
        self._judge = judge
        self._running: set[Subset] = set()
        self.known: dict[Subset, Answer] = {}

    def ask(self, count: int) -> list[dict[str, FlagValue]]:  # noqa: ARG002
        """Propose the next test; nothing as long as one runs, or when all is known."""
        subset = next_test(len(self._changes), self.known)
        if subset is None or subset in self._running:
            return []
        self._running.add(subset)
        return [
            {
                change.name: change.after if place in subset else change.before
                for place, change in enumerate(self._changes)
            }
        ]

    def tell(self, settings: Settings, values: Sequence[float] | None) -> None:
        """Learn what came of a test, or of another run with these flags."""
        subset = self._subset(settings)
        if subset is not None:
            self.known[subset] = self._judge(values)
            self._running.discard(subset)

    def expect(self, settings: Settings) -> None:
        """Learn that a test runs."""
        subset = self._subset(settings)
        if subset is not None:
            self._running.add(subset)

    def _subset(self, settings: Settings) -> Subset | None:
        places = set()
        for place, change in enumerate(self._changes):
            if change.name not in settings:
                return None
            value = settings[change.name]
            if identity(value) == identity(change.after):
                places.add(place)
            elif identity(value) != identity(change.before):
                return None
        return frozenset(places)


def prune(
    a: StoredRun, b: StoredRun, context: Context, listener: BatchListener, *, by: str | None
) -> Pruned:
    """Run the operation of A with some of the flags of B, until it is known which matter.

    Args:
        a: what is changed; its source is what runs.
        b: the flags of the changes are its.
        context: where.
        listener: told what happens.
        by: a column: the outcome of a run is that of the one whose number is nearer. When None, runs
            that completed and runs that failed are told apart.

    Raises:
        UsageError: the runs cannot be compared in this way, or do not differ.
    """
    first, second = a.record, b.record
    _check(first, second)
    changes = [
        Change(name, value, second.flags[name])
        for name, value in first.flags.items()
        if name in second.flags and identity(value) != identity(second.flags[name])
    ]
    if not changes:
        raise UsageError("the two runs have the same flags", hint="`reenact diff` compares them")
    objectives = () if by is None else (("minimize", by),)
    tests = _Tests(changes, _judge(a, b, context, objectives))
    # What tests print tells less than what came of them.
    request = RunRequest(like=first, quiet=True)
    ground = find_ground(request, context)
    names = {change.name for change in changes}
    fixed = {name: value for name, value in ground.request.settings.items() if name not in names}
    for run in _comparable(first, context):
        if all(_is_same(run.flags, name, first) for name in first.flags if name not in names):
            values = objective_values(run, objectives) if run.status is Status.COMPLETED else None
            tests.tell(run.flags, values)
    example = {name: flag_to_json(value) for name, value in fixed.items()}
    for change in changes:
        flag = ground.flags.find(change.name) if ground.flags is not None else None
        example[change.name] = flag_to_json(to_setting(change.before, flag))
    settings: dict[str, Setting] = {name: Single(first.flags[name]) for name in fixed}
    settings |= {c.name: Several((c.before, c.after)) for c in changes}
    spaces = {c.name: Choices(values=(c.before, c.after)) for c in changes}
    search = Search(tests, spaces, fixed, objectives, ENDLESS, previous="batch")
    planned = PlannedBatch(
        BatchRequest(run=request, optimizer=PRUNE, trials=ENDLESS),
        ground,
        settings,
        [],
        [],
        Entry(number=1, run=new_run_id(), flags=example),
        search,
    )
    finished = start_batch(planned, context, listener)
    if next_test(len(changes), tests.known) is not None:
        return Pruned(changes, None, finished)
    return Pruned(changes, find_cause(changes, _unasked, known=tests.known), finished)


def _unasked(_: tuple[Change, ...]) -> NoReturn:
    raise AssertionError("everything is known")


def _check(first: Run, second: Run) -> None:
    if first.operation.name != second.operation.name or first.project.id != second.project.id:
        raise UsageError("the two runs are of different operations")
    if first.batch is not None or second.batch is not None:
        raise UsageError("a batch has no flags of its own", hint="name one of its trials: `3f2a/1`")


def _judge(
    a: StoredRun, b: StoredRun, context: Context, objectives: tuple[tuple[str, str], ...]
) -> Callable[[Sequence[float] | None], Answer]:
    """Return what tells whether an outcome is that of A or that of B."""
    if not objectives:
        if {a.status, b.status} != set(_OUTCOMES):
            raise UsageError(
                f"one run is {a.status}, the other {b.status}: that tells nothing apart",
                hint="say which number does, e.g. `--by loss`",
            )
        is_completed = a.status is Status.COMPLETED
        return lambda v: Answer.SAME if (v is not None) is is_completed else Answer.DIFFERS
    with Index(context.store) as index:
        runs = [index.get(stored.id) for stored in (a, b)]
    found = [None if run is None else objective_values(run, objectives) for run in runs]
    if found[0] is None or found[1] is None or found[0] == found[1]:
        raise UsageError(f"the two runs do not differ in `{objectives[0][1]}`")
    before, after = found[0][0], found[1][0]

    def judge(values: Sequence[float] | None) -> Answer:
        if values is None or abs(values[0] - before) == abs(values[0] - after):
            return Answer.UNRESOLVED
        is_near = abs(values[0] - before) < abs(values[0] - after)
        return Answer.SAME if is_near else Answer.DIFFERS

    return judge


def _comparable(first: Run, context: Context) -> list[IndexedRun]:
    """Return ended runs of the same operation and source, whose outcome needs no test."""
    if first.source is None:
        return []
    return [
        run
        for run in list_runs(context, filter_text=f"source = {first.source.tree}")
        if run.operation == first.operation.name and run.status in _OUTCOMES and run.batch is None
    ]


def _is_same(flags: Mapping[str, FlagValue], name: str, first: Run) -> bool:
    return name in flags and identity(flags[name]) == identity(first.flags[name])
