"""Describe installed distributions for a lock, and keep the content of those that no index has.

It is kept file by file: so that two versions share what they have in common, and the wheel is made
when somebody needs it.
Covered: wheels as pip, uv and conda install them; what is installed in editable form.
Not covered: eggs, and what the system's packages install without a RECORD.
"""

from __future__ import annotations

import hashlib
import os
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from reenact.model.environment import Origin, OriginKind, Package, PythonFacts
from reenact.model.identity import Digest
from reenact.model.lock import Editable, Locked
from reenact.model.paths import path_to_text
from reenact.snapshot.distributions import (
    OF_INSTALLERS,
    Distribution,
    digest_of,
    entry_points,
    first_line,
    read_rows,
    record_digest,
    wheel_tag,
)
from reenact.snapshot.editable import EditableSources, local_path
from reenact.snapshot.tree import SourceTree
from reenact.store.blobs import Blobs
from reenact.store.files import read_file

KEPT_LIMIT = 128 << 20
"""Bytes. The content of a distribution that has more is not kept."""

CONDA = "conda"
_USUAL = ("pip", "uv", "")

_OURSELVES = "reenact"
"""Its source is not kept: in a run `import reenact` works without it."""


class Keeper:
    """Describes distributions one by one, and keeps what no index has.

    Args:
        python: whose they are.
        sources: of what is installed in editable form.
        blobs: where content is kept.
        of_conda: names of directories with metadata that conda brought.
    """

    def __init__(
        self,
        python: PythonFacts,
        sources: EditableSources,
        blobs: Blobs,
        of_conda: frozenset[str] = frozenset(),
    ) -> None:
        self._of_conda = of_conda
        self._python = python
        self._sources = sources
        self._blobs = blobs
        # Into a virtual environment nobody but pip and uv installs anything.
        self._has_others = python.prefix == python.base_prefix

    def locked(self, package: Package, where: Distribution | None) -> Locked:
        """Describe one distribution."""
        name, version = package.name, package.version
        origin = package.origin
        is_editable = origin is not None and origin.kind is OriginKind.EDITABLE
        if origin is not None and is_editable and name == _OURSELVES:
            location = path_to_text(local_path(origin.url) or origin.url)
            return Locked(name=name, version=version, editable=Editable(location=location))
        if where is None:
            if origin is not None and is_editable:
                editable = self._sources.editable(origin.url, ())
                return Locked(name=name, version=version, editable=editable)
            return Locked(name=name, version=version, reason="it has no RECORD")
        metadata = f"{where.site}/{where.directory}"
        tag = wheel_tag(metadata)
        installer = first_line(f"{metadata}/INSTALLER") if self._has_others else None
        if self._has_others and where.directory in self._of_conda:
            installer = CONDA
        if installer in _USUAL:
            installer = None
        if origin is not None and is_editable:
            rows = read_rows(metadata)
            pointers = [path for path, _, _ in rows if path.endswith((".pth", ".py"))]
            editable = self._sources.editable(
                origin.url, [f"{where.site}/{path}" for path in pointers]
            )
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
        rows = read_rows(metadata)
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
        if not rows:
            return None, "it has no RECORD", None
        size = sum(row[2] for row in rows)
        if size > KEPT_LIMIT:
            limit = KEPT_LIMIT >> 20
            return None, f"its {size >> 20} MiB were not kept: more than {limit} MiB", None
        title = where.directory.removesuffix(".dist-info")
        scripts = entry_points(f"{where.site}/{where.directory}")
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
            # Some build tools leave hashes out; what is made of the files has them.
            is_changed |= (not told or told.startswith("sha256=")) and told != f"sha256={hashed}"
            lines.append(f"{path},sha256={hashed},{len(data)}")
            if place.startswith(f"{title}.data/scripts/"):
                data = _as_in_wheel(data)
            kept.append((path_to_text(place), mode, len(data), self._blobs.put(data)))
        kept.sort()
        tree = self._blobs.put(msgspec.json.encode(SourceTree(files=kept)))
        if not is_changed:
            return tree, None, None
        record = "\n".join(lines).encode("utf-8", "surrogateescape")
        return tree, None, digest_of(record, where)

    def _place(self, path: str, where: Distribution, title: str) -> str | None:
        """Return where in its wheel an installed file was; None for what installers add."""
        if path.endswith(".pyc"):
            return None
        own = f"{where.directory}/"
        if path.startswith(own):
            name = path.removeprefix(own)
            return None if name in OF_INSTALLERS and name != "WHEEL" else path
        if not path.startswith(("../", "/")):
            return path
        relative = os.path.relpath(os.path.normpath(f"{where.site}/{path}"), self._python.prefix)
        if relative.startswith(".."):
            return None
        if relative.startswith("bin/"):
            return f"{title}.data/scripts/{relative.removeprefix('bin/')}"
        return f"{title}.data/data/{relative}"


def _as_in_wheel(script: bytes) -> bytes:
    """Undo what installers do to a script: they write the name of their interpreter."""
    first, end, rest = script.partition(b"\n")
    return b"#!python" + end + rest if first.startswith(b"#!") and b"python" in first else script


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
