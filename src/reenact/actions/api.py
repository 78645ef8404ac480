"""The Python API: run operations, and work with runs as values."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

from reenact.actions.context import Context
from reenact.actions.files import list_files
from reenact.actions.find import find_run, list_runs
from reenact.actions.notes import change_tags, set_comment, set_label, set_mark
from reenact.actions.plan import RunRequest, plan_run
from reenact.actions.run import start_and_watch
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

    from reenact.actions.in_process import InProcess


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
        set_label(self._context, [self._stored.id], _text("label", text))
        self.refresh()

    @property
    def comment(self) -> str | None:
        """The comment; assign to change it."""
        return self._stored.notes.comment

    @comment.setter
    def comment(self, text: str | None) -> None:
        set_comment(self._context, [self._stored.id], _text("comment", text))
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
        change_tags(self._context, [self._stored.id], add=_tags(add), remove=_tags(remove))
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


def runs(
    filter: str | None = None,  # noqa: A002  # the word that users know from `--filter`
    *,
    sort: str | None = None,
    limit: int | None = None,
    all_projects: bool = False,
    store: str | os.PathLike[str] | None = None,
) -> Runs:
    """Return the runs of the project that the working directory belongs to, newest first.

    Args:
        filter: e.g. `lr < 0.01 and acc > 0.9`.
        sort: columns to sort by, e.g. `-acc`.
        limit: how many at most.
        all_projects: those of all projects in the store.
        store: the store's directory, if it is another than commands given here would use.

    Raises:
        BadFilter, BadColumn: `filter` or `sort` cannot be understood.
    """
    context = _context(store)
    found = list_runs(
        context, filter_text=filter, sort=sort, limit=limit, all_projects=all_projects
    )
    return Runs([Run(context, context.store.read_run(run.id)) for run in found])


def get(run: str, *, store: str | os.PathLike[str] | None = None) -> Run:
    """Return the one run that a text means: an id, its beginning, `@latest`, `@best:acc`, a label.

    Raises:
        NotFound: there is none.
        Ambiguous: there are several.
    """
    context = _context(store)
    return Run(context, find_run(context, run))


def run(
    operation: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Callable[..., Any],
    flags: Mapping[str, FlagValue] | None = None,
    /,
    *,
    module: bool = False,
    label: str | None = None,
    tags: Sequence[str] = (),
    comment: str | None = None,
    in_place: bool = False,
    snapshot: bool = True,
    quiet: bool = False,
    time_limit_s: float | None = None,
    env: Mapping[str, str] | None = None,
    store: str | os.PathLike[str] | None = None,
    **more_flags: FlagValue,
) -> Run:
    """Run an operation to its end and return its run, whatever its exit status.

    A function is called in this process: its arguments are the flags, what it returns is the run's
    `result`, and where that is a dictionary of numbers they are metrics. What it raises is recorded
    and goes on to the caller. It takes of the options only notes and `store`.

    Args:
        operation: a script's or notebook's path, a module's name with `module`, the words of a
            command, or a function.
        flags: flags whose names are no Python names, or are parameters of this function.
        module: `operation` is a module.
        label: label of the run.
        tags: its tags.
        comment: comment on it.
        in_place: run in the project itself.
        snapshot: keep the source.
        quiet: do not pass output on to our own.
        time_limit_s: stop it after that many seconds.
        env: environment variables for the run.
        store: the store's directory, if it is another than commands given here would use.
        **more_flags: flags.

    Raises:
        CannotRun: it could not be started.
        UnknownFlag, BadFlagValue: a flag is refused.
        UsageError: options contradict each other or are of a wrong type, or a run has begun in this
            process already.
    """
    settings = _settings(flags, more_flags)
    notes = _notes(label, tags, comment)
    context = _context(store)
    if callable(operation):
        if module or in_place or not snapshot or quiet or time_limit_s is not None or env:
            raise UsageError(
                "a function is called in this process: of the options it takes only notes and `store`"
            )
        return _call(operation, settings, notes, context)
    target, command = _target(operation)
    request = RunRequest(
        target=target,
        is_module=module,
        command=command,
        settings=settings,
        label=notes.label,
        tags=notes.tags,
        comment=notes.comment,
        in_place=in_place,
        snapshot=snapshot,
        quiet=quiet,
        time_limit_s=time_limit_s,
        variables=env or {},
    )
    finished = start_and_watch(plan_run(request, context), context)
    return Run(context, context.store.read_run(finished.run.id))


class start:  # noqa: N801  # it is used as a function is
    """Record what stands in `with reenact.start() as run:` as a run of its own.

    Inside a run (`reenact run`, or a child process of one) it joins that run instead of making a
    second one: flags become params, name and notes do not count.

    Args:
        name: of the operation; the script's, notebook's or program's without one.
        flags: flags whose names are no Python names, or are parameters of this function.
        label: label of the run.
        tags: its tags.
        comment: comment on it.
        store: the store's directory, if it is another than commands given here would use.
        **more_flags: flags; values of types that JSON has no word for are recorded by their `repr`.

    Raises:
        UsageError: an argument is of a wrong type; on entering: a run has begun in this process and
            has not ended.
        StoreUnusable: on entering: the store cannot be written.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        flags: Mapping[str, Any] | None = None,
        label: str | None = None,
        tags: Sequence[str] = (),
        comment: str | None = None,
        store: str | os.PathLike[str] | None = None,
        **more_flags: Any,
    ) -> None:
        self._name = name
        self._flags = _settings(flags, more_flags)
        self._notes = _notes(label, tags, comment)
        self._store = store
        self._began: InProcess | None = None
        self._run: StartedRun | None = None

    def __enter__(self) -> StartedRun:
        from reenact.actions.in_process import begin, is_inside_run, join
        from reenact.actions.running_code import find_code

        context = _context(self._store)
        if is_inside_run():
            self._run = StartedRun(context, join(self._flags))
            return self._run
        self._began = begin(
            find_code(self._name),
            context,
            flags=self._flags,
            given=self._flags,
            notes=self._notes,
        )
        self._run = StartedRun(context, self._began.run.id)
        return self._run

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._began is not None:
            self._began.end(error)
            assert self._run is not None
            self._run._read = None  # noqa: SLF001  # what was asked while it ran is no longer true


def _call(
    function: Callable[..., Any], settings: Mapping[str, Any], notes: model.Notes, context: Context
) -> Run:
    """Call a function as a run."""
    from reenact.actions.function import bind
    from reenact.actions.in_process import begin, is_inside_run, join, keep_numbers

    bound = bind(function, settings)
    if is_inside_run():
        found = StartedRun(context, join(bound.flags))
        found.result = function(*bound.args, **bound.kwargs)
        keep_numbers(found.result)
        return found
    began = begin(bound.code, context, flags=bound.flags, given=settings, notes=notes)
    try:
        result = function(*bound.args, **bound.kwargs)
        keep_numbers(result)
    except BaseException as error:
        began.end(error)
        raise
    began.end()
    found = StartedRun(context, began.run.id)
    found.result = result
    return found


def _target(operation: object) -> tuple[str | None, tuple[str, ...] | None]:
    """Return the script or module that is meant, or the words of a command."""
    if isinstance(operation, str | os.PathLike):
        path = os.fspath(operation)
        if isinstance(path, str):
            return path, None
    if isinstance(operation, Sequence) and not isinstance(operation, str | bytes) and operation:
        words = [os.fspath(w) if isinstance(w, os.PathLike) else w for w in operation]
        if all(isinstance(word, str) for word in words):
            return None, tuple(words)
    raise UsageError(
        f"`{operation!r}` is nothing that can be run",
        hint="a script's path, a module's name, the words of a command as texts, or a function",
    )


def _settings(flags: object, more_flags: Mapping[str, Any]) -> dict[str, Any]:
    if flags is None:
        return dict(more_flags)
    if not isinstance(flags, Mapping) or not all(isinstance(name, str) for name in flags):
        raise UsageError(
            f"flags are a dictionary by name, and not `{flags!r}`", hint='e.g. `{"lr": 0.1}`'
        )
    return {**flags, **more_flags}


def _notes(label: object, tags: object, comment: object) -> model.Notes:
    return model.Notes(
        label=_text("label", label), tags=_tags(tags), comment=_text("comment", comment)
    )


def _text(name: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise UsageError(f"a {name} is a text, and not `{value!r}`", hint="`str(...)` makes it one")


def _tags(tags: object) -> tuple[str, ...]:
    found = tuple(tags) if isinstance(tags, Iterable) and not isinstance(tags, str) else None
    if found is None or not all(isinstance(tag, str) for tag in found):
        raise UsageError(
            f"tags are a list of texts, and not `{tags!r}`", hint='e.g. `["baseline"]`'
        )
    return found


def _context(store: str | os.PathLike[str] | None) -> Context:
    return Context(store=None if store is None else os.fspath(store))


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
