"""Programs that a test cannot do without."""

from __future__ import annotations

import os
import shutil

import pytest


def needs(program: str) -> None:
    """Skip the test where a program is not installed; fail where everything must be, in CI."""
    if shutil.which(program) is not None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"`{program}` is not installed, and CI tests everything")
    pytest.skip(f"`{program}` is not installed")
