from __future__ import annotations

import math
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.judge.outputs import numbers
from reenact.judge.outputs.numbers import ArrayDifference, Figures, compare_arrays, compare_pair
from reenact.judge.outputs.source import BLOCK_BYTES, Allowance, HeldSource
from reenact.judge.outputs.values import Numbers

FLOATS = ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
WIDTHS = {"float16": 16, "bfloat16": 32, "float32": 32, "complex64": 32}


def held(kind: str, data: bytes, shape: tuple[int, ...], **others: bool) -> Numbers:
    source = HeldSource(data, "", Allowance(len(data)))
    return Numbers(kind, shape, source, numbers.ITEM_BYTES[kind], **others)


def stored(kind: str, values: list[float]) -> bytes:
    if kind == "bfloat16":
        wide = struct.pack(f"<{len(values)}f", *values)
        return b"".join(wide[at + 2 : at + 4] for at in range(0, len(wide), 4))
    code = {"float16": "e", "float32": "f", "complex64": "f"}.get(kind, "d")
    return struct.pack(f"<{len(values)}{code}", *values)


@contextmanager
def without_numpy() -> Iterator[None]:
    saved = sys.modules["numpy"]
    sys.modules["numpy"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules["numpy"] = saved


def arrays(kind: str) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(width=WIDTHS.get(kind, 64)), min_size=4, max_size=12)


@given(st.data(), st.sampled_from(FLOATS), st.sampled_from([(0.0, 0.0), (1e-3, 0.0), (0.0, 0.5)]))
def test_figures_are_the_same_with_numpy_and_without(
    data: st.DataObject, kind: str, tolerance: tuple[float, float]
) -> None:
    first = data.draw(arrays(kind))
    second = data.draw(st.lists(st.sampled_from(first), min_size=len(first), max_size=len(first)))
    # So many that it is worth to import NumPy.
    repeats = numbers._MANY * 8 // len(first)
    one, other = stored(kind, first * repeats), stored(kind, second * repeats)
    one, other = one[: len(one) // 16 * 16], other[: len(other) // 16 * 16]
    shape = (len(one) // numbers.ITEM_BYTES[kind],)

    with_numpy = compare_arrays(held(kind, one, shape), held(kind, other, shape), tolerance)
    with without_numpy():
        plain = compare_arrays(held(kind, one, shape), held(kind, other, shape), tolerance)

    assert repr(with_numpy) == repr(plain)


@given(
    st.lists(st.tuples(st.floats(), st.floats()), min_size=1),
    st.sampled_from([0.0, 1e-9, 1e-3, 1.0]),
    st.sampled_from([0.0, 1e-9, 1.0]),
)
def test_what_is_tolerated_is_what_numpy_finds_close(
    pairs: list[tuple[float, float]], relative: float, absolute: float
) -> None:
    original = np.array([pair[0] for pair in pairs])
    reproduced = np.array([pair[1] for pair in pairs])
    with np.errstate(all="ignore"):
        close = np.isclose(reproduced, original, relative, absolute, equal_nan=True)
        # NumPy takes any number for close to infinity if what is allowed overflows.
        close &= np.isfinite(reproduced - original) | (
            (reproduced == original) | (np.isnan(original) & np.isnan(reproduced))
        )

    shape = (len(pairs),)
    found = compare_arrays(
        held("float64", original.tobytes(), shape),
        held("float64", reproduced.tobytes(), shape),
        (relative, absolute),
    )

    assert found.figures.beyond == int((~close).sum())


@given(st.floats(-1e300, 1e300), st.integers(1, 1000))
def test_ulps_count_the_doubles_between(value: float, steps: int) -> None:
    other = math.nextafter(value, math.inf, steps=steps) if sys.version_info >= (3, 12) else value
    if other == value:
        for _ in range(steps):
            other = math.nextafter(other, math.inf)
    figures = Figures()

    compare_pair(value, other, (0.0, 0.0), figures)

    assert figures.ulps == steps


def test_ulps_cross_zero() -> None:
    figures = Figures()

    compare_pair(-5e-324, 5e-324, (0.0, 0.0), figures)

    assert figures.ulps == 2


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32"])
def test_ulps_are_those_of_the_array_s_own_type(kind: str) -> None:
    one = stored(kind, [1.0])
    next_one = struct.pack("<I", struct.unpack("<I", one.ljust(4, b"\0"))[0] + 1)[: len(one)]

    found = compare_arrays(held(kind, one, (1,)), held(kind, next_one, (1,)), (0.1, 0.0))

    assert found.figures.ulps == 1
    assert found.first_beyond is None


def test_nan_equals_nan_and_zero_equals_minus_zero() -> None:
    one = struct.pack("<3f", math.nan, 0.0, math.inf)
    other = struct.pack("<I", 0xFFC00001) + struct.pack("<2f", -0.0, math.inf)

    found = compare_arrays(held("float32", one, (3,)), held("float32", other, (3,)), (0.0, 0.0))

    assert found == ArrayDifference(Figures(compared=3))


@pytest.mark.parametrize(
    ("original", "reproduced"),
    [(math.inf, 1.0), (1.0, math.inf), (math.inf, -math.inf), (math.nan, 1.0), (1.0, math.nan)],
)
def test_what_is_not_finite_is_never_tolerated(original: float, reproduced: float) -> None:
    figures = Figures()

    assert not compare_pair(original, reproduced, (1.0, 1e300), figures)
    assert figures.beyond == 1


def test_the_last_of_many_numbers_counts() -> None:
    one = np.zeros((3, BLOCK_BYTES), "<f4")
    other = one.copy()
    other[2, -1] = 0.5
    shape = one.shape

    found = compare_arrays(
        held("float32", one.tobytes(), shape), held("float32", other.tobytes(), shape), (0.0, 0.0)
    )

    assert found.first_beyond is not None
    assert found.first_beyond.index == one.size - 1
    assert found.figures.differing == 1


def test_large_whole_numbers_are_exact() -> None:
    one, other = struct.pack("<Q", 2**63), struct.pack("<Q", 2**63 + 1)

    found = compare_arrays(held("uint64", one, (1,)), held("uint64", other, (1,)), (0.0, 0.5))

    assert found.figures.absolute == 1.0
    assert found.figures.beyond == 1


def test_truth_values_are_not_tolerated() -> None:
    found = compare_arrays(held("bool", b"\0", (1,)), held("bool", b"\1", (1,)), (1.0, 1.0))

    assert found.figures.beyond == 1


def test_byte_order_is_no_difference() -> None:
    little = held("int32", struct.pack("<3i", 1, 2, -3), (3,))
    big = held("int32", struct.pack(">3i", 1, 2, -3), (3,), is_big_endian=True)

    assert compare_arrays(little, big, (0.0, 0.0)).figures == Figures(compared=3)
