"""Say of native libraries that a process had loaded what they are, from the paths of their files.

Left out are Python's own extension modules, which belong to packages whose versions are known, and
what Reenact itself has preloaded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from reenact.model.environment import Library, Runtime, ThreadPool
from reenact.model.paths import path_to_text, printable
from reenact.model.secrets import redact
from reenact.store.files import read_file

_MOST = 2000
_EXTENSION = re.compile(r"\.(cpython-\d+\w*|pypy\d+-pp\d+|abi3)[^/]*\.so$")
_OWN = re.compile(r"/preload-[^/]+/(?:.*/)?reenact\.so$")
"""What Reenact itself preloads, see `execute.preload`: it depends on how the run was watched."""
_COMPUTING = (
    "/numpy/", "/torch/", "/tensorflow/", "/jaxlib/", "blas", "libmkl", "libgomp", "libomp",
    "libiomp", "libcuda", "libR.so", "libjulia",
)  # fmt: skip
"""Parts of paths of libraries that compute."""
_PACKAGES = ("/site-packages/", "/dist-packages/")


def loaded_by(pid: int) -> list[str]:
    """Return the files that a living process has mapped as libraries; nothing where none is told."""
    try:
        data = read_file(f"/proc/{pid}/maps")
    except OSError:
        return []
    return libraries_in(data)


def libraries_in(maps: bytes) -> list[str]:
    """Return the paths of libraries in the content of a `/proc/PID/maps`."""
    found = set()
    for line in maps.split(b"\n"):
        at = line.find(b"/")
        if at > 0 and (b".so" in line[at:]):
            found.add(os.fsdecode(line[at:]))
    return sorted(path for path in found if path.endswith(".so") or ".so." in path)


def describe_libraries(paths: Iterable[str], run_directory: str = "") -> tuple[Library, ...]:
    """Name libraries so that equal ones in two environments are equal."""
    chosen = [
        path
        for path in paths
        if "/lib-dynload/" not in path and not _EXTENSION.search(path) and not _OWN.search(path)
    ]
    named = {name_of(path, run_directory): path for path in chosen}
    return tuple(
        Library(path=name, version=_version(os.path.basename(named[name])))
        for name in sorted(named)[:_MOST]
    )


def name_of(path: str, run_directory: str = "") -> str:
    """Return a library's path below the packages that it came with, else the path itself.

    Python's own library has no path, as the interpreter has none; one of the run's own files has
    its path in the run directory.
    """
    if os.path.basename(path).startswith("libpython"):
        return os.path.basename(path)
    if run_directory and path.startswith(f"{run_directory}/"):
        return path_to_text(path[len(run_directory) + 1 :])
    for mark in _PACKAGES:
        _, found, rest = path.rpartition(mark)
        if found:
            return path_to_text(rest)
    return path_to_text(path)


def describe_runtime(
    told: Mapping[str, Any] | None,
    seen: Sequence[str],
    variables: Mapping[str, str],
    run_directory: str = "",
) -> Runtime | None:
    """Describe what a process had loaded; None where it has not computed anything.

    Args:
        told: what the process said at its end, see `leaving.py` of the probe; None if it did not.
        seen: libraries that were seen in it while it lived.
        variables: what the description of its environment holds.
        run_directory: libraries in it are named relative to it.
    """
    if told is None:
        if not any(mark in path for path in seen for mark in _COMPUTING):
            return None
        reason = "the process did not say it at its end"
        reasons = {"pools": reason, "frameworks": reason, "variables": reason}
        return Runtime(libraries=describe_libraries(seen, run_directory), reasons=reasons)
    frameworks = told.get("frameworks")
    listed = told.get("libraries")
    paths = [p for p in listed if isinstance(p, str)] if isinstance(listed, list) else []
    return Runtime(
        libraries=describe_libraries(paths, run_directory),
        pools=_pools(told.get("pools")),
        frameworks=frameworks if isinstance(frameworks, dict) else {},
        variables=_changed(told.get("variables"), variables),
    )


def _changed(now: Any, before: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(now, dict):
        return {}
    said = {printable(str(n)): printable(redact(str(n), str(v))) for n, v in now.items()}
    return {name: value for name, value in said.items() if before.get(name) != value}


def _pools(told: Any) -> tuple[ThreadPool, ...] | None:
    if not isinstance(told, list):
        return None
    pools = []
    for fields in told:
        if not isinstance(fields, dict):
            continue
        if isinstance(library := fields.get("library"), str):
            fields["library"] = name_of(library)
        try:
            pools.append(msgspec.convert(fields, ThreadPool))
        except msgspec.ValidationError:
            continue
    return tuple(sorted(pools, key=lambda pool: (pool.api, pool.library or "")))


def _version(name: str) -> str | None:
    found = re.search(r"\.so\.(\d[\w.]*)$", name) or re.search(r"[-.](\d+(?:\.\d+)+)\.so$", name)
    return None if found is None else found[1]
