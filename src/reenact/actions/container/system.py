"""Tell which libraries of a run's system the smallest images with a Python do not have."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

_IN_SLIM = re.compile(
    r"(?:ld-linux[\w-]*|lib(?:bz2|c|com_err|crypt|crypto|db-[\d.]+|dl|expat|ffi|form|gcc_s|gdbm"
    r"|gdbm_compat|gssapi_krb5|k5crypto|keyutils|krb5|krb5support|lzma|m|menu|ncurses|ncursesw|nsl"
    r"|nss_\w+|panel|pthread|readline|resolv|rt|sqlite3|ssl|stdc\+\+|tinfo|tirpc|util|uuid|z"
    r"|zstd))(?:-[\d.]+)?\.so"
)
"""Names of libraries that Debian's smallest image with a Python has."""


def lacking_in_slim(libraries: Iterable[str]) -> list[str]:
    """Return the names of libraries that are neither in such an image nor in a package.

    Args:
        libraries: as a run's record has them: those of the system with their whole path.
    """
    names = [os.path.basename(path) for path in libraries if path.startswith("/")]
    return [name for name in names if not _IN_SLIM.match(name) and "libpython" not in name]
