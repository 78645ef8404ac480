from __future__ import annotations

import math
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limits import files_up_to
from reenact.errors import Damaged
from reenact.model.metrics import Point
from reenact.store.metric_log import (
    MetricLog,
    MetricWriter,
    Series,
    compact_points,
    read_points,
    read_series,
)
from reenact.store.metric_parts import compact, leftovers

PARQUET, COLUMNS = "metrics.parquet", "metrics.columns"
KINDS = pytest.mark.parametrize("parquet", [True, False], ids=["parquet", "columns"])

INT64 = st.integers(-(2**63), 2**63 - 1)
NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=3)
VALUES = st.floats() | st.just(math.nan)
POINTS = st.lists(st.builds(Point, NAMES, INT64, INT64, VALUES), min_size=1, max_size=40)


def write(directory: str | Path, points: list[Point], source: str = "output") -> None:
    writer = MetricWriter(str(directory))
    writer.append(points, source)
    writer.close()


def names(directory: str | Path) -> list[str | None]:
    return [known and known.name for known in MetricLog(str(directory)).names]


def shrink(directory: str | Path, *, parquet: bool, at_least: int = 1) -> str | None:
    made = compact(str(directory), names(directory), at_least=at_least, parquet=parquet)
    return None if made is None else os.path.basename(made)


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def bits(points: list[Point]) -> list[tuple[str, int, int, bytes]]:
    return [(p.name, p.step, p.time_ns, struct.pack("<d", p.value)) for p in points]


def some(count: int, start: int = 0) -> list[Point]:
    chance = random.Random(start)
    return [
        Point(("loss", "acc", "lr")[i % 3], i // 3, 10**18 + i * 1000 + chance.randrange(300), chance.random())
        for i in range(start, start + count)
    ]  # fmt: skip


@KINDS
@settings(max_examples=60, deadline=None)
@given(points=POINTS)
def test_points_in_columns_are_the_same_to_the_last_bit(parquet: bool, points: list[Point]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        write(directory, points)
        before = bits(list(read_points(directory)))

        assert shrink(directory, parquet=parquet) == (PARQUET if parquet else COLUMNS)

        assert not Path(directory, "metrics").exists()
        assert bits(list(read_points(directory))) == before


@KINDS
def test_every_kind_of_number_comes_back(tmp_path: Path, parquet: bool) -> None:
    payload = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_DEAD_BEEF))[0]
    values = [payload, math.nan, math.inf, -math.inf, -0.0, 0.0, 5e-324, 1e308]
    points = [Point("x", i, i, value) for i, value in enumerate(values)]
    write(tmp_path, points)

    shrink(tmp_path, parquet=parquet)

    assert bits(list(read_points(str(tmp_path)))) == bits(points)


@KINDS
def test_many_points_in_many_blocks_keep_their_order(tmp_path: Path, parquet: bool) -> None:
    points = some(200_003)
    write(tmp_path, points)

    shrink(tmp_path, parquet=parquet)

    assert list(read_points(str(tmp_path))) == points
    assert MetricLog(str(tmp_path)).records == 200_003
    assert list(MetricLog(str(tmp_path)).points(150_001)) == points[150_001:]
    loss = [point for point in points if point.name == "loss"]
    assert read_series(str(tmp_path), "loss")["loss"].values.tolist() == [p.value for p in loss]
    raw = 200_003 * 32
    assert (tmp_path / (PARQUET if parquet else COLUMNS)).stat().st_size < raw / 3


def test_a_small_run_stays_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, some(1000))

    assert compact_points(str(tmp_path)) is None

    assert files(tmp_path) == ["metrics", "metrics.names"]


def test_a_run_without_points_stays_as_it_is(tmp_path: Path) -> None:
    assert compact_points(str(tmp_path), at_least=0) is None
    assert files(tmp_path) == []


def test_parquet_is_written_where_pyarrow_is_installed(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    write(tmp_path, some(9))

    made = compact_points(str(tmp_path), at_least=9)

    assert made == str(tmp_path / PARQUET)
    rows = pq.read_table(made).to_pylist()
    assert [(row["name"], row["step"], row["value"]) for row in rows] == [
        (point.name, point.step, point.value) for point in some(9)
    ]


@KINDS
def test_a_run_that_goes_on_continues_in_a_part_of_its_own(tmp_path: Path, parquet: bool) -> None:
    points = some(500)
    write(tmp_path, points[:300])
    shrink(tmp_path, parquet=parquet)
    write(tmp_path, points[300:])
    first = PARQUET if parquet else COLUMNS

    assert files(tmp_path) == sorted(["metrics.1", "metrics.names", first])
    assert list(read_points(str(tmp_path))) == points
    assert list(MetricLog(str(tmp_path)).points(200)) == points[200:]
    assert list(MetricLog(str(tmp_path)).points(300)) == points[300:]
    assert list(MetricLog(str(tmp_path)).points(350)) == points[350:]

    shrink(tmp_path, parquet=not parquet)
    write(tmp_path, some(3, 500))

    assert list(read_points(str(tmp_path))) == points + some(3, 500)
    assert "metrics.2" in files(tmp_path)


@KINDS
def test_a_reader_that_saw_the_records_goes_on_in_the_columns(
    tmp_path: Path, parquet: bool
) -> None:
    points = some(500)
    write(tmp_path, points)
    log = MetricLog(str(tmp_path))

    shrink(tmp_path, parquet=parquet)

    assert list(log.points(100)) == points[100:]
    assert log.records == 500


@KINDS
def test_where_both_are_there_the_columns_count_and_the_next_writer_tidies_up(
    tmp_path: Path, parquet: bool
) -> None:
    points = some(90)
    write(tmp_path, points)
    records = (tmp_path / "metrics").read_bytes()
    shrink(tmp_path, parquet=parquet)
    (tmp_path / "metrics").write_bytes(records)

    assert list(read_points(str(tmp_path))) == points
    assert leftovers(str(tmp_path)) == [str(tmp_path / "metrics")]

    write(tmp_path, some(10, 90))

    assert list(read_points(str(tmp_path))) == some(90) + some(10, 90)
    assert leftovers(str(tmp_path)) == []


@pytest.mark.parametrize("damage", ["torn", "noise", "names", "no names"])
@KINDS
def test_what_holds_more_than_points_stays_as_it_is(
    tmp_path: Path, parquet: bool, damage: str
) -> None:
    write(tmp_path, some(90))
    with open(tmp_path / "metrics", "r+b") as file:
        if damage == "torn":
            file.seek(0, os.SEEK_END)
            file.write(b"\1" * 7)
        elif damage == "noise":
            file.seek(24)
            file.write(b"\xff" * 8)
    if damage == "names":
        with open(tmp_path / "metrics.names", "ab") as file:
            file.write(b"not json\n")
    elif damage == "no names":
        os.truncate(tmp_path / "metrics.names", 3)
    before = (tmp_path / "metrics").read_bytes()

    assert shrink(tmp_path, parquet=parquet) is None

    assert files(tmp_path) == ["metrics", "metrics.names"]
    assert (tmp_path / "metrics").read_bytes() == before


@KINDS
def test_without_room_everything_stays_as_it_is(tmp_path: Path, parquet: bool) -> None:
    write(tmp_path, some(5000))

    with files_up_to(3000):
        assert shrink(tmp_path, parquet=parquet) is None

    assert files(tmp_path) == ["metrics", "metrics.names"]
    assert list(read_points(str(tmp_path))) == some(5000)


@KINDS
@pytest.mark.parametrize("where", ["begin", "middle", "end", "cut", "longer"])
def test_columns_that_were_changed_are_named_and_never_read_as_points(
    tmp_path: Path, parquet: bool, where: str
) -> None:
    write(tmp_path, some(3000))
    path = tmp_path / str(shrink(tmp_path, parquet=parquet))
    data = bytearray(path.read_bytes())
    if where == "cut":
        del data[-5:]
    elif where == "longer":
        data += b"more"
    else:
        at = {"begin": 2, "middle": len(data) // 2, "end": len(data) - 3}[where]
        data[at] ^= 0xFF
    path.write_bytes(data)

    with pytest.raises(Damaged, match="were changed or cut off"):
        list(read_points(str(tmp_path)))


def test_without_pyarrow_parquet_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    write(tmp_path, some(9))
    shrink(tmp_path, parquet=True)
    code = """
        import sys
        sys.modules["pyarrow"] = None
        from reenact.errors import NotFound
        from reenact.store.metric_log import MetricLog
        log = MetricLog(sys.argv[1])
        print(sorted(log.sources()))
        try:
            list(log.points())
        except NotFound as error:
            print(error.message, error.hint, sep="\\n")
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout.splitlines() == [
        "['acc', 'loss', 'lr']",
        "the points of this run are kept as Parquet, which needs pyarrow",
        "`pip install 'reenact[parquet]'`",
    ]


def test_without_numpy_columns_are_the_same(tmp_path: Path) -> None:
    write(tmp_path, some(150_000))
    expected = read_series(str(tmp_path))
    code = """
        import sys
        sys.modules["numpy"] = None
        from reenact.store.metric_log import MetricLog, compact_points
        from reenact.store.metric_parts import compact
        log = MetricLog(sys.argv[1])
        names = [known.name for known in log.names]
        compact(sys.argv[1], names, at_least=1, parquet=False)
        for name, series in MetricLog(sys.argv[1]).series().items():
            for column in series:
                sys.stdout.buffer.write(column.tobytes())
        for column in MetricLog(sys.argv[1]).series("acc")["acc"]:
            sys.stdout.buffer.write(column.tobytes())
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        capture_output=True, check=True,
    )  # fmt: skip

    all_of_them = [*expected.values(), expected["acc"]]
    assert done.stdout == b"".join(c.tobytes() for series in all_of_them for c in series)
    assert files(tmp_path) == [COLUMNS, "metrics.names"]
    assert list(read_points(str(tmp_path))) == some(150_000)


COMPACTS = """
    import sys
    from reenact.store.metric_log import MetricLog
    from reenact.store.metric_parts import compact
    names = [known.name for known in MetricLog(sys.argv[1]).names]
    sys.stdout.write("go\\n")
    sys.stdout.flush()
    compact(sys.argv[1], names, at_least=1, parquet=sys.argv[2] == "True")
"""


@KINDS
def test_kill_9_at_any_moment_leaves_every_point_once(tmp_path: Path, parquet: bool) -> None:
    points = some(60_000)
    chance = random.Random(7)
    source = tmp_path / "source"
    source.mkdir()
    write(source, points)
    expected = read_series(str(source))
    for number in range(12):
        directory = tmp_path / str(number)
        directory.mkdir()
        for name in files(source):
            (directory / name).write_bytes((source / name).read_bytes())
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(COMPACTS), str(directory), str(parquet)],
            stdout=subprocess.PIPE,
        )
        with child:
            assert child.stdout is not None
            child.stdout.readline()
            try:
                child.wait(chance.uniform(0, 0.15 if number else 20))
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)

        assert read_series(str(directory)) == expected
        write(directory, some(3, 60_000))
        found = read_series(str(directory))
        assert sum(len(series.values) for series in found.values()) == 60_003


@KINDS
def test_readers_never_see_more_or_less_while_columns_are_made(
    tmp_path: Path, parquet: bool
) -> None:
    directories = [tmp_path / str(number) for number in range(20)]
    for directory in directories:
        directory.mkdir()
        write(directory, some(3000))
    at = [0]
    counts: list[int] = []

    def look() -> None:
        while at[0] < len(directories):
            counts.append(sum(1 for _ in read_points(str(directories[at[0]]))))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number, directory in enumerate(directories):
            at[0] = number
            shrink(directory, parquet=parquet)
    finally:
        at[0] = len(directories)
        reader.join()

    assert set(counts) == {3000}


def test_series_of_one_kind_mix_processes_in_the_order_of_their_points(tmp_path: Path) -> None:
    writer = MetricWriter(str(tmp_path))
    for step in range(4):
        writer.append([Point("loss", step, step, step / 10)], f"log:{step % 2}")
    writer.close()

    assert read_series(str(tmp_path))["loss"].steps.tolist() == [0, 1, 2, 3]


def test_the_best_kind_of_source_is_the_series_and_the_others_can_be_read(tmp_path: Path) -> None:
    write(tmp_path, [Point("loss", s, s, 0.5) for s in range(3)], "output")
    write(tmp_path, [Point("loss", s, s, 0.25) for s in range(2)], "keras:1")
    write(tmp_path, [Point("acc", 0, 0, 0.9)], "output")
    log = MetricLog(str(tmp_path))

    assert {name: list(s.values) for name, s in log.series().items()} == {
        "loss": [0.25, 0.25],
        "acc": [0.9],
    }
    assert list(log.series("loss", kinds={"loss": "output"})["loss"].values) == [0.5] * 3
    assert list(log.series("loss", kinds={})["loss"].values) == [0.5] * 3 + [0.25] * 2
    assert log.series("none") == {}
    summarizer = log.summarize()
    assert summarizer.summaries()["loss"].count == 2
    assert summarizer.sources() == {"loss": {"keras": 2, "output": 3}}


def test_numpy_and_python_agree_on_mixed_sources(tmp_path: Path) -> None:
    chance = random.Random(3)
    writer = MetricWriter(str(tmp_path))
    for step in range(3000):
        name, source = chance.choice("ab"), chance.choice(["log:1", "log:2", "output", "events:x"])
        writer.append([Point(name, step, step, chance.random())], source)
    writer.close()
    code = """
        import sys
        sys.modules["numpy"] = None
        from reenact.store.metric_log import read_series
        for kinds in (None, {}, {"a": "events"}):
            for name, series in read_series(sys.argv[1], kinds=kinds).items():
                print(name, series.steps.tolist(), series.values.tolist())
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    pytest.importorskip("numpy")
    found: list[tuple[str, Series]] = []
    for kinds in (None, {}, {"a": "events"}):
        found += read_series(str(tmp_path), kinds=kinds).items()
    assert done.stdout.splitlines() == [
        f"{name} {series.steps.tolist()} {series.values.tolist()}" for name, series in found
    ]
