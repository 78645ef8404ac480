"""The versions of what is written as JSON: each value says its own as `format`."""

from __future__ import annotations

import msgspec

from reenact.errors import TooNew


class _Version(msgspec.Struct):
    format: int = 0


def format_of(data: bytes) -> int:
    """Return which version JSON says that it is of; 0 where it does not."""
    try:
        return msgspec.json.decode(data, type=_Version).format
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0


def refuse_newer(data: bytes, where: str, newest: int) -> None:
    """Raise TooNew if JSON is of a later version than the newest that is known here."""
    version = format_of(data)
    if version > newest:
        raise TooNew(
            f"{where} has format {version}, this Reenact reads up to {newest}",
            hint="install the version of Reenact that wrote it, or a later one",
        ) from None
