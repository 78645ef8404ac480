"""What a traced script's expressions can be: constants are themselves, the rest is here."""

from __future__ import annotations

import ast
import bisect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from reenact.model.flags import FlagValue
from reenact.project.detect.evaluate import NotConstant
from reenact.project.detect.source import Source, word_lines

if TYPE_CHECKING:
    from reenact.project.detect.trace import Trace

Value: TypeAlias = Any
"""A constant of Python, or one of the classes below."""

HERE: Final = "\0here"
"""Stands for the directory of a source file, which differs between runs."""


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()
MISSING: Final = _Unknown()
"""Says that an argument was not given."""


class External:
    """Something of a module that is not the project's: `argparse.ArgumentParser`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, External) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


class Module:
    """A local module, and the lines in it that have to do with flags."""

    def __init__(self, source: Source, dotted: str, *, is_main: bool, words: set[str]) -> None:
        self.source = source
        self.scope = Scope(None, self)
        self.scope.names["__name__"] = "__main__" if is_main else dotted
        self.scope.names["__file__"] = f"{HERE}/{source.name.rpartition('/')[2]}"
        self.is_executed = False
        self.stars: list[str] = []
        self._words: set[str] = set()
        self._lines: list[int] = []
        self._blocks = list(_blocks(source.tree.body))
        self.add_words(words)

    def add_words(self, words: set[str]) -> None:
        """Watch for these words too, and for functions and classes in which they stand."""
        lines = set(self._lines)
        while words - self._words:
            fresh = words - self._words
            self._words |= fresh
            lines.update(word_lines(self.source.text, fresh))
            self._lines = sorted(lines)
            words = {
                name
                for name, first, last in self._blocks
                if name not in self._words and self._has_line(first, last)
            }

    def is_hot(self, node: ast.stmt | ast.expr) -> bool:
        """Tell whether the lines of a node have to do with flags."""
        first = node.lineno
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min((d.lineno for d in node.decorator_list), default=first)
        return self._has_line(first, node.end_lineno or first)

    def _has_line(self, first: int, last: int) -> bool:
        at = bisect.bisect_left(self._lines, first)
        return at < len(self._lines) and self._lines[at] <= last


def _blocks(body: list[ast.stmt]) -> list[tuple[str, int, int]]:
    """Return name, first and last line of the functions and classes, nested ones too."""
    found: list[tuple[str, int, int]] = []
    pending = list(body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append((node.name, node.lineno, node.end_lineno or node.lineno))
            pending += node.body
        elif isinstance(node, ast.If | ast.For | ast.While | ast.With):
            pending += node.body
            pending += getattr(node, "orelse", [])
        elif isinstance(node, ast.Try):
            pending += [*node.body, *node.orelse, *node.finalbody]
    return found


class Scope:
    """The names of a module, a class or a call."""

    __slots__ = ("module", "names", "outer", "result")

    def __init__(self, outer: Scope | None, module: Module) -> None:
        self.names: dict[str, Value] = {}
        self.outer = outer
        self.module = module
        self.result: Value = MISSING


class Lazy:
    """An expression that is worked out when somebody asks."""

    __slots__ = ("_node", "_scope", "_value")

    def __init__(self, node: ast.expr, scope: Scope) -> None:
        self._node: ast.expr | None = node
        self._scope = scope
        self._value: Value = UNKNOWN

    def force(self, trace: Trace) -> Value:
        """Return the value; an expression that needs itself is unknown."""
        if self._node is not None:
            node, self._node = self._node, None
            self._value = trace.evaluate(node, self._scope)
        return self._value


class LaterImport:
    """A name of a local module that nobody has asked for yet."""

    __slots__ = ("_importer", "_module", "_name")

    def __init__(self, module: str, name: str | None, importer: Module) -> None:
        self._module = module
        self._name = name
        self._importer = importer

    def force(self, trace: Trace) -> Value:
        """Import the module and return what was meant."""
        return trace.import_now(self._module, self._name, self._importer)


class LocalModule:
    """A module of the project, as a value; `module` is None for a folder without a file.

    `package` is the dotted name to find submodules by, as seen from `importer`.
    """

    __slots__ = ("importer", "module", "package")

    def __init__(self, module: Module | None, package: str, importer: Module) -> None:
        self.module = module
        self.package = package
        self.importer = importer


class Function:
    """A function of the project, perhaps bound to an instance."""

    __slots__ = ("bound", "extras", "module", "node", "owner", "scope")

    def __init__(
        self,
        node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda,
        scope: Scope,
        owner: Class | None = None,
        bound: Value = MISSING,
    ) -> None:
        self.node = node
        self.scope = scope
        self.module = scope.module
        self.owner = owner
        self.bound = bound
        self.extras: list[Any] = []
        """What decorators of a framework left on the function."""

    def bind(self, value: Value) -> Function:
        """Return the function as a method of a value."""
        return Function(self.node, self.scope, self.owner, value)


class Class:
    """A class of the project, with the scope of its body."""

    __slots__ = ("_bases", "_find_bases", "module", "node", "scope")

    def __init__(
        self, node: ast.ClassDef, find_bases: Callable[[], list[Value]], scope: Scope
    ) -> None:
        self.node = node
        self.scope = scope
        self.module = scope.module
        self._find_bases = find_bases
        self._bases: list[Value] | None = None

    @property
    def bases(self) -> list[Value]:
        """The local classes and `External`s that it inherits from; other bases are unknown."""
        if self._bases is None:
            self._bases = []  # what a class that inherits from itself sees
            self._bases = self._find_bases()
        return self._bases

    def ancestry(self) -> list[Class]:
        """Return the class and its local ancestors, nearest first."""
        found: list[Class] = []
        pending: list[Class] = [self]
        while pending:
            owner = pending.pop(0)
            if owner not in found:
                found.append(owner)
                pending = [base for base in owner.bases if isinstance(base, Class)] + pending
        return found

    def external_bases(self) -> list[str]:
        """Return the names of all ancestors that are not the project's."""
        return [
            base.name
            for owner in self.ancestry()
            for base in owner.bases
            if isinstance(base, External)
        ]

    @property
    def is_enum(self) -> bool:
        """Whether this is an enumeration."""
        return any(name.rpartition(".")[2] in _ENUMS for name in self.external_bases())

    def member_names(self) -> list[str]:
        """Return the names of an enumeration's members."""
        return [
            target.id
            for node in self.node.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name) and not target.id.startswith("_")
        ]


_ENUMS = frozenset(("Enum", "StrEnum", "IntEnum", "Flag", "IntFlag"))


class EnumMember:
    """A member of a local enumeration."""

    __slots__ = ("name", "owner", "value")

    def __init__(self, owner: Class, name: str, value: Value) -> None:
        self.owner = owner
        self.name = name
        self.value = value


class Instance:
    """An object of a local class; `native` is what its foreign base class makes of it."""

    __slots__ = ("attributes", "kwargs", "native", "owner")

    def __init__(self, owner: Class) -> None:
        self.owner = owner
        self.attributes: dict[str, Value] = {}
        self.kwargs: dict[str, Value] = {}
        self.native: Value = None


class Super:
    """`super()` inside a method: an instance, looked at from behind a class."""

    __slots__ = ("behind", "instance")

    def __init__(self, instance: Value, behind: Class) -> None:
        self.instance = instance
        self.behind = behind


class PlainMethod:
    """A method of a constant: `"a b".split`."""

    __slots__ = ("name", "value")

    def __init__(self, value: Value, name: str) -> None:
        self.value = value
        self.name = name


class Site:
    """One call: its arguments as values and as expressions.

    Attributes:
        is_complete: False if some arguments are not known (`*args`, `**options`).
    """

    __slots__ = ("_nodes", "args", "is_complete", "kwargs", "module", "node", "trace")

    def __init__(self, trace: Trace, node: ast.expr | ast.stmt, module: Module) -> None:
        self.trace = trace
        self.node = node
        self.module = module
        self.args: list[Value] = []
        self.kwargs: dict[str, Value] = {}
        self.is_complete = True
        self._nodes: dict[int | str, ast.expr] = {}

    def add(self, value: Value, node: ast.expr | None, name: str | None = None) -> None:
        """Add an argument."""
        if node is not None:
            self._nodes[len(self.args) if name is None else name] = node
        if name is None:
            self.args.append(value)
        else:
            self.kwargs[name] = value

    def get(self, name: str, position: int | None = None, default: Value = MISSING) -> Value:
        """Return an argument by name or position."""
        if name in self.kwargs:
            return self.kwargs[name]
        if position is not None and position < len(self.args):
            return self.args[position]
        return default

    def text_of(self, name: str, position: int | None = None) -> str | None:
        """Return an argument's source text."""
        node = self._nodes.get(name)
        if node is None and position is not None:
            node = self._nodes.get(position)
        return None if node is None else self.module.source.segment(node)

    @property
    def at(self) -> str:
        """`file:line` of the call."""
        return self.module.source.at(self.node)


class Native:
    """An object of a framework that the trace understands."""

    passes_through = False
    """Whether an unknown function that takes the object is thought to return it."""

    def attribute(self, name: str, trace: Trace) -> Value:
        """Return an attribute; methods are `Method`s."""
        del name, trace
        return UNKNOWN

    def call(self, site: Site) -> Value:
        """Call the object."""
        return site.trace.call_unknown(site)

    def escape(self, site: Site) -> None:
        """Note that the object was given to code that cannot be followed."""


class Method(Native):
    """A method of a framework's object, or a function of its module."""

    def __init__(self, function: Callable[[Site], Value]) -> None:
        self._function = function

    def call(self, site: Site) -> Value:
        """Call it."""
        return self._function(site)


def is_interesting(value: Value) -> bool:
    """Tell whether lines that use the value have to do with flags."""
    if isinstance(value, Native):
        return True
    if isinstance(value, Instance):
        return value.native is not None or value.owner.module.is_hot(value.owner.node)
    if isinstance(value, Class | Function):
        return value.module.is_hot(value.node)
    return False


def flag_value(value: Value) -> FlagValue:
    """Turn a constant into what a flag can hold.

    Raises:
        NotConstant: it cannot be known, or is nothing that a flag can hold.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise NotConstant
        return value
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [flag_value(item) for item in value]
    if isinstance(value, set):
        return [flag_value(item) for item in sorted(value, key=str)]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: flag_value(item) for key, item in value.items()}
    if isinstance(value, EnumMember):
        return flag_value(value.value)
    raise NotConstant
