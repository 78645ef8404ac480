"""Which files hold the points of a run, in which order, and how a large one becomes small.

The points of a run are parts 0, 1, ..., read one after the other. Part 0 is `metrics` while the run
goes on. Once it has ended a large part becomes `metrics.parquet`, or `metrics.columns` without
pyarrow: written beside, compared with what it replaces, synced, renamed, and only then `metrics` is
removed. Where both are there, because somebody was killed in between, the columns count. A part in
columns never grows: a run that goes on (a restart) writes `metrics.1`, and so on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from reenact.errors import ReenactError
from reenact.store import metric_columns, metric_parquet
from reenact.store.files import remove_if_there, temporary_name
from reenact.store.metric_block import BLOCK_POINTS, RECORD, Block, numpy_for, pack, unpack

POINTS_FILE = "metrics"
NAMES_FILE = "metrics.names"
LARGE_POINTS = 1 << 17
"""From so many points on, columns save more than the loading of pyarrow costs their readers."""

_COLUMNS = ".columns"
_PARQUET = ".parquet"
_CHUNK_BYTES = BLOCK_POINTS * RECORD.size


class Part(NamedTuple):
    """Some of a run's points.

    Attributes:
        path: of its records; its columns have a name that begins so.
        records: how many there are; None where a file in columns has to be asked.
        torn_bytes: what is behind the last whole record.
    """

    path: str
    records: int | None
    torn_bytes: int = 0

    def points(self) -> int:
        """Return how many records there are; raises what `blocks` does."""
        if self.records is not None:
            return self.records
        columns = columns_of(self.path)
        if columns is None:
            return 0
        count = metric_parquet.count if columns.endswith(_PARQUET) else metric_columns.count
        return count(columns)

    def blocks(self, start: int = 0) -> Iterator[tuple[Block, int]]:
        """Yield points from record number `start` on, and how many records before were none.

        Raises:
            NotFound: it needs pyarrow, which is not installed.
            Damaged: the columns are not as they were written.
            OSError: a file cannot be read.
        """
        if self.records is not None:
            try:
                yield from _records(self.path, start, self.records)
            except FileNotFoundError:
                pass  # Somebody has made columns of it since; nothing was read yet.
            else:
                return
        columns = columns_of(self.path)
        if columns is None:
            return
        read = metric_parquet.read if columns.endswith(_PARQUET) else metric_columns.read
        for block in read(columns):
            size = len(block.numbers)
            if start < size:
                yield block.without_first(start), 0
            start = max(0, start - size)


def find_parts(directory: str) -> list[Part]:
    """Return the parts of the run whose `.reenact` directory this is, as they are now."""
    parts: list[Part] = []
    while (part := _find_part(part_path(directory, len(parts)))) is not None:
        parts.append(part)
    return parts


def part_path(directory: str, number: int) -> str:
    """Return where the records of a part are."""
    return os.path.join(directory, POINTS_FILE + (f".{number}" if number else ""))


def columns_of(path: str) -> str | None:
    """Return the file that holds a part in columns, if one does."""
    for suffix in (_COLUMNS, _PARQUET):
        if os.path.exists(path + suffix):
            return path + suffix
    return None


def leftovers(directory: str) -> list[str]:
    """Return records that are in columns, too: who made these was killed before the end."""
    paths = (part.path for part in find_parts(directory))
    return [path for path in paths if os.path.exists(path) and columns_of(path) is not None]


def open_part(directory: str) -> str:
    """Return where a writer goes on, having finished what another one could not."""
    parts = find_parts(directory)
    for part in parts:
        if part.records is None:
            remove_if_there(part.path)
    if parts and parts[-1].records is not None:
        return parts[-1].path
    return part_path(directory, len(parts))


def compact(
    directory: str,
    names: Sequence[str | None],
    *,
    at_least: int = LARGE_POINTS,
    parquet: bool | None = None,
) -> str | None:
    """Put the last part of a run into columns, if it is large; nobody may write to it meanwhile.

    What stands in the way (no room, a record that is no point) leaves everything as it is.

    Args:
        directory: the run's `.reenact`.
        names: of the metrics, by number; None where one cannot be read.
        at_least: how many points are many.
        parquet: write Parquet; by default where pyarrow is installed.

    Returns:
        The new file, or None.
    """
    try:
        path = open_part(directory)
        size = os.stat(path).st_size
        if size < at_least * RECORD.size or size % RECORD.size:
            return None
        _sync(os.path.join(directory, NAMES_FILE))
        if parquet is None:
            parquet = metric_parquet.is_possible()
        made = _rewrite_as_parquet(path, names) if parquet else None
        return made or _rewrite(path, path + _COLUMNS, names)
    except (OSError, ReenactError, _NotTheSameError):
        return None


class _NotTheSameError(Exception):
    """What was written does not read as what it was written from."""


def _rewrite_as_parquet(path: str, names: Sequence[str | None]) -> str | None:
    try:
        return _rewrite(path, path + _PARQUET, names)
    except Exception:  # noqa: BLE001  # whatever is wrong with pyarrow: our own columns need nothing
        return None


def _rewrite(path: str, target: str, names: Sequence[str | None]) -> str:
    beside = temporary_name(target)
    points = os.stat(path).st_size // RECORD.size
    try:
        with open(beside, "xb") as file:
            if target.endswith(_PARQUET):
                metric_parquet.write(file, _checked(path, names), [name or "" for name in names])
            else:
                metric_columns.write(file, _checked(path, names), points)
            file.flush()
            os.fsync(file.fileno())
        _compare(path, beside, target)
        os.rename(beside, target)
    except BaseException:
        remove_if_there(beside)
        raise
    _sync(os.path.dirname(path))
    remove_if_there(path)
    return target


def _checked(path: str, names: Sequence[str | None]) -> Iterator[Block]:
    known = None not in names
    for block, bad in _records(path, 0, os.stat(path).st_size // RECORD.size):
        if bad or not known or max(block.numbers) >= len(names):
            raise _NotTheSameError("not every record is a point")
        yield block


def _compare(path: str, beside: str, target: str) -> None:
    """See to it that nothing is removed that was not read back to the last bit."""
    read = metric_parquet.read if target.endswith(_PARQUET) else metric_columns.read
    with open(path, "rb") as file:
        for block in read(beside):
            data = pack(block)
            if file.read(len(data)) != data:
                raise _NotTheSameError("a block differs")
        if file.read(1):
            raise _NotTheSameError("it is shorter")


def _find_part(path: str) -> Part | None:
    # Columns are looked for before and after the records, which may become columns meanwhile.
    if columns_of(path) is None:
        try:
            size = os.stat(path).st_size
            return Part(path, size // RECORD.size, size % RECORD.size)
        except FileNotFoundError:
            if columns_of(path) is None:
                return None
    return Part(path, None)


def _records(path: str, start: int, end: int) -> Iterator[tuple[Block, int]]:
    np = numpy_for(end - start)
    with open(path, "rb", buffering=0) as file:
        file.seek(start * RECORD.size)
        left = (end - start) * RECORD.size
        while left > 0:
            data = file.read(min(left, _CHUNK_BYTES))
            data = data[: len(data) - len(data) % RECORD.size]
            if not data:
                return
            left -= len(data)
            yield unpack(data, np)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
