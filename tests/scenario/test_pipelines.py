"""Pipelines: steps in the order that they need, side by side, resumed, or taken from earlier runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import Desk, wait_until

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "pipeline"

STEP = """
import os, pathlib, sys, time
lr = 0.1
name = ""
fail = False
meet = ""
wait = ""
pathlib.Path(os.environ["PIPELINE_LOG"]).open("a").write(name + "\\n")
if meet:
    # Both of two steps come here, or neither goes on.
    pathlib.Path(os.environ["PIPELINE_LOG"] + "-" + name).touch()
    deadline = time.monotonic() + 120
    while not pathlib.Path(os.environ["PIPELINE_LOG"] + "-" + meet).exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
if wait:
    pathlib.Path(os.environ["PIPELINE_LOG"] + "-waits").write_text(str(os.getpid()))
    while not pathlib.Path(os.environ["PIPELINE_LOG"] + "-go").exists():
        time.sleep(0.01)
found = [pathlib.Path(f).read_text() for f in ("data.txt", "one.txt", "two.txt") if os.path.exists(f)]
pathlib.Path("out.txt").write_text(f"{name}({','.join(found)})")
print(f"loss: {lr}")
if fail:
    sys.exit(3)
"""

DIAMOND = """
all:
  steps: [prepare, one, two, join]
prepare: {main: step, flags: {name: prepare}}
one:
  main: step
  flags: {name: one, meet: ''}
  requires: &prepared {operation: prepare, select: out.txt, rename: out data}
two:
  main: step
  flags: {name: two, meet: ''}
  requires: *prepared
join:
  main: step
  flags: {name: join}
  requires:
    - {operation: one, select: out.txt, rename: out one}
    - {operation: two, select: out.txt, rename: out two}
"""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    desk.env["PIPELINE_LOG"] = str(tmp_path / "log")
    desk.write("step.py", STEP)
    yield desk
    go(desk)  # No step outlives its test.


def ran(desk: Desk) -> list[str]:
    """Return the names of the steps that really ran since the last time that this was asked."""
    path = Path(desk.env["PIPELINE_LOG"])
    names = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return names


def go(desk: Desk) -> None:
    """Let steps that wait go on."""
    Path(desk.env["PIPELINE_LOG"] + "-go").touch()


def wait_for_step(desk: Desk, process: subprocess.Popen[bytes]) -> int:
    """Wait until a step waits; return its process id."""
    path = Path(desk.env["PIPELINE_LOG"] + "-waits")

    def waits() -> bool:
        assert process.poll() is None, process.communicate()
        return path.exists() and bool(path.read_text())

    wait_until(waits, what="a step waits")
    return int(path.read_text())


def pipeline(desk: Desk, *words: str) -> dict[str, Any]:
    """Run a pipeline; return what `--json` says."""
    done = desk.reenact("run", *words, "--json")
    assert done.out, done
    found: dict[str, Any] = json.loads(done.out)
    return found


def statuses(found: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["status"] for step in found["steps"]}


def taken(found: dict[str, Any]) -> list[str]:
    return [step["name"] for step in found["steps"] if step["taken"]]


def run_of(found: dict[str, Any], name: str) -> str:
    return str(next(step["run"] for step in found["steps"] if step["name"] == name))


def output(desk: Desk, found: dict[str, Any], name: str) -> str:
    path: Path = desk.store / "runs" / run_of(found, name) / "out.txt"
    return path.read_text()


# --- order ---


def test_steps_run_in_the_order_of_what_they_require_side_by_side(desk: Desk) -> None:
    desk.write("reenact.yml", DIAMOND)

    found = pipeline(desk, "all", "--jobs", "2", "one:meet=two", "two:meet=one")

    assert statuses(found) == dict.fromkeys(["prepare", "one", "two", "join"], "completed")
    names = ran(desk)
    assert (names[0], sorted(names[1:3]), names[3]) == ("prepare", ["one", "two"], "join")
    assert output(desk, found, "join") == "join(one(prepare()),two(prepare()))"
    run = desk.store / "runs" / found["run"]["id"]
    assert (run / "join" / "out.txt").read_text() == output(desk, found, "join")
    assert os.readlink(run / "join") == f"../{run_of(found, 'join')}"


def test_a_list_of_steps_of_which_nothing_is_said_runs_in_its_order_even_with_jobs(
    desk: Desk,
) -> None:
    desk.write(
        "reenact.yml",
        "all: {steps: [step name=a, step name=b, step name=c]}\nstep: {main: step, flags: {name: x}}\n",
    )

    found = pipeline(desk, "all", "--jobs", "3")

    assert ran(desk) == ["a", "b", "c"]
    assert list(statuses(found)) == ["step", "step_2", "step_3"]
    assert [s["needs"] for s in found["run"]["pipeline"]["steps"][1:]] == [
        ["step"],
        ["step", "step_2"],
    ]


def test_needs_says_the_order_and_an_empty_list_that_there_is_none(desk: Desk) -> None:
    desk.write(
        "reenact.yml",
        """
all:
  steps:
    - {run: step name=last, name: last, needs: first}
    - {run: step name=first, name: first, needs: []}
    - {run: step name=x meet=y, name: x, needs: []}
    - {run: step name=y meet=x, name: y, needs: []}
step: {main: step, flags: {name: '', meet: ''}}
""",
    )

    found = pipeline(desk, "all", "--jobs", "2")

    names = ran(desk)
    assert names.index("first") < names.index("last")
    assert found["run"]["exit"] == {"code": 0}


@pytest.mark.parametrize(
    ("steps", "complaint"),
    [
        ("[{run: a, needs: b}, {run: b, needs: a}]", "reenact.yml:2: steps wait for each other"),
        ("[a, b]", "reenact.yml:2: steps wait for each other: `a` → `b` → `a`"),
        ("[c, {run: all}]", "pipelines start each other: `all` → `all`"),
        ("[c, nothing]", "reenact.yml:2: step `nothing`: "),
        ("[c unknown=3]", "reenact.yml:2: step `c`: "),
        ("[{run: c, flags: {name: '${no}'}}]", "step `c` refers to `no`, which is no flag"),
        ("[a]", "reenact.yml:3: `b` needs a completed run of `b`"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_starts(
    desk: Desk, steps: str, complaint: str
) -> None:
    desk.write(
        "reenact.yml",
        f"""all:
  steps: {steps}
a: {{main: step, requires: {{operation: b}}}}
b: {{main: step, requires: {{operation: a}}}}
c: {{main: step, flags: {{name: c}}}}
""",
    )

    done = desk.reenact("run", "all")

    assert done.status in (2, 125), done
    assert complaint in done.err
    assert ran(desk) == []
    assert desk.ids() == []


# --- failures ---

FAILING = """
all:
  steps:
    - {run: step name=bad fail=yes, name: bad, needs: []}
    - {run: step name=after, name: after, needs: bad}
    - {run: step name=other, name: other, needs: []}
step: {main: step, flags: {name: '', fail: no}}
"""


def test_the_first_failure_ends_a_pipeline(desk: Desk) -> None:
    desk.write("reenact.yml", FAILING)

    done = desk.reenact("run", "all")

    assert done.status == 1
    assert ran(desk) == ["bad"]
    assert "bad: failed with exit status 3" in done.err
    assert "after: does not run: `bad` has failed" in done.err
    assert "other: does not run: another step has failed" in done.err


def test_keep_going_runs_what_does_not_depend_on_what_failed(desk: Desk) -> None:
    desk.write("reenact.yml", FAILING)

    found = pipeline(desk, "all", "--keep-going")

    assert ran(desk) == ["bad", "other"]
    assert statuses(found) == {"bad": "failed", "after": "skipped", "other": "completed"}
    assert found["run"]["exit"] == {"code": 1}
    shown = desk.json("show", found["run"]["id"])
    assert [step["status"] for step in shown["steps"]] == ["failed", "skipped", "completed"]


def test_what_is_expected_of_a_step_is_checked(desk: Desk) -> None:
    desk.write("wanted.txt", "good()")
    desk.write(
        "reenact.yml",
        """
all:
  steps:
    - run: step name=good
      expect:
        - {file: out.txt, compare-to: wanted.txt}
        - {file: 'o*.txt', contains: 'g..d'}
        - {output: '^loss: 0\\.1$'}
    - run: step name=bad
      expect:
        - {file: out.txt, contains: good}
        - {output: '^loss: 0\\.2$'}
    - step name=never
step: {main: step, flags: {name: ''}}
""",
    )

    done = desk.reenact("run", "all")

    assert done.status == 1
    assert ran(desk) == ["good", "bad"]
    assert "step_2: failed: reenact.yml:11: `out.txt` does not match `good`" in done.err
    assert r"reenact.yml:12: the output does not match `^loss: 0\.2$`" in done.err


# --- resuming ---

WAITING = """
all:
  steps:
    - {run: step name=first, name: first}
    - {run: step name=second wait=yes, name: second}
    - {run: step name=third, name: third}
step: {main: step, flags: {name: '', wait: ''}}
"""


def kill_all(desk: Desk, process: subprocess.Popen[bytes], script: int) -> None:
    """Kill a pipeline, the supervisors of its parts, and a script."""
    process.kill()
    process.wait()
    for run_id in desk.ids():
        record = desk.record(run_id)
        pid = record.get("supervisor_pid")
        if record.get("ended") is None and pid is not None and pid != process.pid:
            os.kill(pid, signal.SIGKILL)
    os.kill(script, signal.SIGKILL)


def test_a_killed_pipeline_goes_on_with_what_is_missing(desk: Desk) -> None:
    desk.write("reenact.yml", WAITING)
    with desk.start("run", "all") as process:
        kill_all(desk, process, wait_for_step(desk, process))
    [whole] = [r for r in desk.json("runs")["runs"] if r["operation"] == "all"]
    assert whole["status"] == "killed"
    assert ran(desk) == ["first", "second"]
    before = len(desk.ids())
    # What the project holds by now is of no interest: it goes on from its own source.
    desk.write("step.py", "raise SystemExit(9)")
    desk.write("reenact.yml", "all: {steps: [other]}\nother: {main: step}\n")
    go(desk)

    found = pipeline(desk, "--restart", whole["id"])

    assert statuses(found) == dict.fromkeys(["first", "second", "third"], "completed")
    assert ran(desk) == ["second", "third"]
    assert found["run"]["restarts"] == 1
    assert len(desk.ids()) == before + 1


def test_a_step_that_outlives_its_pipeline_is_waited_for(desk: Desk) -> None:
    desk.write("reenact.yml", WAITING)
    with desk.start("run", "all") as process:
        wait_for_step(desk, process)
        process.kill()
    [whole] = [r for r in desk.json("runs")["runs"] if r["operation"] == "all"]

    with desk.start("run", "--restart", whole["id"], "--json") as process:
        wait_until(lambda: desk.status(whole["id"]) == "running", what="the pipeline is resumed")
        go(desk)
        out, _ = process.communicate()

    found = json.loads(out)
    assert statuses(found) == dict.fromkeys(["first", "second", "third"], "completed")
    assert ran(desk) == ["first", "second", "third"]


def test_a_killed_batch_in_a_pipeline_goes_on_with_its_missing_trials(desk: Desk) -> None:
    desk.write(
        "reenact.yml",
        """
all:
  steps:
    - {run: 'step lr=[1,2,3] name=trial', name: trials, flags: {wait: '${wait}'}}
    - {run: step name=last, name: last}
  flags: {wait: ''}
step: {main: step, flags: {name: '', wait: '', lr: 0}}
""",
    )
    with desk.start("run", "all", "wait=yes") as process:
        kill_all(desk, process, wait_for_step(desk, process))
    go(desk)
    wait_until(lambda: ran(desk) is not None, what="the log is read")

    found = pipeline(desk, "--restart", "@latest")

    assert statuses(found) == {"trials": "completed", "last": "completed"}
    assert ran(desk) == ["trial", "trial", "trial", "last"]
    batch = desk.record(run_of(found, "trials"))
    assert (batch["restarts"], batch["batch"]["completed"]) == (1, 3)


@pytest.mark.parametrize("target", ["all", "outer"])
def test_a_deleted_trial_of_a_completed_step_is_missing(desk: Desk, target: str) -> None:
    desk.write(
        "reenact.yml",
        """
outer: {steps: [all]}
all:
  steps:
    - {run: 'step lr=[1,2,3] name=trial', name: trials}
    - {run: step name=last, name: last}
step: {main: step, flags: {name: '', lr: 0}}
""",
    )
    first = pipeline(desk, target)
    ran(desk)
    batch = next(run["id"] for run in desk.json("runs", "--all")["runs"] if run["batch"])
    trials = [trial["id"] for trial in desk.json("show", batch)["trials"]]
    desk.ok("rm", trials[1], "--yes")

    found = pipeline(desk, "--restart", first["run"]["id"])

    assert set(statuses(found).values()) == {"completed"}
    assert ran(desk) == ["trial"]
    again = desk.json("show", batch)["trials"]
    assert [trial["status"] for trial in again] == ["completed"] * 3
    assert [again[0]["id"], again[2]["id"]] == [trials[0], trials[2]]

    desk.ok("rm", trials[2], "--yes")
    desk.ok("run", "--restart", batch)
    assert ran(desk) == ["trial"]
    assert desk.record(batch)["batch"]["completed"] == 3


def test_a_step_that_failed_runs_again_with_restart(desk: Desk) -> None:
    desk.write(
        "flaky.py",
        "import os, sys\nsys.exit(not os.path.exists(os.environ['PIPELINE_LOG'] + '-go'))",
    )
    desk.write(
        "reenact.yml",
        "all: {steps: [flaky.py, step name=last]}\nstep: {main: step, flags: {name: ''}}\n",
    )
    first = pipeline(desk, "all")
    assert statuses(first) == {"flaky.py": "failed", "step": "skipped"}
    go(desk)

    found = pipeline(desk, "--restart", first["run"]["id"])

    assert statuses(found) == {"flaky.py": "completed", "step": "completed"}
    assert run_of(found, "flaky.py") == run_of(first, "flaky.py")


def test_an_edit_reaches_no_step_of_a_pipeline_that_runs(desk: Desk) -> None:
    desk.write("reenact.yml", WAITING)
    with desk.start("run", "all", "--json") as process:
        wait_for_step(desk, process)
        desk.write("step.py", "raise SystemExit(9)")
        go(desk)
        out, _ = process.communicate()

    assert statuses(json.loads(out)) == dict.fromkeys(["first", "second", "third"], "completed")


def test_ctrl_c_ends_a_pipeline_and_it_can_be_resumed(desk: Desk) -> None:
    desk.write("reenact.yml", WAITING)
    with desk.start("run", "all", start_new_session=True) as process:
        wait_for_step(desk, process)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate()
    assert process.returncode == -signal.SIGINT
    [whole] = [r for r in desk.json("runs")["runs"] if r["operation"] == "all"]
    assert whole["status"] == "terminated"
    go(desk)

    found = pipeline(desk, "--restart", whole["id"])

    assert found["run"]["exit"] == {"code": 0}


# --- flags, batches, pipelines in pipelines ---


def test_flags_reach_the_steps_by_reference_and_by_the_name_of_a_step(desk: Desk) -> None:
    desk.write(
        "reenact.yml",
        """
all:
  flags: {rate: 0.5, 'b:lr': 7, who: me}
  steps:
    - {run: step, name: a, flags: {lr: '${rate}', name: 'by ${who}'}, label: 'of ${who} ${lr}'}
    - {run: step lr=3, name: b}
    - {run: step lr=3, name: c}
step: {main: step, flags: {lr: 0, name: ''}}
""",
    )

    found = pipeline(desk, "all", "rate=0.25", "c:lr=9", "--tag", "tagged")

    flags = {n: desk.record(run_of(found, n))["flags"] for n in ("a", "b", "c")}
    assert flags["a"] == {"lr": 0.25, "name": "by me"}
    assert (flags["b"]["lr"], flags["c"]["lr"]) == (7, 9)
    assert found["run"]["flags"] == {"rate": 0.25, "b:lr": 7, "who": "me", "c:lr": "9"}
    notes = json.loads(desk.file(run_of(found, "a"), "notes.json").read_text())
    assert (notes["label"], notes["tags"]) == ("of me 0.25", ["tagged"])


def test_a_step_can_be_a_batch_whose_trials_another_step_requires(desk: Desk) -> None:
    desk.write("rows.csv", "lr\n5\n6\n")
    desk.write(
        "reenact.yml",
        """
all:
  steps:
    - run: train
      flags: {lr: [1, 2, 3]}
    - {run: 'train @rows.csv', name: rows, needs: []}
    - join
train: {main: step, flags: {lr: 0, name: train}}
join:
  main: step
  flags: {name: join}
  requires: {operation: train, select: out.txt, rename: out one}
""",
    )

    found = pipeline(desk, "all", "--jobs", "2")

    batch = desk.json("show", run_of(found, "train"))
    assert [trial["flags"]["lr"] for trial in batch["trials"]] == [1, 2, 3]
    assert (batch["run"]["parent"], batch["run"]["part"]) == (found["run"]["id"], "train")
    assert desk.record(run_of(found, "rows"))["batch"]["completed"] == 2
    [dependency] = desk.record(run_of(found, "join"))["dependencies"]
    assert dependency["run"] in {
        trial["id"] for name in ("train", "rows")
        for trial in desk.json("show", run_of(found, name))["trials"]
    }  # fmt: skip


def test_a_failed_trial_fails_its_step_only_where_that_is_asked_for(desk: Desk) -> None:
    desk.write(
        "reenact.yml",
        """
all:
  steps:
    - {run: 'step fail=[no,yes]', name: lenient}
    - {run: 'step fail=[no,yes]', name: strict, fail-on-trial-error: yes}
step: {main: step, flags: {name: '', fail: no}}
""",
    )

    found = pipeline(desk, "all")

    assert statuses(found) == {"lenient": "completed", "strict": "failed"}
    assert found["steps"][0]["remark"] == "1 trial failed, 1 completed"


def test_a_step_can_be_a_pipeline(desk: Desk) -> None:
    desk.write(
        "reenact.yml",
        """
- model: m
  operations:
    outer: {steps: [inner rate=2, {run: last, name: end}], flags: {rate: 1}}
    inner:
      flags: {rate: 1}
      steps: [{run: first, flags: {lr: '${rate}'}}]
    first: {main: step, flags: {lr: 0, name: first}}
    last:
      main: step
      flags: {name: last}
      requires: {operation: first, select: out.txt, rename: out data}
""",
    )

    found = pipeline(desk, "outer")

    assert statuses(found) == {"inner": "completed", "end": "completed"}
    inner = desk.json("show", run_of(found, "inner"))
    assert inner["run"]["parent"] == found["run"]["id"]
    assert desk.record(inner["steps"][0]["run"])["flags"]["lr"] == 2
    assert output(desk, found, "end") == "last(first())"
    again = pipeline(desk, "outer", "--needed")
    assert taken(again) == ["end"]
    assert desk.json("show", run_of(again, "inner"))["steps"][0]["taken"] is True


def test_only_runs_of_the_pipeline_count_unless_a_step_says_otherwise(desk: Desk) -> None:
    desk.write(
        "reenact.yml",
        """
own: {steps: [last]}
any: {steps: [{run: last, isolate-runs: no}]}
first: {main: step, flags: {name: first}}
last:
  main: step
  flags: {name: last}
  requires: {operation: first, select: out.txt, rename: out data}
""",
    )
    before = desk.reenact("run", "own")
    first = desk.run("first")

    isolated = desk.reenact("run", "own")
    found = pipeline(desk, "any")

    assert (before.status, isolated.status) == (2, 2)
    assert "`reenact run first` first and `isolate-runs: no` at the step" in before.err
    assert "needs a completed run of `first`, and this pipeline has none" in isolated.err
    assert f"run {first[:8]} would do with `isolate-runs: no` at the step" in isolated.err
    assert output(desk, found, "last") == "last(first())"


def test_attributes_of_a_step_reach_its_run(desk: Desk) -> None:
    desk.write(
        "reenact.yml",
        """
all:
  steps:
    - {run: step, name: a, label: L, tags: [x, y], comment: C, gpus: '1'}
    - {run: step wait=yes, name: b, stop-after: 0.005}
step: {main: step, flags: {name: '', wait: ''}}
""",
    )

    found = pipeline(desk, "all")

    notes = json.loads(desk.file(run_of(found, "a"), "notes.json").read_text())
    assert notes == {"label": "L", "tags": ["x", "y"], "comment": "C"} | notes
    assert desk.record(run_of(found, "b"))["exit"]["requested"] == "time-limit"
    assert statuses(found) == {"a": "completed", "b": "failed"} | statuses(found)


# --- runs that are there ---


def test_an_unchanged_pipeline_runs_nothing_the_second_time(desk: Desk) -> None:
    desk.write("reenact.yml", DIAMOND)
    first = pipeline(desk, "all")
    ran(desk)

    second = pipeline(desk, "all", "--needed")

    assert ran(desk) == []
    assert taken(second) == ["prepare", "one", "two", "join"]
    assert [s["run"] for s in second["steps"]] == [s["run"] for s in first["steps"]]
    assert second["run"]["pipeline"]["taken"] == 4


SINGLE = """
train:
  main: step
  flags: {name: train, lr: 0.1}
  sourcecode: [step.py]
  requires: {file: given.txt}
other: {main: step}
"""

CHANGES = [
    ("train", "lr=0.2", {}, "flags: lr 0.1 → 0.2"),
    ("train", "", {"OMP_NUM_THREADS": "3"}, "environment: OMP_NUM_THREADS unset → 3"),
    ("train", "--env=OWN=1", {}, "variables: OWN"),
]


@pytest.mark.parametrize(("operation", "word", "env", "reason"), CHANGES)
def test_what_makes_a_run_different_is_said(
    desk: Desk, operation: str, word: str, env: dict[str, str], reason: str
) -> None:
    desk.env.pop("OMP_NUM_THREADS", None)
    desk.write("given.txt", "1")
    desk.write("reenact.yml", SINGLE)
    run_id = desk.run(operation, env=env_without("OMP_NUM_THREADS"))

    words = [operation, *filter(None, [word])]
    done = desk.reenact("run", *words, "--explain", env={**env_without("OMP_NUM_THREADS"), **env})

    assert done.complaint[-1] == f"it runs: nearest is run {run_id[:8]}, {reason}"


def env_without(name: str) -> dict[str, str]:
    """Return variables for a command from which one of the test's own must be gone."""
    if name in os.environ:
        pytest.skip(f"{name} is set")
    return {}


def test_every_file_that_made_a_run_counts_and_nothing_else(desk: Desk) -> None:
    desk.write("given.txt", "1")
    desk.write("read.txt", "1")
    desk.write("never.txt", "1")
    desk.write("helper.py", "open('read.txt').read()")
    desk.write("step.py", f"import helper\n{STEP}")
    desk.write("reenact.yml", SINGLE)
    run_id = desk.run("train")
    ran(desk)

    def reason() -> str:
        done = desk.reenact("run", "train", "--explain")
        assert done.status == 0, done
        said = next(line for line in done.complaint if "run " in line)
        return said.partition(", ")[2] if ran(desk) else "taken"

    assert reason() == "taken"
    desk.write("never.txt", "2")
    desk.write("reenact.yml", f"# A line more.\n{SINGLE}new: {{main: step}}\n")
    os.utime(desk.project / "read.txt")
    assert reason() == "taken"
    desk.write("read.txt", "2")
    assert reason() == "inputs: read.txt changed"
    desk.write("given.txt", "2")
    assert reason() == "requirements: given.txt changed"
    desk.write("helper.py", "open('read.txt').read(5)")
    assert reason() == "inputs: helper.py changed"
    desk.write("step.py", f"import helper\n{STEP}\n")
    assert reason() == "source: step.py"
    desk.write("reenact.yml", SINGLE.replace("train, lr", "train, more: 1, lr"))
    assert "operation: its definition in the project file" in reason()
    assert reason() == "taken"
    assert run_id in desk.ids()


def test_another_package_makes_a_run_different(desk: Desk, tmp_path: Path) -> None:
    made = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")]
    subprocess.run(made, check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    run_id = desk.run("step.py", "--python", python)
    same = desk.reenact("run", "step.py", "--python", python, "--needed")
    [site] = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "thing-1.5.dist-info").mkdir()
    (site / "thing-1.5.dist-info" / "METADATA").write_text("Name: thing\nVersion: 1.5\n")

    other = desk.reenact("run", "step.py", "--python", python, "--explain")

    assert f"run {run_id[:8]} is taken" in same.err
    said = f"it runs: nearest is run {run_id[:8]}, environment: thing absent → 1.5"
    assert said in other.complaint


def test_a_run_whose_outputs_are_not_what_they_were_is_not_taken(desk: Desk) -> None:
    desk.write("reenact.yml", "train: {main: step, flags: {name: train}}\n")
    run_id = desk.run("train")
    (desk.store / "runs" / run_id / "out.txt").write_text("another")

    done = desk.reenact("run", "train", "--needed", "--explain")

    assert done.complaint[-1] == f"it runs: nearest is run {run_id[:8]}, outputs: out.txt changed"
    assert ran(desk) == ["train", "train"]


def test_a_run_that_nobody_watched_is_not_taken(desk: Desk) -> None:
    run_id = desk.run("step.py", "--trace-files", "off")

    done = desk.reenact("run", "step.py", "--explain")

    said = f"it runs: nearest is run {run_id[:8]}, inputs: nobody watched what it read"
    assert said in done.complaint


def test_a_failed_run_is_not_taken(desk: Desk) -> None:
    desk.write("reenact.yml", "train: {main: step, flags: {name: train, fail: no}}\n")
    desk.run("train", "fail=yes")

    done = desk.reenact("run", "train", "fail=yes", "--needed", "--explain")

    assert done.status == 3
    assert done.complaint == ["it runs: no run of it has completed"]


def test_a_requirement_counts_by_content_whichever_run_it_is_of(desk: Desk) -> None:
    desk.write("reenact.yml", DIAMOND)
    desk.ok("run", "prepare")
    desk.ok("run", "one")
    desk.ok("run", "prepare", "--label", "again")
    ran(desk)

    same = desk.reenact("run", "one", "--needed")
    desk.ok("run", "prepare", "name=new")
    other = desk.reenact("run", "one", "--explain")

    assert (same.status, other.status) == (0, 0)
    assert "is taken: all that made it is the same" in same.err
    assert "requirements: data.txt changed" in other.err
    assert ran(desk) == ["new", "one"]


@pytest.mark.parametrize("lr", ["1", "[1,2]"])
def test_what_a_run_that_is_taken_makes_void_is_said(desk: Desk, lr: str) -> None:
    first = desk.json("run", "step.py", f"lr={lr}", "--label", "old")["run"]["id"]
    short = f"run {first[:8]} is taken as it is"
    again = ("run", "step.py", f"lr={lr}", "--needed")

    labelled = desk.reenact(*again, "--label", "new", "--tag", "t")
    staged = desk.reenact(*again, "--stage")
    behind = desk.reenact(*again, "--background", "--comment", "c")
    plain = desk.reenact(*again)

    assert f"{short}: its label and tags stay\n" in labelled.err
    assert f"{short}: nothing is staged\n" in staged.err
    assert f"{short}: its comment stays; nothing is started in the background\n" in behind.err
    assert short not in plain.err
    assert (labelled.out, staged.out, behind.out) == ("", f"{first}\n", f"{first}\n")
    assert desk.json("show", first)["notes"]["label"] == "old"


def test_a_script_and_a_batch_are_taken_as_well(desk: Desk) -> None:
    first = desk.json("run", "step.py", "lr=[1,2]", "name=n")
    ran(desk)

    again = desk.json("run", "step.py", "lr=[1,2]", "name=n", "--needed")
    more = desk.reenact("run", "step.py", "lr=[1,2,3]", "name=n", "--explain")
    single = desk.json("run", "step.py", "lr=2", "name=n", "--needed")

    assert (again["taken"], again["run"]["id"]) == (True, first["run"]["id"])
    assert "flags: other trials" in more.err
    assert single["taken"] is True
    assert ran(desk) == ["n"] * 3


def test_a_step_says_itself_whether_earlier_runs_will_do(desk: Desk) -> None:
    desk.write(
        "reenact.yml",
        """
all:
  steps:
    - {run: step name=a, name: a, needed: yes}
    - {run: step name=b, name: b, needed: no}
step: {main: step, flags: {name: ''}}
""",
    )
    pipeline(desk, "all")
    ran(desk)

    assert taken(pipeline(desk, "all")) == ["a"]
    assert taken(pipeline(desk, "all", "--needed")) == ["a"]
    assert ran(desk) == ["b", "b"]


def test_a_run_that_fails_a_check_is_not_taken(desk: Desk) -> None:
    check = "all: {steps: [{run: step name=a, expect: {file: out.txt, contains: '%s'}}]}\n"
    step = "step: {main: step, flags: {name: ''}}\n"
    desk.write("reenact.yml", check % "a" + step)
    pipeline(desk, "all")
    desk.write("reenact.yml", check % "b" + step)
    ran(desk)

    done = desk.reenact("run", "all", "--explain")

    assert done.status == 1
    assert "check: reenact.yml:1: `out.txt` does not match `b`" in done.err
    assert ran(desk) == ["a"]


def test_the_example_runs_side_by_side_and_the_second_time_not_at_all(desk: Desk) -> None:
    shutil.copytree(EXAMPLE, desk.project, dirs_exist_ok=True)

    first = pipeline(desk, "study", "--jobs", "2")
    second = pipeline(desk, "study", "--jobs", "2", "--needed")
    faster = pipeline(desk, "study", "--needed", "lr=0.2")

    assert set(statuses(first).values()) == {"completed"}
    assert desk.record(run_of(first, "train"))["batch"]["completed"] == 3
    report = desk.store / "runs" / first["run"]["id"] / "report" / "report.md"
    assert "Of 45 flowers 97.8% were told right, 88.9% by the nearest mean." in report.read_text()
    assert [s["run"] for s in second["steps"]] == [s["run"] for s in first["steps"]]
    assert taken(faster)[:2] == ["prepare", "baseline"]
    assert run_of(faster, "train") != run_of(first, "train")


# --- the rest of the commands ---


def test_other_commands_know_pipelines(desk: Desk) -> None:
    desk.write("reenact.yml", DIAMOND)
    found = pipeline(desk, "all")
    run_id = found["run"]["id"]

    assert desk.ok("path", f"{run_id}/join").strip().endswith(run_of(found, "join"))
    assert "nothing" not in desk.ok("show", run_id)
    assert desk.reenact("run", "--like", run_id).status == 125
    assert desk.reenact("run", "all", "--edit").status == 2
    assert desk.reenact("run", "all", "--variants", "main").status == 2
    assert desk.ok("fsck") is not None
    desk.ok("gc", "--yes") if "--yes" in desk.ok("gc", "--help") else desk.ok("gc")
    assert pipeline(desk, "all", "--needed")["run"]["pipeline"]["taken"] == 4
    desk.ok("rm", run_id, "--yes") if "--yes" in desk.ok("rm", "--help") else desk.ok("rm", run_id)
    assert run_of(found, "join") not in desk.ids()


def test_the_graph_shows_steps_that_ran_and_steps_that_were_taken(desk: Desk) -> None:
    desk.write("reenact.yml", DIAMOND)
    first = pipeline(desk, "all")
    second = pipeline(desk, "all", "--needed", "join:name=again")

    shown = desk.ok("graph", second["run"]["id"])

    for name in ("prepare", "one", "two"):
        assert f"part {name} to {run_of(first, name)[:8]}" in shown
    assert f"part join to {run_of(second, 'join')[:8]}" in shown
    assert desk.reenact("doctor", first["run"]["id"]).status == 0


def test_a_dry_run_shows_the_steps(desk: Desk) -> None:
    desk.write("reenact.yml", DIAMOND)

    shown = desk.json("run", "all", "--dry-run")

    assert [(s["name"], s["needs"]) for s in shown["steps"]] == [
        ("prepare", []),
        ("one", ["prepare"]),
        ("two", ["prepare"]),
        ("join", ["one", "two"]),
    ]
    assert desk.ids() == []


def test_a_pipeline_in_the_background_is_one_run(desk: Desk) -> None:
    desk.write("reenact.yml", DIAMOND)

    run_id = desk.ok("run", "all", "--background").strip()

    wait_until(lambda: desk.status(run_id) == "completed", what="the pipeline completes")
    assert sorted(ran(desk)) == ["join", "one", "prepare", "two"]


def test_stop_ends_a_pipeline_and_its_steps(desk: Desk) -> None:
    desk.write("reenact.yml", WAITING)
    with desk.start("run", "all") as process:
        wait_for_step(desk, process)
        [whole] = [r for r in desk.json("runs")["runs"] if r["operation"] == "all"]

        desk.ok("stop", whole["id"])

        process.communicate()
    assert desk.status(whole["id"]) == "terminated"
    assert ran(desk) == ["first", "second"]
