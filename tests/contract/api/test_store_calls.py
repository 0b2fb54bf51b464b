"""How often the API asks Redis: once for a status, never for a request that is wrong in itself."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from cli.stack.ports import free_port
from deployments.registry import verbs as registry
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tasks.store.scripting import JOBS
from tests.api_keys import ApiKeys
from tests.conditions import wait_until
from tests.contract.api.conftest import KEY, _answers
from tests.faults import stalled
from tests.processes import Process, variables
from tests.valkey import Valkey


@pytest.fixture(scope="module")
def api(valkey_server: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """An API process that has its Redis for itself."""
    folder: Path = tmp_path_factory.mktemp("api")
    settings = Settings(redis_url=valkey_server.url, state_dir=folder)
    with redis.Redis(port=valkey_server.port) as client:
        client.flushall()
    JobStore(settings).run(registry.register("echo", "/nowhere", "hash", 1))
    port = free_port()
    env = variables(settings, KINGPOST_API_KEY=KEY, KINGPOST_STORE_TIMEOUT_SECONDS="1")
    process = Process(["api", "--port", str(port)], env, folder / "log").start()
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: _answers(url), 30, "the API does not answer")
    with httpx.Client(base_url=url, headers={"Authorization": f"Api-Key {KEY}"}) as client:
        yield client
    process.stop()


@contextlib.contextmanager
def verbs_run(valkey: Valkey) -> Iterator[list[str]]:
    """The verbs of jobs that ran meanwhile, as MONITOR has them; the live view reads the directory all the time."""
    names = {verb.function: name for name, verb in JOBS.build(Settings()).verbs.items()}
    seen: list[str] = []
    with redis.Redis(port=valkey.port) as client, client.monitor() as monitor:
        yield seen
        client.echo("end-of-the-watch")
        for said in monitor.listen():
            words = said["command"].split()
            if words[0] == "ECHO":
                break
            if words[0] == "FCALL" and words[1] in names:
                seen.append(names[words[1]])


@pytest.mark.parametrize(
    ("method", "path", "verb"),
    [
        ("GET", "/async_request/{id}", "read"),
        ("GET", "/production/async_queue_status", "queue_status"),
        ("DELETE", "/async_request/{id}", "cancel"),
    ],
)
def test_status_cancel_and_queue_status_are_one_call_each(
    api: httpx.Client, valkey_server: Valkey, method: str, path: str, verb: str
) -> None:
    submitted = api.post("/production/async_predict", json={"model_input": 1}).json()
    with verbs_run(valkey_server) as ran:
        assert api.request(method, path.format(id=submitted["request_id"])).status_code == 200
    assert ran == [verb]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"model_input": 1, "priority": 3}',
        b'{"model_input": 1, "max_time_in_queue_seconds": 9}',
        b'{"model_input": 1, "webhook_endpoint": "ftp://x"}',
        b'{"model_input": 1, "inference_retry_config": {"max_attempts": 0}}',
        b'{"model_input": ' + b"[" * 200 + b"]" * 200 + b"}",
    ],
    ids=range(9),
)
def test_a_wrong_request_runs_no_script(
    api: httpx.Client, valkey_server: Valkey, body: bytes
) -> None:
    with verbs_run(valkey_server) as ran:
        answer = api.post("/production/async_predict", content=body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "client_error")
    assert ran == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/health/ready"),
        ("POST", "/production/async_predict"),
        ("GET", "/async_request/00000000000000000000000000000000?wait=5"),
        ("GET", "/v1/models/echo"),
    ],
)
def test_a_call_while_the_store_stalls_is_a_503_soon(
    api: httpx.Client, valkey_server: Valkey, method: str, path: str
) -> None:
    """All tries of the client library together would last for 30 s: longer than this test waits."""
    assert api.get("/v1/models").status_code == 200  # the key is known
    with stalled(valkey_server):
        body = {"model_input": 1} if method == "POST" else None
        answer = api.request(method, path, json=body, timeout=10)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    wait_until(lambda: api.get("/health/ready").status_code == 200)


def test_a_store_that_lost_its_data_is_not_ready_until_keys_and_models_are_there_again(
    api: httpx.Client, valkey_server: Valkey
) -> None:
    """Ready and yet 401 for every call would be a lie."""
    settings = Settings(redis_url=valkey_server.url)
    with redis.Redis(port=valkey_server.port) as client:
        client.flushall()
    said = api.get("/health/ready")
    assert (said.status_code, said.headers["retry-after"]) == (503, "5")
    assert "came back without its data" in said.json()["error"]
    ApiKeys(settings).install(KEY)
    assert api.get("/health/ready").status_code == 503  # no model yet
    JobStore(settings).run(registry.register("echo", "/nowhere", "hash", 1))
    assert api.get("/health/ready").status_code == 200
    wait_until(lambda: api.get("/v1/models").status_code == 200)
