"""One live stack for all API tests: Valkey, API, maintenance, and replicas of three models."""

import contextlib
import json
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.stack.ports import free_port
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tests.api_keys import ApiKeys
from tests.conditions import wait_until
from tests.processes import Process, ready_replicas, variables
from tests.valkey import Valkey

ROOT = Path(__file__).parents[3]
MODELS = (
    ROOT / "models" / "echo",
    *(Path(__file__).parent / "models" / name for name in ("talker", "socket")),
)
KEY = "kp_apitests.0123456789abcdef0123456789abcdef"


@dataclass
class Live:
    """The running stack as a client and an operator see it."""

    settings: Settings
    url: str
    processes: dict[str, Process]
    folder: Path

    def client(self, key: str | None = KEY, **more: Any) -> httpx.Client:
        headers = {"Authorization": f"Api-Key {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, **more)

    def deployment(self, name: str) -> Deployment:
        return next(
            deployment
            for deployment in JobStore(self.settings).run(registry.deployments())
            if deployment.model_name == name
        )

    def host_pid(self, name: str) -> int:
        replicas = JobStore(self.settings).run(registry.replicas())
        return next(
            replica.host_pid
            for replica in replicas
            if replica.model_name == name and replica.host_pid
        )

    def new_key(self, **limits: Any) -> str:
        return ApiKeys(self.settings).create(**limits)


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    (folder / "valkey").mkdir()
    valkey = Valkey(folder / "valkey", fsync="everysec").start()
    settings = Settings(redis_url=valkey.url, state_dir=folder)
    env = variables(settings, KINGPOST_API_KEY=KEY, KINGPOST_SYNC_PARK_SECONDS="20")
    env["KINGPOST_TRUSTED_PROXIES"] = ""  # on loopback a stranger would be one
    env["KINGPOST_ACCESS_LOG"] = "all"
    port = free_port()
    commands = {"api": ["api", "--port", str(port)], "maintenance": ["maintenance"]}
    commands |= {path.name: ["replica", str(path)] for path in MODELS}
    processes = {
        name: Process(arguments, env, folder / f"{name}.log").start()
        for name, arguments in commands.items()
    }
    live = Live(settings, f"http://127.0.0.1:{port}", processes, folder)
    try:
        ready_replicas(settings, len(MODELS))
        wait_until(lambda: _answers(live.url), 30, "the API does not answer")
        yield live
    finally:
        for process in processes.values():
            process.stop()
        valkey.stop()


@contextlib.contextmanager
def custom_server(
    live: Live, name: str, source: str, predict: str, liveness: str = "/ready"
) -> Generator[None]:
    """A replica of a custom server with that `server.py`, which is told its port, and is ready at `/ready`."""
    folder, port = live.folder / "custom" / name, free_port()
    folder.mkdir(parents=True)
    (folder / "server.py").write_text(source)
    config = {
        "model_name": name,
        "docker_server": {
            "start_command": f"{sys.executable} server.py {port}",
            "server_port": port,
            "predict_endpoint": predict,
            "readiness_endpoint": "/ready",
            "liveness_endpoint": liveness,
        },
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    with own_replica(live, folder):
        yield


@contextlib.contextmanager
def own_replica(live: Live, package: Path, seconds: float = 60) -> Generator[None]:
    """A replica of a package beside those of `live`, which is ready within so many seconds."""
    before = len(ready_replicas(live.settings, 0))
    log = live.folder / f"{package.name}.log"
    process = Process(["replica", str(package)], variables(live.settings), log).start()
    try:
        ready_replicas(live.settings, before + 1, seconds)
        yield
    finally:
        process.stop()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url + "/health/ready", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def http(live: Live) -> Iterator[httpx.Client]:
    """A client of the API with a full key."""
    with live.client() as client:
        yield client


@pytest.fixture
def echo(live: Live) -> Iterator[httpx.Client]:
    """A client whose paths begin at the echo model."""
    with live.client() as client:
        client.base_url = httpx.URL(live.url + "/models/echo")
        yield client


def submit(
    client: httpx.Client, given: object, path: str = "/production/async_predict", **more: object
) -> str:
    """Queues a request and answers its id."""
    answer = client.post(path, content=json.dumps({"model_input": given, **more}))
    assert answer.status_code == 201, answer.text
    return answer.json()["request_id"]
