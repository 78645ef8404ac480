"""Whether an interpreter is of a version that a project file asks for: `>=3.9,<4`."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from typing import TypeAlias

from reenact.errors import CannotRun, UsageError

_PART = re.compile(r"\s*(===?|!=|~=|>=|<=|>|<)?\s*([0-9]+(?:\.[0-9]+)*)(\.\*)?\s*\Z")
_Version: TypeAlias = tuple[int, ...]


def fits(requires: str, version: _Version) -> bool:
    """Tell whether a version fulfils all parts of a requirement.

    Raises:
        UsageError: a part cannot be understood.
    """
    return all(_fits(part, version) for part in requires.split(",") if part.strip())


def _fits(part: str, version: _Version) -> bool:
    found = _PART.match(part)
    if found is None:
        raise UsageError(f"`{part.strip()}` is no version of Python", hint="e.g. `>=3.9`")
    wanted = tuple(map(int, found[2].split(".")))
    sign = found[1] or "=="
    if sign == "~=":
        return version >= wanted and version[: len(wanted) - 1] == wanted[:-1]
    if sign in ("==", "===", "!=") and (found[3] or not found[1]):
        return (version[: len(wanted)] == wanted) is (sign != "!=")
    length = max(len(wanted), len(version))
    left, right = (v + (0,) * (length - len(v)) for v in (version, wanted))
    compare: dict[str, Callable[[_Version, _Version], bool]] = {
        "==": lambda a, b: a == b,
        "===": lambda a, b: a == b,
        "!=": lambda a, b: a != b,
        ">=": lambda a, b: a >= b,
        "<=": lambda a, b: a <= b,
        ">": lambda a, b: a > b,
        "<": lambda a, b: a < b,
    }
    return compare[sign](left, right)


def version_of(python: str, env: Mapping[str, str]) -> _Version:
    """Return the version of an interpreter.

    Raises:
        CannotRun: it cannot be started.
    """
    command = (python, "-S", "-E", "-c", "import sys; print(*sys.version_info[:3])")
    try:
        done = subprocess.run(command, env=dict(env), capture_output=True, check=False)
        return tuple(map(int, done.stdout.split()))
    except (OSError, ValueError) as error:
        raise CannotRun(f"`{python}` does not say its version: {error}") from None
