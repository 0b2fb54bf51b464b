"""Reads all of the registry: in pages, so that no script holds the store for long, or at the cost of what has changed.

What changes between two pages may be missing or be there twice in time; a loop that reads again sees it. Who follows reads
everything at the start, after a gap and now and then. The store counts the changes of deployments' records, and keeps the number
of the latest one of each (edited.lua). A deployment that was deleted is in no list of changes: the count of all tells.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from deployments.registry import records
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment, Load, Model
from tasks.store.job_store import AsyncJobStore
from tasks.store.records import Reply, items, number, text
from tasks.store.verbs import ScriptCall

PAGE = 200  # records in one script, which takes about a millisecond
LOADS = 500
ANEW_SECONDS = 60.0  # after which everything is read once more
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


class Edits(NamedTuple):
    """What `edited` returns."""

    latest: int  # the number of the latest change of all
    last: int  # that of the last record here, or of the place if there is none
    there_are: int  # deployments in all
    deployments: Sequence[Deployment]


def edited(since: int, most: int) -> ScriptCall[Edits]:
    """The deployments whose records have changed after the change `since`, those of the first latest changes."""

    def read(reply: Reply) -> Edits:
        latest, last, count, rows = items(reply)
        return Edits(number(latest), number(last), number(count), records.deployments(rows))

    return ScriptCall("edited", [since, most], read, registry.SCRIPTS)


def astir() -> ScriptCall[set[str]]:
    """The deployments that may have jobs in their queues, or calls that wait for a replica."""

    def read(reply: Reply) -> set[str]:
        return {text(id_) for ids in items(reply) for id_ in items(ids)}

    return ScriptCall("astir", [], read, registry.SCRIPTS)


class Deployments:
    """All deployments, as of the latest `read`."""

    def __init__(
        self, store: AsyncJobStore, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._known: Mapping[str, Deployment] = {}
        self._latest: int | None = None  # the number of the change up to which they are known
        self._anew_at = 0.0

    async def read(self) -> Mapping[str, Deployment]:
        """Every deployment by id, oldest first. Raises StoreUnavailable, and then the next call goes on from what was known."""
        since, changed = self._latest, dict[str, Deployment]()
        if since is None or self._monotonic() >= self._anew_at:
            return await self._read_all()
        while True:
            edits = await self._store.run(edited(since, PAGE))
            if edits.latest < since:  # another store, or one that lost data
                return await self._read_all()
            changed |= {deployment.id: deployment for deployment in edits.deployments}
            since = edits.last
            if len(edits.deployments) < PAGE:  # what changes from here on is for the next call
                break
        known = _by_age({**self._known, **changed}.values()) if changed else self._known
        if len(known) != edits.there_are:
            left = set(await self._store.run(registry.deployment_ids()))
            known = {id_: deployment for id_, deployment in known.items() if id_ in left}
        self._known, self._latest = known, since
        return known

    async def _read_all(self) -> Mapping[str, Deployment]:
        latest = (await self._store.run(edited(0, 0))).latest
        self._known = _by_age(await all_deployments(self._store))
        self._latest, self._anew_at = latest, self._monotonic() + ANEW_SECONDS
        return self._known


class Models:
    """All models and chains, as of the latest `read`."""

    def __init__(
        self, store: AsyncJobStore, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._known: Sequence[Model] = ()
        self._revision: int | None = None
        self._anew_at = 0.0

    async def read(self) -> Sequence[Model]:
        """Every model and chain, by name. Raises StoreUnavailable."""
        revision = await self._store.run(registry.revision())
        if revision != self._revision or self._monotonic() >= self._anew_at:
            self._known = await all_models(self._store)
            self._revision, self._anew_at = revision, self._monotonic() + ANEW_SECONDS
        return self._known


def _by_age(deployments: Iterable[Deployment]) -> Mapping[str, Deployment]:
    return {known.id: known for known in sorted(deployments, key=lambda d: (d.created, d.id))}
