"""Bundles of all formats that there ever were can be read.

`bundle-1.zip` is what `reenact export` has made of the runs in `format-1.tar.gz`, with the version that
brought the format. It is never made again.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import Desk

FIXTURES = sorted(Path(__file__).parent.glob("bundle-*.zip"))
STATUSES = {
    "completed": "completed",
    "failed": "failed",
    "terminated": "terminated",
    "nan": "completed",
    "bytes": "completed",
    "in place": "completed",
    "command": "completed",
    "killed": "killed",
}


def test_there_is_a_bundle_of_every_format() -> None:
    assert [path.name for path in FIXTURES] == ["bundle-1.zip"]


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_the_runs_of_a_bundle_are_read_as_they_were(path: Path, tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.ok("import", str(path))
    found = desk.json("runs", "--all", "--limit", "0")["runs"]
    assert {run["label"]: run["status"] for run in found} == STATUSES
    assert desk.reenact("fsck").status == 0
    completed = next(run["id"] for run in found if run["label"] == "completed")
    assert desk.ok("cat", completed, "model.txt").startswith("weights of")
    strange = next(run["id"] for run in found if run["label"] == "bytes")
    assert b"caf\xe9\n.txt" in [bytes_of(p) for p in (desk.store / "runs" / strange).iterdir()]


def bytes_of(path: Path) -> bytes:
    """Return a file's name as it is on disk."""
    return path.name.encode("utf-8", "surrogateescape")
