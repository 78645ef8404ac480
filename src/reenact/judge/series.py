"""Compare a metric's series with the original, step by step: where they part, and how far they do.

The n-th value that a series has for a step is compared with the n-th that the other has for it:
steps may be missing, be repeated, begin anew with each epoch or come in another order. Nothing is
averaged, smoothed or left out. NumPy is used where `store.metric_block` uses it, to the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from reenact.judge.alignment import Pairs, Points, align, places_of, same
from reenact.judge.apart import Apart, measure
from reenact.judge.tolerance import NONE, ROUNDING, Tolerance
from reenact.model.metrics import json_number
from reenact.model.verdict import Expectation, Parting, SeriesVerdict, Verdict
from reenact.model.words import counted
from reenact.store.metric_block import numpy_for

_ALIKE = Tolerance(relative=0.01)


def judge_series(
    name: str,
    original: Points,
    reproduced: Points,
    tolerance: Tolerance | None = None,
    *,
    expectation: Expectation = Expectation.IDENTICAL,
    is_cut: bool = False,
) -> SeriesVerdict:
    """Compare two series of a metric.

    Identical are series with the same steps in the same order and values of equal bits. Within
    tolerance are those of the same steps whose values are allowed; without a tolerance, equal
    numbers are, such as 0.0 and -0.0. All others differ, unless no more can be expected:

    * of another machine, where nobody said what is tolerated, `tolerance.ROUNDING` is; beyond it
      the series is inconclusive as long as it ends within 1 % of the original's end;
    * of another seed, it is inconclusive;
    * where the original `is_cut`, since its run did not come to its end, points that follow decide
      nothing.
    """
    if tolerance is None and expectation is Expectation.TOLERANCE:
        tolerance = ROUNDING
    steps, values = original
    common = {
        "name": name,
        "points": len(values),
        "reproduced_points": len(reproduced[1]),
        "original_last": json_number(values[-1]) if values else None,
        "reproduced_last": json_number(reproduced[1][-1]) if reproduced[1] else None,
        "tolerance": tolerance.text if tolerance is not None else None,
    }
    if same(steps, reproduced[0]) and same(values, reproduced[1]):
        return SeriesVerdict(verdict=Verdict.IDENTICAL, **common)  # type: ignore[arg-type]
    np = numpy_for(len(values) + len(reproduced[1]))
    pairs = align(original, reproduced, np)
    apart = measure(pairs.x, pairs.y, tolerance or NONE, np)
    partings = _Partings(original, reproduced, pairs)
    reason = partings.reason(apart)
    beyond = partings.first(apart.beyond)
    verdict = Verdict.WITHIN_TOLERANCE if beyond is None else Verdict.DIFFERS
    if verdict is Verdict.DIFFERS and (
        why := _why_unsure(partings, apart, tolerance, expectation, is_cut=is_cut)
    ):
        verdict = Verdict.INCONCLUSIVE
        reason = "; ".join(filter(None, (why, reason)))
    return SeriesVerdict(
        verdict=verdict,
        first_parting=partings.first(apart.first),
        first_beyond=beyond,
        largest_absolute=json_number(apart.absolute) if len(pairs.x) else None,
        largest_relative=json_number(apart.relative) if len(pairs.x) else None,
        largest_ulps=apart.ulps if len(pairs.x) else None,
        reason=reason,
        **common,  # type: ignore[arg-type]
    )


def _why_unsure(
    partings: _Partings,
    apart: Apart,
    tolerance: Tolerance | None,
    expectation: Expectation,
    *,
    is_cut: bool,
) -> str | None:
    """Return why a series that is not the original may be as good; None where it is not."""
    if tolerance in (None, ROUNDING) and expectation is Expectation.STATISTICS:
        return "another seed"
    pairs = partings.pairs
    if is_cut and pairs.x and apart.beyond is None and not pairs.missing:
        return "the original did not come to its end, and what it has came back"
    if tolerance is not ROUNDING or pairs.missing or pairs.extra or apart.odd is not None:
        return None
    ends = partings.original[1][-1], partings.reproduced[1][-1]
    return "another machine" if _ALIKE.allows(*ends) else None


class SeriesWatch:
    """Says while points come in when a series has parted from the original beyond its tolerance.

    What it says stays true whatever follows. Points that are missing are found by `judge_series`
    only, when there are no more to come.

    Attributes:
        parting: where it did, None as long as it has not.
    """

    def __init__(
        self, original: Points, tolerance: Tolerance | None = None, *, is_cut: bool = False
    ) -> None:
        self.parting: Parting | None = None
        self._steps, self._values = original
        self._tolerance = tolerance or NONE
        self._is_cut = is_cut
        self._next = 0
        self._places: dict[int, Iterator[int]] | None = None

    def feed(self, steps: Sequence[int], values: Sequence[float]) -> Parting | None:
        """Take the next points into account, in the order in which they came; return `parting`."""
        for step, value in zip(steps, values, strict=True):
            if self.parting is not None:
                break
            at = self._find(step)
            if at is None and self._is_cut:
                continue
            if at is None:
                self.parting = Parting(step=step, reproduced=json_number(value))
            elif not self._tolerance.allows(self._values[at], value):
                original = json_number(self._values[at])
                self.parting = Parting(step=step, original=original, reproduced=json_number(value))
        return self.parting

    def _find(self, step: int) -> int | None:
        """Return which point of the original has this step, as often seen."""
        if self._places is None:
            at = self._next
            if at < len(self._steps) and self._steps[at] == step:
                # All points so far came in the original's order.
                self._next += 1
                return at
            self._places = places_of(self._steps)
            for seen in self._steps[:at]:
                next(self._places[seen])
        return next(self._places.get(step, iter(())), None)


class _Partings(NamedTuple):
    """Finds the first parting of two series: of values, or of which steps there are."""

    original: Points
    reproduced: Points
    pairs: Pairs

    def first(self, pair: int | None) -> Parting | None:
        """Return the first of this pair, missing and extra points; None if there are none."""
        pairs = self.pairs
        found: list[tuple[int, int, Parting]] = []
        if pair is not None:
            at = pairs.at[pair]
            parting = _parting(self.original[0][at], pairs.x[pair], pairs.y[pair])
            found.append((at, 0, parting))
        if pairs.missing:
            at = pairs.missing[0]
            parting = _parting(self.original[0][at], self.original[1][at], None)
            found.append((at, 1, parting))
        if pairs.extra:
            at = pairs.extra[0]
            parting = _parting(self.reproduced[0][at], None, self.reproduced[1][at])
            found.append((at, 2, parting))
        return min(found)[2] if found else None

    def reason(self, apart: Apart) -> str | None:
        """Return what the numbers do not say."""
        pairs = self.pairs
        parts: list[str] = []
        if pairs.missing:
            total = counted(len(self.original[0]), "point")
            step = self.original[0][pairs.missing[0]]
            parts.append(
                f"{len(pairs.missing)} of {total} missing, the first at step {step}"
                if self.reproduced[0]
                else f"none of its {total} came back"
            )
        if pairs.extra:
            step = self.reproduced[0][pairs.extra[0]]
            parts.append(f"{counted(len(pairs.extra), 'point')} more, the first at step {step}")
        if apart.odd is not None:
            at = apart.odd
            step = self.original[0][pairs.at[at]]
            parts.append(f"{pairs.y[at]!r} at step {step}, which was {pairs.x[at]!r}")
        if not parts and not apart.absolute:
            parts.append("equal numbers, other bits" if apart.first is not None else "other order")
        return "; ".join(parts) or None


def _parting(step: int, original: float | None, reproduced: float | None) -> Parting:
    return Parting(
        step=step,
        original=None if original is None else json_number(original),
        reproduced=None if reproduced is None else json_number(reproduced),
    )
