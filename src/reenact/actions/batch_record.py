"""What the record of a batch says of what it will do."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from reenact import __version__
from reenact.actions.batch_plan import ENDLESS, BatchRequest, PlannedBatch
from reenact.actions.context import Context
from reenact.actions.ground import RunRequest
from reenact.actions.plan import plan_on, redacted
from reenact.actions.project_tree import PlannedTree
from reenact.actions.search_defaults import space_text
from reenact.actions.trials import VARIANT, Entry
from reenact.actions.trials import request_of as request_of_trial
from reenact.actions.variants import recorded
from reenact.model.flags import FlagValue
from reenact.model.identity import RunId
from reenact.model.paths import path_to_text, printable
from reenact.model.record import flag_from_json, flag_to_json
from reenact.model.run import Batch, Notes, Operation, OperationKind, Run
from reenact.model.secrets import redact
from reenact.project.flag_text import format_value
from reenact.project.template import fill_label
from reenact.search.values import (
    Sequence,
    Setting,
    Single,
)


def record_batch(
    run_id: RunId,
    planned: PlannedBatch,
    context: Context,
    tree: PlannedTree | None,
    *,
    jobs: int,
    is_staged: bool,
) -> Run:
    """Return the first record of a batch."""
    ground = planned.ground
    request = ground.request
    on = planned.ground_of(planned.example)
    example = plan_on(on, request_of_trial(on, planned.example), context)
    operation = example.operation
    written = {
        name: redact(name, printable(_setting_text(request.settings[name])))
        for name in planned.settings
        if name in request.settings
    }
    flags = {
        name: redacted(name, _as_flag(setting, written.get(name, "")))
        for name, setting in planned.settings.items()
        if name != VARIANT
    }
    settings = [f"{name}={text}" for name, text in written.items()]
    files = [f"@{path}" for path in planned.request.files]
    words = ["reenact", "run", *settings, *files, *_option_words(planned.request)]
    words += _operation_words(operation)
    search = planned.search
    is_random = search is not None or planned.request.trials is not None
    now = datetime.now(UTC)
    return Run(
        id=run_id,
        reenact=__version__,
        operation=msgspec.structs.replace(operation, kind=OperationKind.BATCH),
        project=example.project,
        command=tuple(words),
        cwd=path_to_text(example.cwd),
        created=now,
        flags=flags,
        given=tuple(flags),
        typed=written,
        variables={n: redact(n, printable(v)) for n, v in request.variables.items()},
        in_place=request.in_place,
        source=tree.source if tree is not None and request.snapshot else None,
        started=None if is_staged else now,
        staged=now if is_staged else None,
        supervisor_pid=None if is_staged else os.getpid(),
        like=_like(run_id, request),
        parent=request.parent,
        part=request.part,
        seed=request.seed,
        is_deterministic=request.deterministic,
        batch=Batch(
            kind=operation.kind,
            trials=_planned_count(planned),
            jobs=jobs,
            optimizer=planned.request.optimizer if search else None,
            optimizer_flags={
                name: flag_to_json(redacted(name, value)) for name, value in search.settings.items()
            }
            if search
            else {},
            objectives=planned.request.objectives,
            seed=planned.request.random_seed if is_random else None,
            stop_early=planned.request.stop_early,
            variants=recorded(planned.variants),
            spaces={
                name: written.get(name) or space_text(space)
                for name, space in search.spaces.items()
                if name != VARIANT
            }
            if search
            else {},
        ),
    )


def _like(run_id: RunId, request: RunRequest) -> RunId | None:
    """Return the run whose source it takes over; that of its own pipeline is its own."""
    if request.like is None or request.like.id in (run_id, request.parent):
        return None
    return request.like.id


def _planned_count(planned: PlannedBatch) -> int | None:
    if planned.search is None:
        return len(planned.entries)
    return None if planned.search.limit >= ENDLESS else planned.search.limit


def _setting_text(setting: str | FlagValue) -> str:
    return setting if isinstance(setting, str) else format_value(setting)


def _option_words(request: BatchRequest) -> list[str]:
    words: list[str] = []
    for option, value in (
        ("--trials", None if request.trials == ENDLESS else request.trials),
        ("--variants", ",".join(request.variants)),
        ("--seeds", ",".join(map(str, request.seeds))),
        ("--optimizer", request.optimizer),
        ("--random-seed", request.random_seed),
        ("--stop-early", request.stop_early),
    ):
        if value:
            words += [option, str(value)]
    flags = {
        **{name: format_value(value) for name, value in request.optimizer_flags.declared.items()},
        **request.optimizer_flags.given,
    }
    for name, text in flags.items():
        words += ["--opt-flag", f"{name}={redact(name, printable(text))}"]
    for direction, column in request.objectives:
        words += [f"--{direction}", column]
    return words


def _operation_words(operation: Operation) -> list[str]:
    if operation.definition is not None:
        return [operation.name]
    if operation.kind is OperationKind.COMMAND:
        return ["--", *operation.arguments]
    if operation.kind is OperationKind.MODULE:
        return ["-m", operation.target]
    return [operation.name]


def _as_flag(setting: Setting, written: str) -> FlagValue:
    """Return what the batch's own record says of a flag: all of its values, or its space as text."""
    if isinstance(setting, Single):
        return setting.value
    if isinstance(setting, Sequence):
        return list(setting.values)
    return written or space_text(setting)


def notes_of(planned: PlannedBatch, run: Run, context: Context) -> Notes:
    """Return what the user says about a batch from the start.

    Args:
        planned: the batch.
        run: its first record.
        context: where.
    """
    request = planned.ground.request
    label = request.label
    if label is not None and "${" in label:
        on = planned.ground_of(planned.example)
        example = plan_on(on, request_of_trial(on, planned.example), context)
        values = {name: redacted(name, value) for name, value in example.values.items()}
        given = {**_flags_of(planned.entries), **run.flags}
        label = fill_label(label, {**values, **given}, given) or None
    return request.notes(label)


def _flags_of(entries: Iterable[Entry]) -> dict[str, FlagValue]:
    """Return the flags of trials: the value where all have the same, else the list of them."""
    found: dict[str, list[FlagValue]] = {}
    for entry in entries:
        for name, value in entry.flags.items():
            values = found.setdefault(name, [])
            one = redacted(name, flag_from_json(value))
            if one not in values:
                values.append(one)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}
