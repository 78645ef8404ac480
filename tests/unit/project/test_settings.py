"""Settings against flags: names, aliases, defaults, and what is refused."""

from __future__ import annotations

import pytest

from reenact.errors import BadFlagValue, UnknownFlag, UsageError
from reenact.model.flags import (
    Action,
    Flag,
    FlagSet,
    FlagType,
    Global,
    Option,
    Positional,
    Subcommand,
)
from reenact.project.apply import command_line
from reenact.project.settings import resolve_flags

FLAGS = FlagSet(
    kind="argparse",
    flags=(
        Flag(
            name="learning-rate",
            aliases=("learning_rate", "lr"),
            binding=Option(option="--learning-rate"),
            type=FlagType.FLOAT,
            default=0.1,
        ),
        Flag(name="epochs", binding=Option(option="--epochs"), type=FlagType.INT, default=3),
        Flag(
            name="opt",
            binding=Option(option="--opt"),
            type=FlagType.STRING,
            default="sgd",
            choices=("sgd", "adam"),
        ),
        Flag(name="data", binding=Positional(index=0), type=FlagType.STRING, required=True),
        Flag(
            name="out",
            binding=Option(option="--out"),
            type=FlagType.STRING,
            default_source="os.getcwd()",
        ),
    ),
)
GLOBALS = FlagSet(
    kind="globals",
    flags=(
        Flag(
            name="lr",
            binding=Global(file="t.py", start=5, end=8, digest=""),
            type=FlagType.FLOAT,
            default=0.1,
        ),
    ),
)


def test_given_and_resolved_bear_the_flags_own_names() -> None:
    given, resolved = resolve_flags(FLAGS, {"lr": "1", "data": "d"}, force=False)

    assert given == {"learning-rate": 1.0, "data": "d"}
    assert resolved == {"learning-rate": 1.0, "epochs": 3, "opt": "sgd", "data": "d"}


def test_values_from_python_are_checked_too() -> None:
    given, _ = resolve_flags(FLAGS, {"epochs": 4}, force=False)

    assert given == {"epochs": 4}
    with pytest.raises(BadFlagValue, match="takes an integer"):
        resolve_flags(FLAGS, {"epochs": [4]}, force=False)


def test_an_unknown_flag_names_the_nearest_and_the_list() -> None:
    with pytest.raises(UnknownFlag) as caught:
        resolve_flags(FLAGS, {"learnng-rate": "1"}, force=False, operation="train.py")

    assert caught.value.message == "unknown flag `learnng-rate` for train.py"
    assert caught.value.hint == (
        "did you mean `learning-rate`? flags are: learning-rate, epochs, opt, data, out"
    )


def test_an_unknown_flag_like_no_other_lists_those_that_exist() -> None:
    with pytest.raises(UnknownFlag) as caught:
        resolve_flags(FLAGS, {"zzzz": "1"}, force=False)

    assert caught.value.hint == "flags are: learning-rate, epochs, opt, data, out"


def test_a_script_without_flags_says_so() -> None:
    with pytest.raises(UnknownFlag) as caught:
        resolve_flags(FlagSet(kind="none"), {"lr": "1"}, force=False)

    assert caught.value.hint == "it has no flags that could be found"


def test_a_flag_cannot_be_set_by_two_of_its_names() -> None:
    with pytest.raises(UsageError, match="`learning-rate` is set twice"):
        resolve_flags(FLAGS, {"lr": "1", "learning_rate": "2"}, force=False)


def test_force_passes_unknown_names_and_refused_values_on() -> None:
    given, _ = resolve_flags(FLAGS, {"new": "[1, 2]", "opt": "lion", "data": "d"}, force=True)

    assert given == {"new": [1, 2], "opt": "lion", "data": "d"}
    assert command_line(FLAGS, given) == ["d", "--opt", "lion", "--new", "1", "2"]


def test_an_open_ended_script_takes_unknown_names_without_force() -> None:
    flags = FlagSet(kind="argparse", open_ended=True)

    given, resolved = resolve_flags(flags, {"depth": "3", "n": "-1", "x": "null"}, force=False)

    assert given == resolved == {"depth": 3, "n": -1, "x": None}
    assert command_line(flags, given) == ["--depth", "3", "-n=-1"]


def test_force_cannot_set_a_global_that_is_not_there() -> None:
    with pytest.raises(UnknownFlag) as caught:
        resolve_flags(GLOBALS, {"momentum": "1"}, force=True, operation="train.py")

    assert caught.value.message == (
        "unknown flag `momentum` for train.py: its flags are assignments in the source, "
        "and none assigns `momentum`"
    )


def test_defaults_of_subcommands_that_are_not_chosen_are_left_out() -> None:
    flags = FlagSet(
        kind="argparse",
        flags=(
            Flag(name="command", binding=Subcommand(), choices=("train", "eval"), required=True),
            Flag(name="lr", binding=Option(option="--lr", subcommand=("train",)), default=0.1),
            Flag(name="k", binding=Option(option="--k", subcommand=("eval",)), default=5),
        ),
    )

    _, resolved = resolve_flags(flags, {"command": "train"}, force=False)

    assert resolved == {"command": "train", "lr": 0.1}


def test_an_option_that_says_no_is_explained() -> None:
    flags = FlagSet(
        kind="argparse",
        flags=(
            Flag(
                name="cuda",
                binding=Option(option="--no-cuda", action=Action.STORE_FALSE),
                type=FlagType.BOOL,
                default=True,
            ),
        ),
    )

    with pytest.raises(UnknownFlag) as caught:
        resolve_flags(flags, {"no-cuda": "yes"}, force=False)

    assert caught.value.hint == "did you mean `cuda=no`? flags are: cuda"
