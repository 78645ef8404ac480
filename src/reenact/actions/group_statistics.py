"""Put groups of runs side by side, by what each metric came to: are they samples of the same thing?

Every group is compared with the first one, which is that of the oldest run: the authors' runs
before mine, the old machine before the new one. Only completed runs count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import NamedTuple, TypeAlias

from reenact.actions.compare import Selection, choose_runs, parse_columns
from reenact.actions.context import Context
from reenact.errors import ReenactError
from reenact.judge.names import is_time
from reenact.judge.statistics import Seeds, judge_all, sample
from reenact.judge.tolerance import Tolerances
from reenact.model.environment import Machine, decode_machine
from reenact.model.identity import RunId
from reenact.model.metrics import SAMPLED
from reenact.model.record import to_json
from reenact.model.run import Run, Status
from reenact.model.statistic import number_in
from reenact.model.verdict import Sample, StatisticVerdict
from reenact.model.words import counted
from reenact.search.trials import SEED_FLAGS
from reenact.store.columns import (
    Column,
    ColumnValue,
    IndexedRun,
    Kind,
    Operand,
    column_value,
)

_RecordOf: TypeAlias = Callable[[RunId], Run | None]

_OF_MACHINE: dict[str, Callable[[Machine], ColumnValue]] = {
    "host": lambda machine: machine.hostname,
    "cpu": lambda machine: machine.cpu,
    "gpu": lambda machine: (
        ", ".join(sorted({gpu.name or "?" for gpu in machine.gpus or ()})) or None
    ),
}
"""Columns that only groups have: the index does not know machines."""


class RunGroup(NamedTuple):
    """Runs with the same values of what they are grouped by, the oldest first.

    Attributes:
        values: one for each column in `by`.
        seeds: of each run, where known.
    """

    values: tuple[ColumnValue, ...]
    runs: tuple[RunId, ...]
    seeds: tuple[int | None, ...]


class ComparedMetric(NamedTuple):
    """What a metric came to in each group.

    Attributes:
        samples: one for each group.
        verdicts: of each group but the first one, which they are compared with; None where one of
            the two has no number.
    """

    column: Column
    samples: tuple[Sample, ...]
    verdicts: tuple[StatisticVerdict | None, ...]


class GroupStatistics(NamedTuple):
    """Groups of runs and what each metric came to in them."""

    by: tuple[Column, ...]
    groups: tuple[RunGroup, ...]
    metrics: tuple[ComparedMetric, ...]
    remarks: tuple[str, ...]


def compare_groups(
    context: Context,
    selection: Selection,
    by: str | None,
    metrics: str = "",
    margins: Iterable[str] = (),
) -> GroupStatistics:
    """Compare groups of runs by one number that each run came to.

    Args:
        context: where.
        selection: which runs, whatever its `limit`.
        by: columns by comma, `host`, `cpu` and `gpu` among them; None for one group of all.
        metrics: columns by comma; all last metrics that are no times unless it says any.
        margins: how far means may be apart, as `Tolerances.parse` takes it.

    Raises:
        BadFilter, BadColumn, UsageError: a text cannot be understood.
        NotFound, Ambiguous: a text means no run, or several.
    """
    tolerances = Tolerances.parse(margins)
    keys = parse_columns(by) if by is not None else ()
    runs = sorted(choose_runs(context, selection), key=_age)
    completed = [run for run in runs if run.status is Status.COMPLETED]
    record_of = cache(partial(_record, context))
    value_of = _Values(context, completed, record_of)
    members: dict[bytes, list[IndexedRun]] = {}
    values: dict[bytes, tuple[ColumnValue, ...]] = {}
    for run in completed:
        of_run = tuple(value_of(key, run) for key in keys)
        identity = to_json([repr(value) for value in of_run])
        values.setdefault(identity, of_run)
        members.setdefault(identity, []).append(run)
    repeats = 0
    if not selection.texts:
        for identity, of_group in members.items():
            members[identity] = _without_repeats(of_group, record_of)
            repeats += len(of_group) - len(members[identity])
    flag = _seed_flag(completed, keys)
    groups = [
        RunGroup(
            values[identity],
            tuple(run.id for run in of_group),
            tuple(_seed(run, record_of, flag) for run in of_group),
        )
        for identity, of_group in members.items()
    ]
    columns, remarks = _columns(completed, metrics)
    if len(completed) < len(runs):
        remarks.append(f"{counted(len(runs) - len(completed), 'run')} not completed: left out")
    if repeats:
        remarks.append(
            f"{counted(repeats, 'reproduction')} with the seed of a run beside it: left out, being the "
            "same sample once more; name the runs to count all"
        )
    remarks += [
        f"none of these runs has a `{key.heading}`"
        for at, key in enumerate(keys)
        if groups and all(group.values[at] is None for group in groups)
    ]
    remarks += [
        f"no metric here is called `{name}`: what was said of it was not used"
        for name in tolerances.unused(column.operand.name for column in columns)
    ]
    compared = _compare(columns, list(members.values()), groups, tolerances)
    return GroupStatistics(keys, tuple(groups), tuple(compared), tuple(remarks))


def _compare(
    columns: Sequence[Column],
    members: Sequence[Sequence[IndexedRun]],
    groups: Sequence[RunGroup],
    tolerances: Tolerances,
) -> list[ComparedMetric]:
    numbers = [
        [[number_in(column_value(column, run)) for run in of_group] for of_group in members]
        for column in columns
    ]
    present = [
        [[value for value in of_group if value is not None] for of_group in of_column]
        for of_column in numbers
    ]
    margin_of = {column.heading: tolerances.for_metric(column.operand.name) for column in columns}
    verdicts: list[dict[str, StatisticVerdict]] = []
    for at in range(1, len(groups)):
        samples = {
            column.heading: (of_column[0], of_column[at])
            for column, of_column in zip(columns, present, strict=True)
            if of_column[0] and of_column[at]
        }
        seeds: Seeds = (groups[0].seeds, groups[at].seeds)
        found = judge_all(samples, margin_of=margin_of.__getitem__, seeds=seeds)
        verdicts.append({verdict.name: verdict for verdict in found})
    return [
        ComparedMetric(
            column,
            tuple(map(sample, of_column)),
            tuple(of_group.get(column.heading) for of_group in verdicts),
        )
        for column, of_column in zip(columns, present, strict=True)
    ]


def _columns(runs: Sequence[IndexedRun], text: str) -> tuple[list[Column], list[str]]:
    """Return what to compare, and remarks: what the text names, else every metric but times."""
    if text.strip():
        columns = list(parse_columns(text))
        empty = [
            f"`{column.heading}` holds no numbers"
            for column in columns
            if runs and all(number_in(column_value(column, run)) is None for run in runs)
        ]
        return columns, empty
    names = sorted({name for run in runs for name in run.metrics if not name.startswith(SAMPLED)})
    times = [name for name in names if is_time(name)]
    remarks = []
    if times and len(times) < len(names):
        remarks.append(f"not compared unless named, because they are times: {', '.join(times)}")
        names = [name for name in names if name not in times]
    return [Column(Operand(Kind.METRIC, name), name) for name in names], remarks


class _Values:
    """Looks up what a run is grouped by."""

    def __init__(self, context: Context, runs: Sequence[IndexedRun], record_of: _RecordOf) -> None:
        self._blobs = context.store.blobs
        self._record_of = record_of
        self._machines: dict[str, Machine | None] = {}
        self._known = {name for run in runs for name in (*run.flags, *run.metrics, *run.params)}

    def __call__(self, column: Column, run: IndexedRun) -> ColumnValue:
        operand = column.operand
        fact = _OF_MACHINE.get(operand.name)
        if operand.kind is not Kind.ANY or fact is None or operand.name in self._known:
            return column_value(column, run)
        record = self._record_of(run.id)
        machine = self._machine(record) if record is not None else None
        return fact(machine) if machine is not None else None

    def _machine(self, record: Run) -> Machine | None:
        digest = record.machine
        if digest is None:
            return None
        if digest not in self._machines:
            try:
                self._machines[digest] = decode_machine(self._blobs.get(digest), where="machine")
            except ReenactError:
                self._machines[digest] = None
        return self._machines[digest]


def _record(context: Context, run: RunId) -> Run | None:
    try:
        return context.store.read_run(run).record
    except ReenactError:
        return None


def _without_repeats(runs: Sequence[IndexedRun], record_of: _RecordOf) -> list[IndexedRun]:
    """Leave out reproductions that draw what a run of the same group has drawn: that is no new sample."""
    known: set[tuple[RunId, int]] = set()
    found: list[IndexedRun] = []
    for run in runs:
        record = record_of(run.id)
        if record is not None and record.seed is not None:
            key = (record.reproduces or record.id, record.seed)
            if record.reproduces is not None and key in known:
                continue
            known.add(key)
        found.append(run)
    return found


def _seed_flag(runs: Sequence[IndexedRun], keys: Sequence[Column]) -> str | None:
    """Return the flag that is the seed of all runs; None where they have no such flag in common."""
    for name in SEED_FLAGS:
        if runs and all(_whole(run.flags.get(name)) is not None for run in runs):
            return None if name in [key.operand.name for key in keys] else name
    return None


def _seed(run: IndexedRun, record_of: _RecordOf, flag: str | None) -> int | None:
    if flag is not None:
        return _whole(run.flags[flag])
    record = record_of(run.id)
    return record.seed if record is not None else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _age(run: IndexedRun) -> tuple[float, str]:
    begun = run.started or run.created
    return (begun.timestamp() if begun is not None else 0.0, run.id)
