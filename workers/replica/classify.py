"""Decides from the model host's answer how the attempt ended, by Baseten's table of error codes."""

import json
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from tasks.job import Job, JobError, Outcome
from tasks.outside_text import text_of, utf8
from tasks.state import RETRIED, ErrorCode, Status
from workers.hosting.client import HostAnswer
from workers.replica.quarantine import ran_out_of_memory
from workers.wire.messages import MODEL_ERROR, OUT_OF_MEMORY

UNREADABLE = (ValueError, KeyError, TypeError, RecursionError)  # what reading any JSON may raise
MESSAGE_CHARS = 1000  # of an error's message at most: it is for people, and no place for outputs
TRACE_CHARS = 4 * MESSAGE_CHARS  # of the frames of an exception, too


@dataclass(frozen=True)
class RetryLater:
    """The attempt failed and the job is tried again."""

    error: JobError
    delay_ms: int


@dataclass(frozen=True)
class GiveBack:
    """The host had no capacity. The job returns to its old place, and the attempt does not count."""


Verdict = Outcome | RetryLater | GiveBack


def classify(job: Job, answer: HostAnswer, detailed: bool = True) -> Verdict:
    """What the answer means for the job. With `detailed`, the model's exception is kept for the owner."""
    if 200 <= answer.status < 400:
        return _succeeded(answer)
    if answer.status == 429:
        return GiveBack()
    error = _error(answer, detailed)
    if answer.fault == OUT_OF_MEMORY:
        return _out_of_memory(job, error, answer.ms)
    return failed_attempt(job, error, answer.ms)


def _out_of_memory(job: Job, error: JobError, ms: float) -> Outcome | RetryLater:
    """Another attempt, which runs alone, if the attempt before did not run out of memory, too. Else FAILED."""
    if job.attempt < job.retry.max_attempts and not ran_out_of_memory(job):
        return RetryLater(error, 0)
    return Outcome(Status.FAILED, ms, error=error)


def _error(answer: HostAnswer, detailed: bool) -> JobError:
    code, failure = code_of(answer), answer.failure or _chainlet_failure(answer)
    if answer.fault == OUT_OF_MEMORY:
        message = "The model ran out of memory."
        return JobError(ErrorCode.MODEL_OUT_OF_MEMORY, message, failure if detailed else "")
    if not failure:
        return JobError(code, message_of(answer))
    return JobError(code, MODEL_ERROR, failure if detailed else "")


def fault_error(answer: HostAnswer, why: str, detailed: bool) -> JobError:
    """The entry in the `errors` of a job that failed on a sick host."""
    failure = answer.failure if detailed else ""
    return JobError(ErrorCode.MODEL_UNAVAILABLE, why, failure)


def _chainlet_failure(answer: HostAnswer) -> str:
    """The exception of a chainlet, from the JSON that chainlets send each other; '' for any other answer."""
    try:
        error = json.loads(answer.output.head)["error"]
        headline = f"{error['exception_cls_name']}: {error['exception_message']}"
        frames = [
            f'  File "{frame["filename"]}", line {frame["lineno"]}, in {frame["name"]}\n    {frame["line"]}'
            for frame in error["user_stack_trace"]
        ]
    except UNREADABLE:
        return ""
    return utf8("\n".join([headline[:MESSAGE_CHARS], *frames])[:TRACE_CHARS])


def _succeeded(answer: HostAnswer) -> Outcome:
    output = answer.output
    if output.failure:
        error = JobError(ErrorCode.OUTPUT_NOT_STORED, output.failure)
        return Outcome(Status.FAILED, answer.ms, error=error)
    return Outcome(
        Status.SUCCEEDED,
        answer.ms,
        b"" if output.ref else bytes(output.head),
        _content_type(answer.content_type),
        output_ref=output.ref,
        output_bytes=output.size,
    )


def _json_beginning(head: bytes) -> Any:
    """The parsed value. If the body was too long to be kept, the part that was kept. Raises one of UNREADABLE."""
    try:
        return json.loads(head)
    except ValueError:
        return from_json(head, allow_partial="trailing-strings")


def _content_type(header: str) -> str:
    """The content type of the output. A header that would break the head of an answer is dropped."""
    is_safe = header.isprintable() and not header.isspace()
    return header if header and is_safe else "application/octet-stream"


def failed_attempt(job: Job, error: JobError, ms: float) -> Outcome | RetryLater:
    """Another attempt if the code is retried and attempts are left, else FAILED. `ms` is how long the model ran."""
    if error.code in RETRIED and job.attempt < job.retry.max_attempts:
        return RetryLater(error, job.retry.delay_ms(job.attempt))
    return Outcome(Status.FAILED, ms, error=error)


def code_of(answer: HostAnswer) -> ErrorCode:
    """The code for an error status. The model host answers 400 to bad input and 503 while it loads."""
    match answer.status:
        case 503 if b"is not ready" in answer.output.head:
            return ErrorCode.MODEL_NOT_READY
        case 404:
            return ErrorCode.MODEL_DOES_NOT_EXIST
        case 499 | 502 | 503:
            return ErrorCode.MODEL_UNAVAILABLE
        case 504:
            return ErrorCode.MODEL_PREDICT_TIMEOUT
        case status if 400 <= status < 500:
            return ErrorCode.MODEL_INVALID_INPUT
        case _:
            return ErrorCode.MODEL_PREDICT_ERROR


def message_of(answer: HostAnswer) -> str:
    """The `error` of the host's JSON body, else the body's beginning."""
    head = bytes(answer.output.head)
    try:
        error = _json_beginning(head)["error"]
        message = error if isinstance(error, str) else json.dumps(error)
    except UNREADABLE:
        message = text_of(head[: 4 * MESSAGE_CHARS])  # bytes: up to four for a character
    return utf8(message)[:MESSAGE_CHARS] or f"The model answered with status {answer.status}."
