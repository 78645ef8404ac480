"""Flag values as people type them: text to value, value to text, and the nearest name.

A value reads as an integer, else a float, else a flow list or map (`[1, 2]`, `{a: 1}`), else a
YAML-like scalar, else as the text itself:

* `1`, `-3`, `+4` are integers; `007`, `0x10`, `1_2`, `1:12` stay text, so that nothing typed is lost.
* `1e-4`, `.5`, `2.`, `nan`, `.nan`, `inf`, `-.inf`, `infinity` are floats, in any case.
* `yes no on off true false` are booleans: lower case, `Capitalised` or `UPPER CASE`.
* `null Null NULL ~ None` and nothing else are null; `none` is text, because choices are spelled so.
* `'…'` (two quotes stand for one) and `"…"` (with backslash escapes) are text.
* `[1:10]`, a range of a search, stays text. Brackets that do not close stay text.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from reenact.errors import BadFlagValue
from reenact.model.flags import Action, Flag, FlagType, FlagValue, Global, Option, Positional
from reenact.model.words import counted

_INT = re.compile(r"[+-]?(?:0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(
    r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z"
    r"|[+-]?\.?(?:inf|Inf|INF)\Z|[+-]?(?i:infinity)\Z|\.?(?:nan|NaN|NAN|Nan)\Z"
)
_RANGE = re.compile(r"\[[^][{},:'\"\s]*(?::[^][{},:'\"\s]*){1,3}\]\Z")
_PLAIN_IN_FLOW = re.compile(r"[^\s\[\]{},:'\"#][^\[\]{},:\n]*\Z")
_PLAIN_END = re.compile(r"[\[\]{},]")
_KEY_END = re.compile(r"[\[\]{},:]")
PLAIN_LIST = re.compile(r"\[[^][{}'\"]*\]")
"""A list whose elements need no quotes."""
PLAIN_LISTS = re.compile(rf"\[\s*{PLAIN_LIST.pattern}\s*(,\s*{PLAIN_LIST.pattern}\s*)*,?\s*\]")
"""A list of such lists."""
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "f": "\f"}
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_SINGLE = re.compile(r"'((?:[^']|'')*)'")

_WORDS: dict[str, bool | None] = {"~": None, "None": None}
for _word, _meaning in (
    ("yes", True), ("on", True), ("true", True),
    ("no", False), ("off", False), ("false", False), ("null", None),
):  # fmt: skip
    _WORDS.update(dict.fromkeys((_word, _word.capitalize(), _word.upper()), _meaning))

_MAX_DEPTH = 50


class _Malformed(Exception):
    """The text begins like a list, a map or a quoted string, but is not one."""


def parse_value(text: str) -> FlagValue:
    """Read a value as the user typed it; what reads as nothing else is the text itself."""
    if text[:1] in ("[", "{", "'", '"'):
        return _parse_bracketed(text)
    return _parse_plain(text)


def _parse_plain(text: str) -> FlagValue:
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        try:
            return int(text)
        except ValueError:  # more digits than Python converts
            return text
    if _FLOAT.match(text):
        return _to_float(text)
    return text


def _to_float(text: str) -> float:
    lowered = text.lower()
    return float(lowered.replace(".", "", 1) if lowered[-1] in "fn" else lowered)


def _parse_bracketed(text: str) -> FlagValue:
    if _RANGE.match(text):
        return text
    try:
        value, end = _parse_flow(text, 0, _PLAIN_END, 0)
    except _Malformed:
        return text
    return value if not text[end:].strip() else text


def _parse_flow(
    text: str, at: int, plain_end: re.Pattern[str], depth: int
) -> tuple[FlagValue, int]:
    """Parse one value of a flow collection; return it and the offset just after it."""
    if depth > _MAX_DEPTH:
        raise _Malformed
    at = _skip_space(text, at)
    start = text[at : at + 1]
    if start == "[":
        return _parse_list(text, at + 1, depth)
    if start == "{":
        return _parse_map(text, at + 1, depth)
    if start in ("'", '"') and start:
        return _parse_quoted(text, at)
    found = plain_end.search(text, at)
    if found is None or found.start() == at:
        raise _Malformed
    return _parse_plain(text[at : found.start()].rstrip()), found.start()


def _parse_list(text: str, at: int, depth: int) -> tuple[list[FlagValue], int]:
    items: list[FlagValue] = []
    while True:
        at = _skip_space(text, at)
        if text[at : at + 1] == "]":
            return items, at + 1
        item, at = _parse_flow(text, at, _PLAIN_END, depth + 1)
        items.append(item)
        at = _skip_separator(text, at, "]")


def _parse_map(text: str, at: int, depth: int) -> tuple[dict[str, FlagValue], int]:
    items: dict[str, FlagValue] = {}
    while True:
        at = _skip_space(text, at)
        if text[at : at + 1] == "}":
            return items, at + 1
        if text[at : at + 1] in ("'", '"'):
            key, at = _parse_quoted(text, at)
        else:
            found = _KEY_END.search(text, at)
            if found is None or found.start() == at:
                raise _Malformed
            key, at = text[at : found.start()].rstrip(), found.start()
        at = _skip_space(text, at)
        if text[at : at + 1] != ":":
            raise _Malformed
        items[key], at = _parse_flow(text, at + 1, _PLAIN_END, depth + 1)
        at = _skip_separator(text, at, "}")


def _parse_quoted(text: str, at: int) -> tuple[str, int]:
    if text[at] == "'":
        found = _SINGLE.match(text, at)
        if found is None:
            raise _Malformed
        return found[1].replace("''", "'"), found.end()
    found = _DOUBLE.match(text, at)
    if found is None:
        raise _Malformed
    return _ESCAPE.sub(_unescape, found[1]), found.end()


def _unescape(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    if code is None:
        return _ESCAPED.get(found[4], found[4])
    number = int(code, 16)
    if number > 0x10FFFF:
        raise _Malformed
    return chr(number)


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _skip_separator(text: str, at: int, closing: str) -> int:
    at = _skip_space(text, at)
    if text[at : at + 1] == ",":
        return at + 1
    if text[at : at + 1] == closing:
        return at
    raise _Malformed


def format_value(value: FlagValue) -> str:
    """Write a value so that `parse_value` reads the same value again."""
    if isinstance(value, str):
        is_plain = value == value.strip() and value.isprintable() and value != ""
        return value if is_plain and _reads_as_itself(value) else _quote(value)
    return _format_nested(value)


def _format_nested(value: FlagValue) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value if _is_plain_in_flow(value) else _quote(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_format_nested, value))}]"
    if isinstance(value, dict):
        return (
            f"{{{', '.join(f'{_format_key(k)}: {_format_nested(v)}' for k, v in value.items())}}}"
        )
    return repr(value)


def _format_key(key: str) -> str:
    return (
        key
        if _PLAIN_IN_FLOW.match(key) and key == key.strip() and key.isprintable()
        else _quote(key)
    )


def _reads_as_itself(text: str) -> bool:
    value = parse_value(text)
    return isinstance(value, str) and value == text


def _is_plain_in_flow(text: str) -> bool:
    return (
        _PLAIN_IN_FLOW.match(text) is not None
        and text == text.strip()
        and text.isprintable()
        and isinstance(_parse_plain(text), str)
    )


def _quote(text: str) -> str:
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(map(_escape, text)) + '"'


def _escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character) or f"\\u{code:04x}"


def takes_list(flag: Flag) -> bool:
    """Tell whether the flag's value is a list."""
    if flag.type is FlagType.LIST or flag.split is not None:
        return True
    binding = flag.binding
    if isinstance(binding, Option) and binding.action is Action.APPEND:
        return True
    return isinstance(binding, Option | Positional) and binding.nargs not in (None, "?")


def takes_groups(flag: Flag) -> bool:
    """Tell whether the flag's value is a list of lists: each occurrence of its option takes several."""
    binding = flag.binding
    if not isinstance(binding, Option) or binding.action is not Action.APPEND:
        return False
    return binding.nargs not in (None, "?")


def convert(flag: Flag, text: str) -> FlagValue:
    """Read the text that the user gave for a flag.

    Raises:
        BadFlagValue: the text is not of the flag's type, or not one of its choices.
    """
    if takes_groups(flag) and not (_is_null(text) and _may_be_null(flag)):
        return [_convert_group(flag, group) for group in _groups(flag, text)]
    if takes_list(flag) and not (_is_null(text) and _may_be_null(flag)):
        value: FlagValue = [_convert_one(flag, item) for item in _items(flag, text)]
        _check_length(flag, value)
        return value
    return _convert_one(flag, text)


def check_value(flag: Flag, value: FlagValue) -> FlagValue:
    """Check a value that is not text, as a caller of the Python API gives it.

    Raises:
        BadFlagValue: the value is not of the flag's type, or not one of its choices.
    """
    if isinstance(value, str):
        return convert(flag, value)
    if value is None and _may_be_null(flag):
        return None
    if takes_groups(flag):
        groups: list[FlagValue] = value if isinstance(value, list) else [value]
        if not any(isinstance(group, list) for group in groups):
            return [_check_group(flag, groups)] if groups else []
        return [_check_group(flag, group) for group in groups]
    if takes_list(flag):
        items = value if isinstance(value, list) else [value]
        converted: FlagValue = [_check_one(flag, item) for item in items]
        _check_length(flag, converted)
        return converted
    return _check_one(flag, value)


def _groups(flag: Flag, text: str) -> list[FlagValue]:
    """Split text into groups: `[[a, b], [c, d]]`; a list of single values is one group."""
    stripped = text.strip()
    if PLAIN_LISTS.fullmatch(stripped):
        # Each as it was typed: `1.10` of a flag that takes text stays what it is.
        return list(PLAIN_LIST.findall(stripped, 1))
    value = parse_value(stripped) if stripped[:1] == "[" else None
    if isinstance(value, list) and any(isinstance(item, list) for item in value):
        return value
    items = _items(flag, text)
    return [items] if items else []


def _convert_group(flag: Flag, group: FlagValue) -> FlagValue:
    items = _items(flag, group) if isinstance(group, str) else group
    found: list[FlagValue] = [
        _convert_one(flag, item) for item in (items if isinstance(items, list) else [items])
    ]
    _check_group_length(flag, found)
    return found


def _check_group(flag: Flag, group: FlagValue) -> FlagValue:
    found: list[FlagValue] = [
        _check_one(flag, item) for item in (group if isinstance(group, list) else [group])
    ]
    _check_group_length(flag, found)
    return found


def _items(flag: Flag, text: str) -> list[FlagValue]:
    """Split the text for a flag that takes a list: `[64, 32]`, `64 32`, and `64,32` for numbers."""
    stripped = text.strip()
    if flag.split is not None and (stripped[:1] != "[" or stripped[-1:] != "]"):
        return list(split_text(flag.split, text))
    if stripped[:1] == "(" and stripped[-1:] == ")":
        stripped = f"[{stripped[1:-1]}]"
    if stripped[:1] == "[":
        value = parse_value(stripped)
        if isinstance(value, list):
            if flag.type in (FlagType.STRING, FlagType.PATH):
                return _texts_of(stripped, value)
            return value
        raise _refusal(flag, "a list", text)
    if "'" in stripped or '"' in stripped:
        return list(split_text("shlex", stripped))
    is_comma_list = flag.type in (FlagType.INT, FlagType.FLOAT, FlagType.LIST)
    return list(stripped.replace(",", " ").split() if is_comma_list else stripped.split())


def split_text(how: str, text: str) -> list[str]:
    """Split text at a separator, or as a shell does: `shlex`."""
    if how != "shlex":
        return text.split(how) if text else []
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _texts_of(text: str, items: list[FlagValue]) -> list[FlagValue]:
    """Keep the elements of a list of strings as they were typed: `[1.10, yes]`."""
    if any(character in text[1:-1] for character in "[]{}'\""):
        return items
    return [item.strip() for item in text[1:-1].split(",") if item.strip()]


def _convert_one(flag: Flag, item: FlagValue) -> FlagValue:
    if not isinstance(item, str):
        return _check_one(flag, item)
    chosen = _choice(flag, item)
    if chosen is not None:
        return chosen
    value = _of_type(flag, item)
    _check_choice(flag, value, item)
    return value


def _choice(flag: Flag, text: str) -> FlagValue:
    if text in flag.choice_aliases:
        return flag.choice_aliases[text]
    for choice in flag.choices or ():
        if text == choice or (not isinstance(choice, str) and text == format_value(choice)):
            return choice
    return None


def _of_type(flag: Flag, text: str) -> FlagValue:
    binding = flag.binding
    if isinstance(binding, Option) and binding.action is Action.STORE_CONST:
        return _switch(flag, binding, text)
    kind = flag.type
    if kind in (FlagType.STRING, FlagType.PATH):
        return text
    if kind in (FlagType.ANY, FlagType.LIST):
        return parse_value(text)
    if _is_null(text) and _may_be_null(flag):
        return None
    stripped = text.strip()
    if kind is FlagType.BOOL:
        meaning = {"1": True, "0": False}.get(stripped, _WORDS.get(stripped))
        if meaning is None:
            raise _refusal(flag, "yes or no", text)
        return meaning
    if kind is FlagType.INT or (kind is FlagType.NUMBER and _INT.match(stripped)):
        if not re.fullmatch(r"[+-]?[0-9]+", stripped):
            raise _refusal(flag, "an integer", text)
        return int(stripped)
    if not _FLOAT.match(stripped):
        raise _refusal(flag, "a number", text)
    return _to_float(stripped)


def _switch(flag: Flag, binding: Option, text: str) -> FlagValue:
    """Read what was said of an option that stores a constant: the constant, yes or no."""
    value = parse_value(text)
    if value == binding.const or text == binding.const or value is True:
        return binding.const
    if value is False or value == flag.default or text == flag.default:
        return flag.default
    raise _refusal(flag, f"`{format_value(binding.const)}`, yes or no", text)


def _check_one(flag: Flag, value: FlagValue) -> FlagValue:
    text = format_value(value)
    kind = flag.type
    binding = flag.binding
    if isinstance(binding, Option) and binding.action is Action.STORE_CONST:
        return _switch(flag, binding, text)
    if value is None and _may_be_null(flag):
        return None
    if kind is FlagType.BOOL and not isinstance(value, bool):
        if value not in (0, 1) or isinstance(value, float):
            raise _refusal(flag, "yes or no", text)
        value = bool(value)
    elif kind is FlagType.INT and (isinstance(value, bool) or not isinstance(value, int)):
        raise _refusal(flag, "an integer", text)
    elif kind in (FlagType.FLOAT, FlagType.NUMBER):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _refusal(flag, "a number", text)
        value = float(value) if kind is FlagType.FLOAT else value
    elif kind in (FlagType.STRING, FlagType.PATH) and not isinstance(value, str):
        value = _choice(flag, text) or text
    _check_choice(flag, value, text)
    return value


def _check_choice(flag: Flag, value: FlagValue, text: str) -> None:
    _check_range(flag, value, text)
    choices = flag.choices
    if choices is None or flag.allow_other or any(value == choice for choice in choices):
        return
    names = [format_value(choice) for choice in choices]
    listed = ", ".join(f"`{name}`" for name in names[:30]) + (", …" if len(names) > 30 else "")
    close = nearest(text, names)
    raise BadFlagValue(
        f"flag `{flag.name}` takes one of {listed}, not `{text}`",
        hint=f"did you mean `{close}`?" if close else None,
    )


def _check_range(flag: Flag, value: FlagValue, text: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if flag.low is not None and value < flag.low:
        raise BadFlagValue(f"flag `{flag.name}` is at least {flag.low}, not `{text}`")
    if flag.high is not None and value > flag.high:
        raise BadFlagValue(f"flag `{flag.name}` is at most {flag.high}, not `{text}`")


def _check_length(flag: Flag, value: FlagValue) -> None:
    binding = flag.binding
    if not isinstance(value, list) or not isinstance(binding, Option | Positional):
        return
    if isinstance(binding, Option) and binding.action is Action.APPEND:
        return
    wanted = binding.nargs
    if isinstance(wanted, int) and len(value) != wanted:
        raise BadFlagValue(f"flag `{flag.name}` takes {counted(wanted, 'value')}, not {len(value)}")
    if wanted == "+" and not value:
        raise BadFlagValue(f"flag `{flag.name}` takes at least one value")


def _check_group_length(flag: Flag, group: list[FlagValue]) -> None:
    wanted = flag.binding.nargs if isinstance(flag.binding, Option) else None
    if isinstance(wanted, int) and len(group) != wanted:
        raise BadFlagValue(
            f"flag `{flag.name}` takes lists of {counted(wanted, 'value')}, not "
            f"`{format_value(group)}`",
            hint=f"e.g. `{flag.name}=[[{', '.join('abcdefgh'[:wanted])}]]`",
        )
    if wanted == "+" and not group:
        raise BadFlagValue(f"flag `{flag.name}` takes lists of at least one value")


def _is_null(text: str) -> bool:
    return text in _WORDS and _WORDS[text] is None


def _may_be_null(flag: Flag) -> bool:
    if flag.type in (FlagType.ANY, FlagType.STRING, FlagType.PATH):
        return flag.type is FlagType.ANY
    if isinstance(flag.binding, Global):
        return True
    return flag.default is None and flag.default_source is None and not flag.required


def _refusal(flag: Flag, wanted: str, text: str) -> BadFlagValue:
    return BadFlagValue(f"flag `{flag.name}` takes {wanted}, not `{text}`")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that the user most likely meant, or None if none is close."""
    wanted = _normal(name)
    best: str | None = None
    best_distance: float = max(1, len(wanted) // 3) + 1
    for candidate in known:
        normal = _normal(candidate)
        is_part = len(wanted) >= 2 and (
            normal.startswith(wanted) or wanted.startswith(normal + ".")
        )
        # A single slip is likelier than a part that was left out.
        is_part = is_part and normal != wanted
        distance = min(_distance(wanted, normal, best_distance), 1.5 if is_part else best_distance)
        if distance < best_distance:
            best, best_distance = candidate, distance
    return best


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").lstrip("-")


def _distance(left: str, right: str, limit: float) -> float:
    """Count insertions, deletions, substitutions and swaps of neighbours, up to `limit`."""
    if abs(len(left) - len(right)) >= limit:
        return limit
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        above, before, row = before, row, [i]
        for j, b in enumerate(right, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]
