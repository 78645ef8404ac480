"""Delta debugging: which changes make the difference, and what it costs to find out."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from reenact.search.ddmin import Answer, Outcome, Subset, find_cause, next_test

SAME, DIFFERS, UNRESOLVED = Answer.SAME, Answer.DIFFERS, Answer.UNRESOLVED


@given(st.integers(1, 300), st.data())
def test_a_single_cause_is_found_by_halving(count: int, data: st.DataObject) -> None:
    cause = data.draw(st.integers(0, count - 1))
    asked: list[tuple[int, ...]] = []

    def test(subset: tuple[int, ...]) -> Answer:
        asked.append(subset)
        return DIFFERS if cause in subset else SAME

    found = find_cause(range(count), test)

    assert (found.outcome, found.changes) == (Outcome.FOUND, (cause,))
    assert found.tests == len(asked) <= 2 * math.ceil(math.log2(count)) + 2
    assert len(set(asked)) == len(asked)


ANSWERS = st.sampled_from([SAME, DIFFERS, UNRESOLVED])


@given(st.integers(0, 6), st.data())
def test_whatever_is_answered_no_change_can_be_dropped_and_nothing_is_asked_twice(
    count: int, data: st.DataObject
) -> None:
    answers: dict[tuple[str, ...], Answer] = {}
    names = "abcdef"[:count]

    def test(subset: tuple[str, ...]) -> Answer:
        assert subset not in answers
        answers[subset] = data.draw(ANSWERS)
        return answers[subset]

    found = find_cause(names, test)

    assert found.tests == len(answers) <= count**2 + 3 * count + 2
    if found.outcome is Outcome.FOUND:
        assert answers[found.changes] is DIFFERS
        if len(found.changes) > 1:
            for dropped in found.changes:
                left = tuple(name for name in found.changes if name != dropped)
                assert answers[left] is not DIFFERS
    else:
        assert found.changes == ()


@given(st.integers(2, 12), st.data())
def test_causes_that_need_each_other_are_found_together(count: int, data: st.DataObject) -> None:
    cause = data.draw(st.sets(st.integers(0, count - 1), min_size=2))

    found = find_cause(range(count), lambda s: DIFFERS if cause <= set(s) else SAME)

    assert set(found.changes) == cause


def test_one_of_two_sufficient_causes_is_enough() -> None:
    found = find_cause("abcd", lambda s: DIFFERS if "a" in s or "d" in s else SAME)

    assert found.changes == ("a",)


def test_what_fails_is_worked_around_and_counted() -> None:
    # `model` and `layers` only work together.
    def test(subset: tuple[str, ...]) -> Answer:
        if ("model" in subset) != ("layers" in subset):
            return UNRESOLVED
        return DIFFERS if "model" in subset else SAME

    found = find_cause(["model", "lr", "layers", "seed"], test)

    assert found.changes == ("model", "layers")
    assert found.unresolved > 0


def test_without_a_difference_there_is_no_cause() -> None:
    assert find_cause("ab", lambda s: SAME).outcome is Outcome.NO_DIFFERENCE
    assert find_cause("ab", lambda s: DIFFERS).outcome is Outcome.ALWAYS_DIFFERS
    assert find_cause("ab", lambda s: UNRESOLVED).outcome is Outcome.UNRESOLVED
    assert find_cause("", lambda s: SAME).outcome is Outcome.NO_DIFFERENCE


def answer_of(places: Subset) -> Answer:
    return DIFFERS if {2, 5} <= places else SAME


def test_a_search_goes_on_where_it_was_killed() -> None:
    class Killed(Exception):
        pass

    log: dict[Subset, Answer] = {}
    tests = 0

    def test(subset: tuple[int, ...]) -> Answer:
        nonlocal tests
        if tests % 3 == 2:
            tests += 1
            raise Killed
        tests += 1
        return answer_of(frozenset(subset))

    while True:
        try:
            found = find_cause(range(8), test, known=log, answered=log.__setitem__)
            break
        except Killed:
            continue

    whole = find_cause(range(8), lambda s: answer_of(frozenset(s)))
    assert found == whole
    assert found.changes == (2, 5)
    assert len(log) == whole.tests


def test_a_caller_can_be_told_what_to_test_next() -> None:
    known: dict[Subset, Answer] = {}

    while (subset := next_test(8, known)) is not None:
        known[subset] = answer_of(subset)

    def refuse(subset: tuple[int, ...]) -> Answer:
        raise AssertionError(subset)

    assert find_cause(range(8), refuse, known=known).changes == (2, 5)
