"""Say what an operation lets its user set."""

from __future__ import annotations

import os
from typing import NamedTuple

from reenact.actions.context import Context
from reenact.actions.plan import find_flags
from reenact.model.flags import FlagSet
from reenact.project.operation import resolve_module, resolve_script
from reenact.snapshot.project_root import find_root


class OperationHelp(NamedTuple):
    """An operation and its flags."""

    name: str
    flags: FlagSet


def describe_operation(context: Context, name: str, *, is_module: bool = False) -> OperationHelp:
    """Find the flags of a script or module without running it.

    Raises:
        CannotRun: there is no such script.
    """
    root = context.root.path
    if is_module:
        target = resolve_module(name, context.directory, root)
    else:
        target = resolve_script(name, context.directory)
        assert target.script is not None
        script = os.path.realpath(target.script)
        if not script.startswith(f"{root}/"):
            root = find_root(os.path.dirname(script), context.home).path
    return OperationHelp(name, find_flags(target, root))
