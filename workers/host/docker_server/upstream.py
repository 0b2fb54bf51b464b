"""Calls the server behind a `docker_server` host, with one loopback connection for each call.

Closing the connection ends a call, which every server understands. A new connection on loopback is cheap.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from deployments.http_client.connection import BrokenCall, Connection
from deployments.http_client.exchange import RawHeaders
from deployments.sendable import why_unsendable

HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
# the Host header of a call from the worker, which has no caller's name for the server
INNER_HOST = b"host"


class UpstreamError(Exception):
    """The server refused the connection, broke it, or sent no valid HTTP."""


class UpstreamResponse:
    """A response whose head was received. `chunks` reads the body. Always close it."""

    def __init__(self, connection: Connection) -> None:
        """Raises UpstreamError for a head that cannot be passed on."""
        self._connection = connection
        self.status, headers = connection.status, connection.headers
        if why := why_unsendable(self.status, headers):
            raise UpstreamError(f"The server's answer cannot be passed on: {why}.")
        named = [value for name, value in headers if name == b"connection"]
        own = HOP_BY_HOP.union(name.strip().lower() for v in named for name in v.split(b","))
        self.headers = [pair for pair in headers if pair[0] not in own]  # end-to-end ones

    @property
    def has_length(self) -> bool:
        """True if the server announced the length of the body. Then it is not a stream."""
        return self._connection.has_length

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The pieces of the body as the server sent them. Raises UpstreamError if it ends too early."""
        more = True
        while more:
            try:
                pieces = await self._connection.pieces()
            except BrokenCall as error:
                raise _broken(error) from error
            more = not self._connection.complete
            for piece in pieces:
                yield piece

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([chunk async for chunk in self.chunks()])

    def close(self) -> None:
        """Ends the call, whether it is done or not."""
        self._connection.close()


async def request(
    port: int, method: str, target: str, headers: Sequence[tuple[bytes, bytes]], body: bytes = b""
) -> UpstreamResponse:
    """Sends one request to 127.0.0.1:`port` and waits for the head of its answer. Raises UpstreamError."""
    loop = asyncio.get_running_loop()
    try:
        _, connection = await loop.create_connection(
            lambda: Connection(ends_by_close=True), "127.0.0.1", port
        )
    except OSError as error:
        raise UpstreamError(f"The server does not answer on port {port}: {error}") from error
    sent = body if body or method in ("POST", "PUT", "PATCH") else None
    try:
        await connection.call(method, target, _passed(port, headers), sent)
        return UpstreamResponse(connection)
    except BrokenCall as error:
        connection.close()
        raise _broken(error) from error
    except BaseException:  # a cancel, too, must close the connection: the server then stops
        connection.close()
        raise


def _broken(error: BrokenCall) -> UpstreamError:
    return UpstreamError(f"The server did not answer in full: {error}.")


def _passed(port: int, headers: Sequence[tuple[bytes, bytes]]) -> RawHeaders:
    dropped = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
    kept = [pair for pair in headers if pair[0].lower() not in dropped]
    # The caller's own name, so that the server speaks of addresses that its caller can reach.
    named = next((value for name, value in headers if name.lower() == b"host"), INNER_HOST)
    host = f"127.0.0.1:{port}".encode() if named == INNER_HOST else named
    return [*kept, (b"host", host), (b"connection", b"close")]
