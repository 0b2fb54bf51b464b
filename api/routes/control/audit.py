"""The audit log, for keys with the scope `admin`: by pages, or whole as JSON lines."""

import re
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, BeforeValidator, Field

from api.gateway import Admin, gateway_of
from tasks.access.audit import AuditEntry, AuditPage, read_audit
from tasks.store.job_store import AsyncJobStore

router = APIRouter(prefix="/v1/audit", tags=["audit"])
JSON_LINES = "application/x-ndjson"
LARGEST_PAGE = 1000
PAGE = 100
CURSOR = r"^[1-9][0-9]{0,14}-[0-9]{1,15}$"  # an id of a stream
ALSO: dict[int | str, dict[str, Any]] = {200: {"content": {JSON_LINES: {}}}}


def _no_number(value: object) -> object:
    """A time is text as in ISO 8601. A number would be taken as Unix seconds or milliseconds, whichever it looks like."""
    if isinstance(value, str) and not re.match(r"\d{4}-\d\d", value):
        raise ValueError("must be a time as 2026-01-31T12:00:00Z")
    return value


Time = Annotated[datetime, BeforeValidator(_no_number)]


class AuditEntryView(BaseModel):
    """One change."""

    id: str
    at: datetime
    actor: str = Field(description="The id of an API key, or `command line`.")
    name: str = Field(description="The key's name, or the user who gave the command.")
    action: str
    target: str
    result: str = Field(description="`done`, or the status and the sentence of the refusal.")

    @classmethod
    def of(cls, entry: AuditEntry) -> "AuditEntryView":
        """The entry as it is shown."""
        return cls.model_validate(
            asdict(entry) | {"at": datetime.fromtimestamp(entry.at / 1000, UTC)}
        )


class AuditPageView(BaseModel):
    """Entries, the newest first. With a cursor there are more, even if this page is empty."""

    entries: list[AuditEntryView]
    cursor: str | None


@dataclass(frozen=True)
class _Wanted:
    """Which entries are asked for."""

    since: datetime | None
    until: datetime | None
    actor: str
    action: str

    async def page(self, store: AsyncJobStore, limit: int, cursor: str | None) -> AuditPage:
        since, until = milliseconds(self.since) or 0, milliseconds(self.until)
        call = read_audit(limit, cursor, since, until, self.actor, self.action)
        return await store.run(call)


@router.get("", response_model=AuditPageView, responses=ALSO)
async def entries(
    request: Request,
    _: Admin,
    since: Time | None = None,
    until: Time | None = None,
    actor: Annotated[str, Query(max_length=100)] = "",
    action: Annotated[str, Query(max_length=100)] = "",
    cursor: Annotated[str | None, Query(pattern=CURSOR)] = None,
    limit: Annotated[int | None, Query(ge=1, le=LARGEST_PAGE)] = None,
    format: Annotated[Literal["json", "jsonl"] | None, Query()] = None,
) -> Any:
    """Who changed what, the newest first. As JSON lines (`format=jsonl`, or `Accept: application/x-ndjson`) all entries from the cursor on come, or `limit` of them."""
    store, wanted = gateway_of(request).store, _Wanted(since, until, actor, action)
    accepts = request.headers.get("accept", "")
    if format == "jsonl" or (format is None and JSON_LINES in accepts):
        lines = _lines(store, wanted, cursor, limit)
        return StreamingResponse(lines, media_type=JSON_LINES)
    page = await wanted.page(store, limit or PAGE, cursor)
    views = [AuditEntryView.of(entry) for entry in page.entries]
    return AuditPageView(entries=views, cursor=page.cursor)


async def _lines(
    store: AsyncJobStore, wanted: _Wanted, cursor: str | None, limit: int | None
) -> AsyncGenerator[str]:
    while True:
        page = await wanted.page(store, limit or LARGEST_PAGE, cursor)
        yield "".join(f"{AuditEntryView.of(entry).model_dump_json()}\n" for entry in page.entries)
        cursor = page.cursor
        if limit is not None:
            limit -= len(page.entries)
        if cursor is None or limit == 0:
            return


def milliseconds(at: datetime | None) -> int | None:
    """A time as Unix milliseconds. One without a zone is in UTC."""
    if at is None:
        return None
    return max(int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000), 0)
