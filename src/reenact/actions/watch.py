"""Follow a run while it goes on: its points as they come, what they come to, what it printed last.

Promised: every stored point is returned once, in order, and the last ones before `is_over`; reading
disturbs nobody. A sketch of a series keeps every extreme: where a column stands for many points, the
least and the greatest of them are both drawn, in the order in which they came.
Not promised: the order of points within a sketch other than that of its extremes.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import reduce
from itertools import pairwise
from typing import NamedTuple

from reenact.actions.context import Context
from reenact.execute.metric_text import TERMINAL_ESCAPES
from reenact.model.metrics import SAMPLED, Point, Summarizer, Summary, best_kind
from reenact.model.run import Status
from reenact.store.metric_log import MetricLog
from reenact.store.store import RECORD_DIRECTORY, StoredRun

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.:-=+*#"

_BUCKETS = 512
_TAIL_BYTES = 1 << 14
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Sketch:
    """The shape of a series in bounded memory, whatever its length.

    Points are kept in at most 512 buckets of equal size. A bucket has the least and the greatest
    number in it, in the order in which they came; NaN counts only where a bucket has nothing else.
    """

    def __init__(self) -> None:
        self._buckets: list[tuple[float, float]] = []
        self._size = 1
        self._filled = 0

    def add(self, value: float) -> None:
        """Take one more number into account."""
        if self._filled in (0, self._size):
            if len(self._buckets) == _BUCKETS:
                self._buckets = _halved(self._buckets)
                self._size *= 2
            self._buckets.append((value, value))
            self._filled = 1
            return
        self._filled += 1
        first, second = self._buckets[-1]
        if first <= value <= second or second <= value <= first:
            return
        if first <= second < value or value < second <= first:
            self._buckets[-1] = (first, value)
            return
        self._buckets[-1] = _merged((first, second), (value, value))

    def values(self, width: int) -> list[float]:
        """Return at most `width` numbers to draw, two at least, every extreme among them.

        As many as there are points where they fit, else two for each stretch of points: its least
        and its greatest number, in the order in which they came.
        """
        buckets = self._buckets
        if self._size == 1 and len(buckets) <= width:
            return [first for first, _ in buckets]
        count = min(len(buckets), max(1, width // 2))
        edges = [at * len(buckets) // count for at in range(count + 1)]
        merged = [reduce(_merged, buckets[start:end]) for start, end in pairwise(edges)]
        return [value for bucket in merged for value in bucket]


def _halved(buckets: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    pairs = [_merged(a, b) for a, b in zip(buckets[::2], buckets[1::2], strict=False)]
    return pairs if len(buckets) % 2 == 0 else [*pairs, buckets[-1]]


def _merged(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """Return the least and the greatest of the numbers of two buckets, in their order."""
    numbers = [value for value in (*a, *b) if value == value]
    if not numbers:
        return a
    low = min(range(len(numbers)), key=numbers.__getitem__)
    high = max(range(len(numbers)), key=numbers.__getitem__)
    return numbers[min(low, high)], numbers[max(low, high)]


def sparkline(values: Iterable[float], signs: str = BLOCKS) -> str:
    """Draw numbers, a character each, from the lowest sign at the least to the highest.

    NaN is `x`, infinities are `^` and `v`. Numbers that are all alike stand in the middle.
    """
    shown = list(values)
    finite = [value for value in shown if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    # Halves first: the distance of two floats may be more than a float holds.
    span = high / 2 - low / 2
    top = len(signs) - 1
    drawn = []
    for value in shown:
        if value != value:
            drawn.append("x")
        elif math.isinf(value):
            drawn.append("^" if value > 0 else "v")
        elif span == 0:
            drawn.append(signs[top // 2])
        else:
            drawn.append(signs[min(top, int((value / 2 - low / 2) / span * len(signs)))])
    return "".join(drawn)


class View(NamedTuple):
    """A run as it was at one look at it.

    Attributes:
        points: those that came since the look before, of the best kind of source known by now.
        kinds: what kind of source each of them came from.
        is_restarted: points seen before are gone; `points` are all there are.
        elapsed_s: since its start, or how long it took; None before it started.
        is_over: the run has ended; nothing will come after this.
    """

    stored: StoredRun
    points: list[Point]
    kinds: list[str]
    is_restarted: bool
    elapsed_s: float | None
    is_over: bool


class Watcher:
    """Look at a run again and again."""

    def __init__(
        self, context: Context, stored: StoredRun, *, with_all_sources: bool = False
    ) -> None:
        """Begin.

        Args:
            context: where the store is.
            stored: the run.
            with_all_sources: show what every kind of source says, as `loss (output)`, and not only
                the series.
        """
        self._sketches: dict[tuple[str, str], Sketch] = {}
        self._with_all = with_all_sources
        self._store = context.store
        self._id = stored.id
        self._directory = f"{stored.directory}/{RECORD_DIRECTORY}"
        self._position = 0
        self._summarizer = Summarizer()

    @property
    def summaries(self) -> dict[str, Summary]:
        """What every metric comes to so far, in order of first appearance."""
        if not self._with_all:
            return self._summarizer.summaries()
        names = dict.fromkeys(name for name, _ in self._sketches)
        return {
            f"{name} ({kind})": found
            for name in names
            for kind, found in self._summarizer.summaries_by_kind(name).items()
        }

    @property
    def sketches(self) -> dict[str, Sketch]:
        """The shape of every metric in `summaries`."""
        if self._with_all:
            return {f"{name} ({kind})": sketch for (name, kind), sketch in self._sketches.items()}
        best = self._best()
        return {name: self._sketches[name, kind] for name, kind in best.items()}

    def look(self, now: datetime | None = None) -> View:
        """Take in what has come since the last look.

        Raises:
            NotFound: the run is gone.
            Damaged: its record cannot be read.
        """
        # Before the points: what is written up to the end of the run is then seen in this look.
        stored = self._store.read_run(self._id)
        run = stored.record
        log = MetricLog(self._directory)
        is_restarted = log.records < self._position
        if is_restarted:
            self._position = 0
            self._summarizer = Summarizer()
            self._sketches = {}
        new = list(log.points_and_kinds(self._position))
        self._position = log.records
        for point, kind in new:
            self._summarizer.add(point, kind)
            sketch = self._sketches.get((point.name, kind))
            if sketch is None:
                sketch = self._sketches[point.name, kind] = Sketch()
            sketch.add(point.value)
        if not self._with_all:
            best = self._best()
            new = [(point, kind) for point, kind in new if kind == best[point.name]]
        points, kinds = [point for point, _ in new], [kind for _, kind in new]
        is_over = stored.status not in (Status.PENDING, Status.RUNNING)
        elapsed = run.duration_s
        if elapsed is None and run.started is not None and not is_over:
            elapsed = ((now or datetime.now(UTC)) - run.started).total_seconds()
        return View(stored, points, kinds, is_restarted, elapsed, is_over)

    def _best(self) -> dict[str, str]:
        """Return for every metric the kind of source whose points are its series."""
        kinds: dict[str, list[str]] = {}
        for name, kind in self._sketches:
            kinds.setdefault(name, []).append(kind)
        return {name: best_kind(of_name) for name, of_name in kinds.items()}

    def last_lines(self, count: int) -> list[str]:
        """Return the last lines that the run printed, as a terminal would show them, uncoloured."""
        if count <= 0:
            return []
        try:
            descriptor = os.open(f"{self._directory}/output", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return []
        try:
            size = os.fstat(descriptor).st_size
            start = max(0, size - _TAIL_BYTES)
            data = os.pread(descriptor, _TAIL_BYTES, start)
        finally:
            os.close(descriptor)
        lines = data.decode("utf-8", "replace").split("\n")
        if start > 0:
            # The first one is most likely torn.
            lines = lines[1:] or lines
        shown = [_as_shown(line) for line in lines]
        while shown and not shown[-1]:
            shown.pop()
        return shown[-count:]


def _as_shown(line: str) -> str:
    """Return what stands on the screen after a line with progress bars and colours in it."""
    line = TERMINAL_ESCAPES.sub("", line).rstrip("\r \t")
    # What follows a carriage return overwrites what stands before it.
    return _CONTROL.sub("", line.rpartition("\r")[2].expandtabs(8))


def point_sets(points: Iterable[Point]) -> list[list[Point]]:
    """Divide points into those that were reported together: of one step, a name once.

    Samples of the machine stand apart: they count their own steps.
    """
    sets: list[list[Point]] = []
    for point in points:
        if not sets or not belongs(point, sets[-1]):
            sets.append([])
        sets[-1].append(point)
    return sets


def belongs(point: Point, others: Sequence[Point]) -> bool:
    """Tell whether a point was reported together with others."""
    if point.step != others[-1].step or any(point.name == other.name for other in others):
        return False
    return point.name.startswith(SAMPLED) == others[-1].name.startswith(SAMPLED)
