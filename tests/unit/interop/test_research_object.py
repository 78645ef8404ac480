"""Runs described for other tools: the graph is whole, whatever a run is like."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest

from reenact.interop.research_object import Described, describe
from reenact.model.identity import Digest, RunId
from reenact.model.metrics import Summary
from reenact.model.run import Exit, File, Operation, OperationKind, Project, Run

RUN = RunId("a" * 32)
SCRIPT, DATA = Digest("1" * 64), Digest("2" * 64)
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def record(**fields: Any) -> Run:
    described: dict[str, Any] = {
        "id": RUN,
        "operation": Operation(name="train.py", kind=OperationKind.SCRIPT, target="train.py"),
        "project": Project(id="path:/p", name="p", root="/p"),
        "command": ("python", "train.py"),
        "created": AT,
        "started": AT,
        "ended": AT,
        "exit": Exit(code=0),
    }
    return Run(**{**described, **fields})


def entities(run: Run, files: dict[str, int], source: dict[str, Digest]) -> dict[str, Any]:
    """Return the graph by its ids, once it is known that nothing in it leads nowhere."""
    data = describe({RUN: Described(run, source)}, [RUN], files, version="1.2")
    assert data == describe({RUN: Described(run, source)}, [RUN], files, version="1.2")
    graph = json.loads(data)["@graph"]
    found = {entity["@id"]: entity for entity in graph}
    assert len(found) == len(graph)
    for entity in graph:
        for value in entity.values():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, dict):
                    assert one["@id"] in found or one["@id"] == "https://w3id.org/ro/crate/1.1"
    return found


def test_files_of_the_crate_are_its_parts() -> None:
    run = record(
        flags={"lr": 0.1},
        inputs=(File(path="x.csv", size_bytes=3, digest=DATA), File(path="/far.bin", size_bytes=9)),
        outputs=(File(path="out/a b.txt", size_bytes=1, digest=DATA), File(path="gone.txt")),
        metrics={"loss": Summary(count=1, first=0.5, last=0.5, minimum=0.5, maximum=0.5, mean=0.5,
                                 first_step=0, last_step=0, minimum_step=0, maximum_step=0)},
    )  # fmt: skip
    blobs = [f"blobs/{digest[:2]}/{digest[2:]}" for digest in (SCRIPT, DATA)]
    files = {blobs[0]: 7, blobs[1]: 3, f"runs/{RUN}/out/a b.txt": 1}
    found = entities(run, files, {"train.py": SCRIPT})
    parts = {one["@id"] for one in found["./"]["hasPart"]}
    assert parts == {*blobs, f"runs/{RUN}/out/a%20b.txt"}
    action = found[f"#run-{RUN}"]
    assert action["instrument"]["@id"] == blobs[0]
    assert action["endTime"] == "2026-01-02T03:04:05Z"
    assert "#input-" in str(action["object"])
    assert "gone.txt" not in str(found)


@pytest.mark.parametrize(
    ("value", "told"),
    [(math.nan, "NaN"), (1e-4, 1e-4), (True, True), (None, "null"), ([1, math.inf], '[1,{"$float":"Infinity"}]')],
)  # fmt: skip
def test_every_value_of_a_flag_can_be_told(value: Any, told: Any) -> None:
    found = entities(record(flags={"a b": value}, given=("a b",)), {}, {})
    assert found[f"#flag-{RUN}-a%20b"]["value"] == told


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"exit": Exit(code=3)}, "exit status 3"),
        ({"exit": Exit(signal=9)}, "SIGKILL"),
        ({"exit": None}, "it was killed"),
    ],
)
def test_runs_that_failed_say_why(fields: dict[str, Any], error: str) -> None:
    action = entities(record(**fields), {}, {})[f"#run-{RUN}"]
    assert action["actionStatus"] == "http://schema.org/FailedActionStatus"
    assert action["error"] == error


def test_the_licence_of_the_source_is_that_of_the_crate() -> None:
    name = f"blobs/{SCRIPT[:2]}/{SCRIPT[2:]}"
    found = entities(record(), {name: 3}, {"LICENSE.md": SCRIPT})
    assert found["./"]["license"] == {"@id": name}
