"""Archives: what goes in comes out, a file is there as a whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reenact.errors import Damaged, NotFound, ReenactError
from reenact.model.bundle import Manifest, problem_of_name
from reenact.model.identity import RunId
from reenact.model.paths import path_to_text
from reenact.store.archive import Archive, ArchiveWriter, check_room, is_bundle, new_file

RUN = RunId("a" * 32)
NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda raw: b"/" not in raw and b"\0" not in raw and raw not in (b".", b"..", b".reenact")
)


def write(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> None:
    with new_file(str(path), replace=True) as file, ArchiveWriter(file) as writer:
        for name, data in files.items():
            writer.add_bytes(name, data, 0o640)
        for name, target in (links or {}).items():
            writer.add_link(name, target)
        writer.close(Manifest(runs=(RUN,), files=()))


@given(st.dictionaries(NAMES, st.binary(max_size=3000), max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_goes_in_comes_out(tmp_path: Path, files: dict[bytes, bytes]) -> None:
    root = tmp_path / os.urandom(6).hex()
    root.mkdir()
    listed = {f"runs/{RUN}/{path_to_text(os.fsdecode(name))}": data for name, data in files.items()}
    write(root / "a.zip", listed)
    with Archive(str(root / "a.zip")) as archive:
        archive.verify()
        archive.extract(str(root / "out"))
    run = root / "out" / "runs" / RUN
    found = {os.fsencode(p.name): p.read_bytes() for p in run.iterdir()} if files else {}
    assert found == files
    assert all(p.stat().st_mode & 0o777 == 0o640 for p in run.iterdir()) if files else True


def test_a_large_file_passes_through_in_pieces(tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 3 + b"end"
    (tmp_path / "big").write_bytes(content)
    with new_file(str(tmp_path / "a.zip"), replace=False) as file, ArchiveWriter(file) as writer:
        writer.add_file(f"runs/{RUN}/big", str(tmp_path / "big"))
        writer.close(Manifest(runs=(RUN,), files=()))
    with Archive(str(tmp_path / "a.zip")) as archive:
        archive.extract(str(tmp_path / "out"))
    assert (tmp_path / "out" / "runs" / RUN / "big").read_bytes() == content


@pytest.mark.parametrize(
    "links",
    [
        {"out": "../../etc/passwd"},
        {"x/y/z/d": "../../..", "out": "x/y/z/d/../../../../etc/passwd"},
        {"up": ".", "d": "up/x/y", "out": f"d/../../../{RUN}/x"},
    ],
)
def test_links_that_lead_out_through_each_other_are_refused(
    tmp_path: Path, links: dict[str, str]
) -> None:
    listed = {f"runs/{RUN}/{name}": target for name, target in links.items()}
    write(tmp_path / "a.zip", {f"runs/{RUN}/x/y/file": b"1"}, listed)

    with pytest.raises(Damaged, match="the link leads elsewhere"):
        Archive(str(tmp_path / "a.zip"))


def test_links_come_back(tmp_path: Path) -> None:
    write(tmp_path / "a.zip", {f"runs/{RUN}/d/x": b"1"}, {f"runs/{RUN}/link": "d/x"})
    with Archive(str(tmp_path / "a.zip")) as archive:
        archive.extract(str(tmp_path / "out"))
    assert os.readlink(tmp_path / "out" / "runs" / RUN / "link") == "d/x"


def test_a_flipped_bit_is_noticed_in_every_byte_of_a_content(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    content = b"weights" * 4
    write(path, {f"runs/{RUN}/w": os.urandom(64) + content})
    raw = path.read_bytes()
    start = raw.index(b"runs/") + len(f"runs/{RUN}/w")
    for at in range(start, start + 64):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with Archive(str(path)) as archive, pytest.raises(Damaged, match="damaged"):
            archive.verify()


def test_a_file_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "one.zip"

    def fail() -> None:
        with new_file(str(path), replace=False) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with new_file(str(path), replace=False) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    with pytest.raises(FileExistsError), new_file(str(path), replace=False) as file:
        file.write(b"other")
    assert path.read_bytes() == b"whole"
    with new_file(str(path), replace=True) as file:
        file.write(b"other")
    assert path.read_bytes() == b"other"
    assert [one.name for one in tmp_path.iterdir()] == ["one.zip"]


def test_a_killed_writer_leaves_nothing(tmp_path: Path) -> None:
    if not hasattr(os, "O_TMPFILE"):
        pytest.skip("this system has no files without names")
    script = (
        "import os, sys\n"
        "from reenact.store.archive import new_file\n"
        "with new_file(sys.argv[1], replace=False) as file:\n"
        "    file.write(b'half' * 100_000)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "one.zip"], check=False)
    assert done.returncode == -9
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive at all" * 100])
def test_what_is_no_bundle_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    assert not is_bundle(str(path))
    with pytest.raises(Damaged):
        Archive(str(path))
    with pytest.raises(NotFound):
        Archive(str(tmp_path / "nothing"))
    with pytest.raises(ReenactError):
        Archive(str(tmp_path))


def test_another_archive_is_no_bundle(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("model.txt", "1")
    assert not is_bundle(str(tmp_path / "a.zip"))
    with pytest.raises(Damaged, match="is no bundle"):
        Archive(str(tmp_path / "a.zip"))


def test_a_file_that_cannot_be_read_leaves_no_archive(tmp_path: Path) -> None:
    def fail() -> None:
        with new_file(str(tmp_path / "a"), replace=True) as file, ArchiveWriter(file) as writer:
            writer.add_bytes("x", b"1")
            # The kernel refuses to read the first page of a process's memory.
            writer.add_file("y", "/proc/self/mem")

    with pytest.raises(OSError, match="error"):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "is_fine"),
    [
        ("store.json", True), ("pylock.toml", True), (f"runs/{RUN}/x", True),
        (f"runs/{RUN}/.reenact/run.json", True), (f"runs/{RUN}/a/.reenact/lock", True),
        (f"blobs/ab/{'c' * 62}", True), (f"reproductions/{RUN}.json", True),
        ("", False), ("/x", False), ("..", False), ("a/b", False), (".hidden", False),
        (f"runs/{RUN}", False), (f"runs/{RUN}/", False), (f"runs/{RUN}/../x", False),
        ("runs/x/y", False), (f"runs/{RUN}/.reenact/lock", False), (f"blobs/abc/{'c' * 61}", False),
        (f"runs/{RUN}/\\x2e\\x2e/x", False), (f"reproductions/{RUN}", False), ("x\0", False),
    ],
)  # fmt: skip
def test_names_that_may_be_in_a_bundle(name: str, is_fine: bool) -> None:
    assert (problem_of_name(name) is None) == is_fine


def test_more_than_there_is_room_for_is_refused(tmp_path: Path) -> None:
    check_room(str(tmp_path), 1)
    with pytest.raises(ReenactError, match="are free"):
        check_room(str(tmp_path), 1 << 60)
