"""Look at what moves about a machine: before a run, after it, and what others did meanwhile.

Promised: a look costs a tenth of a millisecond without GPUs; with them a thread asks the driver.
Not promised: who the others were; what the host of a virtual machine does beyond `steal`.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress

from msgspec.structs import replace

from reenact.model.run import Conditions, GpuState, MachineState
from reenact.snapshot.gpu import capture_gpu_states, find_nvidia
from reenact.store.files import read_file

NOISY_SHARE = 0.1
"""Of all CPUs, used by others: from here on a run is noisy."""
NOISY_STEAL = 0.02
NOISY_GPU_PERCENT = 5.0
SHORTEST_S = 1.0
"""The system counts time in hundredths of a second: of a shorter run too little is known."""

_GPU_PATIENCE_S = 0.5
_CPUS = "/sys/devices/system/cpu"


class Watch:
    """Compares the machine before a run with the machine after it. Build it before the start."""

    def __init__(self, gpus: str | None = None, *, asks_driver: bool = True) -> None:
        """Take the first look.

        Args:
            gpus: value of CUDA_VISIBLE_DEVICES that the run will have; noise of others does not
                count.
            asks_driver: what the GPUs do is asked, too: a process loads the driver's library for
                that.
        """
        self._visible = gpus
        self._born = time.monotonic()
        self._before = look()
        self._gpus: tuple[GpuState, ...] = ()
        self._asking: threading.Thread | None = None
        if asks_driver and find_nvidia() is not None:
            self._asking = threading.Thread(target=self._ask_gpus, daemon=True)
            self._asking.start()
        self._times = _cpu_times()
        self._own_s = time.process_time()

    def finish(self, run_cpu_s: float) -> Conditions:
        """Take the last look.

        Args:
            run_cpu_s: processor time that the run's processes have used since the first look.
        """
        elapsed_s = time.monotonic() - self._born
        own_s = time.process_time() - self._own_s
        times = _cpu_times()
        after = look()
        before = self._before
        if self._asking is not None:
            self._asking.join(_GPU_PATIENCE_S)
            before = replace(before, gpus=self._gpus)
            after = replace(after, gpus=capture_gpu_states(_GPU_PATIENCE_S))
        others_s = steal_s = None
        if self._times is not None and times is not None:
            busy_s = times[0] - self._times[0]
            others_s = round(max(0.0, busy_s - run_cpu_s - own_s), 2)
            steal_s = round(max(0.0, times[1] - self._times[1]), 2)
        conditions = Conditions(
            before=before,
            after=after,
            cpus=os.cpu_count(),
            cpus_granted=cpus_granted(),
            memory_limit_bytes=memory_limit(),
            others_cpu_s=others_s,
            steal_s=steal_s,
        )
        return replace(conditions, noise=tuple(noise(conditions, elapsed_s, self._visible)))

    def _ask_gpus(self) -> None:
        self._gpus = capture_gpu_states()


def look() -> MachineState:
    """Say what the machine does now, without its GPUs."""
    load = None
    with suppress(OSError, AttributeError):
        load = round(os.getloadavg()[0], 2)
    return MachineState(
        load=load,
        memory_available_bytes=_memory_available(),
        governor=_text(f"{_CPUS}/cpu0/cpufreq/scaling_governor"),
        throttles=_throttles(),
    )


def cpus_granted() -> float | None:
    """Return how many CPUs this process and its children may use; parts of one are possible."""
    try:
        count = float(len(os.sched_getaffinity(0)))
    except (AttributeError, OSError):
        count = float(os.cpu_count() or 0)
    for directory in _cgroups():
        words = (_text(f"{directory}/cpu.max") or "").split()
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
            count = min(count, int(words[0]) / int(words[1]))
        quota = _number(f"{directory}/cpu.cfs_quota_us")
        period = _number(f"{directory}/cpu.cfs_period_us")
        if quota is not None and quota > 0 and period:
            count = min(count, quota / period)
    return round(count, 2) or None


def memory_limit() -> int | None:
    """Return the memory that a container or a batch system grants; None where that is all."""
    limits = []
    for directory in _cgroups():
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _number(f"{directory}/{name}")
            if limit is not None:
                limits.append(limit)
    with suppress(ValueError, OSError):
        # Version 1 says "no limit" with the largest number that it knows.
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        limits = [limit for limit in limits if limit < memory]
    return min(limits, default=None)


def noise(conditions: Conditions, elapsed_s: float, visible: str | None = None) -> list[str]:
    """Return why times measured in a run say little; nothing when they can be trusted.

    Args:
        conditions: what was seen.
        elapsed_s: for how long.
        visible: CUDA_VISIBLE_DEVICES of the run.
    """
    found = []
    cpus = conditions.cpus or 1
    if elapsed_s >= SHORTEST_S:
        others = (conditions.others_cpu_s or 0.0) / elapsed_s
        if others > NOISY_SHARE * cpus:
            found.append(f"other processes used {others:.1f} of {cpus} CPUs")
        steal = (conditions.steal_s or 0.0) / elapsed_s
        if steal > NOISY_STEAL * cpus:
            found.append(f"the host gave {steal:.1f} of {cpus} CPUs to others")
    before, after = conditions.before, conditions.after
    if before is None or after is None:
        return found
    if before.throttles is not None and after.throttles is not None:
        times = after.throttles - before.throttles
        if times > 0:
            found.append(f"CPUs were too hot {times} times")
    chosen = _chosen(visible, max(len(before.gpus), len(after.gpus)))
    for index, gpu in enumerate(before.gpus):
        if index in chosen and (gpu.percent or 0.0) > NOISY_GPU_PERCENT:
            found.append(f"GPU {index} was at {gpu.percent:.0f} % before the start")
    for index, gpu in enumerate(after.gpus):
        if index not in chosen:
            continue
        # Its load just after the end may be the run's own; a process that stays is another's.
        if gpu.processes and (gpu.percent or 0.0) > NOISY_GPU_PERCENT:
            found.append(f"GPU {index} was shared with {gpu.processes} other processes")
        if causes := [cause for cause in gpu.throttled if cause != "power"]:
            found.append(f"GPU {index} was slowed down: {', '.join(causes)}")
    return found


def _chosen(visible: str | None, count: int) -> set[int]:
    """Return the GPUs that a run may use; all where the variable does not number them."""
    if visible is None:
        return set(range(count))
    words = [word.strip() for word in visible.split(",") if word.strip()]
    if not all(word.isdigit() for word in words):
        return set(range(count))
    return {int(word) for word in words}


def _cpu_times() -> tuple[float, float] | None:
    """Return seconds that all CPUs together have worked since the start, and that were stolen."""
    try:
        fields = read_file("/proc/stat").split(b"\n", 1)[0].split()
    except OSError:
        return None
    if len(fields) < 9 or fields[0] != b"cpu":
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[1:9])
    tick_s = 1.0 / os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) * tick_s, steal * tick_s


def _memory_available() -> int | None:
    try:
        data = read_file("/proc/meminfo")
    except OSError:
        return None
    for line in data.splitlines():
        if line.startswith(b"MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _throttles() -> int | None:
    """Add up how often each CPU package was too hot; threads of one package say the same."""
    if not os.path.isdir(f"{_CPUS}/cpu0/thermal_throttle"):
        return None
    packages: dict[str, int] = {}
    for index in range(os.cpu_count() or 1):
        count = _number(f"{_CPUS}/cpu{index}/thermal_throttle/package_throttle_count")
        if count is not None:
            package = _text(f"{_CPUS}/cpu{index}/topology/physical_package_id") or "0"
            packages[package] = max(count, packages.get(package, 0))
    return sum(packages.values())


def _cgroups() -> list[str]:
    """Return the directories of control groups of this process, from the innermost outwards."""
    try:
        lines = read_file("/proc/self/cgroup").decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        names = set(controllers.split(","))
        if not controllers:
            root = "/sys/fs/cgroup"
        elif names & {"cpu", "memory"}:
            root = f"/sys/fs/cgroup/{controllers}"
        else:
            continue
        while True:
            found.append(root + path.rstrip("/"))
            if path in ("", "/"):
                break
            path = os.path.dirname(path)
    return found


def _number(path: str) -> int | None:
    text = _text(path)
    with suppress(ValueError):
        return None if text is None else int(text)
    return None


def _text(path: str) -> str | None:
    try:
        return read_file(path).decode("utf-8", "replace").strip() or None
    except OSError:
        return None
