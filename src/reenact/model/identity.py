"""Names of things: run ids and content digests."""

from __future__ import annotations

import os
from typing import NewType

RunId = NewType("RunId", str)
"""32 lower-case hexadecimal digits."""

Digest = NewType("Digest", str)
"""64 lower-case hexadecimal digits: BLAKE3 of the content, 256 bits."""

_HEX = frozenset("0123456789abcdef")


def new_run_id() -> RunId:
    """Draw a run id: 128 random bits, from the operating system."""
    return RunId(os.urandom(16).hex())


def is_run_id(text: str) -> bool:
    """Tell whether `text` has the form of a complete run id."""
    return len(text) == 32 and _HEX.issuperset(text)


def is_digest(text: str) -> bool:
    """Tell whether `text` has the form of a content digest."""
    return len(text) == 64 and _HEX.issuperset(text)
