"""Find out what it takes to install the packages of an environment again, and remember it.

Promised: of an environment that was seen before only some times of modification are looked at.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import msgspec

from reenact.model.environment import Environment, PythonFacts
from reenact.model.identity import Digest
from reenact.model.paths import path_to_text, printable
from reenact.model.record import to_json
from reenact.snapshot.environment import package_directories
from reenact.snapshot.indexes import index_files, index_variables, read_indexes
from reenact.store.blobs import Blobs, digest_bytes
from reenact.store.files import read_file, write_atomically

_RACY_NS = 2_000_000_000
"""A directory that changed this recently may change again without a new time stamp."""


class LockFound(NamedTuple):
    """The lock of an environment.

    Attributes:
        digest: of the blob that holds it.
        used: directory -> digest of what was found there, for editable distributions outside the
            project.
    """

    digest: Digest
    used: dict[str, Digest]


class _Remembered(msgspec.Struct, frozen=True, array_like=True):
    """A lock that was made before, valid as long as the times of what it was made from."""

    lock: Digest
    used: dict[str, Digest]
    stamps: dict[str, int]


def known_lock(
    python: PythonFacts | None,
    environment: Environment,
    env: Mapping[str, str],
    *,
    project: str | None,
    blobs: Blobs,
    cache: str,
) -> LockFound | None:
    """Return the lock of an environment that was seen before; None where it must be made.

    Args:
        python: what the interpreter said.
        environment: what was found out about it.
        env: the user's variables.
        project: root of the run's project.
        blobs: where locks are.
        cache: directory of the memory of locks.
    """
    if python is None:
        return None
    try:
        data = read_file(_memory(python, environment, env, project, cache))
        known = msgspec.msgpack.decode(data, type=_Remembered)
    except (OSError, msgspec.DecodeError):
        return None
    if any(_modified_ns(path) != stamp for path, stamp in known.stamps.items()):
        return None
    return LockFound(known.lock, known.used) if blobs.has(known.lock) else None


def make_lock(
    python: PythonFacts,
    environment: Environment,
    env: Mapping[str, str],
    *,
    project: str | None,
    blobs: Blobs,
    cache: str,
) -> LockFound:
    """Make the lock of an environment and keep it, with the content that no index has.

    Arguments are those of `known_lock`.

    Raises:
        OSError: a blob cannot be written.
    """
    # These are imported when they are needed: a run with a known lock does not pay for them.
    from reenact.model.lock import Lock
    from reenact.snapshot.conda import conda_addresses, conda_distributions
    from reenact.snapshot.distributions import find_distributions
    from reenact.snapshot.editable import EditableSources
    from reenact.snapshot.locked import Keeper

    stamps = _stamps(python, env, project)
    packages = environment.packages or ()
    found = find_distributions(python, packages)
    sources = EditableSources(project, blobs, cache)
    of_conda = conda_distributions(python) if environment.conda else frozenset()
    keeper = Keeper(python, sources, blobs, of_conda)
    locked = tuple(keeper.locked(package, found.get(package.name)) for package in packages)
    lock = Lock(
        packages=locked,
        conda=conda_addresses(python) if environment.conda else (),
        indexes=read_indexes(env, python, project),
    )
    digest = blobs.put(to_json(lock))
    # What is in other directories of the path changes all the time, and is no distribution.
    sites = {place.site for place in found.values()}
    others = set(package_directories(python)) - sites
    stamps = {path: stamp for path, stamp in stamps.items() if path not in others}
    if max(stamps.values(), default=0) < time.time_ns() - _RACY_NS:
        path = _memory(python, environment, env, project, cache)
        remembered = _Remembered(digest, sources.used, stamps)
        # The memory only saves time: one that cannot be written must not stop a run.
        with suppress(OSError, UnicodeEncodeError):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_atomically(path, msgspec.msgpack.encode(remembered), sync=False)
    return LockFound(digest, sources.used)


def forget_lock(
    python: PythonFacts,
    environment: Environment,
    env: Mapping[str, str],
    *,
    project: str | None,
    cache: str,
) -> None:
    """Let the lock be made again: the source of an editable distribution has changed."""
    with suppress(OSError):
        os.unlink(_memory(python, environment, env, project, cache))


def _memory(
    python: PythonFacts,
    environment: Environment,
    env: Mapping[str, str],
    project: str | None,
    cache: str,
) -> str:
    said = [
        python,
        environment.packages,
        environment.conda,
        {name: printable(value) for name, value in index_variables(env).items()},
        None if project is None else path_to_text(project),
    ]
    return f"{cache}/locks/{digest_bytes(to_json(said))[:32]}"


def _stamps(python: PythonFacts, env: Mapping[str, str], project: str | None) -> dict[str, int]:
    places = (
        *package_directories(python),
        f"{python.prefix}/conda-meta",
        f"{python.base_prefix}/conda-meta",
        *index_files(env, python, project),
    )
    return {path: _modified_ns(path) for path in places}


def _modified_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
