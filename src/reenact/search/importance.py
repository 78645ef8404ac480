"""Which flags matter: the share of a result's variation that goes with each flag.

A share describes the trials that there are. Flags that were varied together share the credit, and
a few trials say little; `trials` tells how many were used.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib.util import find_spec

import msgspec

from reenact.model.flags import FlagValue
from reenact.search.values import identity

FANOVA = "fANOVA (Optuna): share of the variance that a random forest attributes to each flag"
BY_RANKS = (
    "variance of ranks: share of the results' ranks that the flag's value explains by itself "
    "(one-way, up to four groups of numbers), less what chance explains"
)

_GROUPS = 4
_FEWEST = 4

Trials = Iterable[tuple[Mapping[str, FlagValue], float | None]]


class Importance(msgspec.Struct, frozen=True, kw_only=True):
    """How much each flag mattered.

    Attributes:
        method: how it was found out, in words.
        trials: how many results it rests on.
        shares: flag and share, the largest first, from 0 to 1; they add up to 1, or are all 0.
    """

    method: str
    trials: int
    shares: tuple[tuple[str, float], ...]


def find_importance(trials: Trials, *, has_optuna: bool | None = None) -> Importance:
    """Say how much each flag that was varied mattered for a result.

    Trials without a finite result are left out. Flags that never vary are left out as well.

    Args:
        trials: the flags of each trial, and its result.
        has_optuna: use fANOVA; None uses it where Optuna and scikit-learn are installed.
    """
    known = [
        (flags, value) for flags, value in trials if value is not None and math.isfinite(value)
    ]
    names = dict.fromkeys(name for flags, _ in known for name in flags)
    columns = {name: [flags.get(name) for flags, _ in known] for name in names}
    varied = {
        name: column for name, column in columns.items() if len(set(map(identity, column))) > 1
    }
    results = [value for _, value in known]
    if has_optuna is None:
        has_optuna = all(find_spec(module) for module in ("optuna", "sklearn"))
    is_enough = len(known) >= _FEWEST and bool(varied) and len(set(results)) > 1
    if not is_enough:
        shares = dict.fromkeys(varied, 0.0)
    elif has_optuna:
        shares = _by_fanova(varied, results)
    else:
        shares = _by_ranks(varied, results)
    total = sum(shares.values())
    ordered = sorted(shares.items(), key=lambda share: -share[1])
    return Importance(
        method=FANOVA if has_optuna else BY_RANKS,
        trials=len(known),
        shares=tuple((name, share / total if total else 0.0) for name, share in ordered),
    )


def _by_fanova(columns: Mapping[str, list[FlagValue]], results: list[float]) -> dict[str, float]:
    import optuna
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
    )
    from optuna.trial import create_trial

    distributions: dict[str, BaseDistribution] = {}
    params: dict[str, list[float]] = {}
    for name, column in columns.items():
        numbers = _numbers(column)
        if numbers is not None:
            is_log = min(numbers) > 0 and max(numbers) / min(numbers) >= 100
            distributions[name] = FloatDistribution(min(numbers), max(numbers), log=is_log)
            params[name] = numbers
        else:
            places = {key: i for i, key in enumerate(dict.fromkeys(map(identity, column)))}
            distributions[name] = CategoricalDistribution(range(len(places)))
            params[name] = [places[identity(value)] for value in column]
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = optuna.create_study()
            study.add_trials(
                create_trial(
                    value=value,
                    params={name: column[i] for name, column in params.items()},
                    distributions=distributions,
                )
                for i, value in enumerate(results)
            )
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(verbosity)
    return {name: max(0.0, float(found.get(name, 0.0))) for name in columns}


def _by_ranks(columns: Mapping[str, list[FlagValue]], results: list[float]) -> dict[str, float]:
    ranks = _ranks(results)
    return {name: _explained(_grouped(column), ranks) for name, column in columns.items()}


def _explained(groups: list[object], ranks: list[float]) -> float:
    """Return the share of the ranks' variance between groups, corrected for their number."""
    count = len(ranks)
    mean = sum(ranks) / count
    total = sum((rank - mean) ** 2 for rank in ranks)
    members: dict[object, list[float]] = defaultdict(list)
    for group, rank in zip(groups, ranks, strict=True):
        members[group].append(rank)
    if len(members) >= count:
        return 0.0
    between = sum(len(m) * (sum(m) / len(m) - mean) ** 2 for m in members.values())
    by_chance = (len(members) - 1) * (total - between) / (count - len(members))
    return max(0.0, (between - by_chance) / total)


def _grouped(column: list[FlagValue]) -> list[object]:
    """Name each value's group: the value itself, or a quarter of many numbers."""
    numbers = _numbers(column)
    if numbers is None or len(set(numbers)) <= _GROUPS:
        return [identity(value) for value in column]
    return [int(rank * _GROUPS / len(numbers)) for rank in _ranks(numbers)]


def _ranks(values: list[float]) -> list[float]:
    """Return ranks from 0; equal values share the middle of theirs."""
    places = defaultdict(list)
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        places[values[place]].append(rank)
    return [sum(places[value]) / len(places[value]) for value in values]


def _numbers(column: list[FlagValue]) -> list[float] | None:
    numbers = [
        float(value)
        for value in column
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    is_numeric = len(numbers) == len(column) and all(map(math.isfinite, numbers))
    return numbers if is_numeric else None
