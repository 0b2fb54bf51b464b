"""One connection through the gate. It checks and removes the token of every request and passes the rest on unchanged.

Requests are parsed, to find the token and the end of each request. Answers are not parsed. A side that reads slowly slows the other.
"""

import asyncio
import hmac
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from deployments.host_address import REFUSED_HEADER, TOKEN_HEADER
from deployments.silence import end_if_silent
from tasks.process.logs import get_logger

log = get_logger("gate")

HEAD_BYTES = 128 * 1024  # of one request
HEAD_SECONDS = 10.0  # for a stranger to show the token
MOST_STRANGERS = 256  # connections that have not shown it yet
TOKEN = TOKEN_HEADER.encode()
REASONS = {400: "Bad Request", 401: "Unauthorized", 431: "Request Header Fields Too Large"}


@dataclass
class GateState:
    """The state that all connections share."""

    host_socket: str  # the path of the host's socket for callers
    token: bytes = field(repr=False)
    callers: "set[Caller]" = field(default_factory=lambda: set[Caller]())
    # The callers that have not sent the token, oldest first.
    strangers: "dict[Caller, None]" = field(default_factory=lambda: dict[Caller, None]())

    def make_room(self) -> None:
        """If there are too many strangers, closes the oldest of the address that has most. The newest may be about to send the token."""
        if len(self.strangers) > MOST_STRANGERS:
            busiest = Counter(caller.address for caller in self.strangers).most_common(1)[0][0]
            next(caller for caller in self.strangers if caller.address == busiest).drop()


@dataclass
class _Head:
    """The head of one request while it is received."""

    url: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])
    token: bytes = b""
    chunked: bool = False
    websocket: bool = False
    fed: int = 0  # bytes of the reads in which it came, with what else was in them
    complete: bool = False


class Caller(asyncio.Protocol):
    """The connection of a caller. It opens one to the host with the first request that has the token."""

    def __init__(self, gate: GateState) -> None:
        self.transport: asyncio.Transport | None = None
        self.address = ""  # of the caller, without the port
        self._gate = gate
        self._parser = HttpRequestParser(self)
        self._head = _Head()
        self._host: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._unsent: list[bytes] = []  # until the connection to the host is open
        self._stranger = True
        self._closed = False
        self._tunnel = False  # after an upgrade, data is passed on without being parsed

    # the caller's connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Adds the caller as a stranger, until it sends the token."""
        self.transport = cast(asyncio.Transport, transport)
        self._gate.callers.add(self)
        end_if_silent(self.transport)
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(HEAD_SECONDS, self._end_stranger)
        self.address = transport.get_extra_info("peername")[0]
        self._gate.strangers[self] = None
        self._gate.make_room()

    def data_received(self, data: bytes) -> None:
        """Parses the data and passes complete heads and pieces of bodies on to the host."""
        if self._closed:
            return
        if self._tunnel:
            self._send(data)
            return
        self._head.fed += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._tunnel = True
            self._send(data[cast(int, upgrade.args[0]) :])
        except HttpParserError:
            self._refuse(400)
        if not self._head.complete and self._head.fed > HEAD_BYTES:
            self._refuse(431)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The caller is gone. Its call ends."""
        self._gate.callers.discard(self)
        self._no_stranger()
        self._closed = True
        if self._connecting:
            self._connecting.cancel()
        if self._host:
            self._host.abort()

    def pause_writing(self) -> None:
        """The caller reads slowly."""
        if self._host and not self._host.is_closing():
            self._host.pause_reading()

    def resume_writing(self) -> None:
        """The caller has caught up."""
        if self._host and not self._host.is_closing():
            self._host.resume_reading()

    def hold(self, held: bool) -> None:
        """Stops reading from the caller, or resumes."""
        if self.transport and not self.transport.is_closing():
            (self.transport.pause_reading if held else self.transport.resume_reading)()

    def cut(self) -> None:
        """Ends both connections at once."""
        if self.transport:
            self.transport.abort()

    def drop(self) -> None:
        """Closes the connection to make room for another stranger."""
        self._no_stranger()
        self.cut()

    def _end_stranger(self) -> None:
        if self._stranger:
            self.cut()

    def _no_stranger(self) -> None:
        if self._stranger:
            self._stranger = False
            self._gate.strangers.pop(self, None)
            self._deadline.cancel()

    # the parser's callbacks

    def on_message_begin(self) -> None:
        """The next request on this connection."""
        self._head = _Head(fed=self._head.fed if not self._head.complete else 0)

    def on_url(self, piece: bytes) -> None:
        """A piece of the target."""
        self._head.url += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keeps every header but the token. Headers after the head are trailers, which are ignored."""
        head, lower = self._head, name.lower()
        if lower == TOKEN:
            head.token = value
            return
        head.chunked |= lower == b"transfer-encoding" and b"chunked" in value.lower()
        head.websocket |= lower == b"upgrade" and value.lower() == b"websocket"
        head.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Passes the head on, or refuses it."""
        self._head.complete = True
        status = 0 if self._closed else self._objection()
        if status:
            self._refuse(status)
        if self._closed:
            return
        self._no_stranger()
        method = self._parser.get_method()
        version = self._parser.get_http_version().encode()
        first = b"%b %b HTTP/%b\r\n" % (method, self._head.url, version)
        lines = [b"%b: %b\r\n" % pair for pair in self._head.headers]
        self._send(b"".join([first, *lines, b"\r\n"]))

    def on_body(self, piece: bytes) -> None:
        """Passes a piece of the body on."""
        self._send(b"%x\r\n%b\r\n" % (len(piece), piece) if self._head.chunked else piece)

    def on_message_complete(self) -> None:
        """The end of a request."""
        if self._head.chunked:
            self._send(b"0\r\n\r\n")

    def _objection(self) -> int:
        """The status that refuses this head, 0 if it is accepted. The token is checked first, so that a stranger learns nothing."""
        if not hmac.compare_digest(self._head.token, self._gate.token):
            return 401
        return 400 if self._parser.should_upgrade() and not self._head.websocket else 0

    def _refuse(self, status: int) -> None:
        if self._closed or not self.transport:
            return
        self._closed = True
        log.warning("gate.refused", status=status, caller=self.transport.get_extra_info("peername"))
        lines = f"{REFUSED_HEADER}: refused\r\ncontent-length: 0\r\nconnection: close"
        self.transport.write(f"HTTP/1.1 {status} {REASONS[status]}\r\n{lines}\r\n\r\n".encode())
        self.transport.close()

    # the host's connection

    def _send(self, data: bytes) -> None:
        if self._closed or not data:
            return
        if self._host:
            self._host.write(data)
            return
        self._unsent.append(data)
        if self._connecting is None:
            self.hold(True)
            self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        loop, path, transport = asyncio.get_running_loop(), self._gate.host_socket, self.transport
        assert transport, "a head came in"
        try:
            self._host, _ = await loop.create_unix_connection(lambda: _Host(self, transport), path)
        except OSError:
            transport.close()  # without an answer: the API then tries another replica
            return
        if self._closed:
            self._host.abort()
            return
        self.hold(False)
        self._host.writelines(self._unsent)  # which may hold the caller again
        self._unsent.clear()


class _Host(asyncio.Protocol):
    """The connection to the host. All its data goes to the caller without being parsed."""

    def __init__(self, caller: Caller, transport: asyncio.Transport) -> None:
        self._caller = caller
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Passes on."""
        self._transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The host closed. The caller still gets what was sent, and sees that an answer has no end."""
        self._transport.close()

    def pause_writing(self) -> None:
        """The host reads slowly."""
        self._caller.hold(True)

    def resume_writing(self) -> None:
        """The host has caught up."""
        self._caller.hold(False)
