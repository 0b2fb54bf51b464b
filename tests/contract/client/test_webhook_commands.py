"""`kingpost webhooks listen` and `test`: deliveries without a receiver that the server reaches."""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import pytest

from kingpost import Client, verify_webhook
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tasks.webhooks.secrets import rotate
from tasks.webhooks.signatures import new_secret
from tests.api_keys import ApiKeys
from tests.contract.client.conftest import Shell, Stack

pytestmark = pytest.mark.stack


@dataclass
class Receiver:
    """A receiver on loopback, and what it got: headers and body."""

    url: str = ""
    answer: int = 202
    got: "queue.Queue[tuple[dict[str, str], bytes]]" = field(default_factory=queue.Queue)


@contextmanager
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.got.put(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(found.answer)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found.url = f"http://127.0.0.1:{server.server_port}/hook"
        yield found
        server.shutdown()


@contextmanager
def listening(shell: Shell, options: str) -> Iterator["subprocess.Popen[str]"]:
    """`kingpost webhooks listen`, once it listens."""
    command = [sys.executable, "-m", "kingpost", "webhooks", "listen", *options.split()]
    environment = shell._environment()  # pyright: ignore[reportPrivateUsage]
    process = subprocess.Popen(
        command, cwd=shell.folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout and process.stderr
        assert process.stderr.readline().startswith("Listening at http")
        yield process
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def secret(stack: Stack) -> str:
    up = json.loads((stack.shell.folder / ".kingpost" / "up.json").read_text())
    store, fresh = JobStore(Settings(redis_url=up["redis_url"])), new_secret()
    store.run(rotate(fresh))
    store.close()
    return fresh


def test_own_deliveries_are_pulled_verified_and_forwarded_to_the_byte(
    stack: Stack, logged_in: Shell, secret: str
) -> None:
    up = json.loads((stack.shell.folder / ".kingpost" / "up.json").read_text())
    other = ApiKeys(Settings(redis_url=up["redis_url"], state_dir=Path("."))).create()
    options = f"--forward-to {{}} --secret {secret} --json"
    with (
        receiver() as target,
        listening(logged_in, options.format(target.url)) as listener,
        Client(stack.url, stack.key) as mine,
        Client(stack.url, other) as theirs,
    ):
        theirs.submit("hello", {"name": "Not mine"}).wait()
        job = mine.submit("hello", {"name": "Ünï"})
        headers, body = target.got.get(timeout=30)
        content = verify_webhook(body, headers, secret)
        assert (content["request_id"], content["data"]) == (job.id, {"text": "Hello, Ünï!"})
        assert headers["webhook-id"] == f"msg_{job.id}"
        assert headers["x-baseten-request-id"] == job.id and "x-baseten-signature" in headers
        failed = mine.submit("hello", {"nam": 1}, retry={"max_attempts": 1})
        _, body = target.got.get(timeout=30)
        assert json.loads(body)["request_id"] == failed.id and json.loads(body)["errors"]
        assert listener.stdout
        shown = [json.loads(listener.stdout.readline()) for _ in range(2)]
        assert [row["request_id"] for row in shown] == [job.id, failed.id]
        assert [(row["signature"], row["answer"]) for row in shown] == [("ok", 202)] * 2


def test_without_a_secret_a_listener_says_that_it_verifies_nothing(
    stack: Stack, logged_in: Shell, secret: str
) -> None:
    with (
        listening(logged_in, "") as listener,
        Client(stack.url, stack.key) as client,
    ):
        assert listener.stdout and listener.stderr
        said = listener.stderr.readline()
        assert said.startswith("Signatures are not verified: ") and "--secret whsec_" in said
        job = client.submit("hello", {"name": "Ada"})
        assert job.id in listener.stdout.readline()
        assert listener.stdout.readline().strip() == "signature not verified"
    with (
        listening(logged_in, f"--secret {new_secret()} --json") as listener,
        Client(stack.url, stack.key) as client,
    ):
        client.submit("hello", {"name": "Ada"})
        assert listener.stdout and listener.stderr
        assert json.loads(listener.stdout.readline())["signature"].startswith("WRONG: ")
        listener.terminate()
        assert "not verified" not in listener.stderr.read()


def test_a_listener_that_comes_back_has_missed_nothing(stack: Stack) -> None:
    with Client(stack.url, stack.key) as client:
        stream = client.webhooks.listen()
        assert next(stream).request_id == ""
        first = client.submit("hello", {"name": "1"})
        delivery = next(stream)
        assert delivery.request_id == first.id and delivery.status == "SUCCEEDED"
        stream.close()  # type: ignore[attr-defined]
        second = client.submit("hello", {"name": "2"})
        second.wait()
        begun, again = islice(client.webhooks.listen(delivery.place), 2)
        assert begun.request_id == ""
        assert again.request_id == second.id


def test_a_test_delivery_goes_by_the_rules_for_webhooks(
    stack: Stack, logged_in: Shell, secret: str
) -> None:
    with receiver() as target:
        said = logged_in.refused(f"kingpost webhooks test {target.url}")
        assert "must begin with https://" in said
        secure = target.url.replace("http://", "https://")
        assert "can never be reached" in logged_in.refused(f"kingpost webhooks test {secure}")
    done = logged_in.run("kingpost webhooks test https://nobody.invalid/hook --json")
    said = json.loads(done.stdout)
    assert done.returncode == 1 and said["status"] is None and said["error"]
    assert verify_webhook(said["body"].encode(), said["headers"], secret)["data"]["message"]


def test_too_many_listeners_of_a_key_are_refused(stack: Stack) -> None:
    from kingpost import RateLimited

    with Client(stack.url, stack.key, retries=0) as client:
        streams = [client.webhooks.listen() for _ in range(4)]
        for stream in streams:
            next(stream)
        with pytest.raises(RateLimited, match="already; end one first"):
            next(client.webhooks.listen())
