"""Make one environment, from a lock to a directory."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from reenact.errors import ReenactError
from reenact.model.environment import Environment, Package, PrefixKind, Python, PythonFacts
from reenact.model.lock import Lock, Locked
from reenact.model.secrets import redact_text
from reenact.model.words import counted
from reenact.rebuild.conda import create
from reenact.rebuild.interpreter import find_interpreter
from reenact.rebuild.kept import restore_origin, write_editable, write_wheel
from reenact.rebuild.pins import (
    Pinned,
    ask_indexes,
    from_indexes,
    name_of,
    not_to_be_had,
    pin,
    split_requirements,
)
from reenact.rebuild.places import Places, places_of
from reenact.rebuild.proof import ask, compare, damaged, site_of
from reenact.rebuild.uv import Refused, Uv, explain
from reenact.snapshot.distributions import find_distributions
from reenact.snapshot.indexes import read_indexes
from reenact.store.blobs import Blobs
from reenact.store.files import delete_tree, temporary_name

_CLOCKS_APART_NS = 2_000_000_000
"""So much may lie between the clocks of this machine and of a file system."""


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


class Making:
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
        self._uv = Uv(env, cache, progress)
        self._origins: dict[str, Package] = {p.name: p for p in environment.packages or ()}
        self._remarks: list[str] = []
        self._differences: list[str] = []
        self._pinned: Pinned | None = None
        self._started_ns = time.time_ns() - _CLOCKS_APART_NS

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
        except BaseException:
            delete_tree(beside)
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
        site = site_of(ask(python))
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
        differing = compare(facts, self._lock, self._environment)
        places = self._pinned.places if self._pinned is not None else Places(no_index=True)
        found: dict[str, str] = {}
        for index in places.indexes() if len(places.indexes()) > 1 else ():
            wanted = [package for package in from_indexes(self._lock) if package.name in differing]
            for package in wanted:
                text = self._try_index(python, package, places.only(index))
                if text is not None and package.name not in (
                    differing := compare(facts, self._lock, self._environment)
                ):
                    name = redact_text(index)
                    found[name] = found.get(name, "") + text
        if self._pinned is not None and found:
            self._pinned.remember(self._pinned.pins.moved(found))
        return {**self._mend(python, facts), **differing}

    def _mend(self, python: str, facts: PythonFacts) -> dict[str, str]:
        """Install again what uv has installed from files in its cache that somebody has edited."""
        if self._pinned is None:
            return {}
        pins = self._pinned.pins
        names = {package.name for package in from_indexes(self._lock)}
        packages = [p for p in self._environment.packages or () if p.name in names]
        entries = [e for t in (pins.text, *pins.by_index.values()) for e in split_requirements(t)]
        lacking: dict[str, str] = {}
        for name, path in damaged(facts, packages, self._started_ns, is_new=True).items():
            text = next((entry for entry in entries if name_of(entry) == name), None)
            words = ("--require-hashes", "--reinstall", "--no-cache")
            try:
                if text is not None:
                    self._install(python, f"{text}\n", self._pinned.places, *words)
            except Refused:
                lacking[name] = f"{name} has not the content that its index has: {path} was edited"
        return lacking

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
                problem = problem or self._problem(refused, places)
                continue
            self._remarks += places.remarks
            if pins.loose:
                names = ", ".join(pins.loose[:3])
                self._remarks.append(f"not pinned by hash, their place tells none: {names}")
            return pinned._replace(places=places)
        assert problem is not None
        raise problem

    def _problem(self, refused: Refused, places: Places) -> ReenactError:
        """Say why pinned packages could not be installed."""
        trouble = explain(refused.text, places.names())
        package = next((p for p in self._lock.packages if p.name == trouble.missing), None)
        if package is None:
            return ReenactError(trouble.message, hint=trouble.hint)
        what = f"{package.name} {package.version} is not to be had (any more)"
        return not_to_be_had(what, trouble, self._wanted.version, places, self._uv)

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
