"""Find facts in what a run printed, by the patterns of a project file's `output-attrs`.

Patterns are written as those for metrics, see `metric_patterns`; the last value of a name counts, which
is a number where it reads as one, and text otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from reenact.execute.metric_objects import MAX_LINE_BYTES, MAX_NAME_LENGTH
from reenact.execute.metric_patterns import compile_pattern, pairs_in
from reenact.execute.metric_text import TERMINAL_ESCAPES
from reenact.model.secrets import REDACTED, hide, is_secret_name, redact_text
from reenact.store.output_log import read_output

if TYPE_CHECKING:
    from reenact.project.file.model import OutputScalars

_LINE_ENDS = re.compile(rb"[\n\r]")
_MOST = 200


def read_attributes(
    directory: str, rules: OutputScalars, secrets: tuple[str, ...] = ()
) -> dict[str, str | int | float]:
    """Return what a run said of itself.

    Args:
        directory: the run's `.reenact/`.
        rules: patterns, flags filled in.
        secrets: texts that must not stand in the record.
    """
    patterns = [compile_pattern(pattern) for pattern in rules.patterns]
    found: dict[str, str] = {}
    for line in _lines(directory):
        text = TERMINAL_ESCAPES.sub("", line) if "\x1b" in line else line
        for pattern in patterns:
            for match in pattern.expression.finditer(text):
                for name, value in pairs_in(pattern, match):
                    is_new = name not in found
                    if value is None or not name or len(name) > MAX_NAME_LENGTH:
                        continue
                    if not is_new or len(found) < _MOST:
                        found[name] = value.strip()
    return {name: _value(name, text, secrets) for name, text in found.items()}


def _lines(directory: str) -> Iterator[str]:
    pending: dict[int, bytes] = {}
    for piece in read_output(directory):
        *lines, rest = _LINE_ENDS.split(pending.get(piece.stream, b"") + piece.data)
        pending[piece.stream] = rest[:MAX_LINE_BYTES]
        yield from (
            line.decode("utf-8", "replace") for line in lines if len(line) <= MAX_LINE_BYTES
        )
    yield from (rest.decode("utf-8", "replace") for rest in pending.values())


def _value(name: str, text: str, secrets: tuple[str, ...]) -> str | int | float:
    if is_secret_name(name):
        return REDACTED
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return redact_text(next(iter(hide((text,), secrets))))
