"""Stop trials early that have reported worse numbers than others did at the same step."""

from __future__ import annotations

from contextlib import suppress

from reenact.actions.context import Context
from reenact.actions.watch import Watcher
from reenact.errors import ReenactError, UsageError
from reenact.model.identity import RunId
from reenact.search.pruning import Curve, Rule, make_rule
from reenact.search.samplers import Direction
from reenact.store.columns import Kind, parse_column
from reenact.store.store import StoredRun


class EarlyStop:
    """The curves of a batch's trials, and a rule that compares them."""

    def __init__(self, rule: Rule, metric: str, context: Context) -> None:
        self._rule = rule
        self._metric = metric
        self._context = context
        self._points: dict[int, list[tuple[float, float]]] = {}
        self._watchers: dict[RunId, Watcher] = {}

    def look(self, number: int, stored: StoredRun) -> float | None:
        """Take in what a trial has reported; return the step at which to stop it, None to go on."""
        watcher = self._watchers.get(stored.id)
        if watcher is None:
            watcher = self._watchers[stored.id] = Watcher(self._context, stored)
        points = self._points.setdefault(number, [])
        with suppress(OSError, ReenactError):
            view = watcher.look()
            if view.is_restarted:
                points.clear()
            for point in view.points:
                if point.name == self._metric and (not points or point.step > points[-1][0]):
                    points.append((point.step, point.value))
        curves = [Curve(other, tuple(found)) for other, found in self._points.items()]
        trial = Curve(number, tuple(points))
        if not points or not self._rule.should_stop(curves, trial):
            return None
        return points[-1][0]


def make_early_stop(
    name: str, objectives: tuple[tuple[str, str], ...], context: Context
) -> EarlyStop:
    """Return a rule, by its name, for the metric of the first objective.

    Raises:
        UsageError: there is no such rule, or nothing to compare.
    """
    if not objectives:
        raise UsageError(
            "`--stop-early` needs to know what is better",
            hint="say `--minimize METRIC` or `--maximize METRIC`",
        )
    direction, text = objectives[0]
    operand = parse_column(text).operand
    if operand.kind not in (Kind.ANY, Kind.METRIC):
        raise UsageError(f"`--stop-early` needs a metric, which `{text}` is not")
    return EarlyStop(make_rule(name, Direction(direction)), operand.name, context)
