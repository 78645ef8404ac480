"""Put back what no index has: wheels made of the files in the store, and editable installations.

Nothing is built. An editable installation gets the files that it had in the directory of packages,
with the place of its source written anew; one of the run's own project leads to the project of
whatever run uses the environment.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from typing import Any

from reenact.errors import ReenactError
from reenact.model.environment import Origin, OriginKind, Package
from reenact.model.identity import Digest
from reenact.model.lock import Editable, Locked
from reenact.model.paths import text_to_path
from reenact.model.record import to_json
from reenact.snapshot.editable import PROJECT_MARK
from reenact.snapshot.tree import read_tree
from reenact.store.blobs import Blobs

_FIRST_DATE = (1980, 1, 1, 0, 0, 0)


def write_wheel(package: Locked, blobs: Blobs, directory: str) -> str:
    """Make the wheel of a package whose files are in the store; return its path.

    Raises:
        ReenactError: some of them are not there (any more).
    """
    files = contents(package, package.files, blobs)
    stem = _stem(files)
    path = f"{directory}/{stem}-{package.tag or 'py3-none-any'}.whl"
    lines = []
    with zipfile.ZipFile(path, "w") as archive:
        for name, (mode, data) in files.items():
            info = zipfile.ZipInfo(name, _FIRST_DATE)
            info.external_attr = (0o100000 | mode) << 16
            archive.writestr(info, data)
            lines.append((name, _hash(data), str(len(data))))
        lines.append((f"{stem}.dist-info/RECORD", "", ""))
        archive.writestr(zipfile.ZipInfo(lines[-1][0], _FIRST_DATE), _record(lines))
    return path


def write_editable(
    package: Locked,
    origin: Origin | None,
    blobs: Blobs,
    site: str,
    sources: str,
    final_sources: str,
) -> None:
    """Put an editable installation into a directory of packages.

    Args:
        package: which.
        origin: what its record says of where it came from.
        blobs: of the store.
        site: directory of packages.
        sources: where its source goes.
        final_sources: where that will lie when the environment is complete.

    Raises:
        ReenactError: some of it is not in the store (any more).
    """
    editable = package.editable
    assert editable is not None
    own = f"{sources}/{package.name}"
    for source in editable.sources:
        place = os.path.normpath(f"{own}/{text_to_path(source.path)}")
        for name, (mode, data) in contents(package, source.tree, blobs).items():
            _write(f"{place}/{name}", data, mode)
    location = text_to_path(editable.location)
    files = contents(package, package.files, blobs) if package.files is not None else {}
    if not any(name.endswith(".pth") for name in files):
        info = f"{package.name.replace('-', '_')}-{package.version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {package.name}\nVersion: {package.version}\n"
        files.setdefault(f"{info}/METADATA", (0o644, metadata.encode()))
        paths = [os.path.join(location, text_to_path(s.path)) for s in editable.sources]
        pth = "\n".join(os.path.normpath(path) for path in paths or [location]) + "\n"
        files[f"_{package.name}.pth"] = (0o644, os.fsencode(pth))
    stem = _stem(files)
    if origin is not None:
        files[f"{stem}.dist-info/direct_url.json"] = (0o644, direct_url(origin))
    lines = []
    for name, (mode, data) in files.items():
        if name.startswith(f"{stem}.data/"):
            continue
        if name.endswith((".pth", ".py")):
            data = _moved(data, location, f"{final_sources}/{package.name}", editable)
        _write(f"{site}/{name}", data, mode)
        lines.append((name, _hash(data), str(len(data))))
    lines.append((f"{stem}.dist-info/RECORD", "", ""))
    _write(f"{site}/{stem}.dist-info/RECORD", _record(lines), 0o644)


def restore_origin(package: Package, info: str) -> None:
    """Say of a package that was installed from the store what was said of it before."""
    path = f"{info}/direct_url.json"
    if package.origin is not None:
        with open(path, "wb") as file:
            file.write(direct_url(package.origin))
    elif os.path.exists(path):
        os.unlink(path)


def direct_url(origin: Origin) -> bytes:
    """Return the content of the `direct_url.json` that an origin was read from."""
    content: dict[str, Any] = {"url": origin.url}
    if origin.subdirectory is not None:
        content["subdirectory"] = origin.subdirectory
    if origin.kind is OriginKind.EDITABLE:
        content["dir_info"] = {"editable": True}
    elif origin.kind is OriginKind.DIRECTORY:
        content["dir_info"] = {}
    elif origin.kind is OriginKind.VCS:
        system, sign, url = origin.url.partition("+")
        content["url"] = url if sign else origin.url
        details = {"vcs": system if sign else "git", "commit_id": origin.commit}
        if origin.requested is not None:
            details["requested_revision"] = origin.requested
        content["vcs_info"] = details
    else:
        algorithm, _, value = (origin.digest or "").partition("=")
        content["archive_info"] = {"hashes": {algorithm: value}} if value else {}
        if value:
            content["archive_info"]["hash"] = f"{algorithm}={value}"
    return to_json(content)


def contents(package: Locked, tree: Digest | None, blobs: Blobs) -> dict[str, tuple[int, bytes]]:
    """Return mode and content of the files in a tree, by their paths.

    Raises:
        ReenactError: some of them are not in the store (any more).
    """
    assert tree is not None
    try:
        files = read_tree(blobs, tree).files
        return {text_to_path(path): (mode, blobs.get(digest)) for path, mode, _, digest in files}
    except ReenactError as error:
        raise type(error)(
            f"the files of {package.name} {package.version}, which no index has, are not all in "
            f"this store: {error.message}",
            hint=error.hint,
        ) from None


def _moved(data: bytes, location: str, place: str, editable: Editable) -> bytes:
    """Write the place of a source anew, in a `.pth` file or in the module of a finder."""
    text = os.fsdecode(data)
    inside = rf"{re.escape(location)}(?=/|$|['\"\n])"
    if editable.project is None:
        return os.fsencode(re.sub(inside, lambda _: place, text, flags=re.MULTILINE))
    suffix = f"/{text_to_path(editable.project)}" if editable.project else ""
    variable = "__import__('os').environ.get('REENACT_PROJECT', '')"
    mark = f"# {PROJECT_MARK} {editable.project}"
    quoted = re.compile(rf"""(['"]){re.escape(location)}((?:/[^'"\n]*)?)\1""")
    lines = []
    for line in text.splitlines():
        if line == location or line.startswith(f"{location}/"):
            rest = suffix + line.removeprefix(location)
            line = f"import sys; sys.path.append({variable} + {rest!r}) {mark}"
        elif quoted.search(line):
            line = quoted.sub(lambda m: f"{variable} + {suffix + m[2]!r}", line) + f"  {mark}"
        lines.append(line)
    return os.fsencode("\n".join(lines) + "\n")


def _stem(names: Iterable[str]) -> str:
    for name in names:
        directory, _, rest = name.partition(".dist-info/")
        if rest == "METADATA":
            return directory
    raise ReenactError("a package in the store has no metadata", hint="`reenact fsck` checks it")


def _write(path: str, data: bytes, mode: int) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode | 0o200)


def _hash(data: bytes) -> str:
    digest = urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"sha256={digest}"


def _record(lines: Iterable[tuple[str, str, str]]) -> bytes:
    import csv

    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue().encode("utf-8", "surrogateescape")
