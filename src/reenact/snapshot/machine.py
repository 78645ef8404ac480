"""Describe the machine that a run runs on: hardware and operating system, nothing that moves.

Promised: never raises; a fact that cannot be had is None and `reasons` says why.
Not promised: GPUs other than NVIDIA's; the share of the machine that a container or a batch system
grants (that is not the machine's but the job's).
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import msgspec

from reenact.model.environment import FORMAT, Machine
from reenact.model.record import to_json
from reenact.snapshot.gpu import NVML, Gpus, capture_gpus, find_nvidia
from reenact.store.files import read_file, write_atomically

__all__ = ["capture_machine", "find_nvidia"]

_T = TypeVar("_T")

_X86_FEATURES = r"sse4_[12]|ssse3|avx.*|fma4?|f16c|bmi[12]|amx_.*|gfni|vaes|vpclmulqdq|sha_ni"
_OTHER_FEATURES = r"asimd.*|sve.*|sme.*|fphp|bf16|i8mm|neon|vfpv4|vsx|altivec"
_CPUS = "/sys/devices/system/cpu"
_SILENCE_S = 600.0
"""A driver that did not answer is not asked again for so long."""
_REVISION = 2
"""Changes with the facts that are found: what an earlier version kept lacks some."""
_CPUINFO_BYTES = 16384
"""The first CPU's entry is shorter; the whole file is slow to make where there are many."""


class _Kept(msgspec.Struct, frozen=True):
    key: list[str]
    machine: Machine
    until: float | None = None


def capture_machine(*, cache: str | None = None) -> Machine:
    """Describe this machine.

    Takes a few milliseconds, and up to two seconds where GPUs sleep and no cache knows them.

    Args:
        cache: directory where the answer is kept until the machine starts again or its name,
            system, driver or GPUs change. It may be deleted at any time, and need not be writable.
    """
    now = time.time()
    key = _cache_key()
    if cache is None or key is None:
        return _capture()[0]
    kept = os.path.join(cache, "machine.json")
    with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        known = msgspec.json.decode(read_file(kept), type=_Kept)
        if known.key == key and (known.until is None or now < known.until):
            return known.machine
    machine, is_final = _capture()
    until = None if is_final else now + _SILENCE_S
    # The cache only saves time: one that cannot be written must not stop a run.
    with suppress(OSError):
        os.makedirs(cache, exist_ok=True)
        write_atomically(kept, to_json(_Kept(key, machine, until)), sync=False)
    return machine


class _Facts:
    """Collects facts and, for those that cannot be had, the reasons."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def ask(self, name: str, find: Callable[[], _T | None], otherwise: str) -> _T | None:
        """Return what `find` finds, else None with a reason: `otherwise`, or its error."""
        try:
            found = find()
        except Exception as error:  # noqa: BLE001 - any failure is a reason, none may stop a run
            self.reasons[name] = _reason(error)
            return None
        if found is None:
            self.reasons[name] = otherwise
        return found


def _capture() -> tuple[Machine, bool]:
    """Describe the machine; also say whether the same would be said again."""
    facts = _Facts()
    system = os.uname()
    on_linux = sys.platform == "linux"
    cpu = _first_cpu() if on_linux else {}
    gpus = _gpus()
    facts.reasons.update(gpus.reasons)
    machine = Machine(
        hostname=facts.ask(
            "hostname", lambda: system.nodename.split(".")[0] or None, "the machine has no name"
        ),
        os=facts.ask("os", _os_name, "the system does not name itself"),
        kernel=f"{system.sysname} {system.release}",
        architecture=system.machine,
        libc=facts.ask("libc", _libc, "the C library does not say"),
        cpu=facts.ask("cpu", lambda: _cpu_model(cpu), "the system does not name it"),
        cpu_features=facts.ask(
            "cpu_features", lambda: _cpu_features(cpu), "the system does not list them"
        ),
        cores_logical=facts.ask("cores_logical", os.cpu_count, "the system does not say"),
        cores_physical=facts.ask(
            "cores_physical",
            _physical_cores if on_linux else _portable_physical_cores,
            "the system does not say",
        ),
        sockets=facts.ask("sockets", _sockets, "the system does not say"),
        numa_nodes=facts.ask("numa_nodes", _numa_nodes, "the system does not say"),
        is_virtual=facts.ask(
            "is_virtual", lambda: _is_virtual(cpu), "only CPUs of Intel and AMD say it"
        ),
        memory_bytes=facts.ask("memory_bytes", _memory, "the system does not say"),
        gpus=gpus.gpus,
        gpu_links=gpus.links,
        gpu_driver=gpus.driver,
        cuda_driver=gpus.cuda,
        reasons=facts.reasons,
    )
    return machine, gpus.is_final


def _os_name() -> str | None:
    if sys.platform == "darwin":
        import platform

        return f"macOS {platform.mac_ver()[0]}"
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        with suppress(OSError):
            for line in read_file(path).decode("utf-8", "replace").splitlines():
                if line.startswith("PRETTY_NAME="):
                    return line.partition("=")[2].strip().strip("\"'") or None
    return None


def _libc() -> str | None:
    with suppress(ValueError, OSError):
        return os.confstr("CS_GNU_LIBC_VERSION")
    return None


def _first_cpu() -> dict[str, str]:
    """Read the entry of the first CPU in `/proc/cpuinfo`, by lower-case keys."""
    try:
        with open("/proc/cpuinfo", "rb", buffering=0) as file:
            data = file.read(_CPUINFO_BYTES)
    except OSError:
        return {}
    entry: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        if not line.strip() and "processor" in entry:
            break
        key, _, value = line.partition(":")
        entry.setdefault(key.strip().lower(), value.strip())
    return entry


def _cpu_model(cpu: dict[str, str]) -> str | None:
    if sys.platform != "linux":
        import platform

        return platform.processor() or None
    for key in ("model name", "cpu", "hardware", "model"):
        if cpu.get(key):
            return cpu[key]
    if "cpu implementer" in cpu:
        return f"ARM implementer {cpu['cpu implementer']} part {cpu.get('cpu part', '?')}"
    return None


def _cpu_features(cpu: dict[str, str]) -> tuple[str, ...] | None:
    for key, wanted in (("flags", _X86_FEATURES), ("features", _OTHER_FEATURES)):
        if cpu.get(key):
            chosen = re.compile(wanted).fullmatch
            return tuple(sorted({flag for flag in cpu[key].split() if chosen(flag)}))
    return None


def _physical_cores() -> int | None:
    """Count the sets of CPUs that share a core."""
    return _count_in_topology("thread_siblings_list")


def _sockets() -> int | None:
    return _count_in_topology("physical_package_id") if os.path.isdir(_CPUS) else None


def _count_in_topology(fact: str) -> int | None:
    """Count the different values that a fact has for the CPUs."""
    values = set()
    for name in os.listdir(_CPUS):
        if name.startswith("cpu") and name[3:].isdigit():
            with suppress(OSError):
                values.add(read_file(f"{_CPUS}/{name}/topology/{fact}"))
    return len(values) or None


def _numa_nodes() -> int | None:
    root = "/sys/devices/system/node"
    if not os.path.isdir(root):
        return None
    names = os.listdir(root)
    return sum(name.startswith("node") and name[4:].isdigit() for name in names) or None


def _is_virtual(cpu: dict[str, str]) -> bool | None:
    return "hypervisor" in cpu["flags"].split() if "flags" in cpu else None


def _portable_physical_cores() -> int | None:
    import psutil

    count: int | None = psutil.cpu_count(logical=False)
    return count


def _memory() -> int | None:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _gpus() -> Gpus:
    if find_nvidia() is not None:
        return capture_gpus()
    absent = "no NVIDIA driver was found"
    reasons = {"gpu_driver": absent, "cuda_driver": absent}
    if os.path.exists("/dev/kfd"):
        reasons["gpus"] = "there are AMD GPUs, which are not read"
        return Gpus(None, (), None, None, reasons)
    if sys.platform == "darwin":
        reasons["gpus"] = "only NVIDIA GPUs are read"
        return Gpus(None, (), None, None, reasons)
    return Gpus((), (), None, None, reasons)


def _cache_key() -> list[str] | None:
    """Return what must be equal for a kept answer to hold, None where it cannot be known.

    Containers share their host's boot id and may share a home, hence the name, the file system's
    idea of the operating system, and the GPUs that are let in.
    """
    try:
        boot = read_file("/proc/sys/kernel/random/boot_id").decode().strip()
        devices = sorted(name for name in os.listdir("/dev") if name.startswith("nvidia"))
    except OSError:
        return None
    system = os.uname()
    driver = find_nvidia() or ""
    return [
        f"{FORMAT}.{_REVISION}",
        boot,
        system.nodename,
        system.release,
        system.machine,
        _stamp("/etc/os-release"),
        driver,
        # Files of the kernel have new time stamps whenever it pleases.
        _stamp(driver) if driver.endswith(NVML) else "",
        _content("/sys/module/nvidia/version"),
        *devices,
    ]


def _stamp(path: str) -> str:
    with suppress(OSError):
        status = os.stat(path)
        return f"{status.st_dev}:{status.st_ino}:{status.st_mtime_ns}"
    return ""


def _content(path: str) -> str:
    with suppress(OSError):
        return read_file(path).decode("utf-8", "replace").strip()
    return ""


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
