"""The points of a large run that has ended, without any library: `metrics.columns`.

A file is a header and blocks. The header is 16 bytes: `rntcols1` and the number of points (uint64).
A block is a header of 16 bytes and a body: the marker `rntb`, number of points, length of the body,
CRC-32 of the body (uint32 each). Everything is little-endian.

A body has four columns: numbers of names (uint32), times and steps (int64), values (float64). A
column is cut into planes, the first bytes of all its elements, then the second ones, and so on: 28
planes of as many bytes as the block has points. The body begins with 29 uint32: a word whose bit 0
says that times, bit 1 that steps are differences, each element to the one before, the first to 0;
then the length of each plane. A plane that is as long as there are points is there as it is; one of
a single byte is that byte over and over; any other one is compressed by zlib.

Values are noise in their last bytes and alike in their first ones, times grow by little: in planes
and differences that is what a compressor finds.
"""

from __future__ import annotations

import os
import zlib
from array import array
from collections.abc import Iterable, Iterator
from itertools import accumulate
from operator import sub
from struct import Struct, error
from typing import Any, BinaryIO

from reenact.errors import Damaged
from reenact.store.metric_block import Block, numpy_for

_MAGIC = b"rntcols1"
_HEAD = Struct("<8sQ")
_BLOCK_HEAD = Struct("<4sIII")
_BLOCK_MARKER = b"rntb"
_WIDTHS = (4, 8, 8, 8)
_PLANES = sum(_WIDTHS)
_TABLE = Struct(f"<{1 + _PLANES}I")
_DIFFERENCES = {1: 1, 2: 2}
"""Columns that may be stored as differences, and the bits that say so."""
_LEVEL = 1
_SAMPLE_BYTES = 4096
_WORTH = 0.3
"""A plane whose sample stays larger is kept as it is: its readers would pay more than it saves."""
_INT64 = range(-(1 << 63), 1 << 63)


def write(file: BinaryIO, blocks: Iterable[Block], points: int) -> None:
    """Write so many points in blocks to a new file; raises OSError."""
    file.write(_HEAD.pack(_MAGIC, points))
    np = numpy_for(points)
    for block in blocks:
        body = _encode(block, np)
        count = len(block.numbers)
        file.write(_BLOCK_HEAD.pack(_BLOCK_MARKER, count, len(body), zlib.crc32(body)))
        file.write(body)


def count(path: str) -> int:
    """Return how many points there are in a file.

    Raises:
        Damaged: it is none of ours.
        OSError: it cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        return _read_head(file, path)


def read(path: str) -> Iterator[Block]:
    """Yield the points of a file.

    Raises:
        Damaged: it is not as it was written.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        left = _read_head(file, path)
        np = numpy_for(left)
        while left > 0:
            head = file.read(_BLOCK_HEAD.size)
            marker, points, size, crc = (
                _BLOCK_HEAD.unpack(head) if len(head) == _BLOCK_HEAD.size else (b"", 0, 0, 0)
            )
            body = file.read(size)
            if marker != _BLOCK_MARKER or len(body) != size or zlib.crc32(body) != crc:
                raise _damaged(path)
            try:
                yield _decode(body, points, np)
            except (zlib.error, error, ValueError) as cause:
                raise _damaged(path) from cause
            left -= points
        if left < 0 or file.read(1):
            raise _damaged(path)


def _read_head(file: BinaryIO, path: str) -> int:
    head = file.read(_HEAD.size)
    if len(head) != _HEAD.size or not head.startswith(_MAGIC):
        raise _damaged(path)
    return int(_HEAD.unpack(head)[1])


def _damaged(path: str) -> Damaged:
    return Damaged(
        f"the points in `{os.path.basename(path)}` were changed or cut off",
        hint="`reenact fsck` checks the whole store",
    )


def _encode(block: Block, np: Any) -> bytes:
    flags = 0
    planes = []
    for at, (column, width) in enumerate(zip(block.columns(), _WIDTHS, strict=True)):
        stored = column
        # The distance of two 64-bit numbers may need 65 bits.
        if at in _DIFFERENCES and max(column) - min(column) in _INT64:
            stored = _differences(column, np)
            flags |= _DIFFERENCES[at]
        data = stored.tobytes()
        planes += [_squeeze(data[plane::width]) for plane in range(width)]
    return _TABLE.pack(flags, *map(len, planes)) + b"".join(planes)


def _decode(body: bytes, points: int, np: Any) -> Block:
    flags, *lengths = _TABLE.unpack_from(body)
    if sum(lengths) + _TABLE.size != len(body):
        raise ValueError("lengths do not add up")
    start = _TABLE.size
    next_plane = iter(lengths)
    columns: list[array[Any]] = []
    for at, (code, width) in enumerate(zip("Iqqd", _WIDTHS, strict=True)):
        planes = []
        for _ in range(width):
            end = start + next(next_plane)
            planes.append(_unsqueeze(body[start:end], points))
            start = end
        column = _join(planes, code, points, np)
        if flags & _DIFFERENCES.get(at, 0):
            column = _sums(column, np)
        columns.append(column)
    return Block.of(columns)


def _squeeze(plane: bytes) -> bytes:
    if plane.count(plane[0]) == len(plane):
        return plane[:1]
    middle = len(plane) // 2
    sample = plane[middle : middle + _SAMPLE_BYTES]
    if len(zlib.compress(sample, _LEVEL)) > len(sample) * _WORTH:
        return plane
    packed = zlib.compress(plane, _LEVEL)
    return packed if len(packed) < len(plane) else plane


def _unsqueeze(content: bytes, points: int) -> bytes | None:
    """Return a plane, None for one that is all zeros."""
    if len(content) == points:
        return content
    if len(content) > 1:
        return zlib.decompress(content)
    return content * points if content != b"\0" else None


def _join(planes: list[bytes | None], code: str, points: int, np: Any) -> array[Any]:
    column: array[Any] = array(code)
    if np is not None:
        # NumPy is faster at every eighth byte, and needs no copy.
        column = array(code, bytes(points * len(planes)))
        matrix = np.frombuffer(column, np.uint8).reshape(points, len(planes))
        for at, plane in enumerate(planes):
            if plane is not None:
                matrix[:, at] = np.frombuffer(plane, np.uint8)
        return column
    data = bytearray(points * len(planes))
    for at, plane in enumerate(planes):
        if plane is not None:
            data[at :: len(planes)] = plane
    column.frombytes(data)
    return column


def _differences(column: array[Any], np: Any) -> array[Any]:
    if np is not None:
        made = array(column.typecode)
        made.frombytes(np.diff(np.asarray(column), prepend=0).tobytes())
        return made
    made = column[:1]
    made.extend(map(sub, column[1:], column))
    return made


def _sums(column: array[Any], np: Any) -> array[Any]:
    if np is not None:
        np.cumsum(np.asarray(column), out=np.asarray(column))
        return column
    return array(column.typecode, accumulate(column))
