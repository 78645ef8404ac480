"""Places in spaces: from a number between 0 and 1 to a flag's value and back.

Logarithms are taken with 40 digits and rounded once, so that a value does not depend on the C
library.
"""

from __future__ import annotations

import math
from decimal import Context, Decimal
from functools import cache
from typing import TypeGuard

from reenact.model.flags import FlagValue
from reenact.project.flag_text import parse_value
from reenact.search.samplers import Settings, Spaces
from reenact.search.values import Choices, FloatSpace, IntSpace, Space, identity

_DIGITS = Context(prec=40)


def value_at(space: Space, place: float) -> FlagValue:
    """Return the value at a place from 0 to 1; equal shares of places for each of several."""
    if isinstance(space, Choices):
        return space.values[min(int(place * len(space.values)), len(space.values) - 1)]
    if isinstance(space, FloatSpace):
        if not space.log:
            value = space.low * (1 - place) + space.high * place
        else:
            value = _between_logs(space.low, space.high, place)
        return min(max(value, space.low), space.high)
    if not space.log:
        count = space.high - space.low + 1
        value = space.low + int(place * count)
    else:
        value = math.floor(_between_logs(space.low - 0.5, space.high + 0.5, place) + 0.5)
    return min(max(value, space.low), space.high)


def place_of(space: FloatSpace | IntSpace, value: float) -> float:
    """Return the place, from 0 to 1, at which `value_at` gives this value of the space."""
    if isinstance(space, FloatSpace):
        low, high, middle = space.low, space.high, value
    elif space.log:
        low, high, middle = space.low - 0.5, space.high + 0.5, value
    else:
        low, high, middle = space.low, space.high + 1, value + 0.5
    if space.log:
        start, end = _log(low), _log(high)
        place = float((_log(middle) - start) / (end - start))
    else:
        place = (middle / 2 - low / 2) / (high / 2 - low / 2)
    return min(max(place, 0.0), 1.0)


def fit(spaces: Spaces, settings: Settings) -> dict[str, FlagValue] | None:
    """Return the settings of the spaces' flags as the spaces have them; None if one is outside.

    A recorded 3.0 is the 3 of a space of integers, and the text `0.1` is a number.
    """
    found = {}
    for name, space in spaces.items():
        if name not in settings:
            return None
        fitting = _fit(space, settings[name])
        if not fitting:
            return None
        found[name] = fitting[0]
    return found


def _fit(space: Space, value: FlagValue) -> tuple[FlagValue, ...]:
    """Return the value of the space in a tuple, or nothing."""
    if isinstance(space, Choices):
        same = [known for known in space.values if identity(known) == identity(value)]
        same += [
            known
            for known in space.values
            if _is_number(value) and _is_number(known) and known == value
        ]
        return tuple(same[:1])
    number = parse_value(value) if isinstance(value, str) else value
    if not _is_number(number):
        return ()
    if not space.low <= number <= space.high:
        return ()
    if isinstance(space, FloatSpace):
        return (float(number),)
    return (int(number),) if int(number) == number else ()


def _is_number(value: FlagValue) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def key_of(settings: Settings) -> frozenset[tuple[str, tuple[str, str]]]:
    """Return what equal settings have in common."""
    return frozenset((name, identity(value)) for name, value in settings.items())


def count_points(spaces: Spaces) -> int | None:
    """Return how many settings there are; None where a space is continuous."""
    total = 1
    for space in spaces.values():
        if isinstance(space, FloatSpace):
            return None
        total *= len(space.values) if isinstance(space, Choices) else space.high - space.low + 1
    return total


def _between_logs(low: float, high: float, place: float) -> float:
    start, end = _log(low), _log(high)
    return float(_DIGITS.exp(start + Decimal(place) * (end - start)))


@cache
def _log(value: float) -> Decimal:
    return _DIGITS.ln(Decimal(value))
