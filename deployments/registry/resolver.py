"""Finds the deployment that a request is for, from a cached view of the registry."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from deployments.registry import verbs as registry
from deployments.registry.pages import PAGE, Deployments, pages
from deployments.registry.records import Deployment, Model
from tasks.errors import NotFound
from tasks.process.remembered import Remembered
from tasks.store.job_store import AsyncJobStore

CACHE_SECONDS = 1.0  # how late the API may notice a change
MOST_KNOWN = 1000


@dataclass(frozen=True)
class Named:
    """What `model` in the body of a call on /v1 means: the reference of a model, and the name to pass on to its server; '' = unchanged."""

    reference: str
    heard: str = ""


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
        self._deployments = Deployments(store, monotonic)
        self._served = Remembered(self._all_served, CACHE_SECONDS, 1, monotonic)
        self._records = Remembered(self._record, CACHE_SECONDS, MOST_KNOWN, monotonic)

    async def resolve(self, reference: str | None, target: Target) -> Deployment:
        """The deployment that a request is for. `reference` is the id or name of a model; None means the only model.

        Raises NotFound with a sentence for the caller.
        """
        return await self._known.get((reference, target))

    async def knows(self, reference: str) -> bool:
        """Whether there is a model or a chainlet of that id or name."""
        return await self._references.get(reference)

    async def named(self, name: str) -> Named:
        """The model that `model` of a call on /v1 means: a name or id, a served name of one model, or either with `:adapter`.

        An unknown name is taken as a model's name. Raises NotFound if several models serve it.
        """
        base, _, adapter = name.rpartition(":")
        for reference, heard in ((name, ""), (base, adapter)):
            if reference and await self.knows(reference):
                return Named(reference, heard or await self._own_name(reference))
            models = (await self.served_names()).get(reference, ())
            if len(models) > 1:
                raise NotFound(_ambiguous(reference))
            if models:
                return Named(models[0], heard)
        return Named(name)

    async def served_names(self) -> Mapping[str, tuple[str, ...]]:
        """Maps each further name that production deployments serve to the names of their models."""
        return await self._served.get("")

    async def _own_name(self, reference: str) -> str:
        """What the server hears when it is called by the name of its model."""
        with contextlib.suppress(NotFound):
            names = (await self.resolve(reference, Target())).served_names
            return "" if not names or reference in names else names[0]
        return ""

    async def _all_served(self, _: str) -> Mapping[str, tuple[str, ...]]:
        known = {id_: d for id_, d in (await self._deployments.read()).items() if d.served_names}
        found: dict[str, tuple[str, ...]] = {}
        for model in await self._models_of(known.values()):
            current = model.environments.get("production")
            deployment = known.get(current.deployment_id) if current else None
            for name in deployment.served_names if deployment else ():
                found[name] = (*found.get(name, ()), model.name)
        return found

    async def _models_of(self, deployments: Iterable[Deployment]) -> list[Model]:
        """The models of these deployments, by name."""
        found: list[Model] = []
        for page in pages(sorted({deployment.model_id for deployment in deployments}), PAGE):
            found += await self._store.run(registry.models(page))
        return sorted(found, key=lambda model: (model.name, model.id))

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


def heard_by(deployment: Deployment, name: str) -> str:
    """What the server of a deployment hears when it is called by that name: '' = the same, also for a name that it does not know."""
    own = (deployment.model_name, deployment.model_id)
    base, _, adapter = name.rpartition(":")
    if name in deployment.served_names or not deployment.served_names:
        return ""
    if name in own:
        return deployment.served_names[0]
    return adapter if base in (*own, *deployment.served_names) else ""


def _ambiguous(name: str) -> str:
    return f"Several models serve the name {name!r}: call one of them by its own name."
