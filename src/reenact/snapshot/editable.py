"""Find and keep the source of what is installed in editable form: imported where it is written."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote, urlsplit

from blake3 import blake3

from reenact.model.identity import Digest
from reenact.model.lock import Editable, EditableSource
from reenact.model.paths import path_to_text, printable
from reenact.snapshot.rules import Pick
from reenact.snapshot.tree import take_snapshot
from reenact.store.blobs import Blobs
from reenact.store.files import read_file

_EXTENSIONS = (Pick(is_include=True, patterns=("*.so", "*.pyd", "*.dylib")),)
"""Compiled in place, they are part of an editable distribution's source."""

_QUOTED = r"""['"](/[^'"\n]+)['"]"""

PROJECT_MARK = "reenact-project:"
"""Stands in what leads to the source of the project in an environment that was made again."""

_MARKED = rf"(?m)# {PROJECT_MARK} (.*)$"


class EditableSources:
    """Describes editable installations one by one, and keeps their source.

    Args:
        project: root of the run's project, whose source is kept anyway.
        blobs: where source is kept.
        cache: directory of memories.

    Attributes:
        used: directory -> digest of what was found there, for those outside the project.
    """

    def __init__(self, project: str | None, blobs: Blobs, cache: str) -> None:
        self._project = None if project is None else os.path.realpath(project)
        self._blobs = blobs
        self._cache = cache
        self._home = os.path.realpath(os.path.expanduser("~"))
        self.used: dict[str, Digest] = {}

    def editable(self, url: str, pointers: Iterable[str]) -> Editable:
        """Describe one installation, and keep its source where the project has not got it.

        Args:
            url: where its source is.
            pointers: its files in the environment that lead there.
        """
        location = local_path(url)
        if location is None:
            return Editable(location=printable(url))
        texts = {pointer: text for pointer in pointers if (text := _text_of(pointer)) is not None}
        for text in texts.values():
            if (marked := re.search(_MARKED, text)) is not None:
                return Editable(location=path_to_text(location), project=marked[1])
        real = os.path.realpath(location)
        if self._project is not None and _is_within(real, self._project):
            inside = os.path.relpath(real, self._project)
            path = "" if inside == "." else inside
            return Editable(location=path_to_text(location), project=path_to_text(path))
        directories = _directories_of(texts)
        if os.path.isdir(location):
            directories = [path for path in directories if _is_within(path, location)]
        elif directories:
            # In an environment that was made again it lies elsewhere.
            location = os.path.commonpath(directories)
        sources = []
        for directory in directories or [location]:
            if os.path.realpath(directory) in ("/", self._home):
                # Whoever keeps a package at the top of everything does not mean all of it.
                continue
            tree = self._tree_of(directory)
            relative = os.path.relpath(directory, location)
            path = "" if relative == "." else path_to_text(relative)
            sources.append(EditableSource(path=path, tree=tree))
        return Editable(location=path_to_text(location), sources=tuple(sources))

    def _tree_of(self, directory: str) -> Digest:
        if directory not in self.used:
            name = blake3(os.fsencode(directory)).hexdigest(length=16)
            tree = take_snapshot(
                directory,
                listed=None,
                blobs=self._blobs,
                cache_path=f"{self._cache}/tree-editable-{name}",
                picks=_EXTENSIONS,
            ).tree
            self.used[directory] = tree
        return self.used[directory]


def _directories_of(texts: Mapping[str, str]) -> list[str]:
    """Return what an editable installation puts on the path: what its `.pth` and finders name."""
    found: dict[str, None] = {}
    for pointer, text in texts.items():
        named = text.splitlines() if pointer.endswith(".pth") else re.findall(_QUOTED, text)
        for path in named:
            path = os.path.normpath(path.strip()) if path.startswith("/") else ""
            if path and os.path.exists(path):
                # Of a module that is one file, the directory.
                found[path if os.path.isdir(path) else os.path.dirname(path)] = None
    # The parent of packages: a finder names each of them.
    return sorted(p for p in found if not any(p != o and _is_within(p, o) for o in found))


def _text_of(path: str) -> str | None:
    try:
        return os.fsdecode(read_file(path))
    except OSError:
        return None


def _is_within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def local_path(url: str) -> str | None:
    """Return the path that the address of something on this machine names, else None."""
    parts = urlsplit(url)
    return unquote(parts.path).rstrip("/") if parts.scheme == "file" else None
