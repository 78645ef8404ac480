"""What the results of a search say: the Pareto front, and which flags mattered."""

from __future__ import annotations

import json
import os
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from commands import Desk
from terminals import Terminal


class Place(NamedTuple):
    project: Path
    env: Mapping[str, str]


SVG = "{http://www.w3.org/2000/svg}"

MODEL = """
size = 1
noise = 0
print(f"acc: {1 - 1 / size}")
print(f"latency: {size * 10}")
if size == 13:
    raise SystemExit(1)
"""
"""Of every size a run is on the front: whoever is more accurate takes longer."""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.write("model.py", MODEL)
    desk.write("slow.py", MODEL.replace("size * 10", "size * 10 + noise"))
    return desk


def sizes(desk: Desk, ids: list[str]) -> set[int]:
    return {desk.record(run_id)["flags"]["size"] for run_id in ids}


def test_the_front_is_what_nothing_beats(desk: Desk) -> None:
    desk.ok("run", "slow.py", "size=[1,2,4]", "noise=0", "-q")
    desk.ok("run", "slow.py", "size=2", "noise=5", "-q")
    desk.reenact("run", "slow.py", "size=13", "-q")

    found = desk.json("compare", "--pareto", "acc,-latency", "--filter", "op = slow")

    assert [(o["heading"], o["best_is"]) for o in found["pareto"]["objectives"]] == [
        ("acc", "max"),
        ("latency", "min"),
    ]
    assert sizes(desk, found["pareto"]["front"]) == {1, 2, 4}
    assert len(found["pareto"]["front"]) == 3
    rows = {(r["values"]["size"], r["values"]["noise"]): r["values"] for r in found["rows"]}
    assert rows[2, 5]["pareto"] == "beaten"
    assert rows[13, 0]["pareto"] is None
    assert rows[2, 0]["pareto"] == "front"
    assert any("1 run is not on the front" in remark for remark in found["remarks"])


def test_the_objectives_of_a_batch_count_when_none_is_named(desk: Desk) -> None:
    desk.ok("run", "slow.py", "size=[1,4]", "noise=[0,5]", "-X", "acc", "-N", "latency", "-q")

    done = desk.reenact("compare", "--pareto", "@latest", "--front-only", "--csv")

    assert done.status == 0
    lines = done.out.splitlines()
    assert lines[0].startswith("id,pareto,latency,acc,")
    assert [line.split(",")[1:4] for line in lines[1:]] == [
        ["front", "10.0", "0.0"],
        ["front", "40.0", "0.75"],
    ]


def test_objectives_may_begin_with_a_dash_and_have_many_rows(desk: Desk) -> None:
    desk.ok("run", "model.py", "size=range[1:12]", "-q", "--jobs", "2")
    desk.ok("run", "slow.py", "size=5", "noise=1000", "-q")

    found = desk.json("compare", "--pareto", "-latency,max:acc", "--limit", "2")

    assert len(found["pareto"]["front"]) == 12
    assert [row["values"]["latency"] for row in found["rows"]] == [10, 20]
    assert not found["is_complete"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pareto", "acc,latency"], "nobody says which `latency` is the best"),
        (["--pareto"], "no objective is named"),
        (["--front-only"], "`--front-only` needs `--pareto`"),
        (["--svg", "x.svg"], "`--svg` needs `--pareto`"),
        (["--pareto", "acc,-latency", "--group", "size"], "either `--group` or `--pareto`"),
        (["--pareto", "acc", "--svg", "x.svg"], "there is nothing to draw"),
    ],
)
def test_what_makes_no_front_is_refused(desk: Desk, words: list[str], message: str) -> None:
    desk.ok("run", "model.py", "size=2", "-q")

    done = desk.reenact("compare", *words)

    assert done.status == 2
    assert message in done.err
    assert not (desk.project / "x.svg").exists()


def test_the_front_is_drawn_as_svg(desk: Desk) -> None:
    desk.ok("run", "slow.py", "size=[1,2,4]", "noise=[0,500]", "-q", "--jobs", "2")

    desk.ok("compare", "--pareto", "-latency,acc", "--svg", "front.svg")
    picture = ET.parse(desk.project / "front.svg").getroot()

    circles = list(picture.iter(f"{SVG}circle"))
    best = [c for c in circles if c.get("class") == "best"]
    assert len(circles) == 6
    assert len(best) == 3
    # To the right and up: of these, who takes longer is more accurate.
    best.sort(key=lambda circle: float(circle.get("cx", "")))
    heights = [float(circle.get("cy", "")) for circle in best]
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) == 3
    assert "latency 10.0, acc 0.0" in (best[0].findtext(f"{SVG}title") or "")
    assert len(list(picture.iter(f"{SVG}path"))) > 3
    only = desk.ok("compare", "--pareto", "-latency,acc", "--svg", "-")
    assert ET.fromstring(only).tag == f"{SVG}svg"


def test_a_terminal_shows_the_front_as_a_picture(desk: Desk) -> None:
    desk.ok("run", "slow.py", "size=[1,2,4]", "noise=[0,500]", "-q", "--jobs", "2")
    place = Place(desk.project, {**os.environ, **desk.env})

    words = [sys.executable, "-m", "reenact", "compare", "--pareto", "acc,-latency"]
    terminal = Terminal(words, place, (60, 100))
    try:
        assert terminal.end() == 0
        screen = terminal.seen.decode()
    finally:
        terminal.close()

    picture = [line for line in screen.splitlines() if "│" in line]
    assert "".join(picture).count("●") == 3
    assert "".join(picture).count("·") == 3
    assert "across: acc (greatest is best); up: latency (least is best)" in screen


def test_a_front_of_numbers_that_cannot_be_drawn_is_still_found(desk: Desk) -> None:
    desk.write(
        "endless.py", "x = 1\nprint('loss: inf' if x == 1 else f'loss: {x}')\nprint('acc: 1')"
    )
    desk.ok("run", "endless.py", "x=[1,2]", "-q")

    done = desk.reenact("compare", "@latest", "--pareto", "loss,acc", "--svg", "f.svg", "--json")

    found = json.loads(done.out)
    assert [row["values"]["pareto"] for row in found["rows"]] == ["front", "beaten"]
    assert "not drawn, because a number is infinite: 1" in done.err


# --- importance ---


def test_the_flag_that_matters_has_the_largest_share(desk: Desk) -> None:
    desk.ok("run", "model.py", "size=[1,2,4,8]", "noise=[0,1]", "-X", "acc", "-q", "-l", "all")
    desk.reenact("run", "model.py", "size=13", "-q")

    (found,) = desk.json("importance", "all")["importance"]

    assert found["column"] == "acc"
    assert found["trials"] == found["runs"] == 8
    assert found["method"].startswith(("fANOVA", "variance of ranks"))
    assert [one["flag"] for one in found["shares"]] == ["size", "noise"]
    assert found["shares"][0]["share"] > 0.9


def test_method_and_trials_are_always_said(desk: Desk) -> None:
    desk.reenact("run", "model.py", "size=[1,2,4,13]", "noise=[0,1]", "-q", "--jobs", "2")

    done = desk.reenact("importance", "--by", "acc", "--by", "min latency")

    assert done.status == 0
    heads = [line for line in done.err.splitlines() if "trial" in line]
    assert heads[0] == "acc: 6 trials, 2 left out: not completed, or no finite number"
    assert heads[-1].startswith("min latency: 6 trials")
    assert done.err.count("share of the") == 2
    cells = [line.split("\t") for line in done.out.splitlines()]
    assert [(column, flag) for column, flag, _ in cells] == [
        ("acc", "size"),
        ("acc", "noise"),
        ("min latency", "size"),
        ("min latency", "noise"),
    ]
    assert all(0 <= float(share) <= 1 for _, _, share in cells)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no objective is named"),
        (["--by", "speed"], "no completed run has a number `speed`"),
        (["ffff"], "ffff"),
    ],
)
def test_what_cannot_be_explained_is_refused(desk: Desk, words: list[str], message: str) -> None:
    desk.ok("run", "model.py", "size=[1,2]", "-q")

    done = desk.reenact("importance", *words)

    assert done.status in (1, 2)
    assert message in done.err


def test_too_few_trials_say_nothing(desk: Desk) -> None:
    desk.ok("run", "model.py", "size=[1,2]", "-X", "acc", "-q")

    done = desk.reenact("importance")

    assert done.out == "acc\tsize\t0.0\n"
    assert "tell nothing" in done.err
