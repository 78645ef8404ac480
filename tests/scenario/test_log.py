"""`reenact.log` in a script: what it returned for is in the record, whatever happens then.

`REENACT_KILLS=200` makes the loop of kills as long as it is worth being by hand.
"""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import reenact
from commands import Desk, wait_until
from fidelity import interpreters
from frameworks import python_with

KILLS = int(os.environ.get("REENACT_KILLS", "24")) // 3
SEED = int(os.environ.get("REENACT_SEED", random.randrange(10**6)))

OTHER_PYTHONS = [path for path in interpreters() if path != sys.executable]
EVERY_PYTHON = pytest.mark.parametrize("python", interpreters(), ids=lambda path: Path(path).name)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def run(desk: Desk, script: str, *words: str, **options: Any) -> tuple[dict[str, Any], str]:
    """Run a script that must succeed; return its record and what was complained of meanwhile.

    What `reenact run` says again at its end, as warnings, is left out.
    """
    desk.write("train.py", dedent(script))
    before = set(desk.ids())
    done = desk.reenact("run", *words, "train.py", **options)
    assert done.status == 0, done
    (run_id,) = set(desk.ids()) - before
    lines = [line for line in done.err.splitlines() if not line.startswith("warning: ")]
    return desk.record(run_id), "\n".join(lines)


def points(desk: Desk, record: dict[str, Any], name: str) -> list[tuple[int, float]]:
    """Return steps and values of a metric in the order in which they were stored."""
    found = reenact.get(record["id"], store=str(desk.store)).metrics
    return [(p.step, p.value) for p in found[name].points()] if name in found else []


def warnings(record: dict[str, Any], code: str) -> list[str]:
    return [remark["message"] for remark in record.get("warnings", ()) if remark["code"] == code]


# --- what it takes ---


@EVERY_PYTHON
def test_everything_that_is_a_number_is_recorded(desk: Desk, python: str) -> None:
    script = """
        import decimal, fractions, reenact
        from reenact import log

        for step in range(3):
            assert log(loss=1 / (step + 1), step=step) is None
        log({"train": {"acc": 1, "deep": {"er": True}}, "plain": 2.5}, step=7, more=3)
        log(given=decimal.Decimal("0.125"), fraction=fractions.Fraction(1, 4))
        log(implied=1); log(implied=2, other=9); log({"implied": 3})
        log(odd=float("nan"), step=0); log(odd=float("inf"), step=1); log(odd=-float("inf"), step=2)
        log(many=[1, 2.0, 3]); log(many=(4, 5), step=10); log(many=[6, 7], step=[100, 50])
        log(big=2**62, step=-(2**63)); log(big=1, step=2**63 - 1); log(big=2**1000, step=0)
        log({7: 1.0, ("a", 1): 2.0}, step=1.0)
        log({"\\udcff é": 1.0}, step=0)
        log()
        log({})
        reenact.log_params(hidden=[64, 32], rate=0.5, nothing=None, kind=int)
    """
    record, complaints = run(desk, script, "--python", python)

    assert complaints == ""
    assert points(desk, record, "loss") == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert points(desk, record, "train/acc") == [(7, 1.0)]
    assert points(desk, record, "train/deep/er") == [(7, 1.0)]
    assert points(desk, record, "plain") == [(7, 2.5)]
    assert points(desk, record, "more") == [(7, 3.0)]
    assert points(desk, record, "given") == [(0, 0.125)]
    assert points(desk, record, "fraction") == [(0, 0.25)]
    assert points(desk, record, "implied") == [(0, 1.0), (1, 2.0), (2, 3.0)]
    odd = points(desk, record, "odd")
    assert math.isnan(odd[0][1])
    assert odd[1:] == [(1, math.inf), (2, -math.inf)]
    many = [(0, 1.0), (1, 2.0), (2, 3.0), (10, 4.0), (11, 5.0), (100, 6.0), (50, 7.0)]
    assert points(desk, record, "many") == many
    big = [(-(2**63), float(2**62)), (2**63 - 1, 1.0), (0, float(2**1000))]
    assert points(desk, record, "big") == big
    assert points(desk, record, "7") == [(1, 1.0)]
    assert points(desk, record, "('a', 1)") == [(1, 2.0)]
    assert record["params"] == {
        "hidden": [64, 32],
        "kind": "<class 'int'>",
        "nothing": None,
        "rate": 0.5,
    }
    assert "warnings" not in record


def test_scalars_and_arrays_of_numpy_and_torch_are_numbers(desk: Desk) -> None:
    script = """
        import warnings
        warnings.simplefilter("error")
        import numpy as np, torch, reenact
        from reenact import log

        log(half=np.float16(0.5), whole=np.int64(3), yes=np.bool_(True), step=np.int32(2))
        log(tensor=torch.tensor(0.25), step=torch.tensor(3))
        log(one=np.array([2.0]), step=1)
        log(zero=np.array(4.0), step=np.array(1))
        log(graph=torch.tensor([1.0], requires_grad=True) * 2, step=0)
        log(curve=np.arange(3) / 2, step=np.array([10, 20, 30]))
        log(curve=torch.tensor([[1.0, 2.0], [3.0, 4.0]]), step=40)
        log({"nested": {"array": np.ones(2)}})
        log(half=torch.tensor(1.5, dtype=torch.bfloat16), step=9)
        reenact.log_params(size=np.int64(7), shape=torch.Size([2, 3]), weights=np.zeros(3))
    """
    python = python_with("torch", "numpy")

    record, complaints = run(desk, script, "--python", python, env={"OMP_NUM_THREADS": "1"})

    assert complaints == ""
    assert points(desk, record, "half") == [(2, 0.5), (9, 1.5)]
    assert points(desk, record, "whole") == [(2, 3.0)]
    assert points(desk, record, "yes") == [(2, 1.0)]
    assert points(desk, record, "tensor") == [(3, 0.25)]
    assert points(desk, record, "one") == [(1, 2.0)]
    assert points(desk, record, "zero") == [(1, 4.0)]
    assert points(desk, record, "graph") == [(0, 2.0)]
    curve = [(10, 0.0), (20, 0.5), (30, 1.0), (40, 1.0), (41, 2.0), (42, 3.0), (43, 4.0)]
    assert points(desk, record, "curve") == curve
    assert points(desk, record, "nested/array") == [(0, 1.0), (1, 1.0)]
    assert record["params"]["size"] == 7


# --- what it does not take ---


@EVERY_PYTHON
def test_what_is_no_number_is_said_once_with_file_and_line(desk: Desk, python: str) -> None:
    script = """
        from reenact import log, log_params
        for step in range(100):
            log(loss="high", step=step)
        log(loss=None)
        log(good=1.0, bad=object, fine=2.0)
        log({"a": {"b": [1.0, "x", 3.0]}})
        log(["loss", 1])
        log(loss=0.5, step="next")
        log(loss=0.5, step=2**63)
        log(loss=0.5, step=1.5)
        log(huge=10**400)
        log(lists=[1, 2, 3], step=[1, 2])
        circle = {}
        circle["again"] = circle
        log(circle)
        log({"x" * 2000: 1.0})
        log_params(7)
        print("went on")
    """
    record, complaints = run(desk, script, "--python", python)

    long = "x" * 57 + "..."
    assert complaints.splitlines() == [
        "train.py:4: reenact: metric `loss` is not a number: 'high' (str)",
        "train.py:5: reenact: metric `loss` is not a number: None (NoneType)",
        "train.py:6: reenact: metric `bad` is not a number: <class 'object'> (type)",
        "train.py:7: reenact: metric `a/b` is not a number: 'x' (str)",
        "train.py:8: reenact: `log` takes names and numbers, not ['loss', 1] (list)",
        "train.py:9: reenact: metric `loss` was not recorded: its step is not a whole number",
        "train.py:10: reenact: metric `loss` was not recorded: its step does not fit 64 bits",
        "train.py:11: reenact: metric `loss` was not recorded: its step is not a whole number",
        "train.py:12: reenact: metric `huge` is too large a number",
        "train.py:13: reenact: metric `lists` was not recorded: 2 steps for 3 points",
        "train.py:16: reenact: metric `again/again` is not a number: {'again': {...}} (dict)",
        f"train.py:17: reenact: metric `{long}` was not recorded: its name has 2000 characters",
        "train.py:18: reenact: `log_params` takes names and values, not 7 (int)",
    ]
    assert points(desk, record, "good") == [(0, 1.0)]
    assert points(desk, record, "fine") == [(0, 2.0)]
    assert points(desk, record, "a/b") == [(0, 1.0), (1, 3.0)]
    assert points(desk, record, "loss") == []
    said = warnings(record, "log")
    assert said == [line.replace(" reenact:", "", 1) for line in complaints.splitlines()]


def test_a_new_name_for_each_point_ends_somewhere(desk: Desk) -> None:
    script = """
        import resource, reenact
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(120_000):
            reenact.log({"name%d" % number: 1.0}, step=1)
        reenact.log(name5=2.0, step=2)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000)
    """
    desk.write("train.py", dedent(script))
    run_id = desk.run("train.py")
    record = desk.record(run_id)

    assert len(record["metrics"]) >= 100_000
    assert points(desk, record, "name5") == [(1, 1.0), (2, 2.0)]
    assert len(warnings(record, "metric-names")) == 1
    assert any("20000 points" in text for text in warnings(record, "metrics-lost"))
    assert desk.file(run_id, "output").read_bytes() == b"True\n"


def test_params_of_any_size_are_cut_in_little_time_and_room(desk: Desk) -> None:
    script = """
        import resource, time, reenact
        text, data, row = "x" * (1 << 30), bytes(1 << 28), [1] * 10_000_000
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun = time.process_time()
        reenact.log_params(text=text, data=data, row=row, rows=[row] * 100, names={text: 1})
        reenact.log_params(last=1)
        reenact.log(loss=text)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(time.process_time() - begun < 10, grown < 50_000, grown)
    """
    record, complaints = run(desk, script)

    assert b"True True" in desk.file(record["id"], "output").read_bytes()
    params = record["params"]
    assert params["text"].endswith("... (1073741824 characters)")
    assert params["data"] == "<bytes of 268435456>"
    assert params["row"][-1] == "... (10000000 items)"
    assert params["last"] == 1
    assert "train.py:8: reenact: metric `loss` is not a number" in complaints
    assert desk.file(record["id"], "run.json").stat().st_size < 1_000_000


# --- kill -9 ---

_ACKNOWLEDGE = """
    import os, sys, threading, reenact

    told = os.open(os.environ["TOLD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(told, b"pid %d\\n" % os.getpid())

    def work(name):
        step = 0
        while True:
            reenact.log({name: step / 7}, step=step)
            os.write(told, b"%s %d\\n" % (name.encode(), step))
            step += 1

    threading.Thread(target=work, args=("b",), daemon=True).start()
    work("a")
"""


def _told(path: Path) -> dict[str, int]:
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return {name.decode(): int(number) for name, number in (line.split() for line in lines)}


@pytest.mark.parametrize("who", ["script", "both"])
def test_what_log_returned_for_survives_kill_9(desk: Desk, who: str) -> None:
    chance = random.Random(SEED)
    desk.write("train.py", dedent(_ACKNOWLEDGE))
    told = {}
    for number in range(1, KILLS + 1):
        run_id = f"{number:032x}"
        path = desk.project.parent / f"told{number}"
        words = ("run", "train.py", "--run-id", run_id)
        with desk.start(*words, env={"TOLD": str(path)}) as supervisor:
            wait_until(lambda path=path: "a" in _told(path), what="the script logs")
            time.sleep(chance.uniform(0, 0.05 if number % 4 else 0.8))
            if who == "both":
                supervisor.kill()
            os.kill(_told(path)["pid"], signal.SIGKILL)
            supervisor.communicate()
        told[run_id] = _told(path)

    desk.ok("runs", "--all", "--limit", "0")

    for run_id, last in told.items():
        record = desk.record(run_id)
        assert "ended" in record
        for name in {"a", "b"} & last.keys():
            stored = points(desk, record, name)
            assert len(stored) > last[name], f"REENACT_SEED={SEED}"
            assert stored == [(n, n / 7) for n in range(len(stored))], f"REENACT_SEED={SEED}"
        assert warnings(record, "metrics-lost") == []


# --- threads and processes ---


def test_many_threads_log_at_once(desk: Desk) -> None:
    script = """
        import sys, threading, reenact
        sys.setswitchinterval(1e-6)

        def work(number):
            for step in range(20_000):
                reenact.log({"shared": float(number), "own%d" % number: step / 3}, step=step)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    """
    record, complaints = run(desk, script)

    assert complaints == ""
    assert "warnings" not in record
    for number in range(8):
        own = points(desk, record, f"own{number}")
        assert sorted(own) == [(n, n / 3) for n in range(20_000)]
    shared = sorted(points(desk, record, "shared"))
    assert shared == [(step, float(n)) for step in range(20_000) for n in range(8)]


@EVERY_PYTHON
def test_forked_and_spawned_processes_log_into_the_same_run(desk: Desk, python: str) -> None:
    script = """
        import multiprocessing, os, subprocess, sys, reenact

        def work(number):
            for step in range(100):
                reenact.log({"worker%d" % number: step / 3}, step=step)

        if __name__ == "__main__":
            reenact.log(before=1.0)
            number = 0
            for method in ("fork", "spawn", "forkserver"):
                context = multiprocessing.get_context(method)
                children = []
                for _ in range(2):
                    children.append(context.Process(target=work, args=(number,)))
                    number += 1
                for child in children:
                    child.start()
                for child in children:
                    child.join()
            for _ in range(20):
                if os.fork() == 0:
                    work(number)
                    os._exit(0)
                number += 1
            for _ in range(20):
                os.wait()
            code = "import train; train.work(%d)" % number
            subprocess.check_call(["sh", "-c", 'exec "$0" -c "$1"', sys.executable, code])
            sys.stdout.flush()
            words = [sys.executable, "-c", "import train; train.work(%d)" % (number + 1)]
            os.execv(sys.executable, words)
    """
    record, complaints = run(desk, script, "--python", python)

    assert complaints == ""
    assert points(desk, record, "before") == [(0, 1.0)]
    for number in range(6 + 20 + 2):
        assert points(desk, record, f"worker{number}") == [(n, n / 3) for n in range(100)]


def test_a_fork_in_the_middle_of_log_blocks_nobody(desk: Desk) -> None:
    script = """
        import faulthandler, os, sys, threading, time, reenact
        sys.setswitchinterval(1e-6)
        stop = False

        def work(number):
            step = 0
            while not stop:
                # New names take the lock.
                reenact.log({"own%d-%d" % (number, step % 2000): 1.0, "many": 2.0})
                step += 1
                if step % 20 == 0:
                    time.sleep(0.001)  # A busy machine has to come to the forks, too.

        threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for number in range(60):
            pid = os.fork()
            if pid == 0:
                faulthandler.dump_traceback_later(60, exit=True)
                reenact.log({"child": float(number)}, step=number)
                reenact.log_params(child=number)
                os._exit(0)
            status = os.waitpid(pid, 0)[1]
            if status:
                break
        stop = True
        for thread in threads:
            thread.join()
        assert status == 0, (number, status)
    """
    record, complaints = run(desk, script)

    assert complaints == ""
    assert sorted(points(desk, record, "child")) == [(n, float(n)) for n in range(60)]


@EVERY_PYTHON
def test_a_fork_while_threads_open_files_blocks_nobody(desk: Desk, python: str) -> None:
    """Where nothing is preloaded, openings are noted by Python, under a lock: the hello's, too."""
    script = """
        import faulthandler, os, threading, time, warnings, reenact
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks while there are threads
        stop = False

        def work(number):
            step = 0
            while not stop:
                try:
                    open("none-%d-%d" % (number, step))
                except OSError:
                    pass
                reenact.log({"many": 2.0}, step=step)
                step += 1
                if step % 20 == 0:
                    time.sleep(0.001)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for number in range(60):
            pid = os.fork()
            if pid == 0:
                faulthandler.dump_traceback_later(60, exit=True)
                reenact.log({"child": float(number)}, step=number)
                os._exit(0)
            status = os.waitpid(pid, 0)[1]
            if status:
                break
        stop = True
        for thread in threads:
            thread.join()
        assert status == 0, (number, status)
    """
    desk.env.update(XDG_CACHE_HOME=str(desk.project / "none"), PATH=os.path.dirname(sys.executable))

    record, complaints = run(desk, script, "--python", python)

    assert complaints == ""
    assert record["coverage"] == ["scan", "audit"]
    assert sorted(points(desk, record, "child")) == [(n, float(n)) for n in range(60)]


@EVERY_PYTHON
@pytest.mark.parametrize(
    ("module", "first", "then"),
    [
        ("fcntl", "import fcntl", "open('data.csv', 'a').write('more')"),
        ("mmap", "import mmap", "reenact.log(a=1)"),
        ("media", "reenact.log_text('t')", "reenact.log_text('t', 'u')"),
    ],
)
def test_a_fork_in_the_middle_of_an_import_blocks_nobody(
    desk: Desk, module: str, first: str, then: str, python: str
) -> None:
    script = f"""
        import faulthandler, os, sys, threading, time, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks while there are threads
        begun = threading.Event()

        def slow(event, arguments):
            # While the import system holds the lock of the module.
            if threading.current_thread() is thread and not begun.is_set():
                if {module!r} in str(arguments[:1]) and (
                    event == "open" or event == "import" and arguments[1]
                ):
                    begun.set()
                    time.sleep(0.5)

        def work():
            import reenact
            {first}

        thread = threading.Thread(target=work)
        sys.addaudithook(slow)
        thread.start()
        assert begun.wait(10) or {module!r} in sys.builtin_module_names
        pid = os.fork()
        if pid == 0:
            faulthandler.dump_traceback_later(60, exit=True)
            import reenact
            {then}
            sys.stdout.flush()
            os._exit(0)
        status = os.waitpid(pid, 0)[1]
        thread.join()
        assert status == 0, status
    """
    desk.write("data.csv", "1")

    _, complaints = run(desk, script, "--python", python)

    assert complaints == ""


@EVERY_PYTHON
def test_a_signal_handler_may_log_in_the_middle_of_log(desk: Desk, python: str) -> None:
    script = """
        import signal, reenact
        import itertools
        numbers = itertools.count()

        is_over = False

        def handler(*_):
            if is_over:
                return
            number = next(numbers)
            reenact.log({"handler": float(number), "new%d" % number: 1.0}, step=number)
            # Not at an interval: on a busy machine the script would come to nothing else.
            signal.setitimer(signal.ITIMER_REAL, 0.0005)

        reenact.log  # loads what it needs
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0005)
        for step in range(30_000):
            reenact.log({"main": step / 3, "name%d" % (step % 3000): 2.0}, step=step)
        is_over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        reenact.log(fired=next(numbers))
    """
    record, complaints = run(desk, script, "--python", python)

    assert complaints == ""
    ((_, fired),) = points(desk, record, "fired")
    assert fired > 3
    handled = sorted(points(desk, record, "handler"))
    assert handled == [(n, float(n)) for n in range(int(fired))]
    assert points(desk, record, "main") == [(n, n / 3) for n in range(30_000)]
    for number in range(min(int(fired), 20)):
        assert points(desk, record, f"new{number}") == [(number, 1.0)]
    assert record["metrics"]["name7"]["count"] == 10


# --- descriptors, disks and the end ---


@EVERY_PYTHON
def test_a_script_that_closes_all_descriptors_keeps_its_files(desk: Desk, python: str) -> None:
    script = """
        import os, sys, reenact
        import builtins

        def keep_open(name):
            builtins.files = [open("%s%d.txt" % (name, number), "w") for number in range(8)]
            for number, file in enumerate(files):
                # It is written when the interpreter ends, after everything else.
                file.write("content %d" % number)

        for step in range(3000):
            reenact.log(loss=step / 3, step=step)
        os.closerange(3, 65536)
        if os.fork() == 0:
            keep_open("child")
            reenact.log(child=1.0)
            sys.exit()
        keep_open("own")
        for step in range(3000, 40_000):
            reenact.log(loss=step / 3, step=step)
        reenact.log(late=1.0)
        os.wait()
    """
    record, complaints = run(desk, script, "--python", python)

    assert complaints == ""
    assert points(desk, record, "loss") == [(n, n / 3) for n in range(40_000)]
    assert points(desk, record, "late") == points(desk, record, "child") == [(0, 1.0)]
    directory = desk.store / "runs" / record["id"]
    for number in range(8):
        for name in ("own", "child"):
            assert (directory / f"{name}{number}.txt").read_text() == f"content {number}"


def test_closed_standard_streams_are_no_problem(desk: Desk) -> None:
    script = """
        import os, sys, reenact
        os.close(1)
        os.close(2)
        reenact.log(loss=1.0)
        reenact.log(loss="wrong")
        sys.stderr = None
        reenact.log(loss="wrong")
        reenact.log(loss=2.0)
        os._exit(0)
    """
    record, _ = run(desk, script)

    assert points(desk, record, "loss") == [(0, 1.0), (1, 2.0)]
    assert len(warnings(record, "log")) == 2


def test_a_full_disk_costs_points_and_says_how_many(desk: Desk) -> None:
    script = """
        import reenact, resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        reenact.log(loss=0.0, step=0)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        # The first window was set aside; there is no room for another.
        resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, limits[1]))
        for step in range(1, 5000):
            reenact.log(loss=step / 3, step=step)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        reenact.log(loss=1e6, step=5000)
        print("went on")
    """
    record, complaints = run(desk, script)

    stored = points(desk, record, "loss")
    assert complaints == ""
    assert stored[:2048] == [(n, n / 3) for n in range(2048)]
    assert stored[-1] == (5000, 1e6)
    assert f"{5001 - len(stored)} points" in warnings(record, "metrics-lost")[0]


def test_a_disk_that_is_full_from_the_start_costs_all_points(desk: Desk) -> None:
    script = """
        import reenact, resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        for step in range(100):
            reenact.log(loss=step / 3, step=step)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        reenact.log(loss=1e6, step=100)
        print("went on")
    """
    record, complaints = run(desk, script)

    assert complaints == ""
    assert points(desk, record, "loss") == [(100, 1e6)]
    assert "100 points" in warnings(record, "metrics-lost")[0]


@EVERY_PYTHON
def test_modules_of_the_script_with_names_of_the_library_stay_its_own(
    desk: Desk, python: str
) -> None:
    for name in ("mmap", "struct", "_json", "zlib", "array", "shutil", "wave"):
        desk.write(f"{name}.py", "x = 'of the script'\nprint('somebody imports me')")
    script = """
        import reenact
        reenact.log(loss=0.5)
        reenact.log_audio([0.0, 0.5], 8000)
        reenact.log_image([[0.1, 0.2]])
        reenact.log_output("/dev/null")
        print("now")
        import wave
        print(wave.x)
    """
    record, complaints = run(desk, script, "--python", python)

    out = desk.ok("log", record["id"], "--stdout")
    assert out == "now\nsomebody imports me\nof the script\n"
    assert points(desk, record, "loss") == [(0, 0.5)]
    assert {"audio", "image"} <= {output.get("role") for output in record["outputs"]}
    assert complaints.endswith("'/dev/null' (str): it is neither a file nor a directory")


@EVERY_PYTHON
def test_the_last_words_of_a_process_are_heard(desk: Desk, python: str) -> None:
    script = """
        import atexit, os, threading, reenact

        class Last:
            log = staticmethod(reenact.log)
            def __del__(self):
                self.log(deleted=1.0)

        early = lambda: reenact.log(early=1.0)
        atexit.register(early)
        reenact.log(loss=1.0)
        atexit.register(lambda: reenact.log(exit=1.0))
        keep = Last()
        keep.circle = keep
        threading.Thread(target=lambda: reenact.log(thread=1.0)).start()
    """
    record, complaints = run(desk, script, "--python", python)

    assert complaints == ""
    for name in ("early", "exit", "deleted", "thread"):
        assert points(desk, record, name) == [(0, 1.0)], name


# --- outside a run, and beside other versions ---


@pytest.mark.parametrize("python", OTHER_PYTHONS, ids=lambda path: Path(path).name)
def test_inside_a_run_reenact_is_there_where_it_is_not_installed(desk: Desk, python: str) -> None:
    script = """
        import sys, reenact
        reenact.log(loss=1.0)
        print(hasattr(reenact, "run"), "msgspec" in sys.modules)
        try:
            reenact.runs
        except AttributeError as error:
            print(error)
    """
    record, _ = run(desk, script, "--python", python)

    assert points(desk, record, "loss") == [(0, 1.0)]
    assert desk.file(record["id"], "output").read_text() == (
        "False False\n`reenact.runs` needs Reenact installed in this environment\n"
    )


@pytest.mark.parametrize("content", ['"""Older."""\n__version__ = "0.0.1"\n', None])
def test_another_reenact_or_a_directory_of_its_name_is_not_in_the_way(
    desk: Desk, content: str | None
) -> None:
    if content is None:
        desk.write("src/reenact/notes.txt", "no package")
    else:
        desk.write("src/reenact/__init__.py", content)
    script = """
        import reenact
        from reenact import log
        log(loss=1.0)
        print(getattr(reenact, "__version__", None))
    """
    python = OTHER_PYTHONS[0] if OTHER_PYTHONS else sys.executable
    desk.write("src/train.py", dedent(script))

    record = desk.record(desk.run("src/train.py", "--python", python))

    assert points(desk, record, "loss") == [(0, 1.0)]
    version = "None" if content is None else "0.0.1"
    assert desk.file(record["id"], "output").read_text() == f"{version}\n"


@pytest.mark.parametrize(("value", "expected"), [("", 1), ("0", 1), ("1", 0)])
def test_outside_a_run_it_says_so_once_unless_told_not_to(
    tmp_path: Path, value: str, expected: int
) -> None:
    script = """
        import reenact
        for step in range(10):
            reenact.log(loss=1.0, step=step)
            reenact.log({"loss": "wrong"})
        reenact.log_params(a=1)
        reenact.log_text("text")
    """
    (tmp_path / "train.py").write_text(dedent(script))
    env = {name: text for name, text in os.environ.items() if not name.startswith("REENACT_")}

    done = subprocess.run(
        [sys.executable, "train.py"],
        cwd=tmp_path,
        env={**env, "REENACT_DISABLED": value},
        capture_output=True,
        text=True,
        check=True,
    )

    lines = done.stderr.splitlines()
    assert len(lines) == expected
    assert all("train.py:4: reenact.log: there is no run" in line for line in lines)
    assert os.listdir(tmp_path) == ["train.py"]
