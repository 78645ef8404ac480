"""When to stop a trial early: rules that compare its points of a metric with other trials' points.

A rule is asked whenever a trial has reported. It sees points only, so that it says the same
whichever process asks, and again after a kill. NaN is worse than any number.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Protocol, TypeAlias

import msgspec

from reenact.errors import UsageError
from reenact.project.flag_text import nearest
from reenact.search.samplers import Direction

Points: TypeAlias = Sequence[tuple[float, float]]
"""Step and value, by rising steps."""


class Curve(msgspec.Struct, frozen=True):
    """What a trial has reported until now; `number` is the trial's."""

    number: int
    points: tuple[tuple[float, float], ...]


class Rule(Protocol):
    """Decides whether a trial is worth going on with."""

    def should_stop(self, history: Iterable[Curve], trial: Curve) -> bool:
        """Tell whether to stop `trial`; it may stand in `history` too, which is ignored."""
        ...


class MedianRule(msgspec.Struct, frozen=True, kw_only=True):
    """Stop a trial whose best value is worse than the median of the others at the same step.

    Of the others the best value up to the step counts, if they have come as far.

    Attributes:
        min_trials: as many others must have come as far.
        warmup: no trial is stopped before this step.
    """

    direction: Direction
    min_trials: int = 5
    warmup: float = 0

    def should_stop(self, history: Iterable[Curve], trial: Curve) -> bool:
        """Tell whether to stop; see `Rule`."""
        if not trial.points:
            return False
        step = trial.points[-1][0]
        if step < self.warmup:
            return False
        others = [
            _best(curve.points, step, self.direction)
            for curve in history
            if curve.number != trial.number
            and curve.points
            and curve.points[0][0] <= step <= curve.points[-1][0]
        ]
        if len(others) < self.min_trials:
            return False
        return _best(trial.points, step, self.direction) > median(others)


class HyperbandRule(msgspec.Struct, frozen=True, kw_only=True):
    """Stop a trial that is not among the best 1 / `reduction` of those that reached a rung.

    The rungs are the steps `min_step`, `reduction` times that, and so on: successive halving
    without waiting for others. Trials take turns in `brackets`; each bracket begins one rung later
    than the one before, so that what learns slowly has its chance in the last.
    """

    direction: Direction
    min_step: float = 1
    reduction: int = 3
    brackets: int = 4

    def should_stop(self, history: Iterable[Curve], trial: Curve) -> bool:
        """Tell whether to stop; see `Rule`."""
        if not trial.points:
            return False
        bracket = trial.number % self.brackets
        rung = self._rung(trial.points[-1][0], bracket)
        if rung is None:
            return False
        mates = [
            _at(curve.points, rung, self.direction)
            for curve in history
            if curve.number != trial.number
            and curve.number % self.brackets == bracket
            and curve.points
            and curve.points[-1][0] >= rung
        ]
        own = _at(trial.points, rung, self.direction)
        if len(mates) + 1 < self.reduction:
            return False
        # NaN became infinity, which nothing is worse than: it never passes.
        better = sum(value < own for value in mates)
        return own == math.inf or better >= max(1, (len(mates) + 1) // self.reduction)

    def _rung(self, step: float, bracket: int) -> float | None:
        """Return the last rung of a bracket that a step has reached."""
        rung: float = self.min_step * self.reduction**bracket
        if step < rung:
            return None
        while rung * self.reduction <= step:
            rung *= self.reduction
        return rung


RULES = ("median", "hyperband")


def make_rule(name: str, direction: Direction) -> Rule:
    """Return a rule by its name.

    Raises:
        UsageError: there is none of this name.
    """
    if name == "median":
        return MedianRule(direction=direction)
    if name == "hyperband":
        return HyperbandRule(direction=direction)
    close = nearest(name, RULES)
    raise UsageError(
        f"there is no pruning rule `{name}`",
        hint=f"did you mean `{close}`?" if close else f"there are {', '.join(RULES)}",
    )


def _best(points: Points, step: float, direction: Direction) -> float:
    """Return the best value up to a step, turned so that less is better."""
    return min(_cost(value, direction) for at, value in points if at <= step)


def _at(points: Points, step: float, direction: Direction) -> float:
    """Return the value at a step, or the first after it, turned so that less is better."""
    place = bisect.bisect_left([at for at, _ in points], step)
    return _cost(points[place][1], direction)


def _cost(value: float, direction: Direction) -> float:
    if math.isnan(value):
        return math.inf
    return -value if direction is Direction.MAXIMIZE else value
