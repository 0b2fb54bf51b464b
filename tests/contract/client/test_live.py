"""`kingpost nodes` and `kingpost top`, the settings in force, and their calls, on a stack with one node."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from typing import Any

import httpx
import pytest

from kingpost import Client, Forbidden
from tests.conditions import wait_until
from tests.contract.client.conftest import Shell, Stack

pytestmark = pytest.mark.stack

LEFT = b"\x1b[?1049l"  # the screen of its own is left


def hello_is_placed(stack: Stack) -> Any:
    """The node, when it has told of the replica of hello and that is ready."""
    with Client(stack.url, stack.key) as client:

        def found() -> Any:
            for node in client.nodes():
                states = {each["model"]: each["state"] for each in node.replicas}
                if node.alive and states.get("hello") == "ready":
                    return node
            return None

        wait_until(lambda: found() is not None, 30, "the node does not tell of hello")
        return found()


def test_a_node_tells_what_it_has_and_what_runs_there(stack: Stack, logged_in: Shell) -> None:
    node = hello_is_placed(stack)
    assert node.host == os.uname().nodename and node.heartbeat_age_seconds < 15
    assert node.slots - node.free_slots == len(node.replicas) >= 1
    said = logged_in.type("kingpost nodes")
    assert node.id in said and max(map(len, said.splitlines())) <= 80
    (line,) = [line for line in said.splitlines() if " hello " in f"{line} " and "ready" in line]
    assert "slots busy" in line
    listed = json.loads(logged_in.type("kingpost nodes --json"))
    assert [row["id"] for row in listed if row["alive"]] == [node.id]


def test_the_overview_has_every_deployment_with_its_queue(stack: Stack, logged_in: Shell) -> None:
    hello_is_placed(stack)
    with Client(stack.url, stack.key) as client:
        client.models.pause("counter")
        job = client.submit("counter", {"upto": 1})
        (row,) = [row for row in client.overview() if row.model == "counter"]
        assert (row.paused, row.queued, row.running) == (True, 1, 0)
        assert row.environments == ("production",) and row.wanted_replicas == 1
        said = logged_in.type("kingpost top --once")
        client.models.resume("counter")
        job.wait()
    first, *rest = said.splitlines()
    assert "1 queued" in first and rest[0] == stack.url
    (line,) = [line for line in rest if line.startswith("counter")]
    assert "PAUSED" in line and max(map(len, [first, *rest])) <= 80
    assert set(json.loads(logged_in.type("kingpost top --json"))) == {"deployments", "nodes"}


@pytest.mark.parametrize("end", ["q", "Ctrl-C"])
def test_top_is_live_in_80_columns_and_leaves_the_terminal_as_it_was(
    stack: Stack, logged_in: Shell, end: str
) -> None:
    parent, child = pty.openpty()
    before = termios.tcgetattr(parent)
    variables = os.environ | logged_in.variables | {"LINES": "24", "TERM": "xterm"}
    command = [sys.executable, "-m", "kingpost", "top", "--every", "0.5"]
    process = subprocess.Popen(
        command, stdin=child, stdout=child, stderr=child, env=variables, start_new_session=True,
    )  # fmt: skip
    os.close(child)
    try:
        seen = read_until(parent, lambda said: said.count(b"replicas ready:") >= 3)
        if end == "q":
            os.write(parent, b"xq")
        else:
            process.send_signal(signal.SIGINT)
        seen += read_until(parent, lambda said: LEFT in said)
        assert process.wait(20) == 0
        assert termios.tcgetattr(parent) == before
    finally:
        process.kill()
        os.close(parent)
    assert b"hello" in seen and b"Traceback" not in seen
    assert seen.index(b"\x1b[?1049h") < seen.index(b"hello")


def read_until(terminal: int, done: Any) -> bytes:
    said, ends = b"", time.monotonic() + 40
    while not done(said):
        assert time.monotonic() < ends, said
        if select.select([terminal], [], [], 1)[0]:
            said += os.read(terminal, 65_536)
    return said


def test_settings_are_shown_without_secrets(stack: Stack, far: Shell) -> None:
    key = stack.shell.type("kingpost keys create --scope admin").strip()
    with Client(stack.url, key) as client:
        known = client.settings()
        assert known["KINGPOST_LEASE_SECONDS"] == 15.0
        assert known["KINGPOST_CHAIN_API_KEY"] == "set" and known["KINGPOST_API_KEY"] in (
            None,
            "set",
        )
        answer = httpx.get(f"{stack.url}/v1/settings", headers={"x-api-key": key})
        assert "KINGPOST_CHAIN_API_KEY" in answer.json()["changed"]
        assert stack.key not in answer.text
    plain = stack.shell.type("kingpost keys create").strip()
    with Client(stack.url, plain) as client, pytest.raises(Forbidden):
        client.settings()
