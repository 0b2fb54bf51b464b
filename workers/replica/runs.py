"""The attempts that this replica is running now, each with its span in the trace of its request."""

import threading
import time
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic

from tasks.job import Claim, Job, Lease
from tasks.process import tracing
from tasks.process.tracing import Span
from tasks.state import Status
from tasks.store.story import changes

NS_PER_MS = 1_000_000


class StopReason(StrEnum):
    """Why a running model call has to end early."""

    CANCELED = "canceled"
    LOST = "lost"  # another replica has claimed the job
    TIMEOUT = "timeout"  # it took longer than `predict_timeout_seconds`
    DRAIN = "drain"  # it still ran at the end of the drain


@dataclass(eq=False)
class Run:
    """One attempt from claim to settlement. `reason` is set once, by the first part that wants to end it."""

    claim: Claim
    generation: int  # of the model host that runs it
    # Times are those of the monotonic clock, in seconds.
    started: float = field(default_factory=monotonic)  # the claim, later the call
    reason: StopReason | None = None
    stop_asked: float | None = None  # when `reason` was set
    stopped_by: str = "cooperative"  # how its call ended, for a job that was cancelled
    left_running: bool = False  # its call goes on to its end, though nobody wants its result
    span: Span = field(default_factory=Span)  # of the attempt
    reported: int = 0  # bytes of output that became events

    @property
    def lease(self) -> Lease:
        """The lease that it runs under."""
        return self.claim.lease

    @property
    def request_id(self) -> str:
        """The job's id."""
        return self.claim.lease.request_id


class Runs:
    """The running attempts of a replica. Threads share it.

    The key is the lease, because a job whose lease was lost may be claimed here again while its old call still runs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[Lease, Run] = {}

    def add(self, run: Run) -> None:
        """Adds a run. Its lease is renewed from now on."""
        with self._lock:
            self._runs[run.lease] = run

    def remove(self, run: Run) -> None:
        """Removes a run. Its lease is no longer renewed."""
        with self._lock:
            self._runs.pop(run.lease, None)

    def all(self) -> list[Run]:
        """All current runs."""
        with self._lock:
            return list(self._runs.values())

    def under(self, lease: Lease) -> Run | None:
        """The run with that lease, None if it is not here."""
        with self._lock:
            return self._runs.get(lease)

    def of(self, request_id: str) -> list[Run]:
        """All runs of that request that are here."""
        return [run for run in self.all() if run.request_id == request_id]

    def mark(self, run: Run, reason: StopReason) -> bool:
        """Sets the reason to end it. False if there is one already."""
        with self._lock:
            if run.reason is not None:
                return False
            run.reason, run.stop_asked = reason, monotonic()
            return True


@dataclass
class ClaimTime:
    """When the round trip to the store that claimed a job began and ended, in nanoseconds of Unix time."""

    began: int = 0
    ended: int = 0

    @classmethod
    def since(cls, began: int) -> "ClaimTime":
        """The time of a round trip that has just ended."""
        return cls(began, time.time_ns())


def of_attempt(claim: Claim, at: ClaimTime) -> Span:
    """The span of the attempt, which is not over. Those of its wait in the queue and of its claim are."""
    job = claim.job
    if not tracing.is_on() or not tracing.is_sampled(job.traceparent):
        return Span(job.traceparent)
    about = {"request_id": str(job.request_id), "attempt": job.attempt, "level": job.level}
    queued_ns = min(_queued_ms(job) * NS_PER_MS, at.began)  # the store's clock may be ahead of ours
    wait = tracing.child("queue", job.traceparent, "internal", about, queued_ns)
    wait.end(at.ended)
    attempt = tracing.child("attempt", job.traceparent, "consumer", about, at.began)
    attempt.note(model_id=job.model_id, deployment_id=job.deployment_id)
    claimed = tracing.child("claim", attempt.traceparent, began_ns=at.began)
    claimed.end(at.ended)
    return attempt


def _queued_ms(job: Job) -> int:
    """When the wait began that this claim has ended."""
    waits = [change.at for change in changes(job) if change.status is Status.QUEUED]
    return max(waits[-1], job.not_before or 0)
