"""Which files of a directory, an archive or a run are taken, and where each of them goes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from reenact.actions.resources import Piece, unmet
from reenact.model.identity import Digest
from reenact.project.file.model import ResourceSource, Select
from reenact.store.store import RECORD_DIRECTORY


def choose(
    resource: str, source: ResourceSource, files: Mapping[str, tuple[str, Digest | None]]
) -> tuple[Piece, ...]:
    """Return the chosen files.

    What a pattern selects, be it a directory, goes to the target path under its own name. Without a
    pattern that is everything at the top.

    Args:
        resource: what messages call it.
        source: whose rules count.
        files: where each is and what digest it is known to have, by its path below the source.
    """
    pieces: dict[str, Piece] = {}
    for one in _chosen(source.select, list(files)):
        directory, _, name = one.rpartition("/")
        for path in files if one not in files else (one,):
            if path != one and not path.startswith(f"{one}/"):
                continue
            kept = directory if source.preserve_path else ""
            target = place(resource, source, f"{kept}/{name}" if kept else name) + path[len(one) :]
            at, digest = files[path]
            pieces.setdefault(target, Piece(at, target, digest))
    return tuple(pieces.values())


def place(resource: str, source: ResourceSource, path: str) -> str:
    """Return where in the run directory something goes.

    Args:
        resource: what messages call it.
        source: whose rules count.
        path: its name, with the directories that are kept of its path.

    Raises:
        UnmetRequirement: that is no place in the run directory.
    """
    directory, _, name = path.rpartition("/")
    name = rename(source, name)
    if not source.preserve_path and source.target_path is not None:
        directory = source.target_path
    found = os.path.normpath(os.path.join(directory, name))
    is_outside = os.path.isabs(found) or found.split("/")[0] in ("..", ".", "")
    if is_outside or found.split("/")[0] == RECORD_DIRECTORY:
        raise unmet(resource, source, f"would go to `{found}`, which is outside the run directory")
    return found


def rename(source: ResourceSource, name: str) -> str:
    """Return a name after the first renaming that changes it."""
    for rule in source.rename:
        new = re.sub(rule.pattern, rule.replacement, name, count=1)
        if new != name:
            return new
    return name


def check_patterns(resource: str, source: ResourceSource) -> None:
    """Make sure, once flags are filled in, that patterns can be used.

    Raises:
        UnmetRequirement: one of them cannot.
    """
    for pattern in (*(s.pattern for s in source.select), *(r.pattern for r in source.rename)):
        try:
            re.compile(pattern)
        except re.error as error:
            raise unmet(
                resource, source, f"has a pattern that cannot be used: `{pattern}`: {error}"
            ) from None
    for rule in source.rename:
        try:
            re.sub(rule.pattern, rule.replacement, "")
            re.compile(rule.pattern).sub(rule.replacement, "a")
        except (re.error, IndexError) as error:
            raise unmet(
                resource, source, f"cannot be renamed to `{rule.replacement}`: {error}"
            ) from None


def _chosen(select: tuple[Select, ...], files: list[str]) -> list[str]:
    """Return files and directories, none of which is below another one."""
    if not select:
        return sorted({path.split("/")[0] for path in files})
    every = sorted({*files, *_directories(files)})
    found: dict[str, None] = {}
    for rule in select:
        pattern = re.compile(rule.pattern)
        matches = [(path, match) for path in every if (match := pattern.match(path))]
        if rule.reduce is None:
            found.update((path, None) for path, _ in matches)
            continue
        ranked = [(number, path) for path, m in matches if (number := _number(m)) is not None]
        if ranked:
            choose_one = min if rule.reduce == "min" else max
            found[choose_one(ranked, key=lambda one: one[0])[1]] = None
    return [path for path in found if not any(up in found for up in _above(path))]


def _number(match: re.Match[str]) -> float | None:
    try:
        return float(match[1])
    except (IndexError, TypeError, ValueError):
        return None


def _directories(files: Iterable[str]) -> set[str]:
    return {up for path in files for up in _above(path)}


def _above(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: length + 1]) for length in range(len(parts))]
