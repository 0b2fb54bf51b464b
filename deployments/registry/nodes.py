"""The nodes as they report themselves: what each machine has, and what runs on it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar, cast

from deployments.registry.records import Deployment, Replica
from deployments.registry.verbs import SCRIPTS
from tasks.job import Milliseconds
from tasks.process.loops import Guard
from tasks.store.records import Reply, items, number, text
from tasks.store.verbs import ScriptCall

SHOWN_MS = 600_000  # how long a node that is silent is still shown
SILENT_MS = 15_000  # a node reports every two seconds
MOST_REASONS = 200  # that a node tells
NO_NODE = "No node runs that could load it: `kingpost up` and `kingpost node` run one."
MOST = 1000  # nodes
T = TypeVar("T")
_reading = Guard("node's entry")


@dataclass(frozen=True)
class NodeDevice:
    """A GPU. `memory` is in bytes, 0 if it is not known. `free` is the share of it that no replica has, 0 to 1.

    The driver says `used`, in bytes, `utilisation`, 0 to 1, `temperature`, in degrees Celsius, and `ecc_errors`, the uncorrected ones
    since it was loaded. They are None if it does not.
    """

    index: str
    memory: int
    free: float
    name: str = ""
    used: int | None = None
    utilisation: float | None = None
    temperature: int | None = None
    ecc_errors: int | None = None


@dataclass(frozen=True)
class NodeReplica:
    """A replica that the node keeps alive, and the devices that it has a share of."""

    id: str
    deployment_id: str
    model_name: str
    devices: tuple[str, ...] = ()
    share: float = 0.0  # of each device
    leaving: bool = False


@dataclass(frozen=True)
class Node:
    """A node. Slots are places for replicas without a GPU. `no_room` says why a wanted replica has no place here, by deployment."""

    id: str
    host: str
    pid: int
    started: Milliseconds
    slots: int
    free_slots: int
    devices: tuple[NodeDevice, ...]
    replicas: tuple[NodeReplica, ...]
    version: str = ""  # of Kingpost; '' = one that did not say
    no_room: Mapping[str, str] = field(default_factory=dict[str, str])
    clock: Milliseconds = (
        0  # of this machine when it said so, in Unix time; 0 = one that did not say
    )


@dataclass(frozen=True)
class Heard:
    """What a node said last, and how long ago."""

    node: Node
    at: Milliseconds
    age: Milliseconds

    @property
    def clock_offset(self) -> float | None:
        """Seconds by which the node's clock is ahead of the store's; less time than a report takes to the store. None = unknown."""
        return (self.node.clock - self.at) / 1000 if self.node.clock else None


def report_node(node: Node) -> ScriptCall[str]:
    """Records what a node has and runs, for SHOWN_MS."""
    arguments = [node.id, json.dumps(asdict(node)), SHOWN_MS]
    return ScriptCall("report_node", arguments, text, SCRIPTS)


def forget_node(node_id: str) -> ScriptCall[str]:
    """Removes the entry of a node that stops."""
    return ScriptCall("forget_node", [node_id], text, SCRIPTS)


def nodes() -> ScriptCall[list[Heard]]:
    """All nodes that were heard of in the last ten minutes, by host. Entries of another release that cannot be read are skipped."""

    def read(reply: Reply) -> list[Heard]:
        now, rows = items(reply)
        found: list[Heard] = []
        for row in items(rows):
            at, entry = items(row)
            said = int(float(text(at)))
            with _reading.part():
                found.append(
                    Heard(_node(json.loads(text(entry))), said, max(number(now) - said, 0))
                )
        return sorted(found, key=lambda heard: (heard.node.host, heard.node.id))

    return ScriptCall("nodes", [MOST], read, SCRIPTS)


@dataclass(frozen=True)
class Vital:
    """How long ago the sweeper of a maintenance process and a node were last heard of. None = never."""

    swept: Milliseconds | None
    node: Milliseconds | None


def vital() -> ScriptCall[Vital]:
    """When maintenance and the nodes were last heard of. It costs the same however many nodes there are."""

    def read(reply: Reply) -> Vital:
        swept, node = (int(text(part)) for part in items(reply))
        return Vital(swept if swept >= 0 else None, node if node >= 0 else None)

    return ScriptCall("vital", [], read, SCRIPTS)


def needs_node(deployment: Deployment, replicas: Sequence[Replica]) -> bool:
    """Whether a node still has to take the deployment: it should run, and no replica of it is known."""
    ready_to_load = deployment.active and not (deployment.failure or deployment.gave_up)
    return ready_to_load and deployment.wanted > 0 and not replicas


def why_unplaced(heard: Sequence[Heard], deployment: Deployment) -> str:
    """Why no node has taken a deployment that should run; '' while one starts it, or is about to."""
    led = deployment.leader or deployment.id
    alive = [each.node for each in heard if each.age <= SILENT_MS]
    if not alive:
        return NO_NODE
    if any(replica.deployment_id == led for node in alive for replica in node.replicas):
        return ""
    reasons = sorted({node.no_room[led] for node in alive if led in node.no_room})
    return f"No node has room for it: {'; '.join(reasons[:3])}." if reasons else ""


def _node(said: dict[str, Any]) -> Node:
    devices = tuple(_known(NodeDevice, device) for device in said.pop("devices"))
    replicas = tuple(
        _known(NodeReplica, replica | {"devices": tuple(replica["devices"])})
        for replica in said.pop("replicas")
    )
    return _known(Node, said | {"devices": devices, "replicas": replicas})


def _known(kind: type[T], said: dict[str, Any]) -> T:
    """An object of these fields. Fields of a newer release are left out."""
    names = {field.name for field in fields(cast(Any, kind))}
    return kind(**{name: value for name, value in said.items() if name in names})
