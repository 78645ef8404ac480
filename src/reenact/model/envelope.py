"""The shape of a long series in few columns, for charts: nothing that stands out is lost."""

from __future__ import annotations

import importlib
import math
import sys
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

_NUMPY_FROM = 400_000


class Column(NamedTuple):
    """What a stretch of points comes to.

    Attributes:
        start: number of its first point in the series.
        points: how many it has, NaN included.
        first_step, last_step: steps of its first and its last point.
        first, last: their values.
        minimum, maximum: the least and the greatest value that is no NaN; NaN where all are.
        nan_count: how many values are NaN.
    """

    start: int
    points: int
    first_step: int
    last_step: int
    first: float
    last: float
    minimum: float
    maximum: float
    nan_count: int


def envelope(steps: Sequence[int], values: Sequence[float], columns: int = 1000) -> list[Column]:
    """Divide a series into stretches of as many points each (give or take one), in order.

    Args:
        steps: of every point.
        values: of every point; `array.array` and NumPy arrays are the fastest.
        columns: how many stretches; a series of fewer points has one for each of these.
    """
    size = len(values)
    if len(steps) != size:
        raise ValueError("there are not as many steps as values")
    count = min(size, columns)
    edges = [at * size // count for at in range(count)] if count > 0 else []
    if not edges:
        return []
    np = sys.modules.get("numpy")
    if np is None and size >= _NUMPY_FROM:
        np = _numpy()
    ends = [*edges[1:], size]
    if np is not None:
        lows, highs, nans = _extremes(np, values, edges)
    else:
        found = [_extremes_of(values[a:b]) for a, b in zip(edges, ends, strict=True)]
        lows = [low for low, _, _ in found]
        highs = [high for _, high, _ in found]
        nans = [nan_count for _, _, nan_count in found]
    return [
        Column(
            start=start,
            points=end - start,
            first_step=int(steps[start]),
            last_step=int(steps[end - 1]),
            first=float(values[start]),
            last=float(values[end - 1]),
            minimum=low,
            maximum=high,
            nan_count=nan_count,
        )
        for start, end, low, high, nan_count in zip(edges, ends, lows, highs, nans, strict=True)
    ]


def _extremes(
    np: Any, values: Sequence[float], edges: list[int]
) -> tuple[list[float], list[float], list[int]]:
    numbers = np.asarray(values, dtype=np.float64)
    is_nan = np.isnan(numbers)
    if not is_nan.any():
        lows, highs = np.minimum.reduceat(numbers, edges), np.maximum.reduceat(numbers, edges)
        return lows.tolist(), highs.tolist(), [0] * len(edges)
    lows, highs = np.fmin.reduceat(numbers, edges), np.fmax.reduceat(numbers, edges)
    nans = np.add.reduceat(is_nan, edges, dtype=np.int64)
    return lows.tolist(), highs.tolist(), nans.tolist()


def _extremes_of(values: Sequence[float]) -> tuple[float, float, int]:
    # A sum is NaN if one of them is (or infinities meet); the rest needs no look at each.
    if not math.isnan(sum(values)):
        return min(values), max(values), 0
    numbers = array("d", (value for value in values if value == value))
    if not numbers:
        return math.nan, math.nan, len(values)
    return min(numbers), max(numbers), len(values) - len(numbers)


def _numpy() -> Any:
    try:
        return importlib.import_module("numpy")
    except ImportError:
        return None
