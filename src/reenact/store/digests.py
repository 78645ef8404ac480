"""Digests of files outside the store, remembered so that large data is read once.

A file whose path, size, times and inode are those of the last time is not read again. One that was
modified in the same moment as it was read is read again next time. The cache is one SQLite file; it
may be deleted at any time, and what goes wrong with it costs time only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from reenact.model.identity import Digest
from reenact.store.blobs import digest_file

if TYPE_CHECKING:
    import sqlite3

REMEMBERED_FROM = 1 << 18
"""Bytes. To read a smaller file takes no longer than to ask whether it is known."""

_CLOCK_STEP_NS = 20_000_000
"""File systems stamp times in steps of up to 10 ms; twice that is safe."""
_BUSY_S = 2.0
_SAVED_BYTES = 1 << 30
"""After so many bytes that were read, their digests are written down."""

_Row = tuple[int, int, int, int, bytes]


class Digests:
    """Digest files, with a memory in `path`. Use it as a context: at its end it remembers."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._is_tried = False
        self._error: type[Exception] = OSError
        self._known: dict[str, _Row] = {}
        self._new: list[tuple[str, int, int, int, int, bytes]] = []
        self._new_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def expect(self, directory: str) -> None:
        """Say that many files below a directory will be asked for: they are looked up at once."""
        connection = self._connect()
        if connection is None:
            return
        try:
            rows = connection.execute(
                "SELECT path, size, mtime, ctime, inode, digest FROM file WHERE path >= ? AND path < ?",
                (f"{directory}/", f"{directory}0"),
            )
            self._known.update((row[0], row[1:]) for row in rows)
        except self._error:
            pass

    def digest(
        self,
        path: str,
        status: os.stat_result,
        *,
        remember: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[Digest, bool]:
        """Return the digest of a file's content, and whether it was read for that.

        Args:
            path: the file.
            status: what `os.stat` says of it.
            remember: whatever its size is; after `expect`.
            progress: told how many bytes of a large file are read.

        Raises:
            OSError: it cannot be read.
        """
        if status.st_size < REMEMBERED_FROM and not remember:
            return digest_file(path)[0], True
        stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        known = self._known.get(path) if remember else self._look_up(path)
        if known is not None and tuple(known[:4]) == stamp:
            return Digest(known[4].hex()), False
        began_ns = time.time_ns()
        digest, size = digest_file(path, progress)
        is_settled = began_ns - max(stamp[1], stamp[2]) > _CLOCK_STEP_NS
        if is_settled and size == status.st_size and path.isprintable():
            self._new.append((path, *stamp, bytes.fromhex(digest)))
            self._new_bytes += size
            if self._new_bytes >= _SAVED_BYTES:
                self._save()
        return digest, True

    def close(self) -> None:
        """Remember what was read."""
        self._save()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _save(self) -> None:
        """Write what was read since the last time: whoever is killed has not read it in vain."""
        connection = self._connect() if self._new else None
        if connection is not None:
            try:
                with connection:
                    connection.executemany(
                        "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?)", self._new
                    )
            except self._error:
                pass
        self._new = []
        self._new_bytes = 0

    def _look_up(self, path: str) -> _Row | None:
        connection = self._connect()
        if connection is None or not path.isprintable():
            return None
        try:
            row: _Row | None = connection.execute(
                "SELECT size, mtime, ctime, inode, digest FROM file WHERE path = ?", (path,)
            ).fetchone()
        except self._error:
            return None
        return row

    def _connect(self) -> sqlite3.Connection | None:
        if self._is_tried:
            return self._connection
        self._is_tried = True
        # Imported here: most runs read nothing that is large.
        import sqlite3

        self._error = sqlite3.Error
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=_BUSY_S)
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS file (path TEXT PRIMARY KEY, size INTEGER, "
                "mtime INTEGER, ctime INTEGER, inode INTEGER, digest BLOB) WITHOUT ROWID"
            )
        except (sqlite3.Error, OSError):
            return None
        self._connection = connection
        return connection
