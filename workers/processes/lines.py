"""Reads the output of a model host in lines of bounded length, and makes JSON of the lines that the host's log did not write."""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import IO

from tasks.outside_text import text_of

OURS = b'{"ts": '  # how a JSON line of workers/host/logs.py begins
LONGEST = 64 * 1024  # bytes of a line
LONGEST_OF_OURS = 16 * LONGEST  # the log bounds its messages itself; as JSON they are longer


def bounded_lines(stream: IO[bytes]) -> Iterator[str]:
    """The lines as text without line ends. Empty lines are left out. A long line is cut, and says how much is missing."""
    while piece := stream.readline(LONGEST):
        ours = piece.startswith(OURS)
        if ours and not piece.endswith(b"\n"):
            piece += stream.readline(LONGEST_OF_OURS - len(piece))
        missing = 0 if piece.endswith(b"\n") else _skip_rest(stream)
        text = text_of(piece).strip()
        if missing:
            # JSON that was cut cannot be parsed. With "cut: " before it, it is no line of ours, but text.
            text = f"{'cut: ' if ours else ''}{text}... ({missing} bytes more)"
        if text:
            yield text


def _skip_rest(stream: IO[bytes]) -> int:
    """Skips to the end of the line and returns the number of bytes, without the line end."""
    size = 0
    while piece := stream.readline(LONGEST):
        size += len(piece)
        if piece.endswith(b"\n"):
            return size - 1
    return size


def json_line(text: str, model: str) -> str:
    """The line itself if the host's log wrote it, else a JSON object with the text as its message."""
    if text.startswith(OURS.decode()):
        return text
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"ts": now, "level": "info", "model": model, "message": text})


def message_of(text: str) -> str:
    """The message of a JSON line, or the name of its event. Any other line as it is."""
    with suppress(ValueError, AttributeError):
        fields = json.loads(text)
        return str(fields.get("message") or fields.get("event") or text)
    return text
