"""Arguments for flags that a project file describes: `--name value`, by what it says of each."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from reenact.model.flags import FlagValue
from reenact.project.file.model import Encoding, FlagDef
from reenact.project.flag_text import format_value, split_text
from reenact.project.template import value_text


def has_own_form(definition: FlagDef | None) -> bool:
    """Tell whether a file says how a flag is written, so that its script is not asked."""
    return definition is not None and (
        definition.arg_switch is not None
        or definition.arg_split is not None
        or bool(definition.arg_encoding)
    )


def is_skipped(definition: FlagDef | None, *, default_skip: bool) -> bool:
    """Tell whether a flag is no argument."""
    if definition is None or definition.arg_skip is None:
        return default_skip
    return definition.arg_skip


def flag_words(
    values: Mapping[str, FlagValue], definitions: Mapping[str, FlagDef], *, default_skip: bool
) -> list[str]:
    """Return the arguments for flags, by name; null ones are left out.

    Args:
        values: the flags.
        definitions: what the file says of them, of some at least.
        default_skip: flags of which the file does not say otherwise are no arguments.
    """
    words: list[str] = []
    for name in sorted(values):
        definition = definitions.get(name)
        if not is_skipped(definition, default_skip=default_skip):
            words += one_flag(name, definition, values[name])
    return words


def one_flag(name: str, definition: FlagDef | None, value: FlagValue) -> list[str]:
    """Return the arguments for one flag."""
    if value is None:
        return []
    option = f"--{(definition.arg_name if definition is not None else None) or name}"
    if definition is None:
        return [option, *_values(value)]
    if definition.arg_encoding:
        value = encoded(definition.arg_encoding, value)
        if value is None:
            return []
    if definition.arg_switch is not None:
        # Compared with the type: the switch of `1` is not that of true.
        is_on = value == definition.arg_switch and type(value) is type(definition.arg_switch)
        return [option] if is_on else []
    if definition.arg_split is not None:
        return [option, *split_value(definition.arg_split, value)]
    return [option, *_values(value)]


def encoded(encodings: Sequence[Encoding], value: FlagValue) -> FlagValue:
    """Return what is passed on instead of a value."""
    for encoding in encodings:
        if encoding.value == value and type(encoding.value) is type(value):
            return encoding.passed
    return value


def split_value(how: str, value: FlagValue) -> list[str]:
    """Return the parts of a value that is several arguments."""
    if isinstance(value, list):
        return [value_text(item) for item in value]
    return split_text(how, value_text(value))


def joined_text(how: str, parts: Sequence[FlagValue]) -> str:
    """Write a list as the text that `split_value` takes apart."""
    texts = [value if isinstance(value, str) else format_value(value) for value in parts]
    return shlex.join(texts) if how == "shlex" else how.join(texts)


def _values(value: FlagValue) -> list[str]:
    if isinstance(value, list):
        return [value_text(item) for item in value]
    return [value_text(value)]


def flag_environment(
    values: Mapping[str, FlagValue], definitions: Mapping[str, FlagDef]
) -> dict[str, str]:
    """Return the variable of each flag: `FLAG_<NAME>`, or as the file says; null ones are left out."""
    found = {}
    for name, value in values.items():
        definition = definitions.get(name)
        if definition is not None:
            value = encoded(definition.env_encoding, value)
        if value is None:
            continue
        own = None if definition is None else definition.env_name
        found[own or variable_of(name)] = value_text(value)
    return found


def variable_of(flag: str) -> str:
    """Return the variable in which a flag is passed on: `FLAG_BATCH_SIZE` for `batch-size`."""
    return "FLAG_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in flag).upper()
