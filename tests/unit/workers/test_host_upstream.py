"""Odd answers of a custom server: what comes before the answer is no answer, and what cannot be passed on is an error of one call."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from workers.host.docker_server.upstream import UpstreamError, request

HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
ODD = [
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    b"HTTP/1.1 999 Odd\r\ncontent-length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nx: a\x01b\r\ncontent-length: 5\r\n\r\nhello",
    HINTS,  # and nothing after it
    b"nonsense\r\n\r\n",
]


@asynccontextmanager
async def server(answer: bytes, cut: int = 1 << 20) -> AsyncGenerator[tuple[int, list[bytes]]]:
    """Its port, and the requests that came; it answers each with these bytes, in pieces of that length."""
    came: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.readuntil(b"\r\n\r\n"))
        for start in range(0, len(answer), cut):
            writer.write(answer[start : start + cut])
            await asyncio.to_thread(int)  # a turn of the loop: the pieces are read one by one
        writer.close()

    made = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with asyncio.timeout(20):
        yield made.sockets[0].getsockname()[1], came
    made.close()


@pytest.mark.parametrize("cut", [1, 1000])
@pytest.mark.parametrize("last", [SIZED, CHUNKED])
async def test_early_hints_come_before_the_answer(last: bytes, cut: int) -> None:
    async with server(CONTINUE + HINTS + HINTS + last, cut) as (port, _):
        response = await request(port, "GET", "/x", [])
        assert (response.status, await response.read()) == (200, b"hello")
        assert b"link" not in dict(response.headers)
        response.close()


@pytest.mark.parametrize("answer", ODD)
async def test_an_answer_that_cannot_be_passed_on_is_an_error_and_asked_for_once(
    answer: bytes,
) -> None:
    async with server(answer) as (port, came):
        with pytest.raises(UpstreamError):
            await request(port, "POST", "/x", [], b"")
        assert len(came) == 1


@pytest.mark.parametrize("cut", [1, 1000])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\nhello",  # until the connection ends
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        CHUNKED.removesuffix(b"\r\n") + b"x-trailer: 1\r\n\r\n",
        SIZED + SIZED,  # the second answer is nobody's
    ],
)
async def test_an_answer_of_any_server_is_read_to_its_end(answer: bytes, cut: int) -> None:
    async with server(answer, cut) as (port, came):
        response = await request(port, "GET", "/x", [(b"host", b"a.b"), (b"te", b"trailers")])
        assert (response.status, await response.read()) == (200, b"hello")
        assert b"x-trailer" not in dict(response.headers)
        response.close()
    assert came == [b"GET /x HTTP/1.1\r\nhost: a.b\r\nconnection: close\r\n\r\n"]


@pytest.mark.parametrize("answer", [SIZED[:-1], CHUNKED[:-1], CHUNKED[:-8]])
async def test_an_answer_that_breaks_off_is_an_error(answer: bytes) -> None:
    async with server(answer) as (port, _):
        response = await request(port, "GET", "/x", [])
        with pytest.raises(UpstreamError, match="did not answer in full"):
            await response.read()
        response.close()


async def test_an_answer_to_head_has_no_body() -> None:
    async with server(SIZED.removesuffix(b"hello")) as (port, _):
        response = await request(port, "HEAD", "/x", [])
        assert (b"content-length", b"5") in response.headers
        assert await response.read() == b""
        response.close()


async def test_a_server_may_answer_before_it_has_read_the_request() -> None:
    """As one that refuses a large body: it reads no more of it, and the answer still counts."""
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SIZED)
        await done.wait()
        writer.close()

    made = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with asyncio.timeout(20):
        port = made.sockets[0].getsockname()[1]
        response = await request(port, "POST", "/x", [], bytes(64 << 20))
        assert (response.status, await response.read()) == (200, b"hello")
        response.close()
        done.set()
    made.close()
