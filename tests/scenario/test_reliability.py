"""Kill anything at any moment: what is left is a whole run, or one that everybody sees as unfinished.

`REENACT_KILLS=200` makes the loop as long as it is worth being by hand.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from commands import Desk, wait_until
from needs import needs
from reenact.store.metric_log import MetricLog
from reenact.store.output_log import read_output

KILLS = int(os.environ.get("REENACT_KILLS", "24"))
SEED = int(os.environ.get("REENACT_SEED", random.randrange(10**6)))

STEPS = 40
SCRIPT = f"""
import os, sys, time

def told(text):
    os.write(told.file, text.encode() + b"\\n")

told.file = os.open(os.environ["TOLD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
told(f"pid {{os.getpid()}}")
metrics = os.open(os.environ["REENACT_METRICS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for step in range({STEPS}):
    told(f"printing {{step}}")
    print(f"step {{step}} loss: {{1 / (step + 1)}}")
    told(f"printed {{step}}")
    os.write(metrics, f"filed {{step / 7}} {{step}}\\n".encode())
    told(f"filed {{step}}")
    with open(f"out{{step % 3}}.txt", "w") as file:
        file.write("x" * step)
    time.sleep(0.003)
"""


class Killed(NamedTuple):
    """What was seen of a run before something was killed, and what its script has told since."""

    id: str
    who: str
    stored_bytes: int
    told: dict[str, int]

    def expected_output(self) -> bytes:
        return b"".join(
            b"step %d loss: %s\n" % (n, repr(1 / (n + 1)).encode()) for n in range(STEPS)
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.write("train.py", SCRIPT)
    desk.write("data/train.csv", "1,2")
    for number in range(60):
        desk.write(f"pkg/module{number}.py", f"x = {number}")
        desk.write(f"config/{number}.yaml", f"x: {number}\n" * 50)
    return desk


def read_told(path: Path) -> dict[str, int]:
    """Return the last number that a script has told of each kind."""
    if not path.exists():
        return {}
    lines = [line.split() for line in path.read_text().splitlines()]
    return {word: int(number) for word, number in lines}


def is_alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def kill_one(desk: Desk, number: int, who: str, after_s: float) -> Killed:
    """Start a run and kill its supervisor, its script or both after some time."""
    run_id = f"{number:032x}"
    path = desk.project.parent / f"told{number}"
    with desk.start(
        "run",
        "train.py",
        "--run-id",
        run_id,
        env={"TOLD": str(path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as supervisor:
        time.sleep(after_s)
        output = desk.file(run_id, "output")
        stored = output.stat().st_size if output.exists() else 0
        script = read_told(path).get("pid")
        if who != "script":
            supervisor.kill()
        if who != "supervisor" and script is not None:
            try:
                os.kill(script, signal.SIGKILL)
            except ProcessLookupError:
                pass
    # Without a supervisor the script ends by itself, at the next line that it prints.
    wait_until(
        lambda: not is_alive(read_told(path).get("pid", 0)), what=f"the script of {run_id} is gone"
    )
    return Killed(run_id, who, stored, read_told(path))


def check(desk: Desk, killed: Killed, found: dict[str, Any]) -> None:
    """Compare what is stored of a run with what its script has told."""
    status = found["status"]
    record = desk.record(killed.id)
    directory = str(desk.file(killed.id, ""))
    assert status in ("completed", "failed", "killed"), found
    if killed.who == "script":
        assert status != "killed"
        assert status == "completed" or record["exit"]["signal"] == signal.SIGKILL
    assert record["ended"]
    output = b"".join(piece.data for piece in read_output(directory))
    expected = killed.expected_output()
    # A traceback of a broken pipe may follow what the script printed, never anything else.
    lines = [line for line in output.splitlines(keepends=True) if line.startswith(b"step ")]
    assert expected.startswith(b"".join(lines))
    assert len(output) >= killed.stored_bytes
    if killed.who == "script" or status == "completed":
        assert sum(line.endswith(b"\n") for line in lines) > killed.told.get("printed", -1)
    points = list(MetricLog(directory).points())
    losses = [(point.step, point.value) for point in points if point.name == "loss"]
    whole = [line for line in lines if line.endswith(b"\n")]
    assert losses == [(n, 1 / (n + 1)) for n in range(len(whole))]
    filed = [(point.step, point.value) for point in points if point.name == "filed"]
    assert filed == [(n, n / 7) for n in range(len(filed))]
    assert len(filed) > killed.told.get("filed", -1)
    assert {output["path"] for output in record.get("outputs", ())} <= {
        "out0.txt",
        "out1.txt",
        "out2.txt",
    }
    assert record.get("metrics", {}).get("filed", {}).get("count", 0) == len(filed)


def test_whatever_is_killed_at_whatever_moment_nothing_is_lost(desk: Desk) -> None:
    chance = random.Random(SEED)
    untouched = desk.run("train.py", env={"TOLD": str(desk.project.parent / "told")})
    before = desk.file(untouched, "run.json").read_bytes()
    started = time.monotonic()
    desk.run("train.py", env={"TOLD": os.devnull}, stdout=subprocess.DEVNULL)
    whole_s = time.monotonic() - started

    killed = [
        kill_one(
            desk,
            number,
            chance.choice(["supervisor", "supervisor", "script", "both"]),
            chance.uniform(0.03, 1.05) * whole_s,
        )
        for number in range(1, KILLS + 1)
    ]
    first_look = desk.json("fsck")
    found = {run["id"]: run for run in desk.json("runs", "--all", "--limit", "0")["runs"]}

    try:
        assert first_look["problems"] == []
        published = [one for one in killed if (desk.store / "runs" / one.id).exists()]
        assert {one.id for one in published} <= set(found)
        for one in published:
            check(desk, one, found[one.id])
        assert found[untouched]["status"] == "completed"
        assert desk.file(untouched, "run.json").read_bytes() == before
        make_old(desk)
        again = desk.json("fsck", "--repair")
        assert (again["problems"], again["unfinished"]) == ([], [])
        assert not list((desk.store / "runs").glob("*.new"))
        for one in published:
            left = {path.name for path in desk.file(one.id, "").iterdir()}
            assert left <= {"run.json", "metrics", "metrics.names", "output", "output.index"}
        assert tree_is_untouched(desk)
    except AssertionError as error:
        error.add_note(f"REENACT_SEED={SEED} REENACT_KILLS={KILLS}")
        raise
    print_outcome(killed, found)


def make_old(desk: Desk) -> None:
    """Let some time go by for what was not published: at first it may be of a living process."""
    for path in desk.store.glob("runs/*.new"):
        for one in (path, *path.glob(".reenact/lock")):
            os.utime(one, (1e9, 1e9))


def tree_is_untouched(desk: Desk) -> bool:
    return (desk.project / "train.py").read_text() == SCRIPT and sorted(
        name for name in os.listdir(desk.project) if name != "__pycache__"
    ) == ["config", "data", "pkg", "train.py"]


def print_outcome(killed: list[Killed], found: dict[str, Any]) -> None:
    """Say with `pytest -s` how many runs were hit when."""
    counts: dict[str, int] = {}
    for one in killed:
        status = found[one.id]["status"] if one.id in found else "not begun"
        key = f"{one.who}: {status}"
        counts[key] = counts.get(key, 0) + 1
    print(f"\n{len(killed)} kills, seed {SEED}: {json.dumps(counts, sort_keys=True)}")


class TestKilledSupervisor:
    """One at a time, at moments that chance finds too seldom."""

    def begin(self, desk: Desk, script: str, *words: str) -> tuple[str, subprocess.Popen[bytes]]:
        desk.write("train.py", script)
        supervisor = desk.start("run", "train.py", *words)
        wait_until(
            lambda: [i for i in desk.ids() if "started" in desk.record(i)],
            what="the run has started",
        )
        run_id = desk.ids()[-1]
        wait_until((desk.store / "runs" / run_id / "ready").exists, what="the script is ready")
        return run_id, supervisor

    def kill(self, supervisor: subprocess.Popen[bytes]) -> None:
        supervisor.kill()
        supervisor.communicate()

    def test_a_run_whose_script_lives_on_is_not_closed_until_that_ends(self, desk: Desk) -> None:
        go_on = desk.project.parent / "go on"
        run_id, supervisor = self.begin(
            desk,
            "import os, time\nopen('ready', 'w')\n"
            f"while not os.path.exists({str(go_on)!r}): time.sleep(0.01)\n"
            "open('late.txt', 'w').write('done')\nopen(os.environ['REENACT_METRICS'], 'a').write('acc 1\\n')",
        )

        self.kill(supervisor)
        assert desk.status(run_id) == "killed"
        assert "ended" not in desk.record(run_id)
        assert desk.json("fsck", "--repair")["unfinished"] == [run_id]
        go_on.touch()
        wait_until(
            lambda: desk.json("fsck", "--repair")["unfinished"] == [], what="the run can be closed"
        )

        record = desk.record(run_id)
        assert {output["path"] for output in record["outputs"]} == {"ready", "late.txt"}
        assert record["metrics"]["acc"]["last"] == 1
        assert desk.status(run_id) == "killed"

    def test_stop_ends_a_script_that_lost_its_supervisor(self, desk: Desk) -> None:
        run_id, supervisor = self.begin(desk, "import time\nopen('ready', 'w')\ntime.sleep(600)")
        pid = desk.record(run_id)["process_group"]
        self.kill(supervisor)

        desk.ok("stop", run_id)

        wait_until(lambda: not is_alive(pid), what="the script is gone")
        assert desk.status(run_id) == "killed"

    def test_half_a_line_is_kept_and_no_number_is_made_of_it(self, desk: Desk) -> None:
        run_id, supervisor = self.begin(
            desk,
            "import os, sys, time\n"
            "print('loss: 0.5')\nsys.stdout.write('loss: 0.12')\nsys.stdout.flush()\n"
            "os.write(os.open(os.environ['REENACT_METRICS'], os.O_CREAT | os.O_WRONLY), b'a 1\\na 0.1')\n"
            "open('ready', 'w')\ntime.sleep(600)",
        )
        output = desk.file(run_id, "output")
        wait_until(
            lambda: output.exists() and output.read_bytes().endswith(b"0.12"), what="it is stored"
        )

        group = desk.record(run_id)["process_group"]
        self.kill(supervisor)
        os.killpg(group, signal.SIGKILL)
        wait_until(lambda: not is_alive(group), what="the script is gone")
        desk.ok("runs")

        points = MetricLog(str(desk.file(run_id, ""))).points()
        stored = [(point.name, point.value) for point in points if "/" not in point.name]
        assert sorted(stored) == [("a", 1.0), ("loss", 0.5)]
        assert output.read_bytes() == b"loss: 0.5\nloss: 0.12"

    def test_a_killed_run_can_be_run_again_in_its_directory(self, desk: Desk) -> None:
        run_id, supervisor = self.begin(
            desk,
            "import os, time\nprint('loss: 0.5')\n"
            "if not os.path.exists('ready'):\n    open('ready', 'w')\n    time.sleep(600)",
        )
        output = desk.file(run_id, "output")
        wait_until(lambda: output.exists() and output.stat().st_size, what="the line is stored")
        group = desk.record(run_id)["process_group"]
        self.kill(supervisor)
        os.killpg(group, signal.SIGKILL)
        wait_until(lambda: not is_alive(group), what="the script is gone")

        desk.ok("run", "--restart", run_id)

        record = desk.record(run_id)
        assert record["exit"] == {"code": 0}
        assert record["restarts"] == 1
        assert desk.file(run_id, "output").read_bytes() == b"loss: 0.5\n" * 2
        assert record["metrics"]["loss"]["count"] == 2
        assert desk.json("fsck")["problems"] == []

    def test_two_who_close_it_at_once_do_not_disturb_each_other(self, desk: Desk) -> None:
        run_id, supervisor = self.begin(
            desk, "import time\nprint('loss: 0.5')\nopen('ready', 'w')\ntime.sleep(600)"
        )
        output = desk.file(run_id, "output")
        wait_until(lambda: output.exists() and output.stat().st_size, what="the line is stored")
        group = desk.record(run_id)["process_group"]
        self.kill(supervisor)
        os.killpg(group, signal.SIGKILL)
        wait_until(lambda: not is_alive(group), what="the script is gone")

        readers = [desk.start("runs", "--json") for _ in range(6)]
        answers = [json.loads(reader.communicate()[0])["runs"][0] for reader in readers]

        assert {answer["status"] for answer in answers} == {"killed"}
        assert {reader.returncode for reader in readers} == {0}
        assert desk.record(run_id)["metrics"]["loss"]["count"] == 1
        assert len([w for w in desk.record(run_id)["warnings"] if w["code"] == "killed"]) == 1

    def test_one_killed_before_it_was_published_leaves_nothing_that_matters(
        self, desk: Desk
    ) -> None:
        desk.run("train.py", env={"TOLD": os.devnull}, stdout=subprocess.DEVNULL)
        words = (
            "import os, signal, sys\nos.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
            "from reenact.cli.main import run_command_line\nrun_command_line(sys.argv[1:])"
        )
        env = {**os.environ, **desk.env}
        command = [sys.executable, "-c", words, "run", "train.py", "--run-id", "e" * 32]

        subprocess.run(command, cwd=desk.project, env=env, check=False)

        assert (desk.store / "runs" / ("e" * 32 + ".new")).exists()
        assert len(desk.json("runs")["runs"]) == 1
        assert desk.json("fsck")["problems"] == []
        make_old(desk)
        desk.ok("fsck", "--repair")
        assert not (desk.store / "runs" / ("e" * 32 + ".new")).exists()


def test_a_script_killed_alone_is_a_failed_run_with_all_that_it_printed(desk: Desk) -> None:
    desk.write(
        "train.py",
        "import os, signal\nfor n in range(5000): print('step', n, 'loss:', n)\n"
        "os.kill(os.getpid(), signal.SIGKILL)",
    )

    done = desk.reenact("run", "train.py")

    (run_id,) = desk.ids()
    assert done.status == 137
    assert done.out.count("\n") == 5000
    assert desk.file(run_id, "output").read_text() == done.out
    assert desk.record(run_id)["metrics"]["loss"]["count"] == 5000
    assert desk.status(run_id) == "failed"


def test_twenty_runs_at_once_lose_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write(
        "train.py",
        "import sys\nseed = 0\nfor n in range(50): print(f'step {n} loss: {seed + n}')\n"
        "open('out.txt', 'w').write(str(seed))",
    )

    runs = [
        desk.start("run", "train.py", f"seed={n}", "--label", f"number {n}", "--tag", "many")
        for n in range(20)
    ]
    listings = [desk.start("runs", "--json") for _ in range(3)]
    ended = [(run.communicate()[1], run.returncode) for run in runs]
    looks = [(look.communicate()[0], look.returncode) for look in listings]

    assert ended == [(b"", 0)] * 20
    assert all(status == 0 and json.loads(out)["ok"] for out, status in looks)
    found = desk.json("runs", "--limit", "0")["runs"]
    assert len({run["id"] for run in found}) == len(desk.ids()) == 20
    assert {run["status"] for run in found} == {"completed"}
    assert sorted(run["flags"]["seed"] for run in found) == list(range(20))
    for run in found:
        seed = run["flags"]["seed"]
        assert run["label"] == f"number {seed}"
        assert run["tags"] == ["many"]
        assert (run["metrics"]["loss"]["count"], run["metrics"]["loss"]["last"]) == (50, seed + 49)
        assert (desk.store / "runs" / run["id"] / "out.txt").read_text() == str(seed)
        assert desk.file(run["id"], "output").read_text().count("\n") == 50
    checked = desk.json("fsck")
    assert (checked["runs"], checked["unfinished"], checked["problems"]) == (20, [], [])


class TestIndex:
    @pytest.fixture
    def three(self, tmp_path: Path) -> Desk:
        desk = Desk(tmp_path)
        desk.write("train.py", "lr = 0.1\nprint('loss:', lr)")
        for lr in ("1", "2", "3"):
            desk.run("train.py", f"lr={lr}", "--label", f"lr is {lr}")
        return desk

    def listing(self, desk: Desk) -> Any:
        return desk.json("runs", "-f", "loss >= 2", "-s", "loss")["runs"]

    @pytest.mark.parametrize("damage", ["deleted", "half", "noise", "empty", "directory"])
    def test_whatever_happens_to_it_the_answers_are_the_same(
        self, three: Desk, damage: str
    ) -> None:
        before = self.listing(three)
        assert [run["label"] for run in before] == ["lr is 2", "lr is 3"]
        index = three.store / "index.db"
        content = index.read_bytes()
        for path in three.store.glob("index.db*"):
            path.unlink()
        if damage == "half":
            index.write_bytes(content[: len(content) // 2])
        elif damage == "noise":
            index.write_bytes(random.Random(1).randbytes(len(content)))
        elif damage == "empty":
            index.touch()
        elif damage == "directory":
            index.mkdir()

        assert self.listing(three) == before
        assert three.reenact("fsck").status == 0
        three.ok("label", "--filter", "loss = 3", "--set", "changed")
        assert [run["label"] for run in self.listing(three)] == ["lr is 2", "changed"]


@pytest.mark.parametrize("direction", ["in", "out"])
def test_descriptors_that_the_caller_has_opened_reach_the_run(desk: Desk, direction: str) -> None:
    read, write = os.pipe()
    try:
        if direction == "in":
            os.write(write, b"hello")
            code = f"import os; print(os.read({read}, 9))"
        else:
            code = f"import os; print(os.write({write}, b'hello'))"
        ours = read if direction == "in" else write

        done = desk.reenact("run", "--", sys.executable, "-c", code, pass_fds=[ours])

        assert done.status == 0, done
        assert done.out == ("b'hello'\n" if direction == "in" else "5\n")
        if direction == "out":
            assert os.read(read, 9) == b"hello"
    finally:
        os.close(read)
        os.close(write)


def test_a_run_gets_no_descriptor_of_ours(desk: Desk) -> None:
    code = "import os; print(sorted(os.listdir('/dev/fd')))"
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert desk.ok("run", "--", sys.executable, "-c", code) == plain.stdout


def test_process_substitution_works_as_without_us(desk: Desk) -> None:
    needs("bash")
    desk.write("train.py", "import sys; print(open(sys.argv[1]).read())")
    command = f"{sys.executable} -m reenact run -- {sys.executable} train.py <(echo hello)"

    done = subprocess.run(
        ["bash", "-c", command],
        cwd=desk.project,
        env={**os.environ, **desk.env},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "hello\n\n"), done
