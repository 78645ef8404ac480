"""What a flag's value says to a batch: one value, several, or a space."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.errors import BadFlagValue
from reenact.model.flags import Action, Flag, FlagSet, FlagType, FlagValue, Option
from reenact.project.flag_text import check_value
from reenact.search.values import (
    Choices,
    FloatSpace,
    IntSpace,
    Sequence,
    Setting,
    Single,
    as_space,
    declared_space,
    identity,
    read_settings,
    read_text,
    read_yaml,
    split_spaces,
    to_setting,
)


def flag(kind: FlagType = FlagType.ANY, name: str = "x", **about: object) -> Flag:
    return Flag(name=name, binding=Option(option=f"--{name}"), type=kind, **about)  # type: ignore[arg-type]


def several(*values: FlagValue, times: int = 1) -> Sequence:
    return Sequence(values, times)


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("0.1", Single(0.1)),
        ("[0.1,0.01]", several(0.1, 0.01)),
        ("[adam, sgd]", several("adam", "sgd")),
        ("[1, null, '1', yes]", several(1, None, "1", True)),
        ("[[64, 32], [128]]", several([64, 32], [128])),
        ("[0.1]*3", several(0.1, times=3)),
        (" [1, 2] * 2 ", several(1, 2, times=2)),
        ("range[1:4]", several(1, 2, 3, 4)),
        ("range[1:10:2]", several(1, 3, 5, 7, 9)),
        ("range[1:9:2]", several(1, 3, 5, 7, 9)),
        ("range[0:1:0.3]", several(0.0, 0.3, 0.6, 0.9)),
        ("range[0.1:0.5:0.1]", several(0.1, 0.2, 0.3, 0.4, 0.5)),
        ("range[5:1:-2]", several(5, 3, 1)),
        ("range[3:3]", several(3)),
        ("range[4]", several(0, 1, 2, 3)),
        ("range[1:3:1.0]", several(1.0, 2.0, 3.0)),
        ("linspace[0:1:5]", several(0.0, 0.25, 0.5, 0.75, 1.0)),
        ("linspace[0:1]", several(0.0, 0.25, 0.5, 0.75, 1.0)),
        ("linspace[0.1:0.7:3]", several(0.1, 0.4, 0.7)),
        ("linspace[2:9:1]", several(2.0)),
        ("logspace[-4:-1:4]", several(0.0001, 0.001, 0.01, 0.1)),
        ("logspace[0:3:4:2]", several(1.0, 2.0, 4.0, 8.0)),
        ("logspace[0:1:3]", several(1.0, 3.1622776601683795, 10.0)),
        ("geomspace[1:1000:4]", several(1.0, 10.0, 100.0, 1000.0)),
        ("geomspace[-8:-1:4]", several(-8.0, -4.0, -2.0, -1.0)),
        ("geomspace[5:7:1]", several(5.0)),
        ("[1:10]", IntSpace(low=1, high=10)),
        ("[1:10:3]", IntSpace(low=1, high=10, initial=3)),
        ("[-3:3]", IntSpace(low=-3, high=3)),
        ("[0.0:1]", FloatSpace(low=0.0, high=1.0)),
        ("[1e-5:1e-1:1e-3]", FloatSpace(low=1e-5, high=0.1, initial=1e-3)),
        ("uniform[0:1]", FloatSpace(low=0.0, high=1.0)),
        ("uniform[0:1:0.5]", FloatSpace(low=0.0, high=1.0, initial=0.5)),
        ("loguniform[1e-5:0.1]", FloatSpace(low=1e-5, high=0.1, log=True)),
        ("randint[1:10]", IntSpace(low=1, high=10)),
        ("[a:b]", Single("[a:b]")),
        ("data[0]", Single("data[0]")),
        ("weights[best]", Single("weights[best]")),
        ("s3://bucket/[x]", Single("s3://bucket/[x]")),
        ("'range[1:3]'", Single("range[1:3]")),
        ("['range[1:3]']", several("range[1:3]")),
        ("[1, 2", Single("[1, 2")),
        ("", Single("")),
    ],
)
def test_a_text_says_how_many_values_it_is(text: str, setting: Setting) -> None:
    assert repr(read_text("x", text)) == repr(setting)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[]", "no values", "default"),
        ("[1]*0", "no values", "[0.1]*3"),
        ("[1]*100001", "100001 values, and at most 100000", "less often"),
        ("[0.1]*1000000000", "1000000000 values, and at most 100000", "less often"),
        ("range[0]", "no count", "range[START:END:STEP]"),
        ("range[2.5]", "no count", "range[START:END:STEP]"),
        ("range[]", "not a finite number", "range[START:END:STEP]"),
        ("range[100001]", "100001 values, and at most 100000", "smaller count"),
        ("range[1:2:3:4]", "4 numbers", "range"),
        ("range[1:10:0]", "never reaches", "range[5:1:-1]"),
        ("range[10:1]", "never reaches", "range[5:1:-1]"),
        ("range[0:1:1e-9]", "1000000001 values, and at most 100000", "larger step"),
        ("range[a:b]", "`a` is not a finite number", "range"),
        ("range[0:inf]", "`inf` is not a finite number", "range"),
        ("range[1,2]", "`1,2` is not a finite number", "range[START:END:STEP]"),
        ("linspace[1:2:0]", "count", "linspace"),
        ("linspace[1:2:1.5]", "count", "linspace"),
        ("linspace[0:1:1000000000]", "1000000000 values, and at most 100000", "smaller count"),
        ("linspace[1e400:2]", "`1e400`", "linspace"),
        ("linspace[0:1e-999]", "`1e-999`", "linspace"),
        ("logspace[0:400:3]", "range of floats", "logspace"),
        ("logspace[0:1e300:3]", "range of floats", "logspace"),
        ("logspace[0:1:3:-2]", "base", "logspace"),
        ("geomspace[0:1]", "cross 0", "linspace"),
        ("geomspace[-1:1]", "cross 0", "linspace"),
        ("[1:]", "`` is not", "[LOW:HIGH:INITIAL]"),
        ("[1:2:3:4]", "two ends", "[LOW:HIGH:INITIAL]"),
        ("[10:1]", "empty", "[LOW:HIGH:INITIAL]"),
        ("[1:1]", "empty", "[LOW:HIGH:INITIAL]"),
        ("[1:10:11]", "outside", "[LOW:HIGH:INITIAL]"),
        ("loguniform[0:1]", "logarithm", "loguniform"),
        ("randint[0.5:3]", "integers", "randint"),
        ("unifrom[0:1]", "no function `unifrom`", "uniform[0:1]"),
        ("lin-space[0:1:5]", "no function `lin-space`", "linspace[0:1:5]"),
    ],
)
def test_a_mistake_says_what_is_wrong_and_what_to_write(text: str, message: str, hint: str) -> None:
    with pytest.raises(BadFlagValue) as caught:
        read_text("lr", text)

    assert caught.value.message.startswith("flag `lr`: ")
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_a_zero_with_a_huge_exponent_takes_no_time() -> None:
    assert read_text("x", "linspace[0e999999999:1:2]") == several(0.0, 1.0)


@pytest.mark.parametrize(
    ("kind", "text", "setting"),
    [
        (FlagType.FLOAT, "[1:10]", FloatSpace(low=1.0, high=10.0)),
        (FlagType.FLOAT, "[1, 2]", several(1.0, 2.0)),
        (FlagType.FLOAT, "range[1:3]", several(1.0, 2.0, 3.0)),
        (FlagType.INT, "uniform[1:10]", IntSpace(low=1, high=10)),
        (FlagType.INT, "loguniform[1:100]", IntSpace(low=1, high=100, log=True)),
        (FlagType.INT, "linspace[1:9:5]", several(1, 3, 5, 7, 9)),
        (FlagType.STRING, "[1.10, yes]", several("1.10", "yes")),
        (FlagType.STRING, "[a]*2", several("a", times=2)),
        (FlagType.STRING, "range[1:2]", several("1", "2")),
        (FlagType.STRING, "1.10", Single("1.10")),
        (FlagType.BOOL, "[yes, no]", several(True, False)),
        (FlagType.LIST, "[64, 32]", Single([64, 32])),
        (FlagType.LIST, "[]", Single([])),
        (FlagType.LIST, "[[64, 32], [128]]", several([64, 32], [128])),
        (FlagType.LIST, "[[64, 32]]*2", several([64, 32], times=2)),
        (FlagType.LIST, "64 32", Single([64, 32])),
    ],
)
def test_the_type_of_the_flag_decides(kind: FlagType, text: str, setting: Setting) -> None:
    assert repr(read_text("x", text, flag(kind))) == repr(setting)


def test_a_flag_that_takes_anything_follows_its_default() -> None:
    assert read_text("x", "[0:1]", flag(default=0.5)) == FloatSpace(low=0.0, high=1.0)
    assert read_text("x", "[0:1]", flag(default=1)) == IntSpace(low=0, high=1)
    assert read_text("x", "[1, 2]", flag(default=[3])) == Single([1, 2])


def test_an_option_that_takes_several_words_has_its_own_list_as_one_value() -> None:
    words = Flag(name="x", binding=Option(option="--x", nargs="+"), type=FlagType.INT)

    assert read_text("x", "[1, 2]", words) == Single([1, 2])
    assert read_text("x", "[[1, 2], [3]]", words) == several([1, 2], [3])


@pytest.mark.parametrize(
    "option",
    [Option(option="--x", nargs="+"), Option(option="--x", action=Action.APPEND)],
    ids=["nargs", "append"],
)
def test_lists_of_texts_are_several_values_with_elements_as_typed(option: Option) -> None:
    words = Flag(name="x", binding=option, type=FlagType.STRING)

    assert read_text("x", "[a, [b]]", words) == Single(["a", "[b]"])
    assert read_text("x", "[[1.10, yes], [b] ,[c]]", words) == several(
        ["1.10", "yes"], ["b"], ["c"]
    )
    assert read_text("x", "[['a,b', c], ['d']]", words) == several(["a,b", "c"], ["d"])
    assert read_text("x", "[[a]]*2", words) == several(["a"], times=2)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (FlagType.INT, "[1, 2.5]", "takes an integer"),
        (FlagType.INT, "[0.1:5]", "integers"),
        (FlagType.FLOAT, "[0.1, fast]", "takes a number"),
        (FlagType.BOOL, "[0:1]", "yes or no"),
        (FlagType.LIST, "[64, 32]*2", "each value is a list"),
    ],
)
def test_every_value_must_be_one_that_the_flag_takes(
    kind: FlagType, text: str, message: str
) -> None:
    with pytest.raises(BadFlagValue, match=message):
        read_text("x", text, flag(kind))


def test_choices_are_checked_one_by_one() -> None:
    optimizer = flag(FlagType.STRING, choices=("adam", "sgd"))

    assert read_text("x", "[sgd, adam]", optimizer) == several("sgd", "adam")
    with pytest.raises(BadFlagValue, match="takes one of"):
        read_text("x", "[sgd, adm]", optimizer)


def test_forced_values_pass() -> None:
    assert read_text("x", "[1, fast]", flag(FlagType.INT), force=True) == several(1, "fast")
    assert read_text("x", "fast", flag(FlagType.INT), force=True) == Single("fast")


def test_settings_go_by_the_flags_own_names() -> None:
    flags = FlagSet(kind="argparse", flags=(flag(FlagType.FLOAT, "lr", aliases=("rate",)),))

    assert read_settings({"rate": "[1, 2]"}, flags) == {"lr": several(1.0, 2.0)}
    with pytest.raises(BadFlagValue, match="`lr` is set twice, the second time as `rate`"):
        read_settings({"lr": "1", "rate": "2"}, flags)


@pytest.mark.parametrize(
    ("value", "setting"),
    [
        (0.1, Single(0.1)),
        ("0.1", Single("0.1")),
        ("yes", Single("yes")),
        ([0.1, 0.01], several(0.1, 0.01)),
        ("linspace[0:1:3]", several(0.0, 0.5, 1.0)),
        ("[0.1]*2", several(0.1, times=2)),
        ("[1, 2]", Single("[1, 2]")),
        ("[0.0:1]", FloatSpace(low=0.0, high=1.0)),
        ([["a"], ["b"]], several(["a"], ["b"])),
        (None, Single(None)),
        ({"a": 1}, Single({"a": 1})),
    ],
)
def test_values_of_project_files_are_read_too(value: FlagValue, setting: Setting) -> None:
    assert read_yaml("x", value) == setting


def test_strings_of_project_files_stay_strings_where_the_flag_takes_anything() -> None:
    assert read_yaml("x", "1", flag()) == Single("1")
    assert read_yaml("x", ["1", 1], flag()) == several("1", 1)
    assert read_yaml("x", [1, 2], flag(FlagType.LIST)) == Single([1, 2])
    assert read_yaml("x", "3", flag(FlagType.INT)) == Single(3)


@pytest.mark.parametrize(
    ("about", "declared", "space"),
    [
        ({}, {}, None),
        ({}, {"minimum": 1}, None),
        ({}, {"minimum": 1, "maximum": 9}, IntSpace(low=1, high=9)),
        ({"default": 3}, {"minimum": 1, "maximum": 9}, IntSpace(low=1, high=9, initial=3)),
        ({"default": 30}, {"minimum": 1, "maximum": 9}, IntSpace(low=1, high=9)),
        ({"default": 0.5}, {"minimum": 0, "maximum": 1}, FloatSpace(low=0, high=1, initial=0.5)),
        (
            {"kind": FlagType.FLOAT},
            {"minimum": 1e-4, "maximum": 1, "distribution": "log-uniform"},
            FloatSpace(low=1e-4, high=1, log=True),
        ),
        (
            {"kind": FlagType.INT},
            {"minimum": 1, "maximum": 64, "distribution": "loguniform"},
            IntSpace(low=1, high=64, log=True),
        ),
        ({"kind": FlagType.INT, "low": 1.0, "high": 9.0}, {}, IntSpace(low=1, high=9)),
        ({"kind": FlagType.FLOAT, "low": 1.0, "high": 9.0}, {}, FloatSpace(low=1, high=9)),
        ({"kind": FlagType.NUMBER}, {"minimum": 1, "maximum": 9}, IntSpace(low=1, high=9)),
        ({"kind": FlagType.STRING}, {"minimum": 1, "maximum": 9}, IntSpace(low=1, high=9)),
        ({"choices": ("a", "b"), "default": "b"}, {}, Choices(values=("a", "b"), initial=1)),
        ({"kind": FlagType.BOOL, "default": False}, {}, Choices(values=(True, False), initial=1)),
    ],
)
def test_a_definition_describes_a_space(
    about: dict[str, object], declared: dict[str, object], space: Setting | None
) -> None:
    assert declared_space(flag(**about), **declared) == space  # type: ignore[arg-type]


def test_an_unknown_distribution_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadFlagValue, match="unknown distribution `logunifrm`") as caught:
        declared_space(flag(), minimum=1, maximum=2, distribution="logunifrm")

    assert caught.value.hint == "did you mean `loguniform`?"


def test_a_search_chooses_from_spaces_and_lists_and_leaves_the_rest() -> None:
    settings = read_settings({"lr": "[0.0:1]", "opt": "[adam, sgd, adam]", "epochs": "3"})

    spaces, fixed = split_spaces(settings)

    assert spaces == {
        "lr": FloatSpace(low=0.0, high=1.0),
        "opt": Choices(values=("adam", "sgd")),
    }
    assert fixed == {"epochs": 3}
    assert as_space(Single(1)) is None


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(SCALARS)
def test_a_value_is_set_as_itself(value: FlagValue) -> None:
    again = check_value(flag(), to_setting(value, flag()))

    assert identity(again) == identity(value)


DECIMALS = st.decimals(-1000, 1000, places=3, allow_nan=False)


@given(DECIMALS, st.integers(0, 50), st.decimals(Decimal("0.001"), 10, places=3))
def test_ranges_are_the_nearest_floats_to_exact_sums(
    start: Decimal, steps: int, step: Decimal
) -> None:
    end = start + step * steps

    found = read_text("x", f"range[{start}:{end}:{step}]")

    assert found == Sequence(tuple(float(start + step * i) for i in range(steps + 1)))


@given(DECIMALS, DECIMALS, st.integers(2, 30))
def test_linspace_is_rounded_once(start: Decimal, end: Decimal, count: int) -> None:
    found = read_text("x", f"linspace[{start}:{end}:{count}]")

    width = Fraction(end) - Fraction(start)
    exact = [Fraction(start) + width * i / (count - 1) for i in range(count)]
    assert found == Sequence(tuple(map(float, exact)))


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(2, 20))
def test_geomspace_has_its_ends_and_a_constant_ratio(start: int, end: int, count: int) -> None:
    found = read_text("x", f"geomspace[{start}:{end}:{count}]")

    assert isinstance(found, Sequence)
    assert (found.values[0], found.values[-1]) == (float(start), float(end))
    ratio = (end / start) ** (1 / (count - 1))
    for left, right in zip(found.values, found.values[1:], strict=False):
        assert math.isclose(right / left, ratio, rel_tol=1e-9)  # type: ignore[operator]


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    try:
        read_text("x", text)
    except BadFlagValue as error:
        hint = error.hint
    else:
        hint = "none needed"

    assert hint


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("[[1, 2], [3, 4]]", Single([[1, 2], [3, 4]])),
        ("[1, 2]", Single([[1, 2]])),
        ("[]", Single([])),
        ("[[[1, 2]], [[3, 4], [5, 6]]]", several([[1, 2]], [[3, 4], [5, 6]])),
        ("[[[1, 2]], []]", several([[1, 2]], [])),
    ],
)
def test_lists_of_lists_are_one_value_of_an_option_that_takes_several_each_time(
    text: str, setting: Setting
) -> None:
    binding = Option(option="--x", action=Action.APPEND, nargs=2)
    of = Flag(name="x", binding=binding, type=FlagType.INT)

    assert read_text("x", text, of) == setting
