"""Find what takes the flags of a project file's operation: where its `flags-dest` says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from reenact.model.flags import Flag, FlagSet, Global
from reenact.model.paths import path_to_text
from reenact.model.run import OperationKind
from reenact.project.defined_target import is_no_op
from reenact.project.file.model import FlagsDest, FlagsKind, OperationDef
from reenact.project.find_flags import find_flags, with_named
from reenact.project.given_arguments import without_given
from reenact.project.operation import Target
from reenact.store.files import read_file

if TYPE_CHECKING:
    from reenact.project.detect.source import Source


def find_defined_flags(
    definition: OperationDef, target: Target, root: str, config: tuple[bytes, str] | None
) -> FlagSet:
    """Find out which flags an operation takes, without running it.

    Args:
        definition: the operation.
        target: what it runs.
        root: the project's root.
        config: content and path of the configuration file that flags go to, if they do.

    Raises:
        CannotRun: the configuration file cannot be understood.
    """
    dest = definition.flags_dest
    if config is not None:
        from reenact.project.dest_config import config_flags

        return FlagSet(kind="config", flags=tuple(config_flags(*config)))
    if definition.exec is not None:
        return FlagSet(kind="template")
    if target.kind is OperationKind.NOTEBOOK:
        return find_flags(target, root)
    if dest is None:
        if is_no_op(target):
            return FlagSet(kind="args")
        found = _of_command_line(target, root)
        return with_named(found, _names(definition), target, root)
    if dest.kind is FlagsKind.NONE:
        return FlagSet(kind="none")
    if dest.kind is FlagsKind.ARGS:
        found = _of_command_line(target, root)
        return FlagSet(kind="args") if found.kind in ("globals", "none") else found
    return _find_assigned(dest, _names(definition), target, root, definition)


def _of_command_line(target: Target, root: str) -> FlagSet:
    """Find flags, but those that the arguments of `main` set already."""
    found = find_flags(target, root)
    # The module's name stands behind `-m`, the script's at the beginning.
    return without_given(found, target.words[2 if target.words[:1] == ("-m",) else 1 :])


def _names(definition: OperationDef) -> set[str]:
    """Return what the file calls flags, by the names that the script may know."""
    defined = {flag.arg_name or flag.name for flag in definition.flags}
    return defined | {flag.name for flag in definition.flags} | {*definition.flags_import_names}


def _find_assigned(
    dest: FlagsDest,
    names: set[str],
    target: Target,
    root: str,
    definition: OperationDef | None = None,
) -> FlagSet:
    """Find literals at module level, whatever command line the script may have.

    Args:
        dest: where they are.
        names: that the file has for flags.
        target: what is run.
        root: the project's root.
        definition: the operation whose flags become entries of a dict that lacks them.
    """
    if target.script is None:
        return FlagSet(kind="none")
    from reenact.project.detect.by_globals import find_globals
    from reenact.project.detect.source import Source, Unreadable

    name = path_to_text(os.path.relpath(target.script, root))
    try:
        source = Source(target.script, name, read_file(target.script))
        found = find_globals(source, {f"{dest.name}.{n}" if dest.name else n for n in names})
    except Unreadable as error:
        return FlagSet(kind="none", remarks=(str(error),))
    if dest.kind is not FlagsKind.GLOBALS:
        prefix = f"{dest.name}."
        found = [
            msgspec.structs.replace(flag, name=flag.name.removeprefix(prefix))
            for flag in found
            if flag.name.startswith(prefix)
        ]
        found += _missing(definition, found, source, dest)
        if not found:
            remark = f"{name}: no `{dest.name}` whose values are literals is assigned once"
            return FlagSet(kind="globals", remarks=(remark,))
    return FlagSet(kind="globals", flags=tuple(found))


def _missing(
    definition: OperationDef | None, found: list[Flag], source: Source, dest: FlagsDest
) -> list[Flag]:
    """Return flags of the file that a dict or namespace has no entry for, each with a place for one."""
    from blake3 import blake3

    from reenact.project.detect.by_globals import find_openings

    known = {flag.name for flag in found}
    flags = [] if definition is None else definition.flags
    names = [flag.arg_name or flag.name for flag in flags]
    names = [name for name in names if name not in known]
    openings = find_openings(source, dest.name or "") if names else {}
    missing = []
    for name in names:
        keys = tuple(name.split("."))
        # As deep as there are dicts; what is left of the name is put in.
        depth = next((d for d in range(len(keys) - 1, -1, -1) if keys[:d] in openings), None)
        opening = None if depth is None else openings[keys[:depth]]
        rest = keys[depth:]
        if opening is None or name in known or rest[0] in opening.keys:
            continue
        if opening.is_keyword and (len(rest) > 1 or not rest[0].isidentifier()):
            continue
        known.add(name)
        binding = Global(
            file=source.name,
            start=opening.at,
            end=opening.at,
            digest=blake3(source.content).hexdigest(),
            missing=rest,
            is_keyword=opening.is_keyword,
        )
        missing.append(Flag(name=name, binding=binding))
    return missing
