"""Call `reenact` as a user does: a process of its own, in a directory, with an environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

PATIENCE_S = 180.0
"""Nothing here takes that long, on a machine with much else to do either."""


class Done(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> list[str]:
        """The lines of standard error that are not empty."""
        return [line for line in self.err.splitlines() if line]


class Desk:
    """A project and a store, and somebody who works with them.

    Attributes:
        project: an empty directory, where commands are called.
        store: where the store is, or will be.
        env: variables that commands get beside those of the test.
    """

    def __init__(self, root: Path) -> None:
        self.project = root / "project"
        self.store = root / "store"
        self.project.mkdir()
        self.env: dict[str, str] = {"REENACT_HOME": str(self.store)}

    def write(self, name: str, content: str | bytes = "") -> Path:
        """Write one of the project's files."""
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def start(self, *words: str | bytes, **options: Any) -> subprocess.Popen[bytes]:
        """Start `reenact WORDS`; options are those of Popen."""
        command = [os.fsencode(sys.executable), b"-m", b"reenact", *map(os.fsencode, words)]
        env = {**os.environ, **self.env, **options.pop("env", {})}
        options = {"cwd": self.project, "stdin": subprocess.DEVNULL, **options}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=env, **{"stdout": pipe, "stderr": pipe, **options})

    def reenact(self, *words: str | bytes, **options: Any) -> Done:
        """Call `reenact WORDS` and wait for its end."""
        with self.start(*words, **options) as process:
            try:
                out, err = process.communicate(timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                end(process)
                raise
        return Done(process.returncode, _text(out), _text(err))

    def ok(self, *words: str | bytes, **options: Any) -> str:
        """Call `reenact WORDS`, which must succeed; return what it printed."""
        done = self.reenact(*words, **options)
        assert done.status == 0, done
        return done.out

    def run(self, *words: str | bytes, **options: Any) -> str:
        """Call `reenact run WORDS`, whatever comes of it; return the run's id."""
        before = set(self.ids())
        done = self.reenact("run", *words, **options)
        new = set(self.ids()) - before
        assert len(new) == 1, done
        return new.pop()

    def json(self, *words: str | bytes) -> Any:
        """Return what a command prints with `--json`."""
        done = self.reenact(*words, "--json")
        assert done.out, done
        return json.loads(done.out)

    def ids(self) -> list[str]:
        """Return the ids of all runs in the store."""
        runs = self.store / "runs"
        return sorted(p.name for p in runs.iterdir() if len(p.name) == 32) if runs.exists() else []

    def record(self, run_id: str) -> dict[str, Any]:
        """Return a run's record as it is on disk."""
        content = self.file(run_id, "run.json").read_bytes()
        record: dict[str, Any] = json.loads(content)
        return record

    def file(self, run_id: str, name: str) -> Path:
        """Return one of the files in a run's `.reenact/`."""
        return self.store / "runs" / run_id / ".reenact" / name

    def status(self, run_id: str) -> str:
        """Return what has become of a run, as `runs` says it."""
        found = self.json("runs", "--all", "--limit", "0")["runs"]
        return next(run["status"] for run in found if run["id"] == run_id)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a command that takes too long, and what it runs, which would hold up all other tests."""
    process.terminate()  # A run's supervisor stops what it runs.
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()


def wait_until(
    condition: Callable[[], object], *, what: str, patience_s: float = PATIENCE_S
) -> None:
    """Wait for a condition; fail when it does not come true."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.005)


def tree_of(directory: Path) -> Mapping[str, bytes | str]:
    """Return content or target of everything below a directory but for the record."""
    found: dict[str, bytes | str] = {}
    for at, names, files in os.walk(directory):
        names[:] = [name for name in names if name != ".reenact"]
        for name in [*files, *(n for n in names if os.path.islink(os.path.join(at, n)))]:
            path = os.path.join(at, name)
            relative = os.path.relpath(path, directory)
            is_link = os.path.islink(path)
            found[relative] = f"-> {os.readlink(path)}" if is_link else Path(path).read_bytes()
    return found


def _text(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "surrogateescape")
