"""What a project file's operation runs: the script, module, notebook or command behind its name."""

from __future__ import annotations

import os
import shlex
from typing import NamedTuple

from reenact.errors import CannotRun, UsageError
from reenact.model.run import OperationKind
from reenact.project.file.model import OperationDef, Place
from reenact.project.flag_text import nearest
from reenact.project.operation import NOTEBOOK_SUFFIX, Target, resolve_script

_NO_OP = "guild.pass"
_NO_OP_CODE = "import shlex, sys; sys.argv[1:] and print(*map(shlex.quote, sys.argv[1:]))"
_KEPT = "\0"
"""What no text of a file holds, in the place of a reference that is none."""


class DefinedTarget(NamedTuple):
    """What an operation runs.

    Attributes:
        target: its words may contain `${flag}`.
        module_path: directories, absolute, in which Python must look for modules, the first first.
    """

    target: Target
    module_path: tuple[str, ...] = ()


class _Where(NamedTuple):
    """Where a project's files are: in its directory, or in a copy of what it once was.

    Attributes:
        project: the directory, or the copy.
        outside: the directory itself: what is not in the project is named from there.
        cwd: the directory that the operation is run in.
    """

    project: str
    outside: str
    cwd: str

    def at(self, *parts: str) -> str:
        """Return the place that a path means which is relative to the project."""
        path = os.path.normpath(os.path.join(self.project, *parts))
        if path == self.project or self.has(path):
            return path
        return os.path.normpath(os.path.join(self.outside, *parts))

    def has(self, path: str) -> bool:
        """Tell whether a path is in the project."""
        return path.startswith(f"{self.project.rstrip('/')}/")

    def word(self, path: str) -> str:
        """Name a file as the run finds it: of what is in the project it has a copy."""
        return os.path.relpath(path, self.cwd) if self.has(path) else path


def defined_target(
    definition: OperationDef, project: str, cwd: str, *, outside: str | None = None
) -> DefinedTarget:
    """Find what an operation runs.

    A module that is in none of the project's directories has no script here: it may be installed.

    Args:
        definition: of an operation that is no pipeline.
        project: absolute path of the project's directory, or of a copy of it.
        cwd: the directory that it is run in, absolute.
        outside: the project's directory, where `project` is a copy.

    Raises:
        CannotRun: there is no such file.
        UsageError: a quote is not closed, or nothing is said.
    """
    where = _Where(project, outside or project, cwd)
    if definition.exec is not None:
        words = split_words(definition.exec, "exec", definition.place)
        target = Target(OperationKind.COMMAND, definition.full_name, None, words, False)
        return DefinedTarget(target, _module_path(definition, where))
    if definition.notebook is not None:
        words = split_words(definition.notebook, "notebook", definition.place)
        return DefinedTarget(_notebook(definition, words, where), _module_path(definition, where))
    assert definition.main is not None
    words = split_words(definition.main, "main", definition.place)
    return _main(definition, words, where)


def is_no_op(target: Target) -> bool:
    """Tell whether a target is Guild's module that does nothing but print its arguments."""
    return target.kind is OperationKind.MODULE and target.words[:2] == ("-c", _NO_OP_CODE)


def split_words(text: str, attribute: str, place: Place) -> tuple[str, ...]:
    """Split a command line as a shell does; nothing else of it is a shell's.

    Raises:
        UsageError: it cannot be split, or is empty.
    """
    try:
        # What stands for itself keeps its backslash, which is no shell's.
        split = shlex.split(text.replace("\\${", _KEPT))
        words = tuple(word.replace(_KEPT, "\\${") for word in split)
    except ValueError as error:
        problem = str(error).lower()
        raise UsageError(f"{place}: `{attribute}` cannot be split into words: {problem}") from None
    if not words:
        raise UsageError(f"{place}: `{attribute}` is empty")
    return words


def _source_root(definition: OperationDef, where: _Where) -> list[str]:
    rules = definition.sourcecode
    if rules is None or rules.root is None:
        return []
    return [where.at(rules.base, rules.root)]


def _module_path(definition: OperationDef, where: _Where) -> tuple[str, ...]:
    """Return where Python looks for modules."""
    added = [where.at(definition.base, path) for path in definition.python_path]
    found = [*added, *_source_root(definition, where), where.at(definition.base)]
    return tuple(dict.fromkeys(found))


def _places(definition: OperationDef, where: _Where) -> list[str]:
    """Return where what `main` names may be, the likeliest place first."""
    added = [where.at(definition.base, path) for path in definition.python_path]
    found = [*_source_root(definition, where), where.at(definition.base), *added]
    return list(dict.fromkeys(found))


def _main(definition: OperationDef, words: tuple[str, ...], where: _Where) -> DefinedTarget:
    spec, *arguments = words
    folder, _, module = spec.rpartition("/")
    path = _module_path(definition, where)
    name = definition.full_name
    for root in _places(definition, where):
        place = os.path.normpath(f"{root}/{folder}")
        if os.path.isfile(f"{place}/{module}"):
            return DefinedTarget(_script(f"{place}/{module}", name, arguments, where), path)
        relative = module.replace(".", "/")
        for script in (f"{place}/{relative}.py", f"{place}/{relative}/__main__.py"):
            if not os.path.isfile(script):
                continue
            if "." in module:
                words = ("-m", module, *arguments)
                target = Target(OperationKind.MODULE, module, script, words, True)
                return DefinedTarget(target, tuple(dict.fromkeys((place, *path))))
            word = where.word(script.removesuffix("/__main__.py"))
            target = Target(OperationKind.SCRIPT, name, script, (word, *arguments), True)
            return DefinedTarget(target, path)
    if folder or spec.endswith(".py"):
        raise CannotRun(
            f"{definition.place}: `main` of `{name}`: there is no `{_as_file(spec)}`",
            hint=_near(where.at(definition.base), folder, module),
        )
    # Projects that were written for Guild use it where they need no program; it need not be installed.
    how = ("-c", _NO_OP_CODE) if spec == _NO_OP else ("-m", spec)
    target = Target(OperationKind.MODULE, spec, None, (*how, *arguments), True)
    return DefinedTarget(target, path)


def _script(path: str, name: str, arguments: list[str], where: _Where) -> Target:
    """Return how a file that `main` names in full is run."""
    target = resolve_script(os.path.relpath(path, where.cwd), where.cwd)
    own = target.words[-1] if where.has(path) else path
    return target._replace(name=name, words=(*target.words[:-1], own, *arguments))


def nearest_module(definition: OperationDef, project: str, spec: str) -> str | None:
    """Say which module of the project a name that there is not may mean."""
    return _near(os.path.normpath(os.path.join(project, definition.base)), "", spec)


def _as_file(spec: str) -> str:
    return spec if spec.endswith(".py") else f"{spec}.py"


def _near(base: str, folder: str, module: str) -> str | None:
    try:
        names = os.listdir(f"{base}/{folder}" if folder else base)
    except OSError:
        return f"there is no directory `{folder}`"
    modules = [name.removesuffix(".py") for name in names if name.endswith(".py")]
    close = nearest(module.removesuffix(".py"), modules)
    return f"did you mean `{os.path.join(folder, close)}`?" if close else None


def _notebook(definition: OperationDef, words: tuple[str, ...], where: _Where) -> Target:
    path = where.at(definition.base, words[0])
    for known in (path, path + NOTEBOOK_SUFFIX):
        if os.path.isfile(known):
            found = (where.word(known), *words[1:])
            return Target(OperationKind.NOTEBOOK, definition.full_name, known, found, False)
    raise CannotRun(
        f"{definition.place}: `notebook` of `{definition.full_name}`: there is no `{words[0]}`"
    )
