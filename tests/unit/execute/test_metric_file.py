from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import PATIENCE_S
from reenact.execute.metric_file import MAX_REJECTED, MetricFileTail
from reenact.execute.metric_text import MAX_JSON_BYTES
from reenact.model.metrics import Point

NOW = 1_700_000_000_000_000_000
NAN = math.nan


def tail(path: Path) -> MetricFileTail:
    return MetricFileTail(str(path), clock=lambda: NOW)


def append(path: Path, text: str | bytes) -> None:
    with open(path, "ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("loss 0.5", [("loss", 0, 0.5)]),
        ("loss\t0.5\t100", [("loss", 100, 0.5)]),
        ("loss 1e-3 -4", [("loss", -4, 1e-3)]),
        ("loss nan", [("loss", 0, NAN)]),
        ("loss -Infinity 2", [("loss", 2, -math.inf)]),
        ("version 0.5", [("version", 0, 0.5)]),
        ("loss=0.5", [("loss", 0, 0.5)]),
        ("loss=0.5 7", [("loss", 7, 0.5)]),
        ("loss=0.5 acc=0.9 step=3", [("loss", 3, 0.5), ("acc", 3, 0.9)]),
        ("epoch=2 loss=0.5", [("loss", 2, 0.5)]),
        ("epoch=0.25 loss=0.5", [("epoch", 0, 0.25), ("loss", 0, 0.5)]),
        ('{"loss": 0.5}', [("loss", 0, 0.5)]),
        ('{"loss": 0.5, "step": 3}', [("loss", 3, 0.5)]),
        ('{"loss": NaN, "val": {"acc": 0.9}}', [("loss", 0, NAN), ("val/acc", 0, 0.9)]),
        ('{"name": "val loss", "value": 0.5, "step": 3}', [("val loss", 3, 0.5)]),
        ('{"name": "run 1", "loss": 0.5}', [("loss", 0, 0.5)]),
        ("損失 0.5", [("損失", 0, 0.5)]),
        ("  loss 0.5 \r", [("loss", 0, 0.5)]),
    ],
)
def test_a_line_is_read(tmp_path: Path, line: str, expected: list[tuple[str, int, float]]) -> None:
    append(tmp_path / "m", line + "\n")
    reader = tail(tmp_path / "m")

    points = reader.poll()

    assert repr([(p.name, p.step, p.value) for p in points]) == repr(expected)
    assert all(point.time_ns == NOW for point in points)
    assert reader.rejected == []


@pytest.mark.parametrize(
    "line",
    ["loss", "loss abc", "loss 0.5 x", "loss 0.5 1.5", "loss 0.5 1 2", "loss 1_0", "a=b", "=3",
     "loss=0.5 acc", "step=3", "{", '{"loss": "abc"}', '{"loss": 0.5, "time": "now"}', "[1]",
     '{"loss": 0.5, "time": 1e30}', "loss 0.5 ²", "loss 0.5 99999999999999999999"],
)  # fmt: skip
def test_a_line_that_cannot_be_read_is_kept(tmp_path: Path, line: str) -> None:
    append(tmp_path / "m", f"loss 1\n{line}\nloss 2\n")
    reader = tail(tmp_path / "m")

    assert [point.value for point in reader.poll()] == [1.0, 2.0]
    assert reader.rejected == [line]
    assert reader.rejected_count == 1


def test_lines_that_cannot_be_read_are_counted_and_a_few_kept(tmp_path: Path) -> None:
    append(tmp_path / "m", "bad\n" * 50 + "x" * 1000 + "\n")
    reader = tail(tmp_path / "m")

    assert reader.poll() == []
    assert reader.rejected == ["bad"] * MAX_REJECTED
    assert reader.rejected_count == 51


def test_the_time_may_be_said(tmp_path: Path) -> None:
    append(tmp_path / "m", '{"loss": 0.5, "time": 1700000000.25}\n')

    assert tail(tmp_path / "m").poll() == [Point("loss", 0, 1_700_000_000_250_000_000, 0.5)]


def test_the_file_may_come_later_and_grow(tmp_path: Path) -> None:
    path = tmp_path / "m"
    reader = tail(path)

    seen = [reader.poll()]
    for text in ("loss 1\nlo", "ss 2", "\n", "", "loss 3"):
        append(path, text)
        seen.append(reader.poll())
    seen.append(reader.finish())
    seen.append(reader.finish())

    assert [[(p.step, p.value) for p in points] for points in seen] == [
        [], [(0, 1.0)], [], [(1, 2.0)], [], [], [(2, 3.0)], [],
    ]  # fmt: skip


def test_a_file_that_was_emptied_or_replaced_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "m"
    reader = tail(path)
    append(path, "loss 1\nloss 2\n")

    first = reader.poll()
    path.write_text("loss 3\n")
    second = reader.poll()
    (tmp_path / "new").write_text("loss 4\nloss 5\nloss 6\n")
    os.replace(tmp_path / "new", path)
    third = reader.poll()
    path.unlink()

    assert [p.value for p in first + second + third] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert reader.poll() == []


def test_zeros_where_the_file_was_emptied_under_its_writer_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "m"
    reader = tail(path)
    with open(path, "wb", buffering=0) as file:
        file.write(b"loss 1\nloss 2\n")
        reader.poll()
        os.truncate(path, 0)
        file.write(b"loss 3\n")

        assert [p.value for p in reader.poll()] == [3.0]
    assert reader.rejected == []


def test_a_line_without_an_end_does_not_fill_memory(tmp_path: Path) -> None:
    path = tmp_path / "m"
    reader = tail(path)

    append(path, b"x" * (3 * MAX_JSON_BYTES))
    first = reader.poll()
    append(path, b"y 1\nloss 2\n")
    second = reader.poll()

    assert first == []
    assert [(p.name, p.value) for p in second] == [("loss", 2.0)]
    assert reader.rejected_count == 1
    assert len(reader.rejected[0]) < 300


def test_another_program_may_write_it(tmp_path: Path) -> None:
    path = tmp_path / "m"
    script = (
        "import os\nfor i in range(3): open(os.environ['M'], 'a').write(f'loss {i / 7} {i}\\n')"
    )

    subprocess.run(
        [sys.executable, "-c", script], env={"M": str(path)}, check=True, timeout=PATIENCE_S
    )

    assert [(p.step, p.value) for p in tail(path).poll()] == [(i, i / 7) for i in range(3)]


LINES = st.lists(
    st.sampled_from(["loss 0.5\n", "acc=1 step=2\n", '{"a": 1}\n', "bad\n", "\n", "é 1\n"]),
    max_size=15,
)


@given(LINES, st.lists(st.integers(0, 100), max_size=6))
def test_when_it_is_polled_plays_no_part(lines: list[str], cuts: list[int]) -> None:
    data = "".join(lines).encode()
    with tempfile.TemporaryDirectory() as directory:
        whole, parts = Path(directory, "whole"), Path(directory, "parts")
        append(whole, data)
        expected = tail(whole).finish()

        reader = tail(parts)
        points = []
        begin = 0
        for end in [*sorted(cuts), len(data)]:
            append(parts, data[begin:end])
            begin = max(begin, min(end, len(data)))
            points += reader.poll()

        assert points + reader.finish() == expected
