"""The source of a run in a process: what that process has loaded of its project.

That is every imported module whose file lies in the project, the script, and code that is in no
file (cells of a notebook). Files are kept as they are on disk when the run begins.

Asking again costs a look at the size and times of the files, as long as they do not change.

Not covered: modules that are imported while the run lasts and were not before belong to the source
of the next run; a module that was edited after its import and not loaded again is kept as edited,
and `edited` says so where this process has kept it before.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Mapping

import msgspec

from reenact.model.identity import Digest
from reenact.model.paths import path_to_text
from reenact.snapshot.rules import CACHES, LINKED_WHOLE
from reenact.snapshot.tree import SourceTree
from reenact.store.blobs import Blobs
from reenact.store.files import read_file

_CLOCK_STEP_NS = 20_000_000
"""File systems stamp times in steps of up to 10 ms; twice that is safe."""
_ELSEWHERE = ("/site-packages/", "/dist-packages/")
_NOT_SOURCE = CACHES | LINKED_WHOLE

_Stamp = tuple[int, int, int, int]


class _Kept(msgspec.Struct):
    """A file as it was when it was read last; `module` is the one that was loaded from it."""

    stamp: _Stamp
    mode: int
    digest: Digest
    module: int


class Loaded(msgspec.Struct, frozen=True):
    """What a process had loaded when a run began.

    Attributes:
        tree: digest of the blob that lists it.
        edited: files that have changed since a run before, while their module has not.
    """

    tree: Digest
    files: int
    size_bytes: int
    edited: tuple[str, ...] = ()


class LoadedSource:
    """Keeps in one store what this process has loaded of one project."""

    def __init__(self, root: str, blobs: Blobs) -> None:
        self._root = root
        self._blobs = blobs
        self._standard_library = os.path.dirname(os.__file__) + "/"
        self._known: set[str] = set()
        # Module's name -> its file's path in the project.
        self._inside: dict[str, str] = {}
        self._kept: dict[str, _Kept] = {}
        self._last: Loaded | None = None

    def keep(self, texts: Mapping[str, bytes]) -> Loaded | None:
        """Put what is loaded now into the store; None where there is nothing.

        Args:
            texts: name -> content of code that is in no file.

        Raises:
            OSError: a blob cannot be written.
        """
        loaded = self._loaded()
        has_changed = loaded.keys() != self._kept.keys()
        edited = []
        for path, module in loaded.items():
            former = self._kept.get(path)
            now = self._look(path, module, former)
            if now is former:
                continue
            has_changed = True
            if now is None:
                self._kept.pop(path, None)
                continue
            if former is not None and former.digest != now.digest and former.module == module:
                edited.append(path)
            self._kept[path] = now
        for path in self._kept.keys() - loaded.keys():
            del self._kept[path]
        if not self._kept and not texts:
            return None
        last = self._last
        if last is not None and not has_changed and not texts and self._blobs.has(last.tree):
            return last
        self._last = self._write(texts, tuple(sorted(edited)))
        return self._last if not edited else self._forget_edits(self._last)

    def _forget_edits(self, found: Loaded) -> Loaded:
        self._last = msgspec.structs.replace(found, edited=())
        return found

    def _loaded(self) -> dict[str, int]:
        """Return the project's files that were loaded, each with the identity of its module."""
        # Sets, because a process may have loaded thousands of modules and few of its project.
        for name in sys.modules.keys() - self._known:
            path = self._path_of(sys.modules.get(name))
            self._known.add(name)
            if path is not None:
                self._inside[name] = path
        found = {}
        for name, path in self._inside.items():
            module = sys.modules.get(name)
            if module is not None:
                found[path] = id(module)
        return found

    def _path_of(self, module: object) -> str | None:
        # Not by `getattr`: some modules import others when they are asked for a name.
        file = getattr(module, "__dict__", {}).get("__file__")
        # A script may be called anything.
        is_script = module is sys.modules.get("__main__")
        if not isinstance(file, str) or not (is_script or file.endswith((".py", ".pyw"))):
            return None
        file = os.path.abspath(file)
        if file.startswith(self._standard_library) or any(part in file for part in _ELSEWHERE):
            return None
        file = os.path.realpath(file)
        if not file.startswith(self._root.rstrip("/") + "/"):
            return None
        path = os.path.relpath(file, self._root)
        return path if _NOT_SOURCE.isdisjoint(path.split("/")) else None

    def _look(self, path: str, module: int, former: _Kept | None) -> _Kept | None:
        """Return what is known of a file now: `former` itself where nothing has changed."""
        full = f"{self._root}/{path}"
        try:
            status = os.stat(full)
            stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            is_same = former is not None and former.stamp == stamp
            if former is not None and is_same and self._blobs.has(former.digest):
                former.module = module
                return former
            data = read_file(full)
        except OSError:
            return None
        digest = self._blobs.put(data)
        if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) <= _CLOCK_STEP_NS:
            # It may change again without another time.
            stamp = (-1, -1, -1, -1)
        return _Kept(stamp, stat.S_IMODE(status.st_mode), digest, module)

    def _write(self, texts: Mapping[str, bytes], edited: tuple[str, ...]) -> Loaded:
        files = []
        size = 0
        for path, kept in self._kept.items():
            length = kept.stamp[0] if kept.stamp[0] >= 0 else self._size_of(kept.digest)
            files.append((path_to_text(path), kept.mode, length, kept.digest))
            size += length
        for name, content in texts.items():
            files.append((path_to_text(name), 0o644, len(content), self._blobs.put(content)))
            size += len(content)
        files.sort()
        tree = self._blobs.put(msgspec.json.encode(SourceTree(files=files)))
        return Loaded(tree, len(files), size, edited)

    def _size_of(self, digest: Digest) -> int:
        return os.stat(self._blobs.path(digest)).st_size
