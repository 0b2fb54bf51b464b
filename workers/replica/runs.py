"""The attempts that this replica is running now."""

import threading
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic

from tasks.job import Claim, Lease


class StopReason(StrEnum):
    """Why a running model call is to end before its time."""

    CANCELED = "canceled"
    LOST = "lost"  # the job is somebody else's by now
    TIMEOUT = "timeout"
    DRAIN = "drain"


@dataclass(eq=False)
class Run:
    """One attempt from claim to settlement; `reason` is set once, by whoever wants it to end first."""

    claim: Claim
    generation: int  # of the model host that runs it
    started: float = field(default_factory=monotonic)
    reason: StopReason | None = None
    stop_asked: float | None = None
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
    """A register that threads share: by lease, since a job that was lost may be claimed here again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[Lease, Run] = {}

    def add(self, run: Run) -> None:
        """From now on its lease is renewed."""
        with self._lock:
            self._runs[run.lease] = run

    def remove(self, run: Run) -> None:
        """From now on it is nobody's."""
        with self._lock:
            self._runs.pop(run.lease, None)

    def all(self) -> list[Run]:
        """All of them, as of now."""
        with self._lock:
            return list(self._runs.values())

    def under(self, lease: Lease) -> Run | None:
        """The run under that lease, if it is here."""
        with self._lock:
            return self._runs.get(lease)

    def of(self, request_id: str) -> list[Run]:
        """All runs of that request that are here."""
        return [run for run in self.all() if run.request_id == request_id]

    def mark(self, run: Run, reason: StopReason) -> bool:
        """Notes why it is to end; False when somebody was first."""
        with self._lock:
            if run.reason is not None:
                return False
            run.reason, run.stop_asked = reason, monotonic()
            return True
