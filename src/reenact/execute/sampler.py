"""Sample what a run's processes use: CPU, memory, disk, GPUs, and how busy the machine is.

Covered: the process that was started, everything that descends from it, and whatever stays in its
session or process group after its parent has gone. Processes that begin and end between two samples
count, as soon as their parent has waited for them.
Not covered: a process that left session and group before it was seen once; processor time of a
process that nobody in the tree waited for, after its last sample; memory that processes share,
which is counted for each of them (telling it apart costs milliseconds for each large process).

`docs/reference/system-metrics.md` says what every name means.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from reenact.model.metrics import Point
from reenact.model.run import Usage
from reenact.snapshot.machine import find_nvidia
from reenact.store.files import read_file

_FIRST_S = 2.0
_USUAL_S = 5.0
_LONGEST_S = 15.0
_LONG_RUN_S = 600.0
_COST_FACTOR = 200.0
"""Wait at least so many times as long as a sample takes: half a percent of one core."""

_GPU_PATIENCE_S = 0.05
_VIRTUAL_INTERFACES = ("lo", "veth", "docker", "br-", "virbr", "cni", "flannel", "cali", "tap")


class _Key(NamedTuple):
    """A process, even after its id has been given to another."""

    pid: int
    started: float


class _Process(NamedTuple):
    """One process as the system shows it; the times include children that it has waited for."""

    parent: int
    group: int
    session: int
    is_alive: bool
    cpu_user_s: float
    cpu_system_s: float
    memory_bytes: int


class _Counters(NamedTuple):
    """What a process, or the tree, has used so far. The bytes are those that reached the disk."""

    cpu_user_s: float = 0.0
    cpu_system_s: float = 0.0
    read_bytes: float = 0.0
    written_bytes: float = 0.0

    def plus(self, other: _Counters) -> _Counters:
        return _Counters(*(a + b for a, b in zip(self, other, strict=True)))

    def above(self, other: _Counters) -> _Counters:
        """Return by how much this is more than `other`, and never less than nothing."""
        return _Counters(*(max(0.0, a - b) for a, b in zip(self, other, strict=True)))


class _System(Protocol):
    """What an operating system tells of its processes. Nothing here raises OSError."""

    def processes(self) -> dict[_Key, _Process]: ...

    def disk_bytes(self, pid: int) -> tuple[int, int] | None:
        """Return bytes read and written by a process; None where that is not told."""

    def network_bytes(self) -> tuple[int, int] | None:
        """Return bytes that the machine has received and sent since it started."""


class Sampler:
    """Samples one run. Build it when the process has been started; one thread uses it."""

    def __init__(self, root_pid: int) -> None:
        """Start to watch.

        Args:
            root_pid: the process that was started; its process group, and its session if it leads
                one, have the same number.
        """
        self._root = root_pid
        self._system: _System | None = None
        self._gpus: _GpuWatch | None = None
        self._born = self._before = time.monotonic()
        self._network = _proc_network_bytes() if sys.platform == "linux" else None
        self._members: dict[_Key, _Process] = {}
        self._used: dict[_Key, _Counters] = {}
        self._total = _Counters()
        self._max_memory: int | None = None
        self._tells_disk = False
        self._count = 0
        self._cost_s = 0.0

    def next_interval(self) -> float:
        """Return after how many seconds the next sample is due, from now.

        A short time at first, so that short runs have one; longer for long runs, and wherever a
        sample is expensive: a machine with thousands of processes.
        """
        if self._count == 0:
            return _FIRST_S
        age = time.monotonic() - self._born
        by_age = min(_LONGEST_S, max(_USUAL_S, age / _LONG_RUN_S * _USUAL_S))
        return max(by_age, self._cost_s * _COST_FACTOR)

    def sample(self, time_ns: int) -> list[Point]:
        """Read what is used now; rates are means since the sample before.

        Returns an empty list when no process of the run is left.

        Args:
            time_ns: the time that the points shall bear. Rates do not depend on it: the clock of
                the day may jump.
        """
        begun = time.thread_time()
        if self._system is None:
            self._system = _open_system()
            self._gpus = _GpuWatch() if find_nvidia() is not None else None
        now = time.monotonic()
        values = self._read(self._system, now - self._before)
        if not values:
            return []
        self._before = now
        points = [Point(name, self._count, time_ns, value) for name, value in values]
        self._count += 1
        self._cost_s = time.thread_time() - begun
        return points

    def usage(self) -> Usage:
        """Return what the samples so far come to; it knows nothing of the time since the last."""
        if self._count == 0:
            return Usage()
        return Usage(
            cpu_user_s=self._total.cpu_user_s,
            cpu_system_s=self._total.cpu_system_s,
            max_memory_bytes=self._max_memory,
            read_bytes=int(self._total.read_bytes) if self._tells_disk else None,
            write_bytes=int(self._total.written_bytes) if self._tells_disk else None,
            samples=self._count,
        )

    @property
    def gpu_failure(self) -> str | None:
        """Why GPUs are not sampled although there is a driver; None when nothing failed."""
        return self._gpus.failure if self._gpus is not None else None

    def close(self) -> None:
        """Stop asking the GPUs. Nothing else is held."""
        if self._gpus is not None:
            self._gpus.close()

    def _read(self, system: _System, elapsed_s: float) -> list[tuple[str, float]]:
        members = _choose(system.processes(), self._root, self._members)
        alive = [key for key, process in members.items() if process.is_alive]
        if not alive or elapsed_s <= 0:
            return []
        used = self._advance(system, members)
        memory = sum(members[key].memory_bytes for key in alive)
        self._max_memory = max(self._max_memory or 0, memory)
        cpu_s = used.cpu_user_s + used.cpu_system_s
        values = [
            ("system/cpu_percent", 100.0 * cpu_s / elapsed_s),
            ("system/memory_bytes", float(memory)),
            ("system/processes", float(len(alive))),
        ]
        if self._tells_disk:
            values += [
                ("system/disk_read_bytes_per_s", used.read_bytes / elapsed_s),
                ("system/disk_written_bytes_per_s", used.written_bytes / elapsed_s),
            ]
        values.append(("machine/load", os.getloadavg()[0]))
        values += self._network_rates(system, elapsed_s)
        if self._gpus is not None:
            values += self._gpus.read({key.pid for key in alive})
        return values

    def _advance(self, system: _System, members: dict[_Key, _Process]) -> _Counters:
        """Take the processes as they are now for the last seen; return what was used since then."""
        used: dict[_Key, _Counters] = {}
        for key, process in members.items():
            disk = system.disk_bytes(key.pid)
            if disk is not None:
                self._tells_disk = True
            else:
                before = self._used.get(key, _Counters())
                disk = (int(before.read_bytes), int(before.written_bytes))
            used[key] = _Counters(process.cpu_user_s, process.cpu_system_s, *map(float, disk))
        # What an ended process had used by then was counted; now its parent's counters hold it too.
        inherited: dict[_Key, _Counters] = {}
        for key, counters in self._used.items():
            if key not in used:
                heir = _heir(key, self._members, members)
                if heir is not None:
                    inherited[heir] = inherited.get(heir, _Counters()).plus(counters)
        since = _Counters()
        for key, counters in used.items():
            known = self._used.get(key, _Counters()).plus(inherited.get(key, _Counters()))
            since = since.plus(counters.above(known))
        self._members, self._used = members, used
        self._total = self._total.plus(since)
        return since

    def _network_rates(self, system: _System, elapsed_s: float) -> Iterator[tuple[str, float]]:
        before, now = self._network, system.network_bytes()
        self._network = now
        if before is not None and now is not None:
            for name, old, new in zip(("received", "sent"), before, now, strict=True):
                # Counters start again when an interface goes away.
                yield f"machine/net_{name}_bytes_per_s", max(0, new - old) / elapsed_s


def _choose(
    processes: dict[_Key, _Process], root: int, known: dict[_Key, _Process]
) -> dict[_Key, _Process]:
    """Choose the processes of the run: by descent, by session or group, or by being one before."""
    children: dict[int, list[_Key]] = {}
    waiting = []
    for key, process in processes.items():
        children.setdefault(process.parent, []).append(key)
        if root in (key.pid, process.group, process.session) or key in known:
            waiting.append(key)
    chosen: dict[_Key, _Process] = {}
    while waiting:
        key = waiting.pop()
        if key not in chosen:
            chosen[key] = processes[key]
            waiting += children.get(key.pid, ())
    return chosen


def _heir(gone: _Key, before: dict[_Key, _Process], now: dict[_Key, _Process]) -> _Key | None:
    """Return the nearest ancestor of an ended process that still runs."""
    was = {key.pid: key for key in before}
    pid = before[gone].parent
    for _ in range(len(before)):
        key = was.get(pid)
        if key is None:
            return None
        if key in now:
            return key
        pid = before[key].parent
    return None


def _open_system() -> _System:
    return _ProcFileSystem() if sys.platform == "linux" else _Psutil()


class _ProcFileSystem:
    """Linux, read directly: psutil needs twice the time, and 16 ms to be imported."""

    def __init__(self) -> None:
        self._tick_s = 1.0 / os.sysconf("SC_CLK_TCK")
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")

    def processes(self) -> dict[_Key, _Process]:
        found = {}
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                descriptor = os.open(f"/proc/{name}/stat", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    data = os.read(descriptor, 1024)
                finally:
                    os.close(descriptor)
            except OSError:
                continue
            # The second field is the program's name in parentheses, and may hold anything.
            fields = data[data.rfind(b")") + 2 :].split()
            if len(fields) < 22:
                continue
            state, parent, group, session = fields[:4]
            user, system, waited_user, waited_system = map(int, fields[11:15])
            found[_Key(int(name), int(fields[19]))] = _Process(
                parent=int(parent),
                group=int(group),
                session=int(session),
                is_alive=state not in b"ZX",
                cpu_user_s=(user + waited_user) * self._tick_s,
                cpu_system_s=(system + waited_system) * self._tick_s,
                memory_bytes=int(fields[21]) * self._page_bytes,
            )
        return found

    def disk_bytes(self, pid: int) -> tuple[int, int] | None:
        try:
            data = read_file(f"/proc/{pid}/io")
        except OSError:
            return None
        read = written = None
        for line in data.splitlines():
            if line.startswith(b"read_bytes:"):
                read = int(line[11:])
            elif line.startswith(b"write_bytes:"):
                written = int(line[12:])
        return None if read is None or written is None else (read, written)

    def network_bytes(self) -> tuple[int, int] | None:
        return _proc_network_bytes()


def _proc_network_bytes() -> tuple[int, int] | None:
    try:
        lines = read_file("/proc/net/dev").decode("utf-8", "replace").splitlines()[2:]
    except OSError:
        return None
    received = sent = 0
    for line in lines:
        name, _, numbers = line.partition(":")
        fields = numbers.split()
        if len(fields) >= 9 and not name.strip().startswith(_VIRTUAL_INTERFACES):
            received += int(fields[0])
            sent += int(fields[8])
    return received, sent


class _Psutil:
    """Any system that psutil knows."""

    def __init__(self) -> None:
        import psutil

        self._psutil: Any = psutil

    def processes(self) -> dict[_Key, _Process]:
        psutil = self._psutil
        found = {}
        for process in psutil.process_iter():
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    found[_Key(process.pid, process.create_time())] = _Process(
                        parent=process.ppid(),
                        group=os.getpgid(process.pid),
                        session=os.getsid(process.pid),
                        is_alive=process.status() != psutil.STATUS_ZOMBIE,
                        cpu_user_s=times.user + getattr(times, "children_user", 0.0),
                        cpu_system_s=times.system + getattr(times, "children_system", 0.0),
                        memory_bytes=process.memory_info().rss,
                    )
            except (psutil.Error, OSError):
                continue
        return found

    def disk_bytes(self, pid: int) -> tuple[int, int] | None:
        try:
            counters = self._psutil.Process(pid).io_counters()
        except (AttributeError, self._psutil.Error, OSError):
            return None
        return counters.read_bytes, counters.write_bytes

    def network_bytes(self) -> tuple[int, int] | None:
        received = sent = 0
        for name, counters in self._psutil.net_io_counters(pernic=True).items():
            if not name.startswith(_VIRTUAL_INTERFACES):
                received += counters.bytes_recv
                sent += counters.bytes_sent
        return received, sent


class _GpuWatch:
    """Asks the NVIDIA driver in a thread of its own.

    Waking a sleeping GPU takes seconds and a broken one may never answer, while the caller must
    keep passing the script's output on. An answer that comes too late is dropped, not reported
    under another time.
    """

    def __init__(self) -> None:
        self.failure: str | None = None
        self._pids: set[int] = set()
        self._values: list[tuple[str, float]] = []
        self._is_busy = False
        self._is_closed = False
        self._asked = threading.Event()
        self._answered = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="reenact-gpus", daemon=True)
        self._thread.start()

    def read(self, pids: set[int]) -> list[tuple[str, float]]:
        """Return names and values; empty when the driver does not answer in time, or cannot."""
        if self._is_busy and not self._answered.is_set():
            return []
        self._pids = pids
        self._answered.clear()
        self._asked.set()
        self._is_busy = not self._answered.wait(_GPU_PATIENCE_S)
        return [] if self._is_busy else self._values

    def close(self) -> None:
        """Let the thread end."""
        self._is_closed = True
        self._asked.set()

    def _serve(self) -> None:
        try:
            import pynvml

            pynvml.nvmlInit()
            gpus = _Gpus(pynvml)
            while self._asked.wait() and not self._is_closed:
                self._asked.clear()
                self._values = list(gpus.read(self._pids))
                self._answered.set()
        except Exception as error:  # noqa: BLE001 - a driver fails in its own ways; the run says so
            self.failure = str(error) or type(error).__name__


class _Gpus:
    """The GPUs of the machine and what of them belongs to the run."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._devices = [
            nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())
        ]
        # A driver older than the library lacks some questions.
        self._mismatch = getattr(nvml, "NVMLLibraryMismatchError", nvml.NVMLError)
        self._ours: set[int] = set()
        self._last_us = [0] * len(self._devices)

    def read(self, pids: set[int]) -> Iterator[tuple[str, float]]:
        nvml = self._nvml
        for index, device in enumerate(self._devices):
            rates = self._ask(nvml.nvmlDeviceGetUtilizationRates, device)
            if rates is not None:
                yield f"machine/gpu{index}_percent", float(rates.gpu)
            memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, device)
            if memory is not None:
                yield f"machine/gpu{index}_memory_bytes", float(memory.used)
            yield from self._own(index, device, pids)

    def _own(self, index: int, device: Any, pids: set[int]) -> Iterator[tuple[str, float]]:
        """Yield the run's own share once the driver has named one of its processes.

        Before that, and in containers, whose process ids the driver does not know, nothing can be
        told from zero.
        """
        nvml = self._nvml
        running = self._ask(nvml.nvmlDeviceGetComputeRunningProcesses, device)
        if running is None:
            return
        ours = [process for process in running if process.pid in pids]
        if ours:
            self._ours.add(index)
        if index not in self._ours:
            return
        shares = [process.usedGpuMemory for process in ours]
        if None not in shares:
            yield f"system/gpu{index}_memory_bytes", float(sum(shares))
        try:
            samples = nvml.nvmlDeviceGetProcessUtilization(device, self._last_us[index])
        except nvml.NVMLError_NotFound:
            samples = []  # Nobody has used it since.
        except (nvml.NVMLError, self._mismatch):
            return
        latest: dict[int, tuple[int, int]] = {}
        for sample in samples:
            self._last_us[index] = max(self._last_us[index], sample.timeStamp)
            if sample.pid in pids:
                latest[sample.pid] = max(
                    latest.get(sample.pid, (0, 0)), (sample.timeStamp, sample.smUtil)
                )
        yield f"system/gpu{index}_percent", float(sum(rate for _, rate in latest.values()))

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return question(*arguments)
        except (self._nvml.NVMLError, self._mismatch):
            return None
