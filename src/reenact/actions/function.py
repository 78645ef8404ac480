"""A function as an operation: its flags are its arguments."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from reenact.actions.in_process import Code
from reenact.actions.running_code import find_code
from reenact.errors import UnknownFlag, UsageError
from reenact.model.paths import printable
from reenact.model.run import Operation, OperationKind
from reenact.project.flag_text import nearest


class Bound(NamedTuple):
    """A function with its arguments.

    Attributes:
        flags: every parameter with the value that it will have.
        code: what a run of it executes.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    flags: dict[str, Any]
    code: Code


def bind(function: Callable[..., Any], settings: Mapping[str, Any]) -> Bound:
    """Give a function its arguments.

    Raises:
        UnknownFlag: it has no such parameter.
        UsageError: a parameter has no value, or the function cannot be called just so.
    """
    name = _name_of(function)
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise UsageError(
            f"`{name}` returns before it has done its work: it is a coroutine or a generator",
            hint="put what consumes it into `with reenact.start():`",
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        # Written in C, without a signature: it will say itself what it does not take.
        return Bound((), dict(settings), dict(settings), _code_of(function, name))
    parameters = signature.parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        _refuse_unknown(name, settings, signature)
    bound = inspect.BoundArguments(signature, {})  # filled in below
    rest = dict(settings)
    flags: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            bound.arguments[parameter.name] = rest
            flags.update(rest)
        elif parameter.name in rest:
            flags[parameter.name] = bound.arguments[parameter.name] = rest.pop(parameter.name)
        elif parameter.default is parameter.empty:
            raise UsageError(f"flag `{parameter.name}` of `{name}` is required")
        else:
            flags[parameter.name] = bound.arguments[parameter.name] = parameter.default
    return Bound(bound.args, bound.kwargs, flags, _code_of(function, name))


def takes(function: Callable[..., Any], name: str) -> bool:
    """Tell whether a function can be given an argument of a name."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return True  # Written in C, without a signature: it will say itself.
    kinds = [parameter.kind for parameter in parameters.values()]
    return name in parameters or inspect.Parameter.VAR_KEYWORD in kinds


def _refuse_unknown(name: str, settings: Mapping[str, Any], signature: inspect.Signature) -> None:
    for flag in settings:
        if flag not in signature.parameters:
            close = nearest(flag, list(signature.parameters))
            listed = ", ".join(signature.parameters) or "it has none"
            hint = f"did you mean `{close}`? flags are: {listed}" if close else f"flags: {listed}"
            raise UnknownFlag(f"unknown flag `{flag}` for `{name}`", hint=hint)


def _name_of(function: Callable[..., Any]) -> str:
    name = getattr(function, "__qualname__", None)
    if not isinstance(name, str):
        inner = getattr(function, "func", None)  # of functools.partial
        name = getattr(inner, "__qualname__", type(function).__qualname__)
    return printable(str(name))


def _code_of(function: Callable[..., Any], name: str) -> Code:
    """Say where a function comes from; one of a notebook or a prompt comes with the cells."""
    here = find_code(name)
    code = getattr(inspect.unwrap(function), "__code__", None)
    file = getattr(code, "co_filename", None)
    texts = dict(here.texts)
    target, directory = name, here.directory
    if isinstance(file, str) and os.path.isfile(file) and not file.startswith(sys.prefix):
        file = os.path.abspath(file)
        target, directory = f"{file}:{name}", os.path.dirname(os.path.realpath(file))
    operation = Operation(
        name=name, kind=OperationKind.FUNCTION, target=printable(target), flags_kind="arguments"
    )
    return Code(operation, directory, texts)
