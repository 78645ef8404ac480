"""Which points of two series belong together: the n-th for a step and the n-th that the other has for it.

Steps may be missing, be repeated, begin anew with each epoch or come in another order.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count, repeat
from typing import Any, NamedTuple, TypeAlias

Points: TypeAlias = tuple["array[int]", "array[float]"]
"""Steps and values in the order in which they came, as `store.metric_log.Series` has them."""

_SPARSE = 4
"""Steps are counted in a table as long as that has at most so many places for each point."""


class Pairs(NamedTuple):
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


def align(original: Points, reproduced: Points, np: Any) -> Pairs:
    """Pair the n-th value for each step with the n-th that the other has for it.

    Args:
        original: steps and values.
        reproduced: the same.
        np: NumPy, or None to do without.
    """
    a, b = original[0], reproduced[0]
    common = min(len(a), len(b))
    if same(a[:common], b[:common]):
        both = range(common)
        x, y = original[1][:common], reproduced[1][:common]
        return Pairs(x, y, both, range(common, len(a)), range(common, len(b)))
    if np is not None:
        return _align_with(np, original, reproduced)
    in_a, in_b = _pair(a, b)
    x = array("d", map(original[1].__getitem__, in_a))
    y = array("d", map(reproduced[1].__getitem__, in_b))
    return Pairs(x, y, in_a, _without(in_a, len(a)), _without(in_b, len(b)))


def _without(places: Sequence[int], count: int) -> Sequence[int]:
    """Return the places below `count` that are not among these, of which each is there once."""
    if len(places) == count:
        return ()
    is_there = bytearray(count)
    for place in places:
        is_there[place] = 1
    return [place for place, there in enumerate(is_there) if not there]


def places_of(steps: Sequence[int]) -> dict[int, Iterator[int]]:
    """Return for each step where it is, in the order in which it came."""
    places: dict[int, list[int]] = {step: [] for step in set(steps)}
    # A loop that stays in C.
    deque(map(list.append, map(places.__getitem__, steps), count()), maxlen=0)
    return {step: iter(found) for step, found in places.items()}


def same(a: array[Any], b: array[Any]) -> bool:
    """Tell whether two arrays have the same bits."""
    return len(a) == len(b) and a.tobytes() == b.tobytes()


def _pair(a: array[int], b: array[int]) -> tuple[Sequence[int], Sequence[int]]:
    """Return where two series have the same step equally often seen, in the order of the first."""
    places = dict(zip(b, range(len(b)), strict=True))
    found: list[int | None]
    if len(places) < len(b) or len(set(a)) < len(a):
        nowhere: Iterator[int] = iter(())
        found = [*map(next, map(places_of(b).get, a, repeat(nowhere)), repeat(None))]
    else:
        found = [*map(places.get, a)]
    in_a = [at for at, place in enumerate(found) if place is not None]
    return in_a, [place for place in found if place is not None]


def _align_with(np: Any, original: Points, reproduced: Points) -> Pairs:
    """Do what `align` does, with NumPy."""

    def taken(values: array[Any], places: Any) -> array[Any]:
        return array(values.typecode, np.asarray(values)[places].tobytes())

    def without(places: Any, count: int) -> array[int]:
        is_left = np.ones(count, bool)
        is_left[places] = False
        return array("q", np.flatnonzero(is_left).tobytes())

    in_a, in_b = _pair_with(np, original[0], reproduced[0])
    return Pairs(
        taken(original[1], in_a),
        taken(reproduced[1], in_b),
        array("q", in_a.tobytes()),
        without(in_a, len(original[0])),
        without(in_b, len(reproduced[0])),
    )


def _pair_with(np: Any, a: array[int], b: array[int]) -> tuple[Any, Any]:
    """Do what `_pair` does, with NumPy."""
    both = np.concatenate([np.asarray(a), np.asarray(b)])
    least, most = int(both.min()), int(both.max())
    if most - least < _SPARSE * len(both):
        codes = both - least
    else:
        _, codes = np.unique(both, return_inverse=True)
    total = int(codes.max()) + 1
    # Numbers of 16 bits are sorted by their digits, ten times as fast.
    codes = codes.astype(np.uint16 if total <= 1 << 16 else np.int64)
    sides = [_by_step(np, part, total) for part in (codes[: len(a)], codes[len(a) :])]
    (order, step, begins), (other_order, _, other_begins) = sides
    counts = np.minimum(np.diff(begins), np.diff(other_begins))
    nth = np.arange(len(a)) - begins[step]
    has_partner = nth < counts[step]
    partners = np.full(len(a), -1)
    partners[order[has_partner]] = other_order[(other_begins[step] + nth)[has_partner]]
    in_a = np.flatnonzero(partners >= 0)
    return in_a, partners[in_a]


def _by_step(np: Any, codes: Any, total: int) -> tuple[Any, Any, Any]:
    """Return the places ordered by step, the step of each, and where each step begins there."""
    order = np.argsort(codes, kind="stable")
    begins = np.zeros(total + 1, np.int64)
    np.cumsum(np.bincount(codes, minlength=total), out=begins[1:])
    return order, codes[order].astype(np.int64), begins
