"""The operations and models that a directory offers: its project file's, and installed packages'."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from reenact.actions.context import Context
from reenact.errors import ReenactError
from reenact.project.file.find import load_project
from reenact.project.file.model import LoadedProject, ModelDef, OperationDef
from reenact.project.file.packages import installed_packages, search_path
from reenact.project.flag_text import nearest


class Offered(NamedTuple):
    """An operation and where it comes from.

    Attributes:
        project: the file that defines it, and its directory.
        package: name of the installed package; None for the project's own.
    """

    definition: OperationDef
    project: LoadedProject
    package: str | None = None

    @property
    def name(self) -> str:
        """What the user calls it: `train`, `cnn:train`, `package/cnn:train`."""
        name = self.definition.full_name
        return name if self.package is None else f"{self.package}/{name}"


class OfferedModel(NamedTuple):
    """A model and where it comes from."""

    definition: ModelDef
    project: LoadedProject
    package: str | None = None

    @property
    def name(self) -> str:
        """What the user calls it; empty for the project's model without a name."""
        name = self.definition.name
        return name if self.package is None else f"{self.package}/{name}"


class Packages(NamedTuple):
    """Project files of installed packages, and those that cannot be read: a sentence each."""

    projects: dict[str, LoadedProject]
    problems: tuple[str, ...]


def project_of(context: Context) -> LoadedProject | None:
    """Return the project file of a directory's project; None if it has none.

    Raises:
        BadProjectFile: it cannot be used.
    """
    return load_project(context.root.path, context.env)


def packages_of(context: Context) -> Packages:
    """Return the project files of packages in the environment that a run would have."""
    projects: dict[str, LoadedProject] = {}
    problems = []
    for package in installed_packages(search_path(context.env, context.root.path)):
        try:
            loaded = load_project(os.path.dirname(package.file), context.env)
        except ReenactError as error:
            problems.append(f"package `{package.name}` cannot be used: {error.message}")
            continue
        if loaded is not None:
            projects[package.name] = loaded
    return Packages(projects, tuple(problems))


def list_operations(
    project: LoadedProject | None,
    packages: dict[str, LoadedProject],
    *,
    matching: str | None = None,
    private: bool = False,
) -> list[Offered]:
    """Return operations: the project's in the order of its file, then those of packages.

    Args:
        project: the project's file, if it has one.
        packages: others by name.
        matching: only those whose name contains this text, in any case.
        private: those too whose names begin with an underscore.
    """
    found = list(_offered(project, packages))
    if not private:
        found = [offered for offered in found if not offered.definition.is_private]
    if matching is not None:
        found = [offered for offered in found if matching.lower() in offered.name.lower()]
    return found


def list_models(
    project: LoadedProject | None,
    packages: dict[str, LoadedProject],
    *,
    matching: str | None = None,
) -> list[OfferedModel]:
    """Return models as `list_operations` returns operations."""
    found = []
    if project is not None:
        found += [OfferedModel(model, project) for model in project.content.models]
    for package, loaded in packages.items():
        found += [OfferedModel(model, loaded, package) for model in loaded.content.models]
    if matching is not None:
        found = [offered for offered in found if matching.lower() in offered.name.lower()]
    return found


def find_operation(context: Context, name: str) -> Offered | None:
    """Return the operation that a name means: `train`, `cnn:train`, `package/train`.

    Raises:
        BadProjectFile: the project's file cannot be used.
    """
    project = project_of(context)
    if project is not None:
        found = project.content.find_operation(name)
        if found is not None:
            return Offered(found, project)
    package, slash, rest = name.partition("/")
    if not slash:
        return None
    loaded = packages_of(context).projects.get(package)
    found = None if loaded is None else loaded.content.find_operation(rest)
    return None if loaded is None or found is None else Offered(found, loaded, package)


def nearest_operation(context: Context, name: str) -> str | None:
    """Return the operation that a name that there is not most likely means."""
    project = project_of(context)
    return nearest(name, [offered.name for offered in _offered(project, {})])


def _offered(
    project: LoadedProject | None, packages: dict[str, LoadedProject]
) -> Iterator[Offered]:
    if project is not None:
        for definition in project.content.operations:
            yield Offered(definition, project)
    for package, loaded in packages.items():
        for definition in loaded.content.operations:
            yield Offered(definition, loaded, package)
