"""What a search needs, and the trials that it proposes from what came of those before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from reenact.actions.context import Context
from reenact.actions.ground import Ground
from reenact.actions.objectives import objective_values, runs_where
from reenact.actions.trial_source import BatchListener, Made, TrialList
from reenact.actions.trials import VARIANT, Entry, TrialState
from reenact.model.flags import FlagValue
from reenact.model.identity import new_run_id
from reenact.model.record import flag_from_json, flag_to_json
from reenact.model.run import OperationKind, Run, Status
from reenact.search.samplers import Sampler
from reenact.search.values import Space, to_setting
from reenact.store.columns import IndexedRun
from reenact.store.index import Index

if TYPE_CHECKING:
    from reenact.actions.optimizer import Optimizer


class Search(NamedTuple):
    """What a search needs.

    Attributes:
        fixed: what every trial sets beside the spaces, as the user wrote it.
        limit: how many trials there are to be.
        previous: which earlier runs count: those of the `operation`, of its `sourcecode` as it is,
            or none but the `batch`'s own.
        optimizer: the operation that makes proposals, in place of the sampler.
        name: of the sampler, which may be another one than was asked for.
        settings: those of the sampler, or of the operation, that were set.
        foreseen: so many trials at the beginning do not depend on any result; None for all.
    """

    sampler: Sampler
    spaces: Mapping[str, Space]
    fixed: Mapping[str, str | FlagValue]
    objectives: tuple[tuple[str, str], ...]
    limit: int
    previous: str = "operation"
    optimizer: Optimizer | None = None
    name: str | None = None
    settings: Mapping[str, FlagValue] = {}
    foreseen: int | None = 0

    @property
    def is_learning(self) -> bool:
        """Whether what a trial reached decides about later ones."""
        return bool(self.objectives) and self.name not in ("random", "grid")


class ProposedTrials(TrialList):
    """The trials that a sampler proposes, one after the other, from what came of those before."""

    def __init__(
        self,
        made: Made,
        entries: Iterable[Entry],
        context: Context,
        listener: BatchListener,
    ) -> None:
        super().__init__(made, entries, context, listener)
        assert made.search is not None
        self._search = made.search
        self._earlier = earlier_results(made.run, self._search, context)
        sampler = self._search.sampler
        for settings, values in self._earlier:
            sampler.tell(settings, values)
        # In the order of their numbers: the same history makes the same proposals after a kill.
        for state in self.progress.trials.values():
            settings = self._settings(state)
            if state.is_done:
                sampler.tell(settings, self._values(state))
            else:
                sampler.expect(settings)

    def _next_proposal(self) -> dict[str, FlagValue] | None:
        proposed = self._search.sampler.ask(1)
        return proposed[0] if proposed else None

    def _propose(self) -> Entry | None:
        number = max(self.progress.trials, default=0) + 1
        if number > self._search.limit:
            return None
        proposed = self._next_proposal()
        if proposed is None:
            return None
        entry = entry_of(number, proposed, self._search, self.made.ground)
        self._write(entry)
        self._by_run[entry.run] = entry
        self.progress.trials[number] = TrialState(entry, None)
        return entry

    def _take_note(self, state: TrialState) -> None:
        self._search.sampler.tell(self._settings(state), self._values(state))
        super()._take_note(state)

    def _settings(self, state: TrialState) -> dict[str, FlagValue]:
        return {name: flag_from_json(value) for name, value in state.entry.settings.items()}

    def _values(self, state: TrialState) -> list[float] | None:
        if state.status is not Status.COMPLETED and not state.is_stopped_early:
            return None
        run = self._indexed(state)
        return None if run is None else objective_values(run, self._search.objectives)


def entry_of(
    number: int, proposed: Mapping[str, FlagValue], search: Search, ground: Ground
) -> Entry:
    """Make a trial of what was proposed for it."""
    settings: dict[str, str | FlagValue] = {}
    variant = None
    for name, value in proposed.items():
        if name == VARIANT:
            variant = str(value)
            continue
        flag = ground.flags.find(name) if ground.flags is not None else None
        settings[name] = to_setting(value, flag)
    written = {name: flag_to_json(value) for name, value in {**settings, **search.fixed}.items()}
    return Entry(number=number, run=new_run_id(), flags=written, variant=variant)


def earlier_results(
    batch: Run, search: Search, context: Context
) -> list[tuple[dict[str, FlagValue], list[float]]]:
    """Return what earlier runs of the operation tell a search, the oldest first.

    Only runs that had ended before the batch was made: what it knows does not change when it is
    resumed.
    """
    if not search.objectives or search.previous == "batch":
        return []
    variants: dict[str | None, str] = {}
    if batch.batch is not None:
        variants = {variant.source.tree: variant.name for variant in batch.batch.variants}
    sources = set(variants) or {None if batch.source is None else batch.source.tree}
    with Index(context.store) as index:
        runs = index.query(runs_where("op", batch.operation.name), project=batch.project.id)
    found = []
    for run in reversed(runs):
        if run.status is not Status.COMPLETED or run.parent == batch.id:
            continue
        if run.kind == OperationKind.BATCH or run.ended is None or run.ended > batch.created:
            continue
        if search.previous == "sourcecode" and run.source not in sources:
            continue
        values = objective_values(run, search.objectives)
        if values is not None and _is_like(run, search.fixed):
            settings = dict(run.flags)
            if run.source in variants:
                settings[VARIANT] = variants[run.source]
            found.append((settings, values))
    return found


def _is_like(run: IndexedRun, fixed: Mapping[str, str | FlagValue]) -> bool:
    """Tell whether a run was given what is the same in all trials: else its result says little."""
    from reenact.project.flag_text import format_value

    return all(
        name in run.flags and format_value(run.flags[name]) == _text(value)
        for name, value in fixed.items()
    )


def _text(value: str | FlagValue) -> str:
    from reenact.project.flag_text import format_value, parse_value

    return format_value(parse_value(value)) if isinstance(value, str) else format_value(value)
