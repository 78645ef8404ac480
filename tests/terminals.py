"""A terminal with a user at it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from commands import PATIENCE_S

_TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvpe(sys.argv[1], sys.argv[1:], os.environ)
"""


class Place(Protocol):
    """Where a program runs."""

    @property
    def project(self) -> Path:
        """The working directory."""

    @property
    def env(self) -> Mapping[str, str]:
        """The whole environment."""


class Terminal:
    """A terminal with a user at it, and the program that runs in it."""

    def __init__(
        self, words: Sequence[str], world: Place, size: tuple[int, int] = (30, 100)
    ) -> None:
        self.master, slave = pty.openpty()
        self.resize(*size)
        self.seen = b""
        self._read_to = 0
        env = {**world.env, "TERM": "xterm-256color", "PS1": "$ ", "PWD": str(world.project)}
        for name in ("NO_COLOR", "COLUMNS", "LINES"):
            env.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *words],
            cwd=world.project,
            env=env,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def resize(self, rows: int, columns: int) -> None:
        """Change the window."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.master, keys)

    def wait_for(self, text: bytes) -> None:
        """Wait until a text appears that has not been waited for."""
        deadline = time.monotonic() + PATIENCE_S
        while (at := self.seen.find(text, self._read_to)) < 0:
            assert self._read(deadline), f"{text!r} did not come, but {self.seen!r}"
        self._read_to = at + len(text)

    def end(self) -> int:
        """Wait for the end of the program; return its status as a shell shows it."""
        deadline = time.monotonic() + PATIENCE_S
        while self._read(deadline):
            pass
        status = self.process.wait(PATIENCE_S)
        return status if status >= 0 else 128 - status

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            raise AssertionError(f"nothing more came after {self.seen!r}")
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.seen += data
        return bool(data)

    def close(self) -> None:
        """Leave; what still runs goes."""
        os.close(self.master)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
