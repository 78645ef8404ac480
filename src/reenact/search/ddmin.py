"""Which of several changes make the difference: delta debugging (Zeller and Hildebrandt, 2002).

Changes are tried in halves, then quarters, each with the rest left out and each left out of the
rest, until no single one can be dropped. A single cause among n changes is found with at most
2 log2 n + 2 tests; causes that need each other take more, in the worst case n² + 3n.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Generic, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")

Subset: TypeAlias = frozenset[int]
"""Places of the changes that are made."""


class Answer(StrEnum):
    """What came of a test."""

    SAME = "same"
    """As without any change."""
    DIFFERS = "differs"
    """As with all changes."""
    UNRESOLVED = "unresolved"
    """Neither: it failed, or gave a third result."""


class Outcome(StrEnum):
    """How a search for the cause ended."""

    FOUND = "found"
    NO_DIFFERENCE = "no-difference"
    """With all changes it is as without: the cause is not among the changes."""
    ALWAYS_DIFFERS = "always-differs"
    """Without any change it differs: it cannot be repeated, or the cause is elsewhere."""
    UNRESOLVED = "unresolved"
    """With all changes, or without any, the test has no answer."""


class Cause(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """The changes that make the difference.

    Attributes:
        changes: in their order; none where `outcome` is not `found`. Without any one of them the
            difference is not there, or the test is unresolved.
        tests: how many different subsets were asked for, those known before included.
        unresolved: how many of them could not be answered: with some, the cause may be smaller.
    """

    outcome: Outcome
    changes: tuple[T, ...]
    tests: int
    unresolved: int


class _Unanswered(Exception):
    def __init__(self, subset: Subset) -> None:
        super().__init__(subset)
        self.subset = subset


def find_cause(
    changes: Sequence[T],
    test: Callable[[tuple[T, ...]], Answer],
    *,
    known: Mapping[Subset, Answer] | None = None,
    answered: Callable[[Subset, Answer], None] | None = None,
) -> Cause[T]:
    """Find a smallest set of changes that makes the difference.

    Args:
        changes: all changes between the two.
        test: says what comes of making some of the changes, given in their order. It is called
            once for each subset at most.
        known: answers of an earlier search over the same changes, which are not asked for again.
        answered: is told each new answer as soon as it is there, to be kept.
    """
    answers = dict(known or {})
    asked: dict[Subset, Answer] = {}

    def ask(subset: Subset) -> Answer:
        if subset not in asked:
            if subset not in answers:
                answers[subset] = test(tuple(changes[place] for place in sorted(subset)))
                if answered is not None:
                    answered(subset, answers[subset])
            asked[subset] = answers[subset]
        return asked[subset]

    outcome, found = _search(len(changes), ask)
    return Cause(
        outcome=outcome,
        changes=tuple(changes[place] for place in sorted(found)),
        tests=len(asked),
        unresolved=sum(answer is Answer.UNRESOLVED for answer in asked.values()),
    )


def next_test(count: int, known: Mapping[Subset, Answer]) -> Subset | None:
    """Return the subset to test next, given the answers so far; None when all is known.

    For a caller that runs tests elsewhere and keeps the answers; `find_cause` then tells the end.
    """

    def ask(subset: Subset) -> Answer:
        if subset not in known:
            raise _Unanswered(subset)
        return known[subset]

    try:
        _search(count, ask)
    except _Unanswered as missing:
        return missing.subset
    return None


def _search(count: int, ask: Callable[[Subset], Answer]) -> tuple[Outcome, Subset]:
    everything = frozenset(range(count))
    for subset, wanted, otherwise in (
        (everything, Answer.DIFFERS, Outcome.NO_DIFFERENCE),
        (frozenset[int](), Answer.SAME, Outcome.ALWAYS_DIFFERS),
    ):
        answer = ask(subset)
        if answer is not wanted:
            is_unresolved = answer is Answer.UNRESOLVED
            return Outcome.UNRESOLVED if is_unresolved else otherwise, frozenset()
    left = list(range(count))
    parts = 2
    while len(left) > 1:
        pieces = _split(left, parts)
        piece = next((p for p in pieces if ask(frozenset(p)) is Answer.DIFFERS), None)
        if piece is not None:
            left, parts = piece, 2
            continue
        rest = next((r for r in _rests(left, pieces) if ask(r) is Answer.DIFFERS), None)
        if rest is not None:
            left, parts = sorted(rest), max(parts - 1, 2)
            continue
        if parts >= len(left):
            break
        parts = min(2 * parts, len(left))
    return Outcome.FOUND, frozenset(left)


def _split(items: list[int], parts: int) -> list[list[int]]:
    """Cut into parts whose sizes differ by one at most."""
    edges = [len(items) * i // parts for i in range(parts + 1)]
    return [items[a:b] for a, b in itertools.pairwise(edges)]


def _rests(left: list[int], pieces: list[list[int]]) -> list[Subset]:
    """Return what is left without each piece; of two pieces each is the other's rest."""
    return [] if len(pieces) == 2 else [frozenset(left) - frozenset(piece) for piece in pieces]
