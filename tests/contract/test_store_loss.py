"""`kingpost up` whose store hangs while the command is killed, or comes back as it was some time ago."""

import os
import shutil
import signal
import urllib.error
from collections.abc import Iterator

import pytest

from cli.stack.data_lock import holders
from tests.conditions import wait_until
from tests.contract.test_up import Up


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("up"))
    up.start("--no-flower").ready()
    yield up
    if up.process and up.process.poll() is None:
        up.stop()


def done(up: Up) -> str:
    """The id of a job that has run."""
    path = "/models/echo/production/async_predict"
    request_id = up.call("POST", path, {"model_input": 1})["request_id"]
    wait_until(lambda: status(up, request_id) == "SUCCEEDED", 30)
    return request_id


def status(up: Up, request_id: str) -> str:
    return up.call("GET", f"/async_request/{request_id}")["status"]


@pytest.mark.slow
def test_a_valkey_that_hangs_while_the_command_is_killed_is_followed_by_one_alone(up: Up) -> None:
    request_id, hung = done(up), up.pid("valkey")
    os.kill(hung, signal.SIGSTOP)
    assert up.process
    up.process.kill()
    up.process.wait(20)
    up.start("--no-flower").ready()
    assert f"left behind (process {hung})" in up.said()
    with (up.state / "valkey" / "lock").open("rb") as lock:
        found = holders(lock).items()
    servers = [pid for pid, program in found if program.startswith("valkey-server")]
    assert servers == [up.pid("valkey")]
    assert status(up, request_id) == "SUCCEEDED"
    wait_until(up.predicts, 30)


@pytest.mark.slow
def test_an_older_copy_of_the_data_is_noticed_at_the_start(up: Up) -> None:
    data = up.state / "valkey" / "appendonlydir"
    assert up.stop() == 0
    copy = up.state / "copy"
    shutil.copytree(data, copy)
    up.start("--no-flower").ready()
    request_id = done(up)
    wait_until(lambda: '"requests": 2' in (up.state / "store.json").read_text(), 20)
    assert up.stop() == 0
    shutil.rmtree(data)
    copy.rename(data)
    up.start("--no-flower").ready()
    assert "The store came back as an older copy of itself. Requests lost: " in up.said()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        status(up, request_id)
    wait_until(up.predicts, 30)
