"""Read Parquet, Arrow and Feather files with pyarrow, where that is installed.

Left out: who wrote the file, how it is compressed, how rows are put into groups.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

from reenact.judge.outputs.source import NotCompared, Source, head
from reenact.judge.outputs.values import Members, Sequence, numbered, row_name

_ROWS = 10_000
_STREAM_MARK = b"\xff\xff\xff\xff"


class Parquet:
    """Apache Parquet."""

    name = "parquet"
    endings: tuple[str, ...] = ()

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it begins so."""
        return head.startswith(b"PAR1")

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return the columns' types and the rows."""
        parquet = _pyarrow("parquet")
        file = keep.enter_context(parquet.ParquetFile(keep.enter_context(source.open())))
        return _table(file.schema_arrow, lambda: file.iter_batches(_ROWS))


class Arrow:
    """Arrow's file format, which is also that of Feather since version 2, and its streams."""

    name = "arrow"
    endings: tuple[str, ...] = ()

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it begins so."""
        is_stream = head.startswith(_STREAM_MARK) and name.endswith((".arrow", ".arrows"))
        return head.startswith(b"ARROW1") or is_stream

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return the columns' types and the rows."""
        if not head(source).startswith(b"ARROW1"):
            return self._stream(source)
        opened = keep.enter_context(source.open())
        file = keep.enter_context(_pyarrow("ipc").open_file(opened))
        return _table(
            file.schema, lambda: (file.get_batch(n) for n in range(file.num_record_batches))
        )

    def _stream(self, source: Source) -> Any:
        ipc = _pyarrow("ipc")

        def batches() -> Iterator[Any]:
            with source.open() as file, ipc.open_stream(file) as stream:
                yield from stream

        with source.open() as file, ipc.open_stream(file) as stream:
            return _table(stream.schema, batches)


def _pyarrow(name: str) -> Any:
    try:
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise NotCompared("pyarrow is not installed") from None
    return getattr(pyarrow, name)


def _table(schema: Any, batches: Any) -> Members:
    columns = dict(numbered((field.name, str(field.type)) for field in schema))
    return Members({"columns": columns, "": Sequence(lambda: _rows(batches()), row_name("row"))})


def _rows(batches: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Yield rows: groups of rows of two files need not end at the same ones."""
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS):
            part = batch.slice(start, _ROWS)
            names = [name for name, _ in numbered((name, None) for name in part.schema.names)]
            columns = [column.to_pylist() for column in part.columns]
            rows = zip(*columns, strict=True) if columns else itertools.repeat((), part.num_rows)
            for row in rows:
                yield dict(zip(names, row, strict=True))
