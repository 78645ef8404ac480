"""Decide everything about a run before it starts, and change nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from reenact import __version__
from reenact.actions.context import Context
from reenact.errors import CannotRun, UsageError
from reenact.model.flags import FlagSet, FlagValue, Global
from reenact.model.identity import RunId, is_run_id
from reenact.model.paths import path_to_text, printable, text_to_path
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
    resolve_command,
    resolve_module,
    resolve_script,
    template_flags,
    unset_placeholders,
)
from reenact.project.settings import resolve_flags
from reenact.snapshot.project_root import ProjectRoot, find_root, identify
from reenact.snapshot.rules import suffix
from reenact.snapshot.tree import SourceTree, read_tree
from reenact.store.files import read_file


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for.

    Attributes:
        target: the script, or the module's name with `is_module`; None with `command` or a run to
            take over.
        command: the words after `--`.
        settings: flags; text is read as the flag's type says.
        like: take flags and source of this run, and its operation where none is named.
        restart: run this run again in its own directory.
        variables: environment variables for this run.
        time_limit_s: stop the run after that many seconds.
        gpus: value for CUDA_VISIBLE_DEVICES; the empty string hides all.
        trace_files: one of `run_files.TRACES`.
        save_models: keep the models that frameworks train, as files in the run directory.
        directory: working directory of the process, relative to that of the command.
        descriptors: file descriptors beside the standard ones that the process shares with us.
    """

    target: str | None = None
    is_module: bool = False
    command: tuple[str, ...] | None = None
    settings: Mapping[str, str | FlagValue] = {}
    force_flags: bool = False
    like: Run | None = None
    restart: Run | None = None
    run_id: str | None = None
    label: str | None = None
    tags: tuple[str, ...] = ()
    comment: str | None = None
    directory: str | None = None
    variables: Mapping[str, str] = {}
    python: str | None = None
    snapshot: bool = True
    in_place: bool = False
    time_limit_s: float | None = None
    gpus: str | None = None
    save_models: bool = False
    trace_files: str = "preload"
    quiet: bool = False
    background: bool = False
    descriptors: tuple[int, ...] = ()


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
        remarks: what the reader of the run must know of how it was planned.
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
    script_at: int | None = None
    remarks: tuple[str, ...] = ()

    def record(self, run_id: RunId, created: datetime) -> Run:
        """Return the run's first record."""
        request = self.request
        former = request.restart
        like = request.like.id if request.like is not None else None
        if former is not None:
            like = former.like
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
            given=tuple(self.given),
            typed=self._typed(),
            variables={n: redact(n, printable(v)) for n, v in request.variables.items()},
            in_place=request.in_place,
            like=like,
            restarts=former.restarts + 1 if former is not None else 0,
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that the user gave as secrets: they must not stand in the record."""
        texts = {name: value for name, value in self.request.settings.items() if value is not None}
        texts.update(self.request.variables)
        return tuple(str(value) for name, value in texts.items() if is_secret_name(name))

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
        return Notes(
            label=None if request.label is None else printable(request.label),
            tags=tuple(map(printable, request.tags)),
            comment=None if request.comment is None else printable(request.comment),
        )

    def rewritten(self, read: Mapping[str, bytes]) -> dict[str, bytes]:
        """Return the new content of the files in which literals are replaced.

        Args:
            read: content of those files as the snapshot has it.
        """
        if self.operation.kind is OperationKind.NOTEBOOK:
            from reenact.project.notebook import rewrite_notebook

            return {path: rewrite_notebook(read[path], c) for path, c in self.changes.items()}
        return {path: rewrite(read[path], changes) for path, changes in self.changes.items()}


def plan_run(request: RunRequest, context: Context) -> Plan:
    """Work out a run.

    Raises:
        CannotRun: the script, the interpreter or the directory is not there.
        UsageError: the request contradicts itself, or a flag is refused.
    """
    _check(request)
    former = request.restart or request.like
    directory = context.directory
    if request.directory is not None:
        directory = os.path.join(directory, request.directory)
        if not os.path.isdir(directory):
            raise CannotRun(f"the working directory `{request.directory}` does not exist")
    if former is not None and request.target is None and request.command is None:
        return _plan_again(request, former, context)
    root = context.root if directory == context.directory else find_root(directory, context.home)
    if request.command is not None:
        return _plan(request, context, root, directory, resolve_command(request.command))
    if request.target is None:
        raise UsageError("nothing to run", hint="name a script: `reenact run train.py lr=0.1`")
    if request.is_module:
        target = resolve_module(request.target, directory, root.path)
        return _plan(request, context, root, directory, target)
    target = resolve_script(request.target, directory)
    assert target.script is not None
    script = os.path.realpath(target.script)
    if not _is_inside(script, root.path):
        # A script of another project: it runs among its own files.
        directory = os.path.dirname(script)
        root = find_root(directory, context.home)
        target = resolve_script(os.path.basename(script), directory)
    return _plan(request, context, root, directory, target)


def find_flags(target: Target, root: str) -> FlagSet:
    """Find the flags of a Python script without running it; others have none that we know."""
    if target.kind is OperationKind.NOTEBOOK and target.script is not None:
        return _find_notebook_flags(target.script, root)
    if not target.is_python or target.script is None:
        return FlagSet(kind="none", open_ended=target.kind is not OperationKind.COMMAND)
    from reenact.project.detect import detect

    module = target.name if target.kind is OperationKind.MODULE else None
    return detect(Path(target.script), Path(root), module=module)


def _find_notebook_flags(path: str, root: str) -> FlagSet:
    from reenact.project.notebook import find_notebook_flags, read_notebook

    content = read_file(path)
    name = path_to_text(os.path.relpath(path, root))
    notebook = read_notebook(content, name)
    if notebook.language != "python":
        return FlagSet(kind="none", open_ended=True)
    return find_notebook_flags(notebook, content, name)


@contextmanager
def materialized(context: Context, run: Run) -> Iterator[str]:
    """Lay out a run's script and Python source in a directory that is gone afterwards."""
    if run.source is None:
        raise CannotRun(
            f"run {run.id[:8]} has no source: it was made with `--no-snapshot`",
            hint="run the script itself with the same flags",
        )
    tree = read_tree(context.store.blobs, run.source.tree)
    with tempfile.TemporaryDirectory(prefix="reenact-") as directory:
        for text, mode, _, digest in tree.files:
            path = text_to_path(text)
            if suffix(path) in ("py", "pyw", "") or text == run.operation.target:
                os.makedirs(os.path.dirname(f"{directory}/{path}"), exist_ok=True)
                Path(directory, path).write_bytes(context.store.blobs.get(digest))
                Path(directory, path).chmod(mode)
        for text, target in tree.links:
            link = f"{directory}/{text_to_path(text)}"
            os.makedirs(os.path.dirname(link), exist_ok=True)
            os.symlink(text_to_path(target), link)
        yield os.path.realpath(directory)


def _check(request: RunRequest) -> None:
    if request.run_id is not None and not is_run_id(request.run_id):
        raise UsageError(
            f"`{request.run_id}` is no run id", hint="a run id is 32 hexadecimal digits"
        )
    if request.in_place and not request.snapshot:
        raise UsageError("`--in-place` and `--no-snapshot` exclude each other")
    if request.restart is not None:
        _check_restart(request, request.restart)
    for name in request.variables:
        if not name or "=" in name or "\0" in name:
            raise UsageError(f"`{name}` is no name of an environment variable")


def _check_restart(request: RunRequest, former: Run) -> None:
    if request.like is not None or request.in_place or request.run_id is not None:
        raise UsageError("`--restart` excludes `--like`, `--in-place` and `--run-id`")
    if request.label is not None or request.tags or request.comment is not None:
        raise UsageError(
            "a run that is restarted keeps its notes",
            hint="change them with `reenact label`, `tag` and `comment`",
        )
    if former.in_place:
        raise UsageError(
            f"run {former.id[:8]} ran in place and has no directory to restart in",
            hint=f"`--like {former.id[:8]} --in-place` runs it again",
        )


def _plan_again(request: RunRequest, former: Run, context: Context) -> Plan:
    """Plan a run with the operation, flags and source of another one."""
    operation = former.operation
    if operation.is_in_process:
        raise CannotRun(
            f"run {former.id[:8]} was a part of a process, which cannot be started again",
            hint="run its script, notebook or function again",
        )
    settings: dict[str, str | FlagValue] = {
        name: former.typed.get(name, former.flags[name]) for name in former.given
    }
    settings.update(request.settings)
    variables = {**former.variables, **request.variables}
    for name, value in (*settings.items(), *variables.items()):
        if value == REDACTED:
            raise UsageError(
                f"`{name}` of run {former.id[:8]} was a secret and is not recorded",
                hint=f"give it again: `{name}=…`, or `--env {name}=…`",
            )
    request = msgspec.structs.replace(request, settings=settings, variables=variables)
    root_path = text_to_path(former.project.root)
    if not os.path.isdir(root_path):
        root_path = context.root.path
    root = find_root(root_path, context.home)
    if root.path != root_path:
        root = ProjectRoot(root_path, root.toplevel, False)
    cwd = text_to_path(former.cwd)
    if former.source is None or operation.kind is OperationKind.COMMAND:
        directory = os.path.normpath(f"{root.path}/{cwd}")
        target = (
            resolve_command(operation.arguments)
            if operation.kind is OperationKind.COMMAND
            else _named_target(operation, directory, root.path)
        )
        return _plan(request, context, root, directory, target, former=former)
    with materialized(context, former) as staged:
        directory = os.path.normpath(f"{staged}/{cwd}")
        target = _named_target(operation, directory, staged)
        flags = find_flags(target, staged)
        relative = os.path.relpath(directory, staged)
        here = os.path.normpath(f"{root.path}/{relative}")
        if target.script is not None:
            target = target._replace(script=f"{root.path}/{os.path.relpath(target.script, staged)}")
    return _plan(request, context, root, here, target, former=former, flags=flags)


def _named_target(operation: Operation, directory: str, root: str) -> Target:
    if operation.kind is OperationKind.MODULE:
        return resolve_module(operation.target, directory, root)
    script = os.path.relpath(f"{root}/{text_to_path(operation.target)}", directory)
    return resolve_script(script, directory)


def _plan(
    request: RunRequest,
    context: Context,
    root: ProjectRoot,
    directory: str,
    target: Target,
    *,
    former: Run | None = None,
    flags: FlagSet | None = None,
) -> Plan:
    directory = os.path.realpath(directory)
    cwd = os.path.relpath(directory, root.path)
    if cwd.startswith(".."):
        cwd = "."
    env = {**context.env, **request.variables}
    if request.gpus is not None:
        env["CUDA_VISIBLE_DEVICES"] = request.gpus
    name = target.name
    relative = None
    if target.script is not None and _is_inside(target.script, root.path):
        relative = os.path.relpath(target.script, root.path)
        if target.kind in (OperationKind.SCRIPT, OperationKind.NOTEBOOK):
            name = relative
    if flags is None:
        if target.kind is OperationKind.COMMAND:
            flags = template_flags(target.words, request.settings)
        elif target.is_python or target.kind is OperationKind.NOTEBOOK:
            flags = find_flags(target, root.path)
        else:
            flags = template_flags((), request.settings)
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
    project = former.project if former is not None and root.path == context.root.path else None
    if project is None:
        same = root.path == context.root.path
        project = context.project if same else identify(root, env, context.store.cache_directory)
    operation = Operation(
        name=printable(name),
        kind=target.kind,
        target=_target_text(target, relative),
        arguments=tuple(map(printable, redact_argv(target.words)))
        if target.kind is OperationKind.COMMAND
        else (),
        flags_kind=flags.kind,
    )
    source = None
    if former is not None and former.source is not None:
        source = read_tree(context.store.blobs, former.source.tree)
    return Plan(
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
        script_at=_script_at(request, target, words),
        remarks=remarks,
        env={**env, **flag_variables(values)},
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


def _is_inside(path: str, root: str) -> bool:
    return path.startswith(root.rstrip("/") + "/")
