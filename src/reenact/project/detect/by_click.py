"""Flags of `click` commands and groups."""

from __future__ import annotations

from collections.abc import Callable

from reenact.model.flags import Action, Flag, FlagType, FlagValue, Option, Positional, Subcommand
from reenact.project.detect.parameters import (
    Parameters,
    Path,
    choices_of,
    default_of,
    other_spellings,
    text_or_none,
    type_named,
    type_of_default,
)
from reenact.project.detect.trace import Trace
from reenact.project.detect.values import (
    MISSING,
    UNKNOWN,
    Class,
    External,
    Function,
    Method,
    Native,
    Site,
    Value,
)

_MODULES = ("click", "rich_click", "asyncclick", "click.decorators", "click.core")
_TYPES = {
    "INT": FlagType.INT, "FLOAT": FlagType.FLOAT, "BOOL": FlagType.BOOL, "STRING": FlagType.STRING,
}  # fmt: skip
_NO_FLAGS = ("version_option", "help_option")


def register(trace: Trace) -> None:
    """Teach a trace what click's names mean."""
    for module in _MODULES:
        trace.externals[f"{module}.command"] = lambda site: _command(site, is_group=False)
        trace.externals[f"{module}.group"] = lambda site: _command(site, is_group=True)
        trace.externals[f"{module}.option"] = lambda site: Method(_Declare(site, is_option=True))
        trace.externals[f"{module}.argument"] = lambda site: Method(_Declare(site, is_option=False))
        for name in ("password_option", "confirmation_option"):
            trace.externals[f"{module}.{name}"] = _keep
        for name in _NO_FLAGS:
            trace.externals[f"{module}.{name}"] = _keep
        for name in ("pass_context", "pass_obj"):
            trace.externals[f"{module}.{name}"] = lambda site: site.get("f", 0)
        for name in ("Choice", "IntRange", "FloatRange", "Path", "File", "DateTime", "Tuple"):
            trace.externals[f"{module}.{name}"] = _type_maker(name)


def _keep(site: Site) -> Value:
    """Return a decorator that leaves functions as they are."""
    del site
    return Method(lambda site: site.get("f", 0))


class _Type(Native):
    """A parameter type such as `click.Choice([...])`."""

    def __init__(self, name: str, site: Site) -> None:
        self.name = name
        self.site = site


def _type_maker(name: str) -> Callable[[Site], Value]:
    return lambda site: _Type(name, site)


class _Declare:
    """The decorator that `click.option(...)` and `click.argument(...)` return."""

    def __init__(self, site: Site, *, is_option: bool) -> None:
        self.site = site
        self.is_option = is_option

    def __call__(self, site: Site) -> Value:
        target = site.get("f", 0)
        if isinstance(target, Function):
            target.extras.append(self)
        elif isinstance(target, Command):
            target.declared.append(self)
        return target


def _command(site: Site, *, is_group: bool, parent: Command | None = None) -> Value:
    function = site.get("name", 0)
    if isinstance(function, Function):  # a decorator without parentheses
        return _made(function, None, site, is_group=is_group, parent=parent)
    name = function if isinstance(function, str) else None

    def decorate(inner: Site) -> Value:
        target = inner.get("f", 0)
        if not isinstance(target, Function):
            return target
        return _made(target, name, site, is_group=is_group, parent=parent)

    return Method(decorate)


def _made(
    function: Function, name: str | None, site: Site, *, is_group: bool, parent: Command | None
) -> Command:
    command = Command(function, name, site, is_group=is_group)
    if parent is not None:
        parent.commands[command.name] = command
    return command


class Command(Native):
    """A click command, or a group of commands."""

    kind = "click"
    open_ended = False

    def __init__(self, function: Function, name: str | None, site: Site, *, is_group: bool) -> None:
        own = getattr(function.node, "name", "command").lower().replace("_", "-")
        for suffix in ("-command", "-cmd", "-group", "-grp"):
            own = own.removesuffix(suffix) or own
        self.name = name or own
        self.is_group = is_group
        # Decorators apply from the bottom up, parameters read from the top down.
        self.declared: list[_Declare] = [
            extra for extra in reversed(function.extras) if isinstance(extra, _Declare)
        ]
        self.commands: dict[str, Command] = {}
        self.site = site
        settings = site.get("context_settings")
        if isinstance(settings, dict):
            self.open_ended = bool(
                settings.get("ignore_unknown_options") or settings.get("allow_extra_args")
            )

    def attribute(self, name: str, trace: Trace) -> Value:
        """Return a method."""
        del trace
        methods: dict[str, Callable[[Site], Value]] = {
            "command": lambda site: _command(site, is_group=False, parent=self),
            "group": lambda site: _command(site, is_group=True, parent=self),
            "add_command": self._add_command,
            "main": self.call,
            "__call__": self.call,
            "result_callback": _keep,
        }
        return Method(methods[name]) if name in methods else UNKNOWN

    def _add_command(self, site: Site) -> Value:
        command, name = site.get("cmd", 0), site.get("name", 1)
        if isinstance(command, Command):
            self.commands[name if isinstance(name, str) else command.name] = command
        return None

    def call(self, site: Site) -> Value:
        """Read the command line."""
        if isinstance(site.get("args", 0), list | tuple):
            return UNKNOWN
        return site.trace.use(self)

    def collect(self, found: Parameters, path: Path = ()) -> None:
        """Add the command's flags, and those of its subcommands."""
        for declared in self.declared:
            flag = (
                _option(declared.site, path)
                if declared.is_option
                else _argument(declared.site, found, path)
            )
            if flag is not None:
                found.flags.append(flag)
        if not self.is_group or not self.commands:
            return
        found.flags.append(
            Flag(
                name="command",
                binding=Subcommand(subcommand=path),
                type=FlagType.STRING,
                required=self.site.get("invoke_without_command") is not True,
                choices=tuple(self.commands),
                found=self.site.at,
            )
        )
        for name, command in self.commands.items():
            command.collect(found, (*path, name))


def _option(site: Site, path: Path) -> Flag | None:
    words = [word for word in site.args if isinstance(word, str)]
    positive: list[str] = []
    negative: list[str] = []
    explicit = None
    for word in words:
        if word.isidentifier():
            explicit = word
            continue
        divider = ";" if word[:1] == "/" else "/"
        first, _, second = word.partition(divider)
        positive += [first.strip()] if first.strip() else []
        negative += [second.strip()] if second.strip() else []
    if not positive:
        return None
    option = max(positive, key=len)
    name = option.lstrip("-+/")
    default, default_source = default_of(site.get("default"), site.text_of("default"))
    action = _action(site, has_negative=bool(negative))
    is_multiple = site.get("multiple") is True
    kind, choices, nargs = _typed(site, default)
    if action in (Action.STORE_TRUE, Action.STORE_FALSE, Action.PAIR):
        kind, nargs = FlagType.BOOL, None
        default = bool(default) if default_source is None else default
    elif action is Action.COUNT:
        kind, default = FlagType.INT, default or 0
    elif is_multiple:
        action = Action.APPEND
        default = [] if default is None and default_source is None else default
    return Flag(
        name=name,
        aliases=other_spellings(name, *(p.lstrip("-+/") for p in positive), explicit),
        binding=Option(
            option=option,
            aliases=tuple(p for p in positive if p != option),
            action=action,
            nargs=nargs,
            const=_flag_value(site) if action is Action.STORE_CONST else None,
            negative=max(negative, key=len) if negative else None,
            subcommand=path,
        ),
        type=kind,
        default=default,
        default_source=default_source,
        required=site.get("required") is True and site.get("default") is MISSING,
        choices=choices,
        help=text_or_none(site.get("help")),
        found=site.at,
    )


def _flag_value(site: Site) -> FlagValue:
    value, source = default_of(site.get("flag_value"), site.text_of("flag_value"))
    return source if value is None else value


def _action(site: Site, *, has_negative: bool) -> Action:
    if site.get("count") is True:
        return Action.COUNT
    if has_negative:
        return Action.PAIR
    value = site.get("flag_value")
    if value is True:
        return Action.STORE_TRUE
    if value is False:
        return Action.STORE_FALSE
    if value is not MISSING:
        return Action.STORE_CONST
    if site.get("is_flag") is not True:
        return Action.STORE
    return Action.STORE_FALSE if site.get("default") is True else Action.STORE_TRUE


def _argument(site: Site, found: Parameters, path: Path) -> Flag | None:
    words = [word for word in site.args if isinstance(word, str)]
    if not words:
        return None
    name = words[0].lower()
    default, default_source = default_of(site.get("default"), site.text_of("default"))
    kind, choices, nargs = _typed(site, default)
    if site.get("nargs") == -1:
        nargs = "+" if site.get("required") is True else "*"
    required = site.get("required")
    if required in (MISSING, UNKNOWN):
        required = default is None and default_source is None and nargs != "*"
    if nargs is None and not required:
        nargs = "?"
    return Flag(
        name=name,
        aliases=other_spellings(name),
        binding=Positional(index=found.next_position(path), nargs=nargs, subcommand=path),
        type=kind,
        default=default,
        default_source=default_source,
        required=bool(required),
        choices=choices,
        found=site.at,
    )


def _typed(
    site: Site, default: FlagValue
) -> tuple[FlagType, tuple[FlagValue, ...] | None, int | str | None]:
    """Return the type, the choices and the number of values of a parameter."""
    value = site.get("type")
    nargs = site.get("nargs", None, None)
    count = nargs if isinstance(nargs, int) and nargs not in (1, -1) else None
    if value in (MISSING, None):
        first = default[0] if isinstance(default, list) and default else default
        if count is None and site.get("multiple") is not True and isinstance(default, list):
            count = len(default)
        return (FlagType.STRING if first is None else type_of_default(first)), None, count
    if isinstance(value, tuple):
        return _common(value), None, len(value)
    if isinstance(value, _Type):
        kind, choices, size = _of_type(value)
        return kind, choices, size or count
    if isinstance(value, Class) and value.is_enum:
        return FlagType.STRING, tuple(value.member_names()), count
    return _named(value), None, count


def _named(value: Value) -> FlagType:
    known = type_named(value)
    if known is not None:
        return known
    last = value.name.rpartition(".")[2] if isinstance(value, External) else ""
    return _TYPES.get(last, FlagType.STRING)


def _common(types: tuple[Value, ...]) -> FlagType:
    kinds = {_named(value) for value in types}
    return kinds.pop() if len(kinds) == 1 else FlagType.ANY


def _of_type(value: _Type) -> tuple[FlagType, tuple[FlagValue, ...] | None, int | None]:
    site = value.site
    if value.name == "Choice":
        choices = site.get("choices", 0)
        if isinstance(choices, Class) and choices.is_enum:
            return FlagType.STRING, tuple(choices.member_names()), None
        if site.get("case_sensitive", 1) is False:
            return FlagType.STRING, None, None
        return FlagType.STRING, choices_of(choices), None
    if value.name == "Tuple":
        types = site.get("types", 0)
        return (_common(tuple(types)), None, len(types)) if isinstance(types, list | tuple) else (
            FlagType.ANY, None, None,
        )  # fmt: skip
    kinds = {"IntRange": FlagType.INT, "FloatRange": FlagType.FLOAT, "DateTime": FlagType.STRING}
    return kinds.get(value.name, FlagType.PATH), None, None
