from __future__ import annotations

import collections
import copyreg
import datetime as dt
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.judge.outputs.output import judge_output
from reenact.model.verdict import OutputVerdict, Verdict


def judge(tmp_path: Path, original: bytes, reproduced: bytes, **options: Any) -> OutputVerdict:
    (tmp_path / "original").write_bytes(original)
    (tmp_path / "reproduced").write_bytes(reproduced)
    return judge_output("m.pkl", tmp_path / "original", tmp_path / "reproduced", **options)


class Evil:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_in_a_pickle_is_executed(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "executed"
    original = pickle.dumps(Evil(f"touch {mark}"), protocol)
    reproduced = pickle.dumps(Evil(f"touch {mark} "), protocol)

    found = judge(tmp_path, original, reproduced)

    assert not mark.exists()
    assert found.verdict is Verdict.DIFFERS
    assert "executed" in (found.detail or "")
    # The same pickle does execute where it is loaded.
    pickle.loads(original)
    assert mark.exists()


@pytest.mark.parametrize(
    "program",
    [
        # What a pickle names is taken from a module, from an object that was made, by number.
        b"cos\nsystem\n(S'touch executed'\ntR.",
        b'c__builtin__\neval\n(S\'open("executed", "w")\'\ntR.',
        b"(S'touch executed'\nios\nsystem\n.",
        b"(cos\nsystem\nS'touch executed'\no.",
        b"\x80\x02cos\nsystem\n(S'touch executed'\nt\x81.",
        b"cbuiltins\ngetattr\n(cos\nS'system'\ntR(S'touch executed'\ntR.",
    ],
)
def test_no_instruction_calls_anything(
    tmp_path: Path, program: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    found = judge(tmp_path, program, program[:-1] + b"0N.")

    assert found.verdict is Verdict.DIFFERS
    assert not (tmp_path / "executed").exists()


def test_classes_that_the_process_has_registered_are_not_made(tmp_path: Path) -> None:
    copyreg.add_extension("subprocess", "Popen", 241)
    try:
        program = b"\x80\x02\x82\xf1(S'true'\ntR."
        found = judge(tmp_path, program, program.replace(b"true", b"false"))
    finally:
        copyreg.remove_extension("subprocess", "Popen", 241)

    assert found.detail == "arguments[0]: 'true' -> 'false'"


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner)
        | st.sets(st.integers() | st.text())
    ),
    max_leaves=20,
)


@given(plain, st.integers(0, 5), st.integers(0, 5))
def test_one_value_is_the_same_in_every_protocol(
    tmp_path_factory: pytest.TempPathFactory, value: Any, first: int, second: int
) -> None:
    tmp_path = tmp_path_factory.mktemp("pickles")

    found = judge(tmp_path, pickle.dumps(value, first), pickle.dumps(value, second))

    same = pickle.dumps(value, first) == pickle.dumps(value, second)
    assert found.verdict is (Verdict.IDENTICAL if same else Verdict.WITHIN_TOLERANCE), found


@given(plain, plain, st.integers(0, 5))
def test_other_values_differ(
    tmp_path_factory: pytest.TempPathFactory, one: Any, other: Any, protocol: int
) -> None:
    tmp_path = tmp_path_factory.mktemp("pickles")

    found = judge(tmp_path, pickle.dumps(one, protocol), pickle.dumps(other, 4))

    if repr(one) != repr(other):
        # Zeros of both signs, whole numbers as floats and the orders of keys are equal.
        assert found.verdict is Verdict.DIFFERS or one == other or "0.0" in repr((one, other))
    else:
        assert found.verdict is not Verdict.DIFFERS


def test_an_object_that_holds_itself_ends(tmp_path: Path) -> None:
    def made(number: int) -> bytes:
        value: dict[str, Any] = {"number": number}
        value["self"] = [value]
        return pickle.dumps(value)

    assert judge(tmp_path, made(1), made(2)).detail == "number: 1 -> 2"


def test_parts_that_are_used_often_are_compared_once(tmp_path: Path) -> None:
    def made(end: int) -> bytes:
        value: list[Any] = [end]
        for _ in range(100):
            value = [value, value]
        return pickle.dumps(value)

    # Each is 2**100 times in the whole.
    found = judge(tmp_path, made(1), made(2))

    assert found.verdict is Verdict.DIFFERS
    assert (found.detail or "").endswith("1 -> 2")


def test_values_nested_too_deeply_are_not_judged_the_same(tmp_path: Path) -> None:
    def made(end: int) -> bytes:
        return b"]" * 5000 + b"K" + bytes([end]) + b"a" * 5000 + b"."

    found = judge(tmp_path, b"\x80\x02" + made(1), b"\x80\x02" + made(2))

    assert found.verdict is Verdict.INCONCLUSIVE
    assert "nested too deeply" in (found.detail or "")


SCRIPT = """
import sys, pickle
words = {f"word-{n}" for n in range(50)}
value = {"set": words, "frozen": frozenset(words), "keys": {frozenset({w}): w for w in words}}
sys.stdout.buffer.write(pickle.dumps(value, int(sys.argv[1])))
"""


@pytest.mark.parametrize("protocol", ["0", "2", "4"])
def test_the_order_of_sets_is_left_out(tmp_path: Path, protocol: str) -> None:
    def made(seed: str) -> bytes:
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", SCRIPT, protocol]
        return subprocess.run(command, env=environment, check=True, capture_output=True).stdout

    one, other = made("1"), made("2")

    assert one != other
    assert judge(tmp_path, one, other).verdict is Verdict.WITHIN_TOLERANCE


def test_another_member_of_a_set_is_found(tmp_path: Path) -> None:
    found = judge(tmp_path, pickle.dumps({"a": {1.0, 2.0}}), pickle.dumps({"a": {1.0, 2.5}}))

    assert found.detail == "a{}[0]: 2.0 -> 2.5"


class Setter:
    """An object that gets its state by a function, as functions of cloudpickle do."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return object, (), {"value": self.value}, None, None, setattr


def test_a_state_that_is_set_by_a_function_counts(tmp_path: Path) -> None:
    found = judge(tmp_path, pickle.dumps(Setter(1)), pickle.dumps(Setter(2)))

    assert found.verdict is Verdict.DIFFERS
    assert "1 -> 2" in (found.detail or "")


VALUES: dict[str, tuple[Any, Any]] = {
    "array": (np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(2, 3) * 2),
    "fortran": (np.asfortranarray(np.eye(3)), np.asfortranarray(np.eye(3) * 2)),
    "scalar": (np.float32(0.5), np.float32(0.75)),
    "dates": (np.array(["2026-01-01"], "M8[D]"), np.array(["2026-01-02"], "M8[D]")),
    "texts": (np.array(["a", "b"]), np.array(["a", "c"])),
    "objects": (np.array([{"a": 1}, None]), np.array([{"a": 2}, None])),
    "record": (np.array([(1, 0.5)], "i4,f8"), np.array([(1, 0.75)], "i4,f8")),
    "ordered": (collections.OrderedDict(a=1), collections.OrderedDict(a=2)),
    "default": (collections.defaultdict(int, a=1), collections.defaultdict(int, a=2)),
    "deque": (collections.deque([1, 2]), collections.deque([1, 3])),
    "counter": (collections.Counter("aab"), collections.Counter("aabb")),
    "bytearray": (bytearray(b"a"), bytearray(b"b")),
    "complex": (1j, 2j),
    "date": (dt.date(2026, 1, 1), dt.date(2026, 1, 2)),
    "exception": (ValueError("a"), ValueError("b")),
    "random state": (np.random.RandomState(0), np.random.RandomState(1)),
    "generator": (np.random.default_rng(0), np.random.default_rng(1)),
    "large": (np.zeros(1 << 20), np.append(np.zeros((1 << 20) - 1), 1)),
    "function": (os.getcwd, os.getpid),
    "range": (range(3), range(4)),
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", VALUES)
def test_objects_are_compared_by_what_they_are_made_of(
    tmp_path: Path, name: str, protocol: int
) -> None:
    one, other = VALUES[name]

    again = judge(tmp_path, pickle.dumps(one, protocol), pickle.dumps([one, 0][0], protocol))
    found = judge(tmp_path, pickle.dumps(one, protocol), pickle.dumps(other, protocol))

    assert again.verdict is Verdict.IDENTICAL
    assert found.verdict is Verdict.DIFFERS
    assert " -> " in (found.detail or "") or "only in" in (found.detail or "")


def test_the_place_of_a_number_in_an_array_is_told(tmp_path: Path) -> None:
    one = {"layers": [np.zeros((4, 5), "f4")]}
    other = {"layers": [np.zeros((4, 5), "f4")]}
    other["layers"][0][3, 2] = 0.25

    found = judge(tmp_path, pickle.dumps(one), pickle.dumps(other))

    assert found.detail == "layers[0][3, 2]: 0 -> 0.25 (1 of 20 numbers)"
    assert found.largest_absolute == 0.25


def test_a_length_that_is_a_lie_costs_no_memory(tmp_path: Path) -> None:
    for lie in (
        b"\x8e" + (1 << 40).to_bytes(8, "little"),
        b"\x96" + (1 << 40).to_bytes(8, "little"),
        b"B" + (0xFFFFFFFF).to_bytes(4, "little"),
        b"r" + (0xFFFFFFFF).to_bytes(4, "little"),
    ):
        program = b"\x80\x05" + lie + b"abc."
        found = judge(tmp_path, program, program[:-1] + b"d.")
        assert found.verdict is Verdict.DIFFERS
        assert "cannot be read as pickle" in (found.detail or "")


def test_another_class_of_an_array_counts(tmp_path: Path) -> None:
    array = np.eye(2)
    masked = np.ma.masked_array(array, array > 0.5)

    found = judge(tmp_path, pickle.dumps(array), pickle.dumps(masked))
    mask = judge(
        tmp_path, pickle.dumps(masked), pickle.dumps(np.ma.masked_array(array, array < 0.5))
    )

    assert found.verdict is Verdict.DIFFERS
    assert mask.verdict is Verdict.DIFFERS


def test_several_pickles_in_a_file_all_count(tmp_path: Path) -> None:
    def made(last: int) -> bytes:
        file = io.BytesIO()
        for value in ("first", [last]):
            pickle.dump(value, file)
        return file.getvalue()

    assert judge(tmp_path, made(1), made(2)).detail == "[1][0]: 1 -> 2"
