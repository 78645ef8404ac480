"""What the expressions of a traced script evaluate to, one function for each kind."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from reenact.project.detect import evaluate as constants
from reenact.project.detect.evaluate import MAX_ITEMS, NotConstant
from reenact.project.detect.values import (
    HERE,
    MISSING,
    UNKNOWN,
    Class,
    EnumMember,
    External,
    Function,
    Instance,
    LocalModule,
    Native,
    PlainMethod,
    Scope,
    Site,
    Super,
    Value,
)

if TYPE_CHECKING:
    from reenact.project.detect.trace import Trace


def _name(trace: Trace, node: ast.Name, scope: Scope) -> Value:
    return trace.look_up(node.id, scope)


def _attribute(trace: Trace, node: ast.Attribute, scope: Scope) -> Value:
    return trace.attribute(trace.evaluate(node.value, scope), node.attr)


def attribute_of(trace: Trace, value: Value, name: str) -> Value:
    """Return an attribute of a value; it may be one that is still to be forced."""
    if isinstance(value, External):
        full = f"{value.name}.{name}"
        return constants.CONSTANTS.get(full, External(full))
    if isinstance(value, Native):
        return value.attribute(name, trace)
    if isinstance(value, Instance):
        return _of_instance(trace, value, name)
    if isinstance(value, Class):
        return _of_class(trace, value, name)
    if isinstance(value, LocalModule):
        return _of_module(trace, value, name)
    if isinstance(value, Super):
        return _of_super(trace, value, name)
    if isinstance(value, EnumMember):
        return {"value": value.value, "name": value.name}.get(name, UNKNOWN)
    if isinstance(value, str) and value.startswith(HERE) and name in ("stem", "name", "parent"):
        return _of_path(value, name)
    return PlainMethod(value, name) if constants.is_plain(value) else UNKNOWN


def _of_path(path: str, name: str) -> str:
    directory, _, last = path.rpartition("/")
    return {"name": last, "stem": last.rpartition(".")[0] or last, "parent": directory}[name]


def _of_instance(trace: Trace, value: Instance, name: str) -> Value:
    if name in value.attributes:
        return value.attributes[name]
    for owner in value.owner.ancestry():
        if name in owner.scope.names:
            return _bound(trace, owner.scope.names[name], value)
    if isinstance(value.native, Native):
        return value.native.attribute(name, trace)
    return value.kwargs.get(name, UNKNOWN)


def _bound(trace: Trace, member: Value, instance: Instance) -> Value:
    if not isinstance(member, Function):
        return member
    method = member.bind(_receiver(member, instance.owner, instance))
    decorators = getattr(member.node, "decorator_list", ())
    if any(isinstance(d, ast.Name) and d.id in ("property", "cached_property") for d in decorators):
        return trace.call_function(method, Site(trace, ast.Pass(lineno=1), member.module))
    return method


def _receiver(member: Function, owner: Class, instance: Value) -> Value:
    decorators = getattr(member.node, "decorator_list", ())
    is_class_method = any(isinstance(d, ast.Name) and d.id == "classmethod" for d in decorators)
    return owner if is_class_method else instance


def _of_class(trace: Trace, value: Class, name: str) -> Value:
    for owner in value.ancestry():
        if name not in owner.scope.names:
            continue
        member = owner.scope.names[name]
        if isinstance(member, Function):
            receiver = _receiver(member, value, MISSING)
            return member if receiver is MISSING else member.bind(receiver)
        if value.is_enum and name in owner.member_names():
            return EnumMember(owner, name, trace.look_up(name, owner.scope))
        return member
    if name == "__name__":
        return value.node.name
    if name == "__members__" and value.is_enum:
        return {n: trace.attribute(value, n) for n in value.member_names()}
    return UNKNOWN


def _of_module(trace: Trace, value: LocalModule, name: str) -> Value:
    if value.module is not None:
        found = trace.look_up(name, value.module.scope, builtin=False)
        if found is not MISSING:
            return found
    return trace.import_now(value.package, name, value.importer)


def _of_super(trace: Trace, value: Super, name: str) -> Value:
    instance = value.instance
    if not isinstance(instance, Instance):
        return UNKNOWN
    ancestry = instance.owner.ancestry()
    after = ancestry.index(value.behind) + 1 if value.behind in ancestry else len(ancestry)
    for owner in ancestry[after:]:
        if name in owner.scope.names:
            return _bound(trace, owner.scope.names[name], instance)
    if isinstance(instance.native, Native):
        return instance.native.attribute(name, trace)
    return UNKNOWN


def _call(trace: Trace, node: ast.Call, scope: Scope) -> Value:
    if isinstance(node.func, ast.Name) and node.func.id == "super":
        return _super(trace, node, scope)
    function = trace.evaluate(node.func, scope)
    site = Site(trace, node, scope.module)
    for argument in node.args:
        if not isinstance(argument, ast.Starred):
            site.add(trace.evaluate(argument, scope), argument)
            continue
        items = trace.evaluate(argument.value, scope)
        if isinstance(items, list | tuple):
            for item in items:
                site.add(item, None)
        else:
            site.is_complete = False
    for keyword in node.keywords:
        value = trace.evaluate(keyword.value, scope)
        if keyword.arg is not None:
            site.add(value, keyword.value, keyword.arg)
        elif isinstance(value, dict):
            for name, item in value.items():
                site.add(item, None, str(name))
        else:
            site.is_complete = False
    return trace.call(function, site)


def _super(trace: Trace, node: ast.Call, scope: Scope) -> Value:
    if len(node.args) == 2:
        behind, instance = (trace.evaluate(argument, scope) for argument in node.args)
    else:
        behind = trace.look_up("__class__", scope, builtin=False)
        instance = next(iter(scope.names.values()), UNKNOWN)
    return Super(instance, behind) if isinstance(behind, Class) else UNKNOWN


def _items(trace: Trace, nodes: list[ast.expr], scope: Scope) -> list[Value]:
    items: list[Value] = []
    for node in nodes:
        if isinstance(node, ast.Starred):
            items += trace.iterate(trace.evaluate(node.value, scope))
        else:
            items.append(trace.evaluate(node, scope))
    return items


def _list(trace: Trace, node: ast.List, scope: Scope) -> Value:
    return _items(trace, node.elts, scope)


def _tuple(trace: Trace, node: ast.Tuple, scope: Scope) -> Value:
    return tuple(_items(trace, node.elts, scope))


def _set(trace: Trace, node: ast.Set, scope: Scope) -> Value:
    return _collect(set, _items(trace, node.elts, scope))


def _collect(make: Callable[[Any], Any], items: Any) -> Any:
    try:
        return make(items)
    except TypeError:
        raise NotConstant from None


def _dict(trace: Trace, node: ast.Dict, scope: Scope) -> Value:
    items: dict[Value, Value] = {}
    for key, value in zip(node.keys, node.values, strict=True):
        result = trace.evaluate(value, scope)
        if key is None:
            if not isinstance(result, dict):
                raise NotConstant
            items.update(result)
            continue
        name = trace.evaluate(key, scope)
        if name is UNKNOWN:
            raise NotConstant
        _collect(lambda pair: items.update([pair]), (name, result))
    return items


def _binary(trace: Trace, node: ast.BinOp, scope: Scope) -> Value:
    left = trace.evaluate(node.left, scope)
    return constants.binary(node.op, left, trace.evaluate(node.right, scope))


def _unary(trace: Trace, node: ast.UnaryOp, scope: Scope) -> Value:
    value = trace.evaluate(node.operand, scope)
    if isinstance(node.op, ast.Not):
        truth = trace.truth(value)
        return UNKNOWN if truth is None else not truth
    return constants.unary(node.op, value)


def _boolean(trace: Trace, node: ast.BoolOp, scope: Scope) -> Value:
    stops = isinstance(node.op, ast.Or)
    value: Value = UNKNOWN
    is_known = True
    for operand in node.values:
        value = trace.evaluate(operand, scope)
        truth = trace.truth(value)
        if truth is stops:
            return value if is_known or constants.is_plain(value) else UNKNOWN
        is_known = is_known and truth is not None
    return value if is_known else UNKNOWN


def _compare(trace: Trace, node: ast.Compare, scope: Scope) -> Value:
    left = trace.evaluate(node.left, scope)
    for op, right_node in zip(node.ops, node.comparators, strict=True):
        right = trace.evaluate(right_node, scope)
        if not constants.compare(op, left, right):
            return False
        left = right
    return True


def _if_expression(trace: Trace, node: ast.IfExp, scope: Scope) -> Value:
    truth = trace.truth(trace.evaluate(node.test, scope))
    if truth is not None:
        return trace.evaluate(node.body if truth else node.orelse, scope)
    trace.uncertain += 1
    values = trace.evaluate(node.body, scope), trace.evaluate(node.orelse, scope)
    trace.uncertain -= 1
    natives = [value for value in values if isinstance(value, Native | Instance)]
    return natives[0] if natives else UNKNOWN


def _subscript(trace: Trace, node: ast.Subscript, scope: Scope) -> Value:
    value = trace.evaluate(node.value, scope)
    if isinstance(node.slice, ast.Slice):
        bounds = [
            None if bound is None else trace.evaluate(bound, scope)
            for bound in (node.slice.lower, node.slice.upper, node.slice.step)
        ]
        return constants.subscript(value, slice(*bounds))
    index = trace.evaluate(node.slice, scope)
    if isinstance(value, Class) and value.is_enum and isinstance(index, str):
        return trace.attribute(value, index)
    return constants.subscript(value, index)


def _f_string(trace: Trace, node: ast.JoinedStr, scope: Scope) -> Value:
    parts = []
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            value = trace.evaluate(part.value, scope)
            if not isinstance(value, str | int | float | bool) or part.format_spec is not None:
                raise NotConstant
            parts.append(repr(value) if part.conversion == ord("r") else str(value))
        else:
            parts.append(str(trace.evaluate(part, scope)))
    return "".join(parts)


def _comprehension(
    trace: Trace, generators: list[ast.comprehension], scope: Scope, take: Callable[[Scope], None]
) -> None:
    if not generators:
        take(scope)
        return
    first = generators[0]
    items = trace.iterate(trace.evaluate(first.iter, scope))
    if len(items) > MAX_ITEMS // 10:
        raise NotConstant
    for item in items:
        trace.bind(first.target, item, scope)
        truths = [trace.truth(trace.evaluate(test, scope)) for test in first.ifs]
        if None in truths:
            raise NotConstant
        if all(truths):
            _comprehension(trace, generators[1:], scope, take)


def _list_comprehension(
    trace: Trace, node: ast.ListComp | ast.GeneratorExp | ast.SetComp, scope: Scope
) -> Value:
    items: list[Value] = []
    inner = Scope(scope, scope.module)
    element = node.elt
    _comprehension(
        trace, node.generators, inner, lambda scope: items.append(trace.evaluate(element, scope))
    )
    return _collect(set, items) if isinstance(node, ast.SetComp) else items


def _dict_comprehension(trace: Trace, node: ast.DictComp, scope: Scope) -> Value:
    pairs: list[tuple[Value, Value]] = []

    def take(scope: Scope) -> None:
        pairs.append((trace.evaluate(node.key, scope), trace.evaluate(node.value, scope)))

    _comprehension(trace, node.generators, Scope(scope, scope.module), take)
    return _collect(dict, pairs)


def _lambda(trace: Trace, node: ast.Lambda, scope: Scope) -> Value:
    del trace
    return Function(node, scope)


def _named(trace: Trace, node: ast.NamedExpr, scope: Scope) -> Value:
    value = trace.evaluate(node.value, scope)
    trace.bind(node.target, value, scope)
    return value


def _inner(trace: Trace, node: ast.Await | ast.Starred, scope: Scope) -> Value:
    return trace.evaluate(node.value, scope)


EVALUATE: dict[type[ast.expr], Callable[[Trace, Any, Scope], Value]] = {
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Call: _call,
    ast.List: _list,
    ast.Tuple: _tuple,
    ast.Set: _set,
    ast.Dict: _dict,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.BoolOp: _boolean,
    ast.Compare: _compare,
    ast.IfExp: _if_expression,
    ast.Subscript: _subscript,
    ast.JoinedStr: _f_string,
    ast.ListComp: _list_comprehension,
    ast.GeneratorExp: _list_comprehension,
    ast.SetComp: _list_comprehension,
    ast.DictComp: _dict_comprehension,
    ast.Lambda: _lambda,
    ast.NamedExpr: _named,
    ast.Await: _inner,
    ast.Starred: _inner,
}
"""The function for each kind of expression; other kinds are unknown."""
