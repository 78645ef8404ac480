"""Which project a directory belongs to, where its root is, and what it is called for life."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import NamedTuple

from reenact.model.paths import path_to_text
from reenact.model.run import Project
from reenact.snapshot.git import find_toplevel, root_commit
from reenact.store.files import read_file, write_atomically

PROJECT_FILES = ("reenact.yml", "guild.yml")
_MARKERS = ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "renv.lock")


class ProjectRoot(NamedTuple):
    """Where a project is.

    Attributes:
        path: its root, absolute, symbolic links resolved.
        toplevel: the git work tree that it is in, None outside git.
        is_loose: the directory is no project but a place where a script lies (a home directory).
    """

    path: str
    toplevel: str | None
    is_loose: bool


def find_root(directory: str, home: str) -> ProjectRoot:
    """Find the project that a directory belongs to.

    The nearest directory upwards with a project file is the root; else the git work tree; else
    the nearest with a `pyproject.toml` or the like; else the directory itself. The home directory,
    `/` and directories that everybody writes to (`/tmp`) are never a project because of a marker.
    """
    directory = os.path.realpath(directory)
    home = os.path.realpath(home)
    toplevel = find_toplevel(directory)
    if toplevel is not None and _is_common_ground(toplevel, home) and toplevel != directory:
        toplevel = None
    for names in (PROJECT_FILES, _MARKERS):
        if names is _MARKERS and toplevel is not None:
            return ProjectRoot(toplevel, toplevel, False)
        for at in _upwards(directory):
            if _is_common_ground(at, home):
                break
            if any(os.path.exists(f"{at}/{name}") for name in names):
                return ProjectRoot(at, toplevel, False)
    return ProjectRoot(directory, toplevel, _is_common_ground(directory, home))


def identify(root: ProjectRoot, env: Mapping[str, str], cache_directory: str | None) -> Project:
    """Return the project's identity.

    Args:
        root: where it is.
        env: the environment to run git in.
        cache_directory: where the root commit of a repository is remembered: asking git walks the
            whole history.
    """
    name = path_to_text(os.path.basename(root.path)) or "/"
    text = path_to_text(root.path)
    if root.toplevel is not None:
        commit = _cached_root_commit(root.toplevel, env, cache_directory)
        if commit is not None:
            folder = path_to_text(root.path[len(root.toplevel) + 1 :])
            identity = f"git:{commit}:{folder}" if folder else f"git:{commit}"
            return Project(id=identity, name=name, root=text)
    return Project(id=f"path:{text}", name=name, root=text)


def _cached_root_commit(
    toplevel: str, env: Mapping[str, str], cache_directory: str | None
) -> str | None:
    if cache_directory is None:
        return root_commit(toplevel, env)
    try:
        key = f"{toplevel}\n{_birth(toplevel)}"
    except OSError:
        return None
    path = f"{cache_directory}/root-{hash_text(toplevel)}"
    try:
        known, _, commit = read_file(path).decode(errors="surrogateescape").rpartition("\n")
        if known == key:
            return commit
    except OSError:
        pass
    commit_or_none = root_commit(toplevel, env)
    if commit_or_none is not None:
        try:
            os.makedirs(cache_directory, exist_ok=True)
            data = os.fsencode(f"{key}\n{commit_or_none}")
            write_atomically(path, data, sync=False)
        except OSError:
            pass
    return commit_or_none


def _birth(toplevel: str) -> str:
    """Return what is another for a new repository at the same place, and lasts for a repository."""
    git = os.stat(f"{toplevel}/.git")
    try:
        # Git writes it once, and the inode of `.git` alone may be used again.
        description = os.stat(f"{toplevel}/.git/description")
    except OSError:
        # The `.git` of a worktree or submodule is itself a file that is written once.
        return f"{git.st_ino} {git.st_mtime_ns if stat.S_ISREG(git.st_mode) else 0}"
    return f"{git.st_ino} {description.st_ino} {description.st_mtime_ns}"


def hash_text(text: str) -> str:
    """Return a short name for a long text, for files in the cache."""
    from blake3 import blake3

    return blake3(os.fsencode(text)).hexdigest(length=8)


def _upwards(directory: str) -> list[str]:
    chain = [directory]
    while (parent := os.path.dirname(chain[-1])) != chain[-1]:
        chain.append(parent)
    return chain


def _is_common_ground(directory: str, home: str) -> bool:
    if directory in (home, "/"):
        return True
    try:
        # The sticky bit: a directory for everybody's files, such as /tmp.
        return bool(os.stat(directory).st_mode & 0o1000)
    except OSError:
        return False
