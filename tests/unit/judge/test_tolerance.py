from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.errors import UsageError
from reenact.judge.tolerance import Tolerance, Tolerances, parse_amount

NAN, INF = math.nan, math.inf
NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
AMOUNTS = st.floats(min_value=0, max_value=1e6)


@pytest.mark.parametrize(
    ("text", "absolute", "relative"),
    [
        ("acc=0.001", 0.001, 0.0),
        ("acc=0.001 abs", 0.001, 0.0),
        ("acc = 1%", 0.0, 0.01),
        ("acc=1 %", 0.0, 0.01),
        ("acc=0.01 rel", 0.0, 0.01),
        ("acc=1% or 1e-8", 1e-8, 0.01),
        ("acc=1e-8 OR 2e-3 REL", 1e-8, 0.002),
        ("acc=0", 0.0, 0.0),
        ("acc=1e-6", 1e-6, 0.0),
    ],
)
def test_amounts_are_absolute_unless_they_say_otherwise(
    text: str, absolute: float, relative: float
) -> None:
    tolerance = Tolerances.parse([text]).for_metric("acc")

    assert tolerance is not None
    assert (tolerance.absolute, tolerance.relative) == (absolute, relative)


@pytest.mark.parametrize(
    "text",
    ["", "0.1", "acc", "acc=", "=0.1", "acc=x", "acc=-1", "acc=nan", "acc=inf", "acc=1 ulp",
     "acc=1%%", "acc=1 or", "acc=1 2"],
)  # fmt: skip
def test_what_is_no_tolerance_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Tolerances.parse([text])

    assert f"`{text}`" in caught.value.message
    assert "acc=0.001" in str(caught.value.hint)


def test_the_exact_name_counts_before_patterns_and_the_last_of_equals() -> None:
    tolerances = Tolerances.parse(["*=1", "val_*=2", "val_acc=3", "val_acc=4", "v*=5"])

    found = {n: tolerances.for_metric(n) for n in ("loss", "val_loss", "val_acc")}

    assert {n: t.absolute for n, t in found.items() if t} == {
        "loss": 1, "val_loss": 5, "val_acc": 4,
    }  # fmt: skip


def test_of_what_nobody_spoke_nothing_is_tolerated() -> None:
    assert Tolerances.parse(["acc=1"]).for_metric("loss") is None


def test_names_with_equals_signs_and_brackets_can_be_meant() -> None:
    tolerances = Tolerances.parse(["loss{k=1}=0.5", "layer[0]=0.25"])

    assert tolerances.for_metric("loss{k=1}") == Tolerance(0.5, 0.0, "loss{k=1}=0.5")
    assert tolerances.for_metric("layer[0]") == Tolerance(0.25, 0.0, "layer[0]=0.25")


def test_names_that_fit_no_metric_are_named() -> None:
    tolerances = Tolerances.parse(["acc=1", "los=1", "val_*=1", "test_*=1", "los=2"])

    assert tolerances.unused(["acc", "val_acc", "loss"]) == ["los", "test_*"]


def test_the_text_is_kept_as_it_was_written() -> None:
    tolerance = Tolerances.parse([" acc = 1% or 1e-8 "]).for_metric("acc")

    assert tolerance is not None
    assert tolerance.text == "acc=1% or 1e-8"


def test_an_amount_of_a_project_file_may_be_a_number() -> None:
    assert parse_amount(0.002) == Tolerance(0.002, 0.0, "0.002")
    assert parse_amount("1%") == Tolerance(0.0, 0.01, "1%")


def test_decimal_numbers_that_are_just_so_far_apart_are_allowed() -> None:
    tolerance = Tolerance(absolute=0.001)

    assert abs(0.971 - 0.97) > 0.001  # what floats say
    assert tolerance.allows(0.97, 0.971)
    assert not tolerance.allows(0.97, 0.9710001)


def test_nan_equals_nan_and_infinities_those_of_their_sign() -> None:
    wide = Tolerance(absolute=1e308, relative=10)

    assert wide.allows(NAN, NAN)
    assert wide.allows(INF, INF)
    assert not wide.allows(INF, -INF)
    assert not wide.allows(INF, 1.0)
    assert not wide.allows(NAN, 1.0)
    assert not wide.allows(1.0, NAN)


def test_without_an_amount_only_equal_numbers_are_allowed() -> None:
    assert Tolerance().allows(0.0, -0.0)
    assert not Tolerance().allows(1.0, math.nextafter(1.0, 2.0))


@given(NUMBERS, NUMBERS, AMOUNTS, AMOUNTS)
def test_it_does_not_matter_which_of_two_numbers_was_first(
    a: float, b: float, absolute: float, relative: float
) -> None:
    tolerance = Tolerance(absolute, relative)

    assert tolerance.allows(a, b) is tolerance.allows(b, a)
    assert tolerance.allows(a, a)


@given(NUMBERS, NUMBERS, AMOUNTS, AMOUNTS)
def test_whoever_tolerates_more_refuses_no_more(
    a: float, b: float, absolute: float, more: float
) -> None:
    if Tolerance(absolute).allows(a, b):
        assert Tolerance(absolute + more, more).allows(a, b)
