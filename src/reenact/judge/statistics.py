"""Compare what several runs came to with what several others did: the same, another, or not known.

Two tests, and a third answer where neither decides:

* equivalent: two one-sided tests (Schuirmann 1987, "A comparison of the two one-sided tests
  procedure and the power approach", J. Pharmacokin. Biopharm. 15) with Welch's degrees of freedom
  (Welch 1947, "The generalization of Student's problem when several different population variances
  are involved", Biometrika 34): the 90 % confidence interval of the difference of the means lies
  within the margin. Where means are truly the margin apart, this is said in at most 5 % of cases.
* differs: the mean of the new runs is outside of its 95 % prediction interval (Patil, Peng and Leek
  2016, "What should researchers expect when they replicate studies?", Persp. Psych. Sci. 11), and
  Welch's test doubts at 5 % that the means are equal: a larger spread alone is no other mean.
* inconclusive otherwise, with how many further runs would decide it.

Runs of the same seed are compared pair by pair. NaN and infinities have no mean: how many runs came
to them is compared by Fisher's exact test. Values are one number for each run, such as the last of
its series: the points of one series depend on each other and are no sample.
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from msgspec.structs import replace

from reenact.judge.distributions import (
    f_tail,
    fisher_exact,
    mean_over_spread,
    normal_cdf,
    t_quantile,
    t_tail,
)
from reenact.judge.modes import find_modes
from reenact.judge.tolerance import Tolerance
from reenact.model.metrics import json_number
from reenact.model.statistic import statistic
from reenact.model.verdict import Sample, StatisticVerdict, Verdict
from reenact.model.words import counted

Seeds: TypeAlias = tuple[Sequence[int | None], Sequence[int | None]]
"""The seed of each run, of the original ones and of the new ones."""

SIGNIFICANT = 0.05
POWER = 0.8
MOST_SEEDS = 1000
"""More further runs than these are not proposed."""

_SDS = 2.0
_SHARE = 0.01
_SPREAD_SIGNIFICANT = 0.01
_FEWEST_FOR_SPREAD = 3
_FEW = 4


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
        mean=mean,
        sd=sd,
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
    first, second = _Moments.of(a), _Moments.of(b)
    df = first.n + second.n - 2
    spread = math.hypot(*(math.sqrt(m.n - 1) * (m.sd or 0.0) for m in (first, second)))
    if not spread or df < 2:
        return None
    factor = math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / math.sqrt(df / 2)
    return factor * math.sqrt(df) * ((second.mean - first.mean) / spread)


# --- numbers ---


class _Moments(NamedTuple):
    """Size, mean and deviation of finite numbers; a single one has no deviation."""

    n: int
    mean: float
    sd: float | None

    @classmethod
    def of(cls, numbers: Sequence[float]) -> _Moments:
        found = statistic(numbers)
        assert found.mean is not None
        return cls(len(numbers), found.mean, found.sd)


class _Test(NamedTuple):
    """What is known of a difference of means.

    Attributes:
        difference: reproduced less original.
        error: its standard error; 0 where nothing varies.
        df: degrees of freedom of that.
        prediction: the standard error of the new mean if nothing has changed.
        prediction_df: degrees of freedom of that.
    """

    difference: float
    error: float
    df: float
    prediction: float
    prediction_df: float

    @classmethod
    def of_pairs(cls, between: _Moments) -> _Test:
        """Make the test of differences of pairs."""
        error = (between.sd or 0.0) / math.sqrt(between.n)
        return cls(between.mean, error, between.n - 1, error, between.n - 1)

    @classmethod
    def of_samples(cls, a: _Moments, b: _Moments) -> _Test:
        """Make Welch's test, of which at least one sample has a deviation.

        Two to four runs are taken to vary as those of a larger sample do at least, and a single run
        as much: some that happen to be alike would decide too often. Without it, of 2 runs against
        30 means that are the margin apart were called equivalent in 8 % of cases.
        """
        sd_a, sd_b = a.sd or 0.0, b.sd or 0.0
        if a.n <= _FEW and a.n < b.n:
            sd_a = max(sd_a, sd_b)
        elif b.n <= _FEW and b.n < a.n:
            sd_b = max(sd_a, sd_b)
        # Not by squares, which are zero of small numbers and infinite of large ones.
        errors = (sd_a / math.sqrt(a.n), sd_b / math.sqrt(b.n))
        error = math.hypot(*errors)
        df = float(max(a.n + b.n - 2, 1))
        if error and 1 not in (a.n, b.n):
            shares = zip(errors, (a, b), strict=True)
            df = 1 / sum((part / error) ** 4 / (m.n - 1) for part, m in shares)
        # Nothing may have changed: the new runs vary as the original ones did, if these did.
        known = a if a.sd or not b.sd else b
        prediction = (known.sd or 0.0) * math.sqrt(1 / a.n + 1 / b.n)
        return cls(b.mean - a.mean, error, df, prediction, max(known.n - 1, 1))

    def p_equivalence(self, margin: float) -> float:
        """Return the larger p of the two one-sided tests: that against the nearer end."""
        room = margin - abs(self.difference)
        if not self.error:
            return 0.0 if room >= 0 else 1.0
        tail = t_tail(abs(room) / self.error, self.df)
        return tail if room >= 0 else 1 - tail

    def p_difference(self) -> float:
        """Return the larger p of the prediction and of Welch's test, both two-sided."""
        if not self.difference:
            return 1.0
        errors = ((self.error, self.df), (self.prediction, self.prediction_df))
        return max(
            2 * t_tail(abs(self.difference) / error, df) if error else 0.0 for error, df in errors
        )

    def probability_of_decision(self, margin: float) -> float:
        """Return how probable a verdict is, if difference and spread are truly what they seem.

        Given the estimated spread s, there is none where the difference is more than what would
        surely be within the margin and less than what would surely not be zero.
        """
        if not self.error:
            return 1.0
        within = t_quantile(1 - SIGNIFICANT, self.df)
        beyond = max(
            t_quantile(1 - SIGNIFICANT / 2, self.df),
            t_quantile(1 - SIGNIFICANT / 2, self.prediction_df) * self.prediction / self.error,
        )
        center, end = abs(self.difference) / self.error, margin / self.error

        def undecided(s: float) -> float:
            low, high = max(0.0, end - within * s), beyond * s
            if low >= high:
                return 0.0
            return (normal_cdf(high - center) - normal_cdf(low - center)) + (
                normal_cdf(-low - center) - normal_cdf(-high - center)
            )

        corners = (end / within, end / (within + beyond))
        return 1 - mean_over_spread(undecided, self.df, corners)


def _judge_numbers(
    verdict: StatisticVerdict,
    a: Sequence[float],
    b: Sequence[float],
    pairs: Sequence[tuple[float, float]],
    margin: Tolerance | None,
) -> StatisticVerdict:
    """Judge finite numbers, at least one on each side."""
    first, second = _Moments.of(a), _Moments.of(b)
    limit, source = _margin(first, margin)
    effect = hedges_g(a, b)
    verdict = replace(
        verdict,
        margin=json_number(limit),
        margin_source=source,
        difference=json_number(second.mean - first.mean),
        effect=None if effect is None else json_number(effect),
    )
    if len(pairs) > 1:
        between = _Moments.of([new - old for old, new in pairs])
        verdict = replace(verdict, difference=json_number(between.mean), pairs=len(pairs))
        return _judge_test(verdict, first, second, _Test.of_pairs(between), limit, between)
    if first.sd is None and second.sd is None:
        return _judge_two_runs(verdict, first, second, margin, limit)
    test = _Test.of_samples(first, second)
    if first.sd is None or second.sd is None:
        return _judge_single(verdict, first, second, test, limit, is_users=margin is not None)
    return _judge_test(verdict, first, second, test, limit)


def _judge_two_runs(
    verdict: StatisticVerdict, a: _Moments, b: _Moments, margin: Tolerance | None, limit: float
) -> StatisticVerdict:
    """Judge a run by another one, which only the user's margin can do."""
    if margin is None:
        said = Verdict.INCONCLUSIVE
    elif _is_within(a.mean, b.mean, limit):
        said = Verdict.WITHIN_TOLERANCE
    else:
        said = Verdict.DIFFERS
    return _because(replace(verdict, verdict=said), "single run")


def _judge_single(
    verdict: StatisticVerdict,
    a: _Moments,
    b: _Moments,
    test: _Test,
    limit: float,
    *,
    is_users: bool,
) -> StatisticVerdict:
    """Judge a single run by several: by the user's margin, else by the prediction."""
    verdict = _with_prediction(verdict, test)
    said, more = Verdict.INCONCLUSIVE, None
    if is_users and _is_within(a.mean, b.mean, limit):
        said = Verdict.WITHIN_TOLERANCE
    elif _p_of(verdict) < SIGNIFICANT:
        said = Verdict.DIFFERS
    elif a.n > 1:
        more = _more_runs(lambda n: _Test.of_samples(a, _Moments(n, b.mean, a.sd)), b.n, limit)
    return _because(replace(verdict, verdict=said, more_seeds=more), "single run")


def _judge_test(
    verdict: StatisticVerdict,
    a: _Moments,
    b: _Moments,
    test: _Test,
    limit: float,
    between: _Moments | None = None,
) -> StatisticVerdict:
    """Judge samples that both have a deviation, or by what is `between` their pairs."""
    verdict = _with_prediction(verdict, test)
    half = t_quantile(1 - SIGNIFICANT, test.df) * test.error
    p_equivalence = test.p_equivalence(limit)
    verdict = replace(
        verdict,
        low=json_number(test.difference - half),
        high=json_number(test.difference + half),
        p_equivalence=p_equivalence,
    )
    verdict = _because(verdict, _say_spread(a, b))
    if not test.error:
        is_within = _is_within(b.mean - test.difference, b.mean, limit)
        said = Verdict.WITHIN_TOLERANCE if is_within else Verdict.DIFFERS
        return _because(replace(verdict, verdict=said), "nothing varies")
    if p_equivalence <= SIGNIFICANT:
        return replace(verdict, verdict=Verdict.EQUIVALENT)
    if _p_of(verdict) < SIGNIFICANT:
        return replace(verdict, verdict=Verdict.DIFFERS)
    if between is not None:
        of_pairs = between
        more = _more_runs(lambda n: _Test.of_pairs(of_pairs._replace(n=n)), between.n, limit)
    else:
        more = _more_runs(lambda n: _Test.of_samples(a, b._replace(n=n)), b.n, limit)
    if more is None:
        verdict = _because(verdict, "more new runs alone would hardly decide it")
    return replace(verdict, more_seeds=more)


def _with_prediction(verdict: StatisticVerdict, test: _Test) -> StatisticVerdict:
    half = t_quantile(1 - SIGNIFICANT / 2, test.prediction_df) * test.prediction
    center = float(verdict.reproduced.mean or 0.0) - test.difference
    return replace(
        verdict,
        prediction_low=json_number(center - half),
        prediction_high=json_number(center + half),
        p_difference=test.p_difference(),
    )


def _more_runs(test_of: Callable[[int], _Test], n: int, margin: float) -> int | None:
    """Return how many more than n runs decide it in `POWER` of cases; None if too many would."""

    def is_enough(more: int) -> bool:
        return test_of(n + more).probability_of_decision(margin) >= POWER

    most = 1
    while not is_enough(most):
        if most >= MOST_SEEDS:
            return None
        most = min(2 * most, MOST_SEEDS)
    least = most // 2
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if is_enough(middle) else (middle, most)
    return most


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


def _margin(a: _Moments, margin: Tolerance | None) -> tuple[float, str]:
    """Return how far the means may be apart, and who says so."""
    if margin is not None:
        return max(margin.absolute, margin.relative * abs(a.mean)), "user"
    spread, share = _SDS * (a.sd or 0.0), _SHARE * abs(a.mean)
    return (spread, "2 sd") if spread > share else (share, "1 % of the mean")


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
    return _Moments.of(numbers).mean


def _say_spread(a: _Moments, b: _Moments) -> str | None:
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
