"""The user's rules about which files are source."""

from __future__ import annotations

from pathlib import Path

import pytest

from reenact.snapshot.rules import Pick, ignore_rules, picked
from reenact.snapshot.tree import take_snapshot
from reenact.store.blobs import Blobs

ONLY_PYTHON = (Pick(False, ("*",)), Pick(True, ("*.py",)))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for name, content in {
        "train.py": b"1", "lib/net.py": b"2", "conf.yml": b"3", "data/big.csv": b"4",
        "model.bin": b"\0\1", "notes/a.txt": b"5",
    }.items():  # fmt: skip
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def sources(project: Path, picks: tuple[Pick, ...], **options: object) -> list[str]:
    tree = take_snapshot(
        str(project),
        listed=None,
        blobs=None,
        cache_path=None,
        picks=picks,
        **options,  # type: ignore[arg-type]
    )
    return [file.path for file in tree.sources]


def test_without_rules_text_is_source_and_data_is_not(project: Path) -> None:
    assert sources(project, ()) == ["conf.yml", "lib/net.py", "notes/a.txt", "train.py"]


def test_the_last_rule_that_fits_decides(project: Path) -> None:
    assert sources(project, ONLY_PYTHON) == ["lib/net.py", "train.py"]
    assert sources(project, (*ONLY_PYTHON, Pick(False, ("lib/*",)))) == ["train.py"]


def test_data_becomes_source_where_it_is_asked_for(project: Path) -> None:
    found = sources(project, (Pick(True, ("data/*.csv", "*.bin")),))

    assert {"data/big.csv", "model.bin"} <= set(found)


def test_rules_may_be_for_text_or_binary_files_only(project: Path) -> None:
    assert "model.bin" not in sources(project, (Pick(True, ("*",), "text"),))
    assert "model.bin" in sources(project, (Pick(True, ("*",), "binary"),))
    assert sources(project, (Pick(False, ("*",), "text"),)) == []


def test_a_directory_that_is_left_out_is_linked_whole(project: Path) -> None:
    tree = take_snapshot(
        str(project),
        listed=None,
        blobs=None,
        cache_path=None,
        picks=(Pick(False, ("notes",), "dir"),),
    )

    assert tree.whole == ["notes"]
    assert "notes/a.txt" not in [file.path for file in tree.sources]


def test_rules_that_say_nothing_of_a_file_leave_it_as_it_is() -> None:
    assert picked((Pick(True, ("*.csv",)),), "a/b.txt", is_text=True) is None
    assert picked((Pick(True, ("lib",), "dir"),), "lib/deep/b.txt", is_text=True) is True


def test_a_pattern_with_a_slash_is_for_the_whole_path(project: Path) -> None:
    (project / "lib" / "train.py").write_text("6")

    assert "lib/train.py" not in sources(project, (Pick(False, ("train.py",)),))
    assert "lib/train.py" in sources(project, (Pick(False, ("/train.py",)),))
    assert sources(project, (Pick(False, ("*",)), Pick(True, ("net.py",), None, "lib/"))) == [
        "lib/net.py"
    ]


def test_stamps_of_other_rules_do_not_count(project: Path, tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path / "blobs"))
    first = take_snapshot(
        str(project), listed=None, blobs=blobs, cache_path=str(tmp_path / "one"), picks=ONLY_PYTHON
    )
    second = take_snapshot(
        str(project), listed=None, blobs=blobs, cache_path=str(tmp_path / "two"), picks=()
    )

    assert first.tree != second.tree


def test_an_ignore_file_is_read_as_git_reads_one() -> None:
    rules = ignore_rules(b"# notes\n\n*.txt\n!keep.txt\nbuild/\n/top.md\ndir\n")

    def is_source(path: str) -> bool | None:
        return picked(rules, path, is_text=True)

    assert [is_source(p) for p in ("a.txt", "deep/a.txt", "deep/keep.txt")] == [False, False, True]
    assert [is_source(p) for p in ("build/a.py", "deep/build/a.py", "build")] == [
        False,
        False,
        None,
    ]
    assert [is_source(p) for p in ("top.md", "deep/top.md")] == [False, None]
    assert [is_source(p) for p in ("dir", "dir/a.py", "other.py")] == [False, False, None]
