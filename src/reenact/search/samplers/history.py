"""Samplers whose proposals are a function of what is known: none can remember anything else."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import msgspec

from reenact.model.flags import FlagValue
from reenact.search import draws
from reenact.search.samplers import Direction, Settings, Spaces
from reenact.search.samplers.points import count_points, fit, key_of, value_at
from reenact.search.values import Choices, FloatSpace, Space

_FEW = 10_000
"""Of so many settings at most a list is kept, to find those not yet tried."""


class Result(msgspec.Struct, frozen=True):
    """What came of a trial: the objectives' values, all finite, or None where it failed."""

    settings: dict[str, FlagValue]
    values: tuple[float, ...] | None


class History(msgspec.Struct, frozen=True):
    """All that a proposal may depend on.

    Attributes:
        results: in the order in which they were told, those inside the spaces.
        running: settings whose results are not known yet.
        position: how many trials were told or are expected, those outside of the spaces too.
    """

    spaces: dict[str, Space]
    directions: tuple[Direction, ...]
    seed: int
    results: tuple[Result, ...] = ()
    running: tuple[dict[str, FlagValue], ...] = ()
    position: int = 0

    def draw(self) -> dict[str, FlagValue]:
        """Draw settings at random, at each position others."""
        return {
            name: value_at(space, draws.fraction(self.seed, "space", name, self.position))
            for name, space in self.spaces.items()
        }

    @property
    def completed(self) -> list[tuple[dict[str, FlagValue], tuple[float, ...]]]:
        """The results that have values."""
        return [(r.settings, r.values) for r in self.results if r.values is not None]


Propose: TypeAlias = Callable[[History], dict[str, FlagValue] | None]
"""Proposes settings; None when nothing is left. Equal histories must give equal proposals."""


class HistorySampler:
    """A `Sampler` made of a function of the history.

    The initial values of spaces are proposed first, unless they have been tried. Where spaces have
    an end, nothing is proposed twice: a repeated proposal is replaced by a random one.
    """

    def __init__(
        self,
        propose: Propose,
        spaces: Spaces,
        directions: Sequence[Direction],
        *,
        seed: int,
        has_initial: bool = True,
    ) -> None:
        self._propose = propose
        self._start = History(dict(spaces), tuple(directions), seed)
        self._has_initial = has_initial
        self._results: list[Result] = []
        self._running: list[dict[str, FlagValue]] = []
        self._outside = 0
        self._tried: set[object] = set()
        size = count_points(spaces)
        self._is_small = size is not None and size <= _FEW

    def ask(self, count: int) -> list[dict[str, FlagValue]]:
        """Propose; see `Sampler`."""
        proposals: list[dict[str, FlagValue]] = []
        while len(proposals) < count:
            proposed = self._next()
            if proposed is None:
                break
            self.expect(proposed)
            proposals.append(proposed)
        return proposals

    def tell(self, settings: Settings, values: Sequence[float] | None) -> None:
        """Learn a result; see `Sampler`."""
        fitting = fit(self._start.spaces, settings)
        if fitting is None:
            self._outside += 1
            return
        key = key_of(fitting)
        for place, running in enumerate(self._running):
            if key_of(running) == key:
                del self._running[place]
                break
        is_usable = values is not None and all(map(math.isfinite, values))
        self._results.append(
            Result(fitting, tuple(map(float, values)) if is_usable and values is not None else None)
        )
        self._tried.add(key)

    def expect(self, settings: Settings) -> None:
        """Learn what is being tried; see `Sampler`."""
        fitting = fit(self._start.spaces, settings)
        if fitting is None:
            self._outside += 1
            return
        self._running.append(fitting)
        self._tried.add(key_of(fitting))

    def _next(self) -> dict[str, FlagValue] | None:
        history = msgspec.structs.replace(
            self._start,
            results=tuple(self._results),
            running=tuple(self._running),
            position=len(self._results) + len(self._running) + self._outside,
        )
        proposed = self._initial(history) if self._has_initial else None
        if proposed is None:
            proposed = self._propose(history)
        if proposed is None or not self._is_small or key_of(proposed) not in self._tried:
            return proposed
        left = [point for point in _points(history.spaces) if key_of(point) not in self._tried]
        if not left:
            return None
        return left[draws.below(len(left), history.seed, "left", history.position)]

    def _initial(self, history: History) -> dict[str, FlagValue] | None:
        wanted: dict[str, FlagValue] = {}
        for name, space in history.spaces.items():
            if space.initial is not None:
                wanted[name] = (
                    space.values[space.initial] if isinstance(space, Choices) else space.initial
                )
        if not wanted:
            return None
        tried = [*(result.settings for result in history.results), *history.running]
        key = key_of(wanted)
        if any(key <= key_of(settings) for settings in tried):
            return None
        return history.draw() | wanted


def _points(spaces: Spaces) -> Iterator[dict[str, FlagValue]]:
    axes: list[Sequence[FlagValue]] = []
    for space in spaces.values():
        assert not isinstance(space, FloatSpace)
        axes.append(
            space.values if isinstance(space, Choices) else range(space.low, space.high + 1)
        )
    for point in itertools.product(*axes):
        yield dict(zip(spaces, point, strict=True))
