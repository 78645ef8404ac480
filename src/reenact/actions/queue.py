"""Runs that are set aside with their snapshot, and the queue that starts them.

Promised: a staged run is started once, however many queues there are: whoever takes its lock starts
it, and who comes second leaves it alone. It is staged for as long as nobody has begun with it; a queue
that is killed just then leaves it staged. What cannot be started is marked as failed, so that no queue
tries it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from reenact.actions.asked import ask_later, read_asked, write_asked
from reenact.actions.children import (
    Children,
    End,
    Part,
    Place,
    begun,
    find_gpus,
    make_places,
    run_parts,
    warm_up,
)
from reenact.actions.context import Context
from reenact.actions.find import list_runs
from reenact.actions.ground import Ground, RunRequest
from reenact.actions.notes import edit_notes
from reenact.actions.plan import Plan, plan_run
from reenact.actions.project_tree import PlannedTree, look_at_tree
from reenact.actions.run_directory import TakenError, new_run, publish, take_over
from reenact.errors import CannotRun, NotFound, UsageError
from reenact.model.identity import RunId, new_run_id
from reenact.model.paths import printable
from reenact.model.run import Exit, Notes, Remark, Run, Status
from reenact.store.columns import IndexedRun
from reenact.store.files import store_errors
from reenact.store.index import tell_index
from reenact.store.lock import is_locked
from reenact.store.store import RECORD_DIRECTORY, Store

_LOOK_S = 1.0
_CANNOT_RUN = 125
_TAKEN = "taken"
"""What the process of a part says when another queue was faster."""


def stage_run(plan: Plan, context: Context, *, tree: PlannedTree | None = None) -> Run:
    """Set a run aside with its snapshot.

    Args:
        plan: of the run.
        context: where.
        tree: the project's files as they were looked at before, source being in the store and
            named by a record.

    Raises:
        CannotRun: the store cannot be written.
        UsageError: it would not run from a snapshot.
    """
    request = plan.request
    refuse_to_stage(request)
    if request.restart is not None:
        raise UsageError("`--restart` and `--stage` exclude each other")
    store = context.store
    run_id = RunId(request.run_id) if request.run_id else new_run_id()
    asked = ask_later(Ground(request, plan.root, "", plan.target, None), plan.env)
    with new_run(store, run_id) as lock:
        found = tree or look_at_tree(plan, context, keep=True)
        now = datetime.now(UTC)
        run = msgspec.structs.replace(plan.record(run_id, now), source=found.source, staged=now)
        write_asked(f"{store.directory(run_id)}.new/{RECORD_DIRECTORY}", asked)
        publish(store, run, plan.notes)
    lock.release(remove=True)
    tell_index(store, run_id)
    return run


def refuse_to_stage(request: RunRequest, option: str = "--stage") -> None:
    """Raise UsageError where what is staged would not run from a snapshot."""
    if request.in_place or not request.snapshot:
        other = "--in-place" if request.in_place else "--no-snapshot"
        raise UsageError(f"`{option}` keeps a copy of the source, which `{other}` does not use")


def as_asked(request: RunRequest, run: Run, context: Context) -> RunRequest:
    """Return a request to start a staged run with what was asked of it when it was staged."""
    asked = read_asked(f"{context.store.directory(run.id)}/{RECORD_DIRECTORY}").request()
    return msgspec.structs.replace(
        request,
        python=request.python or asked.python,
        force_flags=request.force_flags or asked.force_flags,
        time_limit_s=request.time_limit_s or asked.time_limit_s,
        gpus=asked.gpus if request.gpus is None else request.gpus,
        save_models=request.save_models or asked.save_models,
        keep_data=request.keep_data or asked.keep_data,
        trace_files=asked.trace_files,
        restored=asked.restored,
    )


def set_priority(context: Context, runs: Iterable[RunId], priority: int) -> dict[RunId, Notes]:
    """Say which of the staged runs are to be started first."""
    return edit_notes(
        context, runs, lambda notes: msgspec.structs.replace(notes, priority=priority)
    )


def staged_runs(context: Context, *, all_projects: bool = False) -> list[IndexedRun]:
    """Return the runs that wait, the next one first."""
    runs = list_runs(context, filter_text="status = staged", all_projects=all_projects)
    return sorted(runs, key=lambda run: (-run.priority, run.staged or run.created, run.id))


def cancel(store: Store, run: Run, why: str, end: Exit) -> bool:
    """End a staged run that nobody has begun with; False when somebody was faster."""
    try:
        lock, now = take_over(store, run)
    except CannotRun:
        return False
    moment = datetime.now(UTC)
    remark = Remark(code="not-started", message=printable(why))
    ended = msgspec.structs.replace(now, ended=moment, exit=end, warnings=(*now.warnings, remark))
    with store_errors(store.root):
        store.write_run(ended)
        lock.release(remove=True)
    tell_index(store, run.id)
    return True


class QueueListener(Protocol):
    """Who shows the user what a queue does."""

    def started(self, run: RunId) -> None:
        """Hear that a run starts."""
        ...

    def ended(self, run: RunId, status: Status | None, problem: str | None) -> None:
        """Hear that a run has ended."""
        ...

    def waits(self) -> None:
        """Hear that nothing is left to do for now."""
        ...


def run_queue(
    context: Context,
    listener: QueueListener,
    *,
    workers: int | None = None,
    gpus_per_worker: int | None = None,
    once: bool = False,
    all_projects: bool = False,
) -> str | None:
    """Start staged runs, those of the highest priority first; return who asked for the end.

    Args:
        context: whose runs.
        listener: told what happens.
        workers: how many at once; None for one, or as many as there are GPUs for.
        gpus_per_worker: how many GPUs each gets; None leaves them alone.
        once: end when none is left; else wait for more until somebody asks for the end.
        all_projects: those of all projects in the store.
    """
    gpus = find_gpus(context.env) if gpus_per_worker else None
    places = [
        place._replace(has_terminal=False) for place in make_places(workers, gpus_per_worker, gpus)
    ]
    warm_up()
    queue = StagedRuns(context, listener, once=once, all_projects=all_projects)
    return run_parts(queue, places, context.store, queue)


class StagedRuns:
    """Staged runs as a source of parts."""

    def __init__(
        self, context: Context, listener: QueueListener, *, once: bool, all_projects: bool
    ) -> None:
        self._context = context
        self._listener = listener
        self._once = once
        self._all_projects = all_projects
        self._mine: dict[RunId, Run] = {}
        self._untold: set[RunId] = set()
        self._look_at = 0.0
        self._is_idle = False

    def ask(self) -> Part | None:
        """Return the staged run that is next."""
        if time.monotonic() < self._look_at:
            return None
        store = self._context.store
        try:
            for waiting in staged_runs(self._context, all_projects=self._all_projects):
                if waiting.id in self._mine or is_locked(store.record_path(waiting.id, "lock")):
                    continue
                run = store.read_run(waiting.id).record
                if run.is_staged:
                    self._mine[run.id] = run
                    self._is_idle = False
                    return Part(run.id, f"run {run.id[:8]}", self._body(run))
        except NotFound:
            pass  # Somebody has deleted it just now; the next look finds others.
        self._look_at = time.monotonic() + _LOOK_S
        if not self._mine and not self._once and not self._is_idle:
            self._is_idle = True
            self._listener.waits()
        return None

    def _body(self, run: Run) -> Callable[[Place], object]:
        context = self._context

        def body(place: Place) -> None:
            try:
                start(place)
            except TakenError:
                raise CannotRun(_TAKEN) from None

        def start(place: Place) -> None:
            if run.batch is not None:
                from reenact.actions.batch_resume import resume_batch
                from reenact.actions.pipeline_trials import pipelines_again
                from reenact.actions.trial_source import Silence

                find = pipelines_again(run, context).find
                resume_batch(run, context, Silence(), gpus=place.gpus, quiet=True, again=find)
                return
            if run.pipeline is not None:
                from reenact.actions.pipeline_listener import NoListener
                from reenact.actions.pipeline_run import resume_pipeline

                resume_pipeline(run, context, NoListener(), gpus=place.gpus, quiet=True)
                return
            from reenact.actions.run import start_and_watch

            request = RunRequest(restart=run, quiet=True, background=True, gpus=place.gpus)
            plan = plan_run(as_asked(request, run, context), context)
            start_and_watch(plan, context, on_start=begun)

        return body

    def tell(self, end: End) -> None:
        """Take note of how a run ended; one that could not be started is not tried again."""
        run = self._mine.pop(end.part.run_id)
        self._look_at = 0.0
        if end.problem == _TAKEN:
            self._untold.discard(run.id)
            return
        self._say_started(run.id)
        store = self._context.store
        status = None if end.stored is None else end.stored.status
        if status is Status.STAGED and end.problem and not self._is_taken(run):
            cancel(store, run, end.problem, Exit(code=_CANNOT_RUN))
            status = store.read_run(run.id).status
        self._listener.ended(run.id, status, end.problem)

    def _is_taken(self, run: Run) -> bool:
        return is_locked(self._context.store.record_path(run.id, "lock"))

    @property
    def is_waiting(self) -> bool:
        """Whether to go on without anything to do."""
        return not self._once

    def started(self, part: Part, place: Place) -> None:  # noqa: ARG002
        """Take note of what may start: another queue may be faster."""
        self._untold.add(part.run_id)

    def tick(self, children: Children) -> None:
        """Say of what has started that it has."""
        for run_id in list(self._untold):
            with suppress(NotFound):
                run = self._context.store.read_run(run_id).run
                pid = children.pid_of(run_id)
                if run is not None and pid is not None and run.supervisor_pid == pid:
                    self._say_started(run_id)

    def _say_started(self, run_id: RunId) -> None:
        if run_id in self._untold:
            self._untold.remove(run_id)
            self._listener.started(run_id)
