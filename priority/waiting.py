"""When a job will be done, and what it waits for. The store says how many are ahead of it (`waiting.lua`)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum


class WaitingFor(StrEnum):
    """What keeps a queued job from its run, in the words of the API."""

    PAUSED = "paused"  # its deployment is paused
    KEY_LIMIT = "key_limit"  # its API key runs as many jobs as it may
    RETRY = "retry"  # an attempt failed; the backoff is not over
    SLOT = "slot"  # the replicas are busy with the jobs before it
    LOADING = "loading"  # a replica is being started
    LOAD_FAILED = "load_failed"  # no replica can load the model
    REPLICA = "replica"  # there is none yet


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a job waits for, and why that takes its time where somebody knows."""

    what: WaitingFor | None
    why: str | None = None


NOTHING = Waiting(None)


def in_the_queue(hold: str, backoff_ms: int, ready_slots: int) -> Waiting:
    """What the queue alone explains; NOTHING when no replica is ready. `hold` is why claims pass the job over."""
    if hold:
        return Waiting(WaitingFor(hold))
    if backoff_ms:
        return Waiting(WaitingFor.RETRY)
    return Waiting(WaitingFor.SLOT) if ready_slots else NOTHING


def for_a_replica(
    states: Collection[str], note: str | None, failure: str, gave_up: bool
) -> Waiting:
    """What keeps a deployment without a ready replica.

    `states` are those of its replicas that are not on their way out, `note` is what one of them does meanwhile. `failure`
    says why the latest load failed, '' = it did not; `gave_up` = nobody tries again.
    """
    if failure and (gave_up or set(states) == {"failed"}):
        return Waiting(WaitingFor.LOAD_FAILED, failure)
    return Waiting(WaitingFor.LOADING, note) if states else Waiting(WaitingFor.REPLICA)


@dataclass(frozen=True, slots=True)
class Pace:
    """What is known of a deployment's speed: recent run times, how long each running job has run, and its slots."""

    run_times_ms: Sequence[float]
    running_ms: Sequence[int]
    slots: int

    def running_job_seconds(self, ran_ms: int, fraction: float | None) -> float | None:
        """Seconds until a job is done that has run for `ran_ms`: by its own report, else by the typical run time."""
        if not self.run_times_ms:
            return None
        ran = ran_ms / 1000
        whole = ran / fraction if fraction else self._typical_seconds()
        return round(max(whole - ran, 0.0), 3)

    def queued_job_seconds(self, jobs_ahead: int, backoff_ms: int) -> float | None:
        """Seconds until a queued job is done: the wait for a slot or for its backoff, then a typical run."""
        if not self.run_times_ms:
            return None
        typical = self._typical_seconds()
        start = max(backoff_ms / 1000, self._start_seconds(jobs_ahead, typical))
        return round(start + typical, 3)

    def _typical_seconds(self) -> float:
        return sorted(self.run_times_ms)[len(self.run_times_ms) // 2] / 1000

    def _start_seconds(self, jobs_ahead: int, typical: float) -> float:
        """When a slot is free: each one in turn takes the jobs before this one, a typical run time long."""
        busy = [max(typical - ran / 1000, 0.0) for ran in self.running_ms]
        free = sorted([*busy, *[0.0] * self.slots][: max(self.slots, 1)])
        rounds, place = divmod(jobs_ahead, len(free))
        return free[place] + rounds * typical
