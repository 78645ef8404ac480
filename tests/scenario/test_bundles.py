"""Bundles: runs in one file, exported, made public, taken in elsewhere and reproduced from nothing else.

Among them are the promises L10 (publish a result with code and weights), T3 (somebody's claim is checked from
their bundle), P2 (the founder leaves) and P3 (one model is packaged without its history); see
`test_promises.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import Desk, tree_of, wait_until
from frameworks import QUICK, python_with
from wheels import install, make_environment, make_wheel

TRAIN = """
import csv
import random

lr = 0.1
rows = list(csv.reader(open("data/points.csv")))
loss = 1.0
for step in range(4):
    loss -= lr * random.random() / len(rows)
    print(f"step {step} loss {loss}")
print("acc:", 0.9 + lr / 100)
open("model.txt", "w").write(repr(loss))
"""
PROJECT = """
train:
  main: train

claims:
  C1: {run: train, metric: acc, value: 0.902, tolerance: 0.003, paper: Table 2, flags: {lr: 0.2}}
  C2: {run: train, metric: acc, value: 0.95, tolerance: 0.003}
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "mine").mkdir()
    desk = Desk(tmp_path / "mine")
    desk.write("train.py", TRAIN)
    desk.write("reenact.yml", PROJECT)
    desk.write("data/points.csv", "1,2\n3,4\n")
    return desk


@pytest.fixture
def theirs(tmp_path: Path) -> Desk:
    """Return somebody else's desk: no project, no store, another home."""
    (tmp_path / "theirs").mkdir()
    desk = Desk(tmp_path / "theirs")
    home = tmp_path / "theirs" / "home"
    home.mkdir()
    desk.env |= {"HOME": str(home), "USER": "she", "LOGNAME": "she"}
    return desk


def bundle(desk: Desk, *words: str) -> Path:
    path = desk.project.parent / "bundle.zip"
    desk.ok("export", *words, "-o", str(path), "--force")
    return path


def manifest(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        found: dict[str, Any] = json.loads(archive.read("bundle.json"))
    return found


def rewrite(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Return a copy of an archive whose members somebody has changed."""
    other = path.with_name("changed.zip")
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    change(members)
    with zipfile.ZipFile(other, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return other


def every_byte(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the archive itself, and the names and contents of what is in it."""
    yield "the archive", path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            yield info.filename, info.filename.encode()
            yield info.filename, archive.read(info)


def leavings(desk: Desk) -> list[str]:
    """Return what a command that failed has left in a store."""
    if not desk.store.exists():
        return []
    kept = [*(desk.store / "runs").glob("*"), *(desk.store / "blobs").glob("*/*")]
    return [str(one) for one in (*kept, *desk.store.glob("import.*.tmp"))]


def test_with_nothing_but_the_bundle_somebody_else_gets_the_result(
    desk: Desk, theirs: Desk
) -> None:
    run = desk.run("train", "lr=0.2", "--label", "paper")
    other = desk.run("train", "lr=0.3")
    path = bundle(desk, "paper")
    shutil.rmtree(desk.project)
    shutil.rmtree(desk.store)
    elsewhere = theirs.project / "theirs.zip"
    shutil.move(path, elsewhere)
    done = theirs.reenact("reproduce", "theirs.zip", "--json")
    found = json.loads(done.out)["reproductions"]
    assert (done.status, [one["verdict"] for one in found]) == (0, ["identical"]), done
    assert found[0]["originals"] == [run]
    assert other not in theirs.ids()
    assert [one.name for one in theirs.project.iterdir()] == ["theirs.zip"]
    assert theirs.reenact("fsck").status == 0
    shown = theirs.json("show", run)["run"]
    assert shown["flags"]["lr"] == 0.2
    assert run[:8] in theirs.ok("whence", str(theirs.store / "runs" / run / "model.txt"))
    # A second time there is nothing to take, and the verdict is the same.
    again = theirs.reenact("reproduce", "theirs.zip")
    assert again.status == 0
    assert "0 runs taken" in again.err


def test_a_bundle_holds_what_its_runs_need_and_nothing_else(desk: Desk) -> None:
    mine = desk.run("train", "lr=0.2")
    other = desk.run("train", "lr=0.3")
    path = bundle(desk, mine)
    names = zipfile.ZipFile(path).namelist()
    assert {f"runs/{mine}/model.txt", f"runs/{mine}/.reenact/run.json", "store.json"} <= {*names}
    assert not [name for name in names if other in name]
    assert not [
        name for name in names if name.rpartition("/")[2] in ("lock", "index.db", "gc.lock")
    ]
    listed = manifest(path)
    assert listed["runs"] == [mine]
    assert {name for name, *_ in listed["files"]} == {*names} - {"bundle.json"}


def test_the_same_run_gives_the_same_bytes(desk: Desk, theirs: Desk) -> None:
    run = desk.run("train")
    first = bundle(desk, run).read_bytes()
    time.sleep(0.01)
    assert bundle(desk, run).read_bytes() == first
    (theirs.project / "one.zip").write_bytes(first)
    theirs.ok("import", "one.zip")
    assert bundle(theirs, run).read_bytes() == first


def test_an_unpacked_bundle_is_a_store(desk: Desk, tmp_path: Path) -> None:
    run = desk.run("train", "lr=0.2")
    with zipfile.ZipFile(bundle(desk, run)) as archive:
        archive.extractall(tmp_path / "unpacked")
    shutil.rmtree(desk.store)
    found = json.loads(desk.ok("-H", str(tmp_path / "unpacked"), "runs", "--all", "--json"))
    assert [one["id"] for one in found["runs"]] == [run]
    assert desk.reenact("-H", str(tmp_path / "unpacked"), "fsck").status == 0


def test_a_claim_that_came_with_the_bundle_is_checked(desk: Desk, theirs: Desk) -> None:
    run = desk.run("train", "lr=0.2")
    path = str(bundle(desk, run))
    shutil.rmtree(desk.store)
    done = theirs.reenact("reproduce", path, "--claim", "C1")
    assert done.status == 0, done
    assert "confirmed" in done.out
    assert all(word in done.out for word in ("C1", "0.902", "±0.003", "Table 2", "ran for"))
    done = theirs.reenact("reproduce", path, "--claim", "C2", "--json")
    found = json.loads(done.out)["reproductions"][0]
    assert (done.status, found["verdict"]) == (3, "differs"), done
    assert found["claims"][0]["duration_s"] > 0
    done = theirs.reenact("reproduce", path, "--claim", "C3")
    assert (done.status, "no claim `C3`" in done.err) == (1, True), done


def test_a_claim_that_no_run_of_the_bundle_shows_is_named(desk: Desk, theirs: Desk) -> None:
    path = bundle(desk, desk.run("train", "lr=0.5"))
    done = theirs.reenact("reproduce", str(path), "--claim", "C1")
    assert (done.status, "it needs `train lr=0.2`" in done.err) == (1, True), done


# --- data, batches, pipelines ---


def test_data_that_the_store_does_not_have_goes_along_when_asked_for(
    desk: Desk, theirs: Desk, tmp_path: Path
) -> None:
    large = tmp_path / "mine" / "large.csv"
    large.write_text("1,2\n" * 400_000)
    desk.write("use.py", f"path = '{large}'\nprint('rows:', len(open(path).readlines()))\n")
    run = desk.run("use.py")
    said = desk.reenact("export", run, "without.zip")
    assert f"not in it: {large} (1.6 MB)" in said.err
    assert "the store does not have it" in said.err
    desk.ok("export", run, "with.zip", "--data")
    without, with_it = (desk.project / f"{name}.zip" for name in ("without", "with"))
    for path in (without, with_it):
        shutil.move(path, theirs.project)
    large.unlink()
    done = theirs.reenact("reproduce", "without.zip")
    assert (done.status, "data-changed" in done.err or "is gone" in done.err) == (1, True), done
    # The run is there, and now gets its data.
    done = theirs.reenact("reproduce", "with.zip", "--json")
    assert done.status == 0, done
    assert theirs.reenact("gc").status == 0
    assert theirs.reenact("reproduce", "with.zip").status == 0


def test_no_data_leaves_all_of_it_out(desk: Desk) -> None:
    run = desk.run("train")
    path = bundle(desk, run, "--no-data")
    assert b"3,4\n" not in b"".join(data for _, data in every_byte(path))
    left = manifest(path)["left_out"]
    assert [(one["path"], one["reason"]) for one in left] == [
        ("data/points.csv", "data was to be left out")
    ]


def test_a_data_set_of_many_files_goes_along(desk: Desk, theirs: Desk) -> None:
    for number in range(120):
        desk.write(f"images/{number}.txt", f"{number}\n")
    desk.write(
        "sum.py",
        "import glob\nprint('sum:', sum(int(open(p).read()) for p in sorted(glob.glob('images/*.txt'))))\n",
    )
    run = desk.run("sum.py")
    path = bundle(desk, run, "--data")
    shutil.rmtree(desk.project)
    shutil.rmtree(desk.store)
    done = theirs.reenact("reproduce", str(path), "--json")
    found = json.loads(done.out)["reproductions"]
    assert (done.status, [one["verdict"] for one in found]) == (0, ["identical"]), done
    theirs.ok("gc")
    assert theirs.reenact("fsck").status == 0


def test_outputs_can_be_left_out(desk: Desk, theirs: Desk) -> None:
    run = desk.run("train")
    path = bundle(desk, run, "--exclude", "*.txt")
    assert f"runs/{run}/model.txt" not in zipfile.ZipFile(path).namelist()
    done = theirs.reenact("reproduce", str(path), "--json")
    assert done.status == 0, done


def test_a_batch_comes_with_its_trials_and_each_is_reproduced_once(
    desk: Desk, theirs: Desk
) -> None:
    desk.ok("run", "train", "lr=[0.1,0.2]", "-q")
    batch = next(run for run in desk.ids() if "batch" in desk.record(run))
    path = bundle(desk, batch)
    done = theirs.reenact("reproduce", str(path), "--json")
    found = json.loads(done.out)["reproductions"]
    assert (done.status, len(found)) == (0, 2), done
    assert manifest(path)["runs"] == [batch]


def pipeline(desk: Desk) -> None:
    desk.write("prepare.py", "import random\nopen('table.txt', 'w').write(str(random.random()))\n")
    desk.write("fit.py", "print('loss:', float(open('table.txt').read()) / 2)\n")
    desk.write(
        "reenact.yml",
        "prepare:\n  main: prepare\nfit:\n  main: fit\n  requires:\n"
        "    - operation: prepare\n      select: table.txt\n"
        "all:\n  steps: [prepare, fit]\n",
    )


def test_what_another_run_has_made_goes_along_and_that_run_when_asked_for(
    desk: Desk, theirs: Desk, tmp_path: Path
) -> None:
    pipeline(desk)
    first = desk.run("prepare")
    second = desk.run("fit")
    assert desk.record(second)["dependencies"][0]["run"] == first
    shallow = bundle(desk, second)
    shallow = shallow.rename(shallow.with_name("shallow.zip"))
    deep = bundle(desk, second, "--deep")
    assert [name for name in zipfile.ZipFile(shallow).namelist() if first in name] == []
    done = theirs.reenact("reproduce", str(shallow), "--json")
    assert done.status == 0, done
    assert first not in theirs.ids()
    shutil.rmtree(theirs.store)
    shutil.rmtree(desk.store)
    done = theirs.reenact("reproduce", str(shallow), "--json")
    assert done.status == 0, done
    shutil.rmtree(theirs.store)
    assert manifest(deep)["runs"] == [second]
    done = theirs.reenact("reproduce", str(deep), "--deep", "--json")
    assert (done.status, len(json.loads(done.out)["reproductions"])) == (0, 2), done
    assert first in theirs.ids()


def test_a_pipeline_comes_with_its_steps(desk: Desk, theirs: Desk) -> None:
    pipeline(desk)
    desk.ok("run", "all", "-q")
    whole = next(run for run in desk.ids() if "pipeline" in desk.record(run))
    path = bundle(desk, whole)
    done = theirs.reenact("reproduce", str(path), "--json")
    found = json.loads(done.out)["reproductions"]
    assert (done.status, [one["verdict"] for one in found]) == (0, ["identical"] * 2), done
    links = {
        p.name: os.readlink(p) for p in (theirs.store / "runs" / whole).iterdir() if p.is_symlink()
    }
    assert set(links) == {"prepare", "fit"}
    assert theirs.reenact("fsck").status == 0


def test_verdicts_go_along_when_asked_for(desk: Desk, theirs: Desk) -> None:
    run = desk.run("train")
    desk.ok("reproduce", run)
    assert "reproductions" not in str(zipfile.ZipFile(bundle(desk, run)).namelist())
    theirs.ok("import", str(bundle(desk, run, "--verdicts")))
    assert theirs.json("verdict", run)["reproductions"][0]["verdict"] == "identical"


def test_links_and_strange_names_among_outputs_come_back(desk: Desk, theirs: Desk) -> None:
    desk.write(
        "odd.py",
        "import os\n"
        "os.makedirs('out')\n"
        "open('out/a b\\u00e9.txt', 'w').write('1')\n"
        "open(b'out/\\xff\\\\n.bin', 'wb').write(b'2')\n"
        "os.symlink('a b\\u00e9.txt', 'out/link')\n"
        "os.symlink('/etc/passwd', 'out/far')\n"
        "os.chmod('out/a b\\u00e9.txt', 0o755)\n",
    )
    run = desk.run("odd.py")
    path = bundle(desk, run)
    theirs.ok("import", str(path))
    before, after = tree_of(desk.store / "runs" / run), tree_of(theirs.store / "runs" / run)
    assert before.pop("out/far") == "-> /etc/passwd"
    assert after == before
    assert (theirs.store / "runs" / run / "out" / "a bé.txt").stat().st_mode & 0o777 == 0o755
    assert [one["path"] for one in manifest(path)["left_out"]] == ["out/far"]


@pytest.mark.parametrize("public", [False, True])
def test_packages_that_no_index_has_come_with_the_bundle(
    desk: Desk, theirs: Desk, tmp_path: Path, public: bool
) -> None:
    files = {"scale.py": "FACTOR = 3.25\n"}
    wheel = make_wheel(tmp_path / "wheels", "scale", "1.0+local", files)
    python = make_environment(tmp_path / "environment")
    install(python, wheel)
    desk.write("use.py", "import scale\nprint('loss:', 0.5 * scale.FACTOR)\n")
    run = desk.run("--python", str(python), "use.py")
    path = bundle(desk, run, *(["--public"] if public else []))
    for place in ("wheels", "environment"):
        shutil.rmtree(tmp_path / place)
    shutil.rmtree(desk.store)
    done = theirs.reenact("reproduce", str(path), "--env", "recorded", "--json")
    found = json.loads(done.out)["reproductions"][0]
    assert (done.status, found["verdict"], found["environment"]) == (0, "identical", "recorded"), (
        done
    )
    assert not found.get("causes")


def test_a_pylock_is_there_for_other_tools_and_says_nothing_private(
    desk: Desk, tmp_path: Path
) -> None:
    private = plant(desk, tmp_path)
    wheels = Path(private["home"]) / "wheels"
    python = make_environment(tmp_path / "environment")
    make_wheel(wheels, "scale", "1.0", {"scale.py": "FACTOR = 2.0\n"})
    install(python, "--no-index", "--find-links", wheels, "scale")
    desk.write("use.py", "import scale\nprint('loss:', scale.FACTOR)\n")
    for name in ("PIP_INDEX_URL", "PIP_FIND_LINKS"):
        del desk.env[name]
    desk.env |= {"UV_FIND_LINKS": str(wheels), "UV_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    run = desk.run("--python", str(python), "use.py")
    path = tmp_path / "public.zip"
    desk.ok("export", run, "--pylock", "--public", "-o", str(path))
    with zipfile.ZipFile(path) as archive:
        text = archive.read("pylock.toml").decode()
    assert 'name = "scale"' in text
    assert not any(private["home"].encode() in data for _, data in every_byte(path))


MODELS = {
    "forest.py": (
        "sklearn",
        """
from sklearn.datasets import make_moons
from sklearn.ensemble import RandomForestClassifier
import pickle

trees = 5
x, y = make_moons(60)
model = RandomForestClassifier(trees).fit(x, y)
print("accuracy:", model.score(x, y))
pickle.dump(model, open("model.pkl", "wb"))
""",
    ),
    "net.py": (
        "torch",
        """
import torch

hidden = 4
x = torch.randn(50, 3)
model = torch.nn.Sequential(torch.nn.Linear(3, hidden), torch.nn.Linear(hidden, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for step in range(5):
    loss = (model(x) - x.sum(1, keepdim=True)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"step {step} loss {loss.item():.8f}")
torch.save(model.state_dict(), "weights.pt")
""",
    ),
}


def test_with_nothing_but_a_bundle_models_of_several_frameworks_are_retrained(
    desk: Desk, theirs: Desk, tmp_path: Path
) -> None:
    python = python_with("sklearn", "torch")
    runs = []
    for name, (_, script) in MODELS.items():
        desk.write(name, script)
        runs.append(desk.run("--python", python, name, "-q", env=QUICK))
    path = bundle(desk, *runs)
    shutil.rmtree(desk.project)
    shutil.rmtree(desk.store)
    done = theirs.reenact("reproduce", str(path), "--json", env=QUICK)
    found = json.loads(done.out)
    assert (done.status, found["problems"]) == (0, []), done
    assert [one["verdict"] for one in found["reproductions"]] == ["identical"] * 2
    assert {one["originals"][0] for one in found["reproductions"]} == {*runs}
    again = {path.name: path.read_bytes() for run in theirs.ids() if run in runs
             for path in (theirs.store / "runs" / run).iterdir() if path.is_file()}  # fmt: skip
    assert set(again) == {"model.pkl", "weights.pt"}


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["train.py", "--in-place"], 0),
        (["--", "sh", "-c", "echo 'loss: 0.5' > out.txt; cat out.txt"], 0),
        (["fail.py"], 0),
        (["train.py", "--no-snapshot"], 2),
    ],
)
def test_every_sort_of_run_goes_through(
    desk: Desk, theirs: Desk, words: list[str], status: int
) -> None:
    desk.write("fail.py", "print('loss: 0.5')\nraise SystemExit(3)\n")
    run = desk.run(*words)
    path = bundle(desk, run)
    shutil.rmtree(desk.store)
    done = theirs.reenact("reproduce", str(path), "--json")
    assert done.status == status, done
    assert run in theirs.ids()
    assert theirs.reenact("fsck").status == 0


def test_a_killed_run_goes_through(desk: Desk, theirs: Desk) -> None:
    desk.write(
        "slow.py",
        "open('part.txt', 'w').write('1')\nprint('on', flush=True)\nimport time\ntime.sleep(600)\n",
    )
    with desk.start("run", "slow.py") as process:
        wait_until(
            lambda: desk.ids() and desk.file(desk.ids()[0], "output").exists(), what="it runs"
        )
        process.kill()
        process.communicate()
    run = desk.ids()[0]
    desk.reenact("stop", run)
    theirs.ok("import", str(bundle(desk, run)))
    assert theirs.status(run) == "killed"
    assert (theirs.store / "runs" / run / "part.txt").read_text() == "1"
    done = theirs.reenact("reproduce", str(bundle(desk, run)))
    assert (done.status, "killed" in done.err) == (2, True), done


# --- public ---


def plant(desk: Desk, tmp_path: Path) -> dict[str, str]:
    """Make everything private that there can be around a run; return the texts by what they are."""
    home = tmp_path / "home" / "alicewonder"
    home.mkdir(parents=True)
    shutil.move(desk.project, home / "thesis")
    desk.project = home / "thesis"
    desk.store = home / ".reenact"
    token = "tk-51c0ffee51c0ffee"
    desk.env = {
        "REENACT_HOME": str(desk.store),
        "HOME": str(home),
        "USER": "alicewonder",
        "LOGNAME": "alicewonder",
        "WAREHOUSE_TOKEN": token,
        "MY_PASSWORD": "correct-horse-battery",
        "PIP_INDEX_URL": "https://alicewonder:hunter2hunter2@pypi.corp.example/simple",
        "PIP_FIND_LINKS": f"file://{home}/wheels",
    }
    git = ["git", "-c", "user.name=Alice Wonder", "-c", "user.email=alice@corp.example"]
    for words in (
        ["init", "-q"],
        ["remote", "add", "origin", "https://alicewonder:gitsecret99@git.corp.example/thesis.git"],
        ["add", "."],
        ["commit", "-qm", "first"],
    ):
        subprocess.run([*git, *words], cwd=desk.project, check=True)
    return {
        "home": str(home),
        "user": "alicewonder",
        "host": os.uname().nodename if len(os.uname().nodename) > 4 else "alicewonder",
        "token": token,
        "password": "correct-horse-battery",
        "index": "hunter2hunter2",
        "remote": "gitsecret99",
        "project": str(desk.project),
        "store": str(desk.store),
        "wheels": f"file://{home}",
    }


NOISY = (
    TRAIN
    + """
import os, sys, warnings
print("in", os.getcwd(), "for", os.environ["USER"], os.environ["WAREHOUSE_TOKEN"])
print("home is", os.path.expanduser("~"), file=sys.stderr)
warnings.warn("look here")
"""
)


def test_a_public_bundle_has_nothing_private_and_still_reproduces(
    desk: Desk, theirs: Desk, tmp_path: Path
) -> None:
    desk.write("train.py", NOISY)
    private = plant(desk, tmp_path)
    others = [desk.run("train", "lr=0.5")]
    run = desk.run("train", "lr=0.2", "-e", f"SCRATCH={private['home']}/scratch")
    others.append(desk.run("train", "lr=0.7"))
    desk.ok("comment", run, "--set", f"best of {others[0]} in {private['home']}")
    path = tmp_path / "public.zip"
    done = desk.reenact("export", run, "--public", "-o", str(path))
    assert done.status == 0, done
    for where, data in every_byte(path):
        for what, text in [*private.items(), *(("run", other) for other in others)]:
            assert text.encode() not in data, f"{what} in {where}"
        assert b".git/" not in data, where
    report = manifest(path)
    assert report["is_public"] is True
    found = {one["what"] for one in report["findings"]}
    assert {"home directory", "user name", "value of WAREHOUSE_TOKEN", "id of another run"} <= found
    assert "removed: user name in output" in done.err
    assert private["token"] not in done.err
    shutil.rmtree(tmp_path / "home")
    done = theirs.reenact(
        "reproduce", str(path), "-e", f"SCRATCH={tmp_path}", "--json",
        env={"WAREHOUSE_TOKEN": "mine-instead"},
    )  # fmt: skip
    again = json.loads(done.out)["reproductions"][0]
    assert done.status == 0, done
    assert {one["verdict"] for one in (*again["series"], *again["outputs"])} == {"identical"}
    assert theirs.reenact("fsck").status == 0
    log = theirs.ok("log", run)
    assert "/redacted/store/runs" in log
    assert "home is /redacted/home" in log
    assert log.count("step") == 4


def test_what_cannot_be_taken_out_is_refused_with_file_and_line(desk: Desk, tmp_path: Path) -> None:
    desk.write(
        "train.py",
        TRAIN + 'open("notes.txt", "w").write("one\\ntwo\\n" + __import__("os").environ["USER"])\n',
    )
    desk.write("other.py", "# one\n# by alicewonder\n")
    plant(desk, tmp_path)
    run = desk.run("train")
    done = desk.reenact("export", run, "public.zip", "--public")
    assert done.status == 1
    assert "other.py:2 (user name)" in done.err
    assert "notes.txt:3 (user name)" in done.err
    assert "--allow" in done.err
    assert not (desk.project / "public.zip").exists()
    done = desk.reenact(
        "export", run, "public.zip", "--public", "--exclude", "notes.txt", "--allow", "other.py"
    )
    assert done.status == 0, done
    assert "allowed: user name in other.py:2" in done.err
    assert [
        (one["where"], one["line"])
        for one in manifest(desk.project / "public.zip")["findings"]
        if one.get("is_removed") is False
    ] == [("other.py", 2)]


def test_data_below_a_home_directory_is_found_again_by_its_content(
    desk: Desk, theirs: Desk, tmp_path: Path
) -> None:
    desk.write("read.py", "data = ''\nprint('rows:', len(open(data).readlines()))\n")
    private = plant(desk, tmp_path)
    table = Path(private["home"]) / "tables" / "rows.csv"
    table.parent.mkdir()
    table.write_text("1\n2\n3\n")
    run = desk.run("read.py", f"data={table}")
    path = tmp_path / "public.zip"
    desk.ok("export", run, "--public", "--data", "-o", str(path))
    assert not any(private["home"].encode() in data for _, data in every_byte(path))
    shutil.rmtree(private["home"])
    done = theirs.reenact("reproduce", str(path), "--json")
    found = json.loads(done.out)["reproductions"][0]
    assert (done.status, found["series"][0]["verdict"]) == (0, "identical"), done


def test_an_output_that_is_left_out_is_not_called_as_the_user(desk: Desk, tmp_path: Path) -> None:
    desk.write(
        "train.py", TRAIN + "open('log.' + __import__('os').environ['USER'], 'w').write('1')\n"
    )
    plant(desk, tmp_path)
    run = desk.run("train")
    done = desk.reenact("export", run, "public.zip", "--public")
    assert (done.status, "user name in its name" in done.err) == (1, True), done
    desk.ok("export", run, "public.zip", "--public", "--exclude", "log.*")
    for where, data in every_byte(desk.project / "public.zip"):
        assert b"alicewonder" not in data, where
    left = manifest(desk.project / "public.zip")["left_out"]
    assert [one["path"] for one in left] == ["log.somebody"]


def test_what_another_run_gave_is_there_under_a_name_that_leads_to_nothing(
    desk: Desk, theirs: Desk, tmp_path: Path
) -> None:
    pipeline(desk)
    private = plant(desk, tmp_path)
    first = desk.run("prepare")
    second = desk.run("fit")
    path = tmp_path / "public.zip"
    desk.ok("export", second, "--public", "-o", str(path))
    assert not any(first[:8].encode() in data for _, data in every_byte(path))
    shutil.rmtree(private["home"])
    done = theirs.reenact("reproduce", str(path), "--json")
    assert done.status == 0, done


def test_what_is_packed_in_an_output_is_searched(desk: Desk, tmp_path: Path) -> None:
    desk.write(
        "pack.py",
        "import gzip, os, zipfile\n"
        "who = os.environ['USER']\n"
        "with zipfile.ZipFile('a.zip', 'w', zipfile.ZIP_DEFLATED) as z:\n"
        "    z.writestr('inner.txt', 'x' * 99 + '\\nby ' + who)\n"
        "gzip.open('b.gz', 'wb').write(('y' * 99 + ' ' + who).encode())\n",
    )
    plant(desk, tmp_path)
    done = desk.reenact("export", desk.run("pack.py"), "public.zip", "--public")
    assert done.status == 1, done
    assert "a.zip/inner.txt:2 (user name)" in done.err
    assert "b.gz (unpacked):1 (user name)" in done.err


def test_a_key_in_the_source_is_noticed_by_its_form(desk: Desk) -> None:
    desk.write("train.py", TRAIN + "\nkey = 'ghp_" + "a1B2" * 9 + "'\n")
    run = desk.run("train")
    done = desk.reenact("export", run, "public.zip", "--public", "--allow", "data/*")
    assert done.status == 1, done
    assert "(secret of a known form)" in done.err
    assert "train.py:" in done.err


def test_a_secret_in_a_bundle_that_is_not_public_is_warned_of(desk: Desk) -> None:
    desk.write(
        "leak.py", 'open("out.txt", "w").write("\\nkey=" + __import__("os").environ["THE_KEY"])\n'
    )
    desk.env["THE_KEY"] = "abcdef0123456"
    run = desk.run("leak.py")
    done = desk.reenact("export", run, "one.zip")
    assert done.status == 0
    assert "warning: value of THE_KEY in out.txt:2" in done.err
    assert "abcdef0123456" not in done.err


def test_passwords_that_were_hidden_before_are_not_warned_of(desk: Desk, tmp_path: Path) -> None:
    plant(desk, tmp_path)
    for name in ("WAREHOUSE_TOKEN", "MY_PASSWORD"):
        del desk.env[name]
    run = desk.run("train")
    done = desk.reenact("export", run, "one.zip")
    assert (done.status, "warning" in done.err) == (0, False), done


def test_the_name_of_the_machine_is_taken_out(desk: Desk, tmp_path: Path) -> None:
    words = ["unshare", "--uts", "--map-root-user", "sh", "-c"]
    if subprocess.run(
        [*words, "hostname secretbox77"], capture_output=True, check=False
    ).returncode:
        pytest.skip("this machine lets nobody name it otherwise")
    import sys

    desk.write("train.py", TRAIN + "import os\nprint('on', os.uname().nodename)\n")
    script = (
        f"hostname secretbox77 && {sys.executable} -m reenact run train -q && "
        f"{sys.executable} -m reenact export @latest public.zip --public --allow '*' "
        f"&& {sys.executable} -m reenact export @latest private.zip"
    )
    done = subprocess.run(
        [*words, script],
        cwd=desk.project,
        env={**os.environ, **desk.env},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done
    assert any(b"secretbox77" in data for _, data in every_byte(desk.project / "private.zip"))
    assert not any(b"secretbox77" in data for _, data in every_byte(desk.project / "public.zip"))


# --- research objects ---


def test_other_tools_read_what_a_bundle_is(desk: Desk, tmp_path: Path) -> None:
    from rocrate.rocrate import ROCrate

    run = desk.run("train", "lr=0.2")
    with zipfile.ZipFile(bundle(desk, run)) as archive:
        archive.extractall(tmp_path / "crate")
    crate = ROCrate(tmp_path / "crate")
    assert crate.root_dataset["conformsTo"].id == "https://w3id.org/ro/wfrun/process/0.5"
    action = crate.dereference(f"#run-{run}")
    assert action.type == "CreateAction"
    assert action["instrument"]["name"] in ("train", "train.py")
    assert action["actionStatus"] == "http://schema.org/CompletedActionStatus"
    assert [one.id for one in action["result"] if "File" in str(one.type)] == [
        f"runs/{run}/model.txt"
    ]
    flags = {one["name"]: one["value"] for one in action["object"] if one.type == "PropertyValue"}
    assert flags == {"lr": 0.2}
    assert "data/points.csv" in {one["name"] for one in action["object"]}
    graph = json.loads((tmp_path / "crate" / "ro-crate-metadata.json").read_text())["@graph"]
    known = {entity["@id"] for entity in graph}
    assert len(known) == len(graph)
    for entity in graph:
        for value in entity.values():
            listed = value if isinstance(value, list) else [value]
            named = {one["@id"] for one in listed if isinstance(one, dict)}
            assert named <= known | {"https://w3id.org/ro/crate/1.1"}, entity
    for part in crate.root_dataset["hasPart"]:
        assert (tmp_path / "crate" / part.id).is_file()


# --- what is wrong ---


def test_a_broken_bundle_is_called_broken_where_it_is_to_be_reproduced(
    desk: Desk, theirs: Desk
) -> None:
    path = bundle(desk, desk.run("train"))
    path.write_bytes(path.read_bytes()[:2000])
    for one in (desk, theirs):
        done = one.reenact("reproduce", str(path))
        assert (done.status, "is damaged" in done.err) == (1, True), done
    # A file of that name that a run has made is what it is.
    desk.write("zip.py", "import zipfile\nzipfile.ZipFile('out.zip', 'w').writestr('a', 'b')\n")
    run = desk.run("zip.py")
    assert desk.reenact("reproduce", str(desk.store / "runs" / run / "out.zip")).status == 0


def test_an_output_that_was_changed_since_is_told(desk: Desk) -> None:
    run = desk.run("train")
    output = desk.store / "runs" / run / "model.txt"
    output.write_bytes(bytes(reversed(output.read_bytes())))
    done = desk.reenact("export", run, "one.zip")
    assert (done.status, "warning: model.txt was changed since its run" in done.err) == (0, True)
    output.unlink()
    done = desk.reenact("export", run, "one.zip", "--force")
    assert (done.status, "it is not in the store any more" in done.err) == (0, True), done


def test_what_is_no_file_is_never_replaced(desk: Desk, tmp_path: Path) -> None:
    run = desk.run("train")
    os.mkfifo(tmp_path / "pipe.zip")
    done = desk.reenact("export", run, str(tmp_path / "pipe.zip"), "--force")
    assert (done.status, "no file" in done.err) == (2, True), done
    (tmp_path / "there.zip").write_bytes(b"former")
    (tmp_path / "link.zip").symlink_to("there.zip")
    desk.ok("export", run, str(tmp_path / "link.zip"), "--force")
    assert (tmp_path / "link.zip").is_symlink()
    assert zipfile.is_zipfile(tmp_path / "there.zip")


def test_what_a_store_has_lost_is_named(desk: Desk) -> None:
    run = desk.run("train")
    tree = desk.record(run)["source"]["tree"]
    blob = desk.store / "blobs" / tree[:2] / tree[2:]
    digest = next(one[3] for one in json.loads(blob.read_bytes())["files"] if one[0] == "train.py")
    content = desk.store / "blobs" / digest[:2] / digest[2:]
    content.chmod(0o644)
    content.write_bytes(content.read_bytes().replace(b"0.9", b"0.8"))
    done = desk.reenact("export", run, "one.zip")
    assert (done.status, "train.py is not what its digest says" in done.err) == (1, True), done
    content.unlink()
    done = desk.reenact("export", run, "one.zip")
    assert (done.status, "train.py is not in this store" in done.err) == (1, True), done
    assert not list(desk.project.glob("*one.zip*"))


def test_a_bundle_is_verified_without_a_store(desk: Desk, theirs: Desk) -> None:
    run = desk.run("train")
    path = bundle(desk, run)
    done = theirs.reenact("import", str(path), "--dry-run")
    assert (done.status, done.out.strip()) == (0, run), done
    assert "verified: " in done.err
    assert not theirs.store.exists()
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 1
    path.write_bytes(raw)
    done = theirs.reenact("import", str(path), "--dry-run")
    assert (done.status, "damaged" in done.err) == (1, True), done


def damaged(path: Path) -> Iterator[tuple[str, Path]]:
    raw = path.read_bytes()
    for name, data in {
        "empty": b"",
        "no archive": b"PK\x03\x04 nothing",
        "cut short": raw[: len(raw) // 2],
        "begins late": raw[200:],
    }.items():
        other = path.with_name(f"{name}.zip")
        other.write_bytes(data)
        yield name, other
    for at in range(100, len(raw), max(1, len(raw) // 23)):
        other = path.with_name(f"bit {at}.zip")
        other.write_bytes(raw[:at] + bytes([raw[at] ^ 0x10]) + raw[at + 1 :])
        yield f"a bit at {at}", other


def test_a_damaged_bundle_is_refused_and_nothing_is_left(desk: Desk, theirs: Desk) -> None:
    run = desk.run("train")
    path = bundle(desk, run)
    good = tree_of(desk.store / "runs" / run)
    refused = 0
    for name, other in damaged(path):
        done = theirs.reenact("import", str(other))
        if done.status == 0:
            # A bit that means nothing: the time in a header.
            assert tree_of(theirs.store / "runs" / run) == good, name
            assert theirs.reenact("fsck").status == 0, name
            shutil.rmtree(theirs.store)
            continue
        refused += 1
        assert done.status == 1, (name, done)
        assert done.complaint[0].startswith("error: "), (name, done)
        assert "Traceback" not in done.err
        assert leavings(theirs) == [], name
    assert refused > 15


def evil(members: dict[str, bytes], **entries: bytes) -> None:
    """Add entries to an archive and to its list, with digests that fit."""
    from blake3 import blake3

    listed = json.loads(members["bundle.json"])
    for name, data in entries.items():
        members[name] = data
        listed["files"].append([name, 0o644, len(data), blake3(data).hexdigest()])
    members["bundle.json"] = json.dumps(listed).encode()


@pytest.mark.parametrize(
    "name",
    [
        "../outside.txt", "/var/empty/outside.txt", "runs/../../outside", "runs/{run}/../../../outside",
        "blobs/../../outside", "blobs/ab/cd", "blobs/{other}", "config/x", "index.db/x",
        "runs/{run}/.reenact/lock", "runs/{run}/.reenact", "reproductions/x.json", "runs/x/y",
        "runs/{run}/a//b", "runs/{run}/\\x2e\\x2e/b", "cache/x",
    ],
)  # fmt: skip
def test_an_archive_that_leads_elsewhere_is_refused(desk: Desk, theirs: Desk, name: str) -> None:
    run = desk.run("train")
    name = name.format(run=run, other=f"ab/{'c' * 62}")
    other = rewrite(bundle(desk, run), lambda members: evil(members, **{name: b"evil"}))
    before = {*theirs.project.parent.rglob("*")}
    done = theirs.reenact("import", str(other))
    assert (done.status, "is refused" in done.err or "damaged" in done.err) == (1, True), done
    assert leavings(theirs) == []
    grown = {*theirs.project.parent.rglob("*")} - before
    assert not [one for one in grown if not one.is_relative_to(theirs.store)]
    assert not Path("/var/empty/outside.txt").exists()


@pytest.mark.parametrize("target", ["/etc", "../../..", "../../outside", "../other"])
def test_links_that_lead_out_are_refused(desk: Desk, theirs: Desk, target: str) -> None:
    run = desk.run("train")

    def change(members: dict[str, bytes]) -> None:
        listed = json.loads(members["bundle.json"])
        listed["links"] = [[f"runs/{run}/link", target]]
        members[f"runs/{run}/link"] = target.encode()
        members["bundle.json"] = json.dumps(listed).encode()

    done = theirs.reenact("import", str(rewrite(bundle(desk, run), change)))
    assert (done.status, "the link leads elsewhere" in done.err) == (1, True), done
    assert leavings(theirs) == []


def test_nothing_is_written_through_a_link(desk: Desk, theirs: Desk) -> None:
    run = desk.run("train")

    def change(members: dict[str, bytes]) -> None:
        evil(members, **{f"runs/{run}/link/x": b"evil"})
        listed = json.loads(members["bundle.json"])
        listed["links"] = [[f"runs/{run}/link", "."]]
        members[f"runs/{run}/link"] = b"."
        members["bundle.json"] = json.dumps(listed).encode()

    done = theirs.reenact("import", str(rewrite(bundle(desk, run), change)))
    assert (done.status, "through a link" in done.err) == (1, True), done
    assert leavings(theirs) == []


def test_source_that_leads_out_of_the_project_is_refused(desk: Desk, theirs: Desk) -> None:
    from blake3 import blake3

    run = desk.run("train")

    def change(members: dict[str, bytes]) -> None:
        record_name = f"runs/{run}/.reenact/run.json"
        record = json.loads(members[record_name])
        old = record["source"]["tree"]
        tree = json.loads(members.pop(f"blobs/{old[:2]}/{old[2:]}"))
        tree["files"][0][0] = "../../../.bashrc"
        data = json.dumps(tree).encode()
        new = blake3(data).hexdigest()
        record["source"]["tree"] = new
        members[record_name] = json.dumps(record).encode()
        listed = json.loads(members["bundle.json"])
        listed["files"] = [
            one for one in listed["files"] if old[2:] not in one[0] and one[0] != record_name
        ]
        members["bundle.json"] = json.dumps(listed).encode()
        evil(members, **{record_name: members[record_name], f"blobs/{new[:2]}/{new[2:]}": data})

    done = theirs.reenact("import", str(rewrite(bundle(desk, run), change)))
    assert (done.status, "leads out of it" in done.err) == (1, True), done
    assert leavings(theirs) == []


def test_records_that_are_nested_too_deeply_are_refused(desk: Desk, theirs: Desk) -> None:
    run = desk.run("train")
    deep = b'{"format": 1, "flags": ' + b"[" * 100_000
    name = f"runs/{run}/.reenact/run.json"

    def change(members: dict[str, bytes]) -> None:
        listed = json.loads(members["bundle.json"])
        listed["files"] = [one for one in listed["files"] if one[0] != name]
        members["bundle.json"] = json.dumps(listed).encode()
        evil(members, **{name: deep})

    path = bundle(desk, run)
    for other in (
        rewrite(path, lambda members: members.update({"bundle.json": deep})),
        rewrite(path, change),
    ):
        done = theirs.reenact("import", str(other))
        assert (done.status, done.complaint[0].startswith("error: ")) == (1, True), done
        assert leavings(theirs) == []


def test_a_bomb_is_refused_before_it_is_unpacked(desk: Desk, theirs: Desk) -> None:
    run = desk.run("train")
    path = bundle(desk, run)
    other = path.with_name("bomb.zip")
    size = (1 << 30) + (1 << 24)
    with (
        zipfile.ZipFile(path) as archive,
        zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for info in archive.infolist():
            if info.filename != "bundle.json":
                bomb.writestr(info.filename, archive.read(info))
        listed = manifest(path)
        listed["files"].append([f"runs/{run}/zeros", 0o644, size, "0" * 64])
        with bomb.open(f"runs/{run}/zeros", "w", force_zip64=True) as file:
            zeros = bytes(1 << 24)
            for _ in range(size >> 24):
                file.write(zeros)
        bomb.writestr("bundle.json", json.dumps(listed))
    done = theirs.reenact("import", str(other))
    assert (done.status, "would become" in done.err) == (1, True), done
    assert leavings(theirs) == []


def test_a_later_format_is_refused_politely(desk: Desk, theirs: Desk) -> None:
    def change(members: dict[str, bytes]) -> None:
        members["bundle.json"] = json.dumps(
            {**json.loads(members["bundle.json"]), "format": 2}
        ).encode()

    done = theirs.reenact("import", str(rewrite(bundle(desk, desk.run("train")), change)), "--json")
    assert (done.status, json.loads(done.err)["error"]["code"]) == (1, "too-new"), done


def test_a_run_that_is_there_is_left_or_refused(desk: Desk, theirs: Desk) -> None:
    run = desk.run("train")
    path = bundle(desk, run)
    theirs.ok("import", str(path))
    theirs.ok("label", run, "--set", "mine")
    said = theirs.json("import", str(path))
    assert (said["new"], said["known"]) == ([], [run])
    assert theirs.json("show", run)["notes"]["label"] == "mine"
    record = theirs.file(run, "run.json")
    record.write_text(record.read_text().replace('"lr": 0.1', '"lr": 0.9'))
    done = theirs.reenact("import", str(path))
    assert (done.status, "its record is another one" in done.err) == (1, True), done
    theirs.ok("rm", run, "-y")
    done = theirs.reenact("import", str(path))
    assert (done.status, "in the trash" in done.err) == (1, True), done


def test_a_file_that_is_there_is_not_replaced_unasked(desk: Desk) -> None:
    run = desk.run("train")
    desk.write("one.zip", "mine")
    done = desk.reenact("export", run, "one.zip")
    assert (done.status, "--force" in done.err) == (2, True), done
    assert (desk.project / "one.zip").read_text() == "mine"
    desk.ok("export", run, "one.zip", "--force")
    assert zipfile.is_zipfile(desk.project / "one.zip")
    done = desk.reenact("export", run, "nowhere/one.zip")
    assert done.status == 2, done


def test_a_full_disk_leaves_no_half_of_a_bundle(desk: Desk) -> None:
    run = desk.run("train")
    done = desk.reenact("export", run, "/dev/full/one.zip")
    assert done.status == 2, done
    desk.write("big.py", "open('big.bin', 'wb').write(__import__('os').urandom(1 << 20))\n")
    big = desk.run("big.py")
    import resource

    done = desk.reenact(
        "export", big, "one.zip",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, 1 << 19)),
    )  # fmt: skip
    assert done.status == 1, done
    assert "cannot write `one.zip`" in done.err
    assert not list(desk.project.glob("*one.zip*"))
    assert not list(desk.project.glob(".one*"))


def test_what_runs_is_not_exported(desk: Desk) -> None:
    desk.write("slow.py", "print('on', flush=True)\nimport time\ntime.sleep(600)\n")
    with desk.start("run", "slow.py") as process:
        wait_until(
            lambda: desk.ids() and desk.file(desk.ids()[0], "output").exists(), what="it runs"
        )
        done = desk.reenact("export", desk.ids()[0], "one.zip")
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert (done.status, "only what has ended" in done.err) == (2, True), done
    assert desk.reenact("export", desk.ids()[0], "one.zip").status == 0


# --- killed, and two at once ---


def large(desk: Desk) -> str:
    desk.write(
        "large.py",
        "import os\nfor n in range(24):\n    open(f'{n}.bin', 'wb').write(os.urandom(1 << 23))\n",
    )
    return desk.run("large.py")


@pytest.mark.parametrize("after_s", [0.25, 0.45, 0.7])
def test_killed_exports_and_imports_leave_nothing_that_counts(
    desk: Desk, theirs: Desk, after_s: float
) -> None:
    run = large(desk)
    with desk.start("export", run, "one.zip") as process:
        time.sleep(after_s)
        process.kill()
    names = [path.name for path in desk.project.iterdir() if "one.zip" in path.name]
    assert names in ([], ["one.zip"])
    path = bundle(desk, run)
    with theirs.start("import", str(path)) as process:
        time.sleep(after_s)
        process.kill()
    if theirs.ids():
        assert tree_of(theirs.store / "runs" / run) == tree_of(desk.store / "runs" / run)
    theirs.ok("import", str(path))
    assert tree_of(theirs.store / "runs" / run) == tree_of(desk.store / "runs" / run)
    assert not list(theirs.store.glob("import.*.tmp"))
    assert theirs.reenact("fsck").status == 0


def test_two_imports_at_once_end_in_one_run(desk: Desk, theirs: Desk) -> None:
    run = large(desk)
    path = str(bundle(desk, run))
    processes = [theirs.start("import", path, "--json") for _ in range(3)]
    results = []
    for process in processes:
        out, err = process.communicate()
        assert process.returncode == 0, err
        results.append(json.loads(out))
    assert theirs.ids() == [run]
    assert max(len(one["new"]) for one in results) == 1
    assert theirs.reenact("fsck").status == 0


def test_ten_thousand_files_go_through(desk: Desk, theirs: Desk) -> None:
    desk.write(
        "many.py",
        "import os\nfor n in range(10_000):\n    os.makedirs(f'd{n // 100}', exist_ok=True)\n"
        "    open(f'd{n // 100}/{n}.txt', 'w').write(str(n))\n",
    )
    run = desk.run("many.py")
    path = bundle(desk, run)
    theirs.ok("import", str(path))
    assert len(tree_of(theirs.store / "runs" / run)) == 10_000


def test_a_dry_run_writes_nothing_and_says_what_would_be_there(desk: Desk) -> None:
    run = desk.run("train")
    done = desk.reenact("export", run, "one.zip", "--dry-run")
    assert (done.status, "1 run" in done.err) == (0, True), done
    assert not (desk.project / "one.zip").exists()


def test_a_bundle_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = Desk(tmp_path).reenact("reproduce", "nosuch.zip")
    assert (done.status, "there is no file `nosuch.zip`" in done.err) == (1, True), done
