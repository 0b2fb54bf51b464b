"""Models whose loads hang, beside one that works: it is back after a while, whatever ended it."""

import os
import signal
from collections.abc import Iterator

import pytest

from deployments.registry import verbs as registry
from deployments.registry.nodes import nodes
from deployments.registry.records import Deployment
from tests.conditions import wait_until
from tests.contract.deployments.rig import Rig
from tests.processes import Process

pytestmark = [pytest.mark.stack, pytest.mark.slow]

HANG = """
import time

class Model:
    def load(self):
        time.sleep(100000)

    def predict(self, given):
        return given
"""
TURN = 4.0  # s, so short that a hang is noticed soon


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    env = {
        "KINGPOST_NODE_SLOTS": "3",
        "KINGPOST_NODE_LOADS": "2",
        "KINGPOST_LOAD_TURN_SECONDS": str(TURN),
    }
    with Rig(tmp_path_factory.mktemp("hanging"), env) as rig:
        yield rig


@pytest.fixture(scope="module")
def healthy(rig: Rig) -> Deployment:
    """A model that has served, and two whose loads hang."""
    rig.node()
    healthy = rig.push("healthy", "one")
    rig.until_ready(healthy)
    wait_until(lambda: rig.store.run(registry.deployment(healthy.id)).served, 20)
    rig.kingpost("push", *(str(rig.package(name, "one", HANG)) for name in ("hang", "hang2")))
    wait_until(lambda: len(_hanging(rig)) == 2, 60)
    return healthy


def _hanging(rig: Rig) -> list[int]:
    known = rig.store.run(registry.replicas())
    return [each.pid for each in known if each.state == "loading" and each.host_pid]


def test_a_sleeping_model_wakes_although_two_loads_hang(rig: Rig, healthy: Deployment) -> None:
    rig.autoscale(healthy, min_replica=0, scale_down_delay=1, autoscaling_window=10)
    wait_until(lambda: not rig.replicas_of(healthy.id), 60, "it does not go to sleep")
    assert rig.predict("healthy") == "one"
    assert len(_hanging(rig)) == 2
    rig.autoscale(healthy, min_replica=1)


def test_after_a_kill_of_the_node_the_model_is_back_and_the_dead_node_forgotten(
    rig: Rig, healthy: Deployment
) -> None:
    node = rig.parts["node"]
    rig.until_ready(healthy)
    (before,), (dead,) = rig.store.run(nodes()), rig.replicas(healthy)
    os.kill(node.pid, signal.SIGKILL)
    _end(node)
    rig.node()
    wait_until(lambda: {each.id for each in rig.replicas(healthy)} - {dead.id}, 60, "not back")
    assert rig.predict("healthy") == "one"
    wait_until(lambda: len(_hanging(rig)) == 2, 30)
    (after,) = rig.store.run(nodes())
    assert after.node.id != before.node.id


def _end(node: Process) -> None:
    assert node.popen
    node.popen.wait()
