"""Pipelines as the trials of a batch: `reenact run study lr=[0.1,0.01]`.

A pipeline is planned once; its trials differ in its flags. All of them run from the source of the
batch's beginning, and the batch's record says of each step what the record of a pipeline says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from reenact.actions.asked import Asked
from reenact.actions.batch_plan import BatchRequest, PlannedBatch, plan_batch
from reenact.actions.children import Place
from reenact.actions.context import Context
from reenact.actions.ground import Ground, RunRequest, settings_for_many
from reenact.actions.operations import Offered
from reenact.actions.pipeline import (
    PipelineRequest,
    PlannedPipeline,
    plan_again,
    plan_pipeline,
    root_again,
    root_of,
    vary,
)
from reenact.actions.pipeline_listener import NoListener, PipelineListener
from reenact.actions.pipeline_record import Trees, describe_pipeline
from reenact.actions.pipeline_run import resume_pipeline, stage_pipeline, start_pipeline
from reenact.actions.run_definition import decode_definition, encode_definition
from reenact.actions.step_request import define_pipeline, own_settings
from reenact.actions.trials import Entry, read_entries
from reenact.actions.trials import request_of as request_of_trial
from reenact.errors import Damaged, UsageError
from reenact.model.flags import FlagValue
from reenact.model.paths import printable
from reenact.model.run import Pipeline, Run
from reenact.model.secrets import REDACTED, redact
from reenact.project.file.model import OperationDef
from reenact.project.flag_text import format_value
from reenact.snapshot.project_root import ProjectRoot
from reenact.store.store import RECORD_DIRECTORY

ListenerOf = Callable[[str], PipelineListener]
"""Makes who is told what happens in a trial, by its number."""


class PipelineTrials:
    """What the trials of a batch of pipelines have in common; see `trial_source.Starter`."""

    def __init__(
        self,
        planned: PlannedPipeline,
        for_steps: Mapping[str, str | FlagValue],
        context: Context,
        listener_of: ListenerOf,
    ) -> None:
        self.planned = planned
        self.for_steps = for_steps
        self._context = context
        self._listener_of = listener_of
        self._trees = Trees(context)

    def keep(self) -> Pipeline:
        """Put the source of all steps into the store; return what the batch's record says of it."""
        self._trees.look(self.planned, keep=True)
        self._context.store.blobs.put(encode_definition(self.planned.definition))
        return describe_pipeline(self.planned, self._trees)

    def look(self) -> None:
        """Look at the project's files for source that is in the store."""
        self._trees.look(self.planned, keep=False)

    @property
    def settings(self) -> dict[str, str]:
        """Flags of steps that were set for all trials, as a record has them."""
        return {
            name: redact(name, printable(value if isinstance(value, str) else format_value(value)))
            for name, value in self.for_steps.items()
        }

    def start(self, request: RunRequest, former: Run | None, place: Place) -> None:
        """Run a trial to its end, or what is missing of it."""
        listener = NoListener() if request.quiet else self._listener_of(request.part or "")
        if former is None:
            start_pipeline(self.vary(request), self._context, listener, trees=self._trees)
            return
        asked = self.planned.request
        resume_pipeline(
            former,
            self._context,
            listener,
            jobs=asked.jobs,
            needed=asked.needed,
            keep_going=asked.keep_going,
            gpus=place.gpus,
            quiet=request.quiet,
        )

    def stage(self, request: RunRequest) -> Run:
        """Set a trial aside."""
        return stage_pipeline(self.vary(request), self._context, trees=self._trees)

    def vary(self, request: RunRequest) -> PlannedPipeline:
        """Return the pipeline of one trial."""
        asked = msgspec.structs.replace(self.planned.request, run=_with(request, self.for_steps))
        return vary(self.planned, asked, self._context)


def plan_pipelines(
    many: BatchRequest,
    request: PipelineRequest,
    offered: Offered,
    context: Context,
    listener_of: ListenerOf,
) -> PlannedBatch | None:
    """Work out a batch of pipelines; None where the request means a single one.

    Args:
        many: what is asked for, with the settings of the pipeline's flags.
        request: what is asked of each of them.
        offered: the pipeline.
        context: where.
        listener_of: who is told what happens in a trial.

    Raises:
        BadProjectFile, CannotRun: something is wrong with the pipeline.
        UsageError: the request contradicts itself, or the flags of a trial are refused.
    """
    definition = offered.definition
    own, for_steps = own_settings(definition, many.run.settings)
    run = msgspec.structs.replace(many.run, settings=own)
    root = root_of(offered, context)
    file = offered.project.file
    ground = _ground(run, definition, file, offered.name, root, offered.package)
    planned = plan_batch(msgspec.structs.replace(many, run=ground.request), context, ground)
    if planned is None:
        return None
    count = len(planned.entries) if planned.search is None else planned.search.limit
    places, of_each = _share(many.jobs or 1, count)
    example = _with(request_of_trial(ground, planned.example), for_steps)
    each = msgspec.structs.replace(request, run=example, jobs=of_each)
    pipeline = plan_pipeline(each, offered, context)
    starter = PipelineTrials(pipeline, for_steps, context, listener_of)
    for entry in planned.entries[1:]:
        starter.vary(request_of_trial(ground, entry))
    return planned._replace(
        # Without a number there are as many as there are GPUs for.
        request=msgspec.structs.replace(planned.request, jobs=many.jobs and places),
        starter=starter,
        remarks=(*planned.remarks, *pipeline.remarks),
    )


class Again(NamedTuple):
    """How a batch of pipelines goes on.

    Attributes:
        jobs: how many of them run at once; as before when None.
        find: finds again what they stand on: for `resume_batch`.
    """

    jobs: int | None
    find: Callable[[Run, Asked], tuple[Ground, PipelineTrials]] | None


def pipelines_again(
    former: Run,
    context: Context,
    jobs: int | None = None,
    listener_of: ListenerOf = lambda _: NoListener(),
) -> Again:
    """Return how `resume_batch` goes on with a batch, whether its trials are pipelines or not.

    Args:
        former: the batch.
        context: where.
        jobs: how many runs at once, in all pipelines together; as before when None.
        listener_of: who is told what happens in a trial.
    """
    each = None if former.batch is None else former.batch.pipeline
    if each is None:
        return Again(jobs, None)
    if jobs is not None:
        count = None if former.batch is None else former.batch.trials
        jobs, of_each = _share(jobs, count or jobs)
        each = msgspec.structs.replace(each, jobs=of_each)
    wanted = each
    return Again(jobs, lambda run, asked: _find_again(run, wanted, asked, context, listener_of))


def _find_again(
    former: Run, each: Pipeline, asked: Asked, context: Context, listener_of: ListenerOf
) -> tuple[Ground, PipelineTrials]:
    """Find the pipeline of a batch again, as it was when the batch began."""
    if former.operation.definition is None:
        raise Damaged(f"run {former.id[:8]} does not say what its pipelines were")
    operation = former.operation
    definition = decode_definition(context.store.blobs.get(former.operation.definition))
    _, for_steps = own_settings(definition, former.typed)
    hidden = [name for name, text in for_steps.items() if text == REDACTED]
    if hidden:
        raise UsageError(
            f"`{hidden[0]}` of run {former.id[:8]} was a secret and is not recorded",
            hint="run the pipeline itself with the same flags",
        )
    run = msgspec.structs.replace(asked.request(), parent=former.id)
    root = root_again(former, context)
    file, name = operation.file or "", operation.name
    ground = _ground(run, definition, file, name, root, operation.package)
    entries = read_entries(f"{context.store.directory(former.id)}/{RECORD_DIRECTORY}")
    fixed = {n: text for n, text in former.typed.items() if "[" not in text}
    example = entries[0] if entries else Entry(number=1, run=former.id, flags=fixed)
    example_run = _with(request_of_trial(ground, example), for_steps)
    request = PipelineRequest(
        run=example_run, jobs=each.jobs, needed=each.is_needed, keep_going=each.keeps_going
    )
    like = msgspec.structs.replace(former, pipeline=each, batch=None)
    pipeline = plan_again(request, like, definition, context)
    starter = PipelineTrials(pipeline, for_steps, context, listener_of)
    starter.look()
    return ground, starter


def _share(jobs: int, trials: int) -> tuple[int, int]:
    """Return how many pipelines run at once, and how many runs in each of them."""
    places = max(1, min(jobs, trials))
    return places, max(1, jobs // places)


def _with(request: RunRequest, for_steps: Mapping[str, str | FlagValue]) -> RunRequest:
    return msgspec.structs.replace(request, settings={**request.settings, **for_steps})


def _ground(
    request: RunRequest,
    definition: OperationDef,
    file: str,
    name: str,
    root: ProjectRoot,
    package: str | None,
) -> Ground:
    """Return what all plans of a pipeline's own flags have in common."""
    defined = define_pipeline(definition, file, root.path)._replace(name=name, package=package)
    more = settings_for_many(defined, request.settings)
    request = msgspec.structs.replace(request, settings={**more, **request.settings})
    return Ground(request, root, root.path, defined.target, defined.flags, defined=defined)
