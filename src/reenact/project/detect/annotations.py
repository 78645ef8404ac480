"""What a type annotation says about a flag: `int`, `Optional[list[str]]`, `Literal["a", "b"]`."""

from __future__ import annotations

import ast

from reenact.model.flags import FlagType, FlagValue
from reenact.project.detect.parameters import choices_of, type_named
from reenact.project.detect.trace import Trace
from reenact.project.detect.values import Class, External, Scope, Value

_LISTS = frozenset(
    "list List Sequence Iterable Collection MutableSequence set Set frozenset FrozenSet".split()
)
_TUPLES = frozenset(("tuple", "Tuple"))
_WRAPPERS = frozenset(
    "Final Required NotRequired Suppress FlagConversionOff ConsolidateSubcommandArgs "
    "OmitArgPrefixes OmitSubcommandPrefixes UseCounterAction AvoidSubcommands Fixed".split()
)


class Annotation:
    """An annotation, understood.

    Attributes:
        type: the type of a value, or of each value of a list.
        nargs: `*` for lists, a number for tuples of fixed length, None for one value.
        choices: names of an enumeration's members or values of a `Literal`.
        enum: the enumeration.
        is_optional: whether None is allowed.
        cls: a local class that is none of the above; perhaps a nested dataclass.
        extras: what stands behind the type in `Annotated[...]`, as expressions.
        wrappers: names of generic wrappers of a framework (`Positional`).
        is_known: whether the type means something to us.
    """

    def __init__(self) -> None:
        self.type = FlagType.ANY
        self.nargs: int | str | None = None
        self.choices: tuple[FlagValue, ...] | None = None
        self.enum: Class | None = None
        self.is_optional = False
        self.cls: Class | None = None
        self.union: list[Class] = []
        self.extras: list[ast.expr] = []
        self.wrappers: list[str] = []
        self.is_known = True
        self.name = ""


def read_annotation(trace: Trace, node: ast.expr | None, scope: Scope) -> Annotation:
    """Understand an annotation, as far as it goes."""
    found = Annotation()
    if node is None:
        found.is_known = False
    else:
        _read(trace, node, scope, found)
    return found


def _read(trace: Trace, node: ast.expr, scope: Scope, found: Annotation) -> None:
    if isinstance(node, ast.Constant):
        if node.value is None:
            found.is_optional = True
        elif isinstance(node.value, str):
            try:
                _read(trace, ast.parse(node.value.strip(), mode="eval").body, scope, found)
            except SyntaxError:
                found.is_known = False
        return
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        _union(trace, [node.left, node.right], scope, found)
        return
    if isinstance(node, ast.Subscript):
        _generic(trace, node, scope, found)
        return
    _simple(trace.evaluate(node, scope), found)


def _simple(value: Value, found: Annotation) -> None:
    if isinstance(value, Class):
        found.name = value.node.name
        if value.is_enum:
            found.enum = value
            found.type = FlagType.STRING
            found.choices = tuple(value.member_names())
        else:
            found.cls = value
        return
    if isinstance(value, External):
        found.name = value.name.rpartition(".")[2]
        kind = type_named(value)
        if kind is not None:
            found.type = kind
            return
        if found.name in _LISTS | _TUPLES:
            found.nargs = "*"
            found.type = FlagType.STRING
            return
        if found.name in ("datetime", "date", "timedelta", "UUID", "bytes"):
            found.type = FlagType.STRING
            return
        if found.name == "Any":
            return
    found.is_known = False


def _generic(trace: Trace, node: ast.Subscript, scope: Scope, found: Annotation) -> None:
    value = trace.evaluate(node.value, scope)
    name = value.name.rpartition(".")[2] if isinstance(value, External) else ""
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    found.name = name
    if name == "Optional":
        found.is_optional = True
        _read(trace, items[0], scope, found)
    elif name == "Union":
        _union(trace, items, scope, found)
    elif name == "Literal":
        found.choices = choices_of([trace.evaluate(item, scope) for item in items])
        kinds = {type(choice) for choice in found.choices or ()}
        found.type = {frozenset((int,)): FlagType.INT, frozenset((str,)): FlagType.STRING}.get(
            frozenset(kinds), FlagType.ANY
        )
    elif name == "Annotated":
        found.extras += items[1:]
        _read(trace, items[0], scope, found)
    elif name in _LISTS:
        _read(trace, items[0], scope, found)
        found.nargs = "*"
    elif name in _TUPLES:
        _read(trace, items[0], scope, found)
        is_endless = isinstance(items[-1], ast.Constant) and items[-1].value is ...
        found.nargs = "*" if is_endless else len(items)
        if not is_endless and len({ast.dump(item) for item in items}) > 1:
            found.type, found.choices = FlagType.ANY, None
    elif name == "Positional" or name in _WRAPPERS:
        found.wrappers.append(name)
        _read(trace, items[0], scope, found)
    else:
        found.is_known = False


def _union(trace: Trace, nodes: list[ast.expr], scope: Scope, found: Annotation) -> None:
    parts = [read_annotation(trace, node, scope) for node in nodes]
    found.is_optional = found.is_optional or any(part.is_optional for part in parts)
    real = [p for n, p in zip(nodes, parts, strict=True) if not _is_none(n)]
    if len(real) == 1:
        part = real[0]
        for name in ("type", "nargs", "choices", "enum", "cls", "union", "is_known", "name"):
            setattr(found, name, getattr(part, name))
        found.extras += part.extras
        found.wrappers += part.wrappers
        return
    for part in real:
        found.union += part.union or ([part.cls] if part.cls else [])
    kinds = {part.type for part in real}
    found.type = FlagType.FLOAT if kinds == {FlagType.INT, FlagType.FLOAT} else FlagType.ANY
    found.is_known = all(part.is_known for part in real)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
