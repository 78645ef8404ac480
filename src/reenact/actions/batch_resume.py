"""Go on with a batch: what it was to do stands in its directory, what was done in its trials' records."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import msgspec

from reenact.actions.asked import Asked, read_asked
from reenact.actions.batch import FinishedBatch, places_of, run_trials, tree_of_batch, trees_of
from reenact.actions.batch_plan import PRUNE, make_search, with_variants
from reenact.actions.children import check_jobs
from reenact.actions.context import Context
from reenact.actions.ground import Ground, find_ground
from reenact.actions.plan import plan_on
from reenact.actions.project_tree import PlannedTree
from reenact.actions.proposed_trials import Search
from reenact.actions.run_directory import begin_again, take_over
from reenact.actions.search_defaults import OptimizerFlags, with_declared_spaces
from reenact.actions.trial_source import BatchListener, Made, Starter
from reenact.actions.trials import TRIALS_FILE, Entry, append_entries, read_entries
from reenact.actions.trials import request_of as request_of_trial
from reenact.errors import UsageError
from reenact.model.flags import FlagValue
from reenact.model.identity import RunId, new_run_id
from reenact.model.record import flag_from_json
from reenact.model.run import Batch, Run
from reenact.model.secrets import REDACTED
from reenact.search.values import read_settings
from reenact.store.files import store_errors
from reenact.store.store import RECORD_DIRECTORY, Store


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
    again: Callable[[Run, Asked], tuple[Ground, Starter]] | None = None,
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
        again: finds again what its trials stand on, and who starts them: where they are pipelines.

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
        places = places_of(jobs or (None if wanted else batch.jobs), wanted, context, gpus)
        if quiet:
            places = [place._replace(has_terminal=False) for place in places]
        check_jobs(len(places), in_place=former.in_place)
        starter = None
        tree = None
        if again is not None:
            ground, starter = again(former, asked)
        else:
            ground = _ground_of(former, batch, asked, context)
        search = _search_again(former, batch, ground, context)
        example = entries[0] if entries else Entry(number=1, run=new_run_id())
        if starter is None:
            tree = tree_of_batch(ground, example, context, keep=False)
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
    made = Made(
        run=run,
        ground=ground,
        tree=tree,
        fail_fast=asked.fail_fast,
        search=search,
        variants=variants,
        starter=starter,
    )
    return run_trials(made, lock, entries, context, places, listener, failed_too=failed_too)


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
    return trees_of(variants, example, tree, context)


def _search_again(run: Run, batch: Batch, ground: Ground, context: Context) -> Search | None:
    if batch.optimizer is None:
        return None
    if batch.optimizer == PRUNE:
        raise UsageError(
            f"run {run.id[:8]} looked for the cause of a difference",
            hint="say `reenact prune` again: the runs that it has made count",
        )
    for name, value in batch.optimizer_flags.items():
        if value == REDACTED:
            raise UsageError(
                f"`{name}` of the optimizer of run {run.id[:8]} was a secret and is not recorded",
                hint="run the operation itself with the same flags",
            )
    declared = {name: flag_from_json(value) for name, value in batch.optimizer_flags.items()}
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
        flags=OptimizerFlags(declared),
        objectives=batch.objectives,
        seed=batch.seed or 0,
        limit=batch.trials,
    )
    return search


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
