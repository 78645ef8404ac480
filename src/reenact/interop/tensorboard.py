"""Read scalars from TensorBoard's event files while they grow, without TensorBoard.

An event file is a sequence of records: length (uint64), its checksum (masked crc32c), data, the
data's checksum. The data is a protobuf `Event`: wall time, step, and summaries of a tag and a value.
A value is a float32 (`simple_value`) or a tensor of one number, of any real type.

Only the length's checksum is checked: it finds a torn or overwritten file at once, and checking
the data in pure Python would cost more than all the rest.

A metric's name is the tag, wherever the file lies, so that names are the same in every run: a
directory is often called after a date or a flag. Only directories called after a set of data
(`train`, `validation`, `loss_val`) come in front: `validation/epoch_loss`. Where the same name then
comes out of a second directory it gets `#2`, in the order in which they appeared.

Not covered: files that shrink or are replaced; images, histograms, text, hyperparameters.
"""

from __future__ import annotations

import math
import os
import re
import struct
import time
from typing import NamedTuple

from reenact.model.metrics import Point
from reenact.model.paths import path_to_text
from reenact.model.protobuf import fields, masked_crc, signed, varint

MARK = "tfevents"

_CHUNK_BYTES = 1024 * 1024
_HEADER = struct.Struct("<QI")
_FOOTER_BYTES = 4
# Above this a record is a graph or a picture, never a scalar; it is stepped over unread.
_MAX_RECORD_BYTES = 16 * 1024 * 1024
_MAX_TAG_LENGTH = 500
_DIRECTORIES_A_POLL = 1000
# A directory whose time is this recent may change again without its time telling so.
_SETTLED_NS = 2_000_000_000

_SETS = frozenset("dev eval evaluation test testing train training val valid validation".split())
_PLAIN_WORDS = re.compile(r"[A-Za-z]+(?:[_.-][A-Za-z]+)*")
_NOT_LETTERS = re.compile(r"[_.-]")


class EventFileTail:
    """Return the points that were added to one event file since the last look.

    Attributes:
        damaged: how many records could not be read; after a bad length nothing more is read.
    """

    def __init__(self, path: str) -> None:
        self.damaged = 0
        self._path = path
        self._offset = 0
        self._is_broken = False
        self._plugins: dict[bytes, bytes] = {}

    def poll(self) -> list[Point]:
        """Return the points of whole records; a torn one is tried again at the next poll."""
        points: list[Point] = []
        try:
            size = os.stat(self._path).st_size
            if self._is_broken or size < self._offset + _HEADER.size:
                return points
            with open(self._path, "rb", buffering=0) as file:
                while self._read_records(file.fileno(), size, points):
                    pass
        except OSError:
            pass
        return points

    def _read_records(self, descriptor: int, size: int, points: list[Point]) -> bool:
        """Read the records in the next stretch of the file; return whether there may be more."""
        data = os.pread(descriptor, min(_CHUNK_BYTES, size - self._offset), self._offset)
        position = 0
        while position + _HEADER.size <= len(data):
            length, checksum = _HEADER.unpack_from(data, position)
            if masked_crc(data[position : position + 8]) != checksum:
                self.damaged += 1
                self._is_broken = True
                return False
            begin = position + _HEADER.size
            end = begin + length + _FOOTER_BYTES
            if end > len(data):
                if position == 0 and end <= size - self._offset:
                    if length <= _MAX_RECORD_BYTES:
                        data = os.pread(descriptor, length, self._offset + begin)
                        self._read_event(data, 0, length, points)
                    self._offset += end
                    return True
                break
            self._read_event(data, begin, begin + length, points)
            position = end
        self._offset += position
        return position > 0

    def _read_event(self, data: bytes, begin: int, end: int, points: list[Point]) -> None:
        step = 0
        time_ns = 0
        summaries: list[tuple[int, int]] = []
        try:
            for field, value, start, stop in fields(data, begin, end):
                if field == 1 and stop - start == 8:
                    time_ns = _nanoseconds(_DOUBLE.unpack_from(data, start)[0])
                elif field == 2:
                    step = signed(value)
                elif field == 5:
                    summaries.append((start, stop))
            for start, stop in summaries:
                for field, _, first, last in fields(data, start, stop):
                    if field == 1:
                        scalar = self._read_value(data, first, last)
                        if scalar is not None:
                            points.append(Point(scalar[0], step, time_ns, scalar[1]))
        except (IndexError, ValueError, struct.error):
            self.damaged += 1

    def _read_value(self, data: bytes, begin: int, end: int) -> tuple[str, float] | None:
        tag = b""
        number = tensor = None
        plugin = None
        for field, _, start, stop in fields(data, begin, end):
            if field == 1:
                tag = data[start:stop]
            elif field == 2 and stop - start == 4:
                number = _FLOAT.unpack_from(data, start)[0]
            elif field == 8:
                tensor = (start, stop)
            elif field == 9:
                plugin = _plugin(data, start, stop)
        if number is None and tensor is not None:
            # Only a tag's first value need say what it is for.
            plugin = self._plugins.setdefault(tag, plugin or b"")
            if plugin in _SCALAR_PLUGINS:
                number = _tensor_number(data, *tensor)
        if number is None or not tag or len(tag) > _MAX_TAG_LENGTH:
            return None
        return tag.decode("utf-8", "replace"), number


class Events(NamedTuple):
    """Points from one event file; `path` is relative to the run directory, as records spell it."""

    path: str
    points: list[Point]

    @property
    def source(self) -> str:
        """What `metrics.names` calls it."""
        return f"events:{self.path}"

    @property
    def stays(self) -> bool:
        """An event file is an output of the run, which it may change."""
        return False


class EventDirectoryTail:
    """Return the points that were added to any event file below a run directory.

    Links and `.reenact` are not followed: what they lead to is not of this run. With `since_ns`
    neither are files that were last changed before that time.

    A directory is listed again only when its time has changed, and at most `_DIRECTORIES_A_POLL`
    are asked for theirs at a poll; `finish` asks all.
    """

    def __init__(self, run_directory: str, *, since_ns: int = 0) -> None:
        self._root = run_directory
        self._since_ns = since_ns
        self._known: dict[str, int] = {run_directory: -1}
        self._due: list[str] = []
        self._tails: dict[str, EventFileTail] = {}
        self._older: set[str] = set()
        self._owners: dict[str, list[str]] = {}

    @property
    def damaged(self) -> int:
        """How many records could not be read in all files."""
        return sum(tail.damaged for tail in self._tails.values())

    def poll(self) -> list[Events]:
        """Return what was added since the last poll, by file."""
        self._scan(_DIRECTORIES_A_POLL)
        return self._read()

    def finish(self) -> list[Events]:
        """Return what is left when nobody writes any more."""
        self._scan(None)
        return self._read()

    def _read(self) -> list[Events]:
        found = []
        for path in sorted(self._tails):
            points = self._tails[path].poll()
            if points:
                relative = os.path.relpath(path, self._root)
                directory = os.path.dirname(relative)
                named = [point._replace(name=self._name(directory, point.name)) for point in points]
                found.append(Events(path_to_text(relative), named))
        return found

    def _name(self, directory: str, tag: str) -> str:
        """Return the tag's name, told apart from the same one out of another directory."""
        name = metric_name(directory, tag)
        owners = self._owners.setdefault(name, [])
        if directory not in owners:
            owners.append(directory)
        number = owners.index(directory) + 1
        return name if number == 1 else f"{name}#{number}"

    def _scan(self, limit: int | None) -> None:
        if limit is None or not self._due:
            self._due = list(self._known)
        count = len(self._due) if limit is None else limit
        batch, self._due = self._due[:count], self._due[count:]
        while batch:
            directory = batch.pop()
            try:
                changed = os.stat(directory).st_mtime_ns
            except OSError:
                self._known.pop(directory, None)
                continue
            if self._known.get(directory) != changed:
                is_settled = time.time_ns() - changed > _SETTLED_NS
                batch += self._list(directory)
                self._known[directory] = changed if is_settled else -1

    def _list(self, directory: str) -> list[str]:
        """Take note of a directory's event files; return the directories in it not yet known."""
        directories, files = _list_events(directory)
        for entry in files:
            if entry in self._tails or entry in self._older:
                continue
            try:
                is_older = os.stat(entry).st_mtime_ns < self._since_ns
            except OSError:
                continue
            if is_older:
                self._older.add(entry)
            else:
                self._tails[entry] = EventFileTail(entry)
        return [inner for inner in directories if inner not in self._known]


def metric_name(directory: str, tag: str) -> str:
    """Return the name for a tag in an event file of `directory`, relative to the run's."""
    parts = [part for part in path_to_text(directory).split("/") if _is_set(part)]
    return "/".join([*parts, tag])


def _is_set(part: str) -> bool:
    """Say whether a directory is called after a set of data, and after nothing that changes."""
    return _PLAIN_WORDS.fullmatch(part) is not None and not _SETS.isdisjoint(
        _NOT_LETTERS.split(part.lower())
    )


def _list_events(directory: str) -> tuple[list[str], list[str]]:
    """Return the directories and the event files in a directory, none where it cannot be read."""
    directories = []
    files = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != ".reenact":
                        directories.append(entry.path)
                elif MARK in entry.name and entry.is_file(follow_symlinks=False):
                    files.append(entry.path)
    except OSError:
        pass
    return directories, files


_FLOAT = struct.Struct("<f")
_DOUBLE = struct.Struct("<d")
_SCALAR_PLUGINS = (b"scalars", b"")

# TensorProto: how the one number is stored for each DataType, in `tensor_content` (a struct
# format) and in a field of its own (number, wire format of an element: a struct or a varint).
_TENSOR_TYPES = {
    1: ("f", 5, "f"),
    2: ("d", 6, "d"),
    3: ("i", 7, ""),
    4: ("B", 7, ""),
    5: ("h", 7, ""),
    6: ("b", 7, ""),
    9: ("q", 10, ""),
    14: ("H", 13, ""),
    17: ("H", 7, ""),
    19: ("e", 13, ""),
    22: ("I", 16, ""),
    23: ("Q", 17, ""),
}
_HALF, _BFLOAT16, _UINT64 = 19, 14, 23


def _nanoseconds(seconds: float) -> int:
    if not math.isfinite(seconds) or abs(seconds) > 9e9:
        return 0
    fraction, whole = math.modf(seconds)
    return int(whole) * 1_000_000_000 + round(fraction * 1e9)


def _plugin(data: bytes, begin: int, end: int) -> bytes:
    """Return the name of the plugin that a value's metadata says it is for."""
    for field, _, start, stop in fields(data, begin, end):
        if field == 1:
            for inner, _, first, last in fields(data, start, stop):
                if inner == 1:
                    return data[first:last]
    return b""


def _tensor_number(data: bytes, begin: int, end: int) -> float | None:
    """Return the number of a tensor that holds one real number, None for any other."""
    kind = 0
    elements = 1
    content = None
    stored: dict[int, tuple[int, int]] = {}
    for field, value, start, stop in fields(data, begin, end):
        if field == 1:
            kind = value
        elif field == 2:
            elements = _elements(data, start, stop)
        elif field == 4:
            content = data[start:stop]
        else:
            stored[field] = (start, stop)
    if kind not in _TENSOR_TYPES or elements != 1:
        return None
    code, field, element = _TENSOR_TYPES[kind]
    if content:
        number = struct.unpack("<" + code, content)[0]
        return _bfloat16(number) if kind == _BFLOAT16 else float(number)
    if field not in stored:
        # Protobuf leaves zeros out.
        return 0.0
    start, stop = stored[field]
    if element:
        return float(struct.unpack_from("<" + element, data, start)[0])
    number = varint(data, start)[0]
    if kind == _HALF:
        return float(struct.unpack("<e", struct.pack("<H", number & 0xFFFF))[0])
    if kind == _BFLOAT16:
        return _bfloat16(number & 0xFFFF)
    return float(number if kind == _UINT64 else signed(number))


def _bfloat16(bits: int) -> float:
    return float(_FLOAT.unpack(struct.pack("<I", bits << 16))[0])


def _elements(data: bytes, begin: int, end: int) -> int:
    """Return how many elements a tensor of this shape has."""
    count = 1
    for field, _, start, stop in fields(data, begin, end):
        if field == 2:
            size = 0
            for inner, value, _, _ in fields(data, start, stop):
                if inner == 1:
                    size = signed(value)
            count *= size
    return count
