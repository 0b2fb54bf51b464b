"""The places of a machine for replicas: its GPUs, whole or by memory, and places for models without a GPU."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

from deployments.packages.package import memory_bytes
from deployments.registry.records import Deployment
from tasks.errors import SettingsError
from tasks.outside_text import whole_number
from tasks.process.logs import get_logger
from tasks.process.variables import inherited_variables
from tasks.settings import Settings

log = get_logger("node")

VISIBLE = "CUDA_VISIBLE_DEVICES"
ASK = ["nvidia-smi", "--query-gpu=index,memory.total,uuid", "--format=csv,noheader,nounits"]
ASK_SECONDS = 20  # a driver that wakes its GPUs up takes some seconds
EPSILON = 1e-6  # of a GPU; sums of shares have rounding errors


@dataclass
class Device:
    """One GPU."""

    index: str  # as CUDA_VISIBLE_DEVICES names it: a number or a UUID
    memory: int  # bytes; 0 = unknown
    free: float = 1.0  # the share of it that no replica has
    uuid: str = ""  # as the driver says it


@dataclass(frozen=True)
class Place:
    """The place of a replica: on the CPU, or on GPUs."""

    devices: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()  # of each of the devices, in their order

    @property
    def share(self) -> float:
        """The largest share that it has of a device, 0 on the CPU."""
        return max(self.shares, default=0.0)

    @property
    def variables(self) -> dict[str, str]:
        """The variables with which the replica sees only its own devices. nvidia-smi numbers GPUs by their bus, CUDA by speed if it is not told."""
        if not self.devices:
            return {}
        return {
            VISIBLE: ",".join(self.devices),
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        }


@dataclass
class Capacity:
    """Hands out places and takes them back."""

    slots: int  # free places on the CPU, one for each replica without a GPU
    devices: list[Device] = field(default_factory=list[Device])

    @classmethod
    def of(cls, settings: Settings) -> "Capacity":
        """The capacity that the settings say. With KINGPOST_NODE_GPUS=auto, the driver is asked. Raises SettingsError.

        A CUDA_VISIBLE_DEVICES that the node was given bounds what the driver says: a scheduler has lent no more.
        """
        gpus, visible = settings.node_gpus, inherited_variables().get(VISIBLE)
        if gpus != "auto":
            devices = _parsed(gpus)
        else:
            devices = _found() if visible is None else list(_bounded(visible))
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
        able = self._able(deployment)
        if deployment.gpus > len(able):
            size = f" with {_gib(deployment.gpu_memory)}" if deployment.gpu_memory else ""
            return f"it needs {_gpus(deployment.gpus)}{size}, and the machine has {len(able)}"
        free = len(self._free(deployment))
        shared = any(_share(deployment, device) < 1 for device in able)
        room = f"{_gib(deployment.gpu_memory)} of it" if shared else "nothing else on it"
        gpus = "a GPU" if deployment.gpus == 1 else _gpus(deployment.gpus)
        return f"it needs {gpus} with {room}, and that is free on {free} of {len(self.devices)}"

    def _able(self, deployment: Deployment) -> list[Device]:
        """The devices that are large enough; one of unknown size may be."""
        wanted = deployment.gpu_memory
        return [device for device in self.devices if not device.memory or wanted <= device.memory]

    def _free(self, deployment: Deployment) -> list[Device]:
        """The devices where a replica has room now."""
        return [
            device
            for device in self._able(deployment)
            if device.free >= _share(deployment, device) - EPSILON
        ]

    def _on_devices(self, deployment: Deployment) -> Place | None:
        # The fullest devices that still have room, so that whole devices stay free for models that need them.
        fitting = sorted(self._free(deployment), key=lambda device: device.free)[: deployment.gpus]
        if len(fitting) < deployment.gpus:
            return None
        shares = tuple(_share(deployment, device) for device in fitting)
        for device, share in zip(fitting, shares, strict=True):
            device.free -= share
        return Place(tuple(device.index for device in fitting), shares)

    def give_back(self, place: Place) -> None:
        """Frees the place of a replica that has ended."""
        if not place.devices:
            self.slots += 1
        shares = dict(zip(place.devices, place.shares, strict=True))
        for device in self.devices:
            device.free += shares.get(device.index, 0)

    def could_use(self, deployment: Deployment, place: Place) -> bool:
        """Whether a replica of the deployment may run here once such a place is free: on the CPU, or on GPUs that are large enough."""
        if not deployment.gpus or not self.devices:
            return not place.devices
        able = {device.index for device in self._able(deployment)}
        return len(able) >= deployment.gpus and not able.isdisjoint(place.devices)


def _share(deployment: Deployment, device: Device) -> float:
    """The share of a device that a replica takes: the memory that it asks for, or all of it."""
    if not deployment.gpu_memory or not device.memory:
        return 1.0
    return min(deployment.gpu_memory / device.memory, 1.0)


def _gpus(number: int) -> str:
    return "1 GPU" if number == 1 else f"{number} GPUs"


def _gib(memory: int) -> str:
    return f"{memory / 2**30:.3g} GiB"


def _found() -> list[Device]:
    """The GPUs that the driver tells of. Raises SettingsError if it does not answer in time."""
    try:
        table = subprocess.run(
            ASK, capture_output=True, text=True, timeout=ASK_SECONDS, check=True
        ).stdout
    except subprocess.TimeoutExpired as error:
        message = f"nvidia-smi did not answer within {ASK_SECONDS} s"
        raise SettingsError(
            f"{message}; set KINGPOST_NODE_GPUS to what the machine has, such as 0=80Gi."
        ) from error
    except subprocess.CalledProcessError as error:  # its driver is not loaded, or it finds no GPU
        log.warning("gpus.not_found", error=f"{error.stdout}{error.stderr}".strip()[:500])
        return []
    except OSError:
        return []  # no driver: no GPU
    rows = [line.split(",") for line in table.strip().splitlines()]
    # The memory of some devices is "[N/A]".
    return [
        Device(index.strip(), (whole_number(mebibytes.strip()) or 0) << 20, uuid=uuid.strip())
        for index, mebibytes, uuid in rows
    ]


def _bounded(visible: str) -> Iterator[Device]:
    """The devices of the driver that CUDA_VISIBLE_DEVICES names, in its order. As in CUDA, an unknown name ends the list.

    Numbers are those of nvidia-smi, by the bus. A part of a GPU (MIG-...) counts as one of unknown size.
    """
    known = _found()
    for name in filter(None, (part.strip() for part in visible.split(","))):
        if name.startswith("MIG-"):
            yield Device(name, 0)
            continue
        found = [
            each
            for each in known
            if name == each.index or (name.startswith("GPU-") and each.uuid.startswith(name))
        ]
        if len(found) != 1:
            return
        known.remove(found[0])
        yield found[0]


def _parsed(gpus: str) -> list[Device]:
    devices: list[Device] = []
    for part in filter(None, gpus.split(",")):
        index, _, memory = part.strip().partition("=")
        try:
            if not index or index in (device.index for device in devices):
                raise ValueError("each GPU has an index or a UUID of its own")
            devices.append(Device(index, memory_bytes(memory, "memory") if memory else 0))
        except Exception as error:
            message = f"KINGPOST_NODE_GPUS is like 0=80Gi,1=80Gi: {error}"
            raise SettingsError(message) from error
    return devices
