"""Run one project twice, with plain `python` and with `reenact run`, and tell what came of each.

Each run gets a fresh copy of the project. In everything that is compared, the project's directory
and the run's directory, which stands for it, are both written `<here>`.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

from commands import PATIENCE_S

RUN_ID = "f" * 24 + f"{os.getpid():08x}"
"""The id of every recorded run: each has a store of its own, and no other process this id."""

REENACT = (sys.executable, "-P", "-m", "reenact")
"""The command. `-P`: as for the installed one, the working directory is not a place of modules."""

Files = Mapping[str, "str | bytes | Link | None"]
"""What a project is made of. A name that ends in `/` is an empty directory, with None. Text is
dedented. Names may hold surrogate escapes for bytes that are not UTF-8."""

Tree = dict[str, bytes | str]
"""Contents of files, `-> target` for symbolic links, an empty text for directories."""


class Link(NamedTuple):
    """A symbolic link in a project."""

    target: str


class Outcome(NamedTuple):
    """What a run did that anybody can see.

    Attributes:
        status: as a shell shows it: 128 + n for a signal n.
        stdout: every byte.
        stderr: every byte.
        made: what it added to the project or changed in it.
    """

    status: int
    stdout: bytes
    stderr: bytes
    made: Tree


class Both(NamedTuple):
    """The outcomes of the two runs.

    Attributes:
        plain: under `python`.
        recorded: under `reenact run`.
        touched: what the recorded run changed in the project itself: nothing, unless it is wrong.
        world: where the recorded run's project and store are.
    """

    plain: Outcome
    recorded: Outcome
    touched: Tree
    world: World


class World:
    """A project and a store of its own, in one directory."""

    def __init__(self, root: Path, files: Files, env: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.project = root / "project"
        self.home = root / "store"
        self.run_directory = self.home / "runs" / RUN_ID
        self.env = environment(env or {}, REENACT_HOME=str(self.home))
        lay_out(self.project, files)

    def start(
        self,
        command: Sequence[str],
        *,
        cwd: str = ".",
        python: str | None = None,
        **options: object,
    ) -> subprocess.Popen[bytes]:
        """Start `reenact run COMMAND` without waiting for it; options are those of Popen."""
        words = self.words(command, python=python)
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        env = options.pop("env", self.env)
        return subprocess.Popen(words, cwd=self.project / cwd, env=env, **options)

    def words(self, command: Sequence[str], *, python: str | None = None) -> list[str]:
        """Return the whole command that runs something under `reenact run`."""
        words = [*REENACT, "run", "--run-id", RUN_ID]
        words += ["--python", python or sys.executable]
        return [*words, *command]

    def reenact(self, *command: str, cwd: str = ".") -> str:
        """Return what another `reenact` command prints; it must succeed."""
        done = subprocess.run(
            [*REENACT, *command],
            cwd=self.project / cwd,
            env=self.env,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stored(self, stream: str = "stdout") -> bytes:
        """Return what the run's record has of a stream of its output."""
        words = [*REENACT, "log", f"--{stream}", RUN_ID]
        done = subprocess.run(
            words,
            cwd=self.project,
            env=self.env,
            capture_output=True,
            timeout=PATIENCE_S,
            check=True,
        )
        return done.stdout


def run_both(
    tmp_path: Path,
    files: Files,
    *command: str,
    recorded: Sequence[str] | None = None,
    plain_files: Files | None = None,
    cwd: str = ".",
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    python: str | None = None,
    prepare: Callable[[Path], object] | None = None,
) -> Both:
    """Run a project's command under plain `python` and under `reenact run`.

    Args:
        tmp_path: an empty directory.
        files: the project.
        command: what follows `python`.
        recorded: what follows `reenact run`, where that is not the same.
        plain_files: what plain Python gets in place of the same files of the project.
        cwd: working directory, relative to the project.
        env: variables to set; `{project}` in a value is the project's directory.
        stdin: bytes to pipe in; nothing to read when None.
        python: the interpreter.
        prepare: does more to each copy of the project before anything runs.
    """
    plain = World(tmp_path / "plain", {**files, **(plain_files or {})}, env)
    world = World(tmp_path / "recorded", files, env)
    for one in (plain, world):
        one.env = {
            name: value.replace("{project}", str(one.project)) for name, value in one.env.items()
        }
        if prepare is not None:
            prepare(one.project)
    ours = world.words(command if recorded is None else recorded, python=python)
    interpreter = python or sys.executable
    before = read_tree(plain.project)
    done = _run([interpreter, *command], plain, cwd, stdin)
    as_plain = _outcome(done, changes(before, read_tree(plain.project)), plain)
    before = read_tree(world.project)
    done = _run(ours, world, cwd, stdin)
    touched = changes(before, read_tree(world.project))
    directories: Tree = {path: "" for path, content in before.items() if content == ""}
    made = {p: c for p, c in read_tree(world.run_directory).items() if directories.get(p) != c}
    as_recorded = _outcome(done, made, world)
    return Both(as_plain, as_recorded, touched, world)


def environment(more: Mapping[str, str] = {}, **others: str) -> dict[str, str]:
    """Return an environment in which children write no colour, and no bytecode unless asked to."""
    env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    env.update(more, **others)
    return env


def lay_out(project: Path, files: Files) -> None:
    """Write a project's files."""
    project.mkdir(parents=True)
    for name, content in files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir()
        elif isinstance(content, Link):
            path.symlink_to(content.target)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(dedent(content).lstrip("\n"))


def read_tree(root: Path) -> Tree:
    """Return everything below a directory but for records, repositories and bytecode."""
    tree: Tree = {}
    for directory, names, files in os.walk(root):
        names[:] = [n for n in names if n not in (".reenact", ".git", "__pycache__", ".venv")]
        for name in sorted([*names, *files]):
            path = os.path.join(directory, name)
            relative = os.path.relpath(path, root)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                tree[relative] = f"-> {os.readlink(path)}"
            elif stat.S_ISREG(mode):
                tree[relative] = Path(path).read_bytes()
            else:
                tree[relative] = ""
    return tree


def changes(before: Tree, after: Tree) -> Tree:
    """Return what is new or different, and what is gone as `gone`."""
    changed = {path: content for path, content in after.items() if before.get(path) != content}
    changed.update((path, "gone") for path in before if path not in after)
    return changed


def interpreters() -> list[str]:
    """Find one interpreter of each version from 3.8 on that is installed here, ours included."""
    found = {sys.version_info[:2]: sys.executable}
    roots = [os.environ.get("PYENV_ROOT", ""), os.path.expanduser("~/.pyenv")]
    for minor in range(8, 20):
        places = [Path(d) / f"python3.{minor}" for d in os.get_exec_path() if "shims" not in d]
        for root in filter(None, roots):
            places += Path(root, "versions").glob(f"3.{minor}.*/bin/python3.{minor}")
        for place in places:
            if (3, minor) not in found and os.access(place, os.X_OK):
                found[3, minor] = str(place)
    return [found[version] for version in sorted(found)]


def _run(
    words: Sequence[str], world: World, cwd: str, stdin: bytes | None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        words,
        cwd=world.project / cwd,
        env={**world.env, "PWD": os.path.normpath(world.project / cwd)},
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )


def _outcome(done: subprocess.CompletedProcess[bytes], made: Tree, world: World) -> Outcome:
    def clean(data: bytes) -> bytes:
        for path in (world.run_directory, world.project):
            data = data.replace(os.fsencode(path), b"<here>")
        return data

    status = done.returncode if done.returncode >= 0 else 128 - done.returncode
    cleaned = {n: clean(c) if isinstance(c, bytes) else c for n, c in made.items()}
    return Outcome(status, clean(done.stdout), clean(done.stderr), cleaned)
