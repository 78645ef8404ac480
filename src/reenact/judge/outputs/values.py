"""What readers make of a file, for `compare` to walk through.

Beside these a reader may return plain values of Python: `dict`, `list`, `tuple`, `set`, numbers,
text, bytes, None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reenact.judge.outputs.source import Source


@dataclass(frozen=True, slots=True)
class Members:
    """Named parts of which each is a file, a dataset or a table; their order means nothing.

    What is in the part without a name is at the place of the whole.
    """

    parts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a file, whatever their format."""

    source: Source


@dataclass(frozen=True, slots=True)
class Aside:
    """Something that says nothing of the result: a date. It is counted where it differs.

    `what` of so many `of`: "date" of 3 "member"s; no `of` where there is only one.
    """

    what: str
    value: Any
    of: str = ""


@dataclass(frozen=True, slots=True)
class Noted:
    """A value, and what there is beside it that says nothing of the result."""

    value: Any
    asides: tuple[Aside, ...]


@dataclass(frozen=True, slots=True)
class Numbers:
    """An array of numbers in little-endian bytes, in C order unless `is_fortran`.

    Attributes:
        kind: as NumPy calls it, and `bfloat16`; any other is compared bit by bit, `itemsize` each.
    """

    kind: str
    shape: tuple[int, ...]
    source: Source
    itemsize: int
    is_big_endian: bool = False
    is_fortran: bool = False


@dataclass(frozen=True, slots=True)
class Pixels:
    """An image, row by row; `top` is the value of full brightness."""

    width: int
    height: int
    channels: int
    top: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text, in which numbers are compared as such; cells of a table have `columns`."""

    text: str
    columns: tuple[str, ...] = ()
    separator: str = ","


@dataclass(frozen=True, slots=True)
class Sequence:
    """Parts in an order that means something, made as they are asked for.

    `name` makes the words for the place of a part out of its number: `line 3`.
    """

    parts: Callable[[], Iterable[Any]]
    name: Callable[[int], str]


@dataclass(slots=True, eq=False)
class Thing:
    """An object of some class, as a pickle describes it; nothing of it was made or called.

    Attributes:
        name: module and name of what was to be called.
        arguments: with which.
        state: what the object was then given; None for none.
        items: what was appended to it.
        pairs: what was set in it by keys.
    """

    name: str
    arguments: tuple[Any, ...]
    state: Any
    items: list[Any]
    pairs: list[tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Graph:
    """Values of which several may be one and the same, or within themselves."""

    root: Any
    simplify: Callable[[Any], Any]


def row_name(word: str) -> Callable[[int], str]:
    """Return the namer of the parts of a sequence, which people count from 1."""
    return lambda index: f"{word} {index + 1}"


def numbered(pairs: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield pairs with different names: the second `x` is `x #2`."""
    seen: dict[str, int] = {}
    for name, value in pairs:
        seen[name] = count = seen.get(name, 0) + 1
        yield (name if count == 1 else f"{name} #{count}"), value
