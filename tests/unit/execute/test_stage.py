from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from commands import tree_of
from reenact.errors import NotFound
from reenact.execute.stage import (
    Leftovers,
    SourcePool,
    Stage,
    close_stage,
    files_below,
    make_stage,
    sweep_abandoned,
    time_of_content,
)
from reenact.snapshot.tree import ProjectTree, read_tree, take_snapshot
from reenact.store.blobs import Blobs, digest_bytes
from refusals import as_ordinary_user, needs_refusals, without_hard_links, without_links


class World:
    """A project, a store, and run directories."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.project = root / "project"
        self.project.mkdir()
        self.blobs = Blobs(str(root / "blobs"))
        self.pool = SourcePool(str(root / "stage"), self.blobs, str(self.project))
        self.count = 0

    def write(self, name: str, content: bytes | str = "") -> Path:
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def look(self) -> ProjectTree:
        return take_snapshot(str(self.project), listed=None, blobs=self.blobs, cache_path=None)

    def stage(self, rewritten: Mapping[str, bytes] | None = None, *, shared: bool = True) -> Staged:
        self.count += 1
        directory = self.root / f"run{self.count}"
        (directory / ".reenact").mkdir(parents=True)
        return Staged(self, directory, rewritten or {}, shared=shared)


class Staged:
    """A run directory that looks like the project."""

    def __init__(
        self, world: World, directory: Path, rewritten: Mapping[str, bytes], *, shared: bool
    ) -> None:
        self.directory = directory
        self.world = world
        self.pool = world.pool if shared else None
        self.tree = world.look()
        self.stage: Stage = make_stage(
            str(directory), str(world.project), self.tree, self.pool, rewritten
        )

    def __truediv__(self, name: str) -> Path:
        return self.directory / name

    def again(self) -> Staged:
        return Staged(self.world, self.directory, {}, shared=self.pool is not None)

    def close(self) -> Leftovers:
        return close_stage(self.stage, self.tree, self.pool)

    def abandon(self) -> list[str]:
        tree = read_tree(self.world.blobs, self.tree.tree)
        return sweep_abandoned(str(self.directory), str(self.world.project), tree, self.world.blobs)

    def left(self) -> list[str]:
        return [name for name in sorted(os.listdir(self.directory)) if name != ".reenact"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


END = pytest.mark.parametrize("end", [Staged.close, Staged.abandon], ids=["closed", "abandoned"])
"""A run is closed by its supervisor; or, when that was killed, by who reads it next."""

End = Callable[[Staged], Leftovers | list[str]]


def outputs_of(end: End, run: Staged) -> list[str]:
    left = end(run)
    return left.outputs if isinstance(left, Leftovers) else left


class TestStaging:
    def test_a_run_directory_looks_like_the_project(self, world: World) -> None:
        world.write("train.py", "import pkg")
        world.write("pkg/__init__.py", "")
        world.write("data/train.csv", "1,2")
        world.write("notes.txt", "text")
        (world.project / "latest.csv").symlink_to("data/train.csv")

        run = world.stage()

        assert {p: (run / p).read_bytes() for p in tree_of(run.directory)} == {
            p: (world.project / p).read_bytes() for p in tree_of(world.project)
        }
        assert not (run / "train.py").is_symlink()
        assert os.readlink(run / "data" / "train.csv") == str(world.project / "data" / "train.csv")
        assert os.readlink(run / "latest.csv") == "data/train.csv"

    def test_an_edit_in_the_project_does_not_reach_a_run(self, world: World) -> None:
        script = world.write("train.py", "print(1)")
        notes = world.write("notes.txt", "one")
        run = world.stage()

        script.write_text("print(2)")
        notes.write_text("two")

        assert (run / "train.py").read_text() == "print(1)"
        assert (run / "notes.txt").read_text() == "one"

    def test_code_is_shared_between_runs_and_other_source_is_not(self, world: World) -> None:
        world.write("train.py", "print(1)")
        world.write("notes.txt", "one")

        one, two = world.stage(), world.stage()

        assert (one / "train.py").samefile(two / "train.py")
        assert not (one / "notes.txt").samefile(two / "notes.txt")

    @pytest.mark.parametrize("mode", [0o755, 0o664, 0o600, 0o444])
    def test_copies_keep_mode_and_time_whatever_the_umask_is(self, world: World, mode: int) -> None:
        for name in ("run.sh", "notes.txt"):
            path = world.write(name, "x")
            path.chmod(mode)
            os.utime(path, ns=(10**18 + 123, 10**18 + 123))
        former = os.umask(0o077)
        try:
            run = world.stage()
        finally:
            os.umask(former)

        for name in ("run.sh", "notes.txt"):
            status = (run / name).stat()
            assert (status.st_mode & 0o7777, status.st_mtime_ns) == (mode, 10**18 + 123)

    def test_a_rewritten_file_has_a_time_that_no_bytecode_fits(self, world: World) -> None:
        world.write("train.py", "lr = 0.1")

        run = world.stage({"train.py": b"lr = 0.2"})

        assert (run / "train.py").read_text() == "lr = 0.2"
        assert (run / "train.py").stat().st_mtime_ns == time_of_content(digest_bytes(b"lr = 0.2"))
        assert run.close() == Leftovers([], [])

    def test_times_of_content_lie_in_the_eighties(self) -> None:
        times = {time_of_content(digest_bytes(b"%d" % n)) for n in range(1000)}

        assert len(times) > 990
        assert all(315532800e9 <= time < 600000000e9 for time in times)

    def test_without_a_snapshot_everything_is_a_link(self, world: World) -> None:
        world.write("train.py", "print(1)")

        run = world.stage(shared=False)

        assert os.readlink(run / "train.py") == str(world.project / "train.py")
        assert run.close() == Leftovers([], [])
        assert run.left() == []

    def test_names_may_be_any_bytes(self, world: World) -> None:
        names = [os.fsdecode(name) for name in (b"caf\xe9.py", b"two\nlines.txt", b"a b/\xff.csv")]
        for name in names:
            world.write(name, "x")

        run = world.stage()

        assert sorted(tree_of(run.directory)) == sorted(names)
        assert run.close() == Leftovers([], [])
        assert run.left() == []


class TestPool:
    def test_a_copy_that_was_written_to_is_made_anew(self, world: World) -> None:
        world.write("train.py", "print(1)")
        run = world.stage()
        with open(run / "train.py", "ab") as file:
            file.write(b"# native")

        assert (world.stage() / "train.py").read_text() == "print(1)"

    def test_a_copy_whose_mode_was_changed_is_made_anew(self, world: World) -> None:
        world.write("train.py", "print(1)")
        run = world.stage()
        (run / "train.py").chmod(0o777)

        assert (world.stage() / "train.py").stat().st_mode & 0o7777 == 0o644

    def test_a_missing_blob_is_brought_back_from_the_project(self, world: World) -> None:
        world.write("train.py", "print(1)")
        tree = world.look()
        world.blobs.remove(tree.sources[0].digest)
        run = world.root / "run"
        run.mkdir()

        make_stage(str(run), str(world.project), tree, world.pool, {})

        assert (run / "train.py").read_text() == "print(1)"
        assert world.blobs.get(tree.sources[0].digest) == b"print(1)"

    @pytest.mark.parametrize("damage", ["missing", "spoilt"])
    def test_a_lost_blob_is_said_when_the_project_has_changed(
        self, world: World, damage: str
    ) -> None:
        script = world.write("train.py", "print(1)")
        tree = world.look()
        blob = Path(world.blobs.path(tree.sources[0].digest))
        blob.unlink()
        if damage == "spoilt":
            blob.write_text("print(3)")
        script.write_text("print(2)")
        run = world.root / "run"
        run.mkdir()

        with pytest.raises((NotFound, Exception), match="blob"):
            make_stage(str(run), str(world.project), tree, world.pool, {})

    def test_when_a_file_has_no_more_names_to_give_it_is_copied(self, world: World) -> None:
        """Linux allows some ten thousand names for one file; what counts is that it may refuse."""
        needs_refusals()
        world.write("train.py", "print(1)")

        assert in_child(world, without_hard_links) == "[] [] True ['train.py']\n"


class TestClosing:
    @END
    def test_nothing_is_left_of_what_was_staged(self, world: World, end: End) -> None:
        world.write("train.py", "x")
        world.write("pkg/deep/model.py", "x")
        world.write("pkg/data.csv", "x")
        world.write(".venv/pyvenv.cfg", "x")
        world.write("__pycache__/train.cpython-311.pyc", "x")
        (world.project / "empty").mkdir()
        (world.project / "alias").symlink_to("pkg")
        run = world.stage()

        assert outputs_of(end, run) == []
        assert run.left() == []
        assert len(tree_of(world.project)) == 6

    @END
    def test_what_the_run_made_are_its_outputs(self, world: World, end: End) -> None:
        world.write("train.py", "x")
        world.write("pkg/model.py", "x")
        run = world.stage()
        (run / "model.pt").write_text("weights")
        (run / "pkg" / "log.txt").write_text("text")
        (run / "new" / "deep").mkdir(parents=True)
        (run / "new" / "deep" / "x").write_text("")
        (run / "best").symlink_to("model.pt")
        (run / ".hidden").write_text("")

        outputs = [".hidden", "best", "model.pt", "new/deep/x", "pkg/log.txt"]
        assert outputs_of(end, run) == outputs
        assert files_below(str(run.directory)) == outputs

    @END
    def test_source_that_the_run_changed_is_an_output(self, world: World, end: End) -> None:
        for name in ("train.py", "notes.txt", "same.py"):
            world.write(name, "before")
        run = world.stage()
        for name in ("train.py", "notes.txt"):
            (run / name).unlink()
            (run / name).write_text("after!")

        assert outputs_of(end, run) == ["notes.txt", "train.py"]
        assert (world.project / "train.py").read_text() == "before"

    def test_a_shared_copy_that_was_changed_in_place_is_healed(self, world: World) -> None:
        """An editor that is not Python changes the inode that other runs execute from."""
        world.write("train.py", "before")
        one, two = world.stage(), world.stage()
        with open(one / "train.py", "r+b") as file:
            file.write(b"after!")

        assert one.close().outputs == ["train.py"]
        assert (one / "train.py").stat().st_nlink == 1
        assert (world.stage() / "train.py").read_text() == "before"
        assert two.close().outputs == ["train.py"]

    def test_a_shared_copy_under_another_name_gets_an_inode_of_its_own(self, world: World) -> None:
        world.write("train.py", "before")
        run = world.stage()
        (run / "train.py").rename(run / "renamed.py")

        assert run.close().outputs == ["renamed.py"]
        with open(run / "renamed.py", "ab") as file:
            file.write(b" and after")
        assert (world.stage() / "train.py").read_text() == "before"

    def test_a_link_that_was_replaced_by_a_copy_and_not_written_is_no_output(
        self, world: World
    ) -> None:
        data = world.write("data.csv", "1,2")
        run = world.stage()
        (run / "data.csv").unlink()
        (run / "data.csv").write_bytes(data.read_bytes())
        os.utime(run / "data.csv", ns=(data.stat().st_atime_ns, data.stat().st_mtime_ns))

        assert run.close() == Leftovers([], [])
        assert run.left() == []

    @END
    def test_a_link_that_was_replaced_by_a_file_is_an_output(self, world: World, end: End) -> None:
        world.write("data.csv", "1,2")
        run = world.stage()
        (run / "data.csv").unlink()
        (run / "data.csv").write_text("3,4")

        assert outputs_of(end, run) == ["data.csv"]
        assert (world.project / "data.csv").read_text() == "1,2"

    def test_a_write_that_slipped_through_a_link_is_found(self, world: World) -> None:
        world.write("data.csv", "1,2")
        world.write("other.csv", "1,2")
        run = world.stage()
        (run / "data.csv").write_text("3,4,5")

        assert run.close() == Leftovers([], ["data.csv"])

    @END
    def test_links_that_the_script_made_itself_stay(self, world: World, end: End) -> None:
        world.write("data.csv", "1,2")
        run = world.stage()
        (run / "mine").symlink_to(world.project / "data.csv")

        assert outputs_of(end, run) == ["mine"]

    @END
    def test_a_directory_that_the_probe_unfolded_is_folded_again(
        self, world: World, end: End
    ) -> None:
        world.write(".venv/pyvenv.cfg", "x")
        world.write(".venv/lib/a", "x")
        run = world.stage()
        (run / ".venv").unlink()
        (run / ".venv").mkdir()
        for name in ("pyvenv.cfg", "lib"):
            (run / ".venv" / name).symlink_to(world.project / ".venv" / name)
        (run / ".venv" / "new").write_text("x")

        assert outputs_of(end, run) == [".venv/new"]
        assert os.listdir(run / ".venv") == ["new"]

    @END
    def test_what_the_run_deleted_is_no_problem(self, world: World, end: End) -> None:
        world.write("train.py", "x")
        world.write("pkg/a.csv", "x")
        run = world.stage()
        (run / "train.py").unlink()
        (run / "pkg" / "a.csv").unlink()
        (run / "pkg").rmdir()

        assert outputs_of(end, run) == []
        assert (world.project / "train.py").exists()

    def test_a_directory_made_read_only_stays_and_is_said(self, world: World) -> None:
        world.write("pkg/a.py", "x")
        world.write("b.py", "x")

        done = in_child(world, as_ordinary_user, "os.chmod('pkg', 0o555)")

        assert done == "['pkg/a.py'] [] False []\n"

    def test_a_directory_that_cannot_be_read_any_more_is_said(self, world: World) -> None:
        world.write("b.py", "x")

        done = in_child(
            world, as_ordinary_user, "os.mkdir('d'); open('d/x', 'w'); os.chmod('d', 0)"
        )

        assert done == "['d'] [] False []\n"

    def test_who_goes_on_writing_after_the_end_does_not_disturb(self, world: World) -> None:
        for number in range(50):
            world.write(f"m{number}.py", "x")
        words = (
            "import os, sys\nos.chdir(sys.argv[1])\nprint('ready', flush=True)\n"
            "while True:\n"
            "    for k in range(50): open(f't{k}', 'w').close()\n"
            "    for k in range(50): os.unlink(f't{k}')\n"
        )
        for _ in range(10):
            run = world.stage()
            with subprocess.Popen(
                [sys.executable, "-c", words, str(run.directory)], stdout=subprocess.PIPE
            ) as process:
                assert process.stdout
                process.stdout.readline()
                left = run.close()
                process.kill()

            assert left.written_through == []
            assert not any(name.startswith("m") for name in os.listdir(run.directory))


def test_half_a_copy_of_a_killed_supervisor_is_no_output(world: World) -> None:
    world.write("notes.txt", "all of the text")
    world.write("train.py", "all of the code")
    run = world.stage()
    for name in ("notes.txt", "train.py"):
        (run / name).unlink()
        (run / name).write_text("all of")
    (run / "other.txt").write_text("all of")

    assert run.abandon() == ["other.txt"]


class TestBytecode:
    @pytest.fixture(autouse=True)
    def _bytecode(self) -> None:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

    def execute(self, run: Staged, words: str) -> None:
        env = {**os.environ, "PYTHONPATH": str(run.directory)}
        subprocess.run([sys.executable, "-c", words], cwd=run.directory, check=True, env=env)

    def names(self, directory: Path) -> list[str]:
        return sorted(os.listdir(directory / "__pycache__"))

    def test_it_goes_where_plain_python_would_put_it(self, world: World) -> None:
        world.write("helper.py", "x = 1")
        world.write("pkg/__init__.py", "")
        run = world.stage()

        self.execute(run, "import helper, pkg")

        assert run.close() == Leftovers([], [])
        assert len(self.names(world.project)) == len(self.names(world.project / "pkg")) == 1
        assert run.left() == []

    def test_what_is_there_already_is_used_and_added_to(self, world: World) -> None:
        world.write("helper.py", "x = 1")
        world.write("other.py", "x = 1")
        first = world.stage()
        self.execute(first, "import helper")
        first.close()
        compiled = world.project / "__pycache__" / self.names(world.project)[0]
        before = compiled.stat()

        second = world.stage()
        self.execute(second, "import helper, other")

        assert second.close() == Leftovers([], [])
        assert len(self.names(world.project)) == 2
        assert compiled.stat().st_mtime_ns == before.st_mtime_ns

    def test_a_rewritten_module_does_not_run_from_it(self, world: World) -> None:
        world.write("helper.py", "x = 1")
        first = world.stage()
        self.execute(first, "import helper")
        first.close()

        run = world.stage({"helper.py": b"x = 2"})

        self.execute(run, "import helper; assert helper.x == 2")
        run.close()
        self.execute(world.stage(), "import helper; assert helper.x == 1")

    def test_of_a_project_that_cannot_be_written_nothing_is_left(self, world: World) -> None:
        world.write("helper.py", "x = 1")
        world.project.chmod(0o555)

        done = in_child(world, as_ordinary_user, "sys.path.insert(0, '.'); import helper")
        world.project.chmod(0o755)

        assert done == "[] [] True []\n"
        assert not (world.project / "__pycache__").exists()

    def test_that_of_a_killed_run_is_taken_away(self, world: World) -> None:
        world.write("helper.py", "x = 1")
        run = world.stage()
        self.execute(run, "import helper")

        assert run.abandon() == []
        assert run.left() == []


class TestRestart:
    def test_outputs_are_kept_and_source_comes_back(self, world: World) -> None:
        world.write("train.py", "x")
        world.write("pkg/a.csv", "x")
        run = world.stage()
        (run / "model.pt").write_text("weights")
        (run / "pkg" / "log.txt").write_text("text")
        run.close()

        again = run.again()

        assert (again / "model.pt").read_text() == "weights"
        assert (again / "train.py").read_text() == "x"
        assert (again / "pkg" / "a.csv").read_text() == "x"
        assert again.close().outputs == ["model.pt", "pkg/log.txt"]

    def test_an_output_in_the_place_of_source_stays(self, world: World) -> None:
        world.write("train.py", "x")
        world.write("data.csv", "x")
        run = world.stage()
        for name in ("train.py", "data.csv"):
            (run / name).unlink()
            (run / name).write_text("mine")
        run.close()

        again = run.again()

        assert (again / "train.py").read_text() == "mine"
        assert again.close().outputs == ["data.csv", "train.py"]


IN_CHILD = """
import os, sys
from reenact.execute.stage import SourcePool, close_stage, make_stage
from reenact.snapshot.tree import take_snapshot
from reenact.store.blobs import Blobs
root = sys.argv[1]
project, run = root + "/project", root + "/run"
blobs = Blobs(root + "/blobs")
pool = SourcePool(root + "/stage", blobs, project)
tree = take_snapshot(project, listed=None, blobs=blobs, cache_path=None)
os.mkdir(run)
stage = make_stage(run, project, tree, pool, {})
copied = sorted(p for p in stage.copies if os.lstat(f"{run}/{p}").st_nlink == 1)
os.chdir(run)
exec(sys.argv[2])
left = close_stage(stage, tree, pool)
print(left.outputs, left.written_through, not os.listdir(run), copied)
"""


def in_child(world: World, before: Callable[[], None], act: str = "") -> str:
    """Stage a run, do something in it and close it in a process of which the system refuses things.

    Return its outputs, what was written through, whether nothing is left, and what was copied.
    """
    done = subprocess.run(
        [sys.executable, "-c", IN_CHILD, str(world.root), act],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=before,
    )
    assert done.returncode == 0, done.stderr
    # What is a private copy where nothing is refused says nothing.
    return (
        done.stdout if before is not as_ordinary_user else done.stdout.rpartition("[")[0] + "[]\n"
    )


class TestWithoutLinks:
    """On a file system that knows neither hard nor symbolic links, such as FAT."""

    @pytest.fixture(autouse=True)
    def refusals(self) -> None:
        needs_refusals()

    def test_everything_is_copied_and_taken_away_again(self, world: World) -> None:
        world.write("train.py", "x")
        world.write("data/train.csv", "1,2")
        world.write(".venv/pyvenv.cfg", "x")
        world.write(".venv/lib/deep/a", "x")
        (world.project / "alias.csv").symlink_to("data/train.csv")
        (world.project / "folder").symlink_to("data")
        names = [".venv/lib/deep/a", ".venv/pyvenv.cfg", "alias.csv", "data/train.csv",
                 "folder/train.csv", "train.py"]  # fmt: skip

        done = in_child(world, without_links, "assert open('folder/train.csv').read() == '1,2'")

        assert done == f"[] [] True {names}\n"

    def test_what_the_run_changes_is_an_output_and_not_the_projects(self, world: World) -> None:
        world.write("data/train.csv", "1,2")

        done = in_child(world, without_links, "open('data/train.csv', 'w').write('3')")

        assert done == "['data/train.csv'] [] False ['data/train.csv']\n"
        assert (world.project / "data" / "train.csv").read_text() == "1,2"

    def test_links_that_lead_nowhere_or_in_a_circle_are_left_out(self, world: World) -> None:
        world.write("train.py", "x")
        world.write("sub/a.csv", "x")
        (world.project / "broken").symlink_to("nowhere")
        (world.project / "outside").symlink_to("/nowhere")
        (world.project / "loop").symlink_to("loop")
        (world.project / "sub" / "up").symlink_to("..")

        done = in_child(world, without_links)

        assert done.startswith("[] [] True ")

    def test_files_that_cannot_be_read_are_left_out(self, world: World) -> None:
        world.write("secret.csv", "x").chmod(0)
        world.write("open.csv", "x")

        def refuse() -> None:
            as_ordinary_user()
            without_links()

        assert in_child(world, refuse) == "[] [] True ['open.csv']\n"
