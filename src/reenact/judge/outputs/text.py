"""Read text: line by line, tables by column, JSON by key. Numbers are compared as such."""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from reenact.judge.names import is_time
from reenact.judge.outputs.source import Source, all_bytes, head
from reenact.judge.outputs.values import Aside, Line, Noted, Sequence, numbered, row_name

# A tree of objects takes some ten times as much; larger ones are compared line by line.
_MOST_JSON_BYTES = 256 << 20
_LONGEST_LINE = 1 << 20
_MOST_NAMED = 3
_MOST_COLUMNS = 10_000
# A double holds any number of so few digits, and a text of more may be another one.
_EXACT_DIGITS = 16
_LONG_INTEGER = 300
_KERAS_LOCATION = "shared_object_id"
# Where to divide a line that does not end, as in XML and JSON: at the first of these it has.
_DIVIDERS = (">", ",", " ")


def is_text(beginning: bytes) -> bool:
    """Say whether bytes are the beginning of a text in UTF-8."""
    if b"\0" in beginning:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError:
        return False
    return True


class Text:
    """Any text; ends of lines of another system are left out."""

    name = "text"
    endings: tuple[str, ...] = (".txt", ".log", ".md", ".yaml", ".yml", ".toml", ".xml", ".jsonl")

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say no: there is no mark of text."""
        return False

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return its lines."""
        aside = _line_aside(head(source), source.name)
        if aside is None:
            return Sequence(lambda: map(Line, lines(source)), row_name("line"))
        pattern, what = aside

        def line(text: str) -> Any:
            if pattern.match(text):
                return Aside(what, text)
            # A name of LightGBM's tells more than the number of a line.
            name, is_named, values = text.partition("=")
            return {name: Line(values)} if is_named and name.isidentifier() else Line(text)

        return Sequence(lambda: map(line, lines(source)), row_name("line"))


def _line_aside(beginning: bytes, name: str) -> tuple[re.Pattern[str], str] | None:
    """Return which lines of a text say nothing of the result, and what they are."""
    if beginning.startswith(b"tree\nversion="):
        # How long the text of each tree is; the trees themselves are compared.
        return re.compile("tree_sizes="), "sizes of trees"
    if beginning.startswith(b"%!PS"):
        return re.compile("%%CreationDate:"), "date"
    if name == "MLmodel":
        return re.compile("(model_uuid|model_id|run_id|utc_time_created):"), "name and date"
    return None


def lines(source: Source) -> Iterator[str]:
    """Yield the lines of a text without their ends; a very long one in pieces, by its content."""
    with source.stream() as file, io.TextIOWrapper(file, "utf-8", "backslashreplace") as reader:
        while line := reader.readline(_LONGEST_LINE):
            if len(line) == _LONGEST_LINE and not line.endswith("\n"):
                yield from _pieces(line, reader)
            else:
                yield line.removesuffix("\n")


def _pieces(start: str, reader: io.TextIOWrapper) -> Iterator[str]:
    """Yield the pieces of a line that begins so, which are the same wherever they lie in it."""
    divider = next((mark for mark in _DIVIDERS if mark in start), "\n")
    text = start
    while True:
        is_end = text.endswith("\n")
        *pieces, rest = text.removesuffix("\n").split(divider)
        yield from pieces
        if not is_end and len(rest) > _LONGEST_LINE:
            yield rest
            rest = ""
        more = "" if is_end else reader.readline(_LONGEST_LINE)
        if not more:
            yield rest
            return
        text = rest + more


class Table:
    """Comma- or tab-separated values."""

    name = "csv"
    endings: tuple[str, ...] = (".csv", ".tsv")

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say no: there is no mark of tables."""
        return False

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return its lines, which know the columns' names."""
        separator = "\t" if source.name.lower().endswith(".tsv") else ","
        first = next(lines(source), "")
        if first.count(separator) < first.count(";"):
            separator = ";"
        columns = tuple(next(csv.reader([first], delimiter=separator), []))
        if len(columns) > _MOST_COLUMNS or any(_is_number(name) for name in columns):
            columns = tuple(f"column {index + 1}" for index in range(len(columns)))
        times = tuple(at for at, name in enumerate(columns) if is_time(name))
        if not times:
            return Sequence(
                lambda: (Line(line, columns, separator) for line in lines(source)),
                row_name("line"),
            )
        what = ", ".join(columns[at] for at in times[:_MOST_NAMED])
        return Sequence(
            lambda: (_without(line, times, what, columns, separator) for line in lines(source)),
            row_name("line"),
        )


def _without(
    line: str, times: tuple[int, ...], what: str, columns: tuple[str, ...], separator: str
) -> Noted:
    """Return a row of a table without its cells that say when, how long or how fast."""
    cells = next(csv.reader([line], delimiter=separator), [])
    kept = ["" if at in times else cell for at, cell in enumerate(cells)]
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="").writerow(kept)
    aside = Aside(what, [cells[at] for at in times if at < len(cells)], of="row")
    return Noted(Line(text.getvalue(), columns, separator), (aside,))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class Json:
    """JSON; the order of keys and spaces are left out."""

    name = "json"
    endings: tuple[str, ...] = (".json",)

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it begins as an object or an array does, and is not called otherwise."""
        start = head.lstrip()[:2]
        return start[:1] in (b"{", b"[") and is_text(head) and not name.endswith(Text.endings)

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return the value; the lines of what is not one value, or a very large one."""
        value = parse_json(source)
        return Text().read(source, keep) if value is None else value


def parse_json(source: Source) -> Any:
    """Return the value of a file of JSON, None of what is none."""
    with source.open() as file:
        size = file.seek(0, io.SEEK_END)
    if size > _MOST_JSON_BYTES:
        return None
    data = all_bytes(source, _MOST_JSON_BYTES)
    try:
        value = json.loads(data, object_pairs_hook=_object, parse_float=_number, parse_int=_number)
        # Keras tells by their memory locations which objects are one.
        return (
            renumbered(value, (_KERAS_LOCATION,), {}) if _KERAS_LOCATION.encode() in data else value
        )
    except (ValueError, RecursionError):
        return None


def _number(text: str) -> Any:
    """Return a number; the text of one that has more digits than a number of Python holds."""
    if not any(mark in text for mark in ".eE"):
        return int(text) if len(text) < _LONG_INTEGER else Line(text)
    number = float(text)
    if math.isfinite(number) and (len(text) < _EXACT_DIGITS or repr(number) == text):
        return number
    return Line(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        return dict(numbered(pairs))
    for name, inner in value.items():
        if isinstance(inner, int | float) and not isinstance(inner, bool) and is_time(name):
            value[name] = Aside(name, inner)
    return value


def renumbered(value: Any, keys: tuple[str, ...], numbers: dict[Any, int]) -> Any:
    """Return a value of JSON with numbers in their order for what is under certain keys."""
    if isinstance(value, list):
        return [renumbered(item, keys, numbers) for item in value]
    if not isinstance(value, dict):
        return value
    changed: dict[str, Any] = {}
    for key, inner in value.items():
        if key in keys and isinstance(inner, int | str):
            number = numbers.setdefault(inner, len(numbers))
            changed[key] = Noted(number, (Aside("memory location", inner, of="object"),))
        else:
            changed[key] = renumbered(inner, keys, numbers)
    return changed
