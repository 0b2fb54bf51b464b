"""Limits what a client without a valid key may use: time for its request, bytes of headers, connections.

uvicorn limits idle connections, but not slow ones or endless headers. A middleware would run too late to limit headers.
"""

import asyncio
import re
from functools import partial
from time import monotonic
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from api.server.connections import Connection, Connections
from api.server.turnstile import Turnstile
from tasks.errors import KingpostError

SLOWEST = (
    16 * 1024
)  # bytes a second that a body must reach on average, once `receive_seconds` have passed
HEAD_BYTES = 64 * 1024  # of a request's target and headers
MOST_HEADERS = 200
# That a client may send before its turn comes, or before it has its answer.
AHEAD_BYTES = 1024 * 1024
ALL_AHEAD_BYTES = 64 * 1024 * 1024  # the same for all clients together
CLOSED = b"connection: close\r\ncontent-length: 0\r\n\r\n"
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\n" + CLOSED
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\n" + CLOSED
MALFORMED = b"HTTP/1.1 400 Bad Request\r\n" + CLOSED
HEALTH = re.compile(rb"(GET|HEAD) /health")  # a supervisor restarts a process that answers it late
HANDSHAKE = frozenset({b"sec-websocket-key", b"sec-websocket-version"})


class TooLarge(KingpostError):
    """The head of a request has too many bytes or headers. It stops the parser."""


class TooEarly(KingpostError):
    """A second request came together with the first. It stops the parser."""


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits from the first moment of a connection.

    It reads one request at a time. Data that comes while a request is answered is held. A client that sends several requests
    at once gets the first one's answer and `Connection: close`. Before a valid key was sent, all data waits in the turnstile.
    """

    receive_seconds = 30.0
    known: Connections
    turnstile: Turnstile

    def connection_made(self, transport: Any) -> None:
        """Starts the time limit. A connection that sends nothing is slow, too."""
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = True
        self._held, self._too_early = b"", False
        self._head_bytes = self._no_progress = 0
        super().connection_made(transport)
        self._connection: Connection = self.known.open(transport)
        self.turnstile.accepted()
        # A request finds its connection in its scope, also after an upgrade.
        self.app_state = {**self.app_state, "connection": self._connection}
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the time limit, because the connection is closed."""
        self._stop_deadline()
        self._connection.close()
        self._take_held()
        lost, cycle = partial(super().connection_lost, exc), self.cycle
        if cycle and not cycle.response_complete:
            cycle.disconnected = True
            # Not in this turn of the loop, because a thousand calls may end at once.
            self.turnstile.enter(lost, ahead=False)
        else:
            lost()

    def data_received(self, data: bytes) -> None:
        """Parses the data now, or holds it until its turn comes or the request before it is answered."""
        if self.transport.is_closing() or self._too_early:
            return
        if self._held or self._answering:
            self._hold(data)
        elif self._connection.key:
            self._parse(data)
        else:
            self._hold(data)
            self._queue()

    def on_response_complete(self) -> None:
        """Called when a request is answered: the held data is the next one."""
        super().on_response_complete()
        if self._held:
            self._queue()

    @property
    def _answering(self) -> bool:
        """Whether a complete request was received and its answer is not sent yet."""
        cycle: Any = self.cycle  # None before the first request, whatever its annotation says
        return cycle is not None and not cycle.more_body and not cycle.response_complete

    def _hold(self, data: bytes) -> None:
        self._held += data
        self.known.held += len(data)
        self.flow.pause_reading()
        if len(self._held) > AHEAD_BYTES or self.known.held > ALL_AHEAD_BYTES:
            self._connection.cut("too_far_ahead")

    def _take_held(self) -> bytes:
        data, self._held = self._held, b""
        self.known.held -= len(data)
        return data

    def _queue(self) -> None:
        self._unset_keepalive_if_required()
        self._start_deadline_of_next()
        if self._connection.key:
            self.loop.call_soon(self._go_on)
        else:
            self._connection.queued = True
            self.turnstile.enter(self._go_on, ahead=HEALTH.match(self._held) is not None)

    def _go_on(self) -> None:
        if not self.transport.is_closing():
            self._connection.started()
            self.flow.resume_reading()
            self._parse(self._take_held())

    def _start_deadline_of_next(self) -> None:
        """Starts the time limit for a further request on the same connection."""
        cycle: Any = self.cycle
        if self._deadline is None and (cycle is None or cycle.response_complete):
            self._start_deadline()

    def _parse(self, data: bytes) -> None:
        """Counts the bytes and feeds the parser."""
        self._start_deadline_of_next()
        self._received += len(data)
        self._no_progress += len(data)
        super().data_received(data)
        if self._no_progress > HEAD_BYTES:  # neither a head nor a piece of a body came to its end
            self._refuse(TOO_LARGE)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Answers invalid HTTP or a head that is too large. If an answer has begun, the connection just ends."""
        if self._too_early:
            return
        self.known.count("malformed")
        self._refuse(MALFORMED if self._head_bytes <= HEAD_BYTES else TOO_LARGE)

    # the parser's callbacks

    def on_message_begin(self) -> None:
        """Called when a request begins."""
        if self._answering:
            self._too_early, self.cycle.keep_alive = True, False
            raise TooEarly
        self._in_head, self._head_bytes, self._headers = True, 0, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Called with a piece of the target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Counts a header. Headers after the head are trailers, which are ignored."""
        self._headers += 1
        self._count(len(name) + len(value) + 4)
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Called when the head is complete."""
        self._in_head, self._no_progress = False, 0
        super().on_headers_complete()
        parser: Any = self.parser
        if parser.should_upgrade() and not self._should_upgrade():
            self.cycle.keep_alive = False  # the parser reads no further request after an upgrade

    def on_body(self, body: bytes) -> None:
        """Called with a piece of the body."""
        self._no_progress = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Called when the request is complete."""
        self._stop_deadline()
        self._no_progress = 0
        super().on_message_complete()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._headers > MOST_HEADERS:
            self._head_bytes = max(self._head_bytes, HEAD_BYTES + 1)
        if self._head_bytes > HEAD_BYTES:
            raise TooLarge

    # upgrades

    def _should_upgrade(self) -> bool:
        """Upgrades only to WebSocket. Any other upgrade is ignored, as RFC 9110 allows."""
        names = {name for name, _ in self.headers}
        return self.scope["method"] == "GET" and names >= HANDSHAKE and super()._should_upgrade()

    def _unsupported_upgrade_warning(self) -> None:
        """Does nothing: uvicorn would warn, but a client may ask for an upgrade."""

    def handle_websocket_upgrade(self) -> None:
        """Hands the connection to the WebSocket protocol. The client must have sent a valid key within the time limit of a request."""
        self._stop_deadline()
        self.loop.call_later(self.receive_seconds, self._cut_without_key)
        super().handle_websocket_upgrade()

    def _cut_without_key(self) -> None:
        if not self._connection.key and not self.transport.is_closing():
            self._connection.cut("no_upgrade")

    # the deadline

    def _start_deadline(self) -> None:
        self._received, self._began = 0, monotonic()
        self._deadline = self.loop.call_later(self.receive_seconds, self._check_deadline)

    def _stop_deadline(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def _check_deadline(self) -> None:
        """Extends the time limit for a body that makes progress, or that we do not read. A head gets no extension."""
        beyond = monotonic() - self._began - self.receive_seconds
        flows = self._received > (beyond + 1) * SLOWEST
        if not self._in_head and (self.flow.read_paused or flows):
            self._deadline = self.loop.call_later(1.0, self._check_deadline)
            return
        self._refuse(TOO_SLOW)

    def _refuse(self, answer: bytes) -> None:
        cycle: Any = self.cycle
        if not self.transport.is_closing():
            if cycle is None or cycle.response_complete or not cycle.response_started:
                self.transport.write(answer)
            self.transport.close()


class CountedWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, with pings for each connection. It reports when it is closed."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.app_state: dict[str, Any] = {**self.app_state, "set_pings": self.set_pings}

    def set_pings(self, interval: float, timeout: float) -> None:
        """Sets the pings from the accept on, in seconds."""
        self.ping_interval, self.ping_timeout = interval, timeout

    def data_received(self, data: bytes) -> None:
        """Closes a connection that sends data before the answer, so that nothing is decompressed for a client without a key."""
        if self.handshake_initiated and not self.handshake_complete:
            self.transport.abort()
            return
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection is closed: its place is free."""
        self.app_state["connection"].close()
        super().connection_lost(exc)


def protocol(receive_seconds: float, known: Connections) -> type[LimitedProtocol]:
    """The protocol with these limits, as uvicorn's configuration takes it."""
    return type(
        "LimitedProtocol",
        (LimitedProtocol,),
        {"receive_seconds": receive_seconds, "known": known, "turnstile": Turnstile()},
    )
