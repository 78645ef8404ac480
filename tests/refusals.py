"""Make the kernel refuse a child process what some file systems and some users are refused.

Covered: Linux on x86-64 and 64-bit ARM. Elsewhere `needs_refusals` skips the test.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Callable

import pytest

_CALLS = {
    "x86_64": {
        "link": 86,
        "symlink": 88,
        "linkat": 265,
        "symlinkat": 266,
        "flock": 73,
        "fcntl": 72,
    },
    "aarch64": {"linkat": 37, "symlinkat": 36, "flock": 32, "fcntl": 25},
}
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER_AT, _ARCHITECTURE_AT, _COMMAND_AT = 0, 4, 24
_SET_LOCK = (6, 7)

_PR_CAPBSET_DROP, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 24, 22, 38
_OVERRIDE_PERMISSIONS = (1, 2)

Refusal = Callable[[], None]
"""What a child process calls before it becomes another program: `preexec_fn`."""


def needs_refusals() -> None:
    """Skip the test where the kernel cannot be asked to refuse something."""
    if sys.platform != "linux" or platform.machine() not in _CALLS:
        pytest.skip("needs Linux on x86-64 or 64-bit ARM")


def without_links() -> None:
    """Refuse hard and symbolic links, as FAT does."""
    calls = _CALLS[platform.machine()]
    numbers = [calls[name] for name in ("link", "symlink", "linkat", "symlinkat") if name in calls]
    _install([(number, None, errno.EPERM) for number in numbers])


def without_hard_links() -> None:
    """Refuse hard links, as some network file systems do."""
    calls = _CALLS[platform.machine()]
    numbers = [calls[name] for name in ("link", "linkat") if name in calls]
    _install([(number, None, errno.EOPNOTSUPP) for number in numbers])


def without_locks() -> None:
    """Refuse locks on files, as a network file system without a lock server does."""
    calls = _CALLS[platform.machine()]
    rules = [(calls["fcntl"], command, errno.ENOLCK) for command in _SET_LOCK]
    _install([(calls["flock"], None, errno.ENOLCK), *rules])


def as_ordinary_user() -> None:
    """Let permissions of files count for root, too; for other users they do anyway."""
    for capability in _OVERRIDE_PERMISSIONS:
        _libc().prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def _install(rules: list[tuple[int, int | None, int]]) -> None:
    """Refuse system calls: number, second argument if it matters, and the error to give."""
    program = [(_LOAD, 0, 0, _ARCHITECTURE_AT)]
    program += [(_EQUAL, 1, 0, _ARCHITECTURES[platform.machine()]), (_RETURN, 0, 0, _ALLOW)]
    for number, command, error in rules:
        if command is None:
            program += [(_LOAD, 0, 0, _NUMBER_AT), (_EQUAL, 0, 1, number)]
        else:
            program += [(_LOAD, 0, 0, _NUMBER_AT), (_EQUAL, 0, 3, number)]
            program += [(_LOAD, 0, 0, _COMMAND_AT), (_EQUAL, 0, 1, command)]
        program.append((_RETURN, 0, 0, _ERRNO | error))
    program.append((_RETURN, 0, 0, _ALLOW))
    code = b"".join(struct.pack("=HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code)
    header = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    libc = _libc()
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_SECCOMP, 2, header, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
