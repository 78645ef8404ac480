"""Searches by Optuna: TPE, a Gaussian process, NSGA-II; and CMA-ES by the `cmaes` of its makers.

For each proposal the algorithm is built anew from the history, so that it holds no state that a
kill could lose. What runs is told to it too: TPE and the Gaussian process stay away from there.

Not promised: the same proposals by other versions of Optuna, NumPy or PyTorch.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from reenact.errors import UsageError
from reenact.model.flags import FlagValue
from reenact.search import draws
from reenact.search.samplers import Direction
from reenact.search.samplers.history import History, Propose
from reenact.search.samplers.points import place_of, value_at
from reenact.search.samplers.settings import POPULATION, RANDOM_STARTS
from reenact.search.values import Choices, FloatSpace, IntSpace, Space, identity

_NEEDS = {
    "tpe": ("optuna",),
    "gp": ("optuna", "scipy", "torch"),
    "nsga2": ("optuna",),
    "cmaes": ("cmaes",),
}


def make_proposer(name: str, settings: Mapping[str, FlagValue]) -> Propose:
    """Return the search of this name: `tpe`, `gp`, `nsga2` or `cmaes`.

    Args:
        name: of the search.
        settings: all that it has, see `samplers.settings`.

    Raises:
        UsageError: something that it needs is not installed beside Reenact.
    """
    module = missing(name)
    if module is not None:
        what = module if module in ("torch", "scipy") else "reenact[search]"
        raise UsageError(
            f"the optimizer `{name}` needs {module}, which is not installed beside Reenact",
            hint=f"install `{what}`, or use `--optimizer random`",
        )
    if name == "cmaes":
        return lambda history: propose_by_cmaes(history, settings)
    return lambda history: propose_by_optuna(name, history, settings)


def missing(name: str) -> str | None:
    """Return the first module that a search needs and that is not installed beside Reenact."""
    return next((module for module in _NEEDS[name] if find_spec(module) is None), None)


def propose_by_optuna(
    name: str, history: History, settings: Mapping[str, FlagValue]
) -> dict[str, FlagValue]:
    """Ask the sampler of Optuna for one more trial of a study with this history."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            directions: list[Any] = [direction.value for direction in history.directions]
            study = optuna.create_study(
                directions=directions,
                sampler=_sampler(name, _seed(history), settings),
            )
            distributions = {n: _distribution(space) for n, space in history.spaces.items()}
            population = settings.get(POPULATION)
            study.add_trials(_trials(history, distributions, population))
            params = study.ask(distributions).params
    finally:
        optuna.logging.set_verbosity(verbosity)
    return {n: _from_param(space, params[n]) for n, space in history.spaces.items()}


def propose_by_cmaes(history: History, settings: Mapping[str, FlagValue]) -> dict[str, FlagValue]:
    """Draw from the distribution that CMA-ES has learnt, generation by generation.

    Choices have no order that it could use; they are drawn at random.
    """
    import cmaes
    import numpy as np

    numeric = {n: s for n, s in history.spaces.items() if not isinstance(s, Choices)}
    proposed = history.draw()
    if not numeric:
        return proposed
    population = settings.get(POPULATION)
    dimensions = max(2, len(numeric))  # one dimension has no covariance: a second is ignored
    search = cmaes.CMA(
        mean=np.full(dimensions, 0.5),
        sigma=_number(settings["sigma"]),
        bounds=np.array([[0.0, 1.0]] * dimensions),
        seed=_seed(history),
        population_size=population if isinstance(population, int) else None,
    )
    for generation in _generations(history, numeric, search.population_size):
        search.tell(
            [
                (np.array(places + [0.5] * (dimensions - len(places))), value)
                for places, value in generation
            ]
        )
    places = [float(place) for place in search.ask()]
    for (name, space), place in zip(numeric.items(), places, strict=False):
        proposed[name] = value_at(space, place)
    return proposed


def generation_of(numbers: int) -> int:
    """Return how many trials a generation of CMA-ES has for so many flags that are numbers."""
    return 4 + math.floor(3 * math.log(max(2, numbers)))


def _generations(
    history: History, numeric: Mapping[str, FloatSpace | IntSpace], size: int
) -> list[list[tuple[list[float], float]]]:
    """Cut the results into generations, to be minimised; failures are as bad as the worst."""
    sign = -1.0 if history.directions[0] is Direction.MAXIMIZE else 1.0
    known = [sign * values[0] for _, values in history.completed]
    worst = max(known, default=0.0)
    scored = [
        (
            [place_of(space, _number(result.settings[n])) for n, space in numeric.items()],
            worst if result.values is None else sign * result.values[0],
        )
        for result in history.results
    ]
    whole = len(scored) // size * size
    return [scored[i : i + size] for i in range(0, whole, size)]


def _number(value: FlagValue) -> float:
    assert isinstance(value, int | float)
    return value


def _whole(value: FlagValue) -> int:
    assert isinstance(value, int)
    return value


def _seed(history: History) -> int:
    return draws.below(2**31, history.seed, "sampler", history.position)


def _sampler(name: str, seed: int, settings: Mapping[str, FlagValue]) -> Any:
    from optuna import samplers

    if name == "nsga2":
        return samplers.NSGAIISampler(seed=seed, population_size=_whole(settings[POPULATION]))
    starts = _whole(settings[RANDOM_STARTS])
    if name == "gp":
        return samplers.GPSampler(
            seed=seed,
            n_startup_trials=starts,
            deterministic_objective=bool(settings["deterministic"]),
        )
    return samplers.TPESampler(
        seed=seed,
        multivariate=True,
        constant_liar=True,
        n_startup_trials=starts,
        n_ei_candidates=_whole(settings["candidates"]),
    )


def _trials(history: History, distributions: Mapping[str, Any], population: FlagValue) -> list[Any]:
    from optuna.trial import TrialState, create_trial

    generation = population if isinstance(population, int) else len(history.results)

    trials = []
    completed = 0
    for result in history.results:
        # NSGA-II reads the generation of a trial from this attribute.
        attributes = {"NSGAIISampler:generation": completed // generation}
        completed += result.values is not None
        trials.append(
            create_trial(
                state=TrialState.FAIL if result.values is None else TrialState.COMPLETE,
                values=result.values,
                params=_params(history, result.settings),
                distributions=dict(distributions),
                system_attrs=attributes if result.values is not None else {},
            )
        )
    trials += [
        create_trial(
            state=TrialState.RUNNING,
            params=_params(history, settings),
            distributions=dict(distributions),
        )
        for settings in history.running
    ]
    return trials


def _params(history: History, settings: Mapping[str, FlagValue]) -> dict[str, Any]:
    return {name: _to_param(space, settings[name]) for name, space in history.spaces.items()}


def _distribution(space: Space) -> Any:
    from optuna import distributions

    if isinstance(space, Choices):  # by place: a choice may be a list
        return distributions.CategoricalDistribution(range(len(space.values)))
    if isinstance(space, IntSpace):
        return distributions.IntDistribution(space.low, space.high, log=space.log)
    return distributions.FloatDistribution(space.low, space.high, log=space.log)


def _to_param(space: Space, value: FlagValue) -> Any:
    if not isinstance(space, Choices):
        return value
    return [identity(known) for known in space.values].index(identity(value))


def _from_param(space: Space, param: Any) -> FlagValue:
    if isinstance(space, Choices):
        return space.values[int(param)]
    return int(param) if isinstance(space, IntSpace) else float(param)
