"""Two machines, one store: a node that dies, and one that is cut off."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conditions import wait_until
from tests.contract.deployments.rig import Rig
from tests.processes import descendants

pytestmark = pytest.mark.stack


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path) as rig:
        yield rig


@pytest.mark.chaos
def test_the_jobs_of_a_dead_node_move_to_the_other(rig: Rig) -> None:
    deployment = rig.push("pair", "one")
    rig.autoscale(deployment, min_replica=2, max_replica=2)
    for name in ("one", "two"):
        rig.node(name, KINGPOST_NODE_SLOTS="1")
    rig.until_ready(deployment, 2)
    ids = [rig.submit("pair", {"delay": 3}) for _ in range(8)]
    wait_until(
        lambda: all(rig.status(request_id)["status"] == "IN_PROGRESS" for request_id in ids), 20
    )
    _kill_all(rig, "one")
    assert [rig.result(request_id) for request_id in ids] == ["one"] * 8
    attempts = sorted(rig.status(request_id)["attempt"] for request_id in ids)
    assert attempts == [1] * 4 + [2] * 4


def _kill_all(rig: Rig, name: str) -> None:
    """The machine is gone: the node, its replicas and their hosts, all at once."""
    import os
    import signal

    node = rig.parts[name]
    children = descendants(node.pid)
    for pid in (node.pid, *children):
        os.kill(pid, signal.SIGKILL)
    assert node.popen
    node.popen.wait()
