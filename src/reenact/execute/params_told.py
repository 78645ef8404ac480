"""What is known, while a run lasts, of the params that frameworks have told of.

A script that prints `search.best_params_` prints params and no metrics. That can be said with
certainty: the probe wrote them down before the script could print them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from reenact.execute.journals import Event, JournalTail

IsParam = Callable[[str, float, int], bool]
"""Whether a number of that name and value was a param at that time (nanoseconds)."""

_MOST_NAMES = 100_000


class ParamsTold:
    """Params by the last part of their names, each with its values and since when."""

    def __init__(self) -> None:
        self._values: dict[str, dict[float, int]] = {}

    def add(self, name: str, value: Any, time_ns: int = 0) -> None:
        """Take in a param; a dictionary stands for those in it."""
        if isinstance(value, Mapping):
            for inner, one in value.items():
                self.add(str(inner), one, time_ns)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            name = name.rpartition(".")[2]
            if len(self._values) < _MOST_NAMES or name in self._values:
                try:
                    self._values.setdefault(name, {}).setdefault(float(value), time_ns)
                except OverflowError:
                    return

    def add_events(self, events: Iterable[Event]) -> None:
        """Take in what processes have told."""
        for event in events:
            values = event.fields.get("values")
            if event.kind == "params" and isinstance(values, dict):
                told_ns = event.fields.get("t")
                for name, value in values.items():
                    self.add(name, value, told_ns if isinstance(told_ns, int) else 0)

    def has(self, name: str, value: float, time_ns: int) -> bool:
        """Tell whether there was such a param by then."""
        since = self._values.get(name.rpartition("/")[2], {}).get(value)
        return since is not None and since <= time_ns


def told_so_far(journals: JournalTail) -> IsParam:
    """Return a question that looks into the journals of a run that is going on."""
    told = ParamsTold()
    taken = 0

    def is_param(name: str, value: float, time_ns: int) -> bool:
        nonlocal taken
        if told.has(name, value, time_ns):
            return True
        journals.read_events()
        told.add_events(journals.events[taken:])
        taken = len(journals.events)
        return told.has(name, value, time_ns)

    return is_param


def of_record(params: Mapping[str, Any]) -> IsParam:
    """Return the question for a run that has ended, from the params in its record."""
    told = ParamsTold()
    for name, value in params.items():
        told.add(name, value)
    return told.has
