"""What is kept and run when the script is no ordinary file of the project, and runs of runs."""

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

from commands import PATIENCE_S, wait_until

SCRIPT = 'lr = 0.1\nprint("loss:", lr)\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    (root / "train.py").write_text(SCRIPT)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    monkeypatch.setenv("REENACT_HOME", str(tmp_path / "store"))
    monkeypatch.chdir(root)
    return root


def reenact(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reenact", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def ok(*words: str) -> str:
    done = reenact(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def record(run: str = "@latest") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ok("show", "--json", run))["run"]
    return found


def test_a_flag_reaches_a_script_that_git_ignores_and_the_script_is_kept(project: Path) -> None:
    (project / ".gitignore").write_text("scratch/\n")
    (project / "scratch").mkdir()
    (project / "scratch" / "try.py").write_text(SCRIPT)

    assert ok("run", "scratch/try.py", "lr=9") == "loss: 9.0\n"
    assert "scratch/try.py" in ok("ls", "--source").splitlines()


def test_a_flag_reaches_a_script_that_is_a_link(project: Path) -> None:
    (project / "link.py").symlink_to("train.py")

    assert ok("run", "link.py", "lr=8") == "loss: 8.0\n"
    assert ok("run", "--like", "@latest") == "loss: 8.0\n"
    assert ok("run", "--like", "@latest", "lr=2") == "loss: 2.0\n"
    assert (project / "train.py").read_text() == SCRIPT


def test_a_flag_reaches_a_script_above_the_size_limit(project: Path) -> None:
    (project / "big.py").write_text(f"lr = 0.1\n{'#' * 1_100_000}\nprint('loss:', lr)\n")

    assert ok("run", "big.py", "lr=3") == "loss: 3.0\n"
    assert "big.py" in ok("ls", "--source").splitlines()


def test_a_module_that_git_ignores_is_an_input_and_its_change_is_seen(project: Path) -> None:
    (project / ".gitignore").write_text("local.py\n")
    (project / "local.py").write_text("value = 1\n")
    (project / "use.py").write_text("import local\nprint('loss:', local.value)\n")
    ok("run", "use.py")
    (project / "local.py").write_text("value = 22\n")
    ok("run", "use.py")

    assert [file["path"] for file in record()["inputs"]] == ["local.py"]
    assert [file["path"] for file in record()["outputs"]] == []
    assert "inputs\tchanged\tlocal.py" in reenact("diff").stdout


def test_a_script_of_another_language_runs_again_with_its_flags(project: Path) -> None:
    (project / "train.sh").write_text('echo "loss: ${FLAG_LR:-1}"\n')
    assert ok("run", "train.sh", "lr=3") == "loss: 3\n"
    (project / "train.sh").write_text("echo changed\n")

    assert ok("run", "--like", "@latest", "lr=4") == "loss: 4\n"


def test_a_value_is_typed_again_as_it_was(project: Path) -> None:
    assert ok("run", "v=1.10", "--", "echo", "{v}") == "1.10\n"
    assert ok("run", "--like", "@latest") == "1.10\n"


def test_a_secret_flag_is_nowhere_in_the_record(project: Path, tmp_path: Path) -> None:
    ok("run", "token=hunter2secret", "--", "sh", "-c", "echo {token} > kept; echo $FLAG_TOKEN")

    text = Path(ok("path").strip(), ".reenact", "run.json").read_text()
    assert "hunter2secret" not in text
    assert record()["flags"] == {"token": "<redacted>"}


def test_data_that_git_tracks_is_one_link_when_there_is_much_of_it(project: Path) -> None:
    data = project / "data"
    data.mkdir()
    for number in range(2100):
        (data / f"{number}.csv").touch()
    subprocess.run(["git", "add", "-A"], cwd=project, check=True)

    plan = json.loads(ok("run", "train.py", "--dry-run", "--json"))

    assert plan["links"] == 2  # data/ and .git


def test_a_run_whose_process_lives_on_is_neither_restarted_nor_deleted(project: Path) -> None:
    (project / "quiet.py").write_text(
        "import time\nopen('begun', 'w').close()\nwhile True: time.sleep(0.05)\n"
    )
    words = [sys.executable, "-m", "reenact", "run", "quiet.py"]
    supervisor = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: list(project.parent.glob("store/runs/*/begun")), what="it has begun")
    process = int(record()["process_group"])
    supervisor.kill()
    supervisor.communicate()

    again = reenact("run", "--restart", "@latest")
    deleted = reenact("rm", "--yes", "@latest")
    ok("stop", "@latest")

    assert again.returncode == 125
    assert f"process {process} of run" in again.stderr
    assert deleted.returncode == 1

    def is_gone() -> bool:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        return False

    wait_until(is_gone, what="the process is gone")


def test_a_descendant_that_prints_on_does_not_hold_the_run(project: Path) -> None:
    loop = "(while :; do echo more; sleep 0.1; done) & echo $! > pid; exit 3"

    done = reenact("run", "--", "sh", "-c", loop, timeout=PATIENCE_S)

    assert done.returncode == 3
    pid = int(Path(ok("path").strip(), "pid").read_text())
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # Our end was the end of its output.


def test_a_time_limit_holds_although_nobody_reads_the_output(project: Path) -> None:
    words = [sys.executable, "-m", "reenact", "run", "--stop-after", "0.5s", "--", "yes"]
    read, write = os.pipe()
    run = subprocess.Popen(words, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    store = project.parent / "store" / "runs"

    # Not `*.new`, which gets its name when it is whole.
    wait_until(lambda: list(store.glob("*[0-9a-f]/.reenact/run.json")), what="there is a run")
    (file,) = store.glob("*[0-9a-f]/.reenact/run.json")
    group = 0

    def has_ended() -> bool:
        nonlocal group
        group = group or json.loads(file.read_text()).get("process_group", 0)
        return bool(group) and not Path(f"/proc/{group}/exe").exists()

    wait_until(has_ended, what="the process has ended")
    while os.read(read, 1 << 20):
        pass
    run.communicate(timeout=PATIENCE_S)
    os.close(read)

    assert record()["exit"]["requested"] == "time-limit"


def test_output_that_does_not_wait_loses_nothing(project: Path) -> None:
    (project / "much.py").write_text("print('z' * 2_000_000)\n")
    read, write = os.pipe()
    os.set_blocking(write, False)
    run = subprocess.Popen([sys.executable, "-m", "reenact", "run", "much.py"], stdout=write)
    os.close(write)

    size = 0
    while data := os.read(read, 1 << 16):
        size += len(data)
    os.close(read)

    assert (size, run.wait(PATIENCE_S)) == (2_000_001, 0)


@pytest.mark.parametrize("reader", ["comes late", "is interrupted"])
def test_a_run_that_is_over_loses_nothing_that_waits_for_its_reader(
    project: Path, reader: str
) -> None:
    (project / "much.py").write_text("for n in range(9000): print('z' * 99)\n")
    words = [sys.executable, "-m", "reenact", "run", "much.py"]
    run = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    store = project.parent / "store" / "runs"
    wait_until(lambda: list(store.glob("*[0-9a-f]/.reenact/run.json")), what="there is a run")
    (file,) = store.glob("*[0-9a-f]/.reenact/run.json")
    wait_until(lambda: "process_group" in json.loads(file.read_text()), what="it has started")
    child = json.loads(file.read_text())["process_group"]
    wait_until(lambda: not Path(f"/proc/{child}").exists(), what="it has ended")
    time.sleep(2.5)  # Longer than a process that lives on is listened to.

    if reader == "is interrupted":
        run.send_signal(signal.SIGINT)
        run.wait(PATIENCE_S)
    out, _ = run.communicate(timeout=PATIENCE_S)

    assert len(ok("log", "--stdout")) == 900_000
    if reader == "comes late":
        assert (len(out), run.returncode) == (900_000, 0)


def test_the_interpreter_of_a_late_start_is_described(project: Path) -> None:
    ok("run", "--", "sh", "-c", f"sleep 0.6; {sys.executable} -c pass")

    details = json.loads(ok("show", "--json"))

    assert details["environment"]["python"]["implementation"] == sys.implementation.name


def test_a_run_in_place_is_repeated_in_its_directory(project: Path) -> None:
    (project / "sub").mkdir()
    (project / "sub" / "where.py").write_text("import os\nprint(os.path.basename(os.getcwd()))\n")
    done = reenact("run", "where.py", "--in-place", cwd=project / "sub")

    assert done.stdout == "sub\n"
    assert ok("run", "--like", "@latest", "--in-place") == "sub\n"
    assert reenact("run", "--restart", "@latest").returncode == 2


def test_a_flag_of_the_chosen_subcommand_needs_no_prefix(project: Path) -> None:
    (project / "sub.py").write_text(
        "import argparse\nparser = argparse.ArgumentParser()\n"
        "commands = parser.add_subparsers(dest='command')\n"
        "for name in ('train', 'eval'):\n"
        "    commands.add_parser(name).add_argument('--lr', type=float, default=0.1)\n"
        "print(parser.parse_args())\n"
    )

    chosen = ok("run", "sub.py", "command=train", "lr=0.4")
    refused = reenact("run", "sub.py", "lr=0.4")

    assert chosen == "Namespace(command='train', lr=0.4)\n"
    assert "did you mean `train.lr`?" in refused.stderr


def test_what_a_run_in_place_reads_is_an_input_and_what_it_makes_is_not(project: Path) -> None:
    (project / "data.csv").write_text("1,2")
    (project / "read.py").write_text(
        "text = open('data.csv').read()\nopen('made.txt', 'w').write(text)\nopen('made.txt').read()\n"
    )

    ok("run", "read.py", "--in-place")

    found = record()
    assert [file["path"] for file in found["inputs"]] == ["data.csv"]
    assert [Path(file["path"]).name for file in found["outputs"]] == ["made.txt"]


def test_nothing_in_a_label_commands_the_terminal(project: Path) -> None:
    ok("run", "train.py", "--label", "red\x1b[31m\nlabel")

    listed = ok("runs")

    assert "\x1b" not in listed
    assert "red\\x1b[31m label" in listed
