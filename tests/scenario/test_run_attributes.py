"""Facts that a project file notes with each run, or finds in what it prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import Desk

FILE = r"""
train:
  main: script
  flags-dest: none
  flags: {kind: gpu}
  run-attrs:
    dataset: iris
    sizes: {train: 100, test: 50}
    api_key: hidden
  output-scalars: no
  output-attrs:
    device: '${kind}: (.+)'
    epochs: 'epochs (\value)'
    token: 'token (.*)'
plain:
  main: script
pairs:
  main: script
  output-attrs: '^(\key) (\value)$'
"""
SCRIPT = """
print("gpu: A100")
print("\\x1b[1mgpu: H200 \\x1b[0m")
print("epochs 3")
print("token abc")
"""


KILL = """
import os, sys, time
sys.stdout.flush()
output = os.path.join(os.environ["REENACT_RECORD_DIR"], "output")
until = time.monotonic() + 60
def kept():
    return os.path.exists(output) and b"token" in open(output, "rb").read()
while not kept() and time.monotonic() < until:
    time.sleep(0.01)
os.kill(os.getppid(), 9)
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    desk.write("reenact.yml", FILE)
    desk.write("script.py", SCRIPT)
    return desk


def test_they_are_params_of_the_run(desk: Desk) -> None:
    desk.ok("run", "train")

    record = desk.record(desk.ids()[0])
    hidden = record["params"].pop("api_key")
    assert hidden == record["params"].pop("token") != "abc"
    assert record["params"] == {
        "dataset": "iris", "sizes": {"train": 100, "test": 50}, "device": "H200", "epochs": 3
    }  # fmt: skip
    assert "metrics" not in record


def test_runs_are_found_and_compared_by_them(desk: Desk) -> None:
    desk.ok("run", "train")
    desk.ok("run", "train", "kind=cpu")
    desk.ok("run", "plain")

    found = desk.json("runs", "--filter", "dataset = iris and device = H200 and epochs > 2")

    assert len(found["runs"]) == 1
    assert "H200" in desk.ok("compare", "--columns", "device, param:dataset")


def test_names_may_be_found_too(desk: Desk) -> None:
    desk.ok("run", "pairs")

    assert desk.record(desk.ids()[0])["params"] == {"epochs": 3}


def test_what_was_printed_before_a_kill_is_found_in_the_end(desk: Desk) -> None:
    desk.write("script.py", SCRIPT + KILL)

    desk.reenact("run", "train")

    found = desk.json("show", "@latest")
    assert found["status"] == "killed"
    assert found["run"]["params"]["device"] == "H200"
    assert found["run"]["params"]["dataset"] == "iris"
