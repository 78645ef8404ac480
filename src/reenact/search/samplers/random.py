"""Random search: every trial is drawn by itself. What was told changes nothing but its place."""

from __future__ import annotations

from reenact.model.flags import FlagValue
from reenact.search.samplers.history import History


def propose(history: History) -> dict[str, FlagValue]:
    """Draw settings, evenly in each space."""
    return history.draw()
