"""Locks that the system gives back when their holder dies.

A run's supervisor holds the lock of its run for as long as it lives. `flock` needs no clean-up and
cannot be confused by a reused process id. Where the file system has no locks, the holder's process
id, start time, boot and host are compared instead; to other hosts such a run counts as running.

Not covered: on a file system without locks, two who take a lock in the same moment may both get it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from typing import Self

from reenact.store.files import read_file, write_all

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_ASKERS_TAKE_S = 0.25
"""Far longer than anybody holds a lock who only asks whether it is held."""
_POLL_S = 0.001
_OTHER_BOOT_S = 10.0
"""How long to wait for a holder of whom nobody here can say whether it lives."""


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
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                is_taken = self._take(descriptor, wait=wait)
                # Its last holder may have removed the file between our opening and locking it.
                is_current = is_taken and _is_at(self.path, descriptor)
                if is_current:
                    self._write_identity(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            if is_current:
                self._descriptor = descriptor
                return True
            os.close(descriptor)
            if not is_taken:
                return False

    def _take(self, descriptor: int, *, wait: bool) -> bool:
        try:
            if wait:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                return True
            give_up_at = time.monotonic() + _ASKERS_TAKE_S
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() >= give_up_at:
                        return False
                    time.sleep(_POLL_S)
                else:
                    return True
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        self.has_system_lock = False
        give_up_at = time.monotonic() + _OTHER_BOOT_S
        while _holder_lives(self.path):
            if not wait:
                return False
            if time.monotonic() >= give_up_at and not _is_of_this_boot(self.path):
                break
            time.sleep(_POLL_S)
        return True

    def _write_identity(self, descriptor: int) -> None:
        try:
            # ext4 writes a file that was ever truncated to disk when it is closed: a millisecond.
            if os.fstat(descriptor).st_size:
                os.ftruncate(descriptor, 0)
            write_all(descriptor, _identity().encode())
        except OSError:
            # On a full disk the system's lock is enough; without one this is the lock.
            if not self.has_system_lock:
                raise

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

    def forget(self) -> None:
        """Let go of the lock in a fork of its holder, which keeps it.

        A fork that did not would hold the lock for as long as it lives.
        """
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class SharedLock:
    """A lock that many may hold at once, as long as nobody holds it exclusively.

    Who holds it keeps others from taking the lock alone, and does not count as its holder.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.has_system_lock = True
        self._descriptor: int | None = None

    def acquire(self, *, wait: bool = True) -> bool:
        """Take the lock; return False when another process has it alone and `wait` is not set.

        Raises:
            OSError: the file cannot be created.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                raise
            self.has_system_lock = False
            if not wait and _holder_lives(self.path):
                os.close(descriptor)
                return False
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
        os.close(self._descriptor)
        self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


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


def holder_here(path: str) -> int | None:
    """Return the process id of a lock's holder if it lives on this machine, else None."""
    try:
        pid, start, boot, _ = read_file(path).decode().split()
    except (OSError, ValueError):
        return None
    return int(pid) if boot == _boot_id() and start == process_start(int(pid)) else None


def _is_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _is_of_this_boot(path: str) -> bool:
    try:
        return read_file(path).decode().split()[2:3] == [_boot_id()]
    except (OSError, ValueError):
        return False


def _holder_lives(path: str) -> bool:
    try:
        pid, start, boot, host = read_file(path).decode().split()
    except (OSError, ValueError):
        return False
    if boot != _boot_id():
        # Of another machine nobody here can tell; of this one everything ended with its last boot.
        return host != os.uname().nodename
    return start == process_start(int(pid))


def _identity() -> str:
    pid = os.getpid()
    return f"{pid} {process_start(pid)} {_boot_id()} {os.uname().nodename}\n"


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
