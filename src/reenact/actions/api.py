"""The Python API: run operations, and work with runs as values."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from reenact.actions.api_runs import Metric, Run, Runs, StartedRun, tags_of, text_for
from reenact.actions.context import Context
from reenact.actions.find import find_run, list_runs
from reenact.actions.ground import Ground, RunRequest, find_ground
from reenact.actions.plan import plan_on
from reenact.actions.run import start_and_watch
from reenact.errors import UsageError
from reenact.model import run as model
from reenact.model.flags import FlagValue

if TYPE_CHECKING:
    from reenact.actions.in_process import InProcess

__all__ = ["Metric", "Run", "Runs", "get", "run", "runs", "start"]


def runs(
    filter: str | None = None,  # noqa: A002  # the word that users know from `--filter`
    *,
    sort: str | None = None,
    limit: int | None = None,
    all_projects: bool = False,
    store: str | os.PathLike[str] | None = None,
) -> Runs:
    """Return the runs of the project that the working directory belongs to, newest first.

    Args:
        filter: e.g. `lr < 0.01 and acc > 0.9`.
        sort: columns to sort by, e.g. `-acc`.
        limit: how many at most.
        all_projects: those of all projects in the store.
        store: the store's directory, if it is another than commands given here would use.

    Raises:
        BadFilter, BadColumn: `filter` or `sort` cannot be understood.
    """
    context = _context(store)
    found = list_runs(
        context, filter_text=filter, sort=sort, limit=limit, all_projects=all_projects
    )
    return Runs([Run(context, context.store.read_run(run.id)) for run in found])


def get(run: str, *, store: str | os.PathLike[str] | None = None) -> Run:
    """Return the one run that a text means: an id, its beginning, `@latest`, `@best:acc`, a label.

    Raises:
        NotFound: there is none.
        Ambiguous: there are several.
    """
    context = _context(store)
    return Run(context, find_run(context, run))


def run(
    operation: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Callable[..., Any],
    flags: Mapping[str, FlagValue] | None = None,
    /,
    *,
    module: bool = False,
    label: str | None = None,
    tags: Sequence[str] = (),
    comment: str | None = None,
    in_place: bool = False,
    snapshot: bool = True,
    quiet: bool = False,
    time_limit_s: float | None = None,
    env: Mapping[str, str] | None = None,
    seed: FlagValue = None,
    deterministic: bool = False,
    store: str | os.PathLike[str] | None = None,
    **more_flags: FlagValue,
) -> Run:
    """Run an operation to its end and return its run, whatever its exit status.

    A function is called in this process: its arguments are the flags, what it returns is the run's
    `result`, and where that is a dictionary of numbers they are metrics. What it raises is recorded
    and goes on to the caller. It takes of the options only notes and `store`.

    Args:
        operation: a script's or notebook's path, a module's name with `module`, the words of a
            command, or a function.
        flags: flags whose names are no Python names, or are parameters of this function.
        module: `operation` is a module.
        label: label of the run.
        tags: its tags.
        comment: comment on it.
        in_place: run in the project itself.
        snapshot: keep the source.
        quiet: do not pass output on to our own.
        time_limit_s: stop it after that many seconds.
        env: environment variables for the run.
        seed: a whole number from 0: the run's seed, and the flag `seed` where the operation has one;
            anything else is the flag. A function that is called seeds the generators of this
            process only with it.
        deterministic: frameworks are told to compute without chance where they can.
        store: the store's directory, if it is another than commands given here would use.
        **more_flags: flags.

    Raises:
        CannotRun: it could not be started.
        UnknownFlag, BadFlagValue: a flag is refused.
        UsageError: options contradict each other or are of a wrong type, or a run has begun in this
            process already.
    """
    settings = _settings(flags, more_flags)
    notes = _notes(label, tags, comment)
    context = _context(store)
    run_seed = _seed(seed)
    if callable(operation):
        if seed is not None:
            settings["seed"] = seed
        asked = (module, in_place, not snapshot, quiet, time_limit_s is not None, env)
        if any(asked) or deterministic:
            raise UsageError(
                "a function is called in this process: of the options it takes only notes, `seed` and "
                "`store`"
            )
        return _call(operation, settings, notes, context, run_seed)
    target, command = _target(operation)
    request = RunRequest(
        target=target,
        is_module=module,
        command=command,
        settings=settings,
        label=notes.label,
        tags=notes.tags,
        comment=notes.comment,
        in_place=in_place,
        snapshot=snapshot,
        quiet=quiet,
        time_limit_s=time_limit_s,
        variables=env or {},
        seed=run_seed,
        deterministic=deterministic,
    )
    ground = find_ground(request, context)
    if seed is not None and (run_seed is None or _takes_seed(ground)):
        request = msgspec.structs.replace(ground.request, settings={**settings, "seed": seed})
        ground = ground._replace(request=request)
    finished = start_and_watch(plan_on(ground, ground.request, context), context)
    return Run(context, context.store.read_run(finished.run.id))


class start:  # noqa: N801  # it is used as a function is
    """Record what stands in `with reenact.start() as run:` as a run of its own.

    Inside a run (`reenact run`, or a child process of one) it joins that run instead of making a
    second one: flags become params, name and notes do not count.

    Args:
        name: of the operation; the script's, notebook's or program's without one.
        flags: flags whose names are no Python names, or are parameters of this function.
        label: label of the run.
        tags: its tags.
        comment: comment on it.
        seed: a flag, and where it is a whole number from 0 random generators of this process get
            it, too. Without it they are left alone.
        store: the store's directory, if it is another than commands given here would use.
        **more_flags: flags; values of types that JSON has no word for are recorded by their `repr`.

    Raises:
        UsageError: an argument is of a wrong type; on entering: a run has begun in this process and
            has not ended.
        StoreUnusable: on entering: the store cannot be written.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        flags: Mapping[str, Any] | None = None,
        label: str | None = None,
        tags: Sequence[str] = (),
        comment: str | None = None,
        seed: Any = None,
        store: str | os.PathLike[str] | None = None,
        **more_flags: Any,
    ) -> None:
        self._name = name
        self._seed = _seed(seed)
        self._flags = _settings(flags, more_flags)
        if seed is not None:
            self._flags["seed"] = seed
        self._notes = _notes(label, tags, comment)
        self._store = store
        self._began: InProcess | None = None
        self._run: StartedRun | None = None

    def __enter__(self) -> StartedRun:
        from reenact.actions.in_process import begin, is_inside_run, join
        from reenact.actions.running_code import find_code

        context = _context(self._store)
        if is_inside_run():
            self._run = StartedRun(context, join(self._flags, self._seed))
            return self._run
        self._began = begin(
            find_code(self._name),
            context,
            flags=self._flags,
            given=self._flags,
            notes=self._notes,
            seed=self._seed,
        )
        self._run = StartedRun(context, self._began.run.id)
        return self._run

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._began is not None:
            self._began.end(error)
            assert self._run is not None
            self._run._read = None  # noqa: SLF001  # what was asked while it ran is no longer true


def _seed(value: object) -> int | None:
    """Return the seed that a value is; None for what can only be a flag's value."""
    is_seed = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_seed else None  # type: ignore[return-value]  # the line above says so


def _takes_seed(ground: Ground) -> bool:
    """Tell whether an operation has a flag `seed`, as far as its flags are known."""
    if ground.flags is None:
        return any("{seed}" in word for word in ground.request.command or ())
    return ground.flags.find("seed") is not None


def _call(
    function: Callable[..., Any],
    settings: dict[str, Any],
    notes: model.Notes,
    context: Context,
    seed: int | None,
) -> Run:
    """Call a function as a run."""
    from reenact.actions.function import bind, takes
    from reenact.actions.in_process import begin, is_inside_run, join, keep_numbers

    if seed is not None and not takes(function, "seed"):
        del settings["seed"]
    bound = bind(function, settings)
    if is_inside_run():
        found = StartedRun(context, join(bound.flags, seed))
        found.result = function(*bound.args, **bound.kwargs)
        keep_numbers(found.result)
        return found
    began = begin(bound.code, context, flags=bound.flags, given=settings, notes=notes, seed=seed)
    try:
        result = function(*bound.args, **bound.kwargs)
        keep_numbers(result)
    except BaseException as error:
        began.end(error)
        raise
    began.end()
    found = StartedRun(context, began.run.id)
    found.result = result
    return found


def _target(operation: object) -> tuple[str | None, tuple[str, ...] | None]:
    """Return the script or module that is meant, or the words of a command."""
    if isinstance(operation, str | os.PathLike):
        path = os.fspath(operation)
        if isinstance(path, str):
            return path, None
    if isinstance(operation, Sequence) and not isinstance(operation, str | bytes) and operation:
        words = [os.fspath(w) if isinstance(w, os.PathLike) else w for w in operation]
        if all(isinstance(word, str) for word in words):
            return None, tuple(words)
    raise UsageError(
        f"`{operation!r}` is nothing that can be run",
        hint="a script's path, a module's name, the words of a command as texts, or a function",
    )


def _settings(flags: object, more_flags: Mapping[str, Any]) -> dict[str, Any]:
    if flags is None:
        return dict(more_flags)
    if not isinstance(flags, Mapping) or not all(isinstance(name, str) for name in flags):
        raise UsageError(
            f"flags are a dictionary by name, and not `{flags!r}`", hint='e.g. `{"lr": 0.1}`'
        )
    return {**flags, **more_flags}


def _notes(label: object, tags: object, comment: object) -> model.Notes:
    return model.Notes(
        label=text_for("label", label), tags=tags_of(tags), comment=text_for("comment", comment)
    )


def _context(store: str | os.PathLike[str] | None) -> Context:
    return Context(store=None if store is None else os.fspath(store))
