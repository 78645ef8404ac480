from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import sqlite3
import struct
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from reenact.judge.outputs.output import judge_output
from reenact.model.identity import Digest
from reenact.model.verdict import OutputVerdict, Verdict


def digest(data: bytes) -> Digest:
    return Digest(blake3(data).hexdigest())


def judge(
    tmp_path: Path, name: str, original: bytes | str, reproduced: bytes | str, **options: Any
) -> OutputVerdict:
    paths = []
    for which, data in (("original", original), ("reproduced", reproduced)):
        path = tmp_path / which
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        paths.append(path)
    return judge_output(name, *paths, **options)


# What there is to read.


def test_equal_digests_are_identical_unread() -> None:
    found = judge_output(
        "a", None, "/nowhere", original_digest=digest(b""), reproduced_digest=digest(b"")
    )

    assert found == OutputVerdict(
        path="a", verdict=Verdict.IDENTICAL, original=digest(b""), reproduced=digest(b"")
    )


def test_equal_bytes_are_identical(tmp_path: Path) -> None:
    found = judge(tmp_path, "a", b"abc", b"abc")

    assert (found.verdict, found.how) == (Verdict.IDENTICAL, "bytes")


def test_an_output_of_one_run_only_differs(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    path, known = tmp_path / "a", digest(b"a")

    gone = judge_output("a", path, None, original_digest=known)
    new = judge_output("a", None, path, reproduced_digest=known)

    assert (gone.verdict, gone.detail) == (Verdict.DIFFERS, "only in the original")
    assert (new.verdict, new.detail) == (Verdict.DIFFERS, "only in the reproduction")


def test_a_file_that_is_not_kept_is_judged_by_its_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")

    found = judge_output(
        "a",
        None,
        tmp_path / "a",
        original_digest=digest(b"b"),
        reproduced_digest=digest(b"a"),
    )

    assert found.verdict is Verdict.DIFFERS
    assert found.detail == "content not compared: the original file is not kept"


def test_a_file_that_has_changed_since_is_not_compared(tmp_path: Path) -> None:
    found = judge(
        tmp_path,
        "a",
        b"changed",
        b"changed",
        original_digest=digest(b"before"),
        reproduced_digest=digest(b"changed"),
    )

    assert found.verdict is Verdict.DIFFERS
    assert found.detail == (
        "content not compared: the original file is no longer what the run left"
    )


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")

    def detail(path: Path) -> str | None:
        found = judge_output("a", tmp_path / "a", path)
        assert found.verdict is Verdict.DIFFERS
        return found.detail

    prefix = "content not compared: the reproduced file"
    assert detail(tmp_path / "nowhere") == f"{prefix} cannot be read: no such file or directory"
    assert detail(tmp_path) == f"{prefix}: it is not a regular file"
    assert detail(tmp_path / "pipe") == f"{prefix}: it is not a regular file"
    assert "too many levels" in (detail(tmp_path / "loop") or "")


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "link").symlink_to("a")

    assert judge_output("a", tmp_path / "a", tmp_path / "link").verdict is Verdict.IDENTICAL


def test_bytes_of_no_known_format_differ_at_an_offset(tmp_path: Path) -> None:
    found = judge(tmp_path, "a.bin", b"\0" * 2_000_000 + b"\1\2", b"\0" * 2_000_000 + b"\1\3")

    assert (found.verdict, found.how) == (Verdict.DIFFERS, "bytes")
    assert found.detail == "byte 2,000,001 is the first that differs"


def test_another_format_is_named(tmp_path: Path) -> None:
    found = judge(tmp_path, "a.npy", b"\x93NUMPY...", b"some text")

    assert found.detail == "byte 0 is the first that differs (npy -> text)"


@given(st.binary(max_size=300), st.binary(max_size=300), st.sampled_from(range(20)))
def test_whatever_a_file_holds_there_is_a_verdict(
    tmp_path_factory: pytest.TempPathFactory, one: bytes, other: bytes, mark: int
) -> None:
    marks = [
        b"",
        b"PK\x03\x04",
        b"\x1f\x8b\x08",
        b"BZh9",
        b"\xfd7zXZ\0",
        b"\x28\xb5\x2f\xfd",
        b"\x93NUMPY\x01\0\x10\0",
        b"\x89HDF\r\n\x1a\n",
        b"SQLite format 3\0",
        b"PAR1",
        b"ARROW1\0\0",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"RIFF\0\0\0\0WAVE",
        b"%PDF-1.4\n1 0 obj",
        b'<?xml version="1.0"?><svg ',
        b"\x80\x04",
        b"{L\0\0\0\0\0\0",
        b'\x20\0\0\0\0\0\0\0{"',
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
    ]
    tmp_path = tmp_path_factory.mktemp("files")

    found = judge(tmp_path, "a", marks[mark] + one, marks[mark] + other)

    assert (found.verdict is Verdict.IDENTICAL) is (one == other)
    assert found.verdict is Verdict.IDENTICAL or found.detail


# Text.


TEXTS = [
    # original, reproduced, verdict, detail
    ("loss 0.10\n", "loss 0.1\n", Verdict.WITHIN_TOLERANCE, "same content"),
    ("a\r\nb\r\n", "a\nb", Verdict.WITHIN_TOLERANCE, "same content"),
    ("loss 0.5", "loss 0.25", Verdict.DIFFERS, "line 1: 0.5 -> 0.25"),
    ("a\nb\n", "a\n", Verdict.DIFFERS, "line 2: only in the original"),
    ("a\n", "a\nb\n", Verdict.DIFFERS, "line 2: only in the reproduction"),
    ("loss nan", "loss NaN", Verdict.WITHIN_TOLERANCE, "same content"),
    ("loss nan", "loss 0.5", Verdict.DIFFERS, "line 1: nan -> 0.5"),
    ("loss inf", "loss -inf", Verdict.DIFFERS, "line 1: inf -> -inf"),
    # Not numbers: names, versions, dates, times.
    ("conv2d_1", "conv2d_2", Verdict.DIFFERS, "line 1: 'conv2d_1' -> 'conv2d_2'"),
    ("v1.2.3", "v1.2.4", Verdict.DIFFERS, "line 1: 'v1.2.3' -> 'v1.2.4'"),
    ("2026-11-20", "2026-11-21", Verdict.DIFFERS, "line 1: '2026-11-20' -> '2026-11-21'"),
    ("layer1.5x", "layer1.6x", Verdict.DIFFERS, "line 1: 'layer1.5x' -> 'layer1.6x'"),
    # More digits than a double has.
    ("1" * 400, "1" * 399 + "2", Verdict.DIFFERS, f"line 1: {'1' * 400} -> {'1' * 399}2"),
    ("0.12345678901234567890", "0.12345678901234567891", Verdict.DIFFERS, None),
    ("1e400", "1e500", Verdict.DIFFERS, "line 1: 1e400 -> 1e500"),
]


@pytest.mark.parametrize(("original", "reproduced", "verdict", "detail"), TEXTS)
def test_text(
    tmp_path: Path, original: str, reproduced: str, verdict: Verdict, detail: str | None
) -> None:
    found = judge(tmp_path, "log.txt", original, reproduced)

    assert (found.verdict, found.how) == (verdict, "text")
    assert detail is None or found.detail == detail


def test_the_tolerance_is_relative_to_the_original_and_absolute(tmp_path: Path) -> None:
    def verdict(original: str, reproduced: str, tolerance: tuple[float, float]) -> Verdict:
        return judge(tmp_path, "a.txt", original, reproduced, tolerance=tolerance).verdict

    assert verdict("100", "101", (0.01, 0.0)) is Verdict.WITHIN_TOLERANCE
    assert verdict("100", "102", (0.01, 0.0)) is Verdict.DIFFERS
    assert verdict("100", "102", (0.01, 1.0)) is Verdict.WITHIN_TOLERANCE
    assert verdict("0", "0.5", (0.01, 0.5)) is Verdict.WITHIN_TOLERANCE
    assert verdict("0", "0.51", (0.01, 0.5)) is Verdict.DIFFERS


@pytest.mark.parametrize("name", ["log.txt", "a.csv", "a.json", "a.pkl"])
def test_the_run_directories_are_the_same_place(tmp_path: Path, name: str) -> None:
    def made(directory: str, loss: float) -> bytes:
        value = {"saved": f"{directory}/model.pt", "loss": loss}
        if name == "a.pkl":
            return pickle.dumps(value)
        if name == "a.json":
            return json.dumps(value).encode()
        return f"saved,loss\n{directory}/model.pt,{loss}\n".encode()

    directories = "/store/runs/0123", "/store/runs/4567"
    one, other = (made(directory, 0.5) for directory in directories)

    same = judge(tmp_path, name, one, other, directories=directories)
    further = judge(tmp_path, name, one, made(directories[1], 0.25), directories=directories)
    elsewhere = judge(tmp_path, name, one, made("/other", 0.5), directories=directories)

    assert same.detail == "same content; left out: path of 1 line"
    assert (further.detail or "").endswith("0.5 -> 0.25")
    assert elsewhere.verdict is Verdict.DIFFERS


def test_words_that_differ_far_behind_are_shown(tmp_path: Path) -> None:
    found = judge(tmp_path, "a.txt", "x " * 1000 + "one", "x " * 1000 + "two")

    assert found.detail == "line 1: ...'x x x x x x x x x x one' -> ...'x x x x x x x x x x two'"


@pytest.mark.parametrize("divider", [">", ",", " "])
def test_a_line_without_an_end_is_divided_where_its_content_says(
    tmp_path: Path, divider: str
) -> None:
    numbers = [number / 7 for number in range(100_000)]
    other = [number + 1e-12 for number in numbers]
    one, near, far = (
        divider.join(map(str, values)) for values in (numbers, other, [*numbers[:-1], 1])
    )

    found = judge(tmp_path, "a.txt", one, near, tolerance=(0.0, 1e-6))

    assert len(one) != len(near)
    assert (found.verdict, found.how) == (Verdict.WITHIN_TOLERANCE, "text")
    assert judge(tmp_path, "a.txt", one, far).detail == ("line 100000: 14285.57142857143 -> 1")


def test_characters_that_are_none_are_not_taken_for_each_other(tmp_path: Path) -> None:
    one, other = (json.dumps({"a": "x" * 100 + text}) for text in ("\ud800", "\ud801"))

    assert judge(tmp_path, "a.json", one, other).verdict is Verdict.DIFFERS


def test_a_table_names_row_and_column(tmp_path: Path) -> None:
    rows = "epoch,loss,note\n0,0.5,a\n1,{},b\n"

    found = judge(tmp_path, "t.csv", rows.format(0.25), rows.format(0.75))

    assert (found.how, found.detail) == ("csv", "line 3: loss: 0.25 -> 0.75")
    assert (found.largest_absolute, found.largest_ulps) == (0.5, 3 << 51)


@pytest.mark.parametrize("separator", ["\t", ";"])
def test_tables_may_have_other_separators(tmp_path: Path, separator: str) -> None:
    name = "t.tsv" if separator == "\t" else "t.csv"
    rows = f"epoch{separator}loss\n0{separator}{{}}\n"

    assert judge(tmp_path, name, rows.format(1), rows.format(2)).detail == "line 2: loss: 1 -> 2"


def test_a_table_without_names_counts_columns(tmp_path: Path) -> None:
    assert judge(tmp_path, "t.csv", "1,2\n3,4\n", "1,2\n3,5\n").detail == (
        "line 2: column 2: 4 -> 5"
    )


def test_a_quoted_cell_may_hold_the_separator(tmp_path: Path) -> None:
    found = judge(tmp_path, "t.csv", 'a,b\n"x,y",1\n', 'a,b\n"x,y",2\n')

    assert found.detail == "line 2: b: 1 -> 2"


JSONS = [
    ('{"a": 1, "b": [2]}', '{"b":[2.0],"a":1}', Verdict.WITHIN_TOLERANCE, "same content"),
    ('{"a": {"b c": [1, 2]}}', '{"a": {"b c": [1, 3]}}', Verdict.DIFFERS, 'a["b c"][1]: 2 -> 3'),
    ('{"a": 1}', '{"b": 1}', Verdict.DIFFERS, "a: only in the original; so does one more place"),
    ('{"a": [1, 2]}', '{"a": [1]}', Verdict.DIFFERS, "a: 2 -> 1 items"),
    ('{"a": null}', '{"a": 0}', Verdict.DIFFERS, "a: None -> 0"),
    ('{"a": true}', '{"a": 1}', Verdict.DIFFERS, "a: True -> 1"),
    ('{"a": NaN}', '{"a":NaN}', Verdict.WITHIN_TOLERANCE, "same content"),
    ('{"a": "x"}', '{"a": "y"}', Verdict.DIFFERS, "a: 'x' -> 'y'"),
    ('{"a": 1, "a": 2}', '{"a": 3, "a": 2}', Verdict.DIFFERS, "a: 1 -> 3"),
    ('{"a": 1e400}', '{"a": 1e500}', Verdict.DIFFERS, "a: 1e400 -> 1e500"),
    ('{"a": 1}\n{"a": 2}\n', '{"a": 1}\n{"a": 3}\n', Verdict.DIFFERS, "line 2: 2 -> 3"),
    ('{"a": ' * 3000, '{"a":  ' * 3000, Verdict.DIFFERS, None),
]


@pytest.mark.parametrize(("original", "reproduced", "verdict", "detail"), JSONS)
def test_json(
    tmp_path: Path, original: str, reproduced: str, verdict: Verdict, detail: str | None
) -> None:
    found = judge(tmp_path, "a.json", original, reproduced)

    assert (found.verdict, found.how) == (verdict, "json")
    assert detail is None or found.detail == detail


numbers = st.floats(allow_nan=False) | st.integers()


@given(st.dictionaries(st.text(), numbers | st.lists(numbers) | st.text()), st.integers(1, 4))
def test_json_is_the_same_however_it_is_laid_out(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any], indent: int
) -> None:
    turned = dict(reversed(value.items()))
    one, other = json.dumps(value), json.dumps(turned, indent=indent, ensure_ascii=False)

    found = judge(tmp_path_factory.mktemp("json"), "a.json", one, other)

    assert found.verdict is not Verdict.DIFFERS, found.detail


# Archives.


def zipped(members: dict[str, bytes], *, year: int = 2026, **options: Any) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0)), data)
    return out.getvalue()


def tarred(members: dict[str, bytes], *, mode: int = 0o644, mtime: int = 0) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(data), mode, mtime
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def test_an_archive_in_an_archive_names_the_whole_way(tmp_path: Path) -> None:
    def made(loss: str) -> bytes:
        inner = tarred({"run/log.csv": f"epoch,loss\n1,{loss}\n".encode()})
        return zipped({"results.tar.xz": lzma.compress(inner), "a.txt": b"a"})

    found = judge(tmp_path, "all.zip", made("0.5"), made("0.25"))

    assert found.detail == "results.tar.xz: run/log.csv: line 2: loss: 0.5 -> 0.25"


def test_the_order_of_members_is_left_out(tmp_path: Path) -> None:
    found = judge(
        tmp_path,
        "a.zip",
        zipped({"a": b"1", "b": b"2"}),
        zipped({"b": b"2", "a": b"1"}, year=2027),
    )

    assert found.verdict is Verdict.WITHIN_TOLERANCE
    assert found.detail == "same content; left out: dates of 2 members"


def test_members_that_are_missing_or_new_are_named(tmp_path: Path) -> None:
    found = judge(tmp_path, "a.tar", tarred({"a": b"1", "b": b"2"}), tarred({"a": b"1", "c": b"2"}))

    assert found.detail == "b: only in the original; so does one more place"


def test_permissions_in_a_tar_file_count(tmp_path: Path) -> None:
    found = judge(tmp_path, "a.tar", tarred({"run.sh": b""}), tarred({"run.sh": b""}, mode=0o755))

    assert found.detail == "run.sh: mode: '0o644' -> '0o755'"


def test_a_damaged_header_does_not_end_a_tar_file_unseen(tmp_path: Path) -> None:
    def made(last: bytes) -> bytes:
        data = bytearray(tarred({"a": b"1", "b": b"2", "c": last}))
        data[1024 + 148] ^= 255
        return bytes(data)

    found = judge(tmp_path, "a.tar", made(b"3"), made(b"4"))

    assert found.verdict is Verdict.DIFFERS
    assert found.detail == (
        "the original file cannot be read as tar: the header of a member is damaged"
    )


def test_an_encrypted_member_is_not_compared(tmp_path: Path) -> None:
    def made(data: bytes) -> bytes:
        archive = bytearray(zipped({"a": data}))
        for mark in (b"PK\x03\x04", b"PK\x01\x02"):
            archive[archive.index(mark) + (6 if mark[2] == 3 else 8)] |= 1
        return bytes(archive)

    found = judge(tmp_path, "a.zip", made(b"1"), made(b"2"))

    assert (found.verdict, found.detail) == (
        Verdict.INCONCLUSIVE,
        "content not compared: it is encrypted",
    )


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zlib.compress])
def test_compressed_files_are_compared_by_what_is_in_them(tmp_path: Path, pack: Any) -> None:
    lines = b"".join(b"%d\n" % number for number in range(200_000))
    name = "log.txt.z" if pack is zlib.compress else "log.txt.gz"

    found = judge(tmp_path, name, pack(lines), pack(lines + b"0.5"))

    assert len(lines) > 1 << 20
    assert found.detail == "line 200001: only in the reproduction"


def test_zstandard_is_read_with_its_package(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    one, other = (zstandard.compress(b"a 0.5\n" * 1000 + end) for end in (b"1", b"2"))

    found = judge(tmp_path, "a.txt.zst", one, other)

    assert (found.how, found.detail) == ("zstd", "line 1001: 1 -> 2")


def test_another_level_of_compression_is_no_difference(tmp_path: Path) -> None:
    data = b"".join(b"%d\n" % number for number in range(10_000))

    found = judge(
        tmp_path, "a.gz", gzip.compress(data, 1, mtime=0), gzip.compress(data, 9, mtime=1)
    )

    assert found.detail == "same content; left out: date in the header"


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    packer = zlib.compressobj(1, wbits=31)
    megabyte = bytes(1 << 20)
    bomb = b"".join(packer.compress(megabyte) for _ in range(1030))

    found = judge(
        tmp_path,
        "a.gz",
        bomb + packer.copy().flush(),
        bomb + packer.compress(b"1") + packer.flush(),
    )

    assert (found.verdict, found.detail) == (
        Verdict.INCONCLUSIVE,
        "content not compared: it unpacks to more than 1 GiB",
    )


def test_an_archive_that_holds_many_more_ends(tmp_path: Path) -> None:
    def nested(data: bytes) -> bytes:
        for _ in range(12):
            data = zipped({"a.zip": data})
        return data

    found = judge(tmp_path, "a.zip", nested(b"1"), nested(b"2"))

    assert found.verdict is Verdict.INCONCLUSIVE
    assert "it is packed too often" in (found.detail or "")


def test_other_bytes_of_a_format_that_needs_what_is_not_installed_are_inconclusive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("h5py", "pyarrow", "pyarrow.ipc", "PIL", "zstandard", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)

    def detail(mark: bytes) -> str | None:
        found = judge(tmp_path, "a", mark + b"1", mark + b"2")
        assert found.verdict is Verdict.INCONCLUSIVE
        return found.detail

    assert detail(b"PAR1") == "content not compared: pyarrow is not installed"
    assert detail(b"\xff\xd8\xff") == "content not compared: Pillow is not installed"
    assert detail(b"\x28\xb5\x2f\xfd") == "content not compared: zstandard is not installed"


def test_streams_of_arrow_are_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")

    def made(*values: int) -> bytes:
        out = io.BytesIO()
        schema = pyarrow.schema([("a", pyarrow.int64())])
        with pyarrow.ipc.new_stream(out, schema) as writer:
            for value in values:
                writer.write_batch(pyarrow.record_batch([pyarrow.array([value])], schema=schema))
        return out.getvalue()

    found = judge(tmp_path, "data.arrow", made(1, 2), made(1, 3))

    assert (found.how, found.detail) == ("arrow", "row 2: a: 2 -> 3")


def test_the_name_of_a_model_of_mlflow_is_left_out(tmp_path: Path) -> None:
    text = "flavors:\n  python: 3\nmodel_uuid: {}\nutc_time_created: '{}'\n"

    found = judge(tmp_path, "model/MLmodel", text.format("a", "2026"), text.format("b", "2027"))

    assert found.detail == "same content; left out: name and date"


# Databases and safetensors.


def database(path: Path, *statements: str) -> bytes:
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return path.read_bytes()


def test_rows_of_a_database_are_compared(tmp_path: Path) -> None:
    table = "CREATE TABLE t (a INTEGER, b REAL)"
    one = database(tmp_path / "db", table, "INSERT INTO t VALUES (1, 0.5), (2, 0.25)")
    other = database(tmp_path / "db", table, "INSERT INTO t VALUES (1, 0.5), (2, 0.75)")
    pages = database(
        tmp_path / "db",
        table,
        "INSERT INTO t VALUES (1, 0.5), (2, 0.25), (3, 1)",
        "DELETE FROM t WHERE a = 3",
    )

    assert judge(tmp_path, "a.db", one, other).detail == "t: row 2: b: 0.25 -> 0.75"
    assert judge(tmp_path, "a.db", one, pages).detail == "same content"
    assert judge(tmp_path, "a.zip", zipped({"a": one}), zipped({"a": pages})).detail == (
        "same content"
    )


def test_a_table_without_row_ids_and_a_virtual_one_are_read(tmp_path: Path) -> None:
    def made(value: int) -> bytes:
        return database(
            tmp_path / "db",
            "CREATE TABLE t (a PRIMARY KEY, b) WITHOUT  ROWID",
            "CREATE VIRTUAL TABLE v USING fts5(x)",
            "CREATE VIEW w AS SELECT a FROM t",
            f"INSERT INTO t VALUES (1, {value})",
        )

    assert judge(tmp_path, "a.db", made(1), made(2)).detail == "t: row 1: b: 1 -> 2"


def test_reading_a_database_leaves_nothing_beside_it(tmp_path: Path) -> None:
    one = database(tmp_path / "db", "PRAGMA journal_mode=WAL", "CREATE TABLE t (a)")
    other = database(tmp_path / "db", "PRAGMA journal_mode=WAL", "CREATE TABLE u (a)")
    (tmp_path / "db").unlink()

    judge(tmp_path, "a.db", one, other)

    assert sorted(os.listdir(tmp_path)) == ["original", "reproduced"]


def tensors(header: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_the_order_of_tensors_is_left_out(tmp_path: Path) -> None:
    def entry(begin: int) -> dict[str, Any]:
        return {"dtype": "F32", "shape": [2], "data_offsets": [begin, begin + 8]}

    one, two = struct.pack("<2f", 1, 2), struct.pack("<2f", 3, 4)

    found = judge(
        tmp_path,
        "m.safetensors",
        tensors({"a": entry(0), "b": entry(8)}, one + two),
        tensors({"b": entry(0), "a": entry(8)}, two + one),
    )

    assert (found.verdict, found.how) == (Verdict.WITHIN_TOLERANCE, "safetensors")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 800]},
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]},
        {"dtype": "F32", "shape": [1 << 62], "data_offsets": [0, 8]},
        {"dtype": "F32"},
    ],
)
def test_a_header_that_lies_is_damage(tmp_path: Path, entry: dict[str, Any]) -> None:
    found = judge(
        tmp_path,
        "m.safetensors",
        tensors({"a": entry}, b"\0" * 8),
        tensors({"a": entry}, b"\1" * 8),
    )

    assert found.verdict is Verdict.DIFFERS
    assert "cannot be read as safetensors" in (found.detail or "")


# Times in tables and JSON.


@pytest.mark.parametrize(
    ("name", "original", "reproduced", "verdict", "said"),
    [
        ("h.csv", "epoch,loss,time\n0,0.5,1.2\n", "epoch,loss,time\n0,0.5,9.9\n", "within", "time"),
        ("h.csv", "epoch,loss,time\n0,0.5,1.2\n", "epoch,loss,time\n0,0.6,9.9\n", "differs", "loss"),
        ("h.csv", 'a,elapsed\n"x,""y",1\n', 'a,elapsed\n"x,""y",2\n', "within", "elapsed"),
        ("h.csv", "a,time_series_loss\nx,1\n", "a,time_series_loss\nx,2\n", "differs", "loss"),
        ("h.json", '{"loss": 1, "took": {"time": 3}}', '{"loss": 1, "took": {"time": 4}}', "within", "time"),
        ("h.json", '{"loss": 1, "elapsed": 3}', '{"loss": 2, "elapsed": 4}', "differs", "loss"),
        ("h.json", '{"time": "a"}', '{"time": "b"}', "differs", "time"),
    ],
)  # fmt: skip
def test_what_measures_time_is_left_out_and_said(
    tmp_path: Path, name: str, original: str, reproduced: str, verdict: str, said: str
) -> None:
    found = judge(tmp_path, name, original, reproduced)

    assert found.verdict.startswith(verdict), found
    assert said in (found.detail or "")
