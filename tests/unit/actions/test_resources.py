"""What operations require: choosing files, unpacking archives, loading URLs."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reenact.actions.resources import RequirementFailed
from reenact.actions.resources.archive import kind_of_archive, unpack
from reenact.actions.resources.choose import check_patterns, choose, place
from reenact.actions.resources.url import load, name_of
from reenact.errors import UnmetRequirement
from reenact.project.file.model import Place, Rename, ResourceSource, Select, SourceKind
from reenact.store.blobs import digest_file
from reenact.store.store import Store
from servers import Served, web_server

FILES = ("a.csv", "b.txt", "sub/c.csv", "sub/deep/d.csv", "model-10.pt", "model-9.pt")


def source(**attributes: object) -> ResourceSource:
    """Return a source with some attributes."""
    return ResourceSource(
        kind=SourceKind.FILE,
        spec="data",
        place=Place("reenact.yml", 3),
        **attributes,  # type: ignore[arg-type]  # as the test says
    )


def chosen(**attributes: object) -> dict[str, str]:
    """Return which of FILES go where."""
    files = {name: (f"/data/{name}", None) for name in FILES}
    found = choose("data", source(**attributes), files)
    return {piece.path: piece.at.removeprefix("/data/") for piece in found}


def selected(*patterns: str, reduce: str | None = None) -> dict[str, str]:
    """Return which of FILES go where that patterns select."""
    return chosen(select=tuple(Select(pattern=p, reduce=reduce) for p in patterns))


# --- choosing ---


def test_without_a_pattern_everything_goes_to_its_own_place() -> None:
    assert chosen() == {name: name for name in FILES}


def test_a_selected_file_goes_to_the_top_under_its_own_name() -> None:
    assert selected(r"sub/c\.csv", "b") == {"c.csv": "sub/c.csv", "b.txt": "b.txt"}


def test_a_selected_directory_goes_there_with_all_that_is_in_it() -> None:
    assert selected("sub/deep$") == {"deep/d.csv": "sub/deep/d.csv"}
    assert selected("sub") == {"sub/c.csv": "sub/c.csv", "sub/deep/d.csv": "sub/deep/d.csv"}


def test_the_largest_and_least_number_is_a_number_and_no_text() -> None:
    assert selected(r"model-(\d+)\.pt", reduce="max") == {"model-10.pt": "model-10.pt"}
    assert selected(r"model-(\d+)\.pt", reduce="min") == {"model-9.pt": "model-9.pt"}
    assert selected(r"none-(\d+)", reduce="min") == {}


def test_files_are_renamed_put_elsewhere_and_keep_their_directories_when_told() -> None:
    one = (Select(pattern="sub/c"),)

    renamed = chosen(select=one, rename=(Rename(r"(.)\.csv", r"data-\1.csv"), Rename("d", "e")))
    elsewhere = chosen(select=one, target_path="in/put")
    kept = chosen(select=one, preserve_path=True, target_path="ignored")

    assert renamed == {"data-c.csv": "sub/c.csv"}
    assert elsewhere == {"in/put/c.csv": "sub/c.csv"}
    assert kept == {"sub/c.csv": "sub/c.csv"}


@pytest.mark.parametrize(
    "attributes",
    [
        {"target_path": "../out"},
        {"target_path": "/etc"},
        {"target_path": ".reenact"},
        {"rename": (Rename(".*", ".."),)},
    ],
)
def test_nothing_goes_outside_the_run_directory(attributes: dict[str, object]) -> None:
    with pytest.raises(UnmetRequirement, match="outside the run directory"):
        place("data", source(**attributes), "a.csv")


def test_a_pattern_that_cannot_be_used_is_named_with_its_place() -> None:
    with pytest.raises(UnmetRequirement, match=r"reenact\.yml:3: .*pattern that cannot be used"):
        check_patterns("data", source(select=(Select(pattern="(a"),)))
    with pytest.raises(UnmetRequirement, match="cannot be renamed"):
        check_patterns("data", source(rename=(Rename("a", r"\2"),)))


# --- archives ---


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A new store."""
    made = Store(str(tmp_path / "store"))
    made.create()
    return made


def unpacked(store: Store, path: Path, said: str | None = None) -> Path:
    """Unpack an archive; return where it is."""
    return Path(unpack(store, str(path), digest_file(str(path))[0], said))


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    """Write a tar file."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]  # modes are text here
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    """Return a member of a tar file that is a link."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def member(name: str, content: bytes = b"x", mode: int = 0o644) -> tuple[tarfile.TarInfo, bytes]:
    """Return a member of a tar file."""
    info = tarfile.TarInfo(name)
    info.mode = mode
    return info, content


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.tar", "w"), ("a.tgz", "w:gz"), ("a.tar.xz", "w:xz"), ("a.tar.bz2", "w:bz2")],
)
def test_tar_files_of_all_kinds_are_unpacked(
    store: Store, tmp_path: Path, name: str, mode: str
) -> None:
    path = tar_of(
        tmp_path / name,
        member("./data/a.csv", b"1,2"),
        member("run.sh", mode=0o755),
        link("data/same.csv", "a.csv"),
        link("data/hard.csv", "data/a.csv", tarfile.LNKTYPE),
        mode=mode,
    )

    found = unpacked(store, path)

    assert (found / "data/a.csv").read_bytes() == b"1,2"
    assert (found / "data/same.csv").read_bytes() == b"1,2"
    assert (found / "data/hard.csv").read_bytes() == b"1,2"
    assert (found / "run.sh").stat().st_mode & 0o777 == 0o555
    assert (found / "data/a.csv").stat().st_mode & 0o777 == 0o444


def test_zip_and_gzip_files_are_unpacked_and_once_only(store: Store, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("data/a.csv", "1,2")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"3,4"))

    first = unpacked(store, tmp_path / "a.zip")
    second = unpacked(store, tmp_path / "b.csv.gz")

    assert (first / "data/a.csv").read_text() == "1,2"
    assert (second / "b.csv").read_text() == "3,4"
    assert unpacked(store, tmp_path / "a.zip").stat().st_ino == first.stat().st_ino


@pytest.mark.parametrize(
    "members",
    [
        [member("../out.txt")],
        [member("/tmp/out.txt")],
        [member("a/../../out.txt")],
        [link("out", "../..")],
        [link("out", "/etc/passwd")],
        [link("out", "../../x", tarfile.LNKTYPE)],
        [link("a", "."), link("a/b", ".."), member("a/b/out.txt")],
        [link("inside", "sub"), member("inside/out.txt")],
    ],
    ids=lambda members: members[-1][0].name,
)
def test_an_archive_that_would_write_elsewhere_is_refused(
    store: Store, tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    path = tar_of(tmp_path / "bad.tar", *members)
    before = sorted(os.listdir(tmp_path))

    with pytest.raises(RequirementFailed, match="would lie outside of it"):
        unpacked(store, path)

    assert sorted(os.listdir(tmp_path)) == before
    assert os.listdir(f"{store.cache_directory}/resources/unpacked") == []


@pytest.mark.parametrize("name", ["torn.zip", "torn.tar", "torn.csv.gz", "torn.tgz"])
def test_a_torn_archive_is_named_and_leaves_nothing(
    store: Store, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"no archive at all")

    with pytest.raises(RequirementFailed, match=f"`{name}` cannot be unpacked"):
        unpacked(store, tmp_path / name)

    assert os.listdir(f"{store.cache_directory}/resources/unpacked") == []


def test_the_kind_of_an_archive_follows_from_its_name_or_from_what_is_said(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "noname", "w") as archive:
        archive.writestr("a", "b")

    assert kind_of_archive("data.csv") is None
    assert kind_of_archive("DATA.TAR.GZ") == "tar"
    assert kind_of_archive("data.bin", "zip") == "zip"
    assert kind_of_archive(str(tmp_path / "noname"), "archive") == "zip"


# --- URLs ---

DATA = bytes(range(256)) * 4000


@pytest.fixture
def web() -> Iterator[Served]:
    """A server that has `data.bin`."""
    with web_server() as served:
        served.files["/data.bin"] = DATA
        yield served


@pytest.fixture
def get(store: Store, web: Served) -> Callable[..., bytes]:
    """Load `data.bin` without waiting between attempts."""

    def load_it(sha256: str | None = None, path: str = "/data.bin") -> bytes:
        loaded = load(store, web.url + path, sha256, wait=lambda _: None)
        return Path(loaded.path).read_bytes()

    return load_it


def test_a_download_that_is_cut_goes_on_where_it_was(
    web: Served, get: Callable[..., bytes]
) -> None:
    web.cuts = [1000, 500_000, 3]

    assert get() == DATA
    starts = [asked[1] for asked in web.asked]
    assert starts == [None, "bytes=1000-", "bytes=501000-", "bytes=501003-"]


def test_what_was_loaded_is_kept_for_a_later_try(
    store: Store, web: Served, get: Callable[..., bytes]
) -> None:
    web.cuts = [1000, 1000, 1000, 1000, 1000]
    with pytest.raises(RequirementFailed, match="5 attempts: the connection was cut after 5000"):
        get()
    kept = [path.name for path in Path(store.cache_directory).rglob("data.bin")]

    assert kept == []
    assert get() == DATA
    assert web.asked[-1][1] == "bytes=5000-"


def test_a_file_that_changed_between_two_tries_is_loaded_anew(
    web: Served, get: Callable[..., bytes]
) -> None:
    web.cuts = [1000, 0, 0, 0, 0]
    with pytest.raises(RequirementFailed):
        get()
    web.files["/data.bin"] = DATA[::-1]

    assert get() == DATA[::-1]


def test_a_file_is_asked_for_once_where_its_digest_is_known(
    web: Served, get: Callable[..., bytes]
) -> None:
    sha256 = hashlib.sha256(DATA).hexdigest()

    assert get(sha256) == get(sha256) == DATA
    assert len(web.asked) == 1


def test_without_a_digest_the_server_is_asked_whether_it_has_changed(
    web: Served, get: Callable[..., bytes]
) -> None:
    get()
    get()
    web.files["/data.bin"] = b"new"

    assert get() == b"new"
    assert [asked[2] is not None for asked in web.asked] == [False, True, True]


def test_a_server_that_is_away_leaves_what_was_loaded_before(
    store: Store, web: Served, get: Callable[..., bytes]
) -> None:
    get()
    web.statuses = [503] * 5

    loaded = load(store, f"{web.url}/data.bin", None, wait=lambda _: None)

    assert Path(loaded.path).read_bytes() == DATA
    assert "was not asked again: the server says 503" in str(loaded.remark)


def test_a_busy_server_is_asked_again_and_one_that_refuses_is_not(
    web: Served, get: Callable[..., bytes]
) -> None:
    web.statuses = [503, 429]
    assert get() == DATA

    with pytest.raises(RequirementFailed, match="the server says 404"):
        get(path="/nothing.bin")
    assert len(web.asked) == 4


def test_a_file_with_another_digest_is_refused_and_not_kept(
    store: Store, web: Served, get: Callable[..., bytes]
) -> None:
    with pytest.raises(RequirementFailed, match=r"has sha256 .*, and must have 0000"):
        get("0" * 64)

    left = {path.name for path in Path(store.cache_directory).rglob("*") if path.is_file()}
    assert left == {"lock"}


def test_parts_of_two_files_are_not_joined_where_only_the_digest_tells(
    web: Served, get: Callable[..., bytes]
) -> None:
    web.has_validators = False
    web.cuts = [1000, 0, 0, 0, 0]
    sha256 = hashlib.sha256(DATA[::-1]).hexdigest()
    with pytest.raises(RequirementFailed):
        get(sha256)
    web.files["/data.bin"] = DATA[::-1]

    assert get(sha256) == DATA[::-1]


def test_a_password_in_a_url_reaches_the_server_and_no_message(store: Store, web: Served) -> None:
    web.login = "ada:s3cret-word"
    url = web.url.replace("//", "//ada:s3cret-word@")

    loaded = load(store, f"{url}/data.bin", None, wait=lambda _: None)
    with pytest.raises(RequirementFailed) as caught:
        load(store, f"{url}/nothing", None, wait=lambda _: None)

    assert Path(loaded.path).read_bytes() == DATA
    assert "s3cret" not in caught.value.message
    kept = b"".join(p.read_bytes() for p in Path(store.cache_directory).rglob("*.json"))
    assert b"s3cret" not in kept


def test_progress_is_told(store: Store, web: Served) -> None:
    told: list[tuple[str, int, int | None]] = []

    load(store, f"{web.url}/data.bin", None, lambda *now: told.append(now))

    assert told[-1] == ("data.bin", len(DATA), len(DATA))


def test_a_name_follows_from_the_url() -> None:
    assert name_of("http://example.org/a/b%20c.csv?x=1") == "b c.csv"
    assert name_of("http://example.org/") == "example.org"
