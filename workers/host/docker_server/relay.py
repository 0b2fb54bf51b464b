"""A websocket between a client and the server behind a `docker_server` host."""

import asyncio
from functools import partial

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidHandshake, InvalidStatus

from deployments.pings import Pings
from deployments.socket_relay import Opening, RawHeaders, denial, opened, relay
from workers.host.docker_server.redirects import from_root
from workers.host.errors import DOWNSTREAM, Reply, error_headers, json_reply
from workers.host.logs import event
from workers.host.routes.private import to_response
from workers.wire.calls import PRIVATE_PREFIX

HANDSHAKE_SECONDS = 300.0  # for the server to accept the websocket; it may first do work


class WebSocketRelay:
    """ASGI app that opens the same websocket at the server and passes messages both ways."""

    def __init__(self, port: int, target: str, pings: Pings) -> None:
        self._port, self._target, self._pings = port, target, pings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = WebSocket(scope, receive, send)
        headers = _without_private(scope["headers"])
        opening = Opening(self._target, headers, scope.get("subprotocols", ()))
        connect = partial(
            asyncio.get_running_loop().create_connection, host="127.0.0.1", port=self._port
        )
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                server = await opened(opening, connect)
        except InvalidStatus as refused:
            await client.send_denial_response(denial(refused, self._answered))
            return
        except (OSError, InvalidHandshake) as error:
            await client.send_denial_response(_unreachable(error))
            return
        headers = [*self._answered(server.answer_headers), self._pings.header]
        await client.accept(server.subprotocol, headers)
        await relay(client, server)

    def _answered(self, headers: RawHeaders) -> RawHeaders:
        return from_root(_without_private(headers), self._port, self._target)


def _without_private(headers: RawHeaders) -> RawHeaders:
    return [pair for pair in headers if not pair[0].startswith(PRIVATE_PREFIX)]


def _unreachable(error: Exception) -> Response:
    message = f"The server did not open the websocket: {error or type(error).__name__}."
    event("server.unreachable", "error", message=message)
    reply = json_reply(502, {"error": message})
    return to_response(Reply(502, reply.body, reply.content_type, error_headers(DOWNSTREAM)))
