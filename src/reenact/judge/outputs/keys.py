"""Keys of mappings: which are the same in two files, and the order in which values are told."""

from __future__ import annotations

from typing import Any

from reenact.judge.outputs.values import Thing

_DEEPEST_KEY = 20

PLAIN = (str, int, float, bytes, bool, type(None))


def is_number(value: Any) -> bool:
    """Tell whether this is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def matched_keys(original: dict[Any, Any], reproduced: dict[Any, Any]) -> dict[Any, Any]:
    """Return key of the original -> the same key of the reproduction, where it has that.

    Objects are the same keys if they are told by the same words.
    """
    known = {sort_key(key): key for key in reproduced if not isinstance(key, PLAIN)}
    own = {key: key for key in reproduced}
    matched = {}
    for key in original:
        if key in own:
            matched[key] = own[key]
        elif not isinstance(key, PLAIN) and sort_key(key) in known:
            matched[key] = known[sort_key(key)]
    return matched


def sort_key(value: Any, depth: int = 0) -> str:
    """Return words that are the same for the same value, and put numbers in their order."""
    if depth > _DEEPEST_KEY:
        return f"an object {id(value)}"
    if is_number(value):
        return f"0{value:030.9f} {value!r}" if abs(value) < 1e18 else f"1{value!r}"
    if isinstance(value, Thing):
        inner = (*value.arguments, value.state, *value.items, *value.pairs)
        return value.name + ",".join(sort_key(part, depth + 1) for part in inner)
    if isinstance(value, tuple | list):
        return ",".join(sort_key(part, depth + 1) for part in value)
    if isinstance(value, set | frozenset):
        return ",".join(sorted(sort_key(part, depth + 1) for part in value))
    return f"{type(value).__name__} {value!r}"
