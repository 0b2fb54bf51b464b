"""A library with the calls of NVIDIA's driver that are used, for machines without one: two GPUs that are whole, and slices of one."""

import subprocess
from pathlib import Path

# A slice has no utilisation (3 = not supported), and there is no third GPU (6 = not found).
SOURCE = r"""
#include <string.h>
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int gpu, memory; } Rates;
static int whole[2], slice;
int nvmlInitWithFlags(unsigned int flags) { return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) { *device = whole + index % 2; return index > 1 ? 6 : 0; }
int nvmlDeviceGetHandleByUUID(const char *id, void **device) { *device = &slice; return 0; }
int nvmlDeviceGetName(void *device, char *name, unsigned int length) { strncpy(name, "NVIDIA L4", length); return 0; }
int nvmlDeviceGetMemoryInfo(void *device, Memory *memory) { memory->used = (device == whole ? 17ULL : 5ULL) << 30; return 0; }
typedef struct { unsigned int version; int sensor, celsius; } Temperature;
int nvmlDeviceGetTemperatureV(void *device, Temperature *said) { said->celsius = 61; return device == &slice ? 3 : 0; }
int nvmlDeviceGetTotalEccErrors(void *device, int type, int counter, unsigned long long *count)
{ *count = type == 1 && counter == 0 ? 2 : 99; return device == whole ? 0 : 3; }
int nvmlDeviceGetUtilizationRates(void *device, Rates *rates) { rates->gpu = device == whole ? 86 : 0; return device == &slice ? 3 : 0; }
"""


def build(folder: Path) -> Path:
    """Builds it in that folder, which then belongs into LD_LIBRARY_PATH."""
    source = folder / "nvml.c"
    source.write_text(SOURCE)
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
    return folder
