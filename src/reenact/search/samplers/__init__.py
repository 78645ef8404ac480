"""Samplers propose settings for a search's next trials from the results of earlier ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol, TypeAlias

from reenact.model.flags import FlagValue
from reenact.search.values import Space

Settings: TypeAlias = Mapping[str, FlagValue]
Spaces: TypeAlias = Mapping[str, Space]


class Direction(StrEnum):
    """What a search wants of a metric."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"


class Sampler(Protocol):
    """Proposes what to try next.

    All that a sampler knows is what it was asked, told and made to expect, in that order: two
    samplers of the same kind, spaces, directions and seed that know the same propose the same.
    Whether settings were proposed by this sampler, or by one in a process that was killed, or were
    set by a person in an earlier run, makes no difference to it.
    """

    def ask(self, count: int) -> list[dict[str, FlagValue]]:
        """Propose settings for the next trials and expect their results.

        Each has a value for every space and nothing else. Fewer than `count`, in the end none,
        mean that nothing is left to try.
        """
        ...

    def tell(self, settings: Settings, values: Sequence[float] | None) -> None:
        """Learn the values of the objectives, in their order; None for a trial that failed.

        Values that are NaN or infinite count as a failure. Settings may have more flags than the
        spaces; those that are outside of the spaces teach nothing.
        """
        ...

    def expect(self, settings: Settings) -> None:
        """Learn that these settings are being tried, as if this sampler had proposed them."""
        ...


class SamplerFactory(Protocol):
    """What an entry point of the group `reenact.samplers` is, by the name of the sampler.

    Settings of the user come as further keyword arguments.
    """

    def __call__(self, spaces: Spaces, directions: Sequence[Direction], *, seed: int) -> Sampler:
        """Make a sampler that knows nothing yet."""
        ...
