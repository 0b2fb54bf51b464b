"""A small HTTP/1.1 client for the server behind a `docker_server` host: one connection per call.

Ending a call is closing its connection, which every server understands; loopback makes a new one cheap.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

import httptools

from deployments.sendable import why_unsendable

READ_BYTES = 64 * 1024
HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
INNER_HOST = b"host"  # what a call says that comes from the worker
Headers = list[tuple[bytes, bytes]]


class UpstreamError(Exception):
    """The server refused the connection, broke it, or sent what is no HTTP."""


@dataclass
class _Parsed:
    """What the parser found so far; its methods are the parser's callbacks."""

    status: int = 0
    headers: Headers = field(default_factory=Headers)
    chunks: list[bytes] = field(default_factory=list[bytes])
    has_head: bool = False
    complete: bool = False

    def __post_init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()
        if self.status == 101:
            raise UpstreamError("another protocol, which nobody asked for")
        self.has_head = not 100 <= self.status < 200
        if not self.has_head:  # early hints and the like: the answer comes after them
            self.headers.clear()

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)

    def on_message_complete(self) -> None:
        self.complete = self.has_head


class UpstreamResponse:
    """A response whose head is here and whose body comes by `chunks`; close it in any case."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str
    ) -> None:
        self._reader, self._writer = reader, writer
        self._parsed = _Parsed()
        self._bodyless = method == "HEAD"
        self.status = 0
        self.headers: Headers = []  # end-to-end ones, names in lower case

    @property
    def has_length(self) -> bool:
        """True when the server said how long the body is: it is no stream."""
        return any(name == b"content-length" for name, _ in self._parsed.headers)

    async def read_head(self) -> None:
        """Waits for status and headers. Raises UpstreamError."""
        while not self._parsed.has_head:
            await self._feed()
        self.status = self._parsed.status
        if why := why_unsendable(self.status, self._parsed.headers):
            raise UpstreamError(f"The server's answer cannot be passed on: {why}.")
        named = [value for name, value in self._parsed.headers if name == b"connection"]
        own = HOP_BY_HOP.union(name.strip().lower() for v in named for name in v.split(b","))
        self.headers = [pair for pair in self._parsed.headers if pair[0] not in own]

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The body as it comes. Raises UpstreamError when it ends too early."""
        while not self._bodyless:
            for chunk in self._parsed.chunks:
                yield chunk
            self._parsed.chunks.clear()
            if self._parsed.complete or not await self._feed():
                return

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([chunk async for chunk in self.chunks()])

    def close(self) -> None:
        """Ends the call, whether it is done or not."""
        self._writer.close()

    async def _feed(self) -> bool:
        """One read into the parser; False at the end of a body that only the connection's end marks."""
        try:
            data = await self._reader.read(READ_BYTES)
            if data:
                self._parsed.parser.feed_data(data)
                return True
        except (OSError, httptools.HttpParserError) as error:
            raise UpstreamError(f"The server broke the connection: {error}") from error
        framed = self.has_length or any(n == b"transfer-encoding" for n, _ in self._parsed.headers)
        if framed or not self._parsed.has_head:
            raise UpstreamError("The server closed the connection before the end of its answer.")
        return False


async def request(
    port: int, method: str, target: str, headers: Sequence[tuple[bytes, bytes]], body: bytes = b""
) -> UpstreamResponse:
    """Sends one request to 127.0.0.1:`port` and waits for the head of its answer. Raises UpstreamError."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        raise UpstreamError(f"The server does not answer on port {port}: {error}") from error
    response = UpstreamResponse(reader, writer, method)
    try:
        writer.write(_head(port, method, target, headers, len(body)) + body)
        await writer.drain()
        await response.read_head()
    except OSError as error:
        response.close()
        raise UpstreamError(f"The server broke the connection: {error}") from error
    except BaseException:  # a cancel, too, must close the connection: the server then stops
        response.close()
        raise
    return response


def _head(
    port: int, method: str, target: str, headers: Sequence[tuple[bytes, bytes]], length: int
) -> bytes:
    dropped = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
    kept = [pair for pair in headers if pair[0].lower() not in dropped]
    # The caller's own name, so that the server speaks of addresses that its caller can reach.
    named = next((value for name, value in headers if name.lower() == b"host"), INNER_HOST)
    host = f"127.0.0.1:{port}".encode() if named == INNER_HOST else named
    kept += [(b"host", host), (b"connection", b"close")]
    if length or method in ("POST", "PUT", "PATCH"):
        kept.append((b"content-length", str(length).encode()))
    lines = [f"{method} {target} HTTP/1.1".encode(), *(n + b": " + v for n, v in kept)]
    return b"\r\n".join(lines) + b"\r\n\r\n"
