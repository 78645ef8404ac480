"""How far the values of two series are apart: absolute, relative, in floats between them.

NumPy is used where there is one, and comes to the same bits as what does without.
"""

from __future__ import annotations

import math
from array import array
from operator import ne, sub, truediv
from typing import Any, NamedTuple

from reenact.judge.alignment import same
from reenact.judge.tolerance import EPSILON, Tolerance

_LEAST = -(2**63)
_PIECE = 1 << 16


class Apart(NamedTuple):
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


def measure(x: array[float], y: array[float], tolerance: Tolerance, np: Any) -> Apart:
    """Compare values pair by pair.

    Args:
        x: of the original.
        y: of the reproduction.
        tolerance: what is allowed.
        np: NumPy, or None to do without.
    """
    whole = Apart()
    for start in range(0, len(x), _PIECE):
        part_x, part_y = x[start : start + _PIECE], y[start : start + _PIECE]
        if same(part_x, part_y):
            continue
        if np is None:
            part = _measure_split(part_x, part_y, tolerance)
        else:
            part = _measure_with(np, part_x, part_y, tolerance)
        first, beyond, odd = (None if at is None else start + at for at in part[:3])
        if whole.first is None:
            at = next(at for at, bits in enumerate(map(ne, _bits(part_x), _bits(part_y))) if bits)
            first = start + at
        whole = Apart(
            first=first if whole.first is None else whole.first,
            beyond=beyond if whole.beyond is None else whole.beyond,
            odd=odd if whole.odd is None else whole.odd,
            absolute=max(whole.absolute, part.absolute),
            relative=max(whole.relative, part.relative),
            ulps=max(whole.ulps, part.ulps),
        )
    return whole


def _measure_split(x: array[float], y: array[float], tolerance: Tolerance) -> Apart:
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
    apart = Apart()
    if places:
        found = _measure_plain(part_x, part_y, tolerance)
        apart = found or _measure_finite(part_x, part_y, tolerance)
    beyond = None if apart.beyond is None else places[apart.beyond]
    first = min((at for at in (beyond, odd) if at is not None), default=None)
    return apart._replace(beyond=first, odd=odd)


def _measure_plain(x: array[float], y: array[float], tolerance: Tolerance) -> Apart | None:
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
        return Apart()
    # The larger of two magnitudes may be that of y. Only these can have the largest quotient then;
    # a little less, since they are rounded.
    least = (1 - 1e-15) / (1 + 1 / largest)
    relative = max(
        _quotient(x[at], y[at]) for at, q in enumerate(quotients) if q >= least or -q >= least
    )
    # Numbers of one sign are as many floats apart as their bits are, read as integers.
    between = list(map(sub, _bits(x), _bits(y)))
    return Apart(
        beyond=_find_beyond(x, y, apart, quotients, tolerance, relative),
        absolute=_largest(apart),
        relative=relative,
        ulps=_largest(between),
    )


def _measure_finite(x: array[float], y: array[float], tolerance: Tolerance) -> Apart:
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
    return Apart(
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


def _measure_with(np: Any, x: array[float], y: array[float], tolerance: Tolerance) -> Apart:
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
    return Apart(
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
