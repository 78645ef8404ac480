"""Ask the NVIDIA driver what GPUs there are, how they are connected, and what they do now.

Promised: no answer takes longer than the limit, and none of the driver's failures gets out of here.
Not promised: GPUs of other makers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from reenact.model.environment import Gpu, GpuLink
from reenact.model.run import GpuState
from reenact.snapshot.patience import ask

NVML = "libnvidia-ml.so.1"
LIMIT_S = 2.0
"""GPUs that sleep take a second or two to wake up."""

_LIBRARY_DIRECTORIES = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib64/nvidia",
    "/usr/lib/wsl/lib",
    "/usr/local/nvidia/lib64",
    "/run/opengl-driver/lib",
    "/usr/lib",
)
_MOST_LINKS = 18
_LEVELS = {0: "board", 10: "switch", 20: "switches", 30: "bridge", 40: "node", 50: "system"}
_THROTTLES = {
    "power": 0x04 | 0x80,
    "hardware": 0x08,
    "thermal": 0x20 | 0x40,
}
"""Bits of NVML's reasons: software and hardware power limits, slow-down, temperatures."""


class Gpus(NamedTuple):
    """What the driver says. What it does not say is None, and `reasons` has why."""

    gpus: tuple[Gpu, ...] | None
    links: tuple[GpuLink, ...]
    driver: str | None
    cuda: str | None
    reasons: dict[str, str]
    is_final: bool = True
    """It would say the same if it were asked again."""


def find_nvidia() -> str | None:
    """Return a sign that an NVIDIA driver is here, None where there is none.

    It decides whether the driver's library is worth loading; it does not promise that it works.
    """
    for sign in ("/proc/driver/nvidia/version", "/dev/nvidiactl"):
        if os.path.exists(sign):
            return sign
    # As the dynamic loader does, which will look for the library.
    named = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    for directory in (*named, *_LIBRARY_DIRECTORIES):
        if directory and os.path.exists(path := os.path.join(directory, NVML)):
            return path
    return None


def capture_gpus(limit_s: float = LIMIT_S) -> Gpus:
    """Describe the machine's GPUs and their driver."""
    try:
        return ask(_capture, limit_s, who="the NVIDIA driver")
    except TimeoutError as error:
        return _none(str(error), is_final=False)
    except Exception as error:  # noqa: BLE001 - a driver may fail in its own ways
        return _none(f"the NVIDIA driver cannot be asked: {_reason(error)}")


def capture_gpu_states(limit_s: float = LIMIT_S) -> tuple[GpuState, ...]:
    """Say what the GPUs do now; nothing where that is not known."""
    try:
        return ask(_capture_states, limit_s, who="the NVIDIA driver")
    except Exception:  # noqa: BLE001 - `capture_gpus` says why
        return ()


def _none(reason: str, *, is_final: bool = True) -> Gpus:
    reasons = dict.fromkeys(("gpus", "gpu_driver", "cuda_driver"), reason)
    return Gpus(None, (), None, None, reasons, is_final)


def _capture() -> Gpus:
    import pynvml

    pynvml.nvmlInit()
    reasons: dict[str, str] = {}

    def find(name: str, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except Exception as error:  # noqa: BLE001 - any failure is a reason
            reasons[name] = _reason(error)
            return None

    try:
        driver = find("gpu_driver", lambda: _str(pynvml.nvmlSystemGetDriverVersion()))
        cuda = find("cuda_driver", lambda: _cuda_version(pynvml))
        gpus = find("gpus", lambda: tuple(_describe(pynvml, gpu) for gpu in _devices(pynvml)))
        links = find("gpu_links", lambda: tuple(_links(pynvml))) or ()
        return Gpus(gpus, links, driver, cuda, reasons)
    finally:
        with suppress(Exception):
            pynvml.nvmlShutdown()


def _devices(nvml: Any) -> list[Any]:
    return [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]


def _describe(nvml: Any, device: Any) -> Gpu:
    memory = _maybe(nvml, "nvmlDeviceGetMemoryInfo", device)
    capability = _maybe(nvml, "nvmlDeviceGetCudaComputeCapability", device)
    uuid = _maybe(nvml, "nvmlDeviceGetUUID", device)
    ecc = _maybe(nvml, "nvmlDeviceGetEccMode", device)
    mig = _maybe(nvml, "nvmlDeviceGetMigMode", device)
    power_mw = _maybe(nvml, "nvmlDeviceGetEnforcedPowerLimit", device)
    generation = _maybe(nvml, "nvmlDeviceGetMaxPcieLinkGeneration", device)
    width = _maybe(nvml, "nvmlDeviceGetMaxPcieLinkWidth", device)
    return Gpu(
        name=_str(nvml.nvmlDeviceGetName(device)),
        memory_bytes=None if memory is None else int(memory.total),
        capability=None if capability is None else "{}.{}".format(*capability),
        uuid=None if uuid is None else _str(uuid),
        has_ecc=None if ecc is None else bool(ecc[0]),
        has_mig=None if mig is None else bool(mig[0]),
        power_limit_w=None if power_mw is None else power_mw / 1000,
        pcie=None if generation is None or width is None else f"gen{generation} x{width}",
    )


def _links(nvml: Any) -> Iterable[GpuLink]:
    devices = _devices(nvml)
    for a, first in enumerate(devices):
        for b in range(a + 1, len(devices)):
            second = devices[b]
            nvlinked = _maybe(nvml, "nvmlDeviceGetP2PStatus", first, second, 2)
            count = _count_nvlinks(nvml, first) if nvlinked == 0 else 0
            if count:
                yield GpuLink(a=a, b=b, kind="nvlink", count=count)
                continue
            level = _maybe(nvml, "nvmlDeviceGetTopologyCommonAncestor", first, second)
            if level in _LEVELS:
                yield GpuLink(a=a, b=b, kind=_LEVELS[level])


def _count_nvlinks(nvml: Any, device: Any) -> int:
    states = (_maybe(nvml, "nvmlDeviceGetNvLinkState", device, n) for n in range(_MOST_LINKS))
    return sum(state == 1 for state in states)


def _capture_states() -> tuple[GpuState, ...]:
    import pynvml

    pynvml.nvmlInit()
    try:
        return tuple(_state(pynvml, device) for device in _devices(pynvml))
    finally:
        with suppress(Exception):
            pynvml.nvmlShutdown()


def _state(nvml: Any, device: Any) -> GpuState:
    rates = _maybe(nvml, "nvmlDeviceGetUtilizationRates", device)
    memory = _maybe(nvml, "nvmlDeviceGetMemoryInfo", device)
    processes = _maybe(nvml, "nvmlDeviceGetComputeRunningProcesses", device)
    bits = _maybe(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", device) or 0
    return GpuState(
        percent=None if rates is None else float(rates.gpu),
        memory_bytes=None if memory is None else int(memory.used),
        processes=None if processes is None else len(processes),
        throttled=tuple(name for name, mask in _THROTTLES.items() if bits & mask),
    )


def _maybe(nvml: Any, question: str, *arguments: Any) -> Any:
    """Ask what this GPU, this driver or this version of its library may not know."""
    try:
        return getattr(nvml, question)(*arguments)
    except (nvml.NVMLError, getattr(nvml, "NVMLLibraryMismatchError", nvml.NVMLError)):
        return None
    except AttributeError:
        return None


def _cuda_version(nvml: Any) -> str:
    version = nvml.nvmlSystemGetCudaDriverVersion()
    return f"{version // 1000}.{version % 1000 // 10}"


def _str(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
