from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from reenact.judge.outputs.output import judge_output
from reenact.model.verdict import OutputVerdict, Verdict

CASES: dict[str, Callable[[h5py.File, float], None]] = {}


def case(make: Callable[[h5py.File, float], None]) -> Callable[[h5py.File, float], None]:
    CASES[make.__name__] = make
    return make


@case
def every_type(file: h5py.File, value: float) -> None:
    for kind in ("f2", "f4", "f8", ">f4", ">i8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"):
        file[f"number {kind}"] = np.array([1, 2, 10 * value]).astype(kind)
    file["bool"] = np.array([True, value > 0.5])
    file["complex"] = np.array([1 + 2j, value])
    file["fixed text"] = np.array([b"abc", b"d"])
    file["opaque"] = np.array([b"abc\0", b"d\0\0\1"], "V4")


@case
def texts(file: h5py.File, value: float) -> None:
    file["one"] = f"text {value}"
    file["many"] = ["a", "", f"ü {value}"]
    file.attrs["note"] = "a note that is longer than eight bytes"
    file.attrs["names"] = ["a", "b"]
    file.attrs["number"] = value
    file.attrs["numbers"] = np.arange(3) * value
    file.attrs["fixed"] = np.bytes_("abc")
    file.attrs["empty"] = h5py.Empty("f4")
    file["empty"] = h5py.Empty("f4")


@case
def shapes(file: h5py.File, value: float) -> None:
    file["scalar"] = value
    file["none"] = np.zeros((0, 3))
    file["deep"] = np.arange(120.0).reshape(2, 3, 4, 5) * value


@case
def chunks(file: h5py.File, value: float) -> None:
    data = np.arange(35.0 * 22).reshape(35, 22) * value
    file.create_dataset("plain", data=data, chunks=(8, 7))
    file.create_dataset(
        "packed", data=data, chunks=(9, 5), compression="gzip", shuffle=True, fletcher32=True
    )
    file.create_dataset("cube", data=data.reshape(5, 7, 22), chunks=(2, 3, 4), compression=9)
    part = file.create_dataset("part", (50,), "f4", chunks=(5,), maxshape=(None,), fillvalue=value)
    part[20:27] = 3
    file.create_dataset("many", data=np.arange(5000) * value, chunks=(7,))


@case
def never_written(file: h5py.File, value: float) -> None:
    file.create_dataset("zeros", (4,), "f4")
    file.create_dataset("filled", (4,), "f4", fillvalue=value)
    file["value"] = value


@case
def records(file: h5py.File, value: float) -> None:
    kind = np.dtype([("step", "i4"), ("loss", "f8"), ("vector", "f4", (3,)), ("name", "S5")])
    table = np.zeros(7, kind)
    table["loss"] = value
    table["name"] = b"abc"
    file.create_dataset("table", data=table, chunks=(3,), compression="gzip")
    file["plain table"] = table
    file["arrays"] = np.zeros(4, np.dtype(("f4", (2, 2))))


@case
def any_length(file: h5py.File, value: float) -> None:
    kind = h5py.vlen_dtype("f8")
    data = file.create_dataset("sequences", (3,), kind)
    data[0] = [1, 2, value]
    data[2] = [value]


@case
def names(file: h5py.File, value: float) -> None:
    kind = h5py.enum_dtype({"RED": 0, "GREEN": 1}, basetype="i2")
    file.create_dataset("colors", data=[0, int(value > 0.5)], dtype=kind)


@case
def many_groups(file: h5py.File, value: float) -> None:
    for number in range(400):
        file[f"group-{number % 20}/inner/data-{number}"] = number * value
    file["circle"] = file["group-0"]
    file["group-0/self"] = file["group-0"]
    file["soft"] = h5py.SoftLink("/group-0")
    file["group-0"].attrs["value"] = value


@case
def references(file: h5py.File, value: float) -> None:
    file["a"] = value
    file["references"] = np.array([file["a"].ref], h5py.ref_dtype)


def made(
    path: Path, make: Callable[[h5py.File, float], None], value: float, **options: Any
) -> Path:
    with h5py.File(path, "w", **options) as file:
        make(file, value)
    return path


def judged(
    one: Path, other: Path, monkeypatch: pytest.MonkeyPatch, *, plain: bool
) -> OutputVerdict:
    with monkeypatch.context() as patch:
        if plain:
            patch.setitem(sys.modules, "h5py", None)
        return judge_output("a.h5", one, other, tolerance=(1e-6, 0.0))


@pytest.mark.parametrize("name", CASES)
def test_the_verdict_is_the_same_with_h5py_and_without(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made(tmp_path / "one.h5", CASES[name], 0.25)
    # The same content at other places.
    with h5py.File(tmp_path / "again.h5", "w") as file:
        file["junk"] = np.arange(1000)
        CASES[name](file, 0.25)
        del file["junk"]
    again = tmp_path / "again.h5"
    near = made(tmp_path / "near.h5", CASES[name], 0.25 + 1e-9)
    other = made(tmp_path / "other.h5", CASES[name], 0.75)

    for reproduced in (again, near, other):
        library = judged(one, reproduced, monkeypatch, plain=False)
        plain = judged(one, reproduced, monkeypatch, plain=True)
        assert plain == library
        assert plain.how == "hdf5" or plain.verdict is Verdict.IDENTICAL
    assert judged(one, again, monkeypatch, plain=True).detail == "same content"
    assert judged(one, other, monkeypatch, plain=True).verdict is Verdict.DIFFERS


@pytest.mark.parametrize("name", ["every_type", "shapes", "chunks", "many_groups"])
def test_what_cannot_be_read_without_h5py_is_said(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made(tmp_path / "one.h5", CASES[name], 0.25, libver="latest")
    other = made(tmp_path / "other.h5", CASES[name], 0.75, libver="latest")

    library = judged(one, other, monkeypatch, plain=False)
    plain = judged(one, other, monkeypatch, plain=True)

    assert library.verdict is Verdict.DIFFERS
    needs = "content not compared: h5py is not installed, and it has"
    is_said = plain.verdict is Verdict.INCONCLUSIVE and (plain.detail or "").startswith(needs)
    assert plain == library or is_said


@pytest.mark.parametrize("options", [{"userblock_size": 512}, {"libver": "v108"}])
def test_other_layouts_of_files_are_read_or_said(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made(tmp_path / "one.h5", CASES["shapes"], 0.25, **options)
    other = made(tmp_path / "other.h5", CASES["shapes"], 0.75, **options)

    assert judged(one, other, monkeypatch, plain=True).verdict is Verdict.DIFFERS
    assert judged(one, other, monkeypatch, plain=False).verdict is Verdict.DIFFERS


def test_compression_that_only_h5py_knows_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def packed(file: h5py.File, value: float) -> None:
        file.create_dataset("a", data=np.full(100, value), chunks=(50,), compression="lzf")

    one, other = made(tmp_path / "one.h5", packed, 1), made(tmp_path / "other.h5", packed, 2)

    assert judged(one, other, monkeypatch, plain=True).detail == (
        "content not compared: h5py is not installed, and it has data in another compression "
        "than deflate"
    )


def test_files_outside_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def linked(file: h5py.File, value: float) -> None:
        file["link"] = h5py.ExternalLink("/etc/passwd", "/a")
        file["value"] = value

    one, other = made(tmp_path / "one.h5", linked, 1), made(tmp_path / "other.h5", linked, 2)

    assert judged(one, other, monkeypatch, plain=False).detail == "value: 1 -> 2"


@pytest.mark.parametrize("name", ["every_type", "chunks", "records", "many_groups", "texts"])
def test_damage_is_never_more_than_a_difference(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made(tmp_path / "one.h5", CASES[name], 0.25)
    content = one.read_bytes()
    places = range(8, len(content), max(1, len(content) // 150))

    for place in places:
        broken = tmp_path / "broken.h5"
        broken.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        found = judged(one, broken, monkeypatch, plain=True)
        assert found.verdict is not Verdict.IDENTICAL
        assert found.detail
