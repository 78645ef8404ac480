"""Files of trials: CSV, JSON and YAML in, CSV out.

CSV: the header names flags, every row is a trial, an empty cell leaves its flag to the default.
JSON, YAML: a list of mappings of flags to values, or one mapping. A value may be several values as
on the command line (`[0.1, 0.01]`, `range[1:5]`): the row then stands for all their combinations.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from reenact.errors import UnknownFlag, UsageError
from reenact.model.flags import Flag, FlagSet, FlagType, FlagValue
from reenact.project.flag_text import format_value, nearest, parse_value
from reenact.search.trials import Row, Trial
from reenact.search.values import (
    Choices,
    FloatSpace,
    IntSpace,
    Setting,
    is_one_value,
    read_text,
    read_yaml,
)

SUFFIXES = (".csv", ".json", ".yaml", ".yml")

_Raw: TypeAlias = tuple[int, Mapping[str, FlagValue]]
"""A line number, and what stands there."""
_Known: TypeAlias = dict[tuple[str, str], Setting]
"""What a flag's cell reads as: cells of large files are mostly alike."""


def read_trials(
    paths: Iterable[str], flags: FlagSet | None = None, *, force: bool = False
) -> list[Row]:
    """Read files of trials, one after the other.

    Args:
        paths: `.csv`, `.json`, `.yaml` or `.yml`; one without a suffix is CSV.
        flags: what the operation takes; decides how values are read.
        force: let unknown flags and refused values through.

    Raises:
        UsageError: a file cannot be read, or means nothing; the message begins with `file:line`.
        UnknownFlag, BadFlagValue: the operation refuses a flag or its value; likewise.
    """
    rows = []
    known: _Known = {}
    for path in paths:
        suffix = os.path.splitext(path)[1].lower()
        text = _read_file(path)
        found = _of_suffix(path, suffix, text)
        cells = known if suffix in (".csv", "") else None
        read = [_read_row(path, *raw, flags, force, cells) for raw in found]
        if not read:
            raise UsageError(f"{path}: there is no trial in this file")
        rows += read
    return rows


def format_trials(trials: Iterable[Trial]) -> str:
    r"""Write planned trials as CSV that `read_trials` reads as the same trials.

    Line ends are `\n`; flags stand in the order in which they first appear. Trials of
    which none sets anything are no file.
    """
    planned = list(trials)
    names = list(dict.fromkeys(name for trial in planned for name in trial.settings))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    for trial in planned:
        writer.writerow(
            _format_cell(trial.settings[name]) if name in trial.settings else "" for name in names
        )
    return file.getvalue()


def _format_cell(value: FlagValue) -> str:
    if isinstance(value, list):  # a list of one list: `[1, 2]` alone is two values
        return format_value([value])
    text = format_value(value)
    if isinstance(value, str) and text == value and not is_one_value(text):
        return "'" + text.replace("'", "''") + "'"
    return text


def _read_file(path: str) -> str:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return file.read()
    except UnicodeDecodeError:
        raise UsageError(f"{path}: this is not text in UTF-8") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error


def _of_suffix(path: str, suffix: str, text: str) -> Iterator[_Raw]:
    if suffix in (".csv", ""):
        return _read_csv(path, text)
    if suffix == ".json":
        return _read_json(path, text)
    if suffix in (".yaml", ".yml"):
        return _read_yaml(path, text)
    raise UsageError(
        f"{path}: trials are not read from files of this name",
        hint=f"use one of {', '.join(SUFFIXES)}",
    )


def _read_csv(path: str, text: str) -> Iterator[_Raw]:
    lines = list(io.StringIO(text, newline=""))
    reader = csv.reader(lines, skipinitialspace=True, strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UsageError(f"{path}:{reader.line_num}: this is not CSV: {error}") from None
        if cells is None:
            return
        cells = [cell.strip() for cell in cells]
        if header is None:
            if any(cells):
                header = _check_header(path, line, cells)
            continue
        if len(cells) > len(header) and any(cells[len(header) :]):
            raise UsageError(
                f"{path}:{line}: {len(cells)} cells, but the header has {len(header)}",
                hint="put quotes around a value with a comma",
            )
        # A row of empty cells is a trial too, with all defaults; a blank line is none.
        if any(text.strip() for text in lines[line - 1 : reader.line_num]):
            yield line, {name: cell for name, cell in zip(header, cells, strict=False) if cell}


def _check_header(path: str, line: int, names: list[str]) -> list[str]:
    while names and not names[-1]:
        names = names[:-1]
    for place, name in enumerate(names):
        if not name or name in names[:place]:
            what = f"`{name}` stands in the header twice" if name else "a column has no name"
            raise UsageError(f"{path}:{line}: {what}", hint="the first line names the flags")
    return names


def _read_json(path: str, text: str) -> Iterator[_Raw]:
    """Read element by element, so that each one's line is known."""
    decoder = json.JSONDecoder(object_pairs_hook=lambda pairs: _unique(path, pairs))
    at = _skip(text, 0)
    is_list = text[at : at + 1] == "["
    at = _skip(text, at + 1) if is_list else at
    while at < len(text):
        if is_list and text[at] == "]":
            _expect_end(path, text, at + 1)
            return
        line = text.count("\n", 0, at) + 1
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise UsageError(f"{path}:{error.lineno}: this is not JSON: {error.msg}") from None
        yield _check_map(path, line, value)
        at = _skip(text, at)
        if not is_list:
            _expect_end(path, text, at)
            return
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "]":
            break
    if is_list:
        line = text.count("\n", 0, at) + 1
        raise UsageError(f"{path}:{line}: this is not JSON: the list does not end")


def _unique(path: str, pairs: list[tuple[str, FlagValue]]) -> dict[str, FlagValue]:
    found: dict[str, FlagValue] = {}
    for name, value in pairs:
        if name in found:
            raise UsageError(f"{path}: `{name}` stands twice in one trial")
        found[name] = value
    return found


def _skip(text: str, at: int) -> int:
    found = re.compile(r"[ \t\r\n]*").match(text, at)
    return at if found is None else found.end()


def _expect_end(path: str, text: str, at: int) -> None:
    at = _skip(text, at)
    if at < len(text):
        line = text.count("\n", 0, at) + 1
        raise UsageError(f"{path}:{line}: this is not JSON: something follows its end")


def _check_map(path: str, line: int, value: object) -> _Raw:
    if not isinstance(value, dict):
        raise UsageError(
            f"{path}:{line}: a trial maps flags to values",
            hint="write `[{lr: 0.1}, {lr: 0.01}]` or `{lr: [0.1, 0.01]}`",
        )
    return line, value


def _read_yaml(path: str, text: str) -> Iterator[_Raw]:
    from reenact.project.file import yaml

    try:
        node = yaml.read_yaml(text.encode(), path)
        for item in node.items if isinstance(node, yaml.Sequence) else [node]:
            if item is not None:
                yield _check_map(path, item.place.line, yaml.plain_data(item))
    except yaml.YamlError as error:
        raise UsageError(error.message, hint=error.hint) from error


def _read_row(
    path: str,
    line: int,
    raw: Mapping[str, FlagValue],
    flags: FlagSet | None,
    force: bool,
    known: _Known | None,
) -> Row:
    row: dict[str, Setting] = {}
    for name, value in raw.items():
        flag = flags.find(name) if flags is not None else None
        try:
            if flag is None and flags is not None and not (flags.open_ended or force):
                raise _unknown(flags, name)
            key = name if flag is None else flag.name
            if key in row:
                raise UsageError(f"flag `{key}` is set twice, the second time as `{name}`")
            if known is None or not isinstance(value, str):
                row[key] = _read_value(key, value, flag, force, is_text=False)
                continue
            if (key, value) not in known:
                known[key, value] = _read_value(key, value, flag, force, is_text=True)
            row[key] = known[key, value]
        except UsageError as error:
            raise type(error)(f"{path}:{line}: {error.message}", hint=error.hint) from error
    return row


def _read_value(
    name: str, value: FlagValue, flag: Flag | None, force: bool, *, is_text: bool
) -> Setting:
    if is_text and isinstance(value, str):
        # Quotes are taken off here even for a flag that takes any text: `''` is the empty one.
        if flag is not None and flag.type in (FlagType.STRING, FlagType.PATH) and value[0] in "'\"":
            parsed = parse_value(value)
            value = parsed if isinstance(parsed, str) else value
            return read_yaml(name, [value], flag, force=force)
        setting = read_text(name, value, flag, force=force)
    else:
        setting = read_yaml(name, value, flag, force=force)
    if isinstance(setting, FloatSpace | IntSpace | Choices):
        raise UsageError(
            f"flag `{name}`: `{value}` is a space, and a file of trials holds values",
            hint="give the space on the command line",
        )
    return setting


def _unknown(flags: FlagSet, name: str) -> UnknownFlag:
    names: Sequence[str] = [flag.name for flag in flags.flags]
    close = nearest(name, names)
    hint = f"did you mean `{close}`?" if close else f"flags are: {', '.join(names)}"
    return UnknownFlag(f"unknown flag `{name}`", hint=hint if names else None)
