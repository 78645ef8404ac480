"""Read what `torch.save` and `torch.jit.save` write: a pickle, and the storages of its tensors.

Left out: on which device a tensor was, and the number that marks the file.
"""

from __future__ import annotations

import math
import os
import struct
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from reenact.judge.outputs.archives import open_zip, zip_member
from reenact.judge.outputs.numbers import ITEM_BYTES
from reenact.judge.outputs.pickles import Named, Reader, read_pickle, simplify
from reenact.judge.outputs.source import PartSource, Source, Unreadable
from reenact.judge.outputs.values import Aside, Content, Graph, Members, Numbers, Thing, numbered

_STORAGES = {
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
    "Untyped": "uint8",
}
_FILLING = b"FB"
_LEGACY_MARK = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")


class TorchArchive:
    """The format since 1.6, which is a zip file, and models of TorchScript."""

    name = "torch"
    endings: tuple[str, ...] = ()

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether its first member is filled up as torch does it, so that data is aligned."""
        length = int.from_bytes(head[26:28], "little")
        return head.startswith(b"PK\x03\x04") and head[30 + length :].startswith(_FILLING)

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return what was saved, and the other members."""
        archive = open_zip(source, keep)
        # All members lie in a directory that is called after the file.
        contents = dict(
            numbered(
                (
                    member.filename.partition("/")[2] or member.filename,
                    zip_member(archive, member, source, keep),
                )
                for member in archive.infolist()
            )
        )
        is_big_endian = _text(contents.get("byteorder")) == "big"
        used: set[str] = set()

        def storage(pid: Any) -> Numbers:
            _, maker, key, _, count = pid
            used.add(f"data/{key}")
            return _storage(maker, contents[f"data/{key}"].source, count, is_big_endian)

        parts: dict[str, Any] = {}
        for name in [name for name in contents if name in ("data.pkl", "constants.pkl")]:
            graph = read_pickle(contents[name].source, keep, storage)
            parts[name.removesuffix("data.pkl")] = _with_tensors(graph)
        for name, content in contents.items():
            if name == ".data/serialization_id":
                parts[name] = Aside("number of the file", _text(content))
            elif name not in used and name not in ("data.pkl", "constants.pkl"):
                parts[name] = content
        return Members(parts)


class TorchLegacy:
    """The format before 1.6: pickles, with the storages behind them."""

    name = "torch"
    endings: tuple[str, ...] = ()

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it begins with the number that is its mark."""
        return head.startswith(_LEGACY_MARK)

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return what was saved."""
        file = keep.enter_context(source.open())
        mark = [Reader(file, source).load() for _ in range(3)]
        start = file.tell()
        makers: dict[str, Any] = {}

        def note(pid: Any) -> Any:
            makers[pid[2]] = pid[1]

        Reader(file, source, note).load()
        storages: dict[str, Numbers] = {}
        for key in Reader(file, source).load():
            (count,) = struct.unpack("<q", file.read(8))
            found = _storage(makers[key], source, count, False)
            part = PartSource(source, file.tell(), count * found.itemsize)
            storages[key] = replace(found, source=part)
            file.seek(count * found.itemsize, os.SEEK_CUR)
        # The pickle comes before the keys, which tell where its storages are: it is read again.
        file.seek(start)
        root = Reader(file, source, lambda pid: storages[pid[2]]).value()
        graph = Graph(root, lambda value: simplify(value, source))
        return Members({"": _with_tensors(graph), "little-endian": mark[2].get("little_endian")})


def _text(content: Content | None) -> str:
    if content is None:
        return ""
    with content.source.stream() as file:
        return file.read(100).decode("ascii", "replace")


def _storage(maker: Any, source: Source, count: int, is_big_endian: bool) -> Numbers:
    if not isinstance(maker, Named):
        raise Unreadable("it has a storage of no known type")
    word = maker.name.rpartition(".")[2].removesuffix("Storage")
    kind = _STORAGES.get(word, word)
    return Numbers(kind, (count,), source, ITEM_BYTES.get(kind, 1), is_big_endian)


def _with_tensors(graph: Graph) -> Graph:
    return replace(graph, simplify=lambda value: graph.simplify(_tensor(value)))


def _tensor(value: Any) -> Any:
    """Return the array that a tensor is put together from; a wrapper's inside."""
    if not isinstance(value, Thing) or not value.name.startswith("torch._utils._rebuild_"):
        return value
    word = value.name.removeprefix("torch._utils._rebuild_")
    if word == "parameter" and len(value.arguments) > 1:
        return Members({"": value.arguments[0], "requires_grad": value.arguments[1]})
    if word not in ("tensor_v2", "tensor_v3", "tensor") or len(value.arguments) < 4:
        return value
    storage, offset, shape, strides = value.arguments[:4]
    if not isinstance(storage, Numbers):
        return value
    if word == "tensor_v3" and len(value.arguments) > 5 and isinstance(value.arguments[5], Named):
        kind = value.arguments[5].name.removeprefix("torch.")
        storage = replace(storage, kind=kind, itemsize=ITEM_BYTES.get(kind, 1))
    count = math.prod(shape)
    size = storage.itemsize
    if _is_contiguous(shape, strides):
        part = PartSource(storage.source, offset * size, count * size)
        array: Any = replace(storage, shape=tuple(shape), source=part)
    else:
        array = [list(shape), list(strides), offset, storage]
    return Members({"": array, "requires_grad": value.arguments[4:5]})


def _is_contiguous(shape: Any, strides: Any) -> bool:
    expected = 1
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        if length != 1 and stride != expected:
            return False
        expected *= length
    return True
