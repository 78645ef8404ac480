"""Files and directories: of the project, of the machine, or those that the user set instead."""

from __future__ import annotations

import glob
import hashlib
import os

from reenact.actions.resources import Around, Piece, Planned, unmet
from reenact.actions.resources.archive import kind_of_archive
from reenact.actions.resources.choose import choose, place
from reenact.project.file.model import ResourceSource

_CHUNK = 1 << 20


def plan_file(resource: str, source: ResourceSource, around: Around) -> Planned:
    """Find a file, a directory, or all that a glob means.

    Raises:
        UnmetRequirement: there is none, or it has another SHA-256 digest.
    """
    path = os.path.normpath(os.path.join(around.root, source.base, source.spec))
    if not os.path.lexists(path) and glob.has_magic(source.spec):
        found = sorted(glob.glob(path, recursive=True))
        if not found:
            raise unmet(resource, source, f"needs `{source.spec}`, and no file matches")
        pieces = [piece for at in found for piece in _pieces(resource, source, at)]
        return Planned(resource, source, tuple(pieces))
    return plan_path(resource, source, path, source.spec)


def plan_path(resource: str, source: ResourceSource, path: str, shown: str) -> Planned:
    """Plan a file or directory by its absolute path; `shown` is how messages call it."""
    if not os.path.exists(path):
        what = "leads nowhere" if os.path.islink(path) else "is not there"
        raise unmet(resource, source, f"needs `{shown}`, which {what}")
    if os.path.isdir(path):
        remarks: tuple[str, ...] = ()
        if source.sha256 is not None:
            remarks = (f"`{shown}` is a directory: its sha256 cannot be checked",)
        return Planned(resource, source, _pieces(resource, source, path), remarks=remarks)
    if not os.access(path, os.R_OK):
        raise unmet(resource, source, f"needs `{shown}`, which cannot be read")
    if source.sha256 is not None:
        digest = sha256_of(path)
        if digest != source.sha256:
            raise unmet(
                resource,
                source,
                f"needs `{shown}` with sha256 {source.sha256}, and it has {digest}",
                "if the file is right, write its digest into the project file",
            )
    if source.unpack and kind_of_archive(path, source.type) is not None:
        return Planned(resource, source, archive=path)
    return Planned(resource, source, _pieces(resource, source, path))


def plan_setting(
    resource: str, source: ResourceSource, setting: str, flag: str, around: Around
) -> Planned:
    """Plan the file or directory that the user set instead of what the project file says."""
    why = f"set by `{flag}={setting}`"
    for directory in (around.directory, around.root):
        path = os.path.normpath(os.path.join(directory, os.path.expanduser(setting)))
        if os.path.exists(path):
            break
    else:
        raise unmet(
            resource, source, f"was set to `{setting}`, which is not there", "give its path"
        )
    if source.always_resolve:
        return plan_path(resource, source, path, setting)._replace(why=why)
    name = place(resource, source, os.path.basename(path))
    return Planned(resource, source, (Piece(path, name),), why=why)


def _pieces(resource: str, source: ResourceSource, path: str) -> tuple[Piece, ...]:
    if source.select and os.path.isdir(path):
        files = {name: (f"{path}/{name}", None) for name in list_files(path)}
        return choose(resource, source, files)
    name = os.path.basename(path)
    if source.preserve_path and not os.path.isabs(source.spec):
        directory = os.path.dirname(os.path.normpath(source.spec))
        name = f"{directory}/{name}" if directory else name
    return (Piece(path, place(resource, source, name)),)


def list_files(directory: str) -> list[str]:
    """Return the paths of all files below a directory, relative to it; of links, what they lead to."""
    found = []
    for at, names, files in os.walk(directory, followlinks=True):
        names.sort()
        relative = at[len(directory) + 1 :]
        if relative.count("/") > _DEEPEST:
            names.clear()  # A link leads back to a directory above it.
        found += [f"{relative}/{name}" if relative else name for name in sorted(files)]
    return found


_DEEPEST = 60


def sha256_of(path: str) -> str:
    """Return the SHA-256 digest of a file, in hexadecimal digits."""
    hasher = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(_CHUNK):
            hasher.update(data)
    return hasher.hexdigest()
