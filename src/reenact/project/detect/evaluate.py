"""Work out constant expressions as Python would, without running any of the user's code.

Covered: literals, operators, a few dozen pure functions and methods of built-in types.
Everything is bounded: a power or a repetition that would fill the memory is not a constant.
"""

from __future__ import annotations

import ast
import math
import operator
import os.path
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

MAX_ITEMS = 2000
_MAX_BITS = 4096


class NotConstant(Exception):
    """The expression's value cannot be known without running the script."""


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Invert: operator.invert,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda item, items: item in items,
    ast.NotIn: lambda item, items: item not in items,
}

CONSTANTS: dict[str, Any] = {
    "math.pi": math.pi,
    "math.e": math.e,
    "math.inf": math.inf,
    "math.nan": math.nan,
    "numpy.inf": math.inf,
    "numpy.nan": math.nan,
    "numpy.pi": math.pi,
    "sys.maxsize": (1 << 63) - 1,
    "os.sep": "/",
    "torch.inf": math.inf,
}
"""Values of attributes of well-known modules."""

_TYPES: dict[str, type] = {
    "int": int, "float": float, "str": str, "bool": bool, "list": list, "tuple": tuple,
    "set": set, "dict": dict, "frozenset": frozenset,
}  # fmt: skip

_PURE: dict[str, Callable[..., Any]] = {
    **{f"builtins.{name}": function for name, function in _TYPES.items()},
    "builtins.abs": abs,
    "builtins.round": round,
    "builtins.min": min,
    "builtins.max": max,
    "builtins.sum": sum,
    "builtins.len": len,
    "builtins.sorted": sorted,
    "builtins.pow": pow,
    "builtins.reversed": lambda items: list(reversed(items)),
    "builtins.enumerate": lambda items, start=0: list(enumerate(items, start)),
    "builtins.zip": lambda *items: list(zip(*items, strict=False)),
    "math.sqrt": math.sqrt,
    "math.log": math.log,
    "math.log2": math.log2,
    "math.log10": math.log10,
    "math.exp": math.exp,
    "math.ceil": math.ceil,
    "math.floor": math.floor,
    "os.path.basename": os.path.basename,
    "os.path.dirname": os.path.dirname,
    "os.path.join": os.path.join,
    "os.path.splitext": os.path.splitext,
    "os.path.split": os.path.split,
    "os.path.normpath": os.path.normpath,
    "os.path.abspath": lambda path: path if path.startswith(("/", "\0")) else _not_constant(),
    "os.path.realpath": lambda path: path if path.startswith(("/", "\0")) else _not_constant(),
    "os.fspath": os.fspath,
    "pathlib.Path": lambda *parts: os.path.join(*parts) if parts else ".",
    "pathlib.PurePath": lambda *parts: os.path.join(*parts) if parts else ".",
    "copy.copy": lambda value: value,
    "copy.deepcopy": lambda value: value,
}

_CONTAINERS = frozenset(
    f"builtins.{name}" for name in "list tuple dict len zip enumerate reversed".split()
)
"""What does not look at the elements that it is given."""

_METHODS: dict[type, frozenset[str]] = {
    str: frozenset(
        "split rsplit join strip lstrip rstrip lower upper title capitalize replace format "
        "startswith endswith removeprefix removesuffix partition rpartition splitlines "
        "zfill count find".split()
    ),
    list: frozenset(("append", "extend", "copy", "index", "count", "insert", "sort", "reverse")),
    tuple: frozenset(("index", "count")),
    dict: frozenset(("keys", "values", "items", "get", "copy", "update", "setdefault", "pop")),
    set: frozenset(("add", "union", "copy", "update")),
    int: frozenset(("bit_length",)),
    float: frozenset(("is_integer",)),
}

_PLAIN = (type(None), bool, int, float, str, list, tuple, dict, set, bytes, type(...))
_FAILURES = (
    TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError, MemoryError,
)  # fmt: skip


def is_plain(value: object) -> bool:
    """Tell whether a value is one of Python's own data types (what it contains is not looked at)."""
    return isinstance(value, _PLAIN)


def is_known(value: object) -> bool:
    """Tell whether a value is of Python's own data types all the way down."""
    if isinstance(value, list | tuple | set):
        return all(map(is_known, value))
    if isinstance(value, dict):
        return all(map(is_known, value.values()))
    return isinstance(value, _PLAIN)


def binary(op: ast.operator, left: Any, right: Any) -> Any:
    """Apply a binary operator."""
    if not is_plain(left) or not is_plain(right):
        raise NotConstant
    if isinstance(op, ast.Mod) and not is_known(right):
        raise NotConstant
    if isinstance(op, ast.Pow):
        _check_power(left, right)
    elif isinstance(op, ast.LShift) and isinstance(right, int) and right > _MAX_BITS:
        raise NotConstant
    elif isinstance(op, ast.Mult):
        _check_product(left, right)
    elif isinstance(op, ast.Div) and isinstance(left, str) and isinstance(right, str):
        return os.path.join(left, right)  # a pathlib.Path is kept as its text
    elif isinstance(op, ast.Mod) and isinstance(left, str) and len(left) > MAX_ITEMS:
        raise NotConstant
    try:
        return _BINARY[type(op)](left, right)
    except (*_FAILURES, KeyError):
        raise NotConstant from None


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        if abs(left).bit_length() * max(right, 0) > _MAX_BITS:
            raise NotConstant
    elif not isinstance(left, int | float) or not isinstance(right, int | float):
        raise NotConstant


def _check_product(left: Any, right: Any) -> None:
    for count, items in ((left, right), (right, left)):
        is_repetition = isinstance(count, int) and not isinstance(items, int | float | None)
        if is_repetition and len(items) * max(count, 0) > MAX_ITEMS * 10:
            raise NotConstant


def unary(op: ast.unaryop, value: Any) -> Any:
    """Apply a unary operator."""
    if not is_plain(value):
        raise NotConstant
    try:
        return _UNARY[type(op)](value)
    except _FAILURES:
        raise NotConstant from None


def compare(op: ast.cmpop, left: Any, right: Any) -> bool:
    """Apply a comparison."""
    if not is_known(left) or not is_known(right):
        raise NotConstant
    try:
        return bool(_COMPARE[type(op)](left, right))
    except _FAILURES:
        raise NotConstant from None


def subscript(value: Any, index: Any) -> Any:
    """Take an element or a slice."""
    if not isinstance(value, str | list | tuple | dict):
        raise NotConstant
    try:
        return value[index]
    except _FAILURES:
        raise NotConstant from None


def call(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call a pure function of the standard library by its full name (`builtins.int`)."""
    function = _PURE.get(name)
    if name == "builtins.range":
        return _range(args)
    is_usable = is_plain if name in _CONTAINERS else is_known
    if function is None or not all(map(is_usable, [*args, *kwargs.values()])):
        raise NotConstant
    if name == "builtins.pow" and len(args) == 2:
        _check_power(*args)
    try:
        return function(*args, **kwargs)
    except _FAILURES:
        raise NotConstant from None


def _range(args: Sequence[Any]) -> list[int]:
    try:
        numbers = range(*args)
    except _FAILURES:
        raise NotConstant from None
    if len(numbers) > MAX_ITEMS:
        raise NotConstant
    return list(numbers)


def is_pure(name: str) -> bool:
    """Tell whether `call` knows the function."""
    return name in _PURE or name == "builtins.range"


def method(value: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call a method of a built-in type."""
    if name not in _METHODS.get(type(value), ()):
        raise NotConstant
    if isinstance(value, str) and not all(map(is_known, [*args, *kwargs.values()])):
        raise NotConstant
    try:
        result = getattr(value, name)(*args, **kwargs)
    except _FAILURES:
        raise NotConstant from None
    return (
        list(result) if isinstance(value, dict) and name in ("keys", "values", "items") else result
    )


def constant(node: ast.expr) -> Any:
    """Return the value of an expression that is made of literals only.

    Raises:
        NotConstant: it has a name in it, or is nothing that this module works out.
    """
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp):
        return unary(node.op, constant(node.operand))
    if isinstance(node, ast.BinOp):
        return binary(node.op, constant(node.left), constant(node.right))
    if isinstance(node, ast.List):
        return _constants(node.elts)
    if isinstance(node, ast.Tuple):
        return tuple(_constants(node.elts))
    if isinstance(node, ast.Set):
        return _hashable(set, _constants(node.elts))
    if isinstance(node, ast.Dict):
        keys = [_key(key) for key in node.keys]
        return _hashable(dict, zip(keys, _constants(node.values), strict=True))
    if isinstance(node, ast.Call) and _is_plain_call(node.func) and not node.keywords:
        return call(f"builtins.{ast.unparse(node.func)}", _constants(node.args), {})
    raise NotConstant


def _is_plain_call(function: ast.expr) -> bool:
    names = ("int", "float", "str", "bool", "abs", "round", "min", "max")
    return isinstance(function, ast.Name) and function.id in names


def _constants(nodes: Iterable[ast.expr]) -> list[Any]:
    return [constant(node) for node in nodes]


def _key(node: ast.expr | None) -> Any:
    if node is None:
        raise NotConstant
    return constant(node)


def _hashable(make: Callable[[Any], Any], items: Any) -> Any:
    try:
        return make(items)
    except TypeError:
        raise NotConstant from None


def _not_constant() -> Any:
    raise NotConstant
