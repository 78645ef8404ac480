"""What a run printed: the bytes as they came, and beside them when and on which stream.

`output` holds the bytes of both streams in the order in which they came, so that `cat` and `grep`
work on it. `output.index` holds 16 bytes for each piece: `<q time_ns><I length><B stream><3 zero>`,
little-endian. The bytes are written first: after a crash the end of `output` may have no index
entry, and an entry may be torn. Readers take such bytes as standard output of an unknown time.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from reenact.store.files import read_file, write_all

STDOUT = 1
STDERR = 2

_ENTRY = struct.Struct("<qIB3x")
_READ = 1 << 20
_LONGEST = 1 << 30


class Piece(NamedTuple):
    """Bytes that came together. `time_ns` is None where a crash left no time."""

    time_ns: int | None
    stream: int
    data: bytes


class OutputWriter:
    """Append to a run's output. No file exists until the first byte came.

    What an earlier writer left is continued; bytes to which it had no more time to write an entry
    get one, with the time at which the file was last written.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._data: int | None = None
        self._index: int | None = None
        self._data_size = 0
        self._index_size = 0
        self._is_torn = False

    def append(self, stream: int, data: bytes, time_ns: int) -> None:
        """Keep one piece, all of it or, when there is no room, none.

        Raises:
            OSError: it could not be written.
        """
        if self._data is None or self._index is None:
            self._open()
        assert self._data is not None
        assert self._index is not None
        if self._is_torn:
            self._cut()
        self._is_torn = True
        try:
            write_all(self._data, data)
            write_all(self._index, _ENTRY.pack(time_ns, len(data), stream))
        except OSError:
            self._cut()
            raise
        self._is_torn = False
        self._data_size += len(data)
        self._index_size += _ENTRY.size

    def close(self) -> None:
        """Bring everything to disk."""
        descriptors = [d for d in (self._data, self._index) if d is not None]
        self._data = self._index = None
        try:
            for descriptor in descriptors:
                os.fsync(descriptor)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        data = os.open(f"{self._directory}/output", flags, 0o666)
        try:
            index = os.open(f"{self._directory}/output.index", flags, 0o666)
        except OSError:
            os.close(data)
            raise
        try:
            self._mend(data, index)
        except OSError:
            os.close(data)
            os.close(index)
            raise
        self._data, self._index = data, index

    def _mend(self, data: int, index: int) -> None:
        status = os.fstat(data)
        entries = _read_index(self._directory)
        whole = len(entries) - len(entries) % _ENTRY.size
        indexed = 0
        for at in range(0, whole, _ENTRY.size):
            length = _ENTRY.unpack_from(entries, at)[1]
            if indexed + length > status.st_size:
                whole = at
                break
            indexed += length
        self._data_size, self._index_size = indexed, whole
        os.ftruncate(index, whole)
        while self._data_size < status.st_size:
            length = min(status.st_size - self._data_size, _LONGEST)
            write_all(index, _ENTRY.pack(status.st_mtime_ns, length, STDOUT))
            self._data_size += length
            self._index_size += _ENTRY.size

    def _cut(self) -> None:
        """Take away what was written of a piece: later ones would be read from a wrong place."""
        assert self._data is not None
        assert self._index is not None
        os.ftruncate(self._data, self._data_size)
        os.ftruncate(self._index, self._index_size)
        self._is_torn = False


def read_output(directory: str, *, start: int = 0) -> Iterator[Piece]:
    """Yield what a run printed, in order.

    Args:
        directory: the run's `.reenact/`.
        start: number of bytes to leave out at the beginning, for readers that follow a run; it
            must be the end of a piece that was read before.
    """
    try:
        descriptor = os.open(f"{directory}/output", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        index = _read_index(directory)
        position = 0
        for time_ns, length, stream in _ENTRY.iter_unpack(_whole(index)):
            if position >= start:
                data = os.pread(descriptor, length, position)
                if data:
                    yield Piece(time_ns, stream, data)
            position += length
        position = max(position, start)
        while data := os.pread(descriptor, _READ, position):
            position += len(data)
            yield Piece(None, STDOUT, data)
    finally:
        os.close(descriptor)


def find_damage(directory: str) -> str | None:
    """Say what is wrong with the output of a run that has ended; None if nothing is."""
    index = _read_index(directory)
    indexed = sum(length for _, length, _ in _ENTRY.iter_unpack(_whole(index)))
    size = output_size(directory)
    if len(index) % _ENTRY.size:
        return "the last entry of output.index is torn"
    if size > indexed:
        return f"{size - indexed} bytes of output have no entry in output.index"
    if size < indexed:
        return f"{indexed - size} bytes of output are missing"
    return None


def output_size(directory: str) -> int:
    """Return how many bytes a run has printed so far."""
    try:
        return os.stat(f"{directory}/output").st_size
    except OSError:
        return 0


def _whole(index: bytes) -> bytes:
    return index[: len(index) - len(index) % _ENTRY.size]


def _read_index(directory: str) -> bytes:
    try:
        return read_file(f"{directory}/output.index")
    except FileNotFoundError:
        return b""
