"""Make a conda environment from the exact addresses of its packages.

Not covered: without one of conda's programs this can only say what they are to be told.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping

from reenact.errors import ReenactError
from reenact.model.environment import Environment
from reenact.model.lock import Lock
from reenact.model.secrets import REDACTED
from reenact.rebuild.uv import neutral

_PROGRAMS = ("micromamba", "mamba", "conda")


def explicit(environment: Environment, lock: Lock) -> str:
    """Return the content of a file for `conda create --file`: the address of every package."""
    addresses = lock.conda or tuple(one.url for one in environment.conda if one.url is not None)
    platform = environment.python.platform if environment.python is not None else None
    head = f"# platform: {platform}\n" if platform else ""
    return f"{head}@EXPLICIT\n" + "".join(f"{address}\n" for address in addresses)


def create(environment: Environment, lock: Lock, prefix: str, env: Mapping[str, str]) -> None:
    """Make the environment.

    Raises:
        ReenactError: there is none of conda's programs, or it fails.
    """
    programs = [shutil.which(name, path=env.get("PATH")) for name in _PROGRAMS]
    if env.get("MAMBA_EXE") and os.access(env["MAMBA_EXE"], os.X_OK):
        programs.insert(0, env["MAMBA_EXE"])
    program = next((path for path in programs if path is not None), None)
    count = len(environment.conda)
    if program is None:
        raise ReenactError(
            f"the environment has {count} packages of conda, and neither micromamba nor conda is here",
            hint="install micromamba; `reenact lock RUN --format conda` prints what it is to be told",
        )
    text = explicit(environment, lock)
    if REDACTED in text:
        raise ReenactError(
            "the addresses of conda's packages had credentials, which are not recorded",
            hint="`reenact lock RUN --format conda` prints them: put the credentials in, and make "
            "the environment with `micromamba create --file`",
        )
    path = f"{prefix}.txt"
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    try:
        done = subprocess.run(
            [program, "create", "-y", "-q", "-p", prefix, "--file", path],
            env=neutral(env),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    finally:
        os.unlink(path)
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise ReenactError(
            f"{os.path.basename(program)} could not make the environment: "
            f"{lines[-1] if lines else 'it says nothing'}",
            hint="`reenact lock RUN --format conda` prints the addresses of its packages",
        )
