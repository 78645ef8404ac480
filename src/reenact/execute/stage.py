"""Make a run directory look like the project, and take the scaffolding away again.

Source files are copies of the snapshot: an edit in the project cannot reach a run that has started,
and a run cannot change the project's source. Files of code are hard links to a copy that the store
keeps for all runs, because creating thousands of files for every run takes longer than many runs
do; the probe makes them private before Python writes to them. Other source is copied. Everything
else is a symbolic link to the same path in the project. Directories are real, so that new files
stay in the run.

Bytecode: a copy keeps its file's modification time, and `__pycache__` is a link to the project's,
so that modules are not compiled again for every run. A file in which a literal was replaced, or that
is older than the project's, gets a time in the 1980s that follows from its content, so that nobody
else's bytecode fits it.

Not covered: a program that is not Python and writes through a symbolic link changes the project's
file; one that edits a file of code in place changes it for the runs that execute from the same copy
at that time. `close_stage` sees both by size and time, the run's record says so, and no later run
gets the changed copy.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from reenact.errors import CannotRun, Damaged, NotFound
from reenact.model.identity import Digest
from reenact.model.paths import text_to_path
from reenact.snapshot.rules import CODE, suffix
from reenact.snapshot.tree import ProjectTree, SourceFile, SourceTree
from reenact.store.blobs import Blobs, digest_bytes, digest_file
from reenact.store.files import read_file, remove_if_there, temporary_name, write_all
from reenact.store.store import RECORD_DIRECTORY

if TYPE_CHECKING:
    from reenact.execute.guard import Copier

BYTECODE = "__pycache__"

REQUIRED_LINK = "/./"
"""Targets of links to what the operation required begin so: they are known again by that alone.

The probe knows it as well: such a link is made private before Python writes to it.
"""

_LONG_AGO_S = 315532800
"""1980-01-01 in seconds since 1970."""

_Stamp = tuple[int, int, int]


class Stage(NamedTuple):
    """What was put into a run directory, to know it again afterwards.

    Attributes:
        run: the run directory.
        project: the project's root that links lead to.
        copies: path -> (size, mtime_ns, inode) of each source file.
        links: path -> (target, size and mtime_ns of what it led to).
        directories: parents first.
        problems: links that the file system refused, which are copies instead.
        is_guarded: nothing of the project may be changed.
    """

    run: str
    project: str
    copies: dict[str, _Stamp]
    links: dict[str, tuple[str, int, int]]
    directories: list[str]
    problems: list[str]
    is_guarded: bool = False


class Leftovers(NamedTuple):
    """What a run left in its directory, and what it did to the project.

    Attributes:
        outputs: paths of the files that the run made or changed, sorted.
        written_through: project files that changed while the run was linked to them.
    """

    outputs: list[str]
    written_through: list[str]


def time_of_content(digest: Digest) -> int:
    """Return a modification time, in nanoseconds, for content that is not the project's own."""
    return (_LONG_AGO_S + int(digest[:7], 16)) * 10**9


class SourcePool:
    """Copies of code that run directories share by hard links, one for each content, mode and time.

    An entry whose size, modification time or mode is not what its name says was changed by a run;
    it is dropped and made again from the blob.
    """

    def __init__(self, root: str, blobs: Blobs, project: str) -> None:
        self.root = root
        self.blobs = blobs
        self.project = project

    def path(self, file: SourceFile) -> str:
        """Return where the shared copy of a source file is, or would be."""
        name = f"{file.digest[2:]}-{file.mode:o}-{file.mtime_ns:x}"
        return f"{self.root}/{file.digest[:2]}/{name}"

    def content(self, file: SourceFile) -> bytes:
        """Return a source file's content from its blob, or from the project while that has it.

        Raises:
            NotFound, Damaged: the blob is missing or spoilt and the project's file has changed.
        """
        try:
            return self.blobs.get(file.digest)
        except (NotFound, Damaged):
            data = read_file(f"{self.project}/{file.path}")
            if digest_bytes(data) != file.digest:
                raise
            self.blobs.remove(file.digest)
            self.blobs.put(data)
            return data

    def link(self, file: SourceFile, at: str) -> os.stat_result:
        """Make `at` a hard link to the shared copy.

        Raises:
            OSError: the file system has no hard links, or no more of them for this file.
        """
        shared = self.path(file)
        try:
            os.link(shared, at)
            status = os.lstat(at)
            found = (status.st_size, status.st_mtime_ns, stat.S_IMODE(status.st_mode))
            if found == (file.size, file.mtime_ns, file.mode):
                return status
            os.unlink(at)
        except FileNotFoundError:
            pass
        self._make(file, shared)
        os.link(shared, at)
        return os.lstat(at)

    def drop(self, file: SourceFile) -> None:
        """Forget the shared copy, so that no later run gets it."""
        remove_if_there(self.path(file))

    def _make(self, file: SourceFile, shared: str) -> None:
        beside = temporary_name(shared)
        os.makedirs(os.path.dirname(shared), exist_ok=True)
        try:
            _write_copy(beside, self.content(file), file.mode, file.mtime_ns)
            os.rename(beside, shared)
        except OSError:
            remove_if_there(beside)
            raise


def make_stage(
    run: str,
    project: str,
    tree: ProjectTree,
    pool: SourcePool | None,
    rewritten: Mapping[str, bytes],
    *,
    guards: bool = False,
) -> Stage:
    """Fill a run directory. What is there already, from before a restart, stays.

    Args:
        run: the run directory; it exists.
        project: the project's root.
        tree: what to put there.
        pool: where source comes from; None links the source as well (no snapshot).
        rewritten: new content of source files in which literals were replaced.
        guards: keep the project out of reach as far as possible, see `guard.py`.

    Raises:
        OSError: the file system refuses.
        NotFound, Damaged: a source blob is missing or spoilt and the project's file has changed.
    """
    stage = Stage(run, project, {}, {}, [], [], is_guarded=guards)
    copier = None
    if guards:
        from reenact.execute.guard import Copier, with_own_bytecode

        tree, copier = with_own_bytecode(tree, project), Copier()
    for directory in tree.directories:
        try:
            os.mkdir(f"{run}/{directory}")
        except FileExistsError:
            continue
        stage.directories.append(directory)
    for path, content in rewritten.items():
        _copy_rewritten(stage, path, content)
    for file in tree.sources:
        if file.path in rewritten:
            continue
        if pool is None:
            _link(stage, file.path, file.size, file.mtime_ns, f"{project}/{file.path}")
        elif suffix(file.path) not in CODE or not _share(stage, file, pool):
            _copy(stage, file, pool.content(file), file.mtime_ns)
    for path, target in tree.source_links:
        if copier is None or not _copy_of(stage, copier, path, target):
            _link(stage, path, -1, -1, target)
    for path, size, mtime_ns in tree.links:
        target = f"{project}/{path}"
        if copier is None or size < 0 or not _copy_of(stage, copier, path, target):
            _link(stage, path, size, mtime_ns, target)
    for path in tree.whole:
        _link(stage, path, -1, -1, f"{project}/{path}")
    for directory in ("", *tree.directories):
        path = f"{directory}/{BYTECODE}" if directory else BYTECODE
        if os.path.isdir(f"{project}/{path}"):
            _link(stage, path, -1, -1, f"{project}/{path}")
    return stage


def close_stage(stage: Stage, tree: ProjectTree, pool: SourcePool | None) -> Leftovers:
    """Take away what was staged and is as it was; return what the run left behind."""
    outputs: list[str] = []
    _leave_bytecode(stage)
    _sweep(stage, "", outputs)
    if pool is not None:
        _part_from_pool(stage, tree, pool, outputs)
    for directory in reversed(stage.directories):
        try:
            os.rmdir(f"{stage.run}/{directory}")
        except OSError:
            pass
    return Leftovers(sorted(outputs), sorted(_written_through(stage)))


def sweep_abandoned(run: str, project: str, tree: SourceTree, blobs: Blobs) -> list[str]:
    """Take away what was staged for a run whose supervisor was killed; return its outputs, sorted.

    Nobody knows any more what was staged, so it is known again by what it is: a link to the same
    path in the project, or a file with the content of the source file of that name, or with the
    beginning of it, if the supervisor was killed while it wrote it.

    Args:
        run: the run directory.
        project: the project's root when the run started.
        tree: the run's source.
        blobs: where its content is.
    """
    stage = Stage(run, project, {}, {}, [], [])
    for text, _, size, digest in tree.files:
        path = text_to_path(text)
        try:
            status = os.lstat(f"{run}/{path}")
        except OSError:
            continue
        if _is_source(f"{run}/{path}", status, size, digest, blobs):
            stage.copies[path] = (status.st_size, status.st_mtime_ns, status.st_ino)
        stage.directories.append(os.path.dirname(path))
    for text, target in tree.links:
        stage.links[text_to_path(text)] = (text_to_path(target), -1, -1)
    outputs: list[str] = []
    _sweep(stage, "", outputs)
    for directory, _, _ in os.walk(run, topdown=False):
        relative = directory[len(run) + 1 :]
        if relative and os.path.isdir(f"{project}/{relative}"):
            _remove_if_empty(directory)
        elif relative.endswith(BYTECODE):
            _remove_bytecode(directory)
    return sorted(path for path in outputs if f"{BYTECODE}/" not in f"/{path}")


def _is_source(path: str, status: os.stat_result, size: int, digest: Digest, blobs: Blobs) -> bool:
    if not stat.S_ISREG(status.st_mode):
        return False
    try:
        if status.st_size == size and digest_file(path)[0] == digest:
            return True
        if status.st_size < size and blobs.get(digest).startswith(read_file(path)):
            return True
        # A file in which a literal was replaced carries the time of its content.
        is_old = _LONG_AGO_S <= status.st_mtime < _LONG_AGO_S + (1 << 28)
        return is_old and status.st_mtime_ns == time_of_content(digest_file(path)[0])
    except (OSError, NotFound, Damaged):
        return False


def files_below(directory: str) -> list[str]:
    """List all files and symbolic links below a run directory, but for its record, sorted."""
    found = []
    for at, directories, names in os.walk(directory):
        if at == directory and RECORD_DIRECTORY in directories:
            directories.remove(RECORD_DIRECTORY)
        prefix = at[len(directory) + 1 :]
        names += [name for name in directories if os.path.islink(f"{at}/{name}")]
        found += [f"{prefix}/{name}" if prefix else name for name in names]
    return sorted(found)


def _share(stage: Stage, file: SourceFile, pool: SourcePool) -> bool:
    try:
        status = pool.link(file, f"{stage.run}/{file.path}")
    except FileExistsError:
        return True
    except OSError:
        return False
    stage.copies[file.path] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return True


def _copy_rewritten(stage: Stage, path: str, content: bytes) -> None:
    """Put a file in which literals were replaced where it belongs, be it a link in the project."""
    at = f"{stage.run}/{path}"
    mode = _mode_of(f"{stage.project}/{path}")
    mtime_ns = time_of_content(digest_bytes(content))
    try:
        remove_if_there(at)
        status = _write_copy(at, content, mode, mtime_ns)
    except (FileExistsError, FileNotFoundError, NotADirectoryError):
        raise CannotRun(
            f"`{path}` cannot be given other values: it lies behind a link to a directory",
            hint="name the script by its own path",
        ) from None
    stage.copies[path] = (status.st_size, status.st_mtime_ns, status.st_ino)


def _mode_of(path: str) -> int:
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        # A template has no file of this name beside it.
        return 0o644


def _copy(stage: Stage, file: SourceFile, content: bytes, mtime_ns: int) -> None:
    try:
        status = _write_copy(f"{stage.run}/{file.path}", content, file.mode, mtime_ns)
    except FileExistsError:
        return
    stage.copies[file.path] = (status.st_size, status.st_mtime_ns, status.st_ino)


def _write_copy(path: str, content: bytes, mode: int, mtime_ns: int) -> os.stat_result:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        write_all(descriptor, content)
        # After the last write: writing clears some bits. The umask is not the project's, either.
        os.fchmod(descriptor, mode)
        os.utime(descriptor, ns=(mtime_ns, mtime_ns))
        return os.fstat(descriptor)
    except OSError:
        # Half a copy would pass for one that is there already.
        remove_if_there(path)
        raise
    finally:
        os.close(descriptor)


def _copy_of(stage: Stage, copier: Copier, path: str, target: str) -> bool:
    """Put a copy of a file where it belongs; False where it shall be a link."""
    if not target.startswith("/"):
        return False
    try:
        status = copier.copy(target, f"{stage.run}/{path}")
    except FileExistsError:
        return True
    if status is None:
        return False
    stage.copies[path] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return True


def _link(stage: Stage, path: str, size: int, mtime_ns: int, target: str) -> None:
    at = f"{stage.run}/{path}"
    try:
        os.symlink(target, at)
    except FileExistsError:
        return
    except OSError:
        _copy_instead(stage, path, target)
        return
    stage.links[path] = (target, size, mtime_ns)


def _copy_instead(stage: Stage, path: str, target: str) -> None:
    """Copy what cannot be linked, on a file system without symbolic links.

    Links inside what is copied, and what cannot be read, are left out.
    """
    import shutil

    # Relative targets are the project's own: there they lead to something already.
    source = os.path.normpath(os.path.join(os.path.dirname(f"{stage.project}/{path}"), target))
    at = f"{stage.run}/{path}"
    stage.problems.append(path)
    waiting = [(source, at)]
    while waiting:
        source, at = waiting.pop()
        try:
            if os.path.isdir(source):
                os.mkdir(at)
                stage.directories.append(at[len(stage.run) + 1 :])
                with os.scandir(source) as scan:
                    names = [entry.name for entry in scan if not entry.is_symlink()]
                waiting += [(f"{source}/{name}", f"{at}/{name}") for name in names]
            elif os.path.isfile(source):
                shutil.copy2(source, at)
                status = os.lstat(at)
                stamp = (status.st_size, status.st_mtime_ns, status.st_ino)
                stage.copies[at[len(stage.run) + 1 :]] = stamp
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise


def _sweep(stage: Stage, relative: str, outputs: list[str]) -> None:
    """Remove what is as it was staged below a directory; collect the rest."""
    prefix = f"{relative}/" if relative else ""
    try:
        with os.scandir(f"{stage.run}/{relative}") as scan:
            entries = list(scan)
    except FileNotFoundError:
        return
    except OSError:
        # What is in it nobody may see; that it is there belongs into the record.
        outputs.append(relative)
        return
    for entry in entries:
        path = prefix + entry.name
        if not relative and entry.name == RECORD_DIRECTORY:
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                if entry.name == BYTECODE and os.path.isdir(f"{stage.project}/{relative}"):
                    # What was imported through a link that has become a directory.
                    _remove_bytecode(entry.path)
                _sweep(stage, path, outputs)
                if path in stage.links:
                    _remove_if_empty(entry.path)
            elif _is_as_staged(stage, path, entry):
                os.unlink(entry.path)
            else:
                outputs.append(path)
        except FileNotFoundError:
            continue  # A process that outlived the run has removed it.
        except OSError:
            # The script has made its directory read-only: it stays, and is said to be there.
            outputs.append(path)


def _is_as_staged(stage: Stage, path: str, entry: os.DirEntry[str]) -> bool:
    if entry.is_symlink():
        target = os.readlink(entry.path)
        link = stage.links.get(path)
        # The second is a link that the probe made when it unfolded a directory.
        is_ours = target == f"{stage.project}/{path}" or target.startswith(REQUIRED_LINK)
        return (link is not None and target == link[0]) or is_ours
    status = entry.stat(follow_symlinks=False)
    copy = stage.copies.get(path)
    if copy is not None:
        return copy == (status.st_size, status.st_mtime_ns, status.st_ino)
    link = stage.links.get(path)
    # The probe copied it for writing, with its time, and nothing was written.
    return link is not None and (status.st_size, status.st_mtime_ns) == link[1:]


def _written_through(stage: Stage) -> list[str]:
    changed = []
    for path, (target, size, mtime_ns) in stage.links.items():
        if size < 0 or not target.startswith("/"):
            continue
        try:
            status = os.stat(target)
        except OSError:
            continue
        if (size, mtime_ns) != (status.st_size, status.st_mtime_ns):
            changed.append(path)
    return changed


def _leave_bytecode(stage: Stage) -> None:
    """Move new bytecode to where plain Python would have put it: beside the project's source."""
    if stage.is_guarded:
        return
    source_directories = {path.rpartition("/")[0] for path in stage.copies if path.endswith(".py")}
    for directory in source_directories:
        path = f"{directory}/{BYTECODE}" if directory else BYTECODE
        here = f"{stage.run}/{path}"
        if path in stage.links or not os.path.isdir(here) or os.path.islink(here):
            continue
        try:
            os.rename(here, f"{stage.project}/{path}")
        except OSError:
            _remove_bytecode(here)


def _remove_bytecode(directory: str) -> None:
    try:
        for name in os.listdir(directory):
            if name.endswith((".pyc", ".pyo")) or ".pyc." in name:
                remove_if_there(f"{directory}/{name}")
        os.rmdir(directory)
    except OSError:
        pass


def _part_from_pool(stage: Stage, tree: ProjectTree, pool: SourcePool, outputs: list[str]) -> None:
    """Give outputs that are shared copies of code inodes of their own; forget changed copies."""
    inodes = {inode for _, _, inode in stage.copies.values()}
    shared = set()
    for path in outputs:
        try:
            status = os.lstat(f"{stage.run}/{path}")
        except OSError:
            continue
        if status.st_ino in inodes and status.st_nlink > 1 and stat.S_ISREG(status.st_mode):
            shared.add(path)
    for file in tree.sources if shared else ():
        if file.path in shared:
            pool.drop(file)
    for path in shared:
        _make_private(f"{stage.run}/{path}")


def _make_private(path: str) -> None:
    beside = temporary_name(path)
    try:
        status = os.lstat(path)
        mode = stat.S_IMODE(status.st_mode)
        _write_copy(beside, read_file(path), mode, status.st_mtime_ns)
        os.rename(beside, path)
    except OSError:
        # On a full disk it stays shared with runs that are under way now, and with no later one.
        remove_if_there(beside)


def _remove_if_empty(directory: str) -> None:
    try:
        os.rmdir(directory)
    except OSError:
        pass
