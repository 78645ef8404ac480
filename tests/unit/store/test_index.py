"""The index: what it knows, how fresh it is, and what becomes of it when it is mistreated."""

from __future__ import annotations

import math
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reenact.model.identity import Digest, RunId
from reenact.model.metrics import Point, summarize
from reenact.model.run import (
    Batch,
    Exit,
    Notes,
    Operation,
    OperationKind,
    Project,
    Run,
    Source,
    Status,
    Vcs,
)
from reenact.store import index as index_module
from reenact.store.columns import IndexedRun, parse_sort
from reenact.store.index import Index
from reenact.store.metric_log import MetricWriter
from reenact.store.query import parse_filter
from reenact.store.store import RECORD_DIRECTORY, Store

START = datetime(2026, 11, 1, tzinfo=UTC)
PROJECT = Project(id="path:/p", name="p", root="/p")
OTHER = Project(id="path:/q", name="q", root="/q")


def run_id(number: int) -> RunId:
    return RunId(f"{number:032x}")


def make(number: int, **fields: Any) -> Run:
    started = START + timedelta(minutes=number)
    values: dict[str, Any] = {
        "id": run_id(number),
        "operation": Operation(name="train.py", kind=OperationKind.SCRIPT, target="train.py"),
        "project": PROJECT,
        "command": ("python", "train.py"),
        "created": started,
        "started": started,
        "ended": started + timedelta(seconds=1),
        "exit": Exit(code=0),
    }
    return Run(**(values | fields))


def put(store: Store, number: int, *, notes: Notes | None = None, **fields: Any) -> Run:
    run = make(number, **fields)
    os.makedirs(f"{store.directory(run.id)}/{RECORD_DIRECTORY}", exist_ok=True)
    store.write_run(run, sync=False)
    if notes is not None:
        store.write_notes(run.id, notes)
    return run


def series(**metrics: list[float]) -> dict[str, Any]:
    points = [
        Point(name, i, 0, v) for name, values in metrics.items() for i, v in enumerate(values)
    ]
    return summarize(points)


def numbers(runs: list[IndexedRun]) -> list[int]:
    return [int(run.id, 16) for run in runs]


def listed(store: Store, text: str | None = None, **options: Any) -> list[int]:
    """Return the numbers of runs as a new process would list them."""
    filter_ = parse_filter(text, now=START, tz=UTC) if text else None
    with Index(store) as index:
        return numbers(index.query(filter_, **options))


def one(store: Store, number: int) -> IndexedRun:
    with Index(store) as index:
        run = index.get(run_id(number))
    assert run is not None
    return run


def make_older(path: str) -> None:
    """Set the time of a file to long ago, so that nothing depends on when the test ran."""
    os.utime(path, (1_700_000_000, 1_700_000_000))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "store"))
    store.create()
    return store


@pytest.fixture(params=["all", "returned"])
def checking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Small stores look at all files before an answer, large ones at those of the answer."""
    if request.param == "returned":
        monkeypatch.setattr(index_module, "CHECK_ALL", 0)
    return str(request.param)


class TestContent:
    def test_a_listed_run_has_what_its_record_and_notes_say(self, store: Store) -> None:
        flags = {"lr": 0.1, "seed": 2**80, "x": math.inf, "deep": [1, {"a": None}], "y": "ü\n"}
        vcs = Vcs(commit="abc", is_dirty=True)
        source = Source(tree=Digest("d" * 64), files=1, size_bytes=1, vcs=vcs)
        metrics = series(loss=[2.0, 1.0], acc=[math.nan], big=[math.inf, 16777217.0])
        notes = Notes(label="a", tags=("t", "s"), comment="c", marked=True)
        params = {"Ridge.alpha": 1.0, "Ridge.tol": math.inf, "Ridge.solver": None}
        record = put(
            store,
            1,
            flags=flags,
            given=("lr",),
            source=source,
            metrics=metrics,
            params=params,
            notes=notes,
        )

        assert one(store, 1) == IndexedRun(
            id=record.id,
            status=Status.COMPLETED,
            operation="train.py",
            project_id="path:/p",
            project_name="p",
            label="a",
            tags=("t", "s"),
            comment="c",
            is_marked=True,
            created=record.created,
            started=record.started,
            ended=record.ended,
            exit=Exit(code=0),
            flags=flags,
            given=("lr",),
            metrics=metrics,
            params=params,
            command=("python", "train.py"),
            commit="abc",
            is_dirty=True,
            source="d" * 64,
            damage=None,
            kind="script",
        )

    def test_a_trial_a_batch_and_a_staged_run_are_told_apart(self, store: Store) -> None:
        batch = Batch(kind=OperationKind.SCRIPT, trials=2, objectives=(("minimize", "loss"),))
        parent = put(store, 1, batch=batch)
        put(store, 2, parent=parent.id, part="2", notes=Notes(priority=3))
        put(store, 3, staged=START, started=None, ended=None, exit=None)

        trial = one(store, 2)
        staged = one(store, 3)

        assert one(store, 1).batch == batch
        assert (trial.parent, trial.part, trial.priority) == (parent.id, "2", 3)
        assert (staged.status, staged.staged) == (Status.STAGED, START)
        assert listed(store, f"parent = {parent.id[:8]}") == [2]
        assert listed(store, "part = 2 and kind = script") == [2]

    def test_a_flag_that_is_not_a_number_comes_back_as_one(self, store: Store) -> None:
        put(store, 1, flags={"a": math.nan, "b": [math.nan, -math.inf]})

        flags = one(store, 1).flags

        assert math.isnan(flags["a"])  # type: ignore[arg-type]
        assert flags["b"][1] == -math.inf  # type: ignore[index]

    def test_an_unfinished_run_has_the_metrics_that_it_has_logged(self, store: Store) -> None:
        put(store, 1, exit=None, ended=None)
        log = MetricWriter(f"{store.directory(run_id(1))}/{RECORD_DIRECTORY}")
        log.append([Point("loss", 0, 1, 3.0)])
        first = one(store, 1)
        log.append([Point("loss", 1, 2, 2.0)])
        second = one(store, 1)
        log.close()

        assert first.metrics == series(loss=[3.0])
        assert second.metrics == series(loss=[3.0, 2.0])
        assert listed(store, "loss = 2") == [1]

    def test_the_newest_run_is_first(self, store: Store) -> None:
        for number in (2, 1, 3):
            put(store, number)

        assert listed(store) == [3, 2, 1]
        assert listed(store, limit=1) == [3]
        assert listed(store, limit=1, offset=1) == [2]
        assert listed(store, offset=2) == [1]

    def test_a_project_has_its_own_runs_and_the_damaged_ones(self, store: Store) -> None:
        put(store, 1)
        put(store, 2, project=OTHER)
        os.makedirs(store.directory(run_id(3)))

        assert sorted(listed(store, project="path:/q")) == [2, 3]
        with Index(store) as index:
            assert index.count() == 3
            assert index.count(project="path:/p") == 2
            assert index.count(parse_filter("op = train", now=START), project="path:/p") == 1

    def test_a_damaged_record_is_listed_with_its_notes_and_disturbs_no_other(
        self, store: Store
    ) -> None:
        put(store, 1)
        put(store, 2, notes=Notes(label="mine"))
        Path(store.record_path(run_id(2))).write_text("{")

        damaged = one(store, 2)

        assert (damaged.status, damaged.label, damaged.operation) == (Status.DAMAGED, "mine", None)
        assert damaged.damage is not None
        assert listed(store, "status = damaged") == [2]
        assert listed(store, "op = train") == [1]

    def test_a_repaired_record_is_a_run_again(self, store: Store) -> None:
        put(store, 1)
        Path(store.record_path(run_id(1))).write_text("{")
        assert listed(store, "status = damaged") == [1]

        put(store, 1)

        assert listed(store, "status = completed") == [1]

    def test_the_trash_is_apart(self, store: Store) -> None:
        put(store, 1)
        put(store, 2)
        assert listed(store) == [2, 1]

        os.makedirs(store.trash_directory)
        os.rename(store.directory(run_id(1)), store.directory(run_id(1), deleted=True))

        assert listed(store) == [2]
        assert listed(store, deleted=True) == [1]
        with Index(store) as index:
            assert index.match_prefix("0" * 31, deleted=True) == [run_id(1)]
            assert index.get(run_id(1)) is None
            assert index.get(run_id(1), deleted=True) is not None

    def test_names_that_are_no_ids_are_no_runs(self, store: Store) -> None:
        os.makedirs(f"{store.runs_directory}/notes")

        assert listed(store) == []

    def test_a_store_that_is_not_there_has_no_runs_and_is_not_made(self, tmp_path: Path) -> None:
        assert listed(Store(str(tmp_path / "none"))) == []
        assert not (tmp_path / "none").exists()

    def test_the_beginning_of_an_id_finds_all_that_begin_so(self, store: Store) -> None:
        for number in (0x10, 0x11, 0x20):
            put(store, number)

        with Index(store) as index:
            assert index.match_prefix("0" * 30 + "1") == [run_id(0x10), run_id(0x11)]
            assert index.match_prefix("f") == []
            assert len(index.match_prefix("")) == 3

    def test_names_of_flags_and_metrics_are_known(self, store: Store) -> None:
        put(store, 1, flags={"lr": 1, "acc": 2}, metrics=series(acc=[1.0], loss=[2.0]))

        with Index(store) as index:
            assert index.names() == (["acc", "lr"], ["acc", "loss"])


class TestSorting:
    def test_missing_values_come_last_in_both_directions_and_nan_before_them(
        self, store: Store
    ) -> None:
        put(store, 1, metrics=series(acc=[0.5]))
        put(store, 2, metrics=series(acc=[0.9]))
        put(store, 3, metrics=series(acc=[math.nan]))
        put(store, 4)
        put(store, 5, metrics=series(acc=[-math.inf]))

        assert listed(store, sort=parse_sort("acc")) == [5, 1, 2, 3, 4]
        assert listed(store, sort=parse_sort("-acc")) == [2, 1, 5, 3, 4]

    def test_a_flag_comes_before_a_metric_of_its_name(self, store: Store) -> None:
        put(store, 1, flags={"x": 3}, metrics=series(x=[0.0]))
        put(store, 2, metrics=series(x=[2.0]))
        put(store, 3, flags={"x": math.nan}, metrics=series(x=[1.0]))
        put(store, 4, flags={"x": None}, metrics=series(x=[1.0]))
        put(store, 5, flags={"x": "text"})

        assert listed(store, sort=parse_sort("x")) == [2, 1, 5, 3, 4]
        assert listed(store, sort=parse_sort("-x")) == [5, 1, 2, 3, 4]
        assert listed(store, sort=parse_sort("last x")) == [1, 4, 3, 2, 5]
        assert listed(store, sort=parse_sort("=x")) == [1, 5, 3, 4, 2]

    def test_equals_stand_in_the_order_of_the_next_key_and_of_their_age(self, store: Store) -> None:
        put(store, 1, flags={"a": 1, "b": 2})
        put(store, 2, flags={"a": 1, "b": 1})
        put(store, 3, flags={"a": 1, "b": 1})
        put(store, 4, flags={"a": 0})

        assert listed(store, sort=parse_sort("-a, b")) == [3, 2, 1, 4]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (".label", [2, 1, 3]),
            ("-label", [1, 2, 3]),
            ("tag", [2, 1, 3]),
            ("duration", [1, 3, 2]),
            (".started", [1, 2, 3]),
            ("exit", [1, 3, 2]),
            ("comment", [1, 3, 2]),
            ("command", [3, 2, 1]),
            ("project", [3, 2, 1]),
            ("commit", [3, 2, 1]),
            ("id", [1, 2, 3]),
            ("nonsense", [3, 2, 1]),
            ("count loss", [3, 2, 1]),
        ],
    )
    def test_attributes_sort_too(self, store: Store, text: str, expected: list[int]) -> None:
        put(store, 1, notes=Notes(label="b", tags=("z", "b"), comment="c"))
        put(
            store,
            2,
            notes=Notes(label="a", tags=("a",)),
            exit=Exit(code=1),
            ended=START + timedelta(1),
        )
        put(store, 3, ended=START + timedelta(minutes=3, seconds=2))

        found = listed(store, sort=parse_sort(text))

        if text == "exit":
            assert found == [3, 1, 2]
        else:
            assert found == expected


class TestFreshness:
    def test_new_and_removed_runs_are_seen_at_once(self, store: Store, checking: str) -> None:
        seen = []
        for number in range(1, 6):
            put(store, number)
            seen.append(listed(store))
        shutil.rmtree(store.directory(run_id(3)))

        assert seen[-1] == [5, 4, 3, 2, 1]
        assert [len(runs) for runs in seen] == [1, 2, 3, 4, 5]
        assert listed(store) == [5, 4, 2, 1]

    def test_a_record_written_anew_is_seen(self, store: Store, checking: str) -> None:
        put(store, 1, flags={"lr": 1})
        assert one(store, 1).flags == {"lr": 1}

        put(store, 1, flags={"lr": 2})

        assert one(store, 1).flags == {"lr": 2}
        assert listed(store, "lr = 2") == [1]
        assert listed(store, "lr = 1") == []

    def test_notes_that_appear_change_and_go_are_seen(self, store: Store, checking: str) -> None:
        put(store, 1)
        labels = [one(store, 1).label]
        for label in ("a", "b", None):
            store.write_notes(run_id(1), Notes(label=label))
            labels.append(one(store, 1).label)

        assert labels == [None, "a", "b", None]

    def test_notes_edited_by_hand_are_seen(self, store: Store, checking: str) -> None:
        put(store, 1, notes=Notes(label="a"))
        assert one(store, 1).label == "a"

        with open(store.record_path(run_id(1), "notes.json"), "w") as file:
            file.write('{"label": "by hand"}')

        assert one(store, 1).label == "by hand"

    def test_in_a_large_store_a_change_that_was_announced_is_seen_by_filters(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(index_module, "CHECK_ALL", 0)
        put(store, 1)
        listed(store)

        with Index(store) as index:
            index.touch(run_id(1))
        # Here the writer is killed, or is slow: others ask before and after its change.
        before = listed(store, "label = a")
        store.write_notes(run_id(1), Notes(label="a"))
        after = listed(store, "label = a")

        assert (before, after) == ([], [1])

    def test_update_takes_a_change_over(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(index_module, "CHECK_ALL", 0)
        put(store, 1)
        with Index(store) as index:
            index.query()
            index.touch(run_id(1))
            store.write_notes(run_id(1), Notes(label="a", tags=("t",)))
            index.update(run_id(1))
            same = numbers(index.query(parse_filter("label = a and tag = t", now=START)))

        assert same == [1]
        assert listed(store, "label = a") == [1]

    def test_update_of_a_run_that_is_new_or_gone_is_fine(self, store: Store) -> None:
        put(store, 1)
        listed(store)
        put(store, 2)
        with Index(store) as index:
            index.update(run_id(2))
            index.update(run_id(3))

        assert listed(store) == [2, 1]

    def test_without_an_index_a_writer_makes_none(self, store: Store) -> None:
        put(store, 1)
        with Index(store) as index:
            index.touch(run_id(1))
            index.update(run_id(1))

        assert not os.path.exists(store.index_path)

    def test_the_status_of_an_unfinished_run_follows_its_lock(self, store: Store) -> None:
        put(store, 1, exit=None, ended=None, started=None)
        lock = store.lock(run_id(1))
        lock.acquire()
        seen = [one(store, 1).status]
        put(store, 1, exit=None, ended=None)
        seen.append(one(store, 1).status)
        lock.release()
        seen.append(one(store, 1).status)
        lock.acquire()
        seen.append(one(store, 1).status)
        put(store, 1)
        seen.append(one(store, 1).status)
        lock.release(remove=True)
        seen.append(one(store, 1).status)

        assert [status.value for status in seen] == [
            "pending", "running", "killed", "running", "completed", "completed",
        ]  # fmt: skip

    def test_a_status_can_be_asked_for_as_it_is_now(self, store: Store) -> None:
        put(store, 1, exit=None, ended=None)
        make_older(store.record_path(run_id(1)))
        lock = store.lock(run_id(1))
        lock.acquire()
        assert listed(store, "status = running") == [1]

        lock.release()

        assert listed(store, "status = killed") == [1]
        assert listed(store, "status = running") == []

    @pytest.mark.parametrize("is_locked", [True, False])
    @pytest.mark.parametrize("is_started", [True, False])
    @pytest.mark.parametrize("was_staged", [True, False])
    def test_the_status_is_the_one_that_the_record_derives(
        self, store: Store, is_locked: bool, is_started: bool, was_staged: bool
    ) -> None:
        run = make(
            1,
            exit=None,
            ended=None,
            started=START if is_started else None,
            staged=START if was_staged else None,
        )

        derived = index_module._open_status(
            is_started=is_started, is_locked=is_locked, is_staged=run.is_staged
        )

        assert derived == run.status(is_locked=is_locked)

    def test_a_question_on_an_open_index_is_of_its_last_refresh(self, store: Store) -> None:
        put(store, 1)
        with Index(store) as index:
            before = numbers(index.query())
            put(store, 2)
            index.refresh()
            after = numbers(index.query())

        assert (before, after) == ([1], [2, 1])

    def test_old_directories_are_not_read_again(self, store: Store) -> None:
        put(store, 1)
        make_older(store.runs_directory)
        listed(store)
        listed(store)
        # A run that appears without a new time of the directory shows that nobody looked.
        put(store, 2)
        make_older(store.runs_directory)

        assert listed(store) == [1]

    def test_an_index_deleted_under_an_open_one_is_noticed(self, store: Store) -> None:
        put(store, 1)
        with Index(store) as index:
            index.query()
            for ending in ("", "-wal", "-shm"):
                Path(store.index_path + ending).unlink(missing_ok=True)
            put(store, 2)
            index.refresh()

            assert numbers(index.query()) == [2, 1]
        assert os.path.exists(store.index_path)


# --- mistreatment ---


def _delete(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _half(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _text(path: Path) -> None:
    path.write_text("this is no database\n" * 500)


def _garbage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = random.Random(1).randbytes(len(data) - 4096)
    path.write_bytes(data)


def _older(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript("drop table runs; create table runs (x); pragma user_version = 77")
    connection.close()


def _no_table(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript("drop table metrics")
    connection.close()


def _no_payload(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript("update details set payload = x'00'")
    connection.close()


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: list[Callable[[Path], None]] = [
    _delete, _empty, _half, _text, _garbage, _older, _no_table, _no_payload, _directory,
]  # fmt: skip


@dataclass
class Expected:
    every: list[int]
    some: list[int]
    sort: list[int]


@pytest.fixture
def many(store: Store) -> Expected:
    for number in range(1, 40):
        put(
            store,
            number,
            flags={"lr": number / 10, "text": "x" * 300},
            metrics=series(acc=[-number]),
            notes=Notes(tags=("odd",)) if number % 2 else None,
        )
    every = list(range(39, 0, -1))
    return Expected(every, [n for n in every if n % 2 and n < 10], sorted(every, reverse=True))


def check(store: Store, expected: Expected) -> None:
    assert listed(store) == expected.every
    assert listed(store, "lr < 1 and acc < 0 and tag = odd") == expected.some
    assert listed(store, sort=parse_sort("acc")) == expected.sort


class TestMistreatment:
    @pytest.mark.parametrize("damage", DAMAGES)
    def test_a_damaged_index_gives_the_same_answers(
        self, store: Store, many: Expected, damage: Callable[[Path], None]
    ) -> None:
        check(store, many)

        damage(Path(store.index_path))

        check(store, many)
        check(store, many)

    @pytest.mark.parametrize("damage", [_delete, _empty, _half, _text])
    def test_so_does_one_damaged_while_it_is_open(
        self,
        store: Store,
        many: Expected,
        damage: Callable[[Path], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(index_module, "_BUSY_S", 0.05)
        with Index(store) as index:
            index.query()
            damage(Path(store.index_path))

            check(store, many)
            index.refresh()
            assert numbers(index.query()) == many.every
        check(store, many)

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(cut=st.floats(0, 1), ending=st.sampled_from(["", "-wal", "-shm"]), noise=st.binary())
    def test_cut_anywhere_and_followed_by_noise_it_gives_the_same_answers(
        self, store: Store, many: Expected, cut: float, ending: str, noise: bytes
    ) -> None:
        # A copy of the files as they are while the index is open is what a crash leaves.
        for name in ("", "-wal", "-shm"):
            Path(store.index_path + name).unlink(missing_ok=True)
        with Index(store) as index:
            index.query()
            index.touch(run_id(1))
            left = {e: Path(store.index_path + e).read_bytes() for e in ("", "-wal")}
        for name, data in left.items():
            Path(store.index_path + name).write_bytes(data)
        damaged = Path(store.index_path + ending)
        data = damaged.read_bytes() if damaged.exists() else b""
        damaged.write_bytes(data[: int(len(data) * cut)] + noise)

        check(store, many)

    def test_a_damaged_index_that_another_has_open_is_left_alone(
        self, store: Store, many: Expected
    ) -> None:
        with Index(store) as other:
            other.query()
            _text(Path(store.index_path))
            before = os.stat(store.index_path).st_ino

            check(store, many)

            assert os.stat(store.index_path).st_ino == before
        check(store, many)

    def test_a_locked_index_gives_the_same_answers(
        self, store: Store, many: Expected, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(index_module, "_BUSY_S", 0.01)
        check(store, many)
        put(store, 40)
        blocker = sqlite3.connect(store.index_path, isolation_level=None)
        blocker.execute("begin immediate")

        found = listed(store)
        with Index(store) as index:
            index.touch(run_id(1))
            index.update(run_id(1))

        assert found == [40, *many.every]
        blocker.close()
        assert listed(store) == [40, *many.every]

    @pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root writes all")
    @pytest.mark.parametrize("has_index", [True, False])
    def test_a_store_that_cannot_be_written_is_read_all_the_same(
        self, store: Store, many: Expected, has_index: bool, tmp_path: Path
    ) -> None:
        if has_index:
            check(store, many)
        script = (
            "import sys; from reenact.store.index import Index; from reenact.store.store import Store\n"
            "with Index(Store(sys.argv[1])) as index: print(len(index.query()))"
        )
        prefix = []
        if os.geteuid() == 0:
            prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            for parent in (tmp_path, *tmp_path.parents):
                if not os.stat(parent).st_mode & 0o001:
                    os.chmod(parent, 0o755)
        for directory, _, _ in os.walk(store.root):
            os.chmod(directory, 0o555)
        try:
            done = subprocess.run(
                [*prefix, sys.executable, "-c", script, store.root],
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            for directory, _, _ in os.walk(store.root):
                os.chmod(directory, 0o755)
        if "Permission denied" in done.stderr and "reenact" not in done.stderr:
            pytest.skip("another user cannot run this interpreter here")

        assert (done.stdout, done.stderr) == ("39\n", "")
        assert os.path.exists(store.index_path) == has_index

    def test_twenty_processes_at_once_all_see_every_run(self, store: Store, many: Expected) -> None:
        script = (
            "import sys; from reenact.store.index import Index; from reenact.store.store import Store\n"
            "with Index(Store(sys.argv[1])) as index: print(*[r.id for r in index.query()])"
        )
        children = [
            subprocess.Popen(
                [sys.executable, "-c", script, store.root],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(20)
        ]
        ends = [child.communicate() for child in children]

        assert {err for _, err in ends} == {""}
        assert {out for out, _ in ends} == {" ".join(run_id(n) for n in many.every) + "\n"}
        check(store, many)

    def test_readers_and_writers_at_once_end_in_agreement(self, store: Store) -> None:
        script = (
            "import sys; from reenact.store.index import Index; from reenact.store.store import Store\n"
            "from reenact.model.run import Notes\n"
            "store = Store(sys.argv[1])\n"
            "run = format(int(sys.argv[2]), '032x')\n"
            "for turn in range(10):\n"
            "    with Index(store) as index:\n"
            "        index.touch(run)\n"
            "        store.write_notes(run, Notes(label=str(turn)))\n"
            "        index.update(run)\n"
            "        assert index.get(run).label == str(turn)\n"
        )
        for number in range(1, 9):
            put(store, number)
        listed(store)
        children = [
            subprocess.Popen(
                [sys.executable, "-c", script, store.root, str(number)],
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(1, 9)
        ]

        assert {child.communicate()[1] for child in children} == {""}
        assert listed(store, "label = 9") == [8, 7, 6, 5, 4, 3, 2, 1]
