"""Chance that is the same everywhere: a draw is a function of a seed and of what it is for.

Nothing is carried from draw to draw, so that a search that was killed goes on as if it had not
been, and neither Python's version, nor its hash seed, nor the machine has a say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator


def fraction(seed: int, *purpose: int | str) -> float:
    """Return an evenly distributed number, 0 included and 1 excluded."""
    return (_bits(seed, purpose) >> 11) / (1 << 53)


def below(limit: int, seed: int, *purpose: int | str) -> int:
    """Return an evenly distributed integer from 0 to `limit` - 1."""
    # 128 bits more than needed make the favour for small numbers too small to matter.
    size = (limit.bit_length() + 7) // 8 + 16
    drawn = b"".join(_digest(seed, (*purpose, part)) for part in range((size + 63) // 64))
    return int.from_bytes(drawn[:size], "big") % limit


def shuffled(limit: int, seed: int, *purpose: int | str) -> Iterator[int]:
    """Yield the integers below `limit` in a random order; the memory is that of those yielded."""
    moved: dict[int, int] = {}
    for i in range(limit):
        j = i + below(limit - i, seed, *purpose, i)
        yield moved.get(j, j)
        moved[j] = moved.pop(i, i)


def _bits(seed: int, purpose: tuple[int | str, ...]) -> int:
    return int.from_bytes(_digest(seed, purpose)[:8], "big")


def _digest(seed: int, purpose: tuple[int | str, ...]) -> bytes:
    return hashlib.blake2b(repr((seed, *purpose)).encode(errors="surrogatepass")).digest()
