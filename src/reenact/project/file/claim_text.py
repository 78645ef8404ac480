"""Write claims as YAML, into the text of a project file whose other lines stay as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from reenact.project.file.model import ClaimDef

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*\Z")
_EMPTY = re.compile(r"(- )?claims:\s*(#.*)?\Z")
"""A line after which claims may stand, and none do."""
_WORDS = frozenset("yes no on off true false null y n".split())


def claim_lines(claims: Sequence[ClaimDef], indent: str = "  ") -> list[str]:
    """Return claims as lines of YAML, each below its name."""
    lines = []
    for claim in claims:
        lines.append(f"{indent}{claim.name}:")
        fields: list[tuple[str, Any]] = [
            ("run", claim.run),
            ("metric", claim.metric),
            ("value", claim.value),
            ("tolerance", claim.tolerance),
            ("direction", None if claim.direction == "both" else claim.direction),
            ("flags", claim.flags or None),
            ("seeds", _number_or_text(claim.seeds)),
            ("repeat", claim.repeat),
            ("paper", claim.paper),
            ("description", claim.description),
            ("baseline", claim.baseline),
            ("packages", list(claim.packages) or None),
        ]
        lines += [f"{indent}  {name}: {_value(v)}" for name, v in fields if v is not None]
    return lines


def _number_or_text(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdecimal() else text


def add_claims(text: str, claims: Sequence[ClaimDef], last_line: int | None) -> str:
    """Return the text of a project file with more claims.

    Args:
        text: as it is; may be empty.
        claims: the new ones.
        last_line: where the last claim of the file begins, counted from 1; None if there is none.
    """
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.split(end)
    if lines[-1] == "":
        lines.pop()
    if last_line is not None:
        at, indent = _end_of_block(lines, last_line - 1)
        return end.join([*lines[:at], *claim_lines(claims, indent), *lines[at:], ""])
    empty = next((n for n, line in enumerate(lines) if _EMPTY.match(line)), None)
    if empty is not None:
        indent = "    " if lines[empty].startswith("-") else "  "
        after = lines[empty + 1 :]
        return end.join([*lines[: empty + 1], *claim_lines(claims, indent), *after, ""])
    is_list = any(line.startswith("- ") for line in lines)
    head, indent = ("- claims:", "    ") if is_list else ("claims:", "  ")
    gap = [""] if lines and lines[-1].strip() else []
    return end.join([*lines, *gap, head, *claim_lines(claims, indent), ""])


def _end_of_block(lines: list[str], start: int) -> tuple[int, str]:
    """Return where the claim ends that begins in a line, and how far its name is indented."""
    indent = lines[start][: len(lines[start]) - len(lines[start].lstrip())]
    end = start + 1
    while end < len(lines):
        line = lines[end]
        if line.strip() and len(line) - len(line.lstrip()) <= len(indent):
            break
        end += 1
    while end > start + 1 and not lines[end - 1].strip():
        end -= 1
    return end, indent


def _value(value: Any) -> str:
    """Return a value in flow style, which JSON is."""
    if isinstance(value, str):
        is_plain = _PLAIN.match(value) and value.lower() not in _WORDS
        return value if is_plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and value != value:
        return ".nan"
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return ".inf" if value > 0 else "-.inf"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_value(k)}: {_value(v)}" for k, v in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)
