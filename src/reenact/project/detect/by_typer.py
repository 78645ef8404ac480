"""Flags of `typer` applications: the parameters of their functions."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

from reenact.model.flags import Action, Flag, FlagType, Option, Positional, Subcommand
from reenact.project.detect.annotations import Annotation, read_annotation
from reenact.project.detect.parameters import (
    Parameters,
    Path,
    default_of,
    other_spellings,
    text_or_none,
    type_of_default,
)
from reenact.project.detect.trace import Trace
from reenact.project.detect.values import (
    MISSING,
    UNKNOWN,
    EnumMember,
    Function,
    Method,
    Native,
    Site,
    Value,
)


def register(trace: Trace) -> None:
    """Teach a trace what typer's names mean."""
    trace.externals["typer.Typer"] = App
    trace.externals["typer.run"] = _run
    trace.externals["typer.Option"] = lambda site: Info(site, is_option=True)
    trace.externals["typer.Argument"] = lambda site: Info(site, is_option=False)


class Info(Native):
    """A `typer.Option(...)` or `typer.Argument(...)`."""

    def __init__(self, site: Site, *, is_option: bool) -> None:
        self.site = site
        self.is_option = is_option


def _run(site: Site) -> Value:
    app = App(site)
    function = site.get("function", 0)
    if isinstance(function, Function):
        app.commands[""] = function
    return app.call(Site(site.trace, site.node, site.module))


class App(Native):
    """A `typer.Typer()`."""

    kind = "typer"
    open_ended = False

    def __init__(self, site: Site) -> None:
        self.site = site
        self.trace = site.trace
        self.commands: dict[str, Function | App] = {}
        self.callback: Function | None = None
        self.may_go_without = site.get("invoke_without_command") is True
        name = site.get("name")
        self.name = name if isinstance(name, str) else None

    def attribute(self, name: str, trace: Trace) -> Value:
        """Return a method."""
        del trace
        methods: dict[str, Callable[[Site], Value]] = {
            "command": self._command,
            "callback": self._callback,
            "add_typer": self._add_typer,
            "__call__": self.call,
        }
        return Method(methods[name]) if name in methods else UNKNOWN

    def _command(self, site: Site) -> Value:
        given = site.get("name", 0)

        def decorate(inner: Site) -> Value:
            function = inner.get("f", 0)
            if isinstance(function, Function):
                own = getattr(function.node, "name", "").lower().replace("_", "-")
                self.commands[given if isinstance(given, str) else own] = function
            return function

        return Method(decorate)

    def _callback(self, site: Site) -> Value:
        self.may_go_without |= site.get("invoke_without_command") is True

        def decorate(inner: Site) -> Value:
            function = inner.get("f", 0)
            if isinstance(function, Function):
                self.callback = function
            return function

        return Method(decorate)

    def _add_typer(self, site: Site) -> Value:
        app, name = site.get("typer_instance", 0), site.get("name")
        if isinstance(app, App):
            self.commands[name if isinstance(name, str) else app.name or ""] = app
        return None

    def call(self, site: Site) -> Value:
        """Read the command line."""
        if isinstance(site.get("args", 0), list | tuple):
            return UNKNOWN
        return site.trace.use(self)

    def collect(self, found: Parameters, path: Path = ()) -> None:
        """Add the application's flags, and those of its subcommands."""
        if self.callback is not None:
            _collect_function(self.trace, self.callback, found, path)
        only = next(iter(self.commands.values()), None)
        if len(self.commands) == 1 and self.callback is None and isinstance(only, Function):
            _collect_function(self.trace, only, found, path)
            return
        if not self.commands:
            return
        found.flags.append(
            Flag(
                name="command",
                binding=Subcommand(subcommand=path),
                type=FlagType.STRING,
                required=not self.may_go_without,
                choices=tuple(self.commands),
                found=self.site.at,
            )
        )
        for name, command in self.commands.items():
            if isinstance(command, App):
                command.collect(found, (*path, name))
            else:
                _collect_function(self.trace, command, found, (*path, name))


def parameters_of(function: Function) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    """Yield the parameters of a function with their defaults."""
    arguments = function.node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    missing = len(positional) - len(arguments.defaults)
    for at, parameter in enumerate(positional):
        yield parameter, arguments.defaults[at - missing] if at >= missing else None
    yield from zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)


def _collect_function(trace: Trace, function: Function, found: Parameters, path: Path) -> None:
    for parameter, default in parameters_of(function):
        annotation = read_annotation(trace, parameter.annotation, function.scope)
        if annotation.name in ("Context", "CallbackParam"):
            continue
        found.flags.append(_flag(trace, function, parameter, default, annotation, found, path))


def _flag(
    trace: Trace,
    function: Function,
    parameter: ast.arg,
    default_node: ast.expr | None,
    annotation: Annotation,
    found: Parameters,
    path: Path,
) -> Flag:
    source = function.module.source
    default = MISSING if default_node is None else trace.evaluate(default_node, function.scope)
    text = None if default_node is None else source.segment(default_node)
    info: Info | None = None
    names: list[str] = []
    for extra in annotation.extras:
        value = trace.evaluate(extra, function.scope)
        if isinstance(value, Info):
            info = value
            names = [word for word in info.site.args if isinstance(word, str)]
    if isinstance(default, Info):
        info = default
        names = [word for word in info.site.args[1:] if isinstance(word, str)]
        default, text = info.site.get("default", 0), info.site.text_of("default", 0)
    if default is ...:
        default = MISSING
    if info is not None and info.site.get("default_factory") is not MISSING:
        default, text = UNKNOWN, info.site.text_of("default_factory")
    is_required = default is MISSING
    if isinstance(default, EnumMember):
        default = default.value
    value, default_source = default_of(default, text)
    kind = annotation.type
    if not annotation.is_known and kind is FlagType.ANY:
        kind = FlagType.STRING if value is None else type_of_default(value)
    choices = annotation.choices
    if annotation.enum is not None:
        choices = tuple(m.value for m in trace.iterate(annotation.enum) if isinstance(m.value, str))
    is_option = info.is_option if info is not None else not is_required
    help_text = text_or_none(info.site.get("help")) if info is not None else None
    at = f"{source.name}:{parameter.lineno}"
    name = parameter.arg
    if not is_option:
        nargs = annotation.nargs
        if nargs is None and not is_required:
            nargs = "?"
        return Flag(
            name=name,
            aliases=other_spellings(name),
            binding=Positional(index=found.next_position(path), nargs=nargs, subcommand=path),
            type=kind,
            default=value,
            default_source=default_source,
            required=is_required,
            choices=choices,
            help=help_text,
            found=at,
        )
    binding = _option(name, names, annotation, info, kind, path)
    if binding.action is Action.APPEND and value is None and not is_required:
        value = None if default_source or annotation.is_optional else []
    spelled = binding.option.lstrip("-")
    return Flag(
        name=name if _dashed(name) == spelled else spelled,
        aliases=other_spellings(name if _dashed(name) == spelled else spelled, name, spelled),
        binding=binding,
        type=FlagType.INT if binding.action is Action.COUNT else kind,
        default=value,
        default_source=default_source,
        required=is_required,
        choices=choices,
        help=help_text,
        found=at,
    )


def _dashed(name: str) -> str:
    return name.replace("_", "-").strip("-").lower()


def _option(
    name: str,
    names: list[str],
    annotation: Annotation,
    info: Info | None,
    kind: FlagType,
    path: Path,
) -> Option:
    positive = [word.partition("/")[0].strip() for word in names if word.partition("/")[0].strip()]
    negative = [word.partition("/")[2].strip() for word in names if word.partition("/")[2].strip()]
    positive = [word for word in positive if word.startswith("-")]
    option = max(positive, key=len) if positive else f"--{_dashed(name)}"
    action = Action.STORE
    nargs = annotation.nargs
    if info is not None and info.site.get("count") is True:
        action, nargs = Action.COUNT, None
    elif annotation.nargs == "*":
        action, nargs = Action.APPEND, None
    elif kind is FlagType.BOOL and nargs is None:
        if not positive and not negative:
            negative = [f"--no-{_dashed(name)}"]
        action = Action.PAIR if negative else Action.STORE_TRUE
    return Option(
        option=option,
        aliases=tuple(word for word in positive if word != option),
        action=action,
        nargs=nargs,
        negative=max(negative, key=len) if negative else None,
        subcommand=path,
    )
