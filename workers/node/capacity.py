"""The room of a machine: its GPUs, whole or by memory, and slots for models without a GPU."""

import subprocess
from dataclasses import dataclass, field

from deployments.packages.package import memory_bytes
from deployments.registry.records import Deployment
from tasks.errors import SettingsError
from tasks.settings import Settings

ASK = ["nvidia-smi", "--query-gpu=index,memory.total", "--format=csv,noheader,nounits"]
EPSILON = 1e-6


@dataclass
class Device:
    """One GPU. `free` is the free share of it."""

    index: str
    memory: int  # bytes
    free: float = 1.0


@dataclass(frozen=True)
class Place:
    """The place of a replica: a CPU slot, or shares of GPUs."""

    devices: tuple[str, ...] = ()
    share: float = 0.0

    @property
    def variables(self) -> dict[str, str]:
        """The variables with which the replica sees only its own devices."""
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.devices)} if self.devices else {}


@dataclass
class Capacity:
    """Hands out places and takes them back."""

    slots: int
    devices: list[Device] = field(default_factory=list[Device])

    @classmethod
    def of(cls, settings: Settings) -> "Capacity":
        """The capacity from the settings, else from the machine. Raises SettingsError."""
        said = settings.node_gpus
        devices = _found() if said == "auto" else _parsed(said)
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
        # The fullest device that still has room: whole ones stay free for those that need one.
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

    def alike(self, place: Place, deployment: Deployment) -> bool:
        """Whether giving up that place could help that deployment."""
        return bool(place.devices) == bool(deployment.gpus and self.devices)


def _found() -> list[Device]:
    try:
        said = subprocess.run(ASK, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []  # no driver: no GPU
    rows = [line.split(",") for line in said.strip().splitlines()]
    return [Device(index.strip(), int(mebibytes) << 20) for index, mebibytes in rows]


def _parsed(said: str) -> list[Device]:
    devices: list[Device] = []
    for part in filter(None, said.split(",")):
        index, _, memory = part.strip().partition("=")
        try:
            devices.append(Device(index, memory_bytes(memory, "memory") if memory else 0))
        except Exception as error:
            message = f"KINGPOST_NODE_GPUS is like 0=80Gi,1=80Gi: {error}"
            raise SettingsError(message) from error
    return devices
