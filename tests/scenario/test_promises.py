"""What researchers were promised, one test each, as given, when and then.

The names (L: a researcher's life, T: what is said of tools, P: principles) are those of the promises that
follow from "The Machine Learning Reproducibility Crisis" (P. Warden, 2018). L10, T3 and P3, which need a
bundle, are in `test_bundles.py`; T2 (frameworks change) is `test_rebuild.py`, T5 (accuracy is guarded)
`test_claims.py`, P2 (the founder leaves) `test_founder_leaves.py`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import Desk, tree_of, wait_until
from reenact.model.identity import Digest
from reenact.store.blobs import Blobs

TRAIN = """
import random

lr = 0.1
loss = 1.0
for step in range(5):
    loss *= 1 - lr * random.random()
    print(f"step: {step} loss: {loss}")
open("final.pt", "w").write(repr(loss))
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def git(desk: Desk, *words: str) -> str:
    command = ["git", "-c", "user.name=me", "-c", "user.email=me@example.com", *words]
    return subprocess.run(
        command, cwd=desk.project, check=True, capture_output=True, text=True
    ).stdout


def blob(desk: Desk, digest: str) -> Any:
    return json.loads(Blobs(str(desk.store / "blobs")).get(Digest(digest)))


def test_l1_a_script_runs_as_it_is(desk: Desk) -> None:
    desk.write("train.py", TRAIN)
    git(desk, "init", "-q")
    git(desk, "add", ".")
    git(desk, "commit", "-qm", "first")
    run = desk.run("train.py", "lr=0.2")
    record = desk.record(run)
    assert record["flags"] == {"lr": 0.2}
    assert record["exit"]["code"] == 0
    assert len(record["source"]["tree"]) > 20
    assert "step: 4 loss:" in desk.ok("log", run)
    assert git(desk, "status", "--porcelain") == ""


@pytest.mark.parametrize("how", ["sys.path", "PYTHONPATH"])
def test_l2_code_of_an_earlier_project_is_kept(desk: Desk, tmp_path: Path, how: str) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "loader.py").write_text("def load():\n    return 3\n")
    head = f"import sys\nsys.path.insert(0, {str(old)!r})\n" if how == "sys.path" else ""
    desk.write("train.py", f"{head}from loader import load\nprint('rows:', load())\n")
    env = {"PYTHONPATH": str(old)} if how == "PYTHONPATH" else {}
    before = set(desk.ids())
    assert desk.reenact("run", "train.py", env=env).status == 0
    (run,) = set(desk.ids()) - before
    (loader,) = [file for file in desk.record(run)["inputs"] if "loader.py" in file["path"]]
    assert loader["role"] == "source"
    kept = Blobs(str(desk.store / "blobs")).get(Digest(loader["digest"]))
    assert kept == (old / "loader.py").read_bytes()


def test_l3_somebody_removed_images(desk: Desk) -> None:
    for number in range(30):
        desk.write(f"data/{number}.img", f"image {number}")
    desk.write("data/label.csv", "a,b\n")
    script = "import os\ntotal = 0\nfor name in sorted(os.listdir('data')):\n"
    desk.write(
        "train.py", script + "    total += len(open(f'data/{name}').read())\nprint('n:', total)\n"
    )
    first = desk.run("train.py")
    (desk.project / "data/7.img").unlink()
    desk.write("data/8.img", "image 9")
    desk.write("data/new.img", "image")
    second = desk.run("train.py")
    said = desk.reenact("diff", first, second, "--inputs").out
    for name in ("7.img", "8.img", "new.img"):
        assert name in said
    assert "6.img" not in said
    # What is small is kept with the run: it comes back as it was.
    again = desk.reenact("reproduce", first, "--env", "current")
    assert again.status == 0, again
    assert "younger than the run, and kept from it: data/new.img" in again.err
    for name in ("data/8.img", "data/7.img"):
        assert name in again.err
    assert desk.reenact("reproduce", first, "--env", "current", "--changed-data").status == 3


def test_l3_what_is_too_large_to_be_kept_is_refused_when_it_changed(desk: Desk) -> None:
    for number in range(3):
        desk.write(f"data/{number}.img", bytes([number]) * 3_000_000)
    desk.write(
        "train.py", "for n in range(3):\n    print('n:', sum(open(f'data/{n}.img', 'rb').read()))\n"
    )
    run = desk.run("train.py")
    desk.write("data/1.img", b"x" * 3_000_000)
    refused = desk.reenact("reproduce", run, "--env", "current")
    assert refused.status == 1
    assert "data/1.img changed" in refused.err
    assert "data/2.img" not in refused.err


def test_l3b_what_was_read_without_being_declared_is_listed(desk: Desk, tmp_path: Path) -> None:
    shared = tmp_path / "shared.bin"
    shared.write_bytes(b"\0" * 1000)
    desk.write("train.py", f"print('n:', len(open({str(shared)!r}, 'rb').read()))\n")
    (read,) = desk.record(desk.run("train.py"))["inputs"]
    assert read["path"] == str(shared)
    assert read["size_bytes"] == 1000


def test_l4_an_edit_that_was_never_committed(desk: Desk) -> None:
    desk.write("train.py", TRAIN)
    first = desk.run("train.py")
    desk.write("train.py", TRAIN.replace("1 - lr", "1 - 2 * lr"))
    second = desk.run("train.py")
    said = desk.reenact("diff", first, second, "--source").out
    assert "-    loss *= 1 - lr * random.random()" in said
    assert "+    loss *= 1 - 2 * lr * random.random()" in said
    shutil.rmtree(desk.project)
    desk.project.mkdir()
    assert desk.reenact("reproduce", first, "--env", "current").status == 0


def test_l5_code_is_edited_while_jobs_run(desk: Desk) -> None:
    desk.write("m.py", "value = 1\n")
    script = (
        "import os, time\nopen('up', 'w')\nwhile not os.path.exists('go'):\n    time.sleep(0.01)\n"
    )
    desk.write("train.py", script + "import m\nprint('value:', m.value)\n")
    with desk.start("run", "train.py") as running:
        wait_until(
            lambda: desk.ids() and (desk.store / "runs" / desk.ids()[0] / "up").exists(),
            what="it is up",
        )
        (first,) = desk.ids()
        desk.ok("run", "train.py", "--stage")
        desk.write("m.py", "value = 2\n")
        (desk.store / "runs" / first / "go").touch()
        out, _ = running.communicate()
    assert b"value: 1" in out
    (queued,) = set(desk.ids()) - {first}
    desk.write("m.py", "value = 3\n")
    (desk.store / "runs" / queued / "go").touch()
    desk.ok("queue", "--once")
    assert desk.record(queued)["metrics"]["value"]["last"] == 1.0


def test_l6_a_bug_is_fixed_and_the_run_goes_on(desk: Desk) -> None:
    script = """
import os
begin = int(open("checkpoint").read()) if os.path.exists("checkpoint") else 0
for step in range(begin, 10):
    print(f"step: {step} loss: {1 / (step + 1)}")
    open("checkpoint", "w").write(str(step + 1))
    if step == 4:
        FIX
"""
    desk.write("train.py", script.replace("FIX", "raise SystemExit(1)"))
    first = desk.run("train.py")
    desk.write("train.py", script.replace("FIX", "pass"))
    second = desk.run("--resume", first)
    record = desk.record(second)
    assert record["resumes"] == first
    assert record["source"]["tree"] != desk.record(first)["source"]["tree"]
    assert [point["first_step"] for point in record["metrics"].values()] == [5]
    assert "mixed-code" in [remark["code"] for remark in record["warnings"]]
    said = desk.ok("whence", second, "--step", "7")
    assert second[:8] in said
    said = desk.ok("whence", second, "--step", "3")
    assert first[:8] in said


def test_l7_weights_of_another_run(desk: Desk) -> None:
    desk.write("pre.py", "print('x: 1')\nopen('ckpt.pt', 'w').write('weights')\n")
    desk.write("tune.py", "print('n:', len(open('ckpt.pt').read()))\n")
    desk.write(
        "reenact.yml",
        "pre: {main: pre}\ntune:\n  main: tune\n  requires: [{operation: pre, select: ckpt.pt}]\n",
    )
    first = desk.run("pre")
    second = desk.run("tune")
    (dependency,) = desk.record(second)["dependencies"]
    assert dependency["run"] == first
    assert first[:8] in desk.ok("lineage", second)
    assert second[:8] in desk.reenact("rm", first, "--yes").err
    assert desk.ok("restore", first)
    done = desk.reenact("reproduce", second, "--deep", "--env", "current")
    assert done.status == 0, done
    reproduced = {desk.record(run).get("reproduces") for run in desk.ids()}
    assert {first, second} <= reproduced


def test_l8_release_weights_are_traced(desk: Desk, tmp_path: Path) -> None:
    desk.write("train.py", TRAIN)
    run = desk.run("train.py", "lr=0.3")
    renamed = tmp_path / "release.bin"
    shutil.copy(desk.store / "runs" / run / "final.pt", renamed)
    said = desk.ok("whence", str(renamed))
    assert run[:8] in said
    assert "lr=0.3" in said
    renamed.write_text("something else")
    unknown = desk.reenact("whence", str(renamed))
    assert "never seen" in unknown.out + unknown.err


def test_l8b_scores_outlive_weights(desk: Desk) -> None:
    desk.write("train.py", TRAIN)
    run = desk.run("train.py")
    (desk.store / "runs" / run / "final.pt").unlink()
    (listed,) = desk.json("runs", "--sort", "loss")["runs"]
    assert listed["id"] == run
    assert json.dumps(desk.record(run)["metrics"]["loss"]["last"]) in json.dumps(
        desk.json("show", run)
    )


def test_l9_code_that_is_not_what_made_the_model(desk: Desk) -> None:
    desk.write("train.py", TRAIN)
    desk.write("util.py", "a = 1\n")
    run = desk.run("train.py")
    model = shutil.copy(desk.store / "runs" / run / "final.pt", desk.project / "final.pt")
    assert desk.reenact("check", str(model)).status == 0
    desk.write("util.py", "a = 2\n")
    done = desk.reenact("check", str(model))
    assert done.status != 0
    assert "util.py" in done.out
    assert "train.py" not in done.out.replace(run, "").split("util.py")[1]


def test_t1_tiny_differences_are_said(desk: Desk) -> None:
    desk.write(
        "train.py",
        "import os\nx = int.from_bytes(os.urandom(4), 'big') / 2**32\nprint('same: 0.5')\n"
        "print(f'noisy: {1 + x * 1e-9}')\nopen('out.txt', 'w').write(str(x))\n",
    )
    run = desk.run("train.py")
    done = desk.reenact(
        "reproduce", run, "--repeat", "5", "--env", "current", "--tolerance", "noisy=1e-6", "--json"
    )
    found = json.loads(done.out)
    assert '"identical"' in json.dumps(found)  # `same` is.
    said = desk.ok("verdict", run) if done.status == 0 else desk.reenact("verdict", run).out
    assert "noisy" in said
    assert "identical: " not in said.splitlines()[0]


def test_t4_a_snapshot_is_restored_byte_for_byte(desk: Desk, tmp_path: Path) -> None:
    desk.write("train.py", "print('x: 1')\n")
    desk.write("tool.sh", "#!/bin/sh\necho\n").chmod(0o755)
    desk.write("odd \xe4 name.py", b"# \xff\r\n")
    (desk.project / "link.py").symlink_to("train.py")
    run = desk.run("train.py")
    before = tree_of(desk.project)
    desk.write("train.py", "changed")
    desk.ok("restore", run, "--to", str(tmp_path / "then"))
    assert tree_of(tmp_path / "then") == before
    assert (tmp_path / "then/tool.sh").stat().st_mode & 0o777 == 0o755


def test_p1_no_process_tax(desk: Desk) -> None:
    desk.write("train.py", TRAIN)
    plain = subprocess.run(
        ["python3", "-c", TRAIN], cwd=desk.project, check=True, capture_output=True, text=True
    ).stdout
    (desk.project / "final.pt").unlink()
    done = desk.reenact("run", "train.py", env={"http_proxy": "http://127.0.0.1:9"})
    assert [line.split()[:3] for line in plain.splitlines()] == [
        line.split()[:3] for line in done.out.splitlines() if line.startswith("step:")
    ]
    assert sorted(path.name for path in desk.project.iterdir()) == ["train.py"]


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield from leaves(one, (*path, name))
    elif isinstance(value, list):
        for place, one in enumerate(value[:1]):
            yield from leaves(one, (*path, place))
    else:
        yield path, value


def flipped(path: tuple[Any, ...], value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case _ if path[-1] == "prefix_kind":
            return "conda"
        case _ if path[-1] == "kind":
            return "archive"
        case _:
            return f"{value}9"


def test_p4_each_fact_of_the_platform_is_recorded_and_compared(desk: Desk) -> None:
    desk.write("train.py", TRAIN)
    run = desk.run("train.py")
    record = desk.record(run)
    assert record["seed"] is not None
    blobs = Blobs(str(desk.store / "blobs"))
    facts = [
        (section, path, value)
        for section in ("environment", "machine")
        for path, value in leaves(blob(desk, record[section]))
        if path[0] not in ("format", "reasons")
    ]
    known = {path[0] for _, path, _ in facts}
    assert {"python", "packages", "os", "kernel", "cpu", "cpu_features", "memory_bytes"} <= known
    other = "f" * 32
    for section, path, value in facts:
        content = blob(desk, record[section])
        place = content
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = flipped(path, value)
        shutil.copytree(desk.store / "runs" / run, desk.store / "runs" / other)
        digest = blobs.put(json.dumps(content).encode())
        changed = {**record, "id": other, section: digest}
        desk.file(other, "run.json").write_text(json.dumps(changed))
        found = desk.json("diff", run, other)["sections"]
        named = {name: one["changes"] for name, one in found.items() if one["changes"]}
        assert set(named) == {section}, (path, named)
        names = {str(change["name"]) for change in named[section]}
        # A thing that is called otherwise is one thing less and one more.
        assert len(named[section]) == 1 or path[-1] == "name" or path[0] == "cpu_features", (
            path,
            named,
        )
        assert (
            any(str(part) in " ".join(names) for part in path)
            or value in names
            or path[0] in ("packages", "tools", "cpu_features")
        ), (path, names)
        shutil.rmtree(desk.store / "runs" / other)
