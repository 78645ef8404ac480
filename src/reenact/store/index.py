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

import gc
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple, Self, TypeVar

import msgspec

from reenact.errors import NotFound, ReenactError
from reenact.model.identity import RunId
from reenact.model.metrics import Summary
from reenact.model.run import Status
from reenact.store.columns import IndexedRun, Sort, microseconds
from reenact.store.index_questions import order_by, rows_where
from reenact.store.index_rows import (
    SCHEMA_VERSION,
    Reading,
    Rows,
    define_functions,
    prepare_tables,
    remove_rows,
    unpack_run,
    writing,
)
from reenact.store.lock import Lock, SharedLock, is_locked
from reenact.store.metric_log import MetricLog
from reenact.store.query import (
    Filter,
    Known,
)
from reenact.store.store import RECORD_DIRECTORY, Store

CHECK_ALL = 20_000
"""Up to so many runs, the files of all are looked at before each answer."""

_BUSY_S = 5.0
_BATCH = 500
_ADDED = 5000
"""So many new runs are written at once: their contents, in no order, go into pages all over a table."""
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
            where = rows_where(filter_, project, deleted, self._names)
            joins, order = order_by(sort, self._names)
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

        return self.ask(answer, deleted=deleted)

    def count(
        self, filter_: Filter | None = None, *, project: str | None = None, deleted: bool = False
    ) -> int:
        """Return how many runs a filter means."""

        def answer(db: sqlite3.Connection) -> int:
            where = rows_where(filter_, project, deleted, self._names)
            text = f"select count(*) from runs r where {where.text}"  # noqa: S608
            return int(db.execute(text, where.parameters).fetchone()[0])

        return self.ask(answer, deleted=deleted)

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

        return self.ask(answer, deleted=deleted)

    def match_prefix(self, prefix: str, *, deleted: bool = False) -> list[RunId]:
        """Return the ids that begin with `prefix`, in order."""

        def answer(db: sqlite3.Connection) -> list[RunId]:
            found = db.execute(
                "select id from runs where deleted = ? and id >= ? and id < ? order by id",
                (deleted, prefix, prefix + "g"),
            )
            return [RunId(run_id) for (run_id,) in found]

        return self.ask(answer, deleted=deleted)

    def names(self) -> tuple[list[str], list[str]]:
        """Return the names of flags and of metrics that runs have or once had, each in order."""

        def answer(db: sqlite3.Connection) -> tuple[list[str], list[str]]:
            known = db.execute(
                "select name, is_flag, is_metric from names order by name"
            ).fetchall()
            return [row[0] for row in known if row[1]], [row[0] for row in known if row[2]]

        return self.ask(answer)

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

    def ask(
        self, answer: Callable[[sqlite3.Connection], _Result], *, deleted: bool = False
    ) -> _Result:
        """Answer a question by SQL; see `index_rows` for the tables.

        Args:
            answer: given the database, which is up to date; it may be called again if that fails.
            deleted: the trash is to be up to date, too.
        """

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
        added: frozenset[RunId] = frozenset()
        key = "trash" if deleted else "runs"
        seen = db.execute("select value from meta where key = ?", (key,)).fetchone()
        if stamp is None or seen is None or seen[0] != stamp:
            present = set(store.run_ids(deleted=deleted))
            known = {i for (i,) in db.execute("select id from runs where deleted = ?", (deleted,))}
            added = frozenset(present - known)
            self._add(db, sorted(added), deleted)
            # What came back meanwhile is read again.
            gone = [_Change(RunId(run_id), None, None) for run_id in known - present]
            if gone or seen is None or seen[0] != (stamp or ""):
                with writing(db):
                    self._write(db, gone, deleted)
                    db.execute("insert or replace into meta values (?, ?)", (key, stamp or ""))
        self._take_over(db, self._suspects(db, directory, deleted, added), deleted)
        self._fresh.add(deleted)

    def _add(self, db: sqlite3.Connection, run_ids: list[RunId], deleted: bool) -> None:
        with _without_collection():
            for start in range(0, len(run_ids), _ADDED):
                batch = run_ids[start : start + _ADDED]
                # Another process may be doing the same just now.
                done = self._rows_of(db, batch, deleted)
                new = [(run_id, None) for run_id in batch if run_id not in done]
                self._take_over(db, new, deleted)

    def _take_over(
        self, db: sqlite3.Connection, stale: Iterable[tuple[RunId, _Stamp | None]], deleted: bool
    ) -> None:
        changes = [_Change(i, before, self._read(i, deleted)) for i, before in stale]
        if changes:
            with writing(db):
                self._write(db, changes, deleted)

    def _suspects(
        self,
        db: sqlite3.Connection,
        directory: str,
        deleted: bool,
        added: frozenset[RunId],
    ) -> Iterator[tuple[RunId, _Stamp | None]]:
        """Find the rows that are not what the files say; correct the status of the unfinished.

        Those of finished runs that were just `added` are taken to be.
        """
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
            yield from self._changed([row for row in finished if row[0] not in added], directory)

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
        rows = Rows(db, self._names)
        last = db.execute("select max(n) from runs").fetchone()[0] or 0
        listed = list(changes)
        known = self._rows_of(db, [change.id for change in listed], deleted)
        for run_id, before, reading in listed:
            found = known.get(run_id)
            stamp = found[:3] if found else None
            if is_update or stamp != before:
                reading = self._read(run_id, deleted)
            if found:
                n = found[3]
                remove_rows(db, n, self._names)
            elif reading is None:
                continue
            else:
                last = n = last + 1
            if reading is None:
                continue
            touched = None
            if stamp and stamp[2] and not is_update and time.time_ns() - stamp[2] < _TOUCHED_NS:
                touched = stamp[2]
            rows.add(n, deleted, touched, reading)
        rows.insert()

    def _rows_of(
        self, db: sqlite3.Connection, run_ids: list[RunId], deleted: bool
    ) -> dict[RunId, tuple[int | None, int | None, int | None, int]]:
        """Return what the rows of runs say of their files, with the numbers of the rows."""
        found = {}
        for start in range(0, len(run_ids), _BATCH):
            batch = run_ids[start : start + _BATCH]
            text = (
                "select id, record, notes, touched, n from runs"  # noqa: S608
                f" where deleted = ? and id in ({_marks(len(batch))})"
            )
            for run_id, *row in db.execute(text, (deleted, *batch)):
                found[run_id] = tuple(row)
        return found

    def _learn_names(self, db: sqlite3.Connection) -> None:
        found = db.execute("select name, key, is_flag, is_metric, is_param from names")
        self._names = {name: Known(key, bool(f), bool(m), bool(p)) for name, key, f, m, p in found}

    # --- answers ---

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


def tell_index(store: Store, run_id: RunId) -> None:
    """Let the index take over what the files of a run say now, if it can.

    It is a cache: otherwise the next command that reads it sees this run.
    """
    with suppress(ReenactError), Index(store) as index:
        index.update(run_id)


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


@contextmanager
def _without_collection() -> Iterator[None]:
    """Do without the garbage collector, which finds nothing in many thousands of rows."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


# --- the database ---


def _marks(count: int) -> str:
    return ", ".join("?" * count)
