"""The project's tree as it is now: its source as blobs, the rest as links to make.

An unchanged tree costs a scan: a file whose size, times and inode are those of the last snapshot
is not read again. A file that was modified in the same moment as it was read is read again next
time, because a second modification in that moment would not show in its times.
"""

from __future__ import annotations

import os
import stat
import time
from typing import NamedTuple

import msgspec

from reenact.errors import Damaged, TooNew
from reenact.model.identity import Digest
from reenact.model.paths import leads_out, path_to_text, printable
from reenact.snapshot.rules import (
    CACHES,
    FOLDED_FROM,
    LINKED_WHOLE,
    SOURCE_LIMIT,
    Pick,
    is_left_out,
    is_source_candidate,
    is_text,
    may_be_picked,
    picked,
)
from reenact.store.blobs import Blobs, digest_bytes
from reenact.store.files import read_file, write_atomically

TREE_FORMAT = 1

_LOOK_AT_MOST = 50_000
"""So many files are looked at for source among them before a directory counts as mere data."""

_LOOKED_AT = 5000
"""Up to so many files it is made sure that their blobs are there: two milliseconds for a thousand."""
_CLOCK_STEP_NS = 20_000_000
"""File systems stamp times in steps of up to 10 ms; twice that is safe."""


class SourceFile(NamedTuple):
    """A source file; its content is the blob `digest`."""

    path: str
    mode: int
    size: int
    digest: Digest
    mtime_ns: int


class SourceTree(msgspec.Struct, frozen=True):
    """What a snapshot's blob holds. Paths are spelled as `model.paths` says, sorted.

    Attributes:
        files: path, permission bits, size in bytes, digest.
        links: path and target of the symbolic links that lead from source to source.
    """

    files: list[tuple[str, int, int, Digest]]
    links: list[tuple[str, str]] = []
    format: int = TREE_FORMAT


class ProjectTree(NamedTuple):
    """All that a run directory is made of. Paths are relative to the project's root.

    Attributes:
        tree: digest of the blob that lists the source.
        sources: its files.
        source_links: symbolic links inside the project, with their relative targets.
        directories: every directory to make, parents first.
        links: files to link, with size and mtime_ns now, to see later whether they changed.
        whole: directories to link as one.
        too_large: text files that are data only because of their size.
    """

    tree: Digest
    sources: list[SourceFile]
    source_links: list[tuple[str, str]]
    directories: list[str]
    links: list[tuple[str, int, int]]
    whole: list[str]
    too_large: list[str]

    @property
    def source_bytes(self) -> int:
        """Size of all source files together."""
        return sum(file.size for file in self.sources)


_Stamp = tuple[int, int, int, int]


class _CacheFile(msgspec.Struct, array_like=True):
    """Stamp (size, mtime_ns, ctime_ns, inode) and digest of every candidate; "" for data."""

    version: int = 1
    files: dict[str, tuple[_Stamp, Digest | None]] = {}
    tree: Digest | None = None


class _Walk:
    """One pass over a project's directories."""

    def __init__(
        self,
        root: str,
        listed: frozenset[str] | None,
        scripts: frozenset[str],
        cache: _CacheFile,
        blobs: Blobs | None,
        picks: tuple[Pick, ...],
    ) -> None:
        self.picks = picks
        self.root = root
        self.listed = listed
        self.scripts = scripts
        self.source_directories = _source_directories(listed or frozenset(), scripts)
        self.repositories = tuple(p for p in listed or () if p.endswith("/"))
        self.known = cache.files
        self.blobs = blobs
        self.found: dict[str, tuple[_Stamp, Digest | None]] = {}
        self.changed = False
        self.now_ns = time.time_ns()
        self.result = ProjectTree(Digest(""), [], [], [], [], [], [])

    def directory(self, relative: str) -> None:
        """Take in a directory that is source or may hold some."""
        absolute = f"{self.root}/{relative}" if relative else self.root
        try:
            with os.scandir(absolute) as scan:
                entries = list(scan)
        except FileNotFoundError:
            return
        except OSError:
            # In the run it shall refuse as it does here.
            if relative:
                self.result.directories.remove(relative)
                self.result.whole.append(relative)
            return
        prefix = f"{relative}/" if relative else ""
        for entry in entries:
            try:
                self._entry(prefix + entry.name, entry)
            except FileNotFoundError:
                continue  # It was deleted while we looked.

    def _entry(self, path: str, entry: os.DirEntry[str]) -> None:
        if entry.is_symlink():
            self._symlink(path, entry)
        elif entry.is_dir(follow_symlinks=False):
            self._subdirectory(path, entry.name)
        elif entry.is_file(follow_symlinks=False):
            self.file(path, entry.name, entry.stat(follow_symlinks=False))
        else:
            # A pipe or a socket: nobody looks whether it was written to.
            self.result.links.append((path, -1, -1))

    def _subdirectory(self, path: str, name: str) -> None:
        if name in CACHES or name.endswith(".egg-info"):
            return
        absolute = f"{self.root}/{path}"
        if name in LINKED_WHOLE or os.path.exists(f"{absolute}/pyvenv.cfg"):
            self.result.whole.append(path)
        elif os.path.exists(f"{absolute}/store.json") and os.path.isdir(f"{absolute}/runs"):
            return
        elif is_left_out(self.picks, path) or self._is_mere_data(path):
            self.result.whole.append(path)
        else:
            self.result.directories.append(path)
            self.directory(path)

    def _is_mere_data(self, path: str) -> bool:
        """Tell whether a directory has so many files, and none of them source, as to be one link."""
        if path in self.source_directories:
            return False
        is_judged_by_name = self._is_judged_by_name(f"{path}/")
        seen = 0
        waiting = [path]
        while waiting:
            relative = waiting.pop()
            try:
                with os.scandir(f"{self.root}/{relative}") as scan:
                    for entry in scan:
                        inner = f"{relative}/{entry.name}"
                        if entry.is_dir(follow_symlinks=False):
                            if entry.name not in CACHES:
                                waiting.append(inner)
                        elif is_judged_by_name and is_source_candidate(inner, entry.name):
                            return False
                        seen += 1
                        if seen >= (_LOOK_AT_MOST if is_judged_by_name else FOLDED_FROM):
                            return True
            except OSError:
                continue
        return seen >= FOLDED_FROM

    def _is_judged_by_name(self, path: str) -> bool:
        """Tell whether git has no say: there is none, or it is a repository of its own."""
        return self.listed is None or path.startswith(self.repositories)

    def _symlink(self, path: str, entry: os.DirEntry[str]) -> None:
        target = os.readlink(entry.path)
        if entry.name in CACHES:
            return
        landing = os.path.normpath(os.path.join(os.path.dirname(path), target))
        leads_inside = not target.startswith("/") and not landing.startswith("..")
        if leads_inside and CACHES.isdisjoint(landing.split("/")):
            # Inside the project: in the run it leads to the run's own copy.
            self.result.source_links.append((path, target))
        elif _leads_to_directory(entry):
            self.result.whole.append(path)
        else:
            self.result.links.append((path, *_size_and_mtime(entry)))

    def file(self, path: str, name: str, status: os.stat_result) -> None:
        """Take in one file, as source or as a link."""
        is_script = path in self.scripts
        is_candidate = is_script or self._is_judged_by_name(path) or path in (self.listed or ())
        is_candidate = is_candidate or may_be_picked(self.picks, path)
        if not is_candidate:
            self.result.links.append((path, status.st_size, status.st_mtime_ns))
            return
        stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        known = self.known.get(path)
        if known is not None and known[0] == stamp and not (is_script and known[1] is None):
            digest = known[1]
            self.found[path] = known
        else:
            digest = self._read(path, name, status)
            self.changed = True
            if self.now_ns - max(status.st_mtime_ns, status.st_ctime_ns) > _CLOCK_STEP_NS:
                self.found[path] = (stamp, digest)
        if digest is None:
            self.result.links.append((path, status.st_size, status.st_mtime_ns))
            if status.st_size > SOURCE_LIMIT and self._is_long_text(path, name):
                self.result.too_large.append(path)
        else:
            mode = stat.S_IMODE(status.st_mode)
            self.result.sources.append(
                SourceFile(path, mode, status.st_size, digest, status.st_mtime_ns)
            )

    def _is_long_text(self, path: str, name: str) -> bool:
        if not is_source_candidate(path, name):
            return False
        try:
            with open(f"{self.root}/{path}", "rb") as file:
                return is_text(file.read(8000))
        except OSError:
            return False

    def _read(self, path: str, name: str, status: os.stat_result) -> Digest | None:
        """Return the digest of a source file, which is then a blob; None for data."""
        is_fit = status.st_size <= SOURCE_LIMIT and is_source_candidate(path, name)
        is_wanted = path in self.scripts
        if not is_fit and not is_wanted and not may_be_picked(self.picks, path):
            return None
        try:
            data = read_file(f"{self.root}/{path}")
        except OSError:
            return None
        has_text = is_text(data)
        decided = picked(self.picks, path, is_text=has_text) if self.picks else None
        if not is_wanted and not (is_fit and has_text if decided is None else decided):
            return None
        if is_wanted and not has_text:
            return None
        return digest_bytes(data) if self.blobs is None else self.blobs.put(data)


def take_snapshot(
    root: str,
    *,
    listed: frozenset[str] | None,
    blobs: Blobs | None,
    cache_path: str | None,
    scripts: frozenset[str] = frozenset(),
    only: list[str] | None = None,
    picks: tuple[Pick, ...] = (),
) -> ProjectTree:
    """Look at a project's tree and keep its source.

    Args:
        root: the project's root, absolute.
        listed: the files that git tracks or does not ignore; None outside git.
        blobs: where source goes; None to look only.
        cache_path: the file of stamps from the last snapshot; None to read everything.
        scripts: files that are source whatever git, their size and their names say.
        only: paths that are taken in; everything beside them becomes a link. For a script that
            lives among things that are no project, as in a home directory.
        picks: the user's rules about what is source.

    Raises:
        OSError: a blob cannot be written.
    """
    cache = _load_cache(cache_path)
    walk = _Walk(root, listed, scripts, cache, blobs, picks)
    if only is None:
        walk.directory("")
    else:
        _take_only(walk, "", frozenset(only))
    result = walk.result
    result.sources.sort()
    result.source_links.sort()
    if blobs is not None and len(result.sources) <= _LOOKED_AT:
        _put_back(root, result.sources, blobs)
    is_same = not walk.changed and len(walk.found) == len(cache.files) and only is None
    if is_same and cache.tree is not None and (blobs is None or blobs.has(cache.tree)):
        return result._replace(tree=cache.tree)
    content = msgspec.json.encode(
        SourceTree(
            files=[(path_to_text(f.path), f.mode, f.size, f.digest) for f in result.sources],
            links=[(path_to_text(p), path_to_text(t)) for p, t in result.source_links],
        )
    )
    tree = digest_bytes(content) if blobs is None else blobs.put(content)
    if cache_path is not None and blobs is not None and only is None:
        _save_cache(cache_path, _CacheFile(1, walk.found, tree))
    return result._replace(tree=tree)


def read_tree(blobs: Blobs, digest: Digest) -> SourceTree:
    """Return the source tree that a run was made from.

    Raises:
        NotFound: this store does not have it.
        Damaged: the blob is not what its name says, or no tree.
        TooNew: a later version of Reenact wrote it.
    """
    try:
        tree = msgspec.json.decode(blobs.get(digest), type=SourceTree)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Damaged(
            f"blob {digest[:12]} is no source tree: {error}",
            hint="`reenact fsck` lists what is wrong in the store",
        ) from None
    if tree.format > TREE_FORMAT:
        raise TooNew(
            f"source tree {digest[:12]} has format {tree.format}, this Reenact reads {TREE_FORMAT}",
            hint="install the version of Reenact that wrote it, or a later one",
        )
    for path in (*(file[0] for file in tree.files), *(link[0] for link in tree.links)):
        if leads_out(path):
            # Nobody writes such a tree by mistake.
            raise Damaged(
                f"blob {digest[:12]} is no source tree: `{path}` leads out of it",
                hint="do not use what it came with",
            )
    return tree


def _put_back(root: str, sources: list[SourceFile], blobs: Blobs) -> None:
    """Put blobs again that the store has lost since they were put for an unchanged file."""
    for file in sources:
        if not blobs.has(file.digest, file.size):
            try:
                data = read_file(f"{root}/{file.path}")
            except OSError:
                continue
            if digest_bytes(data) == file.digest:
                blobs.put(data)


def _take_only(walk: _Walk, relative: str, wanted: frozenset[str]) -> None:
    """Take in what is wanted below a directory; its neighbours on the way there become links."""
    prefix = f"{relative}/" if relative else ""
    try:
        with os.scandir(f"{walk.root}/{relative}") as scan:
            entries = sorted(scan, key=lambda e: e.name)
    except OSError:
        return
    for entry in entries:
        path = prefix + entry.name
        is_directory = entry.is_dir(follow_symlinks=False)
        if path in wanted and not entry.is_symlink():
            if is_directory:
                walk.result.directories.append(path)
                walk.directory(path)
            else:
                walk.file(path, entry.name, entry.stat(follow_symlinks=False))
        elif is_directory and any(other.startswith(f"{path}/") for other in wanted):
            walk.result.directories.append(path)
            _take_only(walk, path, wanted)
        elif not entry.name.startswith(".") and entry.name not in CACHES:
            if _leads_to_directory(entry):
                walk.result.whole.append(path)
            else:
                walk.result.links.append((path, *_size_and_mtime(entry)))


def _load_cache(path: str | None) -> _CacheFile:
    if path is None:
        return _CacheFile()
    try:
        cache = msgspec.msgpack.decode(read_file(path), type=_CacheFile)
    except (OSError, msgspec.DecodeError):
        return _CacheFile()
    return cache if cache.version == 1 else _CacheFile()


def _save_cache(path: str, cache: _CacheFile) -> None:
    try:
        data = msgspec.msgpack.encode(cache)
    except UnicodeEncodeError:
        # Files whose names are not UTF-8 are read every time.
        files = {name: known for name, known in cache.files.items() if printable(name) == name}
        data = msgspec.msgpack.encode(_CacheFile(cache.version, files, cache.tree))
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_atomically(path, data, sync=False)
    except OSError:
        pass  # Without it the next snapshot reads the files again.


def _source_directories(listed: frozenset[str], scripts: frozenset[str]) -> set[str]:
    """Return the directories in which there is source, and those above them."""
    found: set[str] = set()
    for path in (*scripts, *listed):
        parent, _, name = path.rpartition("/")
        # One source file decides; looking at the names of all takes as long as the scan itself.
        if parent in found or not (path in scripts or is_source_candidate(path, name)):
            continue
        while parent and parent not in found:
            found.add(parent)
            parent = parent.rpartition("/")[0]
    return found


def _leads_to_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A loop of links, or a place that we may not look at: the run may not either.
        return False


def _size_and_mtime(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        status = entry.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns
