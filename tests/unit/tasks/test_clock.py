"""The clock of leases and due times: what jumps, stalls and nights without a stack do to it."""

import uuid
from collections.abc import AsyncIterator

import pytest

from deployments.registry import verbs as registry
from tasks.job import Claim, JobError, Outcome, RequestId, Submission
from tasks.machine import tell_time
from tasks.settings import Settings
from tasks.state import Status
from tasks.store import keys, verbs
from tasks.store.job_store import AsyncJobStore, JobStore
from tasks.store.verbs import Release, Renewal
from tasks.sweeper import Sweeper
from tasks.webhooks.verbs import take_deliveries
from tests.conftest import Clock

DEPLOYMENT = "dep00001"
JUMPS = [seconds * sign for seconds in (3600, 86400) for sign in (1, -1)]
DONE = Outcome(Status.SUCCEEDED, 1.0, b"1", "application/json")
ERROR = JobError("MODEL_PREDICT_ERROR", "no")


def submit(store: JobStore, seconds: int = 600, webhook: str = "") -> RequestId:
    job = Submission(
        RequestId(uuid.uuid4().hex),
        DEPLOYMENT,
        "m",
        b"{}",
        max_time_in_queue_ms=seconds * 1000,
        webhook=webhook,
    )
    return store.run(verbs.submit([job], "k", 1000))[0]


def claim(store: JobStore) -> Claim | None:
    return store.run(verbs.claim(DEPLOYMENT, "r:0", uuid.uuid4().hex, "r"))


def status(store: JobStore, request_id: str) -> Status:
    return store.run(verbs.read(request_id)).job.status


@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_of_the_walls_clock_makes_nothing_due_and_nothing_last(
    store: JobStore, clock: Clock, jump: int
) -> None:
    with_hook = submit(store, webhook="https://a.example/x")
    taken = claim(store)
    assert taken
    assert store.run(verbs.finish(taken.lease, DONE)) is verbs.SettleResult.DONE
    store.run(take_deliveries(10, 20_000, "sender"))
    retried = submit(store)
    taken = claim(store)
    assert taken
    store.run(verbs.release(taken.lease, Release.RETRY, 20_000, ERROR))
    running, queued = submit(store), submit(store, 60)
    taken = claim(store)
    assert taken
    assert taken.job.request_id == running
    clock.jump(jump)
    assert store.run(verbs.rescue(100)) == ([], [])
    assert (store.run(verbs.expire(100)), store.run(verbs.forget(100))) == (0, 0)
    assert store.run(take_deliveries(10, 20_000, "other")) == []
    assert 0 < store.run(verbs.read(retried)).backoff_ms <= 21_000
    clock.advance(16)  # a lease lasts as long as ever; the clock may have gone back by a second
    assert store.run(verbs.rescue(100)) == ([running], [])
    clock.advance(5)
    assert [
        delivery.job.request_id for delivery in store.run(take_deliveries(10, 20_000, "x"))
    ] == [with_hook]
    assert store.run(verbs.rewake(0, 100))[2] == 1
    clock.advance(40)
    assert store.run(verbs.expire(100)) == 1
    assert status(store, queued) is Status.EXPIRED


@pytest.mark.parametrize("jump", JUMPS)
def test_people_read_the_walls_time(store: JobStore, clock: Clock, jump: int) -> None:
    first = store.run(verbs.read(submit(store))).job
    clock.jump(jump)
    second = store.run(verbs.read(submit(store)))
    assert (second.job.created - first.created) // 1000 in range(jump, jump + 60)
    assert (second.now - second.job.created) // 1000 in range(60)


def test_a_jump_takes_no_seat_from_a_node(settings: Settings, store: JobStore) -> None:
    """Seats are leases, too, and both stores share the clock."""
    store.run(verbs.rescue(1))
    last, _ = (store.redis.get(keys.plain("clock")) or b"").split()  # type: ignore[union-attr]
    store.redis.set(keys.plain("clock"), f"{int(last) - 3_600_000} 0")  # as if the wall jumped
    JobStore(settings).run(registry.register("echo", "/nowhere", "hash", 1))
    store.run(verbs.rescue(1))
    _, behind = (store.redis.get(keys.plain("clock")) or b"").split()  # type: ignore[union-attr]
    assert int(behind) // 1000 in range(3590, 3600)


def test_the_clock_is_written_once_a_second_at_most(store: JobStore) -> None:
    store.run(verbs.rescue(1))
    before = store.redis.info("commandstats")["cmdstat_set"]["calls"]  # type: ignore[index]
    for _ in range(100):
        store.run(verbs.renew([]))
    assert store.redis.info("commandstats")["cmdstat_set"]["calls"] - before < 20  # type: ignore[index]


class Machine:
    """A sweeper on a machine whose own clock the test moves."""

    def __init__(self, store: AsyncJobStore, settings: Settings) -> None:
        self.ms = 1_000_000
        self._store, self._settings = store, settings
        self.start()

    def start(self) -> None:
        """The sweeper's process starts anew."""
        self.sweeper = Sweeper(self._store, self._settings, lambda: 0.0, lambda: self.ms)


@pytest.fixture
async def swept(settings: Settings) -> AsyncIterator[AsyncJobStore]:
    store = AsyncJobStore(settings, movable_clock=True)
    yield store
    await store.close()


async def test_a_night_without_a_stack_counts_and_no_worker_loses_its_lease_by_it(
    store: JobStore, swept: AsyncJobStore, settings: Settings, clock: Clock
) -> None:
    machine = Machine(swept, settings)
    running, _, queued = submit(store), submit(store, 7200), submit(store)
    taken = claim(store)
    assert taken
    assert taken.job.request_id == running
    await machine.sweeper.run_once()
    machine.ms += 3_600_000
    clock.jump(3600)
    machine.start()
    assert status(store, queued) is Status.QUEUED
    await tell_time(swept, lambda: machine.ms)  # an API starts before the sweeper
    submit(store)
    done = await machine.sweeper.run_once()
    assert (done.expired, done.rescued) == (1, 0)
    assert status(store, queued) is Status.EXPIRED
    assert store.run(verbs.renew([taken.lease])) == [Renewal.RENEWED]
    clock.advance(15)
    store.redis.delete(keys.plain("grace"))  # a lease later
    assert (await machine.sweeper.run_once()).rescued == 1


async def test_after_a_reboot_only_the_wall_can_say_how_long_the_night_was(
    store: JobStore, swept: AsyncJobStore, settings: Settings, clock: Clock
) -> None:
    machine = Machine(swept, settings)
    queued = submit(store)
    await machine.sweeper.run_once()
    store.redis.hdel(
        keys.plain("ticks"),
        *(field for field in store.redis.hkeys(keys.plain("ticks")) if field != b"last"),
    )  # type: ignore[union-attr, misc]
    machine.ms = 10
    clock.jump(3600)
    await machine.sweeper.run_once()
    assert status(store, queued) is Status.EXPIRED


@pytest.mark.parametrize("jump", JUMPS)
async def test_a_jump_while_the_sweeper_starts_anew_is_no_night(
    store: JobStore, swept: AsyncJobStore, settings: Settings, clock: Clock, jump: int
) -> None:
    machine = Machine(swept, settings)
    queued = submit(store)
    await machine.sweeper.run_once()
    clock.jump(jump)
    machine.ms += 4000
    machine.start()
    assert (await machine.sweeper.run_once()).expired == 0
    assert status(store, queued) is Status.QUEUED


async def test_a_short_stall_does_not_count(
    store: JobStore, swept: AsyncJobStore, settings: Settings, clock: Clock
) -> None:
    """For scripts a store that stalled for 40 s is a clock that jumped; the machine knows that time passed."""
    machine = Machine(swept, settings)
    submit(store)
    assert claim(store)
    await machine.sweeper.run_once()
    clock.jump(40)
    machine.ms += 40_000
    assert (await machine.sweeper.run_once()).rescued == 0
