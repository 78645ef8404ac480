"""What the probe told of seeds and of chance: `.reenact/randomness`, a Python literal per line.

Whether a listing of a directory is put in order is read from the source, where the line still is: what
goes through `sorted`, or is only counted or looked up, is no source of chance.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from reenact.execute.testimony import read_literals
from reenact.execute.uses import spellings
from reenact.model.paths import path_to_text, printable
from reenact.model.run import Chance

_FILE = "randomness"
_CLAIMS = "seeds"
REMOVED = (_FILE, _CLAIMS)
"""Files in `.reenact/` of which nothing is left to know once the record is written."""

_MOST_CHANCES = 200
_MOST_GENERATORS = 50
_MOST_SOURCE_BYTES = 1 << 21
_CELL = re.compile(r"/ipykernel_\d+/\d+\.py\Z|^<ipython-input-")
"""What a kernel calls a cell of a notebook: another name each time."""
_LISTING = frozenset("listdir scandir walk fwalk glob iglob rglob iterdir".split())
_HARMLESS = frozenset("sorted len set frozenset any all max min sum bool natsorted Counter".split())
"""Functions of which the order of what they are given does not matter."""


class Told(NamedTuple):
    """What processes told of chance; the fields are those of `Randomness`."""

    seeded: dict[str, str]
    chances: tuple[Chance, ...]


def read_told(record_directory: str, directory: str, project: str) -> Told:
    """Read what a run's processes told.

    Args:
        record_directory: the run's `.reenact/`.
        directory: the run directory; files below it are named relative to it.
        project: the project's root; the same.
    """
    lines = [d for d in read_literals(f"{record_directory}/{_FILE}") if isinstance(d, dict)]
    if not lines:
        return Told({}, ())
    inside = (*spellings(directory), *spellings(project))
    # Other processes, with seeds of their own, may have drawn where the first one did not.
    is_alone = not os.path.exists(f"{record_directory}/{_CLAIMS}")
    return Told(_seeded(lines, inside, is_alone=is_alone), _chances(lines, inside))


def _seeded(
    lines: Iterable[Mapping[str, Any]], inside: tuple[str, ...], *, is_alone: bool
) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        name = line.get("generator")
        if not isinstance(name, str) or (name not in found and len(found) >= _MOST_GENERATORS):
            continue
        if line.get("by") == "reenact":
            if not line.get("unused"):
                found.setdefault(name, "reenact")
            elif is_alone and found.get(name) == "reenact":
                del found[name]
            continue
        at = _place(line.get("at"), inside) or str(line.get("by"))
        value = line.get("value")
        found[name] = printable(at if value is None else f"{value} at {at}")
    return found


def _chances(lines: Iterable[Mapping[str, Any]], inside: tuple[str, ...]) -> tuple[Chance, ...]:
    counts: dict[tuple[str, str, str | None], dict[int, int]] = {}
    sources = _Sources()
    for line in lines:
        kind, what = line.get("chance"), line.get("what")
        if not isinstance(kind, str) or not isinstance(what, str):
            continue
        at = line.get("at")
        if kind == "listing" and sources.has_order(at, line.get("column")):
            continue
        key = (kind, printable(what), _place(at, inside))
        if key not in counts and len(counts) >= _MOST_CHANCES:
            continue
        pid, count = line.get("pid"), line.get("count", 1)
        if isinstance(pid, int) and isinstance(count, int):
            # A process says a second time how often it was in all.
            seen = counts.setdefault(key, {})
            seen[pid] = max(seen.get(pid, 0), count)
    return tuple(
        Chance(kind=kind, what=what, place=place, count=sum(seen.values()))
        for (kind, what, place), seen in counts.items()
    )


def _place(at: object, inside: tuple[str, ...]) -> str | None:
    if not isinstance(at, list) or len(at) != 2:
        return None
    path, line = str(at[0]), at[1]
    if _CELL.search(path) is not None:
        return f"a cell:{line}"
    for directory in inside:
        if path.startswith(directory):
            path = path[len(directory) :]
            break
    return f"{path_to_text(path)}:{line}"


class _Sources:
    """The source of the lines where directories were listed, read when it is asked for."""

    def __init__(self) -> None:
        self._trees: dict[str, ast.Module | None] = {}

    def has_order(self, at: object, column: object) -> bool:
        """Tell whether the order of a listing at a place cannot matter."""
        if not isinstance(at, list) or len(at) != 2 or not isinstance(at[1], int):
            return False
        tree = self._tree(str(at[0]))
        if tree is None:
            return False
        return has_order(tree, at[1], column if isinstance(column, int) else None)

    def _tree(self, path: str) -> ast.Module | None:
        if path not in self._trees:
            self._trees[path] = None
            try:
                file = Path(path)
                if file.stat().st_size <= _MOST_SOURCE_BYTES:
                    self._trees[path] = ast.parse(file.read_bytes())
            except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
                pass  # Not to be read as Python: a cell of a notebook, a file that is gone.
        return self._trees[path]


def has_order(tree: ast.Module, line: int, column: int | None) -> bool:
    """Tell whether a listing at a line of a module is put in order, or its order does not matter.

    Args:
        tree: the module.
        line: where it is listed; a generator is listed where it is consumed.
        column: where the call begins, where that is known.
    """
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    calls = [
        node
        for node in parents
        if isinstance(node, ast.Call)
        and node.lineno <= line <= (node.end_lineno or node.lineno)
        and _name_of(node.func) in _LISTING
    ]
    exact = [call for call in calls if (call.lineno, call.col_offset) == (line, column)]
    wanted = exact or [call for call in calls if call.lineno == line] or calls
    if wanted:
        return all(_is_harmless(call, parents) for call in wanted)
    # It was made elsewhere, and is consumed here.
    users = [
        node
        for node in parents
        if isinstance(node, ast.Call)
        and node.lineno <= line <= (node.end_lineno or node.lineno)
        and _name_of(node.func) in _HARMLESS
    ]
    if users:
        return True
    return any(
        _loop_is_sorted(node)
        for node in parents
        if isinstance(node, ast.For | ast.AsyncFor) and node.lineno == line
    )


def _is_harmless(call: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> bool:
    node = call
    while (parent := parents.get(node)) is not None:
        if _forgets_order(parent, node):
            return True
        if isinstance(parent, ast.For | ast.AsyncFor):
            return _loop_is_sorted(parent)
        if isinstance(parent, ast.Assign | ast.AnnAssign | ast.NamedExpr):
            return _is_sorted_later(parent, parents)
        if isinstance(parent, ast.stmt):
            return isinstance(parent, ast.Expr) and node is call
        node = parent
    return False


def _forgets_order(parent: ast.AST, node: ast.AST) -> bool:
    """Tell whether what comes of a node does not depend on the order of what it is a part of."""
    match parent:
        case ast.Call():
            return _name_of(parent.func) in _HARMLESS
        case ast.Compare() | ast.SetComp():
            return True  # `name in os.listdir()`
        case ast.If() | ast.While() | ast.Assert():
            return parent.test is node
        case ast.UnaryOp():
            return isinstance(parent.op, ast.Not)
    return False


def _is_sorted_later(
    assignment: ast.Assign | ast.AnnAssign | ast.NamedExpr, parents: Mapping[ast.AST, ast.AST]
) -> bool:
    """Tell whether what an assignment gives a name to is sorted somewhere in the same function."""
    targets = assignment.targets if isinstance(assignment, ast.Assign) else [assignment.target]
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    scope: ast.AST = assignment
    while not isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef | ast.Module):
        scope = parents[scope]
    return bool(names) and _sorts_any(scope, names)


def _loop_is_sorted(loop: ast.For | ast.AsyncFor) -> bool:
    """Tell whether the files of an `os.walk` are sorted in the body, as its directories should be."""
    target = loop.target
    if not isinstance(target, ast.Tuple) or len(target.elts) < 3:
        return False
    names = {element.id for element in target.elts[1:3] if isinstance(element, ast.Name)}
    return any(_sorts_any(statement, names) for statement in loop.body)


def _sorts_any(scope: ast.AST, names: Iterable[str]) -> bool:
    for node in ast.walk(scope):
        if not isinstance(node, ast.Call):
            continue
        used = [a.id for a in node.args if isinstance(a, ast.Name)]
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            used = [node.func.value.id] if node.func.attr == "sort" else used
        if _name_of(node.func) in ("sort", "sorted", "natsorted", "set") and set(names) & set(used):
            return True
    return False


def _name_of(function: ast.expr) -> str | None:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else None
