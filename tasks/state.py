"""The state machine of a job as data. The API and the tests of scripts and docs read it."""

from collections.abc import Mapping
from enum import StrEnum


class Status(StrEnum):
    """The states of an async request, named as in Baseten's API."""

    QUEUED = "QUEUED"  # waits for a slot, or for `not_before` after a failed attempt
    IN_PROGRESS = "IN_PROGRESS"  # a replica holds its lease
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"  # waited longer than max_time_in_queue_seconds before its first claim
    CANCELED = "CANCELED"


ALLOWED: Mapping[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.IN_PROGRESS, Status.CANCELED, Status.EXPIRED}),
    Status.IN_PROGRESS: frozenset(
        # QUEUED again = retry, drain or rescue
        {Status.QUEUED, Status.SUCCEEDED, Status.FAILED, Status.CANCELED}
    ),
}
FINAL: frozenset[Status] = frozenset(Status) - ALLOWED.keys()


class WebhookStatus(StrEnum):
    """The states of a webhook: PENDING -> SUCCEEDED | FAILED, named as in Baseten's API."""

    NO_WEBHOOK_PROVIDED = "NO_WEBHOOK_PROVIDED"
    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class ErrorCode(StrEnum):
    """The codes in a job's `errors`: eight of Baseten's, and Kingpost's own."""

    MODEL_NOT_READY = "MODEL_NOT_READY"
    MODEL_DOES_NOT_EXIST = "MODEL_DOES_NOT_EXIST"
    MODEL_INVALID_INPUT = "MODEL_INVALID_INPUT"
    MODEL_PREDICT_ERROR = "MODEL_PREDICT_ERROR"
    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
    MODEL_PREDICT_TIMEOUT = "MODEL_PREDICT_TIMEOUT"
    MODEL_OUT_OF_MEMORY = "MODEL_OUT_OF_MEMORY"  # ours: above resources.memory
    INTERNAL_SERVER_ERROR = "INTERNAL_SERVER_ERROR"
    ASYNC_REQUEST_NOT_SUPPORTED = "ASYNC_REQUEST_NOT_SUPPORTED"
    POISON = "poison"  # ours: hosts or workers died under the job `max_deaths` times in a row
    EXPIRED = "EXPIRED"
    CANCELED = "CANCELED"
    OUTPUT_NOT_STORED = "OUTPUT_NOT_STORED"
    FILE_NOT_FOUND = "FILE_NOT_FOUND"  # ours: the input refers to a file that is gone


RETRIED: frozenset[ErrorCode] = frozenset(
    {
        ErrorCode.MODEL_NOT_READY,
        ErrorCode.MODEL_PREDICT_ERROR,
        ErrorCode.MODEL_UNAVAILABLE,
        ErrorCode.MODEL_PREDICT_TIMEOUT,
        ErrorCode.INTERNAL_SERVER_ERROR,
    }
)
