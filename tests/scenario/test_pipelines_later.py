"""Pipelines that are set aside and started later, or restarted in another world than they began in."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from commands import Desk, wait_until

STEP = """
import os, pathlib, sys
name = ""
lr = 0.1
given = pathlib.Path("data.txt").read_text() if os.path.exists("data.txt") else ""
pathlib.Path("out.txt").write_text(f"{name}({given})")
print(f"loss: {lr}")
print("by", os.environ.get("FOUND_BY", "nobody"))
if pathlib.Path(os.environ["SWITCH"]).exists():
    sys.exit(name == "train")
"""

FILE = """
study:
  flags: {lr: 0.1}
  steps:
    - prepare
    - {run: train, flags: {lr: '${lr}'}}
prepare: {main: step, flags: {name: prepare}}
train:
  main: step
  flags: {name: train, lr: 1}
  requires: {operation: prepare, select: out.txt, rename: out data}
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.env["SWITCH"] = str(tmp_path / "fail")
    desk.write("step.py", STEP)
    desk.write("reenact.yml", FILE)
    return desk


def fail(desk: Desk, *, is_on: bool = True) -> None:
    """Let `train` fail from now on, or not any more."""
    path = Path(desk.env["SWITCH"])
    if is_on:
        path.touch()
    else:
        path.unlink()


def steps(desk: Desk, run: str) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in desk.json("show", run)["steps"]}


def printed(desk: Desk, run: str) -> list[str]:
    return desk.ok("log", run).splitlines()


# --- staged ---


def test_a_staged_pipeline_runs_from_the_source_of_when_it_was_staged(desk: Desk) -> None:
    staged = desk.ok("run", "study", "lr=0.5", "--stage", "--label", "L").strip()
    desk.write("step.py", "raise SystemExit('edited')")
    desk.write("reenact.yml", "study: {steps: [other]}\nother: {main: step}\n")
    desk.ok("gc")
    waiting = desk.json("queue", "--list")["runs"]

    done = desk.reenact("queue", "--once")

    assert [run["id"] for run in waiting] == [staged]
    assert done.status == 0
    assert desk.status(staged) == "completed"
    record = desk.record(staged)
    assert record["staged"] < record["started"]
    assert "restarts" not in record
    found = steps(desk, staged)
    assert {name: step["status"] for name, step in found.items()} == {
        "prepare": "completed",
        "train": "completed",
    }
    assert "loss: 0.5" in printed(desk, found["train"]["run"])


def test_a_staged_pipeline_can_be_started_by_hand(desk: Desk) -> None:
    staged = desk.ok("run", "study", "--stage", "--jobs", "2").strip()
    before = steps(desk, staged)

    planned = desk.json("run", "--restart", staged, "--dry-run")
    desk.ok("run", "--restart", staged)

    assert [step["status"] for step in planned["steps"]] == ["waiting", "waiting"]
    assert [step["status"] for step in before.values()] == ["waiting", "waiting"]
    assert desk.status(staged) == "completed"
    assert desk.record(staged)["pipeline"]["jobs"] == 2


def test_what_a_step_does_by_default_is_what_it_does_later(desk: Desk) -> None:
    """Its operation is a batch by its defaults, in any language."""
    desk.write(
        "reenact.yml",
        "study: {steps: [train]}\ntrain: {exec: 'echo loss: ${lr}', flags: {lr: [1, 2]}}\n",
    )
    staged = desk.ok("run", "study", "--stage").strip()

    desk.ok("queue", "--once")

    trials = desk.json("show", steps(desk, staged)["train"]["run"])["trials"]
    assert [trial["flags"]["lr"] for trial in trials] == [1, 2]


def test_a_pipeline_that_is_not_wanted_any_more_is_stopped(desk: Desk) -> None:
    staged = desk.ok("run", "study", "--stage").strip()

    desk.ok("stop", staged)
    desk.ok("queue", "--once")

    assert desk.status(staged) == "terminated"
    assert len(desk.ids()) == 1


@pytest.mark.parametrize("option", ["--in-place", "--no-snapshot"])
def test_what_is_staged_needs_a_snapshot(desk: Desk, option: str) -> None:
    desk.write("reenact.yml", "study: {steps: [bare]}\nbare: {main: step}\n")

    refused = desk.reenact("run", "study", "--stage", option)

    assert refused.status == 2
    assert f"`--stage` keeps a copy of the source, which `{option}` does not use" in refused.err
    assert desk.ids() == []


def test_a_queue_that_is_killed_leaves_a_pipeline_that_another_one_completes(
    desk: Desk, tmp_path: Path
) -> None:
    """The queue's part is one process, the pipeline's supervisor: it goes on by itself."""
    desk.write(
        "step.py",
        STEP + "\nimport time\nwhile not os.path.exists(os.environ['GO']): time.sleep(0.01)\n",
    )
    desk.env["GO"] = str(tmp_path / "go")
    staged = desk.ok("run", "study", "--stage").strip()

    with desk.start("queue", "--once") as queue:
        wait_until(lambda: desk.status(staged) == "running", what="the pipeline runs")
        supervisor = desk.record(staged)["supervisor_pid"]
        queue.kill()
    os.kill(supervisor, signal.SIGKILL)
    (tmp_path / "go").touch()
    wait_until(lambda: desk.status(staged) == "killed", what="nobody watches over it")
    desk.ok("run", "--restart", staged)

    assert desk.status(staged) == "completed"


# --- restarted ---


def test_a_restart_takes_what_is_there_where_that_is_asked_for(desk: Desk) -> None:
    fail(desk)
    broken = _new(desk, "study")
    fail(desk, is_on=False)
    good = _new(desk, "study")

    explained = desk.reenact("run", "--restart", broken, "--needed", "--explain")

    assert explained.status == 0, explained
    assert steps(desk, broken)["train"]["taken"] is True
    assert steps(desk, broken)["train"]["run"] == steps(desk, good)["train"]["run"]
    assert "train: run " in explained.err
    assert desk.record(broken)["pipeline"]["took"].keys() == {"train"}


def test_a_restart_runs_what_no_earlier_run_says(desk: Desk) -> None:
    fail(desk)
    broken = _new(desk, "study")
    failed = steps(desk, broken)["train"]["run"]
    fail(desk, is_on=False)

    explained = desk.reenact("run", "--restart", broken, "--needed", "--explain")

    assert explained.status == 0, explained
    assert "train: it runs: no run of it has completed" in explained.err
    assert steps(desk, broken)["train"]["run"] == failed
    assert desk.status(failed) == "completed"


def test_a_pipeline_goes_on_with_the_interpreter_that_it_began_with(
    desk: Desk, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        python = tmp_path / name / "python"
        python.parent.mkdir()
        python.write_text(f'#!/bin/sh\nFOUND_BY={name} exec {sys.executable} "$@"\n')
        python.chmod(0o755)
    desk.write(
        "reenact.yml",
        FILE.replace("- prepare\n", "- prepare\n    - {run: step.py, needs: [train]}\n"),
    )

    def found(name: str) -> dict[str, str]:
        path = f"{tmp_path / name}:{os.environ['PATH']}"
        return {"PATH": path, "VIRTUAL_ENV": "", "CONDA_PREFIX": ""}

    fail(desk)
    broken = _new(desk, "study", env=found("first"))
    fail(desk, is_on=False)
    desk.ok("run", "--restart", broken, env=found("second"))
    again = steps(desk, broken)

    assert "by first" in printed(desk, again["train"]["run"])
    assert "by first" in printed(desk, again["step.py"]["run"])
    python = str(tmp_path / "first" / "python")
    assert [step["python"] for step in desk.record(broken)["pipeline"]["steps"]] == [python] * 3


def test_what_a_restart_cannot_change_is_refused(desk: Desk) -> None:
    fail(desk)
    broken = _new(desk, "study")

    for option in (["--label", "x"], ["--stage"], ["--env", "A=1"], ["--trials", "3"]):
        refused = desk.reenact("run", "--restart", broken, *option)
        assert refused.status == 2
        assert f"`{option[0]}` is not for a pipeline that is restarted" in refused.err


def _new(desk: Desk, *words: str, **options: Any) -> str:
    """Run a pipeline; return its id."""
    done = desk.reenact("run", *words, "--json", **options)
    assert done.out, done
    return str(json.loads(done.out)["run"]["id"])
