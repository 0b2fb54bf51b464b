"""Lists of jobs by a filter and bulk operations, on a real Valkey, against what a filter in Python says."""

import itertools
import time
import uuid
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tasks.job import Job, JobError, Outcome, RequestId, Submission
from tasks.settings import Settings
from tasks.state import ErrorCode, Status
from tasks.steering import verbs as steering
from tasks.steering.filters import START, JobFilter, Place
from tasks.store import keys, verbs
from tasks.store.job_store import AsyncJobStore, JobStore
from tasks.store.verbs import PurgeResult
from tasks.sweeper import Sweeper
from tests.conftest import Clock
from tests.valkey import Valkey

DEPLOYMENTS = ("dep00001", "dep00002")
MODELS = {"dep00001": "model001", "dep00002": "model002"}
KEYS = ("alice", "bob")
FENCES = itertools.count()
SAME_STORE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
EVERY = JobFilter()
BOOM = JobError(ErrorCode.MODEL_PREDICT_ERROR, 'It went "Boom".', detail="ValueError: secret ☃")
LATE = JobError(ErrorCode.MODEL_PREDICT_TIMEOUT, "It took too long.")


def submit(
    store: JobStore,
    count: int = 1,
    key: str = "alice",
    deployment: str = DEPLOYMENTS[0],
    level: int = 1,
) -> list[RequestId]:
    jobs = [
        Submission(RequestId(uuid.uuid4().hex), deployment, MODELS[deployment], b"{}", level=level)
        for _ in range(count)
    ]
    return store.run(verbs.submit(jobs, key, 10**6))


def claim(store: JobStore, deployment: str) -> RequestId:
    found = store.run(verbs.claim(deployment, "r:0", f"fence{next(FENCES):011d}", "r"))
    assert found is not None
    return found.job.request_id


def fail_once(store: JobStore, expected: RequestId) -> RequestId:
    """Lets the next job fail so that it waits for another attempt."""
    found = store.run(verbs.claim(DEPLOYMENTS[0], "r:0", f"fence{next(FENCES):011d}", "r"))
    assert found is not None and found.job.request_id == expected
    store.run(verbs.release(found.lease, verbs.Release.RETRY, 60_000, BOOM))
    return expected


def fail(store: JobStore, error: JobError, deployment: str = DEPLOYMENTS[0]) -> RequestId:
    """Lets the next job of the deployment fail."""
    fence = f"fence{next(FENCES):011d}"
    claim = store.run(verbs.claim(deployment, "r:0", fence, "r"))
    assert claim is not None
    store.run(verbs.finish(claim.lease, Outcome(Status.FAILED, 1.0, error=error)))
    return claim.job.request_id


def listed(
    store: JobStore, wanted: JobFilter = EVERY, page: int = 100, looked_at: int = 100
) -> list[str]:
    """The ids on all pages."""
    seen: list[str] = []
    place, ended = START, False
    while not ended:
        found = store.run(steering.find(wanted, place, page, looked_at))
        seen += [job.request_id for job in found.jobs]
        place, ended = found.at, found.ended
    return seen


def fits(job: Job, wanted: JobFilter) -> bool:
    """The same in Python."""
    told = [
        error.told(wanted.detailed).lower()
        for error in job.errors
        if wanted.error_code in ("", error.code)
    ]
    asked = bool(wanted.error_code or wanted.error_text)
    return (
        wanted.key in ("", job.api_key)
        and wanted.model in ("", job.model_id)
        and (wanted.deployments is None or job.deployment_id in wanted.deployments)
        and (not wanted.statuses or job.status in wanted.statuses)
        and wanted.level in (None, job.level)
        and (wanted.created_after is None or job.created >= wanted.created_after)
        and (wanted.created_before is None or job.created < wanted.created_before)
        and (not asked or any(wanted.error_text.lower() in text for text in told))
    )


FILTERS = st.builds(
    JobFilter,
    key=st.sampled_from(["", *KEYS]),
    model=st.sampled_from(["", "", *MODELS.values()]),
    deployments=st.sampled_from([None, None, (), DEPLOYMENTS[:1], DEPLOYMENTS]),
    statuses=st.sampled_from(
        [(), (), (Status.QUEUED,), (Status.CANCELED, Status.FAILED)]
    ),
    level=st.sampled_from([None, None, 0, 2]),
    error_code=st.sampled_from(["", "", "MODEL_PREDICT_ERROR", "MODEL_PREDICT"]),
    error_text=st.sampled_from(["", "", "BOOM", 'went "boom"', "secret ☃", "code", "too long"]),
    detailed=st.booleans(),
)  # fmt: skip


@pytest.fixture
def many(store: JobStore, clock: Clock) -> dict[str, Job]:
    """Jobs of all kinds, some of one moment; by id."""
    ids: list[RequestId] = []
    for round_of, (key, deployment, level) in enumerate(
        itertools.product(KEYS, DEPLOYMENTS, (0, 1, 2))
    ):
        made = submit(store, 1 + round_of % 4, key, deployment, level)
        ids += made
        if round_of % 3 == 0:
            store.run(verbs.cancel(made[0]))
        if round_of % 3 == 1:
            fail(store, BOOM if round_of % 2 else LATE, deployment)
        clock.jump(1)
    return {request_id: store.run(verbs.read(request_id)).job for request_id in ids}


@given(wanted=FILTERS, page=st.integers(1, 7), looked_at=st.integers(1, 9), span=st.tuples(st.booleans(), st.booleans()))  # fmt: skip
@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=SAME_STORE)
def test_the_pages_together_hold_all_that_match_newest_first(
    store: JobStore,
    many: dict[str, Job],
    wanted: JobFilter,
    page: int,
    looked_at: int,
    span: tuple[bool, bool],
) -> None:
    times = sorted(job.created for job in many.values())
    fields = {name: getattr(wanted, name) for name in JobFilter.__slots__}
    fields |= {"created_after": times[len(times) // 4]} if span[0] else {}
    fields |= {"created_before": times[-len(times) // 4]} if span[1] else {}
    wanted = JobFilter(**fields)
    seen = listed(store, wanted, page, looked_at)
    expected = [job for job in many.values() if fits(job, wanted)]
    assert seen == [job.request_id for job in expected[::-1]]


@given(wanted=FILTERS)
@hypothesis_settings(max_examples=30, deadline=None, suppress_health_check=SAME_STORE)
def test_the_counts_are_those_of_the_list(
    store: JobStore, many: dict[str, Job], wanted: JobFilter
) -> None:
    counts: dict[Status, int] = {}
    place, ended = START, False
    while not ended:
        part = store.run(steering.count(wanted, place, 7))
        for status, number in part.counts.items():
            counts[status] = counts.get(status, 0) + number
        place, ended = part.place, part.ended
    expected: dict[Status, int] = {}
    for job in many.values():
        if fits(job, wanted):
            expected[job.status] = expected.get(job.status, 0) + 1
    assert counts == expected


def test_pages_are_stable_while_jobs_come_and_go(store: JobStore, clock: Clock) -> None:
    ids = submit(store, 40)  # of one moment
    for request_id in ids:
        store.run(verbs.cancel(request_id))
    clock.advance(72 * 3600)
    clock.jump(1)
    newer = submit(store, 5)
    first = store.run(steering.find(JobFilter(key="alice"), START, 20))
    submit(store, 30)
    assert store.run(verbs.forget(100)) == 40  # that of the cursor, too
    last = submit(store, 1, "bob")
    rest = store.run(steering.find(JobFilter(key="alice"), first.at, 100))
    assert {job.request_id for job in first.jobs} > set(newer)
    assert (rest.jobs, rest.ended) == ([], True)
    assert listed(store)[0] == last[0]
    assert store.redis.zcard(keys.plain("all_jobs")) == 36
    assert store.redis.zcard(keys.keyed("jobs", "alice")) == 35


def test_a_page_goes_on_after_a_job_that_is_gone(store: JobStore, clock: Clock) -> None:
    older = submit(store, 3)
    clock.jump(1)
    gone = submit(store)
    store.run(verbs.cancel(gone[0]))
    first = store.run(steering.find(JobFilter(), START, 1))
    assert [job.request_id for job in first.jobs] == gone
    clock.advance(72 * 3600 + 1)
    store.run(verbs.forget(100))
    before = store.redis.zrange(keys.plain("all_jobs"), 0, -1)
    rest = store.run(steering.find(JobFilter(), first.at, 100))
    assert sorted(job.request_id for job in rest.jobs) == sorted(older)
    assert store.redis.zrange(keys.plain("all_jobs"), 0, -1) == before


def test_jobs_of_a_page_stand_as_they_do_alone(store: JobStore, clock: Clock) -> None:
    running, waiting = submit(store, 2), submit(store, 3, level=2)
    done, other = submit(store, level=0), submit(store, key="bob", deployment=DEPLOYMENTS[1])
    fence = f"fence{next(FENCES):011d}"
    lease = store.run(verbs.claim(DEPLOYMENTS[0], "r:1", fence, "r"))
    assert lease is not None and lease.job.request_id == done[0]
    store.run(verbs.finish(lease.lease, Outcome(Status.SUCCEEDED, 7.0, b"{}", "application/json")))
    claim(store, DEPLOYMENTS[0])
    fail_once(store, running[1])
    store.run(verbs.pause(DEPLOYMENTS[1], True))
    ids = [*running, *waiting, *done, *other]
    found = store.run(steering.look([*ids, "0" * 32]))
    assert list(found) == ids
    for request_id, reading in found.items():
        alone = store.run(verbs.read(request_id))  # a little later
        assert bool(alone.backoff_ms) == bool(reading.backoff_ms)
        assert reading == replace(alone, now=reading.now, backoff_ms=reading.backoff_ms), request_id
    assert found[other[0]].hold == "paused" and found[running[1]].backoff_ms > 50_000
    assert list(store.run(steering.look(ids, "bob"))) == other


def test_a_run_looks_at_a_bounded_number_of_jobs(store: JobStore) -> None:
    submit(store, 30)
    rare = submit(store, key="bob")
    submit(store, 30)
    found = store.run(steering.find(JobFilter(level=0), START, 10, looked_at=20))
    assert (found.jobs, found.ended) == ([], False)
    assert found.at != START
    assert listed(store, JobFilter(key="bob"), looked_at=1) == rare


def test_a_cursor_is_the_text_of_its_place() -> None:
    place = Place("1764412345678", f"0000000000042:{uuid.uuid4().hex}")
    assert Place.of(str(place)) == place
    assert Place.of("") == Place.of("x y") == START


def age(store: JobStore) -> None:
    """As an earlier version left it: ids in the index of each key, and no index of all jobs."""
    store.redis.delete(keys.plain("all_jobs"))
    for key in KEYS:
        index = keys.keyed("jobs", key)
        members: list[tuple[bytes, float]] = store.redis.zrange(index, 0, -1, withscores=True)  # type: ignore[assignment]
        store.redis.delete(index)
        for member, created in members:
            store.redis.zadd(index, {member[14:]: created})


def test_jobs_of_an_earlier_version_come_into_the_index(store: JobStore) -> None:
    ids = {key: submit(store, 700, key) for key in KEYS}
    age(store)
    assert sorted(listed(store, JobFilter(key="bob"), looked_at=500)) == sorted(ids["bob"])
    assert sorted(store.run(verbs.owners())) == sorted(KEYS)
    for key in KEYS:
        cursor, added = 0, 0
        while True:
            cursor, more = store.run(verbs.reindex(key, cursor, 100))
            added += more
            if not cursor:
                break
        assert added == 700
    assert listed(store, looked_at=500) == [*ids["alice"], *ids["bob"]][::-1]
    assert store.run(verbs.reindex("alice", 0, 100))[1] == 0
    store.run(verbs.purge(ids["bob"][0]))
    assert listed(store, JobFilter(key="bob"), looked_at=500) == ids["bob"][:0:-1]


def test_a_job_of_an_earlier_version_leaves_the_lists_before_they_are_converted_too(
    store: JobStore,
) -> None:
    (request_id,) = submit(store)
    age(store)
    store.run(verbs.purge(request_id))
    assert listed(store, JobFilter(key="alice")) == []


def test_an_index_entry_without_a_job_is_dropped(store: JobStore) -> None:
    """A maintenance process of an earlier version has forgotten it."""
    store.redis.zadd(keys.plain("all_jobs"), {"0" * 32: 1})
    assert listed(store) == []
    assert store.redis.zcard(keys.plain("all_jobs")) == 0


def begin(store: JobStore) -> str:
    name = uuid.uuid4().hex
    assert store.run(steering.open_operation(name, "digest", 10**6))
    return name


def test_two_callers_of_one_operation_count_each_job_once(store: JobStore) -> None:
    submit(store, 120)
    stranger = submit(store, key="bob")
    name, wanted = begin(store), JobFilter(key="alice")
    calls = [steering.cancel_many(name, wanted) for _ in range(2)]
    progress = [store.run(calls[turn % 2]) for turn in range(40)]  # neither knows of the other
    assert progress[-1].ended
    assert (progress[-1].matched, progress[-1].done) == (120, 120)
    assert listed(store, JobFilter(statuses=(Status.QUEUED,))) == stranger
    assert not store.run(steering.open_operation(name, "another digest", 10**6))


def test_an_operation_is_about_the_jobs_that_were_there_when_it_began(
    store: JobStore, clock: Clock
) -> None:
    submit(store, 3)
    name = begin(store)
    clock.jump(1)
    later = submit(store, 2)
    progress = store.run(steering.cancel_many(name, JobFilter(key="alice")))
    assert (progress.ended, progress.done) == (True, 3)
    assert sorted(listed(store, JobFilter(statuses=(Status.QUEUED,)))) == sorted(later)


def test_a_part_that_was_cut_off_is_given_out_again_and_noted_once(store: JobStore) -> None:
    ids = submit(store, 5)
    for request_id in ids:
        store.run(verbs.cancel(request_id))
    name, wanted = begin(store), JobFilter(statuses=(Status.CANCELED,))
    part = store.run(steering.next_part(name, wanted, 3))
    assert store.run(steering.next_part(name, wanted, 3)) == part
    noted = store.run(steering.advance(name, part, 2, 1))
    assert store.run(steering.advance(name, part, 2, 1)) == noted
    assert (noted.matched, noted.done, noted.failed, noted.ended) == (3, 2, 1, False)
    rest = store.run(steering.next_part(name, wanted, 3))
    ended = store.run(steering.advance(name, rest, 2, 0))
    assert (ended.matched, ended.done, ended.failed, ended.ended) == (5, 4, 1, True)
    assert {job.request_id for job in [*part.jobs, *rest.jobs]} == set(ids)


def test_jobs_move_to_another_deployment_in_their_order(store: JobStore) -> None:
    there = submit(store, 1, deployment=DEPLOYMENTS[1])
    urgent, later = submit(store, 3, level=0), submit(store, 2, level=2)
    waits = fail_once(store, urgent[0])
    wanted = JobFilter(deployments=DEPLOYMENTS[:1])
    progress = store.run(steering.move_many(begin(store), wanted, None, DEPLOYMENTS[1], 10**6))
    assert (progress.matched, progress.done) == (5, 5)
    assert store.run(verbs.queue_status(DEPLOYMENTS[0])).queued == 0
    assert store.run(verbs.queue_status(DEPLOYMENTS[1])).queued == 6
    claimed = [claim(store, DEPLOYMENTS[1]) for _ in range(5)]
    assert claimed == [*urgent[1:], *there, *later]
    assert store.run(verbs.read(waits)).backoff_ms > 0  # it waits out its backoff there


def test_no_more_jobs_move_than_may_wait_there(store: JobStore) -> None:
    submit(store, 5)
    call = steering.move_many(begin(store), JobFilter(), None, DEPLOYMENTS[1], 3)
    progress = store.run(call)
    assert (progress.matched, progress.done) == (5, 3)
    assert store.run(verbs.queue_status(DEPLOYMENTS[1])).queued == 3


def test_a_purged_job_that_runs_goes_when_its_call_has_ended(store: JobStore, clock: Clock) -> None:
    (request_id,) = submit(store)
    found = store.run(verbs.claim(DEPLOYMENTS[0], "r:0", f"fence{next(FENCES):011d}", "r"))
    assert found
    assert store.run(verbs.purge(request_id, "bob")) is PurgeResult.MISSING
    assert store.run(verbs.purge(request_id, "alice")) is PurgeResult.STOPPING
    assert store.run(verbs.forget(100)) == 0
    assert store.run(verbs.renew([found.lease])) == [verbs.Renewal.CANCELED]
    store.run(verbs.stopped(found.lease, "cooperative"))
    clock.advance(16)
    assert store.run(verbs.forget(100)) == 1
    assert not [key for key in store.redis.scan_iter() if request_id.encode() in key]
    assert store.redis.zrange(keys.plain("purged"), 0, -1) == [request_id.encode()]  # for its log
    assert store.run(verbs.queue_status(DEPLOYMENTS[0])).in_progress == 0


@pytest.mark.parametrize("kept", [True, False])
def test_an_input_is_kept_as_long_as_the_result_or_until_the_end(
    valkey: Valkey, kept: bool
) -> None:
    store = JobStore(Settings(redis_url=valkey.url, keep_inputs=kept))
    small, large = RequestId("a"), RequestId("b")
    jobs = [Submission(small, DEPLOYMENTS[0], "m", b"{}"), Submission(large, DEPLOYMENTS[0], "m", b"", input_ref="x")]  # fmt: skip
    store.run(verbs.submit(jobs, "alice", 10))
    for request_id in (small, large):
        store.run(verbs.cancel(request_id))
    assert store.redis.hexists(keys.keyed("job", small), "input") == kept
    assert bool(store.run(verbs.read(large)).job.input_ref) == kept
    assert (store.redis.zscore(keys.plain("garbage"), "x") is None) == kept
    store.close()


def test_a_retry_and_what_it_runs_again_know_each_other(store: JobStore) -> None:
    (old,) = submit(store)
    store.run(verbs.cancel(old))
    again = Submission(RequestId("c" * 32), DEPLOYMENTS[0], "m", b"{}", retry_of=old, max_time_in_queue_ms=5000)  # fmt: skip
    gone = Submission(RequestId("d" * 32), DEPLOYMENTS[0], "m", b"{}", retry_of="e" * 32)
    store.run(verbs.submit([again, gone], "alice", 10))
    assert store.run(verbs.read(old)).job.retried_as == again.request_id
    job = store.run(verbs.read(again.request_id)).job
    assert (job.retry_of, job.max_time_in_queue_ms) == (old, 5000)
    assert not store.redis.exists(keys.keyed("job", "e" * 32))


async def test_the_sweeper_puts_the_jobs_of_an_earlier_version_into_the_index(
    settings: Settings, store: JobStore, async_store: AsyncJobStore
) -> None:
    ids = [request_id for key in KEYS for request_id in submit(store, 300, key)]
    age(store)
    sweeper = Sweeper(async_store, settings, time.monotonic)
    assert (await sweeper.run_once()).indexed == 600
    assert (await sweeper.run_once()).indexed == 0
    assert listed(store) == ids[::-1]
