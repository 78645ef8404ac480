"""The tables of the index, and how a run becomes rows in them and comes back."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import msgspec

from reenact.model.flags import FlagValue
from reenact.model.identity import RunId
from reenact.model.metrics import Summary
from reenact.model.record import flag_from_json, flag_to_json, to_json
from reenact.model.run import Batch, Exit, OperationKind, Run, Status
from reenact.store.columns import IndexedRun, microseconds, sql_number
from reenact.store.lineage_rows import Lineage, lineage_of
from reenact.store.query import FLAG_KINDS, Known
from reenact.store.store import StoredRun

SCHEMA_VERSION = 5
_SCHEMA = """
create table meta (key text primary key, value text) without rowid;
create table names (
    name text primary key, key integer, is_flag integer, is_metric integer,
    is_param integer) without rowid;
create table runs (
    n integer primary key, id text, deleted integer, record integer, notes integer,
    is_final integer, touched integer, position integer, project text, project_name text,
    op text, stem text, status text, label text, marked integer, tags text,
    created integer, started integer, ended integer, duration real, exit integer,
    parent text, part text, kind text, staged integer, variant text);
create unique index runs_id on runs (deleted, id);
create index runs_position on runs (deleted, position desc, id);
create index runs_parent on runs (parent) where parent is not null;
create index runs_open on runs (deleted) where is_final = 0 or touched is not null;
create table details (
    n integer primary key, comment text, command text, commit_id text, dirty integer, source text,
    payload blob, links blob, contents blob);
create table tags (tag text, n integer, primary key (tag, n)) without rowid;
create table flags (
    name integer, n integer, kind integer, number, text text,
    primary key (name, n)) without rowid;
create table params (
    name integer, n integer, kind integer, number, text text,
    primary key (name, n)) without rowid;
create table metrics (
    name integer, n integer, count, first, first_step, last, last_step, minimum, minimum_step,
    maximum, maximum_step, mean, nan_count, primary key (name, n)) without rowid;
create table links (
    earlier text, n integer, kind integer, primary key (earlier, n, kind)) without rowid;
create table contents (content integer, n integer, primary key (content, n)) without rowid;
create table data_sets (digest text primary key) without rowid;
"""


_Text: TypeAlias = str | None
_Time: TypeAlias = datetime | None
_decode: Callable[[bytes], tuple[Any, ...]] = msgspec.json.Decoder(
    tuple[RunId, Status, _Text, _Text, _Text, _Text, tuple[str, ...], _Text, bool, _Time, _Time,
          _Time, Exit | None, dict[str, Any], tuple[str, ...], dict[str, list[Any]],
          dict[str, Any], tuple[str, ...], _Text, bool | None, _Text, _Text, RunId | None, _Text,
          _Text, Batch | None, _Time, int, _Text]
).decode  # fmt: skip
"""An IndexedRun as the database holds it: lists, flags as `flag_to_json` writes them."""


class Reading(NamedTuple):
    """A run as it was read from its files, and the state of these files just before."""

    stored: StoredRun
    metrics: dict[str, Summary]
    record: int | None
    notes: int | None
    position: int
    is_final: bool


_TAGS, _FLAGS, _METRICS, _PARAMS = (
    IndexedRun._fields.index(name) for name in ("tags", "flags", "metrics", "params")
)
_SUMMARY_FIELDS = Summary.__struct_fields__


def _pack_run(run: IndexedRun) -> bytes:
    # Without the names of the fields it is half as long.
    packed: list[object] = list(run)
    packed[_FLAGS] = {name: flag_to_json(value) for name, value in run.flags.items()}
    packed[_PARAMS] = {name: flag_to_json(value) for name, value in run.params.items()}
    packed[_METRICS] = {name: msgspec.structs.astuple(s) for name, s in run.metrics.items()}
    return to_json(packed)


class Names(NamedTuple):
    """What a run has rows for in other tables."""

    tags: tuple[str, ...]
    flags: list[str]
    metrics: list[str]
    params: list[str]


def names_in(payload: bytes) -> Names:
    """Return the names of the run in a row of `details`."""
    packed = _decode(payload)
    return Names(packed[_TAGS], list(packed[_FLAGS]), list(packed[_METRICS]), list(packed[_PARAMS]))


def unpack_run(payload: bytes, status: str) -> IndexedRun:
    """Return the run that a row of `details` holds."""
    packed: list[Any] = list(_decode(payload))
    # What has become of an unfinished run changes without its files.
    packed[IndexedRun._fields.index("status")] = Status(status)
    for at in (_FLAGS, _PARAMS):
        packed[at] = {
            name: flag_from_json(value) if type(value) in (dict, list) else value
            for name, value in packed[at].items()
        }
    packed[_METRICS] = {
        name: Summary(**dict(zip(_SUMMARY_FIELDS, values, strict=True)))
        for name, values in packed[_METRICS].items()
    }
    return IndexedRun(*packed)


def run_row(n: int, deleted: bool, touched: int | None, reading: Reading) -> tuple[object, ...]:
    """Return a row of `runs`."""
    _, _, status, run, notes, _ = reading.stored
    tags = " ".join(sorted(notes.tags))
    head = (n, reading.stored.id, deleted, reading.record, reading.notes, reading.is_final, touched,
            reading.position)  # fmt: skip
    if run is None:
        return (*head, None, None, None, None, status.value, notes.label, notes.marked, tags,
                None, None, None, None, None, None, None, None, None, None)  # fmt: skip
    name = run.operation.name
    stem = _stem(name) if run.operation.kind is OperationKind.SCRIPT else name
    return (
        *head, run.project.id, run.project.name, name, stem, status.value, notes.label,
        notes.marked, tags, microseconds(run.created),
        None if run.started is None else microseconds(run.started),
        None if run.ended is None else microseconds(run.ended),
        run.duration_s, None if run.exit is None else run.exit.shell_status,
        run.parent, run.part, run.operation.kind.value, run.is_staged, run.variant,
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _stem(script: str) -> str:
    return os.path.splitext(os.path.basename(script))[0]


def detail_row(n: int, reading: Reading, lineage: Lineage | None) -> tuple[object, ...]:
    """Return a row of `details`."""
    run_id, _, status, run, notes, damage = reading.stored
    if run is None:
        empty = IndexedRun(run_id, status, None, None, None, notes.label, notes.tags, notes.comment,
                           notes.marked, None, None, None, None, {}, (), {}, {}, (), None, None,
                           None, damage)  # fmt: skip
        return (n, notes.comment, None, None, None, None, _pack_run(empty), None, None)
    vcs = run.source.vcs if run.source else None
    commit, is_dirty = (vcs.commit, vcs.is_dirty) if vcs else (None, None)
    tree = run.source.tree if run.source else None
    indexed = IndexedRun(
        run_id, status, run.operation.name, run.project.id, run.project.name, notes.label,
        notes.tags, notes.comment, notes.marked, run.created, run.started, run.ended, run.exit,
        run.flags, run.given, reading.metrics, _params_of(run), run.command, commit, is_dirty, tree, damage,
        run.parent, run.part, run.operation.kind.value, run.batch,
        run.staged if run.is_staged else None, notes.priority, run.variant,
    )  # fmt: skip
    command = indexed.command_text
    kept = (None, None) if lineage is None else lineage.pack()
    return (n, notes.comment, command, commit, is_dirty, tree, _pack_run(indexed), *kept)


def _params_of(run: Run) -> dict[str, FlagValue]:
    """Return a run's params, among them the seed that Reenact gave to it."""
    return run.params if run.seed is None else {"seed": run.seed, **run.params}


def flag_row(value: FlagValue) -> tuple[int, float | None, str]:
    """Return kind, number and text of a row of `flags` or `params`."""
    if isinstance(value, bool):
        return FLAG_KINDS["bool"], int(value), "true" if value else "false"
    if isinstance(value, str):
        return FLAG_KINDS["text"], None, value
    if value is None:
        return FLAG_KINDS["null"], None, "null"
    if isinstance(value, list | dict):
        return FLAG_KINDS["list"], None, to_json(flag_to_json(value)).decode()
    if value != value:
        return FLAG_KINDS["nan"], None, "nan"
    return FLAG_KINDS["number"], sql_number(value), repr(value)


def metric_row(summary: Summary) -> tuple[object, ...]:
    """Return the values of a row of `metrics`."""
    # The columns of the table are the fields of a Summary, in their order.
    values: tuple[object, ...] = msgspec.structs.astuple(summary)
    if str in map(type, values):
        return tuple(float(v) if type(v) is str and v != "NaN" else v for v in values)
    return values


class _Keys(dict[str, int]):
    """Keys of names in one use; a name that is new in it is written down as soon as it is asked for."""

    def __init__(self, db: sqlite3.Connection, names: dict[str, Known], use: str) -> None:
        self._db = db
        self._names = names
        self._use = use

    def __missing__(self, name: str) -> int:
        known = self._names.get(name) or Known(len(self._names) + 1, False, False, False)
        if not getattr(known, self._use):
            known = self._names[name] = known._replace(**{self._use: True})
            self._db.execute("insert or replace into names values (?, ?, ?, ?, ?)", (name, *known))
        self[name] = known.key
        return known.key


class Rows:
    """Rows to be written, of all tables but `meta`."""

    def __init__(self, db: sqlite3.Connection, names: dict[str, Known]) -> None:
        self._db = db
        self._flags = _Keys(db, names, "is_flag")
        self._params = _Keys(db, names, "is_param")
        self._metrics = _Keys(db, names, "is_metric")
        self._runs: list[tuple[object, ...]] = []
        self._details: list[tuple[object, ...]] = []
        self._tags: list[tuple[str, int]] = []
        self._values: dict[str, list[tuple[int, int, *tuple[object, ...]]]]
        self._values = {"flags": [], "params": [], "metrics": []}
        self._links: list[tuple[str, int, int]] = []
        self._contents: list[tuple[int, int]] = []
        self._data_sets: set[str] = set()

    def add(self, n: int, deleted: bool, touched: int | None, reading: Reading) -> None:
        """Take in a run, which has no rows or whose rows were removed."""
        run = reading.stored.run
        lineage = None if run is None else lineage_of(run)
        self._runs.append(run_row(n, deleted, touched, reading))
        self._details.append(detail_row(n, reading, lineage))
        self._tags += [(tag, n) for tag in set(reading.stored.notes.tags)]
        if run is None:
            return
        flags, params, metrics = self._values.values()
        for name, value in run.flags.items():
            flags.append((self._flags[name], n, *flag_row(value)))
        for name, value in _params_of(run).items():
            params.append((self._params[name], n, *flag_row(value)))
        for name, summary in reading.metrics.items():
            metrics.append((self._metrics[name], n, *metric_row(summary)))
        if lineage is not None:
            self._links += [(earlier, n, kind) for earlier, kind in lineage.links]
            self._contents += [(key, n) for key in lineage.contents]
            self._data_sets.update(lineage.data_sets)

    def insert(self) -> None:
        """Write them, inside a transaction."""
        _insert(self._db, "runs", self._runs)
        _insert(self._db, "details", self._details)
        _insert(self._db, "tags", self._tags)
        # In the order of the table: neighbours go into the same page.
        for table, rows in self._values.items():
            rows.sort(key=_two)
            _insert(self._db, table, rows)
        _insert(self._db, "links", sorted(self._links))
        _insert(self._db, "contents", sorted(self._contents))
        sets = [(digest,) for digest in sorted(self._data_sets)]
        self._db.executemany("insert or ignore into data_sets values (?)", sets)


def _insert(db: sqlite3.Connection, table: str, rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        db.executemany(f"insert into {table} values ({marks})", rows)  # noqa: S608


def _two(row: tuple[int, int, *tuple[object, ...]]) -> tuple[int, int]:
    return row[:2]


def remove_rows(db: sqlite3.Connection, n: int, names: Mapping[str, Known]) -> None:
    """Remove all rows of a run."""
    payload, links, contents = db.execute(
        "select payload, links, contents from details where n = ?", (n,)
    ).fetchone()
    tags, flags, metrics, params = names_in(payload)
    for table, own in (("flags", flags), ("metrics", metrics), ("params", params)):
        db.executemany(
            f"delete from {table} where name = ? and n = ?",  # noqa: S608
            [(names[name].key, n) for name in own],
        )
    lineage = Lineage.unpack(links, contents)
    db.executemany(
        "delete from links where earlier = ? and n = ? and kind = ?",
        [(earlier, n, kind) for earlier, kind in lineage.links],
    )
    db.executemany(
        "delete from contents where content = ? and n = ?", [(key, n) for key in lineage.contents]
    )
    db.executemany("delete from tags where tag = ? and n = ?", [(tag, n) for tag in tags])
    db.execute("delete from details where n = ?", (n,))
    db.execute("delete from runs where n = ?", (n,))


@contextmanager
def writing(db: sqlite3.Connection) -> Iterator[None]:
    """Write all of what is written inside, or nothing."""
    db.execute("begin immediate")
    try:
        yield
        db.execute("commit")
    except BaseException:
        if db.in_transaction:
            db.execute("rollback")
        raise


def prepare_tables(db: sqlite3.Connection) -> None:
    """Make the tables, in place of those of another version."""
    if db.execute("pragma user_version").fetchone()[0] == SCHEMA_VERSION:
        return
    with writing(db):
        if db.execute("pragma user_version").fetchone()[0] == SCHEMA_VERSION:
            return
        for (name,) in db.execute("select name from sqlite_master where type = 'table'").fetchall():
            db.execute(f'drop table "{name}"')
        for statement in _SCHEMA.split(";")[:-1]:
            db.execute(statement)
        db.execute(f"pragma user_version = {SCHEMA_VERSION}")


def define_functions(db: sqlite3.Connection) -> None:
    """Define what filters need and SQLite does not have."""

    def matches(pattern: str, text: str) -> bool:
        return re.search(pattern, text) is not None

    def has_element(text: str, wanted: str) -> bool:
        value = flag_from_json(msgspec.json.decode(text))
        return any(wanted == flag_row(item)[2] for item in value)  # type: ignore[union-attr]

    db.create_function("matches", 2, matches, deterministic=True)
    db.create_function("has_element", 2, has_element, deterministic=True)
