"""Plan pipelines: which steps there are, in which order, and what each is run with.

Everything is planned before anything starts: a step that cannot be run is said then. What a step
requires of another one is looked for when it starts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from reenact.actions.batch_plan import BatchRequest, PlannedBatch, plan_batch
from reenact.actions.context import Context
from reenact.actions.ground import (
    Ground,
    RunRequest,
    find_ground,
    find_pipeline,
    package_root,
    settings_for_many,
)
from reenact.actions.operations import Offered, find_operation
from reenact.actions.plan import Plan, plan_on, project_of_package
from reenact.actions.project_operation import Prepared
from reenact.actions.run_definition import decode_definition, encode_definition
from reenact.actions.search_defaults import OptimizerFlags
from reenact.actions.step_order import Ordered, order_steps
from reenact.actions.step_request import (
    own_settings,
    prepare_pipeline,
    refuse_attributes,
    request_of_step,
)
from reenact.actions.trials import request_of as request_of_trial
from reenact.errors import BadProjectFile, ReenactError
from reenact.model.flags import FlagValue
from reenact.model.paths import path_to_text, printable, text_to_path
from reenact.model.run import Operation, OperationKind, Pipeline, Project, Run, Step
from reenact.project.file.model import OperationDef, Place, SourceKind, StepDef
from reenact.snapshot.project_root import ProjectRoot, find_root, identify
from reenact.store.blobs import digest_bytes


class PipelineRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for.

    Attributes:
        run: its settings are those of the pipeline's flags, or `step:flag`; the rest is for all steps.
        jobs: how many runs at once, in steps and in batches of steps together.
        needed: take runs that are there instead of starting equal ones.
        keep_going: run what does not depend on a step that failed.
    """

    run: RunRequest
    jobs: int = 1
    needed: bool = False
    keep_going: bool = False


class PlannedStep(NamedTuple):
    """A step that was found to be in order.

    Attributes:
        needs: names of the steps that it waits for.
        request: what is run; its `run` where it is a batch.
        ground: what its run, or its trials, stand on; None for a pipeline.
        plan: of its run, or of one of its trials; None for a pipeline.
        batch: where it is one.
        nested: where it is a pipeline.
        remarks: what the user must know before it starts.
    """

    definition: StepDef
    needs: tuple[str, ...]
    request: RunRequest
    ground: Ground | None = None
    plan: Plan | None = None
    batch: PlannedBatch | None = None
    nested: PlannedPipeline | None = None
    remarks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the pipeline calls it."""
        return self.definition.name

    @property
    def operation(self) -> Operation:
        """What it runs."""
        if self.nested is not None:
            return self.nested.operation
        assert self.plan is not None
        return self.plan.operation


class PlannedPipeline(NamedTuple):
    """A pipeline that was found to be in order; nothing has been changed.

    Attributes:
        operation: as the record says it.
        prepared: its own flags.
        steps: in an order in which they can run one by one.
    """

    request: PipelineRequest
    definition: OperationDef
    operation: Operation
    root: ProjectRoot
    project: Project
    prepared: Prepared
    settings: dict[str, str | FlagValue]
    steps: tuple[PlannedStep, ...]

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the user must know before it starts."""
        nested = [s.nested.remarks for s in self.steps if s.nested is not None]
        own = [s.remarks for s in self.steps]
        return tuple(text for texts in (*own, *nested) for text in texts)


def plan_pipeline(request: PipelineRequest, offered: Offered, context: Context) -> PlannedPipeline:
    """Work out a pipeline of a project file.

    Raises:
        BadProjectFile: steps wait for each other, or say what cannot be done.
        CannotRun: something that a step runs is not there.
        UsageError: the request contradicts itself, or a flag is refused.
    """
    root = root_of(offered, context)
    project = context.project
    if offered.package is not None:
        project = project_of_package(root, context)
    elif root.path != context.root.path:
        project = identify(root, context.env, context.store.cache_directory)
    maker = _Maker(context, root, project, offered, None)
    return maker.pipeline(request, offered.definition, offered.project.file, offered.name, ())


def plan_again(
    request: PipelineRequest, former: Run, definition: OperationDef, context: Context
) -> PlannedPipeline:
    """Work out a pipeline as it was when it began: its definition, its steps and their source.

    Args:
        request: with the settings that it had.
        former: its record.
        definition: of its operation.
        context: where.
    """
    assert former.pipeline is not None
    maker = _Maker(context, root_again(former, context), former.project, None, former)
    operation = former.operation
    return maker.pipeline(
        request, definition, operation.file or "", operation.name, (), former.pipeline
    )


def root_of(offered: Offered, context: Context) -> ProjectRoot:
    """Return what the steps of a pipeline of a project file run in."""
    home = offered.project.directory
    if offered.package is not None:
        return package_root(home)
    root = context.root if context.root.path == home else find_root(home, context.home)
    return root if root.path == home else ProjectRoot(home, root.toplevel, False)


def root_again(former: Run, context: Context) -> ProjectRoot:
    """Return what the steps of a former pipeline run in, where it is now."""
    path = former.project.root if os.path.isdir(former.project.root) else context.root.path
    if former.operation.package is not None:
        return package_root(path)
    root = find_root(path, context.home)
    return root if root.path == path else ProjectRoot(path, root.toplevel, False)


class _Maker:
    """Works out one pipeline with all that is in it."""

    def __init__(
        self,
        context: Context,
        root: ProjectRoot,
        project: Project,
        offered: Offered | None,
        former: Run | None,
    ) -> None:
        self._root = root
        self._project = project
        self._package = None if offered is None else offered.package
        self._former = former
        # Steps are named as in the project file, wherever the user is.
        home = context.directory if self._package is not None else root.path
        self._context = Context(context.env, home, context.store.root)

    def pipeline(
        self,
        request: PipelineRequest,
        definition: OperationDef,
        file: str,
        name: str,
        above: tuple[str, ...],
        recorded: Pipeline | None = None,
    ) -> PlannedPipeline:
        if definition.requires:
            raise BadProjectFile(
                f"{definition.requires[0].place}: pipeline `{name}` has `requires`, which is for "
                "its steps",
                hint="let the operation of a step require it",
            )
        if name in above:
            chain = " → ".join(f"`{one}`" for one in (*above[above.index(name) :], name))
            raise BadProjectFile(f"{definition.place}: pipelines start each other: {chain}")
        own, for_steps = own_settings(definition, request.run.settings)
        prepared = prepare_pipeline(
            definition, file, self._root.path, own, request.run, self._context
        )
        settings = {**prepared.values, **for_steps}
        awaited = request.run.awaited | self._awaited(definition, ())
        request = msgspec.structs.replace(
            request, run=msgspec.structs.replace(request.run, awaited=awaited)
        )
        made = {
            step.name: self._step(step, definition, settings, request, (*above, name), recorded)
            for step in definition.steps or ()
        }
        needs = order_steps([_ordered(step) for step in made.values()])
        operation = Operation(
            name=printable(name),
            kind=OperationKind.PIPELINE,
            target=printable(name),
            model=definition.model or None,
            file=path_to_text(file),
            definition=digest_bytes(encode_definition(definition)),
            package=self._package if self._former is None else self._former.operation.package,
            is_stoppable=definition.stoppable,
        )
        return PlannedPipeline(
            request=request,
            definition=definition,
            operation=operation,
            root=self._root,
            project=self._project,
            prepared=prepared,
            settings={**own, **for_steps},
            steps=tuple(made[step]._replace(needs=waits) for step, waits in needs.items()),
        )

    def _step(
        self,
        step: StepDef,
        pipeline: OperationDef,
        values: Mapping[str, FlagValue],
        request: PipelineRequest,
        above: tuple[str, ...],
        recorded: Pipeline | None,
    ) -> PlannedStep:
        refuse_attributes(step)
        former = None if recorded is None else _find_step(recorded, step)
        try:
            return self._planned(step, pipeline, values, request, above, former)
        except BadProjectFile:
            raise
        except ReenactError as error:
            if error.message.startswith(f"{step.place}:"):
                raise
            error.message = f"{step.place}: step `{step.name}`: {error.message}"
            error.args = (error.message,)
            raise

    def _planned(
        self,
        step: StepDef,
        pipeline: OperationDef,
        values: Mapping[str, FlagValue],
        request: PipelineRequest,
        above: tuple[str, ...],
        former: Step | None,
    ) -> PlannedStep:
        name = self._name(step, pipeline) if former is None else former.operation.name
        run = request_of_step(step, pipeline, name, values, request.run)
        if former is not None and former.pipeline is not None:
            return self._nested_again(step, run, request, above, former)
        if former is not None:
            run = msgspec.structs.replace(
                run,
                target=None,
                like=self._like(former),
                python=run.python or (text_to_path(former.python) if former.python else None),
            )
        else:
            offered = find_pipeline(run, self._context)
            if offered is not None:
                inner = msgspec.structs.replace(request, run=run)
                maker = self
                if offered.package != self._package:
                    planned = plan_pipeline(inner, offered, self._context)
                else:
                    planned = maker.pipeline(
                        inner, offered.definition, offered.project.file, offered.name, above
                    )
                return PlannedStep(step, (), run, nested=planned)
        run, ground = _with_defaults_for_many(run, find_ground(run, self._context))
        return plan_step(step, run, ground, self._context)

    def _awaited(self, definition: OperationDef, above: tuple[str, ...]) -> frozenset[str]:
        """Return the names of all operations that a pipeline makes runs of."""
        found: set[str] = set()
        for step in definition.steps or ():
            name = self._name(step, definition)
            found |= {step.run, name, name.rpartition(":")[2]}
            offered = find_operation(self._context, name)
            if offered is not None and offered.definition.steps and name not in above:
                found |= self._awaited(offered.definition, (*above, name))
        return frozenset(found)

    def _nested_again(
        self,
        step: StepDef,
        run: RunRequest,
        request: PipelineRequest,
        above: tuple[str, ...],
        former: Step,
    ) -> PlannedStep:
        assert former.operation.definition is not None
        content = self._context.store.blobs.get(former.operation.definition)
        planned = self.pipeline(
            msgspec.structs.replace(request, run=run),
            decode_definition(content),
            former.operation.file or "",
            former.operation.name,
            above,
            former.pipeline,
        )
        return PlannedStep(step, (), run, nested=planned)

    def _like(self, step: Step) -> Run:
        """Return a run of which a step takes over operation and source."""
        former = self._former
        assert former is not None
        return Run(
            id=former.id,
            operation=step.operation,
            project=former.project,
            command=(),
            created=former.created,
            cwd=step.cwd,
            in_place=former.in_place,
            source=step.source,
        )

    def _name(self, step: StepDef, pipeline: OperationDef) -> str:
        """Return the operation of a step: one of the pipeline's own model comes first."""
        names = [step.run]
        if pipeline.model and ":" not in step.run and "/" not in step.run:
            names.insert(0, f"{pipeline.model}:{step.run}")
        if self._package is not None:
            names = [*(f"{self._package}/{name}" for name in names), *names]
        for name in names:
            if find_operation(self._context, name) is not None:
                return name
        return step.run


def vary(planned: PlannedPipeline, request: PipelineRequest, context: Context) -> PlannedPipeline:
    """Work out the same pipeline with other settings, on the ground that its steps stand on.

    Raises:
        UsageError: a flag is refused.
    """
    awaited = planned.request.run.awaited
    run = msgspec.structs.replace(request.run, awaited=awaited)
    request = msgspec.structs.replace(request, run=run)
    definition = planned.definition
    own, for_steps = own_settings(definition, run.settings)
    file, root = planned.operation.file or "", planned.root.path
    prepared = prepare_pipeline(definition, file, root, own, run, context)
    values = {**prepared.values, **for_steps}
    return planned._replace(
        request=request,
        prepared=prepared,
        settings={**own, **for_steps},
        steps=tuple(_vary_step(step, definition, values, request, context)
                    for step in planned.steps),
    )  # fmt: skip


def _vary_step(
    step: PlannedStep,
    pipeline: OperationDef,
    values: Mapping[str, FlagValue],
    request: PipelineRequest,
    context: Context,
) -> PlannedStep:
    former = step.request
    run = request_of_step(step.definition, pipeline, step.operation.name, values, request.run)
    run = msgspec.structs.replace(
        run, target=former.target, like=former.like, python=run.python or former.python
    )
    if step.nested is not None:
        inner = msgspec.structs.replace(request, run=run)
        return step._replace(request=run, nested=vary(step.nested, inner, context))
    assert step.ground is not None
    own = step.ground.request
    again = msgspec.structs.replace(run, python=own.python, snapshot=own.snapshot)
    run, ground = _with_defaults_for_many(run, step.ground._replace(request=again))
    return plan_step(step.definition, run, ground, context)._replace(needs=step.needs)


def _with_defaults_for_many(run: RunRequest, ground: Ground) -> tuple[RunRequest, Ground]:
    """Let flags of a step that are not set have the several values that are their default."""
    if ground.defined is None:
        return run, ground
    more = settings_for_many(ground.defined, ground.request.settings)
    own = msgspec.structs.replace(ground.request, settings={**more, **ground.request.settings})
    run = msgspec.structs.replace(run, settings={**more, **run.settings})
    return run, ground._replace(request=own)


def plan_step(step: StepDef, run: RunRequest, ground: Ground, context: Context) -> PlannedStep:
    """Work out a step that is a run or a batch, on its ground.

    Raises:
        UsageError: a flag is refused.
    """
    remarks: list[str] = []
    many = BatchRequest(
        run=run,
        files=tuple(os.path.join(ground.root.path, path) for path in step.batch_files),
        trials=step.max_trials,
        jobs=step.jobs,
        optimizer=step.optimizer,
        optimizer_flags=OptimizerFlags(step.opt_flags),
        objectives=tuple((o.direction, o.column) for o in step.objectives),
        random_seed=step.random_seed or 0,
        fail_fast=step.fail_on_trial_error,
    )
    has_several = any(isinstance(text, str) and "[" in text for text in run.settings.values())
    batch = None
    if has_several or step.batch_files or step.max_trials or step.optimizer:
        if step.batch_label is not None or step.batch_comment is not None or step.batch_tags:
            own = msgspec.structs.replace(
                run,
                label=step.batch_label or run.label,
                comment=step.batch_comment or run.comment,
                tags=(*run.tags, *step.batch_tags),
            )
            many = msgspec.structs.replace(many, run=own)
        batch = plan_batch(many, context, ground._replace(request=_on(ground, many.run)))
    if batch is not None:
        example = request_of_trial(batch.ground, batch.example)
        plan = plan_on(batch.ground, example, context)
        remarks += batch.remarks
        return PlannedStep(step, (), many.run, batch.ground, plan, batch, None, tuple(remarks))
    plan = plan_on(ground, _on(ground, run), context)
    return PlannedStep(step, (), run, ground, plan, None, None, tuple(remarks))


def _on(ground: Ground, run: RunRequest) -> RunRequest:
    """Return a request with what the ground has added to it."""
    return msgspec.structs.replace(
        run,
        python=ground.request.python,
        snapshot=ground.request.snapshot,
        settings=ground.request.settings,
        variables=ground.request.variables,
    )


def replan(step: PlannedStep, run: RunRequest, context: Context) -> PlannedStep:
    """Work out a step again, now that it starts: what it requires is there."""
    assert step.ground is not None
    request = _on(step.ground, run)
    ground = step.ground._replace(request=request)
    return plan_step(step.definition, request, ground, context)._replace(needs=step.needs)


# --- order ---


def _ordered(step: PlannedStep) -> Ordered:
    return Ordered(
        step.name,
        step.definition.place,
        step.definition.needs,
        _required_by(step),
        frozenset(provides(step)),
    )


def provides(step: PlannedStep) -> list[str]:
    """Return the operations of which a step makes runs, with and without their models."""
    names = [step.operation.name]
    if step.nested is not None:
        names += [name for inner in step.nested.steps for name in provides(inner)]
    return list(dict.fromkeys(n for name in names for n in (name, name.rpartition(":")[2])))


def _required_by(step: PlannedStep) -> dict[str, Place]:
    """Return the operations that a step requires of others, as `provides` names them."""
    if step.nested is not None:
        own = {name for inner in step.nested.steps for name in provides(inner)}
        found: dict[str, Place] = {}
        for inner in step.nested.steps:
            found.update(_required_by(inner))
        return {name: place for name, place in found.items() if name not in own}
    assert step.plan is not None
    if step.plan.prepared is None:
        return {}
    return required_operations(step.plan.prepared.definition)


def required_operations(definition: OperationDef) -> dict[str, Place]:
    """Return the operations of which an operation requires runs, as `provides` names them."""
    return {
        name.strip().removeprefix(":"): source.place
        for requirement in definition.requires
        if requirement.resource is not None
        for source in requirement.resource.sources
        if source.kind is SourceKind.OPERATION
        for name in source.spec.split(",")
        if name.strip()
    }


def _find_step(recorded: Pipeline, step: StepDef) -> Step:
    return next(one for one in recorded.steps if one.name == step.name)
