"""The life of one `kingpost up`: it starts, stops, starts again with what was queued, and is cut off by a second Ctrl-C."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conditions import wait_until
from tests.contract.test_up import Up
from tests.processes import running_on

pytestmark = pytest.mark.stack

MODEL = """
import subprocess, sys, threading

WAIT = "import threading; threading.Event().wait()"

class Model:
    def predict(self, x):
        if x == "hold":
            subprocess.Popen([sys.executable, "-c", WAIT, "stray", STATE], start_new_session=True)
            threading.Event().wait(600)
        return x
"""
PATH = "/models/echo/production/async_predict"


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("up"))
    model = MODEL.replace("STATE", repr(str(up.state)))
    (up.models / "echo" / "model" / "model.py").write_text(model)
    yield up
    if up.process and up.process.poll() is None:
        up.stop()


@pytest.fixture
def up(life: Up) -> Up:
    """It runs; the first one has Flower, those after it listen on IPv6."""
    if life.process is None:
        life.start().ready()
    elif life.process.poll() is not None:
        life.start("--no-flower", "--host", "::").ready()
    return life


def test_it_says_each_step_and_that_it_is_ready_and_serves(up: Up) -> None:
    roles = {part["role"] for part in up.up_json()["parts"]}
    assert roles == {"valkey", "api", "maintenance", "replica", "node", "flower"}
    steps = ["Kingpost starts", "The store is up", "The API listens at", "Loading echo"]
    steps += ["echo is ready", "Kingpost is ready after"]
    for step, line in zip(steps, up.said().splitlines(), strict=False):
        assert line.startswith(step)
    assert (up.state / "api_key").stat().st_mode & 0o777 == 0o600
    wait_until(up.predicts)


def test_a_stop_leaves_nothing_behind_and_a_restart_finds_the_queued_jobs_and_the_key(
    up: Up,
) -> None:
    os.kill(up.pid("replica"), signal.SIGSTOP)  # nobody claims
    request_id = up.call("POST", PATH, {"model_input": {"a": 2}})["request_id"]
    key = (up.state / "api_key").read_text()
    os.kill(up.pid("replica"), signal.SIGKILL)
    pids = [part["pid"] for part in up.up_json()["parts"]]
    assert up.stop() == 0
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert running_on(up.state) == []
    assert not (up.state / "up.json").exists()

    up.start("--no-flower", "--host", "::").ready()
    assert up.up_json()["api"] == f"http://[::1]:{up.port}"
    assert (up.state / "api_key").read_text() == key
    wait_until(lambda: up.call("GET", f"/async_request/{request_id}")["status"] == "SUCCEEDED", 30)
    assert up.call("GET", f"/async_request/{request_id}/result") == {"a": 2}


def test_a_second_ctrl_c_ends_all_that_was_started_and_says_what_it_cut_off(up: Up) -> None:
    assert up.process
    request_id = up.call("POST", PATH, {"model_input": "hold"})["request_id"]

    def runs() -> bool:
        return up.call("GET", f"/async_request/{request_id}")["status"] == "IN_PROGRESS"

    wait_until(lambda: runs() and any("stray" in said for said in running_on(up.state)), 30)
    up.process.send_signal(signal.SIGINT)
    waits = r"Draining: 1 job runs; it and open calls get at most 30 s\. Ctrl-C again ends it now\."
    wait_until(lambda: re.search(waits, up.said()), 20)
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(30) == 1
    assert running_on(up.state) == []
    cut = "Ended at once: 1 running job was cut off, and it is tried again after the next start; so were open calls."
    assert up.said().splitlines()[-1] == cut
    assert not (up.state / "up.json").exists()
