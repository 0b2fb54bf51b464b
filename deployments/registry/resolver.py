"""Which deployment a request is for: the API's view of the registry."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from deployments.registry import records
from deployments.registry.keys import FAILURE, keyed, plain
from deployments.registry.records import Deployment
from deployments.registry.registry import DEMAND_MS
from tasks.errors import NotFound
from tasks.process.remembered import Remembered
from tasks.settings import Settings
from tasks.store.job_store import connect_async, unavailable

CACHE_SECONDS = 1.0  # how late the API may notice a change
MOST_KNOWN = 1000


@dataclass(frozen=True)
class Target:
    """Which deployment of a model a path means: an environment, or a deployment by its id."""

    environment: str | None = "production"
    deployment_id: str | None = None


class Resolver:
    """Remembers what it read for `CACHE_SECONDS`. Methods raise StoreUnavailable."""

    def __init__(self, settings: Settings, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._redis = connect_async(settings)
        self._known = Remembered(self._read, CACHE_SECONDS, MOST_KNOWN, monotonic)
        self._references = Remembered(self._exists, CACHE_SECONDS, MOST_KNOWN, monotonic)
        self._records = Remembered(self._record, CACHE_SECONDS, MOST_KNOWN, monotonic)

    async def resolve(self, reference: str | None, target: Target) -> Deployment:
        """The deployment that a request is for; `reference` is a model's id or name, None the only model.

        Raises NotFound with a sentence for people.
        """
        return await self._known.get((reference, target))

    async def knows(self, reference: str) -> bool:
        """Whether there is a model or a chainlet of that id or name."""
        return await self._references.get(reference)

    async def deployment(self, deployment_id: str, fresh: bool = False) -> Deployment:
        """A deployment as it is now, or was a moment ago. Raises NotFound."""
        if fresh:
            return await self._record(deployment_id)
        return await self._records.get(deployment_id)

    async def forgive(self, deployment: Deployment) -> None:
        """Something has changed, or somebody asks by hand: it is loaded again although it gave up."""
        names = [
            keyed("deployment", deployment_id)
            for deployment_id in (deployment.id, deployment.leader)
            if deployment_id
        ]
        with unavailable():
            pipe = self._redis.pipeline(transaction=False)
            for name in names:
                pipe.hdel(name, *FAILURE)
            await pipe.execute()

    async def models(self) -> dict[str, str]:
        """Name -> id of every model."""
        with unavailable():
            return await self._names("models")

    async def all(self) -> list[Deployment]:
        """Every deployment, by id."""
        with unavailable():
            ids = cast("set[bytes]", await self._redis.smembers(plain("deployments")))  # type: ignore[misc]
            pipe = self._redis.pipeline(transaction=False)
            names = sorted(raw_name.decode() for raw_name in ids)
            for name in names:
                pipe.hgetall(keyed("deployment", name))
            rows = await pipe.execute()
        return records.deployments(zip(names, rows, strict=True))

    async def demand(self, deployment_id: str, milliseconds: int = DEMAND_MS) -> None:
        """Keeps a replica wanted for a while."""
        with unavailable():
            await self._redis.set(keyed("demand", deployment_id), 1, px=milliseconds)

    async def _names(self, which: str) -> dict[str, str]:
        raw = cast("dict[bytes, bytes]", await self._redis.hgetall(plain(which)))  # type: ignore[misc]
        return records.texts(raw)

    async def _read(self, asked: tuple[str | None, Target]) -> Deployment:
        with unavailable():
            return await self._resolve(*asked)

    async def _resolve(self, reference: str | None, target: Target) -> Deployment:
        model_id = await self._model_id(reference)
        deployment_id = target.deployment_id
        if deployment_id is None:
            key = keyed("environments", model_id)
            raw = cast("bytes | None", await self._redis.hget(key, target.environment or ""))  # type: ignore[misc]
            if not raw:
                why = "no environment" if raw is None else "nothing deployed to"
                raise NotFound(f"This model has {why} {target.environment!r}.")
            deployment_id = raw.decode()
        deployment = await self._record(deployment_id)
        if deployment.model_id != model_id:
            raise NotFound(f"This model has no deployment {deployment_id}.")
        return deployment

    async def _exists(self, reference: str) -> bool:
        with unavailable():
            try:
                await self._model_id(reference)
            except NotFound:
                return False
        return True

    async def _record(self, deployment_id: str) -> Deployment:
        with unavailable():
            key = keyed("deployment", deployment_id)
            fields = cast("dict[bytes, bytes]", await self._redis.hgetall(key))  # type: ignore[misc]
        return records.deployment(deployment_id, fields)

    async def _model_id(self, reference: str | None) -> str:
        names = await self._names("models")
        if reference is None:
            if len(names) != 1:
                known = ", ".join(sorted(names)) or "none"
                raise NotFound(f"Say which model: /models/NAME/... (deployed: {known}).")
            return next(iter(names.values()))
        for known in (names, await self._names("chainlets")):
            if reference in known.values():
                return reference
            if reference in known:
                return known[reference]
        alias = keyed("alias", reference)
        chains = list(cast("set[bytes]", await self._redis.smembers(alias)))  # type: ignore[misc]
        if len(chains) > 1:
            raise NotFound(
                f"Several chains have an entrypoint {reference!r}: say the chain's name."
            )
        if chains:
            return chains[0].decode()
        raise NotFound(records.no_model(reference))

    async def close(self) -> None:
        """Gives the connections back."""
        await self._redis.aclose()
