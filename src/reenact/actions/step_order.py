"""In which order the steps of a pipeline run: which of them wait for which.

A step waits for those that its `needs` names, and for those whose operations it requires. A step of
which nothing is said keeps its place in the list: it waits for all before it, and all after it wait
for it. So a list of steps runs in its order, and what is independent by what the file says can run
side by side.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from reenact.errors import BadProjectFile
from reenact.project.file.model import Place


class Ordered(NamedTuple):
    """What the order of a step depends on.

    Attributes:
        needs: as written; None where nothing is.
        requires: operations that it requires, with the place of each.
        provides: operations of which it makes runs.
    """

    name: str
    place: Place
    needs: tuple[str, ...] | None
    requires: Mapping[str, Place]
    provides: frozenset[str]


def order_steps(steps: Sequence[Ordered]) -> dict[str, tuple[str, ...]]:
    """Return which steps each step waits for, in an order in which they can run one by one.

    Of several steps that make runs of an operation that is required, those count that stand before
    the one that requires it; if none does, those after it.

    Raises:
        BadProjectFile: steps wait for each other.
    """
    waits = {step.name: dict.fromkeys(step.needs or ()) for step in steps}
    for at, step in enumerate(steps):
        for operation in step.requires:
            waits[step.name].update(dict.fromkeys(_providers(operation, steps, at)))
    order = _sorted(steps, waits)
    named = {name for found in waits.values() for name in found}
    said = {step.name for step in steps if step.needs is not None or waits[step.name]} | named
    for at, name in enumerate(order):
        if name not in said:
            waits[name].update(dict.fromkeys(order[:at]))
            for later in order[at + 1 :]:
                waits[later][name] = None
    places = {name: at for at, name in enumerate(order)}
    return {name: tuple(sorted(waits[name], key=places.__getitem__)) for name in order}


def _providers(operation: str, steps: Sequence[Ordered], at: int) -> list[str]:
    before = [step.name for step in steps[:at] if operation in step.provides]
    after = [step.name for step in steps[at + 1 :] if operation in step.provides]
    return before or after


def _sorted(steps: Sequence[Ordered], waits: Mapping[str, Iterable[str]]) -> list[str]:
    """Put steps after those that they wait for, otherwise in the order of the list."""
    known = {step.name: step for step in steps}
    done: dict[str, None] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in done:
            return
        if name in above:
            raise _cycle([known[n] for n in (*above[above.index(name) :], name)])
        for other in sorted(waits[name], key=list(known).index):
            visit(other, (*above, name))
        done[name] = None

    for step in steps:
        visit(step.name, ())
    return list(done)


def _cycle(steps: Sequence[Ordered]) -> BadProjectFile:
    names = " → ".join(f"`{step.name}`" for step in steps)
    reasons = []
    for step, other in itertools.pairwise(steps):
        required = [op for op in step.requires if op in other.provides]
        if other.name in (step.needs or ()):
            reasons.append(f"`{step.name}` needs `{other.name}`")
        elif required:
            reasons.append(f"{step.requires[required[0]]}: `{required[0]}` is required")
    hint = "; ".join(reasons)
    return BadProjectFile(
        f"{steps[0].place}: steps wait for each other: {names}", hint=hint or None
    )


def waits_for(name: str, needs: Mapping[str, Sequence[str]]) -> set[str]:
    """Return all steps that come before a step, directly or not."""
    found: set[str] = set()
    waiting = list(needs[name])
    while waiting:
        other = waiting.pop()
        if other not in found:
            found.add(other)
            waiting += needs[other]
    return found
