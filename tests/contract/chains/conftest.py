"""`kingpost up` on three chains: one with dependencies, one that streams, one on a websocket."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.stack.ports import free_port
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment, Replica
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tests.collector import Collector
from tests.conditions import wait_until

MODELS = Path(__file__).parent / "models"
APART = "OPTIONS = chains.ChainletOptions()"
TOGETHER = 'OPTIONS = chains.ChainletOptions(metadata={"kingpost": {"process": "small"}})'


@dataclass
class Stack:
    """The running stack as a client and an operator see it."""

    url: str
    key: str
    state: Path
    said: str
    settings: Settings
    together: Collection[str]  # the folders of the chains that are one process each
    collector: Collector  # of its traces

    def client(self, **more: Any) -> httpx.Client:
        headers = {"Authorization": f"Api-Key {self.key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, **more)

    def deployment(self, name: str) -> Deployment:
        return next(
            deployment
            for deployment in JobStore(self.settings).run(registry.deployments())
            if deployment.model_name == name
        )

    def replicas(self, chain: str) -> list[Replica]:
        """Of the chain and its chainlets."""
        names = (chain, f"{chain}.")
        found = JobStore(self.settings).run(registry.replicas())
        return [
            replica
            for replica in found
            if replica.model_name == names[0] or replica.model_name.startswith(names[1])
        ]

    def replica_pids(self) -> dict[str, tuple[int, int]]:
        """Name -> the processes of its worker and of its host."""
        found = JobStore(self.settings).run(registry.replicas())
        return {replica.model_name: (replica.pid, replica.host_pid or 0) for replica in found}


def command(models: Path, state: Path, port: int) -> list[str]:
    up = [sys.executable, "-m", "cli.main", "up", "--models", str(models), "--state", str(state)]
    address = ["--host", "::1", "--port", str(port)]  # chainlets call each other there
    return [*up, *address, "--no-flower"]


def own_environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("KINGPOST_")}


def copy_models(to: Path, together: Collection[str], only: str = "*") -> None:
    """The chains; those of `together` with the setting that makes one process of each."""
    for source in MODELS.glob(f"{only}/*.py"):
        target = to / source.parent.name / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text()
        target.write_text(text.replace(APART, TOGETHER) if source.parent.name in together else text)


# Which chains are one process each: on the two stacks, every chain is tested in both ways.
@pytest.fixture(
    scope="package",
    params=["limits mirror", pytest.param("orders letters", marks=pytest.mark.slow)],
)
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    folder, port = tmp_path_factory.mktemp("chains"), free_port()
    models, state, log = folder / "models", folder / "state", folder / "up.log"
    together = request.param.split()
    copy_models(models, together)
    env = own_environment() | {"KINGPOST_WEBHOOK_ALLOW_HTTP": "1"}
    env |= {"KINGPOST_WEBHOOK_ALLOW_PRIVATE": "1"}
    collector = Collector()
    collecting = collector.start()
    env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    env |= {"OTEL_TRACES_SAMPLER": "parentbased_always_off"}
    with log.open("wb") as out:
        process = subprocess.Popen(command(models, state, port), stdout=out, stderr=out, env=env)

    def ready() -> bool:
        assert process.poll() is None, log.read_text()
        return "Kingpost is ready" in log.read_text()

    try:
        wait_until(ready, 300, "kingpost up is not ready with chains")
        up = json.loads((state / "up.json").read_text())
        key = (state / "api_key").read_text().strip()
        settings = Settings(redis_url=up["redis_url"], state_dir=state)
        yield Stack(up["api"], key, state, log.read_text(), settings, together, collector)
    finally:
        collecting.shutdown()
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    with stack.client() as client:
        yield client
