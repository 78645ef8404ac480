"""Compare a metric's series with the original, step by step: where they part, and how far they do.

The n-th value that a series has for a step is compared with the n-th that the other has for it:
steps may be missing, be repeated, begin anew with each epoch or come in another order. Nothing is
averaged, smoothed or left out. NumPy is used where `store.metric_block` uses it, to the same bits.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import count
from operator import ne, sub, truediv
from typing import Any, NamedTuple, TypeAlias

from reenact.judge.tolerance import EPSILON, NONE, ROUNDING, Tolerance
from reenact.model.metrics import json_number
from reenact.model.verdict import Expectation, Parting, SeriesVerdict, Verdict
from reenact.model.words import counted
from reenact.store.metric_block import numpy_for

Points: TypeAlias = tuple["array[int]", "array[float]"]
"""Steps and values in the order in which they came, as `store.metric_log.Series` has them."""

_LEAST = -(2**63)
_PIECE = 1 << 16
_ALIKE = Tolerance(relative=0.01)


def judge_series(
    name: str,
    original: Points,
    reproduced: Points,
    tolerance: Tolerance | None = None,
    *,
    expectation: Expectation = Expectation.IDENTICAL,
) -> SeriesVerdict:
    """Compare two series of a metric.

    Identical are series with the same steps in the same order and values of equal bits. Within
    tolerance are those of the same steps whose values are allowed; without a tolerance, equal
    numbers are, such as 0.0 and -0.0. All others differ, unless no more can be expected:

    * of another machine, where nobody said what is tolerated, `tolerance.ROUNDING` is; beyond it
      the series is inconclusive as long as it ends within 1 % of the original's end;
    * of another seed, it is inconclusive.
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
    if _same(steps, reproduced[0]) and _same(values, reproduced[1]):
        return SeriesVerdict(verdict=Verdict.IDENTICAL, **common)  # type: ignore[arg-type]
    np = numpy_for(len(values) + len(reproduced[1]))
    pairs = _align(original, reproduced, np)
    apart = _measure(pairs.x, pairs.y, tolerance or NONE, np)
    partings = _Partings(original, reproduced, pairs)
    reason = partings.reason(apart)
    beyond = partings.first(apart.beyond)
    verdict = Verdict.WITHIN_TOLERANCE if beyond is None else Verdict.DIFFERS
    if verdict is Verdict.DIFFERS and (why := _why_unsure(partings, apart, tolerance, expectation)):
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
    apart: _Apart,
    tolerance: Tolerance | None,
    expectation: Expectation,
) -> str | None:
    """Return why a series that is not the original may be as good; None where it is not."""
    if tolerance in (None, ROUNDING) and expectation is Expectation.STATISTICS:
        return "another seed"
    pairs = partings.pairs
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

    def __init__(self, original: Points, tolerance: Tolerance | None = None) -> None:
        self.parting: Parting | None = None
        self._steps, self._values = original
        self._tolerance = tolerance or NONE
        self._next = 0
        self._positions: dict[int, int] | None = None
        self._seen: Counter[int] = Counter()

    def feed(self, steps: Sequence[int], values: Sequence[float]) -> Parting | None:
        """Take the next points into account, in the order in which they came; return `parting`."""
        for step, value in zip(steps, values, strict=True):
            if self.parting is not None:
                break
            at = self._find(step)
            if at is None:
                self.parting = Parting(step=step, reproduced=json_number(value))
            elif not self._tolerance.allows(self._values[at], value):
                original = json_number(self._values[at])
                self.parting = Parting(step=step, original=original, reproduced=json_number(value))
        return self.parting

    def _find(self, step: int) -> int | None:
        """Return which point of the original has this step, as often seen."""
        if self._positions is None:
            at = self._next
            if at < len(self._steps) and self._steps[at] == step:
                # All points so far came in the original's order.
                self._next += 1
                return at
            keys = _keys(self._steps, len(self._steps))
            self._positions = {key: place for place, key in enumerate(keys)}
            self._seen.update(self._steps[:at])
        seen = self._seen[step]
        self._seen[step] += 1
        return (
            self._positions.get(step * len(self._steps) + seen) if seen < len(self._steps) else None
        )


# --- alignment ---


class _Pairs(NamedTuple):
    """Values that belong together, and points that belong to none.

    Attributes:
        x: values of the original.
        y: values of the reproduction, one for each.
        at: where each is in the original, rising.
        missing: where the original has points that the reproduction has not, rising.
        extra: where the reproduction has points that the original has not, rising.
    """

    x: array[float]
    y: array[float]
    at: Sequence[int]
    missing: Sequence[int]
    extra: Sequence[int]


def _align(original: Points, reproduced: Points, np: Any) -> _Pairs:
    a, b = original[0], reproduced[0]
    common = min(len(a), len(b))
    if _same(a[:common], b[:common]):
        both = range(common)
        x, y = original[1][:common], reproduced[1][:common]
        return _Pairs(x, y, both, range(common, len(a)), range(common, len(b)))
    in_a, in_b = _pair(a, b) if np is None else _pair_with(np, a, b)
    x = array("d", map(original[1].__getitem__, in_a))
    y = array("d", map(reproduced[1].__getitem__, in_b))
    return _Pairs(x, y, in_a, _without(in_a, len(a)), _without(in_b, len(b)))


def _without(places: Sequence[int], count: int) -> list[int]:
    """Return the places below `count` that are not among these."""
    is_there = bytearray(count)
    for place in places:
        is_there[place] = 1
    return [place for place, there in enumerate(is_there) if not there]


def _pair(a: array[int], b: array[int]) -> tuple[Sequence[int], Sequence[int]]:
    """Return where two series have the same step equally often seen, in the order of the first."""
    keys: Sequence[int] = a
    places = dict(zip(b, range(len(b)), strict=True))
    if len(places) < len(b) or len(set(a)) < len(a):
        most = max(len(a), len(b))
        keys = _keys(a, most)
        places = dict(zip(_keys(b, most), range(len(b)), strict=True))
    found = [*map(places.get, keys)]
    in_a = [at for at, place in enumerate(found) if place is not None]
    return in_a, [place for place in found if place is not None]


def _pair_with(np: Any, a: array[int], b: array[int]) -> tuple[Sequence[int], Sequence[int]]:
    """Do what `_pair` does, with NumPy."""
    keys = [np.asarray(a), np.asarray(b)]
    if not all((part[1:] > part[:-1]).all() for part in keys):
        _, key_of = np.unique(np.concatenate(keys), return_inverse=True)
        keys = [_keys_with(np, part, len(key_of)) for part in (key_of[: len(a)], key_of[len(a) :])]
    _, in_a, in_b = np.intersect1d(*keys, assume_unique=True, return_indices=True)
    order = np.argsort(in_a)
    return array("q", in_a[order].tobytes()), array("q", in_b[order].tobytes())


def _keys_with(np: Any, steps: Any, most: int) -> Any:
    """Do what `_keys` does, of steps that are less than `most`."""
    order = np.argsort(steps, kind="stable")
    ordered = steps[order]
    at = np.arange(len(steps))
    is_first = np.append(True, ordered[1:] != ordered[:-1])[: len(steps)]
    occurrences = np.empty_like(at)
    occurrences[order] = at - np.maximum.accumulate(np.where(is_first, at, 0))
    return steps * most + occurrences


def _keys(steps: Iterable[int], most: int) -> list[int]:
    """Return a number of its own for each step and how often it was there before: < `most`."""
    seen = defaultdict[int, "count[int]"](count)
    return [step * most + next(seen[step]) for step in steps]


# --- values ---


class _Apart(NamedTuple):
    """How far values are apart; numbers of pairs, None where there is no such pair.

    Attributes:
        first: the first whose bits differ.
        beyond: the first that is not allowed.
        odd: the first in which one is no finite number, and the other is another one.
        absolute: of finite numbers, like all that follow.
    """

    first: int | None = None
    beyond: int | None = None
    odd: int | None = None
    absolute: float = 0.0
    relative: float = 0.0
    ulps: int = 0


def _measure(x: array[float], y: array[float], tolerance: Tolerance, np: Any) -> _Apart:
    whole = _Apart()
    for start in range(0, len(x), _PIECE):
        part_x, part_y = x[start : start + _PIECE], y[start : start + _PIECE]
        if _same(part_x, part_y):
            continue
        if np is None:
            part = _measure_split(part_x, part_y, tolerance)
        else:
            part = _measure_with(np, part_x, part_y, tolerance)
        first, beyond, odd = (None if at is None else start + at for at in part[:3])
        if whole.first is None:
            at = next(at for at, bits in enumerate(map(ne, _bits(part_x), _bits(part_y))) if bits)
            first = start + at
        whole = _Apart(
            first=first if whole.first is None else whole.first,
            beyond=beyond if whole.beyond is None else whole.beyond,
            odd=odd if whole.odd is None else whole.odd,
            absolute=max(whole.absolute, part.absolute),
            relative=max(whole.relative, part.relative),
            ulps=max(whole.ulps, part.ulps),
        )
    return whole


def _measure_split(x: array[float], y: array[float], tolerance: Tolerance) -> _Apart:
    """Measure what is finite, and find what is not."""
    if math.isfinite(sum(map(sub, x, y))):
        return _measure_plain(x, y, tolerance) or _measure_finite(x, y, tolerance)
    finite = math.isfinite
    pairs = list(zip(x, y, strict=True))
    places = [at for at, (p, q) in enumerate(pairs) if finite(p) and finite(q)]
    odd = next(
        (
            at
            for at, (p, q) in enumerate(pairs)
            # Not equal, and not both NaN.
            if not (finite(p) and finite(q)) and p != q and (p == p or q == q)
        ),
        None,
    )
    part_x, part_y = (array("d", map(values.__getitem__, places)) for values in (x, y))
    apart = _Apart()
    if places:
        found = _measure_plain(part_x, part_y, tolerance)
        apart = found or _measure_finite(part_x, part_y, tolerance)
    beyond = None if apart.beyond is None else places[apart.beyond]
    first = min((at for at in (beyond, odd) if at is not None), default=None)
    return apart._replace(beyond=first, odd=odd)


def _measure_plain(x: array[float], y: array[float], tolerance: Tolerance) -> _Apart | None:
    """Measure finite numbers in passes that stay in C; None if there is any zero or another sign."""
    apart = list(map(sub, x, y))
    try:
        quotients = list(map(truediv, apart, x))
    except ZeroDivisionError:
        return None
    # A number of another sign is further off than x; of an infinite quotient y is far larger.
    if not math.isfinite(sum(quotients)) or max(quotients) >= 1:
        return None
    largest = _largest(quotients)
    if not largest:
        return _Apart()
    # The larger of two magnitudes may be that of y. Only these can have the largest quotient then;
    # a little less, since they are rounded.
    least = (1 - 1e-15) / (1 + 1 / largest)
    relative = max(
        _quotient(x[at], y[at]) for at, q in enumerate(quotients) if q >= least or -q >= least
    )
    # Numbers of one sign are as many floats apart as their bits are, read as integers.
    between = list(map(sub, _bits(x), _bits(y)))
    return _Apart(
        beyond=_find_beyond(x, y, apart, quotients, tolerance, relative),
        absolute=_largest(apart),
        relative=relative,
        ulps=_largest(between),
    )


def _measure_finite(x: array[float], y: array[float], tolerance: Tolerance) -> _Apart:
    """Measure finite numbers of any sign."""
    apart = list(map(sub, x, y))
    pairs = zip(map(abs, x), map(abs, y), strict=True)
    larger = [p if p > q else q for p, q in pairs]  # noqa: FURB136  twice as fast as max
    # Where both are zero, so is what they are apart.
    quotients = [d / most if most else 0.0 for d, most in zip(apart, larger, strict=True)]
    absolute = _largest(apart)
    relative = _largest(quotients)
    if math.isinf(absolute):
        relative = max(map(_quotient, x, y))
    places = ([bits if bits >= 0 else _LEAST - bits for bits in _bits(values)] for values in (x, y))
    return _Apart(
        beyond=_find_beyond(x, y, apart, quotients, tolerance, relative),
        absolute=absolute,
        relative=relative,
        ulps=_largest(list(map(sub, *places))),
    )


def _find_beyond(
    x: array[float],
    y: array[float],
    apart: list[float],
    quotients: list[float],
    tolerance: Tolerance,
    relative: float,
) -> int | None:
    """Return the first pair that is not allowed; `quotients` are at least their true ones."""
    bound, share = tolerance.absolute, tolerance.relative
    if relative <= share:
        return None
    for at, (d, q) in enumerate(zip(apart, quotients, strict=True)):
        is_suspect = (d > bound or -d > bound) and (q > share or -q > share)
        if is_suspect and not tolerance.allows(x[at], y[at]):
            return at
    return None


def _measure_with(np: Any, x: array[float], y: array[float], tolerance: Tolerance) -> _Apart:
    """Do what `_measure_split` does, with NumPy."""
    p, q = np.asarray(x), np.asarray(y)
    bits_p, bits_q = p.view(np.int64), q.view(np.int64)
    with np.errstate(all="ignore"):
        is_finite = np.isfinite(p) & np.isfinite(q)
        is_odd = (bits_p != bits_q) & ~is_finite & ~(np.isnan(p) & np.isnan(q))
        apart = np.where(is_finite, np.abs(p - q), 0.0)
        larger = np.maximum(np.abs(p), np.abs(q))
        quotients = np.where(apart > 0, apart / larger, 0.0)
        if np.isinf(apart).any():
            quotients = np.where(np.isinf(apart), np.abs(p / larger - q / larger), quotients)
        limits = np.maximum(tolerance.absolute, tolerance.relative * larger)
        limits = np.where(limits > 0, limits + EPSILON * larger, 0.0)
        is_beyond = is_odd | (is_finite & (apart > limits))
        order = [np.where(bits < 0, _LEAST - bits, bits) for bits in (bits_p, bits_q)]
        # Two of them may be further apart than an int64 says, and never than an uint64.
        least, most = (choose(*order).view(np.uint64) for choose in (np.minimum, np.maximum))
        between = np.where(is_finite, most - least, np.uint64(0))
    return _Apart(
        beyond=_first_true(is_beyond),
        odd=_first_true(is_odd),
        absolute=float(apart.max()),
        relative=float(quotients.max()),
        ulps=int(between.max()),
    )


def _first_true(values: Any) -> int | None:
    at = int(values.argmax())
    return at if values[at] else None


def _largest(numbers: list[Any]) -> Any:
    """Return the largest magnitude."""
    return max((max(numbers), -min(numbers)))


def _quotient(p: float, q: float) -> float:
    """Return how far finite numbers are apart as a part of the larger magnitude."""
    apart = abs(p - q)
    larger = max(abs(p), abs(q))
    if not apart:
        return 0.0
    return apart / larger if apart < math.inf else abs(p / larger - q / larger)


def _bits(values: array[float]) -> array[int]:
    return array("q", values.tobytes())


def _same(a: array[Any], b: array[Any]) -> bool:
    return len(a) == len(b) and a.tobytes() == b.tobytes()


# --- what is said ---


class _Partings(NamedTuple):
    """Finds the first parting of two series: of values, or of which steps there are."""

    original: Points
    reproduced: Points
    pairs: _Pairs

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

    def reason(self, apart: _Apart) -> str | None:
        """Return what the numbers do not say."""
        pairs = self.pairs
        parts: list[str] = []
        if pairs.missing:
            total = counted(len(self.original[0]), "point")
            step = self.original[0][pairs.missing[0]]
            parts.append(f"{len(pairs.missing)} of {total} missing, the first at step {step}")
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
