"""Read YAML 1.2 into nodes that know where they stand.

Promised: every problem is a `YamlError` with file and line: bad syntax, a tab, a duplicate key, a
second document, an alias of itself. Plain scalars mean what the core schema of YAML 1.2 says (`1e-4` is
a number, `yes` and `010` are not special); merge keys (`<<`) of YAML 1.1 are understood. Comments are
not kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from reenact.errors import ReenactError
from reenact.project.file.model import Place

_INT = re.compile(r"[-+]?[0-9]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_OTHER_BASE = re.compile(r"0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_TAG = "tag:yaml.org,2002:"
_NOT_FOR_LIBYAML = re.compile(
    r"[\t\x85\u2028\u2029\ufeff%]|\r(?!\n)|^(?:---|\.\.\.)|\?(?:\s|\Z)"
    r"|[|>][-+0-9]*(?:#|[ ]*(?:#.*)?\r?\n[ ]*\r?$)",
    re.MULTILINE,
)
_MAX_NODES = 200_000
"""More than any project has; a few lines of aliases can make more than memory holds."""


class YamlError(ReenactError):
    """A file is not YAML that can be used; `place` tells where."""

    def __init__(self, place: Place, message: str, *, hint: str | None = None) -> None:
        super().__init__(f"{place}: {message}", hint=hint)
        self.place = place
        self.plain = message


class Scalar:
    """A single value: `text` as written, and what it means."""

    __slots__ = ("is_plain", "place", "text", "value")

    def __init__(self, text: str, place: Place, *, is_plain: bool, value: Any = ...) -> None:
        self.text = text
        self.place = place
        self.is_plain = is_plain
        self.value: Any = (core_value(text) if is_plain else text) if value is ... else value


class Sequence:
    """A list."""

    __slots__ = ("items", "place")

    def __init__(self, items: list[Node], place: Place) -> None:
        self.items = items
        self.place = place


class Mapping:
    """A mapping, in the order of the file. Keys are texts.

    Attributes:
        keys: where each key stands, and what it means.
        place: of its first key.
    """

    __slots__ = ("items", "keys", "place")

    def __init__(self, items: dict[str, Node], keys: dict[str, Scalar], place: Place) -> None:
        self.items = items
        self.keys = keys
        self.place = place

    def get(self, name: str) -> Node | None:
        """Return the value of a key, None if it is not there."""
        return self.items.get(name)

    def copy(self) -> Mapping:
        """Return a mapping that can be changed; values are shared."""
        return Mapping(dict(self.items), dict(self.keys), self.place)

    def put(self, name: str, value: Node, key: Scalar | None = None) -> None:
        """Set a key; one that is new stands where its value does, unless told otherwise."""
        self.items[name] = value
        if key is not None or name not in self.keys:
            self.keys[name] = key or Scalar(name, value.place, is_plain=True, value=name)

    def drop(self, name: str) -> Node | None:
        """Take a key out and return its value."""
        self.keys.pop(name, None)
        return self.items.pop(name, None)


Node: TypeAlias = Scalar | Sequence | Mapping


def core_value(text: str) -> Any:
    """Return what a plain scalar means in the core schema of YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INT.match(text):
        try:
            return int(text)
        except ValueError:  # more digits than Python converts
            return text
    if _FLOAT.match(text):
        return float(text)
    if _OTHER_BASE.match(text):
        return int(text, 0)
    return text


def plain_data(node: Node | None) -> Any:
    """Return the Python value of a node."""
    if node is None:
        return None
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return [plain_data(item) for item in node.items]
    return {name: plain_data(item) for name, item in node.items.items()}


def is_null(node: Node | None) -> bool:
    """Tell whether nothing is said: no node, or null."""
    return node is None or (isinstance(node, Scalar) and node.value is None)


def read_yaml(content: bytes, file: str, *, quickly: bool = True) -> Node | None:
    """Read a file's content; None where it is empty or all comments.

    Args:
        content: UTF-8.
        file: how places name the file.
        quickly: use libyaml where it is there and says the same.

    Raises:
        YamlError: it is not YAML, or not YAML that can be used.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise YamlError(Place(file, line), "the file is not UTF-8") from None
    if not any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines()):
        return None
    quick = _compose_quickly(text, file) if quickly else None
    return _compose(text, file) if quick is None else quick


def _compose_quickly(text: str, file: str) -> Node | None:
    """Read by libyaml, which takes a tenth of the time; None where it might not say what YAML 1.2 does.

    It knows YAML 1.1, and its messages are others: what is rare or wrong is not left to it.
    """
    if _NOT_FOR_LIBYAML.search(text) is not None:
        return None
    from ruamel.yaml.error import YAMLError

    try:
        from _ruamel_yaml import CParser
    except ImportError:
        return None

    try:
        node = _Composer(CParser(text).get_event, file).compose_document()
    except (YAMLError, YamlError, RecursionError):
        return None
    return None if isinstance(node, Scalar) else node


def _compose(text: str, file: str) -> Node | None:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.reader import ReaderError

    yaml = YAML(typ="safe", pure=True)
    try:
        return _Composer(iter(yaml.parse(text)).__next__, file).compose_document()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if "simple key" in str(error.context) and error.context_mark is not None:
            mark = error.context_mark  # Where the key stands, not what is found behind it.
        place = Place(file, 1 if mark is None else mark.line + 1)
        raise YamlError(place, *_explain(text, place.line, error)) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(
            Place(file, line), f"the character U+{error.character:04X} is not allowed"
        ) from None
    except RecursionError:
        raise YamlError(Place(file, 1), "it is nested too deeply") from None


class _Composer:
    """Makes nodes of the events of one document, which a function returns one by one."""

    def __init__(self, next_event: Callable[[], Any], file: str) -> None:
        self.next = next_event
        self.file = file
        self.anchors: dict[str, tuple[Node | None, int]] = {}
        self.count = 0

    def compose_document(self) -> Node | None:
        from ruamel.yaml.events import DocumentStartEvent, StreamEndEvent

        self.next()  # the start of the stream
        event = self.next()
        if isinstance(event, StreamEndEvent):
            return None
        assert isinstance(event, DocumentStartEvent)
        node = self._compose(self.next())
        self.next()  # the end of the document
        event = self.next()
        if not isinstance(event, StreamEndEvent):
            raise YamlError(
                self._place(event), "a second document begins", hint="remove the line `---`"
            )
        return node

    def _place(self, event: Any) -> Place:
        return Place(self.file, event.start_mark.line + 1)

    def _compose(self, event: Any) -> Node:
        kind = type(event).__name__
        before = self.count
        self._grow(1, event)
        anchor = event.anchor
        if kind == "AliasEvent":
            return self._alias(event)
        if anchor is not None:
            self.anchors[anchor] = (None, 0)
        if kind == "ScalarEvent":
            node: Node = self._scalar(event)
        elif kind == "SequenceStartEvent":
            node = self._sequence(event)
        else:
            node = self._mapping(event)
        if anchor is not None:
            self.anchors[anchor] = (node, self.count - before)
        return node

    def _grow(self, nodes: int, event: Any) -> None:
        self.count += nodes
        if self.count > _MAX_NODES:
            raise YamlError(self._place(event), f"it has more than {_MAX_NODES:,} values")

    def _alias(self, event: Any) -> Node:
        node, size = self.anchors.get(event.anchor, (None, -1))
        if node is None:
            problem = "is an alias of itself" if size == 0 else "has no anchor"
            raise YamlError(self._place(event), f"`*{event.anchor}` {problem}")
        self._grow(size, event)
        return node

    def _scalar(self, event: Any) -> Scalar:
        place = self._place(event)
        text = _whole(event.value, place)
        tag = None if event.ctag is None else str(event.ctag)
        if tag is None:
            return Scalar(text, place, is_plain=not event.style)
        if tag in ("!", f"{_TAG}str"):
            return Scalar(text, place, is_plain=False)
        kinds: dict[str, tuple[type, ...]] = {
            "int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),),
        }  # fmt: skip
        value = core_value(text)
        wanted = kinds.get(tag.removeprefix(_TAG))
        if wanted is None:
            raise YamlError(place, f"the tag `{_short(tag)}` is not supported")
        if type(value) not in wanted:
            raise YamlError(place, f"`{text}` is no `{_short(tag)}`")
        return Scalar(text, place, is_plain=True, value=float(value) if float in wanted else value)

    def _sequence(self, event: Any) -> Sequence:
        self._check_tag(event, "seq")
        place = self._place(event)
        items: list[Node] = []
        while type(event := self.next()).__name__ != "SequenceEndEvent":
            items.append(self._compose(event))
        return Sequence(items, place)

    def _mapping(self, event: Any) -> Mapping:
        self._check_tag(event, "map")
        place = self._place(event)
        items: dict[str, Node] = {}
        keys: dict[str, Scalar] = {}
        merged: list[Mapping] = []
        while type(event := self.next()).__name__ != "MappingEndEvent":
            key = self._compose(event)
            if not isinstance(key, Scalar):
                raise YamlError(key.place, "a key must be a single value")
            if key.text in keys:
                raise YamlError(
                    key.place,
                    f"duplicate key `{key.text}`, first in line {keys[key.text].place.line}",
                )
            value = self._compose(self.next())
            if isinstance(value, Scalar) and not value.text and value.is_plain:
                # Nothing is written: parsers say that it stands anywhere before the next word.
                value = Scalar("", key.place, is_plain=True, value=value.value)
            if key.text == "<<" and key.is_plain:
                merged += _merged(value)
                continue
            keys[key.text] = key
            items[key.text] = value
        for mapping in merged:
            for name, value in mapping.items.items():
                if name not in items:
                    items[name], keys[name] = value, mapping.keys[name]
        return Mapping(items, keys, place)

    def _check_tag(self, event: Any, kind: str) -> None:
        tag = None if event.ctag is None else str(event.ctag)
        if tag not in (None, "!", f"{_TAG}{kind}"):
            raise YamlError(self._place(event), f"the tag `{_short(tag or '')}` is not supported")


def _whole(text: str, place: Place) -> str:
    """Join the halves of characters that are written as in JSON: two escapes of 16 bits."""
    if text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise YamlError(place, "half a character: an escape of a pair stands alone") from None


def _merged(value: Node) -> list[Mapping]:
    found = value.items if isinstance(value, Sequence) else [value]
    for node in found:
        if not isinstance(node, Mapping):
            raise YamlError(node.place, "`<<` takes a mapping")
    return [node for node in found if isinstance(node, Mapping)]


def _short(tag: str) -> str:
    return tag.replace(_TAG, "!!")


def _explain(text: str, line: int, error: Any) -> tuple[str]:
    """Say in one line what is wrong with the syntax."""
    lines = text.splitlines()
    written = lines[line - 1] if line <= len(lines) else ""
    problem = str(error.problem or error.context or "it is not YAML").strip()
    indent = written[: len(written) - len(written.lstrip())]
    if "\t" in indent:
        return ("a tab in the indentation: YAML takes blanks only",)
    if "cannot start any token" in problem:
        character = problem.partition("'")[2].partition("'")[0]
        if character == "\\t":
            return ("a tab where a value must begin: YAML takes blanks only",)
        return (f"a value cannot begin with `{character}`: put it in quotes",)
    if "mapping values are not allowed" in problem:
        return ("a colon where no key can be: put the text in quotes, or check the indentation",)
    if "could not find expected ':'" in problem or "could not find expected" in problem:
        return ("a key without its colon",)
    if "expected <block end>" in problem:
        return ("the indentation fits nothing above it",)
    if "while scanning a quoted scalar" in str(error.context):
        opened = error.context_mark.line + 1 if error.context_mark is not None else line
        return (f"the quote of line {opened} is never closed",)
    return (f"not valid YAML: {' '.join(problem.split())}",)
