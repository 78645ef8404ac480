"""The order of a pipeline's steps, without running any."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.actions.step_order import Ordered, order_steps, waits_for
from reenact.errors import BadProjectFile
from reenact.project.file.model import Place


def step(
    name: str,
    *requires: str,
    needs: tuple[str, ...] | None = None,
    provides: str | None = None,
) -> Ordered:
    places = {operation: Place("reenact.yml", 9) for operation in requires}
    return Ordered(name, Place("reenact.yml", 2), needs, places, frozenset([provides or name]))


def test_what_is_required_comes_first_and_nothing_else_is_waited_for() -> None:
    order = order_steps(
        [step("join", "a", "b"), step("a", "data"), step("b", "data"), step("data")]
    )

    assert order == {"data": (), "a": ("data",), "b": ("data",), "join": ("a", "b")}


def test_a_step_of_which_nothing_is_said_keeps_its_place() -> None:
    order = order_steps([step("a"), step("b", "a"), step("check"), step("c", "a"), step("d", "a")])

    assert order["check"] == ("a", "b")
    assert order["c"] == order["d"] == ("a", "check")


def test_an_empty_list_of_needs_says_something() -> None:
    order = order_steps([step("a", needs=()), step("b", needs=())])

    assert order == {"a": (), "b": ()}


def test_of_several_steps_of_an_operation_those_count_that_stand_before() -> None:
    order = order_steps(
        [
            step("train"),
            step("first", "train"),
            step("train_2", provides="train", needs=()),
            step("second", "train"),
        ]
    )

    assert order["first"] == ("train",)
    assert order["second"] == ("train", "train_2")


def test_a_step_that_keeps_its_place_makes_no_cycle() -> None:
    order = order_steps([step("a", "c"), step("b"), step("c")])

    assert list(order) == ["c", "a", "b"]
    assert order["b"] == ("c", "a")


def test_a_cycle_names_steps_and_reasons_with_their_lines() -> None:
    steps = [step("a", "b"), step("b", needs=("c",)), step("c", "a")]

    with pytest.raises(BadProjectFile) as caught:
        order_steps(steps)

    message = "reenact.yml:2: steps wait for each other: `a` → `b` → `c` → `a`"
    assert caught.value.message == message
    assert caught.value.hint == (
        "reenact.yml:9: `b` is required; `b` needs `c`; reenact.yml:9: `a` is required"
    )


@st.composite
def pipelines(draw: st.DrawFn) -> list[Ordered]:
    """Steps, in any order, that only need those of smaller numbers."""
    count = draw(st.integers(1, 7))
    steps = []
    for number in range(count):
        smaller = st.lists(st.sampled_from([f"s{n}" for n in range(number)]), unique=True)
        chosen = draw(st.none() | smaller if number else st.none() | st.just([]))
        required = draw(smaller) if number else []
        needs = None if chosen is None else tuple(chosen)
        steps.append(step(f"s{number}", *required, needs=needs))
    return list(draw(st.permutations(steps)))


@given(pipelines())
def test_every_step_comes_after_all_that_it_waits_for(steps: Sequence[Ordered]) -> None:
    order = order_steps(steps)

    names = list(order)
    assert sorted(names) == sorted(one.name for one in steps)
    for one in steps:
        assert {*(one.needs or ()), *one.requires} <= {*order[one.name]}
        assert all(names.index(other) < names.index(one.name) for other in order[one.name])
        assert one.name not in waits_for(one.name, order)
