"""Runs that are a part of a process: `with reenact.start():` and `reenact.run(function)`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import reenact
from commands import PATIENCE_S, Desk, Done, wait_until
from fidelity import interpreters
from reenact.errors import NotFound, StoreUnusable, UnknownFlag, UsageError


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a project of our own process, with a store."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("REENACT_HOME", str(tmp_path / "store"))
    return tmp_path / "store"


def python(desk: Desk, source: str, *words: str, name: str = "script.py", **options: Any) -> Done:
    """Run a script with plain Python: nothing of Reenact is around it."""
    desk.write(name, source)
    done = subprocess.run(
        [sys.executable, name, *words],
        cwd=desk.project,
        env={**os.environ, **desk.env, **options.pop("env", {})},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        **options,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def only_record(desk: Desk) -> dict[str, Any]:
    (run_id,) = desk.ids()
    return desk.record(run_id)


# --- start ---


def test_what_is_logged_within_start_is_a_run_and_nothing_else_is(desk: Desk) -> None:
    desk.write("model.py", "def loss(step):\n    return 1 / (step + 1)\n")

    done = python(
        desk,
        """
import reenact
from model import loss

reenact.log(loss=99)
with reenact.start(flags={"learning-rate": 0.5}, epochs=3, label="first", tags=["a"]) as run:
    for step in range(3):
        reenact.log(loss=loss(step), step=step)
    (run.directory / "weights.txt").write_text("w")
    print(run.status)
reenact.log(loss=99)
print(run.status, run.flags, run.metrics["loss"].last, [p.name for p in run.outputs])
""",
    )

    assert done.status == 0, done
    running, ended = done.out.splitlines()
    assert running == "running"
    assert ended.startswith("completed {'learning-rate': 0.5, 'epochs': 3} 0.333")
    assert ended.endswith("['weights.txt']")
    assert "there is no run" in done.err
    record = only_record(desk)
    assert record["operation"] == {
        "name": "script.py",
        "kind": "session",
        "target": "script.py",
        "flags_kind": "arguments",
    }
    assert record["given"] == ["learning-rate", "epochs"]
    assert record["metrics"]["loss"]["count"] == 3
    assert desk.json("show", record["id"])["notes"] == {"label": "first", "tags": ["a"]}
    assert sorted(os.listdir(desk.file(record["id"], "run.json").parent)) == [
        "metrics",
        "metrics.names",
        "notes.json",
        "run.json",
    ]


def test_the_script_and_the_project_s_modules_are_its_source(desk: Desk) -> None:
    desk.write("pyproject.toml")
    desk.write("pkg/__init__.py")
    desk.write("pkg/used.py", "x = 1\n")
    desk.write("pkg/unused.py", "y = 1\n")
    source = "import json, reenact, pkg.used\nwith reenact.start():\n    pass\n"

    done = python(desk, source, name="tools/script.py", env={"PYTHONPATH": "."})

    assert done.status == 0, done
    record = only_record(desk)
    files = desk.ok("ls", record["id"], "--source").split()
    assert files == ["pkg/__init__.py", "pkg/used.py", "tools/script.py"]
    assert desk.ok("cat", record["id"], "pkg/used.py") == "x = 1\n"
    assert record["project"]["root"] == str(desk.project)
    assert desk.json("show", record["id"])["environment"]["python"]["version"]


def test_a_module_that_changed_between_two_runs_is_in_the_second_one_as_it_is_then(
    desk: Desk,
) -> None:
    desk.write("model.py", "x = 1\n")

    done = python(
        desk,
        """
import pathlib, reenact, model
with reenact.start():
    pass
with reenact.start():
    pass
pathlib.Path("model.py").write_text("x = 22\\n")
with reenact.start():
    pass
with reenact.start():
    pass
print(*(run.record.source.tree for run in reenact.runs(sort="started")))
print(*(any(w.code == "source-edited" for w in run.record.warnings)
        for run in reenact.runs(sort="started")))
""",
    )

    trees, edited = (line.split() for line in done.out.splitlines())
    assert trees[0] == trees[1] != trees[2] == trees[3]
    assert edited == ["False", "False", "True", "False"]


@pytest.mark.parametrize(
    ("statement", "status", "exit_status", "failure"),
    [
        ("1 / 0", "failed", 1, ("ZeroDivisionError", "division by zero")),
        ("raise SystemExit(3)", "failed", 3, None),
        ("raise SystemExit", "completed", 0, None),
        ("raise SystemExit('no data')", "failed", 1, ("SystemExit", "no data")),
        ("raise KeyboardInterrupt", "terminated", 130, None),
    ],
)
def test_an_exception_is_recorded_and_goes_on(
    desk: Desk, statement: str, status: str, exit_status: int, failure: tuple[str, str] | None
) -> None:
    source = f"""
import reenact
try:
    with reenact.start() as run:
        reenact.log(loss=1.0)
        {statement}
except BaseException as error:
    print(type(error).__name__, run.status, run.exit_status)
"""

    done = python(desk, source)

    raised = statement.replace("1 / 0", "raise ZeroDivisionError").split()[1].partition("(")[0]
    assert done.out == f"{raised} {status} {exit_status}\n"
    record = only_record(desk)
    assert record["metrics"]["loss"]["last"] == 1.0
    if failure is None:
        assert "failure" not in record
    else:
        assert (record["failure"]["type"], record["failure"]["message"]) == failure
        assert f"    {statement}" in record["failure"]["traceback"]
        assert "in_process.py" not in record["failure"]["traceback"]


def test_an_exception_without_a_text_and_one_with_a_secret_are_recorded(
    desk: Desk,
) -> None:
    source = """
import reenact

class Mute(Exception):
    def __str__(self):
        raise RuntimeError

for error in (Mute(), ValueError("api_key=sk-0123456789abcdef0123456789abcdef")):
    try:
        with reenact.start(password="hunter2"):
            raise error
    except Exception:
        pass
print([run.record.failure.message for run in reenact.runs(sort="started")])
"""

    done = python(desk, source)

    assert "<no text: RuntimeError>" in done.out
    assert "0123456789" not in done.out
    assert all("hunter2" not in desk.file(run, "run.json").read_text() for run in desk.ids())


def test_values_of_any_type_can_be_flags(desk: Desk) -> None:
    source = """
import reenact, numpy
values = dict(a=numpy.float64(0.5), b=[1, {"c": None}], d=float("nan"), e=10**30, f=object, g=(1, 2))
with reenact.start(flags=values) as run:
    pass
print(run.flags)
"""

    done = python(desk, source)

    assert done.out == (
        "{'a': 0.5, 'b': [1, {'c': None}], 'd': nan, "
        "'e': '1000000000000000000000000000000', 'f': \"<class 'object'>\", 'g': [1, 2]}\n"
    )


def test_one_process_has_one_run_at_a_time(desk: Desk) -> None:
    source = """
import reenact, threading
from reenact.errors import UsageError

def second():
    try:
        with reenact.start():
            pass
    except UsageError as error:
        print(error, "|", error.hint)

with reenact.start("outer"):
    second()
    thread = threading.Thread(target=second)
    thread.start()
    thread.join()
with reenact.start("later"):
    pass
"""

    done = python(desk, source)

    line = "a run `outer` has begun in this process and has not ended | a process has one run"
    assert [text.startswith(line) for text in done.out.splitlines()] == [True, True]
    assert sorted(desk.record(run)["operation"]["name"] for run in desk.ids()) == ["later", "outer"]


def test_inside_reenact_run_start_joins_that_run(desk: Desk) -> None:
    desk.write(
        "script.py",
        """
import reenact
def train(lr, n=2):
    return {"acc": lr * n}
with reenact.start("other", depth=3) as run:
    reenact.log(loss=0.5)
    print(run.id, run.status)
found = reenact.run(train, lr=0.25)
print(found.id, found.result)
""",
    )

    done = desk.reenact("run", "--python", sys.executable, "script.py")

    record = only_record(desk)
    assert record["operation"]["name"] == "script.py"
    assert done.out.splitlines()[:2] == [
        f"{record['id']} running",
        f"{record['id']} {{'acc': 0.5}}",
    ]
    assert record["params"] == {"depth": 3, "lr": 0.25, "n": 2}
    assert {name: s["last"] for name, s in record["metrics"].items() if "/" not in name} == {
        "loss": 0.5,
        "acc": 0.5,
    }


def test_inside_reenact_run_flags_that_are_no_dictionary_are_refused_as_well(desk: Desk) -> None:
    desk.write("script.py", "import reenact\nreenact.start('n', flags=5)\n")

    done = desk.reenact("run", "script.py")

    assert done.status == 1
    assert "TypeError: flags are a dictionary by name, and not 5" in done.err


@pytest.mark.parametrize("python", interpreters(), ids=lambda path: Path(path).name)
def test_inside_reenact_run_start_needs_no_package(desk: Desk, python: str) -> None:
    desk.write(
        "script.py",
        """
import sys
import reenact
with reenact.start("other", depth=3) as run:
    reenact.log(loss=0.5)
print(run.id, run.directory, "reenact.actions" in sys.modules)
""",
    )

    done = desk.reenact("run", "--python", python, "script.py")

    record = only_record(desk)
    directory = desk.store / "runs" / record["id"]
    assert done.out == f"{record['id']} {directory} False\n", done
    assert record["params"] == {"depth": 3}
    assert record["metrics"]["loss"]["last"] == 0.5


def test_a_framework_that_was_imported_between_two_runs_is_of_both(desk: Desk) -> None:
    desk.write(
        "script.py",
        """
import reenact
with reenact.start("first"):
    pass
from sklearn.linear_model import Ridge
with reenact.start("second"):
    pass
""",
    )

    done = subprocess.run(
        [sys.executable, "script.py"], cwd=desk.project, env={**os.environ, **desk.env}, check=False
    )

    assert done.returncode == 0
    names = {
        record["operation"]["name"]: [c["framework"] for c in record.get("captures", ())]
        for record in map(desk.record, desk.ids())
    }
    assert names == {"first": [], "second": ["sklearn"]}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_processes_log_into_the_same_run(desk: Desk, method: str) -> None:
    source = f"""
import multiprocessing, os, reenact

def work(number):
    with reenact.start("a part of it"):
        reenact.log(value=float(number), step=number)

if __name__ == "__main__":
    before = dict(os.environ)
    context = multiprocessing.get_context("{method}")
    with reenact.start() as run:
        children = [context.Process(target=work, args=(n,)) for n in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        reenact.log(value=3.0, step=3)
    assert dict(os.environ) == before
    print(sorted(run.metrics["value"].series.values), len(run.record.processes))
"""

    done = python(desk, source)

    assert done.status == 0, done
    processes = 4 if method == "spawn" else 1
    assert done.out.startswith("[0.0, 1.0, 2.0, 3.0]")
    assert int(done.out.split()[-1]) >= processes
    assert len(desk.ids()) == 1


def test_a_variable_that_the_code_has_set_itself_stays(desk: Desk) -> None:
    source = """
import os, reenact
os.environ["PYTHONPATH"] = "/somewhere"
with reenact.start():
    assert os.environ["PYTHONPATH"].endswith("/somewhere")
    os.environ["REENACT_METRICS"] = "mine"
print(os.environ["PYTHONPATH"], os.environ["REENACT_METRICS"], "REENACT_RUN_ID" in os.environ)
"""

    assert python(desk, source).out == "/somewhere mine False\n"


def test_programs_that_it_starts_report_through_the_metrics_file(desk: Desk) -> None:
    source = """
import reenact, subprocess
with reenact.start() as run:
    subprocess.run('echo acc 0.5 3 >> "$REENACT_METRICS"', shell=True, check=True)
print(run.metrics["acc"].points()[0][:2], run.metrics["acc"].last)
"""

    assert python(desk, source).out == "('acc', 3) 0.5\n"


def test_a_killed_process_leaves_a_killed_run_with_every_point(desk: Desk) -> None:
    desk.write(
        "script.py",
        """
import reenact, time
with reenact.start(lr=0.1) as run:
    for step in range(1000):
        reenact.log(loss=step / 2, step=step)
    (run.directory / "weights.txt").write_text("w")
    print("ready", flush=True)
    time.sleep(600)
""",
    )
    process = subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=desk.project,
        env={**os.environ, **desk.env},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    (run_id,) = desk.ids()
    assert desk.status(run_id) == "running"

    process.kill()
    process.communicate()

    assert desk.status(run_id) == "killed"
    desk.ok("show", run_id)
    record = desk.record(run_id)
    assert record["metrics"]["loss"]["count"] == 1000
    assert [file["path"] for file in record["outputs"]] == ["weights.txt"]
    assert record["flags"] == {"lr": 0.1}
    assert len(record["processes"]) == 1
    assert any(w["message"].startswith("the process was killed") for w in record["warnings"])


def test_stop_interrupts_the_process_which_may_go_on(desk: Desk) -> None:
    desk.write(
        "script.py",
        """
import reenact, time
try:
    with reenact.start() as run:
        print("ready", flush=True)
        time.sleep(600)
except KeyboardInterrupt:
    print(run.status, run.record.exit.requested)
""",
    )
    process = subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=desk.project,
        env={**os.environ, **desk.env},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()

    desk.ok("stop", desk.ids()[0])

    assert process.communicate(timeout=PATIENCE_S)[0] == "terminated stop\n"
    assert process.returncode == 0


def test_a_fork_that_leaves_the_block_does_not_end_the_run(desk: Desk) -> None:
    source = """
import os, reenact
with reenact.start() as run:
    child = os.fork()
    if child == 0:
        reenact.log(child=1.0)
    else:
        os.waitpid(child, 0)
        assert run.status == "running"
if child == 0:
    os._exit(0)
print(run.status, list(run.metrics))
"""

    assert python(desk, source).out == "completed ['child']\n"


def test_git_is_asked_for_the_commit_and_again_when_it_changes(desk: Desk) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    source = """
import reenact, subprocess, pathlib
git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
def state():
    with reenact.start() as run:
        pass
    return run.record.source.vcs
first, again = state(), state()
assert first == again and not first.is_dirty, first
subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "b"], check=True)
assert state().commit != first.commit
pathlib.Path("script.py").open("a").write("# changed\\n")
assert state().is_dirty
"""
    desk.write("script.py", source)
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "a"]):
        subprocess.run([*git, *words], cwd=desk.project, check=True, env={**os.environ, **desk.env})

    assert python(desk, source).status == 0


def test_the_store_that_cannot_be_written_is_said_before_the_code_runs(
    store: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    reached = []

    with pytest.raises(StoreUnusable), reenact.start(store=tmp_path / "file"):
        reached.append(1)

    assert reached == []
    with reenact.start() as run:
        pass
    assert run.status == "completed"


def test_a_store_that_goes_away_meanwhile_does_not_stop_the_code(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    with reenact.start() as run:
        shutil.rmtree(store)

    assert "could not be recorded" in capsys.readouterr().err
    with pytest.raises(NotFound):
        _ = run.status
    with reenact.start() as run:
        pass
    assert run.status == "completed"


def test_figures_of_a_library_that_was_imported_before_are_outputs(desk: Desk) -> None:
    source = """
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import reenact

for _ in range(2):
    with reenact.start() as run:
        plt.plot([1, 2])
        plt.savefig(run.directory / "curve.png")
    print([c.framework for c in run.record.captures],
          [(f.path, f.role) for f in run.record.outputs])
"""

    done = python(desk, source)

    assert done.out == "['matplotlib'] [('curve.png', 'figure')]\n" * 2, done


def test_estimators_of_classes_that_were_imported_before_are_captured(desk: Desk) -> None:
    source = """
from sklearn.linear_model import Ridge
import reenact

for alpha in (0.5, 2.0):
    with reenact.start() as run:
        Ridge(alpha=alpha).fit([[0.0], [1.0]], [0.0, 1.0])
    print(run.record.params["Ridge.alpha"], [c.framework for c in run.record.captures])
"""

    done = python(desk, source)

    assert done.out == "0.5 ['sklearn']\n2.0 ['sklearn']\n", done


# --- run(function) ---


def train(lr: float, epochs: int = 3, *, name: str = "a") -> dict[str, float]:
    for step in range(epochs):
        reenact.log(loss=lr / (step + 1), step=step)
    return {"accuracy": 0.75, "loss-at-end": lr}


def test_a_function_is_called_and_its_arguments_are_flags(store: Path) -> None:
    run = reenact.run(train, lr=0.5, label="x")

    assert run.result == {"accuracy": 0.75, "loss-at-end": 0.5}
    assert run.flags == {"lr": 0.5, "epochs": 3, "name": "a"}
    assert run.record.given == ("lr",)
    assert (run.operation, run.status, run.label) == ("train", "completed", "x")
    assert run.metrics["loss"].count == 3
    assert run.metrics["accuracy"].last == 0.75
    assert reenact.get(run.id).result is None


def test_what_it_returns_is_metrics_only_if_all_of_it_is_numbers(store: Path) -> None:
    import numpy as np

    assert list(reenact.run(lambda: {"a": np.float32(1), "b": 2}).metrics) == ["a", "b"]
    assert list(reenact.run(lambda: {"a": 1, "b": "text"}).metrics) == []
    assert list(reenact.run(lambda: {"a": True}).metrics) == []
    assert list(reenact.run(lambda: 0.5).metrics) == []
    assert list(reenact.run(dict).metrics) == []


def test_a_function_s_exception_is_recorded_and_raised(store: Path) -> None:
    def fail() -> None:
        raise ValueError("no data")

    with pytest.raises(ValueError, match="no data"):
        reenact.run(fail)

    (run,) = reenact.runs(all_projects=True)
    assert run.status == "failed"
    assert run.record.failure is not None
    assert run.record.failure.type == "ValueError"


def test_flags_that_it_does_not_have_and_those_that_are_missing_are_refused(store: Path) -> None:
    with pytest.raises(UnknownFlag, match="unknown flag `lrr` for `train`") as caught:
        reenact.run(train, lrr=0.5)
    assert caught.value.hint == "did you mean `lr`? flags are: lr, epochs, name"
    with pytest.raises(UsageError, match="flag `lr` of `train` is required"):
        reenact.run(train)
    with pytest.raises(UsageError, match="takes only notes"):
        reenact.run(train, lr=0.5, in_place=True)
    assert len(reenact.runs()) == 0


def test_functions_of_all_kinds_can_be_called(store: Path) -> None:
    from functools import partial

    def variable(first: int, *rest: int, **more: int) -> tuple[int, tuple[int, ...], int]:
        return first, rest, more["second"]

    class Model:
        def fit(self, lr: float = 0.5) -> float:
            return lr

        def __call__(self, depth: int) -> int:
            return depth

    assert reenact.run(variable, first=1, second=2).result == (1, (), 2)
    assert reenact.run(partial(train, 0.5), epochs=1).flags["epochs"] == 1
    assert reenact.run(Model().fit, {"lr": 0.25}).flags == {"lr": 0.25}
    assert reenact.run(Model(), depth=3).flags == {"depth": 3}
    assert reenact.run(dict, a=1).result == {"a": 1}


def test_what_has_not_done_its_work_when_it_returns_is_refused(store: Path) -> None:
    async def later() -> None: ...

    def one_by_one():  # type: ignore[no-untyped-def]
        yield 1

    for function in (later, one_by_one):
        with pytest.raises(UsageError, match="returns before it has done its work"):
            reenact.run(function)


def test_it_cannot_be_run_again_from_its_record(desk: Desk) -> None:
    python(desk, "import reenact\nwith reenact.start():\n    pass\n")

    done = desk.reenact("run", "--like", "@latest")

    assert done.status == 125
    assert "was a part of a process" in done.complaint[0]


def test_doctor_says_that_what_is_printed_is_not_kept(desk: Desk) -> None:
    python(desk, "import reenact\nwith reenact.start():\n    print(1)\n")

    findings = {f["what"]: f["detail"] for f in desk.json("doctor")["findings"]}

    assert findings["output"] == "what is printed in a process is not kept"
    assert findings["probe"].startswith("1 Python process")


def test_ctrl_c_ends_the_run_as_interrupted(desk: Desk) -> None:
    desk.write(
        "script.py",
        "import reenact, time\nwith reenact.start():\n    print(1, flush=True)\n    time.sleep(600)\n",
    )
    process = subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=desk.project,
        env={**os.environ, **desk.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    process.stdout.readline()

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)

    (run_id,) = desk.ids()
    wait_until(lambda: desk.status(run_id) != "running", what="the run has ended")
    assert desk.status(run_id) == "terminated"
    assert process.returncode == -signal.SIGINT


def test_a_longer_run_says_what_else_happened_and_what_was_loaded(desk: Desk) -> None:
    done = python(
        desk,
        "import reenact, time, numpy\n"
        "with reenact.start():\n"
        "    numpy.ones((9, 9)) @ numpy.ones((9, 9))\n"
        "    time.sleep(1.1)\n",
    )

    assert done.status == 0, done
    record = only_record(desk)
    assert record["conditions"]["cpus"] == os.cpu_count()
    assert record["conditions"]["before"]["load"] >= 0
    assert len(record["runtime"]) == 64
    assert desk.json("fsck")["problems"] == []
