"""Reads all of the registry in pages, so that no script holds the store for long, however many deployments there are.

What changes between two pages may be missing or be there twice in time; a loop that reads again sees it.
"""

from collections.abc import Sequence
from typing import TypeVar

from deployments.registry import verbs as registry
from deployments.registry.records import Deployment, Load, Model
from tasks.store.job_store import AsyncJobStore

PAGE = 200  # records in one script, which takes about a millisecond
LOADS = 500
T = TypeVar("T")


def pages(of: Sequence[T], size: int) -> list[Sequence[T]]:
    """The parts of a list, each of at most that size."""
    return [of[first : first + size] for first in range(0, len(of), size)]


async def all_deployments(store: AsyncJobStore) -> list[Deployment]:
    """Every deployment, oldest first. Raises StoreUnavailable."""
    found: list[Deployment] = []
    for page in pages(await store.run(registry.deployment_ids()), PAGE):
        found += await store.run(registry.deployments(page))
    return sorted(found, key=lambda known: (known.created, known.id))


async def all_models(store: AsyncJobStore) -> list[Model]:
    """Every model and chain, by name. Raises StoreUnavailable."""
    found: list[Model] = []
    for page in pages(list((await store.run(registry.model_ids())).values()), PAGE):
        found += await store.run(registry.models(page))
    return sorted(found, key=lambda known: (known.name, known.id))


async def loads_of(store: AsyncJobStore, deployment_ids: Sequence[str]) -> list[Load]:
    """The numbers of waiting and running jobs, in the order of the ids. Raises StoreUnavailable."""
    found: list[Load] = []
    for page in pages(deployment_ids, LOADS):
        found += await store.run(registry.loads(page))
    return found
