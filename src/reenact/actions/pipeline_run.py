"""Run pipelines: each step once all that it waits for is done, or an earlier run in its place.

A pipeline is a run without a process of its own, as a batch is. What it does stands in
`.reenact/steps` before it is done, and what came of it follows from the steps' own runs: when it is
killed, `resume_pipeline` runs what is missing. All steps run from the source of its beginning.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import msgspec

from reenact.actions.asked import asked_of, read_asked, write_asked
from reenact.actions.batch import resume_batch, start_batch
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
from reenact.actions.needed import Answer, Cause, Difference, Finder
from reenact.actions.pipeline import (
    PipelineRequest,
    PlannedPipeline,
    PlannedStep,
    plan_again,
    replan,
)
from reenact.actions.pipeline_record import (
    Trees,
    first_record,
    notes_of,
    settings_again,
)
from reenact.actions.plan import plan_run
from reenact.actions.run_definition import decode_definition, encode_definition
from reenact.actions.run_directory import begin_again, new_run, publish, take_over
from reenact.actions.step_checks import failed_checks
from reenact.actions.step_order import waits_for
from reenact.actions.steps import (
    StepEntry,
    StepState,
    append_entry,
    read_entries,
    reopened,
    state_of,
)
from reenact.actions.trial_source import BatchListener
from reenact.actions.trials import read_entries as read_trial_entries
from reenact.errors import Damaged, ReenactError
from reenact.model.flags import FlagValue
from reenact.model.identity import RunId, new_run_id
from reenact.model.paths import printable
from reenact.model.run import Exit, Remark, Run, Status
from reenact.store.files import remove_if_there, store_errors
from reenact.store.index import Index
from reenact.store.lock import Lock
from reenact.store.store import RECORD_DIRECTORY, STOP_MARKER, Store

_NOT_IN_A_LINK = re.compile(r"[ :/\\]")
_SIGNALS = {
    "interrupt": signal.SIGINT,
    "terminate": signal.SIGTERM,
    "stop": signal.SIGTERM,
    "hangup": signal.SIGHUP,
}


class PipelineListener(Protocol):
    """Who shows the user what happens."""

    def begin(self, run: Run) -> None:
        """Hear that the pipeline exists."""
        ...

    def explain(self, step: str, answer: Answer) -> None:
        """Hear why a step runs, or need not."""
        ...

    def started(self, state: StepState, *, has_terminal: bool) -> None:
        """Hear that a step starts."""
        ...

    def ended(self, state: StepState) -> None:
        """Hear that a step has ended, was taken from an earlier run, or is skipped."""
        ...

    def of_batch(self, *, has_terminal: bool) -> BatchListener:
        """Return who listens to a batch that is a step."""
        ...

    def of_pipeline(self, step: str) -> PipelineListener:
        """Return who listens to a pipeline that is a step."""
        ...


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
        trees: the project's files as the pipeline around it has found them.

    Raises:
        CannotRun: the store cannot be written; nothing has run.
    """
    request = planned.request
    check_jobs(request.jobs, in_place=request.run.in_place)
    store = context.store
    run_id = RunId(request.run.run_id) if request.run.run_id else new_run_id()
    with new_run(store, run_id) as lock:
        if trees is None:
            trees = Trees(context)
            trees.look(planned, keep=True)
        run = first_record(run_id, planned, trees)
        store.blobs.put(encode_definition(planned.definition))
        directory = f"{store.directory(run_id)}.new/{RECORD_DIRECTORY}"
        write_asked(directory, asked_of(request.run))
        publish(store, run, notes_of(request.run, planned.prepared.label))
    return _Pipeline(run, planned, trees, context, listener).supervise(lock)


def resume_pipeline(
    former: Run,
    context: Context,
    listener: PipelineListener,
    *,
    jobs: int | None = None,
    keep_going: bool | None = None,
    failed_too: bool = False,
    settings: dict[str, str | FlagValue] | None = None,
    quiet: bool = False,
) -> FinishedPipeline:
    """Run what is missing of a pipeline: steps that never ran or that did not complete.

    Args:
        former: the pipeline.
        context: where.
        listener: told what happens.
        jobs: how many runs at once; as before when None.
        keep_going: as before when None.
        failed_too: in batches, run the trials again that failed.
        settings: flags that are secrets, which are not recorded.
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
                quiet=quiet,
            ),
            jobs=jobs or pipeline.jobs,
            needed=pipeline.is_needed,
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
                keeps_going=request.keep_going,
                completed=None,
                taken=None,
                failed=None,
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
        assert run.pipeline is not None
        self.run = run
        self.pipeline = run.pipeline
        self.planned = planned
        self.trees = trees
        self.context = context
        self.store: Store = context.store
        self.listener = listener
        self.failed_too = failed_too
        self.directory = self.store.directory(run.id)
        self.record_directory = f"{self.directory}/{RECORD_DIRECTORY}"
        self.steps = {step.name: step for step in planned.steps}
        self.recorded = {step.name: step for step in self.pipeline.steps}
        self.needs = {step.name: step.needs for step in planned.steps}
        entries = read_entries(self.record_directory)
        self.states = {
            name: reopened(self.store, state_of(self.store, step, entries.get(name)))
            for name, step in self.recorded.items()
        }
        self._waiting = [name for name, state in self.states.items() if not state.is_done]
        self._elsewhere = {name for name, state in self.states.items() if state.is_alive}
        self._running: dict[RunId, tuple[str, int]] = {}
        self._has_failed = False
        self._finder: Finder | None = None

    def supervise(self, lock: Lock) -> FinishedPipeline:
        """Run everything that is missing; write the end."""
        marker = f"{self.record_directory}/{STOP_MARKER}"
        self.listener.begin(self.run)
        places = make_places(self.planned.request.jobs, None, None)
        with ExitStack() as stack:
            if self.planned.request.needed:
                self._finder = stack.enter_context(Finder(self.context))
            requested = run_parts(
                self,
                places,
                self.store,
                self,
                stop_asked=lambda: os.path.exists(marker),
                in_fork=lock.forget,
            )
        self._skip_the_rest(requested)
        run = self._ended(requested)
        with store_errors(self.store.root):
            self.store.write_run(run)
            remove_if_there(marker)
            lock.release(remove=True)
        with suppress(ReenactError), Index(self.store) as index:
            index.update(run.id)
        return FinishedPipeline(run, tuple(self.states.values()))

    # --- as a source of parts ---

    def ask(self) -> Part | None:
        """Return a step that can start; on the way, take runs that are there already."""
        while True:
            if self._has_failed and not self.planned.request.keep_going:
                return None
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

    def _is_ready(self, name: str) -> bool:
        if name in self._elsewhere:
            return False
        return all(self.states[other].is_done for other in self.needs[name])

    def _prepare(self, name: str, jobs: int) -> Part | None:
        """Return a step's part; None where a run was taken instead."""
        step = self.steps[name]
        former = self.states[name]
        again = self._again(step, former, jobs)
        if again is not None:
            return again
        run_id = new_run_id()
        request = self._request(step, run_id)
        if step.nested is not None:
            return self._nested(step, run_id, request, jobs)
        step = replan(step, request, self.context)
        why = None
        is_needed = step.definition.needed
        if self._finder is None and is_needed:
            self._finder = Finder(self.context)
        if self._finder is not None and is_needed is not False:
            answer = self._find(self._finder, step)
            self.listener.explain(name, answer)
            why = answer.explain()
            if answer.run is not None:
                self._take(name, answer.run, why)
                return None
        entry = StepEntry(step=name, run=run_id, why=why)
        weight = jobs if step.batch is not None else 1
        self._begin(entry, weight)
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
        found = dict.fromkeys(self.planned.request.run.among or ())
        for state in self.states.values():
            if state.is_done and state.entry is not None:
                found.update(dict.fromkeys(self._with_parts(state.entry.run)))
        return tuple(found)

    def _with_parts(self, run_id: RunId) -> Iterable[RunId]:
        yield run_id
        directory = f"{self.store.directory(run_id)}/{RECORD_DIRECTORY}"
        for trial in read_trial_entries(directory):
            yield trial.run
        for entry in read_entries(directory).values():
            yield from self._with_parts(entry.run)

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
        is_needed = step.definition.needed
        inner = msgspec.structs.replace(
            nested.request,
            run=request,
            jobs=jobs,
            needed=nested.request.needed if is_needed is None else is_needed,
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
        append_entry(self.record_directory, entry)
        self._link(entry)
        self._running[entry.run] = entry.step, weight
        self.states[entry.step] = StepState(entry.step, entry)

    def tell(self, end: End) -> None:
        """Take note of how a step ended."""
        name, _ = self._running.pop(end.part.run_id)
        entry = self.states[name].entry
        has_ended = end.stored is not None and end.stored.run is not None
        state = state_of(
            self.store,
            self.recorded[name],
            entry,
            problem=None if has_ended else end.problem or "it did not start",
        )
        self._end(self._checked(state))

    @property
    def is_waiting(self) -> bool:
        """Whether steps run that an earlier supervisor of the pipeline has started."""
        for name in list(self._elsewhere):
            state = state_of(self.store, self.recorded[name], self.states[name].entry)
            if not state.is_alive:
                self._elsewhere.remove(name)
                if state.is_done:
                    self._waiting.remove(name)
                    self._end(self._checked(state))
                else:
                    self.states[name] = state
        return bool(self._elsewhere) or self._can_go_on()

    def _can_go_on(self) -> bool:
        if self._has_failed and not self.planned.request.keep_going:
            return False
        return any(self._is_ready(name) for name in self._waiting)

    # --- what came of a step ---

    def _checked(self, state: StepState) -> StepState:
        """Return a step with what it was expected to do and did not."""
        entry = state.entry
        checks = self.steps[state.name].definition.expect
        if not checks or entry is None or not state.is_done:
            return state
        problems = self._check(state.name, entry.run)
        if not problems:
            return state
        problem = "; ".join(problems)
        append_entry(self.record_directory, msgspec.structs.replace(entry, problem=problem))
        return state._replace(problem=problem)

    def _check(self, name: str, run_id: RunId) -> list[str]:
        checks = self.steps[name].definition.expect
        return failed_checks(checks, self.store, run_id, self.planned.root.path)

    def _end(self, state: StepState) -> None:
        self.states[state.name] = state
        self._has_failed = self._has_failed or state.has_failed
        self.listener.ended(state)

    def _find(self, finder: Finder, step: PlannedStep) -> Answer:
        assert step.plan is not None
        tree = self.trees.of(step) if step.plan.request.snapshot else None
        if step.batch is not None:
            answer = finder.find_batch(step.batch, step.plan, tree)
        else:
            answer = finder.find(step.plan, tree)
        if answer.run is not None and (problems := self._check(step.name, answer.run)):
            differences = tuple(Difference(Cause.CHECK, problem) for problem in problems)
            return Answer(None, answer.run, differences)
        return answer

    def _take(self, name: str, run_id: RunId, why: str) -> None:
        entry = StepEntry(step=name, run=run_id, is_taken=True, why=why)
        append_entry(self.record_directory, entry)
        self._link(entry)
        self._end(state_of(self.store, self.recorded[name], entry))

    def _link(self, entry: StepEntry) -> None:
        """Let the step's run directory be found in the pipeline's."""
        path = f"{self.directory}/{_NOT_IN_A_LINK.sub('_', entry.step)}"
        with suppress(OSError):
            if os.path.islink(path):
                os.unlink(path)
            os.symlink(f"../{entry.run}", path)

    def _skip_the_rest(self, requested: str | None) -> None:
        """Say of steps that cannot run any more because of what."""
        if requested is not None:
            return
        failed = {name for name, state in self.states.items() if state.has_failed}
        for name in self._waiting:
            state = self.states[name]
            if name in failed or state.is_done:
                continue
            causes = [one for one in self.needs if one in waits_for(name, self.needs) & failed]
            why = f"`{causes[0]}` has failed" if causes else "another step has failed"
            self.states[name] = state._replace(is_skipped=True, remark=None, problem=None)
            self.listener.ended(self.states[name]._replace(problem=None, remark=why))

    def _ended(self, requested: str | None) -> Run:
        states = list(self.states.values())
        done = [state for state in states if state.is_done and not state.is_skipped]
        taken = [state for state in done if state.entry is not None and state.entry.is_taken]
        failed = [state for state in states if state.has_failed and not state.is_skipped]
        if requested is not None:
            end = Exit(signal=_SIGNALS[requested], requested=requested)
        else:
            end = Exit(code=0 if len(done) == len(states) else 1)
        warnings = [
            Remark(code="step", message=printable(f"step `{state.name}`: {text}"))
            for state in states
            for text in (state.problem, state.remark)
            if text is not None
        ]
        return msgspec.structs.replace(
            self.run,
            ended=_now(),
            exit=end,
            warnings=tuple(warnings),
            pipeline=msgspec.structs.replace(
                self.pipeline, completed=len(done), taken=len(taken), failed=len(failed)
            ),
        )

    # --- as a listener of the children ---

    def started(self, part: Part, place: Place) -> None:
        """Say that a step starts."""
        warm_up()
        name, _ = self._running[part.run_id]
        self.listener.started(self.states[name], has_terminal=place.has_terminal)

    def tick(self, children: Children) -> None:
        """Use the time for nothing."""


def _now() -> datetime:
    return datetime.now(UTC)
