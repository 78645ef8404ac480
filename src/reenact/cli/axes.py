"""Axes of a drawing in SVG: from numbers to places, with round numbers beside them."""

from __future__ import annotations

import math
from html import escape
from typing import NamedTuple

FONT = 'font-family="monospace" font-size="12"'
STYLE = (
    ".axis{stroke:#555;fill:none} .grid{stroke:#ddd} text{fill:#222}"
    "@media(prefers-color-scheme:dark){.axis{stroke:#aaa} .grid{stroke:#444} text{fill:#eee}}"
)
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 20, 20, 60


class Scale(NamedTuple):
    """From numbers to places from 0 to 1."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Return where a number lies between the ends."""
        # Halves first: the width of what a float can be is no float.
        width = self.high / 2 - self.low / 2
        return (value / 2 - self.low / 2) / width if width else 0.5

    def ticks(self) -> list[float]:
        """Return up to six round numbers within."""
        width = self.high - self.low
        if not width or not math.isfinite(width):
            return list(dict.fromkeys(self))
        power = 10.0 ** math.floor(math.log10(width / 5)) if width / 5 > 0 else 0.0
        if not power:
            return list(self)
        step = next(m * power for m in (1, 2, 5, 10) if m * power * 5 >= width)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [number * step for number in range(first, last + 1)]


class Frame(NamedTuple):
    """Two axes and the room between them, sizes in pixels."""

    across: Scale
    up: Scale
    width: int = 640
    height: int = 420

    def x_of(self, value: float) -> float:
        """Return how far from the left a number is drawn."""
        return _LEFT + self.across.place(value) * (self.width - _LEFT - _RIGHT)

    def y_of(self, value: float) -> float:
        """Return how far from the top a number is drawn."""
        return self.height - _BOTTOM - self.up.place(value) * (self.height - _TOP - _BOTTOM)

    def open(self, title: str, style: str) -> list[str]:
        """Return the beginning of the document, up to its style."""
        size = f'width="{self.width}" height="{self.height}"'
        return [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {FONT}>',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}{style}</style>",
        ]

    def draw(self, across: str, up: str) -> list[str]:
        """Return the axes and the grid.

        Args:
            across: what stands below.
            up: what stands beside.
        """
        bottom, right = self.height - _BOTTOM, self.width - _RIGHT
        parts = []
        for value in self.across.ticks():
            x = self.x_of(value)
            parts.append(f'<path class="grid" d="M{x:.1f} {_TOP}V{bottom}"/>')
            parts.append(
                f'<text text-anchor="middle" x="{x:.1f}" y="{bottom + 18}">{short(value)}</text>'
            )
        for value in self.up.ticks():
            y = self.y_of(value)
            parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>')
            parts.append(
                f'<text text-anchor="end" x="{_LEFT - 8}" y="{y + 4:.1f}">{short(value)}</text>'
            )
        parts.append(f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>')
        middle = (_LEFT + right) / 2
        parts.append(
            f'<text text-anchor="middle" x="{middle:.0f}" y="{self.height - 16}">'
            f"{escape(across)}</text>"
        )
        upright = (_TOP + bottom) / 2
        parts.append(
            f'<text text-anchor="middle" transform="translate(16 {upright:.0f}) rotate(-90)">'
            f"{escape(up)}</text>"
        )
        return parts


def short(value: float) -> str:
    """Return a number as it stands beside an axis."""
    return f"{value:.4g}"
