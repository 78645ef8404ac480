"""Read compressed files by what is in them. Left out: dates and names in the header."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, BinaryIO, cast

from reenact.judge.outputs.source import (
    BLOCK_BYTES,
    MadeSource,
    NotCompared,
    PackedSource,
    Source,
)
from reenact.judge.outputs.values import Aside, Content, Noted


class _Compressed:
    """A file in which another one is compressed."""

    name: str
    endings: tuple[str, ...] = ()
    _mark: bytes

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it begins so."""
        return head.startswith(self._mark)

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return what is in it."""
        inner = source.name
        for ending, becomes in ((".tgz", ".tar"), (".svgz", ".svg")):
            if inner.lower().endswith(ending):
                inner = inner[: -len(ending)] + becomes + ending[-3:]
        for ending in (".gz", ".bz2", ".xz", ".lzma", ".zst", ".zstd", ".tgz", "vgz", "tgz"):
            inner = inner.removesuffix(ending)
        packed = PackedSource(lambda: self._unpack(source, keep), inner, source.allowance, keep)
        return Noted(Content(packed), self._header(source))

    def _unpack(self, source: Source, keep: ExitStack) -> BinaryIO:
        raise NotImplementedError

    def _header(self, source: Source) -> tuple[Aside, ...]:
        return ()


class Gzip(_Compressed):
    """gzip."""

    name = "gzip"
    _mark = b"\x1f\x8b"

    def _unpack(self, source: Source, keep: ExitStack) -> BinaryIO:
        return cast("BinaryIO", gzip.GzipFile(fileobj=keep.enter_context(source.open())))

    def _header(self, source: Source) -> tuple[Aside, ...]:
        with source.stream() as file:
            header = file.read(10)
        return (Aside("date in the header", header[4:8]),)


class Bzip2(_Compressed):
    """bzip2."""

    name = "bzip2"
    _mark = b"BZh"

    def _unpack(self, source: Source, keep: ExitStack) -> BinaryIO:
        return cast("BinaryIO", bz2.BZ2File(keep.enter_context(source.open())))


class Xz(_Compressed):
    """xz and lzma."""

    name = "xz"
    endings: tuple[str, ...] = (".lzma",)
    _mark = b"\xfd7zXZ\x00"

    def _unpack(self, source: Source, keep: ExitStack) -> BinaryIO:
        return cast("BinaryIO", lzma.LZMAFile(keep.enter_context(source.open())))


class Zstandard(_Compressed):
    """Zstandard, by the standard library since Python 3.14, else by the package `zstandard`."""

    name = "zstd"
    _mark = b"\x28\xb5\x2f\xfd"

    def _unpack(self, source: Source, keep: ExitStack) -> BinaryIO:
        try:
            from compression.zstd import (  # type: ignore[import-not-found,unused-ignore]  # 3.14
                ZstdFile,
            )
        except ImportError:
            return self._by_package(source, keep)
        return cast("BinaryIO", ZstdFile(keep.enter_context(source.open())))

    def _by_package(self, source: Source, keep: ExitStack) -> BinaryIO:
        try:
            import zstandard
        except ImportError:
            raise NotCompared("zstandard is not installed") from None
        reader = zstandard.ZstdDecompressor().stream_reader(
            keep.enter_context(source.open()), read_across_frames=True
        )
        return cast("BinaryIO", reader)


class Zlib(_Compressed):
    """A bare stream of zlib, as joblib writes it."""

    name = "zlib"
    _mark = b"x"
    _ENDINGS = (".pkl", ".pickle", ".joblib", ".z", ".zlib")

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it begins so and is called so: the two bytes alone say little."""
        return head[:2] in (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda") and name.endswith(self._ENDINGS)

    def _unpack(self, source: Source, keep: ExitStack) -> BinaryIO:
        return MadeSource(lambda: _inflated(source), source.allowance).stream()


def _inflated(source: Source) -> Iterator[bytes]:
    unpacker = zlib.decompressobj()
    with source.stream() as file:
        while data := unpacker.unconsumed_tail or file.read(BLOCK_BYTES):
            if piece := unpacker.decompress(data, BLOCK_BYTES):
                yield piece
    if not unpacker.eof:
        raise zlib.error("it ends too early")
