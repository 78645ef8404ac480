"""Follow a script from its first line to where it reads its command line, without running it.

The trace knows constants, local functions, classes and modules, and the objects of command-line
frameworks (`Native`). Everything else is unknown: both branches of a test on it are followed, and
a name that they bind differently becomes unknown. Only lines that may have to do with flags are
followed closely; other assignments are kept unread until somebody asks for their value.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from reenact.project.detect import evaluate as constants
from reenact.project.detect.calls import bind_arguments
from reenact.project.detect.evaluate import NotConstant
from reenact.project.detect.expressions import EVALUATE, attribute_of
from reenact.project.detect.modules import Import, Modules
from reenact.project.detect.source import Source, Unreadable
from reenact.project.detect.values import (
    MISSING,
    UNKNOWN,
    Class,
    External,
    Function,
    Instance,
    LaterImport,
    Lazy,
    LocalModule,
    Module,
    Native,
    PlainMethod,
    Scope,
    Site,
    Value,
    is_interesting,
)

_MAX_STEPS = 6_000
_MAX_DEPTH = 30
_MAX_MODULES = 60
_MAX_ROUNDS = 200
_BUILTINS = frozenset(dir(builtins))
_HARMLESS = frozenset(("append", "add", "extend", "print", "info", "debug", "autocomplete"))
"""Functions that leave a parser as it is."""
_EAGER = (ast.Constant, ast.Name, ast.Attribute, ast.BinOp, ast.UnaryOp)


class Done(Exception):
    """The script has read its command line: what follows cannot matter."""


class Trace:
    """One walk through a script.

    Attributes:
        externals: what to do when a function of a framework is called, by its full name.
        uses: the framework objects that read the command line, in order.
        made: framework objects that were made, in order, used or not.
        frameworks: whose names the trace knows.
        modules: where local modules are found.
        name_of: how messages name a file.
        uncertain: how many tests of unknown outcome surround the current line.
    """

    def __init__(
        self,
        modules: Modules,
        name_of: Callable[[str], str],
        load: Callable[[Trace, str], None],
    ) -> None:
        self.externals: dict[str, Callable[[Site], Value]] = {}
        self.uses: list[Value] = []
        self.made: list[Value] = []
        self.remarks: dict[str, None] = {}
        self.uncertain = 0
        self.frameworks: set[str] = set()
        self.modules = modules
        self.name_of = name_of
        self._load = load
        self._loaded: dict[str, Module | None] = {}
        self._active: list[ast.AST] = []
        self._called: set[ast.AST] = set()
        self._steps = 0

    # -- modules -------------------------------------------------------------------------------

    def run(self, source: Source, dotted: str) -> None:
        """Follow the script; if it was seen to read no command line, try its functions as well."""
        try:
            main = self._open(source, dotted, is_main=True)
            self._execute_module(main)
            if not self.uses:
                self._call_the_rest(main)
        except (Done, RecursionError):
            pass

    def _call_the_rest(self, main: Module) -> None:
        """Call functions that were reached by no way that the trace can follow."""
        for node in main.source.tree.body:
            if self.uses:
                return
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and main.is_hot(node):
                if node not in self._called:
                    self.call_blindly(Function(node, main.scope), node)
            elif isinstance(node, ast.ClassDef) and main.is_hot(node):
                owner = main.scope.names.get(node.name)
                if isinstance(owner, Class):
                    self._call_methods(owner)

    def _call_methods(self, owner: Class) -> None:
        instance = Instance(owner)
        for node in owner.node.body:
            if isinstance(node, ast.FunctionDef) and self._is_untried(owner.module, node):
                self.call_blindly(Function(node, owner.scope, owner, instance), node)

    def _is_untried(self, module: Module, node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
        return module.is_hot(node) and node not in self._called

    def _open(self, source: Source, dotted: str, *, is_main: bool) -> Module:
        words = self.modules.words(source.text, source.path)
        module = Module(source, dotted, is_main=is_main, words=words)
        self._loaded[source.path] = module
        self._load(self, source.text)
        return module

    def _execute_module(self, module: Module) -> None:
        if not module.is_executed:
            module.is_executed = True
            self.execute(module.source.tree.body, module.scope)

    def import_now(self, dotted: str, name: str | None, importer: Module) -> Value:
        """Import a local module, or take a name from it."""
        module = self._import(dotted, importer)
        if name is None:
            return LocalModule(module, dotted, importer)
        if module is not None:
            value = self.look_up(name, module.scope, builtin=False)
            if value is not MISSING:
                return value
        dot = "" if dotted.endswith(".") else "."
        submodule = self._import(f"{dotted}{dot}{name}", importer)
        if submodule is None:
            return UNKNOWN
        return LocalModule(submodule, f"{dotted}{dot}{name}", importer)

    def _import(self, dotted: str, importer: Module) -> Module | None:
        path = self.modules.find(dotted, importer.source.path)
        if path is None:
            return None
        if path not in self._loaded:
            content = self.modules.read(path) if len(self._loaded) < _MAX_MODULES else None
            self._loaded[path] = None
            if content is None:
                return None
            try:
                source = Source(path, self.name_of(path), content)
            except Unreadable as error:
                self.remark(str(error))
                return None
            self._open(source, dotted.lstrip("."), is_main=False)
        module = self._loaded[path]
        if module is not None:
            self._execute_module(module)
        return module

    def note_use(self, reader: Value) -> None:
        """Note that a framework's object reads the command line here."""
        if reader not in self.uses:
            self.uses.append(reader)

    def use(self, reader: Value) -> Value:
        """Note it, and end: what follows cannot add flags, unless this may not be reached."""
        self.note_use(reader)
        if not self.uncertain:
            raise Done
        return UNKNOWN

    def remark(self, text: str) -> None:
        """Note something that could not be understood."""
        self.remarks.setdefault(text)

    # -- statements ----------------------------------------------------------------------------

    def execute(self, body: Sequence[ast.stmt], scope: Scope) -> bool:
        """Follow statements; return True if what comes after them is never reached."""
        for node in body:
            self._steps += 1
            if self._steps > _MAX_STEPS:
                self.remark(f"{scope.module.source.at(node)}: too much to follow from here on")
                raise Done
            handler = self._STATEMENTS.get(type(node))
            if handler is not None and handler(self, node, scope):
                return True
        return False

    def _assign(self, node: ast.Assign, scope: Scope) -> bool:
        target = node.targets[0]
        if (
            isinstance(target, ast.Name)
            and len(node.targets) == 1
            and not scope.module.is_hot(node)
        ):
            value = node.value
            scope.names[target.id] = (
                self.evaluate(value, scope) if isinstance(value, _EAGER) else Lazy(value, scope)
            )
            return False
        value = node.value
        result: Value = (
            self.evaluate(value, scope) if scope.module.is_hot(node) else Lazy(value, scope)
        )
        for target in node.targets:
            self.bind(target, result, scope)
        return False

    def _annotated(self, node: ast.AnnAssign, scope: Scope) -> bool:
        if node.value is not None:
            hot = scope.module.is_hot(node)
            self.bind(
                node.target,
                self.evaluate(node.value, scope) if hot else Lazy(node.value, scope),
                scope,
            )
        return False

    def _augmented(self, node: ast.AugAssign, scope: Scope) -> bool:
        target = node.target
        if isinstance(target, ast.Name):
            value = self.evaluate(ast.Name(id=target.id, ctx=ast.Load()), scope)
            try:
                result = constants.binary(node.op, value, self.evaluate(node.value, scope))
            except NotConstant:
                result = UNKNOWN
            scope.names[target.id] = result
        return False

    def bind(self, target: ast.expr, value: Value, scope: Scope) -> None:
        """Assign a value to a name, an attribute, an element, or several of them."""
        if is_interesting(value):
            name = target.id if isinstance(target, ast.Name) else getattr(target, "attr", None)
            if name is not None:
                scope.module.add_words({name})
        if isinstance(target, ast.Name):
            scope.names[target.id] = value
        elif isinstance(target, ast.Attribute):
            owner = self.evaluate(target.value, scope)
            if isinstance(owner, Instance):
                owner.attributes[target.attr] = value
        elif isinstance(target, ast.Subscript):
            owner = self.evaluate(target.value, scope)
            if isinstance(owner, dict | list):
                self._set_item(owner, self.evaluate(target.slice, scope), value)
        elif isinstance(target, ast.Tuple | ast.List):
            self._unpack(target.elts, self.forced(value), scope)
        elif isinstance(target, ast.Starred):
            self.bind(target.value, UNKNOWN, scope)

    def _set_item(self, owner: Value, key: Value, value: Value) -> None:
        try:
            owner[key] = self.forced(value)
        except (TypeError, LookupError, ValueError):
            return

    def _unpack(self, targets: list[ast.expr], value: Value, scope: Scope) -> None:
        fits = isinstance(value, list | tuple) and len(value) == len(targets)
        for at, target in enumerate(targets):
            self.bind(target, value[at] if fits else UNKNOWN, scope)

    def _expression(self, node: ast.Expr, scope: Scope) -> bool:
        if scope.module.is_hot(node):
            self.evaluate(node.value, scope)
        return False

    def _if(self, node: ast.If, scope: Scope) -> bool:
        outcome = self.truth(self.evaluate(node.test, scope))
        if outcome is not None:
            return self.execute(node.body if outcome else node.orelse, scope)
        return self._alternatives([node.body, node.orelse], scope)

    def _alternatives(self, bodies: Sequence[Sequence[ast.stmt]], scope: Scope) -> bool:
        """Follow each of several bodies from the same start; keep what they agree on."""
        before = scope.names
        ends: list[dict[str, Value]] = []
        self.uncertain += 1
        for body in bodies:
            scope.names = dict(before)
            if not self.execute(body, scope):
                ends.append(scope.names)
        self.uncertain -= 1
        scope.names = before
        if not ends:
            return True
        merged = dict(ends[0])
        for end in ends[1:]:
            for name in {*merged, *end}:
                merged[name] = _agreed(merged.get(name, MISSING), end.get(name, MISSING))
        before.update(merged)
        return False

    def _loop(self, node: ast.For | ast.AsyncFor, scope: Scope) -> bool:
        items = self.evaluate(node.iter, scope) if scope.module.is_hot(node) else UNKNOWN
        if isinstance(items, Class):
            items = self.iterate(items)
        if isinstance(items, list | tuple | dict) and len(items) <= _MAX_ROUNDS:
            for item in list(items):
                self.bind(node.target, item, scope)
                if self.execute(node.body, scope):
                    return True
            return self.execute(node.orelse, scope)
        self.bind(node.target, UNKNOWN, scope)
        self._alternatives([[*node.body, *node.orelse], []], scope)
        return False

    def _while(self, node: ast.While, scope: Scope) -> bool:
        self._alternatives([[*node.body, *node.orelse], []], scope)
        return False

    def _with(self, node: ast.With | ast.AsyncWith, scope: Scope) -> bool:
        for item in node.items:
            hot = scope.module.is_hot(item.context_expr)
            value = self.evaluate(item.context_expr, scope) if hot else UNKNOWN
            if item.optional_vars is not None:
                self.bind(item.optional_vars, value, scope)
        return self.execute(node.body, scope)

    def _try(self, node: ast.Try, scope: Scope) -> bool:
        before = dict(scope.names)
        ended = self.execute([*node.body, *node.orelse], scope)
        after = dict(scope.names)
        for handler in node.handlers:
            scope.names.clear()
            scope.names.update(before)
            self.uncertain += 1
            if handler.name is not None:
                scope.names[handler.name] = UNKNOWN
            if not self.execute(handler.body, scope):
                for name in {*scope.names, *after}:
                    after[name] = _agreed(after.get(name, MISSING), scope.names.get(name, MISSING))
                ended = False
            self.uncertain -= 1
        scope.names.clear()
        scope.names.update(after)
        return self.execute(node.finalbody, scope) or ended

    def _match(self, node: ast.Match, scope: Scope) -> bool:
        self._alternatives([*(case.body for case in node.cases), []], scope)
        return False

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> bool:
        value: Value = Function(node, scope)
        for decorator in reversed(node.decorator_list):
            if scope.module.is_hot(node):
                value = self._decorate(value, decorator, scope)
        if is_interesting(value):
            scope.module.add_words({node.name})
        scope.names[node.name] = value
        return False

    def _decorate(self, value: Value, decorator: ast.expr, scope: Scope) -> Value:
        function = self.evaluate(decorator, scope)
        is_local = isinstance(function, Function) and is_interesting(function)
        is_handled = isinstance(function, External) and function.name in self.externals
        if not isinstance(function, Native) and not is_local and not is_handled:
            return value
        site = Site(self, decorator, scope.module)
        site.add(value, None)
        result = self.call(function, site)
        return result if isinstance(result, Function | Native | Class) else value

    def _class(self, node: ast.ClassDef, scope: Scope) -> bool:
        inner = Scope(scope, scope.module)
        owner = Class(node, lambda: [self.evaluate(base, scope) for base in node.bases], inner)
        if any(isinstance(base, ast.Name) and base.id == node.name for base in node.bases):
            _ = owner.bases  # while the name still means the other class
        scope.names[node.name] = owner
        self.execute(node.body, inner)
        for value in inner.names.values():
            if isinstance(value, Function):
                value.owner = owner
                # Names of a class are not visible in its methods.
                value.scope = scope
        return False

    def _return(self, node: ast.Return, scope: Scope) -> bool:
        value = UNKNOWN if node.value is None else self.evaluate(node.value, scope)
        if scope.result in (MISSING, UNKNOWN) or is_interesting(value):
            scope.result = value
        elif value != scope.result and not is_interesting(scope.result):
            scope.result = UNKNOWN
        return True

    def _raise(self, node: ast.Raise, scope: Scope) -> bool:
        del node, scope
        return True

    def _import_modules(self, node: ast.Import, scope: Scope) -> bool:
        importer = scope.module
        for alias in node.names:
            path = self.modules.find(alias.name, importer.source.path)
            name = alias.name if alias.asname else alias.name.partition(".")[0]
            bound = alias.asname or name
            if path is None:
                scope.names[bound] = External(name)
                continue
            if self.modules.facts(path).has_effects:
                self._import(alias.name, importer)
            scope.names[bound] = LaterImport(name, None, importer)
        return False

    def _import_from(self, node: ast.ImportFrom, scope: Scope) -> bool:
        importer = scope.module
        dotted = "." * node.level + (node.module or "")
        path = self.modules.find(dotted, importer.source.path)
        if path is not None and self.modules.facts(path).has_effects:
            self._import(dotted, importer)
        for alias in node.names:
            if alias.name == "*":
                self._import_all(dotted, path, scope)
                continue
            bound = alias.asname or alias.name
            submodule = self.modules.find_submodule(
                Import(dotted, alias.name, bound), importer.source.path
            )
            if path is None and submodule is None:
                name = f"{dotted}.{alias.name}"
                scope.names[bound] = UNKNOWN if node.level else External(name)
                continue
            if submodule is not None and self.modules.facts(submodule).has_effects:
                self.import_now(dotted, alias.name, importer)
            scope.names[bound] = LaterImport(dotted, alias.name, importer)
        return False

    def _import_all(self, dotted: str, path: str | None, scope: Scope) -> None:
        if path is None:
            return
        if not self.modules.facts(path).is_relevant:
            scope.module.stars.append(dotted)
            return
        module = self._import(dotted, scope.module)
        if module is not None:
            names = {k: v for k, v in module.scope.names.items() if not k.startswith("_")}
            scope.names.update(names)
            scope.module.add_words({name for name, value in names.items() if is_interesting(value)})

    # -- expressions and calls -----------------------------------------------------------------

    def evaluate(self, node: ast.expr, scope: Scope) -> Value:
        """Return the value of an expression, `UNKNOWN` if it cannot be known."""
        if isinstance(node, ast.Constant):
            return node.value
        handler = EVALUATE.get(type(node))
        if handler is None:
            return UNKNOWN
        try:
            return handler(self, node, scope)
        except NotConstant:
            return UNKNOWN

    def forced(self, value: Value) -> Value:
        """Return the value behind one that was put off."""
        return value.force(self) if isinstance(value, Lazy | LaterImport) else value

    def look_up(self, name: str, scope: Scope | None, *, builtin: bool = True) -> Value:
        """Return what a name means in a scope."""
        while scope is not None:
            if name in scope.names:
                value = scope.names[name]
                if isinstance(value, Lazy | LaterImport):
                    value = scope.names[name] = value.force(self)
                return value
            if scope.outer is None and scope.module.stars and builtin:
                value = self._from_stars(name, scope.module)
                if value is not MISSING:
                    return value
            scope = scope.outer
        if not builtin:
            return MISSING
        return External(f"builtins.{name}") if name in _BUILTINS else UNKNOWN

    def _from_stars(self, name: str, module: Module) -> Value:
        """Look for a name in modules of which all names were imported."""
        for dotted in reversed(module.stars):
            imported = self._import(dotted, module)
            if imported is not None and name in imported.scope.names:
                return self.look_up(name, imported.scope)
        return MISSING

    def truth(self, value: Value) -> bool | None:
        """Return whether a value counts as true, None if that cannot be known."""
        if constants.is_plain(value):
            return bool(value)
        return True if isinstance(value, Function | Class | Native | Instance) else None

    def iterate(self, value: Value) -> list[Value]:
        """Return the elements of a value.

        Raises:
            NotConstant: they cannot be known.
        """
        if isinstance(value, Class) and value.is_enum:
            return [self.attribute(value, name) for name in value.member_names()]
        if isinstance(value, list | tuple | set | dict | str) and len(value) <= constants.MAX_ITEMS:
            return sorted(value, key=str) if isinstance(value, set) else list(value)
        raise NotConstant

    def attribute(self, value: Value, name: str) -> Value:
        """Return an attribute of a value."""
        return self.forced(attribute_of(self, value, name))

    def call(self, function: Value, site: Site) -> Value:
        """Call whatever it is."""
        if isinstance(function, Native):
            return function.call(site)
        if isinstance(function, Function):
            return self.call_function(function, site)
        if isinstance(function, External):
            handler = self.externals.get(function.name)
            if handler is not None:
                return handler(site)
            if constants.is_pure(function.name) and site.is_complete:
                args = [self.iterate(a) if isinstance(a, Class) else a for a in site.args]
                return constants.call(function.name, args, site.kwargs)
        if isinstance(function, Class):
            return self._instantiate(function, site)
        if isinstance(function, PlainMethod) and site.is_complete:
            return constants.method(function.value, function.name, site.args, site.kwargs)
        if isinstance(function, Instance) and function.native is not None:
            return self.call(function.native, site)
        if isinstance(function, External) and function.name.startswith("builtins."):
            return UNKNOWN
        return self.call_unknown(site)

    def call_unknown(self, site: Site) -> Value:
        """Call something that cannot be followed: it may call the functions that it is given."""
        given = [*site.args, *site.kwargs.values()]
        for value in given:
            is_callback = isinstance(value, Function) and is_interesting(value)
            if is_callback and value.node not in self._called:
                self.call_blindly(value, site.node)
        if isinstance(site.node, ast.Call) and _called_name(site.node) in _HARMLESS:
            return UNKNOWN
        for value in given:
            native = value.native if isinstance(value, Instance) else value
            if isinstance(native, Native):
                native.escape(site)
                if native.passes_through:
                    return value
        return UNKNOWN

    def call_blindly(self, function: Function, node: ast.expr | ast.stmt) -> Value:
        """Call a function of whose arguments nothing is known."""
        site = Site(self, node, function.module)
        site.is_complete = False
        return self.call_function(function, site)

    def call_function(self, function: Function, site: Site) -> Value:
        """Follow a call of a local function and return what it returns."""
        node = function.node
        if len(self._active) >= _MAX_DEPTH or self._active.count(node) > 1:
            return UNKNOWN
        scope = Scope(function.scope, function.module)
        bind_arguments(self, function, site, scope)
        if isinstance(node, ast.Lambda):
            return self.evaluate(node.body, scope)
        if not function.module.is_hot(node) and len(node.body) > 4:
            return UNKNOWN
        self._called.add(node)
        self._active.append(node)
        try:
            self.execute(node.body, scope)
        finally:
            self._active.pop()
        return UNKNOWN if scope.result is MISSING else scope.result

    def _instantiate(self, owner: Class, site: Site) -> Value:
        if owner.is_enum:
            wanted = site.args[0] if site.args else UNKNOWN
            members = [m for m in self.iterate(owner) if m.value == wanted]
            return members[0] if members else UNKNOWN
        instance = Instance(owner)
        for name in owner.external_bases():
            make = self.externals.get(name)
            if make is not None:
                instance.native = make(site)
        initialise = self.attribute(instance, "__init__")
        if isinstance(initialise, Function):
            self.call_function(initialise, site)
        else:
            instance.kwargs = dict(site.kwargs)
        return instance

    _STATEMENTS: ClassVar[dict[type[ast.stmt], Callable[[Trace, Any, Scope], bool]]] = {
        ast.Assign: _assign,
        ast.AnnAssign: _annotated,
        ast.AugAssign: _augmented,
        ast.Expr: _expression,
        ast.If: _if,
        ast.For: _loop,
        ast.AsyncFor: _loop,
        ast.While: _while,
        ast.With: _with,
        ast.AsyncWith: _with,
        ast.Try: _try,
        ast.Match: _match,
        ast.FunctionDef: _function,
        ast.AsyncFunctionDef: _function,
        ast.ClassDef: _class,
        ast.Return: _return,
        ast.Raise: _raise,
        ast.Import: _import_modules,
        ast.ImportFrom: _import_from,
    }


def _agreed(left: Value, right: Value) -> Value:
    """Return what a name means that two ways bind differently."""
    if left is right:
        return left
    for value in (left, right):
        is_open = value in (UNKNOWN, MISSING) or isinstance(value, Lazy)
        if not is_open and not constants.is_plain(value):
            return value
    if MISSING in (left, right):
        return UNKNOWN
    is_same = constants.is_plain(left) and constants.is_plain(right) and left == right
    return left if is_same else UNKNOWN


def _called_name(node: ast.Call) -> str:
    return str(getattr(node.func, "attr", getattr(node.func, "id", "")))
