"""Compare arrays of numbers: how many differ, by how much, and where first.

NumPy is used where it is there and many numbers differ; the result is the same without it.
"""

from __future__ import annotations

import itertools
import math
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reenact.judge.outputs.source import blocks
from reenact.judge.outputs.values import Numbers

_MANY = 4096
# Kind -> code of `struct` and `memoryview.cast` for a number, for its bits, and the sign's bit.
_FLOATS = {
    "float16": ("e", "H", 1 << 15),
    "bfloat16": ("f", "H", 1 << 15),
    "float32": ("f", "I", 1 << 31),
    "float64": ("d", "Q", 1 << 63),
    "complex64": ("f", "I", 1 << 31),
    "complex128": ("d", "Q", 1 << 63),
}
_INTEGERS = {
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "uint8": "B",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
    "bool": "?",
}
ITEM_BYTES = {
    **{kind: 2 if code in "eH" else 4 for kind, (code, _, _) in _FLOATS.items()},
    **{kind: struct.calcsize(code) for kind, code in _INTEGERS.items()},
    "bfloat16": 2,
    "float64": 8,
    "complex64": 8,
    "complex128": 16,
}
"""How many bytes a number of each kind has."""


@dataclass(slots=True)
class Figures:
    """The largest differences seen, and how many.

    Attributes:
        absolute: -1 where no numbers that differ were seen.
        ulps: units in the last place, of the floats; -1 likewise.
    """

    compared: int = 0
    differing: int = 0
    beyond: int = 0
    absolute: float = -1.0
    relative: float = -1.0
    ulps: int = -1

    def add(self, other: Figures) -> None:
        """Take the figures of another part in."""
        self.compared += other.compared
        self.differing += other.differing
        self.beyond += other.beyond
        self.absolute = max(self.absolute, other.absolute)
        self.relative = max(self.relative, other.relative)
        self.ulps = max(self.ulps, other.ulps)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two numbers of one place; `index` counts the elements before it."""

    index: int
    original: Any
    reproduced: Any


@dataclass(slots=True)
class ArrayDifference:
    """What the comparison of two arrays came to."""

    figures: Figures
    first: Pair | None = None
    first_beyond: Pair | None = None


def compare_pair(
    original: float, reproduced: float, tolerance: tuple[float, float], figures: Figures
) -> bool:
    """Compare two numbers of Python, floats as doubles; return whether that is tolerated."""
    figures.compared += 1
    if original == reproduced or (original != original and reproduced != reproduced):
        return True
    are_floats = isinstance(original, float) and isinstance(reproduced, float)
    ulps = -1
    if are_floats and math.isfinite(original) and math.isfinite(reproduced):
        bits = struct.unpack("<QQ", struct.pack("<dd", original, reproduced))
        ulps = _distance(bits[0], bits[1], 1 << 63)
    return _note(original, reproduced, ulps, tolerance, figures)


def _note(
    original: float,
    reproduced: float,
    ulps: int,
    tolerance: tuple[float, float],
    figures: Figures,
) -> bool:
    """Note two numbers that differ; return whether that is tolerated."""
    figures.differing += 1
    figures.ulps = max(figures.ulps, ulps)
    try:
        absolute = float(abs(reproduced - original))
        magnitude = float(max(abs(original), abs(reproduced)))
        allowed = tolerance[1] + tolerance[0] * abs(original)
    except OverflowError:
        absolute = magnitude = math.inf
        allowed = 0.0
    if absolute == absolute:
        figures.absolute = max(figures.absolute, absolute)
        if math.isfinite(magnitude) and magnitude > 0:
            figures.relative = max(figures.relative, absolute / magnitude)
        if math.isfinite(absolute) and absolute <= allowed:
            return True
    figures.beyond += 1
    return False


def _distance(first: int, second: int, sign: int) -> int:
    """Return how many floats lie between two, of which the bits are given."""
    one = -(first ^ sign) if first & sign else first
    other = -(second ^ sign) if second & sign else second
    return abs(one - other)


def compare_arrays(
    original: Numbers, reproduced: Numbers, tolerance: tuple[float, float]
) -> ArrayDifference:
    """Compare two arrays of one kind and shape; the tolerance is relative, absolute."""
    found = ArrayDifference(Figures(compared=math.prod(original.shape)))
    per_element = 2 if original.kind.startswith("complex") else 1
    size = ITEM_BYTES.get(original.kind, original.itemsize) // per_element
    start = 0
    others = blocks(reproduced.source, size)
    for block in blocks(original.source, size):
        counterpart = next(others, b"")
        if block != counterpart:
            count = min(len(block), len(counterpart)) // size
            for part in _differing_parts(block, counterpart, size):
                stretch = slice(part.start * size, part.stop * size)
                one = _in_order(block[stretch], size, original.is_big_endian)
                other = _in_order(counterpart[stretch], size, reproduced.is_big_endian)
                if original.kind in ITEM_BYTES:
                    _compare(original.kind, one, other, start + part.start, tolerance, found)
                else:
                    _compare_items(size, one, other, start + part.start, found)
            if len(block) != len(counterpart):
                place = Pair((start + count) // per_element, None, None)
                found.first_beyond = found.first_beyond or place
                found.figures.beyond += 1
        start += len(block) // size
    if per_element == 2:
        found.first = _halved(found.first)
        found.first_beyond = _halved(found.first_beyond)
    return found


def _halved(pair: Pair | None) -> Pair | None:
    return pair and Pair(pair.index // 2, pair.original, pair.reproduced)


def _differing_parts(block: bytes, counterpart: bytes, size: int) -> Iterator[range]:
    """Yield the stretches, in elements, outside of which the bytes are equal."""
    step = 8192
    total = min(len(block), len(counterpart)) // size
    one, other = memoryview(block), memoryview(counterpart)
    begin: int | None = None
    for at in range(0, total, step):
        end = min(at + step, total)
        if one[at * size : end * size] == other[at * size : end * size]:
            if begin is not None:
                yield range(begin, at)
                begin = None
        elif begin is None:
            begin = at
    if begin is not None:
        yield range(begin, total)


def _in_order(data: bytes, size: int, is_big_endian: bool) -> bytes:
    if not is_big_endian or size == 1:
        return data
    turned = bytearray(len(data))
    for place in range(size):
        turned[place::size] = data[size - 1 - place :: size]
    return bytes(turned)


def _compare(
    kind: str,
    one: bytes,
    other: bytes,
    start: int,
    tolerance: tuple[float, float],
    found: ArrayDifference,
) -> None:
    """Compare little-endian elements, the first of which is number `start` of the array."""
    if kind in _FLOATS and len(one) >= _MANY * 8:
        numpy = _numpy()
        if numpy is not None:
            _compare_vectors(numpy, kind, one, other, start, tolerance, found)
            return
    sign = 0
    bits: Iterator[tuple[int, int]] = itertools.repeat((0, 0))
    if kind in _FLOATS:
        _, code, sign = _FLOATS[kind]
        bits = zip(_cast(one, code), _cast(other, code), strict=True)
    values = zip(decode(kind, one), decode(kind, other), strict=True)
    for index, (original, reproduced) in enumerate(values, start):
        pair_bits = next(bits)
        if original == reproduced or (original != original and reproduced != reproduced):
            continue
        ulps = -1
        if sign and math.isfinite(original) and math.isfinite(reproduced):
            ulps = _distance(pair_bits[0], pair_bits[1], sign)
        tolerated = (0.0, 0.0) if kind == "bool" else tolerance
        is_tolerated = _note(original, reproduced, ulps, tolerated, found.figures)
        if found.first is None:
            found.first = Pair(index, original, reproduced)
        if found.first_beyond is None and not is_tolerated:
            found.first_beyond = Pair(index, original, reproduced)


def _compare_items(size: int, one: bytes, other: bytes, start: int, found: ArrayDifference) -> None:
    """Compare elements of an unknown kind, which are the same or are not."""
    for index in range(len(one) // size):
        original = one[index * size : (index + 1) * size]
        reproduced = other[index * size : (index + 1) * size]
        if original != reproduced:
            found.figures.differing += 1
            found.figures.beyond += 1
            pair = Pair(start + index, original, reproduced)
            found.first = found.first or pair
            found.first_beyond = found.first_beyond or pair


def decode(kind: str, data: bytes) -> Sequence[Any]:
    """Return the numbers in little-endian bytes; of complex ones both halves."""
    if kind == "bfloat16":
        wide = bytearray(2 * len(data))
        wide[2::4] = data[0::2]
        wide[3::4] = data[1::2]
        return _cast(bytes(wide), "f")
    if kind == "float16":
        return struct.unpack(f"<{len(data) // 2}e", data)
    if kind in _FLOATS:
        return _cast(data, _FLOATS[kind][0])
    return _cast(data, _INTEGERS[kind])


def _cast(data: bytes, code: str) -> Sequence[Any]:
    if sys.byteorder == "little" and code != "?":
        return memoryview(data).cast(code)  # type: ignore[call-overload,no-any-return]  # the code is one of a table
    return struct.unpack(f"<{len(data) // struct.calcsize(code)}{code}", data)


def _numpy() -> Any:
    try:
        import numpy  # noqa: ICN001  # the name of a library that may be missing is written out
    except ImportError:
        return None
    return numpy


def _compare_vectors(
    numpy: Any,
    kind: str,
    one: bytes,
    other: bytes,
    start: int,
    tolerance: tuple[float, float],
    found: ArrayDifference,
) -> None:
    """Do for floats what `_compare` does."""
    _, code, sign = _FLOATS[kind]
    unsigned = {"H": "<u2", "I": "<u4", "Q": "<u8"}[code]
    bits = [numpy.frombuffer(data, unsigned) for data in (one, other)]
    if kind == "bfloat16":
        values = [(part.astype("<u4") << 16).view("<f4") for part in bits]
    else:
        floating = {"H": "<f2", "I": "<f4", "Q": "<f8"}[code]
        values = [part.view(floating) for part in bits]
    is_nan = [numpy.isnan(part) for part in values]
    places = numpy.flatnonzero(~((values[0] == values[1]) | (is_nan[0] & is_nan[1])))
    if not len(places):
        return
    original, reproduced = (part[places].astype("<f8") for part in values)
    figures = found.figures
    with numpy.errstate(all="ignore"):
        absolute = numpy.abs(reproduced - original)
        magnitude = numpy.maximum(numpy.abs(original), numpy.abs(reproduced))
        finite = numpy.isfinite(magnitude)
        allowed = tolerance[1] + tolerance[0] * numpy.abs(original)
        beyond = ~(finite & numpy.isfinite(absolute) & (absolute <= allowed))
        if not numpy.isnan(absolute).all():
            figures.absolute = max(figures.absolute, float(numpy.nanmax(absolute)))
        if finite.any():
            ratio = absolute[finite] / magnitude[finite]
            figures.relative = max(figures.relative, float(ratio.max()))
            near = [part[places][finite].astype("<u8") for part in bits]
            ulps = _distances(numpy, near[0], near[1], sign)
            figures.ulps = max(figures.ulps, int(ulps.max()))
    figures.differing += len(places)
    figures.beyond += int(beyond.sum())
    if found.first is None:
        found.first = Pair(start + int(places[0]), float(original[0]), float(reproduced[0]))
    if found.first_beyond is None and beyond.any():
        at = int(numpy.argmax(beyond))
        index = start + int(places[at])
        found.first_beyond = Pair(index, float(original[at]), float(reproduced[at]))


def _distances(numpy: Any, one: Any, other: Any, sign: int) -> Any:
    """Return how many floats lie between those of two arrays of bits, as unsigned 64 bits."""
    mask = numpy.uint64(sign)
    same = (one & mask) == (other & mask)
    near = one & ~mask, other & ~mask
    apart = numpy.maximum(*near) - numpy.minimum(*near)
    return numpy.where(same, apart, near[0] + near[1])
