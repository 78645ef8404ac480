"""What the processes of a run did with each file, whatever they called it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from reenact.execute.opened import Event
from reenact.execute.whereabouts import Whereabouts
from reenact.model.identity import Digest
from reenact.model.paths import text_to_path

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
"""Flags of `open(2)`, one of which is there when a file is opened for writing."""
CLOCK_STEP_NS = 20_000_000
"""File systems stamp times in steps of up to 10 ms; twice that is safe."""
RESTORED = "cache/outside"
"""In the store: a directory for each run that was reproduced; below it lie recorded modules from outside
the project, at their absolute paths."""


class Place(NamedTuple):
    """Where a run took place.

    Attributes:
        run: its directory, which stood for the project, or None for a run in place.
        project: the project's root.
        store: the store.
        sources: digest and size of the project's source files, of which the run had copies; the
            digest is empty where it had one with other values.
        began_ns: when the run began; nanoseconds since 1970.
        elsewhere: what lies at other places.
        required: where files and directories are that the run was given, by their paths in it; empty
            for those that were made there.
    """

    run: str | None
    project: str
    store: str
    sources: Mapping[str, tuple[Digest, int]]
    began_ns: int
    elsewhere: Whereabouts
    required: Mapping[str, str] = MappingProxyType({})

    def find_required(self, path: str) -> str | None:
        """Return where a file is that was given to the run, or is in a directory that was."""
        at = path
        while at and self.required:
            if at in self.required:
                found = self.required[at]
                return found + path[len(at) :] if found else ""
            at = at.rpartition("/")[0]
        return None


class Use:
    """What the processes of a run did with one file.

    Attributes:
        path: absolute; below the run directory, where that stands for the project.
        at: where it was opened; elsewhere than at `path` for a module that was restored.
        is_imported: Python has looked for its bytecode.
        relative: to the project, for a file in it or at its place in the run directory.
        is_staged: it is at its place in the run directory.
        read: the first opening for reading before which nobody wrote.
        read_again: the first opening for reading, before which somebody may have written.
        written_by: the first process that wrote it, or moved something there.
        wrote: the first opening for writing.
    """

    __slots__ = (
        "at",
        "is_imported",
        "is_staged",
        "path",
        "read",
        "read_again",
        "relative",
        "written_by",
        "wrote",
    )

    def __init__(self, path: str, relative: str | None, *, is_staged: bool = False) -> None:
        self.path = path
        self.at = path
        self.is_imported = False
        self.relative = relative
        self.is_staged = is_staged
        self.read: Event | None = None
        self.read_again: Event | None = None
        self.written_by: int | None = None
        self.wrote: Event | None = None


def find_uses(events: Iterable[Event], place: Place) -> list[Use]:
    """Return what was done with each file; files of the run directory come under its own name."""
    known: dict[str, Use] = {}
    find = _finder(known, place)
    for event in events:
        if event.kind == "open":
            use = known.get(event.path) or find(event.path)
            if event.path.endswith(".pyc") and use.path.endswith(".py"):
                # Size and time are the bytecode's, not those of the module that it stands for.
                event = event._replace(stamp=None)
                use.is_imported = True
            flags = event.flags
            reads = flags & os.O_ACCMODE != os.O_WRONLY and not flags & os.O_TRUNC
            writes = flags & WRITES
            if reads and writes and event.stamp is not None and event.stamp.size == 0:
                reads = False  # It has just been made, or there is nothing to read.
            if reads and use.read_again is None:
                use.read_again = event
                if use.written_by is None:
                    use.read = event
            if writes and use.written_by is None:
                use.written_by, use.wrote = event.pid, event
        elif event.kind == "move" and event.target is not None:
            target = find(event.target)
            if target.written_by is None:
                target.written_by = event.pid
    # A file may be known by several names.
    return list({id(use): use for use in known.values()}.values())


def spellings(directory: str | None) -> tuple[str, ...]:
    """Return a directory as it is named and as `getcwd` names it, with a slash at the end."""
    if directory is None:
        return ()
    return tuple(dict.fromkeys((f"{directory}/", f"{os.path.realpath(directory)}/")))


def sources_of(files: Iterable[tuple[str, int, int, Digest]]) -> dict[str, tuple[Digest, int]]:
    """Return the `sources` of a Place from the files of a `SourceTree`."""
    return {text_to_path(path): (digest, size) for path, _, size, digest in files}


def _finder(known: dict[str, Use], place: Place) -> Callable[[str], Use]:
    """Return a function that adds a path's use to what is known, however the path is spelled."""
    roots: list[tuple[str, str | None]] = []
    for name, directory in (("run", place.run), ("store", place.store), ("project", place.project)):
        # The store may be in the project, and the run is in the store.
        is_root = name != "store"
        roots += [(at, directory if is_root else None) for at in spellings(directory)]
    restored = spellings(f"{place.store}/{RESTORED}")

    def find(path: str) -> Use:
        use = known.get(path)
        if use is not None:
            return use
        for start, root in roots:
            if path.startswith(start):
                if root is not None:
                    relative = path[len(start) :]
                    if "__pycache__/" in relative:
                        relative = _module_of(relative)
                    name = f"{root}/{relative}"
                    use = known.get(name) or Use(name, relative, is_staged=root == place.run)
                    known[name] = use
                break
        if use is None:
            name = _module_of(path) if "__pycache__/" in path else path
            at = name
            for start in restored:
                inside = (
                    name[len(start) :].partition("/") if name.startswith(start) else ("", "", "")
                )
                if inside[1]:
                    name = f"/{inside[2]}"
            use = known.get(name) or Use(name, None)
            if at != name:
                use.at = at
            known[name] = use
        known[path] = use
        return use

    return find


def _module_of(path: str) -> str:
    """Bytecode stands for the module that it was made of."""
    directory, cache, name = f"/{path}".rpartition("/__pycache__/")
    if not cache or not name.endswith(".pyc"):
        return path
    return f"{directory}/{name.partition('.')[0]}.py"[1:]
