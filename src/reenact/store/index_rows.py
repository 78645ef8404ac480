"""The tables of the index, and how a run becomes rows in them and comes back."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

import msgspec

from reenact.model.flags import FlagValue
from reenact.model.identity import RunId
from reenact.model.metrics import Summary
from reenact.model.record import flag_from_json, flag_to_json, to_json
from reenact.model.run import Batch, Exit, OperationKind, Status
from reenact.store.columns import IndexedRun, microseconds, sql_number
from reenact.store.query import FLAG_KINDS
from reenact.store.store import StoredRun

SCHEMA_VERSION = 4
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
    payload blob);
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
    stem = name
    if run.operation.kind is OperationKind.SCRIPT:
        stem = os.path.splitext(os.path.basename(name))[0]
    return (
        *head, run.project.id, run.project.name, name, stem, status.value, notes.label,
        notes.marked, tags, microseconds(run.created),
        None if run.started is None else microseconds(run.started),
        None if run.ended is None else microseconds(run.ended),
        run.duration_s, None if run.exit is None else run.exit.shell_status,
        run.parent, run.part, run.operation.kind.value, run.is_staged, run.variant,
    )  # fmt: skip


def detail_row(n: int, reading: Reading) -> tuple[object, ...]:
    """Return a row of `details`."""
    run_id, _, status, run, notes, damage = reading.stored
    if run is None:
        empty = IndexedRun(run_id, status, None, None, None, notes.label, notes.tags, notes.comment,
                           notes.marked, None, None, None, None, {}, (), {}, {}, (), None, None,
                           None, damage)  # fmt: skip
        return (n, notes.comment, None, None, None, None, _pack_run(empty))
    vcs = run.source.vcs if run.source else None
    commit, is_dirty = (vcs.commit, vcs.is_dirty) if vcs else (None, None)
    tree = run.source.tree if run.source else None
    indexed = IndexedRun(
        run_id, status, run.operation.name, run.project.id, run.project.name, notes.label,
        notes.tags, notes.comment, notes.marked, run.created, run.started, run.ended, run.exit,
        run.flags, run.given, reading.metrics, run.params, run.command, commit, is_dirty, tree, damage,
        run.parent, run.part, run.operation.kind.value, run.batch,
        run.staged if run.is_staged else None, notes.priority, run.variant,
    )  # fmt: skip
    command = indexed.command_text
    return (n, notes.comment, command, commit, is_dirty, tree, _pack_run(indexed))


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
    if any(type(value) is str for value in values):
        return tuple(float(v) if type(v) is str and v != "NaN" else v for v in values)
    return values


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
