"""Searches in which another operation proposes the trials, and trials that wait one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from commands import PATIENCE_S, Desk, end, wait_until

TRAIN = """
x = 0.0
y = 1
mode = "a"
print(f"loss: {(x - 2) ** 2 + y}")
if mode == "bad":
    raise SystemExit(1)
"""

HALVES = '''
"""Goes to the middle between the best x so far and the far end of the space."""
import json, os
known = json.load(open(os.environ["REENACT_TRIALS"]))
space = known["spaces"]["x"]
done = [t for t in known["trials"] if t["values"]]
proposals = open(os.environ["REENACT_PROPOSALS"], "w")
if not done:
    for place in range(known["wanted"]):
        print(json.dumps({"x": space["low"] + place, "y": 1}), file=proposals)
elif len(known["trials"]) < 5:
    best = min(done, key=lambda t: t["values"][0])
    x = (best["flags"]["x"] + space["high"]) / 2
    print(json.dumps({"x": x, "y": len(known["trials"])}), file=proposals)
'''


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.write("train.py", TRAIN)
    desk.write("halves.py", HALVES)
    return desk


def batch_of(desk: Desk) -> dict[str, Any]:
    found = [run for run in desk.json("runs", "--all")["runs"] if run["batch"]]
    assert len(found) == 1
    shown: dict[str, Any] = desk.json("show", found[0]["id"])
    return shown


def flags_of(batch: dict[str, Any], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(trial["flags"].get(name) for name in names) for trial in batch["trials"]]


SEARCH = ("run", "train.py", "x=[0.0:8.0]", "y=[1:9]", "-N", "loss", "-q")


def test_an_operation_proposes_trials_until_it_proposes_none(desk: Desk) -> None:
    desk.ok(*SEARCH, "--optimizer", "halves.py")

    batch = batch_of(desk)

    assert flags_of(batch, "x", "y") == [(0.0, 1), (4.0, 1), (4.0, 2), (4.0, 3), (4.0, 4)]
    assert [trial["status"] for trial in batch["trials"]] == ["completed"] * 5
    assert batch["run"]["batch"]["optimizer"] == "./halves.py"
    assert batch["run"]["exit"] == {"code": 0}


def test_every_round_is_a_run_that_belongs_to_the_batch(desk: Desk) -> None:
    desk.ok(*SEARCH, "--optimizer", "halves.py", "--trials", "2")
    batch = batch_of(desk)["run"]["id"]

    records = [desk.record(run_id) for run_id in desk.ids()]
    rounds = {r["part"]: r for r in records if r.get("part", "").startswith("round:")}

    assert sorted(rounds) == ["round:1", "round:2"]
    assert {r["parent"] for r in rounds.values()} == {batch}
    assert {r["operation"]["name"] for r in rounds.values()} == {"halves.py"}
    assert rounds["round:1"]["source"]["tree"] == batch_of(desk)["run"]["source"]["tree"]
    # They are no trials: nobody compares or lists them as such.
    assert len(desk.json("compare", batch)["rows"]) == 2
    assert len(desk.json("runs", "--all")["runs"]) == 1
    told = json.loads(desk.file(batch, "rounds/2.json").read_text())
    assert told["wanted"] == told["left"] == 1
    assert told["objectives"] == [{"direction": "minimize", "column": "loss"}]
    assert told["spaces"]["x"] == {"type": "float", "low": 0.0, "high": 8.0}
    assert [(t["number"], t["status"], t["values"]) for t in told["trials"]] == [
        (1, "completed", [5.0])
    ]


def test_a_round_may_propose_as_many_as_run_at_once(desk: Desk) -> None:
    desk.ok(*SEARCH, "--optimizer", "halves.py", "--jobs", "2", "--trials", "2")

    assert flags_of(batch_of(desk), "x", "y") == [(0.0, 1), (1.0, 1)]


def test_what_fails_is_told_without_values(desk: Desk) -> None:
    desk.write(
        "fixed.py",
        "import json, os\n"
        "known = json.load(open(os.environ['REENACT_TRIALS']))\n"
        "with open(os.environ['REENACT_PROPOSALS'], 'w') as file:\n"
        "    for mode in ('bad', 'a')[len(known['trials']):][:1]:\n"
        "        file.write(json.dumps({'mode': mode}) + chr(10))\n",
    )

    done = desk.reenact("run", "train.py", "mode=[a,bad]", "-q", "--optimizer", "fixed.py",
                        "-N", "loss")  # fmt: skip

    assert done.status == 1
    batch = batch_of(desk)
    assert flags_of(batch, "mode") == [("bad",), ("a",)]
    told = json.loads(desk.file(batch["run"]["id"], "rounds/2.json").read_text())
    assert [(t["status"], t["values"]) for t in told["trials"]] == [("failed", None)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("raise SystemExit(3)", "round:1 failed"),
        ("write('no json')", "round:1, line 1 is no JSON object of flags"),
        ("write('{\"x\": 1}')", "round:1, line 1 does not set `y`"),
        ('write(\'{"x": 1, "y": 2, "z": 3}\')', "round:1, line 1 sets `z`, which is not searched"),
        ('write(\'{"x": 99, "y": 2}\')', "99 is outside of the space of `x`"),
    ],
)
def test_a_round_that_goes_wrong_ends_the_search_and_says_why(
    desk: Desk, content: str, message: str
) -> None:
    desk.write(
        "wrong.py",
        "import os\n"
        "def write(text): open(os.environ['REENACT_PROPOSALS'], 'w').write(text + chr(10))\n"
        f"{content}\n",
    )

    done = desk.reenact("run", "train.py", "x=[0.0:8.0]", "y=[1:9]", "--optimizer", "wrong.py")

    assert done.status == 1
    assert "the optimizer `./wrong.py`: round:1" in done.err
    assert message in done.err
    run = batch_of(desk)["run"]
    assert [warning["code"] for warning in run["warnings"]] == ["optimizer"]


def test_a_search_that_was_killed_goes_on_in_another_round(desk: Desk, tmp_path: Path) -> None:
    flag = tmp_path / "go"
    desk.write("halves.py", HALVES + f"\nimport time\nwhile len(known['trials']) == 2 and "
               f"not os.path.exists({str(flag)!r}): time.sleep(0.01)\n")  # fmt: skip
    batch = desk.start(*SEARCH, "--optimizer", "halves.py", "--trials", "3", start_new_session=True)
    rounds = desk.store / "runs"
    try:
        wait_until(lambda: list(rounds.glob("*/.reenact/rounds/3.json")), what="the third round")
        batch.kill()
        batch.wait()
    finally:
        # The round holds the batch's output open: whoever reads that first waits for it.
        flag.touch()
        end(batch)
        batch.communicate(timeout=PATIENCE_S)
    found = desk.json("runs", "--all")["runs"][0]["id"]
    wait_until(
        lambda: not [r for r in desk.json("runs", "-f", f"parent = {found}")["runs"]
                     if r["status"] in ("running", "pending")],
        what="the round has ended by itself",
    )  # fmt: skip
    desk.ok("run", "--restart", found, "-q", cwd=tmp_path, env={"PWD": str(tmp_path)})

    shown = batch_of(desk)
    assert [trial["status"] for trial in shown["trials"]] == ["completed"] * 3
    assert desk.file(found, "rounds/4.json").exists()


def test_an_operation_of_the_project_file_proposes_too(desk: Desk) -> None:
    desk.write("reenact.yml", "- operations:\n    train: {main: train}\n    next: {main: halves}\n")

    desk.ok("run", "train", "x=[0.0:8.0]", "y=[1:9]", "-N", "loss", "-q", "--optimizer", "next",
            "--trials", "2")  # fmt: skip

    batch = batch_of(desk)
    assert batch["run"]["batch"]["optimizer"] == "next"
    assert len(batch["trials"]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--optimizer", "nobody"], "there is no optimizer `nobody`"),
        (["--optimizer", "halvs.py"], "there is no optimizer `halvs.py`"),
    ],
)
def test_an_optimizer_that_is_not_there_is_refused(
    desk: Desk, words: list[str], message: str
) -> None:
    done = desk.reenact(*SEARCH, *words)

    assert done.status == 2
    assert message in done.err
    assert desk.ids() == []


# --- trials that wait ---


def test_staged_trials_wait_one_by_one(desk: Desk) -> None:
    out = desk.ok("run", "train.py", "x=[1.0,2.0,3.0]", "--stage-trials", "--priority", "3")
    desk.write("train.py", "raise SystemExit('changed')")
    waiting = desk.json("queue", "--list")["runs"]

    batch = batch_of(desk)
    assert out.strip() == batch["run"]["id"]
    assert [trial["status"] for trial in batch["trials"]] == ["staged"] * 3
    assert [trial["id"] for trial in batch["trials"]] == [run["id"] for run in waiting]
    assert {run["priority"] for run in waiting} == {3}
    desk.ok("stop", batch["trials"][2]["id"])
    desk.ok("queue", "--once")

    batch = batch_of(desk)
    assert [trial["status"] for trial in batch["trials"]] == [
        "completed",
        "completed",
        "terminated",
    ]
    assert [trial["metrics"]["loss"]["last"] for trial in batch["trials"][:2]] == [2.0, 1.0]


def test_staged_trials_are_run_by_their_batch_too(desk: Desk) -> None:
    batch = desk.ok("run", "train.py", "x=[1.0,2.0]", "--seeds", "1,2", "--stage-trials").strip()

    desk.ok("run", "--restart", batch, "--jobs", "2", "-q")

    shown = batch_of(desk)
    assert [trial["status"] for trial in shown["trials"]] == ["completed"] * 4
    assert shown["run"]["batch"]["completed"] == 4
    assert [desk.record(trial["id"])["seed"] for trial in shown["trials"]] == [1, 2, 1, 2]
    assert desk.json("queue", "--list")["runs"] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x=[0.0:1.0]"], "a search chooses each trial when it starts"),
        (["x=[1,2]", "--in-place"], "`--in-place`"),
        (["x=[1,2]", "--stage"], "either `--stage` or `--stage-trials`"),
        (["x=1"], "`--stage-trials` is for several runs"),
    ],
)
def test_trials_that_cannot_be_staged_are_refused(
    desk: Desk, words: list[str], message: str
) -> None:
    done = desk.reenact("run", "train.py", *words, "--stage-trials")

    assert done.status == 2
    assert message in done.err
    assert desk.ids() == []
