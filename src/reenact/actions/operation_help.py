"""Say what an operation is and what it lets its user set."""

from __future__ import annotations

import os
from typing import NamedTuple

import msgspec

from reenact.actions.context import Context
from reenact.actions.operation_flags import MergedFlag, detected_flags, merge_flags
from reenact.actions.operations import (
    Offered,
    find_operation,
    find_operation_by_part,
    nearest_operation,
)
from reenact.actions.resources.requirements import requirement_flags
from reenact.errors import CannotRun, ReenactError
from reenact.model.flags import FlagSet
from reenact.project.find_flags import find_flags
from reenact.project.operation import resolve_module, resolve_script
from reenact.snapshot.project_root import find_root


class OperationHelp(NamedTuple):
    """An operation and its flags.

    Attributes:
        flags: all that can be set.
        offered: what the project file says; None for a script or module.
        merged: the same flags with what file and script say of each, for a project's operation.
    """

    name: str
    flags: FlagSet
    offered: Offered | None = None
    merged: tuple[MergedFlag, ...] = ()


def describe_operation(context: Context, name: str, *, is_module: bool = False) -> OperationHelp:
    """Find the flags of an operation, script or module without running it.

    An operation of the project file counts more than a script of the same name.

    Raises:
        CannotRun: there is neither an operation nor a script of that name.
        BadProjectFile: the project file cannot be used, and there is no such script.
    """
    root = context.root.path
    if is_module:
        return OperationHelp(name, find_flags(resolve_module(name, context.directory, root), root))
    try:
        offered = find_operation(context, name)
    except ReenactError:
        # A script can be run beside a project file that is being edited.
        if not os.path.isfile(os.path.join(context.directory, name)):
            raise
        offered = None
    if offered is not None:
        return describe(offered)
    try:
        target = resolve_script(name, context.directory)
    except CannotRun as error:
        offered = find_operation_by_part(context, name)
        if offered is not None:
            return describe(offered)
        close = nearest_operation(context, name)
        if close is None:
            raise
        raise CannotRun(
            f"there is neither an operation nor a script `{name}`",
            hint=f"did you mean `{close}`? `reenact ops` lists operations",
        ) from error
    assert target.script is not None
    script = os.path.realpath(target.script)
    if not script.startswith(f"{root}/"):
        root = find_root(os.path.dirname(script), context.home).path
    return OperationHelp(name, find_flags(target, root))


def describe(offered: Offered) -> OperationHelp:
    """Return all that can be set in an operation of a project file."""
    found = detected_flags(offered)
    merged = merge_flags(offered.definition, found)
    own = tuple(one.flag for one in merged)
    required = requirement_flags(offered.definition.requires, [flag.name for flag in own])
    flags = (*own, *required)
    open_ended = found.open_ended and not flags
    joined = msgspec.structs.replace(found, flags=flags, open_ended=open_ended)
    return OperationHelp(offered.name, joined, offered, merged)
