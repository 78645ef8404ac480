"""Models of CatBoost: all bytes but the name that each gets, and when its training ended."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import Any

from reenact.judge.outputs.source import Source, all_bytes
from reenact.judge.outputs.values import Aside, Noted

_MOST_BYTES = 1 << 30
_MARK = b"CBM1"
# Its length stands before it, and zeros fill it up behind.
_NAME = re.compile(
    rb"[\x07-\x23]\0\0\0([0-9a-f]{1,8}-[0-9a-f]{1,8}-[0-9a-f]{1,8}-[0-9a-f]{1,8})\0+"
)
_DATE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class CatBoost:
    """What `save_model` writes unless told otherwise."""

    name = "cbm"
    endings: tuple[str, ...] = ()

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it begins so."""
        return head.startswith(_MARK)

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return its bytes without what is left out."""
        # Without the mark: the rest is bytes like any others.
        data = all_bytes(source, _MOST_BYTES)[len(_MARK) :]
        asides = (
            Aside("name", _NAME.findall(data)),
            Aside("date", _DATE.findall(data)),
        )
        return Noted(_DATE.sub(b"<date>", _NAME.sub(b"<name>", data)), asides)
