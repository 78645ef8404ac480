"""Params: what a script or its frameworks say that they used, and where users meet it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import reenact
from commands import Desk

SCRIPT = """
import reenact

alpha = 0.5
reenact.log_params({"Ridge.alpha": alpha, "Ridge.solver": None}, layers=[64, 32])
reenact.log_params(limit=float("inf"), api_key="abcdefgh12345678", alpha="a param of that name")
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.write("train.py", SCRIPT)
    return desk


def test_the_last_value_of_a_param_is_in_the_record(desk: Desk) -> None:
    run_id = desk.run("train.py", "alpha=0.25")

    shown = desk.json("show", run_id)

    assert shown["params"] == {
        "Ridge.alpha": 0.25,
        "Ridge.solver": None,
        "layers": [64, 32],
        "limit": {"$float": "Infinity"},
        "api_key": "<redacted>",
        "alpha": "a param of that name",
    }
    lines = [line.split() for line in desk.ok("show", run_id).splitlines()]
    assert ["Ridge.alpha", "0.25"] in lines
    assert ["Ridge.solver", "null"] in lines
    assert not any(b"abcdefgh12345678" in path.read_bytes() for path in _records(desk))


def test_runs_are_found_sorted_and_shown_by_params(desk: Desk) -> None:
    low = desk.run("train.py", "alpha=0.25")
    high = desk.run("train.py", "alpha=4")

    found = desk.json("runs", "--filter", "Ridge.alpha > 1 and param:limit = inf")["runs"]
    in_order = desk.json("runs", "--sort", "param:Ridge.alpha")["runs"]
    table = desk.ok("compare", "--columns", "Ridge.alpha, param:layers").splitlines()

    assert [run["id"] for run in found] == [high]
    assert [run["id"] for run in in_order] == [low, high]
    assert table[0].split("\t")[-2:] == ["Ridge.alpha", "layers"]
    assert [line.split("\t")[-2] for line in table[1:]] == ["4.0", "0.25"]
    # The flag comes before the param of its name.
    assert desk.json("runs", "--filter", "alpha = 4")["runs"][0]["id"] == high


def test_diff_names_params_that_differ(desk: Desk) -> None:
    desk.run("train.py", "alpha=0.25")
    desk.run("train.py", "alpha=4")

    done = desk.reenact("diff", "--params")

    assert done.out.splitlines() == ["params\tchanged\tRidge.alpha\t0.25\t4.0"]
    # Nobody knows whether the key, which is redacted, was the same.
    assert "api_key" in done.err


def test_the_api_gives_params_as_values(desk: Desk) -> None:
    run_id = desk.run("train.py")

    params = reenact.get(run_id, store=str(desk.store)).params

    assert params["Ridge.alpha"] == 0.5
    assert params["limit"] == math.inf


def _records(desk: Desk) -> list[Path]:
    return [path for path in desk.store.rglob("*") if path.is_file() and "blobs" not in path.parts]
