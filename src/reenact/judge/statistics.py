"""Compare what several runs came to with what several others did: the same, another, or not known.

Two tests, and a third answer where neither decides:

* equivalent: two one-sided tests (Schuirmann 1987, "A comparison of the two one-sided tests
  procedure and the power approach", J. Pharmacokin. Biopharm. 15) with Welch's degrees of freedom
  (Welch 1947, "The generalization of Student's problem when several different population variances
  are involved", Biometrika 34): the 90 % confidence interval of the difference of the means lies
  within the margin. Where means are truly the margin apart, this is said in at most 5 % of cases.
  A margin of two deviations is an estimate: its error is added to that of the difference (Howe 1974,
  "Approximate confidence limits on the mean of X+Y where X and Y are two tabled independent random
  variables", JASA 69; Hyslop, Hsuan and Holder 2000, "A small sample confidence interval approach to
  assess individual bioequivalence", Stat. Med. 19). Else it is said in up to 17 % of such cases.
* differs: the mean of the new runs is outside of its 95 % prediction interval (Patil, Peng and Leek
  2016, "What should researchers expect when they replicate studies?", Persp. Psych. Sci. 11), and
  Welch's test doubts at 5 % that the means are equal: a larger spread alone is no other mean.
* inconclusive otherwise, with how many further new runs decide it in 80 % of cases, either way, if
  difference and spread are truly what they seem.

Runs of the same seed are compared pair by pair. NaN and infinities have no mean: how many runs came
to them is compared by Fisher's exact test. Values are one number for each run, such as the last of
its series: the points of one series depend on each other and are no sample.
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from msgspec.structs import replace

from reenact.judge.distributions import f_tail, fisher_exact, t_quantile
from reenact.judge.means import SIGNIFICANT, Margin, MeanTest, Moments, more_runs
from reenact.judge.modes import find_modes
from reenact.judge.tolerance import Tolerance
from reenact.model.metrics import json_number
from reenact.model.statistic import statistic
from reenact.model.verdict import Sample, StatisticVerdict, Verdict
from reenact.model.words import counted

Seeds: TypeAlias = tuple[Sequence[int | None], Sequence[int | None]]
"""The seed of each run, of the original ones and of the new ones."""

MOST_SEEDS = 1000
"""More further runs than these are not proposed."""

_SDS = 2.0
_SHARE = 0.01
_SPREAD_SIGNIFICANT = 0.01
_FEWEST_FOR_SPREAD = 3


def sample(values: Iterable[float]) -> Sample:
    """Return what the values of several runs come to.

    Mean, deviation, range, interval and modes are of the finite ones; `values` has all.
    """
    every = tuple(float(value) for value in values)
    numbers = [value for value in every if math.isfinite(value)]
    found = statistic(numbers)
    mean, sd = found.mean, found.sd
    half = None
    if mean is not None and sd is not None:
        half = t_quantile(0.975, len(numbers) - 1) * sd / math.sqrt(len(numbers))
    return Sample(
        values=tuple(json_number(value) for value in every),
        mean=None if mean is None else json_number(mean),
        sd=None if sd is None else json_number(sd),
        minimum=min(numbers, default=None),
        maximum=max(numbers, default=None),
        low=None if mean is None or half is None else json_number(mean - half),
        high=None if mean is None or half is None else json_number(mean + half),
        modes=find_modes(numbers),
    )


def judge_samples(
    name: str,
    original: Sequence[float],
    reproduced: Sequence[float],
    *,
    margin: Tolerance | None = None,
    seeds: Seeds | None = None,
) -> StatisticVerdict:
    """Compare one number of each of several runs with those of others.

    Args:
        name: the metric.
        original: a number for each original run.
        reproduced: a number for each new run.
        margin: how far the means may be apart, in the metric's unit or as a part of the original
            mean; None for the larger of two deviations and 1 % of the original mean.
        seeds: of each run, where known; None in place of a seed that is not.
    """
    verdict = StatisticVerdict(
        name=name,
        verdict=Verdict.INCONCLUSIVE,
        original=sample(original),
        reproduced=sample(reproduced),
    )
    if not original:
        return replace(verdict, reason="no original run has it")
    if not reproduced:
        return replace(verdict, verdict=Verdict.DIFFERS, reason="no new run has it")
    if _are_identical(original, reproduced, seeds):
        is_single = 1 in (len(original), len(reproduced))
        return replace(
            verdict,
            verdict=Verdict.IDENTICAL,
            difference=0.0 if verdict.original.mean is not None else None,
            pairs=len(_pairs(original, reproduced, seeds)),
            reason="single run" if is_single else None,
        )
    a, b = ([v for v in values if math.isfinite(v)] for values in (original, reproduced))
    if a and b:
        verdict = _judge_numbers(verdict, a, b, _pairs(original, reproduced, seeds), margin)
    elif not a and not b:
        verdict = replace(verdict, verdict=Verdict.WITHIN_TOLERANCE)
    return _judge_diverged(
        verdict,
        (len(original) - len(a), len(original)),
        (len(reproduced) - len(b), len(reproduced)),
    )


def judge_all(
    samples: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    margin_of: Callable[[str], Tolerance | None] = lambda _: None,
    seeds: Seeds | None = None,
) -> tuple[StatisticVerdict, ...]:
    """Compare several metrics of the same runs.

    The more metrics there are, the likelier one is outside of its interval by chance: what differs
    must do so by Holm's procedure (Holm 1979, "A simple sequentially rejective multiple test
    procedure", Scand. J. Statist. 6). Equivalence needs none, since all metrics must be equivalent.

    Args:
        samples: metric -> its numbers in the original and in the new runs.
        margin_of: what `judge_samples` takes as margin.
        seeds: of all the runs; a metric that some of them have not is compared without pairs.
    """
    found = []
    for name, (a, b) in samples.items():
        has_all = seeds is not None and (len(a), len(b)) == (len(seeds[0]), len(seeds[1]))
        of_name = seeds if has_all else None
        found.append(judge_samples(name, a, b, margin=margin_of(name), seeds=of_name))
    return correct_for_many(found)


def correct_for_many(verdicts: Sequence[StatisticVerdict]) -> tuple[StatisticVerdict, ...]:
    """Return the verdicts; what differs, but among so many perhaps by chance, is inconclusive."""
    tested = sorted(_p_of(verdict) for verdict in verdicts if verdict.p_difference is not None)
    count = len(tested)
    sure = 0
    while sure < count and tested[sure] * (count - sure) < SIGNIFICANT:
        sure += 1
    limit = tested[sure - 1] if sure else -1.0
    return tuple(
        _because(replace(v, verdict=Verdict.INCONCLUSIVE), f"may be chance among {count} metrics")
        if v.verdict is Verdict.DIFFERS and v.p_difference is not None and _p_of(v) > limit
        else v
        for v in verdicts
    )


def hedges_g(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return the difference of the means, b less a, in pooled deviations, without its bias.

    Hedges 1981, "Distribution theory for Glass's estimator of effect size and related estimators",
    J. Educ. Statist. 6, with the exact factor. None where there is no deviation.
    """
    first, second = Moments.of(a), Moments.of(b)
    df = first.n + second.n - 2
    spread = math.hypot(*(math.sqrt(m.n - 1) * (m.sd or 0.0) for m in (first, second)))
    if not spread or df < 2:
        return None
    factor = math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / math.sqrt(df / 2)
    return factor * math.sqrt(df) * ((second.mean - first.mean) / spread)


# --- numbers ---


def _judge_numbers(
    verdict: StatisticVerdict,
    a: Sequence[float],
    b: Sequence[float],
    pairs: Sequence[tuple[float, float]],
    margin: Tolerance | None,
) -> StatisticVerdict:
    """Judge finite numbers, at least one on each side."""
    first, second = Moments.of(a), Moments.of(b)
    limit = _margin(first, margin)
    effect = hedges_g(a, b)
    verdict = replace(
        verdict,
        margin=json_number(limit.limit),
        margin_source=limit.source,
        difference=json_number(second.mean - first.mean),
        effect=None if effect is None else json_number(effect),
    )
    spreads = (first.sd or 0.0, second.sd or 0.0)
    if not all(map(math.isfinite, (second.mean - first.mean, limit.limit, *spreads))):
        return _because(verdict, "numbers too large to compare")
    if len(pairs) > 1:
        between = Moments.of([new - old for old, new in pairs])
        verdict = replace(verdict, difference=json_number(between.mean), pairs=len(pairs))
        return _judge_test(verdict, first, second, MeanTest.of_pairs(between), limit, between)
    if first.sd is None and second.sd is None:
        return _judge_two_runs(verdict, first, second, margin, limit)
    test = MeanTest.of_samples(first, second)
    if first.sd is None or second.sd is None:
        return _judge_single(verdict, first, second, test, limit, is_users=margin is not None)
    return _judge_test(verdict, first, second, test, limit)


def _judge_two_runs(
    verdict: StatisticVerdict, a: Moments, b: Moments, margin: Tolerance | None, limit: Margin
) -> StatisticVerdict:
    """Judge a run by another one, which only the user's margin can do."""
    if margin is None:
        said = Verdict.INCONCLUSIVE
    elif _is_within(a.mean, b.mean, limit.limit):
        said = Verdict.WITHIN_TOLERANCE
    else:
        said = Verdict.DIFFERS
    return _because(replace(verdict, verdict=said), "single run")


def _judge_single(
    verdict: StatisticVerdict,
    a: Moments,
    b: Moments,
    test: MeanTest,
    limit: Margin,
    *,
    is_users: bool,
) -> StatisticVerdict:
    """Judge a single run by several: by the user's margin, else by the prediction."""
    verdict = _with_prediction(verdict, test)
    said = Verdict.INCONCLUSIVE
    if is_users and _is_within(a.mean, b.mean, limit.limit):
        said = Verdict.WITHIN_TOLERANCE
    elif _p_of(verdict) < SIGNIFICANT:
        said = Verdict.DIFFERS
    verdict = _because(replace(verdict, verdict=said), "single run")
    if said is not Verdict.INCONCLUSIVE:
        return verdict
    sd = a.sd if b.sd is None else b.sd
    return _with_plan(verdict, a._replace(sd=sd), b._replace(sd=sd), limit)


def _judge_test(
    verdict: StatisticVerdict,
    a: Moments,
    b: Moments,
    test: MeanTest,
    limit: Margin,
    between: Moments | None = None,
) -> StatisticVerdict:
    """Judge samples that both have a deviation, or by what is `between` their pairs."""
    verdict = _with_prediction(verdict, test)
    half = test.half_width(SIGNIFICANT)
    p_equivalence = test.p_equivalence(limit)
    verdict = replace(
        verdict,
        low=json_number(test.difference - half),
        high=json_number(test.difference + half),
        p_equivalence=p_equivalence,
    )
    verdict = _because(verdict, _say_spread(a, b))
    if not test.error:
        is_within = _is_within(b.mean - test.difference, b.mean, limit.limit)
        said = Verdict.WITHIN_TOLERANCE if is_within else Verdict.DIFFERS
        return _because(replace(verdict, verdict=said), "nothing varies")
    if p_equivalence <= SIGNIFICANT:
        return replace(verdict, verdict=Verdict.EQUIVALENT)
    if _p_of(verdict) < SIGNIFICANT:
        return replace(verdict, verdict=Verdict.DIFFERS)
    if abs(test.difference) + half <= limit.limit:
        verdict = _because(verdict, f"the margin is an estimate of {counted(a.n, 'run')}")
    return _with_plan(verdict, a, b, limit, between)


def _with_prediction(verdict: StatisticVerdict, test: MeanTest) -> StatisticVerdict:
    half = t_quantile(1 - SIGNIFICANT / 2, test.prediction_df) * test.prediction
    center = float(verdict.reproduced.mean or 0.0) - test.difference
    return replace(
        verdict,
        prediction_low=json_number(center - half),
        prediction_high=json_number(center + half),
        p_difference=test.p_difference(),
    )


def _with_plan(
    verdict: StatisticVerdict,
    a: Moments,
    b: Moments,
    limit: Margin,
    between: Moments | None = None,
) -> StatisticVerdict:
    """Say how many more new runs would decide it, else how many there should be on each side."""

    def of_new(n: int) -> float:
        if between is not None:
            return MeanTest.of_pairs(between._replace(n=n)).probability_of_decision(limit)
        return MeanTest.of_samples(a, b._replace(n=n)).probability_of_decision(limit)

    def of_both(n: int) -> float:
        test = MeanTest.of_samples(a._replace(n=n), b._replace(n=n))
        return test.probability_of_decision(limit if limit.df is None else limit._replace(df=n - 1))

    more = None
    if a.n > 1:
        more = more_runs(of_new, b.n if between is None else between.n, MOST_SEEDS)
    if more is not None:
        return replace(verdict, more_seeds=more)
    reason = "more new runs alone would hardly decide it"
    most = max(a.n, b.n)
    if between is None and (more := more_runs(of_both, most, MOST_SEEDS)) is not None:
        reason += f", {most + more} on each side would"
    return _because(verdict, reason)


def _judge_diverged(
    verdict: StatisticVerdict, a: tuple[int, int], b: tuple[int, int]
) -> StatisticVerdict:
    """Take runs into account that came to no finite number: so many of so many."""
    if not a[0] and not b[0]:
        return verdict
    text = f"{b[0]} of {counted(b[1], 'run')} came to no finite number, originally {a[0]} of {a[1]}"
    verdict = _because(verdict, text)
    if fisher_exact(*a, *b) < SIGNIFICANT:
        return replace(verdict, verdict=Verdict.DIFFERS, more_seeds=None)
    is_one_sided = not a[0] or not b[0]
    if is_one_sided and verdict.verdict is not Verdict.DIFFERS:
        return replace(verdict, verdict=Verdict.INCONCLUSIVE)
    return verdict


# --- parts ---


def _margin(a: Moments, margin: Tolerance | None) -> Margin:
    if margin is not None:
        return Margin(max(margin.absolute, margin.relative * abs(a.mean)), "user")
    spread, share = _SDS * (a.sd or 0.0), _SHARE * abs(a.mean)
    return Margin(spread, "2 sd", a.n - 1) if spread > share else Margin(share, "1 % of the mean")


def _is_within(original: float, reproduced: float, margin: float) -> bool:
    return Tolerance(absolute=margin).allows(original, reproduced)


def _are_identical(a: Sequence[float], b: Sequence[float], seeds: Seeds | None) -> bool:
    """Tell whether all runs came to the same bits, or each new one to those of its seed."""
    if len({*map(_bits, a), *map(_bits, b)}) == 1:
        return True
    if seeds is None:
        return False
    of_seed: dict[int | None, set[bytes]] = {}
    for seed, value in zip(seeds[0], a, strict=True):
        of_seed.setdefault(seed, set()).add(_bits(value))
    return all(
        seed is not None and of_seed.get(seed) == {_bits(value)}
        for seed, value in zip(seeds[1], b, strict=True)
    )


def _bits(value: float) -> bytes:
    return array("d", [value]).tobytes()


def _pairs(
    a: Sequence[float], b: Sequence[float], seeds: Seeds | None
) -> list[tuple[float, float]]:
    """Return the means of finite numbers by seed, of seeds that both sides have.

    None at all where some new run has no partner: those that have one may not be a fair choice.
    """
    if seeds is None:
        return []
    first, second = (_by_seed(*side) for side in zip(seeds, (a, b), strict=True))
    if None in second or not second.keys() <= first.keys():
        return []
    return [(_mean(first[seed]), _mean(second[seed])) for seed in second if first[seed]]


def _by_seed(seeds: Sequence[int | None], values: Sequence[float]) -> dict[int | None, list[float]]:
    found: dict[int | None, list[float]] = defaultdict(list)
    for seed, value in zip(seeds, values, strict=True):
        if math.isfinite(value):
            found[seed].append(value)
    return dict(found)


def _mean(numbers: Sequence[float]) -> float:
    return Moments.of(numbers).mean


def _say_spread(a: Moments, b: Moments) -> str | None:
    """Say that the spread is another, where an F test is sure of it."""
    if a.sd is None or b.sd is None or min(a.n, b.n) < _FEWEST_FOR_SPREAD:
        return None
    if not a.sd or not b.sd:
        return None if a.sd == b.sd else f"sd {b.sd:.2g}, was {a.sd:.2g}"
    ratio = b.sd / a.sd
    tail = f_tail(ratio * ratio, b.n - 1, a.n - 1)
    if 2 * min(tail, 1 - tail) >= _SPREAD_SIGNIFICANT:
        return None
    return f"sd {b.sd:.2g}, was {a.sd:.2g}"


def _because(verdict: StatisticVerdict, reason: str | None) -> StatisticVerdict:
    """Return the verdict with one more reason."""
    if reason is None:
        return verdict
    return replace(verdict, reason="; ".join(filter(None, (verdict.reason, reason))))


def _p_of(verdict: StatisticVerdict) -> float:
    return 1.0 if verdict.p_difference is None else float(verdict.p_difference)
