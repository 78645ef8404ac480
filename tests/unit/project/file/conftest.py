"""Project files for tests."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from reenact.project.file.find import Checked, check_project
from reenact.project.file.model import LoadedProject

Check = Callable[[str], Checked]
Load = Callable[[str], LoadedProject]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    return directory


@pytest.fixture
def check(project: Path) -> Check:
    """Check a text as the project file of `project`."""

    def check_text(text: str) -> Checked:
        path = project / "reenact.yml"
        path.write_text(textwrap.dedent(text))
        return check_project(str(path), {})

    return check_text


@pytest.fixture
def load(check: Check) -> Load:
    """Read a text in which nothing is wrong."""

    def load_text(text: str) -> LoadedProject:
        checked = check(text)
        assert checked.findings == ()
        assert checked.project is not None
        return checked.project

    return load_text


@pytest.fixture
def complaints(check: Check) -> Callable[[str], list[str]]:
    """Return what is said of a text: `line: level: message (hint)`."""

    def complaints_of(text: str) -> list[str]:
        return [
            f"{f.place.line}: {f.level}: {f.message}" + (f" ({f.hint})" if f.hint else "")
            for f in check(text).findings
        ]

    return complaints_of
