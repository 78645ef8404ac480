from __future__ import annotations

import math
from itertools import pairwise
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.model.metrics import (
    Point,
    Summarizer,
    Summary,
    best_kind,
    json_number,
    kind_of,
    summarize,
)

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


@given(
    st.lists(st.tuples(st.sampled_from("ab"), VALUES), max_size=80),
    st.lists(st.integers(0, 80), max_size=4),
)
def test_points_in_pieces_come_to_the_same_as_one_by_one(
    pairs: list[tuple[str, float]], cuts: list[int]
) -> None:
    all_points = [Point(name, step, step, value) for step, (name, value) in enumerate(pairs)]
    summarizer = Summarizer()
    for begin, end in pairwise([0, *sorted(cuts), len(pairs)]):
        summarizer.add_all(all_points[begin:end])

    assert summarizer.summaries() == summarize(all_points)


def test_columns_come_to_the_same_as_points() -> None:
    values = [0.1 * step for step in range(1000)]
    summarizer = Summarizer()

    summarizer.add_columns("loss", "", range(0, 10000, 10), values)

    assert summarizer.summaries() == summarize(points(*values))


@pytest.mark.parametrize(
    ("kinds", "best"),
    [
        (["output"], "output"),
        (["output", "file"], "file"),
        (["file", "events", "output"], "events"),
        (["events", "keras"], "keras"),
        (["keras", "sklearn"], "keras"),
        (["keras", "wandb", "output"], "wandb"),
        (["wandb", "mlflow"], "wandb"),
        (["mlflow", "log"], "log"),
        (["log", "system"], "system"),
    ],
)
def test_what_a_script_says_for_itself_counts_most(kinds: list[str], best: str) -> None:
    assert best_kind(kinds) == best


def test_the_kind_of_a_source_is_what_stands_before_the_colon() -> None:
    sources = ["output", "events:logs/a:b", "keras:12-34"]

    assert [kind_of(source) for source in sources] == ["output", "events", "keras"]


def test_kinds_of_sources_do_not_mix_and_the_best_one_is_the_summary() -> None:
    summarizer = Summarizer()
    summarizer.add_all(points(1.0, 2.0, 3.0), "output")
    summarizer.add_all(points(5.0), "keras")
    summarizer.add_all(points(7.0, name="acc"), "output")

    assert {name: found.count for name, found in summarizer.summaries().items()} == {
        "loss": 1,
        "acc": 1,
    }
    assert summarizer.sources() == {"loss": {"keras": 1, "output": 3}}
    assert list(summarizer.sources()["loss"]) == ["keras", "output"]
    assert [(k, s.last) for k, s in summarizer.summaries_by_kind("loss").items()] == [
        ("keras", 5.0),
        ("output", 3.0),
    ]
    assert summarizer.summaries_by_kind("none") == {}
