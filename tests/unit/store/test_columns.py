"""Columns: how they are spelled, headed, filled and sorted by."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reenact.errors import BadColumn
from reenact.model.identity import RunId
from reenact.model.metrics import Point, summarize
from reenact.model.run import Exit, Status
from reenact.store.columns import (
    ATTRIBUTES,
    Field,
    IndexedRun,
    Kind,
    Operand,
    Sort,
    column_value,
    parse_column,
    parse_duration,
    parse_sort,
)

STARTED = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def run() -> IndexedRun:
    series = {"loss": [3.0, math.nan, 1.0, 2.0], "acc": [0.1, 0.9, 0.5], "lr": [0.5]}
    points = [
        Point(name, step * 10, 0, v) for name, vs in series.items() for step, v in enumerate(vs)
    ]
    return IndexedRun(
        id=RunId("ab" * 16),
        status=Status.FAILED,
        operation="train.py",
        project_id="path:/p",
        project_name="p",
        label="first",
        tags=("best", "good"),
        comment=None,
        is_marked=True,
        created=STARTED,
        started=STARTED,
        ended=STARTED + timedelta(seconds=90),
        exit=Exit(signal=9),
        flags={"lr": 0.1, "opt": None},
        given=("lr",),
        metrics=summarize(points),
        params={"lr": 7.0, "loss": 8.0, "Ridge.alpha": 1.0},
        command=("python", "a b.py"),
        commit="c0ffee",
        is_dirty=False,
        source="de" * 32,
        damage=None,
    )


@pytest.mark.parametrize(
    ("text", "heading", "value"),
    [
        ("lr", "lr", 0.1),
        ("=lr", "lr", 0.1),
        ("flag:lr", "lr", 0.1),
        ("opt", "opt", None),
        ("metric:lr", "lr", 0.5),
        ("param:lr", "lr", 7.0),
        ("Ridge.alpha", "Ridge.alpha", 1.0),
        ("param:opt", "opt", None),
        ("last lr", "last lr", 0.5),
        ("loss", "loss", 2.0),
        ("=loss", "loss", None),
        ("min loss", "min loss", 1.0),
        ("MAX loss", "max loss", 3.0),
        ("first loss", "first loss", 3.0),
        ("mean loss", "mean loss", 2.0),
        ("avg loss", "avg loss", 2.0),
        ("count loss", "count loss", 4),
        ("nans loss", "nans loss", 1),
        ("max acc step", "max acc step", 10),
        ("min  loss   step", "min loss step", 20),
        ("loss step", "loss step", 30),
        ("min 'loss'", "min loss", 1.0),
        ("last acc as accuracy", "last acc as accuracy"[12:], 0.5),
        ("acc as 'best acc'", "best acc", 0.5),
        ("max acc step as when", "when", 10),
        ("nothing", "nothing", None),
        ("max nothing", "max nothing", None),
        (".started", "started", STARTED),
        ("started", "started", STARTED),
        ("duration", "duration", 90.0),
        ("exit", "exit", 137),
        ("op", "op", "train.py"),
        ("operation", "op", "train.py"),
        ("tags", "tag", ("best", "good")),
        ("marked", "marked", True),
        ("dirty", "dirty", False),
        ("project", "project", "p"),
        ("command", "command", "python 'a b.py'"),
        ("status", "status", "failed"),
        ("comment", "comment", None),
    ],
)
def test_a_column_has_a_heading_and_a_value(
    run: IndexedRun, text: str, heading: str, value: Any
) -> None:
    column = parse_column(text)

    assert (column.heading, column_value(column, run)) == (heading, value)


def test_a_nan_is_shown_as_what_it_is(run: IndexedRun) -> None:
    diverged = run._replace(metrics=summarize([Point("loss", 0, 0, math.nan)]))

    value = column_value(parse_column("loss"), diverged)

    assert isinstance(value, float)
    assert math.isnan(value)


@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
def test_every_attribute_is_a_column(run: IndexedRun, name: str) -> None:
    column_value(parse_column(f".{name}"), run)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a name"),
        ("min loss loss2", "expected the end of the column at column 10: `min loss ^loss2`"),
        ("loss as", "expected a name at column 8"),
        ("loss as a b", "expected the end of the column at column 11"),
        (".speed", "a run has no attribute `speed` at column 1: `^.speed`"),
        ("attr:", "expected a name after `attr:`"),
        ("a < 1", "expected the end of the column"),
        ("'a", "a quote is not closed"),
        ("mean loss step", "expected the end of the column at column 11"),
    ],
)
def test_a_bad_column_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(BadColumn) as caught:
        parse_column(text)

    assert message in caught.value.message
    assert caught.value.hint


LOSS = Operand(Kind.ANY, "loss")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("loss", (Sort(LOSS),)),
        ("loss asc", (Sort(LOSS),)),
        ("-loss", (Sort(LOSS, True),)),
        ("- loss", (Sort(LOSS, True),)),
        ("loss desc", (Sort(LOSS, True),)),
        ("-loss desc", (Sort(LOSS),)),
        ("-max acc", (Sort(Operand(Kind.METRIC, "acc", Field.MAX), True),)),
        ("min desc", (Sort(Operand(Kind.ANY, "min"), True),)),
        (
            "-.started, =lr desc,loss",
            (
                Sort(Operand(Kind.ATTRIBUTE, "started"), True),
                Sort(Operand(Kind.FLAG, "lr"), True),
                Sort(LOSS),
            ),
        ),
    ],
)
def test_sorting_is_by_columns_in_either_direction(text: str, expected: tuple[Sort, ...]) -> None:
    assert parse_sort(text) == expected


@pytest.mark.parametrize("text", ["", "loss,", "loss up", ", loss", "-"])
def test_a_bad_sort_is_refused(text: str) -> None:
    with pytest.raises(BadColumn):
        parse_sort(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5", 1.5),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1 day 2 hours", 93600),
        ("3w", 1814400),
    ],
)
def test_a_duration_is_seconds_or_numbers_with_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "2 fortnights", "2h x", "x2h"])
def test_other_texts_are_no_durations(text: str) -> None:
    assert parse_duration(text) is None


@given(st.text(max_size=30) | st.text("minloss .=:,'asdecp-", max_size=30))
@settings(max_examples=300, deadline=None)
def test_any_text_is_understood_or_refused(text: str) -> None:
    for parse in (parse_column, parse_sort):
        try:
            parse(text)
        except BadColumn:
            pass
