"""Run pipelines: each step once all that it waits for is done, or an earlier run in its place.

A pipeline is a run without a process of its own, as a batch is. What it does stands in
`.reenact/steps` before it is done, and what came of it follows from the steps' own runs: when it is
killed, `resume_pipeline` runs what is missing. All steps run from the source of its beginning.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import NamedTuple

import msgspec

from reenact.actions.asked import asked_of, read_asked, write_asked
from reenact.actions.batch import start_batch
from reenact.actions.batch_resume import resume_batch
from reenact.actions.children import (
    Children,
    End,
    Part,
    Place,
    begun,
    check_jobs,
    make_places,
    run_parts,
    warm_up,
)
from reenact.actions.context import Context
from reenact.actions.ground import RunRequest
from reenact.actions.needed import Answer, Finder
from reenact.actions.needed_differences import Cause, Difference
from reenact.actions.pipeline import (
    PipelineRequest,
    PlannedPipeline,
    PlannedStep,
    plan_again,
    replan,
)
from reenact.actions.pipeline_listener import PipelineListener
from reenact.actions.pipeline_record import Trees, first_record, settings_again
from reenact.actions.plan import plan_run
from reenact.actions.queue import refuse_to_stage
from reenact.actions.run_definition import decode_definition, encode_definition
from reenact.actions.run_directory import begin_again, new_run, publish, take_over
from reenact.actions.step_ledger import StepLedger
from reenact.actions.steps import StepEntry, StepState
from reenact.errors import Damaged, ReenactError
from reenact.model.flags import FlagValue
from reenact.model.identity import RunId, new_run_id
from reenact.model.run import Run, Status
from reenact.store.files import remove_if_there, store_errors
from reenact.store.index import tell_index
from reenact.store.lock import Lock
from reenact.store.store import RECORD_DIRECTORY, STOP_MARKER, Store


class FinishedPipeline(NamedTuple):
    """A pipeline that has ended, with its steps."""

    run: Run
    states: tuple[StepState, ...]


def start_pipeline(
    planned: PlannedPipeline,
    context: Context,
    listener: PipelineListener,
    *,
    trees: Trees | None = None,
) -> FinishedPipeline:
    """Run a pipeline to its end.

    Args:
        planned: the pipeline.
        context: where.
        listener: told what happens.
        trees: the project's files as the pipeline or batch around it has found them.

    Raises:
        CannotRun: the store cannot be written; nothing has run.
    """
    check_jobs(planned.request.jobs, in_place=planned.request.run.in_place)
    run, trees, lock = _make(planned, context, trees, is_staged=False)
    return _Pipeline(run, planned, trees, context, listener).supervise(lock)


def stage_pipeline(
    planned: PlannedPipeline, context: Context, *, trees: Trees | None = None
) -> Run:
    """Set a pipeline aside with the source of its steps, to be started later.

    Args:
        planned: the pipeline.
        context: where.
        trees: the project's files as the batch around it has found them.

    Raises:
        CannotRun: the store cannot be written.
        UsageError: it would not run from a snapshot.
    """
    refuse_to_stage(planned.request.run)
    check_jobs(planned.request.jobs, in_place=False)
    run, _, lock = _make(planned, context, trees, is_staged=True)
    lock.release(remove=True)
    tell_index(context.store, run.id)
    return run


def _make(
    planned: PlannedPipeline, context: Context, trees: Trees | None, *, is_staged: bool
) -> tuple[Run, Trees, Lock]:
    """Make the pipeline's run directory, with all that it takes to go on with it later."""
    store = context.store
    request = planned.request.run
    run_id = RunId(request.run_id) if request.run_id else new_run_id()
    with new_run(store, run_id) as lock:
        if trees is None:
            trees = Trees(context)
            trees.look(planned, keep=True)
        run = first_record(run_id, planned, trees, is_staged=is_staged)
        store.blobs.put(encode_definition(planned.definition))
        write_asked(f"{store.directory(run_id)}.new/{RECORD_DIRECTORY}", asked_of(request))
        publish(store, run, request.notes(planned.prepared.label))
    return run, trees, lock


def resume_pipeline(
    former: Run,
    context: Context,
    listener: PipelineListener,
    *,
    jobs: int | None = None,
    needed: bool | None = None,
    keep_going: bool | None = None,
    failed_too: bool = False,
    settings: Mapping[str, str | FlagValue] | None = None,
    python: str | None = None,
    gpus: str | None = None,
    quiet: bool = False,
) -> FinishedPipeline:
    """Start a pipeline that was staged, or run what is missing: steps that never ran to an end.

    Args:
        former: the pipeline.
        context: where.
        listener: told what happens.
        jobs: how many runs at once; as before when None.
        needed: take runs that are there instead of starting equal ones; as before when None.
        keep_going: as before when None.
        failed_too: in batches, run the trials again that failed.
        settings: flags that are secrets, which are not recorded.
        python: interpreter for all steps; that of the beginning when None.
        gpus: value for CUDA_VISIBLE_DEVICES; as before when None.
        quiet: do not pass the steps' output on.

    Raises:
        CannotRun: it runs, or the store cannot be written.
        Damaged: what it was to do cannot be read.
    """
    store = context.store
    lock, former = take_over(store, former)
    pipeline = former.pipeline
    assert pipeline is not None
    try:
        if former.operation.definition is None:
            raise Damaged(f"run {former.id[:8]} does not say what its pipeline was")
        definition = decode_definition(store.blobs.get(former.operation.definition))
        asked = read_asked(f"{store.directory(former.id)}/{RECORD_DIRECTORY}").request()
        request = PipelineRequest(
            run=msgspec.structs.replace(
                asked,
                settings=settings_again(former, settings or {}),
                parent=former.parent,
                python=python or asked.python,
                gpus=asked.gpus if gpus is None else gpus,
                quiet=quiet,
            ),
            jobs=jobs or pipeline.jobs,
            needed=pipeline.is_needed if needed is None else needed,
            keep_going=pipeline.keeps_going if keep_going is None else keep_going,
        )
        check_jobs(request.jobs, in_place=former.in_place)
        planned = plan_again(request, former, definition, context)
        trees = Trees(context)
        trees.look(planned, keep=False)
        run = msgspec.structs.replace(
            begin_again(former),
            pipeline=msgspec.structs.replace(
                pipeline,
                jobs=request.jobs,
                is_needed=request.needed,
                keeps_going=request.keep_going,
                completed=None,
                taken=None,
                failed=None,
                took={},
            ),
        )
        with store_errors(store.root):
            store.write_run(run)
    except BaseException:
        lock.release(remove=True)
        raise
    return _Pipeline(run, planned, trees, context, listener, failed_too).supervise(lock)


# --- running ---


class _Pipeline:
    """A pipeline that runs: a source of parts, and a listener to them."""

    def __init__(
        self,
        run: Run,
        planned: PlannedPipeline,
        trees: Trees,
        context: Context,
        listener: PipelineListener,
        failed_too: bool = False,
    ) -> None:
        self.run = run
        self.planned = planned
        self.trees = trees
        self.context = context
        self.store: Store = context.store
        self.listener = listener
        self.failed_too = failed_too
        self.steps = {step.name: step for step in planned.steps}
        self.ledger = StepLedger(run, planned, self.store)
        states = self.ledger.states
        self._waiting = [name for name, state in states.items() if not state.is_done]
        self._elsewhere = {name for name, state in states.items() if state.is_alive}
        self._running: dict[RunId, tuple[str, int]] = {}
        self._finder: Finder | None = None

    def supervise(self, lock: Lock) -> FinishedPipeline:
        """Run everything that is missing; write the end."""
        marker = self.store.record_path(self.run.id, STOP_MARKER)
        self.listener.begin(self.run)
        places = make_places(self.planned.request.jobs, None, None)
        with ExitStack() as stack:
            if any(self._is_needed(step) for step in self.planned.steps):
                self._finder = stack.enter_context(Finder(self.context))
            requested = run_parts(
                self,
                places,
                self.store,
                self,
                stop_asked=lambda: os.path.exists(marker),
                in_fork=lock.forget,
            )
        if requested is None:
            for state in self.ledger.skip(self._waiting):
                self.listener.ended(state)
        run = self.ledger.ended(requested)
        with store_errors(self.store.root):
            self.store.write_run(run)
            remove_if_there(marker)
            lock.release(remove=True)
        tell_index(self.store, run.id)
        return FinishedPipeline(run, tuple(self.ledger.states.values()))

    # --- as a source of parts ---

    def ask(self) -> Part | None:
        """Return a step that can start; on the way, take runs that are there already."""
        while self._goes_on:
            ready = [name for name in self._waiting if self._is_ready(name)]
            room = self.planned.request.jobs - sum(n for _, n in self._running.values())
            if not ready or room <= 0:
                return None
            name = ready[0]
            # A batch gets what nothing else could use now.
            jobs = self.steps[name].definition.jobs or max(1, room - len(ready) + 1)
            self._waiting.remove(name)
            try:
                part = self._prepare(name, jobs)
            except ReenactError as error:
                hint = f"; {error.hint}" if error.hint else ""
                self._end(StepState(name, problem=f"{error.message}{hint}"))
                continue
            if part is not None:
                return part
        return None

    @property
    def _goes_on(self) -> bool:
        """Whether steps are started at all."""
        return self.planned.request.keep_going or not self.ledger.has_failed

    def _is_ready(self, name: str) -> bool:
        return name not in self._elsewhere and self.ledger.is_ready(name)

    def _is_needed(self, step: PlannedStep) -> bool:
        """Tell whether an earlier run will do for a step."""
        said = step.definition.needed
        return self.planned.request.needed if said is None else said

    def _prepare(self, name: str, jobs: int) -> Part | None:
        """Return a step's part; None where a run was taken instead."""
        step = self.steps[name]
        run_id = new_run_id()
        request = self._request(step, run_id)
        why = None
        is_new = False
        if step.nested is None and self._is_needed(step) and self._finder is not None:
            step, is_new = replan(step, request, self.context), True
            answer = self._find(self._finder, step)
            self.listener.explain(name, answer)
            why = answer.explain()
            if answer.run is not None:
                entry = StepEntry(step=name, run=answer.run, is_taken=True, why=why)
                self._end(self.ledger.take(entry))
                return None
        again = self._again(step, self.ledger.states[name], jobs)
        if again is not None:
            return again
        if step.nested is not None:
            return self._nested(step, run_id, request, jobs)
        step = step if is_new else replan(step, request, self.context)
        weight = jobs if step.batch is not None else 1
        self._begin(StepEntry(step=name, run=run_id, why=why), weight)
        return Part(run_id, f"step `{name}`", self._body(step, jobs))

    def _request(self, step: PlannedStep, run_id: RunId) -> RunRequest:
        request = step.request
        like = request.like
        if like is not None and step.batch is not None:
            # So its trials say nothing of a run that they are like.
            like = msgspec.structs.replace(like, id=run_id)
        is_shared = self.planned.request.jobs > 1
        return msgspec.structs.replace(
            request,
            run_id=run_id,
            parent=self.run.id,
            part=step.name,
            like=like,
            among=self._among() if request.among is not None else None,
            awaited=frozenset(),
            quiet=request.quiet or is_shared,
            background=request.background or is_shared,
        )

    def _among(self) -> tuple[RunId, ...]:
        """Return the runs of this pipeline, and those that were there for the ones around it."""
        around = self.planned.request.run.among or ()
        return tuple(dict.fromkeys((*around, *self.ledger.runs())))

    def _body(self, step: PlannedStep, jobs: int) -> Callable[[Place], object]:
        tree = self.trees.of(step)
        context = self.context

        def body(place: Place) -> None:
            if step.batch is not None:
                batch = msgspec.structs.replace(step.batch.request, jobs=jobs)
                listener = self.listener.of_batch(has_terminal=place.has_terminal)
                start_batch(step.batch._replace(request=batch), context, listener, tree=tree)
                return
            from reenact.actions.run import start_and_watch

            assert step.plan is not None
            start_and_watch(step.plan, context, on_start=begun, tree=tree)

        return body

    def _nested(self, step: PlannedStep, run_id: RunId, request: RunRequest, jobs: int) -> Part:
        nested = step.nested
        assert nested is not None
        inner = msgspec.structs.replace(
            nested.request, run=request, jobs=jobs, needed=self._is_needed(step)
        )
        self._begin(StepEntry(step=step.name, run=run_id), jobs)

        def body(place: Place) -> None:  # noqa: ARG001
            listener = self.listener.of_pipeline(step.name)
            start_pipeline(nested._replace(request=inner), self.context, listener, trees=self.trees)

        return Part(run_id, f"step `{step.name}`", body)

    def _again(self, step: PlannedStep, former: StepState, jobs: int) -> Part | None:
        """Return a part that goes on with a run of the step that came to no good end."""
        stored = former.stored
        run = None if stored is None else stored.run
        if run is None or stored is None or former.entry is None or former.entry.is_taken:
            return None
        is_complete = stored.status is Status.COMPLETED and not former.is_open
        if former.problem is not None or run.in_place or is_complete:
            return None
        context = self.context
        is_shared = self.planned.request.jobs > 1
        is_quiet = step.request.quiet or is_shared
        own = step.request
        kept = run

        def body(place: Place) -> None:
            if kept.batch is not None:
                listener = self.listener.of_batch(has_terminal=place.has_terminal)
                resume_batch(
                    kept,
                    context,
                    listener,
                    jobs=jobs,
                    failed_too=self.failed_too,
                    quiet=is_quiet,
                )
                return
            if kept.pipeline is not None:
                resume_pipeline(
                    kept,
                    context,
                    self.listener.of_pipeline(step.name),
                    jobs=jobs,
                    needed=self._is_needed(step),
                    keep_going=self.planned.request.keep_going,
                    failed_too=self.failed_too,
                    quiet=is_quiet,
                )
                return
            from reenact.actions.run import start_and_watch

            request = RunRequest(
                restart=kept,
                python=own.python,
                force_flags=own.force_flags,
                variables=own.variables,
                settings=own.settings,
                snapshot=own.snapshot,
                time_limit_s=own.time_limit_s,
                gpus=own.gpus,
                save_models=own.save_models,
                keep_data=own.keep_data,
                trace_files=own.trace_files,
                among=self._among() if own.among is not None else None,
                quiet=is_quiet,
                background=own.background or is_shared,
            )
            start_and_watch(plan_run(request, context), context, on_start=begun)

        self._begin(
            msgspec.structs.replace(former.entry, problem=None), jobs if run.is_parent else 1
        )
        return Part(run.id, f"step `{step.name}`", body)

    def _begin(self, entry: StepEntry, weight: int) -> None:
        self.ledger.begin(entry)
        self._running[entry.run] = entry.step, weight

    def _end(self, state: StepState) -> None:
        self.ledger.end(state)
        self.listener.ended(state)

    def _find(self, finder: Finder, step: PlannedStep) -> Answer:
        assert step.plan is not None
        tree = self.trees.of(step) if step.plan.request.snapshot else None
        if step.batch is not None:
            answer = finder.find_batch(step.batch, step.plan, tree)
        else:
            answer = finder.find(step.plan, tree)
        if answer.run is not None and (problems := self.ledger.problems(step.name, answer.run)):
            differences = tuple(Difference(Cause.CHECK, problem) for problem in problems)
            return Answer(None, answer.run, differences)
        return answer

    def tell(self, end: End) -> None:
        """Take note of how a step ended."""
        name, _ = self._running.pop(end.part.run_id)
        has_ended = end.stored is not None and end.stored.run is not None
        state = self.ledger.look(name, None if has_ended else end.problem or "it did not start")
        self._end(self.ledger.checked(state))

    @property
    def is_waiting(self) -> bool:
        """Whether steps run that an earlier supervisor of the pipeline has started."""
        for name in list(self._elsewhere):
            state = self.ledger.look(name)
            if not state.is_alive:
                self._elsewhere.remove(name)
                if state.is_done:
                    self._waiting.remove(name)
                    self._end(self.ledger.checked(state))
                else:
                    self.ledger.states[name] = state
        can_go_on = self._goes_on and any(self._is_ready(name) for name in self._waiting)
        return bool(self._elsewhere) or can_go_on

    # --- as a listener of the children ---

    def started(self, part: Part, place: Place) -> None:
        """Say that a step starts."""
        warm_up()
        name, _ = self._running[part.run_id]
        self.listener.started(self.ledger.states[name], has_terminal=place.has_terminal)

    def tick(self, children: Children) -> None:
        """Use the time for nothing."""
