from __future__ import annotations

from pathlib import Path

from reenact.model.lock import Indexes, Lock, Locked
from reenact.rebuild.places import PYPI, places_of


def lock(version: str = "1.0", **indexes: object) -> Lock:
    return Lock(
        packages=(Locked(name="torch", version=version),),
        indexes=Indexes(**indexes),  # type: ignore[arg-type]
    )


def test_without_settings_it_is_pypi() -> None:
    places, offline = places_of(lock(), Indexes())

    assert places.options() == [
        "--default-index",
        PYPI,
        "--index-strategy",
        "unsafe-best-match",
    ]
    assert places.names() == ["PyPI"]
    assert "--offline" in offline.options()


def test_the_main_index_comes_first() -> None:
    first, *_ = places_of(lock(extra=("https://more.example/s",)), Indexes())

    assert first.options()[:4] == ["--index", PYPI, "--default-index", "https://more.example/s"]


def test_the_index_of_this_machine_stands_in_for_pypi() -> None:
    recorded = {"index": "https://then.example/s"}
    first, second, _ = places_of(lock(**recorded), Indexes(index="https://now.example/s"))

    assert first.indexes() == ("https://now.example/s", "https://then.example/s")
    assert second.indexes() == ("https://now.example/s",)


def test_directories_that_are_gone_are_said_and_not_asked(tmp_path: Path) -> None:
    gone, there = tmp_path / "gone", tmp_path / "there"
    there.mkdir()

    first, *_ = places_of(lock(find_links=(str(gone), str(there))), Indexes())

    assert first.find_links == (str(there),)
    assert first.remarks == (f"{gone} is not there any more: nothing was looked for in it",)


def test_credentials_of_this_machine_are_put_back() -> None:
    recorded = lock(extra=("https://me:<redacted>@a.example/s", "https://x:<redacted>@b.example/s"))
    now = Indexes(extra=("https://me:pass@a.example/s",))

    first, *_ = places_of(recorded, now)

    assert first.extra == ("https://me:pass@a.example/s", "https://b.example/s")
    assert first.names() == ["PyPI", "https://me:<redacted>@a.example/s", "https://b.example/s"]


def test_builds_of_pytorch_are_looked_for_where_they_are() -> None:
    last = places_of(lock("2.13.0+cu126"), Indexes())[1]

    assert last.indexes() == (PYPI, "https://download.pytorch.org/whl/cu126")


def test_no_index_is_kept(tmp_path: Path) -> None:
    wheels = str(tmp_path)

    [places] = places_of(lock(), Indexes(no_index=True, find_links=(wheels,)))

    assert places.options()[:3] == ["--no-index", "--find-links", wheels]
