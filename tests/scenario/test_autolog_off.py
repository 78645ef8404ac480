"""Capturing of frameworks was switched off or limited: the record knows it, and `doctor` says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fidelity import World

CASES = {
    "off": "of no framework: `REENACT_AUTOLOG=off` was set",
    "sklearn, keras": "only of sklearn, keras: `REENACT_AUTOLOG=sklearn, keras` was set",
    "": None,
}


@pytest.mark.parametrize("said", CASES)
def test_what_was_not_to_be_captured_is_said(tmp_path: Path, said: str) -> None:
    world = World(tmp_path, {"train.py": "print('done')"}, env={"REENACT_AUTOLOG": said})

    words = world.words(["train.py"])
    subprocess.run(words, cwd=world.project, env=world.env, check=True, capture_output=True)

    record = json.loads((world.run_directory / ".reenact" / "run.json").read_bytes())
    assert record.get("autolog", "") == said
    _, _, found = world.reenact("doctor").partition("autologging")
    assert found.partition("\n")[0].strip() == (CASES[said] or "")


def test_it_is_said_of_a_session_too(tmp_path: Path) -> None:
    script = "import reenact\nwith reenact.start():\n    pass\n"
    world = World(tmp_path, {"own.py": script}, env={"REENACT_AUTOLOG": "off"})

    subprocess.run([sys.executable, "own.py"], cwd=world.project, env=world.env, check=True)

    assert CASES["off"] in world.reenact("doctor")
