"""Measure what the probe adds: to the start of a Python process, to a fit of scikit-learn and of keras.

    python benchmarks/bench_probe.py --python python3.8 --python python3.13
    python benchmarks/bench_probe.py --fits .venv-frameworks/bin/python

Starts are those of processes within a real run, in turn with the run's environment and without it.
Fits are timed inside a script, in turn under `reenact run` and under plain Python. What counts is the
time of the clock; beside it stands the processor's, which says less of waiting and more of work.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

_STARTS = """
import os, statistics, sys, time
pairs = int(os.environ["PAIRS"])
ours = ("REENACT", "PYTHONPATH", "LD_PRELOAD")
plain = {k: v for k, v in os.environ.items() if not k.startswith(ours)}

def start(python, env):
    begin = time.perf_counter()
    pid = os.posix_spawn(python, [python, "-c", "pass"], env)
    _, status, usage = os.wait4(pid, 0)
    assert status == 0, status
    return time.perf_counter() - begin, usage.ru_utime + usage.ru_stime

for python in os.environ["PYTHONS"].split(os.pathsep):
    clock, work, alone = [], [], []
    for _ in range(pairs):
        without, within = start(python, plain), start(python, dict(os.environ))
        clock.append((within[0] - without[0]) * 1e3)
        work.append((within[1] - without[1]) * 1e3)
        alone.append(without[0] * 1e3)
    figures = [statistics.median(found) for found in (clock, work, alone)]
    print("start of", python, *("%.2f" % figure for figure in figures), sep="\\t", flush=True)
"""

_SKLEARN = """
import time, warnings
warnings.simplefilter("ignore")
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
X, y = load_diabetes(return_X_y=True)
same = Ridge()
cases = {
    "Ridge, the same again": lambda i: same,
    "Ridge, other params": lambda i: Ridge(alpha=1.0 + i),
    "pipeline": lambda i: make_pipeline(StandardScaler(), Ridge(alpha=1.0 + i)),
}
for name, make in cases.items():
    times = []
    for i in range(45):
        model = make(i)
        begin = time.perf_counter()
        model.fit(X, y)
        times.append((time.perf_counter() - begin) * 1e3)
    print(name, sorted(times)[len(times) // 2], sep="\\t")
"""

_KERAS = """
import time
import keras, numpy as np
keras.utils.set_random_seed(0)
x = np.random.rand(3000, 28, 28, 1).astype("float32")
y = np.random.randint(0, 10, 3000)
layers = keras.layers
def make():
    model = keras.Sequential([keras.Input((28, 28, 1)), layers.Conv2D(8, 3, activation="relu"),
                              layers.MaxPooling2D(), layers.Flatten(), layers.Dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
make().fit(x[:64], y[:64], epochs=1, verbose=0)
for _ in range(2):
    model = make()
    begin = time.perf_counter()
    model.fit(x, y, epochs=5, verbose=0, validation_split=0.1)
    print("keras, 5 epochs", (time.perf_counter() - begin) * 1e3, sep="\\t")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="append", default=[], help="an interpreter to start")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--fits", help="an interpreter that has scikit-learn and keras")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reenact-bench-") as directory:
        if arguments.python:
            env = {
                "PAIRS": str(arguments.pairs),
                "PYTHONS": os.pathsep.join(map(os.path.abspath, arguments.python)),
            }
            print("what\tadded, ms\tprocessor, ms\talone, ms")
            print(_run(_STARTS, directory, sys.executable, env, recorded=True), end="")
        if arguments.fits:
            _time_fits(directory, os.path.abspath(arguments.fits), arguments.rounds)


def _time_fits(directory: str, python: str, rounds: int) -> None:
    env = {"OMP_NUM_THREADS": "1", "KERAS_BACKEND": "torch"}
    times: dict[str, tuple[list[float], list[float]]] = {}
    for _ in range(rounds):
        for script in (_SKLEARN, _KERAS):
            for recorded in (False, True):
                out = _run(script, directory, python, env, recorded=recorded)
                for line in out.splitlines():
                    name, _, text = line.rpartition("\t")
                    times.setdefault(name, ([], []))[recorded].append(float(text))
    print("what\tplain, ms\tadded, ms\tadded to the least, ms")
    for name, (plain, recorded_times) in times.items():
        median = statistics.median(recorded_times) - statistics.median(plain)
        least = min(recorded_times) - min(plain)
        print(f"{name}\t{statistics.median(plain):.2f}\t{median:+.2f}\t{least:+.2f}")


def _run(script: str, directory: str, python: str, extra: dict[str, str], *, recorded: bool) -> str:
    Path(directory, "script.py").write_text(script, encoding="utf-8")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "REENACT"))}
    env |= {"REENACT_HOME": f"{directory}/store", **extra}
    words = [python, "script.py"]
    if recorded:
        words = [sys.executable, "-m", "reenact", "run", "--python", python, "script.py"]
    done = subprocess.run(
        words, cwd=directory, env=env, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


if __name__ == "__main__":
    main()
