"""Relays a WebSocket: opens it at a server with the client's head, passes messages both ways, and passes the end on.

The gateway does this for model hosts, and a custom server's host for its server.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable

from starlette.responses import Response
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

RawHeaders = list[tuple[bytes, bytes]]
Connect = Callable[[Callable[[], "ServerSide"]], Awaitable[tuple[asyncio.Transport, "ServerSide"]]]

MAX_MESSAGE = 100 << 20  # bytes, in both directions; a longer one closes with 1009
CLOSE_SECONDS = 10.0  # for the other side to say goodbye
NO_CODE, NO_GOODBYE, SERVER_ERROR = 1005, 1006, 1011  # close codes of RFC 6455, section 7.4.1
LOST = "The connection to the model was lost."
# Headers of the handshake that each side makes itself. The subprotocol is passed on separately.
HANDSHAKE = frozenset(
    {b"connection", b"upgrade", b"sec-websocket-key", b"sec-websocket-version"}
    | {b"sec-websocket-extensions", b"sec-websocket-protocol", b"sec-websocket-accept"}
)
FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive"})
NOT_PASSED_BACK = HANDSHAKE | {b"date", b"server"}  # our own server sends these


class Opening(ClientProtocol):
    """A handshake with the client's own target and headers, including `host`."""

    def __init__(self, target: str, headers: RawHeaders, offered: Iterable[str]) -> None:
        subprotocols = [Subprotocol(name) for name in offered]
        super().__init__(
            parse_uri("ws://host/"), subprotocols=subprotocols or None, max_size=MAX_MESSAGE
        )
        self._target = target
        self._passed = _texts(pair for pair in headers if pair[0].lower() not in HANDSHAKE)

    def connect(self) -> Request:
        """The request to send."""
        own = super().connect().headers
        del own["Host"]
        return Request(self._target, Headers([*self._passed, *own.raw_items()]))


class ServerSide(ClientConnection):
    """The connection to the server."""

    async def end(self, code: int, reason: str) -> None:
        """Closes as the client did: with its code, without a code, or without a close frame."""
        if code == NO_GOODBYE:
            self.transport.abort()
        elif code != NO_CODE:
            await self.close(code, reason)
        else:
            with contextlib.suppress(ConnectionClosed):
                async with self.send_context():
                    self.protocol.send_close()

    @property
    def ended(self) -> tuple[int, str]:
        """The code and reason for the client, once this side is closed."""
        said = (
            self.protocol.close_sent
        )  # by us: the server broke a rule, such as the size of a message
        if self.protocol.close_rcvd_then_sent:
            said = self.protocol.close_rcvd
        return (said.code, said.reason) if said else (SERVER_ERROR, LOST)

    @property
    def answer_headers(self) -> RawHeaders:
        """The headers of the server's answer to the handshake."""
        assert self.response, "it is open"
        pairs = _of_texts(self.response.headers.raw_items())
        return [pair for pair in pairs if pair[0] not in NOT_PASSED_BACK]


async def opened(opening: Opening, connect: Connect) -> ServerSide:
    """Opens the connection. Raises OSError, TimeoutError and InvalidHandshake; its subclass InvalidStatus has the server's answer."""

    def made() -> ServerSide:
        return ServerSide(opening, ping_interval=None, close_timeout=CLOSE_SECONDS)

    transport, server = await connect(made)
    try:
        await server.handshake(user_agent_header=None)
    except BaseException:
        transport.abort()
        raise
    return server


def denial(refused: InvalidStatus, passed: Callable[[RawHeaders], RawHeaders]) -> Response:
    """The answer of a server that refused the handshake, with the headers that may pass."""
    said = refused.response
    response = Response(bytes(said.body or b""), said.status_code)
    headers = passed(_of_texts(said.headers.raw_items()))
    response.raw_headers = [pair for pair in headers if pair[0] not in FRAMING]
    return response


async def relay(client: WebSocket, server: ServerSide) -> None:
    """Passes messages until one side closes. The other side is then closed with the same code and reason."""
    upward = asyncio.create_task(_upward(client, server))
    try:
        if not await _downward(client, server):
            await asyncio.wait({upward}, timeout=CLOSE_SECONDS)  # it knows how the client ended
    finally:
        upward.cancel()
        await asyncio.wait({upward})
        server.transport.abort()


async def _upward(client: WebSocket, server: ServerSide) -> None:
    """Passes the client's messages on until it closes, then closes the server's connection."""
    while True:
        message = await client.receive()
        if message["type"] == "websocket.disconnect":
            await server.end(*_goodbye(message))
            return
        text = message.get("text")
        try:
            await server.send(message["bytes"] if text is None else text)
        except ConnectionClosed:
            return


def _goodbye(message: Message) -> tuple[int, str]:
    """The code and reason of a client that left. For one that vanished, uvicorn has no reason and the code 1005."""
    code, reason = message.get("code") or NO_CODE, message.get("reason")
    if code == NO_CODE and reason is None:
        code = NO_GOODBYE
    return code, reason or ""


async def _downward(client: WebSocket, server: ServerSide) -> bool:
    """Passes the server's messages on until it closes, then closes the client's connection. False if the client cannot be reached."""
    try:
        with contextlib.suppress(ConnectionClosed):
            while True:
                message = await server.recv()
                if isinstance(message, str):
                    await client.send_text(message)
                else:
                    await client.send_bytes(message)
        code, reason = server.ended
        await client.send(_close(code, reason))
    except (WebSocketDisconnect, RuntimeError):  # the client has closed first
        return False
    return True


def _close(code: int, reason: str) -> Message:
    return {
        "type": "websocket.close",
        "code": None if code == NO_CODE else code,
        "reason": reason,
    }


def _texts(pairs: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """The headers in the form of the WebSocket library."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs]


def _of_texts(pairs: Iterable[tuple[str, str]]) -> RawHeaders:
    """The headers in the form of ASGI servers."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
