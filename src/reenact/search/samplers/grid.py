"""Grid search: every combination, the last space varies fastest; what was tried is left out.

A space with more values than `points` is represented by so many, both ends among them, evenly spaced.
"""

from __future__ import annotations

import itertools
from fractions import Fraction

from reenact.model.flags import FlagValue
from reenact.search.samplers.history import History
from reenact.search.samplers.points import key_of, value_at
from reenact.search.values import Choices, FloatSpace, Space


def propose(history: History, points: int) -> dict[str, FlagValue] | None:
    """Return the first combination of the grid that nobody has tried, None after the last."""
    tried = {key_of(result.settings) for result in history.results}
    tried.update(map(key_of, history.running))
    axes = [axis_of(space, points) for space in history.spaces.values()]
    for point in itertools.product(*axes):
        settings = dict(zip(history.spaces, point, strict=True))
        if key_of(settings) not in tried:
            return settings
    return None


def axis_of(space: Space, points: int) -> list[FlagValue]:
    """Return the values that stand for a space in the grid."""
    if isinstance(space, Choices):
        return list(space.values)
    if isinstance(space, FloatSpace):
        inner = [value_at(space, i / (points - 1)) for i in range(1, points - 1)]
        return [space.low, *inner, space.high]
    if space.high - space.low < points:
        return list(range(space.low, space.high + 1))
    if space.log:
        even = FloatSpace(low=space.low, high=space.high, log=True)
        inner = [round(_number(value)) for value in axis_of(even, points)[1:-1]]
        return list(dict.fromkeys([space.low, *inner, space.high]))
    width = Fraction(space.high - space.low, points - 1)
    return [space.low + round(width * i) for i in range(points)]


def _number(value: FlagValue) -> float:
    assert isinstance(value, int | float)
    return value
