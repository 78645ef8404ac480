"""Read what the probe's processes tell of a run while it lasts: `.reenact/probe/`.

The format is that of `probe/shim/_reenact/journal.py`; the format page has it, too.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from itertools import repeat
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

from reenact.execute.testimony import RESERVE_FILE
from reenact.model.metrics import Point

if TYPE_CHECKING:
    from io import FileIO

PROBE_DIRECTORY = "probe"
"""In the run's `.reenact/`."""

MANY_POINTS = 1 << 15
"""With so many points from one `poll` there may be more: it returns twice as many at most."""

_RECORD = Struct("<qqdII")
_LOSS = Struct("<qq")
_MARKER = int.from_bytes(b"rnt1", "little")
_HEADER = int.from_bytes(b"rntj", "little")
_FIRST_RECORDS = 128
_CHUNK_RECORDS = 8192
_MOST_EVENTS_BYTES = 1 << 28
_PATIENCE_S = 1.0
"""A record that is not there when later ones are is waited for so long: a thread is writing it."""


class Reported(NamedTuple):
    """Points of one process from one origin; `source` is what `metrics.names` calls them."""

    source: str
    points: list[Point]

    @property
    def stays(self) -> bool:
        """Until the end of the run it is in its journal."""
        return True


class Event(NamedTuple):
    """Something that a process told which is no point.

    Attributes:
        process: which process: the key of its files.
        kind: what; see `journal.py` for the kinds and their fields.
        fields: the rest, as the process said it; text may hold lone surrogates.
    """

    process: str
    kind: str
    fields: dict[str, Any]


class JournalTail:
    """Return what has been added to the journals of a run's processes since the last look.

    Attributes:
        events: everything so far that is no point, in order of appearance by process.
    """

    def __init__(self, record_directory: str) -> None:
        self.events: list[Event] = []
        self._directory = f"{record_directory}/{PROBE_DIRECTORY}"
        self._reserve = f"{record_directory}/{RESERVE_FILE}"
        self._reserved: Counter[int] = Counter()
        self._journals: dict[str, _Journal] = {}
        # Those of processes that have ended are not looked at again before the end.
        self._active: list[_Journal] = []

    @property
    def lost(self) -> int:
        """How many points found no room."""
        told = Counter[int]()
        for key, journal in self._journals.items():
            told[int(key.partition("-")[0])] += journal.lost
        return sum((told | self._reserved).values())

    def poll(self) -> list[Reported]:
        """Return points that have come, some `MANY_POINTS` at most: it takes 0.05 s or less."""
        self._find_new()
        found: list[Reported] = []
        seen: list[_Journal] = []
        room = 2 * MANY_POINTS
        for journal in self._active:
            if room <= 0:
                break
            seen.append(journal)
            # Asked first: what a process wrote before its end is there when it has ended.
            is_alive = journal.is_alive()
            reported = journal.read(self.events, room)
            room -= sum(len(one.points) for one in reported)
            found += reported
            journal.is_active = is_alive or journal.has_more
        # Those that had to wait come first the next time.
        self._active = self._active[len(seen) :] + [one for one in seen if one.is_active]
        return found

    def read_events(self) -> None:
        """Take in the events that have come, and no points."""
        self._find_new()
        for journal in self._journals.values():
            if journal.is_active:
                journal.read_events(self.events)

    def finish(self) -> Iterator[Reported]:
        """Yield what is left when no process writes any more, a piece at a time."""
        self._find_new()
        for journal in self._journals.values():
            yield from journal.read_rest(self.events)
        self._read_reserve()

    def _read_reserve(self) -> None:
        """Read what was lost by processes that had no room for a journal: process, count."""
        try:
            with open(self._reserve, "rb") as file:
                data = file.read()
        except OSError:
            return
        for pid, count in _LOSS.iter_unpack(data[: len(data) - len(data) % _LOSS.size]):
            if pid > 0 and count > 0:
                self._reserved[pid] = count

    def _find_new(self) -> None:
        try:
            names = os.listdir(self._directory)
        except OSError:
            return
        for key in sorted({name.partition(".")[0] for name in names} - self._journals.keys()):
            journal = self._journals[key] = _Journal(f"{self._directory}/{key}", key)
            self._active.append(journal)


class _Journal:
    """The two files of one process."""

    def __init__(self, path: str, key: str) -> None:
        self.lost = 0
        self.is_active = True
        self.has_more = False
        self._path = path
        self._key = key
        self._names: dict[int, tuple[str, str]] = {}
        self._events_at = 0
        self._index = 0
        # Records that were not there when later ones were, and have been waited for in vain.
        self._holes: list[int] = []
        # Before this index holes are waited for, since that moment.
        self._waits_until = 0
        self._waits_since = 0.0

    def is_alive(self) -> bool:
        """Tell whether the process may still write."""
        try:
            os.kill(int(self._key.partition("-")[0]), 0)
        except ProcessLookupError:
            return False
        except (OSError, ValueError, OverflowError):
            pass  # Somebody else's, or nobody knows whose.
        return True

    def read(self, events: list[Event], room: int) -> list[Reported]:
        """Return new points, at most `room` of them; add new events to `events`.

        `has_more` says then whether there was more to read.
        """
        pieces = []
        try:
            with open(f"{self._path}.points", "rb", buffering=0) as file:
                self._read_header(file)
                count = _FIRST_RECORDS
                while room > 0:
                    count = min(count, room)
                    data = self._read_records(file, self._index, count)
                    whole = self._until_hole(data)
                    pieces.append(data[: whole * _RECORD.size])
                    self._index += whole
                    room -= whole
                    self.has_more = whole == count
                    if not self.has_more:
                        break
                    count = _CHUNK_RECORDS
        except FileNotFoundError:
            pass
        return self._points(pieces, events)

    def read_rest(self, events: list[Event]) -> Iterator[Reported]:
        """Yield all points that are left, a piece at a time; add new events to `events`."""
        try:
            with open(f"{self._path}.points", "rb", buffering=0) as file:
                self._read_header(file)
                late = [self._read_records(file, index, 1) for index in self._holes]
                self._holes = []
                yield from self._points(late, events)
                # Zeros are no end here: what was set aside and never used may be followed by
                # records that were appended.
                while data := self._read_records(file, self._index, _CHUNK_RECORDS):
                    self._index += len(data) // _RECORD.size
                    if data := _without_zeros(data):
                        yield from self._points([data], events)
        except FileNotFoundError:
            pass
        self.read_events(events)

    def _read_header(self, file: FileIO) -> None:
        data = self._read_records(file, 0, 1)
        if data:
            _, lost, _, _, marker = _RECORD.unpack(data)
            if marker == _HEADER:
                self.lost = max(self.lost, lost)

    def _read_records(self, file: FileIO, index: int, count: int) -> bytes:
        data = os.pread(file.fileno(), count * _RECORD.size, index * _RECORD.size)
        return data[: len(data) - len(data) % _RECORD.size]

    def _until_hole(self, data: bytes) -> int:
        """Return how many of these records, which are the next ones, can be taken in now."""
        data = data[: -(-len(data.rstrip(b"\0")) // _RECORD.size) * _RECORD.size]
        if _is_whole(data):
            return len(data) // _RECORD.size
        markers = [record[4] for record in _RECORD.iter_unpack(data)]
        written = len(markers)
        while written and markers[written - 1] not in (_MARKER, _HEADER):
            written -= 1
        now = time.monotonic()
        for at in range(written):
            index = self._index + at
            if markers[at] in (_MARKER, _HEADER):
                continue
            if index >= self._waits_until:
                self._waits_until = self._index + written
                self._waits_since = now
            if now - self._waits_since < _PATIENCE_S:
                return at
            self._holes.append(index)
        return written

    def _points(self, pieces: list[bytes], events: list[Event]) -> list[Reported]:
        """Make points of records."""
        # Events after records: the name of a point that is there is there, too.
        self.read_events(events)
        found: dict[str, list[Point]] = {}
        # Makes the same Point without a Python frame for each.
        new = tuple.__new__
        for data in filter(None, pieces):
            times, steps, values, numbers, _ = zip(*_RECORD.iter_unpack(data), strict=True)
            known = self._names.get(numbers[0])
            if known and numbers.count(numbers[0]) == len(numbers) and _is_whole(data):
                name, source = known
                fields = zip(repeat(name), steps, times, values)
                found.setdefault(source, []).extend(map(new, repeat(Point), fields))
                continue
            for time_ns, step, value, number, marker in _RECORD.iter_unpack(data):
                if marker != _MARKER:
                    continue
                known = self._names.get(number)
                if known is None:
                    self.lost += 1
                else:
                    name, source = known
                    point = new(Point, (name, step, time_ns, value))
                    found.setdefault(source, []).append(point)
        return [Reported(source, points) for source, points in found.items()]

    def read_events(self, events: list[Event]) -> None:
        """Add new events to `events`; names and losses are kept here."""
        try:
            with open(f"{self._path}.events", "rb", buffering=0) as file:
                # Nothing new, most of the time; and no room is taken for more than there is.
                new = os.fstat(file.fileno()).st_size - self._events_at
                if new <= 0:
                    return
                data = os.pread(file.fileno(), min(new, _MOST_EVENTS_BYTES), self._events_at)
        except FileNotFoundError:
            return
        end = data.rfind(b"\n") + 1
        self._events_at += end
        for line in data[:end].split(b"\n"):
            try:
                fields = json.loads(line)
                kind = fields.pop("k")
                if kind == "name":
                    source = storable(f"{fields['origin']}:{self._key}")
                    self._names[fields["id"]] = (storable(fields["name"]), source)
                elif kind == "lost":
                    self.lost = max(self.lost, fields["count"])
                else:
                    events.append(Event(self._key, kind, fields))
            except (ValueError, AttributeError, KeyError, TypeError):
                continue  # Half a line, of a process that was killed.


def _without_zeros(data: bytes) -> bytes:
    """Leave out records at the end that were set aside and not used: nearly all of a small file."""
    nothing = bytes(len(data))
    while data:
        half = len(data) // 2 // _RECORD.size * _RECORD.size
        if data[half:] != nothing[half : len(data)]:
            break
        data = data[:half]
    return data


def _is_whole(data: bytes) -> bool:
    """Tell whether all of these records have been written."""
    count = len(data) // _RECORD.size
    return all(
        data[28 + at :: _RECORD.size] == bytes([byte]) * count for at, byte in enumerate(b"rnt1")
    )


def storable(text: str) -> str:
    """Show lone surrogates, which no record can hold, by their escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
