"""Batches: runs that start other runs, their trials, and survive whatever happens to them.

A batch is a run without a process of its own: who supervises it starts the trials. What it will do
stands in `.reenact/trials` before it is done, and what was done follows from the trials' own records,
so that nothing is lost when the batch is killed: `batch_resume` runs what is missing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from reenact.actions.asked import ask_later, write_asked
from reenact.actions.batch_plan import PlannedBatch
from reenact.actions.batch_record import notes_of, record_batch
from reenact.actions.children import (
    Place,
    check_jobs,
    exit_when_asked,
    find_gpus,
    make_places,
    run_parts,
    warm_up,
)
from reenact.actions.context import Context
from reenact.actions.early_stop import make_early_stop
from reenact.actions.ground import Ground
from reenact.actions.objectives import completed_trials, find_best, is_lesson, unreported
from reenact.actions.optimizer import OptimizedTrials
from reenact.actions.plan import plan_on
from reenact.actions.project_tree import PlannedTree, look_at_tree, variant_tree
from reenact.actions.proposed_trials import ProposedTrials
from reenact.actions.queue import stage_run
from reenact.actions.run_directory import new_run, publish
from reenact.actions.trial_source import BatchListener, Made, Starter, TrialList
from reenact.actions.trials import TRIALS_FILE, Entry, Progress, append_entries
from reenact.actions.trials import request_of as request_of_trial
from reenact.errors import UsageError
from reenact.model.identity import RunId, new_run_id
from reenact.model.paths import printable
from reenact.model.run import Exit, Remark, Run
from reenact.model.words import counted
from reenact.store.files import remove_if_there, store_errors
from reenact.store.index import tell_index
from reenact.store.lock import Lock
from reenact.store.store import RECORD_DIRECTORY, STOP_MARKER

if TYPE_CHECKING:
    from reenact.actions.variants import PlannedVariant


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
    places = places_of(request.jobs, request.gpus_per_trial, context)
    check_jobs(len(places), in_place=request.run.in_place)
    made, lock = _make(planned, context, jobs=len(places), is_staged=False, tree=tree)
    return run_trials(made, lock, planned.entries, context, places, listener)


def stage_batch(planned: PlannedBatch, context: Context) -> Run:
    """Set a batch aside with its snapshot, to be started later."""
    if planned.request.run.in_place:
        raise UsageError("`--stage` keeps a copy of the source, which `--in-place` does not use")
    made, lock = _make(planned, context, jobs=planned.request.jobs or 1, is_staged=True)
    lock.release(remove=True)
    tell_index(context.store, made.run.id)
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
        if made.starter is not None:
            staged.append(made.starter.stage(wanted))
            continue
        plan = plan_on(made.ground_of(entry), wanted, context)
        staged.append(stage_run(plan, context, tree=made.tree_of(entry)))
    run = made.run
    assert run.batch is not None
    batch = msgspec.structs.replace(run.batch, completed=0, failed=0, stopped=0)
    run = msgspec.structs.replace(run, ended=datetime.now(UTC), exit=Exit(code=0), batch=batch)
    with store_errors(context.store.root):
        context.store.write_run(run)
        lock.release(remove=True)
    tell_index(context.store, run.id)
    return run, staged


def places_of(
    jobs: int | None, gpus_per_trial: int | None, context: Context, gpus: str | None = None
) -> list[Place]:
    """Return where trials run at the same time; `gpus` are those that there are for them."""
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
        if tree is None and planned.starter is None:
            tree = tree_of_batch(ground, planned.example, context, keep=True)
        run = record_batch(run_id, planned, context, tree, jobs=jobs, is_staged=is_staged)
        if planned.starter is not None:
            run = _of_starter(run, planned.starter)
        directory = f"{store.directory(run_id)}.new/{RECORD_DIRECTORY}"
        write_asked(directory, asked)
        append_entries(f"{directory}/{TRIALS_FILE}", planned.entries)
        for variant in planned.variants.values():
            variant.keep(store.blobs)
        publish(store, run, notes_of(planned, run, context))
    variants = trees_of(planned.variants, planned.example, tree, context)
    made = Made(
        run=run,
        ground=ground,
        tree=tree,
        fail_fast=planned.request.fail_fast,
        search=planned.search,
        variants=variants,
        starter=planned.starter,
    )
    return made, lock


def _of_starter(run: Run, starter: Starter) -> Run:
    """Return a record with what is known of trials that are no single runs."""
    assert run.batch is not None
    more = starter.settings
    return msgspec.structs.replace(
        run,
        flags={**run.flags, **more},
        given=(*run.given, *more),
        typed={**run.typed, **more},
        batch=msgspec.structs.replace(run.batch, pipeline=starter.keep()),
    )


def trees_of(
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


def tree_of_batch(
    ground: Ground, example: Entry, context: Context, *, keep: bool
) -> PlannedTree | None:
    """Look at the project's files once for all trials; in place each trial looks itself."""
    if ground.request.in_place:
        return None
    request = request_of_trial(ground, example)
    if example.variant is not None:
        # It is the variants that have the flags.
        request = msgspec.structs.replace(request, settings={})
    plan = plan_on(ground, request, context)
    return look_at_tree(plan, context, keep=keep and ground.request.snapshot)


def run_trials(
    made: Made,
    lock: Lock,
    entries: list[Entry],
    context: Context,
    places: list[Place],
    listener: BatchListener,
    *,
    failed_too: bool = False,
) -> FinishedBatch:
    """Run the trials of a batch whose lock is ours, those that are not done, and end it."""
    store = context.store
    run_id = made.run.id
    marker = store.record_path(run_id, STOP_MARKER)
    warm_up()
    batch = made.run.batch
    if batch is not None and batch.stop_early is not None:
        early = make_early_stop(batch.stop_early, batch.objectives, context)
        made = made._replace(early=early)
    trials = _trials_of(made, entries, context, listener)
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
    run = _ended(made, trials.progress, requested, context)
    with store_errors(store.root):
        store.write_run(run)
        remove_if_there(marker)
        lock.release(remove=True)
    tell_index(store, run.id)
    trials.progress.run = run
    return FinishedBatch(run, trials.progress)


def _trials_of(
    made: Made, entries: list[Entry], context: Context, listener: BatchListener
) -> TrialList:
    if made.search is None:
        return TrialList(made, entries, context, listener)
    if made.search.optimizer is not None:
        return OptimizedTrials(made, entries, context, listener)
    return ProposedTrials(made, entries, context, listener)


def _ended(made: Made, progress: Progress, requested: str | None, context: Context) -> Run:
    completed, failed = progress.counts()
    batch = made.run.batch
    assert batch is not None
    stopped = progress.stopped
    missing = len(progress.trials) - completed - failed - stopped
    trials = completed_trials(made.run.id, context) if batch.objectives else []
    best = find_best(trials, batch.objectives)
    if requested is not None:
        end = exit_when_asked(requested)
    else:
        is_fine = completed + stopped == len(progress.trials) and progress.problem is None
        is_learning = made.search is not None and made.search.is_learning
        is_lost = is_learning and trials and not is_lesson(trials, batch.objectives)
        end = Exit(code=0 if is_fine and not is_lost else 1)
    warnings = [
        Remark(code="trial", message=f"trial {number}: {state.problem}")
        for number, state in progress.trials.items()
        if state.problem is not None
    ]
    if progress.problem is not None:
        warnings.append(Remark(code="optimizer", message=printable(progress.problem)))
    warnings += [
        Remark(code="objective", message=printable(text))
        for text in unreported(trials, batch.objectives)
    ]
    if missing and requested is None:
        text = f"{counted(missing, 'trial')} did not run to an end"
        warnings.append(Remark(code="trials-missing", message=text))
    return msgspec.structs.replace(
        made.run,
        ended=datetime.now(UTC),
        exit=end,
        warnings=tuple(warnings),
        batch=msgspec.structs.replace(
            batch, completed=completed, failed=failed, stopped=stopped, best=best
        ),
    )
