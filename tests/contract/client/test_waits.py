"""What a command says while it waits for a server, and of a server that is no Kingpost."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kingpost import Client
from tests.conditions import wait_until
from tests.contract.client.conftest import Shell, Stack

pytestmark = pytest.mark.stack

SLUGGISH = """
class Model:
    def load(self):
        open("{gate}").read()

    def predict(self, model_input):
        return 7
"""


@contextmanager
def answering(status: int, headers: dict[str, str], body: bytes) -> Iterator[str]:
    """The address of a server that answers each GET so."""

    class Same(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Same) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_wait_is_told_with_its_reason_and_the_whole_time(stack: Stack, far: Shell) -> None:
    with answering(429, {"retry-after": "1"}, b'{"error": "The queue is full."}') as url:
        said = far.run("kingpost jobs ls", KINGPOST_URL=url, KINGPOST_API_KEY="key").stderr
    again, twice, last = said.splitlines()
    assert again == twice == "The queue is full (429); trying again in 1 s."
    assert re.fullmatch(r"The queue is full; tried 3 times in \d+ s\.", last)


def test_a_predict_of_a_model_that_loads_says_so(stack: Stack, logged_in: Shell) -> None:
    gate = logged_in.folder / "gate"
    package = stack.package("sluggish", SLUGGISH.format(gate=str(gate)))
    os.mkfifo(gate)
    stack.shell.type(f"kingpost push --no-wait {package}")
    with Client(stack.url, stack.key) as client:
        status = partial(client.deployments.get, "sluggish")
        wait_until(lambda: status().status == "LOADING_MODEL", 60, "it does not begin to load")
    call = Shell(logged_in.folder, logged_in.variables).start("kingpost predict sluggish")
    assert call.stderr and call.stderr.readline() == "sluggish is loading; waiting ...\n"
    gate.write_text("open")
    assert call.communicate(timeout=60) == ("7\n", "")


@pytest.mark.parametrize("command", ["jobs ls", "status", "doctor"])
def test_the_address_of_another_web_server_is_said_to_be_one(far: Shell, command: str) -> None:
    with answering(404, {"content-type": "text/html"}, b"<h1>404</h1>") as url:
        done = far.run(f"kingpost {command}", KINGPOST_URL=url, KINGPOST_API_KEY="key")
    said = f"{url} is not a Kingpost server: it answered with an HTML page (404)."
    assert done.returncode == 1 and said in done.stdout + done.stderr
    assert "<h1>" not in done.stdout + done.stderr
