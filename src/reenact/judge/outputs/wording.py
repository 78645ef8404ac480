"""Values, numbers and places in the few words in which a difference is told."""

from __future__ import annotations

from typing import Any

from reenact.judge.outputs.keys import PLAIN
from reenact.judge.outputs.source import Unreadable
from reenact.judge.outputs.values import Numbers, Thing

_SHOWN = 60


def key_place(key: Any) -> str:
    """Return how the place of a key is told."""
    if isinstance(key, str):
        return f".{key}" if key.isidentifier() else f'["{cut(key)}"]'
    return f"[{show(key)}]"


def show(value: Any) -> str:
    """Return a value in few words."""
    if isinstance(value, Thing):
        return value.name
    if isinstance(value, Numbers):
        return f"{value.kind} of {value.shape}"
    if isinstance(value, str | bytes):
        short = value[:_SHOWN]
        return repr(short) + ("..." if len(value) > _SHOWN else "")
    if isinstance(value, (*PLAIN, type)):
        return cut(str(value)) if not isinstance(value, int) or abs(value) < 1 << 200 else "integer"
    if isinstance(value, tuple) and all(isinstance(part, int) for part in value):
        return "x".join(map(str, value)) or "one number"
    if isinstance(value, dict | list | tuple | set | frozenset):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__.lower()


def cut(text: str) -> str:
    """Return the begin of a text."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def number_text(array: Numbers, value: Any) -> str:
    """Return a number with the digits that its type has."""
    if array.kind == "bool":
        return str(bool(value))
    if array.kind in ("float32", "complex64"):
        return f"{value:.9g}"
    if array.kind in ("float16", "bfloat16"):
        return f"{value:.5g}"
    return show(value) if isinstance(value, bytes) else repr(value)


def index_text(index: int, shape: tuple[int, ...], is_fortran: bool) -> str:
    """Return the place of an element in an array: `[3, 7]`."""
    if not shape:
        return ""
    parts = []
    for size in shape if is_fortran else reversed(shape):
        parts.append(index % max(size, 1))
        index //= max(size, 1)
    return str(parts if is_fortran else parts[::-1])


def reason_of(error: BaseException) -> str:
    """Return what an exception says, in one line."""
    if isinstance(error, Unreadable):
        return str(error)
    text = cut(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
