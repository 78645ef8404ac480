"""Flags and options of `reenact run`: what reaches the script, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from commands import PATIENCE_S, wait_until
from fidelity import REENACT, RUN_ID, World

_TELL = """
    import json, os, sys
    print(json.dumps({
        "argv": sys.argv[1:],
        "env": {k: v for k, v in os.environ.items() if k.startswith("FLAG_")},
    }))
"""

_ARGPARSE = """
    import argparse, json
    p = argparse.ArgumentParser()
    p.add_argument("--lr", type=float, default=0.1, help="learning rate")
    p.add_argument("--name", default="base", choices=None)
    p.add_argument("--mode", default="fast", choices=["fast", "slow"])
    p.add_argument("--layers", type=int, nargs="*", default=[1])
    p.add_argument("--no-aug", action="store_true")
    p.add_argument("-n", type=int)
    print(json.dumps(vars(p.parse_args())))
"""


def _run(world: World, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*REENACT, "run", "--run-id", RUN_ID, *words]
    options = {"cwd": world.project, "env": world.env, "text": True, **options}
    return subprocess.run(command, check=False, capture_output=True, timeout=PATIENCE_S, **options)


def _json(world: World, *words: str) -> Any:
    done = _run(world, *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _record(world: World) -> dict[str, Any]:
    record = json.loads(world.reenact("show", "--json"))["run"]
    assert isinstance(record, dict)
    return record


# --- any command ---


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ("x=plain", "plain"),
        ("x=two words", "two words"),
        ("x=", ""),
        ("x=ü€😀", "ü€😀"),
        ("x=-5", "-5"),
        ("x=--lr", "--lr"),
        ("x=a=b", "a=b"),
        ("x={y}", "{y}"),
        ("x=$HOME `id` 'q' \"q\"", "$HOME `id` 'q' \"q\""),
        ("x=1e-4", "1e-4"),
        ("x=0.10", "0.10"),
        ("x=nan", "nan"),
        ("x=yes", "yes"),
        ("x=(1, 2)", "(1, 2)"),
        ("x=line\nbreak", "line\nbreak"),
    ],
)
def test_a_command_gets_its_flag_as_it_was_typed(tmp_path: Path, setting: str, word: str) -> None:
    world = World(tmp_path, {"tell.py": _TELL})

    told = _json(world, setting, "--", sys.executable, "tell.py", "--x", "{x}", "pre{x}post")

    assert told["argv"] == ["--x", word, f"pre{word}post"]


def test_a_flag_that_is_written_as_for_python_is_said_to_be_another_way(tmp_path: Path) -> None:
    world = World(tmp_path, {"train.py": _ARGPARSE})

    done = _run(world, "train.py", "--lr", "0.2")

    assert done.returncode == 2
    assert "a flag of the script is `lr=VALUE`" in done.stderr


def test_flags_are_exported_to_any_command(tmp_path: Path) -> None:
    world = World(tmp_path, {"run.sh": 'echo "$FLAG_LR $FLAG_A_B $FLAG_NAME"; echo "$@"\n'})

    done = _run(world, "lr=0.5", "a.b=2", "name=two words", "--", "sh", "run.sh", "{lr}", "-x")

    assert (done.returncode, done.stdout) == (0, "0.5 2 two words\n0.5 -x\n")
    assert _record(world)["flags"] == {"lr": 0.5, "a.b": 2, "name": "two words"}


def test_braces_that_are_no_flags_stay(tmp_path: Path) -> None:
    world = World(tmp_path, {"tell.py": _TELL})

    told = _json(world, "a=1", "--", sys.executable, "tell.py", "{ }", "{}", "{{a}}", '{"k": 1}')

    assert told["argv"] == ["{ }", "{}", "{1}", '{"k": 1}']


def test_a_shell_script_runs_with_its_own_interpreter(tmp_path: Path) -> None:
    world = World(tmp_path, {"go.sh": 'echo "$0 $FLAG_LR"; exit 4\n'})

    done = _run(world, "go.sh", "lr=0.5")

    assert (done.returncode, done.stdout) == (4, "go.sh 0.5\n")


def test_braces_with_a_name_that_is_no_flag_stay_and_are_pointed_out(tmp_path: Path) -> None:
    world = World(tmp_path, {})

    done = _run(world, "--", "echo", "{lr}")

    assert (done.returncode, done.stdout) == (0, "{lr}\n")
    assert "`{lr}`" in done.stderr


# --- a script's own command line ---


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], {}),
        (["lr=1e-4"], {"lr": 1e-4}),
        (["lr=-1e-05"], {"lr": -1e-5}),
        (["lr=inf"], {"lr": float("inf")}),
        (["name=two words"], {"name": "two words"}),
        (["name=-x"], {"name": "-x"}),
        (["name=--lr"], {"name": "--lr"}),
        (["name="], {"name": ""}),
        (["name=ü€😀"], {"name": "ü€😀"}),
        (["name=007"], {"name": "007"}),
        (["name=a=b"], {"name": "a=b"}),
        (["mode=slow"], {"mode": "slow"}),
        (["layers=[3,4]"], {"layers": [3, 4]}),
        (["layers=[-3,-4]"], {"layers": [-3, -4]}),
        (["layers=[]"], {"layers": []}),
        (["no_aug=yes", "n=3"], {"no_aug": True, "n": 3}),
        (["lr=1", "lr=2"], {"lr": 2.0}),
    ],
)
def test_argparse_gets_the_values_that_were_set(
    tmp_path: Path, settings: list[str], expected: dict[str, Any]
) -> None:
    world = World(tmp_path, {"train.py": _ARGPARSE})
    default = {"lr": 0.1, "name": "base", "mode": "fast", "layers": [1], "no_aug": False, "n": None}

    told = _json(world, "train.py", *settings)

    assert told == default | expected


def test_argparse_reads_not_a_number(tmp_path: Path) -> None:
    world = World(tmp_path, {"train.py": _ARGPARSE})

    told = _json(world, "train.py", "lr=nan")

    assert told["lr"] != told["lr"]
    assert "nan" in str(_record(world)["flags"]["lr"]).lower()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("learning=1", "learning"),
        ("lrr=1", "`lr`"),
        ("lr=fast", "lr"),
        ("mode=medium", "slow"),
        ("layers=[1,x]", "layers"),
    ],
)
def test_a_flag_that_cannot_be_is_refused_before_anything_runs(
    tmp_path: Path, setting: str, says: str
) -> None:
    world = World(tmp_path, {"train.py": _ARGPARSE})

    done = _run(world, "train.py", setting)

    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.startswith("error: ")
    assert not world.run_directory.exists()


def test_forced_flags_reach_the_script_which_decides(tmp_path: Path) -> None:
    world = World(tmp_path, {"train.py": _ARGPARSE})

    done = _run(world, "train.py", "depth=3", "--force-flags")

    assert done.returncode == 2
    assert "unrecognized arguments: --depth 3" in done.stderr
    assert world.run_directory.exists()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("rate=0.5", 0.5),
        ("rate=-1e-300", -1e-300),
        ("rate=nan", "nan"),
        ("rate=-inf", "-inf"),
        ('name=it\'s "ü" \\n', 'it\'s "ü" \\n'),
        ("name=x\ny", "x\ny"),
        ("on=no", False),
        ("sizes=[9]", [9]),
        ("nothing=5", 5),
    ],
)
def test_a_global_becomes_exactly_that_value(tmp_path: Path, setting: str, value: Any) -> None:
    script = """
        rate, name = 0, 0
        rate = 0.1
        name = "x"
        on = True
        sizes = (1, 2)
        nothing = None
        import json
        values = dict(rate=rate, name=name, on=on, sizes=sizes, nothing=nothing)
        print(json.dumps({k: str(v) if v != v or v in (1e999, -1e999) else v for k, v in values.items()}))
    """.replace("        rate, name = 0, 0\n", "")
    world = World(tmp_path, {"train.py": script})
    name = setting.partition("=")[0]

    told = _json(world, "train.py", setting)

    assert told[name] == value
    assert (world.project / "train.py").read_text().count("rate = 0.1") == 1


# --- options ---


def test_a_dry_run_prints_the_plan_and_changes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, {"train.py": _ARGPARSE})

    done = _run(world, "train.py", "lr=0.5", "--dry-run")

    assert done.returncode == 0
    assert "--lr 0.5" in done.stdout
    assert not world.home.exists()


def test_notes_variables_and_gpus_are_given_along(tmp_path: Path) -> None:
    script = "import os; print(os.environ['MINE'], os.environ['CUDA_VISIBLE_DEVICES'])"
    world = World(tmp_path, {"train.py": script})

    done = _run(
        world,
        *("train.py", "--label", "first", "--tag", "a", "--tag", "b", "--comment", "why"),
        *("--env", "MINE=a=b c", "--gpus", "1"),
    )

    assert done.stdout == "a=b c 1\n"
    shown = json.loads(world.reenact("show", "--json"))
    assert shown["run"]["variables"] == {"MINE": "a=b c"}
    assert shown["notes"] == {"label": "first", "tags": ["a", "b"], "comment": "why"}


def test_the_working_directory_can_be_chosen(tmp_path: Path) -> None:
    files = {
        "pyproject.toml": "",
        "sub/train.py": "import os; print(os.getcwd()); open('made', 'w')",
        "sub/x.txt": "",
    }
    world = World(tmp_path, files)

    done = _run(world, "train.py", "--cwd", "sub")

    assert done.stdout == f"{world.run_directory}/sub\n"
    assert (world.run_directory / "sub/made").exists()


def test_quiet_prints_nothing_and_stores_all(tmp_path: Path) -> None:
    script = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    world = World(tmp_path, {"train.py": script})

    done = _run(world, "train.py", "--quiet")

    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
    assert (world.stored("stdout"), world.stored("stderr")) == (b"out\n", b"err\n")


def test_json_is_one_document_and_the_status_is_the_scripts(tmp_path: Path) -> None:
    world = World(tmp_path, {"train.py": "print('loss: 0.5'); raise SystemExit(3)"})

    done = _run(world, "train.py", "--json")

    assert done.returncode == 3
    run = json.loads(done.stdout)["run"]
    assert run["id"] == RUN_ID
    assert run["exit"]["code"] == 3


def test_a_run_in_place_works_in_the_project(tmp_path: Path) -> None:
    files = {"train.py": "import os; print(os.getcwd()); open('made', 'w').write('1')"}
    world = World(tmp_path, files)

    done = _run(world, "train.py", "--in-place")

    assert done.stdout == f"{world.project}\n"
    assert (world.project / "made").read_text() == "1"
    assert [file["path"] for file in _record(world)["outputs"]] == [f"{world.project}/made"]


def test_without_a_snapshot_the_source_is_linked_and_still_safe(tmp_path: Path) -> None:
    files = {"train.py": "lr = 0.1\nprint(lr)\nopen('helper.py', 'a').write('#')", "helper.py": ""}
    world = World(tmp_path, files)

    done = _run(world, "train.py", "lr=0.5", "--no-snapshot")

    assert (done.returncode, done.stdout, done.stderr) == (0, "0.5\n", "")
    assert (world.project / "helper.py").read_text() == ""
    assert _record(world).get("source") is None


def test_a_time_limit_ends_the_run_politely(tmp_path: Path) -> None:
    script = """
        import time
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            print("saved")
            raise SystemExit(7)
    """
    world = World(tmp_path, {"train.py": script})

    done = _run(world, "train.py", "--stop-after", "4s")

    assert (done.returncode, done.stdout) == (7, "saved\n")
    assert _record(world)["exit"] == {"code": 7, "requested": "time-limit"}


def test_a_run_in_the_background_is_announced_and_goes_on(tmp_path: Path) -> None:
    script = """
        import os, time
        print("up", os.isatty(0))
        while not os.path.exists("go"):
            time.sleep(0.01)
        print("done")
    """
    world = World(tmp_path, {"train.py": script})

    done = _run(world, "train.py", "--background")

    assert done.stdout == f"{RUN_ID}\n"
    (world.run_directory / "go").touch()
    log = world.reenact("log", "-F", RUN_ID)
    assert log == "up False\ndone\n"
    wait_until(
        lambda: json.loads(world.reenact("show", "--json"))["run"].get("exit") is not None,
        what="the run has ended",
    )
    assert _record(world)["exit"] == {"code": 0}


def test_a_run_like_another_has_its_source_and_flags(tmp_path: Path) -> None:
    world = World(tmp_path, {"train.py": "lr = 0.1\nprint('first', lr)\n"})
    _run(world, "train.py", "lr=0.5")
    (world.project / "train.py").write_text("lr = 0.1\nprint('second', lr)\n")

    words = [*REENACT, "run", "--like", RUN_ID]
    done = subprocess.run(
        words, cwd=world.project, env=world.env, capture_output=True, text=True, check=True
    )

    assert done.stdout == "first 0.5\n"


def test_a_restart_goes_on_in_the_same_directory(tmp_path: Path) -> None:
    script = """
        import os, sys
        if os.path.exists("checkpoint"):
            print("resumed from", open("checkpoint").read())
        else:
            open("checkpoint", "w").write("epoch 1")
            sys.exit(1)
    """
    world = World(tmp_path, {"train.py": script})
    assert _run(world, "train.py").returncode == 1

    words = [*REENACT, "run", "--restart", RUN_ID]
    done = subprocess.run(
        words, cwd=world.project, env=world.env, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "resumed from epoch 1\n")
    assert _record(world)["restarts"] == 1


# --- what cannot run ---


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["trian.py"], 125, "did you mean `train.py`"),
        (["data"], 125, "`data` is a directory"),
        (["--", "no-such-program-anywhere"], 125, "there is no program"),
        (["train.py", "--python", "python0.0"], 125, "no interpreter"),
        (["train.py", "--cwd", "nowhere"], 125, "does not exist"),
        (["train.py", "other"], 2, "neither a flag nor an option"),
        (["train.py", "--", "ls"], 2, "two operations"),
        ([], 2, "nothing to run"),
        (["train.py", "--run-id", "xyz"], 2, "no run id"),
        (["train.py", "--env", "x"], 2, "sets nothing"),
        (["train.py", "--stop-after", "soon"], 2, "no time"),
        (["data/plain.txt"], 125, "not clear how to run"),
    ],
)
def test_what_cannot_run_says_why_and_leaves_no_run(
    tmp_path: Path, words: list[str], status: int, says: str
) -> None:
    world = World(tmp_path, {"train.py": "print(1)", "data/plain.txt": "text"})

    done = _run(world, *words)

    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    runs = world.home / "runs"
    assert not runs.exists() or list(runs.iterdir()) == []


def test_a_module_that_is_missing_fails_as_python_fails(tmp_path: Path) -> None:
    world = World(tmp_path, {})
    plain = subprocess.run(
        [sys.executable, "-m", "nowhere.at_all"],
        cwd=world.project,
        capture_output=True,
        text=True,
        check=False,
    )

    done = _run(world, "-m", "nowhere.at_all", "--python", sys.executable)

    assert (done.returncode, done.stdout, done.stderr) == (
        plain.returncode,
        plain.stdout,
        plain.stderr,
    )


def test_an_executable_with_a_line_of_its_own_runs(tmp_path: Path) -> None:
    world = World(tmp_path, {"tool": "#!/bin/sh\necho tool $FLAG_X\n"})
    (world.project / "tool").chmod(0o755)

    done = _run(world, "tool", "x=3")

    assert (done.returncode, done.stdout) == (0, "tool 3\n")
