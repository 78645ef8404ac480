"""Decide everything about a run before it starts, and change nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from reenact import __version__
from reenact.actions.context import Context
from reenact.actions.ground import Ground, RunRequest, find_ground, is_inside
from reenact.actions.randomness import choose_seed, is_deterministic, with_seed
from reenact.actions.reaching_out import paths_out
from reenact.actions.run_definition import encode_definition
from reenact.errors import CannotRun, UsageError
from reenact.model.flags import FlagSet, FlagValue, Global
from reenact.model.identity import RunId
from reenact.model.paths import path_to_text, printable
from reenact.model.run import Notes, Operation, OperationKind, Project, Run
from reenact.model.secrets import REDACTED, hide, is_secret_name, redact, redact_argv
from reenact.project.apply import command_line, rewrite
from reenact.project.flag_text import format_value
from reenact.project.operation import (
    Target,
    fill_in,
    find_python,
    flag_variables,
    notebook_command,
    template_flags,
    unset_placeholders,
)
from reenact.project.settings import resolve_flags
from reenact.project.template import fill_label, label_names
from reenact.snapshot.project_root import ProjectRoot, identify
from reenact.snapshot.tree import SourceTree
from reenact.store.blobs import digest_bytes

if TYPE_CHECKING:
    # What project files are made of takes long to import, and most runs are of scripts.
    from reenact.actions.defined_operation import Defined
    from reenact.actions.project_operation import Prepared
    from reenact.actions.resources import Planned


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is needed to start a run's process.

    Attributes:
        root: the project.
        words: program and arguments.
        cwd: the working directory relative to the root.
        flag_set: all flags that the operation has.
        values: every flag with the value that it will have.
        given: the values that the user set.
        changes: literals to replace, by source file.
        source: the tree to take instead of the project's own.
        env: the process's whole environment, but for what depends on the run directory.
        script_at: which of the words is the script, where the user gave an absolute path: the
            process gets one too.
        target: what is run.
        remarks: what the reader of the run must know of how it was planned.
        prepared: what an operation of a project file adds.
        requirements: what it requires, as far as it could be found before the start.
        seed: what random generators get; None: nothing.
        is_deterministic: frameworks are told to compute without chance where they can.
    """

    request: RunRequest
    operation: Operation
    project: Project
    root: ProjectRoot
    words: tuple[str, ...]
    cwd: str
    flag_set: FlagSet
    values: dict[str, FlagValue]
    given: dict[str, FlagValue]
    changes: dict[str, list[tuple[Global, FlagValue]]]
    script: str | None
    source: SourceTree | None
    env: dict[str, str]
    target: Target
    script_at: int | None = None
    remarks: tuple[str, ...] = ()
    prepared: Prepared | None = None
    requirements: tuple[Planned, ...] = ()
    seed: int | None = None
    is_deterministic: bool = False

    def record(self, run_id: RunId, created: datetime) -> Run:
        """Return the run's first record."""
        request = self.request
        former = request.restart
        like = request.like.id if request.like is not None else None
        if former is not None:
            like = former.like
        elif like in (request.parent, request.reproduces):
            like = None
        secrets = self.secrets
        return Run(
            id=run_id,
            reenact=__version__,
            operation=self.operation,
            project=self.project,
            command=tuple(map(printable, hide(redact_argv(self.words), secrets))),
            cwd=path_to_text(self.cwd),
            created=former.created if former is not None else created,
            flags={name: redacted(name, value) for name, value in self.values.items()},
            params=self._run_attributes(),
            given=tuple(self.given),
            typed=self._typed(),
            variables={n: redact(n, printable(v)) for n, v in request.variables.items()},
            in_place=request.in_place,
            like=like,
            restarts=_restarts(former),
            parent=request.parent if former is None else former.parent,
            part=request.part if former is None else former.part,
            variant=self._variant(),
            seed=self.seed,
            is_deterministic=self.is_deterministic,
            staged=None if former is None else former.staged,
            reproduces=request.reproduces if former is None else former.reproduces,
            resumes=request.resumes if former is None else former.resumes,
            gpus=request.gpus,
            keep_data=None if request.keep_data == "small" else request.keep_data,
        )

    def _run_attributes(self) -> dict[str, FlagValue]:
        """Return the facts that a project file notes with each run of its operation."""
        attributes = {} if self.prepared is None else self.prepared.definition.run_attrs
        return {name: redacted(name, value) for name, value in attributes.items()}

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that the user gave as secrets: they must not stand in the record."""
        texts = {name: value for name, value in self.request.settings.items() if value is not None}
        texts.update(self.request.variables)
        hidden = self.prepared.hidden if self.prepared is not None else ()
        return (*(str(value) for name, value in texts.items() if is_secret_name(name)), *hidden)

    def user_environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that the user gives the run and that may be known of it.

        Args:
            env: the environment around the command.
        """
        request = self.request
        own = {} if self.prepared is None else self.prepared.own_env
        restored = {n: v for n, v in request.restored.items() if n in request.set_then}
        found = {**env, **own, **restored, **request.variables}
        if request.gpus is not None:
            found["CUDA_VISIBLE_DEVICES"] = request.gpus
        hidden = () if self.prepared is None else self.prepared.secret_variables
        return {name: value for name, value in found.items() if name not in hidden}

    def _variant(self) -> str | None:
        """Return the name of its code: what runs from the same source is the same variant."""
        request = self.request
        if request.restart is not None:
            return request.restart.variant
        if request.variant is None and request.like is not None and self.source is not None:
            return request.like.variant
        return request.variant

    def _typed(self) -> dict[str, str]:
        """Return how flags were written, where their values do not tell: `1.10`."""
        return {
            name: redact(name, printable(text))
            for name, text in self.request.settings.items()
            if isinstance(text, str)
            and name in self.given
            and text != format_value(self.given[name])
            and text != self.given[name]
        }

    @property
    def notes(self) -> Notes:
        """What the user says about the run from the start."""
        request = self.request
        label = request.label
        if label is not None and self.prepared is None:
            values, given = (
                {name: redacted(name, value) for name, value in found.items()}
                for found in (self.values, self.given)
            )
            label = fill_label(label, values, given)
        return request.notes(label)

    @property
    def definition(self) -> bytes | None:
        """Content of the blob that says what a project file's operation was."""
        return None if self.prepared is None else encode_definition(self.prepared.definition)

    @property
    def to_rewrite(self) -> tuple[str, ...]:
        """Files of which the run gets a copy with other values."""
        paths = dict.fromkeys(self.changes)
        if self.prepared is not None:
            paths.update(dict.fromkeys(self.prepared.configs))
            if self.prepared.patterns and self.script is not None:
                paths[self.script] = None
        return tuple(paths)

    def rewritten(self, read: Mapping[str, bytes]) -> dict[str, bytes]:
        """Return the new content of the files in which values are replaced.

        Args:
            read: content of the files `to_rewrite` as the snapshot has it.
        """
        if self.prepared is not None and self.prepared.configs:
            from reenact.project.dest_config import rewrite_config, target_of

            return {
                target_of(path): rewrite_config(read[path], path, values)
                for path, values in self.prepared.configs.items()
            }
        if self.operation.kind is OperationKind.NOTEBOOK:
            from reenact.project.notebook import replace_in_notebook, rewrite_notebook

            new = {path: rewrite_notebook(read[path], c) for path, c in self.changes.items()}
            if self.prepared is not None and self.prepared.patterns and self.script is not None:
                content = new.get(self.script, read[self.script])
                new[self.script] = replace_in_notebook(content, self.prepared.patterns)
            return new
        return {path: rewrite(read[path], changes) for path, changes in self.changes.items()}


def plan_run(request: RunRequest, context: Context) -> Plan:
    """Work out a run.

    Raises:
        CannotRun: the script, the interpreter or the directory is not there.
        UsageError: the request contradicts itself, or a flag is refused.
    """
    ground = find_ground(request, context)
    return plan_on(ground, ground.request, context)


def _restarts(former: Run | None) -> int:
    if former is None:
        return 0
    return former.restarts + (0 if former.is_staged else 1)


def plan_on(ground: Ground, request: RunRequest, context: Context) -> Plan:
    """Work out one of the runs that stand on a ground, which differ in what is set.

    Raises:
        CannotRun: the interpreter is not there.
        UsageError: a flag is refused.
    """
    if ground.defined is not None:
        return _with_seed(_plan_defined(ground, ground.defined, request, context))
    _, root, directory, target, flags, former, source, _ = ground
    cwd = os.path.relpath(directory, root.path)
    if cwd.startswith(".."):
        cwd = "."
    env = {**context.env, **request.variables}
    if request.gpus is not None:
        env["CUDA_VISIBLE_DEVICES"] = request.gpus
    name = target.name
    relative = None
    if target.script is not None and is_inside(target.script, root.path):
        relative = os.path.relpath(target.script, root.path)
        if target.kind in (OperationKind.SCRIPT, OperationKind.NOTEBOOK):
            name = relative
    if flags is None:
        is_command = target.kind is OperationKind.COMMAND
        flags = template_flags(target.words if is_command else (), request.settings)
    given, values = resolve_flags(
        flags, request.settings, force=request.force_flags, operation=name
    )
    changes = _changes(flags, given)
    if changes and request.in_place:
        first = next(iter(given))
        raise UsageError(
            f"flag `{first}` is a literal in `{name}`, which a run in place does not rewrite",
            hint="leave out `--in-place`, or give the script a command line",
        )
    remarks: tuple[str, ...] = ()
    if target.kind is OperationKind.COMMAND:
        texts = {n: v for n, v in request.settings.items() if isinstance(v, str)}
        words = fill_in(target.words, values, texts)
        unset = unset_placeholders(target.words, values)
        if unset and request.settings and not request.force_flags:
            raise UsageError(
                f"flag `{unset[0]}` of the command is not set",
                hint=f"add `{unset[0]}=…`; `--force-flags` leaves the braces as they are",
            )
        remarks = tuple(f"`{{{name}}}` was passed on as it is: no such flag" for name in unset)
    elif target.is_python:
        words = [find_python(env, request.python), *target.words]
        if flags.kind not in ("globals", "none") or flags.open_ended:
            bound = {n: v for n, v in given.items() if not _is_global(flags, n)}
            words += command_line(flags, bound)
    elif target.kind is OperationKind.NOTEBOOK:
        words = notebook_command(target.words[0], find_python(env, request.python), env)
    else:
        words = list(target.words)
    if not request.in_place and request.reproduces is None:
        remarks += paths_out(target.script, directory, root.path)
    project = _project_of(former, request, root, env, context)
    operation = Operation(
        name=printable(name),
        kind=target.kind,
        target=_target_text(target, relative),
        arguments=tuple(map(printable, redact_argv(target.words)))
        if target.kind is OperationKind.COMMAND
        else (),
        flags_kind=flags.kind,
    )
    plan = Plan(
        request=request,
        operation=operation,
        project=project,
        root=root,
        words=tuple(words),
        cwd=cwd,
        flag_set=flags,
        values=values,
        given=given,
        changes=changes,
        script=relative,
        source=source,
        target=target,
        script_at=_script_at(request, target, words),
        remarks=remarks,
        env={**env, **flag_variables(values)},
    )
    return _with_seed(plan)


def _with_seed(plan: Plan) -> Plan:
    """Decide what random generators get."""
    request = plan.request
    is_wanted = plan.prepared is None or plan.prepared.definition.seed
    seed = choose_seed(request, plan.env, is_wanted=is_wanted)
    is_calm = is_deterministic(request)
    env = with_seed(plan.env, request, seed, is_deterministic=is_calm)
    return msgspec.structs.replace(plan, seed=seed, is_deterministic=is_calm, env=env)


def project_of_package(root: ProjectRoot, context: Context) -> Project:
    """Return the project that runs of a package's operations belong to: that of their user."""
    return msgspec.structs.replace(context.project, root=path_to_text(root.path))


def _project_of(
    former: Run | None,
    request: RunRequest,
    root: ProjectRoot,
    env: Mapping[str, str],
    context: Context,
) -> Project:
    moves = former is not None and former.operation.package is not None
    if former is not None and (moves or request.reproduces is not None):
        # It may run without its project, and is a run of it all the same.
        return msgspec.structs.replace(former.project, root=path_to_text(root.path))
    if root.path != context.root.path:
        return identify(root, env, context.store.cache_directory)
    return former.project if former is not None else context.project


def _plan_defined(ground: Ground, defined: Defined, request: RunRequest, context: Context) -> Plan:
    """Work out a run of a project file's operation."""
    from reenact.actions.project_operation import prepare

    if defined.definition.requires and ground.former is None:
        from reenact.actions.user_defaults import with_local_resources

        request = with_local_resources(request, defined, context)
    env = dict(context.env)
    if request.gpus is not None:
        env["CUDA_VISIBLE_DEVICES"] = request.gpus
    target = defined.target
    prepared = prepare(
        defined,
        request.settings,
        env=env,
        variables=request.variables,
        cwd=ground.directory,
        python=request.python,
        label=request.label,
        force=request.force_flags,
    )
    if request.in_place and (prepared.changes or prepared.configs):
        raise UsageError(
            f"flags of operation `{defined.name}` are values in a file, which a run in place does "
            "not rewrite",
            hint="leave out `--in-place`",
        )
    script = None
    if target.script is not None and is_inside(target.script, ground.root.path):
        script = os.path.relpath(target.script, ground.root.path)
    definition = prepared.definition
    if defined.package is not None and ground.former is None:
        project = project_of_package(ground.root, context)
    else:
        project = _project_of(ground.former, request, ground.root, env, context)
    requirements: tuple[Planned, ...] = ()
    if prepared.requires:
        requirements = _requirements(ground, defined, prepared, request, project, context)
        request, prepared = _with_chosen_runs(request, defined, prepared, requirements)
        prepared = _with_label(request, prepared, requirements)
    is_command = target.kind is OperationKind.COMMAND
    operation = Operation(
        name=printable(defined.name),
        kind=target.kind,
        target=_target_text(target, script),
        arguments=tuple(map(printable, redact_argv(target.words))) if is_command else (),
        flags_kind=defined.detected.kind,
        model=definition.model or None,
        file=path_to_text(defined.file),
        definition=digest_bytes(encode_definition(definition)),
        package=defined.package,
        is_stoppable=definition.stoppable,
    )
    return Plan(
        request=msgspec.structs.replace(
            request,
            label=prepared.label,
            tags=tuple(dict.fromkeys((*definition.tags, *request.tags))),
        ),
        operation=operation,
        project=project,
        root=ground.root,
        words=prepared.words,
        cwd=os.path.relpath(ground.directory, ground.root.path),
        flag_set=defined.flags,
        values=prepared.values,
        given=prepared.given,
        changes=prepared.changes,
        script=script,
        source=ground.source,
        target=target,
        remarks=prepared.remarks,
        env={**env, **prepared.env, **request.variables},
        prepared=prepared,
        requirements=requirements,
    )


def _requirements(
    ground: Ground,
    defined: Defined,
    prepared: Prepared,
    request: RunRequest,
    project: Project,
    context: Context,
) -> tuple[Planned, ...]:
    """Look for what an operation of a project file requires."""
    from reenact.actions.resources import Around
    from reenact.actions.resources.recorded import recorded_sources
    from reenact.actions.resources.requirements import find_resource, plan_requirements

    root = ground.root.path
    env = {**context.env, **prepared.own_env, **request.variables}
    try:
        python = find_python(env, request.python)
    except CannotRun:
        python = None
    around = Around(
        root=root,
        directory=context.directory,
        project=project.id,
        package=defined.package,
        store=context.store,
        env=env,
        python=python,
        python_path=tuple(os.path.normpath(f"{root}/{path}") if path[:1] != "/" else path
                          for path in prepared.python_path),
        values=prepared.values,
        former=ground.former,
        memory=defined.memory,
        among=request.among,
        awaited=request.awaited,
        recorded=recorded_sources(request.like, request.required),
    )  # fmt: skip
    at = Context(context.env, root, context.store.root)
    model = prepared.definition.model
    return plan_requirements(prepared.requires, around, lambda name: find_resource(at, name, model))


def _with_label(request: RunRequest, prepared: Prepared, planned: tuple[Planned, ...]) -> Prepared:
    """Let a label name the runs whose files were taken: `${operation:train}`."""
    from reenact.actions.resources.requirements import chosen_runs

    template = prepared.definition.label if request.label is None else request.label
    runs = chosen_runs(prepared.requires, planned)
    if template is None or not any(name in runs for name in label_names(template)):
        return prepared
    label = fill_label(template, {**runs, **prepared.values}, prepared.given)
    return msgspec.structs.replace(prepared, label=label or None)


def _with_chosen_runs(
    request: RunRequest, defined: Defined, prepared: Prepared, planned: tuple[Planned, ...]
) -> tuple[RunRequest, Prepared]:
    """Let flags by which runs were chosen have their ids: `@latest` is another run tomorrow."""
    chosen: dict[str, str] = {}
    for one in planned:
        if one.flag is not None and one.run is not None:
            flag = defined.flags.find(one.flag)
            name = one.flag if flag is None else flag.name
            chosen[name] = f"{chosen[name]},{one.run[:8]}" if name in chosen else one.run[:8]
    own = {f.name for f in defined.requirement_flags}
    chosen = {name: text for name, text in chosen.items() if name in own}
    if not chosen:
        return request, prepared
    settings = {
        name: text
        for name, text in request.settings.items()
        if (flag := defined.flags.find(name)) is None or flag.name not in chosen
    }
    return msgspec.structs.replace(request, settings={**settings, **chosen}), (
        msgspec.structs.replace(
            prepared,
            values={**prepared.values, **chosen},
            given={**prepared.given, **chosen},
        )
    )


def _script_at(request: RunRequest, target: Target, words: list[str]) -> int | None:
    is_absolute = request.target is not None and os.path.isabs(request.target)
    if not is_absolute or request.is_module:
        return None
    return words.index(target.words[-1])


def _target_text(target: Target, relative: str | None) -> str:
    if target.kind is OperationKind.MODULE:
        return target.name
    if target.kind is OperationKind.COMMAND:
        return printable(target.words[0])
    return printable(relative or target.script or target.name)


def _changes(
    flags: FlagSet, given: Mapping[str, FlagValue]
) -> dict[str, list[tuple[Global, FlagValue]]]:
    changes: dict[str, list[tuple[Global, FlagValue]]] = {}
    for name, value in given.items():
        flag = flags.find(name)
        if flag is not None and isinstance(flag.binding, Global):
            changes.setdefault(flag.binding.file, []).append((flag.binding, value))
    return changes


def _is_global(flags: FlagSet, name: str) -> bool:
    flag = flags.find(name)
    return flag is not None and isinstance(flag.binding, Global)


def redacted(name: str, value: FlagValue) -> FlagValue:
    """Return what a record may say of a flag's value."""
    if isinstance(value, str):
        return redact(name, printable(value))
    if isinstance(value, list):
        return [redacted(name, item) for item in value]
    if isinstance(value, dict):
        return {key: redacted(f"{name}.{key}", item) for key, item in value.items()}
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return REDACTED if is_number and is_secret_name(name) else value
