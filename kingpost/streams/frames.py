"""A streamed output in frames, so that its reader can tell its end from the point where the model failed.

A call of predict with the header FRAMES gets a streamed output in frames. The answer then has that header, too. A frame is a kind (one
byte), the size of its content (four bytes, the most significant first), and the content:

o  bytes of the output
e  the model failed: a JSON object with `error`; nothing follows
.  the output is complete; nothing follows, and the size is 0

An answer without the header is no stream, or it comes from a server that does not know frames. Model hosts use this module, too.
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
    """The frame of a part of the output. No bytes need no frame."""
    return HEAD.pack(OUTPUT, len(content)) + content if content else b""


def error_frame(message: str) -> bytes:
    """The last frame of an output that failed."""
    content = json.dumps({"error": message}).encode()
    return HEAD.pack(ERROR, len(content)) + content


END_FRAME = HEAD.pack(END, 0)


class Reader:
    """Takes the bytes of the frames as they come, and gives those of the output."""

    def __init__(self) -> None:
        # The beginning of a frame's head or of an error, which is not complete yet.
        self._rest = b""
        self._left = 0  # bytes of output that are still to come in the current frame
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
            size = self._content_size(data, at)
            if size is None:
                self._rest = data[at:]
                return
            at, self._left = at + HEAD.size, size

    def end(self) -> None:
        """No more bytes come. Raises Unreachable if the output is not complete."""
        if not self._complete:
            raise Unreachable("The connection broke off before the output was complete.")

    def _content_size(self, data: bytes, at: int) -> int | None:
        """How many bytes of output the frame that begins at `at` has. None if its head or its error is not complete yet.

        Raises StreamFailed for the frame of an error, and Unreachable for what is no frame.
        """
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
