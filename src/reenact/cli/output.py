"""Print tables, JSON and talk. Data goes to standard output, everything else to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import IO, Any

from reenact.model.flags import FlagValue
from reenact.model.record import to_json
from reenact.model.words import counted

_CODES = {"red": 31, "green": 32, "yellow": 33, "cyan": 36, "bold": 1, "dim": 2}


def uses_colour(stream: IO[str]) -> bool:
    """Tell whether to colour what goes to a stream (https://no-color.org, FORCE_COLOR)."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def style(text: str, *names: str, stream: IO[str] | None = None) -> str:
    """Colour a text for a stream, standard error unless told otherwise."""
    if not uses_colour(sys.stderr if stream is None else stream):
        return text
    codes = ";".join(str(_CODES[name]) for name in names)
    return f"\x1b[{codes}m{text}\x1b[0m"


def say(text: str) -> None:
    """Talk to the user, on standard error."""
    try:
        print(text.encode("utf-8", "backslashreplace").decode(), file=sys.stderr)
    except BrokenPipeError:
        # Nobody listens any more; what we do goes on.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stderr.fileno())
        os.close(nowhere)


def print_json(value: Any) -> None:
    """Print one JSON document; indented on a terminal."""
    import msgspec

    data = to_json(value)
    if sys.stdout.isatty():
        data = msgspec.json.format(data, indent=2)
    print(data.decode())


def print_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()
) -> None:
    """Print rows: aligned and cut to the terminal's width on one, tab-separated in a pipe.

    Args:
        headings: of the columns; shown on a terminal only.
        rows: cells as text. A tab or a line end in a cell becomes a blank in a pipe.
        right: numbers of the columns to align to the right.
    """
    out = sys.stdout
    if not out.isatty():
        for row in rows:
            print("\t".join(map(one_line, row)))
        return
    import shutil

    width = shutil.get_terminal_size().columns
    widths = [
        max(len(one_line(row[at])) for row in (headings, *rows)) for at in range(len(headings))
    ]
    for number, row in enumerate((headings, *rows)):
        cells = [
            one_line(cell).rjust(w) if at in right else one_line(cell).ljust(w)
            for at, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        line = "  ".join(cells).rstrip()
        if len(line) > width:
            line = line[: width - 1] + "…"
        print(style(line, "bold", stream=out) if number == 0 else line)


def one_line(text: str) -> str:
    """Return a text as one cell of a table: blanks for line ends, nothing that commands a terminal."""
    return visible(" ".join(text.split()))


def visible(text: str) -> str:
    """Return a text in which nothing commands the terminal: control characters are spelled out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def show_value(value: FlagValue) -> str:
    """Return a flag's or metric's value as people read it; floats keep all their digits."""
    from reenact.project.flag_text import format_value

    if value is None:
        return ""
    return value if isinstance(value, str) else format_value(value)


def show_time(time: datetime | None, now: datetime | None = None) -> str:
    """Return a time: how long ago on a terminal, RFC 3339 in UTC otherwise."""
    if time is None:
        return ""
    if not sys.stdout.isatty():
        return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
    seconds = ((now or datetime.now(UTC)) - time).total_seconds()
    if seconds < 0:
        return time.astimezone().strftime("%Y-%m-%d %H:%M")
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            count = int(seconds // size)
            if name == "day" and count > 13:
                return time.astimezone().strftime("%Y-%m-%d")
            return f"{counted(count, name)} ago"
    return "now"


def show_duration(seconds: float | None) -> str:
    """Return a duration: `0.04s`, `3m 12s`, `2h 05m`."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.2f}s" if seconds < 10 else f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    return f"{minutes // 60}h {minutes % 60:02d}m"


def show_size(size: int | None) -> str:
    """Return a size in units of 1000: `12.3 kB`."""
    if size is None:
        return ""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def confirm(question: str, *, yes: bool) -> bool:
    """Ask before destroying: on a terminal only; elsewhere `--yes` must have been said."""
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        from reenact.errors import UsageError

        raise UsageError(f"{question} needs an answer", hint="say `--yes` to go on")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
