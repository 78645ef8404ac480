"""The settings of the built-in samplers, described as the flags of an operation are.

Names that Guild AI has for the same things are kept. Some settings of its optimizers have no
counterpart here: they are accepted, so that its projects run, and have no effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from reenact.model.flags import Flag, FlagSet, FlagType, FlagValue, Template
from reenact.project.settings import resolve_flags

PREVIOUS = "prev-trials"
"""Which runs a search learns from beside its own."""
RANDOM_STARTS = "random-starts"
POPULATION = "population"
_NO_EFFECT = ("acq-func", "kappa", "noise", "xi")
"""Settings of Guild's optimizers that those here do not have."""

_PREVIOUS = Flag(
    name=PREVIOUS,
    binding=Template(),
    type=FlagType.STRING,
    aliases=("prev_trials",),
    default="operation",
    choices=("operation", "sourcecode", "batch"),
    help="earlier runs that count: of the operation, of its source as it is, none",
)
_STARTS = Flag(
    name=RANDOM_STARTS,
    binding=Template(),
    type=FlagType.INT,
    aliases=("random_starts",),
    default=10,
    low=1,
    help="so many trials are random, before what came of them is used",
)
_OF: dict[str, tuple[Flag, ...]] = {
    "random": (),
    "grid": (
        Flag(
            name="points",
            binding=Template(),
            type=FlagType.INT,
            default=10,
            low=2,
            help="so many values stand for a space that has more",
        ),
    ),
    "tpe": (
        _STARTS,
        Flag(
            name="candidates",
            binding=Template(),
            type=FlagType.INT,
            default=24,
            low=1,
            help="of so many the best is proposed",
        ),
    ),
    "gp": (
        _STARTS,
        Flag(
            name="deterministic",
            binding=Template(),
            type=FlagType.BOOL,
            default=False,
            help="equal flags give equal results: there is no noise",
        ),
    ),
    "cmaes": (
        Flag(
            name="sigma",
            binding=Template(),
            type=FlagType.FLOAT,
            default=0.25,
            low=0.001,
            high=1.0,
            help="how far the first generation is spread, as a share of each space",
        ),
        Flag(
            name=POPULATION,
            binding=Template(),
            type=FlagType.INT,
            low=4,
            help="trials of a generation; more for more flags unless set",
        ),
    ),
    "nsga2": (
        Flag(
            name=POPULATION,
            binding=Template(),
            type=FlagType.INT,
            default=20,
            low=2,
            help="trials of a generation",
        ),
    ),
}


class Read(NamedTuple):
    """Settings as they were read.

    Attributes:
        given: what was set.
        every: all that there are, with their defaults.
        ignored: names that are accepted and have no effect.
    """

    given: dict[str, FlagValue]
    every: dict[str, FlagValue]
    ignored: tuple[str, ...]


def settings_of(name: str) -> FlagSet:
    """Return what can be set of a built-in sampler."""
    return FlagSet(kind="template", flags=(*_OF[name], _PREVIOUS))


def has_no_effect(name: str) -> bool:
    """Tell whether a setting is accepted for the sake of Guild's projects only."""
    return name.replace("_", "-") in _NO_EFFECT


def read_settings(name: str, settings: Mapping[str, str | FlagValue]) -> Read:
    """Check the settings of a built-in sampler; text is read as their types say.

    Raises:
        UnknownFlag: the sampler has no such setting.
        BadFlagValue: a value is refused.
    """
    ignored = tuple(key for key in settings if has_no_effect(key))
    known = {key: value for key, value in settings.items() if key not in ignored}
    given, every = resolve_flags(
        settings_of(name), known, force=False, operation=f"the optimizer `{name}`"
    )
    return Read(given, every, ignored)
