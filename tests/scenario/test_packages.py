"""Operations of installed packages, run for real from a real environment."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from commands import Desk

HELLO = """
- package: gpkg.hello
- operations:
    hello:
      main: say
      flags-import: all
    hello-file:
      main: cat
      flags: {file: hello.txt}
      requires:
        - file: hello.txt
    hello-op:
      main: cat
      flags: {file: message.txt}
      requires:
        - operation: hello-file
    all:
      steps:
        - hello
        - hello-file
        - hello-op
"""
CNN = """
- model: cnn
  operations:
    train: train
    _check: train
- model: logreg
  operations:
    train: train
- model: _tests
  operations:
    all: train
"""


class Site:
    """An environment in which packages are installed as Guild's are."""

    def __init__(self, directory: Path) -> None:
        venv.create(directory, symlinks=True)
        self.python = directory / "bin" / "python"
        [self.packages] = directory.glob("lib/python*/site-packages")

    def install(self, name: str, **files: str) -> None:
        """Install a package of Guild: the words before the suffix are the names of its files."""
        directory = self.packages / name.replace(".", "/")
        directory.mkdir(parents=True)
        for file, content in files.items():
            (directory / file.replace("__", ".")).write_text(content)
        info = self.packages / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "entry_points.txt").write_text("[guild.models]\n__anonymous__ = guild.model:M\n")
        paths = sorted(path.relative_to(self.packages) for path in directory.iterdir())
        (info / "RECORD").write_text("".join(f"{path},sha256=x,1\n" for path in paths))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path / "project" / "venv")
    site.install(
        "gpkg.hello",
        guild__yml=HELLO,
        hello__txt="from the package\n",
        say__py='msg = "Hello!"\nprint(msg)\n',
        cat__py=(
            'file = "hello.txt"\nmessage = open(file).read()\nprint(message, end="")\n'
            'open("message.txt", "w").write(message)\n'
        ),
    )
    site.install("gpkg.mnist", guild__yml=CNN, train__py='print("trained")\n')
    return site


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def seat(desk: Desk, site: Site) -> Desk:
    """Sit in a project whose environment has the packages."""
    desk.env["VIRTUAL_ENV"] = str(site.python.parent.parent)
    return desk


@pytest.mark.parametrize("name", ["gpkg.hello/hello", "hello/hello", "hello"])
def test_an_operation_is_run_by_all_its_names(seat: Desk, name: str) -> None:
    assert seat.ok("run", name, "msg=hi") == "hi\n"

    [run_id] = seat.ids()
    record = seat.record(run_id)
    assert record["operation"]["name"] == "gpkg.hello/hello"
    assert record["operation"]["package"] == "gpkg.hello"
    assert "inputs" not in record
    assert [flag["name"] for flag in seat.json("help", name)["flags"]] == ["msg"]


def test_runs_belong_to_the_project_that_they_are_started_in(seat: Desk, tmp_path: Path) -> None:
    seat.ok("run", "hello")

    assert "gpkg.hello/hello" in seat.ok("runs")
    assert seat.ok("runs", cwd=tmp_path) == ""
    again = seat.ok("run", "--like", "1", "msg=again")
    assert (again, seat.ok("run", "--restart", "@latest")) == ("again\n", "again\n")
    assert {seat.record(run_id)["project"]["name"] for run_id in seat.ids()} == {"project"}


def test_a_package_requires_its_own_operations(seat: Desk) -> None:
    seat.write("reenact.yml", "hello-file: {exec: touch message.txt}\n")

    seat.ok("run", "hello-file")
    missing = seat.reenact("run", "hello-op")
    seat.ok("run", "hello/hello-file")

    assert missing.status == 2
    assert "`reenact run gpkg.hello/hello-file`" in missing.err
    assert seat.ok("run", "hello-op") == "from the package\n"


def test_a_project_requires_an_operation_of_a_package(seat: Desk) -> None:
    seat.write(
        "reenact.yml",
        "show:\n  exec: cat message.txt\n  requires:\n    - operation: hello/hello-file\n",
    )
    seat.ok("run", "hello-file")

    assert seat.ok("run", "show") == "from the package\n"


def test_a_pipeline_and_a_batch_of_a_package(seat: Desk) -> None:
    steps = seat.ok("run", "hello/all")
    trials = seat.ok("run", "hello", "msg=[a,b]")

    assert steps == "Hello!\nfrom the package\nfrom the package\n"
    assert trials == "a\nb\n"


def test_what_lies_in_a_repository_that_ignores_it_is_run_too(seat: Desk) -> None:
    seat.write(".gitignore", "venv\n")
    for words in (["init", "-q"], ["add", ".gitignore"]):
        subprocess.run(["git", *words], cwd=seat.project, check=True)

    seat.ok("run", "hello-file")

    [run_id] = seat.ids()
    assert seat.record(run_id)["source"]["files"] == 4


def test_a_name_that_two_packages_have_is_refused(seat: Desk, site: Site) -> None:
    site.install("gpkg.other", guild__yml="hello: x\n")

    done = seat.reenact("run", "hello")

    assert (done.status, done.complaint) == (2, [
        "error: `hello` may be several operations",
        "hint: say which: `gpkg.hello/hello`, `gpkg.other/hello`",
    ])  # fmt: skip


def test_operations_of_models_are_found_by_a_part_of_the_models_name(seat: Desk) -> None:
    assert seat.ok("run", "cnn:train") == "trained\n"
    assert seat.ok("run", "reg:train") == "trained\n"
    assert seat.reenact("run", "cnn:nothing").status == 125

    seat.write("reenact.yml", "- model: mnist-cnn\n  operations: {train: {exec: echo own}}\n")
    assert seat.ok("run", "cnn:train") == "own\n"
    seat.write("cnn:train", "")
    assert seat.reenact("run", "cnn:train").status != 0


def test_packages_are_listed_where_there_is_no_project_file_or_when_asked_for(seat: Desk) -> None:
    operations = [
        *(f"gpkg.hello/{name}" for name in ("hello", "hello-file", "hello-op", "all")),
        "gpkg.mnist/cnn:train", "gpkg.mnist/logreg:train",
    ]  # fmt: skip
    models = ["gpkg.hello/", "gpkg.mnist/cnn", "gpkg.mnist/logreg"]

    def listed(*words: str) -> list[str]:
        return [line.partition("\t")[0] for line in seat.ok(*words).splitlines()]

    assert (listed("ops"), listed("models")) == (operations, models)
    assert listed("ops", "cnn", "--all") == ["gpkg.mnist/cnn:train", "gpkg.mnist/cnn:_check"]
    assert listed("models", "_t", "--all") == ["gpkg.mnist/_tests"]
    seat.write("reenact.yml", "own: x\n")
    assert (listed("ops"), listed("models")) == (["own"], ["-"])
    assert listed("ops", "--installed") == ["own", *operations]
    assert listed("models", "-i") == ["-", *models]


def test_a_project_in_which_its_package_was_built_is_not_listed_twice(seat: Desk) -> None:
    seat.write("guild.yml", "- package: gpkg.mine\n- operations: {train: x}\n")
    seat.write("gpkg.mine.egg-info/entry_points.txt", "[guild.models]\nx = guild.model:M\n")
    seat.write("gpkg.mine.egg-info/SOURCES.txt", "./guild.yml\n./train.py\n")

    assert seat.ok("ops", "train", "--installed").splitlines()[0] == "train\t"
    assert "./train" not in seat.ok("ops", "--installed")


def test_the_interpreter_of_the_environment_runs_it(seat: Desk, site: Site) -> None:
    (site.packages / "gpkg" / "hello" / "say.py").write_text("import sys\nprint(sys.prefix)\n")

    assert seat.ok("run", "hello").strip() == str(site.python.parent.parent)
    assert sys.prefix != str(site.python.parent.parent)
