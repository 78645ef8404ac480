"""Measure what a run in a process costs: `with reenact.start():` with nothing in it, and with a metric.

    python benchmarks/bench_in_process.py

Each figure is that of a process of its own, with a store of its own: the first run, which finds out
what the process is, and the median of 500 more. Importing `reenact` is part of the first one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

_SCRIPT = """
import statistics, sys, time
{imports}
times = []
begin = time.perf_counter()
import reenact
for number in range(501):
    with reenact.start(lr=0.1):
        {body}
    now = time.perf_counter()
    times.append((now - begin) * 1e3)
    begin = time.perf_counter()
first, *others = times
print(f"{{first:.1f}} {{statistics.median(others):.3f}} {{min(others):.3f}}")
"""

_CASES = (
    ("empty run", "", "pass"),
    ("one metric", "", "reenact.log(loss=0.5)"),
    ("empty run, scikit-learn imported", "import sklearn.linear_model", "pass"),
)


def main() -> None:
    print("| what | first run | later runs, median (least) |")
    print("| --- | --- | --- |")
    for name, imports, body in _CASES:
        with tempfile.TemporaryDirectory(prefix="reenact-bench-") as directory:
            script = Path(directory, "script.py")
            script.write_text(_SCRIPT.format(imports=imports, body=body), encoding="utf-8")
            env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "REENACT"))}
            env["REENACT_HOME"] = f"{directory}/store"
            done = subprocess.run(
                [sys.executable, str(script)],
                cwd=directory,
                env=env,
                capture_output=True,
                text=True,
                check=True,
            )
            first, median, least = done.stdout.split()
            print(f"| {name} | {first} ms | {median} ms ({least}) |")


if __name__ == "__main__":
    main()
