"""Which inputs are kept with a run, so that it can be run again where they are not.

Small data of the project is, because most of it is small, and it costs little: equal content is kept
once for all runs. See `docs/explanation/decisions/0005-small-data-is-kept.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from reenact.snapshot.rules import SOURCE_LIMIT
from reenact.store.blobs import FileToKeep


class Limits(NamedTuple):
    """What is kept at most of one run; None: there is no limit.

    Attributes:
        file_bytes: of one file.
        in_all_bytes: of all files.
        files: so many files.
        only_own: only files of the project.
    """

    file_bytes: int | None
    in_all_bytes: int | None
    files: int | None
    only_own: bool


SMALL = Limits(SOURCE_LIMIT, 16 * SOURCE_LIMIT, 1000, only_own=True)
_NONE = Limits(0, 0, 0, only_own=True)
_ALL = Limits(None, None, None, only_own=False)


def limits_of(keeps: str | None) -> Limits:
    """Return the limits by what the user calls them: `none`, `all`; everything else is `small`."""
    return {"none": _NONE, "all": _ALL}.get(keeps or "", SMALL)


class Room:
    """How much may still be kept of a run."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._files = 0
        self._bytes = 0

    def may_hold(self, count: int) -> bool:
        """Tell whether there may be room for so many files more."""
        return not _exceeds(self._files + count, self._limits.files)

    def take(self, files: Sequence[FileToKeep], *, is_own: bool) -> bool:
        """Take the room for all of some files; False, and nothing taken, where it is not enough.

        Args:
            files: which; none where the source has all of it already.
            is_own: they are the project's.
        """
        limits = self._limits
        if not is_own and limits.only_own:
            return False
        size = sum(file.size_bytes for file in files)
        largest = max((file.size_bytes for file in files), default=0)
        if (
            _exceeds(largest, limits.file_bytes)
            or _exceeds(self._bytes + size, limits.in_all_bytes)
            or not self.may_hold(len(files))
        ):
            return False
        self._files += len(files)
        self._bytes += size
        return True


def _exceeds(value: int, limit: int | None) -> bool:
    return limit is not None and value > limit
