"""Find a project's file and read it, or take it from the cache.

What was read is kept in the user's cache, one entry for each project, with the digest of every file
that it came of and that was looked for in vain. An entry counts only if all of them are as they were,
so that it never has to be deleted; it saves the time of parsing, which is most of it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from reenact.errors import BadProjectFile
from reenact.project.file.model import (
    Finding,
    Level,
    LoadedProject,
    Place,
    ProjectFile,
    operation_name,
)
from reenact.project.file.packages import FILE_NAMES, search_path

if TYPE_CHECKING:
    from reenact.project.file.section import Findings


class Checked(NamedTuple):
    """What a look at a project file found.

    Attributes:
        project: what it says; None where an error stands in the way of all of it.
        findings: all of them, in the order of the files.
    """

    project: LoadedProject | None
    findings: tuple[Finding, ...]


class _Entry(msgspec.Struct):
    """What the cache holds; `places` are where packages were looked for, if they were."""

    version: str
    digests: dict[str, str | None]
    places: list[str] | None
    project: LoadedProject


def load_project(directory: str, env: Mapping[str, str] | None = None) -> LoadedProject | None:
    """Read the project file of a directory.

    Args:
        directory: the project's root.
        env: the environment of a run; this process's own when None. Packages are looked for in it.

    Returns:
        What the file says; None where there is none. An empty file says nothing, which is fine.

    Raises:
        BadProjectFile: there is one, and nothing of it can be used.
    """
    env = os.environ if env is None else env
    directory = os.path.realpath(directory)
    names = _present(directory)
    if not names:
        return None
    cached = _from_cache(directory, names, env)
    if cached is not None:
        return cached
    checked = check_project(f"{directory}/{names[0]}", env)
    if checked.project is None:
        raise refusal(checked.findings)
    return checked.project


def check_project(path: str, env: Mapping[str, str] | None = None) -> Checked:
    """Read a project file and return everything that is to be said of it.

    Args:
        path: absolute path of the file.
        env: as for `load_project`.
    """
    # Parsing takes long to import, and an entry of the cache does without.
    from reenact.project.file.files import Files
    from reenact.project.file.read import Reader
    from reenact.project.file.section import Findings

    env = os.environ if env is None else env
    path = os.path.realpath(path)
    directory, name = os.path.split(path)
    findings = Findings()
    asked: list[str] = []

    def places() -> list[str]:
        if not asked:
            asked.extend(search_path(env, directory))
        return asked

    files = Files(directory, places, findings)
    unit = files.load(path)
    content = ProjectFile()
    if files.is_whole:
        # Of what is missing everything else would be said to be missing too.
        content = Reader(files, findings).read(unit)
    also = next((other for other in _present(directory) if other != name), None)
    if also is not None and name in FILE_NAMES:
        findings.note(Place(also, 1), f"it is not read: `{name}` is there too")
    _check_config(directory, findings)
    found = _in_order(findings.all, name)
    if None in findings.errors:
        return Checked(None, found)
    project = LoadedProject(
        directory=directory,
        file=name,
        content=content,
        also=also,
        notes=found,
        broken={
            operation_name(owner.model, owner.name): tuple(errors)
            for owner, errors in findings.errors.items()
            if owner is not None and owner.kind == "operation"
        },
        bad_claims=tuple(
            finding
            for owner, errors in findings.errors.items()
            if owner is not None and owner.kind == "claims"
            for finding in errors
        ),
        files=tuple(files.spelled(p) for p, data in files.read.items() if data is not None),
    )
    _to_cache(project, files.read, asked or None, env)
    return Checked(project, found)


def _check_config(directory: str, findings: Findings) -> None:
    """Look at a configuration that the project has for its users: it can never stop an operation."""
    from reenact.project.file.section import Findings
    from reenact.project.file.user_config import read_user_config
    from reenact.project.file.user_config_place import PROJECT_NAMES

    for name in PROJECT_NAMES:
        if os.path.isfile(f"{directory}/{name}"):
            own = Findings()
            read_user_config(f"{directory}/{name}", name, own)
            for finding in own.all:
                is_error = finding.level is Level.ERROR
                level = Level.WARNING if is_error else finding.level
                findings.add(level, finding.place, finding.message, finding.hint)
            return


def refusal(findings: tuple[Finding, ...]) -> BadProjectFile:
    """Return the error that says why a file or operation cannot be used: the first, how many more."""
    errors = [finding for finding in findings if finding.level is Level.ERROR]
    first = errors[0]
    hint = first.hint
    if len(errors) > 1:
        more = f"`reenact check` shows {len(errors) - 1} more"
        hint = more if hint is None else f"{hint}; {more}"
    return BadProjectFile(str(first), hint=hint)


def _in_order(findings: list[Finding], main: str) -> tuple[Finding, ...]:
    files = dict.fromkeys([main, *(finding.place.file for finding in findings)])
    order = {file: number for number, file in enumerate(files)}
    return tuple(sorted(findings, key=lambda f: (order[f.place.file], f.place.line)))


def _present(directory: str) -> list[str]:
    return [name for name in FILE_NAMES if os.path.isfile(f"{directory}/{name}")]


@functools.cache
def _version() -> str:
    """Return what is another whenever this code is: entries of other versions are not read."""
    here = os.path.dirname(__file__)
    states = [
        os.stat(f"{here}/{name}") for name in sorted(os.listdir(here)) if name.endswith(".py")
    ]
    return " ".join(f"{state.st_mtime_ns:x}.{state.st_size:x}" for state in states)


def _cache_path(directory: str, env: Mapping[str, str]) -> str:
    base = env.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return f"{base}/reenact/projects/{_digest(os.fsencode(directory))[:32]}"


def _digest(data: bytes) -> str:
    from blake3 import blake3

    return blake3(data).hexdigest()


def _from_cache(directory: str, names: list[str], env: Mapping[str, str]) -> LoadedProject | None:
    try:
        with open(_cache_path(directory, env), "rb") as file:
            entry = msgspec.msgpack.decode(file.read(), type=_Entry)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    project = entry.project
    also = next((name for name in names if name != project.file), None)
    if entry.version != _version() or (project.file, project.also) != (names[0], also):
        return None
    if entry.places is not None and entry.places != search_path(env, directory):
        return None
    for path, digest in entry.digests.items():
        try:
            with open(os.fsencode(path), "rb") as file:
                known = _digest(file.read())
        except OSError:
            known = None
        if known != digest:
            return None
    return project


def _to_cache(
    project: LoadedProject,
    read: Mapping[str, bytes | None],
    places: list[str] | None,
    env: Mapping[str, str],
) -> None:
    from reenact.store.files import write_atomically

    if project.file not in FILE_NAMES:
        return
    path = _cache_path(project.directory, env)
    digests = {p: None if data is None else _digest(data) for p, data in read.items()}
    try:
        entry = _Entry(_version(), digests, places, project)
        data = msgspec.msgpack.encode(entry)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_atomically(path, data, sync=False)
    except (OSError, UnicodeEncodeError, OverflowError):
        # It is a cache: without it the next call takes longer.
        pass
