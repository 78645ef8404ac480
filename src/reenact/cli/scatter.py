"""A Pareto front in two dimensions: for the terminal, and as SVG that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from reenact.actions.pareto import Front, Point
from reenact.cli.axes import Frame, Scale, short
from reenact.model.direction import Direction

_FRONT_MARK, _BEATEN_MARK = "●", "·"
_STYLE = """
.front{stroke:#06c;fill:none;stroke-width:1.5} .beaten{fill:none;stroke:#888} .best{fill:#06c}
@media(prefers-color-scheme:dark){.front{stroke:#6af} .beaten{stroke:#999} .best{fill:#6af}}
"""


class _Spot(NamedTuple):
    """A point that can be drawn."""

    point: Point
    x: float
    y: float


def draw_text(front: Front, columns: int, rows: int) -> list[str]:
    """Return a picture of the first two objectives in lines of at most `columns` characters.

    Empty where there are not two objectives, or no run to draw.
    """
    spots = _spots(front)
    if not spots:
        return []
    across, up = _scales(spots)
    labels = [short(up.high), short(up.low)]
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
    low, high = short(across.low), short(across.high)
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
    frame = Frame(*_scales(spots))
    titles = _title(front, 0), _title(front, 1)
    parts = [
        *frame.open(f"Pareto front: {titles[0]}; {titles[1]}", _STYLE),
        *frame.draw(*titles),
    ]
    if len(front.objectives) == 2 and (line := _staircase(front, spots)):
        path = "L".join(f"{frame.x_of(x):.1f} {frame.y_of(y):.1f}" for x, y in line)
        parts.append(f'<path class="front" d="M{path}"/>')
    parts += [
        f'<circle class="{"best" if spot.point.is_on_front else "beaten"}" '
        f'cx="{frame.x_of(spot.x):.1f}" cy="{frame.y_of(spot.y):.1f}" r="4">'
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


def _scales(spots: Sequence[_Spot]) -> tuple[Scale, Scale]:
    xs, ys = [spot.x for spot in spots], [spot.y for spot in spots]
    return Scale(min(xs), max(xs)), Scale(min(ys), max(ys))


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


def _title(front: Front, at: int) -> str:
    objective = front.objectives[at]
    word = "least" if objective.direction is Direction.MIN else "greatest"
    return f"{objective.column.heading} ({word} is best)"


def _describe(front: Front, point: Point) -> str:
    values = point.values or ()
    pairs = zip(front.objectives, values, strict=True)
    said = ", ".join(f"{objective.column.heading} {value!r}" for objective, value in pairs)
    return f"run {point.run.id[:8]}: {said}"
