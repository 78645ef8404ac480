"""Runs of scripts that lie where no project is, and of scripts that are somewhere else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from commands import Desk


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("REENACT_HOME", str(tmp_path / "store"))
    return home


def reenact(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reenact", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def shown(cwd: Path) -> Any:
    return json.loads(reenact("show", "--json", cwd=cwd).stdout)


def sources(cwd: Path) -> list[str]:
    return reenact("ls", "--source", cwd=cwd).stdout.splitlines()


def test_of_a_home_directory_only_the_script_and_what_it_imports_is_kept(home: Path) -> None:
    (home / "train.py").write_text("import helper\nprint(helper.x, open('notes.txt').read())\n")
    (home / "helper.py").write_text("x = 1\n")
    (home / "other.py").write_text("secret = 1\n")
    (home / "notes.txt").write_text("hello")
    (home / "work").mkdir()
    (home / "work" / "big.py").write_text("y = 1\n")

    done = reenact("run", "train.py", cwd=home)

    assert (done.returncode, done.stdout) == (0, "1 hello\n")
    assert sources(home) == ["helper.py", "train.py"]


def test_a_project_below_a_home_directory_is_kept_whole_and_runs_from_there(home: Path) -> None:
    project = home / "work" / "project"
    (project / "package").mkdir(parents=True)
    (project / "pyproject.toml").write_text("")
    (project / "package" / "__init__.py").write_text("x = 2\n")
    (project / "train.py").write_text(
        "import os, sys, package\nprint(package.x, open('work/project/data.csv').read())\n"
        "print(sys.argv, sorted(os.listdir()))\nopen('out.txt', 'w').write('made')\n"
    )
    (project / "data.csv").write_text("1,2")
    (home / "other").mkdir()

    done = reenact("run", "work/project/train.py", cwd=home)

    assert done.stderr == ""
    assert done.stdout == "2 1,2\n['work/project/train.py'] ['.reenact', 'other', 'work']\n"
    assert sources(home) == [
        "work/project/package/__init__.py",
        "work/project/pyproject.toml",
        "work/project/train.py",
    ]
    assert not (home / "out.txt").exists()
    assert reenact("cat", "@latest", "out.txt", cwd=home).stdout == "made"


def test_what_git_ignores_below_a_home_directory_is_no_source(home: Path) -> None:
    project = home / "project"
    project.mkdir()
    for words in (["init", "-q"],):
        subprocess.run(["git", *words], cwd=project, check=True)
    (project / ".gitignore").write_text("local.py\n")
    (project / "local.py").write_text("x = 3\n")
    (project / "train.py").write_text("import local\nprint(local.x)\n")

    done = reenact("run", "project/train.py", cwd=home)

    assert done.stdout == "3\n"
    assert sources(home) == ["project/.gitignore", "project/train.py"]


def test_a_script_named_by_an_absolute_path_sees_one(home: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    script = project / "train.py"
    script.write_text("import os, sys\nlr = 1\nprint(os.path.isabs(sys.argv[0]), lr)\n")

    done = reenact("run", str(script), "lr=2", cwd=project)

    assert done.stdout == "True 2\n"
    assert shown(project)["run"]["command"][-1] == "train.py"


def test_modules_of_the_project_do_not_get_in_the_way(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for name in ("click", "msgspec", "queue", "yaml", "reenact_helper"):
        (project / f"{name}.py").write_text("raise SystemExit('wrong module')\n")
    (project / "train.py").write_text("print('fine')\n")
    monkeypatch.setenv("PYTHONPATH", str(project))

    done = reenact("run", "train.py", cwd=project)

    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")


def test_a_script_in_a_directory_for_everybody_is_loose(home: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    os.chmod(shared, 0o1777)
    (shared / "train.py").write_text("print('fine')\n")
    (shared / "strangers.py").write_text("x = 1\n")

    done = reenact("run", "train.py", cwd=shared)

    assert done.stdout == "fine\n"
    assert sources(shared) == ["train.py"]


def test_a_path_that_leads_out_of_the_project_is_warned_of(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.csv").write_text("1")
    desk.write("train.py", "import glob\nprint(glob.glob('../data/*.csv'), '../nothing')\n")

    done = desk.reenact("run", "train.py")

    assert done.out == "[] ../nothing\n"
    assert "`../data/*.csv` may be outside the project" in done.err
    assert "warning" not in desk.reenact("run", "train.py", "--in-place").err
    (tmp_path / "reenact.yml").touch()
    assert desk.reenact("run", "train.py") == (0, "['../data/a.csv'] ../nothing\n", "")
