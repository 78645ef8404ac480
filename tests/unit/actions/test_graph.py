"""The lineage of runs, however many there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reenact.model.identity import RunId
from reenact.model.run import Dependency, Exit, Operation, OperationKind, Project, Run
from reenact.store.store import RECORD_DIRECTORY, Store

START = datetime(2026, 11, 1, tzinfo=UTC)
CHAIN = 1200
"""More than Python calls into each other."""


def run_id(number: int) -> RunId:
    return RunId(f"{number:032x}")


def put(store: Store, number: int, *given: int) -> None:
    """Make a run that was given files of others."""
    started = START + timedelta(minutes=number)
    run = Run(
        id=run_id(number),
        operation=Operation(name="step", kind=OperationKind.COMMAND, target="step"),
        project=Project(id="path:/p", name="p", root="/p"),
        command=("step",),
        created=started,
        started=started,
        ended=started + timedelta(seconds=1),
        exit=Exit(code=0),
        dependencies=tuple(
            Dependency(resource="before", kind="operation", uri="step", run=run_id(one))
            for one in given
        ),
    )
    os.makedirs(f"{store.directory(run.id)}/{RECORD_DIRECTORY}")
    store.write_run(run, sync=False)


def graph(store: Store, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "reenact", "graph", *words],
        env={**os.environ, "REENACT_HOME": store.root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "store"))
    store.create()
    return store


def test_a_long_chain_of_runs_is_drawn_and_printed_as_far_as_that_is_of_use(store: Store) -> None:
    put(store, 0)
    for number in range(1, CHAIN):
        put(store, number, number - 1)

    lines = graph(store, run_id(CHAIN // 2)).splitlines()
    found: dict[str, Any] = json.loads(graph(store, run_id(CHAIN // 2), "--json"))

    assert len(found["nodes"]) == CHAIN
    assert len(found["edges"]) == CHAIN - 1
    middle = next(at for at, line in enumerate(lines) if line.startswith(run_id(CHAIN // 2)[:8]))
    assert lines[0].strip() == lines[-1].strip() == "…"
    assert middle == len(lines) - 1 - middle


def test_a_run_that_was_given_files_of_several_is_shown_once(store: Store) -> None:
    for number, given in ((1, ()), (2, (1,)), (3, (1,)), (4, (2, 3))):
        put(store, number, *given)

    found: dict[str, Any] = json.loads(graph(store, run_id(1), "--json"))

    edges = {(int(e["from"], 16), int(e["to"], 16)) for e in found["edges"]}
    assert edges == {(1, 2), (1, 3), (2, 4), (3, 4)}
    assert len(found["nodes"]) == 4
