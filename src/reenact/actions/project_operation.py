"""Run an operation of a project file: from what the file says and what the user set to a process.

What an operation needs is found in two steps, because many runs may have the first in common: `define`
finds what it runs and which flags that has, `prepare` decides about one run.

Not covered: what is not Python gets flags by its command and by variables only.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from reenact.actions.run_definition import output_scalars
from reenact.errors import (
    BadFlagValue,
    CannotRun,
    UnknownFlag,
    UsageError,
)
from reenact.model.flags import Flag, FlagSet, FlagValue, Global, Template
from reenact.model.paths import path_to_text
from reenact.model.run import OperationKind
from reenact.model.secrets import is_secret_name
from reenact.project.apply import command_line
from reenact.project.arguments import (
    encoded,
    flag_environment,
    flag_words,
    has_own_form,
    is_skipped,
    joined_text,
    one_flag,
    split_value,
    variable_of,
)
from reenact.project.defined_flags import find_defined_flags
from reenact.project.defined_target import defined_target, is_no_op, nearest_module
from reenact.project.file.model import (
    FlagDef,
    FlagsKind,
    OperationDef,
    OutputScalars,
    RequireDef,
    ResourceSource,
    SourceKind,
)
from reenact.project.flag_text import check_value, nearest
from reenact.project.merged_flags import MergedFlag, merge_flags, merged_set, stands_for_several
from reenact.project.operation import Target, find_python, notebook_command
from reenact.project.overrides import KINDS
from reenact.project.settings import resolve_flags
from reenact.project.template import (
    FLAG_ARGS,
    UnknownReference,
    fill,
    fill_label,
    label_names,
    names_in,
    unknown_filters,
    value_texts,
)
from reenact.store.files import read_file

_WITHOUT_ARGUMENTS = frozenset(["globals", "none", "config", "template"])
_PYTHON = "python_exe"


class Defined(NamedTuple):
    """An operation of a project file, with all that its runs have in common.

    Attributes:
        file: of the project, relative to its root, or absolute.
        root: the project's root.
        merged: its flags.
        detected: the flags that were found in what it runs.
        module_path: where Python must look for modules, absolute.
        config: path of the configuration file that flags go to, relative to the root.
        without_place: flags that have no value there.
        name: what the user calls it.
        memory: what was found out about requirements and holds for all its runs.
        remarks: what the reader of a run must know.
    """

    definition: OperationDef
    file: str
    root: str
    target: Target
    merged: tuple[MergedFlag, ...]
    detected: FlagSet
    module_path: tuple[str, ...] = ()
    config: str | None = None
    without_place: frozenset[str] = frozenset()
    name: str = ""
    remarks: tuple[str, ...] = ()
    memory: dict[Any, Any] = {}  # noqa: RUF012  # `define` gives each its own

    @property
    def flags(self) -> FlagSet:
        """The flags that can be set, those that choose what is required among them."""
        own = merged_set(self.merged, self.detected)
        required = self.requirement_flags
        return msgspec.structs.replace(own, flags=(*own.flags, *required)) if required else own

    @property
    def requirement_flags(self) -> tuple[Flag, ...]:
        """The flags that say what to take instead of what is required, and nothing else."""
        if not self.definition.requires:
            return ()
        from reenact.actions.resources.requirements import requirement_flags

        return requirement_flags(self.definition.requires, [one.flag.name for one in self.merged])

    @property
    def definitions(self) -> dict[str, FlagDef]:
        """What the file says of flags."""
        return {one.flag.name: one.definition for one in self.merged if one.definition is not None}

    def defaults_for_many(self) -> dict[str, FlagValue]:
        """Return the defaults that stand for several values, or for a space to search."""
        return {
            one.flag.name: one.flag.default
            for one in self.merged
            if one.definition is not None
            and stands_for_several(one.flag, one.definition)
            and not str(one.flag.default).startswith("${")
        }


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of a project file's operation is, beside what every run has.

    Attributes:
        words: program and arguments.
        values: all flags; those of choices are in them.
        given: what the user set.
        changes: literals to replace, by source file.
        configs: values to set in configuration files, by path and dotted name.
        patterns: what patterns find in the notebook's code is replaced by these values.
        env: variables of flags, and those that the file asks for.
        own_env: the latter alone.
        python_path: directories for `PYTHONPATH`, relative to the run directory or absolute.
        hidden: texts that must not stand in the record.
        secret_variables: names of variables that must not be recorded.
        requires: what must be there before it starts, flags filled in.
        scalars: patterns for metrics in the output, flags filled in.
    """

    definition: OperationDef
    file: str
    words: tuple[str, ...]
    values: dict[str, FlagValue]
    given: dict[str, FlagValue]
    label: str | None = None
    changes: dict[str, list[tuple[Global, FlagValue]]] = {}
    configs: dict[str, dict[str, FlagValue]] = {}
    # Values are FlagValue, a recursive type that msgspec cannot read.
    patterns: tuple[tuple[str, Any], ...] = ()
    env: dict[str, str] = {}
    own_env: dict[str, str] = {}
    python_path: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    secret_variables: tuple[str, ...] = ()
    requires: tuple[RequireDef, ...] = ()
    scalars: OutputScalars | None = None
    remarks: tuple[str, ...] = ()

    @property
    def config_copies(self) -> tuple[str, ...]:
        """Paths of the configuration files in which values are replaced, in the run directory."""
        from reenact.project.dest_config import target_of

        return tuple(map(target_of, self.configs))

    def run_variables(
        self,
        *,
        run_id: str,
        directory: str,
        base: str,
        project: str,
        called_from: str,
        python_path: str | None,
    ) -> dict[str, str]:
        """Return what scripts that were written for Guild look for, and where Python finds modules.

        Args:
            run_id: of the run.
            directory: the run directory.
            base: the directory that stands for the project: the same, or the project's own.
            project: the project's root.
            called_from: where the user was.
            python_path: `PYTHONPATH` as it would be.
        """
        places = [os.path.normpath(os.path.join(base, path)) for path in self.python_path]
        return {
            "RUN_ID": run_id,
            "RUN_DIR": directory,
            "PROJECT_DIR": project,
            "CMD_DIR": called_from,
            "FLAGS_DEST": describe_dest(self.definition),
            "GUILD_OP": self.definition.full_name,
            "GUILD_SOURCECODE": places[-1],
            "PYTHONPATH": os.pathsep.join(places + ([python_path] if python_path else [])),
        }


def define(
    definition: OperationDef,
    file: str,
    root: str,
    cwd: str,
    *,
    read_root: str | None = None,
) -> Defined:
    """Find out what an operation runs and which flags it has, without running it.

    Args:
        definition: the operation.
        file: in which it is defined.
        root: the project's root.
        cwd: the directory it runs in, absolute.
        read_root: where the project's files are read: another one for source of another time.

    Raises:
        CannotRun: what it runs is not there.
        UsageError: it cannot be understood.
    """
    read_root = read_root or root
    here = os.path.normpath(f"{read_root}/{os.path.relpath(cwd, root)}")
    target, module_path = defined_target(definition, read_root, here, outside=root)
    config = _config_of(definition, root, read_root)
    path = None if config is None else config[1]
    detected = find_defined_flags(definition, target, read_root, config)
    if target.script is not None:
        target = target._replace(script=_moved(target.script, read_root, root))
    merged = merge_flags(definition, detected)
    return Defined(
        definition=definition,
        file=file,
        root=root,
        target=target,
        merged=merged,
        detected=detected,
        module_path=tuple(_moved(place, read_root, root) for place in module_path),
        config=path,
        without_place=frozenset(() if config is None else _without_place(merged, *config)),
        name=definition.full_name,
        memory={},
    )


def _moved(path: str, here: str, there: str) -> str:
    """Return where a path inside one directory is inside another one; others stay."""
    if path != here and not path.startswith(f"{here}/"):
        return path
    return os.path.normpath(f"{there}/{os.path.relpath(path, here)}")


def _without_place(merged: tuple[MergedFlag, ...], content: bytes, path: str) -> list[str]:
    """Return the flags of a file that have no value in the configuration file."""
    from reenact.project.dest_config import has_key

    return [
        one.flag.name
        for one in merged
        if one.detected is None
        and one.definition is not None
        and not has_key(content, path, one.definition.arg_name or one.flag.name)
    ]


def prepare(
    defined: Defined,
    settings: Mapping[str, str | FlagValue],
    *,
    env: Mapping[str, str],
    variables: Mapping[str, str],
    cwd: str,
    python: str | None,
    label: str | None,
    force: bool,
) -> Prepared:
    """Decide about a run.

    Args:
        defined: the operation.
        settings: flags that the user set; text is read as the flag's type says.
        env: the environment of the user.
        variables: those that the user set for this run.
        cwd: the directory that it runs in, in the project, absolute.
        python: the interpreter that the user chose.
        label: that the user gave, which may refer to flags.
        force: let unknown flags and refused values through.

    Raises:
        CannotRun: something that it needs is not there.
        UsageError: a flag is refused, or missing, or something refers to what is no flag.
    """
    definition = defined.definition
    target_kind = defined.target.kind
    flags = defined.flags
    if not force:
        _refuse_hidden(defined, flags, settings)
    given, values = resolve_flags(
        flags, settings, force=force, operation=f"operation `{definition.full_name}`"
    )
    # What is taken instead of a requirement is nothing that the script gets.
    chosen = {f.name: given.pop(f.name, None) for f in defined.requirement_flags}
    for name in chosen:
        values.pop(name, None)
    chosen = {name: value for name, value in chosen.items() if value is not None}
    passed = {*given, *_set_by_choices(defined, given, values)}
    passed |= {d.name for d in definition.flags if d.has_default}
    values = _resolved(values)
    if not force:
        _check_values(defined, values, cwd)
    passed &= values.keys()
    remarks = list(defined.remarks)
    own_env = _environment(definition, values, {**env, **variables})
    full_env = {**env, **own_env, **variables}
    changes: dict[str, list[tuple[Global, FlagValue]]] = {}
    configs: dict[str, dict[str, FlagValue]] = {}
    words = _words(defined, values, full_env, python)
    if defined.config is not None:
        configs[defined.config] = _config_values(defined, values, passed, given)
    elif definition.exec is None:
        changes = _literals(defined, values, passed, given)
        words += _arguments(defined, values, passed)
        remarks += _unreached(defined, passed)
    template = label if label is not None else definition.label
    remarks += _label_remarks(template, values)
    hidden = [full_env[name] for name in definition.env_secrets if full_env.get(name)]
    hidden += [text for name, text in own_env.items() if is_secret_name(name) and text]
    return Prepared(
        definition=definition,
        file=defined.file,
        words=tuple(words),
        values={**values, **chosen},
        given={**given, **chosen},
        label=None if template is None else fill_label(template, values, given) or None,
        changes=changes,
        configs=configs,
        patterns=tuple(
            (d.nb_replace, values[d.name])
            for d in definition.flags
            if d.nb_replace is not None and d.name in passed
        )
        if target_kind is OperationKind.NOTEBOOK
        else (),
        env={**flag_environment(values, defined.definitions), **own_env},
        own_env=own_env,
        python_path=tuple(_in_project(path, defined.root) for path in defined.module_path),
        hidden=tuple(hidden),
        secret_variables=definition.env_secrets,
        requires=definition.requires,
        scalars=output_scalars(definition, values),
        remarks=tuple(remarks),
    )


# --- flags ---


def _refuse_hidden(
    defined: Defined, flags: FlagSet, settings: Mapping[str, str | FlagValue]
) -> None:
    """Say of a flag that only the script has what would make it one of the operation's."""
    for name in settings:
        if flags.find(name) is None and defined.detected.find(name) is not None:
            definition = defined.definition
            raise UnknownFlag(
                f"flag `{name}` of `{defined.target.words[-1]}` is none of operation "
                f"`{definition.full_name}`",
                hint=f"name it in `flags` or `flags-import` of the operation, {definition.place}",
            )


def _set_by_choices(
    defined: Defined, given: Mapping[str, FlagValue], values: dict[str, FlagValue]
) -> list[str]:
    """Give flags the values that go with a choice; return their names."""
    found = []
    for one in defined.merged:
        for choice in (one.definition.choices if one.definition is not None else None) or ():
            if one.flag.name not in values or values[one.flag.name] != choice.value:
                continue
            for name, value in choice.flags.items():
                flag = defined.flags.find(name)
                if flag is None:
                    raise UsageError(
                        f"{choice.place}: a choice of flag `{one.flag.name}` sets `{name}`, which "
                        "is no flag"
                    )
                if flag.name not in given:
                    values[flag.name] = value if value is None else check_value(flag, value)
                    found.append(flag.name)
    return found


def _resolved(values: Mapping[str, FlagValue]) -> dict[str, FlagValue]:
    """Put the values of other flags where a value refers to them: `${epochs}`."""
    done: dict[str, FlagValue] = {}

    def value_of(name: str, path: tuple[str, ...]) -> FlagValue:
        value = values[name]
        if name in done or not isinstance(value, str) or "${" not in value:
            return done.get(name, value)
        if name in path:
            raise UsageError(f"flag `{name}` refers to itself")
        known = [other for other in names_in(value) if other in values]
        inner = {other: value_of(other, (*path, name)) for other in known}
        if known and value == f"${{{known[0]}}}":
            return inner[known[0]]
        texts = {other: f"${{{other}}}" for other in names_in(value)}
        return fill(value, {**texts, **value_texts(inner)})

    for name in values:
        done[name] = value_of(name, ())
    return done


def _check_values(defined: Defined, values: Mapping[str, FlagValue], cwd: str) -> None:
    operation = defined.definition.full_name
    for one in defined.merged:
        name = one.flag.name
        value = values.get(name)
        if one.flag.required and value in (None, ""):
            raise UsageError(
                f"{one.flag.found}: flag `{name}` of operation `{operation}` is required",
                hint=one.flag.help or f"set it: `{name}=…`",
            )
        if one.definition is None or one.definition.type != "existing-path":
            continue
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, str) and not os.path.exists(os.path.join(cwd, path)):
                raise BadFlagValue(f"{one.flag.found}: flag `{name}`: there is no `{path}`")


# --- the ways to a program ---


def _words(
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
            words.append(_filled(word, texts, definition, "exec" if definition.exec else "main"))
    if target.kind is OperationKind.NOTEBOOK:
        return notebook_command(words[0], find_python(env, python), dict(env))
    if not target.is_python:
        return words
    interpreter = find_python(env, python)
    if target.script is None and not is_no_op(target):
        _check_installed(defined, interpreter, env)
    _check_version(definition, interpreter, env)
    return [interpreter, *words]


def _filled(text: str, texts: Mapping[str, str], definition: OperationDef, attribute: str) -> str:
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


def _arguments(defined: Defined, values: Mapping[str, FlagValue], passed: set[str]) -> list[str]:
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


def _literals(
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


def _split(definition: FlagDef | None, value: FlagValue) -> FlagValue:
    """Return what a script gets of a value whose flag has a form of its own."""
    if definition is None:
        return value
    value = encoded(definition.arg_encoding, value)
    if definition.arg_split is None or not isinstance(value, str):
        return value
    from reenact.project.flag_text import parse_value

    return [parse_value(part) for part in split_value(definition.arg_split, value)]


def _unreached(defined: Defined, passed: set[str]) -> list[str]:
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


def _sources(definition: OperationDef) -> Iterator[ResourceSource]:
    for require in definition.requires:
        if require.resource is not None:
            yield from require.resource.sources


def _config_of(definition: OperationDef, root: str, read_root: str) -> tuple[bytes, str] | None:
    """Return content and path of the configuration file that flags go to."""
    dest = definition.flags_dest
    if dest is None or dest.kind is not FlagsKind.CONFIG:
        return None
    assert dest.name is not None
    relative = os.path.normpath(os.path.join(definition.base, dest.name))
    if os.path.isabs(relative) or relative.startswith(".."):
        raise UsageError(
            f"{dest.place}: `{dest.name}` is outside the project: a run gets no copy of it"
        )
    for place in dict.fromkeys((read_root, root)):
        try:
            return read_file(f"{place}/{relative}"), relative
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CannotRun(
                f"{dest.place}: `{dest.name}` cannot be read: {error.strerror}"
            ) from None
    raise CannotRun(f"{dest.place}: there is no configuration file `{dest.name}`")


def _config_values(
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


# --- environment, label ---


def _environment(
    definition: OperationDef, values: Mapping[str, FlagValue], env: Mapping[str, str]
) -> dict[str, str]:
    texts = {**env, **value_texts(values)}
    return {
        name: _filled(text, texts, definition, f"env: {name}")
        for name, text in definition.env.items()
    }


def _label_remarks(template: str | None, values: Mapping[str, FlagValue]) -> list[str]:
    if template is None:
        return []
    names = [name for name in label_names(template) if name not in values]
    remarks = [f"the label refers to `{name}`, which is no flag" for name in names]
    return remarks + [f"the label has no filter `{text}`" for text in unknown_filters(template)]


def _in_project(path: str, root: str) -> str:
    """Return a path relative to the root where it is inside it."""
    relative = os.path.relpath(path, root)
    return path if relative.startswith("..") else relative


def _is_ini(path: str | None) -> bool:
    """Tell whether a configuration file knows no lists, only text."""
    from reenact.project.dest_config import format_of

    return path is not None and format_of(path) == "ini"


def describe_dest(definition: OperationDef) -> str:
    """Name the way of an operation's flags: `args`, `config:params.yml`; empty where none is said."""
    dest = definition.flags_dest
    if dest is None:
        return ""
    return path_to_text(f"{dest.kind}:{dest.name}" if dest.name else str(dest.kind))
