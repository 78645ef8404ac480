"""Compare two images, pixel by pixel."""

from __future__ import annotations

import operator
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from reenact.judge.outputs.numbers import Figures
from reenact.judge.outputs.values import Pixels


@dataclass(frozen=True, slots=True)
class ImageDifference:
    """How many pixels differ and by how much; no text where none does."""

    text: str = ""
    is_tolerated: bool = True


def compare_pixels(
    original: Pixels, reproduced: Pixels, tolerance: tuple[float, float], figures: Figures
) -> ImageDifference:
    """Compare two images; of a pixel every channel must be within the tolerance."""
    if (original.width, original.height) != (reproduced.width, reproduced.height):
        sizes = [f"{image.width}x{image.height}" for image in (original, reproduced)]
        return ImageDifference(f"{sizes[0]} -> {sizes[1]} pixels", False)
    if (original.channels, original.top) != (reproduced.channels, reproduced.top):
        kinds = [f"{image.channels} channels of {image.top}" for image in (original, reproduced)]
        return ImageDifference(f"{kinds[0]} -> {kinds[1]}", False)
    figures.compared += original.width * original.height
    row = len(original.data) // max(original.height, 1)
    differing = beyond = largest = 0
    first: tuple[int, int] | None = None
    for top in range(original.height):
        stretch = slice(top * row, (top + 1) * row)
        if original.data[stretch] == reproduced.data[stretch]:
            continue
        one, other = _values(original, stretch), _values(reproduced, stretch)
        apart = list(map(abs, map(operator.sub, one, other)))
        largest = max(largest, *apart)
        of_pixels = _by_pixel(apart, original.channels)
        differing += len(of_pixels) - of_pixels.count(0)
        if first is None:
            first = next(index for index, value in enumerate(of_pixels) if value), top
        over = [
            far > tolerance[1] + tolerance[0] * value for far, value in zip(apart, one, strict=True)
        ]
        beyond += sum(_by_pixel(over, original.channels))
    if first is None:
        return ImageDifference()
    figures.differing += differing
    figures.beyond += beyond
    figures.absolute = max(figures.absolute, float(largest))
    text = (
        f"{differing:,} of {original.width * original.height:,} pixels differ, by at most {largest} "
        f"of {original.top}, first at x={first[0]} y={first[1]}"
    )
    return ImageDifference(text, beyond == 0)


def _values(image: Pixels, stretch: slice) -> Sequence[int]:
    data = image.data[stretch]
    if image.top < 256:
        return data
    return struct.unpack(f">{len(data) // 2}H", data)


def _by_pixel(values: list[int], channels: int) -> list[int]:
    """Return the largest value of each pixel."""
    if channels == 1:
        return values
    return list(map(max, *(values[channel::channels] for channel in range(channels))))
