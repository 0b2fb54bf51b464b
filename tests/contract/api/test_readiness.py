"""`/health/ready` says which part is not well; only a part without which no call can be served makes it a 503."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from api.observing.readiness import MAINTENANCE_SILENT_MS
from cli.stack.ports import free_port
from deployments.registry.nodes import SILENT_MS, Node, report_node, vital
from tasks.settings import Settings
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tests.api_keys import ApiKeys
from tests.conditions import wait_until
from tests.conftest import Clock
from tests.contract.api.conftest import KEY, _answers
from tests.processes import Process, variables
from tests.typed import typed
from tests.valkey import Valkey

PARTS = ["process", "store", "data", "scripts", "aof", "maintenance", "nodes"]
NODE = Node("a", "gpu-box-17", 1, 0, 8, 7, (), ())


@pytest.fixture(scope="module")
def url(valkey_server: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An API process without a maintenance process and without a node."""
    folder: Path = tmp_path_factory.mktemp("api")
    settings = Settings(redis_url=valkey_server.url, state_dir=folder)
    with redis.Redis(port=valkey_server.port) as client:
        client.flushall()
        client.config_set("appendonly", "yes")
    ApiKeys(settings).install(KEY)
    port = free_port()
    process = Process(
        ["api", "--port", str(port)], variables(settings, KINGPOST_API_KEY=KEY), folder / "log"
    ).start()
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: _answers(url), 30, "the API does not answer")
    yield url
    process.stop()


@pytest.fixture
def client(valkey_server: Valkey) -> Iterator[redis.Redis]:
    with redis.Redis(port=valkey_server.port) as client:
        yield client


def asked(url: str) -> tuple[httpx.Response, dict[str, Any]]:
    """The answer, and its parts by name. They are always the same ones, in the same order."""
    answer = httpx.get(f"{url}/health/ready")
    parts = answer.json()["parts"]
    assert [part["name"] for part in parts] == PARTS
    return answer, {part["name"]: part for part in parts}


def test_no_node_and_no_maintenance_are_told_and_take_no_api_out_of_a_balancer(
    url: str, valkey_server: Valkey, tmp_path: Path
) -> None:
    answer, parts = asked(url)
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    failing = {name for name, part in parts.items() if part["state"] == "fail"}
    assert failing == {"maintenance", "nodes"}
    assert "kingpost maintenance" in parts["maintenance"]["said"]
    assert "kingpost node" in parts["nodes"]["said"]
    done = typed(["doctor"], env={"KINGPOST_URL": url, "KINGPOST_API_KEY": KEY})
    assert "warn  maintenance" in done.output and "warn  nodes" in done.output, done.output
    store = JobStore(Settings(redis_url=valkey_server.url, state_dir=tmp_path))
    store.run(report_node(NODE))
    store.run(verbs.beat())
    answer, parts = asked(url)
    assert {part["state"] for part in parts.values()} == {"ok"}
    assert "gpu-box-17" not in answer.text  # whoever has no key reads no names of machines


def test_a_store_without_an_append_only_file_is_told(url: str, client: redis.Redis) -> None:
    client.config_set("appendonly", "no")
    try:
        answer, parts = asked(url)
    finally:
        client.config_set("appendonly", "yes")
    assert (answer.status_code, parts["aof"]["state"]) == (200, "fail")
    assert "appendonly yes" in parts["aof"]["said"]


def test_a_store_that_refuses_scripts_makes_it_a_503(url: str, client: redis.Redis) -> None:
    client.execute_command("ACL SETUSER", "default", "-eval", "-fcall")
    try:
        answer, parts = asked(url)
    finally:
        client.execute_command("ACL SETUSER", "default", "+@all")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["error"] == parts["scripts"]["said"] and parts["scripts"]["needed"]
    assert (parts["store"]["state"], parts["nodes"]["state"]) == ("ok", "unknown")
    assert asked(url)[0].status_code == 200


def test_the_store_knows_when_each_was_last_heard_of(store: JobStore, clock: Clock) -> None:
    assert (store.run(vital()).swept, store.run(vital()).node) == (None, None)
    store.run(report_node(NODE))
    store.run(verbs.beat())
    clock.jump(MAINTENANCE_SILENT_MS / 1000 + 1)
    known = store.run(vital())
    assert known.swept and known.node
    assert known.swept > MAINTENANCE_SILENT_MS and known.node > SILENT_MS
