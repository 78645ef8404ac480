r"""Paths as text: POSIX file names are bytes, records are UTF-8.

A recorded path is its UTF-8 text in which a backslash is doubled and a byte that is not UTF-8 is
`\xNN`; every name has exactly one spelling and comes back as the same bytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container

_ESCAPE = re.compile(rb"\\(\\|x[0-9a-f]{2})")


def path_to_text(path: str) -> str:
    r"""Spell a path of the operating system (`os.fsdecode`) for a record."""
    if "\\" not in path and path.isascii():
        return path
    return os.fsencode(path).replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def text_to_path(text: str) -> str:
    r"""Return the path of the operating system that a record spells as `text`."""
    if "\\" not in text:
        return text
    raw = _ESCAPE.sub(
        lambda m: b"\\" if m[1] == b"\\" else bytes([int(m[1][1:], 16)]), text.encode()
    )
    return os.fsdecode(raw)


def leads_out(text: str) -> bool:
    """Tell whether a recorded path does not stay below what it is relative to."""
    path = text_to_path(text)
    return path.startswith("/") or (".." in path and ".." in path.split("/"))


def landing(path: str, target: str, links: Container[str]) -> str | None:
    """Return where a relative symbolic link leads, relative to what its path is relative to.

    Args:
        path: of the link; leads through no other link.
        target: that it has.
        links: paths of all links below the same directory.

    Returns:
        None where only the file system knows: the target goes up from what another link leads to.
    """
    at = [part for part in os.path.dirname(path).split("/") if part]
    is_past_link = False
    for part in target.split("/"):
        if part == ".." and is_past_link:
            return None
        if part == ".." and at and at[-1] != "..":
            at.pop()
        elif part not in ("", "."):
            at.append(part)
            is_past_link = is_past_link or "/".join(at) in links
    return "/".join(at) or "."


def printable(text: str) -> str:
    r"""Return any text of the system for a record; bytes that are not UTF-8 become `\xNN`.

    Unlike a path's spelling it is for reading: nothing leads back from it.
    """
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        # A surrogate that stands for no byte: nothing that the system gave us.
        return text.encode("utf-8", "backslashreplace").decode()
