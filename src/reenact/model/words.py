"""Numbers with their nouns, for messages."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return `1 run`, `2 runs`, `2 directories`."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
