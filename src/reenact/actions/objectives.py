"""What the runs of a batch reached in its objectives, and what to say where they reported none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from reenact.actions.context import Context
from reenact.model.identity import RunId
from reenact.model.metrics import SAMPLED
from reenact.model.run import Status
from reenact.model.words import counted
from reenact.project.flag_text import nearest
from reenact.search.samplers import Direction
from reenact.store.columns import IndexedRun, Kind, Operand, operand_value, parse_column
from reenact.store.index import Index
from reenact.store.query import All, Comparison, Filter, Relation, Value, ValueKind

Objectives: TypeAlias = tuple[tuple[str, str], ...]
"""What is wanted of which column: `("minimize", "loss")`."""

_LISTED = 10


def objective_values(run: IndexedRun, objectives: Iterable[tuple[str, str]]) -> list[float] | None:
    """Return what a run reached in each objective; None where it lacks one."""
    values = []
    for _, text in objectives:
        value = _value(run, text)
        if value is None:
            return None
        values.append(value)
    return values


def _value(run: IndexedRun, text: str) -> float | None:
    value = operand_value(parse_column(text).operand, run)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def find_best(trials: Iterable[IndexedRun], objectives: Objectives) -> RunId | None:
    """Return the trial that is best by the first objective; the first one of equals."""
    if not objectives:
        return None
    best: tuple[float, RunId] | None = None
    for trial in trials:
        values = objective_values(trial, objectives[:1])
        if values is None:
            continue
        rank = -values[0] if objectives[0][0] == Direction.MAXIMIZE else values[0]
        if rank == rank and (best is None or rank < best[0]):
            best = rank, trial.id
    return None if best is None else best[1]


def is_lesson(trials: Iterable[IndexedRun], objectives: Objectives) -> bool:
    """Tell whether a search can learn of any of these trials: it has a finite number of each objective."""
    found = (objective_values(trial, objectives) for trial in trials)
    return any(values is not None and all(map(math.isfinite, values)) for values in found)


def unreported(trials: Sequence[IndexedRun], objectives: Objectives) -> list[str]:
    """Say which objectives not all of these completed trials have, a sentence each."""
    found = []
    for direction, text in objectives:
        values = [_value(trial, text) for trial in trials]
        without = [trial for trial, value in zip(trials, values, strict=True) if value is None]
        if not without:
            if trials and not any(value is not None and math.isfinite(value) for value in values):
                found.append(f"`{text}` was NaN or infinite in every completed trial")
            continue
        names: dict[str, None] = {}
        for trial in without:
            names.update(dict.fromkeys(trial.metrics))
        count = len(without)
        if count < len(trials):
            who = f"{count} of {counted(len(trials), 'completed trial')} did not report"
        else:
            who = (
                "no completed trial reported" if count > 1 else "the completed trial did not report"
            )
        found.append(f"{who} `{text}`, which was to {direction}{_instead(text, names)}")
    return found


def unreported_by(trial: IndexedRun, objectives: Objectives) -> list[str]:
    """Say which objectives the first trial that has completed does not have."""
    return [
        f"trial {trial.part} completed and did not report `{text}`, which is to {direction}"
        f"{_instead(text, trial.metrics)}"
        for direction, text in objectives
        if _value(trial, text) is None
    ]


def _instead(text: str, reported: Mapping[str, object]) -> str:
    """Return what was reported in place of a column, the nearest name first."""
    operand = parse_column(text).operand
    names = [name for name in reported if not name.startswith(SAMPLED)]
    if operand.name in names:
        return ": it is no number there"
    if operand.kind not in (Kind.ANY, Kind.METRIC):
        return ""
    if not names:
        return ": it reported no metric"
    close = nearest(operand.name, names)
    if close is not None:
        return f"; did you mean `{close}`?"
    listed = ", ".join(f"`{name}`" for name in names[:_LISTED])
    return f"; it reported {listed}{', …' if len(names) > _LISTED else ''}"


def runs_where(attribute: str, text: str) -> Filter:
    """Return a filter for runs one of whose attributes is this text."""
    operand = Operand(Kind.ATTRIBUTE, attribute)
    value = Value(ValueKind.TEXT, text)
    return Filter(attribute, All((Comparison(operand, Relation.EQUAL, (value,)),)))


def completed_trials(run_id: RunId, context: Context) -> list[IndexedRun]:
    """Return the trials of a batch that have completed, in the order of their numbers."""
    with Index(context.store) as index:
        runs = index.query(runs_where("parent", run_id))
    trials = [
        run
        for run in runs
        if run.status is Status.COMPLETED and run.part is not None and run.part.isdecimal()
    ]
    return sorted(trials, key=lambda run: int(run.part or 0))
