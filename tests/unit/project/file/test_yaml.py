"""YAML 1.2 as project files are written in it."""

from __future__ import annotations

import importlib.util
import json
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reenact.project.file.yaml import (
    Mapping,
    Node,
    Scalar,
    Sequence,
    YamlError,
    plain_data,
    read_yaml,
)


def data(text: str):
    return plain_data(read_yaml(text.encode(), "f.yml"))


def refusal(text: str) -> str:
    with pytest.raises(YamlError) as caught:
        read_yaml(text.encode(), "f.yml")
    return caught.value.message


def test_plain_scalars_mean_what_yaml_1_2_says() -> None:
    text = (
        "[1e-4, .5, 5., -3, 010, 0x1f, 0o17, true, False, ~, null, .inf, -.inf, yes, 1_000, 1:30]"
    )

    assert data(text) == [
        1e-4, 0.5, 5.0, -3, 10, 31, 15, True, False, None, None,
        math.inf, -math.inf, "yes", "1_000", "1:30",
    ]  # fmt: skip
    assert math.isnan(data(".nan"))


def test_quoted_scalars_are_text() -> None:
    assert data("""['1', "true", !!str 5, '', 'a''b', "a\\tb"]""") == [
        "1", "true", "5", "", "a'b", "a\tb",
    ]  # fmt: skip


def test_tags_of_the_core_schema_are_heeded() -> None:
    assert data("[!!int 5, !!float 5, !!null '']") == [5, 5.0, None]
    assert type(data("!!float 5")) is float
    assert refusal("a: !!int x") == "f.yml:1: `x` is no `!!int`"
    assert refusal("a: !secret x") == "f.yml:1: the tag `!secret` is not supported"


@pytest.mark.parametrize(
    "text", ["", "\n\n", "# nothing\n  # at all\n", "---\n", "---\n...\n", "\ufeff"]
)
def test_an_empty_file_says_nothing(text: str) -> None:
    assert data(text) is None


def test_keys_and_values_know_their_lines() -> None:
    root = read_yaml(b"# first\na:\n  b: |\n    x\n    y\n  c:\n    - 1\n", "f.yml")

    assert isinstance(root, Mapping)
    inner = root.items["a"]
    assert isinstance(inner, Mapping)
    assert str(root.keys["a"].place) == "f.yml:2"
    assert str(inner.keys["b"].place) == "f.yml:3"
    assert str(inner.items["c"].place) == "f.yml:7"


def test_anchors_and_merge_keys_are_followed() -> None:
    text = "base: &base {a: 1, b: 2}\nother: {<<: *base, b: 3}\nlist: {<<: [*base, {c: 4}]}\n"

    assert data(text) == {
        "base": {"a": 1, "b": 2},
        "other": {"a": 1, "b": 3},
        "list": {"a": 1, "b": 2, "c": 4},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yml:3: duplicate key `a`, first in line 1"),
        ("a:\n\tb: 1\n", "f.yml:2: a tab in the indentation: YAML takes blanks only"),
        ("a: \tb\n- c\n", "f.yml:1: a tab where a value must begin: YAML takes blanks only"),
        ("a: b: c\n", "f.yml:1: a colon where no key can be: put the text in quotes, or check the indentation"),
        ("a: 'x\nb: 1\n", "f.yml:3: the quote of line 1 is never closed"),
        ("a: @x\n", "f.yml:1: a value cannot begin with `@`: put it in quotes"),
        ("a: *x\n", "f.yml:1: `*x` has no anchor"),
        ("a: &a [*a]\n", "f.yml:1: `*a` is an alias of itself"),
        ("a: 1\n---\nb: 2\n", "f.yml:2: a second document begins"),
        ("? [a]\n: b\n", "f.yml:1: a key must be a single value"),
        ("a:\n  <<: 5\n", "f.yml:2: `<<` takes a mapping"),
        ("- a\nb\n", "f.yml:2: a key without its colon"),
        ('a: "\\ud800"\n', "f.yml:1: half a character: an escape of a pair stands alone"),
        ("a: 1\nb: \x01\n", "f.yml:2: the character U+0001 is not allowed"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(text: str, message: str) -> None:
    assert refusal(text) == message


def test_a_file_that_is_not_utf_8_is_refused_with_its_line() -> None:
    with pytest.raises(YamlError, match=re.escape("f.yml:2: the file is not UTF-8")):
        read_yaml(b"a: 1\nb: \xff\n", "f.yml")


def test_a_few_lines_cannot_make_more_than_memory_holds() -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]

    assert "has more than 200,000 values" in refusal("l0: &l0 [x]\n" + "\n".join(levels))


def test_deep_nesting_is_refused_politely() -> None:
    assert refusal("[" * 5000) == "f.yml:1: it is nested too deeply"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(json_values)
def test_json_is_yaml(value: object) -> None:
    text = json.dumps(value)  # control characters are escaped in it

    assert data(text) == value


# --- two parsers, one meaning ---


def told(node: Node | None) -> object:
    """Return everything that a node says, lines too."""
    if node is None:
        return None
    if isinstance(node, Scalar):
        return (node.text, repr(node.value), node.is_plain, node.place.line)
    if isinstance(node, Sequence):
        return (node.place.line, [told(item) for item in node.items])
    keys = [told(key) for key in node.keys.values()]
    return (node.place.line, keys, [told(item) for item in node.items.values()])


def outcome(text: str, *, quickly: bool) -> object:
    try:
        return told(read_yaml(text.encode(), "f.yml", quickly=quickly))
    except YamlError as error:
        return error.message


PARTS = [
    "a", "b c", ": ", ":", "- ", "-", "\n", "\n  ", "\n    ", "[", "]", "{", "}", ", ", ",", '"', "'",
    "#", " # x", "|", ">", "|-", ">+", "|2", "&x ", "*x", "!t ", "!!str ", "! ", "?", "? ", "@", "---",
    "--- ", "...", "1", "1e-4", "yes", "~", "<<", "\\", "=", "${a}", "\n- ", "\na: ", "\n\n", "é", " ",
    "  ", "\r\n", "\r", "\t", '"a\\n"', '"\\/"', '"\\ud83d\\ude00"', "`", "''", "%", "\ufeff", "\x85",
    "\u2028", "\xa0",
]  # fmt: skip


def test_libyaml_is_there() -> None:
    # Without it files are read as well, and everything below compares a parser with itself.
    assert importlib.util.find_spec("_ruamel_yaml") is not None


@settings(max_examples=500)
@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=16).map("".join))
def test_reading_quickly_and_exactly_is_the_same(text: str) -> None:
    assert outcome(text, quickly=True) == outcome(text, quickly=False)


@pytest.mark.parametrize(
    "text",
    [
        "a:\n\nb:\n- 1\n",
        "? a\n: b\n",
        "a: |#\n  b\n",
        "a: |\n  \n    b\n  c\n",
        "a: >-\n\n  b\n\n\n  c\n",
        "---\na: 1\n...\n",
        "%YAML 1.1\n---\na: yes\n",
        "a: x\u2028  y\n",
        'a: "\\/ \\ud83d\\ude00"\n',
        "a: &x {b: [1, c: d]}\nb: *x\nc:\n  <<: *x\n  e: !!float 1\n",
    ],
)
def test_what_yaml_1_1_says_otherwise_is_read_exactly(text: str) -> None:
    assert outcome(text, quickly=True) == outcome(text, quickly=False)
