"""The points of a large run that has ended, as Parquet: `metrics.parquet`, where pyarrow is there.

Columns: `name` (text, for people and other programs), `number` (uint32: the line of the name in
`metrics.names`, which also says where the points came from), `step` (int64), `time` (nanoseconds,
UTC) and `value` (float64), in the order in which the points came.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

from reenact.errors import Damaged, NotFound
from reenact.store.metric_block import Block

_ROWS = 1 << 18
_READ = ("number", "time", "step", "value")
_ENCODINGS = {
    "number": "DELTA_BINARY_PACKED",
    "step": "DELTA_BINARY_PACKED",
    "time": "DELTA_BINARY_PACKED",
    "value": "BYTE_STREAM_SPLIT",
}
_MAGIC = b"PAR1"


def is_possible() -> bool:
    """Tell whether pyarrow can be loaded."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        return False
    return True


def write(file: BinaryIO, blocks: Iterable[Block], names: Sequence[str]) -> None:
    """Write the points of blocks to a new file; `names` are those that they have numbers of.

    Raises:
        OSError: there is no room.
        pyarrow.ArrowException: pyarrow refuses.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("name", pa.dictionary(pa.int32(), pa.string())),
            ("number", pa.uint32()),
            ("step", pa.int64()),
            ("time", pa.timestamp("ns", "UTC")),
            ("value", pa.float64()),
        ]
    )
    dictionary = pa.array(names, pa.string())

    def column(kind: Any, content: array[Any]) -> Any:
        return pa.Array.from_buffers(kind, len(content), [None, pa.py_buffer(content)])

    writer = pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        compression_level=3,
        use_dictionary=["name"],
        column_encoding=_ENCODINGS,
        write_statistics=False,
        write_page_checksum=True,
    )
    with writer:
        for many in _rows(blocks):
            numbers = many.numbers
            texts = pa.DictionaryArray.from_arrays(column(pa.int32(), numbers), dictionary)
            columns = [
                texts,
                column(pa.uint32(), numbers),
                column(pa.int64(), many.steps),
                column(schema.field("time").type, many.times_ns),
                column(pa.float64(), many.values),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=_ROWS)


def count(path: str) -> int:
    """Return how many points there are in a file.

    Raises:
        NotFound: pyarrow is not installed.
        Damaged: it is no Parquet.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file, _opened(file) as parquet:
        return int(parquet.metadata.num_rows)


def read(path: str) -> Iterator[Block]:
    """Yield the points of a file.

    Raises:
        NotFound: pyarrow is not installed.
        Damaged: it is not as it was written.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file, _opened(file) as parquet:
        import pyarrow as pa

        for group in range(parquet.num_row_groups):
            try:
                table = parquet.read_row_group(group, columns=list(_READ))
            except (pa.ArrowException, OSError) as cause:
                raise _damaged() from cause
            columns = [table.column(name) for name in _READ]
            yield Block.of(map(_to_array, "Iqqd", columns))


def _rows(blocks: Iterable[Block]) -> Iterator[Block]:
    """Join small blocks to those that make good row groups."""
    joined: Block | None = None
    for block in blocks:
        if joined is None:
            joined = Block.of(column[:] for column in block.columns())
        else:
            for column, more in zip(joined.columns(), block.columns(), strict=True):
                column.extend(more)
        if len(joined.numbers) >= _ROWS:
            yield joined
            joined = None
    if joined is not None:
        yield joined


def _opened(file: BinaryIO) -> Any:
    _check_ends(file)
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise NotFound(
            "the points of this run are kept as Parquet, which needs pyarrow",
            hint="`pip install 'reenact[parquet]'`",
        ) from None
    try:
        return pq.ParquetFile(file, page_checksum_verification=True)
    except pa.ArrowException as cause:
        raise _damaged() from cause


def _check_ends(file: BinaryIO) -> None:
    begin = file.read(len(_MAGIC))
    file.seek(-min(len(_MAGIC), file.seek(0, os.SEEK_END)), os.SEEK_END)
    if not begin == file.read() == _MAGIC:
        raise _damaged()


def _to_array(code: str, column: Any) -> array[Any]:
    made = array(code)
    for chunk in column.chunks:
        content = memoryview(chunk.buffers()[1])
        start = chunk.offset * made.itemsize
        made.frombytes(content[start : start + len(chunk) * made.itemsize])
    return made


def _damaged() -> Damaged:
    return Damaged(
        "the points in `metrics.parquet` were changed or cut off",
        hint="`reenact fsck` checks the whole store",
    )
