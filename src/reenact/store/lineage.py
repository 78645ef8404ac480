"""Ask the index which runs depend on which, and which have made or read a content.

Each function is one search in the index per `MOST` runs or digests, however many runs there are. What
leads *to* a run stands in its record; these functions say what leads from it, and who knows a file.

Promised: all runs of the store whose records say so, as `Index.query` would find them. Two different
contents are taken for one if the first 60 bits of their digests are equal.
Not covered: files inside data sets, see `data_sets`; runs in the trash, unless `deleted` asks for those.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from reenact.model.identity import Digest, RunId
from reenact.store.index import Index
from reenact.store.lineage_rows import ContentUse, LinkKind, content_key

MOST = 500
"""So many values are put into one search."""

_Value = TypeVar("_Value")


class Link(NamedTuple):
    """A run that depends on an earlier one.

    Attributes:
        part: where it is a part of the earlier one: the number of a trial, or the name of a step.
    """

    earlier: RunId
    later: RunId
    kind: LinkKind
    part: str | None = None


def links_from(index: Index, runs: Iterable[RunId], *, deleted: bool = False) -> list[Link]:
    """Return who depends directly on some runs: their parts by number, then others, the oldest first.

    Args:
        index: of the store.
        runs: the earlier ones, in the store or not.
        deleted: those dependent ones that are in the trash instead.
    """
    wanted = list(dict.fromkeys(runs))

    def answer(db: sqlite3.Connection) -> list[Link]:
        found = []
        # `+` and `cross` keep SQLite from going through all runs that are (not) in the trash.
        for some in _chunks(wanted):
            marks = ", ".join("?" * len(some))
            rows = db.execute(
                "select earlier, id, kind, part from ("  # noqa: S608
                "select l.earlier, r.id, l.kind, null as part, r.position"
                f" from links l cross join runs r on r.n = l.n"
                f" where l.earlier in ({marks}) and +r.deleted = ?"
                f" union all select parent, id, {LinkKind.PART.value}, part, position from runs"
                f" where parent in ({marks}) and +deleted = ?)"
                " order by kind, iif(part glob '[0-9]*', cast(part as integer), 0), position, id",
                (*some, deleted, *some, deleted),
            )
            found += [
                Link(RunId(one), RunId(later), LinkKind(kind), part)
                for one, later, kind, part in rows
            ]
        return found

    return index.ask(answer, deleted=deleted)


def makers_of(
    index: Index, digests: Iterable[Digest], *, deleted: bool = False
) -> dict[Digest, list[RunId]]:
    """Return which runs have left a file of some contents behind, the oldest first.

    Args:
        index: of the store.
        digests: of the contents; what no run has made is not in the answer.
        deleted: runs in the trash instead.
    """
    return _users(index, digests, ContentUse.MADE, deleted)


def readers_of(
    index: Index, digests: Iterable[Digest], *, deleted: bool = False
) -> dict[Digest, list[RunId]]:
    """Return which runs have read a file of some contents, or were given one, the oldest first.

    With the digests of a run's outputs these are the runs that consumed what it made, wherever the
    file was by then.

    Args:
        index: of the store.
        digests: of the contents, or of the list of a data set; what no run has read is not in the
            answer.
        deleted: runs in the trash instead.
    """
    return _users(index, digests, ContentUse.READ, deleted)


def data_sets(index: Index) -> list[Digest]:
    """Return the data sets that runs have read or once had: digests of the blobs that list their files.

    There are few of them, however many runs: who looks for a file in data sets reads these lists and
    then asks `readers_of` for those that have it.
    """

    def answer(db: sqlite3.Connection) -> list[Digest]:
        return [Digest(one) for (one,) in db.execute("select digest from data_sets order by 1")]

    return index.ask(answer)


def _users(
    index: Index, digests: Iterable[Digest], use: ContentUse, deleted: bool
) -> dict[Digest, list[RunId]]:
    keys: dict[int, list[Digest]] = {}
    for digest in dict.fromkeys(digests):
        keys.setdefault(content_key(digest, use.value), []).append(digest)

    def answer(db: sqlite3.Connection) -> dict[Digest, list[RunId]]:
        found: dict[Digest, list[RunId]] = {}
        for some in _chunks(list(keys)):
            marks = ", ".join("?" * len(some))
            rows = db.execute(
                "select c.content, r.id from contents c cross join runs r on r.n = c.n"  # noqa: S608
                f" where c.content in ({marks}) and +r.deleted = ? order by r.position, r.id",
                (*some, deleted),
            )
            for key, run_id in rows:
                for digest in keys[key]:
                    found.setdefault(digest, []).append(RunId(run_id))
        return found

    return index.ask(answer, deleted=deleted)


def _chunks(values: Sequence[_Value]) -> Iterator[Sequence[_Value]]:
    for start in range(0, len(values), MOST):
        yield values[start : start + MOST]
