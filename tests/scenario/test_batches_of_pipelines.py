"""Batches whose trials are pipelines: several values for a pipeline's own flags."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import Desk, wait_until

STEP = """
import os, pathlib, sys, time
name = ""
lr = 0.1
seed = 0
wait = False
fail = -1
given = pathlib.Path("data.txt").read_text() if os.path.exists("data.txt") else ""
pathlib.Path(os.environ["LOG"]).open("a").write(f"{name}{lr:g}\\n")
pathlib.Path("out.txt").write_text(f"{name}{lr:g}({given})")
if wait:
    pathlib.Path(os.environ["LOG"] + f"-{lr:g}").write_text(str(os.getpid()))
    deadline = time.monotonic() + 120
    while not os.path.exists(os.environ["LOG"] + "-go") and time.monotonic() < deadline:
        time.sleep(0.01)
if lr == fail:
    sys.exit(3)
print(f"loss: {lr * 2}")
"""

FILE = """
study:
  flags: {lr: 0.1, wait: no, fail: -1}
  steps:
    - {run: prepare, flags: {lr: '${lr}'}}
    - {run: train, flags: {lr: '${lr}', wait: '${wait}', fail: '${fail}'}}
prepare: {main: step, flags: {name: p, lr: 0}}
train:
  main: step
  flags: {name: t, lr: 0, wait: no, fail: -1, seed: 0}
  requires: {operation: prepare, select: out.txt, rename: out data}
"""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    desk.env["LOG"] = str(tmp_path / "log")
    desk.write("step.py", STEP)
    desk.write("reenact.yml", FILE)
    yield desk
    Path(desk.env["LOG"] + "-go").touch()  # No step outlives its test.


def ran(desk: Desk) -> list[str]:
    """Return what really ran since the last time that this was asked."""
    path = Path(desk.env["LOG"])
    names = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return names


def batch(desk: Desk, *words: str, status: int = 0) -> dict[str, Any]:
    """Run a batch; return what `--json` says."""
    done = desk.reenact("run", *words, "--json")
    assert done.status == status, done
    found: dict[str, Any] = json.loads(done.out)
    return found


def steps(desk: Desk, run: str) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in desk.json("show", run)["steps"]}


def output(desk: Desk, step: dict[str, Any]) -> str:
    return (desk.store / "runs" / step["run"] / "out.txt").read_text()


def is_waiting(desk: Desk, lr: str) -> bool:
    path = Path(f"{desk.env['LOG']}-{lr}")
    return path.exists() and bool(path.read_text())


def kill(desk: Desk, process: subprocess.Popen[bytes]) -> None:
    """Kill everything that works for a batch, with no chance to say anything."""
    records = [desk.record(run) for run in desk.ids()]
    # Parents first: they must not see their parts die.
    records.sort(
        key=lambda record: "parent" in record and record["operation"]["kind"] != "pipeline"
    )
    supervisors = [process.pid, *(record["supervisor_pid"] for record in records)]
    groups = [record["process_group"] for record in records if record.get("process_group")]
    for pid in dict.fromkeys((*supervisors, *groups)):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def test_each_value_of_a_flag_makes_a_pipeline(desk: Desk) -> None:
    found = batch(desk, "study", "lr=[0.5,0.25]")

    trials = found["trials"]
    assert [trial["flags"]["lr"] for trial in trials] == [0.5, 0.25]
    assert [trial["status"] for trial in trials] == ["completed", "completed"]
    assert [trial["metrics"]["loss"]["last"] for trial in trials] == [1.0, 0.5]
    first = steps(desk, trials[0]["id"])
    second = steps(desk, trials[1]["id"])
    assert output(desk, first["train"]) == "t0.5(p0.5())"
    assert output(desk, second["train"]) == "t0.25(p0.25())"
    record = desk.record(found["run"]["id"])
    assert record["operation"]["kind"] == "batch"
    assert record["batch"]["kind"] == "pipeline"
    assert desk.record(trials[1]["id"])["parent"] == found["run"]["id"]
    assert ran(desk) == ["p0.5", "t0.5", "p0.25", "t0.25"]


def test_trials_run_side_by_side(desk: Desk) -> None:
    with desk.start("run", "study", "lr=[1,2]", "wait=yes", "--jobs", "2", "--json") as process:
        wait_until(
            lambda: is_waiting(desk, "1") and is_waiting(desk, "2"), what="both pipelines train"
        )
        Path(desk.env["LOG"] + "-go").touch()
        out, _ = process.communicate()

    found = json.loads(out)
    assert found["run"]["batch"]["jobs"] == 2
    assert [trial["status"] for trial in found["trials"]] == ["completed", "completed"]


def test_jobs_that_no_pipeline_is_left_for_go_to_the_steps(desk: Desk) -> None:
    found = batch(desk, "study", "lr=[1,2]", "--jobs", "5")

    assert found["run"]["batch"]["jobs"] == 2
    assert desk.record(found["trials"][0]["id"])["pipeline"]["jobs"] == 2


def test_a_batch_of_pipelines_that_was_killed_goes_on(desk: Desk) -> None:
    with desk.start("run", "study", "lr=[1,2,3]", "wait=[yes]") as process:
        wait_until(lambda: is_waiting(desk, "1"), what="the first pipeline trains")
        Path(desk.env["LOG"] + "-1").unlink()
        kill(desk, process)
    killed = next(i for i in desk.ids() if desk.record(i)["operation"]["kind"] == "batch")
    assert ran(desk) == ["p1", "t1"]
    desk.write("step.py", "raise SystemExit('edited')")
    desk.write("reenact.yml", "other: {main: step}\n")
    Path(desk.env["LOG"] + "-go").touch()

    found = batch(desk, "--restart", killed)

    assert found["run"]["id"] == killed
    assert [trial["status"] for trial in found["trials"]] == ["completed"] * 3
    assert ran(desk) == ["t1", "p2", "t2", "p3", "t3"]
    assert desk.record(killed)["restarts"] == 1


def test_a_pipeline_that_failed_is_kept_and_counted(desk: Desk) -> None:
    found = batch(desk, "study", "lr=[1,2]", "fail=2", status=1)
    again = batch(desk, "--restart", found["run"]["id"], status=1)

    assert [trial["status"] for trial in found["trials"]] == ["completed", "failed"]
    assert again["run"]["batch"]["failed"] == 1
    assert ran(desk) == ["p1", "t1", "p2", "t2"]

    batch(desk, "--restart", found["run"]["id"], "--failed-too", status=1)

    assert ran(desk) == ["t2"]


def test_steps_are_taken_from_earlier_pipelines(desk: Desk) -> None:
    batch(desk, "study", "lr=[1,2]")
    ran(desk)

    found = batch(desk, "study", "lr=[2,3]", "--needed")

    assert ran(desk) == ["p3", "t3"]
    assert [s["taken"] for s in steps(desk, found["trials"][0]["id"]).values()] == [True, True]


def test_a_step_of_each_pipeline_can_be_a_batch(desk: Desk) -> None:
    found = batch(desk, "study", "lr=[1,2]", "train:seed=[7,8]")

    for trial in found["trials"]:
        inner = desk.json("show", steps(desk, trial["id"])["train"]["run"])
        assert [one["flags"]["seed"] for one in inner["trials"]] == [7, 8]
    assert desk.record(found["run"]["id"])["typed"]["train:seed"] == "[7,8]"


def test_files_of_trials_seeds_and_a_limit_make_pipelines_too(desk: Desk) -> None:
    desk.write("trials.csv", "lr\n1\n2\n3\n")

    rows = desk.json("run", "study", "@trials.csv", "--dry-run")["trials"]
    some = desk.json("run", "study", "lr=range[1:9]", "--trials", "2", "--dry-run")["trials"]
    seeds = desk.json("run", "study", "--seeds", "0..2", "--dry-run")["trials"]

    assert [row["flags"]["lr"] for row in rows] == [1, 2, 3]
    assert len(some) == 2
    assert [row["seed"] for row in seeds] == [0, 1, 2]
    assert desk.ids() == []


def test_a_default_of_several_values_makes_a_batch(desk: Desk) -> None:
    desk.write(
        "reenact.yml", FILE.replace("study:\n  flags: {lr: 0.1", "study:\n  flags: {lr: [1, 2]")
    )

    several = desk.json("run", "study", "--dry-run")
    one = desk.json("run", "study", "lr=3", "--dry-run")

    assert [trial["flags"]["lr"] for trial in several["trials"]] == [1, 2]
    assert [step["name"] for step in one["steps"]] == ["prepare", "train"]


def test_a_search_chooses_the_flags_of_pipelines_by_what_their_steps_report(desk: Desk) -> None:
    found = batch(desk, "study", "lr=[1.0:4.0]", "--trials", "3", "--minimize", "loss")

    best = found["run"]["batch"]["best"]
    losses = {trial["id"]: trial["metrics"]["loss"]["last"] for trial in found["trials"]}
    assert len(losses) == 3
    assert losses[best] == min(losses.values())


def test_a_staged_batch_of_pipelines_runs_from_its_source(desk: Desk) -> None:
    staged = desk.ok("run", "study", "lr=[1,2]", "--stage").strip()
    each = desk.ok("run", "study", "lr=[3,4]", "--stage-trials").strip()
    desk.write("step.py", "raise SystemExit('edited')")
    desk.write("reenact.yml", "")
    desk.ok("gc")

    desk.ok("queue", "--once")

    assert desk.status(staged) == "completed"
    assert [t["status"] for t in desk.json("show", each)["trials"]] == ["completed"] * 2
    assert sorted(ran(desk)) == ["p1", "p2", "p3", "p4", "t1", "t2", "t3", "t4"]


def test_lists_show_what_is_part_of_what(desk: Desk) -> None:
    found = batch(desk, "study", "lr=[1,2]")
    whole, (first, second) = found["run"]["id"], (trial["id"] for trial in found["trials"])

    listed = {run["id"]: run for run in desk.json("runs")["runs"]}
    text = desk.ok("runs")

    assert listed[first]["parent"] == whole
    assert f"study ({whole[:8]}/2)" in text
    assert f"train ({second[:8]}/train)" in text
    assert desk.json("show", f"{whole}/2/train")["run"]["parent"] == second
    removed = desk.ok("rm", "--yes", whole).split()
    assert len(removed) == 7
    assert removed[-1] == whole
    assert desk.ids() == []


def test_what_is_wrong_is_said_before_anything_starts(desk: Desk) -> None:
    for words, text in (
        (["lr=[1,2]", "--edit"], "`--edit` is not for a pipeline"),
        (["lr=1", "--gpus-per-trial", "1"], "`--gpus-per-trial` is for several pipelines"),
        (["nosuch=[1,2]"], "nosuch"),
        (["lr=[1,2]", "train:nosuch=1"], "step `train`"),
    ):
        refused = desk.reenact("run", "study", *words)
        assert refused.status == 2, refused
        assert text in refused.err
    assert desk.ids() == []
