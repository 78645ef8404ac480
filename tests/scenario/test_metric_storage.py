"""Runs with many points, and metrics that several sources report, from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import reenact
from commands import Desk, wait_until

MANY = 140_000
SCRIPT = f"""
import sys
import reenact
for step in range({MANY}):
    reenact.log(loss=1 / (step + 1), step=step)
"""
SOURCES = """
import reenact
for step in range(3):
    print(f"loss: {step}", flush=True)
    reenact.log(loss=step / 10, step=step)
print("acc: 0.5")
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def points_files(desk: Desk, run_id: str) -> list[str]:
    names = (path.name for path in desk.file(run_id, "").iterdir())
    return sorted(name for name in names if name.startswith("metrics"))


class DeskWithoutPyarrow(Desk):
    """Somebody whose Reenact is installed without pyarrow."""

    def __init__(self, like: Desk) -> None:
        self.project, self.store, self.env = like.project, like.store, like.env

    def start(self, *words: str | bytes, **options: Any) -> subprocess.Popen[bytes]:
        hide = "import sys; sys.modules['pyarrow'] = None"
        code = f"{hide}; from reenact.__main__ import main; main()"
        command = [os.fsencode(sys.executable), b"-c", code.encode(), *map(os.fsencode, words)]
        env = {**os.environ, **self.env, **options.pop("env", {})}
        pipe = subprocess.PIPE
        options = {"stdout": pipe, "stderr": pipe, "stdin": subprocess.DEVNULL, **options}
        return subprocess.Popen(command, env=env, cwd=self.project, **options)


def test_a_large_run_is_kept_in_columns_without_pyarrow(desk: Desk) -> None:
    desk = DeskWithoutPyarrow(desk)
    desk.write("many.py", SCRIPT)

    run_id = desk.run("many.py")

    assert points_files(desk, run_id) == ["metrics.columns", "metrics.names"]
    assert desk.file(run_id, "metrics.columns").stat().st_size < MANY * 10
    assert desk.record(run_id)["metrics"]["loss"]["count"] == MANY
    assert desk.json("fsck")["problems"] == []
    once = json.loads(desk.ok("watch", run_id, "--once", "--json"))
    assert once["metrics"]["loss"]["count"] == MANY
    assert once["metrics"]["loss"] == desk.record(run_id)["metrics"]["loss"]


def test_a_large_run_that_is_restarted_goes_on(desk: Desk) -> None:
    desk.write("many.py", SCRIPT)
    run_id = desk.run("many.py")
    assert len(points_files(desk, run_id)) == 2

    desk.ok("run", "--restart", run_id)

    assert desk.record(run_id)["metrics"]["loss"]["count"] == 2 * MANY
    found = reenact.get(run_id, store=desk.store).metrics["loss"]
    assert list(found.series.steps) == 2 * list(range(MANY))
    assert desk.json("fsck")["problems"] == []


def test_where_pyarrow_is_missing_only_the_points_are(desk: Desk) -> None:
    pytest.importorskip("pyarrow")
    desk.write("many.py", SCRIPT)
    first, second = desk.run("many.py"), desk.run("many.py")
    assert points_files(desk, first) == ["metrics.names", "metrics.parquet"]
    desk = DeskWithoutPyarrow(desk)

    for words in (["show", first], ["runs"], ["compare"], ["fsck"], ["doctor", first], ["log"]):
        assert desk.reenact(*words).status == 0, words
    done = desk.reenact("watch", first, "--once")
    assert done.status == 1
    assert done.complaint == [
        "error: the points of this run are kept as Parquet, which needs pyarrow",
        "hint: `pip install 'reenact[parquet]'`",
    ]
    difference = desk.json("diff", first, second, "--metrics")["sections"]["metrics"]
    assert "needs pyarrow" in difference["remarks"][0]

    desk.ok("run", "--restart", first)

    assert desk.record(first)["metrics"]["loss"]["count"] == MANY
    assert [w["code"] for w in desk.record(first)["warnings"]] == ["metrics"]


def test_a_large_run_whose_supervisor_was_killed_is_kept_in_columns(desk: Desk) -> None:
    desk.write("many.py", f"{SCRIPT}\nprint('done', flush=True)\nsys.stdin.read()\n")
    run_id = f"{7:032x}"
    with desk.start("run", "many.py", "--run-id", run_id) as supervisor:
        output = desk.file(run_id, "output")
        wait_until(lambda: output.exists() and b"done" in output.read_bytes(), what="all is logged")
        supervisor.send_signal(signal.SIGKILL)
    # It is closed by the first reader that comes after the script's end.
    wait_until(
        lambda: desk.status(run_id) == "killed" and "ended" in desk.record(run_id),
        what="the run is closed",
    )

    assert desk.record(run_id)["metrics"]["loss"]["count"] == MANY
    assert len(points_files(desk, run_id)) == 2
    assert desk.json("fsck")["problems"] == []


def test_leftover_records_are_no_problem_and_can_be_removed(desk: Desk) -> None:
    desk.write("many.py", SCRIPT)
    run_id = desk.run("many.py")
    desk.file(run_id, "metrics").write_bytes(b"whatever")

    assert desk.json("fsck")["problems"] == []
    assert [Path(path).name for path in desk.json("fsck")["leftovers"]] == ["metrics"]
    desk.ok("fsck", "--repair")

    assert not desk.file(run_id, "metrics").exists()
    assert reenact.get(run_id, store=desk.store).metrics["loss"].series.steps[-1] == MANY - 1


class TestSources:
    """What a script reports in several ways is one series, and nothing is lost."""

    @pytest.fixture
    def run_id(self, desk: Desk) -> str:
        desk.write("train.py", SOURCES)
        return desk.run("train.py")

    def test_what_the_script_says_for_itself_is_the_series(self, desk: Desk, run_id: str) -> None:
        record = desk.record(run_id)

        assert record["metrics"]["loss"]["count"] == 3
        assert record["metrics"]["loss"]["last"] == 0.2
        assert record["metrics"]["acc"]["last"] == 0.5
        assert record["metric_sources"] == {"loss": {"log": 3, "output": 3}}

    def test_watch_agrees_and_shows_the_others_on_request(self, desk: Desk, run_id: str) -> None:
        def once(*words: str) -> dict[str, str]:
            lines = desk.ok("watch", run_id, "--once", *words).splitlines()
            found = (line.split("\t") for line in lines if not line.startswith(("system", "machi")))
            return {fields[0]: fields[1] for fields in found}

        assert once() == {"loss": "0.2", "acc": "0.5"}
        assert once("--sources") == {
            "loss (log)": "0.2",
            "loss (output)": "2.0",
            "acc (output)": "0.5",
        }
        streamed = desk.ok("watch", run_id, "--json").splitlines()
        losses = [point for point in map(json.loads, streamed) if point["name"] == "loss"]
        assert [(point["value"], point["source"]) for point in losses] == [
            (0.0, "log"), (0.1, "log"), (0.2, "log"),
        ]  # fmt: skip
        lines = desk.ok("watch", run_id, "--sources").splitlines()
        assert "0\tloss (output)=0.0" in lines
        assert any("loss (log)=0.1" in line for line in lines)

    def test_python_sees_both(self, desk: Desk, run_id: str) -> None:
        metrics = reenact.get(run_id, store=desk.store).metrics

        loss = metrics["loss"]
        assert list(loss.series.values) == [0.0, 0.1, 0.2]
        assert [point.value for point in loss.points()] == [0.0, 0.1, 0.2]
        assert loss.sources == {"log": 3, "output": 3}
        printed = loss.others["output"]
        assert (printed.last, list(printed.series.values)) == (2.0, [0.0, 1.0, 2.0])
        assert (metrics["acc"].sources, metrics["acc"].others) == ({}, {})
        assert [column.maximum for column in loss.envelope(2)] == [0.0, 0.2]

    def test_a_record_from_before_the_choice_keeps_all_points(
        self, desk: Desk, run_id: str
    ) -> None:
        record = desk.record(run_id)
        del record["metric_sources"]
        desk.file(run_id, "run.json").write_text(json.dumps(record))

        loss = reenact.get(run_id, store=desk.store).metrics["loss"]

        assert len(loss.series.values) == 6
