"""What every test gets: a world of its own, and a check that it left none behind."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from reenact.execute.preload import find_preload

# How long an example takes says more about the machine than about us.
settings.register_profile(
    "patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")

_LEAKY = ("REENACT", "FLAG_", "GIT_", "PYTHON", "CUDA_VISIBLE")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail what would be skipped where everything that a test needs must be there."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped although this is CI: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def common_cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One cache for all tests, which holds the library that is preloaded, and the tests' own."""
    path = str(tmp_path_factory.mktemp("cache"))
    find_preload([f"{path}/reenact"], os.environ)
    return path


@pytest.fixture(autouse=True)
def clean_world(tmp_path_factory: pytest.TempPathFactory, common_cache: str) -> Iterator[None]:
    """Give the test its own home, no colour, no inherited settings; put everything back."""
    saved = dict(os.environ)
    directory = os.getcwd()
    for name in saved:
        if name.startswith(_LEAKY):
            del os.environ[name]
    home = tmp_path_factory.mktemp("home")
    os.environ.update(HOME=str(home), NO_COLOR="1", LC_ALL="C.UTF-8", TERM="dumb", COLUMNS="100")
    os.environ["XDG_CACHE_HOME"] = common_cache
    yield
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(saved)
