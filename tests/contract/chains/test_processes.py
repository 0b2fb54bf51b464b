"""What chainlets have in common when they share a process: its death, its start, its drain and its size."""

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import httpx
import pytest

from cli.commands.models import table
from cli.local.listing import read
from cli.stack.ports import free_port
from deployments.registry import verbs as registry
from deployments.registry.autoscaling import Autoscaling
from deployments.registry.records import Replica
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.contract.chains.conftest import Stack, command, copy_models, own_environment
from workers.hosting import client as host_client
from workers.hosting.client import HostState
from workers.hosting.sockets import worker_address

pytestmark = pytest.mark.slow
RUN = "/chains/orders/production/run_remote"
ORDERS = ["orders", "orders.Counter", "orders.worker-1"]
SPELL = {"word": "abc"}


@pytest.fixture
def together(request: pytest.FixtureRequest, stack: Stack) -> Stack:
    """The stack on which the chainlets of that chain share a process."""
    if request.param not in stack.together:
        pytest.skip("about chainlets that share a process")
    return stack


def of(chain: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("together", [chain], indirect=True)


def names(replicas: list[Replica]) -> list[str]:
    return sorted(replica.model_name for replica in replicas)


def all_ready(stack: Stack, chain: str, not_in: int | None = None) -> int | None:
    """The host that serves all of the chain's chainlets, once it is not that one."""
    found = stack.replicas(chain)
    hosts = {replica.host_pid for replica in found}
    ready = bool(found) and all(replica.state == "ready" for replica in found)
    return hosts.pop() if ready and len(hosts) == 1 and not_in not in hosts else None


def address(stack: Stack, name: str) -> str:
    found = stack.replicas(name.partition(".")[0])
    return next(replica.address for replica in found if replica.model_name == name)


def at(socket: str) -> HostState:
    """What the host says there, itself: the directory hears of it with the next heartbeat."""
    said = host_client.state(worker_address(socket))
    assert said
    return said


def answers(stack: Stack, chain: str, body: object) -> bool:
    with stack.client() as client:
        return client.post(f"/chains/{chain}/production/run_remote", json=body).status_code == 200


@of("orders")
def test_a_killed_process_takes_all_of_its_chainlets_and_all_come_back(
    together: Stack, http: httpx.Client
) -> None:
    first = all_ready(together, "orders")
    body = {"item": {"name": "mid-air"}, "seconds": 1.2, "parallel": 2}
    submitted = http.post("/chains/orders/production/async_run_remote", json=body).json()
    path = f"/async_request/{submitted['request_id']}"
    counter = address(together, "orders.Counter")
    wait_until(lambda: at(counter).open, 10, "the chainlet below is not called")
    assert first
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: all_ready(together, "orders", first), 30, "no new host for all of them")
    assert names(together.replicas("orders")) == ORDERS
    status = http.get(f"{path}?wait=30").json()
    assert (status["status"], status["attempt"]) == ("SUCCEEDED", 2)
    said = "The model host of orders, orders.Counter and orders.worker-1 died (SIGKILL)"
    assert said in json.dumps(status["errors"])
    logs = [path.read_text() for path in (together.state / "logs").glob("replica-*.log")]
    assert any(said in text for text in logs)
    assert answers(together, "limits", {"which": "wide", "calls": 1})  # another process: unharmed


@of("letters")
def test_a_chainlet_that_cannot_be_loaded_fails_its_process_and_is_named(together: Stack) -> None:
    host = all_ready(together, "Letters")
    packages = list((together.state / "chains" / "letters").glob("*/packages"))
    assert host and len(packages) == 2
    for package in packages:
        (package / "broken").touch()
    try:
        os.kill(host, signal.SIGKILL)
        wait_until(lambda: _failed(together) == ["Letters", "Letters.Spell"], 30)
        errors = {
            replica.model_name: replica.error or "" for replica in together.replicas("Letters")
        }
        assert errors["Letters.Spell"].splitlines()[-1] == "ValueError: no letters here"
        assert 'raise ValueError("no letters here")' in errors["Letters.Spell"]
        why = "Letters.Spell, in the same process, could not be loaded: ValueError: no letters here"
        assert errors["Letters"] == why
        shown = "\n".join(table([row.line for row in read(together.settings)], 200))
        assert why in shown
        assert "in the process of orders" in shown
    finally:
        for package in packages:
            (package / "broken").unlink()
    wait_until(lambda: all_ready(together, "Letters", host), 60, "it does not come back")
    assert answers(together, "Letters", SPELL)


def _failed(stack: Stack) -> list[str]:
    return names([replica for replica in stack.replicas("Letters") if replica.state == "failed"])


@of("limits")
def test_a_chainlet_that_blocks_its_loop_holds_up_no_other(together: Stack) -> None:
    done: list[httpx.Response] = []

    def block() -> None:
        with together.client() as client:
            path = "/chains/limits.Narrow/production/run_remote"
            done.append(client.post(path, json={"seconds": -3.0}))

    served, thread = at(address(together, "limits.Narrow")).served, threading.Thread(target=block)
    thread.start()
    try:
        for _ in range(3):
            assert answers(together, "limits", {"which": "wide", "calls": 3})
        assert not done
    finally:
        thread.join()
    assert done[0].status_code == 200
    assert at(address(together, "limits.Narrow")).served == served + 1


@of("limits")
def test_a_call_of_one_chainlet_wakes_all_of_a_process_that_sleeps(
    together: Stack, http: httpx.Client
) -> None:
    store = JobStore(together.settings)
    leader = together.deployment("limits")
    store.run(registry.configure(leader.id, Autoscaling(autoscaling_window=10, scale_down_delay=0)))
    wait_until(lambda: not together.replicas("limits"), 40, "it does not fall asleep")
    assert together.deployment("limits.Wide").wanted == 0
    answer = http.post("/chains/limits.Wide/production/run_remote", json={"seconds": 0.01})
    assert (answer.status_code, answer.json()) == (200, 1)
    assert names(together.replicas("limits")) == ["limits", "limits.Narrow", "limits.Wide"]
    assert len({replica.host_pid for replica in together.replicas("limits")}) == 1


# -- alone: a stack of one chain


def up(folder: Path) -> "subprocess.Popen[bytes]":
    env = own_environment() | {"KINGPOST_WEBHOOK_ALLOW_HTTP": "1"}
    with (folder / "up.log").open("wb") as out:
        port = free_port()
        started = command(folder / "models", folder / "state", port)
        return subprocess.Popen(started, stdout=out, stderr=out, env=env)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy_models(tmp_path / "models", {"letters"}, only="letters")
    return tmp_path


def test_up_says_which_chainlet_of_a_process_is_broken(folder: Path) -> None:
    (folder / "models" / "letters" / "broken").touch()
    process = up(folder)
    log = folder / "up.log"
    try:
        wait_until(lambda: "left out" in log.read_text() or process.poll() is not None, 240)
        process.terminate()
        assert process.wait(60) == 1
    finally:
        process.kill()
    said = log.read_text()
    assert "ValueError: no letters here" in said
    assert "Spell" in said


def test_a_run_ends_before_the_chainlets_of_its_process_do(folder: Path) -> None:
    copy_models(folder / "models", {"limits"}, only="limits")
    process = up(folder)
    try:
        log = folder / "up.log"
        wait_until(lambda: "Kingpost is ready" in log.read_text() or process.poll(), 240)
        said = json.loads((folder / "state" / "up.json").read_text())
        key = (folder / "state" / "api_key").read_text().strip()
        settings = Settings(redis_url=said["redis_url"], state_dir=folder / "state")
        stack = Stack(said["api"], key, folder / "state", "", settings, {"limits"})
        answered = _run_while_it_ends(stack, process)
        assert process.wait(60) == 0
    finally:
        process.kill()
    assert answered.status_code == 200, answered.text
    assert answered.json() == [1] * 30


def _run_while_it_ends(stack: Stack, process: "subprocess.Popen[bytes]") -> httpx.Response:
    """30 calls of 50 ms, one after the other, of which the first ones are over when the end begins."""
    done: list[httpx.Response] = []

    def run() -> None:
        with stack.client() as client:
            body = {"which": "one by one", "calls": 30}
            done.append(client.post("/chains/limits/production/run_remote", json=body))

    thread = threading.Thread(target=run)
    thread.start()
    narrow = address(stack, "limits.Narrow")
    wait_until(lambda: at(narrow).served > 1, 10, "the run has not begun")
    process.send_signal(signal.SIGTERM)
    thread.join()
    return done[0]
