"""Read flags, and how they reach an operation."""

from __future__ import annotations

from reenact.project.file.keys import CHOICE_KEYS, DISTRIBUTIONS, FLAG_KEYS, FLAG_TYPES
from reenact.project.file.model import (
    ChoiceDef,
    Encoding,
    FlagDef,
    FlagsDest,
    FlagsImport,
    FlagsKind,
)
from reenact.project.file.section import (
    Findings,
    Section,
    describe,
    did_you_mean,
    flag_value,
    truth,
)
from reenact.project.file.yaml import Mapping, Node, Scalar, Sequence

_KINDS = {"dict": "global"}
_NAMED = (FlagsKind.GLOBAL, FlagsKind.NAMESPACE, FlagsKind.CONFIG)


def read_flags(operation: Section) -> tuple[FlagDef, ...]:
    """Return the flags of an operation."""
    flags = operation.mapping("flags")
    if flags is None:
        return ()
    found = [
        _read_flag(name, node, flags.keys[name], operation)
        for name, node in flags.items.items()
        if name != "$include"
    ]
    _check_names(found, operation.findings)
    return tuple(found)


def read_flags_dest(operation: Section) -> FlagsDest | None:
    """Return where flags go: `args`, `globals`, `global:NAME`, `config:PATH` and the like."""
    text = operation.text("flags-dest")
    if text is None:
        return None
    place = operation.node.items["flags-dest"].place
    if truth(operation.node.items["flags-dest"]) is False:
        return FlagsDest(kind=FlagsKind.NONE, place=place)
    word, _, name = text.partition(":")
    try:
        kind = FlagsKind(_KINDS.get(word, word))
    except ValueError:
        known = [*FlagsKind, *_KINDS]
        hint = did_you_mean(word, known)
        if "." in word:
            hint = f"a config file is written `config:{text}`"
        message = f"`flags-dest` of {operation.what} cannot be `{text}`"
        if operation.has("exec"):
            # Flags of a command are in its words: what is wrong here changes nothing.
            operation.findings.warning(place, message, hint)
        else:
            operation.findings.error(place, message, hint)
        return None
    if kind in _NAMED and not name:
        operation.findings.error(place, f"`{word}` needs a name: `{word}:NAME`")
        return None
    return FlagsDest(kind=kind, place=place, name=name or None)


def read_flags_import(operation: Section) -> tuple[FlagsImport, tuple[str, ...]]:
    """Return which flags come from the script, and their names where they are listed.

    Where nothing is said it is those that are described; all, where none is described either.
    """
    node = operation.get("flags-import")
    if node is None:
        described = operation.get("flags")
        is_bare = not isinstance(described, Mapping) or not described.items
        is_bare = is_bare and not operation.has("flags-import")
        return (FlagsImport.ALL if is_bare else FlagsImport.DEFINED), ()
    said = truth(node)
    if said is not None or (isinstance(node, Scalar) and node.text == "all"):
        return (FlagsImport.NONE if said is False else FlagsImport.ALL), ()
    names = operation.texts("flags-import")
    return (FlagsImport.LISTED, names) if names else (FlagsImport.NONE, ())


def _read_flag(name: str, node: Node, key: Scalar, operation: Section) -> FlagDef:
    findings = operation.findings
    if not isinstance(node, Mapping):
        return FlagDef(name=name, place=key.place, default=flag_value(node), has_default=True)
    section = Section(node, FLAG_KEYS, f"flag `{name}` of {operation.what}", findings)
    choices = _read_choices(section)
    flag = FlagDef(
        name=name,
        place=key.place,
        default=flag_value(node.get("default")),
        has_default="default" in node.items,
        description=section.text("description"),
        type=section.one_of("type", FLAG_TYPES),
        required=section.maybe("required"),
        aliases=section.texts("alias"),
        choices=choices,
        allow_other=section.truth("allow-other"),
        arg_name=section.text("arg-name"),
        arg_skip=section.maybe("arg-skip"),
        arg_switch=flag_value(node.get("arg-switch")),
        arg_split=_read_split(section),
        arg_encoding=_read_encoding(section, "arg-encoding"),
        env_name=section.text("env-name"),
        env_encoding=_read_encoding(section, "env-encoding"),
        null_label=section.text("null-label"),
        min=section.number("min"),
        max=section.number("max"),
        distribution=section.one_of("distribution", DISTRIBUTIONS),
        nb_replace=section.pattern("nb-replace"),
    )
    _check_flag(flag, section)
    return flag


def _read_choices(flag: Section) -> tuple[ChoiceDef, ...] | None:
    node = flag.get("choices")
    if node is None:
        return None
    if not isinstance(node, Sequence):
        flag.wrong("choices", "a list")
        return None
    found = []
    for item in node.items:
        if not isinstance(item, Mapping):
            found.append(ChoiceDef(value=flag_value(item), place=item.place))
            continue
        choice = Section(item, CHOICE_KEYS, f"a choice of {flag.what}", flag.findings)
        if not choice.has("value"):
            flag.findings.error(item.place, f"a choice of {flag.what} has no `value`")
            continue
        found.append(
            ChoiceDef(
                value=flag_value(item.get("value")),
                place=item.place,
                description=choice.text("description"),
                alias=choice.text("alias"),
                flags=choice.values("flags"),
            )
        )
    return tuple(found) or None


def _read_split(flag: Section) -> str | None:
    node = flag.get("arg-split")
    if node is None:
        return None
    if not isinstance(node, Scalar):
        flag.wrong("arg-split", "yes, `shlex` or a separator")
        return None
    said = truth(node)
    if said is None:
        return node.text
    return "shlex" if said else None


def _read_encoding(flag: Section, name: str) -> tuple[Encoding, ...]:
    node = flag.mapping(name)
    if node is None:
        return ()
    return tuple(
        Encoding(flag_value(node.keys[key]), flag_value(value)) for key, value in node.items.items()
    )


def _check_flag(flag: FlagDef, section: Section) -> None:
    findings = section.findings
    if flag.min is not None and flag.max is not None and flag.min > flag.max:
        findings.error(section.place("min"), f"`min` of {section.what} is larger than `max`")
    default = flag.default
    if flag.choices is not None and not flag.allow_other and isinstance(default, str | int | float):
        texts = {str(choice.value) for choice in flag.choices}
        texts |= {choice.alias for choice in flag.choices if choice.alias is not None}
        is_known = any(default == choice.value for choice in flag.choices) or str(default) in texts
        # What a search draws from, or refers to, is not a value yet.
        is_value = not (isinstance(default, str) and default[:1] in ("[", "$"))
        if is_value and not is_known:
            node = section.node.items["default"]
            findings.warning(
                node.place,
                f"the default of {section.what} is none of its choices: {describe(node)}",
                did_you_mean(str(default), texts),
            )


def _check_names(flags: list[FlagDef], findings: Findings) -> None:
    names = {flag.name: flag for flag in flags}
    for flag in flags:
        for alias in flag.aliases:
            other = names.get(alias)
            if other is not None and other is not flag:
                findings.error(
                    flag.place, f"`{alias}` is both a flag and an alias of `{flag.name}`"
                )
            names.setdefault(alias, flag)
