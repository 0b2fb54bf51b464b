"""The objects of OpenAI's Batch API. Times are Unix seconds."""

import re
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from tasks.batches.verbs import Batch
from tasks.files.listed import ListedFile
from tasks.process.mistakes import shown

FILE, BATCH = "file-", "batch_"  # what ids begin with
WINDOW = re.compile(r"([0-9]{1,6})([smhd])")
# What the schema says of it, without the longest seconds and minutes.
WINDOWS = r"^([1-9][0-9]{1,4}s|[1-9][0-9]{0,2}m|([1-9]|[1-6][0-9]|7[0-2])h|[1-3]d)$"
UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
SHORTEST_MS, LONGEST_MS = (
    10_000,
    259_200_000,
)  # of a window: as long as a request may wait in the queue
Endpoint = Literal[
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/messages",
    "/v1/rerank",
]
Item = TypeVar("Item", bound="FileObject | BatchObject")
MetadataText = Annotated[str, Field(max_length=512)]


class Expiry(BaseModel):
    """When a file expires."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2_592_000)]


def _id_of_a_file(value: object) -> object:
    if isinstance(value, str) and not FILE_ID.fullmatch(value):
        raise ValueError(
            f"{shown(value)} is not the id of a file: {FILE} and 32 digits 0-9 and a-f"
        )
    return value


FILE_ID = re.compile(rf"{FILE}[0-9a-f]{{32}}")
InputFile = Annotated[
    str,
    Field(json_schema_extra={"pattern": f"^{FILE_ID.pattern}$"}),
    BeforeValidator(_id_of_a_file),
]


class BatchBody(BaseModel):
    """POST /v1/batches."""

    model_config = ConfigDict(extra="ignore")

    input_file_id: InputFile
    endpoint: Endpoint
    completion_window: Annotated[
        str,
        Field(
            pattern=r"^[0-9]{1,6}[smhd]$",
            description="10s to 72h; OpenAI's clients say 24h.",
            json_schema_extra={"pattern": WINDOWS},
        ),
    ]
    metadata: Annotated[dict[str, MetadataText], Field(max_length=16)] | None = None
    output_expires_after: Expiry | None = None

    @property
    def window_ms(self) -> int | None:
        """The window; None if it is too short or too long."""
        found = WINDOW.fullmatch(self.completion_window)
        window = int(found[1]) * UNITS_MS[found[2]] if found else 0
        return window if SHORTEST_MS <= window <= LONGEST_MS else None


class FileObject(BaseModel):
    """A file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"

    @classmethod
    def of(cls, file: ListedFile) -> "FileObject":
        """From the record."""
        return cls(
            id=FILE + file.id,
            bytes=file.size,
            created_at=file.created // 1000,
            expires_at=file.expires // 1000,
            filename=file.name,
            purpose=file.purpose,
        )


class FileDeleted(BaseModel):
    """A file that is deleted, or goes with the batch that uses it."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


class Page(BaseModel, Generic[Item]):
    """A page of a list."""

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: bool
    first_id: str | None
    last_id: str | None

    @classmethod
    def of(cls, found: list[Item], limit: int) -> Self:
        """The first `limit` of what was found: one more if there are more."""
        data = found[:limit]
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return cls(data=data, has_more=len(found) > limit, first_id=first, last_id=last)


class FilePage(Page[FileObject]):
    """A page of files."""


class BatchErrors(BaseModel):
    """Why the file of a batch cannot be run."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]


class RequestCounts(BaseModel):
    """The lines of a batch."""

    total: int
    completed: int
    failed: int


class BatchObject(BaseModel):
    """A batch."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, str] | None

    @classmethod
    def of(cls, batch: Batch) -> "BatchObject":
        """From the record."""

        def moment(status: str) -> int | None:
            at = batch.moments.get(status)
            return None if at is None else at // 1000

        return cls(
            id=BATCH + batch.id,
            endpoint=batch.endpoint,
            errors=BatchErrors(data=[dict(e) for e in batch.errors]) if batch.errors else None,
            input_file_id=FILE + batch.input,
            completion_window=batch.window,
            status=batch.status,
            output_file_id=FILE + batch.output if batch.output else None,
            error_file_id=FILE + batch.error if batch.error else None,
            created_at=batch.created // 1000,
            expires_at=batch.expires // 1000,
            request_counts=RequestCounts(
                total=batch.total, completed=batch.completed, failed=batch.failed
            ),
            metadata=dict(batch.metadata) if batch.metadata is not None else None,
            in_progress_at=moment("in_progress"),
            finalizing_at=moment("finalizing"),
            completed_at=moment("completed"),
            failed_at=moment("failed"),
            expired_at=moment("expired"),
            cancelling_at=moment("cancelling"),
            cancelled_at=moment("cancelled"),
        )


class BatchPage(Page[BatchObject]):
    """A page of batches."""
