"""A run that is a part of this process: from `begin` to `end`.

The process is its own supervisor: it holds the run's lock, so that every reader sees the run as
killed when the process dies, and what it had logged is kept. Frameworks that were imported before
are captured from the first run on, as far as their functions were not copied elsewhere before.
Processes that it starts meanwhile log into the same run.

Of runs of a second and more the record says as well what else happened on the machine, and what the
process had loaded by then.

Not covered: what is printed, files that are read or written outside the run directory, processes
that were started before the run began, points of child processes that go on after its end, what
GPUs did before and after.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from reenact import __version__, _probe
from reenact.actions.context import Context
from reenact.actions.plan import redacted
from reenact.actions.process_facts import ProcessFacts, this_process
from reenact.actions.randomness import SEED, SUPERVISOR, begun, checked_seed, randomness_of
from reenact.actions.run_directory import claim, publish
from reenact.errors import UsageError
from reenact.execute.chances import REMOVED as CHANCE_FILES
from reenact.execute.journals import PROBE_DIRECTORY, JournalTail
from reenact.execute.metric_file import MetricFileTail
from reenact.execute.recorder import SOURCE_FILE
from reenact.execute.stage import files_below
from reenact.execute.testimony import (
    METRICS_FILE,
    PROCESSES_FILE,
    describe_output,
    processes,
    read_hellos,
    variables_of,
)
from reenact.execute.told import asked_to_capture, collect, with_roles, with_told
from reenact.model.flags import FlagValue
from reenact.model.identity import Digest, RunId, new_run_id
from reenact.model.metrics import Point, Summarizer, kind_of
from reenact.model.paths import path_to_text, printable
from reenact.model.record import flag_from_json
from reenact.model.run import Capture, Exit, Failure, Notes, Operation, Remark, Run, Usage
from reenact.model.secrets import hide, is_secret_name, redact_argv, redact_text
from reenact.snapshot.state import Watch
from reenact.store.files import delete_tree, remove_if_there, store_errors
from reenact.store.lock import Lock
from reenact.store.metric_log import MetricWriter, compact_points
from reenact.store.metric_parts import LARGE_POINTS
from reenact.store.store import RECORD_DIRECTORY, STOP_MARKER, Store

_LONG_S = 1.0
"""The end of a shorter run is not worth waiting for the disk, nor a look at the machine."""
_MOST_TRACEBACK = 1 << 16
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/"

_only_one = threading.Lock()
_current: InProcess | None = None
_facts: dict[str, ProcessFacts] = {}
_captures: dict[str, Capture] = {}
_is_watching = False


class Code(NamedTuple):
    """What a run in this process executes.

    Attributes:
        operation: what it is; its target is filled in by `begin` where it is a path.
        directory: where it lies: this decides the project.
        texts: name -> content of code that is in no file.
    """

    operation: Operation
    directory: str
    texts: Mapping[str, bytes] = {}


def is_inside_run() -> bool:
    """Tell whether this process belongs to a run that something else began.

    That is `reenact run`, or a process of which this one is a child.
    """
    if _current is not None and _current.pid == os.getpid():
        return False
    return _journal().record_directory() is not None


def join(flags: Mapping[str, Any], seed: int | None = None) -> RunId:
    """Say to the run that this process belongs to which flags are used; return its id.

    Args:
        flags: name -> value.
        seed: random generators get it, as if the script had seeded them.
    """
    journal = _journal()
    if seed is not None:
        seed_here(checked_seed(seed))
    if flags:
        journal.params("", dict(flags), "start")
    return RunId(os.path.basename(journal.run_directory()))


def begin(
    code: Code,
    context: Context,
    *,
    flags: Mapping[str, Any],
    given: Iterable[str],
    notes: Notes,
    seed: int | None = None,
) -> InProcess:
    """Begin a run in this process.

    Args:
        code: what is run.
        context: where the store is.
        flags: name -> value of any type.
        given: names of those that the user set.
        notes: on the run, from the start.
        seed: random generators get it, and are not put back afterwards; None leaves them alone.

    Raises:
        UsageError: there is one in this process already, or the seed is none.
        StoreUnusable: the store cannot be written; nothing is left of the run.
    """
    global _current
    if not _only_one.acquire(blocking=False):
        if _current is not None and _current.pid != os.getpid():
            raise UsageError("this process belongs to a run that another one began")
        name = f" `{_current.run.operation.name}`" if _current is not None else ""
        raise UsageError(
            f"a run{name} has begun in this process and has not ended",
            hint="a process has one run at a time: end the `with reenact.start():` around this one",
        )
    try:
        _current = InProcess(code, context, flags=flags, given=tuple(given), notes=notes, seed=seed)
    except BaseException:
        _only_one.release()
        raise
    return _current


def keep_numbers(result: object) -> None:
    """Log what a function returned where that is a dictionary of numbers, and nothing else."""
    if not isinstance(result, dict) or not result:
        return
    try:
        numbers = {
            name: float(value)
            for name, value in result.items()
            if isinstance(name, str) and not isinstance(value, str | bytes | bool)
        }
    except (TypeError, ValueError, OverflowError):
        return
    if len(numbers) == len(result):
        _probe("api").log(numbers)


class InProcess:
    """A run in this process that has begun; `end` it once.

    Attributes:
        run: the record so far.
        directory: the run directory.
        pid: of the process that began it.
    """

    def __init__(
        self,
        code: Code,
        context: Context,
        *,
        flags: Mapping[str, Any],
        given: tuple[str, ...],
        notes: Notes,
        seed: int | None = None,
    ) -> None:
        self._seed = None if seed is None else checked_seed(seed)
        self.pid = os.getpid()
        self._store: Store = context.store
        self._secrets = tuple(str(v) for n, v in flags.items() if is_secret_name(n))
        self._warnings: list[Remark] = []
        self._cpu = os.times()
        self._watch = Watch(asks_driver=False)
        run_id = new_run_id()
        self.directory = self._store.directory(run_id)
        self._record = f"{self.directory}/{RECORD_DIRECTORY}"
        with store_errors(self._store.root):
            self._store.create()
            with self._store.writing():
                self.run = self._first_record(run_id, code, context, flags, given)
                self._lock = self._publish(notes)
        self._environ = self._enter_environment()
        _journal().attach(self._record, self.directory)
        _watch_frameworks()
        if self._seed is not None:
            seed_here(self._seed)

    def end(self, error: BaseException | None = None) -> None:
        """End the run; a fork of the process that began it only goes its own way.

        Args:
            error: the exception that ended the code.
        """
        global _current
        if os.getpid() != self.pid:
            return
        ended = datetime.now(UTC)
        if self._seed is not None:
            seed_here(None)
        _journal().attach(None, None)
        self._leave_environment()
        try:
            self._close(ended, error)
        except Exception as problem:  # noqa: BLE001  # see below
            # Whatever the code did shall not be lost because of its record.
            why = getattr(problem, "strerror", None) or f"{type(problem).__name__}: {problem}"
            text = f"the end of run {self.run.id[:8]} could not be recorded: {why}"
            print(f"reenact: {text}", file=sys.stderr)  # noqa: T201  # nobody else could say it
            self._lock.release()
        finally:
            _current = None
            _only_one.release()

    # --- the beginning ---

    def _first_record(
        self,
        run_id: RunId,
        code: Code,
        context: Context,
        flags: Mapping[str, Any],
        given: tuple[str, ...],
    ) -> Run:
        created = datetime.now(UTC)
        facts = _facts.get(self._store.root)
        if facts is None:
            facts = _facts[self._store.root] = ProcessFacts(self._store)
        place = facts.place(code.directory, context.env)
        source, edited = facts.source(place.root, code.texts, context.env)
        environment, machine = facts.describe(context.env)
        if facts.git_problem is not None:
            self._warn("git", f"git was not asked about the source: {facts.git_problem}")
        if edited:
            self._warn(
                "source-edited",
                "edited since an earlier run in this process, which may not have loaded it again: "
                + ", ".join(edited[:3]),
            )
        if source is None:
            self._warn("source", "the code is in no file of the project: it is not kept")
        cwd = os.path.relpath(os.path.realpath(context.directory), place.root.path)
        command = redact_argv(map(printable, sys.orig_argv))
        return Run(
            id=run_id,
            reenact=__version__,
            operation=_named_in(code.operation, place.root.path),
            project=place.project,
            command=hide(command, self._secrets),
            cwd="." if cwd.startswith("..") else path_to_text(cwd),
            created=created,
            started=datetime.now(UTC),
            flags={printable(n): redacted(n, _flag_value(v)) for n, v in flags.items()},
            given=tuple(map(printable, given)),
            in_place=True,
            source=source,
            environment=environment,
            machine=machine,
            supervisor_pid=self.pid,
            processes=(this_process(),),
            warnings=tuple(self._warnings),
            seed=self._seed,
            randomness=None if self._seed is None else begun(context.env),
        )

    def _publish(self, notes: Notes) -> Lock:
        """Make the run visible: its directory appears with lock and record in it."""
        lock = claim(self._store, self.run.id)
        try:
            publish(self._store, self.run, notes)
        except BaseException:
            delete_tree(f"{self.directory}.new")
            lock.release()
            raise
        return lock

    def _enter_environment(self) -> dict[str, tuple[str | None, str]]:
        """Let child processes find the run; return what stood there, and what stands there now."""
        ours = variables_of(self._store, self.run.id, os.environ)
        ours[SEED] = "off" if self._seed is None else str(self._seed)
        ours[SUPERVISOR] = "0"  # Its child processes are not the first ones of the run.
        former = {name: (os.environ.get(name), value) for name, value in ours.items()}
        os.environ.update(ours)
        return former

    def _leave_environment(self) -> None:
        for name, (former, ours) in self._environ.items():
            if os.environ.get(name) != ours:
                continue  # The code has set it to something of its own.
            if former is None:
                del os.environ[name]
            else:
                os.environ[name] = former

    # --- the end ---

    def _close(self, ended: datetime, error: BaseException | None) -> None:
        there = frozenset(os.listdir(self._record))
        requested = "stop" if STOP_MARKER in there else None
        run = msgspec.structs.replace(
            self.run,
            ended=ended,
            exit=_exit(error, requested),
            failure=_failure(error, self._secrets),
            usage=self._usage(),
        )
        is_long = (ended - self.run.created).total_seconds() >= _LONG_S
        run = self._with_testimony(run, there, is_long=is_long)
        captures, autolog = _all_captures(run.captures), asked_to_capture(os.environ)
        run = msgspec.structs.replace(run, captures=captures, autolog=autolog)
        with self._store.writing() if is_long else nullcontext():
            if is_long:
                run = self._with_description(run)
            run = msgspec.structs.replace(run, warnings=tuple(self._warnings))
            self._store.write_run(run, sync=is_long)
        self.run = run
        for name in (METRICS_FILE, PROCESSES_FILE, STOP_MARKER, *CHANCE_FILES):
            if name in there:
                remove_if_there(f"{self._record}/{name}")
        if PROBE_DIRECTORY in there:
            delete_tree(f"{self._record}/{PROBE_DIRECTORY}")
        self._lock.release(remove=True)

    def _with_testimony(self, run: Run, there: frozenset[str], *, is_long: bool) -> Run:
        """Take in what this process and its children told: points, events, files."""
        outputs = [describe_output(self.directory, path) for path in files_below(self.directory)]
        has_events = any(".tfevents." in file.path for file in outputs)
        journals = JournalTail(self._record)
        found = self._store_points(self._told_points(journals, there, has_events), is_long=is_long)
        told = collect(journals.events, self.directory, self._secrets)
        self._warnings += told.remarks
        if journals.lost:
            self._warn("metrics-lost", f"{journals.lost} points that were logged found no room")
        children = processes(read_hellos(self._record)) if PROCESSES_FILE in there else ()
        if not there.isdisjoint(CHANCE_FILES):
            randomness = randomness_of(run, self.directory, None)
            run = msgspec.structs.replace(run, randomness=randomness)
        return msgspec.structs.replace(
            with_told(run, told),
            metrics=found.summaries(),
            metric_sources=found.sources(),
            outputs=with_roles(outputs, told.roles),
            processes=(*run.processes, *children),
        )

    def _told_points(
        self, journals: JournalTail, there: frozenset[str], has_events: bool
    ) -> Iterator[tuple[str, list[Point]]]:
        """Yield the points that were reported, with what `metrics.names` calls their source."""
        if PROBE_DIRECTORY in there:
            for told in journals.finish():
                yield told.source, told.points
        if METRICS_FILE in there:
            tail = MetricFileTail(f"{self._record}/{METRICS_FILE}")
            yield SOURCE_FILE, [*tail.poll(), *tail.finish()]
        if has_events:
            from reenact.interop.tensorboard import EventDirectoryTail

            for events in EventDirectoryTail(self.directory).finish():
                yield events.source, events.points

    def _store_points(
        self, batches: Iterable[tuple[str, list[Point]]], *, is_long: bool
    ) -> Summarizer:
        summarizer = Summarizer()
        writer = MetricWriter(self._record)
        problem = None
        stored = 0
        for source, points in batches:
            stored += len(points)
            summarizer.add_all(points, kind_of(source))
            try:
                writer.append(points, source)
            except (OSError, ValueError) as error:
                problem = getattr(error, "strerror", None) or str(error)
        try:
            writer.close(sync=is_long)
        except OSError as error:
            problem = problem or error.strerror
        if problem is not None:
            self._warn("metrics-lost", f"{writer.lost} points could not be stored: {problem}")
        elif stored >= LARGE_POINTS:
            compact_points(self._record)
        return summarizer

    def _usage(self) -> Usage:
        now = os.times()
        return Usage(
            cpu_user_s=round(now.user - self._cpu.user, 6),
            cpu_system_s=round(now.system - self._cpu.system, 6),
        )

    def _children_s(self) -> float:
        """Return the processor time of child processes that were waited for since the beginning."""
        now, then = os.times(), self._cpu
        return now.children_user + now.children_system - then.children_user - then.children_system

    def _with_description(self, run: Run) -> Run:
        """Say what else happened on the machine, and what this process has loaded."""
        from _reenact import leaving

        from reenact.actions.run_facts import runtime_of

        try:
            run = msgspec.structs.replace(run, conditions=self._watch.finish(self._children_s()))
            content = runtime_of(self._store, run, leaving.describe(), self.directory)
            if content is not None:
                run = msgspec.structs.replace(run, runtime=self._store.blobs.put(content))
            run = msgspec.structs.replace(run, lock=self._lock_of(run))
        except Exception as error:  # noqa: BLE001  # a run must not fail because of its description
            self._warn("environment", f"what was loaded was not recorded: {error}")
        return run

    def _lock_of(self, run: Run) -> Digest | None:
        """Return what it takes to install the packages of this process again."""
        from reenact.actions.run_lock import RunLock
        from reenact.model.environment import decode_environment
        from reenact.snapshot.interpreter import this_interpreter

        if run.environment is None:
            return None
        data = self._store.blobs.get(run.environment)
        lock = RunLock(self._store, os.environ, run.project.root)
        lock.look_up(this_interpreter(), decode_environment(data, where="the environment"))
        return lock.finish(run)

    def _warn(self, code: str, message: str) -> None:
        self._warnings.append(Remark(code=code, message=printable(message)))


def _journal() -> Any:
    return _probe("journal")


def _watch_frameworks() -> None:
    """Wait for frameworks from now on, and capture those that were imported before."""
    global _is_watching
    if _is_watching:
        return
    _is_watching = True
    autolog = os.environ.get("REENACT_AUTOLOG", "")
    import _reenact

    _reenact.install_finders(autolog)
    for finder in sys.meta_path[:1]:
        # It looks at what is there when it is asked for the first time, for whatever module.
        finder.find_spec("nothing_that_exists", None)


def seed_here(seed: int | None) -> None:
    """Give random generators a seed, those that were imported and those to come; None: no more."""
    import _reenact

    for finder in sys.meta_path:
        if isinstance(finder, _reenact._Waiting):  # noqa: SLF001  # the probe's, which is in here
            finder.seeded = _reenact._SEEDED  # noqa: SLF001
    _probe("seeds").begin_here(seed)


def _all_captures(told: Iterable[Capture]) -> tuple[Capture, ...]:
    """Return what is captured in this process: a framework says so once in its life."""
    for capture in told:
        _captures[capture.framework] = capture
    return tuple(_captures[name] for name in sorted(_captures))


def _named_in(operation: Operation, root: str) -> Operation:
    """Name a script by its path in the project."""
    path, colon, function = operation.target.partition(":")
    if not os.path.isabs(path):
        return operation
    path = os.path.realpath(path)
    if path.startswith(root.rstrip("/") + "/"):
        path = os.path.relpath(path, root)
    text = path_to_text(path)
    name = operation.name if operation.name != operation.target else text
    return msgspec.structs.replace(operation, name=name, target=f"{text}{colon}{function}")


def _flag_value(value: Any) -> FlagValue:
    """Return what stands for a value of any type among flags."""
    if value is None or isinstance(value, bool) or type(value) is float:
        return value
    if type(value) is int and -(1 << 63) <= value < 1 << 63:
        return value
    if type(value) is str:
        return printable(value)
    # As params are written: containers as such, scalars as numbers, everything else by its `repr`.
    return flag_from_json(msgspec.json.decode(_journal().encode(value)))


def _exit(error: BaseException | None, requested: str | None) -> Exit:
    if error is None:
        return Exit(code=0, requested=requested)
    if isinstance(error, KeyboardInterrupt):
        return Exit(signal=2, requested=requested or "interrupt")
    if isinstance(error, SystemExit):
        if error.code is None:
            return Exit(code=0, requested=requested)
        return Exit(code=error.code & 0xFF if isinstance(error.code, int) else 1)
    return Exit(code=1, requested=requested)


def _failure(error: BaseException | None, secrets: tuple[str, ...]) -> Failure | None:
    if error is None or isinstance(error, KeyboardInterrupt):
        return None
    if isinstance(error, SystemExit) and isinstance(error.code, int | None):
        return None
    import traceback

    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    try:
        message = str(error)
        text = "".join(traceback.format_exception(kind, error, trace))
    except Exception as problem:  # noqa: BLE001  # an exception may fail to describe itself
        message = text = f"<no text: {type(problem).__name__}>"
    message, text = (redact_text(printable(part)) for part in hide((message, text), secrets))
    if len(text) > _MOST_TRACEBACK:
        text = "…" + text[-_MOST_TRACEBACK:]
    return Failure(type=name, message=message[:_MOST_TRACEBACK], traceback=text)
