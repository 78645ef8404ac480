"""From settings to the trials of a batch."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.errors import UsageError
from reenact.model.flags import Flag, FlagSet, FlagValue, Option
from reenact.search.trials import (
    Trial,
    count_trials,
    find_seed_flag,
    parse_seeds,
    plan_trials,
)
from reenact.search.values import Sequence, Setting, Single, identity, read_settings


def settings(**texts: str) -> dict[str, Setting]:
    return read_settings(texts)


def planned(trials: list[Trial]) -> list[tuple[FlagValue, ...]]:
    return [tuple(trial.settings.values()) for trial in trials]


def test_the_last_flag_varies_fastest() -> None:
    trials = plan_trials(settings(lr="[0.1, 0.01]", epochs="3", opt="[adam, sgd]"))

    assert trials == [
        Trial(1, {"lr": 0.1, "epochs": 3, "opt": "adam"}),
        Trial(2, {"lr": 0.1, "epochs": 3, "opt": "sgd"}),
        Trial(3, {"lr": 0.01, "epochs": 3, "opt": "adam"}),
        Trial(4, {"lr": 0.01, "epochs": 3, "opt": "sgd"}),
    ]


def test_no_settings_make_one_trial() -> None:
    assert plan_trials({}) == [Trial(1, {})]


def test_equal_values_are_planned_once() -> None:
    assert planned(plan_trials(settings(x="[1, 1.0, 1, yes, '1']"))) == [
        (1,),
        (1.0,),
        (True,),
        ("1",),
    ]


def test_nan_equals_itself_here() -> None:
    assert len(plan_trials(settings(x="[nan, nan]"))) == 1


def test_a_repetition_is_on_purpose() -> None:
    assert planned(plan_trials(settings(x="[1, 2]*2", y="[a]*2"))) == [
        (1, "a"), (1, "a"), (2, "a"), (2, "a"), (1, "a"), (1, "a"), (2, "a"), (2, "a"),
    ]  # fmt: skip


def test_rows_are_combined_with_settings_and_vary_slowest() -> None:
    rows = [settings(lr="0.1", opt="adam"), settings(lr="0.2")]

    trials = plan_trials(settings(seed="[1, 2]"), rows=rows)

    assert [trial.settings for trial in trials] == [
        {"lr": 0.1, "opt": "adam", "seed": 1},
        {"lr": 0.1, "opt": "adam", "seed": 2},
        {"lr": 0.2, "seed": 1},
        {"lr": 0.2, "seed": 2},
    ]


def test_settings_win_over_rows_and_what_is_then_equal_is_planned_once() -> None:
    rows = [settings(lr="0.1", x="1"), settings(x="1", lr="0.2"), settings(x="2", lr="0.1")]

    trials = plan_trials(settings(lr="0.5"), rows=rows)

    assert [trial.settings for trial in trials] == [{"lr": 0.5, "x": 1}, {"x": 2, "lr": 0.5}]


def test_seeds_vary_fastest_and_are_set_where_there_is_a_flag() -> None:
    trials = plan_trials(settings(lr="[1, 2]"), seeds=(7, 8, 7), seed_flag="random_seed")

    assert trials == [
        Trial(1, {"lr": 1, "random_seed": 7}, 7),
        Trial(2, {"lr": 1, "random_seed": 8}, 8),
        Trial(3, {"lr": 2, "random_seed": 7}, 7),
        Trial(4, {"lr": 2, "random_seed": 8}, 8),
    ]


def test_seeds_without_a_flag_are_only_noted() -> None:
    assert plan_trials({}, seeds=(7,)) == [Trial(1, {}, 7)]


def test_a_seed_that_is_set_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="`seed` is set, and so are `--seeds`"):
        plan_trials(settings(seed="1"), seeds=(1,), seed_flag="seed")


def test_a_limit_above_the_number_changes_nothing() -> None:
    grid = settings(x="range[1:5]", y="[a, b]")

    assert plan_trials(grid, limit=10) == plan_trials(grid)


def test_a_limit_chooses_different_ones_and_a_larger_one_adds_at_the_end() -> None:
    grid = settings(x="range[1:30]", y="range[1:30]")

    few = planned(plan_trials(grid, limit=20, random_seed=1))
    more = planned(plan_trials(grid, limit=40, random_seed=1))
    others = planned(plan_trials(grid, limit=20, random_seed=2))

    assert more[:20] == few
    assert len(set(more)) == 40
    assert others != few


def test_a_choice_among_rows_counts_equal_ones_once() -> None:
    rows = [settings(x="range[1:10]"), settings(x="range[5:15]")]

    trials = plan_trials({}, rows=rows, limit=15)

    assert sorted(planned(trials)) == [(x,) for x in range(1, 16)]
    assert planned(trials) != sorted(planned(trials))


def test_seeds_multiply_what_a_limit_chose() -> None:
    assert len(plan_trials(settings(x="range[1:10]"), limit=3, seeds=(1, 2))) == 6


def test_a_huge_grid_is_counted_and_chosen_from() -> None:
    grid = settings(**{f"x{i}": "range[1:1000]" for i in range(10)})

    assert count_trials(grid) == 10**30
    assert len(plan_trials(grid, limit=5)) == 5
    with pytest.raises(UsageError, match=r"this makes 10{30} trials") as caught:
        plan_trials(grid)
    assert caught.value.hint == "choose some of them with `--trials`"


def test_a_space_is_for_a_search() -> None:
    with pytest.raises(UsageError, match="flag `lr` is a space") as caught:
        plan_trials(settings(lr="[0.1:1]"))

    assert "--optimizer" in (caught.value.hint or "")


def test_no_trials_at_all_are_refused() -> None:
    with pytest.raises(UsageError, match="`--trials 0` plans nothing"):
        plan_trials({}, limit=0)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("3", (3,)),
        ("0..3", (0, 1, 2, 3)),
        ("0..9..3", (0, 3, 6, 9)),
        ("0..8..3", (0, 3, 6)),
        ("1,5,7", (1, 5, 7)),
        ("7, 0..2, 1", (7, 0, 1, 2)),
        ("4..4", (4,)),
    ],
)
def test_seeds_are_counted_through(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", "a", "1..", "..3", "3..1", "0..9..0", "-1", "1.5", "1,,2", "0..1000000"]
)
def test_other_seeds_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--seeds") as caught:
        parse_seeds(text)

    assert caught.value.hint


def test_too_many_seeds_are_counted() -> None:
    with pytest.raises(UsageError, match=r"is 3000001 seeds, and at most 1000000"):
        parse_seeds("1,0..3000000")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("lr", "seed"), "seed"),
        (("random-seed", "random_seed"), "random_seed"),
        (("random-seed",), "random-seed"),
        (("lr",), None),
    ],
)
def test_the_flag_of_the_seed_is_found(names: tuple[str, ...], found: str | None) -> None:
    flags = FlagSet(
        kind="argparse",
        flags=tuple(Flag(name=name, binding=Option(option=f"--{name}")) for name in names),
    )

    assert find_seed_flag(flags) == found


VALUES = st.one_of(
    st.booleans(), st.integers(-3, 3), st.sampled_from([0.0, 1.0, -0.0, 0.5]), st.sampled_from("ab")
)
SETTINGS = st.dictionaries(
    st.sampled_from("uvwx"),
    VALUES.map(Single)
    | st.builds(
        Sequence,
        st.lists(VALUES, min_size=1, max_size=4).map(tuple),
        st.integers(1, 2),
    ),
)


def axis(setting: Setting) -> list[FlagValue]:
    if isinstance(setting, Single):
        return [setting.value]
    assert isinstance(setting, Sequence)
    return list({identity(value): value for value in setting.values}.values()) * setting.times


@given(SETTINGS)
def test_a_plan_is_the_product_of_its_settings(grid: dict[str, Setting]) -> None:
    expected = [
        dict(zip(grid, values, strict=True))
        for values in itertools.product(*map(axis, grid.values()))
    ]

    trials = plan_trials(grid)

    assert repr([trial.settings for trial in trials]) == repr(expected)
    assert [trial.number for trial in trials] == list(range(1, len(expected) + 1))
    assert count_trials(grid) == len(expected)


@given(SETTINGS, st.integers(1, 10), st.integers())
def test_what_a_limit_chooses_is_of_the_plan(
    grid: dict[str, Setting], limit: int, seed: int
) -> None:
    everything = [repr(trial.settings) for trial in plan_trials(grid)]

    chosen = [repr(trial.settings) for trial in plan_trials(grid, limit=limit, random_seed=seed)]

    assert len(chosen) == min(limit, len(everything))
    for text in chosen:
        everything.remove(text)
