"""Records how an attempt ended, once, under its fence. The next claim may go in the same round trip."""

import time
from dataclasses import dataclass
from time import monotonic

from tasks.errors import StoreUnavailable
from tasks.job import Claim, JobError, Outcome
from tasks.process import tracing
from tasks.process.logs import get_logger
from tasks.settings import Settings
from tasks.state import ErrorCode, Status
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tasks.store.verbs import Release, SettleResult
from workers.hosting.client import HostAnswer
from workers.hosting.process import HostProcess
from workers.replica.attempt import (
    Answered,
    End,
    HostDied,
    InputUnreadable,
    NotCalled,
    Refused,
    never_called,
)
from workers.replica.classify import GiveBack, RetryLater, classify, failed_attempt, fault_error
from workers.replica.events import RequestEvents
from workers.replica.quarantine import is_suspect
from workers.replica.runs import Run, StopReason
from workers.wire.messages import UNHEALTHY, WHY_SICK, Fault

log = get_logger("settlement")

SETTLE_SECONDS = 120.0  # for which a result is sent again to a store that does not answer
SETTLE_RETRY_SECONDS = 0.2  # between these repetitions
REFUSED_MS = 1000  # until a job that the host refused can be claimed again, so that it does not come back at once

ClaimCall = verbs.ScriptCall[Claim | None]


@dataclass(frozen=True)
class ClaimReply:
    """The answer to a claim that was sent with a settlement: a job, or None if no job waits."""

    claim: Claim | None


@dataclass(frozen=True)
class Settlement:
    """What the store answered."""

    result: SettleResult | None = None  # None = it never answered, or was not asked
    claimed: ClaimReply | None = None  # the answer to the claim; None = there was none
    canceled: bool = False  # the job was cancelled while its call ended; what was recorded is that the call has stopped

    @property
    def accepted(self) -> bool:
        """Whether the job is now as the attempt ended."""
        refused = (None, SettleResult.STALE_FENCE, SettleResult.MISSING)
        return not self.canceled and self.result not in refused


class Settlements:
    """Settles the attempts of one host. Many worker threads call it at once."""

    def __init__(
        self, store: JobStore, host: HostProcess, events: RequestEvents, settings: Settings
    ) -> None:
        self._store = store
        self._host = host
        self._events = events
        self._settings = settings

    def settle(self, run: Run, end: End, claim: ClaimCall | None) -> ClaimReply | None:
        """Records how the attempt ended. `claim` is sent along, so that the slot is not idle for a round trip.

        Returns the answer to the claim; None if it was not sent, or not answered. While the store is away, it tries again for
        SETTLE_SECONDS, and then raises nothing.
        """
        run.span.note(ended=str(run.reason or _words(end)))
        run.stopped_by = _stopped_by(end)
        match run.reason:
            case StopReason.CANCELED:
                settled = self._settle(run, verbs.stopped(run.lease, run.stopped_by), claim)
                if settled.accepted:
                    self._events.revoked(run.claim.job)
            case StopReason.LOST:
                log.warning("job.lost", request_id=run.request_id, attempt=run.claim.job.attempt)
                settled = Settlement()
            case StopReason.DRAIN:
                settled = self._give_back(run, claim)
            case StopReason.TIMEOUT:
                settled = self._timed_out(run, claim)
            case None:
                settled = self._ended(run, end, claim)
        return settled.claimed

    def _ended(self, run: Run, end: End, claim: ClaimCall | None) -> Settlement:
        match end:
            case Answered(answer):
                return self._answered(run, answer, claim)
            case HostDied():
                if self._host.ended_by_us(run.generation):
                    return self._give_back(run, claim)
                return self._died(run, claim)
            case InputUnreadable(why, code):
                error = JobError(code, why)
                return self._conclude(run, failed_attempt(run.claim.job, error, 0.0), claim)
            case NotCalled():
                return self._give_back(run, claim)
            case Refused():
                return self._give_back(run, claim, REFUSED_MS)

    def _give_back(self, run: Run, claim: ClaimCall | None, delay_ms: int = 0) -> Settlement:
        """Returns the job to its old place. The attempt does not count."""
        return self._settle(run, verbs.release(run.lease, Release.DRAIN, delay_ms), claim)

    def _answered(self, run: Run, answer: HostAnswer, claim: ClaimCall | None) -> Settlement:
        detailed = self._settings.model_errors != "none"
        verdict = classify(run.claim.job, answer, detailed)
        if isinstance(verdict, GiveBack):
            return self._give_back(run, claim)
        why_sick = WHY_SICK.get(answer.fault)
        failed = why_sick or answer.status >= 500
        was_sick_before = failed and self._host.was_sick(run.generation)
        if why_sick:
            self._stop_sick(run.generation, answer.fault, why_sick)
        if was_sick_before:  # not this job's fault
            return self._give_back(run, claim)
        if why_sick:
            # The attempt does not count. But the first job that fails may be the cause, so it counts towards `poison`.
            message = f"The model host got sick under this request: {why_sick}."
            return self._charge(run, Release.SICK, fault_error(answer, message, detailed), claim)
        return self._conclude(run, verdict, claim)

    def _stop_sick(self, generation: int, fault: Fault, why: str) -> None:
        """Lets the host run no other job. All may read `why`, so it has no text of an exception."""
        if fault == UNHEALTHY:
            self._host.suspend(generation, why)
        else:
            self._host.end(generation, why)

    def _died(self, run: Run, claim: ClaimCall | None) -> Settlement:
        message = self._host.death(run.generation)
        error = JobError(ErrorCode.MODEL_UNAVAILABLE, message)
        if self._host.ran_out_of_memory(run.generation):
            error = JobError(ErrorCode.MODEL_OUT_OF_MEMORY, message)
            if self._was_alone(run):
                took_ms = (monotonic() - run.started) * 1000
                return self._conclude(run, Outcome(Status.FAILED, took_ms, error=error), claim)
        return self._charge(run, Release.DEATH, error, claim)

    def _charge(
        self, run: Run, reason: Release, error: JobError, claim: ClaimCall | None
    ) -> Settlement:
        """Queues a job again under which the host died or got sick. It counts towards `poison`."""
        settled = self._settle(run, verbs.release(run.lease, reason, error=error), claim)
        if settled.accepted and settled.result is SettleResult.POISON:
            self._events.failed(run.claim.job, "poison")
        elif settled.accepted:
            self._events.retried(run.claim.job, error.code)
        return settled

    def _was_alone(self, run: Run) -> bool:
        """Whether no other job can have filled the host: it has one slot, or this job ran alone."""
        slots = sum(socket.slots for socket in self._host.sockets)
        return slots == 1 or is_suspect(run.claim.job, self._settings)

    def _timed_out(self, run: Run, claim: ClaimCall | None) -> Settlement:
        limit_s = self._settings.predict_timeout_seconds
        message = f"The model did not answer within {limit_s:g} s."
        error = JobError(ErrorCode.MODEL_PREDICT_TIMEOUT, message)
        took_ms = (monotonic() - run.started) * 1000
        return self._conclude(run, failed_attempt(run.claim.job, error, took_ms), claim)

    def _conclude(
        self, run: Run, verdict: Outcome | RetryLater, claim: ClaimCall | None
    ) -> Settlement:
        if isinstance(verdict, RetryLater):
            return self._retry(run, verdict, claim)
        job = run.claim.job
        settled = self._settle(run, verbs.finish(run.lease, verdict), claim)
        if not settled.accepted:
            return settled
        log.info(
            "job.finished",
            request_id=run.request_id,
            status=str(verdict.status),
            attempts=job.attempt,
            predict_ms=round(verdict.predict_ms, 1),  # of the last attempt
            total_ms=max(round(time.time() * 1000) - job.created, 0),
        )
        if verdict.error:
            self._events.failed(job, verdict.error.code)
        else:
            self._events.succeeded(job, verdict.predict_ms / 1000)
        return settled

    def _retry(self, run: Run, retry: RetryLater, claim: ClaimCall | None) -> Settlement:
        call = verbs.release(run.lease, Release.RETRY, retry.delay_ms, retry.error)
        settled = self._settle(run, call, claim)
        if settled.accepted:
            self._events.retried(run.claim.job, retry.error.code)
        return settled

    def _settle(
        self, run: Run, call: verbs.ScriptCall[SettleResult], claim: ClaimCall | None
    ) -> Settlement:
        """Sends a settlement, which is a part of the attempt's trace."""
        with tracing.during("settlement", run.span.traceparent) as span:
            settled = self._send(run, call, claim)
            span.note(verb=call.script, result=str(settled.result or "none"))
        return settled

    def _send(
        self, run: Run, call: verbs.ScriptCall[SettleResult], claim: ClaimCall | None
    ) -> Settlement:
        """Sends a settlement. Repeats it for up to SETTLE_SECONDS while the store does not answer."""
        ends = monotonic() + SETTLE_SECONDS
        settled = Settlement()
        while True:
            try:
                settled = self._settle_once(call, None if settled.claimed else claim, settled)
                if settled.result is SettleResult.STALE_FENCE:
                    # Perhaps the job was cancelled while its call ended. Then the store frees its slot.
                    result = self._store.run(verbs.stopped(run.lease, run.stopped_by))
                    settled = Settlement(result, settled.claimed, result is SettleResult.DONE)
            except StoreUnavailable as error:
                if monotonic() > ends:
                    log.error("settle.abandoned", request_id=run.request_id, error=str(error))
                    return Settlement(None, settled.claimed)
                time.sleep(SETTLE_RETRY_SECONDS)
                continue
            if settled.canceled:
                log.info("job.stopped", request_id=run.request_id, by=run.stopped_by)
                self._events.revoked(run.claim.job)
            elif settled.result in (SettleResult.STALE_FENCE, SettleResult.MISSING):
                log.warning("settle.refused", request_id=run.request_id, result=str(settled.result))
            return settled

    def _settle_once(
        self, call: verbs.ScriptCall[SettleResult], claim: ClaimCall | None, before: Settlement
    ) -> Settlement:
        if claim is None:
            return Settlement(self._store.run(call), before.claimed)
        result, claimed = self._store.run_both(call, claim)
        return Settlement(result, ClaimReply(claimed))


def _words(end: End) -> str:
    """How the attempt ended, in one word or two, for its span."""
    match end:
        case Answered(answer):
            return "succeeded" if answer.status < 400 else "failed"
        case HostDied():
            return "host died"
        case InputUnreadable():
            return "input unreadable"
        case NotCalled():
            return "not called"
        case Refused():
            return "refused"


def _stopped_by(end: End) -> str:
    """How a cancelled call ended. If the host is gone and got the call, it was killed."""
    if isinstance(end, Answered):
        return end.answer.stopped_by or "cooperative"
    return "cooperative" if never_called(end) else "killed"
