"""Find out what it takes to install the packages of an environment again.

Of every distribution its RECORD is read, which lists the hashes of its files: the files themselves
are not. Only what no index has is kept, file by file: so that two versions share what they have in
common, and the wheel is made when somebody needs it.
Covered: wheels as pip, uv and conda install them; what is installed in editable form.
Not covered: eggs, and what the system's packages install without a RECORD.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec
from blake3 import blake3

from reenact.model.environment import Environment, Origin, OriginKind, Package, PythonFacts
from reenact.model.identity import Digest
from reenact.model.lock import Editable, EditableSource, Lock, Locked
from reenact.model.paths import path_to_text, printable
from reenact.model.record import to_json
from reenact.model.secrets import redact_text
from reenact.snapshot.environment import normal_name, package_directories
from reenact.snapshot.indexes import index_files, index_variables, read_indexes
from reenact.snapshot.rules import Pick
from reenact.snapshot.tree import SourceTree, take_snapshot
from reenact.store.blobs import Blobs, digest_bytes
from reenact.store.files import read_file, write_atomically

KEPT_LIMIT = 128 << 20
"""Bytes. The content of a distribution that has more is not kept."""

_RACY_NS = 2_000_000_000
"""A directory that changed this recently may change again without a new time stamp."""

_OF_INSTALLERS = frozenset(
    """
    INSTALLER REQUESTED RECORD RECORD.jws RECORD.p7s direct_url.json provenance_url.json
    uv_cache.json uv_build.json WHEEL
    """.split()
)
"""Files beside the metadata that say how and by whom a distribution was installed or built."""

_EXTENSIONS = (Pick(is_include=True, patterns=("*.so", "*.pyd", "*.dylib")),)
"""Compiled in place, they are part of an editable distribution's source."""

_QUOTED = r"""['"](/[^'"\n]+)['"]"""

_USUAL = ("pip", "uv", "")

_OURSELVES = "reenact"
"""Its source is not kept: in a run `import reenact` works without it."""

PROJECT_MARK = "reenact-project:"
"""Stands in what leads to the source of the project in an environment that was made again."""

_MARKED = rf"(?m)# {PROJECT_MARK} (.*)$"


class Distribution(NamedTuple):
    """Where an installed distribution lies.

    Attributes:
        site: the directory of packages.
        directory: name of its metadata's directory in there.
    """

    site: str
    directory: str


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
    stamps = _stamps(python, env, project)
    packages = environment.packages or ()
    found = find_distributions(python, packages)
    keeper = _Keeper(python, project, blobs, cache)
    locked = tuple(keeper.locked(package, found.get(package.name)) for package in packages)
    lock = Lock(
        packages=locked,
        conda=_conda_addresses(python) if environment.conda else (),
        indexes=read_indexes(env, python, project),
    )
    digest = blobs.put(to_json(lock))
    # What is in other directories of the path changes all the time, and is no distribution.
    sites = {place.site for place in found.values()}
    others = set(package_directories(python)) - sites
    stamps = {path: stamp for path, stamp in stamps.items() if path not in others}
    if max(stamps.values(), default=0) < time.time_ns() - _RACY_NS:
        path = _memory(python, environment, env, project, cache)
        remembered = _Remembered(digest, keeper.used, stamps)
        # The memory only saves time: one that cannot be written must not stop a run.
        with suppress(OSError, UnicodeEncodeError):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_atomically(path, msgspec.msgpack.encode(remembered), sync=False)
    return LockFound(digest, keeper.used)


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
    return _digest_of(data, distribution)


def _digest_of(record: bytes, distribution: Distribution) -> Digest:
    """Return the digest of a RECORD without quotes."""
    site, directory = distribution
    lines = record.splitlines()
    # The size says nothing beside the hash, and some leave it out.
    kept = {line[: line.rfind(b",")] for line in lines if b".pyc," not in line}
    own = os.fsencode(f"{directory}/")
    beside = [line for line in kept if line.startswith((b"../", b"/", own))]
    for line in beside:
        path, _, _ = line.rpartition(b",")
        if path.startswith(own):
            is_left_out = os.fsdecode(path[len(own) :]) in _OF_INSTALLERS
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


def _as_in_wheel(script: bytes) -> bytes:
    """Undo what installers do to a script: they write the name of their interpreter."""
    first, end, rest = script.partition(b"\n")
    return b"#!python" + end + rest if first.startswith(b"#!") and b"python" in first else script


class _Keeper:
    """Describes distributions one by one, and keeps what no index has."""

    def __init__(self, python: PythonFacts, project: str | None, blobs: Blobs, cache: str) -> None:
        self._python = python
        self._project = None if project is None else os.path.realpath(project)
        self._blobs = blobs
        self._cache = cache
        self._home = os.path.realpath(os.path.expanduser("~"))
        # Into a virtual environment nobody but pip and uv installs anything.
        self._has_others = python.prefix == python.base_prefix
        self.used: dict[str, Digest] = {}

    def locked(self, package: Package, where: Distribution | None) -> Locked:
        """Describe one distribution."""
        name, version = package.name, package.version
        origin = package.origin
        is_editable = origin is not None and origin.kind is OriginKind.EDITABLE
        if origin is not None and is_editable and name == _OURSELVES:
            location = path_to_text(_local_path(origin.url) or origin.url)
            return Locked(name=name, version=version, editable=Editable(location=location))
        if where is None:
            if origin is not None and is_editable:
                editable = self._editable(origin.url, ())
                return Locked(name=name, version=version, editable=editable)
            return Locked(name=name, version=version, reason="it has no RECORD")
        metadata = f"{where.site}/{where.directory}"
        tag = _tag(metadata)
        installer = _first_line(f"{metadata}/INSTALLER") if self._has_others else None
        if installer in _USUAL:
            installer = None
        if origin is not None and is_editable:
            rows = _read_rows(metadata)
            pointers = [path for path, _, _ in rows if path.endswith((".pth", ".py"))]
            editable = self._editable(origin.url, [f"{where.site}/{path}" for path in pointers])
            files, reason, _ = self._files(where, rows)
            return Locked(
                name=name, version=version, tag=tag, files=files, editable=editable, reason=reason
            )
        digest = record_digest(where)
        if origin is None and "+" not in version:
            reason = None if digest is not None else "it has no RECORD"
            return Locked(
                name=name,
                version=version,
                digest=digest,
                tag=tag,
                installer=installer,
                reason=reason,
            )
        rows = _read_rows(metadata)
        files, reason, changed = self._files(where, rows)
        return Locked(
            name=name,
            version=version,
            digest=changed or digest,
            tag=tag,
            installer=installer,
            files=files,
            url=_url_of(origin) if files is None else None,
            reason=reason,
        )

    def _files(
        self, where: Distribution, rows: Sequence[tuple[str, str, int]]
    ) -> tuple[Digest | None, str | None, Digest | None]:
        """Keep what an installed distribution consists of, as its wheel would hold it.

        Returns:
            The blob that lists it, why there is none, and the digest of its RECORD as it should
            be, where files were changed since they were installed.
        """
        import hashlib
        from base64 import urlsafe_b64encode

        if not rows:
            return None, "it has no RECORD", None
        size = sum(row[2] for row in rows)
        if size > KEPT_LIMIT:
            limit = KEPT_LIMIT >> 20
            return None, f"its {size >> 20} MiB were not kept: more than {limit} MiB", None
        title = where.directory.removesuffix(".dist-info")
        scripts = _entry_points(f"{where.site}/{where.directory}")
        kept: list[tuple[str, int, int, Digest]] = []
        lines: list[str] = []
        is_changed = False
        for path, told, _ in rows:
            place = self._place(path, where, title)
            if place is None or ("/scripts/" in place and os.path.basename(place) in scripts):
                continue
            full = os.path.normpath(f"{where.site}/{path}")
            try:
                data = read_file(full)
                mode = 0o755 if os.stat(full).st_mode & 0o100 else 0o644
            except OSError as error:
                return None, f"it is not complete: {path}: {error.strerror}", None
            hashed = urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            is_changed |= told.startswith("sha256=") and told != f"sha256={hashed}"
            lines.append(f"{path},sha256={hashed},{len(data)}")
            if place.startswith(f"{title}.data/scripts/"):
                data = _as_in_wheel(data)
            kept.append((path_to_text(place), mode, len(data), self._blobs.put(data)))
        kept.sort()
        tree = self._blobs.put(msgspec.json.encode(SourceTree(files=kept)))
        if not is_changed:
            return tree, None, None
        record = "\n".join(lines).encode("utf-8", "surrogateescape")
        return tree, None, _digest_of(record, where)

    def _place(self, path: str, where: Distribution, title: str) -> str | None:
        """Return where in its wheel an installed file was; None for what installers add."""
        if path.endswith(".pyc"):
            return None
        own = f"{where.directory}/"
        if path.startswith(own):
            name = path.removeprefix(own)
            return None if name in _OF_INSTALLERS and name != "WHEEL" else path
        if not path.startswith(("../", "/")):
            return path
        relative = os.path.relpath(os.path.normpath(f"{where.site}/{path}"), self._python.prefix)
        if relative.startswith(".."):
            return None
        if relative.startswith("bin/"):
            return f"{title}.data/scripts/{relative.removeprefix('bin/')}"
        return f"{title}.data/data/{relative}"

    def _editable(self, url: str, pointers: Iterable[str]) -> Editable:
        location = _local_path(url)
        if location is None:
            return Editable(location=printable(url))
        texts = {pointer: text for pointer in pointers if (text := _text_of(pointer)) is not None}
        for text in texts.values():
            if (marked := re.search(_MARKED, text)) is not None:
                return Editable(location=path_to_text(location), project=marked[1])
        real = os.path.realpath(location)
        if self._project is not None and _is_within(real, self._project):
            inside = os.path.relpath(real, self._project)
            path = "" if inside == "." else inside
            return Editable(location=path_to_text(location), project=path_to_text(path))
        directories = _directories_of(texts)
        if os.path.isdir(location):
            directories = [path for path in directories if _is_within(path, location)]
        elif directories:
            # In an environment that was made again it lies elsewhere.
            location = os.path.commonpath(directories)
        sources = []
        for directory in directories or [location]:
            if os.path.realpath(directory) in ("/", self._home):
                # Whoever keeps a package at the top of everything does not mean all of it.
                continue
            tree = self._tree_of(directory)
            relative = os.path.relpath(directory, location)
            path = "" if relative == "." else path_to_text(relative)
            sources.append(EditableSource(path=path, tree=tree))
        return Editable(location=path_to_text(location), sources=tuple(sources))

    def _tree_of(self, directory: str) -> Digest:
        if directory not in self.used:
            name = blake3(os.fsencode(directory)).hexdigest(length=16)
            tree = take_snapshot(
                directory,
                listed=None,
                blobs=self._blobs,
                cache_path=f"{self._cache}/tree-editable-{name}",
                picks=_EXTENSIONS,
            ).tree
            self.used[directory] = tree
        return self.used[directory]


def _directories_of(texts: Mapping[str, str]) -> list[str]:
    """Return what an editable installation puts on the path: what its `.pth` and finders name."""
    found: dict[str, None] = {}
    for pointer, text in texts.items():
        named = text.splitlines() if pointer.endswith(".pth") else re.findall(_QUOTED, text)
        for path in named:
            path = os.path.normpath(path.strip()) if path.startswith("/") else ""
            if path and os.path.exists(path):
                # Of a module that is one file, the directory.
                found[path if os.path.isdir(path) else os.path.dirname(path)] = None
    # The parent of packages: a finder names each of them.
    return sorted(p for p in found if not any(p != o and _is_within(p, o) for o in found))


def _text_of(path: str) -> str | None:
    try:
        return os.fsdecode(read_file(path))
    except OSError:
        return None


def _url_of(origin: Origin | None) -> str | None:
    """Return the address of a distribution that came from the network."""
    if origin is None or origin.kind not in (OriginKind.VCS, OriginKind.ARCHIVE):
        return None
    if urlsplit(origin.url).scheme in ("file", ""):
        return None
    url = f"{origin.url}@{origin.commit}" if origin.commit else origin.url
    marks = [origin.digest] if origin.digest else []
    marks += [f"subdirectory={origin.subdirectory}"] if origin.subdirectory else []
    return f"{url}#{'&'.join(marks)}" if marks else url


def _is_within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _local_path(url: str) -> str | None:
    parts = urlsplit(url)
    return unquote(parts.path).rstrip("/") if parts.scheme == "file" else None


def _read_rows(metadata: str) -> list[tuple[str, str, int]]:
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


def _tag(metadata: str) -> str | None:
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


def _entry_points(metadata: str) -> frozenset[str]:
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


def _first_line(path: str) -> str:
    try:
        return read_file(path).decode("utf-8", "replace").strip().partition("\n")[0]
    except OSError:
        return ""


class _CondaRecord(msgspec.Struct):
    url: str
    md5: str | None = None


def _conda_addresses(python: PythonFacts) -> tuple[str, ...]:
    for prefix in (python.prefix, python.base_prefix):
        directory = f"{prefix}/conda-meta"
        if os.path.isdir(directory):
            break
    else:
        return ()
    found = []
    for name in sorted(os.listdir(directory)):
        if name.endswith(".json"):
            with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
                record = msgspec.json.decode(read_file(f"{directory}/{name}"), type=_CondaRecord)
                url = redact_text(record.url)
                found.append(f"{url}#{record.md5}" if record.md5 else url)
    return tuple(found)


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
