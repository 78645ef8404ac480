"""What is set of who searches: a built-in optimizer, an operation, on the command line or in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from commands import Desk

TRAIN = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float, default=0.0)
parser.add_argument("--y", type=int, default=1)
parser.add_argument("--password", default="none")
args = parser.parse_args()
print(f"loss: {(args.x - 2) ** 2 + args.y}")
"""

STEPS = '''
"""Proposes x in even steps, and nothing else."""
import argparse, json, os
parser = argparse.ArgumentParser()
parser.add_argument("--width", type=float, default=1.0)
parser.add_argument("--tries", type=int, default=2)
parser.add_argument("--mode", default="up")
args = parser.parse_args()
known = json.load(open(os.environ["REENACT_TRIALS"]))
count = len(known["trials"])
with open(os.environ["REENACT_PROPOSALS"], "w") as file:
    if count < args.tries:
        print(json.dumps({"x": args.width * count}), file=file)
'''


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.write("train.py", TRAIN)
    desk.write("steps.py", STEPS)
    return desk


def batch_of(desk: Desk, which: str = "@latest") -> dict[str, Any]:
    found: dict[str, Any] = desk.json("show", which)
    return found


def tried(desk: Desk) -> list[float]:
    return [trial["flags"]["x"] for trial in batch_of(desk)["trials"]]


# --- an operation ---


@pytest.mark.parametrize("option", ["--opt-flag", "-Fo"])
def test_flags_of_an_operation_that_searches_are_set_apart_from_those_of_its_trials(
    desk: Desk, option: str
) -> None:
    desk.ok(
        "run", "train.py", "-o", "steps.py", option, "width=0.5", option, "tries=3", "y=2", "-q"
    )

    batch = batch_of(desk)
    assert tried(desk) == [0.0, 0.5, 1.0]
    assert {trial["flags"]["y"] for trial in batch["trials"]} == {2}
    assert batch["run"]["batch"]["optimizer_flags"] == {"width": 0.5, "tries": 3}
    assert "--opt-flag width=0.5 --opt-flag tries=3" in " ".join(batch["run"]["command"])
    rounds = [r for r in map(desk.record, desk.ids()) if r.get("part", "").startswith("round:")]
    assert {json.dumps(r["flags"], sort_keys=True) for r in rounds} == {
        json.dumps({"width": 0.5, "tries": 3, "mode": "up"}, sort_keys=True)
    }
    assert "optimizer   ./steps.py width=0.5 tries=3" in desk.ok("show", "@latest")


def test_a_search_that_goes_on_keeps_the_flags_of_its_optimizer(desk: Desk) -> None:
    desk.ok("run", "train.py", "-o", "steps.py", "-Fo", "tries=3", "-Fo", "mode=1", "--stage")
    desk.ok("run", "--restart", "@latest", "-q")

    assert tried(desk) == [0.0, 1.0, 2.0]
    rounds = [r for r in map(desk.record, desk.ids()) if r.get("part", "").startswith("round:")]
    assert {r["flags"]["mode"] for r in rounds} == {"1"}


def test_a_secret_of_an_optimizer_is_not_recorded(desk: Desk) -> None:
    desk.write("steps.py", STEPS.replace('"--mode"', '"--api_key"'))
    words = ["run", "train.py", "-o", "steps.py", "-Fo", "api_key=hunter2", "password=hunter2"]
    desk.ok(*words, "-q")

    assert tried(desk) == [0.0, 1.0]
    for path in desk.store.rglob("*"):
        if path.is_file() and "index" not in path.name:
            assert b"hunter2" not in path.read_bytes(), path
    done = desk.reenact("run", "--restart", "@latest")
    assert done.status == 2
    assert "was a secret and is not recorded" in done.err


def test_an_operation_may_search_where_the_user_names_no_space(desk: Desk) -> None:
    desk.ok("run", "train.py", "-o", "steps.py", "y=3", "password=a", "-q")

    batch = batch_of(desk)
    assert tried(desk) == [0.0, 1.0]
    assert batch["run"]["batch"].get("spaces", {}) == {}
    told = json.loads(desk.file(batch["run"]["id"], "rounds/1.json").read_text())
    assert told["spaces"] == {}
    assert told["flags"] == {"x": 0.0, "y": 3, "password": "<redacted>"}


@pytest.mark.parametrize(
    ("proposal", "message"),
    [
        ('{"xx": 1}', "unknown flag `xx` for train.py (did you mean `x`?"),
        ('{"x": "much"}', "flag `x` takes a number, not `much`"),
        ('{"y": 4}', "sets `y`, which you have set"),
    ],
)
def test_what_is_proposed_freely_must_be_a_flag_that_is_not_set(
    desk: Desk, proposal: str, message: str
) -> None:
    desk.write(
        "wrong.py",
        f"import os\nopen(os.environ['REENACT_PROPOSALS'], 'w').write({proposal!r} + chr(10))\n",
    )

    done = desk.reenact("run", "train.py", "-o", "wrong.py", "y=3")

    assert done.status == 1
    assert "the optimizer `./wrong.py`: round:1, line 1" in done.err
    assert message in done.err
    assert batch_of(desk)["trials"] == []


def test_a_built_in_search_needs_a_space(desk: Desk) -> None:
    done = desk.reenact("run", "train.py", "-o", "random")

    assert done.status == 2
    assert "there is nothing to search" in done.err


# --- a built-in one ---


def test_settings_of_a_built_in_search_are_read_and_recorded(desk: Desk) -> None:
    desk.ok("run", "train.py", "x=[0.0:1.0]", "-o", "grid", "-Fo", "points=3", "-q")

    assert tried(desk) == [0.0, 0.5, 1.0]
    assert batch_of(desk)["run"]["batch"]["optimizer_flags"] == {"points": 3}


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["-o", "grid", "-Fo", "point=3"], "unknown flag `point` for the optimizer `grid`",
         "did you mean `points`?"),
        (["-o", "grid", "-Fo", "points=few"], "flag `points` takes an integer, not `few`", ""),
        (["-o", "grid", "-Fo", "points=1"], "flag `points` is at least 2, not `1`", ""),
        (["-o", "random", "-Fo", "points=3"], "unknown flag `points` for the optimizer `random`",
         "flags are: prev-trials"),
        (["-o", "random", "-Fo", "prev-trials=all"],
         "flag `prev-trials` takes one of `operation`, `sourcecode`, `batch`, not `all`", ""),
        (["-o", "random", "-Fo", "points"], "`--opt-flag points` sets nothing", "NAME=VALUE"),
        (["-o", "steps.py", "-Fo", "widht=3"], "unknown flag `widht` for steps.py",
         "did you mean `width`?"),
        (["-o", "random", "-Fo", "prev-trials=sourcecode", "--no-snapshot"],
         "`prev-trials=sourcecode` needs a snapshot", ""),
    ],
)  # fmt: skip
def test_a_setting_that_is_refused_is_refused_before_anything_starts(
    desk: Desk, words: list[str], message: str, hint: str
) -> None:
    done = desk.reenact("run", "train.py", "x=[0.0:1.0]", *words)

    assert done.status == 2
    assert message in done.complaint[0]
    assert hint in done.err
    assert desk.ids() == []


@pytest.mark.parametrize("words", [["x=[0.0,1.0]"], ["x=1.0"]])
def test_settings_without_a_search_are_refused(desk: Desk, words: list[str]) -> None:
    done = desk.reenact("run", "train.py", *words, "-Fo", "points=3")

    assert done.status == 2
    assert "--opt-flag" in done.complaint[0]


def test_settings_that_guild_has_are_accepted_and_said_to_have_no_effect(desk: Desk) -> None:
    done = desk.reenact("run", "train.py", "x=[0.0:1.0]", "-o", "forest", "-N", "loss", "--trials",
                        "1", "-Fo", "kappa=1.8", "-Fo", "random-starts=4", "-q")  # fmt: skip

    assert done.status == 0
    assert "there is no `forest` here" in done.err
    assert "`kappa` has no effect on the optimizer `tpe`" in done.err
    assert batch_of(desk)["run"]["batch"]["optimizer_flags"] == {"random-starts": 4}


@pytest.mark.parametrize(
    ("previous", "learnt"), [("operation", [0.5]), ("sourcecode", [0.25, 0.5]),
                             ("batch", [0.25, 0.5])],
)  # fmt: skip
def test_the_user_says_which_earlier_runs_count(
    desk: Desk, previous: str, learnt: list[float]
) -> None:
    desk.ok("run", "train.py", "x=0.25", "-q")
    desk.write("train.py", TRAIN + "\n# changed\n")

    desk.ok("run", "train.py", "x=[0.25,0.5]", "-o", "grid", "-N", "loss", "-q",
            "-Fo", f"prev-trials={previous}")  # fmt: skip

    assert tried(desk) == learnt


def test_runs_of_the_same_source_count(desk: Desk) -> None:
    desk.ok("run", "train.py", "x=0.25", "-q")

    desk.ok("run", "train.py", "x=[0.25,0.5]", "-o", "grid", "-N", "loss", "-q",
            "-Fo", "prev-trials=sourcecode")  # fmt: skip

    assert tried(desk) == [0.5]


# --- the project file ---

FILE = """
train:
  main: train
  flags-import: all
  objective: loss
  optimizers:
    coarse: {algorithm: grid, points: 2, default: yes}
    fine: {algorithm: grid, points: 5}
    own: {algorithm: search, tries: 3, width: 0.25}
search:
  main: steps
  flags-import: all
"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["x=[0.0:1.0]"], [0.0, 1.0]),
        (["x=[0.0:1.0]", "-O"], [0.0, 1.0]),
        (["x=[0.0:1.0]", "-o", "fine"], [0.0, 0.25, 0.5, 0.75, 1.0]),
        (["x=[0.0:1.0]", "-o", "fine", "-Fo", "points=3"], [0.0, 0.5, 1.0]),
        (["-o", "own"], [0.0, 0.25, 0.5]),
        (["-o", "own", "-Fo", "tries=1"], [0.0]),
        (["-o", "search"], [0.0, 1.0]),
    ],
)
def test_optimizers_of_a_project_file_bring_their_flags(
    desk: Desk, words: list[str], expected: list[float]
) -> None:
    desk.write("guild.yml", FILE)

    desk.ok("run", "train", *words, "-q")

    assert tried(desk) == expected


def test_the_first_optimizer_is_meant_where_none_is_the_default(desk: Desk) -> None:
    desk.write("guild.yml", FILE.replace(", default: yes", ""))

    desk.ok("run", "train", "x=[0.0:1.0]", "--optimize", "-q")

    assert tried(desk) == [0.0, 1.0]


def test_a_step_of_a_pipeline_sets_its_optimizer(desk: Desk) -> None:
    desk.write("guild.yml", FILE + "all:\n  steps:\n"
               "    - train x=[0.0:1.0] -o fine -Fo points=3\n"
               "    - run: train\n      name: own\n      optimizer: own\n"
               "      opt-flags: {tries: 2}\n")  # fmt: skip

    desk.ok("run", "all", "-q")

    batches = [r for r in map(desk.record, desk.ids()) if r.get("batch")]
    assert {r["part"]: r["batch"]["optimizer_flags"] for r in batches} == {
        "train": {"points": 3},
        "own": {"tries": 2, "width": 0.25},
    }
    assert {r["part"]: r["batch"]["completed"] for r in batches} == {"train": 3, "own": 2}


@pytest.mark.parametrize(
    ("optimizer", "level", "found"),
    [
        ("{algorithm: grid, point: 2}", "warning", "unknown flag `point` for the optimizer `grid`"),
        ("{algorithm: grid, points: few}", "error", "flag `points` takes an integer, not `few`"),
        ("{algorithm: gp, xi: 0.1}", "note", "`xi` of the optimizer of operation `train` has no"),
        ("{algorithm: search, width: wide}", "error", "flag `width` takes a number, not `wide`"),
        ("{algorithm: search, weight: 1}", "error", "unknown flag `weight` for operation `search`"),
        ("serach", "error", "there is neither a search nor an operation of this name"),
    ],
)
def test_check_says_what_is_wrong_with_an_optimizer(
    desk: Desk, optimizer: str, level: str, found: str
) -> None:
    text = FILE[: FILE.index("  optimizers")] + f"  optimizer: {optimizer}\n"
    desk.write("guild.yml", text + FILE[FILE.index("search:\n") :])

    findings = desk.json("check")["findings"]

    assert [finding["level"] for finding in findings] == [level]
    assert found in findings[0]["message"]
    assert findings[0]["line"] == 6


def test_what_a_project_file_sets_of_a_search_that_lacks_it_is_said(desk: Desk) -> None:
    desk.write("guild.yml", FILE.replace("points: 2", "points: 2, shape: 3"))

    done = desk.reenact("run", "train", "x=[0.0:1.0]", "-q")

    assert done.status == 0
    assert "the project file sets `shape`, which the optimizer `grid` does not have" in done.err
