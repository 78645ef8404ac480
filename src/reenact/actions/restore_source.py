"""Lay out what a run was made from in a directory: its source byte for byte, and what was kept of its data."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple

from reenact.actions.context import Context
from reenact.errors import CannotRun, ReenactError, UsageError
from reenact.execute.data_sets import read_data_set
from reenact.model.paths import leads_out, path_to_text, text_to_path
from reenact.model.run import Run
from reenact.snapshot.tree import read_tree
from reenact.store.files import delete_tree, temporary_name, write_all
from reenact.store.store import StoredRun


class RestoredSource(NamedTuple):
    """What was laid out.

    Attributes:
        directory: where.
        files: how many files and links.
        size_bytes: of them.
        absent: inputs of the project whose content is not in the store.
    """

    directory: str
    files: int
    size_bytes: int
    absent: tuple[str, ...]


def restore_source(context: Context, stored: StoredRun, directory: str) -> RestoredSource:
    """Write a run's source to a new directory: content, modes and links as they were.

    Args:
        context: where the store is.
        stored: the run.
        directory: where to; it is made, and must be empty if it is there.

    Raises:
        CannotRun: the run has no source.
        UsageError: the directory is not empty.
        NotFound, Damaged: a blob is gone or spoilt; nothing is left of what was written.
        ReenactError: the directory cannot be written.
    """
    run = stored.record
    if run.source is None and run.is_parent:
        raise CannotRun(
            f"run {run.id[:8]} starts other runs: it has no source of its own",
            hint=f"`reenact show {run.id[:8]}` lists them",
        )
    if run.source is None:
        raise CannotRun(f"run {run.id[:8]} has no source: it was made with `--no-snapshot`")
    place = os.path.join(context.directory, directory)
    if os.path.lexists(place) and not (os.path.isdir(place) and not os.listdir(place)):
        raise UsageError(f"`{directory}` is there already", hint="name a new directory")
    beside = temporary_name(os.path.normpath(place))
    try:
        os.makedirs(beside)
        found = _write(context, run, beside)
        if os.path.isdir(place):
            os.rmdir(place)
        os.rename(beside, place)
    except OSError as error:
        with suppress(OSError):  # Its parent may be no directory.
            delete_tree(beside)
        raise ReenactError(f"cannot write `{directory}`: {error.strerror}") from None
    except BaseException:
        delete_tree(beside)
        raise
    return found._replace(directory=place)


def _write(context: Context, run: Run, directory: str) -> RestoredSource:
    assert run.source is not None
    blobs = context.store.blobs
    tree = read_tree(blobs, run.source.tree)
    files = size_bytes = 0
    for text, mode, size, digest in tree.files:
        _write_file(f"{directory}/{text_to_path(text)}", blobs.get(digest), mode)
        files += 1
        size_bytes += size
    known = {path for path, *_ in tree.files}
    absent = []
    for file in run.inputs:
        is_elsewhere = os.path.isabs(file.path) or leads_out(file.path)
        if is_elsewhere or file.path in known or file.origin is not None:
            continue
        if file.digest is None or not blobs.has(file.digest) or (file.files and not file.is_kept):
            absent.append(path_to_text(text_to_path(file.path)))
            continue
        data = [(file.path, file.digest)]
        if file.files is not None:
            listed = read_data_set(blobs, file.digest).files
            data = [(f"{file.path}/{name}", one) for name, _, one in listed if one is not None]
        for text, digest in data:
            path = os.path.normpath(text_to_path(text))
            if path_to_text(path) in known:
                continue
            content = blobs.get(digest)
            _write_file(f"{directory}/{path}", content, 0o644)
            files += 1
            size_bytes += len(content)
    for text, target in tree.links:
        link = f"{directory}/{text_to_path(text)}"
        os.makedirs(os.path.dirname(link), exist_ok=True)
        os.symlink(text_to_path(target), link)
        files += 1
    return RestoredSource(directory, files, size_bytes, tuple(absent))


def _write_file(path: str, content: bytes, mode: int) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        write_all(descriptor, content)
        # Whatever the umask took away.
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
