"""Read WAV files by their samples."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from reenact.judge.outputs.numbers import ITEM_BYTES
from reenact.judge.outputs.source import PartSource, Source, Unreadable
from reenact.judge.outputs.values import Aside, Members, Numbers

_KINDS = {
    (1, 8): "uint8",
    (1, 16): "int16",
    (1, 32): "int32",
    (3, 32): "float32",
    (3, 64): "float64",
}
_MOST_CHUNKS = 10_000
# The real type stands further behind.
_EXTENSIBLE = 0xFFFE


class Wave:
    """Samples in whole numbers or floats; texts and dates are left out."""

    name = "wav"
    endings: tuple[str, ...] = ()

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it begins so."""
        return head.startswith(b"RIFF") and head[8:12] == b"WAVE"

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return rate, channels and samples."""
        with source.open() as file:
            file.seek(12)
            parts: dict[str, Any] = {}
            for _ in range(_MOST_CHUNKS):
                head = file.read(8)
                if len(head) < 8:
                    break
                chunk, size = head[:4], int.from_bytes(head[4:], "little")
                start = file.tell()
                if chunk == b"fmt ":
                    parts["format"] = _format(file.read(size))
                elif chunk == b"data":
                    parts["samples"] = start, size
                else:
                    parts[chunk.decode("latin-1")] = Aside("notes", file.read(min(size, 1 << 20)))
                file.seek(start + size + size % 2)
            end = file.seek(0, 2)
        if "samples" not in parts or "format" not in parts:
            raise Unreadable("it has no samples")
        start, size = parts["samples"]
        if start + size > end:
            raise Unreadable("it ends too early")
        kind = parts["format"]
        name = _KINDS.get((kind["type"], kind["bits"]), "sample")
        item = ITEM_BYTES.get(name, max(kind["bits"] // 8, 1))
        frames = size // (item * max(kind["channels"], 1))
        shape = (frames, kind["channels"])
        part = PartSource(source, start, frames * kind["channels"] * item)
        parts["samples"] = Numbers(name, shape, part, item)
        return Members(parts)


def _format(data: bytes) -> dict[str, int]:
    kind = int.from_bytes(data[:2], "little")
    if kind == _EXTENSIBLE and len(data) >= 26:
        kind = int.from_bytes(data[24:26], "little")
    return {
        "type": kind,
        "channels": int.from_bytes(data[2:4], "little"),
        "rate": int.from_bytes(data[4:8], "little"),
        "bits": int.from_bytes(data[14:16], "little"),
    }
