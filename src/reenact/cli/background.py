"""Start a run and return: the supervisor goes on as a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress

from reenact.actions.context import Context
from reenact.actions.plan import Plan
from reenact.actions.run import start_and_watch
from reenact.cli.output import print_json, say, visible
from reenact.errors import EXIT_CANNOT_RUN, ReenactError
from reenact.model.run import Run


def run_in_background(plan: Plan, context: Context, *, as_json: bool) -> int:
    """Start a plan in a detached process; return once the run has started or failed to."""

    def supervise(started: Callable[[Run], None]) -> int:
        finished = start_and_watch(plan, context, on_start=started)
        return finished.run.exit.shell_status if finished.run.exit is not None else 0

    return detach(supervise, as_json=as_json)


def detach(
    supervise: Callable[[Callable[[Run], None]], int], *, as_json: bool, follow: str = "log -F"
) -> int:
    """Call something in a detached process; return once it says that its run has started.

    Args:
        supervise: called with what to call once the run has started; returns the exit status.
        as_json: say how it went as JSON.
        follow: the command that shows what it does.
    """
    read, write = os.pipe()
    sys.stdout.flush()
    if os.fork() == 0:
        os.close(read)
        _supervise(supervise, [write])
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        text = answer.read().decode(errors="replace")
    word, _, rest = text.partition(" ")
    if word != "started":
        message, _, hint = rest.partition("\n")
        raise _Failed(message or "the supervisor died", hint=hint or None)
    if as_json:
        print_json({"ok": True, "run": rest})
    else:
        say(f"run {rest[:8]} runs in the background; `reenact {follow} {rest[:8]}` follows it")
        print(rest)
    return 0


class _Failed(ReenactError):
    """The run could not be started; the message came from the supervisor."""

    code = "cannot-run"
    exit_status = EXIT_CANNOT_RUN


def _supervise(supervise: Callable[[Callable[[Run], None]], int], answer: list[int]) -> None:
    """Be the supervisor; never returns."""
    status = EXIT_CANNOT_RUN
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        status = supervise(lambda run: _answer(answer, f"started {run.id}"))
    except ReenactError as error:
        _answer(answer, f"failed {visible(error.message)}\n{error.hint or ''}")
    finally:
        os._exit(status)


def _answer(pipe: list[int], text: str) -> None:
    """Say once how the start went, to a caller who may be gone."""
    while pipe:
        descriptor = pipe.pop()
        with suppress(OSError):
            os.write(descriptor, text.encode(errors="backslashreplace"))
        os.close(descriptor)
