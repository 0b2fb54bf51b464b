"""Torch lives in the model host alone; worker and gateway do not map it when a model loads it."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from cli.stack.ports import free_port
from deployments.registry.records import Replica
from tasks.settings import Settings
from tests.conditions import wait_until
from tests.contract.host.running import write_package
from tests.processes import Process, ready_replicas, variables

pytestmark = pytest.mark.stack

KEY = "kp_torchtst.0123456789abcdef0123456789abcdef"
MODEL = """
import torch

class Model:
    def predict(self, numbers):
        return torch.tensor(numbers).sum().item()
"""


@pytest.fixture
def api(settings: Settings, tmp_path: Path) -> Iterator[tuple[Process, str]]:
    """A running API and its address."""
    port = free_port()
    env = variables(settings, KINGPOST_API_KEY=KEY)
    process = Process(["api", "--port", str(port)], env, tmp_path / "api.log").start()
    yield process, f"http://127.0.0.1:{port}"
    process.stop()


@pytest.fixture
def replica(settings: Settings, tmp_path: Path) -> Iterator[Replica]:
    """A ready replica of a model that uses torch."""
    package = write_package(tmp_path / "summer", MODEL)
    process = Process(["replica", str(package)], variables(settings), tmp_path / "replica.log")
    process.start()
    yield ready_replicas(settings, timeout=60)[0]
    process.stop()


def test_torch_is_mapped_by_the_model_host_and_by_nobody_else(
    api: tuple[Process, str], replica: Replica
) -> None:
    process, url = api
    with httpx.Client(base_url=url, headers={"Authorization": f"Api-Key {KEY}"}) as client:
        wait_until(lambda: _ready(client), 30, "the API does not answer")
        assert client.post("/production/predict", json=[1, 2, 3]).json() == 6
        body = {"model_input": [1, 2, 3]}
        request_id = client.post("/production/async_predict", json=body).json()["request_id"]
        status = client.get(f"/async_request/{request_id}", params={"wait": 20}).json()
        assert status["status"] == "SUCCEEDED", status

    assert replica.host_pid
    assert "/libtorch" in mapped(replica.host_pid)
    assert replica.host_pid in family(replica.pid)
    for pid in [*family(process.pid), *family(replica.pid) - {replica.host_pid}]:
        files = mapped(pid)
        assert "python" in files
        assert "/torch/" not in files
        assert "/numpy/" not in files


def _ready(client: httpx.Client) -> bool:
    with suppress(httpx.HTTPError):
        return client.get("/health/ready").status_code == 200
    return False


def mapped(pid: int) -> str:
    """The files that this process has in its memory: every compiled module is among them."""
    return Path(f"/proc/{pid}/maps").read_text()


def family(pid: int) -> set[int]:
    """The process and all that descend from it."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for thread in threads for child in thread.read_text().split()]
    return {pid}.union(*map(family, children))
