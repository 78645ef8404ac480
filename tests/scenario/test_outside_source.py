"""Source of a project file's operation that lies outside the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import Desk

FILE = """\
train:
  main: train
  sourcecode:
    root: ../shared
    select:
      - exclude: '*.md'
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    desk.write("reenact.yml", FILE)
    shared = desk.project.parent / "shared"
    (shared / "inner").mkdir(parents=True)
    (shared / "train.py").write_text("import used; print(used.x)")
    (shared / "used.py").write_text("x = 5")
    (shared / "unused.py").write_text("y = 6")
    (shared / "inner" / "settings.toml").write_text("z = 7")
    (shared / "notes.md").write_text("secret plans")
    return desk


def test_all_files_that_the_rules_select_are_kept(desk: Desk) -> None:
    assert desk.ok("run", "train") == "5\n"

    shared = desk.project.parent.resolve() / "shared"
    record = desk.record(desk.ids()[0])
    kept = {file["path"]: file for file in record["inputs"] if file.get("role") == "source"}
    assert sorted(kept) == [
        f"{shared}/{name}" for name in ("inner/settings.toml", "train.py", "unused.py", "used.py")
    ]
    digest = kept[f"{shared}/unused.py"]["digest"]
    blobs = [path for path in (desk.store / "blobs").rglob("*") if path.is_file()]
    assert any(path.read_bytes() == b"y = 6" for path in blobs if digest.endswith(path.name))


def test_a_root_that_is_everybody_s_is_not_read(desk: Desk) -> None:
    desk.write("reenact.yml", "train: {main: train, sourcecode: {root: /tmp}}\n")
    desk.write("train.py", "print(1)")

    done = desk.reenact("run", "train")

    assert done.out == "1\n"
    assert "the root of its source, `/tmp`, is everybody's" in done.err
