"""A turn of a worker thread: it takes a slot of the host, then runs job after job until none waits or the turn is over."""

import contextlib
import secrets
import threading
import time
from dataclasses import dataclass, field
from time import monotonic

from tasks.errors import StoreUnavailable
from tasks.job import Claim, Loaded
from tasks.process.logs import get_logger
from tasks.settings import Settings
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tasks.store.verbs import Release
from workers.hosting.client import HostClient, HostNotReady, HostUnavailable
from workers.hosting.process import HostProcess
from workers.replica.attempt import Answered, Attempts, Slot, never_called
from workers.replica.events import RequestEvents
from workers.replica.runs import ClaimTime, Run, Runs, of_attempt
from workers.replica.settlement import ClaimReply, Settlements

log = get_logger("turn")

# After these waits a turn ends, so that the thread soon sees a drain.
SLOT_WAIT = 1.0  # s, for a slot, which sync calls get first; then the wake-up is put back
SICK_WAIT = 1.0  # s, while the host is sick; then the wake-up is put back
READY_WAIT = 1.0  # s, while the model loads; then the wake-up is dropped: a ready host sends more
CLAIM_SECONDS = 3.0  # for which a claim is repeated while the store is away
CLAIM_RETRY_SECONDS = 0.2  # between these repetitions


@dataclass
class ThreadState:
    """The state of one worker thread between jobs."""

    client: HostClient
    claimer: str  # names this thread to the store
    fence: str  # of the next claim
    # Seconds of the monotonic clock. From then on no claim goes along with a settlement.
    turn_ends: float = 0.0
    claim_time: ClaimTime = field(default_factory=ClaimTime)  # of the latest claim
    claimed: ClaimReply | None = None  # the answer to such a claim, until it is used


class Turns:
    """Runs jobs of one deployment at one socket of a host. Many worker threads call it at once."""

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
        self._attempts = Attempts(store, host, settings)
        self._settlements = Settlements(store, host, events, settings)
        self._worker = secrets.token_hex(8)  # begins every fence of this process
        self._local = threading.local()

    def take(self) -> int:
        """Takes one turn and returns the number of jobs that it ran. 0 as well if the host or the store cannot serve."""
        if self.draining.is_set() or not self._host.ready.wait(READY_WAIT):
            return 0
        if self._host.sick:
            return self._leave_to_others()
        try:
            return self._turn(self._thread_state())
        except (HostUnavailable, HostNotReady):
            return 0  # the host is being replaced; whoever waits is woken when it is ready
        except StoreUnavailable as error:
            log.warning("store.unavailable", error=str(error))
            return 0

    def _leave_to_others(self) -> int:
        """Puts the wake-up back after SICK_WAIT. Another replica takes it, or this one once its host is well."""
        self.draining.wait(SICK_WAIT)
        with contextlib.suppress(StoreUnavailable):  # the sweeper sends it, too
            self._store.run(verbs.wake(self._deployment_id))
        return 0

    def _turn(self, thread: ThreadState) -> int:
        ran, thread.turn_ends = 0, monotonic() + self._settings.claim_on_seconds
        slot = self._acquire(thread)
        try:
            while slot and (thread.claimed or self._may_claim):
                claim = self._next(thread)
                if claim is None:
                    return ran
                if claim.resumed:
                    self._resume(claim)
                    continue
                slot = self._run(thread, claim, slot)
                ran += 1
                if not thread.claimed and monotonic() > thread.turn_ends:
                    break
                slot = slot or self._acquire(thread)
        finally:
            if slot:
                thread.client.give_back(slot.token)
        self._store.run(verbs.wake(self._deployment_id))
        return ran

    @property
    def _may_claim(self) -> bool:
        return not self.draining.is_set() and self._host.sick is None

    def _acquire(self, thread: ThreadState) -> Slot | None:
        generation = self._host.generation
        token = thread.client.acquire(SLOT_WAIT)
        return Slot(token, generation) if token else None

    def _next(self, thread: ThreadState) -> Claim | None:
        """The job that was claimed with the last settlement, else one that is claimed now."""
        if thread.claimed is None:
            return self._claim(thread)
        claim, thread.claimed = thread.claimed.claim, None
        return claim

    def _claim(self, thread: ThreadState) -> Claim | None:
        # The fence changes only after an answer. A claim whose reply was lost is then repeated with the same fence and gets
        # the same job. Otherwise that job would wait until its lease ends.
        call = self._claim_call(thread)
        ends = monotonic() + CLAIM_SECONDS
        while True:
            began_ns = time.time_ns()
            try:
                claim = self._store.run(call)
            except StoreUnavailable:
                if monotonic() > ends:
                    raise
                time.sleep(CLAIM_RETRY_SECONDS)
                continue
            thread.fence, thread.claim_time = self._new_fence(), ClaimTime.since(began_ns)
            return claim

    def _claim_call(self, thread: ThreadState) -> verbs.ScriptCall[Claim | None]:
        ago, took = monotonic() - self._host.ready_since, self._host.load_seconds
        loaded = Loaded(int(ago * 1000), int(took * 1000))
        return verbs.claim(
            self._deployment_id, thread.claimer, thread.fence, self._replica_id, loaded
        )

    def _new_fence(self) -> str:
        return self._worker + secrets.token_hex(8)

    def _resume(self, claim: Claim) -> None:
        """Takes back a job that was rescued from this process. Its call goes on if it still runs, else the job starts again."""
        here = self._runs.under(claim.lease) is not None
        log.info("job.resumed", request_id=claim.job.request_id, running=here)
        if not here:  # a fence covers one call, so the job starts again under a new one
            self._store.run(verbs.release(claim.lease, Release.DRAIN))

    def _run(self, thread: ThreadState, claim: Claim, slot: Slot) -> Slot | None:
        """Runs one attempt and settles it. Returns the slot if the host let us keep it.

        A claim goes along with the settlement if the turn goes on. Its answer is then in `thread.claimed`.
        """
        run = Run(claim, slot.generation, span=of_attempt(claim, thread.claim_time))
        self._runs.add(run)
        self._events.started(claim.job)
        try:
            end = self._attempts.make(run, thread.client, slot)
            unused = never_called(end) and self._attempts.is_alive(slot)
            answer = end.answer if isinstance(end, Answered) else None
            kept = slot if unused or (answer and answer.slot_kept) else None
            claims_along = kept and self._may_claim and monotonic() < thread.turn_ends
            call = self._claim_call(thread) if claims_along else None
            settling_ns = time.time_ns()
            claimed = self._settlements.settle(run, end, call)
            thread.claim_time = ClaimTime.since(settling_ns)
        finally:
            self._runs.remove(run)
            run.span.end()
        if claimed:
            thread.claimed, thread.fence = claimed, self._new_fence()
        if answer and answer.still_running:
            self._host.end(run.generation, f"request {run.request_id} left a call behind")
        return kept

    def _thread_state(self) -> ThreadState:
        thread: ThreadState | None = getattr(self._local, "state", None)
        if thread is None:
            claimer = f"{self._replica_id}:{threading.get_ident()}"
            thread = ThreadState(HostClient(self._address), claimer, self._new_fence())
            self._local.state = thread
        return thread
