"""The verbs are functions of libraries that the store holds; whoever finds one missing loads it."""

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest
import redis

from tasks.errors import StoreUnavailable
from tasks.job import RequestId, Submission
from tasks.settings import Settings
from tasks.store import keys, verbs
from tasks.store.job_store import AsyncJobStore, JobStore
from tasks.store.scripting import JOBS, PREFIX
from tasks.store.verbs import CancelResult

DEPLOYMENT = "model-d1"


def submission(request_id: str) -> Submission:
    return Submission(RequestId(request_id), DEPLOYMENT, "model", b"1")


def libraries(store: JobStore) -> list[str]:
    said = cast(list[list[bytes]], store.redis.function_list(f"{PREFIX}*"))
    return sorted(row[row.index(b"library_name") + 1].decode() for row in said)


def name_for(settings: Settings) -> str:
    return JOBS.build(settings).name


@pytest.fixture
def plain(settings: Settings) -> Iterator[JobStore]:
    """A store as processes have it, on a server without libraries."""
    store = JobStore(settings)
    store.redis.flushall()
    store.redis.function_flush("SYNC")
    yield store
    store.redis.config_set("maxmemory", 0)
    store.redis.function_flush("SYNC")
    store.close()


def test_the_first_verb_loads_the_library_and_later_ones_find_it(
    settings: Settings, plain: JobStore
) -> None:
    plain.run(verbs.queue_status(DEPLOYMENT))
    assert libraries(plain) == [name_for(settings)]
    plain.redis.config_resetstat()
    plain.run(verbs.queue_status(DEPLOYMENT))
    ran = plain.redis.info("commandstats")
    assert "cmdstat_function|load" not in ran
    assert "cmdstat_eval" not in ran


async def test_a_server_that_lost_its_libraries_gets_them_from_all_who_call_at_once(
    settings: Settings, plain: JobStore
) -> None:
    store = AsyncJobStore(settings)
    for _ in range(2):
        plain.redis.function_flush("SYNC")
        found = await asyncio.gather(
            *(store.run(verbs.queue_status(DEPLOYMENT)) for _ in range(20))
        )
        assert {status.queued for status in found} == {0}
    assert libraries(plain) == [name_for(settings)]
    await store.close()


def test_two_versions_work_side_by_side(settings: Settings, plain: JobStore) -> None:
    """As in a rolling upgrade: neither replaces what the other has."""
    other = settings.model_copy(update={"lease_seconds": settings.lease_seconds * 2})
    newer = JobStore(other)
    for store, fence in ((plain, "a" * 16), (newer, "b" * 16)):
        store.run(verbs.submit([submission(fence * 2)], "key", 10))
        assert store.run(verbs.claim(DEPLOYMENT, "c:0", fence, "r"))
    assert libraries(plain) == sorted({name_for(settings), name_for(other)})
    leases = dict(
        cast(
            list[tuple[bytes, float]],
            plain.redis.zrange(keys.plain("leases"), 0, -1, withscores=True),
        )
    )
    assert leases[b"b" * 32] - leases[b"a" * 32] >= settings.lease_seconds * 1000
    newer.close()


async def test_maintenance_drops_libraries_and_who_needs_one_goes_on(
    settings: Settings, plain: JobStore
) -> None:
    plain.redis.function_load(
        "#!lua name=kingpost_store_earlier\nredis.register_function('kingpost_store_earlier_x', function() return 1 end)"
    )
    plain.redis.function_load(
        "#!lua name=of_others\nredis.register_function('theirs', function() return 1 end)"
    )
    plain.run(verbs.queue_status(DEPLOYMENT))
    store = AsyncJobStore(settings)
    await store.drop_libraries()
    assert libraries(plain) == []
    assert plain.redis.fcall("theirs", 0) == 1
    assert plain.run(verbs.queue_status(DEPLOYMENT)).queued == 0
    await store.close()


def test_a_full_store_that_takes_no_library_still_runs_what_frees_memory(
    settings: Settings, plain: JobStore
) -> None:
    plain.run(verbs.submit([submission("1" * 32)], "key", 10))
    plain.redis.function_flush("SYNC")  # an upgrade, say
    plain.redis.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailable, match="maxmemory"):
        plain.run(verbs.submit([submission("2" * 32)], "key", 10))
    assert plain.run(verbs.cancel("1" * 32, "key")) == (CancelResult.CANCELED, None)
    assert libraries(plain) == []
    plain.redis.config_set("maxmemory", 0)
    plain.run(verbs.queue_status(DEPLOYMENT))
    assert libraries(plain) == [name_for(settings)]


def test_other_errors_of_a_verb_are_raised_as_they_are(plain: JobStore) -> None:
    plain.redis.set(keys.keyed("queue", DEPLOYMENT), "not a sorted set")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        plain.run(verbs.queue_status(DEPLOYMENT))
