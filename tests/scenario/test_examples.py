"""The examples do what they are there for: each runs, is recorded, and two of its runs are told apart."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from needs import needs

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class Example(NamedTuple):
    """An example, two ways to run it, and what the first must leave behind.

    Attributes:
        first, second: words after `reenact run`.
        changed: flags in which the two differ, as values of the first.
        metrics: name to value and tolerance of the first.
        inputs: project files that it reads.
    """

    name: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    changed: dict[str, Any]
    metrics: dict[str, tuple[float, float]]
    outputs: frozenset[str]
    inputs: frozenset[str] = frozenset()
    program: str = "git"


ALL = (
    Example(
        name="iris",
        first=("train.py", "lr=0.3"),
        second=("train.py", "lr=0.01"),
        changed={"lr": 0.3},
        metrics={"loss": (0.061, 0.001), "accuracy": (0.978, 0.001)},
        outputs=frozenset(["model.json"]),
        inputs=frozenset(["iris.csv"]),
    ),
    Example(
        name="digits",
        first=("train.py", "C=10", "test-size=0.5"),
        second=("train.py", "C=10", "kernel=linear"),
        changed={"kernel": "rbf", "test-size": 0.5},
        metrics={"train accuracy": (1.0, 0.001), "accuracy": (0.98, 0.02), "f1": (0.98, 0.02)},
        outputs=frozenset(["confusion.png", "model.joblib"]),
    ),
    Example(
        name="diabetes",
        first=("train.py", "alpha=0.001", "n_splits=4"),
        second=("train.py", "alpha=0.1", "n_splits=4"),
        changed={"alpha": 0.001},
        metrics={"r2": (0.48, 0.15), "mean_r2": (0.48, 0.05), "std_r2": (0.05, 0.05)},
        outputs=frozenset(),
    ),
    Example(
        name="notebook",
        first=("study.ipynb", "alpha=0.01"),
        second=("study.ipynb", "alpha=10"),
        changed={"alpha": 0.01},
        metrics={"mean score": (0.48, 0.03)},
        outputs=frozenset(["figures/cell-3.png", "study.executed.ipynb"]),
    ),
    Example(
        name="package",
        first=("-m", "wine.train", "trees=20"),
        second=("-m", "wine.train", "trees=2", "max-depth=1"),
        changed={"trees": 20, "max-depth": None},
        metrics={"train accuracy": (1.0, 0.02), "accuracy": (0.97, 0.04)},
        outputs=frozenset(["importances.csv"]),
    ),
    Example(
        name="tumours",
        first=("train.py",),
        second=("train.py", "C=0.001"),
        changed={"C": 1.0},
        metrics={"accuracy": (0.95, 0.04), "auc": (0.985, 0.02)},
        outputs=frozenset(["results/metrics.json", "results/model.joblib", "results/roc.png"]),
        inputs=frozenset(["data/part-1.csv", "data/part-2.csv", "data/part-3.csv"]),
    ),
    Example(
        name="operations",
        first=("train", "k=7", "metric=c"),
        second=("train", "k=7"),
        changed={"metric": "city"},
        metrics={"accuracy": (93.33, 0.001)},
        outputs=frozenset(["mistakes.csv", "settings.toml"]),
        inputs=frozenset(["iris.csv"]),
    ),
    Example(
        name="pipeline",
        first=("prepare", "seed=1"),
        second=("prepare", "test_size=0.5"),
        changed={"seed": 1, "test_size": 0.3},
        metrics={"test flowers": (45, 0), "train flowers": (105, 0)},
        outputs=frozenset(["split/test.csv", "split/train.csv"]),
        inputs=frozenset(["iris.csv"]),
    ),
    Example(
        name="shell",
        first=("epochs=30", "lr=0.2", "--", "sh", "train.sh", "{epochs}"),
        second=("epochs=3", "lr=0.2", "--", "sh", "train.sh", "{epochs}"),
        changed={"epochs": 30},
        metrics={"loss": (0.19064, 0.0001), "r2": (0.61967, 0.0001)},
        outputs=frozenset(["line.txt"]),
        inputs=frozenset(["wine.csv"]),
        program="awk",
    ),
    Example(
        name="r",
        first=("degree=2", "--", "Rscript", "train.R", "--degree", "{degree}"),
        second=("degree=1", "--", "Rscript", "train.R", "--degree", "{degree}"),
        changed={"degree": 2},
        metrics={"rmse": (2.5, 2.0), "r2": (0.819061, 1e-6), "aic": (158.0484, 1e-4)},
        outputs=frozenset(["residuals.csv", "model.rds"]),
        program="Rscript",
    ),
    Example(
        name="node",
        first=(
            "lr=1",
            "epochs=20",
            "--",
            "node",
            "train.js",
            "--lr",
            "{lr}",
            "--epochs",
            "{epochs}",
        ),
        second=(
            "lr=2",
            "epochs=20",
            "--",
            "node",
            "train.js",
            "--lr",
            "{lr}",
            "--epochs",
            "{epochs}",
        ),
        changed={"lr": 1},
        metrics={"loss": (0.154405, 1e-5), "accuracy": (0.95, 0.001)},
        outputs=frozenset(["model.json"]),
        inputs=frozenset(["iris.csv"]),
        program="node",
    ),
)


class Workplace(NamedTuple):
    """A copy of an example in which both of its runs were made."""

    example: Example
    project: Path
    env: dict[str, str]

    def reenact(self, *words: str, status: int = 0) -> str:
        """Return what a command printed; it must end with that status."""
        done = subprocess.run(
            [sys.executable, "-m", "reenact", *words],
            cwd=self.project,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout

    def json(self, *words: str, status: int = 0) -> Any:
        return json.loads(self.reenact(*words, "--json", status=status))


@pytest.fixture(scope="module", params=ALL, ids=[example.name for example in ALL])
def workplace(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Workplace:
    example: Example = request.param
    needs(example.program)
    home = tmp_path_factory.mktemp(example.name)
    project = home / "project"
    shutil.copytree(EXAMPLES / example.name, project, ignore=shutil.ignore_patterns("__pycache__"))
    env = {
        "PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "REENACT_HOME": str(home / "store"),
        # Where matplotlib keeps what it found out about fonts: slow to make, so made once.
        "MPLCONFIGDIR": str(tmp_path_factory.getbasetemp() / "matplotlib"),
        "LC_ALL": "C.UTF-8",
    }
    place = Workplace(example, project, env)
    place.reenact("run", "--label", "first", *example.first)
    place.reenact("run", "--label", "second", *example.second)
    return place


def test_an_example_is_listed_with_its_flags_and_metrics(workplace: Workplace) -> None:
    example = workplace.example

    second, first = workplace.json("runs")["runs"]

    assert [first["label"], second["label"]] == ["first", "second"]
    assert [first["status"], second["status"]] == ["completed", "completed"]
    flags = {name: first["flags"][name] for name in example.changed}
    assert flags == example.changed
    reported = {name: first["metrics"][name]["last"] for name in example.metrics}
    assert reported == {
        name: pytest.approx(value, abs=tolerance)
        for name, (value, tolerance) in example.metrics.items()
    }


def test_an_example_leaves_its_outputs_in_the_run_and_not_in_the_project(
    workplace: Workplace,
) -> None:
    before = {p.name for p in (EXAMPLES / workplace.example.name).iterdir()}

    outputs = {file["path"] for file in workplace.json("ls", "first")["files"]}

    assert outputs == workplace.example.outputs
    assert {p.name for p in workplace.project.iterdir()} - {"__pycache__"} == before - {
        "__pycache__"
    }


def test_the_files_that_an_example_reads_are_its_inputs(workplace: Workplace) -> None:
    files = workplace.json("ls", "first", "--inputs")["files"]

    assert {file["path"] for file in files} == workplace.example.inputs


def test_two_runs_of_an_example_are_told_apart(workplace: Workplace) -> None:
    sections = workplace.json("diff", "first", "second", status=3)["sections"]

    changed = {change["name"]: change["a"] for change in sections["flags"]["changes"]}
    assert changed == workplace.example.changed
    assert sections["metrics"]["changes"]
    assert sections["source"]["changes"] == []


def test_two_runs_of_an_example_are_compared(workplace: Workplace) -> None:
    example = workplace.example

    found = workplace.json("compare", "first", "second")

    first, second = (row["values"] for row in found["rows"])
    assert [first["label"], second["label"]] == ["first", "second"]
    assert {name: first[name] for name in example.changed} == example.changed
    differing = {column["heading"] for column in found["columns"] if column["differs"]}
    assert differing >= example.changed.keys()


def test_the_store_of_an_example_is_sound(workplace: Workplace) -> None:
    checked = workplace.json("fsck")

    assert (checked["runs"], checked["problems"]) == (2, [])


def test_every_example_is_tested_and_stands_in_the_readme_with_a_command() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")

    names = {p.name for p in EXAMPLES.iterdir() if p.is_dir()}

    assert names == {example.name for example in ALL}
    assert {name for name in names if f"    cd {name} && reenact run " not in text} == set()


def test_no_example_knows_of_reenact() -> None:
    scripts = [p for p in EXAMPLES.rglob("*.*") if p.suffix in (".py", ".R", ".js", ".sh")]

    assert len(scripts) >= len(ALL)
    assert [p for p in scripts if "reenact" in p.read_text(encoding="utf-8").lower()] == []
