"""`reenact run train.ipynb`: a real kernel executes it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from commands import PATIENCE_S, Desk, wait_until
from notebooks import notebook, tagged

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Somebody whose `python` is the one of the tests, which has ipykernel."""
    desk = Desk(tmp_path)
    desk.env["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return desk


def executed(desk: Desk, run_id: str, name: str = "train.executed.ipynb") -> dict[str, Any]:
    path = desk.store / "runs" / run_id / name
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def test_a_notebook_runs_with_its_flags_and_everything_is_kept(desk: Desk) -> None:
    original = notebook(
        tagged("lr = 0.1\nepochs = 2", "parameters"),
        "import sys\nfor step in range(epochs):\n"
        "    print(f'step {step} loss: {lr / (step + 1)}')\n"
        "print('careful', file=sys.stderr)",
        "from IPython.display import Image\nimport base64\n"
        f"open('weights.txt', 'w').write(open('data.csv').read())\nImage(base64.b64decode('{PNG}'))",
    )
    path = desk.write("train.ipynb", original)
    desk.write("data.csv", "1,2")

    done = desk.reenact("run", "train.ipynb", "lr=0.5")

    assert done.status == 0, done
    assert done.out == "step 0 loss: 0.5\nstep 1 loss: 0.25\n"
    assert "careful\n" in done.err
    assert path.read_text() == original
    (run_id,) = desk.ids()
    record = desk.record(run_id)
    assert record["operation"]["kind"] == "notebook"
    assert (record["flags"], record["given"]) == ({"lr": 0.5, "epochs": 2}, ["lr"])
    assert record["metrics"]["loss"]["count"] == 2
    assert [(f["path"], f.get("role")) for f in record["outputs"]] == [
        ("figures/cell-3.png", "figure"),
        ("train.executed.ipynb", "notebook"),
        ("weights.txt", None),
    ]
    assert [f["path"] for f in record["inputs"]] == ["data.csv"]
    # The kernel is the user's Python; what drives it is none of the run's processes.
    assert "ipykernel_launcher" in record["processes"][0]["argv"]
    assert not any("reenact.interop" in " ".join(p["argv"]) for p in record["processes"])
    assert record.get("unreached", []) == []
    assert desk.ok("log", run_id).startswith("step 0 loss: 0.5\n")
    cells = executed(desk, run_id)["cells"]
    assert cells[0]["source"] == ["lr = 0.5\n", "epochs = 2"]
    assert cells[1]["outputs"][0]["text"] == ["step 0 loss: 0.5\n", "step 1 loss: 0.25\n"]
    assert desk.ok("ls", run_id, "--source").split() == ["train.ipynb"]


def test_the_api_and_the_probe_work_in_a_kernel(desk: Desk) -> None:
    desk.write(
        "train.ipynb",
        notebook(
            "import reenact",
            "reenact.log(acc=0.5, step=1)\nreenact.log_params(depth=3)",
            "with reenact.start('inner') as run:\n    reenact.log(acc=0.75, step=2)\nprint(run.id)",
        ),
    )

    run_id = desk.run("train.ipynb")

    record = desk.record(run_id)
    assert record["metrics"]["acc"]["count"] == 2
    assert record["params"] == {"depth": 3}
    assert desk.ok("log", run_id) == f"{run_id}\n"


def test_the_first_cell_that_fails_is_the_last_one(desk: Desk) -> None:
    desk.write(
        "train.ipynb", notebook("x = 1\nprint('loss: 1.0')", "def f():\n    1 / 0\nf()", "print(3)")
    )

    done = desk.reenact("run", "train.ipynb")

    assert (done.status, done.out) == (1, "loss: 1.0\n")
    assert "error: cell 2 of train.ipynb failed: ZeroDivisionError: division by zero" in done.err
    assert "----> 3 f()" in done.err
    (run_id,) = desk.ids()
    failure = desk.record(run_id)["failure"]
    assert (failure["type"], failure["message"], failure["cell"]) == (
        "ZeroDivisionError",
        "division by zero",
        2,
    )
    assert "----> 3 f()" in failure["traceback"]
    cells = executed(desk, run_id)["cells"]
    assert [len(cell["outputs"]) for cell in cells] == [1, 1, 0]
    assert "ZeroDivisionError in cell 2: division by zero" in desk.ok("show", run_id)


@pytest.mark.parametrize(
    ("cell", "status"),
    [
        ("import sys; sys.exit(3)", 3),
        ("raise SystemExit", 0),
        ("x = = 1", 1),
        ("raise ValueError", 1),
        ("import os; os._exit(5)", 5),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("input('name? ')", 1),
    ],
)
def test_the_exit_status_tells_how_it_ended(desk: Desk, cell: str, status: int) -> None:
    desk.write("train.ipynb", notebook("print('begins')", cell, "print('never')"))

    done = desk.reenact("run", "train.ipynb")

    assert (done.status, done.out) == (status, "begins\n"), done
    assert executed(desk, desk.ids()[0])["cells"][0]["outputs"]


def test_a_cell_that_may_fail_does_not_end_it(desk: Desk) -> None:
    desk.write("train.ipynb", notebook(tagged("1 / 0", "raises-exception"), "print('goes on')"))

    done = desk.reenact("run", "train.ipynb")

    assert (done.status, done.out) == (0, "goes on\n")
    assert "failure" not in desk.record(desk.ids()[0])


def test_output_comes_while_a_cell_runs(desk: Desk) -> None:
    desk.write(
        "train.ipynb",
        notebook(
            "import os, time\nprint('early')\nwhile not os.path.exists('go'):\n    time.sleep(0.01)"
        ),
    )
    process = desk.start("run", "train.ipynb")
    assert process.stdout is not None

    assert process.stdout.readline() == b"early\n"

    (desk.store / "runs" / desk.ids()[0] / "go").write_text("")
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0


@pytest.mark.parametrize("how", ["interrupt", "stop", "time-limit"])
def test_it_can_be_stopped_and_keeps_what_was_executed(desk: Desk, how: str) -> None:
    desk.write(
        "train.ipynb", notebook("print('done')", "import time\nprint('sleeps')\ntime.sleep(300)")
    )
    limit = ["--stop-after", "15s"] if how == "time-limit" else []
    process = desk.start("run", *limit, "train.ipynb")
    assert process.stdout is not None
    assert [process.stdout.readline(), process.stdout.readline()] == [b"done\n", b"sleeps\n"]
    (run_id,) = desk.ids()

    if how == "interrupt":
        process.send_signal(signal.SIGINT)
    elif how == "stop":
        desk.ok("stop", run_id)
    process.communicate(timeout=PATIENCE_S)

    record = desk.record(run_id)
    assert record["exit"]["requested"] == how
    assert desk.status(run_id) == "terminated"
    assert executed(desk, run_id)["cells"][0]["outputs"][0]["text"] == ["done\n"]
    assert not any(alive(p["pid"]) for p in record["processes"])


def test_nothing_lives_on_when_it_is_killed(desk: Desk) -> None:
    desk.write(
        "train.ipynb",
        notebook("import os\nprint(os.getpid(), os.getppid())", "import time\ntime.sleep(300)"),
    )
    process = desk.start("run", "train.ipynb")
    assert process.stdout is not None
    kernel, driver = map(int, process.stdout.readline().split())
    words = Path(f"/proc/{kernel}/cmdline").read_text().split("\0")
    sockets = next(Path(word).parent for word in words if word.endswith("kernel.json"))

    os.kill(driver, signal.SIGKILL)
    process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 137
    wait_until(lambda: not alive(kernel), what="the kernel has ended")
    # The one who would have removed them is dead.
    shutil.rmtree(sockets)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_notebook_in_a_folder_works_in_that_folder(desk: Desk) -> None:
    desk.write("pyproject.toml")
    desk.write("data.csv", "1")
    desk.write("notebooks/model.py", "x = 5")
    desk.write(
        "notebooks/train.ipynb",
        notebook(
            "from model import x\nprint(x, open('../data.csv').read())\nopen('out', 'w').close()"
        ),
    )

    done = desk.reenact("run", "notebooks/train.ipynb")

    assert (done.status, done.out) == (0, "5 1\n"), done
    assert [f["path"] for f in desk.record(desk.ids()[0])["outputs"]] == [
        "notebooks/out",
        "notebooks/train.executed.ipynb",
    ]


def test_modules_of_the_project_are_not_taken_for_ours(desk: Desk) -> None:
    wrong = "raise RuntimeError('not this one')"
    for path in ("path/nbformat.py", "path/nbclient.py", "sub/reenact.py", "sub/nbformat.py"):
        desk.write(path, wrong)
    desk.write("path/only_here.py", "x = 1")
    desk.write("train.ipynb", notebook("import only_here\nprint(only_here.x)"))

    env = {"PYTHONPATH": str(desk.project / "path")}
    done = desk.reenact("run", "--cwd", "sub", "../train.ipynb", env=env)

    assert (done.status, done.out) == (0, "1\n"), done


def test_a_kernel_of_another_language_is_found_by_its_name(desk: Desk, tmp_path: Path) -> None:
    """A kernel that is no Python for us: its specification says which program to start."""
    spec = tmp_path / "jupyter" / "kernels" / "mine"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "Mine", "language": "Mine", "env": {"M": "1"}})
    )
    desk.env["JUPYTER_PATH"] = str(tmp_path / "jupyter")
    metadata = {"kernelspec": {"name": "mine", "language": "Mine", "display_name": "Mine"}}
    cell = "import os\nn = 1\nprint(n, os.environ['FLAG_N'], os.environ['M'])"
    desk.write("train.ipynb", notebook(cell, metadata=metadata))

    done = desk.reenact("run", "train.ipynb", "n=5")

    assert (done.status, done.out) == (0, "1 5 1\n"), done


def test_a_kernel_that_is_not_there_is_said(desk: Desk) -> None:
    metadata = {"kernelspec": {"name": "cobol", "language": "cobol", "display_name": "COBOL"}}
    desk.write("train.ipynb", notebook("x", metadata=metadata))

    done = desk.reenact("run", "train.ipynb")

    assert done.status == 1
    assert done.complaint[0] == "error: there is no kernel `cobol`"
    assert "python3" in done.complaint[1]


def test_an_interpreter_without_ipykernel_is_said_before_anything_runs(
    desk: Desk, tmp_path: Path
) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    desk.write("train.ipynb", notebook("x = 1"))

    done = desk.reenact("run", "--python", str(tmp_path / "bare/bin/python"), "train.ipynb")

    assert done.status == 125
    assert "needs ipykernel, which" in done.complaint[0]
    assert "-m pip install ipykernel" in done.complaint[1]
    assert desk.ids() == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no notebook: it is empty"),
        ("{", "is no notebook: no JSON"),
        ("[1, 2]", "is no notebook: it has no cells"),
        ('{"nbformat": 3, "worksheets": []}', "is a notebook of version 3"),
    ],
)
def test_what_is_no_notebook_is_said_before_anything_runs(
    desk: Desk, content: str, message: str
) -> None:
    desk.write("train.ipynb", content)

    for words in (["run", "train.ipynb"], ["help", "train.ipynb"]):
        done = desk.reenact(*words)
        assert done.status == 125
        assert message in done.complaint[0]
    assert desk.ids() == []


def test_a_notebook_without_cells_runs(desk: Desk) -> None:
    desk.write("train.ipynb", notebook())

    assert desk.reenact("run", "train.ipynb").status == 0
    assert executed(desk, desk.ids()[0])["cells"] == []


def test_help_shows_the_flags_and_unknown_ones_are_refused(desk: Desk) -> None:
    desk.write("train.ipynb", notebook("%matplotlib inline\nlr = 0.1", "epochs = 2"))

    flags = desk.json("help", "train.ipynb")["flags"]
    done = desk.reenact("run", "train.ipynb", "rl=0.5")

    assert [(f["name"], f["default"]) for f in flags] == [("lr", 0.1), ("epochs", 2)]
    assert done.status == 2
    assert done.complaint == [
        "error: unknown flag `rl` for train.ipynb",
        "hint: did you mean `lr`? flags are: lr, epochs",
    ]


def test_it_runs_again_with_its_flags_from_its_own_source(desk: Desk) -> None:
    desk.write("train.ipynb", notebook("lr = 0.1", "print('rate', lr)"))
    first = desk.run("train.ipynb", "lr=0.5")
    desk.write("train.ipynb", notebook("lr = 0.1", "print('other', lr)"))

    again = desk.run("--like", first)

    assert desk.ok("log", again) == "rate 0.5\n"
    assert desk.record(again)["like"] == first


def test_two_runs_of_it_leave_the_same_bytes(desk: Desk) -> None:
    desk.write("train.ipynb", notebook("lr = 0.1", "print(lr)", "lr"))

    digests = {
        file["digest"] for _ in range(2) for file in desk.record(desk.run("train.ipynb"))["outputs"]
    }

    assert len(digests) == 1


def test_without_nbclient_the_way_out_is_named(desk: Desk, tmp_path: Path) -> None:
    """An environment that has what Reenact needs and nothing else."""
    venv.create(tmp_path / "bare", with_pip=False)
    (site,) = (tmp_path / "bare").glob("lib/python*/site-packages")
    import blake3
    import click
    import msgspec
    import psutil

    import reenact

    for module in (blake3, click, msgspec, psutil, reenact):
        assert module.__file__ is not None
        package = Path(module.__file__).parent
        (site / package.name).symlink_to(package)
    desk.write("train.ipynb", notebook("x = 1"))

    done = subprocess.run(
        [tmp_path / "bare/bin/python", "-m", "reenact", "run", "train.ipynb"],
        cwd=desk.project,
        env={**os.environ, **desk.env},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 125
    assert "needs nbclient" in done.stderr
    assert "install `reenact[notebook]`" in done.stderr


def test_what_drives_the_notebook_of_a_run_inside_a_run_is_no_process_of_the_outer_one(
    desk: Desk,
) -> None:
    desk.write("slow.ipynb", notebook("import time\ntime.sleep(1)"))
    desk.write(
        "outer.py",
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'reenact', 'run', 'slow.ipynb'], check=True)",
    )

    desk.ok("run", "outer.py")

    records = {record["operation"]["name"]: record for record in map(desk.record, desk.ids())}
    assert sorted(records) == ["outer.py", "slow.ipynb"]
    assert [record.get("unreached", []) for record in records.values()] == [[], []]
