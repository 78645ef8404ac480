"""When a trial is stopped early."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.errors import UsageError
from reenact.search.pruning import Curve, HyperbandRule, MedianRule, make_rule
from reenact.search.samplers import Direction

DOWN, UP = Direction.MINIMIZE, Direction.MAXIMIZE


def curve(number: int, *values: float) -> Curve:
    return Curve(number, tuple((float(step), value) for step, value in enumerate(values, 1)))


FIVE = [curve(i, 10.0 - i, 5.0 - i) for i in range(5)]  # at step 2: 5, 4, 3, 2, 1


@pytest.mark.parametrize(
    ("values", "stops"), [((9.0, 3.5), True), ((9.0, 3.0), False), ((2.9, 9.0), False)]
)
def test_median_stops_what_is_worse_than_the_middle(values: tuple[float, ...], stops: bool) -> None:
    assert MedianRule(direction=DOWN).should_stop(FIVE, curve(9, *values)) is stops


def test_median_turns_for_a_maximum() -> None:
    rule = MedianRule(direction=UP)
    history = [curve(i, float(i)) for i in range(5)]

    assert rule.should_stop(history, curve(9, 1.0))
    assert not rule.should_stop(history, curve(9, 3.0))


def test_median_waits_for_others_and_for_the_warmup() -> None:
    bad = curve(9, 100.0, 100.0)

    assert MedianRule(direction=DOWN).should_stop(FIVE, bad)
    assert not MedianRule(direction=DOWN).should_stop(FIVE[:4], bad)
    assert not MedianRule(direction=DOWN, warmup=3).should_stop(FIVE, bad)
    assert not MedianRule(direction=DOWN).should_stop(FIVE, curve(9, 100.0, 100.0, 100.0))
    assert not MedianRule(direction=DOWN).should_stop(FIVE, curve(9))


def test_median_ignores_the_trial_itself() -> None:
    bad = curve(9, 100.0, 100.0)

    assert not MedianRule(direction=DOWN).should_stop([*FIVE[:4], bad], bad)


@pytest.mark.parametrize("direction", [DOWN, UP])
def test_nan_is_worse_than_anything(direction: Direction) -> None:
    assert MedianRule(direction=direction).should_stop(FIVE, curve(9, math.nan, math.nan))
    rule = HyperbandRule(direction=direction, brackets=1)
    assert rule.should_stop(FIVE, curve(9, math.nan, math.nan))


def test_hyperband_keeps_the_best_third_at_a_rung() -> None:
    rule = HyperbandRule(direction=DOWN, brackets=1)
    history = [curve(i, *([float(i)] * 3)) for i in range(8)]

    assert not rule.should_stop(history, curve(9, 9.0, 9.0, 1.5))
    assert rule.should_stop(history, curve(9, 9.0, 9.0, 2.5))


def test_hyperband_asks_at_rungs_only() -> None:
    rule = HyperbandRule(direction=DOWN, brackets=1, min_step=2)
    history = [curve(i, *([float(i)] * 3)) for i in range(8)]

    assert not rule.should_stop(history, curve(9, 9.0))
    assert rule.should_stop(history, curve(9, 9.0, 9.0, 0.0))  # the value at step 2 counts


def test_hyperband_compares_within_a_bracket() -> None:
    rule = HyperbandRule(direction=DOWN, brackets=2)
    history = [curve(i, float(i % 2)) for i in range(20)]

    assert rule.should_stop(history, curve(20, 0.5))
    assert not rule.should_stop(history, curve(21, 0.5))  # its first rung is at step 3


def test_hyperband_needs_a_few_to_compare() -> None:
    rule = HyperbandRule(direction=DOWN, brackets=1)

    assert not rule.should_stop([curve(1, 0.0)], curve(9, 9.0))
    assert not rule.should_stop([], curve(9))


CURVES = st.lists(
    st.builds(
        Curve,
        st.integers(0, 20),
        st.dictionaries(st.integers(0, 9).map(float), st.floats(), max_size=5).map(
            lambda points: tuple(sorted(points.items()))
        ),
    )
)


@given(CURVES, st.sampled_from([DOWN, UP]), st.sampled_from(["median", "hyperband"]))
def test_the_best_of_all_is_never_stopped(
    curves: list[Curve], direction: Direction, name: str
) -> None:
    best = math.inf if direction is UP else -math.inf
    trial = Curve(99, ((0.0, best), (5.0, best)))

    assert not make_rule(name, direction).should_stop(curves, trial)


def test_an_unknown_rule_gets_the_nearest() -> None:
    with pytest.raises(UsageError, match="no pruning rule `medain`") as caught:
        make_rule("medain", DOWN)

    assert caught.value.hint == "did you mean `median`?"
