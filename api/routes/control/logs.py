"""What models printed and processes logged about them, from the log store: by pages, or as it comes. It needs the scope `deploy`.

A key that only runs models reads no logs, not even those of its own requests: they hold the exceptions of models, which
KINGPOST_MODEL_ERRORS keeps from it.
"""

import contextlib
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from time import monotonic
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from api.gateway import Gateway, gateway_of
from api.problems import Problem
from api.routes.control.audit import CURSOR, Time, milliseconds
from api.routes.control.deployer import Deployer
from api.routes.sse import GOODBYE, PING_SECONDS, HeldStream, while_logged_in
from deployments.registry.records import no_model
from tasks.errors import NotFound
from tasks.log_store import reading, verbs
from tasks.log_store.lines import LEVELS, Level, fields_of, level_of
from tasks.log_store.verbs import LineFilter, LineId, StoredLine

router = APIRouter(prefix="/v1/logs", tags=["logs"])
PAGE, LARGEST_PAGE = 200, 1000  # lines
LOOK_SECONDS = 0.5  # between looks for new lines
LONGEST_SECONDS = 3600.0  # of a stream; its client connects again
MOST_VIEWERS = 50  # streams of one API process
EVENT_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
NAMES_REQUEST = r"^[0-9A-Za-z_-]{8,100}$"


class LogLine(BaseModel):
    """A line that was printed or logged."""

    id: str = Field(description="Its place among all lines, and a cursor.")
    at: datetime
    level: Level
    model: str
    deployment_id: str
    request_id: str | None
    message: str = Field(description="What was printed, or the event.")
    fields: dict[str, Any] = Field(description="The line as it was logged.")

    @classmethod
    def of(cls, line: StoredLine) -> "LogLine":
        """The line as it is shown."""
        fields = fields_of(line.text)
        at = fields.get("ts") or fields.get("timestamp")
        return cls(
            id=str(line.id),
            at=_time(at) or datetime.fromtimestamp(line.id.ms / 1000, UTC),
            level=level_of(fields),
            model=str(fields.get("model") or ""),
            deployment_id=line.deployment_id,
            request_id=str(fields.get("request_id") or "") or None,
            message=str(fields.get("message") or fields.get("event") or ""),
            fields=fields,
        )


class LogPageView(BaseModel):
    """Lines, the oldest first. With a cursor there are earlier ones, even if this page is empty."""

    lines: list[LogLine]
    cursor: str | None


class LogQuery(BaseModel):
    """Which lines are asked for; without a parameter, all of them."""

    model_config = ConfigDict(extra="ignore")

    model: Annotated[str, Field(max_length=200, description="A name or an id.")] = ""
    deployment: Annotated[str, Field(max_length=100)] = ""
    request_id: Annotated[
        str | None, Field(pattern=NAMES_REQUEST, description="The first 8 characters are enough.")
    ] = None
    level: Annotated[Level, Field(description="The least level.")] = "debug"
    since: Time | None = None
    limit: Annotated[int, Field(ge=0, le=LARGEST_PAGE)] = PAGE

    @property
    def wanted(self) -> LineFilter:
        """The same for the store."""
        since = milliseconds(self.since) or 0
        return LineFilter(LEVELS.index(self.level), self.request_id or "", since)


class PagedLogQuery(LogQuery):
    """The same, and where the page begins."""

    limit: Annotated[int, Field(ge=1, le=LARGEST_PAGE)] = PAGE
    cursor: Annotated[str | None, Field(pattern=CURSOR)] = None


@router.get("", response_model=LogPageView)
async def lines(
    request: Request, _: Deployer, query: Annotated[PagedLogQuery, Query()]
) -> LogPageView:
    """The latest lines, the oldest first. The cursor asks for the page before."""
    gateway, before = gateway_of(request), LineId.of(query.cursor or "")
    await _check_model(gateway, query)
    _latest, known = await gateway.store.run(verbs.logged(query.wanted.since))
    chosen = await _chosen(gateway, query, known)
    page = await reading.newest(gateway.store, chosen, query.wanted, query.limit, before=before)
    cursor = str(page.before) if page.before else None
    return LogPageView(lines=[LogLine.of(line) for line in page.lines], cursor=cursor)


@router.get("/events", responses=EVENT_STREAM, response_class=StreamingResponse)
async def events(request: Request, _: Deployer, query: Annotated[LogQuery, Query()]) -> HeldStream:
    """The latest lines and then new ones as they come, as Server-Sent Events with the name `line`; resumes after `Last-Event-ID`."""
    gateway = gateway_of(request)
    await _check_model(gateway, query)
    if gateway.log_viewers.count >= MOST_VIEWERS:
        message = f"{MOST_VIEWERS} others follow logs on this API already; try again later."
        raise Problem(429, "rate_limited", message, {"Retry-After": "30"})
    after = LineId.of(request.headers.get("last-event-id", ""))
    lines = while_logged_in(request, _followed(gateway, query, after))
    return HeldStream(lines, gateway.log_viewers.counted())


async def _followed(gateway: Gateway, query: LogQuery, after: LineId | None) -> AsyncGenerator[str]:
    began = told = monotonic()
    yield ": following\n\n"  # the head goes out although there may be no line
    async for lines in _news(gateway, query, after):
        if lines:
            told = monotonic()
            yield "".join(map(_event, lines))
        elif monotonic() - told > PING_SECONDS:
            told = monotonic()
            yield ": still here\n\n"
        if gateway.hub.closing or monotonic() - began > LONGEST_SECONDS:
            yield GOODBYE
            return


async def _news(
    gateway: Gateway, query: LogQuery, place: LineId | None
) -> AsyncGenerator[list[StoredLine]]:
    """The new lines at each look, an empty list if there are none."""
    store, wanted = gateway.store, query.wanted
    if place is None:
        place, known = await store.run(verbs.logged(wanted.since))
        if query.limit:
            chosen = await _chosen(gateway, query, known)
            page = await reading.newest(store, chosen, wanted, query.limit, upto=place)
            yield page.lines
    while True:
        end, known = await store.run(verbs.logged(place.ms))
        if end > place:
            chosen = await _chosen(gateway, query, known)
            news = await reading.after(store, chosen, wanted, LARGEST_PAGE, place, end)
            place = news.place
            yield news.lines
        else:
            yield []
        if place >= end:
            await gateway.hub.pause(LOOK_SECONDS)


async def _check_model(gateway: Gateway, query: LogQuery) -> None:
    """Raises NotFound for a model that does not exist."""
    if query.model and not await gateway.resolver.knows(query.model):
        raise NotFound(no_model(query.model))


async def _chosen(gateway: Gateway, query: LogQuery, known: list[str]) -> list[str]:
    """The deployments that the query asks for, among those that have lines (`known`). A deleted one is found by its id only."""
    if query.deployment:
        return [each for each in known if each == query.deployment]
    if not query.model:
        return known
    chosen: list[str] = []
    for each in known:
        with contextlib.suppress(NotFound):
            deployment = await gateway.resolver.deployment(each)
            if query.model in (deployment.model_id, deployment.model_name):
                chosen.append(each)
    return chosen


def _event(line: StoredLine) -> str:
    return f"id: {line.id}\nevent: line\ndata: {LogLine.of(line).model_dump_json()}\n\n"


def _time(said: object) -> datetime | None:
    with contextlib.suppress(ValueError):
        at = datetime.fromisoformat(str(said))
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    return None
