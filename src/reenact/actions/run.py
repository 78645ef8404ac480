"""Run an operation: stage it, watch over it, record everything that it was and did."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from reenact.actions.context import Context
from reenact.actions.plan import Plan
from reenact.actions.project_tree import PlannedTree, changed_files, look_at_tree
from reenact.actions.randomness import SUPERVISOR, begun, randomness_of
from reenact.actions.resources import Progress, RequirementFailed
from reenact.actions.run_directory import claim, publish, take_over
from reenact.actions.run_end import put_blobs, reserve, write_end
from reenact.actions.run_facts import RunFacts
from reenact.actions.run_files import (
    look_at_run,
    watch_files,
    with_files,
    with_writers,
)
from reenact.errors import EXIT_FAILED, CannotRun, ReenactError, StoreUnusable
from reenact.execute.journals import JournalTail
from reenact.execute.opened import remove_log
from reenact.execute.stage import SourcePool, Stage, close_stage, files_below, make_stage
from reenact.execute.supervise import Child, Command
from reenact.execute.testimony import (
    POINTS_WAITING,
    RESERVE_FILE,
    SHIM,
    describe_output,
    installations,
    processes,
    read_hellos,
    usage_of,
    variables_of,
)
from reenact.execute.told import Told, asked_to_capture, collect, with_roles, with_told
from reenact.model.identity import Digest, RunId, new_run_id
from reenact.model.paths import path_to_text, printable
from reenact.model.run import Dependency, Exit, Failure, File, OperationKind, Remark, Run, Status
from reenact.model.secrets import hide
from reenact.project.overrides import HYDRA
from reenact.snapshot.tree import ProjectTree
from reenact.store.blobs import FileToKeep, digest_bytes
from reenact.store.files import (
    delete_tree,
    read_file,
    remove_if_there,
    store_errors,
)
from reenact.store.metric_log import MetricLog, compact_points
from reenact.store.store import RECORD_DIRECTORY, STOP_MARKER, Store

if TYPE_CHECKING:
    from reenact.execute.census import Census
    from reenact.execute.inputs import Found
    from reenact.execute.recorder import Recorder


class Finished(NamedTuple):
    """A run that has ended.

    Attributes:
        problem: what could not be written to its record.
        is_deleted: it lies in the trash, because its operation is deleted when it has completed.
    """

    run: Run
    directory: str
    problem: str | None
    is_deleted: bool = False


def start_and_watch(
    plan: Plan,
    context: Context,
    *,
    on_start: Callable[[Run], None] | None = None,
    tree: PlannedTree | None = None,
    progress: Progress | None = None,
) -> Finished:
    """Run a plan to its end. One whose requirements cannot be met ends as failed without a start.

    Args:
        plan: what to run.
        context: where.
        on_start: called once the process runs.
        tree: the project's files as they were looked at before, source being in the store and
            named by a record; they are looked at now when None.
        progress: told how far a download is.

    Raises:
        CannotRun: the store cannot be written or the program cannot be started; nothing has run,
            and nothing is left of it.
    """
    store = context.store
    try:
        store.create()
        with store_errors(store.root):
            execution = _Execution(plan, context, tree, progress)
    except StoreUnusable as error:
        raise CannotRun(error.message, hint=error.hint) from error
    try:
        with store_errors(store.root):
            execution.prepare()
        execution.start()
    except RequirementFailed as error:
        finished = execution.fail(error)
        if on_start is not None:
            on_start(finished.run)
        return finished
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

    def __init__(
        self,
        plan: Plan,
        context: Context,
        found: PlannedTree | None,
        progress: Progress | None = None,
    ) -> None:
        self.plan = plan
        self.progress = progress
        self.found = found
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
        self._blobs: list[bytes | FileToKeep] = []
        self._is_published = False
        self.facts = RunFacts(
            self.store,
            self.directory,
            plan.user_environment(context.env),
            self._warn,
            plan.root.path,
        )
        if self.former is not None:
            self._lock, self.former = take_over(self.store, self.former)
        else:
            self._lock = claim(self.store, self.id)
        if not self._lock.has_system_lock:
            self._warn("no-locks", "the store's file system has no locks: two runs may collide")

    # --- before ---

    def prepare(self) -> None:
        """Take the snapshot, publish the record, fill the run directory."""
        plan = self.plan
        request = plan.request
        with self.store.writing():
            if request.snapshot:
                self._take_source()
                self._keep_outside_source()
                self._refuse_hidden()
            if plan.definition is not None:
                self.store.blobs.put(plan.definition)
            if self.former is None:
                publish(self.store, self.run, self.plan.notes)
                self._is_published = True
            else:
                self.store.write_run(self.run, sync=False)
        if request.in_place:
            self._meet_requirements()
            return
        if self.tree is None:
            found = self.found or look_at_tree(plan, self.context, keep=False)
            self.tree = found.tree
        self._stage()
        self._meet_requirements()

    def _meet_requirements(self) -> None:
        """Put what the operation requires into the run directory; without it nothing starts."""
        plan = self.plan
        if not plan.requirements:
            return
        from reenact.actions.resources.meet import meet

        met = meet(
            plan.requirements,
            store=self.store,
            root=plan.root.path,
            directory=self.directory,
            stage=self.stage,
            tree=self.tree if plan.request.snapshot else None,
            env=plan.env,
            is_protected=plan.operation.kind is not OperationKind.COMMAND,
            progress=self.progress,
            keeps=plan.request.keep_data,
        )
        self.warnings += [Remark(code="requirement", message=printable(t)) for t in met.remarks]
        self.run = msgspec.structs.replace(
            self.run,
            dependencies=tuple(map(self._without_secrets, met.dependencies)),
            inputs=(*self.run.inputs, *met.inputs),
        )
        with self.store.writing():
            self.run = put_blobs(self.store, self.run, met.blobs)
            self.store.write_run(self.run, sync=False)

    def _without_secrets(self, dependency: Dependency) -> Dependency:
        uri, why = hide([dependency.uri, dependency.why or ""], self.plan.secrets)
        return msgspec.structs.replace(dependency, uri=uri, why=why or None)

    def _refuse_hidden(self) -> None:
        """Refuse, before anything is to be seen of the run, what would hide the project's source."""
        if self.plan.requirements and self.tree is not None and not self.plan.request.in_place:
            from reenact.actions.resources.meet import refuse_hidden

            refuse_hidden(self.plan.requirements, self.tree, self.plan.root.path)

    def _take_source(self) -> None:
        found = self.found or look_at_tree(self.plan, self.context, keep=True)
        self.tree = found.tree
        self.run = msgspec.structs.replace(self.run, source=found.source)
        if self.run.resumes is not None:
            from reenact.actions.resume import mixed_code

            if (remark := mixed_code(self.run, self.context)) is not None:
                self.warnings.append(remark)
        if found.vcs_problem is not None:
            self._warn("git", f"git was not asked about the source: {found.vcs_problem}")
        if found.tree.too_large:
            names = ", ".join(found.tree.too_large[:3])
            more = len(found.tree.too_large) - 3
            self._warn(
                "source-too-large",
                f"not kept as source, over 1 MiB: {names}" + (f" and {more} more" * (more > 0)),
            )

    def _keep_outside_source(self) -> None:
        prepared = self.plan.prepared
        if prepared is None or prepared.definition.sourcecode is None:
            return
        from reenact.actions.outside_source import keep_outside_source

        files, remark = keep_outside_source(self.plan, self.context)
        self.run = msgspec.structs.replace(self.run, inputs=files)
        if remark is not None:
            self._warn("source", remark)

    def _stage(self) -> None:
        assert self.tree is not None
        plan = self.plan
        if plan.request.snapshot:
            self.pool = SourcePool(f"{self.store.root}/stage", self.store.blobs, plan.root.path)
        wanted = plan.to_rewrite
        by_path = {file.path: file for file in self.tree.sources if file.path in wanted}
        contents = {}
        for path in wanted:
            file = by_path.get(path)
            if self.pool is not None and file is not None:
                contents[path] = self.pool.content(file)
            else:
                contents[path] = read_file(f"{plan.root.path}/{path}")
        rewritten = plan.rewritten(contents)
        self.stage = make_stage(
            self.directory,
            plan.root.path,
            self.tree,
            self.pool,
            rewritten,
            guards=plan.request.reproduces is not None,
        )
        for path in plan.prepared.config_copies if plan.prepared is not None else ():
            if rewritten.get(path) != contents.get(path):
                # What the run was configured with stays, as if the run had made it.
                self.stage.copies.pop(path, None)
        if self.stage.problems:
            count = len(self.stage.problems)
            self._warn("no-links", f"the store's file system has no links: {count} files copied")

    def start(self) -> None:
        """Start the process."""
        reserve(self.store, self.run)
        plan = self.plan
        request = plan.request
        cwd = self._working_directory()
        self.child = Child(
            Command(
                words=self._words(),
                cwd=cwd,
                env=self._environment(cwd),
                forwards=not (request.quiet or request.background),
                has_input=request.has_input and not request.background,
                time_limit_s=request.time_limit_s,
                # Of many runs the later ones are not to suffer from what the reader has seen.
                needs_reader=self.run.parent is None,
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
        self.facts.begin(self.child.pid)

    def _open_census(self, pid: int) -> Census:
        from reenact.execute.census import Census

        return Census(pid, self.record_directory, SHIM)

    def _open_recorder(self, started_ns: int) -> Recorder:
        # Imported while the process starts: together they take as long as Python does.
        import reenact.execute.inputs  # noqa: F401  # for the end
        from reenact.execute.params_told import told_so_far
        from reenact.execute.recorder import Recorder, names_never_metrics
        from reenact.interop.tensorboard import EventDirectoryTail

        prepared = self.plan.prepared
        return Recorder(
            self.record_directory,
            exclude=names_never_metrics(self.run),
            sources=[self.journals, EventDirectoryTail(self._base(), since_ns=started_ns)],
            is_param=told_so_far(self.journals),
            scalars=None if prepared is None else prepared.scalars,
        )

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
        if (prepared := self.plan.prepared) is not None:
            told = prepared.run_variables(
                run_id=self.id,
                directory=self.directory,
                base=self._base(),
                project=self.plan.root.path,
                called_from=self.context.directory,
                python_path=env.get("PYTHONPATH"),
            )
            env.update(told)
        env.update(variables_of(self.store, self.id, env))
        env["PWD"] = cwd
        env["REENACT_PROJECT"] = self.plan.root.path
        env[SUPERVISOR] = str(os.getpid())
        if self.plan.request.save_models:
            env["REENACT_SAVE_MODELS"] = "1"
        watch = watch_files(self.store, self.record_directory, self.plan.request.trace_files, env)
        env.update(watch.variables)
        self.run = msgspec.structs.replace(
            self.run,
            coverage=watch.coverage,
            coverage_gap=watch.gap,
            autolog=asked_to_capture(env),
            randomness=begun(self.plan.env),
        )
        if self.plan.request.in_place:
            env.pop("REENACT_STAGE", None)
        else:
            env["REENACT_STAGE"] = self.directory
        return env

    def fail(self, error: RequirementFailed) -> Finished:
        """End a run that never started, because something that it requires is not to be had."""
        outputs: list[str] = []
        if self.stage is not None and self.tree is not None:
            outputs = close_stage(self.stage, self.tree, self.pool).outputs
        if self.former is None:
            # Of what was made for it nothing is left that could be taken for a result.
            for name in os.listdir(self.directory):
                if name != RECORD_DIRECTORY:
                    delete_tree(f"{self.directory}/{name}")
            outputs = []
        text = f"{error.message}; {error.hint}" if error.hint else error.message
        message = printable(hide([text], self.plan.secrets)[0])
        self.run = msgspec.structs.replace(
            self.run,
            ended=_now(),
            exit=Exit(code=EXIT_FAILED),
            failure=Failure(type="requirement", message=message),
            outputs=tuple(describe_output(self.directory, path) for path in outputs),
            warnings=tuple(self.warnings),
        )
        return self._write_end(f"{self.record_directory}/{STOP_MARKER}")

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
        self.run = self.facts.tick(self.run, now_s)

    def finish(self) -> Finished:
        """Watch until the end, then write the final record."""
        assert self.child is not None
        assert self.recorder is not None
        marker = f"{self.record_directory}/{STOP_MARKER}"
        ended = self.child.watch(self, stop_asked=lambda: os.path.exists(marker))
        self.recorder.finish(was_cut_short=ended.signal is not None)
        usage = usage_of(self.recorder.usage, self.child.used, self.child.memory_before)
        hellos = read_hellos(self.record_directory)
        self.run = self.facts.finish(self.run, usage, hellos)
        told = collect(self.journals.events, self.directory, self.plan.secrets)
        metrics, metric_sources = self._summaries()
        if ended.requested is not None:
            self._warn_of_survivors()
        if len(found := installations(hellos)) > 1:
            others = ", ".join(found[1:])
            self._warn("installations", f"packages are those of {found[0]}; also ran: {others}")
        self.run = msgspec.structs.replace(
            with_told(self._with_attributes(self.run), told),
            randomness=randomness_of(self.run, self.directory, told.runtime),
            ended=_time(self.child.ended_ns),
            exit=ended,
            usage=usage,
            metrics=metrics,
            metric_sources=metric_sources,
            processes=processes(hellos, self.plan.secrets),
            failure=told.failure,
        )
        if (runtime := self.facts.runtime(self.run, told.runtime)) is not None:
            self._blobs.append(runtime)
            self.run = msgspec.structs.replace(self.run, runtime=digest_bytes(runtime))
        files = self._look_at_files(hellos)
        self.run = self.facts.with_lock(self.run)
        self._close_directory(told, files)
        self.warnings += [*self.recorder.warnings, *told.remarks, *files.remarks]
        if self.recorder.waiting:
            message = f"{self.recorder.waiting} points wait for room on the disk"
            self._warn(POINTS_WAITING, f"{message}: `reenact fsck --repair` stores them")
        if self.journals.lost:
            message = f"{self.journals.lost} points that the script reported found no room"
            self._warn("metrics-lost", message)
        self.run = msgspec.structs.replace(self.run, warnings=tuple(self.warnings))
        if self.run.operation.flags_kind == HYDRA:
            from reenact.actions.composed_flags import with_composed_flags

            self.run = with_composed_flags(self.run, self.directory, self.plan.secrets)
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
        if self.plan.prepared is not None:
            sources.update(dict.fromkeys(self.plan.prepared.config_copies, (Digest(""), 0)))
        found = look_at_run(
            self.store,
            self.run,
            self.directory,
            sources=sources,
            env=self.plan.env,
            hellos=hellos,
            provided=self.plan.request.provided,
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
        waits = self.recorder is not None and self.recorder.waiting > 0
        problem = None
        try:
            self.run = write_end(self.store, self.run, self._blobs, keeps_journals=waits)
            compact_points(self.record_directory)
        except OSError as error:
            problem = f"the end of run {self.id[:8]} could not be recorded: {error.strerror}"
        remove_if_there(marker)
        self._lock.release(remove=problem is None)
        if self.former is not None:
            self._update_index()
        if problem is None and waits:
            from reenact.actions.recover import store_waiting

            # What was only needed while it ran may have made room.
            self.run = store_waiting(self.store, self.store.read_run(self.id)).record
        return Finished(self.run, self.directory, problem, self._delete_if_asked(problem))

    def _update_index(self) -> None:
        """Tell the index of a run that it may know as ended; those new to it, it finds by itself."""
        from reenact.store.index import Index

        try:
            with Index(self.store) as index:
                index.update(self.id)
        except ReenactError:
            pass  # The index is a cache, and is made anew.

    def _delete_if_asked(self, problem: str | None) -> bool:
        """Move a run to the trash whose operation says so, once it has completed."""
        prepared = self.plan.prepared
        if prepared is None or not prepared.definition.delete_on_success or problem is not None:
            return False
        if self.run.status(is_locked=False) is not Status.COMPLETED:
            return False
        from reenact.actions.trash import remove_runs

        try:
            remove_runs(self.context, [self.id])
        except ReenactError:
            # It stays: a run too many is no loss.
            return False
        return True

    def _summaries(self) -> tuple[dict[str, Any], dict[str, dict[str, int]]]:
        assert self.recorder is not None
        found = self.recorder.summarizer
        if self.former is not None:
            try:
                found = MetricLog(self.record_directory).summarize()
            except (OSError, ReenactError) as error:
                self._warn("metrics", f"only those since the restart are summarized: {error}")
        return found.summaries(), found.sources()

    def _with_attributes(self, run: Run) -> Run:
        """Return the record with the facts in it that the project file finds in the output."""
        prepared = self.plan.prepared
        if prepared is None or prepared.attributes is None:
            return run
        from reenact.execute.output_attributes import read_attributes

        rules, secrets = prepared.attributes, self.plan.secrets
        found = read_attributes(self.record_directory, rules, secrets)
        return msgspec.structs.replace(run, params={**run.params, **found})

    def _close_directory(self, told: Told, found: Found) -> None:
        """List what the run left behind; take its scaffolding away."""
        outputs = self._outputs_in_place() if self.stage is None else self._outputs_of_stage()
        every = with_writers(outputs, self.directory, found)
        self.run = msgspec.structs.replace(self.run, outputs=with_roles(every, told.roles))

    def _outputs_of_stage(self) -> list[File]:
        assert self.stage is not None
        assert self.tree is not None
        left = close_stage(self.stage, self.tree, self.pool)
        if left.written_through:
            self._warn_of_written(left.written_through)
        return [describe_output(self.directory, path) for path in left.outputs]

    def _warn_of_written(self, paths: Sequence[str]) -> None:
        """Say whose files changed while the run was linked to them."""
        whose: dict[RunId | None, list[str]] = {}
        for path in map(path_to_text, paths):
            owner = next((d.run for d in self.run.dependencies if _has(d, path)), None)
            whose.setdefault(owner, []).append(path)
        for owner, names in whose.items():
            shown = ", ".join(names[:3])
            if len(names) > 3:
                shown += f" and {len(names) - 3} more"
            if owner is None:
                message = f"project files changed while the run was linked to them: {shown}"
                self._warn("written-through", message)
                continue
            self._warn(
                "written-through-run",
                f"files of run {owner[:8]} changed while this run was linked to them, and are not "
                f"what it made any more: {shown}",
            )

    def _outputs_in_place(self) -> list[File]:
        """Return what appeared or changed in the project, and what lies in the run directory."""
        outputs = [describe_output(self.directory, path) for path in files_below(self.directory)]
        if self.tree is not None:
            root = self.plan.root.path
            now = look_at_tree(self.plan, self.context, keep=False).tree
            changed, added = changed_files(self.tree, now)
            outputs += [describe_output(root, path, absolute=True) for path in changed]
            # What the run has made itself and read again is no input.
            made = set(map(path_to_text, added))
            inputs = tuple(file for file in self.run.inputs if file.path not in made)
            self.run = msgspec.structs.replace(self.run, inputs=inputs)
        return outputs

    def _warn(self, code: str, message: str) -> None:
        self.warnings.append(Remark(code=code, message=printable(message)))


def _has(dependency: Dependency, path: str) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in dependency.paths)


def _now() -> datetime:
    return datetime.now(UTC)


def _time(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns // 1000 / 1e6, UTC)
