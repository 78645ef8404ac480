"""Samplers by name: the built-in ones, those of other tools under their names, and plugins."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from reenact.errors import CannotRun, UsageError
from reenact.model.flags import FlagValue
from reenact.project.flag_text import nearest, parse_value
from reenact.search.samplers import Direction, Sampler, Spaces, grid, optuna, random
from reenact.search.samplers.history import HistorySampler, Propose
from reenact.search.samplers.settings import (
    POPULATION,
    PREVIOUS,
    RANDOM_STARTS,
    read_settings,
    settings_of,
)
from reenact.search.values import Choices

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


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A sampler, the name that it goes by here, and what the user should know of it.

    Attributes:
        settings: those that were set.
        previous: which earlier runs count, a choice of `samplers.settings.PREVIOUS`.
        foreseen: so many trials at the beginning do not depend on any result; None for all.
    """

    sampler: Any
    name: str
    settings: dict[str, FlagValue]
    previous: str
    foreseen: int | None
    remarks: tuple[str, ...] = ()


def is_known(name: str) -> bool:
    """Tell whether there is a sampler of this name, built in or of a plugin."""
    from importlib.metadata import entry_points

    if name in BUILT_IN or name in _OTHER_NAMES:
        return True
    return any(entry.name == name for entry in entry_points(group=ENTRY_POINTS))


def own_name(name: str) -> str | None:
    """Return what a built-in sampler is called here; None for a name that is none's."""
    own = _OTHER_NAMES.get(name, name)
    return own if own in BUILT_IN else None


def make_sampler(
    name: str,
    spaces: Spaces,
    directions: Sequence[Direction],
    *,
    seed: int = 0,
    settings: Mapping[str, str | FlagValue] | None = None,
) -> Made:
    """Make a sampler that knows nothing yet.

    Args:
        name: built in, of another tool, or of a plugin.
        spaces: what it chooses from.
        directions: of the objectives.
        seed: of its random choices.
        settings: of the sampler; text is read as their types say.

    Raises:
        UsageError: there is no sampler of this name, it cannot search this, a setting is refused, or
            what it needs is not installed.
        CannotRun: a plugin fails.
    """
    refuse_nothing(spaces)
    settings = settings or {}
    directions = tuple(map(Direction, directions))
    own = own_name(name)
    if own is None:
        return _plugin(name, spaces, directions, seed, settings)
    if own not in ("random", "grid") and not directions:
        raise UsageError(
            f"the optimizer `{own}` needs to know what is better",
            hint="say `--minimize METRIC` or `--maximize METRIC`",
        )
    if own == "cmaes" and len(directions) > 1:
        raise UsageError(
            "the optimizer `cmaes` has one objective", hint="use `nsga2` or `tpe` for several"
        )
    remarks = []
    if name in _NOT_THE_SAME:
        remarks.append(f"there is no `{name}` here: `{own}` searches instead, which is near to it")
    read = read_settings(own, settings)
    missing = optuna.missing(own) if own == "gp" else None
    if missing in ("torch", "scipy"):
        # What was written for another machine shall run on this one.
        remarks.append(
            f"`{own}` needs {missing}, which is not installed beside Reenact: `tpe` searches instead; "
            f"install `{missing}` for `{own}`"
        )
        own = "tpe"
        known = settings_of(own)
        lost = tuple(key for key in read.given if known.find(key) is None)
        kept = {key: value for key, value in read.given.items() if key not in lost}
        read = read_settings(own, kept)._replace(ignored=(*read.ignored, *lost))
    remarks += [f"`{key}` has no effect on the optimizer `{own}`" for key in read.ignored]
    previous = read.every[PREVIOUS]
    assert isinstance(previous, str)
    return Made(
        sampler=HistorySampler(
            _proposer(own, read.every), spaces, directions, seed=seed, has_initial=own != "grid"
        ),
        name=own,
        settings=read.given,
        previous=previous,
        foreseen=_foreseen(own, read.every, spaces),
        remarks=tuple(remarks),
    )


def _foreseen(name: str, settings: Mapping[str, FlagValue], spaces: Spaces) -> int | None:
    """Return how many trials at the beginning of a search do not depend on results."""
    numbers = sum(not isinstance(space, Choices) for space in spaces.values())
    if name in ("random", "grid") or (name == "cmaes" and not numbers):
        return None
    first = settings.get(RANDOM_STARTS) or settings.get(POPULATION)
    return first if isinstance(first, int) else optuna.generation_of(numbers)


def refuse_nothing(spaces: Spaces) -> None:
    """Raise UsageError where there is nothing to search."""
    if not spaces:
        raise UsageError(
            "there is nothing to search: no flag has several values",
            hint="give one a space, e.g. `lr=[0.001:0.1]`",
        )


def _proposer(name: str, settings: Mapping[str, FlagValue]) -> Propose:
    if name == "random":
        return random.propose
    if name == "grid":
        points = settings["points"]
        assert isinstance(points, int)
        return lambda history: grid.propose(history, points)
    return optuna.make_proposer(name, settings)


def _plugin(
    name: str,
    spaces: Spaces,
    directions: Sequence[Direction],
    seed: int,
    settings: Mapping[str, str | FlagValue],
) -> Made:
    from importlib.metadata import entry_points

    found = entry_points(group=ENTRY_POINTS)
    given = {
        key: parse_value(value) if isinstance(value, str) else value
        for key, value in settings.items()
    }
    for entry in found:
        if entry.name != name:
            continue
        try:
            factory = entry.load()
            _refuse_unknown(name, factory, given)
            words = {key.replace("-", "_"): value for key, value in given.items()}
            sampler: Sampler = factory(spaces, directions, seed=seed, **words)
        except UsageError:
            raise
        except Exception as error:
            raise CannotRun(
                f"the optimizer `{name}` of `{entry.value}` cannot be made: {error!r}"
            ) from error
        return Made(sampler=sampler, name=name, settings=given, previous="operation", foreseen=0)
    names = [*BUILT_IN, *_OTHER_NAMES, *(entry.name for entry in found)]
    close = nearest(name, names)
    listed = ", ".join(dict.fromkeys([*BUILT_IN, *(entry.name for entry in found)]))
    raise UsageError(
        f"there is no optimizer `{name}`",
        hint=f"did you mean `{close}`?" if close else f"there are {listed}",
    )


def _refuse_unknown(name: str, factory: Any, settings: Mapping[str, FlagValue]) -> None:
    """Raise UsageError for a setting that a plugin has no argument for."""
    if not settings:
        return
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    known = [
        key.replace("_", "-")
        for key, parameter in parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and key != "seed"
    ]
    for key in settings:
        if key.replace("_", "-") not in known:
            close = nearest(key, known)
            listed = ", ".join(known) or "none"
            raise UsageError(
                f"unknown flag `{key}` for the optimizer `{name}`",
                hint=f"did you mean `{close}`?" if close else f"its flags: {listed}",
            )
