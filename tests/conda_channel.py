"""Conda without conda: a channel on this machine, and environments that rattler makes of it.

rattler is what pixi makes environments with: package archives, the index of a channel and the records
in `conda-meta` are conda's own. This file is executed by an interpreter that has it:
`conda_channel.py channel DIR` makes a channel and an environment; with the words of micromamba,
`create -y -q -p PREFIX --file FILE`, it makes an environment of exact addresses.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import sys
import sysconfig
import tarfile
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LEFT_OUT = {"test", "idlelib", "tkinter", "turtledemo", "lib2to3", "__pycache__", "site-packages"}
_INFO = "site-packages/cpkg-1.5.dist-info"


def make_channel(root: Path) -> None:
    """Make a channel with a Python and two packages, and an environment `env` with all of it."""
    import rattler
    from rattler.index import index_fs

    channel = root / "channel"
    version = ".".join(map(str, sys.version_info[:3]))
    _package(channel, "linux-64", "python", version, _python_files())
    _package(channel, "linux-64", "libthing", "2.1", {"lib/libthing.so.2": b"a library"})
    files: dict[str, bytes | Path] = {
        "site-packages/cpkg.py": b"value = 5\n",
        # As most of conda's builds of Python's packages: nobody says who installed it.
        f"{_INFO}/METADATA": b"Metadata-Version: 2.1\nName: cpkg\nVersion: 1.5\n",
        f"{_INFO}/RECORD": b"cpkg.py,,\ncpkg-1.5.dist-info/METADATA,,\n",
    }
    _package(channel, "noarch", "cpkg", "1.5", files)

    async def make() -> None:
        await index_fs(channel, force=True)
        platforms: Any = ["linux-64", "noarch"]
        wanted = ["python", "cpkg", "libthing"]
        found = await rattler.solve([f"file://{channel}"], wanted, platforms=platforms)
        place = root / "env"
        await rattler.install(found, place, cache_dir=root / "packages", show_progress=False)

    asyncio.run(make())


def create(prefix: str, addresses: str) -> None:
    """Make an environment of the exact addresses in a file, as `micromamba create` does."""
    import rattler

    lines = Path(addresses).read_text().splitlines()
    assert "@EXPLICIT" in lines
    with tempfile.TemporaryDirectory() as directory:
        records = []
        for line in lines[lines.index("@EXPLICIT") + 1 :]:
            url, _, digest = line.partition("#")
            name = url.rpartition("/")[2]
            archive = Path(directory, name)
            try:
                with urllib.request.urlopen(url) as answer:  # files on this machine
                    archive.write_bytes(answer.read())
            except OSError as error:
                sys.exit(f"critical libmamba Download error {url}: {error}")
            md5 = hashlib.md5(archive.read_bytes()).hexdigest()
            if digest and digest != md5:
                sys.exit(f"critical libmamba md5 of {name} is {md5}, not {digest}")
            index = Path(directory, "index.json")
            with tarfile.open(archive) as content:
                file = content.extractfile("info/index.json")
                assert file is not None
                index.write_bytes(file.read())
            record = rattler.PackageRecord.from_index_json(index, md5=md5)
            channel = "/".join(url.split("/")[:-2])
            records.append(rattler.RepoDataRecord(record, name, url, channel))
        cache = Path(directory, "packages")
        asyncio.run(rattler.install(records, prefix, cache_dir=cache, show_progress=False))


def _python_files() -> Mapping[str, bytes | Path]:
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    library = Path(sysconfig.get_path("stdlib"))
    binary = Path(sys.executable).resolve()
    files: dict[str, bytes | Path] = {
        f"bin/{name}": binary for name in ("python", "python3", version)
    }
    for place, directories, names in os.walk(library):
        directories[:] = [
            name for name in directories if name not in _LEFT_OUT and "config-" not in name
        ]
        for name in names:
            path = Path(place, name)
            files[f"lib/{version}/{path.relative_to(library)}"] = path
    return files


def _package(
    channel: Path, subdir: str, name: str, version: str, files: Mapping[str, bytes | Path]
) -> None:
    is_noarch = subdir == "noarch"
    index: dict[str, Any] = {"name": name, "version": version, "build": "0", "build_number": 0}
    index |= {"depends": ["python"] if is_noarch else [], "subdir": subdir, "timestamp": 1}
    index |= {"noarch": "python"} if is_noarch else {"platform": "linux", "arch": "x86_64"}
    paths = []
    (channel / subdir).mkdir(parents=True, exist_ok=True)
    with tarfile.open(channel / subdir / f"{name}-{version}-0.tar.bz2", "w:bz2") as archive:

        def add(inner: str, data: bytes, mode: int = 0o644) -> None:
            info = tarfile.TarInfo(inner)
            info.size, info.mode = len(data), mode
            archive.addfile(info, io.BytesIO(data))

        for inner, content in files.items():
            data = content if isinstance(content, bytes) else content.read_bytes()
            add(inner, data, 0o755 if inner.startswith("bin/") else 0o644)
            digest = hashlib.sha256(data).hexdigest()
            paths.append({"_path": inner, "path_type": "hardlink", "sha256": digest})
            paths[-1]["size_in_bytes"] = len(data)  # type: ignore[assignment]
        add("info/index.json", json.dumps(index).encode())
        add("info/paths.json", json.dumps({"paths": paths, "paths_version": 1}).encode())
        add("info/files", "\n".join(files).encode())
        if is_noarch:
            link = {"noarch": {"type": "python"}, "package_metadata_version": 1}
            add("info/link.json", json.dumps(link).encode())


if __name__ == "__main__":
    if sys.argv[1] == "channel":
        make_channel(Path(sys.argv[2]))
    else:
        assert sys.argv[1:5] == ["create", "-y", "-q", "-p"], sys.argv
        create(sys.argv[5], sys.argv[7])
