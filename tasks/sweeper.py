"""The sweeper: rescues, expires, wakes and forgets jobs in bounded batches. Any number of sweepers may run."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tasks.errors import NotFound, StoreUnavailable
from tasks.machine import since_boot_ms, tell_time
from tasks.process.logs import get_logger
from tasks.process.loops import Guards
from tasks.settings import Settings
from tasks.store import verbs
from tasks.store.job_store import AsyncJobStore

log = get_logger("sweeper")
T = TypeVar("T")

# s after the store was away, in which no lease is taken from a worker, so that it can renew it
GRACE_AFTER_OUTAGE = 3.0
LOST = "the worker that ran it no longer reports"
INDEXED_AT_ONCE = 500  # jobs that one script puts into the index of all: under a millisecond
REWAKE_PAGES = (
    10  # of a hundred deployments in one round: ten thousand with a backlog are looked at in 5 s
)
BATCHES = 20  # of each kind in one round, so that no kind waits for long


@dataclass(frozen=True)
class Swept:
    """The result of one round."""

    rescued: int = 0
    stopped: int = 0
    expired: int = 0
    wakeups: int = 0
    retried: int = 0
    forgotten: int = 0
    files: int = 0
    indexed: int = 0


class Sweeper:
    """Handles what no worker handles any more. Each script in tasks/store/scripts describes its part."""

    def __init__(
        self,
        store: AsyncJobStore,
        settings: Settings,
        monotonic: Callable[[], float],
        since_boot_ms: Callable[[], int] = since_boot_ms,
    ) -> None:
        self._store = store
        self._batch = settings.sweep_batch
        self._monotonic = monotonic
        self._since_boot_ms = since_boot_ms
        self._cursor = 0
        self._steps = Guards("sweeper's step", monotonic=monotonic)
        self._no_rescue_before = 0.0
        self._unindexed: list[str] | None = None  # API keys that `_reindex` has yet to visit
        self._index_cursor = 0

    async def run_once(self) -> Swept:
        """Some batches of each kind of work. Raises StoreUnavailable."""
        try:
            swept = await self._sweep()
        except StoreUnavailable:
            self._no_rescue_before = self._monotonic() + GRACE_AFTER_OUTAGE
            raise
        if swept != Swept():
            log.info("sweep.done", **{k: v for k, v in vars(swept).items() if v})
        return swept

    async def _sweep(self) -> Swept:
        rescued = stopped = 0
        await self._step("tick", self._tick, None)
        if self._monotonic() >= self._no_rescue_before:
            rescued, stopped = await self._step("rescue", self._rescue, (0, 0))
        expired = await self._step("expire", self._expire, 0)
        due = await self._step("end backoffs", self._end_backoffs, 0)
        wakeups, retried = await self._step("rewake", self._rewake, (0, 0))
        retried += due
        forgotten = await self._step("forget", self._forget, 0)
        files = await self._step("forget files", self._forget_files, 0)
        indexed = await self._step("reindex", self._reindex, 0)
        await self._step("beat", self._beat, None)
        return Swept(rescued, stopped, expired, wakeups, retried, forgotten, files, indexed)

    async def _step(self, name: str, work: Callable[[], Awaitable[T]], nothing: T) -> T:
        """Runs one kind of work. A failure, such as a damaged record, does not stop the other kinds."""
        guard = self._steps[name]
        if guard.due:
            with guard.part():
                return await work()
        return nothing

    async def _tick(self) -> None:
        await tell_time(self._store, self._since_boot_ms)

    async def _beat(self) -> None:
        await self._store.run(verbs.beat())

    async def _rescue(self) -> tuple[int, int]:
        queued = stopped = 0

        async def batch() -> int:
            nonlocal queued, stopped
            rescued = await self._store.run(verbs.rescue(self._batch))
            named = (self._named(id_) for id_ in (*rescued.queued, *rescued.stopped))
            for number, names in enumerate(await asyncio.gather(*named)):
                if number < len(rescued.queued):
                    log.warning("job.requeued", why=LOST, **names)
                else:
                    log.info("job.stopped", why=LOST, **names)
            queued, stopped = queued + len(rescued.queued), stopped + len(rescued.stopped)
            return len(rescued.queued) + len(rescued.stopped)

        await _until_short(self._batch, batch)
        return queued, stopped

    async def _named(self, request_id: str) -> dict[str, str]:
        """The job for a log line, with the replica that had it."""
        named = {"request_id": request_id}
        with contextlib.suppress(NotFound):
            job = (await self._store.run(verbs.read(request_id))).job
            named |= {"deployment": job.deployment_id, "replica": job.replica}
        return named

    async def _expire(self) -> int:
        return await _until_short(self._batch, lambda: self._store.run(verbs.expire(self._batch)))

    async def _end_backoffs(self) -> int:
        call = verbs.end_backoffs(self._batch)
        return await _until_short(self._batch, lambda: self._store.run(call))

    async def _rewake(self) -> tuple[int, int]:
        """Goes on over the deployments with a backlog, and stops at the end of them, or after some pages."""
        wakeups = retried = 0
        for _ in range(REWAKE_PAGES):
            call = verbs.rewake(self._cursor, self._batch)
            self._cursor, sent, moved = await self._store.run(call)
            wakeups, retried = wakeups + sent, retried + moved
            if not self._cursor:
                break
        return wakeups, retried

    async def _forget(self) -> int:
        return await _until_short(self._batch, lambda: self._store.run(verbs.forget(self._batch)))

    async def _forget_files(self) -> int:
        call = verbs.forget_files(self._batch)
        return await _until_short(self._batch, lambda: self._store.run(call))

    async def _reindex(self) -> int:
        """Goes over the jobs of every key once after the start. Jobs of an earlier version are not in the index of all jobs."""
        if self._unindexed is None:
            self._unindexed = await self._store.run(verbs.owners())
        indexed = 0
        for _ in range(BATCHES):
            if not self._unindexed:
                break
            call = verbs.reindex(self._unindexed[-1], self._index_cursor, INDEXED_AT_ONCE)
            self._index_cursor, added = await self._store.run(call)
            indexed += added
            if not self._index_cursor:
                self._unindexed.pop()
        return indexed


async def _until_short(batch: int, step: Callable[[], Awaitable[int]]) -> int:
    """Repeats a bounded step while it finds a full batch, at most BATCHES times. Returns the sum."""
    total = 0
    for _ in range(BATCHES):
        done = await step()
        total += done
        if done < batch:
            break
    return total
