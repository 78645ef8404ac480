"""Verify contents by their digests, count what was verified, and lay out copies of what the store has."""

from __future__ import annotations

import os
from collections.abc import Callable

from reenact.model.identity import Digest
from reenact.store.blobs import copy_content
from reenact.store.digests import Digests
from reenact.store.files import remove_if_there
from reenact.store.store import Store

Progress = Callable[[int, int], None]
"""Told how many bytes are verified, and how many there are in all."""

_LINKED_FROM = 64 << 20
"""Bytes. Of a larger blob there is no copy, but a second name, for reading only."""


class Contents:
    """What is verified of a run's data.

    Attributes:
        files: how many.
        size_bytes: of them.
    """

    def __init__(
        self, store: Store, digests: Digests, total: int, progress: Progress | None
    ) -> None:
        self.files = 0
        self.size_bytes = 0
        self._store = store
        self._digests = digests
        self._total = total
        self._progress = progress

    def expect(self, directory: str) -> None:
        """Say that many files below a directory are verified next."""
        self._digests.expect(directory)

    def problem(
        self, place: str, digest: Digest, size: int | None, *, remember: bool = False
    ) -> str | None:
        """Say what is wrong with the content of a file; None where it is the recorded one.

        Args:
            place: where the file should be.
            digest: of the recorded content.
            size: of it, where that is known.
            remember: whatever the size is; after `expect`.
        """
        try:
            status = os.stat(place)
            if size is not None and status.st_size != size:
                return f"changed: {status.st_size} bytes, recorded {size}"
            found = self._digests.digest(
                place, status, remember=remember, progress=self._tell_of_part
            )[0]
        except FileNotFoundError:
            return "is gone"
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        if found != digest:
            return "changed"
        self.count(status.st_size)
        return None

    def count(self, size: int) -> None:
        """Note that a file is verified."""
        self.files += 1
        self.size_bytes += size
        self._tell_of_part(0)

    def _tell_of_part(self, done: int) -> None:
        if self._progress is not None:
            self._progress(self.size_bytes + done, self._total)

    def copy_of_blob(self, digest: Digest, size: int | None) -> str | None:
        """Return where a copy of a blob is: a program that writes to it must not spoil the store."""
        path = f"{self._store.cache_directory}/inputs/{digest}"
        if os.path.exists(path) and self.problem(path, digest, size) is None:
            return path
        blob = self._store.blobs.path(digest)
        try:
            is_large = os.stat(blob).st_size >= _LINKED_FROM
            os.makedirs(os.path.dirname(path), exist_ok=True)
            remove_if_there(path)
            if not (is_large and _linked(blob, path)):
                copy_content(blob, path)
        except OSError:
            return None
        if self.problem(path, digest, size) is None:
            return path
        remove_if_there(path)
        return None


def _linked(source: str, target: str) -> bool:
    try:
        os.link(source, target)
    except OSError:
        return False  # The file system has no second names.
    return True
