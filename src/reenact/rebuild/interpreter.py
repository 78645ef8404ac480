"""Find the interpreter that a run had: the same version, or the nearest that can be had.

Looked for are the versions that pyenv has, those on PATH, and those that uv has or can fetch; what uv
fetches lies in our own cache. Only versions with the same first two numbers can stand in for one
another: extension modules are built for them.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from reenact.errors import ReenactError
from reenact.model.environment import Python
from reenact.rebuild.uv import Refused, Uv, explain

_PROBE = "import sys; print(sys.version.split()[0], sys.implementation.name)"
_PATIENCE_S = 10.0


class Interpreter(NamedTuple):
    """An interpreter that is there.

    Attributes:
        path: of it.
        version: what it says of itself.
    """

    path: str
    version: str


class _Listed(msgspec.Struct):
    version: str
    implementation: str = "cpython"
    path: str | None = None


def find_interpreter(
    wanted: Python,
    env: Mapping[str, str],
    uv: Uv,
    install_directory: str,
    progress: Callable[[str], None],
) -> Interpreter:
    """Return an interpreter for an environment.

    Args:
        wanted: what the run had.
        env: the user's variables.
        uv: to ask and to fetch with.
        install_directory: where one that is fetched goes.
        progress: told what takes long.

    Raises:
        ReenactError: there is none of that kind.
    """
    is_cpython = wanted.implementation == "cpython"
    minor = _minor(wanted.version)
    places = {"UV_PYTHON_INSTALL_DIR": install_directory}
    found: dict[str, str] = {}
    for path in _candidates(env, minor if is_cpython else None):
        told = _ask(path, env)
        if told is not None and told[1] == wanted.implementation and _minor(told[0]) == minor:
            found.setdefault(told[0], path)
    if wanted.version not in found:
        found.update(_known_to_uv(uv, minor, wanted.implementation, places))
    if wanted.version in found:
        return Interpreter(found[wanted.version], wanted.version)
    progress(f"fetching Python {wanted.version}")
    name = wanted.version if is_cpython else f"{wanted.implementation}{minor}"
    reason = _fetch(uv, name, places)
    if reason is not None and is_cpython and not found:
        reason = _fetch(uv, minor, places)
    found.update(_known_to_uv(uv, minor, wanted.implementation, places))
    if not found:
        raise ReenactError(
            f"there is no {wanted.implementation} {minor} here, and uv cannot fetch one: {reason}",
            hint=f"install Python {wanted.version}, for example with pyenv or the system's packages",
        )
    version = min(found, key=lambda one: _distance(one, wanted.version))
    return Interpreter(found[version], version)


def _fetch(uv: Uv, name: str, places: Mapping[str, str]) -> str | None:
    """Have uv fetch an interpreter; return why it did not."""
    try:
        # A network without a way to it shall not cost half a minute.
        uv.call("python", "install", "--no-bin", name, more={"UV_HTTP_RETRIES": "1", **places})
    except Refused as refused:
        return explain(refused.text, ["what uv fetches it from"]).message
    return None


def _known_to_uv(
    uv: Uv, minor: str, implementation: str, places: Mapping[str, str]
) -> dict[str, str]:
    words = ("python", "list", "--only-installed", "--output-format", "json", minor)
    try:
        listed = msgspec.json.decode(uv.call(*words, more=places), type=list[_Listed])
    except (Refused, msgspec.DecodeError):
        return {}
    return {
        one.version: one.path
        for one in reversed(listed)
        if one.path and one.implementation == implementation and os.access(one.path, os.X_OK)
    }


def _candidates(env: Mapping[str, str], minor: str | None) -> list[str]:
    """Return interpreters by their names, pyenv's first: its shims on PATH run only some of them."""
    found: list[str] = []
    root = env.get("PYENV_ROOT") or (f"{env['HOME']}/.pyenv" if env.get("HOME") else "")
    versions = f"{root}/versions"
    if root and os.path.isdir(versions):
        names = sorted(os.listdir(versions))
        found += [
            f"{versions}/{n}/bin/python" for n in names if minor is None or n.startswith(minor)
        ]
    for directory in env.get("PATH", "").split(os.pathsep):
        if directory.endswith("/shims") or not directory.startswith("/"):
            continue
        for name in (f"python{minor}", "python3", "python") if minor else ("pypy3", "pypy"):
            found.append(f"{directory}/{name}")
    return [path for path in dict.fromkeys(found) if os.access(path, os.X_OK)]


def _ask(path: str, env: Mapping[str, str]) -> tuple[str, str] | None:
    clean = {name: value for name, value in env.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(
            [path, "-I", "-S", "-c", _PROBE],
            env=clean,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = done.stdout.split()
    return (words[0], words[1]) if done.returncode == 0 and len(words) == 2 else None


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _distance(version: str, wanted: str) -> tuple[int, int]:
    """Return how far a patch is; of two that are as far the later one is nearer."""
    there, here = _patch(version), _patch(wanted)
    return abs(there - here), -there


def _patch(version: str) -> int:
    found = re.match(r"\d+\.\d+\.(\d+)", version)
    return int(found[1]) if found else 0
