"""Metrics: numbers reported over steps, and what a series comes to."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

import msgspec

SAMPLED = ("system/", "machine/")
"""Metrics whose names begin so measure the process tree and the machine, not the work."""


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
    """Make the summaries of many metrics in one pass over their points, in the order reported."""

    def __init__(self) -> None:
        self._series: dict[str, _Series] = {}

    def add(self, point: Point) -> None:
        """Take one more point into account."""
        series = self._series.get(point.name)
        if series is None:
            series = self._series[point.name] = _Series(point)
        series.add(point.step, point.value)

    def summaries(self) -> dict[str, Summary]:
        """Return the summary of every metric seen so far, in order of first appearance."""
        return {name: series.summary() for name, series in self._series.items()}


def summarize(points: Iterable[Point]) -> dict[str, Summary]:
    """Return the summary of every metric among `points`."""
    summarizer = Summarizer()
    for point in points:
        summarizer.add(point)
    return summarizer.summaries()


class _Series:
    __slots__ = ("count", "first", "first_step", "last", "last_step", "maximum", "maximum_step",
                 "minimum", "minimum_step", "nan_count", "numbers", "total")  # fmt: skip

    def __init__(self, point: Point) -> None:
        self.count = self.nan_count = self.numbers = 0
        self.first = self.last = point.value
        self.first_step = self.last_step = point.step
        self.minimum = math.inf
        self.maximum = -math.inf
        self.minimum_step: int | None = None
        self.maximum_step: int | None = None
        self.total = 0.0

    def add(self, step: int, value: float) -> None:
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
