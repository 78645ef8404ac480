"""Put runs side by side: a table of what they were given and of what came out, run by run or group by group.

Promised: numbers are never rounded here, a run that was asked for is never left out without
`is_complete` saying so, and what a mean leaves out (NaN, runs without a value) is counted beside it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple, TypeVar

import msgspec

from reenact.actions.context import Context
from reenact.actions.declared_columns import Declared, declared_columns
from reenact.actions.find import BATCHES, find_runs, list_runs, parts_of
from reenact.actions.pareto import (
    Front,
    Objective,
    Point,
    find_front,
    objectives_from,
    objectives_of_batches,
    parse_objectives,
)
from reenact.errors import BadColumn
from reenact.model.direction import Direction, best_of, guess_direction
from reenact.model.identity import RunId
from reenact.model.metrics import SAMPLED
from reenact.model.record import to_json
from reenact.model.run import Status
from reenact.model.statistic import Statistic, number_in, statistic
from reenact.store.columns import (
    ATTRIBUTES,
    Column,
    ColumnValue,
    Field,
    IndexedRun,
    Kind,
    Operand,
    Sort,
    column_value,
    operand_value,
    parse_column,
    parse_sort,
)
from reenact.store.index import Index

DEFAULT_LIMIT = 20

_Item = TypeVar("_Item")
_ID = Column(Operand(Kind.ATTRIBUTE, "id"), "id")
_FRONT = Column(Operand(Kind.ATTRIBUTE, "pareto"), "pareto")
_VARIANT = Column(Operand(Kind.ATTRIBUTE, "variant"), "variant")
_WITH_ID = (_ID, _FRONT)
_FIXED = (
    _ID,
    Column(Operand(Kind.ATTRIBUTE, "op"), "operation"),
    Column(Operand(Kind.ATTRIBUTE, "started"), "started"),
    Column(Operand(Kind.ATTRIBUTE, "status"), "status"),
    Column(Operand(Kind.ATTRIBUTE, "label"), "label"),
)


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs are compared.

    Attributes:
        texts: runs by name; none means all of the project, the newest first.
        filter_text: which of them; see `docs/reference/filters.md`.
        sort: columns to order rows by; as named, else the newest first, when None.
        limit: how many rows at most, 0 for all; when None `DEFAULT_LIMIT`, and all that are named.
        all_projects: runs of all projects in the store.
    """

    texts: tuple[str, ...] = ()
    filter_text: str | None = None
    sort: str | None = None
    limit: int | None = None
    all_projects: bool = False


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Which columns there are and what is good in them.

    Attributes:
        columns: columns by comma; see `docs/reference/columns.md`. When None, what identifies a
            run, then flags and last metrics, those that differ first.
        minimize: columns in which the least number is the best.
        maximize: columns in which the greatest is.
        only_differences: leave out columns that say the same of every run.
    """

    columns: str | None = None
    minimize: tuple[str, ...] = ()
    maximize: tuple[str, ...] = ()
    only_differences: bool = False


class ComparedColumn(msgspec.Struct, frozen=True):
    """A column of the table.

    Attributes:
        differs: not all rows say the same.
        is_numeric: it holds numbers, and nothing else.
        direction: which number is the best; None where nobody said and its name does not tell.
        best: numbers of the rows that hold it; empty where fewer than two numbers can be compared.
    """

    column: Column
    differs: bool
    is_numeric: bool
    direction: Direction | None = None
    best: frozenset[int] = frozenset()

    @property
    def heading(self) -> str:
        """What stands above it."""
        return self.column.heading


class Comparison(NamedTuple):
    """Runs and what they hold in each column; `is_complete`: no more runs match."""

    columns: tuple[ComparedColumn, ...]
    runs: tuple[IndexedRun, ...]
    rows: tuple[tuple[ColumnValue, ...], ...]
    is_complete: bool
    remarks: tuple[str, ...]


class Group(NamedTuple):
    """Runs with the same values of the columns that they are grouped by."""

    values: tuple[ColumnValue, ...]
    runs: tuple[RunId, ...]
    statuses: dict[Status, int]
    statistics: tuple[Statistic, ...]


class Grouping(NamedTuple):
    """Groups of runs, and a statistic of each in every column; `is_complete`: these are all."""

    by: tuple[Column, ...]
    columns: tuple[ComparedColumn, ...]
    groups: tuple[Group, ...]
    is_complete: bool
    remarks: tuple[str, ...]


def compare_runs(context: Context, selection: Selection, layout: Layout) -> Comparison:
    """Return a table of runs and columns.

    Raises:
        BadFilter, BadColumn: a text cannot be understood, or names no column of the table.
        NotFound, Ambiguous: a text means no run, or several.
    """
    runs, is_complete = _choose(context, selection)
    return _table(context, runs, layout, is_complete=is_complete)


def choose_runs(context: Context, selection: Selection) -> list[IndexedRun]:
    """Return all runs that a selection means, whatever its limit; a batch stands for its trials.

    Raises:
        BadFilter, BadColumn: a text cannot be understood.
        NotFound, Ambiguous: a text means no run, or several.
    """
    return _choose(context, msgspec.structs.replace(selection, limit=0))[0]


def compare_front(
    context: Context, selection: Selection, layout: Layout, pareto: str, *, front_only: bool
) -> tuple[Comparison, Front]:
    """Return a table that says which runs no other run beats, and the front that they are.

    All runs that the selection means are compared; its `limit` is about what is shown. Unless it is
    sorted otherwise, the front comes first, then what is beaten, then what cannot be compared.

    Args:
        context: where.
        selection: which runs.
        layout: of which columns; what they were compared by stands in front.
        pareto: objectives by comma, see `parse_objectives`; those of the runs' batch when empty.
        front_only: show the front and nothing else.

    Raises:
        BadFilter, BadColumn: a text cannot be understood, or names no column of the table.
        NotFound, Ambiguous: a text means no run, or several.
        UsageError: nobody says what is wanted.
    """
    runs = choose_runs(context, selection)
    if pareto:
        objectives = parse_objectives(_split(pareto), layout.minimize, layout.maximize)
    else:
        objectives = objectives_from(objectives_of_batches(context, runs))
    front = find_front(runs, objectives)
    points = [point for point in front.points if point.is_on_front or not front_only]
    if selection.sort is None:
        points.sort(key=partial(_rank_on_front, front))
    limit = selection.limit
    if limit is None and not selection.texts:
        limit = DEFAULT_LIMIT
    is_complete = not limit or len(points) <= limit
    points = points[:limit] if limit else points
    names = {o.column.operand.name for o in objectives} | {o.column.heading for o in objectives}
    layout = msgspec.structs.replace(
        layout,
        minimize=tuple(text for text in layout.minimize if text not in names),
        maximize=tuple(text for text in layout.maximize if text not in names),
    )
    comparison = _table(
        context,
        [point.run for point in points],
        layout,
        is_complete=is_complete,
        front={point.run.id: _front_text(point) for point in points},
        objectives=objectives,
    )
    remarks = list(_nowhere([objective.column for objective in objectives], runs))
    if front.incomparable:
        who = "1 run is" if front.incomparable == 1 else f"{front.incomparable} runs are"
        remarks.append(f"{who} not on the front: not completed, or without a number there")
    return comparison._replace(remarks=(*comparison.remarks, *remarks)), front


def _front_text(point: Point) -> str | None:
    if point.values is None:
        return None
    return "front" if point.is_on_front else "beaten"


def _rank_on_front(front: Front, point: Point) -> tuple[int, float]:
    if point.values is None:
        return 2, 0.0
    first = point.values[0]
    is_max = front.objectives[0].direction is Direction.MAX
    return 0 if point.is_on_front else 1, -first if is_max else first


def _table(
    context: Context,
    runs: Sequence[IndexedRun],
    layout: Layout,
    *,
    is_complete: bool,
    front: Mapping[RunId, str | None] | None = None,
    objectives: Sequence[Objective] = (),
) -> Comparison:
    """Return the table of these runs.

    Args:
        context: where.
        runs: in their order.
        layout: of which columns.
        is_complete: no more runs match.
        front: what the column about the Pareto front says of each, where there is one.
        objectives: what stands right after it.
    """
    leading = [objective.column for objective in objectives]
    chosen = parse_columns(layout.columns) if layout.columns is not None else None
    declared = Declared((), tuple(runs), ())
    if chosen is None:
        declared = declared_columns(context, runs)
        columns = _default_columns(declared)
    else:
        columns = (_ID, *_without_id(chosen))
    if front is not None:
        operands = {column.operand for column in (*leading, *_WITH_ID)}
        headings = {column.heading for column in (*leading, *_WITH_ID)}
        others = [c for c in columns if c.operand not in operands and c.heading not in headings]
        columns = (_ID, _FRONT, *leading, *_without_same_metric(others, leading))
    by_column = [
        [front.get(run.id) for run in runs]
        if front is not None and column is _FRONT
        else [column_value(column, run) for run in runs]
        for column in columns
    ]
    compared = [_compared(c, values, runs) for c, values in zip(columns, by_column, strict=True)]
    said = {1 + at: objective.direction for at, objective in enumerate(objectives, 1)}
    compared = _directed(compared, by_column, layout, said)
    order = list(range(len(columns)))
    if chosen is None:
        ahead = len(_leading(declared)) + (0 if front is None else 1 + len(leading))
        order.sort(
            key=lambda at: (
                at >= ahead,
                *(_unimportance(columns[at], compared[at], is_leading=at < ahead)),
            )
        )
    if layout.only_differences:
        kept = (_ID, _FRONT, *leading)
        order = [at for at in order if compared[at].differs or columns[at] in kept]
    rows = tuple(tuple(by_column[at][row] for at in order) for row in range(len(runs)))
    remarks = (*declared.remarks, *_nowhere(chosen or (), runs))
    return Comparison(tuple(compared[at] for at in order), tuple(runs), rows, is_complete, remarks)


def _without_same_metric(columns: Iterable[Column], leading: Iterable[Column]) -> Iterable[Column]:
    """Leave out the last value of a metric where an objective shows it under its plain name."""
    shown = {(c.operand.name, c.operand.field, c.operand.is_step) for c in leading}
    for column in columns:
        operand = column.operand
        is_metric = operand.kind in (Kind.METRIC, Kind.ANY)
        if not (is_metric and (operand.name, operand.field, operand.is_step) in shown):
            yield column


def group_runs(context: Context, selection: Selection, layout: Layout, by: str) -> Grouping:
    """Return means over the runs that have the same values of some columns.

    All runs that the selection means are looked at; its `limit` and `sort` are about groups.

    Args:
        context: where.
        selection: which runs.
        layout: of which columns; all last metrics unless it says otherwise.
        by: columns by comma; a plain name is a flag.

    Raises:
        BadFilter, BadColumn: a text cannot be understood, or names no column of the table.
        NotFound, Ambiguous: a text means no run, or several.
    """
    keys = tuple(_as_flag(column) for column in parse_columns(by))
    everything = msgspec.structs.replace(selection, sort=None, limit=0)
    runs, _ = _choose(context, everything)
    chosen = parse_columns(layout.columns) if layout.columns is not None else None
    columns = chosen if chosen is not None else _metric_columns(runs, _flag_names(runs))
    remarks = [*_nowhere((*keys, *(chosen or ())), runs)]
    kept = []
    for column in columns:
        if any(number_in(column_value(column, run)) is not None for run in runs):
            kept.append(column)
        elif chosen is not None and column not in keys:
            remarks.append(f"`{column.heading}` holds no numbers: no mean of it")
    members: dict[bytes, list[IndexedRun]] = {}
    for run in runs:
        members.setdefault(_identity([column_value(key, run) for key in keys]), []).append(run)
    groups = [_group(keys, kept, members_) for members_ in members.values()]
    groups = _sorted_groups(groups, keys, kept, selection.sort)
    limit = DEFAULT_LIMIT if selection.limit is None else selection.limit
    is_complete = not limit or len(groups) <= limit
    groups = groups[:limit] if limit else groups
    means: list[list[ColumnValue]] = [
        [group.statistics[at].mean for group in groups] for at in range(len(kept))
    ]
    compared = [_compared(c, values, runs) for c, values in zip(kept, means, strict=True)]
    compared = _directed(compared, means, layout)
    order = [at for at, c in enumerate(compared) if c.differs or not layout.only_differences]
    groups = [
        group._replace(statistics=tuple(group.statistics[at] for at in order)) for group in groups
    ]
    shown = tuple(compared[at] for at in order)
    return Grouping(keys, shown, tuple(groups), is_complete, tuple(remarks))


_COMMA_PART = re.compile(r"""(?:'[^']*'|"[^"]*"|[^,'"])+""")


def parse_columns(text: str) -> tuple[Column, ...]:
    """Understand columns that are separated by commas.

    Raises:
        BadColumn: one cannot be understood, or two have the same heading.
    """
    columns = tuple(parse_column(part) for part in _split(text) if part.strip())
    if not columns:
        raise BadColumn("no column is named", hint="for example `min loss, =lr, acc as accuracy`")
    twice = [heading for heading, n in Counter(c.heading for c in columns).items() if n > 1]
    if twice:
        raise BadColumn(f"two columns are called `{twice[0]}`", hint="name one: `... as NAME`")
    return columns


def _split(text: str) -> list[str]:
    """Split at commas outside of quotes."""
    parts = _COMMA_PART.findall(text)
    if len("".join(parts)) + text.count(",") < len(text):
        parse_column(text)  # says where the quote is that nobody closes
    return parts


# --- runs ---


def _choose(context: Context, selection: Selection) -> tuple[list[IndexedRun], bool]:
    """Return the runs, and whether they are all that match."""
    if selection.texts:
        return _named(context, selection)
    limit = DEFAULT_LIMIT if selection.limit is None else selection.limit
    runs = list_runs(
        context,
        filter_text=selection.filter_text,
        sort=selection.sort,
        # One more than is shown tells whether there are more.
        limit=limit + 1 if limit else None,
        all_projects=selection.all_projects,
        without=[BATCHES],
    )
    is_complete = not limit or len(runs) <= limit
    return (runs[:limit] if limit else runs), is_complete


def _named(context: Context, selection: Selection) -> tuple[list[IndexedRun], bool]:
    ids = find_runs(
        context,
        selection.texts,
        filter_text=selection.filter_text,
        all_projects=selection.all_projects,
    )
    with Index(context.store) as index:
        named = [run for run in map(index.get, ids) if run is not None]
    runs = []
    for run in named:
        # A batch has nothing to compare but its trials.
        runs += [run] if run.batch is None else _trials_of(context, run.id)
    runs = list({run.id: run for run in runs}.values())
    if selection.sort is not None:
        for sort in reversed(parse_sort(selection.sort)):
            runs = _sorted_by(runs, partial(operand_value, sort.operand), sort)
    is_complete = not selection.limit or len(runs) <= selection.limit
    return (runs[: selection.limit] if selection.limit else runs), is_complete


def _trials_of(context: Context, batch: RunId) -> list[IndexedRun]:
    return [part for part in parts_of(context, batch) if (part.part or "").isdecimal()]


def _sorted_by(
    items: list[_Item], value_of: Callable[[_Item], ColumnValue], sort: Sort
) -> list[_Item]:
    """Sort as the index does: those with a value, then NaN, then those without one."""
    with_value: list[tuple[tuple[int, float | str], _Item]] = []
    nans: list[_Item] = []
    without: list[_Item] = []
    for item in items:
        value = value_of(item)
        if value is None:
            without.append(item)
        elif value != value:
            nans.append(item)
        else:
            with_value.append((_sort_key(value), item))
    with_value.sort(key=lambda pair: pair[0], reverse=sort.is_descending)
    return [*(item for _, item in with_value), *nans, *without]


def _sort_key(value: ColumnValue) -> tuple[int, float | str]:
    if isinstance(value, datetime):
        return 0, value.timestamp()
    if isinstance(value, int | float):
        return 0, value
    return 1, value if isinstance(value, str) else to_json(value).decode()


# --- columns ---


def _default_columns(declared: Declared) -> tuple[Column, ...]:
    """Return what project files want to see, and of the other runs flags and metrics."""
    runs = declared.others
    flags = _flag_names(runs)
    metrics = _metric_columns(runs, flags)
    taken = {column.heading for column in (*_FIXED, *metrics)}
    found: dict[str, Column] = {}
    variant = (_VARIANT,) if any(run.variant is not None for run in declared.others) else ()
    for column in (
        *_leading(declared),
        *variant,
        *(_flag_column(n, taken) for n in flags),
        *metrics,
    ):
        found.setdefault(column.heading, column)
    return tuple(found.values())


def _leading(declared: Declared) -> tuple[Column, ...]:
    """Return the columns that stand in front, in this order, whether they differ or not."""
    fixed = {column.heading for column in _FIXED}
    return (*_FIXED, *(c for c in declared.columns if c.heading not in fixed))


def _flag_names(runs: Iterable[IndexedRun]) -> list[str]:
    return sorted({name for run in runs for name in run.flags})


def _flag_column(name: str, taken: set[str]) -> Column:
    is_clear = name not in taken and name not in ATTRIBUTES
    return Column(Operand(Kind.FLAG, name), name if is_clear else f"={name}")


def _metric_columns(runs: Iterable[IndexedRun], flags: Iterable[str]) -> tuple[Column, ...]:
    names = sorted({n for run in runs for n in run.metrics if not n.startswith(SAMPLED)})
    taken = {*flags, *ATTRIBUTES, *(column.heading for column in _FIXED)}
    return tuple(
        Column(Operand(Kind.METRIC, name), f"metric:{name}" if name in taken else name)
        for name in names
    )


def _unimportance(
    column: Column, compared: ComparedColumn, *, is_leading: bool
) -> tuple[bool, bool]:
    """Order what differs before what does not, and there results before settings."""
    if is_leading:
        return False, False
    return not compared.differs, not compared.differs and column.operand.kind is Kind.FLAG


def _without_id(columns: Iterable[Column]) -> list[Column]:
    return [column for column in columns if column.operand != _ID.operand]


def _as_flag(column: Column) -> Column:
    if column.operand.kind is not Kind.ANY:
        return column
    return msgspec.structs.replace(column, operand=Operand(Kind.FLAG, column.operand.name))


def _nowhere(columns: Iterable[Column], runs: Sequence[IndexedRun]) -> Iterable[str]:
    """Say which columns nobody has anything in; most often they are misspelled."""
    if not runs:
        return
    flags = {name for run in runs for name in run.flags}
    metrics = {name for run in runs for name in run.metrics}
    for operand in (column.operand for column in columns):
        if operand.kind is Kind.ATTRIBUTE:
            continue
        known = {Kind.FLAG: flags, Kind.METRIC: metrics}.get(operand.kind, flags | metrics)
        if operand.name not in known:
            from reenact.project.flag_text import nearest

            close = nearest(operand.name, sorted(known))
            what = "flag or metric" if operand.kind is Kind.ANY else str(operand.kind)
            hint = f"; did you mean `{close}`?" if close else ""
            yield f"none of these runs has a {what} `{operand.name}`{hint}"


def _compared(
    column: Column, values: Sequence[ColumnValue], runs: Sequence[IndexedRun]
) -> ComparedColumn:
    differs = len({_identity(value) for value in values}) > 1
    present = [value for value in values if value is not None]
    is_numeric = bool(present) and all(number_in(value) is not None for value in present)
    guessed = None
    if is_numeric and _shows_metric(column.operand, runs):
        guessed = guess_direction(column.operand.name)
    return ComparedColumn(column, differs, is_numeric, guessed)


def _shows_metric(operand: Operand, runs: Iterable[IndexedRun]) -> bool:
    if operand.is_step or operand.field in (Field.COUNT, Field.NANS):
        return False
    if operand.kind is Kind.ANY:
        return not any(operand.name in run.flags for run in runs)
    return operand.kind is Kind.METRIC


# --- the best ---


def _directed(
    columns: Sequence[ComparedColumn],
    by_column: Sequence[Sequence[ColumnValue]],
    layout: Layout,
    known: Mapping[int, Direction] | None = None,
) -> list[ComparedColumn]:
    """Take over what the user says is best, then find it."""
    said = dict(known or {})
    for texts, direction in ((layout.minimize, Direction.MIN), (layout.maximize, Direction.MAX)):
        for text in texts:
            for at in _columns_meant(text, columns):
                if said.setdefault(at, direction) is not direction:
                    raise BadColumn(f"`{text}` cannot be best both ways")
    found = []
    for at, (column, values) in enumerate(zip(columns, by_column, strict=True)):
        best_is = said.get(at, column.direction)
        best = best_of(values, best_is) if best_is is not None else frozenset()
        found.append(msgspec.structs.replace(column, direction=best_is, best=best))
    return found


def _columns_meant(text: str, columns: Sequence[ComparedColumn]) -> list[int]:
    wanted = parse_column(text)
    named = [at for at, c in enumerate(columns) if c.heading in (text, wanted.heading)]
    if named:
        return named
    operand = wanted.operand
    same_name = [
        at
        for at, c in enumerate(columns)
        if c.column.operand.name == operand.name
        and (operand.kind is Kind.ANY or c.column.operand.kind in (operand.kind, Kind.ANY))
    ]
    exact = [at for at in same_name if columns[at].column.operand.field == operand.field]
    if not same_name:
        from reenact.project.flag_text import nearest

        close = nearest(operand.name, [column.heading for column in columns])
        hint = f"did you mean `{close}`?" if close else "`--columns` says which columns there are"
        raise BadColumn(f"there is no column `{text}` here", hint=hint)
    return exact or same_name


def _identity(value: object) -> bytes:
    """Return what equal values have in common; `1`, `1.0` and `true` differ, NaN does not."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value).encode()
    if isinstance(value, list | tuple):
        return b"[" + b",".join(map(_identity, value)) + b"]"
    if isinstance(value, dict):
        return (
            b"{" + b",".join(k.encode() + b":" + _identity(value[k]) for k in sorted(value)) + b"}"
        )
    return to_json(value)


# --- groups ---


def _group(keys: Sequence[Column], columns: Sequence[Column], runs: Sequence[IndexedRun]) -> Group:
    return Group(
        tuple(column_value(key, runs[0]) for key in keys),
        tuple(run.id for run in runs),
        dict(Counter(run.status for run in runs)),
        tuple(statistic(column_value(column, run) for run in runs) for column in columns),
    )


def _sorted_groups(
    groups: list[Group], keys: Sequence[Column], columns: Sequence[Column], sort: str | None
) -> list[Group]:
    orders = parse_sort(sort) if sort is not None else [Sort(key.operand) for key in keys]
    values = dict[Operand, Callable[[Group], ColumnValue]]()
    for at, column in enumerate(columns):
        values[column.operand] = partial(_mean_of, at)
    for at, key in enumerate(keys):
        values[key.operand] = partial(_value_of, at)
    for order in reversed(orders):
        value_of = _find_value(values, order.operand)
        if value_of is None:
            raise BadColumn(
                f"groups cannot be sorted by `{order.operand.name}`",
                hint="only by what they are grouped by, or by a column that is shown",
            )
        groups = _sorted_by(groups, value_of, order)
    return groups


def _find_value(
    values: dict[Operand, Callable[[Group], ColumnValue]], operand: Operand
) -> Callable[[Group], ColumnValue] | None:
    if operand in values:
        return values[operand]
    for known, value_of in values.items():
        is_alike = known.name == operand.name and known.field == operand.field
        if is_alike and known.is_step == operand.is_step and operand.kind is Kind.ANY:
            return value_of
    return None


def _mean_of(at: int, group: Group) -> ColumnValue:
    return group.statistics[at].mean


def _value_of(at: int, group: Group) -> ColumnValue:
    return group.values[at]
