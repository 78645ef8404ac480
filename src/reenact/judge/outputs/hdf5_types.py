"""Types of HDF5 as NumPy writes them: numbers, texts, records, enumerations, arrays, references."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

from reenact.judge.outputs.source import NotCompared, Unreadable

NEEDED = "h5py is not installed, and it has"

_DEEPEST = 20
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


def kind_of(data: bytes, depth: int = 0) -> tuple[Kind, int]:
    """Return the type, and how many bytes it takes to say it."""
    if depth > _DEEPEST:
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
        return _record(data, version, bits & 0xFFFF, size, depth)
    if family == 7:
        return Kind(size, is_reference=True), 8
    if family == 8:
        return _enumeration(data, version, bits & 0xFFFF, size, depth)
    if family == 9:
        base, used = kind_of(data[8:], depth + 1)
        return Kind(size, base=base, is_text=bits & 15 == 1), 8 + used
    if family == 10:
        rank = data[8]
        at = 9 if version >= 3 else 12
        shape = struct.unpack_from(f"<{rank}I", data, at)
        at += 4 * rank * (1 if version >= 3 else 2)
        base, used = kind_of(data[at:], depth + 1)
        return Kind(size, shape=shape, base=base), at + used
    raise NotCompared(f"{NEEDED} times")


def _record(data: bytes, version: int, count: int, size: int, depth: int) -> tuple[Kind, int]:
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
        inner, used = kind_of(data[at:], depth + 1)
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


def _enumeration(data: bytes, version: int, count: int, size: int, depth: int) -> tuple[Kind, int]:
    base, used = kind_of(data[8:], depth + 1)
    at = 8 + used
    names = []
    for _ in range(count):
        end = data.index(b"\0", at)
        names.append(data[at:end])
        at = end + 1 if version >= 3 else at + -(-(end + 1 - at) // 8) * 8
    at += count * size
    is_bool = size == 1 and sorted(names) == [b"FALSE", b"TRUE"]
    return Kind(size, "|b1" if is_bool else base.code), at
