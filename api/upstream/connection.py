"""HTTP/1.1 to a model host: one write for a small call, chunks as they come, backpressure both addresses.

A general client prepares every call for the open web: cookies, redirects, proxies, encodings, URLs. Between the
gateway and a host of ours there are none of these, and they cost more than all the rest of a call.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, TypeVar

from httptools import HttpParserError, HttpResponseParser

from deployments.host_address import HostAddress, probe_silence

HELD_BYTES = 256 * 1024  # of an answer that nobody has read yet; then the host has to wait
RawHeaders = list[tuple[bytes, bytes]]
Spoken = TypeVar("Spoken", bound=asyncio.Protocol)


class BrokenCall(ConnectionError):
    """The host is gone, or what it sent is not HTTP."""


class BrokenAnswer(BrokenCall):
    """An answer came and cannot be passed on: the call was made, and is not to be made again."""


class UpstreamConnection(asyncio.Protocol):
    """One connection, one call at a time; free for the next one when `reusable`."""

    def __init__(self) -> None:
        self.lost = False
        self.status = 0
        self.headers: RawHeaders = []
        self.complete = True
        self._transport: Any = None
        self._parser: HttpResponseParser | None = None
        self._is_head = self._keeps = self._has_head = self._answered = False
        self._interim = False
        self._pieces: list[bytes] = []
        self._held = 0
        self._reading = self._writing = True
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._sender: asyncio.Task[None] | None = None

    @property
    def reusable(self) -> bool:
        """Whether call and answer are over and the host keeps the connection."""
        return self.complete and self._keeps and not self.lost and self._sender is None

    @property
    def silent(self) -> bool:
        """Whether nothing of an answer has come."""
        return not self._answered

    async def call(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes] | None,
    ) -> None:
        """Sends a call and waits for the head of its answer. Raises BrokenCall, and what the body raises.

        `target` is quoted, and `headers` (`host` among them) are those of a request that was parsed: no line
        break can be in them.
        """
        self._begin(method)
        head = [f"{method} {target} HTTP/1.1\r\n".encode("latin-1")]
        head += [b"%b: %b\r\n" % pair for pair in headers]
        if body is None:
            self._transport.write(b"".join([*head, b"\r\n"]))
        elif isinstance(body, bytes):
            length = b"content-length: %d\r\n\r\n" % len(body)
            self._transport.write(b"".join([*head, length, body]))
        else:
            self._transport.write(b"".join([*head, b"transfer-encoding: chunked\r\n\r\n"]))
            # A task, since the answer may begin before the body ends.
            self._sender = asyncio.create_task(self._send(body))
        while not self._has_head:
            await self._wait()

    async def read(self) -> bytes:
        """What has come of the body, waiting for some; empty only at its end. Raises BrokenCall."""
        while not self._pieces and not self.complete:
            await self._wait()
        pieces, self._pieces, self._held = self._pieces, [], 0
        if not self._reading and not self.lost:
            self._reading = True
            self._transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Ends the connection, and with it a call that runs."""
        if self._sender:
            self._sender.cancel()
        self._transport.abort()

    def _begin(self, method: str) -> None:
        if self.lost:
            raise BrokenCall("the host closed the connection")
        self.status, self.headers, self.complete = 0, [], False
        self._has_head = self._keeps = False
        self._is_head, self._answered = method == "HEAD", False
        self._parser = HttpResponseParser(self)

    async def _send(self, body: AsyncIterator[bytes]) -> None:
        """A body whose length nobody knows, as chunks."""
        try:
            async for piece in body:
                if piece:
                    self._transport.writelines((b"%x\r\n" % len(piece), piece, b"\r\n"))
                if not self._writing:
                    self._drained = asyncio.get_running_loop().create_future()
                    await self._drained
                if self.lost:
                    return
        except Exception as error:  # the client's: whoever waits for the answer gets it
            self._fail(error)
            self._transport.abort()
            return
        self._transport.write(b"0\r\n\r\n")
        self._sender = None

    async def _wait(self) -> None:
        if self._error:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        for waiter in (self._waiter, self._drained):
            if waiter and not waiter.done():
                waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self.complete and self._error is None:
            self._error = error
        self._wake()

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self.complete or self._parser is None:
            self.lost = True  # nobody asked: whose answer this is cannot be told
            self._transport.abort()
            return
        self._answered = True
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self.lost = True
            self._fail(BrokenAnswer(f"the host's answer is not HTTP: {error}"))
            self._transport.abort()
            return
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        kind = BrokenAnswer if self._answered else BrokenCall
        self._fail(kind(f"the host closed the connection: {exc or 'no more to come'}"))

    def pause_writing(self) -> None:
        self._writing = False

    def resume_writing(self) -> None:
        self._writing = True
        self._wake()

    # the parser's callbacks

    def on_message_begin(self) -> None:
        if self._has_head:
            raise BrokenAnswer("a second answer to one call")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        assert self._parser
        self.status = self._parser.get_status_code()
        self._interim = 100 <= self.status < 200
        if self._interim:  # early hints and the like: the answer comes after them
            self.headers = []
            if self.status == 101:
                raise BrokenAnswer("another protocol, which nobody asked for")
            return
        self._keeps = self._parser.should_keep_alive()
        self._has_head = True
        if self._is_head:
            self.complete = True

    def on_body(self, body: bytes) -> None:
        if self._is_head:
            raise BrokenAnswer("a body where there is none: who asked for the head has its answer")
        self._pieces.append(body)
        self._held += len(body)
        if self._held > HELD_BYTES and self._reading:
            self._reading = False
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        self.complete = not self._interim


async def connect(address: HostAddress, seconds: float) -> UpstreamConnection:
    """A connection to the model host at that end. Raises OSError, and TimeoutError, which is one."""
    return (await reach(address, seconds, UpstreamConnection))[1]


async def reach(
    address: HostAddress, seconds: float, made: Callable[[], Spoken]
) -> tuple[asyncio.Transport, Spoken]:
    """The same for any protocol."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(seconds):
        if not address.token:
            return await loop.create_unix_connection(made, address.address)
        transport, spoken = await loop.create_connection(made, *address.endpoint)
    probe_silence(transport.get_extra_info("socket"))
    return transport, spoken
