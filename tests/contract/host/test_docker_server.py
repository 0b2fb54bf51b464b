"""Any HTTP server as the model host."""

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.stack.ports import free_port
from tests.conditions import wait_until
from tests.contract.host.conftest import StartHost
from tests.contract.host.running import RunningHost
from tests.processes import descendants

pytestmark = pytest.mark.kingpost_only("docker_server")
SERVER = """
import asyncio, os, pathlib, sys
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute

FOLDER = pathlib.Path(".")
print("server starts with", os.environ["FLAG"], flush=True)

async def generate(request):
    body = await request.json()
    if body == "stream" or body == "ticks":
        async def chunks():
            try:
                for n in range(3 if body == "stream" else 100_000):
                    yield f"data: {n}\\n\\n"
                    (FOLDER / "streaming").touch()
                    await asyncio.sleep(0.01)
            finally:
                (FOLDER / f"ended-{body}").touch()
        return StreamingResponse(chunks(), media_type="text/event-stream")
    if body == "hang":
        (FOLDER / "hanging").touch()
        while not await request.is_disconnected():
            await asyncio.sleep(0.01)
        (FOLDER / "left").touch()
    if body == "die":
        os._exit(7)
    if body == "no":
        return JSONResponse({"detail": "no"}, 422, {"x-mine": "1"})
    return JSONResponse({"got": body, "path": request.url.path, "query": request.url.query,
                         "id": request.headers.get("x-baseten-request-id"),
                         "private": [h for h in request.headers if h.startswith("x-kingpost")]})

async def anything(request):
    return Response(await request.body(), 201, {"x-method": request.method, "x-path": request.url.path})

async def live(request):
    return Response("")

async def ready(request):
    return Response("", 503 if (FOLDER / "unready").exists() else 200)

async def echo(ws):
    await ws.accept()
    async for text in ws.iter_text():
        if text == "close":
            await ws.close(4001, "mine")
            return
        await ws.send_text(text * 2)

app = Starlette(routes=[
    Route("/generate", generate, methods=["POST"]), WebSocketRoute("/generate", echo),
    Route("/live", live), Route("/ready", ready),
    Route("/{path:path}", anything, methods=["GET", "PUT", "POST"]),
])
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
"""


def config(command: str) -> str:
    port = free_port()
    return f"""
        environment_variables: {{FLAG: on}}
        runtime: {{predict_concurrency: 2}}
        docker_server:
          start_command: {command} {port}
          server_port: {port}
          predict_endpoint: /generate
          readiness_endpoint: /ready
          liveness_endpoint: /live
    """


@pytest.fixture
def host(start_host: StartHost) -> RunningHost:
    return start_host(None, config(f"{sys.executable} server.py"), {"server.py": SERVER})


def test_endpoints_are_mapped_and_the_rest_is_passed_on(host: RunningHost) -> None:
    assert host.state()["slots"] == 2
    answer = host.predict("x", headers={"x-baseten-request-id": "r"}, params={"a": "1"})
    assert answer.json() == {
        "got": "x", "path": "/generate", "query": "a=1", "id": "r", "private": [],
    }  # fmt: skip
    assert host.http.get("/").status_code == 200
    assert host.http.get("/v1/models/model").status_code == 200
    (host.package / "unready").touch()
    assert host.http.get("/v1/models/model").status_code == 503
    put = host.http.put("/v1/items%20/5?x=1", content=b"body" * 100_000)
    assert (put.status_code, put.content) == (201, b"body" * 100_000)
    assert (put.headers["x-method"], put.headers["x-path"]) == ("PUT", "/v1/items /5")
    assert host.http.get("/ready").status_code == 503
    refused = host.predict("no")
    assert (refused.status_code, refused.json()) == (422, {"detail": "no"})
    assert refused.headers["x-mine"] == "1"
    assert any("server starts with true" in line.get("message", "") for line in host.logs())


def test_streams_pass_through(host: RunningHost) -> None:
    answer = host.predict("stream")
    assert answer.text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert answer.headers["content-type"].startswith("text/event-stream")
    with host.http.stream("POST", "/generate", json="ticks") as ticks:
        assert next(ticks.iter_raw())
    wait_until((host.package / "ended-ticks").exists)


def test_jobs_run_stream_and_fail_as_sync_calls_do(host: RunningHost) -> None:
    job = host.job("x", name="j1", headers={"x-kingpost-slot": "none"})
    assert job.json() == {"got": "x", "path": "/generate", "query": "", "id": "j1", "private": []}
    assert job.kinds == "RBE"
    stream = host.job("stream")
    assert (stream.kinds, stream.head.text) == ("OOORE", True)
    refused = host.job("no")
    assert (refused.status_code, refused.headers["x-mine"]) == (422, "1")
    other = host.job("x", headers={"x-kingpost-path": "/v1/chat/completions"})
    assert (other.status_code, other.headers["x-path"]) == (201, "/v1/chat/completions")


@pytest.mark.parametrize(("what", "begun", "ended"), [
    ("hang", "hanging", "left"),
    ("ticks", "streaming", "ended-ticks"),
])  # fmt: skip
def test_a_cancel_closes_the_connection(
    host: RunningHost, what: str, begun: str, ended: str
) -> None:
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(host.job, what, "stopped")
        wait_until((host.package / begun).exists)
        assert host.worker.delete("/jobs/stopped").status_code == 202
        answer: Any = job.result()
    assert answer.status_code == 499
    assert answer.end.stopped_by in ("cooperative", "closed")
    wait_until((host.package / ended).exists)
    assert host.state()["busy"] == 0


async def test_websockets_are_relayed(host: RunningHost) -> None:
    async with host.websocket() as ws:
        await ws.send("a")
        assert await ws.recv() == "aa"
        await ws.send("close")
        await ws.wait_closed()
        assert (ws.close_code, ws.close_reason) == (4001, "mine")


def test_a_server_that_cannot_start_fails_the_load(start_host: StartHost) -> None:
    host = start_host(None, config("echo no such weights; exit 3; echo"), state="failed")
    error = host.state()["error"]
    assert error["message"] == "The server ended with exit code 3 before it was ready."
    assert error["traceback"] == "no such weights"
    assert host.predict("x").status_code == 503
    assert host.worker.post("/jobs/job1", content="1").status_code == 503


def test_a_server_that_dies_takes_its_host_along(host: RunningHost) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        host.job("die")
    assert host.process.wait(10) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_server_ends_with_its_host(host: RunningHost, number: int) -> None:
    started = descendants(host.process.pid)
    assert any(b"server.py" in _command(pid) for pid in started)
    os.kill(host.process.pid, number)
    host.process.wait(10)
    wait_until(lambda: not any(map(_alive, started)))


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
