"""`reenact lineage`: everything before a run and after it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from commands import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.write("data.csv", "1,2\n" * 10)
    desk.write("prepare.py", "open('rows.txt', 'w').write(open('data.csv').read() * 2)\n")
    desk.write(
        "train.py",
        "import sys\nrows = open(sys.argv[1]).read()\nopen('model.txt', 'w').write(str(len(rows)))\n",
    )
    return desk


def edges(desk: Desk, run: str) -> set[tuple[str, str, str]]:
    found: dict[str, Any] = desk.json("lineage", run)
    return {(one["from"], one["to"], one["kind"]) for one in found["edges"]}


def test_data_files_and_copies_are_followed_by_their_content(desk: Desk, tmp_path: Path) -> None:
    prepare = desk.run("prepare.py")
    copied = tmp_path / "renamed.dat"
    shutil.copy(desk.store / "runs" / prepare / "rows.txt", copied)
    train = desk.run("--", "python", "train.py", str(copied))
    found = edges(desk, train)
    assert (prepare, train, "content") in found
    data = [one for one in found if one[2] == "data" and one[1] == prepare]
    assert [one[0].startswith("data data.csv") for one in data] == [True]
    assert [one[1].split()[1] for one in found if one[2] == "made"] == ["model.txt"]
    # And from the other side.
    assert (prepare, train, "content") in edges(desk, prepare)
    said = desk.ok("lineage", train)
    assert "the same content" in said
    assert "data.csv" in said


def test_reproductions_and_resumed_runs_belong_to_it(desk: Desk) -> None:
    first = desk.run("prepare.py")
    desk.ok("reproduce", first, "--env", "current")
    again = next(run for run in desk.ids() if desk.record(run).get("reproduces"))
    more = desk.run("--resume", first)
    found = edges(desk, first)
    assert (first, again, "reproduces") in found
    assert (first, more, "resumes") in found
    assert (first, more, "resumes") in edges(desk, more)


def test_it_is_drawn(desk: Desk, tmp_path: Path) -> None:
    run = desk.run("prepare.py")
    desk.ok("lineage", run, "--svg", str(tmp_path / "l.svg"))
    drawn = (tmp_path / "l.svg").read_text()
    assert drawn.startswith("<svg")
    assert "data.csv" in drawn


def test_of_many_files_the_first_are_shown(desk: Desk) -> None:
    desk.write("many.py", "for n in range(50):\n    open(f'out{n:02}.txt', 'w').write(str(n))\n")
    run = desk.run("many.py")
    made = [one for one in edges(desk, run) if one[2] == "made"]
    assert len(made) == 31
    assert any("20 more files" in one[1] for one in made)
