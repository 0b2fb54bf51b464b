"""Deletes stored packages that no deployment has used for a while, and the pieces of uploads that nobody finished."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from deployments.packages.store import package_ref
from deployments.registry import packages as registry
from tasks.files.receiving import PIECES
from tasks.payloads import Payloads
from tasks.process.logs import get_logger
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore

log = get_logger("packages")

EVERY_SECONDS = 600.0
LONGEST_CHECK_SECONDS = (
    3600.0  # that the check of a complete upload takes; it still reads the pieces
)


@dataclass(frozen=True)
class Collected:
    """The result of one round."""

    packages: int
    pieces: int


class PackageCollector:
    """Any number of them may run. Methods raise StoreUnavailable and PayloadUnavailable."""

    def __init__(
        self, store: AsyncJobStore, settings: Settings, now: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._payloads = Payloads(settings)
        self._grace_ms = int(settings.package_grace_seconds * 1000)
        self._pieces_seconds = settings.upload_seconds + LONGEST_CHECK_SECONDS
        self._now = now

    async def run_once(self) -> Collected:
        """One round over all packages and pieces."""
        packages = await self._packages() if self._grace_ms else 0
        collected = Collected(packages, await self._pieces())
        if collected != Collected(0, 0):
            log.info("packages.collected", **vars(collected))
        return collected

    async def _packages(self) -> int:
        deleted = 0
        async for ref, _ in self._payloads.listed("packages"):
            content_hash = PurePosixPath(ref).stem
            if ref != package_ref(content_hash):
                continue  # not ours
            call = registry.drop_package(content_hash, self._grace_ms)
            if await self._store.run(call) == "going":
                await self._payloads.delete([ref])
                await self._store.run(registry.dropped_package(content_hash))
                deleted += 1
        return deleted

    async def _pieces(self) -> int:
        """Deletes pieces that are older than any upload can be."""
        before, deleted = self._now() - self._pieces_seconds, 0
        async for ref, changed in self._payloads.listed(PIECES):
            if changed < before:
                await self._payloads.delete([ref])
                deleted += 1
        return deleted
