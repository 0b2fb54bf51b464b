"""The bulk operation that sends webhooks again which were given up, on a real Valkey."""

import itertools
import uuid
from typing import cast

from tasks.job import Outcome, RequestId, Submission
from tasks.state import Status
from tasks.steering import verbs as steering
from tasks.steering.verbs import Progress
from tasks.store import keys, verbs
from tasks.store.job_store import JobStore
from tasks.webhooks import verbs as outbox
from tests.conftest import Clock

HOOK = "https://example.com/hook"
FENCES = itertools.count()


def submit(store: JobStore, count: int) -> list[RequestId]:
    jobs = [
        Submission(RequestId(uuid.uuid4().hex), "dep00001", "model001", b"{}", webhook=HOOK)
        for _ in range(count)
    ]
    store.run(verbs.submit(jobs, "alice", 10**6))
    for _ in jobs:
        claim = store.run(verbs.claim("dep00001", "r:0", f"fence{next(FENCES):011d}", "r"))
        assert claim is not None
        store.run(verbs.finish(claim.lease, Outcome(Status.SUCCEEDED, 1.0, b"1")))
    return [job.request_id for job in jobs]


def refuse_all(store: JobStore) -> None:
    """The receivers refuse every webhook that is due."""
    while taken := store.run(outbox.take_deliveries(100, 60_000, "token")):
        for delivery in taken:
            store.run(outbox.settle_delivery(delivery, "failed", 0, '{"status": 410}'))


def given_up(store: JobStore) -> list[str]:
    return [row.request_id for row in store.run(outbox.outbox_status(10_000)).latest]


def begin(store: JobStore) -> str:
    name = uuid.uuid4().hex
    assert store.run(steering.open_operation(name, "digest", 10**6))
    return name


def to_the_end(store: JobStore, name: str) -> list[Progress]:
    """What each step said."""
    said = [store.run(steering.redeliver_many(name))]
    while not said[-1].ended:
        said.append(store.run(steering.redeliver_many(name)))
    return said


def test_all_that_were_given_up_are_sent_again_in_bounded_steps(store: JobStore) -> None:
    ids = submit(store, 250)
    refuse_all(store)
    assert sorted(given_up(store)) == sorted(ids)
    name = begin(store)
    steps = to_the_end(store, name)
    assert [step.done for step in steps] == [100, 200, 250]
    assert steps[-1] == Progress(ended=True, seen=250, matched=250, done=250, failed=0)
    assert given_up(store) == []
    assert {taken.request_id for taken in store.run(outbox.take_deliveries(1000, 60_000, "t"))} == {
        *ids
    }
    assert store.run(steering.redeliver_many(name)) == steps[-1]  # a caller that comes late


def test_a_receiver_that_refuses_them_again_stops_nothing_and_gets_each_once(
    store: JobStore, clock: Clock
) -> None:
    submit(store, 250)
    refuse_all(store)
    name, steps = begin(store), 0
    clock.jump(1)
    while not store.run(steering.redeliver_many(name)).ended:
        refuse_all(store)
        steps += 1
    refuse_all(store)
    assert steps == 2
    assert store.run(steering.redeliver_many(name)).done == 250
    assert len(given_up(store)) == 250


def test_a_clock_that_was_set_back_ends_it_all_the_same(store: JobStore, clock: Clock) -> None:
    clock.jump(3600)
    submit(store, 120)
    refuse_all(store)
    name = begin(store)
    clock.jump(-3600)
    for _ in range(10):
        last = store.run(steering.redeliver_many(name))
        refuse_all(store)
    assert (last.ended, last.done) == (True, 120)


def test_what_has_gone_meanwhile_is_counted_as_failed_and_leaves_the_list(store: JobStore) -> None:
    kept, gone = submit(store, 2)
    refuse_all(store)
    store.redis.delete(keys.keyed("job", gone))
    last = to_the_end(store, begin(store))[-1]
    assert (last.matched, last.done, last.failed) == (2, 1, 1)
    (taken,) = store.run(outbox.take_deliveries(10, 60_000, "t"))
    assert taken.request_id == kept
    assert given_up(store) == []


def test_those_that_are_given_up_after_it_began_are_left_out(store: JobStore, clock: Clock) -> None:
    submit(store, 110)
    refuse_all(store)
    name = begin(store)
    assert store.run(steering.redeliver_many(name)).done == 100
    clock.jump(1)
    for request_id in given_up(store):
        store.run(outbox.redeliver(request_id))  # somebody else was faster
    refuse_all(store)
    assert len(given_up(store)) == 110
    last = store.run(steering.redeliver_many(name))
    assert (last.ended, last.done) == (True, 100)
    assert len(given_up(store)) == 110


def test_an_operation_is_known_for_a_while_after_its_last_step(store: JobStore) -> None:
    name = begin(store)
    record = keys.keyed("operation", name)
    assert 0 < cast(int, store.redis.pttl(record)) <= 10**6
    store.redis.pexpire(record, 1000)  # the caller comes back at the last moment
    store.run(steering.redeliver_many(name))
    assert cast(int, store.redis.pttl(record)) > 10**5
