"""Find the flags of scripts and notebooks without running them."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import msgspec

from reenact.model.flags import Flag, FlagSet, FlagType, Global, Template
from reenact.model.paths import path_to_text
from reenact.model.run import OperationKind
from reenact.project.operation import Target
from reenact.store.files import read_file


def with_named(found: FlagSet, names: Collection[str], target: Target, root: str) -> FlagSet:
    """Add literals of a script that somebody calls flags, though the script binds them again.

    Args:
        found: the flags that were found without that.
        names: what is called a flag.
        target: the script.
        root: the project's root.
    """
    names = {name for name in names if found.find(name) is None}
    if found.kind not in ("globals", "none") or not names or target.script is None:
        return found
    from reenact.project.detect.by_globals import find_globals
    from reenact.project.detect.source import Source, Unreadable

    try:
        path = path_to_text(os.path.relpath(target.script, root))
        literals = find_globals(Source(target.script, path, read_file(target.script)), names)
    except Unreadable:
        return found
    added = tuple(flag for flag in literals if flag.name in names)
    if not added:
        return found
    return msgspec.structs.replace(found, kind="globals", flags=(*found.flags, *added))


def as_a_number(flag: Flag) -> Flag:
    """Let a literal be any number: that of the script, or of a configuration file, is an example."""
    is_literal = isinstance(flag.binding, Global | Template)
    if flag.type is FlagType.INT and is_literal:
        return msgspec.structs.replace(flag, type=FlagType.NUMBER)
    return flag


def find_flags(target: Target, root: str) -> FlagSet:
    """Find the flags of a Python script or a notebook; others have none that we know."""
    if target.kind is OperationKind.NOTEBOOK and target.script is not None:
        return _find_notebook_flags(target.script, root)
    if not target.is_python or target.script is None:
        return FlagSet(kind="none", open_ended=target.kind is not OperationKind.COMMAND)
    from reenact.project.detect import detect

    module = target.name if target.kind is OperationKind.MODULE else None
    return detect(Path(target.script), Path(root), module=module)


def _find_notebook_flags(path: str, root: str) -> FlagSet:
    from reenact.project.notebook import find_notebook_flags, read_notebook

    content = read_file(path)
    name = path_to_text(os.path.relpath(path, root))
    notebook = read_notebook(content, name)
    if notebook.language != "python":
        return FlagSet(kind="none", open_ended=True)
    return find_notebook_flags(notebook, content, name)
