"""Flags from the fields of dataclasses: tyro, simple_parsing, transformers' HfArgumentParser.

Not covered: dataclasses of installed packages (`TrainingArguments`), and subcommands that tyro
makes of unions; command lines with those are open-ended.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from reenact.model.flags import Action, Flag, FlagType, FlagValue, Option, Positional
from reenact.project.detect.annotations import Annotation, read_annotation
from reenact.project.detect.by_argparse import Parser
from reenact.project.detect.by_typer import parameters_of
from reenact.project.detect.parameters import (
    Parameters,
    default_of,
    other_spellings,
    text_or_none,
    type_of_default,
)
from reenact.project.detect.trace import Trace
from reenact.project.detect.values import (
    MISSING,
    UNKNOWN,
    Class,
    EnumMember,
    External,
    Function,
    Instance,
    Method,
    Native,
    Scope,
    Site,
    Value,
)

_FIELD_MAKERS = frozenset(
    (
        "field",
        "mutable_field",
        "list_field",
        "choice",
        "flag",
        "HfArg",
        "Field",
        "dict_field",
        "subgroups",
    )
)
_MAX_NESTING = 8


def register(trace: Trace) -> None:
    """Teach a trace what the libraries' names mean."""
    trace.externals["tyro.cli"] = _tyro
    trace.externals["tyro.extras.cli"] = _tyro
    for name in ("subcommand_cli_from_dict", "overridable_config_cli"):
        trace.externals[f"tyro.extras.{name}"] = _tyro_unknown
    trace.externals["simple_parsing.parse"] = _simple_parse
    trace.externals["simple_parsing.ArgumentParser"] = _simple_parser
    for module in ("transformers", "transformers.hf_argparser", "trl", "trl.trainer.utils"):
        for name in ("HfArgumentParser", "TrlParser"):
            trace.externals[f"{module}.{name}"] = _hf_parser


class Field:
    """A field of a dataclass, or a parameter of a function."""

    __slots__ = ("annotation", "at", "default", "help", "is_positional", "name", "text")

    def __init__(
        self, name: str, annotation: Annotation, default: Value, text: str | None, at: str
    ) -> None:
        self.name = name
        self.annotation = annotation
        self.default = default
        self.text = text
        self.at = at
        self.help: str | None = None
        self.is_positional = "Positional" in annotation.wrappers

    @property
    def type(self) -> FlagType:
        """The annotation's type, else what the default is."""
        value, _ = default_of(self.default, self.text)
        if self.annotation.type is FlagType.ANY and not isinstance(value, list | dict | None):
            return type_of_default(value)
        return self.annotation.type


def fields_of(trace: Trace, cls: Class) -> list[Field]:
    """Return the fields of a dataclass, those of its bases first."""
    fields: dict[str, Field] = {}
    for owner in reversed(cls.ancestry()):
        body = owner.node.body
        for at, node in enumerate(body):
            if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
                continue
            field = _field(trace, owner, node)
            if field is None:
                continue
            following = body[at + 1] if at + 1 < len(body) else None
            if field.help is None and isinstance(following, ast.Expr):
                value = following.value
                field.help = text_or_none(value.value if isinstance(value, ast.Constant) else None)
            fields[field.name] = field
    return list(fields.values())


def _field(trace: Trace, owner: Class, node: ast.AnnAssign) -> Field | None:
    assert isinstance(node.target, ast.Name)
    name = node.target.id
    if name.startswith("_") or "ClassVar" in ast.unparse(node.annotation):
        return None
    # Names in a class body: first the class, then what surrounds it.
    scope = owner.scope
    annotation = read_annotation(trace, node.annotation, scope)
    source = owner.module.source
    field = Field(name, annotation, MISSING, None, source.at(node))
    value = node.value
    if value is None:
        return field
    field.text = source.segment(value)
    if isinstance(value, ast.Call) and _callee(trace, value, scope) in _FIELD_MAKERS:
        return _from_maker(trace, field, value, scope)
    field.default = trace.evaluate(value, scope)
    return field


def _callee(trace: Trace, node: ast.Call, scope: Scope) -> str:
    function = trace.evaluate(node.func, scope)
    if isinstance(function, External):
        return function.name.rpartition(".")[2]
    return str(getattr(node.func, "attr", getattr(node.func, "id", "")))


def _from_maker(trace: Trace, field: Field, node: ast.Call, scope: Scope) -> Field | None:
    """Take what `field(default=…, metadata={"help": …})` says."""
    given = {k.arg: trace.evaluate(k.value, scope) for k in node.keywords if k.arg}
    if given.get("init") is False:
        return None
    positional = [trace.evaluate(argument, scope) for argument in node.args]
    name = _callee(trace, node, scope)
    if name == "choice":
        choices = [choice for choice in positional if isinstance(choice, str | int | float)]
        field.annotation.choices = tuple(choices) or None
        positional = []
    if "default" in given:
        field.default = given["default"]
    elif "default_factory" in given:
        field.default = _made(trace, given["default_factory"], node, scope)
    elif name == "list_field":
        field.default = positional
    elif positional:
        is_factory = name == "mutable_field"
        field.default = _made(trace, positional[0], node, scope) if is_factory else positional[0]
    metadata = given.get("metadata")
    text = given.get("help", metadata.get("help") if isinstance(metadata, dict) else None)
    field.help = text_or_none(text)
    return field


def _made(trace: Trace, factory: Value, node: ast.Call, scope: Scope) -> Value:
    if isinstance(factory, External) and factory.name in ("builtins.list", "builtins.tuple"):
        return []
    if isinstance(factory, External) and factory.name == "builtins.dict":
        return {}
    if isinstance(factory, Function | Class):
        return trace.call(factory, Site(trace, node, scope.module))
    return UNKNOWN


def _function_fields(trace: Trace, function: Function) -> Iterator[Field]:
    source = function.module.source
    for parameter, node in parameters_of(function):
        default = MISSING if node is None else trace.evaluate(node, function.scope)
        text = None if node is None else source.segment(node)
        annotation = read_annotation(trace, parameter.annotation, function.scope)
        at = f"{source.name}:{parameter.lineno}"
        yield Field(parameter.arg, annotation, default, text, at)


# -- tyro ------------------------------------------------------------------------------------------


class Tyro(Native):
    """A `tyro.cli(...)` call."""

    kind = "dataclass"

    def __init__(self, target: Value, site: Site) -> None:
        self.target = target
        self.site = site
        self.open_ended = site.get("return_unknown_args") is True
        config = ast.unparse(site.node) if isinstance(site.node, ast.expr) else ""
        self.omits_prefixes = "OmitArgPrefixes" in config

    def collect(self, found: Parameters) -> None:
        """Add a flag for every field."""
        default = self.site.get("default")
        if isinstance(self.target, Class):
            fields = fields_of(self.site.trace, self.target)
        elif isinstance(self.target, Function):
            fields = list(_function_fields(self.site.trace, self.target))
        else:
            self.open_ended = True
            self.site.trace.remark(
                f"{self.site.at}: what tyro makes flags of could not be found out"
            )
            return
        self._add(fields, default, "", found)

    def _add(self, fields: list[Field], given: Value, prefix: str, found: Parameters) -> None:
        for field in fields:
            _override(field, given)
            name = prefix + field.name
            if prefix.count(".") < _MAX_NESTING and self._nested(field, name, found):
                continue
            if name.count(".") and self.omits_prefixes:
                name = field.name
            self._add_flag(field, name, found)

    def _nested(self, field: Field, name: str, found: Parameters) -> bool:
        cls = field.annotation.cls
        if field.annotation.union:
            self.open_ended = True
            self.site.trace.remark(f"{field.at}: a choice of dataclasses could not be found out")
            return True
        if cls is None:
            return False
        inner = fields_of(self.site.trace, cls)
        self._add(inner, field.default, f"{name}.", found)
        return True

    def _add_flag(self, field: Field, name: str, found: Parameters) -> None:
        annotation = field.annotation
        kind = field.type
        is_required = field.default is MISSING
        default, source = default_of(_enum_name(field.default), field.text)
        positional = field.is_positional or any(
            "Positional" in ast.unparse(e) for e in annotation.extras
        )
        nargs = annotation.nargs
        dashed = name.replace("_", "-")
        binding: Option | Positional
        if positional:
            index = found.next_position(())
            binding = Positional(index=index, nargs=nargs or (None if is_required else "?"))
        elif kind is FlagType.BOOL and nargs is None and not is_required and default is not None:
            head, _, last = dashed.rpartition(".")
            negative = f"--{head}.no-{last}" if head else f"--no-{last}"
            binding = Option(option=f"--{dashed}", action=Action.PAIR, negative=negative)
        else:
            binding = Option(option=f"--{dashed}", nargs=nargs)
        found.flags.append(
            Flag(
                name=name,
                aliases=other_spellings(name),
                binding=binding,
                type=kind,
                default=default,
                default_source=source,
                required=is_required,
                choices=annotation.choices,
                help=field.help,
                found=field.at,
            )
        )


def _override(field: Field, given: Value) -> None:
    """Take a field's default from the instance that is the default of the whole."""
    if isinstance(given, Instance):
        if field.name in given.kwargs:
            field.default, field.text = given.kwargs[field.name], None
    elif given is not MISSING:
        field.default = UNKNOWN
    if isinstance(field.default, Class):
        field.default = UNKNOWN


def _enum_name(value: Value) -> Value:
    if isinstance(value, list | tuple):
        return [_enum_name(item) for item in value]
    return value.name if isinstance(value, EnumMember) else value


def _enum_value(value: Value) -> Value:
    if isinstance(value, list | tuple):
        return [_enum_value(item) for item in value]
    return value.value if isinstance(value, EnumMember) else value


def _tyro(site: Site) -> Value:
    if isinstance(site.get("args"), list | tuple):
        return UNKNOWN
    return site.trace.use(Tyro(site.get("f", 0), site))


def _tyro_unknown(site: Site) -> Value:
    return site.trace.use(Tyro(UNKNOWN, site))


# -- simple_parsing and HfArgumentParser -------------------------------------------------------------


class _DataclassParser(Parser):
    """An argparse parser that makes options of dataclasses as well."""

    kind = "dataclass"


def _simple_parser(site: Site) -> Value:
    parser = _DataclassParser()
    parser.configure(site)
    site.trace.made.append(parser)
    return parser


def _simple_parse(site: Site) -> Value:
    if isinstance(site.get("args"), list | tuple):
        return UNKNOWN
    parser = _DataclassParser()
    parser.dataclasses.append((site.get("config_class", 0), site))
    return site.trace.use(parser)


def collect_simple_parsing(dataclasses: list[tuple[Value, Site]], found: Parameters) -> None:
    """Add the flags of simple_parsing's `add_arguments` calls."""
    for cls, site in dataclasses:
        if isinstance(cls, Instance):
            cls = cls.owner
        if isinstance(cls, Class):
            _add_flat(fields_of(site.trace, cls), site, found, 0)
        else:
            site.trace.remark(f"{site.at}: the dataclass could not be found out")


def _add_flat(fields: list[Field], site: Site, found: Parameters, depth: int) -> None:
    for field in fields:
        if field.annotation.cls is not None and depth < _MAX_NESTING:
            inner = fields_of(site.trace, field.annotation.cls)
            for item in inner:
                _override(item, field.default if isinstance(field.default, Instance) else MISSING)
            _add_flat(inner, site, found, depth + 1)
            continue
        choices = field.annotation.choices
        found.flags.append(_underscored(field, _enum_name(field.default), choices))


class HfParser(_DataclassParser):
    """A `transformers.HfArgumentParser`."""

    def __init__(self) -> None:
        super().__init__()
        self._classes: list[Class] = []

    def attribute_of_group(self, name: str) -> Value:
        """Return a method."""
        if name in ("parse_args_into_dataclasses", "parse_args_and_config"):
            return Method(self._read_dataclasses)
        return super().attribute_of_group(name)

    def _read_dataclasses(self, site: Site) -> Value:
        if isinstance(site.get("args", 0), list | tuple):
            return UNKNOWN
        self.is_open = self.is_open or name_is_true(site, "return_remaining_strings")
        return site.trace.use(self)

    def take(self, classes: Value, site: Site) -> None:
        """Take the dataclasses that the parser was made with."""
        for cls in classes if isinstance(classes, list | tuple) else [classes]:
            if isinstance(cls, Class):
                self._classes.append(cls)
                if not cls.external_bases():
                    continue
            self.is_open = True
            site.trace.remark(f"{site.at}: options of a dataclass of a package are not found out")

    def collect(self, found: Parameters, path: tuple[str, ...] = ()) -> None:
        """Add the flags."""
        trace = self.trace
        for cls in self._classes:
            for field in fields_of(trace, cls):
                choices = field.annotation.choices
                if field.annotation.enum is not None:
                    members = trace.iterate(field.annotation.enum)
                    choices = tuple(m.value for m in members if isinstance(m.value, str))
                found.flags.append(_underscored(field, _enum_value(field.default), choices))
        super().collect(found, path)

    trace: Trace


def name_is_true(site: Site, name: str) -> bool:
    """Tell whether an argument is literally true."""
    return site.get(name) is True


def _hf_parser(site: Site) -> Value:
    parser = HfParser()
    parser.trace = site.trace
    parser.take(site.get("dataclass_types", 0, ()), site)
    site.trace.made.append(parser)
    return parser


def _underscored(field: Field, default: Value, choices: tuple[FlagValue, ...] | None) -> Flag:
    """Make a flag as both libraries spell it: `--learning_rate`, a bool with an optional value."""
    kind = field.type
    nargs = field.annotation.nargs
    is_required = default is MISSING
    value, source = default_of(default, field.text)
    const: FlagValue = None
    if kind is FlagType.BOOL and nargs is None:
        nargs, const = "?", True
        is_required = False
        if value is None and source is None and not field.annotation.is_optional:
            value = False
    return Flag(
        name=field.name,
        aliases=other_spellings(field.name),
        binding=Option(option=f"--{field.name}", nargs=nargs, const=const),
        type=kind,
        default=value,
        default_source=source,
        required=is_required,
        choices=choices,
        help=field.help,
        found=field.at,
    )
