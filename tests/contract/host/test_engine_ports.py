"""Each copy of an engine has a port of its own, and is ready only when the port is its own; slots hold for sync calls, too."""

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest

from cli.stack.ports import free_port
from tests.conditions import wait_until
from tests.contract.host.conftest import StartHost
from tests.contract.host.running import RunningHost

pytestmark = pytest.mark.kingpost_only("docker_server")
SERVER = """
import http.server, json, os, pathlib, sys, threading

class Engine(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer({"port": self.server.server_port, "named": os.environ["PORT"]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if body == "hold":
            pathlib.Path("holding").touch()
            gate.wait()
        if body == "open":
            gate.set()
        self.answer(body)

    def answer(self, said):
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

gate = threading.Event()
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Engine).serve_forever()
"""

DAEMON = """
import os, pathlib
for _ in range(2):  # as a service does: nobody of the command's session or descendants is left
    if os.fork():
        os._exit(0)
    os.setsid()
pathlib.Path("daemon").write_text(str(os.getpid()))
"""


def config(command: str, port: int = 8000) -> str:
    return f"""
        runtime: {{predict_concurrency: 2}}
        docker_server:
          start_command: "{command}"
          server_port: {port}
          predict_endpoint: /v1/chat/completions
          readiness_endpoint: /ready
          liveness_endpoint: /live
    """


def started(
    start_host: StartHost, place: str, port: int = 8000, state: str = "ready"
) -> RunningHost:
    command = f"{sys.executable} server.py {place}"
    return start_host(None, config(command, port), {"server.py": SERVER}, state)


@pytest.fixture(scope="module")
def host(start_host: StartHost) -> RunningHost:
    return started(start_host, "{port}")


@pytest.mark.parametrize("place", ["{port}", "$PORT", "${PORT:-8000}"])
def test_two_copies_run_side_by_side(start_host: StartHost, host: RunningHost, place: str) -> None:
    ports = {h.http.get("/x").json()["port"] for h in (host, started(start_host, place))}
    assert len(ports) == 2 and 8000 not in ports
    said = host.http.get("/x").json()
    assert said["named"] == str(said["port"])


def test_a_second_copy_with_a_port_in_its_command_is_refused_with_the_way_out(
    start_host: StartHost,
) -> None:
    port = free_port()
    first = started(start_host, str(port), port)
    second = started(start_host, str(port), port, "failed")
    assert second.state()["error"]["message"] == (
        f"Port {port} of this machine is taken by another replica, and start_command names it itself. Write {{port}} or $PORT "
        "there instead: then each replica gets a port of its own."
    )
    assert first.predict("x").json() == "x"


def test_a_port_of_another_program_is_named_with_it(start_host: StartHost) -> None:
    port = free_port()
    with listening(port):
        error = started(start_host, str(port), port, "failed").state()["error"]["message"]
    assert error.startswith(f"Port {port} of this machine is taken by ") and "(process " in error


def test_a_stranger_at_the_port_does_not_make_it_ready(start_host: StartHost) -> None:
    port = free_port()
    host = start_host(None, config("touch started; sleep 600", port), state=None)
    wait_until((host.package / "started").exists)
    with listening(port):
        host.wait("failed")
    error = host.state()["error"]["message"]
    assert error.startswith(f"At port {port} ")
    assert error.endswith(" answers, and not the start_command.")


def test_a_server_that_becomes_a_daemon_is_the_command_s(start_host: StartHost) -> None:
    port, files = free_port(), {"server.py": DAEMON + SERVER}
    command = config(f"{sys.executable} server.py {port}; sleep 600", port)
    host = start_host(None, command, files, state=None)
    try:
        assert host.wait().predict("x").json() == "x"
    finally:
        os.kill(int((host.package / "daemon").read_text()), signal.SIGKILL)


def test_sync_calls_take_slots_and_questions_do_not(host: RunningHost) -> None:
    with ThreadPoolExecutor(4) as pool:
        held = [pool.submit(host.predict, "hold") for _ in range(2)]
        host.settle(busy=2)
        waits = pool.submit(host.http.post, "/v1/embeddings", json="later")
        host.settle(busy=2, sync_waiting=1)
        assert host.http.get("/metrics").status_code == 200
        assert host.worker.post("/slots?wait=0").status_code == 204  # none is free for a job
        wait_until((host.package / "holding").exists)
        opened(host)
        assert [call.result().json() for call in held] == ["hold", "hold"]
        assert waits.result().json() == "later"
    assert host.state()["busy"] == 0


def opened(host: RunningHost) -> None:
    """Lets the calls that are held go on, past the slots."""
    port = host.http.get("/x").json()["port"]
    assert httpx.post(f"http://127.0.0.1:{port}/x", json="open").status_code == 200


@contextmanager
def listening(port: int) -> Iterator[None]:
    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", port), Stranger)
    Thread(target=server.serve_forever, daemon=True).start()
    yield
    server.shutdown()
    server.server_close()
