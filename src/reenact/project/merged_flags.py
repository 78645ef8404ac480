"""The flags of a project file's operation: what the file says of them, joined with what was found.

The file counts more, attribute by attribute. Flags that only the script has follow as `flags-import`
says.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from reenact.errors import BadFlagValue
from reenact.model.flags import (
    Flag,
    FlagSet,
    FlagType,
    FlagValue,
    Override,
    Positional,
    Subcommand,
    Template,
)
from reenact.project.file.model import FlagDef, FlagsImport, OperationDef
from reenact.project.find_flags import as_a_number
from reenact.project.flag_text import check_value, takes_list

_TYPES = {
    "string": FlagType.STRING,
    "int": FlagType.INT,
    "float": FlagType.FLOAT,
    "number": FlagType.NUMBER,
    "boolean": FlagType.BOOL,
    "path": FlagType.PATH,
    "existing-path": FlagType.PATH,
    "auto": FlagType.ANY,
    "list": FlagType.LIST,
}


_SEVERAL = re.compile(r"\$\{|[a-z-]*\[.*\](?:\*[0-9]+)?\Z")


class MergedFlag(NamedTuple):
    """A flag of an operation: what the file says of it, and what its script does.

    Attributes:
        flag: both together; the binding is that of the script, and a `Template` where the script has
            no such flag.
        definition: what the file says, None where the flag is only in the script.
        detected: what was found in the script, None where nothing was.
    """

    flag: Flag
    definition: FlagDef | None
    detected: Flag | None


def merge_flags(definition: OperationDef, found: FlagSet) -> tuple[MergedFlag, ...]:
    """Join what a project file says about flags and what was found.

    Raises:
        BadFlagValue: the file gives a flag a default that its own rules refuse.
    """
    found = msgspec.structs.replace(found, flags=tuple(map(as_a_number, found.flags)))
    merged = []
    used = set()
    for flag in definition.flags:
        # A flag may have another name here than in the script.
        detected = found.find(flag.arg_name) if flag.arg_name is not None else None
        detected = detected or found.find(flag.name)
        if detected is not None:
            used.add(detected.name)
        is_told = definition.flags_import is not FlagsImport.NONE
        is_told = is_told and flag.name not in definition.flags_import_skip
        base = detected
        if detected is not None and not is_told:
            # Its value still goes where the script looks for it; nothing is taken over from there.
            base = Flag(name=detected.name, binding=detected.binding)
        merged.append(MergedFlag(_joined(flag, base), flag, detected))
    others = [flag for flag in found.flags if flag.name not in used]
    merged += [MergedFlag(flag, None, flag) for flag in others if _is_imported(flag, definition)]
    return tuple(merged)


def merged_set(merged: tuple[MergedFlag, ...], found: FlagSet) -> FlagSet:
    """Return the flags as a set; no other flag can be set."""
    flags = tuple(one.flag for one in merged)
    return FlagSet(kind=found.kind, flags=flags, remarks=found.remarks)


def _is_imported(flag: Flag, definition: OperationDef) -> bool:
    names = {flag.name, *flag.aliases}
    if names & set(definition.flags_import_skip):
        return False
    if definition.flags_import is FlagsImport.LISTED:
        return bool(names & set(definition.flags_import_names))
    if definition.flags_import is FlagsImport.ALL:
        return True
    # Without a subcommand or a positional that has no default the script does not start.
    is_needed = flag.required and isinstance(flag.binding, Positional | Subcommand)
    return is_needed and definition.flags_import is FlagsImport.DEFINED


def _joined(flag: FlagDef, detected: Flag | None) -> Flag:
    base = detected or Flag(name=flag.name, binding=Template())
    choices = base.choices
    if flag.choices is not None:
        choices = tuple(choice.value for choice in flag.choices)
    has_default = flag.has_default and flag.default is not None
    required = base.required if flag.required is None else flag.required
    aliases = dict.fromkeys((*flag.aliases, *base.aliases, base.name))
    aliases.pop(flag.name, None)
    if flag.has_default and isinstance(base.binding, Override):
        # It holds whatever is chosen in the script's configuration.
        base = msgspec.structs.replace(base, binding=Override())
    joined = msgspec.structs.replace(
        base,
        name=flag.name,
        type=base.type if flag.type is None else _TYPES[flag.type],
        aliases=tuple(aliases),
        default=flag.default if flag.has_default else base.default,
        default_source=None if flag.has_default else base.default_source,
        required=required and not has_default,
        choices=choices,
        help=flag.description or base.help,
        found=str(flag.place),
        low=flag.min,
        high=flag.max,
        allow_other=flag.allow_other,
        split=flag.arg_split,
        null_label=flag.null_label,
        choice_aliases={
            choice.alias: choice.value for choice in flag.choices or () if choice.alias is not None
        },
    )
    if joined.type is FlagType.BOOL and joined.default in (0, 1):
        # What was found is a digit, as INI files say yes and no.
        joined = msgspec.structs.replace(joined, default=bool(joined.default))
    return _with_fitting_default(joined, flag) if has_default else joined


def _with_fitting_default(joined: Flag, flag: FlagDef) -> Flag:
    """Give a flag the default that a file says; the type that was found gives way to it."""
    if stands_for_several(joined, flag):
        return msgspec.structs.replace(joined, has_several=True)
    try:
        return msgspec.structs.replace(joined, default=_fitting(joined, flag.default))
    except BadFlagValue as error:
        if flag.type is not None or _is_out_of_range(flag):
            raise BadFlagValue(f"{flag.place}: the default of {error.message}") from None
    if flag.choices is not None:
        return joined
    return msgspec.structs.replace(joined, type=FlagType.ANY, choices=None, default=flag.default)


def stands_for_several(joined: Flag, flag: FlagDef) -> bool:
    """Tell whether a default is several values to try, a space to search, or refers to another flag.

    Args:
        joined: the flag.
        flag: what the file says of it.
    """
    if isinstance(flag.default, list):
        return not takes_one_list(joined, flag)
    return isinstance(flag.default, str) and _SEVERAL.match(flag.default) is not None


def takes_one_list(joined: Flag, flag: FlagDef | None) -> bool:
    """Tell whether a list is one value of a flag."""
    return takes_list(joined) or (flag is not None and flag.arg_split is not None)


def _fitting(joined: Flag, default: FlagValue) -> FlagValue:
    # Text stays text, and an alias of a choice counts as the choice.
    if isinstance(default, str) and joined.type is FlagType.ANY:
        return joined.choice_aliases.get(default, default)
    if isinstance(default, list) and joined.type is FlagType.ANY:
        return default
    return check_value(joined, default)


def _is_out_of_range(flag: FlagDef) -> bool:
    value = flag.default
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (flag.min is not None and value < flag.min) or (
        flag.max is not None and value > flag.max
    )
