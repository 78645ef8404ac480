from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from commands import PATIENCE_S
from drivers import build_nvml
from reenact.model.environment import Gpu, GpuLink, Machine, decode_machine
from reenact.model.record import to_json
from reenact.snapshot.machine import capture_machine, find_nvidia

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")
needs_no_gpu = pytest.mark.skipif(
    find_nvidia() is not None, reason="this machine has an NVIDIA driver"
)
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")


def capture_with(libraries: Path, cache: Path | None = None, **env: str) -> Machine:
    """Capture in a process of its own: the loader reads its search path once, at the start."""
    code = (
        "import sys; from reenact.model.record import to_json;"
        "from reenact.snapshot.machine import capture_machine;"
        "sys.stdout.buffer.write(to_json(capture_machine(cache=sys.argv[1] or None)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(cache or "")],
        env={**os.environ, "LD_LIBRARY_PATH": str(libraries), **env},
        capture_output=True,
        check=True,
    )
    return decode_machine(answer.stdout, where="answer")


@linux_only
def test_the_facts_are_those_that_the_system_tells() -> None:
    machine = capture_machine()

    assert machine.hostname == os.uname().nodename.split(".")[0]
    assert machine.kernel == f"{os.uname().sysname} {os.uname().release}"
    assert machine.architecture == os.uname().machine
    assert machine.cores_logical == os.cpu_count()
    assert machine.cores_physical == psutil.cpu_count(logical=False)
    assert machine.memory_bytes == psutil.virtual_memory().total
    assert machine.cpu
    assert machine.sockets


def test_every_fact_is_a_value_or_has_a_reason() -> None:
    machine = capture_machine()

    for field in msgspec.structs.fields(Machine):
        assert getattr(machine, field.name) is not None or machine.reasons[field.name], field.name


def test_a_machine_is_the_same_whenever_it_is_asked() -> None:
    assert to_json(capture_machine()) == to_json(capture_machine())


def test_nothing_in_it_names_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "LOGNAME", "HOME"):
        monkeypatch.setenv(name, "/home/eve-the-user")

    assert b"eve-the-user" not in to_json(capture_machine())


@needs_no_gpu
@linux_only
def test_a_machine_without_gpus_says_that_it_has_none() -> None:
    machine = capture_machine()

    assert machine.gpus == () or "AMD" in machine.reasons["gpus"]
    assert machine.reasons["gpu_driver"] == "no NVIDIA driver was found"


@needs_no_gpu
@needs_compiler
class TestGpus:
    def test_the_driver_tells_of_each_gpu(self, tmp_path: Path) -> None:
        machine = capture_with(build_nvml(tmp_path, "-DCAPABILITY"), FAKE_GPUS="2")

        assert [gpu.name for gpu in machine.gpus or ()] == ["Fake H100", "Fake H100"]
        first, second = machine.gpus or ()
        assert first.memory_bytes == 80 << 30
        assert first.capability == "9.0"
        assert (first.has_ecc, first.has_mig, first.power_limit_w) == (True, False, 700.0)
        assert first.pcie == "gen5 x16"
        assert first.uuid != second.uuid
        assert machine.gpu_driver == "550.54.15"
        assert machine.cuda_driver == "12.4"
        assert not {"gpus", "gpu_driver", "cuda_driver"} & machine.reasons.keys()

    def test_an_older_driver_that_lacks_a_question_answers_the_others(self, tmp_path: Path) -> None:
        machine = capture_with(build_nvml(tmp_path), FAKE_GPUS="1")

        assert machine.gpus == (Gpu(name="Fake H100", memory_bytes=80 << 30),)

    def test_links_between_gpus_are_counted(self, tmp_path: Path) -> None:
        libraries = build_nvml(tmp_path, "-DCAPABILITY")

        linked = capture_with(libraries, FAKE_GPUS="3", FAKE_NVLINKS="12")
        apart = capture_with(libraries, FAKE_GPUS="2")

        assert linked.gpu_links == tuple(
            GpuLink(a=a, b=b, kind="nvlink", count=12) for a, b in ((0, 1), (0, 2), (1, 2))
        )
        assert apart.gpu_links == (GpuLink(a=0, b=1, kind="bridge"),)

    def test_a_driver_that_never_answers_is_a_reason_and_asked_again_later(
        self, tmp_path: Path
    ) -> None:
        cache = tmp_path / "cache"

        machine = capture_with(build_nvml(tmp_path), cache, FAKE_HANGS="600")
        known = capture_with(tmp_path, cache, FAKE_GPUS="1")
        file = cache / "machine.json"
        file.write_bytes(re.sub(rb'"until":[0-9.]+', b'"until":1.0', file.read_bytes()))
        later = capture_with(tmp_path, cache, FAKE_GPUS="1")

        assert machine.cpu
        assert machine.reasons["gpus"] == "the NVIDIA driver did not answer within 2 s"
        assert known == machine
        assert len(later.gpus or ()) == 1

    def test_a_driver_that_fails_is_a_reason(self, tmp_path: Path) -> None:
        machine = capture_with(build_nvml(tmp_path), FAKE_BROKEN="1")

        assert machine.gpus is None
        assert machine.reasons["gpus"] == "the NVIDIA driver cannot be asked: Driver Not Loaded"

    def test_a_library_that_is_none_is_a_reason(self, tmp_path: Path) -> None:
        (tmp_path / "libnvidia-ml.so.1").write_text("not a library")

        machine = capture_with(tmp_path)

        assert machine.gpus is None
        assert machine.reasons["gpus"].startswith("the NVIDIA driver cannot be asked: ")

    def test_a_driver_that_appears_is_seen_despite_the_cache(self, tmp_path: Path) -> None:
        empty = tmp_path / "empty"
        cache = tmp_path / "cache"
        before = capture_with(empty, cache)

        after = capture_with(build_nvml(tmp_path), cache, FAKE_GPUS="1")

        assert before.gpus == ()
        assert len(after.gpus or ()) == 1


@linux_only
class TestCache:
    def test_the_answer_is_kept_until_the_machine_starts_again(self, tmp_path: Path) -> None:
        fresh = capture_machine(cache=str(tmp_path))
        file = tmp_path / "machine.json"
        file.write_bytes(file.read_bytes().replace(fresh.kernel.encode(), b"Marked"))  # type: ignore[union-attr]

        assert capture_machine(cache=str(tmp_path)).kernel == "Marked"

    def test_another_boot_is_another_answer(self, tmp_path: Path) -> None:
        fresh = capture_machine(cache=str(tmp_path))
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
        file = tmp_path / "machine.json"
        file.write_bytes(file.read_bytes().replace(boot, b"0" * len(boot)).replace(b"Linux", b"X"))

        assert capture_machine(cache=str(tmp_path)) == fresh

    @pytest.mark.parametrize("rubbish", [b"", b"{", b"[]", b"\xff", b'{"key":[],"machine":5}'])
    def test_a_broken_file_is_replaced(self, tmp_path: Path, rubbish: bytes) -> None:
        fresh = capture_machine()
        file = tmp_path / "machine.json"
        file.write_bytes(rubbish)

        assert capture_machine(cache=str(tmp_path)) == fresh
        assert len(file.read_bytes()) > 100

    def test_a_cache_that_cannot_be_written_does_no_harm(self, tmp_path: Path) -> None:
        blocked = tmp_path / "file"
        blocked.write_text("")

        assert capture_machine(cache=str(blocked)) == capture_machine()

    def test_processes_that_ask_at_once_leave_one_whole_file(self, tmp_path: Path) -> None:
        code = (
            "import sys; from reenact.snapshot.machine import capture_machine;"
            "capture_machine(cache=sys.argv[1])"
        )
        children = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(6)]

        assert [child.wait(PATIENCE_S) for child in children] == [0] * 6
        assert [path.name for path in tmp_path.iterdir()] == ["machine.json"]
        assert capture_machine(cache=str(tmp_path)) == capture_machine()
