from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reenact.judge import apart
from reenact.judge import series as module
from reenact.judge.series import Points, SeriesWatch, judge_series
from reenact.judge.tolerance import ROUNDING, Tolerance
from reenact.model.verdict import Expectation, Parting, SeriesVerdict, Verdict

NAN, INF = math.nan, math.inf
IDENTICAL, WITHIN = Verdict.IDENTICAL, Verdict.WITHIN_TOLERANCE
DIFFERS, INCONCLUSIVE = Verdict.DIFFERS, Verdict.INCONCLUSIVE
OTHER_NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0]


@pytest.fixture(autouse=True, params=["with NumPy", "without NumPy"])
def numpy_or_not(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do every test with both: what decides is how many points there are, and what is loaded."""
    chosen = np if request.param == "with NumPy" else None
    monkeypatch.setattr(module, "numpy_for", lambda points: chosen)


def points(values: Iterable[float], steps: Iterable[int] | None = None) -> Points:
    numbers = array("d", values)
    return array("q", range(len(numbers)) if steps is None else steps), numbers


def judge(
    original: Sequence[float], reproduced: Sequence[float], tolerance: Tolerance | None = None
) -> SeriesVerdict:
    return judge_series("loss", points(original), points(reproduced), tolerance)


def test_equal_bits_are_identical() -> None:
    verdict = judge([0.1, NAN, INF, -0.0], [0.1, NAN, INF, -0.0])

    assert verdict == SeriesVerdict(
        name="loss", verdict=IDENTICAL, points=4, reproduced_points=4,
        original_last=-0.0, reproduced_last=-0.0,
    )  # fmt: skip


def test_a_single_bit_is_not_identical() -> None:
    verdict = judge([0.5, 1.0, 2.0], [0.5, math.nextafter(1.0, 2.0), 2.0])

    assert verdict.verdict is DIFFERS
    assert verdict.first_parting == Parting(step=1, original=1.0, reproduced=1.0000000000000002)
    assert verdict.first_beyond == verdict.first_parting
    assert verdict.largest_ulps == 1
    assert verdict.largest_absolute == 2**-52
    assert verdict.largest_relative == pytest.approx(2**-52)


def test_parting_and_going_beyond_are_two_places() -> None:
    verdict = judge([1, 2, 3, 4], [1, 2.001, 3.5, 4], Tolerance(0.01, 0.0, "loss=0.01"))

    assert verdict.verdict is DIFFERS
    assert verdict.first_parting == Parting(step=1, original=2.0, reproduced=2.001)
    assert verdict.first_beyond == Parting(step=2, original=3.0, reproduced=3.5)
    assert verdict.tolerance == "loss=0.01"
    assert verdict.largest_absolute == 0.5


def test_what_is_tolerated_is_within_tolerance() -> None:
    verdict = judge([1, 2, 3], [1, 2.001, 3], Tolerance(relative=0.01))

    assert verdict.verdict is WITHIN
    assert verdict.first_parting == Parting(step=1, original=2.0, reproduced=2.001)
    assert verdict.first_beyond is None


@pytest.mark.parametrize(("a", "b"), [(0.0, -0.0), (NAN, OTHER_NAN)])
def test_equal_numbers_of_other_bits_are_within_and_not_identical(a: float, b: float) -> None:
    verdict = judge([1.0, a, 2.0], [1.0, b, 2.0])

    assert verdict.verdict is WITHIN
    assert verdict.reason == "equal numbers, other bits"
    assert verdict.largest_absolute == 0
    assert verdict.largest_ulps == 0


@pytest.mark.parametrize(("a", "b"), [(0.3, NAN), (NAN, 0.3), (INF, 1.0), (INF, -INF), (NAN, INF)])
def test_no_tolerance_allows_a_number_for_nan_or_infinity(a: float, b: float) -> None:
    verdict = judge([1.0, 2.0, a], [1.0, 2.5, b], Tolerance(absolute=1e300, relative=100))

    assert verdict.verdict is DIFFERS
    assert verdict.first_beyond is not None
    assert verdict.first_beyond.step == 2
    assert verdict.largest_absolute == 0.5  # of finite numbers
    assert verdict.reason == f"{b!r} at step 2, which was {a!r}"


def test_differences_larger_than_floats_are_infinite() -> None:
    verdict = judge([1.7e308], [-1.7e308], Tolerance(relative=1))

    assert verdict.verdict is DIFFERS
    assert verdict.largest_absolute == "Infinity"
    assert verdict.largest_relative == 2.0
    assert verdict.largest_ulps == 2 * struct.unpack("<q", struct.pack("<d", 1.7e308))[0]


def test_the_larger_magnitude_counts_whichever_it_is() -> None:
    assert judge([1.0], [4.0]).largest_relative == 0.75
    assert judge([4.0], [1.0]).largest_relative == 0.75
    # A pair with the larger quotient by the original is not the one with the largest of all.
    assert judge([1.0, 10.0], [1.9, 5.1]).largest_relative == pytest.approx(0.49)


def test_a_series_that_ends_early_differs_where_it_ends() -> None:
    verdict = judge([1, 2, 3], [1, 2], Tolerance(absolute=100))

    assert verdict.verdict is DIFFERS
    assert (verdict.points, verdict.reproduced_points) == (3, 2)
    assert verdict.first_parting == Parting(step=2, original=3.0)
    assert verdict.reason == "1 of 3 points missing, the first at step 2"
    assert verdict.largest_absolute == 0


def test_a_series_that_goes_on_differs_where_the_other_ends() -> None:
    verdict = judge([1, 2], [1, 2, 3, 4])

    assert verdict.verdict is DIFFERS
    assert verdict.first_parting == Parting(step=2, reproduced=3.0)
    assert verdict.reason == "2 points more, the first at step 2"


def test_a_series_that_is_not_there_differs_from_the_start() -> None:
    verdict = judge([1, 2], [])

    assert verdict.verdict is DIFFERS
    assert verdict.reproduced_last is None
    assert verdict.largest_absolute is None
    assert judge([], []).verdict is IDENTICAL


def test_values_are_compared_step_by_step() -> None:
    original = points([1, 2, 3, 4, 5], [0, 10, 20, 30, 40])
    reproduced = points([1, 3.5, 4, 9, 5], [0, 20, 30, 35, 40])

    verdict = judge_series("loss", original, reproduced, Tolerance(absolute=1))

    assert verdict.verdict is DIFFERS
    assert verdict.first_parting == Parting(step=10, original=2.0)
    assert verdict.largest_absolute == 0.5
    assert verdict.reason == (
        "1 of 5 points missing, the first at step 10; 1 point more, the first at step 35"
    )


def test_repeated_steps_are_compared_in_their_order() -> None:
    original = points([1, 2, 3, 4, 5, 6], [0, 1, 2, 0, 1, 2])
    same = points([1, 2, 3, 4, 5, 7], [0, 1, 2, 0, 1, 2])
    without = points([1, 2, 3, 5, 6], [0, 1, 2, 1, 2])

    changed = judge_series("loss", original, same)
    missing = judge_series("loss", original, without)

    assert changed.first_parting == Parting(step=2, original=6.0, reproduced=7.0)
    assert missing.first_parting == Parting(step=0, original=4.0)
    assert missing.largest_absolute == 0


def test_the_same_points_in_another_order_are_not_identical() -> None:
    verdict = judge_series("loss", points([1, 2, 3]), points([2, 1, 3], [1, 0, 2]))

    assert verdict.verdict is WITHIN
    assert verdict.reason == "other order"


def test_another_machine_may_round_otherwise() -> None:
    def verdict(values: Sequence[float]) -> SeriesVerdict:
        original = points([1.0, 0.5, 0.25])
        return judge_series("loss", original, points(values), expectation=Expectation.TOLERANCE)

    assert verdict([1.0, 0.5, 0.25]).verdict is IDENTICAL
    rounded = verdict([1.0, 0.5000001, 0.2500001])
    assert (rounded.verdict, rounded.tolerance) == (WITHIN, ROUNDING.text)
    drifted = verdict([1.0, 0.51, 0.2501])
    assert (drifted.verdict, drifted.reason) == (INCONCLUSIVE, "another machine")
    assert drifted.first_beyond == Parting(step=1, original=0.5, reproduced=0.51)
    assert verdict([1.0, 0.5, 0.3]).verdict is DIFFERS
    assert verdict([1.0, NAN, 0.25]).verdict is DIFFERS
    assert verdict([1.0, 0.5]).verdict is DIFFERS


def test_another_seed_decides_nothing_alone_unless_the_user_says_so() -> None:
    a, b = points([1.0, 0.5]), points([1.1, 0.6, 0.4])
    seeds = Expectation.STATISTICS

    assert judge_series("loss", a, b, expectation=seeds).verdict is INCONCLUSIVE
    assert judge_series("loss", a, b, expectation=seeds).reason == (
        "another seed; 1 point more, the first at step 2"
    )
    assert judge_series("loss", a, b, Tolerance(1.0), expectation=seeds).verdict is DIFFERS
    assert judge_series("loss", a, a, expectation=seeds).verdict is IDENTICAL


def test_points_after_those_of_an_original_that_was_cut_off_decide_nothing() -> None:
    original = points([1.0, 0.5])

    more = judge_series("loss", original, points([1.0, 0.5, 0.4]), is_cut=True)
    other = judge_series("loss", original, points([1.0, 0.6, 0.4]), is_cut=True)
    fewer = judge_series("loss", original, points([1.0]), is_cut=True)
    equal = judge_series("loss", original, original, is_cut=True)

    assert more.verdict is INCONCLUSIVE
    assert more.reason == (
        "the original did not come to its end, and what it has came back;"
        " 1 point more, the first at step 2"
    )
    assert [other.verdict, fewer.verdict, equal.verdict] == [DIFFERS, DIFFERS, IDENTICAL]
    watch = SeriesWatch(original, is_cut=True)
    assert watch.feed([0, 1, 2], [1.0, 0.5, 0.4]) is None
    assert watch.feed([1], [0.4]) is None
    assert SeriesWatch(original, is_cut=True).feed([0, 1], [1.0, 0.6]) is not None


def test_a_metric_that_is_gone_is_said_to_be() -> None:
    verdict = judge_series("loss", points([1.0, 0.5]), points([]))

    assert (verdict.verdict, verdict.reason) == (DIFFERS, "none of its 2 points came back")


def test_pieces_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = judge(*FAR, Tolerance(0.5))
    monkeypatch.setattr(apart, "_PIECE", 3)

    assert judge(*FAR, Tolerance(0.5)) == whole


FAR = (
    [1, 2, 3, 0, -5, NAN, 7, 8, 9, 10, 1e-310, -1],
    [1, 2, 3, 0, -5.1, NAN, 7, 8.2, 9, 11, -1e-310, NAN],
)

VALUES = st.one_of(
    st.floats(),
    st.sampled_from(
        [0.0, -0.0, 1.0, -1.0, 5e-324, -5e-324, 1.7e308, -1.7e308, NAN, OTHER_NAN, INF]
    ),
    st.floats(0.1, 1.0),
)
PAIRS = st.lists(st.tuples(VALUES, VALUES, st.booleans()), max_size=20)


@given(PAIRS, st.sampled_from([0.0, 1e-9, 0.5, 1e300]), st.sampled_from([0.0, 1e-9, 0.5, 3.0]))
@example([(1.0, math.nextafter(1.0, 0.0), False)], 0.0, 2**-53)
def test_a_series_is_what_its_points_are(
    pairs: list[tuple[float, float, bool]], absolute: float, relative: float
) -> None:
    tolerance = Tolerance(absolute, relative)
    a = [x for x, _, _ in pairs]
    b = [x if is_same else y for x, y, is_same in pairs]

    verdict = judge(a, b, tolerance)

    bits = [struct.pack("<d", x) != struct.pack("<d", y) for x, y in zip(a, b, strict=True)]
    beyond = [not tolerance.allows(x, y) for x, y in zip(a, b, strict=True)]
    finite = [(x, y) for x, y in zip(a, b, strict=True) if math.isfinite(x) and math.isfinite(y)]
    assert verdict.verdict is (DIFFERS if any(beyond) else WITHIN if any(bits) else IDENTICAL)
    assert _step(verdict.first_parting) == (bits.index(True) if any(bits) else None)
    assert _step(verdict.first_beyond) == (beyond.index(True) if any(beyond) else None)
    if any(bits):
        assert float(verdict.largest_absolute or 0) == max(
            (abs(x - y) for x, y in finite), default=0
        )
        assert verdict.largest_relative == max((_share(x, y) for x, y in finite), default=0)
        assert verdict.largest_ulps == max((_floats_between(x, y) for x, y in finite), default=0)


def _step(parting: Parting | None) -> int | None:
    return None if parting is None else parting.step


def _share(x: float, y: float) -> float:
    larger = max(abs(x), abs(y))
    if x == y:
        return 0.0
    return abs(x - y) / larger if abs(x - y) < INF else abs(x / larger - y / larger)


def _floats_between(x: float, y: float) -> int:
    def place(value: float) -> int:
        (bits,) = struct.unpack("<Q", struct.pack("<d", abs(value)))
        return bits if math.copysign(1, value) > 0 else -bits

    return abs(place(x) - place(y))


STEPS = st.lists(st.integers(-3, 6), max_size=12)


@given(STEPS, STEPS)
def test_steps_are_aligned_as_often_as_both_have_them(a: list[int], b: list[int]) -> None:
    original = points([1.0] * len(a), a)
    reproduced = points([1.0] * len(b), b)

    verdict = judge_series("loss", original, reproduced)

    missing = sum(max(0, a.count(step) - b.count(step)) for step in set(a))
    extra = sum(max(0, b.count(step) - a.count(step)) for step in set(b))
    if a == b:
        assert verdict.verdict is IDENTICAL
    elif not missing and not extra:
        assert (verdict.verdict, verdict.reason) == (WITHIN, "other order")
    else:
        assert verdict.verdict is DIFFERS
        reason = verdict.reason or ""
        said = f"{missing} of {len(a)} point" if b else f"none of its {len(a)} point"
        assert (said in reason) is (missing > 0)
        assert ("more, the first at step" in reason) is (extra > 0)


# --- while points come in ---


def feed(watch: SeriesWatch, values: Points, size: int) -> Parting | None:
    steps, numbers = values
    for at in range(0, len(numbers), size):
        watch.feed(steps[at : at + size], numbers[at : at + size])
    return watch.parting


def test_a_watch_says_once_where_a_series_has_parted() -> None:
    watch = SeriesWatch(points([1, 2, 3, 4]), Tolerance(absolute=0.1))

    assert watch.feed([0, 1], [1.0, 2.05]) is None
    assert watch.feed([2], [9.0]) == Parting(step=2, original=3.0, reproduced=9.0)
    assert watch.feed([3], [4.0]) == Parting(step=2, original=3.0, reproduced=9.0)


def test_a_watch_does_not_mind_points_that_come_later_or_not_at_all() -> None:
    watch = SeriesWatch(points([1, 2, 3, 4]))

    assert watch.feed([0, 3, 1], [1.0, 4.0, 2.0]) is None


def test_a_watch_knows_a_step_that_the_original_has_not() -> None:
    assert SeriesWatch(points([1, 2])).feed([0, 1, 2], [1, 2, 3]) == Parting(step=2, reproduced=3.0)
    again = SeriesWatch(points([1, 2]))
    assert again.feed([1, 1], [2.0, 2.0]) == Parting(step=1, reproduced=2.0)
    assert SeriesWatch(points([])).feed([5], [1.0]) == Parting(step=5, reproduced=1.0)


@given(PAIRS, STEPS, st.integers(1, 5))
def test_a_watch_never_parts_from_what_is_judged_the_same(
    pairs: list[tuple[float, float, bool]], steps: list[int], size: int
) -> None:
    count = min(len(pairs), len(steps))
    a = points([x for x, _, _ in pairs[:count]], steps[:count])
    b = points([x if same else y for x, y, same in pairs[:count]], steps[:count])
    tolerance = Tolerance(relative=0.5)

    parting = feed(SeriesWatch(a, tolerance), b, size)

    assert parting == judge_series("loss", a, b, tolerance).first_beyond


def test_many_points_take_the_same_way(numpy_or_not: Any) -> None:
    steps = array("q", range(200_000))
    values = array("d", (1 + 1 / (1 + step) for step in steps))
    other = array("d", values)
    other[150_000] *= 1 + 1e-12

    verdict = judge_series("loss", (steps, values), (steps, other), Tolerance(relative=1e-9))

    assert verdict.verdict is WITHIN
    assert verdict.first_parting is not None
    assert verdict.first_parting.step == 150_000
