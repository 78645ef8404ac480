"""Let a container have the packages of a run: conda's, pinned ones, wheels and editable ones."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping

from reenact.actions.container.draft import OWN, Draft
from reenact.interop.container import WORK
from reenact.model.environment import Environment, PrefixKind
from reenact.model.lock import Lock
from reenact.model.secrets import redact_text
from reenact.rebuild.conda import explicit
from reenact.rebuild.export import pin_packages, requirements, write_wheels
from reenact.rebuild.kept import write_editable
from reenact.rebuild.pins import local_files
from reenact.rebuild.places import Places, without_login
from reenact.rebuild.uv import is_file
from reenact.store.store import Store

_CONDA = "/opt/environment"


def is_conda(environment: Environment) -> bool:
    """Tell whether a run's Python was conda's."""
    python = environment.python
    is_its = python is not None and python.prefix_kind is PrefixKind.CONDA
    return is_its and bool(environment.conda)


def interpreter_in(environment: Environment) -> str:
    """Return the interpreter in a container."""
    return f"{_CONDA}/bin/python" if is_conda(environment) else "python"


def add_packages(
    draft: Draft,
    environment: Environment,
    lock: Lock,
    store: Store,
    env: Mapping[str, str],
    say: Callable[[str], None],
) -> None:
    """Add all packages.

    Args:
        draft: the context.
        environment: of the run.
        lock: of it.
        store: has what no index has.
        env: the user's variables: where packages are looked for here.
        say: told what takes long.

    Raises:
        ReenactError: a package is not to be had.
    """
    wheels = write_wheels(lock, store.blobs, f"{draft.directory}/wheels")
    pinned = pin_packages(environment, lock, store.cache_directory, env, say)
    local = local_files(pinned)
    for path in local:
        os.makedirs(f"{draft.directory}/wheels", exist_ok=True)
        shutil.copy(path, f"{draft.directory}/wheels")
    text = without_login(requirements(environment, lock, pinned, wheels))
    draft.write("requirements.txt", text)
    _remark_places(draft, pinned.places)
    if is_conda(environment):
        draft.write("explicit.txt", explicit(environment, lock))
        draft.copy("explicit.txt", f"{OWN}/explicit.txt")
        create = ("micromamba", "create", "-y", "-p", _CONDA)
        draft.execute(*create, "--file", f"{OWN}/explicit.txt")
        draft.variables["PATH"] = f"{_CONDA}/bin:/usr/local/bin:/usr/bin:/bin"
    draft.copy("requirements.txt", f"{OWN}/requirements.txt")
    python = interpreter_in(environment)
    words = [python, "-m", "pip", "install", "--no-cache-dir", "--no-deps"]
    words.append("--disable-pip-version-check")
    if not pinned.pins.loose:
        words.append("--require-hashes")
    if wheels.names or local:
        draft.copy("wheels/", f"{OWN}/wheels/")
        words += ["--find-links", f"{OWN}/wheels"]
    for name in (*pinned.pins.absent, *pinned.pins.loose):
        draft.remarks.append(f"{name} has no pin: no index tells its hash")
    if any(line[:1].isalnum() for line in text.splitlines()):
        draft.execute(*words, "-r", f"{OWN}/requirements.txt")
    _add_editables(draft, environment, lock, store)


def _remark_places(draft: Draft, places: Places) -> None:
    """Name the places that a container cannot reach as this machine does."""
    for place in (*places.indexes(), *places.find_links):
        named = without_login(redact_text(place))
        if is_file(place):
            # Of directories with wheels the container gets what it needs.
            if place not in places.find_links:
                draft.remarks.append(
                    f"{named} is on this machine only: the container cannot ask it"
                )
        elif redact_text(place) != place:
            draft.remarks.append(
                f"{named} wants credentials, which are not written down: give them to the build in "
                "requirements.txt, or in an image for `--base`"
            )


def _add_editables(draft: Draft, environment: Environment, lock: Lock, store: Store) -> None:
    packages = [package for package in lock.packages if package.editable is not None]
    if not packages:
        return
    origins = {p.name: p.origin for p in environment.packages or ()}
    for package in packages:
        write_editable(
            package,
            origins.get(package.name),
            store.blobs,
            f"{draft.directory}/editable",
            f"{draft.directory}/sources",
            f"{OWN}/sources",
        )
    draft.variables["REENACT_PROJECT"] = WORK
    draft.copy("editable/", f"{OWN}/editable/")
    if os.path.isdir(f"{draft.directory}/sources"):
        draft.copy("sources/", f"{OWN}/sources/")
    into = "shutil.copytree(sys.argv[1], sysconfig.get_path('purelib'), dirs_exist_ok=True)"
    code = f"import shutil, sys, sysconfig; {into}"
    draft.execute(interpreter_in(environment), "-c", code, f"{OWN}/editable")
