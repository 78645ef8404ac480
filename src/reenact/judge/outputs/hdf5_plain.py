"""Read HDF5 files without a library: what h5py and PyTables write unless they are told otherwise.

Read are superblocks and object headers of all versions, groups as tables of symbols or with their
links in the header, contiguous, compact and chunked data, deflate, shuffle and checksums, whole
numbers, floats, texts, records, enumerations and arrays. `NotCompared` is raised for what needs
h5py: groups and attributes in fractal heaps, shared messages, other filters and layouts.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from reenact.judge.outputs.dtypes import array, column
from reenact.judge.outputs.source import (
    HeldSource,
    MadeSource,
    NotCompared,
    PartSource,
    Source,
    Unreadable,
)

_MOST_HELD_BYTES = 512 << 20
_MOST_MESSAGES = 100_000
_MOST_NODES = 1_000_000
_DEEPEST = 100
_NEEDED = "h5py is not installed, and it has"
_DEFLATE, _SHUFFLE, _CHECKSUM = 1, 2, 3
# Sizes of exponent and mantissa -> the type, as NumPy writes it.
_FLOATS = {(5, 10): "f2", (8, 23): "f4", (11, 52): "f8"}


@dataclass(slots=True)
class Kind:
    """A type: as NumPy writes it, and what it is made of.

    Attributes:
        code: empty for what is made of others.
        fields: of a record: name, offset, type.
        shape: of an element that is an array of `base`.
        is_text: for texts of any length; otherwise sequences of `base`.
    """

    size: int
    code: str = ""
    fields: list[tuple[str, int, Kind]] = field(default_factory=list)
    shape: tuple[int, ...] = ()
    base: Kind | None = None
    is_text: bool = False
    is_reference: bool = False


@dataclass(slots=True)
class Node:
    """A group or a dataset, by the messages of its header: type and content of each."""

    messages: list[tuple[int, bytes]]

    def first(self, kind: int) -> bytes | None:
        """Return the content of the first message of a type."""
        return next((data for number, data in self.messages if number == kind), None)


class PlainFile:
    """The objects of an HDF5 file."""

    def __init__(self, source: Source, file: BinaryIO) -> None:
        self._source = source
        self._file = file
        self._end = file.seek(0, os.SEEK_END)
        self._heaps: dict[int, dict[int, bytes]] = {}
        head = self._at(0, 96, short=True)
        version = head[8]
        if version < 2:
            self._o, self._l = head[13], head[14]
            at = 24 + 4 * version
            self._base = self._offset(head, at)
            self.root = self._offset(head, at + 5 * self._o)
        else:
            self._o, self._l = head[9], head[10]
            self._base = self._offset(head, 12)
            self.root = self._offset(head, 12 + 3 * self._o)
        if self._base:
            raise NotCompared(f"{_NEEDED} something before its begin")

    # Bytes.

    def _at(self, offset: int, size: int, *, short: bool = False) -> bytes:
        if offset + size > self._end and not short:
            raise Unreadable("it ends too early")
        self._file.seek(offset)
        return self._file.read(size)

    def _offset(self, data: bytes, at: int) -> int:
        return int.from_bytes(data[at : at + self._o], "little")

    def _length(self, data: bytes, at: int) -> int:
        return int.from_bytes(data[at : at + self._l], "little")

    def _is_undefined(self, offset: int) -> bool:
        return offset == (1 << 8 * self._o) - 1

    # Headers.

    def node(self, offset: int) -> Node:
        """Return the object whose header lies there."""
        messages: list[tuple[int, bytes]] = []
        start = self._at(offset, 16, short=True)
        if start[:4] == b"OHDR":
            flags = start[5]
            at = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
            width = 1 << (flags & 3)
            size = int.from_bytes(self._at(offset + at, width), "little")
            blocks = [(offset + at + width, size)]
            self._messages_2(blocks, flags, messages)
        elif start[:1] == b"\1":
            self._messages_1([(offset + 16, struct.unpack_from("<I", start, 8)[0])], messages)
        else:
            raise Unreadable("an object has no header")
        for kind, data in messages:
            if (kind == 0x02 and not self._is_undefined(self._after(data, 8))) or (
                kind == 0x15 and not self._is_undefined(self._after(data, 2))
            ):
                raise NotCompared(f"{_NEEDED} links or attributes in a heap")
        return Node(messages)

    def _after(self, data: bytes, width: int) -> int:
        """Return the address of a heap, which comes after an optional number."""
        return self._offset(data, 2 + (width if data[1] & 1 else 0))

    def _messages_1(self, blocks: list[tuple[int, int]], found: list[tuple[int, bytes]]) -> None:
        for offset, size in blocks:
            data = self._at(offset, size)
            at = 0
            while at + 8 <= size:
                kind, length, flags = struct.unpack_from("<HHB", data, at)
                self._keep(kind, flags, data[at + 8 : at + 8 + length], blocks, found)
                at += 8 + length

    def _messages_2(
        self, blocks: list[tuple[int, int]], header: int, found: list[tuple[int, bytes]]
    ) -> None:
        for number, (offset, size) in enumerate(blocks):
            # A block that continues the header has a mark and a checksum of its own.
            data = self._at(offset, size) if number == 0 else self._at(offset + 4, size - 8)
            at = 0
            width = 6 if header & 0x04 else 4
            while at + width <= len(data):
                kind, length, flags = struct.unpack_from("<BHB", data, at)
                self._keep(kind, flags, data[at + width : at + width + length], blocks, found)
                at += width + length

    def _keep(
        self,
        kind: int,
        flags: int,
        data: bytes,
        blocks: list[tuple[int, int]],
        found: list[tuple[int, bytes]],
    ) -> None:
        if kind == 0x10:
            blocks.append((self._offset(data, 0), self._length(data, self._o)))
        elif kind and flags & 2:
            raise NotCompared(f"{_NEEDED} shared messages")
        elif kind:
            found.append((kind, data))
        if len(blocks) + len(found) > _MOST_MESSAGES:
            raise Unreadable("a header does not end")

    # Groups.

    def links(self, node: Node) -> dict[str, int | str] | None:
        """Return what is in a group: an address, or where a link leads to; None for no group."""
        found: dict[str, int | str] = {}
        table = node.first(0x11)
        if table is not None:
            heap = self._at(self._offset(table, self._o), 8 + 2 * self._l + self._o)
            names = self._offset(heap, 8 + 2 * self._l), self._length(heap, 8)
            self._symbols(self._offset(table, 0), self._at(*names), found, 0)
            return dict(sorted(found.items()))
        if node.first(0x02) is None and node.first(0x0A) is None:
            return None
        for kind, data in node.messages:
            if kind == 0x06:
                self._link(data, found)
        return dict(sorted(found.items()))

    def _symbols(self, offset: int, names: bytes, found: dict[str, int | str], depth: int) -> None:
        if depth > _DEEPEST or len(found) > _MOST_NODES:
            raise Unreadable("a group does not end")
        if self._at(offset, 4) == b"TREE":
            head = self._at(offset, 8)
            count = struct.unpack_from("<H", head, 6)[0]
            width = self._l + self._o
            data = self._at(offset + 8 + 2 * self._o, count * width)
            for index in range(count):
                child = self._offset(data, index * width + self._l)
                self._symbols(child, names, found, depth + 1)
            return
        head = self._at(offset, 8)
        if head[:4] != b"SNOD":
            raise Unreadable("a group is damaged")
        width = 2 * self._o + 24
        count = struct.unpack_from("<H", head, 6)[0]
        data = self._at(offset + 8, count * width)
        for at in range(0, len(data), width):
            name = _text_at(names, self._offset(data, at))
            cached = struct.unpack_from("<I", data, at + 2 * self._o)[0]
            if cached == 2:
                place = struct.unpack_from("<I", data, at + 2 * self._o + 8)[0]
                found[name] = _text_at(names, place)
            else:
                found[name] = self._offset(data, at + self._o)

    def _link(self, data: bytes, found: dict[str, int | str]) -> None:
        flags = data[1]
        at = 2
        kind = 0
        if flags & 0x08:
            kind = data[at]
            at += 1
        at += (8 if flags & 0x04 else 0) + (1 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        size = int.from_bytes(data[at : at + width], "little")
        at += width
        name = data[at : at + size].decode("utf-8", "replace")
        at += size
        if kind == 0:
            found[name] = self._offset(data, at)
        elif kind == 1:
            found[name] = data[at + 2 :].rstrip(b"\0").decode("utf-8", "replace")
        else:
            raise NotCompared(f"{_NEEDED} links to other files")

    # Values.

    def attributes(self, node: Node) -> Iterator[tuple[str, Any]]:
        """Yield names and values."""
        found = {}
        for kind, data in node.messages:
            if kind == 0x0C:
                name, value = self._attribute(data)
                found[name] = value
        yield from sorted(found.items())

    def _attribute(self, data: bytes) -> tuple[str, Any]:
        version, flags = data[0], data[1]
        if version > 1 and flags:
            raise NotCompared(f"{_NEEDED} shared types")
        sizes = struct.unpack_from("<HHH", data, 2)
        at = 9 if version == 3 else 8
        parts = []
        for size in sizes:
            parts.append(data[at : at + size])
            at += -(-size // 8) * 8 if version == 1 else size
        kind = self._kind(parts[1])[0]
        shape = self._shape(parts[2])
        name = parts[0].rstrip(b"\0").decode("utf-8", "replace")
        if shape is None:
            return name, "empty"
        size = math.prod(shape) * kind.size
        held = HeldSource(data[at : at + size], "", self._source.allowance)
        value = self._values(kind, shape, held)
        # As h5py does: a single text is one, not an array of one.
        if kind.is_text and not shape:
            value = value[1][0]
        elif kind.is_text:
            value = value[1]
        return name, value

    def dataset(self, node: Node) -> Any:
        """Return the data of a dataset."""
        space, type_, layout = node.first(0x01), node.first(0x03), node.first(0x08)
        if space is None or type_ is None or layout is None:
            return "of a kind of its own"
        kind = self._kind(type_)[0]
        shape = self._shape(space)
        if shape is None:
            return "empty"
        if node.first(0x07) is not None:
            raise NotCompared("it has data in other files")
        return self._values(kind, shape, self._data(node, layout, shape, kind.size))

    def _shape(self, data: bytes) -> tuple[int, ...] | None:
        version, rank = data[0], data[1]
        if version == 2 and data[3] == 2:
            return None
        at = 8 if version == 1 else 4
        return tuple(self._length(data, at + index * self._l) for index in range(rank))

    def _values(self, kind: Kind, shape: tuple[int, ...], data: Source) -> Any:
        """Return an array, the fields of one of records, a list of what is of any length."""
        if kind.code:
            return array(kind.code, shape, data)
        if kind.is_reference:
            return [list(shape), "references"]
        if kind.shape and kind.base is not None:
            return self._values(kind.base, shape + kind.shape, data)
        if kind.fields:
            parts: dict[str, Any] = {"shape": list(shape)}
            for name, at, inner in kind.fields:
                made = MadeSource(column(data, kind.size, at, inner.size), data.allowance)
                parts[name] = self._values(inner, shape, made)
            return parts
        return [list(shape), list(self._of_any_length(kind, shape, data))]

    def _of_any_length(self, kind: Kind, shape: tuple[int, ...], data: Source) -> Iterator[Any]:
        with data.stream() as file:
            for _ in range(math.prod(shape)):
                entry = file.read(kind.size)
                if len(entry) < kind.size:
                    raise Unreadable("it ends too early")
                count, heap = int.from_bytes(entry[:4], "little"), self._offset(entry, 4)
                number = int.from_bytes(entry[4 + self._o :], "little")
                value = self._in_heap(heap, number) if count else b""
                if kind.is_text:
                    yield value[:count].rstrip(b"\0").decode("utf-8", "surrogateescape")
                elif kind.base is not None:
                    held = HeldSource(value[: count * kind.base.size], "", data.allowance)
                    yield self._values(kind.base, (count,), held)

    def _in_heap(self, offset: int, number: int) -> bytes:
        if offset not in self._heaps:
            head = self._at(offset, 8 + self._l)
            if head[:4] != b"GCOL":
                raise Unreadable("a heap is damaged")
            data = self._at(offset, self._length(head, 8))
            found: dict[int, bytes] = {}
            at = 8 + self._l
            while at + 8 + self._l <= len(data):
                index = struct.unpack_from("<H", data, at)[0]
                if index == 0:
                    break
                size = self._length(data, at + 8)
                begin = at + 8 + self._l
                found[index] = data[begin : begin + size]
                at = begin + -(-size // 8) * 8
            self._heaps[offset] = found
        return self._heaps[offset][number]

    # Types.

    def _kind(self, data: bytes, depth: int = 0) -> tuple[Kind, int]:
        """Return the type, and how many bytes it takes to say it."""
        if depth > 20:
            raise Unreadable("a type does not end")
        version, family = data[0] >> 4, data[0] & 15
        bits = int.from_bytes(data[1:4], "little")
        size = int.from_bytes(data[4:8], "little")
        order = ">" if bits & 1 else "<"
        if family == 0:
            return Kind(size, f"{order}{'i' if bits & 8 else 'u'}{size}"), 12
        if family == 1:
            shape = data[13], data[15]
            code = _FLOATS.get(shape, f"V{size}")
            return Kind(size, (order if shape in _FLOATS else "|") + code), 20
        if family == 3:
            return Kind(size, f"|S{size}"), 8
        if family == 4:
            return Kind(size, f"|V{size}"), 12
        if family == 5:
            tag = data.index(b"\0", 8) - 8 if b"\0" in data[8:] else 0
            return Kind(size, f"|V{size}"), 8 + -(-(tag + 1) // 8) * 8
        if family == 6:
            return self._record(data, version, bits & 0xFFFF, size, depth)
        if family == 7:
            return Kind(size, is_reference=True), 8
        if family == 8:
            return self._enumeration(data, version, bits & 0xFFFF, size, depth)
        if family == 9:
            base, used = self._kind(data[8:], depth + 1)
            return Kind(size, base=base, is_text=bits & 15 == 1), 8 + used
        if family == 10:
            rank = data[8]
            at = 9 if version >= 3 else 12
            shape = struct.unpack_from(f"<{rank}I", data, at)
            at += 4 * rank * (1 if version >= 3 else 2)
            base, used = self._kind(data[at:], depth + 1)
            return Kind(size, shape=shape, base=base), at + used
        raise NotCompared(f"{_NEEDED} times")

    def _record(
        self, data: bytes, version: int, count: int, size: int, depth: int
    ) -> tuple[Kind, int]:
        fields = []
        at = 8
        for _ in range(count):
            end = data.index(b"\0", at)
            name = data[at:end].decode("utf-8", "replace")
            at = end + 1 if version >= 3 else at + -(-(end + 1 - at) // 8) * 8
            width = max(1, (size.bit_length() + 7) // 8) if version >= 3 else 4
            offset = int.from_bytes(data[at : at + width], "little")
            at += width
            shape: tuple[int, ...] = ()
            if version == 1:
                shape = struct.unpack_from(f"<{data[at]}I", data, at + 12)
                at += 28
            inner, used = self._kind(data[at:], depth + 1)
            at += used
            if shape:
                inner = Kind(inner.size * math.prod(shape), shape=shape, base=inner)
            fields.append((name, offset, inner))
        if not fields:
            raise Unreadable("a record has no fields")
        parts = {(name, inner.code[1:2]) for name, _, inner in fields}
        if parts == {("r", "f"), ("i", "f")} and fields[0][0] == "r" and size in (8, 16):
            # How h5py writes complex numbers.
            return Kind(size, f"{fields[0][2].code[0]}c{size}"), at
        return Kind(size, fields=fields), at

    def _enumeration(
        self, data: bytes, version: int, count: int, size: int, depth: int
    ) -> tuple[Kind, int]:
        base, used = self._kind(data[8:], depth + 1)
        at = 8 + used
        names = []
        for _ in range(count):
            end = data.index(b"\0", at)
            names.append(data[at:end])
            at = end + 1 if version >= 3 else at + -(-(end + 1 - at) // 8) * 8
        at += count * size
        is_bool = size == 1 and sorted(names) == [b"FALSE", b"TRUE"]
        return Kind(size, "|b1" if is_bool else base.code), at

    # Data.

    def _data(self, node: Node, layout: bytes, shape: tuple[int, ...], size: int) -> Source:
        total = math.prod(shape) * size
        version, kind = layout[0], layout[1]
        if version < 3:
            raise NotCompared(f"{_NEEDED} a layout of before 2003")
        if kind == 0:
            begin = 4
            return HeldSource(layout[begin : begin + total], "", self._source.allowance)
        if kind == 1:
            offset = self._offset(layout, 2)
            if self._is_undefined(offset):
                return self._filled(node, total, size)
            if offset + total > self._end:
                raise Unreadable("it ends too early")
            return PartSource(self._source, offset, total)
        if kind != 2 or version != 3:
            raise NotCompared(f"{_NEEDED} a layout since 1.10")
        if total > _MOST_HELD_BYTES:
            raise NotCompared(f"{_NEEDED} a dataset of more than {_MOST_HELD_BYTES >> 20} MiB")
        return MadeSource(
            lambda: [self._chunked(node, layout, shape, size)], self._source.allowance
        )

    def _filled(self, node: Node, total: int, size: int) -> Source:
        """Return the data of a dataset that was never written."""
        fill = self._fill(node, size)
        if total > _MOST_HELD_BYTES:
            raise NotCompared("it is larger than what is in it")
        return MadeSource(lambda: [fill * (total // max(size, 1))], self._source.allowance)

    def _fill(self, node: Node, size: int) -> bytes:
        data = node.first(0x05)
        if data is not None and data[0] < 3 and data[3]:
            found = data[8 : 8 + struct.unpack_from("<I", data, 4)[0]]
        elif data is not None and data[0] == 3 and data[1] & 0x20:
            found = data[6 : 6 + struct.unpack_from("<I", data, 2)[0]]
        else:
            found = b""
        return found if len(found) == size else bytes(size)

    def _chunked(self, node: Node, layout: bytes, shape: tuple[int, ...], size: int) -> bytes:
        rank = layout[2] - 1
        chunk = struct.unpack_from(f"<{rank}I", layout, 3 + self._o)
        if rank != len(shape) or not all(chunk):
            raise Unreadable("a dataset's layout is damaged")
        whole = bytearray(self._fill(node, size) * math.prod(shape))
        tree = self._offset(layout, 3)
        chunk_bytes = math.prod(chunk) * size
        if chunk_bytes > _MOST_HELD_BYTES:
            raise NotCompared(f"{_NEEDED} chunks that are too large")
        if self._is_undefined(tree):
            return bytes(whole)
        filters = self._filters(node)
        for place, offset, stored, mask in self._chunks(tree, rank, 0):
            data = self._at(offset, stored)
            for number, (kind, values) in reversed(list(enumerate(filters))):
                if not mask >> number & 1:
                    data = _undone(kind, values, data, chunk_bytes)
            self._source.allowance.take(len(data))
            if len(data) != chunk_bytes:
                raise Unreadable("a chunk is damaged")
            _place(whole, shape, data, chunk, place, size)
        return bytes(whole)

    def _chunks(
        self, offset: int, rank: int, depth: int
    ) -> Iterator[tuple[tuple[int, ...], int, int, int]]:
        """Yield the place of each chunk in the array, where it lies, its size and filters left out."""
        head = self._at(offset, 8)
        if head[:4] != b"TREE" or head[4] != 1 or depth > _DEEPEST:
            raise Unreadable("an index of chunks is damaged")
        count = struct.unpack_from("<H", head, 6)[0]
        width = 8 + 8 * (rank + 1) + self._o
        data = self._at(offset + 8 + 2 * self._o, count * width)
        for at in range(0, len(data), width):
            stored, mask = struct.unpack_from("<II", data, at)
            place = struct.unpack_from(f"<{rank}Q", data, at + 8)
            child = self._offset(data, at + 8 + 8 * (rank + 1))
            if head[5]:
                yield from self._chunks(child, rank, depth + 1)
            else:
                yield place, child, stored, mask

    def _filters(self, node: Node) -> list[tuple[int, tuple[int, ...]]]:
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
                raise NotCompared(f"{_NEEDED} data in another compression than deflate")
        return found


def _text_at(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode("utf-8", "replace")


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
