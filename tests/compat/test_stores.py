"""Stores of all formats that there ever were can be read: see `make_store.py`."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from commands import Desk

FIXTURES = sorted(Path(__file__).parent.glob("format-*.tar.gz"))

STATUSES = {
    "completed": "completed",
    "failed": "failed",
    "terminated": "terminated",
    "nan": "completed",
    "bytes": "completed",
    "in place": "completed",
    "command": "completed",
    "killed": "killed",
}


@pytest.fixture(params=FIXTURES, ids=lambda path: path.name.partition(".")[0])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    with tarfile.open(request.param) as tar:
        tar.extractall(tmp_path, filter="fully_trusted")
    return desk


def runs(desk: Desk, *words: str) -> dict[str, Any]:
    found = desk.json("runs", "--all", "--limit", "0", *words)["runs"]
    return {run["label"]: run for run in found}


def test_there_is_a_store_of_every_format() -> None:
    assert [path.name for path in FIXTURES] == ["format-1.tar.gz"]


def test_a_fixture_is_small_and_says_nothing_of_the_machine_that_made_it() -> None:
    for path in FIXTURES:
        assert path.stat().st_size < 50_000
        with tarfile.open(path) as tar:
            for entry in tar.getmembers():
                content = tar.extractfile(entry)
                data = content.read() if content else b""
                assert b"/tmp/" not in data, entry.name
                assert b"/root" not in data, entry.name


def test_every_run_is_listed_with_its_status(desk: Desk) -> None:
    assert {label: run["status"] for label, run in runs(desk).items()} == STATUSES
    assert all(run["damage"] is None for run in runs(desk).values())


def test_flags_metrics_and_notes_are_read(desk: Desk) -> None:
    found = runs(desk)

    best = found["completed"]
    assert best["flags"] == {"lr": 0.5, "epochs": 3, "crash": False, "wait": False}
    assert best["given"] == ["lr"]
    assert best["metrics"]["loss"]["count"] == 3
    assert best["metrics"]["loss"]["last"] == 0.5 / 3
    assert (best["tags"], best["comment"]) == (["best"], "two\nlines")
    strange = found["nan"]["metrics"]
    assert strange["loss"]["first"] == "NaN"
    assert strange["loss"]["maximum"] == "Infinity"
    assert strange["loss"]["nan_count"] == 1
    assert strange["val/loss"]["last_step"] == 7
    assert found["command"]["flags"] == {"lr": {"$float": "NaN"}}
    assert found["failed"]["exit_status"] == 3


def test_filters_and_sorting_work(desk: Desk) -> None:
    assert set(runs(desk, "-f", "status = failed or acc >= 1")) == {"failed", "command"}
    assert next(iter(runs(desk, "-f", "loss > 0", "-s", "-loss"))) in ("nan", "in place")


def test_every_run_can_be_shown(desk: Desk) -> None:
    for label, run in runs(desk).items():
        shown = desk.json("show", run["id"])
        if label != "command":
            assert shown["environment"]["python"]["version"], label
        assert shown["machine"]["cores_logical"], label
        assert desk.ok("show", run["id"]).startswith("run "), label
        assert desk.reenact("log", run["id"]).status == 0, label


def test_source_and_outputs_can_be_read(desk: Desk) -> None:
    found = runs(desk)

    assert "lr = 0.1" in desk.ok("cat", found["completed"]["id"], "train.py")
    assert desk.ok("cat", found["completed"]["id"], "model.txt") == "weights of 0.5"
    assert desk.ok("cat", found["bytes"]["id"], b"caf\xe9\n.txt") == "bytes"
    assert desk.ok("cat", found["killed"]["id"], "model.txt") == "weights of 0.1"
    files = desk.json("ls", found["completed"]["id"], "--all")["files"]
    assert {(file["role"], file["path"]) for file in files} >= {
        ("output", "model.txt"),
        ("input", "data/train.csv"),
        ("source", "train.py"),
    }


def test_runs_can_be_compared(desk: Desk) -> None:
    found = runs(desk)

    done = desk.reenact("diff", found["completed"]["id"], found["failed"]["id"], "--json")

    assert done.status in (0, 3), done
    difference = json.loads(done.out)
    assert "lr" in json.dumps(difference)
    assert desk.reenact("compare", "--all").status == 0


def test_nothing_in_it_is_damaged(desk: Desk) -> None:
    assert desk.json("fsck")["problems"] == []
    assert desk.json("fsck")["unfinished"] == []


def test_it_can_be_worked_with(desk: Desk) -> None:
    desk.write("train.py", "print('loss: 1')")
    new = desk.run("train.py", "--label", "new")
    old = runs(desk)["failed"]["id"]

    desk.ok("label", old, "--set", "renamed")
    desk.ok("rm", "--yes", runs(desk)["bytes"]["id"])
    desk.ok("gc")

    assert desk.status(new) == "completed"
    assert set(runs(desk)) == {*STATUSES, "new", "renamed"} - {"failed", "bytes"}
    assert desk.json("fsck")["problems"] == []


def test_reading_changes_nothing_but_the_cache(desk: Desk) -> None:
    def state() -> dict[str, tuple[int, bytes]]:
        found = {}
        for at, _, names in os.walk(desk.store):
            for name in names:
                path = Path(at, name)
                relative = str(path.relative_to(desk.store))
                if not relative.startswith(("index.db", "cache/")):
                    found[relative] = (path.stat().st_mtime_ns, path.read_bytes())
        return found

    before = state()
    for words in (["runs", "--all"], ["fsck"], ["compare", "--all"], ["show", "completed"]):
        desk.reenact(*words)

    assert state() == before
