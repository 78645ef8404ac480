from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from reenact.model.environment import Tool
from reenact.snapshot.tools import find_tools

DAY_S = 86400.0


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    directory = tmp_path / "bin"
    directory.mkdir()
    return directory


def install(programs: Path, name: str, script: str) -> Path:
    path = programs / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def counting(programs: Path, name: str) -> Path:
    """Install a compiler that counts how often it is asked."""
    asked = programs / "asked"
    install(programs, name, f'echo x >> {asked}; echo "{name} (made here) 12.2.0"')
    return asked


def path_of(programs: Path) -> dict[str, str]:
    return {"PATH": f"{programs}{os.pathsep}relative{os.pathsep}/usr/bin/nowhere"}


def test_each_tool_tells_its_version_on_one_line(programs: Path) -> None:
    gcc = install(programs, "gcc", "echo 'gcc (Debian 12.2.0-14) 12.2.0'; echo Copyright 2022")
    nvcc = install(
        programs,
        "nvcc",
        "echo 'nvcc: NVIDIA (R) Cuda compiler driver'; echo 'Copyright 2005-2025';"
        "echo 'Cuda compilation tools, release 13.0, V13.0.88'; echo Build cuda_13.0",
    )
    mpirun = install(programs, "mpirun", "echo; echo 'mpirun (Open MPI) 4.1.4'")

    assert find_tools(path_of(programs)) == (
        Tool(name="gcc", path=str(gcc), version="gcc (Debian 12.2.0-14) 12.2.0"),
        Tool(name="mpirun", path=str(mpirun), version="mpirun (Open MPI) 4.1.4"),
        Tool(name="nvcc", path=str(nvcc), version="Cuda compilation tools, release 13.0, V13.0.88"),
    )


def test_without_tools_there_are_none(programs: Path) -> None:
    assert find_tools(path_of(programs)) == ()


@pytest.mark.parametrize(
    "script", ["exit 1", "echo no version here", "kill -9 $$", "echo oops 1.2 >&2", "exec yes y"]
)
def test_a_tool_that_does_not_say_its_version_has_none(programs: Path, script: str) -> None:
    path = install(programs, "cc", script)

    assert find_tools(path_of(programs)) == (Tool(name="cc", path=str(path)),)


def test_a_tool_that_hangs_holds_nobody_up_and_is_ended(programs: Path) -> None:
    pids = programs / "pids"
    gcc = install(programs, "gcc", "echo gcc 12.2.0")
    mpicc = install(programs, "mpicc", f"sleep 600 & echo $$ $! > {pids}; wait")

    begun = time.monotonic()
    found = find_tools(path_of(programs), limit_s=0.5)

    assert found == (
        Tool(name="gcc", path=str(gcc), version="gcc 12.2.0"),
        Tool(name="mpicc", path=str(mpicc)),
    )
    assert time.monotonic() - begun < 60
    shell, sleeper = map(int, pids.read_text().split())
    assert not Path(f"/proc/{shell}").exists()
    assert "sleep" not in _command(sleeper)


def _command(pid: int) -> str:
    try:
        data = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return "" if ") Z" in data else data


def test_what_cannot_be_started_is_found_all_the_same(programs: Path) -> None:
    path = programs / "clang"
    path.write_bytes(b"\x7fELF but not really")
    path.chmod(0o755)

    assert find_tools(path_of(programs)) == (Tool(name="clang", path=str(path)),)


def test_an_answer_is_kept_for_a_day(programs: Path, tmp_path: Path) -> None:
    asked = counting(programs, "gcc")
    cache = str(tmp_path / "cache")

    first = find_tools(path_of(programs), cache=cache, now=1e9)
    again = find_tools(path_of(programs), cache=cache, now=1e9 + DAY_S - 1)
    later = find_tools(path_of(programs), cache=cache, now=1e9 + DAY_S + 1)

    assert first == again == later
    assert asked.read_text().count("x") == 2


def test_another_program_in_its_place_is_asked(programs: Path, tmp_path: Path) -> None:
    counting(programs, "gcc")
    cache = str(tmp_path / "cache")
    find_tools(path_of(programs), cache=cache)
    path = install(programs, "gcc", "echo gcc 13.1.0 the next one")

    assert find_tools(path_of(programs), cache=cache) == (
        Tool(name="gcc", path=str(path), version="gcc 13.1.0 the next one"),
    )


def test_silence_is_kept_for_an_hour(programs: Path, tmp_path: Path) -> None:
    asked = programs / "asked"
    install(programs, "gcc", f"echo x >> {asked}")
    cache = str(tmp_path / "cache")

    for now in (1e9, 1e9 + 3500, 1e9 + 3700):
        find_tools(path_of(programs), cache=cache, now=now)

    assert asked.read_text().count("x") == 2


def test_nobody_is_asked_where_that_would_disturb(programs: Path, tmp_path: Path) -> None:
    asked = counting(programs, "gcc")
    cache = str(tmp_path / "cache")

    assert find_tools(path_of(programs), cache=cache, may_ask=False) is None
    assert not asked.exists()
    known = find_tools(path_of(programs), cache=cache)
    assert find_tools(path_of(programs), cache=cache, may_ask=False) == known


@pytest.mark.parametrize("rubbish", [b"", b"{", b"[]", b"\xff", b'{"/usr/bin/gcc":5}'])
def test_a_broken_cache_is_replaced(programs: Path, tmp_path: Path, rubbish: bytes) -> None:
    counting(programs, "gcc")
    file = tmp_path / "tools.json"
    file.write_bytes(rubbish)

    found = find_tools(path_of(programs), cache=str(tmp_path))

    assert found is not None
    assert list(json.loads(file.read_bytes())) == [str(programs / "gcc")]


def test_a_cache_that_cannot_be_written_does_no_harm(programs: Path, tmp_path: Path) -> None:
    counting(programs, "gcc")
    blocked = tmp_path / "file"
    blocked.write_text("")

    assert find_tools(path_of(programs), cache=str(blocked)) == find_tools(path_of(programs))
