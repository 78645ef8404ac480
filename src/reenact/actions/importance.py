"""Which flags mattered for what runs reached: the trials of a batch, or any runs that are named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from reenact.actions.compare import Selection, choose_runs
from reenact.actions.context import Context
from reenact.actions.pareto import objectives_of_batches
from reenact.errors import BadColumn
from reenact.model.run import Status
from reenact.model.statistic import number_in
from reenact.search.importance import Importance, find_importance
from reenact.store.columns import Column, IndexedRun, column_value, parse_column


class Weighed(NamedTuple):
    """How much each flag mattered for a column; `runs` is how many were looked at."""

    column: Column
    importance: Importance
    runs: int


def weigh_flags(context: Context, selection: Selection, by: Sequence[str]) -> tuple[Weighed, ...]:
    """Say how much each flag mattered; runs that have not completed count nowhere.

    Args:
        context: where.
        selection: which runs; a batch stands for its trials.
        by: columns to explain; the objectives of the runs' batch when empty.

    Raises:
        BadFilter, BadColumn: a text cannot be understood, or holds no number of any run.
        NotFound, Ambiguous: a text means no run, or several.
        UsageError: no column is named, and no batch says what was wanted.
    """
    runs = choose_runs(context, selection)
    if not by:
        by = [text for _, text in objectives_of_batches(context, runs)]
    found = []
    for text in by:
        column = parse_column(text)
        values = [_value(column, run) for run in runs]
        if runs and all(value is None for value in values):
            raise BadColumn(
                f"no completed run has a number `{text}`",
                hint="`reenact compare` shows what there is",
            )
        trials = zip((run.flags for run in runs), values, strict=True)
        found.append(Weighed(column, find_importance(trials), len(runs)))
    return tuple(found)


def _value(column: Column, run: IndexedRun) -> float | None:
    return number_in(column_value(column, run)) if run.status is Status.COMPLETED else None
