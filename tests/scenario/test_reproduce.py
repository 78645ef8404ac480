"""`reproduce`, `judge` and `verdict`, as somebody uses them who wants a result back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from commands import PATIENCE_S, Desk, Done, end, tree_of, wait_until

SEEDED = """
import json, random

lr = 0.1
epochs = 5
weight = 1.0
for epoch in range(epochs):
    weight -= lr * weight + random.random() * 0.01
    print(f"step: {epoch}")
    print(f"loss: {weight ** 2!r}")
rows = len(open("data/rows.csv").read().splitlines())
print(f"rows: {rows}")
with open("model.json", "w") as file:
    json.dump({"weight": weight}, file)
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.write("train.py", SEEDED)
    desk.write("data/rows.csv", "1,2\n" * 40)
    return desk


def reproduce(desk: Desk, *words: str) -> tuple[int, dict[str, Any]]:
    """Reproduce one run; return exit status and record."""
    done = desk.reenact("reproduce", *words, "--env", "current", "--json")
    assert done.out, done
    found = json.loads(done.out)["reproductions"]
    assert len(found) == 1, found
    return done.status, found[0]


def kinds(found: dict[str, Any]) -> set[str]:
    return {cause["kind"] for cause in found.get("causes", [])}


def test_an_unseeded_script_comes_back_bit_by_bit(desk: Desk) -> None:
    first = desk.run("train.py", "lr=0.2")
    status, found = reproduce(desk, first[:8])
    assert (status, found["verdict"]) == (0, "identical"), found
    assert found["originals"] == [first]
    again = desk.record(found["runs"][0])
    assert again["reproduces"] == first
    assert "like" not in again
    assert again["flags"] == desk.record(first)["flags"]
    assert {one["verdict"] for one in found["series"]} == {"identical"}
    assert [one["path"] for one in found["outputs"]] == ["model.json"]
    assert not kinds(found)


def test_the_project_may_be_edited_and_is_never_changed(desk: Desk) -> None:
    first = desk.run("train.py")
    desk.write("train.py", "raise SystemExit('another script')")
    desk.write("new.txt", "new")
    before = tree_of(desk.project)
    assert reproduce(desk, first)[1]["verdict"] == "identical"
    assert tree_of(desk.project) == before


def test_a_store_is_enough_on_another_machine(desk: Desk, tmp_path: Path) -> None:
    """The project is gone: its source is in the store, and its small data."""
    first = desk.run("train.py")
    shutil.rmtree(desk.project)
    shutil.copytree(desk.store, tmp_path / "elsewhere" / "store")
    empty = tmp_path / "empty"
    empty.mkdir()
    done = desk.reenact(
        "reproduce", first, "--env", "current",
        cwd=empty, env={"REENACT_HOME": str(tmp_path / "elsewhere" / "store")},
    )  # fmt: skip
    assert done.status == 0, done
    assert "identical" in done.out
    assert not list(empty.iterdir())


def test_changed_data_is_refused_and_named(desk: Desk) -> None:
    desk.write("data/large.bin", os.urandom(3 << 20))
    desk.write("train.py", SEEDED + "open('data/large.bin', 'rb').read()\n")
    first = desk.run("train.py")
    data = desk.project / "data/large.bin"
    content = bytearray(data.read_bytes())
    content[1000] ^= 1
    data.write_bytes(content)
    before = desk.ids()
    done = desk.reenact("reproduce", first, "--env", "current")
    assert done.status == 1, done
    assert "data/large.bin changed" in done.err
    assert desk.ids() == before
    status, found = reproduce(desk, first, "--changed-data")
    assert status == 0, found
    assert [c["what"] for c in found["causes"] if c["kind"] == "input"] == ["data/large.bin"]


def test_data_that_was_moved_is_found_by_its_content(desk: Desk, tmp_path: Path) -> None:
    desk.write("data/large.bin", os.urandom(3 << 20))
    desk.write("train.py", SEEDED + "print('size:', len(open('data/large.bin', 'rb').read()))\n")
    first = desk.run("train.py")
    attic = tmp_path / "attic"
    attic.mkdir()
    shutil.move(desk.project / "data/large.bin", attic / "renamed.bin")
    assert desk.reenact("reproduce", first, "--env", "current").status == 1
    status, found = reproduce(desk, first, "--data", str(attic))
    assert (status, found["verdict"]) == (0, "identical"), found
    assert not (desk.project / "data/large.bin").exists()


@pytest.mark.parametrize(
    ("settings", "kind", "what"),
    [(["lr=0.3"], "flag", "lr")],
)
def test_what_was_not_the_same_is_named(
    desk: Desk, settings: list[str], kind: str, what: str
) -> None:
    first = desk.run("train.py", "lr=0.2")
    status, found = reproduce(desk, first, *settings)
    assert (status, found["verdict"]) == (3, "differs"), found
    assert (kind, what) in {(c["kind"], c["what"]) for c in found["causes"]}
    loss = next(one for one in found["series"] if one["name"] == "loss")
    assert loss["first_parting"]["step"] == 0


def test_judge_names_the_changed_line_the_changed_byte_and_the_seed(desk: Desk) -> None:
    first = desk.run("train.py", "--seed", "1")
    desk.write("train.py", SEEDED.replace("weight = 1.0", "weight = 1.5"))
    changed_code = desk.run("train.py", "--seed", "1")
    desk.write("train.py", SEEDED)
    desk.write("data/rows.csv", "1,3\n" * 39 + "1,2\n")
    changed_data = desk.run("train.py", "--seed", "1")
    other_seed = desk.run("train.py", "--seed", "2")

    def judged(run: str) -> dict[str, Any]:
        done = desk.reenact("judge", first, run, "--json")
        found: dict[str, Any] = json.loads(done.out)["reproductions"][0]
        assert done.status == (0 if found["verdict"] == "identical" else 3), found
        return found

    code = judged(changed_code)
    assert code["verdict"] == "differs"
    assert [(c["kind"], c["what"]) for c in code["causes"]] == [("source", "train.py")]
    assert "line 6" in code["causes"][0]["detail"]
    data = judged(changed_data)
    assert ("source", "data/rows.csv") in {(c["kind"], c["what"]) for c in data["causes"]} or (
        "input" in kinds(data)
    )
    assert "seed" in kinds(judged(other_seed))


def test_noise_is_no_reproduction_and_its_source_is_named(desk: Desk) -> None:
    desk.write("noisy.py", "import os\nvalue = os.urandom(1)[0] / 256\nprint('loss:', value)\n")
    first = desk.run("noisy.py")
    status, found = reproduce(desk, first, "--repeat", "5")
    assert status in (3, 4), found
    assert found["verdict"] != "identical"
    assert len(found["runs"]) == 5
    loss = next(one for one in found["statistics"] if one["name"] == "loss")
    assert len(loss["reproduced"]["values"]) == 5


def test_a_tolerance_is_what_is_near_enough(desk: Desk) -> None:
    desk.write("drift.py", "import time\nprint('loss:', 0.5 + (time.time_ns() % 1000) * 1e-9)\n")
    first = desk.run("drift.py")
    status, found = reproduce(desk, first, "--tolerance", "loss=1e-5")
    assert (status, found["verdict"]) == (0, "within tolerance"), found
    assert found["series"][0]["tolerance"] == "loss=1e-5"


def test_a_failed_reproduction_could_not_run(desk: Desk) -> None:
    mark = desk.project.parent / "mark"
    desk.write("ask.py", f"import os\nassert not os.path.exists({str(mark)!r}), 'it is there'\n")
    first = desk.run("ask.py")
    mark.touch()
    status, found = reproduce(desk, first)
    assert (status, found["verdict"]) == (1, "could not run"), found
    assert found["summary"] == "exit status 1: AssertionError: it is there"


def test_a_script_that_asks_gets_no_answer(desk: Desk) -> None:
    desk.write("ask.py", "print('x:', len(input()))\n")
    with desk.start("run", "ask.py", stdin=subprocess.PIPE) as process:
        out, _ = process.communicate(b"hello\n", timeout=PATIENCE_S)
    assert b"x: 5" in out
    status, found = reproduce(desk, "@latest")
    assert (status, found["verdict"]) == (1, "could not run")
    assert "EOF" in found["summary"], found["summary"]


def test_an_output_names_the_run_that_made_it(desk: Desk, tmp_path: Path) -> None:
    first = desk.run("train.py")
    shutil.copy(desk.store / "runs" / first / "model.json", desk.project / "renamed.bin")
    assert reproduce(desk, "renamed.bin")[1]["originals"] == [first]
    desk.write("other.bin", "never seen")
    done = desk.reenact("reproduce", "other.bin")
    assert done.status == 1
    assert "no run in this store has made" in done.err


def test_a_batch_is_reproduced_trial_by_trial(desk: Desk) -> None:
    desk.ok("run", "train.py", "lr=[0.1,0.2]", "-q")
    batch = next(run for run in desk.ids() if desk.record(run).get("batch"))
    done = desk.reenact("reproduce", batch, "--env", "current", "--json")
    found = json.loads(done.out)["reproductions"]
    assert done.status == 0
    assert [one["verdict"] for one in found] == ["identical"] * 2
    assert [desk.record(one["runs"][0])["flags"]["lr"] for one in found] == [0.1, 0.2]


def test_seeds_are_compared_as_samples(desk: Desk) -> None:
    desk.ok("run", "train.py", "--seeds", "0..7", "-q")
    trial = next(run for run in desk.ids() if desk.record(run).get("part") == "1")
    status, found = reproduce(
        desk, trial, "--seeds", "100..109", "--margin", "loss=1", "--margin", "rows=1"
    )
    assert (status, found["verdict"]) == (0, "statistically equivalent"), found
    assert len(found["originals"]) == 8
    loss = next(one for one in found["statistics"] if one["name"] == "loss")
    assert (len(loss["original"]["values"]), len(loss["reproduced"]["values"])) == (8, 10)
    seeds = [desk.record(run)["seed"] for run in found["runs"]]
    assert seeds == list(range(100, 110))


def test_everything_is_reproduced_with_one_command(desk: Desk) -> None:
    desk.run("train.py", "lr=0.2")
    desk.write("other.py", "import random\nprint('loss:', random.random())\n")
    desk.run("other.py")
    desk.run("train.py", "lr=oops", "--force-flags")
    done = desk.reenact("reproduce", "--all", "--env", "current")
    assert done.status == 0, done
    assert done.out.count("  identical") == 2
    again = desk.reenact("reproduce", "--all", "--env", "current", "--top", "1", "--json")
    assert len(json.loads(again.out)["reproductions"]) == 1


def test_what_was_interrupted_goes_on(desk: Desk) -> None:
    desk.write(
        "slow.py",
        "import os, time\n"
        "while not os.path.exists(os.environ['GO']):\n    time.sleep(0.01)\nprint('x: 1')\n",
    )
    go = desk.project.parent / "go"
    go.touch()
    env = {"GO": str(go)}
    first = desk.run("slow.py", env=env)
    go.unlink()
    words = ("reproduce", first, "--env", "current", "--repeat", "2")
    with desk.start(*words, env=env) as process:
        try:
            wait_until(lambda: len(desk.ids()) == 2, what="the first repetition runs")
            go.touch()
            wait_until(lambda: len(desk.ids()) == 3, what="the second repetition has begun")
            process.kill()
            process.communicate(timeout=PATIENCE_S)
        finally:
            go.touch()
            end(process)
    done = desk.reenact(*words, "--json", env=env)
    found = json.loads(done.out)["reproductions"][0]
    assert "was interrupted" in done.err
    assert (done.status, found["verdict"], len(found["runs"])) == (0, "identical", 2)


def test_fail_fast_stops_a_run_that_has_parted(desk: Desk) -> None:
    desk.write(
        "long.py",
        "import os, time\nstart = 1.0\nfor step in range(100000):\n"
        "    print(f'step: {step}')\n    print(f'loss: {start / (step + 1)}', flush=True)\n"
        "    if step > 3 and os.environ.get('SHORT'):\n        break\n    time.sleep(0.01)\n",
    )
    first = desk.run("long.py", env={"SHORT": "1"})
    status, found = reproduce(desk, first, "start=2.0", "--fail-fast")
    assert (status, found["verdict"]) == (3, "differs"), found
    assert found["summary"].startswith("stopped: `loss` parted at step 0")


def test_a_verdict_is_kept_and_shown_again(desk: Desk, tmp_path: Path) -> None:
    first = desk.run("train.py")
    _, found = reproduce(desk, first)
    for name in (first[:8], found["runs"][0][:8], found["id"][:10]):
        shown = desk.json("verdict", name)["reproductions"][0]
        assert shown == found
    assert found["id"][:8] in desk.ok("verdict")
    page = tmp_path / "verdict.html"
    desk.ok("verdict", first, "--html", str(page))
    content = page.read_text()
    assert "<svg" in content
    assert "identical" in content
    assert "http://" not in content.replace("http://www.w3.org/2000/svg", "")
    assert desk.reenact("verdict", desk.run("train.py")).status == 1


def test_a_pipeline_is_reproduced_from_what_its_steps_make_now(desk: Desk) -> None:
    desk.write(
        "reenact.yml",
        "prepare:\n  exec: python -c \"open('rows.txt', 'w').write('1 2 3')\"\n"
        "count:\n  exec: python -c \"print('words:', len(open('rows.txt').read().split()))\"\n"
        "  requires:\n    - operation: prepare\n"
        "all:\n  steps: [prepare, count]\n",
    )
    desk.ok("run", "all", "-q")
    done = desk.reenact("reproduce", "@latest:all", "--env", "current", "--json")
    found = json.loads(done.out)["reproductions"]
    assert [one["verdict"] for one in found] == ["identical"] * 2, done
    prepare, count = (one["runs"][0] for one in found)
    assert desk.record(count)["dependencies"][0]["run"] == prepare


def test_deep_runs_again_what_gave_the_files(desk: Desk) -> None:
    desk.write(
        "reenact.yml",
        "prepare:\n  exec: python -c \"open('rows.txt', 'w').write('1 2 3')\"\n"
        "count:\n  exec: python -c \"print('words:', len(open('rows.txt').read().split()))\"\n"
        "  requires:\n    - operation: prepare\n",
    )
    prepare = desk.run("prepare")
    count = desk.run("count")
    (desk.store / "runs" / prepare / "rows.txt").unlink()
    assert desk.reenact("reproduce", count, "--env", "current").status == 1
    done = desk.reenact("reproduce", count, "--deep", "--env", "current", "--json")
    found = json.loads(done.out)["reproductions"]
    assert [one["originals"] for one in found] == [[prepare], [count]]
    assert found[1]["verdict"] == "identical", found[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "1..2", "--repeat", "2"], "exclude each other"),
        (["--tolerance", "0.1"], "does not say of which metric"),
        (["--margin", "acc"], "does not say of which metric"),
        (["--data", "nowhere"], "is no directory"),
        (["--all", "@latest"], "exclude each other"),
        (["--set-env", "A"], "is no variable"),
    ],
)
def test_a_bad_request_is_refused_before_anything_runs(
    desk: Desk, words: list[str], message: str
) -> None:
    desk.run("train.py")
    before = desk.ids()
    done: Done = desk.reenact("reproduce", *words)
    assert (done.status, message in done.err) == (2, True), done
    assert desk.ids() == before


def test_an_unfinished_run_has_no_result(desk: Desk) -> None:
    desk.write("wait.py", "import time\ntime.sleep(600)\n")
    with desk.start("run", "wait.py") as process:
        try:
            wait_until(
                lambda: desk.ids() and desk.status(desk.ids()[0]) == "running", what="it runs"
            )
            done = desk.reenact("reproduce", desk.ids()[0])
        finally:
            end(process)
    assert done.status == 2
    assert "is running: there is no result" in done.err


def test_what_ran_in_place_is_shown_again_elsewhere(desk: Desk) -> None:
    first = desk.run("train.py", "--in-place")
    before = tree_of(desk.project)
    status, found = reproduce(desk, first)
    assert (status, found["verdict"]) == (0, "identical"), found
    assert [one["path"] for one in found["outputs"]] == ["model.json"]
    assert tree_of(desk.project) == before


def test_modules_and_commands_come_back_with_their_flags(desk: Desk) -> None:
    desk.write("pkg/__init__.py")
    desk.write(
        "pkg/fit.py",
        "import argparse\nparser = argparse.ArgumentParser()\n"
        "parser.add_argument('--name', default='x')\n"
        "open('name.txt', 'w').write(parser.parse_args().name)\n",
    )
    desk.write("count.sh", 'echo "size: $(wc -c < "$1")"; echo "$2" > said.txt\n')
    desk.write("large.bin", os.urandom(2 << 20))
    module = desk.run("-m", "pkg.fit", "name=a 'quoted' name")
    command = desk.run("word=two words", "--", "bash", "count.sh", "large.bin", "{word}")
    for run in (module, command):
        status, found = reproduce(desk, run)
        assert (status, found["verdict"]) == (0, "identical"), found
        assert len(found["outputs"]) == 1


NEEDS = """
import json

lr = 1
text = open("one.csv").read() + open("all/two.txt").read() + open("remote.txt").read()
print(f"size: {len(text) + json.load(open('settings.json'))['extra']}")
"""
NEEDS_FILE = """
op:
  main: needs
  flags: {lr: 1}
  requires:
    - file: raw/one.csv
    - file: raw/*.txt
      target-path: all
    - config: settings.json
    - url: file://URL
"""


def needs(desk: Desk, tmp_path: Path) -> str:
    """Run an operation that requires files in all ways; return the run's id."""
    remote = tmp_path / "remote.txt"
    remote.write_text("from afar")
    desk.write("needs.py", NEEDS)
    desk.write("raw/one.csv", "1")
    desk.write("raw/two.txt", "22")
    desk.write("settings.json", '{"extra": 100, "lr": 1}')
    desk.write("reenact.yml", NEEDS_FILE.replace("URL", str(remote)))
    return desk.run("op", "lr=3")


def test_what_an_operation_requires_is_found_where_it_was(desk: Desk, tmp_path: Path) -> None:
    needs(desk, tmp_path)
    status, found = reproduce(desk)
    assert (status, found["verdict"], found.get("remarks", [])) == (0, "identical", []), found


def test_required_files_come_from_the_store_where_they_are_gone(desk: Desk, tmp_path: Path) -> None:
    first = needs(desk, tmp_path)
    desk.write("raw/one.csv", "2")
    desk.write("settings.json", '{"extra": 200, "lr": 1}')
    (desk.project / "raw/two.txt").unlink()
    status, found = reproduce(desk, first)
    assert (status, found["verdict"]) == (0, "identical"), found

    shutil.rmtree(desk.project)
    desk.project.mkdir()
    (tmp_path / "remote.txt").unlink()
    desk.ok("gc")
    shutil.rmtree(desk.store / "cache")
    status, found = reproduce(desk, first)
    assert (status, found["verdict"]) == (0, "identical"), found
    named = " ".join(remark["message"] for remark in found["remarks"])
    for name in ("one.csv", "all/two.txt", "settings.json", "remote.txt"):
        assert f"{name} is gone; its recorded content is taken" in named


def test_files_of_a_deleted_run_are_found_by_their_content(desk: Desk) -> None:
    desk.write("make.py", "open('made.txt', 'w').write('made')\n")
    desk.write("use.py", "print('size:', len(open('made.txt').read()))\n")
    desk.write(
        "reenact.yml", "make: {main: make}\nuse: {main: use, requires: [{operation: make}]}\n"
    )
    first, use = desk.run("make"), desk.run("use")
    desk.run("make", "--label", "same content")
    desk.ok("rm", "--yes", first)
    status, found = reproduce(desk, use)
    assert (status, found["verdict"]) == (0, "identical"), found

    desk.ok("rm", "--yes", "same content")
    done = desk.reenact("reproduce", use)
    assert (done.status, f"made.txt is gone with run {first[:8]}" in done.err) == (1, True), done


def test_a_flag_names_the_directory_where_data_is_now(desk: Desk, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    for name in "ab":
        (old / f"{name}.txt").write_text(name * 3)
    desk.write(
        "read.py",
        "import os\nwhere = '.'\n"
        "print('size:', sum(len(open(f'{where}/{n}.txt').read()) for n in 'ab'))\n",
    )
    first = desk.run("read.py", f"where={old}")
    old.rename(new)
    status, found = reproduce(desk, first, "--data", str(new))
    assert (status, found["verdict"]) == (0, "identical"), found

    # Of a directory all counts, whatever is still at the old place.
    shutil.copytree(new, old)
    (old / "a.txt").unlink()
    (new / "b.txt").write_text("BBB")
    done = desk.reenact("reproduce", first, "--data", str(new))
    assert (done.status, f"{old}/b.txt changed in {new}" in done.err) == (1, True), done


def test_a_secret_is_in_no_verdict(desk: Desk) -> None:
    desk.write("secret.py", "token = ''\nprint('size:', len(token))\n")
    first = desk.run("secret.py", "token=hunter2-hunter2", "--env", "API_KEY=hunter2-hunter2")
    done = desk.reenact("reproduce", first)
    assert (done.status, "are not recorded: token, API_KEY" in done.err) == (1, True), done
    assert "`token=… --set-env API_KEY=…`" in done.err
    words = ["token=hunter2-hunter2", "-e", "API_KEY=hunter2-hunter2"]
    status, found = reproduce(desk, first, *words)
    assert (status, found["asked"]["settings"]) == (0, {"token": "<redacted>"}), found
    kept = b"".join(one.read_bytes() for one in (desk.store / "reproductions").iterdir())
    assert b"hunter2" not in kept


def test_what_the_store_cannot_keep_is_said_in_one_line(desk: Desk) -> None:
    first = desk.run("train.py")
    desk.write("../store/reproductions", "in the way")
    for words in (["reproduce", first], ["check", "--twice", "train.py"]):
        done = desk.reenact(*words)
        assert (done.status, "cannot use the store" in done.err) == (1, True), done


def test_a_flag_that_is_not_known_is_refused(desk: Desk) -> None:
    first = desk.run("train.py", "lr=0.2")
    done = desk.reenact("reproduce", first, "lrr=0.3")
    assert (done.status, "unknown flag `lrr`" in done.err) == (1, True), done
    # Nothing ran: there is nothing to go on with.
    assert desk.json("verdict")["reproductions"] == []


def test_reproductions_at_the_same_time_have_runs_of_their_own(desk: Desk) -> None:
    first = desk.run("train.py")
    words = ("reproduce", first, "--env", "current", "--json")
    with desk.start(*words) as one, desk.start(*words) as other:
        answers = [process.communicate(timeout=PATIENCE_S)[0] for process in (one, other)]
    found = [json.loads(answer)["reproductions"][0] for answer in answers]
    assert [one["verdict"] for one in found] == ["identical", "identical"]
    assert found[0]["runs"] != found[1]["runs"]


def test_a_verdict_says_which_of_its_runs_are_gone(desk: Desk, tmp_path: Path) -> None:
    first = desk.run("train.py")
    _, found = reproduce(desk, first)
    desk.ok("rm", "--yes", first)
    done = desk.reenact("verdict", first[:8], "--html", str(tmp_path / "v.html"))
    assert (done.status, "identical" in done.out) == (0, True), done
    assert f"run {first[:8]} is not in this store any more" in done.err
    assert "not in this store any more" in (tmp_path / "v.html").read_text()
    assert desk.json("verdict", found["runs"][0])["reproductions"][0]["id"] == found["id"]


def test_a_run_is_not_judged_against_itself(desk: Desk) -> None:
    first = desk.run("train.py")
    done = desk.reenact("judge", first, first)
    assert (done.status, "is on both sides" in done.err) == (2, True), done


def test_a_metric_of_the_new_run_alone_is_named(desk: Desk) -> None:
    desk.write("t.py", "print('loss: 0.5')\n")
    first = desk.run("t.py")
    desk.write("t.py", "print('loss: 0.5')\nprint('extra: 1.5')\n")
    done = desk.reenact("judge", first, desk.run("t.py"))
    assert (done.status, "only reported now: `extra`" in done.out + done.err) == (0, True), done


def test_nothing_to_reproduce_is_said(desk: Desk) -> None:
    done = desk.reenact("reproduce", "--all")
    assert (done.status, "nothing to reproduce" in done.err) == (1, True), done
    assert desk.reenact("reproduce", "--all", "--json").status == 1


def test_a_reproduction_keeps_the_data_that_it_took_from_the_store(desk: Desk) -> None:
    first = desk.run("train.py")
    (desk.project / "data/rows.csv").unlink()
    _, found = reproduce(desk, first)
    desk.ok("rm", "--yes", first)
    desk.ok("purge", "--yes", first)
    desk.ok("gc")
    shutil.rmtree(desk.store / "cache")
    status, again = reproduce(desk, found["runs"][0])
    assert (status, again["verdict"]) == (0, "identical"), again


def test_a_failure_that_comes_back_is_said_to_be_one(desk: Desk) -> None:
    desk.write("bad.py", "print('loss: 1')\nraise ValueError('boom')\n")
    first = desk.run("bad.py")
    _, found = reproduce(desk, first)
    assert found["verdict"] == "identical"
    assert "failed as the original did" in found["remarks"][0]["message"]


@pytest.mark.parametrize(
    ("script", "verdict", "summary"),
    [
        ("import random; print([random.random()])", "identical", "what it printed is identical"),
        (
            "import time; print('4 rows'); print(f'done in {time.perf_counter()}s')",
            "within tolerance",
            "what it printed is within tolerance: same content; left out: time of 1 line",
        ),
        ("import os; print('ok'); print([os.urandom(9)])", "differs", "what it printed: line 2: "),
        ("pass", "inconclusive", "nothing to compare: no metric, no output, nothing printed"),
        (
            "print('no data'); raise SystemExit(3)",
            "identical",
            "what it printed is identical; it failed as the original did",
        ),
    ],
)
def test_a_script_that_only_prints_is_judged_by_what_it_prints(
    desk: Desk, script: str, verdict: str, summary: str
) -> None:
    desk.write("say.py", script)

    _, found = reproduce(desk, desk.run("say.py"))

    assert found["verdict"] == verdict, found
    assert found["summary"].startswith(summary)


def test_a_difference_in_what_was_printed_is_named_beside_a_result(desk: Desk) -> None:
    desk.write("both.py", "import os\nprint('loss: 1')\nprint([os.urandom(9)])\n")

    status, found = reproduce(desk, desk.run("both.py"))

    assert (status, found["verdict"]) == (0, "within tolerance")
    assert "not decisive: what it printed (line 2: " in found["summary"]


def test_scores_that_were_measured_in_one_run_only_are_left_out(desk: Desk) -> None:
    desk.write(
        "fits.py",
        """
import reenact

missing = 9
for fit in range(3):
    reenact.log({"loss": fit}, step=fit)
    if fit != missing:
        reenact.log({"SVR.train_score": 0.5 + fit}, step=fit)
""",
    )
    first, second = desk.run("fits.py"), desk.run("fits.py", "missing=1")

    done = desk.reenact("judge", first, second, "--json")

    (found,) = json.loads(done.out)["reproductions"]
    assert [(one["name"], one["verdict"], one["points"]) for one in found["series"]] == [
        ("loss", "identical", 3),
        ("SVR.train_score", "identical", 2),
    ]


def test_fsck_names_a_damaged_verdict(desk: Desk) -> None:
    _, found = reproduce(desk, desk.run("train.py"))
    (desk.store / f"reproductions/{found['id']}.json").write_text("{")
    done = desk.reenact("fsck", "--json")
    assert done.status == 1
    assert [p["kind"] for p in json.loads(done.out)["problems"]] == ["reproduction"]


def test_every_repetition_within_a_tolerance_is_a_reproduction(desk: Desk) -> None:
    desk.write("clock.py", "import time\nprint('loss:', time.time())\n")
    first = desk.run("clock.py")
    status, found = reproduce(desk, first, "--repeat", "3", "--tolerance", "loss=1%")
    assert (status, found["verdict"]) == (0, "within tolerance"), found


def test_a_page_that_cannot_be_written_is_refused_before_anything_runs(desk: Desk) -> None:
    first = desk.run("train.py")
    done = desk.reenact("reproduce", first, "--html", "nowhere/v.html")
    assert (done.status, "is in no directory" in done.err) == (2, True), done
    assert desk.ids() == [first]


def test_no_interpreter_is_no_reproduction(desk: Desk) -> None:
    first = desk.run("train.py")
    done = desk.reenact("reproduce", first, "--python", "/nowhere/python")
    assert (done.status, "no interpreter" in done.err) == (1, True), done


def data_set(desk: Desk) -> str:
    """Run a script over a directory of which half is source, the rest not kept; return the run's id."""
    for number in range(60):
        desk.write(f"set/{number}.txt", f"row {number}\n")
        desk.write(f"set/{number}.bin", bytes([number, 0, 255]) * 100)
    desk.write(
        "sum.py",
        "import os\n"
        "print('size:', sum(sum(open(f'set/{n}', 'rb').read()) for n in sorted(os.listdir('set'))))",
    )
    return desk.run("sum.py", "--keep-data", "none")


def test_source_in_a_data_set_comes_from_the_store(desk: Desk) -> None:
    first = data_set(desk)
    desk.write("set/7.txt", "edited since\n")
    status, found = reproduce(desk, first)
    assert (status, found["verdict"]) == (0, "identical"), found

    desk.write("set/7.bin", "edited since")
    done = desk.reenact("reproduce", first)
    assert (done.status, "set/7.bin changed: 12 bytes, recorded 300" in done.err) == (1, True), done


def test_a_data_set_that_was_moved_is_taken_from_there(desk: Desk, tmp_path: Path) -> None:
    first = data_set(desk)
    moved = tmp_path / "moved"
    (desk.project / "set").rename(moved)
    done = desk.reenact("reproduce", first)
    assert (done.status, "set is gone" in done.err) == (1, True), done
    status, found = reproduce(desk, first, "--data", "../moved")
    assert (status, found["verdict"]) == (0, "identical"), found

    (moved / "new.bin").write_bytes(b"0")
    done = desk.reenact("reproduce", first, "--data", "../moved")
    assert (done.status, f"set/new.bin was added in {moved}" in done.err) == (1, True), done


def test_what_starts_other_runs_is_not_judged(desk: Desk) -> None:
    desk.ok("run", "train.py", "lr=[0.1,0.2]", "--quiet")
    parent = next(run for run in desk.ids() if desk.record(run).get("batch"))
    other = next(run for run in desk.ids() if run != parent)
    done = desk.reenact("judge", parent, other)
    assert (done.status, "starts other runs" in done.err) == (2, True), done


def test_a_pipeline_has_no_source_to_restore(desk: Desk) -> None:
    desk.write("reenact.yml", "train: train\nboth: {steps: [train]}\n")
    desk.ok("run", "both", "--quiet")
    parent = next(run for run in desk.ids() if desk.record(run).get("pipeline"))
    done = desk.reenact("restore", parent, "--to", "../there")
    assert (done.status, "starts other runs" in done.err) == (125, True), done


def test_a_flag_is_set_for_the_parts_that_have_it(desk: Desk) -> None:
    desk.write("make.py", "n = 3\nprint('n:', n)\n")
    desk.write("use.py", "print('used:', 1)\n")
    desk.write(
        "reenact.yml", "make: {main: make, flags: {n: 3}}\nuse: use\nboth: {steps: [make, use]}\n"
    )
    desk.ok("run", "both", "--quiet")
    done = desk.reenact("reproduce", "n=4", "--env", "current", "--json")
    verdicts = [one["verdict"] for one in json.loads(done.out)["reproductions"]]
    assert (done.status, verdicts) == (3, ["differs", "identical"]), done


def test_a_result_that_comes_back_in_some_runs_only_has_not_come_back(desk: Desk) -> None:
    """The first repetition finds a place to leave a mark, and the second one trips over it."""
    mark = desk.project.parent / "mark"
    desk.write(
        "fragile.py",
        f"import os\nif os.path.exists({str(mark) + '.on'!r}):\n"
        f"    os.open({str(mark)!r}, os.O_CREAT | os.O_EXCL)\nprint('loss: 0.5')\n",
    )
    first = desk.run("fragile.py")
    Path(f"{mark}.on").touch()
    status, found = reproduce(desk, first, "--repeat", "2")
    assert (status, found["verdict"]) == (4, "inconclusive"), found
    assert found["summary"].startswith("1 of 2 runs failed"), found


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("from time import perf_counter as now\nopen('a.bin', 'wb').write(b'%f' % now())",
         "the clock: time.perf_counter (say.py:2)"),
        ("import os\nprint([os.urandom(9)])",
         "the operating system's chance: os.urandom (say.py:2)"),
    ],
)  # fmt: skip
def test_what_in_the_script_may_be_why_is_named(desk: Desk, script: str, cause: str) -> None:
    desk.write("say.py", script)

    status, found = reproduce(desk, desk.run("say.py"))

    assert (status, found["verdict"]) == (3, "differs")
    assert [f"{one['what']} ({one['detail']})" for one in found["causes"]] == [cause]
