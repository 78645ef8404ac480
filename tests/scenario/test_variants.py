"""Batches over variants of the code: commits, patches, and the files as they are."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from commands import Desk, tree_of

TRAIN = "rate = 1\nprint(f'loss: {rate * 10}')\n"


class Repository:
    """A project in git, with a branch `doubled` beside `main`."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.git("init", "-q", "-b", "main")
        desk.write("train.py", TRAIN)
        desk.write("more/notes.txt", "notes\n")
        self.commit("first")
        self.git("checkout", "-q", "-b", "doubled")
        desk.write("train.py", "rate = 1\nspeed = 2\nprint(f'loss: {rate * 20}')\n")
        desk.write("extra.py", "")
        self.commit("second")
        self.git("checkout", "-q", "main")

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        done = subprocess.run(
            ["git", *identity, *words],
            cwd=self.desk.project,
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull},
        )
        return done.stdout.strip()

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def repository(desk: Desk) -> Repository:
    return Repository(desk)


def batch_of(desk: Desk) -> dict[str, Any]:
    found = [run for run in desk.json("runs", "--all")["runs"] if run["batch"]]
    assert len(found) == 1
    shown: dict[str, Any] = desk.json("show", found[0]["id"])
    return shown


def results(desk: Desk, *names: str) -> list[tuple[Any, ...]]:
    """Return variant, flags and loss of each trial."""
    return [
        (t["variant"], *(t["flags"].get(n) for n in names), t["metrics"]["loss"]["last"])
        for t in batch_of(desk)["trials"]
    ]


def test_every_branch_is_run_with_every_value(desk: Desk, repository: Repository) -> None:
    before = tree_of(desk.project)
    status = repository.git("status", "--porcelain=v2", "--branch")

    desk.ok("run", "train.py", "rate=[1,2]", "--variants", "main,doubled", "-q", "--jobs", "2")

    assert results(desk, "rate") == [
        ("main", 1, 10),
        ("main", 2, 20),
        ("doubled", 1, 20),
        ("doubled", 2, 40),
    ]
    after = tree_of(desk.project)
    assert {p: c for p, c in before.items() if p != ".git/index"} == {
        p: c for p, c in after.items() if p != ".git/index"
    }
    assert repository.git("status", "--porcelain=v2", "--branch") == status


def test_a_trial_records_its_variant_and_commit(desk: Desk, repository: Repository) -> None:
    desk.write("train.py", "raise SystemExit('not what is committed')")
    desk.ok("run", "train.py", "--variants", "main", "--variants", "doubled", "-q")

    main, doubled = (desk.record(trial["id"]) for trial in batch_of(desk)["trials"])

    assert (main["variant"], doubled["variant"]) == ("main", "doubled")
    assert doubled["source"]["vcs"] == {
        "commit": repository.git("rev-parse", "doubled"),
        "branch": "doubled",
        "is_dirty": False,
    }
    assert (doubled["flags"], main["flags"]) == ({"rate": 1, "speed": 2}, {"rate": 1})
    assert "speed = 2" in desk.ok("cat", doubled["id"], "train.py")
    assert (doubled["source"]["files"], main["source"]["files"]) == (3, 2)
    assert "+speed = 2" in desk.reenact("diff", main["id"], doubled["id"]).out
    assert "doubled" in desk.ok("show", doubled["id"])
    (found,) = desk.json("runs", "-f", "variant = doubled")["runs"]
    assert found["id"] == doubled["id"]
    rows = desk.json("compare", "--columns", "variant, loss")["rows"]
    assert {row["values"]["variant"] for row in rows} == {"main", "doubled"}
    again = desk.run("--like", doubled["id"], "-q")
    assert desk.record(again)["variant"] == "doubled"
    assert desk.record(again)["source"]["tree"] == doubled["source"]["tree"]


def test_patches_are_applied_to_the_source_as_it_is(desk: Desk, repository: Repository) -> None:
    desk.write("train.py", TRAIN.replace("* 10", "* 30"))
    triple = repository.git("diff") + "\n"
    desk.write("train.py", TRAIN.replace("10", "100"))
    desk.write("hundred.patch", repository.git("diff") + "\n")
    desk.write("train.py", TRAIN)
    desk.write("triple.diff", triple)

    desk.ok("run", "train.py", "--variants", ".", "triple.diff", "hundred.patch", "-q")

    assert results(desk) == [(".", 10), ("triple.diff", 30), ("hundred.patch", 100)]
    assert (desk.project / "train.py").read_text() == TRAIN


def test_a_pattern_stands_for_patches_outside_of_git_too(desk: Desk) -> None:
    desk.write("train.py", TRAIN)
    change = "--- a/train.py\n+++ b/train.py\n@@ -1,2 +1,2 @@\n-rate = 1\n+rate = {}\n print(f'loss: {{rate * 10}}')\n"
    for rate in (5, 6):
        desk.write(f"to-{rate}.patch", change.format(rate))

    desk.ok("run", "train.py", "--variants=to-*.patch", "-q")

    assert results(desk, "rate") == [("to-5.patch", 5, 50), ("to-6.patch", 6, 60)]


def test_a_project_below_the_top_of_its_repository(desk: Desk, repository: Repository) -> None:
    desk.write("sub/reenact.yml", "- operations:\n    train: {main: train}\n")
    desk.write("sub/train.py", TRAIN)
    repository.commit("sub")
    desk.write("sub/train.py", TRAIN.replace("10", "40"))
    desk.write("forty.patch", repository.git("diff") + "\n")
    repository.git("checkout", "-q", "sub/train.py")

    desk.ok("-C", "sub", "run", "train", "--variants", "main,../forty.patch", "-q")

    assert [row[-1] for row in results(desk)] == [10, 40]


def test_a_search_chooses_among_variants(desk: Desk, repository: Repository) -> None:
    del repository
    desk.ok("run", "train.py", "rate=[1,2]", "--variants", "main,doubled", "-N", "loss", "-q",
            "--optimizer", "grid")  # fmt: skip

    assert sorted(results(desk, "rate")) == [
        ("doubled", 1, 20),
        ("doubled", 2, 40),
        ("main", 1, 10),
        ("main", 2, 20),
    ]


def test_a_batch_of_variants_goes_on_with_the_code_that_it_began_with(
    desk: Desk, repository: Repository
) -> None:
    batch = desk.ok("run", "train.py", "--variants", "main,doubled", "--stage").strip()
    repository.git("branch", "-f", "doubled", "main")
    desk.ok("gc")

    desk.ok("run", "--restart", batch, "-q")

    assert results(desk) == [("main", 10), ("doubled", 20)]
    assert desk.ok("fsck") is not None


def test_what_would_run_names_the_variants(desk: Desk, repository: Repository) -> None:
    del repository
    out = desk.ok("run", "train.py", "rate=[1,2]", "--variants", "main,doubled", "--print-trials")

    assert [line.split("\t")[1] for line in out.splitlines()] == [
        "main", "main", "doubled", "doubled",
    ]  # fmt: skip
    assert not desk.store.exists() or desk.ids() == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--variants", "nothing"], "variant `nothing` is no branch, tag or commit"),
        (["--variants", "--output=x"], "variant `--output=x` is no branch, tag or commit"),
        (["--variants", "none.patch"], "there is no patch `none.patch`"),
        (["--variants", "*.patch"], "no file fits `*.patch`"),
        (["--variants", "main", "--in-place"], "exclude each other"),
        (["--variants", "main", "--no-snapshot"], "exclude each other"),
        (["--variants", "main", "--needed"], "exclude each other"),
        (["speed=[1,2]", "--variants", "main,doubled"], "speed"),
        (["--variants", "bad.patch"], "variant `bad.patch` does not apply"),
    ],
)
def test_variants_that_cannot_be_run_are_refused(
    desk: Desk, repository: Repository, words: list[str], message: str
) -> None:
    if "bad.patch" in words:
        desk.write("bad.patch", "--- a/train.py\n+++ b/train.py\n@@ -1 +1 @@\n-x\n+y\n")
    del repository

    done = desk.reenact("run", "train.py", *words)

    assert done.status == 2
    assert message in done.err
    assert desk.ids() == []
