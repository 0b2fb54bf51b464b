"""What the overview and the page of the nodes show: machines with their GPUs, and the replicas that sit there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import Request

from api.console.sessions import Viewer
from api.gateway import gateway_of
from api.routes.control.overview import DeviceView, NodeReplicaView, NodeView
from api.routes.control.overview import nodes as nodes_route
from deployments.registry.records import Replica


@dataclass(frozen=True)
class Seated:
    """A GPU of a node, and the replicas that have a share of it."""

    node: NodeView
    device: DeviceView
    replicas: tuple[NodeReplicaView, ...]


@dataclass(frozen=True)
class Machines:
    """The nodes by host. `alone` are the replicas that no node has started; `models` has the id of a deployment's model."""

    nodes: Sequence[NodeView]
    alone: Sequence[Replica]
    models: Mapping[str, str]

    @property
    def devices(self) -> list[Seated]:
        """All GPUs of nodes that report."""
        return [seated for node in self.nodes if node.alive for seated in self.of(node)]

    def of(self, node: NodeView) -> list[Seated]:
        """The GPUs of a node."""
        return [
            Seated(
                node, device, tuple(each for each in node.replicas if each.id in device.replicas)
            )
            for device in node.devices
        ]

    @property
    def slots(self) -> int:
        """Places for replicas without a GPU, of nodes that report."""
        return sum(node.slots for node in self.nodes if node.alive)

    @property
    def free_slots(self) -> int:
        """Free ones of these places."""
        return sum(node.free_slots for node in self.nodes if node.alive)


async def machines(request: Request, viewer: Viewer, models: Mapping[str, str]) -> Machines | None:
    """What the nodes say; None for a viewer who may not see them. Raises StoreUnavailable."""
    if not viewer.may("deploy"):
        return None
    nodes = (await nodes_route(request, viewer.key)).nodes
    placed = {replica.id for node in nodes for replica in node.replicas}
    running = gateway_of(request).directory.everyone()
    alone = sorted(
        (each for each in running if each.id not in placed), key=lambda replica: replica.id
    )
    return Machines(nodes, alone, models)
