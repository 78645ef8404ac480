from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reenact.errors import Damaged, NotFound, ReenactError, StoreUnusable, TooNew
from reenact.model.identity import RunId, new_run_id
from reenact.model.run import Exit, Notes, Operation, OperationKind, Project, Run, Status
from reenact.store.store import Store, locate_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "store"))
    store.create()
    return store


def add_run(store: Store, **facts: Any) -> Run:
    run = Run(
        id=new_run_id(),
        operation=Operation(name="train.py", kind=OperationKind.SCRIPT, target="train.py"),
        project=Project(id="path:/p", name="p", root="/p"),
        command=("python", "train.py"),
        created=datetime(2026, 3, 1, tzinfo=UTC),
        **facts,
    )
    os.makedirs(store.record_path(run.id, ""))
    store.write_run(run)
    return run


class TestLocation:
    def make(self, path: Path) -> Path:
        path.mkdir(parents=True)
        (path / "store.json").write_text('{"format":1}')
        return path

    def test_the_variable_comes_first(self, tmp_path: Path) -> None:
        self.make(tmp_path / ".reenact")

        assert locate_store({"REENACT_HOME": "/elsewhere"}, str(tmp_path)) == "/elsewhere"

    @pytest.mark.parametrize(
        ("value", "place"), [("s", "{here}/s"), ("../s", "{above}/s"), ("~/s", "{home}/s")]
    )
    def test_the_variable_may_be_relative(self, tmp_path: Path, value: str, place: str) -> None:
        here = tmp_path / "here"
        place = place.format(here=here, above=tmp_path, home=os.environ["HOME"])

        assert locate_store({"REENACT_HOME": value}, str(here)) == place

    def test_an_empty_variable_says_nothing(self, tmp_path: Path) -> None:
        store = self.make(tmp_path / ".reenact")

        assert locate_store({"REENACT_HOME": ""}, str(tmp_path)) == str(store)

    def test_then_the_nearest_upwards(self, tmp_path: Path) -> None:
        self.make(tmp_path / ".reenact")
        nearer = self.make(tmp_path / "a" / ".reenact")
        (tmp_path / "a" / "b" / "c").mkdir(parents=True)

        assert locate_store({}, str(tmp_path / "a" / "b" / "c")) == str(nearer)

    def test_an_empty_directory_is_a_store_to_be(self, tmp_path: Path) -> None:
        (tmp_path / ".reenact").mkdir()

        assert locate_store({}, str(tmp_path)) == str(tmp_path / ".reenact")

    def test_the_record_of_a_run_is_no_store(self, tmp_path: Path) -> None:
        store = self.make(tmp_path / ".reenact")
        record = store / "runs" / ("0" * 32) / ".reenact"
        record.mkdir(parents=True)
        (record / "run.json").write_text("{}")

        assert locate_store({}, str(record.parent)) == str(store)

    def test_a_file_of_that_name_is_no_store(self, tmp_path: Path) -> None:
        (tmp_path / ".reenact").write_text("")

        assert locate_store({}, str(tmp_path)) == os.environ["HOME"] + "/.reenact"

    def test_else_it_is_at_home(self, tmp_path: Path) -> None:
        assert locate_store({}, str(tmp_path)) == os.environ["HOME"] + "/.reenact"

    def test_a_directory_that_is_gone_does_not_matter(self, tmp_path: Path) -> None:
        store = self.make(tmp_path / ".reenact")

        assert locate_store({}, str(tmp_path / "gone")) == str(store)


class TestCreation:
    def test_a_store_is_made_once(self, store: Store) -> None:
        store.create()
        store.check_format()

        assert Path(store.root, "store.json").read_bytes() == b'{"format":1}\n'

    def test_an_empty_directory_becomes_one(self, tmp_path: Path) -> None:
        store = Store(str(tmp_path))

        store.create()

        store.check_format()

    def test_a_file_in_its_place_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "store").write_text("")

        with pytest.raises(StoreUnusable, match="cannot use the store") as caught:
            Store(str(tmp_path / "store")).create()

        assert "REENACT_HOME" in (caught.value.hint or "")

    def test_a_later_format_is_refused_and_nothing_changes(self, store: Store) -> None:
        Path(store.root, "store.json").write_text('{"format":2,"shape":"round"}')
        before = sorted(os.listdir(store.root))

        for act in (store.create, store.check_format):
            with pytest.raises(TooNew, match="has format 2, this Reenact reads 1"):
                act()

        assert sorted(os.listdir(store.root)) == before

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"format":"x"}', "{}"])
    def test_a_damaged_marker_is_said_and_not_overwritten(self, store: Store, content: str) -> None:
        marker = Path(store.root, "store.json")
        marker.write_text(content)

        with pytest.raises(Damaged, match=r"store\.json` is damaged"):
            store.create()

        assert marker.read_text() == content

    def test_no_store_is_not_found(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="there is no store at"):
            Store(str(tmp_path)).check_format()


class TestRuns:
    def test_a_record_is_read_as_it_was_written(self, store: Store) -> None:
        run = add_run(store, exit=Exit(code=0))

        stored = store.read_run(run.id)

        assert stored.run == stored.record == run
        assert stored.status is Status.COMPLETED
        assert stored.damage is None
        assert list(store.run_ids()) == [run.id]

    def test_a_run_that_is_not_there_is_gone(self, store: Store) -> None:
        with pytest.raises(NotFound, match="run 00000000 is gone"):
            store.read_run(RunId("0" * 32))

    def test_the_status_follows_the_lock(self, store: Store) -> None:
        run = add_run(store, started=datetime(2026, 3, 1, tzinfo=UTC))
        lock = store.lock(run.id)

        assert store.read_run(run.id).status is Status.KILLED
        lock.acquire()
        assert store.read_run(run.id).status is Status.RUNNING
        lock.release(remove=True)
        assert store.read_run(run.id).status is Status.KILLED

    @pytest.mark.parametrize(
        ("content", "damage", "error"),
        [
            (b"", "is damaged: ", Damaged),
            (b"{}", "is damaged: ", Damaged),
            (None, "is damaged: it has no run.json", Damaged),
            (b'{"format":9}', "has format 9, this Reenact reads up to 1", TooNew),
        ],
    )
    def test_a_damaged_record_is_a_value_and_others_are_not_affected(
        self, store: Store, content: bytes | None, damage: str, error: type[ReenactError]
    ) -> None:
        good, bad = add_run(store, exit=Exit(code=0)), add_run(store)
        path = Path(store.record_path(bad.id))
        path.unlink() if content is None else path.write_bytes(content)

        stored = store.read_run(bad.id)

        assert stored.status is Status.DAMAGED
        assert stored.run is None
        assert damage in (stored.damage or "")
        assert store.read_run(good.id).status is Status.COMPLETED
        with pytest.raises(error, match=f"run {bad.id[:8]}"):
            _ = stored.record

    def test_a_record_of_another_run_is_damage(self, store: Store) -> None:
        one, other = add_run(store), add_run(store)
        shutil.copy(store.record_path(one.id), store.record_path(other.id))

        assert f"its record is of run {one.id[:8]}" in (store.read_run(other.id).damage or "")

    def test_a_file_among_the_runs_is_no_run_or_a_damaged_one(self, store: Store) -> None:
        Path(store.runs_directory, "README").write_text("")
        Path(store.runs_directory, "1" * 32 + ".new").mkdir()

        assert list(store.run_ids()) == []

    def test_a_store_without_directories_has_no_runs(self, tmp_path: Path) -> None:
        store = Store(str(tmp_path))

        assert list(store.run_ids()) == list(store.run_ids(deleted=True)) == []


class TestNotes:
    def test_notes_are_read_as_they_were_written(self, store: Store) -> None:
        run = add_run(store)
        notes = Notes(label="best", tags=("a", "b"), comment="two\nlines", marked=True)

        store.write_notes(run.id, notes)

        assert store.read_run(run.id).notes == store.read_notes(run.id) == notes

    def test_without_notes_there_is_no_file(self, store: Store) -> None:
        run = add_run(store)
        store.write_notes(run.id, Notes(label="best"))

        store.write_notes(run.id, Notes())

        assert not os.path.exists(store.record_path(run.id, "notes.json"))
        assert store.read_run(run.id).notes == Notes()

    @pytest.mark.parametrize("content", [b"{", b'{"tags":1}', b"\xff"])
    def test_damaged_notes_are_said_and_the_run_is_read(self, store: Store, content: bytes) -> None:
        run = add_run(store, exit=Exit(code=0))
        Path(store.record_path(run.id, "notes.json")).write_bytes(content)

        stored = store.read_run(run.id)

        assert stored.status is Status.COMPLETED
        assert f"notes of run {run.id[:8]} is damaged" in (stored.damage or "")
        with pytest.raises(Damaged):
            store.read_notes(run.id)

    def test_notes_of_a_damaged_run_are_read(self, store: Store) -> None:
        run = add_run(store)
        store.write_notes(run.id, Notes(label="best"))
        Path(store.record_path(run.id)).write_bytes(b"{")

        assert store.read_run(run.id).notes.label == "best"
