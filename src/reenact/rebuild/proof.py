"""Prove that an environment is what its lock says: its packages, and their files.

Covered: what was deleted, added or edited since it was made; a file that somebody edited in another
environment, and that uv shares among them.
Not covered: who edits a file in place and gives it its size and its old time back.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import msgspec

from reenact.errors import ReenactError
from reenact.model.environment import Environment, Package, PythonFacts
from reenact.model.identity import Digest
from reenact.model.lock import Lock
from reenact.model.record import to_json
from reenact.snapshot.distributions import (
    Distribution,
    find_distributions,
    read_rows,
    record_digest,
)
from reenact.snapshot.interpreter import question, read_answer
from reenact.store.blobs import digest_bytes

_CACHE = "__pycache__"
_READERS = 4


class State(msgspec.Struct, frozen=True, kw_only=True):
    """How an environment was when all of it was right.

    Attributes:
        stamps: directory, relative to the environment -> time of its last change, in nanoseconds.
        names: digest of what lies in the directory of packages.
        damaged: packages that were not as their RECORD has them: some are built so.
        ended_ns: when that was.
    """

    stamps: dict[str, int]
    names: Digest
    damaged: tuple[str, ...]
    ended_ns: int


def state_of(path: str, facts: PythonFacts, packages: Iterable[Package], ended_ns: int) -> State:
    """Return how an environment is now.

    Args:
        path: of the environment.
        facts: what its interpreter says.
        packages: that are in it.
        ended_ns: nobody has written to it since, but those who are asked for.
    """
    stamps = {relative: _modified_ns(f"{path}/{relative}") for relative in _directories(path)}
    names = sorted(name for name in os.listdir(site_of(facts)) if name != _CACHE)
    return State(
        stamps=stamps,
        names=digest_bytes(to_json(names)),
        damaged=tuple(damaged(facts, packages, ended_ns)),
        ended_ns=ended_ns,
    )


def is_as(path: str, state: State) -> bool:
    """Tell whether nothing was created, deleted or renamed in an environment since."""
    return all(_modified_ns(f"{path}/{name}") == stamp for name, stamp in state.stamps.items())


def damaged(
    facts: PythonFacts, packages: Iterable[Package], since_ns: int, *, is_new: bool = False
) -> dict[str, str]:
    """Return a file that is not as its package's RECORD has it, by the package's name.

    Args:
        facts: what the interpreter says.
        packages: which to look at.
        since_ns: files that are older are right, if they are there and as long as they should be.
        is_new: it was made since. Then files are of that age, or of that of uv's cache: those that
            are younger than their package's metadata there were edited, or are young by chance.
    """
    found = find_distributions(facts, packages)
    with ThreadPoolExecutor(_READERS) as pool:
        looked = pool.map(lambda place: _damaged_file(place, since_ns, is_new), found.values())
        return {name: path for name, path in zip(found, looked, strict=True) if path is not None}


def _damaged_file(place: Distribution, since_ns: int, is_new: bool) -> str | None:
    if is_new:
        since_ns = min(since_ns, _modified_ns(f"{place.site}/{place.directory}/METADATA"))
    for path, told, size in read_rows(f"{place.site}/{place.directory}"):
        # Installers write programs and notes of their own.
        own = f"{place.directory}/"
        if not told.startswith("sha256=") or path.startswith(("../", "/", own)):
            continue
        full = f"{place.site}/{path}"
        try:
            status = os.stat(full)
            if size and status.st_size != size:
                return path
            if status.st_mtime_ns > since_ns:
                with open(full, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").digest()
                if told != f"sha256={urlsafe_b64encode(digest).rstrip(b'=').decode()}":
                    return path
        except OSError:
            return path
    return None


def ask(python: str) -> PythonFacts:
    """Return what an interpreter says of itself.

    Raises:
        ReenactError: it does not start.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [python, "-c", question()],
        env=env,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    try:
        return read_answer(done.stdout)
    except ValueError:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = lines[-1] if lines else f"status {done.returncode}"
        raise ReenactError(
            f"the interpreter of the environment does not start: {reason}",
            hint="`python -c pass` of the same version shows what is wrong with it",
        ) from None


def compare(facts: PythonFacts, lock: Lock, environment: Environment) -> dict[str, str]:
    """Return how the packages of an environment differ from those of the lock, by their names."""
    packages = environment.packages or ()
    there = find_distributions(facts, packages)
    differences = {}
    for locked in lock.packages:
        place = there.get(locked.name)
        what = f"{locked.name} {locked.version}"
        if place is None:
            if locked.digest is not None or locked.editable is not None:
                differences[locked.name] = f"{what} is missing"
        elif locked.digest is not None and record_digest(place) != locked.digest:
            differences[locked.name] = f"{what} has not the content that the run had"
    return differences


def site_of(facts: PythonFacts) -> str:
    """Return an environment's own directory of packages."""
    for path in facts.path:
        if path.startswith(f"{facts.prefix}/") and path.endswith("/site-packages"):
            return path
    raise ReenactError("the environment has no directory for packages")


def _directories(path: str) -> Iterator[str]:
    for place, directories, _ in os.walk(path):
        with suppress(ValueError):
            directories.remove(_CACHE)
        if place != path:  # Its own notes are written there.
            yield os.path.relpath(place, path)


def _modified_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
