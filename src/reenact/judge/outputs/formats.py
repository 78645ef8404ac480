"""Find the format of a file: by marks in its content first, then by its name."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Protocol

from reenact.judge.outputs import (
    archives,
    arrays,
    catboost,
    columnar,
    compressed,
    databases,
    documents,
    hdf5,
    images,
    pickles,
    records,
    sound,
    text,
    torch_files,
    ubjson,
)
from reenact.judge.outputs.source import Source


class Format(Protocol):
    """How to read the files of one format, or of one family of them.

    Attributes:
        name: what a verdict calls the comparison.
        endings: of the names of such files, in lower case; for those that have no mark.
    """

    name: str
    endings: tuple[str, ...]

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether the first bytes of a file are those of this format."""
        ...

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return what the file says, as values that `compare` knows; see `values`.

        Nothing of it is executed, and no more than a piece of it need be in memory. What is read
        later may use what was put on `keep`, which is closed when the comparison is done. For a
        file that is not what its mark says any exception may be raised, `Unreadable` if its message
        is for the user; `NotCompared` where something that is needed is missing.
        """
        ...


FORMATS: tuple[Format, ...] = (
    torch_files.TorchArchive(),
    torch_files.TorchLegacy(),
    archives.Keras(),
    archives.Skops(),
    archives.Office(),
    archives.Zip(),
    compressed.Gzip(),
    compressed.Bzip2(),
    compressed.Xz(),
    compressed.Zstandard(),
    compressed.Zlib(),
    arrays.Npy(),
    hdf5.Hdf5(),
    databases.Sqlite(),
    columnar.Parquet(),
    columnar.Arrow(),
    images.Png(),
    images.OtherImage(),
    sound.Wave(),
    documents.Pdf(),
    documents.Svg(),
    documents.Html(),
    records.EventFile(),
    records.RecordFile(),
    archives.Tar(),
    arrays.Safetensors(),
    ubjson.Ubjson(),
    catboost.CatBoost(),
    pickles.Pickle(),
    documents.Notebook(),
    text.Json(),
    text.Table(),
    text.Text(),
)
"""All formats; where several have a mark in a file, the first counts."""


def find_format(head: bytes, name: str) -> Format | None:
    """Return the format of a file that begins so, None for an unknown one."""
    lower = name.lower()
    for form in FORMATS:
        if form.has_mark(head, lower):
            return form
    for form in FORMATS:
        if lower.endswith(form.endings):
            return form
    return FORMATS[-1] if text.is_text(head) else None
