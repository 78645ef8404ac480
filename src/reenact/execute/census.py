"""Look at a run's process tree for Python processes that the probe did not reach, and why not.

Covered, on Linux: what descends from the process that was started, for as long as its ancestors live.
Not covered: a process that begins and ends between two looks, which are a fifth of a second apart,
or more where there are many processes; one in a process namespace of its own.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from reenact.execute.opened import Event
from reenact.model.paths import path_to_text, printable
from reenact.model.run import Process
from reenact.model.secrets import hide, redact_argv
from reenact.store.files import read_file

HELPED_BY_HOOK = ("with -I", "with -E", "PYTHONPATH had been replaced")
"""Reasons that `reenact install-hook` does away with end so."""

_INTERVAL_S = 0.2
_COST_FACTOR = 200.0
"""Wait at least so many times as long as a look takes: half a percent of one core."""
_MOST = 50
"""More than these are not listed."""
_LONG = 500

_PYTHON = re.compile(r"(?:python|pypy)(?P<version>[0-9.]*)[a-z-]*(?:\.exe)?")
_FIRST_VERSION = (3, 8)


class _Seen(NamedTuple):
    parent: int
    executable: str
    argv: tuple[str, ...]
    time_ns: int
    reason: str


class Census:
    """The Python processes of a run, as they were seen from outside."""

    def __init__(self, root_pid: int, record_directory: str, shim: str) -> None:
        """Prepare to look.

        Args:
            root_pid: the process that was started.
            record_directory: the run's `.reenact/`.
            shim: the directory that leads Python to the probe.
        """
        self._root = root_pid
        self._record = os.fsencode(f"REENACT_RECORD_DIR={record_directory}")
        self._shim = os.fsencode(shim)
        self._seen: dict[int, _Seen] = {}
        self._look_at = 0.0

    def tick(self, now_s: float) -> None:
        """Look, if it is time to."""
        if now_s >= self._look_at:
            begun = time.thread_time()
            self.look()
            cost_s = time.thread_time() - begun
            self._look_at = now_s + max(_INTERVAL_S, _COST_FACTOR * cost_s)

    def look(self) -> None:
        """Note the Python processes that there are now."""
        waiting = [(self._root, 0)]
        while waiting:
            pid, parent = waiting.pop()
            try:
                self._note(pid, parent)
                waiting += [(child, pid) for child in _children(pid)]
            except (OSError, ValueError):
                continue  # It has ended.

    def unreached(
        self, hellos: Iterable[dict[str, Any]], secrets: Iterable[str] = ()
    ) -> tuple[Process, ...]:
        """Return the processes that have not said hello.

        Args:
            hellos: what processes said.
            secrets: texts that must not stand in the record.
        """
        reached = {hello.get("pid") for hello in hellos}
        found = []
        for pid, seen in sorted(self._seen.items(), key=lambda item: (item[1].time_ns, item[0])):
            if pid in reached or self._is_fork(seen):
                continue
            found.append(
                Process(
                    pid=pid,
                    parent_pid=seen.parent,
                    started_ns=seen.time_ns,
                    kind="unreached",
                    executable=printable(seen.executable),
                    argv=tuple(
                        word[:_LONG]
                        for word in hide(redact_argv(map(printable, seen.argv)), secrets)
                    ),
                    reason=seen.reason,
                )
            )
        return tuple(found[:_MOST])

    def _note(self, pid: int, parent: int) -> None:
        executable = os.readlink(f"/proc/{pid}/exe")
        name = _PYTHON.fullmatch(os.path.basename(executable))
        if name is None:
            # It was Python, and has become something else.
            self._seen.pop(pid, None)
            return
        argv = tuple(os.fsdecode(word) for word in read_file(f"/proc/{pid}/cmdline").split(b"\0"))
        former = self._seen.get(pid)
        if former is not None and former.argv == argv[:-1]:
            return
        reason = self._reason(pid, name["version"], argv[1:-1])
        if reason is not None:
            self._seen[pid] = _Seen(parent, executable, argv[:-1], time.time_ns(), reason)

    def _reason(self, pid: int, version: str, words: Sequence[str]) -> str | None:
        """Return why the probe may not have reached a process; None if it is not ours to say."""
        if _is_too_old(version):
            return f"it is Python {version}"
        why = _why_by_options(words)
        try:
            variables = read_file(f"/proc/{pid}/environ").split(b"\0")
            records = [text for text in variables if text.startswith(b"REENACT_RECORD_DIR=")]
            if records and self._record not in records:
                return None  # A process of a run inside this run.
            if why is not None:
                return why
            if os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid"):
                return None
        except OSError:
            return why or "it belongs to another user"
        if not records:
            return "its environment had been emptied"
        paths = [text for text in variables if text.startswith(b"PYTHONPATH=")]
        if not any(self._shim in text for text in paths):
            return "its PYTHONPATH had been replaced"
        return "it ended before it could say so, or nobody knows why"

    def _is_fork(self, seen: _Seen) -> bool:
        """Tell whether it is, or was about to become something else, a fork of its parent."""
        parent = self._seen.get(seen.parent)
        return parent is not None and (parent.executable, parent.argv) == seen[1:3]


def unreached_in(
    events: Iterable[Event], hellos: Iterable[Mapping[str, object]]
) -> tuple[Process, ...]:
    """Return the Python processes whose start the preloaded library saw, and that said no hello.

    It sees those as well that nobody has met alive; why they said none is not known then.

    Args:
        events: what the library told.
        hellos: what processes said.
    """
    reached = {hello.get("pid") for hello in hellos}
    found: list[Process] = []
    for event in events:
        if event.kind != "process" or event.pid in reached:
            continue
        name = _PYTHON.fullmatch(os.path.basename(event.path))
        if name is None:
            continue
        reached.add(event.pid)
        is_old = _is_too_old(name["version"])
        found.append(
            Process(
                pid=event.pid,
                parent_pid=event.flags,
                started_ns=event.time_ns,
                kind="unreached",
                executable=path_to_text(event.path),
                reason=f"it is Python {name['version']}"
                if is_old
                else "it ended before it was asked why",
            )
        )
    return tuple(found[:_MOST])


def join_unreached(
    first: tuple[Process, ...], second: tuple[Process, ...], *, without: int | None = None
) -> tuple[Process, ...]:
    """Join what two witnesses say; what the first one says of a process counts.

    Args:
        first: from one witness.
        second: from the other one.
        without: a process of Reenact's own, which is none of the run's.
    """
    found = {process.pid: process for process in (*second, *first)}
    found.pop(without or 0, None)
    return tuple(sorted(found.values(), key=lambda process: process.started_ns)[:_MOST])


def reason_in(command: Sequence[str]) -> str | None:
    """Return why the probe cannot reach what a command starts, where the command says so."""
    if not command or _PYTHON.fullmatch(os.path.basename(command[0])) is None:
        return None
    return _why_by_options(command[1:])


def _why_by_options(words: Sequence[str]) -> str | None:
    options = _options(words)
    found = next((option for option in "IES" if option in options), None)
    return None if found is None else f"it was started with -{found}"


def _is_too_old(version: str) -> bool:
    parts = tuple(int(part) for part in version.split(".") if part)
    return parts == (2,) or (len(parts) >= 2 and parts < _FIRST_VERSION)


def _children(pid: int) -> list[int]:
    children: list[int] = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        children += map(int, read_file(f"/proc/{pid}/task/{thread}/children").split())
    return children


def _options(words: Sequence[str]) -> str:
    """Return the letters of the interpreter's own options."""
    letters = ""
    skip = False
    for word in words:
        if skip:
            skip = False
            continue
        if not word.startswith("-") or word in ("-", "--") or word.startswith("--"):
            break
        for at, letter in enumerate(word[1:], 1):
            if letter in "cm":
                return letters
            if letter in "WX":
                skip = at == len(word) - 1
                break
            letters += letter
    return letters
