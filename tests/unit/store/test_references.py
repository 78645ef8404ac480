"""Names of runs: ids, beginnings, numbers, labels and the words after an @."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reenact.errors import Ambiguous, BadColumn, NotFound
from reenact.model.identity import RunId
from reenact.model.metrics import Point, summarize
from reenact.model.run import Exit, Notes, Operation, OperationKind, Project, Run
from reenact.store.index import Index
from reenact.store.references import load_listing, resolve, resolve_many, save_listing
from reenact.store.store import RECORD_DIRECTORY, Store

P = "path:/p"
START = datetime(2026, 11, 1, tzinfo=UTC)
C1F9, C1FA, C100, BEEF, OLD = (
    RunId(prefix + "0" * (32 - len(prefix))) for prefix in ("c1f9", "c1fa", "c100", "beef", "12")
)


def put(store: Store, run_id: RunId, hour: int, **fields: Any) -> Run:
    notes = fields.pop("notes", Notes())
    metrics = fields.pop("metrics", {})
    points = [
        Point(name, i, 0, v) for name, values in metrics.items() for i, v in enumerate(values)
    ]
    name = fields.pop("op", "train.py")
    project = fields.pop("project", P)
    started = START + timedelta(hours=hour)
    run = Run(
        id=run_id,
        operation=Operation(name=name, kind=OperationKind.SCRIPT, target=name),
        project=Project(id=project, name="p", root="/p"),
        command=("python", name),
        created=started,
        started=started,
        ended=started,
        exit=Exit(code=0),
        metrics=summarize(points),
        **fields,
    )
    os.makedirs(f"{store.directory(run_id)}/{RECORD_DIRECTORY}")
    store.write_run(run, sync=False)
    store.write_notes(run_id, notes)
    return run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "store"))
    store.create()
    put(store, C1F9, 1, metrics={"acc": [0.99, 0.5], "loss": [0.1, 3]}, notes=Notes(label="first"))
    put(store, C1FA, 2, metrics={"acc": [0.7, 0.9], "loss": [2, 1]}, notes=Notes(label="twice"))
    put(store, C100, 3, op="eval.py", notes=Notes(label="twice"), metrics={"acc": [float("nan")]})
    put(store, BEEF, 4, project="other", metrics={"acc": [1.0]}, notes=Notes(label="foreign"))
    put(store, OLD, 0, notes=Notes(label="beef"))
    return store


@pytest.fixture
def index(store: Store) -> Iterator[Index]:
    with Index(store) as index:
        yield index


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (C1F9, C1F9),
        (C1F9.upper(), C1F9),
        ("c1f9", C1F9),
        ("C10", C100),
        ("c10000", C100),
        ("bee", BEEF),
        ("120", OLD),
        ("first", C1F9),
        ("@latest", C100),
        ("@latest:train", C1FA),
        ("@latest:eval.py", C100),
        ("@best:acc", C1FA),
        ("@best:-loss", C1FA),
        ("@best:max acc", C1F9),
        ("@max:acc", C1F9),
        ("@min:loss", C1F9),
        ("@min:last loss", C1FA),
        ("@max:.started", C100),
    ],
)
def test_a_text_names_a_run(store: Store, index: Index, text: str, expected: RunId) -> None:
    assert resolve(store, index, text, P) == expected


def test_the_latest_of_all_projects_is_found_without_a_project(store: Store, index: Index) -> None:
    assert resolve(store, index, "@latest", None) == BEEF


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("c1f", "run `c1f` matches 2 runs", "give one more character, e.g. `c1f9` or `c1fa`"),
        ("c1", "run `c1` matches 3 runs", "give more characters, e.g. `c10` or `c1f9`"),
        (
            "twice",
            "run `twice` matches 2 runs",
            "give the beginning of an id, e.g. `c1000000` or `c1fa0000`",
        ),
        (
            "beef",
            "run `beef` matches 2 runs",
            "give the beginning of an id, e.g. `beef0000` or `12000000`",
        ),
    ],
)
def test_a_text_that_names_several_runs_is_refused(
    store: Store, index: Index, text: str, message: str, hint: str
) -> None:
    with pytest.raises(Ambiguous) as caught:
        resolve(store, index, text, P)

    assert caught.value.message == message
    assert caught.value.hint == hint


def test_the_way_out_of_a_long_common_beginning_is_long_enough(store: Store, index: Index) -> None:
    put(store, RunId("c1f90" + "1" * 27), 9)
    index.refresh()

    with pytest.raises(Ambiguous) as caught:
        resolve(store, index, "c1f9", P)

    assert caught.value.hint == "give more characters, e.g. `c1f900` or `c1f901`"


@pytest.mark.parametrize(
    "text",
    ["", "dddd", "d", "d" * 32, "no such label", "foreign", "@", "@first", "@latest:x", "@best",
     "@best:nothing", "@min:", "@best:=lr", "0", "7", "1234567", "%", "2:3"],
)  # fmt: skip
def test_a_text_that_names_nothing_is_refused(store: Store, index: Index, text: str) -> None:
    with pytest.raises(NotFound) as caught:
        resolve(store, index, text, P)

    assert caught.value.hint


def test_a_nan_is_never_the_best(store: Store, index: Index) -> None:
    with pytest.raises(NotFound):
        resolve(store, Index(store), "@best:val", P)
    put(store, RunId("dd" * 16), 9, metrics={"val": [float("nan")]})

    with pytest.raises(NotFound):
        resolve(store, Index(store), "@best:val", P)


def test_a_bad_column_after_best_is_said(store: Store, index: Index) -> None:
    with pytest.raises(BadColumn):
        resolve(store, index, "@best:acc acc", P)


def test_one_character_is_too_short_and_the_hint_says_so(store: Store, index: Index) -> None:
    with pytest.raises(NotFound) as caught:
        resolve(store, index, "b", P)

    assert caught.value.hint == "give two characters of the id at least"


def test_a_number_is_a_place_in_the_last_listing(store: Store, index: Index) -> None:
    save_listing(store, P, [OLD, C1F9])

    assert resolve(store, index, "1", P) == OLD
    assert resolve(store, index, "2", P) == C1F9
    assert load_listing(store, P) == [OLD, C1F9]
    assert load_listing(store, None) is None


def test_a_number_beyond_the_listing_is_the_beginning_of_an_id(store: Store, index: Index) -> None:
    save_listing(store, P, [C1F9])

    assert resolve(store, index, "12", P) == OLD


def test_without_a_listing_numbers_count_from_the_newest(store: Store, index: Index) -> None:
    assert resolve(store, index, "1", P) == C100
    assert resolve(store, index, "1", None) == BEEF


@pytest.mark.parametrize("deleted", [False, True])
def test_trials_have_no_numbers_where_no_listing_had_them(
    store: Store, index: Index, deleted: bool
) -> None:
    trial, step = RunId("a1" + "0" * 30), RunId("a2" + "0" * 30)
    put(store, trial, 5, parent=C1F9, part="3")
    put(store, step, 6, parent=C1F9, part="train")
    if deleted:
        os.makedirs(store.trash_directory)
        for run_id in (C100, trial, step):
            os.rename(store.directory(run_id), store.directory(run_id, deleted=True))

    assert resolve(store, index, "1", P, deleted=deleted) == step
    assert resolve(store, index, "2", P, deleted=deleted) == C100


def test_a_listed_run_that_is_gone_is_not_replaced_by_another(store: Store, index: Index) -> None:
    save_listing(store, P, [C1F9, C1FA])
    os.makedirs(store.trash_directory)
    os.rename(store.directory(C1F9), store.directory(C1F9, deleted=True))

    with pytest.raises(NotFound) as caught:
        resolve(store, index, "1", P)

    assert caught.value.hint == "it was deleted: `reenact restore c1f90000` brings it back"
    assert resolve(store, index, "c1f9", P, deleted=True) == C1F9
    assert resolve(store, index, "1", P, deleted=True) == C1F9
    with pytest.raises(NotFound):
        resolve(store, index, C1F9, P)
    with pytest.raises(NotFound):
        resolve(store, index, C1FA, P, deleted=True)


def test_several_texts_name_runs_in_order_and_once(store: Store, index: Index) -> None:
    found = resolve_many(store, index, ["first", "1:2", "c1f9", "3:"], P)

    assert found == [C1F9, C100, C1FA, OLD]


@pytest.mark.parametrize(
    ("text", "expected"),
    [(":", [C100, C1FA, C1F9, OLD]), (":2", [C100, C1FA]), ("2:3", [C1FA, C1F9]), ("4:99", [OLD])],
)
def test_a_range_names_runs_of_the_listing(
    store: Store, index: Index, text: str, expected: list[RunId]
) -> None:
    assert resolve_many(store, index, [text], P) == expected


@pytest.mark.parametrize("text", ["3:2", "5:", "0:1"])
def test_an_empty_range_is_refused(store: Store, index: Index, text: str) -> None:
    with pytest.raises(NotFound, match="the last listing has 4"):
        resolve_many(store, index, [text], P)


def test_a_listing_that_cannot_be_remembered_is_no_error(store: Store) -> None:
    os.rmdir(store.cache_directory)

    save_listing(store, P, [C1F9])

    assert load_listing(store, P) is None


def test_a_damaged_listing_is_ignored(store: Store, index: Index) -> None:
    save_listing(store, P, [C1F9])
    (name,) = (n for n in os.listdir(store.cache_directory) if n.startswith("listing-"))
    Path(store.cache_directory, name).write_bytes(b"\xff\x00 nonsense\n" + C1FA.encode())

    assert resolve(store, index, "1", P) == C1FA
