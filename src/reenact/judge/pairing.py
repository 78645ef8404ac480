"""Pair the files of two runs: by their paths, else by paths that differ in numbers only."""

from __future__ import annotations

import re
from collections.abc import Iterable

_CHANGING = re.compile(
    r"[0-9a-f]{8,}|\d+|(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)(?![a-z])"
)
_EVENTS = re.compile(r"(events\.out\.tfevents\.)\d+\..*")


def pair_paths(
    original: Iterable[str], reproduced: Iterable[str], hosts: Iterable[str] = ()
) -> list[tuple[str | None, str | None]]:
    """Return pairs of paths in the order of the originals, then what only the other has.

    Times, process ids, hashes and names of hosts stand in names that scripts make up: two files
    whose names differ in such only are a pair, the first with the first.

    Args:
        original: paths of the one.
        reproduced: paths of the other.
        hosts: names of the machines.
    """
    before, after = list(original), list(reproduced)
    left = dict.fromkeys(after)
    pairs: dict[str, str | None] = {}
    for path in before:
        if path in left:
            pairs[path] = path
            del left[path]
    names = [host for host in hosts if host]
    waiting: dict[str, list[str]] = {}
    for path in sorted(left):
        waiting.setdefault(_form(path, names), []).append(path)
    for path in sorted(path for path in before if path not in pairs):
        same = waiting.get(_form(path, names))
        pairs[path] = same.pop(0) if same else None
    taken = {*pairs.values()}
    found: list[tuple[str | None, str | None]] = [(path, pairs[path]) for path in before]
    return found + [(None, path) for path in after if path not in taken]


def _form(path: str, hosts: list[str]) -> str:
    for host in hosts:
        path = path.replace(host, "<host>")
    return _CHANGING.sub("#", _EVENTS.sub(r"\1#", path))
