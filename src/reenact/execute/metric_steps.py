"""Where a program is, as it says on a line: an epoch, a step, how far a bar has come."""

from __future__ import annotations

import re
from typing import NamedTuple

EPOCH, BATCH, ITERATION, STEP, GLOBAL = 1, 2, 3, 4, 5
_STEP_RANKS = {
    "epoch": EPOCH,
    "batch": BATCH,
    "iter": ITERATION,
    "iteration": ITERATION,
    "step": STEP,
    "global_step": GLOBAL,
    "global step": GLOBAL,
}
_STEP_KEY = re.compile(
    r"(?:^|.* )(?:(?:train|training|trainer|val|valid|validation|test|eval|current)[ /_.-])?"
    r"(global[_ ]step|step|iteration|iter|batch|epoch)(?:\([^()]*\))?$",
    re.IGNORECASE,
)
# `steps per epoch: 100` and `best epoch: 7` are not where the program is.
_NOT_A_STEP = re.compile(
    r"\b(?:per|best|num|number|n|max|min|total|avg|average|mean|every|each|last|of) \S+$",
    re.IGNORECASE,
)
MAX_STEP_DIGITS = 18


class Place(NamedTuple):
    """What a line says about where the program is."""

    rank: int = 0
    value: int = 0
    total: int = 0
    epoch: int | None = None
    bar: tuple[int, int] | None = None

    @property
    def lone_bar(self) -> tuple[int, int] | None:
        """How far a bar has come, if the line says nothing else about where the program is."""
        return self.bar if self.epoch is None and not self.rank else None

    def step(self) -> int | None:
        """Return the step that follows from the line alone, None where it does not say."""
        if self.rank and self.epoch is not None and self.rank < GLOBAL:
            if self.total:
                return fitting(self.epoch * self.total + self.value)
            if self.rank == BATCH:
                return None
        if self.rank:
            return fitting(self.value)
        if self.epoch is not None:
            if self.bar is None:
                return fitting(self.epoch)
            done, total = self.bar
            return fitting(self.epoch * total + done) if total else None
        return None


def fitting(step: int) -> int | None:
    """Return a step if it fits into 64 bits."""
    return step if -(2**63) <= step < 2**63 else None


def step_rank(name: str) -> int:
    """Return what a name says of the number behind it: `EPOCH` to `GLOBAL`; 0 if it is no step."""
    found = _STEP_KEY.match(name)
    if found is None or _NOT_A_STEP.search(name):
        return 0
    return _STEP_RANKS[found[1].lower()]


def fraction(number: str) -> tuple[int, int] | None:
    """Return done and total, 0 where there is none; None if a number is out of all proportion."""
    if len(number) > MAX_STEP_DIGITS:
        return None
    done, slash, total = number.partition("/")
    return int(done), int(total) if slash else 0


def split_steps(numbers: list[tuple[str, float, bool]]) -> tuple[dict[str, float], Place]:
    """Tell the metrics of an object from the numbers that say where the program is."""
    metrics: dict[str, float] = {}
    place = Place()
    for name, value, is_integer in numbers:
        rank = step_rank(name.rpartition("/")[2])
        if not rank or not (is_integer or (rank != EPOCH and value.is_integer())):
            metrics[name] = value
        elif rank == EPOCH and place.epoch is None:
            place = place._replace(epoch=int(value))
        elif rank > max(place.rank, EPOCH):
            place = place._replace(rank=rank, value=int(value))
    return metrics, place
