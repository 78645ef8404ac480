"""Make a store of many finished runs that look like real ones, for measurements.

Usage: `python benchmarks/make_store.py DIRECTORY RUNS`
"""

from __future__ import annotations

import os
import random
import sys
from datetime import UTC, datetime, timedelta

from reenact.model.identity import Digest, RunId
from reenact.model.metrics import Point, Summary, summarize
from reenact.model.record import encode_notes, encode_run
from reenact.model.run import (
    Dependency,
    Exit,
    File,
    Notes,
    Operation,
    OperationKind,
    Project,
    Run,
    Source,
    Usage,
    Vcs,
)
from reenact.store.store import RECORD_DIRECTORY, Store

FIRST = datetime(2025, 1, 1, tzinfo=UTC)
OPERATIONS = ("train.py", "evaluate.py", "src/prepare.py")
PROJECT = Project(
    id="git:" + "0123456789abcdef" * 2 + "01234567", name="digits", root="/home/u/digits"
)
OTHER = Project(id="path:/home/u/other", name="other", root="/home/u/other")


def fake_run(number: int, chance: random.Random, earlier: Run | None = None) -> Run:
    """Return a finished run with five flags and five metrics, which read two files and left three.

    Args:
        number: of the run.
        chance: what makes it differ from others.
        earlier: the run whose first file it was given.
    """
    created = FIRST + timedelta(minutes=number, microseconds=chance.randrange(1_000_000))
    started = created + timedelta(milliseconds=120)
    operation = chance.choice(OPERATIONS)
    rate = 10 ** chance.uniform(-5, -1)
    return Run(
        id=RunId(f"{chance.getrandbits(128):032x}"),
        operation=Operation(
            name=operation, kind=OperationKind.SCRIPT, target=operation, flags_kind="argparse"
        ),
        project=PROJECT if chance.random() < 0.9 else OTHER,
        command=("/usr/bin/python3", operation, "--lr", str(rate), "--epochs", "20"),
        created=created,
        reenact="0.1.0",
        flags={
            "lr": rate,
            "batch-size": chance.choice((16, 32, 64, 128)),
            "optimizer": chance.choice(("adam", "sgd", "rmsprop")),
            "amp": chance.random() < 0.5,
            "epochs": 20,
        },
        given=("lr",),
        source=Source(
            tree=Digest(f"{chance.getrandbits(256):064x}"),
            files=12,
            size_bytes=48_000,
            vcs=Vcs(commit=f"{chance.getrandbits(160):040x}", branch="main", is_dirty=False),
        ),
        environment=Digest("a" * 64),
        machine=Digest("b" * 64),
        supervisor_pid=4000 + number % 1000,
        process_group=4001,
        started=started,
        ended=started + timedelta(seconds=chance.uniform(1, 20_000)),
        exit=Exit(code=0 if chance.random() < 0.95 else 1),
        metrics=fake_metrics(chance),
        usage=Usage(cpu_user_s=12.5, cpu_system_s=0.4, max_memory_bytes=812_000_000, samples=20),
        inputs=fake_inputs(earlier),
        outputs=tuple(
            File(path=path, size_bytes=48_000, digest=Digest(f"{chance.getrandbits(256):064x}"))
            for path in ("model.pt", "figures/loss.png", "predictions.csv")
        ),
        dependencies=()
        if earlier is None
        else (
            Dependency(
                resource="model",
                kind="operation",
                uri="train",
                run=earlier.id,
                why="the latest completed run",
                paths=("model.pt",),
            ),
        ),
    )


def fake_inputs(earlier: Run | None) -> tuple[File, ...]:
    """Return the data that all runs have read, and a file of an earlier run."""
    data = File(path="data/train.csv", size_bytes=9_000_000, digest=Digest("c" * 64), mtime_ns=1)
    if earlier is None:
        return (data,)
    model = earlier.outputs[0]
    return (
        data,
        File(
            path="model.pt",
            size_bytes=model.size_bytes,
            digest=model.digest,
            mtime_ns=1,
            origin=f"run {earlier.id[:8]}",
        ),
    )


def fake_metrics(chance: random.Random) -> dict[str, Summary]:
    """Return what five series of a few points come to; one in fifty losses diverged."""
    points = []
    for name in ("loss", "acc", "val_loss", "val_acc", "time"):
        for step in range(3):
            value = chance.random()
            if name == "loss" and step == 2 and chance.random() < 0.02:
                value = float("nan")
            points.append(Point(name, step, step, value))
    return summarize(points)


def make_store(root: str, count: int, *, seed: int = 1) -> Store:
    """Make a store of `count` runs; one in twenty has notes."""
    chance = random.Random(seed)
    store = Store(root)
    store.create()
    earlier = None
    for number in range(count):
        run = fake_run(number, chance, earlier)
        if not run.dependencies or chance.random() < 0.3:
            earlier = None if run.dependencies else run
        directory = f"{store.runs_directory}/{run.id}/{RECORD_DIRECTORY}"
        os.makedirs(directory)
        with open(f"{directory}/run.json", "wb") as file:
            file.write(encode_run(run))
        if chance.random() < 0.05:
            notes = Notes(label=f"try {number}", tags=("best",), marked=chance.random() < 0.2)
            with open(f"{directory}/notes.json", "wb") as file:
                file.write(encode_notes(notes))
    return store


if __name__ == "__main__":
    make_store(sys.argv[1], int(sys.argv[2]))
