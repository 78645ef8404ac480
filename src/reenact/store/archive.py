"""Bundles as bytes: a ZIP with a part of a store, its list, and the digest of everything in it.

Promised: the same content gives the same bytes, with the same zlib; what is read has been verified
against the list; nothing is written outside the directory that is named, whoever made the archive; files
of any size pass through a small buffer.
Not promised: that whoever made an archive is who they say. A digest proves that nothing was damaged.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Self

from blake3 import blake3

from reenact.errors import Damaged, NotFound, ReenactError
from reenact.model.bundle import (
    MANIFEST,
    Manifest,
    decode_manifest,
    encode_manifest,
    problem_of_name,
)
from reenact.model.identity import Digest
from reenact.model.paths import landing, text_to_path
from reenact.model.words import counted
from reenact.store.blobs import large_hasher
from reenact.store.files import remove_if_there, temporary_name, write_all

_CHUNK = 1 << 20
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)
_STORED_FROM = 64 << 20
"""Larger files are weights and data, which hardly get smaller, and slowly."""
_SAMPLE = 1 << 16
_WORTH = 0.9
"""A file is compressed if its beginning gets smaller than this."""
_ENCRYPTED = 0x1
_MANIFEST_LIMIT = 1 << 30
_BOMB_FACTOR = 100
_BOMB_FROM = 1 << 30
"""Bytes that an archive may always expand to."""
_BROKEN = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError,
    OverflowError, struct.error, IndexError,
)  # fmt: skip
"""What `zipfile` says of an archive that is none, or was damaged."""

Progress = Callable[[int, int], None]
"""Told how many bytes are done, and how many there are."""


class ArchiveWriter:
    """Writes the files of an archive one after the other, and its list at the end.

    Use it as a context: an archive that fails half-way is left as it is, for others to remove.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(file, "w", allowZip64=True)
        self.files: list[tuple[str, int, int, Digest]] = []
        self.links: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Else it would write the end of the archive whenever it is collected.
        self._zip.fp = None

    def add_bytes(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Write a file of this content."""
        self._write(name, data, mode)
        self.files.append((name, mode, len(data), Digest(blake3(data).hexdigest())))

    def add_file(self, name: str, path: str, mode: int | None = None) -> Digest:
        """Write the content of a file; return its digest.

        Args:
            name: in the archive.
            path: where it is.
            mode: permission bits; those that it has when None.

        Raises:
            Damaged: it changed meanwhile.
            OSError: it cannot be read, or the archive not written.
        """
        with open(path, "rb") as source:
            status = os.fstat(source.fileno())
            mode = stat.S_IMODE(status.st_mode) & 0o777 if mode is None else mode
            if status.st_size <= _CHUNK:
                data = source.read(_CHUNK + 1)
                if len(data) <= _CHUNK:
                    self.add_bytes(name, data, mode)
                    return self.files[-1][3]
                source.seek(0)
            digest = self._stream(name, source, mode, status.st_size, path)
        self.files.append((name, mode, status.st_size, digest))
        return digest

    def add_link(self, name: str, target: str) -> None:
        """Write a symbolic link, as `zip --symlinks` does; both are spelled as in records."""
        info = _info(name, stat.S_IFLNK | 0o777)
        self._zip.writestr(info, os.fsencode(text_to_path(target)))
        self.links.append((name, target))

    def close(self, manifest: Manifest) -> Manifest:
        """Write the list of everything that was written, and the end; return that list."""
        import msgspec

        whole = msgspec.structs.replace(
            manifest, files=tuple(sorted(self.files)), links=tuple(sorted(self.links))
        )
        self._write(MANIFEST, encode_manifest(whole), 0o644)
        self._zip.close()
        return whole

    def _write(self, name: str, data: bytes, mode: int) -> None:
        info = _info(name, stat.S_IFREG | mode)
        info.compress_type = _compression(data[:_SAMPLE], len(data))
        self._zip.writestr(info, data)

    def _stream(self, name: str, source: IO[bytes], mode: int, size: int, path: str) -> Digest:
        sample = source.read(_SAMPLE)
        source.seek(0)
        info = _info(name, stat.S_IFREG | mode)
        info.compress_type = _compression(sample, size)
        info.file_size = size
        hasher = large_hasher()
        left = size
        with self._zip.open(info, "w", force_zip64=size >= zipfile.ZIP64_LIMIT // 2) as out:
            while left and (data := source.read(min(_CHUNK, left))):
                hasher.update(data)
                out.write(data)
                left -= len(data)
        if left or source.read(1):
            raise Damaged(f"`{path}` changes while it is read", hint="wait until it does not")
        return Digest(hasher.hexdigest())


def _info(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _FIRST_DATE)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def _compression(sample: bytes, size: int) -> int:
    if size > _STORED_FROM or len(zlib.compress(sample, 1)) > _WORTH * len(sample):
        return zipfile.ZIP_STORED
    return zipfile.ZIP_DEFLATED


@contextmanager
def new_file(path: str, *, replace: bool) -> Iterator[IO[bytes]]:
    """Open a file that is there, under its name, when all of it is, and not before.

    Where the file system can, it has no name until then: not even a killed writer leaves anything.

    Args:
        path: the file; its directory exists.
        replace: one that is there already is replaced.

    Raises:
        FileExistsError: it is there, and not to be replaced; somebody may have made it meanwhile.
        OSError: it cannot be written.
    """
    directory, name = os.path.split(path)
    beside = temporary_name(f"{directory}/.{name}")
    nameless = getattr(os, "O_TMPFILE", None)
    descriptor = None
    if nameless is not None and os.path.isdir("/proc/self/fd"):
        with suppress(OSError):
            descriptor = os.open(directory, nameless | os.O_RDWR | os.O_CLOEXEC, 0o666)
    has_name = descriptor is None
    if descriptor is None:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if not has_name:
                _name(file.fileno(), directory, beside)
                has_name = True
        if replace:
            os.rename(beside, path)
        else:
            _rename_new(beside, path)
    except BaseException:
        if has_name:
            remove_if_there(beside)
        raise
    _sync_directory(directory)


def _rename_new(path: str, new: str) -> None:
    """Rename a file unless there is one of the new name; raises FileExistsError."""
    try:
        os.link(path, new)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # A file system without hard links: somebody who is very quick may be overwritten.
        if os.path.lexists(new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from None
        os.rename(path, new)
    else:
        os.unlink(path)


def _name(descriptor: int, directory: str, path: str) -> None:
    at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # With a directory given Python calls the function that follows the link in /proc.
        os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=at)
    finally:
        os.close(at)


def _sync_directory(directory: str) -> None:
    with suppress(OSError):  # Not every file system has this.
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_bundle(path: str) -> bool:
    """Tell whether a file is a bundle, whatever it is called; a damaged one need not be."""
    try:
        with zipfile.ZipFile(path) as archive:
            return MANIFEST in archive.namelist()
    except (OSError, *_BROKEN):
        return False


class Archive:
    """An archive that is read. Nothing of it is believed before it is verified.

    Attributes:
        manifest: the list of what is in it; names and sizes are those of the files that are there.
    """

    def __init__(self, path: str) -> None:
        """Open it and read its list.

        Raises:
            NotFound: there is no such file.
            Damaged: it is no bundle, or not as it was written.
            TooNew: a later version of Reenact wrote it.
            ReenactError: it cannot be read.
        """
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise NotFound(f"there is no file `{path}`") from None
        except OSError as error:
            raise ReenactError(f"cannot read `{path}`: {error.strerror}") from None
        except _BROKEN as error:
            raise self._damaged(f"it is no complete ZIP archive ({error})") from None
        try:
            self.manifest = self._read_manifest()
            self._check()
        except BaseException:
            self._zip.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def size_bytes(self) -> int:
        """What the files come to."""
        return sum(size for _, _, size, _ in self.manifest.files)

    def extract(self, directory: str, progress: Progress = lambda _done, _all: None) -> None:
        """Write all files and links below a directory that is empty, and verify them meanwhile.

        Raises:
            Damaged: something is not as it was written.
            OSError: it cannot be written.
        """
        total = self.size_bytes
        done = 0
        made: set[str] = set()
        for name, mode, size, digest in self.manifest.files:
            path = f"{directory}/{text_to_path(name)}"
            parent = os.path.dirname(path)
            if parent not in made:
                os.makedirs(parent, exist_ok=True)
                made.add(parent)
            # A blob never changes, whatever the list says.
            mode = 0o444 if name.startswith("blobs/") else mode & 0o777
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags, mode | 0o600)
            try:
                for data in self._content(name, size, digest):
                    write_all(descriptor, data)
                    done += len(data)
                    progress(done, total)
                os.fchmod(descriptor, mode)
                if name.endswith("/.reenact/run.json"):
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
        # Last: no file is written through one.
        for name, target in self.manifest.links:
            path = f"{directory}/{text_to_path(name)}"
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.symlink(text_to_path(target), path)

    def verify(self, progress: Progress = lambda _done, _all: None) -> None:
        """Read everything and compare it with the list; raises Damaged."""
        total = self.size_bytes
        done = 0
        for name, _, size, digest in self.manifest.files:
            for data in self._content(name, size, digest):
                done += len(data)
                progress(done, total)

    def _content(self, name: str, size: int, digest: Digest) -> Iterator[bytes]:
        hasher = large_hasher() if size > _CHUNK else blake3()
        found = 0
        try:
            with self._zip.open(name) as file:
                while data := file.read(_CHUNK):
                    found += len(data)
                    if found > size:
                        break
                    hasher.update(data)
                    yield data
        except OSError as error:
            # A header that was damaged leads to places before the file's beginning, too.
            reason = error.strerror or str(error)
            raise self._damaged(f"`{name}` cannot be read: {reason}") from None
        except _BROKEN as error:
            raise self._damaged(f"`{name}`: {error}") from None
        if found != size or hasher.hexdigest() != digest:
            raise self._damaged(f"`{name}` is not what was written")

    def _read_manifest(self) -> Manifest:
        try:
            info = self._zip.getinfo(MANIFEST)
            if info.file_size > _MANIFEST_LIMIT:
                raise self._damaged("its list is too large")
            with self._zip.open(info) as file:
                data = file.read(_MANIFEST_LIMIT + 1)
        except KeyError:
            raise Damaged(
                f"`{self.path}` is no bundle: there is no `{MANIFEST}` in it",
                hint="`reenact export` writes bundles",
            ) from None
        except (OSError, *_BROKEN) as error:
            raise self._damaged(f"its list cannot be read ({error})") from None
        try:
            return decode_manifest(data, where=f"the bundle `{self.path}`")
        except RecursionError:
            raise self._damaged("its list is nested too deeply") from None

    def _check(self) -> None:
        """Refuse an archive whose files are not those of the list, or lead elsewhere."""
        files = {name: size for name, _, size, _ in self.manifest.files}
        links = dict(self.manifest.links)
        there: set[str] = set()
        packed = unpacked = 0
        for info in self._zip.infolist():
            name = info.filename
            if name in there:
                raise self._damaged(f"`{name}` is there twice")
            there.add(name)
            packed += info.compress_size
            if info.flag_bits & _ENCRYPTED:
                raise self._damaged(f"`{name}` is encrypted")
            if name == MANIFEST or name in links:
                continue
            if name not in files:
                raise self._damaged(f"`{name}` is not in its list")
            if info.file_size != files[name]:
                raise self._damaged(f"`{name}` is not what was written")
            unpacked += info.file_size
        missing = (files.keys() | links.keys()) - there
        if missing:
            raise self._damaged(f"`{min(missing)}` is missing")
        if len(files) != len(self.manifest.files) or len(links) != len(self.manifest.links):
            raise self._damaged("its list names a file twice")
        size = os.stat(self.path).st_size
        if packed > size or unpacked > max(_BOMB_FROM, _BOMB_FACTOR * size):
            raise self._damaged(f"its {size} bytes would become {unpacked}")
        self._check_names(files.keys() | links.keys(), links)

    def _check_names(self, names: set[str], links: dict[str, str]) -> None:
        runs = {text_to_path(name).split("/")[1] for name in names if name.startswith("runs/")}
        for name in names:
            problem = problem_of_name(name)
            if problem is None and any(parent in links for parent in _parents(name)):
                problem = "its path leads through a link"
            if problem is not None:
                raise self._refused(name, problem)
        for name, _, _, digest in self.manifest.files:
            if name.startswith("blobs/") and name != f"blobs/{digest[:2]}/{digest[2:]}":
                raise self._refused(name, "it has another digest")
        paths = {text_to_path(name) for name in links}
        for name, target in links.items():
            path, to = text_to_path(name), text_to_path(target)
            top, _, below = (landing(path, to, paths) or "").partition("/")
            is_inside = top == "runs" and below.partition("/")[0] in runs
            if not path.startswith("runs/") or to.startswith("/") or not to or not is_inside:
                raise self._refused(name, "the link leads elsewhere")

    def _damaged(self, detail: str) -> Damaged:
        return Damaged(
            f"the bundle `{self.path}` is damaged: {detail}", hint="get it again; nothing was kept"
        )

    def _refused(self, name: str, problem: str) -> Damaged:
        return Damaged(f"the bundle `{self.path}` is refused: `{name}`: {problem}")


def check_room(directory: str, size_bytes: int) -> None:
    """Refuse what does not fit on the file system of a directory; raises ReenactError."""
    try:
        free = shutil.disk_usage(directory).free
    except OSError:
        return
    if size_bytes > free:
        raise ReenactError(
            f"{counted(size_bytes, 'byte')} are needed in `{directory}`, and {free} are free",
            hint="free some, or name another store: `reenact -H DIR ...`",
        )


def _parents(name: str) -> Iterator[str]:
    parts = name.split("/")
    for count in range(1, len(parts)):
        yield "/".join(parts[:count])
