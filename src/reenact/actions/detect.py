"""Say what this machine and this environment are, without running anything of the user's.

Promised: nothing is written anywhere, and nothing takes longer than its limit: compilers, driver and
interpreter are asked at the same time, and who does not answer is passed over.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from reenact.actions.context import Context
from reenact.errors import CannotRun
from reenact.model.environment import Environment, Machine, PythonFacts
from reenact.model.paths import printable
from reenact.model.run import MachineState
from reenact.project.operation import find_python
from reenact.snapshot.environment import capture_environment
from reenact.snapshot.gpu import capture_gpu_states, find_nvidia
from reenact.snapshot.interpreter import question, read_answer
from reenact.snapshot.machine import capture_machine
from reenact.snapshot.state import cpus_granted, look, memory_limit
from reenact.snapshot.tools import find_tools

LIMIT_S = 1.5
"""For the interpreter and for all compilers together; the driver of GPUs has two seconds."""


class Detected(NamedTuple):
    """What was found.

    Attributes:
        python: path of the interpreter that a run would have; None where there is none.
        environment: its software.
        machine: the hardware.
        state: what moves about it, now.
        cpus_granted: CPUs that a run could use.
        memory_limit_bytes: of a container or batch system; None where there is none.
    """

    python: str | None
    environment: Environment
    machine: Machine
    state: MachineState
    cpus_granted: float | None
    memory_limit_bytes: int | None


def detect(context: Context, python: str | None = None) -> Detected:
    """Describe environment and machine as a run from here would be described.

    Args:
        context: where.
        python: the interpreter to ask; the one that a run would have when None.

    Raises:
        CannotRun: there is no interpreter of that name.
    """
    path = problem = None
    try:
        path = find_python(context.env, python)
    except CannotRun as error:
        if python is not None:
            raise
        problem = error.message
    tools = _Question(lambda: find_tools(context.env, limit_s=LIMIT_S))
    machine = _Question(capture_machine)
    states = _Question(capture_gpu_states if find_nvidia() is not None else tuple)
    facts = None
    if path is not None:
        try:
            facts = _ask_interpreter(path, context)
        except _Silent as error:
            problem = str(error)
    environment = capture_environment(facts, context.env, tools=tools.answer())
    if facts is None:
        reasons = {**environment.reasons, "python": problem or "", "packages": problem or ""}
        environment = msgspec.structs.replace(environment, reasons=reasons)
    return Detected(
        python=path,
        environment=environment,
        machine=machine.answer(),
        state=msgspec.structs.replace(look(), gpus=states.answer()),
        cpus_granted=cpus_granted(),
        memory_limit_bytes=memory_limit(),
    )


class _Question:
    """Something that is being found out while something else is."""

    def __init__(self, find: Callable[[], Any]) -> None:
        self._found: Any = None
        self._error: BaseException | None = None
        self._find = find
        # What it asks has limits of its own.
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def answer(self) -> Any:
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._found

    def _work(self) -> None:
        try:
            self._found = self._find()
        except BaseException as error:  # noqa: BLE001  # it is raised again where it is asked for
            self._error = error


class _Silent(Exception):
    """An interpreter did not say what it is."""


def _ask_interpreter(python: str, context: Context) -> PythonFacts:
    name = printable(python)
    try:
        child = subprocess.Popen(
            [python, "-c", question()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Nothing is written for it either.
            env={**context.env, "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=context.directory,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise _Silent(f"{name} cannot be started: {error}") from None
    with child:
        try:
            out, _ = child.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            raise _Silent(f"{name} did not answer within {LIMIT_S:g} s") from None
    try:
        return read_answer(out)
    except ValueError:
        raise _Silent(f"{name} is no Python 3.8 or later") from None
