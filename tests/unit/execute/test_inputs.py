"""What is made of what processes told: torn logs, kinds of files, data sets."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.execute.data_sets import MANY, read_data_set
from reenact.execute.inputs import Found, look_at_files
from reenact.execute.opened import Event, Log, Stamp, create_log, read_log, remove_log
from reenact.execute.preload import SOURCE, find_preload
from reenact.execute.uses import Place, sources_of
from reenact.execute.whereabouts import whereabouts
from reenact.model.identity import Digest
from reenact.store.blobs import Blobs, digest_file
from reenact.store.digests import REMEMBERED_FROM, Digests

HEADER = 64
RECORD = struct.Struct("<QIHHiIqqqq")
MARKER = int.from_bytes(b"rnto", "little")


# --- the log ---


def _record(name: str, *, kind: str = "o", base: str = "", flags: int = 0) -> bytes:
    text = os.fsencode(base) + os.fsencode(name)
    length = (RECORD.size + len(text) + 7) & ~7
    head = RECORD.pack(
        length << 32 | MARKER, 7, ord(kind), len(base), flags, len(os.fsencode(name)), 9, 3, 5, 6
    )
    return (head + text).ljust(length, b"\0")


def _log(directory: Path, *records: bytes) -> Log:
    create_log(str(directory))
    data = b"".join(records)
    with (directory / "opened").open("r+b") as file:
        file.seek(8)
        file.write(struct.pack("<Q", HEADER + len(data)))
        file.seek(HEADER)
        file.write(data)
    return read_log(str(directory))


def test_a_log_tells_what_was_written_to_it(tmp_path: Path) -> None:
    found = _log(
        tmp_path,
        _record("/a/../b.csv"),
        _record("./c.csv", base="/here", flags=os.O_RDWR),
        _record("/old\0/new", kind="m"),
        _record("example.org\nhttps", kind="h"),
        _record("2001:db8::1", kind="c", flags=80),
        _record("/usr/bin/python3", kind="p", flags=3),
    )

    assert [(e.kind, e.path, e.target) for e in found.events] == [
        ("open", "/b.csv", None),
        ("open", "/here/c.csv", None),
        ("move", "/old", "/new"),
        ("process", "/usr/bin/python3", None),
    ]
    assert found.events[1].name == "./c.csv"
    assert found.events[0].stamp == Stamp(3, 5)
    assert found.contacts == ["example.org:443", "[2001:db8::1]:80"]
    assert found.is_preloaded


def test_a_record_whose_writer_was_killed_hides_none_that_follow(tmp_path: Path) -> None:
    torn = bytearray(_record("/torn/by/a/signal.csv"))
    torn[:8] = bytes(8)

    found = _log(tmp_path, _record("/a.csv"), bytes(torn), _record("/b.csv"))

    assert [event.path for event in found.events] == ["/a.csv", "/b.csv"]


@given(st.binary(max_size=300))
def test_any_bytes_are_a_log(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    directory = tmp_path_factory.mktemp("log")
    noise = noise.ljust((len(noise) + 7) & ~7, b"\0")

    found = _log(directory, _record("/a.csv"), noise)

    assert found.events[0].path == "/a.csv"


def test_lines_of_the_probe_are_read_and_torn_ones_left_out(tmp_path: Path) -> None:
    (tmp_path / "reads").write_text(
        "('open', 1, 5, '/here', 'a.csv', 0)\n('open', 1, 5, '/he\nnonsense\n('open', 1)\n"
    )
    (tmp_path / "reads-1-ff").write_bytes(b"('move', 1, 6, '', '/a', '/b')\n\0\0\0('open', 1")
    (tmp_path / "contacted").write_text("'https://example.org/x'\n")

    found = read_log(str(tmp_path))

    assert [(event.kind, event.path) for event in found.events] == [
        ("open", "/here/a.csv"),
        ("move", "/a"),
    ]
    assert found.contacts == ["https://example.org/x"]
    remove_log(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


# --- what it comes to ---


class World:
    """A project, a run directory and a store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.project = root / "home/project"
        self.run = root / "store/runs" / ("f" * 32)
        for path in (self.project, self.run, root / "store/blobs"):
            path.mkdir(parents=True)
        self.events: list[Event] = []
        self.sources: list[tuple[str, int, int, Digest]] = []
        self.in_place = False

    def file(self, name: str, content: bytes = b"1", *, opened: int | None = os.O_RDONLY) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, ns=(10**9, 10**9))
        if opened is not None:
            self.open(str(path), opened)
        return path

    def open(self, path: str, flags: int = os.O_RDONLY) -> None:
        try:
            status = os.stat(path)
            stamp = Stamp(status.st_size, status.st_mtime_ns)
        except FileNotFoundError:
            stamp = Stamp(0, 0)
        self.events.append(Event("open", 7, 10**15, path, path, flags, stamp))

    def look(self, *, contacts: list[str] | None = None) -> Found:
        hello = {"pid": 7, "prefix": f"{self.root}/python", "path": [f"{self.root}/modules"]}
        env = {"HOME": f"{self.root}/home", "TMPDIR": f"{self.root}/temporary"}
        place = Place(
            run=None if self.in_place else str(self.run),
            project=str(self.project),
            store=f"{self.root}/store",
            sources=sources_of(self.sources),
            began_ns=10**15,
            elsewhere=whereabouts(env, [hello], str(self.project)),
        )
        with Digests(f"{self.root}/cache/digests.db") as digests:
            return look_at_files(
                Log(self.events, contacts or [], 3, 0, True), place, digests, [hello]
            )

    def paths(self) -> list[str]:
        return [file.path.replace(f"{self.root}/", "") for file in self.look().inputs]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("python/lib/python3.11/json/data.json", "packages"),
        ("home/env/lib/python3.11/site-packages/sklearn/datasets/iris.csv", "packages"),
        ("home/project/node_modules/x/data.json", "packages"),
        ("home/project/.git/HEAD", "packages"),
        ("modules/mine.py", None),
        ("python/lib/python3.11/json/decoder.py", "packages"),
        ("home/.config/matplotlib/rc", "settings"),
        ("home/.netrc", "settings"),
        ("home/.cache/huggingface/x.lock", "settings"),
        ("store/blobs/ab/cd", "store"),
        ("store/runs/0/.reenact/run.json", "store"),
        ("store/runs/0/model.bin", None),
        ("modules/data.csv", None),
        ("home/.mydata/a.csv", None),
        ("home/.cache/torch/hub/checkpoints/resnet.pth", None),
        ("home/project/data.csv", None),
        ("elsewhere/data.csv", None),
        ("elsewhere/script.py", None),
        ("temporary/data.csv", None),
    ],
)
def test_where_a_file_lies_decides_whether_it_is_an_input(
    world: World, name: str, kind: str | None
) -> None:
    world.file(name)

    found = world.look()

    assert len(found.inputs) == (kind is None)
    assert found.other_reads == {"system": 3, **({} if kind is None else {kind: 1})}


def test_source_that_is_no_code_is_an_input_with_the_digest_of_the_snapshot(world: World) -> None:
    for name in ("config.yaml", "train.py"):
        world.file(f"home/project/{name}", opened=None)
        world.sources.append((name, 0o644, 5, Digest("a" * 64)))
        world.open(f"{world.run}/{name}")

    (found,) = world.look().inputs

    assert (found.path, found.digest, found.size_bytes) == ("config.yaml", "a" * 64, 5)


def test_bytecode_stands_for_its_module(world: World) -> None:
    world.file("home/project/local.py", opened=None)
    world.open(f"{world.run}/__pycache__/local.cpython-311.pyc")

    assert world.paths() == ["local.py"]


def test_a_module_of_which_only_the_bytecode_was_opened_has_not_changed(world: World) -> None:
    for place in ("home/project", "elsewhere"):
        world.file(f"{place}/local.py", opened=None)
        world.file(f"{place}/__pycache__/local.cpython-311.pyc", b"123", opened=None)
    world.open(f"{world.project}/__pycache__/local.cpython-311.pyc")
    world.open(f"{world.root}/elsewhere/__pycache__/local.cpython-311.pyc")

    found = world.look()

    assert [(file.path, file.is_changed) for file in found.inputs] == [
        (f"{world.root}/elsewhere/local.py", False),
        ("local.py", False),
    ]
    assert not found.remarks


def test_what_was_written_before_it_was_read_is_no_input(world: World) -> None:
    world.file("elsewhere/made.csv", opened=os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    world.open(str(world.root / "elsewhere/made.csv"))
    moved = str(world.file("elsewhere/moved.csv", opened=None))
    world.events.append(Event("move", 7, 10**15, "x", "x", target=moved))
    world.open(moved)

    assert world.paths() == []


def test_a_database_that_was_opened_for_both_and_not_changed_is_an_input(world: World) -> None:
    world.file("elsewhere/data.db", opened=os.O_RDWR | os.O_CREAT)

    found = world.look()

    assert [Path(file.path).name for file in found.inputs] == ["data.db"]
    assert found.outputs == ()


def test_a_virtual_environment_in_the_project_is_no_data(world: World) -> None:
    world.file("home/project/env/pyvenv.cfg", opened=None)
    world.file("home/project/env/deep/data.csv")

    assert world.paths() == []


def test_hosts_are_left_out_where_a_url_names_them(world: World) -> None:
    contacts = ["https://a.org/x?id", "a.org:443", "b.org:443", os.uname().nodename]

    assert world.look(contacts=contacts).contacted == ("b.org:443", "https://a.org/x?id")


# --- data sets ---


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([f"data/{n}.png" for n in range(MANY)], MANY),
        ([f"data/{n}.png" for n in range(MANY + 1)], ["data"]),
        ([f"{n}.png" for n in range(MANY + 1)], ["."]),
        ([f"data/images/{n}.png" for n in range(MANY + 1)], ["data/images"]),
        (
            [f"data/images/{n}.png" for n in range(MANY + 1)] + ["data/labels.csv"],
            ["data/images", "data/labels.csv"],
        ),
        ([f"data/{part}/{n}.png" for part in "ab" for n in range(MANY + 1)], ["data"]),
        ([f"data/{n}/{k}.png" for n in range(MANY) for k in range(2)], ["data"]),
    ],
)
def test_many_files_of_a_directory_are_one_input(
    world: World, names: list[str], expected: list[str] | int
) -> None:
    for name in names:
        world.file(f"home/project/{name}")

    found = world.look()

    if isinstance(expected, int):
        assert len(found.inputs) == expected
    else:
        assert [file.path for file in found.inputs] == expected
    assert sum(file.files or 1 for file in found.inputs) == len(names)


def test_the_list_of_a_data_set_names_every_file(world: World) -> None:
    for number in range(MANY + 1):
        world.file(f"elsewhere/deep/set/{number:03}.bin", b"%d" % number)

    found = world.look()

    (file,) = found.inputs
    blobs = Blobs(f"{world.root}/store/blobs")
    assert [blobs.put(content) for content in found.data_sets] == [file.digest]
    assert file.digest is not None
    entries = read_data_set(blobs, file.digest).files
    path = world.root / "elsewhere/deep/set/007.bin"
    assert entries[7] == ("007.bin", 1, digest_file(str(path))[0])
    assert file.size_bytes == sum(size for _, size, _ in entries)


# --- digests ---


def test_a_large_file_is_read_once_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(b"x" * REMEMBERED_FROM)
    os.utime(path, ns=(10**9, 10**9))

    def digest() -> tuple[Digest, bool]:
        with Digests(f"{tmp_path}/digests.db") as digests:
            return digests.digest(str(path), path.stat())

    # The time of its last change of state is this moment; only later it is known to be settled.
    while not (first := digest()) or digest()[1]:
        pass
    again = digest()
    path.write_bytes(b"y" * REMEMBERED_FROM)
    changed = digest()

    assert again == (first[0], False)
    assert changed[1]
    assert changed[0] != first[0]


def test_a_cache_that_is_damaged_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "digests.db").write_bytes(b"no database" * 100)
    path = tmp_path / "large.bin"
    path.write_bytes(b"x" * REMEMBERED_FROM)

    with Digests(f"{tmp_path}/digests.db") as digests:
        digests.expect(str(tmp_path))
        found = digests.digest(str(path), path.stat())

    assert found == (digest_file(str(path))[0], True)


# --- the library ---

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="nothing is preloaded elsewhere")


@linux_only
def test_the_library_is_made_once_and_leaves_nothing_half_made(tmp_path: Path) -> None:
    first = find_preload([f"{tmp_path}/bad name", str(tmp_path)], os.environ)

    again = find_preload([str(tmp_path)], {"PATH": ""})

    assert first.library is not None
    assert again == first
    assert len(list(tmp_path.iterdir())) == 1
    library = next(tmp_path.glob("preload-*/lib*/**/reenact.so"))
    done = subprocess.run(
        ["/bin/true"], env={"LD_PRELOAD": first.library}, capture_output=True, check=True
    )
    assert library.exists()
    assert done.stderr == b""


@linux_only
def test_a_library_that_was_taken_away_is_made_again(tmp_path: Path) -> None:
    first = find_preload([str(tmp_path)], os.environ)
    next(tmp_path.glob("preload-*/lib*/**/reenact.so")).unlink()

    again = find_preload([str(tmp_path)], os.environ)

    assert again == first
    assert next(tmp_path.glob("preload-*/lib*/**/reenact.so")).exists()


@linux_only
def test_it_is_made_by_several_at_once(tmp_path: Path) -> None:
    code = (
        "import os, sys; from reenact.execute.preload import find_preload; "
        "print(find_preload([sys.argv[1]], os.environ).library)"
    )
    makers = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE)
        for _ in range(3)
    ]

    found = {maker.communicate()[0] for maker in makers}

    assert len(found) == 1
    assert b"None" not in found.pop()
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


@linux_only
def test_a_compiler_that_fails_is_told_and_not_asked_again_at_once(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    compiler = programs / "cc"
    compiler.write_text(
        "#!/bin/sh\necho asked >> \"$0.log\"\necho 'error: no headers' >&2\nexit 1\n"
    )
    compiler.chmod(0o755)

    found = [find_preload([f"{tmp_path}/cache"], {"PATH": str(programs)}) for _ in range(2)]

    assert found[0].library is None
    assert found[0].reason == f"`{compiler}` failed: error: no headers"
    assert found[1] == found[0]
    assert (programs / "cc.log").read_text() == "asked\n"


@linux_only
def test_the_library_needs_nothing_that_another_c_library_has_not(tmp_path: Path) -> None:
    if shutil.which("nm") is None:
        pytest.skip("nm is not installed")
    find_preload([str(tmp_path)], os.environ)
    (library,) = (p for p in tmp_path.glob("preload-*/**/reenact.so") if "i386" not in str(p))

    out = subprocess.run(["nm", "-D", "-u", library], capture_output=True, text=True, check=True)

    names = {line.split()[-1].partition("@")[0] for line in out.stdout.splitlines()}
    weak = {"__cxa_finalize", "__gmon_start__", "_ITM_deregisterTMCloneTable"}
    assert not {name for name in names if name.startswith("__")} - weak - {"__errno_location"}
    assert {"malloc", "free", "pthread_mutex_lock"}.isdisjoint(names)


def test_its_source_is_shipped() -> None:
    assert Path(SOURCE).is_file()
