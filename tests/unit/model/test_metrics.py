from __future__ import annotations

import math
from statistics import fmean

from hypothesis import given
from hypothesis import strategies as st

from reenact.model.metrics import Point, Summary, json_number, summarize

VALUES = st.floats(allow_nan=True, allow_infinity=True)


def points(*values: float, name: str = "loss") -> list[Point]:
    return [Point(name, step * 10, step, value) for step, value in enumerate(values)]


@given(VALUES)
def test_every_float_comes_back_from_json(value: float) -> None:
    back = float(json_number(value))

    assert back == value or (math.isnan(back) and math.isnan(value))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_finite_float_stays_a_number(value: float) -> None:
    assert json_number(value) is value


@given(st.lists(VALUES, min_size=1, max_size=30))
def test_a_summary_says_of_a_series_what_it_is(values: list[float]) -> None:
    numbers = [value for value in values if not math.isnan(value)]

    summary = summarize(points(*values))["loss"]

    assert summary.count == len(values)
    assert summary.nan_count == len(values) - len(numbers)
    assert (summary.first, summary.last) == (json_number(values[0]), json_number(values[-1]))
    assert (summary.first_step, summary.last_step) == (0, (len(values) - 1) * 10)
    assert summary.minimum == (json_number(min(numbers)) if numbers else None)
    assert summary.maximum == (json_number(max(numbers)) if numbers else None)


@given(st.lists(VALUES, min_size=1, max_size=30))
def test_the_steps_of_the_extremes_are_those_of_their_first_appearance(values: list[float]) -> None:
    summary = summarize(points(*values))["loss"]

    if summary.minimum is None:
        assert summary.minimum_step is summary.maximum_step is None
    else:
        assert summary.minimum_step == 10 * values.index(float(summary.minimum))
        assert summary.maximum_step is not None
        assert summary.maximum is not None
        assert summary.maximum_step == 10 * values.index(float(summary.maximum))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_the_mean_is_that_of_the_numbers(values: list[float]) -> None:
    summary = summarize(points(*values, math.nan))["loss"]

    assert math.isclose(float(summary.mean or 0.0), fmean(values), rel_tol=1e-9, abs_tol=1e-6)


def test_a_series_of_nothing_but_nan_has_no_extremes_and_no_mean() -> None:
    assert summarize(points(math.nan, math.nan))["loss"] == Summary(
        count=2, first="NaN", first_step=0, last="NaN", last_step=10, nan_count=2
    )


def test_metrics_do_not_mix_and_keep_the_order_of_their_appearance() -> None:
    mixed = [Point("b", 0, 0, 1.0), Point("a", 0, 0, 2.0), Point("b", 1, 0, 3.0)]

    found = summarize(mixed)

    assert list(found) == ["b", "a"]
    assert (found["a"].count, found["b"].last) == (1, 3.0)


def test_no_points_make_no_summaries() -> None:
    assert summarize([]) == {}
