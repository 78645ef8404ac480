"""Read the file named by `$REENACT_METRICS`, to which any program appends metrics, a line each.

    loss 0.5                                name value
    loss 0.5 100                            name value step
    loss=0.5 acc=0.9 step=100               pairs, `step` among them if known
    {"loss": 0.5, "step": 100}              JSON; `time` is in seconds since 1970
    {"name": "val loss", "value": 0.5}      JSON, for a name of any kind

Unlike printed text a line here is meant: all its numbers are metrics but those called `step`,
`global_step`, `iter`, `iteration`, `batch`, an integer `epoch` and `time`. A line that cannot be
read is kept, for a warning, and nothing of it is taken. Without a step it is how often the name was
seen before.

Not covered: a file that is emptied and filled again to at least its former size between two polls.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

from reenact.execute.metric_objects import decode_object, numbers_in
from reenact.execute.metric_steps import split_steps
from reenact.execute.metric_text import MAX_JSON_BYTES
from reenact.model.metrics import Point

MAX_REJECTED = 10

_CHUNK_BYTES = 1024 * 1024
_LATEST_S = 9e9


class MetricFileTail:
    """Return the points that were appended to a file since the last look; it may not exist yet.

    Attributes:
        rejected: the first lines that could not be read, at most `MAX_REJECTED`, shortened.
        rejected_count: how many there were.
    """

    def __init__(self, path: str, *, clock: Callable[[], int] = time.time_ns) -> None:
        self.rejected: list[str] = []
        self.rejected_count = 0
        self._path = path
        self._clock = clock
        self._file_id: tuple[int, int] | None = None
        self._offset = 0
        self._seen: dict[str, int] = {}
        self._is_skipping = False

    def poll(self) -> list[Point]:
        """Return the points of the lines that are complete; an unfinished one waits."""
        return self._read(is_final=False)

    def finish(self) -> list[Point]:
        """Return what is left when nobody writes any more, a last line without an end included."""
        return self._read(is_final=True)

    def _read(self, *, is_final: bool) -> list[Point]:
        points: list[Point] = []
        try:
            file = open(self._path, "rb", buffering=0)  # noqa: SIM115
        except FileNotFoundError:
            return points
        with file:
            facts = os.fstat(file.fileno())
            file_id = (facts.st_dev, facts.st_ino)
            if file_id != self._file_id or facts.st_size < self._offset:
                self._file_id = file_id
                self._offset = 0
                self._is_skipping = False
            file.seek(self._offset)
            now = self._clock()
            rest = b""
            while chunk := file.read(_CHUNK_BYTES):
                lines, newline, rest = (rest + chunk).rpartition(b"\n")
                if newline:
                    self._take(lines, now, points)
                    self._offset += len(lines) + 1
                if len(rest) > MAX_JSON_BYTES:
                    if not self._is_skipping:
                        self._reject(rest.decode("utf-8", "replace"))
                    self._is_skipping = True
                    self._offset += len(rest)
                    rest = b""
            if is_final and rest:
                self._take(rest, now, points)
                self._offset += len(rest)
        return points

    def _take(self, data: bytes, now: int, points: list[Point]) -> None:
        lines = data.split(b"\n")
        if self._is_skipping:
            self._is_skipping = False
            del lines[0]
        for raw in lines:
            # A writer that does not append leaves zeros where the file was emptied below it.
            line = raw.decode("utf-8", "replace").strip("\0 \t\r\ufeff")
            if not line:
                continue
            found = _read_object(line) if line[0] == "{" else _read_words(line)
            if found is None:
                self._reject(line)
                continue
            metrics, step, time_ns = found
            for name, value in metrics.items():
                count = self._seen.get(name, 0)
                self._seen[name] = count + 1
                when = now if time_ns is None else time_ns
                points.append(Point(name, count if step is None else step, when, value))

    def _reject(self, line: str) -> None:
        self.rejected_count += 1
        if len(self.rejected) < MAX_REJECTED:
            self.rejected.append(line if len(line) <= 200 else f"{line[:200]}...")


_Line = tuple[dict[str, float], int | None, int | None]


def _read_object(line: str) -> _Line | None:
    found = decode_object(line)
    if found is None:
        return None
    time_ns = None
    seconds = found.pop("time", None)
    if isinstance(seconds, int | float) and 0 <= seconds < _LATEST_S:
        fraction, whole = math.modf(seconds)
        time_ns = int(whole) * 1_000_000_000 + round(fraction * 1e9)
    elif seconds is not None:
        return None
    name = found.pop("name", None)
    if isinstance(name, str) and "value" in found:
        found[name] = found.pop("value")
    metrics, place = split_steps(list(numbers_in(found)))
    return (metrics, place.step(), time_ns) if metrics else None


def _read_words(line: str) -> _Line | None:
    words = line.split()
    if "=" in line:
        return _read_pairs(words)
    value = _number(words[1]) if 2 <= len(words) <= 3 else None
    if value is None:
        return None
    if len(words) == 2:
        return {words[0]: value}, None, None
    step = _integer(words[2])
    return None if step is None else ({words[0]: value}, step, None)


def _read_pairs(words: list[str]) -> _Line | None:
    """Read `loss=0.5 acc=0.9 step=3`, or `loss=0.5 3`."""
    step = _integer(words[-1]) if len(words) > 1 else None
    if step is not None:
        words = words[:-1]
    numbers = []
    for word in words:
        name, _, text = word.rpartition("=")
        value = _number(text)
        if not name or value is None:
            return None
        numbers.append((name, value, _integer(text) is not None))
    metrics, place = split_steps(numbers)
    return (metrics, place.step() if step is None else step, None) if metrics else None


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _integer(text: str) -> int | None:
    if len(text) > 18 or not text.lstrip("+-").isdecimal():
        return None
    try:
        return int(text)
    except ValueError:
        return None
