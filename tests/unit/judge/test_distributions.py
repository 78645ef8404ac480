from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.judge.distributions import (
    beta_cdf,
    f_tail,
    fisher_exact,
    mean_over_spread,
    normal_cdf,
    t_cdf,
    t_quantile,
    t_tail,
)

stats = pytest.importorskip("scipy.stats")
special = pytest.importorskip("scipy.special")

CLOSE = 1e-9
DEGREES = [1, 1.3, 2, 2.7, 5, 9.99, 18, 31.4, 100, 1234.5, 20_000]
SHARES = [1e-6, 0.001, 0.025, 0.05, 0.3, 0.5, 0.8, 0.95, 0.975, 0.9999]


@pytest.mark.parametrize("df", DEGREES)
def test_student_is_that_of_scipy(df: float) -> None:
    for t in (-1e6, -31.8, -2.5, -1, -1e-3, 0, 1e-9, 0.5, 1.96, 12.7, 500):
        assert t_cdf(t, df) == pytest.approx(stats.t.cdf(t, df), abs=CLOSE)
        assert t_tail(abs(t), df) == pytest.approx(stats.t.sf(abs(t), df), rel=CLOSE, abs=1e-300)
    for share in SHARES:
        assert t_quantile(share, df) == pytest.approx(stats.t.ppf(share, df), rel=CLOSE, abs=1e-12)


def test_the_incomplete_beta_function_is_that_of_scipy() -> None:
    chance = random.Random(5)
    for _ in range(500):
        a, b = (10 ** chance.uniform(-1, 4) for _ in range(2))
        x = min(1.0, max(0.0, chance.gauss(a / (a + b), 0.1)))
        assert beta_cdf(x, a, b) == pytest.approx(special.betainc(a, b, x), abs=CLOSE)


def test_the_ratio_of_variances_is_that_of_scipy() -> None:
    for df1, df2 in ((1, 1), (2, 9), (29, 4), (100, 300)):
        for f in (0.0, 0.01, 0.5, 1.0, 3.3, 50.0, 1e9):
            assert f_tail(f, df1, df2) == pytest.approx(stats.f.sf(f, df1, df2), abs=CLOSE)


@pytest.mark.parametrize("df", [1, 1.5, 2, 4, 10.5, 40])
def test_the_power_of_a_t_test_is_the_noncentral_one(df: float) -> None:
    limit = t_quantile(0.975, df)
    for shift in (0.0, 0.5, 2.0, 4.0):

        def outside(s: float, shift: float = shift) -> float:
            return normal_cdf(shift - limit * s) + normal_cdf(-shift - limit * s)

        power = stats.nct.sf(limit, df, shift) + stats.nct.cdf(-limit, df, shift)
        assert mean_over_spread(outside, df) == pytest.approx(power, abs=CLOSE)


def test_corners_do_not_disturb_the_mean() -> None:
    # The mean of min(s, 1), of which scipy knows both parts.
    for df in (3, 12, 60):
        below = stats.chi2.cdf(df, df)
        scale = math.sqrt(2 / df) * math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2))
        expected = scale * stats.chi2.cdf(df, df + 1) + 1 - below
        assert mean_over_spread(lambda s: min(s, 1.0), df, [1.0]) == pytest.approx(
            expected, abs=CLOSE
        )


def test_fishers_test_is_that_of_scipy() -> None:
    for n, m in ((1, 1), (3, 5), (10, 4), (9, 9)):
        for a in range(n + 1):
            for b in range(m + 1):
                expected = stats.fisher_exact([[a, n - a], [b, m - b]])[1]
                assert fisher_exact(a, n, b, m) == pytest.approx(expected, abs=CLOSE)


@given(st.floats(1e-9, 1 - 1e-9), st.floats(1, 1e6))
def test_the_quantile_undoes_the_distribution(share: float, df: float) -> None:
    assert t_cdf(t_quantile(share, df), df) == pytest.approx(share, rel=1e-9)
