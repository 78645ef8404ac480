"""Find the compilers and the MPI on PATH and ask them for their versions, all at once.

Promised: no longer than the limit, whatever they do; those that do not answer are ended. An answer
is kept for a day, so that most runs ask nobody.
Not promised: that a program behind a wrapper script is noticed to have changed within that day.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from reenact.model.environment import Tool
from reenact.model.paths import printable
from reenact.model.record import to_json
from reenact.model.secrets import redact_text
from reenact.store.files import read_file, write_atomically

NAMES = ("cc", "clang", "g++", "gcc", "gfortran", "mpicc", "mpirun", "nvcc")
LIMIT_S = 1.0

_KEPT_S = 86400.0
_KEPT_SILENCE_S = 3600.0
_MOST_BYTES = 4096
_LONGEST_LINE = 200


class _Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a program said, when, and which program it was."""

    stamp: str
    asked: float
    version: str | None = None


def find_tools(
    env: Mapping[str, str],
    *,
    cache: str | None = None,
    may_ask: bool = True,
    limit_s: float = LIMIT_S,
    now: float | None = None,
) -> tuple[Tool, ...] | None:
    """Return the tools on the PATH in `env`, sorted by name.

    Args:
        env: the user's variables.
        cache: directory where answers are kept; it may be deleted, and need not be writable.
        may_ask: start programs that the cache does not know; else return None if there are any.
        limit_s: for all programs together.
        now: seconds since 1970, for the age of what is kept.
    """
    now = time.time() if now is None else now
    found = {name: path for name in NAMES if (path := _which(name, env)) is not None}
    stamps = {path: _stamp(path) for path in found.values()}
    kept = _read(cache)
    known = {path: kept[path] for path in stamps if _is_valid(kept.get(path), stamps[path], now)}
    unknown = sorted(set(stamps) - set(known))
    if unknown and not may_ask:
        return None
    if unknown:
        versions = _ask_all(unknown, env, limit_s)
        known |= {path: _Answer(stamps[path], now, versions.get(path)) for path in unknown}
        _write(cache, kept | known)
    return tuple(
        Tool(name=name, path=printable(path), version=known[path].version)
        for name, path in found.items()
    )


def _which(name: str, env: Mapping[str, str]) -> str | None:
    for directory in env.get("PATH", os.defpath).split(os.pathsep):
        # A relative entry would be another place for every working directory.
        path = os.path.join(directory, name)
        if os.path.isabs(directory) and os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return None


def _stamp(path: str) -> str:
    try:
        real = os.path.realpath(path)
        status = os.stat(real)
    except OSError:
        return ""
    return f"{real}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"


def _is_valid(answer: _Answer | None, stamp: str, now: float) -> bool:
    if answer is None or answer.stamp != stamp:
        return False
    age = now - answer.asked
    return 0 <= age < (_KEPT_SILENCE_S if answer.version is None else _KEPT_S)


def _ask_all(paths: Sequence[str], env: Mapping[str, str], limit_s: float) -> dict[str, str]:
    """Start all programs with `--version`; return what those said that answered in time."""
    deadline = time.monotonic() + limit_s
    poll = select.poll()
    waiting: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}
    said: dict[str, bytes] = {}
    for path in paths:
        with suppress(OSError, ValueError):
            child = subprocess.Popen(
                [path, "--version"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # What Reenact sets for runs must not reach a tool that is written in Python.
                env={**env, "LC_ALL": "C"},
                cwd="/",
                start_new_session=True,
            )
            assert child.stdout is not None
            waiting[child.stdout.fileno()] = (path, child)
            poll.register(child.stdout, select.POLLIN)
    children = [child for _, child in waiting.values()]
    while waiting and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            path, _ = waiting[descriptor]
            data = os.read(descriptor, _MOST_BYTES)
            said[path] = said.get(path, b"") + data
            if not data or len(said[path]) > _MOST_BYTES:
                poll.unregister(descriptor)
                del waiting[descriptor]
    silent = {path for path, _ in waiting.values()}
    for child in children:
        # Before it is waited for: until then nothing else can have its number.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        assert child.stdout is not None
        child.stdout.close()
    return {
        path: line for path, data in said.items() if path not in silent and (line := _line(data))
    }


def _line(data: bytes) -> str | None:
    """Return the line with the version: nvcc's has `release`, others begin with it."""
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
    lines = [line for line in lines if any(c.isdigit() for c in line)]
    chosen = next((line for line in lines if "release" in line and ", V" in line), None)
    chosen = chosen or (lines[0] if lines else None)
    return None if chosen is None else redact_text(printable(chosen[:_LONGEST_LINE]))


def _read(cache: str | None) -> dict[str, _Answer]:
    if cache is None:
        return {}
    try:
        return msgspec.json.decode(read_file(_file(cache)), type=dict[str, _Answer])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}


def _write(cache: str | None, answers: dict[str, _Answer]) -> None:
    if cache is None:
        return
    # The cache only saves time: one that cannot be written must not stop a run.
    with suppress(OSError, UnicodeEncodeError):
        os.makedirs(cache, exist_ok=True)
        write_atomically(_file(cache), to_json(answers), sync=False)


def _file(cache: str) -> str:
    return os.path.join(cache, "tools.json")
