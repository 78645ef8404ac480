from __future__ import annotations

import sys
from pathlib import Path

import pytest

from reenact.model.environment import Origin, OriginKind
from reenact.model.lock import Editable
from reenact.rebuild.kept import _moved, direct_url
from reenact.snapshot.environment import _read_origin


@pytest.mark.parametrize(
    "origin",
    [
        Origin(kind=OriginKind.EDITABLE, url="file:///home/me/lib"),
        Origin(kind=OriginKind.DIRECTORY, url="file:///home/me/lib", subdirectory="sub"),
        Origin(kind=OriginKind.VCS, url="git+https://h/x", commit="ab", requested="main"),
        Origin(kind=OriginKind.ARCHIVE, url="https://h/x.whl", digest="sha256=00ff"),
        Origin(kind=OriginKind.ARCHIVE, url="https://h/x.whl"),
    ],
)
def test_an_origin_that_is_written_is_read_again(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "direct_url.json").write_bytes(direct_url(origin))

    assert _read_origin(str(tmp_path)) == origin


def test_a_path_file_leads_to_the_new_place() -> None:
    editable = Editable(location="/home/me/lib")

    moved = _moved(b"/home/me/lib/src\n/home/me/library\n", "/home/me/lib", "/new", editable)

    assert moved == b"/new/src\n/home/me/library\n"


def test_a_finder_leads_to_the_new_place() -> None:
    editable = Editable(location="/home/me/lib")
    text = b"MAPPING: dict[str, str] = {'lib': '/home/me/lib/lib'}\n"

    assert b"{'lib': '/new/lib'}" in _moved(text, "/home/me/lib", "/new", editable)


@pytest.mark.parametrize("project", ["", "packages/lib"])
def test_what_is_of_the_project_leads_to_that_of_the_run(
    project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REENACT_PROJECT", "/the/project")
    editable = Editable(location="/home/me/lib", project=project)
    finder = b"MAPPING = {'lib': '/home/me/lib/lib'}\nNAMESPACES = {'n': ['/home/me/lib/n']}\n"
    place = "/the/project/packages/lib" if project else "/the/project"

    found: dict[str, object] = {}
    exec(_moved(finder, "/home/me/lib", "/new", editable), found)

    assert found["MAPPING"] == {"lib": f"{place}/lib"}
    assert found["NAMESPACES"] == {"n": [f"{place}/n"]}


def test_a_path_file_of_the_project_adds_its_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REENACT_PROJECT", "/the/project")
    monkeypatch.setattr(sys, "path", [])
    editable = Editable(location="/home/me/lib", project="")

    exec(_moved(b"/home/me/lib/src\n", "/home/me/lib", "/new", editable))

    assert sys.path == ["/the/project/src"]
