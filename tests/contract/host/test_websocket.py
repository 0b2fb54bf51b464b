"""WebSockets."""

import asyncio
import json

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.contract.host.conftest import StartHost
from tests.contract.host.running import RunningHost

LOADS_LATE = """
import pathlib, time
class Late:
    def load(self):
        while not pathlib.Path("data/go").exists():
            time.sleep(0.01)
"""
MODEL = """
class Model(globals().get("Late", object)):
    async def websocket(self, ws):
        async for text in ws.iter_text():
            if text == "end":
                return
            if text == "fail":
                raise ValueError("private")
            if text == "close":
                await ws.close(4000, "mine")
                return
            await ws.send_text(text + ws.headers["x-baseten-request-id"])
"""


def opened(host: RunningHost) -> connect:
    headers = {"x-baseten-request-id": "r"}
    return host.websocket(additional_headers=headers, max_size=None)


async def closing(socket: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed):
        async with asyncio.timeout(10):
            await socket.recv()
    return socket.close_code or 0, socket.close_reason or ""


async def test_messages_and_close_codes(start_host: StartHost) -> None:
    host = start_host(MODEL, "runtime: {transport: {kind: websocket, ping_interval_seconds: 5}}")
    server_error = (1011, "Internal Server Error (in model/chainlet).")
    for text, code in (("end", (1000, "")), ("fail", server_error), ("close", (4000, "mine"))):
        async with opened(host) as socket:
            await socket.send("hello")
            assert await socket.recv() == "hellor"
            await socket.send(text)
            assert await closing(socket) == code
    assert "ValueError: private" in host.text()


WAYS_TO_END = """
import sys
import fastapi
class Model:
    async def websocket(self, ws):
        what = await ws.receive_text()
        if what == "accept again":
            await ws.accept()
        if what == "http":
            raise fastapi.HTTPException(418, "tea")
        if what == "exception of its own":
            raise fastapi.WebSocketException(4005, "mine")
        if what == "close and raise":
            await ws.close(4007, "bye")
            raise ValueError
        if what == "close and send":
            await ws.close(4008)
            await ws.send_text("x")
        if what == "exit":
            sys.exit(1)
        await ws.send_bytes(b"x")
        await ws.send_json({"client": ws.client.host, "query": dict(ws.query_params)})
"""
ABNORMAL = (1006, "")
SERVER_ERROR = (1011, "Internal Server Error (in model/chainlet).")


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("accept again", SERVER_ERROR),
        ("http", SERVER_ERROR),
        ("exception of its own", SERVER_ERROR),
        ("close and raise", (4007, "bye")),
        ("close and send", (4008, "")),
        ("exit", ABNORMAL),
    ],
)
async def test_however_it_ends(start_host: StartHost, what: str, code: tuple[int, str]) -> None:
    host = start_host(WAYS_TO_END)
    async with opened(host) as socket:
        await socket.send(what)
        assert await closing(socket) == code
    assert host.process.poll() is None


async def test_bytes_and_json_and_who_calls(start_host: StartHost) -> None:
    host = start_host(WAYS_TO_END)
    async with host.websocket("/v1/websocket?a=b") as socket:
        await socket.send("")
        assert await socket.recv() == b"x"
        told = json.loads(await socket.recv())
        assert told == {"client": "127.0.0.1", "query": {"a": "b"}}
        assert await closing(socket) == (1000, "")


async def test_a_client_that_leaves_is_no_error_and_large_messages_pass(
    start_host: StartHost,
) -> None:
    host = start_host(MODEL)
    async with opened(host) as socket:
        await socket.send("x" * 20_000_000)
        assert len(await socket.recv()) == 20_000_001
    async with opened(host) as socket:
        await socket.send("x" * (100 << 20) + "y")
        assert (await closing(socket))[0] == 1009
    assert host.state()["state"] == "ready"
    assert not [line for line in host.logs() if "ERROR" in json.dumps(line).upper()]
    answer = await asyncio.to_thread(host.predict, 1)
    assert (answer.status_code, answer.headers["x-baseten-error-code"]) == (500, "500")
    assert "AssertionError" in answer.json()["error"]


async def test_without_a_websocket_method_the_close_says_so(start_host: StartHost) -> None:
    host = start_host("class Model:\n    def predict(self): pass")
    async with opened(host) as socket:
        reason = "WebSocket is not implemented on this deployment."
        assert await closing(socket) == (1003, reason)


HOW_IT_LEFT = """
from fastapi import WebSocketDisconnect
LEFT = []
class Model:
    async def websocket(self, ws):
        if await ws.receive_text() == "left":
            await ws.send_json(LEFT)
            return
        await ws.send_json([ws.scope["subprotocols"], ws.headers.get("sec-websocket-protocol")])
        try:
            await ws.receive_text()
        except WebSocketDisconnect as gone:
            LEFT.append([gone.code, gone.reason])
            raise
"""


async def test_the_model_hears_how_its_client_left(start_host: StartHost) -> None:
    host = start_host(HOW_IT_LEFT)
    expected: list[list[object]] = []

    async def left() -> list[list[object]]:
        async with host.websocket() as socket:
            await socket.send("left")
            return json.loads(await socket.recv())

    for how in ("code", "no code", "cut"):
        async with host.websocket() as socket:
            await socket.send("stay")
            assert json.loads(await socket.recv()) == [[], None]
            if how == "code":
                await socket.close(4001, "enough")
            elif how == "no code":
                async with socket.send_context():
                    socket.protocol.send_close()
            else:
                socket.transport.abort()
        expected.append([4001, "enough"] if how == "code" else [1005, ""])
        async with asyncio.timeout(10):
            while await left() != expected:
                pass


async def test_subprotocols_reach_the_model_and_none_is_chosen(start_host: StartHost) -> None:
    host = start_host(HOW_IT_LEFT)
    offered = [Subprotocol("first"), Subprotocol("second")]
    async with host.websocket(subprotocols=offered) as socket:
        assert socket.subprotocol is None
        await socket.send("stay")
        assert json.loads(await socket.recv()) == [offered, "first, second"]


async def test_before_the_load_the_upgrade_is_refused(start_host: StartHost) -> None:
    host = start_host(LOADS_LATE + MODEL, state="loading")
    with pytest.raises(InvalidStatus) as refused:
        async with opened(host):
            pass
    assert refused.value.response.status_code == 503
    assert json.loads(refused.value.response.body) == {
        "error": "Model with name model is not ready."
    }
    (host.package / "data" / "go").touch()
    await asyncio.to_thread(host.wait, "ready")
    async with opened(host) as socket:
        await socket.send("a")
        assert await socket.recv() == "ar"
