"""Grid search: every combination, the last space varies fastest; what was tried is left out.

A space with more than ten values is represented by ten, both ends among them, evenly spaced.
"""

from __future__ import annotations

import itertools
from fractions import Fraction

from reenact.model.flags import FlagValue
from reenact.search.samplers.history import History
from reenact.search.samplers.points import key_of, value_at
from reenact.search.values import Choices, FloatSpace, Space

POINTS = 10


def propose(history: History) -> dict[str, FlagValue] | None:
    """Return the first combination of the grid that nobody has tried, None after the last."""
    tried = {key_of(result.settings) for result in history.results}
    tried.update(map(key_of, history.running))
    axes = [axis_of(space) for space in history.spaces.values()]
    for point in itertools.product(*axes):
        settings = dict(zip(history.spaces, point, strict=True))
        if key_of(settings) not in tried:
            return settings
    return None


def axis_of(space: Space) -> list[FlagValue]:
    """Return the values that stand for a space in the grid."""
    if isinstance(space, Choices):
        return list(space.values)
    if isinstance(space, FloatSpace):
        inner = [value_at(space, i / (POINTS - 1)) for i in range(1, POINTS - 1)]
        return [space.low, *inner, space.high]
    if space.high - space.low < POINTS:
        return list(range(space.low, space.high + 1))
    if space.log:
        even = FloatSpace(low=space.low, high=space.high, log=True)
        inner = [round(_number(value)) for value in axis_of(even)[1:-1]]
        return list(dict.fromkeys([space.low, *inner, space.high]))
    width = Fraction(space.high - space.low, POINTS - 1)
    return [space.low + round(width * i) for i in range(POINTS)]


def _number(value: FlagValue) -> float:
    assert isinstance(value, int | float)
    return value
