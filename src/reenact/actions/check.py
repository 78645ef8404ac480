"""Check a project file: what reading it finds, and what its pipelines would be refused for.

Not covered: what depends on the user's flags, on runs that are there, or on installed packages.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from reenact.actions.context import Context
from reenact.actions.defined_operation import define
from reenact.actions.ground import RunRequest
from reenact.actions.operations import find_operation
from reenact.actions.pipeline import required_operations
from reenact.actions.search_defaults import OptimizerFlags
from reenact.actions.step_order import Ordered, order_steps
from reenact.actions.step_request import request_of_step
from reenact.errors import BadProjectFile, NotFound, ReenactError, UnknownFlag
from reenact.model.flags import Flag, FlagSet, Subcommand
from reenact.project.file.find import Checked, check_project
from reenact.project.file.model import (
    Finding,
    Level,
    LoadedProject,
    ModelDef,
    OperationDef,
    OptimizerDef,
    Place,
    StepDef,
)
from reenact.project.file.packages import FILE_NAMES
from reenact.project.flag_text import nearest
from reenact.project.merged_flags import merge_flags, merged_set
from reenact.project.settings import resolve_flags
from reenact.search.samplers.registry import BUILT_IN, is_known, own_name
from reenact.search.samplers.settings import read_settings, settings_of


def check(context: Context, path: str | None = None) -> Checked:
    """Read a project file and say everything about it.

    Args:
        context: where.
        path: the file, or its directory; the project's when None.

    Raises:
        NotFound: there is no such file.
    """
    place = context.root.path if path is None else os.path.join(context.directory, path)
    if os.path.isdir(place):
        names = [name for name in FILE_NAMES if os.path.isfile(f"{place}/{name}")]
        if not names:
            shown = "here" if path is None else f"in `{path}`"
            raise NotFound(
                f"there is no project file {shown}",
                hint="it is called `reenact.yml`; `reenact run train.py` needs none",
            )
        place = f"{place}/{names[0]}"
    if not os.path.isfile(place):
        raise NotFound(f"there is no file `{path}`")
    checked = check_project(place, context.env)
    if checked.project is None:
        return checked
    pipelines = _Pipelines(checked.project)
    found = (
        *_lost_steps(checked.project, context),
        *pipelines.findings(),
        *pipelines.of_optimizers(context),
    )
    return checked._replace(findings=(*checked.findings, *found))


def _lost_steps(project: LoadedProject, context: Context) -> Iterator[Finding]:
    """Say which steps run nothing that there is."""
    for model in project.content.models:
        for operation in model.operations:
            for step in operation.steps or ():
                name = step.run
                if "${" in name or name.startswith("-") or _find(project, model, name) is not None:
                    continue
                if os.path.exists(os.path.join(project.directory, operation.base, name)):
                    continue
                if "/" in name and _is_installed(name, context):
                    continue
                close = nearest(name, _names_for_steps(project, model))
                yield Finding(
                    level=Level.ERROR,
                    place=step.place,
                    message=f"step `{step.name}` of operation `{operation.full_name}`: there is "
                    f"neither an operation nor a script `{name}`",
                    hint=f"did you mean `{close}`?" if close else None,
                )


def _find(project: LoadedProject, model: ModelDef, name: str) -> OperationDef | None:
    """Return the operation of a step: one of the pipeline's own model comes first."""
    return model.find_operation(name) or project.content.find_operation(name)


def _is_installed(name: str, context: Context) -> bool:
    try:
        return find_operation(context, name) is not None
    except BadProjectFile:
        return True  # What is wrong in a package is no mistake of this file.


def _names_for_steps(project: LoadedProject, model: ModelDef) -> list[str]:
    own = [operation.name for operation in model.operations]
    return [*own, *(operation.full_name for operation in project.content.operations)]


class _Pipelines:
    """The pipelines of a project, and what is wrong with their steps."""

    def __init__(self, project: LoadedProject) -> None:
        self._project = project
        self._models = {
            operation.full_name: model
            for model in project.content.models
            for operation in model.operations
        }
        self._flags: dict[str, FlagSet | None] = {}
        self._cycles: set[frozenset[str]] = set()

    def findings(self) -> Iterator[Finding]:
        """Return what `run` would refuse."""
        for operation in self._project.content.operations:
            if operation.steps is None or operation.full_name in self._project.broken:
                continue
            yield from self._cycle_from(operation)
            for step in operation.steps:
                yield from self._of_step(step, operation)
            try:
                order_steps([self._ordered(step, operation) for step in operation.steps])
            except BadProjectFile as error:
                yield _finding(operation, error)

    def of_optimizers(self, context: Context) -> Iterator[Finding]:
        """Say of optimizers what they are not, and what is set of them that they do not have."""
        for operation in self._project.content.operations:
            for offered in operation.optimizers:
                finding = self._of_optimizer(offered, operation, context)
                if finding is not None:
                    yield finding

    def _of_optimizer(
        self, offered: OptimizerDef, operation: OperationDef, context: Context
    ) -> Finding | None:
        name = offered.algorithm
        own = own_name(name)
        if own is not None:
            return _of_settings(own, offered, operation)
        searching = self._project.content.find_operation(name)
        if searching is None:
            path = os.path.join(self._project.directory, operation.base, name)
            if is_known(name) or os.path.exists(path) or find_operation(context, name) is not None:
                return None
            names = [*BUILT_IN, *(op.full_name for op in self._project.content.operations)]
            close = nearest(name, names)
            return Finding(
                level=Level.ERROR,
                place=offered.place,
                message=f"operation `{operation.full_name}` has an optimizer `{name}`, and there is "
                "neither a search nor an operation of this name",
                hint=f"did you mean `{close}`?" if close else None,
            )
        flags = self._flags_of(searching)
        try:
            if flags is not None:
                settings = OptimizerFlags(offered.flags).settle(flags)
                resolve_flags(flags, settings, force=False, operation=f"operation `{name}`")
        except ReenactError as error:
            message = f"the optimizer of operation `{operation.full_name}`: {error.message}"
            return Finding(level=Level.ERROR, place=offered.place, message=message, hint=error.hint)
        return None

    def _operation(self, step: StepDef, pipeline: OperationDef) -> OperationDef | None:
        return _find(self._project, self._models[pipeline.full_name], step.run)

    def _cycle_from(self, pipeline: OperationDef) -> Iterator[Finding]:
        """Say that a pipeline starts itself, once for all that are in the circle."""
        chain = self._chain_to(pipeline, pipeline, ())
        if chain is None or frozenset(chain) in self._cycles:
            return
        self._cycles.add(frozenset(chain))
        shown = " → ".join(f"`{name}`" for name in (*chain, pipeline.full_name))
        yield Finding(
            level=Level.ERROR,
            place=pipeline.place,
            message=f"pipelines start each other: {shown}",
        )

    def _chain_to(
        self, aim: OperationDef, pipeline: OperationDef, above: tuple[str, ...]
    ) -> tuple[str, ...] | None:
        """Return the pipelines by which one starts another one; None if it does not."""
        above = (*above, pipeline.full_name)
        for step in pipeline.steps or ():
            operation = self._operation(step, pipeline)
            if operation is None or operation.steps is None:
                continue
            if operation.full_name == aim.full_name:
                return above
            if operation.full_name not in above:
                chain = self._chain_to(aim, operation, above)
                if chain is not None:
                    return chain
        return None

    def _of_step(self, step: StepDef, pipeline: OperationDef) -> Iterator[Finding]:
        """Say what a step refers to and sets that there is not."""
        values = dict.fromkeys(flag.name for flag in pipeline.flags)
        try:
            request_of_step(step, pipeline, step.run, values, RunRequest())
        except BadProjectFile as error:
            yield _finding(pipeline, error)
        operation = self._operation(step, pipeline)
        flags = None if operation is None or step.force_flags else self._flags_of(operation)
        if flags is None or operation is None:
            return
        own = tuple(
            f"{name}:" for inner in operation.steps or () for name in (inner.name, inner.run)
        )
        # What is known may refer to flags of the pipeline; a subcommand tells what else there is.
        settings = {
            name: value
            for name, value in {**step.settings, **step.flags}.items()
            if not name.startswith(own) and _is_subcommand(flags.find(name))
        }
        try:
            resolve_flags(
                flags, settings, force=False, operation=f"operation `{operation.full_name}`"
            )
        except UnknownFlag as error:
            message = f"step `{step.name}` of operation `{pipeline.full_name}`: {error.message}"
            yield Finding(level=Level.ERROR, place=step.place, message=message, hint=error.hint)
        except ReenactError:
            # Its value may be another one by then.
            return

    def _flags_of(self, operation: OperationDef) -> FlagSet | None:
        """Return the flags of an operation; None where they cannot be found out."""
        name = operation.full_name
        if name not in self._flags:
            project = self._project
            try:
                if operation.steps is not None:
                    none = FlagSet(kind="none")
                    self._flags[name] = merged_set(merge_flags(operation, none), none)
                else:
                    place = project.directory
                    self._flags[name] = define(operation, project.file, place, place).flags
            except ReenactError:
                self._flags[name] = None
        return self._flags[name]

    # --- order ---

    def _ordered(self, step: StepDef, pipeline: OperationDef) -> Ordered:
        operation = self._operation(step, pipeline)
        requires = {} if operation is None else self._required_by(operation, ())
        provides = {step.run} if operation is None else self._provides(operation, ())
        return Ordered(step.name, step.place, step.needs, requires, frozenset(provides))

    def _provides(self, operation: OperationDef, above: tuple[str, ...]) -> set[str]:
        name = operation.full_name
        found = {name, name.rpartition(":")[2]}
        if name not in above:
            for inner in self._inner(operation):
                found |= self._provides(inner, (*above, name))
        return found

    def _required_by(self, operation: OperationDef, above: tuple[str, ...]) -> dict[str, Place]:
        found = required_operations(operation)
        own: set[str] = set()
        if operation.full_name not in above:
            for inner in self._inner(operation):
                found.update(self._required_by(inner, (*above, operation.full_name)))
                own |= self._provides(inner, (*above, operation.full_name))
        return {name: place for name, place in found.items() if name not in own}

    def _inner(self, pipeline: OperationDef) -> list[OperationDef]:
        found = [self._operation(step, pipeline) for step in pipeline.steps or ()]
        return [operation for operation in found if operation is not None]


def _of_settings(name: str, offered: OptimizerDef, operation: OperationDef) -> Finding | None:
    """Say which setting a built-in optimizer refuses or leaves unused."""
    try:
        read = read_settings(name, OptimizerFlags(offered.flags).settle(settings_of(name)))
    except ReenactError as error:
        is_unknown = isinstance(error, UnknownFlag)
        return Finding(
            level=Level.WARNING if is_unknown else Level.ERROR,
            place=offered.place,
            message=f"the optimizer of operation `{operation.full_name}`: {error.message}",
            hint=error.hint,
        )
    if not read.ignored:
        return None
    listed = ", ".join(f"`{key}`" for key in read.ignored)
    verb = "has" if len(read.ignored) == 1 else "have"
    return Finding(
        level=Level.NOTE,
        place=offered.place,
        message=f"{listed} of the optimizer of operation `{operation.full_name}` {verb} no effect",
    )


def _is_subcommand(flag: Flag | None) -> bool:
    return flag is None or isinstance(flag.binding, Subcommand)


def _finding(pipeline: OperationDef, error: BadProjectFile) -> Finding:
    """Make a finding of what a pipeline is refused for, which begins with the place."""
    steps = pipeline.steps or ()
    place = next((s.place for s in steps if error.message.startswith(f"{s.place}: ")), None)
    message = error.message if place is None else error.message.removeprefix(f"{place}: ")
    return Finding(
        level=Level.ERROR, place=place or pipeline.place, message=message, hint=error.hint
    )
