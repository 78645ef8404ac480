"""Batches: runs that start other runs, their trials, and survive whatever happens to them.

A batch is a run without a process of its own: who supervises it starts the trials. What it will do
stands in `.reenact/trials` before it is done, and what was done follows from the trials' own records,
so that nothing is lost when the batch is killed: `resume_batch` runs what is missing.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from reenact.actions.asked import Asked, ask_later, read_asked, write_asked
from reenact.actions.batch_plan import PlannedBatch, make_search, with_variants
from reenact.actions.batch_record import notes_of, record_batch
from reenact.actions.children import Place, check_jobs, find_gpus, make_places, run_parts, warm_up
from reenact.actions.context import Context
from reenact.actions.early_stop import make_early_stop
from reenact.actions.ground import Ground, find_ground
from reenact.actions.optimizer import ROUND, OptimizedTrials
from reenact.actions.plan import plan_on
from reenact.actions.project_tree import PlannedTree, look_at_tree, variant_tree
from reenact.actions.queue import stage_run
from reenact.actions.run_directory import begin_again, new_run, publish, take_over
from reenact.actions.search_defaults import with_declared_spaces
from reenact.actions.trial_source import (
    BatchListener,
    Made,
    ProposedTrials,
    Search,
    TrialList,
    children_of,
    objective_values,
)
from reenact.actions.trials import TRIALS_FILE, Entry, Progress, append_entries, read_entries
from reenact.actions.trials import request_of as request_of_trial
from reenact.errors import ReenactError, UsageError
from reenact.model.flags import FlagValue
from reenact.model.identity import RunId, new_run_id
from reenact.model.paths import printable
from reenact.model.run import Batch, Exit, Remark, Run, Status
from reenact.model.secrets import REDACTED
from reenact.model.words import counted
from reenact.search.samplers import Direction
from reenact.search.values import (
    read_settings,
)
from reenact.store.files import remove_if_there, store_errors
from reenact.store.index import Index
from reenact.store.lock import Lock
from reenact.store.store import RECORD_DIRECTORY, STOP_MARKER, Store

if TYPE_CHECKING:
    from reenact.actions.variants import PlannedVariant

PRUNE = "prune"
"""The optimizer of `actions.prune`."""


_SIGNALS = {
    "interrupt": signal.SIGINT,
    "terminate": signal.SIGTERM,
    "stop": signal.SIGTERM,
    "hangup": signal.SIGHUP,
}


class FinishedBatch(NamedTuple):
    """A batch that has ended, with its trials."""

    run: Run
    progress: Progress


def start_batch(
    planned: PlannedBatch,
    context: Context,
    listener: BatchListener,
    *,
    tree: PlannedTree | None = None,
) -> FinishedBatch:
    """Run a batch to its end.

    Args:
        planned: the batch.
        context: where.
        listener: told what happens.
        tree: the project's files as they were looked at before, source being in the store.

    Raises:
        CannotRun: the store cannot be written; nothing has run.
        UsageError: there are not enough GPUs.
    """
    request = planned.request
    places = _places(request.jobs, request.gpus_per_trial, context)
    check_jobs(len(places), in_place=request.run.in_place)
    made, lock = _make(planned, context, jobs=len(places), is_staged=False, tree=tree)
    return _run_trials(made, lock, planned.entries, planned.search, context, places, listener)


def stage_batch(planned: PlannedBatch, context: Context) -> Run:
    """Set a batch aside with its snapshot, to be started later."""
    if planned.request.run.in_place:
        raise UsageError("`--stage` keeps a copy of the source, which `--in-place` does not use")
    made, lock = _make(planned, context, jobs=planned.request.jobs or 1, is_staged=True)
    lock.release(remove=True)
    _tell_index(context.store, made.run.id)
    return made.run


def stage_trials(planned: PlannedBatch, context: Context) -> tuple[Run, list[Run]]:
    """Set each trial of a batch aside, to be started as a run of its own.

    The batch itself ends with that; its trials are those that `resume_batch` finds missing.

    Raises:
        CannotRun: the store cannot be written.
        UsageError: nobody knows the trials yet, or they would not run from a snapshot.
    """
    request = planned.request.run
    if planned.search is not None:
        raise UsageError(
            "a search chooses each trial when it starts, so that none can be staged",
            hint="`--stage` sets the whole search aside",
        )
    if request.in_place or not request.snapshot:
        option = "--in-place" if request.in_place else "--no-snapshot"
        raise UsageError(f"`--stage-trials` keeps a copy of the source, which `{option}` does not")
    made, lock = _make(planned, context, jobs=1, is_staged=False)
    staged = []
    for entry in planned.entries:
        wanted = made.request_of(entry)
        wanted = msgspec.structs.replace(wanted, priority=request.priority)
        plan = plan_on(made.ground_of(entry), wanted, context)
        staged.append(stage_run(plan, context, tree=made.tree_of(entry)))
    run = made.run
    assert run.batch is not None
    batch = msgspec.structs.replace(run.batch, completed=0, failed=0, stopped=0)
    run = msgspec.structs.replace(run, ended=_now(), exit=Exit(code=0), batch=batch)
    with store_errors(context.store.root):
        context.store.write_run(run)
        lock.release(remove=True)
    _tell_index(context.store, run.id)
    return run, staged


def resume_batch(
    former: Run,
    context: Context,
    listener: BatchListener,
    *,
    jobs: int | None = None,
    gpus_per_trial: int | None = None,
    gpus: str | None = None,
    failed_too: bool = False,
    quiet: bool = False,
    settings: Mapping[str, str | FlagValue] | None = None,
) -> FinishedBatch:
    """Run what is missing of a batch: trials that never ran, were killed or were stopped.

    Args:
        former: the batch; it may also be staged.
        context: where.
        listener: told what happens.
        jobs: how many at once; as before when None.
        gpus_per_trial: how many GPUs each trial gets; as before when None.
        gpus: those that there are for it; None for all.
        failed_too: run those again that failed.
        quiet: what trials print goes nowhere but into their records.
        settings: flags that are secrets, which are not recorded.

    Raises:
        CannotRun: it runs, or the store cannot be written.
        Damaged: what it was to do cannot be read.
    """
    store = context.store
    lock, former = take_over(store, former)
    batch = former.batch
    assert batch is not None
    try:
        directory = f"{store.directory(former.id)}/{RECORD_DIRECTORY}"
        asked = read_asked(directory)
        entries = _with_secrets(_not_deleted(store, former.id), settings or {})
        wanted = gpus_per_trial or asked.gpus_per_trial
        places = _places(jobs or (None if wanted else batch.jobs), wanted, context, gpus)
        if quiet:
            places = [place._replace(has_terminal=False) for place in places]
        check_jobs(len(places), in_place=former.in_place)
        ground = _ground_of(former, batch, asked, context)
        search = _search_again(former, batch, ground, context)
        example = entries[0] if entries else Entry(number=1, run=new_run_id())
        tree = _tree(ground, example, context, keep=False)
        variants = _variants_again(former, ground, example, tree, context)
        run = msgspec.structs.replace(
            begin_again(former),
            batch=msgspec.structs.replace(
                batch, jobs=len(places), completed=None, failed=None, stopped=None, best=None
            ),
        )
        with store_errors(store.root):
            store.write_run(run)
    except BaseException:
        lock.release(remove=True)
        raise
    made = Made(run, ground, tree, asked.fail_fast, variants=variants)
    return _run_trials(
        made, lock, entries, search, context, places, listener, failed_too=failed_too
    )


def _not_deleted(store: Store, batch: RunId) -> list[Entry]:
    """Return what a batch was to do; a trial that lies in the trash is another run from now on.

    Of two runs with one id neither could be restored or removed.
    """
    directory = f"{store.directory(batch)}/{RECORD_DIRECTORY}"
    entries = read_entries(directory)
    renamed = {
        entry.number: msgspec.structs.replace(entry, run=new_run_id(), stopped_at=None)
        for entry in entries
        if not os.path.exists(store.directory(entry.run))
        and os.path.exists(store.directory(entry.run, deleted=True))
    }
    if renamed:
        append_entries(f"{directory}/{TRIALS_FILE}", renamed.values())
    return [renamed.get(entry.number, entry) for entry in entries]


def _variants_again(
    former: Run, ground: Ground, example: Entry, tree: PlannedTree | None, context: Context
) -> dict[str, tuple[Ground, PlannedTree]]:
    if former.batch is None or not former.batch.variants:
        return {}
    from reenact.actions.variants import variants_again

    bare = msgspec.structs.replace(request_of_trial(ground, example), settings={})
    variants = variants_again(former, ground, plan_on(ground, bare, context), context)
    return _trees_of(variants, example, tree, context)


def _search_again(run: Run, batch: Batch, ground: Ground, context: Context) -> Search | None:
    if batch.optimizer is None:
        return None
    if batch.optimizer == PRUNE:
        raise UsageError(
            f"run {run.id[:8]} looked for the cause of a difference",
            hint="say `reenact prune` again: the runs that it has made count",
        )
    typed = msgspec.structs.replace(ground.request, settings=run.typed)
    settings = read_settings(run.typed, ground.flags, force=typed.force_flags)
    settings = with_variants(
        with_declared_spaces(ground, settings), (variant.name for variant in batch.variants)
    )
    search, _ = make_search(
        settings,
        ground._replace(request=typed),
        Context(context.env, ground.root.path, context.store.root),
        name=batch.optimizer,
        objectives=batch.objectives,
        seed=batch.seed or 0,
        limit=batch.trials,
    )
    return search


def _places(
    jobs: int | None, gpus_per_trial: int | None, context: Context, gpus: str | None = None
) -> list[Place]:
    names = gpus.split(",") if gpus else None
    if names is None and gpus_per_trial:
        names = find_gpus(context.env)
    places = make_places(jobs, gpus_per_trial, names)
    if gpus and not gpus_per_trial:
        return [place._replace(gpus=gpus) for place in places]
    return places


def _make(
    planned: PlannedBatch,
    context: Context,
    *,
    jobs: int,
    is_staged: bool,
    tree: PlannedTree | None = None,
) -> tuple[Made, Lock]:
    """Make the batch's run directory, with its snapshot and all that it will do."""
    store = context.store
    ground = planned.ground
    asked = msgspec.structs.replace(
        ask_later(ground, dict(context.env)),
        gpus_per_trial=planned.request.gpus_per_trial,
        fail_fast=planned.request.fail_fast,
    )
    run_id = RunId(ground.request.run_id) if ground.request.run_id else new_run_id()
    with new_run(store, run_id) as lock:
        if tree is None:
            tree = _tree(ground, planned.example, context, keep=True)
        run = record_batch(run_id, planned, context, tree, jobs=jobs, is_staged=is_staged)
        directory = f"{store.directory(run_id)}.new/{RECORD_DIRECTORY}"
        write_asked(directory, asked)
        append_entries(f"{directory}/{TRIALS_FILE}", planned.entries)
        for variant in planned.variants.values():
            variant.keep(store.blobs)
        publish(store, run, notes_of(planned, run, context))
    variants = _trees_of(planned.variants, planned.example, tree, context)
    return Made(run, ground, tree, planned.request.fail_fast, variants=variants), lock


def _trees_of(
    variants: Mapping[str, PlannedVariant],
    example: Entry,
    tree: PlannedTree | None,
    context: Context,
) -> dict[str, tuple[Ground, PlannedTree]]:
    """Return ground and files of each variant; data is that of the project as it is."""
    found = {}
    for name, variant in variants.items():
        assert tree is not None
        entry = msgspec.structs.replace(example, variant=name)
        plan = plan_on(variant.ground, request_of_trial(variant.ground, entry), context)
        found[name] = (variant.ground, variant_tree(plan, tree, variant.source, variant.files))
    return found


def _tree(ground: Ground, example: Entry, context: Context, *, keep: bool) -> PlannedTree | None:
    """Look at the project's files once for all trials; in place each trial looks itself."""
    if ground.request.in_place:
        return None
    request = request_of_trial(ground, example)
    if example.variant is not None:
        # It is the variants that have the flags.
        request = msgspec.structs.replace(request, settings={})
    plan = plan_on(ground, request, context)
    return look_at_tree(plan, context, keep=keep and ground.request.snapshot)


def _ground_of(run: Run, batch: Batch, asked: Asked, context: Context) -> Ground:
    """Find the ground of a batch again, in its snapshot."""
    like = msgspec.structs.replace(
        run,
        id=run.like or run.id,
        operation=msgspec.structs.replace(run.operation, kind=batch.kind),
        flags={},
        given=(),
        typed={},
        variables={},
        batch=None,
    )
    request = msgspec.structs.replace(asked.request(), like=like, parent=run.id)
    for name, value in request.variables.items():
        if value == REDACTED:
            raise UsageError(
                f"`{name}` of run {run.id[:8]} was a secret and is not recorded",
                hint="run the operation itself with the same flags",
            )
    return find_ground(request, context)


def _with_secrets(entries: list[Entry], settings: Mapping[str, str | FlagValue]) -> list[Entry]:
    """Put in what is not recorded of the trials' flags; nothing else can be changed."""
    hidden = {name for entry in entries for name, value in entry.flags.items() if value == REDACTED}
    if missing := hidden - settings.keys():
        name = min(missing)
        raise UsageError(
            f"`{name}` was a secret and is not recorded", hint=f"give it again: `{name}=…`"
        )
    if others := settings.keys() - hidden:
        raise UsageError(
            f"a batch that goes on keeps its flags, and `{min(others)}` is one",
            hint="run the operation again with other flags",
        )
    return [
        msgspec.structs.replace(
            entry,
            flags={n: settings[n] if v == REDACTED else v for n, v in entry.flags.items()},
        )
        for entry in entries
    ]


def _run_trials(
    made: Made,
    lock: Lock,
    entries: list[Entry],
    search: Search | None,
    context: Context,
    places: list[Place],
    listener: BatchListener,
    *,
    failed_too: bool = False,
) -> FinishedBatch:
    store = context.store
    run_id = made.run.id
    marker = store.record_path(run_id, STOP_MARKER)
    warm_up()
    path = store.record_path(run_id, TRIALS_FILE)

    def write(entry: Entry) -> None:
        append_entries(path, [entry])

    batch = made.run.batch
    if batch is not None and batch.stop_early is not None:
        early = make_early_stop(batch.stop_early, batch.objectives, context)
        made = made._replace(early=early)
    if search is None:
        trials = TrialList(made, entries, context, listener, write)
    elif search.optimizer is not None:
        trials = OptimizedTrials(made, entries, context, listener, write, search)
    else:
        trials = ProposedTrials(made, entries, context, listener, write, search)
    if failed_too:
        trials.repeat_failed()
    listener.begin(trials.progress)
    requested = run_parts(
        trials,
        places,
        store,
        trials,
        stop_asked=lambda: os.path.exists(marker),
        in_fork=lock.forget,
    )
    run = _ended(made.run, trials.progress, requested, context)
    with store_errors(store.root):
        store.write_run(run)
        remove_if_there(marker)
        lock.release(remove=True)
    _tell_index(store, run.id)
    trials.progress.run = run
    return FinishedBatch(run, trials.progress)


def _ended(run: Run, progress: Progress, requested: str | None, context: Context) -> Run:
    completed, failed = progress.counts()
    batch = run.batch
    assert batch is not None
    stopped = progress.stopped
    missing = len(progress.trials) - completed - failed - stopped
    if requested is not None:
        end = Exit(signal=_SIGNALS[requested], requested=requested)
    else:
        is_fine = completed + stopped == len(progress.trials) and progress.problem is None
        end = Exit(code=0 if is_fine else 1)
    warnings = [
        Remark(code="trial", message=f"trial {number}: {state.problem}")
        for number, state in progress.trials.items()
        if state.problem is not None
    ]
    if progress.problem is not None:
        warnings.append(Remark(code="optimizer", message=printable(progress.problem)))
    if missing and requested is None:
        text = f"{counted(missing, 'trial')} did not run to an end"
        warnings.append(Remark(code="trials-missing", message=text))
    return msgspec.structs.replace(
        run,
        ended=_now(),
        exit=end,
        warnings=tuple(warnings),
        batch=msgspec.structs.replace(
            batch,
            completed=completed,
            failed=failed,
            stopped=stopped,
            best=best_trial(context, run),
        ),
    )


def best_trial(context: Context, run: Run) -> RunId | None:
    """Return the completed trial that is best by a batch's first objective."""
    if run.batch is None or not run.batch.objectives:
        return None
    objective = run.batch.objectives[0]
    best: tuple[float, RunId] | None = None
    for trial in reversed(children_of(run.id, context)):
        values = objective_values(trial, [objective])
        is_round = (trial.part or "").startswith(ROUND)
        if trial.status is not Status.COMPLETED or values is None or is_round:
            continue
        rank = -values[0] if objective[0] == Direction.MAXIMIZE else values[0]
        if rank == rank and (best is None or rank < best[0]):
            best = rank, trial.id
    return None if best is None else best[1]


def _tell_index(store: Store, run_id: RunId) -> None:
    try:
        with Index(store) as index:
            index.update(run_id)
    except ReenactError:
        pass  # The index is a cache: the next command that reads it sees this run.


def _now() -> datetime:
    return datetime.now(UTC)
