"""Points as columns: what a piece of any metric file is in memory.

Columns are `array.array`: `numpy.asarray` of one costs nothing. NumPy itself is used where it is
loaded already, or where there are so many points that loading it pays; nothing needs it.
Not covered: big-endian machines.
"""

from __future__ import annotations

import importlib
import sys
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import compress
from struct import Struct
from typing import Any, NamedTuple

RECORD = Struct("<qqdII")
"""Time, step, value, number of the name, marker."""
MARKER = int.from_bytes(b"rnt1", "little")
BLOCK_POINTS = 1 << 16
"""Files are read and written in pieces of so many points: their columns stay in the cache."""

_MARKER_BYTES = MARKER.to_bytes(4, "little")
_NUMPY_FROM = 400_000
_UINT16 = 1 << 16


class Block(NamedTuple):
    """Points in the order in which they came, a column for each property."""

    numbers: array[int]
    times_ns: array[int]
    steps: array[int]
    values: array[float]

    @classmethod
    def of(cls, columns: Iterable[array[Any]]) -> Block:
        """Make a block of its four columns."""
        return cls._make(columns)

    def columns(self) -> tuple[array[Any], ...]:
        """Return the columns in their order."""
        return tuple(self)

    def where(self, chosen: list[bool]) -> Block:
        """Return the points at which `chosen` is true."""
        return Block.of(array(c.typecode, compress(c, chosen)) for c in self.columns())

    def without_first(self, count: int) -> Block:
        """Return all points but the first ones."""
        return Block.of(column[count:] for column in self.columns()) if count else self


def unpack(data: bytes, np: Any = None) -> tuple[Block, int]:
    """Return the points in whole records, and how many of the records are no points.

    Args:
        data: the records.
        np: what `numpy_for` returned.
    """
    count = len(data) // RECORD.size
    longs: Any = memoryview(data).cast("q")
    words: Any = memoryview(data).cast("I")
    if np is not None:
        # The same columns: NumPy copies them ten times as fast.
        longs, words = np.asarray(longs), np.asarray(words)
    if words[7::8].tobytes() != _MARKER_BYTES * count:
        good = [fields for fields in RECORD.iter_unpack(data) if fields[4] == MARKER]
        return unpack(b"".join(RECORD.pack(*fields) for fields in good))[0], count - len(good)
    return Block(
        _to_array("I", words[6::8]),
        _to_array("q", longs[0::4]),
        _to_array("q", longs[1::4]),
        _to_array("d", longs[2::4]),
    ), 0


def pack(block: Block) -> bytearray:
    """Return points as records."""
    data = bytearray(len(block.numbers) * RECORD.size)
    view = memoryview(data)
    longs, words = view.cast("q"), view.cast("I")
    longs[0::4] = memoryview(block.times_ns)
    longs[1::4] = memoryview(block.steps)
    view.cast("d")[2::4] = memoryview(block.values)
    words[6::8] = memoryview(block.numbers)
    words[7::8] = memoryview(array("I", _MARKER_BYTES * len(block.numbers)))
    return data


def numpy_for(points: int) -> Any:
    """Return NumPy if it is there and worth its loading for so many points, else None."""
    loaded = sys.modules.get("numpy")
    if loaded is not None or points < _NUMPY_FROM:
        return loaded
    try:
        return importlib.import_module("numpy")
    except ImportError:
        return None


def largest(numbers: array[int]) -> int:
    """Return the largest of the numbers; 0 if there are none."""
    np = sys.modules.get("numpy")
    if np is not None and numbers:
        return int(np.asarray(numbers).max())
    return max(numbers, default=0)


def pick(block: Block, wanted: Collection[int], np: Any) -> Block:
    """Return the points whose names have these numbers."""
    if np is None:
        return block.where([number in wanted for number in block.numbers])
    mask = np.isin(np.asarray(block.numbers), list(wanted))
    if mask.all():
        return block
    return Block.of(_to_array(c.typecode, np.asarray(c)[mask]) for c in block.columns())


def regroup(block: Block, groups: Sequence[int], np: Any) -> Block:
    """Return the same points with other numbers: `groups[n]` in place of n."""
    if np is None:
        return block._replace(numbers=array("I", map(groups.__getitem__, block.numbers)))
    table = np.asarray(groups, dtype=np.uint32)
    return block._replace(numbers=_to_array("I", table[np.asarray(block.numbers)]))


class Columns(NamedTuple):
    """Points of one name. Columns are arrays or NumPy arrays: they have `tolist` and a buffer."""

    times_ns: Any
    steps: Any
    values: Any


def split(block: Block, np: Any) -> Iterator[tuple[int, Columns]]:
    """Yield the points of each name, by the name's number."""
    if len(block.numbers) == 0:
        return
    if np is None:
        yield from _split_slowly(block)
        return
    numbers = np.asarray(block.numbers)
    if (numbers == numbers[0]).all():
        yield block.numbers[0], Columns(*block[1:])
        return
    # Of small integers NumPy's stable sort is a radix sort.
    small = numbers.astype(np.uint16) if int(numbers.max()) < _UINT16 else numbers
    order = np.argsort(small, kind="stable")
    ordered = numbers[order]
    ends = [*(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1).tolist(), len(ordered)]
    times_ns, steps, values = (np.asarray(column)[order] for column in block[1:])
    start = 0
    for end in ends:
        part = slice(start, end)
        yield int(ordered[start]), Columns(times_ns[part], steps[part], values[part])
        start = end


def _split_slowly(block: Block) -> Iterator[tuple[int, Columns]]:
    distinct = dict.fromkeys(block.numbers)
    if len(distinct) == 1:
        yield block.numbers[0], Columns(*block[1:])
        return
    times: dict[int, list[int]] = {number: [] for number in distinct}
    steps: dict[int, list[int]] = {number: [] for number in distinct}
    values: dict[int, list[float]] = {number: [] for number in distinct}
    for number, time_ns, step, value in zip(*block, strict=True):
        times[number].append(time_ns)
        steps[number].append(step)
        values[number].append(value)
    for number in distinct:
        yield (
            number,
            Columns(
                array("q", times[number]),
                array("q", steps[number]),
                array("d", values[number]),
            ),
        )


def _to_array(code: str, column: Any) -> array[Any]:
    made = array(code)
    made.frombytes(column.tobytes())
    return made
