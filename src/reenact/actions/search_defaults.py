"""What an operation of a project file says of its searches: spaces, objectives, optimizers."""

from __future__ import annotations

from typing import NamedTuple

from reenact.actions.ground import Ground
from reenact.project.flag_text import format_value
from reenact.search.values import Choices, IntSpace, Setting, Single, Space, declared_space

DEFAULT = "default"
"""As the name of an optimizer: the one that the operation says, else `tpe`."""
_USUAL_OBJECTIVE = ("minimize", "loss")


class SearchDefaults(NamedTuple):
    """What counts where the user says nothing.

    Attributes:
        optimizer: the algorithm.
        trials: how many there are to be.
    """

    optimizer: str | None = None
    objectives: tuple[tuple[str, str], ...] = ()
    trials: int | None = None


def search_defaults(ground: Ground, optimizer: str | None) -> SearchDefaults:
    """Return what the operation's definition says; an optimizer may be named by its name there."""
    is_any = optimizer == DEFAULT
    usual = (_USUAL_OBJECTIVE,) if is_any else ()
    if ground.defined is None:
        return SearchDefaults("tpe" if is_any else optimizer, usual)
    definition = ground.defined.definition
    trials = definition.default_max_trials
    for offered in definition.optimizers:
        if offered.name == optimizer or (optimizer in (None, DEFAULT) and offered.default):
            optimizer = offered.algorithm
            trials = trials if offered.trials is None else offered.trials
            break
    else:
        optimizer = "tpe" if is_any else optimizer
    objectives = tuple((o.direction, o.column) for o in definition.objectives) or usual
    return SearchDefaults(optimizer, objectives, trials)


def with_declared_spaces(ground: Ground, settings: dict[str, Setting]) -> dict[str, Setting]:
    """Add the spaces that the definitions of flags describe, if the user gave nothing to search.

    Flags that the user set keep their values.
    """
    is_open = all(isinstance(setting, Single) for setting in settings.values())
    if ground.defined is None or not is_open:
        return settings
    spaces: dict[str, Setting] = {}
    for merged in ground.defined.merged:
        rules = merged.definition
        if rules is None or merged.flag.name in settings:
            continue
        space = declared_space(
            merged.flag, minimum=rules.min, maximum=rules.max, distribution=rules.distribution
        )
        if space is not None and (rules.min is not None or rules.choices):
            spaces[merged.flag.name] = space
    return {**settings, **spaces}


def space_text(space: Space) -> str:
    """Return a space as the user could have written it."""
    if isinstance(space, Choices):
        return format_value(list(space.values))
    function = (
        "loguniform" if space.log else "randint" if isinstance(space, IntSpace) else "uniform"
    )
    ends = [space.low, space.high, *([] if space.initial is None else [space.initial])]
    return f"{function}[{':'.join(map(format_value, ends))}]"
