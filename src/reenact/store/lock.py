"""Locks that the system gives back when their holder dies.

A run's supervisor holds the lock of its run for as long as it lives. `flock` needs no clean-up and
cannot be confused by a reused process id. Where the file system has no locks, the holder's process
id, start time and boot are compared instead, on the machine that wrote them; elsewhere such a run
counts as running.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import Self

from reenact.store.files import read_file, write_all

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class Lock:
    """An exclusive lock on a file, held until `release` or the end of the process."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.has_system_lock = True
        self._descriptor: int | None = None

    def acquire(self, *, wait: bool = False) -> bool:
        """Take the lock; return False when another process holds it and `wait` is not set.

        Raises:
            OSError: the file cannot be created.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                raise
            self.has_system_lock = False
            if _holder_lives(self.path):
                os.close(descriptor)
                return False
        os.ftruncate(descriptor, 0)
        write_all(descriptor, _identity().encode())
        self._descriptor = descriptor
        return True

    def release(self, *, remove: bool = False) -> None:
        """Give the lock back; `remove` its file as well, when nobody will want it again."""
        if self._descriptor is None:
            return
        if remove:
            try:
                os.unlink(self.path)
            except OSError:
                pass
        else:
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
        self._descriptor = None


class SharedLock:
    """A lock that many may hold at once, as long as nobody holds it exclusively."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


def is_locked(path: str) -> bool:
    """Tell whether a living process holds the lock; asking disturbs nobody."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two readers who ask at once do not take each other for the holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return _holder_lives(path)
    finally:
        os.close(descriptor)
    return False


def _holder_lives(path: str) -> bool:
    try:
        pid, start, boot = read_file(path).decode().split()
    except (OSError, ValueError):
        return False
    if boot != _boot_id():
        return True
    return start == process_start(int(pid))


def _identity() -> str:
    pid = os.getpid()
    return f"{pid} {process_start(pid)} {_boot_id()}\n"


def process_start(pid: int) -> str | None:
    """Return when a process started, in the kernel's ticks since boot; None if there is none.

    Together with the process id it names a process: ids are reused, pairs are not.
    """
    try:
        stat = read_file(f"/proc/{pid}/stat")
    except OSError:
        return None
    # The command's name stands in parentheses and may hold anything, even `) 1 2 3`.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()


def _boot_id() -> str:
    try:
        return read_file("/proc/sys/kernel/random/boot_id").decode().strip()
    except OSError:
        return "unknown"
