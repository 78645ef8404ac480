"""Go on with a run in a new one: the code of now, the flags of then, and the files that are there.

The new run finds what the run before left behind at the same places: a script that saves checkpoints
and looks for them goes on from there. The files are linked, and become the new run's own when it
writes to them; what it reads of them is among its inputs. Which code made which steps stays known:
each run has its own source and its own points, see `actions.whence.segments_of`.
"""

from __future__ import annotations

import os

import msgspec

from reenact.actions.context import Context
from reenact.actions.ground import RunRequest
from reenact.errors import NotFound, UsageError
from reenact.model.flags import FlagValue
from reenact.model.identity import RunId
from reenact.model.paths import text_to_path
from reenact.model.run import OperationKind, Remark, Run, Status
from reenact.model.secrets import REDACTED
from reenact.store.store import StoredRun

_NOT_ENDED = (Status.RUNNING, Status.PENDING, Status.STAGED)


def resume_request(request: RunRequest, former: StoredRun, context: Context) -> RunRequest:
    """Return the request for a run that goes on from another one.

    Args:
        request: what else the user asked for; its flags win over those of the run before.
        former: the run before.
        context: where.

    Raises:
        UsageError: the run cannot be resumed: it runs, or it was no process of its own.
    """
    run = former.record
    name = run.id[:8]
    if request.target is not None or request.command is not None or request.like or request.restart:
        raise UsageError("`--resume` names what to run: leave out operation, `--like`, `--restart`")
    if former.status in _NOT_ENDED:
        raise UsageError(
            f"run {name} is {former.status}, and cannot be resumed",
            hint=f"`reenact stop {name}` ends it first",
        )
    if run.is_parent:
        raise UsageError(
            f"run {name} starts other runs", hint=f"`--restart {name}` runs what is missing of it"
        )
    if run.operation.is_in_process:
        raise UsageError(f"run {name} was a part of a process, which cannot be started again")
    settings: dict[str, str | FlagValue] = {
        flag: run.typed.get(flag, run.flags[flag]) for flag in run.given if flag in run.flags
    }
    settings.update(request.settings)
    variables = {**run.variables, **request.variables}
    for flag, value in (*settings.items(), *variables.items()):
        if value == REDACTED:
            raise UsageError(
                f"`{flag}` of run {name} was a secret and is not recorded",
                hint=f"give it again: `{flag}=…`, or `--env {flag}=…`",
            )
    operation = run.operation
    is_command = operation.kind is OperationKind.COMMAND and operation.definition is None
    is_named = operation.definition is not None
    return msgspec.structs.replace(
        request,
        target=None if is_command else operation.name if is_named else _target(run, context),
        is_module=operation.kind is OperationKind.MODULE and not is_named,
        command=operation.arguments if is_command else None,
        settings=settings,
        variables=variables,
        provided=_left_behind(former, context),
        resumes=run.id,
        directory=request.directory or (None if is_named else _directory(run, context)),
    )


def _target(run: Run, context: Context) -> str:
    """Return the script's path from where the run was called, or the module's name."""
    if run.operation.kind is OperationKind.MODULE:
        return run.operation.target
    path = os.path.join(context.root.path, text_to_path(run.operation.target))
    return os.path.relpath(path, _directory(run, context))


def _directory(run: Run, context: Context) -> str:
    """Return where in the project a run was called, in the project of now."""
    return os.path.normpath(os.path.join(context.root.path, text_to_path(run.cwd)))


def _left_behind(former: StoredRun, context: Context) -> dict[str, str]:
    """Return where the files are that a run has left, and those that it went on from, by their paths."""
    found: dict[str, str] = {}
    chain: list[StoredRun] = []
    seen: set[RunId] = set()
    one: StoredRun | None = former
    while one is not None and one.id not in seen:
        seen.add(one.id)
        chain.append(one)
        earlier = one.record.resumes
        try:
            one = None if earlier is None else context.store.read_run(earlier)
        except NotFound:
            one = None
    for stored in reversed(chain):
        for file in stored.record.outputs:
            path = text_to_path(file.path)
            place = os.path.join(stored.directory, path)
            if not os.path.isabs(path) and file.target is None and os.path.isfile(place):
                found[path] = place
    return found


def mixed_code(run: Run, context: Context) -> Remark | None:
    """Say that a result came about with code that changed on the way; None where it did not."""
    if run.resumes is None:
        return None
    try:
        former = context.store.read_run(run.resumes).run
    except NotFound:
        return None
    if former is None:
        return None
    known = any(remark.code == "mixed-code" for remark in former.warnings)
    before, now = former.source, run.source
    is_same = before is not None and now is not None and before.tree == now.tree
    if is_same and not known:
        return None
    text = f"run {former.id[:8]}, which it goes on from, had other code"
    if is_same:
        text = f"run {former.id[:8]}, which it goes on from, is itself of mixed code"
    return Remark(
        code="mixed-code", message=f"{text}: `reenact whence {run.id[:8]}` says which steps"
    )
