"""What an environment's directories of packages say of an installed distribution.

Of every distribution its RECORD is read, which lists the hashes of its files: the files themselves
are not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from reenact.model.environment import Package, PythonFacts
from reenact.model.identity import Digest
from reenact.model.paths import printable
from reenact.snapshot.environment import normal_name, package_directories
from reenact.store.blobs import digest_bytes
from reenact.store.files import read_file

OF_INSTALLERS = frozenset(
    """
    INSTALLER REQUESTED RECORD RECORD.jws RECORD.p7s direct_url.json provenance_url.json
    uv_cache.json uv_build.json WHEEL
    """.split()
)
"""Files beside the metadata that say how and by whom a distribution was installed or built."""


class Distribution(NamedTuple):
    """Where an installed distribution lies.

    Attributes:
        site: the directory of packages.
        directory: name of its metadata's directory in there.
    """

    site: str
    directory: str


def find_distributions(python: PythonFacts, packages: Iterable[Package]) -> dict[str, Distribution]:
    """Return where distributions lie, by their names; those without a RECORD are left out.

    The first place on the path counts, in which that version is.
    """
    wanted = {(package.name, package.version): package.name for package in packages}
    found: dict[str, Distribution] = {}
    for site in package_directories(python):
        try:
            names = os.listdir(site)
        except OSError:
            continue
        for name in names:
            if name.endswith(".dist-info"):
                title, _, version = name.removesuffix(".dist-info").rpartition("-")
                known = wanted.get((normal_name(title), printable(version)))
                if known is not None:
                    found.setdefault(known, Distribution(site, name))
    return found


def record_digest(distribution: Distribution) -> Digest | None:
    """Return what tells a distribution's content from any other; None where it has no RECORD.

    That is the digest of the sorted paths and hashes in its RECORD, but for what depends on who
    installed it where: compiled bytecode, notes of installers, scripts that name their interpreter.
    """
    try:
        data = read_file(f"{distribution.site}/{distribution.directory}/RECORD")
    except OSError:
        return None
    if b'"' in data:
        rows = _parse(data)
        data = "\n".join(map(",".join, rows)).encode("utf-8", "surrogateescape")
    return digest_of(data, distribution)


def digest_of(record: bytes, distribution: Distribution) -> Digest:
    """Return the digest of a RECORD without quotes, as `record_digest` does of the file."""
    site, directory = distribution
    lines = record.splitlines()
    # The size says nothing beside the hash, and some leave it out.
    kept = {line[: line.rfind(b",")] for line in lines if b".pyc," not in line}
    own = os.fsencode(f"{directory}/")
    beside = [line for line in kept if line.startswith((b"../", b"/", own))]
    for line in beside:
        path, _, _ = line.rpartition(b",")
        if path.startswith(own):
            is_left_out = os.fsdecode(path[len(own) :]) in OF_INSTALLERS
        else:
            is_left_out = _is_in_bin(path) and _is_script(os.path.join(os.fsencode(site), path))
        if is_left_out:
            kept.discard(line)
    kept.discard(b"")
    return digest_bytes(b"\n".join(sorted(kept)))


def _is_in_bin(path: bytes) -> bool:
    return os.path.basename(os.path.dirname(path)) in (b"bin", b"Scripts")


def _is_script(path: bytes) -> bool:
    """Tell whether a program begins by naming its interpreter; one that is gone counts as such."""
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return True


def read_rows(metadata: str) -> list[tuple[str, str, int]]:
    """Return path, hash and size of all that a RECORD lists."""
    try:
        data = read_file(f"{metadata}/RECORD")
    except OSError:
        return []
    return [
        (path, hashed, int(size) if size.isdigit() else 0)
        for path, hashed, size, *_ in filter(lambda row: len(row) >= 3, _parse(data))
    ]


def _parse(record: bytes) -> list[list[str]]:
    # These are imported when they are needed: a run with a known lock does not pay for them.
    import csv
    import io

    return list(csv.reader(io.StringIO(record.decode("utf-8", "surrogateescape"))))


def wheel_tag(metadata: str) -> str | None:
    """Return the tags in a wheel's metadata as its file name has them: `py2.py3-none-any`."""
    try:
        lines = read_file(f"{metadata}/WHEEL").decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    tags = [line[4:].strip().split("-") for line in lines if line.startswith("Tag:")]
    tags = [tag for tag in tags if len(tag) == 3]
    if not tags:
        return None
    return "-".join(".".join(dict.fromkeys(tag[part] for tag in tags)) for part in range(3))


def entry_points(metadata: str) -> frozenset[str]:
    """Return the names of the programs that an installer makes for a distribution."""
    try:
        text = read_file(f"{metadata}/entry_points.txt").decode("utf-8", "replace")
    except OSError:
        return frozenset()
    names = set()
    section = ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line.strip("[]").strip()
        elif section in ("console_scripts", "gui_scripts") and "=" in line:
            names.add(line.partition("=")[0].strip())
    return frozenset(names)


def first_line(path: str) -> str:
    """Return the first line of a short file; of one that cannot be read, nothing."""
    try:
        return read_file(path).decode("utf-8", "replace").strip().partition("\n")[0]
    except OSError:
        return ""
