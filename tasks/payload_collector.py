"""Deletes payloads that no job needs, in a loop of its own: a slow disk or bucket delays no rescue."""

import asyncio

from tasks.errors import PayloadUnavailable
from tasks.payloads import Payloads
from tasks.process.logs import get_logger
from tasks.settings import Settings
from tasks.store import verbs
from tasks.store.job_store import AsyncJobStore

log = get_logger("payloads")

AT_ONCE = 16  # deletions in progress
ROUNDS = 20  # batches in one round of the loop


class PayloadCollector:
    """Any number of collectors may run: the second to delete a payload finds that it is gone."""

    def __init__(self, store: AsyncJobStore, settings: Settings) -> None:
        self._store = store
        self._payloads = Payloads(settings)
        self._batch = settings.sweep_batch

    async def run_once(self) -> int:
        """Deletes the payloads that are due and returns their number. Those that cannot be deleted now are tried the next time. Raises StoreUnavailable."""
        deleted = 0
        refs = await self._store.run(verbs.collect(self._batch))
        for _ in range(ROUNDS):
            if not refs:
                break
            try:
                await self._delete(refs)
            except PayloadUnavailable as error:
                log.warning("payloads.unavailable", error=str(error))
                break
            deleted += len(refs)
            refs = await self._store.run(verbs.collect(self._batch, refs))
        if deleted:
            log.info("payloads.deleted", count=deleted)
        return deleted

    async def _delete(self, refs: list[str]) -> None:
        parts = (refs[first::AT_ONCE] for first in range(min(AT_ONCE, len(refs))))
        await asyncio.gather(*(self._payloads.delete(part) for part in parts))
