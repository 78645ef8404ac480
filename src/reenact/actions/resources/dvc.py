"""Files that DVC keeps: of each, a small file beside it (`data.csv.dvc`) says what it must be.

What is in the project is taken, if it is what that file says. What is not there is pulled by the program
`dvc` while the run is prepared: into the project, as `dvc pull` does it for its user.

Not covered: what a stage of `dvc.yaml` makes has no file of its own, and is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import NamedTuple

from reenact.actions.resources import Around, Planned, RequirementFailed, unmet
from reenact.actions.resources.file import list_files, plan_path
from reenact.model.secrets import redact_text
from reenact.project.file.model import ResourceSource
from reenact.project.file.yaml import YamlError, plain_data, read_yaml
from reenact.store.files import read_file, remove_if_there, write_atomically

_CHUNK = 1 << 20
_DIRECTORY = ".dir"
_MD5 = re.compile(r"[0-9a-f]{32}(?:\.dir)?\Z")
_TOLD = 2000


class _Tracked(NamedTuple):
    """What DVC says of a file or directory.

    Attributes:
        md5: of its content, of a directory with `.dir` behind it; None where it says another digest.
        may_be_text: line ends of DOS may have been left out of it, as versions before 3 did for text.
    """

    file: str
    md5: str | None
    may_be_text: bool


def plan_dvc(resource: str, source: ResourceSource, around: Around) -> Planned:
    """Find what DVC keeps, and make sure that it is that; or plan to pull it.

    Raises:
        UnmetRequirement: it is another file, or it is not there and cannot be pulled.
    """
    path = _path(source, around.root)
    shown = os.path.relpath(path, around.root)
    tracked = _tracked(resource, source, path, shown)
    if os.path.exists(path) and not source.always_pull:
        if tracked is not None and tracked.md5 is not None:
            _check(resource, source, path, shown, tracked, f"{around.store.cache_directory}/dvc")
        return plan_path(resource, source, path, shown)
    if tracked is None:
        problem = f"needs `{shown}`, which is not there, and neither is `{shown}.dvc`"
        raise unmet(resource, source, problem, "`dvc add` makes one")
    if shutil.which("dvc", path=around.env.get("PATH", os.defpath)) is None:
        what = "shall be pulled anew" if source.always_pull else "is not there"
        raise unmet(
            resource,
            source,
            f"needs `{shown}` of DVC, which {what}, and there is no program `dvc`",
            f"install DVC, or have `{shown}` there",
        )
    return Planned(resource, source, pull=path)


def pull(planned: Planned, root: str, env: Mapping[str, str]) -> Planned:
    """Have DVC bring a file or directory, and plan what then is there.

    Raises:
        RequirementFailed: it could not.
        UnmetRequirement: what is there then cannot be used.
    """
    path = planned.pull
    assert path is not None
    source = planned.source
    words = ["dvc", "pull", "--force", f"{path}.dvc"]
    words += ["--remote", source.remote] if source.remote is not None else []
    program = shutil.which("dvc", path=env.get("PATH", os.defpath)) or "dvc"
    try:
        done = subprocess.run(
            [program, *words[1:]],
            cwd=os.path.dirname(path),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except OSError as error:
        raise RequirementFailed(f"cannot start `dvc`: {error.strerror}") from None
    if done.returncode != 0 or not os.path.exists(path):
        told = redact_text(done.stdout.decode("utf-8", "replace").strip()[-_TOLD:])
        raise RequirementFailed(
            f"`{' '.join(('dvc', 'pull', *words[2:]))}` ended with exit status {done.returncode}"
            + (f": {told}" if told else "")
        )
    found = plan_path(planned.resource, source, path, os.path.relpath(path, root))
    return found._replace(why="pulled by DVC")


def _path(source: ResourceSource, root: str) -> str:
    spec = source.spec.removesuffix(".dvc")
    return os.path.normpath(os.path.join(root, source.base, spec))


def _tracked(resource: str, source: ResourceSource, path: str, shown: str) -> _Tracked | None:
    """Read what DVC says of a path; None where it says nothing."""
    file = f"{shown}.dvc"
    try:
        document = plain_data(read_yaml(read_file(f"{path}.dvc"), file))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unmet(resource, source, f"cannot read `{file}`: {error.strerror}") from None
    except YamlError as error:
        raise unmet(resource, source, f"cannot read {error.message}") from None
    outs = document.get("outs") if isinstance(document, dict) else None
    first = outs[0] if isinstance(outs, list) and outs else None
    if not isinstance(first, dict):
        raise unmet(resource, source, f"finds no `outs` in `{file}`: that is no file of DVC")
    md5 = first.get("md5")
    is_md5 = isinstance(md5, str) and _MD5.match(md5) is not None
    return _Tracked(file, md5 if is_md5 else None, "hash" not in first)


def _check(
    resource: str, source: ResourceSource, path: str, shown: str, tracked: _Tracked, cache: str
) -> None:
    """Make sure that a file is the one that DVC keeps."""
    assert tracked.md5 is not None
    is_directory = os.path.isdir(path)
    known = _Known(cache, path)
    if is_directory == tracked.md5.endswith(_DIRECTORY):
        if known.md5 == tracked.md5:
            return
        for as_text in (False, True) if tracked.may_be_text else (False,):
            if _md5_of(path, as_text=as_text) == tracked.md5:
                known.remember(tracked.md5)
                return
    raise unmet(
        resource,
        source,
        f"needs `{shown}` as `{tracked.file}` says, and it is another one",
        f"`dvc checkout {shown}` brings it back, `dvc add {shown}` keeps what is there",
    )


class _Known:
    """What the md5 of a file was found to be, as long as it has not been touched."""

    def __init__(self, cache: str, path: str) -> None:
        name = hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()
        self._file = f"{cache}/{name}"
        self._state = _state_of(path)

    @property
    def md5(self) -> str | None:
        """The md5, None where it is not known."""
        try:
            state, _, md5 = read_file(self._file).decode().partition(" ")
        except (OSError, UnicodeDecodeError):
            return None
        return md5 if state == self._state else None

    def remember(self, md5: str) -> None:
        """Keep it for the next time."""
        try:
            os.makedirs(os.path.dirname(self._file), exist_ok=True)
            write_atomically(self._file, f"{self._state} {md5}".encode(), sync=False)
        except OSError:
            remove_if_there(self._file)


def _state_of(path: str) -> str:
    """Return what changes whenever a file, or one in a directory, is changed."""
    names = list_files(path) if os.path.isdir(path) else [""]
    hasher = hashlib.blake2b(digest_size=16)
    for name in names:
        status = os.stat(f"{path}/{name}" if name else path)
        told = (name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        hasher.update(repr(told).encode("utf-8", "surrogateescape"))
    return hasher.hexdigest()


def _md5_of(path: str, *, as_text: bool) -> str:
    """Return the digest by which DVC knows a file or directory."""
    if not os.path.isdir(path):
        return _md5_of_file(path, as_text=as_text)
    listed = [
        {"md5": _md5_of_file(f"{path}/{name}", as_text=as_text), "relpath": name}
        for name in sorted(list_files(path), key=lambda name: tuple(name.split("/")))
    ]
    # As DVC writes it: digests of directories are those of this text.
    text = json.dumps(listed, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + _DIRECTORY


def _md5_of_file(path: str, *, as_text: bool) -> str:
    hasher = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        if as_text:
            hasher.update(file.read().replace(b"\r\n", b"\n"))
        else:
            while data := file.read(_CHUNK):
                hasher.update(data)
    return hasher.hexdigest()
