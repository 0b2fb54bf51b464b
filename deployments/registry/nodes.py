"""The nodes as they report themselves: what each machine has, and what runs on it."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from deployments.registry.verbs import SCRIPTS
from tasks.job import Milliseconds
from tasks.process.loops import Guard
from tasks.store.records import Reply, items, number, text
from tasks.store.verbs import ScriptCall

SHOWN_MS = 600_000  # how long a node that is silent is still shown
MOST = 1000  # nodes
_reading = Guard("node's entry")


@dataclass(frozen=True)
class NodeDevice:
    """A GPU. `memory` is in bytes, 0 if nobody knows; `free` is the share of it that no replica has."""

    index: str
    memory: int
    free: float


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
    """A node. Slots are places for replicas without a GPU."""

    id: str
    host: str
    pid: int
    started: Milliseconds
    slots: int
    free_slots: int
    devices: tuple[NodeDevice, ...]
    replicas: tuple[NodeReplica, ...]


@dataclass(frozen=True)
class Heard:
    """What a node said last, and how long ago."""

    node: Node
    at: Milliseconds
    age: Milliseconds


def report_node(node: Node) -> ScriptCall[str]:
    """A node says how it is."""
    arguments = [node.id, json.dumps(asdict(node)), SHOWN_MS]
    return ScriptCall("report_node", arguments, text, SCRIPTS)


def forget_node(node_id: str) -> ScriptCall[str]:
    """A node stops in good order."""
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


def _node(said: dict[str, Any]) -> Node:
    devices = tuple(NodeDevice(**device) for device in said.pop("devices"))
    replicas = tuple(
        NodeReplica(devices=tuple(replica.pop("devices")), **replica)
        for replica in said.pop("replicas")
    )
    return Node(**said, devices=devices, replicas=replicas)
