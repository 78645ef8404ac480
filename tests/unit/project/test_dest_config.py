"""Copies of configuration files with other values: what was set changes, and nothing else."""

from __future__ import annotations

import configparser
import json
import tomllib
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from reenact.errors import CannotRun, UsageError
from reenact.model.flags import FlagType, FlagValue
from reenact.project.dest_config import config_flags, format_of, has_key, rewrite_config, target_of

YAML_TEXT = """\
# how to train
lr: 0.1   # the rate
use: yes
name: 'it''s'
empty:
opt: {kind: adam, betas: [0.9, 0.99]}  # one line
layers:
- 64   # first
- 32
blocks:
  - units: 1
    act: relu
  - units: 2
base: &base
  x: 1
derived:
  <<: *base
  y: 2
text: |
  two
  lines
last: 1e-3
"""

TOML_TEXT = """\
# how to train
lr = 0.1  # the rate
when = 1979-05-27
a.b = "x"

[model]
layers = [
  64,  # first
  32,
]
opt = { kind = "adam", lr = 1 }

[[run]]
n = 1
[run.sub]
deep = true
[[run]]
n = 2
"""

INI_TEXT = """\
; how to train
[train]
lr = 0.1
use: Yes
long = a
   b
# between
[DEFAULT]
k=1
"""

JSON_TEXT = (
    '{"lr": 0.1,\n  "layers": [64, 32], "opt": {"kind": "adam", "tags": []},\t"x": [{"f": null}]}\n'
)


def flags(text: str, path: str) -> dict[str, Any]:
    return {flag.name: flag.default for flag in config_flags(text.encode(), path)}


def rewritten(text: str, path: str, values: dict[str, FlagValue]) -> str:
    return rewrite_config(text.encode(), path, values).decode()


def test_values_of_yaml_are_flags_by_their_dotted_names() -> None:
    assert flags(YAML_TEXT, "c.yml") == {
        "lr": 0.1,
        "use": True,
        "name": "it's",
        "empty": None,
        "opt.kind": "adam",
        "opt.betas": [0.9, 0.99],
        "layers": [64, 32],
        "blocks.0.units": 1,
        "blocks.0.act": "relu",
        "blocks.1.units": 2,
        "base.x": 1,
        "derived.y": 2,
        "text": "two\nlines\n",
        "last": 1e-3,
    }


def test_a_flag_has_the_type_of_its_value_and_says_where_it_stands() -> None:
    found = {flag.name: flag for flag in config_flags(YAML_TEXT.encode(), "conf/c.yml")}

    assert found["lr"].type is FlagType.FLOAT
    assert found["use"].type is FlagType.BOOL
    assert found["layers"].type is FlagType.LIST
    assert found["opt.kind"].found == "conf/c.yml:6"


def test_yaml_keeps_comments_order_and_everything_that_was_not_set() -> None:
    values: dict[str, FlagValue] = {
        "lr": 1e-5, "use": False, "name": "yes", "empty": "a: b", "opt.betas": [1.0],
        "layers": [128, 16], "blocks.1.units": 5, "derived.y": 3, "text": "one",
    }  # fmt: skip

    assert rewritten(YAML_TEXT, "c.yml", values) == (
        YAML_TEXT.replace("0.1 ", "1.0e-05 ")
        .replace("use: yes", "use: no")
        .replace("'it''s'", '"yes"')
        .replace("empty:", 'empty: "a: b"')
        .replace("[0.9, 0.99]", "[1.0]")
        .replace("- 64 ", "- 128 ")
        .replace("- 32", "- 16")
        .replace("units: 2", "units: 5")
        .replace("y: 2", "y: 3")
        .replace("|\n  two\n  lines\n", "one\n")
    )


def test_a_list_of_yaml_may_become_longer_or_empty() -> None:
    assert rewritten("a:\n  - 1\n  - 2\nb: 0\n", "c.yaml", {"a": [1, 2, 3]}) == (
        "a:\n  - 1\n  - 2\n  - 3\nb: 0\n"
    )
    assert rewritten("a:\n- 1\nb: 0\n", "c.yaml", {"a": []}) == "a:\n []\nb: 0\n"


def test_toml_keeps_comments_order_and_everything_that_was_not_set() -> None:
    assert flags(TOML_TEXT, "c.toml") == {
        "lr": 0.1, "a.b": "x", "model.layers": [64, 32], "model.opt.kind": "adam", "model.opt.lr": 1,
        "run.0.n": 1, "run.0.sub.deep": True, "run.1.n": 2,
    }  # fmt: skip
    values: dict[str, FlagValue] = {
        "lr": 1e-5, "a.b": 'q"uo', "model.layers": [1, 2], "model.opt.lr": 3, "run.1.n": 9,
    }  # fmt: skip

    assert rewritten(TOML_TEXT, "c.toml", values) == (
        TOML_TEXT.replace("lr = 0.1 ", "lr = 1e-05 ")
        .replace('"x"', '"q\\"uo"')
        .replace("64,", "1,")
        .replace("32,", "2,")
        .replace("lr = 1 }", "lr = 3 }")
        .replace("n = 2", "n = 9")
    )


def test_json_keeps_its_spelling() -> None:
    assert flags(JSON_TEXT, "c.json") == {
        "lr": 0.1, "layers": [64, 32], "opt.kind": "adam", "opt.tags": [], "x.0.f": None,
    }  # fmt: skip

    assert rewritten(JSON_TEXT, "c.json", {"layers": [1], "x.0.f": True}) == (
        JSON_TEXT.replace("[64, 32]", "[1]").replace("null", "true")
    )


def test_ini_keeps_its_spelling() -> None:
    assert flags(INI_TEXT, "c.ini") == {
        "train.lr": 0.1, "train.use": True, "train.long": "a\n   b", "k": 1,
    }  # fmt: skip

    assert rewritten(INI_TEXT, "c.ini", {"train.use": False, "train.long": "c", "k": 2}) == (
        INI_TEXT.replace("use: Yes", "use: No").replace("a\n   b", "c").replace("k=1", "k=2")
    )


SCALARS = (
    st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
)
VALUES = SCALARS | st.lists(SCALARS, max_size=4)


@given(VALUES)
def test_a_reader_of_json_gets_the_value(value: FlagValue) -> None:
    assert json.loads(rewritten('{"a": 1, "b": 2}', "c.json", {"a": value})) == {"a": value, "b": 2}


@given(VALUES)
def test_a_reader_of_toml_gets_the_value(value: FlagValue) -> None:
    text = rewritten("a = 1 # c\nb = 2\n", "c.toml", {"a": value})

    assert tomllib.loads(text) == {"a": value, "b": 2}
    assert "# c" in text


@given(VALUES)
def test_readers_of_both_versions_of_yaml_get_the_value(value: FlagValue) -> None:
    text = rewritten("a: 1 # c\nb: 2\n", "c.yml", {"a": value})

    for version in ((1, 1), (1, 2)):
        yaml = YAML(typ="safe", pure=True)
        yaml.version = version
        assert yaml.load(StringIO(text)) == {"a": value, "b": 2}
    assert "# c" in text


@given(SCALARS.filter(lambda value: not isinstance(value, str) or value == value.strip()))
def test_a_reader_of_ini_gets_the_text_of_the_value(value: FlagValue) -> None:
    try:
        text = rewritten("[s]\na = 1\nb = 2\n", "c.ini", {"s.a": value})
    except UsageError:
        # Text that would be a comment or lose its quotes is refused, not changed.
        return
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)

    expected = str(int(value)) if isinstance(value, bool) else str(value)
    assert parser["s"]["a"] == expected
    assert parser["s"]["b"] == "2"


def test_a_name_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"has no value `opt\.knd`") as caught:
        rewritten(YAML_TEXT, "c.yml", {"opt.knd": "sgd"})

    assert caught.value.hint == "did you mean `opt.kind`?"


@pytest.mark.parametrize(
    ("path", "text", "problem"),
    [
        ("c.yml", "a: [1\n", "c.yml"),
        ("c.json", '{"a": }', "Expecting value"),
        ("c.toml", "a = \n", "Invalid value"),
        ("c.ini", "[s]\nnothing\n", "line 2"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_cannot_be_run(
    path: str, text: str, problem: str
) -> None:
    with pytest.raises(CannotRun, match=problem):
        config_flags(text.encode(), path)


def test_null_has_no_place_in_toml() -> None:
    with pytest.raises(UsageError, match="cannot be null"):
        rewritten("a = 1\n", "c.toml", {"a": None})


def test_a_value_and_a_part_of_it_are_not_set_together() -> None:
    with pytest.raises(UsageError, match="both set"):
        rewritten("a: [1, 2]\n", "c.yml", {"a": [3], "a.1": 4})


def test_formats_are_told_by_names() -> None:
    assert [format_of(p) for p in ("a.yaml", "b/c.JSON", "d.json.in", "e.cfg", "f.py")] == [
        "yaml", "json", "json", "ini", None,
    ]  # fmt: skip
    assert target_of("conf/params.json.in") == "conf/params.json"
    assert has_key(b"a: {b: 1}", "c.yml", "a.b")
    with pytest.raises(UsageError, match="no configuration file"):
        config_flags(b"", "a.txt")
