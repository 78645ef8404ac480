from __future__ import annotations

import math
import os
import struct
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.interop.tensorboard import (
    EventDirectoryTail,
    EventFileTail,
    metric_name,
)
from reenact.model.metrics import Point

# An encoder of its own: what it knows of the format it does not have from the reader.

FILE = "events.out.tfevents.1700000000.host"


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number: int, payload: bytes | int) -> bytes:
    if isinstance(payload, int):
        return varint(number << 3) + varint(payload)
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def fixed(number: int, code: str, value: float) -> bytes:
    return varint(number << 3 | (1 if code == "d" else 5)) + struct.pack("<" + code, value)


def crc(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0x82F63B78 * (value & 1)
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", crc(length)) + data + struct.pack("<I", crc(data))


def event(step: int, *values: bytes, wall_time: float = 1_700_000_000.25) -> bytes:
    summary = b"".join(field(1, value) for value in values)
    return record(fixed(1, "d", wall_time) + field(2, step) + field(5, summary))


def simple(tag: str, value: float) -> bytes:
    return field(1, tag.encode()) + fixed(2, "f", value)


def tensor(tag: str, body: bytes, plugin: str | None = "scalars") -> bytes:
    metadata = field(9, field(1, field(1, plugin.encode()))) if plugin is not None else b""
    return field(1, tag.encode()) + metadata + field(8, body)


def typed(kind: int, number: int, payload: bytes | int) -> bytes:
    return field(1, kind) + field(2, b"") + field(number, payload)


VERSION = record(fixed(1, "d", 1_700_000_000.0) + field(3, b"brain.Event:2"))


def read(path: Path) -> list[Point]:
    reader = EventFileTail(str(path))
    points = reader.poll()
    assert reader.damaged == 0
    return points


def test_scalars_are_read(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_bytes(
        VERSION + event(0, simple("loss", 0.5), simple("acc", 0.25)) + event(300, simple("loss", 2))
    )

    assert read(path) == [
        Point("loss", 0, 1_700_000_000_250_000_000, 0.5),
        Point("acc", 0, 1_700_000_000_250_000_000, 0.25),
        Point("loss", 300, 1_700_000_000_250_000_000, 2.0),
    ]


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (typed(1, 5, struct.pack("<f", 0.5)), 0.5),
        (field(1, 1) + fixed(5, "f", 0.5), 0.5),
        (typed(2, 6, struct.pack("<d", 0.1)), 0.1),
        (typed(2, 4, struct.pack("<d", 0.1)), 0.1),
        (typed(1, 4, struct.pack("<f", -2)), -2.0),
        (typed(3, 7, varint(-7)), -7.0),
        (typed(3, 7, -7), -7.0),
        (typed(3, 4, struct.pack("<i", -7)), -7.0),
        (typed(4, 7, varint(200)), 200.0),
        (typed(5, 7, varint(-3)), -3.0),
        (typed(6, 4, b"\xff"), -1.0),
        (typed(9, 10, varint(-(2**40))), -(2.0**40)),
        (typed(9, 4, struct.pack("<q", 5)), 5.0),
        (typed(14, 13, varint(0x3FC0)), 1.5),
        (typed(14, 4, b"\xc0\x3f"), 1.5),
        (typed(17, 7, varint(65535)), 65535.0),
        (typed(19, 13, varint(0x3E00)), 1.5),
        (typed(19, 4, struct.pack("<e", 1.5)), 1.5),
        (typed(22, 16, varint(2**32 - 1)), 2.0**32 - 1),
        (typed(23, 17, varint(2**63)), 2.0**63),
        (field(1, 1) + field(2, b""), 0.0),
        (field(1, 1) + field(2, field(2, field(1, 1))) + field(4, struct.pack("<f", 3)), 3.0),
    ],
)
def test_tensors_of_one_number_are_read(tmp_path: Path, body: bytes, value: float) -> None:
    path = tmp_path / FILE
    path.write_bytes(event(1, tensor("x", body)))

    assert [(p.name, p.step, p.value) for p in read(path)] == [("x", 1, value)]


@pytest.mark.parametrize(
    "value",
    [
        tensor("t", typed(1, 5, struct.pack("<f", 1)), "text"),
        tensor("t", typed(7, 8, b"hello")),
        tensor("t", field(1, 1) + field(2, field(2, field(1, 2))) + field(4, bytes(8))),
        field(1, b"image") + field(4, field(1, 8)),
        fixed(2, "f", 1),
        simple("x" * 600, 1),
    ],
)
def test_what_is_no_scalar_is_left_out(tmp_path: Path, value: bytes) -> None:
    path = tmp_path / FILE
    path.write_bytes(event(1, value, simple("loss", 1)))

    assert [point.name for point in read(path)] == ["loss"]


def test_only_the_first_value_of_a_tag_need_say_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / FILE
    one = typed(1, 5, struct.pack("<f", 1))
    path.write_bytes(
        event(1, tensor("note", one, "text"), tensor("loss", one))
        + event(2, tensor("note", one, None), tensor("loss", one, None), tensor("new", one, None))
    )

    assert [(p.name, p.step) for p in read(path)] == [("loss", 1), ("loss", 2), ("new", 2)]


def test_odd_numbers_are_kept(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_bytes(
        event(-5, simple("a", math.nan), simple("b", -math.inf))
        + event(2**62, simple("c", 1), wall_time=math.nan)
    )

    points = read(path)

    assert [(p.name, p.step) for p in points] == [("a", -5), ("b", -5), ("c", 2**62)]
    assert math.isnan(points[0].value)
    assert points[1].value == -math.inf
    assert points[2].time_ns == 0


@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=5).filter(str.isprintable),
                  st.integers(-(2**63), 2**63 - 1), st.floats(width=32, allow_nan=False)),
        max_size=12,
    ),
    st.data(),
)  # fmt: skip
def test_a_growing_file_gives_each_value_once(
    values: list[tuple[str, int, float]], data: st.DataObject
) -> None:
    whole = VERSION + b"".join(event(step, simple(tag, value)) for tag, step, value in values)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, FILE)
        reader = EventFileTail(str(path))
        points = reader.poll()
        begin = 0
        for end in [*cuts, len(whole)]:
            with open(path, "ab") as file:
                file.write(whole[begin:end])
            begin = end
            points += reader.poll()

    assert [(p.name, p.step, p.value) for p in points] == values
    assert reader.damaged == 0


def test_large_records_are_read_or_stepped_over(tmp_path: Path) -> None:
    path = tmp_path / FILE
    medium = record(field(4, bytes(3_000_000)) + field(5, field(1, simple("m", 1))))
    huge = struct.pack("<Q", 17 << 20)
    huge += struct.pack("<I", crc(huge)) + bytes((17 << 20) + 4)
    path.write_bytes(
        event(1, simple("a", 1))
        + medium
        + event(2, simple("b", 1))
        + huge
        + event(3, simple("c", 1))
    )

    assert [p.name for p in read(path)] == ["a", "m", "b", "c"]


def test_a_bad_length_stops_and_a_bad_record_does_not(tmp_path: Path) -> None:
    path = tmp_path / FILE
    reader = EventFileTail(str(path))
    path.write_bytes(event(1, simple("a", 1)) + record(b"\x2a\x7f\x00") + record(b"\x0b")
                     + record(b"\xff" * 12) + event(2, simple("b", 1)) + bytes(64))  # fmt: skip

    assert [p.name for p in reader.poll()] == ["a", "b"]
    assert reader.damaged == 4
    assert reader.poll() == []
    assert reader.damaged == 4


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("", "loss"),
        ("runs/Jan01_12-00-00_host", "loss"),
        ("lightning_logs/version_3", "loss"),
        ("runs/lr=0.1", "loss"),
        ("logs/train", "train/loss"),
        ("logs/20240101-120000/validation", "validation/loss"),
        ("runs/x/loss_val", "loss_val/loss"),
        ("runs/eval_lr0.1", "loss"),
    ],
)
def test_names_are_the_same_in_every_run(directory: str, name: str) -> None:
    assert metric_name(directory, "loss") == name


def put(root: Path, name: str, *events: bytes) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    with open(root / name, "ab") as file:
        file.write(b"".join(events))


def test_a_directory_is_followed_while_it_grows(tmp_path: Path) -> None:
    tail = EventDirectoryTail(str(tmp_path))
    seen = [tail.poll()]
    put(tmp_path, f"logs/train/{FILE}", VERSION, event(1, simple("loss", 1)))
    seen.append(tail.poll())
    put(tmp_path, f"logs/validation/{FILE}", event(1, simple("loss", 2)))
    put(tmp_path, f"logs/train/{FILE}", event(2, simple("loss", 3)))
    seen.append(tail.poll())
    put(tmp_path, f"logs/train/{FILE}.2", event(3, simple("loss", 4)))
    seen.append(tail.finish())
    seen.append(tail.finish())

    assert [[(e.path, [(p.name, p.step) for p in e.points]) for e in events] for events in seen] == [
        [],
        [(f"logs/train/{FILE}", [("train/loss", 1)])],
        [(f"logs/train/{FILE}", [("train/loss", 2)]),
         (f"logs/validation/{FILE}", [("validation/loss", 1)])],
        [(f"logs/train/{FILE}.2", [("train/loss", 3)])],
        [],
    ]  # fmt: skip
    assert tail.damaged == 0


def test_the_same_name_out_of_a_second_directory_is_told_apart(tmp_path: Path) -> None:
    for fold in ("fold0", "fold1"):
        put(tmp_path, f"runs/{fold}/{FILE}", event(1, simple("loss", 1)))
    put(tmp_path, f"runs/fold1/{FILE}.2", event(2, simple("loss", 1)), event(2, simple("acc", 1)))

    events = EventDirectoryTail(str(tmp_path)).poll()

    assert [[p.name for p in e.points] for e in events] == [["loss"], ["loss#2"], ["loss#2", "acc"]]


def test_files_from_before_the_run_are_left_out(tmp_path: Path) -> None:
    put(tmp_path, f"a/{FILE}", event(1, simple("old", 1)))
    os.utime(tmp_path / "a" / FILE, (1000, 1000))
    put(tmp_path, f"b/{FILE}", event(1, simple("new", 1)))
    tail = EventDirectoryTail(str(tmp_path), since_ns=2000 * 10**9)

    found = [p.name for events in tail.poll() + tail.finish() for p in events.points]

    assert found == ["new"]


def test_settled_directories_are_not_listed_again(tmp_path: Path) -> None:
    put(tmp_path, f"logs/{FILE}", VERSION)
    long_ago = time.time() - 100
    for directory in (tmp_path, tmp_path / "logs"):
        os.utime(directory, (long_ago, long_ago))
    tail = EventDirectoryTail(str(tmp_path))
    tail.poll()

    put(tmp_path, f"logs/{FILE}.2", event(1, simple("loss", 1)))
    os.utime(tmp_path / "logs", (long_ago, long_ago))
    hidden = tail.poll()
    os.utime(tmp_path / "logs")

    assert hidden == []
    assert len(tail.poll()) == 1


def test_many_directories_are_visited_in_turn(tmp_path: Path) -> None:
    for number in range(1500):
        (tmp_path / f"d{number}").mkdir()
    tail = EventDirectoryTail(str(tmp_path))
    tail.poll()
    for number in (0, 1499):
        put(tmp_path, f"d{number}/{FILE}", event(1, simple(f"loss{number}", 1)))

    found = {p.name for _ in range(4) for events in tail.poll() for p in events.points}

    assert found == {"loss0", "loss1499"}


def test_directories_that_go_away_do_no_harm(tmp_path: Path) -> None:
    put(tmp_path, f"a/{FILE}", VERSION)
    tail = EventDirectoryTail(str(tmp_path))
    tail.poll()

    (tmp_path / "a" / FILE).unlink()
    (tmp_path / "a").rmdir()

    assert tail.poll() == []
    assert tail.finish() == []
