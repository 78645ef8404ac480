"""What a user gets for what cannot be: one line that names the thing, and the way out."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import reenact
from commands import Desk, Done, tree_of, wait_until
from refusals import (
    as_ordinary_user,
    needs_refusals,
    without_hard_links,
    without_links,
    without_locks,
)

ARGPARSE = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float, default=0.1)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--optimizer", choices=["sgd", "adam"], default="sgd")
print(parser.parse_args())
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.write("train.py", "lr = 0.1\nprint('loss:', lr)\nopen('out.txt', 'w').write('x')")
    return desk


def refused(done: Done, status: int, error: str, hint: str | None) -> None:
    """Compare exit status and both lines; nothing may go to standard output."""
    expected = [f"error: {error}"] + ([f"hint: {hint}"] if hint else [])
    assert (done.status, done.out, done.complaint) == (status, "", expected)


class TestScript:
    @pytest.mark.parametrize(
        ("words", "status", "error", "hint"),
        [
            (["trian.py"], 125, "there is no script `trian.py`", "did you mean `train.py`?"),
            (["no/where.py"], 125, "there is no script `no/where.py`", "there is no directory `no`"),
            (["folder"], 125, "`folder` is a directory without a `__main__.py`",
             "name the script to run, or use `-m` for a module"),
            (["table.csv"], 125, "it is not clear how to run `table.csv`",
             "write the command out: `reenact run -- PROGRAM table.csv`"),
            (["--", "no-such-program", "x"], 125, "there is no program `no-such-program`",
             "is it installed, and on PATH in this shell?"),
            (["--", "./table.csv"], 125, "`./table.csv` may not be executed",
             "try `chmod +x ./table.csv`"),
            (["--"], 2, "there is no command after `--`", "e.g. `-- Rscript train.R`"),
            ([], 2, "nothing to run", "name a script: `reenact run train.py lr=0.1`"),
            (["train.py", "--cwd", "nowhere"], 125,
             "the working directory `nowhere` does not exist", None),
            (["train.py", "--python", "no-python"], 125, "there is no interpreter `no-python`", None),
            (["train.py", "other.py"], 2, "`other.py` is neither a flag nor an option",
             "a flag is set with `name=value`; any other command stands after `--`"),
            (["train.py", "--stop-after", "soon"], 2, "`--stop-after soon` is no time",
             "e.g. `90s`, `30m`, `2h`"),
            (["train.py", "--stop-after", "0"], 2, "`--stop-after 0` is no time",
             "e.g. `90s`, `30m`, `2h`"),
            (["train.py", "--stop-after", "-5s"], 2, "`--stop-after -5s` is no time",
             "e.g. `90s`, `30m`, `2h`"),
            (["train.py", "--env", "NAME"], 2, "`--env NAME` sets nothing",
             "write `--env NAME=VALUE`"),
            (["train.py", "--env", "=x"], 2, "`` is no name of an environment variable", None),
            (["train.py", "--run-id", "1"], 2, "`1` is no run id",
             "a run id is 32 hexadecimal digits"),
            (["train.py", "--like", "nothing"], None, "there is no ", None),
            (["train.py", "--frobnicate"], 2, None, None),
        ],
    )  # fmt: skip
    def test_what_cannot_run_is_refused_and_leaves_nothing(
        self, desk: Desk, words: list[str], status: int | None, error: str | None, hint: str | None
    ) -> None:
        desk.write("table.csv", "1,2")
        desk.write("folder/x.txt")

        done = desk.reenact("run", *words)

        assert done.out == ""
        assert done.complaint[0].startswith(f"error: {error}" if error else "error: ")
        assert hint is None or done.complaint[1:] == [f"hint: {hint}"]
        assert done.status == status if status is not None else done.status in (1, 125)
        assert desk.ids() == []
        assert not list(desk.store.glob("runs/*"))

    def test_with_json_the_error_is_json(self, desk: Desk) -> None:
        done = desk.reenact("run", "trian.py", "--json")

        assert json.loads(done.err) == {
            "ok": False,
            "error": {
                "code": "cannot-run",
                "message": "there is no script `trian.py`",
                "hint": "did you mean `train.py`?",
            },
        }

    def test_one_that_cannot_be_read(self, desk: Desk) -> None:
        (desk.project / "train.py").chmod(0)

        done = desk.reenact("run", "train.py", preexec_fn=as_ordinary_user)

        refused(done, 125, "the script `train.py` cannot be read", "try `chmod u+r train.py`")

    def test_a_syntax_error_runs_and_fails_as_under_plain_python(self, desk: Desk) -> None:
        desk.write("train.py", "lr = 0.1\nprint('first'\nlr = = 2\n")
        plain = subprocess.run(
            [sys.executable, "train.py"],
            cwd=desk.project,
            capture_output=True,
            text=True,
            check=False,
        )

        done = desk.reenact("run", "train.py")

        (run_id,) = desk.ids()
        here = str(desk.store / "runs" / run_id)
        assert done.err.replace(here, str(desk.project)) == plain.stderr
        assert (done.status, done.out) == (plain.returncode, plain.stdout) == (1, "")
        assert desk.status(run_id) == "failed"

    @pytest.mark.parametrize("content", [b"\0", b"x = '\xff'", b"\xff\xfe", b"", b"\x80abc"])
    def test_a_file_that_is_no_source_runs_as_under_plain_python(
        self, desk: Desk, content: bytes
    ) -> None:
        desk.write("train.py", content)
        plain = subprocess.run(
            [sys.executable, "train.py"], cwd=desk.project, capture_output=True, check=False
        )

        assert desk.reenact("run", "train.py").status == plain.returncode

    def test_its_name_may_be_anything(self, desk: Desk) -> None:
        for name in (
            b"my script.py",
            b"two\nlines.py",
            b"caf\xe9.py",
            b"--help.py",
            "日本.py".encode(),
        ):
            desk.write(os.fsdecode(name), "print('it ran')")

            done = desk.reenact("run", b"./" + name)

            assert (done.status, done.out) == (0, "it ran\n"), done
        assert len(desk.json("runs")["runs"]) == 5
        for run_id in desk.ids():
            assert desk.reenact("show", run_id).status == 0
            assert desk.reenact("ls", run_id, "--all").status == 0
        assert desk.ok("runs").count("\n") == 5
        assert desk.reenact("fsck").status == 0

    def test_so_may_the_names_of_its_outputs_and_inputs(self, desk: Desk) -> None:
        names = [b"a b.csv", b"two\nlines.csv", b"caf\xe9.csv", b"back\\slash.csv"]
        for name in names:
            desk.write(os.fsdecode(name), "1,2")
        desk.write(
            "train.py",
            f"for name in {names!r}:\n    open(b'out ' + name, 'wb').write(open(name, 'rb').read())",
        )

        run_id = desk.run("train.py")

        spelled = ["a b.csv", "back\\\\slash.csv", "caf\\xe9.csv", "two\nlines.csv"]
        record = desk.record(run_id)
        assert [output["path"] for output in record["outputs"]] == [f"out {s}" for s in spelled]
        assert [one["path"] for one in record["inputs"]] == spelled
        for name in names:
            assert desk.ok("cat", run_id, b"out " + name) == "1,2"
            path = desk.ok("path", run_id, b"out " + name)
            assert os.path.exists(path[:-1])
        assert desk.reenact("fsck").status == 0

    def test_so_may_the_name_of_the_project(self, tmp_path: Path) -> None:
        root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \n"))
        root.mkdir()
        desk = Desk(root)
        desk.write("train.py", "print('loss: 1')")

        run_id = desk.run("train.py")

        assert desk.status(run_id) == "completed"
        for words in (["runs"], ["show"], ["ls", "--all"], ["fsck"], ["diff", run_id, run_id]):
            assert desk.reenact(*words).status == 0, words

    def test_its_output_may_be_any_bytes(self, desk: Desk) -> None:
        desk.write("train.py", "import sys\nsys.stdout.buffer.write(bytes(range(256)) * 10)")

        run_id = desk.run("train.py")

        assert desk.file(run_id, "output").read_bytes() == bytes(range(256)) * 10
        assert desk.reenact("log", run_id).status == 0


class TestFlags:
    @pytest.fixture(autouse=True)
    def _script(self, desk: Desk) -> None:
        desk.write("train.py", ARGPARSE)

    @pytest.mark.parametrize(
        ("setting", "error", "hint"),
        [
            ("epoch=3", "flag `epoch`", "epochs"),
            ("zzz=3", "flag `zzz`", "rate"),
            ("rate=fast", "rate", None),
            ("epochs=1.5", "epochs", None),
            ("optimizer=lion", "optimizer", "adam"),
        ],
    )
    def test_what_a_script_would_refuse_is_refused_before_it_runs(
        self, desk: Desk, setting: str, error: str, hint: str | None
    ) -> None:
        done = desk.reenact("run", "train.py", setting)

        assert (done.status, done.out) == (2, "")
        assert error in done.complaint[0]
        assert len(done.complaint) <= 2
        assert hint is None or hint in " ".join(done.complaint)
        assert desk.ids() == []

    def test_it_is_passed_on_when_that_is_wanted(self, desk: Desk) -> None:
        done = desk.reenact("run", "train.py", "optimizer=lion", "--force-flags")

        assert done.status == 2
        assert "invalid choice" in done.err
        assert desk.status(desk.ids()[0]) == "failed"


class TestStore:
    def test_a_file_in_its_place(self, desk: Desk) -> None:
        desk.store.write_text("in the way")

        done = desk.reenact("run", "train.py")

        assert done.status in (1, 125)
        assert done.complaint == [
            f"error: cannot use the store `{desk.store}`: file exists",
            "hint: set REENACT_HOME to a directory that you can write",
        ] or done.complaint[0].startswith(f"error: cannot use the store `{desk.store}`: ")
        assert desk.store.read_text() == "in the way"
        assert desk.reenact("runs").status in (0, 1)

    def test_one_that_cannot_be_written(self, desk: Desk) -> None:
        run_id = desk.run("train.py", "--label", "best")
        for at, _, names in os.walk(desk.store):
            for name in names:
                os.chmod(os.path.join(at, name), 0o444)
            os.chmod(at, 0o555)

        def call(*words: str) -> Done:
            return desk.reenact(*words, preexec_fn=as_ordinary_user)

        hint = "hint: set REENACT_HOME to a directory that you can write"
        for words in (
            ["run", "train.py"],
            ["rm", "--yes", run_id],
            ["label", run_id, "--set", "x"],
        ):
            done = call(*words)
            assert done.status in (1, 125), words
            error = f"error: cannot use the store `{desk.store}`: permission denied"
            assert done.complaint == [error, hint], words
        assert call("runs").out.count("\n") == 1
        assert call("show", "best").status == 0
        assert call("cat", run_id, "out.txt").out == "x"
        assert call("fsck").status == 0
        for at, _, _ in os.walk(desk.store):
            os.chmod(at, 0o755)

    def test_one_of_a_later_version_is_refused_and_not_touched(self, desk: Desk) -> None:
        desk.run("train.py")
        (desk.store / "store.json").write_text('{"format":2}')
        before = tree_of(desk.store)

        for words in (
            ["run", "train.py"],
            ["runs"],
            ["compare"],
            ["select"],
            ["show"],
            ["fsck"],
            ["gc"],
        ):
            done = desk.reenact(*words)
            assert done.status in (1, 125), words
            assert done.complaint == [
                f"error: the store `{desk.store}` has format 2, this Reenact reads 1",
                "hint: install a later version of Reenact",
            ], words

        kept = {
            path: content for path, content in tree_of(desk.store).items() if "index" not in path
        }
        assert kept == {path: content for path, content in before.items() if "index" not in path}

    def test_one_without_hard_links_or_without_any(self, desk: Desk) -> None:
        needs_refusals()
        desk.write("helper.py", "x = 1")
        desk.write("data/train.csv", "1,2")
        desk.write(
            "train.py", "import helper\nprint(open('data/train.csv').read())\nopen('o', 'w')"
        )

        for refusal, count in ((without_hard_links, 0), (without_links, 1)):
            done = desk.reenact("run", "train.py", preexec_fn=refusal)

            assert (done.status, done.out) == (0, "1,2\n"), done
            assert len(done.complaint) == count, done
            if count:
                assert "has no links" in done.complaint[0]
        for run_id in desk.ids():
            assert [output["path"] for output in desk.record(run_id)["outputs"]] == ["o"]
            assert sorted(os.listdir(desk.store / "runs" / run_id)) == [".reenact", "o"]
        assert desk.reenact("fsck").status == 0

    def test_one_without_locks(self, desk: Desk) -> None:
        needs_refusals()
        desk.write(
            "train.py",
            "import os, time\nopen('ready', 'w')\nwhile not os.path.exists('go'): time.sleep(0.01)\n",
        )

        def call(*words: str) -> Done:
            return desk.reenact(*words, preexec_fn=without_locks)

        run = desk.start("run", "train.py", preexec_fn=without_locks)
        wait_until(lambda: list(desk.store.glob("runs/*/ready")), what="it runs")
        (run_id,) = desk.ids()
        found = json.loads(call("runs", "--json").out)["runs"]
        assert [one["status"] for one in found] == ["running"]
        assert call("label", run_id, "--set", "x").status == 0
        (desk.store / "runs" / run_id / "go").touch()
        _, err = run.communicate()

        assert run.returncode == 0
        assert b"has no locks" in err
        assert json.loads(call("runs", "--json").out)["runs"][0]["status"] == "completed"

        again = desk.start("run", "train.py", preexec_fn=without_locks)
        wait_until(lambda: len(list(desk.store.glob("runs/*/ready"))) == 2, what="it runs")
        wait_until(
            lambda: all("started" in desk.record(one) for one in desk.ids()), what="it is known"
        )
        again.kill()
        again.communicate()
        (killed,) = set(desk.ids()) - {run_id}
        os.killpg(desk.record(killed)["process_group"], signal.SIGKILL)
        found = json.loads(call("runs", "--json").out)["runs"]
        assert {one["id"]: one["status"] for one in found}[killed] == "killed"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte, where one can be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "reenact-test", place],
        check=False,
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


class TestFullDisk:
    NOISY = """
import os, sys
for number in range(20000):
    print(f"step {number} loss: {number} " + "x" * 60)
print("the script has ended by itself", file=sys.stderr)
sys.exit(7)
"""

    def test_points_without_room_wait_until_there_is_some(
        self, desk: Desk, small_disk: Path
    ) -> None:
        desk.store = small_disk / "store"
        desk.env["REENACT_HOME"] = str(desk.store)
        desk.write(
            "train.py",
            """
import os, reenact, signal
# The supervisor, which takes the points over, sleeps until the disk is full.
os.kill(os.getppid(), signal.SIGSTOP)
for i in range(5000):
    reenact.log(loss=i)
with open(os.environ["REENACT_HOME"] + "/fill", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
os.kill(os.getppid(), signal.SIGCONT)
""",
        )

        done = desk.reenact("run", "--trace-files", "off", "train.py")

        assert done.status == 0
        assert "points wait for room on the disk: `reenact fsck --repair` stores them" in done.err
        assert "points-waiting\t" in desk.reenact("fsck").out
        assert "wait for room" in desk.reenact("run", "--restart", desk.ids()[0]).err
        (desk.store / "fill").unlink()
        desk.ok("fsck", "--repair")
        (run_id,) = desk.ids()
        loss = reenact.get(run_id, store=str(desk.store)).metrics["loss"]
        assert list(loss.series.values) == list(range(5000))
        assert loss.count == 5000
        assert not desk.file(run_id, "probe").exists()
        assert "wait for room" not in desk.ok("show", run_id)

    def test_points_of_a_process_without_any_room_are_counted(
        self, desk: Desk, small_disk: Path
    ) -> None:
        desk.store = small_disk / "store"
        desk.env["REENACT_HOME"] = str(desk.store)
        desk.write(
            "train.py",
            """
import os, reenact
with open(os.environ["REENACT_HOME"] + "/fill", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
for i in range(1000):
    reenact.log(loss=i)
""",
        )

        done = desk.reenact("run", "--python", sys.executable, "train.py")

        assert done.status == 0
        assert "1000 points that the script reported found no room" in done.err

    def test_the_script_goes_on_and_what_could_not_be_recorded_is_said(
        self, desk: Desk, small_disk: Path
    ) -> None:
        desk.store = small_disk / "store"
        desk.env["REENACT_HOME"] = str(desk.store)
        desk.write("train.py", self.NOISY)

        done = desk.reenact("run", "train.py")

        assert done.status == 7
        assert done.out.count("\n") == 20000
        assert "the script has ended by itself" in done.err
        assert "bytes of output could not be stored: No space left on device" in done.err
        assert "metric points could not be stored" in done.err
        assert "Traceback" not in done.err
        (run_id,) = desk.ids()
        output = desk.file(run_id, "output").read_text()
        printed = output.replace("the script has ended by itself\n", "")
        # Something small may have found room in the end.
        assert len(printed) > 10_000
        assert done.out.startswith(printed[:10_000])
        assert desk.status(run_id) == "failed"
        assert desk.reenact("runs").status == 0

    @pytest.mark.parametrize("count", [200, 6000])
    def test_a_record_names_no_list_of_files_that_found_no_room(
        self, desk: Desk, small_disk: Path, count: int
    ) -> None:
        desk.store = small_disk / "store"
        desk.env["REENACT_HOME"] = str(desk.store)
        for number in range(count):
            desk.write(f"data/a-file-with-a-long-name-{number}.csv", str(number))
        read = "import os\nfor name in os.listdir('data'): open('data/' + name).read()\n"
        desk.write("train.py", read + self.NOISY)

        done = desk.reenact("run", "train.py")

        assert done.status == 7
        assert "Traceback" not in done.err
        (run_id,) = desk.ids()
        record = desk.record(run_id)
        assert record["exit"] == {"code": 7}
        for file in record["inputs"]:
            blob = file.get("digest", "")
            is_kept = (desk.store / "blobs" / blob[:2] / blob[2:]).is_file()
            assert is_kept if blob else "its list was not kept" in file["reason"]
        assert desk.json("fsck")["problems"] == []

    def test_a_full_one_is_refused_before_the_script_runs(
        self, desk: Desk, small_disk: Path
    ) -> None:
        desk.store = small_disk / "store"
        desk.env["REENACT_HOME"] = str(desk.store)
        kept = desk.run("train.py")
        with open(small_disk / "ballast", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        desk.write("train.py", "print('it ran')\n" + "# more source\n" * 1000)

        done = desk.reenact("run", "train.py")

        assert done.status in (1, 125)
        assert done.out == ""
        assert done.complaint == [
            f"error: no space left for the store `{desk.store}`",
            "hint: free some with `reenact rm`, `reenact purge` and `reenact gc`, or set REENACT_HOME elsewhere",
        ]
        assert desk.ids() == [kept]
        assert not list(desk.store.glob("runs/*.new"))
        assert desk.status(kept) == "completed"
        for words in (["rm", "--yes", kept], ["purge", "--yes", kept], ["gc"]):
            assert desk.reenact(*words).status == 0, words

    def test_a_limit_on_the_size_of_files_does_not_stop_the_script(self, desk: Desk) -> None:
        """The same for those who cannot mount anything: the log may not grow beyond a size."""
        desk.write("train.py", self.NOISY)

        def limit() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

        done = desk.reenact("run", "train.py", preexec_fn=limit)

        assert done.status == 7
        assert done.out.count("\n") == 20000
        (run_id,) = desk.ids()
        codes = [warning["code"] for warning in desk.record(run_id)["warnings"]]
        assert codes == ["output-lost", "metrics-lost"]
        assert desk.record(run_id)["exit"] == {"code": 7}
        assert desk.status(run_id) == "failed"
        assert desk.reenact("fsck").status == 0


class TestRunIds:
    def test_an_unknown_one(self, desk: Desk) -> None:
        desk.run("train.py")

        for word in ("ffff", "nothing", "0" * 32, "@best:speed", "99"):
            done = desk.reenact("show", word)

            assert (done.status, done.out) == (1, ""), word
            assert done.complaint[0].startswith("error: "), word
            assert len(done.complaint) == 2, word

    def test_in_a_store_without_runs(self, desk: Desk) -> None:
        for words in (["show"], ["cat", "@latest", "x"], ["diff", "1", "2"], ["stop", "@latest"]):
            done = desk.reenact(*words)

            assert (done.status, done.out) == (1, ""), words
            assert done.complaint[0].startswith("error: "), words
        assert desk.reenact("runs").status == 0
        assert desk.json("runs") == {"ok": True, "runs": []}

    def test_an_ambiguous_one(self, desk: Desk) -> None:
        desk.run("train.py", "--run-id", "c1f9" + "0" * 28)
        desk.run("train.py", "--run-id", "c1fa" + "0" * 28)

        refused(
            desk.reenact("show", "c1f"),
            1,
            "run `c1f` matches 2 runs",
            "give one more character, e.g. `c1f9` or `c1fa`",
        )

    def test_a_taken_one(self, desk: Desk) -> None:
        run_id = "a" * 32
        desk.run("train.py", "--run-id", run_id)
        before = desk.file(run_id, "run.json").read_bytes()

        done = desk.reenact("run", "train.py", "--run-id", run_id)

        refused(done, 125, f"run {run_id} exists already", "leave out `--run-id`")
        assert desk.file(run_id, "run.json").read_bytes() == before

    def test_one_taken_by_two_at_once(self, desk: Desk) -> None:
        """One of them runs; the other says why it does not, and spoils nothing."""
        for attempt in range(4):
            run_id = f"{attempt:032x}"
            both = [desk.start("run", "train.py", f"lr={n}", "--run-id", run_id) for n in (1, 2, 3)]
            ends = [(*one.communicate(), one.returncode) for one in both]

            assert sorted(status for *_, status in ends) == [0, 125, 125], ends
            for _, err, status in ends:
                assert status == 0 or b"exists already" in err or b"is running" in err
            record = desk.record(run_id)
            said = next(out for out, _, status in ends if status == 0)
            assert said.decode() == f"loss: {record['flags']['lr']}\n"
            assert desk.file(run_id, "output").read_bytes() == said
        assert desk.reenact("fsck").status == 0


class TestOtherRuns:
    def test_a_running_run_is_not_restarted(self, desk: Desk) -> None:
        desk.write("train.py", "import time\nopen('ready', 'w')\ntime.sleep(600)")
        run = desk.start("run", "train.py")
        wait_until(lambda: list(desk.store.glob("runs/*/ready")), what="it runs")
        (run_id,) = desk.ids()

        done = desk.reenact("run", "--restart", run_id)

        refused(done, 125, f"run {run_id[:8]} is running", "`reenact stop` ends it")
        assert desk.status(run_id) == "running"
        desk.ok("stop", run_id)
        run.communicate()

    def test_like_a_run_without_source_takes_that_of_now(self, desk: Desk) -> None:
        former = desk.run("train.py", "lr=5", "--no-snapshot")
        desk.write("train.py", "lr = 0.1\nprint('new loss:', lr)")

        done = desk.reenact("run", "--like", former)

        assert (done.status, done.out) == (0, "new loss: 5.0\n"), done

    def test_like_a_run_whose_source_is_gone_is_said(self, desk: Desk) -> None:
        former = desk.run("train.py", "lr=5")
        shutil.rmtree(desk.store / "blobs")

        done = desk.reenact("run", "--like", former)

        assert done.status in (1, 125)
        assert "blob" in done.complaint[0]
        assert len(desk.ids()) == 1

    def test_like_a_damaged_run_is_said(self, desk: Desk) -> None:
        former = desk.run("train.py")
        desk.file(former, "run.json").write_text("{")

        for option in ("--like", "--restart"):
            done = desk.reenact("run", option, former)
            assert done.status in (1, 125)
            assert done.complaint[0].startswith(f"error: run {former[:8]} is damaged")


class TestClock:
    def shift(self, desk: Desk, run_id: str, **times: str) -> None:
        record = desk.record(run_id)
        record.update(times)
        desk.file(run_id, "run.json").write_text(json.dumps(record))

    def test_a_run_that_ended_before_it_began_is_shown(self, desk: Desk) -> None:
        run_id = desk.run("train.py")
        self.shift(desk, run_id, started="2026-01-01T12:00:00Z", ended="2026-01-01T11:00:00Z")

        for words in (["runs"], ["runs", "--json"], ["show"], ["compare"], ["fsck"]):
            assert desk.reenact(*words).status == 0, words

    def test_a_run_from_the_future_is_shown(self, desk: Desk) -> None:
        future = desk.run("train.py", "--label", "future")
        self.shift(desk, future, created="2999-01-01T00:00:00Z", started="2999-01-01T00:00:00Z")
        now = desk.run("train.py", "--label", "now")

        labels = [run["label"] for run in desk.json("runs")["runs"]]
        assert labels == ["future", "now"]
        assert [r["id"] for r in desk.json("runs", "-f", "started < '1 day ago'")["runs"]] == []
        assert desk.status(now) == "completed"
        assert desk.reenact("runs").status == 0

    def test_files_from_the_future_are_source_and_changes_of_them_are_seen(
        self, desk: Desk
    ) -> None:
        for number in range(3):
            path = desk.write("train.py", f"print('loss: {number}')")
            os.utime(path, (4e9, 4e9))

            assert desk.reenact("run", "train.py").out == f"loss: {number}\n"
            assert desk.ok("cat", "@latest", "train.py") == f"print('loss: {number}')"

    def test_files_from_before_the_epoch_are_source(self, desk: Desk) -> None:
        os.utime(desk.project / "train.py", (-1e9, -1e9))

        assert desk.reenact("run", "train.py").status == 0
        assert desk.reenact("fsck").status == 0


class TestProjects:
    def test_a_script_in_the_home_directory_takes_nothing_else(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        home = tmp_path / "ada"
        home.mkdir()
        desk.project = home
        desk.write("train.py", "import helper\nprint(open('notes.csv').read())\nopen('out', 'w')")
        desk.write("helper.py", "")
        desk.write("unrelated.py", "")
        desk.write("notes.csv", "1,2")
        desk.write("Documents/thesis.tex", "secret")
        desk.env |= {"HOME": str(home)}
        before = tree_of(home)

        done = desk.reenact("run", "train.py")

        assert (done.status, done.out) == (0, "1,2\n"), done
        (run_id,) = desk.ids()
        files = desk.json("ls", run_id, "--source")["files"]
        assert [file["path"] for file in files] == ["helper.py", "train.py"]
        assert os.listdir(desk.store / "runs" / run_id) != before
        after = {path: c for path, c in tree_of(home).items() if "__pycache__" not in path}
        assert after == dict(before)

    def test_so_does_one_in_a_directory_for_everybody(self, desk: Desk, tmp_path: Path) -> None:
        shared = tmp_path / "tmp"
        shared.mkdir()
        shared.chmod(0o1777)
        desk.project = shared
        desk.write("train.py", "print('it ran')")
        desk.write("of-somebody-else.py", "")
        desk.write("closed/x.py", "")
        (shared / "closed").chmod(0)

        done = desk.reenact("run", "train.py", preexec_fn=as_ordinary_user)

        assert (done.status, done.out) == (0, "it ran\n"), done
        files = desk.json("ls", desk.ids()[0], "--source")["files"]
        assert [file["path"] for file in files] == ["train.py"]
        (shared / "closed").chmod(0o755)

    def test_a_working_directory_that_is_gone(self, desk: Desk, tmp_path: Path) -> None:
        gone = tmp_path / "gone"
        gone.mkdir()
        words = (
            "import os, sys\nos.chdir(sys.argv[1]); os.rmdir(sys.argv[1])\n"
            "os.execv(sys.executable, [sys.executable, '-m', 'reenact', 'runs'])"
        )

        done = subprocess.run(
            [sys.executable, "-c", words, str(gone)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **desk.env},
        )

        assert done.returncode in (1, 2, 125), done
        assert "Traceback" not in done.stderr

    def test_a_command_nobody_knows(self, desk: Desk) -> None:
        refused(desk.reenact("rnu"), 2, "there is no command `rnu`", "did you mean `reenact run`?")
        refused(
            desk.reenact("train.py"),
            2,
            "there is no command `train.py`",
            "to run it: `reenact run train.py`",
        )

    @pytest.mark.parametrize("words", [["a\nb.ipynb"], ["-b", "--", "a\nb.ipynb"]])
    def test_a_name_with_a_line_end_does_not_split_the_message(
        self, desk: Desk, words: list[str]
    ) -> None:
        desk.write("a\nb.ipynb", "{")

        complaint = desk.reenact("run", *words).complaint

        assert complaint[0].startswith("error: ")
        assert r"`a\nb.ipynb`" in complaint[0]
        assert len(complaint) == 1 or complaint[1].startswith("hint: ")
