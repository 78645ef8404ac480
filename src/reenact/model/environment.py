"""What a run ran in: interpreter, packages and tools; the machine; and what was loaded in the end.

All values are kept as blobs of deterministic JSON, so that equal environments are one blob however
many runs have them. Nothing in them changes from run to run: no times, no load, no process ids.
A fact that could not be found out is None, and `reasons` says why, by the name of the field.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from reenact.errors import Damaged
from reenact.model.version import refuse_newer

FORMAT = 1
"""Version of all values. See `docs/reference/environment.md`."""


class PrefixKind(StrEnum):
    """What kind of installation an interpreter belongs to."""

    VENV = "venv"
    CONDA = "conda"
    SYSTEM = "system"
    """Installed as a whole: by the system's packages, pyenv, uv or from source."""


class PythonFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an interpreter says of itself: enough to read its packages without starting it.

    Attributes:
        version: `3.11.7`, with the suffix of a pre-release.
        implementation: `sys.implementation.name`.
        prefix: `sys.prefix`.
        base_prefix: `sys.base_prefix`.
        executable: `sys.executable`.
        path: `sys.path`, in order; directories without distributions do no harm.
        build: `sys.version`: build, date and compiler.
        abi: the tag of its extension modules, such as `cpython-311-x86_64-linux-gnu`.
        platform: operating system and architecture that it was built for: `linux-x86_64`.
        libc: the C library that it runs with: `glibc 2.36`.
    """

    version: str
    implementation: str
    prefix: str
    base_prefix: str
    executable: str
    path: tuple[str, ...] = ()
    build: str | None = None
    abi: str | None = None
    platform: str | None = None
    libc: str | None = None


class Python(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An interpreter, wherever it lies: equal ones in two places are equal values."""

    version: str
    implementation: str
    prefix_kind: PrefixKind
    build: str | None = None
    abi: str | None = None
    platform: str | None = None
    libc: str | None = None


class OriginKind(StrEnum):
    """Where a distribution came from when it was not an index."""

    EDITABLE = "editable"
    """A link to a source directory: what it held when the run started is not recorded here."""
    DIRECTORY = "directory"
    VCS = "vcs"
    ARCHIVE = "archive"


class Origin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `direct_url.json` says of a distribution, passwords in the address redacted.

    Attributes:
        commit: the version-control revision that was installed.
        requested: the branch or tag that was asked for.
        digest: of the archive, as `algorithm=hexadecimal`.
    """

    kind: OriginKind
    url: str
    commit: str | None = None
    requested: str | None = None
    subdirectory: str | None = None
    digest: str | None = None


class Package(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An installed Python distribution.

    Attributes:
        name: normalised as packaging tools do it: lower case, words joined by `-`.
        origin: None for one from an index or a wheel house: it keeps no note of that.
    """

    name: str
    version: str
    origin: Origin | None = None


class CondaPackage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A package that conda installed, of any language; `url` names the exact build."""

    name: str
    version: str
    build: str
    channel: str | None = None
    url: str | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A program that builds or starts native code, found on PATH.

    Attributes:
        name: as it is called: `gcc`.
        path: where it is.
        version: the line in which it states its version; None when it did not answer.
    """

    name: str
    path: str
    version: str | None = None


class Environment(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="format", tag=FORMAT
):
    """The software that a run ran with.

    Attributes:
        python: None for a command in which no Python was seen.
        packages: what `import` would find, sorted by name; None where `python` is.
        conda: packages of the conda environment that the interpreter belongs to, sorted.
        leftovers: directories that look like a distribution and are none: without metadata, or
            another version in the same place is newer.
        tools: compilers and MPI on PATH, sorted by name; None where nobody asked them.
        variables: environment variables that can change a result, secrets redacted.
    """

    python: Python | None = None
    packages: tuple[Package, ...] | None = None
    conda: tuple[CondaPackage, ...] = ()
    leftovers: tuple[str, ...] = ()
    tools: tuple[Tool, ...] | None = None
    variables: dict[str, str] = {}
    reasons: dict[str, str] = {}


class Gpu(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A GPU, as its driver describes it.

    Attributes:
        capability: CUDA's, such as `9.0`.
        uuid: tells this very GPU from all others.
        has_ecc: errors in its memory are corrected, which costs some of it.
        has_mig: it is cut into instances.
        power_limit_w: what it may draw, in watts.
        pcie: its link to the machine at its best: `gen5 x16`.
    """

    name: str
    memory_bytes: int | None = None
    capability: str | None = None
    uuid: str | None = None
    has_ecc: bool | None = None
    has_mig: bool | None = None
    power_limit_w: float | None = None
    pcie: str | None = None


class GpuLink(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How two GPUs, numbered in the driver's order, are connected.

    Attributes:
        kind: `nvlink`; else the nearest thing that both paths have in common: `board`, `switch`,
            `switches`, `bridge` (of one CPU), `node` (of one NUMA node), `system`.
        count: how many NVLinks the first has that are up.
    """

    a: int
    b: int
    kind: str
    count: int | None = None


class Machine(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="format", tag=FORMAT
):
    """The hardware and the operating system that a run ran on.

    Attributes:
        hostname: the machine's name, without its domain.
        os: name and version of the distribution: `Debian GNU/Linux 12 (bookworm)`.
        kernel: `Linux 6.1.0`.
        libc: the C library of the interpreter that runs Reenact.
        cpu_features: the instruction sets that numeric libraries choose their code by, sorted.
        cores_logical: CPUs that the operating system schedules on, threads of a core counted each.
        numa_nodes: parts of the memory that are near to some of the CPUs.
        is_virtual: the CPU says that it is one of a virtual machine.
        gpus: one for each, in the driver's order; empty where there is none.
        gpu_links: one for each pair of them.
        gpu_driver: version of the NVIDIA driver.
        cuda_driver: the CUDA version that the driver supports: `12.4`.
    """

    hostname: str | None = None
    os: str | None = None
    kernel: str | None = None
    architecture: str | None = None
    libc: str | None = None
    cpu: str | None = None
    cpu_features: tuple[str, ...] | None = None
    cores_logical: int | None = None
    cores_physical: int | None = None
    sockets: int | None = None
    numa_nodes: int | None = None
    is_virtual: bool | None = None
    memory_bytes: int | None = None
    gpus: tuple[Gpu, ...] | None = None
    gpu_links: tuple[GpuLink, ...] = ()
    gpu_driver: str | None = None
    cuda_driver: str | None = None
    reasons: dict[str, str] = {}


class Library(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A native library that a process had loaded.

    Attributes:
        path: below the directory of packages that it came with (`torch/lib/libtorch.so`), else
            absolute.
        version: as its file name says it: `6.0.30`.
    """

    path: str
    version: str | None = None


class ThreadPool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A library of numbers, or a runtime of threads, as it was in force in a process.

    Attributes:
        api: `openblas`, `mkl`, `blis`, `openmp`, `torch`, `tensorflow`, `xla`, `numexpr`.
        library: its path as in `Library`; None for one inside another.
        version: as it states it.
        architecture: the CPU that its code was chosen for: `SkylakeX`.
        threads: how many it would use.
        threading: what makes its threads: `pthreads`, `openmp`, `intel`, `gnu`, `tbb`, `none`.
        interface: `ilp64` for whole numbers of 64 bits, `lp64` for 32.
    """

    api: str
    library: str | None = None
    version: str | None = None
    architecture: str | None = None
    threads: int | None = None
    threading: str | None = None
    interface: str | None = None


class Runtime(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="format", tag=FORMAT
):
    """What the run's main Python process had loaded, and what was in force in it, at its end.

    Attributes:
        libraries: native libraries without Python's own extension modules, sorted.
        pools: thread pools, sorted; None where the process did not live to say it.
        frameworks: framework -> what it says of itself: versions of CUDA and cuDNN, switches.
        variables: environment variables that the process itself had set or changed by its end, of
            those that steer thread pools and accelerators; secrets redacted.
    """

    libraries: tuple[Library, ...] | None = None
    pools: tuple[ThreadPool, ...] | None = None
    frameworks: dict[str, dict[str, Any]] = {}
    variables: dict[str, str] = {}
    reasons: dict[str, str] = {}


_T = TypeVar("_T", Environment, Machine, Runtime)


def decode_environment(data: bytes, *, where: str) -> Environment:
    """Read a blob that describes an environment; raises Damaged, TooNew.

    Args:
        data: the blob's content, as `record.to_json` made it.
        where: how to call it in a message.
    """
    return _decode(data, Environment, where)


def decode_machine(data: bytes, *, where: str) -> Machine:
    """Read a blob that describes a machine; raises Damaged, TooNew. See `decode_environment`."""
    return _decode(data, Machine, where)


def decode_runtime(data: bytes, *, where: str) -> Runtime:
    """Read a blob that describes a runtime; raises Damaged, TooNew. See `decode_environment`."""
    return _decode(data, Runtime, where)


def _decode(data: bytes, kind: type[_T], where: str) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        refuse_newer(data, where, FORMAT)
        raise Damaged(
            f"{where} is damaged: {error}", hint="`reenact fsck` lists what is wrong in the store"
        ) from None
