from __future__ import annotations

import math
import subprocess
import sys
import textwrap
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.model.envelope import envelope

VALUES = st.lists(st.floats(), max_size=60)


def same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


@given(VALUES, st.integers(1, 70))
def test_columns_tell_of_all_points_once_and_in_order(values: list[float], columns: int) -> None:
    steps = [at * 3 for at in range(len(values))]

    found = envelope(array("q", steps), array("d", values), columns)

    assert len(found) == min(columns, len(values))
    assert [column.start for column in found] == [
        sum(column.points for column in found[:at]) for at in range(len(found))
    ]
    assert sum(column.points for column in found) == len(values)
    for column in found:
        part = values[column.start : column.start + column.points]
        numbers = [value for value in part if not math.isnan(value)]
        assert same(column.first, part[0])
        assert same(column.last, part[-1])
        assert (column.first_step, column.last_step) == (
            steps[column.start],
            steps[column.start + column.points - 1],
        )
        assert column.nan_count == len(part) - len(numbers)
        assert same(column.minimum, min(numbers, default=math.nan))
        assert same(column.maximum, max(numbers, default=math.nan))


@given(st.lists(st.floats(), min_size=1, max_size=60), st.integers(1, 70))
def test_numpy_and_python_agree(values: list[float], columns: int) -> None:
    pytest.importorskip("numpy")
    with_numpy = envelope(range(len(values)), values, columns)
    numpy = sys.modules.pop("numpy")
    try:
        without = envelope(range(len(values)), values, columns)
    finally:
        sys.modules["numpy"] = numpy

    assert repr(without) == repr(with_numpy)


def test_columns_differ_by_one_point_at_most() -> None:
    found = envelope(range(1007), array("d", range(1007)), 100)

    assert {column.points for column in found} == {10, 11}


def test_steps_and_values_belong_together() -> None:
    with pytest.raises(ValueError, match="as many steps"):
        envelope([1], [1.0, 2.0])


def test_a_long_series_needs_no_numpy() -> None:
    code = """
        import sys
        from array import array
        sys.modules["numpy"] = None
        from reenact.model.envelope import envelope
        values = array("d", range(500_000))
        found = envelope(values, values, 1000)
        print(len(found), found[-1].maximum, found[0].minimum)
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["1000", "499999.0", "0.0"]
