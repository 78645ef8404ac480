"""Make a conda environment from the exact addresses of its packages.

Not covered: without one of conda's programs this can only say what they are to be told.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping

from reenact.errors import ReenactError
from reenact.model.environment import Environment
from reenact.model.lock import Lock
from reenact.model.secrets import REDACTED
from reenact.rebuild.uv import neutral

_ACTIVE = re.compile(r"CONDA_(?:PREFIX\w*|SHLVL|DEFAULT_ENV|PROMPT_MODIFIER|PYTHON_EXE|EXE)$")
_PROGRAMS = ("micromamba", "mamba", "conda")


def explicit(environment: Environment, lock: Lock) -> str:
    """Return the content of a file for `conda create --file`: the address of every package."""
    addresses = lock.conda or tuple(one.url for one in environment.conda if one.url is not None)
    platform = platform_of(environment)
    head = f"# platform: {platform}\n" if platform else ""
    return f"{head}@EXPLICIT\n" + "".join(f"{address}\n" for address in addresses)


def platform_of(environment: Environment) -> str | None:
    """Return the kind of machine that an environment was for: `linux-x86_64`."""
    return environment.python.platform if environment.python is not None else None


def create(environment: Environment, lock: Lock, prefix: str, env: Mapping[str, str]) -> None:
    """Make the environment.

    Raises:
        ReenactError: there is none of conda's programs, or it fails.
    """
    then, here = platform_of(environment), f"{sys.platform}-{os.uname().machine}"
    if then is not None and then != here:
        raise ReenactError(
            f"conda's packages are builds for {then}, and this is {here}",
            hint="use a machine like the run's",
        )
    program = _program(env)
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
            env=_settings(env),
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


def _program(env: Mapping[str, str]) -> str | None:
    """Return the program that makes environments: in shells it is a function, and says where it is."""
    for variable in ("MAMBA_EXE", "CONDA_EXE"):
        if os.access(env.get(variable, ""), os.X_OK):
            return env[variable]
    found = (shutil.which(name, path=env.get("PATH")) for name in _PROGRAMS)
    return next((path for path in found if path is not None), None)


def _settings(env: Mapping[str, str]) -> dict[str, str]:
    """Return variables with conda's settings, and without those of an active environment."""
    kept = {
        name: env[name] for name in env if name.startswith("CONDA_") and not _ACTIVE.match(name)
    }
    return {**neutral(env), **kept}
