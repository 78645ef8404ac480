"""What the user set, against what there is to set: `lr=0.1 epochs=3` becomes flag values."""

from __future__ import annotations

from collections.abc import Mapping

from reenact.errors import BadFlagValue, UnknownFlag, UsageError
from reenact.model.flags import Action, Flag, FlagSet, FlagValue, Option, Override, Subcommand
from reenact.project.flag_text import check_value, nearest, parse_value

_LISTED = 40


def resolve_flags(
    flags: FlagSet,
    settings: Mapping[str, str | FlagValue],
    *,
    force: bool,
    operation: str = "this operation",
) -> tuple[dict[str, FlagValue], dict[str, FlagValue]]:
    """Check settings against the flags that an operation has.

    Text is read as the flag's type says; other values are checked as they are. A flag whose
    default could not be found out, or that belongs to another subcommand, is in neither result
    unless it was given.

    Args:
        flags: what the operation can set.
        settings: name or alias to text or value, in the user's order.
        force: let unknown names and refused values through.
        operation: how messages name the operation.

    Returns:
        What was given and what the script will have (defaults and what was given), by flag name.

    Raises:
        UnknownFlag: a name is not known and there is no way to pass it on.
        BadFlagValue: a value is not of the flag's type or not one of its choices.
        UsageError: a flag is set twice, by two of its names.
    """
    given: dict[str, FlagValue] = {}
    for name, setting in settings.items():
        flag = flags.find(name) or _of_subcommand(flags, name, settings)
        key = name if flag is None else flag.name
        if key in given:
            raise UsageError(f"flag `{key}` is set twice")
        if flag is not None:
            given[key] = _read(flag, setting, force=force)
        elif flags.open_ended or force or name.startswith(flags.open_names):
            given[key] = _pass_on(flags, name, setting, operation)
        else:
            raise _unknown(flags, name, operation)
    return given, _with_defaults(flags, given)


def _of_subcommand(
    flags: FlagSet, name: str, settings: Mapping[str, str | FlagValue]
) -> Flag | None:
    """Return the flag `train.lr` for `lr` where `train` is the subcommand that was chosen."""
    chosen = {settings.get(f.name) for f in flags.flags if isinstance(f.binding, Subcommand)}
    for subcommand in chosen:
        flag = flags.find(f"{subcommand}.{name}") if isinstance(subcommand, str) else None
        if flag is not None:
            return flag
    return None


def _read(flag: Flag, setting: str | FlagValue, *, force: bool) -> FlagValue:
    try:
        return check_value(flag, setting)
    except BadFlagValue:
        if not force:
            raise
    return parse_value(setting) if isinstance(setting, str) else setting


def _pass_on(flags: FlagSet, name: str, setting: str | FlagValue, operation: str) -> FlagValue:
    if flags.kind == "globals":
        raise UnknownFlag(
            f"unknown flag `{name}` for {operation}: its flags are assignments in the source, "
            f"and none assigns `{name}`",
            hint=_hint(flags, name),
        )
    return parse_value(setting) if isinstance(setting, str) else setting


def _unknown(flags: FlagSet, name: str, operation: str) -> UnknownFlag:
    return UnknownFlag(f"unknown flag `{name}` for {operation}", hint=_hint(flags, name))


def _hint(flags: FlagSet, name: str) -> str:
    if not flags.flags:
        return "it has no flags that could be found"
    names = [flag.name for flag in flags.flags]
    for flag in flags.flags:
        if _says_no(flag, name):
            return f"did you mean `{flag.name}=no`? flags are: {_listed(names)}"
    spellings = {alias: flag.name for flag in flags.flags for alias in (flag.name, *flag.aliases)}
    close = nearest(name, spellings) or next((n for n in names if n.endswith(f".{name}")), None)
    if close is None:
        return f"flags are: {_listed(names)}"
    return f"did you mean `{spellings.get(close, close)}`? flags are: {_listed(names)}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")


def _says_no(flag: Flag, name: str) -> bool:
    """Tell whether a name is that of the option that sets the flag to no (`no-cuda`)."""
    binding = flag.binding
    if not isinstance(binding, Option):
        return False
    no = binding.option if binding.action is Action.STORE_FALSE else binding.negative
    return no is not None and no.lstrip("-").replace("_", "-") == name.replace("_", "-")


def _with_defaults(flags: FlagSet, given: Mapping[str, FlagValue]) -> dict[str, FlagValue]:
    chosen = _chosen_subcommands(flags, given)
    resolved = {
        flag.name: flag.default
        for flag in flags.flags
        if flag.name in given or (_has_default(flag) and _is_reached(flag, chosen))
    }
    for flag in flags.flags:
        if isinstance(flag.binding, Override) and flag.binding.group is not None:
            _choose_default(flag.name, flag.binding, resolved, given)
    resolved.update(given)
    return resolved


def _choose_default(
    name: str, key: Override, resolved: dict[str, FlagValue], given: Mapping[str, FlagValue]
) -> None:
    """Give a key the default that goes with what was chosen; it may be none of that choice."""
    assert key.group is not None
    chosen = given.get(key.group, resolved.get(key.group))
    if not isinstance(chosen, str):
        return
    if chosen in key.defaults:
        resolved[name] = key.defaults[chosen]
    else:
        resolved.pop(name, None)


def _has_default(flag: Flag) -> bool:
    return not flag.required and flag.default_source is None


def _is_reached(flag: Flag, chosen: set[tuple[str, ...]]) -> bool:
    path: tuple[str, ...] = getattr(flag.binding, "subcommand", ())
    return not path or path in chosen


def _chosen_subcommands(flags: FlagSet, given: Mapping[str, FlagValue]) -> set[tuple[str, ...]]:
    chosen: set[tuple[str, ...]] = set()
    for flag in flags.flags:
        if isinstance(flag.binding, Subcommand):
            value = given.get(flag.name, flag.default)
            if isinstance(value, str):
                chosen.add((*flag.binding.subcommand, value))
    return chosen
