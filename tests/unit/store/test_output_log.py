from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limits import files_up_to
from reenact.store.output_log import (
    STDERR,
    STDOUT,
    OutputWriter,
    Piece,
    find_damage,
    output_size,
    read_output,
)

PIECES = st.lists(
    st.builds(
        Piece,
        st.integers(0, 2**62),
        st.sampled_from([STDOUT, STDERR]),
        st.binary(min_size=1, max_size=20),
    ),
    min_size=1,
    max_size=8,
)


def write(directory: Path, pieces: list[Piece]) -> None:
    writer = OutputWriter(str(directory))
    for piece in pieces:
        assert piece.time_ns is not None
        writer.append(piece.stream, piece.data, piece.time_ns)
    writer.close()


def read(directory: Path, start: int = 0) -> list[Piece]:
    return list(read_output(str(directory), start=start))


def text(pieces: list[Piece]) -> bytes:
    return b"".join(piece.data for piece in pieces)


@given(PIECES)
def test_what_was_printed_comes_back_with_times_and_streams(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[Piece]
) -> None:
    directory = tmp_path_factory.mktemp("run")

    write(directory, pieces)

    assert read(directory) == pieces
    assert (directory / "output").read_bytes() == text(pieces)
    assert find_damage(str(directory)) is None


@given(PIECES, st.data())
def test_a_reader_goes_on_where_it_stopped(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[Piece], data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("run")
    write(directory, pieces)
    count = data.draw(st.integers(0, len(pieces)))

    assert read(directory, start=len(text(pieces[:count]))) == pieces[count:]


@given(PIECES, st.data())
@settings(max_examples=200)
def test_torn_at_any_byte_it_reads_as_a_beginning(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[Piece], data: st.DataObject
) -> None:
    """A crash may cut either file; what is read is what was printed, up to some byte."""
    directory = tmp_path_factory.mktemp("run")
    write(directory, pieces)
    length = data.draw(st.integers(0, output_size(str(directory))))
    index_length = data.draw(st.integers(0, len(pieces) * 16))
    os.truncate(directory / "output", length)
    os.truncate(directory / "output.index", index_length)

    found = read(directory)

    assert text(found) == text(pieces)[:length]
    for piece, printed in zip(found, pieces, strict=False):
        assert piece.time_ns is None or piece[:2] == printed[:2]


@given(PIECES, PIECES, st.data())
@settings(max_examples=200)
def test_a_later_writer_goes_on_where_a_killed_one_stopped(
    tmp_path_factory: pytest.TempPathFactory,
    pieces: list[Piece],
    more: list[Piece],
    data: st.DataObject,
) -> None:
    """However the first was cut off, the pieces of the second are found where they are."""
    directory = tmp_path_factory.mktemp("run")
    write(directory, pieces)
    length = data.draw(st.integers(0, output_size(str(directory))))
    index_length = data.draw(st.integers(0, len(pieces) * 16))
    os.truncate(directory / "output", length)
    os.truncate(directory / "output.index", index_length)

    write(directory, more)

    found = read(directory)
    assert found[-len(more) :] == more
    assert text(found[: -len(more)]) == text(pieces)[:length]
    assert find_damage(str(directory)) is None


def test_bytes_without_an_entry_are_standard_output_of_an_unknown_time(tmp_path: Path) -> None:
    write(tmp_path, [Piece(1, STDERR, b"known")])
    with open(tmp_path / "output", "ab") as file:
        file.write(b"unknown")

    assert read(tmp_path) == [Piece(1, STDERR, b"known"), Piece(None, STDOUT, b"unknown")]


def test_without_its_index_the_output_is_still_there(tmp_path: Path) -> None:
    write(tmp_path, [Piece(1, STDERR, b"a"), Piece(2, STDOUT, b"b")])
    (tmp_path / "output.index").unlink()

    assert read(tmp_path) == [Piece(None, STDOUT, b"ab")]


def test_a_run_that_printed_nothing_has_no_files(tmp_path: Path) -> None:
    OutputWriter(str(tmp_path)).close()

    assert os.listdir(tmp_path) == []
    assert read(tmp_path) == []
    assert output_size(str(tmp_path)) == 0
    assert find_damage(str(tmp_path)) is None


@pytest.mark.parametrize("room", [0, 5, 30, 40])
def test_what_does_not_fit_is_refused_whole_and_what_comes_later_is_read_right(
    tmp_path: Path, room: int
) -> None:
    """The limit counts for each of both files: it bites in the one or in the other."""
    writer = OutputWriter(str(tmp_path))
    stored = []
    with files_up_to(room):
        for number in range(4):
            piece = Piece(number, STDOUT, b"%d" % number * 12)
            try:
                writer.append(piece.stream, piece.data, number)
            except OSError:
                continue
            stored.append(piece)
    later = Piece(9, STDERR, b"there is room again")

    writer.append(later.stream, later.data, 9)
    writer.close()

    assert len(stored) < 4
    assert read(tmp_path) == [*stored, later]
    assert find_damage(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("name", "size", "damage"),
    [
        ("output", 3, "2 bytes of output are missing"),
        ("output", None, "5 bytes of output are missing"),
        ("output.index", 16, "2 bytes of output have no entry in output.index"),
        ("output.index", 17, "the last entry of output.index is torn"),
        ("output.index", None, "5 bytes of output have no entry in output.index"),
    ],
)
def test_damage_is_named(tmp_path: Path, name: str, size: int | None, damage: str) -> None:
    write(tmp_path, [Piece(1, STDOUT, b"abc"), Piece(2, STDOUT, b"de")])
    if size is None:
        (tmp_path / name).unlink()
    else:
        os.truncate(tmp_path / name, size)

    assert find_damage(str(tmp_path)) == damage


def test_a_reader_may_come_while_it_is_written(tmp_path: Path) -> None:
    writer = OutputWriter(str(tmp_path))
    for number in range(50):
        writer.append(STDOUT, b"%02d\n" % number, number)

        assert [piece.time_ns for piece in read(tmp_path)] == list(range(number + 1))
    writer.close()


def test_the_two_files_can_be_copied_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    write(tmp_path / "one", [Piece(1, STDOUT, b"abc")])

    shutil.copytree(tmp_path / "one", tmp_path / "two")

    assert read(tmp_path / "two") == [Piece(1, STDOUT, b"abc")]
