"""`ops`, `models`, `help` and `check`, as they are called."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from commands import Desk

FILE = """\
- config: base
  params: {size: 1}
  operations:
    train:
      description: |
        Train it.

        Slowly.
      main: train --size {{size}}
      flags-import: all
      flags-import-skip: debug
      flags:
        lr:
          description: Step size
          default: 1e-2
          max: 1.0
        mode:
          default: fast
          choices:
            - {value: fast, description: in a hurry}
            - thorough
      requires:
        - file: data.csv
      compare: [=lr, loss]
      objective: loss
    _probe: probe
- model: small
  description: A small one
  default: yes
  extends: base
- model: large
  extends: base
  params: {size: 9}
"""

SCRIPT = """\
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1, help="learning rate")
parser.add_argument("--epochs", type=int, default=5, help="passes")
parser.add_argument("--debug", action="store_true")
parser.add_argument("--mode", choices=["fast", "slow"])
parser.parse_args()
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_operations_are_listed_in_the_order_of_the_file(desk: Desk) -> None:
    desk.write("reenact.yml", FILE)

    done = desk.reenact("ops")

    assert (done.status, done.err) == (0, "")
    assert done.out == "small:train\tTrain it.\nlarge:train\tTrain it.\n"
    assert desk.ok("ops", "LARGE", "--all") == "large:train\tTrain it.\nlarge:_probe\t\n"


def test_operations_are_listed_from_anywhere_in_the_project(desk: Desk) -> None:
    desk.write("guild.yml", "train: train\n")
    desk.write("deep/inside/file")

    inside = str(desk.project / "deep" / "inside")
    (operation,) = desk.json("-C", inside, "ops")["operations"]

    assert operation == {
        "name": "train", "operation": "train", "model": "", "package": None, "description": None,
        "default": False, "kind": "main", "flags": [], "directory": str(desk.project),
        "file": "guild.yml", "line": 1, "problem": None,
    }  # fmt: skip


def test_models_are_listed_with_their_operations(desk: Desk) -> None:
    desk.write("reenact.yml", FILE)

    assert desk.ok("models") == "small\ttrain\tA small one\nlarge\ttrain\t\n"
    assert [m["operations"] for m in desk.json("models")["models"]] == [["train", "_probe"]] * 2


def test_without_a_project_file_there_is_nothing_to_list(desk: Desk) -> None:
    done = desk.reenact("ops")

    assert (done.status, done.out) == (0, "")
    assert done.err == "there is no project file here; `reenact run train.py` needs none\n"


def test_both_files_being_there_is_said(desk: Desk) -> None:
    desk.write("guild.yml", "old: x\n")
    desk.write("reenact.yml", "new: x\nother: {mian: y}\n")

    done = desk.reenact("ops")

    assert done.out == "new\t\nother\t\n"
    assert done.complaint == [
        "note: `guild.yml` is not read: `reenact.yml` is there too",
        "note: `reenact check` finds 1 likely mistake",
    ]


@pytest.mark.parametrize("command", [("ops",), ("models",), ("help", "train")])
def test_a_file_that_cannot_be_used_is_one_message(desk: Desk, command: tuple[str, ...]) -> None:
    desk.write("reenact.yml", "train:\n  main: train\n  main: test\n")

    done = desk.reenact(*command)

    assert (done.status, done.out) == (2, "")
    assert done.complaint == ["error: reenact.yml:3: duplicate key `main`, first in line 2"]


def test_a_script_can_be_looked_at_beside_a_broken_file(desk: Desk) -> None:
    desk.write("reenact.yml", "train: [\n")
    desk.write("train.py", "lr = 0.1\n")

    assert desk.ok("help", "train.py").startswith("train.py: 1 flag (globals)\n")


def test_help_joins_what_the_file_says_and_what_the_script_does(desk: Desk) -> None:
    desk.write("reenact.yml", FILE)
    desk.write("train.py", SCRIPT)

    shown = desk.ok("help", "large:train")

    assert shown == (
        "large:train: 4 flags (argparse)\n\n"
        "Train it.\n\nSlowly.\n\n"
        "main      train --size 9\n"
        "requires  file:data.csv\n"
        "compare   =lr, loss\n"
        "objective minimize loss\n"
        "defined   reenact.yml:4\n\n"
        "lr\tfloat\t0.01\t\treenact.yml:13\tStep size\n"
        "mode\tstring\tfast\tfast, thorough\treenact.yml:17\t\n"
        "epochs\tint\t5\t\ttrain.py:4\tpasses\n"
        "file:data.csv\tstring\t\t\treenact.yml:23\twhat to take instead of `data.csv`\n"
    )


def test_help_as_json_has_the_script_s_binding_and_the_file_s_words(desk: Desk) -> None:
    desk.write("reenact.yml", FILE)
    desk.write("train.py", SCRIPT)

    found = desk.json("help", "train")

    lr = found["flags"][0]
    assert (lr["default"], lr["help"]) == (0.01, "Step size")
    assert lr["binding"] == {"type": "option", "option": "--lr"}
    assert found["definition"]["requires"] == ["file:data.csv"]
    assert (found["definition"]["model"], found["definition"]["line"]) == ("small", 4)


def test_help_can_be_markdown(desk: Desk) -> None:
    desk.write("reenact.yml", FILE)
    desk.write("train.py", SCRIPT)

    one = desk.ok("help", "train", "--markdown")
    whole = desk.ok("help", "--markdown")

    assert one.startswith("## small:train\n\nTrain it.\n\nSlowly.\n\n* main: `train --size 1`\n")
    assert "| `lr` | float | `0.01` |  | Step size |\n" in one
    assert one.endswith("Choices of `mode`:\n\n* `fast`: in a hurry\n")
    assert whole.startswith(f"# small\n\nA small one\n\n{one}")
    assert "# large\n\n## large:train\n" in whole
    assert "_probe" not in whole


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ("flags-import: all", ["lr", "epochs", "debug", "mode"]),
        ("flags-import: all, flags-import-skip: [lr, mode]", ["epochs", "debug"]),
        ("flags-import: [epochs], flags: {lr: 1}", ["lr", "epochs"]),
        ("flags-import: no", []),
        ("flags: {lr: 1}", ["lr"]),
        ("flags: {rate: {arg-name: lr}}", ["rate"]),
        ("description: x", ["lr", "epochs", "debug", "mode"]),
    ],
)
def test_flags_are_imported_as_the_file_says(desk: Desk, flags: str, names: list[str]) -> None:
    desk.write("reenact.yml", f"train: {{main: train, {flags}}}\n")
    desk.write("train.py", SCRIPT)

    assert [flag["name"] for flag in desk.json("help", "train")["flags"]] == names


def test_what_the_file_leaves_out_comes_from_the_script(desk: Desk) -> None:
    desk.write(
        "reenact.yml",
        "a: {main: train, flags: {rate: {arg-name: lr}, mode: {description: how}}}\n"
        "b: {main: train, flags-import: no, flags: {epochs: {description: times}}}\n",
    )
    desk.write("train.py", SCRIPT)

    rate, mode = desk.json("help", "a")["flags"]
    (epochs,) = desk.json("help", "b")["flags"]

    assert (rate["type"], rate["default"], rate["help"]) == ("float", 0.1, "learning rate")
    assert rate["binding"]["option"] == "--lr"
    assert (mode["choices"], mode["help"]) == (["fast", "slow"], "how")
    assert (epochs["type"], epochs["default"], epochs["help"]) == ("any", None, "times")
    assert epochs["binding"]["option"] == "--epochs"


@pytest.mark.parametrize(
    ("main", "path"),
    [
        ("train", "train.py"),
        ("train.py", "train.py"),
        ("pkg.train", "pkg/train.py"),
        ("pkg", "pkg/__main__.py"),
        ("src/train", "src/train.py"),
        ("src/pkg.train --fast", "src/pkg/train.py"),
        ("pkg/tool.py", "pkg/tool.py"),
    ],
)
def test_main_names_a_module_or_a_script(desk: Desk, main: str, path: str) -> None:
    desk.write("reenact.yml", f"op: {main}\n")
    desk.write(path, "rate = 0.5\n")

    found = desk.json("help", "op")

    assert [flag["name"] for flag in found["flags"]] == ["rate"]
    assert found["remarks"] == []


def test_flags_of_the_file_are_shown_where_main_is_no_file_of_the_project(desk: Desk) -> None:
    desk.write("reenact.yml", "op: {main: nothing.here, flags: {lr: 1}}\n")

    done = desk.reenact("help", "op")

    assert done.status == 0
    assert done.out.endswith("\nlr\tany\t1\t\treenact.yml:1\t\n")


def test_a_name_that_is_no_operation_is_answered_with_the_nearest(desk: Desk) -> None:
    desk.write("reenact.yml", "prepare: x\ntrain: y\n")

    done = desk.reenact("help", "trian")

    assert done.status == 125
    assert done.complaint == [
        "error: there is neither an operation nor a script `trian`",
        "hint: did you mean `train`? `reenact ops` lists operations",
    ]


def test_check_says_everything_with_its_line(desk: Desk) -> None:
    desk.write("reenact.yml", "a: {mian: x}\nb: [1]\n")

    done = desk.reenact("check")

    assert done.status == 2
    assert done.out == (
        "reenact.yml:1: warning: operation `a` has no attribute `mian`\n"
        "    did you mean `main`?\n"
        "reenact.yml:2: error: operation `b` takes a text or a mapping, not a list\n"
    )
    assert done.err == "1 error, 1 warning\n"


def test_check_as_json_has_the_same(desk: Desk) -> None:
    desk.write("reenact.yml", "a: {mian: x}\n")

    done = desk.reenact("check", "--json")

    assert done.status == 2
    assert desk.json("check") == {
        "ok": False,
        "findings": [
            {
                "level": "warning", "file": "reenact.yml", "line": 1,
                "message": "operation `a` has no attribute `mian`",
                "hint": "did you mean `main`?",
            }
        ],
    }  # fmt: skip


def test_check_passes_what_is_right_and_what_has_no_effect(desk: Desk) -> None:
    desk.write("reenact.yml", "a:\n  main: x\n  plugins: no\n")

    done = desk.reenact("check")

    assert done.status == 0
    assert done.out.startswith("reenact.yml:3: note: `plugins` has no effect")
    assert done.err == "reenact.yml: 1 operation; nothing is wrong\n"


def test_check_takes_a_file_or_a_directory(desk: Desk) -> None:
    desk.write("other/guild.yml", "a: x\nb: y\n")
    desk.write("other/part.yml", "- model: m\n")

    assert desk.reenact("check", "other").err == "guild.yml: 2 operations; nothing is wrong\n"
    assert (
        desk.reenact("check", "other/part.yml").err
        == "part.yml: 0 operations, 1 model; nothing is wrong\n"
    )
    for path in ((), ("nothing",), ("nothing.yml",)):
        assert desk.reenact("check", *path).status == 1


def test_operations_of_packages_are_listed_and_can_be_asked_about(
    desk: Desk, tmp_path: Path
) -> None:
    site = tmp_path / "venv" / "lib" / "python3.12" / "site-packages"
    info = site / "flowers-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text("[reenact.packages]\nflowers = flowers\n")
    (site / "flowers").mkdir()
    (site / "flowers" / "reenact.yml").write_text(
        "- model: cnn\n  operations: {train: {main: train, description: Train it}}\n"
    )
    (site / "flowers" / "train.py").write_text("lr = 0.1\n")
    (tmp_path / "venv" / "bin").mkdir()
    (tmp_path / "venv" / "bin" / "python").symlink_to(sys.executable)
    desk.env["VIRTUAL_ENV"] = str(tmp_path / "venv")
    desk.write("reenact.yml", "own: x\n")

    assert desk.ok("ops", "-i") == "own\t\nflowers/cnn:train\tTrain it\n"
    assert desk.ok("models", "-i") == "-\town\t\nflowers/cnn\ttrain\t\n"
    assert [flag["name"] for flag in desk.json("help", "flowers/cnn:train")["flags"]] == ["lr"]

    (site / "flowers" / "reenact.yml").write_text("train: [\n")
    broken = desk.reenact("ops", "-i")
    assert (broken.status, broken.out) == (0, "own\t\n")
    assert broken.err.startswith("note: package `flowers` cannot be used: reenact.yml:")


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ("[c, other]", "pipelines start each other: `all` → `other` → `all`"),
        ("[a, b]", "steps wait for each other: `a` → `b` → `a`"),
        ("[c unknown=3]", "unknown flag `unknown` for operation `c`"),
        ("[{run: c, flags: {nam: 3}}]", "unknown flag `nam` for operation `c`"),
        ("[d zz=fast]", "unknown flag `zz` for operation `d`"),
        ("[one zz=3]", "unknown flag `zz` for operation `one`"),
        ("[{run: c, flags: {name: '${zz}'}}]", "step `c` refers to `zz`, which is no flag"),
        ('["c name=${zz}"]', "step `c` refers to `zz`, which is no flag"),
    ],
)
def test_check_finds_what_run_refuses_of_a_pipeline(desk: Desk, steps: str, found: str) -> None:
    desk.write("step.py", SCRIPT)
    desk.write(
        "reenact.yml",
        f"""all:
  flags: {{y: 1}}
  steps: {steps}
other: {{steps: [all]}}
one: {{flags: {{x: 1}}, steps: ["c name=${{x}}"]}}
a: {{main: step, requires: {{operation: b}}}}
b: {{main: step, requires: {{operation: a}}}}
c: {{main: step, flags: {{name: c}}}}
d: {{main: step}}
""",
    )

    checked = desk.json("check")
    refused = desk.reenact("run", "all")

    assert [f["level"] for f in checked["findings"]] == ["error"]
    assert found in checked["findings"][0]["message"]
    assert refused.status == 2
    assert found in refused.err
    assert desk.ids() == []


def test_check_finds_nothing_in_what_run_accepts_of_a_pipeline(desk: Desk) -> None:
    desk.write("data/a.txt", "1")
    desk.write("step.py", SCRIPT)
    desk.write(
        "reenact.yml",
        """all:
  flags: {y: 1}
  steps:
    - run: one x=2 c:name=[a,b]
    - {run: c, flags: {name: '${y}'}}
    - {run: c, flags: {nothing: 1}, force-flags: yes, name: forced}
    - step.py lr=0.5
    - {run: sh, flags: {}}
    - {run: d, flags: {c: ./data}}
one: {flags: {x: 1}, steps: ["c name=${x}"]}
c: {main: step, flags: {name: c}}
d: {main: step, requires: {operation: c, name: c}}
sh: {exec: sh -c true}
""",
    )

    assert desk.json("check")["findings"] == []
    assert desk.reenact("run", "all", "--dry-run").status == 0
