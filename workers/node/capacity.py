"""The room of a machine for replicas: its GPUs, whole or by memory, and places for models without a GPU."""

import subprocess
from dataclasses import dataclass, field

from deployments.packages.package import memory_bytes
from deployments.registry.records import Deployment
from tasks.errors import SettingsError
from tasks.settings import Settings

ASK = ["nvidia-smi", "--query-gpu=index,memory.total", "--format=csv,noheader,nounits"]
EPSILON = 1e-6  # of a GPU; sums of shares have rounding errors


@dataclass
class Device:
    """One GPU."""

    index: str  # as CUDA_VISIBLE_DEVICES names it: a number or a UUID
    memory: int  # bytes; 0 = unknown
    free: float = 1.0  # the share of it that no replica has


@dataclass(frozen=True)
class Place:
    """The place of a replica: on the CPU, or on GPUs."""

    devices: tuple[str, ...] = ()
    share: float = 0.0  # of each of the devices

    @property
    def variables(self) -> dict[str, str]:
        """The variables with which the replica sees only its own devices."""
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.devices)} if self.devices else {}


@dataclass
class Capacity:
    """Hands out places and takes them back."""

    slots: int  # free places on the CPU
    devices: list[Device] = field(default_factory=list[Device])

    @classmethod
    def of(cls, settings: Settings) -> "Capacity":
        """The capacity that the settings say. With KINGPOST_NODE_GPUS=auto, the driver is asked. Raises SettingsError."""
        gpus = settings.node_gpus
        devices = _found() if gpus == "auto" else _parsed(gpus)
        return cls(settings.node_slots, devices)

    def place(self, deployment: Deployment) -> Place | None:
        """Takes a place for one replica, None if there is none. On a machine without GPUs, all models run on the CPU."""
        if not deployment.gpus or not self.devices:
            if self.slots == 0:
                return None
            self.slots -= 1
            return Place()
        return self._on_devices(deployment)

    def lacks(self, deployment: Deployment) -> str:
        """Why there is no place for a replica now, as the end of a sentence."""
        if not deployment.gpus or not self.devices:
            return "every slot for models on the CPU is taken (KINGPOST_NODE_SLOTS)"
        if deployment.gpus > len(self.devices):
            return f"it needs {deployment.gpus} GPUs, and the machine has {len(self.devices)}"
        share = self._share(deployment)
        free = sum(device.free >= share - EPSILON for device in self.devices)
        gpus = "a GPU" if deployment.gpus == 1 else f"{deployment.gpus} GPUs"
        room = (
            f"{deployment.gpu_memory / 2**30:.3g} GiB of it" if share < 1 else "nothing else on it"
        )
        return f"it needs {gpus} with {room}, and that is free on {free} of {len(self.devices)}"

    def _on_devices(self, deployment: Deployment) -> Place | None:
        share = self._share(deployment)
        # The fullest devices that still have room, so that whole devices stay free for models that need them.
        fitting = sorted(
            (device for device in self.devices if device.free >= share - EPSILON),
            key=lambda device: device.free,
        )[: deployment.gpus]
        if len(fitting) < deployment.gpus:
            return None
        for device in fitting:
            device.free -= share
        return Place(tuple(device.index for device in fitting), share)

    def _share(self, deployment: Deployment) -> float:
        """The share of each device that a replica takes: enough memory on the smallest one, or all of it."""
        smallest = min(device.memory for device in self.devices)
        if not deployment.gpu_memory or not smallest:
            return 1.0
        return min(deployment.gpu_memory / smallest, 1.0)

    def give_back(self, place: Place) -> None:
        """Frees the place of a replica that has ended."""
        if not place.devices:
            self.slots += 1
        for device in self.devices:
            if device.index in place.devices:
                device.free += place.share

    def could_use(self, deployment: Deployment, place: Place) -> bool:
        """Whether a replica of the deployment runs on the same kind of place: GPUs or the CPU."""
        return bool(place.devices) == bool(deployment.gpus and self.devices)


def _found() -> list[Device]:
    try:
        table = subprocess.run(ASK, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []  # no driver: no GPU
    rows = [line.split(",") for line in table.strip().splitlines()]
    return [Device(index.strip(), int(mebibytes) << 20) for index, mebibytes in rows]


def _parsed(gpus: str) -> list[Device]:
    devices: list[Device] = []
    for part in filter(None, gpus.split(",")):
        index, _, memory = part.strip().partition("=")
        try:
            devices.append(Device(index, memory_bytes(memory, "memory") if memory else 0))
        except Exception as error:
            message = f"KINGPOST_NODE_GPUS is like 0=80Gi,1=80Gi: {error}"
            raise SettingsError(message) from error
    return devices
