"""Flags of `argparse` parsers, and of those that are made like them (configargparse)."""

from __future__ import annotations

import re

import msgspec

from reenact.model.flags import Action, Flag, FlagType, FlagValue, Option, Positional, Subcommand
from reenact.project.detect import evaluate as constants
from reenact.project.detect.evaluate import NotConstant
from reenact.project.detect.parameters import (
    Parameters,
    Path,
    choices_of,
    default_of,
    free_type,
    other_spellings,
    text_or_none,
    type_named,
)
from reenact.project.detect.trace import Trace
from reenact.project.detect.values import (
    MISSING,
    UNKNOWN,
    Class,
    External,
    Instance,
    Method,
    Native,
    Site,
    Value,
    flag_value,
)
from reenact.project.flag_text import parse_value

_SUPPRESS = "==SUPPRESS=="
_NARGS = {"OPTIONAL": "?", "ZERO_OR_MORE": "*", "ONE_OR_MORE": "+", "REMAINDER": "..."}
_ACTIONS = {
    "store_true": Action.STORE_TRUE,
    "store_false": Action.STORE_FALSE,
    "store_const": Action.STORE_CONST,
    "append_const": Action.STORE_CONST,
    "append": Action.APPEND,
    "count": Action.COUNT,
}
_ACTION_CLASSES = {
    "BooleanOptionalAction": Action.PAIR,
    "StoreTrueAction": Action.STORE_TRUE,
    "StoreFalseAction": Action.STORE_FALSE,
    "AppendAction": Action.APPEND,
    "CountAction": Action.COUNT,
}
"""What a class does, by the end of its name or of a base's."""
_IGNORED = ("version", "help")
_MODULES = ("argparse", "configargparse", "simple_parsing", "jsonargparse", "rich_argparse")
_READERS = (
    "parse_args", "parse_known_args", "parse_intermixed_args", "parse_known_intermixed_args",
)  # fmt: skip
_FORMAT = re.compile(r"%(?:\((\w+)\)[a-z]|%)")


def register(trace: Trace) -> None:
    """Teach a trace what argparse's names mean."""
    for module in _MODULES:
        for name in ("ArgumentParser", "ArgParser", "ArgParse"):
            trace.externals[f"{module}.{name}"] = _make
    trace.externals["argparse.FileType"] = _file_type
    for name in ("_ArgumentGroup", "_MutuallyExclusiveGroup"):
        trace.externals[f"argparse.{name}"] = _make_group
    trace.externals["configargparse.get_argument_parser"] = _make


def _file_type(site: Site) -> Value:
    del site
    return External("pathlib.Path")


def _make_group(site: Site) -> Value:
    """Make the foreign half of a local class of groups."""
    owner = site.get("container", 0)
    native = owner.native if isinstance(owner, Instance) else owner
    return Group(native.parser) if isinstance(native, Group) else UNKNOWN


def _make(site: Site) -> Value:
    parser = Parser()
    parser.configure(site)
    site.trace.made.append(parser)
    return parser


class Argument:
    """One `add_argument` call, as it was made."""

    __slots__ = ("at", "names", "owner", "site")

    def __init__(self, names: list[str], site: Site, owner: Group) -> None:
        self.names = names
        self.site = site
        self.owner = owner


class Group(Native):
    """A group of arguments: `add_argument` on it is `add_argument` on its parser."""

    def __init__(self, parser: Parser, *, is_exclusive: bool = False) -> None:
        self.parser = parser
        self.is_exclusive = is_exclusive

    def attribute(self, name: str, trace: Trace) -> Value:
        """Return a method."""
        del trace
        if name == "add_argument":
            return Method(self._add_argument)
        if name == "add_argument_group":
            return Method(self._add_group)
        if name == "add_mutually_exclusive_group":
            return Method(self._add_exclusive_group)
        return self.parser.attribute_of_group(name)

    def _add_group(self, site: Site) -> Value:
        del site
        return Group(self.parser)

    def _add_exclusive_group(self, site: Site) -> Value:
        del site
        return Group(self.parser, is_exclusive=True)

    def _add_argument(self, site: Site) -> Value:
        names = [name for name in site.args if isinstance(name, str)]
        if len(names) < len(site.args) or not site.is_complete:
            if not names:
                self.parser.is_open = True
            site.trace.remark(f"{site.at}: an argument that is put together could not be found out")
        if names or isinstance(site.get("dest"), str):
            self.parser.arguments.append(Argument(names, site, self))
        return UNKNOWN

    def escape(self, site: Site) -> None:
        """Code elsewhere may add arguments to the parser."""
        self.parser.escape(site)


class Parser(Group):
    """An `ArgumentParser`.

    Attributes:
        is_open: it takes arguments that could not be found out.
        reads_rest: it was used by `parse_known_args`.
    """

    kind = "argparse"
    passes_through = True

    def __init__(self) -> None:
        super().__init__(self)
        self.arguments: list[Argument] = []
        self.parents: list[Parser] = []
        self.defaults: dict[str, Value] = {}
        self.commands: Subparsers | None = None
        self.prefixes = "-"
        self.is_open = False
        self.reads_rest = False
        self.dataclasses: list[tuple[Value, Site]] = []

    def configure(self, site: Site) -> None:
        """Take what the constructor is told."""
        prefixes = site.get("prefix_chars")
        if isinstance(prefixes, str) and prefixes:
            self.prefixes = prefixes
        parents = site.get("parents")
        for parent in parents if isinstance(parents, list | tuple) else ():
            native = parent.native if isinstance(parent, Instance) else parent
            if isinstance(native, Parser):
                self.parents.append(native)
            else:
                self._miss_parents(site)
        if parents is UNKNOWN:
            self._miss_parents(site)

    def _miss_parents(self, site: Site) -> None:
        self.is_open = True
        site.trace.remark(f"{site.at}: a parent parser could not be found out")

    def attribute_of_group(self, name: str) -> Value:
        """Return a method that only parsers have."""
        if name in _READERS:
            return Method(lambda site: self._read(site, is_partial="known" in name))
        methods = {
            "add_subparsers": self._add_subparsers,
            "set_defaults": self._set_defaults,
            "get_default": self._get_default,
            "add_arguments": self._add_dataclass,
            "__init__": self._initialise,
        }
        return Method(methods[name]) if name in methods else UNKNOWN

    def _initialise(self, site: Site) -> Value:
        self.configure(site)
        return None

    def _read(self, site: Site, *, is_partial: bool) -> Value:
        words = site.get("args", 0, None)
        if isinstance(words, list | tuple):
            return UNKNOWN  # not the command line
        self.reads_rest = is_partial
        if is_partial:
            site.trace.note_use(self)
            return UNKNOWN, UNKNOWN
        return site.trace.use(self)

    def _set_defaults(self, site: Site) -> Value:
        self.defaults.update(site.kwargs)
        return None

    def _get_default(self, site: Site) -> Value:
        name = site.get("dest", 0)
        return self.defaults.get(name, UNKNOWN) if isinstance(name, str) else UNKNOWN

    def _add_subparsers(self, site: Site) -> Value:
        self.commands = Subparsers(self, site)
        return self.commands

    def _add_dataclass(self, site: Site) -> Value:
        """simple_parsing's `add_arguments(Options, dest="options")`."""
        self.dataclasses.append((site.get("dataclass", 0), site))
        return UNKNOWN

    def escape(self, site: Site) -> None:
        """Code elsewhere may add arguments to the parser."""
        if not self.is_open:
            self.is_open = True
            site.trace.remark(f"{site.at}: arguments added by other code could not be found out")

    @property
    def open_ended(self) -> bool:
        """Whether the parser may take arguments that were not found."""
        commands = self.commands.parsers.values() if self.commands else ()
        return (
            self.is_open
            or any(parent.open_ended for parent in self.parents)
            or any(command.open_ended for command in commands)
        )

    def collect(self, found: Parameters, path: Path = ()) -> None:
        """Add the parser's flags, and those of its subcommands."""
        first = len(found.flags)
        for argument in self.all_arguments():
            self._collect(argument, found, path)
        found.flags[first:] = _paired(found.flags[first:])
        if self.dataclasses:
            from reenact.project.detect.by_dataclass import collect_simple_parsing

            collect_simple_parsing(self.dataclasses, found)
        if self.commands is not None:
            self.commands.collect(found, path, self.all_defaults())

    def all_arguments(self) -> list[Argument]:
        """Return the arguments of the parser, those of its parents first."""
        inherited = [a for parent in self.parents for a in parent.all_arguments()]
        return inherited + self.arguments

    def all_defaults(self) -> dict[str, Value]:
        """Return what `set_defaults` said, to the parser or its parents."""
        defaults: dict[str, Value] = {}
        for parent in self.parents:
            defaults.update(parent.all_defaults())
        return {**defaults, **self.defaults}

    def _collect(self, argument: Argument, found: Parameters, path: Path) -> None:
        action = argument.site.get("action", None, "store")
        if action in _IGNORED:
            return
        prefixes = argument.owner.parser.prefixes
        options = [name for name in argument.names if name[:1] in prefixes and len(name) > 1]
        if options:
            flag = self._option(argument, options, action, path)
            _replace_or_add(found.flags, flag)
        else:
            found.flags.append(self._positional(argument, found, path))

    def _option(self, argument: Argument, options: list[str], action: Value, path: Path) -> Flag:
        site = argument.site
        option = max(options, key=len)
        name = option.lstrip(self.prefixes)
        given_dest = site.get("dest")
        dest = given_dest if isinstance(given_dest, str) else self._dest(options)
        kind = _action(action)
        nargs = _nargs(site) if kind in (Action.STORE, Action.APPEND) else None
        if action == "extend" and nargs is None:
            nargs = "+"
        default, default_source = self._default(site, dest, kind)
        aliases = other_spellings(name, *(o.lstrip(self.prefixes) for o in options), dest)
        if kind is Action.STORE_FALSE and _normal(dest) != _normal(name):
            # The flag's value is what the script sees, so it bears the name that the script uses.
            name, aliases = dest, other_spellings(dest)
        return Flag(
            name=name,
            aliases=aliases,
            binding=Option(
                option=option,
                aliases=tuple(o for o in options if o != option),
                action=kind,
                nargs=nargs,
                const=_const(site, kind),
                negative=_negative(option) if kind is Action.PAIR else None,
                subcommand=path,
            ),
            type=_type(site, kind, default),
            default=_typed(default, site),
            default_source=default_source,
            required=site.get("required") is True and not argument.owner.is_exclusive,
            choices=choices_of(self._iterated(site)),
            help=_help(site, default),
            found=site.at,
        )

    def _positional(self, argument: Argument, found: Parameters, path: Path) -> Flag:
        site = argument.site
        dest = site.get("dest")
        name = argument.names[0] if argument.names else str(dest)
        nargs = _nargs(site)
        default, default_source = self._default(site, name, Action.STORE)
        return Flag(
            name=name,
            aliases=other_spellings(name),
            binding=Positional(index=found.next_position(path), nargs=nargs, subcommand=path),
            type=_type(site, Action.STORE, default),
            default=_typed(default, site),
            default_source=default_source,
            required=nargs not in ("?", "*"),
            choices=choices_of(self._iterated(site)),
            help=_help(site, default),
            found=site.at,
        )

    def _iterated(self, site: Site) -> Value:
        """Return the choices as a list, from whatever holds them."""
        value = site.get("choices")
        try:
            return site.trace.iterate(value)
        except NotConstant:
            return value

    def _dest(self, options: list[str]) -> str:
        long = [o for o in options if len(o) > 2 and o[1] in self.prefixes]
        return (long or options)[0].lstrip(self.prefixes).replace("-", "_")

    def _default(self, site: Site, dest: str, kind: Action) -> tuple[FlagValue, str | None]:
        value = site.get("default")
        overridden = self.all_defaults().get(dest, MISSING)
        if overridden is not MISSING:
            value = overridden
        if (isinstance(value, str) and value == _SUPPRESS) or _is_constant(value, "SUPPRESS"):
            value = MISSING
        if value is MISSING and kind in (Action.STORE_TRUE, Action.STORE_FALSE):
            return kind is Action.STORE_FALSE, None
        default, source = default_of(value, None)
        if source is not None:
            is_own = overridden is MISSING
            source = (site.text_of("default") if is_own else "set_defaults(…)") or source
        return default, source


class Subparsers(Native):
    """What `add_subparsers` returns."""

    def __init__(self, parser: Parser, site: Site) -> None:
        self._site = site
        self._owner = parser
        self.parsers: dict[str, Parser] = {}

    def attribute(self, name: str, trace: Trace) -> Value:
        """Return the method that adds a subcommand."""
        del trace
        return Method(self._add_parser) if name == "add_parser" else UNKNOWN

    def _add_parser(self, site: Site) -> Value:
        name = site.get("name", 0)
        parser = Parser()
        parser.prefixes = self._owner.prefixes
        parser.configure(site)
        if isinstance(name, str):
            self.parsers[name] = parser
        else:
            self._owner.is_open = True
            site.trace.remark(f"{site.at}: a subcommand's name could not be found out")
        return parser

    def collect(self, found: Parameters, path: Path, defaults: dict[str, Value]) -> None:
        """Add the flag that chooses a subcommand, and the flags of each."""
        dest = self._site.get("dest")
        name = dest if isinstance(dest, str) else "command"
        default, default_source = default_of(defaults.get(name, MISSING), "set_defaults(…)")
        found.flags.append(
            Flag(
                name=name,
                binding=Subcommand(subcommand=path),
                type=FlagType.STRING,
                default=default,
                default_source=default_source,
                required=self._site.get("required") is True,
                choices=tuple(self.parsers),
                help=text_or_none(self._site.get("help")),
                found=self._site.at,
            )
        )
        for command, parser in self.parsers.items():
            parser.collect(found, (*path, command))


def _normal(name: str) -> str:
    return name.replace("-", "_")


def _is_constant(value: Value, name: str) -> bool:
    return isinstance(value, External) and value.name == f"argparse.{name}"


def _replace_or_add(flags: list[Flag], flag: Flag) -> None:
    """Let a later declaration of the same option win (`conflict_handler="resolve"`)."""
    for at, other in enumerate(flags):
        if isinstance(other.binding, Option) and isinstance(flag.binding, Option):
            same_path = other.binding.subcommand == flag.binding.subcommand
            if same_path and other.binding.option == flag.binding.option:
                flags[at] = flag
                return
    flags.append(flag)


def _paired(flags: list[Flag]) -> list[Flag]:
    """Join `--cuda` (store_true) and `--no-cuda` (store_false) that set the same name."""
    kept: list[Flag] = []
    for flag in flags:
        binding = flag.binding
        if isinstance(binding, Option) and binding.action is Action.STORE_FALSE:
            for at, other in enumerate(kept):
                positive = other.binding
                if (
                    isinstance(positive, Option)
                    and positive.action is Action.STORE_TRUE
                    and positive.subcommand == binding.subcommand
                    and _normal(flag.name) in (_normal(other.name), *map(_normal, other.aliases))
                ):
                    joined = msgspec.structs.replace(
                        positive, action=Action.PAIR, negative=binding.option
                    )
                    kept[at] = msgspec.structs.replace(other, binding=joined)
                    break
            else:
                kept.append(flag)
        else:
            kept.append(flag)
    return kept


def _action(action: Value) -> Action:
    if isinstance(action, str):
        return _ACTIONS.get(action, Action.STORE)
    names = [action.name] if isinstance(action, External) else []
    if isinstance(action, Class):
        names = [owner.node.name for owner in action.ancestry()] + action.external_bases()
    for name in names:
        for ending, meaning in _ACTION_CLASSES.items():
            if name.endswith(ending):
                return meaning
    return Action.STORE


def _negative(option: str) -> str:
    return "--no-" + option[2:]


def _nargs(site: Site) -> int | str | None:
    value = site.get("nargs", None, None)
    if isinstance(value, External):
        value = _NARGS.get(value.name.rpartition(".")[2])
    if value in ("...", "A..."):
        return "*"
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return value if value in ("?", "*", "+") else None


def _const(site: Site, kind: Action) -> FlagValue:
    if kind not in (Action.STORE_CONST, Action.STORE):
        return None
    try:
        return flag_value(site.get("const", None, None))
    except NotConstant:
        return site.text_of("const")


def _type(site: Site, kind: Action, default: FlagValue) -> FlagType:
    if kind in (Action.STORE_TRUE, Action.STORE_FALSE, Action.PAIR):
        return FlagType.BOOL
    if kind is Action.COUNT:
        return FlagType.INT
    if kind is Action.STORE_CONST:
        return FlagType.ANY
    named = type_named(site.get("type"))
    if named is None and _is_text_only(default):
        return FlagType.STRING
    return named or free_type(default)


def _is_text_only(default: FlagValue) -> bool:
    """Tell whether a default is a list of texts, or of lists of texts: further values are text too."""
    if not isinstance(default, list) or not default:
        return False
    return all(isinstance(item, str) or _is_text_only(item) for item in default)


def _typed(default: FlagValue, site: Site) -> FlagValue:
    """Return a default that is text as the number that argparse makes of it."""
    if isinstance(default, str) and type_named(site.get("type")) in (FlagType.INT, FlagType.FLOAT):
        value = parse_value(default)
        return value if isinstance(value, int | float) else default
    return default


def _help(site: Site, default: FlagValue) -> str | None:
    text = site.get("help")
    if not isinstance(text, str) or text == _SUPPRESS:
        return None

    def expand(found: re.Match[str]) -> str:
        if found[1] is None:
            return "%"
        if found[1] == "default":
            return str(default)
        value = site.get(found[1])
        return str(value) if constants.is_plain(value) else found[0]

    return text_or_none(_FORMAT.sub(expand, text))
