"""`kingpost nodes`: the machines that run replicas."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cli.client.choosing import client
from cli.options import AsJson
from cli.tables import show

if TYPE_CHECKING:
    from kingpost.operating import Node

HEAD = ("node", "state", "replicas", "slots", "gpus", "heard")


def nodes(as_json: AsJson = False) -> None:
    """Shows the machines that run replicas: their devices, what sits there, and when they last reported."""
    with client() as server:
        found = server.nodes()
    if as_json:
        print(json.dumps([node.raw for node in found]))
    elif found:
        show(HEAD, [row(node) for node in found], [notes(node) for node in found])
    else:
        print("No node reports. `kingpost up` runs one, and `kingpost node` another.")


def row(node: "Node") -> tuple[str, ...]:
    """The node in a table."""
    state = "up" if node.alive else "silent"
    slots = f"{node.slots - node.free_slots}/{node.slots}"
    return node.id, state, str(len(node.replicas)), slots, str(len(node.devices)), age(node)


def age(node: "Node") -> str:
    """How long ago it reported."""
    return f"{node.heartbeat_age_seconds:.0f} s ago"


def notes(node: "Node") -> list[str]:
    """A line for each device and each replica, which stand below the node."""
    names = {each["id"]: each["model"] for each in node.replicas}
    return [*(_device(each, names) for each in node.devices), *map(_replica, node.replicas)]


def _device(device: Mapping[str, Any], names: Mapping[str, str]) -> str:
    size = f"{device['memory_bytes'] / 2**30:.0f} GiB" if device["memory_bytes"] else "?"
    sits = ", ".join(names.get(each, each) for each in device["replicas"]) or "nothing"
    return f"GPU {device['index']}: {size}, {1 - device['free_share']:.0%} taken by {sits}"


def _replica(replica: Mapping[str, Any]) -> str:
    state = "leaving" if replica["leaving"] else replica["state"] or "starting"
    busy = f", {replica['busy']} of {replica['slots']} slots busy" if replica["slots"] else ""
    return f"{replica['model']} {replica['id']}: {state}{busy}"


def in_short(found: "Sequence[Node]") -> list[tuple[str, ...]]:
    """The nodes as rows."""
    return [row(node) for node in found]
