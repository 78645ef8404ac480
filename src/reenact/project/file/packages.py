"""Project files of installed packages.

A distribution announces one in its `entry_points.txt`, in the group `reenact.packages`: `name = module`
says that the directory of the module holds a `reenact.yml` or `guild.yml`. Packages made by Guild AI
(group `guild.models`) are found by the `guild.yml` that they installed. Nothing is imported, and
Reenact's own environment does not matter: it is the one that a run would have.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

FILE_NAMES = ("reenact.yml", "guild.yml")
"""Of two in one directory the first counts."""

_GROUP = re.compile(r"\s*\[\s*([^\]]+?)\s*\]")
_GUILD_PREFIX = "gpkg."
_SITE = re.compile(r"python3(?:\.\d+)?\Z")


class Package(NamedTuple):
    """An installed package with a project file.

    Attributes:
        name: what the user calls it, before the slash of `name/operation`.
        file: absolute path of its project file.
    """

    name: str
    file: str


def project_file_in(directory: str) -> str | None:
    """Return the path of the project file in a directory."""
    for name in FILE_NAMES:
        path = f"{directory}/{name}"
        if os.path.isfile(path):
            return path
    return None


def search_path(env: Mapping[str, str], project: str) -> list[str]:
    """Return where packages are looked for: the project, PYTHONPATH, the active environment.

    Args:
        env: the environment of a run.
        project: the project's directory.
    """
    places = [project]
    places += [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    prefix = _prefix(env)
    if prefix is not None:
        for lib in ("lib", "lib64"):
            for name in sorted(_names(f"{prefix}/{lib}")):
                if _SITE.match(name):
                    places.append(f"{prefix}/{lib}/{name}/site-packages")
                    places.append(f"{prefix}/{lib}/{name}/dist-packages")
    unique = dict.fromkeys(os.path.realpath(place) for place in places)
    return [place for place in unique if os.path.isdir(place)]


def find_package(name: str, places: list[str]) -> str | None:
    """Return the project file of a package by its dotted name, with `gpkg.` before it or not."""
    path = name.replace("-", "_").replace(".", "/")
    for place in places:
        for prefix in ("", "gpkg/"):
            found = project_file_in(f"{place}/{prefix}{path}")
            if found is not None:
                return found
    for package in installed_packages(places):
        if package.name in full_names(name):
            return package.file
    return None


def full_names(name: str) -> tuple[str, str]:
    """Return what a package may be called that a user calls so: `gpkg.hello` is `hello` for short."""
    return name, f"{_GUILD_PREFIX}{name}"


def installed_packages(places: list[str]) -> list[Package]:
    """Return the packages that announce a project file, by name; the first of a name counts."""
    found: dict[str, str] = {}
    for place in places:
        for name in _names(place):
            if name.endswith((".dist-info", ".egg-info")):
                for package in _announced(place, f"{place}/{name}"):
                    found.setdefault(package.name, package.file)
    return [Package(name, found[name]) for name in sorted(found)]


def _announced(place: str, info: str) -> Iterator[Package]:
    try:
        with open(f"{info}/entry_points.txt", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return
    if "reenact.packages" not in text and "guild.models" not in text:
        return
    group = None
    for line in text.splitlines():
        if (match := _GROUP.match(line)) is not None:
            group = match[1]
            if group == "guild.models":
                yield from _guild_files(place, info)
        elif group == "reenact.packages" and "=" in line:
            name, _, module = (part.strip() for part in line.partition("="))
            path = project_file_in(f"{place}/{module.partition(':')[0].replace('.', '/')}")
            if path is not None:
                yield Package(name, path)


def _guild_files(place: str, info: str) -> Iterator[Package]:
    for record in ("RECORD", "SOURCES.txt"):
        try:
            with open(f"{info}/{record}", encoding="utf-8", errors="replace") as file:
                paths = [line.partition(",")[0].strip() for line in file]
        except OSError:
            continue
        for path in paths:
            directory, _, name = path.rpartition("/")
            # A project in which its package was built lists its own file as `./guild.yml`.
            is_package = name == "guild.yml" and directory not in ("", ".")
            if is_package and os.path.isfile(f"{place}/{path}"):
                yield Package(directory.replace("/", "."), f"{place}/{path}")
        return


def _prefix(env: Mapping[str, str]) -> str | None:
    from reenact.errors import CannotRun
    from reenact.project.operation import find_python

    try:
        return os.path.dirname(os.path.dirname(find_python(env, None)))
    except CannotRun:
        return None


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
