"""A final job is one small record: what it keeps, that it is read as before, and how it waits to be forgotten."""

import itertools
import uuid
from dataclasses import replace
from typing import Any, cast

import pytest

from tasks.job import Claim, Job, JobError, Outcome, RequestId, Submission
from tasks.settings import Settings
from tasks.state import ErrorCode, Status
from tasks.steering import verbs as steering
from tasks.steering.filters import START, JobFilter
from tasks.store import keys, records, verbs
from tasks.store.job_store import AsyncJobStore, JobStore
from tasks.store.verbs import CancelResult, Release, Renewal, SettleResult
from tasks.webhooks.verbs import BEGINNING, FinalsPlace, finals, take_deliveries
from tests.conftest import Clock

DEPLOYMENT, KEY, HOOK = "dep00001", "alice", "https://example.com/hook"
DONE = Outcome(Status.SUCCEEDED, 1234.5, b"{}", "application/json", output_bytes=2)
ERROR = JobError(ErrorCode.MODEL_PREDICT_ERROR, 'a "quoted" text')
FENCES = itertools.count()
RETENTION = 72 * 3600


def submit(store: JobStore, key: str = KEY, **more: Any) -> RequestId:
    job = Submission(RequestId(uuid.uuid4().hex), DEPLOYMENT, "model001", b"{}")
    return store.run(verbs.submit([replace(job, **more)], key, 10_000))[0]


def claim(store: JobStore, replica: str = "replica01") -> Claim:
    found = store.run(verbs.claim(DEPLOYMENT, "r:0", f"worker0000000001{next(FENCES):016d}", replica))  # fmt: skip
    assert found
    return found


def finished(store: JobStore, outcome: Outcome = DONE, **more: Any) -> RequestId:
    request_id = submit(store, **more)
    assert store.run(verbs.finish(claim(store).lease, outcome)) is SettleResult.DONE
    return request_id


def record(store: JobStore, request_id: str) -> dict[str, str]:
    raw = cast("dict[bytes, bytes]", store.redis.hgetall(keys.keyed("job", request_id)))
    return {name.decode(): value.decode() for name, value in raw.items()}


def read(store: JobStore, request_id: str) -> Job:
    return store.run(verbs.read(request_id)).job


def test_what_every_final_job_has_is_one_field(store: JobStore) -> None:
    request_id = finished(store)
    kept = record(store, request_id)
    assert set(kept) == {"status", "key", "input", "output", "output_bytes", "ended"}
    deployment, model, *_ = kept["ended"].split()
    assert (deployment, model) == (DEPLOYMENT, "model001")
    assert list(store.redis.scan_iter(f"*{request_id}*")) == [b"{kingpost}:job:" + request_id.encode()]  # fmt: skip
    assert store.redis.object("encoding", keys.keyed("job", request_id)) == b"listpack"


def test_it_is_read_as_before(store: JobStore, clock: Clock) -> None:
    request_id = submit(store, level=2, webhook=HOOK, max_time_in_queue_ms=5000, path="x")
    clock.jump(2)
    taken = claim(store)
    running = read(store, request_id)
    clock.jump(3)
    store.run(verbs.finish(taken.lease, DONE))
    job = read(store, request_id)
    assert job == replace(
        running, status=Status.SUCCEEDED, status_at=job.finished, finished=job.finished,
        predict_ms=1234.5, output_type="application/json", output_bytes=2,
    )  # fmt: skip
    assert job.finished and job.started
    assert 2000 <= job.started - job.created < 7000 and 3000 <= job.finished - job.started < 8000


@pytest.mark.parametrize("wall", [-3600, 3600])
def test_the_walls_clock_may_jump_meanwhile(store: JobStore, clock: Clock, wall: int) -> None:
    request_id = submit(store)
    clock.jump(wall)
    lease = claim(store).lease
    running = read(store, request_id)
    clock.jump(-wall)
    store.run(verbs.finish(lease, DONE))
    job = read(store, request_id)
    assert (job.created, job.started) == (running.created, running.started)
    assert "ended" in record(store, request_id)


def test_a_job_that_never_ran_has_no_start(store: JobStore) -> None:
    request_id = submit(store)
    assert store.run(verbs.cancel(request_id))[0] is CancelResult.CANCELED
    job = read(store, request_id)
    assert (job.status, job.started, job.attempt, job.replica) == (Status.CANCELED, None, 0, "")
    assert job.predict_ms is None and "ended" in record(store, request_id)


@pytest.mark.parametrize("replica", ["of two words", "x" * 200, "", "-", "~", "~x"])
def test_a_value_that_would_not_come_out_the_same_leaves_the_record_as_it_is(
    store: JobStore, replica: str
) -> None:
    request_id = submit(store)
    store.run(verbs.finish(claim(store, replica).lease, DONE))
    assert "ended" not in record(store, request_id)
    assert read(store, request_id).replica == replica
    assert (
        store.run(steering.find(JobFilter(model="model001"), START, 10)).jobs[0].replica == replica
    )


@pytest.mark.parametrize("replica", [f"{DEPLOYMENT}-0123abcd", f"{DEPLOYMENT}-", "r-1", DEPLOYMENT])
def test_the_id_of_a_replica_comes_back_whole(store: JobStore, replica: str) -> None:
    request_id = submit(store)
    store.run(verbs.finish(claim(store, replica).lease, DONE))
    assert "ended" in record(store, request_id)
    assert read(store, request_id).replica == replica


def test_a_canceled_call_is_packed_when_it_has_ended(store: JobStore, clock: Clock) -> None:
    first, second = submit(store), submit(store)
    leases = [claim(store).lease, claim(store).lease]
    for request_id in (first, second):
        assert store.run(verbs.cancel(request_id))[0] is CancelResult.STOPPING
        assert "ended" not in record(store, request_id)
    assert store.run(verbs.stopped(leases[0], "cooperative")) is SettleResult.DONE
    assert store.run(verbs.stopped(leases[0], "cooperative")) is SettleResult.STALE_FENCE
    clock.advance(16)
    assert store.run(verbs.rescue(100)) == ([], [second])
    for request_id, by in ((first, "cooperative"), (second, "killed")):
        job = read(store, request_id)
        assert (job.stopped_by, job.stopping, job.attempt) == (by, False, 1)
        assert "ended" in record(store, request_id)
    assert store.run(verbs.queue_status(DEPLOYMENT)).in_progress == 0


def test_the_holder_of_the_last_lease_is_told_that_it_is_done_and_others_are_not(
    store: JobStore,
) -> None:
    submit(store)
    lease = claim(store).lease
    other = replace(lease, fence=lease.fence[::-1])
    for _ in range(2):
        assert store.run(verbs.finish(other, DONE)) is SettleResult.STALE_FENCE
        store.run(verbs.finish(lease, DONE))
    assert store.run(verbs.finish(lease, DONE)) is SettleResult.ALREADY_DONE
    assert store.run(verbs.release(lease, Release.DEATH, 0, ERROR)) is SettleResult.ALREADY_DONE
    assert store.run(verbs.progress(lease, 0.5, None)) is SettleResult.ALREADY_DONE
    assert store.run(verbs.renew([lease])) == [Renewal.LOST]


@pytest.mark.parametrize("size", [0, 1, 128, 129, 5000])
async def test_a_short_input_or_output_is_in_the_record(
    store: JobStore, settings: Settings, size: int
) -> None:
    body = bytes(n % 256 for n in range(size))
    request_id = submit(store, input=body, webhook=HOOK)
    taken = claim(store)
    assert taken.input == body
    place = store.run(finals(KEY, BEGINNING)).place
    outcome = Outcome(Status.SUCCEEDED, 1.0, body, "image/png", output_bytes=size)
    store.run(verbs.finish(taken.lease, outcome))
    apart = int(size > 128)
    for what in ("input", "output"):
        assert store.redis.exists(keys.keyed(what, request_id)) == apart
    assert store.output(request_id) == body
    await_store = AsyncJobStore(settings)
    assert await await_store.output(request_id) == await await_store.input(request_id) == body
    assert await await_store.output("nobody") is None
    await await_store.close()
    (found,) = store.run(finals(KEY, place)).finals
    (delivery,) = store.run(take_deliveries(10, 1000, "token"))
    assert found.output == delivery.output == body
    assert read(store, request_id).output_bytes == size


def follow(store: JobStore, place: FinalsPlace, most: int = 10) -> list[str]:
    found: list[str] = []
    while True:
        part = store.run(finals(KEY, place, most=most))
        found += [final.job.request_id for final in part.finals]
        if part.place == place:
            return found
        place = part.place


def test_a_listener_gets_each_final_job_once_over_many_sets(store: JobStore, clock: Clock) -> None:
    place = store.run(finals(KEY, BEGINNING)).place
    expected: list[str] = []
    for _ in range(13):
        mine = [submit(store) for _ in range(20)]
        others = [submit(store, key="bob") for _ in range(3)]
        for request_id in (*mine, *others):
            store.run(verbs.cancel(request_id))
        expected += mine
        clock.advance(1)
    assert cast(int, store.redis.zcard(keys.plain("ended_buckets"))) == 3
    for most in (1, 7, 1000):
        assert sorted(follow(store, place, most)) == sorted(expected)
    store.run(verbs.purge(expected[0]))
    assert sorted(follow(store, place)) == sorted(expected[1:])


def test_records_go_in_the_order_of_their_ends_in_bounded_steps(
    store: JobStore, clock: Clock
) -> None:
    early = [finished(store) for _ in range(150)]
    clock.advance(10)
    late = [finished(store) for _ in range(30)]
    clock.advance(RETENTION - 5)
    assert [store.run(verbs.forget(60)) for _ in range(4)] == [60, 60, 30, 0]
    assert all(not record(store, request_id) for request_id in early)
    assert all(record(store, request_id) for request_id in late)
    clock.advance(10)
    assert store.run(verbs.forget(60)) == 30
    left = {key.decode().split(":")[1] for key in store.redis.scan_iter("{kingpost}:*")}
    assert not left & {"job", "ended", "ended_buckets", "all_jobs", "jobs", "forget"}


def test_a_record_that_is_kept_for_longer_goes_later(store: JobStore, clock: Clock) -> None:
    kept, gone = finished(store, webhook=HOOK), finished(store)
    clock.advance(RETENTION + 1)
    assert store.run(verbs.forget(100)) == 1
    assert record(store, kept) and not record(store, gone)
    (delivery,) = store.run(take_deliveries(10, 1000, "token"))
    store.redis.zrem(keys.plain("outbox"), delivery.job.request_id)
    clock.advance(3601)
    assert store.run(verbs.forget(100)) == 1
    assert not record(store, kept)


def test_a_set_is_looked_at_again_when_its_next_record_is_due(
    store: JobStore, clock: Clock
) -> None:
    buckets = keys.plain("ended_buckets")
    finished(store)
    clock.advance(100)
    later = finished(store)
    clock.advance(RETENTION - 50)
    assert store.run(verbs.forget(100)) == 1
    ((bucket, due),) = cast("list[tuple[bytes, float]]", store.redis.zrange(buckets, 0, -1, withscores=True))  # fmt: skip
    assert due == store.redis.zscore(keys.keyed("ended", bucket.decode()), later)
    store.run(verbs.purge(later))
    assert not store.redis.exists(buckets)


def test_an_entry_without_a_record_is_dropped(store: JobStore, clock: Clock) -> None:
    request_id = finished(store)
    store.redis.delete(keys.keyed("job", request_id))
    clock.advance(RETENTION + 1)
    store.run(verbs.forget(100))
    assert not store.redis.exists(keys.plain("ended_buckets"))


def as_earlier(store: JobStore, request_id: str) -> None:
    """Writes the record of a finished job as the version before packed records did, in all places."""
    kept, member = record(store, request_id), ""
    (bucket,) = store.redis.zrange(keys.plain("ended_buckets"), 0, -1)  # type: ignore[misc]
    (due,) = store.redis.zmscore(keys.keyed("ended", bucket.decode()), [request_id])  # type: ignore[misc]
    names = ["deployment", "model", "level", "attempt", "created", "started", "finished", "predict_ms"]  # fmt: skip
    member = next(
        name.decode()
        for name in cast("list[bytes]", store.redis.zrange(keys.plain("all_jobs"), 0, -1))
        if name.decode().endswith(request_id)
    )
    whole = records.unpacked(kept["ended"])
    old = {name: whole[name] for name in names} | {
        "status": kept["status"], "key": kept["key"], "status_at": whole["finished"], "replica": "r",
        "score": "7", "member": member, "fence": "worker0000000001" + "0" * 16, "output_bytes": "2",
        "webhook": HOOK,
    }  # fmt: skip
    store.redis.delete(keys.keyed("job", request_id))
    store.redis.hset(keys.keyed("job", request_id), mapping=old)  # type: ignore[arg-type]
    store.redis.set(keys.keyed("input", request_id), b"[1]")
    store.redis.set(keys.keyed("output", request_id), b"{}")
    store.redis.zrem(keys.keyed("ended", bucket.decode()), request_id)
    store.redis.delete(keys.plain("ended_buckets"))
    store.redis.zadd(keys.plain("forget"), {request_id: due})


def test_a_record_of_the_version_before_is_read_listed_sent_and_forgotten(
    store: JobStore, clock: Clock
) -> None:
    place = store.run(finals(KEY, BEGINNING)).place
    request_id = finished(store, webhook=HOOK)
    before = read(store, request_id)
    as_earlier(store, request_id)
    job = read(store, request_id)
    assert job == replace(before, replica="r")
    assert store.output(request_id) == b"{}"
    wanted = JobFilter(KEY, "model001", (DEPLOYMENT,), (Status.SUCCEEDED,))
    assert store.run(steering.find(wanted, START, 10)).jobs == [job]
    newer = finished(store)
    assert follow(store, place) == [request_id, newer]
    (delivery,) = store.run(take_deliveries(10, 1000, "token"))
    assert (delivery.job, delivery.output) == (job, b"{}")
    store.redis.zrem(keys.plain("outbox"), request_id)
    clock.advance(RETENTION + 1)
    assert store.run(verbs.forget(100)) == 2
    left = {key.decode().split(":")[1] for key in store.redis.scan_iter("{kingpost}:*")}
    assert not left & {"job", "input", "output", "ended", "all_jobs", "jobs", "forget"}


def test_a_job_that_the_version_before_queued_is_claimed_with_its_input(store: JobStore) -> None:
    request_id = submit(store)
    store.redis.hdel(keys.keyed("job", request_id), "input")
    store.redis.set(keys.keyed("input", request_id), b"[1]")
    taken = claim(store)
    assert taken.input == b"[1]"
    store.run(verbs.finish(taken.lease, DONE))
    assert "ended" in record(store, request_id)
    assert store.redis.get(keys.keyed("input", request_id)) == b"[1]"
