from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from needs import needs
from reenact.snapshot.git import find_toplevel
from reenact.snapshot.project_root import ProjectRoot, find_root, identify


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


def git(directory: Path, *words: str) -> str:
    needs("git")
    who = (
        "-c",
        "user.name=Ada",
        "-c",
        "user.email=ada@example.org",
        "-c",
        "init.defaultBranch=main",
    )
    done = subprocess.run(
        ["git", *who, *words], cwd=directory, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def repository(directory: Path, message: str = "first") -> str:
    directory.mkdir(parents=True, exist_ok=True)
    git(directory, "init", "-q")
    git(directory, "commit", "-q", "--allow-empty", "-m", message)
    return git(directory, "rev-parse", "HEAD")


def found(directory: Path, home: Path) -> ProjectRoot:
    return find_root(str(directory), str(home))


class TestRoot:
    def test_a_directory_without_any_mark_is_its_own_project(self, home: Path) -> None:
        (home / "work" / "deep").mkdir(parents=True)

        assert found(home / "work" / "deep", home) == (str(home / "work" / "deep"), None, False)

    @pytest.mark.parametrize(
        "marker", ["pyproject.toml", "setup.py", "requirements.txt", "renv.lock"]
    )
    def test_a_mark_of_a_project_is_found_upwards(self, home: Path, marker: str) -> None:
        (home / "work" / "a" / "b").mkdir(parents=True)
        (home / "work" / marker).touch()

        assert found(home / "work" / "a" / "b", home).path == str(home / "work")

    def test_a_repository_goes_before_the_marks_inside_it(self, home: Path) -> None:
        (home / "work" / ".git").mkdir(parents=True)
        (home / "work" / "package").mkdir()
        (home / "work" / "package" / "setup.py").touch()

        root = found(home / "work" / "package", home)

        assert root == (str(home / "work"), str(home / "work"), False)

    @pytest.mark.parametrize("name", ["reenact.yml", "guild.yml"])
    def test_a_project_file_goes_before_the_repository(self, home: Path, name: str) -> None:
        (home / "work" / ".git").mkdir(parents=True)
        (home / "work" / "sub" / "deep").mkdir(parents=True)
        (home / "work" / "sub" / name).touch()

        root = found(home / "work" / "sub" / "deep", home)

        assert root == (str(home / "work" / "sub"), str(home / "work"), False)

    def test_the_git_of_a_worktree_is_a_file(self, home: Path) -> None:
        repository(home / "main")
        git(home / "main", "worktree", "add", "-q", str(home / "side"))
        (home / "side" / "a").mkdir()

        assert found(home / "side" / "a", home).toplevel == str(home / "side")

    def test_marks_in_the_home_directory_make_no_project_of_it(self, home: Path) -> None:
        (home / "requirements.txt").touch()
        (home / "reenact.yml").touch()
        (home / "work").mkdir()

        assert found(home / "work", home).path == str(home / "work")
        assert found(home, home) == (str(home), None, True)

    def test_a_repository_at_home_is_not_that_of_everything_below(self, home: Path) -> None:
        (home / ".git").mkdir()
        (home / "work").mkdir()

        assert found(home / "work", home) == (str(home / "work"), None, False)
        assert found(home, home).toplevel == str(home)

    def test_a_directory_for_everybody_is_no_project(self, tmp_path: Path, home: Path) -> None:
        shared = tmp_path / "shared"
        (shared / "mine").mkdir(parents=True)
        shared.chmod(0o1777)
        (shared / "setup.py").touch()

        assert found(shared, home).is_loose
        assert found(shared / "mine", home) == (str(shared / "mine"), None, False)

    def test_links_are_resolved(self, tmp_path: Path, home: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "real" / "setup.py").touch()
        (tmp_path / "alias").symlink_to("real")

        assert found(tmp_path / "alias", home).path == str(tmp_path / "real")

    def test_nothing_is_above_the_root(self) -> None:
        assert find_root("/", "/root").is_loose
        assert find_toplevel("/") is None


class TestIdentity:
    def identity(self, directory: Path, home: Path, cache: Path | None = None) -> str:
        return identify(found(directory, home), dict(os.environ), str(cache) if cache else None).id

    def test_outside_git_it_is_the_place(self, home: Path) -> None:
        (home / "work").mkdir()

        project = identify(found(home / "work", home), dict(os.environ), None)

        assert project == type(project)(id=f"path:{home}/work", name="work", root=f"{home}/work")

    def test_in_git_it_is_the_first_commit_wherever_the_clone_is(self, home: Path) -> None:
        first = repository(home / "one")
        git(home / "one", "commit", "-q", "--allow-empty", "-m", "second")
        git(home, "clone", "-q", "one", "two")

        assert self.identity(home / "one", home) == f"git:{first}"
        assert self.identity(home / "two", home) == f"git:{first}"

    def test_a_project_in_a_folder_of_a_repository_is_one_of_its_own(self, home: Path) -> None:
        first = repository(home / "work")
        (home / "work" / "sub").mkdir()
        (home / "work" / "sub" / "reenact.yml").touch()

        assert self.identity(home / "work" / "sub", home) == f"git:{first}:sub"

    def test_before_the_first_commit_it_is_the_place(self, home: Path) -> None:
        (home / "work").mkdir()
        git(home / "work", "init", "-q")

        assert self.identity(home / "work", home) == f"path:{home}/work"

    def test_it_is_the_same_from_the_cache(self, home: Path, tmp_path: Path) -> None:
        first = repository(home / "work")
        cache = tmp_path / "cache"

        known = {self.identity(home / "work", home, cache) for _ in range(3)}

        assert known == {f"git:{first}"}
        assert len(os.listdir(cache)) == 1

    def test_a_new_repository_at_the_same_place_is_another_project(
        self, home: Path, tmp_path: Path
    ) -> None:
        """Its `.git` has often the very inode that the old one had."""
        cache = tmp_path / "cache"
        for number in range(3):
            shutil.rmtree(home / "work", ignore_errors=True)
            first = repository(home / "work", f"first of {number}")

            assert self.identity(home / "work", home, cache) == f"git:{first}"

    def test_a_worktree_is_the_project_of_its_repository(self, home: Path, tmp_path: Path) -> None:
        first = repository(home / "main")
        git(home / "main", "worktree", "add", "-q", str(home / "side"))
        cache = tmp_path / "cache"

        assert self.identity(home / "side", home, cache) == f"git:{first}"
        assert self.identity(home / "side", home, cache) == f"git:{first}"

    def test_without_git_it_is_the_place(self, home: Path) -> None:
        repository(home / "work")

        project = identify(found(home / "work", home), {"PATH": "/nowhere"}, None)

        assert project.id == f"path:{home}/work"

    def test_a_cache_that_cannot_be_written_does_not_matter(
        self, home: Path, tmp_path: Path
    ) -> None:
        first = repository(home / "work")
        (tmp_path / "cache").write_text("in the way")

        assert self.identity(home / "work", home, tmp_path / "cache") == f"git:{first}"

    @pytest.mark.parametrize("is_repository", [False, True])
    def test_names_that_are_no_text_are_spelled_as_text(
        self, home: Path, is_repository: bool
    ) -> None:
        directory = Path(os.fsdecode(os.fsencode(home) + b"/caf\xe9"))
        directory.mkdir()
        if is_repository:
            repository(directory)

        project = identify(found(directory, home), dict(os.environ), None)

        assert project.name == "caf\\xe9"
        assert project.root == f"{home}/caf\\xe9"
        assert (project.id == f"path:{home}/caf\\xe9") is not is_repository
