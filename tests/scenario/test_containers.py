"""Containers that run a run again: what is written, and that its steps do what they shall."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import containers
from commands import Desk
from containers import Image
from package_index import package_index
from wheels import install, make_environment, make_wheel

SCRIPT = """
import argparse, random, alpha
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--name", default="x")
args = parser.parse_args()
rows = len(open("data/rows.csv").read().splitlines())
loss = random.random() * args.lr * rows * alpha.value
print("loss:", loss)
open("model.txt", "w").write(f"{loss} {args.name}")
"""


class World:
    """A project with an environment of its own, and packages that need no network."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.desk = Desk(root)
        self.environment = root / "env"
        self.python = make_environment(self.environment)
        wheel = make_wheel(root / "own", "alpha", "1.0+mine", {"alpha.py": "value = 3"})
        install(self.python, wheel)
        off = {"UV_OFFLINE": "1", "UV_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
        self.desk.env |= {**off, "PIP_FIND_LINKS": "", "PIP_NO_INDEX": "1"}
        self.desk.write("data/rows.csv", "1\n2\n3\n")
        self.desk.write("train.py", SCRIPT)

    def run(self, *words: str) -> str:
        return self.desk.run("--python", str(self.python), *(words or ("train.py", "lr=0.5")))

    def container(self, run: str, *words: str) -> Path:
        directory = self.root / "image"
        self.desk.ok("container", run, "--to", str(directory), *words)
        return directory

    def image(self, run: str, *words: str) -> Image:
        """Write a container, and do what its Dockerfile says."""
        context = self.container(run, *words)
        root = self.root / "in the container"
        root.mkdir()
        image = Image(context, root)
        image.build()
        return image

    def output(self, run: str, name: str) -> bytes:
        return (self.desk.store / "runs" / run / name).read_bytes()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    return World(tmp_path)


class TestItsStepsReproduceTheRun:
    def test_a_script_that_leaves_its_seed_to_chance(self, world: World) -> None:
        run = world.run("train.py", "lr=0.5", "name=a b \"c\" $d 'e'")
        for place in (world.environment, world.desk.project, world.root / "own"):
            if place != world.desk.project:
                shutil.rmtree(place)

        image = world.image(run)
        done = image.run()

        assert done.returncode == 0, done
        assert (image.root / "work" / "model.txt").read_bytes() == world.output(run, "model.txt")

    def test_literals_that_are_flags(self, world: World) -> None:
        world.desk.write("train.py", 'lr = 0.1\nopen("out.txt", "w").write(str(lr))\n')
        run = world.run("train.py", "lr=0.25")

        image = world.image(run)
        image.run()

        assert (image.root / "work" / "out.txt").read_text() == "0.25"

    def test_a_run_without_seeds(self, world: World) -> None:
        world.desk.write(
            "train.py", "import os\nprint(sorted(n for n in os.environ if 'REENACT' in n))"
        )
        run = world.run("--no-seed", "train.py")

        image = world.image(run)

        assert not (image.context / "probe").exists()
        assert image.run().stdout == "[]\n"

    def test_the_exit_status_is_that_of_the_script(self, world: World) -> None:
        world.desk.write("train.py", "import sys\nsys.exit(7)\n")
        run = world.run("train.py")

        assert world.image(run).run().returncode == 7

    def test_a_module_and_its_package(self, world: World) -> None:
        world.desk.write("pkg/__init__.py", "")
        world.desk.write("pkg/part.py", "value = 5")
        world.desk.write("pkg/main.py", "from pkg.part import value\nprint('value:', value)\n")
        run = world.run("-m", "pkg.main")

        assert "value: 5" in world.image(run).run().stdout

    def test_an_editable_installation_of_the_project(self, world: World) -> None:
        world.desk.write("src/lib/__init__.py", "value = 4\n")
        site = next((world.environment / "lib").glob("python*")) / "site-packages"
        info = site / "lib-0.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lib\nVersion: 0.1\n")
        direct = {"url": f"file://{world.desk.project}", "dir_info": {"editable": True}}
        (info / "direct_url.json").write_text(json.dumps(direct))
        (site / "_lib.pth").write_text(f"{world.desk.project}/src\n")
        (info / "RECORD").write_text("_lib.pth,,\nlib-0.1.dist-info/METADATA,,\n")
        world.desk.write("train.py", "import lib\nprint('value:', lib.value)\n")
        run = world.run("train.py")

        image = world.image(run)

        assert image.run().stdout == "value: 4\n"

    def test_source_that_has_changed_since_does_not_get_in(self, world: World) -> None:
        run = world.run()
        world.desk.write("train.py", "raise SystemExit('changed')")

        image = world.image(run)
        image.run()

        assert (image.root / "work" / "model.txt").read_bytes() == world.output(run, "model.txt")

    def test_data_outside_the_project(self, world: World) -> None:
        data = world.root / "elsewhere" / "x.csv"
        data.parent.mkdir()
        data.write_text("1\n2\n")
        world.desk.write("train.py", f"print('rows:', len(open({str(data)!r}).read().split()))\n")
        run = world.run("train.py")

        context = world.container(run)

        assert (context / "root" / str(data).lstrip("/")).read_text() == "1\n2\n"
        assert 'COPY ["root/", "/"]' in (context / "Dockerfile").read_text()


class TestWhatIsWritten:
    def test_the_dockerfile_asks_for_no_rights(self, world: World) -> None:
        text = (world.container(world.run()) / "Dockerfile").read_text()

        lines = text.splitlines()
        version = ".".join(map(str, sys.version_info[:3]))
        assert f"FROM docker.io/library/python:{version}-slim" in lines
        assert lines[-3] == "USER runner"
        assert "privileged" not in text
        assert "sudo" not in text

    def test_base_names_the_image(self, world: World) -> None:
        base = "python@sha256:" + "a" * 64
        text = (world.container(world.run(), "--base", base) / "Dockerfile").read_text()

        assert f"FROM {base}\n" in text
        assert "--resolve" not in text

    def test_the_lock_is_pinned_by_hashes(self, world: World) -> None:
        context = world.container(world.run())

        assert re.search(
            r"^alpha==1\.0\+mine \\\n    --hash=sha256:[0-9a-f]{64}$",
            (context / "requirements.txt").read_text(),
            re.MULTILINE,
        )
        assert [path.name for path in (context / "wheels").iterdir()] == [
            "alpha-1.0+mine-py3-none-any.whl"
        ]
        assert "--require-hashes" in (context / "Dockerfile").read_text()

    def test_wheels_of_a_directory_on_this_machine_get_in(self, world: World) -> None:
        house = world.root / "house"
        wheel = make_wheel(house, "gamma", "1.0", {"gamma.py": "value = 3"})
        make_wheel(house, "gamma", "2.0", {"gamma.py": "value = 4"})
        install(world.python, "--no-index", "--find-links", house, "gamma==1.0")
        world.desk.env["UV_FIND_LINKS"] = str(house)
        world.desk.write("train.py", "import gamma\nprint('value:', gamma.value)\n")
        run = world.run("train.py")

        image = world.image(run)

        assert (image.context / "wheels" / wheel.name).read_bytes() == wheel.read_bytes()
        assert not list((image.context / "wheels").glob("gamma-2*"))
        shutil.rmtree(house)
        assert image.run().stdout == "value: 3\n"

    def test_credentials_of_an_index_stay_out(self, world: World) -> None:
        with package_index() as index:
            index.login = "me:hunter2hunter2"
            index.add(make_wheel(world.root / "1", "gamma", "1.0", {"gamma.py": "value = 3"}))
            world.desk.env |= {"UV_DEFAULT_INDEX": index.address(index.login), "UV_OFFLINE": "0"}
            world.desk.env |= {"UV_NO_INDEX": "", "PIP_NO_INDEX": "0"}
            place = world.root / "1"
            install(world.python, "--no-index", "--find-links", place, "gamma==1.0")
            world.desk.write("train.py", "import gamma\nprint('value:', gamma.value)\n")
            run = world.run("train.py")

            done = world.desk.reenact("container", run, "--to", str(world.root / "image"))

        assert done.status == 0, done
        text = (world.root / "image" / "requirements.txt").read_text()
        assert f"--index-url {index.url}\n" in text
        assert f"warning: {index.url} wants credentials, which are not written down" in done.err
        for path in (world.root / "image").rglob("*"):
            assert not path.is_file() or b"hunter2" not in path.read_bytes()

    def test_no_history_gets_in(self, world: World) -> None:
        for words in (
            ["init", "-q"],
            ["add", "."],
            ["-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "first"],
        ):
            subprocess.run(["git", *words], cwd=world.desk.project, check=True)

        context = world.container(world.run())

        assert not list(context.rglob(".git"))
        assert not list(context.rglob(".reenact"))

    def test_data_that_is_large_is_to_be_mounted(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from reenact.actions.container import data, write
        from reenact.actions.container.draft import Mount
        from reenact.actions.context import Context
        from reenact.model.identity import RunId

        run = world.run()
        monkeypatch.setattr(data, "COPIED_LIMIT", 3)
        env = {**os.environ, **world.desk.env}
        context = Context(env, str(world.desk.project), str(world.desk.store))
        record = context.store.read_run(RunId(run)).record

        written = write.write_container(context, record, str(world.root / "image"))

        source = str(world.desk.project / "data" / "rows.csv")
        assert written.mounts == (Mount(source, "/work/data/rows.csv", 6),)
        assert not (world.root / "image" / "inputs").exists()
        readme = (world.root / "image" / "README.md").read_text()
        mount = f"type=bind,source={source},target=/work/data/rows.csv,readonly"
        assert f"docker run --rm --mount {mount} reenact-" in readme

    def test_of_data_that_has_changed_the_recorded_content_is_taken(self, world: World) -> None:
        run = world.run()
        world.desk.write("data/rows.csv", "other\n")

        done = world.desk.reenact("container", run, "--to", str(world.root / "image"))

        assert done.status == 0
        assert "data/rows.csv changed" in done.err
        copied = world.root / "image" / "inputs" / "data" / "rows.csv"
        assert copied.read_text() == "1\n2\n3\n"

    def test_data_that_is_gone_is_named(self, world: World) -> None:
        data = world.root / "elsewhere" / "x.bin"
        data.parent.mkdir()
        data.write_bytes(bytes(2 << 20))
        world.desk.write("train.py", f"print('size:', len(open({str(data)!r}, 'rb').read()))\n")
        run = world.run("train.py")
        data.unlink()

        done = world.desk.reenact("container", run, "--to", str(world.root / "image"))

        assert f"warning: {data} is gone: mount what the run read" in done.err
        readme = (world.root / "image" / "README.md").read_text()
        assert f"source=PATH,target={data}," in readme

    def test_secrets_stay_out(self, world: World) -> None:
        run = world.run("--env", "API_TOKEN=hunter2hunter2", "train.py")

        context = world.container(run)

        for path in context.rglob("*"):
            assert not path.is_file() or b"hunter2" not in path.read_bytes()

    def test_the_definition_for_apptainer_does_the_same(self, world: World) -> None:
        context = world.container(world.run(), "--apptainer")

        text = (context / "container.def").read_text()
        sections = dict(re.findall(r"^%(\w+)\n((?:    .*\n?)*)", text, re.MULTILINE))
        assert text.split("%")[0].splitlines()[-3].startswith("Bootstrap: docker")
        assert "    source/. /work/\n" in sections["files"]
        assert "pip install" in sections["post"]
        assert (
            subprocess.run(
                ["sh", "-n"], input=sections["runscript"].encode(), check=False
            ).returncode
            == 0
        )
        assert "train.py --lr 0.5" in sections["runscript"]


class TestRefusals:
    def test_what_is_there_is_not_overwritten(self, world: World) -> None:
        run = world.run()
        (world.root / "image").mkdir()

        done = world.desk.reenact("container", run, "--to", str(world.root / "image"))

        assert done.status == 2
        assert done.complaint[0].endswith("is there already")
        assert list((world.root / "image").iterdir()) == []

    def test_a_failure_leaves_nothing(self, world: World) -> None:
        run = world.run()
        world.desk.ok("gc")
        digest = next(
            f["digest"]
            for f in world.desk.json("ls", run, "--source")["files"]
            if "train" in f["path"]
        )
        path = world.desk.store / "blobs" / digest[:2] / digest[2:]
        path.unlink()

        done = world.desk.reenact("container", run, "--to", str(world.root / "image"))

        assert done.status != 0
        assert not list(world.root.glob("image*"))

    def test_a_run_without_python_gets_none(self, world: World) -> None:
        run = world.desk.run("--", "true")

        done = world.desk.reenact("container", run, "--to", str(world.root / "image"))

        assert done.status == 1
        assert done.complaint[0] == f"error: no Python was seen in run {run[:8]}"

    def test_run_without_an_engine_says_so_and_writes_nothing(self, world: World) -> None:
        run = world.run()
        world.desk.env["PATH"] = str(Path(sys.executable).parent)

        done = world.desk.reenact("container", run, "--run", "--to", str(world.root / "image"))

        assert done.complaint[0] == "error: neither docker nor podman is here"
        assert not (world.root / "image").exists()


class TestRunningIt:
    @pytest.fixture
    def engine(self, world: World) -> Path:
        """A program that takes docker's words, first on PATH."""
        place = world.root / "bin"
        place.mkdir()
        program = place / "docker"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {containers.__file__} "$@"\n')
        program.chmod(0o755)
        kept = world.root / "containers"
        kept.mkdir()
        world.desk.env |= {"PATH": f"{place}:{os.environ['PATH']}", "CONTAINERS": str(kept)}
        return kept

    def test_its_outputs_are_compared(self, world: World, engine: Path) -> None:
        run = world.run()

        done = world.desk.reenact(
            "container", run, "--run", "--json", "--to", str(world.root / "image")
        )

        assert done.status == 0, done
        outcome = json.loads(done.out)["outcome"]
        assert outcome["same"] == ["model.txt"]
        assert outcome["different"] == []
        assert list(engine.glob("reenact-*/*")) == []

    def test_another_result_is_another_exit_status(self, world: World, engine: Path) -> None:
        world.desk.write("train.py", "import os\nopen('model.txt', 'wb').write(os.urandom(8))\n")
        run = world.run("train.py")

        done = world.desk.reenact("container", run, "--run", "--to", str(world.root / "image"))

        assert done.status == 3
        assert "differs: model.txt" in done.err
        assert "0 of 1 output identical" in done.err
