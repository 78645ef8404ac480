"""Mean and deviation of what several runs have come to, as exact as floats can say it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec


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


def number_in(value: object) -> float | None:
    """Return a value that is a number, None for all others; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value


def statistic(values: Iterable[object]) -> Statistic:
    """Return mean and sample standard deviation of the numbers among `values`."""
    numbers: list[float] = []
    nan_count = missing = 0
    for value in values:
        number = number_in(value)
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
    if numbers.count(numbers[0]) == len(numbers):
        # Their sum is rounded: divided, it may be a neighbour of what they all are.
        return numbers[0]
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
