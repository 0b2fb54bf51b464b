"""Reads Server-Sent Events (WHATWG HTML, section 9.2) from bytes as they come."""

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LINE = re.compile("(.*?)(\r\n|\n|\r(?=.))", re.S)  # a CR at the end may be half of a CR LF


@dataclass(frozen=True)
class Event:
    """One event of a stream.

    A request has the kinds `status`, `progress`, `output`, `truncated` and `done`. The streams of log lines, deployments and webhooks
    have `line`, `deployment` and `delivery`. `id` is the last one that the stream has given, empty before the first.
    """

    id: str
    kind: str
    data: str

    def json(self) -> Any:
        """The data as JSON, which it is in every event but `output`."""
        return json.loads(self.data)


class Parser:
    """Takes bytes and gives the events that are complete."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._id, self._kind = "", ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that end in these bytes."""
        self._rest += self._decoder.decode(chunk)
        end = 0
        for line in LINE.finditer(self._rest):
            end = line.end()
            if event := self._take_line(line[1]):
                yield event
        self._rest = self._rest[end:]

    def _take_line(self, line: str) -> Event | None:
        """Reads one line. An empty one ends an event, which is returned if it has data."""
        if not line:
            kind, data = self._kind or "message", self._data
            self._kind, self._data = "", []
            return Event(self._id, kind, "\n".join(data)) if data else None
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._kind = value
            case "id":
                self._id = value
            case _:  # a comment, `retry`, or what a later version adds
                pass
        return None
