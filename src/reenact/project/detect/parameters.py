"""One parameter of a command line, on its way from a framework's declaration to a `Flag`."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from reenact.model.flags import (
    Flag,
    FlagSet,
    FlagType,
    FlagValue,
    Option,
    Positional,
    Subcommand,
    type_of,
)
from reenact.project.detect.evaluate import NotConstant
from reenact.project.detect.values import (
    MISSING,
    EnumMember,
    External,
    Value,
    flag_value,
)

Path = tuple[str, ...]

_TYPES = {
    "builtins.int": FlagType.INT,
    "builtins.float": FlagType.FLOAT,
    "builtins.str": FlagType.STRING,
    "builtins.bool": FlagType.BOOL,
    "pathlib.Path": FlagType.PATH,
    "pathlib.PurePath": FlagType.PATH,
    "pathlib.PosixPath": FlagType.PATH,
    "os.PathLike": FlagType.PATH,
    "numpy.float32": FlagType.FLOAT,
    "numpy.float64": FlagType.FLOAT,
    "numpy.int32": FlagType.INT,
    "numpy.int64": FlagType.INT,
}


def type_named(value: Value) -> FlagType | None:
    """Return the flag type that a well-known type stands for."""
    return _TYPES.get(value.name) if isinstance(value, External) else None


def default_of(value: Value, source: str | None) -> tuple[FlagValue, str | None]:
    """Return a default as `Flag.default` and `Flag.default_source` have it."""
    if value is MISSING:
        return None, None
    try:
        return flag_value(value), None
    except NotConstant:
        return None, source or "?"


def choices_of(value: Value) -> tuple[FlagValue, ...] | None:
    """Return what a flag may be set to, None if that is anything or cannot be known."""
    if isinstance(value, dict):
        value = list(value)
    if isinstance(value, set):
        value = sorted(value, key=str)
    if not isinstance(value, list | tuple) or len(value) > 500:
        return None
    try:
        return tuple(flag_value(_enum_text(item)) for item in value)
    except NotConstant:
        return None


def _enum_text(item: Value) -> Value:
    return item.value if isinstance(item, EnumMember) else item


def type_of_default(value: FlagValue) -> FlagType:
    """Return what a default's own type says about its flag: nothing if it is a list."""
    return FlagType.ANY if isinstance(value, list) else type_of(value)


def free_type(default: FlagValue) -> FlagType:
    """Return the type of a flag whose text the script reads by rules of its own.

    Its text is kept as typed, unless the default is a number or a list: then values are read as
    such, so that runs can be compared by them.
    """
    if isinstance(default, int | float) and not isinstance(default, bool):
        return FlagType.ANY
    return FlagType.ANY if isinstance(default, list | dict) else FlagType.STRING


def text_or_none(value: Value) -> str | None:
    """Return a help text on one line."""
    return " ".join(value.split()) or None if isinstance(value, str) else None


def other_spellings(name: str, *more: str | None) -> tuple[str, ...]:
    """Return further names for a flag: those given, with dashes and with underscores."""
    found: dict[str, None] = {}
    for item in (name, *more):
        if item is not None:
            found.setdefault(item)
            found.setdefault(item.replace("-", "_"))
            found.setdefault(item.replace("_", "-"))
    found.pop(name)
    return tuple(found)


def finish(
    kind: str, flags: Iterable[Flag], *, open_ended: bool, remarks: Iterable[str]
) -> FlagSet:
    """Make a flag set in which every name means one flag."""
    named = _separate(_unique(flags))
    taken = {flag.name for flag in named}
    finished: list[Flag] = []
    for flag in named:
        aliases = tuple(alias for alias in dict.fromkeys(flag.aliases) if alias not in taken)
        taken.update(aliases)
        finished.append(
            flag if aliases == flag.aliases else msgspec.structs.replace(flag, aliases=aliases)
        )
    return FlagSet(
        kind=kind,
        flags=tuple(finished),
        open_ended=open_ended,
        remarks=tuple(dict.fromkeys(remarks)),
    )


def path_of(flag: Flag) -> Path:
    """Return the subcommands after which a flag stands."""
    binding = flag.binding
    return binding.subcommand if isinstance(binding, Option | Positional | Subcommand) else ()


def _unique(flags: Iterable[Flag]) -> list[Flag]:
    """Keep the first of flags with one name at one level (declared in two branches of a test)."""
    seen: dict[tuple[str, Path], Flag] = {}
    for flag in flags:
        seen.setdefault((flag.name, path_of(flag)), flag)
    return list(seen.values())


def _separate(flags: list[Flag]) -> list[Flag]:
    """Prefix names that several subcommands have: `train.lr`, `test.lr`."""
    counts: dict[str, int] = {}
    for flag in flags:
        counts[flag.name] = counts.get(flag.name, 0) + 1
    separated = []
    for flag in flags:
        path = path_of(flag)
        if counts[flag.name] > 1 and path:
            prefix = ".".join(path)
            aliases = tuple(f"{prefix}.{alias}" for alias in flag.aliases)
            flag = msgspec.structs.replace(flag, name=f"{prefix}.{flag.name}", aliases=aliases)
        separated.append(flag)
    return separated


class Parameters:
    """Collects the flags of one command line, level by level of its subcommands."""

    def __init__(self) -> None:
        self.flags: list[Flag] = []
        self._positionals: dict[Path, int] = {}

    def next_position(self, path: Path) -> int:
        """Return the index of the next positional at a level."""
        index = self._positionals.get(path, 0)
        self._positionals[path] = index + 1
        return index
