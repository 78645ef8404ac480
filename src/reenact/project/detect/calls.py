"""How the arguments of a call reach the parameters of a local function."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from reenact.project.detect.values import (
    MISSING,
    UNKNOWN,
    Function,
    Scope,
    Site,
    is_interesting,
)

if TYPE_CHECKING:
    from reenact.project.detect.trace import Trace


def bind_arguments(trace: Trace, function: Function, site: Site, scope: Scope) -> None:
    """Give the parameters of a function their values; what the call does not tell is unknown."""
    arguments = function.node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    args = list(site.args)
    if function.bound is not MISSING and not _is_static(function.node):
        args.insert(0, function.bound)
    kwargs = dict(site.kwargs)
    defaults = dict(zip(reversed(positional), reversed(arguments.defaults), strict=False))
    defaults.update(
        {a: d for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d}
    )
    for at, parameter in enumerate((*positional, *arguments.kwonlyargs)):
        name = parameter.arg
        if at < len(positional) and at < len(args):
            value = args[at]
        elif name in kwargs:
            value = kwargs.pop(name)
        elif parameter in defaults and site.is_complete:
            value = trace.evaluate(defaults[parameter], function.scope)
        else:
            value = UNKNOWN
        if is_interesting(value):
            function.module.add_words({name})
        scope.names[name] = value
    if arguments.vararg is not None:
        rest = args[len(positional) :]
        scope.names[arguments.vararg.arg] = tuple(rest) if site.is_complete else UNKNOWN
    if arguments.kwarg is not None:
        scope.names[arguments.kwarg.arg] = kwargs if site.is_complete else UNKNOWN
    # For `super()` without arguments.
    scope.names["__class__"] = function.owner


def _is_static(node: ast.AST) -> bool:
    return any(
        isinstance(d, ast.Name) and d.id == "staticmethod"
        for d in getattr(node, "decorator_list", ())
    )
