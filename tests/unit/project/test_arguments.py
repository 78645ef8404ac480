"""Arguments and variables for flags that a project file describes."""

from __future__ import annotations

from typing import Any

import pytest

from reenact.model.flags import FlagValue
from reenact.project.arguments import flag_environment, flag_words
from reenact.project.file.model import Encoding, FlagDef, Place

PLACE = Place("guild.yml", 1)


def words(value: FlagValue, **said: Any) -> list[str]:
    definition = FlagDef(name="x", place=PLACE, **said)
    return flag_words({"x": value}, {"x": definition}, default_skip=False)


@pytest.mark.parametrize(
    ("value", "said", "expected"),
    [
        (0.1, {}, ["--x", "0.1"]),
        (True, {}, ["--x", "1"]),
        (False, {}, ["--x", ""]),
        (None, {}, []),
        ([1, 2], {}, ["--x", "1", "2"]),
        (0.1, {"arg_name": "rate"}, ["--rate", "0.1"]),
        (0.1, {"arg_skip": True}, []),
        (True, {"arg_switch": True}, ["--x"]),
        (False, {"arg_switch": True}, []),
        (1, {"arg_switch": True}, []),
        ("a 'b c'", {"arg_split": "shlex"}, ["--x", "a", "b c"]),
        ("a,b", {"arg_split": ","}, ["--x", "a", "b"]),
        ([1, "b"], {"arg_split": ","}, ["--x", "1", "b"]),
        (True, {"arg_encoding": (Encoding(True, "on"), Encoding(False, "off"))}, ["--x", "on"]),
        (1, {"arg_encoding": (Encoding(True, "on"),)}, ["--x", "1"]),
    ],
)
def test_a_flag_is_written_as_the_file_says(
    value: FlagValue, said: dict[str, Any], expected: list[str]
) -> None:
    assert words(value, **said) == expected


def test_flags_come_in_the_order_of_their_names() -> None:
    values: dict[str, FlagValue] = {"b": 1, "a": 2}

    assert flag_words(values, {}, default_skip=False) == ["--a", "2", "--b", "1"]


def test_flags_may_be_no_arguments_unless_one_says_otherwise() -> None:
    definitions = {"b": FlagDef(name="b", place=PLACE, arg_skip=False)}

    assert flag_words({"a": 1, "b": 2}, definitions, default_skip=True) == ["--b", "2"]


def test_variables_have_the_names_and_values_that_the_file_says() -> None:
    definitions = {
        "b": FlagDef(name="b", place=PLACE, env_name="Rate"),
        "c": FlagDef(name="c", place=PLACE, env_encoding=(Encoding(True, "yes"),)),
    }
    values: dict[str, FlagValue] = {"batch-size": 8, "b": 0.5, "c": True, "d": None, "e": False}

    assert flag_environment(values, definitions) == {
        "FLAG_BATCH_SIZE": "8",
        "Rate": "0.5",
        "FLAG_C": "yes",
        "FLAG_E": "",
    }
