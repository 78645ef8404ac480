"""Make the environment of a run again, in a directory of our own.

Promised: an environment is complete or absent: it is made under another name, and one that cannot be
completed is removed. The same lock is made once, also when two ask at once. Every package is compared
with the lock after its installation, and what is not the same is named.
Not promised: that the system's own libraries are those of then; the record says which they were.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec
from blake3 import blake3

from reenact.errors import ReenactError
from reenact.model.environment import Environment, Package, PrefixKind, Python, PythonFacts
from reenact.model.identity import Digest
from reenact.model.lock import Lock, Locked
from reenact.model.record import to_json
from reenact.model.secrets import redact_text
from reenact.model.words import counted
from reenact.rebuild.conda import create
from reenact.rebuild.interpreter import find_interpreter
from reenact.rebuild.kept import restore_origin, write_editable, write_wheel
from reenact.rebuild.pins import Pinned, ask_indexes, from_indexes, pin, split_requirements
from reenact.rebuild.places import Places, places_of
from reenact.rebuild.uv import Refused, Uv, explain
from reenact.snapshot.indexes import read_indexes
from reenact.snapshot.interpreter import question, read_answer
from reenact.snapshot.lock import find_distributions, record_digest
from reenact.store.blobs import Blobs, digest_bytes
from reenact.store.files import (
    delete_tree,
    is_abandoned,
    read_file,
    temporary_name,
    write_atomically,
)
from reenact.store.lock import Lock as FileLock

MARKER = "reenact.json"
"""In a complete environment: what is to be said of it."""


class Rebuilt(NamedTuple):
    """An environment that was made again.

    Attributes:
        python: its interpreter.
        differences: what is not as it was recorded.
        remarks: what else is to be known of it.
    """

    python: str
    differences: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class _Marker(msgspec.Struct, frozen=True, kw_only=True):
    differences: tuple[str, ...]
    remarks: tuple[str, ...]
    stamps: dict[str, int]
    distributions: Digest


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
        return _Making(environment, python, lock, blobs, cache_directory, env, progress).make(path)
    finally:
        alone.release(remove=True)


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
    if any(_modified_ns(site) != stamp for site, stamp in marker.stamps.items()):
        # Something was installed into it, or only bytecode written.
        facts = ask(interpreter)
        now = _compare(facts, lock, environment)
        if set(now.values()) - set(marker.differences):
            return None
        if marker.distributions != _distributions(facts):
            return None
        marker = msgspec.structs.replace(marker, stamps=_stamps(facts))
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


class _Making:
    """One environment on its way from a lock to a directory."""

    def __init__(
        self,
        environment: Environment,
        python: Python,
        lock: Lock,
        blobs: Blobs,
        cache: str,
        env: Mapping[str, str],
        progress: Callable[[str], None],
    ) -> None:
        self._environment = environment
        self._wanted = python
        self._lock = lock
        self._blobs = blobs
        self._cache = cache
        self._env = env
        self._progress = progress
        self._uv = Uv(env, cache)
        self._origins: dict[str, Package] = {p.name: p for p in environment.packages or ()}
        self._remarks: list[str] = []
        self._differences: list[str] = []
        self._pinned: Pinned | None = None

    def make(self, path: str) -> Rebuilt:
        """Make it, and call it by its name when it is complete."""
        is_conda = self._wanted.prefix_kind is PrefixKind.CONDA and bool(self._environment.conda)
        # conda writes the place of an environment into its files: it cannot be moved.
        beside = path if is_conda else temporary_name(path)
        try:
            if is_conda:
                self._progress(f"making conda's part: {len(self._environment.conda)} packages")
                create(self._environment, self._lock, beside, self._env)
            else:
                self._start(beside)
            self._fill(beside, path)
            self._differences += self._verify(f"{beside}/bin/python").values()
            if not is_conda:
                os.rename(beside, path)
            facts = ask(f"{path}/bin/python")
            marker = _Marker(
                differences=tuple(self._differences),
                remarks=tuple(self._remarks),
                stamps=_stamps(facts),
                distributions=_distributions(facts),
            )
            write_atomically(f"{path}/{MARKER}", to_json(marker))
        except BaseException:
            delete_tree(beside)
            delete_tree(path)
            raise
        return Rebuilt(f"{path}/bin/python", tuple(self._differences), tuple(self._remarks))

    def _start(self, path: str) -> None:
        """Make an environment without packages."""
        interpreter = find_interpreter(
            self._wanted, self._env, self._uv, f"{self._cache}/pythons", self._progress
        )
        if interpreter.version != self._wanted.version:
            self._differences.append(
                f"Python {interpreter.version} in place of {self._wanted.version}, which is not to be had"
            )
        then, now = self._wanted.platform, f"{sys.platform}-{os.uname().machine}"
        if then is not None and then != now:
            self._differences.append(
                f"made for {now}, recorded on {then}: other builds of packages"
            )
        if self._wanted.prefix_kind is PrefixKind.VENV and self._environment.conda:
            self._remarks.append(
                "its Python was conda's; this one is another build of that version"
            )
        words = ("venv", "-q", "--no-project", "--relocatable", "--python", interpreter.path)
        try:
            self._uv.call(*words, path)
        except Refused as refused:
            trouble = explain(refused.text, ())
            raise ReenactError(trouble.message, hint=trouble.hint) from None

    def _fill(self, path: str, final: str) -> None:
        """Install all packages."""
        python = f"{path}/bin/python"
        places = places_of(self._lock, read_indexes(self._env, None, is_redacted=False))
        pinned = pin(
            self._lock,
            self._wanted.version,
            places,
            self._uv,
            f"{self._cache}/pins",
            self._progress,
        )
        attempts = [pinned.places, *(one for one in places if one != pinned.places)]
        self._pinned = self._install_pinned(python, pinned, attempts)
        self._install_from_addresses(python, places[0])
        wheels = [p for p in self._lock.packages if p.files is not None and p.editable is None]
        if wheels:
            self._install_kept(path, python, wheels)
        editables = [p for p in self._lock.packages if p.editable is not None]
        site = _site_of(ask(python))
        for package in editables:
            write_editable(
                package,
                self._origin(package).origin,
                self._blobs,
                site,
                f"{path}/sources",
                f"{final}/sources",
            )

    def _verify(self, python: str) -> dict[str, str]:
        """Compare all packages with the lock; return what is not the same, by name.

        Of one version two indexes may have different files: those are tried one after another.
        """
        self._progress("comparing it with the lock")
        facts = ask(python)
        differing = _compare(facts, self._lock, self._environment)
        places = self._pinned.places if self._pinned is not None else Places(no_index=True)
        found: dict[str, str] = {}
        for index in places.indexes() if len(places.indexes()) > 1 else ():
            wanted = [package for package in from_indexes(self._lock) if package.name in differing]
            for package in wanted:
                text = self._try_index(python, package, places.only(index))
                if text is not None and package.name not in (
                    differing := _compare(facts, self._lock, self._environment)
                ):
                    name = redact_text(index)
                    found[name] = found.get(name, "") + text
        if self._pinned is not None and found:
            self._pinned.remember(self._pinned.pins.moved(found))
        return differing

    def _try_index(self, python: str, package: Locked, places: Places) -> str | None:
        """Install a package from one index in place of that which is there; return its pin."""
        try:
            pins = ask_indexes([package], self._wanted.version, places, self._uv)
            self._install(python, pins.text, places, "--require-hashes", "--reinstall")
        except (ReenactError, Refused):
            return None
        return pins.text

    def _install_pinned(
        self, python: str, pinned: Pinned, attempts: Sequence[Places]
    ) -> Pinned | None:
        pins = pinned.pins
        texts = [pins.text, *pins.by_index.values()]
        count = sum(len(split_requirements(text)) for text in texts) + len(pins.loose)
        for name in pins.absent:
            self._differences.append(f"{name} is missing: no index has it, and it had no RECORD")
        if count == 0:
            return None
        self._progress(f"installing {counted(count, 'package')}")
        problem: ReenactError | None = None
        for places in attempts:
            try:
                if pins.text:
                    self._install(python, pins.text, places, "--require-hashes")
                if pins.loose:
                    self._install(python, "\n".join(pins.loose) + "\n", places)
                for index, text in pins.by_index.items():
                    self._install(python, text, places.only(index), "--require-hashes")
            except Refused as refused:
                trouble = explain(refused.text, places.names())
                problem = problem or ReenactError(trouble.message, hint=trouble.hint)
                continue
            self._remarks += places.remarks
            if pins.loose:
                names = ", ".join(pins.loose[:3])
                self._remarks.append(f"not pinned by hash, their place tells none: {names}")
            return pinned._replace(places=places)
        assert problem is not None
        raise problem

    def _install_from_addresses(self, python: str, places: Places) -> None:
        """Install what came from repositories and web servers, and was too large to be kept."""
        for package in self._lock.packages:
            if package.url is None:
                continue
            self._progress(f"installing {package.name} from {redact_text(package.url)}")
            try:
                self._install(python, f"{package.name} @ {package.url}\n", places)
            except Refused as refused:
                trouble = explain(refused.text, [redact_text(package.url)])
                raise ReenactError(
                    f"{package.name} {package.version}: {trouble.message}", hint=trouble.hint
                ) from None

    def _install(self, python: str, text: str, places: Places, *words: str) -> None:
        path = f"{os.path.dirname(python)}/../requirements.txt"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        fixed = ("pip", "install", "-q", "--no-deps", "--prerelease", "allow", "--python", python)
        try:
            self._uv.call(*fixed, *words, *places.options(), "-r", path, more=self._trust())
        finally:
            os.unlink(path)

    def _trust(self) -> dict[str, str]:
        """Return the variable that names the authorities to trust, unless the user has set it."""
        certificate = self._lock.indexes.certificate
        if "SSL_CERT_FILE" in self._env or certificate is None or not os.path.exists(certificate):
            return {}
        return {"SSL_CERT_FILE": certificate}

    def _install_kept(self, path: str, python: str, packages: Sequence[Locked]) -> None:
        self._progress(f"installing {counted(len(packages), 'package')} from the store")
        directory = f"{path}/wheels"
        os.makedirs(directory)
        try:
            wheels = [write_wheel(package, self._blobs, directory) for package in packages]
            words = ("pip", "install", "-q", "--no-deps", "--no-index", "--no-cache")
            self._uv.call(*words, "--python", python, *wheels)
        except Refused as refused:
            named = ", ".join(f"{p.name} {p.version} ({p.tag})" for p in packages[:3])
            trouble = explain(refused.text, ["the store"])
            raise ReenactError(
                f"what the store has of {named} does not fit this machine: {trouble.message}",
                hint="it was built for another architecture or Python: use a machine like the run's",
            ) from None
        finally:
            delete_tree(directory)
        origins = [self._origin(package) for package in packages]
        for name, place in find_distributions(ask(python), origins).items():
            restore_origin(self._origins[name], f"{place.site}/{place.directory}")

    def _origin(self, package: Locked) -> Package:
        known = self._origins.get(package.name)
        return known or Package(name=package.name, version=package.version)


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


def _compare(facts: PythonFacts, lock: Lock, environment: Environment) -> dict[str, str]:
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


def _site_of(facts: PythonFacts) -> str:
    for path in facts.path:
        if path.startswith(f"{facts.prefix}/") and path.endswith("/site-packages"):
            return path
    raise ReenactError("the environment has no directory for packages")


def _distributions(facts: PythonFacts) -> Digest:
    """Return the digest of the names of what is installed."""
    names = sorted(name for name in os.listdir(_site_of(facts)) if name.endswith(".dist-info"))
    return digest_bytes(to_json(names))


def _stamps(facts: PythonFacts) -> dict[str, int]:
    site = _site_of(facts)
    return {site: _modified_ns(site)}


def _modified_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
