"""Gather what a run ran in: environment and machine, what it had loaded, what else happened there.

Promised: nothing here makes a run fail, and nothing takes time from one that has just started: the
modules that look are loaded when they are needed. What could not be found out becomes a warning.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from reenact.actions.run_lock import RunLock
from reenact.errors import ReenactError
from reenact.execute.testimony import python_facts, read_hellos
from reenact.model.environment import PythonFacts, decode_environment
from reenact.model.identity import Digest
from reenact.model.record import to_json
from reenact.model.run import Run, Usage
from reenact.store.store import RECORD_DIRECTORY, Store

if TYPE_CHECKING:
    from reenact.snapshot.state import Watch

_SELDOM_S = 0.3
"""Runs shorter than this are described after their end, longer ones while they run."""
_AGAIN_S = 2.0
_SELDOM_LOOKED_S = 30.0
_MOST_LOOKED_AT = 8


class RunFacts:
    """What is found out about one run while its supervisor watches it, and at its end.

    Args:
        store: the run's.
        directory: of the run.
        env: the environment that the user gave the run.
        warn: is told code and message of what the record's reader must know.
        project: root of the project.
    """

    def __init__(
        self,
        store: Store,
        directory: str,
        env: Mapping[str, str],
        warn: Callable[[str, str], None],
        project: str | None = None,
    ) -> None:
        self._store = store
        self._lock = RunLock(store, env, project)
        self._directory = directory
        self._record_directory = f"{directory}/{RECORD_DIRECTORY}"
        self._env = env
        self._warn = warn
        self._pid = 0
        self._watch: Watch | None = None
        self._is_described = False
        self._lacks_tools = False
        self._describe_at = 0.0
        self._look_at = 0.0
        self._look_pause_s = _AGAIN_S
        self._libraries: list[str] = []

    def begin(self, pid: int) -> None:
        """Look at the machine; call it once, when the run's process has been started."""
        from reenact.snapshot.state import Watch

        self._pid = pid
        now_s = time.monotonic()
        self._describe_at = now_s + _SELDOM_S
        self._look_at = now_s + _AGAIN_S
        try:
            self._watch = Watch(self._env.get("CUDA_VISIBLE_DEVICES"))
        except Exception as error:  # noqa: BLE001  # a run must not fail because of its description
            self._warn("conditions", f"the state of the machine was not recorded: {error}")

    def tick(self, run: Run, now_s: float) -> Run:
        """Use the time while the process runs; return the record with what was found out."""
        if not self._is_described and now_s >= self._describe_at:
            # No interpreter may have said anything yet: it is slow, or started later by another.
            self._describe_at = now_s + _AGAIN_S
            facts = python_facts(read_hellos(self._record_directory))
            if facts is not None:
                run = self._describe(run, facts)
        if now_s >= self._look_at:
            # Ever more seldom: most is loaded early, but on a busy machine that takes its time.
            self._look_at = now_s + self._look_pause_s
            self._look_pause_s = min(2 * self._look_pause_s, _SELDOM_LOOKED_S)
            self._look_for_libraries()
        if (made := self._lock.made()) is not None:
            run = self._write_lock(run, made)
        return run

    def finish(self, run: Run, usage: Usage, hellos: Sequence[dict[str, Any]]) -> Run:
        """Return the record of a run whose process has ended with what it ran in.

        Args:
            run: the record so far.
            usage: what its processes used.
            hellos: what the probe said in them.
        """
        if self._watch is not None:
            used_s = (usage.cpu_user_s or 0.0) + (usage.cpu_system_s or 0.0)
            try:
                run = msgspec.structs.replace(run, conditions=self._watch.finish(used_s))
            except Exception as error:  # noqa: BLE001  # a run must not fail because of its description
                self._warn("conditions", f"the state of the machine was not recorded: {error}")
        if not self._is_described or self._lacks_tools:
            run = self._describe(run, python_facts(hellos), is_over=True)
        return run

    def with_lock(self, run: Run) -> Run:
        """Return the record with what it takes to install its packages again.

        Args:
            run: of a run that has ended, with the files that it has read.
        """
        try:
            with self._store.writing():
                digest = self._lock.finish(run)
                if digest is not None and digest != run.lock:
                    run = msgspec.structs.replace(run, lock=digest)
                    self._store.write_run(run, sync=False)
        except Exception as error:  # noqa: BLE001  # a run must not fail because of its description
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            self._warn("lock", f"how to install its packages again was not recorded: {reason}")
        self._lock.release()
        return run

    def _write_lock(self, run: Run, digest: Digest) -> Run:
        run = msgspec.structs.replace(run, lock=digest)
        try:
            self._store.write_run(run, sync=False)
        except OSError as error:
            self._warn("record", f"the record could not be written: {error.strerror}")
        self._lock.release()
        return run

    def runtime(self, run: Run, told: Mapping[str, Any] | None) -> bytes | None:
        """Return what `runtime_of` returns, with the libraries that were seen meanwhile."""
        try:
            return runtime_of(self._store, run, told, self._directory, self._libraries)
        except Exception as error:  # noqa: BLE001  # a run must not fail because of its description
            self._warn("environment", f"what was loaded was not recorded: {error}")
            return None

    def _describe(self, run: Run, facts: PythonFacts | None, *, is_over: bool = False) -> Run:
        """Describe interpreter, packages and machine: a blob each, shared by all runs.

        Args:
            run: the record so far; what is found out is written to it.
            facts: what the interpreter said of itself.
            is_over: the process has ended. Before that no compiler is asked for its version: it
                would take time from the run.
        """
        self._is_described = True
        from reenact.snapshot.environment import capture_environment
        from reenact.snapshot.machine import capture_machine
        from reenact.snapshot.tools import find_tools

        cache = self._store.cache_directory
        try:
            tools = find_tools(self._env, cache=cache, may_ask=is_over)
            self._lacks_tools = tools is None
            environment = capture_environment(facts, self._env, cache=cache, tools=tools)
            machine = capture_machine(cache=cache)
            with self._store.writing():
                run = msgspec.structs.replace(
                    run,
                    environment=self._store.blobs.put(to_json(environment)),
                    machine=self._store.blobs.put(to_json(machine)),
                    lock=run.lock or self._lock.look_up(facts, environment),
                )
                self._store.write_run(run, sync=False)
            if not is_over:
                self._lock.start_making()
        except Exception as error:  # noqa: BLE001  # a run must not fail because of its description
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            self._warn("environment", f"the environment was not recorded: {reason}")
        return run

    def _look_for_libraries(self) -> None:
        """See what the process has loaded, in case that it will not live to tell."""
        from reenact.snapshot.libraries import loaded_by

        hellos = read_hellos(self._record_directory)
        pids = [hello["pid"] for hello in hellos if hello.get("kind") == "start"]
        for pid in {self._pid, *pids[:_MOST_LOOKED_AT]}:
            self._libraries = max(self._libraries, loaded_by(pid), key=len)


def runtime_of(
    store: Store,
    run: Run,
    told: Mapping[str, Any] | None,
    directory: str,
    seen: Sequence[str] = (),
) -> bytes | None:
    """Return the content of the blob that a record names as `runtime`; None where there is none.

    Args:
        store: the run's.
        run: its record, whose environment is there already.
        told: what the process said, see `leaving.py` of the probe; None if it did not.
        directory: of the run.
        seen: libraries that were seen in it while it lived.
    """
    from reenact.snapshot.libraries import describe_runtime

    variables = {}
    if told is not None and run.environment is not None:
        try:
            data = store.blobs.get(run.environment)
            variables = decode_environment(data, where="the environment").variables
        except ReenactError:
            pass  # Then variables count as changed that were as they are.
    runtime = describe_runtime(told, seen, variables, directory)
    return None if runtime is None else to_json(runtime)
