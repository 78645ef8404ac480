"""Ask an interpreter what it is, once: what it said is remembered while nothing has changed.

What it says depends on its own file, on its installation's settings, on the directories of its path,
which change when something is installed, and on some variables.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress

import msgspec
from blake3 import blake3

from reenact.model.environment import PythonFacts
from reenact.model.record import to_json
from reenact.snapshot.interpreter import question, read_answer
from reenact.store.files import read_file, write_atomically

_LIMIT_S = 10.0
_VARIABLES = ("PATH", "HOME", "VIRTUAL_ENV", "CONDA_PREFIX")


class _Remembered(msgspec.Struct, frozen=True, array_like=True):
    facts: PythonFacts
    stamps: dict[str, tuple[int, int] | None]


def interpreter_facts(python: str, env: Mapping[str, str], cache: str) -> PythonFacts | None:
    """Return what an interpreter says of itself; None where it says nothing.

    Args:
        python: its path.
        env: the environment that it would have.
        cache: directory of the memory; it may be deleted at any time, and need not be writable.
    """
    said = {n: v for n, v in env.items() if n.startswith("PYTHON") or n in _VARIABLES}
    name = blake3(to_json([python, said])).hexdigest(length=16)
    path = f"{cache}/interpreter-{name}"
    try:
        known = msgspec.json.decode(read_file(path), type=_Remembered)
        if all(_stamp(file) == stamp for file, stamp in known.stamps.items()):
            return known.facts
    except (OSError, msgspec.DecodeError):
        pass
    facts = _ask(python, env)
    if facts is not None:
        home = os.path.dirname(os.path.dirname(python))
        watched = (python, os.path.realpath(python), f"{home}/pyvenv.cfg", *facts.path)
        remembered = _Remembered(facts, {file: _stamp(file) for file in watched})
        with suppress(OSError):
            os.makedirs(cache, exist_ok=True)
            write_atomically(path, to_json(remembered), sync=False)
    return facts


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _ask(python: str, env: Mapping[str, str]) -> PythonFacts | None:
    try:
        child = subprocess.Popen(
            [python, "-c", question()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(env),
            # `-c` puts the working directory on the path, which belongs to no interpreter.
            cwd="/",
            start_new_session=True,
        )
    except (OSError, ValueError):
        return None
    with child:
        try:
            out, _ = child.communicate(timeout=_LIMIT_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            return None
    try:
        return read_answer(out)
    except ValueError:
        return None
