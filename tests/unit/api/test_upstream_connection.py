"""The gateway's end of a model host's socket: answers however they are cut, bodies both ways at once, what breaks."""

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
import uvloop

from api.upstream.connection import connect
from api.upstream.hosts import ReplayableBody, Upstreams
from deployments.host_address import HostAddress
from deployments.http_client.connection import BrokenAnswer, BrokenCall, Connection
from deployments.registry.directory import Directory
from deployments.registry.records import Replica
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore
from tests.conditions import wait_until

SIZED = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
LAST = b"HTTP/1.1 409 Conflict\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello"
END = b"0\r\n\r\n"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def peer(folder: Path, serve: Serve) -> AsyncGenerator[str]:
    """A Unix socket whose connections that function serves."""
    path = str(folder / "s")

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        writer.close()

    server = await asyncio.start_unix_server(served, path)
    async with asyncio.timeout(20):
        yield path
    server.close()


def saying(*answers: bytes, cut: int = 1 << 20) -> Serve:
    """Answers each call with the next of these, in pieces of that length."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            for start in range(0, len(answer), cut):
                writer.write(answer[start : start + cut])
                await asyncio.to_thread(int)  # a turn of the loop: the pieces are read one by one
        await reader.read()

    return serve


async def whole(connection: Connection) -> bytes:
    """The answer's body to its end."""
    pieces = [await connection.read()]
    while not connection.complete:
        pieces.append(await connection.read())
    return b"".join(pieces)


@pytest.mark.parametrize("cut", [1, 7, 1000])
async def test_answers_are_read_however_they_are_cut(tmp_path: Path, cut: int) -> None:
    async with peer(tmp_path, saying(SIZED, CHUNKED, SIZED, LAST, cut=cut)) as path:
        connection = await connect(HostAddress(path), 2)
        for method in ("POST", "GET", "PUT"):
            assert not connection.lost
            await connection.call(method, "/x", [], None)
            assert (connection.status, await whole(connection)) == (200, b"hello")
            assert connection.reusable
        await connection.call("POST", "/x", [], b"")
        assert (connection.status, await whole(connection)) == (409, b"hello")
        assert not connection.reusable
        connection.close()


async def test_an_answer_to_head_has_a_length_and_no_body(tmp_path: Path) -> None:
    head = SIZED.removesuffix(b"hello")
    async with peer(tmp_path, saying(head, SIZED)) as path:
        connection = await connect(HostAddress(path), 2)
        await connection.call("HEAD", "/x", [], None)
        assert await connection.read() == b""
        assert (b"content-length", b"5") in connection.headers
        await connection.call("GET", "/x", [], None)
        assert await whole(connection) == b"hello"
        connection.close()


async def test_a_body_in_an_answer_to_head_ends_the_connection_and_not_the_call(
    tmp_path: Path,
) -> None:
    async with peer(tmp_path, saying(SIZED)) as path:
        connection = await connect(HostAddress(path), 2)
        await connection.call("HEAD", "/x", [], None)
        assert await connection.read() == b""
        assert not connection.reusable


async def test_what_is_sent_is_one_request_with_every_header(tmp_path: Path) -> None:
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read(65536))  # one write comes as one
        writer.write(SIZED)

    async with peer(tmp_path, serve) as path:
        connection = await connect(HostAddress(path), 2)
        await connection.call(
            "POST", "/a?b=c", [(b"host", b"a.b"), (b"x-a", b"1"), (b"x-a", b"2")], b"body"
        )
        connection.close()
    assert got == [
        b"POST /a?b=c HTTP/1.1\r\nhost: a.b\r\nx-a: 1\r\nx-a: 2\r\ncontent-length: 4\r\n\r\nbody"
    ]


async def test_an_answer_begins_before_the_body_ends(tmp_path: Path) -> None:
    heard = asyncio.Queue[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while (line := await reader.readuntil(b"\r\n")) != b"0\r\n":
            piece = await reader.readexactly(int(line, 16) + 2)
            writer.write(b"%b%b" % (line, piece))
        writer.write(END)
        await reader.read()

    async def body() -> AsyncGenerator[bytes]:
        yield b"first"
        yield await heard.get()

    async with peer(tmp_path, serve) as path:
        connection = await connect(HostAddress(path), 2)
        await connection.call("POST", "/x", [], body())
        assert await connection.read() == b"first"
        heard.put_nowait(b"second")
        assert await whole(connection) == b"second"
        assert connection.reusable
        connection.close()


async def test_a_host_that_answers_early_is_heard_and_its_connection_not_used_again(
    tmp_path: Path,
) -> None:
    async def endless() -> AsyncGenerator[bytes]:
        yield b"a"
        await asyncio.get_running_loop().create_future()

    async with peer(tmp_path, saying(SIZED)) as path:
        connection = await connect(HostAddress(path), 2)
        await connection.call("POST", "/x", [], endless())
        assert await whole(connection) == b"hello"
        assert not connection.reusable
        connection.close()


async def test_what_is_wrong_with_the_body_is_raised_and_breaks_the_call(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = await reader.read()
        assert not received.endswith(END)
        ended.set()

    async def body() -> AsyncGenerator[bytes]:
        yield b"a"
        raise KeyError("too long")

    async with peer(tmp_path, serve) as path:
        connection = await connect(HostAddress(path), 2)
        with pytest.raises(KeyError):
            await connection.call("POST", "/x", [], body())
        await ended.wait()


@pytest.mark.parametrize(
    "answer", [b"", SIZED[:30], b"nonsense\r\n\r\n", b"HTTP/1.1 999999 x\r\n\r\n"]
)
async def test_a_host_that_says_no_http_or_leaves_is_a_broken_call(
    tmp_path: Path, answer: bytes
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    async with peer(tmp_path, serve) as path:
        connection = await connect(HostAddress(path), 2)
        with pytest.raises(BrokenCall):
            await connection.call("GET", "/x", [], None)
        assert not connection.reusable


async def test_an_answer_that_breaks_off_gives_what_came_and_then_says_so(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SIZED[:-2])

    async with peer(tmp_path, serve) as path:
        connection = await connect(HostAddress(path), 2)
        await connection.call("GET", "/x", [], None)
        assert await connection.read() == b"hel"
        with pytest.raises(BrokenCall):
            await connection.read()


async def test_a_second_answer_to_one_call_is_nobody_s(tmp_path: Path) -> None:
    """It would be taken for that of the next caller."""
    async with peer(tmp_path, saying(SIZED + LAST)) as path:
        connection = await connect(HostAddress(path), 2)
        await connection.call("GET", "/x", [], None)
        assert (connection.status, await whole(connection)) == (200, b"hello")
        assert not connection.reusable


async def test_a_host_that_speaks_unasked_is_not_listened_to(tmp_path: Path) -> None:
    async with peer(tmp_path, saying(SIZED)) as path:
        connection = await connect(HostAddress(path), 2)
        await connection.call("GET", "/x", [], None)
        assert await whole(connection) == b"hello"
        assert connection.reusable
        connection.data_received(SIZED)
        assert not connection.reusable


async def test_a_slow_reader_makes_the_host_wait(tmp_path: Path) -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 33554432\r\n\r\n")
        for _ in range(32):
            writer.write(b"x" * (1 << 20))
            await writer.drain()
            sent += 1

    async with peer(tmp_path, serve) as path:
        connection = await connect(HostAddress(path), 2)
        await connection.call("GET", "/x", [], None)
        for _ in range(20):  # turns in which the host could go on
            await asyncio.to_thread(int)
        assert sent < 16
        assert len(await whole(connection)) == 32 << 20
        connection.close()


def replica(path: str) -> Replica:
    return Replica("r1", "d1", "m", "ready", None, path, slots=1, busy=0, pid=1, host_pid=1)


async def nothing() -> AsyncGenerator[bytes]:
    return
    yield b""


@pytest.mark.parametrize("reads", [False, True])
async def test_a_kept_connection_that_ends_is_replaced_if_its_host_has_not_read_the_call(
    tmp_path: Path, reads: bool
) -> None:
    calls, sent = 0, asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        await reader.readuntil(b"\r\n\r\n")
        calls += 1
        if calls == 1 and not reads:
            cast(asyncio.Transport, writer.transport).pause_reading()
        writer.write(SIZED)
        await writer.drain()
        if calls == 1:  # leaves when the second call comes
            await (reader.read(1) if reads else sent.wait())

    upstreams = Upstreams(Directory(AsyncJobStore(Settings())))

    async def answer_of(path: str) -> bytes:
        body = ReplayableBody(nothing(), absent=True)
        async with upstreams.request(replica(path), "GET", "/x", [], body) as answer:
            return await whole(answer)

    async with peer(tmp_path, serve) as path:
        assert await answer_of(path) == b"hello"
        second = asyncio.create_task(answer_of(path))
        await asyncio.to_thread(int)
        sent.set()
        if reads:  # the model may have run: whether it runs again is decided by who counts
            with pytest.raises(BrokenCall):
                await second
        else:
            assert await second == b"hello"
    upstreams.close()
    assert calls == 1 + (not reads)


async def test_an_answer_that_nobody_read_is_not_the_next_caller_s(tmp_path: Path) -> None:
    """A caller may leave, or the head be refused, when all of the answer is here already."""
    answers = [SIZED.replace(b"hello", b"mine!"), CHUNKED]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (line := await reader.readline()) and answers:
            if line == b"\r\n":
                writer.write(answers.pop(0))

    upstreams = Upstreams(Directory(AsyncJobStore(Settings())))
    call = ReplayableBody(nothing(), absent=True)
    async with peer(tmp_path, serve) as path:
        async with upstreams.request(replica(path), "GET", "/x", [], call) as answer:
            assert answer.complete
        async with upstreams.request(replica(path), "GET", "/x", [], call) as answer:
            assert await whole(answer) == b"hello"
    upstreams.close()


async def test_trailers_are_no_headers_of_the_answer(tmp_path: Path) -> None:
    trailed = CHUNKED.removesuffix(b"\r\n") + b"x-sum: 1\r\nset-cookie: a=b\r\n\r\n"
    async with peer(tmp_path, saying(trailed)) as path:
        connection = await connect(HostAddress(path), 2)
        await connection.call("GET", "/x", [], None)
        assert await whole(connection) == b"hello"
        assert connection.headers == [(b"transfer-encoding", b"chunked")]
        assert connection.reusable
        connection.close()


async def test_a_body_is_sent_again_as_a_whole_after_a_replica_died_in_its_middle() -> None:
    more = asyncio.Queue[bytes | None]()

    async def source() -> AsyncGenerator[bytes]:
        while chunk := await more.get():
            yield chunk

    body = ReplayableBody(source())
    more.put_nowait(b"one ")
    first = body.stream()
    assert await anext(first) == b"one "
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await anext(first)  # waits for a piece that has not come
    for chunk in (b"two ", b"three", None):
        more.put_nowait(chunk)
    assert b"".join([chunk async for chunk in body.stream()]) == b"one two three"
    assert body.to_send() == b"one two three"


async def test_early_hints_come_before_the_answer_and_another_protocol_is_none(
    tmp_path: Path,
) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    async with peer(tmp_path, saying(hints + hints + SIZED, cut=7)) as path:
        connection = await connect(HostAddress(path), 2)
        await connection.call("GET", "/x", [], None)
        assert (connection.status, await whole(connection)) == (200, b"hello")
        assert b"link" not in dict(connection.headers)
        connection.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: 5\r\n\r\nhello",
        b"nonsense\r\n\r\n",
    ],
)
async def test_an_answer_that_breaks_is_no_silence(tmp_path: Path, answer: bytes) -> None:
    async with peer(tmp_path, saying(answer)) as path:
        connection = await connect(HostAddress(path), 2)
        with pytest.raises(BrokenAnswer):
            await connection.call("GET", "/x", [], None)
        connection.close()


def dying(path: Path, reads: bool, accepts: bool) -> None:
    """A host that is killed with a call on its socket, before or after it has read it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.with_name("listens").touch()
        if not accepts:
            wait_until(path.with_name("called").exists)
            return
        with listener.accept()[0] as connection:
            if reads:
                connection.recv(65_536)
            else:
                wait_until(path.with_name("called").exists)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize(("reads", "accepts"), [(True, True), (False, True), (False, False)])
def test_a_broken_call_says_whether_the_host_can_have_read_it(
    tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop], reads: bool, accepts: bool
) -> None:
    async def call() -> BrokenCall:
        connection = await connect(HostAddress(str(tmp_path / "s")), 2)
        made = asyncio.create_task(connection.call("POST", "/x", [], b"{}"))
        await asyncio.to_thread(int)
        (tmp_path / "called").touch()
        with pytest.raises(BrokenCall) as broken:
            await made
        assert not isinstance(broken.value, BrokenAnswer)
        return broken.value

    host = threading.Thread(target=dying, args=(tmp_path / "s", reads, accepts))
    host.start()
    wait_until((tmp_path / "listens").exists)
    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(call()).unread is not reads
    host.join()
