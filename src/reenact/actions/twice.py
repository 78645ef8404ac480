"""Run an operation twice with the same seed, and say what is not the same: the only complete test."""

from __future__ import annotations

import msgspec

from reenact.actions.context import Context
from reenact.actions.ground import RunRequest, find_pipeline
from reenact.actions.plan import plan_run
from reenact.actions.randomness import draw_seed
from reenact.actions.reproduce.conclude import judge
from reenact.actions.reproduce.rerun import Reruns, Watcher, wish_for
from reenact.errors import NotFound, ReenactError, UsageError
from reenact.model.identity import new_run_id
from reenact.model.verdict import Reproduction
from reenact.store.reproductions import Reproductions


def check_twice(context: Context, request: RunRequest, watcher: Watcher) -> Reproduction:
    """Run an operation twice, and judge the second run as if it were to show the first again.

    Args:
        context: where.
        request: what to run; both runs have its seed, or one that is drawn.
        watcher: told how the runs go.

    Raises:
        UsageError: the request is refused, before anything has run.
        ReenactError: a run did not start.
        KeyboardInterrupt: the user wants it to end.
    """
    if find_pipeline(request, context) is not None:
        raise UsageError(
            f"`{request.target}` is a pipeline", hint="check its operations one by one"
        )
    seed = request.seed if request.seed is not None else draw_seed()
    request = msgspec.structs.replace(
        request, seed=None if request.no_seed else seed, has_input=False, quiet=True
    )
    plan_run(request, context)
    wishes = [wish_for(number, request) for number in (1, 2)]
    context.store.create()
    kept = Reproductions(context.store)
    lock = kept.take_new(new_run_id())
    try:
        reruns = Reruns(wishes, context, None, watcher, None, lock)
        requested = reruns.run(1)
    finally:
        lock.release(remove=True)
    if requested is not None:
        raise KeyboardInterrupt(requested)
    runs = []
    for wish in wishes:
        try:
            runs.append(context.store.read_run(wish.run_id))
        except NotFound:
            reason = reruns.problems.get(wish.run_id, "it did not start")
            raise ReenactError(f"run {wish.number} could not run: {reason}") from None
    return judge(context, runs[:1], runs[1:])
