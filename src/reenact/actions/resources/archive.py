"""Unpack archives into the store's cache, once for all runs that need them.

Promised: nothing is written outside the directory, no link in it leads out of it, and a directory
of that name is complete. Files cannot be written to, because runs share them.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import stat
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, NamedTuple

from reenact.actions.resources import RequirementFailed
from reenact.model.identity import Digest
from reenact.store.files import delete_tree, temporary_name
from reenact.store.store import Store

if TYPE_CHECKING:
    from gzip import GzipFile

_TYPES = {"zip": "zip", "tar": "tar", "gzip": "gzip", "gz": "gzip"}
_TAR = (".tar", ".tgz", ".tbz2", ".tbz", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")


class _Member(NamedTuple):
    """What an archive has: a directory, a link with its target, or a file with its content."""

    path: str
    mode: int = 0o644
    is_directory: bool = False
    link: str | None = None
    content: IO[bytes] | GzipFile | None = None
    same_as: str | None = None


def kind_of_archive(path: str, said: str | None = None) -> str | None:
    """Return `zip`, `tar` or `gzip`; None for what is no archive, by its name or as it was said."""
    if said is not None and said != "archive":
        return _TYPES.get(said.lower())
    name = os.path.basename(path).lower()
    if name.endswith(".zip"):
        return "zip"
    if name.endswith(_TAR):
        return "tar"
    if name.endswith(".gz"):
        return "gzip"
    if said is None or not os.path.isfile(path):
        return None
    import tarfile
    import zipfile

    if zipfile.is_zipfile(path):
        return "zip"
    return "tar" if tarfile.is_tarfile(path) else None


def unpack(store: Store, path: str, digest: Digest, said: str | None) -> str:
    """Return the directory that has the content of an archive.

    Args:
        store: whose cache has it.
        path: the archive.
        digest: of it.
        said: the kind that the project file says.

    Raises:
        RequirementFailed: it is no such archive, is torn, or would write elsewhere.
    """
    kind = kind_of_archive(path, said)
    if kind is None:
        raise RequirementFailed(f"`{os.path.basename(path)}` is no archive that can be unpacked")
    # The name of what a gzip file holds follows from its own.
    name = f"{os.path.basename(path)}-gzip" if kind == "gzip" else kind
    directory = f"{store.cache_directory}/resources/unpacked/{digest[:32]}-{name}"
    if os.path.isdir(directory):
        return directory
    beside = temporary_name(directory)
    os.makedirs(beside)
    try:
        _extract(path, kind, beside)
        try:
            os.rename(beside, directory)
        except OSError:
            if not os.path.isdir(directory):
                raise
    finally:
        if os.path.isdir(beside):
            delete_tree(beside)
    return directory


def _extract(path: str, kind: str, directory: str) -> None:
    import tarfile
    import zipfile
    import zlib

    members = {"zip": _zip, "tar": _tar, "gzip": _gzip}[kind]
    try:
        for member in members(path):
            _write(member, directory, os.path.basename(path))
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
    ) as error:
        raise RequirementFailed(f"`{os.path.basename(path)}` cannot be unpacked: {error}") from None
    except RuntimeError as error:
        # What `zipfile` says of an archive with a password.
        raise RequirementFailed(f"`{os.path.basename(path)}` cannot be unpacked: {error}") from None
    except OSError as error:
        if error.errno is not None:
            raise
        # What `gzip` says of what is none.
        raise RequirementFailed(f"`{os.path.basename(path)}` cannot be unpacked: {error}") from None


def _write(member: _Member, directory: str, archive: str) -> None:
    path = posixpath.normpath(member.path.replace("\\", "/"))
    if path == ".":
        return
    refused = RequirementFailed(
        f"`{archive}` is not unpacked: `{member.path}` would lie outside of it",
        hint="it may be an attack; take the files that you want out of it by hand",
    )
    if path.startswith(("/", "../")) or path == ".." or "\0" in path:
        raise refused
    at = f"{directory}/{path}"
    parent = os.path.dirname(at)
    expected = os.path.normpath(f"{os.path.realpath(directory)}/{os.path.dirname(path)}")
    # A link among the directories above may lead anywhere.
    if os.path.realpath(parent) != expected:
        raise refused
    os.makedirs(parent, exist_ok=True)
    if member.is_directory:
        os.makedirs(at, exist_ok=True)
        return
    if os.path.lexists(at):
        if os.path.isdir(at) and not os.path.islink(at):
            raise refused
        os.unlink(at)
    if member.link is not None:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), member.link))
        if member.link.startswith("/") or target.startswith("../") or target == "..":
            raise refused
        os.symlink(member.link, at)
        return
    if member.same_as is not None:
        other = posixpath.normpath(member.same_as)
        source = os.path.realpath(f"{directory}/{other}")
        if not source.startswith(os.path.realpath(directory) + "/"):
            raise refused
        shutil.copyfile(source, at)
    else:
        assert member.content is not None
        with open(at, "xb") as out:
            shutil.copyfileobj(member.content, out, 1 << 20)
    os.chmod(at, 0o444 | (member.mode & 0o111))


def _tar(path: str) -> Iterator[_Member]:
    import tarfile

    with tarfile.open(path) as archive:
        for info in archive:
            if info.isdir():
                yield _Member(info.name, is_directory=True)
            elif info.issym():
                yield _Member(info.name, link=info.linkname)
            elif info.islnk():
                yield _Member(info.name, info.mode, same_as=info.linkname)
            elif info.isreg():
                content = archive.extractfile(info)
                assert content is not None
                yield _Member(info.name, info.mode, content=content)
            else:
                raise tarfile.TarError(f"`{info.name}` is no file")


def _zip(path: str) -> Iterator[_Member]:
    import zipfile

    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            if info.is_dir():
                yield _Member(info.filename, is_directory=True)
            elif stat.S_ISLNK(mode):
                link = archive.read(info).decode("utf-8", "surrogateescape")
                yield _Member(info.filename, link=link)
            else:
                with archive.open(info) as content:
                    yield _Member(info.filename, mode, content=content)


def _gzip(path: str) -> Iterator[_Member]:
    import gzip

    name = os.path.basename(path)
    with gzip.open(path) as content:
        yield _Member(name[:-3] if name.lower().endswith(".gz") else name, content=content)
