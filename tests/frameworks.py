"""The environments with real frameworks, which are not the one that Reenact is installed in.

`just frameworks` makes them; `$REENACT_FRAMEWORKS` names another interpreter. TensorFlow and JAX have
one of their own, since others use them where they are there, which takes seconds at each import.
"""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

import pytest

QUICK = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}
"""Variables of scripts that use frameworks: to compile all of torch anew for each takes minutes."""

_ENVIRONMENTS = (".venv-frameworks", ".venv-tensorflow")


def python_with(*modules: str) -> str:
    """Return an interpreter that has these modules; skip the test without one, fail in CI."""
    named = os.environ.get("REENACT_FRAMEWORKS")
    root = Path(__file__).parents[1]
    pythons = [named] if named else [str(root / name / "bin/python") for name in _ENVIRONMENTS]
    for python in pythons:
        if all(_has(python, name) for name in modules):
            return python
    text = f"neither of {pythons} has {', '.join(modules)}: run `just frameworks`"
    if os.environ.get("CI"):
        pytest.fail(f"{text}; CI tests everything")
    pytest.skip(text)


@functools.cache
def _has(python: str, module: str) -> bool:
    if not os.path.exists(python):
        return False
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([python, "-c", code], env=env, check=False).returncode == 0
