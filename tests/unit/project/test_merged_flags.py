"""What a project file says of flags, joined with what was found in the script."""

from __future__ import annotations

from typing import Any

import pytest

from reenact.errors import BadFlagValue
from reenact.model.flags import (
    Flag,
    FlagSet,
    FlagType,
    FlagValue,
    Global,
    Option,
    Positional,
    Template,
)
from reenact.project.file.model import ChoiceDef, FlagDef, FlagsImport, OperationDef, Place
from reenact.project.merged_flags import merge_flags, merged_set
from reenact.project.settings import resolve_flags

PLACE = Place("guild.yml", 7)
FOUND = FlagSet(
    kind="argparse",
    flags=(
        Flag(
            name="learning-rate",
            binding=Option(option="--learning-rate"),
            type=FlagType.FLOAT,
            default=0.1,
            aliases=("learning_rate",),
            help="how fast",
            found="train.py:3",
        ),
        Flag(name="epochs", binding=Option(option="--epochs"), type=FlagType.INT, default=3),
        Flag(name="data", binding=Positional(index=0), type=FlagType.STRING, required=True),
    ),
)


def flag(name: str, **said: Any) -> FlagDef:
    return FlagDef(name=name, place=PLACE, has_default="default" in said, **said)


def operation(*flags: FlagDef, **said: Any) -> OperationDef:
    return OperationDef(name="train", model="", place=PLACE, main="train", flags=flags, **said)


def merged(*flags: FlagDef, **said: Any) -> dict[str, Flag]:
    return {one.flag.name: one.flag for one in merge_flags(operation(*flags, **said), FOUND)}


def given(flag_def: FlagDef, value: str | FlagValue) -> FlagValue:
    found = merge_flags(operation(flag_def), FlagSet(kind="none"))
    return resolve_flags(merged_set(found, FOUND), {flag_def.name: value}, force=False)[0][
        flag_def.name
    ]


def test_what_the_file_leaves_out_comes_from_the_script() -> None:
    rate = merged(flag("learning_rate", default=0.5))["learning_rate"]

    assert (rate.default, rate.type, rate.help) == (0.5, FlagType.FLOAT, "how fast")
    assert rate.binding == Option(option="--learning-rate")
    assert rate.found == "guild.yml:7"


def test_a_flag_may_have_another_name_here_than_in_the_script() -> None:
    rate = merged(flag("rate", arg_name="learning-rate"))["rate"]

    assert rate.default == 0.1
    assert "learning-rate" in rate.aliases


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ({"flags_import": FlagsImport.ALL}, ["epochs", "learning-rate", "data"]),
        ({"flags_import": FlagsImport.DEFINED}, ["epochs", "data"]),
        ({"flags_import": FlagsImport.NONE}, ["epochs"]),
        (
            {"flags_import": FlagsImport.LISTED, "flags_import_names": ("learning_rate",)},
            ["epochs", "learning-rate"],
        ),
        (
            {"flags_import": FlagsImport.ALL, "flags_import_skip": ("learning-rate", "data")},
            ["epochs"],
        ),
    ],
)
def test_other_flags_are_taken_over_as_the_file_says(
    said: dict[str, Any], names: list[str]
) -> None:
    assert list(merged(flag("epochs"), **said)) == names


def test_without_import_only_the_way_to_the_script_is_known() -> None:
    rate = merged(flag("learning-rate"), flags_import=FlagsImport.NONE)["learning-rate"]

    assert (rate.type, rate.default, rate.help) == (FlagType.ANY, None, None)
    assert rate.binding == Option(option="--learning-rate")


def test_a_flag_that_the_script_does_not_have_is_known_by_its_name() -> None:
    assert isinstance(merged(flag("x", default=1))["x"].binding, Template)


def test_a_default_of_another_type_takes_the_type_of_the_script_away() -> None:
    epochs = merged(flag("epochs", default="many"))["epochs"]

    assert (epochs.type, epochs.default) == (FlagType.ANY, "many")


def test_a_default_that_the_file_itself_forbids_is_refused_with_its_place() -> None:
    with pytest.raises(BadFlagValue, match=r"guild\.yml:7: the default of flag `x` is at most 1"):
        merged(flag("x", default=2, max=1))
    with pytest.raises(
        BadFlagValue, match=r"guild\.yml:7: the default of flag `x` takes an integer"
    ):
        merged(flag("x", default=0.5, type="int"))


def test_a_default_that_stands_for_many_values_is_not_judged() -> None:
    assert merged(flag("epochs", default=[1, 2]))["epochs"].default == [1, 2]
    assert merged(flag("epochs", default="[1:9]", type="int"))["epochs"].default == "[1:9]"


def test_numbers_stay_inside_their_range() -> None:
    rate = flag("x", min=0, max=1, type="number")

    assert given(rate, "1") == 1
    assert given(rate, "0.5") == 0.5
    for text in ("-0.1", "1.5"):
        with pytest.raises(BadFlagValue, match="flag `x` is at"):
            given(rate, text)


def test_a_number_is_an_integer_or_a_fraction_as_it_is_written() -> None:
    number = flag("x", type="number")

    assert type(given(number, "1")) is int
    assert type(given(number, "1.0")) is float
    with pytest.raises(BadFlagValue, match="takes a number"):
        given(number, "one")


def test_choices_have_aliases_and_may_leave_room_for_others() -> None:
    choices = (ChoiceDef(value="sgd", alias="s", place=PLACE), ChoiceDef(value="adam", place=PLACE))
    strict = flag("opt", choices=choices)

    assert given(strict, "s") == "sgd"
    assert given(flag("opt", choices=choices, allow_other=True), "lion") == "lion"
    with pytest.raises(BadFlagValue, match="takes one of `sgd`, `adam`"):
        given(strict, "lion")


def test_a_required_flag_with_a_default_is_not_required() -> None:
    assert merged(flag("x", required=True))["x"].required
    assert not merged(flag("x", required=True, default=1))["x"].required


def test_how_null_is_shown_is_known() -> None:
    assert merged(flag("x", null_label="none"))["x"].null_label == "none"


def test_an_integer_that_stands_in_a_script_or_a_file_is_an_example_of_a_number() -> None:
    place = Global(file="train.py", start=0, end=1, digest="")
    literals = FlagSet(
        kind="globals",
        flags=(
            Flag(name="gamma", binding=place, type=FlagType.INT, default=10),
            Flag(name="steps", binding=Template(), type=FlagType.INT, default=3),
            Flag(name="epochs", binding=Option(option="--epochs"), type=FlagType.INT, default=3),
        ),
    )

    kinds = {
        one.flag.name: one.flag.type
        for one in merge_flags(
            operation(flag("steps", type="int"), flags_import=FlagsImport.ALL), literals
        )
    }

    assert kinds == {"gamma": FlagType.NUMBER, "steps": FlagType.INT, "epochs": FlagType.INT}
