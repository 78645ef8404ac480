"""Lineage: what the index says of runs that depend on others, and of contents that they share."""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reenact.model.identity import Digest, RunId
from reenact.model.run import (
    Dependency,
    Exit,
    File,
    Operation,
    OperationKind,
    Pipeline,
    Project,
    Run,
)
from reenact.store import lineage as lineage_module
from reenact.store.index import Index
from reenact.store.lineage import Link, data_sets, links_from, makers_of, readers_of
from reenact.store.lineage_rows import LinkKind
from reenact.store.store import RECORD_DIRECTORY, Store

START = datetime(2026, 11, 1, tzinfo=UTC)


def run_id(number: int) -> RunId:
    return RunId(f"{number:032x}")


def digest(number: int) -> Digest:
    return Digest(f"{number:04x}" * 16)


def file(path: str, content: int | None, **fields: Any) -> File:
    return File(path=path, digest=None if content is None else digest(content), **fields)


def required(number: int) -> Dependency:
    return Dependency(resource="model", kind="operation", uri="train", run=run_id(number))


def put(store: Store, number: int, **fields: Any) -> Run:
    started = START + timedelta(minutes=number)
    values: dict[str, Any] = {
        "id": run_id(number),
        "operation": Operation(name="train.py", kind=OperationKind.SCRIPT, target="train.py"),
        "project": Project(id="path:/p", name="p", root="/p"),
        "command": ("python", "train.py"),
        "created": started,
        "started": started,
        "ended": started + timedelta(seconds=1),
        "exit": Exit(code=0),
    }
    run = Run(**(values | fields))
    os.makedirs(f"{store.directory(run.id)}/{RECORD_DIRECTORY}", exist_ok=True)
    store.write_run(run, sync=False)
    return run


def links(store: Store, *numbers: int, deleted: bool = False) -> list[tuple[int, int, str]]:
    with Index(store) as index:
        found = links_from(index, map(run_id, numbers), deleted=deleted)
    return [(int(a, 16), int(b, 16), kind.name) for a, b, kind, _ in found]


def made(store: Store, *contents: int, deleted: bool = False) -> dict[int, list[int]]:
    with Index(store) as index:
        return plain(makers_of(index, map(digest, contents), deleted=deleted))


def read(store: Store, *contents: int, deleted: bool = False) -> dict[int, list[int]]:
    with Index(store) as index:
        return plain(readers_of(index, map(digest, contents), deleted=deleted))


def plain(found: dict[Digest, list[RunId]]) -> dict[int, list[int]]:
    return {int(d[:4], 16): [int(run, 16) for run in runs] for d, runs in found.items()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "store"))
    store.create()
    return store


class TestLinks:
    def test_who_was_given_files_of_a_run_depends_on_it(self, store: Store) -> None:
        put(store, 1)
        put(store, 2, dependencies=(required(1),))
        put(store, 3, dependencies=(required(2), required(1), required(1)))

        assert links(store, 1) == [(1, 2, "REQUIRED"), (1, 3, "REQUIRED")]
        assert links(store, 2) == [(2, 3, "REQUIRED")]
        assert links(store, 3) == []

    def test_who_has_opened_a_file_of_a_run_by_itself_depends_on_it(self, store: Store) -> None:
        put(store, 1)
        put(store, 2, inputs=(file(f"{store.directory(run_id(1))}/model.pt", 7),))
        put(
            store,
            3,
            inputs=(file("data/x", 7, resolved=f"{store.directory(run_id(1))}/model.pt"),),
        )

        assert links(store, 1) == [(1, 2, "READ"), (1, 3, "READ")]

    def test_files_that_were_required_are_not_counted_once_more(self, store: Store) -> None:
        there = f"{store.directory(run_id(1))}/model.pt"
        put(store, 2, dependencies=(required(1),), inputs=(file("model.pt", 7, resolved=there),))

        assert links(store, 1) == [(1, 2, "REQUIRED")]

    def test_a_run_does_not_depend_on_itself(self, store: Store) -> None:
        put(store, 1, inputs=(file(f"{store.directory(run_id(1))}/before.pt", 7),))

        assert links(store, 1) == []

    def test_parts_come_in_the_order_of_their_numbers(self, store: Store) -> None:
        put(store, 1)
        for number, part in ((5, "10"), (6, "9"), (7, "1")):
            put(store, number, parent=run_id(1), part=part)

        assert links(store, 1) == [(1, 7, "PART"), (1, 6, "PART"), (1, 5, "PART")]
        with Index(store) as index:
            assert links_from(index, [run_id(1)])[0] == Link(
                run_id(1), run_id(7), LinkKind.PART, "1"
            )

    def test_runs_like_others_and_pipelines_that_took_others_are_known(self, store: Store) -> None:
        put(store, 1)
        put(store, 2, like=run_id(1))
        put(store, 3, pipeline=Pipeline(steps=(), took={"train": run_id(1)}))

        assert links(store, 1) == [(1, 2, "LIKE"), (1, 3, "TAKEN")]

    def test_runs_that_are_in_no_store_are_asked_about_all_the_same(self, store: Store) -> None:
        put(store, 2, dependencies=(required(1),))

        assert links(store, 1, 99) == [(1, 2, "REQUIRED")]

    def test_those_in_the_trash_are_apart(self, store: Store) -> None:
        put(store, 2, dependencies=(required(1),))
        put(store, 3, dependencies=(required(1),))
        os.makedirs(store.trash_directory)
        os.rename(store.directory(run_id(2)), store.directory(run_id(2), deleted=True))

        assert links(store, 1) == [(1, 3, "REQUIRED")]
        assert links(store, 1, deleted=True) == [(1, 2, "REQUIRED")]

    def test_a_record_written_anew_counts_as_it_is_now(self, store: Store) -> None:
        put(store, 2, dependencies=(required(1),), outputs=(file("a", 5),))
        assert links(store, 1) == [(1, 2, "REQUIRED")]

        put(store, 2, dependencies=(required(3),), outputs=(file("a", 6),))

        assert links(store, 1, 3) == [(3, 2, "REQUIRED")]
        assert made(store, 5, 6) == {6: [2]}


class TestContents:
    def test_a_content_is_found_wherever_it_was_made_and_read(self, store: Store) -> None:
        put(store, 1, outputs=(file("model.pt", 7), file("copy.pt", 7), file("log", 8)))
        put(store, 2, inputs=(file("/elsewhere/renamed.pt", 7),), outputs=(file("m", 7),))
        put(store, 3, inputs=(file("model.pt", 7),))

        assert made(store, 7, 8, 9) == {7: [1, 2], 8: [1]}
        assert read(store, 7, 8, 9) == {7: [2, 3]}

    def test_an_archive_that_was_required_was_read(self, store: Store) -> None:
        put(
            store,
            1,
            dependencies=(Dependency(resource="d", kind="url", uri="http://x", digest=digest(7)),),
        )

        assert read(store, 7) == {7: [1]}

    def test_data_sets_are_known_and_who_has_read_them(self, store: Store) -> None:
        put(store, 1, inputs=(file("data", 7, files=100), file("x", 8)))
        put(store, 2, inputs=(file("data", 7, files=100),))

        with Index(store) as index:
            assert data_sets(index) == [digest(7)]
        assert read(store, 7) == {7: [1, 2]}

    def test_files_of_unknown_content_and_edited_digests_disturb_nobody(self, store: Store) -> None:
        put(store, 1, outputs=(file("gone", None), file("kept", 7)))
        put(store, 2, outputs=(File(path="x", digest=Digest("nonsense")),))

        assert made(store, 7) == {7: [1]}

    def test_more_contents_than_fit_into_one_search(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lineage_module, "MOST", 3)
        put(store, 1, outputs=tuple(file(f"{n}", n) for n in range(10)))
        put(store, 2, dependencies=tuple(required(n) for n in range(20, 30)))

        assert made(store, *range(12)) == {n: [1] for n in range(10)}
        assert links(store, *range(20, 30)) == [(n, 2, "REQUIRED") for n in range(20, 30)]


_Files = st.lists(st.integers(0, 6), max_size=4)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.integers(1, 6), _Files, _Files, st.lists(st.integers(1, 6), max_size=2)),
        max_size=12,
    )
)
def test_the_index_says_what_the_records_say_whatever_was_written_before(
    tmp_path_factory: pytest.TempPathFactory,
    writes: list[tuple[int, list[int], list[int], list[int]]],
) -> None:
    store = Store(str(tmp_path_factory.mktemp("law") / "store"))
    store.create()
    now: dict[int, tuple[set[int], set[int], set[int]]] = {}

    for number, outputs, inputs, earlier in writes:
        put(
            store,
            number,
            outputs=tuple(file(f"o{n}", one) for n, one in enumerate(outputs)),
            inputs=tuple(file(f"/i{n}", one) for n, one in enumerate(inputs)),
            dependencies=tuple(required(one) for one in earlier),
        )
        now[number] = set(outputs), set(inputs), set(earlier)
        with Index(store) as index:
            index.update(run_id(number))

    def having(at: int, value: int) -> list[int]:
        return sorted(n for n, sets in now.items() if value in sets[at])

    every = range(7)
    assert made(store, *every) == {c: having(0, c) for c in every if having(0, c)}
    assert read(store, *every) == {c: having(1, c) for c in every if having(1, c)}
    expected = {(one, n, "REQUIRED") for one in every for n in having(2, one)}
    assert set(links(store, *every)) == expected


def test_no_question_looks_at_all_runs(store: Store) -> None:
    put(store, 1, outputs=(file("a", 7),))
    asked: list[str] = []

    with Index(store) as index:
        index.refresh()

        def watched(db: sqlite3.Connection) -> None:
            db.set_trace_callback(asked.append)

        index.ask(watched)
        links_from(index, [run_id(1)])
        makers_of(index, [digest(7)])
        readers_of(index, [digest(7)])

        def plans(db: sqlite3.Connection) -> list[str]:
            db.set_trace_callback(None)
            found = [db.execute(f"explain query plan {text}").fetchall() for text in asked]
            return [row[3] for rows in found for row in rows]

        steps = index.ask(plans)

    assert len(asked) == 3
    looked = [step for step in steps if step.startswith(("SCAN", "SEARCH"))]
    allowed = (
        "(earlier=?)",
        "(content=?)",
        "INTEGER PRIMARY KEY (rowid=?)",
        "runs_parent (parent=?)",
    )
    assert [step for step in looked if not step.endswith(allowed) and "SCAN (sub" not in step] == []
    assert len(looked) >= 7
