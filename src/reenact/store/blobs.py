"""Content-addressed files: written once, named by their digest, never changed.

Promised: a blob is complete or absent, however the writer died; the same content is kept once; two
writers of the same content do not disturb each other. A put of a blob whose file has another size
than it must have (a power cut can do that) writes it again.
Not promised: that a blob survives a power cut in the seconds after its put. `fsck` names those.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from blake3 import blake3

from reenact.errors import Damaged, NotFound
from reenact.model.identity import Digest, is_digest
from reenact.store.files import read_file, remove_if_there, temporary_name, write_all

CHUNK = 1 << 20
_MMAP_FROM = 1 << 22
_PROGRESS_BYTES = 1 << 28
_FICLONE = 0x40049409

_hashes_in_threads: int | None = None
"""The process in which BLAKE3 has started its threads, itself or before a fork; None for none."""


def large_hasher() -> blake3:
    """Return a hasher for much data: it works in all cores, if it can.

    A fork does not have the threads of its parent, and BLAKE3 would wait for them for ever: where
    the parent had any, the hasher works without.
    """
    global _hashes_in_threads
    if _hashes_in_threads is None:
        _hashes_in_threads = os.getpid()
    if _hashes_in_threads != os.getpid():
        return blake3()
    return blake3(max_threads=blake3.AUTO)


def digest_bytes(data: bytes) -> Digest:
    """Return the digest of `data`."""
    return Digest(blake3(data).hexdigest())


def digest_file(path: str, progress: Callable[[int], None] | None = None) -> tuple[Digest, int]:
    """Return digest and size of a file's content; large files are hashed by all cores.

    Args:
        path: the file.
        progress: told of a large one how many bytes are done, every quarter of a gigabyte.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if progress is not None and os.fstat(descriptor).st_size > _PROGRESS_BYTES:
            return _digest_by_pieces(descriptor, progress)
        return digest_descriptor(descriptor, path)
    finally:
        os.close(descriptor)


def _digest_by_pieces(descriptor: int, progress: Callable[[int], None]) -> tuple[Digest, int]:
    # Imported here: hardly any run has files of that size.
    import mmap

    size = os.fstat(descriptor).st_size
    hasher = large_hasher()
    for start in range(0, size, _PROGRESS_BYTES):
        length = min(_PROGRESS_BYTES, size - start)
        with mmap.mmap(descriptor, length, access=mmap.ACCESS_READ, offset=start) as piece:
            hasher.update(piece)
        progress(start + length)
    return Digest(hasher.hexdigest()), size


def copy_content(source: str, target: str) -> None:
    """Copy a file's content to a new file; blocks are shared where the file system can do that.

    Raises:
        OSError: it cannot be read or written; there is nothing at `target` then.
    """
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        beside = temporary_name(target)
        writing = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            if not share_blocks(reading, writing):
                while data := os.read(reading, CHUNK):
                    write_all(writing, data)
            os.rename(beside, target)
        except OSError:
            remove_if_there(beside)
            raise
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def share_blocks(source: int, target: int) -> bool:
    """Let a file have the content of another one without a copy of it, on Btrfs, XFS and the like."""
    import fcntl

    try:
        fcntl.ioctl(target, _FICLONE, source)
    except (OSError, AttributeError):
        return False
    return True


def digest_descriptor(descriptor: int, path: str) -> tuple[Digest, int]:
    """Return digest and size of what can be read from an open file, from its start."""
    size = os.fstat(descriptor).st_size
    if size >= _MMAP_FROM:
        hasher = large_hasher()
        hasher.update_mmap(path)
        return Digest(hasher.hexdigest()), size
    data = os.read(descriptor, size + 1)
    if len(data) == size:
        return Digest(blake3(data).hexdigest()), size
    hasher = blake3(data)
    total = len(data)
    while data := os.read(descriptor, CHUNK):
        hasher.update(data)
        total += len(data)
    return Digest(hasher.hexdigest()), total


class FileToKeep(NamedTuple):
    """A file whose content is to become a blob.

    Attributes:
        path: where it is.
        digest: of the content that is wanted.
        size_bytes: of that.
        name: what a record calls the input that it is, or is a part of.
    """

    path: str
    digest: Digest
    size_bytes: int
    name: str


class Blobs:
    """The blobs of one store."""

    def __init__(self, root: str) -> None:
        self.root = root

    def path(self, digest: Digest) -> str:
        """Return where the blob is, or would be."""
        return f"{self.root}/{digest[:2]}/{digest[2:]}"

    def has(self, digest: Digest, size: int | None = None) -> bool:
        """Tell whether the blob is there, and of the right size where that is known."""
        try:
            found = os.stat(self.path(digest)).st_size
        except OSError:
            return False
        return size is None or found == size

    def put(self, data: bytes) -> Digest:
        """Keep `data`; return its digest."""
        digest = digest_bytes(data)
        if not self.has(digest, len(data)):
            self._write(digest, data)
        return digest

    def put_file(self, path: str) -> tuple[Digest, int]:
        """Keep the content of a file as it is now; return digest and size.

        What is stored is what was hashed, even when the file changes meanwhile.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            if size <= CHUNK:
                data = os.read(descriptor, CHUNK + 1)
                if len(data) <= CHUNK and not os.read(descriptor, 1):
                    return self.put(data), len(data)
                os.lseek(descriptor, 0, os.SEEK_SET)
            return self._put_stream(descriptor)
        finally:
            os.close(descriptor)

    def keep(self, file: FileToKeep) -> bool:
        """Keep the content of a file; False where it is not the one that is wanted any more.

        A large file is not read twice where the file system can share its blocks.

        Raises:
            OSError: there is no room for it in the store.
        """
        if self.has(file.digest, file.size_bytes):
            return True
        if file.size_bytes <= CHUNK:
            try:
                data = read_file(file.path)
            except OSError:
                return False
            if digest_bytes(data) != file.digest:
                return False
            self._write(file.digest, data)
            return True
        path = self.path(file.digest)
        beside = temporary_name(f"{self.root}/incoming")
        os.makedirs(self.root, exist_ok=True)
        try:
            copy_content(file.path, beside)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            return False
        try:
            if digest_file(beside)[0] != file.digest:
                return False
            os.chmod(beside, 0o444)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.rename(beside, path)
        finally:
            remove_if_there(beside)
        return True

    def get(self, digest: Digest) -> bytes:
        """Return the content, verified.

        Raises:
            NotFound: this store does not have it.
            Damaged: the file's content is not what its name says.
        """
        try:
            data = read_file(self.path(digest))
        except FileNotFoundError:
            raise NotFound(
                f"blob {digest[:12]} is not in this store",
                hint="`reenact fsck` lists the runs that need it",
            ) from None
        if digest_bytes(data) != digest:
            raise Damaged(
                f"blob {digest[:12]} was changed on disk",
                hint="`reenact fsck` lists the runs that need it",
            )
        return data

    def list(self) -> Iterator[Digest]:
        """Yield the digests of all blobs, in no order."""
        try:
            prefixes = [e.name for e in os.scandir(self.root) if len(e.name) == 2]
        except FileNotFoundError:
            return
        for prefix in prefixes:
            for entry in os.scandir(f"{self.root}/{prefix}"):
                name = prefix + entry.name
                if is_digest(name):
                    yield Digest(name)

    def remove(self, digest: Digest) -> None:
        """Remove a blob; whoever calls has made sure that nothing refers to it."""
        remove_if_there(self.path(digest))

    def _write(self, digest: Digest, data: bytes) -> None:
        path = self.path(digest)
        beside = temporary_name(path)
        try:
            descriptor = self._create(beside)
            try:
                write_all(descriptor, data)
            finally:
                os.close(descriptor)
            os.rename(beside, path)
        except OSError:
            remove_if_there(beside)
            raise

    def _put_stream(self, descriptor: int) -> tuple[Digest, int]:
        beside = temporary_name(f"{self.root}/incoming")
        hasher = blake3()
        size = 0
        try:
            out = self._create(beside)
            try:
                while data := os.read(descriptor, CHUNK):
                    hasher.update(data)
                    write_all(out, data)
                    size += len(data)
            finally:
                os.close(out)
            digest = Digest(hasher.hexdigest())
            path = self.path(digest)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.rename(beside, path)
        except OSError:
            remove_if_there(beside)
            raise
        return digest, size

    def _create(self, path: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return os.open(path, flags, 0o444)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            return os.open(path, flags, 0o444)
