"""What this process is: found out once, and kept for the runs that it makes.

Environment, machine, version control and project are asked for at a process's first run, which
takes some tens of milliseconds. Later runs ask again for what can have changed: the variables, the
directories of packages, the commit; that costs some tens of microseconds.

Not covered: after the first run, `is_dirty` is asked for again only when the loaded source, the
commit or git's index has changed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import NamedTuple

from reenact.actions.loaded_source import Loaded, LoadedSource
from reenact.model.identity import Digest
from reenact.model.paths import printable
from reenact.model.record import to_json
from reenact.model.run import Process, Project, Source, Vcs
from reenact.model.secrets import redact_argv
from reenact.snapshot.environment import capture_environment
from reenact.snapshot.git import GitView
from reenact.snapshot.interpreter import this_interpreter
from reenact.snapshot.machine import capture_machine
from reenact.snapshot.project_root import ProjectRoot, find_root, identify
from reenact.snapshot.tools import find_tools
from reenact.store.files import read_file
from reenact.store.store import Store

_LONG = 500


class Place(NamedTuple):
    """The project that a run in this process belongs to."""

    root: ProjectRoot
    project: Project


class _Described(NamedTuple):
    key: tuple[object, ...]
    environment: Digest
    machine: Digest


class _VcsKnown(NamedTuple):
    key: tuple[object, ...]
    vcs: Vcs | None


class ProcessFacts:
    """What is known of this process in view of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._places: dict[str, Place] = {}
        self._sources: dict[str, LoadedSource] = {}
        self._described: _Described | None = None
        self._vcs: dict[str, _VcsKnown] = {}
        self.git_problem: str | None = None

    def place(self, directory: str, env: Mapping[str, str]) -> Place:
        """Return the project that a directory belongs to."""
        found = self._places.get(directory)
        if found is None:
            root = find_root(directory, os.path.expanduser("~"))
            project = identify(root, env, self._store.cache_directory)
            found = self._places[directory] = Place(root, project)
        return found

    def source(
        self, root: ProjectRoot, texts: Mapping[str, bytes], env: Mapping[str, str]
    ) -> tuple[Source | None, tuple[str, ...]]:
        """Keep what is loaded; return it, and the files of which it is not sure what was loaded."""
        known = self._sources.get(root.path)
        if known is None:
            known = self._sources[root.path] = LoadedSource(root.path, self._store.blobs)
        loaded = known.keep(texts)
        if loaded is None:
            return None, ()
        vcs = self._version(root, loaded, env)
        source = Source(tree=loaded.tree, files=loaded.files, size_bytes=loaded.size_bytes, vcs=vcs)
        return source, loaded.edited

    def describe(self, env: Mapping[str, str]) -> tuple[Digest, Digest]:
        """Return the blobs that describe interpreter and packages, and the machine.

        Raises:
            OSError: a blob cannot be written.
        """
        key = (*sys.path, *map(_modified_ns, sys.path), *env.items())
        known = self._described
        blobs = self._store.blobs
        is_same = known is not None and known.key == key
        if (
            known is not None
            and is_same
            and blobs.has(known.environment)
            and blobs.has(known.machine)
        ):
            return known.environment, known.machine
        cache = self._store.cache_directory
        tools = find_tools(env, cache=cache)
        found = capture_environment(this_interpreter(), env, cache=cache, tools=tools)
        environment = blobs.put(to_json(found))
        machine = blobs.put(to_json(capture_machine(cache=cache)))
        self._described = _Described(key, environment, machine)
        return environment, machine

    def _version(self, root: ProjectRoot, loaded: Loaded, env: Mapping[str, str]) -> Vcs | None:
        if root.toplevel is None or root.is_loose:
            return None
        key = (loaded.tree, *_state_of_git(root.toplevel))
        known = self._vcs.get(root.path)
        if known is None or known.key != key:
            view = GitView(root.path, env)
            known = self._vcs[root.path] = _VcsKnown(key, view.vcs)
            self.git_problem = view.problem
        return known.vcs


def this_process() -> Process:
    """Describe this process for a record, as the probe does for processes that it starts in."""
    argv = redact_argv(map(printable, sys.orig_argv))
    return Process(
        pid=os.getpid(),
        parent_pid=os.getppid(),
        started_ns=time.time_ns(),
        kind="start",
        python=sys.version.split()[0],
        executable=printable(sys.executable) if sys.executable else None,
        argv=tuple(word[:_LONG] for word in argv),
    )


def _state_of_git(toplevel: str) -> tuple[object, ...]:
    """Return what changes with a commit, a checkout and `git add`."""
    directory = f"{toplevel}/.git"
    try:
        if os.path.isfile(directory):
            # A worktree or a submodule: one line says where its directory is.
            text = os.fsdecode(read_file(directory)).strip()
            directory = os.path.join(toplevel, text.removeprefix("gitdir:").strip())
        head = read_file(f"{directory}/HEAD")
    except OSError:
        return ()
    return (head, _modified_ns(f"{directory}/index"), _modified_ns(f"{directory}/logs/HEAD"))


def _modified_ns(path: object) -> int:
    try:
        return os.stat(path).st_mtime_ns if isinstance(path, str) and path else 0
    except OSError:
        return 0
