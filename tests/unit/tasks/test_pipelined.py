"""Calls of one event-loop turn share a pipeline and nothing else: replies, errors and cancellation are each caller's own."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis
import redis.asyncio

from cli.stack.ports import free_port
from tasks.errors import NotFound, StoreUnavailable
from tasks.job import QueueStatus
from tasks.settings import Settings
from tasks.store import verbs
from tasks.store.job_store import AsyncJobStore
from tasks.store.pipelined import Pipelined
from tests.valkey import Valkey


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis.from_url(settings.redis_url) as client:
        await client.ping()
        yield client


async def test_calls_of_one_turn_share_one_connection_and_get_their_own_replies(
    client: redis.asyncio.Redis,
) -> None:
    pipelined = Pipelined(client)
    before = (await client.info("clients"))["connected_clients"]  # other tests leave some, which go
    replies = await asyncio.gather(*(pipelined.run("ECHO", str(number)) for number in range(50)))
    assert replies == [str(number).encode() for number in range(50)]
    assert (await client.info("clients"))["connected_clients"] <= before + 1


async def test_a_call_that_fails_leaves_its_neighbours_alone(client: redis.asyncio.Redis) -> None:
    pipelined = Pipelined(client)
    await client.set("text", "a")
    before, wrong, after = await asyncio.gather(
        pipelined.run("ECHO", "before"),
        pipelined.run("INCR", "text"),
        pipelined.run("ECHO", "after"),
        return_exceptions=True,
    )
    assert (before, after) == (b"before", b"after")
    assert isinstance(wrong, redis.ResponseError)


@pytest.mark.parametrize("sent", [False, True], ids=["before it is sent", "after it was sent"])
async def test_a_caller_that_is_cancelled_does_not_take_the_others_along(
    client: redis.asyncio.Redis, sent: bool
) -> None:
    pipelined = Pipelined(client)
    leaver = asyncio.create_task(pipelined.run("BLPOP", "nothing", 0.2))
    stayer = asyncio.create_task(pipelined.run("SET", "stayed", "1"))
    for _ in range(5 if sent else 1):  # turns of the loop
        await asyncio.wait([leaver], timeout=0)
    leaver.cancel()
    assert await stayer in (b"OK", True)
    assert leaver.cancelled()
    assert await client.get("stayed") == b"1"


async def test_a_store_that_has_lost_its_scripts_loads_each_again(
    settings: Settings, valkey: Valkey
) -> None:
    store = AsyncJobStore(settings)
    with redis.Redis(port=valkey.port) as client:
        client.script_flush()
    calls = [verbs.queue_status("dep00001"), verbs.queue_status("dep00002")]
    results = await asyncio.gather(
        *(store.run(call) for call in calls),
        store.run(verbs.read("nobody")),
        return_exceptions=True,
    )
    assert results[:2] == [QueueStatus(0, 0)] * 2
    assert isinstance(results[2], NotFound)
    await store.close()


async def test_a_store_that_is_away_is_unavailable_to_every_caller() -> None:
    store = AsyncJobStore(Settings(redis_url=f"redis://127.0.0.1:{free_port()}/0"))
    results = await asyncio.gather(
        *(store.run(verbs.queue_status("dep00001")) for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    await store.close()


async def test_closing_ends_calls_on_their_way(client: redis.asyncio.Redis) -> None:
    pipelined = Pipelined(client)
    caller = asyncio.create_task(pipelined.run("BLPOP", "nothing", 30))
    await asyncio.wait([caller], timeout=0.1)
    await client.connection_pool.disconnect()
    with pytest.raises((redis.ConnectionError, OSError, asyncio.CancelledError)):
        await asyncio.wait_for(caller, 5)
