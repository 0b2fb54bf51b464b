"""What the server answers, as frozen dataclasses. Fields that this version does not know are left out; `raw` has them all."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

FINAL = frozenset({"SUCCEEDED", "FAILED", "WEBHOOK_FAILED", "EXPIRED", "CANCELED"})
WITH_RESULT = frozenset({"SUCCEEDED", "WEBHOOK_FAILED"})
# What a queued request waits for, as words after `waits for`.
WAITS = {
    "paused": "the model to be resumed",
    "key_limit": "other requests of its API key to end",
    "retry": "the end of the pause after a failed attempt",
    "slot": "a free slot",
    "loading": "a replica that is loading",
    "load_failed": "the model, which could not be loaded",
    "replica": "a replica",
}
RESERVED = ("production", "development")  # environments that the server makes itself
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Record:
    """A JSON object of the server's."""

    raw: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False, compare=False)

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """The record of a JSON object. `at`, and names that end in `_at` or `_until`, become datetimes. Raises TypeError if a field without a default is missing."""
        known = {entry.name for entry in fields(cls)} - {"raw"}
        values = {
            name: _converted(name, value)
            for name, value in said.items()
            if name in known and value is not None
        }
        return cls(raw=said, **values)


def _converted(name: str, value: Any) -> Any:
    if (name == "at" or name.endswith(("_at", "_until"))) and isinstance(value, str):
        return datetime.fromisoformat(value)
    if name in _CONVERTERS:
        return _CONVERTERS[name](value)
    return value


@dataclass(frozen=True, kw_only=True)
class Progress(Record):
    """What the model reported last; `fraction` is 0 to 1."""

    fraction: float = 0.0
    message: str | None = None


@dataclass(frozen=True, kw_only=True)
class JobError(Record):
    """Why an attempt failed."""

    code: str = ""
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Delivery(Record):
    """How the webhook of a request stands. Each of the `attempts` has `at`, `status`, `error`, `ms` and `answer`."""

    request_id: str
    url: str = ""
    webhook_status: str = ""
    attempts: Sequence[Mapping[str, Any]] = ()
    next_attempt_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class JobStatus(Record):
    """The status of a request. `queue_position` is how many requests run before it, `priority` is 0 (the most urgent) to 2."""

    request_id: str
    status: str
    deployment_id: str = ""
    model_id: str | None = None
    chain_id: str | None = None
    webhook_status: str = ""
    priority: int = 0
    attempt: int = 0
    retry_of: str | None = None
    retried_as: str | None = None
    queue_position: int | None = None
    eta_seconds: float | None = None
    waiting_for: str | None = None
    waiting_reason: str | None = None
    progress: Progress | None = None
    errors: tuple[JobError, ...] = ()
    created_at: datetime | None = None
    status_at: datetime | None = None
    load_began_at: datetime | None = None
    load_ended_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    stopped_at: datetime | None = None
    stopped_by: str | None = None
    predict_ms: float | None = None
    result_url: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether nothing happens to it any more."""
        return self.status in FINAL

    @property
    def has_result(self) -> bool:
        """Whether there is an output to fetch."""
        return self.status in WITH_RESULT

    @property
    def reason(self) -> str:
        """Why it has no result: the codes and messages of its errors, or its status."""
        said = Counter(f"{error.code}: {error.message.rstrip('.')}" for error in self.errors)
        return "; ".join(_times(words, count) for words, count in said.items()) or self.status


@dataclass(frozen=True, kw_only=True)
class ListedJob(Record):
    """A row of the list of requests. `key` is the id of the API key that submitted it."""

    request_id: str
    status: str
    model_id: str = ""
    deployment_id: str = ""
    key: str = ""
    priority: int = 0
    attempt: int = 0
    errors: tuple[JobError, ...] = ()
    created_at: datetime | None = None
    status_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    predict_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class BulkProgress(Record):
    """How far an operation on many requests has come. `failed` counts those that could not be done, such as a retry whose input is gone."""

    operation: str
    finished: bool
    examined: int = 0
    matched: int = 0
    done: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list. `cursor` asks for the next part; None at the end."""

    items: tuple[T, ...]
    cursor: str | None = None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, kw_only=True)
class Accepted(Record):
    """The answer to a submission. `warnings` name unknown fields, and why the request will wait."""

    request_id: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FileRef(Record):
    """A file that was uploaded. In an input it stands for the file, until `expires_at`."""

    ref: str
    id: str = ""
    size: int = 0
    content_type: str = ""
    expires_at: datetime | None = None

    @property
    def as_input(self) -> dict[str, str]:
        """What stands for the file in an input in JSON."""
        return {"$ref": self.ref}


@dataclass(frozen=True, kw_only=True)
class Canceled(Record):
    """The answer to a cancel."""

    request_id: str
    canceled: bool
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class ApiKey(Record):
    """An API key, without its secret. Empty `models` and `environments` mean all."""

    id: str
    name: str = ""
    scope: str = ""
    state: str = ""
    created_at: datetime | None = None
    expires_at: datetime | None = None
    models: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Queue(Record):
    """How many requests of a deployment wait and run."""

    deployment_id: str
    model_id: str = ""
    num_queued_requests: int = 0
    num_in_progress_requests: int = 0


@dataclass(frozen=True, kw_only=True)
class Model(Record):
    """A model. A key that may only run models learns no more than its name and id."""

    name: str
    id: str = ""
    created_at: datetime | None = None
    deployments_count: int | None = None
    production_deployment_id: str | None = None
    development_deployment_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Deployment(Record):
    """A deployment of a model."""

    id: str
    model_id: str = ""
    name: str = ""
    status: str = ""
    status_reason: str | None = None
    is_production: bool = False
    is_development: bool = False
    environment: str | None = None
    active_replica_count: int = 0
    wanted_replica_count: int = 0
    slots: int = 0
    environments: tuple[str, ...] = ()
    candidate_for: tuple[str, ...] = ()
    retired: bool = False
    paused: bool = False
    autoscaling_settings: Mapping[str, int] = field(default_factory=dict[str, int])
    warnings: tuple[str, ...] = ()
    created_at: datetime | None = None

    @property
    def load_failure(self) -> str:
        """Why its last load failed, in a sentence; empty if it did not."""
        failed = self.status in ("DEPLOY_FAILED", "UNHEALTHY", "INACTIVE")
        lines = (self.status_reason or "").strip().splitlines() if failed else []
        return lines[-1] if lines else ""


@dataclass(frozen=True, kw_only=True)
class Environment(Record):
    """An environment of a model. `candidate_deployment` is the one that warms up for it; `warnings` say what speaks against a rollback."""

    name: str
    model_id: str = ""
    current_deployment: Deployment | None = None
    candidate_deployment: Deployment | None = None
    previous_deployment_id: str | None = None
    warnings: tuple[str, ...] = ()
    created_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class LogLine(Record):
    """A line that a model printed or a process logged. `fields` has all that was logged."""

    id: str
    at: datetime
    level: str = "info"
    model: str = ""
    deployment_id: str = ""
    request_id: str | None = None
    message: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Output:
    """The output of a model as it came."""

    content: bytes
    content_type: str = ""
    request_id: str = ""

    @property
    def is_json(self) -> bool:
        """Whether the server says that it is JSON."""
        return media_type(self.content_type) == "application/json"

    @property
    def value(self) -> Any:
        """JSON as Python has it, text as str, anything else as bytes."""
        if self.is_json:
            return json.loads(self.content)
        if media_type(self.content_type).startswith("text/"):
            return self.content.decode(errors="replace")
        return self.content


@dataclass(frozen=True)
class Chunk:
    """A part of an output that is streamed."""

    data: bytes
    content_type: str = ""


def media_type(content_type: str) -> str:
    """The type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def _errors(given: list[Mapping[str, Any]]) -> tuple[JobError, ...]:
    return tuple(JobError.of(entry) for entry in given)


_CONVERTERS: Mapping[str, Any] = {
    "progress": Progress.of,
    "errors": _errors,
    "warnings": tuple,
    "environments": tuple,
    "models": tuple,
    "candidate_for": tuple,
    "current_deployment": Deployment.of,
    "candidate_deployment": Deployment.of,
}


def _times(words: str, count: int) -> str:
    return words if count == 1 else f"{words} ({count} times)"
