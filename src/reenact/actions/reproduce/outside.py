"""Restore modules from outside the project that are not there any more, or are others now.

They are written below a directory of the store's cache, each at its absolute path, with its recorded
content, and with links beside them to what lies beside the originals. The probe leads Python there
(`probe/shim/_reenact/outside.py`): what lies outside the project is the user's, and is not changed.

Not covered: code that other programs than Python read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress

from reenact.errors import ReenactError
from reenact.execute.uses import RESTORED
from reenact.model.identity import Digest
from reenact.model.paths import leads_out, path_to_text, text_to_path
from reenact.model.run import File, Run
from reenact.model.words import counted
from reenact.store.blobs import digest_bytes
from reenact.store.files import read_file, write_atomically
from reenact.store.store import Store

_SUFFIXES = (".py", ".pyw", ".pyi")
_NAMED = 3
_MOST_BESIDE = 2000
"""Of a directory with more entries nothing else is linked beside its modules."""


def is_restorable(file: File) -> bool:
    """Tell whether an input is a module to which Python can be led elsewhere."""
    return (
        file.role == "source"
        and file.path.endswith(_SUFFIXES)
        and os.path.isabs(file.path)
        and not leads_out(file.path.lstrip("/"))
    )


class Outside:
    """The modules of one run that lie outside its project."""

    def __init__(self, run: Run, store: Store) -> None:
        self._store = store
        self._root = f"{store.root}/{RESTORED}/{run.id}"
        self._modules = {
            text_to_path(file.path): file
            for file in run.inputs
            if is_restorable(file) and file.digest is not None
        }
        self._lost: dict[str, None] = {}

    def restore(self, file: File) -> bool:
        """Ask for a module that is not as it was; False where its content is not in the store."""
        if file.digest is None or not self._store.blobs.has(file.digest):
            return False
        self._lost[text_to_path(file.path)] = None
        return True

    @property
    def remark(self) -> str | None:
        """What the reader of a reproduction must know."""
        if not self._lost:
            return None
        names = [path_to_text(path) for path in self._lost]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        what = counted(len(names), "module")
        are = "is" if len(names) == 1 else "are"
        return (
            f"{what} from outside the project {are} gone or changed, and imported as recorded: "
            f"{', '.join(names[:_NAMED])}{more}"
        )

    def write(self, *, always: bool = False) -> str | None:
        """Write all modules, if there is one that was asked for; return where to.

        All of them: a module that was imported from beside another one is found there again.

        Args:
            always: there need be none that was asked for: nothing says that Python looks where they are.

        Raises:
            OSError: the store cannot be written.
        """
        wanted = [*self._modules] if always else [*self._lost]
        if not wanted:
            return None
        written = [path for path in self._modules if self._write(path)]
        told = {"files": sorted(written), "path": sorted({self._top(path) for path in wanted})}
        for directory in {os.path.dirname(path) for path in written}:
            self._link_beside(directory)
        data = repr(told).encode("utf-8", "surrogateescape")
        write_atomically(f"{self._root}.files", data, sync=False)
        return self._root

    def _write(self, path: str) -> bool:
        file = self._modules[path]
        at = f"{self._root}{path}"
        if _has(at, file.digest):
            return True
        content = self._content(path, file)
        if content is None:
            return False
        os.makedirs(os.path.dirname(at), exist_ok=True)
        write_atomically(at, content, sync=False)
        if file.mtime_ns is not None:
            # Then it is no file that the run has made.
            os.utime(at, ns=(file.mtime_ns, file.mtime_ns))
        return True

    def _content(self, path: str, file: File) -> bytes | None:
        assert file.digest is not None
        reads: Iterable[Callable[[], bytes]] = (
            lambda: self._store.blobs.get(Digest(file.digest or "")),
            lambda: read_file(path),
        )
        for read in reads:
            with suppress(ReenactError, OSError):
                content = read()
                if digest_bytes(content) == file.digest:
                    return content
        return None

    def _top(self, path: str) -> str:
        """Return the directory from which a module is imported."""
        top = os.path.dirname(path)
        while f"{top}/__init__.py" in self._modules:
            top = os.path.dirname(top)
        return top

    def _link_beside(self, directory: str) -> None:
        """Let modules find beside them what lies beside the originals: data, compiled modules."""
        try:
            with os.scandir(directory) as scan:
                names = [entry.name for entry in scan if entry.name != "__pycache__"]
        except OSError:
            return
        if len(names) > _MOST_BESIDE:
            return
        for name in names:
            with suppress(FileExistsError):
                os.symlink(f"{directory}/{name}", f"{self._root}{directory}/{name}")


def _has(path: str, digest: Digest | None) -> bool:
    try:
        return digest_bytes(read_file(path)) == digest
    except OSError:
        return False
