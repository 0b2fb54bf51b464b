"""WebSockets end to end: through the gateway, the model host, and the relay to a custom server."""

import asyncio
import contextlib
import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import Event
from websockets.typing import Subprotocol

from tests.contract.api.conftest import KEY, Live, custom_server
from tests.contract.private_routes import spellings
from tests.memory import MEGABYTE, peak_rss

MODEL = "/models/socket/production/websocket"
SERVER = """
import sys
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

left = []

async def talk(ws):
    if ws.query_params.get("refuse"):
        await ws.send_denial_response(JSONResponse({"no": "entry"}, 429, {"retry-after": "7", "x-mine": "1"}))
        return
    await ws.accept("second" if "second" in ws.scope["subprotocols"] else None, [(b"x-mine", b"1")])
    while True:
        message = await ws.receive()
        if message["type"] == "websocket.disconnect":
            left.append([message.get("code"), message.get("reason")])
            return
        order, _, rest = (message.get("text") or "").partition(" ")
        if order == "close":
            code, _, reason = rest.partition(" ")
            await ws.send({"type": "websocket.close", "code": int(code) if code else None, "reason": reason})
            return
        if order == "left":
            await ws.send_json(left)
        elif order == "tell":
            await ws.send_json({"url": str(ws.url), "headers": ws.headers.items(),
                                "subprotocols": ws.scope["subprotocols"]})
        else:
            await ws.send_text(message["text"])

app = Starlette(routes=[
    Route("/ready", lambda _: Response()), WebSocketRoute("/talk", talk), WebSocketRoute("/other/{x}", talk),
])
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
"""


@pytest.fixture(scope="module")
def custom(live: Live) -> Iterator[str]:
    """Where a custom server's websocket is."""
    with custom_server(live, "talk", SERVER, "/talk"):
        yield "/models/talk/production/websocket"


@pytest.fixture(params=["model", "custom server"])
def place(request: pytest.FixtureRequest) -> str:
    """A websocket of a model, then one of a custom server."""
    return MODEL if request.param == "model" else request.getfixturevalue("custom")


def opened(live: Live, path: str, key: str = KEY, **more: Any) -> connect:
    headers = {"Authorization": f"Api-Key {key}", **more.pop("headers", {})}
    host, port = live.url.removeprefix("http://").split(":")
    address = f"ws://{more.pop('named', host)}:{port}{path}"
    more = {"host": host, "port": int(port), "max_size": None, "proxy": None, **more}
    return connect(address, additional_headers=headers, **{"open_timeout": 60, **more})


async def closing(socket: ClientConnection) -> tuple[int | None, str | None]:
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code, socket.close_reason


async def told(live: Live, path: str, **more: Any) -> dict[str, Any]:
    async with opened(live, path, **more) as socket:
        await socket.send("tell")
        return json.loads(await socket.recv())


async def left(live: Live, path: str) -> list[list[Any]]:
    async with opened(live, path) as socket:
        await socket.send("left")
        return json.loads(await socket.recv())


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, ""), (4321, "ö, mine"), (3000, "x" * 123)]
)
async def test_the_model_s_code_and_reason_reach_the_client(
    live: Live, place: str, code: int, reason: str
) -> None:
    async with opened(live, place) as socket:
        await socket.send(f"close {code} {reason}")
        assert await closing(socket) == (code, reason)


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3999, 4002])
async def test_the_client_s_code_and_reason_reach_the_model(
    live: Live, place: str, code: int
) -> None:
    reason = f"ö, {code} because"
    async with opened(live, place) as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"
        await socket.close(code, reason)
    await until_left(live, place, [code, reason])


async def until_left(live: Live, place: str, how: list[Any], times: int = 1) -> None:
    async with asyncio.timeout(20):
        while (await left(live, place)).count(how) < times:
            pass


async def test_a_goodbye_without_a_code_stays_one(live: Live, custom: str) -> None:
    async with opened(live, custom) as socket:
        await socket.send("close")
        assert await closing(socket) == (1005, "")
    before = (await left(live, custom)).count([1005, ""])
    async with opened(live, custom) as socket, socket.send_context():
        socket.protocol.send_close()
    await until_left(live, custom, [1005, ""], before + 1)


async def test_a_client_that_vanishes_vanishes_for_the_model_too(live: Live, place: str) -> None:
    """uvicorn then says 1005 and no reason, which it does say of a goodbye without a code."""
    before = (await left(live, place)).count([1005, None])
    async with opened(live, place) as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"
        socket.transport.abort()
    await until_left(live, place, [1005, None], before + 1)


async def test_query_host_and_headers_reach_the_model_as_over_http(live: Live, place: str) -> None:
    forged = {"X-Forwarded-For": "10.9.9.9", "X-Kingpost-Path": "/", "X-Debug-ID": "7"}
    said = await told(live, f"{place}?a=%2F&a=b%20c", headers=forged)
    named = live.url.partition("//")[2]
    own = "v1/websocket" if place == MODEL else "talk"
    assert said["url"] == f"ws://{named}/{own}?a=%2F&a=b%20c"
    headers = [tuple(pair) for pair in said["headers"]]
    for pair in (
        ("host", named),
        ("x-forwarded-host", named),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-debug-id", "7"),
    ):
        assert [header for header in headers if header[0] == pair[0]] == [pair]
    assert not [value for name, value in headers if "kingpost" in name or KEY in value]


async def test_subprotocols_are_offered_and_the_choice_is_the_server_s(
    live: Live, custom: str
) -> None:
    offered = [Subprotocol("first"), Subprotocol("second")]
    for place, chosen in (
        (custom, "second"),
        (MODEL, None),
    ):  # Truss accepts before it asks a model
        assert (await told(live, place, subprotocols=offered))["subprotocols"] == offered
        async with opened(live, place, subprotocols=offered) as socket:
            assert socket.subprotocol == chosen
    assert (await told(live, custom))["subprotocols"] == []


async def test_the_answer_to_the_handshake_has_the_server_s_headers(
    live: Live, custom: str
) -> None:
    async with opened(live, custom) as socket:
        assert socket.response
        headers = socket.response.headers
        assert (headers["x-mine"], len(headers["x-baseten-request-id"])) == ("1", 32)
        assert not [name for name in headers if name.lower().startswith("x-kingpost")]
        assert len(headers.get_all("date")) == 1


async def refused(
    live: Live, path: str, key: str = KEY, **more: Any
) -> tuple[int, dict[str, str], Any]:
    with pytest.raises(InvalidStatus) as no:
        async with opened(live, path, key, **more):
            pass
    answer = no.value.response
    return answer.status_code, dict(answer.headers.raw_items()), json.loads(answer.body or b"null")


async def test_what_the_server_says_to_a_handshake_it_refuses_passes(
    live: Live, custom: str
) -> None:
    status, headers, body = await refused(live, f"{custom}?refuse=1")
    assert (status, body) == (429, {"no": "entry"})
    assert (headers["retry-after"], headers["x-mine"]) == ("7", "1")


async def test_any_route_of_a_custom_server_may_be_a_websocket(live: Live, custom: str) -> None:
    base = custom.removesuffix("/websocket")
    said = await told(live, f"{base}/sync/other/a%20b?c=d")
    assert said["url"].endswith("/other/a b?c=d"), "as starlette shows %20"
    status, _, _ = await refused(live, f"{base}/sync/nowhere")
    assert status == 403, "what its framework says"


async def test_no_websocket_reaches_the_worker_s_own_routes(live: Live, place: str) -> None:
    base = place.removesuffix("/websocket")
    for target in (*spellings("state"), *spellings("jobs/intruder")):
        status, _, body = await refused(live, f"{base}/sync/{target}")
        assert (status in (400, 403, 404), "slots" in str(body)) == (True, False), target


REFUSED = {
    "no key": (MODEL, ""),
    "a key that nobody has": (MODEL, "kp_0.0"),
    "a scope that may not": (MODEL, "metrics"),
    "another model's key": (MODEL, "other"),
    "a model that is not there": ("/models/nobody/production/websocket", KEY),
    "an environment that is not there": ("/models/socket/environments/none/websocket", KEY),
    "a path that is not there": ("/models/socket/production/websockets", KEY),
    "a host's own target": ("/production/websocket", KEY),
}


@pytest.mark.parametrize("why", REFUSED)
async def test_a_refusal_has_the_status_and_the_body_of_the_same_call_over_http(
    live: Live, why: str
) -> None:
    path, key = REFUSED[why]
    if key == "metrics":
        key = live.new_key(scope="metrics")
    if key == "other":
        key = live.new_key(models=["echo"])
    named = live.url.removeprefix("http://").partition(":")[0]
    if why == "a host's own target":
        named = f"model-{live.deployment('socket').model_id}-production.api.kingpost.test"
    with live.client(key or "") as http:
        plain = path.replace("/websockets", "/predicts").replace("/websocket", "/predict")
        answer = http.post(plain, json={}, headers={"Host": named})
    status, got, body = await refused(live, path, key, named=named)
    assert status == answer.status_code >= 400
    assert body["error_code"] == answer.json()["error_code"]
    if not path.endswith("websockets"):
        assert body == answer.json()
    assert got.get("www-authenticate") == answer.headers.get("www-authenticate")
    assert got["content-type"] == "application/json"


class Watched(ClientConnection):
    """Counts the pings that come."""

    pings = 0

    def process_event(self, event: Event) -> None:
        self.pings += isinstance(event, Frame) and event.opcode is Opcode.PING
        super().process_event(event)


async def test_the_package_s_pings_reach_the_client(live: Live) -> None:
    async with opened(live, MODEL, create_connection=Watched) as socket:
        async with asyncio.timeout(15):  # uvicorn's own first one comes after 20 s
            while socket.pings < 2:  # type: ignore[attr-defined]
                await socket.send("hello")
                assert await socket.recv() == "hello"


def bomb(megabytes: int) -> bytes:
    """A compressed message of so many zeros, a thousandth as long."""
    packer = zlib.compressobj(9, wbits=-12)
    block = packer.compress(bytes(MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * megabytes


async def test_a_message_that_inflates_beyond_the_limit_ends_the_connection(live: Live) -> None:
    async with opened(live, MODEL) as socket:
        await socket.send("hello " * 1000)  # compressed, for so it was agreed
        assert await socket.recv() == "hello " * 1000
        assert [extension.name for extension in socket.protocol.extensions] == [
            "permessage-deflate"
        ]
    before = peak_rss(live.processes["api"].pid)
    for shape in ("one frame", "two frames"):
        async with opened(live, MODEL) as socket:
            halves = [bomb(4000)] if shape == "one frame" else [bomb(90), bomb(3910)]
            async with socket.send_context():
                for n, data in enumerate(halves):
                    kind = Opcode.CONT if n else Opcode.BINARY
                    last = n == len(halves) - 1
                    sent = bytearray(Frame(kind, data, fin=last).serialize(mask=True))
                    sent[0] |= 0 if n else 0x40  # the bit that says compressed
                    socket.protocol.writes.append(bytes(sent))
            assert (await closing(socket))[0] == 1009
    assert peak_rss(live.processes["api"].pid) - before < 500 * MEGABYTE, "it would have been 4000"
    assert (await told(live, MODEL))["subprotocols"] == []
