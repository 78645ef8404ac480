"""Describe the software that a run runs with, from what its interpreter said of itself.

Nothing is started or imported: the names of the `*.dist-info` directories on the interpreter's path
already are names and versions, which is a hundred times faster than asking each distribution, and
works for an interpreter that could not import us.
Covered: what pip, uv, conda and setuptools install, as directory, file, egg or link.
Not covered: modules that lie on the path without belonging to a distribution, and what a script
adds to its path while it runs.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress

import msgspec
from blake3 import blake3

from reenact.model.environment import (
    CondaPackage,
    Environment,
    Origin,
    OriginKind,
    Package,
    PrefixKind,
    Python,
    PythonFacts,
    Tool,
)
from reenact.model.paths import printable
from reenact.model.record import to_json
from reenact.model.secrets import redact, redact_text
from reenact.store.files import read_file, write_atomically

_NAMES = frozenset(
    """
    LANG LANGUAGE TZ MPLBACKEND LD_PRELOAD LD_LIBRARY_PATH DYLD_LIBRARY_PATH
    DYLD_INSERT_LIBRARIES SOURCE_DATE_EPOCH R_LIBS R_LIBS_USER JAVA_TOOL_OPTIONS NODE_OPTIONS
    """.split()
)
_PREFIXES = tuple(
    """
    PYTHON LC_ OMP_ GOMP_ KMP_ MKL_ OPENBLAS_ GOTO_ BLIS_ VECLIB_ NUMEXPR_ NUMBA_ TBB_ ONEDNN_ DNNL_
    RAYON_ POLARS_ ARROW_ JULIA_NUM_ MALLOC_ GLIBC_TUNABLES CUDA_ CUDNN_ CUBLAS CUPY_ NVIDIA_ NCCL_
    GLOO_ UCX_ HIP_ ROCR_ ROCM_ HSA_ MIOPEN_ SYCL_ ONEAPI_ TF_ TORCH_ TORCHINDUCTOR_ TORCHDYNAMO_
    PYTORCH_ TRITON_ ACCELERATE_ XLA_ JAX_ LIBTPU_ TPU_ KERAS_ HF_ HUGGING_FACE_ HUGGINGFACE_
    TRANSFORMERS_ TOKENIZERS_ DATASETS_ SCIPY_ SKLEARN_ NPY_
    """.split()
)

_OTHERS = ("TF_CLI_", "TF_VAR_", "TF_TOKEN_")
"""Terraform's, not TensorFlow's."""

_SEPARATORS = re.compile(r"[-_.]+")
_EGG_TAIL = re.compile(r"-py[0-9.]+(-[\w.]+)?$")
_RACY_NS = 2_000_000_000
"""A directory that changed this recently may change again without a new time stamp."""


class _Scan(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one directory holds, valid as long as its time of modification is the same."""

    mtime_ns: int
    packages: tuple[Package, ...] = ()
    conda: tuple[CondaPackage, ...] = ()
    leftovers: tuple[str, ...] = ()


def capture_environment(
    python: PythonFacts | None,
    env: Mapping[str, str],
    *,
    cache: str | None = None,
    tools: tuple[Tool, ...] | None = None,
) -> Environment:
    """Describe the software that a process runs with.

    Args:
        python: what its interpreter said; None for a command without one.
        env: the user's variables, before those that Reenact sets for a run are added: with them
            every run would have an environment of its own.
        cache: directory where lists of packages are kept by directory and its time of
            modification. It may be deleted at any time, and need not be writable.
        tools: what `find_tools` found; None where nobody asked.
    """
    variables = relevant_variables(env)
    if python is None:
        reason = "no Python process was seen in this run"
        return Environment(
            tools=tools,
            variables=variables,
            reasons={"python": reason, "packages": reason, **_reason_for(tools)},
        )
    packages: dict[str, Package] = {}
    leftovers: list[str] = []
    for directory in package_directories(python):
        scan = _scan(directory, cache)
        leftovers += scan.leftovers
        for package in scan.packages:
            packages.setdefault(package.name, package)
    kind, conda = _installation(python, cache)
    description, reasons = _describe(python, kind)
    return Environment(
        python=description,
        packages=tuple(packages[name] for name in sorted(packages)),
        conda=conda,
        leftovers=tuple(sorted(leftovers)),
        tools=tools,
        variables=variables,
        reasons=reasons | _reason_for(tools),
    )


def _reason_for(tools: tuple[Tool, ...] | None) -> dict[str, str]:
    return {} if tools is not None else {"tools": "they were not asked"}


def relevant_variables(env: Mapping[str, str]) -> dict[str, str]:
    """Choose the variables that can change a result, sorted, secrets redacted."""
    return {
        printable(name): printable(redact(name, env[name]))
        for name in sorted(env)
        if name in _NAMES or (name.startswith(_PREFIXES) and not name.startswith(_OTHERS))
    }


def _describe(python: PythonFacts, kind: PrefixKind) -> tuple[Python, dict[str, str]]:
    build = python.build
    if build is not None:
        build = " ".join(build.removeprefix(python.version).split())
    found = {
        "build": build,
        "abi": python.abi,
        "platform": python.platform,
        "libc": python.libc,
    }
    reasons = {
        f"python.{name}": "the interpreter did not say"
        for name, value in found.items()
        if value is None
    }
    description = Python(
        version=python.version, implementation=python.implementation, prefix_kind=kind, **found
    )
    return description, reasons


def _installation(
    python: PythonFacts, cache: str | None
) -> tuple[PrefixKind, tuple[CondaPackage, ...]]:
    """Say what kind of installation the interpreter is; a venv made by conda's has its packages."""
    conda: tuple[CondaPackage, ...] = ()
    for prefix in (python.prefix, python.base_prefix):
        directory = os.path.join(prefix, "conda-meta")
        if os.path.isdir(directory):
            conda = _scan(directory, cache).conda
            break
    if python.prefix != python.base_prefix:
        return PrefixKind.VENV, conda
    is_conda = os.path.isdir(os.path.join(python.prefix, "conda-meta"))
    return (PrefixKind.CONDA if is_conda else PrefixKind.SYSTEM), conda


def package_directories(python: PythonFacts) -> Iterable[str]:
    """Yield where distributions can lie: the path, without the standard library and doubles."""
    library = "python" + ".".join(python.version.split(".")[:2])
    seen: set[str] = set()
    for directory in python.path:
        name = os.path.basename(directory.rstrip("/"))
        if name in ("", "lib-dynload") or name.endswith(".zip") or directory in seen:
            continue
        if name == library and os.path.exists(os.path.join(directory, "os.py")):
            continue
        seen.add(directory)
        yield directory


def _scan(directory: str, cache: str | None) -> _Scan:
    """Read what a directory holds, from the cache when it has not changed since."""
    try:
        mtime_ns = os.stat(directory).st_mtime_ns
    except OSError:
        return _Scan(0)
    kept = _cache_file(cache, directory)
    if kept is not None:
        with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            scan = msgspec.json.decode(read_file(kept), type=_Scan)
            if scan.mtime_ns == mtime_ns:
                return scan
    try:
        scan, is_stable = _read(directory, mtime_ns)
    except OSError:
        return _Scan(mtime_ns)
    is_worth_it = bool(scan.packages or scan.conda or scan.leftovers)
    if kept is not None and is_worth_it and is_stable and mtime_ns < time.time_ns() - _RACY_NS:
        # The cache only saves time: one that cannot be written must not stop a run.
        with suppress(OSError):
            os.makedirs(os.path.dirname(kept), exist_ok=True)
            write_atomically(kept, to_json(scan), sync=False)
    return scan


def _cache_file(cache: str | None, directory: str) -> str | None:
    if cache is None:
        return None
    return os.path.join(cache, "packages", blake3(os.fsencode(directory)).hexdigest()[:32])


def _read(directory: str, mtime_ns: int) -> tuple[_Scan, bool]:
    """Read a directory's distributions; also say whether its time of modification covers them."""
    if os.path.basename(directory) == "conda-meta":
        return _Scan(mtime_ns, conda=_read_conda(directory)), True
    if directory.endswith(".egg"):
        package = _from_egg_name(os.path.basename(directory).removesuffix(".egg"))
        return _Scan(mtime_ns, packages=(package,) if package else ()), True
    found: dict[str, tuple[Package, str]] = {}
    leftovers: list[str] = []
    is_stable = True
    for name in sorted(os.listdir(directory)):
        if not name.endswith((".dist-info", ".egg-info", ".egg-link")):
            continue
        path = os.path.join(directory, name)
        package, is_named = _read_distribution(path, name)
        is_stable &= is_named
        if package is None:
            leftovers.append(printable(name))
            continue
        other = found.get(package.name)
        if other is not None:
            older, newer = sorted((other[1], path), key=_modified_ns)
            leftovers.append(printable(os.path.basename(older)))
            if newer != path:
                continue
        found[package.name] = (package, path)
    packages = tuple(found[name][0] for name in sorted(found))
    return _Scan(mtime_ns, packages=packages, leftovers=tuple(leftovers)), is_stable


def _read_distribution(path: str, name: str) -> tuple[Package | None, bool]:
    """Read one distribution; also say whether its name alone told what it is."""
    stem, _, kind = name.rpartition(".")
    if kind == "egg-link":
        return _from_egg_link(path, stem), False
    if kind == "egg-info":
        package = _from_egg_name(stem)
        if package is not None:
            return package, True
        return _from_metadata(path, None), False
    try:
        files = os.listdir(path)
    except OSError:
        return None, True
    if "METADATA" not in files:
        return None, True
    origin = _read_origin(path) if "direct_url.json" in files else None
    title, _, version = stem.rpartition("-")
    if title and version[:1].isdigit():
        return _package(title, version, origin), True
    return _from_metadata(path, origin), False


def normal_name(name: str) -> str:
    """Return a distribution's name as packaging tools compare it: lower case, joined by `-`."""
    return _SEPARATORS.sub("-", printable(name)).lower()


def _package(name: str, version: str, origin: Origin | None = None) -> Package | None:
    normal = normal_name(name)
    # pip renames what it is about to remove: `~umpy`.
    if not normal[:1].isalnum():
        return None
    return Package(name=normal, version=printable(version), origin=origin)


def _from_egg_name(stem: str) -> Package | None:
    """Understand `NAME-VERSION-pyX.Y`; a source tree's `NAME.egg-info` has no version in it."""
    name, _, version = _EGG_TAIL.sub("", stem).rpartition("-")
    if name and version[:1].isdigit():
        return _package(name, version)
    return None


def _from_egg_link(path: str, name: str) -> Package | None:
    """Follow the link of a development install to the source tree that it stands for."""
    try:
        source = os.fsdecode(read_file(path)).split("\n", 1)[0].strip()
        names = os.listdir(source)
    except (OSError, ValueError):
        return None
    wanted = _SEPARATORS.sub("-", name).lower()
    for candidate in names:
        stem, _, kind = candidate.rpartition(".")
        if kind == "egg-info" and _SEPARATORS.sub("-", stem).lower() == wanted:
            origin = Origin(kind=OriginKind.EDITABLE, url=f"file://{printable(source)}")
            return _from_metadata(os.path.join(source, candidate), origin)
    return None


def _from_metadata(path: str, origin: Origin | None) -> Package | None:
    """Read name and version from the metadata of a distribution whose file name lacks them."""
    for file in ("METADATA", "PKG-INFO", ""):
        try:
            header = read_file(os.path.join(path, file) if file else path)
        except OSError:
            continue
        fields: dict[str, str] = {}
        for line in header.split(b"\n\n", 1)[0].decode("utf-8", "replace").splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip().lower(), value.strip())
        if fields.get("name") and fields.get("version"):
            return _package(fields["name"], fields["version"], origin)
    return None


class _VcsInfo(msgspec.Struct):
    vcs: str = ""
    commit_id: str | None = None
    requested_revision: str | None = None


class _DirInfo(msgspec.Struct):
    editable: bool = False


class _ArchiveInfo(msgspec.Struct):
    hash: str | None = None
    hashes: dict[str, str] = {}


class _DirectUrl(msgspec.Struct):
    url: str
    subdirectory: str | None = None
    vcs_info: _VcsInfo | None = None
    dir_info: _DirInfo | None = None
    archive_info: _ArchiveInfo | None = None


def _read_origin(path: str) -> Origin | None:
    try:
        data = read_file(os.path.join(path, "direct_url.json"))
        direct = msgspec.json.decode(data, type=_DirectUrl)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    url = redact_text(direct.url)
    if direct.vcs_info is not None:
        system = direct.vcs_info.vcs
        return Origin(
            kind=OriginKind.VCS,
            url=f"{system}+{url}" if system else url,
            commit=direct.vcs_info.commit_id,
            requested=direct.vcs_info.requested_revision,
            subdirectory=direct.subdirectory,
        )
    if direct.dir_info is not None:
        kind = OriginKind.EDITABLE if direct.dir_info.editable else OriginKind.DIRECTORY
        return Origin(kind=kind, url=url, subdirectory=direct.subdirectory)
    digest = None
    if direct.archive_info is not None:
        digest = direct.archive_info.hash
        if "sha256" in direct.archive_info.hashes:
            digest = f"sha256={direct.archive_info.hashes['sha256']}"
    return Origin(kind=OriginKind.ARCHIVE, url=url, subdirectory=direct.subdirectory, digest=digest)


class _CondaRecord(msgspec.Struct):
    name: str
    version: str
    build: str
    channel: str | None = None
    url: str | None = None


def _read_conda(directory: str) -> tuple[CondaPackage, ...]:
    packages = []
    for file in sorted(os.listdir(directory)):
        if not file.endswith(".json"):
            continue
        try:
            data = read_file(os.path.join(directory, file))
            record = msgspec.json.decode(data, type=_CondaRecord)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            parts = file.removesuffix(".json").rsplit("-", 2)
            if len(parts) != 3:
                continue
            record = _CondaRecord(*parts)
        packages.append(
            CondaPackage(
                name=printable(record.name),
                version=printable(record.version),
                build=printable(record.build),
                channel=redact_text(record.channel) if record.channel else None,
                url=redact_text(record.url) if record.url else None,
            )
        )
    return tuple(packages)


def _modified_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
