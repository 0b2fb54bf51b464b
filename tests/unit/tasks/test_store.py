"""The job store on a real Valkey: every transition, fence, and the order of the queue."""

import itertools
import uuid
from collections.abc import Sequence

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.job import Claim, JobError, Outcome, QueueStatus, RequestId, Retry, Submission
from tasks.settings import Settings
from tasks.state import ErrorCode, Status
from tasks.store import keys, verbs
from tasks.store.job_store import JobStore
from tasks.store.verbs import CancelResult, MoveResult, Release, Renewal, SettleResult
from tests.conftest import Clock

DEPLOYMENT = "dep00001"
SUCCESS = Outcome(Status.SUCCEEDED, 12.5, b'{"ok":true}', "application/json")
CLAIMS = itertools.count()


def submit(store: JobStore, level: int = 0, key: str = "alice", **more: object) -> RequestId:
    request_id = RequestId(uuid.uuid4().hex)
    job = Submission(request_id, DEPLOYMENT, "model001", b"{}", level=level, **more)  # type: ignore[arg-type]
    assert store.run(verbs.submit([job], key, 5000)) == [request_id]
    return request_id


def claim(store: JobStore) -> Claim:
    found = store.run(verbs.claim(DEPLOYMENT, "r:0", f"fence{next(CLAIMS):011d}", "r"))
    assert found is not None
    return found


def empty(store: JobStore) -> bool:
    return store.run(verbs.claim(DEPLOYMENT, "r:0", f"fence{next(CLAIMS):011d}", "r")) is None


def status(store: JobStore, request_id: str) -> Status:
    return store.run(verbs.read(request_id)).job.status


def test_a_job_runs_from_submit_to_result(store: JobStore) -> None:
    request_id = submit(store)
    taken = claim(store)
    assert (taken.job.request_id, taken.input, taken.job.attempt) == (request_id, b"{}", 1)
    assert store.run(verbs.finish(taken.lease, SUCCESS)) is SettleResult.DONE
    reading = store.run(verbs.read(request_id))
    assert reading.job.status is Status.SUCCEEDED
    assert reading.job.predict_ms == 12.5
    assert store.output(request_id) == b'{"ok":true}'


def test_a_repeated_finish_is_already_done(store: JobStore) -> None:
    submit(store)
    taken = claim(store)
    store.run(verbs.finish(taken.lease, SUCCESS))
    assert store.run(verbs.finish(taken.lease, SUCCESS)) is SettleResult.ALREADY_DONE


def test_a_claim_whose_reply_was_lost_answers_the_same_job(store: JobStore) -> None:
    submit(store)
    submit(store)
    call = verbs.claim(DEPLOYMENT, "r:0", "fence-of-one-claim", "r")
    first, again = store.run(call), store.run(call)
    assert first and again
    assert (first.job.request_id, 1) == (again.job.request_id, again.job.attempt)


def test_claims_of_replicas_that_have_ended_are_forgotten_and_of_running_jobs_are_not(
    store: JobStore,
) -> None:
    running = [submit(store) for _ in range(3)]
    for number, request_id in enumerate(running):
        held = store.run(verbs.claim(DEPLOYMENT, f"stays-{number}:0", f"{number:016}", "r"))
        assert held and held.job.request_id == request_id
    for number in range(100):  # replicas that come and go
        submit(store)
        held = store.run(verbs.claim(DEPLOYMENT, f"goes-{number}:0", f"f{number:015}", "r"))
        assert held
        store.run(verbs.finish(held.lease, SUCCESS))
    assert len(store.redis.hkeys(keys.keyed("claims", DEPLOYMENT))) < 20  # type: ignore[arg-type]
    for number, request_id in enumerate(running):  # as after a lost reply
        again = store.run(verbs.claim(DEPLOYMENT, f"stays-{number}:0", f"{number:016}", "r"))
        assert again and again.job.request_id == request_id


def test_a_zombie_worker_cannot_finish_a_job_that_another_has_claimed(
    store: JobStore, clock: Clock
) -> None:
    request_id = submit(store)
    zombie = claim(store)
    clock.advance(16)
    assert store.run(verbs.rescue(100)) == ([request_id], [])
    second = claim(store)
    assert (second.job.request_id, second.job.attempt) == (request_id, 2)
    for call in (verbs.finish(zombie.lease, SUCCESS), verbs.progress(zombie.lease, 0.5, None)):
        assert store.run(call) is SettleResult.STALE_FENCE
    assert store.run(verbs.release(zombie.lease, Release.DRAIN)) is SettleResult.STALE_FENCE
    assert store.run(verbs.renew([zombie.lease])) == [Renewal.LOST]
    store.run(verbs.release(second.lease, Release.RETRY))
    assert store.run(verbs.renew([zombie.lease])) == [Renewal.LOST]
    assert store.run(verbs.finish(claim(store).lease, SUCCESS)) is SettleResult.DONE


RETURNS = {
    "renew": lambda lease: verbs.renew([lease]),
    "progress": lambda lease: verbs.progress(lease, 0.5, None),
    "claim": lambda lease: verbs.claim(DEPLOYMENT, "r:1", lease.fence[:16] + "another", "r"),
}


@pytest.mark.parametrize("way", RETURNS)
def test_a_rescued_job_that_nobody_has_claimed_goes_back_to_its_worker_uncharged(
    store: JobStore, clock: Clock, way: str
) -> None:
    """A worker that froze for longer than its lease, or that could not reach the store."""
    request_id = submit(store)
    taken = claim(store)
    clock.advance(16)
    assert store.run(verbs.rescue(100)) == ([request_id], [])
    back = store.run(RETURNS[way](taken.lease))
    if way == "claim":
        assert isinstance(back, Claim)
        assert (back.lease, back.resumed) == (taken.lease, True)
    assert store.run(verbs.queue_status(DEPLOYMENT)) == QueueStatus(0, 1)
    clock.advance(10)
    assert store.run(verbs.rescue(100)) == ([], [])  # it has a whole lease again
    assert store.run(verbs.finish(taken.lease, SUCCESS)) is SettleResult.DONE
    job = store.run(verbs.read(request_id)).job
    assert (job.status, job.attempt, job.deaths, job.errors) == (Status.SUCCEEDED, 1, 0, ())


@pytest.mark.parametrize("outcome", [SUCCESS, *Release])
def test_a_worker_may_settle_a_rescued_job_that_nobody_has_claimed(
    store: JobStore, clock: Clock, outcome: Outcome | Release
) -> None:
    request_id = submit(store)
    taken = claim(store)
    clock.advance(16)
    store.run(verbs.rescue(100))
    if isinstance(outcome, Outcome):
        assert store.run(verbs.finish(taken.lease, outcome)) is SettleResult.DONE
        assert status(store, request_id) is Status.SUCCEEDED
        return
    assert store.run(verbs.release(taken.lease, outcome)) is SettleResult.DONE
    assert store.run(verbs.release(taken.lease, outcome)) is SettleResult.ALREADY_DONE
    assert store.run(verbs.renew([taken.lease])) == [Renewal.LOST]
    job = claim(store).job
    expected = {Release.DRAIN: (1, 0), Release.RETRY: (2, 0), Release.DEATH: (2, 1)}
    expected[Release.SICK] = (1, 1)
    assert (job.attempt, job.deaths) == expected[outcome]


def test_a_refused_job_goes_back_uncharged_and_waits_a_moment(
    store: JobStore, clock: Clock
) -> None:
    submit(store)
    store.run(verbs.release(claim(store).lease, Release.DRAIN, 1000))
    assert empty(store)
    clock.advance(1)
    assert claim(store).job.attempt == 1


def test_a_renewed_lease_is_not_rescued(store: JobStore, clock: Clock) -> None:
    submit(store)
    taken = claim(store)
    clock.advance(10)
    assert store.run(verbs.renew([taken.lease])) == [Renewal.RENEWED]
    clock.advance(10)
    assert store.run(verbs.rescue(100)) == ([], [])


def test_three_deaths_in_a_row_are_poison(store: JobStore, clock: Clock) -> None:
    request_id = submit(store)
    for _ in range(2):
        claim(store)
        clock.advance(16)
        store.run(verbs.rescue(100))
    last = claim(store)
    error = JobError(ErrorCode.MODEL_UNAVAILABLE, "host died: segfault")
    assert store.run(verbs.release(last.lease, Release.DEATH, error=error)) is SettleResult.POISON
    job = store.run(verbs.read(request_id)).job
    assert job.status is Status.FAILED
    assert [error.code for error in job.errors] == ["MODEL_UNAVAILABLE"] * 3 + ["poison"]
    assert "segfault" in job.errors[2].message


def test_a_third_rescued_worker_is_charged_only_when_another_asks(
    store: JobStore, clock: Clock
) -> None:
    request_id = submit(store)
    for _ in range(3):
        last = claim(store)
        clock.advance(16)
        store.run(verbs.rescue(100))
    assert status(store, request_id) is Status.QUEUED
    assert store.run(verbs.renew([last.lease])) == [Renewal.RENEWED]
    clock.advance(16)
    store.run(verbs.rescue(100))
    assert empty(store)
    job = store.run(verbs.read(request_id)).job
    assert (job.status, job.attempt) == (Status.FAILED, 3)
    assert [error.code for error in job.errors] == ["MODEL_UNAVAILABLE"] * 3 + ["poison"]


def test_a_retry_waits_out_its_backoff(store: JobStore, clock: Clock) -> None:
    request_id = submit(store)
    taken = claim(store)
    error = JobError(ErrorCode.MODEL_PREDICT_ERROR, "boom")
    assert store.run(verbs.release(taken.lease, Release.RETRY, 1000, error)) is SettleResult.DONE
    assert (
        store.run(verbs.release(taken.lease, Release.RETRY, 1000, error))
        is SettleResult.ALREADY_DONE
    )
    assert empty(store)
    assert store.run(verbs.queue_status(DEPLOYMENT)).queued == 1
    clock.advance(1.1)
    again = claim(store)
    assert (again.job.request_id, again.job.attempt, len(again.job.errors)) == (request_id, 2, 1)


def test_a_drained_job_keeps_its_place_and_its_attempt(store: JobStore) -> None:
    first, second = submit(store), submit(store)
    taken = claim(store)
    store.run(verbs.release(taken.lease, Release.DRAIN))
    assert store.run(verbs.read(first)).jobs_ahead == 0
    assert store.run(verbs.read(second)).jobs_ahead == 1
    assert claim(store).job.attempt == 1


def test_a_queued_job_is_cancelled_at_once(store: JobStore) -> None:
    request_id = submit(store)
    assert store.run(verbs.cancel(request_id)) == (CancelResult.CANCELED, None)
    assert store.run(verbs.cancel(request_id)) == (CancelResult.ALREADY_CANCELED, None)
    assert empty(store)


def test_a_cancelled_running_job_holds_its_slot_until_it_stopped(store: JobStore) -> None:
    request_id = submit(store)
    taken = claim(store)
    assert store.run(verbs.cancel(request_id)) == (CancelResult.STOPPING, None)
    assert status(store, request_id) is Status.CANCELED
    assert store.run(verbs.finish(taken.lease, SUCCESS)) is SettleResult.STALE_FENCE
    assert store.run(verbs.renew([taken.lease])) == [Renewal.CANCELED]
    assert store.run(verbs.queue_status(DEPLOYMENT)).in_progress == 1
    assert store.run(verbs.stopped(taken.lease, "cooperative")) is SettleResult.DONE
    assert store.run(verbs.queue_status(DEPLOYMENT)).in_progress == 0
    assert store.run(verbs.read(request_id)).job.stopped_by == "cooperative"


def test_a_strangers_job_is_missing(store: JobStore) -> None:
    request_id = submit(store, key="alice")
    assert store.run(verbs.cancel(request_id, "mallory")) == (CancelResult.MISSING, None)
    assert store.run(verbs.move(request_id, 1, "mallory")) is MoveResult.MISSING


def test_a_job_expires_without_any_worker(store: JobStore, clock: Clock) -> None:
    request_id = submit(store, max_time_in_queue_ms=10_000)
    clock.advance(9)
    assert store.run(verbs.expire(100)) == 0
    clock.advance(1.1)
    assert store.run(verbs.expire(100)) == 1
    assert status(store, request_id) is Status.EXPIRED


def test_an_expired_job_is_never_claimed(store: JobStore, clock: Clock) -> None:
    request_id = submit(store, max_time_in_queue_ms=10_000)
    clock.advance(10.1)
    assert empty(store)
    assert status(store, request_id) is Status.EXPIRED


@pytest.mark.parametrize("noticed_by", ["claim", "sweeper"])
def test_a_held_job_goes_on_where_the_one_before_it_expires(
    store: JobStore, clock: Clock, noticed_by: str
) -> None:
    store.redis.hset(keys.plain("running_limits"), "alice", 1)
    submit(store)
    first = claim(store)
    submit(store, max_time_in_queue_ms=10_000)
    last = submit(store)
    assert empty(store)  # the key runs one already
    store.run(verbs.finish(first.lease, SUCCESS))
    clock.advance(10.1)
    if noticed_by == "sweeper":
        assert store.run(verbs.expire(100)) == 1
    assert claim(store).job.request_id == last


def test_a_retry_does_not_expire(store: JobStore, clock: Clock) -> None:
    submit(store, max_time_in_queue_ms=10_000)
    store.run(verbs.release(claim(store).lease, Release.RETRY, 0))
    clock.advance(60)
    assert store.run(verbs.expire(100)) == 0
    assert claim(store).job.attempt == 2


def test_an_urgent_job_submitted_last_is_claimed_next(store: JobStore) -> None:
    for _ in range(50):
        submit(store, level=2)
    urgent = submit(store, level=0)
    assert claim(store).job.request_id == urgent


def test_a_newcomer_is_served_second_at_most(store: JobStore) -> None:
    for _ in range(1000):
        submit(store, key="alice")
    bob = submit(store, key="bob")
    assert bob in [claim(store).job.request_id for _ in range(2)]


def test_a_move_changes_the_level(store: JobStore) -> None:
    first, second = submit(store, level=1), submit(store, level=1)
    assert store.run(verbs.move(second, 0)) is MoveResult.MOVED
    assert [store.run(verbs.read(request_id)).jobs_ahead for request_id in (first, second)] == [
        1,
        0,
    ]


def test_a_move_to_another_deployment_stays_within_the_model_and_the_cap(store: JobStore) -> None:
    first, second = submit(store, level=1), submit(store, level=1)

    def moved(request_id: RequestId, model: str, most: int) -> MoveResult:
        return store.run(verbs.move(request_id, None, "", "dep00002", model, most))

    model = store.run(verbs.read(first)).job.model_id
    assert moved(first, "another1", 9) is MoveResult.OTHER_MODEL
    assert moved(first, model, 1) is MoveResult.MOVED
    assert moved(second, model, 1) is MoveResult.FULL
    assert moved(first, "another1", 0) is MoveResult.UNCHANGED
    assert store.run(verbs.move(second, 0, "", "dep00002", model, 2)) is MoveResult.MOVED
    found = [store.run(verbs.read(request_id)).job for request_id in (first, second)]
    assert [(job.deployment_id, job.level) for job in found] == [("dep00002", 1), ("dep00002", 0)]
    assert store.run(verbs.queue_status(DEPLOYMENT)).queued == 0
    assert store.run(verbs.queue_status("dep00002")).queued == 2


def test_lost_wakeups_are_sent_again(store: JobStore) -> None:
    submit(store)
    store.redis.delete("kingpost." + DEPLOYMENT)
    cursor, sent, _ = store.run(verbs.rewake(0, 100))
    assert (cursor, sent) == (0, 1)
    assert store.run(verbs.rewake(0, 100))[1] == 0


def test_wakeups_are_capped(store: JobStore) -> None:
    for _ in range(100):
        submit(store)
    assert store.redis.llen("kingpost." + DEPLOYMENT) == Settings().wakeup_cap


def test_a_forgotten_job_leaves_nothing_behind(store: JobStore, clock: Clock) -> None:
    submit(store)
    store.run(verbs.finish(claim(store).lease, SUCCESS))
    clock.advance(72 * 3600 + 1)
    assert store.run(verbs.forget(100)) == 1
    left = {key.decode() for key in store.redis.keys("*")}
    ours = {
        key
        for key in left
        if any(word in key for word in (":job:", ":output:", ":events:", ":outbox"))
    }
    assert ours == set()


def test_a_job_whose_webhook_is_still_due_is_not_forgotten(store: JobStore, clock: Clock) -> None:
    submit(store, webhook="https://example.com/hook")
    store.run(verbs.finish(claim(store).lease, SUCCESS))
    clock.advance(72 * 3600 + 1)
    assert store.run(verbs.forget(100)) == 0


def test_a_drained_job_does_not_expire(store: JobStore, clock: Clock) -> None:
    submit(store, max_time_in_queue_ms=10_000)
    store.run(verbs.release(claim(store).lease, Release.DRAIN))
    clock.advance(60)
    assert claim(store).job.attempt == 1


def test_the_delay_doubles_up_to_its_cap() -> None:
    assert [Retry().delay_ms(attempt) for attempt in (1, 2, 3, 4, 9)] == [
        1000,
        2000,
        4000,
        5000,
        5000,
    ]


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abc")), min_size=1, max_size=20))
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_batch_is_queued_as_its_jobs_would_be_one_by_one(
    store: JobStore, before: list[tuple[int, str]]
) -> None:
    levels = [level for level, _ in before]

    def order(batch: bool) -> list[int]:
        store.redis.flushdb()
        for level, key in before:
            submit(store, level=level, key=key)
        for _ in before[::2]:
            claim(store)
        one_by_one = (submit(store, level=level) for level in levels)
        ids = _batch(store, levels) if batch else list(one_by_one)
        found = [
            claim(store).job.request_id for _ in range(len(before) - len(before[::2]) + len(ids))
        ]
        return [ids.index(request_id) if request_id in ids else -1 for request_id in found]

    assert order(batch=True) == order(batch=False)


def _batch(store: JobStore, levels: list[int], again: Sequence[RequestId] = ()) -> list[RequestId]:
    ids = [*again, *(RequestId(uuid.uuid4().hex) for _ in levels[len(again) :])]
    jobs = [
        Submission(request_id, DEPLOYMENT, "model001", b"{}", level=level)
        for request_id, level in zip(ids, levels, strict=True)
    ]
    assert store.run(verbs.submit(jobs, "alice", 5000)) == ids
    return ids


def test_a_batch_of_thousands_is_queued_as_a_whole_and_repeated_without_effect(
    store: JobStore,
) -> None:
    ids = _batch(store, [1] * 1500)
    counted = [store.run(verbs.queue_status(DEPLOYMENT)).queued]
    _batch(store, [1] * 1500, ids)
    counted.append(store.run(verbs.queue_status(DEPLOYMENT)).queued)
    _batch(store, [1] * 1501, ids)  # all but one came before
    counted.append(store.run(verbs.queue_status(DEPLOYMENT)).queued)
    assert counted == [1500, 1500, 1501]
    assert [claim(store).job.request_id for _ in range(3)] == ids[:3]


def test_a_settlement_and_the_next_claim_are_one_round_trip(store: JobStore) -> None:
    submit(store)
    second, first = submit(store), claim(store)
    assert first.job.request_id != second
    following = verbs.claim(DEPLOYMENT, "r:0", "f" * 16, "r")
    word, claimed = store.run_both(verbs.finish(first.lease, SUCCESS), following)
    assert (word, claimed and claimed.job.request_id) == (SettleResult.DONE, second)
    assert status(store, first.job.request_id) is Status.SUCCEEDED

    # The reply was lost and both are asked for again: nothing happens twice.
    word, again = store.run_both(verbs.finish(first.lease, SUCCESS), following)
    assert word is SettleResult.ALREADY_DONE
    assert again
    assert claimed
    assert again.lease == claimed.lease
    assert again.job.attempt == 1


def test_two_verbs_run_on_a_server_that_has_no_library(store: JobStore) -> None:
    submit(store)
    held = claim(store)
    store.redis.function_flush("SYNC")
    following = verbs.claim(DEPLOYMENT, "r:0", "f" * 16, "r")
    assert store.run_both(verbs.finish(held.lease, SUCCESS), following) == (SettleResult.DONE, None)


def test_an_error_of_two_verbs_does_not_quote_the_output(store: JobStore) -> None:
    submit(store)
    held = claim(store)
    following = verbs.claim(DEPLOYMENT, "r:0", "f" * 16, "r")
    store.redis.execute_command("ACL", "SETUSER", "default", "-fcall")
    try:
        with pytest.raises(redis.ResponseError) as refused:
            store.run_both(verbs.finish(held.lease, SUCCESS), following)
    finally:
        store.redis.execute_command("ACL", "SETUSER", "default", "+fcall")
    assert "ok" not in str(refused.value)  # not a word of what the client sent


def test_any_number_of_deployments_is_asked_whether_they_are_paused(store: JobStore) -> None:
    asked = [f"d{number}" for number in range(20_000)]
    store.run(verbs.pause("d7", True))
    assert [name for name, paused in zip(asked, store.run(verbs.paused(asked)), strict=True) if paused] == ["d7"]  # fmt: skip


def test_a_cancel_is_told_to_the_replica_that_runs_the_job_and_to_no_other(store: JobStore) -> None:
    request_id = submit(store)
    replica = claim(store).job.replica
    channel = store.redis.pubsub(ignore_subscribe_messages=True)
    channel.psubscribe(keys.CANCELS + "*")
    assert store.run(verbs.cancel(request_id))[0] is CancelResult.STOPPING
    store.redis.publish(keys.CANCELS + "end", "end")
    said: list[tuple[str, str]] = []
    for message in channel.listen():
        said.append((message["channel"].decode(), message["data"].decode()))
        if said[-1][1] == "end":
            break
    assert said[:-1] == [(keys.CANCELS + replica, request_id)]
    channel.close()
