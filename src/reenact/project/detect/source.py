"""A Python source file: its bytes, its encoding, its tree, and where a node's bytes are."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable

_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_BLANK = re.compile(rb"^[ \t\f]*(?:#.*)?$")
_LINE_END = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"


def encoding_of(source: bytes) -> str:
    """Return the encoding that Python reads the file in: `utf-8`, or what its cookie says."""
    start = 3 if source.startswith(_BOM) else 0
    for line in _LINE_END.split(source[start : start + 1000], maxsplit=2)[:2]:
        found = _COOKIE.match(line)
        if found is not None:
            name = found[1].decode("ascii", "replace").lower().replace("_", "-")
            return "utf-8" if name in ("utf8", "u8") or name.startswith("utf-8") else name
        if not _BLANK.match(line):
            break
    return "utf-8"


class Unreadable(Exception):
    """The file is not Python that this interpreter understands; the message says where."""


class Source:
    """One parsed source file.

    Attributes:
        name: the path for people, relative to the project's root.
        path: the absolute path.
    """

    def __init__(self, path: str, name: str, content: bytes) -> None:
        self.path = path
        self.name = name
        self.content = content
        self.encoding = encoding_of(content)
        self.tree = _parse(name, content)
        self._starts: list[int] | None = None
        self._text: str | None = None

    @property
    def text(self) -> str:
        """The decoded text, its lines counted and ended as Python does."""
        if self._text is None:
            text = self.content.decode(self.encoding, "replace").removeprefix("\ufeff")
            self._text = text.replace("\r\n", "\n").replace("\r", "\n")
        return self._text

    def at(self, node: ast.AST) -> str:
        """Return `file:line` of a node."""
        return f"{self.name}:{getattr(node, 'lineno', 1)}"

    def segment(self, node: ast.expr) -> str:
        """Return the source text of an expression, on one line."""
        start, end = self.span(node)
        text = self.content[start:end].decode(self.encoding, "replace")
        return " ".join(text.split())

    def span(self, node: ast.expr) -> tuple[int, int]:
        """Return the byte offsets of an expression in the file's content."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._offset(node.lineno, node.col_offset)
        return start, self._offset(node.end_lineno, node.end_col_offset)

    def _offset(self, line: int, column: int) -> int:
        """Turn a line and a column, in bytes of UTF-8 as `ast` has them, into a byte offset."""
        starts = self._line_starts()
        start = starts[line - 1]
        if self.encoding == "utf-8" or column == 0:
            return start + column
        end = starts[line] if line < len(starts) else len(self.content)
        before = self.content[start:end].decode(self.encoding).encode()[:column].decode()
        return start + len(before.encode(self.encoding))

    def _line_starts(self) -> list[int]:
        if self._starts is None:
            first = 3 if self.content.startswith(_BOM) else 0
            self._starts = [first, *(found.end() for found in _LINE_END.finditer(self.content))]
        return self._starts


def _parse(name: str, content: bytes) -> ast.Module:
    try:
        with warnings.catch_warnings():
            # The script's own warnings are for its own run.
            warnings.simplefilter("ignore")
            return ast.parse(content)
    except SyntaxError as error:
        where = f"{name}:{error.lineno}" if error.lineno else name
        raise Unreadable(f"{where}: not understood as Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unreadable(f"{name}: not understood as Python: {error}") from None


def word_lines(text: str, words: Iterable[str]) -> set[int]:
    """Return the numbers of the lines in which one of the words stands."""
    lines: set[int] = set()
    for word in words:
        line, last = 1, 0
        at = text.find(word)
        while at >= 0:
            end = at + len(word)
            if not _continues(text[at - 1 : at]) and not _continues(text[end : end + 1]):
                line += text.count("\n", last, at)
                last = at
                lines.add(line)
            at = text.find(word, end)
    return lines


def _continues(character: str) -> bool:
    """Tell whether a character next to a word makes it part of a longer one."""
    return character.isalnum() or character == "_"
