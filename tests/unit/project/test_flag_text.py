"""Text of flags: what it reads as, and that writing it is the inverse."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.errors import BadFlagValue
from reenact.model.flags import (
    Action,
    Binding,
    Flag,
    FlagType,
    FlagValue,
    Global,
    Option,
    Positional,
)
from reenact.project.flag_text import check_value, convert, format_value, nearest, parse_value

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def same(left: object, right: object) -> bool:
    """Compare types too, and let NaN equal NaN."""
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(map(same, left.values(), right.values()))
    return type(left) is type(right) and left == right


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-3", -3),
        ("+4", 4),
        ("0", 0),
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        (".5", 0.5),
        ("2.", 2.0),
        ("-0.0", -0.0),
        ("inf", math.inf),
        ("-.inf", -math.inf),
        ("Infinity", math.inf),
        ("nan", math.nan),
        (".NaN", math.nan),
        ("yes", True),
        ("On", True),
        ("TRUE", True),
        ("no", False),
        ("off", False),
        ("False", False),
        ("null", None),
        ("~", None),
        ("None", None),
        ("adam", "adam"),
        ("", ""),
        ("none", "none"),
        ("y", "y"),
        ("1_2", "1_2"),
        ("1:12", "1:12"),
        ("007", "007"),
        ("0x10", "0x10"),
        ("1.2.3", "1.2.3"),
        ("9" * 5000, "9" * 5000),
        ("'1'", "1"),
        ("'it''s'", "it's"),
        (r'"a\tb\u00e9\U0001f600\x41\\"', "a\tbé😀A\\"),
        ("'tis", "'tis"),
        ('"a" b', '"a" b'),
        ("[]", []),
        ("[1, 2.5, x, 'y z', yes, ~]", [1, 2.5, "x", "y z", True, None]),
        ("[[1,2],[3]]", [[1, 2], [3]]),
        ("[1,]", [1]),
        ("[a b, c]", ["a b", "c"]),
        ("[1:10]", "[1:10]"),
        ("[1", "[1"),
        ("[1] 2", "[1] 2"),
        ("[,]", "[,]"),
        ("{}", {}),
        ("{a: 1, b: [x, {c: no}]}", {"a": 1, "b": ["x", {"c": False}]}),
        ('{"a b":1}', {"a b": 1}),
        ("{a}", "{a}"),
        ("{a: 1", "{a: 1"),
        ("[" * 60 + "]" * 60, "[" * 60 + "]" * 60),
        (r'"\Uffffffff"', r'"\Uffffffff"'),
    ],
)
def test_text_reads_as_the_table_says(text: str, value: FlagValue) -> None:
    assert same(parse_value(text), value)


@given(VALUES)
def test_a_value_that_is_written_reads_as_itself(value: FlagValue) -> None:
    assert same(parse_value(format_value(value)), value)


@given(st.text())
def test_any_text_reads_as_something(text: str) -> None:
    value = parse_value(text)

    assert same(parse_value(format_value(value)), value)


@given(st.text(alphabet="[]{}:,'\"\\ a1"))
def test_any_heap_of_brackets_reads_as_something(text: str) -> None:
    value = parse_value(text)

    assert same(parse_value(format_value(value)), value)


def test_values_are_written_as_people_write_them() -> None:
    value: FlagValue = {"lr": 1e-05, "name": "a b", "on": True, "x": None, "l": [1, "1", "a,b"]}

    assert format_value(value) == "{lr: 1e-05, name: a b, on: true, x: null, l: [1, '1', 'a,b']}"
    assert format_value("two\nlines") == '"two\\nlines"'
    assert format_value("") == "''"


def flag(kind: FlagType = FlagType.ANY, binding: Binding | None = None, **more: object) -> Flag:
    return Flag(name="x", type=kind, binding=binding or Option(option="--x"), **more)  # type: ignore[arg-type]


def pairs(nargs: int | str = 2) -> Option:
    return Option(option="--x", action=Action.APPEND, nargs=nargs)


@pytest.mark.parametrize(
    ("of", "text", "value"),
    [
        (flag(FlagType.INT), "10", 10),
        (flag(FlagType.INT), "007", 7),
        (flag(FlagType.FLOAT), "1", 1.0),
        (flag(FlagType.FLOAT), "1e-4", 1e-4),
        (flag(FlagType.BOOL), "yes", True),
        (flag(FlagType.BOOL), "0", False),
        (flag(FlagType.STRING), "1.10", "1.10"),
        (flag(FlagType.STRING), "null", "null"),
        (flag(FlagType.PATH), "~", "~"),
        (flag(FlagType.ANY), "1.10", 1.1),
        (flag(FlagType.INT), "null", None),
        (flag(FlagType.LIST), "1 2", [1, 2]),
        (flag(FlagType.LIST), "a,b", ["a", "b"]),
        (flag(FlagType.LIST), "5", [5]),
        (flag(FlagType.INT, Option(option="--x", nargs="+")), "[64,32]", [64, 32]),
        (flag(FlagType.INT, Option(option="--x", nargs="+")), "64 32", [64, 32]),
        (flag(FlagType.INT, Option(option="--x", nargs="+")), "64,32", [64, 32]),
        (flag(FlagType.INT, Option(option="--x", nargs="+")), "(64, 32)", [64, 32]),
        (flag(FlagType.INT, Positional(index=0, nargs="*")), "64", [64]),
        (flag(FlagType.FLOAT, Option(option="--x", nargs=2)), "[0.9, 1]", [0.9, 1.0]),
        (flag(FlagType.STRING, Option(option="--x", nargs="*")), "[1.10, yes]", ["1.10", "yes"]),
        (flag(FlagType.STRING, Option(option="--x", nargs="*")), "['a b', c]", ["a b", "c"]),
        (flag(FlagType.INT, Option(option="--x", action=Action.APPEND)), "1 2", [1, 2]),
        (flag(FlagType.INT, pairs()), "[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
        (flag(FlagType.INT, pairs()), "[1, 2]", [[1, 2]]),
        (flag(FlagType.INT, pairs()), "1 2", [[1, 2]]),
        (flag(FlagType.INT, pairs()), "[]", []),
        (flag(FlagType.STRING, pairs()), "[[1.10, yes]]", [["1.10", "yes"]]),
        (flag(FlagType.STRING, pairs()), "[['a, b', c], [d, e]]", [["a, b", "c"], ["d", "e"]]),
        (flag(FlagType.INT, pairs("+")), "[[1], [2, 3]]", [[1], [2, 3]]),
        (flag(FlagType.INT, pairs("+")), "[1, 2]", [[1, 2]]),
        (flag(FlagType.INT, pairs("?")), "[1, 2]", [1, 2]),
        (flag(FlagType.INT, Option(option="--x", nargs="?")), "3", 3),
        (flag(FlagType.INT, choices=(1, 2)), "2", 2),
        (flag(FlagType.ANY, choices=("1", "2")), "2", "2"),
        (flag(FlagType.ANY, Option(option="--x", action=Action.STORE_CONST, const=3)), "3", 3),
        (flag(FlagType.ANY, Option(option="--x", action=Action.STORE_CONST, const=3)), "yes", 3),
        (flag(FlagType.ANY, Option(option="--x", action=Action.STORE_CONST, const=3)), "no", None),
        (flag(FlagType.INT, Global(file="f", start=0, end=1, digest=""), default=3), "null", None),
    ],
)
def test_text_is_read_as_the_flag_says(of: Flag, text: str, value: FlagValue) -> None:
    assert same(convert(of, text), value)


@pytest.mark.parametrize(
    ("of", "text", "message"),
    [
        (flag(FlagType.INT), "ten", "flag `x` takes an integer, not `ten`"),
        (flag(FlagType.INT), "1.5", "flag `x` takes an integer, not `1.5`"),
        (flag(FlagType.INT, default=3), "null", "flag `x` takes an integer, not `null`"),
        (flag(FlagType.FLOAT), "much", "flag `x` takes a number, not `much`"),
        (flag(FlagType.BOOL), "2", "flag `x` takes yes or no, not `2`"),
        (flag(FlagType.LIST), "[1", "flag `x` takes a list, not `[1`"),
        (flag(FlagType.INT, Option(option="--x", nargs=2)), "1", "flag `x` takes 2 values, not 1"),
        (
            flag(FlagType.INT, pairs()),
            "[[1, 2], [3]]",
            "flag `x` takes lists of 2 values, not `[3]`",
        ),
        (
            flag(FlagType.INT, pairs()),
            "[[1, 2], 3]",
            "flag `x` takes lists of 2 values, not `[3]`",
        ),
        (flag(FlagType.INT, pairs()), "[[1, b]]", "flag `x` takes an integer, not `b`"),
        (
            flag(FlagType.INT, pairs("+")),
            "[[1], []]",
            "flag `x` takes lists of at least one value",
        ),
        (
            flag(FlagType.INT, Option(option="--x", nargs="+")),
            "[]",
            "flag `x` takes at least one value",
        ),
        (
            flag(FlagType.ANY, Option(option="--x", action=Action.STORE_CONST, const=3)),
            "4",
            "flag `x` takes `3`, yes or no, not `4`",
        ),
    ],
)
def test_text_of_another_type_is_refused(of: Flag, text: str, message: str) -> None:
    with pytest.raises(BadFlagValue) as caught:
        convert(of, text)

    assert caught.value.message == message


def test_a_refused_choice_names_the_choices_and_the_nearest() -> None:
    with pytest.raises(BadFlagValue) as caught:
        convert(flag(FlagType.STRING, choices=("sgd", "adam")), "adm")

    assert caught.value.message == "flag `x` takes one of `sgd`, `adam`, not `adm`"
    assert caught.value.hint == "did you mean `adam`?"


@pytest.mark.parametrize(
    ("of", "value", "checked"),
    [
        (flag(FlagType.INT), 3, 3),
        (flag(FlagType.FLOAT), 3, 3.0),
        (flag(FlagType.BOOL), 1, True),
        (flag(FlagType.STRING), 1.5, "1.5"),
        (flag(FlagType.STRING), None, "null"),
        (flag(FlagType.INT, Option(option="--x", nargs="+")), [1, 2], [1, 2]),
        (flag(FlagType.INT, Option(option="--x", nargs="+")), 1, [1]),
        (flag(FlagType.ANY), None, None),
        (flag(FlagType.ANY, Option(option="--x", action=Action.STORE_CONST, const=3)), True, 3),
        (flag(FlagType.INT), "4", 4),
    ],
)
def test_values_that_are_not_text_are_checked_as_well(
    of: Flag, value: FlagValue, checked: FlagValue
) -> None:
    assert same(check_value(of, value), checked)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (FlagType.INT, True),
        (FlagType.INT, 1.5),
        (FlagType.FLOAT, [1]),
        (FlagType.BOOL, 3),
        (FlagType.BOOL, 1.0),
    ],
)
def test_a_value_of_another_type_is_refused(kind: FlagType, value: FlagValue) -> None:
    with pytest.raises(BadFlagValue, match="flag `x` takes"):
        check_value(flag(kind), value)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("learnng-rate", "learning-rate"),
        ("learning_rate", "learning-rate"),
        ("learning", "learning-rate"),
        ("batchsize", "batch-size"),
        ("epohcs", "epochs"),
        ("Epochs", "epochs"),
        ("momentum", None),
        ("z", None),
    ],
)
def test_the_nearest_name_is_what_was_meant(name: str, found: str | None) -> None:
    assert nearest(name, ["lr", "learning-rate", "batch-size", "epochs"]) == found


@given(st.text(max_size=12), st.lists(st.text(max_size=12), max_size=5))
def test_the_nearest_name_is_a_known_one(name: str, known: list[str]) -> None:
    assert nearest(name, known) in [None, *known]
    assert name not in known or nearest(name, known) is not None


@pytest.mark.parametrize(
    ("split", "kind", "text", "value"),
    [
        ("shlex", FlagType.ANY, "1 'a b' x", [1, "a b", "x"]),
        ("shlex", FlagType.STRING, "1 it's", ["1", "it's"]),
        (",", FlagType.INT, "1,2", [1, 2]),
        (":", FlagType.ANY, "", []),
        (",", FlagType.ANY, "[1, 'a,b']", [1, "a,b"]),
        (None, FlagType.LIST, "2 1 'a b'", [2, 1, "a b"]),
        (None, FlagType.LIST, "2,1", [2, 1]),
    ],
)
def test_text_for_a_list_is_split_as_the_flag_says(
    split: str | None, kind: FlagType, text: str, value: FlagValue
) -> None:
    flag = Flag(name="x", binding=Option(option="--x", nargs="*"), type=kind, split=split)

    assert same(convert(flag, text), value)
