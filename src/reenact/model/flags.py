"""Flags: what an operation lets its user set, and how a value reaches the script."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import msgspec

FlagValue: TypeAlias = bool | int | float | str | list["FlagValue"] | dict[str, "FlagValue"] | None
"""What a flag can hold. Floats may be NaN or infinite."""


class FlagType(StrEnum):
    """What a flag's values are. `ANY` takes whatever the text of a value reads as."""

    INT = "int"
    FLOAT = "float"
    NUMBER = "number"
    """An integer or a fraction, as it is written."""
    BOOL = "bool"
    STRING = "string"
    PATH = "path"
    LIST = "list"
    ANY = "any"


_TYPES = {
    bool: FlagType.BOOL, int: FlagType.INT, float: FlagType.FLOAT, str: FlagType.STRING,
    list: FlagType.LIST,
}  # fmt: skip


def type_of(value: FlagValue) -> FlagType:
    """Return the type of a flag that has this value; `ANY` for none and for a mapping."""
    return _TYPES.get(type(value), FlagType.ANY)


class Action(StrEnum):
    """What an option on the command line does when it is given."""

    STORE = "store"
    """`--lr 0.1`: takes one value, or as many as `nargs` says."""
    STORE_TRUE = "store-true"
    STORE_FALSE = "store-false"
    STORE_CONST = "store-const"
    """Present or absent; `const` is the value that it stands for."""
    PAIR = "pair"
    """`--amp` / `--no-amp`: the first option string says yes, `negative` says no."""
    APPEND = "append"
    """One occurrence of the option for every element of the list."""
    COUNT = "count"
    """`-v -v`: as many occurrences as the number says."""


class Option(msgspec.Struct, frozen=True, kw_only=True, tag="option", omit_defaults=True):
    """The flag is an option of the script's command line.

    Attributes:
        option: the option string to use, the longest that the script declares (`--learning-rate`).
        aliases: the others (`--lr`, `-l`).
        nargs: None for one value; a number, `?`, `*` or `+` as in argparse.
        const: what the option stores without a value (STORE_CONST, nargs `?`).
        negative: the option string that says no (PAIR).
        joined: write `--option=value` as one word (absl, and values that begin with a dash).
        subcommand: names of the subcommands after which the option must stand.
    """

    option: str
    aliases: tuple[str, ...] = ()
    action: Action = Action.STORE
    nargs: int | str | None = None
    const: FlagValue = None
    negative: str | None = None
    joined: bool = False
    subcommand: tuple[str, ...] = ()


class Positional(msgspec.Struct, frozen=True, kw_only=True, tag="positional", omit_defaults=True):
    """The flag is a positional argument; `index` orders it among those of its subcommand."""

    index: int
    nargs: int | str | None = None
    subcommand: tuple[str, ...] = ()


class Subcommand(msgspec.Struct, frozen=True, kw_only=True, tag="subcommand", omit_defaults=True):
    """The flag chooses a subcommand; `subcommand` are those that stand before it."""

    subcommand: tuple[str, ...] = ()


class Global(msgspec.Struct, frozen=True, kw_only=True, tag="global"):
    """The flag is a literal in the source, replaced in the run's own copy.

    Attributes:
        file: path of the source file, relative to the project's root.
        start: byte offset of the literal in the file's content.
        end: byte offset just after it.
        digest: BLAKE3 of the file in which the offsets were found.
        missing: the keys of an entry that is put in at `start`, just behind the bracket that opens a
            dict or a call; empty where there is a literal.
        is_keyword: the entry is an argument of a call, `key=value`.
    """

    file: str
    start: int
    end: int
    digest: str
    missing: tuple[str, ...] = ()
    is_keyword: bool = False


class Template(msgspec.Struct, frozen=True, kw_only=True, tag="template"):
    """The flag reaches a program by the words of its command, a variable, or a file: its name is all
    that is known of it.
    """


class Override(msgspec.Struct, frozen=True, kw_only=True, tag="override", omit_defaults=True):
    """The flag is a key of a composed configuration, set by `key=value` on the command line.

    Attributes:
        group: the flag whose choice says which default the key has, or that there is no such key.
        defaults: that default, by choice.
    """

    group: str | None = None
    defaults: dict[str, FlagValue] = {}


Binding: TypeAlias = Option | Positional | Subcommand | Global | Template | Override


class Flag(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One flag that an operation has.

    Attributes:
        name: what the user types, without leading dashes, as the script's author spelled it.
        aliases: other names that are understood for it (`learning_rate` for `learning-rate`).
        default: the value that the script uses when the flag is not set; see `default_source`.
        default_source: source text of a default that is not a literal (`os.getcwd()`), then
            `default` says nothing.
        found: `file:line` where it was found.
        low: the least number that it takes.
        high: the largest one.
        allow_other: values beside the choices are taken too.
        choice_aliases: other words for choices.
        null_label: how null is shown.
        split: the flag takes a list, and text is split into it: `shlex` as a shell does, anything
            else at this separator; None where the flag's kind says how.
        has_several: its default is several values to try, one after the other, or a space to search.
    """

    name: str
    binding: Binding
    type: FlagType = FlagType.ANY
    aliases: tuple[str, ...] = ()
    default: FlagValue = None
    default_source: str | None = None
    required: bool = False
    choices: tuple[FlagValue, ...] | None = None
    help: str | None = None
    found: str | None = None
    low: float | None = None
    high: float | None = None
    allow_other: bool = False
    choice_aliases: dict[str, FlagValue] = {}
    null_label: str | None = None
    split: str | None = None
    has_several: bool = False


class FlagSet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that was found out about a script's flags.

    Attributes:
        kind: how the script takes them: `argparse`, `click`, `typer`, `absl`, `dataclass`,
            `globals`, `template`, `config`, `hydra`, `omegaconf` or `none`.
        open_ended: the script takes arguments that could not be found out (`parse_known_args`,
            a parser built in a loop): an unknown flag is then passed on as `--name value`.
        open_names: how names begin that are passed on although nothing declares them.
        remarks: what could not be understood, a sentence each with `file:line`.
    """

    kind: str
    flags: tuple[Flag, ...] = ()
    open_ended: bool = False
    open_names: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def find(self, name: str) -> Flag | None:
        """Return the flag that `name` means, by its name first, then by an alias."""
        for flag in self.flags:
            if flag.name == name:
                return flag
        for flag in self.flags:
            if name in flag.aliases:
                return flag
        return None
