"""From zero to the first answer: `python -m bench.extra.wake`, about a minute and a half.

The echo model sleeps (no replica); a sync call wakes it. Printed beside it: how long its host takes alone, from
the start of the process until it is ready, which is the load of a model that loads nothing.
"""

import statistics
import tempfile
import time
from pathlib import Path

from deployments.registry import verbs as registry
from tests.conditions import wait_until
from tests.contract.deployments.rig import Rig
from tests.contract.host.running import RunningHost

ROUNDS = 5
ECHO = Path(__file__).parents[2] / "models" / "echo"


def load_seconds() -> float:
    """One start of the model's host."""
    began = time.monotonic()
    with RunningHost(ECHO) as host:
        host.wait()
        return time.monotonic() - began


def wake_seconds(rig: Rig) -> float:
    """One call to the sleeping model."""
    (deployment,) = rig.store.run(registry.deployments())
    rig.autoscale(deployment, scale_down_delay=0, autoscaling_window=10)
    wait_until(lambda: not rig.replicas(deployment), 60, "it does not sleep")
    wait_until(lambda: rig.store.run(registry.deployment(deployment.id)).wanted == 0, 60)
    rig.autoscale(deployment)
    began = time.monotonic()
    assert rig.predict("echo") == 1
    return time.monotonic() - began


def main() -> None:
    """Measures and prints both."""
    loads = [load_seconds() for _ in range(ROUNDS)]
    with tempfile.TemporaryDirectory(prefix="kpbench") as folder, Rig(Path(folder)) as rig:
        rig.node()
        rig.kingpost("push", str(ECHO))
        rig.until_ready(rig.store.run(registry.deployments())[0])
        wakes = [wake_seconds(rig) for _ in range(ROUNDS)]
    for name, values in (
        ("host alone, start to ready", loads),
        ("call to answer from zero", wakes),
    ):
        print(
            f"{name:<30} {statistics.median(values):.2f} s  [{min(values):.2f}, {max(values):.2f}]"
        )


if __name__ == "__main__":
    main()
