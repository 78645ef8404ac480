"""Data of HDF5 datasets: contiguous, compact and in chunks, with deflate, shuffle and checksums."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator

from reenact.judge.outputs.hdf5_objects import Node, Objects
from reenact.judge.outputs.hdf5_types import NEEDED
from reenact.judge.outputs.source import (
    HeldSource,
    MadeSource,
    NotCompared,
    PartSource,
    Source,
    Unreadable,
)

_MOST_HELD_BYTES = 512 << 20
_DEEPEST = 100
_DEFLATE, _SHUFFLE, _CHECKSUM = 1, 2, 3


def stored(
    objects: Objects, node: Node, layout: bytes, shape: tuple[int, ...], size: int
) -> Source:
    """Return the data of a dataset whose elements have so many bytes."""
    total = math.prod(shape) * size
    version, kind = layout[0], layout[1]
    if version < 3:
        raise NotCompared(f"{NEEDED} a layout of before 2003")
    if kind == 0:
        begin = 4
        return HeldSource(layout[begin : begin + total], "", objects.source.allowance)
    if kind == 1:
        offset = objects.offset(layout, 2)
        if objects.is_undefined(offset):
            return _filled(objects, node, total, size)
        if offset + total > objects.end:
            raise Unreadable("it ends too early")
        return PartSource(objects.source, offset, total)
    if kind != 2 or version != 3:
        raise NotCompared(f"{NEEDED} a layout since 1.10")
    if total > _MOST_HELD_BYTES:
        raise NotCompared(f"{NEEDED} a dataset of more than {_MOST_HELD_BYTES >> 20} MiB")
    return MadeSource(
        lambda: [_chunked(objects, node, layout, shape, size)], objects.source.allowance
    )


def _filled(objects: Objects, node: Node, total: int, size: int) -> Source:
    """Return the data of a dataset that was never written."""
    fill = _fill(node, size)
    if total > _MOST_HELD_BYTES:
        raise NotCompared("it is larger than what is in it")
    return MadeSource(lambda: [fill * (total // max(size, 1))], objects.source.allowance)


def _fill(node: Node, size: int) -> bytes:
    data = node.first(0x05)
    if data is not None and data[0] < 3 and data[3]:
        found = data[8 : 8 + struct.unpack_from("<I", data, 4)[0]]
    elif data is not None and data[0] == 3 and data[1] & 0x20:
        found = data[6 : 6 + struct.unpack_from("<I", data, 2)[0]]
    else:
        found = b""
    return found if len(found) == size else bytes(size)


def _chunked(
    objects: Objects, node: Node, layout: bytes, shape: tuple[int, ...], size: int
) -> bytes:
    rank = layout[2] - 1
    chunk = struct.unpack_from(f"<{rank}I", layout, 3 + objects.offset_bytes)
    if rank != len(shape) or not all(chunk):
        raise Unreadable("a dataset's layout is damaged")
    whole = bytearray(_fill(node, size) * math.prod(shape))
    tree = objects.offset(layout, 3)
    chunk_bytes = math.prod(chunk) * size
    if chunk_bytes > _MOST_HELD_BYTES:
        raise NotCompared(f"{NEEDED} chunks that are too large")
    if objects.is_undefined(tree):
        return bytes(whole)
    filters = _filters(node)
    for place, offset, stored, mask in _chunks(objects, tree, rank, 0):
        data = objects.at(offset, stored)
        for number, (kind, values) in reversed(list(enumerate(filters))):
            if not mask >> number & 1:
                data = _undone(kind, values, data, chunk_bytes)
        objects.source.allowance.take(len(data))
        if len(data) != chunk_bytes:
            raise Unreadable("a chunk is damaged")
        _place(whole, shape, data, chunk, place, size)
    return bytes(whole)


def _chunks(
    objects: Objects, offset: int, rank: int, depth: int
) -> Iterator[tuple[tuple[int, ...], int, int, int]]:
    """Yield the place of each chunk in the array, where it lies, its size and filters left out."""
    head = objects.at(offset, 8)
    if head[:4] != b"TREE" or head[4] != 1 or depth > _DEEPEST:
        raise Unreadable("an index of chunks is damaged")
    count = struct.unpack_from("<H", head, 6)[0]
    width = 8 + 8 * (rank + 1) + objects.offset_bytes
    data = objects.at(offset + 8 + 2 * objects.offset_bytes, count * width)
    for at in range(0, len(data), width):
        stored, mask = struct.unpack_from("<II", data, at)
        place = struct.unpack_from(f"<{rank}Q", data, at + 8)
        child = objects.offset(data, at + 8 + 8 * (rank + 1))
        if head[5]:
            yield from _chunks(objects, child, rank, depth + 1)
        else:
            yield place, child, stored, mask


def _filters(node: Node) -> list[tuple[int, tuple[int, ...]]]:
    data = node.first(0x0B)
    if data is None:
        return []
    version, count = data[0], data[1]
    at = 8 if version == 1 else 2
    found = []
    for _ in range(count):
        kind = struct.unpack_from("<H", data, at)[0]
        at += 2
        name = 0
        if version == 1 or kind >= 256:
            name = struct.unpack_from("<H", data, at)[0]
            at += 2
        values = struct.unpack_from("<HH", data, at)[1]
        at += 4 + (-(-name // 8) * 8 if version == 1 else name)
        found.append((kind, struct.unpack_from(f"<{values}I", data, at)))
        at += 4 * values + (4 if version == 1 and values % 2 else 0)
        if kind not in (_DEFLATE, _SHUFFLE, _CHECKSUM):
            raise NotCompared(f"{NEEDED} data in another compression than deflate")
    return found


def _undone(kind: int, values: tuple[int, ...], data: bytes, limit: int) -> bytes:
    if kind == _DEFLATE:
        return zlib.decompressobj().decompress(data, limit + 16)
    if kind == _CHECKSUM:
        return data[:-4]
    size = values[0] if values else 1
    count = len(data) // max(size, 1)
    if size < 2 or not count:
        return data
    turned = bytearray(count * size)
    for place in range(size):
        turned[place::size] = data[place * count : (place + 1) * count]
    return bytes(turned) + data[count * size :]


def _place(
    whole: bytearray,
    shape: tuple[int, ...],
    data: bytes,
    chunk: tuple[int, ...],
    place: tuple[int, ...],
    size: int,
) -> None:
    """Copy a chunk to its place in an array; it may reach beyond its end."""
    inside = [max(0, min(c, s - p)) for c, s, p in zip(chunk, shape, place, strict=True)]
    if not all(inside):
        return
    run = inside[-1] * size
    for number in range(math.prod(inside[:-1])):
        source = target = 0
        rest = number
        index = [place[-1]]
        within = [0]
        for length, begin in zip(reversed(inside[:-1]), reversed(place[:-1]), strict=True):
            within.insert(0, rest % length)
            index.insert(0, begin + rest % length)
            rest //= length
        for at, c, s, i in zip(within, chunk, shape, index, strict=True):
            source = source * c + at
            target = target * s + i
        whole[target * size : target * size + run] = data[source * size : source * size + run]
