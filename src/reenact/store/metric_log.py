"""The points of a run on disk: appended while it runs, whole up to the last one after `kill -9`.

Two files in the run's `.reenact` directory, both absent until there is a first point:

`metrics`        records of 32 bytes, little-endian, in the order in which they came: time in
                 nanoseconds (int64), step (int64), value (float64), name (uint32), marker (uint32)
`metrics.names`  one JSON object per line: `{"name": "loss", "source": "output"}`; a record's name
                 is the number of a line here, counted from 0

A name is written before the first record that uses it. A record counts if it is whole and ends in
the marker, so that what a crash left behind (half a record, a hole of zeros) is never a number.
Only one writer at a time; any number of readers, without a lock, also while it is written.

Not promised: that points outlive a power cut before `close`, which is what calls `fsync`.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator
from struct import Struct, error
from typing import NamedTuple

import msgspec

from reenact.model.metrics import Point

POINTS_FILE = "metrics"
NAMES_FILE = "metrics.names"
MARKER = int.from_bytes(b"rnt1", "little")

_RECORD = Struct("<qqdII")
_CHUNK_BYTES = _RECORD.size * 8192


class MetricName(msgspec.Struct, frozen=True):
    """A metric's name and where it came from: `output`, `file` or `events:<relative path>`."""

    name: str
    source: str


class Series(NamedTuple):
    """The points of one metric in the order in which they came, a column each."""

    steps: array[int]
    times_ns: array[int]
    values: array[float]


class MetricWriter:
    """Append points to a run's metric files; they appear with the first point.

    What an earlier writer left is continued; its torn ends are cut off. `append` and `close` are
    for one thread at a time.

    Attributes:
        lost: how many points could not be stored.
    """

    def __init__(self, directory: str) -> None:
        self.lost = 0
        self._directory = directory
        self._numbers: dict[MetricName, int] = {}
        self._records: _File | None = None
        self._names: _File | None = None
        self._is_failing = False

    def append(self, points: Iterable[Point], source: str = "output") -> None:
        """Store points that came from `source`, with one write for all of them.

        When this returns they outlive the death of this process. Where there is no room they are
        counted in `lost`; an OSError says so at the first such call, and again only after a call
        that succeeded. What was stored before stays whole either way.

        Raises:
            OSError: the points cannot be written; some of the first ones may have been.
            ValueError: a step or a time does not fit 64 bits; nothing was written.
        """
        points = list(points)
        if not points:
            return
        stored = 0
        try:
            if self._records is None:
                self._open()
            records, new_names = self._pack(points, source)
            assert self._names is not None
            assert self._records is not None
            if new_names:
                self._append_names(new_names)
            self._records.append(records, unit=_RECORD.size)
            self._is_failing = False
        except _ShortWriteError as failure:
            stored = failure.written // _RECORD.size
            self._fail(len(points) - stored, failure.cause)
        except OSError as failure:
            self._fail(len(points), failure)

    def close(self) -> None:
        """Make the points outlive a power cut, too; the writer can be used again afterwards."""
        files = [file for file in (self._names, self._records) if file is not None]
        self._names = self._records = None
        self._numbers.clear()
        try:
            for file in files:
                os.fsync(file.descriptor)
        finally:
            for file in files:
                os.close(file.descriptor)

    def _open(self) -> None:
        names_path = os.path.join(self._directory, NAMES_FILE)
        names = _File(names_path)
        try:
            with open(names_path, "rb") as file:
                data = file.read()
            names.cut(data.rfind(b"\n") + 1)
            for number, known in enumerate(_parse_names(data)):
                if known is not None:
                    self._numbers[known] = number
            names.lines = data.count(b"\n")
            records = _File(os.path.join(self._directory, POINTS_FILE))
        except OSError:
            self._numbers.clear()
            os.close(names.descriptor)
            raise
        self._names, self._records = names, records
        records.cut(records.size - records.size % _RECORD.size)

    def _pack(self, points: list[Point], source: str) -> tuple[bytes, list[MetricName]]:
        assert self._names is not None
        new: dict[MetricName, int] = {}
        by_text: dict[str, int] = {}
        packed = []
        for name, step, time_ns, value in points:
            number = by_text.get(name)
            if number is None:
                key = MetricName(name, source)
                number = self._numbers.get(key)
                if number is None:
                    number = new[key] = self._names.lines + len(new)
                by_text[name] = number
            try:
                packed.append(_RECORD.pack(time_ns, step, value, number, MARKER))
            except error:
                raise ValueError(f"a point of `{name}` does not fit: {step=} {time_ns=}") from None
        return b"".join(packed), list(new)

    def _append_names(self, names: list[MetricName]) -> None:
        assert self._names is not None
        lines = b"".join(_encode_name(name) + b"\n" for name in names)
        try:
            self._names.append(lines, unit=len(lines))
        except _ShortWriteError as failure:
            raise failure.cause from None
        for name in names:
            self._numbers[name] = self._names.lines
            self._names.lines += 1

    def _fail(self, lost: int, cause: OSError) -> None:
        self.lost += lost
        if self._is_failing:
            return
        self._is_failing = True
        raise cause


class MetricLog:
    """The metrics of a run as they were on disk when this was made.

    Attributes:
        names: what `metrics.names` holds, None for a line that cannot be read.
        records: how many whole records there are, to be passed as `start` when more have come.
        ignored_bytes: what of both files is no whole line or record, or names no known metric;
            complete when `points` has been read to its end.
    """

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, POINTS_FILE)
        # The records are measured before the names are read: each of them has its name by then.
        size = _size(self._path)
        data = _read(os.path.join(directory, NAMES_FILE))
        self.names = tuple(_parse_names(data))
        self.records = size // _RECORD.size
        self._torn_bytes = size % _RECORD.size + len(data) - (data.rfind(b"\n") + 1)
        self.ignored_bytes = self._torn_bytes

    def points(self, start: int = 0) -> Iterator[Point]:
        """Yield the points in the order in which they came, from record number `start` on."""
        self.ignored_bytes = self._torn_bytes
        names = {number: known.name for number, known in enumerate(self.names) if known is not None}
        ignored = 0
        # tuple.__new__ makes the same Point without a Python frame for each.
        new = tuple.__new__
        try:
            for chunk in self._chunks(start):
                for time_ns, step, value, number, marker in _RECORD.iter_unpack(chunk):
                    if marker == MARKER and number in names:
                        yield new(Point, (names[number], step, time_ns, value))
                    else:
                        ignored += _RECORD.size
        finally:
            self.ignored_bytes += ignored

    def series(self, name: str | None = None) -> dict[str, Series]:
        """Return the points by metric in order of first appearance; of one metric if `name`."""
        found: dict[str, Series] = {}
        for point_name, step, time_ns, value in self.points():
            if name is not None and point_name != name:
                continue
            series = found.get(point_name)
            if series is None:
                series = found[point_name] = Series(array("q"), array("q"), array("d"))
            series.steps.append(step)
            series.times_ns.append(time_ns)
            series.values.append(value)
        return found

    def sources(self) -> dict[str, tuple[str, ...]]:
        """Return for each metric where its points came from."""
        found: dict[str, tuple[str, ...]] = {}
        for known in self.names:
            if known is not None:
                found[known.name] = (*found.get(known.name, ()), known.source)
        return found

    def counts_by_source(self, since_ns: int = 0) -> dict[str, int]:
        """Return how many points came from each source at a time or after it."""
        counts: dict[str, int] = {}
        sources = {n: known.source for n, known in enumerate(self.names) if known is not None}
        for chunk in self._chunks(0):
            for time_ns, _, _, number, marker in _RECORD.iter_unpack(chunk):
                if marker == MARKER and number in sources and time_ns >= since_ns:
                    source = sources[number]
                    counts[source] = counts.get(source, 0) + 1
        return counts

    def _chunks(self, start: int) -> Iterator[bytes]:
        left = (self.records - start) * _RECORD.size
        if left <= 0:
            return
        with open(self._path, "rb", buffering=0) as file:
            file.seek(start * _RECORD.size)
            while left > 0:
                data = file.read(min(left, _CHUNK_BYTES))
                data = data[: len(data) - len(data) % _RECORD.size]
                if not data:
                    return
                left -= len(data)
                yield data


def read_points(directory: str) -> Iterator[Point]:
    """Yield the points of the run whose `.reenact` directory this is, as they came."""
    return MetricLog(directory).points()


def read_series(directory: str, name: str | None = None) -> dict[str, Series]:
    """Return the points of a run by metric, or those of the one called `name`."""
    return MetricLog(directory).series(name)


class _ShortWriteError(Exception):
    def __init__(self, written: int, cause: OSError) -> None:
        super().__init__(written)
        self.written = written
        self.cause = cause


class _File:
    """A file that grows by whole units, or not at all."""

    __slots__ = ("_is_torn", "descriptor", "lines", "size")

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self.size = os.fstat(self.descriptor).st_size
        self.lines = 0
        self._is_torn = False

    def cut(self, size: int) -> None:
        if size < self.size:
            os.ftruncate(self.descriptor, size)
            self.size = size

    def append(self, data: bytes, *, unit: int) -> None:
        """Write `data`, or the whole units of it for which there is room."""
        if self._is_torn:
            os.ftruncate(self.descriptor, self.size)
            self._is_torn = False
        written = 0
        view = memoryview(data)
        try:
            while written < len(data):
                written += os.write(self.descriptor, view[written:])
        except OSError as failure:
            whole = written - written % unit
            self.size += whole
            self._is_torn = written != whole
            if self._is_torn:
                os.ftruncate(self.descriptor, self.size)
                self._is_torn = False
            raise _ShortWriteError(whole, failure) from failure
        self.size += written


def _encode_name(name: MetricName) -> bytes:
    try:
        return msgspec.json.encode(name)
    except UnicodeEncodeError:
        # A lone surrogate cannot be stored as UTF-8; it is shown by its escape instead.
        text, source = (
            part.encode("utf-8", "backslashreplace").decode() for part in (name.name, name.source)
        )
        return msgspec.json.encode(MetricName(text, source))


def _parse_names(data: bytes) -> list[MetricName | None]:
    return [_parse_name(line) for line in data.split(b"\n")[:-1]]


def _parse_name(line: bytes) -> MetricName | None:
    try:
        return msgspec.json.decode(line, type=MetricName)
    except msgspec.DecodeError:
        return None


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
