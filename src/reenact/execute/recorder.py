"""Write down what a run does while it does it: output, metrics, use of the machine.

The recorder must never be the reason why a run fails. What it cannot write down it counts, and
`warnings` says so; the script goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol, TypeVar

from reenact.execute.journals import MANY_POINTS
from reenact.execute.metric_file import MetricFileTail
from reenact.execute.metric_patterns import line_reader
from reenact.execute.params_told import IsParam
from reenact.execute.sampler import Sampler
from reenact.execute.testimony import METRICS_FILE
from reenact.model.metrics import Point, Summarizer, Summary, kind_of
from reenact.model.run import Remark, Run, Usage
from reenact.store.metric_log import MetricWriter
from reenact.store.output_log import STDERR, STDOUT, OutputWriter

if TYPE_CHECKING:
    from reenact.project.file.model import OutputScalars

SOURCE_OUTPUT = "output"
SOURCE_FILE = "file"
SOURCE_SYSTEM = "system"

_POLL_S = 0.5
_LEAST_PIECE = 4096
"""Bytes of output that are worth trying to store when more found no room."""
_MOST_FAILURES = 20
_Answer = TypeVar("_Answer")


def names_never_metrics(run: Run) -> frozenset[str]:
    """Return the names whose printed values are flags and no metrics.

    A script that echoes its command line prints flags. Literals at module level become flags
    whether anybody means them so or not (`best_acc = 0`): of those only the ones that were set.
    """
    return frozenset(run.given if run.operation.flags_kind == "globals" else run.flags)


class Batch(Protocol):
    """Points that came from one place."""

    @property
    def source(self) -> str:
        """Which place, as `metrics.names` says it: `events:runs/events.out.tfevents.1`."""

    @property
    def points(self) -> list[Point]:
        """What came, in order."""

    @property
    def stays(self) -> bool:
        """Whether it can be had again, after the end of the run, in the run's `.reenact/`."""


class PointSource(Protocol):
    """Something beside the output that reports points while the run lasts."""

    def poll(self) -> Iterable[Batch]:
        """Return what has come since the last call; with `MANY_POINTS` there may be more."""

    def finish(self) -> Iterable[Batch]:
        """Return what has come since, when nothing will come any more."""


class Recorder:
    """Listens to a run's process and keeps what it says. See `supervise.Listener`.

    Attributes:
        summarizer: what the metrics come to so far.
    """

    def __init__(
        self,
        directory: str,
        *,
        exclude: frozenset[str],
        sources: Iterable[PointSource] = (),
        is_param: IsParam | None = None,
        scalars: OutputScalars | None = None,
    ) -> None:
        """Begin.

        Args:
            directory: the run's `.reenact/`.
            exclude: names that are never metrics when they are printed.
            sources: where else points come from.
            is_param: tells of numbers that are known to be params.
            scalars: patterns for metrics in the output, instead of our own rules.
        """
        self._output = OutputWriter(directory)
        self._points = MetricWriter(directory)
        self.summarizer = Summarizer()
        self._lines = {
            STDOUT: line_reader(scalars, exclude, is_param),
            STDERR: line_reader(scalars, exclude, is_param),
        }
        self._file = MetricFileTail(f"{directory}/{METRICS_FILE}")
        self._sources = list(sources)
        self._sampler: Sampler | None = None
        self._poll_at = time.monotonic() + _POLL_S
        self._sample_at: float | None = None
        self._lost_output = 0
        self._lost_points = 0
        self._failures: list[str] = []
        self._lost_reason: str | None = None
        self._waiting: dict[str, int] = {}

    def watch_process(self, pid: int) -> None:
        """Sample what the process tree of `pid` uses from now on."""
        self._sampler = Sampler(pid)
        self._sample_at = time.monotonic() + self._sampler.next_interval()

    def output(self, stream: int, data: bytes, time_ns: int) -> None:
        """Keep what the process printed, and the metrics in it."""
        self._keep_output(stream, data, time_ns)
        found = self._ask("metrics in the output", lambda: self._lines[stream].feed(data, time_ns))
        self._keep(found or [], SOURCE_OUTPUT)

    def tick(self, now_s: float) -> None:
        """Do what is due."""
        if now_s >= self._poll_at:
            self._poll_at = now_s + _POLL_S
            self._poll()
        if self._sample_at is not None and self._sampler is not None and now_s >= self._sample_at:
            sampler = self._sampler
            found = self._ask("use of the machine", lambda: sampler.sample(time.time_ns()))
            self._keep(found or [], SOURCE_SYSTEM)
            self._sample_at = now_s + self._sampler.next_interval()

    def finish(self, *, was_cut_short: bool = False) -> None:
        """Take in what is still under way and bring everything to disk.

        Args:
            was_cut_short: a signal ended the process. Then a last line without an end may be half
                of one: of `loss: 0.12` nobody knows how it went on.
        """
        self._take_from_file(self._file.poll)
        for lines in self._lines.values():
            rest = lines.finish(time.time_ns(), was_cut_short=was_cut_short)
            self._keep(rest, SOURCE_OUTPUT)
        if not was_cut_short:
            self._take_from_file(self._file.finish)
        for source in self._sources:
            self._keep_batches(source.finish)
        if self._sampler is not None:
            self._sampler.close()
        for name, writer in (("output", self._output), ("metrics", self._points)):
            try:
                writer.close()
            except OSError as error:
                self._failures.append(f"{name} may not survive a power cut: {error.strerror}")

    @property
    def summaries(self) -> dict[str, Summary]:
        """What the metrics come to so far."""
        return self.summarizer.summaries()

    @property
    def waiting(self) -> int:
        """How many points found no room in the metrics, and are still where they were reported."""
        return sum(self._waiting.values())

    @property
    def usage(self) -> Usage | None:
        """What the samples say the process tree used at most."""
        return self._sampler.usage() if self._sampler is not None else None

    @property
    def warnings(self) -> list[Remark]:
        """What could not be written down."""
        warnings = []
        reason = f": {self._lost_reason}" if self._lost_reason else ""
        if self._lost_output:
            message = f"{self._lost_output} bytes of output could not be stored{reason}"
            warnings.append(Remark(code="output-lost", message=message))
        lost_points = self._points.lost + self._lost_points
        if lost_points:
            message = f"{lost_points} metric points could not be stored{reason}"
            warnings.append(Remark(code="metrics-lost", message=message))
        ignored = sum(lines.ignored_names for lines in self._lines.values())
        if ignored:
            message = f"{ignored} numbers in the output had new names beyond the limit: not kept"
            warnings.append(Remark(code="metrics-ignored", message=message))
        warnings += [Remark(code="recording", message=message) for message in self._failures]
        if self._file.rejected:
            count = self._file.rejected_count
            first = self._file.rejected[0]
            which = (
                "1 line of $REENACT_METRICS is"
                if count == 1
                else f"{count} lines of $REENACT_METRICS are"
            )
            message = f"{which} no metric, the first: {first!r}"
            warnings.append(Remark(code="metric-line", message=message))
        if self._sampler is not None and self._sampler.gpu_failure:
            message = f"the GPUs could not be sampled: {self._sampler.gpu_failure}"
            warnings.append(Remark(code="gpu", message=message))
        return warnings

    def _keep_output(self, stream: int, data: bytes, time_ns: int) -> bool:
        """Store what was printed; where there is no room for all of it, its beginning."""
        try:
            self._output.append(stream, data, time_ns)
        except OSError as error:
            self._lost_reason = error.strerror
            if len(data) > _LEAST_PIECE:
                half = len(data) // 2
                if self._keep_output(stream, data[:half], time_ns):
                    return self._keep_output(stream, data[half:], time_ns)
                self._lost_output += len(data) - half
            else:
                self._lost_output += len(data)
            return False
        return True

    def _poll(self) -> None:
        self._take_from_file(self._file.poll)
        for source in self._sources:
            if self._keep_batches(source.poll) >= MANY_POINTS:
                self._poll_at = 0.0

    def _ask(self, what: str, question: Callable[[], _Answer]) -> _Answer | None:
        """Ask a part of ours that must not end the run when it is wrong; say so in the record."""
        try:
            return question()
        except Exception as error:  # noqa: BLE001  # the run goes on whatever is wrong with us
            message = f"{what} could not be recorded: {type(error).__name__}: {error}"
            if message not in self._failures and len(self._failures) < _MOST_FAILURES:
                self._failures.append(message)
            return None

    def _keep_batches(self, read: Callable[[], Iterable[Batch]]) -> int:
        """Take in what a source has; return how many points."""
        count = 0

        def keep() -> None:
            nonlocal count
            for batch in read():
                count += len(batch.points)
                self._keep(batch.points, batch.source, stays=batch.stays)

        self._ask("metrics", keep)
        return count

    def _take_from_file(self, read: Callable[[], list[Point]]) -> None:
        try:
            points = read()
        except OSError as error:
            # The script has put something else in the file's place.
            message = f"$REENACT_METRICS could not be read: {error.strerror}"
            if message not in self._failures:
                self._failures.append(message)
            return
        self._keep(points, SOURCE_FILE)

    def _keep(self, points: list[Point], source: str, *, stays: bool = False) -> None:
        """Store points; those that stay where they came from wait there if there is no room."""
        if not points:
            return
        self.summarizer.add_all(points, kind_of(source))
        if source in self._waiting:
            # What is stored of a source is its beginning, so that the rest can be found again.
            self._waiting[source] += len(points)
            return
        lost_before = self._points.lost
        try:
            self._points.append(points, source)
        except OSError as error:
            self._lost_reason = error.strerror
        except ValueError as error:
            self._lost_points += len(points)
            self._lost_reason = str(error)
        if stays and self._points.lost > lost_before:
            self._waiting[source] = self._points.lost - lost_before
            self._points.lost = lost_before
