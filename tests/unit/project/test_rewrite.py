"""Literals are replaced by their bytes and nothing else moves."""

from __future__ import annotations

import ast
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reenact.errors import ReenactError
from reenact.model.flags import FlagValue, Global
from reenact.project.apply import rewrite
from reenact.project.detect import detect
from unit.project.conftest import Project

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MULTI_LINE = '''\
"""A docstring."""
lr = 0.1  # the rate
layers = [
    64,  # first
    32,
]
text = """one
two"""
last = layers
'''


def outcome(source: bytes) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(compile(source, "train.py", "exec"), namespace)
    return namespace


@pytest.mark.parametrize(
    ("line", "setting", "expected"),
    [
        (b"x = 0.1", "x=1e-05", b"x = 1e-05"),
        (b"x = 0.1", "x=0.30000000000000004", b"x = 0.30000000000000004"),
        (b"x = 0.1", "x=nan", b"x = float('nan')"),
        (b"x = 0.1", "x=-inf", b"x = float('-inf')"),
        (b"x: float = 1/3", "x=0.5", b"x: float = 0.5"),
        (b"x = -5", "x=-7", b"x = -7"),
        (b"x = 2**5", "x=6", b"x = 6"),
        (b"x = True", "x=no", b"x = False"),
        (b"x = None", "x=[1, a]", b"x = [1, 'a']"),
        (b"x = 'a' # c", "x=it's", b'x = "it\'s" # c'),
        (b"x = (1, 2)", "x=[3, 4]", b"x = (3, 4)"),
        (b"x = 1, 2", "x=3 4", b"x = (3, 4)"),
        (b"x = (1, 2)", "x=3", b"x = (3,)"),
        (b"x = {1, 2}", "x=[3]", b"x = {3}"),
        (b"x = {1, 2}", "x=[]", b"x = set()"),
        (b"x = [(1, 2), (3, 4)]", "x=[[5, 6]]", b"x = [(5, 6)]"),
        (b"x = [1, 2]", "x=[]", b"x = []"),
        (b"x = dict(lr=0.1, n=2)", "x.lr=0.2", b"x = dict(lr=0.2, n=2)"),
        (b"x = {'o': {'lr': 0.1}}", "x.o.lr=0.2", b"x = {'o': {'lr': 0.2}}"),
        (b"y = 1; x = 2; z = 3", "x=5", b"y = 1; x = 5; z = 3"),
    ],
)
def test_one_literal_is_replaced(
    project: Project, line: bytes, setting: str, expected: bytes
) -> None:
    assert project.rewritten(line + b"\n", setting) == expected + b"\n"


def test_several_literals_are_replaced_at_once(project: Project) -> None:
    new = project.rewritten(MULTI_LINE, "text=x", "lr=5", "layers=[1]")

    assert outcome(new)["lr"] == 5.0
    assert outcome(new)["layers"] == [1]
    assert outcome(new)["text"] == "x"


def test_lines_after_a_literal_of_several_lines_keep_their_numbers(project: Project) -> None:
    new = project.rewritten(MULTI_LINE, "layers=[1, 2, 3]", "text=one line")

    assert new.count(b"\n") == MULTI_LINE.count("\n")
    assert new.splitlines()[-1] == b"last = layers"
    assert outcome(new)["last"] == [1, 2, 3]


@pytest.mark.parametrize(
    "source",
    [
        b"\xef\xbb\xbflr = 0.1; name = '\xc3\xa9'; n = 3\n",
        "s = 'é'; lr = 0.1  # ü\r\nname = 'ß'; n = 3\r\n".encode(),
        "# -*- coding: latin-1 -*-\ns = 'é'; lr = 0.1\nname = 'ß'; n = 3\n".encode("latin-1"),
        "#!/usr/bin/env python\n# vim: set fileencoding=cp1251 :\nname = 'ж'; lr = 0.1; n = 3\n".encode(
            "cp1251"
        ),
        "s = '😀'; lr = 0.1; name = '日本'; n = 3".encode(),
        b"lr = 0.1\rname = 'x'\rn = 3\r",
        b"name = 'a'\n\x0clr = 0.1; n = 3\n",
    ],
    ids=["bom", "crlf", "latin-1", "cp1251", "astral", "cr", "form-feed"],
)
def test_bytes_are_counted_right_in_any_encoding(project: Project, source: bytes) -> None:
    new = project.rewritten(source, "lr=0.5", "name=ok", "n=4")

    before, after = outcome(source), outcome(new)
    assert (after["lr"], after["name"], after["n"]) == (0.5, "ok", 4)
    assert after.get("s") == before.get("s")
    assert len(new.splitlines()) == len(source.splitlines())


def test_text_that_the_encoding_cannot_spell_is_escaped(project: Project) -> None:
    source = "# coding: latin-1\nname = 'é'\n".encode("latin-1")

    assert outcome(project.rewritten(source, "name=日本"))["name"] == "日本"
    assert outcome(project.rewritten(source, "name=ü"))["name"] == "ü"


def test_a_file_that_changed_since_is_left_alone(project: Project) -> None:
    flags = project.detect("lr = 0.1\n")
    binding = flags.flags[0].binding
    assert isinstance(binding, Global)

    with pytest.raises(ReenactError, match="changed after its flags were found"):
        rewrite(b"lr = 0.2\n", [(binding, 0.3)])


def test_no_changes_are_no_changes() -> None:
    assert rewrite(b"anything \xff", []) == b"anything \xff"


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=60,
)
@given(value=VALUES)
def test_any_value_arrives_and_no_line_moves(project: Project, value: FlagValue) -> None:
    source = b"before = 'x'\nvalue = [\n  1,\r\n  2]; after = 3\nend = 'y'\n"
    path = project.write("train.py", source)
    binding = next(f.binding for f in detect(path, project.root).flags if f.name == "value")
    assert isinstance(binding, Global)

    new = rewrite(source, [(binding, value)])

    assert repr(outcome(new)["value"]) == repr(value)
    lines = [node.lineno for node in ast.parse(new).body]
    assert lines == [node.lineno for node in ast.parse(source).body]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=60,
)
@given(value=st.floats())
def test_floats_arrive_to_the_last_bit(project: Project, value: float) -> None:
    path = project.write("train.py", "lr = 0.1\n")
    binding = detect(path, project.root).flags[0].binding
    assert isinstance(binding, Global)

    result = outcome(rewrite(b"lr = 0.1\n", [(binding, value)]))["lr"]

    assert math.copysign(1, result) == math.copysign(1, value) or math.isnan(value)
    assert result == value or (math.isnan(result) and math.isnan(value))
