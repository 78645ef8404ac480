"""A run in an environment of conda, and that environment made again."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import conda_channel
from commands import Desk
from frameworks import python_with
from wheels import UV, call, make_wheel

SCRIPT = "import random, cpkg, alpha\nprint('value:', random.random() * cpkg.value * alpha.value)\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a channel, and an environment of its packages with one more of pip's."""
    root = tmp_path_factory.mktemp("conda")
    call(python_with("rattler"), conda_channel.__file__, "channel", str(root))
    wheel = make_wheel(root / "wheels", "alpha", "1.0", {"alpha.py": "value = 3\n"})
    fixed = ("pip", "install", "-q", "--no-config", "--no-deps", "--no-index", "--find-links")
    python = str(root / "env" / "bin" / "python")
    # A file of a directory of wheels has come from no address.
    call(UV, *fixed, str(wheel.parent), "--python", python, "--break-system-packages", "alpha")
    return root


class World:
    """A project that uses a copy of that environment, without one of conda's programs."""

    def __init__(self, root: Path, made: Path) -> None:
        self.made = made
        self.python = made / "env" / "bin" / "python"
        self.bin = root / "bin"
        self.bin.mkdir()
        self.desk = Desk(root)
        self.desk.env |= {"UV_NO_INDEX": "1", "UV_OFFLINE": "1", "PIP_CONFIG_FILE": os.devnull}
        self.desk.env |= {"UV_FIND_LINKS": str(made / "wheels"), "PIP_FIND_LINKS": ""}
        self.desk.env["PATH"] = f"{self.bin}:/usr/bin:/bin"
        self.desk.write("train.py", SCRIPT)

    def run(self) -> str:
        return self.desk.run("--python", str(self.python), "train.py")

    def have_micromamba(self) -> None:
        program = self.bin / "micromamba"
        words = f'exec {python_with("rattler")} {conda_channel.__file__} "$@"'
        program.write_text(f"#!/bin/sh\n{words}\n")
        program.chmod(0o755)

    @property
    def environments(self) -> list[str]:
        directory = self.desk.store / "cache" / "environments"
        return os.listdir(directory) if directory.exists() else []


@pytest.fixture
def world(tmp_path: Path, made: Path) -> World:
    return World(tmp_path, made)


def test_every_package_is_recorded_by_its_address_and_hash(world: World) -> None:
    run = world.run()

    lines = world.desk.ok("lock", run, "--format", "conda").splitlines()

    records = [
        json.loads(path.read_text()) for path in (world.made / "env" / "conda-meta").glob("*.json")
    ]
    assert lines[1] == "@EXPLICIT"
    assert sorted(lines[2:]) == sorted(f"{one['url']}#{one['md5']}" for one in records)
    assert len(records) == 3


def test_what_conda_brought_is_not_asked_of_an_index(world: World) -> None:
    run = world.run()

    text = world.desk.ok("lock", run)

    assert "# not here: cpkg 1.5, installed by conda" in text
    assert "alpha==1.0 \\" in text


def test_without_one_of_its_programs_it_is_said_what_would_do(world: World) -> None:
    run = world.run()

    done = world.desk.reenact("reproduce", run, "--env", "recorded")

    assert done.status == 1
    assert done.complaint[-2:] == [
        (
            "error: the environment has 3 packages of conda, and neither micromamba nor conda "
            "is here"
        ),
        "hint: install micromamba; `reenact lock RUN --format conda` prints what it is to be told",
    ]
    assert world.environments == []


def test_it_is_made_again_with_the_part_of_pip(world: World) -> None:
    run = world.run()
    world.have_micromamba()

    done = world.desk.reenact("reproduce", run, "--env", "recorded")

    assert done.status == 0, done
    assert "environment: recorded, as recorded" in done.err
    [name] = world.environments
    there = world.desk.store / "cache" / "environments" / name
    packages = sorted(path.name.rsplit("-", 2)[0] for path in (there / "conda-meta").glob("*.json"))
    assert packages == ["cpkg", "libthing", "python"]


def test_a_package_that_the_channel_has_no_more_is_named(world: World) -> None:
    run = world.run()
    world.have_micromamba()
    channel = world.made / "channel"
    hidden = channel.with_name("hidden")
    channel.rename(hidden)
    try:
        done = world.desk.reenact("reproduce", run, "--env", "recorded")
    finally:
        hidden.rename(channel)

    assert done.status == 1
    [error] = [line for line in done.complaint if line.startswith("error: ")]
    assert error.startswith("error: micromamba could not make the environment: critical libmamba")
    assert "cpkg-1.5-0.tar.bz2" in error
    assert world.environments == []


def test_a_package_that_was_replaced_in_the_channel_is_refused(world: World) -> None:
    run = world.run()
    world.have_micromamba()
    archive = next((world.made / "channel" / "linux-64").glob("libthing-*"))
    kept = archive.read_bytes()
    shutil.copy(next((world.made / "channel" / "noarch").glob("cpkg-*.tar.bz2")), archive)
    try:
        done = world.desk.reenact("reproduce", run, "--env", "recorded")
    finally:
        archive.write_bytes(kept)

    assert done.status == 1
    assert "md5 of libthing-2.1-0.tar.bz2 is" in done.err
    assert world.environments == []


def test_a_container_begins_with_micromamba(world: World) -> None:
    run = world.run()
    world.desk.env["UV_FIND_LINKS"] = str(world.made / "wheels")

    world.desk.ok("container", run, "--to", "image")

    text = (world.desk.project / "image" / "Dockerfile").read_text()
    assert "FROM docker.io/mambaorg/micromamba:" in text
    create = ["micromamba", "create", "-y", "-p", "/opt/environment"]
    assert f"RUN {json.dumps([*create, '--file', '/opt/reenact/explicit.txt'])}" in text
    assert "USER mambauser" in text
