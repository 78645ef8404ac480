"""Batches: many runs of one operation, one after the other or side by side, whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from commands import Desk, Done, wait_until
from terminals import Terminal

TRAIN = """
import argparse, os, pathlib, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--name", default="a")
parser.add_argument("--layers", type=int, nargs="+", default=[1])
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--until")
args = parser.parse_args()
print(f"loss: {(args.lr - 0.3) ** 2}")
if args.name == "bad":
    sys.exit(3)
if args.until:
    pathlib.Path(args.until, f"{os.getpid()}").touch()
    while not pathlib.Path(args.until, "go").exists():
        time.sleep(0.01)
print("done")
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.write("train.py", TRAIN)
    return desk


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Path]:
    """A directory in which scripts say that they run, and wait for `go`; none outlives its test."""
    path = tmp_path / "waiting"
    path.mkdir()
    yield path
    (path / "go").touch()


def batch_of(desk: Desk) -> dict[str, Any]:
    """Return what `show` says of the only batch, its trials in the order of their numbers."""
    found = [run for run in desk.json("runs", "--all")["runs"] if run["batch"]]
    assert len(found) == 1
    shown: dict[str, Any] = desk.json("show", found[0]["id"])
    return shown


def given(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [trial["given"] for trial in batch["trials"]]


def statuses(batch: Mapping[str, Any]) -> list[str]:
    return [trial["status"] for trial in batch["trials"]]


def wait_for_scripts(waiting: Path, count: int) -> list[int]:
    """Wait until so many scripts run; return their process ids."""
    wait_until(lambda: len(list(waiting.glob("[0-9]*"))) >= count, what=f"{count} scripts run")
    return [int(path.name) for path in waiting.glob("[0-9]*")]


def supervisors(desk: Desk, batch_id: str) -> list[int]:
    """Return the processes that watch over the running trials of a batch."""
    found = [desk.record(run_id) for run_id in desk.ids()]
    return [
        run["supervisor_pid"]
        for run in found
        if run.get("parent") == batch_id and "exit" not in run
    ]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


# --- what is run ---


def test_several_values_of_a_flag_are_several_runs(desk: Desk) -> None:
    desk.ok("run", "train.py", "lr=[0.1,0.2]", "name=[a,b c]")

    batch = batch_of(desk)

    assert [(t["flags"]["lr"], t["flags"]["name"]) for t in batch["trials"]] == [
        (0.1, "a"),
        (0.1, "b c"),
        (0.2, "a"),
        (0.2, "b c"),
    ]
    assert statuses(batch) == ["completed"] * 4
    assert batch["status"] == "completed"
    assert batch["run"]["batch"]["completed"] == 4


def test_a_flag_that_takes_a_list_has_it_as_one_value(desk: Desk) -> None:
    desk.ok("run", "train.py", "layers=[1,2]")
    desk.ok("run", "train.py", "layers=[[1,2],[3]]")

    assert [trial["flags"]["layers"] for trial in batch_of(desk)["trials"]] == [[1, 2], [3]]


def test_the_label_of_a_batch_names_the_flags_of_its_trials(desk: Desk) -> None:
    desk.write(
        "reenact.yml", "op:\n  main: train\n  label: own ${lr}\n  flags: {lr: 0.5, name: n}\n"
    )
    desk.write("t.csv", "lr\n0.3\n0.4\n")

    def label(*words: str) -> str:
        desk.ok("run", *words)
        text: str = desk.json("show", "@latest")["notes"]["label"]
        return text

    template = "${name} ${lr} \\${lr} ${default_label}"
    listed = label("op", "lr=[0.1,0.2]", "--label", template)
    trial = desk.json("show", "@latest/2")
    searched = label("train.py", "lr=[0.1:0.2]", "--trials", "1", "--label", "S${lr}")
    of_file = label("train.py", "@t.csv", "--label", "F${lr}")

    assert listed == "n [0.1, 0.2] ${lr} lr=[0.1, 0.2]"
    assert trial["notes"]["label"] == "own 0.2"
    assert searched == "S[0.1:0.2]"
    assert of_file == "F[0.3, 0.4]"


def test_a_trial_is_a_run_that_knows_its_batch(desk: Desk) -> None:
    desk.ok("run", "train.py", "lr=[0.1,0.2]", "--label", "sweep", "--tag", "t")
    batch = batch_of(desk)

    shown = desk.json("show", "sweep/2")

    assert shown["run"]["parent"] == batch["id"]
    assert shown["run"]["part"] == "2"
    assert shown["notes"]["tags"] == ["t"]
    assert desk.json("show", "@latest")["id"] == batch["id"]
    assert desk.json("show", "@latest/1")["flags"]["lr"] == 0.1


def test_seeds_set_the_flag_that_takes_them(desk: Desk) -> None:
    desk.ok("run", "train.py", "lr=[0.1,0.2]", "--seeds", "3..4")

    flags = [trial["flags"] for trial in batch_of(desk)["trials"]]

    assert [(f["lr"], f["seed"]) for f in flags] == [(0.1, 3), (0.1, 4), (0.2, 3), (0.2, 4)]


def test_seeds_are_variables_where_no_flag_takes_them(desk: Desk) -> None:
    desk.write("plain.sh", 'echo "seed: $REENACT_SEED" "$PYTHONHASHSEED"\n')

    desk.ok("run", "plain.sh", "--seeds", "5,7")

    assert [t["metrics"]["seed"]["last"] for t in batch_of(desk)["trials"]] == [5, 7]


def test_seeds_that_no_flag_takes_are_printed_and_not_saved(desk: Desk) -> None:
    desk.write("plain.py", "x = 1\nprint(x)\n")

    printed = desk.ok("run", "plain.py", "x=[1,2]", "--seeds", "7..8", "--print-trials")
    saved = desk.reenact("run", "plain.py", "--seeds", "7..8", "--save-trials", "trials.csv")
    mixed = desk.reenact("run", "plain.py", "x=[1,2]", "--save-trials", "-", "--json")

    rows = [line.split() for line in printed.splitlines()]
    assert rows[-4:] == [["1", "1", "7"], ["2", "1", "8"], ["3", "2", "7"], ["4", "2", "8"]]
    assert saved.status == 2
    assert "seeds that no flag takes" in saved.err
    assert not (desk.project / "trials.csv").exists()
    assert (mixed.status, mixed.out) == (2, "")


def test_a_command_of_any_language_is_run_with_several_values(desk: Desk) -> None:
    desk.ok("run", "x=[1,2,3]", "--", "sh", "-c", "echo loss: {x}")

    assert [t["metrics"]["loss"]["last"] for t in batch_of(desk)["trials"]] == [1, 2, 3]


def test_literals_of_a_script_are_several_values_too(desk: Desk) -> None:
    desk.write("plain.py", "rate = 0.1\nprint(f'loss: {rate}')\n")

    desk.ok("run", "plain.py", "rate=[0.5,0.25]")

    assert [t["metrics"]["loss"]["last"] for t in batch_of(desk)["trials"]] == [0.5, 0.25]


def test_a_file_of_trials_is_run_row_by_row(desk: Desk) -> None:
    desk.write("trials.csv", "lr,name\n0.5,x\n0.25,y\n")

    desk.ok("run", "train.py", "@trials.csv", "seed=4")

    flags = [trial["flags"] for trial in batch_of(desk)["trials"]]
    assert [(f["lr"], f["name"], f["seed"]) for f in flags] == [(0.5, "x", 4), (0.25, "y", 4)]


def test_what_would_run_can_be_printed_and_saved(desk: Desk) -> None:
    saved = desk.project / "plan.csv"

    out = desk.ok("run", "train.py", "lr=[0.1,0.2]", "--print-trials", "--save-trials", str(saved))

    assert [line.split("\t") for line in out.splitlines()] == [["1", "0.1"], ["2", "0.2"]]
    assert saved.read_text() == "lr\n0.1\n0.2\n"
    assert desk.ids() == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["lr=[0.1,fast]"], "flag `lr` takes a number, not `fast`"),
        (["lrr=[1,2]"], "unknown flag `lrr`"),
        (["lr=[]"], "has no values"),
        (["lr=0.1", "--jobs", "2"], "`--jobs` is for several runs, and this is one"),
        (["lr=[1,2]", "--seeds", "x"], "`x` is no seed"),
        (["@missing.csv"], "missing.csv"),
        (["lr=[0:1]", "--optimizer", "rondom"], "there is no optimizer `rondom`"),
        (["lr=[1,2]", "--in-place", "-j", "2"], "runs in place cannot run side by side"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_has_started(
    desk: Desk, words: list[str], complaint: str
) -> None:
    done = desk.reenact("run", "train.py", *words)

    assert done.status in (2, 125)
    assert complaint in done.complaint[0]
    assert desk.ids() == []


def test_all_trials_run_the_source_that_was_there_at_the_start(desk: Desk, waiting: Path) -> None:
    desk.write("model.py", "WORD = 'first'\n")
    desk.write("train.py", "from model import WORD\n" + TRAIN + "print(WORD)\n")

    with desk.start("run", "train.py", "lr=[0.1,0.2]", f"until={waiting}") as process:
        wait_for_scripts(waiting, 1)
        desk.write("model.py", "WORD = 'second'\n")
        (waiting / "go").touch()
        out, _ = process.communicate()

    assert out.decode().count("first") == 2
    sources = {desk.record(trial["id"])["source"]["tree"] for trial in batch_of(desk)["trials"]}
    assert len(sources) == 1


# --- side by side ---


def test_jobs_run_side_by_side(desk: Desk, waiting: Path) -> None:
    with desk.start(
        "run", "train.py", "lr=[1,2,3,4]", f"until={waiting}", "--jobs", "3"
    ) as process:
        wait_for_scripts(waiting, 3)
        running = [r for r in desk.json("runs", "--trials")["runs"] if r["status"] == "running"]
        (waiting / "go").touch()
        process.communicate()

    assert len(running) == 4  # The batch is one of them.
    assert process.returncode == 0
    assert statuses(batch_of(desk)) == ["completed"] * 4


def test_each_job_gets_gpus_of_its_own(desk: Desk, waiting: Path) -> None:
    desk.write(
        "gpu.py",
        "import os\nx = 0\nprint('sees', os.environ['CUDA_VISIBLE_DEVICES'])\n"
        f"import pathlib, time\npathlib.Path({str(waiting)!r}, str(os.getpid())).touch()\n"
        f"while not pathlib.Path({str(waiting)!r}, 'go').exists(): time.sleep(0.01)\n",
    )

    env = {"CUDA_VISIBLE_DEVICES": "2,5,7,9"}
    words = ["run", "gpu.py", "x=[1,2]", "--gpus-per-trial", "2"]
    with desk.start(*words, env=env) as process:
        wait_for_scripts(waiting, 2)
        (waiting / "go").touch()
        process.communicate()

    seen = {desk.ok("log", trial["id"]).split()[1] for trial in batch_of(desk)["trials"]}
    assert seen == {"2,5", "7,9"}


def test_more_gpus_than_there_are_is_refused(desk: Desk) -> None:
    env = {"CUDA_VISIBLE_DEVICES": "0"}

    done = desk.reenact("run", "train.py", "lr=[1,2]", "--gpus-per-trial", "2", env=env)

    assert done.status == 2
    assert "each needs 2 GPUs, and there is 1" in done.complaint[0]
    assert desk.ids() == []


def test_two_hundred_trials(desk: Desk) -> None:
    desk.write("n.sh", "echo loss: $FLAG_X\n")

    done = desk.reenact("run", "n.sh", "x=range[1:200]", "--jobs", "4", "--trace-files", "off")

    assert done.status == 0
    batch = batch_of(desk)
    assert [trial["metrics"]["loss"]["last"] for trial in batch["trials"]] == list(range(1, 201))
    assert f"{len(batch['trials'])} completed" in done.err


# --- failures ---


def test_a_trial_that_fails_is_kept_and_counted(desk: Desk) -> None:
    done = desk.reenact("run", "train.py", "name=[a,bad,c]")

    assert done.status == 1
    assert "3 trials, 2 completed, 1 failed" in done.err
    batch = batch_of(desk)
    assert statuses(batch) == ["completed", "failed", "completed"]
    assert batch["status"] == "failed"


def test_nothing_starts_after_the_first_failure_if_so_wished(desk: Desk) -> None:
    done = desk.reenact("run", "train.py", "name=[a,bad,c]", "--fail-fast")

    assert done.status == 1
    assert statuses(batch_of(desk)) == ["completed", "failed", None]


def test_a_trial_that_leaves_a_process_behind_does_not_hold_up_the_others(desk: Desk) -> None:
    desk.write("daemon.py", "import os, time\nx = 0\nif os.fork() == 0:\n    time.sleep(60)\n")

    done = desk.reenact("run", "daemon.py", "x=[1,2]")

    assert done.status == 0
    assert statuses(batch_of(desk)) == ["completed"] * 2


def test_a_program_that_is_not_there_fails_each_trial_and_leaves_a_reason(desk: Desk) -> None:
    done = desk.reenact("run", "x=[1,2]", "--", "no-such-program", "{x}")

    assert done.status == 1
    assert "there is no program `no-such-program`" in done.err
    assert "2 failed" in done.err


# --- ends that were asked for ---


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize(("number", "reason", "status"), [
    (signal.SIGINT, "interrupt", -signal.SIGINT),
    (signal.SIGTERM, "terminate", 143),
    (signal.SIGHUP, "hangup", 129),
])  # fmt: skip
def test_a_signal_reaches_the_trials_and_ends_the_batch(
    desk: Desk, waiting: Path, jobs: str, number: signal.Signals, reason: str, status: int
) -> None:
    words = ["run", "train.py", "lr=[1,2,3]", f"until={waiting}", "--jobs", jobs]
    with desk.start(*words, start_new_session=True) as process:
        scripts = wait_for_scripts(waiting, int(jobs))
        process.send_signal(number)
        process.communicate()

    batch = batch_of(desk)
    assert process.returncode == status
    assert batch["status"] == "terminated"
    assert batch["run"]["exit"]["requested"] == reason
    missing = [None] * (3 - int(jobs))
    assert statuses(batch) == ["terminated"] * int(jobs) + missing
    assert not any(map(is_alive, scripts))


def test_stop_ends_a_batch_with_its_trials(desk: Desk, waiting: Path) -> None:
    words = ["run", "train.py", "lr=[1,2,3]", f"until={waiting}", "--jobs", "2"]
    with desk.start(*words) as process:
        scripts = wait_for_scripts(waiting, 2)
        desk.ok("stop", "@latest")
        process.communicate()

    batch = batch_of(desk)
    assert [batch["run"]["exit"]["requested"]] * 2 == [
        desk.record(trial["id"])["exit"]["requested"] for trial in batch["trials"][:2]
    ]
    assert not any(map(is_alive, scripts))


def test_stopping_one_trial_leaves_the_others(desk: Desk, waiting: Path) -> None:
    words = ["run", "train.py", "lr=[1,2]", f"until={waiting}", "--jobs", "2"]
    with desk.start(*words) as process:
        wait_for_scripts(waiting, 2)
        desk.ok("stop", "@latest/1")
        (waiting / "go").touch()
        process.communicate()

    assert process.returncode == 1
    assert statuses(batch_of(desk)) == ["terminated", "completed"]


# --- kills, and going on ---


def test_a_batch_that_is_killed_leaves_trials_that_end_by_themselves(
    desk: Desk, waiting: Path
) -> None:
    words = ["run", "train.py", "lr=[1,2,3]", f"until={waiting}", "--jobs", "2"]
    with desk.start(*words) as process:
        wait_for_scripts(waiting, 2)
        process.kill()
        process.wait()
        assert batch_of(desk)["status"] == "killed"
        (waiting / "go").touch()
        wait_until(
            lambda: statuses(batch_of(desk))[:2] == ["completed"] * 2, what="both have ended"
        )

    desk.ok("run", "--restart", batch_of(desk)["id"])

    batch = batch_of(desk)
    assert batch["status"] == "completed"
    assert statuses(batch) == ["completed"] * 3
    assert [desk.record(t["id"]).get("restarts", 0) for t in batch["trials"]] == [0, 0, 0]


def test_a_batch_that_goes_on_waits_for_what_still_runs(desk: Desk, waiting: Path) -> None:
    words = ["run", "train.py", "lr=[1,2]", f"until={waiting}"]
    with desk.start(*words) as process:
        wait_for_scripts(waiting, 1)
        process.kill()
        process.wait()

    with desk.start("run", "--restart", "@latest") as second:
        wait_for_scripts(waiting, 2)
        (waiting / "go").touch()
        second.communicate()

    assert second.returncode == 0
    assert len(list(waiting.glob("[0-9]*"))) == 2
    assert statuses(batch_of(desk)) == ["completed"] * 2


def test_a_trial_whose_supervisor_is_killed_is_run_again_in_its_own_directory(
    desk: Desk, waiting: Path
) -> None:
    with desk.start("run", "train.py", "lr=[1,2]", f"until={waiting}") as process:
        (script,) = wait_for_scripts(waiting, 1)
        (supervisor,) = supervisors(desk, batch_of(desk)["id"])
        os.kill(supervisor, signal.SIGKILL)
        os.killpg(script, signal.SIGKILL)
        (waiting / "go").touch()
        process.communicate()
    before = batch_of(desk)
    assert process.returncode == 1
    assert statuses(before) == ["killed", "completed"]

    desk.ok("run", "--restart", before["id"])

    batch = batch_of(desk)
    assert statuses(batch) == ["completed"] * 2
    assert [t["id"] for t in batch["trials"]] == [t["id"] for t in before["trials"]]
    assert desk.record(batch["trials"][0]["id"])["restarts"] == 1


def test_everything_killed_at_once_is_run_again(desk: Desk, waiting: Path) -> None:
    words = ["run", "train.py", "lr=[1,2,3]", f"until={waiting}", "--jobs", "2"]
    with desk.start(*words) as process:
        scripts = wait_for_scripts(waiting, 2)
        watching = supervisors(desk, batch_of(desk)["id"])
        for pid in (process.pid, *watching, *scripts):
            os.kill(pid, signal.SIGKILL)
        process.wait()
    (waiting / "go").touch()

    desk.ok("run", "--restart", batch_of(desk)["id"])

    assert statuses(batch_of(desk)) == ["completed"] * 3


def test_a_torn_line_in_the_file_of_trials_was_never_begun_with(desk: Desk) -> None:
    desk.ok("run", "train.py", "lr=[1,2]")
    batch = batch_of(desk)
    with desk.file(batch["id"], "trials").open("ab") as file:
        file.write(b'{"number":3,"run":"ab')

    desk.ok("run", "--restart", batch["id"])

    assert statuses(batch_of(desk)) == ["completed"] * 2


def test_a_search_goes_on_after_a_torn_line(desk: Desk) -> None:
    desk.ok("run", "train.py", "lr=[0.0:1]", "--trials", "2", "--minimize", "loss", "--quiet")
    batch = batch_of(desk)
    trials = desk.file(batch["id"], "trials")
    first, second = trials.read_bytes().splitlines(keepends=True)
    desk.ok("rm", batch["trials"][1]["id"], "--yes")
    trials.write_bytes(first + second[:20])

    desk.ok("run", "--restart", batch["id"])

    assert statuses(batch_of(desk)) == ["completed"] * 2


def test_a_damaged_file_of_trials_is_said(desk: Desk) -> None:
    desk.ok("run", "train.py", "lr=[1,2]", "--quiet")
    batch = batch_of(desk)["id"]
    trials = desk.file(batch, "trials")
    trials.write_bytes(b"{bad\n" + trials.read_bytes())

    for words in (("show", batch), ("run", "--restart", batch)):
        done = desk.reenact(*words)
        assert done.status == 1
        assert f"`{trials}` cannot be read" in done.err


def test_failed_trials_are_run_again_only_if_asked_for(desk: Desk) -> None:
    marker = desk.project / "fixed"
    desk.write(
        "flaky.py",
        f"import os, sys\nx = 0\nsys.exit(x == 2 and not os.path.exists({str(marker)!r}))\n",
    )
    assert desk.reenact("run", "flaky.py", "x=[1,2]").status == 1
    marker.touch()

    assert desk.reenact("run", "--restart", "@latest").status == 1
    assert desk.reenact("run", "--restart", "@latest", "--failed-too").status == 0

    assert statuses(batch_of(desk)) == ["completed"] * 2


def test_a_trial_that_was_deleted_is_another_run_when_the_batch_goes_on(desk: Desk) -> None:
    desk.ok("run", "train.py", "lr=[0.1,0.2]", "--quiet")
    before = batch_of(desk)
    deleted = before["trials"][0]["id"]
    desk.ok("rm", deleted, "--yes")

    desk.ok("run", "--restart", before["id"])

    after = batch_of(desk)
    assert [trial["status"] for trial in after["trials"]] == ["completed", "completed"]
    assert after["trials"][0]["id"] != deleted
    assert after["trials"][1]["id"] == before["trials"][1]["id"]
    desk.ok("restore", deleted)
    desk.ok("rm", before["id"], "--yes")
    assert desk.json("runs", "--all")["runs"] == []


def test_a_batch_goes_on_with_the_source_that_it_began_with(desk: Desk) -> None:
    desk.write("train.py", TRAIN + "print('first')\n")
    assert desk.reenact("run", "train.py", "name=[bad,a]", "--fail-fast").status == 1
    desk.write("train.py", TRAIN + "print('second')\n")

    done = desk.reenact("run", "--restart", "@latest")

    assert "first" in done.out
    assert "second" not in done.out


def test_two_batches_run_at_once(desk: Desk) -> None:
    words = ["run", "train.py", "lr=[1,2,3]", "--jobs", "2"]

    with desk.start(*words) as one, desk.start(*words) as two:
        one.communicate()
        two.communicate()

    assert (one.returncode, two.returncode) == (0, 0)
    assert len(desk.ids()) == 8


def test_a_batch_runs_in_the_background(desk: Desk) -> None:
    run_id = desk.ok("run", "train.py", "lr=[1,2]", "--background").strip()

    assert desk.reenact("wait", run_id).status == 0

    assert statuses(desk.json("show", run_id)) == ["completed"] * 2


# --- afterwards ---


def test_a_batch_is_one_line_and_its_trials_are_found(desk: Desk) -> None:
    desk.ok("run", "train.py", "lr=[0.1,0.2]", "-N", "loss")
    batch = batch_of(desk)["id"]

    assert [run["id"] for run in desk.json("runs")["runs"]] == [batch]
    assert len(desk.json("runs", "--trials")["runs"]) == 3
    assert len(desk.json("runs", "-f", f"parent = {batch[:8]}")["runs"]) == 2
    assert len(desk.json("compare", "-f", f"parent = {batch}")["rows"]) == 2
    assert len(desk.json("compare")["rows"]) == 2
    assert desk.json("show", "@latest/best")["flags"]["lr"] == 0.2
    assert "(2/2 trials)" in desk.ok("runs")


def test_deleting_a_batch_takes_its_trials_along(desk: Desk) -> None:
    desk.ok("run", "train.py", "lr=[0.1,0.2]")
    batch = batch_of(desk)["id"]

    desk.ok("rm", batch, "--yes")
    assert desk.ids() == []

    desk.ok("restore", batch)
    assert len(desk.ids()) == 3


def test_json_has_the_trials(desk: Desk) -> None:
    done = desk.reenact("run", "train.py", "lr=[0.1,0.2]", "--json")

    answer = json.loads(done.out)

    assert answer["run"]["batch"]["completed"] == 2
    assert [trial["flags"]["lr"] for trial in answer["trials"]] == [0.1, 0.2]
    assert done.err == ""


def test_a_secret_is_not_in_the_file_of_trials_and_must_be_given_again(desk: Desk) -> None:
    desk.write("s.py", "api_key = ''\nx = 0\nimport sys; sys.exit(x == 1)\n")
    assert desk.reenact("run", "s.py", "api_key=hush", "x=[1,2]", "--fail-fast").status == 1
    batch = batch_of(desk)["id"]
    kept = b"".join(p.read_bytes() for p in desk.file(batch, "").iterdir() if p.is_file())
    assert b"hush" not in kept

    refused = desk.reenact("run", "--restart", batch)
    assert "`api_key` was a secret" in refused.complaint[0]

    assert desk.reenact("run", "--restart", batch, "api_key=hush").status == 1
    assert statuses(batch_of(desk)) == ["failed", "completed"]


def test_watch_shows_the_trials_of_a_batch(desk: Desk, waiting: Path) -> None:
    with desk.start("run", "train.py", "lr=[1,2]", f"until={waiting}", "--jobs", "2") as process:
        wait_for_scripts(waiting, 2)
        now = desk.ok("watch", "--once")
        with desk.start("watch", "--json") as watch:
            (waiting / "go").touch()
            out, _ = watch.communicate()
        process.communicate()

    assert [line.split("\t")[2] for line in now.splitlines()] == ["running", "running"]
    ended = [json.loads(line) for line in out.splitlines()]
    assert sorted((trial["number"], trial["status"]) for trial in ended) == [
        (1, "completed"),
        (2, "completed"),
    ]


def test_the_log_of_a_batch_is_that_of_its_trials(desk: Desk) -> None:
    desk.ok("run", "train.py", "lr=[1,2]")

    done = desk.reenact("log")

    assert done.status == 2
    assert "is a batch, which prints nothing itself" in done.complaint[0]
    assert desk.ok("log", "@latest/1").endswith("done\n")


# --- searches ---


def test_a_search_runs_as_many_trials_as_it_may(desk: Desk) -> None:
    desk.ok("run", "train.py", "lr=[0.0:1.0]", "--trials", "5", "-N", "loss", "--random-seed", "1")

    batch = batch_of(desk)
    values = [trial["flags"]["lr"] for trial in batch["trials"]]

    assert len(set(values)) == 5
    assert all(0 <= value <= 1 for value in values)
    best = min(batch["trials"], key=lambda trial: trial["metrics"]["loss"]["last"])
    assert batch["run"]["batch"]["best"] == best["id"]
    assert batch["run"]["batch"]["spaces"] == {"lr": "[0.0:1.0]"}


def test_a_search_that_is_killed_goes_on_as_if_nothing_had_been(desk: Desk, waiting: Path) -> None:
    words = ["run", "train.py", "lr=[0.0:1.0]", "--trials", "4", "--random-seed", "3"]
    desk.ok(*words)
    expected = [trial["flags"]["lr"] for trial in batch_of(desk)["trials"]]
    desk.ok("rm", "@latest", "--yes")
    with desk.start(*words, f"until={waiting}") as process:
        wait_for_scripts(waiting, 1)
        process.kill()
        process.wait()
    (waiting / "go").touch()

    desk.ok("run", "--restart", "@latest")

    assert [trial["flags"]["lr"] for trial in batch_of(desk)["trials"]] == expected


def test_the_grid_ends_when_everything_has_been_tried(desk: Desk) -> None:
    desk.ok("run", "train.py", "lr=[0.1,0.2]", "name=[a,b]", "--optimizer", "grid")

    assert len(batch_of(desk)["trials"]) == 4


def test_a_search_learns_from_earlier_runs_of_the_operation(desk: Desk) -> None:
    desk.ok("run", "train.py", "lr=0.25")
    desk.ok("run", "train.py", "lr=[0.25,0.5]", "--optimizer", "grid", "-N", "loss")

    assert [trial["flags"]["lr"] for trial in batch_of(desk)["trials"]] == [0.5]


def test_a_project_file_says_what_to_search_and_what_for(desk: Desk) -> None:
    desk.write(
        "reenact.yml",
        "train:\n"
        "  flags:\n"
        "    lr: {default: 0.1, min: 0.0, max: 1.0}\n"
        "    name: {default: a}\n"
        "  objective: loss\n"
        "  default-max-trials: 3\n",
    )

    desk.ok("run", "train", "--optimizer", "random")

    batch = batch_of(desk)
    assert len(batch["trials"]) == 3
    assert batch["run"]["batch"]["objectives"] == [["minimize", "loss"]]
    assert batch["run"]["batch"]["spaces"] == {"lr": "uniform[0.0:1.0:0.1]"}
    assert [trial["flags"]["name"] for trial in batch["trials"]] == ["a"] * 3
    assert batch["trials"][0]["flags"]["lr"] == 0.1


def test_an_optimizer_of_a_project_file_says_how_many_trials_there_are(desk: Desk) -> None:
    desk.write(
        "reenact.yml",
        "train:\n"
        "  flags:\n"
        "    lr: {default: 0.1, min: 0.0, max: 1.0}\n"
        "  default-max-trials: 5\n"
        "  optimizers: {o: {algorithm: random, trials: 2}}\n",
    )

    desk.ok("run", "train", "--optimizer", "o")
    assert len(batch_of(desk)["trials"]) == 2
    assert len(desk.json("run", "train", "--optimizer", "o", "--trials", "1")["trials"]) == 1


LEARN = """
import time
level = 0
for step in range(10):
    print(f"step {step} loss: {level}", flush=True)
    if level == 9 and step == 5:
        time.sleep(60)
"""


def test_a_trial_that_is_worse_than_the_others_is_stopped_early(desk: Desk) -> None:
    desk.write("learn.py", LEARN)
    words = ["run", "learn.py", "level=[1,2,3,4,5,9]", "-N", "loss", "--stop-early", "median"]

    done = desk.reenact(*words)

    assert done.status == 0
    assert "5 completed, 1 stopped early" in done.err
    batch = batch_of(desk)
    assert statuses(batch) == ["completed"] * 5 + ["terminated"]
    assert batch["run"]["batch"]["stopped"] == 1
    again = desk.reenact("run", "--restart", batch["id"])
    assert again.status == 0
    assert "restarts" not in desk.record(batch["trials"][5]["id"])


def test_stopping_early_needs_to_know_what_is_better(desk: Desk) -> None:
    done = desk.reenact("run", "train.py", "lr=[1,2]", "--stop-early", "median")

    assert done.status == 2
    assert "`--stop-early` needs to know what is better" in done.complaint[0]


# --- causes ---

CAUSES = """
a = 1
b = 1
c = 1
d = "x"
print("loss:", 8.0 if b == 2 and d == "y z" else 5.0 + a / 100)
if c == 7:
    raise SystemExit(3)
"""


def test_flags_that_make_the_difference_only_together_are_found(desk: Desk) -> None:
    desk.write("cause.py", CAUSES)
    before = desk.run("cause.py")
    after = desk.run("cause.py", "a=2", "b=2", "c=2", "d=y z")

    found = desk.json("prune", before, after, "--by", "loss")

    assert found["outcome"] == "found"
    assert [(c["flag"], c["before"], c["after"]) for c in found["changes"]] == [
        ("b", 1, 2),
        ("d", "x", "y z"),
    ]
    again = desk.json("prune", before, after, "--by", "loss")
    assert again["changes"] == found["changes"]
    assert desk.json("show", again["run"])["trials"] == []


def test_the_flag_by_which_a_run_fails_is_found(desk: Desk) -> None:
    desk.write("cause.py", CAUSES)
    fine = desk.run("cause.py")
    broken = desk.run("cause.py", "a=2", "b=3", "c=7")

    assert desk.ok("prune", fine, broken, "--quiet") == "c\t1\t7\n"


@pytest.mark.parametrize(
    ("settings", "options", "complaint"),
    [
        ([], ["--by", "loss"], "the two runs have the same flags"),
        (["a=2"], [], "one run is completed, the other completed"),
        (["c=2"], ["--by", "loss"], "the two runs do not differ in `loss`"),
        (["a=2"], ["--by", "nothing"], "the two runs do not differ in `nothing`"),
    ],
)
def test_runs_that_cannot_be_told_apart_are_refused(
    desk: Desk, settings: list[str], options: list[str], complaint: str
) -> None:
    desk.write("cause.py", CAUSES)
    runs = [desk.run("cause.py"), desk.run("cause.py", *settings)]

    done = desk.reenact("prune", *runs, *options)

    assert done.status == 2
    assert complaint in done.complaint[0]
    assert len(desk.ids()) == 2


# --- the queue ---


def test_a_staged_run_waits_with_its_source_until_a_queue_starts_it(desk: Desk) -> None:
    desk.write("train.py", TRAIN + "print('first')\n")
    run_id = desk.ok("run", "train.py", "lr=0.5", "--stage").strip()
    assert desk.status(run_id) == "staged"
    desk.write("train.py", TRAIN + "print('second')\n")

    desk.ok("queue", "--once")

    assert desk.status(run_id) == "completed"
    assert desk.ok("log", run_id).split()[-1] == "first"
    record = desk.record(run_id)
    assert record["flags"]["lr"] == 0.5
    assert "restarts" not in record


def test_the_queue_starts_the_highest_priority_first(desk: Desk) -> None:
    first = desk.ok("run", "train.py", "--stage").strip()
    second = desk.ok("run", "train.py", "--stage", "--priority", "5").strip()
    third = desk.ok("run", "train.py", "--stage").strip()
    desk.ok("priority", "9", third)
    listed = [run["id"] for run in desk.json("queue", "--list")["runs"]]

    desk.ok("queue", "--once")

    assert listed == [third, second, first]
    started = sorted((first, second, third), key=lambda run_id: desk.record(run_id)["started"])
    assert started == listed


def test_a_staged_batch_is_started_by_a_queue(desk: Desk) -> None:
    batch = desk.ok("run", "train.py", "lr=[0.1,0.2]", "--stage", "--jobs", "2").strip()
    assert desk.status(batch) == "staged"

    desk.ok("queue", "--once")

    assert desk.status(batch) == "completed"
    assert statuses(batch_of(desk)) == ["completed"] * 2


def test_two_queues_start_each_run_once(desk: Desk) -> None:
    runs = [desk.ok("run", "train.py", f"lr={n}", "--stage").strip() for n in range(6)]

    queues = [desk.start("queue", "--once", "--workers", "2") for _ in range(2)]
    errors = [queue.communicate()[1].decode() for queue in queues]

    # Who comes second says nothing of the run.
    said = sorted(line for text in errors for line in text.splitlines())
    assert said == sorted(
        line for r in runs for line in (f"run {r[:8]} starts", f"run {r[:8]}: completed")
    )

    assert [queue.returncode for queue in queues] == [0, 0]
    assert [desk.status(run_id) for run_id in runs] == ["completed"] * 6
    assert all("restarts" not in desk.record(run_id) for run_id in runs)


def test_a_staged_run_is_cancelled_by_stop_and_by_rm(desk: Desk) -> None:
    stopped = desk.ok("run", "train.py", "--stage").strip()
    removed = desk.ok("run", "train.py", "--stage").strip()

    desk.ok("stop", stopped)
    desk.ok("rm", removed, "--yes")
    desk.ok("queue", "--once")

    assert desk.status(stopped) == "terminated"
    assert "started" not in desk.record(stopped)
    assert desk.ids() == [stopped]


def test_what_a_queue_cannot_start_has_failed_and_is_not_tried_again(desk: Desk) -> None:
    desk.write("gone.sh", "#!/bin/sh\necho hi\n").chmod(0o755)
    run_id = desk.ok("run", "--stage", "--", "./gone.sh").strip()
    (desk.project / "gone.sh").unlink()
    other = desk.ok("run", "--stage", "--", "no-such-program").strip()

    done = desk.reenact("queue", "--once")

    assert desk.status(run_id) == "completed"  # Its source was kept.
    assert desk.status(other) == "failed"
    assert "there is no program `no-such-program`" in desk.record(other)["warnings"][0]["message"]
    assert done.status == 0


def test_a_queue_that_is_killed_leaves_what_waits(desk: Desk, waiting: Path) -> None:
    runs = [desk.ok("run", "train.py", f"until={waiting}", "--stage").strip() for _ in range(2)]
    with desk.start("queue") as queue:
        wait_for_scripts(waiting, 1)
        queue.kill()
        queue.wait()
    (waiting / "go").touch()
    desk.ok("wait", runs[0])

    assert [desk.status(run_id) for run_id in runs] == ["completed", "staged"]
    desk.ok("queue", "--once")
    assert desk.status(runs[1]) == "completed"


def test_a_queue_waits_for_more(desk: Desk) -> None:
    with desk.start("queue") as queue:
        run_id = desk.ok("run", "train.py", "--stage").strip()
        wait_until(lambda: desk.status(run_id) == "completed", what="the run has been started")
        queue.send_signal(signal.SIGTERM)
        queue.communicate()

    assert queue.returncode == 143


# --- a terminal ---


class Place(NamedTuple):
    project: Path
    env: Mapping[str, str]


@pytest.fixture
def at_terminal(desk: Desk) -> Iterator[Any]:
    terminals: list[Terminal] = []

    def start(*words: str) -> Terminal:
        place = Place(desk.project, {**os.environ, **desk.env})
        terminal = Terminal([sys.executable, "-m", "reenact", *words], place)
        terminals.append(terminal)
        return terminal

    yield start
    for terminal in terminals:
        terminal.close()


def test_one_trial_at_a_time_has_the_terminal(desk: Desk, at_terminal: Any) -> None:
    desk.write("ask.py", "import sys\nx = 0\nprint(sys.stdin.isatty(), input('who? '), x)\n")

    terminal = at_terminal("run", "ask.py", "x=[1,2]")
    terminal.wait_for(b"who? ")
    terminal.type(b"ada\n")
    terminal.wait_for(b"True ada 1")
    terminal.wait_for(b"who? ")
    terminal.type(b"bob\n")
    terminal.wait_for(b"True bob 2")

    assert terminal.end() == 0


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_ends_the_trials_and_then_the_batch(
    desk: Desk, waiting: Path, at_terminal: Any, jobs: str
) -> None:
    terminal = at_terminal("run", "train.py", "lr=[1,2,3]", f"until={waiting}", "--jobs", jobs)
    scripts = wait_for_scripts(waiting, int(jobs))
    terminal.type(b"\x03")

    assert terminal.end() == 128 + signal.SIGINT
    batch = batch_of(desk)
    assert batch["run"]["exit"]["requested"] == "interrupt"
    assert statuses(batch)[: int(jobs)] == ["terminated"] * int(jobs)
    assert statuses(batch)[-1] is None
    assert not any(map(is_alive, scripts))


def test_several_trials_are_a_table_that_is_drawn_anew(desk: Desk, at_terminal: Any) -> None:
    terminal = at_terminal("run", "train.py", "lr=[1,2,3]", "--jobs", "2", "-N", "loss")

    assert terminal.end() == 0
    screen = terminal.seen.decode()
    assert "STATUS" in screen
    assert "3 of 3" in screen
    assert screen.count("completed") >= 3


def test_what_is_said_while_trials_run_stands_above_their_table(
    desk: Desk, at_terminal: Any
) -> None:
    terminal = at_terminal("run", "train.py", "lr=[1,2,3]", "--jobs", "2", "-N", "lss")

    assert terminal.end() == 0
    screen = terminal.seen.decode()
    assert screen.count("completed and did not report `lss`") == 1
    assert screen.index("completed and did not report") < screen.rindex("STATUS")


def test_no_descriptor_of_the_batch_reaches_a_trial(desk: Desk) -> None:
    desk.write("fds.py", "import os\nx = 0\nprint('fds:', len(os.listdir('/proc/self/fd')))\n")
    alone = subprocess.run(
        [sys.executable, "fds.py"], cwd=desk.project, capture_output=True, text=True, check=True
    )

    done: Done = desk.reenact("run", "fds.py", "x=[1,2,3]")

    assert done.out.splitlines() == alone.stdout.splitlines() * 3


def test_no_process_stays_unwaited(desk: Desk, waiting: Path) -> None:
    with desk.start("run", "train.py", "name=[bad,bad,a]", f"until={waiting}") as process:
        wait_for_scripts(waiting, 1)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (waiting / "go").touch()
        process.communicate()

    assert len(children) == 1
