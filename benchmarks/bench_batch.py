"""Measure batches: 20 trivial trials one by one and two at once, and the planning of 1,000.

    python benchmarks/bench_batch.py [--rounds N] [--guild PROGRAM]

Whole commands are timed, in turn (A B C A B C …), after a warm-up; the table shows the median and the
minimum.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

TRIALS = 20
PLANNED = 1000


def measure(
    commands: dict[str, Sequence[str]], cwd: Path, env: dict[str, str], rounds: int
) -> dict[str, list[float]]:
    """Return the seconds of each command, run in turn."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, words in commands.items():
            begin = time.perf_counter()
            subprocess.run(words, cwd=cwd, env=env, check=True, capture_output=True)
            if turn:
                times[name].append(time.perf_counter() - begin)
    return times


def main() -> None:
    """Measure, and print a line for each command and for each budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--guild", help="the program of Guild AI, to measure beside")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reenact-bench-") as scratch:
        project = Path(scratch, "project")
        project.mkdir()
        Path(scratch, "guild").mkdir()
        (project / "nothing.py").write_text("x = 0\n")
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "REENACT"))}
        env.update(REENACT_HOME=f"{scratch}/store", GUILD_HOME=f"{scratch}/guild", HOME=scratch)
        run = [str(Path(sys.executable).with_name("reenact")), "run", "nothing.py"]
        many = f"x=range[1:{TRIALS}]"
        commands = {
            "one by one": [*run, many, "--quiet"],
            "two at once": [*run, many, "--quiet", "--jobs", "2"],
            "one planned": [*run, "x=[1]", "--print-trials"],
            "many planned": [*run, f"x=range[1:{PLANNED}]", "--print-trials"],
        }
        if options.guild:
            commands["guild"] = [options.guild, "run", "-y", "nothing.py", many]
        times = measure(commands, project, env, options.rounds)
    for name, found in times.items():
        print(f"{name:<14}{statistics.median(found) * 1e3:8.0f} ms  (min {min(found) * 1e3:.0f})")
    median = {name: statistics.median(found) for name, found in times.items()}
    speedup = median["one by one"] / median["two at once"]
    planning = median["many planned"] - median["one planned"]
    print(f"a trial       {median['one by one'] / TRIALS * 1e3:8.0f} ms  (budget 200)")
    print(f"speed-up      {speedup:8.2f} ×   (budget 1.7, on two idle cores)")
    print(f"{PLANNED} planned  {planning * 1e3:8.0f} ms  (budget 500)")


if __name__ == "__main__":
    main()
