"""What fails inside the probe is kept from the script, and is in the record."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from fidelity import World

SCRIPT = """
    import os, resource, shutil

    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, most[1]))
    for _ in range(3):
        # There is no room for a private copy of it.
        with open("large.bin", "r+b") as file:
            print(len(file.read()))
    for path in ("a\\0b", "missing/file"):
        try:
            open(path, "w")
        except (ValueError, OSError) as error:
            print(error)
    os.mkdir("gone")
    os.chdir("gone")
    shutil.rmtree(os.getcwd())
    try:
        open("relative", "w")
    except OSError as error:
        print(error)
    print("done")
"""


def test_a_file_that_could_not_be_protected_is_said_once(tmp_path: Path) -> None:
    files = {"train.py": SCRIPT, "large.bin": b"x" * 300_000, ".gitignore": "*.bin\n"}
    world = World(tmp_path, files)

    done = subprocess.run(
        world.words(["train.py"]),
        cwd=world.project,
        env=world.env,
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stdout[-5:]) == (0, b"done\n"), done.stderr
    record = json.loads((world.run_directory / ".reenact" / "run.json").read_bytes())
    said = [w["message"] for w in record["warnings"] if w["code"] == "capture"]
    assert len(said) == 1
    assert said[0].startswith("audit event open was not captured: OSError: ")
