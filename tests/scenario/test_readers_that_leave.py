"""Whoever reads a run's output goes away (`| head -1`): the script ends as under plain `python`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands import PATIENCE_S
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
