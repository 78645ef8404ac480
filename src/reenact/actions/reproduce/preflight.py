"""Say, before a run is run again, what is not as it was, and what may be expected of its result."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from reenact.actions.changes import Change
from reenact.actions.context import Context
from reenact.actions.diff_environment import compare_environments, compare_machines
from reenact.actions.interpreter_facts import interpreter_facts
from reenact.actions.randomness import variables_to_restore
from reenact.errors import CannotRun, ReenactError
from reenact.model.environment import (
    Environment,
    Machine,
    Runtime,
    decode_environment,
    decode_machine,
    decode_runtime,
)
from reenact.model.run import OperationKind, Run
from reenact.model.secrets import REDACTED
from reenact.model.verdict import Cause, Expectation
from reenact.model.words import counted
from reenact.project.operation import find_python
from reenact.snapshot.environment import capture_environment
from reenact.snapshot.machine import capture_machine
from reenact.snapshot.state import look

_DECISIVE = ("architecture", "gpus", "gpu_driver")
"""Facts of a machine on which the last digits of a result depend."""
_BASELINE_FEATURES = 2
"""Of the instruction sets in which machines differ so many are named."""


class Surroundings(NamedTuple):
    """Where a run would be run again.

    Attributes:
        python: path of the interpreter; None where the run had none.
        environment: of it; None where it cannot be told.
        machine: this one.
    """

    python: str | None
    environment: Environment | None
    machine: Machine


class Preflight(NamedTuple):
    """What is known before the start.

    Attributes:
        expectation: what may be expected at best.
        reasons: why no more than that.
        changes: of environment and machine, from the record to here.
        causes: the same, as a verdict names them.
        variables: to set, so that threads are as many as they were, and hashes the same.
        remarks: what could not be compared, and what there may be too little of.
        is_other_machine: instruction set, GPU or driver are others.
        is_compared: the environment is known, then and now.
    """

    expectation: Expectation
    reasons: tuple[str, ...]
    changes: tuple[Change, ...]
    causes: tuple[Cause, ...]
    variables: dict[str, str]
    remarks: tuple[str, ...]
    is_other_machine: bool = False
    is_compared: bool = True


def look_around(run: Run, context: Context, python: str | None) -> Surroundings:
    """Describe where a run would be run again.

    Args:
        run: which.
        context: where.
        python: the interpreter; the one of the environment when None.

    Raises:
        CannotRun: there is no interpreter.
    """
    machine = capture_machine(cache=context.store.cache_directory)
    has_python = recorded_environment(run, context) is not None or is_python(run)
    if not has_python:
        return Surroundings(None, None, machine)
    try:
        path = find_python(context.env, python)
    except CannotRun:
        if is_python(run):
            raise
        return Surroundings(None, None, machine)
    return Surroundings(path, environment_of(path, context), machine)


def is_python(run: Run) -> bool:
    """Tell whether a Python interpreter is what a run starts."""
    kinds = (OperationKind.SCRIPT, OperationKind.MODULE, OperationKind.NOTEBOOK)
    return run.operation.kind in kinds


def environment_of(python: str, context: Context) -> Environment | None:
    """Describe an interpreter's environment; None where it says nothing of itself."""
    cache = context.store.cache_directory
    facts = interpreter_facts(python, context.env, cache)
    return None if facts is None else capture_environment(facts, context.env, cache=cache)


def recorded_environment(run: Run, context: Context) -> Environment | None:
    """Return the environment of a run that had a Python, as its record has it."""
    if run.environment is None:
        return None
    try:
        data = context.store.blobs.get(run.environment)
        found = decode_environment(data, where=f"the environment of run {run.id[:8]}")
    except ReenactError:
        return None
    return found if found.python is not None else None


def is_same_software(a: Environment, b: Environment) -> bool:
    """Tell whether two environments have the same interpreter and packages, wherever they lie."""
    if a.python is None or b.python is None:
        return False
    here, there = a.python, b.python
    return (
        (here.version, here.implementation, here.platform)
        == (there.version, there.implementation, there.platform)
        and a.packages == b.packages
        and a.conda == b.conda
    )


def preflight(
    run: Run, context: Context, here: Surroundings, *, has_same_seed: bool = True
) -> Preflight:
    """Compare what a record says with where the run would be run again."""
    reasons: list[str] = []
    changes: list[Change] = []
    causes: list[Cause] = []
    remarks: list[str] = []
    recorded = recorded_environment(run, context)
    is_compared = here.environment is not None if recorded is not None else not is_python(run)
    if recorded is None and is_python(run):
        remarks.append("what is recorded of the environment is lost, or never was")
    elif recorded is not None and here.environment is None:
        remarks.append("the interpreter says nothing of itself")
    elif recorded is not None and here.environment is not None:
        section = compare_environments(recorded, here.environment)
        remarks += section.remarks
        own = [
            change
            for change in section.changes
            # `PYTHONPATH` is set as it was.
            if change.name not in run.variables
            and not (change.name == "PYTHONPATH" and change.a is not None)
        ]
        changes += own
        causes += map(_cause_of_software, own)
        if packages := [c for c in own if c.group in ("package", "conda")]:
            named = ", ".join(change.name for change in packages[:3])
            more = "" if len(packages) <= 3 else ", …"
            reasons.append(f"{counted(len(packages), 'package')} not as recorded: {named}{more}")
        if any(change.group == "python" and change.name == "version" for change in own):
            reasons.append("another version of Python")
    is_other_machine = False
    remarks += _shortages(run, context)
    machine = _recorded_machine(run, context)
    if machine is None:
        remarks.append("what is recorded of the machine is lost, or never was")
    else:
        section = compare_machines(machine, here.machine)
        changes += section.changes
        found = _reasons_of_machine(section.changes)
        is_other_machine = bool(found)
        reasons += found
        causes += [
            Cause(kind="machine", what=change.name, original=change.a, reproduced=change.b)
            for change in section.changes
            if change.name in _DECISIVE or change.group == "CPU feature"
        ]
    expectation = Expectation.TOLERANCE if reasons else Expectation.IDENTICAL
    set_then = {} if recorded is None else recorded.variables
    variables = variables_to_restore(
        run,
        _recorded_runtime(run, context),
        {name: value for name, value in set_then.items() if value != REDACTED},
        has_same_seed=has_same_seed,
    )
    return Preflight(
        expectation,
        tuple(reasons),
        tuple(changes),
        tuple(causes),
        variables,
        tuple(remarks),
        is_other_machine,
        is_compared,
    )


def _shortages(run: Run, context: Context) -> Iterator[str]:
    """Say what the run needed more of than there is here."""
    needed = None if run.usage is None else run.usage.max_memory_bytes
    available = look().memory_available_bytes
    if needed is not None and available is not None and needed > available:
        yield (
            f"the run needed {needed / 1e9:.1f} GB of memory, and {available / 1e9:.1f} GB are "
            "available"
        )
    made = sum(file.size_bytes or 0 for file in run.outputs)
    with suppress(OSError):
        free = shutil.disk_usage(context.store.root).free
        if made > free:
            yield f"the run left {made / 1e9:.1f} GB behind, and {free / 1e9:.1f} GB are free"


def _cause_of_software(change: Change) -> Cause:
    kinds = {"package": "package", "conda": "package", "python": "python", "leftover": "package"}
    return Cause(
        kind=kinds.get(change.group or "", "variable"),
        what=change.name,
        original=change.a,
        reproduced=change.b,
    )


def _reasons_of_machine(changes: tuple[Change, ...]) -> list[str]:
    reasons = []
    features = [change.name for change in changes if change.group == "CPU feature"]
    if features:
        named = ", ".join(features[:_BASELINE_FEATURES])
        more = len(features) - _BASELINE_FEATURES
        reasons.append(
            f"another CPU instruction set: {named}" + (f" and {more} more" if more > 0 else "")
        )
    names = {"architecture": "another architecture", "gpus": "other GPUs",
             "gpu_driver": "another GPU driver"}  # fmt: skip
    reasons += [names[change.name] for change in changes if change.name in names]
    return reasons


def _recorded_machine(run: Run, context: Context) -> Machine | None:
    if run.machine is None:
        return None
    try:
        data = context.store.blobs.get(run.machine)
        return decode_machine(data, where=f"the machine of run {run.id[:8]}")
    except ReenactError:
        return None


def _recorded_runtime(run: Run, context: Context) -> Runtime | None:
    if run.runtime is None:
        return None
    try:
        data = context.store.blobs.get(run.runtime)
        return decode_runtime(data, where=f"the runtime of run {run.id[:8]}")
    except ReenactError:
        return None
