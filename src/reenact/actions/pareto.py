"""Which runs of a comparison no other run beats in all that is wanted of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from reenact.actions.context import Context
from reenact.errors import BadColumn, UsageError
from reenact.model.direction import Direction, guess_direction
from reenact.model.identity import RunId
from reenact.model.run import Status
from reenact.model.statistic import number_in
from reenact.search import samplers
from reenact.search.pareto import pareto_front
from reenact.store.columns import Column, Field, IndexedRun, column_value, parse_column
from reenact.store.index import Index

_SAID = re.compile(r"\s*(?:(?P<sign>-)|(?P<word>min|max):)\s*(?P<column>.*)", re.DOTALL)
_SEARCHED = {
    Direction.MIN: samplers.Direction.MINIMIZE,
    Direction.MAX: samplers.Direction.MAXIMIZE,
}


class Objective(NamedTuple):
    """A column, and which of its numbers is the best."""

    column: Column
    direction: Direction


class Point(NamedTuple):
    """A run as it is compared; `values` are None where it lacks one or has not completed."""

    run: IndexedRun
    values: tuple[float, ...] | None
    is_on_front: bool


class Front(NamedTuple):
    """What was compared, and what came of it; `incomparable` says how many runs were not."""

    objectives: tuple[Objective, ...]
    points: tuple[Point, ...]

    @property
    def incomparable(self) -> int:
        """How many runs were left out."""
        return sum(point.values is None for point in self.points)


def parse_objectives(
    columns: Sequence[str], minimize: Iterable[str], maximize: Iterable[str]
) -> tuple[Objective, ...]:
    """Understand what is wanted of which columns.

    Args:
        columns: `-latency` and `min:latency` say that the least is the best, `max:acc` that the
            greatest is; else the next two say so, else the name.
        minimize: columns in which the least is the best.
        maximize: columns in which the greatest is.

    Raises:
        BadColumn: one cannot be understood, or nobody says which of its numbers is the best.
    """
    said = dict.fromkeys(minimize, Direction.MIN) | dict.fromkeys(maximize, Direction.MAX)
    found: dict[str, Objective] = {}
    for text in columns:
        match = _SAID.fullmatch(text)
        name = text.strip() if match is None else match["column"]
        column = parse_column(name)
        direction = said.get(name)
        if match is not None:
            direction = Direction(match["word"] or Direction.MIN)
        if direction is None and column.operand.field not in (Field.COUNT, Field.NANS):
            direction = guess_direction(column.operand.name)
        if direction is None:
            raise BadColumn(
                f"nobody says which `{name}` is the best",
                hint=f"write `-{name}` or `min:{name}` for the least, `max:{name}` for the greatest",
            )
        found.setdefault(column.heading, Objective(column, direction))
    return tuple(found.values())


def objectives_of_batches(
    context: Context, runs: Iterable[IndexedRun]
) -> tuple[tuple[str, str], ...]:
    """Return what the batches of these runs were to reach; it is the same for all.

    Raises:
        UsageError: no batch says so, or they want different things.
    """
    parents = dict.fromkeys(run.parent for run in runs if run.parent is not None)
    wanted: dict[tuple[tuple[str, str], ...], RunId] = {}
    with Index(context.store) as index:
        for parent in parents:
            run = index.get(parent)
            if run is not None and run.batch is not None and run.batch.objectives:
                wanted[run.batch.objectives] = parent
    if not wanted:
        raise UsageError("no objective is named", hint="name some: `acc,-latency`")
    if len(wanted) > 1:
        raise UsageError(
            "the batches have different objectives", hint="name those that count: `acc,-latency`"
        )
    return next(iter(wanted))


def objectives_from(pairs: Iterable[tuple[str, str]]) -> tuple[Objective, ...]:
    """Return the objectives of a batch, as its record has them."""
    directions = {str(searched): direction for direction, searched in _SEARCHED.items()}
    return tuple(Objective(parse_column(text), directions[said]) for said, text in pairs)


def find_front(runs: Sequence[IndexedRun], objectives: tuple[Objective, ...]) -> Front:
    """Return which of the completed runs no other one beats."""
    values = [_values(run, objectives) for run in runs]
    directions = [_SEARCHED[objective.direction] for objective in objectives]
    without = (None,) * len(objectives)
    front = set(pareto_front([v or without for v in values], directions))
    points = tuple(
        Point(run, v, at in front) for at, (run, v) in enumerate(zip(runs, values, strict=True))
    )
    return Front(objectives, points)


def _values(run: IndexedRun, objectives: Iterable[Objective]) -> tuple[float, ...] | None:
    if run.status is not Status.COMPLETED:
        return None
    values = []
    for objective in objectives:
        number = number_in(column_value(objective.column, run))
        if number is None or number != number:
            return None
        values.append(float(number))
    return tuple(values)
