from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from needs import needs
from reenact.model.run import Vcs
from reenact.snapshot.git import GitView, find_toplevel, root_commit


@pytest.fixture(autouse=True)
def _git() -> None:
    needs("git")


def git(directory: Path, *words: str) -> str:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main",
           "-c", "protocol.file.allow=always")  # fmt: skip
    done = subprocess.run(
        ["git", *who, *words], cwd=directory, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    git(work, "init", "-q")
    return work


def write(directory: Path, *names: str) -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))


def commit(directory: Path) -> str:
    git(directory, "add", "-A")
    git(directory, "commit", "-q", "-m", "state")
    return git(directory, "rev-parse", "HEAD")


def view(directory: Path, **env: str) -> GitView:
    return GitView(str(directory), {**os.environ, **env})


def test_files_are_what_is_tracked_and_what_is_not_ignored(work: Path) -> None:
    write(work, "tracked.py", "pkg/tracked.py", "ignored/a.py", "big.bin")
    (work / ".gitignore").write_text("ignored/\n*.bin\n")
    commit(work)
    write(work, "new.py", "pkg/deep/new.py")

    assert view(work).files == {
        ".gitignore",
        "tracked.py",
        "pkg/tracked.py",
        "new.py",
        "pkg/deep/new.py",
    }


def test_a_tracked_file_counts_even_if_it_is_ignored_now(work: Path) -> None:
    write(work, "kept.bin")
    commit(work)
    (work / ".gitignore").write_text("*.bin\n")

    assert "kept.bin" in view(work).files


def test_names_are_bytes(work: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xc3\xa9\n\ttwo.py")
    write(work, name)
    commit(work)
    other = os.fsdecode(b"\xff new.py")
    write(work, other)

    assert view(work).files == {name, other}


def test_paths_are_relative_to_the_folder_that_is_asked_about(work: Path) -> None:
    write(work, "top.py", "sub/tracked.py", "sub space/x.py")
    commit(work)
    write(work, "sub/new.py", "new.py")

    assert view(work / "sub").files == {"tracked.py", "new.py"}


def test_what_is_staged_renamed_or_in_conflict_is_listed_where_it_is_now(work: Path) -> None:
    write(work, "old.py", "same.py")
    commit(work)
    git(work, "mv", "old.py", "renamed.py")
    write(work, "staged.py")
    git(work, "add", "staged.py")

    looked = view(work)

    assert {"renamed.py", "staged.py", "same.py"} == looked.files
    assert looked.vcs is not None
    assert looked.vcs.is_dirty


def test_the_files_of_submodules_are_listed(work: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "-q")
    write(library, "lib.py", "deep/lib.py")
    commit(library)
    git(work, "submodule", "--quiet", "add", str(library), "external/library")
    commit(work)

    files = view(work).files

    assert {"external/library/lib.py", "external/library/deep/lib.py"} <= files


def test_a_repository_of_its_own_is_named_with_a_slash(work: Path) -> None:
    write(work, "clone/lib.py")
    git(work / "clone", "init", "-q")
    commit(work / "clone")

    assert view(work).files == {"clone/"}


class TestVcs:
    def test_a_clean_work_tree(self, work: Path) -> None:
        write(work, "train.py")
        head = commit(work)

        assert view(work).vcs == Vcs(commit=head, branch="main", is_dirty=False)

    @pytest.mark.parametrize("change", ["edit", "add", "delete", "mode"])
    def test_any_change_makes_it_dirty(self, work: Path, change: str) -> None:
        write(work, "train.py")
        commit(work)
        path = work / "train.py"
        if change == "edit":
            path.write_text("print(1)")
        elif change == "add":
            write(work, "new.py")
        elif change == "delete":
            path.unlink()
        else:
            path.chmod(0o755)

        vcs = view(work).vcs

        assert vcs is not None
        assert vcs.is_dirty

    def test_before_the_first_commit_there_is_none(self, work: Path) -> None:
        assert view(work).vcs == Vcs(commit=None, branch="main", is_dirty=False)

    def test_a_detached_head_has_no_branch(self, work: Path) -> None:
        write(work, "train.py")
        head = commit(work)
        git(work, "checkout", "-q", "--detach")

        assert view(work).vcs == Vcs(commit=head, branch=None, is_dirty=False)

    def test_a_worktree_has_its_own_branch(self, work: Path, tmp_path: Path) -> None:
        write(work, "train.py")
        head = commit(work)
        git(work, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))

        looked = view(tmp_path / "side")

        assert looked.vcs == Vcs(commit=head, branch="side", is_dirty=False)
        assert looked.files == {"train.py"}
        assert find_toplevel(str(tmp_path / "side")) == str(tmp_path / "side")

    def test_asking_changes_nothing(self, work: Path) -> None:
        write(work, "train.py")
        commit(work)
        os.utime(work / "train.py", (0, 0))
        before = (work / ".git" / "index").read_bytes()

        assert view(work).vcs is not None

        assert (work / ".git" / "index").read_bytes() == before
        assert not (work / ".git" / "index.lock").exists()

    def test_it_is_answered_while_another_git_holds_its_lock(self, work: Path) -> None:
        write(work, "train.py")
        head = commit(work)
        (work / ".git" / "index.lock").touch()

        assert view(work).vcs == Vcs(commit=head, branch="main", is_dirty=False)


class TestProblems:
    def test_no_git(self, work: Path) -> None:
        looked = view(work, PATH="/nowhere")

        assert looked.files == frozenset()
        assert looked.vcs is None
        assert looked.problem == "git is not installed"

    def test_a_broken_repository(self, work: Path) -> None:
        (work / ".git" / "HEAD").write_text("nonsense")

        looked = view(work)

        assert looked.vcs is None
        assert "not a git repository" in (looked.problem or "")

    def test_a_git_file_that_leads_nowhere(self, tmp_path: Path) -> None:
        (tmp_path / ".git").write_text("gitdir: /nowhere\n")

        looked = view(tmp_path)

        assert looked.vcs is None
        assert looked.problem

    def test_a_program_that_fails_without_a_word(self, work: Path, tmp_path: Path) -> None:
        (tmp_path / "git").write_text("#!/bin/sh\nexit 3\n")
        (tmp_path / "git").chmod(0o755)

        assert view(work, PATH=f"{tmp_path}:/bin:/usr/bin").vcs is None


def test_the_root_commit_is_the_oldest_of_all(work: Path) -> None:
    write(work, "a")
    first = commit(work)
    git(work, "checkout", "-q", "--orphan", "other")
    write(work, "b")
    commit(work)
    git(work, "merge", "-q", "--allow-unrelated-histories", "-m", "merge", first)

    assert root_commit(str(work), dict(os.environ)) == first


def test_there_is_no_root_commit_without_commits_or_git(work: Path) -> None:
    assert root_commit(str(work), dict(os.environ)) is None
    assert root_commit(str(work), {"PATH": "/nowhere"}) is None
