"""Running a job, as a pipeline: claim -> predict (host) -> classify -> settle."""

import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

from tasks.errors import NotFound, PayloadUnavailable, StoreUnavailable
from tasks.job import Claim, Job, JobError, Outcome
from tasks.payloads import Payloads, output_ms, output_ref
from tasks.process.logs import get_logger
from tasks.settings import Settings
from tasks.state import ErrorCode, Status
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tasks.store.verbs import Release, Word
from workers.hosting.client import (
    HostAnswer,
    HostClient,
    HostNotReady,
    HostRefused,
    HostUnavailable,
    HostUnreached,
)
from workers.hosting.process import HostProcess
from workers.hosting.spool import Spool
from workers.replica.classify import GiveBack, Retry, classify, failed_attempt
from workers.replica.events import RequestEvents
from workers.replica.quarantine import Quarantine
from workers.replica.runs import Run, Runs, StopReason
from workers.wire import Frame, FrameKind

log = get_logger("runner")

SLOT_WAIT = 1.0  # s; sync calls go first, then the wake-up is put back
READY_WAIT = 1.0  # s; the same while the model loads
CLAIM_SECONDS = 3.0  # s; how long a claim is repeated while the store is away
SETTLE_SECONDS = 120.0  # s; how long a result is offered to a store that is away
SETTLE_AGAIN = 0.2  # s
SUSPECT_AFTER = 2  # deaths
REFUSED_MS = 1000  # until a job that the host refused is claimable again


@dataclass(frozen=True)
class _Slot:
    """The right to make one call of the host of that generation."""

    token: str
    generation: int


@dataclass
class _Hand:
    """What one worker thread keeps between jobs."""

    client: HostClient
    claimer: str
    fence: str
    turn_ends: float = 0.0  # from then on no claim goes along with a settlement
    # Such a claim's answer.
    followed: list[Claim | None] = field(default_factory=list[Claim | None])


class Runner:
    """Runs jobs of one deployment at one socket of a host; called by many worker threads at once."""

    def __init__(
        self,
        store: JobStore,
        host: HostProcess,
        runs: Runs,
        events: RequestEvents,
        settings: Settings,
        deployment_id: str,
        replica_id: str,
        address: str,
    ) -> None:
        self.draining = threading.Event()
        self._store = store
        self._host = host
        self._runs = runs
        self._events = events
        self._settings = settings
        self._deployment_id = deployment_id
        self._replica_id = replica_id
        self._address = address
        self._payloads = Payloads(settings)
        self._quarantine = Quarantine()
        self._worker = secrets.token_hex(8)  # begins every fence of this process
        self._local = threading.local()
        self._never = threading.Event()

    def run_available(self) -> int:
        """Runs jobs one after the other until none waits or the turn is over; how many it ran."""
        if self.draining.is_set() or not self._host.ready.wait(READY_WAIT):
            return 0
        hand = self._hand()
        try:
            return self._turn(hand)
        except (HostUnavailable, HostNotReady):
            return 0  # the host is being replaced; whoever waits is woken when it is ready
        except StoreUnavailable as error:
            log.warning("store.unavailable", error=str(error))
            return 0

    def _turn(self, hand: _Hand) -> int:
        ran, hand.turn_ends = 0, monotonic() + self._settings.claim_on_seconds
        slot = self._acquire(hand)
        try:
            while slot and (hand.followed or not self.draining.is_set()):
                claim = hand.followed.pop() if hand.followed else self._claim(hand)
                if claim is None:
                    return ran
                if claim.resumed:
                    self._resume(claim)
                    continue
                slot = self._run(hand, claim, slot)
                ran += 1
                if not hand.followed and monotonic() > hand.turn_ends:
                    break
                slot = slot or self._acquire(hand)
        finally:
            if slot:
                hand.client.give_back(slot.token)
        self._store.run(verbs.wake(self._deployment_id))
        return ran

    def _acquire(self, hand: _Hand) -> _Slot | None:
        generation = self._host.generation
        token = hand.client.acquire(SLOT_WAIT)
        return _Slot(token, generation) if token else None

    def _claim(self, hand: _Hand) -> Claim | None:
        # The fence is new only after an answer: a claim whose reply was lost is asked for again, and
        # at once, or the job would wait for its lease to end.
        call = self._next_claim(hand)
        ends = monotonic() + CLAIM_SECONDS
        while True:
            try:
                claim = self._store.run(call)
            except StoreUnavailable:
                if monotonic() > ends:
                    raise
                self._never.wait(SETTLE_AGAIN)
                continue
            hand.fence = self._new_fence()
            return claim

    def _resume(self, claim: Claim) -> None:
        """A job comes back that was rescued from this process: its call goes on, or else it starts over."""
        here = self._runs.under(claim.lease) is not None
        log.info("job.resumed", request_id=claim.job.request_id, running=here)
        if not here:  # one fence, one call
            self._store.run(verbs.release(claim.lease, Release.DRAIN))

    def _new_fence(self) -> str:
        return self._worker + secrets.token_hex(8)

    def _next_claim(self, hand: _Hand) -> verbs.Call[Claim | None]:
        return verbs.claim(self._deployment_id, hand.claimer, hand.fence, self._replica_id)

    def _run(self, hand: _Hand, claim: Claim, slot: _Slot) -> _Slot | None:
        """One attempt; the slot when the host let us keep it."""
        run = Run(claim, slot.generation)
        self._runs.add(run)
        self._events.started(claim.job)
        suspect = self._is_suspect(claim.job)
        try:
            with self._quarantine.alone() if suspect else self._quarantine.shared():
                run.started = monotonic()
                answer = None
                # While it waited, the job may have been cancelled, or a neighbour have ended the host.
                if run.reason is None and self._lives(slot):
                    answer = self._predict(hand, run, slot.token)
            unused = not run.sent and self._lives(slot)
            kept = slot if unused or (answer and answer.slot_kept) else None
            if kept and not self.draining.is_set() and monotonic() < hand.turn_ends:
                run.follow = self._next_claim(hand)
            self._settle(run, answer)
        finally:
            self._runs.remove(run)
        if run.followed:
            hand.followed, hand.fence = run.followed, self._new_fence()
        if answer and answer.still_running:
            self._host.end(run.generation, f"{run.request_id} left a call behind")
        return kept

    def _lives(self, slot: _Slot) -> bool:
        return slot.generation == self._host.generation and self._host.ready.is_set()

    def _predict(self, hand: _Hand, run: Run, slot: str) -> HostAnswer | None:
        """The host's answer; None when it died first."""
        try:
            body, spool = self._input(run), self._spool(run)
            run.sent = True
            report = partial(self._report, run)
            return hand.client.run(run.lease, body, _headers(run.claim, slot), spool, report)
        except (NotFound, PayloadUnavailable) as error:
            run.sent, run.input_failure = False, str(error)
            hand.client.close()
            return None
        except HostRefused as error:
            log.warning("host.refused", request_id=run.request_id, error=str(error))
            run.sent, run.refused = False, True
            return None
        except HostUnreached:
            run.sent = False  # another job took the host with it; this one is not to blame
            hand.client.close()
            return None
        except HostUnavailable as error:
            log.warning("host.lost", request_id=run.request_id, error=str(error))
            hand.client.close()
            return None

    def _input(self, run: Run) -> bytes | Iterator[bytes]:
        """What the host gets. Raises NotFound and PayloadUnavailable."""
        ref = run.claim.job.input_ref
        return self._payloads.read(ref) if ref else run.claim.input

    def _spool(self, run: Run) -> Spool:
        ref = output_ref(run.request_id, run.lease.fence)
        note = verbs.spill([ref], output_ms(self._settings))
        return Spool(self._payloads, ref, self._settings.spill_bytes, lambda: self._note(run, note))

    def _note(self, run: Run, note: verbs.Call[int]) -> None:
        """Notes a payload before it is written, again and again while the store is away."""
        while run.reason is None:
            try:
                self._store.run(note)
                return
            except StoreUnavailable:
                self._never.wait(SETTLE_AGAIN)

    def _report(self, run: Run, frame: Frame) -> None:
        """Passes progress and chunks on; a store that is away misses them, the result is kept."""
        try:
            if frame.kind is FrameKind.OUTPUT:
                self._report_chunk(run, frame.payload)
            else:
                said = frame.json()
                message = said.get("message")
                fraction = min(max(float(str(said["fraction"])), 0.0), 1.0)
                self._store.run(
                    verbs.progress(run.lease, fraction, str(message) if message else None)
                )
        except StoreUnavailable as error:
            log.warning("progress.dropped", request_id=run.request_id, error=str(error))

    def _report_chunk(self, run: Run, chunk: bytes) -> None:
        """An event for each chunk, up to a limit: events live in Redis, the output need not."""
        limit = self._settings.max_event_bytes
        if run.reported <= limit:
            run.reported += len(chunk)
            whole = run.reported <= limit
            lease = run.lease
            self._store.run(
                verbs.output_chunk(lease, chunk) if whole else verbs.output_truncated(lease)
            )

    def _settle(self, run: Run, answer: HostAnswer | None) -> None:
        """Writes down what became of the attempt."""
        match run.reason:
            case StopReason.CANCELED:
                by = _how(run, answer)
                self._offer(run, lambda: verbs.stopped(run.lease, by))
                self._events.revoked(run.claim.job)
            case StopReason.LOST:
                log.warning("job.lost", request_id=run.request_id, attempt=run.claim.job.attempt)
            case StopReason.DRAIN:
                self._offer(run, lambda: verbs.release(run.lease, Release.DRAIN))
            case StopReason.TIMEOUT:
                self._settle_timeout(run)
            case None:
                self._settle_answer(run, answer)

    def _settle_answer(self, run: Run, answer: HostAnswer | None) -> None:
        if run.input_failure:
            error = JobError(ErrorCode.INTERNAL_SERVER_ERROR, run.input_failure)
            self._conclude(run, failed_attempt(run.claim.job, error, 0.0))
            return
        if run.refused:
            self._offer(run, lambda: verbs.release(run.lease, Release.DRAIN, REFUSED_MS))
            return
        if answer is None:
            self._settle_death(run)
            return
        verdict = classify(run.claim.job, answer, self._settings.model_errors != "none")
        if isinstance(verdict, GiveBack):
            self._offer(run, lambda: verbs.release(run.lease, Release.DRAIN))
        else:
            self._conclude(run, verdict)

    def _settle_death(self, run: Run) -> None:
        if not run.sent or self._host.ended_by_us(run.generation):
            self._offer(run, lambda: verbs.release(run.lease, Release.DRAIN))
            return
        how = self._host.death(run.generation)
        error = JobError(ErrorCode.MODEL_UNAVAILABLE, how)
        if self._host.ran_out_of_memory(run.generation):
            error = JobError(ErrorCode.MODEL_OUT_OF_MEMORY, how)
            if self._was_alone(run):
                took = (monotonic() - run.started) * 1000
                self._conclude(run, Outcome(Status.FAILED, took, error=error))
                return
        word = self._offer(run, lambda: verbs.release(run.lease, Release.DEATH, error=error))
        if word is Word.POISON:
            self._events.failed(run.claim.job, "poison")
        else:
            self._events.retried(run.claim.job, error.code)

    def _was_alone(self, run: Run) -> bool:
        """Whether no other job can have filled the host: it has one slot, or this job ran alone."""
        slots = sum(socket.slots for socket in self._host.sockets)
        return slots == 1 or self._is_suspect(run.claim.job)

    def _is_suspect(self, job: Job) -> bool:
        """Whether it runs alone: from its third run on, and in its last. More deaths allowed are more chances alone."""
        return job.deaths >= min(SUSPECT_AFTER, self._settings.max_deaths - 1)

    def _settle_timeout(self, run: Run) -> None:
        limit = self._settings.predict_timeout_seconds
        message = f"The model did not answer within {limit:g} s."
        error = JobError(ErrorCode.MODEL_PREDICT_TIMEOUT, message)
        took = (monotonic() - run.started) * 1000
        self._conclude(run, failed_attempt(run.claim.job, error, took))

    def _conclude(self, run: Run, verdict: Outcome | Retry) -> None:
        job = run.claim.job
        if isinstance(verdict, Retry):
            retry = verdict
            self._offer(
                run, lambda: verbs.release(run.lease, Release.RETRY, retry.delay_ms, retry.error)
            )
            self._events.retried(job, retry.error.code)
            return
        outcome = verdict
        word = self._offer(run, lambda: verbs.finish(run.lease, outcome))
        log.info(
            "job.finished",
            request_id=run.request_id,
            attempt=job.attempt,
            status=str(outcome.status),
            took_ms=round(outcome.predict_ms, 1),
            word=word and str(word),
        )
        if outcome.error:
            self._events.failed(job, outcome.error.code)
        else:
            self._events.succeeded(job, outcome.predict_ms / 1000)

    def _offer(self, run: Run, call: Callable[[], verbs.Call[Word]]) -> Word | None:
        """Settles, again and again while the store is away; None when it stayed away."""
        ends = monotonic() + SETTLE_SECONDS
        while True:
            try:
                word = self._settle_once(run, call())
                if word is Word.STALE_FENCE:
                    # Cancelled in the moment of its end: it has stopped, and its slot is free.
                    word = self._store.run(verbs.stopped(run.lease, "cooperative"))
            except StoreUnavailable as error:
                if monotonic() > ends:
                    log.error("settle.abandoned", request_id=run.request_id, error=str(error))
                    return None
                self._never.wait(SETTLE_AGAIN)
                continue
            if word in (Word.STALE_FENCE, Word.MISSING):
                log.warning("settle.refused", request_id=run.request_id, word=str(word))
            return word

    def _settle_once(self, run: Run, call: verbs.Call[Word]) -> Word:
        """Settles; the claim of the next job goes along, so that the slot is not idle for a round trip."""
        if run.follow is None:
            return self._store.run(call)
        word, claim = self._store.run_both(call, run.follow)
        run.follow, run.followed = None, [claim]
        return word

    def _hand(self) -> _Hand:
        hand: _Hand | None = getattr(self._local, "hand", None)
        if hand is None:
            claimer = f"{self._replica_id}:{threading.get_ident()}"
            hand = _Hand(HostClient(self._address), claimer, self._new_fence())
            self._local.hand = hand
        return hand


def _how(run: Run, answer: HostAnswer | None) -> str:
    """How a cancelled call ended: a host that is gone was killed, if it had the call at all."""
    if answer is None:
        return "killed" if run.sent else "cooperative"
    return answer.stopped_by or "cooperative"


def _headers(claim: Claim, slot: str) -> dict[str, str]:
    """What the host gets with the input; the model sees the request id and the trace."""
    headers = {
        "content-type": claim.job.content_type,
        "x-baseten-request-id": claim.job.request_id,
        "x-kingpost-slot": slot,
        "x-kingpost-keep-slot": "1",
    }
    if claim.job.traceparent:
        headers["traceparent"] = claim.job.traceparent
    if claim.job.chain_id:
        headers["x-baseten-chain-request-id"] = claim.job.request_id
    if claim.job.path:
        headers["x-kingpost-path"] = claim.job.path
    return headers
