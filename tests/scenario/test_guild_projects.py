"""Projects as they were written for Guild AI: what their authors count on happens here too."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    return desk


def printed(desk: Desk, *words: str) -> str:
    return desk.ok("run", *words).strip()


def test_an_operation_may_do_nothing_but_be_there(desk: Desk) -> None:
    desk.write(
        "guild.yml",
        "data: {main: guild.pass, requires: [{file: data.csv}]}\n"
        "say: {main: guild.pass hello, flags: {name: {default: a b}, off: {default: 1, arg-skip: yes}}}\n",
    )
    desk.write("data.csv", "1")

    assert printed(desk, "data") == ""
    assert [file["path"] for file in desk.record(desk.ids()[0])["inputs"]] == ["data.csv"]
    assert printed(desk, "say") == "hello --name 'a b'"


def test_who_says_yes_in_advance_is_not_refused(desk: Desk) -> None:
    desk.write("guild.yml", "a: {exec: echo x}\n")

    assert printed(desk, "a", "-y") == "x"
    assert printed(desk, "--yes", "a") == "x"


def test_a_literal_that_the_script_binds_again_is_a_flag_where_the_file_says_so(desk: Desk) -> None:
    desk.write(
        "read.py",
        "path = None\nif path is None:\n    path = 'own'\nitems = []\nprint(path, items)\n",
    )
    desk.write(
        "guild.yml",
        "a: {main: read, flags: {path: x.csv, items: {arg-split: ':'}}}\n"
        "b: {main: read, flags-dest: globals, flags-import: [path]}\n"
        "c: {main: read, flags-import: all}\n",
    )

    assert printed(desk, "a") == "x.csv []"
    assert printed(desk, "a", "items=1:two:3.5") == "x.csv [1, 'two', 3.5]"
    assert printed(desk, "b", "path=y") == "y []"
    assert desk.reenact("run", "c", "path=y").complaint[0].startswith("error: unknown flag `path`")


def test_a_literal_is_any_number(desk: Desk) -> None:
    desk.write("train.py", "gamma = 10\nprint(gamma)\n")
    desk.write("conf.json", '{"gamma": 10}')
    desk.write("show.py", "print(open('conf.json').read())\n")
    desk.write(
        "guild.yml",
        "a: {main: train, flags-import: all}\n"
        "b: {main: show, flags-dest: 'config:conf.json', flags-import: all}\n"
        "c: {main: train, flags: {gamma: {type: int}}}\n",
    )

    assert printed(desk, "a", "gamma=0.5") == "0.5"
    assert printed(desk, "a", "gamma=7") == "7"
    assert printed(desk, "b", "gamma=1e-3") == '{"gamma": 0.001}'
    assert desk.reenact("run", "c", "gamma=0.5").complaint == [
        "error: flag `gamma` takes an integer, not `0.5`"
    ]
    assert desk.reenact("run", "a", "gamma=x").complaint == [
        "error: flag `gamma` takes a number, not `x`"
    ]


def test_text_is_split_as_the_file_says(desk: Desk) -> None:
    desk.write(
        "args.py",
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--x', nargs='*')\nprint(p.parse_args().x)\n",
    )
    desk.write("c.ini", "[d]\nwords = a b\n")
    desk.write("c.json", '{"words": ["a"]}')
    desk.write("show.py", "import sys; print(open(sys.argv[1]).read())\n")
    desk.write(
        "guild.yml",
        "shell: {main: args, flags: {x: {arg-split: yes, default: \"1 2 'a b'\"}}}\n"
        "comma: {main: args, flags: {x: {arg-split: ',', type: int}}}\n"
        "ini:\n  main: show c.ini\n  flags-dest: config:c.ini\n  flags-import: all\n"
        "  flags: {d.words: {arg-split: yes, type: auto}}\n"
        "json: {main: show c.json, flags-dest: 'config:c.json', flags-import: all}\n",
    )

    assert printed(desk, "shell") == "['1', '2', 'a b']"
    assert printed(desk, "shell", "x=9 'x y'") == "['9', 'x y']"
    assert printed(desk, "comma", "x=3,4") == "['3', '4']"
    assert desk.reenact("run", "comma", "x=3,a").complaint == [
        "error: flag `x` takes an integer, not `a`"
    ]
    assert printed(desk, "ini", "d.words=1 'c d'") == "[d]\nwords = 1 'c d'"
    assert printed(desk, "json", "words=1 'c d'") == '{"words": [1, "c d"]}'


def test_arguments_of_main_are_not_asked_for_again(desk: Desk) -> None:
    desk.write(
        "cli.py",
        "import argparse\n"
        "p = argparse.ArgumentParser()\n"
        "p.add_argument('data')\n"
        "s = p.add_subparsers(dest='command', required=True)\n"
        "fit = s.add_parser('fit')\n"
        "fit.add_argument('--lr', type=float, default=0.1)\n"
        "fit.add_argument('--out', required=True)\n"
        "s.add_parser('test').add_argument('--lr', type=float)\n"
        "print(sorted(vars(p.parse_args()).items()))\n",
    )
    desk.write(
        "guild.yml",
        "fit: {main: cli a.csv fit --out m, flags-import: all}\n"
        "data: {main: 'cli ${data} fit --out m', flags: {data: b.csv}, flags-import: [lr]}\n",
    )

    assert (
        printed(desk, "fit") == "[('command', 'fit'), ('data', 'a.csv'), ('lr', 0.1), ('out', 'm')]"
    )
    assert printed(desk, "fit", "lr=2").endswith("('lr', 2.0), ('out', 'm')]")
    assert printed(desk, "fit", "out=n").endswith("('out', 'n')]")
    assert "('data', 'b.csv')" in printed(desk, "data")
    assert "('data', 'c.csv'), ('lr', 3.0)" in printed(desk, "data", "data=c.csv", "lr=3")


def test_the_configuration_that_a_run_had_stays_with_it(desk: Desk) -> None:
    desk.write("conf.yml", "lr: 0.1  # rate\n")
    desk.write("show.py", "print(open('conf.yml').read())\n")
    desk.write(
        "guild.yml",
        "a: {main: show, flags-dest: 'config:conf.yml', flags-import: all}\n",
    )

    (changed, same) = "1" * 32, "2" * 32
    printed(desk, "a", "lr=0.5", "--run-id", changed)
    printed(desk, "a", "--run-id", same)

    assert desk.ok("cat", changed, "conf.yml") == "lr: 0.5  # rate\n"
    assert [file["path"] for file in desk.record(changed)["outputs"]] == ["conf.yml"]
    assert "outputs" not in desk.record(same)
    assert (desk.project / "conf.yml").read_text() == "lr: 0.1  # rate\n"


def test_flags_may_be_values_of_a_required_configuration_and_nothing_else(desk: Desk) -> None:
    desk.write("conf.json", '{"lr": 0.1}')
    desk.write("show.py", "print(open('conf.json').read())\n")
    desk.write(
        "guild.yml",
        "a: {main: show, flags-dest: off, flags-import: off, flags: {lr: 0.2}, requires: [{config: conf.json}]}\n"
        "b: {main: show, flags: {lr: 0.3}, requires: [{config: conf.json}]}\n",
    )

    done = desk.reenact("run", "b")

    assert printed(desk, "a") == '{"lr": 0.2}'
    assert (done.out.strip(), [l for l in done.complaint if "warning" in l]) == ('{"lr": 0.3}', [])


def test_an_ignore_file_tells_what_is_data(desk: Desk) -> None:
    desk.write("guild.yml", "a: {main: a}\n")
    desk.write("a.py", "print(open('big/notes.txt').read(), open('x.txt').read())\n")
    desk.write("big/notes.txt", "1")
    desk.write("x.txt", "2")
    desk.write("y.md", "3")
    desk.write(".guildignore", "# data\nbig\n*.txt\n")

    assert printed(desk, "a") == "1 2"
    assert [file["path"] for file in desk.json("ls", "--source")["files"]] == [
        ".guildignore",
        "a.py",
        "guild.yml",
        "y.md",
    ]


def test_a_search_asked_for_without_a_name_is_that_of_the_operation(desk: Desk) -> None:
    desk.write("noisy.py", "x = 0.1\nprint('loss:', x * x)\nprint('gain:', -x)\n")
    desk.write(
        "guild.yml",
        "own: {main: noisy, flags-import: all, optimizer: random, objective: {maximize: gain}}\n"
        "all: {steps: ['own x=uniform[0:1] --optimize --max-trials 2']}\n",
    )

    desk.ok("run", "own", "x=uniform[0:1]", "-O", "--trials", "2", "--quiet")
    desk.ok("run", "all", "--quiet")

    batches = [r["batch"] for r in map(desk.record, desk.ids()) if "batch" in r]
    assert len(batches) == 2
    for batch in batches:
        assert (batch["optimizer"], batch["objectives"]) == ("random", [["maximize", "gain"]])


def test_the_label_of_a_pipeline_is_that_of_its_steps(desk: Desk) -> None:
    desk.write(
        "guild.yml",
        "a: {exec: 'true'}\nb: {exec: 'true'}\nall: {steps: [a, {run: b, label: own}]}\n",
    )

    desk.ok("run", "all", "--label", "mine", "--quiet")

    labels = {run["operation"]: run["label"] for run in desk.json("runs")["runs"]}
    assert labels == {"a": "mine", "b": "own", "all": "mine"}


def test_a_step_may_be_expected_to_have_a_file_that_it_requires(desk: Desk) -> None:
    desk.write("data.csv", "1,2\n")
    desk.write(
        "guild.yml",
        "load: {exec: 'true', requires: [{file: data.csv}]}\n"
        "good: {steps: [{run: load, expect: {file: data.csv, compare-to: data.csv}}]}\n"
        "there: {steps: [{run: load, expect: {file: data.csv, compare-to: '${PROJECT_DIR}/data.csv'}}]}\n"
        "bad: {steps: [{run: load, expect: {file: data.csv, contains: '7'}}]}\n",
    )

    desk.ok("run", "good", "--quiet")
    desk.ok("run", "there", "--quiet")
    done = desk.reenact("run", "bad")

    assert done.status == 1
    assert any("`data.csv` does not match `7`" in line for line in done.complaint)


def test_check_says_which_steps_run_nothing(desk: Desk) -> None:
    desk.write("go.sh")
    desk.write(
        "guild.yml",
        "- model: m\n  operations:\n    a: {exec: 'true'}\n"
        "    good: {steps: [a, m:a, go.sh, '${which}']}\n"
        "    bad:\n      steps:\n        - a\n        - aa x=1\n        - other\n",
    )

    assert desk.reenact("check").out == (
        "guild.yml:8: error: step `aa` of operation `m:bad`: there is neither an operation nor a "
        "script `aa`\n"
        "    did you mean `a`?\n"
        "guild.yml:9: error: step `other` of operation `m:bad`: there is neither an operation nor a "
        "script `other`\n"
    )


def test_a_flag_that_says_which_file_is_required_is_no_argument_unless_it_says_so(
    desk: Desk,
) -> None:
    desk.write("a.txt", "a")
    desk.write("b.txt", "b")
    desk.write(
        "guild.yml",
        "plain:\n  main: guild.pass\n  flags: {infile: {description: which}}\n"
        "  requires: [{file: a.txt, flag-name: infile}]\n"
        "passed:\n  main: guild.pass\n  flags: {infile: {arg-skip: no, arg-name: path}}\n"
        "  requires: [{file: a.txt, flag-name: infile}]\n",
    )

    assert printed(desk, "plain", "infile=b.txt") == ""
    assert printed(desk, "passed") == "--path a.txt"
    assert printed(desk, "passed", "infile=b.txt") == "--path b.txt"
    inputs = [[file["path"] for file in desk.record(run)["inputs"]] for run in desk.ids()]
    assert sorted(inputs) == [["a.txt"], ["b.txt"], ["b.txt"]]


def test_the_label_of_a_script_may_be_a_template(desk: Desk) -> None:
    desk.write("train.py", "lr = 0.1\nname = 'a'\n")

    desk.ok("run", "train.py", "name=b", "--label", "${name} at ${lr}, ${default_label}")

    assert desk.json("runs")["runs"][0]["label"] == "b at 0.1, name=b"


def test_a_flag_that_only_a_variable_takes_is_no_mistake_where_the_file_says_so(
    desk: Desk,
) -> None:
    desk.write("show.py", "import os; print(os.environ['PLACE'], os.environ['SIZE'])\n")
    desk.write(
        "guild.yml",
        "a:\n  main: show\n  flags: {path: /x, size: {default: 3, env-name: SIZE}}\n"
        "  env: {PLACE: 'at ${path}'}\n",
    )

    done = desk.reenact("run", "a")

    assert done.out == "at /x 3\n"
    assert not [line for line in done.complaint if line.startswith("warning")]


def test_a_literal_that_a_script_binds_again_is_a_flag_for_who_sets_it(desk: Desk) -> None:
    desk.write(
        "turn.py",
        "i = 1\nj = i + 1\nitems = []\nif i == 2:\n    i, j = 3, 4\nprint(i, j, items)\n",
    )

    assert printed(desk, "turn.py") == "1 2 []"
    assert printed(desk, "turn.py", "i=2", "items=a b") == "3 4 ['a', 'b']"
    assert printed(desk, "turn.py", "i=[2,5]") == "3 4 []\n5 6 []"
    assert desk.reenact("run", "turn.py", "j=1").complaint[0].startswith("error: unknown flag `j`")
    assert desk.json("help", "turn.py")["flags"] == []


def test_a_literal_of_a_script_is_any_number(desk: Desk) -> None:
    desk.write("train.py", "gamma = 10\nprint(gamma)\n")

    assert printed(desk, "train.py", "gamma=0.5") == "0.5"
    [drawn] = printed(desk, "train.py", "gamma=[-9.5:-1.5]", "--trials", "1").split()
    assert -9.5 <= float(drawn) <= -1.5
    assert desk.reenact("run", "train.py", "gamma=x").complaint == [
        "error: flag `gamma` takes a number, not `x`"
    ]


def test_the_run_of_a_required_operation_is_named_by_its_kind_too_and_in_labels(desk: Desk) -> None:
    desk.write(
        "guild.yml",
        "train: {exec: touch model}\n"
        "serve:\n  exec: ls model\n  label: model=${operation:train}\n"
        "  requires:\n    - operation: train\n",
    )
    first = desk.run("train")
    desk.run("train")
    latest = desk.run("serve")
    chosen = desk.run("serve", f"operation:train={first}")

    newest = desk.record(latest)["dependencies"][0]["run"]
    assert newest != first
    assert desk.json("show", latest)["notes"]["label"] == f"model={newest[:8]}"
    assert desk.record(chosen)["dependencies"][0]["run"] == first
    assert desk.json("show", chosen)["notes"]["label"] == f"model={first[:8]}"
    assert desk.reenact("run", "serve").err == ""


def test_a_search_by_name_looks_for_a_small_loss(desk: Desk) -> None:
    desk.write("train.py", "x = 0.5\nprint('loss:', x * x)\n")

    desk.ok("run", "train.py", "x=[-2.0:2.0]", "-o", "tpe", "--trials", "3", "--quiet")

    records = {run_id: desk.record(run_id) for run_id in desk.ids()}
    [batch] = [record["batch"] for record in records.values() if "batch" in record]
    losses = {i: abs(r["flags"]["x"]) for i, r in records.items() if "batch" not in r}
    assert batch["objectives"] == [["minimize", "loss"]]
    assert losses[batch["best"]] == min(losses.values())


def test_the_command_of_a_batch_names_its_operation(desk: Desk) -> None:
    desk.write("guild.yml", "train: {exec: 'echo ${flag_args}', flags: {x: 1}}\n")

    desk.ok("run", "train", "x=[1,2]")

    commands = [desk.record(i)["command"] for i in desk.ids() if "batch" in desk.record(i)]
    assert commands == [["reenact", "run", "x=[1,2]", "train"]]


def test_who_leaves_out_a_flag_sees_the_first_line_of_what_it_is(desk: Desk) -> None:
    desk.write(
        "guild.yml",
        "op:\n  exec: echo\n  flags:\n    s:\n      required: yes\n      description: |\n"
        "        a string\n        More about it.\n",
    )

    assert desk.reenact("run", "op").complaint[1] == "hint: a string"


def test_saved_trials_are_read_again_by_the_name_that_they_got(desk: Desk) -> None:
    desk.write("echo.py", "x = 1\nz = 'a'\nprint(x, repr(z))\n")
    words = ("run", "echo.py", "x=[1,2]", "z=['1','b c']", "--print-trials", "--save-trials")

    planned = desk.ok(*words, "trials")
    refused = desk.reenact(*words, "trials.json")

    assert desk.ok("run", "echo.py", "@trials", "--print-trials") == planned
    assert desk.ok("run", "echo.py", "@trials") == "1 '1'\n1 'b c'\n2 '1'\n2 'b c'\n"
    assert (refused.status, refused.complaint[1]) == (2, "hint: name it `trials.csv`")
    assert not (desk.project / "trials.json").exists()
