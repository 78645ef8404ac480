"""What a run's record says of environment, machine and libraries, with the real ones.

Frameworks: NumPy and torch of the environment with frameworks; any versions.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from commands import PATIENCE_S, Desk, wait_until
from frameworks import python_with
from reenact.model.secrets import REDACTED

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def blob(desk: Desk, digest: str) -> Any:
    return json.loads((desk.store / "blobs" / digest[:2] / digest[2:]).read_bytes())


class TestRuntime:
    CODE = (
        "import os\nos.environ['OMP_NUM_THREADS'] = '1'\nos.environ['MKL_TOKEN'] = 'hunter2'\n"
        "import numpy, torch\nprint(float(numpy.ones(3) @ numpy.ones(3)))\n"
    )

    def test_a_process_tells_its_libraries_and_thread_pools_at_its_end(self, desk: Desk) -> None:
        python = python_with("numpy", "torch")
        desk.write("train.py", self.CODE)
        plain = subprocess.run(
            [python, "train.py"], cwd=desk.project, capture_output=True, check=True
        )

        run_id = desk.run("train.py", "--python", python)

        assert desk.ok("log", run_id, "--stdout").encode() == plain.stdout
        desk.ok("gc")  # which keeps what a record refers to
        runtime = blob(desk, desk.record(run_id)["runtime"])
        libraries = {library["path"].partition("/")[0] for library in runtime["libraries"]}
        assert libraries >= {"torch", "numpy.libs"}
        pools = {(pool["api"], pool["threads"]) for pool in runtime["pools"]}
        assert pools >= {("openblas", 1), ("openmp", 1), ("torch", 1)}
        blas = next(pool for pool in runtime["pools"] if pool["api"] == "openblas")
        assert blas["version"].startswith("0.3.")
        assert blas["architecture"]
        assert blas["threading"] == "pthreads"
        assert blas["interface"] == "ilp64"
        assert runtime["variables"]["OMP_NUM_THREADS"] == "1"
        assert runtime["variables"]["MKL_TOKEN"] == REDACTED
        torch = runtime["frameworks"]["torch"]
        assert torch["deterministic_algorithms"] is False
        assert torch["cpu_capability"]
        assert "AVX2" in runtime["frameworks"]["numpy"]["simd"] or "arm" in os.uname().machine

    def test_the_numbers_are_those_of_threadpoolctl(self, desk: Desk) -> None:
        python = python_with("numpy", "threadpoolctl")
        desk.write(
            "train.py",
            "import json, numpy, threadpoolctl\nprint(json.dumps(threadpoolctl.threadpool_info()))\n",
        )

        run_id = desk.run("train.py", "--python", python, env={"OPENBLAS_NUM_THREADS": "2"})

        (theirs,) = json.loads(desk.ok("log", run_id, "--stdout"))
        (ours,) = blob(desk, desk.record(run_id)["runtime"])["pools"]
        assert ours["threads"] == theirs["num_threads"]
        assert ours["version"] == theirs["version"]
        assert ours["architecture"] == theirs["architecture"]
        assert ours["threading"] == theirs["threading_layer"]
        assert os.path.basename(ours["library"]) == os.path.basename(theirs["filepath"])

    def test_diff_names_the_library_and_the_threads_by_which_two_runs_differ(
        self, desk: Desk
    ) -> None:
        python = python_with("numpy", "scipy")
        desk.write("train.py", "second = False\nimport numpy\nif second: import scipy.linalg\n")
        command = ("train.py", "--python", python)
        a = desk.run(*command, env={"OPENBLAS_NUM_THREADS": "1"})
        b = desk.run(*command, "second=True", env={"OPENBLAS_NUM_THREADS": "2"})

        done = desk.reenact("diff", a, b, "--runtime")
        found = desk.json("diff", a, b, "--runtime")["sections"]["runtime"]

        assert done.status == 3
        lines = [line.split("\t") for line in done.out.splitlines()]
        threads = "thread pool openblas numpy.libs threads"
        assert ["runtime", "changed", threads, "1", "2"] in lines
        added = [line[2] for line in lines if line[1] == "added"]
        assert any(name.startswith("library scipy.libs/libscipy_openblas") for name in added)
        assert "thread pool openblas scipy.libs version" in added
        assert not any("preload" in line[2] for line in lines)
        assert found["is_complete"]
        change = {"kind": "changed", "group": "thread pool", "a": 1, "b": 2}
        assert {**change, "name": "openblas numpy.libs threads"} in found["changes"]
        assert desk.reenact("diff", a, a, "--runtime").status == 0

    def test_two_runs_of_a_script_have_one_description(self, desk: Desk) -> None:
        python = python_with("numpy")
        desk.write("train.py", "import numpy\n")

        runs = [desk.record(desk.run("train.py", "--python", python)) for _ in range(2)]

        assert runs[0]["runtime"] == runs[1]["runtime"]
        assert runs[0]["environment"] == runs[1]["environment"]
        assert runs[0]["machine"] == runs[1]["machine"]

    def test_a_script_that_computes_nothing_is_asked_nothing(self, desk: Desk) -> None:
        desk.write("train.py", "import json\n")

        assert "runtime" not in desk.record(desk.run("train.py"))

    def test_workers_leave_the_word_to_the_process_that_they_work_for(self, desk: Desk) -> None:
        python = python_with("numpy")
        desk.write(
            "train.py",
            "import numpy, multiprocessing as m\n"
            "def work(n):\n    import os; os.environ['OMP_NUM_THREADS'] = '9'; return n\n"
            "if __name__ == '__main__':\n"
            "    with m.get_context('spawn').Pool(1) as pool: print(pool.map(work, [1]))\n"
            "    with m.get_context('fork').Pool(1) as pool: print(pool.map(work, [1]))\n",
        )

        runtime = blob(desk, desk.record(desk.run("train.py", "--python", python))["runtime"])

        assert "OMP_NUM_THREADS" not in runtime.get("variables", {})

    def test_of_a_killed_process_the_libraries_are_known(self, desk: Desk) -> None:
        python = python_with("numpy")
        desk.write(
            "train.py",
            "import time\ntime.sleep(2.2)\nimport numpy\nprint('ready', flush=True)\ntime.sleep(600)\n",
        )
        begun = time.monotonic()
        process = desk.start("run", "train.py", "--python", python)
        wait_until(lambda: desk.ids() and "child" in _children(desk), what="it runs")
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        run_id = desk.ids()[0]
        # The supervisor looks 2, 4, 8 ... seconds after the start; nobody sees it look.
        time.sleep(time.monotonic() - begun + 2)

        os.kill(_children(desk)["child"], signal.SIGKILL)
        process.communicate(timeout=PATIENCE_S)

        runtime = blob(desk, desk.record(run_id)["runtime"])
        assert any(lib["path"].startswith("numpy.libs/") for lib in runtime["libraries"])
        assert runtime["reasons"]["pools"] == "the process did not say it at its end"


def _children(desk: Desk) -> dict[str, int]:
    record = desk.record(desk.ids()[0]) if desk.file(desk.ids()[0], "run.json").exists() else {}
    return {"child": record["process_group"]} if "process_group" in record else {}


class TestConditions:
    def test_the_state_of_the_machine_stands_before_and_after(self, desk: Desk) -> None:
        desk.write("train.py", "print(1)\n")

        conditions = desk.record(desk.run("train.py"))["conditions"]

        assert conditions["cpus"] == os.cpu_count()
        assert conditions["before"]["memory_available_bytes"] > 0
        assert conditions["after"]["load"] >= 0

    def test_a_run_beside_others_that_compute_is_marked_as_noisy(self, desk: Desk) -> None:
        desk.write("train.py", "import time\ntime.sleep(2)\n")
        loop = [sys.executable, "-c", "while True: pass"]
        others = [subprocess.Popen(loop) for _ in range(os.cpu_count() or 1)]
        try:
            conditions = desk.record(desk.run("train.py"))["conditions"]
        finally:
            for other in others:
                other.kill()
                other.wait()

        assert conditions["others_cpu_s"] > 0.5
        assert conditions["noise"][0].startswith("other processes used ")


def _key(head: str, length: int) -> str:
    """Make a secret of a known form; written out, it would look like a leak to a scanner."""
    return head + ("AbCdEfGhIjKlMnOpQrStUvWxYz0123456789" * 4)[:length]


HEX = "0123456789abcdef" * 3
PLANTED = {
    "AWS": "AKIA" + "ABCDEFGH23456789",
    "GITHUB": _key("ghp_", 36),
    "GITHUB_FINE": _key("github_pat_", 40),
    "GITLAB": _key("glpat-", 20),
    "HUGGING": _key("hf_", 34),
    "OPENAI": _key("sk-proj-", 40),
    "ANTHROPIC": _key("sk-ant-api03-", 40),
    "SLACK": _key("xoxb-", 30),
    "SLACK_HOOK": "https://hooks.slack.com/services/" + _key("T0/B0/", 24),
    "WANDB": _key("wandb_v1_", 30),
    "NGC": _key("nvapi-", 64),
    "GOOGLE": _key("AIza", 35),
    "WEBTOKEN": _key("eyJ", 20) + "." + _key("eyJ", 30) + ".SflKxwRJSMeKKF2QT4",
    "PEM": "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKC\n-----END RSA PRIVATE KEY-----",
    "URL": "https://bob:hunter2hunter2@host/x",
    "DATABASE": "postgresql+psycopg://bob:hun/ter2database@db/x",
    "BEARER": "Authorization: Bearer " + _key("", 30),
    "BASIC": "Authorization: Basic dXNlcjpodW50ZXIyaHVudGVy",
    "NPM": _key("npm_", 36),
    "PYPI": _key("pypi-AgEI", 60),
    "AZURE": "AccountName=x;AccountKey=" + _key("Eby8", 60) + "==;EndpointSuffix=core.windows.net",
    "NETRC": "machine api.wandb.ai login user password " + HEX[:40],
    "NEPTUNE": _key("eyJhcGlf", 80),
    "ASSIGNED": "password=hunter2assigned",
}
"""Variable -> its value; the names do not give anything away."""

SIGNS = {
    "URL": "hunter2hunter2",
    "DATABASE": "ter2database",
    "BEARER": _key("", 30),
    "BASIC": "dXNlcjpodW50ZXIyaHVudGVy",
    "PEM": "MIIEowIBAAKC",
    "AZURE": _key("Eby8", 60),
    "NETRC": HEX[:40],
    "SLACK_HOOK": _key("T0/B0/", 24),
    "ASSIGNED": "hunter2assigned",
}
"""What of a value is the secret, where that is not all of it."""

NAMED = {"HF_TOKEN": "named-hunter-1", "TF_PASSWORD": "named-hunter-2", "MKL_API_KEY": "named-h-3"}

LEAKY = """
import os, sys, argparse, reenact
parser = argparse.ArgumentParser()
parser.add_argument("--note", default="")
parser.add_argument("--api-key", default="")
parser.parse_known_args()
for name, value in sorted(os.environ.items()):
    if name.startswith("TF_PLANTED_"):
        reenact.log_params({name.lower(): value, "deep" + name: {"list": [value]}})
        reenact.log(**{name: value})
        reenact.log_text("x", "name of " + name)
        os.environ["OMP_AGAIN_" + name] = value
try:
    import numpy
except ImportError:
    pass
"""


def secrets_in(root: Path) -> dict[str, list[str]]:
    """Return which planted secrets stand in which files."""
    signs = {name: SIGNS.get(name, value) for name, value in PLANTED.items()} | NAMED
    found: dict[str, list[str]] = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        data = path.read_bytes()
        for name, sign in signs.items():
            if sign.encode() in data or json.dumps(sign)[1:-1].encode() in data:
                found.setdefault(name, []).append(str(path.relative_to(root)))
    return found


class TestSecrets:
    def leak(self, desk: Desk, *words: str, python: str = sys.executable) -> str:
        """Run a script that gets all secrets in every way and gives them to us in every other."""
        desk.write("train.py", LEAKY)
        variables = {f"TF_PLANTED_{name}": value for name, value in PLANTED.items()}
        flags = [f"note={PLANTED['GITHUB']} and {PLANTED['URL']}", "api-key=named-hunter-1"]
        return desk.run("train.py", "--python", python, *flags, *words, env={**variables, **NAMED})

    def test_none_stands_anywhere_in_the_store(self, desk: Desk) -> None:
        run_id = self.leak(desk, python=python_with("numpy"))

        record = desk.record(run_id)
        assert record["exit"] == {"code": 0}
        environment = blob(desk, record["environment"])
        assert environment["variables"]["TF_PLANTED_GITHUB"] == REDACTED
        assert record["params"]["tf_planted_openai"] == REDACTED
        assert len(record["warnings"]) > 0
        # What the script prints, our complaints among it, is the user's own.
        desk.file(run_id, "output").write_bytes(b"")
        assert secrets_in(desk.store) == {}

    def test_none_is_shown(self, desk: Desk) -> None:
        run_id = self.leak(desk)

        shown = desk.ok("show", run_id) + desk.ok("show", run_id, "--json")

        (desk.project / "shown").mkdir()
        desk.write("shown/shown", shown)
        assert secrets_in(desk.project / "shown") == {}

    def test_none_stands_in_what_detect_prints(self, desk: Desk) -> None:
        variables = {f"TF_PLANTED_{name}": value for name, value in PLANTED.items()}

        out = desk.ok("detect", "--json", env={**variables, **NAMED})

        desk.write("shown/shown", out)
        assert secrets_in(desk.project / "shown") == {}
        assert json.loads(out)["environment"]["variables"]["TF_PLANTED_GITHUB"] == REDACTED

    def test_a_run_whose_supervisor_was_killed_keeps_none_either(self, desk: Desk) -> None:
        desk.write("train.py", LEAKY + "print('ready', flush=True)\nimport time; time.sleep(600)\n")
        variables = {f"TF_PLANTED_{name}": value for name, value in PLANTED.items()}
        process = desk.start("run", "train.py", env={**variables, **NAMED})
        wait_until(desk.ids, what="there is a run")
        output = desk.file(desk.ids()[0], "output")
        wait_until(lambda: output.exists() and b"ready" in output.read_bytes(), what="it is ready")
        group = desk.record(desk.ids()[0])["process_group"]
        process.kill()
        process.communicate(timeout=PATIENCE_S)
        os.killpg(group, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{group}").exists(), what="it is gone")

        desk.ok("runs", "--all")

        assert desk.record(desk.ids()[0])["params"]["tf_planted_openai"] == REDACTED
        output.write_bytes(b"")
        assert secrets_in(desk.store) == {}
