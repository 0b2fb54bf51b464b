"""Who follows all deployments reads what has changed, and has what a reading of everything has."""

import re
from typing import TypeVar

import pytest

from deployments.registry import keys as registry_keys
from deployments.registry import verbs as registry
from deployments.registry.pages import (
    ALL_MODELS_SECONDS,
    ANEW_SECONDS,
    PAGE,
    Deployments,
    Warming,
    all_deployments,
    edited,
)
from deployments.registry.removal import Removal
from deployments.registry.verbs import SCRIPTS
from tasks.settings import Settings
from tasks.store import scripting
from tasks.store.job_store import AsyncJobStore, JobStore
from tasks.store.verbs import ScriptCall

T = TypeVar("T")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_each_change_of_a_record_comes_as_a_reading_of_everything_has_it(
    store: JobStore, async_store: AsyncJobStore, settings: Settings, clock: Clock
) -> None:
    following = Deployments(async_store, clock)
    first = store.run(registry.push("m", "a", 1))
    assert list(await following.read()) == [first.id]
    second = store.run(registry.push("m", "b", 1))
    for change in (
        registry.register("folder", "/nowhere", "hash", 1),
        registry.promote(second),
        registry.switch(second.model_id, "production", second.id),
        registry.activate(first.id, False),
        registry.configure(first.id, first.autoscaling.changed({"max_replica": 3})),
        registry.scale(second.id, 2, 7.0, True, set()),
        registry.scale(second.id, 2, 9.0, True, {"ready"}),
        registry.fail_load(second.id, "no weights", settings),
        registry.forgive(second.id),
        registry.retry(second.id),
        registry.push("m", "a", 1),
        *(registry.promote(first), registry.switch(first.model_id, "production", first.id)),
    ):
        store.run(change)
        assert list((await following.read()).values()) == await all_deployments(async_store)
    await Removal(async_store).deployment("m", second.id, True)
    assert second.id not in await following.read()


async def test_nothing_is_read_again_that_has_not_changed(
    store: JobStore, async_store: AsyncJobStore, clock: Clock
) -> None:
    ids = [store.run(registry.push("m", f"h{number}", 1)).id for number in range(PAGE + 5)]
    following = Deployments(async_store, clock)
    assert len(await following.read()) == PAGE + 5
    edits = store.run(edited(0, PAGE))
    assert len(edits.deployments) == PAGE
    assert len(store.run(edited(edits.last, PAGE)).deployments) == 5
    store.run(registry.activate(ids[3], False))
    before = await following.read()
    assert not before[ids[3]].active
    assert await following.read() is before


async def test_a_reading_ends_while_records_change_faster_than_it_reads(
    store: JobStore, async_store: AsyncJobStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = store.run(registry.push("m", "a", 1))
    following = Deployments(async_store, clock)
    await following.read()
    run, calls = async_store.run, 0

    async def hasty(call: ScriptCall[T]) -> T:
        nonlocal calls
        calls += 1
        assert calls < 5
        store.run(registry.activate(pushed.id, bool(calls % 2)))
        return await run(call)

    store.run(registry.activate(pushed.id, False))
    with monkeypatch.context() as patched:
        patched.setattr(async_store, "run", hasty)
        assert (await following.read())[pushed.id].active
    assert list((await following.read()).values()) == await all_deployments(async_store)


async def test_a_store_that_lost_its_data_is_read_anew(
    store: JobStore, async_store: AsyncJobStore, clock: Clock
) -> None:
    for number in range(3):
        store.run(registry.push("m", f"h{number}", 1))
    following = Deployments(async_store, clock)
    assert len(await following.read()) == 3
    store.redis.flushall()
    new = store.run(registry.push("other", "a", 1))
    assert list(await following.read()) == [new.id]


async def test_what_was_missed_is_seen_after_a_while(
    store: JobStore, async_store: AsyncJobStore, clock: Clock
) -> None:
    """As a change by an earlier version, which counts none. Each look reads a page."""
    ids = [store.run(registry.push("m", f"h{number}", 1)).id for number in range(PAGE + 5)]
    following = Deployments(async_store, clock)
    last = list(await following.read())[-1]
    assert last in ids
    store.redis.hset(registry_keys.keyed("deployment", last), "wanted", 5)
    for look, wanted in enumerate((1, 1, 5)):
        clock.now = ANEW_SECONDS * look
        assert (await following.read())[last].wanted == wanted


async def test_candidates_are_known_whoever_has_promoted_them(
    store: JobStore, async_store: AsyncJobStore, clock: Clock
) -> None:
    warming = Warming(async_store, clock)
    first, second = (store.run(registry.push("m", name, 1)) for name in "ab")
    assert list(await warming.read()) == []
    store.run(registry.promote(second))
    (model,) = await warming.read()
    assert model.environments["production"].candidate == second.id
    store.redis.delete(registry_keys.plain("warming"))  # as if an earlier version had promoted it
    assert list(await warming.read()) == []
    clock.now = ALL_MODELS_SECONDS
    assert await warming.read() == [model]
    store.run(registry.switch(first.model_id, "production", second.id))
    assert list(await warming.read()) == []
    assert not store.redis.exists(registry_keys.plain("warming"))


WRITES = re.compile(r"'(?:HSET|HDEL|HINCRBY)', (?:R\.deployment\(|deployment\b)")


def test_every_script_that_writes_a_record_counts_the_change() -> None:
    texts = scripting.sources(SCRIPTS.folder)
    writing = {name for name, text in texts.items() if WRITES.search(text)}
    assert len(writing) >= 8
    assert {name for name in writing if "edit(" not in texts[name]} == set()
