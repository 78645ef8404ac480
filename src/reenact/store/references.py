"""How a user names a run: an id, its beginning, a number as last listed, a label, `@latest`.

A text is tried in this order: `@…`; a complete id; up to six digits that are a number in the last
listing; then, together, the beginning of an id (two characters at least) and a complete label. Ids
count in the whole store, labels and `@…` in one project where one is given.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from reenact.errors import Ambiguous, NotFound
from reenact.model.identity import RunId, is_run_id
from reenact.model.run import OperationKind
from reenact.store.blobs import digest_bytes
from reenact.store.columns import (
    Field,
    Kind,
    Operand,
    Sort,
    operand_value,
    parse_column,
)
from reenact.store.files import read_file, write_atomically
from reenact.store.index import Index
from reenact.store.query import All, Comparison, Filter, Not, Relation, Value, ValueKind
from reenact.store.store import Store

_HEX = re.compile(r"[0-9a-f]{2,32}")
_RANGE = re.compile(r"(\d{0,6}):(\d{0,6})")
_LIST_HINT = "`reenact runs` lists what there is"


def _attribute(name: str, relation: Relation, value: str | None = None) -> Comparison:
    values = () if value is None else (_text(value),)
    return Comparison(Operand(Kind.ATTRIBUTE, name), relation, values)


def _text(text: str) -> Value:
    return Value(ValueKind.TEXT, text)


TRIALS = Filter(
    "part",
    All(
        (
            _attribute("parent", Relation.EXISTS),
            _attribute("part", Relation.MATCHES, "^(round:)?[0-9]+$"),
            Not(_attribute("kind", Relation.EQUAL, OperationKind.PIPELINE)),
        )
    ),
)
"""Runs that a batch started: its trials, and the rounds of an optimizer. Steps of a pipeline have names,
not numbers. A trial that is a pipeline is none of these: its steps are listed, and so is what they are of.
"""
NO_TRIALS = Filter("part", Not(TRIALS.expression))
"""What is listed unless trials are asked for."""


def save_listing(store: Store, project: str | None, run_ids: Iterable[RunId]) -> None:
    """Remember what was listed, so that `1` names its first run; None is a list of all projects.

    A store that cannot be written is no error: then a number counts in the default order.
    """
    try:
        data = "".join(f"{run_id}\n" for run_id in run_ids).encode()
        write_atomically(_listing_path(store, project), data, sync=False)
    except OSError:
        pass


def load_listing(store: Store, project: str | None) -> list[RunId] | None:
    """Return what was last listed; None where nothing was."""
    try:
        lines = read_file(_listing_path(store, project)).decode("ascii", "replace").split()
    except OSError:
        return None
    return [RunId(line) for line in lines if is_run_id(line)]


def resolve(
    store: Store, index: Index, text: str, project: str | None, *, deleted: bool = False
) -> RunId:
    """Return the one run that a text names.

    Args:
        store: where runs are looked for.
        index: of this store.
        text: what the user wrote.
        project: id of the project in which labels, numbers and `@…` count; None for all.
        deleted: look in the trash instead.

    Raises:
        NotFound: it names none.
        Ambiguous: it names several.
        BadColumn: what stands after `@best:` is no column.
    """
    if text.startswith("@latest/"):
        return _part(store, index, text, project, deleted)
    if text.startswith("@"):
        return _special(index, text, project, deleted)
    if is_run_id(text.lower()):
        run_id = RunId(text.lower())
        if os.path.isdir(store.directory(run_id, deleted=deleted)):
            return run_id
        where = "the trash" if deleted else "this store"
        hint = _LIST_HINT if deleted else _missing_hint(store, run_id)
        raise NotFound(f"run {run_id[:8]} is not in {where}", hint=hint)
    if _is_number(text):
        listing = _listing(store, index, project, deleted)
        if 1 <= int(text) <= len(listing):
            return _of_listing(store, listing, int(text), deleted)
    if "/" in text and not index.query(_attribute_is("label", text), project=project, limit=1):
        return _part(store, index, text, project, deleted)
    return _by_beginning_or_label(index, text, project, deleted)


def _part(store: Store, index: Index, text: str, project: str | None, deleted: bool) -> RunId:
    """Return the run that `BATCH/3` or `BATCH/best` names."""
    whole, _, name = text.rpartition("/")
    parent = resolve(store, index, whole, project, deleted=deleted)
    if name == "best":
        run = index.get(parent, deleted=deleted)
        if run is None or run.batch is None or run.batch.best is None:
            raise NotFound(
                f"`{text}` names no run: nobody knows the best one of run {parent[:8]}",
                hint="a batch knows it at its end, if it was told what to minimize or maximize",
            )
        return run.batch.best
    same = _attribute("part", Relation.EQUAL, name)
    of_parent = _attribute("parent", Relation.EQUAL, parent)
    runs = index.query(Filter(text, All((same, of_parent))), deleted=deleted, limit=1)
    if not runs:
        raise NotFound(
            f"run {parent[:8]} has no part `{name}`", hint=f"`reenact show {parent[:8]}` lists them"
        )
    return runs[0].id


def resolve_many(
    store: Store,
    index: Index,
    texts: Sequence[str],
    project: str | None,
    *,
    deleted: bool = False,
) -> list[RunId]:
    """Return the runs that texts name, each once, in their order.

    A text may also be a range of the last listing: `2:5`, `3:`, `:5`, `:` for all of it.

    Raises:
        NotFound, Ambiguous, BadColumn: as `resolve`; also for a range with nothing in it.
    """
    found: dict[RunId, None] = {}
    for text in texts:
        match = _RANGE.fullmatch(text)
        if match is None:
            found[resolve(store, index, text, project, deleted=deleted)] = None
            continue
        listing = _listing(store, index, project, deleted)
        first = int(match[1] or 1)
        last = min(int(match[2] or len(listing)), len(listing))
        if not 1 <= first <= last:
            raise NotFound(
                f"there is no run `{text}`: the last listing has {len(listing)}", hint=_LIST_HINT
            )
        for number in range(first, last + 1):
            found[_of_listing(store, listing, number, deleted)] = None
    return list(found)


def _special(index: Index, text: str, project: str | None, deleted: bool) -> RunId:
    word, _, rest = text[1:].partition(":")
    if word == "latest":
        # A trial is no run that somebody has started by itself.
        which = Filter(text, Not(_attribute("parent", Relation.EXISTS)))
        if rest:
            which = _attribute_is("op", rest)
        runs = index.query(which, project=project, deleted=deleted, limit=1)
        if not runs:
            what = f" of `{rest}`" if rest else ""
            raise NotFound(f"`{text}` names no run: there is none{what} yet", hint=_LIST_HINT)
        return runs[0].id
    if word in ("best", "min", "max") and rest:
        return _extreme(index, word, rest, project, deleted)
    raise NotFound(
        f"`{text}` names no run",
        hint="there are `@latest`, `@latest:OP`, `@best:acc`, `@best:-loss`, `@min:loss`, `@max:acc`",
    )


def _extreme(index: Index, word: str, rest: str, project: str | None, deleted: bool) -> RunId:
    text = f"@{word}:{rest}"
    is_descending = word != "min"
    if word == "best" and rest.startswith("-"):
        is_descending = False
        rest = rest[1:]
    operand = parse_column(rest).operand
    if word != "best" and operand.kind is Kind.ANY:
        # `@max:acc` looks at all of a run's values, `@best:acc` at the last one.
        operand = Operand(Kind.ANY, operand.name, Field(word))
    sort = (Sort(operand, is_descending),)
    runs = index.query(project=project, deleted=deleted, sort=sort, limit=1)
    value = operand_value(operand, runs[0]) if runs else None
    if value is None or value != value:
        raise NotFound(f"`{text}` names no run: none has a number `{rest}`", hint=_LIST_HINT)
    return runs[0].id


def _by_beginning_or_label(index: Index, text: str, project: str | None, deleted: bool) -> RunId:
    found: dict[RunId, None] = {}
    lower = text.lower()
    if _HEX.fullmatch(lower):
        found.update(dict.fromkeys(index.match_prefix(lower, deleted=deleted)))
    by_id = len(found)
    labelled = index.query(_attribute_is("label", text), project=project, deleted=deleted)
    found.update(dict.fromkeys(run.id for run in labelled))
    if len(found) == 1:
        return next(iter(found))
    if not found:
        is_short = len(text) == 1 and text in "0123456789abcdef"
        raise NotFound(
            f"there is no run `{text}`",
            hint="give two characters of the id at least" if is_short else _LIST_HINT,
        )
    raise Ambiguous(
        f"run `{text}` matches {len(found)} runs", hint=_ways_out(text, list(found), by_id)
    )


def _ways_out(text: str, found: list[RunId], by_id: int) -> str:
    if by_id < len(found):
        return f"give the beginning of an id, e.g. `{found[0][:8]}` or `{found[1][:8]}`"
    first, second = (_shortest(run_id, found) for run_id in found[:2])
    example = f"e.g. `{first}` or `{second}`"
    if len(first) == len(second) == len(text) + 1:
        return f"give one more character, {example}"
    return f"give more characters, {example}"


def _shortest(run_id: RunId, among: list[RunId]) -> str:
    """Return the shortest beginning of an id that no other of these has, three characters at least."""
    for length in range(3, 32):
        if sum(other.startswith(run_id[:length]) for other in among) == 1:
            return run_id[:length]
    return run_id


def _listing(store: Store, index: Index, project: str | None, deleted: bool) -> list[RunId]:
    # Of the trash, numbers count in the default order: a listing of it is not remembered.
    listing = None if deleted else load_listing(store, project)
    if listing is None:
        # As `reenact runs` lists them.
        listing = [run.id for run in index.query(NO_TRIALS, project=project, deleted=deleted)]
    return listing


def _of_listing(store: Store, listing: list[RunId], number: int, deleted: bool) -> RunId:
    run_id = listing[number - 1]
    if not os.path.isdir(store.directory(run_id, deleted=deleted)):
        raise NotFound(
            f"run {number} of the last listing, {run_id[:8]}, is not in this store any more",
            hint=_missing_hint(store, run_id),
        )
    return run_id


def _missing_hint(store: Store, run_id: RunId) -> str:
    if os.path.isdir(store.directory(run_id, deleted=True)):
        return f"it was deleted: `reenact restore {run_id[:8]}` brings it back"
    return _LIST_HINT


def _is_number(text: str) -> bool:
    return len(text) <= 6 and text.isascii() and text.isdigit() and not text.startswith("0")


def _listing_path(store: Store, project: str | None) -> str:
    name = "all" if project is None else digest_bytes(project.encode())[:16]
    return f"{store.cache_directory}/listing-{name}"


def _attribute_is(attribute: str, text: str) -> Filter:
    return Filter(f"{attribute} = {text}", _attribute(attribute, Relation.EQUAL, text))
