"""Look below directories that the user names for data that is not where it was."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from reenact.model.paths import text_to_path
from reenact.model.run import File


class Elsewhere:
    """Files below directories that the user names, by their names and sizes."""

    def __init__(self, places: Sequence[str]) -> None:
        self._places = places
        self._by_size: dict[int, list[str]] | None = None

    def candidates(self, file: File) -> Iterator[str]:
        """Yield where a file may be: at the same path below a place, else any of its size."""
        relative = text_to_path(file.path).lstrip("/")
        parts = relative.split("/")
        for place in self._places:
            for start in range(len(parts)):
                path = f"{place}/{'/'.join(parts[start:])}"
                if os.path.isfile(path):
                    yield path
        if self._places and file.size_bytes:
            yield from self._sizes().get(file.size_bytes, ())

    def directories(self, text: str) -> Iterator[str]:
        """Yield where a data set may be."""
        parts = text_to_path(text).lstrip("/").split("/")
        for place in self._places:
            for start in range(len(parts)):
                path = f"{place}/{'/'.join(parts[start:])}"
                if os.path.isdir(path):
                    yield path
            yield place

    def _sizes(self) -> dict[int, list[str]]:
        if self._by_size is None:
            self._by_size = {}
            for place in self._places:
                for at, _, names in os.walk(place):
                    for name in names:
                        path = f"{at}/{name}"
                        try:
                            size = os.stat(path).st_size
                        except OSError:
                            continue
                        self._by_size.setdefault(size, []).append(path)
        return self._by_size
