"""Reading what the probe's journal wrote: real files of real processes, and damaged ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from textwrap import dedent

import pytest

from commands import wait_until
from fidelity import interpreters
from reenact.execute.journals import MANY_POINTS, JournalTail, Reported
from reenact.execute.told import collect

SHIM = Path(__file__).parents[3] / "src" / "reenact" / "probe" / "shim"
RECORD = Struct("<qqdII")
MARKER = int.from_bytes(b"rnt1", "little")
ENDED = 2**22 + 1
"""No process has this number."""


def write(tmp_path: Path, body: str, python: str = sys.executable) -> None:
    """Let a process that belongs to the run log something."""
    subprocess.run([python, "-c", dedent(body)], env=environment(tmp_path), check=True)


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SHIM), "REENACT_RECORD_DIR": str(tmp_path)}


def taken(reported: Iterator[Reported] | list[Reported]) -> list[tuple[str, int, float]]:
    return [(p.name, p.step, p.value) for one in reported for p in one.points]


class Journal:
    """A journal that is written here, byte by byte."""

    def __init__(self, tmp_path: Path, pid: int = os.getpid()) -> None:
        (tmp_path / "probe").mkdir(exist_ok=True)
        self.points = tmp_path / "probe" / f"{pid}-1.points"
        self.events = tmp_path / "probe" / f"{pid}-1.events"
        self.event(k="name", id=0, name="loss", origin="log")
        header = RECORD.pack(0, 0, 0.0, 1, int.from_bytes(b"rntj", "little"))
        self.points.write_bytes(header + bytes(65536 - 32))

    def event(self, **fields: object) -> None:
        with self.events.open("ab") as file:
            file.write(json.dumps(fields).encode() + b"\n")

    def put(self, index: int, value: float, number: int = 0) -> None:
        with self.points.open("r+b") as file:
            file.seek(index * 32)
            file.write(RECORD.pack(1, index, value, number, MARKER))


@pytest.mark.parametrize("python", interpreters(), ids=lambda path: Path(path).name)
def test_what_a_process_logged_is_read_whole_and_in_order(tmp_path: Path, python: str) -> None:
    write(
        tmp_path,
        """
        import reenact
        from _reenact import journal
        for step in range(30_000):
            reenact.log({"loss": step / 3, "acc%d" % (step % 3): step / 7}, step=step)
        journal.report("val", 1.0, 5, origin="keras")
        journal.params("Ridge", {"alpha": 1.0}, "sklearn")
        """,
        python,
    )
    tail = JournalTail(str(tmp_path))

    found = list(tail.finish())

    by_name: dict[str, list[tuple[int, float]]] = {}
    for name, step, value in taken(found):
        by_name.setdefault(name, []).append((step, value))
    assert by_name.pop("loss") == [(n, n / 3) for n in range(30_000)]
    for rest in range(3):
        assert by_name.pop(f"acc{rest}") == [(n, n / 7) for n in range(rest, 30_000, 3)]
    assert by_name == {"val": [(5, 1.0)]}
    assert {one.source.partition(":")[0] for one in found} == {"log", "keras"}
    assert [(e.kind, e.fields["values"]) for e in tail.events] == [("params", {"alpha": 1.0})]
    assert tail.lost == 0
    assert taken(tail.finish()) == []


def test_points_come_while_the_process_still_writes(tmp_path: Path) -> None:
    body = """
        import sys, reenact
        for line in sys.stdin:
            for step in range(int(line)):
                reenact.log(loss=1.0, step=step)
            print("done", flush=True)
    """
    tail = JournalTail(str(tmp_path))
    pipe = subprocess.PIPE
    words = [sys.executable, "-c", dedent(body)]

    with subprocess.Popen(words, env=environment(tmp_path), stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for count in (0, 3, 1, 100, 128, 0, 5000):
            process.stdin.write(b"%d\n" % count)
            process.stdin.flush()
            assert process.stdout.readline() == b"done\n"

            assert taken(tail.poll()) == [("loss", n, 1.0) for n in range(count)]

        process.stdin.close()
    assert taken(tail.poll()) == taken(tail.finish()) == []


def test_a_poll_returns_so_much_that_it_takes_no_long_time(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        write(
            tmp_path,
            f"""
            import reenact
            for step in range(100_000):
                reenact.log(loss={value}, step=step)
            """,
        )
    tail = JournalTail(str(tmp_path))

    polls = []
    while found := taken(tail.poll()):
        polls.append(found)

    assert all(MANY_POINTS <= len(found) <= 2 * MANY_POINTS for found in polls[:-1])
    everything = [point for found in polls for point in found]
    for value in (1.0, 2.0):
        own = [step for _, step, number in everything if number == value]
        assert own == list(range(100_000))
    assert taken(tail.finish()) == []


def test_a_record_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    tail = JournalTail(str(tmp_path))
    journal.put(1, 0.1)
    journal.put(3, 0.3)

    before = taken(tail.poll())
    journal.put(2, 0.2)
    after = taken(tail.poll())

    assert before == [("loss", 1, 0.1)]
    assert after == [("loss", 2, 0.2), ("loss", 3, 0.3)]


def test_a_record_that_does_not_come_holds_nothing_up_for_long(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    tail = JournalTail(str(tmp_path))
    for index in (1, 4, 5, 9):
        journal.put(index, index / 10)

    found = taken(tail.poll())
    wait_until(lambda: found.extend(taken(tail.poll())) or len(found) == 4, what="all are there")

    assert found == [("loss", n, n / 10) for n in (1, 4, 5, 9)]
    # One of the others did come in the end.
    journal.put(3, 0.3)
    journal.put(10, 1.0)
    assert taken(tail.finish()) == [("loss", 3, 0.3), ("loss", 10, 1.0)]


def test_torn_records_and_lines_are_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.put(1, 0.1)
    journal.put(2, 0.2)
    with journal.points.open("r+b") as file:
        # Everything but the marker, and half a record at the end of the file.
        file.seek(2 * 32 + 28)
        file.write(bytes(4))
        file.seek(0, os.SEEK_END)
        file.write(RECORD.pack(1, 7, 0.7, 0, MARKER)[:20])
    with journal.events.open("ab") as file:
        file.write(b'{"k": "params", "scope": "", "val\n')
        file.write(b'[1, 2]\n"text"\n\xff\xfe\n{"k": "name"}\n')
        file.write(b'{"k": "params", "scope": "late", "values": {}}\n{"k": "remark", "co')

    tail = JournalTail(str(tmp_path))

    assert taken(tail.finish()) == [("loss", 1, 0.1)]
    assert [event.fields for event in tail.events] == [{"scope": "late", "values": {}}]


def test_records_that_were_appended_behind_unused_room_are_found_at_the_end(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path)
    journal.put(1, 0.1)
    with journal.points.open("ab") as file:
        file.truncate(4 << 20)
        file.seek(0, os.SEEK_END)
        file.write(RECORD.pack(1, 2, 0.2, 0, MARKER))
    tail = JournalTail(str(tmp_path))

    assert taken(tail.poll()) == [("loss", 1, 0.1)]
    assert taken(tail.finish()) == [("loss", 2, 0.2)]


def test_losses_are_counted_wherever_they_were_said(tmp_path: Path) -> None:
    first, second = Journal(tmp_path, ENDED), Journal(tmp_path)
    with first.points.open("r+b") as file:
        file.write(RECORD.pack(0, 5, 0.0, 1, int.from_bytes(b"rntj", "little")))
    second.event(k="lost", count=2)
    second.event(k="lost", count=3)
    second.put(1, 0.1, number=77)
    tail = JournalTail(str(tmp_path))

    found = taken(tail.finish())

    assert found == []
    # The last one has a name that nobody knows.
    assert tail.lost == 5 + 3 + 1
    assert tail.events == []


def test_names_and_texts_that_no_record_can_hold_are_shown_by_escapes(tmp_path: Path) -> None:
    write(
        tmp_path,
        r"""
        import reenact
        from _reenact import journal
        reenact.log({"\udcff": 1.0}, step=1)
        journal.params("", {"a": ["\udcfe"]}, "log")
        journal.output("/data/\udcff.png", "figure", title="\udcfe")
        """,
    )
    tail = JournalTail(str(tmp_path))

    assert taken(tail.finish()) == [("\\udcff", 1, 1.0)]
    told = collect(tail.events, "/run")
    assert told.params == {"a": ["\\udcfe"]}
    # A path is spelled as paths are.
    assert told.roles == {"/data/\\xff.png": ("figure", "\\udcfe")}


def test_the_journals_of_ended_processes_are_looked_at_once_and_at_the_end(tmp_path: Path) -> None:
    journals = [Journal(tmp_path, ENDED + number) for number in range(100)]
    for journal in journals:
        journal.put(1, 0.1)
    tail = JournalTail(str(tmp_path))

    first = taken(tail.poll())
    # Nobody can write any more; but whatever there is counts in the end.
    journals[0].put(2, 0.2)
    second = taken(tail.poll())
    rest = taken(tail.finish())

    assert first == [("loss", 1, 0.1)] * 100
    assert second == []
    assert rest == [("loss", 2, 0.2)]


def test_a_run_without_journals_has_no_points(tmp_path: Path) -> None:
    tail = JournalTail(str(tmp_path / "nowhere"))

    assert tail.poll() == []
    assert list(tail.finish()) == []
    assert tail.lost == 0
