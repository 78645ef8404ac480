"""Run an operation: stage it, watch over it, record everything that it was and did."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from reenact.actions.context import Context
from reenact.actions.plan import Plan
from reenact.actions.project_tree import look_at_tree
from reenact.actions.run_files import (
    look_at_run,
    watch_files,
    with_files,
    with_writers,
    without_lists,
)
from reenact.errors import CannotRun, ReenactError, StoreUnusable
from reenact.execute.journals import PROBE_DIRECTORY, JournalTail
from reenact.execute.opened import remove_log
from reenact.execute.stage import SourcePool, Stage, close_stage, files_below, make_stage
from reenact.execute.supervise import Child, Command
from reenact.execute.testimony import (
    METRICS_FILE,
    POINTS_WAITING,
    PROCESSES_FILE,
    RESERVE_FILE,
    SHIM,
    describe_output,
    installations,
    processes,
    python_facts,
    read_hellos,
    usage_of,
)
from reenact.execute.told import Told, collect, with_roles
from reenact.model.environment import PythonFacts
from reenact.model.identity import Digest, RunId, new_run_id
from reenact.model.paths import path_to_text, printable
from reenact.model.record import encode_notes, encode_run, to_json
from reenact.model.run import Conditions, Notes, Remark, Run, Source, Usage
from reenact.model.secrets import hide
from reenact.snapshot.tree import ProjectTree
from reenact.store.blobs import digest_bytes
from reenact.store.files import (
    delete_tree,
    read_file,
    remove_if_there,
    store_errors,
    write_atomically,
)
from reenact.store.lock import Lock
from reenact.store.metric_log import MetricLog, compact_points
from reenact.store.store import RECORD_DIRECTORY, STOP_MARKER, Store

if TYPE_CHECKING:
    from reenact.execute.census import Census
    from reenact.execute.inputs import Found
    from reenact.execute.recorder import Recorder
    from reenact.snapshot.state import Watch


_SELDOM_S = 0.3
"""Runs shorter than this are described after their end, longer ones while they run."""
_AGAIN_S = 2.0
_SELDOM_LOOKED_S = 30.0
_MOST_LOOKED_AT = 8
_RESERVED_BYTES = 1 << 16


class Finished(NamedTuple):
    """A run that has ended. `problem` says what could not be written to its record."""

    run: Run
    directory: str
    problem: str | None


def start_and_watch(
    plan: Plan, context: Context, *, on_start: Callable[[Run], None] | None = None
) -> Finished:
    """Run a plan to its end.

    Args:
        plan: what to run.
        context: where.
        on_start: called once the process runs.

    Raises:
        CannotRun: the store cannot be written or the program cannot be started; nothing has run,
            and nothing is left of it.
    """
    store = context.store
    try:
        store.create()
        with store_errors(store.root):
            execution = _Execution(plan, context)
    except StoreUnusable as error:
        raise CannotRun(error.message, hint=error.hint) from error
    try:
        with store_errors(store.root):
            execution.prepare()
        execution.start()
    except BaseException as error:
        execution.abandon()
        if isinstance(error, StoreUnusable):
            raise CannotRun(error.message, hint=error.hint) from error
        raise
    if on_start is not None:
        on_start(execution.run)
    return execution.finish()


class _Execution:
    """One run on its way from a plan to a record."""

    def __init__(self, plan: Plan, context: Context) -> None:
        self.plan = plan
        self.context = context
        self.store: Store = context.store
        request = plan.request
        self.former = request.restart
        if self.former is not None:
            self.id = self.former.id
        else:
            self.id = RunId(request.run_id) if request.run_id else new_run_id()
        self.directory = self.store.directory(self.id)
        self.record_directory = f"{self.directory}/{RECORD_DIRECTORY}"
        self.run = plan.record(self.id, _now())
        self.warnings = [Remark(code="plan", message=printable(text)) for text in plan.remarks]
        self.stage: Stage | None = None
        self.tree: ProjectTree | None = None
        self.pool: SourcePool | None = None
        self.child: Child | None = None
        self.recorder: Recorder | None = None
        self.census: Census | None = None
        self.journals = JournalTail(self.record_directory)
        # Contents of blobs that the record of the end names.
        self._blobs: list[bytes] = []
        self._is_published = False
        self.watch: Watch | None = None
        self._described = False
        self._lacks_tools = False
        self._describe_at = 0.0
        self._look_at = 0.0
        self._libraries: list[str] = []
        self._variables: dict[str, str] = {}
        self._lock = self._create()

    # --- before ---

    def _create(self) -> Lock:
        """Make the run directory with a lock and a first record, all at once."""
        if self.former is not None:
            return self._take_over(self.former)
        if os.path.lexists(self.directory):
            raise CannotRun(f"run {self.id} exists already", hint="leave out `--run-id`")
        beside = f"{self.directory}.new"
        lock = Lock(f"{beside}/{RECORD_DIRECTORY}/lock")
        try:
            # What a killed supervisor left under this id is taken over.
            os.makedirs(f"{beside}/{RECORD_DIRECTORY}", exist_ok=True)
            is_ours = lock.acquire()
        except FileNotFoundError:
            is_ours = False  # Somebody else was given the same id and has published it just now.
        if is_ours and os.path.lexists(self.directory):
            delete_tree(beside)
            lock.release()
            is_ours = False
        if not is_ours:
            raise CannotRun(f"run {self.id} exists already", hint="leave out `--run-id`")
        if not lock.has_system_lock:
            self._warn("no-locks", "the store's file system has no locks: two runs may collide")
        lock.path = f"{self.record_directory}/lock"
        return lock

    def _take_over(self, former: Run) -> Lock:
        """Take the lock of a run that is restarted, once it has been brought to its end."""
        from reenact.actions.recover import has_waiting_points, orphans, recover, store_waiting

        store_waiting(self.store, recover(self.store, self.store.read_run(self.id)))
        lock = self.store.lock(self.id)
        if not lock.acquire():
            raise CannotRun(f"run {self.id[:8]} is running", hint="`reenact stop` ends it")
        now = self.store.read_run(self.id).record
        problem = None
        if alive := orphans(now):
            problem = f"process {alive[0]} of run {self.id[:8]} lives on without its supervisor"
        elif now.ended is None:
            problem = f"run {self.id[:8]} was killed just now"
        elif now.restarts != former.restarts:
            problem = f"run {self.id[:8]} has been restarted meanwhile"
        elif has_waiting_points(self.store, self.id):
            problem = f"points of run {self.id[:8]} wait for room on the disk"
        if problem is not None:
            lock.release()
            raise CannotRun(problem, hint="look at it with `reenact show`, stop it, try again")
        self.former = now
        remove_if_there(f"{self.record_directory}/{STOP_MARKER}")
        return lock

    def prepare(self) -> None:
        """Take the snapshot, publish the record, fill the run directory."""
        plan = self.plan
        request = plan.request
        with self.store.writing():
            if request.snapshot:
                self._take_source()
            if self.former is None:
                self._publish()
            else:
                self.store.write_run(self.run, sync=False)
        if request.in_place:
            return
        if self.tree is None:
            self.tree = look_at_tree(plan, self.context, keep=False).tree
        self._stage()

    def _take_source(self) -> None:
        found = look_at_tree(self.plan, self.context, keep=True)
        self.tree = found.tree
        source = Source(
            tree=found.tree.tree,
            files=len(found.tree.sources),
            size_bytes=found.tree.source_bytes,
            vcs=found.vcs,
        )
        self.run = msgspec.structs.replace(self.run, source=source)
        if found.vcs_problem is not None:
            self._warn("git", f"git was not asked about the source: {found.vcs_problem}")
        if found.tree.too_large:
            names = ", ".join(found.tree.too_large[:3])
            more = len(found.tree.too_large) - 3
            self._warn(
                "source-too-large",
                f"not kept as source, over 1 MiB: {names}" + (f" and {more} more" * (more > 0)),
            )

    def _publish(self) -> None:
        """Make the run visible: its directory appears with its record in it."""
        beside = f"{self.directory}.new"
        path = f"{beside}/{RECORD_DIRECTORY}"
        write_atomically(f"{path}/run.json", encode_run(self.run), sync=False)
        if self.plan.notes != Notes():
            write_atomically(f"{path}/notes.json", encode_notes(self.plan.notes), sync=False)
        os.rename(beside, self.directory)
        self._is_published = True

    def _stage(self) -> None:
        assert self.tree is not None
        plan = self.plan
        if plan.request.snapshot:
            self.pool = SourcePool(f"{self.store.root}/stage", self.store.blobs, plan.root.path)
        by_path = {file.path: file for file in self.tree.sources if file.path in plan.changes}
        contents = {}
        for path in plan.changes:
            file = by_path.get(path)
            if self.pool is not None and file is not None:
                contents[path] = self.pool.content(file)
            else:
                contents[path] = read_file(f"{plan.root.path}/{path}")
        rewritten = plan.rewritten(contents)
        self.stage = make_stage(self.directory, plan.root.path, self.tree, self.pool, rewritten)
        if self.stage.problems:
            count = len(self.stage.problems)
            self._warn("no-links", f"the store's file system has no links: {count} files copied")

    def start(self) -> None:
        """Start the process."""
        self._reserve()
        plan = self.plan
        request = plan.request
        cwd = self._working_directory()
        self.child = Child(
            Command(
                words=self._words(),
                cwd=cwd,
                env=self._environment(cwd),
                forwards=not (request.quiet or request.background),
                has_input=not request.background,
                time_limit_s=request.time_limit_s,
                descriptors=request.descriptors,
            )
        )
        self.run = msgspec.structs.replace(
            self.run,
            started=_time(self.child.started_ns),
            supervisor_pid=os.getpid(),
            process_group=self.child.pid,
            warnings=tuple(self.warnings),
        )
        try:
            self.store.write_run(self.run, sync=False)
        except OSError as error:
            self._warn("record", f"the record could not be written: {error.strerror}")
        self.recorder = self._open_recorder(self.child.started_ns)
        self.recorder.watch_process(self.child.pid)
        self.census = self._open_census(self.child.pid)
        self.watch = self._open_watch()
        self._describe_at = time.monotonic() + _SELDOM_S
        self._look_at = time.monotonic() + _AGAIN_S

    def _open_census(self, pid: int) -> Census:
        from reenact.execute.census import Census

        return Census(pid, self.record_directory, SHIM)

    def _open_recorder(self, started_ns: int) -> Recorder:
        # Imported while the process starts: together they take as long as Python does.
        import reenact.execute.inputs  # for the end
        import reenact.store.index  # noqa: F401  # for the end
        from reenact.execute.recorder import Recorder, names_never_metrics
        from reenact.interop.tensorboard import EventDirectoryTail

        return Recorder(
            self.record_directory,
            exclude=names_never_metrics(self.run),
            sources=[self.journals, EventDirectoryTail(self._base(), since_ns=started_ns)],
        )

    def _open_watch(self) -> Watch | None:
        from reenact.snapshot.state import Watch

        try:
            return Watch(self._user_environment().get("CUDA_VISIBLE_DEVICES"))
        except Exception as error:  # noqa: BLE001  # a run must not fail because of its description
            self._warn("conditions", f"the state of the machine was not recorded: {error}")
            return None

    def _base(self) -> str:
        return self.plan.root.path if self.plan.request.in_place else self.directory

    def _working_directory(self) -> str:
        return os.path.normpath(f"{self._base()}/{self.plan.cwd}")

    def _words(self) -> tuple[str, ...]:
        plan = self.plan
        if plan.script_at is None or plan.script is None:
            return plan.words
        words = list(plan.words)
        words[plan.script_at] = f"{self._base()}/{plan.script}"
        return tuple(words)

    def _environment(self, cwd: str) -> dict[str, str]:
        env = dict(self.plan.env)
        env["PYTHONPATH"] = SHIM + (os.pathsep + env["PYTHONPATH"] if env.get("PYTHONPATH") else "")
        env["PWD"] = cwd
        env["REENACT_RUN_ID"] = self.id
        env["REENACT_RUN_DIR"] = self.directory
        env["REENACT_HOME"] = self.store.root
        env["REENACT_RECORD_DIR"] = self.record_directory
        env["REENACT_METRICS"] = f"{self.record_directory}/{METRICS_FILE}"
        env["REENACT_PROJECT"] = self.plan.root.path
        if self.plan.request.save_models:
            env["REENACT_SAVE_MODELS"] = "1"
        watch = watch_files(self.store, self.record_directory, self.plan.request.trace_files, env)
        env.update(watch.variables)
        self.run = msgspec.structs.replace(
            self.run, coverage=watch.coverage, coverage_gap=watch.gap
        )
        if self.plan.request.in_place:
            env.pop("REENACT_STAGE", None)
        else:
            env["REENACT_STAGE"] = self.directory
        return env

    def abandon(self) -> None:
        """Undo what was prepared for a process that never started, or that we failed to watch."""
        if self.child is not None:
            self.child.kill()
        if self.former is not None:
            if self.stage is not None and self.tree is not None:
                close_stage(self.stage, self.tree, self.pool)
            remove_if_there(f"{self.record_directory}/{RESERVE_FILE}")
            remove_log(self.record_directory)
            self._write_former()
            self._lock.release(remove=True)
            return
        import shutil

        path = self.directory if self._is_published else f"{self.directory}.new"
        shutil.rmtree(path, ignore_errors=True)
        self._lock.release()

    def _write_former(self) -> None:
        assert self.former is not None
        try:
            self.store.write_run(self.former)
        except OSError as error:
            raise StoreUnusable(f"cannot restore run {self.id[:8]}: {error.strerror}") from error

    # --- while and after ---

    def output(self, stream: int, data: bytes, time_ns: int) -> None:
        """Listen to the process."""
        assert self.recorder is not None
        self.recorder.output(stream, data, time_ns)

    def tick(self, now_s: float) -> None:
        """Use the time while the process runs."""
        assert self.recorder is not None
        self.recorder.tick(now_s)
        if self.census is not None:
            self.census.tick(now_s)
        if not self._described and now_s >= self._describe_at:
            # No interpreter may have said anything yet: it is slow, or started later by another.
            self._describe_at = now_s + _AGAIN_S
            facts = python_facts(read_hellos(self.record_directory))
            if facts is not None:
                self._describe(facts)
        if now_s >= self._look_at:
            self._look_at = now_s + _SELDOM_LOOKED_S
            self._look_for_libraries()

    def finish(self) -> Finished:
        """Watch until the end, then write the final record."""
        assert self.child is not None
        assert self.recorder is not None
        marker = f"{self.record_directory}/{STOP_MARKER}"
        ended = self.child.watch(self, stop_asked=lambda: os.path.exists(marker))
        self.recorder.finish(was_cut_short=ended.signal is not None)
        usage = usage_of(self.recorder.usage, self.child.used, self.child.memory_before)
        conditions = self._conditions(usage)
        hellos = read_hellos(self.record_directory)
        if not self._described or self._lacks_tools:
            self._describe(python_facts(hellos), is_over=True)
        told = collect(self.journals.events, self.directory, self.plan.secrets)
        metrics, metric_sources = self._summaries()
        if ended.requested is not None:
            self._warn_of_survivors()
        if len(found := installations(hellos)) > 1:
            others = ", ".join(found[1:])
            self._warn("installations", f"packages are those of {found[0]}; also ran: {others}")
        self.run = msgspec.structs.replace(
            self.run,
            ended=_time(self.child.ended_ns),
            exit=ended,
            usage=usage,
            conditions=conditions,
            metrics=metrics,
            metric_sources=metric_sources,
            processes=processes(hellos, self.plan.secrets),
            params=told.params,
            models=told.models,
            datasets=told.datasets,
            captures=told.captures,
            failure=told.failure,
        )
        self._describe_runtime(told)
        files = self._look_at_files(hellos)
        self._close_directory(told, files)
        self.warnings += [*self.recorder.warnings, *told.remarks, *files.remarks]
        if self.recorder.waiting:
            message = f"{self.recorder.waiting} points wait for room on the disk"
            self._warn(POINTS_WAITING, f"{message}: `reenact fsck --repair` stores them")
        if self.journals.lost:
            message = f"{self.journals.lost} points that the script reported found no room"
            self._warn("metrics-lost", message)
        self.run = msgspec.structs.replace(self.run, warnings=tuple(self.warnings))
        return self._write_end(marker)

    def _look_at_files(self, hellos: list[dict[str, Any]]) -> Found:
        """Say what was read and written, while the links of the run directory are still there."""
        has_copies = self.tree is not None and self.plan.request.snapshot
        known = self.tree.sources if self.tree is not None and has_copies else ()
        sources = {file.path: (file.digest, file.size) for file in known}
        if not has_copies:
            # Code with other literals is the run's own; without a snapshot nothing says what it was.
            sources = dict.fromkeys(
                (path for path in self.plan.changes if path.endswith(".py")), (Digest(""), 0)
            )
        found = look_at_run(
            self.store,
            self.run,
            self.directory,
            sources=sources,
            env=self.plan.env,
            hellos=hellos,
        )
        self._blobs += found.data_sets
        found = found._replace(contacted=hide(found.contacted, self.plan.secrets))
        met = self.census.unreached(hellos, self.plan.secrets) if self.census is not None else ()
        self.run = with_files(self.run, found, met)
        return found

    def _warn_of_survivors(self) -> None:
        from reenact.actions.recover import orphans

        if alive := orphans(self.run):
            pids = ", ".join(map(str, alive))
            self._warn("survivors", f"processes in sessions of their own were not stopped: {pids}")

    def _write_end(self, marker: str) -> Finished:
        problem = None
        try:
            self._write_end_of_record()
            compact_points(self.record_directory)
        except OSError as error:
            problem = f"the end of run {self.id[:8]} could not be recorded: {error.strerror}"
        remove_if_there(marker)
        self._lock.release(remove=problem is None)
        from reenact.store.index import Index

        try:
            with Index(self.store) as index:
                index.update(self.id)
        except ReenactError:
            pass  # The index is a cache: the next command that reads it sees this run.
        if problem is None and self.recorder is not None and self.recorder.waiting:
            from reenact.actions.recover import store_waiting

            # What was only needed while it ran may have made room.
            self.run = store_waiting(self.store, self.store.read_run(self.id)).record
        return Finished(self.run, self.directory, problem)

    def _reserve(self) -> None:
        """Keep room for the record of the end, for the case that the disk is full by then."""
        try:
            path = f"{self.record_directory}/{RESERVE_FILE}"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                os.posix_fallocate(descriptor, 0, _RESERVED_BYTES)
            finally:
                os.close(descriptor)
        except (OSError, AttributeError):
            pass  # Then the record of the end has to find room for itself.

    def _write_end_of_record(self) -> None:
        remove_if_there(f"{self.record_directory}/{RESERVE_FILE}")
        try:
            self._write_with_blobs()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # On a full disk, what the record has taken in makes room for it.
            self._remove_testimony()
            try:
                self._write_with_blobs()
            except OSError as again:
                # Nothing names a blob that is not there.
                run = without_lists(self.run, str(again.strerror))
                self.run = msgspec.structs.replace(run, runtime=None)
                self.store.write_run(self.run)
        self._remove_testimony()

    def _write_with_blobs(self) -> None:
        if not self._blobs:
            self.store.write_run(self.run)
            return
        with self.store.writing():
            for content in self._blobs:
                self.store.blobs.put(content)
            self.store.write_run(self.run)

    def _remove_testimony(self) -> None:
        remove_log(self.record_directory)
        for name in (METRICS_FILE, PROCESSES_FILE):
            remove_if_there(f"{self.record_directory}/{name}")
        if self.recorder is None or not self.recorder.waiting:
            delete_tree(f"{self.record_directory}/{PROBE_DIRECTORY}")

    def _summaries(self) -> tuple[dict[str, Any], dict[str, dict[str, int]]]:
        assert self.recorder is not None
        found = self.recorder.summarizer
        if self.former is not None:
            try:
                found = MetricLog(self.record_directory).summarize()
            except (OSError, ReenactError) as error:
                self._warn("metrics", f"only those since the restart are summarized: {error}")
        return found.summaries(), found.sources()

    def _close_directory(self, told: Told, found: Found) -> None:
        if self.stage is None:
            self._find_outputs_in_place(told, found)
            return
        assert self.tree is not None
        left = close_stage(self.stage, self.tree, self.pool)
        outputs = [describe_output(self.directory, path) for path in left.outputs]
        if left.written_through:
            names = ", ".join(map(path_to_text, left.written_through[:3]))
            self._warn(
                "written-through",
                f"project files changed while the run was linked to them: {names}",
            )
        every = with_writers(outputs, self.directory, found)
        named = with_roles(every, told.roles)
        self.run = msgspec.structs.replace(self.run, outputs=named)

    def _find_outputs_in_place(self, told: Told, found: Found) -> None:
        """List what appeared or changed in the project, and what lies in the run directory."""
        outputs = [describe_output(self.directory, path) for path in files_below(self.directory)]
        inputs = self.run.inputs
        if self.tree is not None:
            root = self.plan.root.path
            before = {f.path: (f.size, f.mtime_ns) for f in self.tree.sources}
            before.update({path: (size, mtime_ns) for path, size, mtime_ns in self.tree.links})
            now = look_at_tree(self.plan, self.context, keep=False).tree
            after = {f.path: (f.size, f.mtime_ns) for f in now.sources}
            after.update({path: (size, mtime_ns) for path, size, mtime_ns in now.links})
            changed = sorted(path for path, stamp in after.items() if before.get(path) != stamp)
            outputs += [describe_output(root, path, absolute=True) for path in changed]
            # What the run has made itself and read again is no input.
            made = {path_to_text(path) for path in changed if path not in before}
            inputs = tuple(file for file in inputs if file.path not in made)
        every = with_writers(outputs, self.directory, found)
        named = with_roles(every, told.roles)
        self.run = msgspec.structs.replace(self.run, outputs=named, inputs=inputs)

    # --- facts ---

    def _describe(self, facts: PythonFacts | None, *, is_over: bool = False) -> None:
        """Describe interpreter, packages and machine: a blob each, shared by all runs.

        Args:
            facts: what the interpreter said of itself.
            is_over: the process has ended. Before that no compiler is asked for its version: it
                would take time from the run.
        """
        self._described = True
        from reenact.snapshot.environment import capture_environment
        from reenact.snapshot.machine import capture_machine
        from reenact.snapshot.tools import find_tools

        cache = self.store.cache_directory
        env = self._user_environment()
        try:
            tools = find_tools(env, cache=cache, may_ask=is_over)
            self._lacks_tools = tools is None
            environment = capture_environment(facts, env, cache=cache, tools=tools)
            self._variables = environment.variables
            machine = capture_machine(cache=cache)
            with self.store.writing():
                self.run = msgspec.structs.replace(
                    self.run,
                    environment=self.store.blobs.put(to_json(environment)),
                    machine=self.store.blobs.put(to_json(machine)),
                )
                self.store.write_run(self.run, sync=False)
        except Exception as error:  # noqa: BLE001  # a run must not fail because of its description
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            self._warn("environment", f"the environment was not recorded: {reason}")

    def _look_for_libraries(self) -> None:
        """See what the process has loaded, in case that it will not live to tell."""
        assert self.child is not None
        from reenact.snapshot.libraries import loaded_by

        hellos = read_hellos(self.record_directory)
        pids = [hello["pid"] for hello in hellos if hello.get("kind") == "start"]
        for pid in {self.child.pid, *pids[:_MOST_LOOKED_AT]}:
            self._libraries = max(self._libraries, loaded_by(pid), key=len)

    def _describe_runtime(self, told: Told) -> None:
        """Describe what the main process had loaded in the end."""
        from reenact.snapshot.libraries import describe_runtime

        try:
            seen, variables = self._libraries, self._variables
            runtime = describe_runtime(told.runtime, seen, variables, self.directory)
            if runtime is not None:
                content = to_json(runtime)
                self._blobs.append(content)
                self.run = msgspec.structs.replace(self.run, runtime=digest_bytes(content))
        except Exception as error:  # noqa: BLE001  # a run must not fail because of its description
            self._warn("environment", f"what was loaded was not recorded: {error}")

    def _conditions(self, usage: Usage) -> Conditions | None:
        if self.watch is None:
            return None
        used_s = (usage.cpu_user_s or 0.0) + (usage.cpu_system_s or 0.0)
        try:
            return self.watch.finish(used_s)
        except Exception as error:  # noqa: BLE001  # a run must not fail because of its description
            self._warn("conditions", f"the state of the machine was not recorded: {error}")
            return None

    def _user_environment(self) -> dict[str, str]:
        request = self.plan.request
        env = {**self.context.env, **request.variables}
        if request.gpus is not None:
            env["CUDA_VISIBLE_DEVICES"] = request.gpus
        return env

    def _warn(self, code: str, message: str) -> None:
        self.warnings.append(Remark(code=code, message=printable(message)))


def _now() -> datetime:
    return datetime.now(UTC)


def _time(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns // 1000 / 1e6, UTC)
