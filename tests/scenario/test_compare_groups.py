"""`compare --stats`: groups of runs that `reenact run` made, as real processes."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from commands import Desk
from terminals import Terminal

TRAIN = """\
import random
seed = 0
fast = False
random.seed(seed)
noise = random.gauss(0, 1)
other = random.Random(seed + 1000 * fast).gauss(0, 1)
if seed == 13:
    raise SystemExit(1)
print(f"accuracy: {0.97 + 0.002 * noise + 0.0001 * other * fast}")
print(f"loss: {0.1 + 0.01 * noise + 0.2 * fast}")
print(f"modes: {0.3 + 0.6 * (seed % 2) + noise / 1000}")
print(f"epoch_time: {seed + 0.5}")
if fast:
    print("extra: nan")
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Return a project with 8 runs of one way and 5 of another, of the same seeds."""
    desk = Desk(tmp_path_factory.mktemp("groups"))
    desk.write("train.py", TRAIN)
    desk.ok("run", "train.py", "seed=[0,1,2,3,4,5,6,7]", "fast=no", "--quiet")
    desk.ok("run", "train.py", "seed=[0,1,2,3,4]", "fast=yes", "--quiet")
    desk.reenact("run", "train.py", "seed=13", "fast=yes", "--quiet")
    desk.ok("run", "train.py", "seed=3", "fast=no", "--quiet", "--label", "again")
    return desk


def test_groups_are_compared_metric_by_metric(desk: Desk) -> None:
    found = desk.json("compare", "--group-by", "fast", "--stats", "-f", "label is undefined")

    metrics = {metric["name"]: metric for metric in found["metrics"]}
    assert found["by"] == ["fast"]
    assert [group["values"] for group in found["groups"]] == [{"fast": False}, {"fast": True}]
    assert [len(group["runs"]) for group in found["groups"]] == [8, 5]
    assert sorted(metrics) == ["accuracy", "extra", "loss", "modes"]
    assert [len(sample["values"]) for sample in metrics["loss"]["samples"]] == [8, 5]
    (accuracy,), (loss,) = metrics["accuracy"]["verdicts"], metrics["loss"]["verdicts"]
    assert (accuracy["verdict"], accuracy["pairs"]) == ("statistically equivalent", 5)
    assert abs(accuracy["difference"]) < 0.001
    assert (loss["verdict"], loss["pairs"]) == ("differs", 5)
    assert loss["difference"] == pytest.approx(0.2)


def test_a_metric_that_a_group_has_not_gets_no_verdict(desk: Desk) -> None:
    words = ("compare", "--group-by", "fast", "--stats", "extra")
    (metric,) = desk.json(*words)["metrics"]
    heading, old, new = (line.split("\t") for line in desk.ok(*words).splitlines())

    assert metric["verdicts"] == [None]
    assert [sample["values"] for sample in metric["samples"]] == [[], ["NaN"] * 5]
    assert (old[2], new[2], new[heading.index("not-finite")]) == ("0", "0", "5")
    assert new[heading.index("verdict")] == ""


def test_what_is_left_out_is_said(desk: Desk) -> None:
    done = desk.reenact("compare", "--group-by", "fast", "--stats", "--margin", "acc=1%")

    assert done.status == 0
    assert done.complaint == [
        "not compared unless named, because they are times: epoch_time",
        "1 run not completed: left out",
        "no metric here is called `acc`: what was said of it was not used",
    ]


def test_a_time_is_compared_when_it_is_named(desk: Desk) -> None:
    found = desk.json("compare", "--group-by", "fast", "--stats", "epoch_time")

    assert [metric["name"] for metric in found["metrics"]] == ["epoch_time"]


def test_the_margin_decides_what_is_the_same(desk: Desk) -> None:
    def verdict(margin: str) -> str:
        found = desk.json("compare", "--group-by", "fast", "--stats", "loss", "--margin", margin)
        text: str = found["metrics"][0]["verdicts"][0]["verdict"]
        return text

    assert verdict("loss=0.5") == "statistically equivalent"
    assert verdict("loss=0.1") == "differs"
    assert verdict("*=400%") == "statistically equivalent"


def test_a_group_of_one_says_single_run(desk: Desk) -> None:
    found = desk.json("compare", "--group-by", "label", "--stats", "accuracy")

    (verdict,) = found["metrics"][0]["verdicts"]
    assert [group["values"] for group in found["groups"]] == [{"label": None}, {"label": "again"}]
    assert "single run" in verdict["reason"]
    assert found["metrics"][0]["samples"][1].get("sd") is None


def test_without_groups_there_is_one_and_two_heaps_are_pointed_out(desk: Desk) -> None:
    found = desk.json("compare", "--stats", "modes", "-f", "fast = false")

    (metric,) = found["metrics"]
    assert found["by"] == []
    assert metric["verdicts"] == []
    assert metric["samples"][0]["modes"] == pytest.approx([0.3, 0.9], abs=0.01)


def test_groups_may_be_machines(desk: Desk) -> None:
    found = desk.json("compare", "--group-by", "host, fast", "--stats", "loss")

    host = os.uname().nodename.split(".")[0]
    assert [group["values"]["host"] for group in found["groups"]] == [host, host]


def test_what_no_run_has_makes_one_group_and_is_said(desk: Desk) -> None:
    done = desk.reenact("compare", "--group-by", "colour", "--stats", "loss", "--json")

    assert len(json.loads(done.out)["groups"]) == 1
    assert "none of these runs has a `colour`" in json.loads(done.out)["remarks"]


def test_in_a_pipe_there_is_a_line_for_each_metric_and_group(desk: Desk, tmp_path: Path) -> None:
    words = ("compare", "--group-by", "fast", "--stats", "loss,accuracy")
    lines = [line.split("\t") for line in desk.ok(*words).splitlines()]
    path = tmp_path / "groups.csv"
    desk.ok(*words, "--csv", str(path))

    heading, *rows = lines
    assert heading[:9] == ["metric", "fast", "n", "mean", "sd", "min", "max", "range", "low"]
    assert [row[:3] for row in rows] == [
        ["loss", "false", "9"], ["loss", "true", "5"], ["accuracy", "false", "9"], ["accuracy", "true", "5"],
    ]  # fmt: skip
    assert all(len(row) == len(heading) for row in rows)
    assert rows[1][heading.index("verdict")] == "differs"
    sd = heading.index("sd-difference")
    assert float(rows[1][sd]) == pytest.approx(float(rows[1][4]) - float(rows[0][4]))
    assert list(csv.reader(io.StringIO(path.read_text()))) == lines


def test_on_a_terminal_there_are_tables_pictures_and_verdicts(desk: Desk) -> None:
    words = [sys.executable, "-m", "reenact", "compare", "--group-by", "fast", "--stats"]
    terminal = Terminal([*words, "loss,modes,extra"], _Here(desk), (40, 150))
    status = terminal.end()
    terminal.close()

    text = re.sub(r"\x1b\[[0-9;]*m", "", terminal.seen.decode())
    assert status == 0
    lines = [line.rstrip() for line in text.splitlines()]
    assert "n" in lines[1].split()
    assert "95 % interval of the mean" in lines[1]
    assert any("▁" <= sign <= "█" for sign in lines[2])
    assert any(line.startswith("fast=true less fast=false") for line in lines)
    assert any(
        line.startswith("fast=true: differs: mean of 5 pairs of seeds +0.2") for line in lines
    )
    assert any(line.endswith("no run has it") for line in lines)
    assert any(line.endswith("no finite number of 5 runs") for line in lines)
    assert any("gathers around 0.3" in line and "and 0.9" in line for line in lines)


class _Here:
    """Where a program on a terminal runs."""

    def __init__(self, desk: Desk) -> None:
        self.project: Path = desk.project
        self.env: Mapping[str, str] = {**os.environ, **desk.env}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--group-by", "fast"], "error: `--group-by` needs `--stats`"),
        (["--margin", "a=1"], "error: `--margin` needs `--stats`"),
        (["--stats", "--group", "a", "--group-by", "b"], "error: say either `--group` or `--group-by`"),
        (["--stats", "loss", "--limit", "3"], "error: say either `--stats` or `--limit`"),
        (["--stats", "loss", "--min", "loss"], "error: say either `--stats` or `--min`"),
        (["--stats", "loss", "--margin", "loss"], "error: `loss` does not say of which metric"),
        (["--stats", "min loss loss"], "error: "),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(desk: Desk, words: list[str], complaint: str) -> None:
    done = desk.reenact("compare", *words)

    assert done.status == 2
    assert done.complaint[0].startswith(complaint)


def test_no_run_is_no_group(desk: Desk) -> None:
    done = desk.reenact("compare", "--stats", "-f", "label = nothing")

    assert (done.status, done.out, done.complaint) == (0, "", ["no run matches"])
    assert desk.json("compare", "--stats", "-f", "label = nothing")["groups"] == []


def test_a_reproduction_of_the_same_seed_is_no_further_sample(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("t.py", "import random\nlr = 1\nprint('loss:', random.random())\n")
    runs = [desk.run("t.py", "--seed", str(seed)) for seed in (1, 2, 3)]
    desk.ok("reproduce", runs[0], "--env", "current", "--repeat", "2")
    desk.ok("reproduce", runs[1], "--env", "current", "--set-env", "X=1")

    found = desk.json("compare", "--group-by", "lr", "--stats")

    (group,) = found["groups"]
    assert sorted(group["runs"]) == sorted(runs)
    assert any(text.startswith("3 reproductions ") for text in found["remarks"])
    named = desk.json("compare", *desk.ids(), "--group-by", "lr", "--stats")
    assert len(named["groups"][0]["runs"]) == 6
