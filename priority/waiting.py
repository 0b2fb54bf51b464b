"""Estimates when a job will be done, and says what it waits for. `waiting.lua` counts the jobs ahead of it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

MOST_SAMPLED = 64  # running jobs of a deployment whose times the store says; of more, a sample (read.lua, look.lua)


class WaitingFor(StrEnum):
    """What a queued job waits for, in the words of the API."""

    PAUSED = "paused"  # its deployment is paused
    KEY_LIMIT = "key_limit"  # its API key runs as many jobs as it may
    RETRY = "retry"  # an attempt failed; the backoff is not over
    SLOT = "slot"  # the replicas are busy with the jobs before it
    LOADING = "loading"  # a replica is being started
    LOAD_FAILED = "load_failed"  # no replica can load the model
    REPLICA = "replica"  # none is ready, and none is being started


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a job waits for, and the reason if it is known."""

    what: WaitingFor | None
    why: str | None = None
    stands_still: bool = False  # until somebody acts, so no end can be estimated


NOTHING = Waiting(None)
UNHEALTHY = "The replica is not healthy. It gets calls again when it is healthy or was restarted."


def in_the_queue(hold: str, backoff_ms: int, ready_slots: int) -> Waiting:
    """What a job waits for, as far as the queue shows it. NOTHING if it only lacks a ready replica.

    `hold` is the answer of `why_held` in waiting.lua: 'paused', 'key_limit' or ''.
    """
    if hold:
        what = WaitingFor(hold)
        return Waiting(what, stands_still=what is WaitingFor.PAUSED)
    if backoff_ms:
        return Waiting(WaitingFor.RETRY)
    return Waiting(WaitingFor.SLOT) if ready_slots else NOTHING


def for_a_replica(
    states: Collection[str],
    note: str | None,
    failure: str,
    gave_up: bool,
    deactivated: str = "",
    unplaced: str = "",
) -> Waiting:
    """What a job waits for if its deployment has no ready replica.

    - `states`: the states of its replicas that are not draining.
    - `note`: what one of them does now, such as building its virtualenv.
    - `failure`: why the latest load failed, '' if it did not.
    - `gave_up`: the deployment is not loaded again for now.
    - `deactivated`: how to activate the deployment, '' if it is active.
    - `unplaced`: why no node has taken the deployment, '' if it has a replica or nobody knows.
    """
    if failure and (gave_up or deactivated or set(states) <= {"failed"}):
        return Waiting(WaitingFor.LOAD_FAILED, failure, stands_still=True)
    if deactivated:
        return Waiting(WaitingFor.REPLICA, deactivated, stands_still=True)
    if states and set(states) <= {"unhealthy"}:
        return Waiting(WaitingFor.REPLICA, UNHEALTHY)
    if states:
        return Waiting(WaitingFor.LOADING, note)
    return Waiting(WaitingFor.REPLICA, unplaced or None)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a deployment works off its queue."""

    run_times_ms: Sequence[float]  # of recent jobs
    running_ms: Sequence[
        int
    ]  # how long each running job has run; of MOST_SAMPLED or more, a sample
    slots: int  # of its ready replicas; at least 1 for a queued job

    def running_job_seconds(self, ran_ms: int, fraction: float | None) -> float | None:
        """Seconds until a running job is done, from its reported progress, else from the typical run time.

        `fraction` is the progress, from 0 to 1. None if nobody can know: no job has ended yet, or this one reports no progress and
        has already run for longer than usual.
        """
        if not self.run_times_ms:
            return None
        ran = ran_ms / 1000
        left = (ran / fraction if fraction else self._typical_seconds()) - ran
        return round(left, 3) if left >= 0 else None

    def queued_job_seconds(self, jobs_ahead: int, backoff_ms: int) -> float | None:
        """Seconds until a queued job is done: its wait for a slot or for its backoff, and a typical run.

        None if no job has ended yet, or all slots have jobs that run for longer than each recent one: jobs take longer than before.
        """
        if not self.run_times_ms:
            return None
        within = [ran for ran in self.running_ms if ran <= max(self.run_times_ms)]
        typical = self._typical_seconds()
        if within:  # if most have already run for longer than usual, the usual time is too low
            typical = max(typical, sorted(within)[(len(within) - 1) // 2] / 1000)
        started = self._start_seconds(jobs_ahead, typical, within)
        return None if started is None else round(max(backoff_ms / 1000, started) + typical, 3)

    def _typical_seconds(self) -> float:
        """The median run time."""
        return sorted(self.run_times_ms)[len(self.run_times_ms) // 2] / 1000

    def _start_seconds(
        self, jobs_ahead: int, typical: float, within: Sequence[int]
    ) -> float | None:
        """Seconds until a slot is free. The slots take the jobs ahead in turn, each for a typical run time.

        Those whose jobs have run for longer than each recent one, and so are not `within`, do not count. None if no slot is left.
        """
        busy = [max(typical - ran / 1000, 0.0) for ran in within]
        slots = self.slots - (len(self.running_ms) - len(within))
        if len(self.running_ms) >= MOST_SAMPLED:  # the other slots are busy in the same way
            slots = self.slots * len(within) // len(self.running_ms)
            busy *= -(-slots // max(len(busy), 1))
        if slots <= 0:
            return None
        free_in = sorted([*busy, *[0.0] * slots][:slots])  # s, for each slot
        rounds, place = divmod(jobs_ahead, slots)
        return free_in[place] + rounds * typical
