"""What every test gets: a world of its own, and a check that it left none behind."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

_LEAKY = ("REENACT", "FLAG_", "GIT_", "PYTHON", "CUDA_VISIBLE")


@pytest.fixture(autouse=True)
def clean_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the test its own home, no colour, no inherited settings; put everything back."""
    saved = dict(os.environ)
    directory = os.getcwd()
    for name in saved:
        if name.startswith(_LEAKY):
            del os.environ[name]
    home = tmp_path_factory.mktemp("home")
    os.environ.update(HOME=str(home), NO_COLOR="1", LC_ALL="C.UTF-8", TERM="dumb", COLUMNS="100")
    yield
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(saved)
