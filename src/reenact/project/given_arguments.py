"""What the arguments in an operation's `main` say already: nothing of it is left to be set.

`main: train data.csv --epochs 3` takes the first positional of the script; `main: cli fit` chooses a
subcommand, and the flags of others are none of the operation.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reenact.errors import BadFlagValue
from reenact.model.flags import (
    Action,
    Flag,
    FlagSet,
    Option,
    Positional,
    Subcommand,
    Template,
)
from reenact.project.flag_text import convert
from reenact.project.template import names_in

_ALONE = (Action.STORE_TRUE, Action.STORE_FALSE, Action.STORE_CONST, Action.PAIR, Action.COUNT)


def without_given(found: FlagSet, arguments: Sequence[str]) -> FlagSet:
    """Return a script's flags as they are behind these arguments.

    A positional that is given is no flag any more, unless `${name}` of this very name gives it: that
    flag reaches the script by this word alone. An option that is given is not required.

    Args:
        found: the script's flags.
        arguments: in front of those that are written for flags; they may contain `${flag}`.
    """
    if not arguments:
        return found
    path, given = _chosen(found, arguments)
    flags = []
    options, positionals = _split(found, path, given)
    referred = {name for word in arguments for name in names_in(word)}
    for flag in found.flags:
        own = _path(flag)
        if own is None:
            flags.append(flag)
            continue
        if isinstance(flag.binding, Positional) and flag.name in referred:
            flags.append(msgspec.structs.replace(flag, binding=Template()))
            continue
        if own[: len(path)] != path:
            continue
        flag = _behind(flag, path)
        if isinstance(flag.binding, Option) and own == path:
            flag = _with_option(flag, options)
        is_given = isinstance(flag.binding, Positional) and flag.binding.index < len(positionals)
        if not (is_given and own == path):
            flags.append(flag)
    return msgspec.structs.replace(found, flags=tuple(flags))


def _path(flag: Flag) -> tuple[str, ...] | None:
    binding = flag.binding
    return binding.subcommand if isinstance(binding, Option | Positional | Subcommand) else None


def _chosen(found: FlagSet, arguments: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return the subcommands that are chosen, and the arguments behind the last of them."""
    path: tuple[str, ...] = ()
    rest = list(arguments)
    for at, word in enumerate(arguments):
        chooser = next(
            (f for f in found.flags if isinstance(f.binding, Subcommand) and _path(f) == path), None
        )
        if chooser is None:
            break
        if word in (chooser.choices or ()):
            path = (*path, word)
            rest = list(arguments[at + 1 :])
    return path, rest


def _behind(flag: Flag, path: tuple[str, ...]) -> Flag:
    """Return a flag as it is called and bound where these subcommands are chosen."""
    if not path:
        return flag
    own = _path(flag)
    assert own is not None
    assert isinstance(flag.binding, Option | Positional | Subcommand)
    prefix = f"{'.'.join(path)}."
    return msgspec.structs.replace(
        flag,
        name=flag.name.removeprefix(prefix),
        aliases=tuple(alias.removeprefix(prefix) for alias in flag.aliases),
        binding=msgspec.structs.replace(flag.binding, subcommand=own[len(path) :]),
    )


def _split(
    found: FlagSet, path: tuple[str, ...], words: Sequence[str]
) -> tuple[dict[str, list[str]], list[str]]:
    """Take arguments apart: the values of each option, by its strings, and the positionals."""
    known = {
        text: flag.binding
        for flag in found.flags
        if isinstance(flag.binding, Option) and _path(flag) == path
        for text in (flag.binding.option, *flag.binding.aliases, flag.binding.negative)
        if text
    }
    options: dict[str, list[str]] = {}
    positionals = []
    taking: tuple[list[str], int | None] | None = None
    for word in words:
        if word.startswith("-") and not word.removeprefix("-").replace(".", "").isdigit():
            text, equals, value = word.partition("=")
            values = options.setdefault(text, [])
            option = known.get(text)
            if equals:
                values.append(value)
            if equals or option is None or option.action in _ALONE:
                taking = None
                continue
            most = 1 if option.nargs in (None, "?") else option.nargs
            # An option that is given again has values already.
            taking = (values, len(values) + most if isinstance(most, int) else None)
            continue
        if taking is not None:
            taking[0].append(word)
            if taking[1] is not None and len(taking[0]) >= taking[1]:
                taking = None
            continue
        positionals.append(word)
    return options, positionals


def _with_option(flag: Flag, options: dict[str, list[str]]) -> Flag:
    binding = flag.binding
    assert isinstance(binding, Option)
    texts = (binding.option, *binding.aliases)
    given = next((options[text] for text in texts if text in options), None)
    if given is None:
        return flag
    flag = msgspec.structs.replace(flag, required=False)
    if len(given) != 1 or names_in(given[0]):
        return flag
    try:
        value = convert(flag, given[0])
    except BadFlagValue:
        return flag
    return msgspec.structs.replace(flag, default=value, default_source=None)
