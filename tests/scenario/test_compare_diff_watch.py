"""`compare`, `diff` and `watch` as real processes over runs that `reenact run` made."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import PATIENCE_S
from reenact.actions.watch import ASCII, Sketch, sparkline

REENACT = [sys.executable, "-m", "reenact"]

TRAIN = """\
lr = 0.1
seed = 0.0
for step in range(3):
    print(f"step: {step} loss: {1 / (step + 1) + lr + seed / 8} acc: {step / 3 - lr}")
with open("model.txt", "w") as file:
    file.write(str(lr))
"""

ENDLESS = """\
import os, time
step = 0
while not os.path.exists(os.environ["STOP"]):
    print(f"step: {step} loss: {1 / (step + 1)}", flush=True)
    step += 1
    time.sleep(0.02)
"""


class Project:
    """A project with a store of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root / "project"
        self.root.mkdir()
        (self.root / "train.py").write_text(TRAIN)
        self.env = {**os.environ, "REENACT_HOME": str(root / "store"), "STOP": str(root / "stop")}

    def reenact(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*REENACT, *words],
            cwd=self.root, env=self.env, capture_output=True, text=True, timeout=PATIENCE_S,
            check=False,
        )  # fmt: skip
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return done

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*REENACT, *words], cwd=self.root, env=self.env, text=True, **options
        )

    def json(self, *words: str, status: int = 0) -> Any:
        return json.loads(self.reenact(*words, "--json", status=status).stdout)

    def train(self, *settings: str) -> str:
        self.reenact("run", "train.py", "--quiet", *settings)
        latest: str = self.json("runs", "--limit", "1")["runs"][0]["id"]
        return latest

    def on_a_terminal(
        self,
        *words: str,
        columns: int = 100,
        shown: Callable[[bytes], object] = len,
        **env: str,
    ) -> tuple[int, str]:
        """Run a command on a terminal; return its exit status and what it wrote there.

        `shown` is called with what was written so far.
        """
        master, terminal = pty.openpty()
        ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        merged = {**self.env, "TERM": "xterm", **env}
        merged.pop("COLUMNS", None)
        child = subprocess.Popen(
            [*REENACT, *words], cwd=self.root, env=merged,
            stdin=terminal, stdout=terminal, stderr=terminal,
        )  # fmt: skip
        os.close(terminal)
        data = b""
        try:
            while piece := os.read(master, 65536):
                data += piece
                shown(data)
        except OSError:  # Linux says so when nobody has the terminal open any more.
            pass
        finally:
            os.close(master)
        return child.wait(PATIENCE_S), data.decode().replace("\r\n", "\n")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


# --- compare ---


def test_compare_in_a_pipe_is_tab_separated_under_headings_with_all_digits(
    project: Project,
) -> None:
    first, second = project.train("lr=0.3"), project.train("lr=1e-3")

    lines = project.reenact("compare", "-c", "=lr, loss, max acc step as at").stdout.splitlines()

    assert [line.split("\t") for line in lines] == [
        ["id", "lr", "loss", "at"],
        [second, "0.001", repr(1 / 3 + 0.001), "2"],
        [first, "0.3", repr(1 / 3 + 0.3), "2"],
    ]


def test_csv_and_json_say_the_same_to_the_last_digit(project: Project, tmp_path: Path) -> None:
    project.train("lr=0.3")
    project.train("lr=0.7")
    path = tmp_path / "table.csv"

    text = project.reenact("compare", "--csv").stdout
    project.reenact("compare", "--csv", str(path))
    document = project.json("compare")

    rows = list(csv.DictReader(io.StringIO(text)))
    assert path.read_bytes() == text.encode().replace(b"\n", b"\r\n")
    assert [row["id"] for row in rows] == [row["run"] for row in document["rows"]]
    for row, expected in zip(rows, document["rows"], strict=True):
        assert float(row["loss"]) == expected["values"]["loss"]
        assert row["lr"] == repr(expected["values"]["lr"])
    assert [row["best"] for row in document["rows"]] == [[], ["acc", "loss"]]
    assert document["is_complete"] is True


def test_cells_with_commas_quotes_and_lines_survive_csv(project: Project) -> None:
    project.train("--label", 'a, "b"\nc')

    text = project.reenact("compare", "--csv", "-", "-c", "label, =seed").stdout

    assert '"a, ""b""\nc"' in text
    assert next(csv.DictReader(io.StringIO(text)))["label"] == 'a, "b"\nc'


def test_a_word_after_csv_that_is_no_file_is_a_run(project: Project) -> None:
    first = project.train()
    project.train()

    text = project.reenact("compare", "--csv", first[:8]).stdout

    assert [row["id"] for row in csv.DictReader(io.StringIO(text))] == [first]
    assert sorted(path.name for path in project.root.iterdir()) == ["train.py"]


def test_a_csv_file_that_cannot_be_written_is_named(project: Project) -> None:
    project.train()

    done = project.reenact("compare", "--csv", "missing/table.csv", status=1)

    assert done.stderr == "error: cannot write `missing/table.csv`: No such file or directory\n"


def test_compare_on_a_terminal_marks_the_best_by_more_than_colour(project: Project) -> None:
    low, high = project.train("lr=0.25"), project.train("lr=0.5")

    plain = project.on_a_terminal("compare", "-c", "lr, min loss", columns=60)
    coloured = project.on_a_terminal("compare", "-c", "lr, min loss", NO_COLOR="")

    assert plain[1].splitlines() == [
        "id          lr            min loss",
        f"{high[:8]}   0.5  0.8333333333333333",
        f"{low[:8]}  0.25  0.5833333333333333*",
    ]
    assert "\x1b[1m0.5833333333333333*\x1b[0m" in coloured[1]


def test_columns_that_do_not_fit_are_left_out_whole_and_named(project: Project) -> None:
    project.train()

    status, text = project.on_a_terminal("compare", columns=50)

    assert status == 0
    assert all(len(line) <= 50 for line in text.splitlines()[:2])
    assert "columns that do not fit: acc, loss, lr, seed; `--columns` chooses" in text


def test_a_group_says_mean_sd_single_runs_and_nan(project: Project) -> None:
    for seed in (0, 1, 2):
        project.train("lr=0.5", f"seed={seed}")
    project.train("lr=0.25")
    project.train("lr=0.25", "seed=nan")

    group = ("compare", "--group", "lr", "-c", "loss")
    lines = [line.split("\t") for line in project.reenact(*group).stdout.splitlines()]
    document = project.json(*group)
    _, text = project.on_a_terminal(*group)

    assert lines[0] == ["lr", "n", "loss mean", "loss sd", "loss n", "loss nan"]
    assert lines[1] == ["0.25", "2", repr(1 / 3 + 0.25), "", "1", "1"]
    assert lines[2][:2] == ["0.5", "3"]
    assert float(lines[2][3]) == pytest.approx(0.125)
    assert [g["columns"]["loss"]["nan_count"] for g in document["groups"]] == [1, 0]
    assert [g["count"] for g in document["groups"]] == [2, 3]
    assert "0.96 ± 0.12" in text
    assert f"{1 / 3 + 0.25!r} (one number, 1 NaN)" in text
    assert "rounded to two digits of the sd; `--csv` has all digits" in text


def test_json_holds_what_is_not_finite(project: Project) -> None:
    project.train("lr=nan", "seed=0")

    (row,) = project.json("compare", "-c", "=lr, loss")["rows"]

    assert row["values"]["lr"] == {"$float": "NaN"}
    assert math.isnan(float(row["values"]["loss"]))


def test_compare_talks_about_what_it_leaves_out(project: Project) -> None:
    project.train()
    project.train()

    done = project.reenact("compare", "--limit", "1", "-c", "lss")

    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == (
        "none of these runs has a flag or metric `lss`; did you mean `loss`?\n"
        "there are more runs; `--limit 0` shows all\n"
    )


def test_compare_without_runs_prints_no_data(project: Project) -> None:
    assert project.reenact("compare").stdout == ""
    assert project.json("compare")["rows"] == []


# --- diff ---


def test_a_run_that_was_made_again_does_not_differ(project: Project) -> None:
    project.train("lr=0.5")
    project.train("lr=0.5")

    done = project.reenact("diff")

    assert (done.stdout, done.stderr) == ("", "nothing differs\n")


def test_diff_in_a_pipe_is_tab_separated_with_the_source_as_a_patch(project: Project) -> None:
    project.train("lr=0.5")
    (project.root / "train.py").write_text(TRAIN.replace("str(lr)", "str(lr + 1)"))
    project.train("lr=0.25")

    done = project.reenact("diff", status=3)

    assert done.stdout.splitlines() == [
        "flags\tchanged\tlr\t0.5\t0.25",
        "diff --git a/train.py b/train.py",
        "--- a/train.py",
        "+++ b/train.py",
        "@@ -3,4 +3,4 @@",
        " for step in range(3):",
        '     print(f"step: {step} loss: {1 / (step + 1) + lr + seed / 8} acc: {step / 3 - lr}")',
        ' with open("model.txt", "w") as file:',
        "-    file.write(str(lr))",
        "+    file.write(str(lr + 1))",
        ANY_OUTPUT,
        f"metrics\tchanged\tacc last\t{2 / 3 - 0.5!r}\t{2 / 3 - 0.25!r}",
        "metrics\tchanged\tacc min\t-0.5\t-0.25",
        f"metrics\tchanged\tacc max\t{2 / 3 - 0.5!r}\t{2 / 3 - 0.25!r}",
        "metrics\tchanged\tacc from point 1\t-0.5 at step 0\t-0.25 at step 0",
        f"metrics\tchanged\tloss last\t{1 / 3 + 0.5!r}\t{1 / 3 + 0.25!r}",
        f"metrics\tchanged\tloss min\t{1 / 3 + 0.5!r}\t{1 / 3 + 0.25!r}",
        "metrics\tchanged\tloss max\t1.5\t1.25",
        "metrics\tchanged\tloss from point 1\t1.5 at step 0\t1.25 at step 0",
    ]


class _AnyOutput:
    """A changed output with whatever digests."""

    def __eq__(self, other: object) -> bool:
        pattern = r"outputs\tchanged\tmodel.txt\t3 B [0-9a-f]{12}\t4 B [0-9a-f]{12}"
        return re.fullmatch(pattern, str(other)) is not None

    __hash__ = None  # type: ignore[assignment]  # equal to many things


ANY_OUTPUT = _AnyOutput()


def test_diff_json_holds_every_section_and_the_patch(project: Project) -> None:
    a = project.train("lr=0.5")
    (project.root / "extra.py").write_text("x = 1\n")
    b = project.train("lr=0.25")

    document = project.json("diff", a, b, status=3)

    assert (document["a"]["id"], document["b"]["id"], document["differs"]) == (a, b, True)
    assert set(document["sections"]) == {
        "run", "flags", "params", "source", "inputs", "environment", "machine", "runtime",
        "outputs", "metrics",
    }  # fmt: skip
    assert document["sections"]["flags"]["changes"] == [
        {"name": "lr", "kind": "changed", "group": None, "a": 0.5, "b": 0.25}
    ]
    (source,) = document["sections"]["source"]["changes"]
    assert (source["name"], source["kind"], source["added_lines"]) == ("extra.py", "added", 1)
    assert source["diff"].endswith("--- /dev/null\n+++ b/extra.py\n@@ -0,0 +1 @@\n+x = 1\n")
    first = document["sections"]["metrics"]["changes"][0]["first"]
    assert first == {"index": 0, "a": {"step": 0, "value": -0.5}, "b": {"step": 0, "value": -0.25}}


def test_sections_are_chosen_and_decide_the_exit_status(project: Project) -> None:
    a = project.train("lr=0.5")
    project.train("lr=0.25")

    assert project.reenact("diff", a, "--source", "--environment").stdout == ""
    assert project.reenact("diff", a, "--flags", status=3).stdout.count("\n") == 1
    assert project.reenact("diff", a, "--path", "*.py").stdout == ""


def test_what_cannot_be_compared_has_an_exit_status_of_its_own(project: Project) -> None:
    project.train()
    project.train("--no-snapshot")

    done = project.reenact("diff", "--source", status=4)

    assert "no source was kept\nnothing differs in what can be compared\n" in done.stderr


def test_stat_counts_lines(project: Project) -> None:
    project.train()
    (project.root / "train.py").write_text(TRAIN + "# one\n# two\n")
    project.train()

    done = project.reenact("diff", "--source", "--stat", status=3)

    assert done.stdout == "source\tchanged\ttrain.py\t+2\t-0\n"


def test_the_working_tree_is_compared_with_the_latest_run(project: Project) -> None:
    project.train()
    same = project.reenact("diff", "--working")
    (project.root / "train.py").write_text(TRAIN.replace("range(3)", "range(4)"))

    changed = project.reenact("diff", "--working", status=3)

    assert same.stderr == "nothing differs\n"
    assert "-for step in range(3):\n+for step in range(4):\n" in changed.stdout
    assert project.json("diff", "--working", status=3)["b"] == {"working": str(project.root)}


def test_the_working_tree_has_only_source_to_compare(project: Project) -> None:
    a, b = project.train(), project.train()

    assert "one run" in project.reenact("diff", a, b, "--working", status=2).stderr
    assert "only the source" in project.reenact("diff", "--working", "--flags", status=2).stderr


def test_a_terminal_does_not_obey_what_source_says(project: Project) -> None:
    project.train()
    (project.root / "train.py").write_text(TRAIN + "# \x1b[2J\x07\r\n")
    project.train()

    status, text = project.on_a_terminal("diff", "--source")

    assert status == 3
    assert "+# ^[[2J^G^M\n" in text
    assert "\x1b" not in text


# --- watch ---


@pytest.fixture
def endless(project: Project) -> Iterator[str]:
    """A run that goes on until the test lets it end."""
    (project.root / "endless.py").write_text(ENDLESS)
    run = project.start("run", "endless.py", "--quiet", stdout=subprocess.DEVNULL)
    yield wait_for_points(project)
    Path(project.env["STOP"]).touch()
    run.wait(PATIENCE_S)


def wait_for_points(project: Project) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        runs = project.json("runs", "--limit", "1")["runs"]
        if runs and "loss" in runs[0]["metrics"]:
            run_id: str = runs[0]["id"]
            return run_id
        time.sleep(0.05)
    pytest.fail("no points came")


def stop(project: Project) -> None:
    Path(project.env["STOP"]).touch()


def test_watch_in_a_pipe_prints_each_set_of_points_once_until_the_run_ends(
    project: Project, endless: str
) -> None:
    with project.start("watch", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watch:
        assert watch.stdout is not None
        assert watch.stderr is not None
        first = watch.stdout.readline()
        stop(project)
        lines = [first.rstrip("\n"), *watch.stdout.read().splitlines()]
        err = watch.stderr.read()

    own = [line for line in lines if "\tloss=" in line]
    assert own == [f"{step}\tloss={1 / (step + 1)!r}" for step in range(len(own))]
    count = project.json("runs", "--limit", "1")["runs"][0]["metrics"]["loss"]["count"]
    assert len(own) == count
    assert (watch.returncode, err) == (0, f"run {endless[:8]}: completed\n")


def test_points_of_one_step_stand_on_one_line(project: Project) -> None:
    project.train("lr=0.5")

    lines = project.reenact("watch").stdout.splitlines()

    assert lines == [
        f"{step}\tloss={1 / (step + 1) + 0.5!r}\tacc={step / 3 - 0.5!r}" for step in range(3)
    ]


def test_watch_json_is_one_point_a_line(project: Project) -> None:
    run = project.train("lr=0.5")

    points = [json.loads(line) for line in project.reenact("watch", "--json").stdout.splitlines()]

    assert [(p["name"], p["step"], p["value"]) for p in points][:2] == [
        ("loss", 0, 1.5), ("acc", 0, -0.5)
    ]  # fmt: skip
    assert all(point["time"].endswith("Z") for point in points)
    once = project.json("watch", run, "--once")
    assert (once["id"], once["status"], once["metrics"]["loss"]["count"]) == (run, "completed", 3)


def test_watch_once_does_not_wait_for_the_end(project: Project, endless: str) -> None:
    line = project.reenact("watch", "--once", endless).stdout.splitlines()[0].split("\t")

    assert (line[0], line[4], line[6]) == ("loss", "1.0", "0")
    assert int(line[2]) == int(line[5]) - 1


def test_ctrl_c_ends_the_watching_and_not_the_run(project: Project, endless: str) -> None:
    with project.start("watch", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watch:
        assert watch.stdout is not None
        watch.stdout.readline()
        watch.send_signal(signal.SIGINT)
        watch.wait(PATIENCE_S)

    assert watch.returncode == 130
    assert project.json("runs", "--limit", "1")["runs"][0]["status"] == "running"


def test_watch_on_a_terminal_redraws_in_place_and_ends_with_the_run(project: Project) -> None:
    (project.root / "slow.py").write_text(
        "import os, time\n"
        "for step in range(80):\n"
        "    print(f'step: {step} loss: {80 - step}', flush=True)\n"
        "    time.sleep(0.002)\n"
        "while not os.path.exists(os.environ['STOP']): time.sleep(0.01)\n"
        "print('\\x1b[31mdone\\x1b[0m 1%\\rdone 100%')\n"
    )
    run = project.start("run", "slow.py", "--quiet", stdout=subprocess.DEVNULL)
    run_id = wait_for_points(project)

    def end(data: bytes) -> None:
        if re.search(rb"\x1b\[\d+F", data):
            stop(project)

    status, text = project.on_a_terminal("watch", columns=80, shown=end)
    run.wait(PATIENCE_S)

    frames = re.split(r"\x1b\[\d+F", text)
    plain = re.sub(r"\x1b\[\??[0-9]*[A-Za-z]", "", frames[-1]).splitlines()
    assert status == 0
    assert len(frames) >= 2
    assert plain[0].startswith(f"{run_id[:8]}  slow.py  completed  ")
    loss = next(line for line in plain if line.startswith("loss")).split()
    assert loss[2:] == ["1", "79", "1", "80", "80"]
    assert (loss[1][0], loss[1][-1]) == ("█", "▁")
    assert plain[-1] == "done 100%"


def test_a_terminal_without_blocks_gets_ascii(project: Project) -> None:
    project.train()

    _, text = project.on_a_terminal("watch", "--once", TERM="linux")

    assert text.isascii()
    assert re.search(r"^loss +#[_.:=+*-]*_ ", text, re.MULTILINE)


@given(
    st.lists(st.floats() | st.integers(-5, 5).map(float), min_size=1, max_size=40),
    st.integers(1, 60),
    st.integers(1, 41),
)
def test_a_curve_keeps_every_extreme(some: list[float], times: int, width: int) -> None:
    values = [value + turn for turn in range(times) for value in some]
    sketch = Sketch()
    for value in values:
        sketch.add(value)

    drawn = sketch.values(width)

    numbers = [value for value in values if value == value]
    shown = [value for value in drawn if value == value]
    assert len(sparkline(drawn)) == len(drawn) <= max(2, width)
    assert bool(shown) == bool(numbers)
    if numbers:
        assert (min(shown), max(shown)) == (min(numbers), max(numbers))
    if len(values) <= min(width, 512):
        assert repr(drawn) == repr(values)


def test_a_sparkline_goes_from_the_least_to_the_greatest() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([7, 0, math.nan, math.inf, -math.inf], ASCII) == "#_x^v"
    assert sparkline([-1.7e308, 1.7e308, 0.0]) == "▁█▅"
    assert sparkline([3.0, 3.0]) == "▄▄"
    assert sparkline([]) == ""


def test_a_damaged_run_is_a_row_like_any_other(project: Project) -> None:
    project.train()
    run = project.train()
    (project.root.parent / "store" / "runs" / run / ".reenact" / "run.json").write_text("{")

    rows = project.json("compare")["rows"]
    refused = project.reenact("diff", status=1)

    assert [row["values"]["status"] for row in rows if row["run"] == run] == ["damaged"]
    assert len(rows) == 2
    assert "is damaged" in refused.stderr
