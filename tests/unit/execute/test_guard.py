"""Copies of a project's files for a run that must not reach them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reenact.execute.guard import Copier, with_own_bytecode
from reenact.model.identity import Digest
from reenact.snapshot.tree import ProjectTree


def test_a_small_file_is_copied_with_its_mode_and_time(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("1,2")
    source.chmod(0o640)
    os.utime(source, ns=(1, 1_000_000_001))

    status = Copier().copy(str(source), str(tmp_path / "copy"))

    copy = tmp_path / "copy"
    assert status is not None
    assert (copy.read_text(), copy.stat().st_mtime_ns) == ("1,2", 1_000_000_001)
    assert copy.stat().st_mode == source.stat().st_mode
    assert copy.stat().st_ino == status.st_ino != source.stat().st_ino


def test_links_directories_pipes_and_what_is_gone_are_left_to_be_links(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("directory")
    os.mkfifo(tmp_path / "pipe")

    for name in ("directory", "link", "pipe", "gone"):
        assert Copier().copy(str(tmp_path / name), str(tmp_path / "copy")) is None
    assert not (tmp_path / "copy").exists()


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("new")
    (tmp_path / "copy").write_text("old")

    with pytest.raises(FileExistsError):
        Copier().copy(str(tmp_path / "source"), str(tmp_path / "copy"))

    assert (tmp_path / "copy").read_text() == "old"


def test_a_large_file_shares_its_blocks_or_is_left_to_be_a_link(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * ((1 << 20) + 1))

    status = Copier().copy(str(source), str(tmp_path / "copy"))

    is_copy = (tmp_path / "copy").exists()
    assert is_copy is (status is not None)
    assert not is_copy or (tmp_path / "copy").read_bytes() == source.read_bytes()


def test_bytecode_lies_in_directories_of_the_run(tmp_path: Path) -> None:
    for path in ("__pycache__", "package/__pycache__", "package/empty"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "__pycache__/a.cpython-311.pyc").touch()
    (tmp_path / "__pycache__/a.cpython-311.pyc.123").touch()
    tree = ProjectTree(Digest(""), [], [], ["package", "package/empty"], [], [], [])

    found = with_own_bytecode(tree, str(tmp_path))

    assert found.directories == [
        "package", "package/empty", "__pycache__", "package/__pycache__",
    ]  # fmt: skip
    assert found.links == [("__pycache__/a.cpython-311.pyc", -1, -1)]
