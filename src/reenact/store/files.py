"""Write files so that no reader ever sees half of one, and no crash leaves one."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from reenact.errors import Damaged, StoreUnusable

_T = TypeVar("_T")

_TEMPORARY = re.compile(r"\.(\d+)-\d+-[0-9a-f]{6}\.tmp$")
_WRITERS_TAKE_S = 60.0

_counter = 0


def temporary_name(path: str) -> str:
    """Return a name beside `path` that no other process or thread uses."""
    global _counter
    _counter += 1
    return f"{path}.{os.getpid()}-{_counter}-{os.urandom(3).hex()}.tmp"


def write_atomically(path: str, data: bytes, *, sync: bool = True) -> None:
    """Replace `path` by `data`: readers see the old content or the new, never a mixture.

    Args:
        path: the file; its directory exists.
        data: all of its new content.
        sync: wait until the content is on disk, so that a power cut keeps one or the other.
    """
    # Same directory as the target: a rename across file systems is not atomic.
    beside = temporary_name(path)
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            write_all(descriptor, data)
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(beside, path)
    except OSError:
        remove_if_there(beside)
        raise


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte, however often the system takes only a part."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def read_file(path: str) -> bytes:
    """Return the content of `path`; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(descriptor, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def append_lines(path: str, lines: bytes) -> None:
    """Add whole lines, and wait until they are on disk.

    What an earlier writer could not finish, because it was killed or found no room, is cut off.
    """
    with open(path, "a+b") as file:
        if size := file.tell():
            file.seek(size - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: str, kind: type[_T]) -> list[_T]:
    """Read a file of JSON lines that `append_lines` wrote; a torn last line does not count.

    Raises:
        Damaged: a line is not what it should be.
    """
    try:
        lines = read_file(path).split(b"\n")
        return [msgspec.json.decode(line, type=kind) for line in lines[:-1] if line]
    except FileNotFoundError:
        return []
    except msgspec.DecodeError as error:
        raise Damaged(f"`{path}` cannot be read: {error}") from None


def remove_if_there(path: str) -> None:
    """Remove a file that may be gone already."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def is_abandoned(path: str) -> bool:
    """Tell whether `temporary_name` made a name for a writer that is gone.

    A writer on another machine counts as gone when nothing was written for a minute: nobody takes
    nearly as long.
    """
    match = _TEMPORARY.search(path)
    if match is None:
        return False
    try:
        os.kill(int(match[1]), 0)
    except ProcessLookupError:
        pass
    except (PermissionError, OverflowError):
        return False
    else:
        return False
    try:
        return time.time() - os.lstat(path).st_mtime > _WRITERS_TAKE_S
    except OSError:
        return False


def delete_tree(path: str) -> None:
    """Delete a file or a directory with all that is in it, whatever its permissions are."""
    import shutil

    try:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            remove_if_there(path)
    except FileNotFoundError:
        pass  # Somebody else is deleting it, too.
    except PermissionError:
        # A script may leave directories that it must not write to itself.
        os.chmod(path, 0o700)
        for directory, names, _ in os.walk(path):
            for inner in (os.path.join(directory, name) for name in names):
                if not os.path.islink(inner):
                    os.chmod(inner, 0o700)
        shutil.rmtree(path)


@contextmanager
def store_errors(store: str) -> Iterator[None]:
    """Turn the system's refusals into one line about the store."""
    try:
        yield
    except OSError as error:
        raise unusable(store, error) from error


def unusable(store: str, error: OSError) -> StoreUnusable:
    """Say why a store cannot be used and what to do."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreUnusable(
            f"no space left for the store `{store}`",
            hint="free some with `reenact rm`, `reenact purge` and `reenact gc`, or set REENACT_HOME elsewhere",
        )
    return StoreUnusable(
        f"cannot use the store `{store}`: {reason[:1].lower()}{reason[1:]}",
        hint="set REENACT_HOME to a directory that you can write",
    )
