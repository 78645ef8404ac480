r"""Texts with flags in them: `${lr}` in commands, variables and paths of a project file, and labels.

`${name}` stands for the value of a flag, `\${name}` for itself. In a label a value may go through
filters: `${data|basename}`, `${lr|%.3f}`, `${note|default:none}`, `${name|unquote}`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

from reenact.model.flags import FlagValue
from reenact.project.flag_text import format_value

_REFERENCE = re.compile(r"(\\)?\$\{([^${}]+)\}")
_PRINTF = re.compile(r"%[-+ 0#]*[0-9]*(?:\.[0-9]+)?[diouxXeEfFgGs]\Z")
_FLOAT_DIGITS = 5

FLAG_ARGS = "flag_args"
DEFAULT_LABEL = "default_label"


class UnknownReference(Exception):
    """A text refers to what is no flag."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def names_in(text: str) -> list[str]:
    """Return the names that a text refers to, each once."""
    found = (match[2] for match in _REFERENCE.finditer(text) if not match[1])
    return list(dict.fromkeys(found))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put values in the place of references; nothing of what they put in is read again.

    Raises:
        UnknownReference: one of them has no value.
    """

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return match[0][1:]
        if match[2] not in values:
            raise UnknownReference(match[2])
        return values[match[2]]

    return _REFERENCE.sub(value, text)


def value_text(value: FlagValue) -> str:
    """Write a value for a program: true is `1`, false and null are empty, text is itself."""
    if isinstance(value, bool):
        return "1" if value else ""
    if value is None:
        return ""
    return value if isinstance(value, str) else format_value(value)


def value_texts(values: Mapping[str, FlagValue]) -> dict[str, str]:
    """Write all values as `value_text` does."""
    return {name: value_text(value) for name, value in values.items()}


# --- labels ---


def default_label(values: Mapping[str, FlagValue]) -> str:
    """Return `epochs=3 lr=0.1`: names in order, null left out, fractions cut after five digits."""
    shown = []
    for name in sorted(values):
        value = values[name]
        if value is not None:
            shown.append(f"{name}={_short(value)}")
    return " ".join(shown)


def fill_label(
    template: str, values: Mapping[str, FlagValue], given: Mapping[str, FlagValue]
) -> str:
    """Return the label that a template makes; what has no value leaves nothing behind.

    Args:
        template: the label as it is written.
        values: all flags.
        given: those that the user set: they make the `${default_label}`.
    """

    def part(match: re.Match[str]) -> str:
        if match[1]:
            return match[0][1:]
        name, *filters = (piece.strip() for piece in match[2].split("|"))
        value: FlagValue = default_label(given) if name == DEFAULT_LABEL else values.get(name)
        for text in filters:
            value = _filtered(value, text)
        return _shown(value)

    return _REFERENCE.sub(part, template).strip()


def label_names(template: str) -> list[str]:
    """Return the names of flags that a label refers to and has no default for."""
    names = []
    for reference in names_in(template):
        name, *filters = (piece.strip() for piece in reference.split("|"))
        if name != DEFAULT_LABEL and not any(f.startswith("default:") for f in filters):
            names.append(name)
    return names


def unknown_filters(template: str) -> list[str]:
    """Return the filters of a label that there are not."""
    filters = [
        piece.strip() for reference in names_in(template) for piece in reference.split("|")[1:]
    ]
    return [
        text
        for text in filters
        if text.partition(":")[0] not in (*_FILTERS, "default") and not _PRINTF.match(text)
    ]


def _filtered(value: FlagValue, text: str) -> FlagValue:
    name, _, argument = text.partition(":")
    if name == "default":
        return argument if value is None or value == "" else value
    if name in _FILTERS:
        return _FILTERS[name](value)
    if not _PRINTF.match(text) or value is None:
        return value
    try:
        return text % value
    except (TypeError, ValueError):
        # `%.3f` of a word: the word tells more than nothing.
        return value


def _basename(value: FlagValue) -> FlagValue:
    return os.path.basename(value.rstrip("/")) if isinstance(value, str) else value


def _unquote(value: FlagValue) -> FlagValue:
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value


_FILTERS: dict[str, Callable[[FlagValue], FlagValue]] = {
    "basename": _basename,
    "unquote": _unquote,
}


def _shown(value: FlagValue) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else format_value(value)


def _short(value: FlagValue) -> str:
    if isinstance(value, bool):
        return _shown(value)
    if isinstance(value, float):
        text = repr(value)
        whole, dot, digits = text.partition(".")
        is_plain = dot and digits.isdigit() and len(digits) > _FLOAT_DIGITS
        return f"{whole}.{digits[:_FLOAT_DIGITS]}" if is_plain else text
    return format_value(value)
