"""HTTP/1.1 over the model host's Unix socket: one send for a call, and httptools to read the answer.

`http.client` sends head and body apart, which wakes the host twice, and reads headers as those of a mail.
"""

import socket
from collections.abc import Iterator, Mapping

from httptools import HttpParserError, HttpResponseParser

READ_BYTES = 256 * 1024
CONNECT_SECONDS = 2.0

BROKEN = (OSError, HttpParserError)  # what every method here may raise, and no more


class _Answer:
    """What the parser has found so far."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.pieces: list[bytes] = []
        self.status = 0
        self.has_head = False
        self.complete = False
        self.parser = HttpResponseParser(self)

    def on_message_begin(self) -> None:
        if self.has_head:
            raise ConnectionError("a second answer to one call")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()
        if self.status == 101:
            raise ConnectionError("another protocol, which nobody asked for")
        if self.status < 200:  # early hints and the like: the answer comes after them
            self.headers = {}
        else:
            self.has_head = True

    def on_body(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        self.complete = self.has_head


class Response:
    """The answer to one call; its connection is free for the next when the body was read."""

    def __init__(self, connection: "HostConnection") -> None:
        self._connection = connection
        self._answer = _Answer()
        while not self._answer.has_head:
            self._read()
        self.status = self._answer.status
        self.content_type = self._answer.headers.get(b"content-type", b"").decode("latin-1")

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes."""
        answer = self._answer
        while True:
            arrived, answer.pieces = answer.pieces, []
            yield from arrived
            if answer.complete and not answer.pieces:
                break
            self._read()
        if answer.headers.get(b"connection", b"").lower() == b"close":
            self._connection.close()

    def read(self) -> bytes:
        """The whole body."""
        return b"".join(self.pieces())

    def _read(self) -> None:
        data = self._connection.receive()
        if not data:
            raise ConnectionError("the answer broke off")
        self._answer.parser.feed_data(data)


class HostConnection:
    """Opened with the first call and kept; for one thread. After a failure it is to be closed."""

    def __init__(self, path: str, timeout: float | None) -> None:
        self._path = path
        self._timeout = timeout
        self._socket: socket.socket | None = None

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Sends a call. Raises ValueError for a header that would be two."""
        sized = isinstance(body, bytes)
        lines = [f"{method} {path} HTTP/1.1", "host: host"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        lines.append(f"content-length: {len(body)}" if sized else "transfer-encoding: chunked")
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("A header holds a line break.")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        connected = self._connected()
        if sized:
            connected.sendall(head + body)
            return
        connected.sendall(head)
        for piece in body:
            if piece:
                connected.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        connected.sendall(b"0\r\n\r\n")

    def response(self) -> Response:
        """Waits for the head of the answer."""
        return Response(self)

    def receive(self) -> bytes:
        """What came next; empty when the host has closed."""
        assert self._socket, "a call was sent"
        return self._socket.recv(READ_BYTES)

    def close(self) -> None:
        """The next call opens it again."""
        if self._socket:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                opened.settimeout(CONNECT_SECONDS)
                opened.connect(self._path)
                opened.settimeout(self._timeout)
            except OSError:
                opened.close()
                raise
            self._socket = opened
        return self._socket
