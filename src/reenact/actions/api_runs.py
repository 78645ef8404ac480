"""Runs and metrics as the Python API shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from reenact.actions.context import Context
from reenact.actions.files import list_files
from reenact.actions.notes import change_tags, set_comment, set_label, set_mark
from reenact.errors import NotFound, UsageError
from reenact.model import run as model
from reenact.model.envelope import Column, envelope
from reenact.model.flags import FlagValue
from reenact.model.identity import RunId
from reenact.model.metrics import Point, Summary
from reenact.store.metric_log import MetricLog, Series, read_series
from reenact.store.output_log import STDERR, STDOUT, read_output
from reenact.store.store import RECORD_DIRECTORY, StoredRun

if TYPE_CHECKING:
    import pandas as pd


class Metric:
    """One metric of a run: what it comes to, and all of its points.

    Attributes:
        name: the metric's name.
        summary: what it comes to, as it is recorded.
        sources: kind of source -> how many points, where several kinds reported this name; the
            first kind is the one whose points these are, `others` has the rest.
        last, first: the values that were reported last and first.
        minimum, maximum, mean: over the values that are not NaN; None where there are none.
        count: how many points were reported, NaN included.
    """

    def __init__(
        self,
        name: str,
        summary: Summary,
        directory: str,
        *,
        sources: Mapping[str, int] | None = None,
        kinds: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.sources = dict(sources or {})
        self.summary = summary
        self.last = float(summary.last)
        self.first = float(summary.first)
        self.minimum = None if summary.minimum is None else float(summary.minimum)
        self.maximum = None if summary.maximum is None else float(summary.maximum)
        self.mean = None if summary.mean is None else float(summary.mean)
        self.count = summary.count
        self._directory = directory
        self._kinds = kinds

    def __repr__(self) -> str:
        return f"<Metric {self.name}: last {self.last}, {self.count} points>"

    @property
    def series(self) -> Series:
        """Steps, times (nanoseconds since 1970, UTC) and values: three arrays of equal length.

        `numpy.asarray` of one of them costs nothing.

        Raises:
            NotFound: there was no room for them, or they are kept as Parquet, and pyarrow is not
                installed.
        """
        found = read_series(self._directory, self.name, kinds=self._kinds)
        if self.name not in found:
            raise NotFound(
                f"the points of `{self.name}` are not there", hint="the run's warnings say why"
            )
        return found[self.name]

    @property
    def others(self) -> dict[str, Metric]:
        """What other kinds of sources reported under this name: `output` for what was printed.

        Their points are no part of this metric; nothing that was reported is dropped.
        """
        others = list(self.sources)[1:]
        if not others:
            return {}
        found = MetricLog(self._directory).summarize().summaries_by_kind(self.name)
        return {
            kind: Metric(self.name, found[kind], self._directory, kinds={self.name: kind})
            for kind in others
            if kind in found
        }

    def points(self) -> list[Point]:
        """Return every point in the order in which it was reported."""
        steps, times_ns, values = self.series
        found = zip(steps, times_ns, values, strict=True)
        return [Point(self.name, step, time_ns, value) for step, time_ns, value in found]

    def envelope(self, columns: int = 1000) -> list[Column]:
        """Return the series' shape in so many columns: least, greatest, first and last values."""
        series = self.series
        return envelope(series.steps, series.values, columns)


class Run:
    """A run in a store. It shows what was true when it was read; `refresh` reads it again.

    Attributes:
        result: what a function returned that `reenact.run` called; None for other runs.
    """

    result: Any = None

    def __init__(self, context: Context, stored: StoredRun) -> None:
        self._context = context
        self._stored = stored

    def __repr__(self) -> str:
        name = self._stored.run.operation.name if self._stored.run is not None else "?"
        return f"<Run {self.id[:8]} {name} {self.status}>"

    def refresh(self) -> None:
        """Read the run again."""
        self._stored = self._context.store.read_run(self._stored.id)

    @property
    def id(self) -> str:
        """The run's id, 32 hexadecimal digits."""
        return self._stored.id

    @property
    def record(self) -> model.Run:
        """All that is recorded; raises Damaged where the record cannot be read."""
        return self._stored.record

    @property
    def status(self) -> str:
        """`running`, `completed`, `failed`, `terminated`, `killed`, `pending` or `damaged`."""
        return str(self._stored.status)

    @property
    def directory(self) -> Path:
        """The run directory."""
        return Path(self._stored.directory)

    @property
    def operation(self) -> str:
        """The operation's name."""
        return self.record.operation.name

    @property
    def flags(self) -> dict[str, FlagValue]:
        """Every flag with its value, defaults included."""
        return dict(self.record.flags)

    @property
    def params(self) -> dict[str, FlagValue]:
        """Settings that frameworks used or the script told, by `<model>.<name>`."""
        return dict(self.record.params)

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics by name, in order of first appearance."""
        where = f"{self._stored.directory}/{RECORD_DIRECTORY}"
        record = self.record
        kinds = record.kinds_of_series
        return {
            name: Metric(name, found, where, sources=record.metric_sources.get(name), kinds=kinds)
            for name, found in record.metrics.items()
        }

    @property
    def outputs(self) -> list[Path]:
        """The files that the run left behind, sorted, those that are gone left out."""
        return self._paths("output")

    @property
    def inputs(self) -> list[Path]:
        """The project files that the run read, where they are now."""
        return self._paths("input")

    @property
    def started(self) -> datetime | None:
        """When the process started, in UTC."""
        return self.record.started

    @property
    def duration_s(self) -> float | None:
        """Seconds between start and end."""
        return self.record.duration_s

    @property
    def exit_status(self) -> int | None:
        """What a shell would show: 128 + n for a signal n; None while there is no end."""
        return None if self.record.exit is None else self.record.exit.shell_status

    @property
    def label(self) -> str | None:
        """The label; assign to change it."""
        return self._stored.notes.label

    @label.setter
    def label(self, text: str | None) -> None:
        set_label(self._context, [self._stored.id], text_for("label", text))
        self.refresh()

    @property
    def comment(self) -> str | None:
        """The comment; assign to change it."""
        return self._stored.notes.comment

    @comment.setter
    def comment(self, text: str | None) -> None:
        set_comment(self._context, [self._stored.id], text_for("comment", text))
        self.refresh()

    @property
    def is_marked(self) -> bool:
        """Whether the run is marked; assign to change it."""
        return self._stored.notes.marked

    @is_marked.setter
    def is_marked(self, marked: bool) -> None:
        set_mark(self._context, [self._stored.id], marked=marked)
        self.refresh()

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags; see `tag`."""
        return self._stored.notes.tags

    def tag(self, *add: str, remove: Iterable[str] = ()) -> None:
        """Add tags, and remove others."""
        change_tags(self._context, [self._stored.id], add=tags_of(add), remove=tags_of(remove))
        self.refresh()

    def log(self, stream: str | None = None) -> str:
        """Return what the run printed, as text; of one stream if `stdout` or `stderr` is named."""
        wanted = {None: (STDOUT, STDERR), "stdout": (STDOUT,), "stderr": (STDERR,)}[stream]
        pieces = read_output(f"{self._stored.directory}/{RECORD_DIRECTORY}")
        return b"".join(p.data for p in pieces if p.stream in wanted).decode("utf-8", "replace")

    def _paths(self, role: str) -> list[Path]:
        files = list_files(self._context, self._stored, roles=frozenset([role]))
        return [Path(file.location) for file in files if file.location is not None]


class StartedRun(Run):
    """A run that was begun here. What is asked of it is read from the store when it is asked."""

    def __init__(self, context: Context, run_id: RunId) -> None:
        self._context = context
        self._id = run_id
        self._read: StoredRun | None = None

    @property
    def _stored(self) -> StoredRun:
        if self._read is None:
            self._read = self._context.store.read_run(self._id)
        return self._read

    @_stored.setter
    def _stored(self, stored: StoredRun) -> None:
        self._read = stored

    @property
    def id(self) -> str:
        """The run's id, 32 hexadecimal digits."""
        return self._id

    @property
    def directory(self) -> Path:
        """The run directory: what is written there is an output of the run."""
        return Path(self._context.store.directory(self._id))


class Runs(Sequence[Run]):
    """Runs as they were found, in order."""

    def __init__(self, found: Sequence[Run]) -> None:
        self._found = list(found)

    def __repr__(self) -> str:
        return f"<{len(self._found)} runs>"

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._found)

    @overload
    def __getitem__(self, at: int) -> Run: ...
    @overload
    def __getitem__(self, at: slice) -> Runs: ...
    def __getitem__(self, at: int | slice) -> Run | Runs:
        """Return one run, or some of them."""
        if isinstance(at, slice):
            return Runs(self._found[at])
        return self._found[at]

    def dataframe(self) -> pd.DataFrame:
        """Return a row per run: id, operation, status, label, times, flags, last metrics.

        A flag and a metric of the same name are `=name` and `name`. Damaged runs have no values.

        Raises:
            NotFound: pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError:
            raise NotFound(
                "a DataFrame needs pandas, which is not installed", hint="install `reenact[pandas]`"
            ) from None
        return DataFrame([_row(run) for run in self._found])


def _row(run: Run) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": run.id,
        "status": run.status,
        "label": run.label,
        "tags": run.tags,
    }
    if run.status == "damaged":
        return row
    row.update(operation=run.operation, started=run.started, duration_s=run.duration_s)
    metrics = run.metrics
    for name, value in run.flags.items():
        row[f"={name}" if name in metrics or name in row else name] = value
    for name, metric in metrics.items():
        row[name if name not in row else f"metric:{name}"] = metric.last
    return row


def text_for(name: str, value: object) -> str | None:
    """Return a label or comment as it was given; raises UsageError where it is no text."""
    if value is None or isinstance(value, str):
        return value
    raise UsageError(f"a {name} is a text, and not `{value!r}`", hint="`str(...)` makes it one")


def tags_of(tags: object) -> tuple[str, ...]:
    """Return tags as a tuple; raises UsageError where they are no texts."""
    found = tuple(tags) if isinstance(tags, Iterable) and not isinstance(tags, str) else None
    if found is None or not all(isinstance(tag, str) for tag in found):
        raise UsageError(
            f"tags are a list of texts, and not `{tags!r}`", hint='e.g. `["baseline"]`'
        )
    return found
