"""Make wheels and environments without a network: what packages are like, in a few lines."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path

import uv

from reenact.model.environment import PythonFacts
from reenact.snapshot.interpreter import question, read_answer

UV = uv.find_uv_bin()


def make_wheel(
    directory: Path,
    name: str,
    version: str,
    files: Mapping[str, str | bytes],
    *,
    tag: str = "py3-none-any",
) -> Path:
    """Write a wheel; `{info}` and `{data}` in paths are its directories of metadata and of data."""
    directory.mkdir(parents=True, exist_ok=True)
    stem = f"{name}-{version}"
    info = f"{stem}.dist-info"
    contents: dict[str, str | bytes] = {
        path.format(info=info, data=f"{stem}.data"): content for path, content in files.items()
    }
    contents[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    contents[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
    lines = []
    path = directory / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, content in contents.items():
            data = content.encode() if isinstance(content, str) else content
            archive.writestr(inner, data)
            digest = urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            lines.append(f'"{inner}",sha256={digest},{len(data)}')
        archive.writestr(f"{info}/RECORD", "\n".join([*lines, f"{info}/RECORD,,", ""]))
    return path


def make_environment(path: Path, *, python: str = sys.executable) -> Path:
    """Make a virtual environment without packages; return its interpreter."""
    call(UV, "venv", "-q", "--no-config", "--python", python, str(path))
    return path / "bin" / "python"


def install(python: Path, *words: str | Path) -> None:
    """Install packages as a user does, from files only."""
    options = ("--no-config", "--no-deps", "--offline", "--no-build-isolation")
    call(UV, "pip", "install", "-q", *options, "--python", str(python), *map(str, words))


def ask(python: Path | str) -> PythonFacts:
    """Return what an interpreter says of itself."""
    return read_answer(call(str(python), "-c", question()))


def call(*words: str) -> bytes:
    """Run a program, which must succeed; return what it printed."""
    done = subprocess.run(words, capture_output=True, check=False, cwd="/")
    assert done.returncode == 0, done
    return done.stdout
