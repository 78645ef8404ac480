"""Put runs side by side: a table of what they were given and of what came out, run by run or group by group.

Promised: numbers are never rounded here, a run that was asked for is never left out without
`is_complete` saying so, and what a mean leaves out (NaN, runs without a value) is counted beside it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import NamedTuple, TypeVar

import msgspec

from reenact.actions.context import Context
from reenact.actions.find import find_runs, list_runs
from reenact.errors import BadColumn
from reenact.model.identity import RunId
from reenact.model.metrics import SAMPLED
from reenact.model.record import to_json
from reenact.model.run import Status
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
_FIXED = (
    _ID,
    Column(Operand(Kind.ATTRIBUTE, "op"), "operation"),
    Column(Operand(Kind.ATTRIBUTE, "started"), "started"),
    Column(Operand(Kind.ATTRIBUTE, "status"), "status"),
    Column(Operand(Kind.ATTRIBUTE, "label"), "label"),
)


class Direction(StrEnum):
    """Which number of a column is the best one."""

    MIN = "min"
    MAX = "max"


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


class Statistic(msgspec.Struct, frozen=True, kw_only=True):
    """What the numbers of a group's runs come to in one column.

    Attributes:
        count: how many numbers `mean` and `sd` are over.
        mean: arithmetic mean; None without a number.
        sd: standard deviation of the sample (divided by n - 1); None for fewer than two numbers and
            where infinities leave none.
        nan_count: how many runs had NaN, which counts in neither.
        missing: how many runs had no number at all.
    """

    count: int
    mean: float | None = None
    sd: float | None = None
    nan_count: int = 0
    missing: int = 0


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
    chosen = parse_columns(layout.columns) if layout.columns is not None else None
    columns = (_ID, *_without_id(chosen)) if chosen is not None else _default_columns(runs)
    by_column = [[column_value(column, run) for run in runs] for column in columns]
    compared = [_compared(c, values, runs) for c, values in zip(columns, by_column, strict=True)]
    compared = _directed(compared, by_column, layout)
    order = list(range(len(columns)))
    if chosen is None:
        order.sort(key=lambda at: (at >= len(_FIXED), *_unimportance(columns[at], compared[at])))
    if layout.only_differences:
        order = [at for at in order if compared[at].differs or columns[at] is _ID]
    rows = tuple(tuple(by_column[at][row] for at in order) for row in range(len(runs)))
    remarks = tuple(_nowhere(chosen or (), runs))
    return Comparison(tuple(compared[at] for at in order), tuple(runs), rows, is_complete, remarks)


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
        if any(_number(column_value(column, run)) is not None for run in runs):
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
    parts = _COMMA_PART.findall(text)
    if len("".join(parts)) + text.count(",") < len(text):
        parse_column(text)  # says where the quote is that nobody closes
    columns = tuple(parse_column(part) for part in parts if part.strip())
    if not columns:
        raise BadColumn("no column is named", hint="for example `min loss, =lr, acc as accuracy`")
    twice = [heading for heading, n in Counter(c.heading for c in columns).items() if n > 1]
    if twice:
        raise BadColumn(f"two columns are called `{twice[0]}`", hint="name one: `... as NAME`")
    return columns


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
        runs = [run for run in map(index.get, ids) if run is not None]
    if selection.sort is not None:
        for sort in reversed(parse_sort(selection.sort)):
            runs = _sorted_by(runs, partial(operand_value, sort.operand), sort)
    is_complete = not selection.limit or len(runs) <= selection.limit
    return (runs[: selection.limit] if selection.limit else runs), is_complete


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


def _default_columns(runs: Sequence[IndexedRun]) -> tuple[Column, ...]:
    flags = _flag_names(runs)
    metrics = _metric_columns(runs, flags)
    taken = {column.heading for column in (*_FIXED, *metrics)}
    return (*_FIXED, *(_flag_column(name, taken) for name in flags), *metrics)


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


def _unimportance(column: Column, compared: ComparedColumn) -> tuple[bool, bool]:
    """Order what differs before what does not, and there results before settings."""
    if column in _FIXED:
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
    is_numeric = bool(present) and all(_number(value) is not None for value in present)
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

_GOOD = frozenset(
    """
    acc accuracy accuracies auc auroc auprc roc f1 fscore r2 score precision recall map ap mrr ndcg bleu
    rouge meteor iou miou dice psnr ssim reward return elbo throughput likelihood
    """.split()
)
_BAD = frozenset(
    """
    loss losses error errors err rmse mse mae mape msle rmsle nll perplexity ppl bpc wer cer fid
    regret brier deviance logloss
    """.split()
)
_WORD = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*")


def guess_direction(name: str) -> Direction | None:
    """Tell from a metric's name which of its values is best; None where that is not plain.

    `val_loss` and `rmse` are better when small, `test/acc` and `F1` when great, `neg_rmse` when
    great; `score_loss` says both, `lr` nothing.
    """
    words = [word.lower() for word in _WORD.findall(name)]
    bare = {*words, *(word.rstrip("0123456789") for word in words)}
    is_good, is_bad = not _GOOD.isdisjoint(bare), not _BAD.isdisjoint(bare)
    is_negated = not bare.isdisjoint(("neg", "negative"))
    if is_good == is_bad:
        return None
    return Direction.MAX if is_good != is_negated else Direction.MIN


def _directed(
    columns: Sequence[ComparedColumn], by_column: Sequence[Sequence[ColumnValue]], layout: Layout
) -> list[ComparedColumn]:
    """Take over what the user says is best, then find it."""
    said: dict[int, Direction] = {}
    for texts, direction in ((layout.minimize, Direction.MIN), (layout.maximize, Direction.MAX)):
        for text in texts:
            for at in _columns_meant(text, columns):
                if said.setdefault(at, direction) is not direction:
                    raise BadColumn(f"`{text}` cannot be best both ways")
    found = []
    for at, (column, values) in enumerate(zip(columns, by_column, strict=True)):
        best_is = said.get(at, column.direction)
        best = _best(values, best_is) if best_is is not None else frozenset()
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


def _best(values: Sequence[ColumnValue], direction: Direction) -> frozenset[int]:
    numbers = {at: n for at, v in enumerate(values) if (n := _number(v)) is not None and n == n}
    if len(set(numbers.values())) < 2:
        return frozenset()
    best = min(numbers.values()) if direction is Direction.MIN else max(numbers.values())
    return frozenset(at for at, number in numbers.items() if number == best)


def _number(value: ColumnValue) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value


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


def statistic(values: Iterable[ColumnValue]) -> Statistic:
    """Return mean and sample standard deviation of the numbers among `values`."""
    numbers: list[float] = []
    nan_count = missing = 0
    for value in values:
        number = _number(value)
        if number is None:
            missing += 1
        elif number != number:
            nan_count += 1
        else:
            numbers.append(number)
    count = len(numbers)
    mean = sd = None
    if count:
        mean = _mean(numbers)
        if count > 1 and math.isfinite(mean):
            sd = _deviation([number - mean for number in numbers])
    return Statistic(count=count, mean=mean, sd=sd, nan_count=nan_count, missing=missing)


def _mean(numbers: Sequence[float]) -> float:
    total = _sum(numbers)
    if math.isfinite(total) or not all(map(math.isfinite, numbers)):
        return total / len(numbers)
    # The sum is too large for a float, the mean is not.
    return _sum([number / len(numbers) for number in numbers])


def _deviation(distances: Sequence[float]) -> float | None:
    largest = max(map(abs, distances))
    if largest == 0 or not math.isfinite(largest):
        return 0.0 if largest == 0 else None
    # Divided first: the square of a small number is zero, that of a large one infinite.
    squares = math.fsum((distance / largest) ** 2 for distance in distances)
    return largest * math.sqrt(squares / (len(distances) - 1))


def _sum(numbers: Sequence[float]) -> float:
    try:
        return math.fsum(numbers)
    except (OverflowError, ValueError):
        return float(sum(map(float, numbers)))


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
