"""Metrics: numbers reported over steps, and what a series comes to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Literal, NamedTuple, TypeAlias

import msgspec

SAMPLED = ("system/", "machine/")
"""Metrics whose names begin so measure the process tree and the machine, not the work."""

_TRACKERS = frozenset("wandb mlflow trackio aim neptune comet clearml".split())
_RANKS = {"system": 0, "log": 1, "events": 4, "file": 5, "output": 6}
_RANK_OF_TRACKERS = 2
_RANK_OF_FRAMEWORKS = 3
_FEW = 8
"""So few points are faster one by one."""


def kind_of(source: str) -> str:
    """Return what kind of source this is: `events` of `events:logs/events.out.tfevents.1`."""
    return source.partition(":")[0]


def best_kind(kinds: Iterable[str]) -> str:
    """Return whose points are a metric's series when several kinds of sources report its name.

    What the script says for itself counts most (`log`, then the trackers that it calls), then what
    a framework's hook says, then event files, then `file`, then what was printed. Of two trackers,
    or of two frameworks, it is the first one that reported.
    """
    return min(kinds, key=_rank)


def best_first(kinds: Mapping[str, int]) -> dict[str, int]:
    """Return kinds of sources with how many points each has, the one of the series first."""
    return dict(sorted(kinds.items(), key=lambda item: _rank(item[0])))


def _rank(kind: str) -> int:
    default = _RANK_OF_TRACKERS if kind in _TRACKERS else _RANK_OF_FRAMEWORKS
    return _RANKS.get(kind, default)


class Point(NamedTuple):
    """One number that a run reported.

    Attributes:
        name: the metric's name.
        step: the step that was reported with it, or the implied one: how often the name was seen.
        time_ns: nanoseconds since 1970 in UTC.
        value: the number, NaN and infinities included.
    """

    name: str
    step: int
    time_ns: int
    value: float


JsonNumber: TypeAlias = float | Literal["NaN", "Infinity", "-Infinity"]


class Summary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a metric's series comes to; the series itself is kept beside it, whole.

    `minimum`, `maximum` and `mean` are over the numbers that are not NaN, None where there are
    none; `nan_count` says how many were. Non-finite floats are strings in JSON (`json_number`).
    """

    count: int
    first: JsonNumber
    first_step: int
    last: JsonNumber
    last_step: int
    minimum: JsonNumber | None = None
    minimum_step: int | None = None
    maximum: JsonNumber | None = None
    maximum_step: int | None = None
    mean: JsonNumber | None = None
    nan_count: int = 0


def json_number(value: float) -> JsonNumber:
    """Return what stands for a float in JSON, which has no words for NaN and infinities.

    They are the strings `NaN`, `Infinity` and `-Infinity`; `float()` reads them back.
    """
    if math.isfinite(value):
        return value
    if value != value:
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


class Summarizer:
    """Make the summaries of many metrics in one pass over their points, in the order reported.

    The points of each kind of source are kept apart, and `summaries` chooses: see `best_kind`.
    """

    def __init__(self) -> None:
        self._series: dict[str, dict[str, _Series]] = {}

    def add(self, point: Point, kind: str = "") -> None:
        """Take one more point into account, which came from a source of this kind."""
        self._of(point.name, kind).add(point.step, point.value)

    def add_all(self, points: Sequence[Point], kind: str = "") -> None:
        """Take points into account that came from sources of one kind."""
        if len(points) < _FEW:
            for point in points:
                self.add(point, kind)
            return
        steps: dict[str, list[int]] = {}
        values: dict[str, list[float]] = {}
        for name, step, _, value in points:
            if name not in steps:
                steps[name], values[name] = [], []
            steps[name].append(step)
            values[name].append(value)
        for name, of_name in steps.items():
            self._of(name, kind).add_all(of_name, values[name])

    def add_columns(
        self, name: str, kind: str, steps: Sequence[int], values: Sequence[float]
    ) -> None:
        """Take steps and values of one metric into account, as many of these as of those."""
        self._of(name, kind).add_all(steps, values)

    def summaries(self) -> dict[str, Summary]:
        """Return the summary of every metric seen so far, in order of first appearance."""
        return {name: kinds[best_kind(kinds)].summary() for name, kinds in self._series.items()}

    def summaries_by_kind(self, name: str) -> dict[str, Summary]:
        """Return what the points of each kind of source come to, those of the series first."""
        kinds = self._series.get(name, {})
        counts = best_first({kind: series.count for kind, series in kinds.items()})
        return {kind: kinds[kind].summary() for kind in counts}

    def sources(self) -> dict[str, dict[str, int]]:
        """Return for metrics that several kinds of sources reported how many points each did.

        The kind whose points are the series comes first.
        """
        return {
            name: best_first({kind: series.count for kind, series in kinds.items()})
            for name, kinds in self._series.items()
            if len(kinds) > 1
        }

    def _of(self, name: str, kind: str) -> _Series:
        kinds = self._series.get(name)
        if kinds is None:
            kinds = self._series[name] = {}
        series = kinds.get(kind)
        if series is None:
            series = kinds[kind] = _Series()
        return series


def summarize(points: Iterable[Point]) -> dict[str, Summary]:
    """Return the summary of every metric among `points`, wherever they came from."""
    summarizer = Summarizer()
    for point in points:
        summarizer.add(point)
    return summarizer.summaries()


class _Series:
    __slots__ = ("count", "first", "first_step", "last", "last_step", "maximum", "maximum_step",
                 "minimum", "minimum_step", "nan_count", "numbers", "total")  # fmt: skip

    def __init__(self) -> None:
        self.count = self.nan_count = self.numbers = 0
        self.first = self.last = math.nan
        self.first_step = self.last_step = 0
        self.minimum = math.inf
        self.maximum = -math.inf
        self.minimum_step: int | None = None
        self.maximum_step: int | None = None
        self.total = 0.0

    def add(self, step: int, value: float) -> None:
        if self.count == 0:
            self.first = value
            self.first_step = step
        self.count += 1
        self.last = value
        self.last_step = step
        if value != value:
            self.nan_count += 1
            return
        self.numbers += 1
        self.total += value
        if value < self.minimum or self.minimum_step is None:
            self.minimum = value
            self.minimum_step = step
        if value > self.maximum or self.maximum_step is None:
            self.maximum = value
            self.maximum_step = step

    def add_all(self, steps: Sequence[int], values: Sequence[float]) -> None:
        """Do what `add` does for each, to the same bits, several times as fast."""
        # Not `sum`, which rounds differently from Python 3.12 on: a mean must not depend on how
        # many points came at once.
        total = reduce(add, values, self.total)
        if len(values) < _FEW or total != total:
            for step, value in zip(steps, values, strict=True):
                self.add(step, value)
            return
        if self.count == 0:
            self.first = values[0]
            self.first_step = steps[0]
        self.count += len(values)
        self.numbers += len(values)
        self.last = values[-1]
        self.last_step = steps[-1]
        self.total = total
        least, greatest = min(values), max(values)
        if least < self.minimum or self.minimum_step is None:
            self.minimum = least
            self.minimum_step = steps[values.index(least)]
        if greatest > self.maximum or self.maximum_step is None:
            self.maximum = greatest
            self.maximum_step = steps[values.index(greatest)]

    def summary(self) -> Summary:
        has_numbers = self.numbers > 0
        return Summary(
            count=self.count,
            first=json_number(self.first),
            first_step=self.first_step,
            last=json_number(self.last),
            last_step=self.last_step,
            minimum=json_number(self.minimum) if has_numbers else None,
            minimum_step=self.minimum_step,
            maximum=json_number(self.maximum) if has_numbers else None,
            maximum_step=self.maximum_step,
            mean=json_number(self.total / self.numbers) if has_numbers else None,
            nan_count=self.nan_count,
        )
