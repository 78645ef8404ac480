"""What is inside compressed files, so that it can be searched: ZIP (npz, keras, torch, xlsx), gzip, bzip2, xz.

Not covered: archives inside archives, members of more than 256 MiB, what is behind the first GiB.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, cast

_MEMBER_LIMIT = 256 << 20
_LIMIT = 1 << 30
_MAGIC = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))
_BROKEN = (
    OSError, EOFError, ValueError, RuntimeError, NotImplementedError, OverflowError, struct.error,
    zlib.error, lzma.LZMAError, zipfile.BadZipFile,
)  # fmt: skip


def unpacked(file: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield what is packed in a file: what its name adds to that of the file, and its content.

    What cannot be unpacked is left out: nobody else gets at it either.
    """
    head = file.read(8)
    file.seek(0)
    try:
        if head.startswith(b"PK\x03\x04"):
            yield from _members(file)
            return
        for magic, opened in _MAGIC:
            if head.startswith(magic):
                with cast("IO[bytes]", opened(file)) as stream:
                    yield " (unpacked)", stream.read(_MEMBER_LIMIT)
    except _BROKEN:
        return


def _members(file: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    left = _LIMIT
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            # What is only stored was found in the bytes of the archive.
            if info.compress_type == zipfile.ZIP_STORED or info.file_size > min(
                left, _MEMBER_LIMIT
            ):
                continue
            left -= info.file_size
            with archive.open(info) as member:
                yield f"/{info.filename}", member.read(info.file_size)
