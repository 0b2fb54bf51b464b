"""`kingpost logs` and `Client.logs` from a laptop: the lines of a model, of a request, of one whose replica was killed."""

import json
import os
import signal
import threading
from datetime import timedelta
from typing import Any

import pytest

from deployments.registry import verbs as registry
from kingpost import AsyncClient, Client, NotFound
from kingpost.records import LogLine
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.contract.client.conftest import Shell, Stack

pytestmark = pytest.mark.stack

TALKER = """
import logging
import threading

class Model:
    def predict(self, model_input):
        print("got", model_input["word"])
        logging.getLogger("m").warning("careful with %s", model_input["word"])
        if model_input["word"] == "hold":
            threading.Event().wait(300)
        return model_input["word"]
"""


@pytest.fixture(scope="module")
def talker(stack: Stack) -> str:
    stack.shell.type(f"kingpost push {stack.package('talker', TALKER)}")
    return "talker"


def messages(shell: Shell, line: str) -> list[str]:
    return [text[24:] for text in shell.type(line).splitlines() if not text.startswith("-- ")]


def test_the_lines_of_a_model_and_of_a_request_look_as_on_the_machine_of_the_stack(
    stack: Stack, logged_in: Shell, talker: str
) -> None:
    with Client(stack.url, stack.key) as client:
        job = client.submit(talker, {"word": "one"})
        assert job.result() == "one"
        wait_until(lambda: len(list(client.logs(request_id=job.id))) == 3, 20, "lines are missing")
    far = logged_in.type(f"kingpost logs {job.id}")
    assert far == stack.shell.type(f"kingpost logs {job.id}")
    said = [text[24:] for text in far.splitlines()]
    assert said[:2] == ["got one", "careful with one"]
    assert said[2].startswith("job.finished status=SUCCEEDED attempts=1 predict_ms=")
    assert messages(logged_in, f"kingpost logs {job.id[:8]} --level warning") == said[1:2]
    assert stack.shell.type(f"kingpost logs {job.id} --level warning -n 5").endswith(" one\n")
    assert messages(logged_in, f"kingpost logs {talker} -n 3 --since 1h") == said
    raw = [
        json.loads(text) for text in logged_in.type(f"kingpost logs {job.id} --json").splitlines()
    ]
    assert [line.get("message") for line in raw] == ["got one", "careful with one", None]
    nothing = logged_in.refused(f"kingpost logs {job.id} --level critical")
    assert nothing == f"{stack.url} keeps no lines of that level and time about '{job.id}'."
    assert "There is no model 'nobody'" in logged_in.refused("kingpost logs nobody")
    assert "--since is like 10m" in logged_in.refused(f"kingpost logs {talker} --since soon")
    assert "--level is one of debug" in logged_in.refused(f"kingpost logs {talker} --level loud")


def test_a_client_follows_logs_as_they_come(stack: Stack, talker: str) -> None:
    with Client(stack.url, stack.key) as client, Client(stack.url, stack.key) as other:
        found = client.logs(talker, since=timedelta(hours=1), level="warning", follow=True, limit=0)
        sender = threading.Thread(target=lambda: _run_until_told(other, talker, told))
        told = threading.Event()
        sender.start()
        line = next(found)
        told.set()
        sender.join()
        assert (line.level, line.message) == ("warning", "careful with two")
        assert isinstance(line, LogLine) and line.at.tzinfo and line.model == talker
        with pytest.raises(NotFound):
            list(client.logs("nobody"))


def _run_until_told(client: Client, model: str, told: threading.Event) -> None:
    """Follows cannot say when they have begun."""
    while not told.wait(0.3):
        client.run(model, {"word": "two"})


async def test_the_same_with_asyncio(stack: Stack, talker: str) -> None:
    async with AsyncClient(stack.url, stack.key) as client:
        job = await client.submit(talker, {"word": "three"})
        await job.result()
        async for line in client.logs(request_id=job.id, follow=True):
            if line.message == "careful with three":
                break
        assert [line.message async for line in client.logs(request_id=job.id, limit=1)]


def test_the_log_of_a_request_says_that_its_replica_was_killed(
    stack: Stack, logged_in: Shell, talker: str
) -> None:
    with Client(stack.url, stack.key) as client:
        job = client.submit(talker, {"word": "hold"}, retry={"max_attempts": 1})
        wait_until(lambda: job.status().status == "IN_PROGRESS", 30, "it does not run")
        (replica,) = [each for each in _replicas(stack) if each["model_name"] == talker]
        os.kill(replica["pid"], signal.SIGKILL)
        wait_until(lambda: _died(client, job.id), 30, "nothing says that the replica was killed")
        job.cancel()
    for shell in (logged_in, stack.shell):
        (line,) = [text for text in messages(shell, f"kingpost logs {job.id}") if "replica.died" in text]  # fmt: skip
        assert f"replica={replica['id']}" in line and "exit=SIGKILL" in line
        assert "queued again" in line


def _died(client: Client, request_id: str) -> bool:
    return any(line.message == "replica.died" for line in client.logs(request_id=request_id))


def _replicas(stack: Stack) -> list[dict[str, Any]]:
    up = json.loads((stack.shell.folder / ".kingpost" / "up.json").read_text())
    store = JobStore(Settings(redis_url=up["redis_url"]))
    found = [vars(replica) for replica in store.run(registry.replicas())]
    store.close()
    return found
