"""A deadline for receiving a request: a client that sends a byte now and then holds a connection for ever otherwise.

uvicorn has a limit for idle connections and none for slow ones; a middleware would come too late for headers.
"""

import asyncio
from time import monotonic
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SLOWEST = 16 * 1024  # bytes a second that a body must reach on average, beyond the first seconds
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class DeadlineProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a deadline from the first moment of a request to its last byte."""

    receive_seconds = 30.0

    def connection_made(self, transport: Any) -> None:
        """A connection that says nothing is slow, too."""
        self._deadline: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for any more."""
        self._end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts, and starts the clock of a further request on the same connection."""
        cycle: Any = self.cycle  # None before the first request, whatever its annotation says
        if self._deadline is None and (cycle is None or cycle.response_complete):
            self._begin()
        self._received += len(data)
        super().data_received(data)

    def on_message_complete(self) -> None:
        """The request is here as a whole."""
        self._end()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """From here on it is a conversation."""
        self._end()
        super().handle_websocket_upgrade()

    def _begin(self) -> None:
        self._received, self._began = 0, monotonic()
        self._deadline = self.loop.call_later(self.receive_seconds, self._check)

    def _end(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def _check(self) -> None:
        """Bodies may take longer while they flow, or while it is we who do not read."""
        beyond = monotonic() - self._began - self.receive_seconds
        if self.flow.read_paused or self._received > (beyond + 1) * SLOWEST:
            self._deadline = self.loop.call_later(1.0, self._check)
            return
        cycle: Any = self.cycle
        if not self.transport.is_closing():
            if cycle is None or not cycle.response_started:
                self.transport.write(TOO_SLOW)
            self.transport.close()


def protocol(receive_seconds: float) -> type[DeadlineProtocol]:
    """The protocol with that deadline, as uvicorn's configuration takes it."""
    return type("DeadlineProtocol", (DeadlineProtocol,), {"receive_seconds": receive_seconds})
