"""Other versions of a project's source: commits, and patches of what is there now.

Promised: the user's working tree, index and branches are only read. A version is laid out in a
directory of its own.
Not covered: submodules, files of Git LFS, conversions by `.gitattributes`: files are as git stores
them. Files that are too large for source are left to the working tree.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from reenact.errors import UsageError
from reenact.model.paths import printable
from reenact.model.run import Vcs
from reenact.snapshot.git import find_toplevel
from reenact.snapshot.rules import SOURCE_LIMIT
from reenact.snapshot.tree import SourceFile
from reenact.store.files import read_file

PATCHES = (".patch", ".diff")
"""Names that end so are patches, all others commits."""

_OF_A_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


def lay_out_commit(root: str, name: str, env: Mapping[str, str], directory: str) -> Vcs:
    """Write the files of a commit below a project's root into a directory; return what it is.

    Raises:
        UsageError: there is no such commit, or no git.
    """
    wanted = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    done = _git(root, env, *wanted)
    if done.returncode != 0:
        raise UsageError(
            f"variant `{name}` is no branch, tag or commit of this project",
            hint="a patch is a file that ends in `.patch` or `.diff`",
        )
    commit = done.stdout.decode().strip()
    blobs: list[tuple[str, bytes, str]] = []
    for line in _asked(root, env, "ls-tree", "-r", "-l", "-z", commit).split(b"\0"):
        head, _, name_of_file = line.partition(b"\t")
        permissions, kind, blob, size = head.split() if head else (b"", b"", b"", b"")
        if kind == b"blob" and int(size) <= SOURCE_LIMIT:
            blobs.append((os.fsdecode(name_of_file), blob, permissions.decode()))
    wanted_blobs = b"".join(blob + b"\n" for _, blob, _ in blobs)
    content = _asked(root, env, "cat-file", "--batch", given=wanted_blobs)
    at = 0
    for path, _, mode in blobs:
        end = content.index(b"\n", at)
        size_bytes = int(content[at:end].split()[2])
        data = content[end + 1 : end + 1 + size_bytes]
        at = end + 1 + size_bytes + 1
        target = f"{directory}/{path}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if mode == "120000":
            os.symlink(os.fsdecode(data), target)
        else:
            Path(target).write_bytes(data)
            Path(target).chmod(0o755 if mode == "100755" else 0o644)
    found = _git(root, env, "show-ref", "--verify", "--quiet", f"refs/heads/{name}")
    branch = printable(name) if found.returncode == 0 else None
    return Vcs(commit=commit, branch=branch, is_dirty=False)


def lay_out_source(
    root: str, files: Iterable[SourceFile], links: Iterable[tuple[str, str]], directory: str
) -> None:
    """Copy a project's source as it is now into a directory."""
    for file in files:
        target = f"{directory}/{file.path}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(target).write_bytes(read_file(f"{root}/{file.path}"))
        Path(target).chmod(file.mode | 0o600)
    for path, leads_to in links:
        os.makedirs(os.path.dirname(f"{directory}/{path}"), exist_ok=True)
        os.symlink(leads_to, f"{directory}/{path}")


def apply_patch(root: str, patch: str, env: Mapping[str, str], top: str, prefix: str) -> None:
    """Apply a patch to a copy of a project.

    Args:
        root: the project.
        patch: absolute path of the patch.
        env: the environment of git.
        top: the directory that stands for the repository's top level.
        prefix: where in it the project lies.

    Raises:
        UsageError: it does not apply.
    """
    env = {**env, "GIT_CEILING_DIRECTORIES": os.path.dirname(top)}
    words = ("apply", "--whitespace=nowarn", patch)
    done = _git(top, env, *words)
    if done.returncode != 0 and prefix:
        # Made by `git diff --relative`, or by another tool in the project itself.
        again = _git(f"{top}/{prefix}", env, *words)
        done = again if again.returncode == 0 else done
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        name = os.path.relpath(patch, root)
        raise UsageError(
            f"variant `{name}` does not apply to the source as it is now",
            hint=printable(said[0]) if said else None,
        )


def prefix_of(root: str) -> str:
    """Return where a project lies in its repository; empty at its top, and outside git."""
    toplevel = find_toplevel(root)
    return "" if toplevel is None or toplevel == root else os.path.relpath(root, toplevel)


def _asked(root: str, env: Mapping[str, str], *words: str, given: bytes = b"") -> bytes:
    done = _git(root, env, *words, given=given)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise UsageError(f"git cannot read the variant: {printable(said)}")
    return done.stdout


def _git(
    root: str, env: Mapping[str, str], *words: str, given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    kept = {name: value for name, value in env.items() if name not in _OF_A_REPOSITORY}
    own = {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        return subprocess.run(
            ("git", *words),
            cwd=root,
            env={**kept, **own},
            input=given,
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise UsageError("variants need git, which is not installed") from error
