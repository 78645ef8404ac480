"""A project file with a bad operation in it: the other ones run."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import Desk

FILE = """\
good:
  main: script
bad:
  main: script
  flags:
    x: {type: whole}
all:
  steps: [good, bad]
later:
  main: script
  requires: nowhere
"""
PROBLEM = "reenact.yml:6: `type` of flag `x` of operation `bad` takes one of"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    desk.write("reenact.yml", FILE)
    desk.write("script.py", "print('it runs')")
    return desk


def test_the_other_operations_run_and_say_where_the_first_problem_is(desk: Desk) -> None:
    done = desk.reenact("run", "good")

    assert (done.status, done.out) == (0, "it runs\n")
    (line,) = done.err.splitlines()
    assert line.startswith(f"warning: {PROBLEM}")
    assert line.endswith("; `reenact check` says more")
    assert "warnings" not in desk.record(desk.ids()[0])


@pytest.mark.parametrize("words", [("bad",), ("bad", "x=1"), ("bad", "x=[1,2]"), ("all",)])
def test_the_bad_one_is_refused_and_so_is_what_starts_it(desk: Desk, words: list[str]) -> None:
    done = desk.reenact("run", *words)

    assert (done.status, done.out) == (2, "")
    assert f"error: {PROBLEM}" in done.err
    assert desk.ids() == []


def test_a_bad_default_operation_is_refused(desk: Desk) -> None:
    desk.write("reenact.yml", "bad: {default: yes, main: [1]}\ngood: script\n")

    assert desk.reenact("run").status == 2
    assert desk.ok("run", "good") == "it runs\n"


def test_lists_and_help_say_which_one_is_bad(desk: Desk) -> None:
    done = desk.reenact("ops")
    listed = {one["name"]: one["problem"] for one in desk.json("ops")["operations"]}
    helped = desk.reenact("help", "bad")

    assert [line.split()[0] for line in done.out.splitlines()] == ["good", "bad", "all", "later"]
    assert f"note: `bad` cannot be run: {PROBLEM}" in done.err
    assert listed["good"] is None
    assert listed["bad"].startswith(PROBLEM)
    assert (helped.status, helped.out) == (2, "")
    assert desk.reenact("help", "good").status == 0


def test_help_of_the_project_leaves_the_bad_one_out(desk: Desk) -> None:
    done = desk.reenact("help", "--markdown")

    assert done.status == 0
    assert "## good" in done.out
    assert "## bad" not in done.out
    assert f"note: `bad` is left out: {PROBLEM}" in done.err


def test_check_reports_everything(desk: Desk) -> None:
    done = desk.reenact("check")

    assert done.status == 2
    assert [line.partition(": ")[0] for line in done.out.splitlines() if line[0] != " "] == [
        "reenact.yml:6", "reenact.yml:11",
    ]  # fmt: skip


def test_bad_syntax_still_stops_all(desk: Desk) -> None:
    desk.write("reenact.yml", FILE + "x: [\n")

    done = desk.reenact("run", "good")

    assert (done.status, done.out) == (2, "")
