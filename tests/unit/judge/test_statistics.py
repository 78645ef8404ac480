from __future__ import annotations

import math
import random
import re
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reenact.judge.modes import find_modes
from reenact.judge.statistics import (
    correct_for_many,
    hedges_g,
    judge_all,
    judge_samples,
    sample,
)
from reenact.judge.tolerance import Tolerance
from reenact.model.verdict import Sample, StatisticVerdict, Verdict

NAN, INF = math.nan, math.inf
IDENTICAL, WITHIN, EQUIVALENT = Verdict.IDENTICAL, Verdict.WITHIN_TOLERANCE, Verdict.EQUIVALENT
INCONCLUSIVE, DIFFERS = Verdict.INCONCLUSIVE, Verdict.DIFFERS

AUTHORS = [0.9712, 0.9690, 0.9741, 0.9705, 0.9698, 0.9722, 0.9731, 0.9687, 0.9715, 0.9709]
MINE = [0.9695, 0.9735, 0.9688, 0.9726, 0.9702, 0.9739]
NUMBERS = st.floats(-1e6, 1e6)


def normal(count: int, mean: float = 0.0, sd: float = 1.0, seed: int = 1) -> list[float]:
    chance = random.Random(seed)
    return [chance.gauss(mean, sd) for _ in range(count)]


def noisy(count: int, mean: float = 100.0) -> list[float]:
    """Return numbers with a deviation close to one and exactly this mean."""
    values = [(-1) ** at * (1 + at / 100) for at in range(count)]
    return [value - statistics.fmean(values) + mean for value in values]


# --- samples ---


def test_a_sample_says_what_scipy_says() -> None:
    stats = pytest.importorskip("scipy.stats")

    found = sample(AUTHORS)

    interval = stats.ttest_1samp(AUTHORS, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
    assert found.mean == pytest.approx(statistics.fmean(AUTHORS), rel=1e-15)
    assert found.sd == pytest.approx(statistics.stdev(AUTHORS), rel=1e-12)
    assert (found.minimum, found.maximum) == (0.9687, 0.9741)


def test_a_single_run_has_no_deviation_and_no_interval() -> None:
    assert sample([0.5]) == Sample(values=(0.5,), mean=0.5, minimum=0.5, maximum=0.5)


def test_what_is_no_finite_number_is_kept_and_has_no_mean() -> None:
    assert sample([NAN, 1.0, INF, 3.0]).values == ("NaN", 1.0, "Infinity", 3.0)
    assert sample([NAN, 1.0, INF, 3.0]).mean == 2.0
    assert sample([NAN]) == Sample(values=("NaN",))
    assert sample([]) == Sample(values=())


def test_two_heaps_are_pointed_out_by_their_means() -> None:
    heaps = [0.31, 0.30, 0.32, 0.29, 0.97, 0.98, 0.96, 0.97]

    assert sample(heaps).modes == pytest.approx((0.305, 0.97))


def test_a_sample_far_from_zero_has_no_mode_at_zero() -> None:
    # CK counted two zeros to every sample before it looked for peaks.
    assert find_modes(normal(50, mean=1000.0, seed=3)) == ()
    assert min(find_modes([1000.0 + 10 * (at % 2) + at / 100 for at in range(20)])) > 999


def test_one_heap_is_hardly_ever_taken_for_two() -> None:
    found = [bool(find_modes(normal(20, seed=seed))) for seed in range(200)]

    assert sum(found) <= 200 * 0.05


def test_three_heaps_are_three() -> None:
    values = [center + at / 100 for center in (1.0, 5.0, 9.0) for at in range(21)]

    assert find_modes(values) == pytest.approx((1.1, 5.1, 9.1))


@pytest.mark.parametrize("values", [[1.0] * 20, [0.0, 1.0] * 2, [], [-1.7e308, 1.7e308] * 2])
def test_too_few_or_equal_values_have_no_modes(values: list[float]) -> None:
    assert find_modes(values) == ()


@given(st.lists(NUMBERS, max_size=40), st.floats(0.001, 1000), NUMBERS)
def test_modes_lie_in_the_sample_in_order(values: list[float], scale: float, shift: float) -> None:
    found = find_modes([value * scale + shift for value in values])

    assert list(found) == sorted(found)
    assert len(found) != 1
    if found:
        least, most = min(values) * scale + shift, max(values) * scale + shift
        room = 1e-9 * max(abs(least), abs(most))
        assert least - room <= found[0] <= found[-1] <= most + room


# --- the tests ---


def test_the_verdict_is_made_of_what_scipy_computes() -> None:
    stats = pytest.importorskip("scipy.stats")
    margin = 0.004

    found = judge_samples("acc", AUTHORS, MINE, margin=Tolerance(absolute=margin))

    lower = stats.ttest_ind(
        [value + margin for value in MINE], AUTHORS, equal_var=False, alternative="greater"
    )
    upper = stats.ttest_ind(
        [value - margin for value in MINE], AUTHORS, equal_var=False, alternative="less"
    )
    interval = stats.ttest_ind(MINE, AUTHORS, equal_var=False).confidence_interval(0.90)
    sd = statistics.stdev(AUTHORS)
    half = stats.t.ppf(0.975, 9) * sd * math.sqrt(1 / 10 + 1 / 6)
    prediction = 2 * stats.t.sf(abs(found.difference) / (sd * math.sqrt(1 / 10 + 1 / 6)), 9)
    welch = stats.ttest_ind(MINE, AUTHORS, equal_var=False).pvalue
    assert found.verdict is EQUIVALENT
    assert found.p_equivalence == pytest.approx(max(lower.pvalue, upper.pvalue), rel=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.prediction_low == pytest.approx(statistics.fmean(AUTHORS) - half, rel=1e-12)
    assert found.prediction_high == pytest.approx(statistics.fmean(AUTHORS) + half, rel=1e-12)
    assert found.p_difference == pytest.approx(max(prediction, welch), rel=1e-9)
    assert found.margin_source == "user"


def test_few_runs_are_not_taken_to_vary_less_than_many() -> None:
    alike = judge_samples("acc", noisy(10), [100.5, 100.50001], margin=Tolerance(absolute=2.0))
    varied = judge_samples("acc", noisy(10), [99.5, 101.5], margin=Tolerance(absolute=2.0))

    assert (alike.verdict, varied.verdict) == (INCONCLUSIVE, INCONCLUSIVE)
    assert float(alike.high or 0) == pytest.approx(float(varied.high or 0), rel=0.3)


def test_hedges_effect_is_cohens_without_its_bias() -> None:
    a, b = [1.0, 2.0, 3.0, 4.0], [3.0, 5.0, 7.0]

    pooled = math.sqrt((3 * statistics.variance(a) + 2 * statistics.variance(b)) / 5)
    exact = math.gamma(5 / 2) / (math.sqrt(5 / 2) * math.gamma(4 / 2))
    assert hedges_g(a, b) == pytest.approx(exact * 2.5 / pooled)
    assert hedges_g([1.0, 1.0], [2.0, 2.0]) is None
    assert hedges_g([1.0], [2.0]) is None


def test_the_default_margin_is_two_deviations_or_a_hundredth_of_the_mean() -> None:
    wide = judge_samples("acc", noisy(10, mean=1.0), noisy(10, mean=1.0))
    narrow = judge_samples("acc", noisy(10, mean=1000.0), noisy(5, mean=1000.0))

    assert (wide.margin, wide.margin_source) == (
        pytest.approx(2 * statistics.stdev(noisy(10))), "2 sd",
    )  # fmt: skip
    assert (narrow.margin, narrow.margin_source) == (pytest.approx(10.0), "1 % of the mean")


def test_a_margin_may_be_a_part_of_the_original_mean() -> None:
    found = judge_samples(
        "acc", noisy(5, -200.0), noisy(5, -200.0), margin=Tolerance(relative=0.05)
    )

    assert found.margin == pytest.approx(10.0)


def test_runs_far_off_differ() -> None:
    found = judge_samples("loss", noisy(5), noisy(5, mean=106.0))

    assert found.verdict is DIFFERS
    assert found.difference == pytest.approx(6.0)
    assert found.prediction_high is not None
    assert float(found.prediction_high) < 106
    assert found.more_seeds is None


def test_few_runs_that_fit_either_way_are_inconclusive_and_say_how_many_more() -> None:
    found = judge_samples("loss", noisy(10), noisy(2, mean=101.0), margin=Tolerance(absolute=2.0))

    assert found.verdict is INCONCLUSIVE
    assert found.more_seeds is not None
    assert 1 <= found.more_seeds < 20


def test_so_many_more_runs_decide_it_in_four_of_five_cases() -> None:
    original, first = normal(20, 100.0, seed=1), normal(3, 100.3, seed=5)
    margin = Tolerance(absolute=1.0)
    found = judge_samples("loss", original, first, margin=margin)
    assert found.more_seeds is not None
    assert found.original.sd is not None
    assert found.reproduced.sd is not None

    chance = random.Random(2)
    decided = 0
    for _ in range(400):
        # As if what was seen were the truth, and all were measured anew.
        again = [chance.gauss(found.original.mean, found.original.sd) for _ in range(20)]
        more = [
            chance.gauss(found.reproduced.mean, found.reproduced.sd)
            for _ in range(3 + found.more_seeds)
        ]
        decided += judge_samples("loss", again, more, margin=margin).verdict is not INCONCLUSIVE

    assert 0.72 < decided / 400 < 0.92


def test_where_new_runs_alone_cannot_decide_it_that_is_said() -> None:
    found = judge_samples("loss", noisy(3), noisy(3, 100.1), margin=Tolerance(absolute=0.05))

    assert (found.verdict, found.more_seeds) == (INCONCLUSIVE, None)
    assert found.reason == "more new runs alone would hardly decide it"


def test_how_many_runs_on_each_side_would_decide_it_is_said_where_new_ones_alone_would_not() -> (
    None
):
    chance = random.Random(4)
    original, reproduced = noisy(4), noisy(4, 100.2)

    found = judge_samples("loss", original, reproduced, margin=Tolerance(absolute=1.0))

    text = re.fullmatch(
        r"more new runs alone would hardly .*, (\d+) on each side would", found.reason or ""
    )
    assert text is not None
    decided = 0
    for _ in range(200):
        sides = [
            [chance.gauss(float(of.mean or 0), float(of.sd or 0)) for _ in range(int(text[1]))]
            for of in (found.original, found.reproduced)
        ]
        verdict = judge_samples("loss", *sides, margin=Tolerance(absolute=1.0)).verdict
        decided += verdict is not INCONCLUSIVE
    assert 0.7 < decided / 200 < 0.9


def test_a_margin_of_two_deviations_is_an_estimate_and_that_is_said() -> None:
    original, reproduced = noisy(5), noisy(5, 100.8)

    default = judge_samples("loss", original, reproduced)
    margin = float(default.margin or 0)
    named = judge_samples("loss", original, reproduced, margin=Tolerance(absolute=margin))

    assert float(default.high or margin) < margin
    assert (default.verdict, named.verdict) == (INCONCLUSIVE, EQUIVALENT)
    assert str(default.reason).startswith("the margin is an estimate of 5 runs; more new runs")


def test_a_larger_spread_alone_is_no_other_mean() -> None:
    original = noisy(10)
    reproduced = [100 + 6 * (value - 100) + 3 for value in noisy(4)]

    found = judge_samples("loss", original, reproduced, margin=Tolerance(absolute=2.0))

    assert found.prediction_high is not None
    assert statistics.fmean(reproduced) > float(found.prediction_high)
    assert found.verdict is INCONCLUSIVE
    assert (found.reason, found.more_seeds is None) == ("sd 7, was 1.1", False)


# --- single runs ---


def test_a_single_new_run_is_judged_by_the_prediction() -> None:
    inside = judge_samples("loss", noisy(10), [101.5])
    outside = judge_samples("loss", noisy(10), [104.0])

    assert (inside.verdict, inside.reason) == (INCONCLUSIVE, "single run")
    assert inside.more_seeds is not None
    assert (outside.verdict, outside.reason) == (DIFFERS, "single run")
    assert outside.p_equivalence is None


def test_a_single_run_within_the_users_margin_is_tolerated() -> None:
    margin = Tolerance(absolute=0.001)

    assert judge_samples("acc", [0.970], [0.971], margin=margin).verdict is WITHIN
    assert judge_samples("acc", [0.970], [0.972], margin=margin).verdict is DIFFERS
    assert judge_samples("acc", noisy(5), [100.0005], margin=margin).verdict is WITHIN
    assert judge_samples("acc", noisy(5), [100.5], margin=margin).verdict is INCONCLUSIVE


def test_two_single_runs_decide_nothing_without_a_margin() -> None:
    found = judge_samples("acc", [0.97], [0.5])

    assert (found.verdict, found.reason, found.prediction_low) == (INCONCLUSIVE, "single run", None)


def test_a_single_original_run_is_judged_by_the_spread_of_the_new_ones() -> None:
    assert judge_samples("loss", [100.5], noisy(10)).verdict is INCONCLUSIVE
    assert judge_samples("loss", [100.5], noisy(10)).more_seeds is None
    assert judge_samples("loss", [110.0], noisy(10)).verdict is DIFFERS


# --- what does not vary ---


def test_runs_that_all_come_to_the_same_bits_are_identical() -> None:
    assert judge_samples("acc", [0.5] * 3, [0.5] * 2).verdict is IDENTICAL
    assert judge_samples("acc", [NAN] * 3, [NAN] * 2).verdict is IDENTICAL
    single = judge_samples("acc", [0.5], [0.5])
    assert (single.verdict, single.reason) == (IDENTICAL, "single run")


def test_what_does_not_vary_is_within_the_margin_or_differs() -> None:
    near = judge_samples("acc", [100.0] * 3, [100.5] * 3)
    far = judge_samples("acc", [100.0] * 3, [102.0] * 3)

    assert (near.verdict, near.reason) == (WITHIN, "nothing varies")
    assert (far.verdict, far.reason) == (DIFFERS, "nothing varies")


def test_one_side_that_does_not_vary_is_compared_by_the_other() -> None:
    assert judge_samples("acc", [100.0] * 5, noisy(5)).verdict is not DIFFERS
    assert judge_samples("acc", [100.0] * 5, noisy(5, mean=104.0)).verdict is DIFFERS


# --- NaN ---


def test_runs_that_came_to_nan_are_counted_and_not_averaged() -> None:
    found = judge_samples("loss", [*noisy(10), NAN, NAN], [*noisy(6), NAN])

    assert found.verdict is EQUIVALENT
    assert found.reason == "1 of 7 runs came to no finite number, originally 2 of 12"


def test_runs_that_came_to_nan_on_one_side_only_are_never_the_same() -> None:
    found = judge_samples("loss", noisy(10), [*noisy(9), INF])

    assert found.verdict is INCONCLUSIVE
    assert found.reason == "1 of 10 runs came to no finite number, originally 0 of 10"


def test_many_more_runs_that_came_to_nan_differ() -> None:
    assert judge_samples("loss", noisy(10), [*noisy(5), *[NAN] * 5]).verdict is DIFFERS
    assert judge_samples("loss", noisy(10), [NAN] * 5).verdict is DIFFERS
    assert judge_samples("loss", noisy(10), [NAN]).verdict is INCONCLUSIVE
    assert judge_samples("loss", [NAN, INF], [INF, NAN]).verdict is WITHIN


def test_a_metric_that_is_not_there_any_more_differs() -> None:
    assert judge_samples("loss", noisy(3), []).verdict is DIFFERS
    assert judge_samples("loss", [], noisy(3)).verdict is INCONCLUSIVE


# --- pairs ---


def test_runs_of_the_same_seeds_are_compared_in_pairs() -> None:
    original = normal(5, 100.0)
    reproduced = [value + 0.01 * (-1) ** at for at, value in enumerate(original)]
    margin = Tolerance(absolute=0.1)
    seeds = (range(5), range(5))

    paired = judge_samples("loss", original, reproduced, margin=margin, seeds=seeds)
    unpaired = judge_samples("loss", original, reproduced, margin=margin)

    assert (paired.verdict, paired.pairs) == (EQUIVALENT, 5)
    assert (unpaired.verdict, unpaired.pairs) == (INCONCLUSIVE, 0)


def test_pairs_are_tested_as_scipy_does() -> None:
    stats = pytest.importorskip("scipy.stats")
    original, reproduced = normal(6, 5.0, seed=1), normal(6, 5.4, seed=2)

    found = judge_samples("loss", original, reproduced, seeds=(range(6), range(6)))

    expected = stats.ttest_rel(reproduced, original)
    interval = expected.confidence_interval(0.90)
    assert found.p_difference == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_pairs_need_no_order_and_not_all_of_the_original_seeds() -> None:
    original, seeds = normal(6, 100.0), [3, 1, 4, 15, 9, 2]
    picked = [4, 1, 9]
    reproduced = [original[seeds.index(seed)] for seed in picked]

    found = judge_samples("loss", original, reproduced, seeds=(seeds, picked))

    assert (found.verdict, found.pairs, found.difference) == (IDENTICAL, 3, 0.0)


def test_every_run_of_a_seed_counts_in_its_pair() -> None:
    original = [1.0, 3.0, 10.0, 20.0]
    found = judge_samples("loss", original, [2.5, 10.5, 20.5], seeds=([0, 0, 1, 2], [0, 1, 2]))

    assert found.pairs == 3
    assert found.difference == pytest.approx(0.5)


@pytest.mark.parametrize("seeds", [([1, 2, 3], [1, 2, 7]), ([1, 2, 3], [1, None, 3]), None])
def test_runs_without_a_partner_are_not_left_out(seeds: Any) -> None:
    found = judge_samples("loss", [1.0, 2.0, 3.0], [1.1, 2.1, 3.2], seeds=seeds)

    assert found.pairs == 0


# --- many metrics ---


def test_one_of_many_metrics_may_be_off_by_chance() -> None:
    off = judge_samples("off", noisy(10), noisy(5, mean=101.6))
    assert off.verdict is DIFFERS
    assert 0.01 < float(off.p_difference or 0) < 0.05
    same = {f"m{at}": (noisy(10), noisy(5)) for at in range(9)}

    found = judge_all({"off": (noisy(10), noisy(5, mean=101.6)), **same})

    assert (found[0].name, found[0].verdict) == ("off", INCONCLUSIVE)
    assert found[0].reason == "may be chance among 10 metrics"


def test_what_is_far_off_differs_among_many_metrics_too() -> None:
    same = {f"m{at}": (noisy(10), noisy(5)) for at in range(9)}

    found = judge_all({"off": (noisy(10), noisy(5, mean=120.0)), **same})

    assert [v.verdict for v in found] == [DIFFERS, *[EQUIVALENT] * 9]


def test_holms_procedure_stops_at_the_first_that_is_not_sure() -> None:
    def verdict(name: str, p: float) -> StatisticVerdict:
        return StatisticVerdict(
            name=name, verdict=DIFFERS, original=sample([1]), reproduced=sample([1]), p_difference=p
        )

    found = correct_for_many(
        [verdict("a", 0.03), verdict("b", 0.001), verdict("c", 0.02), verdict("d", 0.04)]
    )

    assert {v.name: v.verdict for v in found} == {
        "a": INCONCLUSIVE, "b": DIFFERS, "c": INCONCLUSIVE, "d": INCONCLUSIVE,
    }  # fmt: skip
    both = correct_for_many([verdict("a", 0.001), verdict("b", 0.001)])
    assert [v.verdict for v in both] == [DIFFERS, DIFFERS]


def test_a_metric_that_some_runs_have_not_is_compared_without_pairs() -> None:
    found = judge_all(
        {"acc": ([1.0, 2.0, 3.0], [1.0, 2.1, 3.0]), "loss": ([1.0, 2.0], [1.0, 2.1, 3.0])},
        seeds=([1, 2, 3], [1, 2, 3]),
    )

    assert [verdict.pairs for verdict in found] == [3, 0]


# --- laws ---

SAMPLES = st.lists(
    st.one_of(NUMBERS, st.sampled_from([0.0, 1.0, NAN, INF])), min_size=1, max_size=8
)
MARGINS = st.one_of(st.none(), st.floats(0, 1e7).map(lambda m: Tolerance(absolute=m)))


@given(SAMPLES, SAMPLES, MARGINS)
def test_every_sample_gets_a_verdict_that_its_numbers_bear_out(
    a: Sequence[float], b: Sequence[float], margin: Tolerance | None
) -> None:
    found = judge_samples("m", a, b, margin=margin)

    if found.verdict is IDENTICAL:
        assert len({repr(float(v)) for v in (*a, *b)}) == 1
    if found.verdict is EQUIVALENT:
        assert -float(found.margin or 0) <= float(found.low or 0)
        assert float(found.high or 0) <= float(found.margin or 0)
    if found.verdict is not INCONCLUSIVE:
        assert found.more_seeds is None
    if 1 in (len(a), len(b)):
        assert found.verdict is not EQUIVALENT


@settings(deadline=None)
@example([], [0.0] * 3 + [sys.float_info.max] * 3, None)
@example([-sys.float_info.max, sys.float_info.max], [1.0, 2.0], None)
@example([0.0, 1.0, 1e300, sys.float_info.max], [1e16, 1e16, sys.float_info.max, 0.0], None)
@given(st.lists(st.floats(), max_size=6), st.lists(st.floats(), max_size=6), MARGINS)
def test_numbers_of_any_size_get_a_verdict_that_can_be_stored(
    a: Sequence[float], b: Sequence[float], margin: Tolerance | None
) -> None:
    found = judge_samples("m", a, b, margin=margin, seeds=(range(len(a)), range(len(b))))

    stored = msgspec.json.decode(msgspec.json.encode(found), type=StatisticVerdict)
    assert msgspec.json.encode(stored) == msgspec.json.encode(found)
    assert b"null" not in msgspec.json.encode(found)


@given(SAMPLES, MARGINS)
def test_a_sample_never_differs_from_itself(a: Sequence[float], margin: Tolerance | None) -> None:
    assert judge_samples("m", a, a, margin=margin).verdict is not DIFFERS
    paired = judge_samples("m", a, a, margin=margin, seeds=(range(len(a)), range(len(a))))
    assert paired.verdict is IDENTICAL


@given(
    st.lists(NUMBERS, min_size=2, max_size=8),
    st.lists(NUMBERS, min_size=2, max_size=8),
    st.integers(-10, 10),
)
def test_the_unit_does_not_matter(a: list[float], b: list[float], power: int) -> None:
    scale = 2.0**power

    here = judge_samples("m", a, b)
    there = judge_samples("m", [v * scale for v in a], [v * scale for v in b])

    assert here.verdict is there.verdict
    assert here.more_seeds == there.more_seeds
