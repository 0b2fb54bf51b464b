"""No exception ends a loop: each cause is logged once and counted, the loop waits longer, and its neighbours go on."""

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from structlog.testing import capture_logs

from api.events import EventHub
from deployments.registry import autoscaler as autoscaling_loop
from deployments.registry import pages as registry_pages
from deployments.registry import verbs as registry
from deployments.registry.autoscaler import Autoscaler
from deployments.registry.directory import Directory
from deployments.registry.keys import CHANGES, keyed, plain
from deployments.registry.records import Replica
from tasks import maintenance
from tasks.celery_app import make_app
from tasks.errors import StoreUnavailable
from tasks.job import RequestId, Submission
from tasks.process import loops
from tasks.process.loops import Guard, Guards, end, keep, run_forever
from tasks.settings import Settings
from tasks.state import Status
from tasks.store import keys, verbs
from tasks.store.job_store import AsyncJobStore, JobStore
from tasks.sweeper import Sweeper
from tests.conditions import wait_until, wait_until_async
from tests.conftest import Clock
from workers.node.main import Node
from workers.processes.supervisor import Part, Supervisor
from workers.replica.channel import Channel
from workers.replica.events import RequestEvents
from workers.replica.heartbeat import Heartbeat
from workers.replica.runs import Run, Runs, StopReason
from workers.replica.watchdog import Watchdog


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Frames in colour take a second each."""
    with capture_logs():
        yield


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def failing(guard: Guard, error: Exception) -> None:
    with guard.round():
        raise error


def test_a_cause_is_logged_once_and_the_pause_grows_up_to_its_bound() -> None:
    time = Time()
    guard = Guard("x", longest=4.0, monotonic=time)
    delays: list[float] = []
    with capture_logs() as logged:
        for number in range(6):
            failing(guard, ValueError(f"number {number}"))
            delays.append(guard.delay)
        failing(guard, KeyError("another"))
    assert delays == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert [entry["error"] for entry in logged] == ["ValueError('number 0')", "KeyError('another')"]
    assert guard.failed == 7
    assert not guard.due
    time.now += loops.LOG_AGAIN + 5
    with capture_logs() as logged:
        failing(guard, ValueError("still"))
    assert [(entry["failed"], entry["exc_info"]) for entry in logged] == [(8, None)]


def test_a_good_round_ends_the_pause_and_says_so_once() -> None:
    guard = Guard("x", monotonic=Time())
    failing(guard, ValueError("once"))
    with capture_logs() as logged:
        for _ in range(3):
            with guard.round():
                pass
    assert [entry["event"] for entry in logged] == ["round.recovered"]
    assert (guard.delay, guard.failed) == (0.0, 1)


def test_a_store_that_is_away_costs_no_pause_and_one_line() -> None:
    guard = Guard("x", monotonic=Time())
    with capture_logs() as logged:
        for _ in range(5):
            failing(guard, StoreUnavailable())
    assert [entry["event"] for entry in logged] == ["store.unavailable"]
    assert guard.due


def test_a_part_passes_on_that_the_store_is_away_and_keeps_all_else() -> None:
    parts = Guards("part")
    with parts["a"].part():
        raise ValueError
    with pytest.raises(StoreUnavailable), parts["b"].part():
        raise StoreUnavailable
    assert (parts["a"].failed, parts["b"].failed) == (1, 0)


class Planted:
    """A loop whose first rounds raise."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.rounds = list(errors), 0
        self.stop = asyncio.Event()

    async def run_once(self) -> None:
        self.rounds += 1
        if self.errors:
            raise self.errors.pop(0)
        self.stop.set()


async def test_a_loop_goes_on_after_whatever_a_round_raised() -> None:
    loop = Planted(StoreUnavailable(), OSError("name too long"), StoreUnavailable())
    await asyncio.wait_for(run_forever(loop, 0, loop.stop), 10)
    assert loop.rounds == 4


async def test_endless_work_is_taken_up_again_until_it_ends_by_itself() -> None:
    planted = Planted(RuntimeError("the sender fell"))
    await asyncio.wait_for(keep("sender", planted.run_once), 10)
    assert planted.rounds == 2


async def test_a_loop_of_the_maintenance_process_that_fails_does_not_end_the_others(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Falling:
        tries = 0

        def __init__(self, *_: object) -> None: ...

        async def run_forever(self, _stop: asyncio.Event) -> None:
            Falling.tries += 1
            raise RuntimeError("the sender fell")

        run_once = run_forever

    monkeypatch.setattr(maintenance, "Sender", Falling)
    bystander = Planted()
    running = asyncio.create_task(maintenance._main(settings, lambda _: {bystander: 0.01}))
    await wait_until_async(lambda: _true(Falling.tries >= 2 and bystander.rounds >= 2))
    assert not running.done()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def _true(value: object) -> bool:
    return bool(value)


def submitted(store: JobStore, deployment: str = "dep00001") -> str:
    request_id = RequestId(uuid.uuid4().hex)
    store.run(verbs.submit([Submission(request_id, deployment, "model001", b"{}")], "alice", 100))
    return request_id


async def test_a_step_of_the_sweeper_that_fails_does_not_keep_the_others_from_theirs(
    settings: Settings, store: JobStore, clock: Clock
) -> None:
    request_id = submitted(store)
    store.redis.delete(keys.plain("leases"))
    store.redis.set(keys.plain("leases"), "damaged")  # rescue, the first step, reads it
    clock.advance(601)
    async_store = AsyncJobStore(settings, movable_clock=True)
    time = Time()
    sweeper = Sweeper(async_store, settings, time)
    with capture_logs() as logged:
        for _ in range(3):
            await sweeper.run_once()
    await async_store.close()
    assert store.run(verbs.read(request_id)).job.status is Status.EXPIRED
    assert [entry["loop"] for entry in logged if entry["event"] == "round.failed"] == [
        "sweeper's step rescue"
    ]


async def test_a_request_s_log_says_that_its_worker_was_lost(
    settings: Settings, store: JobStore, clock: Clock
) -> None:
    run, canceled = claimed(store), claimed(store)
    store.run(verbs.cancel(canceled.request_id))
    clock.advance(60)
    async_store = AsyncJobStore(settings, movable_clock=True)
    with capture_logs() as logged:
        await Sweeper(async_store, settings, Time()).run_once()
    await async_store.close()
    said = {(entry["event"], entry["request_id"]) for entry in logged if "request_id" in entry}
    assert said == {("job.requeued", run.request_id), ("job.stopped", canceled.request_id)}


async def test_one_round_rescues_whatever_a_lost_machine_has_left(
    settings: Settings, store: JobStore, clock: Clock
) -> None:
    lost = {claimed(store).request_id for _ in range(1000)}
    clock.advance(60)
    async_store = AsyncJobStore(settings, movable_clock=True)
    with capture_logs() as logged:
        assert (await Sweeper(async_store, settings, Time()).run_once()).rescued == 1000
    await async_store.close()
    assert {entry["request_id"] for entry in logged if entry["event"] == "job.requeued"} == lost


async def test_one_round_ends_the_backoffs_of_every_deployment(
    settings: Settings, store: JobStore, clock: Clock
) -> None:
    for number in range(450):
        deployment, request_id = f"dep{number:05d}", RequestId(uuid.uuid4().hex)
        store.run(verbs.submit([Submission(request_id, deployment, "m", b"{}")], "k", 10))
        claim = store.run(verbs.claim(deployment, "r:0", f"{number:032d}", "r"))
        assert claim
        store.run(verbs.release(claim.lease, verbs.Release.RETRY, 600_000))
    async_store = AsyncJobStore(settings, movable_clock=True)
    sweeper = Sweeper(async_store, settings, Time())
    assert (await sweeper.run_once()).retried == 0
    clock.advance(601)
    assert (await sweeper.run_once()).retried == 450
    await async_store.close()
    assert not store.redis.exists(keys.plain("retries"))


async def test_a_deployment_that_cannot_be_scaled_does_not_keep_the_others_from_it(
    settings: Settings, store: JobStore, async_store: AsyncJobStore
) -> None:
    first, damaged, last = (store.run(registry.push(name, name, 1)) for name in ("a", "b", "c"))
    client = redis.Redis.from_url(settings.redis_url)
    client.hset(keyed("deployment", damaged.id), "min_replica", "many")  # cannot be read at all
    client.set(keyed("seats", first.id), "damaged")  # its script fails
    assert await Autoscaler(async_store, settings).run_once()
    assert {deployment.id for deployment in store.run(registry.deployments())} == {
        first.id,
        last.id,
    }
    assert store.run(registry.needy()) == [last.id]
    client.close()


def push_twelve(store: JobStore) -> None:
    """Deployments for six batches of two."""
    for number in range(12):
        store.run(registry.push(f"model{number}", f"h{number}", 1))


async def test_a_round_that_takes_longer_than_its_lead_keeps_leading(
    settings: Settings, store: JobStore, async_store: AsyncJobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch of a round takes two seconds of the leader's clock here, and of the lead."""
    monkeypatch.setattr(autoscaling_loop, "AT_ONCE", 2)
    push_twelve(store)
    time, lead = Time(), plain("autoscaler")
    scaling, other = (Autoscaler(async_store, settings, time) for _ in range(2))
    run = async_store.run
    rivals: list[bool] = []

    async def slow(call: verbs.ScriptCall[Any]) -> Any:
        if call.script == "scale":
            time.now += 1.0
            left = cast(int, store.redis.pttl(lead))
            store.redis.pexpire(lead, max(left - 1000, 1))
            rivals.append(await run(registry.lead("rival", 1)))
        return await run(call)

    monkeypatch.setattr(async_store, "run", slow)
    assert await scaling.run_once()
    assert rivals == [False] * 12
    assert not await other.run_once()


async def test_a_leader_that_lost_its_lead_ends_its_round(
    settings: Settings, store: JobStore, async_store: AsyncJobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autoscaling_loop, "AT_ONCE", 2)
    push_twelve(store)
    time, scaled = Time(), 0
    run = async_store.run

    async def frozen(call: verbs.ScriptCall[Any]) -> Any:
        nonlocal scaled
        if call.script == "scale":
            scaled += 1
            time.now += 60.0
            store.redis.set(plain("autoscaler"), "rival", px=60_000)
        return await run(call)

    monkeypatch.setattr(async_store, "run", frozen)
    assert not await Autoscaler(async_store, settings, time).run_once()
    assert scaled == 2


async def test_a_leader_that_lost_its_lead_moves_no_more_queued_requests(
    settings: Settings, store: JobStore, async_store: AsyncJobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (store.run(registry.push("queued", f"h{number}", 1)) for number in range(2))
    store.run(registry.promote(new, "production"))
    report = Replica("r1", new.id, "queued", "ready", None, "/x", 1, 0, 1, None)
    store.run(registry.report(report, 60_000))
    follow = settings.model_copy(update={"queued_follow_environment": True})
    time, moved = Time(), list[Any]()
    run = async_store.run

    async def frozen(call: verbs.ScriptCall[Any]) -> Any:
        if call.script != "follow":
            return await run(call)
        moved.append(call.arguments[:2])
        time.now += 60.0
        store.redis.set(plain("autoscaler"), "rival", px=60_000)
        return len(moved) < 3  # whether there are more

    monkeypatch.setattr(async_store, "run", frozen)
    await Autoscaler(async_store, follow, time).run_once()
    assert moved == [[old.id, new.id]]


async def test_what_needs_no_change_is_not_written_again_and_what_does_is(
    settings: Settings, store: JobStore, async_store: AsyncJobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = store.run(registry.push("quiet", "h", 1))
    store.redis.hset(keyed("deployment", known.id), "served", 1)
    scaling, written = Autoscaler(async_store, settings), list[str]()
    run = async_store.run

    async def noted(call: verbs.ScriptCall[Any]) -> Any:
        written.extend([call.script] if call.script == "scale" else [])
        return await run(call)

    monkeypatch.setattr(async_store, "run", noted)
    store.run(registry.demand(known.id))
    await scaling.run_once()
    assert (written, store.run(registry.needy())) == (["scale"], [known.id])
    store.redis.delete(keyed("demand", known.id))
    await scaling.run_once()  # nobody waits any more
    assert store.run(registry.needy()) == []
    before = len(written)
    await scaling.run_once()
    await scaling.run_once()
    assert len(written) - before <= 1  # the load of before leaves the window
    store.run(registry.fail_load(known.id, "no weights", settings))
    store.redis.hset(keyed("deployment", known.id), "gave_up", 1)  # a rest that is over
    await scaling.run_once()
    assert not store.run(registry.deployment(known.id)).gave_up


async def test_the_registry_is_read_in_pages(
    store: JobStore, async_store: AsyncJobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = [store.run(registry.push(f"model{number}", f"h{number}", 1)) for number in range(25)]
    for ask in ("PAGE", "LOADS"):
        monkeypatch.setattr(registry_pages, ask, 10)
    for known in pushed[::3]:
        store.run(registry.demand(known.id))
    run, sizes = async_store.run, list[int]()

    async def noted(call: verbs.ScriptCall[Any]) -> Any:
        sizes.append(len(call.arguments))
        return await run(call)

    monkeypatch.setattr(async_store, "run", noted)
    found = await registry_pages.all_deployments(async_store)
    assert [known.id for known in found] == [each.id for each in store.run(registry.deployments())]
    assert {known.id for known in found} == {each.id for each in pushed}
    assert await registry_pages.all_models(async_store) == store.run(registry.models())
    loads = await registry_pages.loads_of(async_store, [each.id for each in pushed])
    assert [load.demanded for load in loads] == [number % 3 == 0 for number in range(25)]
    assert max(sizes) <= 10 and sizes.count(10) == 6


def entry(deployment_id: str) -> Replica:
    return Replica("r1", deployment_id, "m", "ready", None, "/x", 1, 0, 1, None)


async def test_an_entry_of_the_directory_that_cannot_be_read_hides_no_other(
    settings: Settings, store: JobStore, async_store: AsyncJobStore
) -> None:
    live = Directory(async_store)
    client = redis.Redis.from_url(settings.redis_url)
    following = asyncio.create_task(live.follow())
    for name, text in (("bad1", "{"), ("bad2", '{"id": "bad2"}'), ("bad3", "[1]")):
        client.set(keyed("replica", name), text)
        client.sadd(plain("replicas"), name)
    client.publish(CHANGES, "bad1")
    store.run(registry.report(entry("d"), 15_000))
    await wait_until_async(lambda: _true(len(live.everyone()) == 1))
    assert [replica.id for replica in store.run(registry.replicas())] == ["r1"]
    following.cancel()
    client.close()


async def test_news_of_jobs_go_on_after_a_message_that_raises(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, taken = EventHub(settings), threading.Event()
    wake = hub._wake

    def planted(channel: bytes) -> None:
        if not taken.is_set():
            taken.set()
            raise ValueError("planted")
        wake(channel)

    monkeypatch.setattr(hub, "_wake", planted)
    listening = asyncio.create_task(keep("events", hub.listen))
    publisher = redis.asyncio.Redis.from_url(settings.redis_url)
    async with publisher, hub.watch("job1") as news:
        name = keys.keyed("events", "job1")
        await publisher.publish(name, "status")
        await wait_until_async(lambda: _true(taken.is_set()))
        assert await hub.wait(news, 10)  # after a break everybody looks once
        news.clear()
        await publisher.publish(name, "status")
        assert await hub.wait(news, 10)
    listening.cancel()
    await hub.close()


def claimed(store: JobStore) -> Run:
    submitted(store)
    claim = store.run(verbs.claim("dep00001", "w", uuid.uuid4().hex, "r"))
    assert claim
    return Run(claim, 1)


def test_a_beat_stops_its_cancelled_runs_although_the_report_and_the_stop_of_one_raise(
    settings: Settings, store: JobStore, clock: Clock
) -> None:
    runs, stopped = Runs(), list[str]()
    first, second = claimed(store), claimed(store)
    runs.add(first)
    runs.add(second)
    for run in (first, second):
        store.run(verbs.cancel(run.request_id))

    def stop(run: Run, _: StopReason) -> None:
        if run is first:
            raise ValueError("planted")
        stopped.append(run.request_id)

    def report() -> None:
        raise TypeError("planted")

    quick = settings.model_copy(update={"heartbeat_seconds": 0.01})
    heartbeat = Heartbeat(store, runs, quick, stop, report)
    with capture_logs() as logged:
        heartbeat.start()
        wait_until(lambda: len(stopped) >= 3)
        heartbeat.stop()
    assert set(stopped) == {second.request_id}
    assert len([entry for entry in logged if entry["event"] == "round.failed"]) <= 2


def test_the_watch_looks_at_every_run_although_the_stop_of_one_raises(
    settings: Settings, store: JobStore
) -> None:
    runs, stopped = Runs(), threading.Event()
    first, second = claimed(store), claimed(store)
    runs.add(first)
    runs.add(second)

    def stop(run: Run, _: StopReason) -> None:
        if run is first:
            raise ValueError("planted")
        stopped.set()

    late = settings.model_copy(update={"predict_timeout_seconds": -1.0})
    watch = Watchdog(runs, cast(Any, None), late, stop, {})
    watch.start()
    assert stopped.wait(10)
    watch.stop()


def test_a_channel_goes_on_after_a_message_that_raises(settings: Settings, store: JobStore) -> None:
    seen: list[str] = []

    def take(message: str) -> None:
        seen.append(message)
        if message == "bad":
            raise ValueError("planted")

    channel = Channel(store, keys.CANCELS + "r1", take)
    channel.start()
    wait_until(lambda: store.redis.publish(keys.CANCELS + "r1", "bad"))
    store.redis.publish(keys.CANCELS + "r1", "good")
    wait_until(lambda: "good" in seen)
    channel.stop()


def test_events_for_flower_go_on_after_what_their_thread_raised(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = RequestEvents(make_app(settings), "echo-1@here", {})
    tries = threading.Semaphore(0)

    def planted(*_: object) -> None:
        tries.release()
        raise ValueError("planted")

    monkeypatch.setattr(events, "_send_held", planted)
    events.start()
    assert all(tries.acquire(timeout=10) for _ in range(2))
    events.stop()


async def test_neither_an_observer_nor_a_disk_ends_the_supervision_of_a_part(
    tmp_path: Path,
) -> None:
    seen: list[str] = []

    def full_disk(_: Part, what: str) -> None:
        seen.append(what)
        raise OSError(28, "No space left on device")

    supervisor = Supervisor(full_disk)
    log = tmp_path / "logs" / "part.log"
    part = Part("part", "part", ["sleep", "600"], log, {})
    await supervisor.start(part)
    log.rename(tmp_path / "old.log")
    log.mkdir()  # the next start cannot write there
    part.process.kill()  # type: ignore[union-attr]
    await wait_until_async(lambda: _true("died (SIGKILL)" in seen))
    await wait_until_async(lambda: _true(supervisor._told.failed >= 2))
    log.rmdir()
    await wait_until_async(lambda: _true(part.pid), 20)
    assert seen[-1] == "started again"
    await supervisor.stop("part", 5)
    assert part.pid is None


async def test_a_model_that_a_node_cannot_start_keeps_no_other_from_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name of 270 bytes is no file name: the first start of its log fails."""
    store = JobStore(settings)
    bad = store.run(registry.push("é" * 135, "a", 1))
    good = store.run(registry.push("good", "b", 1))
    node = Node(settings.model_copy(update={"node_gpus": ""}), lambda *_: None)
    make: Callable[..., Part] = node._part

    def quick(*given: Any) -> Part:
        part = replace(make(*given), command=["sleep", "600"])
        log = part.log.with_name(f"{given[0].model_name}.log")  # whatever else names it
        return replace(part, log=log)

    monkeypatch.setattr(node, "_part", quick)
    store.run(registry.scale(bad.id, 1, 1, True, set()))  # the first in line
    with capture_logs() as logged:
        for _ in range(3):
            await node.run_once()
    running = [running.seat.deployment_id for running in node._running.values()]
    assert running == [good.id]
    failures = [entry for entry in logged if entry["event"] == "round.failed"]
    assert len(failures) == 1
    assert bad.id in failures[0]["loop"]
    assert "File name too long" in store.run(registry.deployment(bad.id)).failure
    free = node._capacity.slots
    assert free == settings.node_slots - 1  # its place was given back
    await node.stop()
    assert node._capacity.slots == settings.node_slots


async def test_one_that_failed_to_load_takes_no_place_from_a_healthy_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JobStore(settings)
    good = store.run(registry.push("good", "b", 1))
    node = Node(settings.model_copy(update={"node_gpus": "", "node_slots": 1}), lambda *_: None)
    make: Callable[..., Part] = node._part
    monkeypatch.setattr(
        node, "_part", lambda *given: replace(make(*given), command=["sleep", "600"])
    )
    await node.run_once()
    (running,) = node._running.values()
    running.ready = True  # and idle
    bad = store.run(registry.push("bad", "a", 1))
    store.run(registry.fail_load(bad.id, "no weights", settings))
    store.run(registry.scale(bad.id, 1, 3, True, set()))
    assert store.run(registry.needy()) == [bad.id]
    await node.run_once()
    assert running.leaving is None
    store.run(registry.forgive(bad.id))  # one that is new, or was mended, gets its turn
    await node.run_once()
    assert running.leaving is not None
    assert running.seat.deployment_id == good.id
    await node.stop()


@pytest.mark.parametrize(
    ("state", "host", "seconds", "stays"),
    [
        ("loading", 7, 50, True),
        ("loading", 7, 70, False),  # the loads have outlasted their turns
        ("loading", None, 70, True),  # they wait for their turns
        ("building", None, 0, False),
    ],
)
async def test_none_that_serves_makes_room_for_one_that_would_wait_for_its_turn_to_load(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    host: int | None,
    seconds: int,
    stays: bool,
) -> None:
    store = JobStore(settings)
    update = {"node_gpus": "", "node_slots": 3, "node_loads": 2, "load_turn_seconds": 60}
    now = [100.0]
    node = Node(settings.model_copy(update=update), lambda *_: None, lambda: now[0])
    make: Callable[..., Part] = node._part
    monkeypatch.setattr(
        node, "_part", lambda *given: replace(make(*given), command=["sleep", "600"])
    )
    store.run(registry.push("good", "a", 1))
    await node.run_once()
    (good,) = node._running.values()
    good.ready = True  # and idle
    started = [store.run(registry.push(name, name, 1)) for name in ("first", "second")]
    await node.run_once()
    for running in list(node._running.values())[1:]:
        of, id_ = running.seat.deployment_id, running.seat.replica_id
        store.run(registry.report(Replica(id_, of, "", state, None, "/x", 1, 0, 1, host), 15_000))
    await node.run_once()
    now[0] += seconds
    waiting = store.run(registry.push("third", "third", 1))
    store.run(registry.scale(waiting.id, 1, 3, True, set()))
    await node.run_once()
    assert (good.leaving is None) is stays
    if stays:  # one that fails makes room all the same
        (bad,) = [r for r in node._running.values() if r.seat.deployment_id == started[0].id]
        store.run(registry.remove(bad.seat.replica_id, ""))
        store.run(registry.fail_load(started[0].id, "no weights", settings))
        await node.run_once()
        assert good.leaving is None and bad.leaving is not None
    await node.stop()


async def test_a_loop_ends_although_a_cancellation_was_lost() -> None:
    loop, went_on, begun = asyncio.get_running_loop(), list[bool](), asyncio.Event()
    sent, never, turned = loop.create_future(), loop.create_future(), loop.create_future()

    async def sending() -> None:
        begun.set()
        await sent

    async def work() -> None:
        await asyncio.wait_for(sending(), 60)  # as the store's client sends a command
        went_on.append(True)
        await never

    running = [asyncio.create_task(keep("sender", work))]
    async with asyncio.timeout(20):
        await begun.wait()
        sent.set_result(None)
        loop.call_soon(turned.set_result, None)
        await turned  # now it is sent, and `work` does not know yet
        await end(running)
    assert went_on == [True], "no cancellation was lost"
    assert running[0].cancelled()
