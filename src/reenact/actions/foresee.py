"""What a search will try first, whatever comes of it: what `--dry-run` can say of one."""

from __future__ import annotations

from typing import NamedTuple

from reenact.actions.batch import tree_of_batch
from reenact.actions.batch_plan import PlannedBatch
from reenact.actions.batch_record import record_batch
from reenact.actions.context import Context
from reenact.actions.proposed_trials import earlier_results, entry_of
from reenact.actions.trials import Entry
from reenact.model.identity import new_run_id
from reenact.model.run import Run
from reenact.search.samplers.points import fit

MOST = 1000
"""As many trials are foreseen at most."""


class Foreseen(NamedTuple):
    """A batch that was not started.

    Attributes:
        run: its record as it would be.
        entries: its trials; of a search those that no result can change.
        earlier: how many earlier runs a search has learnt from.
    """

    run: Run
    entries: list[Entry]
    earlier: int = 0


def foresee(planned: PlannedBatch, context: Context) -> Foreseen:
    """Work out what can be known of a batch before it starts; nothing is changed."""
    search = planned.search
    tree = None
    if search is not None and search.previous == "sourcecode":
        tree = tree_of_batch(planned.ground, planned.example, context, keep=False)
    jobs = planned.request.jobs or 1
    run = record_batch(new_run_id(), planned, context, tree, jobs=jobs, is_staged=False)
    if search is None:
        return Foreseen(run, planned.entries)
    if search.optimizer is not None:
        return Foreseen(run, [])
    earlier = [
        (settings, values)
        for settings, values in earlier_results(run, search, context)
        if fit(search.spaces, settings) is not None
    ]
    for settings, values in earlier:
        search.sampler.tell(settings, values)
    count = min(search.limit, MOST)
    if search.foreseen is not None:
        # What comes next is decided by what is known, however much that is.
        count = min(count, max(1, search.foreseen - len(earlier)))
    proposed = search.sampler.ask(count)
    entries = [
        entry_of(number, settings, search, planned.ground)
        for number, settings in enumerate(proposed, 1)
    ]
    return Foreseen(run, entries, len(earlier))
