"""Tells open pages that something has changed, so that they ask for their content again. All pages of a process share one look."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator

from api.events import EventHub
from deployments.registry.directory import Directory
from tasks.errors import StoreUnavailable
from tasks.process.loops import Guard
from tasks.steering import verbs as steering
from tasks.store.job_store import AsyncJobStore

EVERY_SECONDS = 1.0
SPREAD_SECONDS = (
    0.5  # in which all pages hear of a change: in one turn they would hold up everybody else
)
GOLDEN = 0.618  # steps of it are spread evenly, however many there are
BEAT_SECONDS = 15.0  # between signs of life on a silent stream


class Pulse:
    """Looks once a second while somebody looks at a page. The number grows with every change."""

    def __init__(self, store: AsyncJobStore, directory: Directory, hub: EventHub) -> None:
        self._store, self._directory, self._hub = store, directory, hub
        self._viewers = 0
        self._came = 0  # all that ever were
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
            await asyncio.sleep(max(EVERY_SECONDS, self._guard.delay))

    async def _look(self) -> None:
        replicas = tuple(
            (replica.id, replica.state, replica.error, replica.note, replica.slots)
            for replica in self._directory.everyone()
        )
        seen: object = None
        with contextlib.suppress(StoreUnavailable):  # that is a change, too
            # the history of the last hour moves on with each minute
            seen = (await self._store.run(steering.pulse()), replicas, int(time.monotonic() // 60))
        if seen != self._seen or self._hub.closing:  # then the streams end
            async with self._changed:
                self._seen, self._number = seen, self._number + 1
                self._changed.notify_all()

    async def changes(self) -> AsyncGenerator[int | None]:
        """The number after each change, and None now and then meanwhile."""
        self._viewers += 1
        self._came += 1
        late = self._came * GOLDEN % 1 * SPREAD_SECONDS
        self._wanted.set()
        try:
            known = self._number
            while True:
                changed = await self._wait(known)
                if changed:
                    await asyncio.sleep(late)
                known = self._number if changed else known
                yield known if changed else None
        finally:
            self._viewers -= 1
            if not self._viewers:
                self._wanted.clear()

    async def _wait(self, known: int) -> bool:
        """Whether the number is another one before the next sign of life is due."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEAT_SECONDS), self._changed:
                return await self._changed.wait_for(lambda: self._number != known)
        return False
