"""Find the runs that the user means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from reenact.actions.context import Context
from reenact.errors import NotFound
from reenact.model.identity import RunId
from reenact.model.run import Status
from reenact.store.columns import IndexedRun, Sort, parse_sort
from reenact.store.index import Index
from reenact.store.query import Filter, parse_filter
from reenact.store.references import resolve, resolve_many, save_listing
from reenact.store.store import StoredRun


def list_runs(
    context: Context,
    *,
    filter_text: str | None = None,
    sort: str | None = None,
    limit: int | None = None,
    all_projects: bool = False,
    deleted: bool = False,
    remember: bool = False,
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

    Raises:
        BadFilter, BadColumn: a text cannot be understood.
        TooNew: a later version made the store.
    """
    store = context.store
    chosen = parse(filter_text)
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


def parse(text: str | None) -> Filter | None:
    """Parse a filter as of now, in the local time zone."""
    if text is None or not text.strip():
        return None
    now = datetime.now(UTC).astimezone()
    return parse_filter(text, now=now, tz=now.tzinfo)
