"""Show how far a download is, on a terminal."""

from __future__ import annotations

import sys
import time

from reenact.actions.resources import Progress
from reenact.cli.output import show_size, visible

_EVERY_S = 0.1


def loading_bar(*, quiet: bool) -> Progress | None:
    """Return what shows downloads on standard error; None where nobody looks."""
    if quiet or not sys.stderr.isatty():
        return None
    shown_at = 0.0

    def show(name: str, have: int, total: int | None) -> None:
        nonlocal shown_at
        now = time.monotonic()
        is_done = total is not None and have >= total
        if now - shown_at < _EVERY_S and not is_done:
            return
        shown_at = now
        part = f" of {show_size(total)} ({have * 100 // max(total, 1)} %)" if total else ""
        end = "\n" if is_done else ""
        sys.stderr.write(f"\r\x1b[Kloading {visible(name)}: {show_size(have)}{part}{end}")
        sys.stderr.flush()

    return show
