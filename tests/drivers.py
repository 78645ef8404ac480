"""A driver of GPUs that are not there: a library that answers as NVIDIA's does."""

from __future__ import annotations

import subprocess
from pathlib import Path

NVML = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned gpu, memory; } Rates;
static long number(const char *name) { char *n = getenv(name); return n ? atol(n) : 0; }
int nvmlInitWithFlags(unsigned flags) {
    if (number("FAKE_HANGS")) sleep(number("FAKE_HANGS"));
    return getenv("FAKE_BROKEN") ? 9 : 0;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return "Driver Not Loaded"; }
int nvmlSystemGetDriverVersion(char *to, unsigned size) { strcpy(to, "550.54.15"); return 0; }
int nvmlSystemGetCudaDriverVersion(int *to) { *to = 12040; return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *to) { *to = 12040; return 0; }
int nvmlDeviceGetCount_v2(unsigned *to) { *to = number("FAKE_GPUS"); return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **to) { *to = (void *)(long)(i + 1); return 0; }
int nvmlDeviceGetName(void *gpu, char *to, unsigned size) { strcpy(to, "Fake H100"); return 0; }
int nvmlDeviceGetMemoryInfo(void *gpu, Memory *to) {
    to->total = 80ULL << 30; to->used = 1ULL << 30; to->free = 79ULL << 30; return 0;
}
#ifdef CAPABILITY
int nvmlDeviceGetCudaComputeCapability(void *gpu, int *major, int *minor) {
    *major = 9; *minor = 0; return 0;
}
int nvmlDeviceGetUUID(void *gpu, char *to, unsigned size) {
    snprintf(to, size, "GPU-%ld", (long)gpu); return 0;
}
int nvmlDeviceGetEccMode(void *gpu, int *now, int *later) { *now = *later = 1; return 0; }
int nvmlDeviceGetMigMode(void *gpu, unsigned *now, unsigned *later) {
    *now = *later = 0; return 0;
}
int nvmlDeviceGetEnforcedPowerLimit(void *gpu, unsigned *to) { *to = 700000; return 0; }
int nvmlDeviceGetMaxPcieLinkGeneration(void *gpu, unsigned *to) { *to = 5; return 0; }
int nvmlDeviceGetMaxPcieLinkWidth(void *gpu, unsigned *to) { *to = 16; return 0; }
int nvmlDeviceGetP2PStatus(void *a, void *b, int kind, int *to) {
    *to = number("FAKE_NVLINKS") ? 0 : 3; return 0;
}
int nvmlDeviceGetNvLinkState(void *gpu, unsigned link, int *to) {
    *to = link < number("FAKE_NVLINKS"); return 0;
}
int nvmlDeviceGetTopologyCommonAncestor(void *a, void *b, int *to) { *to = 30; return 0; }
int nvmlDeviceGetUtilizationRates(void *gpu, Rates *to) {
    to->gpu = number("FAKE_UTIL"); to->memory = 0; return 0;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void *gpu, unsigned long long *to) {
    *to = number("FAKE_THROTTLE"); return 0;
}
#endif
"""


def build_nvml(directory: Path, *options: str) -> Path:
    """Compile a driver library; return its directory.

    `FAKE_GPUS` says how many GPUs there are, `FAKE_NVLINKS` how many links each has, `FAKE_UTIL`
    how busy they are, `FAKE_THROTTLE` the bits of what slows them down; with `FAKE_BROKEN` it
    fails, with `FAKE_HANGS` it needs so many seconds. Without `-DCAPABILITY` it is an older one.
    """
    source = directory / "nvml.c"
    source.write_text(NVML)
    library = directory / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", *options, source, "-o", library], check=True)
    return directory
