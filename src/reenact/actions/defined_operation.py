"""Find out what an operation of a project file runs and which flags it has: what all its runs share."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import msgspec

from reenact.errors import (
    CannotRun,
    UsageError,
)
from reenact.model.flags import Flag, FlagSet, FlagValue
from reenact.project.defined_flags import find_defined_flags
from reenact.project.defined_target import defined_target
from reenact.project.file.model import (
    FlagDef,
    FlagsKind,
    OperationDef,
)
from reenact.project.merged_flags import MergedFlag, merge_flags, merged_set, stands_for_several
from reenact.project.operation import Target
from reenact.store.files import read_file


class Defined(NamedTuple):
    """An operation of a project file, with all that its runs have in common.

    Attributes:
        file: of the project, relative to its root, or absolute.
        root: the project's root.
        merged: its flags.
        detected: the flags that were found in what it runs.
        module_path: where Python must look for modules, absolute.
        config: path of the configuration file that flags go to, relative to the root.
        without_place: flags that have no value there.
        name: what the user calls it.
        package: the installed package that has it.
        memory: what was found out about requirements and holds for all its runs.
        remarks: what the reader of a run must know.
    """

    definition: OperationDef
    file: str
    root: str
    target: Target
    merged: tuple[MergedFlag, ...]
    detected: FlagSet
    module_path: tuple[str, ...] = ()
    config: str | None = None
    without_place: frozenset[str] = frozenset()
    name: str = ""
    package: str | None = None
    remarks: tuple[str, ...] = ()
    memory: dict[Any, Any] = {}  # noqa: RUF012  # `define` gives each its own

    @property
    def flags(self) -> FlagSet:
        """The flags that can be set, those that choose what is required among them."""
        own = merged_set(self.merged, self.detected)
        required = self.requirement_flags
        return msgspec.structs.replace(own, flags=(*own.flags, *required)) if required else own

    @property
    def requirement_flags(self) -> tuple[Flag, ...]:
        """The flags that say what to take instead of what is required, and nothing else."""
        if not self.definition.requires:
            return ()
        from reenact.actions.resources.requirements import requirement_flags

        return requirement_flags(self.definition.requires, [one.flag.name for one in self.merged])

    @property
    def definitions(self) -> dict[str, FlagDef]:
        """What the file says of flags."""
        return {one.flag.name: one.definition for one in self.merged if one.definition is not None}

    def defaults_for_many(self) -> dict[str, FlagValue]:
        """Return the defaults that stand for several values, or for a space to search."""
        return {
            one.flag.name: one.flag.default
            for one in self.merged
            if one.definition is not None
            and stands_for_several(one.flag, one.definition)
            and not str(one.flag.default).startswith("${")
        }


def define(
    definition: OperationDef,
    file: str,
    root: str,
    cwd: str,
    *,
    read_root: str | None = None,
) -> Defined:
    """Find out what an operation runs and which flags it has, without running it.

    Args:
        definition: the operation.
        file: in which it is defined.
        root: the project's root.
        cwd: the directory it runs in, absolute.
        read_root: where the project's files are read: another one for source of another time.

    Raises:
        CannotRun: what it runs is not there.
        UsageError: it cannot be understood.
    """
    read_root = read_root or root
    here = os.path.normpath(f"{read_root}/{os.path.relpath(cwd, root)}")
    target, module_path = defined_target(definition, read_root, here, outside=root)
    config = _config_of(definition, root, read_root)
    path = None if config is None else config[1]
    detected = find_defined_flags(definition, target, read_root, config)
    if target.script is not None:
        target = target._replace(script=_moved(target.script, read_root, root))
    merged = merge_flags(definition, detected)
    return Defined(
        definition=definition,
        file=file,
        root=root,
        target=target,
        merged=merged,
        detected=detected,
        module_path=tuple(_moved(place, read_root, root) for place in module_path),
        config=path,
        without_place=frozenset(() if config is None else _without_place(merged, *config)),
        name=definition.full_name,
        memory={},
    )


def _moved(path: str, here: str, there: str) -> str:
    """Return where a path inside one directory is inside another one; others stay."""
    if path != here and not path.startswith(f"{here}/"):
        return path
    return os.path.normpath(f"{there}/{os.path.relpath(path, here)}")


def _without_place(merged: tuple[MergedFlag, ...], content: bytes, path: str) -> list[str]:
    """Return the flags of a file that have no value in the configuration file."""
    from reenact.project.dest_config import has_key

    return [
        one.flag.name
        for one in merged
        if one.detected is None
        and one.definition is not None
        and not has_key(content, path, one.definition.arg_name or one.flag.name)
    ]


def _config_of(definition: OperationDef, root: str, read_root: str) -> tuple[bytes, str] | None:
    """Return content and path of the configuration file that flags go to."""
    dest = definition.flags_dest
    if dest is None or dest.kind is not FlagsKind.CONFIG:
        return None
    assert dest.name is not None
    relative = os.path.normpath(os.path.join(definition.base, dest.name))
    if os.path.isabs(relative) or relative.startswith(".."):
        raise UsageError(
            f"{dest.place}: `{dest.name}` is outside the project: a run gets no copy of it"
        )
    for place in dict.fromkeys((read_root, root)):
        try:
            return read_file(f"{place}/{relative}"), relative
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CannotRun(
                f"{dest.place}: `{dest.name}` cannot be read: {error.strerror}"
            ) from None
    raise CannotRun(f"{dest.place}: there is no configuration file `{dest.name}`")
