"""What strangers send is looked at one by one, and one request at a time on a connection."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import uvicorn

from api.server import turnstile
from api.server.connections import Connections
from api.server.receiving import AHEAD_BYTES, CountedWebSocket, protocol
from api.server.turnstile import Turnstile
from tests.attack.stand import request

REQUEST = request("/x")


class Wire(asyncio.Transport):
    """A connection whose other side is the test."""

    def __init__(self) -> None:
        super().__init__({"peername": ("10.0.0.1", 1)})
        self.written = b""
        self.paused = self.closed = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Turn:
    """Waiting for it ends in the next turn of the loop."""

    def __await__(self) -> Generator[None]:
        yield


async def _turns(count: int) -> None:
    for _ in range(count):
        await Turn()


async def test_one_is_served_in_a_turn_and_the_newest_first() -> None:
    turns, served = Turnstile(), list[int]()
    for number in range(3):
        turns.enter(lambda number=number: served.append(number), ahead=False)
    await _turns(2)
    assert served == [2]
    await _turns(2)
    assert served == [2, 1, 0]


async def test_health_goes_ahead_of_all_others() -> None:
    turns, served = Turnstile(), list[str]()
    turns.enter(lambda: served.append("health"), ahead=True)
    for _ in range(3):
        turns.enter(lambda: served.append("other"), ahead=False)
    await _turns(2)
    assert served[0] == "health"


async def test_while_connections_come_few_are_served(monkeypatch: Any) -> None:
    work = [0.0]
    monkeypatch.setattr(turnstile, "thread_time", lambda: work[0])
    turns, served = Turnstile(), list[int]()
    for number in range(4):
        turns.enter(lambda number=number: served.append(number), ahead=False)
    for _ in range(5):
        turns.accepted()
        await _turns(1)
    assert served == []
    work[0] += turnstile.WHILE_ACCEPTING
    turns.accepted()
    await _turns(2)
    assert served == [3]
    await _turns(8)
    assert served == [3, 2, 1, 0]


class Rig:
    """A connection to an application that answers with the body of each request, when it may."""

    def __init__(self, key: str = "") -> None:
        self.key, self.seen, self.may_answer = key, list[bytes](), asyncio.Event()
        self.may_answer.set()
        self.known = Connections(100)
        config = uvicorn.Config(
            self._app, http=protocol(30, self.known), ws=CountedWebSocket, interface="asgi3"
        )
        config.load()
        state = uvicorn.server.ServerState()
        self.served: Any = config.http_protocol_class(  # type: ignore[operator]
            config, server_state=state, app_state={}
        )
        self.wire = Wire()
        self.served.connection_made(self.wire)

    async def _app(
        self,
        scope: Any,
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        if self.key:
            scope["state"]["connection"].show(self.key)
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message.get("more_body", False)
        self.seen.append(body)
        await self.may_answer.wait()
        head = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})

    async def said(self, *pieces: bytes) -> list[bytes]:
        for piece in pieces:
            self.served.data_received(piece)
        await _turns(600)
        return self.seen


async def test_requests_that_come_at_once_get_the_first_one_s_answer_and_a_close() -> None:
    for key in ("", "somebody"):
        rig = Rig(key)
        assert await rig.said(REQUEST * 3) == [b""]
        assert rig.wire.written.count(b"HTTP/1.1 200") == 1
        assert b"connection: close" in rig.wire.written
        assert rig.wire.closed


async def test_a_request_that_comes_before_the_answer_s_last_piece_is_answered_after_it() -> None:
    for key in ("", "somebody"):
        rig = Rig(key)
        rig.may_answer.clear()
        sized = request("/x", "", "Content-Length: 9", method="POST") + b"ab\r\n\r\ncde"
        assert await rig.said(REQUEST) == [b""]
        assert await rig.said(sized) == [b""]
        assert rig.wire.paused
        rig.may_answer.set()
        assert await rig.said() == [b"", b"ab\r\n\r\ncde"]
        assert rig.wire.written.count(b"HTTP/1.1 200") == 2
        assert (rig.wire.paused, rig.known.held) == (False, 0)


async def test_bodies_arrive_whole_in_any_pieces() -> None:
    head = request("/x", "", "Transfer-Encoding: chunked", method="POST")
    said = head + b"1388\r\n" + b"x" * 5000 + b"\r\n0\r\n\r\n"
    for size in (1, 7, 4096, len(said)):
        seen = await Rig().said(*(said[i : i + size] for i in range(0, len(said), size)))
        assert seen == [b"x" * 5000]


async def test_who_sends_far_ahead_is_cut() -> None:
    rig = Rig()
    rig.may_answer.clear()
    await rig.said(REQUEST)
    await rig.said(b"x" * (AHEAD_BYTES + 1))
    assert rig.wire.closed
    assert rig.known.refused["too_far_ahead"] == 1
    rig.served.connection_lost(None)
    assert rig.known.held == 0


async def test_a_connection_that_is_gone_gives_back_what_it_held() -> None:
    rig = Rig()
    rig.served.data_received(REQUEST)
    assert rig.known.held == len(REQUEST)
    rig.wire.closed = True
    rig.served.connection_lost(None)
    assert (rig.known.held, await rig.said()) == (0, [])
