"""A store: the directory that holds runs and blobs. See `docs/reference/format.md`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

import msgspec

from reenact.errors import Damaged, NotFound, ReenactError, StoreUnusable, TooNew
from reenact.model.identity import RunId, is_run_id
from reenact.model.record import decode_notes, decode_run, encode_notes, encode_run
from reenact.model.run import Notes, Run, Status
from reenact.store.blobs import Blobs
from reenact.store.files import read_file, remove_if_there, store_errors, write_atomically
from reenact.store.lock import Lock, SharedLock, is_locked

STORE_FORMAT = 1
MARKER = "store.json"
RECORD_DIRECTORY = ".reenact"
STOP_MARKER = "stop"
"""Name of the file in `.reenact/` by which `stop` says that it is the one who asks."""


class _Marker(msgspec.Struct):
    format: int


class StoredRun(NamedTuple):
    """A run as it is in a store now.

    `run` is None when the record is damaged; `damage` then says how.
    """

    id: RunId
    directory: str
    status: Status
    run: Run | None
    notes: Notes
    damage: str | None = None

    @property
    def record(self) -> Run:
        """The record; raises Damaged, or TooNew, where there is none that can be read."""
        if self.run is None:
            self._refuse_newer()
            raise Damaged(
                self.damage or f"run {self.id[:8]} is damaged",
                hint="`reenact fsck` lists what is wrong in the store",
            )
        return self.run

    def _refuse_newer(self) -> None:
        """Raise TooNew where a later version has written the record: nothing is wrong in the store."""
        with suppress(OSError, Damaged):
            path = f"{self.directory}/{RECORD_DIRECTORY}/run.json"
            decode_run(read_file(path), where=f"run {self.id[:8]}")


class Store:
    """One store on disk. Cheap to build; nothing is read or created before it is needed."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.runs_directory = f"{root}/runs"
        self.trash_directory = f"{root}/trash"
        self.cache_directory = f"{root}/cache"
        self.index_path = f"{root}/index.db"
        self.blobs = Blobs(f"{root}/blobs")

    def create(self) -> None:
        """Make the store's directories, unless they are there.

        Raises:
            StoreUnusable: the system refuses.
            TooNew: a later version made it.
        """
        with store_errors(self.root):
            try:
                self.check_format()
            except NotFound:
                for directory in (self.runs_directory, self.blobs.root, self.cache_directory):
                    os.makedirs(directory, exist_ok=True)
                # A store inside a project is nobody's source.
                write_atomically(f"{self.root}/.gitignore", b"*\n", sync=False)
                marker = msgspec.json.encode(_Marker(format=STORE_FORMAT)) + b"\n"
                write_atomically(f"{self.root}/{MARKER}", marker)

    def check_format(self) -> None:
        """Make sure that this version can read the store.

        Raises:
            NotFound: there is no store here.
            TooNew: a later version made it.
        """
        try:
            data = read_file(f"{self.root}/{MARKER}")
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(
                f"there is no store at `{self.root}`",
                hint="the first `reenact run` makes it; REENACT_HOME names another place",
            ) from None
        except OSError as error:
            raise StoreUnusable(f"cannot read the store `{self.root}`: {error.strerror}") from error
        try:
            found = msgspec.json.decode(data, type=_Marker).format
        except msgspec.DecodeError:
            raise Damaged(
                f"`{self.root}/{MARKER}` is damaged",
                hint=f'its content must be {{"format":{STORE_FORMAT}}}',
            ) from None
        if found > STORE_FORMAT:
            raise TooNew(
                f"the store `{self.root}` has format {found}, this Reenact reads {STORE_FORMAT}",
                hint="install a later version of Reenact",
            )

    # --- runs ---

    def directory(self, run_id: RunId, *, deleted: bool = False) -> str:
        """Return the run directory, there or not."""
        return f"{self.trash_directory if deleted else self.runs_directory}/{run_id}"

    def record_path(self, run_id: RunId, name: str = "run.json") -> str:
        """Return the path of one of the files in a run's `.reenact/`."""
        return f"{self.runs_directory}/{run_id}/{RECORD_DIRECTORY}/{name}"

    def lock(self, run_id: RunId) -> Lock:
        """Return the lock that a supervisor of this run holds."""
        return Lock(self.record_path(run_id, "lock"))

    def writing(self) -> SharedLock:
        """Return the lock to hold between the first put of a blob and the record that names it.

        `gc` waits for everybody who holds it.
        """
        return SharedLock(f"{self.root}/gc.lock")

    def write_run(self, run: Run, *, sync: bool = True) -> None:
        """Write `run.json`; only the run's supervisor, or whoever holds its lock, may call."""
        write_atomically(self.record_path(run.id), encode_run(run), sync=sync)

    def write_notes(self, run_id: RunId, notes: Notes) -> None:
        """Write `notes.json`, or remove it when there is nothing to say."""
        path = self.record_path(run_id, "notes.json")
        if notes == Notes():
            remove_if_there(path)
        else:
            write_atomically(path, encode_notes(notes))

    def run_ids(self, *, deleted: bool = False) -> Iterator[RunId]:
        """Yield the ids of all runs, in no order."""
        try:
            entries = os.scandir(self.trash_directory if deleted else self.runs_directory)
        except (FileNotFoundError, NotADirectoryError):
            return
        with entries:
            for entry in entries:
                if is_run_id(entry.name):
                    yield RunId(entry.name)

    def read_run(self, run_id: RunId, *, deleted: bool = False) -> StoredRun:
        """Read a run as it is now. A damaged record is a value, not an error.

        Raises:
            NotFound: there is no such run.
        """
        directory = self.directory(run_id, deleted=deleted)
        lock = f"{directory}/{RECORD_DIRECTORY}/lock"
        locked = False
        run, problem = self._read_record(run_id, directory)
        if run is None or run.exit is None:
            # Before the record: a run that ends in between then shows its end, never `killed`.
            locked = is_locked(lock)
            run, problem = self._read_record(run_id, directory)
        damage = [] if problem is None else [problem]
        notes = Notes()
        try:
            notes = self.read_notes(run_id, deleted=deleted)
        except ReenactError as error:
            damage.append(error.message)
        if run is not None and run.exit is None and not locked:
            # The run may have begun between the look at its lock and the look at its record.
            locked = is_locked(lock)
        status = Status.DAMAGED if run is None else run.status(is_locked=locked)
        return StoredRun(run_id, directory, status, run, notes, "; ".join(damage) or None)

    def _read_record(self, run_id: RunId, directory: str) -> tuple[Run | None, str | None]:
        """Return the record, or what is wrong with it."""
        short = run_id[:8]
        try:
            path = f"{directory}/{RECORD_DIRECTORY}/run.json"
            run = decode_run(read_file(path), where=f"run {short}")
        except (FileNotFoundError, NotADirectoryError):
            if not os.path.isdir(directory):
                raise NotFound(f"run {short} is gone") from None
            return None, f"run {short} is damaged: it has no run.json"
        except OSError as error:
            return None, f"run {short} cannot be read: {error.strerror}"
        except ReenactError as error:
            return None, error.message
        if run.id != run_id:
            return None, f"run {short} is damaged: its record is of run {run.id[:8]}"
        return run, None

    def read_notes(self, run_id: RunId, *, deleted: bool = False) -> Notes:
        """Read what people say about a run; nothing where there is no `notes.json`.

        Raises:
            Damaged: there is one that cannot be read.
        """
        where = f"notes of run {run_id[:8]}"
        path = f"{self.directory(run_id, deleted=deleted)}/{RECORD_DIRECTORY}/notes.json"
        try:
            return decode_notes(read_file(path), where=where)
        except (FileNotFoundError, NotADirectoryError):
            return Notes()
        except OSError as error:
            raise Damaged(f"{where} cannot be read: {error.strerror}") from error


def locate_store(env: Mapping[str, str], directory: str) -> str:
    """Return where the store is: $REENACT_HOME, the nearest `.reenact/` upwards, `~/.reenact`.

    A run directory holds a `.reenact/` as well, which is no store: a store has a `store.json` or
    is empty.

    Args:
        env: the environment to ask.
        directory: absolute path to begin the search at.
    """
    if home := env.get("REENACT_HOME"):
        return os.path.abspath(os.path.join(directory, os.path.expanduser(home)))
    at = directory
    while True:
        candidate = os.path.join(at, ".reenact")
        if _is_store_or_empty(candidate):
            return candidate
        parent = os.path.dirname(at)
        if parent == at:
            break
        at = parent
    return os.path.join(os.path.expanduser("~"), ".reenact")


def _is_store_or_empty(path: str) -> bool:
    try:
        names = os.listdir(path)
    except OSError:
        return False
    return not names or MARKER in names
