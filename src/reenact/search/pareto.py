"""The Pareto front: results that no other result beats in every objective."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reenact.search.samplers import Direction


def pareto_front(
    points: Sequence[Sequence[float | None]], directions: Sequence[Direction]
) -> list[int]:
    """Return the places of the points on the front, in the order given.

    A point beats another that it is at least as good as in all objectives and better in one; so
    equal points are on the front together. A point that lacks an objective, or has NaN there, is
    not comparable and never on the front. Infinite values are what they say.
    """
    costs = [
        (place, cost)
        for place, point in enumerate(points)
        if (cost := _costs(point, directions)) is not None
    ]
    front: list[tuple[int, tuple[float, ...]]] = []
    # Sorted, a point can be beaten only by what stands before it, and so by what is on the front.
    for place, cost in sorted(costs, key=lambda found: found[1]):
        if not any(other != cost and _no_worse(other, cost) for _, other in front):
            front.append((place, cost))
    return sorted(place for place, _ in front)


def _costs(
    point: Sequence[float | None], directions: Sequence[Direction]
) -> tuple[float, ...] | None:
    costs = []
    for value, direction in zip(point, directions, strict=True):
        if value is None or math.isnan(value):
            return None
        costs.append(-value if direction is Direction.MAXIMIZE else value)
    return tuple(costs)


def _no_worse(left: tuple[float, ...], right: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(left, right, strict=True))
