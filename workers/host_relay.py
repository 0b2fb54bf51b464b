"""A websocket between a client and the server behind a `docker_server` host, message by message."""

import asyncio

from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from workers.host_websocket import MAX_MESSAGE, SERVER_ERROR

OWN_HEADERS = ("host", "connection", "upgrade")  # and sec-websocket-*: each side makes its own


class WebSocketRelay:
    """ASGI app that opens the same websocket at the server and passes messages both ways."""

    def __init__(self, port: int, target: str) -> None:
        self._url = f"ws://127.0.0.1:{port}{target}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = WebSocket(scope, receive, send)
        headers = [
            (name, value)
            for name, value in client.headers.items()
            if name not in OWN_HEADERS and not name.startswith("sec-websocket-")
        ]
        try:
            async with connect(
                self._url,
                additional_headers=headers,
                max_size=MAX_MESSAGE,
                subprotocols=client.scope.get("subprotocols") or None,
                compression=None,
                proxy=None,
            ) as server:
                await client.accept(server.subprotocol)
                await _pass_on(client, server)
        except (OSError, WebSocketException):
            if client.application_state is not WebSocketState.DISCONNECTED:
                await client.close(SERVER_ERROR)


async def _pass_on(client: WebSocket, server: ClientConnection) -> None:
    """Until either side closes; the other is then closed with the same code."""
    upward = asyncio.create_task(_from_client(client, server))
    try:
        async for message in server:
            await (
                client.send_text(message)
                if isinstance(message, str)
                else client.send_bytes(message)
            )
    except ConnectionClosed:
        pass  # its code is passed on below
    except WebSocketDisconnect:
        return
    finally:
        upward.cancel()
    if client.client_state is WebSocketState.CONNECTED:
        await client.close(server.close_code or 1000, server.close_reason)


async def _from_client(client: WebSocket, server: ClientConnection) -> None:
    while True:
        message = await client.receive()
        if message["type"] == "websocket.disconnect":
            await server.close(message.get("code") or 1000)
            return
        text = message.get("text")
        await server.send(text if text is not None else message["bytes"])
