"""The operations and models that a directory offers: its project file's, and installed packages'."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from reenact.actions.context import Context
from reenact.errors import ReenactError, UsageError
from reenact.project.file.find import load_project, refusal
from reenact.project.file.model import LoadedProject, ModelDef, OperationDef
from reenact.project.file.packages import full_names, installed_packages, search_path
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

    @property
    def problem(self) -> str | None:
        """Why it cannot be run: the first error in it."""
        errors = self.project.broken.get(self.definition.full_name)
        return None if not errors else str(errors[0])


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


def listed_packages(
    context: Context, project: LoadedProject | None, *, installed: bool
) -> Packages:
    """Return the packages that belong into a list beside the project: none, if it is not asked for."""
    return packages_of(context) if installed or project is None else Packages({}, ())


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
    private: bool = False,
) -> list[OfferedModel]:
    """Return models as `list_operations` returns operations."""
    found = []
    if project is not None:
        found += [OfferedModel(model, project) for model in project.content.models]
    for package, loaded in packages.items():
        found += [OfferedModel(model, loaded, package) for model in loaded.content.models]
    if not private:
        found = [offered for offered in found if not offered.definition.name.startswith("_")]
    if matching is not None:
        found = [offered for offered in found if matching.lower() in offered.name.lower()]
    return found


def find_operation(context: Context, name: str) -> Offered | None:
    """Return the operation that a name means: `train`, `cnn:train`, `package/train`.

    Raises:
        BadProjectFile: the project's file or this operation of it cannot be used.
    """
    project = project_of(context)
    if project is not None:
        found = project.content.find_operation(name)
        if found is not None:
            return usable(Offered(found, project))
    package, slash, rest = name.partition("/")
    if not slash:
        return None
    projects = packages_of(context).projects
    for full in full_names(package):
        loaded = projects.get(full)
        if loaded is not None and (found := loaded.content.find_operation(rest)) is not None:
            return usable(Offered(found, loaded, full))
    return None


def find_operation_by_part(context: Context, name: str) -> Offered | None:
    """Return the operation that a name which no operation has leaves no doubt about.

    `intro:train` is `mnist-intro:train` while no other model's name has `intro` in it, and an
    operation of an installed package while the project has none that it could be.

    Raises:
        UsageError: there are several.
    """
    project = project_of(context)
    own = [offered for offered in _offered(project, {}) if _is_part(name, offered)]
    installed = [] if own else list(_offered(None, packages_of(context).projects))
    exact = [offered for offered in installed if offered.definition.full_name == name]
    for found in (own, exact, [offered for offered in installed if _is_part(name, offered)]):
        public = [offered for offered in found if not offered.definition.is_private]
        if len(public) > 1:
            listed = ", ".join(f"`{offered.name}`" for offered in public)
            raise UsageError(f"`{name}` may be several operations", hint=f"say which: {listed}")
        if public:
            return usable(public[0])
    return None


def usable(offered: Offered) -> Offered:
    """Return an operation that can be run.

    Raises:
        BadProjectFile: there are errors in it.
    """
    errors = offered.project.broken.get(offered.definition.full_name)
    if errors:
        raise refusal(errors)
    return offered


def _is_part(name: str, offered: Offered) -> bool:
    model, colon, operation = name.rpartition(":")
    definition = offered.definition
    return bool(colon and model) and definition.name == operation and model in definition.model


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
