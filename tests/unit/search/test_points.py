"""Places in spaces, and what the history does with initial values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.model.flags import FlagValue
from reenact.search.samplers import Direction, Spaces, grid
from reenact.search.samplers.points import count_points, fit, place_of, value_at
from reenact.search.samplers.registry import make_sampler
from reenact.search.values import Choices, FloatSpace, IntSpace, Space

DOWN = (Direction.MINIMIZE,)
PLACES = st.floats(0, 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def float_spaces(draw: st.DrawFn) -> FloatSpace:
    is_log = draw(st.booleans())
    ends = st.floats(1e-300, 1e300) if is_log else FLOATS
    low, high = sorted(draw(st.tuples(ends, ends).filter(lambda both: both[0] != both[1])))
    return FloatSpace(low=low, high=high, log=is_log)


@st.composite
def int_spaces(draw: st.DrawFn) -> IntSpace:
    is_log = draw(st.booleans())
    low = draw(st.integers(1 if is_log else -1000, 1000))
    return IntSpace(low=low, high=low + draw(st.integers(1, 1000)), log=is_log)


@given(float_spaces(), PLACES)
def test_a_place_is_a_number_of_the_space(space: FloatSpace, place: float) -> None:
    value = value_at(space, place)

    assert isinstance(value, float)
    assert space.low <= value <= space.high


@given(float_spaces())
def test_the_ends_are_at_the_ends(space: FloatSpace) -> None:
    assert (value_at(space, 0.0), value_at(space, 1.0)) == (space.low, space.high)
    assert (place_of(space, space.low), place_of(space, space.high)) == (0.0, 1.0)


@given(int_spaces(), PLACES)
def test_an_integer_goes_there_and_back(space: IntSpace, place: float) -> None:
    value = value_at(space, place)

    assert isinstance(value, int)
    assert value_at(space, place_of(space, value)) == value


@given(st.floats(1e-9, 1), st.floats(0, 1))
def test_a_float_goes_there_and_back_nearly(low: float, place: float) -> None:
    space = FloatSpace(low=low, high=2.0, log=True)
    value = value_at(space, place)

    assert isinstance(value, float)
    assert math.isclose(place_of(space, value), place, abs_tol=1e-9)


def test_each_integer_has_an_equal_share() -> None:
    space = IntSpace(low=1, high=4)

    found = [value_at(space, i / 100) for i in range(100)]

    assert [found.count(value) for value in (1, 2, 3, 4)] == [25] * 4


def test_a_logarithmic_middle_is_the_geometric_one() -> None:
    assert value_at(FloatSpace(low=1e-4, high=1.0, log=True), 0.5) == 0.01


@pytest.mark.parametrize(
    ("space", "value", "fitting"),
    [
        (IntSpace(low=1, high=9), 3.0, 3),
        (IntSpace(low=1, high=9), "3", 3),
        (IntSpace(low=1, high=9), 3.5, None),
        (IntSpace(low=0, high=1), True, None),
        (IntSpace(low=1, high=9), 10, None),
        (FloatSpace(low=0.0, high=1.0), 1, 1.0),
        (FloatSpace(low=0.0, high=1.0), math.nan, None),
        (FloatSpace(low=0.0, high=1.0), None, None),
        (Choices(values=(1, 1.0, True)), 1.0, 1.0),
        (Choices(values=(1, 2)), 2.0, 2),
        (Choices(values=(1, 2)), True, None),
        (Choices(values=("a", [1])), [1], [1]),
        (Choices(values=("a",)), "b", None),
    ],
)
def test_values_of_records_fit_spaces(space: Space, value: FlagValue, fitting: FlagValue) -> None:
    expected = None if fitting is None else {"x": fitting}

    assert repr(fit({"x": space}, {"x": value, "other": 1})) == repr(expected)


def test_points_are_counted() -> None:
    spaces: Spaces = {"n": IntSpace(low=1, high=4), "c": Choices(values=(1, 2, 3))}

    assert count_points(spaces) == 12
    assert count_points({**spaces, "x": FloatSpace(low=0.0, high=1.0)}) is None


@pytest.mark.parametrize(
    ("space", "axis"),
    [
        (Choices(values=("b", "a")), ["b", "a"]),
        (IntSpace(low=1, high=4), [1, 2, 3, 4]),
        (IntSpace(low=0, high=90), [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]),
        (FloatSpace(low=0.0, high=9.0), [float(i) for i in range(10)]),
        (FloatSpace(low=1e-9, high=1.0, log=True), [10.0**-i for i in range(9, -1, -1)]),
        (IntSpace(low=1, high=512, log=True), [2**i for i in range(10)]),
    ],
)
def test_a_grid_has_ten_values_of_a_range(space: Space, axis: list[FlagValue]) -> None:
    found = grid.axis_of(space, 10)

    is_float = isinstance(space, FloatSpace)
    assert found == (pytest.approx(axis) if is_float else axis)
    assert {type(value) for value in found} == {type(value) for value in axis}


def test_a_grid_goes_through_all_combinations_in_order() -> None:
    spaces: Spaces = {"n": IntSpace(low=1, high=2), "c": Choices(values=("a", "b"))}
    sampler = make_sampler("grid", spaces, DOWN).sampler
    sampler.tell({"n": 1, "c": "b"}, [0.0])

    assert [list(settings.values()) for settings in sampler.ask(9)] == [
        [1, "a"],
        [2, "a"],
        [2, "b"],
    ]


@pytest.mark.parametrize("name", ["random", "tpe", "cmaes"])
def test_initial_values_are_tried_first(name: str) -> None:
    spaces: Spaces = {
        "x": FloatSpace(low=0.0, high=1.0, initial=0.25),
        "c": Choices(values=("a", "b"), initial=1),
        "y": FloatSpace(low=0.0, high=1.0),
    }
    sampler = make_sampler(name, spaces, DOWN).sampler

    first, second = sampler.ask(2)

    assert (first["x"], first["c"]) == (0.25, "b")
    assert second["x"] != 0.25


def test_initial_values_that_somebody_tried_are_not_tried_again() -> None:
    spaces: Spaces = {"x": FloatSpace(low=0.0, high=1.0, initial=0.25)}
    sampler = make_sampler("random", spaces, DOWN).sampler
    sampler.tell({"x": 0.25}, None)

    assert sampler.ask(1) != [{"x": 0.25}]
