"""Read Universal Binary JSON, in which XGBoost saves models."""

from __future__ import annotations

import struct
from contextlib import ExitStack
from typing import Any

from reenact.judge.outputs.numbers import ITEM_BYTES
from reenact.judge.outputs.source import HeldSource, Source, Unreadable, all_bytes
from reenact.judge.outputs.values import Numbers

_MOST_BYTES = 1 << 30
_DEEPEST = 60
_NUMBERS = {
    b"i": ("int8", ">b"),
    b"U": ("uint8", ">B"),
    b"I": ("int16", ">h"),
    b"l": ("int32", ">i"),
    b"L": ("int64", ">q"),
    b"d": ("float32", ">f"),
    b"D": ("float64", ">d"),
}
_CONSTANTS = {b"Z": None, b"T": True, b"F": False}


class Ubjson:
    """A value in UBJSON, as XGBoost writes it."""

    name = "ubjson"
    endings: tuple[str, ...] = (".ubj",)

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it begins as an object whose first name's length is a 64 bit number."""
        return head.startswith(b"{L\0\0\0\0\0\0")

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return the value; arrays of one type are arrays of numbers."""
        reader = _Reader(all_bytes(source, _MOST_BYTES), source)
        value = reader.value(reader.take(1), 0)
        if not reader.is_at_end():
            raise Unreadable("there is more behind its value")
        return value


class _Reader:
    def __init__(self, data: bytes, source: Source) -> None:
        self._data = data
        self._at = 0
        self._source = source

    def is_at_end(self) -> bool:
        return self._at == len(self._data)

    def take(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        if count < 0 or len(part) < count:
            raise Unreadable("it ends too early")
        self._at += count
        return part

    def value(self, mark: bytes, depth: int) -> Any:
        if depth > _DEEPEST:
            raise Unreadable("it is nested too deeply")
        if mark in _CONSTANTS:
            return _CONSTANTS[mark]
        if mark in _NUMBERS:
            return self._number(mark)
        if mark == b"S":
            return self._text()
        if mark == b"C":
            return self.take(1).decode("latin-1")
        if mark == b"[":
            return self._array(depth)
        if mark == b"{":
            return self._object(depth)
        raise Unreadable(f"{mark!r} is no mark of a value")

    def _number(self, mark: bytes) -> Any:
        code = _NUMBERS[mark][1]
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def _length(self) -> int:
        mark = self.take(1)
        if mark not in _NUMBERS or mark in b"dD":
            raise Unreadable("a length is no whole number")
        return int(self._number(mark))

    def _text(self) -> str:
        return self.take(self._length()).decode("utf-8", "replace")

    def _sizes(self) -> tuple[bytes | None, int | None]:
        """Return the type and the count that a container states."""
        kind = count = None
        if self._data[self._at : self._at + 1] == b"$":
            self._at += 1
            kind = self.take(1)
        if self._data[self._at : self._at + 1] == b"#":
            self._at += 1
            count = self._length()
        return kind, count

    def _array(self, depth: int) -> Any:
        kind, count = self._sizes()
        if kind in _NUMBERS and count is not None:
            name = _NUMBERS[kind][0]
            size = ITEM_BYTES[name]
            data = HeldSource(self.take(count * size), "", self._source.allowance)
            return Numbers(name, (count,), data, size, is_big_endian=True)
        if count is not None:
            if count > len(self._data):
                raise Unreadable("it ends too early")
            return [self.value(kind or self.take(1), depth + 1) for _ in range(count)]
        values = []
        while (mark := self.take(1)) != b"]":
            values.append(self.value(mark, depth + 1))
        return values

    def _object(self, depth: int) -> dict[str, Any]:
        kind, count = self._sizes()
        value: dict[str, Any] = {}
        if count is not None:
            for _ in range(count):
                name = self._text()
                value[name] = self.value(kind or self.take(1), depth + 1)
            return value
        while self._data[self._at : self._at + 1] != b"}":
            name = self._text()
            value[name] = self.value(self.take(1), depth + 1)
        self._at += 1
        return value
