"""Deletes deployments and models. With `force`, their requests are canceled first."""

from collections.abc import Sequence
from dataclasses import dataclass

from deployments.registry import verbs as registry
from deployments.registry.management import Management
from deployments.registry.records import Deployment
from tasks.errors import KingpostError, NotFound
from tasks.store import verbs
from tasks.store.job_store import AsyncJobStore
from tasks.store.records import items, text
from tasks.store.verbs import CancelResult, ScriptCall

BATCH = 500  # requests that are looked up at once
STOPPED = (CancelResult.CANCELED, CancelResult.STOPPING)


class NotRemovable(KingpostError):
    """This cannot be deleted while an environment points at it, or while it follows a folder."""


class HasWork(KingpostError):
    """This cannot be deleted while requests of it wait or run."""


@dataclass(frozen=True)
class Removed:
    """What was deleted: its id, and how many requests were canceled for it."""

    id: str
    canceled_requests: int


class Removal:
    """Methods raise NotFound, HasWork, NotRemovable and StoreUnavailable."""

    def __init__(self, store: AsyncJobStore) -> None:
        self._store = store
        self._management = Management(store)

    async def deployment(self, reference: str, which: str, force: bool) -> Removed:
        """Deletes one deployment."""
        _, found, _ = await self._management.deployment(reference, which)
        return Removed(found.id, await self._delete(found, force, force))

    async def model(self, reference: str, force: bool) -> Removed:
        """Deletes a model with its deployments. All are looked at before the first one is deleted."""
        model, known = await self._management.deployments(reference)
        if model.kind == "chainlet":
            raise NotRemovable(f"{model.name} is a chainlet; delete its chain.")
        found = [deployment for deployment, _ in known]
        for deployment in found:
            _check_follows_nothing(deployment)
        if not force:
            await self._check_idle(found)
        canceled = sum([await self._delete(deployment, force, True) for deployment in found])
        word = await self._store.run(_delete_model(model.id))
        if word == "deployments":
            raise HasWork(f"{model.name} has a new deployment; delete it again.")
        return Removed(model.id, canceled)

    async def _check_idle(self, found: Sequence[Deployment]) -> None:
        for deployment in found:
            waiting = len(await self._store.run(_unfinished(deployment.id)))
            if waiting:
                raise _has_work(deployment, waiting)

    async def _delete(self, found: Deployment, force: bool, in_use: bool) -> int:
        """Deletes a deployment; with `in_use` also one that an environment points at. Returns the number of canceled requests."""
        _check_follows_nothing(found)
        chainlets = await self._store.run(registry.chainlets_of(found.id))
        word, *rest = await self._store.run(_delete_deployment(found.id, force, in_use))
        match word:
            case "work":
                raise _has_work(found, int(rest[0]))
            case "environment":
                message = f"{rest[0]} points at {found.id}; promote another deployment first"
                raise NotRemovable(f"{message}, or delete it with force=true.")
            case "missing":
                raise NotFound(f"There is no deployment {found.id}.")
            case _:
                canceled = await self._cancel_all(found.id)
                return canceled + sum([await self._delete_chainlet(i) for i in chainlets.values()])

    async def _delete_chainlet(self, deployment_id: str) -> int:
        """Deletes a chainlet with its model, which no other deployment of its chain has."""
        try:
            found = await self._store.run(registry.deployment(deployment_id))
        except NotFound:
            return 0
        canceled = await self._delete(found, True, True)
        await self._store.run(_delete_model(found.model_id))
        return canceled

    async def _cancel_all(self, deployment_id: str) -> int:
        """Cancels requests that wait or run. None is added meanwhile, because the deployment is gone."""
        total = 0
        while done := await self._cancel_some(deployment_id):
            total += done
        return total

    async def _cancel_some(self, deployment_id: str) -> int:
        found = await self._store.run(_unfinished(deployment_id))
        words = [await self._store.run(verbs.cancel(request_id)) for request_id in found]
        return sum(word in STOPPED for word, _ in words)


def _check_follows_nothing(deployment: Deployment) -> None:
    if deployment.package or deployment.leader:
        message = f"{deployment.id} of {deployment.model_name} follows a folder"
        raise NotRemovable(f"{message}; remove the folder and restart `kingpost up`.")


def _has_work(deployment: Deployment, requests: int) -> HasWork:
    many = "1 request" if requests == 1 else f"{requests} requests"
    message = f"{deployment.id} of {deployment.model_name} has {many} that wait or run"
    return HasWork(f"{message}; wait for their end, or delete it with force=true.")


def _unfinished(deployment_id: str) -> ScriptCall[list[str]]:
    return ScriptCall(
        "unfinished_of",
        [deployment_id, BATCH],
        lambda reply: [text(request_id) for request_id in items(reply)],
        registry.SCRIPTS,
    )


def _delete_deployment(deployment_id: str, force: bool, in_use: bool) -> ScriptCall[list[str]]:
    return ScriptCall(
        "delete_deployment",
        [deployment_id, int(force), int(in_use)],
        lambda reply: [text(word) for word in items(reply)],
        registry.SCRIPTS,
    )


def _delete_model(model_id: str) -> ScriptCall[str]:
    return ScriptCall("delete_model", [model_id], text, registry.SCRIPTS)
