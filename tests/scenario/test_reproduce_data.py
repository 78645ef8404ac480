"""What a run was made from comes back in its reproduction, wherever it has gone; and nothing is changed there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from commands import Desk
from reenact.actions.context import Context
from reenact.actions.upkeep import collect_garbage
from reenact.execute.data_sets import MANY


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory outside the project, where files stay."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    return tmp_path / "outside"


def reproduce(desk: Desk, *words: str, **options: Any) -> tuple[int, dict[str, Any]]:
    """Reproduce one run; return exit status and record."""
    done = desk.reenact("reproduce", *words, "--env", "current", "--json", **options)
    assert done.out, done
    found = json.loads(done.out)["reproductions"]
    assert len(found) == 1, done
    return done.status, found[0]


def assert_identical(desk: Desk, *words: str, **options: Any) -> dict[str, Any]:
    """Reproduce one run, to the last bit; return the record of the new run."""
    status, found = reproduce(desk, *words, **options)
    assert (status, found["verdict"]) == (0, "identical"), found
    assert not found.get("causes"), found
    return desk.record(found["runs"][0])


# --- modules from outside the project ---

WAYS = """
import importlib.util, os, runpy, sys

lib = os.environ["LIB"]
sys.path.insert(0, lib)
import helper
import package
import portion.named

spec = importlib.util.spec_from_file_location("given", lib + "/given.py")
given = importlib.util.module_from_spec(spec)
spec.loader.exec_module(given)
names = {}
exec(open(lib + "/executed.py").read(), names)
values = [
    helper.X, helper.NEAR, package.X, portion.named.X, given.X,
    runpy.run_path(lib + "/run.py")["X"], names["X"],
]
print("loss:", sum(values))
"""
MODULES = {
    "lib/helper.py": "import os\nNEAR = len(open(os.path.dirname(__file__) + '/near.txt').read())\nX = 1\n",
    "lib/package/__init__.py": "from .inner import X\n",
    "lib/package/inner.py": "X = 20\n",
    "lib/given.py": "X = 300\n",
    "lib/run.py": "X = 4000\n",
    "lib/executed.py": "X = 50000\n",
    "path/portion/named.py": "X = 600000\n",
}


@pytest.fixture
def modules(desk: Desk, outside: Path) -> Path:
    for name, content in MODULES.items():
        path = outside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (outside / "lib/near.txt").write_text("1234567")
    desk.write("train.py", WAYS)
    return outside


def run_with_modules(desk: Desk, outside: Path, *words: str) -> str:
    lib = f"LIB={outside / 'lib'}"
    return desk.run("train.py", "-e", lib, *words, env={"PYTHONPATH": str(outside / "path")})


@pytest.mark.parametrize("trace", ["preload", "audit"])
def test_modules_from_outside_are_source_however_they_are_loaded(
    desk: Desk, modules: Path, trace: str
) -> None:
    record = desk.record(run_with_modules(desk, modules, "--trace-files", trace))

    source = {file["path"] for file in record["inputs"] if file.get("role") == "source"}
    assert source == {str(modules / name) for name in MODULES}
    others = [file["path"] for file in record["inputs"] if file.get("role") != "source"]
    assert others == [str(modules / "lib/near.txt")]


def test_modules_that_are_as_they_were_are_found_without_the_variables_of_then(
    desk: Desk, modules: Path
) -> None:
    first = run_with_modules(desk, modules)

    again = assert_identical(desk, first)

    assert "PYTHONPATH" not in again["variables"]  # It is what the user had set then, not now.


def test_modules_that_have_changed_are_imported_as_they_were(desk: Desk, modules: Path) -> None:
    first = run_with_modules(desk, modules)
    for name, content in MODULES.items():
        (modules / name).write_text(content.replace("X = ", "X = 7"))

    again = assert_identical(desk, first)

    before = {file["path"]: file["digest"] for file in desk.record(first)["inputs"]}
    assert {file["path"]: file["digest"] for file in again["inputs"]} == before
    assert (modules / "lib/helper.py").read_text().endswith("X = 71\n")


def test_modules_that_are_gone_are_imported_all_the_same(desk: Desk, modules: Path) -> None:
    first = run_with_modules(desk, modules)
    near = modules.parent / "near"
    near.mkdir()
    shutil.copy(modules / "lib/near.txt", near)
    for name in MODULES:
        (modules / name).unlink()
    shutil.rmtree(modules / "path")

    assert_identical(desk, first)


def test_the_line_that_differs_in_a_module_from_outside_is_named(desk: Desk, modules: Path) -> None:
    first = run_with_modules(desk, modules, "--seed", "1")
    helper = modules / "lib/helper.py"
    helper.write_text(helper.read_text().replace("X = 1\n", "X = 2\n"))
    second = run_with_modules(desk, modules, "--seed", "1")

    done = desk.reenact("judge", first, second, "--json")

    causes = json.loads(done.out)["reproductions"][0]["causes"]
    assert [(cause["kind"], cause["what"]) for cause in causes] == [("source", str(helper))]
    assert "first at line 3" in causes[0]["detail"]
    assert "-X = 1\n+X = 2\n" in desk.reenact("diff", first, second, "--source").out


def test_many_files_of_code_that_nobody_imports_are_data(desk: Desk, outside: Path) -> None:
    (outside / "corpus").mkdir(parents=True)
    for number in range(MANY + 1):
        (outside / f"corpus/{number}.py").write_text(f"x = {number}\n")
    script = f"import glob\nprint('files:', sum(1 for f in glob.glob({str(outside)!r} + '/corpus/*.py') if open(f).read()))\n"
    desk.write("train.py", script)

    record = desk.record(desk.run("train.py"))

    assert [(file["path"], file["files"]) for file in record["inputs"]] == [
        (str(outside / "corpus"), MANY + 1)
    ]


# --- data that is kept ---

READ_ALL = """
import os
names = sorted(os.listdir("data"))
print("files:", len(names))
print("sum:", sum(int(open("data/" + name).read()) for name in names))
"""


@pytest.fixture
def many(desk: Desk) -> Desk:
    for number in range(MANY + 20):
        desk.write(f"data/{number}.dat", str(number))
    desk.write("train.py", READ_ALL)
    return desk


def blobs_of(desk: Desk) -> set[str]:
    return {path.parent.name + path.name for path in (desk.store / "blobs").glob("??/*")}


def test_a_small_data_set_is_kept_and_comes_back_without_its_project(
    many: Desk, tmp_path: Path
) -> None:
    first = many.run("train.py")
    (data_set,) = many.record(first)["inputs"]
    assert (data_set["path"], data_set["files"], data_set["is_kept"]) == ("data", MANY + 20, True)
    shutil.rmtree(many.project)
    (tmp_path / "empty").mkdir()

    many.ok("gc", cwd=tmp_path / "empty")
    assert_identical(many, first, cwd=tmp_path / "empty")


def test_of_a_kept_data_set_only_what_has_changed_comes_from_the_store(many: Desk) -> None:
    first = many.run("train.py")
    changed, gone = many.project / "data/7.dat", many.project / "data/8.dat"
    changed.write_text("9")
    gone.unlink()

    assert_identical(many, first)

    assert changed.read_text() == "9"
    assert not gone.exists()


def test_what_was_added_to_a_data_set_is_kept_from_the_run(many: Desk) -> None:
    first = many.run("train.py")
    many.write("data/1000.dat", "1000")
    (many.project / "data/8.dat").unlink()

    assert_identical(many, first)

    assert (many.project / "data/1000.dat").exists()
    done = many.reenact("reproduce", first, "--env", "current", "--changed-data")
    assert "differs" in done.out


def test_a_kept_data_set_is_restored_with_the_source(many: Desk, tmp_path: Path) -> None:
    first = many.run("train.py")
    shutil.rmtree(many.project)
    (tmp_path / "empty").mkdir()

    many.ok("restore", first, "--to", str(tmp_path / "there"), cwd=tmp_path / "empty")

    found = {path.name: path.read_text() for path in (tmp_path / "there/data").iterdir()}
    assert found == {f"{number}.dat": str(number) for number in range(MANY + 20)}
    assert (tmp_path / "there/train.py").read_text() == READ_ALL


def test_copies_for_a_reproduction_are_freed_when_nobody_needs_them(
    many: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = many.run("train.py")
    (many.project / "data/7.dat").unlink()
    assert_identical(many, first)
    (copy,) = (many.store / "cache/inputs").iterdir()

    many.ok("gc")
    assert copy.exists()
    monkeypatch.setattr("reenact.actions.upkeep._COPY_AGE_S", -10.0)
    collect_garbage(Context(store=str(many.store)))

    assert not copy.exists()
    assert_identical(many, first)


def test_what_is_kept_is_freed_with_the_last_run(many: Desk) -> None:
    before = blobs_of(many)
    first = many.run("train.py")
    assert len(blobs_of(many) - before) > MANY
    many.ok("rm", first, "--yes")
    many.ok("gc")
    assert len(blobs_of(many) - before) > MANY

    many.ok("purge", first, "--yes")
    many.ok("gc")

    assert len(blobs_of(many)) < MANY


def test_a_kept_file_that_is_lost_is_missed(many: Desk) -> None:
    many.run("train.py")
    many.ok("fsck")
    (lost,) = [p for p in (many.store / "blobs").glob("??/*") if p.read_bytes() == b"100"]
    lost.unlink()

    done = many.reenact("fsck")

    assert done.status != 0
    assert "blob-missing" in done.out


def test_nothing_is_kept_where_nobody_wants_it(many: Desk) -> None:
    first = many.run("train.py", "--keep-data", "none")
    record = many.record(first)
    assert record["keep_data"] == "none"
    assert not any(file.get("is_kept") for file in record["inputs"])
    shutil.rmtree(many.project / "data")

    done = many.reenact("reproduce", first, "--env", "current")

    assert done.status == 1
    assert "data is gone" in done.err


def test_everything_is_kept_where_somebody_wants_it(desk: Desk, outside: Path) -> None:
    outside.mkdir()
    (outside / "large.bin").write_bytes(os.urandom(3 << 20))
    desk.write("own.bin", os.urandom(3 << 20))
    desk.write(
        "train.py",
        "import argparse\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.add_argument('--data')\n"
        "path = parser.parse_args().data\n"
        "print('sum:', sum(open(path, 'rb').read()) + sum(open('own.bin', 'rb').read()))\n",
    )
    first = desk.run("train.py", f"data={outside / 'large.bin'}", env={"REENACT_KEEP_DATA": "all"})
    assert [file["is_kept"] for file in desk.record(first)["inputs"]] == [True, True]
    shutil.rmtree(outside)
    (desk.project / "own.bin").unlink()
    desk.ok("gc")

    status, found = reproduce(desk, first)

    assert (status, found["verdict"]) == (0, "identical"), found
    again = desk.run("train.py", "--like", first, "--keep-data", "small")
    assert "keep_data" not in desk.record(again)


def test_a_directory_that_is_required_is_kept(desk: Desk, outside: Path) -> None:
    (outside / "table").mkdir(parents=True)
    for number in range(3):
        (outside / f"table/{number}.dat").write_text(str(number))
    desk.write("train.py", READ_ALL)
    desk.write(
        "reenact.yml",
        f"train:\n  main: train\n  requires:\n    - file: {outside / 'table'}\n      target-path: data\n      target-type: copy\n",
    )
    first = desk.run("train")
    kept = [file for file in desk.record(first)["inputs"] if file.get("is_kept")]
    assert kept, desk.record(first)
    shutil.rmtree(outside)

    assert_identical(desk, first)


def test_a_run_like_another_one_keeps_as_much_and_has_its_gpus(desk: Desk) -> None:
    desk.write(
        "train.py", "import os\nprint('gpus', repr(os.environ.get('CUDA_VISIBLE_DEVICES')))\n"
    )
    first = desk.run("train.py", "--gpus", "none", "--keep-data", "all")
    assert desk.record(first)["gpus"] == ""

    status, found = reproduce(desk, first)
    like = desk.record(desk.run("--like", first))
    other = desk.record(desk.run("--like", first, "--gpus", "1"))
    desk.ok("run", "--restart", first)

    again = desk.record(first)
    assert [(r["gpus"], r["keep_data"]) for r in (like, again)] == [("", "all")] * 2
    assert again["restarts"] == 1
    assert other["gpus"] == "1"
    assert (status, found["verdict"]) == (0, "identical"), found
    assert desk.record(found["runs"][0])["gpus"] == ""


def test_gpus_of_another_machine_are_not_asked_for(desk: Desk) -> None:
    desk.write("train.py", "print('loss: 1')\n")
    first = desk.run("train.py", "--gpus", "6,7")

    _, found = reproduce(desk, first)

    assert "gpus" not in desk.record(found["runs"][0])


# --- what is lost ---


def edit_record(desk: Desk, run: str, **changes: Any) -> None:
    path = desk.file(run, "run.json")
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))
    (desk.store / "index.db").unlink(missing_ok=True)


def test_source_that_the_store_has_lost_is_put_back_from_the_project(desk: Desk) -> None:
    desk.write("module.py", "x = 12345\n")
    desk.write("train.py", "import module\nprint('loss:', module.x)\n")
    first = desk.run("train.py")
    (blob,) = [p for p in (desk.store / "blobs").glob("??/*") if p.read_bytes() == b"x = 12345\n"]
    blob.unlink()
    (desk.project / "module.py").rename(desk.project / "elsewhere.py")
    before = desk.ids()

    done = desk.reenact("reproduce", first, "--env", "current")

    assert (done.status, desk.ids()) == (1, before)
    assert f"source of run {first[:8]} is lost: module.py" in done.err
    (desk.project / "elsewhere.py").rename(desk.project / "module.py")
    assert_identical(desk, first)


def test_a_record_of_a_later_version_says_what_to_install(desk: Desk) -> None:
    desk.write("train.py", "print('loss: 1')\n")
    first = desk.run("train.py")
    edit_record(desk, first, format=99)

    done = desk.reenact("reproduce", first)

    assert done.status == 1
    assert "has format 99" in done.err
    assert "install the version of Reenact that wrote it" in done.err


def test_a_machine_with_less_memory_is_warned_of(desk: Desk) -> None:
    desk.write("train.py", "print('loss: 1')\n")
    first = desk.run("train.py")
    usage = {**desk.record(first).get("usage", {}), "max_memory_bytes": 9 * 10**13}
    edit_record(desk, first, usage=usage)

    done = desk.reenact("reproduce", first, "--env", "current")

    assert done.status == 0, done
    warning, start = done.err.index("the run needed 90000.0 GB"), done.err.index("run:")
    assert warning < start


# --- which run is meant ---


def test_the_name_of_a_script_means_its_latest_result(desk: Desk) -> None:
    desk.write("code/train.py", "import sys\nlr = 1\nprint('loss:', lr)\nsys.exit(lr == 3)\n")
    desk.write("reenact.yml", "fit: {main: code/train}\n")
    first = desk.run("code/train.py", "lr=2")
    desk.run("code/train.py", "lr=3")
    fitted = desk.run("fit")

    for words, options in [
        (["code/train.py"], {}),
        (["train.py"], {"cwd": desk.project / "code"}),
        ([str(desk.project / "code/train.py")], {}),
    ]:
        done = desk.reenact("reproduce", *words, "--env", "current", **options)
        assert done.status == 0, done
        assert f"the latest completed run of code/train.py is {first[:8]}" in done.err
    done = desk.reenact("reproduce", "fit", "--env", "current")
    assert f"the latest completed run of fit is {fitted[:8]}" in done.err
    assert desk.reenact("reproduce", "nothing").status == 1


def test_an_operation_that_never_completed_has_no_result(desk: Desk) -> None:
    desk.write("train.py", "raise SystemExit(3)\n")
    desk.run("train.py")

    done = desk.reenact("reproduce", "train.py")

    assert done.status == 1
    assert "no run of `train.py` has completed" in done.err


# --- nothing is changed ---

WRITERS = {
    "write": "open('data/rows.csv', 'w').write('x')\nopen('data/new.csv', 'w').write('y')",
    "append": "open('data/rows.csv', 'a').write('x')",
    "delete": "import os\nos.remove('data/rows.csv')",
    "remove all": "import shutil\nshutil.rmtree('data')",
    "mode and time": "import os\nos.chmod('data/rows.csv', 0o600)\nos.utime('data/rows.csv')",
    "rename": "import os\nos.rename('data/rows.csv', 'data/other.csv')\nos.mkdir('data/sub')",
    "bytecode": "import module, package.inner, linked.extern",
    "database": "import sqlite3\nc = sqlite3.connect('data/rows.sqlite')\n"
    "c.execute('create table if not exists t(a)')\nc.commit()\nc.close()",
    "shell": "import os\nos.system('echo 1 >> data/rows.csv; rm data/other.csv; echo 2 > data/last.csv;"
    "touch notes.dat; mkdir data/sub; echo 1 > data/sub/x')",
    "no probe": "import os, subprocess, sys\n"
    "code = 'import sys; sys.path.insert(0, \".\"); import module, package.inner'\n"
    "env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}\n"
    "subprocess.run([sys.executable, '-S', '-c', code], check=True, env=env)",
}


def fingerprint(directory: Path) -> dict[str, tuple[object, ...]]:
    """Return all that is to be known of everything in a directory, but for times of reading."""
    found: dict[str, tuple[object, ...]] = {}
    for at, directories, files in os.walk(directory):
        for name in ("", *directories, *files):
            path = os.path.join(at, name)
            status = os.lstat(path)
            content: object = None
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                content = Path(path).read_bytes()
            facts = (status.st_mode, status.st_mtime_ns, status.st_ino, content)
            found[os.path.relpath(path, directory)] = facts
    return found


@pytest.mark.parametrize("name", WRITERS)
def test_a_reproduction_changes_nothing_in_the_project(
    desk: Desk, outside: Path, name: str
) -> None:
    def fill() -> None:
        shutil.rmtree(desk.project)
        shutil.rmtree(outside, ignore_errors=True)
        desk.project.mkdir()
        (outside / "linked").mkdir(parents=True)
        (outside / "linked/extern.py").write_text("x = 3\n")
        desk.write("train.py", f"{WRITERS[name]}\nprint('loss: 1')\n")
        desk.write("module.py", "x = 1\n")
        desk.write("package/__init__.py")
        desk.write("package/inner.py", "x = 2\n")
        for file in ("rows.csv", "other.csv", "last.csv"):
            desk.write(f"data/{file}", "1,2\n" * 5)
        desk.write("data/rows.sqlite")
        desk.write("notes.dat", "n")
        (desk.project / "linked").symlink_to(outside / "linked")

    fill()
    first = desk.run("train.py")
    fill()
    before = fingerprint(desk.project), fingerprint(outside)

    status, found = reproduce(desk, first, "--changed-data")

    assert status == 0, found
    assert (fingerprint(desk.project), fingerprint(outside)) == before


def test_bytecode_that_is_there_is_used(desk: Desk) -> None:
    desk.write("module.py", "x = 1\n")
    desk.write("train.py", "import module\nprint('loss: 1')\nprint(module.__cached__)\n")
    first = desk.run("train.py")
    (compiled,) = (desk.project / "__pycache__").iterdir()

    again = assert_identical_but_for_words(desk, first)

    assert not again.get("outputs")
    assert compiled.exists()


def assert_identical_but_for_words(desk: Desk, run: str) -> dict[str, Any]:
    """Reproduce a run that prints where it is; return the record of the new run."""
    status, found = reproduce(desk, run)
    assert status == 0, found
    return desk.record(found["runs"][0])


def test_bytecode_of_what_is_linked_from_outside_is_no_output(desk: Desk, outside: Path) -> None:
    (outside / "linked").mkdir(parents=True)
    (outside / "linked/extern.py").write_text("x = 3\n")
    (desk.project / "linked").symlink_to(outside / "linked")
    desk.write("train.py", "import linked.extern\nprint('loss: 1')\n")

    record = desk.record(desk.run("train.py"))

    assert not record.get("outputs")


# --- verification of much data ---


def test_a_verification_that_is_killed_has_not_read_in_vain(desk: Desk, tmp_path: Path) -> None:
    """What was read of several gigabytes when the process is killed is not read again."""
    code = f"""
import os, signal, sys
from reenact.store.digests import Digests

digests = Digests({str(tmp_path / "digests.db")!r})
for name in sys.argv[1:]:
    digests.digest(name, os.stat(name))
os.kill(os.getpid(), signal.SIGKILL)
"""
    paths = [tmp_path / f"{number}.bin" for number in range(3)]
    for path in paths:
        with path.open("wb") as file:
            file.truncate(600 << 20)
        os.utime(path, (1, 1))
    subprocess.run([sys.executable, "-c", code, *paths], check=False, timeout=180)
    from reenact.store.digests import Digests

    with Digests(str(tmp_path / "digests.db")) as digests:
        found = [digests.digest(str(path), path.stat()) for path in paths]

    assert [is_read for _, is_read in found] == [False, False, True]
    assert len({digest for digest, _ in found}) == 1
