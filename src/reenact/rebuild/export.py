"""Say in other tools' words what it takes to install the packages of a run again."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

from reenact.errors import ReenactError
from reenact.model.environment import Environment
from reenact.model.lock import Lock
from reenact.model.secrets import redact_text
from reenact.rebuild.kept import write_wheel
from reenact.rebuild.pins import Pinned, from_indexes, pin
from reenact.rebuild.places import Places, places_of
from reenact.rebuild.uv import Refused, Uv, explain, is_file
from reenact.snapshot.indexes import read_indexes
from reenact.store.blobs import Blobs


class Wheels(NamedTuple):
    """Wheels that were made of what the store has.

    Attributes:
        names: of the files.
        requirements: lines that pin them.
    """

    names: tuple[str, ...] = ()
    requirements: str = ""


def pin_packages(
    environment: Environment,
    lock: Lock,
    cache_directory: str,
    env: Mapping[str, str],
    progress: Callable[[str], None],
) -> Pinned:
    """Return the pins of a lock's packages, and where their files are.

    Raises:
        ReenactError: a package is not to be had.
    """
    assert environment.python is not None
    places = places_of(lock, read_indexes(env, None, is_redacted=False))
    uv = Uv(env, _neutral_directory(cache_directory), progress)
    directory = f"{cache_directory}/pins"
    return pin(lock, environment.python.version, places, uv, directory, progress)


def write_wheels(lock: Lock, blobs: Blobs, directory: str) -> Wheels:
    """Make the wheels of the packages that no index has, in a directory.

    Raises:
        ReenactError: what they are made of is not in the store (any more).
    """
    names = []
    lines = []
    for package in lock.packages:
        if package.files is None or package.editable is not None:
            continue
        os.makedirs(directory, exist_ok=True)
        path = write_wheel(package, blobs, directory)
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        names.append(os.path.basename(path))
        lines.append(f"{package.name}=={package.version} \\\n    --hash=sha256:{digest}\n")
    return Wheels(tuple(names), "".join(lines))


def requirements(environment: Environment, lock: Lock, pinned: Pinned, wheels: Wheels) -> str:
    """Return a requirements file in which every file is named by its hash."""
    python = environment.python
    assert python is not None
    pins = pinned.pins
    head = [
        f"# {python.implementation} {python.version}"
        + (f", {python.platform}" if python.platform else ""),
        "# uv pip install --no-deps --require-hashes --index-strategy unsafe-best-match -r FILE",
        *(f"# not here: {name}, which no index has" for name in pins.absent),
        *(f"# no hash is known of {name}" for name in pins.loose),
    ]
    made = {line.partition("==")[0] for line in wheels.requirements.splitlines() if "==" in line}
    for package in lock.packages:
        name = f"{package.name} {package.version}"
        if package.editable is not None:
            head.append(f"# not here: {name}, installed in editable form from its source")
        elif package.url is not None:
            head.append(f"# not here, it has no hash: {package.name} @ {package.url}")
        elif package.files is not None and package.name not in made:
            head.append(f"# not here: {name}, which no index has: `--wheels DIR` writes its wheel")
        elif package.installer == "conda":
            head.append(f"# not here: {name}, installed by conda")
    words = [f"{line}\n" for line in (*head, *index_lines(pinned.places))]
    loose = "".join(f"{one}\n" for one in pins.loose)
    return "".join([*words, pins.text, *pins.by_index.values(), loose, wheels.requirements])


def index_lines(places: Places) -> list[str]:
    """Return lines of a requirements file that name the indexes, without credentials."""
    if places.no_index:
        lines = ["--no-index"]
    else:
        main, *others = places.indexes()
        lines = [] if is_file(main) else [f"--index-url {redact_text(main)}"]
        lines += [f"--extra-index-url {redact_text(url)}" for url in others if not is_file(url)]
    links = [place for place in places.find_links if not is_file(place)]
    return [*lines, *(f"--find-links {redact_text(place)}" for place in links)]


def pylock(
    environment: Environment,
    lock: Lock,
    cache_directory: str,
    env: Mapping[str, str],
) -> str:
    """Return a `pylock.toml` (PEP 751) with addresses and hashes of all files of all packages.

    Raises:
        ReenactError: a package is not to be had.
    """
    assert environment.python is not None
    import tempfile

    places, *_ = places_of(lock, read_indexes(env, None, is_redacted=False))
    uv = Uv(env, _neutral_directory(cache_directory))
    with tempfile.TemporaryDirectory(prefix="reenact-") as directory:
        path = f"{directory}/requirements.in"
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(f"{p.name}=={p.version}\n" for p in from_indexes(lock))
        words = ("pip", "compile", "--no-deps", "--no-header", "--format", "pylock.toml")
        python = ("--python", sys.executable, "--python-version", environment.python.version)
        try:
            text = uv.call(*words, *python, "--prerelease", "allow", *places.options(), path)
        except Refused as refused:
            trouble = explain(refused.text, places.names())
            raise ReenactError(trouble.message, hint=trouble.hint) from None
    left_out = [p for p in lock.packages if p.files is not None or p.editable is not None]
    head = "".join(f"# not here: {p.name} {p.version}, which no index has\n" for p in left_out)
    return head + redact_text(text)


def _neutral_directory(cache_directory: str) -> str:
    os.makedirs(cache_directory, exist_ok=True)
    return cache_directory
