"""Pin the packages of a lock to files by their SHA-256, and remember the pins beside the lock.

An index is asked once: from then on nobody can put another file in the place of one that was seen.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import unquote

import msgspec
from blake3 import blake3

from reenact.errors import ReenactError
from reenact.model.lock import Lock, Locked
from reenact.model.record import to_json
from reenact.model.secrets import redact_text
from reenact.model.words import counted
from reenact.rebuild.places import Places
from reenact.rebuild.uv import (
    CREDENTIALS,
    Refused,
    Trouble,
    Uv,
    explain,
    is_file,
    listed,
    local_path,
    refusal,
)
from reenact.store.files import read_file, write_atomically

_MOST_MISSING = 20
_PATIENCE_S = 10.0
_ENTRY = re.compile(r"^([\w.-]+)(?:\[[^\]]*\])?==(\S+)")


class Pins(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Requirements in which every file is named by its hash.

    Attributes:
        text: lines for pip and uv, each package with the hashes of all of its files.
        loose: `name==version` of packages whose place tells no hashes.
        by_index: requirements whose files are those of one index, and other ones elsewhere: address
            of the index without credentials -> lines as in `text`.
        absent: packages that no index has and that cannot be proven equal either, as those of an
            operating system's own Python: an environment is made without them.
    """

    text: str = ""
    loose: tuple[str, ...] = ()
    by_index: dict[str, str] = {}
    absent: tuple[str, ...] = ()

    def moved(self, found: Mapping[str, str]) -> Pins:
        """Return pins in which some entries are those of one index.

        Args:
            found: address of an index without credentials -> requirements.
        """
        text = self.text
        for requirements in found.values():
            names = {name_of(entry) for entry in split_requirements(requirements)}
            kept = [e for e in split_requirements(text) if name_of(e) not in names]
            text = "".join(f"{entry}\n" for entry in kept)
        merged = dict(self.by_index)
        for index, requirements in found.items():
            merged[index] = merged.get(index, "") + requirements
        return msgspec.structs.replace(self, text=text, by_index=merged)


class Pinned(NamedTuple):
    """Pins, the places in which their files are, and the file that remembers them."""

    pins: Pins
    places: Places
    path: str | None = None

    def remember(self, pins: Pins) -> None:
        """Keep other pins in their place, where that can be written."""
        if self.path is not None:
            with suppress(OSError):
                os.makedirs(os.path.dirname(self.path), exist_ok=True)
                write_atomically(self.path, to_json(pins))


def from_indexes(lock: Lock) -> list[Locked]:
    """Return the packages of a lock that an index must have."""
    return [
        package
        for package in lock.packages
        if package.files is None
        and package.editable is None
        and package.url is None
        and package.installer != "conda"
    ]


def pin(
    lock: Lock,
    python: str,
    attempts: Sequence[Places],
    uv: Uv,
    directory: str,
    progress: Callable[[str], None],
) -> Pinned:
    """Return the pins of a lock's packages, from memory where they are known.

    Args:
        lock: of the environment.
        python: version of the interpreter.
        attempts: places to look in; the next ones if those before cannot be reached or have not
            everything.
        uv: to ask with.
        directory: where pins are remembered.
        progress: told what takes long.

    Raises:
        ReenactError: a package is not to be had.
    """
    packages = from_indexes(lock)
    if not packages:
        return Pinned(Pins(), attempts[0])
    key = blake3(to_json([[(p.name, p.version) for p in packages], python])).hexdigest(length=16)
    path = f"{directory}/{key}.json"
    try:
        return Pinned(msgspec.json.decode(read_file(path), type=Pins), attempts[0], path)
    except (OSError, msgspec.DecodeError):
        pass
    progress(f"asking the indexes about {counted(len(packages), 'package')}")
    trouble: ReenactError | None = None
    for places in attempts:
        try:
            pinned = Pinned(ask_indexes(packages, python, places, uv), places, path)
        except ReenactError as error:
            trouble = trouble or error
            continue
        pinned.remember(pinned.pins)
        return pinned
    assert trouble is not None
    raise trouble


def ask_indexes(packages: Sequence[Locked], python: str, places: Places, uv: Uv) -> Pins:
    """Return pins of packages as some places have them now.

    Raises:
        ReenactError: one is not to be had.
    """
    wanted = {package.name: package for package in packages}
    missing: dict[str, Trouble] = {}
    absent: list[str] = []
    while True:
        lines = [f"{p.name}=={p.version}" for p in wanted.values()]
        try:
            text = _compile(lines, python, places, uv)
            break
        except Refused as refused:
            trouble = explain(refused.text, places.names())
            package = wanted.pop(trouble.missing or "", None)
            if package is None:
                raise ReenactError(trouble.message, hint=trouble.hint) from None
            if package.digest is None and package.reason is not None:
                absent.append(f"{package.name} {package.version}")
            else:
                missing[f"{package.name} {package.version}"] = trouble
            if not wanted or len(missing) >= _MOST_MISSING:
                text = ""
                break
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        what = f"{listed(list(missing))} {verb} not to be had (any more)"
        trouble = next(iter(missing.values()))
        raise not_to_be_had(what, trouble, python, places, uv)
    text, loose = _with_local_hashes(text, places)
    return Pins(text=text, loose=tuple(loose), absent=tuple(absent))


def not_to_be_had(what: str, trouble: Trouble, python: str, places: Places, uv: Uv) -> ReenactError:
    """Return the error that says that packages are not there, and which indexes do not tell.

    Args:
        what: the beginning of the message.
        trouble: about one of them.
        python: version of the interpreter.
        places: that were asked.
        uv: to ask again: it takes an index that sends it away for one without the package.
    """
    closed = []
    for index in places.indexes():
        if not places.is_offline and not is_file(index):
            try:
                _compile([trouble.missing or ""], python, places.only(index), uv, is_strict=True)
            except Refused as refused:
                status = refusal(refused.text) or _refusal_of(index, trouble.missing or "", uv)
                if status:
                    closed.append(f"{redact_text(index)} refuses: {status}")
    message = f"{what} from {listed(places.names())}"
    if not closed:
        return ReenactError(message, hint=trouble.hint)
    return ReenactError(f"{message}; {listed(closed)}", hint=CREDENTIALS)


def _refusal_of(index: str, name: str, uv: Uv) -> str | None:
    """Ask an index whether it forbids to be asked: uv never tells."""
    if uv.is_offline:
        return None
    import urllib.error
    import urllib.request

    scheme, _, rest = index.partition("://")
    login, _, place = rest.rpartition("@")
    request = urllib.request.Request(f"{scheme}://{place.rstrip('/')}/{name}/")  # noqa: S310  # uv asked it before
    if login:
        word = base64.b64encode(unquote(login).encode()).decode()
        request.add_header("Authorization", f"Basic {word}")
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE_S):  # noqa: S310  # as above
            return None
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.reason}" if error.code in (403, 407) else None
    except (OSError, ValueError):
        return None


def _compile(
    lines: Sequence[str], python: str, places: Places, uv: Uv, *, is_strict: bool = False
) -> str:
    """Return the pins of packages.

    Args:
        lines: requirements.
        python: version of the interpreter.
        places: where to look.
        uv: to ask with.
        is_strict: ask in such a way that uv says which index sends it away.
    """
    import tempfile

    if not lines:
        return ""
    with tempfile.TemporaryDirectory(prefix="reenact-") as directory:
        path = f"{directory}/requirements.in"
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        words = ("pip", "compile", "--no-deps", "--generate-hashes", "--no-header")
        options = ("--no-annotate", "--python", sys.executable, "--python-version", python)
        # Exactly the version that was there, were it a pre-release or taken back since.
        more = ("--prerelease", "allow", *places.options(is_strict=is_strict), path)
        return uv.call(*words, *options, *more)


def _with_local_hashes(text: str, places: Places) -> tuple[str, list[str]]:
    """Add the hashes of files in directories of wheels; return apart what has none then."""
    kept: list[str] = []
    loose: list[str] = []
    for entry in split_requirements(text):
        match = _ENTRY.match(entry)
        if match is None or "--hash" in entry:
            kept.append(entry)
            continue
        hashes = sorted(_hashes_of(match[1], match[2], places))
        if hashes:
            kept.append(" \\\n    ".join([entry, *(f"--hash=sha256:{one}" for one in hashes)]))
        else:
            loose.append(f"{match[1]}=={match[2]}")
    return "\n".join(kept) + "\n" if kept else "", loose


def split_requirements(text: str) -> list[str]:
    """Return the entries of a requirements file, each with the lines that continue it."""
    entries: list[str] = []
    for line in text.splitlines():
        if line[:1].isspace() and entries:
            entries[-1] += f"\n{line}"
        elif line.strip() and not line.startswith("#"):
            entries.append(line)
    return entries


def name_of(entry: str) -> str:
    """Return the normalised name of the package that an entry of a requirements file is about."""
    match = _ENTRY.match(entry)
    return entry if match is None else _normal(match[1])


def local_files(pinned: Pinned) -> list[str]:
    """Return the pinned files that lie in directories of wheels on this machine."""
    texts = (pinned.pins.text, *pinned.pins.by_index.values())
    entries = [entry for text in texts for entry in split_requirements(text)]
    matches = [(match, entry) for entry in entries if (match := _ENTRY.match(entry)) is not None]
    return [
        path
        for match, entry in matches
        for path in _files_of(match[1], match[2], pinned.places)
        if _sha256(path) in entry
    ]


def _hashes_of(name: str, version: str, places: Places) -> set[str]:
    return {_sha256(path) for path in _files_of(name, version, places)}


def _files_of(name: str, version: str, places: Places) -> Iterator[str]:
    wanted = _normal(f"{name}-{version}")
    for place in places.find_links:
        directory = local_path(place) if is_file(place) else ""
        if not os.path.isdir(directory):
            continue
        for file in sorted(os.listdir(directory)):
            stem = "-".join(file.split("-")[:2]).removesuffix(".tar.gz").removesuffix(".zip")
            if _normal(stem) == wanted:
                yield f"{directory}/{file}"


def _sha256(path: str) -> str:
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _normal(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()
