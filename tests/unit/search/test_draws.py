"""Chance that is the same everywhere."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from reenact.search import draws


def test_draws_are_the_same_in_every_version_and_process() -> None:
    code = (
        "from reenact.search import draws as d; print(d.fraction(7, 'lr', 3), d.below(10**30, 7))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }

    assert found == {"0.9752268248858559 636443399625704502916368803103"}


@given(st.integers(), st.text())
def test_a_fraction_is_in_its_range(seed: int, purpose: str) -> None:
    assert 0 <= draws.fraction(seed, purpose) < 1


@given(st.integers(1, 10**40), st.integers())
def test_an_integer_is_in_its_range(limit: int, seed: int) -> None:
    assert 0 <= draws.below(limit, seed) < limit


def test_all_parts_of_a_range_are_drawn_equally_often() -> None:
    tenths = [0] * 10
    sixths = [0] * 6
    for i in range(6000):
        tenths[int(draws.fraction(0, i) * 10)] += 1
        sixths[draws.below(6, 1, i)] += 1

    assert all(500 < count < 700 for count in tenths)
    assert all(850 < count < 1150 for count in sixths)


@given(st.integers(0, 200), st.integers())
def test_shuffling_yields_each_once(limit: int, seed: int) -> None:
    assert sorted(draws.shuffled(limit, seed)) == list(range(limit))


def test_every_order_of_three_comes_up() -> None:
    orders = {tuple(draws.shuffled(3, seed)) for seed in range(100)}

    assert len(orders) == 6


def test_a_few_of_very_many_are_drawn_at_once() -> None:
    drawn = list(islice(draws.shuffled(10**30, 0), 100))

    assert len(set(drawn)) == 100
