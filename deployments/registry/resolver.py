"""Finds the deployment that a request is for, from a cached view of the registry."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from deployments.registry import verbs as registry
from deployments.registry.records import Deployment
from tasks.process.remembered import Remembered
from tasks.store.job_store import AsyncJobStore

CACHE_SECONDS = 1.0  # how late the API may notice a change
MOST_KNOWN = 1000


@dataclass(frozen=True)
class Target:
    """The target in a path: an environment, or a deployment by its id."""

    environment: str | None = "production"
    deployment_id: str | None = None


class Resolver:
    """Reads the registry and caches the answers for `CACHE_SECONDS`. Methods raise StoreUnavailable."""

    def __init__(
        self, store: AsyncJobStore, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._known = Remembered(self._resolve, CACHE_SECONDS, MOST_KNOWN, monotonic)
        self._references = Remembered(self._exists, CACHE_SECONDS, MOST_KNOWN, monotonic)
        self._records = Remembered(self._record, CACHE_SECONDS, MOST_KNOWN, monotonic)

    async def resolve(self, reference: str | None, target: Target) -> Deployment:
        """The deployment that a request is for. `reference` is the id or name of a model; None means the only model.

        Raises NotFound with a sentence for the caller.
        """
        return await self._known.get((reference, target))

    async def knows(self, reference: str) -> bool:
        """Whether there is a model or a chainlet of that id or name."""
        return await self._references.get(reference)

    async def deployment(self, deployment_id: str, fresh: bool = False) -> Deployment:
        """A deployment, either fresh or from the cache. Raises NotFound."""
        if fresh:
            return await self._record(deployment_id)
        return await self._records.get(deployment_id)

    async def _resolve(self, asked: tuple[str | None, Target]) -> Deployment:
        reference, target = asked
        environment = target.environment or ""
        return await self._store.run(registry.resolve(reference, environment, target.deployment_id))

    async def _exists(self, reference: str) -> bool:
        return await self._store.run(registry.knows(reference))

    async def _record(self, deployment_id: str) -> Deployment:
        return await self._store.run(registry.deployment(deployment_id))
