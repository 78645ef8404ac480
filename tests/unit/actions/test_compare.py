from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.actions.compare import (
    Comparison,
    Layout,
    Selection,
    compare_runs,
    group_runs,
    parse_columns,
)
from reenact.actions.context import Context
from reenact.errors import BadColumn, NotFound
from reenact.model.direction import Direction, guess_direction
from reenact.model.flags import FlagValue
from reenact.model.identity import RunId, new_run_id
from reenact.model.metrics import Point, summarize
from reenact.model.run import Exit, Notes, Operation, OperationKind, Run
from reenact.model.statistic import statistic

BEGIN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ALL = Selection()
PLAIN = Layout()

Make = Callable[..., RunId]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    project = tmp_path / "project"
    project.mkdir()
    return Context(dict(os.environ), str(project), str(tmp_path / "store"))


@pytest.fixture
def make(context: Context) -> Make:
    """Return a function that writes a finished run, each a minute after the one before."""
    made: list[RunId] = []

    def write(
        flags: dict[str, FlagValue] | None = None,
        *,
        exit_code: int = 0,
        label: str | None = None,
        **metrics: Any,
    ) -> RunId:
        points = [
            Point(name, step, 0, float(value))
            for name, values in metrics.items()
            for step, value in enumerate(values if isinstance(values, list) else [values])
        ]
        started = BEGIN + timedelta(minutes=len(made))
        run = Run(
            id=new_run_id(),
            operation=Operation(name="train.py", kind=OperationKind.SCRIPT, target="train.py"),
            project=context.project,
            command=("python", "train.py"),
            created=started,
            started=started,
            ended=started + timedelta(seconds=5),
            exit=Exit(code=exit_code),
            flags=flags or {},
            metrics=summarize(points),
        )
        store = context.store
        store.create()
        os.makedirs(os.path.dirname(store.record_path(run.id)))
        store.write_run(run, sync=False)
        if label is not None:
            store.write_notes(run.id, Notes(label=label))
        made.append(run.id)
        return run.id

    return write


def headings(comparison: Comparison) -> list[str]:
    return [column.heading for column in comparison.columns]


def values(comparison: Comparison, heading: str) -> list[object]:
    at = headings(comparison).index(heading)
    return [row[at] for row in comparison.rows]


def test_columns_are_what_identifies_a_run_then_flags_then_last_metrics(
    context: Context, make: Make
) -> None:
    make({"lr": 0.1}, loss=[3, 2], acc=0.5)
    make({"lr": 0.2}, loss=[3, 1], acc=0.6)

    found = compare_runs(context, ALL, PLAIN)

    assert headings(found) == [
        "id", "operation", "started", "status", "label", "lr", "acc", "loss"
    ]  # fmt: skip
    assert values(found, "lr") == [0.2, 0.1]
    assert values(found, "loss") == [1.0, 2.0]


def test_columns_that_differ_come_before_those_that_do_not(context: Context, make: Make) -> None:
    make({"batch": 8, "lr": 0.1}, acc=0.5, loss=2)
    make({"batch": 8, "lr": 0.2}, acc=0.5, loss=1)

    found = compare_runs(context, ALL, PLAIN)

    assert headings(found)[5:] == ["lr", "loss", "acc", "batch"]
    assert [column.differs for column in found.columns[5:]] == [True, True, False, False]


def test_only_differences_leaves_the_id_and_what_differs(context: Context, make: Make) -> None:
    make({"batch": 8, "lr": 0.1}, loss=2)
    make({"batch": 8, "lr": 0.2}, loss=2)

    found = compare_runs(context, ALL, Layout(only_differences=True))

    assert headings(found) == ["id", "started", "lr"]


@pytest.mark.parametrize(
    ("a", "b", "differs"),
    [
        (1, 1.0, True),
        (True, 1, True),
        (None, "null", True),
        (math.nan, math.nan, False),
        ([1, math.nan], [1, math.nan], False),
        ([1, 2], [2, 1], True),
        ({"x": 1, "y": 2}, {"y": 2, "x": 1}, False),
        (0.1, 0.1, False),
    ],
)
def test_values_differ_when_their_records_do(
    context: Context, make: Make, a: FlagValue, b: FlagValue, differs: bool
) -> None:
    make({"x": a})
    make({"x": b})

    found = compare_runs(context, ALL, Layout(columns="=x"))

    assert found.columns[1].differs is differs


def test_a_flag_that_only_one_run_has_differs(context: Context, make: Make) -> None:
    make({"x": 1})
    make({})

    found = compare_runs(context, ALL, PLAIN)

    assert values(found, "x") == [None, 1]
    assert found.columns[5].differs


def test_samples_of_the_machine_are_shown_only_when_asked_for(context: Context, make: Make) -> None:
    make({}, **{"system/cpu_percent": 40.0, "machine/load": 1.0})

    assert headings(compare_runs(context, ALL, PLAIN))[5:] == []
    asked = compare_runs(context, ALL, Layout(columns="system/cpu_percent"))
    assert values(asked, "system/cpu_percent") == [40.0]


def test_a_flag_and_a_metric_of_one_name_are_two_columns(context: Context, make: Make) -> None:
    make({"loss": "mse", "status": "x"}, loss=1)

    found = compare_runs(context, ALL, PLAIN)

    assert headings(found)[5:] == ["metric:loss", "loss", "=status"]
    assert values(found, "status") == ["completed"]
    assert values(found, "=status") == ["x"]
    assert values(found, "metric:loss") == [1.0]


def test_chosen_columns_stand_in_the_order_in_which_they_were_chosen(
    context: Context, make: Make
) -> None:
    make({"lr": 0.1}, loss=[3, 1, 2], acc=0.5)

    columns = "min loss, =lr, last acc as accuracy, min loss step, 'lr' as again"
    found = compare_runs(context, ALL, Layout(columns=columns))

    assert headings(found) == ["id", "min loss", "lr", "accuracy", "min loss step", "again"]
    assert found.rows[0][1:] == (1.0, 0.1, 0.5, 1, 0.1)


def test_a_comma_in_quotes_divides_no_columns() -> None:
    assert [c.heading for c in parse_columns("'a,b', =\"c,d\" as e,")] == ["a,b", "e"]


@pytest.mark.parametrize("text", ["", " , ", "'a", "lr as", "lr, =lr"])
def test_columns_that_cannot_be_understood_are_refused(text: str) -> None:
    with pytest.raises(BadColumn):
        parse_columns(text)


def test_a_column_that_no_run_has_is_named_with_the_nearest(context: Context, make: Make) -> None:
    make({"lr": 0.1}, accuracy=1)

    found = compare_runs(context, ALL, Layout(columns="acuracy, =lr, metric:loss"))

    assert found.remarks == (
        "none of these runs has a flag or metric `acuracy`; did you mean `accuracy`?",
        "none of these runs has a metric `loss`",
    )


def test_the_best_is_guessed_by_name_and_ties_share_it(context: Context, make: Make) -> None:
    make({"lr": 1.0}, loss=0.5, acc=0.8, other=1)
    make({"lr": 2.0}, loss=0.5, acc=0.9, other=2)
    make({"lr": 3.0}, loss=0.7, acc=math.nan, other=3)

    found = compare_runs(context, ALL, Layout(columns="loss, acc, other, lr, min loss step"))

    best = {column.heading: column.best for column in found.columns}
    assert best["loss"] == {1, 2}
    assert best["acc"] == {1}
    assert best["other"] == best["lr"] == best["min loss step"] == frozenset()


def test_what_the_user_says_is_best_wins_over_the_name(context: Context, make: Make) -> None:
    make({"time": 5}, loss=0.5)
    make({"time": 3}, loss=0.7)

    found = compare_runs(context, ALL, Layout(minimize=("time",), maximize=("loss",)))

    best = {column.heading: column.best for column in found.columns if column.best}
    assert best == {"time": {0}, "loss": {0}}


def test_nothing_is_best_where_there_is_nothing_to_choose(context: Context, make: Make) -> None:
    make({}, loss=0.5)
    make({}, loss=0.5)
    make({}, loss=math.nan)

    found = compare_runs(context, ALL, PLAIN)

    assert found.columns[-1].best == frozenset()


def test_the_best_of_a_column_that_is_not_there_is_refused(context: Context, make: Make) -> None:
    make({}, loss=0.5)

    with pytest.raises(BadColumn, match="there is no column `los` here") as caught:
        compare_runs(context, ALL, Layout(minimize=("los",)))

    assert caught.value.hint == "did you mean `loss`?"


def test_a_column_cannot_be_best_both_ways(context: Context, make: Make) -> None:
    make({}, loss=0.5)

    with pytest.raises(BadColumn, match="both ways"):
        compare_runs(context, ALL, Layout(minimize=("loss",), maximize=("last loss",)))


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("loss", Direction.MIN),
        ("val_loss", Direction.MIN),
        ("validLoss2", Direction.MIN),
        ("test/error_rate", Direction.MIN),
        ("RMSE", Direction.MIN),
        ("perplexity", Direction.MIN),
        ("neg_accuracy", Direction.MIN),
        ("accuracy", Direction.MAX),
        ("top5_acc", Direction.MAX),
        ("F1", Direction.MAX),
        ("r2", Direction.MAX),
        ("roc_auc", Direction.MAX),
        ("mAP50", Direction.MAX),
        ("neg_rmse", Direction.MAX),
        ("lr", None),
        ("closs", None),
        ("score_loss", None),
        ("accumulated", None),
        ("", None),
    ],
)
def test_names_tell_which_way_is_better(name: str, direction: Direction | None) -> None:
    assert guess_direction(name) is direction


def test_only_the_latest_are_shown_and_it_is_said(context: Context, make: Make) -> None:
    made = [make({"seed": seed}) for seed in range(22)]

    found = compare_runs(context, ALL, PLAIN)
    everything = compare_runs(context, Selection(limit=0), PLAIN)
    two = compare_runs(context, Selection(limit=2), PLAIN)

    assert ([run.id for run in found.runs], found.is_complete) == (made[:1:-1], False)
    assert (len(everything.runs), everything.is_complete) == (22, True)
    assert ([run.id for run in two.runs], two.is_complete) == (made[:-3:-1], False)


def test_named_runs_are_all_shown_in_the_order_named(context: Context, make: Make) -> None:
    made = [make({"seed": seed}) for seed in range(22)]

    found = compare_runs(context, Selection(texts=tuple(made)), PLAIN)

    assert [run.id for run in found.runs] == made
    assert found.is_complete


def test_named_runs_are_sorted_as_asked_with_missing_values_last(
    context: Context, make: Make
) -> None:
    none = make({})
    nan = make({"x": math.nan})
    low = make({"x": 1})
    high = make({"x": 2.5})
    names = (none, nan, low, high)

    up = compare_runs(context, Selection(texts=names, sort="x"), PLAIN)
    down = compare_runs(context, Selection(texts=names, sort="-x"), PLAIN)

    assert [run.id for run in up.runs] == [low, high, nan, none]
    assert [run.id for run in down.runs] == [high, low, nan, none]


def test_sorting_named_runs_is_sorting_all_of_them(context: Context, make: Make) -> None:
    for x, y in ((2, "b"), (1, "b"), (2, "a"), (None, "c"), (math.inf, "a")):
        make({"x": x, "y": y})
    names = tuple(run.id for run in compare_runs(context, ALL, PLAIN).runs)

    for sort in ("y, -x", "-y, x", ".started", "-.started, y", "x desc"):
        named = compare_runs(context, Selection(texts=names, sort=sort), PLAIN)
        listed = compare_runs(context, Selection(sort=sort), PLAIN)
        assert [run.id for run in named.runs] == [run.id for run in listed.runs], sort


def test_a_filter_and_names_go_together(context: Context, make: Make) -> None:
    make({"lr": 0.1}, label="small")
    large = make({"lr": 0.5})

    found = compare_runs(context, Selection(filter_text="lr > 0.2"), PLAIN)

    assert [run.id for run in found.runs] == [large]
    with pytest.raises(NotFound):
        compare_runs(context, Selection(texts=("missing",)), PLAIN)


def test_a_project_without_runs_is_an_empty_table(context: Context) -> None:
    found = compare_runs(context, ALL, PLAIN)

    assert (found.rows, found.runs, found.is_complete) == ((), (), True)


# --- groups ---


def test_a_group_is_a_combination_of_values(context: Context, make: Make) -> None:
    for lr in (0.1, 0.01):
        for optimizer in ("adam", "sgd"):
            for seed in range(3):
                make({"lr": lr, "opt": optimizer, "seed": seed}, acc=seed)

    found = group_runs(context, ALL, PLAIN, "lr, opt")

    assert [group.values for group in found.groups] == [
        (0.01, "adam"), (0.01, "sgd"), (0.1, "adam"), (0.1, "sgd")
    ]  # fmt: skip
    assert [column.heading for column in found.columns] == ["acc"]
    first = found.groups[0]
    assert (len(first.runs), first.statistics[0].mean, first.statistics[0].sd) == (3, 1.0, 1.0)


def test_all_runs_are_looked_at_not_just_the_latest(context: Context, make: Make) -> None:
    for seed in range(30):
        make({"lr": 0.1, "seed": seed}, acc=seed)

    found = group_runs(context, ALL, PLAIN, "lr")

    assert [len(group.runs) for group in found.groups] == [30]
    assert found.groups[0].statistics[0].mean == 14.5


def test_nan_and_missing_values_are_counted_beside_the_mean(context: Context, make: Make) -> None:
    make({"lr": 0.1}, acc=0.5)
    make({"lr": 0.1}, acc=math.nan)
    make({"lr": 0.1}, exit_code=1)

    found = group_runs(context, ALL, PLAIN, "lr").groups[0]

    assert found.statistics[0].mean == 0.5
    assert found.statistics[0].sd is None
    assert (found.statistics[0].count, found.statistics[0].nan_count) == (1, 1)
    assert found.statistics[0].missing == 1
    assert found.statuses == {"completed": 2, "failed": 1}


def test_runs_without_the_flag_are_a_group_and_come_last(context: Context, make: Make) -> None:
    make({}, acc=1)
    make({"lr": 0.1}, acc=2)

    found = group_runs(context, ALL, PLAIN, "lr")

    assert [group.values for group in found.groups] == [(0.1,), (None,)]


def test_groups_are_sorted_and_cut_by_what_they_show(context: Context, make: Make) -> None:
    for lr, acc in ((1, 0.5), (2, 0.9), (3, 0.7)):
        make({"lr": lr}, acc=acc)

    found = group_runs(context, Selection(sort="-acc", limit=2), PLAIN, "lr")

    assert [group.values for group in found.groups] == [(2,), (3,)]
    assert not found.is_complete
    assert found.columns[0].best == {0}
    with pytest.raises(BadColumn, match="groups cannot be sorted by `seed`"):
        group_runs(context, Selection(sort="seed"), PLAIN, "lr")


def test_chosen_columns_may_be_flags_and_columns_without_numbers_are_named(
    context: Context, make: Make
) -> None:
    make({"opt": "adam", "lr": 0.1, "note": "x"}, acc=[1, 5])
    make({"opt": "adam", "lr": 0.3, "note": "y"}, acc=[3, 4])

    found = group_runs(context, ALL, Layout(columns="=lr, max acc, note"), "opt")

    assert [column.heading for column in found.columns] == ["lr", "max acc"]
    assert [s.mean for s in found.groups[0].statistics] == [0.2, 4.5]
    assert found.remarks == ("`note` holds no numbers: no mean of it",)


FINITE = st.floats(-1e300, 1e300)


@given(st.lists(FINITE, min_size=2, max_size=30))
def test_mean_and_sd_are_those_of_the_sample(numbers: list[float]) -> None:
    found = statistic(numbers)

    scale = max(map(abs, numbers))
    exact = [Fraction(number) for number in numbers]
    assert found.mean == pytest.approx(float(statistics.mean(exact)), abs=scale * 1e-12)
    assert found.sd == pytest.approx(statistics.stdev(exact), rel=1e-6, abs=scale * 1e-9)


@given(st.lists(st.floats() | st.none() | st.text(max_size=3) | st.booleans(), max_size=30))
def test_every_value_is_counted_once(values: list[float | str | bool | None]) -> None:
    found = statistic(values)

    assert found.count + found.nan_count + found.missing == len(values)
    assert (found.mean is None) == (found.count == 0)


def test_a_mean_is_there_even_where_the_sum_is_too_large() -> None:
    assert statistic([1.7e308, 1.7e308]).mean == 1.7e308


def test_infinities_have_a_mean_and_no_sd() -> None:
    found = statistic([math.inf, 1.0])

    assert (found.mean, found.sd) == (math.inf, None)


def test_equal_numbers_have_no_spread() -> None:
    found = statistic([0.083972] * 3)
    assert (found.mean, found.sd) == (0.083972, 0.0)
