"""What ends a WebSocket that is passed on, where no goodbye of the server's says it."""

import asyncio
from functools import partial
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request
from websockets.server import ServerProtocol

from api.server.receiving import CountedWebSocket
from deployments.packages.package import Transport
from deployments.pings import HEADER, Pings
from deployments.socket_relay import LOST, MAX_MESSAGE, Opening, ServerSide, opened


async def ended_after(sent: bytes) -> tuple[int, str]:
    """How a connection ends whose server sends this after the handshake, and leaves."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocol = ServerProtocol()
        protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
        (request,) = protocol.events_received()
        assert isinstance(request, Request)
        assert (request.path, request.headers.get_all("Host")) == ("/a%20b?c", ["A.example:80"])
        protocol.send_response(protocol.accept(request))
        writer.write(b"".join(protocol.data_to_send()) + sent)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    connect = partial(asyncio.get_running_loop().create_connection, host="127.0.0.1", port=port)
    server = await opened(Opening("/a%20b?c", [(b"host", b"A.example:80")], ()), connect)
    assert isinstance(server, ServerSide)
    with pytest.raises(ConnectionClosed):
        await server.recv()
    await server.wait_closed()
    listening.close()
    return server.ended


async def test_a_server_that_is_gone_is_an_error_that_says_so() -> None:
    assert await ended_after(b"") == (1011, LOST)
    assert await ended_after(b"\x81\x7e\x10") == (1011, LOST), "in the middle of a message"


async def test_what_is_too_long_or_no_websocket_ends_with_its_code() -> None:
    too_long = b"\x82\x7f" + (MAX_MESSAGE + 1).to_bytes(8, "big")
    assert (await ended_after(too_long))[0] == 1009
    assert (await ended_after(b"\xff\x00"))[0] == 1002


async def test_who_speaks_before_the_answer_is_cut_and_nothing_of_it_is_read() -> None:
    asked: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    answer = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.set_result(scope)
        await answer.wait()

    class Pipe(asyncio.Transport):
        aborted = False

        def abort(self) -> None:
            self.aborted = True

    socket = CountedWebSocket(uvicorn.Config(app, log_config=None), ServerState(), {})
    pipe = Pipe()
    socket.connection_made(pipe)
    socket.data_received(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    scope = await asked
    scope["state"]["set_pings"](3.0, 4.0)
    assert (socket.ping_interval, socket.ping_timeout) == (3.0, 4.0)
    queued = socket.queue.qsize()
    socket.data_received(b"\x81\x85\x00\x00\x00\x00hello")
    assert pipe.aborted
    assert socket.queue.qsize() == queued


@pytest.mark.parametrize(
    ("transport", "pings"),
    [
        (Transport(), Pings(20.0, 20.0)),
        (Transport("websocket", 5), Pings(5, 20.0)),
        (Transport("websocket", 0.25, 1e-3), Pings(0.25, 0.001)),
    ],
)
def test_pings_are_told_as_the_package_has_them(transport: Transport, pings: Pings) -> None:
    assert Pings.of(transport) == pings == Pings.told([(b"x", b"y"), pings.header])


@pytest.mark.parametrize("said", [b"", b"5", b"5 x", b"-1 5", b"0 0", b"nan nan", b"1 2 3"])
def test_what_is_no_pair_of_seconds_leaves_the_usual(said: bytes) -> None:
    assert Pings.told([(HEADER, said)]) == Pings()
