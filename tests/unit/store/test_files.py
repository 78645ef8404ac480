from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from limits import files_up_to
from reenact.errors import StoreUnusable
from reenact.store.files import (
    delete_tree,
    is_abandoned,
    read_file,
    remove_if_there,
    store_errors,
    temporary_name,
    write_all,
    write_atomically,
)
from refusals import as_ordinary_user


@pytest.mark.parametrize("sync", [True, False])
def test_a_file_is_replaced_whole(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "run.json"

    write_atomically(str(path), b"first and long", sync=sync)
    write_atomically(str(path), b"second", sync=sync)

    assert path.read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["run.json"]


def test_a_write_for_which_there_is_no_room_leaves_the_old_content_and_nothing_else(
    tmp_path: Path,
) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"old")

    with files_up_to(1000), pytest.raises(OSError, match="File too large"):
        write_atomically(str(path), b"x" * 5000)

    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["run.json"]


def test_a_directory_that_is_not_there_is_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(str(tmp_path / "gone" / "run.json"), b"")


KILLED_BEFORE_RENAME = """
import os, signal, sys
from reenact.store import files
os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
files.write_atomically(sys.argv[1], b"new")
"""


def test_a_writer_killed_before_the_rename_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"old")

    killed = subprocess.run([sys.executable, "-c", KILLED_BEFORE_RENAME, str(path)], check=False)

    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert [name.suffix for name in tmp_path.iterdir() if name != path] == [".tmp"]


def test_readers_see_the_old_content_or_the_new_and_never_a_mixture(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    contents = {bytes([letter]) * 100_000 for letter in b"ab"}
    path.write_bytes(b"a" * 100_000)
    writer = (
        "import sys\nfrom reenact.store.files import write_atomically\n"
        "for n in range(300): write_atomically(sys.argv[1], b'ab'[n%2:n%2+1]*100_000, sync=False)"
    )

    with subprocess.Popen([sys.executable, "-c", writer, str(path)]) as process:
        seen = set()
        while process.poll() is None:
            seen.add(read_file(str(path)))

    assert seen <= contents
    assert process.returncode == 0


def test_a_slow_reader_gets_every_byte() -> None:
    read, write = os.pipe()
    data = os.urandom(300_000)
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"],
        stdin=read,
        stdout=subprocess.PIPE,
    ) as process:
        os.close(read)
        write_all(write, data)
        os.close(write)
        out, _ = process.communicate()

    assert out == data


def test_names_of_temporary_files_differ() -> None:
    names = {temporary_name("/store/run.json") for _ in range(1000)}

    assert len(names) == 1000
    assert all(name.startswith("/store/run.json.") and name.endswith(".tmp") for name in names)


def test_what_is_gone_is_removed_in_peace(tmp_path: Path) -> None:
    remove_if_there(str(tmp_path / "gone"))


class TestLeftovers:
    def leave(self, directory: Path, age_s: float) -> str:
        """Be a process that dies between open and rename, some time ago."""
        words = (
            "import sys; from reenact.store.files import temporary_name as t; print(t(sys.argv[1]))"
        )
        made = subprocess.run(
            [sys.executable, "-c", words, str(directory / "run.json")],
            check=True,
            capture_output=True,
            text=True,
        )
        path = made.stdout.strip()
        Path(path).write_bytes(b"half")
        then = os.stat(path).st_mtime - age_s
        os.utime(path, (then, then))
        return path

    def test_a_file_of_a_dead_writer_is_abandoned(self, tmp_path: Path) -> None:
        assert is_abandoned(self.leave(tmp_path, age_s=100))

    def test_one_that_was_written_just_now_may_be_of_another_machine(self, tmp_path: Path) -> None:
        assert not is_abandoned(self.leave(tmp_path, age_s=0))

    def test_one_from_the_future_is_left_alone_until_then(self, tmp_path: Path) -> None:
        assert not is_abandoned(self.leave(tmp_path, age_s=-86400))

    def test_one_of_a_living_writer_is_not_abandoned(self, tmp_path: Path) -> None:
        path = temporary_name(str(tmp_path / "run.json"))
        Path(path).write_bytes(b"half")
        os.utime(path, (0, 0))

        assert not is_abandoned(path)

    @pytest.mark.parametrize("name", ["run.json", "notes.tmp", "a.1-2.tmp", "99-1-abcdef.tmp.txt"])
    def test_other_names_are_none_of_ours(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (0, 0))

        assert not is_abandoned(str(tmp_path / name))


class TestDeleting:
    def test_a_tree_goes_with_all_that_is_in_it(self, tmp_path: Path) -> None:
        (tmp_path / "run" / "deep" / "deeper").mkdir(parents=True)
        (tmp_path / "run" / "deep" / "file").write_bytes(b"x")
        (tmp_path / "kept").write_bytes(b"y")
        (tmp_path / "run" / "link").symlink_to(tmp_path / "kept")

        delete_tree(str(tmp_path / "run"))

        assert os.listdir(tmp_path) == ["kept"]

    def test_directories_that_must_not_be_written_to_go_as_well(self, tmp_path: Path) -> None:
        deep = tmp_path / "run" / "frozen" / "deeper"
        deep.mkdir(parents=True)
        (deep / "file").write_bytes(b"x")
        deep.chmod(0o500)
        deep.parent.chmod(0o500)
        words = "import sys; from reenact.store.files import delete_tree; delete_tree(sys.argv[1])"

        subprocess.run(
            [sys.executable, "-c", words, str(tmp_path / "run")],
            check=True,
            preexec_fn=as_ordinary_user,
        )

        assert os.listdir(tmp_path) == []

    def test_a_link_goes_and_what_it_leads_to_stays(self, tmp_path: Path) -> None:
        (tmp_path / "kept").mkdir()
        (tmp_path / "link").symlink_to("kept")

        delete_tree(str(tmp_path / "link"))
        delete_tree(str(tmp_path / "gone"))

        assert os.listdir(tmp_path) == ["kept"]


@pytest.mark.parametrize(
    ("number", "message", "hint"),
    [
        (errno.ENOSPC, "no space left for the store `/s`", "reenact gc"),
        (errno.EDQUOT, "no space left for the store `/s`", "REENACT_HOME"),
        (errno.EACCES, "cannot use the store `/s`: permission denied", "REENACT_HOME"),
        (errno.EROFS, "cannot use the store `/s`: read-only file system", "REENACT_HOME"),
    ],
)
def test_a_refusal_of_the_system_names_the_store_and_the_way_out(
    number: int, message: str, hint: str
) -> None:
    with pytest.raises(StoreUnusable) as caught, store_errors("/s"):
        raise OSError(number, os.strerror(number))

    assert caught.value.message == message
    assert hint in (caught.value.hint or "")
