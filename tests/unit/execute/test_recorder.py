from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from limits import files_up_to
from reenact.execute.recorder import METRICS_FILE, Recorder
from reenact.model.metrics import Point, summarize
from reenact.store.metric_log import MetricLog, read_points
from reenact.store.output_log import STDERR, STDOUT, read_output

NOW = 10**18


def begin(directory: Path, *exclude: str) -> Recorder:
    return Recorder(str(directory), exclude=frozenset(exclude))


def points(directory: Path) -> list[tuple[str, int, float]]:
    return [(name, step, value) for name, step, _, value in read_points(str(directory))]


def codes(recorder: Recorder) -> list[str]:
    return [warning.code for warning in recorder.warnings]


def printed(directory: Path) -> bytes:
    return b"".join(piece.data for piece in read_output(str(directory)))


def test_output_and_the_metrics_in_it_are_kept(tmp_path: Path) -> None:
    recorder = begin(tmp_path)

    recorder.output(STDOUT, b"epoch 1 loss: 0.5\nepoch 2 lo", NOW)
    recorder.output(STDERR, b"warning\n", NOW + 1)
    recorder.output(STDOUT, b"ss: 0.25\n", NOW + 2)
    recorder.finish()

    assert [tuple(piece) for piece in read_output(str(tmp_path))] == [
        (NOW, STDOUT, b"epoch 1 loss: 0.5\nepoch 2 lo"),
        (NOW + 1, STDERR, b"warning\n"),
        (NOW + 2, STDOUT, b"ss: 0.25\n"),
    ]
    assert points(tmp_path) == [("loss", 1, 0.5), ("loss", 2, 0.25)]
    assert recorder.summaries == summarize(read_points(str(tmp_path)))
    assert recorder.warnings == []


def test_a_metric_is_on_disk_as_soon_as_its_line_is_whole(tmp_path: Path) -> None:
    recorder = begin(tmp_path)

    recorder.output(STDOUT, b"loss: 0.5\n", NOW)

    assert points(tmp_path) == [("loss", 0, 0.5)]


def test_names_of_flags_are_no_metrics_when_they_are_printed(tmp_path: Path) -> None:
    recorder = begin(tmp_path, "lr")

    recorder.output(STDOUT, b"lr: 0.1\nloss: 0.5\n", NOW)
    recorder.finish()

    assert points(tmp_path) == [("loss", 0, 0.5)]


def test_the_two_streams_do_not_mix_within_a_line(tmp_path: Path) -> None:
    recorder = begin(tmp_path)

    recorder.output(STDOUT, b"loss: 0.", NOW)
    recorder.output(STDERR, b"acc: 0.9\n", NOW)
    recorder.output(STDOUT, b"5\n", NOW)
    recorder.finish()

    assert sorted(points(tmp_path)) == [("acc", 0, 0.9), ("loss", 0, 0.5)]


def test_nan_and_infinities_are_kept(tmp_path: Path) -> None:
    recorder = begin(tmp_path)

    recorder.output(STDOUT, b"loss: nan\nloss: inf\n", NOW)
    recorder.finish()

    first, second = (value for _, _, value in points(tmp_path))
    assert math.isnan(first)
    assert second == math.inf


def test_a_name_from_the_output_and_the_file_is_summarized_from_the_better_one(
    tmp_path: Path,
) -> None:
    recorder = begin(tmp_path)
    (tmp_path / METRICS_FILE).write_text("loss 0.5\n")

    recorder.output(STDOUT, b"loss: 3\nloss: 2\n", NOW)
    recorder.finish()

    assert recorder.summaries["loss"].last == 0.5
    assert recorder.summarizer.sources() == {"loss": {"file": 1, "output": 2}}
    assert points(tmp_path) == [("loss", 0, 3.0), ("loss", 1, 2.0), ("loss", 0, 0.5)]
    log = MetricLog(str(tmp_path)).summarize()
    assert log.summaries() == recorder.summaries
    assert log.sources() == recorder.summarizer.sources()


class TestFile:
    """The file that `$REENACT_METRICS` names."""

    def test_lines_are_taken_while_the_run_goes_on_and_at_its_end(self, tmp_path: Path) -> None:
        recorder = begin(tmp_path)
        path = tmp_path / METRICS_FILE
        path.write_text("loss 0.5\n")
        recorder.tick(time.monotonic() + 10)
        assert points(tmp_path) == [("loss", 0, 0.5)]
        with path.open("a") as file:
            file.write("loss 0.25\n")

        recorder.finish()

        assert points(tmp_path) == [("loss", 0, 0.5), ("loss", 1, 0.25)]
        assert MetricLog(str(tmp_path)).counts_by_source() == {"file": 2}

    def test_a_last_line_without_an_end_counts(self, tmp_path: Path) -> None:
        recorder = begin(tmp_path)
        (tmp_path / METRICS_FILE).write_text("loss 0.5\nloss 0.25")
        recorder.output(STDOUT, b"acc: 0.9", NOW)

        recorder.finish()

        assert sorted(points(tmp_path)) == [("acc", 0, 0.9), ("loss", 0, 0.5), ("loss", 1, 0.25)]

    def test_it_does_not_when_a_signal_may_have_cut_it(self, tmp_path: Path) -> None:
        recorder = begin(tmp_path)
        (tmp_path / METRICS_FILE).write_text("loss 0.5\nloss 0.2")
        recorder.output(STDOUT, b"acc: 0.9\nacc: 0.", NOW)

        recorder.finish(was_cut_short=True)

        assert sorted(points(tmp_path)) == [("acc", 0, 0.9), ("loss", 0, 0.5)]

    def test_lines_that_are_no_metric_are_counted_and_the_first_is_named(
        self, tmp_path: Path
    ) -> None:
        recorder = begin(tmp_path)
        (tmp_path / METRICS_FILE).write_text("good 1\nthis is no metric\nnor this one\n")

        recorder.finish()

        assert codes(recorder) == ["metric-line"]
        message = "lines of $REENACT_METRICS are no metric, the first: 'this is no metric'"
        assert recorder.warnings[0].message == f"2 {message}"
        assert points(tmp_path) == [("good", 0, 1.0)]

    def test_a_single_line_that_is_no_metric_is_said_to_be_one(self, tmp_path: Path) -> None:
        recorder = begin(tmp_path)
        (tmp_path / METRICS_FILE).write_text("good 1\nthis is no metric\n")

        recorder.finish()

        (warning,) = recorder.warnings
        assert warning.message.startswith("1 line of $REENACT_METRICS is no metric, the first: ")

    def test_something_else_in_its_place_is_said_once(self, tmp_path: Path) -> None:
        recorder = begin(tmp_path)
        (tmp_path / METRICS_FILE).mkdir()

        recorder.tick(time.monotonic() + 10)
        recorder.output(STDOUT, b"loss: 0.5\n", NOW)
        recorder.finish()

        assert [warning.message for warning in recorder.warnings] == [
            "$REENACT_METRICS could not be read: Is a directory"
        ]
        assert points(tmp_path) == [("loss", 0, 0.5)]

    @pytest.mark.parametrize(
        "line",
        [
            '{"loss": 0.5, "step": 1e300}',
            '{"loss": 0.5, "step": 99999999999999999999999}',
            "loss 0.5 999999999999999999",
            '{"loss": 1e999, "time": -5}',
            "loss 0.5 -1",
        ],
    )
    def test_numbers_beyond_all_bounds_do_no_harm(self, tmp_path: Path, line: str) -> None:
        recorder = begin(tmp_path)
        (tmp_path / METRICS_FILE).write_text(f"{line}\nacc 0.9\n")

        recorder.finish()

        assert ("acc", 0, 0.9) in points(tmp_path)


class Events(NamedTuple):
    source: str
    points: list[Point]
    stays: bool = False


class Source:
    """Reports one point at each look, and one more at the end."""

    def __init__(self) -> None:
        self.step = 0

    def poll(self) -> Sequence[Events]:
        self.step += 1
        return [Events("events:logs/events.1", [Point("loss", self.step, NOW, 0.5)])]

    def finish(self) -> Sequence[Events]:
        return [Events("events:logs/events.1", [Point("loss", 99, NOW, 0.5)])]


def test_other_sources_are_asked_while_it_runs_and_at_the_end(tmp_path: Path) -> None:
    recorder = Recorder(str(tmp_path), exclude=frozenset(), sources=[Source()])

    recorder.tick(time.monotonic() + 10)
    recorder.tick(time.monotonic() + 10.1)
    recorder.finish()

    assert [step for _, step, _ in points(tmp_path)] == [1, 99]
    assert MetricLog(str(tmp_path)).counts_by_source() == {"events:logs/events.1": 2}


class TestFullDisk:
    def test_what_could_not_be_stored_is_counted_and_said(self, tmp_path: Path) -> None:
        recorder = begin(tmp_path)

        with files_up_to(100):
            for _ in range(20):
                recorder.output(STDOUT, b"loss: 0.5\n", NOW)

        recorder.finish()
        stored = len(printed(tmp_path))
        kept = len(points(tmp_path))
        messages = [warning.message for warning in recorder.warnings]
        assert messages == [
            f"{200 - stored} bytes of output could not be stored: File too large",
            f"{20 - kept} metric points could not be stored: File too large",
        ]
        assert 0 < stored < 200
        assert kept == 3

    def test_a_summary_counts_what_was_reported_stored_or_not(self, tmp_path: Path) -> None:
        recorder = begin(tmp_path)

        with files_up_to(100):
            for _ in range(20):
                recorder.output(STDOUT, b"loss: 0.5\n", NOW)
            recorder.finish()

        assert recorder.summaries["loss"].count == 20

    def test_when_there_is_room_again_it_goes_on(self, tmp_path: Path) -> None:
        recorder = begin(tmp_path)
        recorder.output(STDOUT, b"loss: 1\n", NOW)
        with files_up_to(10):
            recorder.output(STDOUT, b"loss: 2\n", NOW)

        recorder.output(STDOUT, b"loss: 3\n", NOW)
        recorder.finish()

        assert printed(tmp_path) == b"loss: 1\nloss: 3\n"
        assert [value for _, _, value in points(tmp_path)] == [1.0, 3.0]

    def test_a_directory_that_is_gone_does_not_stop_the_run(self, tmp_path: Path) -> None:
        (tmp_path / "record").mkdir()
        recorder = begin(tmp_path / "record")
        (tmp_path / "record").rmdir()

        recorder.output(STDOUT, b"loss: 0.5\n", NOW)
        recorder.tick(time.monotonic() + 10)
        recorder.finish()

        reason = os.strerror(errno.ENOENT)
        assert [warning.message for warning in recorder.warnings] == [
            f"10 bytes of output could not be stored: {reason}",
            f"1 metric points could not be stored: {reason}",
        ]


def test_the_process_that_is_watched_leaves_its_use(tmp_path: Path) -> None:
    recorder = begin(tmp_path)
    assert recorder.usage is None

    recorder.watch_process(os.getpid())
    recorder.tick(time.monotonic() + 100)
    recorder.finish()

    assert recorder.usage is not None
    assert recorder.usage.samples >= 1
    assert (recorder.usage.max_memory_bytes or 0) > 1_000_000
