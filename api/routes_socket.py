"""WebSockets: both directions passed through to the model host, close codes included."""

import asyncio
import contextlib
from collections.abc import Generator
from typing import cast

import aiohttp
from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from api.gateway import authenticate, deployment_for, gateway_of, new_request_id
from api.passing import forwarded
from api.problems import Problem, log
from api.targets import TARGETS
from api.tcp_upstream import check_door, connector_to, headers_to
from api.upstream import CONNECT_SECONDS
from api.waiting import Asking
from deployments.resolver import Target
from deployments.ways import Way
from tasks.errors import KingpostError

router = APIRouter()
# The client library must not add what the client did not say.
NOT_OURS = ("User-Agent", "Accept", "Accept-Encoding")
MESSAGE_BYTES = 100 * 1024 * 1024
HANDSHAKE_TIMEOUT = aiohttp.ClientTimeout(total=300, sock_connect=CONNECT_SECONDS)
HANDSHAKE = frozenset(
    {
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
    }
)


async def websocket(socket: WebSocket) -> None:
    """Pins the connection to one replica until either side closes."""
    try:
        deployment_id = await _ready_deployment(socket)
        async with contextlib.AsyncExitStack() as open_until_the_end:
            upstream = await _connected(socket, deployment_id, open_until_the_end)
            await socket.accept()
            await _pump(socket, upstream)
    except (Problem, KingpostError) as error:
        await _deny(socket, error)
    except aiohttp.ClientError:
        await _deny(socket, _unreachable())


async def _ready_deployment(socket: WebSocket) -> str:
    gateway, key = gateway_of(socket), await authenticate(socket)
    deployment = await deployment_for(socket, key, _target_of(socket))
    if not gateway.directory.ready(deployment.id):
        await Asking.of(gateway, deployment, key).until_ready()
    return deployment.id


async def _connected(
    socket: WebSocket, deployment_id: str, stack: contextlib.AsyncExitStack
) -> aiohttp.ClientWebSocketResponse:
    """A WebSocket to the least loaded replica that can be reached. Raises Problem and ClientError."""
    upstreams, failed = gateway_of(socket).upstreams, frozenset[str]()
    while replica := upstreams.choose(deployment_id, failed):
        try:
            with _door_checked():
                upstream = await _handshake(socket, upstreams.way(replica), stack)
        except (aiohttp.ClientConnectionError, OSError) as error:
            log.warning("replica.failed", replica=replica.id, error=repr(error))
            upstreams.shun(replica)
            failed |= {replica.id}
        else:
            stack.enter_context(upstreams.counted(replica))
            return upstream
    raise _unreachable()


async def _handshake(
    socket: WebSocket, way: Way, stack: contextlib.AsyncExitStack
) -> aiohttp.ClientWebSocketResponse:
    headers = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in forwarded(socket, new_request_id())
        if name not in HANDSHAKE
    ]
    session = aiohttp.ClientSession(
        connector=connector_to(way),
        headers=[*headers, *headers_to(way).items()],
        timeout=HANDSHAKE_TIMEOUT,
        skip_auto_headers=NOT_OURS,
    )
    await stack.enter_async_context(session)
    connecting = session.ws_connect("http://host/v1/websocket", max_msg_size=MESSAGE_BYTES)
    return await stack.enter_async_context(connecting)


def _unreachable() -> Problem:
    return Problem(502, "model_unavailable", "The model cannot be reached.")


@contextlib.contextmanager
def _door_checked() -> Generator[None]:
    try:
        yield
    except aiohttp.WSServerHandshakeError as error:
        check_door(error.status, error.headers)
        raise


def _target_of(socket: WebSocket) -> Target:
    names = socket.path_params
    if "deployment_id" in names:
        return Target(None, names["deployment_id"])
    first = socket.scope["path"].split("/")[1]
    return Target(names.get("environment", first))


async def _deny(socket: WebSocket, error: Problem | KingpostError) -> None:
    status = error.status if isinstance(error, Problem) else 404
    message = {"type": "websocket.http.response.start", "status": status, "headers": []}
    if "websocket.http.response" in socket.scope.get("extensions", {}):
        await socket.send(message)
        await socket.send({"type": "websocket.http.response.body", "body": str(error).encode()})
    else:
        await socket.close(1011, str(error)[:120])


async def _pump(socket: WebSocket, upstream: aiohttp.ClientWebSocketResponse) -> None:
    up = asyncio.create_task(_client_to_model(socket, upstream))
    down = asyncio.create_task(_model_to_client(socket, upstream))
    await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
    for task in (up, down):
        task.cancel()
    await asyncio.gather(up, down, return_exceptions=True)


async def _client_to_model(socket: WebSocket, upstream: aiohttp.ClientWebSocketResponse) -> None:
    while True:
        try:
            message = await socket.receive()
        except WebSocketDisconnect:
            return
        if message["type"] == "websocket.disconnect":
            await upstream.close(code=message.get("code") or 1000)
            return
        if message.get("text") is not None:
            await upstream.send_str(message["text"])
        else:
            await upstream.send_bytes(message["bytes"])


async def _model_to_client(socket: WebSocket, upstream: aiohttp.ClientWebSocketResponse) -> None:
    async for message in upstream:
        if message.type is aiohttp.WSMsgType.TEXT:
            await socket.send_text(cast(str, message.data))
        elif message.type is aiohttp.WSMsgType.BINARY:
            await socket.send_bytes(cast(bytes, message.data))
    code = upstream.close_code
    await socket.close(code if code and code != 1006 else 1011)


for _prefix in TARGETS:
    router.websocket(f"{_prefix}/websocket")(websocket)
