from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands import PATIENCE_S
from reenact.store.lock import Lock, SharedLock, is_locked, process_start
from refusals import needs_refusals, without_locks

HOLD = """
import sys
from reenact.store.lock import Lock
lock = Lock(sys.argv[1])
print(lock.acquire(), lock.has_system_lock, flush=True)
sys.stdin.readline()
lock.release(remove="remove" in sys.argv)
print("released", flush=True)
"""
ASK = """
import sys
from reenact.store.lock import is_locked
print(is_locked(sys.argv[1]))
"""
ASK_FOREVER = """
import sys
from reenact.store.lock import is_locked
print("ready", flush=True)
while True:
    is_locked(sys.argv[1])
"""
TRY = """
import sys
from reenact.store.lock import Lock
lock = Lock(sys.argv[1])
print(lock.acquire(wait="wait" in sys.argv), lock.has_system_lock)
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "lock")


class Holder:
    """A process that holds a lock until it is told to let go."""

    def __init__(self, path: str, *words: str, before: Callable[[], None] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, path, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=before,  # noqa: PLW1509  # no threads run
        )
        assert self.process.stdout
        self.answer = self.process.stdout.readline().strip()

    def let_go(self) -> None:
        out, _ = self.process.communicate("\n")
        assert out == "released\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def say(words: str, *arguments: str, before: Callable[[], None] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-c", words, *arguments],
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=before,
        timeout=PATIENCE_S,
    )
    return done.stdout.strip()


def test_a_lock_is_held_by_a_living_process_and_free_after_its_end(path: str) -> None:
    assert not is_locked(path)

    holder = Holder(path)
    assert is_locked(path)
    assert not Lock(path).acquire()

    holder.let_go()
    assert not is_locked(path)
    assert Lock(path).acquire()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_is_free_after_its_holder_was_killed(path: str, number: signal.Signals) -> None:
    holder = Holder(path)

    holder.process.send_signal(number)
    holder.process.communicate()

    assert not is_locked(path)
    assert Lock(path).acquire()


def test_children_of_the_holder_do_not_hold_it_after_its_death(path: str) -> None:
    words = (
        "import subprocess, sys, time\nfrom reenact.store.lock import Lock\n"
        "assert Lock(sys.argv[1]).acquire()\n"
        "child = subprocess.Popen(['sleep', '600'])\nprint(child.pid, flush=True)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", words, path], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        process.kill()
    try:
        assert not is_locked(path)
    finally:
        os.kill(child, signal.SIGKILL)


def test_asking_disturbs_nobody(path: str) -> None:
    """However many ask at once, the lock can be taken, and nobody takes another for its holder."""
    open(path, "w").close()
    askers = [
        subprocess.Popen([sys.executable, "-c", ASK_FOREVER, path], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    try:
        for asker in askers:
            assert asker.stdout
            asker.stdout.readline()
        assert not any(is_locked(path) for _ in range(2000))
        lock = Lock(path)
        taken = []
        for _ in range(100):
            taken.append(lock.acquire())
            lock.release()
    finally:
        for asker in askers:
            asker.kill()
            asker.communicate()

    assert all(taken)


def test_a_lock_can_be_waited_for(path: str) -> None:
    holder = Holder(path)
    waiting = threading.Thread(target=lambda: Lock(path).acquire(wait=True))
    waiting.start()

    holder.let_go()
    waiting.join(timeout=PATIENCE_S)

    assert not waiting.is_alive()


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_anew(path: str) -> None:
    """The last holder removes the file; who has just opened it must not lock a file of no name."""
    holder = Holder(path, "remove")
    taken: list[Lock] = []

    def wait() -> None:
        lock = Lock(path)
        lock.acquire(wait=True)
        taken.append(lock)

    waiting = threading.Thread(target=wait)
    waiting.start()
    holder.let_go()
    waiting.join(timeout=PATIENCE_S)

    assert len(taken) == 1
    assert is_locked(path)


def test_a_removed_lock_leaves_no_file(path: str) -> None:
    lock = Lock(path)
    lock.acquire()

    lock.release(remove=True)
    lock.release()

    assert not os.path.exists(path)


def test_many_share_a_lock_and_keep_out_whoever_wants_it_alone(path: str) -> None:
    with SharedLock(path), SharedLock(path):
        assert not Lock(path).acquire()

    assert Lock(path).acquire()


def test_who_shares_does_not_count_as_a_holder(path: str) -> None:
    with SharedLock(path):
        assert not is_locked(path)


def test_who_wants_to_share_need_not_wait(path: str) -> None:
    holder = Holder(path)
    shared = SharedLock(path)

    assert not shared.acquire(wait=False)
    holder.let_go()
    assert shared.acquire(wait=False)

    shared.release(remove=True)
    shared.release()
    assert not os.path.exists(path)


def test_who_wants_to_share_waits_for_the_end_of_who_is_alone(path: str) -> None:
    holder = Holder(path)
    entered = threading.Event()

    def share() -> None:
        with SharedLock(path):
            entered.set()

    sharer = threading.Thread(target=share)
    sharer.start()
    assert not entered.wait(0.05)

    holder.let_go()
    assert entered.wait(PATIENCE_S)
    sharer.join()


def test_a_lock_is_taken_on_a_full_disk_too(path: str) -> None:
    words = (
        "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n" + TRY
    )

    assert say(words, path) == "True True"


def test_a_directory_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Lock(str(tmp_path / "gone" / "lock")).acquire()


class TestWithoutLocks:
    """On a file system that has no locks, the holder's process, its start and its boot count."""

    @pytest.fixture(autouse=True)
    def refusals(self) -> None:
        needs_refusals()

    def ask(self, path: str) -> str:
        return say(ASK, path, before=without_locks)

    def try_to_take(self, path: str, *words: str) -> str:
        return say(TRY, path, *words, before=without_locks)

    def test_a_living_holder_holds_it(self, path: str) -> None:
        holder = Holder(path, before=without_locks)

        assert holder.answer == "True False"
        assert self.ask(path) == "True"
        assert self.try_to_take(path) == "False False"

        holder.let_go()
        assert self.ask(path) == "False"
        assert self.try_to_take(path) == "True False"

    def test_a_killed_holder_holds_it_no_more(self, path: str) -> None:
        holder = Holder(path, before=without_locks)

        holder.kill()

        assert self.ask(path) == "False"
        assert self.try_to_take(path) == "True False"

    def test_another_process_with_the_id_of_the_holder_does_not_hold_it(self, path: str) -> None:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        Path(path).write_text(f"{os.getpid()} 1 {boot} {os.uname().nodename}\n")

        assert self.ask(path) == "False"

    def test_this_very_process_holds_it(self, path: str) -> None:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        Path(path).write_text(
            f"{os.getpid()} {process_start(os.getpid())} {boot} {os.uname().nodename}\n"
        )

        assert self.ask(path) == "True"

    def test_a_holder_on_another_machine_counts_as_living(self, path: str) -> None:
        Path(path).write_text("1 1 00000000-0000-0000-0000-000000000000 elsewhere\n")

        assert self.ask(path) == "True"

    def test_a_holder_of_before_a_reboot_does_not_hold_it(self, path: str) -> None:
        before = f"1 1 00000000-0000-0000-0000-000000000000 {os.uname().nodename}\n"
        Path(path).write_text(before)

        assert self.ask(path) == "False"

    @pytest.mark.parametrize("content", ["", "12", "a b c d e", "\udcff"])
    def test_a_file_that_says_nothing_holds_nothing(self, path: str, content: str) -> None:
        Path(path).write_bytes(os.fsencode(content))

        assert self.ask(path) == "False"

    def test_it_can_be_waited_for(self, path: str) -> None:
        holder = Holder(path, before=without_locks)
        with subprocess.Popen(
            [sys.executable, "-c", TRY, path, "wait"],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=without_locks,  # noqa: PLW1509  # no threads run
        ) as waiting:
            with pytest.raises(subprocess.TimeoutExpired):
                waiting.wait(0.3)
            holder.let_go()
            out, _ = waiting.communicate(timeout=PATIENCE_S)

        assert out == "True False\n"

    def test_sharing_is_not_refused(self, path: str) -> None:
        words = "import sys\nfrom reenact.store.lock import SharedLock\nwith SharedLock(sys.argv[1]): print(1)"

        assert say(words, path, before=without_locks) == "1"

    def test_sharing_without_waiting_is_refused_while_a_holder_lives(self, path: str) -> None:
        words = "import sys\nfrom reenact.store.lock import SharedLock\nprint(SharedLock(sys.argv[1]).acquire(wait=False))"
        holder = Holder(path, before=without_locks)

        assert say(words, path, before=without_locks) == "False"
        holder.let_go()
        assert say(words, path, before=without_locks) == "True"


def test_a_process_is_known_by_its_id_and_its_start() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        start = process_start(process.pid)
        assert start is not None
        assert process_start(process.pid) == start
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

        assert process_start(process.pid) is None

    assert process_start(2**22 + 1) is None


def test_a_strange_name_of_a_process_does_not_confuse(tmp_path: Path) -> None:
    program = tmp_path / ") R 1 2 (3"
    program.symlink_to("/bin/sleep")

    with subprocess.Popen([program, "60"]) as process:
        start: Any = process_start(process.pid)
        process.kill()

    assert int(start) > 100
