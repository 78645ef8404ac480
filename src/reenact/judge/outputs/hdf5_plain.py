"""Read HDF5 files without a library: what h5py and PyTables write unless they are told otherwise.

Read are superblocks and object headers of all versions, groups as tables of symbols or with their
links in the header, contiguous, compact and chunked data, deflate, shuffle and checksums, whole
numbers, floats, texts, records, enumerations and arrays. `NotCompared` is raised for what needs
h5py: groups and attributes in fractal heaps, shared messages, other filters and layouts.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from reenact.judge.outputs.dtypes import array, column
from reenact.judge.outputs.hdf5_data import stored
from reenact.judge.outputs.hdf5_objects import Node, Objects
from reenact.judge.outputs.hdf5_types import NEEDED, Kind, kind_of
from reenact.judge.outputs.source import HeldSource, MadeSource, NotCompared, Source, Unreadable

_MOST_NODES = 1_000_000
_DEEPEST = 100


class PlainFile:
    """Groups, attributes and datasets of an HDF5 file."""

    def __init__(self, source: Source, file: BinaryIO) -> None:
        self._objects = Objects(source, file)
        self._heaps: dict[int, dict[int, bytes]] = {}

    @property
    def root(self) -> int:
        """Address of the group that has all others."""
        return self._objects.root

    def node(self, offset: int) -> Node:
        """Return the object whose header lies there."""
        return self._objects.node(offset)

    # Groups.

    def links(self, node: Node) -> dict[str, int | str] | None:
        """Return what is in a group: an address, or where a link leads to; None for no group."""
        objects = self._objects
        found: dict[str, int | str] = {}
        table = node.first(0x11)
        if table is not None:
            heap = objects.at(
                objects.offset(table, objects.offset_bytes),
                8 + 2 * objects.length_bytes + objects.offset_bytes,
            )
            names = (
                objects.offset(heap, 8 + 2 * objects.length_bytes),
                objects.length(heap, 8),
            )
            self._symbols(objects.offset(table, 0), objects.at(*names), found, 0)
            return dict(sorted(found.items()))
        if node.first(0x02) is None and node.first(0x0A) is None:
            return None
        for kind, data in node.messages:
            if kind == 0x06:
                self._link(data, found)
        return dict(sorted(found.items()))

    def _symbols(self, offset: int, names: bytes, found: dict[str, int | str], depth: int) -> None:
        objects = self._objects
        if depth > _DEEPEST or len(found) > _MOST_NODES:
            raise Unreadable("a group does not end")
        if objects.at(offset, 4) == b"TREE":
            head = objects.at(offset, 8)
            count = struct.unpack_from("<H", head, 6)[0]
            width = objects.length_bytes + objects.offset_bytes
            data = objects.at(offset + 8 + 2 * objects.offset_bytes, count * width)
            for index in range(count):
                child = objects.offset(data, index * width + objects.length_bytes)
                self._symbols(child, names, found, depth + 1)
            return
        head = objects.at(offset, 8)
        if head[:4] != b"SNOD":
            raise Unreadable("a group is damaged")
        width = 2 * objects.offset_bytes + 24
        count = struct.unpack_from("<H", head, 6)[0]
        data = objects.at(offset + 8, count * width)
        for at in range(0, len(data), width):
            name = _text_at(names, objects.offset(data, at))
            cached = struct.unpack_from("<I", data, at + 2 * objects.offset_bytes)[0]
            if cached == 2:
                place = struct.unpack_from("<I", data, at + 2 * objects.offset_bytes + 8)[0]
                found[name] = _text_at(names, place)
            else:
                found[name] = objects.offset(data, at + objects.offset_bytes)

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
            found[name] = self._objects.offset(data, at)
        elif kind == 1:
            found[name] = data[at + 2 :].rstrip(b"\0").decode("utf-8", "replace")
        else:
            raise NotCompared(f"{NEEDED} links to other files")

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
            raise NotCompared(f"{NEEDED} shared types")
        sizes = struct.unpack_from("<HHH", data, 2)
        at = 9 if version == 3 else 8
        parts = []
        for size in sizes:
            parts.append(data[at : at + size])
            at += -(-size // 8) * 8 if version == 1 else size
        kind = kind_of(parts[1])[0]
        shape = self._shape(parts[2])
        name = parts[0].rstrip(b"\0").decode("utf-8", "replace")
        if shape is None:
            return name, "empty"
        size = math.prod(shape) * kind.size
        held = HeldSource(data[at : at + size], "", self._objects.source.allowance)
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
        kind = kind_of(type_)[0]
        shape = self._shape(space)
        if shape is None:
            return "empty"
        if node.first(0x07) is not None:
            raise NotCompared("it has data in other files")
        return self._values(kind, shape, stored(self._objects, node, layout, shape, kind.size))

    def _shape(self, data: bytes) -> tuple[int, ...] | None:
        version, rank = data[0], data[1]
        if version == 2 and data[3] == 2:
            return None
        at = 8 if version == 1 else 4
        return tuple(
            self._objects.length(data, at + index * self._objects.length_bytes)
            for index in range(rank)
        )

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
                count, heap = int.from_bytes(entry[:4], "little"), self._objects.offset(entry, 4)
                number = int.from_bytes(entry[4 + self._objects.offset_bytes :], "little")
                value = self._in_heap(heap, number) if count else b""
                if kind.is_text:
                    yield value[:count].rstrip(b"\0").decode("utf-8", "surrogateescape")
                elif kind.base is not None:
                    held = HeldSource(value[: count * kind.base.size], "", data.allowance)
                    yield self._values(kind.base, (count,), held)

    def _in_heap(self, offset: int, number: int) -> bytes:
        if offset not in self._heaps:
            head = self._objects.at(offset, 8 + self._objects.length_bytes)
            if head[:4] != b"GCOL":
                raise Unreadable("a heap is damaged")
            data = self._objects.at(offset, self._objects.length(head, 8))
            found: dict[int, bytes] = {}
            at = 8 + self._objects.length_bytes
            while at + 8 + self._objects.length_bytes <= len(data):
                index = struct.unpack_from("<H", data, at)[0]
                if index == 0:
                    break
                size = self._objects.length(data, at + 8)
                begin = at + 8 + self._objects.length_bytes
                found[index] = data[begin : begin + size]
                at = begin + -(-size // 8) * 8
            self._heaps[offset] = found
        return self._heaps[offset][number]


def _text_at(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode("utf-8", "replace")
