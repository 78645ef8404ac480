"""Keeping a store in order: `fsck`, `gc`, the trash, and notes that many edit at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from commands import Desk, wait_until
from reenact.store.blobs import Blobs
from refusals import as_ordinary_user

SCRIPT = """
lr = 0.1
print("loss:", lr)
open("model.txt", "w").write(f"weights of {lr}")
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.write("train.py", SCRIPT)
    desk.write("helper.py", "x = 1")
    return desk


def problems(desk: Desk, *words: str) -> list[tuple[str, str, str]]:
    """Return what `fsck` finds; its exit status must tell the same."""
    done = desk.reenact("fsck", "--json", *words)
    found = json.loads(done.out)
    assert done.status == (1 if found["problems"] else 0), done
    assert found["ok"] is not bool(found["problems"])
    return [(p["kind"], p["where"], p["detail"]) for p in found["problems"]]


def kinds(desk: Desk, *words: str) -> list[str]:
    return [kind for kind, _, _ in problems(desk, *words)]


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def source_blob(desk: Desk, run_id: str, name: str = "train.py") -> tuple[str, Path]:
    files = desk.json("ls", run_id, "--source")["files"]
    digest = next(file["digest"] for file in files if file["path"] == name)
    return digest, Path(Blobs(str(desk.store / "blobs")).path(digest))


class TestFsck:
    def test_a_store_that_nobody_touched_is_in_order(self, desk: Desk) -> None:
        for lr in ("1", "2"):
            desk.run("train.py", f"lr={lr}")

        assert problems(desk) == problems(desk, "--quick") == []

    def test_there_must_be_a_store(self, desk: Desk) -> None:
        done = desk.reenact("fsck")

        assert done.status == 1
        assert done.complaint[0] == f"error: there is no store at `{desk.store}`"

    def test_an_edited_record_is_named_and_others_are_not_affected(self, desk: Desk) -> None:
        bad, good = desk.run("train.py"), desk.run("train.py", "lr=2")
        content = desk.file(bad, "run.json").read_text()
        desk.file(bad, "run.json").write_text(content.replace('"command"', '"commando"'))

        ((kind, where, detail),) = problems(desk)
        assert (kind, where) == ("record", bad)
        assert detail.startswith(f"run {bad[:8]} is damaged: ")
        assert desk.status(bad) == "damaged"
        assert desk.status(good) == "completed"
        assert desk.reenact("show", good).status == 0
        done = desk.reenact("show", bad)
        assert done.status == 1
        assert done.complaint[0].startswith(f"error: run {bad[:8]} is damaged: ")
        assert done.complaint[1] == "hint: `reenact fsck` lists what is wrong in the store"

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{}",
            b"\xff",
            b'{"format":1}',
            b'{"format":7}',
        ],
    )
    def test_whatever_stands_in_a_record_other_commands_go_on(
        self, desk: Desk, content: bytes
    ) -> None:
        bad, good = desk.run("train.py"), desk.run("train.py", "lr=2")
        desk.file(bad, "run.json").write_bytes(content)

        assert kinds(desk) == ["record"]
        assert {run["id"]: run["status"] for run in desk.json("runs")["runs"]} == {
            bad: "damaged",
            good: "completed",
        }
        for words in (["compare"], ["runs", "-f", "lr = 2"], ["select", "--min", "loss"]):
            assert desk.reenact(*words).status == 0, words

    def test_numbers_edited_by_hand_into_words_do_no_harm(self, desk: Desk) -> None:
        bad, good = desk.run("train.py"), desk.run("train.py", "lr=2")
        record = desk.record(bad)
        record["metrics"]["loss"].update(first="abc", last="abc", maximum="Infinity")
        record["flags"] = {"lr": {"$float": "abc"}}
        desk.file(bad, "run.json").write_text(json.dumps(record))

        for words in (["runs"], ["runs", "-s", "loss"], ["show", bad], ["compare"], ["fsck"]):
            assert desk.reenact(*words).status in (0, 1), (words, desk.reenact(*words))
        assert desk.status(good) == "completed"

    def test_a_record_that_is_gone(self, desk: Desk) -> None:
        bad = desk.run("train.py")
        desk.file(bad, "run.json").unlink()

        assert problems(desk) == [("record", bad, f"run {bad[:8]} is damaged: it has no run.json")]

    def test_damaged_notes_are_named_and_not_overwritten(self, desk: Desk) -> None:
        run_id = desk.run("train.py", "--label", "best")
        desk.file(run_id, "notes.json").write_text('{"label": "best", "tags": 3}')

        assert kinds(desk) == ["notes"]
        done = desk.reenact("label", run_id, "--set", "worst")
        assert done.status == 1
        assert done.complaint[0].startswith(f"error: notes of run {run_id[:8]} is damaged")
        assert desk.file(run_id, "notes.json").read_text() == '{"label": "best", "tags": 3}'
        assert desk.status(run_id) == "completed"

    def test_a_removed_blob_is_named_with_the_runs_that_need_it(self, desk: Desk) -> None:
        one, two = desk.run("train.py"), desk.run("train.py", "lr=2")
        desk.write("train.py", SCRIPT + "# later")
        other = desk.run("train.py")
        digest, path = source_blob(desk, one)
        path.unlink()

        ((kind, where, detail),) = problems(desk)
        assert (kind, where) == ("blob-missing", digest)
        assert {one[:8], two[:8]} <= set(detail.replace(",", "").split())
        assert other[:8] not in detail
        assert desk.reenact("cat", other, "train.py").out == SCRIPT + "# later"

    @pytest.mark.parametrize("words", [[], ["--quick"]])
    def test_a_blob_cut_short_is_named(self, desk: Desk, words: list[str]) -> None:
        digest, path = source_blob(desk, desk.run("train.py"))
        overwrite(path, b"short")

        assert [found[:2] for found in problems(desk, *words)] == [("blob-damaged", digest)]

    @pytest.mark.parametrize("what", ["file", "tree", "environment", "machine", "of no run"])
    def test_a_flipped_bit_is_named_unless_it_is_to_be_quick(self, desk: Desk, what: str) -> None:
        run_id = desk.run("train.py")
        record = desk.record(run_id)
        blobs = Blobs(str(desk.store / "blobs"))
        digest = {
            "file": lambda: source_blob(desk, run_id)[0],
            "tree": lambda: record["source"]["tree"],
            "environment": lambda: record["environment"],
            "machine": lambda: record["machine"],
            "of no run": lambda: blobs.put(b"left behind"),
        }[what]()
        path = Path(blobs.path(digest))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        overwrite(path, bytes(content))

        assert [found[:2] for found in problems(desk)] == [("blob-damaged", digest)]
        assert kinds(desk, "--quick") in ([], ["blob-damaged"])
        assert desk.reenact("runs").status == 0

    def test_a_changed_and_a_missing_output_are_named(self, desk: Desk) -> None:
        one, two, three = (desk.run("train.py", f"lr={n}") for n in "123")
        (desk.store / "runs" / one / "model.txt").unlink()
        (desk.store / "runs" / two / "model.txt").write_text("weights of 3")

        found = problems(desk)

        assert sorted(found) == sorted(
            [
                ("output-missing", one, "model.txt: No such file or directory"),
                ("output-changed", two, "model.txt was changed since"),
            ]
        )
        assert "output-missing" in kinds(desk, "--quick")
        assert three not in str(found)

    def test_what_a_run_in_place_made_may_change(self, desk: Desk) -> None:
        desk.write("train.py", "open('model.txt', 'w').write('one')")
        run_id = desk.run("train.py", "--in-place")
        assert [o["path"] for o in desk.record(run_id)["outputs"]] == [f"{desk.project}/model.txt"]

        desk.write("model.txt", "another")

        assert problems(desk) == []

    @pytest.mark.parametrize(
        ("name", "size", "problem"),
        [
            ("output", 3, ("log", "7 bytes of output are missing")),
            ("output", 0, ("log", "10 bytes of output are missing")),
            ("output.index", 5, ("log", "the last entry of output.index is torn")),
            ("output.index", 0, ("log", "10 bytes of output have no entry in output.index")),
            ("metrics", 31, ("metrics", "31 bytes of metrics cannot be read")),
            ("metrics.names", 4, ("metrics", None)),
        ],
    )
    def test_a_torn_end_is_named(
        self, desk: Desk, name: str, size: int, problem: tuple[str, str | None]
    ) -> None:
        run_id = desk.run("train.py")
        desk.run("train.py")
        os.truncate(desk.file(run_id, name), size)

        ((kind, where, detail),) = problems(desk)

        assert (kind, where) == (problem[0], run_id)
        assert problem[1] in (None, detail)
        assert desk.reenact("show", run_id).status == 0
        assert desk.reenact("log", run_id).status == 0

    def test_a_point_overwritten_with_noise_is_named(self, desk: Desk) -> None:
        run_id = desk.run("train.py")
        with open(desk.file(run_id, "metrics"), "r+b") as file:
            file.seek(24)
            file.write(b"\xff" * 8)

        assert kinds(desk) == ["metrics"]

    def test_what_killed_writers_left_is_no_problem_and_can_be_removed(self, desk: Desk) -> None:
        run_id = desk.run("train.py")
        dead = subprocess.run(
            [sys.executable, "-c", "import os; print(os.getpid())"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        places = ["blobs/ab", "cache", "stage/ab", f"runs/{run_id}/.reenact", ""]
        left = []
        for place in places:
            path = desk.store / place / f"x.{dead}-1-abcdef.tmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("half")
            os.utime(path, (0, 0))
            left.append(path)
        doomed = desk.store / "trash" / ("a" * 32 + ".purged")
        doomed.mkdir(parents=True)

        assert problems(desk) == []
        desk.ok("fsck", "--repair")

        assert not any(path.exists() for path in (*left, doomed))
        assert problems(desk) == []

    def test_files_of_living_writers_stay(self, desk: Desk) -> None:
        desk.run("train.py")
        path = desk.store / "blobs" / f"x.{os.getpid()}-1-abcdef.tmp"
        path.write_text("half")
        os.utime(path, (0, 0))

        desk.ok("fsck", "--repair")
        desk.ok("gc")

        assert path.exists()

    def test_after_a_repair_the_next_run_brings_missing_source_back(self, desk: Desk) -> None:
        """What the stat cache takes for stored is put again, as long as the project has it."""
        for name in ("train.py", "helper.py"):
            os.utime(desk.project / name, (1e9, 1e9))
        run_id = desk.run("train.py")
        desk.run("train.py")
        source_blob(desk, run_id, "helper.py")[1].unlink()
        assert desk.reenact("fsck", "--repair").status == 1

        desk.run("train.py")

        assert problems(desk) == []

    def test_a_run_in_the_trash_is_checked_too(self, desk: Desk) -> None:
        run_id = desk.run("train.py")
        desk.ok("rm", "--yes", run_id)
        (desk.store / "trash" / run_id / "model.txt").unlink()

        assert [found[:2] for found in problems(desk)] == [("output-missing", run_id)]

    def test_it_may_be_asked_while_runs_come_and_go(self, desk: Desk) -> None:
        desk.run("train.py")
        runs = [desk.start("run", "train.py", f"lr={n}") for n in range(6)]
        checks = [desk.start("fsck", "--repair") for _ in range(3)]

        assert [(run.communicate()[1], run.returncode) for run in runs] == [(b"", 0)] * 6
        assert all(check.wait() == 0 and check.communicate() for check in checks)
        assert problems(desk) == []

    def test_names_of_any_kind_are_shown(self, desk: Desk) -> None:
        desk.write("train.py", "open(b'caf\\xe9\\n.txt', 'w').write('x')")
        run_id = desk.run("train.py")
        name = os.fsdecode(b"caf\xe9\n.txt")
        assert problems(desk) == []

        (desk.store / "runs" / run_id / name).unlink()

        done = desk.reenact("fsck")
        assert done.status == 1
        assert "caf\\xe9" in done.out
        assert done.out.count("\n") == 1


class TestGarbage:
    def blobs(self, desk: Desk) -> set[str]:
        return set(Blobs(str(desk.store / "blobs")).list())

    def test_what_runs_need_stays_and_the_rest_goes(self, desk: Desk) -> None:
        kept = desk.run("train.py")
        needed = self.blobs(desk)
        desk.write("helper.py", "x = 2  # another tree")
        gone = desk.run("train.py")
        assert self.blobs(desk) > needed
        desk.ok("rm", "--yes", gone)
        desk.ok("gc")
        assert len(self.blobs(desk)) > len(needed)

        desk.ok("purge", "--yes", gone)
        would = desk.json("gc", "--dry-run")
        assert len(self.blobs(desk)) > len(needed)
        freed = desk.json("gc")

        assert self.blobs(desk) == needed
        assert would == freed
        assert freed["blobs"] == 2
        assert problems(desk) == []
        assert desk.reenact("cat", kept, "helper.py").out == "x = 1"

    def test_the_next_run_puts_again_what_was_freed(self, desk: Desk) -> None:
        for name in ("train.py", "helper.py"):
            os.utime(desk.project / name, (1e9, 1e9))
        first = desk.run("train.py")
        desk.run("train.py")
        desk.ok("rm", "--yes", "--filter", "lr = 0.1")
        desk.ok("purge", "--yes", "--filter", "lr = 0.1")
        assert desk.json("gc")["blobs"] > 0

        again = desk.run("train.py")

        assert first != again
        assert problems(desk) == []

    def test_with_a_damaged_record_nothing_is_freed(self, desk: Desk) -> None:
        bad = desk.run("train.py")
        before = self.blobs(desk)
        desk.file(bad, "run.json").write_text("{")

        for words in (["gc"], ["gc", "--dry-run"]):
            done = desk.reenact(*words)
            assert done.status == 1
            assert "what it needs is not known, so nothing is freed" in done.complaint[0]
            assert f"`reenact rm {bad[:8]}`" in done.complaint[1]

        assert self.blobs(desk) == before
        desk.ok("rm", "--yes", bad)
        assert desk.reenact("gc").status == 1
        desk.ok("purge", "--yes", bad)
        assert desk.json("gc")["blobs"] == len(before)

    def test_with_a_missing_tree_the_rest_is_kept(self, desk: Desk) -> None:
        bad = desk.run("train.py")
        tree = desk.record(bad)["source"]["tree"]
        Blobs(str(desk.store / "blobs")).remove(tree)
        before = self.blobs(desk)

        done = desk.reenact("gc")

        assert done.status in (0, 1)
        if done.status == 1:
            assert self.blobs(desk) == before

    def test_runs_that_begin_meanwhile_lose_nothing(self, desk: Desk) -> None:
        desk.run("train.py")
        working = []
        for number in range(8):
            desk.write("helper.py", f"x = {number}")
            working.append(desk.start("run", "train.py", f"lr={number}"))
            working.append(desk.start("gc"))

        ends = [(one.communicate()[1], one.returncode) for one in working]
        assert [status for _, status in ends] == [0] * 16, ends
        assert problems(desk) == []

    def test_it_frees_space_on_a_full_disk(self, desk: Desk) -> None:
        gone = desk.run("train.py")
        desk.ok("rm", "--yes", gone)
        words = (
            "import resource, signal, sys\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
            "from reenact.cli.main import run_command_line\nrun_command_line(sys.argv[1:])"
        )

        for command in (["purge", "--yes", gone], ["gc"]):
            done = subprocess.run(
                [sys.executable, "-c", words, *command],
                cwd=desk.project,
                env={**os.environ, **desk.env},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done

        assert self.blobs(desk) == set()


class TestTrash:
    def test_a_run_comes_back_as_it_was(self, desk: Desk) -> None:
        run_id = desk.run("train.py", "--label", "best", "--tag", "a")
        before = desk.json("show", run_id)

        desk.ok("rm", "--yes", run_id)
        assert desk.json("runs")["runs"] == []
        assert [run["id"] for run in desk.json("runs", "--deleted")["runs"]] == [run_id]
        desk.ok("restore", "best")

        assert desk.json("show", run_id) == before
        assert desk.json("runs", "--deleted")["runs"] == []

    def test_a_purged_run_is_gone_for_good(self, desk: Desk) -> None:
        run_id = desk.run("train.py")
        desk.ok("rm", "--yes", run_id)

        desk.ok("purge", "--yes", run_id)

        assert os.listdir(desk.store / "trash") == []
        for command in ("restore", "purge"):
            done = desk.reenact(command, run_id)
            assert done.status == 1
            assert done.complaint[0] == f"error: run {run_id[:8]} is not in the trash"

    def test_only_what_is_in_the_trash_can_be_purged(self, desk: Desk) -> None:
        run_id = desk.run("train.py")

        done = desk.reenact("purge", "--yes", run_id)

        assert done.status == 1
        assert desk.status(run_id) == "completed"

    def test_a_running_run_stays(self, desk: Desk) -> None:
        desk.write("train.py", "import time\nopen('ready', 'w')\ntime.sleep(600)")
        run = desk.start("run", "train.py")
        wait_until(lambda: [i for i in desk.ids() if (desk.store / "runs" / i / "ready").exists()],
                   what="it runs")  # fmt: skip
        (run_id,) = desk.ids()

        done = desk.reenact("rm", "--yes", run_id)

        assert done.status == 1
        assert done.complaint == [
            f"error: run {run_id[:8]} is running",
            f"hint: first `reenact stop {run_id[:8]}`",
        ]
        desk.ok("stop", run_id)
        run.communicate()
        assert run.returncode == 130
        desk.ok("rm", "--yes", run_id)

    def test_a_run_that_is_being_prepared_is_stopped_once_it_has_begun(self, desk: Desk) -> None:
        desk.write("train.py", "import time\ntime.sleep(600)")
        run = desk.start("run", "train.py")
        wait_until(desk.ids, what="it is in the store")

        desk.ok("stop", desk.ids()[0])
        run.communicate()

        # A Python that is interrupted while it starts ends with 1.
        assert run.returncode in (1, 130)
        assert desk.status(desk.ids()[0]) == "terminated"

    def test_a_damaged_run_can_be_thrown_away(self, desk: Desk) -> None:
        run_id = desk.run("train.py")
        desk.file(run_id, "run.json").write_text("{")

        desk.ok("rm", "--yes", run_id)
        desk.ok("purge", "--yes", run_id)

        assert problems(desk)[0][0] == "blob-missing" if problems(desk) else True
        assert desk.ids() == []

    def test_nothing_is_destroyed_without_an_answer(self, desk: Desk) -> None:
        run_id = desk.run("train.py")

        done = desk.reenact("rm", run_id)

        assert done.status == 2
        assert done.complaint == [
            "error: move 1 run to the trash? needs an answer",
            "hint: say `--yes` to go on",
        ]
        assert desk.ids() == [run_id]
        assert desk.ok("rm", "--dry-run", run_id) == f"{run_id}\n"
        assert desk.ids() == [run_id]

    def test_a_run_of_the_same_id_in_the_trash_is_said(self, desk: Desk) -> None:
        run_id = "a" * 32
        desk.run("train.py", "--run-id", run_id)
        desk.ok("rm", "--yes", run_id)
        again = desk.reenact("run", "train.py", "--run-id", run_id)
        if again.status != 0:
            return

        for command in (["rm", "--yes", run_id], ["restore", run_id]):
            done = desk.reenact(*command)
            assert done.status == 1
            assert done.complaint == [
                f"error: there is a run {run_id[:8]} in the store and another one in the trash",
                f"hint: `reenact purge {run_id[:8]}` deletes the one in the trash",
            ]

    def test_two_who_throw_the_same_run_away_do_not_disturb_each_other(self, desk: Desk) -> None:
        run_id = desk.run("train.py")

        both = [desk.start("rm", "--yes", run_id) for _ in range(4)]
        ends = [(one.communicate()[1].decode(), one.returncode) for one in both]

        assert sorted(status for _, status in ends) == [0, 1, 1, 1]
        assert all("cannot use the store" not in text for text, _ in ends)
        assert os.listdir(desk.store / "trash") == [run_id]

    def test_a_run_with_directories_that_must_not_be_written_to_can_be_purged(
        self, desk: Desk
    ) -> None:
        desk.write("train.py", "import os\nos.mkdir('d'); open('d/x', 'w'); os.chmod('d', 0o555)")
        run_id = desk.run("train.py", preexec_fn=as_ordinary_user)

        desk.ok("rm", "--yes", run_id, preexec_fn=as_ordinary_user)
        desk.ok("purge", "--yes", run_id, preexec_fn=as_ordinary_user)

        assert os.listdir(desk.store / "trash") == []

    def test_a_purge_that_was_cut_short_leaves_no_half_of_a_run(self, desk: Desk) -> None:
        run_id = desk.run("train.py")
        desk.ok("rm", "--yes", run_id)
        words = (
            "import os, shutil, signal, sys\n"
            "shutil.rmtree = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
            "from reenact.cli.main import run_command_line\nrun_command_line(sys.argv[1:])"
        )

        killed = subprocess.run(
            [sys.executable, "-c", words, "purge", "--yes", run_id],
            cwd=desk.project,
            env={**os.environ, **desk.env},
            check=False,
        )

        assert killed.returncode == -signal.SIGKILL
        assert desk.json("runs", "--deleted")["runs"] == []
        desk.ok("gc")
        assert os.listdir(desk.store / "trash") == []


class TestNotes:
    def test_ten_editors_at_once_lose_none(self, desk: Desk) -> None:
        run_id = desk.run("train.py", "--tag", "first")

        editors = [desk.start("tag", run_id, "--add", f"tag{n}") for n in range(10)]
        editors.append(desk.start("label", run_id, "--set", "labelled"))
        editors.append(desk.start("comment", run_id, "--set", "commented"))
        ends = [(one.communicate()[1], one.returncode) for one in editors]

        assert ends == [(b"1 run changed\n", 0)] * 12
        (run,) = desk.json("runs")["runs"]
        assert set(run["tags"]) == {"first", *(f"tag{n}" for n in range(10))}
        assert (run["label"], run["comment"]) == ("labelled", "commented")

    def test_editing_a_running_run_does_not_disturb_it(self, desk: Desk) -> None:
        desk.write(
            "train.py",
            "import os, time\nopen('ready', 'w')\nwhile not os.path.exists('go'): time.sleep(0.01)\n"
            "print('acc: 1')",
        )
        run = desk.start("run", "train.py")
        wait_until(lambda: [i for i in desk.ids() if (desk.store / "runs" / i / "ready").exists()],
                   what="it runs")  # fmt: skip
        (run_id,) = desk.ids()

        desk.ok("label", run_id, "--set", "meanwhile")
        (desk.store / "runs" / run_id / "go").touch()
        run.communicate()

        (found,) = desk.json("runs", "-f", "label = meanwhile and acc = 1")["runs"]
        assert (found["id"], found["status"]) == (run_id, "completed")

    @pytest.mark.parametrize("text", ["two\nlines", "tab\there", "'quoted' \"twice\"", "ünï", ""])
    def test_any_text_is_a_comment(self, desk: Desk, text: str) -> None:
        run_id = desk.run("train.py")

        desk.ok("comment", run_id, "--set", text)

        assert desk.json("runs")["runs"][0]["comment"] == (text or None)
        assert desk.ok("runs").count("\n") == 1
        assert desk.ok("show", run_id)

    def test_text_that_is_not_utf_8_is_refused_or_kept_and_never_our_bug(self, desk: Desk) -> None:
        run_id = desk.run("train.py")

        statuses = [
            desk.reenact("comment", run_id, "--set", b"caf\xe9").status,
            desk.reenact("label", run_id, "--set", b"caf\xe9").status,
            desk.reenact("tag", run_id, "--add", b"caf\xe9").status,
            desk.reenact("run", "train.py", "--label", b"caf\xe9").status,
        ]

        assert set(statuses) <= {0, 1, 2, 125}
        assert desk.reenact("runs").status == 0

    def test_a_killed_editor_leaves_the_old_notes_or_the_new(self, desk: Desk) -> None:
        run_id = desk.run("train.py", "--label", "old")
        words = (
            "import os, signal, sys\nos.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
            "from reenact.cli.main import run_command_line\nrun_command_line(sys.argv[1:])"
        )

        subprocess.run(
            [sys.executable, "-c", words, "label", run_id, "--set", "new"],
            cwd=desk.project,
            env={**os.environ, **desk.env},
            check=False,
        )

        assert desk.json("runs")["runs"][0]["label"] == "old"
        desk.ok("label", run_id, "--set", "newer")
        assert desk.json("runs")["runs"][0]["label"] == "newer"
        assert problems(desk) == []


def test_a_store_can_be_moved(desk: Desk, tmp_path: Path) -> None:
    run_id = desk.run("train.py", "--label", "best")
    desk.ok("runs")
    there = tmp_path / "elsewhere"
    desk.store.rename(there)
    desk.store = there
    desk.env["REENACT_HOME"] = str(there)

    assert desk.status(run_id) == "completed"
    assert desk.ok("cat", "best", "model.txt") == "weights of 0.1"
    assert problems(desk) == []
    found: dict[str, Any] = desk.json("runs")
    assert found["runs"][0]["label"] == "best"
