"""The verbs of the registry and the directory, run by the one store: sync and async, full, and without its scripts."""

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from deployments.host_address import HostAddress
from deployments.registry import directory
from deployments.registry import verbs as registry
from deployments.registry.directory import Directory
from deployments.registry.keys import CHANGES, keyed, plain
from deployments.registry.pages import Replicas
from deployments.registry.records import Replica, Seat
from deployments.registry.verbs import EnvironmentRefused
from tasks.errors import NotFound, StoreUnavailable
from tasks.store.job_store import AsyncJobStore, JobStore
from tasks.store.verbs import ScriptCall
from tests.conftest import Clock

HEARTBEATS_MS = 15_000
READING: list[Callable[[str], ScriptCall[Any]]] = [
    lambda _: registry.deployments(),
    registry.deployment,
    lambda _: registry.models(),
    lambda _: registry.model("m"),
    lambda _: registry.model_ids(),
    lambda _: registry.environments("unknown"),
    lambda _: registry.resolve("m", "production"),
    lambda _: registry.knows("m"),
    lambda id_: registry.loads([id_]),
    lambda _: registry.needy(),
    lambda _: registry.switches(),
    lambda _: registry.replicas(),
    lambda _: registry.tokens(["ref"]),
]


def replica(name: str, busy: int = 0, token_ref: str | None = None) -> Replica:
    about = ("dep", "m", "ready", None, "/nowhere.sock", 4, busy, 1, 2)
    return Replica(name, *about, token_ref=token_ref)  # type: ignore[arg-type]


async def test_both_stores_run_a_verb_and_load_its_script_where_it_is_missing(
    store: JobStore, async_store: AsyncJobStore
) -> None:
    store.redis.script_flush()
    pushed = store.run(registry.push("m", "hash", 2, warnings=("no GPU",)))
    store.redis.script_flush()
    assert await async_store.run(registry.deployment(pushed.id)) == pushed
    assert (pushed.slots, pushed.warnings, pushed.wanted) == (2, ("no GPU",), 1)
    assert await async_store.run(registry.resolve(None, "production")) == pushed


@pytest.fixture
def read_only(store: JobStore) -> Iterator[redis.Redis]:
    """The store refuses to write, as one does whose replica or disk is away."""
    pushed = store.run(registry.push("m", "hash", 1))
    store.run(registry.report(replica("r1", token_ref="ref"), HEARTBEATS_MS, "secret"))
    store.run(registry.demand(pushed.id))
    store.redis.config_set("min-replicas-to-write", 1)
    yield store.redis
    store.redis.config_set("min-replicas-to-write", 0)


def test_a_store_that_cannot_write_still_says_what_is_deployed_and_where_it_runs(
    store: JobStore, read_only: redis.Redis
) -> None:
    with pytest.raises(StoreUnavailable, match="NOREPLICAS"):
        store.run(registry.push("m", "hash2", 1))
    (known,) = store.run(registry.deployments())
    for verb in READING:
        store.run(verb(known.id))
    assert [r.id for r in store.run(registry.replicas())] == ["r1"]
    assert store.run(registry.tokens(["ref", "ended"])) == {"ref": "secret"}
    (load,) = store.run(registry.loads([known.id]))
    assert (load.queued, load.running, load.demanded) == (0, 0, True)


def test_a_report_is_told_to_others_when_it_says_something_new(store: JobStore) -> None:
    words = [
        store.run(registry.report(replica("r1", busy), HEARTBEATS_MS)) for busy in (0, 0, 1, 0)
    ]
    assert words == ["changed", "unchanged", "changed", "changed"]
    assert 0 < store.redis.pttl(keyed("replica", "r1")) <= HEARTBEATS_MS  # type: ignore[operator]


async def test_the_live_view_hears_of_a_replica_and_of_its_end(
    store: JobStore, async_store: AsyncJobStore
) -> None:
    view = Directory(async_store)
    with store.redis.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe(CHANGES)
        heard.get_message(timeout=1)
        store.run(registry.report(replica("r1"), HEARTBEATS_MS))
        await view.run_once()
        assert [known.id for known in view.of("dep")] == ["r1"]
        store.run(registry.remove("r1"))
        await view.run_once()
        assert view.everyone() == ()
        assert [heard.get_message(timeout=1)["data"] for _ in range(2)] == [b"r1", b"r1"]


async def test_the_live_view_reads_what_it_hears_of_between_two_readings_of_all(
    store: JobStore, async_store: AsyncJobStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(directory, "POLL_SECONDS", 600.0)
    view = Directory(async_store)

    async def come_to_be(*names: str) -> None:
        async with asyncio.timeout(20):
            while {known.id for known in view.everyone()} != set(names):
                await view.wait_change(0.5)
        assert view.host_addresses() == {HostAddress(str(tmp_path / name)) for name in names}

    def report(name: str) -> None:
        (tmp_path / name).touch()
        here = dataclasses.replace(replica(name), address=str(tmp_path / name))
        store.run(registry.report(here, HEARTBEATS_MS))

    report("r1")
    running = asyncio.create_task(view.follow())
    try:
        await come_to_be("r1")
        report("r2")
        await come_to_be("r1", "r2")
        store.run(registry.remove("r1"))
        await come_to_be("r2")
    finally:
        running.cancel()
        await asyncio.wait([running])


def test_replicas_that_ended_without_a_word_are_dropped_when_another_one_reports(
    store: JobStore, clock: Clock
) -> None:
    for name, holds in (("r1", HEARTBEATS_MS), ("r2", 10 * HEARTBEATS_MS)):
        store.run(registry.report(replica(name), holds))
    store.redis.delete(keyed("replica", "r1"))  # as its end does
    clock.jump(HEARTBEATS_MS / 1000 + 1)
    assert [known.id for known in store.run(registry.replicas())] == ["r2"]
    store.run(registry.report(replica("r2"), HEARTBEATS_MS))
    assert store.redis.smembers(plain("replicas")) == {b"r2"}
    assert store.redis.zrange(plain("edited_replicas"), 0, -1) == [b"r2"]


def test_those_of_an_earlier_version_are_dropped_when_a_new_one_comes(store: JobStore) -> None:
    store.redis.sadd(plain("replicas"), "r1")  # it never said when its entry ends
    store.run(registry.report(replica("r2"), HEARTBEATS_MS))
    assert store.redis.smembers(plain("replicas")) == {b"r2"}


async def test_who_follows_the_replicas_reads_what_has_changed(
    store: JobStore, async_store: AsyncJobStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = Replicas(async_store)
    for name in ("r1", "r2", "r3"):
        store.run(registry.report(replica(name), HEARTBEATS_MS))
    assert set(await view.read()) == {"r1", "r2", "r3"}
    unchanged, asked, run = view.known["r1"], list[str](), async_store.run

    async def noted(call: ScriptCall[Any]) -> Any:
        asked.append(call.script)
        return await run(call)

    monkeypatch.setattr(async_store, "run", noted)
    store.run(registry.report(replica("r2", 1), HEARTBEATS_MS))
    assert (await view.read())["r2"].busy == 1
    assert view.known["r1"] is unchanged
    assert asked == ["edited_replicas"]
    store.run(registry.remove("r2"))
    assert set(await view.read()) == {"r1", "r3"}
    clock.jump(HEARTBEATS_MS / 1000 + 1)
    store.redis.delete(keyed("replica", "r3"))  # it ends without a word
    assert set(await view.read()) == {"r1"}
    store.redis.flushall()
    store.run(registry.report(replica("r4"), HEARTBEATS_MS))
    assert set(await view.read()) == {"r4"}


async def test_a_replica_of_an_earlier_version_is_followed_too(
    store: JobStore, async_store: AsyncJobStore
) -> None:
    view = Replicas(async_store)
    assert await view.read() == {}
    store.run(registry.report(replica("r1"), HEARTBEATS_MS))
    store.redis.delete(*map(plain, ("replica_ends", "edited_replicas", "replica_edits")))
    assert set(await view.read()) == {"r1"}


def test_one_autoscaler_leads_until_its_time_is_over(store: JobStore) -> None:
    asked = [store.run(registry.lead(who, 60_000)) for who in ("a", "b", "a")]
    assert asked == [True, False, True]
    store.redis.delete(plain("autoscaler"))
    assert store.run(registry.lead("b", 60_000))


@pytest.mark.parametrize(
    ("reference", "environment", "deployment_id", "sentence"),
    [
        (None, "production", None, "Say which model: /models/NAME/... (deployed: a, b, c)."),
        ("nobody", "production", None, "There is no model 'nobody': `kingpost models` and GET"),
        ("a", "staging", None, "This model has no environment 'staging'."),
        ("a", "empty", None, "This model has nothing deployed to 'empty'."),
        ("a", "", "nothing0", "There is no deployment nothing0."),
        ("Entry", "production", None, "Several chains have an entrypoint 'Entry': say the chain's"),
    ],
)
def test_what_a_request_cannot_mean_is_one_sentence(
    store: JobStore,
    reference: str | None,
    environment: str,
    deployment_id: str | None,
    sentence: str,
) -> None:
    first = store.run(registry.push("a", "h", 1))
    store.run(registry.create_environment(first.model_id, "empty"))
    for name in ("b", "c"):
        chain = store.run(registry.register(name, f"/{name}", "h", 1, "chain"))
        store.run(registry.alias("Entry", chain.model_id))
    with pytest.raises(NotFound) as raised:
        store.run(registry.resolve(reference, environment, deployment_id))
    assert str(raised.value).startswith(sentence)
    other = store.run(registry.deployments())[-1]
    with pytest.raises(NotFound, match=f"This model has no deployment {other.id}"):
        store.run(registry.resolve("a", "", other.id))


def test_a_model_is_known_by_id_by_name_and_by_an_entrypoint_of_its_own(store: JobStore) -> None:
    chain = store.run(registry.register("c", "/c", "h", 1, "chain"))
    store.run(registry.alias("Entry", chain.model_id))
    for reference in (chain.model_id, "c", "Entry"):
        assert store.run(registry.knows(reference))
        assert store.run(registry.resolve(reference, "production")).id == chain.id
        assert store.run(registry.model(reference)).id == chain.model_id
    assert not store.run(registry.knows("d"))
    with pytest.raises(NotFound, match="There is no model 'd'"):
        store.run(registry.model("d"))


def test_a_seat_that_makes_room_is_counted_and_a_name_that_is_none_is_refused(
    store: JobStore,
) -> None:
    pushed = store.run(registry.push("m", "hash", 1))
    seat = Seat(pushed.id, "r1")
    assert store.run(registry.take_seat(seat, 60_000))
    assert store.run(registry.leave_seat(seat, makes_room=True)) == "left"
    assert store.run(registry.leave_seat(seat, makes_room=True)) == "missing"
    assert store.run(registry.switches()) == 1
    with pytest.raises(EnvironmentRefused, match="1 to 40 lowercase letters"):
        registry.create_environment(pushed.model_id, "Not-A-Name-")
    with pytest.raises(EnvironmentRefused, match="follows a folder"):
        registry.promote(pushed, "development")
