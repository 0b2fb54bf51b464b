"""Calls about all requests that match a filter: lists, counts, and operations on them.

A key reads and steers its own requests, a key with the scope `admin` those of all keys.
"""

import uuid
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict, Unpack

from kingpost.calls import JSON, json_body, json_object
from kingpost.errors import NotConfigured
from kingpost.flow import Emit, Flow, Request, Step, ask
from kingpost.records import BulkProgress, ListedJob, Page

STEP_SECONDS = 60.0  # how long an answer may take; the server works for about 10 s, then answers how far it has come
LARGEST_PAGE = 1000
Order = Literal["newest", "next"]
Action = Literal["cancel", "retry", "move", "purge"]


class Filter(TypedDict, total=False):
    """Which requests a call is about; what is left out matches any.

    `model` is a name or an id, `deployment` an id, `environment` a name, `key` the id of an API key. `status` is one or several.
    Times need a time zone.
    """

    model: str | None
    deployment: str | None
    environment: str | None
    status: str | Sequence[str] | None
    key: str | None
    priority: int | None
    created_after: datetime | None
    created_before: datetime | None
    error_code: str | None
    error_text: str | None


def list_jobs(
    *,
    limit: int = 100,
    cursor: str | None = None,
    order: Order = "newest",
    **wanted: Unpack[Filter],
) -> Flow[Page[ListedJob]]:
    """The requests that match, newest first. A page may have fewer rows than `limit`, or none, before the end.

    With `order="next"` they are the queued ones as each deployment will run them, one deployment after the other.
    """
    params = {**_as_query(wanted), "limit": str(limit)} | ({"cursor": cursor} if cursor else {})
    if order != "newest":  # a server of an earlier version does not know the parameter
        params["order"] = order
    said = json_object((yield from ask(Request("GET", "/v1/jobs", params))))
    return Page(tuple(map(ListedJob.of, said["jobs"])), said["cursor"])


def every_job(
    *, limit: int | None = None, order: Order = "newest", **wanted: Unpack[Filter]
) -> Generator[Step | Emit[ListedJob], Any, None]:
    """All requests that match, page by page, in the order of `list`; `limit` is the most that come."""
    cursor, left = None, limit
    while left is None or left > 0:
        size = LARGEST_PAGE if left is None else min(left, LARGEST_PAGE)
        page = yield from list_jobs(limit=size, cursor=cursor, order=order, **wanted)
        for row in page:
            yield Emit(row)
        left = None if left is None else left - len(page)
        cursor = page.cursor
        if cursor is None:
            return


def count_jobs(**wanted: Unpack[Filter]) -> Flow[Mapping[str, int]]:
    """How many requests match, by status."""
    counted: Counter[str] = Counter()
    params = _as_query(wanted)
    while True:
        said = json_object((yield from ask(Request("GET", "/v1/jobs/counts", params))))
        counted.update(said["counts"])
        if said["cursor"] is None:
            return dict(counted)
        params = {**_as_query(wanted), "cursor": said["cursor"]}


def bulk(
    action: Action,
    *,
    all: bool = False,
    dry_run: bool = False,
    to_priority: int | None = None,
    to_deployment: str | None = None,
    operation: str | None = None,
    **wanted: Unpack[Filter],
) -> Generator[Step | Emit[BulkProgress], Any, None]:
    """Does something with all requests that match, and says how far it has come, until it is `finished`.

    Without any filter, `all=True` is needed. `dry_run` only counts. `to_priority` and `to_deployment` are for `move`. An operation
    that was cut off goes on if you call it again with the same `operation` and the same filter. Each request counts once.
    """
    more = {"to_priority": to_priority, "to_deployment": to_deployment}
    body: dict[str, Any] = {**_as_json(wanted), "operation": operation or uuid.uuid4().hex}
    body |= {name: value for name, value in more.items() if value is not None}
    body |= {name: True for name, value in {"all": all, "dry_run": dry_run}.items() if value}
    yield from repeat(f"/v1/jobs/{action}", body)


def repeat(path: str, body: Mapping[str, Any]) -> Generator[Step | Emit[BulkProgress], Any, None]:
    """Makes that call, which names an `operation`, until the operation is `finished`, and says how far it has come each time."""
    content = json_body(body)
    while True:
        request = Request("POST", path, headers=JSON, content=content, read_seconds=STEP_SECONDS)
        progress = BulkProgress.of(json_object((yield from ask(request))))
        yield Emit(progress)
        if progress.finished:
            return


def _as_json(wanted: Filter) -> dict[str, Any]:
    """The fields that are set, as JSON has them. Raises NotConfigured for a time without a time zone."""
    fields: dict[str, Any] = {}
    for name, value in wanted.items():
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise NotConfigured(f"{name} needs a time zone, such as datetime.now(UTC).")
            value = value.isoformat()
        if value is not None:
            fields[name] = value
    return fields


def _as_query(wanted: Filter) -> dict[str, Any]:
    """The same as query parameters; a list repeats its parameter."""
    return {
        name: str(value) if isinstance(value, int) else value
        for name, value in _as_json(wanted).items()
    }
