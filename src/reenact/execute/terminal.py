"""Pseudo-terminals between a run's process and the user's terminal.

The process's terminal is set up as the user's is, and does what that would do: it echoes, edits
lines and turns Ctrl-C into a signal, or not, as the process wishes (`getpass`, `readline`, pdb). The
user's terminal passes keys on as they are meanwhile. Only the conversion of line ends in output is
left to it, so that the bytes of the output stay what they were.
Not covered: keys that were typed ahead and that nobody read are lost at the run's end; a process
that the script leaves running gets the hangup that the end of a session means.
"""

from __future__ import annotations

import fcntl
import os
import signal
import termios
from typing import Any, NamedTuple

_INPUT, _OUTPUT, _LOCAL, _KEYS = 0, 1, 3, 6
"""Places in what `tcgetattr` returns."""

_SIGNAL_KEYS = (
    (termios.VINTR, signal.SIGINT),
    (termios.VQUIT, signal.SIGQUIT),
    (termios.VSUSP, signal.SIGTSTP),
)


class Pty(NamedTuple):
    """Both ends of a pseudo-terminal."""

    master: int
    slave: int


def open_pty(like: int) -> Pty:
    """Open a pseudo-terminal that is set up as the terminal `like`, but changes no byte of output.

    Raises:
        OSError: the system has none to give.
    """
    master, slave = os.openpty()
    os.set_inheritable(slave, False)
    try:
        attributes = termios.tcgetattr(like)
    except termios.error as error:
        os.close(master)
        os.close(slave)
        raise OSError(*error.args) from error
    attributes[_OUTPUT] &= ~termios.OPOST
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


class Keyboard:
    """What is typed at the user's terminal, for a pseudo-terminal.

    It is held only while we are in the foreground: a background process that sets up the terminal
    is stopped.
    """

    def __init__(self, terminal: int, master: int) -> None:
        self.terminal = terminal
        self.master = master
        self._before: list[Any] | None = None

    @property
    def is_held(self) -> bool:
        """Tell whether keys come to us as they are typed."""
        return self._before is not None

    def hold(self) -> bool:
        """Take the keys from now on; False in the background, and where that has been done."""
        if self.is_held or not is_foreground(self.terminal):
            return False
        try:
            self._before = termios.tcgetattr(self.terminal)
            termios.tcsetattr(self.terminal, termios.TCSANOW, _as_keys(self._before))
        except termios.error:
            self._before = None
        return self.is_held

    def release(self) -> None:
        """Put the user's terminal back as it was."""
        before, self._before = self._before, None
        if before is not None and is_foreground(self.terminal):
            try:
                termios.tcsetattr(self.terminal, termios.TCSANOW, before)
            except termios.error:
                pass

    def signals(self, keys: bytes) -> list[signal.Signals]:
        """Return the signals that keys mean, as the process has set its terminal up."""
        try:
            attributes = termios.tcgetattr(self.master)
        except termios.error:
            return []
        if not attributes[_LOCAL] & termios.ISIG:
            return []
        meanings = {attributes[_KEYS][place]: number for place, number in _SIGNAL_KEYS}
        meanings.pop(b"\0", None)
        return [meanings[key] for at in range(len(keys)) if (key := keys[at : at + 1]) in meanings]


def _as_keys(attributes: list[Any]) -> list[Any]:
    """Return attributes with which every key is one byte to read, and nothing more."""
    changed = [*attributes[:_KEYS], list(attributes[_KEYS])]
    changed[_INPUT] &= ~(
        termios.BRKINT
        | termios.ICRNL
        | termios.IGNCR
        | termios.INLCR
        | termios.INPCK
        | termios.ISTRIP
        | termios.IXON
    )
    changed[_LOCAL] &= ~(
        termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN | termios.ISIG
    )
    changed[_KEYS][termios.VMIN] = 1
    changed[_KEYS][termios.VTIME] = 0
    return changed
