"""What a pipeline keeps of itself from its beginning: its record, what was asked for, its source."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime

from reenact import __version__
from reenact.actions.context import Context
from reenact.actions.pipeline import PlannedPipeline, PlannedStep
from reenact.actions.plan import Plan, redacted
from reenact.actions.project_tree import PlannedTree, look_at_tree
from reenact.errors import CannotRun, UsageError
from reenact.model.flags import FlagValue
from reenact.model.identity import RunId
from reenact.model.paths import path_to_text, printable
from reenact.model.run import Pipeline, Run, Step
from reenact.model.secrets import REDACTED, redact
from reenact.project.flag_text import format_value
from reenact.project.operation import find_python


def settings_again(
    former: Run, settings: Mapping[str, str | FlagValue]
) -> dict[str, str | FlagValue]:
    """Return how a pipeline's flags were set.

    Args:
        former: its record.
        settings: those that are secrets, which are not in it.

    Raises:
        UsageError: one of them is missing.
    """
    found: dict[str, str | FlagValue] = {}
    for name in former.given:
        value = former.typed.get(name, former.flags[name])
        if value == REDACTED:
            if name not in settings:
                raise UsageError(
                    f"`{name}` was a secret and is not recorded",
                    hint=f"give it again: `{name}=…`",
                )
            value = settings[name]
        found[name] = value
    return found


class Trees:
    """The project's files as they were when the pipeline began, for each of its steps."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._by_plan: dict[int, PlannedTree] = {}
        self._kept: list[object] = []

    def of(self, step: PlannedStep) -> PlannedTree | None:
        """Return the files for a step; None for runs in place, which look themselves."""
        return self._by_plan.get(id(step.definition))

    def look(self, planned: PlannedPipeline, *, keep: bool) -> None:
        """Look at the files.

        Args:
            planned: whose.
            keep: put source into the store; else it is there, from before.
        """
        self._kept.append(planned)
        for step in planned.steps:
            if step.nested is not None:
                self.look(step.nested, keep=keep)
            elif step.plan is not None and not step.plan.request.in_place:
                tree = look_at_tree(
                    step.plan, self._context, keep=keep and step.plan.request.snapshot
                )
                self._by_plan[id(step.definition)] = tree


def first_record(
    run_id: RunId, planned: PlannedPipeline, trees: Trees, *, is_staged: bool = False
) -> Run:
    """Return the record with which a pipeline begins, or waits to begin."""
    request = planned.request
    prepared = planned.prepared
    now = datetime.now(UTC)
    flags = {name: redacted(name, value) for name, value in prepared.values.items()}
    typed = {}
    for name, setting in planned.settings.items():
        text = setting if isinstance(setting, str) else format_value(setting)
        typed[name] = redact(name, printable(text))
        if name not in flags:
            flags[name] = typed[name]
    words = [f"{name}={text}" for name, text in typed.items()]
    variables = {n: redact(n, printable(v)) for n, v in request.run.variables.items()}
    return Run(
        id=run_id,
        reenact=__version__,
        operation=planned.operation,
        project=planned.project,
        command=("reenact", "run", *words, planned.operation.name),
        created=now,
        flags=flags,
        given=tuple(typed),
        typed=typed,
        variables=variables,
        in_place=request.run.in_place,
        started=None if is_staged else now,
        staged=now if is_staged else None,
        supervisor_pid=None if is_staged else os.getpid(),
        parent=request.run.parent,
        part=request.run.part if request.run.parent is not None else None,
        seed=request.run.seed,
        is_deterministic=request.run.deterministic,
        pipeline=describe_pipeline(planned, trees),
    )


def describe_pipeline(planned: PlannedPipeline, trees: Trees) -> Pipeline:
    """Return what a record says of the steps, as they are planned."""
    steps = []
    for step in planned.steps:
        tree = trees.of(step)
        is_kept = step.plan is not None and step.plan.request.snapshot
        steps.append(
            Step(
                name=step.name,
                operation=step.operation,
                needs=step.needs,
                source=tree.source if tree is not None and is_kept else None,
                cwd="." if step.plan is None else path_to_text(step.plan.cwd),
                python=None if step.plan is None else _interpreter_of(step.plan),
                pipeline=None if step.nested is None else describe_pipeline(step.nested, trees),
                fails_with_trials=step.definition.fail_on_trial_error,
            )
        )
    request = planned.request
    return Pipeline(
        steps=tuple(steps),
        jobs=request.jobs,
        is_needed=request.needed,
        keeps_going=request.keep_going,
    )


def _interpreter_of(plan: Plan) -> str | None:
    """Return the interpreter that a step gets now, so that it is the same one later."""
    try:
        return path_to_text(find_python(plan.env, plan.request.python))
    except CannotRun:
        return None
