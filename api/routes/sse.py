"""Server-Sent Events of one request (WHATWG HTML, section 9.2)."""

import codecs
import contextlib
import json
import re
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager
from dataclasses import replace
from io import IncrementalNewlineDecoder

from fastapi.responses import StreamingResponse
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from api.events import Event, EventHub
from api.gateway import SESSION_HOLDS
from tasks.job import Reading
from tasks.outside_text import LARGEST, whole_number
from tasks.state import Status

PING_SECONDS = 15.0  # a comment keeps proxies from closing a quiet stream
START = "0-0"
# A client comes back after that many milliseconds by itself, with the id of the last event.
GOODBYE = "retry: 1000\n: the server stops; connect again\n\n"
ID = re.compile("([0-9]+)-([0-9]+)")  # of an event, as the store makes them
LINE_END = re.compile("\r\n|\r|\n")  # each ends a line of an event stream, whatever a model meant


class HeldStream(StreamingResponse):
    """An event stream that takes one of a limited number of places, from before its first byte to its end.

    A route that has checked for a free place must return this without an `await` in between. Otherwise another stream may take the place.
    """

    def __init__(self, source: AsyncGenerator[str], place: AbstractContextManager[None]) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(source, headers=headers, media_type="text/event-stream")
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the stream."""
        with self._place:
            await super().__call__(scope, receive, send)


async def while_logged_in(request: Request, source: AsyncGenerator[str]) -> AsyncGenerator[str]:
    """The events. Those for a page of the console end with its session: a logout ends them with the next event or ping."""
    holds = request.scope["state"].get(SESSION_HOLDS)
    async with contextlib.aclosing(source):
        async for event in source:
            if holds and not await holds():
                return
            yield event


async def event_source(hub: EventHub, reading: Reading, after: str) -> AsyncGenerator[str]:
    """All events after that id, then new events as they come, until the final status was sent or the API stops."""
    request_id = reading.job.request_id
    if not after:
        yield _frame(Event(START, "status", _queued(reading)))
    position = after if _is_id(after) else START
    chunks = Chunks()
    if position != START:
        chunks.catch_up(await hub.read_before(request_id, position))
    async with hub.watch(request_id) as news:
        while True:
            news.clear()
            events = await hub.read(request_id, position)
            if events is None:  # purged
                return
            for event in events:
                for told in chunks.told(event, position):
                    yield _frame(told)
                position = event.id
                if event.kind == "done":
                    return
                news.set()  # there may be more than one page
            if hub.closing:
                yield GOODBYE
                return
            if not news.is_set() and not await hub.wait(news, PING_SECONDS):
                yield ": still here\n\n"


def _queued(reading: Reading) -> bytes:
    """The first event, the submission."""
    fields = {"status": Status.QUEUED, "attempt": 0, "at_ms": reading.job.created}
    return json.dumps(fields).encode()


class Chunks:
    """Decodes output to text. It joins a character or CR LF that is split over two chunks; invalid UTF-8 becomes U+FFFD."""

    def __init__(self) -> None:
        utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder = IncrementalNewlineDecoder(utf8, translate=True)

    def catch_up(self, earlier: list[Event]) -> None:
        """Feeds in the chunks that the client got before it resumed, because the next chunk may begin inside a character."""
        for event in earlier:
            for _ in self.told(event, event.id):
                pass

    def told(self, event: Event, before: str) -> list[Event]:
        """The events that the client gets for this one. `before` is the id of the event before it."""
        if event.kind == "output":
            text = self._decoder.decode(event.data)
            return [replace(event, data=text.encode())] if text or not event.data else []
        if event.kind != "status":
            return [event]
        # The stream ended, or another attempt begins: what was held back goes out as it is.
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return [Event(before, "output", rest.encode()), event] if rest else [event]


def _frame(event: Event) -> str:
    lines = LINE_END.split(event.data.decode(errors="replace"))
    data = "".join(f"data: {line}\n" for line in lines)
    return f"id: {event.id}\nevent: {event.kind}\n{data}\n"


def _is_id(text: str) -> bool:
    found = ID.fullmatch(text)
    return found is not None and all(whole_number(part) != LARGEST for part in found.groups())
