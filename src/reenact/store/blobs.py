"""Content-addressed files: written once, named by their digest, never changed.

Promised: a blob is complete or absent, however the writer died; the same content is kept once; two
writers of the same content do not disturb each other. A put of a blob whose file has another size
than it must have (a power cut can do that) writes it again.
Not promised: that a blob survives a power cut in the seconds after its put. `fsck` names those.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from blake3 import blake3

from reenact.errors import Damaged, NotFound
from reenact.model.identity import Digest, is_digest
from reenact.store.files import read_file, remove_if_there, temporary_name, write_all

CHUNK = 1 << 20
_MMAP_FROM = 1 << 22


def digest_bytes(data: bytes) -> Digest:
    """Return the digest of `data`."""
    return Digest(blake3(data).hexdigest())


def digest_file(path: str) -> tuple[Digest, int]:
    """Return digest and size of a file's content; large files are hashed by all cores.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return digest_descriptor(descriptor, path)
    finally:
        os.close(descriptor)


def digest_descriptor(descriptor: int, path: str) -> tuple[Digest, int]:
    """Return digest and size of what can be read from an open file, from its start."""
    size = os.fstat(descriptor).st_size
    if size >= _MMAP_FROM:
        hasher = blake3(max_threads=blake3.AUTO)
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
