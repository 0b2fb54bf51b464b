"""The bodies and answers of lists of jobs."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    model_validator,
)

from api.schemas import AsyncError, LevelNumber, maybe_time, time_of
from priority.order import LEVELS
from tasks.job import Job
from tasks.state import Status
from tasks.steering.filters import PLACE, TURN
from tasks.steering.verbs import Progress

LARGEST_PAGE = 1000
ModelName = Annotated[str, Field(min_length=1, max_length=400)]
Id = Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{1,64}$")]
Cursor = Annotated[str, Field(pattern=f"^{PLACE.pattern}$")]
AnyCursor = Annotated[str, Field(pattern=f"^({PLACE.pattern}|{TURN.pattern})$")]
Order = Literal["newest", "next"]
OldCursor = Annotated[str, Field(pattern=f"^(0|{PLACE.pattern})$")]  # old clients begin with 0
Limit = Annotated[int, Field(ge=1, le=LARGEST_PAGE)]


def _listed(value: object) -> object:
    """One word is a list of one."""
    return [value] if isinstance(value, str) else value


def _time(value: object) -> object:
    """A time is ISO 8601; a number could be seconds or milliseconds."""
    if not isinstance(value, datetime) and not re.match(r"\d{4}-\d\d-\d\d", str(value)):
        raise ValueError("must be a time in ISO 8601 with a time zone")
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_time)]


class JobQuery(BaseModel):
    """Which jobs a call is about. A field that is left out matches any job."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[ModelName | None, Field(description="A model or chain, by id or name.")] = None
    deployment: Annotated[Id | None, Field(description="A deployment's id.")] = None
    environment: Annotated[
        str | None,
        Field(
            max_length=40,
            description="An environment: the requests of the deployments that it points at now.",
        ),
    ] = None
    status: Annotated[list[Status], Field(description="Any of these.")] = []
    key: Annotated[
        Id | None, Field(description="The id of an API key; another one's needs the scope admin.")
    ] = None
    priority: Annotated[int | None, Field(ge=min(LEVELS), le=max(LEVELS))] = None
    created_after: Annotated[Time | None, Field(description="At that time or later.")] = None
    created_before: Annotated[Time | None, Field(description="Before that time.")] = None
    error_code: Annotated[str | None, Field(pattern=r"^[0-9A-Za-z_]{1,64}$")] = None
    error_text: Annotated[
        str | None,
        Field(min_length=1, max_length=200, description="Text in an error, whatever its case."),
    ] = None


class PagedQuery(JobQuery):
    """The same, in which order, and which page."""

    order: Annotated[
        Order,
        Field(
            description="`next` lists queued requests as each deployment will run them, one deployment after the other."
        ),
    ] = "newest"
    limit: Limit = 100
    cursor: Annotated[AnyCursor | None, Field(description="Of the page before.")] = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.order == "next" and set(self.status) - {Status.QUEUED}:
            raise ValueError("order=next is for queued requests: leave out `status`, or say QUEUED")
        form = TURN if self.order == "next" else PLACE
        if self.cursor is not None and not form.fullmatch(self.cursor):
            raise ValueError("cursor belongs to a page in the other order")
        return self


class CountQuery(JobQuery):
    """The same, and where the count goes on."""

    cursor: Annotated[Cursor | None, Field(description="Of the count before.")] = None


NOTHING: tuple[object, ...] = (None, [], False)  # values that do not say which requests


def _says_which(schema: dict[str, Any]) -> None:
    """Tells the OpenAPI document that at least one field says which requests are meant."""
    said = {"not": {"enum": list(NOTHING)}}
    names = [*JobQuery.model_fields, "all"]
    schema["anyOf"] = [{"required": [name], "properties": {name: said}} for name in names]


class BulkBody(JobQuery):
    """The body of a bulk operation: which requests, and how."""

    model_config = ConfigDict(json_schema_extra=_says_which)

    status: Annotated[
        list[Status], BeforeValidator(_listed, json_schema_input_type=Status | list[Status])
    ] = []
    priority: LevelNumber | None = None
    all: Annotated[StrictBool, Field(description="Needed where no other field says which.")] = False
    dry_run: Annotated[StrictBool, Field(description="Only counts.")] = False
    operation: Annotated[
        Id | None,
        Field(description="A name of the caller's choice; with the same, a call goes on."),
    ] = None

    @property
    def asks(self) -> bool:
        """Whether any field says which requests."""
        given = self.model_dump(include={*JobQuery.model_fields, "all"})
        return any(not (value is None or value is False or value == []) for value in given.values())


def _says_where(schema: dict[str, Any]) -> None:
    """The same for the fields that say where the requests move to."""
    _says_which(schema)
    said = {"not": {"enum": list(NOTHING)}}
    names = ("to_priority", "to_deployment")
    where = [{"required": [name], "properties": {name: said}} for name in names]
    schema["allOf"] = [{"anyOf": where}]


class MoveBody(BulkBody):
    """The same for a move, and where to."""

    model_config = ConfigDict(json_schema_extra=_says_where)

    to_priority: LevelNumber | None = None
    to_deployment: Annotated[
        Id | None, Field(description="The id of a deployment of the same model.")
    ] = None


class BulkAnswer(BaseModel):
    """How far a bulk operation has come. While it is not `finished`, call again with the same `operation`."""

    operation: str
    finished: bool
    examined: int
    matched: int
    done: int
    failed: int

    @classmethod
    def of(cls, operation: str, progress: Progress) -> "BulkAnswer":
        """The answer from the store's counts."""
        return cls(
            operation=operation,
            finished=progress.ended,
            examined=progress.seen,
            matched=progress.matched,
            done=progress.done,
            failed=progress.failed,
        )


class RetryBody(BaseModel):
    """The body of a retry, which may be left out: another input for the new request."""

    model_config = ConfigDict(extra="forbid")

    model_input: Annotated[Any, Field(description="Instead of the input of the old request.")] = (
        None
    )

    @property
    def edits(self) -> bool:
        """Whether it brings an input; null is one."""
        return "model_input" in self.model_fields_set


def _says_what(schema: dict[str, Any]) -> None:
    """Tells the OpenAPI document that at least one field says what is to change."""
    schema["anyOf"] = [
        {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
        for name in schema["properties"]
    ]


class MoveRequest(BaseModel):
    """The body of PATCH /async_request/{id}: a priority, a deployment of the same model, or both."""

    model_config = ConfigDict(json_schema_extra=_says_what)

    priority: LevelNumber | None = None
    deployment_id: Id | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.priority is None and self.deployment_id is None:
            raise ValueError("say priority, deployment_id or both")
        return self


class RetryResponse(BaseModel):
    """The answer to a retry: the new request, and the one whose input it has."""

    request_id: str
    retry_of: str


class PurgeResponse(BaseModel):
    """The answer to a purge. Where `purged` is false, the rest goes when the call that runs has ended."""

    request_id: str
    purged: bool


class ListedRequest(BaseModel):
    """One row of GET /async_requests."""

    request_id: str
    model_id: str
    deployment_id: str
    status: str
    priority: int
    created_at: datetime
    status_at: datetime

    @classmethod
    def of(cls, job: Job) -> "ListedRequest":
        """The row from the job's record."""
        return cls(
            request_id=job.request_id,
            model_id=job.model_id,
            deployment_id=job.deployment_id,
            status=job.status,
            priority=job.level,
            created_at=time_of(job.created),
            status_at=time_of(job.status_at),
        )


class RequestPage(BaseModel):
    """GET /async_requests, newest first; `cursor` asks for the next page, null at the end."""

    requests: list[ListedRequest]
    cursor: str | None


class ListedJob(ListedRequest):
    """One row of GET /v1/jobs. `key` is the id of the API key that submitted it."""

    key: str
    attempt: int
    started_at: datetime | None
    finished_at: datetime | None
    predict_ms: float | None
    errors: list[AsyncError]

    @classmethod
    def seen(cls, job: Job, detailed: bool) -> "ListedJob":
        """The row from the job's record. With `detailed`, it includes the model's exception."""
        return cls(
            **vars(ListedRequest.of(job)),
            key=job.api_key,
            attempt=job.attempt,
            started_at=maybe_time(job.started),
            finished_at=maybe_time(job.finished),
            predict_ms=job.predict_ms,
            errors=[AsyncError.of(error, detailed) for error in job.errors],
        )


class JobPage(BaseModel):
    """GET /v1/jobs, newest first or next first; `cursor` asks for the next page, null at the end.

    A page may have fewer jobs than asked for, or none, before the end: a call looks at a bounded number of jobs.
    """

    jobs: list[ListedJob]
    cursor: str | None


class JobCounts(BaseModel):
    """GET /v1/jobs/counts: the jobs that match, by status; `cursor` goes on with the count, null at the end."""

    counts: dict[Status, int]
    cursor: str | None
