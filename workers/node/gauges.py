"""What the driver knows of a machine's GPUs: their names, memory in use, and how busy they were. It is shown to people only."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from tasks.outside_text import whole_number

LONGEST = 1.0  # s; a driver that is in trouble may answer late, or never


@dataclass(frozen=True)
class Gauge:
    """One GPU. None means that the driver does not say."""

    name: str = ""
    used: int | None = None  # bytes
    utilisation: float | None = None  # the share of the last moment in which it computed, 0 to 1


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
    name, used, utilisation = "", None, None
    with contextlib.suppress(nvml.NVMLError):
        index = whole_number(device)
        if index is None:
            handle = nvml.nvmlDeviceGetHandleByUUID(device)
        else:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
        name = str(nvml.nvmlDeviceGetName(handle))
        used = int(nvml.nvmlDeviceGetMemoryInfo(handle).used)
        utilisation = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100  # a MIG slice has none
    return Gauge(name, used, utilisation)
