"""Read what the probe's processes tell of a run while it lasts: `.reenact/probe/`.

The format is that of `probe/shim/_reenact/journal.py`; the format page has it, too.
"""

from __future__ import annotations

import json
import os
from struct import Struct
from typing import Any, NamedTuple

from reenact.model.metrics import Point

PROBE_DIRECTORY = "probe"
"""In the run's `.reenact/`."""

_RECORD = Struct("<qqdII")
_MARKER = int.from_bytes(b"rnt1", "little")
_HEADER = int.from_bytes(b"rntj", "little")
_CHUNK_BYTES = 1 << 18
_MOST_EVENTS_BYTES = 1 << 28


class Reported(NamedTuple):
    """Points of one process from one origin; `source` is what `metrics.names` calls them."""

    source: str
    points: list[Point]


class Event(NamedTuple):
    """Something that a process told which is no point.

    Attributes:
        process: which process: the key of its files.
        kind: what; see `journal.py` for the kinds and their fields.
        fields: the rest.
    """

    process: str
    kind: str
    fields: dict[str, Any]


class JournalTail:
    """Return what has been added to the journals of a run's processes since the last look.

    Attributes:
        events: everything so far that is no point, in order of appearance by process.
        lost: how many points found no room.
    """

    def __init__(self, record_directory: str) -> None:
        self.events: list[Event] = []
        self._directory = f"{record_directory}/{PROBE_DIRECTORY}"
        self._journals: dict[str, _Journal] = {}

    @property
    def lost(self) -> int:
        """How many points found no room."""
        return sum(journal.lost for journal in self._journals.values())

    def poll(self) -> list[Reported]:
        """Return the points that have come, at most some hundred thousand of a process."""
        return self._read(is_final=False)

    def finish(self) -> list[Reported]:
        """Return what is left when no process writes any more."""
        return self._read(is_final=True)

    def _read(self, *, is_final: bool) -> list[Reported]:
        try:
            names = os.listdir(self._directory)
        except OSError:
            return []
        for key in sorted({name.partition(".")[0] for name in names} - self._journals.keys()):
            self._journals[key] = _Journal(f"{self._directory}/{key}", key)
        found = []
        for journal in self._journals.values():
            found += journal.read(self.events, is_final=is_final)
        return found


class _Journal:
    def __init__(self, path: str, key: str) -> None:
        self.lost = 0
        self._path = path
        self._key = key
        self._names: dict[int, tuple[str, str]] = {}
        self._events_at = 0
        self._index = 0
        # Records that were not written when later ones were: a thread was interrupted.
        self._holes: list[int] = []

    def read(self, events: list[Event], *, is_final: bool) -> list[Reported]:
        """Return new points, add new events to `events`."""
        found: dict[str, list[Point]] = {}
        # Points before events: the name of a point that is there is there, too.
        records = self._read_records(is_final=is_final)
        self._read_events(events)
        for time_ns, step, value, number in records:
            known = self._names.get(number)
            if known is None:
                self.lost += 1
                continue
            name, source = known
            found.setdefault(source, []).append(Point(name, step, time_ns, value))
        return [Reported(source, points) for source, points in found.items()]

    def _read_records(self, *, is_final: bool) -> list[tuple[int, int, float, int]]:
        records: list[tuple[int, int, float, int]] = []
        try:
            with open(f"{self._path}.points", "rb", buffering=0) as file:
                self._read_header(file.read(_RECORD.size))
                while True:
                    file.seek(self._index * _RECORD.size)
                    data = file.read(_CHUNK_BYTES)
                    if not self._take(data, records, is_final=is_final):
                        break
                if is_final:
                    for index in self._holes:
                        file.seek(index * _RECORD.size)
                        data = file.read(_RECORD.size)
                        if len(data) == _RECORD.size:
                            record = _RECORD.unpack(data)
                            if record[4] == _MARKER:
                                records.append(record[:4])
        except FileNotFoundError:
            pass
        return records

    def _read_header(self, data: bytes) -> None:
        if len(data) == _RECORD.size:
            _, lost, _, _, marker = _RECORD.unpack(data)
            if marker == _HEADER:
                self.lost = lost

    def _take(
        self, data: bytes, records: list[tuple[int, int, float, int]], *, is_final: bool
    ) -> bool:
        """Take in the records of a piece of the file; tell whether there may be more."""
        is_all = len(data) < _CHUNK_BYTES
        written = data.rstrip(b"\0")
        whole = -(-len(written) // _RECORD.size)
        whole = min(whole, len(data) // _RECORD.size)
        at = self._index
        for record in _RECORD.iter_unpack(data[: whole * _RECORD.size]):
            if record[4] == _MARKER:
                records.append(record[:4])
            elif record[4] != _HEADER:
                self._holes.append(at)
            at += 1
        self._index = at
        if is_final and not is_all:
            # What was set aside and never used may be followed by records that were appended.
            self._index += (_CHUNK_BYTES // _RECORD.size) - whole
            return True
        return not is_all and len(written) > len(data) - _RECORD.size

    def _read_events(self, events: list[Event]) -> None:
        try:
            with open(f"{self._path}.events", "rb", buffering=0) as file:
                file.seek(self._events_at)
                data = file.read(_MOST_EVENTS_BYTES)
        except FileNotFoundError:
            return
        end = data.rfind(b"\n") + 1
        self._events_at += end
        for line in data[:end].split(b"\n"):
            try:
                fields = json.loads(line)
                kind = fields.pop("k")
            except (ValueError, AttributeError, KeyError, TypeError):
                continue
            if kind == "name":
                source = f"{fields['origin']}:{self._key}"
                self._names[fields["id"]] = (fields["name"], source)
            else:
                events.append(Event(self._key, kind, fields))
