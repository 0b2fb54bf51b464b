"""One HTTP/1.1 call without sockets: makes the bytes of a request, and parses the bytes of an answer.

The gateway, the worker and the host of a custom server use it. Each has its own connections and errors.
"""

from collections.abc import Callable, Iterable

from httptools import HttpParserCallbackError, HttpParserError, HttpResponseParser

RawHeaders = list[tuple[bytes, bytes]]

# Bytes that may come in a row without any of the body: heads, trailers, and the lines between chunks.
BARE_BYTES = 1 << 20
CHUNKED = b"transfer-encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class AnswerError(ConnectionError):
    """The bytes that came are not an answer to the call."""


def sized(length: int) -> bytes:
    """The header for a body of that many bytes."""
    return b"content-length: %d\r\n" % length


def request_head(
    method: str, target: str, headers: Iterable[tuple[bytes, bytes]], framing: bytes = b""
) -> bytes:
    """All of a request before its body. `framing` is CHUNKED, `sized(...)`, or empty if there is no body.

    A line break in the target or a header would begin another header. The caller must check values that do not come from a parser.
    """
    first = f"{method} {target} HTTP/1.1\r\n".encode()
    return b"".join([first, *[b"%b: %b\r\n" % pair for pair in headers], framing, b"\r\n"])


def chunk(piece: bytes) -> tuple[bytes, bytes, bytes]:
    """A chunk of a body that is CHUNKED. An empty piece would end the body."""
    return b"%x\r\n" % len(piece), piece, b"\r\n"


class AnswerReader:
    """The answers on one connection, one after the other.

    `complete` says that nothing more is to come, as before the first call.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: RawHeaders = []  # names in lower case
        self.pieces: list[bytes] = []  # of the body, not taken yet
        self.held = 0  # bytes that came since the last `take`
        self.has_head = self.excess = False
        self.complete = True
        self.on_body: Callable[[bytes], None] = self.pieces.append
        self._is_head = self._keeps = False
        self._parser = HttpResponseParser(self)

    @property
    def reusable(self) -> bool:
        """Whether the connection is ready for the next call: the server keeps it, and this answer was read completely."""
        return self.complete and self._keeps and not self.excess and not self.pieces

    @property
    def has_length(self) -> bool:
        """Whether the server announced the length of the body. Then it is not a stream."""
        return any(name == b"content-length" for name, _ in self.headers)

    def begin(self, method: str) -> None:
        """Called when a call is sent. The next bytes are its answer."""
        is_head = method == "HEAD"
        if is_head or self._is_head or not self.reusable:  # else the parser goes on where it is
            self.pieces.clear()
            self.on_body = self._refuse_body if is_head else self.pieces.append
            self._parser = HttpResponseParser(self)
        self._is_head = is_head
        self.status, self.headers = 0, []
        self.has_head = self.complete = False
        self.held = 0

    def feed(self, data: bytes) -> None:
        """Reads what came. Raises AnswerError, after which nothing more is to be fed.

        What comes after a complete answer is not read; `excess` says that there was some.
        """
        if self.complete:
            self.excess = True
            return
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._break_off(error)
        self.held = held = self.held + len(data)
        if held > BARE_BYTES and not self.pieces and not self.complete:
            raise AnswerError(f"{BARE_BYTES} bytes came and none of them was of a body")

    def take(self) -> bytes:
        """The bytes of the body that came since the last call, possibly none."""
        pieces = self.pieces
        if not pieces:
            return b""
        self.held = 0
        taken = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return taken

    def take_pieces(self) -> list[bytes]:
        """Like `take`, but in the pieces in which the server sent them."""
        taken = self.pieces[:]
        self.pieces.clear()
        self.held = 0
        return taken

    def end_by_close(self) -> bool:
        """Called when the server has closed the connection normally, which ends an answer without a length. Returns whether the answer is complete."""
        framed = self.has_length or any(name == b"transfer-encoding" for name, _ in self.headers)
        self.complete = self.complete or (self.has_head and not framed)
        return self.complete

    def _break_off(self, error: HttpParserError) -> None:
        if self.complete:
            self.excess = True
            return
        ours = isinstance(error, HttpParserCallbackError)
        raise AnswerError(str(error.__context__ if ours else error)) from None

    # the parser's callbacks

    def on_message_begin(self) -> None:
        """The answer, or another one after it."""
        if self.has_head:
            raise AnswerError("a second answer to one call")

    def _refuse_body(self, _: bytes) -> None:
        raise AnswerError("a body in an answer to HEAD")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keeps a header. Headers after the head are trailers, which are ignored."""
        if not self.has_head:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The end of a head: that of the answer, or an informational one (1xx), after which the answer comes."""
        status = self._parser.get_status_code()
        if status == 101:
            raise AnswerError("another protocol, which nobody asked for")
        if 100 <= status < 200:
            self.headers = []
            return
        self.status, self.has_head = status, True
        self._keeps = self._parser.should_keep_alive()
        self.complete = self._is_head

    def on_message_complete(self) -> None:
        """The end of the answer, or of an informational one before it."""
        self.complete = self.has_head
