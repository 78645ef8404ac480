"""What a user has set up once, and what commands make of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands import Desk

SCRIPT = """\
import argparse, os
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--epochs", type=int, default=1)
print(vars(parser.parse_args()), os.environ.get("THREADS"), os.environ["CUDA_VISIBLE_DEVICES"])
"""
PROJECT = """\
- model: m
  operations:
    train: {main: train, tags: [own]}
    read: {main: read, requires: data}
    both: {steps: [read]}
  resources:
    data: [{file: small.csv}]
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.env["XDG_CONFIG_HOME"] = str(tmp_path / "settings")
    desk.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    desk.env["CUDA_VISIBLE_DEVICES"] = ""
    desk.write("reenact.yml", PROJECT)
    desk.write("train.py", SCRIPT)
    desk.write("read.py", "import glob; print([open(p).read() for p in glob.glob('*.csv')])")
    desk.write("small.csv", "small")
    return desk


def set_up(desk: Desk, text: str) -> Path:
    path = Path(desk.env["XDG_CONFIG_HOME"], "reenact", "config.yml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


OPERATIONS = """\
operations:
  "*":
    tags: laptop
    flags: {lr: 0.9, nothing: 1}
  train:
    flags: {epochs: 7}
    label: quick
    tags: [short]
    env: {THREADS: 4}
    gpus: 1
"""


def test_an_operation_runs_as_if_its_defaults_had_been_written(desk: Desk) -> None:
    set_up(desk, OPERATIONS)

    out = desk.ok("run", "train")

    assert out == "{'lr': 0.9, 'epochs': 7} 4 1\n"
    found = desk.json("show", "@latest")
    assert sorted(found["run"]["given"]) == ["epochs", "lr"]
    assert found["notes"]["label"] == "quick"
    assert found["notes"]["tags"] == ["own", "short", "laptop"]


def test_what_is_said_now_counts_more(desk: Desk) -> None:
    set_up(desk, OPERATIONS)

    out = desk.ok("run", "m:train", "epochs=2", "-l", "mine", "-e", "THREADS=1", "--gpus", "0")

    assert out == "{'lr': 0.9, 'epochs': 2} 1 0\n"
    assert desk.json("show", "@latest")["notes"]["label"] == "mine"


def test_a_script_has_defaults_by_its_name(desk: Desk) -> None:
    set_up(desk, "operations:\n  train.py: {flags: {lr: 0.5}}\n")

    assert desk.ok("run", "train.py") == "{'lr': 0.5, 'epochs': 1} None \n"
    assert desk.ok("run", "train") == "{'lr': 0.1, 'epochs': 1} None \n"


def test_a_list_is_a_batch(desk: Desk) -> None:
    set_up(desk, "operations:\n  train: {flags: {lr: [1.0, 2.0]}}\n")

    assert [line[7:10] for line in desk.ok("run", "train").splitlines()] == ["1.0", "2.0"]


def test_a_run_like_another_one_is_like_it(desk: Desk) -> None:
    desk.ok("run", "train", "epochs=3")
    set_up(desk, OPERATIONS)

    assert desk.ok("run", "--like", "@latest") == "{'lr': 0.1, 'epochs': 3} None \n"


def test_a_flag_that_the_operation_has_not_is_refused_with_its_line(desk: Desk) -> None:
    path = set_up(desk, "operations:\n  train:\n    flags: {epoch: 7}\n")

    done = desk.reenact("run", "train")

    assert (done.status, done.out) == (2, "")
    assert done.complaint == [
        f"error: {path}:3: operation `m:train` has no flag `epoch`", "hint: did you mean `epochs`?"
    ]  # fmt: skip


@pytest.mark.parametrize("operation", ["read", "both"])
def test_a_resource_is_elsewhere_on_this_machine(desk: Desk, operation: str) -> None:
    path = set_up(desk, "resources: {data: big/flowers.csv}\n")
    (path.parent / "big").mkdir()
    (path.parent / "big" / "flowers.csv").write_text("big")

    out = desk.ok("run", operation)

    assert "['big']" in out or sorted(json.loads(out.replace("'", '"'))) == ["big", "small"]
    run = next(r for r in map(desk.record, desk.ids()) if r["operation"]["name"] == "m:read")
    assert run["flags"]["data"] == str(path.parent / "big" / "flowers.csv")


def test_a_resource_that_is_set_now_counts_more(desk: Desk) -> None:
    set_up(desk, "resources: {data: /nowhere}\n")

    assert "small" in desk.ok("run", "read", "data=small.csv")
    refused = desk.reenact("run", "read")
    assert refused.status == 2
    assert "was set to `/nowhere`, which is not there" in refused.err


def test_a_file_of_the_project_replaces_the_user_s_and_a_variable_both(desk: Desk) -> None:
    set_up(desk, "operations: {train: {flags: {epochs: 5}}}\n")
    desk.write("reenact-config.yml", "operations: {train: {flags: {epochs: 6}}}\n")
    other = desk.write("other.yml", "operations: {train: {flags: {epochs: 7}}}\n")

    assert "6" in desk.ok("run", "train")
    desk.env["REENACT_CONFIG"] = str(other)
    assert "7" in desk.ok("run", "train")
    desk.env["REENACT_CONFIG"] = ""
    assert "'epochs': 1" in desk.ok("run", "train")
    desk.env["REENACT_CONFIG"] = str(desk.project / "none.yml")
    assert desk.reenact("run", "train").complaint == [
        "error: none.yml:1: `none.yml` cannot be read: No such file or directory"
    ]


# --- diff ---


def test_diff_starts_the_program_that_is_set_up(desk: Desk) -> None:
    set_up(desk, "diff: {command: diff -r}\n")
    for epochs in (1, 1, 2):
        desk.write("train.py", f"open('model.txt', 'w').write('{epochs}')\n")
        desk.ok("run", "train.py")

    same, other = (
        desk.reenact("diff", "3", "2", "--tool", "--outputs"),
        desk.reenact("diff", "--tool"),
    )
    source = desk.reenact("diff", "--tool", "--source")
    working = desk.reenact("diff", "--command", "diff -r -x .reenact -x *.csv", "--working")

    assert other.status == source.status == 3
    assert "model.txt" in other.out
    assert "model.txt" not in same.out
    assert "< open('model.txt', 'w').write('1')\n" in source.out
    assert (working.status, working.out) == (0, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tool"], "error: no program is set up to compare files"),
        (["--command", "no-such-program"], "error: cannot start `no-such-program`"),
        (["--command", "'"], "error: `'` is no command"),
        (["--command", "diff", "--flags"], "error: a program shows two directories"),
        (["--command", "diff", "--json"], "a program prints no JSON"),
        (["--command", "false --x"], "exit"),
    ],
)
def test_a_program_that_cannot_show_it_is_said(desk: Desk, words: list[str], message: str) -> None:
    desk.ok("run", "train.py")
    desk.ok("run", "train.py", "lr=2")

    done = desk.reenact("diff", *words)

    if message == "exit":
        assert done.status == 3
    else:
        assert done.status in (1, 2)
        assert message in done.err + done.out
