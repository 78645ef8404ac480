"""How values of flags reach what a project file's operation runs: words, literals, a configuration.

Not covered: what is not Python gets flags by its command and by variables only.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping

from reenact.actions.defined_operation import Defined
from reenact.errors import (
    CannotRun,
    UsageError,
)
from reenact.model.flags import Flag, FlagSet, FlagValue, Global, Template
from reenact.model.run import OperationKind
from reenact.project.apply import command_line
from reenact.project.arguments import (
    encoded,
    flag_words,
    has_own_form,
    is_skipped,
    joined_text,
    one_flag,
    split_value,
    variable_of,
)
from reenact.project.defined_target import is_no_op, nearest_module
from reenact.project.file.model import (
    FlagDef,
    FlagsKind,
    OperationDef,
    ResourceSource,
    SourceKind,
)
from reenact.project.flag_text import nearest
from reenact.project.merged_flags import MergedFlag
from reenact.project.operation import find_python, notebook_command
from reenact.project.overrides import KINDS
from reenact.project.template import (
    FLAG_ARGS,
    UnknownReference,
    fill,
    names_in,
    value_texts,
)

_WITHOUT_ARGUMENTS = frozenset(["globals", "none", "config", "template"])
_PYTHON = "python_exe"


def program_words(
    defined: Defined, values: Mapping[str, FlagValue], env: Mapping[str, str], python: str | None
) -> list[str]:
    """Return program and arguments, without those that follow from flags alone."""
    definition = defined.definition
    target = defined.target
    python = python or definition.python
    texts = value_texts(values)
    if any(_PYTHON in names_in(word) for word in target.words):
        texts[_PYTHON] = find_python(env, python)
    words: list[str] = []
    for word in target.words:
        if word == f"${{{FLAG_ARGS}}}":
            words += flag_words(
                values, defined.definitions, default_skip=definition.default_flag_arg_skip
            )
        else:
            words.append(filled(word, texts, definition, "exec" if definition.exec else "main"))
    if target.kind is OperationKind.NOTEBOOK:
        return notebook_command(words[0], find_python(env, python), dict(env))
    if not target.is_python:
        return words
    interpreter = find_python(env, python)
    if target.script is None and not is_no_op(target):
        _check_installed(defined, interpreter, env)
    _check_version(definition, interpreter, env)
    return [interpreter, *words]


def arguments(defined: Defined, values: Mapping[str, FlagValue], passed: set[str]) -> list[str]:
    """Return the arguments by which flags reach a Python script."""
    if not _takes_arguments(defined):
        return []
    skip = defined.definition.default_flag_arg_skip
    own: dict[str, list[str]] = {}
    bound: dict[str, FlagValue] = {}
    by_script: list[Flag] = []
    for one in defined.merged:
        name = one.flag.name
        if not _is_argument(defined, one) or is_skipped(one.definition, default_skip=skip):
            continue
        if one.detected is not None and isinstance(one.detected.binding, Template):
            continue  # a positional that `main` gives
        is_own = has_own_form(one.definition) or isinstance(one.flag.binding, Template)
        is_own = is_own and defined.detected.kind not in KINDS
        if not is_own:
            by_script.append(one.flag)
        if name not in passed or values[name] is None:
            continue
        if is_own:
            own[name] = one_flag(name, one.definition, values[name])
        else:
            script_name = one.detected.name if one.detected is not None else name
            bound[script_name if defined.detected.kind in KINDS else name] = values[name]
    known = {one.flag.name for one in defined.merged}
    for name in sorted(passed - known):
        if defined.detected.kind in KINDS:
            bound[name] = values[name]
        else:
            own[name] = one_flag(name, None, values[name])
    if defined.detected.kind in KINDS:
        return command_line(defined.detected, bound)
    flags = FlagSet(kind=defined.detected.kind, flags=tuple(by_script))
    words = [word for name in sorted(own) for word in own[name]]
    return [*words, *command_line(flags, bound)]


def literals(
    defined: Defined,
    values: Mapping[str, FlagValue],
    passed: set[str],
    given: Mapping[str, FlagValue],
) -> dict[str, list[tuple[Global, FlagValue]]]:
    """Return the literals of the source that get other values."""
    changes: dict[str, list[tuple[Global, FlagValue]]] = {}
    for one in defined.merged:
        name, binding = one.flag.name, one.flag.binding
        if name not in passed or not isinstance(binding, Global) or one.detected is None:
            continue
        if one.definition is not None and one.definition.nb_replace is not None:
            continue
        value = _split(one.definition, values[name])
        if name in given or value != one.detected.default:
            changes.setdefault(binding.file, []).append((binding, value))
    return changes


def config_values(
    defined: Defined,
    values: Mapping[str, FlagValue],
    passed: set[str],
    given: Mapping[str, FlagValue],
) -> dict[str, FlagValue]:
    """Return what is set in the configuration file, by dotted name."""
    found: dict[str, FlagValue] = {}
    for one in defined.merged:
        name = one.flag.name
        if name not in passed:
            continue
        value = _split(one.definition, values[name])
        if isinstance(value, list) and isinstance(one.flag.split, str) and _is_ini(defined.config):
            value = joined_text(one.flag.split, value)
        if one.detected is not None:
            if name in given or value != one.detected.default:
                found[one.detected.name] = value
            continue
        definition = one.definition
        assert definition is not None
        if name in defined.without_place:
            key = definition.arg_name or name
            known = [flag.name for flag in defined.detected.flags]
            close = nearest(key, known)
            raise UsageError(
                f"{definition.place}: flag `{name}` has no value `{key}` in `{defined.config}`",
                hint=f"did you mean `{close}`?" if close else f"write it there: `{key}`",
            )
        found[definition.arg_name or name] = value
    return found


def unreached(defined: Defined, passed: set[str]) -> list[str]:
    """Say which flags reach nothing but a variable, which nobody may have meant."""
    dest = defined.definition.flags_dest
    if dest is not None and dest.kind is FlagsKind.NONE:
        return []
    if any(source.kind is SourceKind.CONFIG for source in _sources(defined.definition)):
        return []  # values of that file, as far as it has them
    texts = (*defined.target.words, *defined.definition.env.values())
    named = {name for text in texts for name in names_in(text)}
    named |= {name for name, rules in defined.definitions.items() if rules.env_name is not None}
    skip = defined.definition.default_flag_arg_skip
    lost = [
        one
        for one in defined.merged
        if isinstance(one.flag.binding, Template)
        and not _takes_arguments(defined)
        and one.flag.name not in named
        and one.flag.name in passed
        and not is_skipped(one.definition, default_skip=skip)
        and (one.definition is None or one.definition.nb_replace is None)
    ]
    where = f"`{dest.name}`" if dest is not None and dest.name else "its module"
    return [
        f"flag `{one.flag.name}` ({one.flag.found}) reaches the script only as "
        f"`{variable_of(one.flag.name)}`: no literal of that name is assigned in {where}; `flags-dest: none` says that this is meant"
        for one in lost
    ]


def filled(text: str, texts: Mapping[str, str], definition: OperationDef, attribute: str) -> str:
    """Put values where a text refers to them, which stands at an attribute of an operation.

    Raises:
        UsageError: it refers to what is no flag.
    """
    try:
        return fill(text, texts)
    except UnknownReference as error:
        close = nearest(error.name, texts)
        hint = f"did you mean `{close}`?" if close else f"`\\${{{error.name}}}` stands for itself"
        raise UsageError(
            f"{definition.place}: `{attribute}` of operation `{definition.full_name}` refers to "
            f"`{error.name}`, which is no flag",
            hint=hint,
        ) from None


def _check_installed(defined: Defined, python: str, env: Mapping[str, str]) -> None:
    """Make sure that a module that is not in the project is at least installed."""
    spec = defined.target.name
    code = (
        "import importlib.util as u, sys\n"
        "try: found = u.find_spec(sys.argv[1])\n"
        "except Exception: found = None\n"
        "sys.exit(found is None)"
    )
    command = (python, "-c", code, spec)
    try:
        done = subprocess.run(command, env=dict(env), capture_output=True, check=False)
    except OSError as error:
        raise CannotRun(f"cannot start `{python}`: {error.strerror}") from error
    if done.returncode != 0:
        definition = defined.definition
        raise CannotRun(
            f"{definition.place}: operation `{definition.full_name}`: there is no module `{spec}`",
            hint=nearest_module(definition, defined.root, spec)
            or "say with `main` or `exec` what it runs",
        )


def _check_version(definition: OperationDef, python: str, env: Mapping[str, str]) -> None:
    requires = definition.python_requires
    if requires is None:
        return
    from reenact.project.python_requires import fits, version_of

    version = version_of(python, env)
    if not fits(requires, version):
        raise CannotRun(
            f"{definition.place}: operation `{definition.full_name}` needs Python {requires}, and "
            f"`{python}` is {'.'.join(map(str, version))}",
            hint="choose another one with `--python`",
        )


def _is_argument(defined: Defined, one: MergedFlag) -> bool:
    if isinstance(one.flag.binding, Global):
        return False
    return not isinstance(one.flag.binding, Template) or _takes_arguments(defined)


def _takes_arguments(defined: Defined) -> bool:
    return defined.detected.kind not in _WITHOUT_ARGUMENTS


def _split(definition: FlagDef | None, value: FlagValue) -> FlagValue:
    """Return what a script gets of a value whose flag has a form of its own."""
    if definition is None:
        return value
    value = encoded(definition.arg_encoding, value)
    if definition.arg_split is None or not isinstance(value, str):
        return value
    from reenact.project.flag_text import parse_value

    return [parse_value(part) for part in split_value(definition.arg_split, value)]


def _sources(definition: OperationDef) -> Iterator[ResourceSource]:
    for require in definition.requires:
        if require.resource is not None:
            yield from require.resource.sources


def _is_ini(path: str | None) -> bool:
    """Tell whether a configuration file knows no lists, only text."""
    from reenact.project.dest_config import format_of

    return path is not None and format_of(path) == "ini"
