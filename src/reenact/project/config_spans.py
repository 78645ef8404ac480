"""Where the values of a configuration file stand in its text: YAML, JSON, TOML and INI.

Each `scan_…` returns, for the path of every value, the part of the text that says it: single values,
lists of them as a whole, and empty maps. What stands between these parts is never touched, so that
comments, order and spelling stay.

Not covered: keys that a YAML mapping has only by `<<`, more than one YAML document in a file.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from reenact.model.flags import FlagValue
from reenact.project.file.yaml import core_value
from reenact.project.flag_text import parse_value

Path: TypeAlias = tuple[str | int, ...]


class BadConfig(Exception):
    """The text is not what its file's name says; the message is one line."""


class Span(NamedTuple):
    """A value in a text.

    Attributes:
        start: offset of its first character.
        end: offset just after it.
        value: what it means.
        indent: the column of a YAML list that is written with a dash for each item, else None.
        is_block: it is YAML text of several lines, whose end is a line's end.
    """

    start: int
    end: int
    value: FlagValue
    indent: int | None = None
    is_block: bool = False


Spans: TypeAlias = dict[Path, Span]


# --- YAML ---

_WORDS_1_1 = {
    word: meaning
    for base, meaning in (("yes", True), ("on", True), ("no", False), ("off", False))
    for word in (base, base.capitalize(), base.upper())
}
_PROPERTY = re.compile(r"(?:[&!][^\s,\[\]{}]*\s+)+")


def scan_yaml(text: str) -> Spans:
    """Find the values of a YAML file; `yes` and `no` are true and false, as most programs read them.

    Raises:
        BadConfig: it is not YAML.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return _YamlScan(text, YAML(typ="safe", pure=True).parse(text)).run()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = "" if mark is None else f"line {mark.line + 1}: "
        raise BadConfig(f"{line}{' '.join(str(error.problem).split())}") from None
    except YAMLError as error:
        raise BadConfig(" ".join(str(error).split())) from None


class _YamlScan:
    def __init__(self, text: str, events: Any) -> None:
        self.text = text
        self.next = iter(events).__next__
        self.spans: Spans = {}
        self.anchors: dict[str, FlagValue] = {}

    def run(self) -> Spans:
        event = self.next()
        while type(event).__name__ in ("StreamStartEvent", "DocumentStartEvent"):
            event = self.next()
        if type(event).__name__ != "StreamEndEvent":
            self._value(event, ())
        return self.spans

    def _value(self, event: Any, path: Path, colon: int | None = None) -> tuple[FlagValue, int]:
        """Take in a value; return it and where it ends.

        Args:
            event: with which it begins.
            path: of it.
            colon: where the colon of its key stands.
        """
        kind = type(event).__name__
        start, end = event.start_mark.index, event.end_mark.index
        if colon is not None and start == end and kind == "ScalarEvent":
            # Nothing is written: the mark is that of what follows.
            start = end = colon + 1
        if kind == "AliasEvent":
            value = self.anchors.get(event.anchor)
            self.spans[path] = Span(start, end, value)
            return value, end
        if found := _PROPERTY.match(self.text, start):
            start = found.end()
        if kind == "ScalarEvent":
            value = self._scalar(event)
            self.spans[path] = Span(start, end, value, is_block=event.style in ("|", ">"))
        elif kind == "SequenceStartEvent":
            value, end = self._sequence(event, start, path)
        else:
            value, end = self._mapping(start, path)
        if event.anchor is not None:
            self.anchors[event.anchor] = value
        return value, end

    def _scalar(self, event: Any) -> FlagValue:
        if event.style is not None or (event.ctag is not None and str(event.ctag).endswith("str")):
            return str(event.value)
        if event.value in _WORDS_1_1:
            return _WORDS_1_1[event.value]
        value: FlagValue = core_value(event.value)
        return value

    def _sequence(self, event: Any, start: int, path: Path) -> tuple[FlagValue, int]:
        items: list[FlagValue] = []
        last = start
        while type(inner := self.next()).__name__ != "SequenceEndEvent":
            value, last = self._value(inner, (*path, len(items)))
            items.append(value)
        column = None if event.flow_style else event.start_mark.column
        end = inner.end_mark.index if event.flow_style else last
        if not any(isinstance(item, dict) for item in items):
            self.spans[path] = Span(start, end, items, indent=column)
        return items, end

    def _mapping(self, start: int, path: Path) -> tuple[FlagValue, int]:
        found: dict[str, FlagValue] = {}
        last = start
        while type(key := self.next()).__name__ != "MappingEndEvent":
            if type(key).__name__ != "ScalarEvent":
                raise BadConfig(f"line {key.start_mark.line + 1}: a key must be a single value")
            event = self.next()
            name = str(key.value)
            if name == "<<" and key.style is None:
                merged, last = self._value(event, (*path, "<<"))
                for at in [at for at in self.spans if at[: len(path) + 1] == (*path, "<<")]:
                    del self.spans[at]
                if isinstance(merged, dict):
                    found = {**merged, **found}
                continue
            colon = self.text.find(":", key.end_mark.index)
            found[name], last = self._value(event, (*path, name), None if colon < 0 else colon)
        if not found:
            self.spans[path] = Span(start, key.end_mark.index, {})
        return found, max(last, key.start_mark.index if self.text[start : start + 1] == "{" else 0)


# --- JSON ---

_JSON_SPACE = re.compile(r"[ \t\r\n]*")
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_JSON_WORD = re.compile(r"[^\s,\[\]{}:\"]+")


def scan_json(text: str) -> Spans:
    """Find the values of a JSON file.

    Raises:
        BadConfig: it is not JSON.
    """
    try:
        json.loads(text)
    except ValueError as error:
        raise BadConfig(str(error)) from None
    except RecursionError:
        raise BadConfig("it is nested too deeply") from None
    spans: Spans = {}
    _json_value(text, _JSON_SPACE.match(text, 0).end(), (), spans)  # type: ignore[union-attr]
    return spans


def _json_value(text: str, at: int, path: Path, spans: Spans) -> int:
    """Take in the value that begins at `at`; the text is known to be JSON. Return its end."""
    if text[at] in "[{":
        return _json_collection(text, at, path, spans)
    found = _JSON_STRING.match(text, at) or _JSON_WORD.match(text, at)
    assert found is not None
    spans[path] = Span(at, found.end(), json.loads(found[0]))
    return found.end()


def _json_collection(text: str, at: int, path: Path, spans: Spans) -> int:
    def skip(at: int) -> int:
        found = _JSON_SPACE.match(text, at)
        assert found is not None
        return found.end()

    start = at
    is_map = text[at] == "{"
    closing = "}" if is_map else "]"
    at = skip(at + 1)
    count = 0
    while text[at] != closing:
        name: str | int = count
        if is_map:
            found = _JSON_STRING.match(text, at)
            assert found is not None
            name = str(json.loads(found[0]))
            at = skip(skip(found.end()) + 1)
        at = skip(_json_value(text, at, (*path, name), spans))
        count += 1
        if text[at] == ",":
            at = skip(at + 1)
    value: FlagValue = json.loads(text[start : at + 1])
    if _is_whole(value):
        spans[path] = Span(start, at + 1, value)
    return at + 1


def _is_whole(value: FlagValue) -> bool:
    """Tell whether a list or a map is one value: a list without maps in it, an empty map."""
    if isinstance(value, list):
        return not any(isinstance(item, dict) for item in value)
    return not value


# --- TOML ---

_TOML_SPACE = re.compile(r"[ \t]*")
_TOML_REST = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)")
_TOML_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*(?:\n|\Z))*")
_TOML_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")
_TOML_TEXT = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL
)
_TOML_BARE = re.compile(r"[^\s,\]}#](?:[^,\]}#\n]*[^\s,\]}#])?")


def scan_toml(text: str) -> Spans:
    """Find the values of a TOML file; dates and times are left out.

    Raises:
        BadConfig: it is not TOML.
    """
    try:
        tomllib.loads(text.replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(str(error)) from None
    return _TomlScan(text).run()


class _TomlScan:
    """Goes through a text that is known to be TOML."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.spans: Spans = {}
        self.counts: dict[Path, int] = {}

    def run(self) -> Spans:
        prefix: Path = ()
        at = self._skip(_TOML_GAP, 0)
        while at < len(self.text):
            if self.text.startswith("[[", at):
                keys, at = self._keys(at + 2)
                prefix = self._resolved(keys[:-1])
                prefix = (*prefix, keys[-1])
                self.counts[prefix] = self.counts.get(prefix, -1) + 1
                prefix = (*prefix, self.counts[prefix])
                at += 2
            elif self.text[at] == "[":
                keys, at = self._keys(at + 1)
                prefix = self._resolved(keys)
                at += 1
            else:
                keys, at = self._keys(at)
                at = self._value(self._skip(_TOML_SPACE, at + 1), (*prefix, *keys))
            at = self._skip(_TOML_REST, at)
            at = self._skip(_TOML_GAP, at)
        return self.spans

    def _skip(self, pattern: re.Pattern[str], at: int) -> int:
        found = pattern.match(self.text, at)
        return at if found is None else found.end()

    def _resolved(self, keys: tuple[str, ...]) -> Path:
        """Put the number of the last table of an array where a name means an array."""
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in self.counts:
                path = (*path, self.counts[path])
        return path

    def _keys(self, at: int) -> tuple[tuple[str, ...], int]:
        """Read `a.b."c d"`; return its parts and where what follows stands."""
        keys = []
        while True:
            at = self._skip(_TOML_SPACE, at)
            found = _TOML_KEY.match(self.text, at)
            assert found is not None
            word = found[0]
            keys.append(word if word[0] not in "\"'" else str(_toml_value(word)))
            at = self._skip(_TOML_SPACE, found.end())
            if self.text[at : at + 1] != ".":
                return tuple(keys), at
            at += 1

    def _value(self, at: int, path: Path) -> int:
        start = at
        if self.text[at] == "[":
            at = self._array(at, path)
        elif self.text[at] == "{":
            at = self._table(at, path)
        else:
            found = _TOML_TEXT.match(self.text, at) or _TOML_BARE.match(self.text, at)
            assert found is not None
            at = found.end()
        value = _toml_value(self.text[start:at])
        if (not isinstance(value, list | dict) or _is_whole(value)) and _is_plain(value):
            self.spans[path] = Span(start, at, value)
        return at

    def _array(self, at: int, path: Path) -> int:
        at = self._skip(_TOML_GAP, at + 1)
        count = 0
        while self.text[at] != "]":
            at = self._skip(_TOML_GAP, self._value(at, (*path, count)))
            count += 1
            if self.text[at] == ",":
                at = self._skip(_TOML_GAP, at + 1)
        return at + 1

    def _table(self, at: int, path: Path) -> int:
        at = self._skip(_TOML_SPACE, at + 1)
        while self.text[at] != "}":
            keys, at = self._keys(at)
            at = self._value(self._skip(_TOML_SPACE, at + 1), (*path, *keys))
            at = self._skip(_TOML_SPACE, at)
            if self.text[at] == ",":
                at = self._skip(_TOML_SPACE, at + 1)
        return at + 1


def _toml_value(text: str) -> Any:
    return tomllib.loads("value = " + text.replace("\r\n", "\n"))["value"]


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | dict)


# --- INI ---

_INI_SECTION = re.compile(r"\[([^]]+)\]")
_INI_OPTION = re.compile(r"([^=:\s][^=:]*?)[ \t]*[=:][ \t]*")


def scan_ini(text: str) -> Spans:
    """Find the values of an INI file; `[DEFAULT]` adds nothing to the names of its keys.

    Raises:
        BadConfig: a line belongs to nothing.
    """
    spans: Spans = {}
    section: Path = ()
    last: Path | None = None
    at = 0
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        bare = line.rstrip()
        start, at = at, at + len(line)
        if not bare or bare.lstrip()[0] in "#;":
            continue
        if line[0].isspace() and last is not None:
            spans[last] = _ini_span(text, spans[last].start, start + len(bare))
            continue
        if found := _INI_SECTION.match(bare.strip()):
            section = () if found[1] == "DEFAULT" else (found[1],)
            last = None
            continue
        option = _INI_OPTION.match(line)
        if option is None:
            raise BadConfig(f"line {number}: neither a section nor `name = value`")
        last = (*section, option[1])
        spans[last] = _ini_span(
            text, start + option.end(), max(start + len(bare), start + option.end())
        )
    return spans


def _ini_span(text: str, start: int, end: int) -> Span:
    return Span(start, end, parse_value(text[start:end]))


SCANS: dict[str, Callable[[str], Spans]] = {
    "yaml": scan_yaml,
    "json": scan_json,
    "toml": scan_toml,
    "ini": scan_ini,
}
