"""Judge a stated result by what was found when it was run again."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec.structs import replace

from reenact.judge.statistics import sample
from reenact.judge.tolerance import NONE, Tolerance
from reenact.model.metrics import json_number
from reenact.model.verdict import ClaimVerdict, Verdict

BOTH, AT_LEAST, AT_MOST = "both", "at-least", "at-most"


def judge_claim(
    name: str,
    metric: str,
    claimed: float,
    found: Sequence[float],
    *,
    tolerance: Tolerance | None = None,
    direction: str = BOTH,
    paper: str | None = None,
) -> ClaimVerdict:
    """Say whether a claim is confirmed.

    One value confirms it within the tolerance and refutes it outside. Of several, the 95 %
    confidence interval of their mean confirms it inside the tolerance, refutes it wholly outside, and
    leaves it open otherwise.

    Args:
        name: of the claim.
        metric: whose value it is.
        claimed: the value.
        found: one for each run.
        tolerance: how far it may be off; None for not at all.
        direction: `at-least` and `at-most` let a better result pass.
        paper: where it is stated.
    """
    allowed = tolerance or NONE
    text = tolerance.text if tolerance is not None else None
    values = sample(found)
    verdict = ClaimVerdict(
        name=name,
        verdict=Verdict.COULD_NOT_RUN,
        metric=metric,
        claimed=json_number(claimed),
        runs=len(found),
        tolerance=text,
        paper=paper,
    )
    if not found:
        return _with(verdict, Verdict.COULD_NOT_RUN, f"no run reported `{metric}`")
    mean = float(values.mean) if values.mean is not None else float(found[0])
    verdict = _found(verdict, mean)
    if not all(map(math.isfinite, found)):
        is_same = all(allowed.allows(claimed, value) for value in found)
        return _with(verdict, Verdict.WITHIN_TOLERANCE if is_same else Verdict.DIFFERS, None)
    if len(found) == 1 or values.low is None or values.high is None:
        if mean == claimed:
            return _with(verdict, Verdict.IDENTICAL, None)
        is_fine = allowed.allows(claimed, mean) or _is_better(mean, claimed, direction)
        return _with(verdict, Verdict.WITHIN_TOLERANCE if is_fine else Verdict.DIFFERS, None)
    low, high = float(values.low), float(values.high)
    least, most = _bounds(claimed, allowed, direction)
    reason = f"95 % interval {low:.6g} to {high:.6g}"
    if least <= low and high <= most:
        return _with(verdict, Verdict.EQUIVALENT, reason)
    if high < least or low > most:
        return _with(verdict, Verdict.DIFFERS, reason)
    return _with(verdict, Verdict.INCONCLUSIVE, f"{reason}; more runs may decide")


def _is_better(value: float, claimed: float, direction: str) -> bool:
    return (direction == AT_LEAST and value > claimed) or (direction == AT_MOST and value < claimed)


def _bounds(claimed: float, tolerance: Tolerance, direction: str) -> tuple[float, float]:
    limit = tolerance.limit(claimed, claimed)
    least = -math.inf if direction == AT_MOST else claimed - limit
    most = math.inf if direction == AT_LEAST else claimed + limit
    return least, most


def _found(verdict: ClaimVerdict, mean: float) -> ClaimVerdict:
    return replace(verdict, found=json_number(mean))


def _with(verdict: ClaimVerdict, outcome: Verdict, reason: str | None) -> ClaimVerdict:
    return replace(verdict, verdict=outcome, reason=reason)
