"""Configuration files as a way for flags: their values are flags, and a run gets a copy with others.

The copy differs from the file in the values that were set and in nothing else: comments, order and
the spelling of everything beside them stay. Values keep their types; a flag is called by the names on
the way to it, `model.layers.0.units`, and a list of single values is one flag.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from reenact.errors import CannotRun, UsageError
from reenact.model.flags import Flag, FlagValue, Template, type_of
from reenact.project.config_spans import SCANS, BadConfig, Path, Span, Spans
from reenact.project.flag_text import nearest, parse_value

FORMATS = {
    "yml": "yaml", "yaml": "yaml", "json": "json", "toml": "toml",
    "ini": "ini", "cfg": "ini", "conf": "ini",
}  # fmt: skip
"""Formats by suffix; `.in` after the suffix stands for a template of the file."""

_PLAIN = re.compile(r"[A-Za-z_./][\w./ -]*[\w./-]\Z|[A-Za-z_./]\Z", re.ASCII)
_WORD_LIKE = re.compile(
    r"(?:y|n|yes|no|on|off|true|false|null|none|nan|inf|~|[.0-9+-].*)\Z", re.IGNORECASE
)
_BOOLEANS = {
    style(word): (style(yes), style(no))
    for yes, no in (("yes", "no"), ("on", "off"), ("true", "false"))
    for word in (yes, no)
    for style in (str.lower, str.capitalize, str.upper)
}
"""How true and false are written in a file that writes one of them so."""
_DIGITS = ("1", "0")
"""How they are in an INI file, where nothing but the flag's type tells them from numbers."""


def format_of(path: str) -> str | None:
    """Return the format that a file's name tells; None for no known one."""
    return FORMATS.get(path.removesuffix(".in").rpartition(".")[2].lower())


def target_of(path: str) -> str:
    """Return where the copy of a file goes: `params.json` for `params.json.in`."""
    return path.removesuffix(".in")


def config_flags(content: bytes, path: str) -> list[Flag]:
    """Return the values of a configuration file as flags, in their order.

    Args:
        content: of the file.
        path: of the file, for its format and for messages.

    Raises:
        CannotRun: the file is not what its name says.
    """
    text, spans = _scan(content, path)
    whole = [at for at, span in spans.items() if isinstance(span.value, list)]
    flags = []
    for at, span in sorted(spans.items(), key=lambda item: item[1].start):
        # Items of a list of single values are set with the list.
        if not at or any(at[: len(outer)] == outer and at != outer for outer in whole):
            continue
        line = text.count("\n", 0, span.start) + 1
        flags.append(
            Flag(
                name=name_of(at),
                binding=Template(),
                type=type_of(span.value),
                default=span.value,
                found=f"{path}:{line}",
            )
        )
    return flags


def has_key(content: bytes, path: str, name: str) -> bool:
    """Tell whether a configuration file has a value of this dotted name."""
    return _find(_scan(content, path)[1], name) is not None


def rewrite_config(content: bytes, path: str, values: Mapping[str, FlagValue]) -> bytes:
    """Return a copy of a configuration file with other values.

    Args:
        content: of the file.
        path: of the file, for its format and for messages.
        values: by dotted name.

    Raises:
        CannotRun: the file is not what its name says.
        UsageError: it has no such key, or cannot hold the value.
    """
    text, spans = _scan(content, path)
    changes: dict[Path, tuple[Span, FlagValue]] = {}
    for name, value in values.items():
        at = _find(spans, name)
        if at is None:
            close = nearest(name, [name_of(known) for known in spans])
            raise UsageError(
                f"`{path}` has no value `{name}`",
                hint=f"did you mean `{close}`?" if close else f"write it there: `{name}`",
            )
        for inner, item in _items_of(spans, at, value):
            changes[inner] = (spans[inner], item)
    kind = format_of(path)
    assert kind is not None
    pieces = []
    last = 0
    for at, (span, value) in sorted(changes.items(), key=lambda item: item[1][0].start):
        if span.start < last:
            raise UsageError(f"`{name_of(at)}` and a part of it are both set")
        pieces += [text[last : span.start], _written(kind, text, span, value, path, at)]
        last = span.end
    new = "".join([*pieces, text[last:]])
    expected = {
        at: parse_value(_ini(text[span.start : span.end], value)) if kind == "ini" else value
        for at, (span, value) in changes.items()
    }
    _check(kind, spans, new, expected, path)
    return new.encode()


def _items_of(spans: Spans, at: Path, value: FlagValue) -> list[tuple[Path, FlagValue]]:
    """Take a list apart whose length stays, so that what stands between its items stays as well."""
    old = spans[at].value
    if isinstance(old, list) and isinstance(value, list) and len(old) == len(value):
        items: list[tuple[Path, FlagValue]] = [((*at, i), item) for i, item in enumerate(value)]
        if all(inner in spans for inner, _ in items):
            return items
    return [(at, value)]


def name_of(path: Path) -> str:
    """Return the dotted name of a value."""
    return ".".join(map(str, path))


def _scan(content: bytes, path: str) -> tuple[str, Spans]:
    kind = format_of(path)
    if kind is None:
        raise UsageError(
            f"`{path}` is no configuration file that flags can go to",
            hint="there are YAML, JSON, TOML and INI",
        )
    try:
        text = content.decode()
        return text, SCANS[kind](text)
    except UnicodeDecodeError:
        raise CannotRun(f"`{path}` cannot be read: it is not UTF-8") from None
    except BadConfig as error:
        raise CannotRun(f"`{path}` cannot be read: {error}") from None


def _find(spans: Spans, name: str) -> Path | None:
    for at in spans:
        if name_of(at) == name:
            return at
    return None


def _written(kind: str, text: str, span: Span, value: FlagValue, path: str, at: Path) -> str:
    old = text[span.start : span.end]
    if kind == "ini":
        return _ini(old, value)
    if kind == "toml":
        if value is None:
            raise UsageError(f"`{name_of(at)}` of `{path}` cannot be null: TOML has no such value")
        return _toml(value)
    if kind == "json":
        return json.dumps(value, ensure_ascii=False)
    if span.indent is not None and isinstance(value, list):
        indent = " " * span.indent
        return f"\n{indent}".join(f"- {_yaml(item)}" for item in value) if value else " []"
    if isinstance(value, bool) and old in _BOOLEANS:
        return _BOOLEANS[old][0 if value else 1]
    new = _yaml(value)
    if span.is_block:
        return new + "\n"
    return f" {new}" if not old and text[span.start - 1 : span.start] == ":" else new


def _yaml(value: FlagValue) -> str:
    """Write a value so that readers of YAML 1.1 and of YAML 1.2 read the same."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, float):
        return _yaml_float(value)
    if isinstance(value, str):
        is_plain = _PLAIN.match(value) and not _WORD_LIKE.match(value)
        return value if is_plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(key)}: {_yaml(item)}" for key, item in value.items())
        return f"{{{inner}}}"
    return repr(value)


def _yaml_float(value: float) -> str:
    if value != value:
        return ".nan"
    if value in (float("inf"), float("-inf")):
        return ".inf" if value > 0 else "-.inf"
    digits, e, exponent = repr(value).partition("e")
    if not e:
        return digits
    # Without a point, or without the sign, a reader of YAML 1.1 sees text.
    digits = digits if "." in digits else f"{digits}.0"
    return f"{digits}e{exponent if exponent[0] in '+-' else '+' + exponent}"


def _toml(value: FlagValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    return repr(value)


def _ini(old: str, value: FlagValue) -> str:
    if isinstance(value, bool):
        yes, no = _DIGITS if old in _DIGITS else _BOOLEANS.get(old, ("true", "false"))
        return yes if value else no
    if value is None:
        return ""
    if isinstance(value, str):
        # A line without a blank in front of it would be a key of its own.
        return value.replace("\n", "\n\t")
    return json.dumps(value) if isinstance(value, list | dict) else repr(value)


def _check(kind: str, before: Spans, new: str, values: Mapping[Path, FlagValue], path: str) -> None:
    """Make sure that a copy says what it must: the new values, and otherwise the same."""
    try:
        after = SCANS[kind](new)
    except BadConfig as error:
        after = {}
        problem = str(error)
    else:
        problem = "the copy would say something else"
    for at, value in values.items():
        if at not in after or not _is_same(after[at].value, value):
            raise UsageError(f"`{name_of(at)}` cannot be set in `{path}`: {problem}")
    touched = tuple(values)
    for at, span in before.items():
        is_touched = any(at[: len(t)] == t or t[: len(at)] == at for t in touched)
        if not is_touched and (at not in after or not _is_same(after[at].value, span.value)):
            raise UsageError(
                f"`{path}` cannot be changed without changing `{name_of(at)}`: {problem}"
            )


def _is_same(one: FlagValue, other: FlagValue) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (one != one and other != other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return type(one) is type(other) and one == other
