"""How far two means are apart, how sure that is, and how many more runs would make it sure.

See `statistics.py` for what follows of it, and for most of the sources.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from reenact.judge.distributions import (
    chi_square_quantile,
    mean_over_spread,
    normal_cdf,
    t_quantile,
    t_tail,
)
from reenact.model.statistic import statistic

SIGNIFICANT = 0.05
POWER = 0.8

_FEW = 4
_CLOSE = 1e-10
_LEAST = 1e-15
"""Of which a float less than 1 is left as the probability of the contrary."""
_MOST_STEPS = 100


class Moments(NamedTuple):
    """Size, mean and deviation of finite numbers; a single one has no deviation."""

    n: int
    mean: float
    sd: float | None

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Moments:
        """Return those of at least one number."""
        found = statistic(numbers)
        assert found.mean is not None
        return cls(len(numbers), found.mean, found.sd)


class Margin(NamedTuple):
    """How far means may be apart.

    Attributes:
        limit: in the metric's unit.
        source: who says so: `user`, `2 sd`, `1 % of the mean`.
        df: degrees of freedom of the deviation of which the limit is a multiple; None where it is
            known.
    """

    limit: float
    source: str
    df: int | None = None

    def doubt(self, alpha: float) -> float:
        """Return how much less it may truly be, but for a probability of `alpha`, at most 0.5."""
        if self.df is None:
            return 0.0
        true = self.limit * math.sqrt(self.df / chi_square_quantile(1 - alpha, self.df))
        return max(0.0, self.limit - true)


class MeanTest(NamedTuple):
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
    def of_pairs(cls, between: Moments) -> MeanTest:
        """Make the test of differences of pairs."""
        error = (between.sd or 0.0) / math.sqrt(between.n)
        return cls(between.mean, error, between.n - 1, error, between.n - 1)

    @classmethod
    def of_samples(cls, a: Moments, b: Moments) -> MeanTest:
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

    def half_width(self, alpha: float) -> float:
        """Return half of the confidence interval of 1 - 2 `alpha` of the difference."""
        return t_quantile(1 - alpha, self.df) * self.error

    def p_equivalence(self, margin: Margin) -> float:
        """Return the larger p of the two one-sided tests: that against the nearer end.

        Of a margin that is itself an estimate, both errors together must fit between the difference
        and the margin, as the root of the sum of their squares (Howe 1974).
        """
        room = margin.limit - abs(self.difference)
        if not self.error:
            return 0.0 if room >= 0 else 1.0
        tail = t_tail(abs(room) / self.error, self.df)
        if room <= 0:
            return 1 - tail
        return tail if margin.df is None else self._p_of_estimated(margin, room, tail)

    def _p_of_estimated(self, margin: Margin, room: float, least: float) -> float:
        """Return the alpha at which both errors fill the room, at least what one of them takes."""

        def excess(log_alpha: float) -> float:
            alpha = math.exp(log_alpha)
            filled = math.hypot(self.half_width(alpha), margin.doubt(alpha))
            return math.log(filled / room) if filled else -math.inf

        if excess(math.log(0.5)) >= 0:
            return 0.5
        return math.exp(_root(excess, math.log(max(least, _LEAST)), math.log(0.5)))

    def p_difference(self) -> float:
        """Return the larger p of the prediction and of Welch's test, both two-sided."""
        if not self.difference:
            return 1.0
        errors = ((self.error, self.df), (self.prediction, self.prediction_df))
        return max(
            2 * t_tail(abs(self.difference) / error, df) if error else 0.0 for error, df in errors
        )

    def probability_of_decision(self, margin: Margin) -> float:
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
        center, end = abs(self.difference) / self.error, margin.limit / self.error
        doubt = margin.doubt(SIGNIFICANT) / self.error

        def undecided(s: float) -> float:
            low, high = max(0.0, end - math.hypot(within * s, doubt)), beyond * s
            if low >= high:
                return 0.0
            return (normal_cdf(high - center) - normal_cdf(low - center)) + (
                normal_cdf(-low - center) - normal_cdf(-high - center)
            )

        rest = (end - doubt) * (end + doubt)
        meeting = (end * beyond) ** 2 - (beyond * beyond - within * within) * rest
        corners = (
            math.sqrt(rest) / within,
            # Where what is surely within ends where what is surely beyond begins.
            rest / (end * beyond + math.sqrt(max(0.0, meeting))) if rest else 0.0,
        )
        return 1 - mean_over_spread(undecided, self.df, corners)


def more_runs(probability_of: Callable[[int], float], n: int, most_runs: int) -> int | None:
    """Return how many more than n runs decide it in `POWER` of cases; None if too many would.

    Args:
        probability_of: what so many runs in all decide it with.
        n: how many there are.
        most_runs: how many more are looked at.
    """
    most = 1
    while probability_of(n + most) < POWER:
        if most >= most_runs:
            return None
        most = min(2 * most, most_runs)
    least = most // 2
    while most - least > 1:
        middle = (least + most) // 2
        is_enough = probability_of(n + middle) >= POWER
        least, most = (least, middle) if is_enough else (middle, most)
    return most


def _root(value_of: Callable[[float], float], low: float, high: float) -> float:
    """Return where a falling function is zero, by the Illinois method; it is so in between."""
    above, below = value_of(low), value_of(high)
    side = 0
    for _ in range(_MOST_STEPS):
        if above <= 0 or high - low <= _CLOSE:
            break
        at = (low + high) / 2
        if math.isfinite(above) and math.isfinite(below):
            at = low + (high - low) * above / (above - below)
        value = value_of(at)
        if abs(value) <= _CLOSE:
            return at
        if value > 0:
            low, above = at, value
            below = below / 2 if side > 0 else below
            side = 1
        else:
            high, below = at, value
            above = above / 2 if side < 0 else above
            side = -1
    return low
