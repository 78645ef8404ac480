"""Pseudo-terminals between a run's process and the user's terminal.

The user's terminal stays in its usual mode: it echoes and edits lines, and Ctrl-C interrupts the
supervisor, which hands it on. Ours only make `isatty` true and pass bytes through unchanged.
Not covered: programs that draw the whole screen and read single keys.
"""

from __future__ import annotations

import fcntl
import os
import termios
from typing import NamedTuple


class Pty(NamedTuple):
    """Both ends of a pseudo-terminal."""

    master: int
    slave: int


def open_pty(like: int) -> Pty:
    """Open a pseudo-terminal of the size of the terminal `like` that changes no byte.

    Raises:
        OSError: the system has none to give.
    """
    master, slave = os.openpty()
    os.set_inheritable(slave, False)
    attributes = termios.tcgetattr(slave)
    attributes[1] &= ~termios.OPOST
    # The user's terminal has echoed what was typed.
    attributes[3] &= ~(termios.ECHO | termios.ECHONL)
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    copy_size(like, master)
    return Pty(master, slave)


def copy_size(source: int, target: int) -> None:
    """Give one terminal the width and height of another."""
    try:
        size = fcntl.ioctl(source, termios.TIOCGWINSZ, b"\0" * 8)
        fcntl.ioctl(target, termios.TIOCSWINSZ, size)
    except OSError:
        pass


def is_foreground(descriptor: int) -> bool:
    """Tell whether we may read from a terminal without being stopped for it."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False


def take_as_controlling_terminal(slave: int) -> None:
    """Make a pseudo-terminal that of this process's new session; for use between fork and exec."""
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
