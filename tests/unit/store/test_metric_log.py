from __future__ import annotations

import json
import math
import os
import signal
import struct
import subprocess
import sys
import tempfile
import textwrap
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import PATIENCE_S
from reenact.model.metrics import Point
from reenact.store.metric_block import MARKER
from reenact.store.metric_log import (
    MetricLog,
    MetricName,
    MetricWriter,
    read_points,
    read_series,
)
from reenact.store.metric_parts import NAMES_FILE, POINTS_FILE

INT64 = st.integers(-(2**63), 2**63 - 1)
NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
POINTS = st.lists(st.builds(Point, NAMES, INT64, INT64, st.floats(allow_nan=False)), max_size=40)

LOSSES = [Point("loss", step, 1_000 + step, 1 / (step + 1)) for step in range(5)]


def write(directory: str | Path, points: list[Point], source: str = "output") -> None:
    writer = MetricWriter(str(directory))
    writer.append(points, source)
    writer.close()


def test_a_run_without_points_has_no_metric_files(tmp_path: Path) -> None:
    writer = MetricWriter(str(tmp_path))
    writer.append([])
    writer.close()

    assert list(tmp_path.iterdir()) == []
    assert list(read_points(str(tmp_path))) == []
    assert read_series(str(tmp_path)) == {}
    assert MetricLog(str(tmp_path)).ignored_bytes == 0


def test_the_layout_is_the_documented_one(tmp_path: Path) -> None:
    write(tmp_path, [Point("loss", 3, 17, 0.1)])
    write(tmp_path, [Point("loss", 4, 18, 0.2)], "file")

    assert (tmp_path / POINTS_FILE).read_bytes() == (
        struct.pack("<qqd", 17, 3, 0.1) + struct.pack("<II", 0, MARKER)
        + struct.pack("<qqd", 18, 4, 0.2) + struct.pack("<II", 1, MARKER)
    )  # fmt: skip
    lines = (tmp_path / NAMES_FILE).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"name": "loss", "source": "output"},
        {"name": "loss", "source": "file"},
    ]


@given(POINTS, st.lists(st.integers(0, 40), max_size=4))
def test_what_is_written_comes_back_the_same(points: list[Point], cuts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        writer = MetricWriter(directory)
        edges = [0, *sorted(cuts), len(points)]
        for begin, end in pairwise(edges):
            writer.append(points[begin:end])
        writer.close()

        assert list(read_points(directory)) == points


@given(POINTS, st.data())
def test_files_cut_anywhere_hold_a_prefix(points: list[Point], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory:
        write(directory, points)
        for name in (POINTS_FILE, NAMES_FILE):
            path = Path(directory, name)
            if path.exists():
                os.truncate(path, data.draw(st.integers(0, path.stat().st_size), label=name))

        found = list(read_points(directory))

        if (Path(directory) / NAMES_FILE).exists():
            kept = {known.name for known in MetricLog(directory).names if known}
            size = Path(directory, POINTS_FILE).stat().st_size
            assert found == [p for p in points[: size // 32] if p.name in kept]
        else:
            assert found == []


def test_non_finite_values_come_back(tmp_path: Path) -> None:
    values = [math.nan, math.inf, -math.inf, -0.0, 5e-324]

    write(tmp_path, [Point("x", i, i, value) for i, value in enumerate(values)])

    back = read_series(str(tmp_path))["x"].values
    assert [struct.pack("<d", v) for v in back] == [struct.pack("<d", v) for v in values]


def test_a_name_may_be_any_text(tmp_path: Path) -> None:
    names = ["损失", "a\nb", "", 'say "hi"', "x" * 5000, "\u2028", "nul\0"]

    write(tmp_path, [Point(name, 0, 0, 1.0) for name in names])

    assert [point.name for point in read_points(str(tmp_path))] == names


def test_a_lone_surrogate_in_a_name_is_shown_by_its_escape(tmp_path: Path) -> None:
    write(tmp_path, [Point("bad\udcff", 0, 0, 1.0)])

    assert [point.name for point in read_points(str(tmp_path))] == ["bad\\udcff"]


def test_a_torn_tail_is_ignored_counted_and_cut_by_the_next_writer(tmp_path: Path) -> None:
    write(tmp_path, LOSSES)
    with open(tmp_path / POINTS_FILE, "ab") as file:
        file.write(b"\1" * 7)
    with open(tmp_path / NAMES_FILE, "ab") as file:
        file.write(b'{"name": "ac')

    log = MetricLog(str(tmp_path))
    torn = (list(log.points()), log.ignored_bytes)
    write(tmp_path, [Point("acc", 9, 9, 0.9)])

    assert torn == (LOSSES, 7 + 12)
    assert list(read_points(str(tmp_path))) == [*LOSSES, Point("acc", 9, 9, 0.9)]
    assert MetricLog(str(tmp_path)).ignored_bytes == 0


def test_zeros_and_unknown_names_are_skipped_and_counted(tmp_path: Path) -> None:
    write(tmp_path, LOSSES[:1])
    with open(tmp_path / POINTS_FILE, "ab") as file:
        file.write(bytes(64))
        file.write(struct.pack("<qqdII", 1, 1, 1.0, 7, MARKER))
    with open(tmp_path / NAMES_FILE, "ab") as file:
        file.write(b"not json\n")
    write(tmp_path, [Point("acc", 1, 1, 0.5)])

    log = MetricLog(str(tmp_path))

    assert list(log.points()) == [LOSSES[0], Point("acc", 1, 1, 0.5)]
    assert log.ignored_bytes == 96
    assert log.names == (MetricName("loss", "output"), None, MetricName("acc", "output"))


def test_reading_can_go_on_where_it_stopped(tmp_path: Path) -> None:
    writer = MetricWriter(str(tmp_path))
    writer.append(LOSSES[:2])
    seen = MetricLog(str(tmp_path)).records
    writer.append(LOSSES[2:])

    log = MetricLog(str(tmp_path))

    assert seen == 2
    assert list(log.points(start=seen)) == LOSSES[2:]
    assert list(log.points(start=log.records)) == []
    writer.close()


def test_series_are_columns_by_metric(tmp_path: Path) -> None:
    acc = Point("acc", 7, 70, 0.5)
    write(tmp_path, [LOSSES[0], acc, LOSSES[1]])

    series = read_series(str(tmp_path))

    assert list(series) == ["loss", "acc"]
    assert series["loss"].steps.tolist() == [0, 1]
    assert series["loss"].times_ns.tolist() == [1_000, 1_001]
    assert series["loss"].values.tolist() == [1.0, 0.5]
    assert list(read_series(str(tmp_path), "acc")) == ["acc"]
    assert read_series(str(tmp_path), "none") == {}


def test_a_log_says_where_a_metric_came_from(tmp_path: Path) -> None:
    write(tmp_path, [Point("loss", 0, 0, 1.0), Point("acc", 0, 0, 1.0)])
    write(tmp_path, [Point("loss", 1, 0, 1.0)], "events:tb")

    assert MetricLog(str(tmp_path)).sources() == {"loss": ("output", "events:tb"),
                                                  "acc": ("output",)}  # fmt: skip


def test_a_step_beyond_64_bits_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    writer = MetricWriter(str(tmp_path))
    writer.append(LOSSES)

    with pytest.raises(ValueError, match="`new` does not fit"):
        writer.append([Point("loss", 9, 9, 0.5), Point("new", 2**63, 0, 1.0)])

    writer.append([Point("acc", 1, 1, 1.0)])
    writer.close()
    assert list(read_points(str(tmp_path))) == [*LOSSES, Point("acc", 1, 1, 1.0)]


def test_a_directory_that_is_gone_is_said_once_and_counted(tmp_path: Path) -> None:
    writer = MetricWriter(str(tmp_path / "gone"))

    with pytest.raises(FileNotFoundError):
        writer.append(LOSSES)
    writer.append(LOSSES)
    lost = writer.lost
    (tmp_path / "gone").mkdir()
    writer.append(LOSSES[:1])
    writer.close()

    assert lost == 10
    assert list(read_points(str(tmp_path / "gone"))) == LOSSES[:1]


FULL_DISK = """
    import resource, signal, sys
    from reenact.model.metrics import Point
    from reenact.store.metric_log import MetricWriter

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    writer = MetricWriter(sys.argv[1])
    writer.append([Point("loss", i, i, 0.5) for i in range(3)])
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (32 * 5 + 11, hard))
    failures = 0
    for first in (3, 10, 20):
        try:
            writer.append([Point("loss", i, i, 0.5) for i in range(first, first + 7)])
        except OSError:
            failures += 1
    name = "n" * 300
    writer.append([Point(name, 1, 1, 1.0)])
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    writer.append([Point(name, 2, 2, 2.0)])
    writer.close()
    print(failures, writer.lost)
"""


def test_a_full_disk_leaves_whole_records_and_is_said_once(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(tmp_path)],
        capture_output=True, text=True, check=True, timeout=PATIENCE_S,
    )  # fmt: skip

    log = MetricLog(str(tmp_path))
    assert child.stdout.split() == ["1", str(5 + 7 + 7 + 1)]
    assert [(p.name[:4], p.step) for p in log.points()] == [
        *(("loss", step) for step in range(5)), ("nnnn", 2),
    ]  # fmt: skip
    assert log.ignored_bytes == 0


KILLED = """
    import sys
    from reenact.model.metrics import Point
    from reenact.store.metric_log import MetricWriter

    writer = MetricWriter(sys.argv[1])
    step = 0
    while True:
        writer.append([Point(f"m{step % 50}", step + i, 1, step / 7) for i in range(3)])
        step += 3
        sys.stdout.write(f"{step}\\n")
        sys.stdout.flush()
"""


@pytest.mark.parametrize("acknowledged", [1, 40, 900])
def test_every_point_that_was_acknowledged_outlives_kill_9(
    tmp_path: Path, acknowledged: int
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    for _ in range(acknowledged):
        last = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    last = int([str(last), *child.stdout.read().rpartition("\n")[0].split()][-1])
    child.stdout.close()
    child.wait()

    steps = [point.step for point in read_points(str(tmp_path))]

    assert steps == list(range(len(steps)))
    assert len(steps) >= last
