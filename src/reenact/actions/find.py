"""Find the runs that the user means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from reenact.actions.context import Context
from reenact.errors import NotFound
from reenact.model.identity import RunId
from reenact.model.run import OperationKind, Status
from reenact.store.columns import IndexedRun, Kind, Operand, Sort, parse_sort
from reenact.store.index import Index
from reenact.store.lineage import links_from
from reenact.store.lineage_rows import LinkKind
from reenact.store.query import (
    All,
    AnyOf,
    Comparison,
    Expression,
    Filter,
    Not,
    Relation,
    Value,
    ValueKind,
    parse_filter,
)
from reenact.store.references import resolve, resolve_many, save_listing
from reenact.store.store import StoredRun


def _where(attribute: str, relation: Relation, value: str | None = None) -> Filter:
    operand = Operand(Kind.ATTRIBUTE, attribute)
    values = () if value is None else (Value(ValueKind.TEXT, value),)
    return Filter(attribute, Comparison(operand, relation, values))


def list_runs(
    context: Context,
    *,
    filter_text: str | None = None,
    sort: str | None = None,
    limit: int | None = None,
    all_projects: bool = False,
    deleted: bool = False,
    remember: bool = False,
    without: Iterable[Filter] = (),
) -> list[IndexedRun]:
    """Return runs, newest first unless `sort` says otherwise.

    Args:
        context: the project whose runs are listed.
        filter_text: which of them; see `docs/reference/filters.md`.
        sort: columns to sort by; see `docs/reference/columns.md`.
        limit: how many at most.
        all_projects: those of all projects in the store.
        deleted: those in the trash.
        remember: make `1`, `2`, … mean these runs from now on.
        without: leave out runs that match one of these: `TRIALS`, `BATCHES`.

    Raises:
        BadFilter, BadColumn: a text cannot be understood.
        TooNew: a later version made the store.
    """
    store = context.store
    chosen = _and_not(parse(filter_text), without)
    order: Sequence[Sort] = parse_sort(sort) if sort else ()
    try:
        store.check_format()
    except NotFound:
        return []
    project = None if all_projects else context.project.id
    with Index(store) as index:
        runs = index.query(chosen, project=project, deleted=deleted, sort=order, limit=limit)
        lost = [run for run in runs if run.status is Status.KILLED and run.ended is None]
        if lost and not deleted:
            from reenact.actions.recover import recover

            for run in lost:
                try:
                    recover(store, store.read_run(run.id))
                except NotFound:
                    continue  # Somebody has deleted it just now.
            index.refresh()
            runs = index.query(chosen, project=project, deleted=deleted, sort=order, limit=limit)
    if remember and not deleted:
        save_listing(store, None if all_projects else project, [run.id for run in runs])
    return runs


def find_run(context: Context, text: str, *, deleted: bool = False) -> StoredRun:
    """Return the one run that a text means: an id, `@latest`, a label, a number of the last list.

    Raises:
        NotFound: there is none.
        Ambiguous: there are several.
    """
    store = context.store
    store.check_format()
    with Index(store) as index:
        run_id = resolve(store, index, text, context.project.id, deleted=deleted)
    stored = store.read_run(run_id, deleted=deleted)
    if deleted or stored.status is not Status.KILLED:
        return stored
    # Imported where it is needed: it brings everything with it that a run needs.
    from reenact.actions.recover import recover

    return recover(store, stored)


def find_runs(
    context: Context,
    texts: Iterable[str],
    *,
    filter_text: str | None = None,
    all_projects: bool = False,
    deleted: bool = False,
) -> list[RunId]:
    """Return the runs that texts and a filter mean, each once; all that the filter lets through.

    Raises:
        NotFound: one of the texts means nothing.
        Ambiguous: one of them means several runs.
    """
    store = context.store
    store.check_format()
    words = list(texts)
    chosen: dict[RunId, None] = {}
    with Index(store) as index:
        if words:
            found = resolve_many(store, index, words, context.project.id, deleted=deleted)
            if filter_text is None:
                return list(dict.fromkeys(found))
            chosen = dict.fromkeys(found)
        project = None if all_projects or words else context.project.id
        matching = index.query(parse(filter_text), project=project, deleted=deleted)
    if not words:
        return [run.id for run in matching]
    allowed = {run.id for run in matching}
    return [run_id for run_id in chosen if run_id in allowed]


def require(runs: Sequence[RunId], *, deleted: bool = False) -> None:
    """Raise NotFound when there are no runs to act on."""
    if not runs:
        where = " in the trash" if deleted else ""
        command = "reenact runs --deleted" if deleted else "reenact runs"
        raise NotFound(f"no run{where} matches", hint=f"`{command}` lists what there is")


_PARENTS = (OperationKind.BATCH, OperationKind.PIPELINE)
BATCHES = Filter(
    "kind",
    AnyOf(tuple(_where("kind", Relation.EQUAL, kind).expression for kind in _PARENTS)),
)
"""Runs that started others, and computed nothing themselves."""


def parts_of(context: Context, run_id: RunId, *, deleted: bool = False) -> list[IndexedRun]:
    """Return the runs that a run started, in the order of their numbers or their beginnings."""
    with Index(context.store) as index:
        found = index.query(_where("parent", Relation.EQUAL, run_id), deleted=deleted)
    return sorted(found, key=_order)


def _order(run: IndexedRun) -> tuple[int, str]:
    part = run.part or ""
    return (int(part), "") if part.isdecimal() else (0, f"{run.created} {part}")


def with_parts(context: Context, runs: Iterable[RunId], *, deleted: bool = False) -> list[RunId]:
    """Return runs and those that they started, each once, parents first."""
    roots = list(dict.fromkeys(runs))
    parts: dict[RunId, list[RunId]] = {}
    level = roots
    with Index(context.store) as index:
        while level:
            parts.update((run_id, []) for run_id in level)
            for link in links_from(index, level, deleted=deleted):
                if link.kind is LinkKind.PART:
                    parts[link.earlier].append(link.later)
            level = [one for run_id in level for one in parts[run_id] if one not in parts]
    chosen: dict[RunId, None] = {}
    waiting = roots[::-1]
    while waiting:
        run_id = waiting.pop()
        if run_id not in chosen:
            chosen[run_id] = None
            waiting += reversed(parts[run_id])
    return list(chosen)


def _and_not(wanted: Filter | None, without: Iterable[Filter]) -> Filter | None:
    parts: list[Expression] = [] if wanted is None else [wanted.expression]
    parts += [Not(filter_.expression) for filter_ in without]
    if not parts:
        return None
    return Filter("" if wanted is None else wanted.text, All(tuple(parts)))


def parse(text: str | None) -> Filter | None:
    """Parse a filter as of now, in the local time zone."""
    if text is None or not text.strip():
        return None
    now = datetime.now(UTC).astimezone()
    return parse_filter(text, now=now, tz=now.tzinfo)
