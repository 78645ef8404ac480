"""Run a command as a child process on this machine and watch over it until its end.

The child leads a session and process group of its own. Its output passes through to ours byte for
byte, and to a listener. Signals that ask us to end are handed on, the child first gets the chance
to end by itself, and what was asked for is reported.

Covered: the whole process group is stopped, politely first; output keeps its order per stream; the
child's exit status is exact. A reader that goes away (`| head`) is felt by the child as it would be
without us.
Not covered: a grandchild that moves itself to another session outlives its run. The order between
the two streams is that in which their bytes reached us.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, NamedTuple, Protocol

from reenact.errors import CannotRun
from reenact.execute.terminal import (
    Keyboard,
    Pty,
    copy_size,
    is_foreground,
    open_pty,
    take_as_controlling_terminal,
)
from reenact.model.run import Exit
from reenact.store.files import write_all
from reenact.store.output_log import STDERR, STDOUT

PATIENCE = ((signal.SIGINT, 5.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, None))
"""How a run is stopped by `stop` or a time limit: each signal, and the seconds to wait after it."""

TERMINATION = ((signal.SIGTERM, 10.0), (signal.SIGKILL, None))
"""How a SIGTERM to us is handed on."""

_HANDED_ON = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGTSTP")
    if hasattr(signal, name)
)
_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
"""What the first, second and third Ctrl-C come to."""

_READ = 1 << 18
_KEYS_AT_ONCE = 1024
_PIPE_SIZE = 1 << 20
_TICK_S = 0.1
_ECHO_MS = 20
_MOST_READS = 100
_GATHER_S = 0.001
"""Pause between reads while output is flowing: many small writes become one read."""
_GRACE_S = 0.5
"""How long to wait for more output after the end while a descendant holds the pipe open."""


class Listener(Protocol):
    """Who wants to know what happens. No method may raise; all are called in one thread."""

    def output(self, stream: int, data: bytes, time_ns: int) -> None:
        """Take bytes that came from the child."""

    def tick(self, now_s: float) -> None:
        """Do what is due; called about ten times a second, and seldom when output is heavy."""


class Command(NamedTuple):
    """What to start.

    Attributes:
        words: program and arguments.
        cwd: working directory.
        env: the whole environment.
        forwards: output goes on to our own standard output and error.
        has_input: the child shares our standard input; otherwise it reads nothing.
        time_limit_s: stop it after that many seconds.
    """

    words: Sequence[str]
    cwd: str
    env: Mapping[str, str]
    forwards: bool = True
    has_input: bool = True
    time_limit_s: float | None = None


class Child:
    """A started command. Use `start`, then `watch` once."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.started_ns = 0
        self.ended_ns = 0
        self._requested: str | None = None
        self._streams: dict[int, _Stream] = {}
        self._keyboard: Keyboard | None = None
        self._signals: list[int] = []
        self._takes_signals = False
        self._shared: set[int] = set()
        self._interrupts = 0
        self._plan: list[tuple[signal.Signals, float | None]] = []
        self._next_step_at: float | None = None
        self._stop_asked: Callable[[], bool] = lambda: False
        self._listener: Listener
        self._process = self._start()
        self.pid = self._process.pid

    def watch(self, listener: Listener, *, stop_asked: Callable[[], bool]) -> Exit:
        """Pass output on until the child has ended; return how it did.

        Args:
            listener: told about everything.
            stop_asked: says whether a SIGTERM comes from `reenact stop`.
        """
        self._stop_asked = stop_asked
        self._listener = listener
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        # Python delivers signals to its main thread only.
        self._takes_signals = threading.current_thread() is threading.main_thread()
        if self._takes_signals:
            former_wakeup = signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
            former = self._take_signals()
        try:
            self._loop(wake_read)
        finally:
            if self._keyboard is not None:
                self._keyboard.release()
            if self._takes_signals:
                for number, handler in former.items():
                    signal.signal(number, handler)
                signal.set_wakeup_fd(former_wakeup)
            os.close(wake_read)
            os.close(wake_write)
            for stream in self._streams.values():
                stream.close()
        code = self._process.returncode
        if code < 0:
            return Exit(signal=-code, requested=self._requested)
        return Exit(code=code, requested=self._requested)

    def kill(self) -> None:
        """End the process group at once, when nobody will watch it."""
        self._send(signal.SIGKILL)

    # --- start ---

    def _start(self) -> subprocess.Popen[bytes]:
        command = self.command
        terminal: Pty | None = None
        input_is_terminal = command.has_input and _is_terminal(0)
        output_is_terminal = command.forwards and _is_terminal(1)
        closing: list[int] = []
        env = dict(command.env)
        child_input: int | None = None if command.has_input else subprocess.DEVNULL
        try:
            if output_is_terminal:
                terminal = open_pty(1)
                closing.append(terminal.slave)
            out = self._open_stream(STDOUT, 1, terminal, closing)
            error_pty = open_pty(2) if command.forwards and _is_terminal(2) else None
            if error_pty is not None:
                closing.append(error_pty.slave)
            err = self._open_stream(STDERR, 2, error_pty, closing)
            if terminal is None:
                status = os.fstat(out)
                env["REENACT_STDOUT"] = f"{status.st_dev}:{status.st_ino}"
            is_controlling = input_is_terminal and terminal is not None
            if input_is_terminal and terminal is not None:
                child_input = terminal.slave
                self._keyboard = Keyboard(0, terminal.master)
            elif input_is_terminal and not is_foreground(0):
                # It would read what is meant for the shell. In the foreground it shares the user's
                # terminal with those that our output goes to, such as `less`.
                child_input = subprocess.DEVNULL
            slave = terminal.slave if terminal is not None and is_controlling else None
            self.started_ns = time.time_ns()
            return subprocess.Popen(
                command.words,
                cwd=command.cwd,
                env=env,
                stdin=child_input,
                stdout=out,
                stderr=err,
                start_new_session=True,
                # Costs a slower fork, so only where there is a terminal to take.
                preexec_fn=None  # noqa: PLW1509  # no threads run yet
                if slave is None
                else lambda: take_as_controlling_terminal(slave),
            )
        except (OSError, subprocess.SubprocessError) as error:
            for stream in self._streams.values():
                stream.close()
            raise _cannot_start(command, error) from error
        finally:
            for descriptor in closing:
                os.close(descriptor)

    def _open_stream(self, stream: int, ours: int, pty: Pty | None, closing: list[int]) -> int:
        forward = ours if self.command.forwards else None
        if pty is not None:
            self._streams[pty.master] = _Stream(stream, pty.master, forward, is_terminal=True)
            return pty.slave
        read, write = os.pipe()
        closing.append(write)
        _enlarge(read)
        self._streams[read] = _Stream(stream, read, forward, is_terminal=False)
        return write

    # --- watch ---

    def _loop(self, wake_read: int) -> None:
        listener = self._listener
        poll = select.poll()
        poll.register(wake_read, select.POLLIN)
        for descriptor in self._streams:
            poll.register(descriptor, select.POLLIN)
        self._hold_keyboard(poll)
        pidfd = _open_pidfd(self.pid)
        if pidfd is not None:
            poll.register(pidfd, select.POLLIN)
        deadline = None
        if self.command.time_limit_s is not None:
            deadline = time.monotonic() + self.command.time_limit_s
        next_tick = time.monotonic() + _TICK_S
        give_up_at: float | None = None
        open_streams = set(self._streams)
        has_ended = False
        while open_streams or not has_ended:
            now = time.monotonic()
            wait_ms = max(0.0, next_tick - now) * 1000
            ready = poll.poll(wait_ms)
            read_something = False
            for descriptor, _ in ready:
                if descriptor == wake_read:
                    _drain(wake_read)
                elif descriptor in open_streams:
                    if self._streams[descriptor].pass_on(listener):
                        read_something = True
                    else:
                        poll.unregister(descriptor)
                        open_streams.discard(descriptor)
                        if self._keyboard is not None and self._keyboard.master == descriptor:
                            self._drop_keyboard()
                        # Where our own reader has gone, the child shall feel it.
                        self._streams[descriptor].close()
                elif descriptor == 0 and not self._pass_keys():
                    # The next tick tries again.
                    poll.unregister(0)
            if not has_ended and self._process.poll() is not None:
                has_ended = True
                self.ended_ns = time.time_ns()
                give_up_at = time.monotonic() + _GRACE_S
                if pidfd is not None:
                    poll.unregister(pidfd)
                    os.close(pidfd)
                    pidfd = None
            now = time.monotonic()
            if has_ended:
                if read_something and give_up_at is not None:
                    give_up_at = now + _GRACE_S
                if give_up_at is not None and now >= give_up_at:
                    break
            else:
                self._handle_signals(poll)
                if deadline is not None and now >= deadline:
                    deadline = None
                    self._request("time-limit", PATIENCE)
                self._take_next_step(now)
            if now >= next_tick:
                listener.tick(now)
                self._hold_keyboard(poll)
                next_tick = time.monotonic() + _TICK_S
            if read_something and not has_ended:
                time.sleep(_GATHER_S)

    def _hold_keyboard(self, poll: select.poll) -> None:
        keyboard = self._keyboard
        if keyboard is not None and (keyboard.hold() or keyboard.is_held):
            poll.register(0, select.POLLIN)

    def _pass_keys(self) -> bool:
        """Hand on what was typed; False when there is nothing to read or nobody to take it now."""
        keyboard = self._keyboard
        if keyboard is None:
            return False
        if not is_foreground(0):
            keyboard.release()
            return False
        if not _can_take(keyboard.master):
            return False
        try:
            keys = os.read(0, _KEYS_AT_ONCE)
            signals = keyboard.signals(keys)
            write_all(keyboard.master, keys)
        except OSError:
            keys = b""
        if not keys:
            self._drop_keyboard()
            return False
        for number in signals:
            self._typed(number)
        return True

    def _drop_keyboard(self) -> None:
        if self._keyboard is not None:
            self._keyboard.release()
            self._keyboard = None

    def _typed(self, number: signal.Signals) -> None:
        """Do what a terminal does beside sending the signal to the run's processes."""
        if number == signal.SIGINT:
            self._count_interrupt()
            if self._interrupts > 1:
                self._send(_INTERRUPTIONS[min(self._interrupts, 3) - 1])
        if not self._takes_signals:
            return
        if number != signal.SIGTSTP:
            self._shared.add(number)
        # Those who wait for us, such as a shell script, are in our process group.
        os.killpg(os.getpgrp(), number)

    # --- signals ---

    def _take_signals(self) -> dict[int, Any]:
        def remember(number: int, _: FrameType | None) -> None:
            self._signals.append(number)

        former: dict[int, Any] = {}
        for number in (*_HANDED_ON, signal.SIGWINCH, signal.SIGCONT):
            handler = signal.getsignal(number)
            # `nohup` and shells that start us in the background have asked for these to be ignored.
            if handler is signal.SIG_IGN and number != signal.SIGWINCH:
                continue
            former[number] = signal.signal(number, remember)
        return former

    def _handle_signals(self, poll: select.poll) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if number in self._shared:
                continue
            if number == signal.SIGWINCH:
                self._resize()
            elif number == signal.SIGCONT:
                self._send(signal.SIGCONT)
                self._hold_keyboard(poll)
            elif number == signal.SIGTSTP:
                self._suspend()
            elif number == signal.SIGINT:
                self._count_interrupt()
                self._send(_INTERRUPTIONS[min(self._interrupts, 3) - 1])
            elif number == signal.SIGTERM:
                if self._stop_asked():
                    self._request("stop", PATIENCE)
                else:
                    self._request("terminate", TERMINATION)
            elif number == signal.SIGHUP:
                self._request("hangup", ((signal.SIGHUP, 10.0), *TERMINATION))
            else:
                self._send(signal.Signals(number))
        self._shared.clear()

    def _count_interrupt(self) -> None:
        self._interrupts += 1
        self._requested = self._requested or "interrupt"

    def _suspend(self) -> None:
        """Stop the run and ourselves until a SIGCONT."""
        if self._keyboard is not None:
            self._keyboard.release()
        # The system ignores SIGTSTP for a group that no shell watches over, as the run's is.
        self._send(signal.SIGSTOP)
        self._pass_rest()
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)
        if self._keyboard is not None:
            self._keyboard.hold()
        self._send(signal.SIGCONT)

    def _pass_rest(self) -> None:
        """Pass on what the run had printed when it was stopped, and the echo of the key."""
        poll = select.poll()
        for stream in self._streams.values():
            if stream.is_open:
                poll.register(stream.descriptor, select.POLLIN)
        for _ in range(_MOST_READS):
            ready = poll.poll(_ECHO_MS)
            if not ready:
                break
            for descriptor, _ in ready:
                if not self._streams[descriptor].pass_on(self._listener):
                    poll.unregister(descriptor)

    def _request(self, reason: str, plan: Sequence[tuple[signal.Signals, float | None]]) -> None:
        self._requested = self._requested or reason
        self._plan = list(plan)
        self._next_step_at = time.monotonic()

    def _take_next_step(self, now: float) -> None:
        if self._next_step_at is None or now < self._next_step_at:
            return
        number, patience = self._plan.pop(0)
        self._send(number)
        self._next_step_at = None if patience is None or not self._plan else now + patience

    def _send(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass

    def _resize(self) -> None:
        for stream in self._streams.values():
            if stream.is_terminal and stream.forward is not None:
                copy_size(stream.forward, stream.descriptor)
        self._send(signal.SIGWINCH)


class _Stream:
    """One of the child's output streams and where it goes."""

    def __init__(
        self, stream: int, descriptor: int, forward: int | None, *, is_terminal: bool
    ) -> None:
        self.stream = stream
        self.descriptor = descriptor
        self.forward = forward
        self.is_terminal = is_terminal
        self.is_open = True

    def pass_on(self, listener: Listener) -> bool:
        """Read once; False at the end."""
        try:
            data = os.read(self.descriptor, _READ)
        except OSError as error:
            # Linux says so when the last process has closed a pseudo-terminal.
            if error.errno != errno.EIO:
                raise
            return False
        if not data:
            return False
        if self.forward is not None:
            try:
                write_all(self.forward, data)
            except OSError:
                listener.output(self.stream, data, time.time_ns())
                return False
        listener.output(self.stream, data, time.time_ns())
        return True

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            os.close(self.descriptor)


def _cannot_start(command: Command, error: Exception) -> CannotRun:
    program = command.words[0]
    if isinstance(error, OSError):
        if error.errno == errno.ENOENT and not os.path.isdir(command.cwd):
            return CannotRun(f"the working directory `{command.cwd}` does not exist")
        if error.errno == errno.ENOENT:
            return CannotRun(
                f"there is no program `{program}`",
                hint="is it installed, and on PATH in this shell?",
            )
        if error.errno == errno.EACCES:
            return CannotRun(f"`{program}` may not be executed", hint=f"try `chmod +x {program}`")
        if error.errno == errno.ENOEXEC:
            return CannotRun(
                f"`{program}` is no program",
                hint="a script begins with a line such as `#!/bin/sh`",
            )
    return CannotRun(f"cannot start `{program}`: {error}")


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def _can_take(master: int) -> bool:
    """Tell whether a pseudo-terminal has room for keys, so that writing them does not wait."""
    poll = select.poll()
    poll.register(master, select.POLLOUT)
    return bool(poll.poll(0))


def _open_pidfd(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _enlarge(pipe: int) -> None:
    if sys.platform == "linux":
        import fcntl

        try:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        except OSError:
            pass


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        pass
