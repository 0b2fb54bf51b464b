"""Flower, as an operator uses it: it lists requests, not wake-ups, and its revoke button cancels them."""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.stack.ports import free_port
from deployments.registry import verbs as registry
from tasks.job import RequestId, Submission
from tasks.settings import Settings
from tasks.state import Status
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.processes import Process, ready_replicas, variables

pytestmark = pytest.mark.stack

ECHO = Path(__file__).parents[2] / "models" / "echo"
Call = Callable[..., str]


@pytest.fixture
def flower(settings: Settings, tmp_path: Path) -> Iterator[Call]:
    """Calls a page or the API of a running Flower beside one replica of the echo model."""
    port, env = free_port(), variables(settings)
    settings.state_dir.mkdir(parents=True)
    commands = (["replica", str(ECHO)], ["flower", "--port", str(port)])
    processes = [
        Process(command, env, tmp_path / f"{command[0]}.log").start() for command in commands
    ]

    def call(path: str, body: bytes | None = None) -> str:
        password = (settings.state_dir / "flower_password").read_text().strip()
        credentials = base64.b64encode(f"kingpost:{password}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def sees_the_worker() -> bool:
        try:
            # Without refresh it says whom Flower found when it started, and a worker may come later.
            return ready_replicas(settings)[0].id in call("/api/workers?refresh=1")
        except (OSError, urllib.error.URLError):
            return False

    try:
        wait_until(sees_the_worker, 30, "Flower does not see the worker")
        yield call
    finally:
        for process in processes:
            process.stop()


def submit(settings: Settings, store: JobStore, given: object) -> RequestId:
    deployment = JobStore(settings).run(registry.deployments())[0]
    request_id = RequestId(f"{abs(hash(str(given))):032x}"[:32])
    body = json.dumps(given).encode()
    job = Submission(request_id, deployment.id, deployment.model_id, body)
    return store.run(verbs.submit([job], "alice", 10))[0]


def test_flower_shows_requests_and_cancels_them(
    flower: Call, settings: Settings, store: JobStore
) -> None:
    good = submit(settings, store, {"delay": 0.01})
    bad = submit(settings, store, {"fail": 422})
    running = submit(settings, store, {"delay": 60})

    def state(request_id: str) -> str:
        return json.loads(flower("/api/tasks")).get(request_id, {}).get("state", "")

    wait_until(lambda: state(good) == "SUCCESS", 10)
    wait_until(lambda: state(bad) == "FAILURE", 10)
    wait_until(lambda: state(running) == "STARTED", 10)
    shown = json.loads(flower("/api/tasks"))
    assert set(shown) == {good, bad, running}  # no wake-up among them
    assert shown[good]["name"] == "echo"
    assert shown[good]["worker"].startswith(f"{ready_replicas(settings)[0].id}@")
    assert shown[good]["runtime"] > 0
    failed = store.run(verbs.read(bad)).job.errors[-1]
    assert shown[bad]["exception"] == failed.code and not shown[bad]["traceback"]

    store.run(verbs.pause(store.run(registry.deployments())[0].id, True))
    waiting = submit(settings, store, {"delay": 0.02})
    flower(f"/api/task/revoke/{running}?terminate=true", b"")
    wait_until(lambda: state(running) == "REVOKED", 10)
    assert state(waiting) == ""  # nobody has claimed it: docs/observing.md says where it is
    job = store.run(verbs.read(running)).job
    assert (job.status, job.stopped_by) == (Status.CANCELED, "cooperative")
    assert f"kingpost.{job.deployment_id}" in flower("/broker")


def test_flower_asks_for_a_password_on_every_page_that_says_something(
    flower: Call, settings: Settings
) -> None:
    path = settings.state_dir / "flower_password"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "flower_" in flower("/metrics")
    path.write_text("wrong\n")
    for page in ("/", "/workers", "/tasks", "/broker", "/api/tasks", "/api/workers", "/metrics"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            flower(page)
        assert refused.value.code == 401, page
    assert flower("/healthcheck") == "OK"
