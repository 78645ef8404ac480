"""What git knows of a project, asked in one go while we look at the files ourselves.

Not promised: git is not installed, the repository is broken, or git refuses the directory (its
owner is somebody else): then the project counts as one without git, and `problem` says why.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from reenact.model.paths import printable
from reenact.model.run import Vcs


def find_toplevel(directory: str) -> str | None:
    """Return the nearest directory upwards that has a `.git`, None where there is none."""
    at = directory
    while True:
        if os.path.lexists(f"{at}/.git"):
            return at
        parent = os.path.dirname(at)
        if parent == at:
            return None
        at = parent


class GitView:
    """Git's answers for a directory inside a work tree. Building it starts git; reading waits."""

    def __init__(self, root: str, env: Mapping[str, str]) -> None:
        # Our questions must not take git's locks nor write its index: other tools are at work too.
        env = {**env, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
        self.root = root
        self.problem: str | None = None
        self._listing = _start(root, env, "ls-files", "-z", "--cached", "--recurse-submodules")
        self._status = _start(
            root, env, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "."
        )
        self._prefix = ""
        toplevel = find_toplevel(root)
        if toplevel and toplevel != root:
            self._prefix = root[len(toplevel) + 1 :] + "/"
        self._answer: tuple[frozenset[str], Vcs] | None = None

    @property
    def files(self) -> frozenset[str]:
        """Paths relative to the root of all files that are tracked or untracked but not ignored.

        One that ends in a slash is a repository of its own, of which this one knows nothing more.
        """
        return self._read()[0]

    @property
    def vcs(self) -> Vcs | None:
        """Commit, branch and whether anything differs from the commit."""
        vcs = self._read()[1]
        return None if self.problem else vcs

    def _read(self) -> tuple[frozenset[str], Vcs]:
        if self._answer is None:
            listing = self._wait(self._listing)
            status = self._wait(self._status)
            files = set(listing.split("\0"))
            files.discard("")
            commit = branch = None
            is_dirty = False
            fields = iter(status.split("\0"))
            for field in fields:
                kind = field[:2]
                if kind == "# ":
                    if field.startswith("# branch.oid ") and "(initial)" not in field:
                        commit = field[13:]
                    elif field.startswith("# branch.head ") and "(detached)" not in field:
                        branch = printable(field[14:])
                elif kind == "? ":
                    is_dirty = True
                    files.add(field[2 + len(self._prefix) :])
                elif kind:
                    is_dirty = True
                    if kind == "2 ":
                        next(fields, None)
            self._answer = frozenset(files), Vcs(commit=commit, branch=branch, is_dirty=is_dirty)
        return self._answer

    def _wait(self, process: subprocess.Popen[bytes] | OSError) -> str:
        if isinstance(process, OSError):
            self.problem = "git is not installed"
            return ""
        out, err = process.communicate()
        if process.returncode != 0:
            said = err.decode(errors="replace").strip().splitlines()
            self.problem = said[0] if said else f"git ended with {process.returncode}"
            return ""
        return os.fsdecode(out)


def root_commit(root: str, env: Mapping[str, str]) -> str | None:
    """Return the oldest root commit of the history: what a project keeps for life."""
    process = _start(root, env, "rev-list", "--max-parents=0", "HEAD")
    if isinstance(process, OSError):
        return None
    out, _ = process.communicate()
    lines = out.decode().split()
    return lines[-1] if process.returncode == 0 and lines else None


def _start(root: str, env: Mapping[str, str], *words: str) -> subprocess.Popen[bytes] | OSError:
    try:
        return subprocess.Popen(
            ("git", *words),
            cwd=root,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        return error
