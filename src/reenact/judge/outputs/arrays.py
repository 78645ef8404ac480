"""Read arrays: `.npy` (so also the members of `.npz`) and safetensors."""

from __future__ import annotations

import ast
import json
import math
import os
import struct
from contextlib import ExitStack
from typing import Any, BinaryIO

from reenact.judge.outputs.dtypes import array, column, item_bytes
from reenact.judge.outputs.numbers import ITEM_BYTES
from reenact.judge.outputs.pickles import read_pickle
from reenact.judge.outputs.source import (
    MadeSource,
    PartSource,
    Source,
    Unreadable,
)
from reenact.judge.outputs.values import Members, Numbers

_LONGEST_HEADER = 64 << 20
_SAFETENSORS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}


class Npy:
    """One array as `numpy.save` writes it."""

    name = "npy"
    endings: tuple[str, ...] = ()

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it begins so."""
        return head.startswith(b"\x93NUMPY")

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return the array, or the list of those that were saved into one file.

        An array of records is returned by its fields, one of objects as what was pickled.
        """
        found = []
        with source.open() as file:
            end = file.seek(0, os.SEEK_END)
            start = 0
            while start < end:
                file.seek(start)
                value, start = _one_array(file, source, end, keep)
                found.append(value)
        return found[0] if len(found) == 1 else found


def _one_array(file: BinaryIO, source: Source, end: int, keep: ExitStack) -> tuple[Any, int]:
    """Return the array at the position of the file, and where it ends."""
    header, start = _npy_header(file)
    descriptor, shape = header["descr"], tuple(header["shape"])
    if descriptor == "|O":
        return [list(shape), read_pickle(PartSource(source, start, end - start), keep)], end
    is_record = isinstance(descriptor, list)
    itemsize = sum(map(_field_size, descriptor)) if is_record else item_bytes(descriptor)
    size = math.prod(shape) * itemsize
    if start + size > end:
        raise Unreadable("it ends too early")
    data = PartSource(source, start, size)
    if is_record:
        return {"shape": list(shape), **_fields(descriptor, shape, data)}, start + size
    is_fortran = bool(header["fortran_order"])
    return array(descriptor, shape, data, is_fortran=is_fortran), start + size


def _npy_header(file: BinaryIO) -> tuple[dict[str, Any], int]:
    begin = file.tell()
    if file.read(6) != b"\x93NUMPY":
        raise Unreadable("what follows its first array is none")
    major = file.read(2)[0]
    width = 2 if major == 1 else 4
    length = int.from_bytes(file.read(width), "little")
    if length > _LONGEST_HEADER:
        raise Unreadable("its header is too long")
    header = ast.literal_eval(file.read(length).decode("utf-8" if major > 2 else "latin-1"))
    return dict(header), begin + 8 + width + length


def _fields(descriptor: list[Any], shape: tuple[int, ...], data: Source) -> dict[str, Any]:
    """Return an array for each field of a record."""
    fields: dict[str, Any] = {}
    stride = sum(_field_size(field) for field in descriptor)
    at = 0
    for field in descriptor:
        size = _field_size(field)
        kind, inner = field[1], tuple(field[2]) if len(field) > 2 else ()
        part = MadeSource(column(data, stride, at, size), data.allowance)
        name = field[0] if isinstance(field[0], str) else field[0][0]
        if not name:
            # Between fields, so that they are aligned; whatever was there in memory.
            pass
        elif isinstance(kind, list):
            fields[name] = _fields(kind, shape + inner, part)
        else:
            fields[name] = array(kind, shape + inner, part)
        at += size
    return fields


def _field_size(field: Any) -> int:
    kind = field[1]
    count = math.prod(field[2]) if len(field) > 2 else 1
    if isinstance(kind, list):
        return count * sum(_field_size(inner) for inner in kind)
    return count * item_bytes(kind)


class Safetensors:
    """Tensors by name, and text that describes them."""

    name = "safetensors"
    endings: tuple[str, ...] = (".safetensors",)

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it begins with a header of JSON and its length."""
        if len(head) < 10 or head[8:10] != b'{"':
            return False
        return int.from_bytes(head[:8], "little") <= _LONGEST_HEADER

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return the tensors; the order of names and where each lies are left out."""
        with source.open() as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _LONGEST_HEADER:
                raise Unreadable("its header is too long")
            header = json.loads(file.read(length))
            size = file.seek(0, os.SEEK_END) - 8 - length
        parts: dict[str, Any] = {"__metadata__": header.pop("__metadata__", None)}
        for name, tensor in header.items():
            begin, end = tensor["data_offsets"]
            if not 0 <= begin <= end <= size:
                raise Unreadable(f"`{name}` reaches beyond the end")
            kind = _SAFETENSORS.get(tensor["dtype"], tensor["dtype"])
            shape = tuple(tensor["shape"])
            count = math.prod(shape)
            itemsize = ITEM_BYTES.get(kind, (end - begin) // count if count else 1)
            if count * itemsize != end - begin:
                raise Unreadable(f"`{name}` is not of its shape")
            data = PartSource(source, 8 + length + begin, end - begin)
            parts[name] = Numbers(kind, shape, data, itemsize)
        return Members(parts)
