"""A run's files: where they are, what they are, and their content."""

from __future__ import annotations

import os
import stat
from fnmatch import fnmatchcase
from typing import NamedTuple

from reenact.actions.context import Context
from reenact.errors import NotFound
from reenact.execute.stage import files_below
from reenact.model.identity import Digest
from reenact.model.paths import path_to_text, text_to_path
from reenact.model.run import Status
from reenact.snapshot.tree import read_tree
from reenact.store.store import StoredRun


class RunFile(NamedTuple):
    """A file that belongs to a run.

    Attributes:
        role: `output`, `input` or `source`.
        path: as recorded.
        size_bytes: None where it is not known.
        digest: None for what was not read, as for the files of a run that is running.
        location: where its content is now; None where it is gone.
    """

    role: str
    path: str
    size_bytes: int | None
    digest: Digest | None
    location: str | None


def list_files(
    context: Context,
    stored: StoredRun,
    *,
    roles: frozenset[str] = frozenset(["output"]),
    patterns: tuple[str, ...] = (),
) -> list[RunFile]:
    """List files of a run by role, then by path.

    Args:
        context: where the store is.
        stored: the run.
        roles: which roles.
        patterns: globs, of which one must fit the whole path or its last part.
    """
    run = stored.record
    files: list[RunFile] = []
    if "output" in roles:
        if stored.status in (Status.RUNNING, Status.PENDING):
            files += _present(stored.directory, text_to_path(run.project.root))
        for file in run.outputs:
            location = os.path.join(stored.directory, text_to_path(file.path))
            there = location if os.path.lexists(location) else None
            files.append(RunFile("output", file.path, file.size_bytes, file.digest, there))
    if "input" in roles:
        root = text_to_path(run.project.root)
        for file in run.inputs:
            location = os.path.join(root, text_to_path(file.path))
            there = location if os.path.lexists(location) else None
            files.append(RunFile("input", file.path, file.size_bytes, file.digest, there))
    if "source" in roles and run.source is not None:
        blobs = context.store.blobs
        for path, _, size, digest in read_tree(blobs, run.source.tree).files:
            there = blobs.path(digest) if blobs.has(digest) else None
            files.append(RunFile("source", path, size, digest, there))
    return [file for file in files if not patterns or _fits(file.path, patterns)]


def find_file(context: Context, stored: StoredRun, path: str) -> RunFile:
    """Return the one file of a run that a path means: an output, else an input, else source.

    Raises:
        NotFound: there is none, or its content is gone.
    """
    wanted = path_to_text(os.path.normpath(path))
    files = list_files(context, stored, roles=frozenset(["output", "input", "source"]))
    for file in files:
        if file.path == wanted:
            if file.location is None:
                raise NotFound(f"the content of `{path}` of run {stored.id[:8]} is gone")
            return file
    from reenact.project.flag_text import nearest

    close = nearest(wanted, [file.path for file in files])
    hint = f"did you mean `{close}`?" if close else f"`reenact ls {stored.id[:8]}` lists them"
    raise NotFound(f"run {stored.id[:8]} has no file `{path}`", hint=hint)


def _present(directory: str, project: str) -> list[RunFile]:
    """List what a running run has made so far: neither copies of source nor links."""
    found = []
    for path in files_below(directory):
        full = f"{directory}/{path}"
        if os.path.islink(full) or os.path.lexists(f"{project}/{path}"):
            continue
        try:
            status = os.stat(full)
        except OSError:
            continue
        size = status.st_size if stat.S_ISREG(status.st_mode) else None
        found.append(RunFile("output", path_to_text(path), size, None, full))
    return found


def _fits(path: str, patterns: tuple[str, ...]) -> bool:
    name = path.rpartition("/")[2]
    return any(fnmatchcase(path, p) or fnmatchcase(name, p) for p in patterns)
