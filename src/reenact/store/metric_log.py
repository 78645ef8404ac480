"""The points of a run on disk: appended while it runs, whole up to the last one after `kill -9`.

Two files in the run's `.reenact` directory, both absent until there is a first point:

`metrics`        records of 32 bytes, little-endian, in the order in which they came: time in
                 nanoseconds (int64), step (int64), value (float64), name (uint32), marker (uint32)
`metrics.names`  one JSON object per line: `{"name": "loss", "source": "output"}`; a record's name
                 is the number of a line here, counted from 0

Once a run has ended, many points are kept in columns in place of `metrics`: see `metric_parts`.

A name is written before the first record that uses it. A record counts if it is whole and ends in
the marker, so that what a crash left behind (half a record, a hole of zeros) is never a number.
Only one writer at a time; any number of readers, without a lock, also while it is written.

Not promised: that points outlive a power cut before `close`, which is what calls `fsync`.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from struct import error
from typing import NamedTuple, TypeAlias

import msgspec

from reenact.model.metrics import Point, Summarizer, best_kind, kind_of
from reenact.store.metric_block import (
    RECORD,
    Block,
    Columns,
    largest,
    numpy_for,
    pack,
    pick,
    regroup,
    split,
)
from reenact.store.metric_parts import (
    LARGE_POINTS,
    NAMES_FILE,
    compact,
    find_parts,
    open_part,
)

_Key: TypeAlias = tuple[str, str]
"""A metric's name and a kind of source."""


class MetricName(msgspec.Struct, frozen=True):
    """A metric's name and where it came from, such as `output`, `events:<path>`, `keras:<process>`."""

    name: str
    source: str


class Series(NamedTuple):
    """The points of one metric in the order in which they came, a column each.

    `numpy.asarray` of a column costs nothing.
    """

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
            assert self._names is not None
            assert self._records is not None
            records, new_names = self._pack(points, source)
            if new_names:
                self._append_names(new_names)
            self._records.append(records, unit=RECORD.size)
            self._is_failing = False
        except _ShortWriteError as failure:
            stored = failure.written // RECORD.size
            self._fail(len(points) - stored, failure.cause)
        except OSError as failure:
            self._fail(len(points), failure)

    def close(self, *, sync: bool = True) -> None:
        """Make the points outlive a power cut, too; the writer can be used again afterwards.

        Args:
            sync: wait for the disk; without it a power cut may take the points.
        """
        files = [file for file in (self._names, self._records) if file is not None]
        self._names = self._records = None
        self._numbers.clear()
        try:
            for file in files if sync else ():
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
            records = _File(open_part(self._directory))
        except OSError:
            self._numbers.clear()
            os.close(names.descriptor)
            raise
        self._names, self._records = names, records
        records.cut(records.size - records.size % RECORD.size)

    def _pack(self, points: list[Point], source: str) -> tuple[bytearray, list[MetricName]]:
        assert self._names is not None
        names = [point[0] for point in points]
        new: dict[MetricName, int] = {}
        numbers: dict[str, int] = {}
        for name in dict.fromkeys(names):
            key = MetricName(name, source)
            number = self._numbers.get(key)
            if number is None:
                number = new[key] = self._names.lines + len(new)
            numbers[name] = number
        try:
            block = Block(
                array("I", [numbers[name] for name in names]),
                array("q", [point[2] for point in points]),
                array("q", [point[1] for point in points]),
                array("d", [point[3] for point in points]),
            )
        except (OverflowError, TypeError):
            raise ValueError(_say_which_does_not_fit(points)) from None
        return pack(block), list(new)

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

    Whatever reads points raises NotFound where they are Parquet and pyarrow is not installed, and
    Damaged where they are in columns that are not as they were written.

    Attributes:
        names: what `metrics.names` holds, None for a line that cannot be read.
        ignored_bytes: what is no whole line or record, or names no known metric; complete when the
            points have been read to their end.
    """

    def __init__(self, directory: str) -> None:
        # The records are measured before the names are read: each of them has its name by then.
        self._parts = find_parts(directory)
        data = _read(os.path.join(directory, NAMES_FILE))
        self.names = tuple(_parse_names(data))
        torn = sum(part.torn_bytes for part in self._parts)
        self._torn_bytes = torn + len(data) - (data.rfind(b"\n") + 1)
        self._has_gaps = None in self.names
        self.ignored_bytes = self._torn_bytes

    @property
    def records(self) -> int:
        """How many whole records there are, to be passed as `start` when more have come."""
        return sum(part.points() for part in self._parts)

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Yield the points as columns, from record number `start` on; every name is a known one."""
        self.ignored_bytes = self._torn_bytes
        ignored = 0
        try:
            for part in self._parts:
                count = part.points() if start else 0
                if start and start >= count:
                    start -= count
                    continue
                for block, bad in part.blocks(start):
                    known = self._known(block)
                    ignored += bad + len(block.numbers) - len(known.numbers)
                    if known.numbers:
                        yield known
                start = 0
        finally:
            self.ignored_bytes += ignored * RECORD.size

    def points(self, start: int = 0) -> Iterator[Point]:
        """Yield the points in the order in which they came, from record number `start` on."""
        for point, _ in self.points_and_kinds(start):
            yield point

    def points_and_kinds(self, start: int = 0) -> Iterator[tuple[Point, str]]:
        """Yield the points with the kind of source that each came from."""
        names = ["" if known is None else known.name for known in self.names]
        kinds = ["" if known is None else kind_of(known.source) for known in self.names]
        # tuple.__new__ makes the same Point without a Python frame for each.
        new = partial(tuple.__new__, Point)
        for numbers, times_ns, steps, values in self.blocks(start):
            fields = zip(map(names.__getitem__, numbers), steps, times_ns, values, strict=True)
            yield from zip(map(new, fields), map(kinds.__getitem__, numbers), strict=True)

    def series(
        self, name: str | None = None, *, kinds: Mapping[str, str] | None = None
    ) -> dict[str, Series]:
        """Return the points by metric in order of first appearance; of one metric if `name`.

        Args:
            name: the metric.
            kinds: metric -> the kind of source whose points are wanted; a metric that is not there
                has all of its points. None for the best kind: see `model.metrics.best_kind`.
        """
        keys = [
            (known.name, _kind(known, kinds)) if known is not None else ("", "")
            for known in self.names
        ]
        wanted = {
            number
            for number, known in enumerate(self.names)
            if known is not None
            and name in (None, known.name)
            and (kinds is None or kinds.get(known.name) in (None, kind_of(known.source)))
        }
        found: dict[tuple[str, str], Series] = {}
        for key, columns in self._split(keys, wanted if len(wanted) < len(self.names) else None):
            series = found.get(key)
            if series is None:
                series = found[key] = Series(array("q"), array("q"), array("d"))
            series.steps.frombytes(memoryview(columns.steps).cast("B"))
            series.times_ns.frombytes(memoryview(columns.times_ns).cast("B"))
            series.values.frombytes(memoryview(columns.values).cast("B"))
        by_name: dict[str, dict[str, Series]] = {}
        for key in dict.fromkeys(keys):
            if key in found:
                by_name.setdefault(key[0], {})[key[1]] = found[key]
        return {name: of_name[best_kind(of_name)] for name, of_name in by_name.items()}

    def summarize(self) -> Summarizer:
        """Return what the points come to, those of each kind of source apart."""
        keys = [("", "") if n is None else (n.name, kind_of(n.source)) for n in self.names]
        summarizer = Summarizer()
        for (name, kind), columns in self._split(keys, None):
            steps, values = columns.steps.tolist(), columns.values.tolist()
            summarizer.add_columns(name, kind, steps, values)
        return summarizer

    def sources(self) -> dict[str, tuple[str, ...]]:
        """Return for each metric where its points came from."""
        found: dict[str, tuple[str, ...]] = {}
        for known in self.names:
            if known is not None:
                found[known.name] = (*found.get(known.name, ()), known.source)
        return found

    def counts_by_source(self, since_ns: int = 0) -> dict[str, int]:
        """Return how many points came from each source at a time or after it."""
        counts: Counter[int] = Counter()
        for block in self.blocks():
            if min(block.times_ns) < since_ns:
                block = block.where([time_ns >= since_ns for time_ns in block.times_ns])
            counts.update(block.numbers)
        found: dict[str, int] = {}
        for number, count in sorted(counts.items()):
            known = self.names[number]
            assert known is not None
            found[known.source] = found.get(known.source, 0) + count
        return found

    def _split(
        self, keys: Sequence[_Key], wanted: set[int] | None
    ) -> Iterator[tuple[_Key, Columns]]:
        """Yield the points of each key together, in order, a piece at a time.

        Args:
            keys: a key for the number of each name.
            wanted: of which numbers; None for all.
        """
        first: dict[_Key, int] = {}
        group = [first.setdefault(key, number) for number, key in enumerate(keys)]
        is_plain = group == list(range(len(group)))
        np = numpy_for(self.records)
        for block in self.blocks():
            if wanted is not None:
                block = pick(block, wanted, np)
            if not is_plain:
                block = regroup(block, group, np)
            for number, part in split(block, np):
                yield keys[number], part

    def _known(self, block: Block) -> Block:
        """Return the points whose name is known."""
        if not self._has_gaps and largest(block.numbers) < len(self.names):
            return block
        known = {number for number, name in enumerate(self.names) if name is not None}
        return block.where([number in known for number in block.numbers])


def read_points(directory: str) -> Iterator[Point]:
    """Yield the points of the run whose `.reenact` directory this is, as they came."""
    return MetricLog(directory).points()


def read_series(
    directory: str, name: str | None = None, *, kinds: Mapping[str, str] | None = None
) -> dict[str, Series]:
    """Return the points of a run by metric: see `MetricLog.series`."""
    return MetricLog(directory).series(name, kinds=kinds)


def compact_points(directory: str, *, at_least: int = LARGE_POINTS) -> str | None:
    """Put the points of a run that has ended into columns, if there are many.

    Only for who holds the run's lock. See `metric_parts.compact`.
    """
    try:
        names = [n.name if n is not None else None for n in MetricLog(directory).names]
    except OSError:
        return None
    return compact(directory, names, at_least=at_least)


def _kind(known: MetricName, kinds: Mapping[str, str] | None) -> str:
    """Return under what to file the points of a name, if `kinds` are those that are wanted."""
    return kind_of(known.source) if kinds is None or known.name in kinds else ""


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

    def append(self, data: bytes | bytearray, *, unit: int) -> None:
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


def _say_which_does_not_fit(points: Iterable[Point]) -> str:
    for name, step, time_ns, value in points:
        try:
            RECORD.pack(time_ns, step, value, 0, 0)
        except (error, OverflowError):
            return f"a point of `{name}` does not fit: {step=} {time_ns=}"
    return "a point does not fit"


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
