"""Flags that are literals assigned at module level: `lr = 0.1`, `a, b = 1, 2`, `c = dict(lr=0.1)`.

A name is a flag if its first assignment at module level (or directly under `if __name__ ==
"__main__":`) is a literal and nothing else at module level binds it. Assignments inside functions
(`global lr`) do not matter: they happen after the literal has done its work.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from reenact.model.flags import Flag, FlagValue, Global, type_of
from reenact.project.detect.evaluate import NotConstant, constant
from reenact.project.detect.source import Source

_MAX_MEMBERS = 100
_MAX_LENGTH = 1000
_MEMBER = re.compile(r"[A-Za-z_][\w-]*\Z")
_NAMESPACES = frozenset(
    "SimpleNamespace Namespace dict Dict EasyDict edict AttrDict AttributeDict DotDict Munch Box "
    "ConfigDict DictConfig OmegaConf.create DefaultMunch".split()
)


def find_globals(source: Source, named: Collection[str] = ()) -> list[Flag]:
    """Return the flags among the module-level assignments of a script.

    Args:
        source: the script.
        named: what somebody called a flag: its first literal is one, whatever binds it later.
    """
    from blake3 import blake3

    assignments = list(_assignments(source.tree.body, set()))
    spoiled = _spoiled(source.tree.body, {id(node) for _, _, node in assignments})
    finder = _Finder(source, blake3(source.content).hexdigest(), spoiled)
    finder.named = frozenset(named)
    for name, value, _ in assignments:
        finder.add(name, value, depth=0)
    return finder.flags


class Opening(NamedTuple):
    """Where an entry can be put into a dict or namespace: just behind its opening bracket.

    Attributes:
        at: byte offset.
        is_keyword: the entry is an argument of a call.
        keys: of the entries that are there.
    """

    at: int
    is_keyword: bool
    keys: frozenset[str]


def find_openings(source: Source, name: str) -> dict[tuple[str, ...], Opening]:
    """Return where entries can be put into what is assigned to a name, by the keys on the way there.

    Where other entries may come later from elsewhere (`**defaults`) there is no such place.
    """
    assignments = list(_assignments(source.tree.body, set()))
    if name in _spoiled(source.tree.body, {id(node) for _, _, node in assignments}):
        return {}
    found: dict[tuple[str, ...], Opening] = {}
    waiting: list[tuple[tuple[str, ...], ast.expr]] = [
        ((), value) for assigned, value, _ in assignments if assigned == name
    ]
    while waiting:
        keys, node = waiting.pop()
        opening = _opening(source, node)
        if opening is not None:
            found[keys] = opening
        waiting += [((*keys, key), value) for key, value in _members(node) or []]
    return found


def _opening(source: Source, node: ast.expr) -> Opening | None:
    if isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords:
        node = node.args[0]
    if isinstance(node, ast.Dict):
        keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
        if len(keys) < len(node.keys):
            return None
        return Opening(source.span(node)[0] + 1, False, frozenset(map(str, keys)))
    if not isinstance(node, ast.Call) or _members(node) is None or node.args:
        return None
    names = [keyword.arg for keyword in node.keywords if keyword.arg is not None]
    if len(names) < len(node.keywords):
        return None
    at = source.content.index(b"(", source.span(node.func)[1]) + 1
    return Opening(at, True, frozenset(names))


def _assignments(
    body: list[ast.stmt], seen: set[str], *, inside_main: bool = False
) -> Iterator[tuple[str, ast.expr, ast.stmt]]:
    """Yield the first assignment of each name, in order."""
    for node in body:
        if isinstance(node, ast.If) and not inside_main and _is_main_test(node.test):
            yield from _assignments(node.body, seen, inside_main=True)
            continue
        pairs = _pairs(node)
        names = [name for name, _ in pairs]
        # `a, b = 1, 2` binds all of its names at once: it is the first of all of them or of none.
        if not seen.isdisjoint(names) or len(set(names)) < len(names):
            continue
        seen.update(names)
        for name, value in pairs:
            if not name.startswith("_"):
                yield name, value, node


def _pairs(node: ast.stmt) -> list[tuple[str, ast.expr]]:
    """Return the names that a statement assigns, each with the source of its value."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
        return [(node.target.id, node.value)]
    if not isinstance(node, ast.Assign) or len(node.targets) != 1:
        return []
    target, value = node.targets[0], node.value
    if isinstance(target, ast.Name):
        return [(target.id, value)]
    if not isinstance(target, ast.Tuple | ast.List) or not isinstance(value, ast.Tuple | ast.List):
        return []
    names = [name.id for name in target.elts if isinstance(name, ast.Name)]
    if len(names) != len(target.elts) or len(names) != len(value.elts):
        return []
    if any(isinstance(element, ast.Starred) for element in value.elts):
        return []
    return list(zip(names, value.elts, strict=True))


def _is_main_test(test: ast.expr) -> bool:
    return (
        isinstance(test, ast.Compare)
        and len(test.ops) == 1
        and isinstance(test.ops[0], ast.Eq)
        and any(
            isinstance(n, ast.Name) and n.id == "__name__" for n in (test.left, *test.comparators)
        )
    )


def _spoiled(body: list[ast.stmt], first: set[int]) -> set[str]:
    """Return names, and members as `config.lr`, that module-level code binds other than at first.

    Bodies of functions and classes are not looked at: they are other namespaces, or run later.
    """
    spoiled: set[str] = set()
    pending: list[ast.AST] = list(body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            spoiled.add(node.name)
            continue
        if isinstance(
            node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
        ):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            spoiled.update((a.asname or a.name).partition(".")[0] for a in node.names)
        elif isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                spoiled.add(node.id)
        elif isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            member = _member(node)
            if member is not None:
                spoiled.add(member)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            spoiled.add(node.name)
        if id(node) in first:
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            if node.value is not None:
                pending.append(node.value)
            continue
        pending.extend(ast.iter_child_nodes(node))
    return spoiled


def _member(node: ast.expr) -> str | None:
    """Return the dotted name of `config.lr` or `config["lr"]`."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner, name = _member(node.value), node.attr
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        owner, name = _member(node.value), str(node.slice.value)
    else:
        return None
    return None if owner is None else f"{owner}.{name}"


class _Finder:
    def __init__(self, source: Source, digest: str, spoiled: set[str]) -> None:
        self._source = source
        self._digest = digest
        self._spoiled = spoiled
        self.named: frozenset[str] = frozenset()
        self.flags: list[Flag] = []

    def add(self, name: str, node: ast.expr, *, depth: int) -> None:
        """Add the flag `name`, or the flags of its members, if `node` is a literal."""
        if name in self._spoiled and name not in self.named:
            return
        members = _members(node)
        if members is not None:
            if depth < 5 and len(members) <= _MAX_MEMBERS:
                for member, value in members:
                    self.add(f"{name}.{member}", value, depth=depth + 1)
            return
        try:
            literal = _flag_value(constant(node))
        except NotConstant:
            return
        is_named = name in self.named
        if (literal == [] and not is_named) or (
            isinstance(literal, str | list) and len(literal) > _MAX_LENGTH
        ):
            return  # a list to be filled, or data, is no setting
        start, end = self._source.span(node)
        self.flags.append(
            Flag(
                name=name,
                binding=Global(file=self._source.name, start=start, end=end, digest=self._digest),
                type=type_of(literal),
                default=literal,
                found=self._source.at(node),
            )
        )


def _members(node: ast.expr) -> list[tuple[str, ast.expr]] | None:
    """Return the members of a dict or of a namespace, or None if it is something else."""
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else ""
        if name not in _NAMESPACES and name.rpartition(".")[2] not in _NAMESPACES:
            return None
        members = [(k.arg, k.value) for k in node.keywords if k.arg is not None]
        for argument in node.args:
            members += (_members(argument) or []) if isinstance(argument, ast.Dict) else []
        return members
    if not isinstance(node, ast.Dict):
        return None
    return [
        (key.value, value)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(key.value, str) and _MEMBER.match(key.value)
    ]


def _flag_value(value: object) -> FlagValue:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_flag_value(item) for item in value]
    if isinstance(value, set) and all(isinstance(item, int | float | str) for item in value):
        return [_flag_value(item) for item in sorted(value, key=str)]
    raise NotConstant
