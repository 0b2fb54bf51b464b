"""The totals of a deployment on a real Valkey: each event is counted once, in the same step as it happens."""

import uuid

import pytest

from tasks.job import Claim, JobError, Outcome, RequestId, Submission
from tasks.state import ErrorCode, Status
from tasks.store import keys, verbs
from tasks.store.job_store import JobStore
from tasks.store.totals import BATCH, STEPS, Totals, totals
from tasks.webhooks.verbs import settle_delivery, take_deliveries
from tests.conftest import Clock

DEPLOYMENT = "dep00001"
GOOD = Outcome(Status.SUCCEEDED, 1500.0, b"1", "application/json")


def failed(detail: str = "") -> Outcome:
    return Outcome(Status.FAILED, 3.0, error=JobError(ErrorCode.MODEL_PREDICT_ERROR, "no", detail))


def submit(store: JobStore, level: int = 0, key: str = "alice", **how: str) -> RequestId:
    job = Submission(RequestId(uuid.uuid4().hex), DEPLOYMENT, "model001", b"{}", level=level, **how)  # type: ignore[arg-type]
    return store.run(verbs.submit([job], key, 100_000))[0]


def claim(store: JobStore) -> Claim:
    found = store.run(verbs.claim(DEPLOYMENT, uuid.uuid4().hex, uuid.uuid4().hex, "r"))
    assert found
    return found


def counted(store: JobStore) -> Totals:
    (found,) = store.run(totals([DEPLOYMENT]))
    return found


def test_an_unknown_deployment_has_nothing(store: JobStore) -> None:
    found = counted(store)
    assert (found.queued, found.running, found.paused, found.oldest) == (0, 0, False, {})
    assert list(found.of("submitted")) == []
    assert found.durations("wait").count == 0
    assert not store.redis.exists(keys.keyed("totals", DEPLOYMENT)), "who asks leaves no trace"


def test_submissions_and_ends_are_counted_once_each(store: JobStore, clock: Clock) -> None:
    for level, outcome in ((0, GOOD), (1, GOOD), (1, failed())):
        submit(store, level)
        taken = claim(store)
        store.run(verbs.finish(taken.lease, outcome))
        store.run(verbs.finish(taken.lease, outcome))  # its first reply was lost
    store.run(verbs.cancel(submit(store, 2)))
    submit(store, 2)
    clock.advance(601)
    store.run(verbs.expire(10))
    found = counted(store)
    assert dict(found.of("submitted")) == {("0",): 1, ("1",): 2, ("2",): 2}
    assert dict(found.of("ended")) == {
        ("SUCCEEDED", "0", ""): 1,
        ("SUCCEEDED", "1", ""): 1,
        ("FAILED", "1", "MODEL_PREDICT_ERROR"): 1,
        ("CANCELED", "2", "CANCELED"): 1,
        ("EXPIRED", "2", "EXPIRED"): 1,
    }
    assert [found.durations(what).count for what in ("wait", "run", "all")] == [3, 3, 5]


def test_a_code_in_what_a_model_said_is_no_label(store: JobStore) -> None:
    submit(store)
    store.run(verbs.finish(claim(store).lease, failed('{"code":"mine"} "code":"mine"')))
    assert dict(counted(store).of("ended")) == {("FAILED", "0", "MODEL_PREDICT_ERROR"): 1}


def test_durations_are_counted_in_the_first_step_that_is_not_shorter(
    store: JobStore, clock: Clock
) -> None:
    submit(store)
    clock.jump(3)
    taken = claim(store)
    store.run(verbs.finish(taken.lease, GOOD))
    wait, run = counted(store).durations("wait"), counted(store).durations("run")
    assert (wait.seconds // 1, run.seconds) == (3, 1.5)
    first = next(longest for longest, count in wait.cumulated() if count)
    assert first == 4.096
    assert dict(run.cumulated())[2.048] == 1
    assert dict(run.cumulated())[1.024] == 0


@pytest.mark.parametrize(
    ("ms", "step"), [(0.2, 0), (1, 0), (2, 1), (3, 2), (1024, 10), (1025, 11), (1e12, STEPS - 1)]
)
def test_a_step_ends_with_its_power_of_two(store: JobStore, ms: float, step: int) -> None:
    submit(store)
    store.run(verbs.finish(claim(store).lease, Outcome(Status.SUCCEEDED, ms, b"", "text/plain")))
    assert counted(store).durations("run").steps[step] == 1


def test_each_way_back_into_the_queue_is_counted_by_its_reason(
    store: JobStore, clock: Clock
) -> None:
    submit(store)
    for reason in ("retry", "death", "sick", "drain"):
        error = None if reason == "drain" else failed().error
        assert store.run(verbs.release(claim(store).lease, reason, 0, error))  # type: ignore[arg-type]
    claim(store)
    clock.advance(1000)
    store.run(verbs.rescue(10))
    assert dict(counted(store).of("again")) == {
        (reason,): 1 for reason in ("retry", "death", "sick", "drain", "rescue")
    }
    assert counted(store).durations("wait").count == 1, "only the first claim ends the wait"


def test_attempts_to_deliver_a_webhook_are_counted_by_verdict_and_class(
    store: JobStore, clock: Clock
) -> None:
    submit(store, webhook="https://example.com")
    store.run(verbs.finish(claim(store).lease, GOOD))
    for verdict, attempt in (
        ("retry", '{"status": 503}'),
        ("retry", '{"status": null}'),
        ("delivered", '{"status": 200}'),
    ):
        (row,) = store.run(take_deliveries(10, 30_000, uuid.uuid4().hex))
        store.run(settle_delivery(row, verdict, 0, attempt))
    assert dict(counted(store).of("webhook")) == {
        ("retry", "5"): 1,
        ("retry", "-"): 1,
        ("delivered", "2"): 1,
    }
    assert counted(store).durations("delivery").count == 1


def test_the_oldest_of_each_level_is_found_behind_another_key_s_newer_one(
    store: JobStore, clock: Clock
) -> None:
    for _ in range(3):
        submit(store, 1, "busy")
    clock.jump(20)
    submit(store, 1, "new")
    submit(store, 0, "new")
    clock.jump(5)
    claim(store)
    found = counted(store)
    assert {level: round(age) for level, age in found.oldest.items()} == {1: 25}
    assert (found.queued, found.running) == (4, 1)


def test_a_deployment_that_is_gone_is_not_counted_any_more(store: JobStore) -> None:
    submit(store)
    taken = claim(store)
    store.redis.delete(keys.keyed("totals", DEPLOYMENT))  # as delete_deployment does
    store.run(verbs.finish(taken.lease, GOOD))
    assert not store.redis.exists(keys.keyed("totals", DEPLOYMENT))


def test_a_long_list_of_counts_is_a_table_in_the_store(store: JobStore) -> None:
    submit(store)
    assert store.redis.object("encoding", keys.keyed("totals", DEPLOYMENT)) == b"hashtable"


def test_a_call_asks_for_a_bounded_number_of_deployments(store: JobStore) -> None:
    assert len(store.run(totals([f"dep{n}" for n in range(BATCH + 1)]))) == BATCH
