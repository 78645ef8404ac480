"""Measure many points: what they take on disk, how fast they are written, read and drawn.

Usage: `python benchmarks/bench_points.py [POINTS]`, 1,000,000 unless told. Works in a temporary
directory. Times are the least of several, in milliseconds; each kind of file is measured in a
process of its own, so that what it loads is counted once, under `first`.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

NAMES = 10
ROUNDS = 7
SCRIPT = """
import sys, time
from reenact import log
begin = time.perf_counter()
for step in range({points}):
    log(loss=1 / (step + 1), step=step)
print(time.perf_counter() - begin)
"""


def make(directory: str, points: int, *, names: int, single: bool) -> None:
    """Write a run's points: values are noise around a curve, of 32 or of 64 bits."""
    from reenact.model.metrics import Point
    from reenact.store.metric_log import MetricWriter

    chance = random.Random(1)
    as_single = struct.Struct("<f")
    writer = MetricWriter(directory)
    for first in range(0, points, 1 << 15):
        batch = []
        for number in range(first, min(points, first + (1 << 15))):
            value = chance.gauss(0, 0.1) + 1 / (1 + number / 1e4)
            if single:
                value = as_single.unpack(as_single.pack(value))[0]
            name = f"m{number % names}"
            batch.append(Point(name, number // names, time.time_ns(), value))
        writer.append(batch, "log:1")
    writer.close()


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Return how long the first call took, and the fastest of some more."""
    times = []
    for _ in range(1 + ROUNDS):
        begin = time.perf_counter()
        action()
        times.append((time.perf_counter() - begin) * 1000)
    return times[0], min(times[1:])


def measure(kind: str, directory: str) -> None:
    """Print one line about the run in a directory, whose points become those of a kind first."""
    if kind == "columns, no NumPy":
        sys.modules["numpy"] = None  # type: ignore[assignment]
    from reenact.model.envelope import envelope
    from reenact.store.metric_log import MetricLog, read_series
    from reenact.store.metric_parts import compact

    began = time.perf_counter()
    if kind != "records":
        names = [known.name for known in MetricLog(directory).names if known is not None]
        compact(directory, names, at_least=1, parquet=kind == "parquet")
    made = (time.perf_counter() - began) * 1000
    files = [name for name in os.listdir(directory) if name != "metrics.names"]
    size = sum(os.path.getsize(f"{directory}/{name}") for name in files)
    series = read_series(directory)["m0"]
    first, every = timed(lambda: read_series(directory))
    _, one = timed(lambda: read_series(directory, "m0"))
    _, shape = timed(lambda: envelope(series.steps, series.values))

    def draw() -> object:
        found = read_series(directory, "m0")["m0"]
        return envelope(found.steps, found.values)

    _, drawn = timed(draw)
    _, summed = timed(lambda: MetricLog(directory).summarize().summaries())
    print(
        f"{kind:<18} {size / 1e6:6.2f} {made:8.0f} {first:6.0f} {every:6.0f} {one:6.0f}"
        f" {shape:9.1f} {drawn:6.0f} {summed:10.0f}",
        flush=True,
    )


def measure_script(points: int) -> None:
    """Print what `reenact run` takes for a script that logs so many points."""
    with tempfile.TemporaryDirectory() as directory:
        script = f"{directory}/many.py"
        with open(script, "w", encoding="utf-8") as file:
            file.write(SCRIPT.format(points=points))
        env = {**os.environ, "REENACT_HOME": f"{directory}/store"}
        before = os.times()
        began = time.perf_counter()
        words = [sys.executable, "-m", "reenact", "run", script]
        done = subprocess.run(
            words, cwd=directory, env=env, check=True, stdout=subprocess.PIPE, text=True
        )
        wall = time.perf_counter() - began
        after = os.times()
        cpu = sum(after[2:4]) - sum(before[2:4])
        logging = float(done.stdout)
        print(f"\n`reenact run` of a script that logs {points:,} points one by one:")
        print(
            f"  in log() {logging:.2f} s ({logging / points * 1e6:.2f} µs a point), all {wall:.2f} s,"
        )
        print(f"  CPU of script and supervisor together {cpu:.2f} s")


def main() -> None:
    if len(sys.argv) == 4:
        measure(sys.argv[2], sys.argv[3])
        return
    points = int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 1_000_000
    for names in (1, NAMES):
        for single in (True, False):
            bits = 32 if single else 64
            print(
                f"\n{points:,} points of {names} metrics, values of {bits} random bits", flush=True
            )
            print(
                f"{'kind':<18} {'MB':>6} {'compact':>8} {'first':>6} {'all':>6} {'one':>6}"
                f" {'envelope':>9} {'drawn':>6} {'summarized':>10}",
                flush=True,
            )
            with tempfile.TemporaryDirectory() as directory:
                make(directory, points, names=names, single=single)
                for kind in ("records", "parquet", "columns", "columns, no NumPy"):
                    with tempfile.TemporaryDirectory() as copy:
                        shutil.copytree(directory, copy, dirs_exist_ok=True)
                        words = [sys.executable, __file__, "measure", kind, copy]
                        subprocess.run(words, check=True)
    measure_script(points)


if __name__ == "__main__":
    main()
