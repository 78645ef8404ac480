r"""Metrics by the patterns of a project file."""

from __future__ import annotations

import math

import pytest

from reenact.execute.metric_patterns import PatternMetrics, line_reader
from reenact.execute.metric_text import LineMetrics
from reenact.project.file.model import OutputPattern, OutputScalars, Place

PLACE = Place("guild.yml", 1)


def rules(*patterns: str, step: str | None = None, **named: str) -> OutputScalars:
    found = [OutputPattern(pattern=text, place=PLACE) for text in patterns]
    found += [OutputPattern(pattern=text, place=PLACE, name=name) for name, text in named.items()]
    own = None if step is None else OutputPattern(pattern=step, place=PLACE, name="step")
    return OutputScalars(place=PLACE, patterns=tuple(found), step=own)


def read(said: OutputScalars, text: str, *, exclude: frozenset[str] = frozenset()) -> list[tuple]:
    reader = PatternMetrics(said, exclude)
    points = [*reader.feed(text.encode(), 1), *reader.finish(1)]
    return [(point.name, point.value, point.step) for point in points]


def test_a_pattern_with_a_name_takes_its_first_group() -> None:
    said = rules(loss=r" - loss=(\value)", bar=r"bar is (\value)")

    assert read(said, " - loss=1 bar is 2\nloss: 3\n") == [("loss", 1.0, 0), ("bar", 2.0, 0)]


def test_a_pattern_without_a_name_takes_key_and_value_as_often_as_it_fits() -> None:
    assert read(rules(r"(\key)=(\value)"), "a=1 b=-2.5e-3\n") == [("a", 1.0, 0), ("b", -0.0025, 0)]


def test_named_groups_are_metrics_and_the_step() -> None:
    said = rules(r"epoch (?P<step>\step): (?P<loss>\value) / (?P<val_loss>\value)")

    assert read(said, "epoch 7: 0.5 / 0.6\n") == [("loss", 0.5, 7), ("val_loss", 0.6, 7)]


def test_groups_may_say_which_is_the_key_and_which_the_value() -> None:
    said = rules(r"(?P<_val>\value) for (?P<_key>\key) at (?P<_step>\step)")

    assert read(said, "0.5 for loss at 3\n") == [("loss", 0.5, 3)]


def test_a_step_counts_for_its_line_and_those_that_follow() -> None:
    said = rules(r"(\key): (\value)", step=r"Epoch (\step)")

    assert read(said, "a: 1\nEpoch 5\na: 2\nEpoch 6 a: 3\n") == [
        ("a", 1.0, 0),
        ("a", 2.0, 5),
        ("a", 3.0, 6),
    ]


def test_without_a_step_it_is_how_often_the_name_was_seen() -> None:
    assert [step for _, _, step in read(rules(loss=r"(\value)"), "1\n2\n3\n")] == [0, 1, 2]


def test_nan_and_infinity_are_values() -> None:
    values = [value for _, value, _ in read(rules(loss=r"loss (\value)"), "loss nan\nloss -inf\n")]

    assert math.isnan(values[0])
    assert values[1] == -math.inf


def test_what_is_no_number_is_no_metric() -> None:
    assert read(rules(loss=r"loss (.*)"), "loss unknown\n") == []


def test_flags_that_a_pattern_finds_are_no_metrics_unless_it_names_them() -> None:
    text = "lr: 0.1\nloss: 1\n"

    assert read(rules(r"(\key): (\value)"), text, exclude=frozenset(["lr"])) == [("loss", 1.0, 0)]
    assert read(rules(lr=r"lr: (\value)"), text, exclude=frozenset(["lr"])) == [("lr", 0.1, 0)]


def test_without_patterns_nothing_is_a_metric() -> None:
    assert read(rules(), "loss: 1\n") == []


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_how_the_output_is_cut_plays_no_part(size: int) -> None:
    data = b"loss: 0.5\r\nloss: 0.25\n\x1b[31mloss: 0.125\x1b[0m"
    reader = PatternMetrics(rules(r"^(\key): (\value)"))
    points = [p for at in range(0, len(data), size) for p in reader.feed(data[at : at + size], 1)]
    points += reader.finish(1)

    assert [point.value for point in points] == [0.5, 0.25, 0.125]


def test_half_a_line_of_a_process_that_was_killed_is_left_out() -> None:
    reader = PatternMetrics(rules(r"(\key): (\value)"))
    reader.feed(b"loss: 0.1", 1)

    assert reader.finish(1, was_cut_short=True) == []


def test_a_line_is_explained() -> None:
    reader = PatternMetrics(rules(loss=r"loss (\value)"))

    found = reader.explain("loss 0.5")
    assert [(f.name, f.value, f.step) for f in found.findings] == [("loss", 0.5, 0)]
    assert "no pattern" in str(reader.explain("acc 1").reason)


def test_an_operation_that_says_nothing_is_read_by_our_own_rules() -> None:
    assert isinstance(line_reader(None, frozenset()), LineMetrics)
    assert isinstance(line_reader(rules(), frozenset()), PatternMetrics)
