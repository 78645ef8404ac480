"""Measure the budgets beside Guild AI 0.9 and plain Python, in one run, and print the table.

    python benchmarks/run.py [--quick] [--guild DIR] [--only NAME,…]

Commands are timed as whole processes, in turn (A B C A B C …), after one warm-up each; the table
shows the median and the minimum. Ratios say more than milliseconds: machines differ.
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
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
GUILD_PACKAGES = ["guildai==0.9.0", "setuptools<81", "numpy<1.25", "scikit-learn<1.3", "click<8.3"]
"""What makes the last release of Guild AI run on Python 3.11."""


class Bench:
    """A scratch directory, an environment without surprises, and the programs to compare."""

    def __init__(self, guild: str | None, *, quick: bool) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="reenact-bench-"))
        self.rounds = 5 if quick else 15
        self.python = sys.executable
        self.reenact = [str(Path(sys.executable).with_name("reenact"))]
        self.guild = [guild] if guild else None
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "REENACT"))}
        self.env["PATH"] = f"{Path(sys.executable).parent}:{self.env['PATH']}"
        self.env["HOME"] = str(self.scratch / "home")
        self.env["REENACT_HOME"] = str(self.scratch / "store")
        self.env["GUILD_HOME"] = str(self.scratch / "guild-home")
        for name in ("home", "guild-home"):
            (self.scratch / name).mkdir()
        self.rows: list[tuple[str, str, str, str]] = []

    def time(
        self, commands: dict[str, Sequence[str]], cwd: Path, rounds: int | None = None
    ) -> dict[str, list[float]]:
        """Return the seconds of each command, run in turn."""
        times: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range((rounds or self.rounds) + 1):
            for name, words in commands.items():
                begin = time.perf_counter()
                done = subprocess.run(words, cwd=cwd, env=self.env, capture_output=True)
                took = time.perf_counter() - begin
                if done.returncode != 0:
                    sys.exit(f"{words} failed: {done.stderr.decode()[-2000:]}")
                if turn:
                    times[name].append(took)
        return times

    def say(self, what: str, budget: str, measured: str, beside: str = "") -> None:
        """Keep a row and print it at once."""
        self.rows.append((what, budget, measured, beside))
        print(f"{what:<44} {budget:<22} {measured:<34} {beside}", flush=True)

    def with_guild(self, commands: dict[str, Sequence[str]], words: Sequence[str]) -> None:
        """Add a Guild command where there is a Guild."""
        if self.guild:
            commands["guild"] = [*self.guild, *words]


def ms(times: Sequence[float]) -> str:
    """Return median and minimum in milliseconds."""
    return f"{statistics.median(times) * 1e3:.0f} ms (min {min(times) * 1e3:.0f})"


def over(times: Sequence[float], base: Sequence[float]) -> float:
    """Return how many milliseconds the medians lie apart."""
    return (statistics.median(times) - statistics.median(base)) * 1e3


def overhead(bench: Bench) -> None:
    """An empty script, and the same in a project of 2,000 source files."""
    for name, files, budget in (("an empty script", 0, 150), ("2,000 source files", 2000, 250)):
        project = bench.scratch / f"project{files}"
        make_project(project, files, git=bool(files))
        (project / "empty.py").write_text("")
        commands: dict[str, Sequence[str]] = {
            "python": [bench.python, "empty.py"],
            "reenact": [*bench.reenact, "run", "empty.py"],
        }
        bench.with_guild(commands, ["run", "-y", "empty.py"])
        times = bench.time(commands, project)
        beside = f"python {ms(times['python'])}"
        if "guild" in times:
            ratio = over(times["guild"], times["python"]) / over(times["reenact"], times["python"])
            beside += f"; guild +{over(times['guild'], times['python']):.0f} ms ({ratio:.1f} ×)"
        measured = f"+{over(times['reenact'], times['python']):.0f} ms"
        bench.say(f"run: {name}, over python", f"≤ {budget} ms", measured, beside)


def version(bench: Bench) -> None:
    """The start of the command line."""
    commands: dict[str, Sequence[str]] = {
        "python": [bench.python, "-c", "pass"],
        "reenact": [*bench.reenact, "--version"],
    }
    bench.with_guild(commands, ["--version"])
    times = bench.time(commands, bench.scratch)
    beside = f"python {ms(times['python'])}"
    if "guild" in times:
        beside += f"; guild {ms(times['guild'])}"
    bench.say("--version", "≤ 80 ms", ms(times["reenact"]), beside)


def lines(bench: Bench) -> None:
    """A script that prints 1,000,000 lines, into a pipe."""
    project = bench.scratch / "lines"
    project.mkdir()
    loop = "for i in range(1_000_000):\n    print('line', i)\n"
    (project / "lines.py").write_text(loop)
    (project / "buffered.py").write_text(
        "import sys\nsys.stdout.reconfigure(line_buffering=True)\n" + loop
    )
    pipe = ["sh", "-c", '"$@" | cat >/dev/null', "sh"]
    commands: dict[str, Sequence[str]] = {
        "python": [*pipe, bench.python, "buffered.py"],
        "block": [*pipe, bench.python, "lines.py"],
        "reenact": [*pipe, *bench.reenact, "run", "lines.py"],
    }
    bench.with_guild(commands, ["run", "-y", "lines.py"])
    times = bench.time(commands, project, rounds=3)
    median = {name: statistics.median(found) for name, found in times.items()}
    beside = f"python, line buffering {median['python']:.2f} s; block {median['block']:.2f} s"
    if "guild" in median:
        beside += (
            f"; guild {median['guild']:.2f} s ({median['guild'] / median['block']:.1f} × block)"
        )
    measured = f"{median['reenact'] / median['python']:.2f} × ({median['reenact']:.2f} s)"
    bench.say("1,000,000 lines, over python line-buffered", "≤ 1.3 ×", measured, beside)


def disk(bench: Bench) -> None:
    """What an empty run leaves beyond shared blobs."""
    project = bench.scratch / "disk"
    project.mkdir()
    (project / "empty.py").write_text("")
    run = [*bench.reenact, "run", "empty.py"]
    subprocess.run(run, cwd=project, env=bench.env, check=True)
    path = subprocess.run(
        [*bench.reenact, "path", "@latest"],
        cwd=project,
        env=bench.env,
        check=True,
        capture_output=True,
    )
    files, apparent, allocated = weigh(Path(os.fsdecode(path.stdout.strip())))
    beside = ""
    if bench.guild:
        home = bench.scratch / "guild-disk"
        home.mkdir()
        env = {**bench.env, "GUILD_HOME": str(home)}
        command = [*bench.guild, "run", "-y", "empty.py"]
        subprocess.run(command, cwd=project, env=env, check=True, capture_output=True)
        count, size, blocks = weigh(home / "runs")
        beside = f"guild {count} files, {size / 1e3:.1f} kB, {blocks / 1e3:.0f} kB allocated"
    measured = f"{files} files, {apparent / 1e3:.1f} kB ({allocated / 1e3:.0f} kB allocated)"
    bench.say("an empty run on disk", "≤ 6 files, ≤ 10 kB", measured, beside)


def snapshot(bench: Bench) -> None:
    """The snapshot of an unchanged tree of 50,000 files."""
    project = bench.scratch / "large"
    make_project(project, 50_000, git=True)
    code = """if True:
        import os, sys, time
        from reenact.snapshot.git import GitView
        from reenact.snapshot.tree import take_snapshot
        from reenact.store.blobs import Blobs
        root, store = sys.argv[1:]
        def snap():
            begin = time.perf_counter()
            files = GitView(root, os.environ).files
            take_snapshot(root, listed=files, blobs=Blobs(store + "/blobs"), cache_path=store + "/c/t")
            return time.perf_counter() - begin
        first = snap()
        print(first, *(snap() for _ in range(5)))
    """
    done = subprocess.run(
        [bench.python, "-c", code, str(project), str(bench.scratch / "snap")],
        env=bench.env,
        check=True,
        capture_output=True,
    )
    first, *again = map(float, done.stdout.split())
    status = bench.time({"git": ["git", "status", "--porcelain"]}, project, rounds=5)["git"]
    bench.say(
        "snapshot, 50,000 files unchanged",
        "≤ 500 ms",
        ms(again),
        f"first time {first:.1f} s; git status {ms(status)}",
    )


def listing(bench: Bench) -> None:
    """Whole commands over large stores, with a warm index, and the making of the index."""
    sys.path.insert(0, str(HERE))
    from make_store import make_store

    for count, budget in ((10_000, 150), (100_000, 600)):
        store = bench.scratch / f"store{count}"
        make_store(store, count)
        commands = {
            "runs": [*bench.reenact, "-H", str(store), "runs", "--all"],
            "filter": [*bench.reenact, "-H", str(store), "runs", "--all", "-f", "lr < 0.01"],
            "sort": [*bench.reenact, "-H", str(store), "runs", "--all", "-s", "loss"],
            "compare": [*bench.reenact, "-H", str(store), "compare", "--all"],
        }
        begin = time.perf_counter()
        subprocess.run(commands["runs"], env=bench.env, check=True, capture_output=True)
        cold = time.perf_counter() - begin
        times = bench.time(commands, bench.scratch, rounds=5)
        for name, found in times.items():
            bench.say(f"{name}, {count:,} runs", f"≤ {budget} ms", ms(found))
        bench.say(
            f"cold index, {count:,} runs", "≤ 120 µs a run", f"{cold / count * 1e6:.0f} µs a run"
        )
        shutil.rmtree(store)


def operations(bench: Bench) -> None:
    """The operations of a project file that has 200, read before and just edited."""
    project = bench.scratch / "operations"
    project.mkdir()
    operation = (
        "op-{n:03}:\n  description: Train a model of kind {n}\n  main: train_{n}\n"
        "  flags-import: [lr, epochs]\n  flags:\n"
        "    lr: {{description: Learning rate, type: float, default: 1e-{d}, min: 0, max: 1}}\n"
        "    epochs: 10\n    model:\n      choices: [cnn, mlp, {{value: svm, description: A machine}}]\n"
        "  requires:\n    - file: data.csv\n  output-scalars:\n    loss: 'loss: (\\value)'\n"
        "  compare:\n    - =lr\n    - loss\n"
    )
    text = "".join(operation.format(n=n, d=n % 5 + 1) for n in range(200))
    for name in ("reenact.yml", "guild.yml"):
        (project / name).write_text(text)
    commands: dict[str, Sequence[str]] = {"reenact": [*bench.reenact, "ops"]}
    bench.with_guild(commands, ["operations"])
    times = bench.time(commands, project)
    edited = []
    for turn in range(3):
        (project / "reenact.yml").write_text(f"{text}# {turn}\n")
        begin = time.perf_counter()
        subprocess.run(commands["reenact"], cwd=project, env=bench.env, stdout=subprocess.DEVNULL)
        edited.append(time.perf_counter() - begin)
    beside = f"just edited {ms(edited)}"
    if "guild" in times:
        beside += f"; guild {ms(times['guild'])}"
    bench.say("`ops` of 200 operations", "≤ 120 ms", ms(times["reenact"]), beside)


def pipeline(bench: Bench) -> None:
    """A pipeline of ten steps, each of which requires the one before, of which nothing has changed."""
    project = bench.scratch / "pipeline"
    make_project(project, 200, git=True)
    steps = "".join(f"    - step-{n}\n" for n in range(10))
    operations = "".join(
        f"step-{n}:\n  main: step\n  flags: {{n: {n}}}\n"
        + (
            f"  requires: [{{operation: step-{n - 1}, select: out.txt, rename: out in}}]\n"
            * (n > 0)
        )
        for n in range(10)
    )
    (project / "reenact.yml").write_text(f"all:\n  steps:\n{steps}{operations}")
    (project / "step.py").write_text("n = 0\nopen('out.txt', 'w').write(str(n))\n")
    first = time.perf_counter()
    command = [*bench.reenact, "run", "all", "--quiet"]
    subprocess.run(command, cwd=project, env=bench.env, check=True)
    beside = f"the first time {ms([time.perf_counter() - first])}"
    times = bench.time({"reenact": [*command, "--needed"]}, project)
    bench.say("`run --needed`, ten steps unchanged", "≤ 500 ms", ms(times["reenact"]), beside)


def make_project(root: Path, files: int, *, git: bool) -> None:
    """Write a project of small modules, 50 to a package."""
    root.mkdir()
    for number in range(files):
        package = root / f"package{number // 50}"
        if number % 50 == 0:
            package.mkdir()
        (package / f"module{number}.py").write_text(f"# module {number}\nvalue = {number}\n" * 20)
    if git:
        commands = (["init", "-q"], ["add", "-A"], [*_ME, "commit", "-q", "-m", "first"])
        for words in commands:
            subprocess.run(["git", *words], cwd=root, check=True)


_ME = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]


def weigh(directory: Path) -> tuple[int, int, int]:
    """Return how many files there are below a directory, their sizes, and what is allocated."""
    stats = [path.lstat() for path in directory.rglob("*") if not path.is_dir()]
    return len(stats), sum(s.st_size for s in stats), sum(s.st_blocks * 512 for s in stats)


def install_guild(directory: Path) -> str:
    """Make an environment in which Guild AI 0.9 runs; return its program."""
    program = directory / "bin" / "guild"
    if not program.exists():
        print(f"installing Guild AI into {directory}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
        pip = [str(directory / "bin" / "pip"), "install", "-q", *GUILD_PACKAGES]
        subprocess.run(pip, check=True)
    return str(program)


SECTIONS: dict[str, Callable[[Bench], None]] = {
    "version": version,
    "overhead": overhead,
    "lines": lines,
    "disk": disk,
    "snapshot": snapshot,
    "listing": listing,
    "operations": operations,
    "pipeline": pipeline,
}


def main() -> None:
    """Run what was asked for and print a Markdown table at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--guild", help="directory of Guild's environment; made if it is not there")
    parser.add_argument("--only", default=",".join(SECTIONS), help=", ".join(SECTIONS))
    arguments = parser.parse_args()
    guild = install_guild(Path(arguments.guild).resolve()) if arguments.guild else None
    bench = Bench(guild, quick=arguments.quick)
    try:
        for name in arguments.only.split(","):
            SECTIONS[name](bench)
    finally:
        shutil.rmtree(bench.scratch, ignore_errors=True)
    print("\n| what | budget | measured | beside it |\n| --- | --- | --- | --- |")
    for row in bench.rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
