"""Watching a job's events: nothing that happens after `watch` has begun is missed."""

import asyncio
import contextlib

import redis.asyncio

from api.events import EventHub
from tasks.settings import Settings
from tasks.store import keys


async def test_news_right_after_the_watch_began_arrive(settings: Settings) -> None:
    hub = EventHub(settings)
    listener = asyncio.create_task(hub.listen())
    try:
        async with redis.asyncio.Redis.from_url(settings.redis_url) as publisher:
            await publisher.ping()
            for number in range(300):
                name = f"job{number}"
                async with hub.watch(name) as news:
                    receivers = await publisher.publish(keys.keyed("events", name), "status")
                    assert receivers == 1
                    assert await hub.wait(news, 5)
    finally:
        listener.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listener
        await hub.close()
