"""`reenact detect`: what it finds, and that nothing can hold it up."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from commands import Desk
from drivers import build_nvml
from reenact.snapshot.gpu import find_nvidia

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def detect(desk: Desk, **env: str) -> Any:
    return json.loads(desk.ok("detect", "--json", env=env))


def program(directory: Path, name: str, script: str) -> Path:
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_machine_and_environment_are_those_of_a_run(desk: Desk) -> None:
    desk.write("train.py", "print(1)\n")
    run_id = desk.run("train.py", "--python", sys.executable)
    recorded = desk.json("show", run_id)

    found = desk.json("detect", "--python", sys.executable)

    assert found["machine"] == recorded["machine"]
    assert found["environment"] == recorded["environment"]
    assert found["environment"]["python"]["version"] == platform.python_version()
    assert {p["name"] for p in found["environment"]["packages"]} >= {"msgspec", "click"}
    assert found["cpus_granted"] <= found["machine"]["cores_logical"]
    assert found["state"]["memory_available_bytes"] > 0


def test_nothing_is_written(desk: Desk) -> None:
    before = sorted(desk.project.parent.rglob("*"))

    desk.ok("detect")

    assert sorted(desk.project.parent.rglob("*")) == before
    assert list(Path(os.environ["HOME"]).iterdir()) == []


def test_people_read_it_line_by_line(desk: Desk) -> None:
    out = desk.ok("detect", "--python", sys.executable, env={"OMP_NUM_THREADS": "3"})

    lines = dict(line.split(None, 1) for line in out.splitlines() if " " in line.strip())
    assert lines["machine"] == os.uname().nodename.split(".")[0]
    assert platform.python_version() in lines["python"]
    assert lines["variable"] == "OMP_NUM_THREADS=3"


def test_secrets_in_variables_are_hidden(desk: Desk) -> None:
    out = desk.ok("detect", "--json", env={"HF_TOKEN": "hunter2", "TF_NOTE": "ghp_" + "a1" * 18})

    assert "hunter2" not in out
    assert "a1a1a1" not in out
    variables = json.loads(out)["environment"]["variables"]
    assert variables["HF_TOKEN"] == variables["TF_NOTE"] == "<redacted>"


def test_a_compiler_that_hangs_is_passed_over(desk: Desk, tmp_path: Path) -> None:
    bin_ = tmp_path / "bin"
    program(bin_, "gcc", "exec sleep 600")
    program(bin_, "clang", "echo clang version 14.0.6")

    found = detect(desk, PATH=f"{bin_}:/usr/bin:/bin")

    tools = {tool["name"]: tool for tool in found["environment"]["tools"]}
    assert tools["gcc"] == {"name": "gcc", "path": str(bin_ / "gcc")}
    assert tools["clang"]["version"] == "clang version 14.0.6"
    assert found["machine"]["cpu"]


def test_an_interpreter_that_hangs_is_passed_over(desk: Desk, tmp_path: Path) -> None:
    python = program(tmp_path / "bin", "python", "exec sleep 600")

    found = desk.json("detect", "--python", str(python))

    reason = f"{python} did not answer within 1.5 s"
    assert found["environment"]["reasons"]["packages"] == reason
    assert found["machine"]["cpu"]


def test_what_is_no_python_is_a_reason(desk: Desk) -> None:
    found = desk.json("detect", "--python", "/bin/echo")

    assert found["environment"]["reasons"]["python"] == "/bin/echo is no Python 3.8 or later"


def test_without_any_python_the_rest_is_found(desk: Desk, tmp_path: Path) -> None:
    found = detect(desk, PATH=str(tmp_path), VIRTUAL_ENV="", CONDA_PREFIX="")

    assert found["python"] is None
    assert found["environment"]["reasons"]["python"] == "there is no `python` on PATH"
    assert found["machine"]["cpu"]


def test_an_interpreter_that_is_not_there_is_an_error(desk: Desk) -> None:
    done = desk.reenact("detect", "--python", "python9.9")

    assert done.status == 125
    assert done.err == "error: there is no interpreter `python9.9`\n"


@pytest.mark.parametrize("version", ["3.8.18", "3.13.0"])
def test_other_versions_of_python_tell_the_same(desk: Desk, version: str) -> None:
    python = Path(os.path.expanduser("~root")) / ".pyenv" / "versions" / version / "bin" / "python"
    if not python.exists():
        pytest.skip(f"there is no Python {version}")

    found = desk.json("detect", "--python", str(python))

    assert found["environment"]["python"]["version"] == version
    assert found["environment"]["python"]["prefix_kind"] == "system"


@pytest.mark.skipif(find_nvidia() is not None, reason="this machine has an NVIDIA driver")
@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")
class TestGpus:
    def test_gpus_and_their_links_are_shown(self, desk: Desk, tmp_path: Path) -> None:
        env = {
            "LD_LIBRARY_PATH": str(build_nvml(tmp_path, "-DCAPABILITY")),
            "FAKE_GPUS": "2",
            "FAKE_NVLINKS": "12",
            "FAKE_UTIL": "7",
        }

        out = desk.ok("detect", env=env)

        assert "gpu 0       Fake H100, 85.9 GB, capability 9.0, gen5 x16, 700 W\n" in out
        assert "link        gpu 0 - gpu 1: nvlink x12\n" in out
        assert "gpu 1 at 7 %" in out
        assert "driver      550.54.15\n" in out

    def test_a_driver_that_hangs_is_passed_over(self, desk: Desk, tmp_path: Path) -> None:
        libraries = str(build_nvml(tmp_path))

        found = detect(desk, LD_LIBRARY_PATH=libraries, FAKE_HANGS="600")

        reason = "the NVIDIA driver did not answer within 2 s"
        assert found["machine"]["reasons"]["gpus"] == reason
        assert found["environment"]["packages"]

    def test_a_run_goes_on_beside_a_driver_that_hangs(self, desk: Desk, tmp_path: Path) -> None:
        desk.write("train.py", "import time\ntime.sleep(0.5)\nprint('loss: 0.5')\n")
        env = {"LD_LIBRARY_PATH": str(build_nvml(tmp_path)), "FAKE_HANGS": "600"}

        run_id = desk.run("train.py", env=env)

        assert desk.status(run_id) == "completed"
        shown = desk.json("show", run_id)
        assert "did not answer" in shown["machine"]["reasons"]["gpus"]
        assert shown["run"]["metrics"]["loss"]["last"] == 0.5


def test_a_compiler_that_hangs_does_not_hold_a_run_up(desk: Desk, tmp_path: Path) -> None:
    bin_ = tmp_path / "bin"
    program(bin_, "gcc", "exec sleep 600")
    desk.write("train.py", "print('loss: 0.5')\n")
    env = {"PATH": f"{bin_}:/usr/bin:/bin"}

    run_id = desk.run("train.py", "--python", sys.executable, env=env)

    tools = {tool["name"]: tool for tool in desk.json("show", run_id)["environment"]["tools"]}
    assert "version" not in tools["gcc"]
    assert desk.status(run_id) == "completed"
    leftovers = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert str(bin_) not in leftovers.stdout
