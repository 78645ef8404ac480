"""Find out, while a run's process runs, what it takes to install its packages again.

Promised: for an environment that was seen before this is a look at some times of modification. One
that was not is looked at by a thread of its own while the process runs, or after the end of a short
run. The source of an editable distribution outside the project is looked at again when the run has
used some of it that had changed.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from reenact.errors import ReenactError
from reenact.model.environment import Environment, PythonFacts
from reenact.model.identity import Digest
from reenact.model.paths import text_to_path
from reenact.model.run import Run
from reenact.store.lock import SharedLock
from reenact.store.store import Store

if TYPE_CHECKING:
    from reenact.snapshot.lock import LockFound


class RunLock:
    """The lock of one run's environment.

    Args:
        store: the run's.
        env: the environment that the user gave the run.
        project: root of its project.
    """

    def __init__(self, store: Store, env: Mapping[str, str], project: str | None) -> None:
        self._store = store
        self._env = env
        self._project = project
        self._facts: PythonFacts | None = None
        self._environment: Environment | None = None
        self._found: LockFound | None = None
        self._thread: threading.Thread | None = None
        self._problem: Exception | None = None
        self._writing: SharedLock | None = None

    def look_up(self, facts: PythonFacts | None, environment: Environment) -> Digest | None:
        """Return the lock of an environment that was seen before, else None.

        Call it with the store's lock for writers.
        """
        from reenact.snapshot.lock import known_lock

        self._facts, self._environment = facts, environment
        store = self._store
        self._found = known_lock(
            facts,
            environment,
            self._env,
            project=self._project,
            blobs=store.blobs,
            cache=store.cache_directory,
        )
        return None if self._found is None else self._found.digest

    def start_making(self) -> None:
        """Make the lock meanwhile, if nobody has made it before."""
        if self._found is None and self._facts is not None and self._thread is None:
            self._thread = threading.Thread(target=self._make_aside, daemon=True)
            self._thread.start()

    def made(self) -> Digest | None:
        """Return the lock once it was made meanwhile; then `release` when a record names it."""
        if self._thread is None or self._thread.is_alive() or self._writing is None:
            return None
        return None if self._found is None else self._found.digest

    def finish(self, run: Run) -> Digest | None:
        """Return the lock of a run that has ended; None where no Python was seen in it.

        Call it with the store's lock for writers.

        Args:
            run: with the files that it has read.

        Raises:
            OSError: a blob cannot be written.
        """
        if self._thread is not None:
            self._thread.join()
        if self._problem is not None:
            raise self._problem
        if self._facts is None or self._environment is None:
            return run.lock
        if self._found is None:
            self._found = self._make()
        elif self._is_stale(run, self._found):
            from reenact.snapshot.lock import forget_lock

            forget_lock(
                self._facts,
                self._environment,
                self._env,
                project=self._project,
                cache=self._store.cache_directory,
            )
            self._found = self._make()
        return self._found.digest

    def release(self) -> None:
        """Let `gc` go on: what was made has got a record that names it, or never will."""
        if self._writing is not None:
            self._writing.release()
            self._writing = None

    def _make_aside(self) -> None:
        writing = self._store.writing()
        try:
            writing.acquire()
            self._writing = writing
            self._found = self._make()
        except Exception as error:  # noqa: BLE001  # told to whoever waits for it
            self._problem = error

    def _make(self) -> LockFound:
        from reenact.snapshot.lock import make_lock

        assert self._facts is not None
        assert self._environment is not None
        store = self._store
        return make_lock(
            self._facts,
            self._environment,
            self._env,
            project=self._project,
            blobs=store.blobs,
            cache=store.cache_directory,
        )

    def _is_stale(self, run: Run, found: LockFound) -> bool:
        """Tell whether the run has used source of an editable distribution that has changed."""
        if not found.used:
            return False
        from reenact.snapshot.tree import read_tree

        for directory, tree in found.used.items():
            inside = f"{directory}/"
            used = {
                path.removeprefix(inside): file.digest
                for file in run.inputs
                if file.role == "source" and (path := text_to_path(file.path)).startswith(inside)
            }
            if not used:
                continue
            try:
                files = read_tree(self._store.blobs, tree).files
            except ReenactError:
                return True
            kept = {text_to_path(path): digest for path, _, _, digest in files}
            if any(kept.get(path) != digest for path, digest in used.items()):
                return True
        return False
