"""Compare two lines of text: the numbers in them as numbers, the words between as they are."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from decimal import Decimal

from reenact.judge.outputs.numbers import Figures, compare_pair
from reenact.judge.outputs.values import Line

# Not the digits of names, versions, dates and digests: `conv2`, `1.2.3`, `2026-11-20`, `0x3f`.
_NUMBER = re.compile(
    r"(?<![\w.:/-])[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf|NaN|Infinity)(?![\w:/-]|\.\d)"
)
_SHOWN = 60
_BEFORE = 20


@dataclass(frozen=True, slots=True)
class LineDifference:
    """What differs first; no text where everything is equal in value."""

    figures: Figures
    text: str = ""
    place: str = ""
    is_tolerated: bool = True


def compare_lines(
    original: Line, reproduced: Line, tolerance: tuple[float, float]
) -> LineDifference:
    """Compare two lines; the place is the column where both have columns."""
    if original.columns and original.columns == reproduced.columns:
        return _compare_rows(original, reproduced, tolerance)
    return _compare_texts(original.text, reproduced.text, tolerance)


def _compare_texts(
    original: str, reproduced: str, tolerance: tuple[float, float], place: str = ""
) -> LineDifference:
    figures = Figures()
    words, others = _NUMBER.split(original), _NUMBER.split(reproduced)
    if words != others:
        return LineDifference(figures, _part_that_differs(original, reproduced), place, False)
    first = first_beyond = ""
    numbers = zip(_NUMBER.findall(original), _NUMBER.findall(reproduced), strict=True)
    for one, other in numbers:
        if one == other:
            continue
        before = figures.differing
        is_tolerated = _compare_numbers(one, other, tolerance, figures)
        if figures.differing > before:
            first = first or f"{one} -> {other}"
        if not is_tolerated:
            first_beyond = first_beyond or f"{one} -> {other}"
    return LineDifference(figures, first_beyond or first, place, not first_beyond)


def _compare_rows(
    original: Line, reproduced: Line, tolerance: tuple[float, float]
) -> LineDifference:
    rows = [
        next(csv.reader([line.text], delimiter=line.separator), [])
        for line in (original, reproduced)
    ]
    if len(rows[0]) != len(rows[1]):
        return _compare_texts(original.text, reproduced.text, tolerance)
    figures = Figures()
    first: LineDifference | None = None
    for index, (one, other) in enumerate(zip(*rows, strict=True)):
        if one == other:
            continue
        name = original.columns[index] if index < len(original.columns) else f"column {index + 1}"
        cell = _compare_texts(one, other, tolerance, f"{name}: ")
        figures.add(cell.figures)
        if cell.text and (first is None or (first.is_tolerated and not cell.is_tolerated)):
            first = cell
    if first is None:
        return LineDifference(figures)
    return LineDifference(figures, first.text, first.place, first.is_tolerated)


def _compare_numbers(
    one: str, other: str, tolerance: tuple[float, float], figures: Figures
) -> bool:
    """Compare two numbers as doubles; by all their digits where they are the same double."""
    values = float(one), float(other)
    if one.lower().lstrip("+-")[:3] in ("nan", "inf") or other.lower().lstrip("+-")[:3] in (
        "nan",
        "inf",
    ):
        return compare_pair(*values, tolerance, figures)
    exact = Decimal(one), Decimal(other)
    if exact[0] == exact[1]:
        figures.compared += 1
        return True
    if values[0] != values[1]:
        return compare_pair(*values, tolerance, figures)
    figures.compared += 1
    figures.differing += 1
    apart = abs(exact[0] - exact[1])
    figures.absolute = max(figures.absolute, float(apart))
    allowed = Decimal(tolerance[1]) + Decimal(tolerance[0]) * abs(exact[0])
    figures.beyond += apart > allowed
    return apart <= allowed


def _part_that_differs(original: str, reproduced: str) -> str:
    start = 0
    end = min(len(original), len(reproduced))
    while start < end and original[start] == reproduced[start]:
        start += 1
    start = max(0, start - _BEFORE) if max(len(original), len(reproduced)) > _SHOWN else 0
    return f"{_shown(original, start)} -> {_shown(reproduced, start)}"


def _shown(text: str, start: int) -> str:
    part = text[start : start + _SHOWN]
    before = "..." if start else ""
    after = "..." if start + _SHOWN < len(text) else ""
    return before + repr(part) + after
