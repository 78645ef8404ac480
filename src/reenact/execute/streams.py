"""The output of a run's process on its way to a listener and to our own reader, without waiting."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import sys
import termios
import time
from enum import Enum
from typing import Protocol

from reenact.store.files import write_all

_READ = 1 << 18
_AT_ONCE = 4096
"""A pipe that can be written to takes as many bytes without waiting (PIPE_BUF on Linux)."""


class Listener(Protocol):
    """Who wants to know what happens. No method may raise; all are called in one thread."""

    def output(self, stream: int, data: bytes, time_ns: int) -> None:
        """Take bytes that came from the child."""

    def tick(self, now_s: float) -> None:
        """Do what is due; called about ten times a second, and seldom when output is heavy."""


class Flow(Enum):
    """What became of a stream's bytes."""

    ON = "on"
    BLOCKED = "blocked"
    """Whoever reads our output has no room for more."""
    ENDED = "ended"


class Stream:
    """One of the child's output streams and where it goes."""

    def __init__(
        self,
        stream: int,
        descriptor: int,
        forward: int | None,
        *,
        is_terminal: bool,
        needs_reader: bool = True,
    ) -> None:
        self.stream = stream
        self.descriptor = descriptor
        self.forward = forward
        self.is_terminal = is_terminal
        self.is_open = True
        self._needs_reader = needs_reader
        self._is_unheard = False
        self._waits = forward is not None and not _takes_everything(forward)
        self._pending = memoryview(b"")
        self._read_bytes = 0
        self._owed_bytes = 0

    def note_end(self) -> None:
        """Remember how much the child has left in the stream: that much is read in any case."""
        try:
            unread = fcntl.ioctl(self.descriptor, termios.FIONREAD, bytes(4))
        except OSError:
            return  # Of a kind that does not say it.
        self._owed_bytes = self._read_bytes + int.from_bytes(unread, sys.byteorder)

    @property
    def is_owing(self) -> bool:
        """There are bytes that the child has left and that nobody has read."""
        return self.is_open and self._read_bytes < self._owed_bytes

    @property
    def is_blocked(self) -> bool:
        """There are bytes that our reader has not taken."""
        return len(self._pending) > 0

    def pass_on(self, listener: Listener) -> Flow:
        """Read once, and hand on what our reader takes."""
        try:
            data = os.read(self.descriptor, _READ)
        except OSError as error:
            # Linux says so when the last process has closed a pseudo-terminal.
            if error.errno != errno.EIO:
                raise
            return Flow.ENDED
        if not data:
            return Flow.ENDED
        self._read_bytes += len(data)
        listener.output(self.stream, data, time.time_ns())
        self._pending = memoryview(data)
        return self.push()

    def keep_rest(self, listener: Listener) -> None:
        """Read what the child has left for the listener alone; our reader gets nothing more."""
        self.forward = None
        while self.is_owing and self.pass_on(listener) is not Flow.ENDED:
            pass

    def push(self) -> Flow:
        """Hand on what has been read, as far as that does not make us wait."""
        if self.forward is None or self._is_unheard:
            self._pending = memoryview(b"")
            return Flow.ON
        try:
            if not self._waits:
                write_all(self.forward, self._pending)
                self._pending = memoryview(b"")
            while self._pending:
                if not can_take(self.forward):
                    return Flow.BLOCKED
                written = os.write(self.forward, self._pending[:_AT_ONCE])
                self._pending = self._pending[written:]
        except BlockingIOError:
            return Flow.BLOCKED
        except OSError as error:
            self._pending = memoryview(b"")
            if self._needs_reader or error.errno != errno.EPIPE:
                return Flow.ENDED
            # `forward` stays what it is: whoever waits for room in front of it looks it up.
            self._is_unheard = True
        return Flow.ON

    def close(self) -> None:
        """Let the child feel that nobody reads any more."""
        if self.is_open:
            self.is_open = False
            os.close(self.descriptor)


def _takes_everything(descriptor: int) -> bool:
    """Tell whether writing never waits for a reader: files do not, pipes and terminals do."""
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return True


def can_take(descriptor: int) -> bool:
    """Tell whether there is room, so that writing a little does not wait; or a refusal to hear."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))
