from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commands import PATIENCE_S, wait_until
from reenact.execute.sampler import (
    Sampler,
    _choose,
    _heir,
    _Key,
    _Process,
    _ProcFileSystem,
    _Psutil,
    _System,
)
from reenact.model.metrics import SAMPLED, Point
from reenact.snapshot.machine import find_nvidia

MB = 1 << 20

# Children print a line when they are ready, and go on when they are sent one.
BURN = "import time\nend = time.process_time() + {s}\nwhile time.process_time() < end: pass\n"
READY = "print('ready', flush=True)\nimport sys\nsys.stdin.readline()\n"

NVML = r"""
#include <stdlib.h>
#include <string.h>
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned gpu, memory; } Rates;
typedef struct { unsigned pid; unsigned long long used; unsigned gi, ci; } Running;
typedef struct { unsigned pid; unsigned long long time; unsigned sm, mem, enc, dec; } Use;
static long number(const char *name) { char *n = getenv(name); return n ? atol(n) : 0; }
int nvmlInitWithFlags(unsigned flags) { return number("FAKE_BROKEN"); }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return "Driver Not Loaded"; }
int nvmlDeviceGetCount_v2(unsigned *to) { *to = number("FAKE_GPUS"); return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **to) { *to = (void *)(long)(i + 1); return 0; }
int nvmlDeviceGetMemoryInfo(void *gpu, Memory *to) { to->used = (long)gpu * 1000; return 0; }
int nvmlDeviceGetUtilizationRates(void *gpu, Rates *to) {
    to->gpu = number("FAKE_PERCENT"); return 0;
}
#ifdef PROCESSES
int nvmlDeviceGetComputeRunningProcesses_v3(void *gpu, unsigned *count, Running *to) {
    if ((long)gpu != 1) { *count = 0; return 0; }
    if (!to) { *count = 2; return 7; }
    *count = 2;
    to[0] = (Running){number("FAKE_PID"), 300, 0, 0};
    to[1] = (Running){1, 500, 0, 0};
    return 0;
}
int nvmlDeviceGetProcessUtilization(void *gpu, Use *to, unsigned *count, unsigned long long since) {
    if (number("FAKE_IDLE")) return 6;
    if (!to) { *count = 3; return 7; }
    *count = 3;
    to[0] = (Use){number("FAKE_PID"), 10, 11, 0, 0, 0};
    to[1] = (Use){number("FAKE_PID"), 20, 40, 0, 0, 0};
    to[2] = (Use){1, 20, 50, 0, 0, 0};
    return 0;
}
#endif
"""

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")


class Child:
    """A real process in a group and session of its own, as a run has."""

    def __init__(self, code: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.pid = self.process.pid

    def wait_for_line(self) -> bytes:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def end(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(PATIENCE_S)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


Start = Callable[[str], Child]


@pytest.fixture
def start() -> Iterator[Start]:
    children: list[Child] = []

    def begin(code: str) -> Child:
        children.append(Child(code))
        return children[-1]

    yield begin
    for child in children:
        child.end()


def values(points: list[Point]) -> dict[str, float]:
    return {point.name: point.value for point in points}


def cpu_s(sampler: Sampler) -> float:
    usage = sampler.usage()
    return (usage.cpu_user_s or 0) + (usage.cpu_system_s or 0)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def is_zombie(pid: int) -> bool:
    return state_of(pid) == "Z"


@linux_only
class TestSampler:
    def test_points_bear_the_time_and_count_from_zero(self, start: Start) -> None:
        child = start(READY)
        sampler = Sampler(child.pid)
        child.wait_for_line()

        first, second = sampler.sample(11), sampler.sample(22)

        assert {(point.step, point.time_ns) for point in first} == {(0, 11)}
        assert {(point.step, point.time_ns) for point in second} == {(1, 22)}
        assert all(point.name.startswith(SAMPLED) for point in first)

    def test_every_name_is_in_the_reference(self, start: Start) -> None:
        page = Path(__file__).parents[3] / "docs" / "reference" / "system-metrics.md"
        child = start(READY)
        sampler = Sampler(child.pid)

        names = values(sampler.sample(0))

        text = page.read_text()
        assert len(names) >= 8
        assert [name for name in names if f"`{name}`" not in text] == []

    def test_a_busy_process_shows_its_cpu_time(self, start: Start) -> None:
        child = start(BURN.format(s=0.5) + READY)
        sampler = Sampler(child.pid)
        child.wait_for_line()

        percent = values(sampler.sample(0))["system/cpu_percent"]

        # A small part of one CPU where others want it, too.
        assert 0 < percent <= 110
        assert 0.45 <= cpu_s(sampler) < 3

    def test_an_idle_process_uses_nothing(self, start: Start) -> None:
        child = start(READY)
        sampler = Sampler(child.pid)
        child.wait_for_line()
        wait_until(lambda: state_of(child.pid) == "S", what="it waits for a line")
        sampler.sample(0)

        assert values(sampler.sample(0))["system/cpu_percent"] == 0

    def test_memory_is_that_of_now_and_the_peak_is_kept(self, start: Start) -> None:
        child = start(f"x = bytearray(b'x') * {64 * MB}\n{READY}del x\n{READY}")
        sampler = Sampler(child.pid)
        child.wait_for_line()
        full = values(sampler.sample(0))["system/memory_bytes"]
        child.go_on()
        child.wait_for_line()

        empty = values(sampler.sample(0))["system/memory_bytes"]

        assert full - empty > 60 * MB
        assert sampler.usage().max_memory_bytes == full
        assert sampler.usage().samples == 2

    def test_bytes_written_to_disk_are_counted(self, start: Start, tmp_path: Path) -> None:
        child = start(
            f"f = open({str(tmp_path / 'x')!r}, 'wb')\nf.write(bytes({8 * MB}))\n"
            f"f.flush()\nimport os\nos.fsync(f.fileno())\n{READY}"
        )
        sampler = Sampler(child.pid)
        child.wait_for_line()

        rates = values(sampler.sample(0))

        if "system/disk_written_bytes_per_s" not in rates:
            pytest.skip("this system does not tell a process's disk use")
        if _file_system_type(tmp_path) in ("tmpfs", "ramfs"):
            pytest.skip("the temporary directory is not on a disk")
        assert (sampler.usage().write_bytes or 0) >= 8 * MB
        assert rates["system/disk_written_bytes_per_s"] > 0

    def test_children_and_their_children_count(self, start: Start) -> None:
        child = start(
            "import subprocess, sys\n"
            'code = \'import subprocess, sys; subprocess.run([sys.executable, "-c", '
            '"print(1, flush=True); import time; time.sleep(600)"])\'\n'
            "subprocess.run([sys.executable, '-c', code])\n"
        )
        sampler = Sampler(child.pid)
        child.wait_for_line()

        assert values(sampler.sample(0))["system/processes"] == 3

    def test_children_that_ended_between_two_samples_count_once(self, start: Start) -> None:
        child = start(
            READY + f"import subprocess\nsubprocess.run([sys.executable, '-c', "
            f"{BURN.format(s=0.3)!r}])\n" + READY
        )
        sampler = Sampler(child.pid)
        child.wait_for_line()
        sampler.sample(0)
        child.go_on()
        child.wait_for_line()

        sampler.sample(0)
        again = values(sampler.sample(0))["system/cpu_percent"]

        assert 0.25 <= cpu_s(sampler) < 2
        assert again == 0

    def test_a_child_seen_alive_is_not_counted_again_when_it_ends(self, start: Start) -> None:
        child = start(
            "import subprocess, sys\n"
            f"code = {BURN.format(s=0.4)!r} + 'print(1, flush=True); input()'\n"
            "p = subprocess.Popen([sys.executable, '-c', code], stdin=subprocess.PIPE)\n"
            "sys.stdin.readline()\np.communicate(b'\\n')\n" + READY
        )
        sampler = Sampler(child.pid)
        child.wait_for_line()
        sampler.sample(0)
        before = cpu_s(sampler)
        child.go_on()
        child.wait_for_line()

        percent = values(sampler.sample(0))["system/cpu_percent"]

        assert 0.35 < before <= cpu_s(sampler) < before + 0.3
        assert percent >= 0

    def test_an_orphan_that_ends_does_not_make_the_use_negative(self, start: Start) -> None:
        child = start(
            "import os, subprocess, sys\n"
            f"code = {BURN.format(s=0.3)!r} + 'print(1, flush=True); input()'\n"
            "r, w = os.pipe()\n"
            "if os.fork() == 0:\n"
            "    subprocess.Popen([sys.executable, '-c', code], stdin=r)\n"
            "    os._exit(0)\n"
            "os.wait()\n"
            "sys.stdin.readline()\n"
            "os.write(w, b'\\n')\n" + READY
        )
        sampler = Sampler(child.pid)
        child.wait_for_line()
        assert values(sampler.sample(0))["system/processes"] == 2
        before = cpu_s(sampler)
        child.go_on()
        child.wait_for_line()
        percents = []

        def is_alone() -> bool:
            found = values(sampler.sample(0))
            percents.append(found["system/cpu_percent"])
            return found["system/processes"] == 1

        wait_until(is_alone, what="it is alone")
        assert min(percents) >= 0
        assert before >= 0.25
        assert cpu_s(sampler) >= before

    def test_what_stays_in_the_session_counts_after_its_parents_have_gone(
        self, start: Start
    ) -> None:
        child = start(
            "import os, time\n"
            "if os.fork() == 0:\n"
            "    os.setpgid(0, 0)\n"
            "    if os.fork() == 0:\n"
            "        print('ready', flush=True)\n        time.sleep(600)\n"
            "    os._exit(0)\n"
            "os.wait()\n"
            "import sys\nsys.stdin.readline()\n"
        )
        sampler = Sampler(child.pid)
        child.wait_for_line()
        assert values(sampler.sample(0))["system/processes"] == 2
        child.go_on()
        child.process.wait(PATIENCE_S)

        remaining = values(sampler.sample(0))["system/processes"]
        for key in _ProcFileSystem().processes():
            if _session_of(key.pid) == child.pid:
                os.kill(key.pid, signal.SIGKILL)

        assert remaining == 1

    def test_one_that_was_seen_counts_after_it_left_group_and_session(self, start: Start) -> None:
        child = start(
            "import os, sys, time\n"
            "r, w = os.pipe()\n"
            "if os.fork() == 0:\n"
            "    os.read(r, 1)\n    os.setsid()\n    print('left', flush=True)\n"
            "    time.sleep(600)\n    os._exit(0)\n"
            "print('ready', flush=True)\nsys.stdin.readline()\nos.write(w, b'x')\n"
        )
        sampler = Sampler(child.pid)
        child.wait_for_line()
        sampler.sample(0)
        child.go_on()
        child.process.wait(PATIENCE_S)
        assert child.wait_for_line() == b"left"

        remaining = values(sampler.sample(0))["system/processes"]
        for key in sampler._members:
            os.kill(key.pid, signal.SIGKILL)

        assert remaining == 1

    def test_a_process_of_somebody_else_does_not_count(self, start: Start) -> None:
        child, other = start(READY), start(READY)
        sampler = Sampler(child.pid)
        child.wait_for_line()
        other.wait_for_line()

        assert values(sampler.sample(0))["system/processes"] == 1

    def test_a_process_group_in_the_session_of_others_takes_only_its_own(self) -> None:
        processes = [
            subprocess.Popen(["sleep", "60"], process_group=0),
            subprocess.Popen(["sleep", "60"]),
        ]
        try:
            points = Sampler(processes[0].pid).sample(0)
        finally:
            for process in processes:
                process.kill()
                process.wait()

        assert values(points)["system/processes"] == 1

    def test_a_zombie_holds_no_memory_but_its_time_counts(self, start: Start) -> None:
        child = start(
            "import os, sys, time\n"
            f"pid = os.fork()\nif pid == 0:\n    {BURN.format(s=0.2).replace(chr(10), chr(10) + '    ')}"
            "os._exit(0)\n"
            "print(pid, flush=True)\nsys.stdin.readline()\n"
        )
        sampler = Sampler(child.pid)
        zombie = int(child.wait_for_line())
        wait_until(lambda: is_zombie(zombie), what="it has ended")

        found = values(sampler.sample(0))

        assert found["system/processes"] == 1
        assert cpu_s(sampler) >= 0.15

    def test_nothing_is_said_when_no_process_is_left(self, start: Start) -> None:
        child = start(READY)
        sampler = Sampler(child.pid)
        child.wait_for_line()
        sampler.sample(0)
        before = sampler.usage()
        child.end()

        assert sampler.sample(0) == []
        assert sampler.usage() == before

    def test_a_process_that_has_ended_but_was_not_waited_for_is_not_running(
        self, start: Start
    ) -> None:
        child = start("")
        wait_until(lambda: is_zombie(child.pid), what="it has ended")

        assert Sampler(child.pid).sample(0) == []

    def test_a_run_that_was_never_sampled_has_an_empty_usage(self) -> None:
        usage = Sampler(2**22).usage()

        assert usage.max_memory_bytes is None
        assert usage.samples == 0

    def test_the_first_sample_comes_soon_and_the_others_at_leisure(self, start: Start) -> None:
        child = start(READY)
        sampler = Sampler(child.pid)

        first = sampler.next_interval()
        sampler.sample(0)

        assert first == 2.0
        assert 5.0 <= sampler.next_interval() <= 15.0

    def test_long_runs_and_costly_samples_are_sampled_less_often(self, start: Start) -> None:
        child = start(READY)
        sampler = Sampler(child.pid)
        sampler.sample(0)
        sampler._cost_s = 0.0

        sampler._born -= 1200
        after_twenty_minutes = sampler.next_interval()
        sampler._born -= 100_000
        after_a_day = sampler.next_interval()
        sampler._cost_s = 0.5
        on_a_crowded_machine = sampler.next_interval()

        assert after_twenty_minutes == pytest.approx(10.0, abs=0.1)
        assert after_a_day == 15.0
        assert on_a_crowded_machine == 100.0

    def test_a_program_with_a_strange_name_is_read(self, start: Start, tmp_path: Path) -> None:
        strange = tmp_path / "a) R 1 (b"
        shutil.copy("/bin/sleep", strange)
        process = subprocess.Popen([strange, "60"], start_new_session=True)
        try:
            found = values(Sampler(process.pid).sample(0))
        finally:
            process.kill()
            process.wait()

        assert found["system/processes"] == 1


@pytest.mark.parametrize(
    "system", [pytest.param(_ProcFileSystem, marks=linux_only), _Psutil], ids=["proc", "psutil"]
)
class TestSystems:
    """Every way to read processes tells the same."""

    def find(self, system: _System, pid: int) -> _Process | None:
        return next((p for key, p in system.processes().items() if key.pid == pid), None)

    def test_a_process_is_described(self, system: type[_System], start: Start) -> None:
        child = start(f"x = b'x' * {32 * MB}\n{BURN.format(s=0.2)}{READY}")
        child.wait_for_line()

        found = self.find(system(), child.pid)

        assert found is not None
        assert (found.parent, found.group, found.session) == (os.getpid(), child.pid, child.pid)
        assert found.is_alive
        assert found.memory_bytes > 32 * MB
        assert 0.15 < found.cpu_user_s + found.cpu_system_s < 2

    def test_times_include_children_that_were_waited_for(
        self, system: type[_System], start: Start
    ) -> None:
        code = BURN.format(s=0.3)
        child = start(
            f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {code!r}])\n{READY}"
        )
        child.wait_for_line()

        found = self.find(system(), child.pid)

        assert found is not None
        assert found.cpu_user_s + found.cpu_system_s >= 0.25

    def test_a_zombie_is_not_alive(self, system: type[_System], start: Start) -> None:
        child = start("")
        reader = system()
        wait_until(
            lambda: not getattr(self.find(reader, child.pid), "is_alive", True), what="it is seen"
        )

    def test_a_process_that_is_gone_has_no_disk_use(self, system: type[_System]) -> None:
        assert system().disk_bytes(2**22 + 1) is None

    def test_the_network_is_counted_in_bytes(self, system: type[_System]) -> None:
        counted = system().network_bytes()

        assert counted is None or (len(counted) == 2 and min(counted) >= 0)

    def test_a_process_keeps_its_key(self, system: type[_System]) -> None:
        reader = system()
        keys = [{key for key in reader.processes() if key.pid == os.getpid()} for _ in range(2)]

        assert len(keys[0]) == 1
        assert keys[0] == keys[1]


def process(parent: int, *, group: int = 1, session: int = 1) -> _Process:
    return _Process(parent, group, session, True, 0.0, 0.0, 0)


class TestChoosing:
    def test_an_id_given_to_another_process_is_another_process(self) -> None:
        known = {_Key(7, 100): process(1)}

        assert _choose({_Key(7, 200): process(1)}, 5, known) == {}

    def test_the_heir_of_an_ended_process_is_its_nearest_running_ancestor(self) -> None:
        root, middle, leaf = _Key(5, 1), _Key(6, 1), _Key(7, 1)
        before = {root: process(1), middle: process(5), leaf: process(6)}

        assert _heir(leaf, before, {root: process(1)}) == root
        assert _heir(leaf, before, {middle: process(1)}) == middle
        assert _heir(root, before, {leaf: process(1)}) is None

    def test_a_circle_of_reused_ids_ends(self) -> None:
        first, second = _Key(5, 1), _Key(6, 1)
        before = {first: process(6), second: process(5)}

        assert _heir(first, before, {}) is None


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")
@pytest.mark.skipif(find_nvidia() is not None, reason="this machine has an NVIDIA driver")
class TestGpus:
    def sample(self, libraries: Path, *options: str, code: str = "", **env: str) -> list[str]:
        """Sample in a process of its own: the loader reads its search path once, at the start."""
        source = libraries / "nvml.c"
        source.write_text(NVML)
        library = libraries / "libnvidia-ml.so.1"
        subprocess.run(["gcc", "-shared", "-fPIC", *options, source, "-o", library], check=True)
        script = (
            "import os, subprocess, time\n"
            "from reenact.execute.sampler import Sampler\n"
            "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
            "if 'HIDE_PID' not in os.environ: os.environ['FAKE_PID'] = str(child.pid)\n"
            "sampler = Sampler(child.pid)\n"
            f"deadline = time.monotonic() + {PATIENCE_S}\n"
            "found = {}\n"
            "while not any('gpu' in n for n in found) and time.monotonic() < deadline:\n"
            "    found = {p.name: p.value for p in sampler.sample(0)}\n"
            "    if sampler.gpu_failure: break\n"
            "    time.sleep(0.01)\n"
            f"{code}\n"
            "for name, value in found.items():\n"
            "    if 'gpu' in name: print(name, value)\n"
            "if sampler.gpu_failure: print('failure:', sampler.gpu_failure)\n"
            "sampler.close()\nchild.kill()\nchild.wait()\n"
        )
        answer = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "LD_LIBRARY_PATH": str(libraries), **env},
            capture_output=True,
            text=True,
            check=True,
        )
        assert answer.stderr == ""
        return answer.stdout.splitlines()

    def test_the_machines_gpus_and_the_runs_share_are_told_apart(self, tmp_path: Path) -> None:
        lines = self.sample(tmp_path, "-DPROCESSES", FAKE_GPUS="2", FAKE_PERCENT="90")

        assert lines == [
            "machine/gpu0_percent 90.0",
            "machine/gpu0_memory_bytes 1000.0",
            "system/gpu0_memory_bytes 300.0",
            "system/gpu0_percent 40.0",
            "machine/gpu1_percent 90.0",
            "machine/gpu1_memory_bytes 2000.0",
        ]

    def test_a_run_that_does_not_use_its_gpu_now_uses_none_of_it(self, tmp_path: Path) -> None:
        lines = self.sample(tmp_path, "-DPROCESSES", FAKE_GPUS="1", FAKE_IDLE="1")

        assert "system/gpu0_percent 0.0" in lines

    def test_a_share_that_the_driver_does_not_tell_is_not_made_up(self, tmp_path: Path) -> None:
        lines = self.sample(tmp_path, FAKE_GPUS="1", FAKE_PERCENT="5")

        assert lines == ["machine/gpu0_percent 5.0", "machine/gpu0_memory_bytes 1000.0"]

    def test_processes_that_are_not_the_runs_are_not_its_share(self, tmp_path: Path) -> None:
        lines = self.sample(tmp_path, "-DPROCESSES", FAKE_GPUS="1", HIDE_PID="1")

        assert lines == ["machine/gpu0_percent 0.0", "machine/gpu0_memory_bytes 1000.0"]

    def test_a_driver_that_fails_is_told_and_the_rest_is_sampled(self, tmp_path: Path) -> None:
        lines = self.sample(
            tmp_path,
            FAKE_GPUS="1",
            FAKE_BROKEN="9",
            code="assert 'system/cpu_percent' in {p.name for p in sampler.sample(0)}",
        )

        assert lines == ["failure: Driver Not Loaded"]


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _file_system_type(path: Path) -> str:
    answer = subprocess.run(
        ["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()
