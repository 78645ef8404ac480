"""What NumPy calls the types of arrays, and the fields of records."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from reenact.judge.outputs.source import NotCompared, Source, Unreadable, blocks
from reenact.judge.outputs.values import Numbers

_TYPE = re.compile(r"([<>|=])([a-zA-Z])(\d+)?(.*)")
_LETTERS = {"f": "float", "i": "int", "u": "uint", "c": "complex"}


def array(
    descriptor: str, shape: tuple[int, ...], source: Source, *, is_fortran: bool = False
) -> Numbers:
    """Return an array of the type that NumPy writes so: `<f4`."""
    match = _TYPE.fullmatch(descriptor)
    if match is None:
        raise Unreadable(f"`{descriptor[:40]}` is no type of numbers")
    order, letter, size, unit = match.groups()
    itemsize = int(size or 1) * (4 if letter == "U" else 1)
    kind = "bool" if letter == "b" else f"{_LETTERS.get(letter, letter)}{itemsize * 8}{unit}"
    if letter in "Mm":
        # Dates are counted, from 1970 on, in the unit.
        kind = "int64" if not unit else f"{letter}{unit}"
    return Numbers(kind, shape, source, itemsize, order == ">", is_fortran and len(shape) > 1)


def item_bytes(descriptor: str) -> int:
    """Return how many bytes one element takes; raise `NotCompared` for objects."""
    match = _TYPE.fullmatch(descriptor)
    if match is None or match[2] == "O":
        raise NotCompared(f"it has fields of the type `{descriptor[:40]}`")
    return int(match[3] or 1) * (4 if match[2] == "U" else 1)


def column(data: Source, stride: int, at: int, size: int) -> Callable[[], Iterator[bytes]]:
    """Return what makes the bytes of one field of all records."""

    def make() -> Iterator[bytes]:
        for block in blocks(data, stride):
            piece = bytearray(len(block) // stride * size)
            for place in range(size):
                piece[place::size] = block[at + place :: stride]
            yield bytes(piece)

    return make
