from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from commands import wait_until
from drivers import build_nvml
from reenact.model.run import Conditions, GpuState, MachineState
from reenact.snapshot.gpu import find_nvidia
from reenact.snapshot.state import Watch, cpus_granted, look, memory_limit, noise

QUIET = Conditions(
    before=MachineState(throttles=3), after=MachineState(throttles=3), cpus=8, others_cpu_s=1.0
)


def with_gpus(before: GpuState, after: GpuState) -> Conditions:
    return Conditions(
        before=MachineState(gpus=(GpuState(), before)),
        after=MachineState(gpus=(GpuState(), after)),
        cpus=8,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
class TestLook:
    def test_the_facts_are_those_that_the_system_tells(self) -> None:
        state = look()

        assert state.load is not None
        available = psutil.virtual_memory().available
        assert state.memory_available_bytes == pytest.approx(available, rel=0.2)

    def test_affinity_limits_what_is_granted(self) -> None:
        code = (
            "import os; from reenact.snapshot.state import cpus_granted;"
            "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(cpus_granted())"
        )

        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

        assert float(answer.stdout) <= 1.0
        assert (cpus_granted() or 0) <= (os.cpu_count() or 0)

    def test_a_limit_of_memory_is_below_what_there_is(self) -> None:
        limit = memory_limit()

        assert limit is None or limit < psutil.virtual_memory().total


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
class TestWatch:
    def test_what_others_compute_is_told_apart_from_the_run_and_from_us(self) -> None:
        watch = Watch()
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        wait_until(
            lambda: psutil.Process(other.pid).cpu_times().user >= 0.5, what="it has computed"
        )
        times = psutil.Process(other.pid).cpu_times()
        used_s = times.user + times.system
        # Others compute on meanwhile, so it lies between a look before it and one after it.
        as_other, as_run, later = (watch.finish(run_s) for run_s in (0.0, used_s, 0.0))
        other.kill()
        other.wait()

        assert (as_other.others_cpu_s or 0.0) >= 0.45
        told = (as_run.others_cpu_s or 0.0) + used_s
        assert (as_other.others_cpu_s or 0.0) - 0.3 <= told <= (later.others_cpu_s or 0.0) + 0.3
        assert as_other.cpus == os.cpu_count()
        assert as_other.before is not None
        assert as_other.after is not None


class TestNoise:
    def test_a_quiet_machine_has_none(self) -> None:
        assert noise(QUIET, 10.0) == []

    def test_others_that_take_more_than_a_tenth_of_the_cpus_are_noise(self) -> None:
        busy = msgspec.structs.replace(QUIET, others_cpu_s=12.0)

        assert noise(busy, 10.0) == ["other processes used 1.2 of 8 CPUs"]
        assert noise(busy, 20.0) == []

    def test_of_a_run_below_a_second_too_little_is_known(self) -> None:
        assert noise(msgspec.structs.replace(QUIET, others_cpu_s=5.0), 0.9) == []

    def test_a_host_that_takes_cpus_away_is_noise(self) -> None:
        stolen = msgspec.structs.replace(QUIET, steal_s=4.0)

        assert noise(stolen, 10.0) == ["the host gave 0.4 of 8 CPUs to others"]

    def test_cpus_that_got_too_hot_are_noise(self) -> None:
        hot = msgspec.structs.replace(QUIET, after=MachineState(throttles=5))

        assert noise(hot, 10.0) == ["CPUs were too hot 2 times"]

    def test_a_gpu_that_is_busy_before_the_start_is_noise(self) -> None:
        found = noise(with_gpus(GpuState(percent=40.0), GpuState(percent=90.0)), 10.0)

        assert found == ["GPU 1 was at 40 % before the start"]

    def test_a_gpu_on_which_somebody_stays_is_noise(self) -> None:
        found = noise(with_gpus(GpuState(), GpuState(percent=90.0, processes=2)), 10.0)

        assert found == ["GPU 1 was shared with 2 other processes"]

    def test_a_gpu_that_is_too_hot_is_noise_and_one_at_its_power_limit_is_not(self) -> None:
        hot = with_gpus(GpuState(), GpuState(throttled=("power", "thermal")))
        hungry = with_gpus(GpuState(), GpuState(throttled=("power",)))

        assert noise(hot, 10.0) == ["GPU 1 was slowed down: thermal"]
        assert noise(hungry, 10.0) == []

    def test_gpus_that_the_run_does_not_see_do_not_count(self) -> None:
        conditions = with_gpus(GpuState(percent=40.0), GpuState(percent=90.0, processes=1))

        assert noise(conditions, 10.0, "0") == []
        assert noise(conditions, 10.0, "") == []
        assert len(noise(conditions, 10.0, "0,1")) == 2
        assert len(noise(conditions, 10.0, "GPU-1")) == 2


@pytest.mark.skipif(find_nvidia() is not None, reason="this machine has an NVIDIA driver")
@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")
class TestGpus:
    CODE = (
        "import os, sys; from reenact.model.record import to_json;"
        "from reenact.snapshot import state; watch = state.Watch();"
        "state._GPU_PATIENCE_S = float(os.environ.get('PATIENCE', state._GPU_PATIENCE_S));"
        "sys.stdout.buffer.write(to_json(watch.finish(0.0)))"
    )

    def ask(self, libraries: Path, **env: str) -> Conditions:
        answer = subprocess.run(
            [sys.executable, "-c", self.CODE],
            env={**os.environ, "LD_LIBRARY_PATH": str(libraries), **env},
            capture_output=True,
            check=True,
        )
        return msgspec.json.decode(answer.stdout, type=Conditions)

    def test_their_state_is_taken_before_and_after(self, tmp_path: Path) -> None:
        libraries = build_nvml(tmp_path, "-DCAPABILITY")

        found = self.ask(
            libraries, PATIENCE="60", FAKE_GPUS="2", FAKE_UTIL="30", FAKE_THROTTLE="36"
        )

        gpu = GpuState(percent=30.0, memory_bytes=1 << 30, throttled=("power", "thermal"))
        assert found.before is not None
        assert found.after is not None
        assert found.before.gpus == found.after.gpus == (gpu, gpu)
        assert "GPU 0 was at 30 % before the start" in found.noise

    def test_a_driver_that_hangs_leaves_them_out(self, tmp_path: Path) -> None:
        found = self.ask(build_nvml(tmp_path), FAKE_GPUS="1", FAKE_HANGS="600")

        assert found.before is not None
        assert found.before.gpus == ()
        assert found.cpus == os.cpu_count()
