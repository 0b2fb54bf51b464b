"""Tells open pages that something has changed, so that they ask for their content again. All pages of a process share one look."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator

from api.events import EventHub
from deployments.registry import verbs as registry
from deployments.registry.directory import Directory
from tasks.errors import StoreUnavailable
from tasks.process.loops import Guard
from tasks.steering import verbs as steering
from tasks.store.job_store import AsyncJobStore

LOOK_SECONDS = 1.0  # between looks
# All pages hear of a change within this time. If all asked at once, they would hold up other calls.
SPREAD_SECONDS = 0.5
GOLDEN = 0.618  # the golden ratio: the fractions of its multiples are spread evenly, however many there are
BEAT_SECONDS = 15.0  # between signs of life on a silent stream


class Pulse:
    """Looks once a second while somebody looks at a page. The number grows with every change."""

    def __init__(self, store: AsyncJobStore, directory: Directory, hub: EventHub) -> None:
        self._store, self._directory, self._hub = store, directory, hub
        self._viewers = 0
        self._viewers_ever = 0  # spreads them over SPREAD_SECONDS
        self._seen: object = None
        self._number = 0
        self._changed = asyncio.Condition()
        self._wanted = asyncio.Event()
        self._guard = Guard("console's pulse")

    @property
    def number(self) -> int:
        """How many changes there were. It stands still while nobody looks."""
        return self._number

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            await self._wanted.wait()
            with self._guard.round():
                await self._look()
            await asyncio.sleep(max(LOOK_SECONDS, self._guard.delay))

    async def _look(self) -> None:
        replicas = tuple(
            (replica.id, replica.state, replica.error, replica.note, replica.slots)
            for replica in self._directory.everyone()
        )
        seen: object = None
        with contextlib.suppress(StoreUnavailable):  # that is a change, too
            jobs, revision = await asyncio.gather(
                self._store.run(steering.pulse()), self._store.run(registry.revision())
            )
            # the history of the last hour moves on with each minute
            seen = (jobs, revision, replicas, int(time.monotonic() // 60))
        if seen != self._seen or self._hub.closing:  # then the streams end
            async with self._changed:
                self._seen, self._number = seen, self._number + 1
                self._changed.notify_all()

    async def changes(self) -> AsyncGenerator[int | None]:
        """The number after each change. After BEAT_SECONDS without one, None."""
        self._viewers += 1
        self._viewers_ever += 1
        delay = self._viewers_ever * GOLDEN % 1 * SPREAD_SECONDS
        self._wanted.set()
        try:
            known = self._number
            while True:
                changed = await self._wait(known)
                if changed:
                    await asyncio.sleep(delay)
                known = self._number if changed else known
                yield known if changed else None
        finally:
            self._viewers -= 1
            if not self._viewers:
                self._wanted.clear()

    async def _wait(self, known: int) -> bool:
        """Waits for another number than that. False if there is none for BEAT_SECONDS."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEAT_SECONDS), self._changed:
                return await self._changed.wait_for(lambda: self._number != known)
        return False
