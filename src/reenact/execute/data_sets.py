"""Many files of one directory are one input, a data set: which are, and how they are listed."""

from __future__ import annotations

import os

import msgspec

from reenact.errors import Damaged
from reenact.execute.uses import Place
from reenact.model.identity import Digest
from reenact.model.paths import leads_out
from reenact.store.blobs import Blobs

MANY = 100
"""More files of one directory, or below it, are one input."""

DATA_SET_FORMAT = 1


class DataSet(msgspec.Struct, frozen=True):
    """The blob that an input's digest names which is made of many files.

    Attributes:
        files: path below the input's, size in bytes, digest, None for what could not be read;
            sorted by path. Paths are spelled as `model.paths` says.
    """

    files: list[tuple[str, int, Digest | None]]
    format: int = DATA_SET_FORMAT


def read_data_set(blobs: Blobs, digest: Digest) -> DataSet:
    """Return the list of files of an input that is a data set.

    Raises:
        NotFound, Damaged: the blob is not there, or not what its name says, or names files elsewhere.
        msgspec.DecodeError: it is no such list.
    """
    found = msgspec.json.decode(blobs.get(digest), type=DataSet)
    for name, _, _ in found.files:
        if leads_out(name):
            raise Damaged(
                f"blob {digest[:12]} is no data set: `{name}` leads out of it",
                hint="do not use what it came with",
            )
    return found


def find_data_sets(
    paths: list[str], place: Place, *, is_outside: bool
) -> tuple[list[str], dict[str, list[str]]]:
    """Return the paths of single files, and those that make up data sets, by directory.

    A data set is the highest directory below which more than MANY files were read; but where one
    subdirectory of it holds nearly all of them, it is that one.

    Args:
        paths: relative to the project, or absolute; sorted.
        place: of the run.
        is_outside: they are absolute.
    """
    singles: list[str] = []
    groups: dict[str, list[str]] = {}
    _group("/" if is_outside else "", paths, _too_high(place), singles, groups)
    return singles, groups


def _too_high(place: Place) -> frozenset[str]:
    """Return directories that hold so different things that they are no data set."""
    found = {"", "/"}
    for path in (place.project, place.store, place.elsewhere.home, *place.elsewhere.temporary):
        at = path.rstrip("/")
        while at and at not in found:
            found.add(at)
            at = os.path.dirname(at)
    return frozenset(found | {directory.rstrip("/") for _, directory in place.elsewhere.hubs})


def _group(
    directory: str,
    paths: list[str],
    high: frozenset[str],
    singles: list[str],
    groups: dict[str, list[str]],
) -> None:
    """Sort files below a directory into data sets and single ones.

    Args:
        directory: empty for the project, "/" outside.
        paths: of files below it, sorted.
        high: directories that are none.
        singles: takes the paths of single files.
        groups: takes those of data sets, by directory.
    """
    if len(paths) <= MANY:
        singles.extend(paths)
        return
    start = len(directory) + (directory not in ("", "/"))
    children: dict[str, list[str]] = {}
    direct = []
    for path in paths:
        slash = path.find("/", start)
        if slash < 0:
            direct.append(path)
        else:
            children.setdefault(path[:slash], []).append(path)
    large = [child for child, below in children.items() if len(below) > MANY]
    rest = len(paths) - sum(len(children[child]) for child in large)
    is_high = directory in high or (directory.startswith("/") and directory.count("/") == 1)
    if not is_high and not (len(large) == 1 and rest <= MANY):
        groups[directory] = paths
        return
    if len(direct) > MANY:
        groups[directory or "."] = direct
    else:
        singles.extend(direct)
    for child, below in children.items():
        _group(child, below, high, singles, groups)
