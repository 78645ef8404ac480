"""Operations of project files, run for real: how flags get there, what is recorded, what is refused."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from commands import Desk, wait_until
from notebooks import notebook

ECHO = """
import json, os, sys
print("ECHO", json.dumps({"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd(),
                          "path": sys.path, "name": __name__, "package": __package__}))
"""
ARGS = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1, help="how fast")
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--verbose", action="store_true")
print(vars(parser.parse_args()))
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    return desk


def echo(desk: Desk, *words: str) -> dict[str, Any]:
    """Run an operation that runs ECHO; return what it found around it."""
    line = next(line for line in desk.ok("run", *words).splitlines() if line.startswith("ECHO "))
    found: dict[str, Any] = json.loads(line.removeprefix("ECHO "))
    return found


def printed(desk: Desk, *words: str) -> str:
    return desk.ok("run", *words).strip()


# --- what is run ---


def test_an_operation_is_run_by_its_name_and_the_default_one_without(desk: Desk) -> None:
    desk.write("guild.yml", "train:\n  default: yes\neval:\n  main: train --eval\n")
    desk.write("train.py", "import sys; print(sys.argv[1:])")

    assert printed(desk) == "[]"
    assert printed(desk, "eval") == "['--eval']"
    records = [desk.record(run_id) for run_id in desk.ids()]
    assert sorted(r["operation"]["name"] for r in records) == ["eval", "train"]
    assert {r["operation"]["file"] for r in records} == {"guild.yml"}


def test_models_have_operations_and_a_script_keeps_its_own_name(desk: Desk) -> None:
    desk.write(
        "reenact.yml",
        """
- model: cnn
  operations:
    train: {main: train, default: yes}
    test: {main: test}
- model: svm
  operations: {train: {main: svm_train}}
""",
    )
    for name in ("train", "test", "svm_train"):
        desk.write(f"{name}.py", f"print({name!r})")

    assert printed(desk, "cnn:train") == "train"
    assert printed(desk, "cnn:") == "train"
    assert printed(desk, "svm:train") == "svm_train"
    assert printed(desk, "test.py") == "test"
    refused = desk.reenact("run", "train")
    assert (refused.status, refused.complaint) == (
        2,
        [
            "error: several models have an operation `train`",
            "hint: say which: `cnn:train`, `svm:train`",
        ],
    )
    models = [desk.record(run_id)["operation"].get("model") for run_id in desk.ids()]
    assert sorted(map(str, models)) == ["None", "cnn", "cnn", "svm"]


def test_a_file_with_the_name_of_the_operation_is_said(desk: Desk) -> None:
    desk.write("guild.yml", "train: {exec: echo operation}\n")
    desk.write("train", "#!/bin/sh\necho file\n").chmod(0o755)

    done = desk.reenact("run", "train")

    assert done.out == "operation\n"
    assert "`./train` is the file of this name" in done.err
    assert printed(desk, "./train") == "file"


@pytest.mark.parametrize(
    ("main", "name", "package"),
    [
        ("pkg.sub.mod", "__main__", "pkg.sub"),
        ("src/tool", "__main__", None),
        ("src/pkg2.mod", "__main__", "pkg2"),
        ("pkg/sub/mod.py", "__main__", None),
    ],
)
def test_main_names_modules_files_and_modules_below_directories(
    desk: Desk, main: str, name: str, package: str | None
) -> None:
    desk.write("guild.yml", f"op: {{main: {main} --fast 'two words'}}\n")
    for path in ("pkg/sub/mod.py", "src/tool.py", "src/pkg2/mod.py"):
        desk.write(path, ECHO)
    for path in ("pkg/__init__.py", "pkg/sub/__init__.py", "src/pkg2/__init__.py"):
        desk.write(path)

    found = echo(desk, "op")

    assert found["argv"] == ["--fast", "two words"]
    assert (found["name"], found["package"]) == (name, package)
    # The script runs in the run's copy of the project, and finds its modules there.
    assert found["cwd"] == found["env"]["RUN_DIR"]
    assert found["cwd"] in found["path"]


def test_a_module_that_is_installed_can_be_an_operation(desk: Desk) -> None:
    desk.write("guild.yml", "op: {main: json.tool --help}\n")

    assert "usage" in printed(desk, "op")


def test_a_module_that_is_nowhere_is_refused_with_its_line(desk: Desk) -> None:
    desk.write("guild.yml", "ok: {main: train}\n\nop:\n  main: trian\nsub: {main: src/trian}\n")
    desk.write("train.py")
    desk.write("src/train.py")

    assert desk.reenact("run", "op").complaint == [
        "error: guild.yml:3: operation `op`: there is no module `trian`",
        "hint: did you mean `train`?",
    ]
    assert desk.reenact("run", "sub").complaint == [
        "error: guild.yml:5: `main` of `sub`: there is no `src/trian.py`",
        "hint: did you mean `src/train`?",
    ]
    assert desk.ids() == []


def test_code_may_be_outside_the_project(desk: Desk) -> None:
    outside = desk.project.parent / "shared"
    outside.mkdir()
    (outside / "tool.py").write_text("import helper\n" + ECHO)
    (outside / "helper.py").write_text("")
    desk.write("guild.yml", "op: {main: tool, sourcecode: {root: ../shared}}\n")

    found = echo(desk, "op")

    assert found["cwd"] == found["env"]["RUN_DIR"]
    assert str(outside) in found["path"]


def test_an_interpreter_of_another_version_is_refused(desk: Desk) -> None:
    desk.write("guild.yml", "op:\n  main: tool\n  python-requires: '>=2.0, <3'\n")
    desk.write("tool.py")

    done = desk.reenact("run", "op")

    assert done.status == 125
    assert done.complaint[0].startswith("error: guild.yml:1: operation `op` needs Python >=2.0, <3")


def test_a_notebook_is_an_operation_whose_patterns_say_what_is_replaced(desk: Desk) -> None:
    desk.env["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    desk.write("book.ipynb", notebook("lr = 0.1", "print(lr, dict(rate=0.5))"))
    desk.write(
        "guild.yml",
        "op: {notebook: book, flags-import: all, "
        "flags: {rate: {default: 0.7, nb-replace: 'rate=([0-9.]+)'}}}\n",
    )

    assert printed(desk, "op", "lr=3.0") == "3.0 {'rate': 0.7}"
    assert desk.json("show", "@latest")["run"]["flags"] == {"lr": 3.0, "rate": 0.7}


def test_the_project_may_be_called_from_a_directory_below(desk: Desk) -> None:
    desk.write("guild.yml", "op: {main: src/tool}\n")
    desk.write("src/tool.py", ECHO)

    found = echo_from(desk, desk.project / "src", "op")

    assert found["env"]["PROJECT_DIR"] == str(desk.project)
    assert found["env"]["CMD_DIR"] == str(desk.project / "src")
    assert found["cwd"] == found["env"]["RUN_DIR"]


def echo_from(desk: Desk, directory: Path, *words: str) -> dict[str, Any]:
    done = desk.reenact("run", *words, cwd=directory)
    assert done.status == 0, done
    found: dict[str, Any] = json.loads(done.out.partition("ECHO ")[2])
    return found


# --- flags by arguments ---


def test_flags_of_file_and_script_are_joined(desk: Desk) -> None:
    desk.write(
        "guild.yml",
        """
train:
  flags-import: [epochs]
  flags:
    rate: {arg-name: lr, default: 0.5, min: 0, max: 1, alias: r}
    verbose: yes
""",
    )
    desk.write("train.py", ARGS)

    run_id = desk.run("train", "r=0.25", "epochs=7")

    assert desk.ok("log", run_id) == "{'lr': 0.25, 'epochs': 7, 'verbose': True}\n"
    record = desk.record(run_id)
    assert record["flags"] == {"rate": 0.25, "verbose": True, "epochs": 7}
    assert record["given"] == ["rate", "epochs"]
    too_large = desk.reenact("run", "train", "rate=2")
    assert too_large.complaint == ["error: flag `rate` is at most 1, not `2`"]
    assert too_large.status == 2


def test_a_flag_that_only_the_script_has_is_refused_with_the_way_out(desk: Desk) -> None:
    desk.write("guild.yml", "train:\n  flags:\n    lr: 0.5\n")
    desk.write("train.py", ARGS)

    done = desk.reenact("run", "train", "epochs=1")

    assert done.status == 2
    assert done.complaint == [
        "error: flag `epochs` of `train.py` is none of operation `train`",
        "hint: name it in `flags` or `flags-import` of the operation, guild.yml:1",
    ]
    assert desk.reenact("run", "train", "lrr=1").complaint[0] == (
        "error: unknown flag `lrr` for operation `train`"
    )


def test_choices_bring_the_values_of_other_flags_with_them(desk: Desk) -> None:
    desk.write(
        "guild.yml",
        """
train:
  flags:
    size:
      default: small
      choices:
        - {value: small, flags: {epochs: 1}}
        - {value: large, alias: l, flags: {epochs: 9, lr: 0.01}}
      arg-skip: yes
    epochs: 3
    lr: 0.1
""",
    )
    desk.write("train.py", ARGS)

    assert "'lr': 0.1, 'epochs': 1" in printed(desk, "train")
    assert "'lr': 0.01, 'epochs': 9" in printed(desk, "train", "size=l")
    assert "'lr': 0.5, 'epochs': 9" in printed(desk, "train", "size=large", "lr=0.5")
    refused = desk.reenact("run", "train", "size=huge")
    assert refused.complaint[0] == "error: flag `size` takes one of `small`, `large`, not `huge`"


def test_required_flags_and_paths_are_checked_before_anything_starts(desk: Desk) -> None:
    desk.write(
        "guild.yml",
        """
op:
  exec: echo ${data}
  flags:
    data: {required: yes, type: existing-path, description: where the data is}
""",
    )
    desk.write("data.csv", "1")

    missing = desk.reenact("run", "op")
    assert (missing.status, missing.complaint) == (
        2,
        [
            "error: guild.yml:5: flag `data` of operation `op` is required",
            "hint: where the data is",
        ],
    )
    absent = desk.reenact("run", "op", "data=none.csv")
    assert absent.complaint == ["error: guild.yml:5: flag `data`: there is no `none.csv`"]
    assert desk.ids() == []
    assert printed(desk, "op", "data=data.csv") == "data.csv"


def test_arguments_are_written_as_the_file_says(desk: Desk) -> None:
    desk.write(
        "guild.yml",
        """
op:
  main: echo ${skipped}
  flags-dest: args
  flags:
    fast: {default: yes, arg-switch: yes}
    slow: {default: no, arg-switch: yes}
    names: {default: a 'b c', arg-split: yes}
    mode: {default: up, arg-encoding: {up: '+', down: '-'}}
    skipped: {default: s, arg-skip: yes}
    nothing: null
    on: yes
    off: no
""",
    )
    desk.write("echo.py", ECHO)

    found = echo(desk, "op")

    assert found["argv"] == [
        "s", "--fast", "--mode", "+", "--names", "a", "b c", "--off", "", "--on", "1",
    ]  # fmt: skip


def test_a_command_gets_flags_where_it_names_them_and_no_shell_reads_it(desk: Desk) -> None:
    desk.write(
        "guild.yml",
        r"""
all: {exec: "sh -c 'for a; do echo $a; done' -- ${flag_args}", flags: {b: two words, a: 1}}
some: {exec: "echo ${a} '$HOME' \\${a} | cat", flags: {a: "x y"}}
wrong:
  exec: echo ${aa}
  flags: {a: 1}
""",
    )

    assert printed(desk, "all").splitlines() == ["--a", "1", "--b", "two words"]
    assert printed(desk, "some") == "x y $HOME ${a} | cat"
    assert desk.reenact("run", "wrong").complaint == [
        "error: guild.yml:4: `exec` of operation `wrong` refers to `aa`, which is no flag",
        "hint: did you mean `a`?",
    ]


def test_flags_are_variables_and_so_is_what_the_file_sets(desk: Desk) -> None:
    desk.write(
        "guild.yml",
        """
op:
  main: echo
  flags-dest: none
  flags:
    batch-size: 8
    on: {default: yes, env-name: IS_ON}
    mode: {default: a, env-encoding: {a: AAA}}
  env: {GREETING: "size ${batch-size} for ${USER_NAME}", OTHER: fixed}
""",
    )
    desk.write("echo.py", ECHO)
    desk.env["USER_NAME"] = "ada"

    env = echo(desk, "op", "--env", "OTHER=mine")["env"]

    assert env["FLAG_BATCH_SIZE"] == "8"
    assert env["IS_ON"] == "1"
    assert env["FLAG_MODE"] == "AAA"
    assert env["GREETING"] == "size 8 for ada"
    assert env["OTHER"] == "mine"
    assert env["GUILD_OP"] == "op"
    assert env["FLAGS_DEST"] == "none"


def test_secrets_of_the_environment_are_not_kept(desk: Desk) -> None:
    desk.write(
        "guild.yml", "op: {main: show, env: {CODE: '${VAULT}'}, env-secrets: [VAULT, CODE]}\n"
    )
    desk.write("show.py", "import os; print(len(os.environ['CODE']))")
    desk.env["VAULT"] = "swordfish"

    run_id = desk.run("op")

    assert desk.ok("log", run_id) == "9\n"
    for path in desk.store.rglob("*"):
        if path.is_file():
            assert b"swordfish" not in path.read_bytes(), path


# --- flags by literals and files ---


def test_globals_dicts_and_namespaces_get_values_and_keep_the_rest(desk: Desk) -> None:
    desk.write(
        "guild.yml",
        """
globals: {main: script, flags-dest: globals, flags-import: all, flags: {lr: 0.5}}
dict: {main: script, flags-dest: "global:params", flags-import: all}
space: {main: script, flags-dest: "namespace:config", flags: {units: 64}}
""",
    )
    desk.write(
        "script.py",
        """
import argparse
from types import SimpleNamespace
lr = 0.1  # kept
params = {"a": 1, "deep": {"b": 2.0}, "computed": len("abc")}
config = SimpleNamespace(units=32, act="relu")
argparse.ArgumentParser().parse_args()
print(lr, params, vars(config))
""",
    )

    assert printed(desk, "globals") == (
        "0.5 {'a': 1, 'deep': {'b': 2.0}, 'computed': 3} {'units': 32, 'act': 'relu'}"
    )
    assert "{'a': 7, 'deep': {'b': 3.0}, 'computed': 3}" in printed(desk, "dict", "a=7", "deep.b=3")
    assert "{'units': 64, 'act': 'relu'}" in printed(desk, "space")
    # No line moved, and the project's own file is as it was.
    assert "lr = 0.1  # kept" in (desk.project / "script.py").read_text()


def test_a_flag_that_reaches_nothing_is_said(desk: Desk) -> None:
    desk.write("guild.yml", "op: {main: script, flags: {rate: 1}}\n")
    desk.write("script.py", "lr = 0.1\nprint(lr)\n")

    done = desk.reenact("run", "op")

    assert done.status == 0
    assert "flag `rate` (guild.yml:1) reaches the script only as `FLAG_RATE`" in done.err


CONFIGS = {
    "c.yml": ("# note\nlr: 0.1  # rate\nmodel:\n  layers: [64, 32]\n", "0.5", "[1]"),
    "c.json": ('{"lr": 0.1, "model": {"layers": [64, 32]}}\n', "0.5", "[1]"),
    "c.toml": ("# note\nlr = 0.1  # rate\n[model]\nlayers = [64, 32]\n", "0.5", "[1]"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_file_gets_values_in_the_run_and_stays_as_it_is(
    desk: Desk, name: str
) -> None:
    content, rate, layers = CONFIGS[name]
    desk.write(
        "guild.yml", f"op: {{main: show, flags-dest: 'config:conf/{name}', flags-import: all}}\n"
    )
    desk.write(f"conf/{name}", content)
    desk.write("show.py", f"print(open('conf/{name}').read(), end='')")

    assert desk.ok("run", "op") == content
    changed = desk.ok("run", "op", "lr=0.5", "model.layers=[1]")

    assert changed == content.replace("0.1", rate).replace("[64, 32]", layers)
    assert (desk.project / "conf" / name).read_text() == content
    flags = desk.json("show", "@latest")["run"]["flags"]
    assert flags == {"lr": 0.5, "model.layers": [1]}
    assert desk.reenact("run", "op", "lr=fast").complaint == [
        "error: flag `lr` takes a number, not `fast`"
    ]


def test_a_template_of_a_configuration_file_loses_its_ending_in_the_run(desk: Desk) -> None:
    desk.write(
        "guild.yml", "op: {main: show, flags-dest: 'config:params.json.in', flags: {lr: 2.0}}\n"
    )
    desk.write("params.json.in", '{"lr": 1.0}')
    desk.write("show.py", "print(open('params.json').read())")

    assert printed(desk, "op") == '{"lr": 2.0}'
    assert not (desk.project / "params.json").exists()


@pytest.mark.parametrize(
    ("dest", "problem"),
    [
        ("config:none.yml", "guild.yml:3: there is no configuration file `none.yml`"),
        (
            "config:../c.yml",
            "guild.yml:3: `../c.yml` is outside the project: a run gets no copy of it",
        ),
        ("config:c.txt", "`c.txt` is no configuration file that flags can go to"),
        ("config:bad.yml", "`bad.yml` cannot be read: line 2: expected"),
        ("config:c.yml", "guild.yml:4: flag `lr` has no value `lr` in `c.yml`"),
    ],
)
def test_a_configuration_file_that_cannot_be_used_is_refused(
    desk: Desk, dest: str, problem: str
) -> None:
    desk.write("guild.yml", f"op:\n  main: show\n  flags-dest: '{dest}'\n  flags: {{lr: 1}}\n")
    desk.write("show.py")
    desk.write("c.txt")
    desk.write("bad.yml", "a: [1,\n")
    desk.write("c.yml", "rate: 1\n")

    done = desk.reenact("run", "op")

    assert done.status in (2, 125)
    assert done.complaint[0].startswith(f"error: {problem}")


# --- what is recorded ---


def test_metrics_are_found_by_the_patterns_of_the_file(desk: Desk) -> None:
    desk.write(
        "guild.yml",
        r"""
patterns:
  main: report
  flags: {metric: loss}
  output-scalars:
    - step: 'epoch (\step)'
      loss: '${metric} is (\value)'
    - '<(\key)=(\value)>'
off: {main: report, output-scalars: no}
ours: {main: report}
""",
    )
    desk.write(
        "report.py",
        "for n in range(3):\n    print(f'epoch {n}'); print(f'loss is {1 / (n + 1)} <acc={n}>')\n"
        "print('other: 0.5'); print('loss is nan')\n",
    )

    by_patterns = desk.record(desk.run("patterns"))["metrics"]
    assert set(by_patterns) == {"loss", "acc"}
    assert (by_patterns["loss"]["last"], by_patterns["loss"]["last_step"]) == ("NaN", 2)
    assert by_patterns["acc"]["maximum_step"] == 2
    assert desk.record(desk.run("off")).get("metrics", {}) == {}
    assert set(desk.record(desk.run("ours"))["metrics"]) == {"other"}


def test_metrics_of_a_run_that_was_killed_are_found_by_the_same_patterns(desk: Desk) -> None:
    desk.write("guild.yml", "op: {main: report, output-scalars: '<(\\key)=(\\value)>'}\n")
    desk.write(
        "report.py",
        "import time\nprint('<acc=1>', flush=True)\nprint('loss: 3', flush=True)\n"
        "open('ready', 'w').close()\ntime.sleep(1000)\n",
    )
    with desk.start("run", "op") as process:
        wait_until(lambda: list(desk.store.glob("runs/*/ready")), what="the script runs")
        run_id = desk.ids()[0]
        output = desk.file(run_id, "output")
        wait_until(
            lambda: output.exists() and b"loss: 3" in output.read_bytes(), what="it is recorded"
        )
        group = desk.record(run_id)["process_group"]
        process.kill()
        process.wait()
    os.killpg(group, signal.SIGKILL)
    wait_until(lambda: desk.status(run_id) == "killed", what="it is seen to be killed")

    assert set(desk.record(run_id)["metrics"]) == {"acc"}


def test_label_and_tags_follow_from_the_file(desk: Desk) -> None:
    desk.write(
        "guild.yml",
        """
op:
  exec: "true"
  label: "${data|basename}: ${lr|%.2f} (${default_label})"
  tags: [base]
  flags: {lr: 0.125, data: sets/iris.csv, n: 3}
""",
    )

    first = desk.json("show", desk.run("op", "n=4", "--tag", "mine"))["notes"]
    second = desk.json("show", desk.run("op", "lr=1.0", "--label", "rate ${lr}"))["notes"]

    assert first["label"] == "iris.csv: 0.12 (n=4)"
    assert first["tags"] == ["base", "mine"]
    assert second["label"] == "rate 1.0"


def test_compare_shows_the_columns_that_the_file_wants(desk: Desk) -> None:
    desk.write(
        "guild.yml",
        "op: {main: report, compare: [max acc, =lr, loss], flags: {lr: 0.1, other: 2}}\n",
    )
    desk.write("report.py", "lr = 0\nother = 0\nprint('acc: 0.9')\nprint('loss: 1.0')\n")
    desk.run("op")
    desk.run("op", "lr=0.2")

    compared = desk.json("compare")

    headings = [column["heading"] for column in compared["columns"]]
    assert headings == ["id", "operation", "started", "status", "label", "max acc", "lr", "loss"]


def test_source_is_what_the_file_says(desk: Desk) -> None:
    desk.write(
        "guild.yml",
        """
python-only: {main: show, sourcecode: ['*.py']}
with-data: {main: show, sourcecode: [{include: 'data/*.csv'}, {exclude: {dir: notes}}]}
off: {main: show, sourcecode: no}
elsewhere: {main: tool, sourcecode: {root: lib, dest: code}}
""",
    )
    desk.write("show.py", "import os; print(sorted(os.listdir('.')))")
    desk.write("data/a.csv", "1")
    desk.write("notes/a.txt", "1")
    desk.write(
        "lib/tool.py", "import helper; print(helper.__file__); print(open('code/tool.py').name)"
    )
    desk.write("lib/helper.py")

    def source_of(run_id: str) -> set[str] | None:
        source = desk.record(run_id).get("source")
        if source is None:
            return None
        digest = source["tree"]
        blob = desk.store / "blobs" / digest[:2] / digest[2:]
        return {path for path, *_ in json.loads(blob.read_bytes())["files"]}

    assert source_of(desk.run("python-only")) == {"show.py", "lib/tool.py", "lib/helper.py"}
    with_data = source_of(desk.run("with-data"))
    assert with_data is not None
    assert "data/a.csv" in with_data
    assert "notes/a.txt" not in with_data
    assert source_of(desk.run("off")) is None
    run_id = desk.run("elsewhere")
    here, there = desk.ok("log", run_id).split()
    assert here == str(desk.store / "runs" / run_id / "lib" / "helper.py")
    assert there == "code/tool.py"
    assert [file["path"] for file in desk.record(run_id).get("outputs", [])] == []
    # What is no source is there all the same: the run directory looks like the project.
    assert "'data'" in desk.ok("log", "@latest:python-only")


def test_commands_that_look_for_source_where_guild_had_it_find_it(desk: Desk) -> None:
    desk.write("guild.yml", "op: {exec: '.guild/sourcecode/train.sh ${lr}', flags: {lr: 0.1}}\n")
    desk.write("train.sh", "#!/bin/sh\necho $1 > out.txt\n").chmod(0o755)

    run_id = desk.run("op")

    assert (desk.store / "runs" / run_id / "out.txt").read_text() == "0.1\n"
    assert [file["path"] for file in desk.record(run_id)["outputs"]] == ["out.txt"]
    assert not (desk.store / "runs" / run_id / ".guild").exists()


# --- what becomes of a run ---


def test_an_operation_that_may_be_stopped_is_completed_by_that(desk: Desk) -> None:
    desk.write("guild.yml", "serve: {main: serve, stoppable: yes}\n")
    desk.write("serve.py", "import time\nopen('ready', 'w').close()\ntime.sleep(1000)\n")
    with desk.start("run", "serve") as process:
        wait_until(lambda: list(desk.store.glob("runs/*/ready")), what="the script runs")
        run_id = desk.ids()[0]
        desk.ok("stop", run_id)
        assert process.wait() == 0

    assert desk.status(run_id) == "completed"
    assert desk.record(run_id)["exit"]["requested"] == "stop"


def test_a_run_that_is_deleted_on_success_is_in_the_trash_and_that_is_said(desk: Desk) -> None:
    desk.write(
        "guild.yml",
        'good: {exec: "true", delete-on-success: yes}\nbad: {exec: "false", delete-on-success: yes}\n',
    )

    good = desk.reenact("run", "good")
    bad = desk.reenact("run", "bad")

    assert good.status == 0
    assert "is in the trash: its operation says `delete-on-success`" in good.err
    assert bad.status == 1
    assert [desk.record(run_id)["operation"]["name"] for run_id in desk.ids()] == ["bad"]
    deleted = desk.json("runs", "--deleted")["runs"]
    assert [run["operation"] for run in deleted] == ["good"]


def test_what_is_outside_the_source_is_found_again_as_well(desk: Desk) -> None:
    shared = desk.project.parent / "shared"
    shared.mkdir()
    (shared / "tool.py").write_text("print('tool')")
    desk.write("guild.yml", "op: {main: tool, sourcecode: {root: ../shared}}\ncmd: {exec: 'env'}\n")
    op, cmd = desk.run("op"), desk.run("cmd")
    (desk.project / "guild.yml").unlink()

    assert printed(desk, "--like", op) == "tool"
    again = dict(line.partition("=")[::2] for line in printed(desk, "--like", cmd).splitlines())
    assert again["RUN_DIR"] in again["PYTHONPATH"].split(os.pathsep)
    assert "/tmp/reenact-" not in again["PYTHONPATH"]


@pytest.mark.parametrize("how", ["--like", "--restart"])
def test_a_run_is_run_again_without_the_project_file(desk: Desk, how: str) -> None:
    desk.write(
        "guild.yml",
        """
cfg:
  main: show ${note}
  flags-dest: config:c.yml
  flags-import: all
  flags: {note: {default: hi, arg-skip: yes}}
  env: {MODE: "${note}"}
""".replace("    note", "note"),
    )
    desk.write("c.yml", "lr: 0.1 # rate\nnote: none\n")
    desk.write(
        "show.py", "import os, sys; print(sys.argv[1:], os.environ['MODE'], open('c.yml').read())"
    )
    first = desk.run("cfg", "lr=0.5")
    (desk.project / "guild.yml").unlink()
    desk.write("show.py", "raise SystemExit('another one')")
    desk.write("c.yml", "other: 1\n")

    out = desk.ok("run", how, first, "note=again")

    assert out == "['again'] again lr: 0.5 # rate\nnote: again\n\n"
    latest = desk.json("show", "@latest")["run"]
    assert latest["operation"]["name"] == "cfg"
    assert latest["flags"] == {"note": "again", "lr": 0.5}


def test_a_run_in_place_refuses_what_would_change_the_project(desk: Desk) -> None:
    desk.write(
        "guild.yml", "op: {main: script, flags: {x: 2}}\nargs: {main: args, flags: {lr: 0.5}}\n"
    )
    desk.write("script.py", "x = 1\n")
    desk.write("args.py", ARGS)

    assert "'lr': 0.5" in printed(desk, "args", "--in-place")
    refused = desk.reenact("run", "op", "--in-place")
    assert refused.status == 2
    assert "values in a file, which a run in place does not rewrite" in refused.complaint[0]


def test_defaults_that_are_several_values_make_a_batch(desk: Desk) -> None:
    desk.write("guild.yml", "op: {main: script, flags: {x: [1, 2], y: 5}}\n")
    desk.write("script.py", "x = 0\ny = 0\nprint(x, y)\n")

    assert desk.ok("run", "op").splitlines() == ["1 5", "2 5"]
    assert desk.ok("run", "op", "x=3").splitlines() == ["3 5"]


def test_a_plan_is_shown_without_anything_being_run(desk: Desk) -> None:
    desk.write("guild.yml", "op: {exec: 'echo ${a}', flags: {a: 1}}\n")

    shown = desk.ok("run", "op", "a=2", "--dry-run")

    assert "operation   op (command)" in shown
    assert "command     echo 2" in shown
    assert desk.ids() == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('op: {exec: "echo \'a"}\n', "guild.yml:1: a quote is not closed in"),
        (
            "op: {main: a, flags: {x: {default: 5, max: 1}}}\n",
            "guild.yml:1: the default of flag `x`",
        ),
        (
            "op: {exec: 'true', env: {A: '${b}'}}\n",
            "guild.yml:1: `env: A` of operation `op` refers to",
        ),
        ("op: {exec: 'true', flags: {a: '${b}', b: '${a}'}}\n", "flag `a` refers to itself"),
        (
            "op: {exec: 'true', flags: {a: {default: 1, choices: [{value: 1, flags: {z: 1}}]}}}\n",
            "guild.yml:1: a choice of flag `a` sets `z`, which is no flag",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_with_its_place(desk: Desk, text: str, problem: str) -> None:
    desk.write("guild.yml", text)
    desk.write("a.py")

    done = desk.reenact("run", "op")

    assert done.status == 2
    assert done.complaint[0].startswith(f"error: {problem}")
    assert desk.ids() == []


def test_without_a_default_operation_there_is_nothing_to_run(desk: Desk) -> None:
    desk.write("guild.yml", "a: {exec: 'true'}\nb: {exec: 'true'}\n")

    done = desk.reenact("run")

    assert (done.status, done.complaint) == (
        2,
        [
            "error: nothing to run: no operation of `guild.yml` is the default one",
            "hint: there are `a`, `b`",
        ],
    )
    assert desk.reenact("run", "aa").complaint == [
        "error: there is neither an operation nor a script `aa`",
        "hint: did you mean `a`?",
    ]


def test_operations_and_their_flags_are_completed_in_the_shell(desk: Desk) -> None:
    desk.write(
        "guild.yml", "train: {exec: 'true', flags: {lr: 1, lag: 2}}\n_hidden: {exec: 'true'}\n"
    )
    desk.write("other.py")

    def completed(*words: str) -> list[str]:
        env = {
            "_REENACT_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("reenact", *words)),
            "COMP_CWORD": str(len(words)),
        }
        return desk.reenact(env=env).out.split()

    assert completed("run", "") == ["plain,train", "plain,other.py"]
    assert completed("run", "train", "lr") == ["plain,lr="]
