"""Numbers in printed objects: lines that are a JSON object or a Python dict."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import msgspec

MAX_LINE_BYTES = 64 * 1024
MAX_NAME_LENGTH = 200

REAL = (
    r"[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|nan|NaN|NAN|inf|Inf|INF|[Ii]nfinity)"
)
WRAPPED = re.compile(
    r"(?:\b\w+\.)?\b(?:[Tt]ensor|[Aa]rray|float[0-9]*|u?int[0-9]*)"
    rf"\(\s*({REAL})\s*(?:,(?:[^()]|\([^()]*\))*)?\)"
)


def is_object(text: str) -> bool:
    """Say quickly whether a line has the outer form of an object."""
    return text.lstrip()[:1] == "{" and text.rstrip()[-1:] == "}"


def numbers_of_object(text: str) -> list[tuple[str, float, bool]] | None:
    """Return the numbers in a JSON object or Python dict: name, value, whether an integer."""
    if not is_object(text):
        return None
    found = decode_object(text)
    return None if found is None else list(numbers_in(found))


def decode_object(text: str) -> dict[Any, Any] | None:
    """Return the JSON object or the Python dict of plain values that `text` is, else None."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return _decode_dict(text)
    return found if isinstance(found, dict) else None


def numbers_in(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, float, bool]]:
    """Yield the numbers in decoded JSON: name, value, whether it was written as an integer.

    Names inside of each other are joined by `/`; text that is a number counts as one; lists and
    booleans do not.
    """
    if isinstance(value, dict):
        if depth < _MAX_DEPTH:
            for key, inner in value.items():
                yield from numbers_in(inner, f"{name}/{key}" if name else str(key), depth + 1)
    elif isinstance(value, str):
        if _REAL_ONLY.fullmatch(value):
            yield name, float(value), value.isdigit()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            yield name, float(value), isinstance(value, int)
        except OverflowError:
            return


_MAX_DEPTH = 16
_REAL_ONLY = re.compile(REAL)
_WORDS_FOR_NUMBERS = {
    "nan": float("nan"),
    "NaN": float("nan"),
    "inf": float("inf"),
    "Infinity": float("inf"),
}


def _decode_dict(text: str) -> dict[Any, Any] | None:
    # A backslash could be an escape that the parser warns of on our own standard error.
    if "\\" in text or len(text) > MAX_LINE_BYTES:
        return None
    try:
        tree = ast.parse(WRAPPED.sub(r"\1", text.strip()), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    found = _plain(tree, 0)
    return found if isinstance(found, dict) else None


def _plain(node: ast.expr | None, depth: int) -> Any:
    """Return what a node of a Python literal stands for, None for what is no number or dict."""
    match node:
        case ast.Constant(value=int() | float() | str() as value):
            return value
        case ast.Name(id=name):
            return _WORDS_FOR_NUMBERS.get(name)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=inner):
            value = _plain(inner, depth)
            if isinstance(value, int | float) and isinstance(sign, ast.USub):
                return -value
            return value
        case ast.Dict(keys=keys, values=values) if depth < _MAX_DEPTH:
            return {
                key.value: _plain(value, depth + 1)
                for key, value in zip(keys, values, strict=True)
                if isinstance(key, ast.Constant)
            }
    return None
