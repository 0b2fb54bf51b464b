"""HTTP/1.1 over the model host's Unix socket: one send for a call, and the answer as it comes.

It replaces `http.client`, which sends head and body apart, and so wakes the host twice. `http.client` also parses headers slowly, with
the parser of mails.
"""

import socket
from collections.abc import Callable, Iterator, Mapping

from deployments.http_client.exchange import (
    CHUNKED,
    LAST_CHUNK,
    AnswerReader,
    chunk,
    request_head,
    sized,
)

READ_BYTES = 256 * 1024  # at most in one read of the socket
CONNECT_SECONDS = 2.0
OTHER_LINES = 3  # lines of a head that are not in its list of headers: the first, the body's length, the empty one


class Response:
    """The answer to one call. The constructor waits for its head.

    The connection is free for the next call when the body was read. Every method raises OSError if the answer breaks off.
    """

    def __init__(
        self, answer: AnswerReader, connected: socket.socket, close: Callable[[], None]
    ) -> None:
        self._answer, self._socket, self._close = answer, connected, close
        while not answer.has_head:
            self._read()
        self.status = answer.status

    def pieces(self) -> Iterator[bytes]:
        """The pieces of the body as they come. A piece may be empty."""
        answer = self._answer
        yield answer.take()
        while not answer.complete:
            self._read()
            if answer.pieces:
                yield answer.take()
        if answer.excess:
            raise ConnectionError("more came than the answer to the call")
        if not answer.reusable:
            self._close()

    def read(self) -> bytes:
        """The whole body."""
        return b"".join(self.pieces())

    def _read(self) -> None:
        data = self._socket.recv(READ_BYTES)
        if not data:
            raise ConnectionError("the answer broke off")
        self._answer.feed(data)


class HostConnection:
    """A connection for one thread. It opens with the first call and is kept. Close it after a failure.

    Every failure of the host or its answer is an OSError. `timeout` is in seconds for each read or write; None = no limit.
    """

    def __init__(self, path: str, timeout: float | None) -> None:
        self._path = path
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._answer = AnswerReader()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Sends a call. Raises ValueError for a path or header with a line break, or with characters that are not Latin-1."""
        pairs = [(b"host", b"host")]
        pairs += [(n.encode("latin-1"), v.encode("latin-1")) for n, v in (headers or {}).items()]
        whole = isinstance(body, bytes)
        head = request_head(method, path, pairs, sized(len(body)) if whole else CHUNKED)
        breaks = len(pairs) + OTHER_LINES
        if head.count(b"\r") != breaks or head.count(b"\n") != breaks:
            raise ValueError("The path or a header holds a line break.")
        connected = self._connected()
        self._answer.begin(method)
        if whole:
            connected.sendall(head + body)
            return
        connected.sendall(head)
        for piece in body:
            if piece:
                connected.sendall(b"".join(chunk(piece)))
        connected.sendall(LAST_CHUNK)

    def response(self) -> Response:
        """Waits for the head of the answer."""
        assert self._socket, "no call was sent"
        return Response(self._answer, self._socket, self.close)

    def close(self) -> None:
        """Closes the connection. The next call opens it again."""
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
            self._socket, self._answer = opened, AnswerReader()
        return self._socket
