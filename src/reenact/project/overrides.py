"""Flags as overrides of a composed configuration: `optimizer.lr=0.1`, as Hydra and OmegaConf take them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from reenact.model.flags import FlagSet, FlagValue
from reenact.project.flag_text import format_value

HYDRA = "hydra"
OMEGACONF = "omegaconf"
KINDS = frozenset((HYDRA, OMEGACONF))
OWN_NAMES = ("hydra.", "hydra/", "+")
"""How overrides begin that are Hydra's own affair."""

_PLAIN = re.compile(r"[\w/\-.$%*@?|+:]+(?: +[\w/\-.$%*@?|+:]+)*\Z", re.ASCII)
_NUMBER = re.compile(
    r"[+-]?(?:[0-9][0-9_]*|(?:[0-9][0-9_]*)?\.?[0-9_]*(?:[eE][+-]?[0-9_]+)?|inf|nan)\Z",
    re.IGNORECASE,
)
_INDICATORS = tuple("!&*%@|>?`")
_WORD = re.compile(r"(?:true|false|null)\Z", re.IGNORECASE)


def override_words(flags: FlagSet, values: Mapping[str, FlagValue]) -> list[str]:
    """Return the arguments that set these values; a key that is not there is added."""
    words = []
    for name, value in values.items():
        if flags.kind == OMEGACONF:
            words.append(f"{name}={_yaml_text(value)}")
            continue
        is_known = flags.find(name) is not None or flags.open_ended or name.startswith(OWN_NAMES)
        words.append(f"{'' if is_known else '+'}{name}={hydra_text(value)}")
    return words


def hydra_text(value: FlagValue) -> str:
    """Write a value in the grammar of Hydra's overrides."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return f"[{','.join(map(hydra_text, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{hydra_text(item)}" for name, item in value.items()) + "}"
    return format_value(value)


def _yaml_text(value: FlagValue) -> str:
    """Write a value as YAML 1.1 on one line."""
    if isinstance(value, str) and (value[:1] in _INDICATORS or value[:2] == "- " or " #" in value):
        return "'" + value.replace("'", "''") + "'"
    # As an item of a list text is quoted wherever it could be taken for something else.
    return format_value([value])[1:-1]


def _text(value: str) -> str:
    is_reference = value.startswith("${") and value.endswith("}")
    if is_reference or value == "":
        return value or "''"
    if _PLAIN.match(value) and not _NUMBER.match(value) and not _WORD.match(value):
        return value
    # A backslash is one, except before a quote.
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    tail = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{escaped[len(escaped) - tail :] if tail else ''}'"
