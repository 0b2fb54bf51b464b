"""Reads all of the registry: in pages, so that no script holds the store for long, or at the cost of what has changed.

What changes between two pages may be missing or be there twice in time; a loop that reads again sees it. Who follows reads
everything at the start and after a gap, and a page now and then. The store counts the changes of deployments' records, and keeps the number
of the latest one of each (edited.lua). A deployment that was deleted is in no list of changes: the count of all tells.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from deployments.registry import records
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment, Load, Model, Replica
from tasks.store.job_store import AsyncJobStore
from tasks.store.records import Reply, items, number, text
from tasks.store.verbs import ScriptCall

PAGE = 100  # records in one script, which takes about a millisecond
LOADS = 500
ANEW_SECONDS = 60.0  # after which a page is read once more
ALL_MODELS_SECONDS = 600.0  # between two looks at every model
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


def vacant() -> ScriptCall[set[str]]:
    """The deployments that may have a free seat. Nodes ask `take_seat` for no others."""
    return ScriptCall(
        "vacant", [], lambda reply: {text(id_) for id_ in items(reply)}, registry.SCRIPTS
    )


def lapse(deployment_ids: Sequence[str]) -> ScriptCall[int]:
    """Frees the seats of these deployments that nobody has renewed. The reply says how many of the deployments have a free one."""
    return ScriptCall("lapse", deployment_ids, number, registry.SCRIPTS)


def warming(ids: Sequence[str] = ()) -> ScriptCall[list[Model]]:
    """The models with a candidate for an environment. `ids` may have one that was promoted before such models were noted."""

    def read(reply: Reply) -> list[Model]:
        return [records.model("", row) for row in items(reply)]

    return ScriptCall("warming", ids, read, registry.SCRIPTS)


class Deployments:
    """All deployments, as of the latest `read`."""

    def __init__(
        self, store: AsyncJobStore, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._known: Mapping[str, Deployment] = {}
        self._latest: int | None = None  # the number of the change up to which they are known
        self._anew_at, self._place = 0.0, 0  # the next reading of a page anew, and which one

    async def read(self) -> Mapping[str, Deployment]:
        """Every deployment by id, oldest first. Raises StoreUnavailable, and then the next call goes on from what was known."""
        since, changed = self._latest, dict[str, Deployment]()
        if since is None:
            return await self._read_all()
        if self._monotonic() >= self._anew_at:
            changed |= await self._read_some()
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

    async def _read_some(self) -> dict[str, Deployment]:
        """Reads one page anew, and with each call the next one, should a change ever have been missed."""
        ids = [*self._known][self._place : self._place + PAGE]
        self._place = self._place + PAGE if len(ids) == PAGE else 0
        self._anew_at = self._monotonic() + ANEW_SECONDS
        found = await self._store.run(registry.deployments(ids)) if ids else []
        return {deployment.id: deployment for deployment in found}

    async def _read_all(self) -> Mapping[str, Deployment]:
        latest = (await self._store.run(edited(0, 0))).latest
        self._known = _by_age(await all_deployments(self._store))
        self._latest, self._anew_at = latest, self._monotonic() + ANEW_SECONDS
        return self._known


class EditedReplicas(NamedTuple):
    """What `edited_replicas` returns."""

    latest: int  # the number of the latest change of all
    last: int  # that of the last entry here, or of the place if there is none
    there_are: int  # replicas in all
    ended: set[str]  # some of these whose entries have ended
    entries: int  # how many have changed, those that cannot be read included
    replicas: Sequence[Replica]


def edited_replicas(since: int, most: int) -> ScriptCall[EditedReplicas]:
    """The replicas whose entries have changed after the change `since`, those of the first latest changes."""

    def read(reply: Reply) -> EditedReplicas:
        latest, last, count, ended, rows = items(reply)
        gone, found = {text(id_) for id_ in items(ended)}, records.replicas(rows)
        return EditedReplicas(
            number(latest), number(last), number(count), gone, len(items(rows)), found
        )

    return ScriptCall("edited_replicas", [since, most], read, registry.SCRIPTS)


def replica_ids() -> ScriptCall[set[str]]:
    """The ids of all replicas. The entries of some may have ended."""
    return ScriptCall(
        "replica_ids", [], lambda reply: {text(id_) for id_ in items(reply)}, registry.SCRIPTS
    )


class Replicas:
    """All live replicas by id, as of the latest `read` or `look`."""

    def __init__(
        self, store: AsyncJobStore, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self.known: dict[str, Replica] = {}
        self._latest: int | None = None  # the number of the change up to which they are known
        self._anew_at = 0.0

    async def read(self) -> Mapping[str, Replica]:
        """Reads what has changed. Raises StoreUnavailable, and then the next call goes on from what was known."""
        since = self._latest
        if since is None or self._monotonic() >= self._anew_at:
            return await self._read_all()
        while True:
            edits = await self._store.run(edited_replicas(since, PAGE))
            if edits.latest < since:  # another store, or one that lost data
                return await self._read_all()
            self._take(edits.replicas)
            since = edits.last
            if edits.entries < PAGE:  # what changes from here on is for the next call
                break
        self._drop(edits.ended)
        if len(self.known) != edits.there_are - len(edits.ended):
            ids = await self._store.run(replica_ids())
            self._drop(self.known.keys() - ids)
            await self.look(ids - self.known.keys() - edits.ended)
        self._latest = since
        return self.known

    async def look(self, ids: Collection[str]) -> None:
        """Reads these now. Raises StoreUnavailable."""
        for page in pages(sorted(ids), PAGE):
            found = await self._store.run(registry.replicas(page))
            self._drop(set(page) - {replica.id for replica in found})
            self._take(found)

    async def _read_all(self) -> Mapping[str, Replica]:
        latest = (await self._store.run(edited_replicas(0, 0))).latest
        ids = await self._store.run(replica_ids())
        self._drop(self.known.keys() - ids)
        await self.look(ids)
        self._latest, self._anew_at = latest, self._monotonic() + ANEW_SECONDS
        return self.known

    def _take(self, found: Iterable[Replica]) -> None:
        self.known.update((replica.id, replica) for replica in found)

    def _drop(self, ids: Iterable[str]) -> None:
        for id_ in ids:
            self.known.pop(id_, None)


class Warming:
    """The models that have a candidate for an environment."""

    def __init__(
        self, store: AsyncJobStore, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._anew_at = 0.0

    async def read(self) -> Sequence[Model]:
        """They, as of now. Now and then it looks at every model: an earlier version notes no candidates. Raises StoreUnavailable."""
        ids, now = list[str](), self._monotonic()
        if now >= self._anew_at:
            known = await all_models(self._store)
            ids = [
                model.id
                for model in known
                if any(environment.candidate for environment in model.environments.values())
            ]
        found = await self._store.run(warming(ids[:PAGE]))
        for page in pages(ids[PAGE:], PAGE):
            found = await self._store.run(warming(page))
        if now >= self._anew_at:
            self._anew_at = now + ALL_MODELS_SECONDS
        return found


def _by_age(deployments: Iterable[Deployment]) -> Mapping[str, Deployment]:
    return {known.id: known for known in sorted(deployments, key=lambda d: (d.created, d.id))}
