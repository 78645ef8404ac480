"""Objects of an HDF5 file: where they lie, and the messages of their headers, of all versions."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from reenact.judge.outputs.hdf5_types import NEEDED
from reenact.judge.outputs.source import NotCompared, Source, Unreadable

_MOST_MESSAGES = 100_000


@dataclass(slots=True)
class Node:
    """A group or a dataset, by the messages of its header: type and content of each."""

    messages: list[tuple[int, bytes]]

    def first(self, kind: int) -> bytes | None:
        """Return the content of the first message of a type."""
        return next((data for number, data in self.messages if number == kind), None)


class Objects:
    """The bytes of an HDF5 file, and the objects in them.

    Attributes:
        root: address of the group that has all others.
        end: size of the file.
        offset_bytes: how many bytes an address takes.
        length_bytes: how many bytes a size takes.
    """

    def __init__(self, source: Source, file: BinaryIO) -> None:
        self.source = source
        self._file = file
        self.end = file.seek(0, os.SEEK_END)
        head = self.at(0, 96, short=True)
        version = head[8]
        if version < 2:
            self.offset_bytes, self.length_bytes = head[13], head[14]
            at = 24 + 4 * version
            base = self.offset(head, at)
            self.root = self.offset(head, at + 5 * self.offset_bytes)
        else:
            self.offset_bytes, self.length_bytes = head[9], head[10]
            base = self.offset(head, 12)
            self.root = self.offset(head, 12 + 3 * self.offset_bytes)
        if base:
            raise NotCompared(f"{NEEDED} something before its begin")

    def at(self, offset: int, size: int, *, short: bool = False) -> bytes:
        """Return so many bytes from there; fewer at the end of the file if that is allowed."""
        if offset + size > self.end and not short:
            raise Unreadable("it ends too early")
        self._file.seek(offset)
        return self._file.read(size)

    def offset(self, data: bytes, at: int) -> int:
        """Return the address that stands there."""
        return int.from_bytes(data[at : at + self.offset_bytes], "little")

    def length(self, data: bytes, at: int) -> int:
        """Return the size that stands there."""
        return int.from_bytes(data[at : at + self.length_bytes], "little")

    def is_undefined(self, offset: int) -> bool:
        """Tell whether an address stands for nothing."""
        return offset == (1 << 8 * self.offset_bytes) - 1

    def node(self, offset: int) -> Node:
        """Return the object whose header lies there."""
        messages: list[tuple[int, bytes]] = []
        start = self.at(offset, 16, short=True)
        if start[:4] == b"OHDR":
            flags = start[5]
            at = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
            width = 1 << (flags & 3)
            size = int.from_bytes(self.at(offset + at, width), "little")
            blocks = [(offset + at + width, size)]
            self._messages_2(blocks, flags, messages)
        elif start[:1] == b"\1":
            self._messages_1([(offset + 16, struct.unpack_from("<I", start, 8)[0])], messages)
        else:
            raise Unreadable("an object has no header")
        for kind, data in messages:
            if (kind == 0x02 and not self.is_undefined(self._after(data, 8))) or (
                kind == 0x15 and not self.is_undefined(self._after(data, 2))
            ):
                raise NotCompared(f"{NEEDED} links or attributes in a heap")
        return Node(messages)

    def _after(self, data: bytes, width: int) -> int:
        """Return the address of a heap, which comes after an optional number."""
        return self.offset(data, 2 + (width if data[1] & 1 else 0))

    def _messages_1(self, blocks: list[tuple[int, int]], found: list[tuple[int, bytes]]) -> None:
        for offset, size in blocks:
            data = self.at(offset, size)
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
            data = self.at(offset, size) if number == 0 else self.at(offset + 4, size - 8)
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
            blocks.append((self.offset(data, 0), self.length(data, self.offset_bytes)))
        elif kind and flags & 2:
            raise NotCompared(f"{NEEDED} shared messages")
        elif kind:
            found.append((kind, data))
        if len(blocks) + len(found) > _MOST_MESSAGES:
            raise Unreadable("a header does not end")
