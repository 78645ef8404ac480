"""Read images by their pixels: PNG here, others with Pillow where that is installed.

Left out: texts and dates in the file, how it is compressed, palettes' order.
"""

from __future__ import annotations

import struct
import zlib
from contextlib import ExitStack
from typing import Any

from reenact.judge.outputs.source import NotCompared, Source, Unreadable, all_bytes
from reenact.judge.outputs.values import Aside, Members, Pixels

_MOST_FILE_BYTES = 256 << 20
_MOST_PIXEL_BYTES = 256 << 20
# Filters are undone in Python; Pillow is faster for images of more than this.
_SMALL_BYTES = 8 << 20
# Those that lose nothing as red, green and blue.
_PLAIN_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PIXEL_CHUNKS = (b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS")


class Png:
    """PNG; texts in it, such as the version of the library, are left out."""

    name = "png"
    endings: tuple[str, ...] = ()

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it begins so."""
        return head.startswith(b"\x89PNG\r\n\x1a\n")

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return its pixels."""
        chunks = _chunks(all_bytes(source, _MOST_FILE_BYTES))
        width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
        channels = _CHANNELS.get(color)
        if channels is None or depth not in (1, 2, 4, 8, 16):
            raise Unreadable("its header is not that of a PNG file")
        size = width * height * channels * max(depth, 8) // 8
        if size > _MOST_PIXEL_BYTES:
            raise NotCompared("it has too many pixels")
        notes = {
            name.decode("latin-1"): Aside("notes of the image", data)
            for name, data in chunks.items()
            if name not in _PIXEL_CHUNKS
        }
        if color == 3 or depth < 8 or interlaced or (size > _SMALL_BYTES and _has_pillow()):
            return Members({"": _by_pillow(source), **notes})
        row = width * channels * depth // 8
        unpacker = zlib.decompressobj()
        packed = unpacker.decompress(chunks[b"IDAT"], height * (row + 1) + 1)
        if len(packed) != height * (row + 1):
            raise Unreadable("it has too few or too many pixels")
        data = _unfiltered(packed, row, channels * depth // 8)
        pixels = Pixels(width, height, channels, (1 << depth) - 1, data)
        return Members({"": pixels, "transparent colour": chunks.get(b"tRNS"), **notes})


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """Return the chunks by name, those of one name put together."""
    chunks: dict[bytes, bytearray] = {}
    at = 8
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        name = data[at + 4 : at + 8]
        chunks.setdefault(name, bytearray()).extend(data[at + 8 : at + 8 + length])
        at += 12 + length
    if b"IEND" not in chunks or b"IHDR" not in chunks or b"IDAT" not in chunks:
        raise Unreadable("it ends too early")
    return {name: bytes(value) for name, value in chunks.items()}


def _unfiltered(packed: bytes, row: int, step: int) -> bytes:
    """Undo the filters of rows, of which each tells its own; `step` bytes are a pixel."""
    out = bytearray()
    above = bytes(row)
    for at in range(0, len(packed), row + 1):
        line = bytearray(packed[at + 1 : at + 1 + row])
        _undo(packed[at], line, above, step)
        out += line
        above = bytes(line)
    return bytes(out)


def _undo(kind: int, line: bytearray, above: bytes, step: int) -> None:
    if kind == 1:
        for at in range(step, len(line)):
            line[at] = (line[at] + line[at - step]) & 255
    elif kind == 2:
        line[:] = bytes((one + up) & 255 for one, up in zip(line, above, strict=True))
    elif kind == 3:
        for at, up in enumerate(above):
            left = line[at - step] if at >= step else 0
            line[at] = (line[at] + (left + up) // 2) & 255
    elif kind == 4:
        for at, up in enumerate(above):
            left = line[at - step] if at >= step else 0
            corner = above[at - step] if at >= step else 0
            line[at] = (line[at] + _nearest(left, up, corner)) & 255
    elif kind != 0:
        raise Unreadable("a row has a filter that there is not")


def _nearest(left: int, up: int, corner: int) -> int:
    """Return that of three neighbours which is nearest to their slope, as PNG defines it."""
    slope = left + up - corner
    to_left, to_up, to_corner = abs(slope - left), abs(slope - up), abs(slope - corner)
    if to_left <= to_up and to_left <= to_corner:
        return left
    return up if to_up <= to_corner else corner


class OtherImage:
    """JPEG, GIF, WebP, TIFF and BMP."""

    name = "image"
    endings: tuple[str, ...] = (".bmp",)
    _MARKS = (b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it begins so."""
        return head.startswith(self._MARKS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return its pixels, of every frame."""
        return _by_pillow(source)


def _has_pillow() -> bool:
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        return False
    return True


def _by_pillow(source: Source) -> Any:
    try:
        from PIL import Image, ImageSequence
    except ImportError:
        raise NotCompared("Pillow is not installed") from None
    frames: list[Any] = []
    size = 0
    with source.open() as file, Image.open(file) as image:
        for frame in ImageSequence.Iterator(image):
            size += frame.width * frame.height * 4
            if size > _MOST_PIXEL_BYTES:
                raise NotCompared("it has too many pixels")
            colors = "RGBA" if frame.mode in ("P", "PA", "RGBA", "LA") else "RGB"
            if frame.mode not in _PLAIN_MODES:
                frames.append([frame.mode, frame.width, frame.height, frame.tobytes()])
                continue
            plain = frame.convert(colors)
            frames.append(Pixels(plain.width, plain.height, len(colors), 255, plain.tobytes()))
    return frames[0] if len(frames) == 1 else frames
