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


class Piece(NamedTuple):
    """Bytes that came together. `time_ns` is None where a crash left no time."""

    time_ns: int | None
    stream: int
    data: bytes


class OutputWriter:
    """Append to a run's output. No file exists until the first byte came."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._data: int | None = None
        self._index: int | None = None

    def append(self, stream: int, data: bytes, time_ns: int) -> None:
        """Keep one piece.

        Raises:
            OSError: it could not be written, as a whole or in part.
        """
        if self._data is None or self._index is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._data = os.open(f"{self._directory}/output", flags, 0o666)
            self._index = os.open(f"{self._directory}/output.index", flags, 0o666)
        write_all(self._data, data)
        write_all(self._index, _ENTRY.pack(time_ns, len(data), stream))

    def close(self) -> None:
        """Bring everything to disk."""
        for descriptor in (self._data, self._index):
            if descriptor is not None:
                os.fsync(descriptor)
                os.close(descriptor)
        self._data = self._index = None


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
        for offset in range(0, len(index) - _ENTRY.size + 1, _ENTRY.size):
            time_ns, length, stream = _ENTRY.unpack_from(index, offset)
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


def output_size(directory: str) -> int:
    """Return how many bytes a run has printed so far."""
    try:
        return os.stat(f"{directory}/output").st_size
    except OSError:
        return 0


def _read_index(directory: str) -> bytes:
    try:
        return read_file(f"{directory}/output.index")
    except FileNotFoundError:
        return b""
