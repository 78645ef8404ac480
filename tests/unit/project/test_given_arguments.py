"""What `main` gives a script already, so that it is no flag, or no required one."""

from __future__ import annotations

from reenact.model.flags import Action, Flag, FlagSet, Option, Positional, Subcommand, Template
from reenact.project.given_arguments import without_given


def option(name: str, *aliases: str, **said: object) -> Flag:
    binding = Option(option=f"--{name}", aliases=aliases, **said)  # type: ignore[arg-type]
    return Flag(name=name, binding=binding)


def positional(name: str, index: int) -> Flag:
    return Flag(name=name, binding=Positional(index=index), required=True)


def flags(*found: Flag) -> FlagSet:
    return FlagSet(kind="argparse", flags=found)


def names(found: FlagSet) -> list[str]:
    return [flag.name for flag in found.flags]


def test_without_arguments_everything_is_left() -> None:
    found = flags(option("lr"), positional("data", 0))

    assert without_given(found, []) is found


def test_a_positional_that_is_given_is_no_flag() -> None:
    found = flags(positional("data", 0), positional("out", 1), option("lr"))

    assert names(without_given(found, ["a.csv"])) == ["out", "lr"]
    assert names(without_given(found, ["a.csv", "b.csv"])) == ["lr"]


def test_values_of_options_are_no_positionals() -> None:
    found = flags(
        positional("data", 0),
        option("lr", "-l"),
        option("fast", action=Action.STORE_TRUE),
        option("pair", nargs=2),
        option("many", nargs="+"),
    )

    left = {
        words: "data" in names(without_given(found, words.split()))
        for words in (
            "--lr 1",
            "-l 1",
            "--pair 1 2",
            "--many 1 2 3",
            "--lr=1 --fast",
            "--lr -1",
            "--fast a.csv",
            "--lr 1 a.csv",
            "--pair 1 2 a.csv",
            "--unknown a.csv",
        )
    }

    assert left == {
        "--lr 1": True,
        "-l 1": True,
        "--pair 1 2": True,
        "--many 1 2 3": True,
        "--lr=1 --fast": True,
        "--lr -1": True,
        "--fast a.csv": False,
        "--lr 1 a.csv": False,
        "--pair 1 2 a.csv": False,
        "--unknown a.csv": False,
    }


def test_a_positional_that_is_given_by_a_flag_of_its_name_is_reached_by_this_word_only() -> None:
    found = without_given(flags(positional("data", 0)), ["${data}"])

    assert [(flag.name, flag.binding) for flag in found.flags] == [("data", Template())]


def test_an_option_that_is_given_is_not_required_and_has_this_default() -> None:
    needed = Flag(name="data", binding=Option(option="--data"), required=True)

    (given,) = without_given(flags(needed), ["--data", "a.csv"]).flags
    (by_flag,) = without_given(flags(needed), ["--data=${path}"]).flags

    assert (given.required, given.default) == (False, "a.csv")
    assert (by_flag.required, by_flag.default) == (False, None)


def test_a_subcommand_that_is_given_leaves_its_own_flags() -> None:
    found = flags(
        option("verbose"),
        Flag(name="command", binding=Subcommand(), choices=("fit", "test"), required=True),
        Flag(name="fit.lr", binding=Option(option="--lr", subcommand=("fit",))),
        Flag(name="test.lr", binding=Option(option="--lr", subcommand=("test",))),
        Flag(
            name="fit.command",
            binding=Subcommand(subcommand=("fit",)),
            choices=("fast",),
        ),
        Flag(name="steps", binding=Option(option="--steps", subcommand=("fit", "fast"))),
    )

    fit = without_given(found, ["--verbose", "fit"])
    fast = without_given(found, ["fit", "fast"])

    assert names(fit) == ["lr", "command", "steps"]
    assert [flag.binding for flag in fit.flags] == [
        Option(option="--lr"),
        Subcommand(),
        Option(option="--steps", subcommand=("fast",)),
    ]
    assert [(flag.name, flag.binding) for flag in fast.flags] == [
        ("steps", Option(option="--steps"))
    ]
