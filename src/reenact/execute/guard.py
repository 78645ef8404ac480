"""Keep a project out of reach of a run that shows a result again: it must come out unchanged.

In other runs a file of the project is a link, which the probe makes private before Python writes to it;
other programs write through it. Here small files are copies, and so are large ones where the file
system can share their blocks. Bytecode is written beside links to the project's.

Not covered: what a program other than Python changes in a large file, where blocks cannot be shared, or
in a directory that is linked as one.
"""

from __future__ import annotations

import os
import stat

from reenact.snapshot.tree import ProjectTree
from reenact.store.blobs import share_blocks
from reenact.store.files import read_file, remove_if_there, write_all

BYTECODE = "__pycache__"

_SMALL_BYTES = 1 << 20
_MOST_BYTES = 64 << 20
_MOST_FILES = 2000
"""So much, and so many files, are copied where blocks cannot be shared."""


def with_own_bytecode(tree: ProjectTree, project: str) -> ProjectTree:
    """Return a project's tree in which directories of bytecode are the run's own, with links in them.

    Python replaces such a link as a whole. So it reads what is there, and writes nothing there.

    Args:
        tree: what goes into the run directory.
        project: the project's root.
    """
    directories = [*tree.directories]
    links = [*tree.links]
    for directory in ("", *tree.directories):
        path = f"{directory}/{BYTECODE}" if directory else BYTECODE
        try:
            with os.scandir(f"{project}/{path}") as scan:
                names = [entry.name for entry in scan if entry.name.endswith(".pyc")]
        except OSError:
            continue
        directories.append(path)
        links += [(f"{path}/{name}", -1, -1) for name in names]
    return tree._replace(directories=directories, links=links)


class Copier:
    """Makes copies of a project's files for one run directory, as long as they cost little."""

    def __init__(self) -> None:
        self._files = 0
        self._bytes = 0
        self._shares = True

    def copy(self, source: str, at: str) -> os.stat_result | None:
        """Copy a file with its mode and time; None, and nothing done, where it shall be a link.

        Raises:
            FileExistsError: there is something at `at`.
        """
        try:
            status = os.lstat(source)
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode):
            # A link leads outside, and pipes are meant to be shared.
            return None
        is_small = (
            status.st_size <= _SMALL_BYTES
            and self._files < _MOST_FILES
            and self._bytes + status.st_size <= _MOST_BYTES
        )
        if not is_small and not self._shares:
            return None
        try:
            found = _write(source, at, status, is_small=is_small)
        except FileExistsError:
            raise
        except OSError:
            return None
        if found is None:
            self._shares = False
        elif is_small:
            self._files += 1
            self._bytes += status.st_size
        return found


def _write(
    source: str, at: str, status: os.stat_result, *, is_small: bool
) -> os.stat_result | None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    writing = os.open(at, flags, 0o600)
    try:
        if is_small:
            write_all(writing, read_file(source))
        elif not _clone(source, writing):
            os.unlink(at)
            return None
        os.fchmod(writing, stat.S_IMODE(status.st_mode))
        os.utime(writing, ns=(status.st_atime_ns, status.st_mtime_ns))
        return os.fstat(writing)
    except OSError:
        remove_if_there(at)
        raise
    finally:
        os.close(writing)


def _clone(source: str, writing: int) -> bool:
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return share_blocks(reading, writing)
    finally:
        os.close(reading)
