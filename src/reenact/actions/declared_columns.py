"""The columns that a project file wants to see of an operation's runs: its `compare`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from reenact.actions.context import Context
from reenact.actions.run_definition import definition_of_run
from reenact.errors import BadColumn, ReenactError
from reenact.store.columns import Column, IndexedRun, parse_column


class Declared(NamedTuple):
    """What project files say about the columns of some runs.

    Attributes:
        columns: in the order of the files, each once.
        others: the runs of operations that say nothing.
        remarks: what cannot be understood.
    """

    columns: tuple[Column, ...]
    others: tuple[IndexedRun, ...]
    remarks: tuple[str, ...]


def declared_columns(context: Context, runs: Iterable[IndexedRun]) -> Declared:
    """Return the columns that the operations of runs declare; of each its newest run decides."""
    newest: dict[tuple[str | None, str | None], IndexedRun] = {}
    runs = list(runs)
    for run in runs:
        known = newest.get((run.project_id, run.operation))
        if known is None or (run.created and known.created and run.created > known.created):
            newest[run.project_id, run.operation] = run
    columns: dict[str, Column] = {}
    remarks = []
    declaring = set()
    for operation, run in newest.items():
        texts = _compare_of(context, run)
        if texts is None:
            continue
        declaring.add(operation)
        for text in texts:
            try:
                column = parse_column(text)
            except BadColumn as error:
                remarks.append(f"`compare` of {run.operation}: {error.message}")
                continue
            columns.setdefault(column.heading, column)
    others = tuple(run for run in runs if (run.project_id, run.operation) not in declaring)
    return Declared(tuple(columns.values()), others, tuple(remarks))


def _compare_of(context: Context, run: IndexedRun) -> tuple[str, ...] | None:
    try:
        record = context.store.read_run(run.id).run
    except ReenactError:
        return None
    definition = None if record is None else definition_of_run(context.store, record)
    return None if definition is None else definition.compare
