"""The history of the last hour on a real Valkey: what is counted, how exactly, and for how long."""

import uuid

import pytest

from tasks.job import Claim, JobError, Outcome, RequestId, Submission
from tasks.settings import Settings
from tasks.state import ErrorCode, Status
from tasks.store import keys, verbs
from tasks.store.history import MINUTES, POISON, STEP, Counts, history
from tasks.store.hour import History
from tasks.store.job_store import AsyncJobStore, JobStore
from tests.conftest import Clock

GOOD = Outcome(Status.SUCCEEDED, 1.0, b"1", "application/json")
BAD = Outcome(Status.FAILED, 1.0, error=JobError(ErrorCode.MODEL_PREDICT_ERROR, "no"))


@pytest.fixture(autouse=True)
def mid_minute(store: JobStore, clock: Clock) -> None:
    """No test runs across the end of a minute."""
    second = store.redis.time()[0] % 60  # type: ignore[index]
    clock.jump(30 - second)


def submit(store: JobStore, deployment: str = "dep00001") -> RequestId:
    request_id = RequestId(uuid.uuid4().hex)
    job = Submission(request_id, deployment, "model001", b"{}")
    return store.run(verbs.submit([job], "alice", 100_000))[0]


def claim(store: JobStore, deployment: str = "dep00001") -> Claim:
    found = store.run(verbs.claim(deployment, uuid.uuid4().hex, uuid.uuid4().hex, "r"))
    assert found
    return found


def counted(store: JobStore) -> Counts:
    """All that was counted in the last hour, of all deployments."""
    parts, first = [], 0
    while True:
        step = store.run(history(first))
        parts += [counts for minute in step.minutes.values() for counts in minute.values()]
        first = max(step.minutes) + 1
        if first > step.now:
            return Counts.sum(parts)


def test_each_end_is_counted_once_and_a_cancelled_one_is_no_error(
    store: JobStore, clock: Clock
) -> None:
    for outcome in (GOOD, GOOD, GOOD, BAD):
        submit(store)
        taken = claim(store)
        store.run(verbs.finish(taken.lease, outcome))
        store.run(verbs.finish(taken.lease, outcome))  # its first reply was lost
    store.run(verbs.cancel(submit(store)))
    submit(store)
    clock.advance(601)
    assert store.run(verbs.expire(10)) == 1
    found = counted(store)
    assert found.ends == {"SUCCEEDED": 3, "FAILED": 1, "CANCELED": 1, "EXPIRED": 1}
    assert (found.claimed, found.ended, found.bad, found.error_share) == (4, 5, 2, 0.4)


def test_a_wait_ends_with_the_first_claim_and_is_known_within_a_fifth(
    store: JobStore, clock: Clock
) -> None:
    for seconds in (2, 7, 30, 90):
        submit(store)
        clock.jump(seconds)
        taken = claim(store)
        store.run(verbs.release(taken.lease, verbs.Release.RETRY))
        clock.jump(30)
        again = claim(store)  # no first claim
        store.run(verbs.finish(again.lease, GOOD))
    found = counted(store)
    assert found.claimed == 4
    shares = {0.25: 2, 0.5: 7, 0.75: 30, 1.0: 90}
    for share, seconds in shares.items():
        waited = found.waited(share)
        assert waited == pytest.approx(seconds, rel=0.25), seconds
    assert Counts().waited(0.5) is None and Counts().error_share is None


def test_a_request_that_ends_its_replicas_is_counted_as_poison(store: JobStore) -> None:
    submit(store)
    for _ in range(3):
        store.run(verbs.release(claim(store).lease, verbs.Release.DEATH))
    found = counted(store)
    assert (found.ends[POISON], found.ends["FAILED"], found.ended, found.bad) == (1, 1, 1, 1)


def test_an_hour_is_read_in_steps_and_goes_by_itself(store: JobStore, clock: Clock) -> None:
    submit(store)
    store.run(verbs.finish(claim(store).lease, GOOD))
    first = store.run(history())
    assert len(first.minutes) == STEP and max(first.minutes) == first.now - MINUTES + STEP
    (key,) = store.redis.keys(keys.keyed("history", "*"))  # type: ignore[misc]
    assert 3600 < store.redis.ttl(key) <= 3900  # type: ignore[operator]
    clock.jump(59 * 60)
    assert counted(store).ended == 1
    clock.jump(120)
    assert counted(store).ended == 0


def test_a_minute_has_a_bounded_number_of_counts(store: JobStore) -> None:
    submit(store)
    claim(store)
    (key,) = store.redis.keys(keys.keyed("history", "*"))  # type: ignore[misc]
    many = {f"dep{number:05d}:SUCCEEDED": 1 for number in range(10_000)}
    store.redis.hset(key, mapping=many)
    full = store.redis.hlen(key)
    for _ in range(2):  # a wait is counted already; a new deployment is not
        submit(store, "dep99999")
        store.run(verbs.finish(claim(store, "dep99999").lease, GOOD))
    assert store.redis.hlen(key) == full


async def test_a_process_reads_a_minute_once_and_a_clock_that_was_put_back(
    store: JobStore, settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.store.hour.FRESH_SECONDS", 0.0)
    reading = AsyncJobStore(settings, movable_clock=True)
    known = History(reading)

    def runs() -> int:
        return store.redis.info("commandstats")["cmdstat_fcall"]["calls"]  # type: ignore[index]

    submit(store)
    store.run(verbs.finish(claim(store).lease, GOOD))
    hour = await known.hour()
    assert hour.of(["dep00001"]).total.ended == 1 and hour.busy() == {"dep00001"}
    before = runs()
    submit(store, "dep00002")
    store.run(verbs.finish(claim(store, "dep00002").lease, BAD))
    hour = await known.hour()
    assert runs() - before == 4  # three of the job, and one of the history
    assert hour.of(["dep00001", "dep00002"]).total.error_share == 0.5
    assert len(hour.minutes) == MINUTES
    clock.jump(-600)
    assert (await known.hour()).first == hour.first - 10
    await reading.close()
