"""Bring together everything that is known of a run."""

from __future__ import annotations

from typing import NamedTuple

from reenact.actions.context import Context
from reenact.errors import ReenactError
from reenact.model.environment import Environment, Machine, decode_environment, decode_machine
from reenact.store.store import StoredRun


class Details(NamedTuple):
    """A run with what its record only refers to. `problems` says what of it is missing."""

    stored: StoredRun
    environment: Environment | None
    machine: Machine | None
    problems: list[str]


def describe(context: Context, stored: StoredRun) -> Details:
    """Read what a run's record refers to.

    Raises:
        Damaged: the record itself cannot be read.
    """
    run = stored.record
    blobs = context.store.blobs
    problems: list[str] = []
    environment = machine = None
    if run.environment is not None:
        try:
            environment = decode_environment(blobs.get(run.environment), where="the environment")
        except ReenactError as error:
            problems.append(f"the environment: {error.message}")
    if run.machine is not None:
        try:
            machine = decode_machine(blobs.get(run.machine), where="the machine")
        except ReenactError as error:
            problems.append(f"the machine: {error.message}")
    return Details(stored, environment, machine, problems)
