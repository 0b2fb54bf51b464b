"""The API's request and answer bodies: Baseten's fields (its OpenAPI 1.0.0), then Kingpost's additions."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_serializer,
)
from pydantic_core import CoreSchema

from priority.order import DEFAULT_LEVEL, LEVELS
from priority.waiting import NOTHING, Pace, Waiting
from tasks.job import JobError, QueueStatus, Reading, Retry
from tasks.state import FINAL, Status, WebhookStatus
from tasks.webhooks.verbs import Delivery

DEFAULTS = Retry()


def _number(value: object) -> object:
    """Accepts a whole number as JSON Schema defines it, 1.0 included."""
    if isinstance(value, bool | str):
        raise ValueError("must be a whole number")
    return value


WHOLE = BeforeValidator(_number)
LevelNumber = Annotated[int, Field(ge=min(LEVELS), le=max(LEVELS)), WHOLE]


class RetryConfig(BaseModel):
    """`inference_retry_config`; `max_attempts` counts the first try. Null means the default, as everywhere."""

    model_config = ConfigDict(extra="allow")  # told in `warnings`, and ignored

    max_attempts: Annotated[int, Field(ge=1, le=10), WHOLE] | None = DEFAULTS.max_attempts
    initial_delay_ms: Annotated[int, Field(ge=0, le=10_000), WHOLE] | None = (
        DEFAULTS.initial_delay_ms
    )
    max_delay_ms: Annotated[int, Field(ge=0, le=60_000), WHOLE] | None = DEFAULTS.max_delay_ms

    def retry(self) -> Retry:
        """The same as the type of the job core."""
        given = self.model_dump(exclude_none=True, include=set(RetryConfig.model_fields))
        return replace(DEFAULTS, **given)


class AsyncPredictRequest(BaseModel):
    """The body of async_predict."""

    model_config = ConfigDict(extra="allow")  # told in `warnings`, and ignored

    model_input: Any  # any JSON value
    webhook_endpoint: str | None = None
    priority: LevelNumber | None = DEFAULT_LEVEL
    max_time_in_queue_seconds: Annotated[int, Field(ge=10, le=259_200), WHOLE] | None = 600
    inference_retry_config: RetryConfig | None = None
    output_files: bool | None = None  # ours: files in the output are stored, and fetched by URL

    @property
    def level(self) -> int:
        """The priority, or the default if it is null."""
        return DEFAULT_LEVEL if self.priority is None else self.priority

    @property
    def max_time_in_queue_ms(self) -> int:
        """The limit in milliseconds, or the default if it is null."""
        return (self.max_time_in_queue_seconds or 600) * 1000

    @property
    def retry(self) -> Retry:
        """The same as the type of the job core."""
        return self.inference_retry_config.retry() if self.inference_retry_config else DEFAULTS


AsyncPredictBatch = Annotated[list[AsyncPredictRequest], Field(min_length=1)]


# Left out if there are none, so that a body with Baseten's fields alone gets Baseten's answer.
Warnings = Annotated[
    list[str] | None,
    Field(description="Unknown fields, which were ignored; and why the request will not run now."),
]


class AsyncPredictResponse(BaseModel):
    """The answer to async_predict."""

    request_id: str
    warnings: Warnings = None


class AsyncPredictBatchResponse(BaseModel):
    """The answer to async_predict_batch, ids in the order of the bodies."""

    request_ids: list[str]
    warnings: Warnings = None


class AsyncError(BaseModel):
    """One entry of `errors`."""

    code: str
    message: str

    @classmethod
    def of(cls, error: JobError, detailed: bool) -> "AsyncError":
        """The entry from the job's record. With `detailed`, it includes the model's exception."""
        return cls(code=str(error.code), message=error.told(detailed))


class Progress(BaseModel):
    """What the model reported last; `fraction` is from 0 to 1."""

    fraction: float
    message: str | None


class AttemptView(BaseModel):
    """One attempt to deliver a webhook, which took `ms` milliseconds.

    It has the receiver's HTTP status and the beginning of its answer, or the `error` that explains why there was none.
    """

    at: datetime
    status: int | None = None
    error: str | None = None
    ms: float
    answer: str = ""


class DeliveryView(BaseModel):
    """GET /async_request/{id}/webhook: how a webhook stands, with every attempt."""

    request_id: str
    url: str
    webhook_status: str = Field(description="`PENDING` also before the request is final.")
    attempts: list[AttemptView]
    next_attempt_at: datetime | None = Field(description="Null if none is planned.")

    @classmethod
    def of(cls, request_id: str, found: Delivery) -> "DeliveryView":
        """The delivery as the API shows it."""
        return cls(
            request_id=request_id,
            url=found.url,
            webhook_status=found.status or WebhookStatus.PENDING,
            attempts=[AttemptView.model_validate(attempt) for attempt in found.attempts],
            next_attempt_at=None if found.next_in is None else time_in(found.next_in),
        )


class RequestStatus(BaseModel):
    """GET /async_request/{id}: Baseten's fields first, then ours."""

    request_id: str
    model_id: str | None = None
    chain_id: str | None = None
    deployment_id: str
    status: str
    webhook_status: str
    created_at: datetime
    status_at: datetime
    errors: list[AsyncError]
    priority: int
    attempt: int
    queue_position: int | None
    eta_seconds: float | None
    waiting_for: str | None
    waiting_reason: str | None
    progress: Progress | None
    load_began_at: Annotated[
        datetime | None,
        Field(
            description="The load of the replica that ran it, if it ended while the request waited."
        ),
    ] = None
    load_ended_at: datetime | None = None
    started_at: datetime | None
    finished_at: datetime | None
    predict_ms: float | None
    result_url: str | None
    stopped_at: datetime | None
    stopped_by: str | None
    retry_of: str | None = None
    retried_as: str | None = None

    @classmethod
    def of(
        cls,
        reading: Reading,
        detailed: bool = False,
        waiting: Waiting = NOTHING,
        slots: int = 1,
    ) -> "RequestStatus":
        """The status from the store's view of the job. `waiting` comes from the live replicas."""
        job = reading.job
        fraction = job.fraction
        return cls(
            request_id=job.request_id,
            model_id=job.model_id,
            chain_id=job.chain_id or None,
            deployment_id=job.deployment_id,
            status=public_status(reading),
            webhook_status=reading.webhook_status,
            created_at=time_of(job.created),
            status_at=time_of(job.status_at),
            errors=[AsyncError.of(error, detailed) for error in job.errors],
            priority=job.level,
            attempt=job.attempt,
            queue_position=reading.jobs_ahead,
            eta_seconds=eta_seconds(reading, slots, waiting),
            waiting_for=waiting.what,
            waiting_reason=waiting.why,
            progress=None if fraction is None else Progress(fraction=fraction, message=job.message),
            load_began_at=maybe_time(job.load_began),
            load_ended_at=maybe_time(job.load_ended),
            started_at=maybe_time(job.started),
            finished_at=maybe_time(job.finished),
            predict_ms=job.predict_ms,
            result_url=f"/async_request/{job.request_id}/result" if job.output_type else None,
            stopped_at=maybe_time(job.stopped_at),
            stopped_by=job.stopped_by,
            retry_of=job.retry_of or None,
            retried_as=job.retried_as or None,
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Serializes the fields one by one, because a wrapping serializer would hide them from the OpenAPI document."""
        fields = {name: part for name, part in schema.items() if name != "serialization"}
        return handler(cast(CoreSchema, fields))

    @model_serializer(mode="wrap")
    def _one_owner(self, handler: Any) -> dict[str, Any]:
        """`model_id` for models, `chain_id` for chains, never both."""
        said: dict[str, Any] = handler(self)
        del said["chain_id" if self.chain_id is None else "model_id"]
        return said


class CancelResponse(BaseModel):
    """The answer to DELETE /async_request/{id}."""

    request_id: str
    canceled: bool
    message: str


class QueueStatusResponse(BaseModel):
    """The answer to async_queue_status."""

    model_id: str
    deployment_id: str
    num_queued_requests: int
    num_in_progress_requests: int

    @classmethod
    def of(cls, model_id: str, deployment_id: str, status: QueueStatus) -> "QueueStatusResponse":
        """The answer from the store's counts."""
        return cls(
            model_id=model_id,
            deployment_id=deployment_id,
            num_queued_requests=status.queued,
            num_in_progress_requests=status.in_progress,
        )


def public_status(reading: Reading) -> str:
    """The status for clients. A succeeded job whose webhook never arrived reads WEBHOOK_FAILED."""
    failed = reading.webhook_status == WebhookStatus.FAILED
    return (
        "WEBHOOK_FAILED"
        if failed and reading.job.status is Status.SUCCEEDED
        else reading.job.status
    )


def eta_seconds(reading: Reading, slots: int, waiting: Waiting = NOTHING) -> float | None:
    """Estimated seconds until the result, from recent run times of the deployment. None if there is no estimate.

    `slots` are those of its ready replicas. Without one, a queued job waits for a load, whose end nobody knows.
    """
    job, now = reading.job, reading.now
    if job.status in FINAL or waiting.stands_still:
        return None
    running = [now - started for started in reading.running_since]
    pace = Pace(reading.run_times_ms, running, slots)
    if job.status is Status.IN_PROGRESS:
        return pace.running_job_seconds(now - (job.started or now), job.fraction)
    if not slots:
        return None
    return pace.queued_job_seconds(reading.jobs_ahead or 0, reading.backoff_ms)


def time_of(milliseconds: int) -> datetime:
    """A time that the store has as Unix milliseconds."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def time_in(milliseconds: int) -> datetime:
    """The time after that many milliseconds, to the second: the same answer again says the same."""
    after = datetime.now(UTC) + timedelta(milliseconds=milliseconds + 500)
    return after.replace(microsecond=0)


def maybe_time(milliseconds: int | None) -> datetime | None:
    """The same for a time that may be missing."""
    return None if milliseconds is None else time_of(milliseconds)
