"""Run an operation of a project file: from what the file says and what the user set to a process.

`defined_operation` finds what many runs may have in common; here is decided about one run.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from reenact.actions.defined_operation import Defined
from reenact.actions.operation_values import (
    arguments,
    config_values,
    filled,
    literals,
    program_words,
    unreached,
)
from reenact.actions.run_definition import output_attributes, output_scalars
from reenact.errors import (
    BadFlagValue,
    UnknownFlag,
    UsageError,
)
from reenact.model.flags import FlagSet, FlagValue, Global
from reenact.model.paths import path_to_text
from reenact.model.run import OperationKind
from reenact.model.secrets import is_secret_name
from reenact.project.arguments import (
    flag_environment,
)
from reenact.project.file.model import (
    OperationDef,
    OutputScalars,
    RequireDef,
)
from reenact.project.flag_text import check_value
from reenact.project.settings import resolve_flags
from reenact.project.template import (
    fill,
    fill_label,
    label_names,
    names_in,
    unknown_filters,
    value_texts,
)


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
        attributes: patterns for facts in the output, likewise.
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
    attributes: OutputScalars | None = None
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
    words = program_words(defined, values, full_env, python)
    if defined.config is not None:
        configs[defined.config] = config_values(defined, values, passed, given)
    elif definition.exec is None:
        changes = literals(defined, values, passed, given)
        words += arguments(defined, values, passed)
        remarks += unreached(defined, passed)
    template = label if label is not None else definition.label
    of_runs = {n for flag in defined.requirement_flags for n in (flag.name, *flag.aliases)}
    remarks += _label_remarks(template, {*values, *of_runs})
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
        attributes=output_attributes(definition, values),
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
                hint=(one.flag.help or "").partition("\n")[0] or f"set it: `{name}=…`",
            )
        if one.definition is None or one.definition.type != "existing-path":
            continue
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, str) and not os.path.exists(os.path.join(cwd, path)):
                raise BadFlagValue(f"{one.flag.found}: flag `{name}`: there is no `{path}`")


# --- environment, label ---


def _environment(
    definition: OperationDef, values: Mapping[str, FlagValue], env: Mapping[str, str]
) -> dict[str, str]:
    texts = {**env, **value_texts(values)}
    return {
        name: filled(text, texts, definition, f"env: {name}")
        for name, text in definition.env.items()
    }


def _label_remarks(template: str | None, known: Collection[str]) -> list[str]:
    if template is None:
        return []
    names = [name for name in label_names(template) if name not in known]
    remarks = [f"the label refers to `{name}`, which is no flag" for name in names]
    return remarks + [f"the label has no filter `{text}`" for text in unknown_filters(template)]


def _in_project(path: str, root: str) -> str:
    """Return a path relative to the root where it is inside it."""
    relative = os.path.relpath(path, root)
    return path if relative.startswith("..") else relative


def describe_dest(definition: OperationDef) -> str:
    """Name the way of an operation's flags: `args`, `config:params.yml`; empty where none is said."""
    dest = definition.flags_dest
    if dest is None:
        return ""
    return path_to_text(f"{dest.kind}:{dest.name}" if dest.name else str(dest.kind))
