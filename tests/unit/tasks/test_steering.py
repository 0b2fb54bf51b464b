"""Lists of jobs by a filter and bulk operations, on a real Valkey, against what a filter in Python says."""

import itertools
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.job import Job, JobError, Outcome, RequestId, Submission
from tasks.state import ErrorCode, Status
from tasks.steering import verbs as steering
from tasks.steering.filters import START, JobFilter, Place
from tasks.store import keys, verbs
from tasks.store.job_store import JobStore
from tests.conftest import Clock

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
        place, ended = found.place, found.ended
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
@settings(max_examples=150, deadline=None, suppress_health_check=SAME_STORE)
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
    assert sorted(seen) == sorted(job.request_id for job in expected)
    created = [many[request_id].created for request_id in seen]
    assert created == sorted(created, reverse=True)


@given(wanted=FILTERS)
@settings(max_examples=30, deadline=None, suppress_health_check=SAME_STORE)
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
    rest = store.run(steering.find(JobFilter(key="alice"), first.place, 100))
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
    rest = store.run(steering.find(JobFilter(), first.place, 100))
    assert sorted(job.request_id for job in rest.jobs) == sorted(older)
    assert store.redis.zrange(keys.plain("all_jobs"), 0, -1) == before


def test_a_run_looks_at_a_bounded_number_of_jobs(store: JobStore) -> None:
    submit(store, 30)
    rare = submit(store, key="bob")
    submit(store, 30)
    found = store.run(steering.find(JobFilter(level=0), START, 10, looked_at=20))
    assert (found.jobs, found.ended) == ([], False)
    assert found.place != START
    assert listed(store, JobFilter(key="bob"), looked_at=1) == rare


def test_a_cursor_is_the_text_of_its_place() -> None:
    place = Place("1764412345678", uuid.uuid4().hex)
    assert Place.of(str(place)) == place
    assert Place.of("") == Place.of("x y") == START


def test_jobs_of_an_earlier_version_come_into_the_index(store: JobStore) -> None:
    ids = {key: submit(store, 700, key) for key in KEYS}
    store.redis.delete(keys.plain("all_jobs"))
    assert sorted(store.run(verbs.owners())) == sorted(KEYS)
    for key in KEYS:
        cursor, added = 0, 0
        while True:
            cursor, more = store.run(verbs.reindex(key, cursor, 100))
            added += more
            if not cursor:
                break
        assert added == 700
    assert sorted(listed(store, looked_at=500)) == sorted([*ids["alice"], *ids["bob"]])
    assert store.run(verbs.reindex("alice", 0, 100))[1] == 0


def test_an_index_entry_without_a_job_is_dropped(store: JobStore) -> None:
    """A maintenance process of an earlier version has forgotten it."""
    store.redis.zadd(keys.plain("all_jobs"), {"0" * 32: 1})
    assert listed(store) == []
    assert store.redis.zcard(keys.plain("all_jobs")) == 0
