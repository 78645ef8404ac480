"""Flags of a project file for which a script's dict or namespace has no entry."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import Desk

FILE = """\
train:
  main: train
  flags-dest: global:params
  flags:
    lr: 0.5
    model.depth: 3
    model.act: relu
    data.path: a b
    data.seed: 1
    unset: null
names:
  main: names
  flags-dest: namespace:config
  flags: {lr: 0.5, depth: 3, inner.x: 1}
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    desk.write("reenact.yml", FILE)
    return desk


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'params = {"lr": 0.1, "model": {"depth": 2, "width": 8,}, "other": 1}',
            ("{'lr': 0.5, 'model': {'act': 'relu', 'depth': 3, 'width': 8}, 'other': 1, "
            "'data': {'path': 'a b', 'seed': 1}}"),
        ),
        (
            "params = {}",
            "{'lr': 0.5, 'model': {'depth': 3, 'act': 'relu'}, 'data': {'path': 'a b', 'seed': 1}}",
        ),
        (
            "params = dict(\n    model=dict(),  # none yet\n)",
            "{'lr': 0.5, 'model': {'depth': 3, 'act': 'relu'}}",
        ),
        # What comes later counts more in a dict: there is no place for what would be lost.
        ('base = {}\nparams = {**base, "model": {"depth": 1}}',
         "{'model': {'act': 'relu', 'depth': 3}}"),
        ('params = {"model": len("xx"), "data": {}}',
         "{'lr': 0.5, 'model': 2, 'data': {'path': 'a b', 'seed': 1}}"),
    ],
)  # fmt: skip
def test_an_entry_is_put_in(desk: Desk, text: str, expected: str) -> None:
    desk.write("train.py", f"{text}\nprint(params == {expected}, params)")

    out = desk.ok("run", "train")

    assert out.startswith("True"), out


def test_a_namespace_gets_attributes(desk: Desk) -> None:
    desk.write("names.py", "from types import SimpleNamespace as N\nimport types\n"
               "config = types.SimpleNamespace(depth=1)\nprint(config)")  # fmt: skip

    done = desk.reenact("run", "names", "depth=9")

    assert done.out == "namespace(lr=0.5, depth=9)\n"
    assert "flag `inner.x`" in done.err
    assert "reaches the script only as `FLAG_INNER_X`" in done.err


def test_lines_stay_where_they_are(desk: Desk) -> None:
    desk.write(
        "train.py", "params = {\n    'lr': 0.1,\n}\nimport sys\nprint(sys._getframe().f_lineno)"
    )

    assert desk.ok("run", "train", "lr=1") == "5\n"


def test_what_is_not_set_and_has_no_value_is_not_put_in(desk: Desk) -> None:
    desk.write("train.py", "params = {}\nprint('unset' in params)")

    assert desk.ok("run", "train") == "False\n"
    assert desk.ok("run", "train", "unset=5") == "True\n"


INI = """\
check:
  main: check
  flags-dest: config:settings.ini
  flags-import: all
  flags:
    run.debug: {type: boolean}
    run.fast: {type: boolean}
"""


def test_digits_of_an_ini_file_are_booleans_where_the_flag_is_one(desk: Desk) -> None:
    desk.write("reenact.yml", INI)
    desk.write("settings.ini", "[run]\ndebug = 0\nfast = yes\ncount = 1\n")
    desk.write("check.py", "print(open('settings.ini').read().split()[3::3])")

    assert desk.ok("run", "check") == "['0', 'yes', '1']\n"
    assert desk.ok("run", "check", "run.debug=yes", "run.fast=0") == "['1', 'no', '1']\n"
    assert desk.ok("run", "check", "run.debug=on", "run.count=0") == "['1', 'yes', '0']\n"
    flags = [desk.record(run_id)["flags"]["run.debug"] for run_id in desk.ids()]
    assert sorted(flags) == [False, True, True]
    assert desk.reenact("run", "check", "run.debug=2").status == 2
