"""The calls about logs, described as those of `kingpost.calls`."""

from collections.abc import Generator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx

from kingpost.calls import QUIET_SECONDS, json_object
from kingpost.errors import Unreachable
from kingpost.flow import (
    Emit,
    Flow,
    Pause,
    Read,
    Request,
    Retries,
    Step,
    ask,
    pause_between_streams,
    unreachable,
)
from kingpost.records import LogLine, Page
from kingpost.streams.events import Event, Parser

LARGEST_PAGE = 1000
Since = datetime | timedelta


def logs(
    model: str | None = None,
    *,
    deployment: str | None = None,
    request_id: str | None = None,
    level: str | None = None,
    since: Since | None = None,
    limit: int = 200,
    follow: bool = False,
) -> Generator[Step | Emit[LogLine], Any, None]:
    """The last lines that models printed and processes logged about them, the oldest first; at most `limit`.

    `model` is a name or an id. Of a request id the first 8 characters are enough. `level` is the lowest that comes: debug, info, warning,
    error or critical. `since` is a time, or how long ago. With `follow`, new lines come until you stop. It needs a key that may deploy.
    """
    said = {
        "model": model,
        "deployment": deployment,
        "request_id": request_id,
        "level": level,
        "since": _as_text(since),
    }
    params = {name: value for name, value in said.items() if value is not None}
    if follow:
        yield from _follow(params, limit)
        return
    found: list[LogLine] = []
    cursor: str | None = ""
    while cursor is not None and len(found) < limit:
        page = yield from _page(params, limit - len(found), cursor)
        found, cursor = [*page.items, *found], page.cursor
    for line in found:
        yield Emit(line)


def _page(params: Mapping[str, str], limit: int, cursor: str) -> Flow[Page[LogLine]]:
    paged = {**params, "limit": str(min(limit, LARGEST_PAGE))} | ({"cursor": cursor} if cursor else {})  # fmt: skip
    said = json_object((yield from ask(Request("GET", "/v1/logs", paged))))
    return Page(tuple(map(LogLine.of, said["lines"])), said["cursor"])


def _follow(params: Mapping[str, str], limit: int) -> Generator[Step | Emit[LogLine], Any, None]:
    """The last lines, then new ones. A stream that breaks off is taken up where it ended."""
    after, silent = "", 0  # how many streams in a row said nothing
    while True:
        headers = {"last-event-id": after} if after else {}
        said = {**params, "limit": str(min(limit, LARGEST_PAGE))}
        request = Request("GET", "/v1/logs/events", said, headers, read_seconds=QUIET_SECONDS)
        yield from ask(request, opened=True)
        parser, silent = Parser(), silent + 1
        broken = Unreachable("The stream of log lines ended.")
        try:
            while data := cast(bytes, (yield Read())):
                silent = 0
                for event in parser.feed(data):
                    after = event.id or after
                    if event.kind == "line":
                        yield Emit(_line(event))
        except httpx.RequestError as error:
            broken = unreachable(error)
        if silent > (yield Retries()):
            raise broken
        yield Pause(pause_between_streams())


def _line(event: Event) -> LogLine:
    return LogLine.of(event.json())


def _as_text(since: Since | None) -> str | None:
    """The time in ISO 8601, in UTC."""
    if isinstance(since, timedelta):
        since = datetime.now(UTC) - since
    return since.astimezone(UTC).isoformat() if since else None
