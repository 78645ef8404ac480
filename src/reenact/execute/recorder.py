"""Write down what a run does while it does it: output, metrics, use of the machine.

The recorder must never be the reason why a run fails. What it cannot write down it counts, and
`warnings` says so; the script goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol

from reenact.execute.metric_file import MetricFileTail
from reenact.execute.metric_text import LineMetrics
from reenact.execute.sampler import Sampler
from reenact.model.metrics import Point, Summarizer, Summary
from reenact.model.run import Remark, Usage
from reenact.store.metric_log import MetricWriter
from reenact.store.output_log import STDERR, STDOUT, OutputWriter

METRICS_FILE = "metrics.lines"
"""Name of the file in `.reenact/` that `$REENACT_METRICS` names."""

_POLL_S = 1.0
_SOURCE_OUTPUT = "output"
_SOURCE_FILE = "file"
_SOURCE_SYSTEM = "system"


class PointSource(Protocol):
    """Something beside the output that reports points while the run lasts."""

    def poll(self) -> Iterable[tuple[str, list[Point]]]:
        """Return what has come since the last call, by source: `events:<path>`."""


class Recorder:
    """Listens to a run's process and keeps what it says. See `supervise.Listener`."""

    def __init__(
        self, directory: str, *, exclude: frozenset[str], sources: Iterable[PointSource] = ()
    ) -> None:
        """Begin.

        Args:
            directory: the run's `.reenact/`.
            exclude: names that are never metrics when they are printed: the run's flags.
            sources: where else points come from.
        """
        self._output = OutputWriter(directory)
        self._points = MetricWriter(directory)
        self._summarizer = Summarizer()
        self._lines = {
            STDOUT: LineMetrics(exclude),
            STDERR: LineMetrics(exclude),
        }
        self._file = MetricFileTail(f"{directory}/{METRICS_FILE}")
        self._sources = list(sources)
        self._sampler: Sampler | None = None
        self._poll_at = time.monotonic() + _POLL_S
        self._sample_at: float | None = None
        self._lost_output = 0
        self._lost_reason: str | None = None

    def watch_process(self, pid: int) -> None:
        """Sample what the process tree of `pid` uses from now on."""
        self._sampler = Sampler(pid)
        self._sample_at = time.monotonic() + self._sampler.next_interval()

    def output(self, stream: int, data: bytes, time_ns: int) -> None:
        """Keep what the process printed, and the metrics in it."""
        try:
            self._output.append(stream, data, time_ns)
        except OSError as error:
            self._lost_output += len(data)
            self._lost_reason = error.strerror
        self._keep(self._lines[stream].feed(data, time_ns), _SOURCE_OUTPUT)

    def tick(self, now_s: float) -> None:
        """Do what is due."""
        if now_s >= self._poll_at:
            self._poll_at = now_s + _POLL_S
            self._poll()
        if self._sample_at is not None and self._sampler is not None and now_s >= self._sample_at:
            self._keep(self._sampler.sample(time.time_ns()), _SOURCE_SYSTEM)
            self._sample_at = now_s + self._sampler.next_interval()

    def finish(self) -> None:
        """Take in what is still under way and bring everything to disk."""
        for lines in self._lines.values():
            self._keep(lines.finish(time.time_ns()), _SOURCE_OUTPUT)
        self._poll()
        if self._sampler is not None:
            self._sampler.close()
        for writer in (self._output, self._points):
            try:
                writer.close()
            except OSError as error:
                self._lost_reason = error.strerror

    @property
    def summaries(self) -> dict[str, Summary]:
        """What the metrics come to so far."""
        return self._summarizer.summaries()

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
        if self._points.lost:
            message = f"{self._points.lost} metric points could not be stored{reason}"
            warnings.append(Remark(code="metrics-lost", message=message))
        if self._file.rejected:
            message = f"lines of $REENACT_METRICS that are no metric: {self._file.rejected[0]!r}"
            warnings.append(Remark(code="metric-line", message=message))
        if self._sampler is not None and self._sampler.gpu_failure:
            message = f"the GPUs could not be sampled: {self._sampler.gpu_failure}"
            warnings.append(Remark(code="gpu", message=message))
        return warnings

    def _poll(self) -> None:
        self._keep(self._file.poll(), _SOURCE_FILE)
        for source in self._sources:
            for name, points in source.poll():
                self._keep(points, name)

    def _keep(self, points: list[Point], source: str) -> None:
        if not points:
            return
        for point in points:
            self._summarizer.add(point)
        try:
            self._points.append(points, source)
        except OSError as error:
            self._lost_reason = error.strerror
