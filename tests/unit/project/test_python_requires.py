"""Requirements on the version of Python."""

from __future__ import annotations

import os
import sys

import pytest

from reenact.errors import UsageError
from reenact.project.python_requires import fits, version_of


@pytest.mark.parametrize(
    ("requires", "is_met"),
    [
        (">=3.9", True), (">=3.9,<4", True), (">3.11.5", False), ("==3.11.5", True), ("==3.11", False),
        ("==3.11.*", True), ("!=3.11.*", False), ("3.11", True), ("3.10", False), ("~=3.9", True),
        ("~=3.11.2", True), ("~=3.10.1", False), ("<=3.11", False), ("", True),
    ],
)  # fmt: skip
def test_all_parts_of_a_requirement_count(requires: str, is_met: bool) -> None:
    assert fits(requires, (3, 11, 5)) is is_met


def test_what_is_no_requirement_is_refused() -> None:
    with pytest.raises(UsageError, match="no version of Python"):
        fits(">=three", (3, 11, 5))


def test_an_interpreter_says_its_version() -> None:
    assert version_of(sys.executable, os.environ) == sys.version_info[:3]
