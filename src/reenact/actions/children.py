"""Run the parts of a run, several at once, each watched over by a process forked from this one.

Promised: a part is started once there is a place for it and its source hands it out; what asks us to
end reaches all parts; every end is told, in the order in which parts ended, and no process is left
unwaited. When we are killed the parts go on to their ends by themselves, each with its record.
Not covered: processes that a part's own supervisor does not stop, see `execute.supervise`. Other
threads of this process do not exist in its forks: nobody may hold a lock in one of them meanwhile.
"""

from __future__ import annotations

import itertools
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NamedTuple, NoReturn, Protocol

from reenact.errors import EXIT_BUG, EXIT_FAILED, CannotRun, NotFound, ReenactError, UsageError
from reenact.execute.terminal import is_foreground
from reenact.model.identity import RunId
from reenact.model.run import Exit, Run
from reenact.model.words import counted
from reenact.store.files import write_atomically
from reenact.store.store import STOP_MARKER, Store, StoredRun

_TICK_S = 0.2
_TICK_WITHOUT_PIDFD_S = 0.02
_MOST_TOLD = 1 << 16
_ASKING = {signal.SIGINT: "interrupt", signal.SIGTERM: "terminate", signal.SIGHUP: "hangup"}
_REQUESTED = {name: number for number, name in _ASKING.items()} | {"stop": signal.SIGTERM}
_HANDED_ON = (*_ASKING, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)


class Place(NamedTuple):
    """What a part is given to run with.

    Attributes:
        gpus: value for CUDA_VISIBLE_DEVICES; None leaves the choice to the part.
        has_terminal: what it prints goes on to ours and what is typed goes to it, as for a single
            run. Else others run beside it, and it is quiet.
    """

    number: int
    gpus: str | None = None
    has_terminal: bool = False


class Part(NamedTuple):
    """A run to start.

    Attributes:
        run_id: of the run that it will be.
        name: what messages call it.
        body: called in a process of its own, with its place; runs it to its end.
    """

    run_id: RunId
    name: str
    body: Callable[[Place], object]


class End(NamedTuple):
    """What came of a part. `stored` is None where there is no run; `problem` then says why."""

    part: Part
    stored: StoredRun | None
    problem: str | None


class Source(Protocol):
    """Where parts come from."""

    def ask(self) -> Part | None:
        """Return a part that can start now; None where there is none at this moment."""
        ...

    def tell(self, end: End) -> None:
        """Hear how a part ended. More may be ready then."""
        ...

    @property
    def is_waiting(self) -> bool:
        """Whether more may become ready although nothing runs."""
        ...


class Listener(Protocol):
    """Who is told what happens."""

    def started(self, part: Part, place: Place) -> None:
        """Hear that a part starts."""
        ...

    def tick(self, children: Children) -> None:
        """Use the time while parts run; called several times a second."""
        ...


def exit_when_asked(requested: str) -> Exit:
    """Return how a run of runs has ended that somebody asked for an early end: see `run_parts`."""
    return Exit(signal=_REQUESTED[requested], requested=requested)


def make_places(
    jobs: int | None, gpus_per_part: int | None, gpus: Sequence[str] | None
) -> list[Place]:
    """Decide how many parts run at once and which GPUs each of them sees.

    Args:
        jobs: how many; None for one, or as many as there are GPUs for.
        gpus_per_part: how many GPUs each of them gets; None leaves GPUs alone.
        gpus: names of those that there are; None where nobody knows.

    Raises:
        UsageError: there are fewer than one part needs.
    """
    if not gpus_per_part:
        count = 1 if jobs is None else jobs
        return [Place(number, has_terminal=count == 1) for number in range(count)]
    if gpus is None:
        raise UsageError(
            "nobody knows which GPUs there are",
            hint="name them: `CUDA_VISIBLE_DEVICES=0,1 reenact run …`",
        )
    most = len(gpus) // gpus_per_part
    if most == 0:
        raise UsageError(
            f"each needs {counted(gpus_per_part, 'GPU')}, and there {'is' if len(gpus) == 1 else 'are'} "
            f"{len(gpus) or 'none'}"
        )
    count = most if jobs is None else min(jobs, most)
    shares = [gpus[at * gpus_per_part : (at + 1) * gpus_per_part] for at in range(count)]
    return [
        Place(number, ",".join(share), has_terminal=count == 1)
        for number, share in enumerate(shares)
    ]


def run_parts(
    source: Source,
    places: Sequence[Place],
    store: Store,
    listener: Listener,
    *,
    stop_asked: Callable[[], bool] = lambda: False,
    in_fork: Callable[[], None] = lambda: None,
) -> str | None:
    """Run all parts that a source hands out; return who asked for an early end, if anybody did.

    Args:
        source: where parts come from.
        places: where they run; there is one part in each at most.
        store: where their runs are.
        listener: told what happens.
        stop_asked: says whether a SIGTERM comes from `reenact stop`.
        in_fork: called in each part's process before anything else: gives back what is ours alone.
    """
    return Children(source, places, store, listener, stop_asked, in_fork).run()


class _Running(NamedTuple):
    part: Part
    place: Place
    pid: int
    pidfd: int | None
    told: int
    has_own_group: bool


class Children:
    """The parts that run now."""

    def __init__(
        self,
        source: Source,
        places: Sequence[Place],
        store: Store,
        listener: Listener,
        stop_asked: Callable[[], bool],
        in_fork: Callable[[], None],
    ) -> None:
        self._source = source
        self._free = list(places)
        self._store = store
        self._listener = listener
        self._stop_asked = stop_asked
        self._in_fork = in_fork
        self._running: dict[int, _Running] = {}
        self._signals: list[int] = []
        self._requested: str | None = None
        self._wake = (-1, -1)
        self._former: dict[int, Any] = {}

    @property
    def running(self) -> list[Part]:
        """The parts that run, in the order in which they were started."""
        return [child.part for child in self._running.values()]

    def pid_of(self, run_id: RunId) -> int | None:
        """Return the process that watches over a part; None where none does."""
        return next((c.pid for c in self._running.values() if c.part.run_id == run_id), None)

    def stop(self, run_id: RunId) -> None:
        """Ask one part to end, as `reenact stop` does."""
        for child in self._running.values():
            if child.part.run_id == run_id:
                self._mark_stopped(child)
                self._send(child, signal.SIGTERM)

    def run(self) -> str | None:
        """Run everything."""
        with self._taking_signals():
            while True:
                self._fill()
                if not self._running and (self._requested or not self._source.is_waiting):
                    return self._requested
                self._wait()
                self._handle_signals()
                self._reap()
                self._listener.tick(self)

    def _fill(self) -> None:
        while self._free and self._requested is None:
            self._handle_signals()
            part = self._source.ask()
            if part is None:
                return
            place = self._free.pop(0)
            self._listener.started(part, place)
            self._start(part, place)

    # --- a part's process ---

    def _start(self, part: Part, place: Place) -> None:
        # With our terminal a part stays in our process group, which is the one in the foreground.
        has_own_group = not (place.has_terminal and os.isatty(0) and is_foreground(0))
        read, write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        # Signals wait until the fork can tell itself from us.
        signal.pthread_sigmask(signal.SIG_BLOCK, self._former)
        try:
            pid = os.fork()
            if pid == 0:
                self._be(part, place, write, has_own_group)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._former)
        os.close(write)
        if has_own_group:
            with suppress(OSError):  # Whoever of us comes second.
                os.setpgid(pid, pid)
        self._running[pid] = _Running(part, place, pid, _open_pidfd(pid), read, has_own_group)

    def _be(self, part: Part, place: Place, answer: int, has_own_group: bool) -> NoReturn:
        status = EXIT_BUG
        try:
            if has_own_group:
                os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            others = [fd for child in self._running.values() for fd in (child.told, child.pidfd)]
            for descriptor in (*self._wake, *others):
                if descriptor is not None:
                    os.close(descriptor)
            self._in_fork()
            for number, handler in self._former.items():
                if handler is not signal.SIG_IGN:
                    asks = number in _ASKING
                    signal.signal(number, _leave if asks else signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._former)
            part.body(place)
            status = 0
        except ReenactError as error:
            status = error.exit_status
            hint = f"; {error.hint}" if error.hint else ""
            _tell(answer, f"{error.message}{hint}")
        except _AskedToLeaveError:
            status = EXIT_FAILED
            _tell(answer, "it was asked to end before it began")
        except BaseException as error:  # noqa: BLE001  # our own bug must not go on as if it were the parent
            traceback.print_exc()
            _tell(answer, f"a bug in Reenact: {type(error).__name__}: {error}")
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        for pid, child in list(self._running.items()):
            try:
                found, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                found, status = pid, 0  # Whoever started us has the system wait for our children.
                if _is_alive(pid):
                    continue
            if found == 0:
                continue
            del self._running[pid]
            problem = _told(child.told)
            os.close(child.told)
            if child.pidfd is not None:
                os.close(child.pidfd)
            if not problem and os.WIFSIGNALED(status):
                problem = f"its supervisor was killed by signal {os.WTERMSIG(status)}"
            self._free.append(child.place)
            self._free.sort()
            stored = None
            with suppress(NotFound):
                stored = self._store.read_run(child.part.run_id)
            self._source.tell(End(child.part, stored, problem or None))

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._wake[0], select.POLLIN)
        tick_s = _TICK_S
        for child in self._running.values():
            if child.pidfd is None:
                tick_s = _TICK_WITHOUT_PIDFD_S
            else:
                poll.register(child.pidfd, select.POLLIN)
        poll.poll(tick_s * 1000)
        with suppress(BlockingIOError):
            while os.read(self._wake[0], 4096):
                pass

    # --- signals ---

    @contextmanager
    def _taking_signals(self) -> Iterator[None]:
        def remember(number: int, _: FrameType | None) -> None:
            self._signals.append(number)

        self._wake = os.pipe()
        for descriptor in self._wake:
            os.set_blocking(descriptor, False)
        wakeup = signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        try:
            for number in (*_HANDED_ON, signal.SIGTSTP):
                # `nohup` and shells that start us in the background have asked to ignore some.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._former[number] = signal.signal(number, remember)
            yield
        finally:
            for taken, handler in self._former.items():
                signal.signal(taken, handler)
            signal.set_wakeup_fd(wakeup)
            for descriptor in self._wake:
                os.close(descriptor)

    def _handle_signals(self) -> None:
        while self._signals:
            number = signal.Signals(self._signals.pop(0))
            if number == signal.SIGTSTP:
                self._suspend()
                continue
            reason = _ASKING.get(number)
            if number == signal.SIGTERM and self._stop_asked():
                reason = "stop"
            self._requested = self._requested or reason
            for child in self._running.values():
                if reason == "stop":
                    self._mark_stopped(child)
                # What the terminal sends reaches those in our group without us.
                if child.has_own_group or number in (signal.SIGTERM, signal.SIGHUP):
                    self._send(child, number)

    def _suspend(self) -> None:
        for child in self._running.values():
            if child.has_own_group:
                self._send(child, signal.SIGTSTP)
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)

    def _mark_stopped(self, child: _Running) -> None:
        with suppress(OSError):
            path = self._store.record_path(child.part.run_id, STOP_MARKER)
            write_atomically(path, b"", sync=False)

    def _send(self, child: _Running, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(child.pid, number)


class _AskedToLeaveError(BaseException):
    """A signal came before there was a process to hand it on to."""


_begun: list[RunId] = []


def begun(run: Run) -> None:
    """Take note, in a part's process, that there is something to record from now on.

    What asks for the end after that of the run itself must not keep its record from being written.
    """
    _begun.append(run.id)


def _leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    if not _begun:
        raise _AskedToLeaveError


def _tell(descriptor: int, text: str) -> None:
    with suppress(OSError):
        os.write(descriptor, text.encode(errors="backslashreplace")[:_MOST_TOLD])


def _told(descriptor: int) -> str:
    os.set_blocking(descriptor, False)
    with suppress(OSError):
        return os.read(descriptor, _MOST_TOLD).decode(errors="replace")
    return ""


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def find_gpus(env: Mapping[str, str]) -> list[str] | None:
    """Return the names of the GPUs that runs may use; None where nobody knows."""
    named = env.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        names = [name.strip() for name in named.split(",")]
        # As CUDA reads it: what stands behind a bad name is not seen.
        return list(itertools.takewhile(lambda name: name not in ("", "-1"), names))
    from reenact.snapshot.gpu import capture_gpus, find_nvidia

    if find_nvidia() is None:
        return []
    gpus = capture_gpus().gpus
    # A UUID is the same card for everybody; numbers depend on an order that can be set.
    return None if gpus is None else [g.uuid or str(n) for n, g in enumerate(gpus)]


def warm_up() -> None:
    """Import what every part needs, so that it is there in their processes."""
    import reenact.actions.run
    import reenact.execute.census
    import reenact.execute.inputs
    import reenact.execute.recorder
    import reenact.interop.tensorboard
    import reenact.snapshot.environment
    import reenact.snapshot.libraries
    import reenact.snapshot.machine
    import reenact.snapshot.state
    import reenact.snapshot.tools
    import reenact.store.index  # noqa: F401


def check_jobs(jobs: int, *, in_place: bool) -> None:
    """Raise CannotRun when parts would work in each other's files."""
    if jobs > 1 and in_place:
        raise CannotRun(
            "runs in place cannot run side by side", hint="leave out `--in-place` or `--jobs`"
        )
