"""Read protobuf messages, and the checksums of files of records, without their libraries."""

from __future__ import annotations

from collections.abc import Iterator


def fields(data: bytes, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the fields of a protobuf message: number, value of a varint, start and end of bytes."""
    while position < end:
        key = data[position]
        position += 1
        if key > 127:
            key, position = varint(data, position - 1)
        wire = key & 7
        if wire == 2:
            size = data[position]
            position += 1
            if size > 127:
                size, position = varint(data, position - 1)
            if position + size > end:
                raise ValueError("a field reaches beyond its message")
            yield key >> 3, 0, position, position + size
            position += size
        elif wire == 0:
            start = position
            value, position = varint(data, position)
            yield key >> 3, value, start, position
        elif wire == 5 or wire == 1:
            size = 4 if wire == 5 else 8
            if position + size > end:
                raise ValueError("a field reaches beyond its message")
            yield key >> 3, 0, position, position + size
            position += size
        else:
            raise ValueError("a field of unknown type")


def varint(data: bytes, position: int) -> tuple[int, int]:
    """Return the number at a position, and where it ends."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def signed(value: int) -> int:
    """Return the number that a varint stands for in a field of a signed type."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC_TABLE = _crc_table()


def masked_crc(data: bytes) -> int:
    """Return the crc32c of data, masked as in record files."""
    crc = 0xFFFF_FFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 255]
    crc ^= 0xFFFF_FFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFF_FFFF
