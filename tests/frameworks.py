"""The environment with real frameworks, which is not the one that Reenact is installed in.

`just frameworks` makes it, in `.venv-frameworks`; `$REENACT_FRAMEWORKS` names another interpreter.
"""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

import pytest

QUICK = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}
"""Variables of scripts that use frameworks: to compile all of torch anew for each takes minutes."""

_PYTHON = Path(__file__).parents[1] / ".venv-frameworks" / "bin" / "python"


def python_with(*modules: str) -> str:
    """Return an interpreter that has these modules; skip the test without one, fail in CI."""
    python = os.environ.get("REENACT_FRAMEWORKS") or str(_PYTHON)
    missing = [name for name in modules if not _has(python, name)]
    if not missing:
        return python
    text = f"{', '.join(missing)} not found by {python}: run `just frameworks`"
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
