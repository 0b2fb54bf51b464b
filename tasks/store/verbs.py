"""The verbs of the job store. Each builds the call of one script and reads its reply; none has side effects.

A store runs them: `store.run(verbs.claim(...))` in a worker, `await store.run(...)` in the API.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

from tasks.errors import FileMissing, IdempotencyConflict, KeyFull, NotFound, QueueFull, RateLimited
from tasks.job import (
    Claim,
    JobError,
    Lease,
    Loaded,
    Outcome,
    QueueStatus,
    Reading,
    RequestId,
    Submission,
)
from tasks.outside_text import utf8
from tasks.state import Status, WebhookStatus
from tasks.store import records
from tasks.store.records import Reply, items, number, text
from tasks.store.scripting import JOBS, Library

T = TypeVar("T")
Argument = bytes | str | int | float


@dataclass(frozen=True, slots=True)
class ScriptCall(Generic[T]):
    """One run of a script: its name, its ARGV, how to read the reply, and the library that the script is of."""

    script: str
    arguments: Sequence[Argument]
    read: Callable[[Reply], T]
    library: Library = JOBS


class SettleResult(StrEnum):
    """The result of a verb of a lease holder."""

    DONE = "done"
    ALREADY_DONE = "already_done"
    STALE_FENCE = "stale_fence"  # the job is somebody else's now
    MISSING = "missing"
    POISON = "poison"  # `release` has made the job FAILED


class Renewal(StrEnum):
    """The result of renewing a lease."""

    RENEWED = "renewed"
    CANCELED = "canceled"  # the lease is renewed until the model call has stopped
    LOST = "lost"


class Release(StrEnum):
    """The reason why a running job returns to the queue."""

    RETRY = "retry"
    DRAIN = "drain"
    DEATH = "death"  # of the host
    SICK = "sick"  # the host is replaced, and no attempt is charged


class CancelResult(StrEnum):
    """The result of a cancel."""

    CANCELED = "canceled"
    STOPPING = "stopping"  # canceled, and its model call is told to stop
    RUNNING = "running"  # not canceled, because running jobs were not to be
    ALREADY_CANCELED = "already_canceled"
    ALREADY_FINAL = "already_final"
    MISSING = "missing"


class MoveResult(StrEnum):
    """The result of a move."""

    MOVED = "moved"
    UNCHANGED = "unchanged"
    NOT_QUEUED = "not_queued"
    OTHER_MODEL = "other_model"  # the deployment is of another model
    FULL = "full"  # the deployment has as many waiting jobs as it may
    MISSING = "missing"


class PurgeResult(StrEnum):
    """The result of a purge. The record of a job whose call is being stopped goes when the call has ended."""

    PURGED = "purged"
    STOPPING = "stopping"
    MISSING = "missing"


def _settle_result(reply: Reply) -> SettleResult:
    return SettleResult(text(reply))


def submit(
    jobs: Sequence[Submission],
    api_key: str,
    max_queued: int,
    idempotency_key: str = "",
    body_hash: str = "",
    idempotency_ms: int = 0,
    per_minute: int = 0,
    max_unfinished: int = 0,
    caller: str = "",
) -> ScriptCall[list[RequestId]]:
    """Queues the jobs, all or none. The reply has their ids, or the earlier ids for a repeated idempotency key.

    A limit of 0 means no limit. The jobs count against the rate of `caller`, or of `api_key` if there is none. Reading the reply
    raises an AdmissionError or FileMissing.
    """
    arguments: list[Argument] = [api_key, max_queued, idempotency_key, body_hash, idempotency_ms]
    arguments += [per_minute, max_unfinished, caller or api_key]
    for job in jobs:
        arguments += [job.request_id, job.deployment_id, job.model_id, job.level]
        arguments += [job.max_time_in_queue_ms, *records.retry_arguments(job.retry), job.webhook]
        arguments.append("" if job.content_type == records.JSON else job.content_type)
        arguments += [job.traceparent, job.path, job.chain_id]
        arguments += [b"" if job.input_ref else job.input, job.input_ref, job.retry_of, job.files]
        arguments.append("1" if job.output_files else "")
    return ScriptCall("submit", arguments, _read_submit)


def _read_submit(reply: Reply) -> list[RequestId]:
    word, *rest = items(reply)
    match text(word):
        case "accepted" | "replayed":
            return [RequestId(request_id) for request_id in text(rest[0]).split()]
        case "queue_full":
            raise QueueFull
        case "key_full":
            raise KeyFull
        case "throttled":
            raise RateLimited(number(rest[0]))
        case "no_file":
            raise FileMissing(text(rest[0]))
        case _:
            raise IdempotencyConflict


def claim(
    deployment_id: str, claimer: str, fence: str, replica: str, loaded: Loaded | None = None
) -> ScriptCall[Claim | None]:
    """Claims the next job, None if no job waits. The same fence again returns the same job.

    `loaded` goes into the job's record if that load ended while the job waited.

    A fence begins with 16 characters that name the worker process. A job that was rescued from this worker, and that no
    other worker has claimed since, comes back under its old lease, because its call may still run here.
    """

    def read(reply: Reply) -> Claim | None:
        word, *rest = items(reply)
        if text(word) == "empty":
            return None
        request_id, flat, payload, under = rest
        job = records.job(text(request_id), items(flat))
        assert isinstance(payload, bytes)
        lease = Lease(job.request_id, text(under))
        return Claim(job, payload, lease, resumed=lease.fence != fence)

    load = [loaded.ago_ms, loaded.took_ms] if loaded else ["", ""]
    return ScriptCall("claim", [deployment_id, claimer, fence, replica, *load], read)


def renew(leases: Sequence[Lease]) -> ScriptCall[list[Renewal]]:
    """Extends many leases in one call, also one that ran out if nobody has claimed its job since. The reply has a word for each."""
    arguments = [part for lease in leases for part in (lease.request_id, lease.fence)]
    return ScriptCall(
        "renew", arguments, lambda reply: [Renewal(text(word)) for word in items(reply)]
    )


def release(
    lease: Lease, reason: Release, delay_ms: int = 0, error: JobError | None = None
) -> ScriptCall[SettleResult]:
    """Puts a running job back into the queue, after `delay_ms` for a RETRY or DRAIN.

    After `max_deaths` DEATH or SICK in a row the job is FAILED instead, and the reply is POISON.
    """
    arguments = [lease.request_id, lease.fence, reason, delay_ms, records.error_json(error)]
    return ScriptCall("release", arguments, _settle_result)


def finish(lease: Lease, outcome: Outcome) -> ScriptCall[SettleResult]:
    """Ends a running job as SUCCEEDED or FAILED."""
    arguments: list[Argument] = [lease.request_id, lease.fence, outcome.status]
    arguments += [records.error_json(outcome.error), f"{outcome.predict_ms:.3f}"]
    stored_here = b"" if outcome.output_ref else outcome.output
    size = outcome.output_bytes or len(outcome.output)
    arguments += [stored_here, outcome.output_type, outcome.output_ref, size]
    return ScriptCall("finish", arguments, _settle_result)


def stopped(lease: Lease, by: str) -> ScriptCall[SettleResult]:
    """Records that the model call of a cancelled job has ended.

    `by` is `cooperative` (the model stopped), `closed` (its output was closed) or `killed` (its host was).
    """
    return ScriptCall("stopped", [lease.request_id, lease.fence, by], _settle_result)


def progress(lease: Lease, fraction: float, message: str | None) -> ScriptCall[SettleResult]:
    """Records the progress of a running job, a fraction of 0..1."""
    said = utf8(message or "")
    arguments = [lease.request_id, lease.fence, "progress", f"{fraction:.6g}", said]
    return ScriptCall("progress", arguments, _settle_result)


def output_chunk(lease: Lease, chunk: bytes) -> ScriptCall[SettleResult]:
    """Appends a chunk to the job's event stream as it appears."""
    return ScriptCall(
        "progress", [lease.request_id, lease.fence, "output", "", chunk], _settle_result
    )


def output_truncated(lease: Lease) -> ScriptCall[SettleResult]:
    """Notes in the event stream that further chunks are only in the result."""
    data = '{"message":"The output is long; what follows is only in the result."}'
    return ScriptCall(
        "progress", [lease.request_id, lease.fence, "truncated", "", data], _settle_result
    )


def cancel(
    request_id: str,
    owner: str = "",
    cancel_running: bool = True,
    per_minute: int = 0,
    caller: str = "",
) -> ScriptCall[tuple[CancelResult, Status | None]]:
    """Cancels a job. The owner '' means any. ALREADY_FINAL comes with the status.

    The call counts against the rate of `caller`, or of the owner if there is none. Reading the reply raises RateLimited.
    """

    def read(reply: Reply) -> tuple[CancelResult, Status | None]:
        word, *rest = _admitted(reply)
        return CancelResult(text(word)), Status(text(rest[0])) if rest else None

    arguments = [request_id, owner, int(cancel_running), per_minute, caller or owner]
    return ScriptCall("cancel", arguments, read)


def move(
    request_id: str,
    level: int | None,
    owner: str = "",
    deployment_id: str = "",
    model_id: str = "",
    max_queued: int = 0,
) -> ScriptCall[MoveResult]:
    """Moves a queued job to a level (None = its own), to a deployment of its model ('' = its own), or both. The owner '' means any."""
    to_level = "" if level is None else level
    arguments = [request_id, owner, to_level, deployment_id, model_id, max_queued]
    return ScriptCall("move", arguments, lambda reply: MoveResult(text(reply)))


def purge(request_id: str, owner: str = "") -> ScriptCall[PurgeResult]:
    """Drops a job with all its data. One that is not final is cancelled. The owner '' means any."""
    return ScriptCall("purge", [request_id, owner], lambda reply: PurgeResult(text(reply)))


def read(
    request_id: str, owner: str = "", per_minute: int = 0, caller: str = ""
) -> ScriptCall[Reading]:
    """A job as its owner sees it; the owner '' means any. The call counts against the rate of `caller`, as for `cancel`.

    Reading the reply raises RateLimited, and NotFound also for somebody else's job.
    """
    arguments = [request_id, owner, per_minute, caller or owner]
    return ScriptCall("read", arguments, lambda reply: _read_reading(request_id, reply))


def _read_reading(request_id: str, reply: Reply) -> Reading:
    word, *rest = _admitted(reply)
    if text(word) == "missing":
        raise NotFound(f"There is no async request {request_id}.")
    flat, ahead, webhook, run_times, started, now, hold, backoff = rest
    return Reading(
        job=records.job(request_id, items(flat)),
        jobs_ahead=number(ahead) if number(ahead) >= 0 else None,
        webhook_status=text(webhook) or WebhookStatus.NO_WEBHOOK_PROVIDED,
        run_times_ms=tuple(float(text(run_time)) for run_time in items(run_times)),
        running_since=tuple(number(start) for start in items(started) if start is not None),
        now=number(now),
        hold=text(hold),
        backoff_ms=number(backoff),
    )


def _admitted(reply: Reply) -> list[Reply]:
    """The items of a reply to a call that counts against a rate. Raises RateLimited."""
    said = items(reply)
    if text(said[0]) == "throttled":
        raise RateLimited(number(said[1]))
    return said


def queue_status(
    deployment_id: str, api_key: str = "", per_minute: int = 0
) -> ScriptCall[QueueStatus]:
    """The numbers of waiting and running jobs of a deployment. Reading the reply raises RateLimited."""

    def read(reply: Reply) -> QueueStatus:
        _, queued, running, paused = _admitted(reply)
        return QueueStatus(number(queued), number(running), number(paused) == 1)

    return ScriptCall("queue_status", [deployment_id, api_key, per_minute], read)


def pause(deployment_id: str, paused: bool) -> ScriptCall[int]:
    """Holds back a deployment's jobs, or lets them run again. The reply says how many wait."""
    return ScriptCall("pause", [deployment_id, int(paused)], number)


def paused(deployment_ids: Sequence[str]) -> ScriptCall[list[bool]]:
    """Whether each of these deployments is paused, in their order. There may be thousands."""
    return ScriptCall(
        "paused", deployment_ids, lambda reply: [number(each) == 1 for each in items(reply)]
    )


def spill(refs: Sequence[str], milliseconds: int) -> ScriptCall[int]:
    """Records payloads that will be written. Those that nothing adopts within that time are deleted. The reply is their number."""
    return ScriptCall("spill", [milliseconds, *refs], number)


def collect(limit: int, deleted: Sequence[str] = ()) -> ScriptCall[list[str]]:
    """Notes that payloads were deleted. The reply has the next ones that nothing needs, at most `limit`."""
    return ScriptCall(
        "collect", [limit, *deleted], lambda reply: [text(name) for name in items(reply)]
    )


def owners() -> ScriptCall[list[str]]:
    """The ids of the API keys that have ever submitted a job."""
    return ScriptCall("owners", [], lambda reply: [text(key) for key in items(reply)])


def reindex(api_key: str, cursor: int, limit: int) -> ScriptCall[list[int]]:
    """Puts jobs of a key into the index of all jobs. The reply is [next cursor, jobs added]; the cursor 0 ends it."""
    arguments = [api_key, cursor, limit]
    return ScriptCall("reindex", arguments, lambda reply: [number(part) for part in items(reply)])


def tick(boot_id: str, boot_ms: int) -> ScriptCall[int]:
    """Tells the store the time since a machine's boot, in ms, so that a long pause of all processes counts.

    The reply has the ms by which the clock of leases and due times was put forward.
    """
    return ScriptCall("tick", [boot_id, boot_ms], number)


def beat() -> ScriptCall[str]:
    """Notes that a round of a sweeper has ended, so that others see that maintenance runs."""
    return ScriptCall("beat", [], text)


def wake(deployment_id: str) -> ScriptCall[int]:
    """Sends a wake-up if jobs wait. The reply has the number of wake-ups sent."""
    return ScriptCall("wake", [deployment_id], number)


class Rescued(NamedTuple):
    """Requests whose worker no longer reports: those that are queued again, and cancelled ones whose slot is free now."""

    queued: list[RequestId]
    stopped: list[RequestId]


def rescue(limit: int) -> ScriptCall[Rescued]:
    """Takes back jobs whose lease ran out, at most that many."""

    def read(reply: Reply) -> Rescued:
        return Rescued(*([RequestId(text(id_)) for id_ in items(ids)] for ids in items(reply)))

    return ScriptCall("rescue", [limit], read)


def running_on(deployment_id: str, replica: str, limit: int) -> ScriptCall[list[RequestId]]:
    """The jobs of a deployment that a replica runs, at most that many."""

    def read(reply: Reply) -> list[RequestId]:
        return [RequestId(text(request_id)) for request_id in items(reply)]

    return ScriptCall("running_on", [deployment_id, replica, limit], read)


def expire(limit: int) -> ScriptCall[int]:
    """Ends jobs that waited too long for their first claim. The reply is their number."""
    return ScriptCall("expire", [limit], number)


def rewake(cursor: int, limit: int) -> ScriptCall[list[int]]:
    """Sends lost wake-ups again and moves due retries. The reply is [next cursor, wake-ups sent, jobs moved]."""
    return ScriptCall(
        "rewake", [cursor, limit], lambda reply: [number(count) for count in items(reply)]
    )


def end_backoffs(limit: int) -> ScriptCall[int]:
    """Puts attempts whose backoff is over back into their queues, at most that many. The reply is their number."""
    return ScriptCall("end_backoffs", [limit], number)


def forget(limit: int) -> ScriptCall[int]:
    """Drops records whose retention is over. The reply is their number."""
    return ScriptCall("forget", [limit], number)


def forget_files(limit: int) -> ScriptCall[int]:
    """Drops files that have expired and that no request uses. The reply is their number."""
    return ScriptCall("forget_files", [limit], number)
