"""The flags of a project file's operation, for those who look at it without running it."""

from __future__ import annotations

from reenact.actions.defined_operation import define
from reenact.actions.operations import Offered
from reenact.errors import ReenactError
from reenact.model.flags import FlagSet
from reenact.project.merged_flags import MergedFlag, merge_flags

__all__ = ["MergedFlag", "detected_flags", "merge_flags"]


def detected_flags(offered: Offered) -> FlagSet:
    """Find the flags of what an operation runs; why they are not known is in the remarks."""
    definition = offered.definition
    if definition.steps is not None:
        return FlagSet(kind="none")
    home = offered.project.directory
    try:
        return define(definition, offered.project.file, home, home).detected
    except ReenactError as error:
        return FlagSet(kind="none", remarks=(error.message,))
