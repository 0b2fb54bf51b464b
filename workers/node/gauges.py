"""What the driver knows of a machine's GPUs: names, memory in use, how busy and how warm they were, errors. It is shown to people only."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TypeVar

from tasks.outside_text import whole_number

T = TypeVar("T")
LONGEST = 1.0  # s; a driver that is in trouble may answer late, or never


@dataclass(frozen=True)
class Gauge:
    """One GPU. None means that the driver does not say."""

    name: str = ""
    used: int | None = None  # bytes
    utilisation: float | None = None  # the share of the last moment in which it computed, 0 to 1
    temperature: int | None = None  # degrees Celsius
    ecc_errors: int | None = None  # uncorrected ones since the driver was loaded


UNKNOWN = Gauge()


class Gauges:
    """Reads the GPUs of this machine. Without NVIDIA's driver nothing is known."""

    def __init__(self) -> None:
        self._nvml: ModuleType | None = None
        self._tried = False
        self._reading: asyncio.Task[dict[str, Gauge]] | None = None

    async def read(self, devices: Sequence[str]) -> dict[str, Gauge]:
        """The gauges of these devices, which are indexes or UUIDs. Empty if there is no driver, or it is silent for LONGEST.

        A silent driver is not asked again until it has answered.
        """
        if not devices:
            return {}
        if self._reading is None:
            self._reading = asyncio.create_task(asyncio.to_thread(self._read, tuple(devices)))
        done, _ = await asyncio.wait([self._reading], timeout=LONGEST)
        if not done:
            return {}
        reading, self._reading = self._reading, None
        return reading.result()

    def _read(self, devices: tuple[str, ...]) -> dict[str, Gauge]:
        nvml = self._driver()
        return {device: _gauge(nvml, device) for device in devices} if nvml else {}

    def _driver(self) -> ModuleType | None:
        if not self._tried:
            self._tried = True
            with contextlib.suppress(Exception):  # no driver, or none that works
                nvml = import_module("pynvml")
                nvml.nvmlInit()
                self._nvml = nvml
        return self._nvml


def _gauge(nvml: ModuleType, device: str) -> Gauge:
    try:
        index = whole_number(device)
        if index is None:
            handle = nvml.nvmlDeviceGetHandleByUUID(device)
        else:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError:
        return UNKNOWN

    def said(read: Callable[[], T]) -> T | None:
        """None for what the driver does not say: a MIG slice has no utilisation, and many GPUs have no ECC."""
        with contextlib.suppress(nvml.NVMLError):
            return read()
        return None

    return Gauge(
        said(lambda: str(nvml.nvmlDeviceGetName(handle))) or "",
        said(lambda: int(nvml.nvmlDeviceGetMemoryInfo(handle).used)),
        said(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100),
        said(lambda: _temperature(nvml, handle)),
        said(lambda: int(nvml.nvmlDeviceGetTotalEccErrors(
            handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
        ))),
    )  # fmt: skip


def _temperature(nvml: ModuleType, handle: object) -> int:
    """Drivers before 560 have the older call alone, and those of CUDA 14 the newer one. Raises NVMLError."""
    if hasattr(nvml, "nvmlDeviceGetTemperatureV"):
        with contextlib.suppress(nvml.NVMLError_FunctionNotFound):
            return int(nvml.nvmlDeviceGetTemperatureV(handle, nvml.NVML_TEMPERATURE_GPU))
    return int(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
