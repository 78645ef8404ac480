"""Which installed packages have a project file."""

from __future__ import annotations

from pathlib import Path

import pytest

from reenact.project.file.packages import Package, find_package, installed_packages, search_path


@pytest.fixture
def site(tmp_path: Path) -> Path:
    directory = tmp_path / "venv" / "lib" / "python3.12" / "site-packages"
    directory.mkdir(parents=True)
    (tmp_path / "venv" / "bin").mkdir()
    python = tmp_path / "venv" / "bin" / "python"
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    return directory


def install(site: Path, name: str, entry_points: str, **files: str) -> None:
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text(entry_points)
    (info / "RECORD").write_text("".join(f"{path},sha256=x,1\n" for path in files.values()))
    for path in files.values():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text("train: train\n")


def test_a_distribution_announces_its_project_file(site: Path) -> None:
    install(
        site, "flowers",
        "[console_scripts]\nflowers = flowers:main\n[reenact.packages]\nflowers = flowers.models\n",
        file="flowers/models/reenact.yml",
    )  # fmt: skip

    assert installed_packages([str(site)]) == [
        Package("flowers", f"{site}/flowers/models/reenact.yml")
    ]


def test_packages_of_guild_are_found_by_their_guild_yml(site: Path) -> None:
    install(
        site, "gpkg.hello", "[guild.models]\n__pkg__ = guild.model:PackageModel\n",
        file="gpkg/hello/guild.yml", other="gpkg/hello/say.py",
    )  # fmt: skip

    assert installed_packages([str(site)]) == [
        Package("gpkg.hello", f"{site}/gpkg/hello/guild.yml")
    ]


def test_other_distributions_and_files_that_are_not_there_are_passed_over(site: Path) -> None:
    install(site, "other", "[console_scripts]\nother = other:main\n", file="other/guild.yml")
    install(site, "gone", "[reenact.packages]\ngone = gone\n")

    assert installed_packages([str(site), f"{site}/nowhere"]) == []


def test_the_first_of_a_name_counts(site: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    for place in (site, second):
        install(place, "a", "[reenact.packages]\na = a\n", file="a/reenact.yml")

    found = installed_packages([str(second), str(site)])

    assert found == [Package("a", f"{second}/a/reenact.yml")]


def test_packages_are_looked_for_in_the_project_pythonpath_and_the_active_environment(
    site: Path, tmp_path: Path
) -> None:
    for name in ("project", "path"):
        (tmp_path / name).mkdir()
    env = {
        "VIRTUAL_ENV": str(tmp_path / "venv"),
        "PYTHONPATH": f"{tmp_path}/path:{tmp_path}/nowhere",
        "PATH": "",
    }

    assert search_path(env, f"{tmp_path}/project") == [
        f"{tmp_path}/project", f"{tmp_path}/path", str(site),
    ]  # fmt: skip
    assert search_path({"PATH": ""}, f"{tmp_path}/project") == [f"{tmp_path}/project"]


def test_a_package_is_found_by_its_name(site: Path) -> None:
    install(site, "a", "[reenact.packages]\nshort = deep.inside\n", file="deep/inside/guild.yml")
    install(site, "b", "", file="gpkg/my_models/guild.yml")

    assert find_package("short", [str(site)]) == f"{site}/deep/inside/guild.yml"
    assert find_package("deep.inside", [str(site)]) == f"{site}/deep/inside/guild.yml"
    assert find_package("my-models", [str(site)]) == f"{site}/gpkg/my_models/guild.yml"
    assert find_package("nothing", [str(site)]) is None
