"""How much of a run's data is kept."""

from __future__ import annotations

import pytest

from reenact.execute.keeping import SMALL, Room, limits_of
from reenact.model.identity import Digest
from reenact.store.blobs import FileToKeep

MIB = 1 << 20


def files(count: int, size: int = 1) -> list[FileToKeep]:
    return [FileToKeep(f"/{number}", Digest(""), size, "data") for number in range(count)]


@pytest.mark.parametrize(
    ("wanted", "has_room"),
    [
        (files(1, MIB), True),
        (files(1, MIB + 1), False),
        (files(16, MIB), True),
        (files(17, MIB), False),
        (files(1000), True),
        (files(1001), False),
    ],
)
def test_what_is_small_is_kept_as_a_whole(wanted: list[FileToKeep], has_room: bool) -> None:
    assert Room(SMALL).take(wanted, is_own=True) is has_room


def test_what_found_no_room_takes_none() -> None:
    room = Room(SMALL)

    assert not room.take(files(17, MIB), is_own=True)
    assert room.take(files(10, MIB), is_own=True)
    assert not room.take(files(7, MIB), is_own=True)
    assert room.take(files(6, MIB), is_own=True)


def test_what_is_not_the_projects_is_kept_only_on_request() -> None:
    assert not Room(SMALL).take(files(1), is_own=False)
    assert Room(limits_of("all")).take(files(5000, MIB << 10), is_own=False)


def test_nothing_is_kept_on_request() -> None:
    room = Room(limits_of("none"))

    assert not room.take(files(1, 0), is_own=True)
    assert room.take([], is_own=True)  # The source has all of it.
