"""Whoever reads a run's output goes away (`| head -1`): the script ends as under plain `python`."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from commands import PATIENCE_S, Desk
from fidelity import World, interpreters

SCRIPTS = {
    # More than a block: Python feels it in the middle, and that is all that its end says.
    "prints much": "import itertools\nfor i in itertools.count(): print('line', i)",
    # Less than a block: plain Python writes it at its end, when the reader is still there.
    "prints little and slowly": """
        import time
        for i in range(5):
            print("line", i)
            time.sleep(0.2)
        open("done.txt", "w").close()
    """,
    "flushes": """
        import time
        for i in range(1000):
            print("line", i, flush=True)
            time.sleep(0.1)
    """,
    "catches it": """
        import itertools
        try:
            for i in itertools.count():
                print("line", i)
        except BrokenPipeError:
            open("caught.txt", "w").close()
    """,
    "catches it and leaves": """
        import itertools, os, sys
        try:
            for i in itertools.count():
                print("line", i)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(7)
    """,
    "has a status of its own": """
        import sys, time
        print("one")
        print("two")
        time.sleep(0.3)
        sys.exit(3)
    """,
    "raises": """
        print("one")
        print("two")
        raise ValueError("so it ends")
    """,
    "writes bytes": """
        import itertools, sys
        for i in itertools.count():
            sys.stdout.buffer.write(b"line %d\\n" % i)
    """,
}


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("python", sorted({interpreters()[0], interpreters()[-1]}))
def test_a_script_whose_reader_leaves_ends_as_under_python(
    tmp_path: Path, name: str, python: str
) -> None:
    world = World(tmp_path, {"train.py": SCRIPTS[name]})

    plain = _end_after_one_line(world, [python, "train.py"])
    made = sorted(os.listdir(world.project))
    recorded = _end_after_one_line(world, world.words(["train.py"], python=python))

    assert recorded == plain
    outputs = sorted(n for n in os.listdir(world.run_directory) if n.endswith(".txt"))
    assert outputs == [name for name in made if name.endswith(".txt")]


TRIAL = """
import sys, time
x = 0
print("x is", x, flush=True)
if x == 1:
    time.sleep(0.3)
# More than a pipe holds: of a reader that is slow before it leaves, too.
for i in range(20000):
    print("more", i)
print(f"loss: {x / 10}")
if x == 3:
    sys.exit(4)
"""
PIPELINE = """
all: {steps: [train x=1, train x=2, train x=4]}
train: {main: train}
"""


@pytest.mark.parametrize("reader", ["head -1", "sleep 1", "true"])
@pytest.mark.parametrize("streams", ["", "2>&1"])
def test_trials_do_not_suffer_from_a_reader_that_leaves(
    tmp_path: Path, reader: str, streams: str
) -> None:
    desk = Desk(tmp_path)
    desk.write("train.py", TRIAL)

    status = _in_front_of(desk, "run train.py x=range[1:4]", streams, reader)

    batch = next(run for run in desk.json("runs", "--all")["runs"] if run["batch"])
    trials = desk.json("show", batch["id"])["trials"]
    assert [trial["status"] for trial in trials] == [
        "completed",
        "completed",
        "failed",
        "completed",
    ]
    records = [desk.record(trial["id"]) for trial in trials]
    assert [record["exit"]["code"] for record in records] == [0, 0, 4, 0]
    assert [record["metrics"]["loss"]["last"] for record in records] == [0.1, 0.2, 0.3, 0.4]
    assert [len(desk.ok("log", trial["id"]).splitlines()) for trial in trials] == [20002] * 4
    assert status == desk.record(batch["id"])["exit"]["code"] == 1


def test_steps_do_not_suffer_from_a_reader_that_leaves(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("train.py", TRIAL)
    desk.write("reenact.yml", PIPELINE)

    assert _in_front_of(desk, "run all", "2>&1", "head -1") == 0

    steps = [run for run in map(desk.record, desk.ids()) if run.get("parent")]
    assert sorted(run["metrics"]["loss"]["last"] for run in steps) == [0.1, 0.2, 0.4]


def _in_front_of(desk: Desk, words: str, streams: str, reader: str) -> int:
    """Return the status of a command before a pipe whose other end reads as much as it likes."""
    line = (
        f"{{ {shlex.quote(sys.executable)} -m reenact {words} {streams}; echo $? >&9; }} | {reader}"
    )
    path = desk.project.parent / "status"
    subprocess.run(
        ["bash", "-c", f"exec 9>{shlex.quote(str(path))}; {line}"],
        cwd=desk.project,
        env={**os.environ, **desk.env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=PATIENCE_S,
        check=False,
    )
    return int(path.read_text())


def test_standard_output_looks_as_it_does_under_python(tmp_path: Path) -> None:
    script = """
        import io, sys
        out = sys.stdout
        print(repr(out), out is sys.__stdout__, out.encoding, out.errors, out.newlines, out.mode)
        print(repr(out.buffer), repr(out.buffer.raw), out.write_through, out.fileno())
        print(type(out).__mro__, isinstance(out.buffer, io.BufferedWriter), out.buffer.name)
        out.flush()
        out.buffer.write(b"bytes\\n")
        out.buffer.flush()
        out.write("no end")
        out.flush()
        rest = io.TextIOWrapper(out.detach(), encoding="utf-8")
        print("\\N{SNOWMAN}", file=rest, flush=True)
        sys.stdout = rest
        print("last")
    """
    world = World(tmp_path, {"train.py": script})
    plain, recorded = [
        subprocess.run(words, cwd=world.project, env=world.env, capture_output=True, check=False)
        for words in ([sys.executable, "train.py"], world.words(["train.py"]))
    ]

    assert (plain.returncode, plain.stderr) == (0, b"")
    assert (recorded.returncode, recorded.stdout) == (0, plain.stdout)


def _end_after_one_line(world: World, words: list[str]) -> tuple[int, bytes]:
    """Read one line of what a command prints and go away; return its status and last words."""
    child = subprocess.Popen(
        words,
        cwd=world.project,
        env=world.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    # At once all that has come, as `head` does: of Python that may be a whole block.
    assert os.read(child.stdout.fileno(), 1 << 16).startswith((b"line 0\n", b"one\n"))
    child.stdout.close()
    _, errors = child.communicate(timeout=PATIENCE_S)
    for directory in (world.run_directory, world.project):
        errors = errors.replace(os.fsencode(directory), b"<here>")
    return child.returncode, errors
