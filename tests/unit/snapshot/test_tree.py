from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needs import needs
from reenact.errors import Damaged, NotFound, TooNew
from reenact.model.identity import Digest
from reenact.model.paths import path_to_text
from reenact.snapshot.git import GitView
from reenact.snapshot.rules import FOLDED_FROM, SOURCE_LIMIT
from reenact.snapshot.tree import ProjectTree, SourceTree, read_tree, take_snapshot
from reenact.store.blobs import Blobs, digest_bytes
from refusals import as_ordinary_user


class Project:
    """A project, and a store for what is taken of it."""

    def __init__(self, root: Path) -> None:
        self.root = root / "project"
        self.root.mkdir()
        self.blobs = Blobs(str(root / "blobs"))
        self.cache = str(root / "cache" / "tree")

    def write(self, name: str, content: bytes | str = "") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def rest(self) -> None:
        """Make all times old: what was changed just now is read again next time."""
        for at, names, files in os.walk(self.root):
            for name in (*names, *files):
                os.utime(os.path.join(at, name), (1e9, 1e9), follow_symlinks=False)
        # Changing times changes the time of the change, which cannot be set.
        time.sleep(0.03)

    def take(self, *, uses_git: bool = False, only: list[str] | None = None) -> ProjectTree:
        listed = None
        if uses_git:
            view = GitView(str(self.root), os.environ)
            listed = view.files
            assert view.problem is None
        return take_snapshot(
            str(self.root), listed=listed, blobs=self.blobs, cache_path=self.cache, only=only
        )

    def git(self, *words: str) -> None:
        needs("git")
        who = (
            "-c",
            "user.name=A",
            "-c",
            "user.email=a@example.org",
            "-c",
            "protocol.file.allow=always",
        )
        subprocess.run(["git", *who, *words], cwd=self.root, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def repository(project: Project) -> Project:
    project.git("init", "-q")
    return project


def sources(tree: ProjectTree) -> list[str]:
    return [file.path for file in tree.sources]


def links(tree: ProjectTree) -> list[str]:
    return sorted(path for path, _, _ in tree.links)


class TestSource:
    def test_text_is_source_and_everything_else_a_link(self, project: Project) -> None:
        project.write("train.py", "print(1)")
        project.write("pkg/model.py", "x = 1")
        project.write("params.json", "{}")
        project.write("train.csv", "1,2")
        project.write("blob", b"\0binary")

        tree = project.take()

        assert sources(tree) == ["params.json", "pkg/model.py", "train.py"]
        assert links(tree) == ["blob", "train.csv"]
        assert tree.directories == ["pkg"]

    def test_source_is_kept_byte_for_byte(self, project: Project) -> None:
        content = b"\xef\xbb\xbfprint('caf\xe9')\r\n"
        project.write("train.py", content)

        file = project.take().sources[0]

        assert project.blobs.get(file.digest) == content
        assert (file.size, file.mode) == (len(content), 0o644)

    def test_all_of_many_files_is_kept(self, project: Project) -> None:
        names = [f"pkg{n % 7}/module{n}.py" for n in range(500)]
        for name in names:
            project.write(name, name)

        assert sources(project.take()) == sorted(names)

    def test_the_size_limit_is_named_where_it_bites(self, project: Project) -> None:
        project.write("exact.txt", "x" * SOURCE_LIMIT)
        project.write("notes.txt", "x" * (SOURCE_LIMIT + 1))
        project.write("weights", b"\0" * (SOURCE_LIMIT + 1))
        project.write("table.csv", "x" * (SOURCE_LIMIT + 1))

        tree = project.take()

        assert tree.too_large == ["notes.txt"]
        assert sources(tree) == ["exact.txt"]
        assert links(tree) == ["notes.txt", "table.csv", "weights"]

    def test_only_code_is_source_in_a_directory_of_data(self, project: Project) -> None:
        project.write("data/load.py")
        project.write("data/labels.txt")
        project.write("outputs/summary.json")

        tree = project.take()

        assert sources(tree) == ["data/load.py"]
        assert links(tree) == ["data/labels.txt", "outputs/summary.json"]

    def test_a_file_that_cannot_be_read_is_a_link(self, project: Project) -> None:
        project.write("secret.py", "x").chmod(0)
        project.write("train.py", "x")
        words = (
            "import sys\nfrom reenact.snapshot.tree import take_snapshot\n"
            "tree = take_snapshot(sys.argv[1], listed=None, blobs=None, cache_path=None)\n"
            "print([f.path for f in tree.sources], [path for path, _, _ in tree.links])"
        )

        done = subprocess.run(
            [sys.executable, "-c", words, str(project.root)],
            check=True,
            capture_output=True,
            text=True,
            preexec_fn=as_ordinary_user,
        )

        assert done.stdout == "['train.py'] ['secret.py']\n"

    def test_a_directory_that_cannot_be_read_is_linked_whole(self, project: Project) -> None:
        project.write("closed/a.py")
        (project.root / "closed").chmod(0)
        words = (
            "import sys\nfrom reenact.snapshot.tree import take_snapshot\n"
            "tree = take_snapshot(sys.argv[1], listed=None, blobs=None, cache_path=None)\n"
            "print(tree.directories, tree.whole)"
        )

        done = subprocess.run(
            [sys.executable, "-c", words, str(project.root)],
            check=True,
            capture_output=True,
            text=True,
            preexec_fn=as_ordinary_user,
        )
        (project.root / "closed").chmod(0o755)

        assert done.stdout == "[] ['closed']\n"

    def test_a_pipe_or_a_socket_is_linked_and_not_opened(self, project: Project) -> None:
        os.mkfifo(project.root / "pipe")
        with socket.socket(socket.AF_UNIX) as listener:
            os.chdir(project.root)
            listener.bind("socket")

            tree = project.take()

        assert sorted(tree.links) == [("pipe", -1, -1), ("socket", -1, -1)]

    def test_an_empty_project_has_a_tree(self, project: Project) -> None:
        tree = project.take()

        assert tree.sources == []
        assert read_tree(project.blobs, tree.tree) == SourceTree(files=[])

    def test_looking_keeps_nothing(self, project: Project) -> None:
        project.write("train.py", "x")

        tree = take_snapshot(str(project.root), listed=None, blobs=None, cache_path=project.cache)

        assert list(project.blobs.list()) == []
        assert not os.path.exists(project.cache)
        assert tree.tree == project.take().tree


NAMES = st.binary(min_size=1, max_size=6).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)


@given(names=st.sets(NAMES, min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_any_name_that_a_file_can_have_comes_back(
    tmp_path_factory: pytest.TempPathFactory, names: set[bytes]
) -> None:
    project = Project(tmp_path_factory.mktemp("p"))
    paths = sorted(os.fsdecode(name + b".py") for name in names)
    for path in paths:
        project.write(path, "x")
    project.rest()

    for _ in range(2):
        tree = project.take()
        stored = read_tree(project.blobs, tree.tree)

        assert sources(tree) == paths
        assert [text for text, *_ in stored.files] == [path_to_text(path) for path in paths]


class TestDirectories:
    @pytest.mark.parametrize(
        "name", ["__pycache__", ".mypy_cache", ".guild", "mlruns", "x.egg-info"]
    )
    def test_caches_are_no_part_of_it(self, project: Project, name: str) -> None:
        project.write(f"{name}/a.py")
        project.write(f"pkg/{name}/a.py")

        tree = project.take()

        assert (sources(tree), tree.whole, tree.directories) == ([], [], ["pkg"])

    @pytest.mark.parametrize("name", [".venv", "venv", "node_modules", ".git", "renv"])
    def test_what_others_installed_is_linked_whole(self, project: Project, name: str) -> None:
        project.write(f"{name}/lib/a.py")

        tree = project.take()

        assert (sources(tree), tree.whole) == ([], [name])

    def test_a_virtual_environment_of_any_name_is_linked_whole(self, project: Project) -> None:
        project.write("my env/pyvenv.cfg")
        project.write("my env/lib/a.py")

        assert project.take().whole == ["my env"]

    def test_a_store_is_no_part_of_it(self, project: Project) -> None:
        project.write("experiments/store.json", '{"format":1}')
        project.write("experiments/runs/0/train.py")

        tree = project.take()

        assert (sources(tree), tree.whole, tree.directories) == ([], [], [])

    def test_thousands_of_data_files_are_linked_whole(self, project: Project) -> None:
        project.write("train.py")
        (project.root / "train").mkdir()
        for number in range(3000):
            (project.root / "train" / f"{number}.png").touch()

        tree = project.take()

        assert (tree.whole, tree.links, tree.directories) == (["train"], [], [])

    def test_they_are_not_if_one_of_them_is_source(self, project: Project) -> None:
        """Wherever the system lists it: the last name that was made is often listed last."""
        (project.root / "train").mkdir()
        for number in range(FOLDED_FROM + 100):
            (project.root / "train" / f"{number}.png").touch()
        project.write("train/deep/zz_load.py")

        tree = project.take()

        assert sources(tree) == ["train/deep/zz_load.py"]
        assert len(tree.links) == FOLDED_FROM + 100

    def test_fewer_are_linked_one_by_one(self, project: Project) -> None:
        for number in range(100):
            project.write(f"train/{number}.png")

        assert len(project.take().links) == 100


class TestSymbolicLinks:
    def test_one_from_source_to_source_leads_to_the_runs_own_copy(self, project: Project) -> None:
        project.write("pkg/model.py")
        (project.root / "alias.py").symlink_to("pkg/model.py")
        (project.root / "pkg" / "up").symlink_to("../other")

        tree = project.take()

        assert tree.source_links == [("alias.py", "pkg/model.py"), ("pkg/up", "../other")]
        assert read_tree(project.blobs, tree.tree).links == tree.source_links

    def test_one_that_leads_outside_is_linked(self, project: Project, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "big.csv").write_text("1")
        (project.root / "data").symlink_to("../data")
        (project.root / "big.csv").symlink_to(tmp_path / "big.csv")
        (project.root / "broken").symlink_to("/nowhere")

        tree = project.take()

        assert tree.whole == ["data"]
        assert links(tree) == ["big.csv", "broken"]
        assert tree.source_links == []

    def test_one_into_a_cache_leads_to_that_of_the_project(self, project: Project) -> None:
        """The run has no such directory of its own."""
        project.write(".cache/data/x.csv")
        (project.root / "data").symlink_to(".cache/data")

        tree = project.take()

        assert (tree.whole, tree.source_links) == (["data"], [])

    def test_one_that_leads_to_itself_or_upwards_does_no_harm(self, project: Project) -> None:
        (project.root / "loop").symlink_to("loop")
        (project.root / "here").symlink_to(".")
        project.write("train.py")

        tree = project.take()

        assert sources(tree) == ["train.py"]
        assert tree.source_links == [("here", "."), ("loop", "loop")]


class TestGit:
    def test_what_git_ignores_is_linked(self, repository: Project) -> None:
        repository.write(".gitignore", "generated/\n*.local\n")
        repository.write("train.py")
        repository.write("generated/code.py")
        repository.write("config.local")
        repository.git("add", "train.py")
        repository.write("new.py")

        tree = repository.take(uses_git=True)

        assert sources(tree) == [".gitignore", "new.py", "train.py"]
        assert links(tree) == ["config.local", "generated/code.py"]
        assert tree.whole == [".git"]

    def test_a_tracked_file_is_source_only_if_it_is_no_data(self, repository: Project) -> None:
        repository.write("table.csv")
        repository.write("data/labels.txt")
        repository.write("train.py")
        repository.git("add", "-A")

        tree = repository.take(uses_git=True)

        assert sources(tree) == ["train.py"]

    def test_a_submodule_is_source(self, repository: Project, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        library = Project(tmp_path / "other")
        library.git("init", "-q")
        library.write("lib.py", "x = 1")
        library.git("add", "-A")
        library.git("commit", "-q", "-m", "state")
        repository.git("submodule", "--quiet", "add", str(library.root), "external/library")

        assert "external/library/lib.py" in sources(repository.take(uses_git=True))

    def test_a_repository_inside_is_source_by_the_rules_outside_git(
        self, repository: Project
    ) -> None:
        repository.write("train.py")
        repository.write("clone/deep/lib.py", "x = 1")
        repository.write("clone/big.csv")
        subprocess.run(["git", "init", "-q"], cwd=repository.root / "clone", check=True)

        tree = repository.take(uses_git=True)

        assert sources(tree) == ["clone/deep/lib.py", "train.py"]
        assert links(tree) == ["clone/big.csv"]
        assert sorted(tree.whole) == [".git", "clone/.git"]

    def test_the_git_of_a_worktree_is_a_file_that_is_linked(self, repository: Project) -> None:
        repository.write("train.py")
        repository.git("add", "-A")
        repository.git("commit", "-q", "-m", "state")
        side = repository.root.parent / "side"
        repository.git("worktree", "add", "-q", str(side))

        view = GitView(str(side), os.environ)
        tree = take_snapshot(str(side), listed=view.files, blobs=None, cache_path=None)

        assert (sources(tree), links(tree)) == (["train.py"], [".git"])

    def test_thousands_of_ignored_files_are_linked_whole_even_with_code_among_them(
        self, repository: Project
    ) -> None:
        repository.write(".gitignore", "train/\n")
        (repository.root / "train").mkdir()
        for number in range(FOLDED_FROM + 1):
            (repository.root / "train" / f"{number}.py").touch()

        assert sorted(repository.take(uses_git=True).whole) == [".git", "train"]


class TestLoose:
    """A script that lies in a home directory or in /tmp, among things that are no project."""

    def test_only_what_is_named_is_taken(self, project: Project) -> None:
        project.write("train.py", "import helper")
        project.write("helper.py")
        project.write("unrelated.py")
        project.write("thesis/chapter.tex")
        project.write("data.csv")
        project.write(".ssh/id")
        project.write("pkg/__init__.py")

        tree = project.take(only=["train.py", "helper.py", "pkg"])

        assert sources(tree) == ["helper.py", "pkg/__init__.py", "train.py"]
        assert links(tree) == ["data.csv", "unrelated.py"]
        assert (tree.whole, tree.directories) == (["thesis"], ["pkg"])

    def test_nothing_else_is_looked_into(self, project: Project) -> None:
        project.write("train.py")
        (project.root / "many").mkdir()
        (project.root / "many").chmod(0)

        tree = project.take(only=["train.py"])

        assert tree.whole == ["many"]
        (project.root / "many").chmod(0o755)


class TestUnchangedTree:
    def spoil(self, project: Project, name: str) -> None:
        """Change a file's content and keep all that a look at it shows."""
        path = project.root / name
        before = path.stat()
        with open(path, "r+b", buffering=0) as file:
            file.write(b"#")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        cache = msgspec.msgpack.decode(Path(project.cache).read_bytes())
        now = path.stat()
        cache[1][name][0] = [now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino]
        Path(project.cache).write_bytes(msgspec.msgpack.encode(cache))

    def test_no_file_of_it_is_read(self, project: Project) -> None:
        """If one were read, what was changed behind its stamp would show."""
        for number in range(20):
            project.write(f"pkg/module{number}.py", f"x = {number}")
        project.rest()
        first = project.take()
        for number in range(20):
            self.spoil(project, f"pkg/module{number}.py")

        again = project.take()

        assert again.tree == first.tree
        assert [f.digest for f in again.sources] == [f.digest for f in first.sources]

    def test_only_what_changed_is_read(self, project: Project) -> None:
        project.write("a.py", "x = 1")
        project.write("b.py", "x = 1")
        project.rest()
        first = project.take()
        self.spoil(project, "a.py")
        project.write("b.py", "x = 2")

        again = project.take()

        assert again.sources[0].digest == first.sources[0].digest
        assert again.sources[1].digest == digest_bytes(b"x = 2")

    @pytest.mark.parametrize("pause_s", [0.0, 0.05])
    def test_a_change_right_after_the_snapshot_is_seen(
        self, project: Project, pause_s: float
    ) -> None:
        """Also one that keeps the size and falls into the same tick of the file system's clock."""
        for number in range(30):
            project.write("train.py", b"x = %02d" % number)
            time.sleep(pause_s if number % 10 == 0 else 0)

            assert project.take().sources[0].digest == digest_bytes(b"x = %02d" % number)

    def test_an_edit_that_sets_the_time_back_is_seen(self, project: Project) -> None:
        path = project.write("train.py", "x = 1")
        project.rest()
        project.take()
        before = path.stat()

        path.write_bytes(b"x = 2")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

        assert project.take().sources[0].digest == digest_bytes(b"x = 2")

    def test_a_file_from_the_future_is_read_every_time(self, project: Project) -> None:
        """So a clock that jumped back does not hide a change."""
        path = project.write("train.py", "x = 1")
        os.utime(path, (2e9, 2e9))
        project.take()
        cache = msgspec.msgpack.decode(Path(project.cache).read_bytes())

        assert cache[1] == {}

    def test_a_new_mode_makes_another_tree(self, project: Project) -> None:
        path = project.write("train.sh", "echo")
        first = project.take()

        path.chmod(0o755)

        again = project.take()
        assert again.tree != first.tree
        assert again.sources[0].mode == 0o755

    def test_files_that_come_go_and_change_their_names_make_another_tree(
        self, project: Project
    ) -> None:
        def tree() -> Digest:
            project.rest()
            return project.take().tree

        project.write("a.py", "x")
        first = tree()
        b = project.write("b.py", "x")
        second = tree()
        c = b.rename(project.root / "c.py")
        third = tree()
        c.unlink()
        c.symlink_to("a.py")
        fourth = tree()
        c.unlink()

        assert len({first, second, third, fourth}) == 4
        assert tree() == first

    @pytest.mark.parametrize(
        "content", [b"", b"\xc1", b"\x93\x02\x80\xc0", b"\x93\x01\x81\xa1a\xc0\xc0"]
    )
    def test_a_cache_that_cannot_be_read_is_made_anew(
        self, project: Project, content: bytes
    ) -> None:
        project.write("train.py", "x")
        project.rest()
        first = project.take()
        Path(project.cache).write_bytes(content)

        assert project.take() == first
        assert project.take() == first

    def test_a_cache_that_cannot_be_written_does_not_matter(self, project: Project) -> None:
        project.write("train.py", "x")
        Path(project.cache).parent.write_text("in the way")

        assert sources(project.take()) == ["train.py"]

    def test_a_tree_that_is_gone_from_the_store_is_kept_again(self, project: Project) -> None:
        project.write("train.py", "x")
        project.rest()
        tree = project.take().tree
        project.blobs.remove(tree)

        assert project.take().tree == tree
        assert project.blobs.has(tree)

    def test_two_kinds_of_snapshot_do_not_take_each_others_cache(self, project: Project) -> None:
        project.write("train.py", "x")
        project.write("other.py", "y")
        project.rest()
        whole = project.take()
        some = project.take(only=["train.py"])

        assert sources(some) == ["train.py"]
        assert project.take() == whole

    def test_files_that_vanish_while_we_look_are_left_out(self, project: Project) -> None:
        words = (
            "import itertools, os, sys\nos.chdir(sys.argv[1])\nprint('ready', flush=True)\n"
            "for n in itertools.count():\n"
            "    for k in range(40): open(f'{k}.py', 'w').close()\n"
            "    for k in range(40): os.unlink(f'{k}.py')\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", words, str(project.root)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout
            process.stdout.readline()
            try:
                trees = [project.take() for _ in range(60)]
            finally:
                process.kill()

        assert all(len(tree.sources) <= 40 for tree in trees)


class TestReading:
    def test_a_blob_that_is_no_tree_is_damage(self, project: Project) -> None:
        for content in (b"x = 1", b"{}", b'{"files":[[1]]}', b"\xff"):
            with pytest.raises(Damaged, match="is no source tree"):
                read_tree(project.blobs, project.blobs.put(content))

    def test_a_tree_of_a_later_format_is_refused(self, project: Project) -> None:
        digest = project.blobs.put(b'{"files":[],"links":[],"format":2}')

        with pytest.raises(TooNew, match="has format 2"):
            read_tree(project.blobs, digest)

    def test_a_tree_that_is_not_there_is_not_found(self, project: Project) -> None:
        with pytest.raises(NotFound):
            read_tree(project.blobs, Digest("0" * 64))


def test_a_blob_that_the_store_lost_is_put_again_for_an_unchanged_file(tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (root / "train.py").write_text("x = 1\n")
    os.utime(root / "train.py", (1_600_000_000, 1_600_000_000))
    blobs = Blobs(str(tmp_path / "blobs"))
    cache = str(tmp_path / "cache" / "tree")
    first = take_snapshot(str(root), listed=None, blobs=blobs, cache_path=cache)
    blobs.remove(first.sources[0].digest)

    again = take_snapshot(str(root), listed=None, blobs=blobs, cache_path=cache)

    assert again.tree == first.tree
    assert blobs.get(first.sources[0].digest) == b"x = 1\n"


@pytest.mark.parametrize(
    "path", ["../outside.py", "/etc/outside", "inner/../../outside.py", r"\x2e\x2e/outside.py"]
)
def test_a_tree_that_leads_out_of_itself_is_refused(tmp_path: Path, path: str) -> None:
    blobs = Blobs(str(tmp_path / "blobs"))
    content = blobs.put(b"x")
    for tree in (
        SourceTree(files=[(path, 0o644, 1, content)]),
        SourceTree(files=[], links=[(path, "x")]),
    ):
        digest = blobs.put(msgspec.json.encode(tree))

        with pytest.raises(Damaged, match="leads out of it"):
            read_tree(blobs, digest)
