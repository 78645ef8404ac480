"""Labels, tags, comments and marks: what people say about runs after the fact."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import msgspec

from reenact.actions.context import Context
from reenact.errors import NotFound
from reenact.model.identity import RunId
from reenact.model.paths import printable
from reenact.model.run import Notes
from reenact.store.files import store_errors
from reenact.store.index import Index
from reenact.store.lock import Lock


def set_label(context: Context, runs: Iterable[RunId], label: str | None) -> dict[RunId, Notes]:
    """Give runs a label, or take it away with None."""
    label = None if label is None else printable(label)
    return edit_notes(context, runs, lambda notes: msgspec.structs.replace(notes, label=label))


def change_tags(
    context: Context, runs: Iterable[RunId], *, add: Iterable[str] = (), remove: Iterable[str] = ()
) -> dict[RunId, Notes]:
    """Add tags and remove others; a tag stands once, in the order in which tags were added."""
    added = tuple(map(printable, add))
    removed = set(map(printable, remove))

    def change(notes: Notes) -> Notes:
        tags = tuple(tag for tag in dict.fromkeys((*notes.tags, *added)) if tag not in removed)
        return msgspec.structs.replace(notes, tags=tags)

    return edit_notes(context, runs, change)


def set_comment(context: Context, runs: Iterable[RunId], text: str | None) -> dict[RunId, Notes]:
    """Replace the comment on runs, or take it away with None."""
    text = None if text is None else printable(text)
    return edit_notes(context, runs, lambda notes: msgspec.structs.replace(notes, comment=text))


def set_mark(context: Context, runs: Iterable[RunId], *, marked: bool) -> dict[RunId, Notes]:
    """Mark runs, or unmark them."""
    return edit_notes(context, runs, lambda notes: msgspec.structs.replace(notes, marked=marked))


def edit_notes(
    context: Context, runs: Iterable[RunId], change: Callable[[Notes], Notes]
) -> dict[RunId, Notes]:
    """Change the notes of runs, one after the other; two editors at once do not lose a change.

    Raises:
        NotFound: a run is gone.
        Damaged: its notes cannot be read.
        StoreUnusable: the store cannot be written.
    """
    store = context.store
    result = {}
    index = Index(store)
    with store_errors(store.root):
        lock = Lock(f"{store.root}/notes.lock")
        lock.acquire(wait=True)
        try:
            for run_id in runs:
                if not os.path.isdir(store.directory(run_id)):
                    raise NotFound(f"run {run_id[:8]} is gone")
                # Notes that cannot be read are refused, not replaced: somebody wrote them.
                before = store.read_notes(run_id)
                after = change(before)
                if after != before:
                    index.touch(run_id)
                    store.write_notes(run_id, after)
                    index.update(run_id)
                result[run_id] = after
        finally:
            lock.release()
            index.close()
    return result
