"""Where results come from: `whence`, `restore --to`, `check` of a result, `run --resume`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from commands import Desk

TRAIN = """
import json

lr = 0.1
rows = len(open("data.csv").read().splitlines())
with open("model.json", "w") as file:
    json.dump({"lr": lr, "rows": rows}, file)
"""

RESUMABLE = """
import json, os

steps = 5
start = 0
if os.path.exists("checkpoint.json"):
    start = json.load(open("checkpoint.json"))["step"]
for step in range(start, steps):
    print(f"step: {step}")
    print(f"loss: {1 / (step + 1)}")
    with open("checkpoint.json", "w") as file:
        json.dump({"step": step + 1}, file)
    if step == 2 and start == 0:
        raise SystemExit("out of memory")
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.write("train.py", TRAIN)
    desk.write("data.csv", "1,2\n" * 10)
    return desk


def output(desk: Desk, run: str, name: str) -> Path:
    return desk.store / "runs" / run / name


# --- whence ---


def test_a_renamed_file_names_its_run_code_data_and_flags(desk: Desk, tmp_path: Path) -> None:
    run = desk.run("train.py", "lr=0.3")
    final = tmp_path / "downloads" / "final weights.bin"
    final.parent.mkdir()
    shutil.copy(output(desk, run, "model.json"), final)
    found = desk.json("whence", str(final))
    assert found["made_by"] == run
    assert found["origins"][0]["paths"] == ["model.json"]
    assert found["origins"][0]["flags"] == {"lr": 0.3}
    assert found["origins"][0]["source"] == desk.record(run)["source"]["tree"]
    said = desk.ok("whence", str(final))
    assert f"made by {run[:8]}" in said
    assert "lr=0.3" in said


def test_data_names_the_runs_that_read_it(desk: Desk) -> None:
    desk.write("large.bin", os.urandom(2 << 20))
    desk.write("read.py", "open('large.bin', 'rb').read()\n")
    run = desk.run("read.py")
    found = desk.json("whence", "large.bin")
    assert found["made_by"] is None
    assert [(one["run"], one["role"]) for one in found["origins"]] == [(run, "read")]


def test_one_file_of_a_data_set_is_known(desk: Desk) -> None:
    for number in range(120):
        desk.write(f"images/{number}.bin", os.urandom(100))
    desk.write(
        "read.py", "import os\nfor n in os.listdir('images'): open(f'images/{n}', 'rb').read()"
    )
    run = desk.run("read.py")
    found = desk.json("whence", "images/7.bin")
    assert [(one["run"], one["paths"]) for one in found["origins"]] == [(run, ["images/7.bin"])]


def test_code_is_known_and_an_unknown_file_is_never_seen(desk: Desk) -> None:
    run = desk.run("train.py")
    shutil.copy(desk.project / "train.py", desk.project / "copied.txt")
    found = desk.json("whence", "copied.txt")
    assert [(o["run"], o["role"], o["paths"]) for o in found["origins"]] == [
        (run, "source", ["train.py"])
    ]
    desk.write("other.bin", "never seen")
    done = desk.reenact("whence", "other.bin")
    assert (done.status, "never seen" in done.out) == (1, True)


def test_a_reproduction_made_it_again_and_is_not_the_maker(desk: Desk) -> None:
    run = desk.run("train.py")
    desk.ok("reproduce", run, "--env", "current")
    shutil.copy(output(desk, run, "model.json"), desk.project / "m.json")
    found = desk.json("whence", "m.json")
    assert found["made_by"] == run
    assert len(found["origins"]) == 2
    assert [one["reproduces"] for one in found["origins"]].count(run) == 1


@pytest.mark.parametrize("name", ["nowhere.bin", "."])
def test_what_is_no_file_is_refused(desk: Desk, name: str) -> None:
    desk.run("train.py")
    assert desk.reenact("whence", name).status in (1, 2)


# --- restore --to ---


def test_source_is_restored_byte_for_byte(desk: Desk, tmp_path: Path) -> None:
    desk.write("tool.sh", "#!/bin/sh\necho hello\n").chmod(0o755)
    desk.write("pkg/latin.py", "# -*- coding: latin-1 -*-\nx = 'é'\n".encode("latin-1"))
    (desk.project / "link.py").symlink_to("train.py")
    run = desk.run("train.py")
    desk.write("train.py", "changed")
    to = tmp_path / "old code"
    desk.ok("restore", run, "--to", str(to))
    assert (to / "train.py").read_text() == TRAIN
    assert (to / "pkg/latin.py").read_bytes().endswith(b"'\xe9'\n")
    assert os.access(to / "tool.sh", os.X_OK)
    assert not os.access(to / "train.py", os.X_OK)
    assert os.readlink(to / "link.py") == "train.py"
    assert not (to / "model.json").exists()
    again = desk.reenact("restore", run, "--to", str(to))
    assert (again.status, "is there already" in again.err) == (2, True)


def test_a_lost_blob_leaves_nothing_half_done(desk: Desk, tmp_path: Path) -> None:
    run = desk.run("train.py")
    for blob in (desk.store / "blobs").rglob("*"):
        if blob.is_file() and blob.read_bytes() == TRAIN.encode():
            blob.unlink()
    done = desk.reenact("restore", run, "--to", str(tmp_path / "to"))
    assert done.status == 1
    assert not (tmp_path / "to").exists()
    assert [path.name for path in tmp_path.iterdir() if "to" in path.name] == ["store"]


# --- check of a result ---


def test_a_result_is_checked_against_the_files_of_now(desk: Desk) -> None:
    run = desk.run("train.py")
    shutil.copy(output(desk, run, "model.json"), desk.project / "final.json")
    (desk.project / "final.json").rename(desk.project.parent / "final.json")
    assert desk.reenact("check", "../final.json").status == 0
    assert desk.reenact("check", run[:8]).status == 0
    desk.write("train.py", TRAIN.replace("lr = 0.1", "lr = 0.2"))
    for name in ("../final.json", run[:8]):
        done = desk.reenact("check", name)
        assert done.status == 3
        assert "-lr = 0.1" in done.out


def test_twice_says_what_is_not_deterministic_and_where(desk: Desk) -> None:
    desk.write(
        "noisy.py",
        "import random, uuid\nprint('acc:', random.random())\n"
        "print('loss:', uuid.uuid4().int % 1000)\n",
    )
    done = desk.reenact("check", "--twice", "noisy.py")
    assert done.status == 3
    assert "uuid.uuid4 (noisy.py:3)" in done.out
    first, second = desk.ids()
    assert desk.record(first)["seed"] == desk.record(second)["seed"]
    assert desk.reenact("check", "--twice", "train.py", "lr=0.5").status == 0
    assert desk.reenact("check", "--seed", "1").status == 2
    assert desk.reenact("check", "--twice", "nosuch.py").status != 0


# --- resume ---


def test_a_run_goes_on_from_its_checkpoint_with_the_code_of_now(desk: Desk) -> None:
    desk.write("train.py", RESUMABLE)
    first = desk.run("train.py", "steps=6")
    assert desk.record(first)["exit"]["code"] == 1
    fixed = RESUMABLE.replace("and start == 0", "and False")
    desk.write("train.py", fixed)
    second = desk.run("--resume", first[:8])
    record = desk.record(second)
    assert (record["exit"]["code"], record["resumes"]) == (0, first)
    assert record["flags"]["steps"] == 6
    assert record["metrics"]["loss"]["first_step"] == 3
    assert record["source"]["tree"] != desk.record(first)["source"]["tree"]
    assert [one["code"] for one in record["warnings"]] == ["mixed-code"]
    assert "checkpoint.json" in [file["path"] for file in record["inputs"]]
    # What the first run has left is as it was.
    assert output(desk, first, "checkpoint.json").read_text() == '{"step": 3}'
    assert output(desk, second, "checkpoint.json").read_text() == '{"step": 6}'
    assert not output(desk, second, "checkpoint.json").is_symlink()

    segments = desk.json("whence", second)["segments"]
    assert [(one["run"], one["first_step"], one["last_step"]) for one in segments] == [
        (first, 0, 2),
        (second, 3, 5),
    ]
    assert [one["is_other_code"] for one in segments] == [False, True]
    (made,) = desk.json("whence", second, "--step", "4")["segments"]
    assert (made["run"], made["source"]) == (second, record["source"]["tree"])
    (made,) = desk.json("whence", second, "--step", "1")["segments"]
    assert made["run"] == first
    assert desk.reenact("whence", second, "--step", "99").status == 1


def test_unchanged_code_is_not_mixed(desk: Desk) -> None:
    desk.write("train.py", RESUMABLE)
    first = desk.run("train.py")
    second = desk.run("--resume", first)
    assert "warnings" not in desk.record(second)


@pytest.mark.parametrize(
    "words", [["train.py"], ["--restart", "@latest"], ["--like", "@latest"], ["--", "true"]]
)
def test_what_is_resumed_is_named_by_its_run(desk: Desk, words: list[str]) -> None:
    run = desk.run("train.py")
    done = desk.reenact("run", "--resume", run, *words)
    assert (done.status, "names what to run" in done.err) == (2, True), done


def test_a_pipe_is_not_waited_for(desk: Desk) -> None:
    os.mkfifo(desk.project / "pipe")
    done = desk.reenact("whence", "pipe")
    assert (done.status, "no regular file" in done.err) == (2, True), done


def test_a_segment_that_is_gone_is_named(desk: Desk) -> None:
    desk.write("steps.py", "for step in range(2):\n    print(f'step: {step}\\nloss: {step}')\n")
    first = desk.run("steps.py")
    second = desk.run("--resume", first)
    desk.ok("rm", "--yes", first)
    done = desk.reenact("whence", second)
    assert (done.status, f"run {first[:8]}, which run {second[:8]} goes on from" in done.err) == (
        0,
        True,
    ), done


def test_source_cannot_be_restored_below_a_file(desk: Desk) -> None:
    run = desk.run("train.py")
    desk.write("file", "in the way")
    done = desk.reenact("restore", run, "--to", "file/there")
    assert (done.status, "cannot write `file/there`" in done.err) == (1, True), done
