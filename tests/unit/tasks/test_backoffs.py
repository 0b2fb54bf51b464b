"""When an attempt that waits out its backoff goes on, though no worker asks for one: by the sweeper, when it is due."""

import itertools
import uuid

from deployments.registry import verbs as registry
from tasks.job import RequestId, Submission
from tasks.store import keys, verbs
from tasks.store.job_store import JobStore
from tasks.store.verbs import Release
from tests.conftest import Clock

FENCES = itertools.count()


def retried(store: JobStore, deployment: str, delay_ms: int) -> RequestId:
    """A request whose next attempt is to begin after that time."""
    request_id = RequestId(uuid.uuid4().hex)
    store.run(verbs.submit([Submission(request_id, deployment, "m", b"{}")], "k", 100))
    claim = store.run(verbs.claim(deployment, "r:0", f"{next(FENCES):032d}", "r"))
    assert claim and claim.lease.request_id == request_id
    store.run(verbs.release(claim.lease, Release.RETRY, delay_ms))
    return request_id


def queued(store: JobStore, deployment: str) -> list[str]:
    members: list[bytes] = store.redis.zrange(keys.keyed("queue", deployment), 0, -1)  # type: ignore[assignment]
    return [member.decode().partition(":")[2] for member in members]


def test_each_goes_on_when_it_is_due_whichever_began_first(store: JobStore, clock: Clock) -> None:
    late_first = [retried(store, "dep00001", ms) for ms in (60_000, 10_000)]
    soon_first = [retried(store, "dep00002", ms) for ms in (10_000, 60_000)]
    assert store.run(verbs.end_backoffs(100)) == 0
    clock.advance(11)
    assert store.run(verbs.end_backoffs(100)) == 2
    assert queued(store, "dep00001") == [late_first[1]]
    assert queued(store, "dep00002") == [soon_first[0]]
    assert store.run(verbs.end_backoffs(100)) == 0
    clock.advance(50)
    assert store.run(verbs.end_backoffs(100)) == 2
    assert sorted(queued(store, "dep00001")) == sorted(late_first)
    assert not store.redis.exists(keys.plain("retries"))


def test_it_goes_on_where_it_has_moved_to(store: JobStore, clock: Clock) -> None:
    request_id = retried(store, "dep00001", 10_000)
    store.run(registry.follow("dep00001", "dep00002"))
    clock.advance(11)
    assert store.run(verbs.end_backoffs(100)) == 1
    assert (queued(store, "dep00001"), queued(store, "dep00002")) == ([], [request_id])


def test_one_whose_due_time_was_lost_goes_on_all_the_same(store: JobStore, clock: Clock) -> None:
    request_id = retried(store, "dep00001", 10_000)
    store.redis.delete(keys.plain("retries"))
    assert store.run(verbs.rewake(0, 100))[2] == 0
    clock.advance(11)
    assert store.run(verbs.end_backoffs(100)) == 0
    assert store.run(verbs.rewake(0, 100))[2] == 1
    assert queued(store, "dep00001") == [request_id]
