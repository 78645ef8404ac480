"""Work out what a batch will do: its trials, or what a search needs; nothing is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from reenact.actions.context import Context
from reenact.actions.early_stop import make_early_stop
from reenact.actions.ground import Ground, RunRequest, find_ground
from reenact.actions.optimizer import Ledger, find_optimizer
from reenact.actions.plan import plan_on
from reenact.actions.proposed_trials import Search, entry_of
from reenact.actions.search_defaults import (
    OptimizerFlags,
    search_defaults,
    with_declared_spaces,
)
from reenact.actions.trial_source import Starter
from reenact.actions.trials import VARIANT, Entry
from reenact.actions.trials import request_of as request_of_trial
from reenact.errors import UsageError
from reenact.model.flags import FlagValue
from reenact.model.identity import new_run_id
from reenact.model.record import flag_to_json
from reenact.search.samplers import Direction
from reenact.search.samplers.points import value_at
from reenact.search.samplers.registry import is_known, make_sampler, own_name
from reenact.search.samplers.settings import PREVIOUS, has_no_effect, settings_of
from reenact.search.trial_files import read_trials as read_trial_files
from reenact.search.trials import Trial, find_seed_flag, plan_trials
from reenact.search.values import (
    Sequence,
    Setting,
    Single,
    read_settings,
    split_spaces,
    to_setting,
)
from reenact.store.columns import parse_column

if TYPE_CHECKING:
    from reenact.actions.variants import PlannedVariant

DEFAULT_OPTIMIZER = "random"
PRUNE = "prune"
"""The optimizer of `actions.prune`."""
DEFAULT_TRIALS = 20
"""Of a search that was not told when to end."""
ENDLESS = 1_000_000
"""So many trials mean that the search ends by itself."""


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for.

    Attributes:
        run: what all trials have in common; its settings may hold several values each.
        files: of trials, one a row.
        trials: how many at most.
        seeds: run everything with each of these.
        jobs: how many at once; None for one, or as many as there are GPUs for.
        gpus_per_trial: how many GPUs each trial gets; None leaves them alone.
        optimizer: name of a sampler that chooses the values, or of an operation that does.
        optimizer_flags: what is set of it.
        objectives: what is wanted of which column: `("minimize", "loss")`.
        random_seed: of all random choices.
        fail_fast: start nothing more after a trial that failed.
        stop_early: rule by which trials are stopped that are worse than others.
        variants: commits or patch files: everything is run from each of them.
    """

    run: RunRequest
    files: tuple[str, ...] = ()
    trials: int | None = None
    seeds: tuple[int, ...] = ()
    jobs: int | None = None
    gpus_per_trial: int | None = None
    optimizer: str | None = None
    optimizer_flags: OptimizerFlags = OptimizerFlags()
    objectives: tuple[tuple[str, str], ...] = ()
    random_seed: int = 0
    fail_fast: bool = False
    stop_early: str | None = None
    variants: tuple[str, ...] = ()


class PlannedBatch(NamedTuple):
    """A batch that was found to be in order; nothing has been changed.

    Attributes:
        entries: the trials; none yet for a search.
        example: a trial to see what all have in common.
        search: who chooses the values, where that is not the user.
        remarks: what the user must know before it starts.
        variants: of the code, by their names, where there are several.
        starter: starts the trials, where they are no single runs.
    """

    request: BatchRequest
    ground: Ground
    settings: dict[str, Setting]
    trials: list[Trial]
    entries: list[Entry]
    example: Entry
    search: Search | None = None
    remarks: tuple[str, ...] = ()
    variants: Mapping[str, PlannedVariant] = {}
    starter: Starter | None = None

    def ground_of(self, entry: Entry) -> Ground:
        """Return what a trial stands on."""
        return self.ground if entry.variant is None else self.variants[entry.variant].ground


def plan_batch(
    request: BatchRequest, context: Context, ground: Ground | None = None
) -> PlannedBatch | None:
    """Work out a batch; None where the request means a single run.

    Args:
        request: what is asked for.
        context: where.
        ground: what its trials stand on; it is looked for when None.

    Raises:
        CannotRun: the script, the interpreter or the directory is not there.
        UsageError: the request contradicts itself, or a trial's flags are refused.
    """
    ground = ground or find_ground(request.run, context)
    flags = ground.flags
    force = request.run.force_flags
    settings = read_settings(ground.request.settings, flags, force=force)
    is_space = any(not isinstance(s, Single | Sequence) for s in settings.values())
    defaults = search_defaults(ground, request.optimizer)
    request = msgspec.structs.replace(request, objectives=request.objectives or defaults.objectives)
    for _, text in request.objectives:
        parse_column(text)
    if request.stop_early is not None:
        make_early_stop(request.stop_early, request.objectives, context)
    own = request.optimizer_flags
    if request.optimizer is not None or is_space:
        request = msgspec.structs.replace(
            request,
            optimizer=defaults.optimizer or DEFAULT_OPTIMIZER,
            optimizer_flags=own._replace(declared={**defaults.flags, **own.declared}),
            trials=defaults.trials if request.trials is None else request.trials,
        )
        settings = with_variants(with_declared_spaces(ground, settings), request.variants)
        return _plan_search(request, ground, settings, context)
    if own.given:
        raise UsageError(
            f"`--opt-flag {min(own.given)}` is for a search, and this is none",
            hint="say who searches, e.g. `--optimizer tpe`, or give a flag a space",
        )
    is_many = any(isinstance(setting, Sequence) for setting in settings.values())
    is_many = is_many or bool(request.files or request.seeds or request.variants)
    if not is_many and request.trials is None:
        return None
    settings = with_variants(settings, request.variants)
    seed_flag = find_seed_flag(flags) if flags is not None else None
    trials = plan_trials(
        settings,
        rows=read_trial_files(request.files, flags, force=force),
        seeds=request.seeds,
        seed_flag=seed_flag,
        limit=request.trials,
        random_seed=request.random_seed,
    )
    entries = [_entry(trial, settings, ground, seed_flag) for trial in trials]
    variants = _plan_variants(request, ground, entries[0], context)
    planned = PlannedBatch(
        request, ground, settings, trials, entries, entries[0], variants=variants
    )
    for entry in entries:
        on = planned.ground_of(entry)
        plan_on(on, request_of_trial(on, entry), context)
    return planned


def _plan_search(
    request: BatchRequest, ground: Ground, settings: dict[str, Setting], context: Context
) -> PlannedBatch:
    if request.files or request.seeds:
        what = "a file of trials" if request.files else "`--seeds`"
        raise UsageError(
            f"a search chooses its trials, and {what} names them", hint="leave one of them out"
        )
    search, remarks = make_search(
        settings,
        ground,
        context,
        name=request.optimizer or DEFAULT_OPTIMIZER,
        flags=request.optimizer_flags,
        objectives=request.objectives,
        seed=request.random_seed,
        limit=request.trials,
    )
    if search.previous == "sourcecode" and (request.run.in_place or not request.run.snapshot):
        raise UsageError(f"`{PREVIOUS}=sourcecode` needs a snapshot of the source")
    if search.name is not None:
        request = msgspec.structs.replace(request, optimizer=search.name)
    middle = {name: value_at(space, 0.5) for name, space in search.spaces.items()}
    example = entry_of(1, middle, search, ground)
    variants = _plan_variants(request, ground, example, context)
    planned = PlannedBatch(request, ground, settings, [], [], example, search, remarks, variants)
    for one in variants or (None,):
        entry = msgspec.structs.replace(example, variant=one)
        on = planned.ground_of(entry)
        plan_on(on, request_of_trial(on, entry), context)
    return planned


def _plan_variants(
    request: BatchRequest, ground: Ground, example: Entry, context: Context
) -> dict[str, PlannedVariant]:
    if not request.variants:
        return {}
    from reenact.actions.variants import plan_variants

    # Flags may be there in one variant only: the working tree need not have them.
    bare = msgspec.structs.replace(request_of_trial(ground, example), settings={})
    plan = plan_on(ground, bare, context)
    return plan_variants(request.variants, ground, plan, context)


def with_variants(settings: dict[str, Setting], names: Iterable[str]) -> dict[str, Setting]:
    """Let the code vary like a flag, the slowest of all."""
    values = tuple(names)
    return {VARIANT: Sequence(values), **settings} if values else settings


def make_search(
    settings: dict[str, Setting],
    ground: Ground,
    context: Context,
    *,
    name: str,
    flags: OptimizerFlags,
    objectives: tuple[tuple[str, str], ...],
    seed: int,
    limit: int | None,
) -> tuple[Search, tuple[str, ...]]:
    """Make a sampler and what it needs; the texts are what the user should know of it.

    Raises:
        UsageError: nobody of this name can search that, or a flag of the optimizer is refused.
        CannotRun: who would cannot be started.
    """
    spaces, fixed = split_spaces(settings)
    given = {flag: as_typed(flag, value, ground) for flag, value in fixed.items()}
    optimizer = None if is_known(name) else find_optimizer(name, flags, ground, context)
    if optimizer is not None:
        return Search(
            sampler=Ledger(),
            spaces=spaces,
            fixed=given,
            objectives=objectives,
            limit=DEFAULT_TRIALS if limit is None else limit,
            optimizer=optimizer,
            name=optimizer.name,
            settings=optimizer.flags,
        ), ()
    flags, remarks = _known_settings(name, flags)
    own = own_name(name)
    made = make_sampler(
        name,
        spaces,
        [Direction(direction) for direction, _ in objectives],
        seed=seed,
        settings=flags.settle(None if own is None else settings_of(own)),
    )
    if limit is None:
        limit = ENDLESS if made.name == "grid" else DEFAULT_TRIALS
    return Search(
        sampler=made.sampler,
        spaces=spaces,
        fixed=given,
        objectives=objectives,
        limit=limit,
        previous=made.previous,
        name=made.name,
        settings=made.settings,
        foreseen=made.foreseen,
    ), (*made.remarks, *remarks)


def _known_settings(name: str, flags: OptimizerFlags) -> tuple[OptimizerFlags, tuple[str, ...]]:
    """Leave out what a project file sets and a built-in sampler does not have, and say so."""
    own = own_name(name)
    if own is None:
        return flags, ()
    known = settings_of(own)
    lost = [key for key in flags.declared if known.find(key) is None and not has_no_effect(key)]
    declared = {key: value for key, value in flags.declared.items() if key not in lost}
    remarks = tuple(
        f"the project file sets `{key}`, which the optimizer `{own}` does not have" for key in lost
    )
    return flags._replace(declared=declared), remarks


def as_typed(name: str, value: FlagValue, ground: Ground) -> str | FlagValue:
    """Return the setting of a flag that is the same in all trials, as the user wrote it.

    `1.10` of a flag that takes text stays what it is.
    """
    return ground.request.settings.get(name, value)


def _entry(
    trial: Trial, settings: dict[str, Setting], ground: Ground, seed_flag: str | None
) -> Entry:
    written: dict[str, Any] = {}
    variant = trial.settings.get(VARIANT)
    for name, value in trial.settings.items():
        if name == VARIANT:
            continue
        flag = ground.flags.find(name) if ground.flags is not None else None
        if isinstance(settings.get(name), Single):
            written[name] = flag_to_json(as_typed(name, to_setting(value, flag), ground))
        else:
            written[name] = flag_to_json(to_setting(value, flag))
    return Entry(
        number=trial.number,
        run=new_run_id(),
        flags=written,
        seed=trial.seed if seed_flag is None else None,
        run_seed=None if seed_flag is None else trial.seed,
        variant=None if variant is None else str(variant),
    )
