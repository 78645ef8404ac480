"""Samplers by name: the built-in ones, those of other tools under their names, and plugins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from reenact.errors import CannotRun, UsageError
from reenact.project.flag_text import nearest
from reenact.search.samplers import Direction, Sampler, Spaces, grid, optuna, random
from reenact.search.samplers.history import HistorySampler, Propose

ENTRY_POINTS = "reenact.samplers"

BUILT_IN = {
    "random": "draws every trial at random",
    "grid": "tries every combination; ten values of a range",
    "tpe": "tree-structured Parzen estimator: any kind of flag, some or many trials",
    "gp": "Gaussian process: few and expensive trials; needs torch, else `tpe` searches",
    "cmaes": "CMA-ES: numbers only, hundreds of trials, one objective",
    "nsga2": "NSGA-II: several objectives, hundreds of trials",
}
"""Name to what it is good for."""

_OTHER_NAMES = {
    "bayesian": "gp", "gaussian": "gp", "cma-es": "cmaes", "cma": "cmaes", "nsga-ii": "nsga2",
    "nsgaii": "nsga2", "forest": "tpe", "gbrt": "tpe", "optuna": "tpe",
}  # fmt: skip
_NOT_THE_SAME = ("forest", "gbrt")


class Made(msgspec.Struct, frozen=True):
    """A sampler, the name that it goes by here, and what the user should know of it."""

    sampler: Any
    name: str
    remark: str | None = None


def is_known(name: str) -> bool:
    """Tell whether there is a sampler of this name, built in or of a plugin."""
    from importlib.metadata import entry_points

    if name in BUILT_IN or name in _OTHER_NAMES:
        return True
    return any(entry.name == name for entry in entry_points(group=ENTRY_POINTS))


def make_sampler(
    name: str, spaces: Spaces, directions: Sequence[Direction], *, seed: int = 0
) -> Made:
    """Make a sampler that knows nothing yet.

    Raises:
        UsageError: there is no sampler of this name, it cannot search this, or what it needs is not
            installed.
        CannotRun: a plugin fails.
    """
    refuse_nothing(spaces)
    directions = tuple(map(Direction, directions))
    own = _OTHER_NAMES.get(name, name)
    if own not in BUILT_IN:
        return Made(_plugin(name, spaces, directions, seed), name)
    if own not in ("random", "grid") and not directions:
        raise UsageError(
            f"the optimizer `{own}` needs to know what is better",
            hint="say `--minimize METRIC` or `--maximize METRIC`",
        )
    if own == "cmaes" and len(directions) > 1:
        raise UsageError(
            "the optimizer `cmaes` has one objective", hint="use `nsga2` or `tpe` for several"
        )
    remark = None
    if name in _NOT_THE_SAME:
        remark = f"there is no `{name}` here: `{own}` searches instead, which is near to it"
    missing = optuna.missing(own) if own == "gp" else None
    if missing in ("torch", "scipy"):
        # What was written for another machine shall run on this one.
        remark = (
            f"`{own}` needs {missing}, which is not installed beside Reenact: `tpe` searches instead; "
            f"install `{missing}` for `{own}`"
        )
        own = "tpe"
    sampler = HistorySampler(
        _proposer(own), spaces, directions, seed=seed, has_initial=own != "grid"
    )
    return Made(sampler, own, remark)


def refuse_nothing(spaces: Spaces) -> None:
    """Raise UsageError where there is nothing to search."""
    if not spaces:
        raise UsageError(
            "there is nothing to search: no flag has several values",
            hint="give one a space, e.g. `lr=[0.001:0.1]`",
        )


def _proposer(name: str) -> Propose:
    if name == "random":
        return random.propose
    if name == "grid":
        return grid.propose
    return optuna.make_proposer(name)


def _plugin(name: str, spaces: Spaces, directions: Sequence[Direction], seed: int) -> Sampler:
    from importlib.metadata import entry_points

    found = entry_points(group=ENTRY_POINTS)
    for entry in found:
        if entry.name != name:
            continue
        try:
            sampler: Sampler = entry.load()(spaces, directions, seed=seed)
        except Exception as error:
            raise CannotRun(
                f"the optimizer `{name}` of `{entry.value}` cannot be made: {error!r}"
            ) from error
        return sampler
    names = [*BUILT_IN, *_OTHER_NAMES, *(entry.name for entry in found)]
    close = nearest(name, names)
    listed = ", ".join(dict.fromkeys([*BUILT_IN, *(entry.name for entry in found)]))
    raise UsageError(
        f"there is no optimizer `{name}`",
        hint=f"did you mean `{close}`?" if close else f"there are {listed}",
    )
