"""The Pareto front against its definition."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from reenact.search.pareto import pareto_front
from reenact.search.samplers import Direction

DOWN, UP = Direction.MINIMIZE, Direction.MAXIMIZE
VALUES = st.sampled_from([None, math.nan, -math.inf, math.inf, -0.0]) | st.integers(0, 4).map(float)


def is_beaten(
    point: tuple[float | None, ...],
    points: list[tuple[float | None, ...]],
    directions: tuple[Direction, ...],
) -> bool:
    def gains(other: tuple[float | None, ...]) -> list[float]:
        """What each objective of the other is better by, as a sign."""
        return [
            ((a > b) - (a < b)) * (1 if direction is DOWN else -1)
            for a, b, direction in zip(point, other, directions, strict=True)
            if a is not None and b is not None
        ]

    return any(min(gains(other)) >= 0 and max(gains(other)) > 0 for other in points)


@given(st.data(), st.lists(st.sampled_from([DOWN, UP]), min_size=1, max_size=4).map(tuple))
def test_on_the_front_is_what_nothing_beats(
    data: st.DataObject, directions: tuple[Direction, ...]
) -> None:
    points = data.draw(st.lists(st.tuples(*[VALUES] * len(directions)), max_size=20))
    whole = [p for p in points if not any(v is None or math.isnan(v) for v in p)]

    assert pareto_front(points, directions) == [
        place
        for place, point in enumerate(points)
        if point in whole and not is_beaten(point, whole, directions)
    ]


def test_equal_points_share_the_front() -> None:
    assert pareto_front([(1.0, 2.0), (1.0, 2.0), (1.0, 3.0)], (DOWN, DOWN)) == [0, 1]


def test_directions_count() -> None:
    points = [(0.9, 20.0), (0.8, 10.0), (0.7, 15.0)]

    assert pareto_front(points, (UP, DOWN)) == [0, 1]


def test_a_diverged_run_is_not_on_the_front() -> None:
    assert pareto_front([(math.nan, 1.0), (5.0, 2.0), (None, 0.0)], (DOWN, DOWN)) == [1]
