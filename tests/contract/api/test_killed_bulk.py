"""A bulk operation goes on where the API process that did it was killed, and counts each request once."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import redis

from cli.stack.ports import free_port
from kingpost import Client
from tasks.api_keys import key_id
from tasks.job import RequestId, Submission
from tasks.settings import Settings
from tasks.state import Status
from tasks.store import keys, verbs
from tasks.store.job_store import JobStore
from tests.api_keys import ApiKeys
from tests.conditions import wait_until
from tests.processes import Process, variables

DEPLOYMENT, MODEL, BATCH = "dep00001", "model001", 1000
OPERATION = "killed"
BEFORE_IT_DIES = 500  # requests that are cancelled by then


@dataclass
class Api:
    """A process of the API."""

    process: Process
    url: str

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready").is_success
        except httpx.TransportError:
            return False


@pytest.fixture
def key(settings: Settings) -> str:
    return ApiKeys(settings).create(scope="admin")


@pytest.fixture
def apis(settings: Settings, key: str, tmp_path: Path) -> Iterator[list[Api]]:
    """Two processes of the API on one store, which has a key."""
    started: list[Api] = []
    for number in range(2):
        arguments = ["api", "--port", str(port := free_port())]
        process = Process(arguments, variables(settings), tmp_path / f"api-{number}.log").start()
        started.append(Api(process, f"http://127.0.0.1:{port}"))
    try:
        for api in started:
            wait_until(api.answers, 60)
        yield started
    finally:
        for api in started:
            api.process.stop()


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_another_process_goes_on_and_the_count_is_exact(
    settings: Settings, store: JobStore, key: str, apis: list[Api], count: int
) -> None:
    first, second = apis
    for number in range(0, count, BATCH):
        names = (f"{number + place:032x}" for place in range(BATCH))
        jobs = [Submission(RequestId(name), DEPLOYMENT, MODEL, b"{}") for name in names]
        store.run(verbs.submit(jobs, "alice", 10**6))
    asking = threading.Thread(target=cancel_until_it_breaks, args=(first.url, key))
    asking.start()
    name = keys.keyed("operation", f"{key_id(key)}:{OPERATION}")
    with redis.Redis.from_url(settings.redis_url, decode_responses=True) as client:

        def done() -> int:
            return int(client.hget(name, "done") or 0)

        wait_until(lambda: done() > BEFORE_IT_DIES, 60)
        first.process.kill()
        asking.join(30)
        assert BEFORE_IT_DIES < done() < count, "it was killed too late"
    with Client(second.url, key) as server:
        *_, last = server.jobs.bulk("cancel", operation=OPERATION, key="alice", status="QUEUED")
        assert (last.matched, last.done, last.failed) == (count, count, 0)
        assert server.jobs.counts(key="alice") == {Status.CANCELED: count}


def cancel_until_it_breaks(url: str, key: str) -> None:
    body = {"operation": OPERATION, "key": "alice", "status": ["QUEUED"]}
    headers = {"Authorization": f"Api-Key {key}"}
    with pytest.raises(httpx.TransportError):
        httpx.post(f"{url}/v1/jobs/cancel", json=body, headers=headers, timeout=60)
