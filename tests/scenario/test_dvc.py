"""Files that DVC keeps, as requirements. Digests are those that DVC 3.67 has written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from commands import Desk

FILE = "outs:\n- md5: e5ebd4c02cefbe7955977c67ada242b7\n  size: 8\n  hash: md5\n  path: data.csv\n"
DIRECTORY = (
    "outs:\n- md5: cf55e529f799fd16b4be589948d7a835.dir\n  size: 4\n  nfiles: 2\n  hash: md5\n"
    "  path: images\n"
)
PULL = """\
#!/bin/sh
echo "$PWD $*" >> "$LOG"
case "$*" in
  *nowhere*) echo "ERROR: no such remote"; exit 251 ;;
esac
printf 'a,b\\n1,2\\n' > data.csv
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    desk.write("reenact.yml", "read: {requires: {dvcfile: data.csv}}\n")
    desk.write("read.py", "print(open('data.csv').read().split())")
    desk.write("data.csv.dvc", FILE)
    return desk


def with_dvc(desk: Desk, tmp_path: Path) -> Path:
    """Put a program `dvc` on the path that brings the file; return where it notes its calls."""
    program = tmp_path / "tools" / "dvc"
    program.parent.mkdir()
    program.write_text(PULL)
    program.chmod(0o755)
    desk.env["PATH"] = f"{program.parent}:{os.environ['PATH']}"
    desk.env["LOG"] = str(tmp_path / "log")
    return tmp_path / "log"


def test_what_is_there_and_is_what_dvc_says_is_taken(desk: Desk) -> None:
    desk.write("data.csv", "a,b\n1,2\n")

    assert desk.ok("run", "read") == "['a,b', '1,2']\n"
    assert desk.ok("run", "read") == "['a,b', '1,2']\n"
    (needed,) = desk.record(desk.ids()[0])["dependencies"]
    assert (needed["kind"], needed["uri"], needed["paths"]) == ("dvcfile", "data.csv", ["data.csv"])


def test_another_file_is_refused_once_it_is_another_one(desk: Desk) -> None:
    desk.write("data.csv", "a,b\n1,2\n")
    desk.ok("run", "read")
    desk.write("data.csv", "a,b\n1,3\n")

    done = desk.reenact("run", "read")

    assert (done.status, done.out) == (2, "")
    assert done.complaint == [
        (
            "error: reenact.yml:1: `dvcfile:data.csv` needs `data.csv` as `data.csv.dvc` says, and it is "
            "another one"
        ),
        "hint: `dvc checkout data.csv` brings it back, `dvc add data.csv` keeps what is there",
    ]


def test_a_directory_is_known_by_all_of_its_files(desk: Desk) -> None:
    desk.write("reenact.yml", "count: {main: count, requires: {dvcfile: images.dvc}}\n")
    desk.write("count.py", "import os; print(sum(len(f) for _, _, f in os.walk('images')))")
    desk.write("images.dvc", DIRECTORY)
    desk.write("images/1.txt", "x\n")
    desk.write("images/sub/é.txt", "y\n")
    assert desk.ok("run", "count") == "2\n"

    desk.write("images/sub/2.txt", "y\n")

    assert "needs `images` as `images.dvc` says" in desk.reenact("run", "count").err


def test_line_ends_of_dos_do_not_matter_where_older_versions_left_them_out(desk: Desk) -> None:
    desk.write("data.csv", "a,b\r\n1,2\r\n")
    assert desk.reenact("run", "read").status == 2

    desk.write("data.csv.dvc", FILE.replace("  hash: md5\n", ""))

    assert desk.ok("run", "read") == "['a,b', '1,2']\n"


def test_what_is_not_there_is_pulled_into_the_project(desk: Desk, tmp_path: Path) -> None:
    log = with_dvc(desk, tmp_path)

    assert "pulled" not in desk.ok("run", "read", "--dry-run")
    assert not log.exists()
    assert desk.ok("run", "read") == "['a,b', '1,2']\n"
    assert desk.ok("run", "read") == "['a,b', '1,2']\n"

    path = desk.project.resolve()
    assert log.read_text() == f"{path} pull --force {path}/data.csv.dvc\n"
    whys = {desk.record(i)["dependencies"][0].get("why") for i in desk.ids()}
    assert whys == {"pulled by DVC", None}


def test_it_is_pulled_each_time_where_the_file_says_so(desk: Desk, tmp_path: Path) -> None:
    log = with_dvc(desk, tmp_path)
    desk.write(
        "reenact.yml", "read: {requires: {dvcfile: data.csv, always-pull: yes, remote: far}}\n"
    )

    desk.ok("run", "read")
    desk.ok("run", "read")

    assert [line.split()[-2:] for line in log.read_text().splitlines()] == [["--remote", "far"]] * 2


def test_a_pull_that_fails_leaves_a_failed_run_with_the_reason(desk: Desk, tmp_path: Path) -> None:
    with_dvc(desk, tmp_path)
    desk.write("reenact.yml", "read: {requires: {dvcfile: data.csv, remote: nowhere}}\n")

    done = desk.reenact("run", "read")

    assert done.status != 0
    assert "ended with exit status 251: ERROR: no such remote" in done.err
    assert desk.status(desk.ids()[0]) == "failed"


@pytest.mark.parametrize(
    ("dvc", "message"),
    [
        (None, "needs `data.csv`, which is not there, and neither is `data.csv.dvc`"),
        (FILE, "needs `data.csv` of DVC, which is not there, and there is no program `dvc`"),
        ("outs: 1\n", "finds no `outs` in `data.csv.dvc`: that is no file of DVC"),
        ("outs: [\n", "cannot read data.csv.dvc:"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_starts(
    desk: Desk, dvc: str | None, message: str
) -> None:
    (desk.project / "data.csv.dvc").unlink()
    if dvc is not None:
        desk.write("data.csv.dvc", dvc)

    done = desk.reenact("run", "read")

    assert done.status == 2
    assert message in done.err
    assert desk.ids() == []


def test_a_flag_takes_another_file_instead(desk: Desk, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("mine")
    desk.write(
        "reenact.yml", "read: {requires: {dvcfile: data.csv, name: data, rename: data.csv}}\n"
    )

    assert desk.ok("run", "read", f"data={other}") == "['mine']\n"


STAGES = """\
prepare:
  main: prepare
  run-attrs: {dvc-stage: prepare-data}
train:
  main: train
  requires: {dvcstage: prepare-data, select: table.csv}
all:
  steps: [train, prepare]
"""


def test_a_stage_is_the_operation_that_says_so(desk: Desk) -> None:
    desk.write("reenact.yml", STAGES)
    desk.write("prepare.py", "open('table.csv', 'w').write('ready')")
    desk.write("train.py", "print(open('table.csv').read())")
    assert "needs a completed run of `prepare`" in desk.reenact("run", "train").err

    # The pipeline knows that `prepare` comes first.
    assert desk.ok("run", "all").splitlines()[-1] == "ready"
    assert desk.ok("run", "train") == "ready\n"
    trained = desk.json("show", "@latest")["run"]
    (needed,) = trained["dependencies"]
    assert (needed["kind"], needed["uri"]) == ("operation", "prepare")


def test_a_stage_that_no_operation_is_is_an_error_of_what_requires_it(desk: Desk) -> None:
    desk.write("reenact.yml", STAGES.replace("{dvcstage: prepare-data", "{dvcstage: prepare"))

    done = desk.reenact("check")

    assert done.out.splitlines() == [
        "reenact.yml:6: error: no operation is the stage `prepare` of DVC",
        "    did you mean `prepare-data`?",
    ]
