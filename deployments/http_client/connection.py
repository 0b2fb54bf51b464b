"""A connection for asyncio. A small call is one write, the answer comes in pieces, and there is backpressure both ways.

A general client prepares every call for cookies, redirects, proxies, encodings and URLs. Calls between the gateway and our hosts have
none of these, and they would cost more than the rest of the call.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from typing import Any

from deployments.http_client.exchange import (
    CHUNKED,
    LAST_CHUNK,
    AnswerError,
    AnswerReader,
    RawHeaders,
    chunk,
    request_head,
    sized,
)

HELD_BYTES = (
    256 * 1024
)  # of an answer that nobody has read yet; with more, reading pauses and the server has to wait
ONE_READ = 64 * 1024  # bytes of a call that a server reads at once or not at all
# On a Unix socket these errors say that the peer did not read what was sent.
UNREAD = (ConnectionResetError, BrokenPipeError)


class BrokenCall(ConnectionError):
    """The server is gone, or what it sent is not HTTP. `unread`: it has certainly not read the call."""

    unread = False


class BrokenAnswer(BrokenCall):
    """An answer came that cannot be passed on. The call was made and must not be repeated."""


class Connection(asyncio.Protocol):
    """A connection for one call at a time: `call`, then `read` until the end. It is free for the next call if `reusable`."""

    def __init__(self, ends_by_close: bool = False) -> None:
        """With `ends_by_close`, an answer without a length is complete when the server closes the connection.

        Without it such an answer has broken off.
        """
        self.lost = False
        self._answer = AnswerReader()
        self._ends_by_close = ends_by_close
        self._transport: Any = None
        self._answered = False
        self._reading = self._writing = True
        self._at_once = self._unix = False  # the call was sent in one write; over a Unix socket
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._sender: asyncio.Task[None] | None = None

    @property
    def status(self) -> int:
        """The status of the answer."""
        return self._answer.status

    @property
    def headers(self) -> RawHeaders:
        """The headers of the answer, with names in lower case."""
        return self._answer.headers

    @property
    def has_length(self) -> bool:
        """Whether the server announced the length of the body. Then it is not a stream."""
        return self._answer.has_length

    @property
    def complete(self) -> bool:
        """Whether the whole answer was received."""
        return self._answer.complete

    @property
    def reusable(self) -> bool:
        """Whether call and answer are complete and the server keeps the connection."""
        return self._answer.reusable and not self.lost and self._sender is None

    async def call(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes] | None,
    ) -> None:
        """Sends a call, `host` among its headers, and waits for the head of its answer.

        Raises BrokenCall, and what the body raises. No line break may be in target and headers.
        """
        self._answered = False
        if self.lost:
            raise _unread("the connection was closed before the call")
        self._answer.begin(method)
        if body is None or isinstance(body, bytes):
            more = b"" if body is None else sized(len(body))
            call = request_head(method, target, headers, more) + (body or b"")
            self._at_once = len(call) <= ONE_READ
            self._transport.write(call)
        else:
            self._at_once = False
            self._transport.write(request_head(method, target, headers, CHUNKED))
            # A task, since the answer may begin before the body ends.
            self._sender = asyncio.create_task(self._send(body))
        while not self._answer.has_head:
            await self._wait()

    async def read(self) -> bytes:
        """The next bytes of the body. It waits for some, and is empty only at the end. Raises BrokenCall."""
        return b"".join(await self.pieces())

    async def pieces(self) -> list[bytes]:
        """Like `read`, but in the pieces in which the server sent them."""
        answer = self._answer
        while not answer.pieces and not answer.complete:
            await self._wait()
        taken = answer.take_pieces()
        if not self._reading and not self.lost:
            self._reading = True
            self._transport.resume_reading()
        return taken

    def close(self) -> None:
        """Closes the connection, which also ends a running call."""
        if self._sender:
            self._sender.cancel()
        self._transport.abort()

    async def _send(self, body: AsyncIterator[bytes]) -> None:
        """Sends a body of unknown length in chunks."""
        try:
            async for piece in body:
                if piece:
                    self._transport.writelines(chunk(piece))
                if not self._writing:
                    self._drained = asyncio.get_running_loop().create_future()
                    await self._drained
                if self.lost:
                    return
        except Exception as error:  # of the body's source: the caller of `call` or `read` gets it
            self._fail(error)
            self._transport.abort()
            return
        self._transport.write(LAST_CHUNK)
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
        if not self._answer.complete and self._error is None:
            self._error = error
        self._wake()

    def _drop(self) -> None:
        self.lost = True
        self._transport.abort()

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._unix = transport.get_extra_info("socket").family == socket.AF_UNIX

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        self._answered = True
        try:
            answer.feed(data)
        except AnswerError as error:
            self._fail(BrokenAnswer(f"the answer is not HTTP: {error}"))
            self._drop()
            return
        if answer.excess:  # nobody asked for it, so the next answer could be mistaken
            self._drop()
        elif answer.held > HELD_BYTES and self._reading and answer.pieces:
            self._reading = False
            self._transport.pause_reading()
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if exc is None and self._ends_by_close and self._answer.end_by_close():
            self._wake()
            return
        kind = BrokenAnswer if self._answered else BrokenCall
        if kind is BrokenCall and self._at_once and self._unix and isinstance(exc, UNREAD):
            kind = _unread
        why = f" ({exc})" if exc else ""
        self._fail(kind(f"the connection was closed before the end of the answer{why}"))

    def pause_writing(self) -> None:
        self._writing = False

    def resume_writing(self) -> None:
        self._writing = True
        self._wake()


def _unread(why: str) -> BrokenCall:
    error = BrokenCall(why)
    error.unread = True
    return error
