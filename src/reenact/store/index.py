"""The index: an SQLite cache of what listing, filtering and sorting need of every run.

Promised: answers are those of the files in the run directories, whatever happened to the cache. It
may be deleted, cut short, overwritten or locked at any time; then it is made anew, or in memory
where it cannot be written. New and removed runs are seen at once, so is every change of an
unfinished run, and any change of a record or of notes in a store of up to `CHECK_ALL` runs.
Not promised: in a larger store, a record of a finished run that was changed without `touch` counts
with its old values until it is among the runs that are returned. Bytes that change inside the
database and leave it well-formed are not noticed. One Index is for one thread.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, Self, TypeVar

import msgspec

from reenact.errors import NotFound, ReenactError
from reenact.model.identity import RunId
from reenact.model.metrics import Summary
from reenact.model.paths import printable
from reenact.model.run import Status
from reenact.store.columns import IndexedRun, Kind, Sort, microseconds
from reenact.store.index_rows import (
    SCHEMA_VERSION,
    Reading,
    define_functions,
    detail_row,
    flag_row,
    metric_row,
    names_in,
    prepare_tables,
    run_row,
    unpack_run,
    writing,
)
from reenact.store.lock import Lock, SharedLock, is_locked
from reenact.store.metric_log import MetricLog
from reenact.store.query import (
    Filter,
    Known,
    Sql,
    compile_filter,
    metric_column,
)
from reenact.store.store import RECORD_DIRECTORY, Store

CHECK_ALL = 20_000
"""Up to so many runs, the files of all are looked at before each answer."""

_BUSY_S = 5.0
_BATCH = 500
_PAGE_BYTES = 4096
_ROUNDS = 3
_RACY_NS = 2_000_000_000
"""Files changed so recently may change again without a new time: clocks of file systems are coarse."""
_TOUCHED_NS = 60_000_000_000
"""How long a writer that called `touch` may take until its files are changed."""

_BUSY = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_PERM,
)
_Result = TypeVar("_Result")


_Stamp = tuple[int | None, int | None, int | None]
"""What a row says of its files: `record`, `notes`, `touched`."""


class _Change(NamedTuple):
    """A run whose row may have to change; `before` is what the row said when we looked."""

    id: RunId
    before: _Stamp | None
    reading: Reading | None


class Index:
    """The index of one store, opened with the first question and up to date with it.

    A later question on the same object is answered from the state of the last `refresh`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._connection: sqlite3.Connection | None = None
        self._stack = ExitStack()
        self._inode: int | None = None
        self._place = "file"
        self._fresh: set[bool] = set()
        self._names: dict[str, Known] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the database; a later question opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._stack.close()
        self._fresh.clear()
        self._place = "file"

    # --- questions ---

    def refresh(self, *, deleted: bool = False) -> None:
        """Bring the index up to date with the run directories (with the trash if `deleted`)."""
        if self._place == "file" and self._connection is not None and self._is_replaced():
            self.close()
        self._guarded(lambda db: self._refresh(db, deleted))

    def query(
        self,
        filter_: Filter | None = None,
        *,
        project: str | None = None,
        deleted: bool = False,
        sort: Sequence[Sort] = (),
        limit: int | None = None,
        offset: int = 0,
    ) -> list[IndexedRun]:
        """Return the runs that a filter means, the newest first unless sorted otherwise.

        Args:
            filter_: which runs; None for all.
            project: id of the project to look in; damaged runs belong to every one.
            deleted: look in the trash instead.
            sort: by what; equals stand with the newest first.
            limit: how many at most.
            offset: how many to leave out at the beginning.
        """

        def answer(db: sqlite3.Connection) -> list[IndexedRun]:
            where = self._where(filter_, project, deleted)
            joins, order = self._order(sort)
            text = (
                "select r.n, r.id, r.record, r.notes, r.touched, r.is_final"  # noqa: S608
                f" from runs r {joins.text} where {where.text}"
                f" order by {order} r.position desc, r.id limit ? offset ?"
            )
            bound = (*joins.parameters, *where.parameters, -1 if limit is None else limit, offset)
            for _ in range(_ROUNDS):
                found = db.execute(text, bound).fetchall()
                if not self._recheck(db, found, deleted):
                    break
            return self._load(db, [row[0] for row in found])

        return self._asked(answer, deleted)

    def count(
        self, filter_: Filter | None = None, *, project: str | None = None, deleted: bool = False
    ) -> int:
        """Return how many runs a filter means."""

        def answer(db: sqlite3.Connection) -> int:
            where = self._where(filter_, project, deleted)
            text = f"select count(*) from runs r where {where.text}"  # noqa: S608
            return int(db.execute(text, where.parameters).fetchone()[0])

        return self._asked(answer, deleted)

    def get(self, run_id: RunId, *, deleted: bool = False) -> IndexedRun | None:
        """Return one run; None where it is not."""

        def answer(db: sqlite3.Connection) -> IndexedRun | None:
            for _ in range(_ROUNDS):
                found = db.execute(
                    "select n, id, record, notes, touched, is_final from runs"
                    " where deleted = ? and id = ?",
                    (deleted, run_id),
                ).fetchall()
                if not self._recheck(db, found, deleted):
                    break
            return next(iter(self._load(db, [row[0] for row in found])), None)

        return self._asked(answer, deleted)

    def match_prefix(self, prefix: str, *, deleted: bool = False) -> list[RunId]:
        """Return the ids that begin with `prefix`, in order."""

        def answer(db: sqlite3.Connection) -> list[RunId]:
            found = db.execute(
                "select id from runs where deleted = ? and id >= ? and id < ? order by id",
                (deleted, prefix, prefix + "g"),
            )
            return [RunId(run_id) for (run_id,) in found]

        return self._asked(answer, deleted)

    def names(self) -> tuple[list[str], list[str]]:
        """Return the names of flags and of metrics that runs have or once had, each in order."""

        def answer(db: sqlite3.Connection) -> tuple[list[str], list[str]]:
            known = db.execute(
                "select name, is_flag, is_metric from names order by name"
            ).fetchall()
            return [row[0] for row in known if row[1]], [row[0] for row in known if row[2]]

        return self._asked(answer, False)

    # --- writers ---

    def touch(self, run_id: RunId) -> None:
        """Say that the files of a run are about to change; `update` says that they have.

        Needed by whoever changes the notes or the record of a finished run. Without an index it
        does nothing.
        """
        if os.path.exists(self._store.index_path):
            self._guarded(
                lambda db: db.execute(
                    "update runs set touched = ? where deleted = 0 and id = ?",
                    (time.time_ns(), run_id),
                )
            )

    def update(self, run_id: RunId) -> None:
        """Take over what the files of a run say now."""

        def take_over(db: sqlite3.Connection) -> None:
            with writing(db):
                self._write(db, [_Change(run_id, None, None)], False, is_update=True)

        if os.path.exists(self._store.index_path):
            self._guarded(take_over)

    # --- the database ---

    def _asked(self, answer: Callable[[sqlite3.Connection], _Result], deleted: bool) -> _Result:
        def refreshed(db: sqlite3.Connection) -> _Result:
            if deleted not in self._fresh:
                self._refresh(db, deleted)
            return answer(db)

        return self._guarded(refreshed)

    def _guarded(self, action: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Do something with the database; when that fails, do it with a better one."""
        failures = 0
        while True:
            try:
                return action(self._connect())
            except (sqlite3.Error, msgspec.DecodeError) as error:
                if self._place == "memory":
                    raise
                failures += 1
                code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
                place = self._place
                self.close()
                if place == "file" and code in _BUSY:
                    self._place = "copy"
                elif place == "copy" or failures > 1 or not self._discard():
                    self._place = "memory"

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self._names.clear()
            if self._place == "file":
                self._connection = self._open_file()
            else:
                self._connection = sqlite3.connect(":memory:", isolation_level=None)
                if self._place == "copy":
                    self._copy_into(self._connection)
            define_functions(self._connection)
            prepare_tables(self._connection)
        return self._connection

    def _open_file(self) -> sqlite3.Connection:
        path = self._store.index_path
        try:
            if os.path.isdir(self._store.root):
                os.makedirs(self._store.cache_directory, exist_ok=True)
            # Held while the database is open, so that nobody deletes it under our hands.
            guard = self._stack.enter_context(SharedLock(self._guard_path))
        except OSError as error:
            refusal = sqlite3.OperationalError(str(error))
            refusal.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise refusal from error
        if not guard.has_system_lock:
            # SQLite would wait for a lock that it can never have.
            refusal = sqlite3.OperationalError("the file system has no locks")
            refusal.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise refusal
        if os.path.exists(path) and os.path.getsize(path) % _PAGE_BYTES:
            # SQLite would take the end of a torn page for zeros, and its rows for absent.
            raise sqlite3.DatabaseError("the index ends within a page")
        connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        self._stack.callback(connection.close)
        connection.execute(f"pragma page_size = {_PAGE_BYTES}")
        connection.execute("pragma synchronous = normal")
        connection.execute("pragma cache_size = -65536")
        connection.execute("pragma wal_autocheckpoint = 8000")
        if connection.execute("pragma journal_mode").fetchone()[0] != "wal":
            try:
                connection.execute("pragma journal_mode = wal")
            except sqlite3.OperationalError:
                # Another process has it open already; the next one to come will set it.
                pass
        self._inode = os.stat(path).st_ino
        return connection

    def _copy_into(self, connection: sqlite3.Connection) -> None:
        path = self._store.index_path
        quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        # A database in a directory that cannot be written opens only if told that nobody else
        # writes to it, which is so when its last user left no log behind.
        modes = ["mode=ro"] if os.path.exists(f"{path}-wal") else ["mode=ro", "immutable=1"]
        for mode in modes:
            try:
                source = sqlite3.connect(f"file:{quoted}?{mode}", uri=True, timeout=1.0)
                try:
                    if source.execute("pragma user_version").fetchone()[0] == SCHEMA_VERSION:
                        source.backup(connection)
                        return
                finally:
                    source.close()
            except (sqlite3.Error, ValueError):
                continue

    def _discard(self) -> bool:
        """Delete the database, unless another process has it open."""
        lock = Lock(self._guard_path)
        try:
            if not lock.acquire():
                return False
            for ending in ("-wal", "-shm", ""):
                try:
                    os.unlink(self._store.index_path + ending)
                except FileNotFoundError:
                    pass
        except OSError:
            return False
        else:
            return True
        finally:
            lock.release()

    @property
    def _guard_path(self) -> str:
        return f"{self._store.cache_directory}/index.lock"

    def _is_replaced(self) -> bool:
        try:
            return os.stat(self._store.index_path).st_ino != self._inode
        except OSError:
            return True

    # --- keeping up ---

    def _refresh(self, db: sqlite3.Connection, deleted: bool) -> None:
        self._learn_names(db)
        store = self._store
        directory = store.trash_directory if deleted else store.runs_directory
        stamp = _directory_stamp(directory)
        key = "trash" if deleted else "runs"
        seen = db.execute("select value from meta where key = ?", (key,)).fetchone()
        if stamp is None or seen is None or seen[0] != stamp:
            present = set(store.run_ids(deleted=deleted))
            known = {i for (i,) in db.execute("select id from runs where deleted = ?", (deleted,))}
            self._add(db, sorted(present - known), deleted)
            # What came back meanwhile is read again.
            gone = [_Change(RunId(run_id), None, None) for run_id in known - present]
            if gone or seen is None or seen[0] != (stamp or ""):
                with writing(db):
                    self._write(db, gone, deleted)
                    db.execute("insert or replace into meta values (?, ?)", (key, stamp or ""))
        self._take_over(db, self._suspects(db, directory, deleted), deleted)
        self._fresh.add(deleted)

    def _add(self, db: sqlite3.Connection, run_ids: list[RunId], deleted: bool) -> None:
        for start in range(0, len(run_ids), _BATCH):
            batch = run_ids[start : start + _BATCH]
            text = f"select id from runs where deleted = ? and id in ({_marks(len(batch))})"  # noqa: S608
            # Another process may be doing the same just now.
            done = {run_id for (run_id,) in db.execute(text, (deleted, *batch))}
            self._take_over(db, [(run_id, None) for run_id in batch if run_id not in done], deleted)

    def _take_over(
        self, db: sqlite3.Connection, stale: Iterable[tuple[RunId, _Stamp | None]], deleted: bool
    ) -> None:
        changes = [_Change(i, before, self._read(i, deleted)) for i, before in stale]
        if changes:
            with writing(db):
                self._write(db, changes, deleted)

    def _suspects(
        self, db: sqlite3.Connection, directory: str, deleted: bool
    ) -> Iterator[tuple[RunId, _Stamp | None]]:
        """Find the rows that are not what the files say; correct the status of the unfinished."""
        total = db.execute("select count(*) from runs where deleted = ?", (deleted,)).fetchone()[0]
        statuses = []
        for run_id, record, notes, touched, status, started, staged in db.execute(
            "select id, record, notes, touched, status, started, staged from runs"
            " where deleted = ? and (is_final = 0 or touched is not null)",
            (deleted,),
        ).fetchall():
            before = (record, notes, touched)
            path = f"{directory}/{run_id}/{RECORD_DIRECTORY}"
            # In this order: a run that ends in between is then read again, never called killed.
            locked = is_locked(f"{path}/lock")
            if touched is not None or record is None or _open_stamp(path) != record:
                yield run_id, before
            elif status != Status.DAMAGED:
                now = _open_status(
                    is_started=started is not None, is_locked=locked, is_staged=bool(staged)
                )
                if now != status:
                    statuses.append((now.value, deleted, run_id, record))
        if statuses:
            with writing(db):
                db.executemany(
                    "update runs set status = ? where deleted = ? and id = ? and record = ?",
                    statuses,
                )
        if total <= CHECK_ALL:
            finished = db.execute(
                "select id, record, notes from runs"
                " where deleted = ? and is_final = 1 and touched is null",
                (deleted,),
            ).fetchall()
            yield from self._changed(finished, directory)

    def _changed(
        self, finished: Sequence[tuple[RunId, int | None, int | None]], directory: str
    ) -> Iterator[tuple[RunId, _Stamp | None]]:
        try:
            # Paths relative to an open directory are found in two thirds of the time.
            at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return
        stat, access, here = os.stat, os.access, os.F_OK
        try:
            for run_id, record, notes in finished:
                path = f"{run_id}/{RECORD_DIRECTORY}/"
                try:
                    now = stat(path + "run.json", dir_fd=at)
                    is_same = hash((now.st_mtime_ns, now.st_size, now.st_ino)) == record
                    if is_same and notes is not None:
                        now = stat(path + "notes.json", dir_fd=at)
                        is_same = hash((now.st_mtime_ns, now.st_size, now.st_ino)) == notes
                    elif is_same:
                        is_same = not access(path + "notes.json", here, dir_fd=at)
                except OSError:
                    is_same = False
                if not is_same:
                    yield run_id, (record, notes, None)
        finally:
            os.close(at)

    def _recheck(
        self, db: sqlite3.Connection, found: Sequence[tuple[Any, ...]], deleted: bool
    ) -> bool:
        """Look at the files of runs that are about to be returned; tell whether some changed."""
        total = db.execute("select count(*) from runs where deleted = ?", (deleted,)).fetchone()[0]
        if total <= CHECK_ALL:
            return False
        directory = self._store.trash_directory if deleted else self._store.runs_directory
        finished = [(row[1], row[2], row[3]) for row in found if row[5] and row[4] is None]
        stale = list(self._changed(finished, directory))
        self._take_over(db, stale, deleted)
        return bool(stale)

    def _read(self, run_id: RunId, deleted: bool) -> Reading | None:
        path = f"{self._store.directory(run_id, deleted=deleted)}/{RECORD_DIRECTORY}"
        record, changed_ns = _file_stamp(f"{path}/run.json")
        has_notes = os.access(f"{path}/notes.json", os.F_OK)
        notes = _file_stamp(f"{path}/notes.json")[0] if has_notes else None
        try:
            stored = self._store.read_run(run_id, deleted=deleted)
            if stored.run is not None and stored.run.exit is not None:
                position = microseconds(stored.run.created)
                return Reading(stored, stored.run.metrics, record, notes, position, True)
            open_stamp = _open_stamp(path)
            stored = self._store.read_run(run_id, deleted=deleted)
        except NotFound:
            return None
        position = changed_ns // 1000
        metrics: dict[str, Summary] = {}
        if stored.run is not None:
            position = microseconds(stored.run.created)
            metrics = stored.run.metrics
            if stored.run.exit is not None:
                # It ended just now: without a stamp it will be read once more.
                return Reading(stored, metrics, None, None, position, False)
            try:
                metrics = MetricLog(path).summarize().summaries() or metrics
            except (OSError, ReenactError):
                pass  # Those of the record have to do.
        return Reading(stored, metrics, open_stamp, None, position, False)

    # --- rows ---

    def _write(
        self,
        db: sqlite3.Connection,
        changes: Iterable[_Change],
        deleted: bool,
        *,
        is_update: bool = False,
    ) -> None:
        """Replace rows, inside a transaction. Whoever was overtaken by another reads again."""
        self._learn_names(db)
        all_rows: list[tuple[object, ...]] = []
        details: list[tuple[object, ...]] = []
        tags: list[tuple[str, int]] = []
        flags: list[tuple[int, int, *tuple[object, ...]]] = []
        params: list[tuple[int, int, *tuple[object, ...]]] = []
        metrics: list[tuple[int, int, *tuple[object, ...]]] = []
        last = db.execute("select max(n) from runs").fetchone()[0] or 0
        for run_id, before, reading in changes:
            found = db.execute(
                "select record, notes, touched, n from runs where deleted = ? and id = ?",
                (deleted, run_id),
            ).fetchone()
            stamp = found[:3] if found else None
            if is_update or stamp != before:
                reading = self._read(run_id, deleted)
            if reading is None and not found:
                continue
            if found:
                n = found[3]
                self._remove(db, n)
            else:
                last = n = last + 1
            if reading is None:
                continue
            touched = None
            if stamp and stamp[2] and not is_update and time.time_ns() - stamp[2] < _TOUCHED_NS:
                touched = stamp[2]
            all_rows.append(run_row(n, deleted, touched, reading))
            details.append(detail_row(n, reading))
            tags += [(tag, n) for tag in set(reading.stored.notes.tags)]
            if reading.stored.run is not None:
                for name, value in reading.stored.run.flags.items():
                    flags.append((self._name(db, name, "is_flag"), n, *flag_row(value)))
                for name, value in reading.stored.run.params.items():
                    params.append((self._name(db, name, "is_param"), n, *flag_row(value)))
                for name, summary in reading.metrics.items():
                    key = self._name(db, name, "is_metric")
                    metrics.append((key, n, *metric_row(summary)))
        # In the order of the table: neighbours go into the same page.
        flags.sort(key=_two)
        params.sort(key=_two)
        metrics.sort(key=_two)
        db.executemany(f"insert into runs values ({_marks(26)})", all_rows)  # noqa: S608
        db.executemany(f"insert into details values ({_marks(7)})", details)  # noqa: S608
        db.executemany("insert into tags values (?, ?)", tags)
        db.executemany(f"insert into flags values ({_marks(5)})", flags)  # noqa: S608
        db.executemany(f"insert into params values ({_marks(5)})", params)  # noqa: S608
        db.executemany(f"insert into metrics values ({_marks(13)})", metrics)  # noqa: S608

    def _remove(self, db: sqlite3.Connection, n: int) -> None:
        (payload,) = db.execute("select payload from details where n = ?", (n,)).fetchone()
        tags, flags, metrics, params = names_in(payload)
        for table, names in (("flags", flags), ("metrics", metrics), ("params", params)):
            db.executemany(
                f"delete from {table} where name = ? and n = ?",  # noqa: S608
                [(self._names[name].key, n) for name in names],
            )
        db.executemany("delete from tags where tag = ? and n = ?", [(tag, n) for tag in tags])
        db.execute("delete from details where n = ?", (n,))
        db.execute("delete from runs where n = ?", (n,))

    def _learn_names(self, db: sqlite3.Connection) -> None:
        found = db.execute("select name, key, is_flag, is_metric, is_param from names")
        self._names = {name: Known(key, bool(f), bool(m), bool(p)) for name, key, f, m, p in found}

    def _name(self, db: sqlite3.Connection, name: str, use: str) -> int:
        known = self._names.get(name)
        if known is None:
            known = Known(len(self._names) + 1, False, False, False)
        if not getattr(known, use):
            known = self._names[name] = known._replace(**{use: True})
            db.execute("insert or replace into names values (?, ?, ?, ?, ?)", (name, *known))
        return known.key

    # --- SQL of questions ---

    def _where(self, filter_: Filter | None, project: str | None, deleted: bool) -> Sql:
        text = "r.deleted = ?"
        parameters: tuple[object, ...] = (deleted,)
        if project is not None:
            text += " and (r.project = ? or r.project is null)"
            parameters += (project,)
        if filter_ is not None:
            condition = compile_filter(filter_, self._names.get)
            text += f" and {condition.text}"
            parameters += condition.parameters
        # An argument of the command line that is not UTF-8 cannot be bound; nothing equals it.
        clean = (printable(p) if isinstance(p, str) else p for p in parameters)
        return Sql(text, tuple(clean))

    def _order(self, sort: Sequence[Sort]) -> tuple[Sql, str]:
        """Return joins and the terms to order by: first those with a value, then NaN, then none."""
        joins = ["left join details d on d.n = r.n"]
        keys: list[int] = []
        terms = []
        for number, (operand, is_descending) in enumerate(
            (s.operand, s.is_descending) for s in sort
        ):
            known = self._names.get(operand.name)
            parts = []
            if operand.kind is Kind.ATTRIBUTE:
                value = _SORTED_BY.get(operand.name) or f"r.{operand.name}"
                parts.append(("1", f"{value} is null", value))
            elif known is not None:
                if known.is_flag and operand.kind in (Kind.ANY, Kind.FLAG):
                    joins.append(_join_values("flags", flag := f"f{number}"))
                    keys.append(known.key)
                    parts.append(_order_of_values(flag))
                if known.is_metric and operand.kind in (Kind.ANY, Kind.METRIC):
                    metric = f"m{number}"
                    joins.append(
                        f"left join metrics {metric} on {metric}.name = ? and {metric}.n = r.n"
                    )
                    keys.append(known.key)
                    column = f"{metric}.{metric_column(operand)}"
                    rank = f"case typeof({column}) when 'null' then 2 when 'text' then 1 else 0 end"
                    parts.append((f"{metric}.n is not null", rank, column))
                if known.is_param and operand.kind in (Kind.ANY, Kind.PARAM):
                    joins.append(_join_values("params", param := f"p{number}"))
                    keys.append(known.key)
                    parts.append(_order_of_values(param))
            if parts:
                ranks = " ".join(f"when {there} then {rank}" for there, rank, _ in parts)
                values = " ".join(f"when {there} then {value}" for there, _, value in parts)
                direction = " desc" if is_descending else ""
                terms.append(f"case {ranks} else 2 end, case {values} end{direction}, ")
        return Sql(" ".join(joins), tuple(keys)), "".join(terms)

    def _load(self, db: sqlite3.Connection, numbers: list[int]) -> list[IndexedRun]:
        found = {}
        for start in range(0, len(numbers), _BATCH):
            batch = numbers[start : start + _BATCH]
            text = (
                "select r.n, r.status, d.payload from runs r join details d on d.n = r.n"  # noqa: S608
                f" where r.n in ({_marks(len(batch))})"
            )
            for n, status, payload in db.execute(text, batch):
                found[n] = unpack_run(payload, status)
        return [found[n] for n in numbers]


def _join_values(table: str, alias: str) -> str:
    return f"left join {table} {alias} on {alias}.name = ? and {alias}.n = r.n"


def _order_of_values(alias: str) -> tuple[str, str, str]:
    """Return for rows like those of `flags`: if there is one, its rank, its value."""
    return (
        f"{alias}.n is not null",
        f"case {alias}.kind when 0 then 2 when 3 then 1 else 0 end",
        f"iif({alias}.kind in (0, 3), null, coalesce({alias}.number, {alias}.text))",
    )


_SORTED_BY = {
    "part": "iif(r.part glob '[0-9]*', cast(r.part as integer), r.part)",
    "tag": "nullif(r.tags, '')",
    "project": "r.project_name",
    "comment": "d.comment",
    "command": "d.command",
    "commit": "d.commit_id",
    "dirty": "d.dirty",
    "source": "d.source",
}


# --- states of files ---


def _file_stamp(path: str) -> tuple[int | None, int]:
    """Return what changes with a file, and when it was changed; None and 0 without a file."""
    try:
        now = os.stat(path)
    except OSError:
        return None, 0
    # Hashes of numbers, unlike those of text, are the same in every process.
    return hash((now.st_mtime_ns, now.st_size, now.st_ino)), now.st_mtime_ns


def _open_stamp(path: str) -> int | None:
    """Return what changes with any file in a run's `.reenact`."""
    try:
        with os.scandir(path) as entries:
            stats = [entry.stat(follow_symlinks=False) for entry in entries]
    except OSError:
        return 0
    return hash(tuple(sorted((s.st_ino, s.st_mtime_ns, s.st_size) for s in stats)))


def _directory_stamp(path: str) -> str | None:
    """Return what changes with the entries of a directory; None if that is not to be trusted."""
    try:
        now = os.stat(path)
    except OSError:
        return "absent"
    age = time.time_ns() - now.st_mtime_ns
    return f"{now.st_mtime_ns}:{now.st_ino}" if age > _RACY_NS else None


def _open_status(*, is_started: bool, is_locked: bool, is_staged: bool) -> Status:
    """Return what `Run.status` says of a run without an end."""
    if not is_locked:
        return Status.STAGED if is_staged else Status.KILLED
    return Status.RUNNING if is_started else Status.PENDING


# --- the database ---


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _two(row: tuple[int, int, *tuple[object, ...]]) -> tuple[int, int]:
    return row[:2]
