"""What Flower hears of an attempt is what the store accepted, on a real Valkey."""

import uuid
from typing import cast

import pytest
from structlog.testing import capture_logs

from tasks.job import Claim, Job, Outcome, RequestId, Retry, Submission
from tasks.settings import Settings
from tasks.state import ErrorCode, Status
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tests.conftest import Clock
from workers.hosting.process import HostProcess
from workers.replica.attempt import End, HostDied, InputUnreadable
from workers.replica.events import RequestEvents
from workers.replica.runs import Run, StopReason
from workers.replica.settlement import Settlements

GOOD = Outcome(Status.SUCCEEDED, 1.0, b"1", "application/json")
UNREADABLE = InputUnreadable("its input is gone", ErrorCode.MODEL_PREDICT_ERROR)
ONCE, TWICE = Retry(1, 0, 0), Retry(2, 0, 0)


class Heard:
    """The names of the events, in the place of what sends them."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def succeeded(self, job: Job, runtime: float) -> None:
        self.events.append("succeeded")

    def failed(self, job: Job, code: str) -> None:
        self.events.append("failed")

    def retried(self, job: Job, code: str) -> None:
        self.events.append("retried")

    def revoked(self, job: Job) -> None:
        self.events.append("revoked")


class DeadHost:
    """A host that has died by itself."""

    def ended_by_us(self, generation: int) -> bool:
        return False

    def ran_out_of_memory(self, generation: int) -> bool:
        return False

    def death(self, generation: int) -> str:
        return "The model host died."


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def settlements(store: JobStore, settings: Settings, heard: Heard) -> Settlements:
    host = cast(HostProcess, DeadHost())
    return Settlements(store, host, cast(RequestEvents, heard), settings)


def claimed(store: JobStore, retry: Retry = ONCE) -> Claim:
    job = Submission(RequestId(uuid.uuid4().hex), "dep00001", "model001", b"{}", retry=retry)
    store.run(verbs.submit([job], "alice", 1000))
    found = store.run(verbs.claim("dep00001", uuid.uuid4().hex, uuid.uuid4().hex, "r"))
    assert found
    return found


@pytest.mark.parametrize(
    ("retry", "end", "event"),
    [(ONCE, UNREADABLE, "failed"), (TWICE, UNREADABLE, "retried"), (ONCE, HostDied(), "retried")],
)
def test_what_the_store_accepts_is_told(
    store: JobStore, settlements: Settlements, heard: Heard, retry: Retry, end: End, event: str
) -> None:
    settlements.settle(Run(claimed(store, retry), 1), end, None)
    assert heard.events == [event]


@pytest.mark.parametrize("retry", [ONCE, TWICE])
@pytest.mark.parametrize("end", [UNREADABLE, HostDied()])
def test_a_job_that_was_cancelled_while_its_call_ended_is_told_as_revoked(
    store: JobStore, settlements: Settlements, heard: Heard, retry: Retry, end: End
) -> None:
    claim = claimed(store, retry)
    store.run(verbs.cancel(claim.job.request_id))
    with capture_logs() as logged:
        settlements.settle(Run(claim, 1), end, None)
    assert heard.events == ["revoked"]
    assert "job.finished" not in [line["event"] for line in logged]
    assert store.run(verbs.read(claim.job.request_id)).job.stopped_at


def test_the_line_of_a_final_job_says_how_it_ended_after_how_many_attempts_and_how_long(
    store: JobStore, settlements: Settlements, clock: Clock
) -> None:
    first = claimed(store, TWICE)
    settlements.settle(Run(first, 1), UNREADABLE, None)
    clock.advance(10)
    store.run(verbs.rewake(0, 10))
    again = store.run(verbs.claim("dep00001", uuid.uuid4().hex, uuid.uuid4().hex, "r"))
    assert again
    with capture_logs() as logged:
        settlements.settle(Run(again, 1), UNREADABLE, None)
    (said,) = [line for line in logged if line["event"] == "job.finished"]
    assert (said["status"], said["attempts"]) == ("FAILED", 2)
    assert said["total_ms"] >= 0 and "result" not in said


def test_how_a_call_of_a_cancelled_job_ended_is_kept(
    store: JobStore, settlements: Settlements
) -> None:
    claim = claimed(store)
    store.run(verbs.cancel(claim.job.request_id))
    settlements.settle(Run(claim, 1), HostDied(), None)
    assert store.run(verbs.read(claim.job.request_id)).job.stopped_by == "killed"


@pytest.mark.parametrize("reason", [None, StopReason.CANCELED, StopReason.TIMEOUT])
def test_what_the_store_refuses_is_not_told(
    store: JobStore, settlements: Settlements, heard: Heard, clock: Clock, reason: StopReason | None
) -> None:
    claim = claimed(store)
    clock.advance(60)
    store.run(verbs.rescue(10))
    assert store.run(verbs.claim("dep00001", uuid.uuid4().hex, uuid.uuid4().hex, "other"))
    settlements.settle(Run(claim, 1, reason=reason), UNREADABLE, None)
    assert heard.events == []
