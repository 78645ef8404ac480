"""Let a container have the data of a run, and modules from outside the project."""

from __future__ import annotations

import os
import shutil

from reenact.actions.container.draft import OWN, Draft, Mount
from reenact.actions.reproduce.data import Verified
from reenact.errors import ReenactError
from reenact.execute.data_sets import read_data_set
from reenact.interop.container import WORK
from reenact.model.lock import Lock
from reenact.model.paths import path_to_text, text_to_path
from reenact.model.run import File, Run
from reenact.store.blobs import Blobs

COPIED_LIMIT = 100 << 20
"""Bytes. So much data becomes part of the image; the rest is mounted."""


def add_data(
    draft: Draft, run: Run, verified: Verified, base: str, blobs: Blobs
) -> tuple[int, tuple[Mount, ...]]:
    """Add inputs: what is small is copied, what is large, or lies in a cache, is to be mounted.

    Args:
        draft: the context.
        run: whose inputs.
        verified: what was found of them on this machine.
        base: directory that their paths are relative to.
        blobs: of the store.

    Returns:
        How many are copied, and what is to be mounted.
    """
    lacking = {lack.path: lack.detail for lack in verified.lacks}
    copied = 0
    room = COPIED_LIMIT
    mounts: list[Mount] = []
    files = [file for file in run.inputs if file.role != "source"]
    for file in sorted(files, key=lambda one: one.size_bytes or 0):
        path = text_to_path(file.path)
        source = _place_of(file, verified, base)
        size = file.size_bytes or 0
        detail = lacking.get(file.path) or next(
            (d for p, d in lacking.items() if p.startswith(f"{file.path}/")), None
        )
        if detail is not None or source is None:
            draft.remarks.append(f"{file.path} {detail or 'is gone'}: mount what the run read")
            mounts.append(Mount(None, _target(file), size))
        elif size > room or (file.origin not in (None, "") and os.path.isabs(path)):
            if not _is_open(source):
                draft.remarks.append(
                    f"{source} can be read only by its owner, and the container's user is another: "
                    f"`chmod o+r` lets it in"
                )
            mounts.append(Mount(source, _target(file), size))
        else:
            _copy(draft, file, source, blobs, verified)
            room -= size
            copied += 1
    return copied, tuple(mounts)


def add_modules(draft: Draft, run: Run, lock: Lock, blobs: Blobs) -> None:
    """Add modules from outside the project that belong to no package."""
    places: dict[str, None] = {}
    known = [
        text_to_path(package.editable.location)
        for package in lock.packages
        if package.editable is not None
    ]
    modules = {
        text_to_path(file.path): file.digest
        for file in run.inputs
        if file.role == "source" and file.digest is not None
    }
    for path, digest in modules.items():
        if any(path.startswith(f"{location}/") for location in known):
            continue
        try:
            draft.write(f"root{OWN}/modules{path}", blobs.get(digest))
        except ReenactError as error:
            draft.remarks.append(f"{path_to_text(path)} is missing: {error.message}")
            continue
        top = os.path.dirname(path)
        while f"{top}/__init__.py" in modules:
            top = os.path.dirname(top)
        places[f"{OWN}/modules{top}"] = None
    if places:
        draft.variables["PYTHONPATH"] = ":".join(places)


def _place_of(file: File, verified: Verified, base: str) -> str | None:
    path = text_to_path(file.path)
    moved = verified.provided.get(path), verified.settings.get(path)
    resolved = None if file.resolved is None else text_to_path(file.resolved)
    for place in (*moved, os.path.join(base, path), resolved):
        if isinstance(place, str) and os.path.exists(place):
            return place
    if file.files is not None and any(at.startswith(f"{path}/") for at in verified.provided):
        return os.path.join(base, path)  # Its files come from the store, one by one.
    return None


def _is_open(path: str) -> bool:
    """Tell whether everybody may read something: in a container another user reads it."""
    needed = 0o005 if os.path.isdir(path) else 0o004
    return os.stat(path).st_mode & needed == needed


def _copy(draft: Draft, file: File, source: str, blobs: Blobs, verified: Verified) -> None:
    target = _target(file)
    inside = target.removeprefix(f"{WORK}/")
    place = f"inputs/{inside}" if inside != target else f"root{target}"
    if file.files is None or file.digest is None:
        _copy_file(source, f"{draft.directory}/{place}")
        return
    for name, _, _ in read_data_set(blobs, file.digest).files:
        path = text_to_path(name)
        provided = verified.provided.get(os.path.normpath(f"{text_to_path(file.path)}/{path}"))
        _copy_file(provided or f"{source}/{path}", f"{draft.directory}/{place}/{path}")


def _copy_file(source: str, path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    shutil.copyfile(source, path)
    os.chmod(path, 0o644)


def _target(file: File) -> str:
    """Return where in a container a run looks for an input."""
    path = text_to_path(file.path)
    if os.path.isabs(path) and file.said is not None:
        said = text_to_path(file.said)
        if not os.path.isabs(said):
            return os.path.normpath(f"{WORK}/{said}")
    return os.path.normpath(os.path.join(WORK, path))
