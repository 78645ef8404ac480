"""Where bytes to compare come from: a file, a part of one, a member of an archive."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import BinaryIO, Protocol, cast

BLOCK_BYTES = 1 << 20
"""How much is read at a time; a multiple of the size of every number."""

_HEAD_BYTES = 4096
# Larger copies of what is inside an archive go to a temporary file.
_IN_MEMORY_BYTES = 16 << 20
_LEAST_ALLOWANCE_BYTES = 1 << 30
_ALLOWANCE_FACTOR = 64


class Unreadable(Exception):
    """The content is not what its format says; the reason is the message."""


class NotCompared(Exception):
    """The content may be sound and is not looked into; the reason is the message."""


class Allowance:
    """How many bytes may still come out of what is packed in a file: bombs end here."""

    def __init__(self, size_bytes: int) -> None:
        self._left = self._limit = max(_LEAST_ALLOWANCE_BYTES, _ALLOWANCE_FACTOR * size_bytes)

    def take(self, count: int) -> None:
        """Note that `count` bytes were unpacked; raise `NotCompared` when that is too many."""
        self._left -= count
        if self._left < 0:
            raise NotCompared(f"it unpacks to more than {self._limit >> 30} GiB")


class Source(Protocol):
    """Bytes that can be read again and again.

    Attributes:
        name: what the file is called, without directories; its ending may tell the format.
        allowance: shared by a file and all that is unpacked from it.
    """

    name: str
    allowance: Allowance

    def open(self) -> BinaryIO:
        """Return a file at its begin, in which to seek. The caller closes it."""
        ...

    def stream(self) -> BinaryIO:
        """Return the same to be read once from begin to end, with no copy made."""
        ...


class FileSource:
    """A file of the file system; links are followed, only regular files can be opened."""

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.name = name
        with self.open() as file:
            self.allowance = Allowance(os.fstat(file.fileno()).st_size)

    def open(self) -> BinaryIO:
        """Return the file; raise `Unreadable` for one of another kind, which could block."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Unreadable("it is not a regular file")
        return os.fdopen(descriptor, "rb")

    def stream(self) -> BinaryIO:
        """Return the file."""
        return self.open()


class HeldSource:
    """Bytes in memory."""

    def __init__(self, data: bytes, name: str, allowance: Allowance) -> None:
        self._data = data
        self.name = name
        self.allowance = allowance

    def open(self) -> BinaryIO:
        """Return the bytes as a file."""
        return io.BytesIO(self._data)

    def stream(self) -> BinaryIO:
        """Return the bytes as a file."""
        return self.open()


class PartSource:
    """A stretch of another source."""

    def __init__(self, whole: Source, start: int, size: int, name: str = "") -> None:
        self._whole = whole
        self._start = start
        self._size = size
        self.name = name
        self.allowance = whole.allowance

    def open(self) -> BinaryIO:
        """Return the stretch as a file of its own."""
        return cast(
            "BinaryIO", io.BufferedReader(_Window(self._whole.open(), self._start, self._size))
        )

    def stream(self) -> BinaryIO:
        """Return the same."""
        return self.open()


class PackedSource:
    """What `unpack` returns: the content of a member or of a compressed file.

    The copy that seeking needs is made once and lives as long as `keep`.
    """

    def __init__(
        self, unpack: Callable[[], BinaryIO], name: str, allowance: Allowance, keep: ExitStack
    ) -> None:
        self._unpack = unpack
        self._keep = keep
        self._copy: Source | None = None
        self.name = name
        self.allowance = allowance

    def stream(self) -> BinaryIO:
        """Return what comes out of the archive, counted."""
        return cast("BinaryIO", io.BufferedReader(_Counted(self._unpack(), self.allowance)))

    def open(self) -> BinaryIO:
        """Return a copy."""
        if self._copy is None:
            self._copy = self._make_copy()
        return self._copy.open()

    def _make_copy(self) -> Source:
        with self.stream() as packed:
            data = packed.read(_IN_MEMORY_BYTES)
            if len(data) < _IN_MEMORY_BYTES:
                return HeldSource(data, self.name, self.allowance)
            copy = self._keep.enter_context(tempfile.NamedTemporaryFile(prefix="reenact-"))  # noqa: SIM115  # by `keep`
            copy.write(data)
            shutil.copyfileobj(packed, copy, BLOCK_BYTES)
            copy.flush()
        return FileSource(copy.name, self.name)


class MadeSource:
    """Bytes that a reader makes as they are asked for: the numbers of a dataset."""

    def __init__(
        self, make: Callable[[], Iterable[bytes]], allowance: Allowance, name: str = ""
    ) -> None:
        self._make = make
        self.name = name
        self.allowance = allowance

    def stream(self) -> BinaryIO:
        """Return the bytes, made anew."""
        return cast("BinaryIO", io.BufferedReader(_Made(iter(self._make()))))

    def open(self) -> BinaryIO:
        """Return all bytes, in memory."""
        with self.stream() as made:
            return io.BytesIO(made.read())


class _Window(io.RawIOBase):
    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file = file
        self._start = start
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, begin + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io's own type is private
        count = max(0, min(len(buffer), self._size - self._at))
        self._file.seek(self._start + self._at)
        data = self._file.read(count)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Counted(io.RawIOBase):
    def __init__(self, file: BinaryIO, allowance: Allowance) -> None:
        self._file = file
        self._allowance = allowance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io's own type is private
        data = self._file.read(len(buffer))
        self._allowance.take(len(data))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Made(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io's own type is private
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def blocks(source: Source, unit: int = 1) -> Iterator[bytes]:
    """Yield the bytes in equal blocks, the last one excepted, of whole units of so many bytes."""
    size = max(1, BLOCK_BYTES // max(unit, 1)) * max(unit, 1)
    with source.stream() as file:
        while block := file.read(size):
            yield block


def head(source: Source) -> bytes:
    """Return the first bytes, in which formats have their marks."""
    with source.stream() as file:
        return file.read(_HEAD_BYTES)


def all_bytes(source: Source, limit: int) -> bytes:
    """Return the whole content; raise `NotCompared` for one of more than `limit` bytes."""
    with source.stream() as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise NotCompared(f"it is larger than {limit >> 20} MiB")
    return data


def first_difference(original: Source, reproduced: Source) -> int | None:
    """Return the offset of the first byte that differs, None for equal bytes."""
    offset = 0
    other = blocks(reproduced)
    for block in blocks(original):
        counterpart = next(other, b"")
        if block != counterpart:
            return offset + _first_in(block, counterpart)
        offset += len(block)
    return None if next(other, None) is None else offset


def _first_in(block: bytes, counterpart: bytes) -> int:
    low, high = 0, min(len(block), len(counterpart))
    if block[:high] == counterpart[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if block[low:middle] == counterpart[low:middle]:
            low = middle
        else:
            high = middle
    return low
