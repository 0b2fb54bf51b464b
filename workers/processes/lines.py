"""Reads the output of a process in lines of bounded length, and turns lines that are not JSON into JSON."""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import IO

from tasks.outside_text import text_of

OURS = b'{"ts": '  # how a line of `host_logs` begins
LONGEST = 64 * 1024  # bytes of a line
LONGEST_OF_OURS = (
    16 * LONGEST
)  # their messages are bounded before they become JSON, which makes them longer


def bounded_lines(stream: IO[bytes]) -> Iterator[str]:
    """The lines as text without line ends. A long line is cut, and says how much is missing."""
    while piece := stream.readline(LONGEST):
        if piece.startswith(OURS) and not piece.endswith(b"\n"):
            piece += stream.readline(LONGEST_OF_OURS - len(piece))
        more = 0 if piece.endswith(b"\n") else _skip_rest(stream)
        text = text_of(piece).strip()
        if more:  # of JSON that was cut nobody could read anything but the text
            text = f"{'' if not piece.startswith(OURS) else 'cut: '}{text}... ({more} bytes more)"
        if text:
            yield text


def _skip_rest(stream: IO[bytes]) -> int:
    """Skips to the end of the line and returns the number of bytes."""
    size = 0
    while piece := stream.readline(LONGEST):
        size += len(piece)
        if piece.endswith(b"\n"):
            return size - 1
    return size


def json_line(text: str, model: str) -> str:
    """The line itself if it is a JSON object with a time, else an object with the text as its message."""
    if text.startswith(OURS.decode()):
        return text
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"ts": now, "level": "info", "model": model, "message": text})


def words_of(text: str) -> str:
    """The message of the line, without time and level."""
    with suppress(ValueError, AttributeError):
        fields = json.loads(text)
        return str(fields.get("message") or fields.get("event") or text)
    return text
