"""What an operation of a project file says of its searches: spaces, objectives, optimizers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from reenact.actions.ground import Ground
from reenact.model.flags import FlagSet, FlagValue
from reenact.project.flag_text import format_value
from reenact.search.values import (
    Choices,
    IntSpace,
    Setting,
    Single,
    Space,
    declared_space,
    to_setting,
)

if TYPE_CHECKING:
    from reenact.project.file.model import OperationDef, OptimizerDef

DEFAULT = "default"
"""As the name of an optimizer: the one that the operation says, else `tpe`."""
_USUAL_OBJECTIVE = ("minimize", "loss")
_WITHOUT_OBJECTIVE = (None, "random", "grid")


class OptimizerFlags(NamedTuple):
    """What is set of an optimizer.

    Attributes:
        declared: values, of a project file or of a record.
        given: text, as the user typed it; it counts more.
    """

    declared: Mapping[str, FlagValue] = {}
    given: Mapping[str, str] = {}

    def settle(self, flags: FlagSet | None) -> dict[str, str | FlagValue]:
        """Return all settings in the form in which flags are set; `flags` are the optimizer's."""

        def own(name: str) -> str:
            flag = None if flags is None else flags.find(name)
            return name if flag is None else flag.name

        overridden = {own(name) for name in self.given}
        settings: dict[str, str | FlagValue] = {
            name: to_setting(value, None if flags is None else flags.find(name))
            for name, value in self.declared.items()
            if own(name) not in overridden
        }
        return {**settings, **self.given}


class SearchDefaults(NamedTuple):
    """What counts where the user says nothing.

    Attributes:
        optimizer: the algorithm.
        trials: how many there are to be.
        flags: settings of the algorithm.
    """

    optimizer: str | None = None
    objectives: tuple[tuple[str, str], ...] = ()
    trials: int | None = None
    flags: Mapping[str, FlagValue] = {}


def search_defaults(ground: Ground, optimizer: str | None) -> SearchDefaults:
    """Return what the operation's definition says; an optimizer may be named by its name there."""
    is_any = optimizer == DEFAULT
    usual = () if optimizer in _WITHOUT_OBJECTIVE else (_USUAL_OBJECTIVE,)
    if ground.defined is None:
        return SearchDefaults("tpe" if is_any else optimizer, usual)
    definition = ground.defined.definition
    trials = definition.default_max_trials
    flags: Mapping[str, FlagValue] = {}
    offered = _offered(definition, optimizer)
    if offered is not None:
        optimizer, flags = offered.algorithm, offered.flags
        trials = trials if offered.trials is None else offered.trials
    elif is_any:
        optimizer = "tpe"
    objectives = tuple((o.direction, o.column) for o in definition.objectives) or usual
    return SearchDefaults(optimizer, objectives, trials, flags)


def _offered(definition: OperationDef, name: str | None) -> OptimizerDef | None:
    """Return the optimizer of a definition that is meant; the first if any will do."""
    for offered in definition.optimizers:
        if offered.name == name or (name in (None, DEFAULT) and offered.default):
            return offered
    return definition.optimizers[0] if name == DEFAULT and definition.optimizers else None


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
