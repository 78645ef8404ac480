"""How often verdicts are wrong, over 1,000 simulated cases; `benchmarks/bench_verdicts.py` has more."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from itertools import cycle, islice

import pytest

from reenact.judge import statistics
from reenact.judge.statistics import judge_all, judge_samples
from reenact.judge.tolerance import Tolerance
from reenact.model.verdict import Verdict

CASES = 1000
ALLOWED = CASES * 5 // 100
WITH_CHANCE = ALLOWED + 14
"""So many of 1,000 cases are two standard errors above 5 %."""
TRUE_DEFAULT = 2.0
"""Of the default margin, two deviations of the original runs, what it is an estimate of here."""
SIZES = [(2, 2), (3, 3), (5, 3), (5, 5), (10, 3), (10, 10), (30, 10), (10, 30)]
REPRODUCED = (Verdict.IDENTICAL, Verdict.WITHIN_TOLERANCE, Verdict.EQUIVALENT)


@pytest.fixture(autouse=True)
def no_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not compute how many further runs it takes, which takes most of the time."""
    monkeypatch.setattr(statistics, "MOST_SEEDS", 1)


def judge(
    shift_of: Callable[[float], float],
    *,
    margin: float | None = None,
    new_sd: float = 1.0,
    paired: bool = False,
    sizes: list[tuple[int, int]] = SIZES,
) -> Counter[Verdict]:
    """Count verdicts on runs whose means are `shift_of` of the margin apart."""
    chance = random.Random(20)
    found: Counter[Verdict] = Counter()
    for n, m in islice(cycle(sizes), CASES):
        common = [chance.gauss(100, 3) if paired else 100.0 for _ in range(max(n, m))]
        original = [common[at] + chance.gauss(0, 1) for at in range(n)]
        shift = shift_of(TRUE_DEFAULT if margin is None else margin)
        reproduced = [common[at] + chance.gauss(shift, new_sd) for at in range(m)]
        verdict = judge_samples(
            "acc",
            original,
            reproduced,
            margin=None if margin is None else Tolerance(absolute=margin),
            seeds=(range(n), range(m)) if paired and m <= n else None,
        )
        found[verdict.verdict] += 1
    return found


def reproduced(found: Counter[Verdict]) -> int:
    return sum(found[verdict] for verdict in REPRODUCED)


@pytest.mark.parametrize("margin", [1.5, None])
def test_runs_that_are_the_margin_apart_are_seldom_called_reproduced(margin: float | None) -> None:
    assert 0 < reproduced(judge(lambda limit: limit, margin=margin)) <= ALLOWED


def test_the_error_of_the_default_margin_is_taken_into_account() -> None:
    sizes = [(10, 10), (10, 30), (30, 10), (30, 30)]

    assert 0 < reproduced(judge(lambda limit: limit, sizes=sizes)) <= ALLOWED
    assert reproduced(judge(lambda _: 0.0, sizes=sizes)) > 0.9 * CASES


@pytest.mark.parametrize("margin", [1.5, None])
def test_runs_that_are_the_same_are_seldom_said_to_differ(margin: float | None) -> None:
    found = judge(lambda _: 0.0, margin=margin)

    assert 0 < found[Verdict.DIFFERS] <= ALLOWED
    assert reproduced(found) > ALLOWED


def test_both_hold_for_pairs() -> None:
    sizes = [(5, 5), (10, 5), (10, 10)]

    assert reproduced(judge(lambda m: m, margin=1.5, paired=True, sizes=sizes)) <= ALLOWED
    found = judge(lambda _: 0.0, margin=1.5, paired=True, sizes=sizes)
    assert found[Verdict.DIFFERS] <= ALLOWED
    assert reproduced(found) > CASES / 4


def test_both_hold_where_new_runs_vary_more() -> None:
    assert reproduced(judge(lambda m: m, margin=2.0, new_sd=3.0)) <= ALLOWED
    # Welch's test alone is left here: it is wrong in 5 % of cases, no less.
    assert judge(lambda _: 0.0, margin=2.0, new_sd=3.0)[Verdict.DIFFERS] <= WITH_CHANCE


def test_of_many_metrics_seldom_any_differs_by_chance() -> None:
    chance = random.Random(30)
    wrong = 0
    for _ in range(200):
        samples = {
            f"m{number}": (
                [chance.gauss(0, 1) for _ in range(10)],
                [chance.gauss(0, 1) for _ in range(3)],
            )
            for number in range(10)
        }
        wrong += any(v.verdict is Verdict.DIFFERS for v in judge_all(samples))

    assert wrong <= 200 * 5 // 100
