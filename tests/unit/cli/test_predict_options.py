"""What the options of `kingpost predict --async` become in the body of async_predict."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest

from tests.typed import typed


class Server(BaseHTTPRequestHandler):
    """Takes submissions, and keeps their bodies."""

    bodies: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        said = json.dumps({"request_id": "0" * 32}).encode()
        self.send_response(201)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("KINGPOST_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("KINGPOST_API_KEY", "kp_test.key")
        Server.bodies.clear()
        yield Server.bodies
        server.shutdown()


ALL = "--priority 2 --webhook https://example.com/hook --max-time-in-queue-seconds 60 --max-attempts 5 --initial-delay-ms 0 --max-delay-ms 1000"


def test_each_field_of_the_body_has_an_option(bodies: list[dict[str, Any]]) -> None:
    said = typed(["predict", "m", "-i", "a=1", "--async", "--detach", *ALL.split()])
    assert (said.exit_code, said.stdout) == (0, "0" * 32 + "\n"), said.output
    assert bodies == [
        {
            "model_input": {"a": 1},
            "priority": 2,
            "webhook_endpoint": "https://example.com/hook",
            "max_time_in_queue_seconds": 60,
            "inference_retry_config": {"max_attempts": 5, "initial_delay_ms": 0, "max_delay_ms": 1000},
        }
    ]  # fmt: skip
    assert not typed(["predict", "m", "--async", "--detach"]).exit_code
    assert bodies[1:] == [{"model_input": {}}]


@pytest.mark.parametrize("option", [*ALL.split()[::2], "--detach"])
def test_an_option_of_the_queue_needs_async(option: str) -> None:
    given = dict(zip(ALL.split()[::2], ALL.split()[1::2], strict=True)).get(option)
    said = typed(["predict", "m", option, *([given] if given else [])])
    assert said.exit_code == 2 and "--async" in said.output
