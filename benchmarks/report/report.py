"""Do the experiments of the comparison report again: Reenact, MLflow, W&B offline and Guild AI.

    python benchmarks/report/report.py [--python DIR/bin/python] [--rounds N] [--only ridge,svm,cnn]

Three scripts that none of the tools was made for: ridge regression on the diabetes data, a support
vector machine on iris, a small convolutional network on images of 28 x 28. For MLflow and W&B the
lines that their documentation asks for were added; the other two run the script as it is. All
figures are measured and all scores computed from what can be read back of a run; nothing here
knows what a tool is supposed to record.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

sys.path.insert(0, str(Path(__file__).parent))
from tools import HERE, Facts, Tool, environment, tools

SCRIPTS = ("ridge", "svm", "cnn")
_PLOTS = {"ridge": "predicted.png", "svm": "confusion.png", "cnn": "loss.png"}
_DATA = {"ridge": "diabetes.csv", "svm": "iris.csv", "cnn": "images.npz"}
_CHOSEN = {
    "ridge": {"alpha": 0.37},
    "svm": {"C": 0.73},
    "cnn": {"lr": 0.0021, "epochs": 3, "batch_size": 64},
}
_DEFAULTS = {
    "ridge": {"fit_intercept": True, "solver": "auto", "tol": 0.0001},
    "svm": {"kernel": "rbf", "gamma": "scale", "degree": 3},
    "cnn": {"beta_1": 0.9, "beta_2": 0.999, "amsgrad": False},
}
_CLASSES = {"ridge": "Ridge", "svm": "SVC", "cnn": "Adam"}
_EPOCHS = 3
_MAKE_DATA = """
import numpy as np
from sklearn.datasets import load_diabetes, load_digits, load_iris
for name, load in (("diabetes", load_diabetes), ("iris", load_iris)):
    frame = load(as_frame=True).frame
    frame.to_csv(f"data/{name}.csv", index=False)
digits = load_digits()
images = np.kron(digits.images, np.ones((3, 3)))
images = np.pad(images, ((0, 0), (2, 2), (2, 2))).astype("float32")[..., None] / 16
np.savez("data/images.npz", X_train=images[:1500], y_train=digits.target[:1500],
         X_test=images[1500:], y_test=digits.target[1500:])
"""
_BIG_RIDGE = """
import sys
import numpy as np
from sklearn.linear_model import Ridge
{imports}
rng = np.random.default_rng(0)
X = rng.normal(size=({rows}, 50))
y = X @ rng.normal(size=50)
Ridge(alpha=0.5).fit(X, y)
"""


def make_data(python: str, project: Path) -> None:
    """Write the data of the experiments into a project's `data`."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run([python, "-c", _MAKE_DATA], cwd=project, env=env, check=True)


class Measured(NamedTuple):
    """One execution: seconds, bytes of the largest sum of resident memory of its processes."""

    seconds: float
    memory: int
    output: str


class Bench:
    """A scratch directory with a project, and everything measured in it."""

    def __init__(self, python: str, rounds: int) -> None:
        self.python = python
        self.rounds = rounds
        self.scratch = Path(tempfile.mkdtemp(prefix="reenact-report-"))
        self.project = self.scratch / "project"
        (self.project / "data").mkdir(parents=True)
        self.tools = tools(python)
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "REENACT"))},
            **environment(self.scratch),
            "HOME": str(self.scratch / "home"),
            "REPORT_PYTHON": python,
        }
        (self.scratch / "home").mkdir()
        make_data(python, self.project)

    def clean(self) -> None:
        """Begin with empty stores."""
        for tool in self.tools:
            for path in tool.store(self.scratch):
                shutil.rmtree(path, ignore_errors=True)
                path.unlink(missing_ok=True) if path.is_file() else None
        for path in self.project.iterdir():
            if path.name != "data":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (self.scratch / "guild").mkdir(exist_ok=True)

    def run(self, tool: Tool, script: str, *, extra: tuple[str, ...] = ()) -> Measured:
        """Run a script of the project with a tool."""
        words = tool.command(self.python, script)
        if extra:
            words = [*words[:2], *extra, *words[2:]]
        log = self.scratch / "output"
        begin = time.perf_counter()
        with log.open("wb") as file:
            process = psutil.Popen(
                words, cwd=self.project, env=self.env, stdout=file, stderr=subprocess.STDOUT
            )
            memory = 0
            while process.poll() is None:
                memory = max(memory, _resident(process))
                time.sleep(0.01)
        seconds = time.perf_counter() - begin
        output = log.read_text(errors="replace")
        if process.returncode != 0:
            sys.exit(f"{tool.name}: {words} failed:\n{output[-3000:]}")
        return Measured(seconds, memory, output)

    def write(self, tool: Tool, name: str) -> str:
        """Put a tool's variant of a script into the project."""
        script = f"{name}.py"
        if tool.config is not None:
            shutil.copy(HERE / tool.config, self.project)
        if (HERE / tool.variant / script).exists():
            shutil.copy(HERE / tool.variant / script, self.project / script)
        return script


def _resident(process: psutil.Process) -> int:
    total = 0
    try:
        members = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    for member in members:
        try:
            total += member.memory_info().rss
        except psutil.Error:
            continue
    return total


# --- scores ---


class Row(NamedTuple):
    """A row of the deep dive; `score` is from 0 to 1, None where the script has no such thing."""

    name: str
    group: str
    score: Callable[[Facts, str, dict[str, float], str], float | None]


def _holds(text: str, value: object) -> bool:
    """Tell whether a value stands in a text; a number to five digits, however it is written."""
    if isinstance(value, bool):
        return re.search(rf"\b{value}\b", text, re.IGNORECASE) is not None
    if isinstance(value, int | float):
        found = re.findall(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", text)
        return any(abs(float(one) - value) <= 1e-5 * max(abs(value), 1e-12) for one in found)
    return str(value) in text


def _share(text: str, wanted: dict[str, object]) -> float:
    """Return which share of names with their values a text has."""
    if not wanted:
        return 0.0
    return sum(name in text and _holds(text, value) for name, value in wanted.items()) / len(wanted)


def _values(text: str, wanted: list[float]) -> float:
    return sum(_holds(text, value) for value in wanted) / len(wanted)


def _metrics(start: str) -> Callable[[Facts, str, dict[str, float], str], float | None]:
    def score(facts: Facts, script: str, truth: dict[str, float], _: str) -> float | None:
        wanted = [value for name, value in truth.items() if name.startswith(start)]
        if not wanted:
            # The network's training metrics are the series of its epochs.
            return float(any(count >= _EPOCHS for name, count in facts.series.items()
                             if "loss" in name and "val" not in name))  # fmt: skip
        return _values(facts.said["metrics"], wanted)

    return score


def _plot(facts: Facts, script: str, truth: dict[str, float], digest: str) -> float:
    return float(any(_digest(path) == digest for path in facts.files if path.is_file()))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _summary(facts: Facts, script: str, truth: dict[str, float], _: str) -> float | None:
    if script != "cnn":
        return None
    return float("conv2d" in facts.said["summary"].lower() and "dense" in facts.said["summary"])


def _epochs(facts: Facts, script: str, truth: dict[str, float], _: str) -> float | None:
    if script != "cnn":
        return None
    counted = any(count == _EPOCHS for count in facts.series.values())
    return float(counted or re.search(rf"epochs\W+{_EPOCHS}\b", facts.said["params"]) is not None)


ROWS = (
    Row("system", "environment", lambda f, *_: _holds(f.said["machine"], platform.release())),
    Row("hardware", "environment", lambda f, *_: _values(
        f.said["machine"], [os.cpu_count() or 0, psutil.virtual_memory().total])),
    Row("code", "code", lambda f, s, *_: all(
        line in f.said["code"] for line in (HERE / "scripts" / f"{s}.py").read_text().splitlines()
        if "import" not in line)),
    Row("estimator", "params", lambda f, s, *_: _CLASSES[s] in f.said["params"]),
    Row("params that were set", "params", lambda f, s, *_: _share(f.said["params"], _CHOSEN[s])),
    Row("other params", "params", lambda f, s, *_: _share(f.said["params"], _DEFAULTS[s])),
    Row("train metrics", "metrics", _metrics("train")),
    Row("test metrics", "metrics", _metrics("test")),
    Row("train data", "data", lambda f, *_: f.train_data),
    Row("test data", "data", lambda f, *_: f.test_data),
    Row("path to data", "data", lambda f, s, *_: _DATA[s] in f.said["data"]),
    Row("packages", "environment", lambda f, *_: _share(
        f.said["environment"].lower(), {"scikit-learn": "", "numpy": "", "matplotlib": "",
                                        "pandas": "", "keras": ""})),
    Row("environment variables", "environment",
        lambda f, *_: "OMP_NUM_THREADS" in f.said["variables"]),
    Row("plot", "plots", _plot),
    Row("trained model", "model", lambda f, *_: any(p.stat().st_size for p in f.models)),
    Row("model summary", "model", _summary),
    Row("epoch number", "metrics", _epochs),
)  # fmt: skip


# --- tables ---


def deep_dive(bench: Bench, names: list[str]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Tables 1, 5 and 8: what can be read back, script by script."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for name in names:
        truth, plot = _truth(bench, name)
        found[name] = {}
        for tool in bench.tools[1:]:
            bench.clean()
            script = bench.write(tool, name)
            extra = (
                ("--save-models",)
                if tool.name == "reenact" and os.environ.get("SM", "1") == "1"
                else ()
            )
            bench.run(tool, script, extra=extra)
            facts = tool.read(bench.scratch, bench.env)
            scores = {row.name: row.score(facts, name, truth, plot) for row in ROWS}
            found[name][tool.name] = {n: None if s is None else float(s) for n, s in scores.items()}
        _print_scores(f"Table {'8' if name == 'cnn' else '5'}: deep dive, {name}", found[name])
    _print_groups(found)
    return found


def _truth(bench: Bench, name: str) -> tuple[dict[str, float], str]:
    bench.clean()
    script = bench.write(bench.tools[0], name)
    output = bench.run(bench.tools[0], script).output
    truth = {m[1]: float(m[2]) for m in re.finditer(r"^(\w+): (\S+)$", output, re.MULTILINE)}
    return truth, _digest(bench.project / _PLOTS[name])


def _print_scores(title: str, scores: dict[str, dict[str, float | None]]) -> None:
    print(f"\n{title}\n")
    print(f"{'':<24}" + "".join(f"{name:>10}" for name in scores))
    for row in ROWS:
        values = [scores[tool][row.name] for tool in scores]
        if all(value is None for value in values):
            continue
        cells = "".join(f"{'-' if v is None else format(v, '.2g'):>10}" for v in values)
        print(f"{row.name:<24}{cells}")
    cells = "".join(f"{_total(scores[tool]):>10}" for tool in scores)
    print(f"{'in all':<24}{cells}", flush=True)


def _total(scores: dict[str, float | None]) -> str:
    counted = [value for value in scores.values() if value is not None]
    return f"{sum(counted):.1f}/{len(counted)}"


def _print_groups(found: dict[str, dict[str, dict[str, float | None]]]) -> None:
    print("\nTable 1: recorded by itself, mean over the scripts\n")
    names = list(next(iter(found.values())))
    print(f"{'':<24}" + "".join(f"{name:>10}" for name in names))
    groups = list(dict.fromkeys(row.group for row in ROWS))
    sums = dict.fromkeys(names, 0.0)
    for group in groups:
        cells = ""
        for tool in names:
            values = [
                v
                for scores in found.values()
                for row in ROWS
                if row.group == group and (v := scores[tool][row.name]) is not None
            ]
            mean = statistics.mean(values)
            sums[tool] += mean
            cells += f"{mean:>10.2f}"
        print(f"{group:<24}{cells}")
    print(f"{f'in all, of {len(groups)}':<24}" + "".join(f"{sums[t]:>10.1f}" for t in names))


def run_times(bench: Bench, names: list[str]) -> None:
    """Tables 2 and 3: seconds of the whole command, and the memory of all its processes."""
    print("\nTables 2 and 3: median seconds and MB over plain Python, whole command\n")
    print(f"{'':<12}" + "".join(f"{tool.name:>22}" for tool in bench.tools))
    for name in names:
        measured: dict[str, list[Measured]] = {tool.name: [] for tool in bench.tools}
        bench.clean()
        for turn in range(bench.rounds + 1):
            for tool in bench.tools:
                script = bench.write(tool, name)
                one = bench.run(tool, script)
                if turn:
                    measured[tool.name].append(one)
        plain = measured["python"]
        base_s = statistics.median(m.seconds for m in plain)
        base_b = statistics.median(m.memory for m in plain)
        cells = f"{base_s:>11.2f} s {base_b / 1e6:>5.0f} MB"
        for tool in bench.tools[1:]:
            seconds = statistics.median(m.seconds for m in measured[tool.name]) - base_s
            memory = statistics.median(m.memory for m in measured[tool.name]) - base_b
            cells += f"{seconds:>+11.2f} s {memory / 1e6:>+5.0f} MB"
        print(f"{name:<12}{cells}", flush=True)


def lines_added(bench: Bench, names: list[str]) -> None:
    """Table 4: lines that differ from the plain script."""
    print("\nTable 4: lines added to the script\n")
    print(f"{'':<12}" + "".join(f"{tool.name:>10}" for tool in bench.tools[1:]))
    for name in names:
        plain = (HERE / "scripts" / f"{name}.py").read_text().splitlines()
        cells = ""
        for tool in bench.tools[1:]:
            mine = (HERE / tool.variant / f"{name}.py").read_text().splitlines()
            added = sum(line.startswith("+ ") for line in difflib.ndiff(plain, mine))
            if tool.config is not None:
                config = (HERE / tool.config).read_text()
                added += len(re.split(r"^    (?=\w)", config, flags=re.MULTILINE)[1].splitlines())
            cells += f"{added:>10}"
        print(f"{name:<12}{cells}")


def log_sizes(bench: Bench, names: list[str]) -> None:
    """Table 6: bytes that the first run leaves, and each further one, beyond the plain script's.

    Counted is what is new in the tool's store and in the project, without caches that may be
    deleted at any time.
    """
    print("\nTable 6: kB that a run leaves beyond plain Python: the first one, each further one\n")
    print(f"{'':<12}" + "".join(f"{tool.name:>18}" for tool in bench.tools[1:]))
    for name in names:
        cells = ""
        own = 0
        for tool in bench.tools:
            bench.clean()
            sizes = []
            for _ in range(2):
                bench.run(tool, bench.write(tool, name))
                sizes.append(_size(tool, bench))
            if tool.name == "python":
                own = sizes[0]
                continue
            # Where a run has a directory of its own, the script's files are there once per run.
            per_run = own if tool.owns_outputs else 0
            first, further = sizes[0] - own, sizes[1] - sizes[0] - per_run
            cells += f"{first / 1e3:>9.0f}{further / 1e3:>9.0f}"
        print(f"{name:<12}{cells}", flush=True)


def _size(tool: Tool, bench: Bench) -> int:
    seen: dict[tuple[int, int], int] = {}
    new = [path for path in bench.project.iterdir() if path.suffix not in (".py", ".yml")]
    roots = {*tool.store(bench.scratch), *(path for path in new if path.name != "data")}
    for root in roots:
        for path in [root, *root.rglob("*")] if root.exists() else []:
            relative = path.relative_to(root).parts
            is_cache = set(relative[:1]) & set(tool.caches) or "__pycache__" in path.parts
            if path.is_symlink() or not path.is_file() or is_cache:
                continue
            status = path.stat()
            seen[status.st_dev, status.st_ino] = status.st_size
    return sum(seen.values())


def memory_of_data(bench: Bench) -> None:
    """Table 9: memory over plain Python as the data grows."""
    print("\nTable 9: MB over plain Python, ridge regression on n x 50 numbers\n")
    print(f"{'n':<12}" + "".join(f"{tool.name:>10}" for tool in bench.tools[1:]))
    imports = {
        "mlflow": "import mlflow\nmlflow.autolog(log_models=False)",
        "wandb": "import wandb\nwandb.init(project='report')",
    }
    for rows in (1_000, 10_000, 100_000):
        peaks = {}
        for tool in bench.tools:
            bench.clean()
            bench.write(tool, "big")
            text = _BIG_RIDGE.format(rows=rows, imports=imports.get(tool.name, ""))
            (bench.project / "big.py").write_text(text)
            peaks[tool.name] = min(bench.run(tool, "big.py").memory for _ in range(bench.rounds))
        cells = "".join(
            f"{(peaks[tool.name] - peaks['python']) / 1e6:>+10.0f}" for tool in bench.tools[1:]
        )
        print(f"{rows:<12}{cells}", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", help="of an environment with requirements.txt; made if absent")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(SCRIPTS))
    parser.add_argument("--tables", default="1,2,4,6,9")
    options = parser.parse_args()
    python = options.python or _make_environment()
    bench = Bench(os.path.abspath(python), options.rounds)
    names = options.only.split(",")
    tables = options.tables.split(",")
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python of the scripts: {python}")
    print("scores: 1 for all of it, 0 for nothing; what was looked for stands in report.py")
    scores = deep_dive(bench, names) if "1" in tables else {}
    if "2" in tables:
        run_times(bench, names)
    if "4" in tables:
        lines_added(bench, names)
    if "6" in tables:
        log_sizes(bench, names)
    if "9" in tables:
        memory_of_data(bench)
    if scores:
        (bench.scratch / "scores.json").write_text(json.dumps(scores, indent=1))
    shutil.rmtree(bench.scratch, ignore_errors=True)


def _make_environment() -> str:
    directory = Path(tempfile.gettempdir()) / "reenact-report-environment"
    python = directory / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", directory], check=True)
        requirements = str(HERE / "requirements.txt")
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", requirements], check=True)
    return str(python)


if __name__ == "__main__":
    main()
