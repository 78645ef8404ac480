"""Make the environment of a run again, in a directory of our own, or find it there.

Promised: an environment is complete or absent: it is made under another name, and one that cannot be
completed is removed. The same lock is made once, also when two ask at once. Every package is compared
with the lock after its installation, and what is not the same is named. One that somebody has changed
is made anew.
Not promised: that the system's own libraries are those of then; the record says which they were.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec
from blake3 import blake3

from reenact.errors import ReenactError
from reenact.model.environment import Environment, Python
from reenact.model.lock import Lock, Locked
from reenact.model.record import to_json
from reenact.rebuild.making import Making, Rebuilt
from reenact.rebuild.proof import State, ask, compare, is_as, state_of
from reenact.store.blobs import Blobs
from reenact.store.files import delete_tree, is_abandoned, read_file, write_atomically
from reenact.store.lock import Lock as FileLock

MARKER = "reenact.json"
"""In a complete environment: what is to be said of it."""


class _Marker(msgspec.Struct, frozen=True, kw_only=True):
    differences: tuple[str, ...]
    remarks: tuple[str, ...]
    state: State


def rebuild(
    environment: Environment,
    lock: Lock | None,
    blobs: Blobs,
    cache_directory: str,
    *,
    env: Mapping[str, str],
    progress: Callable[[str], None] = lambda _: None,
) -> Rebuilt:
    """Return an environment with the software of a run; it is made unless it is there.

    Args:
        environment: what is recorded of it.
        lock: what is recorded for this; without it only names and versions are known.
        blobs: of the store: content that no index has.
        cache_directory: where environments, pins and interpreters are kept.
        env: the user's variables: network, credentials, where packages are looked for here.
        progress: told what takes long.

    Raises:
        ReenactError: it cannot be made; nothing of it is left.
    """
    python = environment.python
    if python is None:
        raise ReenactError(
            "no Python was seen in the run: there is no environment to make",
            hint="run it in the environment of now",
        )
    lock = lock or _without_lock(environment)
    directory = f"{cache_directory}/environments"
    path = f"{directory}/{_key(python, lock)}"
    found = _known(path, lock, environment)
    if found is not None:
        return found
    try:
        os.makedirs(directory, exist_ok=True)
        alone = FileLock(f"{path}.lock")
        if not alone.acquire():
            progress("waiting for another process, which makes the same environment")
            alone.acquire(wait=True)
        try:
            found = _known(path, lock, environment)
            if found is not None:
                return found
            _tidy(path)
            delete_tree(path)
            making = Making(environment, python, lock, blobs, cache_directory, env, progress)
            return _complete(path, making.make(path), environment)
        finally:
            alone.release(remove=True)
    except OSError as error:
        place = f" in `{os.path.dirname(error.filename)}`" if error.filename else ""
        raise ReenactError(
            f"nothing can be written{place}: {error.strerror}",
            hint="environments lie in the store's `cache/`, which must have room for them",
        ) from error


def _complete(path: str, made: Rebuilt, environment: Environment) -> Rebuilt:
    """Say in an environment that it is complete, and how it is; return what was made."""
    try:
        facts = ask(made.python)
        # The clock of the file system, whose times of files are compared with it.
        write_atomically(f"{path}/{MARKER}", b"{}")
        ended_ns = _modified_ns(f"{path}/{MARKER}")
        state = state_of(path, facts, environment.packages or (), ended_ns)
        marker = _Marker(differences=made.differences, remarks=made.remarks, state=state)
        write_atomically(f"{path}/{MARKER}", to_json(marker))
    except BaseException:
        delete_tree(path)
        raise
    return made


def _key(python: Python, lock: Lock) -> str:
    here = [sys.platform, os.uname().machine]
    said = [python.version, python.implementation, lock.packages, lock.conda, here]
    return blake3(to_json(said)).hexdigest(length=16)


def _without_lock(environment: Environment) -> Lock:
    return Lock(
        packages=tuple(Locked(name=p.name, version=p.version) for p in environment.packages or ())
    )


def _known(path: str, lock: Lock, environment: Environment) -> Rebuilt | None:
    """Return an environment that was made before, if it is still what it was."""
    interpreter = f"{path}/bin/python"
    try:
        marker = msgspec.json.decode(read_file(f"{path}/{MARKER}"), type=_Marker)
    except (OSError, msgspec.DecodeError):
        return None
    if not os.access(interpreter, os.X_OK):
        return None  # The interpreter that it was made with is gone.
    if not is_as(path, marker.state):
        # Something was installed into it, or deleted, or only bytecode written.
        facts = ask(interpreter)
        if set(compare(facts, lock, environment).values()) - set(marker.differences):
            return None
        state = state_of(path, facts, environment.packages or (), marker.state.ended_ns)
        if state.names != marker.state.names or set(state.damaged) - set(marker.state.damaged):
            return None
        marker = msgspec.structs.replace(marker, state=state)
        with suppress(OSError):  # It only saves time.
            write_atomically(f"{path}/{MARKER}", to_json(marker), sync=False)
    with suppress(OSError):
        os.utime(f"{path}/{MARKER}")  # So that `forget_environments` sees that it is of use.
    return Rebuilt(interpreter, marker.differences, marker.remarks)


def forget_environments(cache_directory: str, *, older_than_s: float) -> None:
    """Delete environments that nobody has asked for lately, and what killed processes left.

    Args:
        cache_directory: as for `rebuild`.
        older_than_s: seconds since somebody asked.
    """
    directory = f"{cache_directory}/environments"
    oldest_ns = time.time_ns() - int(older_than_s * 1e9)
    names = os.listdir(directory) if os.path.isdir(directory) else []
    for name in names:
        path = f"{directory}/{name}"
        if is_abandoned(path):
            delete_tree(path)
            continue
        asked_ns = _modified_ns(f"{path}/{MARKER}")
        if asked_ns == 0 or asked_ns > oldest_ns:
            continue
        alone = FileLock(f"{path}.lock")
        if alone.acquire():
            try:
                delete_tree(path)
            finally:
                alone.release(remove=True)


def _tidy(path: str) -> None:
    """Remove what processes left that were killed while they made an environment.

    Call it with the lock of this one: nobody else makes it.
    """
    directory, own = os.path.split(path)
    for name in os.listdir(directory):
        is_own = name.startswith(f"{own}.") and name.endswith(".tmp")
        if is_own or is_abandoned(f"{directory}/{name}"):
            delete_tree(f"{directory}/{name}")


def _modified_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
