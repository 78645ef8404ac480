"""A Pareto front in two dimensions: for the terminal, and as SVG that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from reenact.actions.pareto import Front, Point
from reenact.model.direction import Direction

_FRONT_MARK, _BEATEN_MARK = "●", "·"
_WIDTH, _HEIGHT = 640, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 20, 20, 60
_FONT = 'font-family="monospace" font-size="12"'
_STYLE = """
.axis{stroke:#555;fill:none} .grid{stroke:#ddd} .front{stroke:#06c;fill:none;stroke-width:1.5}
.beaten{fill:none;stroke:#888} .best{fill:#06c} text{fill:#222}
@media(prefers-color-scheme:dark){.axis{stroke:#aaa} .grid{stroke:#444} .front{stroke:#6af}
.beaten{stroke:#999} .best{fill:#6af} text{fill:#eee}}
"""


class _Spot(NamedTuple):
    """A point that can be drawn."""

    point: Point
    x: float
    y: float


class _Scale(NamedTuple):
    """From numbers to places from 0 to 1."""

    low: float
    high: float

    def place(self, value: float) -> float:
        # Halves first: the width of what a float can be is no float.
        width = self.high / 2 - self.low / 2
        return (value / 2 - self.low / 2) / width if width else 0.5


def draw_text(front: Front, columns: int, rows: int) -> list[str]:
    """Return a picture of the first two objectives in lines of at most `columns` characters.

    Empty where there are not two objectives, or no run to draw.
    """
    spots = _spots(front)
    if not spots:
        return []
    across, up = _scales(spots)
    labels = [_number(up.high), _number(up.low)]
    margin = max(map(len, labels)) + 1
    width, height = max(10, columns - margin - 2), max(4, rows)
    grid = [[" "] * width for _ in range(height)]
    # What is on the front is drawn last, over what it beats.
    for spot in sorted(spots, key=lambda spot: spot.point.is_on_front):
        column = round(across.place(spot.x) * (width - 1))
        row = height - 1 - round(up.place(spot.y) * (height - 1))
        grid[row][column] = _FRONT_MARK if spot.point.is_on_front else _BEATEN_MARK
    lines = []
    for number, cells in enumerate(grid):
        label = labels[0] if number == 0 else labels[1] if number == height - 1 else ""
        lines.append(f"{label:>{margin - 1}} │{''.join(cells)}".rstrip())
    low, high = _number(across.low), _number(across.high)
    gap = " " * max(1, width - len(low) - len(high))
    lines.append(f"{'':>{margin - 1}} └{'─' * width}")
    lines.append(f"{'':>{margin + 1}}{low}{gap}{high}")
    lines.append(f"across: {_title(front, 0)}; up: {_title(front, 1)}; {_FRONT_MARK} the front")
    return lines


def can_draw(front: Front) -> bool:
    """Tell whether there is anything to draw."""
    return bool(_spots(front))


def draw_svg(front: Front) -> str:
    """Return an SVG document of the first two objectives; there is something to draw."""
    spots = _spots(front)
    across, up = _scales(spots)

    def x_of(value: float) -> float:
        return _LEFT + across.place(value) * (_WIDTH - _LEFT - _RIGHT)

    def y_of(value: float) -> float:
        return _HEIGHT - _BOTTOM - up.place(value) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" {_FONT}>',
        f"<title>Pareto front: {escape(_title(front, 0))}; {escape(_title(front, 1))}</title>",
        f"<style>{_STYLE}</style>",
    ]
    bottom = _HEIGHT - _BOTTOM
    for value in _ticks(across):
        x = x_of(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {_TOP}V{bottom}"/>')
        parts.append(
            f'<text text-anchor="middle" x="{x:.1f}" y="{bottom + 18}">{_number(value)}</text>'
        )
    for value in _ticks(up):
        y = y_of(value)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(
            f'<text text-anchor="end" x="{_LEFT - 8}" y="{y + 4:.1f}">{_number(value)}</text>'
        )
    parts.append(f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{_WIDTH - _RIGHT}"/>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text text-anchor="middle" x="{middle:.0f}" y="{_HEIGHT - 16}">'
        f"{escape(_title(front, 0))}</text>"
    )
    upright = (_TOP + bottom) / 2
    parts.append(
        f'<text text-anchor="middle" transform="translate(16 {upright:.0f}) rotate(-90)">'
        f"{escape(_title(front, 1))}</text>"
    )
    if len(front.objectives) == 2 and (line := _staircase(front, spots)):
        path = "L".join(f"{x_of(x):.1f} {y_of(y):.1f}" for x, y in line)
        parts.append(f'<path class="front" d="M{path}"/>')
    parts += [
        f'<circle class="{"best" if spot.point.is_on_front else "beaten"}" '
        f'cx="{x_of(spot.x):.1f}" cy="{y_of(spot.y):.1f}" r="4">'
        f"<title>{escape(_describe(front, spot.point))}</title></circle>"
        for spot in sorted(spots, key=lambda spot: spot.point.is_on_front)
    ]
    return "\n".join([*parts, "</svg>", ""])


def left_out(front: Front) -> int:
    """Return how many runs were compared but cannot be drawn: a number of theirs is infinite."""
    compared = sum(point.values is not None for point in front.points)
    return compared - len(_spots(front))


def _spots(front: Front) -> list[_Spot]:
    if len(front.objectives) < 2:
        return []
    return [
        _Spot(point, point.values[0], point.values[1])
        for point in front.points
        if point.values is not None and all(map(math.isfinite, point.values[:2]))
    ]


def _scales(spots: Sequence[_Spot]) -> tuple[_Scale, _Scale]:
    xs, ys = [spot.x for spot in spots], [spot.y for spot in spots]
    return _Scale(min(xs), max(xs)), _Scale(min(ys), max(ys))


def _staircase(front: Front, spots: Sequence[_Spot]) -> list[tuple[float, float]]:
    """Return the corners of the line behind which everything is beaten."""
    best = sorted((spot.x, spot.y) for spot in spots if spot.point.is_on_front)
    if front.objectives[0].direction is Direction.MAX:
        best.reverse()
    line: list[tuple[float, float]] = []
    for x, y in best:
        if line:
            line.append((x, line[-1][1]))
        line.append((x, y))
    return line


def _ticks(scale: _Scale) -> list[float]:
    """Return up to six round numbers within a scale."""
    width = scale.high - scale.low
    if not width or not math.isfinite(width):
        return list(dict.fromkeys(scale))
    power = 10.0 ** math.floor(math.log10(width / 5)) if width / 5 > 0 else 0.0
    if not power:
        return list(scale)
    step = next(m * power for m in (1, 2, 5, 10) if m * power * 5 >= width)
    first, last = math.ceil(scale.low / step), math.floor(scale.high / step)
    return [number * step for number in range(first, last + 1)]


def _title(front: Front, at: int) -> str:
    objective = front.objectives[at]
    word = "least" if objective.direction is Direction.MIN else "greatest"
    return f"{objective.column.heading} ({word} is best)"


def _describe(front: Front, point: Point) -> str:
    values = point.values or ()
    pairs = zip(front.objectives, values, strict=True)
    said = ", ".join(f"{objective.column.heading} {value!r}" for objective, value in pairs)
    return f"run {point.run.id[:8]}: {said}"


def _number(value: float) -> str:
    return f"{value:.4g}"
