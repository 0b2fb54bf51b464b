"""The nodes in the store: a silent one is still shown for a while, and an entry of another release hides no other."""

from dataclasses import replace

from deployments.registry.keys import keyed
from deployments.registry.nodes import (
    NO_NODE,
    SHOWN_MS,
    SILENT_MS,
    Heard,
    Node,
    NodeDevice,
    NodeReplica,
    forget_node,
    nodes,
    report_node,
    why_unplaced,
)
from deployments.registry.records import Deployment
from tasks.store.job_store import JobStore
from tests.conftest import Clock


def node(name: str) -> Node:
    devices = (NodeDevice("0", 80 << 30, 0.5),)
    replicas = (NodeReplica("d1-abc", "d1", "llm", ("0",), 0.5),)
    return Node(name, "host", 1, 0, 8, 7, devices, replicas)


def test_nodes_are_read_as_they_were_told(store: JobStore, clock: Clock) -> None:
    store.run(report_node(node("a")))
    clock.jump(20)
    store.run(report_node(node("b")))
    first, second = store.run(nodes())
    assert (first.node, second.node) == (node("a"), node("b"))
    assert 20_000 <= first.age < 30_000 and second.age < 10_000


def test_a_clock_is_compared_with_the_store_s(store: JobStore) -> None:
    seconds, micros = store.redis.time()
    ahead = int((seconds + 90) * 1000 + micros / 1000)
    store.run(report_node(replace(node("a"), clock=ahead)))
    store.run(report_node(node("b")))  # of an earlier release
    offsets = [heard.clock_offset for heard in store.run(nodes())]
    assert offsets[0] and 60 < offsets[0] <= 90.001 and offsets[1] is None


def test_one_that_stops_is_gone_at_once_and_a_silent_one_after_a_while(
    store: JobStore, clock: Clock
) -> None:
    for name in ("a", "b"):
        store.run(report_node(node(name)))
    store.run(forget_node("a"))
    assert [heard.node.id for heard in store.run(nodes())] == ["b"]
    clock.jump(SHOWN_MS / 1000 + 1)
    store.run(report_node(node("c")))
    assert [heard.node.id for heard in store.run(nodes())] == ["c"]


def test_an_entry_that_cannot_be_read_hides_no_other(store: JobStore) -> None:
    for name in ("a", "b"):
        store.run(report_node(node(name)))
    store.redis.set(keyed("node", "a"), '{"id": "a", "devices": [], "replicas": [], "new": 1}')
    assert [heard.node.id for heard in store.run(nodes())] == ["b"]


def test_why_no_node_has_taken_a_deployment() -> None:
    wanted = Deployment("d2", "m", "name", "model", 1, "", "h", 0)
    full = Heard(replace(node("a"), no_room={"d2": "it is full"}), 0, 1000)
    silent = replace(full, age=SILENT_MS + 1)
    assert why_unplaced([], wanted) == why_unplaced([silent], wanted) == NO_NODE
    assert why_unplaced([full, full], wanted) == "No node has room for it: it is full."
    assert why_unplaced([replace(full, node=node("b"))], wanted) == ""  # it has not looked yet
    starting = replace(wanted, id="d1")  # a replica that has not reported itself
    assert why_unplaced([full], starting) == ""
