"""The list of queued jobs in the order in which they will be claimed, on a real Valkey, against the claims themselves."""

import itertools
import uuid
from dataclasses import replace

from tasks.job import Claim, JobError, Loaded, RequestId, Submission
from tasks.state import ErrorCode
from tasks.steering import verbs as steering
from tasks.steering.filters import FIRST, JobFilter, Turn
from tasks.store import verbs
from tasks.store.job_store import JobStore

HERE, THERE = "dep00001", "dep00002"
BOTH = JobFilter(deployments=(HERE, THERE))
FENCES = itertools.count()
ERROR = JobError(ErrorCode.MODEL_PREDICT_ERROR, "no")


def submit(
    store: JobStore, key: str = "alice", level: int = 1, deployment: str = HERE
) -> RequestId:
    job = Submission(RequestId(uuid.uuid4().hex), deployment, "model001", b"{}", level=level)
    return store.run(verbs.submit([job], key, 10**6))[0]


def claim(store: JobStore, deployment: str = HERE) -> Claim | None:
    fence = f"fence{next(FENCES):011d}"
    return store.run(verbs.claim(deployment, "r:0", fence, "r", Loaded(0, 0)))


def claimed(store: JobStore, deployment: str = HERE) -> list[str]:
    """Claims all that wait."""
    ids: list[str] = []
    while found := claim(store, deployment):
        ids.append(found.job.request_id)
    return ids


def listed(
    store: JobStore, wanted: JobFilter = BOTH, most: int = 2, looked_at: int = 3
) -> list[str]:
    """The ids on all pages; each cursor goes through its text."""
    ids: list[str] = []
    turn, ended = FIRST, False
    while not ended:
        found = store.run(steering.upcoming(wanted, turn, most, looked_at))
        ids += [job.request_id for job in found.jobs]
        turn, ended = Turn.of(str(found.at)), found.ended
    return ids


def test_the_list_is_the_order_of_the_claims(store: JobStore) -> None:
    for key, level in itertools.product(("alice", "alice", "bob", "carol"), (2, 0, 1, 0)):
        submit(store, key, level)
    for _ in range(3):
        submit(store, deployment=THERE)
    ids = listed(store)
    assert ids == claimed(store) + claimed(store, THERE)
    assert listed(store) == []


def test_a_filter_leaves_out_the_others_and_keeps_the_order(store: JobStore) -> None:
    by_key = {key: [submit(store, key) for _ in range(4)] for key in ("alice", "bob")}
    assert listed(store, replace(BOTH, key="bob")) == by_key["bob"]
    assert listed(store, replace(BOTH, level=0)) == []
    assert listed(store, JobFilter(deployments=())) == []
    created = store.run(verbs.read(by_key["bob"][0])).job.created
    assert listed(store, replace(BOTH, created_before=created, key="bob")) == []
    assert listed(store, replace(BOTH, created_after=created, key="bob")) == by_key["bob"]


def test_pages_go_on_behind_a_job_that_was_claimed_meanwhile(store: JobStore) -> None:
    ids = [submit(store) for _ in range(4)]
    first = store.run(steering.upcoming(BOTH, FIRST, 2))
    assert [job.request_id for job in first.jobs] == ids[:2]
    for _ in range(2):
        claim(store)
    assert [job.request_id for job in store.run(steering.upcoming(BOTH, first.at, 9)).jobs] == ids[2:]  # fmt: skip
    assert claimed(store) == ids[2:]  # the list has left nothing in the queue


def test_jobs_that_no_claim_takes_now_come_last(store: JobStore) -> None:
    store.redis.hset("{kingpost}:running_limits", "alice", 1)
    again, running, held = (submit(store) for _ in range(3))
    first = claim(store)
    assert first and first.job.request_id == again
    store.run(verbs.release(first.lease, verbs.Release.RETRY, 60_000, ERROR))
    assert [found.job.request_id for found in (claim(store),) if found] == [running]
    assert claim(store) is None  # alice runs as many as she may
    bob = submit(store, "bob", 2)
    assert listed(store) == [bob, held, again]
