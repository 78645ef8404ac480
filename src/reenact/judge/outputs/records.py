"""Read files of records: TensorBoard's event files, and TFRecord.

Left out of event files: the times of events, in which order those of two tags came.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, BinaryIO

from reenact.judge.outputs.numbers import ITEM_BYTES
from reenact.judge.outputs.source import HeldSource, NotCompared, Source, Unreadable
from reenact.judge.outputs.values import (
    Aside,
    Members,
    Noted,
    Numbers,
    Sequence,
    numbered,
    row_name,
)
from reenact.model.protobuf import fields, masked_crc, signed, varint

_HEADER = struct.Struct("<QI")
_MOST_RECORD_BYTES = 512 << 20
_MOST_EVENTS = 5_000_000
_FIRST_EVENT = b"brain.Event:"
_HPARAMS = b"hparams"
# TensorProto: number of a type -> its name, and in which field its values are if not in bytes.
_TENSORS = {
    1: ("float32", 5),
    2: ("float64", 6),
    3: ("int32", 7),
    4: ("uint8", 7),
    5: ("int16", 7),
    6: ("int8", 7),
    9: ("int64", 10),
    10: ("bool", 11),
    14: ("bfloat16", 13),
    17: ("uint16", 7),
    19: ("float16", 13),
    22: ("uint32", 16),
    23: ("uint64", 17),
}


class EventFile:
    """TensorBoard's: scalars, images, histograms, texts and hyperparameters by tag and step."""

    name = "events"
    endings: tuple[str, ...] = ()

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether the first record is an event that tells the version of the file."""
        return _is_framed(head) and (_FIRST_EVENT in head[:64] or "tfevents" in name)

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return what was written under each tag."""
        tags: dict[str, list[tuple[str, Any]]] = {}
        for count, record in enumerate(_records(source)):
            if count > _MOST_EVENTS:
                raise NotCompared("it has too many events")
            _read_event(record, source, tags)
        return Members({tag: Members(dict(numbered(pairs))) for tag, pairs in tags.items()})


class RecordFile:
    """TFRecord: records as they are, those that are a `tf.train.Example` by its features."""

    name = "tfrecord"
    endings: tuple[str, ...] = ()

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it begins with a length and the checksum of that."""
        return _is_framed(head)

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return the records."""
        return Sequence(
            lambda: (_example(record, source) for record in _records(source)), row_name("record")
        )


def _is_framed(head: bytes) -> bool:
    if len(head) < _HEADER.size:
        return False
    length, checksum = _HEADER.unpack_from(head)
    return bool(length < _MOST_RECORD_BYTES and masked_crc(head[:8]) == checksum)


def _records(source: Source) -> Iterator[bytes]:
    with source.stream() as file:
        while header := file.read(_HEADER.size):
            yield _record(file, header)


def _record(file: BinaryIO, header: bytes) -> bytes:
    if len(header) < _HEADER.size:
        raise Unreadable("its last record ends too early")
    length, checksum = _HEADER.unpack(header)
    if masked_crc(header[:8]) != checksum:
        raise Unreadable("the checksum of a record is wrong")
    if length > _MOST_RECORD_BYTES:
        raise NotCompared("it has a record that is too large")
    data = file.read(length)
    if len(data) < length or len(file.read(4)) < 4:
        raise Unreadable("its last record ends too early")
    return data


def _read_event(data: bytes, source: Source, tags: dict[str, list[tuple[str, Any]]]) -> None:
    step = 0
    time = b""
    others: dict[str, bytes] = {}
    values: list[tuple[int, int]] = []
    for field, value, start, stop in fields(data, 0, len(data)):
        if field == 1:
            time = data[start:stop]
        elif field == 2:
            step = signed(value)
        elif field == 5:
            inside = fields(data, start, stop)
            values += [(first, last) for inner, _, first, last in inside if inner == 1]
        elif field != 10:
            # Not who wrote the file, which is in field 10.
            others[_OTHER_EVENTS.get(field, f"event {field}")] = data[start:stop]
    asides = (Aside("time", time, of="event"),)
    for name, other in others.items():
        tags.setdefault(name, []).append((f"step {step}", Noted(other, asides)))
    for start, stop in values:
        tag, value = _value(data, start, stop, source)
        tags.setdefault(tag, []).append((f"step {step}", Noted(value, asides)))


_OTHER_EVENTS = {3: "version of the file", 4: "graph", 6: "log message", 9: "graph of the model"}


def _value(data: bytes, begin: int, end: int, source: Source) -> tuple[str, Any]:
    """Return the tag of a value, and the value."""
    tag = ""
    found: dict[str, Any] = {}
    for field, _, start, stop in fields(data, begin, end):
        part = data[start:stop]
        if field == 1:
            tag = part.decode("utf-8", "replace")
        elif field == 2:
            found[""] = struct.unpack("<f", part)[0]
        elif field == 4:
            found.update(_image(part))
        elif field == 5:
            found["histogram"] = _message(part)
        elif field == 8:
            found[""] = _tensor(part, source)
        elif field == 9:
            found["metadata"] = _without_times(part) if _HPARAMS in part else part
        else:
            found[f"value {field}"] = part
    return tag, Members(found)


def _image(data: bytes) -> dict[str, Any]:
    pictures = [
        data[start:stop] for field, _, start, stop in fields(data, 0, len(data)) if field == 4
    ]
    return {"image": pictures[-1] if pictures else b""}


def _message(data: bytes) -> list[Any]:
    """Return the numbers of a message that has no others: doubles, alone and in rows."""
    found: list[Any] = []
    for field, value, start, stop in fields(data, 0, len(data)):
        size = stop - start
        if size % 8 == 0 and size and not value:
            found += [field, *struct.unpack(f"<{size // 8}d", data[start:stop])]
        else:
            found += [field, value]
    return found


def _without_times(data: bytes) -> Any:
    """Return the fields of a message of hyperparameters, less the times of day in it."""
    found = []
    try:
        for field, value, start, stop in fields(data, 0, len(data)):
            part = data[start:stop]
            if stop - start == 8 and 1e9 < struct.unpack("<d", part)[0] < 1e10:
                continue
            found.append((field, value, _without_times(part)))
    except (ValueError, IndexError):
        return data
    return found or data


def _tensor(data: bytes, source: Source) -> Any:
    """Return the array or the texts of a TensorProto."""
    kind = 0
    shape: tuple[int, ...] = ()
    content = b""
    texts: list[bytes] = []
    stored: dict[int, list[tuple[int, bytes]]] = {}
    for field, value, start, stop in fields(data, 0, len(data)):
        if field == 1:
            kind = value
        elif field == 2:
            shape = _shape(data, start, stop)
        elif field == 4:
            content = data[start:stop]
        elif field == 8:
            texts.append(data[start:stop])
        else:
            stored.setdefault(field, []).append((value, data[start:stop]))
    if kind not in _TENSORS:
        return texts or data
    name, where = _TENSORS[kind]
    if content:
        size = ITEM_BYTES[name]
        return Numbers(name, shape, HeldSource(content, "", source.allowance), size)
    values = [number for entry in stored.get(where, []) for number in _numbers(name, *entry)]
    return values[0] if len(values) == 1 and not shape else [list(shape), values]


def _numbers(name: str, value: int, part: bytes) -> list[float]:
    """Return the numbers of one field, packed or not."""
    if name in ("float32", "float64"):
        code = "f" if name == "float32" else "d"
        return list(struct.unpack(f"<{len(part) // struct.calcsize(code)}{code}", part))
    if value:
        return [signed(value)]
    found: list[float] = []
    at = 0
    while at < len(part):
        number, at = varint(part, at)
        found.append(signed(number))
    return found


def _shape(data: bytes, begin: int, end: int) -> tuple[int, ...]:
    sizes = []
    for field, _, start, stop in fields(data, begin, end):
        if field == 2:
            size = 0
            for inner, value, _, _ in fields(data, start, stop):
                if inner == 1:
                    size = signed(value)
            sizes.append(size)
    return tuple(sizes)


def _example(data: bytes, source: Source) -> Any:
    """Return the features of a `tf.train.Example`, the bytes of any other record."""
    try:
        found: dict[str, Any] = {}
        for field, _, start, stop in fields(data, 0, len(data)):
            if field != 1 or stop == start:
                return data
            for inner, _, first, last in fields(data, start, stop):
                if inner != 1:
                    return data
                name, value = _feature(data, first, last, source)
                found[name] = value
    except (ValueError, IndexError, struct.error):
        return data
    return found or data


def _feature(data: bytes, begin: int, end: int, source: Source) -> tuple[str, Any]:
    name = ""
    found: Any = None
    for field, _, start, stop in fields(data, begin, end):
        if field == 1:
            name = data[start:stop].decode("utf-8", "replace")
            continue
        for kind, _, first, last in fields(data, start, stop):
            entries = list(fields(data, first, last))
            if kind == 1:
                found = [data[one:other] for _, _, one, other in entries]
            elif kind == 2:
                packed = b"".join(data[one:other] for _, _, one, other in entries)
                held = HeldSource(packed, "", source.allowance)
                found = Numbers("float32", (len(packed) // 4,), held, 4)
            elif kind == 3:
                found = [
                    number
                    for _, value, one, other in entries
                    for number in _numbers("int64", value, data[one:other])
                ]
    return name, found
