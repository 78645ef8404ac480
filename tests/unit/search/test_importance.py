"""Which flags matter."""

from __future__ import annotations

import math
import random

import pytest

from reenact.model.flags import FlagValue
from reenact.search.importance import BY_RANKS, FANOVA, find_importance


def trials(count: int = 60) -> list[tuple[dict[str, FlagValue], float | None]]:
    chance = random.Random(0)
    found: list[tuple[dict[str, FlagValue], float | None]] = []
    for _ in range(count):
        flags: dict[str, FlagValue] = {
            "lr": 10 ** chance.uniform(-5, -1),
            "optimizer": chance.choice(["adam", "sgd", None, [1]]),
            "layers": chance.randint(1, 4),
            "unused": chance.random(),
            "fixed": 3,
        }
        loss = 10 * math.log10(float(flags["lr"])) ** 2 + 3 * (flags["optimizer"] == "sgd")  # type: ignore[arg-type]
        found.append((flags, loss + chance.random()))
    return found


@pytest.mark.parametrize(("has_optuna", "method"), [(True, FANOVA), (False, BY_RANKS)])
def test_the_flag_that_decides_comes_first(has_optuna: bool, method: str) -> None:
    found = find_importance(trials(), has_optuna=has_optuna)

    shares = dict(found.shares)
    assert found.method == method
    assert found.trials == 60
    assert found.shares[0][0] == "lr"
    assert shares["lr"] > 0.7
    assert shares["unused"] < 0.1
    assert "fixed" not in shares
    assert math.isclose(sum(shares.values()), 1)


@pytest.mark.parametrize("has_optuna", [True, False])
def test_it_says_the_same_each_time(has_optuna: bool) -> None:
    assert find_importance(trials(), has_optuna=has_optuna) == find_importance(
        trials(), has_optuna=has_optuna
    )


@pytest.mark.parametrize("has_optuna", [True, False])
def test_a_choice_matters_as_a_number_does(has_optuna: bool) -> None:
    known = [({"c": "ab"[i % 2], "n": i % 5}, float(i % 2)) for i in range(40)]

    assert find_importance(known, has_optuna=has_optuna).shares[0][0] == "c"


@pytest.mark.parametrize("has_optuna", [True, False])
def test_failed_and_diverged_trials_are_left_out(has_optuna: bool) -> None:
    known = trials(20)
    spoilt = [*known, ({"lr": 1.0}, None), ({"lr": 2.0}, math.nan), ({"lr": 3.0}, math.inf)]

    assert find_importance(spoilt, has_optuna=has_optuna) == find_importance(
        known, has_optuna=has_optuna
    )


@pytest.mark.parametrize("has_optuna", [True, False])
@pytest.mark.parametrize(
    "known",
    [
        [],
        [({"x": 1}, 1.0)],
        [({"x": 1}, 1.0), ({"x": 2}, 2.0), ({"x": 3}, 3.0)],
        [({"x": i}, 1.0) for i in range(10)],
    ],
)
def test_from_too_little_nothing_is_concluded(
    has_optuna: bool, known: list[tuple[dict[str, FlagValue], float | None]]
) -> None:
    found = find_importance(known, has_optuna=has_optuna)

    assert all(share == 0.0 for _, share in found.shares)


@pytest.mark.parametrize("has_optuna", [True, False])
def test_flags_that_some_trials_do_not_have_are_lived_with(has_optuna: bool) -> None:
    known: list[tuple[dict[str, FlagValue], float | None]] = [
        ({"x": 1.0} if i % 2 else {}, float(i % 2)) for i in range(10)
    ]

    assert find_importance(known, has_optuna=has_optuna).shares == (("x", 1.0),)
