"""Find what a run stands on: its operation, the flags that this has, where it runs. Nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from reenact.actions.context import Context
from reenact.actions.run_definition import decode_definition
from reenact.errors import CannotRun, UsageError
from reenact.model.flags import FlagSet, FlagValue
from reenact.model.identity import RunId, is_run_id
from reenact.model.paths import printable, text_to_path
from reenact.model.run import Notes, Operation, OperationKind, Run
from reenact.model.secrets import REDACTED
from reenact.project.find_flags import as_a_number, find_flags, with_named
from reenact.project.flag_text import format_value
from reenact.project.operation import (
    Target,
    resolve_command,
    resolve_module,
    resolve_script,
)
from reenact.project.overrides import KINDS
from reenact.snapshot.project_root import ProjectRoot, find_root
from reenact.snapshot.rules import suffix
from reenact.snapshot.tree import SourceTree, read_tree

if TYPE_CHECKING:
    # What project files are made of takes long to import, and most runs are of scripts.
    from reenact.actions.defined_operation import Defined
    from reenact.actions.operations import Offered
    from reenact.project.file.model import OperationDef


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
        keep_data: of which inputs the content is kept: `none`, `small`, `all`; None says nothing.
        directory: working directory of the process, relative to that of the command.
        descriptors: file descriptors beside the standard ones that the process shares with us.
        parent: the run that starts this one, which is number `part` of its parts.
        among: operations that it requires are met by these runs only; None for all of the project.
        awaited: operations whose runs are still to come: what requires them is not looked for yet.
        priority: of a run that is staged.
        variant: name of the code that it runs from, where its batch has several.
        seed: what random generators are seeded with; None: that of the run that is restarted, else
            what `REENACT_SEED` says, else one is drawn.
        no_seed: nothing is seeded.
        deterministic: frameworks are told to compute without chance where they can.
        restored: environment variables as another run had them, which this one is to show again:
            they count more than the environment and less than `variables`.
        set_then: those of `restored` that the user of the other run had set.
        reproduces: the run whose result this one, which is like it, is to show again.
        resumes: the run that this one goes on from.
        base: directory that stands for the project, where the one of the record is not there.
        provided: path in the project -> where its content is now, which is linked there instead.
        absent: paths in the project of data that is kept from the run.
        required: path in the run directory -> where the content is now of what `like` required.
        has_input: the process gets our standard input; otherwise it reads nothing.
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
    keep_data: str | None = None
    trace_files: str = "preload"
    quiet: bool = False
    background: bool = False
    descriptors: tuple[int, ...] = ()
    parent: RunId | None = None
    part: str | None = None
    among: tuple[RunId, ...] | None = None
    awaited: frozenset[str] = frozenset()
    priority: int = 0
    variant: str | None = None
    seed: int | None = None
    no_seed: bool = False
    deterministic: bool = False
    restored: Mapping[str, str] = {}
    set_then: frozenset[str] = frozenset()
    reproduces: RunId | None = None
    resumes: RunId | None = None
    base: str | None = None
    provided: Mapping[str, str] = {}
    absent: frozenset[str] = frozenset()
    required: Mapping[str, str] = {}
    has_input: bool = True

    def notes(self, label: str | None) -> Notes:
        """Return what the user says about the run from the start; `label` is filled in already."""
        return Notes(
            label=None if label is None else printable(label),
            tags=tuple(map(printable, self.tags)),
            comment=None if self.comment is None else printable(self.comment),
            priority=self.priority,
        )


class Ground(NamedTuple):
    """What all plans of one operation have in common, found once.

    Attributes:
        request: what was asked for, with what it takes over of a former run.
        directory: absolute path of the working directory.
        flags: those that the operation has; None where they depend on what is set.
        former: the run that is taken over.
        source: the tree to take instead of the project's own.
        defined: the operation of a project file, where it is one.
    """

    request: RunRequest
    root: ProjectRoot
    directory: str
    target: Target
    flags: FlagSet | None
    former: Run | None = None
    source: SourceTree | None = None
    defined: Defined | None = None


def find_ground(request: RunRequest, context: Context) -> Ground:
    """Find the operation, its flags and where it runs; no flag is looked at that was set.

    Raises:
        CannotRun: the script or the directory is not there.
        UsageError: the request contradicts itself.
    """
    _check(request)
    former = request.restart or request.like
    directory = context.directory
    if request.directory is not None:
        directory = os.path.join(directory, request.directory)
        if not os.path.isdir(directory):
            raise CannotRun(f"the working directory `{request.directory}` does not exist")
    if former is not None and request.target is None and request.command is None:
        return _ground_again(request, former, context)
    root = context.root if directory == context.directory else find_root(directory, context.home)
    if request.command is not None:
        return _ground(request, root, directory, resolve_command(request.command))
    if not request.is_module:
        offered = find_offered(request, directory, context)
        if offered is not None:
            return _ground_of_offered(request, offered, directory, context)
    if request.target is None:
        raise UsageError("nothing to run", hint="name a script: `reenact run train.py lr=0.1`")
    if request.is_module:
        target = resolve_module(request.target, directory, root.path)
        return _ground(request, root, directory, target)
    target = resolve_script(request.target, directory)
    assert target.script is not None
    script = os.path.realpath(target.script)
    if not is_inside(script, root.path):
        # A script of another project: it runs among its own files.
        directory = os.path.dirname(script)
        root = find_root(directory, context.home)
        target = resolve_script(os.path.basename(script), directory)
    return _ground(request, root, directory, target)


def find_offered(request: RunRequest, directory: str, context: Context) -> Offered | None:
    """Return the operation of a project file that is meant, if one is."""
    if directory != context.directory:
        context = Context(context.env, directory, context.store.root)
    name = request.target
    if name is None:
        return _default_operation(context)
    path = os.path.join(directory, name)
    if os.path.isabs(name) or (os.path.isfile(path) and "." in os.path.basename(name)):
        # A script is named by its file's name, whatever the project file says.
        return None
    from reenact.actions.operations import (
        find_operation,
        find_operation_by_part,
        nearest_operation,
        project_of,
    )

    found = find_operation(context, name)
    if found is not None or os.path.exists(path):
        return found
    project = project_of(context)
    same = () if project is None else project.content.operations
    if models := [op.full_name for op in same if op.name == name]:
        listed = ", ".join(f"`{full}`" for full in models)
        raise UsageError(f"several models have an operation `{name}`", hint=f"say which: {listed}")
    if (found := find_operation_by_part(context, name)) is not None:
        return found
    if close := nearest_operation(context, name):
        raise CannotRun(
            f"there is neither an operation nor a script `{name}`", hint=f"did you mean `{close}`?"
        )
    return None


def find_meant(request: RunRequest, context: Context) -> Offered | None:
    """Return the operation of a project file that a request means; None where it means another one."""
    is_plain = request.command is None and request.like is None and request.restart is None
    if not is_plain or request.is_module:
        return None
    directory = os.path.normpath(os.path.join(context.directory, request.directory or ""))
    return find_offered(request, directory, context)


def find_pipeline(request: RunRequest, context: Context) -> Offered | None:
    """Return the pipeline that a request means; None where it means another operation."""
    offered = find_meant(request, context)
    return None if offered is None or offered.definition.steps is None else offered


def with_defaults_for_many(request: RunRequest, context: Context) -> RunRequest:
    """Set the flags whose default in the project file is several values or a space to search.

    So the request means what it would if the user had written these out.
    """
    offered = find_meant(request, context)
    if offered is None or offered.definition.steps is not None:
        return request
    if not any(isinstance(flag.default, list | str) for flag in offered.definition.flags):
        return request
    from reenact.actions.defined_operation import define

    home = offered.project.directory
    defined = define(offered.definition, offered.project.file, home, home)
    settings = settings_for_many(defined, request.settings)
    return msgspec.structs.replace(request, settings={**settings, **request.settings})


def settings_for_many(
    defined: Defined, settings: Mapping[str, str | FlagValue]
) -> dict[str, str | FlagValue]:
    """Return defaults that are several values or a space, of flags that are not set, as typed."""
    found: dict[str, str | FlagValue] = {
        name: value if isinstance(value, str) else format_value(value)
        for name, value in defined.defaults_for_many().items()
    }
    for name in settings:
        flag = defined.flags.find(name)
        found.pop(name if flag is None else flag.name, None)
    return found


def _default_operation(context: Context) -> Offered | None:
    from reenact.actions.operations import Offered, project_of, usable

    project = project_of(context)
    if project is None:
        return None
    default = project.content.default_operation
    if default is None:
        names = [f"`{op.full_name}`" for op in project.content.operations if not op.is_private]
        raise UsageError(
            f"nothing to run: no operation of `{project.file}` is the default one",
            hint=f"there are {', '.join(names[:20])}" if names else "it has no operations",
        )
    return usable(Offered(default, project))


def _ground_of_offered(
    request: RunRequest, offered: Offered, directory: str, context: Context
) -> Ground:
    from reenact.actions.defined_operation import define

    home = offered.project.directory
    root = context.root if context.root.path == home else find_root(home, context.home)
    if offered.package is not None:
        root = package_root(home)
    elif root.path != home:
        root = ProjectRoot(home, root.toplevel, False)
    cwd = os.path.realpath(directory) if request.directory is not None else home
    if cwd != home and not is_inside(cwd, home):
        raise UsageError(
            f"the working directory of operation `{offered.name}` must be inside `{home}`"
        )
    if offered.definition.steps is not None:
        raise UsageError(
            f"{offered.definition.place}: `{offered.name}` is a pipeline, which is no single run",
            hint=f"`reenact run {offered.name}` starts it",
        )
    defined = define(offered.definition, offered.project.file, home, cwd)
    remarks = list(defined.remarks)
    if request.target is not None and os.path.exists(os.path.join(directory, request.target)):
        remarks.append(
            f"`{request.target}` is the operation of {offered.definition.place}; "
            f"`./{request.target}` is the file of this name"
        )
    defined = defined._replace(name=offered.name, package=offered.package, remarks=tuple(remarks))
    return _ground_of_defined(request, defined, root, cwd)


def _ground_of_defined(
    request: RunRequest,
    defined: Defined,
    root: ProjectRoot,
    directory: str,
    *,
    former: Run | None = None,
    source: SourceTree | None = None,
) -> Ground:
    definition = defined.definition
    rules = definition.sourcecode
    request = msgspec.structs.replace(
        request,
        python=request.python or _interpreter_of(definition, root),
        snapshot=request.snapshot and not (rules is not None and rules.is_off),
    )
    flags = defined.flags
    return Ground(request, root, directory, defined.target, flags, former, source, defined)


def _interpreter_of(definition: OperationDef, root: ProjectRoot) -> str | None:
    python = definition.python
    if python is None or "/" not in python:
        return python
    return os.path.normpath(os.path.join(root.path, definition.base, os.path.expanduser(python)))


def _ground(
    request: RunRequest,
    root: ProjectRoot,
    directory: str,
    target: Target,
    *,
    former: Run | None = None,
    source: SourceTree | None = None,
) -> Ground:
    flags = None
    if target.is_python or target.kind is OperationKind.NOTEBOOK:
        flags = find_flags(target, root.path)
        if target.is_python:
            # What the user calls a flag is one, though the script may bind it again.
            flags = with_named(flags, request.settings, target, root.path)
        flags = msgspec.structs.replace(flags, flags=tuple(map(as_a_number, flags.flags)))
    return Ground(request, root, os.path.realpath(directory), target, flags, former, source)


@contextmanager
def materialized(
    context: Context, run: Run, *, also: tuple[str, ...] = (), whole: bool = False
) -> Iterator[str]:
    """Lay out a run's script and Python source in a directory that is gone afterwards.

    Args:
        context: where.
        run: of which.
        also: paths of other files.
        whole: all of its source.
    """
    if run.source is None:
        raise CannotRun(
            f"run {run.id[:8]} has no source: it was made with `--no-snapshot`",
            hint="run the script itself with the same flags",
        )
    import tempfile

    tree = read_tree(context.store.blobs, run.source.tree)
    suffixes = {"py", "pyw", ""}
    if run.operation.flags_kind in KINDS:
        suffixes |= {"yaml", "yml"}
    with tempfile.TemporaryDirectory(prefix="reenact-") as directory:
        for text, mode, _, digest in tree.files:
            path = text_to_path(text)
            if whole or suffix(path) in suffixes or path in (run.operation.target, *also):
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


def _ground_again(request: RunRequest, former: Run, context: Context) -> Ground:
    """Find what a run with the operation, flags and source of another one needs."""
    operation = former.operation
    if former.pipeline is not None:
        raise CannotRun(
            f"run {former.id[:8]} is a pipeline, which `--like` cannot take over",
            hint=f"`reenact run {operation.name}` runs it anew, `--restart` what is missing of it",
        )
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
    request = msgspec.structs.replace(
        request,
        settings=settings,
        variables=variables,
        gpus=request.gpus if request.gpus is not None else _gpus_of(request, former),
        keep_data=request.keep_data or former.keep_data,
    )
    root_path = request.base or text_to_path(former.project.root)
    if not os.path.isdir(root_path):
        root_path = context.root.path
    root = find_root(root_path, context.home)
    if operation.package is not None:
        root = package_root(root_path)
    elif root.path != root_path:
        root = ProjectRoot(root_path, root.toplevel, False)
    cwd = text_to_path(former.cwd)
    source = None
    if former.source is not None:
        source = read_tree(context.store.blobs, former.source.tree)
    if operation.definition is not None:
        return _ground_of_former(request, former, root, context, source)
    if source is None or operation.kind is OperationKind.COMMAND:
        directory = os.path.normpath(f"{root.path}/{cwd}")
        target = (
            resolve_command(operation.arguments)
            if operation.kind is OperationKind.COMMAND
            else named_target(operation, directory, root.path)
        )
        return _ground(request, root, directory, target, former=former, source=source)
    with materialized(context, former) as staged:
        directory = os.path.normpath(f"{staged}/{cwd}")
        target = named_target(operation, directory, staged)
        flags = find_flags(target, staged)
        relative = os.path.relpath(directory, staged)
        here = os.path.normpath(f"{root.path}/{relative}")
        if target.script is not None:
            target = target._replace(script=f"{root.path}/{os.path.relpath(target.script, staged)}")
    return Ground(request, root, os.path.realpath(here), target, flags, former, source)


def _gpus_of(request: RunRequest, former: Run) -> str | None:
    """Return the GPUs that a run was given by its user, for another one that is like it."""
    if request.reproduces is not None and former.gpus != "":
        # They are numbered otherwise on another machine; but what ran without one does so again.
        return None
    # A trial has those that were free.
    is_trial = former.parent is not None and request.restart is None
    return None if is_trial and former.gpus != "" else former.gpus


def _ground_of_former(
    request: RunRequest,
    former: Run,
    root: ProjectRoot,
    context: Context,
    source: SourceTree | None,
) -> Ground:
    """Find what a run of a project file's operation needs, whatever the file says by now."""
    from reenact.actions.defined_operation import define
    from reenact.project.file.model import FlagsKind

    operation = former.operation
    assert operation.definition is not None
    definition = decode_definition(context.store.blobs.get(operation.definition))
    directory = os.path.normpath(f"{root.path}/{text_to_path(former.cwd)}")
    file = operation.file or ""
    if source is None:
        defined = define(definition, file, root.path, directory)
    else:
        dest = definition.flags_dest
        config = dest.name if dest is not None and dest.kind is FlagsKind.CONFIG else None
        wanted = () if config is None else (os.path.normpath(f"{definition.base}/{config}"),)
        with materialized(context, former, also=wanted) as staged:
            defined = define(definition, file, root.path, directory, read_root=staged)
    defined = defined._replace(name=operation.name, package=operation.package)
    return _ground_of_defined(request, defined, root, directory, former=former, source=source)


def named_target(operation: Operation, directory: str, root: str) -> Target:
    """Find a script or module again, in a copy of the project."""
    if operation.kind is OperationKind.MODULE:
        return resolve_module(operation.target, directory, root)
    script = os.path.relpath(f"{root}/{text_to_path(operation.target)}", directory)
    return resolve_script(script, directory)


def package_root(directory: str) -> ProjectRoot:
    """Return an installed package as the root of what is run.

    A repository that its environment lies in does not know its files.
    """
    return ProjectRoot(directory, None, False)


def is_inside(path: str, root: str) -> bool:
    """Tell whether a path lies below a directory."""
    return path.startswith(root.rstrip("/") + "/")
