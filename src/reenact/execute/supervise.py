"""Run a command as a child process on this machine and watch over it until its end.

The child leads a session and process group of its own. Its output passes through to ours byte for
byte, and to a listener. Signals that ask us to end are handed on, the child first gets the chance
to end by itself, and what was asked for is reported.

Covered: the whole process group is stopped, politely first; output keeps its order per stream; the
child's exit status is exact. A reader that goes away (`| head`) is felt by the child as it would be
without us, unless its command needs none.
Not covered: a grandchild that moves itself to another session outlives its run. The order between
the two streams is that in which their bytes reached us. Other descriptors that we inherited and
hand on stay open in us, too: their other end feels no end of them before ours.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, NamedTuple

from reenact.errors import CannotRun
from reenact.execute.streams import Flow, Listener, Stream, can_take
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

_ASKING = frozenset([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
_KEYS_AT_ONCE = 1024
_PIPE_SIZE = 1 << 20
_TICK_S = 0.1
_ECHO_MS = 20
_MOST_READS = 100
_GATHER_S = 0.001
"""Pause between reads while output is flowing: many small writes become one read."""
_GRACE_S = 0.5
"""How long to wait for more output after the end while a descendant holds the pipe open."""
_MOST_GRACE_S = 2.0
"""How long to listen to a descendant that goes on printing after the end."""


class Command(NamedTuple):
    """What to start.

    Attributes:
        words: program and arguments.
        cwd: working directory.
        env: the whole environment.
        forwards: output goes on to our own standard output and error.
        has_input: the child shares our standard input; otherwise it reads nothing.
        time_limit_s: stop it after that many seconds.
        needs_reader: the child feels that the reader of our output has gone, as it would without
            us; otherwise it does not, and goes on for the listener alone.
        descriptors: file descriptors beside the standard ones that the child shares with us.
    """

    words: Sequence[str]
    cwd: str
    env: Mapping[str, str]
    forwards: bool = True
    has_input: bool = True
    time_limit_s: float | None = None
    needs_reader: bool = True
    descriptors: tuple[int, ...] = ()


class Child:
    """A started command: build it, then `watch` it once, or `kill` it.

    From before the start until then the signals that ask this process to end are kept for `watch`,
    which hands them on.

    Attributes:
        used: what the process used, and those of its descendants that were waited for; None before
            its end, and where the system did not tell.
        memory_before: our own peak when it was started, as `getrusage` counts: the system takes it
            for the child's, which began as a copy of us. What is not larger says nothing of it.
    """

    def __init__(self, command: Command) -> None:
        self.command = command
        self.started_ns = 0
        self.ended_ns = 0
        self.used: resource.struct_rusage | None = None
        self.memory_before = 0
        self._requested: str | None = None
        self._streams: dict[int, Stream] = {}
        self._keyboard: Keyboard | None = None
        self._signals: list[int] = []
        self._takes_signals = False
        self._shared: set[int] = set()
        self._interrupts = 0
        self._plan: list[tuple[signal.Signals, float | None]] = []
        self._next_step_at: float | None = None
        self._stop_asked: Callable[[], bool] = lambda: False
        self._listener: Listener
        self._restore: Callable[[], None] = self._take_signals()
        try:
            self._process = self._start()
        except BaseException:
            self._restore()
            raise
        self.pid = self._process.pid

    def watch(self, listener: Listener, *, stop_asked: Callable[[], bool]) -> Exit:
        """Pass output on until the child has ended; return how it did.

        Args:
            listener: told about everything.
            stop_asked: says whether a SIGTERM comes from `reenact stop`.
        """
        self._stop_asked = stop_asked
        self._listener = listener
        try:
            self._loop(self._wake_read)
        finally:
            if self._keyboard is not None:
                self._keyboard.release()
            self._restore()
            for stream in self._streams.values():
                stream.close()
        code = self._process.returncode
        if code < 0:
            return Exit(signal=-code, requested=self._requested)
        return Exit(code=code, requested=self._requested)

    def kill(self) -> None:
        """End the process group at once, when nobody will watch it."""
        self._send(signal.SIGKILL)
        self._process.wait()
        self._restore()

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
            process = subprocess.Popen(
                command.words,
                cwd=command.cwd,
                env=env,
                stdin=child_input,
                stdout=out,
                stderr=err,
                pass_fds=command.descriptors,
                start_new_session=True,
                # Costs a slower fork, so only where there is a terminal to take.
                preexec_fn=None  # noqa: PLW1509  # it makes one system call, whatever threads run
                if slave is None
                else lambda: take_as_controlling_terminal(slave),
            )
        except (OSError, subprocess.SubprocessError) as error:
            for stream in self._streams.values():
                stream.close()
            raise _cannot_start(command, error) from error
        else:
            # Afterwards: what we have used until then is what the system may have copied.
            self.memory_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return process
        finally:
            for descriptor in closing:
                os.close(descriptor)

    def _open_stream(self, stream: int, ours: int, pty: Pty | None, closing: list[int]) -> int:
        forward = ours if self.command.forwards else None
        if pty is not None:
            self._add_stream(stream, pty.master, forward, is_terminal=True)
            return pty.slave
        read, write = os.pipe()
        closing.append(write)
        _enlarge(read)
        self._add_stream(stream, read, forward, is_terminal=False)
        return write

    def _add_stream(
        self, stream: int, descriptor: int, forward: int | None, *, is_terminal: bool
    ) -> None:
        self._streams[descriptor] = Stream(
            stream,
            descriptor,
            forward,
            is_terminal=is_terminal,
            needs_reader=self.command.needs_reader,
        )

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
        last_chance = 0.0
        blocked: dict[int, Stream] = {}
        has_ended = False
        while open_streams or not has_ended:
            now = time.monotonic()
            wait_ms = max(0.0, next_tick - now) * 1000
            ready = poll.poll(wait_ms)
            read_something = False
            for descriptor, _ in ready:
                if descriptor == wake_read:
                    _drain(wake_read)
                elif descriptor in open_streams or descriptor in blocked:
                    stream = blocked.get(descriptor) or self._streams[descriptor]
                    flow = stream.push() if descriptor in blocked else stream.pass_on(listener)
                    read_something = read_something or flow is Flow.ON
                    self._follow(poll, stream, flow, blocked)
                    if flow is Flow.ENDED:
                        open_streams.discard(stream.descriptor)
                elif descriptor == 0 and not self._pass_keys():
                    # The next tick tries again.
                    poll.unregister(0)
            if not has_ended and self._has_ended():
                has_ended = True
                self.ended_ns = time.time_ns()
                for descriptor in open_streams:
                    self._streams[descriptor].note_end()
                give_up_at = time.monotonic() + _GRACE_S
                last_chance = time.monotonic() + _MOST_GRACE_S
                if pidfd is not None:
                    poll.unregister(pidfd)
                    os.close(pidfd)
                    pidfd = None
            now = time.monotonic()
            if has_ended:
                if read_something:
                    give_up_at = min(now + _GRACE_S, last_chance)
                owing = any(self._streams[descriptor].is_owing for descriptor in open_streams)
                if give_up_at is not None and now >= give_up_at and not blocked and not owing:
                    break
                if any(n in _ASKING and n not in self._shared for n in self._signals):
                    for descriptor in open_streams:
                        self._streams[descriptor].keep_rest(listener)
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

    def _has_ended(self) -> bool:
        """Take note of the end of the process, and of what it used."""
        try:
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
        except ChildProcessError:
            # Whoever started us has the system wait for our children.
            return self._process.poll() is not None
        if pid == 0:
            return False
        self.used = used
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return True

    def _follow(
        self, poll: select.poll, stream: Stream, flow: Flow, blocked: dict[int, Stream]
    ) -> None:
        """Wait for what a stream needs next: bytes, room in front of it, or nothing any more."""
        forward = stream.forward
        if flow is Flow.BLOCKED and forward is not None:
            if forward not in blocked:
                blocked[forward] = stream
                poll.unregister(stream.descriptor)
                poll.register(forward, select.POLLOUT)
            return
        if forward is not None and blocked.pop(forward, None) is not None:
            poll.unregister(forward)
            poll.register(stream.descriptor, select.POLLIN)
        if flow is Flow.ENDED:
            poll.unregister(stream.descriptor)
            if self._keyboard is not None and self._keyboard.master == stream.descriptor:
                self._drop_keyboard()
            # Where our own reader has gone, the child shall feel it.
            stream.close()

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
        if not can_take(keyboard.master):
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

    def _take_signals(self) -> Callable[[], None]:
        """Keep signals from now on; return how to undo it."""

        def remember(number: int, _: FrameType | None) -> None:
            self._signals.append(number)

        self._wake_read, wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(wake_write, False)
        former: dict[int, Any] = {}
        former_wakeup = -1
        # Python delivers signals to its main thread only.
        self._takes_signals = threading.current_thread() is threading.main_thread()
        if self._takes_signals:
            former_wakeup = signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)

        def restore() -> None:
            for number, handler in former.items():
                signal.signal(number, handler)
            if self._takes_signals:
                signal.set_wakeup_fd(former_wakeup)
            os.close(self._wake_read)
            os.close(wake_write)

        if not self._takes_signals:
            return restore
        for number in (*_HANDED_ON, signal.SIGWINCH, signal.SIGCONT):
            handler = signal.getsignal(number)
            # `nohup` and shells that start us in the background have asked for these to be ignored.
            if handler is signal.SIG_IGN and number != signal.SIGWINCH:
                continue
            former[number] = signal.signal(number, remember)
        return restore

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
            if stream.is_open and not stream.is_blocked:
                poll.register(stream.descriptor, select.POLLIN)
        for _ in range(_MOST_READS):
            ready = poll.poll(_ECHO_MS)
            if not ready:
                break
            for descriptor, _ in ready:
                if self._streams[descriptor].pass_on(self._listener) is not Flow.ON:
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


def inherited_descriptors() -> tuple[int, ...]:
    """Return the descriptors beside the standard ones that whoever started us meant for us to use.

    What Python opens itself is not inheritable, so this holds as long as no other library has
    opened anything: ask at the beginning.
    """
    found = []
    for name in os.listdir("/dev/fd"):
        try:
            if int(name) > 2 and os.get_inheritable(int(name)):
                found.append(int(name))
        except OSError:
            continue  # That which read the directory.
    return tuple(sorted(found))


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
