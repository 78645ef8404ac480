"""What an operation requires lies in its run directory before it starts, and its record says from where."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import Desk, Done, wait_until
from servers import Served, web_server

SHOW = """
import os
for at, names, files in os.walk("."):
    names[:] = sorted(name for name in names if name != ".reenact")
    for name in sorted(files):
        if not name.endswith((".py", ".yml")):
            path = os.path.relpath(os.path.join(at, name), ".")
            print(f"{path}: {open(path).read().strip()!r}")
"""

PIPELINE = """
prepare:
  exec: sh -c 'mkdir sub; echo ${split} > data1.txt; echo two > sub/data2.txt'
  flags:
    split: 0.5
train:
  main: show
  requires:
    - operation: prepare
      path: data
      name: prepared
pick:
  main: show
  requires:
    - operation: prepare
      select: sub/data2.txt
      rename: data2 data
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A project with a script that prints what lies around it."""
    made = Desk(tmp_path)
    made.write("show.py", SHOW)
    return made


@pytest.fixture
def web() -> Iterator[Served]:
    """A web server."""
    with web_server() as served:
        yield served


def requires(desk: Desk, *sources: str, main: str = "show", flags: str = "") -> None:
    """Write a project file whose operation `op` requires something."""
    lines = "".join(f"    - {source}\n" for source in sources)
    desk.write("reenact.yml", f"op:\n  main: {main}\n{flags}  requires:\n{lines}")


def seen(desk: Desk, *words: str) -> dict[str, str]:
    """Run an operation that prints what lies around it; return name and content of each file."""
    done = desk.reenact("run", *(words or ("op",)))
    assert done.status == 0, done
    pairs = [line.partition(": ") for line in done.out.splitlines()]
    return {name: text.strip("'") for name, _, text in pairs}


def latest(desk: Desk) -> dict[str, Any]:
    """Return the record of the latest run."""
    record: dict[str, Any] = desk.json("show")["run"]
    return record


def refused(desk: Desk, *words: str) -> Done:
    """Run an operation that must be refused before anything is started."""
    before = desk.ids()
    done = desk.reenact("run", *(words or ("op",)))
    assert done.status == 2, done
    assert desk.ids() == before
    return done


def failed(desk: Desk, *words: str) -> tuple[Done, dict[str, Any]]:
    """Run an operation that must fail before it starts; return what it said, and its record."""
    done = desk.reenact("run", *(words or ("op",)))
    assert done.status == 1, done
    record = latest(desk)
    assert record["started"] is None
    assert desk.status(record["id"]) == "failed"
    left = [p for p in (desk.store / "runs" / record["id"]).iterdir() if p.name != ".reenact"]
    assert left == []
    return done, record


# --- files ---


def test_files_directories_and_globs_lie_where_they_are_wanted(desk: Desk) -> None:
    desk.write("data/a.csv", "1")
    desk.write("data/b.csv", "2")
    desk.write("data/deep/c.csv", "3")
    requires(
        desk,
        "{file: data/a.csv, rename: a one}",
        "{file: data/deep, target-path: in}",
        "{file: 'data/*.csv', target-path: all}",
    )

    files = seen(desk)

    assert files["one.csv"] == "1"
    assert files["in/deep/c.csv"] == "3"
    assert (files["all/a.csv"], files["all/b.csv"]) == ("1", "2")
    record = latest(desk)
    assert [one["paths"] for one in record["dependencies"]] == [
        ["one.csv"],
        ["in/deep"],
        ["all/a.csv", "all/b.csv"],
    ]
    inputs = {file["path"]: file for file in record["inputs"]}
    assert inputs["one.csv"]["resolved"] == str(desk.project / "data/a.csv")
    assert inputs["in/deep"]["files"] == 1
    assert record["outputs"] == []


def test_what_is_required_is_an_input_even_if_nobody_reads_it(desk: Desk) -> None:
    desk.write("data/a.csv", "1")
    desk.write("quiet.py", "pass")
    requires(desk, "{file: data/a.csv, target-path: x}", main="quiet")

    desk.ok("run", "op")

    assert [file["path"] for file in latest(desk)["inputs"]] == ["x/a.csv"]


def test_a_script_that_writes_to_what_it_was_given_does_not_reach_the_original(desk: Desk) -> None:
    original = desk.write("data/a.csv", "1")
    outside = desk.project.parent / "outside.csv"
    outside.write_text("2")
    desk.write("append.py", "for name in 'a.csv', 'outside.csv':\n    open(name, 'a').write('!')\n")
    requires(desk, "file: data/a.csv", f"file: {outside}", main="append")

    desk.ok("run", "op")

    assert (original.read_text(), outside.read_text()) == ("1", "2")
    record = latest(desk)
    run = desk.store / "runs" / record["id"]
    assert ((run / "a.csv").read_text(), (run / "outside.csv").read_text()) == ("1!", "2!")
    assert {file["path"] for file in record["outputs"]} == {"a.csv", "outside.csv"}


def test_files_are_links_unless_copies_are_wanted(desk: Desk) -> None:
    desk.write("data/a.csv", "1")
    desk.write("kind.py", "import os\nprint(os.path.islink('a.csv'), os.path.islink('b.csv'))")
    requires(
        desk,
        "file: data/a.csv",
        "{file: data/a.csv, rename: a b, target-type: copy}",
        main="kind",
    )

    assert desk.ok("run", "op") == "True False\n"


def test_a_file_that_is_not_there_is_refused_with_its_place(desk: Desk) -> None:
    requires(desk, "{file: nothing.csv, help: get it from Ada}")

    assert refused(desk).complaint == [
        "error: reenact.yml:4: `file:nothing.csv` needs `nothing.csv`, which is not there",
        "hint: get it from Ada",
    ]


def test_what_is_optional_may_be_missing(desk: Desk) -> None:
    requires(desk, "{file: nothing.csv, optional: yes}", "{module: no.such, optional: yes}")

    assert seen(desk) == {}
    assert latest(desk)["dependencies"] == []


def test_a_file_with_another_digest_is_refused(desk: Desk) -> None:
    desk.write("a.csv", "1")
    good = hashlib.sha256(b"1").hexdigest()
    requires(desk, f"{{file: a.csv, sha256: {good}}}")
    desk.ok("run", "op")
    desk.write("a.csv", "2")

    assert f"with sha256 {good}, and it has" in refused(desk).err


def test_a_flag_in_a_path_is_filled_in(desk: Desk) -> None:
    desk.write("data/small.csv", "s")
    desk.write("data/large.csv", "l")
    requires(
        desk,
        "{file: 'data/${size}.csv', rename: '${size} data'}",
        main="show",
        flags="  flags-dest: none\n  flags:\n    size: small\n",
    )

    assert seen(desk)["data.csv"] == "s"
    assert seen(desk, "op", "size=large")["data.csv"] == "l"
    assert "`data/none.csv`, which is not there" in refused(desk, "op", "size=none").err


def test_a_flag_of_a_resources_name_takes_another_file(desk: Desk) -> None:
    desk.write("data/a.csv", "1")
    desk.write("other.csv", "2")
    requires(desk, "{file: data/a.csv, name: data, target-path: in}")

    assert seen(desk, "op", "data=other.csv")["in/other.csv"] == "2"
    record = latest(desk)
    assert record["flags"] == {"data": "other.csv"}
    assert record["dependencies"][0]["why"] == "set by `data=other.csv`"
    assert "was set to `none.csv`, which is not there" in refused(desk, "op", "data=none.csv").err
    assert "unknown flag `dada`" in refused(desk, "op", "dada=none.csv").err
    assert "data" in desk.ok("help", "op")


def test_a_flag_of_a_resources_name_takes_several_values_in_a_batch(desk: Desk) -> None:
    desk.write("data/a.csv", "1")
    desk.write("data/b.csv", "2")
    requires(desk, "{file: data/a.csv, name: data, rename: '.* in.csv'}")

    done = desk.reenact("run", "op", "data=[data/a.csv,data/b.csv]")

    assert done.status == 0, done
    found = [desk.ok("log", run["id"]) for run in desk.json("runs", "--filter", "part > 0")["runs"]]
    assert sorted(line for text in found for line in text.splitlines() if "in.csv" in line[:6]) == [
        "in.csv: '1'",
        "in.csv: '2'",
    ]


def test_what_would_hide_the_projects_own_source_is_refused(desk: Desk) -> None:
    desk.write("notes.txt", "mine")
    desk.write("data/notes.txt.csv", "theirs")
    rename = "rename: '.* notes.txt'"
    requires(desk, f"{{file: data/notes.txt.csv, {rename}}}")
    assert "would lie at `notes.txt`, where the project's own source lies" in refused(desk).err

    requires(desk, f"{{file: data/notes.txt.csv, {rename}, replace-existing: yes}}")
    assert seen(desk)["notes.txt"] == "theirs"
    assert (desk.project / "notes.txt").read_text() == "mine"


def test_what_hides_the_projects_own_data_counts_and_is_said(desk: Desk) -> None:
    desk.write("a.csv", "mine")
    desk.write("data/a.csv", "theirs")
    requires(desk, "file: data/a.csv")

    assert seen(desk)["a.csv"] == "theirs"
    assert "instead of the project's own file" in latest(desk)["warnings"][0]["message"]
    assert (desk.project / "a.csv").read_text() == "mine"


def test_two_sources_for_one_place_are_refused(desk: Desk) -> None:
    desk.write("data/a.csv", "1")
    desk.write("more/a.csv", "2")
    requires(desk, "file: data/a.csv", "file: more/a.csv")

    assert "would both lie at `a.csv`" in refused(desk).err


def test_an_archive_is_unpacked_and_files_are_selected_of_it(desk: Desk) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("set/a.csv", "1")
        archive.writestr("set/b.txt", "2")
    desk.write("data/set.zip", content.getvalue())
    requires(
        desk,
        "{file: data/set.zip, target-path: in}",
        r"{file: data/set.zip, select: '.*\.csv'}",
        "{file: data/set.zip, unpack: no, target-path: raw, rename: set x}",
        main="list",
    )
    desk.write("list.py", SHOW.replace("{open(path).read().strip()!r}", "'x'"))

    files = seen(desk)

    assert {"in/set/a.csv", "in/set/b.txt", "a.csv", "raw/x.zip"} <= files.keys()
    assert "b.txt" not in files


def test_an_archive_that_would_write_elsewhere_fails_the_run(desk: Desk) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("../../evil.txt", "1")
    desk.write("data/set.zip", content.getvalue())
    requires(desk, "file: data/set.zip")

    _, record = failed(desk)

    assert "would lie outside of it" in record["failure"]["message"]
    assert list(desk.project.parent.rglob("evil.txt")) == []


def test_a_command_makes_of_files_what_the_operation_needs(desk: Desk) -> None:
    original = desk.write("data/a.csv", "1")
    requires(
        desk, "{file: data/a.csv, target-path: in, post-process: 'echo 2 >> a.csv; cp a.csv b.csv'}"
    )

    assert seen(desk)["in/b.csv"] == "12"
    run = desk.store / "runs" / latest(desk)["id"]
    assert (run / "in/a.csv").read_text() == (run / "in/b.csv").read_text() == "12\n"
    assert original.read_text() == "1"
    assert not any("changed" in one["message"] for one in latest(desk).get("warnings", []))


def test_a_command_that_fails_fails_the_run(desk: Desk) -> None:
    desk.write("data/a.csv", "1")
    requires(desk, "{file: data/a.csv, target-path: in, post-process: 'echo no room; exit 3'}")

    done, record = failed(desk)

    said = "reenact.yml:4: `file:data/a.csv`: `post-process` ended with exit status 3: no room"
    assert record["failure"]["message"] == said
    assert record["failure"]["type"] == "requirement"
    assert f"error: {said}" in done.complaint


def test_a_run_in_place_uses_what_is_there_and_gets_nothing(desk: Desk) -> None:
    desk.write("a.csv", "1")
    requires(desk, "file: a.csv")
    assert seen(desk, "op", "--in-place")["a.csv"] == "1"

    desk.write("data/b.csv", "2")
    requires(desk, "file: data/b.csv")
    done, _ = failed(desk, "op", "--in-place")
    assert "a run in place gets no files" in done.err


def test_a_killed_run_leaves_nothing_of_what_it_was_given(desk: Desk) -> None:
    desk.write("data/a.csv", "1")
    desk.write("wait.py", "import time\nprint('here', flush=True)\ntime.sleep(60)")
    requires(
        desk,
        "{file: data/a.csv, target-path: in}",
        "{file: data/a.csv, target-path: copied, target-type: copy}",
        main="wait",
    )
    with desk.start("run", "op") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        process.kill()
    run_id = desk.ids()[0]
    desk.reenact("stop", run_id)

    wait_until(lambda: desk.status(run_id) == "killed", what="the run counts as killed")
    desk.ok("show", run_id)
    record = desk.record(run_id)
    assert [file["path"] for file in record["inputs"]] == ["copied/a.csv", "in/a.csv"]
    assert record.get("outputs", []) == []
    for path in ("in/a.csv", "copied/a.csv"):
        assert not os.path.lexists(desk.store / "runs" / run_id / path)


def test_a_dry_run_says_what_would_be_taken(desk: Desk) -> None:
    desk.write("reenact.yml", PIPELINE)
    run_id = desk.run("prepare")

    told = desk.ok("run", "train", "--dry-run")
    found = desk.json("run", "train", "--dry-run")["requires"]

    assert (
        f"requires    prepared: operation prepare, run {run_id[:8]}, the latest completed run"
        in told
    )
    assert found[0]["run"] == run_id
    assert found[0]["paths"] == ["data/data1.txt", "data/sub/data2.txt"]
    assert desk.ids() == [run_id]


def test_a_flag_of_the_operation_that_is_called_as_a_resource_is_both(desk: Desk) -> None:
    desk.write("data/a.csv", "1")
    desk.write("data/b.csv", "2")
    desk.write("argue.py", SHOW + "import sys\nprint('argued: ' + ' '.join(sys.argv[1:]))")
    requires(
        desk,
        "{file: data/a.csv, name: data, target-path: in}",
        main="argue",
        flags="  flags-dest: args\n  flags:\n    data: data/b.csv\n",
    )

    files = seen(desk)

    assert (files["in/b.csv"], files["argued"]) == ("2", "--data data/b.csv")


def test_without_a_snapshot_files_are_there_as_well(desk: Desk) -> None:
    desk.write("data/a.csv", "1")
    desk.write("c.yml", "lr: 0.1\n")
    desk.write("cat.py", "print(open('a.csv').read() + open('c.yml').read(), end='')")
    requires(desk, "file: data/a.csv", "{config: c.yml, params: {lr: 0.5}}", main="cat")

    assert desk.ok("run", "op", "--no-snapshot") == "1lr: 0.5\n"


# --- modules, configuration ---


def test_a_module_must_be_there_in_the_runs_own_interpreter(desk: Desk) -> None:
    desk.write("mine.py", "")
    requires(desk, "module: json", "module: mine")
    desk.ok("run", "op")

    requires(desk, "module: no_such.module")
    done = refused(desk)
    assert "reenact.yml:4" in done.err
    assert "needs the module `no_such.module`" in done.err


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("c.yml", "lr: 0.1  # rate\nnet: {units: 8}\n", "lr: 0.5  # rate\nnet: {units: 16}\n"),
        ("c.json", '{"lr": 0.1, "net": {"units": 8}}', '{"lr": 0.5, "net": {"units": 16}}'),
        ("c.toml", "lr = 0.1\n[net]\nunits = 8\n", "lr = 0.5\n[net]\nunits = 16\n"),
    ],
)
def test_a_configuration_file_gets_the_values_of_flags(
    desk: Desk, name: str, content: str, expected: str
) -> None:
    desk.write(name, content)
    desk.write("cat.py", f"print(open({name!r}).read(), end='')")
    requires(
        desk,
        f"{{config: {name}, params: {{lr: 0.3, net.units: 16}}}}",
        main="cat",
        flags="  flags-dest: none\n  flags:\n    lr: null\n    other: 3\n",
    )

    assert desk.ok("run", "op") == expected.replace("0.5", "0.3")
    assert desk.ok("run", "op", "lr=0.5") == expected
    assert (desk.project / name).read_text() == content
    assert [file["path"] for file in latest(desk)["outputs"]] == [name]


def test_a_configuration_file_that_cannot_hold_a_value_is_refused(desk: Desk) -> None:
    desk.write("c.yml", "lr: 0.1\n")
    desk.write("c.txt", "lr: 0.1\n")
    requires(desk, "{config: c.yml, params: {rl: 1}}")
    assert "`c.yml` has no value `rl`" in refused(desk).err.replace(f"{desk.project}/", "")

    requires(desk, "config: c.txt")
    assert "no configuration file that values can be set in" in refused(desk).err


# --- URLs ---


def test_a_url_is_loaded_once_and_recorded(desk: Desk, web: Served) -> None:
    web.files["/set/a.csv"] = b"1"
    sha256 = hashlib.sha256(b"1").hexdigest()
    requires(desk, f"{{url: '{web.url}/set/a.csv', sha256: {sha256}, target-path: in}}")

    assert seen(desk)["in/a.csv"] == "1"
    assert seen(desk)["in/a.csv"] == "1"
    assert len(web.asked) == 1
    record = latest(desk)
    assert record["dependencies"][0]["uri"] == f"{web.url}/set/a.csv"
    assert record["inputs"][0]["origin"] == f"{web.url}/set/a.csv"
    assert record["inputs"][0]["digest"] == record["dependencies"][0]["digest"]


def test_an_archive_at_a_url_is_unpacked(desk: Desk, web: Served) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("set/a.csv", "1")
    web.files["/set.zip"] = content.getvalue()
    web.cuts = [40]
    requires(desk, f"url: {web.url}/set.zip")

    assert seen(desk)["set/a.csv"] == "1"
    assert web.asked[1][1] == "bytes=40-"


@pytest.mark.parametrize(
    ("path", "more", "reason"),
    [
        ("/nothing.csv", "", "the server says 404"),
        ("/a.csv", f", sha256: {'0' * 64}", "and must have 0000"),
    ],
)
def test_a_url_that_cannot_be_had_fails_the_run(
    desk: Desk, web: Served, path: str, more: str, reason: str
) -> None:
    web.files["/a.csv"] = b"1"
    requires(desk, f"{{url: '{web.url}{path}'{more}}}")

    done, record = failed(desk)

    assert reason in done.err
    assert record["failure"]["message"].startswith("reenact.yml:4: ")
    assert reason in record["failure"]["message"]


def test_a_run_that_failed_for_want_of_a_file_can_be_restarted(desk: Desk, web: Served) -> None:
    requires(desk, f"url: {web.url}/a.csv")
    _, record = failed(desk)
    web.files["/a.csv"] = b"1"

    desk.ok("run", "--restart", record["id"])

    assert desk.status(record["id"]) == "completed"
    assert "failure" not in desk.record(record["id"])
    assert "a.csv: '1'" in desk.ok("log", record["id"])


def test_a_background_run_that_cannot_have_its_files_is_there_and_failed(
    desk: Desk, web: Served
) -> None:
    requires(desk, f"url: {web.url}/a.csv")

    run_id = desk.ok("run", "op", "--background").strip()

    wait_until(lambda: desk.status(run_id) == "failed", what="the run has failed")


def test_ctrl_c_while_something_is_loaded_leaves_no_run(desk: Desk, web: Served) -> None:
    web.files["/a.csv"] = b"1"
    web.is_slow.set()
    requires(desk, f"url: {web.url}/a.csv")
    with desk.start("run", "op") as process:
        wait_until(lambda: web.asked, what="the server is asked")
        process.send_signal(signal.SIGINT)
        process.communicate()
    web.is_slow.clear()

    assert process.returncode == 130
    assert desk.ids() == []
    assert seen(desk)["a.csv"] == "1"


def test_trials_that_run_at_once_load_a_url_once(desk: Desk, web: Served) -> None:
    web.files["/a.csv"] = b"1"
    sha256 = hashlib.sha256(b"1").hexdigest()
    requires(
        desk,
        f"{{url: '{web.url}/a.csv', sha256: {sha256}}}",
        flags="  flags-dest: none\n  flags:\n    x: 1\n",
    )

    done = desk.reenact("run", "op", "x=[1,2,3]", "--jobs", "3")

    assert done.status == 0, done
    assert len(web.asked) == 1


def test_a_password_in_a_url_is_in_no_record(desk: Desk, web: Served) -> None:
    web.files["/a.csv"] = b"1"
    web.login = "ada:s3cret-word"
    url = web.url.replace("//", "//ada:${word}@")
    requires(
        desk,
        f"url: {url}/a.csv",
        flags="  flags-dest: none\n  flags:\n    word: null\n",
    )

    assert seen(desk, "op", "word=s3cret-word")["a.csv"] == "1"
    record = latest(desk)
    shown = json.dumps([record["dependencies"], record["inputs"]])
    assert "s3cret" not in shown


def test_a_scheme_that_nobody_knows_is_refused(desk: Desk) -> None:
    requires(desk, "url: s3://bucket/a.csv")

    assert "`s3` is no scheme that can be loaded" in refused(desk).err


# --- runs ---


def test_an_operation_gets_the_files_of_the_latest_completed_run(desk: Desk) -> None:
    desk.write("reenact.yml", PIPELINE)
    desk.run("prepare", "split=0.1")
    second = desk.run("prepare", "split=0.2")

    assert seen(desk, "train") == {"data/data1.txt": "0.2", "data/sub/data2.txt": "two"}
    assert seen(desk, "pick") == {"data.txt": "two"}

    one = latest(desk)["dependencies"][0]
    assert (one["run"], one["why"]) == (second, "the latest completed run")
    assert one["flags"] == {"split": 0.2}
    shown = desk.ok("show")
    assert f"operation prepare, run {second[:8]}, the latest completed run, split=0.2" in shown
    assert f"(from run {second[:8]})" in shown


def test_a_marked_run_is_taken_before_a_later_one(desk: Desk) -> None:
    desk.write("reenact.yml", PIPELINE)
    first = desk.run("prepare", "split=0.1")
    desk.run("prepare", "split=0.2")
    desk.ok("mark", first)

    assert seen(desk, "train")["data/data1.txt"] == "0.1"
    assert latest(desk)["dependencies"][0]["why"] == "the marked run"


@pytest.mark.parametrize("how", ["id", "label", "latest"])
def test_the_user_chooses_the_run(desk: Desk, how: str) -> None:
    desk.write("reenact.yml", PIPELINE)
    first = desk.run("prepare", "split=0.1", "--label", "small")
    second = desk.run("prepare", "split=0.2")
    desk.ok("mark", first)
    text, wanted = {
        "id": (first[:6], first), "label": ("small", first), "latest": ("@latest", second)
    }[how]  # fmt: skip

    desk.ok("run", "train", f"prepared={text}")

    record = latest(desk)
    assert record["dependencies"][0]["run"] == wanted
    assert record["flags"]["prepared"] == wanted[:8]
    assert f"`prepared={text}`" in record["dependencies"][0]["why"]


def test_without_a_completed_run_it_is_said_what_to_do(desk: Desk) -> None:
    desk.write("reenact.yml", PIPELINE)

    assert refused(desk, "train").complaint == [
        (
            "error: reenact.yml:9: `prepared` needs a completed run of `prepare`, and this project "
            "has none"
        ),
        "hint: run it first: `reenact run prepare`",
    ]


def test_a_failed_run_is_not_taken_unless_it_is_named(desk: Desk) -> None:
    desk.write("reenact.yml", PIPELINE.replace("two > sub/data2.txt", "two > data2.txt; exit 1"))
    run_id = desk.run("prepare")

    done = refused(desk, "train")
    assert f"its latest one, {run_id[:8]}, is failed" in done.err

    desk.ok("run", "train", f"prepared={run_id[:8]}")
    assert "which is failed" in latest(desk)["warnings"][0]["message"]


def test_a_run_of_another_project_is_never_taken(desk: Desk) -> None:
    desk.write("reenact.yml", PIPELINE)
    other = desk.project.parent / "other"
    other.mkdir()
    (other / "reenact.yml").write_text(PIPELINE)
    (other / "show.py").write_text(SHOW)
    desk.ok("run", "prepare", cwd=other)

    assert "this project has none" in refused(desk, "train").err


def test_what_a_run_was_given_is_among_its_files(desk: Desk) -> None:
    desk.write("data/a.csv", "1")
    desk.write("data/dir/b.csv", "2")
    desk.write("quiet.py", "pass")
    desk.write(
        "reenact.yml",
        """
first:
  main: quiet
  requires:
    - file: data/a.csv
    - file: data/dir
second:
  main: show
  requires:
    - operation: first
      target-path: in
""",
    )
    desk.ok("run", "first")

    files = seen(desk, "second")

    assert (files["in/a.csv"], files["in/dir/b.csv"]) == ("1", "2")


def test_writing_to_what_another_run_made_leaves_that_alone(desk: Desk) -> None:
    desk.write("append.py", "open('data/data1.txt', 'a').write('!')")
    desk.write("reenact.yml", PIPELINE.replace("main: show", "main: append", 1))
    first = desk.run("prepare")

    desk.ok("run", "train")

    assert (desk.store / "runs" / first / "data1.txt").read_text() == "0.5\n"
    assert [f["path"] for f in latest(desk)["outputs"]] == ["data/data1.txt"]


SHELL = "import os\nos.system('echo more >> data/data1.txt')\n"


def test_a_program_that_a_script_starts_does_not_reach_another_run(desk: Desk) -> None:
    desk.write("append.py", SHELL)
    desk.write("reenact.yml", PIPELINE.replace("main: show", "main: append", 1))
    first = desk.run("prepare")

    done = desk.reenact("run", "train")

    assert (done.status, done.err) == (0, "")
    assert (desk.store / "runs" / first / "data1.txt").read_text() == "0.5\n"
    record = latest(desk)
    assert [f["path"] for f in record["outputs"]] == ["data/data1.txt"]
    assert record["warnings"] == []


@pytest.mark.parametrize(
    "reason", ["asked for", "many files", "many files in a directory", "large"]
)
def test_what_a_program_does_to_linked_files_of_another_run_is_said(
    desk: Desk, reason: str
) -> None:
    made = {
        "asked for": "true",
        "many files": "touch $(seq 1000)",
        "many files in a directory": "mkdir many; cd many; touch $(seq 2100); cd ..",
        "large": "truncate -s 65M large",
    }[reason]
    is_directory = reason.endswith("directory")
    target = "many/7" if is_directory else "data1.txt"
    desk.write("append.py", f"import os\nos.system('echo more >> data/{target}')\n")
    text = PIPELINE.replace("mkdir sub;", f"{made}; mkdir sub;").replace(
        "main: show", "main: append", 1
    )
    if reason == "asked for":
        text = text.replace("path: data", "path: data\n      target-type: link")
    desk.write(
        "reenact.yml",
        text.replace("name: prepared", "name: prepared\n      select: many", 1)
        if is_directory
        else text,
    )
    first = desk.run("prepare")

    done = desk.reenact("run", "train")

    complaint = (
        f"files of run {first[:8]} changed while this run was linked to them, and are not what it "
        f"made any more: data/{target}"
    )
    assert done.err == f"warning: {complaint}\n"
    assert (desk.store / "runs" / first / target).read_text().endswith("more\n")
    assert latest(desk)["warnings"] == [{"code": "written-through-run", "message": complaint}]


def test_a_command_that_writes_to_what_another_run_made_leaves_that_alone(desk: Desk) -> None:
    desk.write(
        "reenact.yml",
        PIPELINE.replace("main: show", "exec: sh -c 'echo more >> data/data1.txt'", 1),
    )
    first = desk.run("prepare")

    desk.ok("run", "train")

    assert (desk.store / "runs" / first / "data1.txt").read_text() == "0.5\n"
    assert [f["path"] for f in latest(desk)["outputs"]] == ["data/data1.txt"]


def test_a_run_that_is_run_again_takes_the_same_runs(desk: Desk) -> None:
    desk.write("reenact.yml", PIPELINE)
    first = desk.run("prepare", "split=0.1")
    train = desk.run("train")
    desk.run("prepare", "split=0.2")

    desk.ok("run", "--like", train)
    like = latest(desk)
    desk.ok("run", "--restart", train)

    assert like["dependencies"][0]["run"] == first
    assert like["dependencies"][0]["why"] == f"as in run {train[:8]}"
    assert desk.record(train)["dependencies"][0]["run"] == first


def test_nothing_selected_is_said_or_refused(desk: Desk) -> None:
    desk.write(
        "reenact.yml",
        PIPELINE + "      warn-if-empty: yes\n"
        "none:\n  main: show\n  requires:\n    - operation: prepare\n      select: nothing\n"
        "      fail-if-empty: yes\n"
        "few:\n  main: show\n  requires:\n    - operation: prepare\n      select: nothing\n",
    )
    desk.run("prepare")

    assert "has no file that is selected" in refused(desk, "none").err
    assert seen(desk, "few") == {}
    assert "gives nothing" in latest(desk)["warnings"][0]["message"]


def test_a_batch_cannot_be_chosen_but_one_of_its_trials_can(desk: Desk) -> None:
    desk.write("reenact.yml", PIPELINE)
    done = desk.reenact("run", "prepare", "split=[0.1,0.2]", "--label", "many")
    assert done.status == 0, done
    batch = desk.json("runs", "--filter", "kind = batch")["runs"][0]["id"]

    assert "a batch, which has no files" in refused(desk, "train", f"prepared={batch[:8]}").err
    assert seen(desk, "train", f"prepared={batch[:8]}/1")["data/data1.txt"] == "0.1"
    assert seen(desk, "train")["data/data1.txt"] in ("0.1", "0.2")


def test_a_resource_by_name_is_met_from_all_its_sources(desk: Desk) -> None:
    desk.write("data/a.csv", "1")
    desk.write("data/b.csv", "2")
    desk.write(
        "reenact.yml",
        """
- model: m
  resources:
    both:
      target-path: in
      sources:
        - file: data/a.csv
        - file: data/b.csv
  operations:
    op:
      main: show
      flags-dest: none
      flags:
        which: both
      requires: ${which}
    direct:
      main: show
      requires: both
""",
    )

    for operation in ("m:op", "m:direct"):
        files = seen(desk, operation)
        assert (files["in/a.csv"], files["in/b.csv"]) == ("1", "2")
    assert "names `none`, which is neither" in refused(desk, "m:op", "which=none").err


# --- lineage ---


def test_the_lineage_of_a_run_is_printed_and_drawn(desk: Desk) -> None:
    desk.write("data/raw.csv", "1")
    desk.write("reenact.yml", PIPELINE + "\n")
    text = (desk.project / "reenact.yml").read_text()
    desk.write(
        "reenact.yml", text.replace("train:\n", "  requires:\n    - file: data/raw.csv\ntrain:\n")
    )
    prepare = desk.run("prepare")
    train = desk.run("train", "--label", "final <1>")

    above = desk.ok("graph", train).splitlines()
    below = desk.ok("graph", prepare).splitlines()
    found = desk.json("graph", train)
    desk.ok("graph", train, "--svg", "lineage.svg")

    assert above == [
        "   ┌─ file:data/raw.csv from file data/raw.csv",
        f"┌─ prepared from {prepare[:8]}  prepare  completed  (the latest completed run)",
        f"{train[:8]}  train  completed  final <1>",
    ]
    assert below[-1].startswith(f"└─ prepared to {train[:8]}  train")
    assert {node["id"] for node in found["nodes"]} == {train, prepare, "file data/raw.csv"}
    assert {(e["from"], e["to"], e["kind"]) for e in found["edges"]} == {
        (prepare, train, "requires"),
        ("file data/raw.csv", prepare, "requires"),
    }
    root = ET.fromstring((desk.project / "lineage.svg").read_text())
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert f"{train[:8]}  train" in texts
    assert "completed  final <1>" in texts


def test_the_lineage_of_a_batch_has_its_trials(desk: Desk) -> None:
    desk.write("reenact.yml", PIPELINE)
    desk.reenact("run", "prepare", "split=[0.1,0.2]")
    batch = desk.json("runs", "--filter", "kind = batch")["runs"][0]["id"]

    lines = desk.ok("graph", batch).splitlines()

    assert lines[0].startswith(f"{batch[:8]}  prepare")
    assert ["part" in line for line in lines[1:]] == [True, True]


def test_who_deletes_a_run_hears_which_runs_used_its_files(desk: Desk) -> None:
    desk.write("reenact.yml", PIPELINE)
    prepare = desk.run("prepare")
    train = desk.run("train")

    alone = desk.reenact("rm", prepare, "--dry-run")
    together = desk.reenact("rm", prepare, train, "--yes")

    assert f"files of run {prepare[:8]} were used by {train[:8]}" in alone.err
    assert "were used by" not in together.err


def test_a_run_that_is_run_again_says_when_it_gets_files_of_another_run(desk: Desk) -> None:
    desk.write("reenact.yml", PIPELINE)
    desk.ok("run", "prepare", "split=0.1", "--quiet")
    other = desk.ok("select", "@latest").strip()
    desk.ok("run", "prepare", "split=0.2", "--quiet")
    gone = desk.ok("select", "@latest").strip()
    desk.ok("run", "train", "--quiet")
    train = desk.ok("select", "@latest").strip()
    desk.ok("rm", gone, "--yes")

    again = desk.reenact("run", "--like", train)

    assert again.status == 0
    assert f"`prepared` is run {other[:8]}: run {gone[:8]}" in again.err
    assert "is gone" in again.err


def test_a_run_whose_files_came_from_one_that_is_gone_says_so(desk: Desk) -> None:
    desk.write("reenact.yml", PIPELINE)
    prepare = desk.run("prepare")
    train = desk.run("train")
    desk.ok("rm", prepare, "--yes")

    assert "not in this store any more" in desk.ok("graph", train)
    assert "this project has none" in refused(desk, "train").err


def test_a_file_of_another_run_that_was_opened_unasked_counts_as_well(desk: Desk) -> None:
    desk.write("make.py", "open('out.txt', 'w').write('made')\n")
    desk.write("use.py", "path = ''\nprint(open(path).read())\n")
    made = desk.run("make.py")
    used = desk.run("use.py", f"path={desk.store}/runs/{made}/out.txt")

    edges = desk.json("graph", made)["edges"]
    said = desk.reenact("rm", made, "--dry-run").err

    expected = {"from": made, "to": used, "kind": "reads", "name": "out.txt", "why": None}
    assert edges == [expected]
    assert f"out.txt from {made[:8]}" in desk.ok("graph", used)
    assert f"files of run {made[:8]} were used by {used[:8]}" in said
