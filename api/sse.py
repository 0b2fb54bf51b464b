"""Server-Sent Events of one request (WHATWG HTML, section 9.2), from its stream in the store."""

import json
from collections.abc import AsyncGenerator

from api.events import Event, EventHub
from tasks.job import Reading
from tasks.state import FINAL, Status

PING_SECONDS = 15.0  # a comment keeps proxies from closing a quiet stream
START = "0-0"


async def event_source(hub: EventHub, reading: Reading, after: str) -> AsyncGenerator[str]:
    """Everything after that id, then news as it comes, until the request is final and said so."""
    request_id = reading.job.request_id
    if not after:
        yield _frame(Event(START, "status", _queued(reading)))
    position = after if _is_id(after) else START
    async with hub.watch(request_id) as news:
        while True:
            news.clear()
            for event in await hub.read(request_id, position):
                position = event.id
                yield _frame(event)
                if _is_final(event):
                    yield f"id: {event.id}\nevent: done\ndata: {{}}\n\n"
                    return
                news.set()  # there may be more than one page
            if not news.is_set() and not await hub.wait(news, PING_SECONDS):
                yield ": still here\n\n"


def _queued(reading: Reading) -> bytes:
    """The first event: nothing is written for a queued job until something happens to it."""
    fields = {"status": Status.QUEUED, "attempt": 0, "at_ms": reading.job.created}
    return json.dumps(fields).encode()


def _frame(event: Event) -> str:
    data = event.data.decode(errors="replace")
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"id: {event.id}\nevent: {event.kind}\n{lines}\n"


def _is_final(event: Event) -> bool:
    return event.kind == "status" and json.loads(event.data)["status"] in FINAL


def _is_id(text: str) -> bool:
    head, _, tail = text.partition("-")
    return head.isdigit() and tail.isdigit()
