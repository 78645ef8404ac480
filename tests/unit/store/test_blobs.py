from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from commands import PATIENCE_S
from reenact.errors import Damaged, NotFound
from reenact.store.blobs import CHUNK, Blobs, FileToKeep, digest_bytes, digest_file

SIZES = [0, 1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 7]


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(str(tmp_path / "blobs"))


def names_in(blobs: Blobs) -> list[str]:
    return [name for _, _, names in os.walk(blobs.root) for name in names]


@given(st.binary(max_size=2000))
def test_a_blob_is_named_by_the_blake3_of_its_content(data: bytes) -> None:
    assert digest_bytes(data) == blake3(data).hexdigest()


@pytest.mark.parametrize("size", SIZES)
def test_what_was_put_can_be_got(blobs: Blobs, size: int) -> None:
    data = os.urandom(size)

    digest = blobs.put(data)

    assert blobs.get(digest) == data
    assert blobs.has(digest, size)
    assert not blobs.has(digest, size + 1)


@pytest.mark.parametrize("size", SIZES)
def test_a_file_is_put_as_its_bytes_would_be(blobs: Blobs, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)

    assert blobs.put_file(str(tmp_path / "file")) == (digest_bytes(data), size)
    assert blobs.get(digest_bytes(data)) == data
    assert digest_file(str(tmp_path / "file")) == (digest_bytes(data), size)


def test_a_name_that_is_not_utf_8_is_a_name(blobs: Blobs, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9\n"
    for size in (3, 5 * CHUNK):
        Path(os.fsdecode(path)).write_bytes(b"x" * size)

        assert digest_file(os.fsdecode(path)) == (digest_bytes(b"x" * size), size)
        assert blobs.put_file(os.fsdecode(path)) == (digest_bytes(b"x" * size), size)


def test_a_file_without_a_size_is_read_to_its_end(blobs: Blobs) -> None:
    digest, size = digest_file("/proc/self/environ")

    assert size > 0
    assert digest == digest_bytes(Path("/proc/self/environ").read_bytes())
    assert blobs.put_file("/proc/self/environ") == (digest, size)


def test_the_same_content_is_kept_once(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"weights")

    digests = {
        blobs.put(b"weights"),
        blobs.put_file(str(tmp_path / "file"))[0],
        blobs.put(b"weights"),
    }

    assert set(blobs.list()) == digests
    assert len(names_in(blobs)) == 1


def test_a_blob_cannot_be_written_to_by_accident(blobs: Blobs) -> None:
    path = blobs.path(blobs.put(b"weights"))

    assert os.stat(path).st_mode & 0o222 == 0


@given(position=st.integers(0, 999), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int
) -> None:
    blobs = Blobs(str(tmp_path_factory.mktemp("store")))
    digest = blobs.put(bytes(1000))
    data = bytearray(1000)
    data[position] ^= 1 << bit
    os.chmod(blobs.path(digest), 0o644)
    Path(blobs.path(digest)).write_bytes(data)

    with pytest.raises(Damaged, match="was changed on disk") as caught:
        blobs.get(digest)

    assert "reenact fsck" in (caught.value.hint or "")


def test_a_missing_blob_is_not_found(blobs: Blobs) -> None:
    with pytest.raises(NotFound, match="is not in this store"):
        blobs.get(digest_bytes(b"never put"))


@pytest.mark.parametrize("size", [10, 3 * CHUNK])
def test_a_blob_that_was_cut_short_is_healed_by_the_next_put(
    blobs: Blobs, tmp_path: Path, size: int
) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    digest = blobs.put(data)
    os.chmod(blobs.path(digest), 0o644)
    os.truncate(blobs.path(digest), size // 2)

    blobs.put(data)
    assert blobs.get(digest) == data

    os.chmod(blobs.path(digest), 0o644)
    os.truncate(blobs.path(digest), 0)
    blobs.put_file(str(tmp_path / "file"))
    assert blobs.get(digest) == data


def test_a_store_without_blobs_has_none(blobs: Blobs) -> None:
    assert list(blobs.list()) == []
    blobs.remove(digest_bytes(b"never put"))


def test_a_removed_blob_is_gone(blobs: Blobs) -> None:
    digest = blobs.put(b"weights")

    blobs.remove(digest)

    assert not blobs.has(digest)
    assert list(blobs.list()) == []


def test_what_is_no_blob_is_not_listed(blobs: Blobs) -> None:
    digest = blobs.put(b"weights")
    Path(blobs.path(digest) + ".12-1-abcdef.tmp").write_bytes(b"")
    Path(blobs.root, "README").write_bytes(b"")

    assert list(blobs.list()) == [digest]


PUT_MANY = """
import sys
from reenact.store.blobs import Blobs
blobs = Blobs(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(200):
    assert blobs.get(blobs.put(b"%d" % number * 5000))
"""


def test_two_processes_that_put_the_same_do_not_disturb_each_other(blobs: Blobs) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", PUT_MANY, blobs.root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdout
        assert writer.stdout.readline() == b"ready\n"
    for writer in writers:
        writer.communicate(b"go\n")

    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(set(blobs.list())) == len(names_in(blobs)) == 200


CHANGE_FOREVER = """
import sys
size, path = int(sys.argv[2]), sys.argv[1]
n = 0
with open(path, "r+b", buffering=0) as file:
    print("ready", flush=True)
    while True:
        n += 1
        file.seek(0)
        file.write(bytes([n % 256]) * size)
"""


@pytest.mark.parametrize("size", [100_000, 3 * CHUNK])
def test_what_is_stored_is_what_was_hashed_even_when_the_file_changes_meanwhile(
    blobs: Blobs, tmp_path: Path, size: int
) -> None:
    path = tmp_path / "busy"
    path.write_bytes(bytes(size))
    with subprocess.Popen(
        [sys.executable, "-c", CHANGE_FOREVER, str(path), str(size)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            digests = {blobs.put_file(str(path))[0] for _ in range(15)}
        finally:
            process.kill()

    assert all(len(blobs.get(digest)) == size for digest in digests)


KILLED_AT = """
import os, signal, sys
from reenact.store.blobs import Blobs
name = sys.argv[2]
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(os, name, die)
Blobs(sys.argv[1]).put_file(sys.argv[3])
"""


@pytest.mark.parametrize("size", [10, 2 * CHUNK])
@pytest.mark.parametrize("moment", ["write", "close", "rename"])
def test_a_writer_killed_before_it_is_done_leaves_nothing_under_a_name(
    blobs: Blobs, tmp_path: Path, size: int, moment: str
) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)

    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AT, blobs.root, moment, str(tmp_path / "file")], check=False
    )

    assert killed.returncode == -signal.SIGKILL
    assert list(blobs.list()) == []
    assert blobs.get(blobs.put(data)) == data


PUT_FOREVER = """
import os, sys
from reenact.store.blobs import Blobs
blobs = Blobs(sys.argv[1])
while True:
    print(blobs.put(os.urandom(200_000)), flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_whole_blobs_only(blobs: Blobs) -> None:
    for count in (1, 3, 10):
        with subprocess.Popen(
            [sys.executable, "-c", PUT_FOREVER, blobs.root], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout
            said = [process.stdout.readline().decode().strip() for _ in range(count)]
            process.kill()

        assert set(said) <= set(blobs.list())
        assert all(len(blobs.get(digest)) == 200_000 for digest in blobs.list())


def test_a_put_for_which_there_is_no_room_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(2 * CHUNK))
    words = (
        "import resource, sys\nfrom reenact.store.blobs import Blobs\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "blobs = Blobs(sys.argv[1])\n"
        "for put in (lambda: blobs.put(bytes(9000)), lambda: blobs.put_file(sys.argv[2])):\n"
        "    try: put()\n"
        "    except OSError as error: print(error.strerror)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", words, blobs.root, str(tmp_path / "file")],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "File too large\n" * 2
    assert names_in(blobs) == []


def to_keep(path: Path, content: bytes) -> FileToKeep:
    path.write_bytes(content)
    return FileToKeep(str(path), digest_bytes(content), len(content), path.name)


@pytest.mark.parametrize("size", [0, 10, CHUNK, CHUNK + 1])
def test_a_file_is_kept_with_the_content_that_is_wanted(
    blobs: Blobs, tmp_path: Path, size: int
) -> None:
    wanted = to_keep(tmp_path / "file", b"x" * size)

    assert blobs.keep(wanted)

    assert blobs.get(wanted.digest) == b"x" * size
    os.unlink(wanted.path)
    assert blobs.keep(wanted)  # It is there, and nothing is read.


@pytest.mark.parametrize("size", [10, CHUNK + 1])
def test_a_file_that_has_changed_or_gone_is_not_kept(
    blobs: Blobs, tmp_path: Path, size: int
) -> None:
    wanted = to_keep(tmp_path / "file", b"x" * size)
    Path(wanted.path).write_bytes(b"y" * size)

    assert not blobs.keep(wanted)
    os.unlink(wanted.path)
    assert not blobs.keep(wanted)
    assert not [path for path in Path(blobs.root).rglob("*") if path.is_file()]


def test_a_large_file_has_the_same_digest_whoever_listens(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.write(b"begin")
        file.truncate((1 << 28) + 7)
    told: list[int] = []

    found = digest_file(str(path), told.append)

    assert found == digest_file(str(path))
    assert told == [1 << 28, (1 << 28) + 7]


def test_a_fork_digests_large_files_after_its_parent_has(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(16 * CHUNK))
    script = (
        "import os, sys\n"
        "from reenact.store.blobs import digest_file\n"
        "digest = digest_file(sys.argv[1])\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    os._exit(0 if digest_file(sys.argv[1]) == digest else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, path], start_new_session=True)
    try:
        assert process.wait(PATIENCE_S) == 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
