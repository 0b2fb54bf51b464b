"""An API that stops: whoever waits for a job or a replica gets an answer, and nobody holds it up."""

import json
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from cli.stack.ports import free_port
from deployments.chains import process_of, register
from deployments.packages.package import Package
from deployments.registry import keys as registry_keys
from deployments.registry import verbs as registry
from tasks.settings import Settings
from tasks.store import keys
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.contract.api.conftest import KEY, MODELS, _answers, submit
from tests.processes import Process, variables


@pytest.fixture
def api(settings: Settings, tmp_path: Path) -> Process:
    register(JobStore(settings), process_of(Package.load(MODELS[0])))
    port = free_port()
    env = variables(settings, KINGPOST_API_KEY=KEY, KINGPOST_DRAIN_SECONDS="600")
    return Process(["api", "--port", str(port)], env, tmp_path / "api.log").start()


def all_wait(settings: Settings, *request_ids: str) -> bool:
    """Whether somebody waits for news of each of these requests, and somebody for a replica."""
    (deployment,) = JobStore(settings).run(registry.deployments())
    channels = [keys.keyed("events", request_id) for request_id in request_ids]
    with redis.Redis.from_url(settings.redis_url) as client:
        heard = dict(client.pubsub_numsub(*channels))
        parked = client.exists(registry_keys.keyed("demand", deployment.id))
    return bool(parked) and all(heard.values())


def test_streams_long_polls_and_parked_calls_end_in_an_orderly_way(
    api: Process, settings: Settings
) -> None:
    url = f"http://127.0.0.1:{api.arguments[-1]}"
    headers = {"Authorization": f"Api-Key {KEY}"}
    heard: list[str] = []
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        wait_until(lambda: _answers(url), 30)
        submits = "/models/echo/production/async_predict"
        watched, polled = submit(client, 1, submits), submit(client, 1, submits)
        parked = client.build_request("POST", "/models/echo/production/predict", json={"a": 1})

        def listen() -> None:
            with client.stream("GET", f"/async_request/{watched}/events") as stream:
                for line in stream.iter_lines():
                    heard.append(line)

        calls: list[Callable[[], Any]] = [
            listen,
            lambda: client.get(f"/async_request/{polled}?wait=60"),
            lambda: client.send(parked),
        ]
        try:
            with ThreadPoolExecutor(len(calls)) as pool:
                stream, poll, call = [pool.submit(work) for work in calls]
                wait_until(lambda: all_wait(settings, watched, polled), 20)
                api.signal(signal.SIGTERM)
                assert stream.result(60) is None  # no broken connection
                said = poll.result(60).json()
                refused = call.result(60)
            assert api.popen
            assert api.popen.wait(60) in (0, -signal.SIGTERM)
        finally:
            api.kill()
    assert heard[:2] == ["id: 0-0", "event: status"]
    assert heard[-3:] == ["retry: 1000", ": the server stops; connect again", ""]
    assert said["status"] == "QUEUED"
    assert refused.status_code == 503 and refused.headers["retry-after"]
    assert "The API stops" in json.dumps(refused.json())
    assert "Traceback" not in api.log.read_text()
