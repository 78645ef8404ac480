"""What a run read and wrote, in any language, inside the project and outside of it."""

from __future__ import annotations

import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import Desk, wait_until
from needs import needs
from reenact.execute.data_sets import MANY

preloads = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None,
    reason="a library is preloaded on Linux only, and compiled first",
)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory outside the project, where files stay."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    directory = tmp_path / "shared"
    directory.mkdir()
    return directory


def _inputs(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {file["path"]: file for file in record.get("inputs", ())}


def _outputs(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {file["path"]: file for file in record.get("outputs", ())}


def _codes(record: dict[str, Any]) -> list[str]:
    return [remark["code"] for remark in record.get("warnings", ())]


# --- what an input is ---


@pytest.mark.parametrize("place", [(), ("--in-place",)], ids=["staged", "in-place"])
@pytest.mark.parametrize("trace", ["audit", pytest.param("preload", marks=preloads)])
def test_data_is_an_input_and_code_and_what_the_run_made_are_not(
    desk: Desk, shared: Path, trace: str, place: tuple[str, ...]
) -> None:
    desk.write("data/a.csv", "1,2")
    desk.write("config.yaml", "lr: 1")
    desk.write("used.py", "import json, sqlite3")
    (shared / "b.csv").write_text("3,4")
    desk.write(
        "train.py",
        f"""
import used
open("./data/a.csv").read()
open("config.yaml").read()
open({str(shared / "b.csv")!r}).read()
open("made.txt", "w").write("1")
open("made.txt").read()
""",
    )

    record = desk.record(desk.run("train.py", "--trace-files", trace, *place))

    inputs = _inputs(record)
    assert set(inputs) == {"data/a.csv", "config.yaml", str(shared / "b.csv")}
    assert inputs["data/a.csv"]["said"] == "./data/a.csv"
    assert inputs["data/a.csv"]["size_bytes"] == 3
    assert len(inputs["data/a.csv"]["digest"]) == 64
    assert inputs["data/a.csv"]["mtime_ns"] == (desk.project / "data/a.csv").stat().st_mtime_ns
    assert {file["process"] for file in inputs.values()} == {record["processes"][0]["pid"]}
    assert record["coverage"] == ["scan", "audit", *["preload"] * (trace == "preload")]
    assert [Path(path).name for path in _outputs(record)] == ["made.txt"]


@preloads
@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("sh", ["sh", "-c", "while read line; do echo $line; done < data.csv > copy.txt"]),
        ("awk", ["awk", "1", "data.csv"]),
        ("Rscript", ["Rscript", "-e", "write.csv(read.csv('data.csv'), 'copy.csv')"]),
        ("node", ["node", "-e", "const f = require('fs'); f.readFileSync('data.csv')"]),
        ("perl", ["perl", "-ne", "1", "data.csv"]),
        ("java", ["java", "Read.java"]),
    ],
)
def test_programs_of_any_language_have_inputs(desk: Desk, program: str, words: list[str]) -> None:
    needs(program)
    desk.write("data.csv", "a,b\n1,2\n")
    desk.write(
        "Read.java",
        """
        import java.nio.file.*;
        class Read {
            public static void main(String[] words) throws Exception {
                Files.readAllBytes(Path.of("data.csv"));
            }
        }
        """,
    )

    record = desk.record(desk.run("--", *words))

    assert set(_inputs(record)) == {"data.csv"}
    assert record["coverage"] == ["scan", "preload"]


def test_show_says_who_was_asked_and_who_did_not_watch(desk: Desk) -> None:
    desk.write("train.py", "print(1)")

    run_id = desk.run("train.py", "--trace-files", "audit")

    shown = desk.ok("show", run_id).splitlines()
    assert (
        "watched     what Python read, nothing else: only Python was watched: `--trace-files audit`"
        in shown
    )
    assert not [line for line in shown if line.startswith("contacted")]


def test_nothing_is_known_where_nobody_watches(desk: Desk) -> None:
    desk.write("data.csv", "1")
    desk.write("train.py", "open('data.csv').read(); open('out.txt', 'w').write('1')")

    run_id = desk.run("train.py", "--trace-files", "off")

    record = desk.record(run_id)
    assert "inputs" not in record
    assert record["coverage"] == ["scan"]
    assert list(_outputs(record)) == ["out.txt"]
    assert "nobody watched" in desk.reenact("doctor", run_id).out


def test_without_a_compiler_python_is_watched_and_doctor_says_so(
    desk: Desk, tmp_path: Path
) -> None:
    desk.write("data.csv", "1")
    desk.write("train.py", "open('data.csv').read()")
    env = {"XDG_CACHE_HOME": str(tmp_path / "none"), "PATH": os.path.dirname(sys.executable)}

    run_id = desk.run("train.py", env=env)

    record = desk.record(run_id)
    assert set(_inputs(record)) == {"data.csv"}
    assert record["coverage"] == ["scan", "audit"]
    if sys.platform == "linux":
        assert record["coverage_gap"] == "no C compiler was found to make it with"
        assert "no C compiler was found" in desk.reenact("doctor", run_id).out


def test_the_output_of_another_run_is_an_input(desk: Desk) -> None:
    desk.write("train.py", "open('model.txt', 'w').write('weights')")
    first = desk.run("train.py")
    model = desk.store / "runs" / first / "model.txt"
    desk.write("test.py", f"open({str(model)!r}).read()")

    record = desk.record(desk.run("test.py"))

    assert set(_inputs(record)) == {str(model)}


def test_what_comes_from_a_hubs_cache_is_an_input_even_if_the_run_has_fetched_it(
    desk: Desk,
) -> None:
    desk.write(
        "train.py",
        """
import os
cache = os.path.expanduser("~/.cache/")
for name in ("huggingface/weights", "other/index"):
    os.makedirs(cache + os.path.dirname(name))
    open(cache + name, "w").write("1")
    open(cache + name).read()
""",
    )

    record = desk.record(desk.run("train.py"))

    (found,) = record["inputs"]
    assert found["path"] == f"{os.environ['HOME']}/.cache/huggingface/weights"
    assert found["origin"] == "huggingface"
    assert record.get("outputs", []) == []


def test_what_a_hubs_cache_says_of_itself_and_a_database_in_it_are_no_inputs(
    desk: Desk, shared: Path
) -> None:
    cache = Path(os.environ["HOME"], ".cache/huggingface")
    (cache / "tracker").mkdir(parents=True)
    (cache / "token").write_text("hf_secret")
    database = cache / "tracker/p.db"
    make = f"import sqlite3; c = sqlite3.connect({str(database)!r}); "
    subprocess.run([sys.executable, "-c", f"{make}c.execute('create table t (x)')"], check=True)
    os.utime(database, (1, 1))
    desk.write(
        "train.py",
        f"{make}c.execute('insert into t values (1)'); c.commit(); c.close()\n"
        f"open({str(cache / 'token')!r}).read()",
    )

    done = desk.reenact("run", "train.py")

    record = desk.record(desk.ids()[0])
    assert record.get("inputs", []) == []
    assert done.err == ""


def test_the_probes_own_source_is_no_input(desk: Desk) -> None:
    desk.write("train.py", "import inspect, _reenact.wrap; inspect.getsource(_reenact.wrap)")

    assert desk.record(desk.run("train.py")).get("inputs", []) == []


def test_a_link_is_resolved(desk: Desk, shared: Path) -> None:
    (shared / "real.csv").write_text("1")
    (desk.project / "data.csv").symlink_to(shared / "real.csv")
    desk.write("train.py", "open('data.csv').read()")

    record = desk.record(desk.run("train.py"))

    assert _inputs(record)["data.csv"]["resolved"] == str(shared / "real.csv")


# --- change ---


@pytest.mark.parametrize("trace", ["audit", pytest.param("preload", marks=preloads)])
def test_an_input_that_changes_while_it_is_read_is_said(desk: Desk, trace: str) -> None:
    desk.write("steady.csv", "1")
    data = desk.write("data.csv", "1")
    desk.write(
        "train.py",
        f"""
import subprocess, sys, time
open("steady.csv").read()
open("data.csv").read()
time.sleep(0.1)
subprocess.run(["sh", "-c", "echo 22 > {data}"], env={{}})
""",
    )

    run_id = desk.run("train.py", "--trace-files", trace)

    record = desk.record(run_id)
    assert [path for path, file in _inputs(record).items() if file.get("is_changed")] == [
        "data.csv"
    ]
    (remark,) = (r for r in record["warnings"] if r["code"] == "input-changed")
    assert remark["message"].endswith(": `data.csv`")
    assert "changed meanwhile" in desk.ok("show", run_id)


def test_an_input_that_is_deleted_is_said(desk: Desk, shared: Path) -> None:
    data = shared / "data.csv"
    data.write_text("1")
    desk.write("train.py", f"import os; open({str(data)!r}).read(); os.remove({str(data)!r})")

    record = desk.record(desk.run("train.py"))

    assert _inputs(record)[str(data)]["reason"] == "No such file or directory"
    assert "input-changed" in _codes(record)


def test_what_a_run_reads_and_then_overwrites_is_input_and_output(desk: Desk, shared: Path) -> None:
    data = shared / "state.txt"
    data.write_text("old")
    os.utime(data, (1, 1))
    desk.write("train.py", f"open({str(data)!r}).read(); open({str(data)!r}, 'w').write('newer')")

    record = desk.record(desk.run("train.py"))

    assert _inputs(record)[str(data)]["reason"] == "the run has written to it"
    assert _outputs(record)[str(data)]["size_bytes"] == 5
    assert "input-changed" not in _codes(record)


def test_a_staged_file_that_the_run_changes_is_an_input_as_it_was(desk: Desk) -> None:
    desk.write("data.csv", "1")
    desk.write("train.py", "open('data.csv').read(); open('data.csv', 'a').write('2')")

    record = desk.record(desk.run("train.py"))

    assert _inputs(record)["data.csv"]["size_bytes"] == 1
    assert _outputs(record)["data.csv"]["size_bytes"] == 2
    assert "input-changed" not in _codes(record)


# --- data sets ---


def _make_images(desk: Desk, count: int) -> None:
    for number in range(count):
        desk.write(f"data/images/{'cat' if number % 2 else 'dog'}/{number}.png", b"\0%d" % number)


READ_ALL = """
import os
for at, _, names in os.walk("data", followlinks=True):
    for name in names:
        open(os.path.join(at, name), "rb").read()
"""


def test_many_files_are_one_input_and_diff_names_those_that_differ(desk: Desk) -> None:
    _make_images(desk, MANY + 20)
    desk.write("data/labels.csv", "cat")
    desk.write("train.py", READ_ALL)
    first = desk.run("train.py")
    (desk.project / "data/images/cat/1.png").write_bytes(b"\0other")
    (desk.project / "data/images/dog/2.png").unlink()
    desk.write("data/images/dog/new.png", b"\0")

    second = desk.run("train.py")

    images = _inputs(desk.record(first))["data/images"]
    assert set(_inputs(desk.record(first))) == {"data/images", "data/labels.csv"}
    assert images["files"] == MANY + 20
    changes = desk.json("diff", first, second, "--inputs")["sections"]["inputs"]["changes"]
    assert [(change["kind"], change["name"]) for change in changes] == [
        ("changed", "data/images/cat/1.png"),
        ("removed", "data/images/dog/2.png"),
        ("added", "data/images/dog/new.png"),
    ]
    assert f"data/images  ({MANY + 20} files)" in desk.ok("show", first)


def test_an_unchanged_data_set_has_the_same_digest_and_its_list_is_kept(desk: Desk) -> None:
    _make_images(desk, MANY + 1)
    desk.write("train.py", READ_ALL)
    runs = [desk.run("train.py") for _ in range(2)]

    desk.ok("gc")

    digests = {_inputs(desk.record(run))["data/images"]["digest"] for run in runs}
    assert len(digests) == 1
    assert desk.reenact("diff", *runs, "--inputs").status == 0
    assert desk.reenact("fsck").status == 0
    (digest,) = digests
    blob = desk.store / "blobs" / digest[:2] / digest[2:]
    blob.unlink()
    assert digest in desk.reenact("fsck").out


def test_more_files_than_fit_the_first_part_of_a_log_are_all_noted(desk: Desk) -> None:
    count = 3000
    _make_images(desk, count)
    desk.write("train.py", READ_ALL)

    for trace in ("audit", "preload"):
        record = desk.record(desk.run("train.py", "--trace-files", trace))

        assert _inputs(record)["data/images"]["files"] == count


# --- outputs ---


@pytest.mark.parametrize("trace", ["audit", pytest.param("preload", marks=preloads)])
def test_files_written_outside_the_run_directory_are_outputs(
    desk: Desk, shared: Path, trace: str
) -> None:
    (shared / "untouched.db").write_bytes(b"1")
    desk.write(
        "train.py",
        f"""
import os, tempfile
base = {str(shared)!r}
open(base + "/kept.txt", "w").write("1")
open(base + "/gone.txt", "w").write("1")
os.remove(base + "/gone.txt")
open(base + "/half.tmp", "w").write("22")
os.rename(base + "/half.tmp", base + "/moved.txt")
open(base + "/untouched.db", "r+b").read()
open({str(desk.project / "direct.txt")!r}, "w").write("333")
tempfile.mkstemp()
""",
    )

    run_id = desk.run("train.py", "--trace-files", trace)

    record = desk.record(run_id)
    sizes = {Path(path).name: file["size_bytes"] for path, file in _outputs(record).items()}
    assert sizes == {"kept.txt": 1, "moved.txt": 2, "direct.txt": 3}
    assert {f["process"] for f in record["outputs"]} == {record["processes"][0]["pid"]}
    assert set(_inputs(record)) == {str(shared / "untouched.db")}
    (shared / "kept.txt").unlink()
    assert desk.reenact("fsck").status == 0


def test_the_process_that_wrote_an_output_is_named(desk: Desk) -> None:
    desk.write(
        "train.py",
        """
import os, subprocess, sys
open("a.txt", "w").write(str(os.getpid()))
subprocess.run([sys.executable, "-c", "import os; open('b.txt', 'w').write(str(os.getpid()))"])
""",
    )

    run_id = desk.run("train.py")

    for name, file in _outputs(desk.record(run_id)).items():
        assert file["process"] == int(desk.ok("cat", run_id, name))


# --- killed ---


@preloads
@pytest.mark.parametrize("is_killed", [False, True])
def test_python_that_ended_before_anybody_met_it_is_known_as_not_reached(
    desk: Desk, is_killed: bool
) -> None:
    desk.write(
        "train.py",
        "import os, signal, subprocess, sys\n"
        "subprocess.run([sys.executable, '-I', '-c', 'pass'])\n"
        "subprocess.run([sys.executable, '-c', 'pass'])\n"
        f"if {is_killed}: os.kill(os.getppid(), signal.SIGKILL)",
    )

    run_id = desk.run("train.py")

    wait_until(lambda: desk.status(run_id) != "running", what="the run has ended")
    wait_until(lambda: desk.record(run_id).get("ended"), what="its record says so")
    (unreached,) = desk.record(run_id)["unreached"]
    assert unreached["kind"] == "unreached"
    assert unreached["reason"] in ("it ended before it was asked why", "it was started with -I")


@preloads
@pytest.mark.parametrize(
    ("option", "end"),
    [
        ("-I", "it was started with -I; `reenact install-hook` reaches it"),
        ("-S", "it was started with -S"),
    ],
)
def test_doctor_says_why_a_run_s_own_process_was_not_reached_however_short_it_was(
    desk: Desk, option: str, end: str
) -> None:
    desk.write("x.py", "print(1)")

    run_id = desk.run("--", sys.executable, option, "x.py")

    findings = [(f["what"], f["detail"]) for f in desk.json("doctor", run_id)["findings"]]
    pid = desk.record(run_id)["process_group"]
    assert ("probe", "no Python process said hello") in findings
    command = f"`{sys.executable} {option} x.py` (process {pid})"
    assert [d for w, d in findings if w == "not reached"] == [f"{command}: {end}"]


@preloads
def test_doctor_names_the_program_of_a_process_whose_command_nobody_saw(desk: Desk) -> None:
    desk.write("train.sh", f"{sys.executable} -I -c pass\ntrue")

    run_id = desk.run("--", "sh", "train.sh")

    findings = [(f["what"], f["detail"]) for f in desk.json("doctor", run_id)["findings"]]
    (detail,) = [d for w, d in findings if w == "not reached"]
    assert os.path.basename(sys.executable)[:6] in detail
    assert "``" not in detail


@preloads
def test_a_killed_run_keeps_its_inputs(desk: Desk) -> None:
    _make_images(desk, MANY + 1)
    desk.write("data/one.csv", "1")
    desk.write("train.py", f"{READ_ALL}\nprint('read', flush=True)\nimport time; time.sleep(600)")
    with desk.start("run", "train.py") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"read\n"
        (run_id,) = desk.ids()
        group = desk.record(run_id)["process_group"]
        process.send_signal(signal.SIGKILL)
        os.killpg(group, signal.SIGKILL)
    wait_until(lambda: desk.status(run_id) == "killed", what="the run is known to be killed")

    desk.ok("show", run_id)

    record = desk.record(run_id)
    assert set(_inputs(record)) == {"data/images", "data/one.csv"}
    assert not list(desk.file(run_id, "run.json").parent.glob("opened*"))
    assert desk.reenact("fsck").status == 0


# --- network ---


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_urls_are_recorded_without_secrets_and_this_machine_is_no_address(
    desk: Desk, server: http.server.ThreadingHTTPServer
) -> None:
    host = f"127.0.0.1:{server.server_port}"
    desk.write(
        "train.py",
        f"""
import sys
import urllib.request
import http.client
urllib.request.urlopen("http://{host}/local").read()

class Far(http.client.HTTPConnection):
    def connect(self):
        self.host, far = "127.0.0.1", self.host
        super().connect()
        self.host = far

far = Far("data.example.org", {server.server_port})
far.request("GET", "/set.csv?token=hunter2&id=7")
assert far.getresponse().status == 200
""",
    )

    record = desk.record(desk.run("train.py"))

    address = f"http://data.example.org:{server.server_port}/set.csv?token&id"
    assert record["contacted"] == [address]
    assert "hunter2" not in str(record)


# --- it is not noticed ---


@preloads
def test_what_is_preloaded_already_stays_first(desk: Desk, tmp_path: Path) -> None:
    source = tmp_path / "own.c"
    source.write_text("int reenact_test_marker(void) { return 7; }\n")
    library = tmp_path / "own.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    desk.write("data.csv", "1")
    desk.write(
        "train.py",
        "import ctypes, os\n"
        "print(ctypes.CDLL(None).reenact_test_marker(), os.environ['LD_PRELOAD'].split(':')[0])\n"
        "open('data.csv').read()",
    )

    done = desk.reenact("run", "train.py", env={"LD_PRELOAD": str(library)})

    assert done.out == f"7 {library}\n"
    assert set(_inputs(desk.record(desk.ids()[0]))) == {"data.csv"}


@preloads
def test_programs_with_a_sanitizer_run(desk: Desk) -> None:
    needs("gcc")
    desk.write("data.csv", "1")
    desk.write(
        "read.c",
        '#include <stdio.h>\nint main(void) { return fopen("data.csv", "r") == NULL; }\n',
    )
    for sanitizer in ("address", "thread", "undefined"):
        command = ["gcc", f"-fsanitize={sanitizer}", "-o", desk.project / sanitizer, "read.c"]
        done = subprocess.run(command, cwd=desk.project, capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"gcc has no {sanitizer} sanitizer here")

    for sanitizer in ("address", "thread", "undefined"):
        env = {"ASAN_OPTIONS": "detect_leaks=0"}
        done = desk.reenact("run", "--json", "--", f"./{sanitizer}", env=env)

        assert done.status == 0, done
        assert "data.csv" in done.out


@preloads
def test_statically_linked_programs_and_those_without_an_environment_run(desk: Desk) -> None:
    needs("gcc")
    desk.write("data.csv", "1")
    desk.write("read.c", '#include <stdio.h>\nint main(void) { return !fopen("data.csv", "r"); }\n')
    subprocess.run(["gcc", "-static", "-o", "read", "read.c"], cwd=desk.project, check=True)

    done = desk.reenact("run", "--", "sh", "-c", "./read && env -i /bin/cat data.csv")

    assert (done.status, done.out) == (0, "1")
    assert done.complaint == []


@preloads
def test_a_script_that_closes_every_descriptor_forks_and_execs_is_watched_on(desk: Desk) -> None:
    for name in "abc":
        desk.write(f"{name}.csv", "1")
    desk.write(
        "train.py",
        """
import os
os.closerange(3, 256)
open("a.csv").read()
if os.fork() == 0:
    os.closerange(3, 256)
    open("b.csv").read()
    os.execvp("cat", ["cat", "c.csv"])
os.wait()
""",
    )

    record = desk.record(desk.run("train.py"))

    assert set(_inputs(record)) == {"a.csv", "b.csv", "c.csv"}
    pids = [_inputs(record)[f"{name}.csv"]["process"] for name in "abc"]
    assert pids[0] != pids[1] == pids[2]


@preloads
def test_threads_that_open_at_once_lose_nothing(desk: Desk) -> None:
    _make_images(desk, 400)
    desk.write(
        "train.py",
        """
import os, threading, multiprocessing

def read(part):
    names = sorted(os.path.join(at, n) for at, _, ns in os.walk("data", followlinks=True) for n in ns)
    def some(k):
        for name in names[part + 2 * k :: 8]:
            open(name, "rb").read()
    threads = [threading.Thread(target=some, args=(k,)) for k in range(4)]
    [t.start() for t in threads], [t.join() for t in threads]

if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        pool.map(read, [0, 1], chunksize=1)
""",
    )

    record = desk.record(desk.run("train.py"))

    assert _inputs(record)["data/images"]["files"] == 400


@preloads
def test_relative_names_follow_the_working_directory(desk: Desk) -> None:
    for name in ("one/data.csv", "two/data.csv", "three/data.csv"):
        desk.write(name, name)
    desk.write(
        "train.py",
        """
import os
os.chdir("one"); open("data.csv").read()
os.chdir("../two"); open("data.csv").read()
directory = os.open("../three", os.O_RDONLY)
os.open("data.csv", os.O_RDONLY, dir_fd=directory)
""",
    )

    record = desk.record(desk.run("train.py"))

    assert set(_inputs(record)) == {"one/data.csv", "two/data.csv", "three/data.csv"}


# --- in place ---


def test_files_of_a_run_in_place_have_roles_wherever_they_are(desk: Desk) -> None:
    desk.write(
        "train.py",
        """
import os, reenact
from _reenact import journal
open("fig.png", "w").write("1")
journal.output(os.path.abspath("fig.png"), "figure")
reenact.log_text("hello", "note")
open(os.environ["REENACT_RUN_DIR"] + "/plain", "w").write("1")
""",
    )

    record = desk.record(desk.run("train.py", "--in-place"))

    (text,) = set(_outputs(record)) - {str(desk.project / "fig.png"), "plain"}
    roles = {path: file.get("role") for path, file in _outputs(record).items()}
    assert text.startswith("texts/")
    assert roles == {str(desk.project / "fig.png"): "figure", text: "text", "plain": None}


# --- what is used ---


def test_memory_of_whoever_started_a_run_is_not_the_runs(desk: Desk) -> None:
    desk.write("train.py", "print(1)")
    code = (
        "import reenact; kept = bytearray(b'x') * 300_000_000; "
        "run = reenact.run('train.py', quiet=True); print(run.record.usage.max_memory_bytes)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=desk.project,
        env={**os.environ, **desk.env},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "None" or int(done.stdout) < 200_000_000


def test_modules_from_outside_the_project_are_kept(desk: Desk) -> None:
    module = desk.project.parent / "lib" / "mine" / "__init__.py"
    module.parent.mkdir(parents=True)
    module.write_text("RATE = 0.5\n")
    desk.env["PYTHONPATH"] = str(module.parent.parent)
    desk.write("train.py", "import json, mine\nprint('rate:', mine.RATE)\n")
    # The second one finds its bytecode.
    first, second = desk.run("train.py"), desk.run("train.py")
    module.write_text("RATE = 0.25\n# changed\n")
    third = desk.run("train.py")

    digests = []
    for run_id in (first, second, third):
        (found,) = desk.record(run_id)["inputs"]
        assert (found["path"], found["role"]) == (str(module), "source")
        digests.append(found["digest"])
    assert digests[0] == digests[1] != digests[2]
    desk.ok("gc")
    kept = [desk.store / "blobs" / digest[:2] / digest[2:] for digest in digests]
    assert [path.read_text().splitlines()[0] for path in kept[1:]] == ["RATE = 0.5", "RATE = 0.25"]
    assert desk.json("fsck")["problems"] == []
    assert str(module) in desk.reenact("diff", first, third).out
