"""A streamed output in frames, so that its reader can tell its end from the point where the model failed.

Who sends the header FRAMES with a call of predict gets a streamed output in frames, and the answer has that header, too. A frame is a
kind (one byte), the size of its content (four bytes, the largest first), and the content:

o  bytes of the output
e  the model failed: a JSON object with `error`; nothing follows
.  the output is complete; nothing follows, and the size is 0

An answer without the header is no stream, or comes from a server that does not know it. Model hosts use this module, too.
"""

import json
import struct
from collections.abc import Iterator

from kingpost.errors import StreamFailed, Unreachable

FRAMES = "x-kingpost-stream-frames"
OUTPUT, ERROR, END = b"o", b"e", b"."
HEAD = struct.Struct(">cI")
LONGEST_ERROR = 1 << 20  # bytes


def frame(content: bytes) -> bytes:
    """A part of the output, or nothing for nothing."""
    return HEAD.pack(OUTPUT, len(content)) + content if content else b""


def error_frame(message: str) -> bytes:
    """The last frame of an output that is not complete."""
    content = json.dumps({"error": message}).encode()
    return HEAD.pack(ERROR, len(content)) + content


END_FRAME = HEAD.pack(END, 0)


class Reader:
    """Takes the bytes of the frames as they come, and gives those of the output."""

    def __init__(self) -> None:
        self._rest = b""  # the beginning of a head, or of an error
        self._left = 0  # bytes of the output that the frame has which began
        self._complete = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bytes of the output among the next ones. Raises StreamFailed if the model failed."""
        data, at = self._rest + data, 0
        self._rest = b""
        while at < len(data):
            if self._left:
                part = data[at : at + self._left]
                at, self._left = at + len(part), self._left - len(part)
                yield part
                continue
            size = self._begun(data, at)
            if size is None:
                self._rest = data[at:]
                return
            at, self._left = at + HEAD.size, size

    def end(self) -> None:
        """No more bytes come. Raises Unreachable if the output is not complete."""
        if not self._complete:
            raise Unreachable("The connection broke off before the output was complete.")

    def _begun(self, data: bytes, at: int) -> int | None:
        """The bytes of the output that the frame has which begins there; None if more has to come. Raises StreamFailed and Unreachable."""
        if len(data) - at < HEAD.size:
            return None
        kind, size = HEAD.unpack_from(data, at)
        if kind == OUTPUT:
            return size
        if kind == END:
            self._complete = True
            return 0
        if kind != ERROR:
            raise Unreachable("The answer has no frames, although it says so.")
        if size > LONGEST_ERROR:
            raise Unreachable("The answer has an error of more than a megabyte.")
        content = data[at + HEAD.size : at + HEAD.size + size]
        if len(content) < size:
            return None
        raise StreamFailed(json.loads(content)["error"])
