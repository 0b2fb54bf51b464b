"""The attempts that this replica is running now."""

import threading
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic

from tasks.job import Claim, Lease


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
    left_running: bool = False  # its call goes on to its end, though nobody wants its result
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
