"""What of a run's data is not to be had as it was."""

from __future__ import annotations

from typing import NamedTuple


class Lack(NamedTuple):
    """An input that is not to be had as it was.

    Attributes:
        path: as recorded; a file of a data set with the data set before it.
        is_gone: there is nothing at its place.
        detail: what has become of it.
    """

    path: str
    is_gone: bool
    detail: str
