"""Containers that a real engine builds and runs, with an image from a real registry."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import PATIENCE_S, Desk, wait_until
from engines import Engine, real_engine
from wheels import install, make_environment, make_wheel

SCRIPT = """
import argparse, random, zipfile, alpha
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--name", default="x")
args = parser.parse_args()
rows = len(open("data/rows.csv").read().splitlines())
loss = random.random() * args.lr * rows * alpha.value
print("loss:", loss)
open("model.txt", "w").write(f"{loss} {args.name}")
with zipfile.ZipFile("model.zip", "w") as archive:
    archive.write("model.txt")
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with real_engine(tmp_path_factory.mktemp("engine")) as found:
        yield found


class World:
    """A project with an environment of its own, and podman for an engine."""

    def __init__(self, root: Path, engine: Engine) -> None:
        self.root = root
        self.engine = engine
        self.desk = Desk(root)
        self.python = make_environment(root / "env")
        install(
            self.python, make_wheel(root / "own", "alpha", "1.0+mine", {"alpha.py": "value = 3"})
        )
        (root / "bin").mkdir()
        # A client without its service, as many machines have it: podman is asked next.
        program = root / "bin" / "docker"
        program.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
        program.chmod(0o755)
        self.desk.env |= engine.env
        self.desk.env |= {"PATH": f"{root}/bin:{os.environ['PATH']}", "UV_NO_INDEX": "1"}
        self.desk.env |= {"UV_OFFLINE": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
        self.desk.write("data/rows.csv", "1\n2\n3\n")

    def run(self, script: str, *flags: str) -> str:
        self.desk.write("train.py", script)
        return self.desk.run("--python", str(self.python), "train.py", *flags)

    def words(self, *more: str) -> tuple[str, ...]:
        base = ("--base", self.engine.base, "--to", str(self.root / "image"))
        return ("container", *base, "--run", *more)


@pytest.fixture
def world(tmp_path: Path, engine: Engine) -> World:
    return World(tmp_path, engine)


def test_a_run_comes_back(world: World) -> None:
    run = world.run(SCRIPT, "lr=0.5", "name=a b \"c\" $d 'e'")

    done = world.desk.reenact(*world.words("--resolve", "--json"))

    assert done.status == 0, done
    said = json.loads(done.out)
    assert said["base"].startswith(f"{world.engine.base}@sha256:")
    verdicts = {one["path"]: one["verdict"] for one in said["outcome"]["outputs"]}
    assert verdicts == {"model.txt": "identical", "model.zip": "within tolerance"}
    recorded = world.desk.store / "runs" / run / "model.txt"
    assert Path(said["outcome"]["directory"], "model.txt").read_bytes() == recorded.read_bytes()
    assert said["outcome"]["printed"]["verdict"] == "identical"
    assert world.engine.call("ps", "--all", "--quiet") == ""


def test_another_line_on_its_output_is_a_difference_where_there_is_no_file(world: World) -> None:
    world.run("import os\nprint('loss:', os.urandom(8).hex())\n")

    done = world.desk.reenact(*world.words())

    assert done.status == 3
    assert "differs: stdout (line 1: " in done.err


def test_data_that_is_mounted_can_have_any_name(world: World) -> None:
    cache = world.root / 'a, b: "c"' / "rows.bin"
    cache.parent.mkdir()
    cache.write_bytes(bytes(101 << 20))
    world.run(f"print('size:', len(open({str(cache)!r}, 'rb').read()))")

    done = world.desk.reenact(*world.words())

    assert done.status == 0, done
    assert "size: 105906176" in done.out
    assert "what it printed: identical" in done.err


def test_data_that_only_its_owner_may_read_is_named(world: World) -> None:
    data = world.root / "rows.bin"
    data.write_bytes(bytes(101 << 20))
    data.chmod(0o600)
    world.run(f"print('size:', len(open({str(data)!r}, 'rb').read()))")

    done = world.desk.reenact(*world.words())

    assert done.status == 1
    assert f"warning: {data} can be read only by its owner" in done.err
    assert "PermissionError" in done.err


def test_a_package_that_cannot_be_installed_is_the_reason(world: World) -> None:
    world.run(SCRIPT)
    base = world.root / "base"
    base.mkdir()
    broken = world.engine.push(
        base,
        "broken:1",
        f"FROM {world.engine.base}\n"
        'RUN ["python", "-c", "import pip, os; os.unlink(pip.__file__)"]\nUSER nobody\n',
    )

    done = world.desk.reenact("container", "--base", broken, "--run", "--to", "image")

    assert done.status == 1
    assert done.complaint[-2].startswith("error: the image cannot be built: "), done
    assert "pip" in done.complaint[-2]
    assert done.complaint[-1] == "hint: `image/build.log` has all that was said"
    assert "STEP" in (world.desk.project / "image" / "build.log").read_text()


def test_another_user_of_the_base_does_not_matter(world: World) -> None:
    world.run(SCRIPT)
    base = world.root / "base"
    base.mkdir()
    recipe = (
        f"FROM {world.engine.base}\n"
        'RUN ["useradd", "--create-home", "--uid", "1000", "jovyan"]\nUSER jovyan\n'
    )
    image = world.engine.push(base, "notebook:1", recipe)

    done = world.desk.reenact("container", "--base", image, "--run", "--to", "image")

    assert done.status == 0, done


def test_an_interrupted_container_is_removed(world: World) -> None:
    world.run(
        "import sys, time\nprint('started', flush=True)\nif '/work' in __file__: time.sleep(600)\n"
    )
    process = world.desk.start(*world.words(), start_new_session=True, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    output = process.stdout
    wait_until(lambda: b"started" in output.readline(), what="the command runs")

    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 130
    assert world.engine.call("ps", "--all", "--quiet") == ""


def test_an_image_that_the_registry_does_not_have_is_named(world: World) -> None:
    world.run(SCRIPT)
    image = f"{world.engine.registry}/library/python:1.5"

    done = world.desk.reenact("container", "--base", image, "--resolve", "--to", "image")

    assert done.status == 1
    assert done.complaint[-2] == f"error: there is no image `{image}`"
    assert not (world.desk.project / "image").exists()


def test_a_registry_to_which_nobody_has_logged_in_is_named(world: World) -> None:
    world.run(SCRIPT)
    del world.desk.env["REGISTRY_AUTH_FILE"]

    done = world.desk.reenact(
        "container", "--base", world.engine.base, "--resolve", "--to", "image"
    )

    registry = world.engine.registry
    assert done.status == 1
    assert done.complaint[-2:] == [
        f"error: {registry} refuses `{world.engine.base}`: 401 Unauthorized",
        f"hint: `docker login {registry}`; or give `--base` with its digest, without `--resolve`",
    ]
