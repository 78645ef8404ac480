"""Read SQLite databases: tables, their definitions and rows.

Left out: pages that are free, how full they are, indexes' content; a write-ahead log beside the file.
"""

from __future__ import annotations

import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

from reenact.judge.outputs.source import FileSource, Source, blocks
from reenact.judge.outputs.values import Aside, Members, Sequence, row_name

_DRAWN_NAME = re.compile(r"no-name-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""What Optuna calls a study without a name; a UUID of the operating system's chance."""


class Sqlite:
    """A database; nothing in it is executed, views and triggers are compared by their text."""

    name = "sqlite"
    endings: tuple[str, ...] = ()

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it begins so."""
        return head.startswith(b"SQLite format 3\0")

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return the tables by name, each a sequence of rows in the order of their keys."""
        path = source.path if isinstance(source, FileSource) else _copied(source, keep)
        # `immutable`: no lock is taken and no journal made beside a file of a store.
        place = f"file:{quote(os.path.abspath(path))}?mode=ro&immutable=1"
        connection = sqlite3.connect(place, uri=True, check_same_thread=False)
        keep.callback(connection.close)
        connection.text_factory = lambda data: data.decode("utf-8", "replace")
        connection.execute("PRAGMA trusted_schema=OFF")
        parts: dict[str, Any] = {}
        schema = "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"
        for kind, name, definition in connection.execute(schema).fetchall():
            parts[f"{kind} {name}"] = definition
            text = (definition or "").upper()
            if kind == "table" and not text.startswith("CREATE VIRTUAL"):
                is_ordered = re.search(r"WITHOUT\s+ROWID", text) is not None
                parts[name] = _rows(connection, name, "" if is_ordered else " ORDER BY _rowid_")
        return Members(parts)


def _rows(connection: sqlite3.Connection, table: str, order: str) -> Sequence:
    quoted = table.replace('"', '""')

    def make() -> Iterator[dict[str, Any]]:
        cursor = connection.execute(f'SELECT * FROM "{quoted}"{order}')  # noqa: S608  # the name is quoted
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield dict(zip(names, map(_value, row), strict=True))

    return Sequence(make, row_name("row"))


def _value(value: Any) -> Any:
    if isinstance(value, str) and _DRAWN_NAME.fullmatch(value):
        return Aside("name of a study", value)
    return value


def _copied(source: Source, keep: ExitStack) -> str:
    copy = keep.enter_context(tempfile.NamedTemporaryFile(prefix="reenact-"))  # noqa: SIM115  # by `keep`
    for block in blocks(source):
        copy.write(block)
    copy.flush()
    return copy.name
