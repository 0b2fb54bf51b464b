"""What a job's record tells of its changes of status, and where the chunks of its output stand among them."""

import itertools
import uuid

from tasks.job import Claim, JobError, Loaded, Outcome, RequestId, Retry, Submission
from tasks.settings import Settings
from tasks.state import ErrorCode, Status
from tasks.store import keys, verbs
from tasks.store.job_store import JobStore
from tasks.store.story import changes
from tasks.store.verbs import Release, SettleResult
from tests.conftest import Clock
from tests.told import Told

DEPLOYMENT = "dep00001"
DONE = Outcome(Status.SUCCEEDED, 12.5, b"1", "application/json")
CLAIMS = itertools.count()


def submit(store: JobStore) -> RequestId:
    request_id = RequestId(uuid.uuid4().hex)
    job = Submission(request_id, DEPLOYMENT, "model001", b"{}", retry=Retry(9, 0, 0))
    return store.run(verbs.submit([job], "alice", 5000))[0]


def claim(store: JobStore, worker: str = "f") -> Claim:
    fence = f"{worker * 16}{next(CLAIMS):06d}"
    found = store.run(verbs.claim(DEPLOYMENT, "r:0", fence, "r"))
    assert found is not None
    return found


def told(store: JobStore, request_id: str) -> list[tuple[str, int]]:
    found = changes(store.run(verbs.read(request_id)).job)
    assert [change.number for change in found] == list(range(len(found)))
    assert all(change.at > 1_600_000_000_000 for change in found)
    return [(change.status.value, change.attempt) for change in found]


def ids(store: JobStore, request_id: str) -> list[str]:
    return [name.decode() for name, _ in store.redis.xrange(keys.keyed("events", request_id))]  # type: ignore[union-attr]


def test_a_plain_job_has_a_story_and_no_stream(store: JobStore) -> None:
    request_id = submit(store)
    assert told(store, request_id) == [("QUEUED", 0)]
    taken = claim(store)
    assert told(store, request_id) == [("QUEUED", 0), ("IN_PROGRESS", 1)]
    store.run(verbs.finish(taken.lease, DONE))
    assert told(store, request_id) == [("QUEUED", 0), ("IN_PROGRESS", 1), ("SUCCEEDED", 1)]
    assert not store.redis.exists(keys.keyed("events", request_id))
    assert store.run(verbs.read(request_id)).job.story == ""


def test_every_attempt_drain_and_rescue_is_told(store: JobStore, clock: Clock) -> None:
    request_id = submit(store)
    error = JobError(ErrorCode.MODEL_PREDICT_ERROR, "no")
    store.run(verbs.release(claim(store).lease, Release.RETRY, 0, error))
    store.run(verbs.release(claim(store).lease, Release.DRAIN))
    slow = claim(store, "s")
    clock.advance(16)
    assert store.run(verbs.rescue(100)) == ([request_id], [])
    story = [("QUEUED", 0), ("IN_PROGRESS", 1), ("QUEUED", 1), ("IN_PROGRESS", 2), ("QUEUED", 1)]
    story += [("IN_PROGRESS", 2), ("QUEUED", 2)]
    assert told(store, request_id) == story
    assert store.run(verbs.progress(slow.lease, 0.5, None)) is SettleResult.DONE  # it is back
    assert told(store, request_id) == [*story, ("IN_PROGRESS", 2)]
    store.run(verbs.finish(slow.lease, DONE))
    assert told(store, request_id) == [*story, ("IN_PROGRESS", 2), ("SUCCEEDED", 2)]


def test_a_job_that_never_ran_ends_without_an_attempt(store: JobStore, clock: Clock) -> None:
    canceled, expired = submit(store), submit(store)
    store.run(verbs.cancel(canceled))
    clock.advance(601)
    store.run(verbs.expire(100))
    assert told(store, canceled) == [("QUEUED", 0), ("CANCELED", 0)]
    assert told(store, expired) == [("QUEUED", 0), ("EXPIRED", 0)]


def test_chunks_stand_behind_the_attempt_that_made_them(store: JobStore) -> None:
    request_id = submit(store)
    first = claim(store)
    store.run(verbs.progress(first.lease, 0.5, None))
    store.run(verbs.output_chunk(first.lease, b"a"))
    store.run(verbs.release(first.lease, Release.RETRY))
    second = claim(store)
    store.run(verbs.output_chunk(second.lease, b"b"))
    assert ids(store, request_id) == ["3-0", "3-1", "7-0"]
    assert store.redis.ttl(keys.keyed("events", request_id)) == -1
    store.run(verbs.finish(second.lease, DONE))
    assert store.run(verbs.read(request_id)).job.chunks_end == "7-0"
    assert 0 < store.redis.ttl(keys.keyed("events", request_id)) <= 600  # type: ignore[operator]


def test_a_stream_of_an_earlier_version_is_replaced(store: JobStore) -> None:
    request_id = submit(store)
    taken = claim(store)
    store.redis.xadd(keys.keyed("events", request_id), {"kind": "status", "data": "{}"})
    assert store.run(verbs.output_chunk(taken.lease, b"a")) is SettleResult.DONE
    assert ids(store, request_id) == ["3-0"]


def test_a_story_without_an_end_keeps_its_latest_part_and_its_count(
    store: JobStore, clock: Clock
) -> None:
    request_id = submit(store)
    slow = claim(store, "s")
    for _ in range(150):
        clock.advance(16)
        store.run(verbs.rescue(100))
        assert store.run(verbs.progress(slow.lease, 0.5, None)) is SettleResult.DONE
    job = store.run(verbs.read(request_id)).job
    found = changes(job)
    assert len(job.story) <= 4000 and job.story_cut > 0
    assert (found[0].number, found[-1].number) == (0, 301)
    assert ids(store, request_id)[-1] == "603-0"


def test_whoever_listens_hears_every_change(store: JobStore, settings: Settings) -> None:
    with Told(settings.redis_url) as listener:
        request_id = submit(store)
        taken = claim(store)
        store.run(verbs.output_chunk(taken.lease, b"a"))
        store.run(verbs.finish(taken.lease, DONE))
        assert listener.all()[request_id] == ["IN_PROGRESS", "output", "SUCCEEDED"]


def test_a_load_is_told_if_it_ended_while_the_job_waited(store: JobStore) -> None:
    request_id = submit(store)
    queued = store.run(verbs.read(request_id)).job.created
    fence = "f" * 22
    store.redis.hset(
        keys.keyed("job", request_id), "status_at", queued - 60_000
    )  # it waits for a minute
    loaded = Loaded(ago_ms=20_000, took_ms=5_000)
    first = store.run(verbs.claim(DEPLOYMENT, "r:0", fence, "r", loaded))
    assert first and first.job.load_began and first.job.load_ended and first.job.started
    assert first.job.load_ended - first.job.load_began == 5_000
    assert first.job.started - first.job.load_ended == 20_000


def test_a_load_that_ended_before_the_job_came_is_not_told(store: JobStore) -> None:
    submit(store)
    loaded = Loaded(ago_ms=20_000, took_ms=5_000)
    found = store.run(verbs.claim(DEPLOYMENT, "r:0", "f" * 22, "r", loaded))
    assert found
    assert (found.job.load_began, found.job.load_ended) == (None, None)
    assert not store.redis.hexists(keys.keyed("job", found.job.request_id), "load")
