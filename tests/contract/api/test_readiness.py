"""`/health/ready` says which part is not well; only a part without which no call can be served makes it a 503."""

import contextlib
import json
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from api.observing.readiness import MAINTENANCE_SILENT_MS
from cli.stack.ports import free_port
from deployments.registry import keys as registry_keys
from deployments.registry.nodes import SILENT_MS, Node, report_node, vital
from tasks.api_keys import KEYS
from tasks.process.descriptors import SHORT
from tasks.settings import Settings
from tasks.store import keys, verbs
from tasks.store.job_store import JobStore
from tests.api_keys import ApiKeys
from tests.conditions import wait_until
from tests.conftest import Clock
from tests.contract.api.conftest import KEY, _answers
from tests.faults import descriptors_left, stalled
from tests.processes import Process, variables
from tests.typed import typed
from tests.valkey import Valkey

PARTS = ["process", "store", "data", "scripts", "aof", "maintenance", "nodes"]
NODE = Node("a", "gpu-box-17", 1, 0, 8, 7, (), ())


@dataclass(frozen=True)
class Live:
    """An API process without a maintenance process and without a node, and its store."""

    url: str
    pid: int
    valkey: Valkey
    settings: Settings


@pytest.fixture(scope="module")
def live(valkey_server: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder: Path = tmp_path_factory.mktemp("api")
    short = 0.5  # s: a store that is silent is asked more than once, and each time this long
    settings = Settings(redis_url=valkey_server.url, state_dir=folder, store_timeout_seconds=short)
    with redis.Redis(port=valkey_server.port) as client:
        client.flushall()
        client.config_set("appendonly", "yes")
    ApiKeys(settings).install(KEY)
    port = free_port()
    process = Process(
        ["api", "--port", str(port)],
        variables(settings, KINGPOST_API_KEY=KEY, KINGPOST_STORE_TIMEOUT_SECONDS=str(short)),
        folder / "log",
    ).start()
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: _answers(url), 30, "the API does not answer")
    yield Live(url, process.pid, valkey_server, settings)
    process.stop()


@pytest.fixture
def url(live: Live) -> str:
    return live.url


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


@contextlib.contextmanager
def renamed(client: redis.Redis, key: str) -> Generator[None]:
    """As if nothing were there."""
    client.rename(key, "elsewhere")
    try:
        yield
    finally:
        client.rename("elsewhere", key)


@contextlib.contextmanager
def without_aof(client: redis.Redis) -> Generator[None]:
    client.config_set("appendonly", "no")
    try:
        yield
    finally:
        client.config_set("appendonly", "yes")


@contextlib.contextmanager
def without_scripts(client: redis.Redis) -> Generator[None]:
    client.execute_command("ACL SETUSER", "default", "-eval", "-fcall")
    try:
        yield
    finally:
        client.execute_command("ACL SETUSER", "default", "+@all")


FAULTS: dict[str, Callable[[Live, redis.Redis], AbstractContextManager[None]]] = {
    "process": lambda live, _: descriptors_left(live.pid, SHORT - 5),
    "store": lambda live, _: stalled(live.valkey),
    "data": lambda _, client: renamed(client, KEYS),
    "scripts": lambda _, client: without_scripts(client),
    "aof": lambda _, client: without_aof(client),
    "maintenance": lambda _, client: renamed(client, keys.plain("swept")),
    "nodes": lambda _, client: renamed(client, registry_keys.plain("nodes")),
}
NEEDED = {"process", "store", "data", "scripts"}


@pytest.mark.parametrize("name", PARTS)
def test_each_part_fails_for_its_own_fault_alone_and_the_doctor_names_it(
    live: Live, client: redis.Redis, name: str
) -> None:
    store = JobStore(live.settings)
    store.run(report_node(NODE))
    store.run(verbs.beat())
    with FAULTS[name](live, client):
        answer, parts = asked(live.url)
        done = typed(["doctor", "--json"], env={"KINGPOST_URL": live.url, "KINGPOST_API_KEY": KEY})
    assert [part for part in PARTS if parts[part]["state"] == "fail"] == [name]
    assert answer.status_code == (503 if name in NEEDED else 200)
    assert parts[name]["needed"] == (name in NEEDED) and parts[name]["said"]
    said = {row["name"]: row for row in json.loads(done.stdout)}
    assert [part for part in PARTS if part in said] == [name]
    assert said[name]["level"] == ("fail" if name in NEEDED else "warn")
    assert said[name]["said"] == parts[name]["said"]
    store.run(report_node(NODE))
    store.run(verbs.beat())
    assert {part["state"] for part in asked(live.url)[1].values()} == {"ok"}


def test_a_store_that_refuses_scripts_hides_the_parts_elsewhere(
    url: str, client: redis.Redis
) -> None:
    with without_scripts(client):
        answer, parts = asked(url)
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
