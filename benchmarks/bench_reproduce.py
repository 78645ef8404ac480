"""Measure what a reproduction adds to a run, how fast data is verified, how long an environment takes.

    python benchmarks/bench_reproduce.py [--rounds N] [--packages FILE]

Whole commands are timed, in turn (A B A B …), after a warm-up; the table shows the median and the
minimum. Data is verified from the page cache, its digests unknown. With `--packages`, a file of
requirements, an environment of these is made with uv, recorded, and made again from uv's cache.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DATA_BYTES = 2_000_000_000


def measure_added(scratch: Path, env: dict[str, str], rounds: int) -> None:
    """Time `run` and `reproduce` of a script that does nothing, in turn."""
    project = scratch / "project"
    project.mkdir()
    (project / "nothing.py").write_text("print('x: 1')\n")
    reenact = str(Path(sys.executable).with_name("reenact"))
    commands = {
        "run": [reenact, "run", "nothing.py", "--quiet"],
        "reproduce": [reenact, "reproduce", "first", "--env", "current"],
    }
    subprocess.run([*commands["run"], "--label", "first"], cwd=project, env=env, check=True)
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, words in commands.items():
            begin = time.perf_counter()
            subprocess.run(words, cwd=project, env=env, check=True, capture_output=True)
            if turn:
                times[name].append(time.perf_counter() - begin)
    for name, taken in times.items():
        print(
            f"{name:12} median {statistics.median(taken) * 1000:7.1f} ms, least {min(taken) * 1000:7.1f} ms"
        )
    added = statistics.median(times["reproduce"]) - statistics.median(times["run"])
    print(f"{'added':12} {added * 1000:.1f} ms (<= 300)")


def measure_data(scratch: Path) -> None:
    """Time the verification of one large file that is in the page cache."""
    from reenact.store.digests import Digests

    path = scratch / "large.bin"
    with path.open("wb") as file:
        block = os.urandom(1 << 20)
        for _ in range(DATA_BYTES >> 20):
            file.write(block)
    best = 0.0
    for _ in range(3):
        begin = time.perf_counter()
        with Digests(str(scratch / "none.db")) as digests:
            digests.digest(str(path), path.stat())
        best = max(best, path.stat().st_size / (time.perf_counter() - begin))
        (scratch / "none.db").unlink(missing_ok=True)
    print(f"{'data':12} {best / 1e9:.2f} GB/s (>= 1.5)")
    path.unlink()


def measure_environment(scratch: Path, env: dict[str, str], packages: str) -> None:
    """Time making an environment again, whose packages uv has in its cache."""
    import uv

    program = uv.find_uv_bin()
    python = scratch / "env" / "bin" / "python"
    subprocess.run([program, "venv", "-q", str(scratch / "env")], check=True)
    subprocess.run(
        [program, "pip", "install", "-q", "--python", str(python), "-r", packages], check=True
    )
    project = scratch / "again"
    project.mkdir()
    (project / "use.py").write_text("print('x: 1')\n")
    reenact = str(Path(sys.executable).with_name("reenact"))
    words = [reenact, "run", "--python", str(python), "use.py", "--label", "there", "--quiet"]
    subprocess.run(words, cwd=project, env=env, check=True)
    again = [reenact, "reproduce", "there", "--env", "recorded"]
    for what in ("first time", "warm", "cached"):
        if what == "warm":
            shutil.rmtree(Path(env["REENACT_HOME"], "cache", "environments"))
        begin = time.perf_counter()
        subprocess.run(again, cwd=project, env=env, check=True, capture_output=True)
        print(f"{'environment':12} {what}: {time.perf_counter() - begin:.2f} s")


def main() -> None:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--packages", help="requirements of an environment to make again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reenact-bench-") as directory:
        scratch = Path(directory)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "REENACT"))}
        env.update(REENACT_HOME=f"{scratch}/store")
        measure_added(scratch, env, options.rounds)
        measure_data(scratch)
        if options.packages:
            measure_environment(scratch, env, options.packages)


if __name__ == "__main__":
    main()
