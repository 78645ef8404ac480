"""Texts with flags in them, and labels made of flags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.project.template import (
    UnknownReference,
    default_label,
    fill,
    fill_label,
    label_names,
    names_in,
    unknown_filters,
    value_text,
)

FLAGS = {"lr": 0.123456789, "data": "data/iris.csv", "name": "'quoted'", "off": None, "yes": True}


def test_a_reference_becomes_the_value_and_what_it_holds_is_not_read_again() -> None:
    assert fill("--lr=${lr} ${note}", {"lr": "0.1", "note": "${lr}"}) == "--lr=0.1 ${lr}"


def test_a_backslash_keeps_a_reference_as_it_is() -> None:
    assert fill(r"echo \${HOME}", {}) == "echo ${HOME}"
    assert names_in(r"\${HOME} ${a} ${b} ${a}") == ["a", "b"]


def test_a_reference_to_nothing_is_refused_by_name() -> None:
    with pytest.raises(UnknownReference) as caught:
        fill("${rl}", {"lr": "1"})

    assert caught.value.name == "rl"


@given(st.text())
def test_text_without_a_reference_stays_as_it_is(text: str) -> None:
    if "${" not in text:
        assert fill(text, {}) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "1"),
        (False, ""),
        (None, ""),
        (3, "3"),
        (1e-5, "1e-05"),
        ("yes", "yes"),
        ([1, 2], "[1, 2]"),
    ],
)
def test_a_program_gets_values_as_guild_writes_them(value: object, text: str) -> None:
    assert value_text(value) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("template", "label"),
    [
        ("lr is ${lr|%.3f}", "lr is 0.123"),
        ("${data|basename}", "iris.csv"),
        ("${name|unquote}", "quoted"),
        ("${off|default:none} ${yes}", "none yes"),
        ("${missing|default:x}", "x"),
        ("a ${missing}", "a"),
        ("${data|%.3f}", "data/iris.csv"),
        (r"\${lr}", "${lr}"),
        ("${default_label}", "lr=0.12345"),
    ],
)
def test_a_label_is_made_of_flags_and_filters(template: str, label: str) -> None:
    assert fill_label(template, FLAGS, {"lr": FLAGS["lr"]}) == label


def test_the_default_label_is_in_order_without_null_and_without_long_fractions() -> None:
    values = {"b": False, "a": 2.0, "tiny": 1e-7, "s": "two words", "n": None}

    assert default_label(values) == "a=2.0 b=no s=two words tiny=1e-07"


def test_what_a_label_refers_to_without_a_default_is_known() -> None:
    assert label_names("${a} ${b|default:1} ${default_label}") == ["a"]
    assert unknown_filters("${a|basenam} ${b|%d|default:x}") == ["basenam"]
