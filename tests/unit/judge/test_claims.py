"""What confirms a claim, and what refutes it."""

from __future__ import annotations

import math

import pytest

from reenact.judge.claims import AT_LEAST, AT_MOST, BOTH, judge_claim
from reenact.judge.tolerance import parse_amount
from reenact.model.verdict import Verdict

IDENTICAL, NEAR, SURE = Verdict.IDENTICAL, Verdict.WITHIN_TOLERANCE, Verdict.EQUIVALENT
OPEN, NO = Verdict.INCONCLUSIVE, Verdict.DIFFERS


@pytest.mark.parametrize(
    ("claimed", "found", "tolerance", "direction", "verdict"),
    [
        (0.97, [0.97], None, BOTH, IDENTICAL),
        (0.97, [0.9700000001], None, BOTH, NO),
        (0.97, [0.972], "0.002", BOTH, NEAR),
        (0.97, [0.9721], "0.002", BOTH, NO),
        (0.97, [0.99], "0.002", AT_LEAST, NEAR),
        (0.97, [0.96], "0.002", AT_LEAST, NO),
        (0.97, [0.5], None, AT_MOST, NEAR),
        (100.0, [101.0], "1%", BOTH, NEAR),
        (1.0, [0.99, 1.0, 1.01, 1.0], "0.1", BOTH, SURE),
        (1.0, [0.99, 1.0, 1.01, 1.0], "0.001", BOTH, OPEN),
        (1.0, [2.0, 2.1, 2.0], "0.1", BOTH, NO),
        (1.0, [2.0, 2.1, 2.0], "0.1", AT_LEAST, SURE),
        (1.0, [1.0, 1.0], None, BOTH, SURE),
        (math.nan, [math.nan], None, BOTH, NEAR),
        (1.0, [math.nan], "0.1", BOTH, NO),
        (1.0, [], None, BOTH, Verdict.COULD_NOT_RUN),
    ],
)
def test_verdicts(
    claimed: float,
    found: list[float],
    tolerance: str | None,
    direction: str,
    verdict: Verdict,
) -> None:
    allowed = None if tolerance is None else parse_amount(tolerance)
    judged = judge_claim("C1", "acc", claimed, found, tolerance=allowed, direction=direction)
    assert judged.verdict is verdict, judged
    assert judged.runs == len(found)


def test_more_runs_make_it_surer() -> None:
    allowed = parse_amount("0.02")
    values = [1.0 + 0.01 * (-1) ** n for n in range(40)]
    few = judge_claim("C", "acc", 1.015, values[:4], tolerance=allowed)
    many = judge_claim("C", "acc", 1.015, values, tolerance=allowed)
    assert (few.verdict, many.verdict) == (OPEN, SURE)
    assert "interval" in (many.reason or "")
