"""Events of jobs: one pub/sub connection for all waiting calls, and what has happened to each job."""

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import cast

import redis

from tasks.errors import StoreUnavailable
from tasks.job import Job
from tasks.process.logs import get_logger
from tasks.settings import Settings
from tasks.state import FINAL
from tasks.store import keys, records
from tasks.store.job_store import connect_async, unavailable
from tasks.store.story import StatusChange, changes

log = get_logger("events")

IDLE_CHANNEL = f"{keys.TAG}:nobody"  # a connection that subscribes to nothing cannot be read
PAGE = 200  # events read at once
RETRY_SECONDS = 0.5
GONE = b'{"message":"Its progress and its chunks are no longer kept; the output is in the result."}'
CONFIRM_SECONDS = 2.0  # for a subscription; a lost connection wakes everybody once it is back


@dataclass(frozen=True)
class Event:
    """Something that happened to a job. A reader resumes after its `id`."""

    id: str
    kind: str
    data: bytes


class EventHub:
    """Wakes the calls that wait for a job. All of them share one connection."""

    def __init__(self, settings: Settings) -> None:
        self.closing = False  # the API stops: calls that wait for a job answer with what there is
        self._redis = connect_async(settings)
        self._channel = self._redis.pubsub()
        self._seconds = settings.store_timeout_seconds
        self._watchers: dict[bytes, set[asyncio.Event]] = defaultdict(set)
        self._subscribed: dict[bytes, asyncio.Event] = {}
        self._stopping = asyncio.Event()
        # Two first subscriptions at the same time would open two connections.
        self._subscribing = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def watch(self, request_id: str) -> AsyncGenerator[asyncio.Event]:
        """An event that is set whenever something happens to the job from now on. Raises StoreUnavailable."""
        name = keys.keyed("events", request_id).encode()
        news, watchers = asyncio.Event(), self._watchers[name]
        watchers.add(news)
        try:
            await self._subscribe(name)
            yield news
        finally:
            watchers.discard(news)
            if not watchers:
                self._watchers.pop(name, None)
                self._subscribed.pop(name, None)
                with contextlib.suppress(StoreUnavailable), unavailable():
                    await self._channel.unsubscribe(name)

    async def _subscribe(self, name: bytes) -> None:
        """Subscribes and returns when Redis has confirmed. Read the job only then, or its last event can be missed."""
        confirmed = self._subscribed.get(name)
        if confirmed is None:
            confirmed = self._subscribed[name] = asyncio.Event()
            async with self._subscribing:
                with unavailable():
                    async with asyncio.timeout(self._seconds):
                        await self._channel.subscribe(name)
        await self.wait(confirmed, CONFIRM_SECONDS)

    @staticmethod
    async def wait(news: asyncio.Event, seconds: float) -> bool:
        """Waits for an event. False if none came in time."""
        try:
            async with asyncio.timeout(seconds):
                return await news.wait()
        except TimeoutError:
            return False

    async def pause(self, seconds: float) -> None:
        """Waits for that time, or until the API stops."""
        if not self.closing:
            await self.wait(self._stopping, seconds)

    async def listen(self) -> None:
        """Passes messages on until cancelled. After a lost connection, it wakes all waiting calls once."""
        while True:
            try:
                async with self._subscribing:
                    await self._channel.subscribe(IDLE_CHANNEL)
                self._wake_all()
                while True:
                    message = await self._channel.get_message(timeout=None)
                    if message:
                        self._take(cast(str, message["type"]), cast(bytes, message["channel"]))
            except (redis.RedisError, OSError) as error:
                log.warning("events.disconnected", error=str(error))
                await asyncio.sleep(RETRY_SECONDS)

    def _take(self, kind: str, channel: bytes) -> None:
        if kind == "message":
            self._wake(channel)
        elif kind == "subscribe" and channel in self._subscribed:
            self._subscribed[channel].set()

    def _wake(self, channel: bytes) -> None:
        for news in self._watchers.get(channel, ()):
            news.set()

    def _wake_all(self) -> None:
        for channel in list(self._watchers):
            self._wake(channel)

    async def read(self, request_id: str, after: str) -> list[Event] | None:
        """The next events of the job after that id ('0-0' = from the start); None if it is gone. Raises StoreUnavailable."""
        name = keys.keyed("events", request_id)
        with unavailable():
            # In this order: a change of status that is not seen yet hides the chunks that came after it.
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hgetall(keys.keyed("job", request_id))
                pipe.xrange(name, min=f"({after}", max="+", count=PAGE)
                raw, rows = await pipe.execute()
        if not raw:
            return None
        flat = [part for pair in cast("dict[bytes, bytes]", raw).items() for part in pair]
        chunks = [_event(*row) for row in cast("list[tuple[bytes, dict[bytes, bytes]]]", rows)]
        return _merged(records.job(request_id, flat), chunks, after)

    async def read_before(self, request_id: str, last: str) -> list[Event]:
        """The latest chunks of the same attempt up to that id, oldest first. Raises StoreUnavailable."""
        name = keys.keyed("events", request_id)
        with unavailable():
            raw = await self._redis.xrevrange(
                name, max=last, min=last.partition("-")[0], count=PAGE
            )
        rows = cast("list[tuple[bytes, dict[bytes, bytes]]]", raw)
        return [_event(*row) for row in reversed(rows)]

    def let_go(self) -> None:
        """Wakes all waiting calls for good: the API stops, and their clients find the next one."""
        self.closing = True
        self._stopping.set()
        self._wake_all()

    async def close(self) -> None:
        """Closes the connections."""
        await self._channel.aclose()
        await self._redis.aclose()


def _event(name: bytes, fields: dict[bytes, bytes]) -> Event:
    return Event(name.decode(), fields[b"kind"].decode(), fields[b"data"])


def _merged(job: Job, chunks: list[Event], after: str) -> list[Event]:
    """The changes of status and the chunks after that id, in their order, and `done` after the last one.

    Chunks that come after a change of status which is not known yet are left for the next call.
    """
    known = changes(job)
    position = place(after)
    shown = [chunk for chunk in chunks if place(chunk.id)[0] <= 2 * known[-1].number + 1]
    told = [_status(change) for change in known if (2 * change.number, 0) > position] + shown
    if not shown and job.chunks_end and position < place(job.chunks_end):
        told.append(Event(job.chunks_end, "truncated", GONE))  # they are kept for a while only
    told.sort(key=lambda event: place(event.id))
    if len(shown) == PAGE:  # what comes after the last of them waits for the next page
        return [event for event in told if place(event.id) <= place(shown[-1].id)]
    if job.status in FINAL:
        told.append(Event(f"{2 * known[-1].number}-0", "done", b"{}"))
    return told


def _status(change: StatusChange) -> Event:
    fields = {"status": change.status, "attempt": change.attempt, "at_ms": change.at}
    return Event(f"{2 * change.number}-0", "status", json.dumps(fields).encode())


def place(event_id: str) -> tuple[int, int]:
    """The sort key of an event among those of its job. Change of status n has the id `2n-0`, and the chunks after it `2n+1-0`, `2n+1-1`, ..."""
    first, _, second = event_id.partition("-")
    return int(first), int(second or 0)
